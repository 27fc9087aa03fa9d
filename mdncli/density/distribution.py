"""The distribution of the targets at each row, and every quantity that follows from it."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from mdncli.columns.discrete import Atoms, Rounding
from mdncli.columns.transforms import IDENTITY, Transform, inverse_and_log_jacobian
from mdncli.density import moments
from mdncli.density.marginal import Marginal
from mdncli.density.mixture import (
    GaussianMixture,
    GivenTargets,
    MixtureSource,
    condition,
    derived,
    generator_of_draws,
    position_of,
)
from mdncli.density.modes import joint_modes
from mdncli.density.numerics import for_each_piece, in_pieces
from mdncli.density.targets import ContinuousTarget, on_target
from mdncli.errors import ParameterError, parameter
from mdncli.text import listed
from mdncli.types import Array

# The terms of so many rows stay in the processor's cache: of sums over components, and of searches,
# which need several times the memory.
_TERMS_AT_ONCE = 1 << 16
_SEARCHED_AT_ONCE, _QUANTILES_AT_ONCE = 1 << 15, 3 << 16
# The random numbers of so many rows come first, then the draws of pieces of them.
_DRAWN_AT_ONCE, _DRAWN_TOGETHER = 1 << 15, 6144
_JOINT_AT_ONCE = 256


class Distribution:
    """The distributions of T targets at N rows, in the units of the file.

    Each target is y = transform.forward(u), and u has a Gaussian mixture at each row. Density, cdf,
    quantiles and samples go through the transforms exactly. For a target with bounds, the mean, the
    standard deviation and the CRPS have closed forms, or are computed by quadrature to a relative
    error of 1e-9. At a bound and beyond it the density is 0.

    A single target may be more than a point on a line; see `mdncli.columns.discrete`. A rounded
    target has probabilities at the values of a grid; its density is the probability of a value over
    the step of the grid. Where a target has an atom, what is said of the density is said of the
    probability of the atom. Of an angle, mean and standard deviation are the circular ones, and
    quantiles count from the point opposite the mean.

    With a single target, results have no axis for it: `mean()` is (N,), and `quantile([0.1, 0.9])`
    is (N, 2). With several targets that axis comes after the one of rows: (N, T), (N, T, 2). Mean,
    standard deviation, quantiles, intervals, regions, cdf and CRPS describe each target on its own.
    `log_prob`, `mode` and `component_mean` describe all targets jointly.

    Args:
        mixtures: N mixtures of u with K components, (N, K, T): a `GaussianMixture`, or a source
            that computes them piece by piece.
        transforms: of each target; by default the identity, which means a target without bounds.
        names: of the targets, for `given`; by default `y`, or `y1`, `y2` and so on.
        first_component: the number of the first component: 0 if it is the background of a model.

    Raises:
        ValueError: the number of transforms or names is not T.

    >>> from mdncli import load
    >>> load("model.pt").condition([[2.5]]).quantile([0.05, 0.95]).shape
    (1, 2)
    """

    def __init__(
        self,
        mixtures: MixtureSource,
        transforms: Sequence[Transform] | None = None,
        names: Sequence[str] | None = None,
        *,
        first_component: int = 1,
    ) -> None:
        self._source = mixtures
        self.first_component = first_component
        self._rows, self._components, self._targets = mixtures.shape
        self.transforms = (IDENTITY,) * self._targets if transforms is None else tuple(transforms)
        if names is None:
            names = ["y"] if self._targets == 1 else [f"y{t + 1}" for t in range(self._targets)]
        self.names = list(names)
        if not len(self.transforms) == len(self.names) == self._targets:
            raise ValueError(
                f"{len(self.transforms)} transforms and {len(self.names)} names for "
                f"{self._targets} targets"
            )

    def __len__(self) -> int:
        return self._rows

    @property
    def shape(self) -> tuple[int, int, int]:
        """The numbers of rows, components and targets, (N, K, T)."""
        return self._rows, self._components, self._targets

    @property
    def mixture(self) -> GaussianMixture:
        """The mixtures of u: pi (N, K), mu and sigma (N, K, T).

        If the source computes them piece by piece, all of them are computed now, and kept.
        """
        if not isinstance(self._source, GaussianMixture):
            self._source = self._source.rows(slice(0, self._rows))
        return self._source

    @property
    def pi(self) -> Array:
        """The weights of the components, shape (N, K)."""
        return self.mixture.pi

    @property
    def mu(self) -> Array:
        """The means of the components of u, shape (N, K) or (N, K, T)."""
        return self._squeeze(self.mixture.mu, 2)

    @property
    def sigma(self) -> Array:
        """The standard deviations of the components of u, shape (N, K) or (N, K, T)."""
        return self._squeeze(self.mixture.sigma, 2)

    def given(
        self, values: Mapping[str, ArrayLike] | None = None, /, **named: ArrayLike
    ) -> "Distribution":
        """Return the distribution of the other targets, given the values of these targets.

        Args:
            values: by target, one number for all rows or one for each row, (N,), in the units of
                the file.
            named: the same, for targets with names that are Python identifiers.

        Raises:
            DataError: there is no such target, or a value is not a finite number, or it is at one
                of the target's bounds or beyond it.
            ParameterError: all targets are given.
            ValueError: the values of a target are neither one number nor one for each row.
        """
        both = {**(values or {}), **named}
        known = GivenTargets.read(both, self.names, self.transforms, self._rows)
        return self._of(known.remaining, condition(self._source, known)) if both else self

    def marginal(self, *names: str) -> "Distribution":
        """Return the joint distribution of some of the targets, in this order.

        Raises:
            DataError: there is no such target.
        """
        positions = [position_of(name, self.names) for name in names]
        mixtures = derived(self._source, len(positions), lambda part, _: part.marginal(positions))
        return self._of(positions, mixtures)

    def log_prob(self, values: ArrayLike, *, marginal: bool = False) -> Array:
        """Return log p(y), in nats, shape (N,); -inf at a bound and beyond it.

        Args:
            values: one for each row, (N,) or (N, T), or one for all rows.
            marginal: return the log density of each target on its own, (N,) or (N, T), instead of
                the joint one.
        """
        y = self._values(values)
        if not marginal:
            return self._in_pieces(lambda p: log_prob(self._part(p), self.transforms, y[p]))

        return self._of_each_target(lambda one, part, t: one.log_prob(y[part, t]))

    def log_probability(self, values: ArrayLike) -> Array:
        """Return log P(y = value), in nats, shape (N,), of a rounded target or one with atoms.

        Args:
            values: one for each row, (N,), or one for all rows. Of a rounded target, a value stands
                for the nearest one of the grid. Where a value has no probability the result is
                -inf.

        Raises:
            ParameterError: the target is continuous, so the probability of any value is 0.
        """
        if not isinstance(self.transforms[0], Rounding | Atoms):
            raise ParameterError(
                f"{parameter('probability')} is for a target of which values have a probability, "
                f"and {listed(self.names)} is continuous. Use {parameter('density')}, or fit with "
                f"{parameter('target_kind', repr('rounded'))} or {parameter('atom')}."
            )
        y = self._values(values)
        return self._of_each_target(lambda one, part, t: one.log_probability(y[part, t]))

    def cdf(self, values: ArrayLike, *, upper: bool = False, log: bool = False) -> Array:
        """Return P(y <= value) of each target, shape (N,) or (N, T).

        It is 0 up to a lower bound, and 1 from an upper bound on. Of an angle it counts from the
        lowest value.

        Args:
            values: one for each row, (N,) or (N, T), or one for all rows.
            upper: return P(y > value) instead, summed from the upper tails without cancellation.
            log: return the logarithm of the probability; it is finite where that underflows.
        """
        y = self._values(values)
        return self._of_each_target(lambda one, part, t: one.cdf(y[part, t], upper=upper, log=log))

    def cdf_around_mean(self, values: ArrayLike) -> Array:
        """Return the cdf of each target, shape (N,) or (N, T), as the quantiles invert it.

        Of an angle it is counted from the point opposite the circular mean. Otherwise it is `cdf`.

        Args:
            values: one for each row, (N,) or (N, T), or one for all rows.
        """
        y = self._values(values)
        return self._of_each_target(lambda one, part, t: one.cdf_of_quantiles(y[part, t]))

    def mean(self) -> Array:
        """Return E[y], shape (N,) or (N, T)."""
        return self._squeeze(self._moments[:, 0], 1)

    def variance(self) -> Array:
        """Return Var[y], shape (N,) or (N, T), in the units of y squared."""
        return self._squeeze(self._moments[:, 1], 1)

    def std(self) -> Array:
        """Return the standard deviation of y, shape (N,) or (N, T)."""
        return np.sqrt(self.variance())

    @cached_property
    def _moments(self) -> Array:
        """The mean and the variance, (N, 2, T); usually both are needed."""

        if self._is_identity:

            def of_piece(part: slice) -> Array:
                mixture = self._part(part)
                return np.stack([mixture.mean(), mixture.variance()], axis=1)

            return self._in_pieces(of_piece)
        found = self._of_each_target(lambda one, *_: one.moments())
        return found[:, :, None] if self._targets == 1 else found.transpose(0, 2, 1)

    def correlation(self) -> Array:
        """Return the correlation matrices of the targets, shape (N, T, T).

        If a target has bounds they are computed by quadrature.
        """
        if self._is_identity:
            return self._in_pieces(lambda part: self._part(part).correlation())
        mean, std = self._moments[:, 0], np.sqrt(self._moments[:, 1])

        def of_piece(part: slice) -> Array:
            return moments.correlations(self._part(part), self.transforms, mean[part], std[part])

        return in_pieces(of_piece, self._rows, _JOINT_AT_ONCE)

    def component_mean(self) -> Array:
        """Return the mean of the most probable component, shape (N,) or (N, T).

        For a target with bounds it is forward(mu), which is the median of that component.
        """
        means = self._in_pieces(lambda part: self._part(part).component_mean())
        return self._squeeze(self._forward(means), 1)

    def mode(self) -> Array:
        """Return where the density is highest, shape (N,) or (N, T).

        With one target this is the global maximum. With several it is a joint point: the highest
        maximum that a search finds from the means of the components and the midpoints of any two.
        With bounds it is the maximum of the density of y, not that of u.
        """
        if self._targets == 1:
            return self._of_each_target(lambda one, *_: one.mode(), _SEARCHED_AT_ONCE)

        def joint(part: slice) -> Array:
            return joint_modes(self._part(part), self.transforms)

        return self._forward(in_pieces(joint, self._rows, _JOINT_AT_ONCE))

    def quantile(self, p: ArrayLike) -> Array:
        """Return quantiles, shape (N,) or (N, T); for Q probabilities (N, Q) or (N, T, Q).

        The cdf at the quantile is p to 1e-12, and quantiles never cross. Those of 0 and 1 are the
        bounds, or infinite.

        Args:
            p: a probability, or a list of Q probabilities.

        Raises:
            ValueError: a probability is not from 0 to 1.
        """
        chosen = np.asarray(p, dtype=np.float64)
        flat = np.atleast_1d(chosen)
        found = self._of_each_target(
            lambda one, *_: one.quantiles(flat), _QUANTILES_AT_ONCE // max(1, len(flat))
        )
        return found if chosen.ndim else found[..., 0]

    def median(self) -> Array:
        """Return the median, shape (N,) or (N, T)."""
        return self.quantile(0.5)

    def interval(self, coverage: float = 0.9) -> Array:
        """Return the low and high ends of the central interval, shape (N, 2) or (N, T, 2).

        Raises:
            ValueError: the coverage is not between 0 and 1.
        """
        if not 0.0 < coverage < 1.0:
            raise ValueError("the coverage is not between 0 and 1")
        return self.quantile([0.5 * (1.0 - coverage), 0.5 * (1.0 + coverage)])

    def hdr(self, coverage: float = 0.9) -> Array:
        """Return the highest-density region: the smallest set that holds this probability.

        Shape (N, I, 2) or (N, T, I, 2): the low and high ends of its intervals, in rising order. A
        row with fewer than I intervals ends with NaN. (Hyndman 1996)

        Raises:
            ValueError: the coverage is not between 0 and 1.
        """
        at_once = self._rows_at_once(_SEARCHED_AT_ONCE)
        # The pieces differ in their largest number of intervals.
        found: dict[int, list[Array]] = {}

        def find(part: slice) -> None:
            mixture = self._part(part)
            found[part.start] = [
                on_target(Marginal.of(mixture, target), transform).regions(coverage)
                for target, transform in enumerate(self.transforms)
            ]

        for_each_piece(find, max(1, self._rows), at_once)
        most = max(region.shape[1] for regions in found.values() for region in regions)
        whole = np.full((self._rows, self._targets, most, 2), np.nan)
        for start, regions in found.items():
            for target, region in enumerate(regions):
                whole[start : start + len(region), target, : region.shape[1]] = region
        return self._squeeze(whole, 1)

    def sample(self, n: int = 1, *, seed: int = 0) -> Array:
        """Return n draws for each row, shape (N, n) or (N, T, n), between the bounds if any.

        Args:
            n: the number of draws for each row.
            seed: the same seed gives the same draws.
        """
        rng = generator_of_draws(seed)
        draws = np.empty((self._rows, self._targets, n))

        def fill(part: slice, uniform: Array, z: Array) -> None:
            def of_piece(piece: slice) -> None:
                rows = slice(part.start + piece.start, part.start + piece.stop)
                drawn, _ = self._part(rows).draw(uniform[piece], z[piece])
                draws[rows] = drawn.transpose(0, 2, 1)

            for_each_piece(of_piece, part.stop - part.start, _DRAWN_TOGETHER)

        for at in range(0, self._rows, _DRAWN_AT_ONCE):
            part = slice(at, min(at + _DRAWN_AT_ONCE, self._rows))
            rows = part.stop - part.start
            fill(part, rng.random((rows, n)), rng.standard_normal((rows, n, self._targets)))
        return self._squeeze(self._forward(draws), 1)

    def crps(self, values: ArrayLike) -> Array:
        """Return the continuous ranked probability score, shape (N,) or (N, T), in units of y.

        Args:
            values: one for each row, (N,) or (N, T), or one for all rows; a value may be beyond a
                bound.
        """
        y = self._values(values)

        if self._is_identity:
            found = self._in_pieces(lambda part: moments.crps(self._part(part), y[part]))
            return self._squeeze(found, 1)
        return self._of_each_target(lambda one, part, t: one.crps(y[part, t]))

    @property
    def _is_identity(self) -> bool:
        """Whether no target has a bound."""
        return all(transform.is_identity for transform in self.transforms)

    def _of(self, positions: list[int], mixtures: MixtureSource) -> "Distribution":
        """Return the distribution of the targets at these positions, with these mixtures."""
        transforms = [self.transforms[position] for position in positions]
        names = [self.names[position] for position in positions]
        return Distribution(mixtures, transforms, names, first_component=self.first_component)

    def _part(self, rows: slice) -> GaussianMixture:
        """Return the mixtures of some rows."""
        return self._source.rows(rows)

    def _rows_at_once(self, terms: int) -> int:
        return max(64, terms // self._components)

    def _in_pieces(self, compute: Callable[[slice], Array], terms: int = _TERMS_AT_ONCE) -> Array:
        return in_pieces(compute, self._rows, self._rows_at_once(terms))

    def _of_each_target(
        self,
        compute: Callable[[ContinuousTarget, slice, int], Array],
        terms: int = _TERMS_AT_ONCE,
    ) -> Array:
        """Return the results for each target on its own, (N, …) or (N, T, …)."""

        def of_piece(part: slice) -> Array:
            mixture = self._part(part)
            each = [
                compute(on_target(Marginal.of(mixture, target), transform), part, target)
                for target, transform in enumerate(self.transforms)
            ]
            return np.stack(each, axis=1)

        return self._squeeze(self._in_pieces(of_piece, terms), 1)

    def _values(self, values: ArrayLike) -> Array:
        """Return values as (N, T).

        Raises:
            ValueError: they have neither the shape (N,) or (N, T), nor that of one row.
        """
        y = np.asarray(values, dtype=np.float64)
        if self._targets == 1 and y.ndim == 1 and len(y) == self._rows:
            y = y[:, None]
        if y.ndim > 2 or (y.ndim == 2 and y.shape[1] != self._targets):
            raise ValueError(f"values of shape {y.shape} for {self._rows} rows")
        return np.broadcast_to(y, (self._rows, self._targets))

    def _forward(self, u: Array) -> Array:
        """Return y of values u, both (N, T, …)."""
        if self._is_identity:
            return u
        each = [transform.forward(u[:, t]) for t, transform in enumerate(self.transforms)]
        return np.stack(each, axis=1)

    def _squeeze(self, found: Array, axis: int) -> Array:
        """Return a result without its axis of targets, if there is a single one."""
        return found.squeeze(axis) if self._targets == 1 else found


def log_prob(mixture: GaussianMixture, transforms: Sequence[Transform], y: Array) -> Array:
    """Return log p(y) = log p(u) - sum log |dy/du|, in nats, shape (N,).

    Args:
        mixture: N mixtures of u, or a single one for all values.
        transforms: from u to each target.
        y: (N, T), in the units of the file; the result is -inf at a bound and beyond it.
    """
    if all(transform.is_identity for transform in transforms):
        return mixture.log_prob(y)
    if len(transforms) == 1:
        return Marginal.of(mixture, 0).log_prob_of(transforms[0].cells(y[:, 0]))
    u, minus_log_jacobians = inverse_and_log_jacobian(transforms, y)
    density: Array = mixture.log_prob(u) + minus_log_jacobians.sum(axis=1)
    return density
