"""The networks that learn: multilayer perceptrons that output π, μ and σ of a mixture.

`mdncli.density.network` computes the same outputs with NumPy; a test compares the two.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mdncli.density.network import Architecture, Perceptron
from mdncli.types import Array

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "silu": torch.nn.functional.silu,
    "leaky-relu": torch.nn.functional.leaky_relu,
}

# The typical number of periods per standard deviation of a feature. It allows a curve of several
# periods over the range of the data; a larger number would fit oscillations to a smooth curve.
_FREQUENCY_SCALE = 0.45
_HEAD_GAIN = 0.3
_SMALLEST_FIRST_SIGMA = 0.3
# A target that was standardized by quantiles, for its tails, has a larger standard deviation.
_HEAVY_TAILS = 3.0


class Perceptrons:
    """M networks of the same shape, computed together: hidden layers, then a linear head.

    Args:
        members: M.
        inputs: P, the number of inputs that also get sines and cosines, and I, the number of other
            inputs.
        architecture: of each network.
        outputs: O, the width of the head.
        generator: of the first weights.

    Attributes:
        frequencies: (P, Q), of the sines and cosines of the first P inputs, in periods per standard
            deviation. They are not learned, so that sines and cosines are computed once.
        layers: (weight, bias) pairs of shapes (M, out, in) and (M, out).
    """

    def __init__(
        self,
        members: int,
        inputs: tuple[int, int],
        architecture: Architecture,
        outputs: int,
        generator: torch.Generator,
    ) -> None:
        self._architecture = architecture
        # The frequencies are quantiles of a half-normal distribution.
        count = architecture.frequencies
        levels = (torch.arange(count) + 0.5) / max(1, count)
        scale = _FREQUENCY_SCALE * math.sqrt(2.0)
        periodic, plain = inputs
        self.frequencies = (scale * torch.erfinv(levels)).repeat(periodic, 1)
        self.layers: list[tuple[Tensor, Tensor]] = []
        width_before = architecture.trunk_width(periodic, plain)
        for width in (*architecture.hidden, outputs):
            spread = 1.0 / math.sqrt(3.0 * width_before)
            weight = torch.empty(members, width, width_before)
            self.layers.append(
                (weight.normal_(0.0, spread, generator=generator), torch.zeros(members, width))
            )
            width_before = width
        self.layers[-1][0].mul_(_HEAD_GAIN)

    def embed(self, x: Tensor) -> Tensor:
        """Return the inputs x, (..., P + I), and then the sines and cosines of the first P."""
        periodic, count = self.frequencies.shape
        if not count:
            return x
        angles = (2.0 * math.pi * self.frequencies.to(x) * x[..., :periodic, None]).flatten(-2)
        return torch.cat([x, torch.sin(angles), torch.cos(angles)], -1)

    def __call__(self, hidden: Tensor, dropout: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return the outputs, (M, O, N), for embedded inputs, (M, E, N); the rows come last.

        Args:
            hidden: the inputs, as `embed` returns them, with the rows last.
            dropout: a function to apply to the outputs of every hidden layer.
        """
        activation = ACTIVATIONS[self._architecture.activation]
        *trunk, (head_weight, head_bias) = self.layers
        for weight, bias in trunk:
            hidden = activation(torch.baddbmm(bias[..., None], weight, hidden))
            hidden = dropout(hidden) if dropout else hidden
        return torch.baddbmm(head_bias[..., None], head_weight, hidden)

    def spread_components(self, y: Tensor, generator: torch.Generator) -> None:
        """Set the first means and sigmas so that the components cover the rows of y, (N, T).

        With one target, the means start at its quantiles. With several, they start at rows of y
        that are drawn one after another. The probability of a row is proportional to its squared
        distance from the rows drawn before (Arthur and Vassilvitskii 2007), so that the components
        start far from each other. With heavy tails, the last component starts as broad as all rows,
        so that it can reach those far from the rest.
        """
        components, targets = self._architecture.mixtures, y.shape[1]
        bias = self.layers[-1][1]
        for member in range(len(bias)):
            if targets == 1:
                # The outermost levels leave out a few rows that may lie far from the rest.
                levels = (torch.arange(components) + 0.5) / components
                means = y[:, 0].sort().values[(levels * len(y)).long()]
            else:
                means = _distant_rows(y, components, generator)
            sizes = self._architecture.head_sizes(targets)
            _, to_mu, to_scale, _ = torch.split(bias[member], sizes)
            to_mu.copy_(means.reshape(-1))
            to_scale.fill_(math.log(max(1.0 / components, _SMALLEST_FIRST_SIGMA)))
            spread = y.double().std(0).float()
            if components > 1 and bool((spread > _HEAVY_TAILS).any()):
                last = to_scale.view(components, -1)[-1]
                last.copy_(torch.log(spread.clamp(min=1.0) if len(last) > 1 else spread.max()))
                to_mu.view(components, targets)[-1] = 0.0

    def parameters(self) -> list[Tensor]:
        """Return every tensor that is learned; weights have three dimensions, biases two."""
        return [tensor for layer in self.layers for tensor in layer]

    def set_parameters(self, parameters: list[Tensor]) -> None:
        """Use these tensors, in the order of `parameters`, instead of the present ones."""
        self.layers = list(zip(parameters[::2], parameters[1::2], strict=True))

    def to_numpy(self) -> list[Perceptron]:
        """Return the networks that answer questions, in NumPy and float64."""
        return [
            Perceptron(
                self._architecture.activation,
                _to_numpy(self.frequencies),
                [
                    (_to_numpy(weight[member]), _to_numpy(bias[member]))
                    for weight, bias in self.layers
                ],
            )
            for member in range(len(self.layers[-1][1]))
        ]


def _distant_rows(y: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` rows of y, (N, T), that lie far from each other."""
    chosen = [int(torch.randint(len(y), (1,), generator=generator))]
    distance = ((y - y[chosen[0]]) ** 2).sum(dim=1)
    while len(chosen) < count:
        # If all distinct rows are chosen already, every distance is zero: draw any row.
        probability = distance if float(distance.sum()) > 0.0 else torch.ones_like(distance)
        place = torch.rand(1, generator=generator) * probability.sum()
        chosen.append(min(int(torch.searchsorted(probability.cumsum(0), place)), len(y) - 1))
        distance = torch.minimum(distance, ((y - y[chosen[-1]]) ** 2).sum(dim=1))
    return y[chosen]


def _to_numpy(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().double().numpy()
    return array
