"""The distribution of targets with bounds: a mixture and the map that takes it to the target."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mdncli.density import mapped, scores
from mdncli.density.distribution import Distribution
from mdncli.density.mixture import GaussianMixture
from mdncli.density.modes import joint_modes, modes
from mdncli.density.pieces import by_pieces
from mdncli.density.products import correlations
from mdncli.density.univariate import Univariate
from mdncli.tables.maps import FREE, Bounds, underneath

Array = NDArray[np.float64]

_SEARCHED_AT_ONCE = 256


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
                found[:, :, target] = mapped.moments(line, bounds)
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

            return self._to_target(by_pieces(joint, len(self), _SEARCHED_AT_ONCE))
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
                    each.append(mapped.crps(line, bounds, y[part, target]))
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
