"""Rows that count unequally, in learning and in scores."""

import numpy as np
import pytest
from fits import fitted

from mdncli.columns.dataset import Dataset, mean_one
from mdncli.density.evaluation import distance_from_uniform, evaluate
from mdncli.settings import Settings

QUICK = Settings(mixtures=2, hidden=(8,), frequencies=1, steps=150)


def test_weights_decide_between_branches() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 1))
    is_upper = rng.random(600) < 0.5
    y = np.where(is_upper, 2.0, -2.0)[:, None] + 0.1 * rng.normal(size=(600, 1))
    weights = mean_one(np.where(is_upper, 4.0, 1.0))
    weighted, _ = fitted(Dataset(x, y, weights), QUICK)
    assert weighted.distribution(x).cdf(0.0).mean() == pytest.approx(0.2, abs=0.03)
    plain, _ = fitted(Dataset(x, y), QUICK)
    assert plain.distribution(x).cdf(0.0).mean() == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("members", [1, 3])
def test_the_training_nll_is_a_weighted_mean(members: int) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 200, 1))
    weights = mean_one(rng.integers(1, 5, 200).astype(float))
    valid = 0.1 if members > 1 else 0.0
    settings = Settings(
        mixtures=2, hidden=(4,), frequencies=0, epochs=3, members=members, valid=valid
    )
    model, _ = fitted(Dataset(x, y, weights), settings)
    # At least one member learns from each row.
    expected = np.average(model.nll(x, y), weights=weights)
    assert model.record.nll_train == pytest.approx(expected)


def test_scores_are_weighted_means() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 200, 1))
    weights = mean_one(rng.integers(1, 5, 200).astype(float))
    settings = Settings(mixtures=2, hidden=(4,), frequencies=0, epochs=3)
    model, _ = fitted(Dataset(x, y, weights), settings)
    scores = evaluate(model, x, y, weights)
    assert scores.nll == pytest.approx(np.average(model.nll(x, y), weights=weights))
    assert scores.crps[0] == pytest.approx(np.average(scores.by_row.crps[:, 0], weights=weights))
    mean_square = np.average(scores.by_row.error[:, 0] ** 2, weights=weights)
    assert scores.rmse[0] ** 2 == pytest.approx(mean_square)


def test_a_whole_weight_counts_as_that_many_values() -> None:
    rng = np.random.default_rng(2)
    values, counts = rng.random(300) ** 1.3, rng.integers(1, 4, 300)
    distance, chance = distance_from_uniform(values, counts.astype(float))
    expected, _ = distance_from_uniform(values.repeat(counts), None)
    assert distance == pytest.approx(expected, abs=1e-12)
    equal, _ = distance_from_uniform(values, np.ones(300))
    assert equal == pytest.approx(distance_from_uniform(values, None)[0], abs=1e-12)
    assert 0.0 < chance < 1.0
