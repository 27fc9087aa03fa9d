"""Several targets, some with bounds: joint answers, against draws and integrals."""

import numpy as np
import pytest
import scipy.integrate
from learning.fits import fitted, schema_of

from mdncli.columns.dataset import Dataset
from mdncli.columns.transforms import IDENTITY, transform_between
from mdncli.density.distribution import Distribution
from mdncli.density.mixture import GaussianMixture
from mdncli.density.modes import joint_with_jacobian
from mdncli.settings import Settings

ABOVE, BETWEEN = transform_between(1.0, None), transform_between(-1.0, 2.0)
BELOW = transform_between(None, 3.0)
PAIRS = [(ABOVE, IDENTITY), (ABOVE, BELOW), (BETWEEN, IDENTITY), (BETWEEN, ABOVE)]


def correlated(rho: float, widest: float = 0.7) -> GaussianMixture:
    mu = np.array([[[0.2, -0.3], [-1.0, 0.5]]])
    sigma = np.array([[[0.5, widest], [0.3, 0.2]]])
    factor = np.broadcast_to([[1.0, 0.0], [rho, np.sqrt(1.0 - rho**2)]], (1, 2, 2, 2))
    return GaussianMixture(np.log([[0.3, 0.7]]), mu, sigma, factor)


@pytest.mark.parametrize("transforms", PAIRS)
@pytest.mark.parametrize("rho", [0.0, -0.6, 0.95])
def test_correlations_are_those_of_the_density(transforms: tuple, rho: float) -> None:
    given = Distribution(correlated(rho), transforms)
    ends = [each.forward(np.array([-9.0, 9.0])) for each in transforms]
    # The grid is over u, where the density is smooth.
    u = np.linspace(-9.0, 9.0, 1601)
    density = np.exp(
        GaussianMixture(*(part.repeat(1, axis=0) for part in given.mixture.arrays())).log_prob(
            np.stack(np.meshgrid(u, u, indexing="ij"), axis=-1).reshape(-1, 2)
        )
    ).reshape(len(u), len(u))
    y = [each.forward(u) for each in transforms]
    mean = given.mean()[0]

    def integral(values: np.ndarray) -> float:
        inner = scipy.integrate.trapezoid(values * density, u, axis=1)
        return float(scipy.integrate.trapezoid(inner, u))

    centred = y[0][:, None] - mean[0], y[1][None, :] - mean[1]
    covariance = integral(centred[0] * centred[1])
    spread = [np.sqrt(integral(each**2 * np.ones_like(density))) for each in centred]
    found = given.correlation()[0]
    np.testing.assert_allclose(found[0, 1], covariance / np.prod(spread), atol=1e-6)
    np.testing.assert_array_equal(np.diag(found), 1.0)
    assert all(np.isfinite(end).all() for end in ends)


@pytest.mark.parametrize("transforms", PAIRS)
def test_the_density_as_a_function_of_u_is_that_of_the_targets(transforms: tuple) -> None:
    mixture = correlated(0.8)
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 2))
    y = np.stack([each.forward(points[:, t]) for t, each in enumerate(transforms)], axis=1)
    many = GaussianMixture(*(part.repeat(50, axis=0) for part in mixture.arrays()))
    expected = Distribution(many, transforms).log_prob(y)
    np.testing.assert_allclose(
        joint_with_jacobian(many, transforms).log_prob(points), expected, atol=1e-9
    )


@pytest.mark.parametrize("transforms", PAIRS)
def test_the_joint_mode_is_not_lower_than_on_a_grid(transforms: tuple) -> None:
    given = Distribution(correlated(0.8), transforms)
    u = np.stack(np.meshgrid(*[np.linspace(-4.0, 4.0, 401)] * 2), axis=-1).reshape(-1, 2)
    y = np.stack([each.forward(u[:, t]) for t, each in enumerate(transforms)], axis=1)
    many = GaussianMixture(*(p.repeat(len(y), axis=0) for p in given.mixture.arrays()))
    highest = Distribution(many, transforms).log_prob(y).max()
    assert given.log_prob(given.mode())[0] >= highest - 1e-9


@pytest.mark.parametrize("transforms", PAIRS)
def test_the_density_is_zero_beyond_any_bound(transforms: tuple) -> None:
    given = Distribution(correlated(0.95), transforms)
    for target, each in enumerate(transforms):
        for end in (each.lower, each.upper):
            if end is not None:
                y = given.mode()
                y[0, target] = end
                assert given.log_prob(y)[0] == -np.inf
                assert given.log_prob(y, marginal=True)[0, target] == -np.inf


def test_the_nll_of_a_model_with_correlated_targets_is_infinite_at_a_bound() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 1)), rng.random((60, 2)) + 0.1
    positive = transform_between(0.0, None)
    schema = schema_of(x, y, {"y0": positive, "y1": positive})
    settings = Settings(mixtures=2, hidden=(4,), frequencies=0, epochs=2, covariance="full")
    model, _ = fitted(Dataset(x, y), settings, schema)
    y[:3] = [[0.0, 1.0], [1.0, -2.0], [0.0, 0.0]]
    nll = model.nll(x, y)
    assert (nll[:3] == np.inf).all()
    np.testing.assert_allclose(nll[3:], -model.distribution(x).log_prob(y)[3:])
