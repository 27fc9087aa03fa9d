"""How held-out rows weigh, prune and calibrate the rungs."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.stats
from fits import fitted, two_branches

from mdncli.columns.dataset import Dataset
from mdncli.density.network import Architecture, split_head
from mdncli.learning import ladder
from mdncli.learning.ladder import HeldOut, Stack, Stacking, targets_of_pool
from mdncli.settings import Settings

# Weights.


def gaussians(y: np.ndarray, *means: np.ndarray, hidden: bool = False) -> list[HeldOut]:
    """Return a rung for each mean, (N,): a Gaussian with this mean and σ = 1 at each row of y."""
    architecture = Architecture(1, (4,) if hidden else (), "silu", "diagonal", 0)
    raws = [np.column_stack([0.0 * mean, mean, 0.0 * mean]) for mean in means]
    return [HeldOut(architecture, [raw], y[:, None], np.array([1e-6])) for raw in raws]


def stacked(rungs: list[HeldOut], **more: object) -> Stack:
    given: dict = {
        **{"row_weights": np.ones(len(rungs[0].y)), "log_background": None, "least": 0.0},
        **{"calibrate": False, **more},
    }
    return Stacking(rungs, **given).solve()


def best_weights(terms: np.ndarray, row_weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the weights of densities, (R,), with the lowest NLL, and it, by a general method."""

    def nll(logits: np.ndarray) -> float:
        log_weights = scipy.special.log_softmax(logits)
        log_density = scipy.special.logsumexp(log_weights[:, None] + terms, axis=0)
        return -float(np.average(log_density, weights=row_weights))

    found = scipy.optimize.minimize(nll, np.zeros(len(terms)), method="BFGS", tol=1e-10)
    return scipy.special.softmax(found.x), float(found.fun)


@pytest.mark.parametrize("background", [False, True])
def test_the_weights_are_those_of_a_general_optimizer(
    monkeypatch: pytest.MonkeyPatch, background: bool
) -> None:
    monkeypatch.setattr(ladder, "_PRIOR_ROWS", 1e-6)
    rng = np.random.default_rng(0)
    y, which = rng.normal(size=1000), rng.choice(3, 1000, p=[0.6, 0.3, 0.1])
    # Each rung knows the location of other rows.
    rungs = gaussians(y, *(np.where(which == part, y, y + 3.0) for part in range(3)))
    row_weights = rng.uniform(0.5, 1.5, 1000)
    log_background = scipy.stats.norm(0.0, 2.0).logpdf(y) if background else None
    terms = np.stack([rung.log_prob() for rung in rungs] + [log_background] * background)
    found = stacked(rungs, row_weights=row_weights, log_background=log_background, least=1e-9)
    expected, nll = best_weights(terms, row_weights)
    weights = [*found.weights, found.background][: len(expected)]
    np.testing.assert_allclose(weights, expected, atol=2e-3)
    assert found.nll == pytest.approx(nll, abs=1e-5)
    assert sum(found.weights) + found.background == pytest.approx(1.0)


def test_the_background_keeps_its_least_weight() -> None:
    y = np.random.default_rng(0).normal(size=500)
    far = scipy.stats.norm(0.0, 100.0).logpdf(y)
    found = stacked(gaussians(y, 0.0 * y), log_background=far, least=0.01)
    assert (found.weights, found.background) == ([0.99], 0.01)


def test_a_rung_without_merit_is_left_out() -> None:
    rng = np.random.default_rng(0)
    y, known = rng.normal(size=2000), rng.normal(size=2000)
    good, worse, same, useful = known, known + 0.5 * rng.normal(size=2000), known, -known
    # A half of the rows lies at the opposite of `known`.
    sign = rng.choice([1.0, -1.0], 2000)
    rungs = gaussians(sign * 4.0 * known + 0.3 * y, *(4.0 * m for m in (good, worse, same, useful)))
    weights = np.array(stacked(rungs).weights)
    assert (weights > 0.0).sum() == 2
    assert weights[1] == 0.0
    assert weights[3] == pytest.approx(0.5, abs=0.05)
    # One rung always remains.
    assert stacked(rungs[1:2]).weights == [1.0]


def test_rows_of_no_weight_do_not_count() -> None:
    rng = np.random.default_rng(0)
    y, row_weights = rng.normal(size=600), np.repeat([1.0, 0.0], 300)
    knows, other = np.where(row_weights > 0.0, y, 50.0), np.where(row_weights > 0.0, y + 3.0, y)
    assert stacked(gaussians(y, knows, other), row_weights=row_weights).weights == [1.0, 0.0]


# Calibration.


def quantiles(rows: int, sigma: float) -> np.ndarray:
    """Return the quantiles of a Gaussian: rows whose moments hardly vary by chance."""
    return scipy.stats.norm(0.0, sigma).ppf((np.arange(rows) + 0.5) / rows)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_calibration_recovers_the_scale_of_sigma(sigma: float) -> None:
    y = quantiles(5000, sigma)
    found = stacked(gaussians(y, 0.0 * y, hidden=True), calibrate=True)
    assert found.sigma_scale == pytest.approx(sigma, rel=0.03)
    assert found.temperature == 1.0
    # Models in closed form are not calibrated, and no model is without `calibrate`.
    for rungs, calibrate in ((gaussians(y, 0.0 * y), True), (gaussians(y, 0.0 * y), False)):
        found = stacked(rungs, calibrate=calibrate)
        assert (found.sigma_scale, found.temperature) == (1.0, 1.0)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_calibration_recovers_the_temperature_of_pi(factor: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=4000)
    upper = rng.random(4000) < scipy.special.expit(logits)
    y = np.where(upper, 5.0, -5.0) + rng.permutation(quantiles(4000, 1.0))
    one = np.ones(4000)
    raw = np.column_stack([factor * logits, 0 * one, 5 * one, -5 * one, 0 * one, 0 * one])
    architecture = Architecture(2, (4,), "silu", "diagonal", 0)
    rung = HeldOut(architecture, [raw], y[:, None], np.array([1e-6]))
    found = stacked([rung], calibrate=True)
    assert found.temperature == pytest.approx(factor, rel=0.12)
    assert found.sigma_scale == pytest.approx(1.0, rel=0.05)


def test_with_few_rows_calibration_changes_little() -> None:
    scales = []
    for rows in (5, 20, 100, 1000):
        y = quantiles(rows, 2.0)
        scales.append(stacked(gaussians(y, 0.0 * y, hidden=True), calibrate=True).sigma_scale)
    assert 1.0 < scales[0] < 1.5
    assert scales == sorted(scales)
    assert scales[-1] == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("disagreement", [0.0, 0.3, 0.7, 1.5])
def test_a_pool_gets_the_scale_that_is_best_for_it_and_not_for_one_member(
    disagreement: float,
) -> None:
    rng = np.random.default_rng(0)

    def drawn() -> tuple[np.ndarray, np.ndarray, list[HeldOut]]:
        """Return y, the means of five members whose errors are independent, and their rungs."""
        y, means = rng.normal(size=4000), disagreement * rng.normal(size=(5, 4000))
        return y, means, gaussians(y, *means, hidden=True)

    y, means, rungs = drawn()
    raw = rungs[0].raw[0]
    mixture = split_head(raw, rungs[0].architecture, np.array([1e-6]))
    seen = targets_of_pool(mixture, means[:, :, None], y[:, None])
    found = stacked([replace(rungs[0], y_of_pool=seen)], calibrate=True).sigma_scale
    # The truth: the pool at rows that no member learned from.
    _, _, fresh = drawn()
    pool = replace(fresh[0], raw=[rung.raw[0] for rung in fresh])

    def nll(scale: float) -> float:
        return -float(pool.log_prob(scale).mean())

    best = scipy.optimize.minimize_scalar(nll, bounds=(0.2, 3.0), method="bounded")
    assert nll(found) < best.fun + 0.012
    if disagreement > 0.5:
        alone = stacked(rungs[:1], calibrate=True).sigma_scale
        assert nll(alone) > best.fun + 0.03


def test_no_calibration_takes_sigma_below_its_minimum() -> None:
    y = quantiles(500, 0.01)
    [rung] = gaussians(y, 0.0 * y, hidden=True)
    rung = HeldOut(rung.architecture, [rung.raw[0] - [0.0, 0.0, 1.0]], rung.y, np.array([0.3]))
    highest = -math.log(0.3 * math.sqrt(2.0 * math.pi))
    assert stacked([rung], calibrate=True).sigma_scale < 0.5
    for scale in (1e-9, 0.4, 1.0):
        assert rung.log_prob(scale).max() <= highest


# Whole fits.


def smooth_curve(rows: int) -> Dataset:
    rng = np.random.default_rng(0)
    x = rng.uniform(-3.0, 3.0, (rows, 2))
    return Dataset(x, np.sin(x[:, :1]) + 0.1 * x[:, 1:] + 0.1 * rng.normal(size=(rows, 1)))


def straight_line(rows: int) -> Dataset:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 2))
    return Dataset(x, x @ [[2.0], [-1.0]] + 0.5 * rng.normal(size=(rows, 1)))


@pytest.mark.parametrize("rows", [60, 400])
def test_a_straight_line_keeps_the_linear_model(rows: int) -> None:
    model, _ = fitted(straight_line(rows), Settings(steps=60))
    assert model.main.name == "linear"
    assert model.main.weight > 0.8
    fresh = straight_line(4000)
    best = 0.5 * math.log(2.0 * math.pi * 0.25) + 0.5
    assert model.mean_nll(fresh.x, fresh.y) < best + 0.08


def test_a_plain_table_that_is_not_linear_keeps_one_network_of_five_components() -> None:
    model, _ = fitted(two_branches(600), Settings())
    [rung] = model.rungs
    assert rung.name in ("plain", "periodic")
    assert (len(rung.networks), rung.architecture.mixtures) == (1, 5)


@pytest.mark.parametrize("named", [{"ladder": False}, {"mixtures": 5}], ids=str)
def test_without_the_ladder_there_is_exactly_one_network(named: dict) -> None:
    model, _ = fitted(straight_line(100), Settings(steps=20, **named))
    [rung] = model.rungs
    assert rung.name == "networks"
    assert (len(rung.networks), rung.architecture.mixtures) == (1, 5)
    assert rung.architecture.hidden == (64, 64)


def test_the_weights_of_the_rungs_and_the_background_sum_to_one() -> None:
    model, _ = fitted(smooth_curve(400), Settings.of("best", members=2, epochs=8))
    assert model.background is not None
    total = sum(rung.weight for rung in model.rungs) + model.background.weight
    assert total == pytest.approx(1.0)
    assert all(math.isfinite(rung.nll) for rung in model.rungs)


def test_a_ladder_that_is_stopped_early_is_a_model() -> None:
    steps: list[int] = []
    model, _ = fitted(
        smooth_curve(300),
        Settings(epochs=50),
        stop=lambda: len(steps) > 20 or bool(steps.append(1)),
    )
    assert model.record.stopped == "interrupted"
    assert math.isfinite(model.record.nll_valid)
    assert math.isfinite(model.record.nll_train)


def test_best_learns_a_short_and_a_long_kind_for_several_targets() -> None:
    settings = Settings.of("best").for_rows(10_000, 2)
    short, long = ladder.network_rungs(settings, 10_000, targets=2)
    assert (short.name, long.name) == ("plain", "long")
    assert short.settings.mixtures == 10
    assert long.settings.mixtures == 20
    assert short.settings.epochs_for(10_000) < long.settings.epochs_for(10_000)
