"""The networks that learn: multilayer perceptrons whose outputs are read as π, μ and σ.

Their twin in `mdncli.density.network` answers; a test holds the two together.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mdncli.density import network as answering
from mdncli.density.network import Architecture
from mdncli.types import Array

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "silu": torch.nn.functional.silu,
    "leaky-relu": torch.nn.functional.leaky_relu,
}

# Turns per standard deviation of a feature, roughly: enough for a curve of several turns over the
# range of the data, and few enough that a smooth curve is not taken for one.
_FREQUENCY_SCALE = 0.3
_HEAD_GAIN = 0.3
_NARROWEST_START = 0.3


class Perceptrons:
    """M networks at once, alike but for their weights: a trunk of hidden layers and a linear head.

    Attributes:
        frequencies: (M, P, Q), of the sines and cosines that the first layer reads beside the
            first P inputs.
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
        # Quantiles of half a normal distribution cover the scale evenly from slow to fast.
        count = architecture.frequencies
        levels = (torch.arange(count) + 0.5) / max(1, count)
        scale = _FREQUENCY_SCALE * math.sqrt(2.0)
        waves, plain = inputs
        self.frequencies = (scale * torch.erfinv(levels)).repeat(members, waves, 1)
        self.layers: list[tuple[Tensor, Tensor]] = []
        width_before = architecture.trunk_width(waves, plain)
        for width in (*architecture.hidden, outputs):
            spread = 1.0 / math.sqrt(3.0 * width_before)
            weight = torch.empty(members, width, width_before)
            self.layers.append(
                (weight.normal_(0.0, spread, generator=generator), torch.zeros(members, width))
            )
            width_before = width
        self.layers[-1][0].mul_(_HEAD_GAIN)

    def __call__(self, x: Tensor, leave_out: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return the outputs, (M, O, N), rows last, for the inputs x, (M, P + I, N).

        `leave_out` is applied to every hidden layer's outputs, for dropout.
        """
        activation = ACTIVATIONS[self._architecture.activation]
        waving = x[:, : self.frequencies.shape[1], None]
        angles = (2.0 * math.pi * self.frequencies[..., None] * waving).flatten(1, 2)
        hidden = torch.cat([x, torch.sin(angles), torch.cos(angles)], 1)
        *trunk, (head_weight, head_bias) = self.layers
        for weight, bias in trunk:
            hidden = activation(torch.baddbmm(bias[..., None], weight, hidden))
            hidden = leave_out(hidden) if leave_out else hidden
        return torch.baddbmm(head_bias[..., None], head_weight, hidden)

    def spread_components(self, y: Tensor, generator: torch.Generator) -> None:
        """Start the components over the rows of y, shape (N, T), with equal weights.

        One target: the means start at its quantiles. Several: at rows of y drawn one after another,
        each with a probability in proportion to its squared distance from those drawn before
        (Arthur and Vassilvitskii 2007), so that the components start apart.
        """
        components, targets = self._architecture.mixtures, y.shape[1]
        bias = self.layers[-1][1]
        for member in range(len(bias)):
            if targets == 1:
                levels = (torch.arange(components) + 0.5) / components
                means = y[:, 0].sort().values[(levels * len(y)).long()]
            else:
                means = _distant_rows(y, components, generator)
            sizes = self._architecture.head_sizes(targets)
            _, to_mu, to_scale, _ = torch.split(bias[member], sizes)
            to_mu.copy_(means.reshape(-1))
            to_scale.fill_(math.log(max(1.0 / components, _NARROWEST_START)))

    def parameters(self) -> list[Tensor]:
        """Return every tensor that learns; weights have three dimensions, biases two."""
        return [self.frequencies, *(tensor for layer in self.layers for tensor in layer)]

    def hold(self, parameters: list[Tensor]) -> None:
        """Take these tensors, in the order of `parameters`, as the networks' own."""
        self.frequencies, *rest = parameters
        self.layers = list(zip(rest[::2], rest[1::2], strict=True))

    def for_answers(self) -> list[answering.Perceptron]:
        """Return the networks as the answers need them, in NumPy and float64."""
        return [
            answering.Perceptron(
                self._architecture.activation,
                _array(self.frequencies[member]),
                [(_array(weight[member]), _array(bias[member])) for weight, bias in self.layers],
            )
            for member in range(len(self.frequencies))
        ]


def _distant_rows(y: Tensor, count: int, generator: torch.Generator) -> Tensor:
    chosen = [int(torch.randint(len(y), (1,), generator=generator))]
    distance = ((y - y[chosen[0]]) ** 2).sum(dim=1)
    while len(chosen) < count:
        # With fewer distinct rows than components every distance ends at zero: start some alike.
        likely = distance if float(distance.sum()) > 0.0 else torch.ones_like(distance)
        place = torch.rand(1, generator=generator) * likely.sum()
        chosen.append(min(int(torch.searchsorted(likely.cumsum(0), place)), len(y) - 1))
        distance = torch.minimum(distance, ((y - y[chosen[-1]]) ** 2).sum(dim=1))
    return y[chosen]


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().double().numpy()
    return array
