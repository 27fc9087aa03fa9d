"""What a model answers for rows: the distribution of y at each of them, and all that it tells.

The distribution of targets with bounds: a mixture and the map that takes it to the target.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mdncli.columns.transforms import FREE, Bounds, underneath
from mdncli.density import moments as scores
from mdncli.density.hdr import highest_density_regions
from mdncli.density.marginal import Univariate, quantiles
from mdncli.density.mixture import GaussianMixture, generator_of_draws
from mdncli.density.modes import joint_modes, modes
from mdncli.density.moments import bounded_crps, bounded_moments, correlations
from mdncli.density.parallel import by_pieces
from mdncli.types import Array

# Rows whose terms stay in the processor's cache: of sums over components, and of searches, which
# hold a few times as much.
_TERMS_AT_ONCE = 1 << 16
_SEARCHED_AT_ONCE = 1 << 15
_DRAWN_AT_ONCE = 1 << 15


class Distribution:
    """The distributions of N rows over T targets, in the units of the file.

    Where a model has one target, answers have no axis for it: `mean()` is (N,), `quantile([0.1,
    0.9])` is (N, 2). With several the axis of targets comes after that of rows: (N, T), (N, T, 2).
    Mean, standard deviation, quantiles, intervals, regions, cdf and CRPS are of each target on its
    own; `log_prob`, `mode` and `component_mean` are of all targets together.

    Args:
        mixture: pi (N, K), mu and sigma (N, K, T).
    """

    _rows: int
    _components: int
    _targets: int

    def __init__(self, mixture: GaussianMixture) -> None:
        self._rows, self._components, self._targets = mixture.mu.shape
        self._of: Callable[[slice], GaussianMixture] = lambda part: mixture
        self._asked = 0
        self.__dict__["mixture"] = mixture

    @classmethod
    def of_rows(
        cls, shape: tuple[int, int, int], mixture_of: Callable[[slice], GaussianMixture]
    ) -> "Distribution":
        """Return distributions whose mixtures, (N, K, T), are made when a question needs them.

        A first question makes them piece by piece and keeps none, which takes less time and memory
        than keeping them; with the second all are kept.
        """
        made = cls.__new__(cls)
        made._rows, made._components, made._targets = shape
        made._of, made._asked = mixture_of, 0
        return made

    @cached_property
    def mixture(self) -> GaussianMixture:
        """The mixtures: pi (N, K), mu and sigma (N, K, T)."""
        return self._of(slice(0, self._rows))

    def __len__(self) -> int:
        return self._rows

    @property
    def pi(self) -> Array:
        """The weights of the components, shape (N, K)."""
        return self.mixture.pi

    @property
    def mu(self) -> Array:
        """The means of the components, shape (N, K) or (N, K, T)."""
        return self._without_axis(self.mixture.mu, 2)

    @property
    def sigma(self) -> Array:
        """The standard deviations of the components, shape (N, K) or (N, K, T)."""
        return self._without_axis(self.mixture.sigma, 2)

    def log_prob(self, values: ArrayLike, *, marginal: bool = False) -> Array:
        """Return log p(y) in nats, shape (N,); with `marginal` of each target, (N,) or (N, T).

        Args:
            values: one for each row, (N,) or (N, T); or one for all of them.
        """
        y = self._values(values)
        if marginal:
            return self._marginals(lambda one, part, t: one.log_density(y[part, t]))
        return self._pieces(lambda part: self._part(part).log_prob(y[part]))

    def cdf(self, values: ArrayLike, *, upper: bool = False, log: bool = False) -> Array:
        """Return P(y <= value) of each target, shape (N,) or (N, T).

        Args:
            values: one for each row, (N,) or (N, T); or one for all of them.
            upper: return P(y > value) instead, summed from the upper tails without cancellation.
            log: return its logarithm, finite where the probability underflows.
        """
        y = self._values(values)

        def answer(one: Univariate, part: slice, target: int) -> Array:
            reached = one.log_cdf if log else one.cdf
            return reached(y[part, target], upper=upper)

        return self._marginals(answer)

    def mean(self) -> Array:
        """Return E[y], shape (N,) or (N, T)."""
        return self._without_axis(self._moments[:, 0], 1)

    def variance(self) -> Array:
        """Return Var[y], shape (N,) or (N, T), in the units of y squared."""
        return self._without_axis(self._moments[:, 1], 1)

    @cached_property
    def _moments(self) -> Array:
        """The mean and the variance together, (N, 2, T): most who ask for one ask for both."""
        return self._pieces(lambda part: self._moments_of(self._part(part)))

    def _moments_of(self, part: GaussianMixture) -> Array:
        return np.stack([part.mean(), part.variance()], axis=1)

    def correlation(self) -> Array:
        """Return the correlation matrices of the targets, shape (N, T, T)."""
        return self._pieces(lambda part: self._part(part).correlation())

    def std(self) -> Array:
        """Return the standard deviation, shape (N,) or (N, T)."""
        return np.sqrt(self.variance())

    def component_mean(self) -> Array:
        """Return the mean of the most probable component, shape (N,) or (N, T)."""
        means = self._pieces(lambda part: self._part(part).component_mean())
        return self._without_axis(means, 1)

    def mode(self) -> Array:
        """Return where the density is highest, shape (N,) or (N, T).

        With one target it is the global maximum; with several a joint point, the best maximum that
        a search from every component's mean and every midpoint of two reaches.
        """
        if self._targets > 1:
            self._ask()
            return by_pieces(lambda part: joint_modes(self._part(part)), len(self), 256)
        return self._marginals(lambda one, part, target: modes(one), searched=True)

    def quantile(self, p: ArrayLike) -> Array:
        """Return quantiles, shape (N,) or (N, T); for Q probabilities (N, Q) or (N, T, Q).

        The cdf there is p to 1e-12, and quantiles never cross.

        Args:
            p: a probability, or a list of them.

        Raises:
            ValueError: one is not from 0 to 1.
        """
        chosen = np.asarray(p, dtype=np.float64)
        flat = np.atleast_1d(chosen)
        found = self._marginals(lambda one, part, target: quantiles(one, flat), searched=True)
        return found if chosen.ndim else found[..., 0]

    def median(self) -> Array:
        """Return the median, shape (N,) or (N, T)."""
        return self.quantile(0.5)

    def interval(self, coverage: float = 0.9) -> Array:
        """Return the central interval, low and high end: shape (N, 2) or (N, T, 2).

        Raises:
            ValueError: the coverage is not between 0 and 1.
        """
        if not 0.0 < coverage < 1.0:
            raise ValueError("the coverage is not between 0 and 1")
        return self.quantile([0.5 * (1.0 - coverage), 0.5 * (1.0 + coverage)])

    def hdr(self, coverage: float = 0.9) -> Array:
        """Return the highest-density region: the smallest set that holds this probability.

        Shape (N, I, 2) or (N, T, I, 2): the low and high ends of its intervals in rising order; a
        row of fewer than I ends with NaN. (Hyndman 1996)

        Raises:
            ValueError: the coverage is not between 0 and 1.
        """
        regions = [self._regions(target, coverage) for target in range(self._targets)]
        most = max(region.shape[1] for region in regions)
        whole = np.full((len(self), self._targets, most, 2), np.nan)
        for target, region in enumerate(regions):
            whole[:, target, : region.shape[1]] = region
        return self._without_axis(whole, 1)

    def sample(self, n: int = 1, *, seed: int = 0) -> Array:
        """Return n draws for each row, shape (N, n) or (N, T, n).

        Args:
            n: draws a row.
            seed: the same seed gives the same draws.
        """
        self._ask()
        rng = generator_of_draws(seed)
        draws = np.empty((len(self), self._targets, n))
        for at in range(0, len(self), _DRAWN_AT_ONCE):
            part = slice(at, min(at + _DRAWN_AT_ONCE, len(self)))
            drawn, _ = self._part(part).sample(n, rng)
            draws[part] = drawn.transpose(0, 2, 1)
        return self._without_axis(draws, 1)

    def crps(self, values: ArrayLike) -> Array:
        """Return the continuous ranked probability score, shape (N,) or (N, T), in units of y.

        Args:
            values: one for each row, (N,) or (N, T); or one for all of them.
        """
        y = self._values(values)
        score = self._pieces(lambda part: scores.crps(self._part(part), y[part]))
        return self._without_axis(score, 1)

    def _ask(self) -> None:
        """Count a question; from the second on the mixtures are kept."""
        self._asked += 1
        if self._asked > 1:
            _ = self.mixture

    def _part(self, rows: slice) -> GaussianMixture:
        """Return the mixtures of some rows."""
        kept: GaussianMixture | None = self.__dict__.get("mixture")
        if kept is None:
            return self._of(rows)
        return kept.rows(rows)

    def _rows_at_once(self, terms: int = _TERMS_AT_ONCE) -> int:
        return max(64, terms // self._components)

    def _pieces(self, answer: Callable[[slice], Array], terms: int = _TERMS_AT_ONCE) -> Array:
        self._ask()
        return by_pieces(answer, len(self), self._rows_at_once(terms))

    def _marginals(
        self, answer: Callable[[Univariate, slice, int], Array], *, searched: bool = False
    ) -> Array:
        """Return an answer about each target on its own, (N, …) or (N, T, …)."""

        def of_all(part: slice) -> Array:
            mixture = self._part(part)
            each = [
                answer(Univariate.marginal(mixture, target), part, target)
                for target in range(self._targets)
            ]
            return np.stack(each, axis=1)

        terms = _SEARCHED_AT_ONCE if searched else _TERMS_AT_ONCE
        return self._without_axis(self._pieces(of_all, terms), 1)

    def _regions(self, target: int, coverage: float, bounds: Bounds = FREE) -> Array:
        mixture = Univariate.marginal(self.mixture, target)
        at_once = self._rows_at_once(_SEARCHED_AT_ONCE)
        starts = range(0, max(1, len(self)), at_once)
        parts: Sequence[Array] = [
            highest_density_regions(
                mixture.rows(np.arange(at, min(at + at_once, len(self)))), coverage, bounds
            )
            for at in starts
        ]
        most = max(part.shape[1] for part in parts)
        return np.concatenate([_widened(part, most) for part in parts])

    def _values(self, values: ArrayLike) -> Array:
        """Return values as (N, T).

        Raises:
            ValueError: they are not of shape (N,), (N, T), or one for all.
        """
        y: Any = np.asarray(values, dtype=np.float64)
        if self._targets == 1 and y.ndim == 1 and len(y) == len(self):
            y = y[:, None]
        if y.ndim > 2 or (y.ndim == 2 and y.shape[1] != self._targets):
            raise ValueError(f"values of shape {y.shape} for {len(self)} rows")
        return np.broadcast_to(y, (len(self), self._targets))

    def _without_axis(self, answer: Array, axis: int) -> Array:
        return answer.squeeze(axis) if self._targets == 1 else answer


def _widened(regions: Array, most: int) -> Array:
    wide = np.full((len(regions), most, 2), np.nan)
    wide[:, : regions.shape[1]] = regions
    return wide


_JOINT_AT_ONCE = 256


class BoundedDistribution(Distribution):
    """The distributions of N rows over T targets, of which at least one has a bound.

    `mixture`, `pi`, `mu` and `sigma` describe the mixture underneath, on the scale of each target's
    map (see `Bounds`). Every other answer is of the target, in the units of the file: density, cdf,
    quantiles and samples through the map exactly, mean, standard deviation and CRPS by closed forms
    or to a relative 1e-9 by quadrature. At a bound and beyond it the density is 0.

    Args:
        mixture: pi (N, K), mu and sigma (N, K, T).
        bounds: of each target, (T,).
    """

    def __init__(self, mixture: GaussianMixture, bounds: tuple[Bounds, ...]) -> None:
        super().__init__(mixture)
        self.bounds = bounds

    @classmethod
    def under(
        cls,
        bounds: tuple[Bounds, ...],
        shape: tuple[int, int, int],
        mixture_of: Callable[[slice], GaussianMixture],
    ) -> "BoundedDistribution":
        """Return distributions whose mixtures, (N, K, T), are made when a question needs them."""
        made = cls.__new__(cls)
        made._rows, made._components, made._targets = shape
        made._of, made._asked, made.bounds = mixture_of, 0, bounds
        return made

    def log_prob(self, values: ArrayLike, *, marginal: bool = False) -> Array:
        """Return log p(y) in nats, shape (N,), -inf at a bound and beyond it.

        With `marginal` of each target, (N,) or (N, T).

        Args:
            values: one for each row, (N,) or (N, T); or one for all of them.
        """
        y = self._values(values)
        u, slopes = underneath(self.bounds, y)
        found = super().log_prob(u, marginal=marginal)
        return found + (self._without_axis(slopes, 1) if marginal else slopes.sum(axis=1))

    def cdf(self, values: ArrayLike, *, upper: bool = False, log: bool = False) -> Array:
        """Return P(y <= value) of each target: 0 up to the lower bound, 1 from the upper one on.

        Shape (N,) or (N, T); the arguments as without bounds.
        """
        u = self._underneath(self._values(values))
        found = super().cdf(u, upper=upper, log=log)
        # The weights may add up to 1 but for rounding.
        sure = self._without_axis(np.where(upper, -u, u), 1)
        found = np.where(sure == np.inf, 0.0 if log else 1.0, found)
        return np.where(sure == -np.inf, -np.inf if log else 0.0, found)

    def _moments_of(self, part: GaussianMixture) -> Array:
        """Return the mean and the variance together, (N, 2, T)."""
        found = super()._moments_of(part)
        for target, bounds in enumerate(self.bounds):
            if bounds:
                line = Univariate.marginal(part, target)
                found[:, :, target] = bounded_moments(line, bounds)
        return found

    def correlation(self) -> Array:
        """Return the correlation matrices of the targets, shape (N, T, T), by quadrature."""
        mean, std = self.mean(), self.std()
        return correlations(self.mixture, self.bounds, mean, std)

    def component_mean(self) -> Array:
        """Return where the mean of the most probable component is mapped to, (N,) or (N, T).

        It is the median of that component, not its mean.
        """
        return self._to_target(super().component_mean())

    def mode(self) -> Array:
        """Return where the density of the target is highest, shape (N,) or (N, T).

        With several it is a joint point, found as without bounds. It is not where the mixture
        underneath is highest: the slope of the map counts.
        """
        if self._targets > 1:
            self._ask()

            def joint(part: slice) -> Array:
                return joint_modes(joint_heights(self._part(part), self.bounds))

            return self._to_target(by_pieces(joint, len(self), _JOINT_AT_ONCE))
        [bounds] = self.bounds
        found = self._marginals(lambda one, *_: modes(one.heights(bounds)), searched=True)
        return self._to_target(found)

    def quantile(self, p: ArrayLike) -> Array:
        """Return quantiles, shape (N,) or (N, T); for Q probabilities (N, Q) or (N, T, Q).

        Of 0 and 1 they are the bounds.

        Args:
            p: a probability, or a list of them.

        Raises:
            ValueError: one is not from 0 to 1.
        """
        found = self._to_target(super().quantile(p))
        if np.ndim(p):
            # The map's own rounding, at most.
            rising = np.argsort(np.asarray(p), kind="stable")
            found[..., rising] = np.maximum.accumulate(found[..., rising], axis=-1)
        return found

    def sample(self, n: int = 1, *, seed: int = 0) -> Array:
        """Return n draws for each row, shape (N, n) or (N, T, n), all between the bounds.

        Args:
            n: draws a row.
            seed: the same seed gives the same draws.
        """
        return self._to_target(super().sample(n, seed=seed))

    def crps(self, values: ArrayLike) -> Array:
        """Return the continuous ranked probability score, shape (N,) or (N, T), in units of y.

        Args:
            values: one for each row, (N,) or (N, T); or one for all of them; beyond a bound too.
        """
        y = self._values(values)

        def of_part(part: slice) -> Array:
            mixture = self._part(part)
            each = []
            for target, bounds in enumerate(self.bounds):
                if bounds:
                    line = Univariate.marginal(mixture, target)
                    each.append(bounded_crps(line, bounds, y[part, target]))
                else:
                    each.append(scores.crps(mixture, y[part])[:, target])
            return np.stack(each, axis=1)

        return self._without_axis(self._pieces(of_part), 1)

    def _regions(self, target: int, coverage: float, bounds: Bounds = FREE) -> Array:
        own = self.bounds[target]
        return own.to_target(super()._regions(target, coverage, own))

    def _underneath(self, y: Array) -> Array:
        """Return values (N, T) on the scale of the mixture."""
        return np.stack([each.to_mixture(y[:, t]) for t, each in enumerate(self.bounds)], axis=1)

    def _to_target(self, u: Array) -> Array:
        """Return values of the mixture's scale, (N, …) or (N, T, …), in the units of the file."""
        if self._targets == 1:
            return self.bounds[0].to_target(u)
        each = [bounds.to_target(u[:, target]) for target, bounds in enumerate(self.bounds)]
        return np.stack(each, axis=1)


def joint_heights(mixture: GaussianMixture, bounds: tuple[Bounds, ...]) -> GaussianMixture:
    """Return the joint density of targets with bounds as a function of u, (N, T).

    As `Univariate.heights`, one target after another: a component for each of its exponentials,
    with weights that do not sum to 1.
    """
    for target, each in enumerate(bounds):
        if not each:
            continue
        covariance = mixture.component_covariance(target)
        location, variance = mixture.mu[:, :, target], covariance[:, :, target]
        tilted = [
            replace(
                mixture,
                log_pi=mixture.log_pi + log_weight + c * location + 0.5 * c * c * variance,
                mu=mixture.mu + c * covariance,
            )
            for c, log_weight in each.tilts()
        ]
        parts = zip(*(part.arrays() for part in tilted), strict=True)
        mixture = GaussianMixture(*(np.concatenate(part, axis=1) for part in parts))
    return mixture
