import numpy as np
import pytest
import scipy.stats

from mdncli.learning.marginal_reference import MarginalReference, marginal_mixture
from mdncli.learning.splits import Split, StandardizedRows

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


def rows_of(y: np.ndarray) -> StandardizedRows:
    return StandardizedRows(np.zeros((len(y), 1)), y, np.ones(len(y)), [])


def test_the_validation_nll_is_that_of_mixtures_fitted_without_those_rows() -> None:
    rng = np.random.default_rng(0)
    y = rng.gamma(2.0, size=(60, 1))
    parts = np.split(rng.permutation(60), 3)
    train = [np.setdiff1d(np.arange(60), part) for part in parts]
    reference = MarginalReference.fit(rows_of(y), Split(train, parts), 1, MIN_SIGMA, rng)
    nlls = [
        -scipy.stats.norm(y[rows].mean(), y[rows].std()).logpdf(y[part]).mean()
        for rows, part in zip(train, parts, strict=True)
    ]
    assert reference.nll["nll_valid"] == pytest.approx(np.mean(nlls), abs=1e-6)
    expected = -scipy.stats.norm(y.mean(), y.std()).logpdf(y).mean()
    assert reference.nll["nll_train"] == pytest.approx(expected, abs=1e-6)


def test_without_validation_rows_their_nll_is_nan() -> None:
    y = np.random.default_rng(0).normal(size=(30, 1))
    split = Split([np.arange(30)], [np.empty(0, dtype=np.int64)])
    reference = MarginalReference.fit(rows_of(y), split, 2, MIN_SIGMA, np.random.default_rng(0))
    assert np.isnan(reference.nll["nll_valid"])
    assert np.isfinite(reference.nll["nll_train"])
