"""The network as answers need it: the forward pass, in NumPy.

Its twin in `mdncli.learning.network` learns the weights; a test holds the two together.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdncli.density.mixture import GaussianMixture, log_sum_exp
from mdncli.settings import Activation, Covariance

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Architecture:
    """The shape of a network, all that is needed to read its weights.

    Attributes:
        mixtures: K, the number of components.
        hidden: the widths of the trunk's layers, from the input on.
        activation: after each of them.
        covariance: `diagonal`, one sigma a target, or `isotropic`, one for all (standardized).
        frequencies: sines, and as many cosines, of each feature that the trunk reads beside it.
    """

    mixtures: int
    hidden: tuple[int, ...]
    activation: Activation
    covariance: Covariance
    frequencies: int

    def trunk_width(self, features: int) -> int:
        """Return the number of inputs of the first layer."""
        return features * (1 + 2 * self.frequencies)

    def head_sizes(self, targets: int) -> list[int]:
        """Return how the outputs are laid out: K logits, K*T means, K or K*T log-scales."""
        return [self.mixtures * each for each in (1, targets, self.sigmas(targets))]

    def head_width(self, targets: int) -> int:
        """Return the number of outputs."""
        return sum(self.head_sizes(targets))

    def sigmas(self, targets: int) -> int:
        """Return the number of scales that a component has."""
        return targets if self.covariance == "diagonal" else 1

    def floor_of_sigmas(self, floor: Array) -> Array:
        """Return the smallest value of each sigma, shape (S,), from those of the targets, (T,)."""
        return floor if self.covariance == "diagonal" else floor.max(keepdims=True)

    def to_plain(self) -> dict[str, Any]:
        """Return the architecture as plain values."""
        return {**asdict(self), "hidden": list(self.hidden)}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Architecture":
        """Return the architecture that `to_plain` gave."""
        return cls(**{**plain, "hidden": tuple(plain["hidden"])})


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0.0),
    "silu": lambda x: x / (1.0 + np.exp(-np.maximum(x, -700.0))),
    "leaky-relu": lambda x: np.where(x > 0.0, x, 0.01 * x),
}


@dataclass(frozen=True)
class Perceptron:
    """A multilayer perceptron over features and their sines and cosines.

    Attributes:
        activation: between the layers, one of `ACTIVATIONS`.
        frequencies: (F, Q), in turns per standard deviation of a feature; Q may be 0.
        layers: (weight, bias) pairs of shapes (out, in) and (out,).
    """

    activation: Activation
    frequencies: Array
    layers: list[tuple[Array, Array]]

    def __call__(self, x: Array) -> Array:
        """Return the outputs, shape (N, O), for standardized features x (N, F).

        The first layer reads x, sin 2 pi c x and cos 2 pi c x, c the frequencies: the periodic
        embedding of Gorishniy et al. (2022, section 3.3), with x kept beside it.
        """
        turns = x[:, :, None] * self.frequencies
        angles = 2.0 * np.pi * turns.reshape(len(x), self.frequencies.size)
        hidden = np.concatenate([x, np.sin(angles), np.cos(angles)], axis=1)
        *trunk, (head_weight, head_bias) = self.layers
        for weight, bias in trunk:
            hidden = ACTIVATIONS[self.activation](hidden @ weight.T + bias)
        return hidden @ head_weight.T + head_bias


def split_head(raw: Array, architecture: Architecture, floor: Array) -> GaussianMixture:
    """Return the mixture that a network's output stands for, standardized.

    log pi = logits - log sum exp(logits), mu as it is, sigma^2 = floor^2 + exp(2 s): smooth, never
    below the floor, and close to exp(s) above it.

    Args:
        raw: (N, O), K logits, K*T means, then K*T (diagonal) or K (isotropic) log-scales s.
        architecture: of the network.
        floor: (T,), the smallest sigma of each target, standardized.
    """
    targets = len(floor)
    rows, components, sigmas = len(raw), architecture.mixtures, architecture.sigmas(targets)
    ends = np.cumsum(architecture.head_sizes(targets))[:-1]
    logits, mu, log_scale = np.split(raw, ends, axis=1)
    log_pi = logits - log_sum_exp(logits)[:, None]
    # A float64 overflows beyond exp(709); a scale that large is an extrapolation in any case.
    above_floor = np.exp(np.minimum(log_scale, 300.0)).reshape(rows, components, sigmas)
    sigma = np.hypot(architecture.floor_of_sigmas(floor), above_floor)
    shape = (rows, components, targets)
    return GaussianMixture(log_pi, mu.reshape(shape), np.broadcast_to(sigma, shape))
