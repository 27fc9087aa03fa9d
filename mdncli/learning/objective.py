"""The negative log-likelihood of a mixture density network, and its gradient in closed form.

The gradient is written out, not left to automatic differentiation: it takes a third of the time, it
is safe in float32 because nothing is ever divided by a density, and what reaches the means can be
scaled on its way. Rows come last, (K, T, N), so that every operation runs along them.
"""

import math

import torch
from torch import Tensor

from mdncli.density.network import Architecture

_LOG_2PI = math.log(2.0 * math.pi)


@torch.no_grad()
def nll_and_gradient(
    raw: Tensor, y: Tensor, architecture: Architecture, *, scale_means: bool = False
) -> tuple[Tensor, Tensor]:
    """Return -log p(y | x) of every row and its gradient with respect to the network's output.

    With responsibilities r_k = pi_k N(y; mu_k, sigma_k^2) / p(y) and z = (y - mu) / sigma:

        d/d logit_k = pi_k - r_k,   d/d mu_k = -r_k z_k / sigma_k,
        d/d s_k = r_k (1 - z_k^2) exp(2 s_k) / sigma_k^2,   sigma^2 = floor^2 + exp(2 s)

    (Bishop 1994, eq. 32, 35 and 36; the last factor is the floor's). All in log space: both pi and
    r are softmaxes, and log p is the difference of their normalizers.

    Args:
        raw: (O, N), the rows of O laid out as `mdncli.density.network.split_head` reads them.
        y: (N, T), standardized.
        architecture: of the network.
        scale_means: multiply d/d mu_k by sigma_k, the square root of the scaling by the inverse
            Fisher information of a mean: without it a component with a small sigma takes steps out
            of all proportion to the others.

    Returns:
        nll: (N,), nats, of the standardized targets.
        gradient: (O, N), of each row's own nll.
    """
    rows, targets = y.shape
    components, sigmas = architecture.mixtures, architecture.sigmas(targets)
    gradient, sizes = torch.empty_like(raw), architecture.head_sizes(targets)
    logits, flat_mu, flat_scale = torch.split(raw, sizes)
    to_logits, to_mu, to_scale = torch.split(gradient, sizes)
    above_floor = torch.exp(2.0 * flat_scale).view(components, sigmas, rows)
    variance = above_floor + architecture.sigma_floor**2
    precision = torch.rsqrt(variance)
    z = (y.T.contiguous() - flat_mu.view(components, targets, rows)) * precision
    # One sigma for all targets (isotropic) counts once for each of them.
    shared = targets // sigmas
    log_joint = logits - 0.5 * (shared * torch.log(variance).sum(1) + (z * z).sum(1))
    pi, responsibility = torch.softmax(logits, 0), torch.softmax(log_joint, 0)

    torch.sub(pi, responsibility, out=to_logits)
    pull = responsibility[:, None] * z
    slope = pull if scale_means else pull * precision
    torch.neg(slope.view_as(to_mu), out=to_mu)
    squares = (pull * z).view(components, sigmas, shared, rows).sum(2)
    excess = (shared * responsibility[:, None] - squares) * (above_floor / variance)
    to_scale.copy_(excess.view_as(to_scale))
    log_density = _log_normalizer(log_joint, responsibility) - _log_normalizer(logits, pi)
    return 0.5 * targets * _LOG_2PI - log_density, gradient


def _log_normalizer(logits: Tensor, softmax: Tensor) -> Tensor:
    """Return log sum exp over the first axis, from a softmax already taken, at its largest term."""
    return logits.amax(0) - torch.log(softmax.amax(0))


@torch.no_grad()
def squares_and_gradient(raw: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return half of every row's squared error, (N,), and its gradient at the output, (T, N)."""
    error = raw - y.T
    return 0.5 * (error * error).sum(0), error
