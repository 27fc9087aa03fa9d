"""The negative log-likelihood of a mixture density network, and its gradient in closed form.

The gradient is written out, not left to automatic differentiation: it takes a third of the time, it
is safe in float32 because nothing is ever divided by a density. Members come first and rows last,
(M, K, T, N), so that every operation runs along the rows.
"""

import math

import torch
from torch import Tensor

from mdncli.density.network import Architecture, pairs_of_targets

_LOG_2PI = math.log(2.0 * math.pi)


@torch.no_grad()
def nll_and_gradient(
    raw: Tensor, y: Tensor, architecture: Architecture, floor: Tensor
) -> tuple[Tensor, Tensor]:
    """Return -log p(y | x) of every row and its gradient with respect to the network's output.

    With responsibilities r_k = pi_k N_k(y) / p(y) and z = (y - mu) / sigma:

        d/d logit_k = pi_k - r_k,   d/d mu_k = -r_k z_k / sigma_k,
        d/d s_k = r_k (1 - z_k^2) exp(2 s_k) / sigma_k^2,   sigma^2 = floor^2 + exp(2 s)

    (Bishop 1994, eq. 32, 35 and 36; the last factor is the floor's). All in log space: both pi and
    r are softmaxes, and log p is the difference of their normalizers. With `full`, see `_Slopes`.

    Args:
        raw: (M, O, N), the rows of O laid out as `mdncli.density.network.split_head` reads them.
        y: (M, T, N), standardized.
        architecture: of the network.
        floor: (S,), the smallest value of each of a component's sigmas, standardized.

    Returns:
        nll: (M, N), nats, of the standardized targets; gradient: (M, O, N), of each row's own nll.
    """
    members, targets, rows = y.shape
    components, sigmas = architecture.mixtures, len(floor)
    gradient, sizes = torch.empty_like(raw), architecture.head_sizes(targets)
    logits, flat_mu, flat_scale, flat_slopes = torch.split(raw, sizes, 1)
    to_logits, to_mu, to_scale, to_slopes = torch.split(gradient, sizes, 1)
    above_floor = torch.exp(2.0 * flat_scale).view(members, components, sigmas, rows)
    variance = above_floor + (floor * floor)[:, None]
    precision = torch.rsqrt(variance)
    deviation = y[:, None] - flat_mu.view(members, components, targets, rows)
    slopes = _Slopes(deviation, flat_slopes)
    z = slopes.unexplained() * precision
    # One sigma for all targets (isotropic) counts once for each of them.
    shared = targets // sigmas
    log_joint = logits - 0.5 * (shared * torch.log(variance).sum(2) + (z * z).sum(2))
    pi, responsibility = torch.softmax(logits, 1), torch.softmax(log_joint, 1)

    torch.sub(pi, responsibility, out=to_logits)
    pull = responsibility[:, :, None] * z
    to_slopes.copy_(slopes.pulled(to_mu, pull * precision))
    squares = (pull * z).reshape(members, components, sigmas, shared, rows).sum(3)
    excess = (shared * responsibility[:, :, None] - squares) * (above_floor / variance)
    to_scale.copy_(excess.flatten(1, 2))
    log_density = _log_normalizer(log_joint, responsibility) - _log_normalizer(logits, pi)
    return 0.5 * targets * _LOG_2PI - log_density, gradient


class _Slopes:
    """What each target takes from those before it: e_i = y_i - mu_i - sum_{j<i} B_ij (y_j - mu_j).

    Without slopes (diagonal, isotropic) e is the deviation itself.

    Args:
        deviation: y - mu, (M, K, T, N).
        flat: B, (M, K T(T-1)/2, N), or of no rows.
    """

    def __init__(self, deviation: Tensor, flat: Tensor) -> None:
        members, components, targets, rows = deviation.shape
        self._deviation = deviation
        pairs = targets * (targets - 1) // 2 if flat.shape[1] else 0
        self._slopes = flat.reshape(members, components, pairs, rows)
        self._pairs = pairs_of_targets(targets) if pairs else []

    def unexplained(self) -> Tensor:
        """Return e, shape (M, K, T, N)."""
        if not self._pairs:
            return self._deviation
        rest = self._deviation.clone()
        for pair, (later, earlier) in enumerate(self._pairs):
            rest[:, :, later] -= self._slopes[:, :, pair] * self._deviation[:, :, earlier]
        return rest

    def pulled(self, to_mu: Tensor, slope: Tensor) -> Tensor:
        """Write the gradient at mu, (M, K T, N), and return that at B, from g = d nll / d e.

        d/d mu_j = -(g_j - sum_{i>j} B_ij g_i),   d/d B_ij = -g_i (y_j - mu_j)

        Args:
            to_mu: where to write.
            slope: g, (M, K, T, N).
        """
        at_slopes = torch.empty_like(self._slopes)
        at_mu = slope.clone() if self._pairs else slope
        for pair, (later, earlier) in enumerate(self._pairs):
            at_mu[:, :, earlier] -= self._slopes[:, :, pair] * slope[:, :, later]
            at_slopes[:, :, pair] = -slope[:, :, later] * self._deviation[:, :, earlier]
        torch.neg(at_mu.flatten(1, 2), out=to_mu)
        return at_slopes.flatten(1, 2)


def _log_normalizer(logits: Tensor, softmax: Tensor) -> Tensor:
    """Return log sum exp over components, from a softmax already taken, at its largest term."""
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
