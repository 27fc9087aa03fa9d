"""Quantiles invert the cdf to the last digits, and never cross."""

import numpy as np
import pytest
from density.mixtures import Truth, affine, distribution, extreme, ordinary, thorough, univariate
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.special import ndtri

pytestmark = pytest.mark.filterwarnings("error")

LADDER = [1e-10, 1e-7, 1e-3, 0.05, 0.25, 0.5, 0.7, 0.95, 0.999, 1.0 - 1e-6, 1.0 - 1e-10]
probabilities = st.lists(st.floats(1e-10, 1.0 - 1e-10), min_size=3, max_size=3).map(
    lambda more: np.array(LADDER + more)
)
# Two narrow components with a gap of 1e4 sigma between them, where the cdf is 0.5.
GAP = distribution([[0.0, 0.0]], [[-1.0, 1.0]], [[1e-4, 1e-4]])
# Neighbouring floats are not much closer than a sigma.
SPARSE = distribution([[0.0, -1.0]], [[1e8, 1e8 + 3.0]], [[1.0, 2.0]])


@given(univariate(), probabilities)
@example(GAP, np.array([0.5 - 1e-12, 0.5, 0.5 + 1e-12]))
@example(SPARSE, np.array(LADDER))
@thorough(250)
def test_the_cdf_at_a_quantile_is_its_probability(one, p):
    truth, found = Truth(one), one.quantile(p)[0]
    close = np.abs(truth.excess(found, p)) <= 1e-12
    # Otherwise p lies between the cdf at the two neighbouring floats, and no float is closer.
    before, after = (truth.excess(np.nextafter(found, to), p) for to in (-np.inf, np.inf))
    assert (close | ((before <= 1e-12) & (after >= -1e-12))).all()


@given(univariate(), probabilities)
@example(GAP, np.array([0.5 - 1e-12, 0.5, 0.5 + 1e-12]))
@example(SPARSE, np.array(LADDER))
@thorough(250)
def test_a_quantile_is_as_close_as_the_density_determines(one, p):
    """It is within 1e-9 of the quantiles of p minus and plus 2 in its thirteenth digit."""
    truth, found = Truth(one), one.quantile(p)[0]
    apart = 1e-9 * np.maximum(np.abs(found), one.std()[0])
    unsure = 2e-13 * np.minimum(p, 1.0 - p)
    assert (truth.excess(found + apart, p) >= -unsure).all()
    assert (truth.excess(found - apart, p) <= unsure).all()


@given(univariate(), probabilities)
@thorough(50)
def test_where_determined_quantiles_are_those_found_by_bisection(one, p):
    truth, found = Truth(one), one.quantile(p)[0]
    expected = truth.quantile(p).astype(np.float64)
    apart = 1e-9 * np.maximum(np.abs(expected), one.std()[0])
    unsure = 2e-13 * np.minimum(p, 1.0 - p)
    low, high = (truth.excess(expected + side * 0.5 * apart, p) for side in (-1.0, 1.0))
    determined = (low < -unsure) & (high > unsure)
    assert (np.abs(found - expected) <= apart)[determined].all()


@given(univariate() | extreme(), st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4))
@example(GAP, [0.5])
@thorough(120)
def test_quantiles_never_cross(one, starts):
    """The probabilities are equal, neighbouring and distant ones, in random order."""
    p = [p for start in starts for p in (start, start, np.nextafter(start, 0.0), 1.0 - start)]
    p = np.array([*LADDER, *p, 0.0, 1.0])
    p = p[np.random.default_rng(len(p)).permutation(len(p))]
    found = one.quantile(p)
    rising = np.argsort(p, kind="stable")
    assert (found[:, rising[1:]] >= found[:, rising[:-1]]).all()
    inside = (p > 0.0) & (p < 1.0)
    assert np.isfinite(found[:, inside]).all()
    assert (found[:, p == 0.0] == -np.inf).all()
    assert (found[:, p == 1.0] == np.inf).all()
    equal = p[rising[1:]] == p[rising[:-1]]
    assert (found[:, rising[1:]] == found[:, rising[:-1]])[:, equal].all()


@given(univariate() | extreme())
@example(GAP)
@thorough(60)
def test_quantiles_computed_one_by_one_do_not_cross(one):
    found = np.stack([one.quantile(p) for p in LADDER])
    assert (np.diff(found, axis=0) >= 0.0).all()


@given(univariate() | extreme(), st.floats(0.001, 0.999))
@thorough(60)
def test_median_and_interval_are_quantiles(one, coverage):
    tails = [0.5 * (1.0 - coverage), 0.5 * (1.0 + coverage)]
    median, interval = one.median(), one.interval(coverage)
    np.testing.assert_array_equal(median, one.quantile(0.5))
    np.testing.assert_array_equal(interval, one.quantile(tails))
    assert (interval[:, 0] <= median).all()
    assert (median <= interval[:, 1]).all()
    assert (one.interval(0.5 * coverage)[:, 0] >= interval[:, 0]).all()


@pytest.mark.parametrize("mu", [0.0, -3.0, 1e6])
def test_one_component_has_the_quantiles_of_a_normal_distribution(mu):
    p = np.array(LADDER)
    single = distribution([[0.0]], [[mu]], [[2.5]])
    spare = distribution([[0.0, -np.inf]], [[mu, 7.0]], [[2.5, 1e-3]])
    for one in (single, spare):
        np.testing.assert_allclose(one.quantile(p)[0], mu + 2.5 * ndtri(p), rtol=1e-12, atol=1e-12)


def test_a_decreasing_function_turns_lower_quantiles_into_upper_ones():
    p = np.array(LADDER)
    one = ordinary(50, 4)
    apart = 1e-9 * one.std()[:, None]
    mirrored = affine(one, -1.0, 0.0).quantile(1.0 - p)
    # 1 - p is rounded, which matters in a tail of 1e-10.
    easy = np.minimum(p, 1.0 - p) > 1e-8
    assert (np.abs(one.quantile(p) + mirrored) <= apart)[:, easy].all()


@pytest.mark.parametrize("p", [-1e-300, 1.0 + 1e-15, np.nan])
def test_a_number_that_is_not_a_probability_is_refused(p):
    with pytest.raises(ValueError, match="probability"):
        GAP.quantile([0.5, p])


@pytest.mark.parametrize("coverage", [0.0, 1.0, -0.5, np.nan])
def test_a_number_that_is_not_a_coverage_is_refused(coverage):
    with pytest.raises(ValueError, match="coverage"):
        GAP.interval(coverage)


def test_a_quantile_above_the_sum_of_rounded_weights_is_found():
    """The sum of 19 equal weights is less than 1, by rounding, and less than p."""
    one = distribution(np.zeros((1, 19)), np.arange(19.0)[None], np.full((1, 19), 0.1))
    p = 1.0 - 2.0**-53
    assert one.mixture.pi.cumsum(axis=1)[0, -1] < p
    assert 18.0 < one.quantile(p)[0] < 20.0
