"""Angles: every answer against sums over turns and integrals by SciPy."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from mdncli.columns.discrete import Wrapped
from mdncli.density.distribution import Distribution
from mdncli.density.mixture import GaussianMixture

ROWS, COMPONENTS = 6, 3
TURNS = np.arange(-30, 31)
KINDS = {"degrees": Wrapped(360.0), "a day": Wrapped(24.0), "centred": Wrapped(2.0, -1.0)}


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def turn(request: pytest.FixtureRequest) -> Wrapped:
    found: Wrapped = request.param
    return found


def mixtures(turn: Wrapped, seed: int = 0) -> GaussianMixture:
    """Return mixtures with means in several turns, and sigmas from narrow to almost uniform."""
    rng = np.random.default_rng(seed)
    log_pi = np.log(rng.dirichlet(np.ones(COMPONENTS), ROWS))
    mu = turn.period * rng.uniform(-1.5, 2.5, (ROWS, COMPONENTS, 1))
    return GaussianMixture(log_pi, mu, turn.period * rng.uniform(0.02, 0.45, mu.shape))


@pytest.fixture
def predicted(turn: Wrapped) -> Distribution:
    return Distribution(mixtures(turn), [turn])


def density(turn: Wrapped, row: int, y: float) -> float:
    mixture = mixtures(turn)
    pi, mu, sigma = mixture.pi[row], mixture.mu[row, :, 0], mixture.sigma[row, :, 0]
    return float((pi * norm.pdf(y + turn.period * TURNS[:, None], mu, sigma)).sum())


def mass(turn: Wrapped, row: int, low: float, high: float) -> float:
    """Return the probability from one angle to another; over the cut if the second is less."""
    if high < low:
        high += turn.period
    mixture = mixtures(turn)
    pi, mu, sigma = mixture.pi[row], mixture.mu[row, :, 0], mixture.sigma[row, :, 0]
    ends = (end + turn.period * TURNS[:, None] for end in (low, high))
    upto = [norm.cdf(end, mu, sigma) for end in ends]
    return float((pi * (upto[1] - upto[0])).sum())


def test_the_density_is_the_sum_over_turns(turn: Wrapped, predicted: Distribution) -> None:
    for y in turn.origin + turn.period * np.array([0.0, 0.21, 0.5, 0.999]):
        expected = [density(turn, row, y) for row in range(ROWS)]
        np.testing.assert_allclose(np.exp(predicted.log_prob(y)), expected, rtol=1e-9)
        np.testing.assert_allclose(np.exp(predicted.log_prob(y + turn.period)), expected, rtol=1e-9)


def test_the_cdf_counts_from_the_origin(turn: Wrapped, predicted: Distribution) -> None:
    for share in (0.0, 0.3, 0.8, 1.0):
        y = turn.origin + share * turn.period
        expected = [mass(turn, row, turn.origin, y) for row in range(ROWS)]
        np.testing.assert_allclose(predicted.cdf(y), expected, atol=1e-10)
        np.testing.assert_allclose(
            predicted.cdf(y, upper=True), 1.0 - np.array(expected), atol=1e-10
        )


def test_the_cdf_of_an_angle_beyond_a_turn_is_that_of_the_angle(
    turn: Wrapped, predicted: Distribution
) -> None:
    y = turn.origin + 0.3 * turn.period
    for turns in (-2.0, 1.0):
        moved = predicted.cdf(y + turns * turn.period)
        np.testing.assert_allclose(moved, predicted.cdf(y), atol=1e-12)
    logs = predicted.cdf(turn.origin + turn.period, upper=True, log=True)
    assert (logs == -np.inf).all()


def test_mean_and_spread_are_those_of_the_unit_vectors(
    turn: Wrapped, predicted: Distribution
) -> None:
    rate = 2.0 * np.pi / turn.period
    for row in range(ROWS):
        parts = [
            quad(
                lambda y, f=f, row=row: f(rate * y) * density(turn, row, y),
                turn.origin,
                turn.origin + turn.period,
                limit=200,
            )[0]  # type: ignore[misc]
            for f in (np.cos, np.sin)
        ]
        angle, length = np.arctan2(parts[1], parts[0]) / rate, np.hypot(*parts)
        away = (predicted.mean()[row] - angle + 0.5 * turn.period) % turn.period - 0.5 * turn.period
        assert abs(away) < 1e-6 * turn.period
        assert predicted.std()[row] == pytest.approx(
            np.sqrt(-2.0 * np.log(length)) / rate, rel=1e-6
        )


def test_quantiles_begin_opposite_the_mean(turn: Wrapped, predicted: Distribution) -> None:
    start = turn.forward(predicted.mean() + 0.5 * turn.period)
    levels = [0.05, 0.5, 0.95]
    found = predicted.quantile(levels)
    assert ((found >= turn.origin) & (found < turn.origin + turn.period)).all()
    for row in range(ROWS):
        for position, level in enumerate(levels):
            assert mass(turn, row, start[row], found[row, position]) == pytest.approx(
                level, abs=1e-9
            )
    for position, level in enumerate(levels):
        np.testing.assert_allclose(predicted.cdf_around_mean(found[:, position]), level, atol=1e-9)


def test_the_mode_is_the_highest_point(turn: Wrapped, predicted: Distribution) -> None:
    grid = turn.origin + turn.period * np.linspace(0.0, 1.0, 2001)
    for row, mode in enumerate(predicted.mode()):
        heights = [density(turn, row, y) for y in grid]
        assert density(turn, row, mode) >= max(heights) * (1.0 - 1e-9)


def test_regions_hold_their_probability_across_the_cut(
    turn: Wrapped, predicted: Distribution
) -> None:
    crossing = 0
    for coverage in (0.3, 0.7, 0.9):
        for row, intervals in enumerate(predicted.hdr(coverage)):
            there = intervals[~np.isnan(intervals[:, 0])]
            held = sum(mass(turn, row, *ends) for ends in there)
            assert held == pytest.approx(coverage, abs=1e-9)
            heights = [density(turn, row, end) for end in there.ravel()]
            np.testing.assert_allclose(heights, heights[0], rtol=1e-6)
            crossing += int((there[:, 1] < there[:, 0]).sum())
    assert crossing > 0


def test_the_score_is_that_of_arcs(turn: Wrapped, predicted: Distribution) -> None:
    draws = predicted.sample(4000, seed=1)

    def arc(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        away = np.mod(one - other, turn.period)
        return np.minimum(away, turn.period - away)

    y = turn.origin + 0.37 * turn.period
    among = arc(draws[:, :2000], draws[:, 2000:]).mean(axis=1)
    expected = arc(draws, np.full_like(draws, y)).mean(axis=1) - 0.5 * among
    np.testing.assert_allclose(predicted.crps(y), expected, atol=0.012 * turn.period)
    # A narrow peak at the value itself: the score of a Gaussian on a line.
    width = 0.01 * turn.period
    one = GaussianMixture(np.zeros((1, 1)), np.full((1, 1, 1), y), np.full((1, 1, 1), width))
    exact = width * (np.sqrt(2.0) - 1.0) / np.sqrt(np.pi)
    assert Distribution(one, [turn]).crps(y)[0] == pytest.approx(exact, rel=1e-4)


def test_draws_are_between_the_ends(turn: Wrapped, predicted: Distribution) -> None:
    draws = predicted.sample(20_000, seed=2)
    assert ((draws >= turn.origin) & (draws < turn.origin + turn.period)).all()
    middle = turn.origin + 0.5 * turn.period
    np.testing.assert_allclose((draws <= middle).mean(axis=1), predicted.cdf(middle), atol=0.015)
