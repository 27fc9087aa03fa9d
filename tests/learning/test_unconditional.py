import numpy as np
import pytest
import scipy.stats

from mdncli.learning.marginal_reference import unconditional_mixture

FLOOR = np.array([1e-4])


def test_it_finds_two_separate_groups() -> None:
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.normal(-2.0, 0.3, 3000), rng.normal(1.0, 0.5, 7000)])[:, None]
    mixture = unconditional_mixture(y, np.ones(len(y)), 2, FLOOR, rng)
    order = np.argsort(mixture.mu[0, :, 0])
    np.testing.assert_allclose(mixture.mu[0, order, 0], [-2.0, 1.0], atol=0.03)
    np.testing.assert_allclose(mixture.sigma[0, order, 0], [0.3, 0.5], atol=0.02)
    np.testing.assert_allclose(mixture.pi[0, order], [0.3, 0.7], atol=0.02)


def test_one_component_is_the_gaussian_of_the_rows() -> None:
    rng = np.random.default_rng(0)
    y = rng.gamma(2.0, size=(500, 1))
    mixture = unconditional_mixture(y, np.ones(len(y)), 1, FLOOR, rng)
    expected = scipy.stats.norm(y.mean(), y.std()).logpdf(y[:, 0])
    np.testing.assert_allclose(mixture.log_prob(y), expected, atol=1e-6)


@pytest.mark.parametrize("components", [1, 5, 40])
def test_sigma_keeps_to_its_floor_and_everything_is_finite(components: int) -> None:
    y = np.repeat([[0.0, 1.0], [2.0, 3.0]], 10, axis=0)
    floor = np.array([0.05, 0.2])
    mixture = unconditional_mixture(y, np.ones(len(y)), components, floor, np.random.default_rng(0))
    assert (mixture.sigma >= floor * (1.0 - 1e-12)).all()
    assert np.isfinite(mixture.log_prob(y)).all()
    assert mixture.pi.sum() == pytest.approx(1.0)


def test_a_weight_is_worth_as_many_rows() -> None:
    rng = np.random.default_rng(0)
    y = rng.gamma(2.0, size=(400, 1))
    times = rng.integers(1, 4, 400)
    weighted = unconditional_mixture(y, times.astype(float), 1, FLOOR, rng)
    repeated = y.repeat(times, axis=0)
    expected = unconditional_mixture(repeated, np.ones(len(repeated)), 1, FLOOR, rng)
    np.testing.assert_allclose(weighted.log_prob(y), expected.log_prob(y), rtol=1e-9)
