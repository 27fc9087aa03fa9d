import numpy as np
import pytest
import torch

from mdncli.density.network import Architecture
from mdncli.learning.objective import nll_and_gradient, squares_and_gradient

MEMBERS, ROWS, COMPONENTS, TARGETS = 2, 6, 4, 3
FLOORS = torch.tensor([0.05, 0.1, 0.2], dtype=torch.float64)


def architecture(covariance: str) -> Architecture:
    return Architecture(COMPONENTS, (5,), "tanh", covariance, 0)


def independent_nll(raw: torch.Tensor, y: torch.Tensor, floor: torch.Tensor) -> torch.Tensor:
    """One member's likelihood by PyTorch's distributions, for automatic differentiation."""
    logits, mu, scale = raw.T.split(
        [COMPONENTS, COMPONENTS * TARGETS, raw.shape[0] - COMPONENTS * (1 + TARGETS)], dim=1
    )
    sigma = torch.sqrt(floor**2 + torch.exp(scale).reshape(ROWS, COMPONENTS, -1) ** 2)
    sigma = sigma.expand(ROWS, COMPONENTS, TARGETS)
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=logits),
        torch.distributions.Independent(
            torch.distributions.Normal(mu.reshape(ROWS, COMPONENTS, TARGETS), sigma), 1
        ),
    )
    return -mixture.log_prob(y.T)


@pytest.mark.parametrize("covariance", ["diagonal", "isotropic"])
def test_value_and_gradient_agree_with_automatic_differentiation(covariance: str) -> None:
    generator = torch.Generator().manual_seed(3)
    shape = architecture(covariance)
    floor = FLOORS if covariance == "diagonal" else FLOORS[2:]
    raw = torch.randn(
        MEMBERS, shape.head_width(TARGETS), ROWS, dtype=torch.float64, generator=generator
    )
    y = torch.randn(MEMBERS, TARGETS, ROWS, dtype=torch.float64, generator=generator)
    raw.requires_grad_()
    expected = torch.stack([independent_nll(raw[m], y[m], floor) for m in range(MEMBERS)])
    expected.sum().backward()
    nll, gradient = nll_and_gradient(raw, y, shape, floor)
    torch.testing.assert_close(nll, expected.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, raw.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("distance", [0.0, 1e2, 1e4])
@pytest.mark.parametrize("log_scale", [-40.0, 0.0, 20.0])
def test_extremes_stay_finite_in_float32(distance: float, log_scale: float) -> None:
    shape = architecture("diagonal")
    raw = torch.zeros(1, shape.head_width(1), ROWS)
    raw[:, 2 * COMPONENTS :] = log_scale
    y = torch.full((1, 1, ROWS), distance)
    nll, gradient = nll_and_gradient(raw, y, shape, torch.tensor([1e-4]))
    assert torch.isfinite(nll).all()
    assert torch.isfinite(gradient).all()


def test_no_density_exceeds_what_the_floor_allows() -> None:
    shape = architecture("diagonal")
    raw = torch.zeros(1, shape.head_width(1), ROWS, dtype=torch.float64)
    raw[:, 2 * COMPONENTS :] = -50.0
    floor = torch.tensor([1e-2], dtype=torch.float64)
    nll, _ = nll_and_gradient(raw, torch.zeros(1, 1, ROWS, dtype=torch.float64), shape, floor)
    assert nll.numpy() == pytest.approx(np.log(1e-2 * np.sqrt(2.0 * np.pi)))


def test_least_squares_is_half_the_squared_error() -> None:
    raw = torch.randn(MEMBERS, TARGETS, ROWS, requires_grad=True)
    y = torch.randn(MEMBERS, TARGETS, ROWS)
    (0.5 * ((raw - y) ** 2).sum()).backward()
    losses, gradient = squares_and_gradient(raw, y)
    torch.testing.assert_close(losses, 0.5 * ((raw.detach() - y) ** 2).sum(1))
    torch.testing.assert_close(gradient, raw.grad)
