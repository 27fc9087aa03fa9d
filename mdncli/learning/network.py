"""The networks that learn: perceptrons that output π, μ and σ of a mixture, and their loss.

`mdncli.density.network` computes the same outputs with NumPy; a test compares the two. The gradient
of the loss is in closed form because that takes a third of the time of automatic differentiation,
and because nothing is divided by a density, which makes it safe in float32. Its arrays have the
shape (M, K, T, N), rows last, so that every operation runs along the rows.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mdncli.density.marginal import IMAGES
from mdncli.density.network import Architecture, Perceptron, pairs_of_targets
from mdncli.errors import ParameterError, parameter
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
# A part of the rows lies apart if it has at least this share of them, and is so many scales away
# from the first means. Rows farther away are more likely faults, and are left to the background.
_LEAST_SHARE_APART, _APART, _TOO_FAR = 0.01, 3.0, 15.0
_SMALLEST_SIGMA_OF_MARGINAL = 0.05
# On fewer rows, starting the many small operations of a step takes a GPU longer than a processor.
_ROWS_FOR_CUDA = 100_000
_LOG_2PI = math.log(2.0 * math.pi)
# Beyond so many standard deviations, a probability is near the end of single precision.
_FAR = -10.0
_SQRT_HALF = math.sqrt(0.5)
# The square of a larger scale overflows in float32. A component that reaches for a row far from the
# others may get one at other rows, where its weight is almost 0.
_LARGEST_LOG_SCALE = 43.0


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

    def spread_components(
        self, y: Tensor, generator: torch.Generator, marginal: Tensor | None = None
    ) -> None:
        """Set the first means and sigmas so that the components cover the rows of y.

        With one target, the means start at its quantiles. With several, they start at rows of y
        that are drawn one after another. The probability of a row is proportional to its squared
        distance from the rows drawn before (Arthur and Vassilvitskii 2007), so that the components
        start far from each other. With heavy tails, the last component starts as broad as all rows,
        so that it can reach those far from the rest. Where a part of the rows lies apart, no
        quantile need be near it, and all components start as those of the marginal.

        Args:
            y: (N, T), standardized.
            generator: draws the rows.
            marginal: (O,), the outputs that stand for the marginal of one target.
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
            if targets == 1 and marginal is not None and len(marginal) == bias.shape[1]:
                logits, mu, scale = marginal.view(3, components)
                if _lies_apart(logits.softmax(0), mu, means):
                    scale = scale.clamp(min=math.log(_SMALLEST_SIGMA_OF_MARGINAL))
                    bias[member] = torch.cat([logits, mu, scale])

    def start_from(self, networks: Sequence[Perceptron]) -> None:
        """Take the weights of other networks of the same shape; members share them if need be."""
        chosen = [networks[member % len(networks)] for member in range(len(self.layers[-1][1]))]
        self.layers = [
            (
                torch.from_numpy(np.stack([weight for weight, _ in layers])).float(),
                torch.from_numpy(np.stack([bias for _, bias in layers])).float(),
            )
            for layers in zip(*(each.layers for each in chosen), strict=True)
        ]

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


def _lies_apart(pi: Tensor, mu: Tensor, means: Tensor) -> bool:
    """Return whether a component of the marginal, (K,), is not near any of the first means."""
    distance = (mu[:, None] - means).abs().min(1).values
    apart = (distance > _APART) & (distance < _TOO_FAR) & (pi > _LEAST_SHARE_APART)
    return bool(apart.any())


def _to_numpy(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().double().numpy()
    return array


@torch.no_grad()
def nll_and_gradient(
    raw: Tensor,
    y: Tensor,
    architecture: Architecture,
    min_sigma: Tensor,
    background: "BackgroundDensity | None" = None,
) -> tuple[Tensor, Tensor]:
    """Return -log p(y | x) of every row and its gradient with respect to the network's output.

    With responsibilities r_k = pi_k N_k(y) / p(y) and z = (y - mu) / sigma:

        d/d logit_k = pi_k - r_k,   d/d mu_k = -r_k z_k / sigma_k,
        d/d s_k = r_k (1 - z_k^2) exp(2 s_k) / sigma_k^2,   sigma^2 = min_sigma^2 + exp(2 s)

    (Bishop 1994, eq. 32, 35 and 36; the last factor of the third comes from `min_sigma`). All of it
    is computed in log space: pi and r are softmaxes, and log p is the difference of their
    normalizers. For full covariances see `_Slopes`.

    Args:
        raw: (M, O, N), outputs in the order that `mdncli.density.network.split_head` describes.
        y: (M, T, N), standardized.
        architecture: of the network.
        min_sigma: (S,), the smallest value of each sigma of a component, standardized.
        background: a fixed density that is mixed in. The gradient of a row is multiplied by the
            probability that the row does not come from it, so a row far outside hardly counts.

    Returns:
        nll: (M, N), nats, of the standardized targets; gradient: (M, O, N), of the nll of each row.
    """
    members, targets, rows = y.shape
    components, sigmas = architecture.mixtures, len(min_sigma)
    gradient, sizes = torch.empty_like(raw), architecture.head_sizes(targets)
    logits, flat_mu, flat_scale, flto_slopes = torch.split(raw, sizes, 1)
    to_logits, to_mu, to_scale, to_slopes = torch.split(gradient, sizes, 1)
    above_minimum = torch.exp(2.0 * flat_scale.clamp(max=_LARGEST_LOG_SCALE))
    above_minimum = above_minimum.view(members, components, sigmas, rows)
    variance = above_minimum + (min_sigma * min_sigma)[:, None]
    precision = torch.rsqrt(variance)
    deviation = y[:, None] - flat_mu.view(members, components, targets, rows)
    slopes = _Slopes(deviation, flto_slopes)
    z = slopes.residuals() * precision
    # A sigma that all targets share (isotropic) counts once for each target.
    shared = targets // sigmas
    log_joint = logits - 0.5 * (shared * torch.log(variance).sum(2) + (z * z).sum(2))
    pi, responsibility = torch.softmax(logits, 1), torch.softmax(log_joint, 1)

    torch.sub(pi, responsibility, out=to_logits)
    weighted_z = responsibility[:, :, None] * z
    to_slopes.copy_(slopes.gradients(to_mu, weighted_z * precision))
    squares = (weighted_z * z).reshape(members, components, sigmas, shared, rows).sum(3)
    excess = (shared * responsibility[:, :, None] - squares) * (above_minimum / variance)
    to_scale.copy_(excess.flatten(1, 2))
    log_density = _log_normalizer(log_joint, responsibility) - _log_normalizer(logits, pi)
    log_density -= 0.5 * targets * _LOG_2PI
    if background is not None:
        log_density = background.mix_into(log_density, gradient, background.at(y))
    return -log_density, gradient


@dataclass(frozen=True)
class BackgroundDensity:
    """A Gaussian with independent targets and a fixed weight in every mixture.

    Attributes:
        log_weight: the logarithm of its weight.
        mu, sigma: (T, 1), standardized.
        period: of an angle, standardized; 0 for others.
    """

    log_weight: float
    mu: Tensor
    sigma: Tensor
    period: float = 0.0

    @property
    def log_rest(self) -> float:
        """The logarithm of the weight of all other components."""
        return math.log1p(-math.exp(self.log_weight))

    def mix_into(self, log_density: Tensor, gradient: Tensor, own: Tensor) -> Tensor:
        """Return the log density of the mixture with another one, (M, N).

        Args:
            log_density: of the other one, (M, N).
            gradient: of its NLL, (M, O, N), which becomes that of the mixture.
            own: the log density of this one, (M, N).
        """
        mixed = torch.logaddexp(self.log_weight + own, self.log_rest + log_density)
        gradient *= torch.exp(self.log_rest + log_density - mixed)[:, None]
        return mixed

    def at(self, y: Tensor) -> Tensor:
        """Return its log density, (M, N), at y, (M, T, N)."""
        z = (y - self.mu) / self.sigma
        constant = torch.log(self.sigma).sum() + 0.5 * len(self.mu) * _LOG_2PI
        return -0.5 * (z * z).sum(1) - constant

    def at_cells(self, ends: Tensor) -> Tensor:
        """Return the same for what the values of one target stand for, ends (M, 2, N)."""
        precision = 1.0 / self.sigma
        return log_of_cells((ends - self.mu) * precision, precision, self.period / self.sigma)


def log_of_cells(z: Tensor, precision: Tensor, period: Tensor) -> Tensor:
    """Return the log density of a point, or the log probability of an interval, under a Gaussian.

    Args:
        z: (M, 2, N), the ends, standardized by the Gaussian; equal for a point.
        precision: 1 / sigma, of a shape that broadcasts to (M, N).
        period: of an angle, in sigmas; 0 for others.
    """
    a, b = z[:, 0], z[:, 1]
    if bool((period > 0.0).any()):
        turns = torch.arange(-IMAGES, IMAGES + 1).to(a)[:, None, None]
        nearest = a - period * torch.round(a / period)
        squares = (nearest + turns * period) ** 2
        log_points = torch.logsumexp(-0.5 * squares, 0)
    else:
        log_points = -0.5 * a * a
    log_points = log_points - 0.5 * _LOG_2PI + torch.log(precision)
    point = a == b
    if bool(point.all()):
        return log_points
    return torch.where(point, log_points, log_normal_between(a, b))


def log_normal_between(a: Tensor, b: Tensor) -> Tensor:
    """Return log (Phi(b) - Phi(a)) for a < b of any shape, in nats.

    In the upper tail the mirrored interval is used, so that no digits cancel.
    """
    mirrored = a + b > 0.0
    a, b = torch.where(mirrored, -b, a), torch.where(mirrored, -a, b)
    # The complementary error function keeps its digits in the lower tail; that of Phi does not.
    upto_a, upto_b = (0.5 * torch.special.erfc(-_SQRT_HALF * end) for end in (a, b))
    found = torch.log(upto_b - upto_a)
    far = b < _FAR
    if bool(far.any()):
        # There the probabilities may be too small for a number. Their logarithms take more time.
        log_upto_b = torch.special.log_ndtr(b[far])
        share = -torch.expm1(torch.special.log_ndtr(a[far]) - log_upto_b)
        found[far] = log_upto_b + torch.log(share)
    return found


def _one_target(
    raw: Tensor, architecture: Architecture, min_sigma: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return logits, mu, 1 / sigma and exp(2 s) / sigma^2 of one target, each (M, K, N)."""
    logits, mu, log_scale = torch.split(raw, architecture.mixtures, 1)
    above_minimum = torch.exp(2.0 * log_scale.clamp(max=_LARGEST_LOG_SCALE))
    variance = above_minimum + min_sigma * min_sigma
    return logits, mu, torch.rsqrt(variance), above_minimum / variance


@torch.no_grad()
def cell_nll_and_gradient(
    raw: Tensor,
    ends: Tensor,
    architecture: Architecture,
    min_sigma: Tensor,
    background: BackgroundDensity | None = None,
) -> tuple[Tensor, Tensor]:
    """Return -log P of what each value stands for and its gradient, for one target.

    With a and b, the standardized ends of an interval, D_k = Phi(b_k) - Phi(a_k), and the
    responsibilities r_k = pi_k D_k / P:

        d/d logit_k = pi_k - r_k,   d/d mu_k = r_k (phi(b_k) - phi(a_k)) / (sigma_k D_k),
        d/d s_k = r_k (b_k phi(b_k) - a_k phi(a_k)) exp(2 s_k) / (sigma_k^2 D_k)

    A point is the limit: as the interval shrinks, D_k / width becomes the density, and these become
    the gradients of `nll_and_gradient`, which are used where both ends are equal.

    Args:
        raw: (M, O, N), as for `nll_and_gradient`.
        ends: (M, 2, N), standardized; equal for a point, and infinite where there is no end.
        architecture: of the network.
        min_sigma: (1,), the smallest sigma, standardized.
        background: a fixed density that is mixed in.

    Returns:
        nll: (M, N), nats; gradient: (M, O, N).
    """
    logits, mu, precision, above_minimum = _one_target(raw, architecture, min_sigma)
    gradient = torch.empty_like(raw)
    to_logits, to_mu, to_scale = torch.split(gradient, architecture.mixtures, 1)
    a, b = ((end - mu) * precision for end in (ends[:, :1], ends[:, 1:]))
    point = ends[:, :1] == ends[:, 1:]
    log_shares = log_normal_between(a, b)
    log_points = -0.5 * (a * a + _LOG_2PI) + torch.log(precision)
    log_shares = torch.where(point, log_points, log_shares)
    log_joint = logits + log_shares
    pi, responsibility = torch.softmax(logits, 1), torch.softmax(log_joint, 1)

    torch.sub(pi, responsibility, out=to_logits)
    heights = [
        torch.exp(-0.5 * end * end - 0.5 * _LOG_2PI - log_shares) * responsibility for end in (a, b)
    ]
    to_mu.copy_(torch.where(point, -responsibility * a, heights[1] - heights[0]) * precision)
    # At an infinite end the height is 0.
    moments = [
        height * torch.where(torch.isinf(end), 0.0, end)
        for height, end in zip(heights, (a, b), strict=True)
    ]
    excess = torch.where(point, responsibility * (1.0 - a * a), moments[1] - moments[0])
    to_scale.copy_(excess * above_minimum)
    log_density = _log_normalizer(log_joint, responsibility) - _log_normalizer(logits, pi)
    if background is not None:
        log_density = background.mix_into(log_density, gradient, background.at_cells(ends))
    return -log_density, gradient


@torch.no_grad()
def wrapped_nll_and_gradient(
    raw: Tensor,
    ends: Tensor,
    architecture: Architecture,
    min_sigma: Tensor,
    background: BackgroundDensity | None = None,
    *,
    period: float,
) -> tuple[Tensor, Tensor]:
    """Return -log p of an angle and its gradient, under a mixture of wrapped Gaussians.

    The density of component k at y is the sum of N(y + j period; mu_k, sigma_k^2) over whole j.
    With the share r_kj of each of these terms, the gradients are those of `nll_and_gradient`,
    summed over j.

    Args:
        raw, architecture, min_sigma, background: as for `cell_nll_and_gradient`.
        ends: (M, 2, N), the angles, standardized, twice.
        period: standardized.
    """
    logits, mu, precision, above_minimum = _one_target(raw, architecture, min_sigma)
    gradient = torch.empty_like(raw)
    to_logits, to_mu, to_scale = torch.split(gradient, architecture.mixtures, 1)
    away = ends[:, :1] - mu
    away = away - period * torch.round(away / period)
    turns = period * torch.arange(-IMAGES, IMAGES + 1).to(away)
    # (M, K, J, N)
    z = (away[:, :, None] + turns[:, None]) * precision[:, :, None]
    log_terms = -0.5 * (z * z + _LOG_2PI) + torch.log(precision)[:, :, None]
    log_joint = logits + torch.logsumexp(log_terms, 2)
    pi, responsibility = torch.softmax(logits, 1), torch.softmax(log_joint, 1)
    shares = responsibility[:, :, None] * torch.softmax(log_terms, 2)

    torch.sub(pi, responsibility, out=to_logits)
    to_mu.copy_(-(shares * z).sum(2) * precision)
    to_scale.copy_((responsibility - (shares * z * z).sum(2)) * above_minimum)
    log_density = _log_normalizer(log_joint, responsibility) - _log_normalizer(logits, pi)
    if background is not None:
        log_density = background.mix_into(log_density, gradient, background.at_cells(ends))
    return -log_density, gradient


class _Slopes:
    """The regression of each target on those before it, within a component.

    The residuals are e_i = y_i - mu_i - sum_{j<i} B_ij (y_j - mu_j). Without slopes B (diagonal and
    isotropic covariances), e = y - mu.

    Args:
        deviation: y - mu, (M, K, T, N).
        flat: B, (M, K T(T-1)/2, N); (M, 0, N) where there are none.
    """

    def __init__(self, deviation: Tensor, flat: Tensor) -> None:
        members, components, targets, rows = deviation.shape
        self._deviation = deviation
        pairs = targets * (targets - 1) // 2 if flat.shape[1] else 0
        self._slopes = flat.reshape(members, components, pairs, rows)
        self._pairs = pairs_of_targets(targets) if pairs else []

    def residuals(self) -> Tensor:
        """Return e, shape (M, K, T, N)."""
        if not self._pairs:
            return self._deviation
        residual = self._deviation.clone()
        for pair, (later, earlier) in enumerate(self._pairs):
            residual[:, :, later] -= self._slopes[:, :, pair] * self._deviation[:, :, earlier]
        return residual

    def gradients(self, to_mu: Tensor, to_residuals: Tensor) -> Tensor:
        """Write the gradient with respect to mu, and return the one with respect to B.

        With g = d nll / d e:

            d/d mu_j = -(g_j - sum_{i>j} B_ij g_i),   d/d B_ij = -g_i (y_j - mu_j)

        Args:
            to_mu: where the gradient with respect to mu is written, (M, K T, N).
            to_residuals: g, (M, K, T, N).

        Returns:
            (M, K T(T-1)/2, N).
        """
        to_slopes = torch.empty_like(self._slopes)
        sum_at_mu = to_residuals.clone() if self._pairs else to_residuals
        for pair, (later, earlier) in enumerate(self._pairs):
            sum_at_mu[:, :, earlier] -= self._slopes[:, :, pair] * to_residuals[:, :, later]
            to_slopes[:, :, pair] = -to_residuals[:, :, later] * self._deviation[:, :, earlier]
        torch.neg(sum_at_mu.flatten(1, 2), out=to_mu)
        return to_slopes.flatten(1, 2)


def _log_normalizer(logits: Tensor, softmax: Tensor) -> Tensor:
    """Return log sum exp over the components, computed from their softmax at its largest term."""
    return logits.amax(1) - torch.log(softmax.amax(1))


@torch.no_grad()
def squares_and_gradient(raw: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return half of every row's squared error, (M, N), and its gradient at the output, (M, T, N).

    Args:
        raw: (M, T, N), the means.
        y: (M, T, N).
    """
    error = raw - y
    return 0.5 * (error * error).sum(1), error


def device_of(name: str, rows: int | None = None) -> torch.device:
    """Return the device that the setting `device` names.

    Args:
        name: `auto` is CUDA where it is available and there are many rows.
        rows: to learn from; None for many.

    Raises:
        ParameterError: it is CUDA, which is not available.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ParameterError(
            f"{parameter('device', repr(name))}: PyTorch finds no CUDA device. Use "
            f"{parameter('device', repr('cpu'))}."
        )
    if name == "auto":
        many = rows is None or rows >= _ROWS_FOR_CUDA
        name = "cuda" if many and torch.cuda.is_available() else "cpu"
    return torch.device(name)
