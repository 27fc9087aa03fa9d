import numpy as np
import pytest
import torch

from mdncli.density.network import Architecture
from mdncli.learning.objective import nll_and_gradient, squares_and_gradient

ROWS, COMPONENTS, TARGETS, FLOOR = 6, 4, 3, 0.05


def architecture(covariance: str, floor: float = FLOOR) -> Architecture:
    return Architecture(COMPONENTS, (5,), "tanh", covariance, floor, 0)


def independent_nll(raw: torch.Tensor, y: torch.Tensor, covariance: str) -> torch.Tensor:
    """The same likelihood written with PyTorch's distributions, for automatic differentiation."""
    logits, mu, scale = raw.T.split(
        [COMPONENTS, COMPONENTS * TARGETS, raw.shape[0] - COMPONENTS * (1 + TARGETS)], dim=1
    )
    sigma = torch.sqrt(FLOOR**2 + torch.exp(scale) ** 2).reshape(ROWS, COMPONENTS, -1)
    sigma = sigma.expand(ROWS, COMPONENTS, TARGETS)
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=logits),
        torch.distributions.Independent(
            torch.distributions.Normal(mu.reshape(ROWS, COMPONENTS, TARGETS), sigma), 1
        ),
    )
    return -mixture.log_prob(y)


@pytest.mark.parametrize("covariance", ["diagonal", "isotropic"])
def test_value_and_gradient_agree_with_automatic_differentiation(covariance: str) -> None:
    generator = torch.Generator().manual_seed(3)
    shape = architecture(covariance)
    raw = torch.randn(shape.head_width(TARGETS), ROWS, dtype=torch.float64, generator=generator)
    y = torch.randn(ROWS, TARGETS, dtype=torch.float64, generator=generator)
    raw.requires_grad_()
    expected = independent_nll(raw, y, covariance)
    expected.sum().backward()
    nll, gradient = nll_and_gradient(raw, y, shape)
    torch.testing.assert_close(nll, expected.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, raw.grad, rtol=1e-10, atol=1e-12)


def test_scaled_means_differ_by_sigma_and_in_nothing_else() -> None:
    shape = architecture("diagonal")
    raw = torch.randn(shape.head_width(TARGETS), ROWS, generator=torch.Generator().manual_seed(4))
    y = torch.zeros(ROWS, TARGETS)
    _, plain = nll_and_gradient(raw, y, shape)
    _, scaled = nll_and_gradient(raw, y, shape, scale_means=True)
    means = slice(COMPONENTS, COMPONENTS * (1 + TARGETS))
    sigma = torch.sqrt(FLOOR**2 + torch.exp(2.0 * raw[COMPONENTS * (1 + TARGETS) :]))
    torch.testing.assert_close(scaled[means], plain[means] * sigma)
    plain[means] = scaled[means] = 0.0
    torch.testing.assert_close(scaled, plain)


@pytest.mark.parametrize("distance", [0.0, 1e2, 1e4])
@pytest.mark.parametrize("log_scale", [-40.0, 0.0, 20.0])
def test_extremes_stay_finite_in_float32(distance: float, log_scale: float) -> None:
    shape = architecture("diagonal", floor=1e-4)
    raw = torch.zeros(shape.head_width(1), ROWS)
    raw[2 * COMPONENTS :] = log_scale
    nll, gradient = nll_and_gradient(raw, torch.full((ROWS, 1), distance), shape)
    assert torch.isfinite(nll).all()
    assert torch.isfinite(gradient).all()


def test_no_density_exceeds_what_the_floor_allows() -> None:
    shape = architecture("diagonal", floor=1e-2)
    raw = torch.zeros(shape.head_width(1), ROWS, dtype=torch.float64)
    raw[2 * COMPONENTS :] = -50.0
    nll, _ = nll_and_gradient(raw, torch.zeros(ROWS, 1, dtype=torch.float64), shape)
    assert nll.numpy() == pytest.approx(np.log(1e-2 * np.sqrt(2.0 * np.pi)))


def test_least_squares_is_half_the_squared_error() -> None:
    raw = torch.randn(TARGETS, ROWS, requires_grad=True)
    y = torch.randn(ROWS, TARGETS)
    (0.5 * ((raw.T - y) ** 2).sum()).backward()
    losses, gradient = squares_and_gradient(raw, y)
    torch.testing.assert_close(losses, 0.5 * ((raw.detach().T - y) ** 2).sum(1))
    torch.testing.assert_close(gradient, raw.grad)
