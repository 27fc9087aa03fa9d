import numpy as np
import pytest
import torch

from mdncli.density.network import Architecture
from mdncli.learning.network import BackgroundDensity, nll_and_gradient, squares_and_gradient

MEMBERS, ROWS, COMPONENTS, TARGETS = 2, 6, 4, 3
MIN_SIGMA = torch.tensor([0.05, 0.1, 0.2], dtype=torch.float64)


def architecture(covariance: str) -> Architecture:
    return Architecture(COMPONENTS, (5,), "tanh", covariance, 0)


def independent_nll(
    raw: torch.Tensor, y: torch.Tensor, min_sigma: torch.Tensor, shape: Architecture
) -> torch.Tensor:
    """Return the NLL of one member, by the distributions of PyTorch."""
    logits, mu, scale, flat_slopes = raw.T.split(shape.head_sizes(TARGETS), dim=1)
    sigma = torch.sqrt(min_sigma**2 + torch.exp(scale).reshape(ROWS, COMPONENTS, -1) ** 2)
    sigma = sigma.expand(ROWS, COMPONENTS, TARGETS)
    slopes = torch.zeros(ROWS, COMPONENTS, TARGETS, TARGETS, dtype=raw.dtype)
    if flat_slopes.shape[1]:
        later, earlier = np.tril_indices(TARGETS, -1)
        slopes[:, :, later, earlier] = flat_slopes.reshape(ROWS, COMPONENTS, -1)
    unit = torch.eye(TARGETS, dtype=raw.dtype) - slopes
    lower = torch.linalg.solve_triangular(unit, torch.diag_embed(sigma), upper=False)
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=logits),
        torch.distributions.MultivariateNormal(
            mu.reshape(ROWS, COMPONENTS, TARGETS), scale_tril=lower
        ),
    )
    return -mixture.log_prob(y.T)


@pytest.mark.parametrize("covariance", ["diagonal", "isotropic", "full"])
def test_value_and_gradient_agree_with_automatic_differentiation(covariance: str) -> None:
    generator = torch.Generator().manual_seed(3)
    shape = architecture(covariance)
    min_sigma = MIN_SIGMA[2:] if covariance == "isotropic" else MIN_SIGMA
    raw = torch.randn(
        MEMBERS, shape.head_width(TARGETS), ROWS, dtype=torch.float64, generator=generator
    )
    y = torch.randn(MEMBERS, TARGETS, ROWS, dtype=torch.float64, generator=generator)
    raw.requires_grad_()
    expected = torch.stack(
        [independent_nll(raw[m], y[m], min_sigma, shape) for m in range(MEMBERS)]
    )
    expected.sum().backward()
    nll, gradient = nll_and_gradient(raw, y, shape, min_sigma)
    torch.testing.assert_close(nll, expected.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, raw.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("weight", [0.003, 0.4])
@pytest.mark.parametrize("covariance", ["diagonal", "isotropic", "full"])
def test_a_background_agrees_with_automatic_differentiation(covariance: str, weight: float) -> None:
    generator = torch.Generator().manual_seed(4)
    shape = architecture(covariance)
    min_sigma = MIN_SIGMA[2:] if covariance == "isotropic" else MIN_SIGMA
    size = (MEMBERS, shape.head_width(TARGETS), ROWS)
    raw = torch.randn(size, dtype=torch.float64, generator=generator)
    # The components are narrower than the background.
    torch.split(raw, shape.head_sizes(TARGETS), 1)[2].sub_(3.0)
    raw.requires_grad_()
    y = torch.randn(MEMBERS, TARGETS, ROWS, dtype=torch.float64, generator=generator)
    # One row lies where the mixture has hardly any density.
    y[0, :, 0] = 50.0
    mu, sigma = torch.tensor([[[0.1], [0.2], [-0.3]], [[2.0], [3.0], [2.5]]], dtype=torch.float64)
    broad = torch.distributions.Normal(mu, sigma).log_prob(y).sum(1)
    alone = torch.stack([independent_nll(raw[m], y[m], min_sigma, shape) for m in range(MEMBERS)])
    expected = -torch.logaddexp(np.log(weight) + broad, np.log1p(-weight) - alone)
    expected.sum().backward()
    background = BackgroundDensity(float(np.log(weight)), mu, sigma)
    nll, gradient = nll_and_gradient(raw, y, shape, min_sigma, background)
    torch.testing.assert_close(nll, expected.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, raw.grad, rtol=1e-10, atol=1e-12)
    assert gradient[0, :, 0].abs().max() < 1e-6


def test_a_full_covariance_has_one_output_for_each_entry_of_its_cholesky_factor() -> None:
    full = architecture("full")
    factors = COMPONENTS * TARGETS * (TARGETS + 1) // 2
    assert full.head_width(TARGETS) == COMPONENTS + COMPONENTS * TARGETS + factors
    assert full.head_width(1) == architecture("diagonal").head_width(1)


@pytest.mark.parametrize("rho", [0.999, 0.99999, 1.0])
@pytest.mark.parametrize("log_scale", [-40.0, -5.0, 0.0, 20.0])
def test_correlated_targets_stay_finite_in_float32(rho: float, log_scale: float) -> None:
    shape, rows = architecture("full"), 500
    generator = torch.Generator().manual_seed(1)
    first, rest = torch.randn(2, rows, generator=generator)
    y = torch.stack([first, rho * first + (1.0 - rho**2) ** 0.5 * rest])[None]
    sizes = shape.head_sizes(2)
    raw = 0.1 * torch.randn(1, sum(sizes), rows, generator=generator)
    raw[:, sum(sizes[:2]) : sum(sizes[:3])] = log_scale
    raw[:, -sizes[3] :] = rho
    nll, gradient = nll_and_gradient(raw, y, shape, torch.full((2,), 1e-4))
    assert torch.isfinite(nll).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("distance", [0.0, 1e2, 1e4, 1e8])
@pytest.mark.parametrize("log_scale", [-40.0, 0.0, 20.0, 60.0])
def test_extremes_stay_finite_in_float32(distance: float, log_scale: float) -> None:
    shape = architecture("diagonal")
    raw = torch.zeros(1, shape.head_width(1), ROWS)
    raw[:, 2 * COMPONENTS :] = log_scale
    y = torch.full((1, 1, ROWS), distance)
    nll, gradient = nll_and_gradient(raw, y, shape, torch.tensor([1e-4]))
    assert torch.isfinite(nll).all()
    assert torch.isfinite(gradient).all()


def test_the_smallest_sigmas_limit_the_density_of_correlated_targets() -> None:
    shape = architecture("full")
    raw = torch.zeros(1, shape.head_width(TARGETS), ROWS, dtype=torch.float64)
    sizes = shape.head_sizes(TARGETS)
    raw[:, sum(sizes[:2]) : sum(sizes[:3])] = -50.0
    raw[:, -sizes[3] :] = torch.linspace(-30.0, 30.0, sizes[3], dtype=torch.float64)[:, None]
    y = torch.zeros(1, TARGETS, ROWS, dtype=torch.float64)
    nll, _ = nll_and_gradient(raw, y, shape, MIN_SIGMA)
    highest = -np.log(MIN_SIGMA.numpy() * np.sqrt(2.0 * np.pi)).sum()
    assert nll.numpy() == pytest.approx(-highest)


def test_the_smallest_sigma_limits_the_density() -> None:
    shape = architecture("diagonal")
    raw = torch.zeros(1, shape.head_width(1), ROWS, dtype=torch.float64)
    raw[:, 2 * COMPONENTS :] = -50.0
    min_sigma = torch.tensor([1e-2], dtype=torch.float64)
    nll, _ = nll_and_gradient(raw, torch.zeros(1, 1, ROWS, dtype=torch.float64), shape, min_sigma)
    assert nll.numpy() == pytest.approx(np.log(1e-2 * np.sqrt(2.0 * np.pi)))


def test_least_squares_is_half_the_squared_error() -> None:
    raw = torch.randn(MEMBERS, TARGETS, ROWS, requires_grad=True)
    y = torch.randn(MEMBERS, TARGETS, ROWS)
    (0.5 * ((raw - y) ** 2).sum()).backward()
    losses, gradient = squares_and_gradient(raw, y)
    torch.testing.assert_close(losses, 0.5 * ((raw.detach() - y) ** 2).sum(1))
    torch.testing.assert_close(gradient, raw.grad)
