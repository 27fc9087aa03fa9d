"""The models in closed form: the marginal and the linear model."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.stats

from mdncli.density.mixture import GaussianMixture
from mdncli.density.network import split_head
from mdncli.learning.closed_forms import linear, marginal
from mdncli.learning.splits import StandardizedRows


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


def contaminated(rows: int, share: float) -> StandardizedRows:
    """Return rows of a line whose residuals have this share from a Gaussian 20 times as wide."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(rows, 2))
    wide = rng.random(rows) < share
    residual = 0.3 * rng.normal(size=rows) * np.where(wide, 20.0, 1.0)
    y = x @ [1.0, -0.5] + residual
    return StandardizedRows(x, y[:, None], np.ones(rows), 2, [])


def test_heavy_tails_get_a_wide_component_as_by_maximum_likelihood() -> None:
    rows = contaminated(2000, 0.05)
    x, y = rows.inputs, rows.y[:, 0]

    def nll(at: np.ndarray) -> float:
        residual = y - at[0] - x @ at[1:3]
        share, scale, width = scipy.special.expit(at[3]), math.exp(at[4]), math.exp(at[5])
        narrow = (1.0 - share) * scipy.stats.norm.pdf(residual, scale=scale)
        return -float(np.log(narrow + share * scipy.stats.norm.pdf(residual, scale=width)).mean())

    start = np.array([0.0, 1.0, -0.5, -3.0, math.log(0.3), math.log(6.0)])
    best = scipy.optimize.minimize(nll, start)
    mixture = linear_mixture(rows)
    assert mixture.shape == (2000, 2, 1)
    assert -mixture.log_prob(rows.y).mean() < best.fun + 1e-3
    np.testing.assert_allclose(mixture.pi[0, 1], scipy.special.expit(best.x[3]), rtol=0.1)
    np.testing.assert_allclose(mixture.sigma[0, :, 0], np.exp(best.x[4:]), rtol=0.05)
    # Both components have the same mean.
    np.testing.assert_array_equal(mixture.mu[:, 0], mixture.mu[:, 1])
    np.testing.assert_allclose(mixture.mu[:, 0, 0], best.x[0] + x @ best.x[1:3], atol=0.01)


def test_correlated_targets_with_heavy_tails_keep_their_correlation() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 1))
    lower = np.array([[1.0, 0.0], [0.8, 0.6]])
    wide = np.where(rng.random((3000, 1)) < 0.1, 10.0, 1.0)
    y = x @ [[1.0, 2.0]] + wide * (rng.normal(size=(3000, 2)) @ lower.T)
    rows = StandardizedRows(x, y, np.ones(3000), 1, [])
    mixture = linear_mixture(rows)
    assert mixture.factor is not None
    for component, width in ((0, 1.0), (1, 10.0)):
        factor = mixture.sigma[0, component][:, None] * mixture.factor[0, component]
        found = factor @ factor.T / width**2
        np.testing.assert_allclose(found, lower @ lower.T, rtol=0.2)


def test_gaussian_residuals_keep_one_component() -> None:
    assert linear_mixture(table(600, 1, 0.5)).shape[1] == 1
    assert linear_mixture(table(60, 2, 0.5)).shape[1] == 1


def test_one_distant_target_hardly_moves_the_linear_model() -> None:
    rows = contaminated(600, 0.0)
    before = linear_mixture(rows)
    rows.y[7] = 1e6
    after = linear_mixture(rows)
    np.testing.assert_allclose(after.mu[:, 0], before.mu[:, 0], atol=0.02)
    np.testing.assert_allclose(after.sigma[0, 0], before.sigma[0, 0], rtol=0.02)


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
