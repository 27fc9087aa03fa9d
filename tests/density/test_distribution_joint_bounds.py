"""Several targets, some with bounds: joint answers, against draws and integrals."""

import numpy as np
import pytest
import scipy.integrate
from learning.fits import fitted, schema_of

from mdncli.columns.dataset import Dataset
from mdncli.columns.transforms import IDENTITY, transform_between
from mdncli.density.distribution import Distribution
from mdncli.density.mixture import GaussianMixture
from mdncli.density.modes import mean_shift
from mdncli.settings import Settings

ABOVE, BETWEEN = transform_between(1.0, None), transform_between(-1.0, 2.0)
BELOW, LOGIT = transform_between(None, 3.0), transform_between(-1.0, 2.0, 1)
PAIRS = [
    *((ABOVE, IDENTITY), (ABOVE, BELOW), (BETWEEN, IDENTITY), (BETWEEN, ABOVE)),
    *((BETWEEN, BETWEEN), (LOGIT, BETWEEN)),
]


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
@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_a_step_towards_a_joint_mode_never_lowers_the_density(
    transforms: tuple, rho: float
) -> None:
    mixture = correlated(rho, widest=1.5)
    if not rho:
        mixture = GaussianMixture(*mixture.arrays()[:3])
    many = GaussianMixture(*(part.repeat(200, axis=0) for part in mixture.arrays()))
    u = np.random.default_rng(0).normal(size=(1, 200, 2))

    def log_prob(u: np.ndarray) -> np.ndarray:
        jacobians = [each.log_abs_det_jacobian(u[0, :, t]) for t, each in enumerate(transforms)]
        return many.log_prob(u[0]) - sum(jacobians)

    before = log_prob(u)
    for _ in range(5):
        u = mean_shift(mixture, transforms, u)
        after = log_prob(u)
        assert (after >= before - 1e-12).all()
        before = after


def heights_on_a_grid(given: Distribution, reach: float) -> np.ndarray:
    """Return the log density of one row at the points of a grid over u, from -reach to reach."""
    u = np.stack(np.meshgrid(*[np.linspace(-reach, reach, 401)] * 2), axis=-1).reshape(-1, 2)
    y = np.stack([each.forward(u[:, t]) for t, each in enumerate(given.transforms)], axis=1)
    many = GaussianMixture(*(p.repeat(len(y), axis=0) for p in given.mixture.arrays()))
    return Distribution(many, given.transforms).log_prob(y)


@pytest.mark.parametrize("transforms", PAIRS)
@pytest.mark.parametrize("widest", [0.7, 1.5])
def test_the_joint_mode_is_not_lower_than_on_a_grid(transforms: tuple, widest: float) -> None:
    given = Distribution(correlated(0.8, widest), transforms)
    highest = heights_on_a_grid(given, 4.0).max()
    assert given.log_prob(given.mode())[0] >= highest - 1e-9


@pytest.mark.parametrize("seed", range(20))
def test_the_joint_mode_of_wide_components_between_bounds(seed: int) -> None:
    """Each component has a mode near each corner, and often the highest is not near its mean."""
    rng = np.random.default_rng(seed)
    mu, sigma = rng.normal(size=(1, 3, 2)), rng.uniform(0.4, 1.2, (1, 3, 2))
    rho = rng.uniform(-0.95, 0.95, 3)
    factor = np.zeros((1, 3, 2, 2))
    factor[..., 0, 0], factor[0, :, 1, 0], factor[0, :, 1, 1] = 1.0, rho, np.sqrt(1.0 - rho**2)
    mixture = GaussianMixture(np.log(rng.dirichlet(np.ones(3), 1)), mu, sigma, factor)
    given = Distribution(mixture, (BETWEEN, transform_between(0.0, 1.0)))
    # Beyond, floats near the upper bounds are too coarse to compare densities.
    assert np.abs(given.mixture.mu).max() < 6.0
    highest = heights_on_a_grid(given, 6.0).max()
    assert given.log_prob(given.mode())[0] >= highest - 1e-4


def test_the_search_leaves_a_minimum_in_the_middle() -> None:
    """By symmetry a step from the mean of this component leads nowhere."""
    mixture = GaussianMixture(np.zeros((1, 1)), np.zeros((1, 1, 2)), np.full((1, 1, 2), 1.0))
    given = Distribution(mixture, (BETWEEN, BETWEEN))
    one = Distribution(mixture.marginal([0]), (BETWEEN,))
    share = (float(one.mode()[0]) + 1.0) / 3.0
    found = (given.mode()[0] + 1.0) / 3.0
    np.testing.assert_allclose(np.minimum(found, 1.0 - found), min(share, 1.0 - share), rtol=1e-6)


def test_the_joint_mode_of_many_bounded_targets_needs_little_memory() -> None:
    rng = np.random.default_rng(0)
    mu, sigma = rng.normal(size=(3, 5, 8)), rng.uniform(0.2, 0.6, (3, 5, 8))
    mixture = GaussianMixture(np.log(rng.dirichlet(np.ones(5), 3)), mu, sigma)
    given = Distribution(mixture, [transform_between(0.0, 1.0)] * 8)
    best = given.log_prob(given.mode())
    for component in range(5):
        y = np.stack([t.forward(mu[:, component, i]) for i, t in enumerate(given.transforms)], 1)
        assert (best >= given.log_prob(y)).all()


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
