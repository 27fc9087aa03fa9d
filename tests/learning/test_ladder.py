"""The rungs without hidden layers, and how held-out rows weigh, prune and calibrate the rungs."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.stats
from fits import fitted, two_branches

from mdncli.columns.dataset import Dataset
from mdncli.density.mixture import GaussianMixture
from mdncli.density.network import Architecture, split_head
from mdncli.learning import ladder
from mdncli.learning.ladder import HeldOut, Stack, Stacking, linear, marginal
from mdncli.learning.splits import StandardizedRows
from mdncli.settings import Settings

# The rungs in closed form.


def table(rows: int, targets: int, noise: float, seed: int = 0) -> StandardizedRows:
    """Return rows whose targets are linear in four inputs, with correlated residuals."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4)) + rng.normal(size=(rows, 1))
    residual = rng.normal(size=(rows, targets)) @ np.tri(targets) @ rng.normal(size=(targets,) * 2)
    y = 0.7 + x @ rng.normal(size=(4, targets)) + noise * residual
    return StandardizedRows(x, y, rng.uniform(0.5, 2.0, rows), 4, [])


def linear_mixture(rows: StandardizedRows, train: np.ndarray | None = None) -> GaussianMixture:
    """Return the mixtures of the linear model at all rows."""
    train = np.arange(len(rows.y)) if train is None else train
    min_sigma = np.full(rows.y.shape[1], 1e-4)
    architecture, fit = linear(rows, min_sigma)
    return split_head(fit(train)(rows.inputs), architecture, min_sigma)


def ridge_by_hat_matrices(rows: StandardizedRows) -> tuple[np.ndarray, np.ndarray]:
    """Return the fitted values and the residual covariance of the ridge with the best GCV score."""
    total, count = rows.weights.sum(), len(rows.y)
    root = np.sqrt(rows.weights / total)[:, None]
    centred = rows.inputs - np.average(rows.inputs, axis=0, weights=rows.weights)
    x = root * np.column_stack([np.ones(count), centred])
    best, result = math.inf, None
    for penalty in np.logspace(-6.0, 2.0, 25):
        shrink = np.diag([0.0] + [penalty] * centred.shape[1])
        hat = x @ np.linalg.solve(x.T @ x + shrink, x.T)
        residual = root * rows.y - hat @ (root * rows.y)
        left = 1.0 - np.trace(hat) / count
        score = float(np.log((residual**2).sum(axis=0) / left**2).sum())
        if score < best:
            best = score
            result = rows.y - residual / root, residual.T @ residual / left**2
    assert result is not None
    return result


@pytest.mark.parametrize(("targets", "noise"), [(1, 0.01), (1, 30.0), (3, 1.0)])
def test_the_linear_model_is_the_ridge_regression_with_the_best_score(
    targets: int, noise: float
) -> None:
    rows = table(60, targets, noise)
    mixture = linear_mixture(rows)
    mean, covariance = ridge_by_hat_matrices(rows)
    np.testing.assert_allclose(mixture.mu[:, 0], mean, rtol=1e-5, atol=1e-5)
    found = mixture.sigma[0, 0][:, None] * np.eye(targets)
    if mixture.factor is not None:
        found = mixture.sigma[0, 0][:, None] * mixture.factor[0, 0]
    np.testing.assert_allclose(found @ found.T, covariance, rtol=1e-4, atol=1e-6)
    # The covariance is the same at every row.
    assert np.ptp(mixture.sigma, axis=0).max() < 1e-12


def test_with_many_rows_the_linear_model_is_least_squares() -> None:
    rows = table(5000, 2, 0.5)
    root = np.sqrt(rows.weights)[:, None]
    design = np.column_stack([np.ones(5000), rows.inputs])
    slopes, *_ = np.linalg.lstsq(root * design, root * rows.y, rcond=None)
    mixture, mean = linear_mixture(rows), design @ slopes
    np.testing.assert_allclose(mixture.mu[:, 0], mean, atol=2e-3)
    residual = rows.y - mean
    assert mixture.factor is not None
    lower = mixture.sigma[0, 0][:, None] * mixture.factor[0, 0]
    expected = np.cov(residual.T, aweights=rows.weights, ddof=0)
    np.testing.assert_allclose(lower @ lower.T, expected, rtol=5e-3)


def test_the_linear_model_learns_from_its_training_rows_alone() -> None:
    rows = table(200, 1, 0.1)
    train = np.arange(0, 200, 2)
    before = linear_mixture(rows, train).mu
    rows.y[1::2] = 1e3
    np.testing.assert_array_equal(linear_mixture(rows, train).mu, before)


def test_more_inputs_than_rows_leave_some_variance() -> None:
    rng = np.random.default_rng(0)
    rows = StandardizedRows(rng.normal(size=(20, 50)), rng.normal(size=(20, 1)), np.ones(20), 0, [])
    # An interpolation of these rows would have no variance; y does not depend on x.
    assert linear_mixture(rows).sigma.min() > 0.3


def test_the_marginal_integrates_to_one_and_ignores_x() -> None:
    rng = np.random.default_rng(0)
    y = rng.gamma(2.0, size=(400, 1))
    rows = StandardizedRows(rng.normal(size=(400, 3)), y, np.ones(400), 3, [])
    min_sigma = np.array([1e-3])
    architecture, fit = marginal(rows, 5, min_sigma, rng)
    raw = fit(np.arange(400))(np.array([[0.0, 0.0, 0.0], [5.0, -3.0, 1e3]]))
    mixture = split_head(raw, architecture, min_sigma)
    assert architecture.mixtures == 5
    for row in (0, 1):
        one = mixture.rows(np.array([row]))
        total, _ = scipy.integrate.quad(
            lambda t, one=one: float(np.exp(one.log_prob(np.array([[t]]))[0])), -20.0, 30.0
        )
        assert total == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_array_equal(mixture.mu[0], mixture.mu[1])
    # There are at least 30 rows for each component.
    assert marginal(rows, 500, min_sigma, rng)[0].mixtures == 400 // 30


# Weights.


def gaussians(y: np.ndarray, *means: np.ndarray, hidden: bool = False) -> list[HeldOut]:
    """Return a rung for each mean, (N,): a Gaussian with this mean and σ = 1 at each row of y."""
    architecture = Architecture(1, (4,) if hidden else (), "silu", "diagonal", 0)
    raws = [np.column_stack([0.0 * mean, mean, 0.0 * mean]) for mean in means]
    return [HeldOut(architecture, [raw], y[:, None], np.array([1e-6])) for raw in raws]


def stacked(rungs: list[HeldOut], **more: object) -> Stack:
    given: dict = {
        **{"row_weights": np.ones(len(rungs[0].y)), "log_background": None, "least": 0.0},
        **{"calibrate": False, "pools": False, **more},
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


def test_networks_that_will_be_pooled_are_widened_by_half_as_much() -> None:
    y = quantiles(1000, 2.0)
    alone, pool = (
        stacked(gaussians(y, 0.0 * y, hidden=True), calibrate=True, pools=pools).sigma_scale
        for pools in (False, True)
    )
    assert pool == pytest.approx(math.sqrt(alone))
    y = quantiles(1000, 0.5)
    narrowed = [
        stacked(gaussians(y, 0.0 * y, hidden=True), calibrate=True, pools=pools).sigma_scale
        for pools in (False, True)
    ]
    assert narrowed[0] == narrowed[1] == pytest.approx(0.5, abs=0.05)


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
