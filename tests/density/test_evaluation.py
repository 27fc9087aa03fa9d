"""Scores of a model: means of the rows' scores, with weights and steps."""

import numpy as np
import pytest
from density.models import bounded_targets, inverse_sinusoid, two_targets, with_steps
from scipy import stats

from mdncli.density.evaluation import distance_from_uniform, evaluate, pit, probabilities_taken_up


def test_the_scores_are_means_over_the_rows() -> None:
    model, x, y = two_targets()
    found, predicted = evaluate(model, x, y), model.distribution(x)
    assert found.rows == len(x)
    assert found.nll == pytest.approx(-predicted.log_prob(y).mean())
    np.testing.assert_allclose(found.crps, predicted.crps(y).mean(axis=0))
    np.testing.assert_allclose(found.rmse, np.sqrt(((predicted.mean() - y) ** 2).mean(axis=0)))
    low, high = np.moveaxis(predicted.interval(0.9), 2, 0)
    np.testing.assert_allclose(found.coverage[0.9], ((y >= low) & (y <= high)).mean(axis=0))
    np.testing.assert_allclose(found.width[0.9], (high - low).mean(axis=0))
    marginal = -model.reference_mixture(x).log_prob(y).mean()
    assert found.improvement_marginal == pytest.approx(marginal - found.nll)
    baseline = -model.baseline_mixture(x).log_prob(y).mean()
    assert found.improvement_baseline == pytest.approx(baseline - found.nll)


def test_a_row_of_weight_two_counts_as_two_rows() -> None:
    model, x, y = inverse_sinusoid()
    x, y = x[:50], y[:50]
    weights = np.ones(50)
    weights[:10] = 2.0
    twice = np.append(np.arange(50), np.arange(10))
    weighted, repeated = evaluate(model, x, y, weights), evaluate(model, x[twice], y[twice])
    assert weighted.nll == pytest.approx(repeated.nll)
    np.testing.assert_allclose(weighted.crps, repeated.crps)
    np.testing.assert_allclose(weighted.pit_ks, repeated.pit_ks)
    assert evaluate(model, x, y, 1e300 * weights).nll == pytest.approx(weighted.nll)


def test_a_row_beyond_a_bound_makes_the_nll_infinite_and_leaves_no_improvement() -> None:
    model, x, y = bounded_targets()
    y = y[:20].copy()
    y[3, 0] = -1.0
    found = evaluate(model, x[:20], y)
    assert found.rows_beyond_bounds == 1
    assert found.nll == np.inf
    assert np.isnan(found.improvement_marginal)
    assert np.isfinite(found.crps).all()


def test_the_plain_keys_are_stable() -> None:
    model, x, y = two_targets()
    plain = evaluate(model, x[:20], y[:20]).to_plain()
    assert set(plain) == {
        *("rows", "rows_censored", "rows_beyond_bounds", "nll", "resolution", "crps", "rmse"),
        *("coverage", "width", "pit_ks", "pit_ks_p", "skill"),
    }
    assert set(plain["skill"]) == {"unconditional", "baseline"}
    assert set(plain["coverage"]) == {"0.5", "0.8", "0.9", "0.95"}
    assert set(plain["crps"]) == {"u", "v"}


def test_the_resolution_is_that_of_the_steps() -> None:
    model, x, y = inverse_sinusoid()
    assert np.isnan(evaluate(model, x[:20], y[:20]).resolution)
    found = evaluate(with_steps(model, 0.25), x[:20], y[:20])
    assert found.resolution == pytest.approx(np.log(0.25))


def test_the_pit_of_a_target_in_steps_is_drawn_within_its_step() -> None:
    model, x, y = inverse_sinusoid()
    predicted = model.distribution(x)
    taken = probabilities_taken_up(model, predicted, y)
    found = pit(predicted, y, [0.5], taken, np.random.default_rng(0))[:, 0]
    low, high = predicted.cdf(y[:, 0] - 0.25), predicted.cdf(y[:, 0] + 0.25)
    assert ((low <= found) & (found <= high)).all()
    assert np.ptp((found - low) / (high - low)) > 0.9
    np.testing.assert_array_equal(
        evaluate(with_steps(model, 0.5), x, y, seed=0).by_row.pit[:, 0], found
    )


def test_the_distance_from_uniform_is_that_of_scipy_where_all_weights_are_equal() -> None:
    values = np.random.default_rng(0).beta(1.0, 1.1, 500)
    expected = stats.kstest(values, "uniform")
    distance, p_value = distance_from_uniform(values, None)
    assert distance == expected.statistic
    assert p_value == pytest.approx(expected.pvalue, rel=1e-6)
    weighted, same = distance_from_uniform(values, np.full(500, 3.0))
    assert weighted == pytest.approx(distance)
    assert same == pytest.approx(p_value)


@pytest.mark.parametrize("rows", [1, 2, 3, 10, 100, 1000, 10_000, 20_000])
def test_p_values_are_those_of_scipy(rows: int) -> None:
    for power in (1.0, 1.01, 1.05, 1.3, 3.0):
        values = (np.arange(rows) + 0.5) ** power / rows**power
        expected = stats.kstest(values, "uniform")
        distance, p_value = distance_from_uniform(values, None)
        assert distance == pytest.approx(expected.statistic, rel=1e-12)
        assert p_value == pytest.approx(expected.pvalue, rel=1e-6 if rows <= 10_000 else 1e-3)
