"""Gaussian mixtures, one for each row: closed forms, Cholesky helpers, and conditioning.

The helpers at the top work on many small lower-triangular matrices at once. They loop over the T
targets and vectorize over everything else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from mdncli.columns.transforms import Transform
from mdncli.errors import DataError, ParameterError, parameter
from mdncli.text import listed, nearest, quoted
from mdncli.types import Array, Mask, Positions

LOG_2PI = float(np.log(2.0 * np.pi))
# Replaces a diagonal entry of zero. Its square and quotients by it stay finite.
_TINY = 1e-150
# The largest |z|, in sigmas. The square of a larger one would overflow.
_LARGEST_Z = 1e150


def solve_lower(factor: Array, y: Array) -> Array:
    """Return the solution z of C z = y by forward substitution, shape (..., T).

    Args:
        factor: C, (..., T, T), lower-triangular with a positive diagonal.
        y: (..., T); its leading axes are broadcast against those of the factor.
    """
    shape = np.broadcast_shapes(factor.shape[:-1], y.shape)
    # The axis of targets comes first in memory, so that each step works on contiguous arrays.
    z = np.empty((shape[-1], *shape[:-1]))
    for later in range(shape[-1]):
        rest = y[..., later]
        for earlier in range(later):
            rest = rest - factor[..., later, earlier] * z[earlier]
        z[later] = rest / factor[..., later, later]
    return np.moveaxis(z, 0, -1)


def multiply_lower(factor: Array, z: Array) -> Array:
    """Return C z, shape (..., T), for C of shape (..., T, T) and z of shape (..., T)."""
    product: Array = np.einsum("...ij,...j->...i", factor, z)
    return product


def reorder_cholesky(factor: Array, order: list[int]) -> Array:
    """Return the lower-triangular factor of C C^T with its rows and columns in another order.

    The rows of C, in the new order, are orthogonalized one after another (modified Gram-Schmidt).
    C C^T is never formed, so no digits cancel where it is nearly singular, and the rows keep their
    norms.

    Args:
        factor: C, (..., T, T).
        order: the positions of the T targets.
    """
    reordered = np.zeros_like(factor)
    axes: list[Array] = []
    for row, position in enumerate(order):
        rest = factor[..., position, :]
        for column, axis in enumerate(axes):
            along = (rest * axis).sum(axis=-1)
            reordered[..., row, column] = along
            rest = rest - along[..., None] * axis
        length = np.maximum(np.sqrt((rest * rest).sum(axis=-1)), _TINY)
        reordered[..., row, row] = length
        axes.append(rest / length[..., None])
    return reordered


def normalize_rows(factor: Array) -> tuple[Array, Array]:
    """Return a factor's rows divided by their norms, (..., T, T), and the norms, (..., T)."""
    largest = np.abs(factor).max(axis=-1)
    # The rows are scaled first: the square of a tiny or a huge entry would under- or overflow.
    relative = factor / largest[..., None]
    norms = np.sqrt((relative * relative).sum(axis=-1))
    return relative / norms[..., None], largest * norms


class MixtureSource(Protocol):
    """N Gaussian mixtures that can be computed piece by piece.

    A `GaussianMixture` is one. Another one may compute the mixtures only when rows are requested,
    so that a long table needs bounded memory.
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        """The numbers of rows, components and targets, (N, K, T)."""

    def rows(self, chosen: slice, /) -> "GaussianMixture":
        """Return the mixtures of these rows."""


@dataclass(frozen=True)
class GaussianMixture:
    """N mixtures of K Gaussian components over T targets.

    p(y) = sum_k pi_k N(y; mu_k, D_k C_k C_k^T D_k),   D_k = diag(sigma_k)

    (Bishop 1994, eq. 22 and 23, with a full covariance). C is the Cholesky factor of a component's
    correlation matrix; without one the targets are independent within a component.

    Attributes:
        log_pi: (N, K), log weights; the weights of each row sum to 1.
        mu: (N, K, T), means, in the units of y.
        sigma: (N, K, T), the standard deviation of each target on its own, in the units of y;
            positive.
        factor: (N, K, T, T), C, lower-triangular with rows of norm 1 and a positive diagonal; None
            for the identity.
    """

    log_pi: Array
    mu: Array
    sigma: Array
    factor: Array | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """The numbers of rows, components and targets, (N, K, T)."""
        rows, components, targets = self.mu.shape
        return rows, components, targets

    @cached_property
    def pi(self) -> Array:
        """The weights, shape (N, K)."""
        return np.exp(self.log_pi)

    def arrays(self) -> tuple[Array, ...]:
        """Return log_pi, mu, sigma and, where there is one, the factor."""
        parts = (self.log_pi, self.mu, self.sigma)
        return parts if self.factor is None else (*parts, self.factor)

    def rows(self, chosen: slice | Positions | Mask) -> "GaussianMixture":
        """Return the mixtures of these rows, in their order."""
        return GaussianMixture(*(part[chosen] for part in self.arrays()))

    def components(self, chosen: slice) -> "GaussianMixture":
        """Return some of the components with unchanged weights."""
        return GaussianMixture(*(part[:, chosen] for part in self.arrays()))

    def marginal(self, positions: list[int]) -> "GaussianMixture":
        """Return the marginal mixtures of the targets at these positions, in this order."""
        mu, sigma = self.mu[:, :, positions], self.sigma[:, :, positions]
        if self.factor is None or len(positions) == 1:
            return GaussianMixture(self.log_pi, mu, sigma)
        taken = len(positions)
        others = [each for each in range(self.mu.shape[2]) if each not in positions]
        factor = reorder_cholesky(self.factor, [*positions, *others])
        return GaussianMixture(self.log_pi, mu, sigma, factor[:, :, :taken, :taken])

    def log_prob(self, y: Array) -> Array:
        """Return log p(y), the joint log density of all targets, in nats, shape (N,).

        Args:
            y: (N, T), one point for each mixture.
        """
        return log_sum_exp(self.log_pi + self.log_components(y))

    def log_components(self, y: Array) -> Array:
        """Return the log density of every component at y, in nats, shape (N, K).

        Args:
            y: (N, T), one point for each mixture, or N points for a single mixture.
        """
        z = (np.asarray(y)[:, None, :] - self.mu) / self.sigma
        log_volume = np.log(self.sigma).sum(axis=2)
        if self.factor is not None:
            z = solve_lower(self.factor, z)
            log_volume = log_volume + log_det_lower(self.factor)
        terms: Array = -0.5 * (z * z + LOG_2PI).sum(axis=2) - log_volume
        return terms

    def mean(self) -> Array:
        """Return E[y] = sum_k pi_k mu_k, shape (N, T), in the units of y."""
        mean: Array = (self.pi[:, :, None] * self.mu).sum(axis=1)
        return mean

    def variance(self) -> Array:
        """Return Var[y] = sum_k pi_k (sigma_k^2 + (mu_k - E[y])^2), shape (N, T).

        The result is in the units of y squared. The squares about the mean avoid the cancellation
        of E[y^2] - E[y]^2.
        """
        deviation = self.mu - self.mean()[:, None, :]
        squares = self.sigma * self.sigma + deviation * deviation
        variance: Array = (self.pi[:, :, None] * squares).sum(axis=1)
        return variance

    def covariance(self) -> Array:
        """Return Cov[y], shape (N, T, T), in products of the units of y.

        sum_k pi_k (D_k C_k C_k^T D_k + (mu_k - E[y]) (mu_k - E[y])^T)

        This is the mean of the components' covariances plus the covariance of their means.
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
        """Return each component's covariance of one target with every target, shape (N, K, T).

        The result is in products of the units of the two targets.
        """
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
        # The targets are standardized first: products of small standard deviations underflow.
        parts = (self.log_pi, self.mu / std[:, None], self.sigma / std[:, None], self.factor)
        correlation = np.clip(GaussianMixture(*parts).covariance(), -1.0, 1.0)
        each = np.arange(correlation.shape[1])
        correlation[:, each, each] = 1.0
        return correlation

    def given(self, positions: list[int], values: Array) -> "GaussianMixture":
        """Return the mixtures of the other targets, given the values of these.

        With the given targets g first, C = [[C_gg, 0], [C_rg, C_rr]] and w = C_gg^-1 (y_g - mu_g) /
        sigma_g, each component stays Gaussian:

            log pi' = log pi - |w|^2 / 2 - log det(D_g C_gg) + constant,
            mu' = mu_r + sigma_r C_rg w,   covariance' = D_r C_rr C_rr^T D_r

        (Bishop 2006, eq. 2.81 and 2.82: C_rr C_rr^T is the Schur complement). The weights are
        computed in logs. Far from every component, the nearest one in sigmas gets all the weight.

        Args:
            positions: of the given targets; at least one other target must remain.
            values: (N, G), in the units of y.
        """
        rest = [each for each in range(self.mu.shape[2]) if each not in positions]
        z = (values[:, None, :] - self.mu[:, :, positions]) / self.sigma[:, :, positions]
        z = np.clip(z, -_LARGEST_Z, _LARGEST_Z)
        log_weight = self.log_pi - np.log(self.sigma[:, :, positions]).sum(axis=2)
        mu, sigma, factor = self.mu[:, :, rest], self.sigma[:, :, rest], None
        if self.factor is not None:
            count = len(positions)
            whole = reorder_cholesky(self.factor, [*positions, *rest])
            first = whole[:, :, :count, :count]
            z = np.clip(solve_lower(first, z), -_LARGEST_Z, _LARGEST_Z)
            log_weight = log_weight - log_det_lower(first)
            mu = mu + sigma * multiply_lower(whole[:, :, count:, :count], z)
            factor, norms = normalize_rows(whole[:, :, count:, count:])
            sigma = sigma * norms
        log_pi = normalize_weights(log_weight - 0.5 * (z * z).sum(axis=2))
        return GaussianMixture(log_pi, mu, sigma, factor if len(rest) > 1 else None)

    def with_factor(self) -> "GaussianMixture":
        """Return the same mixtures with a factor, the identity for independent targets."""
        if self.factor is not None:
            return self
        targets = self.mu.shape[2]
        factor = np.broadcast_to(np.eye(targets), (*self.mu.shape, targets))
        return replace(self, factor=factor)

    def component_mean(self) -> Array:
        """Return the mean of each row's most probable component, shape (N, T), units of y."""
        best = self.log_pi.argmax(axis=1)
        mean: Array = self.mu[np.arange(len(best)), best]
        return mean

    def tempered(
        self, *, temperature: float = 1.0, sigma_temperature: float = 1.0
    ) -> "GaussianMixture":
        """Return the mixture with weights proportional to pi^(1/temperature) and scaled sigmas.

        Args:
            temperature: positive; below 1 it favours the heavy components.
            sigma_temperature: zero or more; it multiplies every sigma. With zero, only `sample` and
                the means of the result are defined.
        """
        # The largest is subtracted first: log_pi / temperature overflows at a tiny temperature.
        scaled = (self.log_pi - self.log_pi.max(axis=1, keepdims=True)) / temperature
        return GaussianMixture(
            normalize_weights(scaled), self.mu, self.sigma * sigma_temperature, self.factor
        )

    def sample(self, n: int, rng: np.random.Generator) -> tuple[Array, Positions]:
        """Return n draws of each row's mixture and the components they came from.

        The component is found where the cumulated weights exceed a uniform number, so a component
        of weight zero is never drawn. Then y = mu_k + D_k C_k z with independent standard normal z.

        Args:
            n: the number of draws for each row.
            rng: the source of randomness.

        Returns:
            y: (N, n, T), in the units of y.
            component: (N, n), counted from 0.
        """
        rows, _, targets = self.shape
        return self.draw(rng.random((rows, n)), rng.standard_normal((rows, n, targets)))

    def draw(self, uniform: Array, z: Array) -> tuple[Array, Positions]:
        """Return the draws that random numbers stand for, and their components; see `sample`.

        Args:
            uniform: (N, n), from 0 to 1.
            z: (N, n, T), standard normal; it is overwritten by the draws.
        """
        cumulated = np.exp(self.log_pi.T)
        # This is a sum like `cumsum`, which is slow over the first axis.
        for k in range(1, len(cumulated)):
            cumulated[k] += cumulated[k - 1]
        cumulated /= cumulated[-1]
        component = np.zeros(uniform.shape, np.int64)
        for upto in cumulated:
            component += uniform >= upto[:, None]
        rows = np.arange(len(component))[:, None]
        mu, sigma = (_chosen(part, component, rows) for part in (self.mu, self.sigma))
        if self.factor is not None:
            z[:] = multiply_lower(self.factor[rows, component], z)
        z *= sigma
        z += mu
        return z, component


def _chosen(values: Array, component: Positions, rows: Positions) -> Array:
    """Return the values, (N, K, T), of some components, (N, n), shape (N, n, T)."""
    places = component * len(values)
    places += rows
    # The axis of rows is usually the last one in memory.
    each = [np.ascontiguousarray(values[:, :, t].T).take(places) for t in range(values.shape[2])]
    return np.stack(each, axis=2)


def empty_mixture(
    rows: int, components: int, targets: int, *, with_factor: bool = False
) -> GaussianMixture:
    """Return mixtures whose arrays are yet to be written.

    The axis of rows comes last in memory: sums over components are several times faster.
    """
    shapes = [(components,), (components, targets), (components, targets)]
    if with_factor:
        shapes.append((components, targets, targets))
    return GaussianMixture(*(np.moveaxis(np.empty((*shape, rows)), -1, 0) for shape in shapes))


@dataclass(frozen=True)
class _Derived:
    """Mixtures that are computed from those of a source when rows are requested."""

    source: MixtureSource
    targets: int
    derive: Callable[[GaussianMixture, slice], GaussianMixture]

    @property
    def shape(self) -> tuple[int, int, int]:
        """The numbers of rows, components and targets."""
        rows, components, _ = self.source.shape
        return rows, components, self.targets

    def rows(self, chosen: slice) -> GaussianMixture:
        """Return the mixtures of these rows."""
        return self.derive(self.source.rows(chosen), chosen)


def derived(
    source: MixtureSource,
    targets: int,
    derive: Callable[[GaussianMixture, slice], GaussianMixture],
) -> MixtureSource:
    """Return mixtures that are a function of those of a source.

    They are computed at once from a `GaussianMixture`, else piece by piece when rows are requested.

    Args:
        source: N mixtures.
        targets: the number of targets of the result.
        derive: takes the source's mixtures at some rows, and these rows; K must not change.
    """
    lazy = _Derived(source, targets, derive)
    return lazy.rows(slice(0, source.shape[0])) if isinstance(source, GaussianMixture) else lazy


def pooled(members: list[GaussianMixture], log_weights: list[float]) -> GaussianMixture:
    """Return p(y) = sum_m w_m p_m(y) as one mixture of all components, those of one m adjacent.

    Args:
        members: mixtures over the same rows and targets.
        log_weights: log w_m, whose exponentials sum to 1.
    """
    if len(members) == 1:
        return members[0]
    if any(member.factor is not None for member in members):
        members = [member.with_factor() for member in members]
    pairs = zip(members, log_weights, strict=True)
    log_pi = np.concatenate([member.log_pi + weight for member, weight in pairs], axis=1)
    _, *rest = (
        np.concatenate(parts, axis=1)
        for parts in zip(*(member.arrays() for member in members), strict=True)
    )
    return GaussianMixture(log_pi, *rest)


def generator_of_draws(seed: int) -> np.random.Generator:
    """Return a generator of random numbers for draws, independent of `default_rng(seed)`.

    A table may have been generated with `default_rng(seed)`. Draws at its rows with the same random
    numbers would follow the data row by row.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))


def log_det_lower(factor: Array) -> Array:
    """Return log det C, shape (N, K), for lower-triangular C of shape (N, K, T, T)."""
    total: Array = np.log(np.diagonal(factor, axis1=2, axis2=3)).sum(axis=2)
    return total


def normalize_weights(log_weight: Array) -> Array:
    """Return log weights, (N, K), shifted so that the weights of each row sum to 1."""
    below: Array = log_weight - log_weight.max(axis=1, keepdims=True)
    return below - log_sum_exp(below)[:, None]


def log_sum_exp(terms: Array) -> Array:
    """Return log sum_k exp(terms_k) over the last axis; finite wherever the largest term is."""
    top = terms.max(axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        total: Array = np.log(np.exp(terms - top).sum(axis=-1))
    return total + top[..., 0]


# Conditioning: the distribution of some targets, given the values of the others.


@dataclass(frozen=True)
class GivenTargets:
    """The known values of G of T targets at N rows.

    Attributes:
        positions: of the given targets, in rising order; there may be none.
        remaining: the positions of the other targets; there is at least one.
        values: (N, G), in the units of the file.
        u: (N, G), the same values on the scale of the mixtures; see `Transform.inverse`.
        transforms: of all T targets.
    """

    positions: list[int]
    remaining: list[int]
    values: Array
    u: Array
    transforms: Sequence[Transform]

    @classmethod
    def read(
        cls,
        given: Mapping[str, ArrayLike],
        names: Sequence[str],
        transforms: Sequence[Transform],
        rows: int,
    ) -> "GivenTargets":
        """Return the known values of the targets that `given` names.

        Args:
            given: by target, one number for all rows, or one for each row, (N,).
            names: of all targets.
            transforms: of all targets.
            rows: N.

        Raises:
            DataError: there is no such target, or a value is not a finite number, or it is at one
                of the target's bounds or beyond it.
            ParameterError: all targets are given.
            ValueError: the values of a target are neither one number nor one for each row.
        """
        remaining_targets(list(given), list(names))
        positions = [position for position, name in enumerate(names) if name in given]
        values = np.empty((rows, len(positions)))
        u = np.empty_like(values)
        for column, position in enumerate(positions):
            name = names[position]
            value = np.asarray(given[name], dtype=np.float64)
            if value.shape not in ((), (rows,)):
                raise ValueError(f"values of shape {value.shape} given for {rows} rows")
            _check_values(name, value, transforms[position])
            values[:, column] = value
            u[:, column] = transforms[position].inverse(value)
        remaining = [position for position, name in enumerate(names) if name not in given]
        return cls(positions, remaining, values, u, transforms)

    def condition(self, mixture: GaussianMixture, rows: slice) -> GaussianMixture:
        """Return the mixtures of the remaining targets at some rows, from those of all targets.

        Args:
            mixture: of all targets, at these rows only.
            rows: which of the N rows they are.
        """
        return mixture.given(self.positions, self.u[rows]) if self.positions else mixture

    def complete(self, drawn: Array, rows: slice) -> Array:
        """Return draws of all targets, (N, n, T), in the units of the file.

        Args:
            drawn: (N, n, T - G), draws of the remaining targets on the scale of the mixtures.
            rows: which of the N rows they belong to.
        """
        count, draws, _ = drawn.shape
        y = np.empty((count, draws, len(self.transforms)))
        for column, position in enumerate(self.remaining):
            y[:, :, position] = self.transforms[position].forward(drawn[:, :, column])
        y[:, :, self.positions] = self.values[rows][:, None]
        return y


def condition(source: MixtureSource, known: GivenTargets) -> MixtureSource:
    """Return the mixtures of the remaining targets, from those of all targets."""
    return derived(source, len(known.remaining), known.condition)


def remaining_targets(given: list[str], targets: list[str]) -> list[str]:
    """Return the targets that are not given, in their order.

    Raises:
        DataError: there is no such target.
        ParameterError: all targets are given.
    """
    for name in given:
        position_of(name, targets)
    remaining = [name for name in targets if name not in given]
    if not remaining:
        raise ParameterError(
            f"{parameter('given')} names every target ({listed(targets)}), so none remains to be "
            "predicted. Leave one out."
        )
    return remaining


def position_of(name: str, targets: Sequence[str]) -> int:
    """Return the position of the target of this name.

    Raises:
        DataError: there is no such target.
    """
    if name not in targets:
        raise DataError(
            f"The model has no target {quoted(name)}.{nearest(name, targets)} "
            f"Its targets are: {listed(targets)}."
        )
    return list(targets).index(name)


def _check_values(name: str, value: Array, transform: Transform) -> None:
    """Check that the given values of a target are finite numbers between its bounds.

    Args:
        name: of the target.
        value: () or (N,), in the units of the file.
        transform: of the target.

    Raises:
        DataError: a value is not.
    """
    finite = np.isfinite(value)
    if not finite.all():
        where, wrong = _first(value, ~finite)
        raise DataError(
            f"{where}the given value of {quoted(name)} is {wrong}, not a finite number. Leave the "
            f"{'row' if where else 'target'} out."
        )
    outside = ~np.isfinite(transform.inverse(value))
    if outside.any():
        where, wrong = _first(value, outside)
        raise DataError(
            f"{where}the given value of {quoted(name)} is {wrong:g}, where the density is 0: the "
            f"model was fitted with {quoted(name)} {transform.describe()}."
        )


def _first(value: Array, wrong: Array) -> tuple[str, float]:
    """Return the place of the first wrong value, for a message, and that value."""
    if not value.ndim:
        return "", float(value)
    row = int(np.argmax(wrong))
    return f"row {row + 1}: ", float(value[row])
