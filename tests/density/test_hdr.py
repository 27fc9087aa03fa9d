"""Highest-density regions hold their mass, and no point outside is denser than one inside."""

import numpy as np
import pytest
from density.mixtures import Truth, distribution, ordinary, thorough, univariate
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.special import ndtri

from mdncli.density.hdr import join_closest

pytestmark = pytest.mark.filterwarnings("error")

FLAT_TOP = distribution([[0.0, 0.0]], [[-1.0, 1.0]], [[1.0, 1.0]])
SHOULDER = distribution([[0.0, -2.0]], [[0.0, 1.0]], [[1.0, 1e-6]])
DUPLICATES = distribution([[0.0, 0.0, -1.0]], [[2.0, 2.0, 2.0]], [[1.0, 1.0, 1.0]])
coverages = st.floats(0.01, 0.999) | st.sampled_from([0.5, 0.9, 0.95])


def region(one, coverage: float):
    """Return the intervals of a single row."""
    found = one.hdr(coverage)[0]
    return found[~np.isnan(found[:, 0])]


def rounding(truth: Truth, found) -> float:
    """Return the mass that the last digit of the ends stands for."""
    ends_of_region = found.ravel()
    return float(
        (np.exp(truth.log_density(ends_of_region)) * np.spacing(np.abs(ends_of_region))).sum()
    )


@given(univariate(), coverages)
@example(FLAT_TOP, 0.01)
@example(FLAT_TOP, 0.001)
@example(SHOULDER, 0.5)
@example(SHOULDER, 0.05)
@example(DUPLICATES, 0.9)
@thorough(150)
def test_a_region_holds_its_mass(one, coverage):
    truth, found = Truth(one), region(one, coverage)
    assert abs(truth.mass(found) - coverage) <= 1e-9 + rounding(truth, found)


@given(univariate(), coverages)
@example(FLAT_TOP, 0.01)
@example(SHOULDER, 0.5)
@example(SHOULDER, 0.05)
@example(DUPLICATES, 0.9)
@thorough(150)
def test_no_point_outside_is_denser_than_one_inside(one, coverage):
    truth, ends_of_region = Truth(one), region(one, coverage).ravel()
    assert (np.diff(ends_of_region) >= 0.0).all()
    y = truth.grid()
    # An end may be rounded in either direction.
    y = y[
        (np.abs(y[:, None] - ends_of_region) > 4.0 * np.spacing(np.abs(ends_of_region))).all(axis=1)
    ]
    heights, inside = truth.log_density(y), np.searchsorted(ends_of_region, y) % 2 == 1
    lowest, highest = heights[inside].min(initial=np.inf), heights[~inside].max(initial=-np.inf)
    assert lowest >= highest - 1e-9


@given(univariate(), coverages)
@thorough(60)
def test_a_region_is_not_longer_than_the_central_interval(one, coverage):
    length = np.diff(region(one, coverage)).sum()
    [[low, high]] = one.interval(coverage)
    assert length <= (high - low) * (1.0 + 1e-9) + 4.0 * np.spacing(max(abs(low), abs(high)))


@pytest.mark.parametrize("coverage", [1e-6, 0.3, 0.9, 1.0 - 1e-9])
def test_the_region_of_one_component_is_the_central_interval(coverage):
    one = distribution([[0.0]], [[3.0]], [[2.0]])
    [[low, high]] = region(one, coverage)
    reach = 2.0 * ndtri(0.5 + 0.5 * coverage)
    np.testing.assert_allclose([low, high], [3.0 - reach, 3.0 + reach], rtol=1e-7)


def test_every_mode_is_inside_of_all_regions():
    many = ordinary(60, 5)
    for coverage in (0.01, 0.5, 0.99):
        low, high = np.moveaxis(many.hdr(coverage), 2, 0)
        mode = many.mode()[:, None]
        assert ((low <= mode) & (mode <= high)).any(axis=1).all()


def test_flat_tops_of_every_kind_have_whole_regions():
    """Rounding creates maxima there. Still every interval has two ends and the mass is right."""
    rng = np.random.default_rng(1)
    rows = 200
    off, tilt = (
        10.0 ** rng.uniform(-17.0, -3.0, shape) * rng.choice([-1.0, 0.0, 1.0], shape)
        for shape in ((rows, 1), (rows, 2))
    )
    flat = distribution(tilt, np.array([[-1.0, 1.0]]) * (1.0 + off) + 1e6, np.ones((rows, 2)))
    for coverage in (1e-9, 1e-3, 0.5):
        found = flat.hdr(coverage)
        ends = found.reshape(rows, -1)
        assert (np.isnan(found[:, :, 0]) == np.isnan(found[:, :, 1])).all()
        assert not np.isnan(ends[:, 0]).any()
        steps = np.diff(ends, axis=1)
        assert (np.isnan(steps) | (steps >= 0.0)).all()
        masses = flat.cdf(found[:, 0, 1]) - flat.cdf(found[:, 0, 0])
        for low, high in np.moveaxis(found[:, 1:], 0, 2):
            masses += np.nan_to_num(flat.cdf(high) - flat.cdf(low))
        # For a smaller coverage the density is the same number everywhere in the region.
        if coverage >= 1e-3:
            np.testing.assert_allclose(masses, coverage, rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("coverage", [0.0, 1.0, 1.5, np.nan])
def test_a_number_that_is_not_a_coverage_is_refused(coverage):
    with pytest.raises(ValueError, match="mass"):
        FLAT_TOP.hdr(coverage)


@st.composite
def regions(draw):
    """Return rows of up to six intervals in rising order, with NaN at the end."""
    rows, most = draw(st.integers(0, 4)), draw(st.integers(1, 6))
    found = np.full((rows, most, 2), np.nan)
    for at in range(rows):
        intervals = draw(st.integers(1, most))
        ends = st.integers(-1000, 1000).map(float)
        drawn = draw(st.lists(ends, min_size=2 * intervals, max_size=2 * intervals, unique=True))
        found[at, :intervals] = np.sort(drawn).reshape(-1, 2)
    return found


@given(regions(), st.integers(1, 7))
@thorough(200)
def test_joined_regions_cover_all_and_leave_the_widest_gaps(found, most):
    fewer, more = join_closest(found, most)
    assert fewer.shape == (len(found), most, 2)
    for before, after, had_more in zip(found, fewer, more, strict=True):
        before, after = (each[~np.isnan(each[:, 0])] for each in (before, after))
        assert had_more == (len(before) > most)
        assert len(after) == min(len(before), most)
        covers = (after[:, None, 0] <= before[:, 0]) & (before[:, 1] <= after[:, None, 1])
        assert covers.any(axis=0).all()
        assert {after[0, 0], after[-1, 1]} == {before[0, 0], before[-1, 1]}
        gaps, left = (np.sort(each[1:, 0] - each[:-1, 1]) for each in (before, after))
        np.testing.assert_array_equal(left, gaps[len(gaps) - len(left) :])


@given(univariate(), coverages)
@thorough(40)
def test_joined_regions_hold_at_least_the_mass(one, coverage):
    found = one.hdr(coverage)
    fewer, _ = join_closest(found, 2)
    truth = Truth(one)
    fewer = fewer[0][~np.isnan(fewer[0, :, 0])]
    assert truth.mass(fewer) >= truth.mass(region(one, coverage)) * (1.0 - 1e-15)
