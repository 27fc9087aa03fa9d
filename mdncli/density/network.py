"""The network as answers need it: the forward pass, in NumPy.

Its twin in `mdncli.learning.network` learns the weights; a test holds the two together.
"""

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mdncli.density.mixture import GaussianMixture, unit_rows
from mdncli.settings import Activation, Covariance
from mdncli.types import Array, Numbers

# Positions of one matrix product.
_PANEL = 16


@dataclass(frozen=True)
class Architecture:
    """The shape of a network, all that is needed to read its weights.

    Attributes:
        mixtures: K, the number of components.
        hidden: the widths of the trunk's layers, from the input on.
        activation: after each of them.
        covariance: of a component: `diagonal`, one sigma a target; `isotropic`, one for all
            (standardized); or `full`, by a Cholesky factor.
        frequencies: sines, and as many cosines, of each number that the trunk reads beside it.
    """

    mixtures: int
    hidden: tuple[int, ...]
    activation: Activation
    covariance: Covariance
    frequencies: int

    def trunk_width(self, waves: int, plain: int) -> int:
        """Return the width of the first layer's input: of P inputs with waves and of I without."""
        return waves * (1 + 2 * self.frequencies) + plain

    def head_sizes(self, targets: int) -> list[int]:
        """Return how the outputs are laid out, `split_head` says what they mean.

        K logits, K*T means, K or K*T log-scales, and with `full` K*T(T-1)/2 slopes, else none.
        """
        each = (1, targets, self.sigmas(targets), self.slopes(targets))
        return [self.mixtures * width for width in each]

    def head_width(self, targets: int) -> int:
        """Return the number of outputs."""
        return sum(self.head_sizes(targets))

    def sigmas(self, targets: int) -> int:
        """Return the number of scales that a component has."""
        return 1 if self.covariance == "isotropic" else targets

    def slopes(self, targets: int) -> int:
        """Return the number of pairs of targets that a component may correlate."""
        return targets * (targets - 1) // 2 if self.covariance == "full" else 0

    def floor_of_sigmas(self, floor: Array) -> Array:
        """Return the smallest value of each sigma, shape (S,), from those of the targets, (T,)."""
        return floor.max(keepdims=True) if self.covariance == "isotropic" else floor

    def to_plain(self) -> dict[str, Any]:
        """Return the architecture as plain values."""
        return {**asdict(self), "hidden": list(self.hidden)}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Architecture":
        """Return the architecture that `to_plain` gave."""
        return cls(**{**plain, "hidden": tuple(plain["hidden"])})


class _Buffers(threading.local):
    """Memory that a thread uses again and again: asking the system for more each time is slow."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], Numbers] = {}

    def take(self, purpose: str, shape: tuple[int, ...], dtype: Any = np.float64) -> Numbers:
        """Return an array of any content; the next one for this purpose may be the same."""
        key = (purpose, shape, dtype)
        if key not in self._kept:
            # Of another shape than before: the old one is not needed any more.
            self._kept = {k: v for k, v in self._kept.items() if k[0] != purpose}
            self._kept[key] = np.empty(shape, dtype)
        return self._kept[key]


_buffers = _Buffers()


def _silu(x: Numbers, spare: Numbers) -> None:
    np.negative(x, out=spare)
    # Where exp overflows the answer is 0, as it should be.
    with np.errstate(over="ignore"):
        np.exp(spare, out=spare)
    spare += 1.0
    np.divide(x, spare, out=x)


def _leaky_relu(x: Numbers, spare: Numbers) -> None:
    np.multiply(x, 0.01, out=spare)
    np.maximum(x, spare, out=x)


# Each changes x in place and may use as much memory beside it.
ACTIVATIONS: dict[str, Callable[[Numbers, Numbers], object]] = {
    "tanh": lambda x, spare: np.tanh(x, out=x),
    "relu": lambda x, spare: np.maximum(x, 0.0, out=x),
    "silu": _silu,
    "leaky-relu": _leaky_relu,
}


@dataclass(frozen=True)
class Perceptron:
    """A multilayer perceptron over its inputs and sines and cosines of the first of them.

    Attributes:
        activation: between the layers, one of `ACTIVATIONS`.
        frequencies: (P, Q), in turns per standard deviation of an input; Q may be 0.
        layers: (weight, bias) pairs of shapes (out, in) and (out,).
    """

    activation: Activation
    frequencies: Array
    layers: list[tuple[Array, Array]]

    def __call__(self, x: Array, *, precision: Any = np.float64) -> Numbers:
        """Return the outputs, shape (N, O), for inputs x (N, P + I), as `Schema.inputs` gives them.

        The first layer reads x, and of its first P columns sin 2 pi c x and cos 2 pi c x, c the
        frequencies: the periodic embedding of Gorishniy et al. (2022, section 3.3), with x kept
        beside it.

        Positions go in panels of 16, columns first: how a matrix product is rounded depends on its
        shape and on the place in it, and so in single precision a row's answer would else visibly
        depend on the rows around it.

        Args:
            x: the inputs.
            precision: of all that is computed; the weights are kept in single.
        """
        panels = -(-len(x) // _PANEL)
        padded = np.zeros((panels * _PANEL, x.shape[1]), precision)
        padded[: len(x)] = x
        columns = self._embedded(padded.reshape(panels, _PANEL, -1).transpose(0, 2, 1))
        for position, (weight, bias) in enumerate(self.layers):
            outputs = _buffers.take(
                f"layer {position % 2}", (panels, len(weight), _PANEL), precision
            )
            np.matmul(weight.astype(precision), columns, out=outputs)
            outputs += bias.astype(precision)[:, None]
            if position < len(self.layers) - 1:
                spare = _buffers.take("spare", outputs.shape, precision)
                ACTIVATIONS[self.activation](outputs, spare)
            columns = outputs
        rows_last = columns.transpose(1, 0, 2).reshape(-1, panels * _PANEL)[:, : len(x)]
        # A copy in any case: the next call will use the memory.
        return np.array(rows_last).T

    def _embedded(self, x: Numbers) -> Numbers:
        """Return what the first layer reads, x and then sines and cosines, 16 rows a panel."""
        panels, inputs, _ = x.shape
        waving, waves = len(self.frequencies), self.frequencies.size
        columns = _buffers.take("inputs", (panels, inputs + 2 * waves, _PANEL), x.dtype)
        columns[:, :inputs] = x
        rates = (2.0 * np.pi * self.frequencies).astype(x.dtype)
        angles = _buffers.take("angles", (panels, *rates.shape, _PANEL), x.dtype)
        np.multiply(x[:, :waving, None], rates[:, :, None], out=angles)
        flat = angles.reshape(panels, waves, _PANEL)
        columns[:, inputs : inputs + waves] = np.sin(flat)
        columns[:, inputs + waves :] = np.cos(flat)
        return columns


def pairs_of_targets(targets: int) -> list[tuple[int, int]]:
    """Return every (later, earlier) pair of positions, in the order in which slopes are kept."""
    return [(later, earlier) for later in range(targets) for earlier in range(later)]


def split_head(raw: Numbers, architecture: Architecture, floor: Array) -> GaussianMixture:
    """Return the mixture that a network's output stands for, standardized.

    log pi = logits - log sum exp(logits), mu as it is, sigma^2 = floor^2 + exp(2 s): smooth, never
    below the floor, and close to exp(s) above it.

    With `full` each target is a regression on those before it, y_i = mu_i + sum_{j<i} B_ij (y_j -
    mu_j) + d_i z_i, d^2 = floor^2 + exp(2 s), so that the Cholesky factor of the covariance is
    L = (I - B)^-1 diag(d): its diagonal is d, and no density exceeds that of the floors. Unlike the
    entries of L, the slopes B stay as they are when a scale changes (Pourahmadi 1999).

    Args:
        raw: (N, O), K logits, K*T means, then K*T or (isotropic) K log-scales s, then with `full`
            K*T(T-1)/2 slopes B, as `pairs_of_targets` orders them.
        architecture: of the network.
        floor: (T,), the smallest sigma of each target, standardized.
    """
    targets, rows = len(floor), len(raw)
    components, sigmas = architecture.mixtures, architecture.sigmas(targets)
    ends = np.cumsum(architecture.head_sizes(targets))[:-1]
    # Positions last in memory, as the network leaves them: sums over components are fast so.
    logits, mu, log_scale, slopes = np.split(np.ascontiguousarray(raw.T), ends)
    logits = (logits - logits.max(axis=0)).astype(np.float64)
    logits -= np.log(np.exp(logits).sum(axis=0))
    # A float32 overflows beyond exp(88); a scale that large is an extrapolation in any case.
    scale = np.exp(np.minimum(log_scale, 80.0)).reshape(components, sigmas, rows)
    above_floor = scale.astype(np.float64)
    above_floor *= above_floor
    above_floor += architecture.floor_of_sigmas(floor)[:, None] ** 2
    sigma = np.sqrt(above_floor, out=above_floor)
    shape = (components, targets, rows)
    mu, sigma = mu.reshape(shape).astype(np.float64), np.broadcast_to(sigma, shape)
    if not len(slopes):
        return GaussianMixture(logits.T, mu.transpose(2, 0, 1), sigma.transpose(2, 0, 1))
    lower = _cholesky(slopes.reshape(components, -1, rows).astype(np.float64), sigma)
    factor, sigma = unit_rows(lower.transpose(3, 0, 1, 2))
    return GaussianMixture(logits.T, mu.transpose(2, 0, 1), sigma, factor)


def _cholesky(slopes: Array, scale: Array) -> Array:
    """Return L = (I - B)^-1 diag(d), (K, T, T, N), from B (K, T(T-1)/2, N) and d (K, T, N)."""
    components, targets, rows = scale.shape
    lower = np.zeros((components, targets, targets, rows))
    for target in range(targets):
        lower[:, target, target] = scale[:, target]
    for pair, (later, earlier) in enumerate(pairs_of_targets(targets)):
        lower[:, later, :later] += slopes[:, pair, None] * lower[:, earlier, :later]
    return lower
