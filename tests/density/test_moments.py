"""The CRPS in closed form, against integrals."""

import itertools

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from density.mixtures import Truth, ordinary, thorough, univariate
from hypothesis import given
from hypothesis import strategies as st

from mdncli.density.distribution import Distribution
from mdncli.density.mixture import GaussianMixture
from mdncli.density.moments import crps

ROWS, COMPONENTS, TARGETS = 7, 4, 3


def mixture(seed: int = 0) -> tuple[GaussianMixture, np.ndarray]:
    rng = np.random.default_rng(seed)
    pi = rng.dirichlet(np.ones(COMPONENTS), ROWS)
    shape = (ROWS, COMPONENTS, TARGETS)
    sigma = rng.uniform(0.1, 2.0, shape)
    return GaussianMixture(np.log(pi), rng.normal(size=shape), sigma), rng.normal(
        size=(ROWS, TARGETS)
    )


def test_cdf_is_that_of_scipys_normals() -> None:
    density, y = mixture()
    parts = scipy.stats.norm(density.mu, density.sigma).cdf(y[:, None])
    np.testing.assert_allclose(
        Distribution(density).cdf(y), (density.pi[:, :, None] * parts).sum(axis=1)
    )


@pytest.mark.parametrize(("row", "target"), [(0, 0), (3, 1), (6, 2)])
def test_crps_is_the_integral_of_the_squared_difference(row: int, target: int) -> None:
    density, y = mixture()
    pi, mu, sigma = density.pi[row], density.mu[row, :, target], density.sigma[row, :, target]
    value = y[row, target]

    def difference(at: float) -> float:
        return (float((pi * scipy.stats.norm(mu, sigma).cdf(at)).sum()) - (at >= value)) ** 2

    below = scipy.integrate.quad(difference, -15.0, value, epsabs=1e-12, limit=400)[0]
    above = scipy.integrate.quad(difference, value, 15.0, epsabs=1e-12, limit=400)[0]
    assert crps(density, y)[row, target] == pytest.approx(below + above, abs=1e-9)


def test_the_crps_in_pieces_is_the_same(monkeypatch) -> None:
    density, y = mixture()
    whole = crps(density, y)
    monkeypatch.setattr("mdncli.density.moments._PAIRS_AT_ONCE", 40)
    np.testing.assert_allclose(crps(density, y), whole, rtol=1e-12)


def test_intervals_contain_their_share_of_draws() -> None:
    rng = np.random.default_rng(1)
    many = GaussianMixture(
        np.tile(np.log([0.3, 0.7]), (20_000, 1)),
        np.tile([[[-1.0], [2.0]]], (20_000, 1, 1)),
        np.tile([[[0.5], [1.0]]], (20_000, 1, 1)),
    )
    y, _ = many.sample(1, rng)
    for level in (0.5, 0.9):
        low, high = Distribution(many).interval(level).T
        inside = (y[:, 0, 0] >= low) & (y[:, 0, 0] <= high)
        assert inside.mean() == pytest.approx(level, abs=0.01)


@given(univariate(), st.floats(-1.0, 1.0), st.integers(-3, 3))
@thorough(40)
def test_crps_of_any_mixture_is_that_integral(one, z, decades):
    """The error is 1e-9 of the largest term, the mean distance of a draw from the value."""
    truth = Truth(one)
    value = float(one.mu[0, 0] + z * 10.0**decades * one.sigma[0, 0])
    steps = np.array([-9.0, -6.0, -4.0, -2.0, -0.7, 0.7, 2.0, 4.0, 6.0, 9.0])
    ends = np.unique(np.append((truth.mu + truth.sigma * steps).astype(float), value))

    def difference(at: float) -> float:
        """Return the square of the tail without cancellation, on the side of the piece."""
        return float(truth.tails(at)[int(at >= value)][0]) ** 2

    pieces = [
        scipy.integrate.quad(difference, low, high, epsabs=0.0, epsrel=1e-10, limit=20)[0]
        for low, high in itertools.pairwise(ends)
        # Between ends that are a few floats apart, quad would evaluate on the wrong side.
        if high - low > 1e-13 * abs(high)
    ]
    largest = float((truth.pi * np.hypot(value - truth.mu, truth.sigma)).sum())
    assert one.crps(value)[0] == pytest.approx(sum(pieces), abs=1e-9 * largest, rel=0.0)


def test_crps_is_that_of_scoringrules() -> None:
    theirs = pytest.importorskip("scoringrules")
    many = ordinary(50, 4)
    y = np.random.default_rng(0).normal(scale=3.0, size=50)
    expected = theirs.crps_mixnorm(y, many.mu, many.sigma, many.pi)
    np.testing.assert_allclose(many.crps(y), expected, rtol=1e-9)
