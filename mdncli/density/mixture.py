"""Lower-triangular factors of many small matrices at once: loops over T, arrays over the rest.

A Gaussian mixture for every row, and the closed forms of what can be asked of it.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mdncli.types import Array

# Instead of a diagonal entry of zero, so that what is divided by it stays finite; its square, too.
_LEAST = 1e-150


def solved(factor: Array, y: Array) -> Array:
    """Return the z of C z = y by forward substitution, shape (..., T).

    Args:
        factor: C (..., T, T), lower-triangular with a positive diagonal.
        y: (..., T); leading axes are broadcast against those of the factor.
    """
    shape = np.broadcast_shapes(factor.shape[:-1], y.shape)
    # The axis of targets comes first in memory, so that each step runs along the rest.
    z = np.empty((shape[-1], *shape[:-1]))
    for later in range(shape[-1]):
        rest = y[..., later]
        for earlier in range(later):
            rest = rest - factor[..., later, earlier] * z[earlier]
        z[later] = rest / factor[..., later, later]
    return np.moveaxis(z, 0, -1)


def spread(factor: Array, z: Array) -> Array:
    """Return C z, shape (..., T), for C (..., T, T) and z (..., T)."""
    product: Array = np.einsum("...ij,...j->...i", factor, z)
    return product


def reordered(factor: Array, order: list[int]) -> Array:
    """Return the lower-triangular factor of C C^T with its rows and columns in another order.

    The rows of C in that order are turned into a triangle by orthogonalizing one after another
    (modified Gram and Schmidt), which never forms C C^T: nothing cancels where it is nearly
    singular, and the rows keep their norms.

    Args:
        factor: C (..., T, T).
        order: positions of the T targets.
    """
    turned = np.zeros_like(factor)
    axes: list[Array] = []
    for row, position in enumerate(order):
        rest = factor[..., position, :]
        for column, axis in enumerate(axes):
            along = (rest * axis).sum(axis=-1)
            turned[..., row, column] = along
            rest = rest - along[..., None] * axis
        length = np.maximum(np.sqrt((rest * rest).sum(axis=-1)), _LEAST)
        turned[..., row, row] = length
        axes.append(rest / length[..., None])
    return turned


def unit_rows(factor: Array) -> tuple[Array, Array]:
    """Return a factor's rows divided by their norms, (..., T, T), and the norms, (..., T)."""
    largest = np.abs(factor).max(axis=-1)
    # Divided first: the square of a tiny or a huge entry is no float.
    relative = factor / largest[..., None]
    norms = np.sqrt((relative * relative).sum(axis=-1))
    return relative / norms[..., None], largest * norms


LOG_2PI = float(np.log(2.0 * np.pi))


# Of z in sigmas: beyond it z^2 is no float.
_FARTHEST = 1e150


@dataclass(frozen=True)
class GaussianMixture:
    """N mixtures of K Gaussian components over T targets.

    p(y) = sum_k pi_k N(y; mu_k, D_k C_k C_k^T D_k),   D_k = diag(sigma_k)

    (Bishop 1994, eq. 22 and 23, with a full covariance). C is the Cholesky factor of a component's
    correlation matrix; without one the targets are independent within a component.

    Attributes:
        log_pi: (N, K), log weights; each row's weights sum to 1.
        mu: (N, K, T), in the units of y.
        sigma: (N, K, T), standard deviations of each target on its own in the units of y, all
            positive.
        factor: (N, K, T, T), C: lower-triangular, its rows of norm 1, its diagonal positive; None
            for the identity.
    """

    log_pi: Array
    mu: Array
    sigma: Array
    factor: Array | None = None

    @cached_property
    def pi(self) -> Array:
        """The weights, shape (N, K)."""
        return np.exp(self.log_pi)

    def arrays(self) -> tuple[Array, ...]:
        """Return log_pi, mu, sigma and, where there is one, the factor."""
        parts = (self.log_pi, self.mu, self.sigma)
        return parts if self.factor is None else (*parts, self.factor)

    def rows(self, chosen: slice | NDArray[np.int64]) -> "GaussianMixture":
        """Return the mixtures at these positions, in their order."""
        return GaussianMixture(*(part[chosen] for part in self.arrays()))

    def components(self, chosen: slice) -> "GaussianMixture":
        """Return some of the components, with the weights that they have here."""
        return GaussianMixture(*(part[:, chosen] for part in self.arrays()))

    def targets(self, positions: list[int]) -> "GaussianMixture":
        """Return the mixtures of these targets, in this order, the others integrated out."""
        mu, sigma = self.mu[:, :, positions], self.sigma[:, :, positions]
        if self.factor is None or len(positions) == 1:
            return GaussianMixture(self.log_pi, mu, sigma)
        taken = len(positions)
        others = [each for each in range(self.mu.shape[2]) if each not in positions]
        factor = reordered(self.factor, [*positions, *others])
        return GaussianMixture(self.log_pi, mu, sigma, factor[:, :, :taken, :taken])

    def log_prob(self, y: Array) -> Array:
        """Return log p(y) in nats, shape (N,), the joint density of all targets.

        Args:
            y: (N, T), one point for each mixture.
        """
        return log_sum_exp(self.log_pi + self.log_components(y))

    def log_components(self, y: Array) -> Array:
        """Return the log density of every component at y, nats, shape (N, K).

        Args:
            y: (N, T), one point for each mixture; N points for a single one.
        """
        z = (np.asarray(y)[:, None, :] - self.mu) / self.sigma
        log_volume = np.log(self.sigma).sum(axis=2)
        if self.factor is not None:
            z = solved(self.factor, z)
            log_volume = log_volume + self._log_shrinkage(self.factor)
        terms: Array = -0.5 * (z * z + LOG_2PI).sum(axis=2) - log_volume
        return terms

    @staticmethod
    def _log_shrinkage(factor: Array) -> Array:
        """Return log det C, (N, K): by how much correlation makes a component's volume smaller."""
        total: Array = np.log(np.diagonal(factor, axis1=2, axis2=3)).sum(axis=2)
        return total

    def mean(self) -> Array:
        """Return E[y] = sum_k pi_k mu_k, shape (N, T), in the units of y."""
        mean: Array = (self.pi[:, :, None] * self.mu).sum(axis=1)
        return mean

    def variance(self) -> Array:
        """Return Var[y] = sum_k pi_k (sigma_k^2 + (mu_k - E[y])^2), shape (N, T).

        In the units of y squared. The sum of squares about the mean avoids the cancellation in
        E[y^2] - E[y]^2.
        """
        deviation = self.mu - self.mean()[:, None, :]
        squares = self.sigma * self.sigma + deviation * deviation
        variance: Array = (self.pi[:, :, None] * squares).sum(axis=1)
        return variance

    def covariance(self) -> Array:
        """Return Cov[y], shape (N, T, T), in products of the units of y.

        sum_k pi_k (D_k C_k C_k^T D_k + (mu_k - E[y]) (mu_k - E[y])^T): the mean of the components'
        covariances and the covariance of their means.
        """
        deviation = self.mu - self.mean()[:, None, :]
        covariance: Array = np.einsum("nk,nkt,nku->ntu", self.pi, deviation, deviation)
        if self.factor is None:
            within = np.einsum("nk,nkt->nt", self.pi, self.sigma * self.sigma)
            covariance += within[:, :, None] * np.eye(self.mu.shape[2])
            return covariance
        scaled = self.sigma[..., None] * self.factor
        covariance += np.einsum("nk,nktj,nkuj->ntu", self.pi, scaled, scaled, optimize=True)
        return covariance

    def component_covariance(self, target: int) -> Array:
        """Return every component's covariance of a target with each, (N, K, T), units of both."""
        if self.factor is None:
            covariance = np.zeros(self.mu.shape)
            covariance[:, :, target] = self.sigma[:, :, target] ** 2
            return covariance
        correlation = np.einsum("nktj,nkj->nkt", self.factor, self.factor[:, :, target])
        together: Array = correlation * self.sigma * self.sigma[:, :, target, None]
        return together

    def correlation(self) -> Array:
        """Return the correlation matrices of the targets, shape (N, T, T), from `covariance`."""
        std = np.sqrt(self.variance())
        # Each target in its own standard deviations first: products of small ones are no floats.
        parts = (self.log_pi, self.mu / std[:, None], self.sigma / std[:, None], self.factor)
        correlation = np.clip(GaussianMixture(*parts).covariance(), -1.0, 1.0)
        each = np.arange(correlation.shape[1])
        correlation[:, each, each] = 1.0
        return correlation

    def given(self, positions: list[int], values: Array) -> "GaussianMixture":
        """Return the mixtures of the other targets, given the values of these.

        With the given targets g first, C = [[C_gg, 0], [C_rg, C_rr]] and w = C_gg^-1 (y_g - mu_g) /
        sigma_g, each component keeps its Gaussian form:

            log pi' = log pi - |w|^2 / 2 - log det(D_g C_gg) + constant,
            mu' = mu_r + sigma_r C_rg w,   covariance' = D_r C_rr C_rr^T D_r

        (Bishop 2006, eq. 2.81 and 2.82: C_rr C_rr^T is the Schur complement). Weights are compared
        in logs, so a value far from every component leaves the nearest in sigmas.

        Args:
            positions: of the given targets; at least one other is left.
            values: (N, G), in the units of y.
        """
        rest = [each for each in range(self.mu.shape[2]) if each not in positions]
        z = (values[:, None, :] - self.mu[:, :, positions]) / self.sigma[:, :, positions]
        z = np.clip(z, -_FARTHEST, _FARTHEST)
        log_weight = self.log_pi - np.log(self.sigma[:, :, positions]).sum(axis=2)
        mu, sigma, factor = self.mu[:, :, rest], self.sigma[:, :, rest], None
        if self.factor is not None:
            count = len(positions)
            whole = reordered(self.factor, [*positions, *rest])
            first = whole[:, :, :count, :count]
            z = np.clip(solved(first, z), -_FARTHEST, _FARTHEST)
            log_weight = log_weight - self._log_shrinkage(first)
            mu = mu + sigma * spread(whole[:, :, count:, :count], z)
            factor, norms = unit_rows(whole[:, :, count:, count:])
            sigma = sigma * norms
        log_pi = normalized(log_weight - 0.5 * (z * z).sum(axis=2))
        return GaussianMixture(log_pi, mu, sigma, factor if len(rest) > 1 else None)

    def component_mean(self) -> Array:
        """Return the mean of each row's most probable component, shape (N, T), units of y."""
        best = self.log_pi.argmax(axis=1)
        mean: Array = self.mu[np.arange(len(best)), best]
        return mean

    def tempered(
        self, *, temperature: float = 1.0, sigma_temperature: float = 1.0
    ) -> "GaussianMixture":
        """Return the mixture with weights in proportion to pi^(1/temperature) and scaled sigmas.

        Args:
            temperature: positive; below 1 favours the heavy components.
            sigma_temperature: zero or more; multiplies every sigma. At zero only `sample` and the
                means have a meaning.
        """
        # Subtracting the largest first: log_pi / temperature would overflow when T is tiny.
        scaled = (self.log_pi - self.log_pi.max(axis=1, keepdims=True)) / temperature
        return GaussianMixture(
            normalized(scaled), self.mu, self.sigma * sigma_temperature, self.factor
        )

    def sample(self, n: int, rng: np.random.Generator) -> tuple[Array, NDArray[np.int64]]:
        """Return n draws of each row's mixture and the components they came from.

        A component is drawn by inverting the cumulated weights at a uniform number, exactly, so
        one of weight zero is never drawn; then y = mu_k + D_k C_k z, z of independent normals.

        Args:
            n: draws for each row.
            rng: the source of randomness.

        Returns:
            y: (N, n, T), in the units of y.
            component: (N, n), from 0.
        """
        cumulated = self.pi.cumsum(axis=1)
        cumulated /= cumulated[:, -1:]
        uniform = rng.random((len(cumulated), n, 1))
        component = (uniform >= cumulated[:, None, :]).sum(axis=2)
        rows = np.arange(len(cumulated))[:, None]
        mu, sigma = self.mu[rows, component], self.sigma[rows, component]
        z = rng.standard_normal(mu.shape)
        if self.factor is not None:
            z = spread(self.factor[rows, component], z)
        return mu + sigma * z, component


def pooled(members: list[GaussianMixture]) -> GaussianMixture:
    """Return the mean of M densities, p(y) = 1/M sum_m p_m(y), as one mixture of their components.

    Those of the first member come first, each with its weight divided by M.
    """
    if len(members) == 1:
        return members[0]
    log_pi, *rest = (
        np.concatenate(parts, axis=1)
        for parts in zip(*(member.arrays() for member in members), strict=True)
    )
    return GaussianMixture(log_pi - math.log(len(members)), *rest)


def generator_of_draws(seed: int) -> np.random.Generator:
    """Return a stream of random numbers for draws, apart from NumPy's own stream of that seed.

    A table drawn by `default_rng(seed)` and samples at its rows from the same stream would share
    their random numbers row by row, and the samples would follow the data.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))


def normalized(log_weight: Array) -> Array:
    """Return log weights, (N, K), less a constant of each row that makes its weights sum to 1."""
    below: Array = log_weight - log_weight.max(axis=1, keepdims=True)
    return below - log_sum_exp(below)[:, None]


def log_sum_exp(terms: Array) -> Array:
    """Return log sum_k exp(terms_k) over the last axis, finite wherever the largest term is."""
    top = terms.max(axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        total: Array = np.log(np.exp(terms - top).sum(axis=-1))
    return total + top[..., 0]
