"""Components that correlate their targets: densities, marginals, conditionals, samples, modes."""

import numpy as np
import pytest
import torch
from density.correlated import correlated, covariances, log_density
from scipy import optimize, stats

from mdncli.density.distribution import Distribution
from mdncli.density.mixture import GaussianMixture, pooled, reorder_cholesky

ROWS, COMPONENTS, TARGETS = 5, 3, 4


def points(mixture: GaussianMixture, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return mixture.mean() + rng.normal(size=mixture.mean().shape) * np.sqrt(mixture.variance())


def test_the_joint_density_is_that_of_scipy() -> None:
    mixture = correlated(ROWS, COMPONENTS, TARGETS)
    y = points(mixture)
    np.testing.assert_allclose(mixture.log_prob(y), log_density(mixture, y), atol=1e-9)


def test_the_joint_density_is_that_of_torch() -> None:
    mixture = correlated(ROWS, COMPONENTS, TARGETS, seed=2)
    scaled = torch.tensor(mixture.sigma[..., None] * mixture.factor)
    expected = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=torch.tensor(mixture.log_pi)),
        torch.distributions.MultivariateNormal(torch.tensor(mixture.mu), scale_tril=scaled),
    ).log_prob(torch.tensor(points(mixture)))
    np.testing.assert_allclose(mixture.log_prob(points(mixture)), expected.numpy(), atol=1e-10)


def test_the_joint_density_integrates_to_one() -> None:
    one = correlated(1, COMPONENTS, 2, seed=3, near=0.3)
    ends = [one.mu[0] - 9.0 * one.sigma[0], one.mu[0] + 9.0 * one.sigma[0]]
    axes = [np.linspace(ends[0][:, t].min(), ends[1][:, t].max(), 1201) for t in range(2)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(one.log_prob(grid)).reshape(1201, 1201)
    total = np.trapezoid(np.trapezoid(density, axes[1], axis=1), axes[0])
    assert total == pytest.approx(1.0, abs=1e-8)


def test_without_correlations_the_factor_changes_nothing() -> None:
    mixture = correlated(ROWS, COMPONENTS, TARGETS)
    alone = GaussianMixture(*mixture.arrays()[:3])
    identity = np.broadcast_to(np.eye(TARGETS), mixture.factor.shape)
    same, y = GaussianMixture(*alone.arrays(), identity), points(mixture)
    np.testing.assert_allclose(same.log_prob(y), alone.log_prob(y), rtol=1e-13)
    np.testing.assert_allclose(same.correlation(), alone.correlation(), atol=1e-13)
    known = y[:, [2, 0]]
    for one, other in zip(
        same.given([2, 0], known).arrays(), alone.given([2, 0], known).arrays(), strict=False
    ):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]])
@pytest.mark.parametrize("near", [1.0, 1e-3])
def test_a_reordered_factor_is_that_of_the_reordered_matrix(order: list[int], near: float) -> None:
    factor = correlated(ROWS, COMPONENTS, TARGETS, near=near).factor
    found = reorder_cholesky(factor, order)
    np.testing.assert_array_equal(found, np.tril(found))
    assert (np.diagonal(found, axis1=2, axis2=3) > 0.0).all()
    whole = factor @ factor.swapaxes(2, 3)
    expected = whole[:, :, order][..., order]
    np.testing.assert_allclose(found @ found.swapaxes(2, 3), expected, atol=1e-13)


@pytest.mark.parametrize("given", [[0], [2], [0, 1], [3, 1], [1, 2, 3]])
@pytest.mark.parametrize("near", [1.0, 0.03])
def test_joint_is_marginal_times_conditional(given: list[int], near: float) -> None:
    mixture = correlated(ROWS, COMPONENTS, TARGETS, seed=4, near=near)
    y = points(mixture)
    rest = [t for t in range(TARGETS) if t not in given]
    conditional = mixture.given(given, y[:, given])
    assert conditional.mu.shape == (ROWS, COMPONENTS, len(rest))
    assert (conditional.factor is None) == (len(rest) == 1)
    product = mixture.marginal(given).log_prob(y[:, given]) + conditional.log_prob(y[:, rest])
    joint = mixture.log_prob(y)
    np.testing.assert_allclose(product, joint, atol=1e-10, rtol=1e-10)


def test_a_marginal_is_the_joint_integrated() -> None:
    one = correlated(1, 2, 2, seed=5)
    other = np.linspace(-60.0, 60.0, 60_001)
    value = one.mean()[0, 1]
    both = np.column_stack([other, np.full_like(other, value)])
    density = np.exp(one.marginal([1]).log_prob(np.array([[value]])))
    assert np.trapezoid(np.exp(one.log_prob(both)), other) == pytest.approx(density[0], rel=1e-8)


def test_far_from_every_component_the_nearest_in_sigmas_is_left() -> None:
    mixture = correlated(ROWS, COMPONENTS, TARGETS, seed=6)
    for far in (1e6, 1e100, 1e300):
        conditional = mixture.given([1], np.full((ROWS, 1), far))
        np.testing.assert_allclose(conditional.pi.sum(axis=1), 1.0)
        assert np.isfinite(conditional.mu).all()
        np.testing.assert_array_equal(np.diagonal(conditional.factor, 0, 2, 3) > 0.0, True)
    widest = mixture.sigma[:, :, 1].argmax(axis=1)
    near = mixture.given([1], np.full((ROWS, 1), 1e6))
    np.testing.assert_array_equal(near.pi.argmax(axis=1), widest)


def test_sample_moments_meet_the_closed_forms() -> None:
    mixture, draws = correlated(ROWS, COMPONENTS, 3, seed=7, near=0.1), 100_000
    y, component = mixture.sample(draws, np.random.default_rng(0))
    for row in range(ROWS):
        found = np.corrcoef(y[row].T)
        np.testing.assert_allclose(found, mixture.correlation()[row], atol=0.02)
        of_first = y[row, component[row] == 0]
        within = np.cov(of_first.T)
        scale = np.sqrt(np.outer(*[np.diag(covariances(mixture)[row, 0])] * 2))
        error = 6.0 / np.sqrt(len(of_first))
        np.testing.assert_allclose(within / scale, covariances(mixture)[row, 0] / scale, atol=error)


def test_conditional_samples_have_the_distribution_of_slices_of_joint_ones() -> None:
    one = correlated(1, 2, 2, seed=8)
    at = float(one.mean()[0, 0])
    joint, _ = one.sample(2_000_000, np.random.default_rng(1))
    near = joint[0, np.abs(joint[0, :, 0] - at) < 2e-3 * np.sqrt(one.variance()[0, 0]), 1]
    conditional = Distribution(one.given([0], np.array([[at]])))
    assert len(near) > 500
    assert stats.kstest(near, lambda y: conditional_cdf(conditional, y)).pvalue > 1e-3


def conditional_cdf(given: Distribution, y: np.ndarray) -> np.ndarray:
    return np.concatenate([given.cdf(value) for value in y])


def test_the_correlation_is_that_of_the_whole_mixture() -> None:
    mixture = correlated(ROWS, COMPONENTS, TARGETS, seed=9)
    mean = mixture.mean()
    second = np.einsum("nk,nktu->ntu", mixture.pi, covariances(mixture))
    second += np.einsum("nk,nkt,nku->ntu", mixture.pi, mixture.mu, mixture.mu)
    covariance = second - mean[:, :, None] * mean[:, None]
    np.testing.assert_allclose(mixture.covariance(), covariance, atol=1e-10)
    std = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    expected = covariance / std[:, :, None] / std[:, None]
    np.testing.assert_allclose(mixture.correlation(), expected, atol=1e-12)


def test_rows_components_tempering_and_pooling_keep_the_factor() -> None:
    mixture = correlated(ROWS, COMPONENTS, TARGETS, seed=10)
    y = points(mixture)
    chosen = np.array([3, 1])
    np.testing.assert_array_equal(
        mixture.rows(chosen).log_prob(y[chosen]), mixture.log_prob(y)[chosen]
    )
    again = pooled([mixture, mixture], [np.log(0.3), np.log(0.7)])
    np.testing.assert_allclose(again.log_prob(y), mixture.log_prob(y), rtol=1e-12)
    first = again.components(slice(0, COMPONENTS))
    np.testing.assert_array_equal(first.factor, mixture.factor)
    wider = mixture.tempered(sigma_temperature=2.0)
    middle = mixture.rows(np.arange(1)).components(slice(0, 1))
    np.testing.assert_allclose(covariances(wider), 4.0 * covariances(mixture), rtol=1e-12)
    assert middle.factor.shape == (1, 1, TARGETS, TARGETS)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("near", [1.0, 0.05])
def test_no_climb_from_anywhere_ends_above_the_mode(seed: int, near: float) -> None:
    one = correlated(1, 3, 2, seed=20 + seed, near=near)
    mode = Distribution(one).mode()
    height = one.log_prob(mode)[0]
    starts, _ = one.sample(20, np.random.default_rng(seed))
    for start in [*starts[0], *one.mu[0]]:
        climbed = optimize.minimize(
            lambda y: -one.log_prob(y[None])[0], start, method="Nelder-Mead", tol=1e-10
        )
        assert height >= -climbed.fun - 1e-8
