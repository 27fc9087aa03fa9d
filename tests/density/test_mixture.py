import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mdncli.density.mixture import GaussianMixture, log_sum_exp

ROWS, COMPONENTS, TARGETS = 4, 3, 2


def random_mixture(
    seed: int, rows: int = ROWS, components: int = COMPONENTS, targets: int = TARGETS
) -> GaussianMixture:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, components))
    return GaussianMixture(
        logits - log_sum_exp(logits)[:, None],
        rng.normal(scale=3.0, size=(rows, components, targets)),
        np.exp(rng.normal(size=(rows, components, targets))),
    )


def test_one_component_is_a_normal_distribution() -> None:
    mixture = random_mixture(0, components=1, targets=1)
    y = np.linspace(-2.0, 3.0, ROWS)[:, None]
    normal = stats.norm(mixture.mu[:, 0, 0], mixture.sigma[:, 0, 0])
    np.testing.assert_allclose(mixture.log_prob(y), normal.logpdf(y[:, 0]), rtol=1e-12)
    np.testing.assert_allclose(mixture.mean()[:, 0], normal.mean())
    np.testing.assert_allclose(mixture.variance()[:, 0], normal.var())


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_log_density_mean_and_variance_agree_with_torch(seed: int) -> None:
    mixture = random_mixture(seed)
    torch_mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=torch.tensor(mixture.log_pi)),
        torch.distributions.Independent(
            torch.distributions.Normal(torch.tensor(mixture.mu), torch.tensor(mixture.sigma)), 1
        ),
    )
    y = np.random.default_rng(seed + 1).normal(scale=5.0, size=(ROWS, TARGETS))
    expected = torch_mixture.log_prob(torch.tensor(y)).numpy()
    np.testing.assert_allclose(mixture.log_prob(y), expected, rtol=1e-10)
    np.testing.assert_allclose(mixture.mean(), torch_mixture.mean.numpy(), rtol=1e-10)
    np.testing.assert_allclose(mixture.variance(), torch_mixture.variance.numpy(), rtol=1e-9)


def test_the_density_integrates_to_one() -> None:
    mixture = random_mixture(1, rows=1, targets=1)
    y = np.linspace(-60.0, 60.0, 100_001)
    repeated = GaussianMixture(
        *(v.repeat(len(y), axis=0) for v in (mixture.log_pi, mixture.mu, mixture.sigma))
    )
    assert np.trapezoid(np.exp(repeated.log_prob(y[:, None])), y) == pytest.approx(1.0, abs=1e-9)


def test_the_order_of_components_does_not_matter() -> None:
    mixture = random_mixture(2)
    order = [2, 0, 1]
    permuted = GaussianMixture(
        mixture.log_pi[:, order], mixture.mu[:, order], mixture.sigma[:, order]
    )
    y = np.ones((ROWS, TARGETS))
    np.testing.assert_allclose(permuted.log_prob(y), mixture.log_prob(y), rtol=1e-13)


def test_far_from_every_component_the_log_density_stays_finite() -> None:
    mixture = random_mixture(3)
    far = mixture.log_prob(np.full((ROWS, TARGETS), 1e6))
    assert np.isfinite(far).all()
    assert (far < -1e9).all()


def test_sample_moments_meet_the_closed_forms() -> None:
    mixture, draws = random_mixture(4), 200_000
    y, component = mixture.sample(draws, np.random.default_rng(0))
    assert y.shape == (ROWS, draws, TARGETS)
    assert component.shape == (ROWS, draws)
    error = np.sqrt(mixture.variance() / draws)
    assert (np.abs(y.mean(axis=1) - mixture.mean()) < 5.0 * error).all()
    np.testing.assert_allclose(y.var(axis=1), mixture.variance(), rtol=0.03)
    for k in range(COMPONENTS):
        share = (component == k).mean(axis=1)
        np.testing.assert_allclose(share, mixture.pi[:, k], atol=5.0 * np.sqrt(0.25 / draws))


def test_draws_of_a_component_follow_that_component() -> None:
    mixture = random_mixture(5, rows=1, targets=1)
    y, component = mixture.sample(50_000, np.random.default_rng(1))
    for k in range(COMPONENTS):
        of_component = y[0, component[0] == k, 0]
        normal = stats.norm(mixture.mu[0, k, 0], mixture.sigma[0, k, 0])
        assert stats.kstest(of_component, normal.cdf).pvalue > 1e-4


def test_a_component_of_weight_zero_is_never_drawn() -> None:
    log_pi = np.array([[-np.inf, 0.0, -np.inf]])
    mixture = GaussianMixture(log_pi, np.zeros((1, 3, 1)), np.ones((1, 3, 1)))
    _, component = mixture.sample(100_000, np.random.default_rng(2))
    assert (component == 1).all()


def test_tempering_raises_the_weights_to_a_power() -> None:
    mixture = random_mixture(6)
    tempered = mixture.tempered(temperature=0.5, sigma_temperature=3.0)
    expected = mixture.pi**2 / (mixture.pi**2).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(tempered.pi, expected, rtol=1e-12)
    np.testing.assert_allclose(tempered.sigma, 3.0 * mixture.sigma)
    cold = mixture.tempered(temperature=1e-300)
    np.testing.assert_array_equal(cold.pi.max(axis=1), 1.0)


def test_component_mean_is_that_of_the_heaviest() -> None:
    mixture = random_mixture(7)
    heaviest = mixture.pi.argmax(axis=1)
    for row in range(ROWS):
        np.testing.assert_array_equal(mixture.component_mean()[row], mixture.mu[row, heaviest[row]])
