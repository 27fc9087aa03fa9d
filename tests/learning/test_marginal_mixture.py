"""The mixture that ignores x, and its NLL on rows that were held out."""

import numpy as np
import pytest
import scipy.stats
from fits import fitted

from mdncli.columns.dataset import Dataset
from mdncli.learning.closed_forms import marginal_mixture
from mdncli.learning.splits import split_dataset
from mdncli.settings import Settings

MIN_SIGMA = np.array([1e-4])


def test_two_separate_clusters_are_found() -> None:
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.normal(-2.0, 0.3, 3000), rng.normal(1.0, 0.5, 7000)])[:, None]
    mixture = marginal_mixture(y, np.ones(len(y)), 2, MIN_SIGMA, rng)
    order = np.argsort(mixture.mu[0, :, 0])
    np.testing.assert_allclose(mixture.mu[0, order, 0], [-2.0, 1.0], atol=0.03)
    np.testing.assert_allclose(mixture.sigma[0, order, 0], [0.3, 0.5], atol=0.02)
    np.testing.assert_allclose(mixture.pi[0, order], [0.3, 0.7], atol=0.02)


def test_one_component_is_the_gaussian_of_the_rows() -> None:
    rng = np.random.default_rng(0)
    y = rng.gamma(2.0, size=(500, 1))
    mixture = marginal_mixture(y, np.ones(len(y)), 1, MIN_SIGMA, rng)
    expected = scipy.stats.norm(y.mean(), y.std()).logpdf(y[:, 0])
    np.testing.assert_allclose(mixture.log_prob(y), expected, atol=1e-6)


@pytest.mark.parametrize("components", [1, 5, 40])
def test_no_sigma_is_below_its_minimum_and_everything_is_finite(components: int) -> None:
    y = np.repeat([[0.0, 1.0], [2.0, 3.0]], 10, axis=0)
    min_sigma = np.array([0.05, 0.2])
    mixture = marginal_mixture(y, np.ones(len(y)), components, min_sigma, np.random.default_rng(0))
    assert (mixture.sigma >= min_sigma * (1.0 - 1e-12)).all()
    assert np.isfinite(mixture.log_prob(y)).all()
    assert mixture.pi.sum() == pytest.approx(1.0)


def test_a_weight_counts_as_that_many_rows() -> None:
    rng = np.random.default_rng(0)
    y = rng.gamma(2.0, size=(400, 1))
    counts = rng.integers(1, 4, 400)
    weighted = marginal_mixture(y, counts.astype(float), 1, MIN_SIGMA, rng)
    repeated = y.repeat(counts, axis=0)
    expected = marginal_mixture(repeated, np.ones(len(repeated)), 1, MIN_SIGMA, rng)
    np.testing.assert_allclose(weighted.log_prob(y), expected.log_prob(y), rtol=1e-9)


def test_the_validation_nll_is_that_of_marginals_fitted_without_those_rows() -> None:
    rng = np.random.default_rng(0)
    dataset = Dataset(rng.normal(size=(60, 1)), rng.gamma(2.0, size=(60, 1)))
    settings = Settings(
        mixtures=1, hidden=(4,), frequencies=0, members=3, epochs=1, background=False
    )
    model, _ = fitted(dataset, settings)
    _, split = split_dataset(dataset, 3, settings.valid, np.random.default_rng(settings.seed))
    y = dataset.y
    nlls = [
        -scipy.stats.norm(y[rows].mean(), y[rows].std()).logpdf(y[part])
        for rows, part in zip(split.train, split.valid, strict=True)
    ]
    reference = model.record.reference
    assert reference["nll_valid"] == pytest.approx(np.mean(np.concatenate(nlls)), abs=1e-6)
    expected = -scipy.stats.norm(y.mean(), y.std()).logpdf(y).mean()
    assert reference["nll_train"] == pytest.approx(expected, abs=1e-6)


def test_without_validation_rows_their_nll_is_nan() -> None:
    y = np.random.default_rng(0).normal(size=(30, 1))
    settings = Settings(mixtures=2, hidden=(4,), frequencies=0, valid=0.0, epochs=1)
    model, _ = fitted(Dataset(y.copy(), y), settings)
    assert np.isnan(model.record.reference["nll_valid"])
    assert np.isfinite(model.record.reference["nll_train"])
