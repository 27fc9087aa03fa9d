"""The schema of a model: its features and targets with their ranges, scales and transforms."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from mdncli.columns.discrete import Atoms, Rounding, Wrapped
from mdncli.columns.features import (
    CategoryFeature,
    Column,
    Feature,
    feature_from_plain,
    feature_to_plain,
    step_of,
)
from mdncli.columns.transforms import IDENTITY, Cells, Transform, transform_between
from mdncli.errors import DataError, parameter
from mdncli.text import quoted
from mdncli.types import Array, Mask

# The smallest sigma of a continuous target, and the least value of `min_sigma`, in scales of the
# target: below that, single precision does not resolve it.
_DEFAULT_MIN_SIGMA = 1e-4
_LEAST_MIN_SIGMA = 1e-6
# The smallest sigma of a rounded target, in steps. No density of it is higher than 1/step anyway.
_LEAST_OF_STEP = 0.1
# The largest sigma of a target with one bound, as a share of the range of the training rows.
_SHARE_WITH_ONE_BOUND = 1.0 / 3.0
# The smallest length of the mean of the unit vectors of angles; it is 0 if they are uniform.
_LEAST_LENGTH = 0.25
# A value may lose so much of its distance from the median to rounding, as a distance from a bound.
_MOST_LOST = 1e-3


@dataclass(frozen=True)
class Target(Column):
    """A column to predict.

    Where a target has bounds, the mixture is over u = transform.inverse(y), and `mean` and `scale`
    are those of u.

    Attributes:
        step: the step in which it was recorded, in the units of the file; None for a continuous
            target.
        min_sigma: the smallest sigma of a component, in the units of u.
        lower, upper: its bounds, in the units of the file; None for no bound.
        order: of the transform if it has two bounds, otherwise 1; see `Interval`.
        rounded: whether a value stands for the cell of a grid with this step; see `Rounding`.
        atoms: the values with a probability of their own, in rising order; see `Atoms`.
        gap: the width of the interval of u that an atom stands for; 0 without atoms.
        closed: whether no value is below the first atom, and none above the last one.
        censor_below, censor_above: limits; a value beyond one says only that the target is there.
        period: of an angle, whose lowest value is `lower`; see `Wrapped`.
    """

    step: float | None
    min_sigma: float
    lower: float | None
    upper: float | None
    order: int
    rounded: bool = False
    atoms: tuple[float, ...] = ()
    gap: float = 0.0
    closed: tuple[bool, bool] = (False, False)
    censor_below: float | None = None
    censor_above: float | None = None
    period: float | None = None

    @property
    def transform(self) -> Transform:
        """The transform from u to the target."""
        if self.rounded and self.step is not None:
            return Rounding(self.step, self.lowest, self.lower, self.upper)
        if self.period is not None:
            return Wrapped(self.period, self.lower or 0.0)
        bounded = transform_between(self.lower, self.upper, self.order)
        return Atoms(bounded, self.atoms, self.gap, self.closed) if self.atoms else bounded

    @property
    def kind(self) -> str:
        """What its values are, in words, such as `number, rounded` or `number, atom 0`."""
        words = ["number" if self.period is None else f"angle, period {self.period:g}"]
        words += ["rounded"] * self.rounded
        words += [f"atom {value:g}" for value in self.atoms]
        limits = ("below", self.censor_below), ("above", self.censor_above)
        words += [f"censored {side} {end:g}" for side, end in limits if end is not None]
        return ", ".join(words)

    def clipped(self, y: Array) -> Array:
        """Return values y with those beyond the limits of censoring moved to the limits."""
        if self.censor_below is None and self.censor_above is None:
            return y
        return np.clip(y, self.censor_below, self.censor_above)

    def is_limit(self, y: Array, known: Mask | None = None) -> Mask:
        """Return of which values y, (N,), only a limit of the target is known; see `cells`."""
        limit: Mask = np.any(self._limits(y, known), axis=0)
        return limit

    def _limits(self, y: Array, known: Mask | None) -> tuple[Mask, Mask, Mask]:
        """Return where the target is at most y, at least y, and where it exceeds y, each (N,)."""
        nowhere = np.zeros(len(y), dtype=bool)
        below = nowhere if self.censor_below is None else y <= self.censor_below
        above = nowhere if self.censor_above is None else y >= self.censor_above
        return below, above, nowhere if known is None else ~known

    def cells(self, y: Array, known: Mask | None = None) -> Cells:
        """Return what values y, (N,), stand for on the scale of u.

        Args:
            y: in the units of the file.
            known: (N,), False where the target is only known to exceed the value; None where all
                values are known.
        """
        y, transform = self.clipped(y), self.transform
        cells = transform.cells(y)
        below, above, beyond = self._limits(y, known)
        limit = below | above | beyond
        if not limit.any():
            return cells
        upto, least = transform.edge_above(y), cells.low
        if isinstance(transform, Rounding):
            # The smallest value of the grid that is at least y may be larger than y.
            least = np.where(transform.off_grid(y), upto, least)
        low = np.where(beyond, upto, np.where(above, least, np.where(below, -np.inf, cells.low)))
        high = np.where(above | beyond, np.inf, np.where(below, upto, cells.high))
        unit = np.where(limit, 0.0, cells.log_unit)
        return replace(cells, low=low, high=high, log_unit=unit)

    @classmethod
    def measure_target(
        cls,
        name: str,
        values: Array,
        transform: Transform = IDENTITY,
        min_sigma: float | None = None,
    ) -> "Target":
        """Return the target of these values, (N,), all of them between its bounds.

        A Gaussian of sigma = step / sqrt(2 pi) is 1/step high. With that as the smallest sigma, no
        mixture claims a density above 1/step, which is all that values recorded in steps support.
        With bounds this holds at the median: there, a width in y is dy/du times the width in u.

        Args:
            name: of the column.
            values: in the units of the file.
            transform: of the target.
            min_sigma: the smallest sigma to use instead, in the units of the file.
        """
        rounded = isinstance(transform, Rounding)
        # A censored value may be between two values of the grid.
        column = Column.measure(name, transform.forward(values) if rounded else values)
        others = values[~np.isin(values, getattr(transform, "values", ()))]
        step = transform.step if isinstance(transform, Rounding) else step_of(others)
        per_unit = 1.0
        if not (transform.is_identity or rounded):
            of_u = Column.measure(name, transform.inverse(others))
            column = replace(column, mean=of_u.mean, scale=of_u.scale)
            median = np.array(np.median(others))
            at_median = transform.log_abs_det_jacobian(transform.inverse(median), median)
            per_unit = math.exp(-float(at_median))
        smallest = _DEFAULT_MIN_SIGMA * column.scale
        if step is not None:
            smallest = step * (_LEAST_OF_STEP if rounded else per_unit / math.sqrt(2.0 * math.pi))
        target = cls(
            **asdict(column),
            step=step,
            min_sigma=min_sigma * per_unit if min_sigma else smallest,
            lower=transform.lower,
            upper=transform.upper,
            order=transform.order,
            rounded=rounded,
        )
        if isinstance(transform, Wrapped):
            return target._of_angle(transform, values, min_sigma)
        if not isinstance(transform, Atoms):
            return target
        inner = transform.inner
        return replace(
            target,
            lower=inner.lower,
            upper=inner.upper,
            order=inner.order,
            atoms=transform.values,
            gap=transform.width,
            closed=transform.closed,
        )

    def _of_angle(self, transform: Wrapped, values: Array, min_sigma: float | None) -> "Target":
        """Return the target of an angle: standardized from its circular mean on."""
        turns = 2.0 * math.pi / transform.period * values
        mean = math.atan2(np.sin(turns).sum(), np.cos(turns).sum()) / (2.0 * math.pi)
        length = min(float(np.hypot(np.sin(turns).mean(), np.cos(turns).mean())), 1.0 - 1e-12)
        spread = math.sqrt(-2.0 * math.log(max(length, _LEAST_LENGTH))) / (2.0 * math.pi)
        scale = transform.period * spread
        default = self.step is None and not min_sigma
        smallest = _DEFAULT_MIN_SIGMA * scale if default else self.min_sigma
        return replace(
            self,
            mean=transform.period * mean,
            scale=scale,
            min_sigma=smallest,
            lower=transform.origin,
            period=transform.period,
        )


@dataclass(frozen=True)
class Schema:
    """The features and targets of a model, in its order, and its columns of weights and events.

    Attributes:
        features: F of them.
        targets: T of them.
        weight: the column that weighted the rows, if any.
        event: the column that says whether the value of the only target is known; empty if an
            array said so, and None if it is always known.
    """

    features: tuple[Feature, ...]
    targets: tuple[Target, ...]
    weight: str | None = None
    event: str | None = None

    @property
    def feature_names(self) -> list[str]:
        """The names of the features."""
        return [feature.name for feature in self.features]

    @property
    def target_names(self) -> list[str]:
        """The names of the targets."""
        return [target.name for target in self.targets]

    @property
    def transforms(self) -> tuple[Transform, ...]:
        """The transform of each target."""
        return tuple(target.transform for target in self.targets)

    def transforms_of(self, targets: Sequence[str]) -> dict[str, Transform]:
        """Return the transforms of some targets, by their names."""
        return {each.name: each.transform for each in self.targets if each.name in targets}

    @property
    def bounded(self) -> bool:
        """Whether a target has a bound, and is neither rounded nor an angle."""
        special = Rounding | Wrapped
        return not all(t.is_identity or isinstance(t, special) for t in self.transforms)

    @property
    def is_censored(self) -> bool:
        """Whether values of the only target may be known up to a limit."""
        [target, *others] = self.targets
        limits = target.censor_below, target.censor_above
        return not others and limits != (None, None)

    def cells(self, y: Array, known: Mask | None = None) -> Cells | None:
        """Return what the values of a single target stand for, where they are more than points.

        Args:
            y: (N, T), in the units of the file.
            known: as for `Target.cells`.

        Returns:
            Standardized cells; None where the density of each row is that of a point on a line.
        """
        [target, *others] = self.targets
        special = isinstance(target.transform, Rounding | Atoms | Wrapped)
        if others or not (special or self.is_censored or known is not None):
            return None
        return target.cells(y[:, 0], known).standardized(target.mean, target.scale)

    @property
    def target_scales(self) -> Array:
        """The scales of u in training, shape (T,); see `Column`."""
        return np.array([target.scale for target in self.targets])

    @property
    def min_sigma(self) -> Array:
        """The smallest sigma of each target, in scales of u, shape (T,)."""
        return np.array([target.min_sigma / target.scale for target in self.targets])

    @property
    def max_sigma(self) -> Array:
        """The largest sigma of each target, in scales of u, shape (T,): its range in training.

        Of an angle it is half a period. Such a wrapped Gaussian is almost uniform.
        """
        if self.targets[0].period is not None:
            return np.array([0.5 * self.targets[0].period]) / self.target_scales
        ends = np.array([[target.lowest, target.highest] for target in self.targets]).T
        low, high = self.inverse(ends)
        with_one = [self._has_far_tail(target) for target in self.targets]
        share = np.where(with_one, _SHARE_WITH_ONE_BOUND, 1.0)
        largest: Array = share * (high - low) / self.target_scales
        return largest

    def _has_far_tail(self, target: Target) -> bool:
        """Return whether a wide component would reach much farther than any known value.

        With one bound the mean of a component grows with exp(sigma^2 / 2). Nothing limits sigma
        where values are censored, or on the side of an atom.
        """
        one_bound = (target.lower is None) != (target.upper is None)
        return one_bound and (self.event is not None or self.is_censored or bool(target.atoms))

    @property
    def resolution(self) -> float | None:
        """The sum of ln(step) over the targets, in nats.

        None if a target is continuous or has a bound.
        """
        if self.bounded or any(target.atoms for target in self.targets):
            return None
        steps = [target.step for target in self.targets]
        return None if None in steps else sum(math.log(step) for step in steps if step)

    @property
    def periodic_width(self) -> int:
        """The number of inputs that the networks read with sines and cosines of them."""
        return sum(feature.periodic_width for feature in self.features)

    @property
    def plain_width(self) -> int:
        """The number of inputs that the networks read as they are."""
        return sum(feature.plain_width for feature in self.features)

    def inputs(self, x: Array) -> Array:
        """Return x, shape (N, F), as the networks read it: the periodic inputs, then the plain.

        See `periodic_inputs` and `plain_inputs` of each kind of feature.
        """
        columns = np.asarray(x, dtype=np.float64).T
        pairs = list(zip(self.features, columns, strict=True))
        periodic = [feature.periodic_inputs(values) for feature, values in pairs]
        plain = [feature.plain_inputs(values) for feature, values in pairs if feature.plain_width]
        return np.column_stack([*periodic, *plain])

    def category_inputs(self) -> list[tuple[int, int, int]]:
        """Return three positions in `inputs` for each category: its first input, its input for
        other texts, and the end of its inputs."""
        places, start = [], self.periodic_width
        for feature in self.features:
            if isinstance(feature, CategoryFeature):
                places.append((start, start + feature.other, start + feature.plain_width))
            start += feature.plain_width
        return places

    def extrapolates(self, x: Array) -> Mask:
        """Return which rows of x, (N, F), have a feature far outside its training range, (N,)."""
        outside = np.zeros(len(x), dtype=bool)
        for feature, values in zip(self.features, x.T, strict=True):
            outside |= feature.far_outside(values)
        return outside

    def inverse(self, y: Array) -> Array:
        """Return u of targets y, both (N, T)."""
        if not self.bounded and self.targets[0].period is None:
            return y
        return np.column_stack([t.inverse(y[:, i]) for i, t in enumerate(self.transforms)])

    def standardize_targets(self, y: Array) -> Array:
        """Return (u - mean) / scale of targets y, (N, T), with those of the training rows."""
        mean = np.array([target.mean for target in self.targets])
        away = self.inverse(y) - mean
        period = self.targets[0].period
        if period is not None:
            away = away - period * np.rint(away / period)
        standardized: Array = away / self.target_scales
        return standardized

    def log_abs_det_jacobian(self, y: Array) -> Array | float:
        """Return log |dy/du| of targets y, (N, T), summed over the targets: (N,); 0 without bounds.

        So -log p(y) = -log p(u) + this, in nats.
        """
        if not self.bounded:
            return 0.0
        total = np.zeros(len(y))
        for target, transform in enumerate(self.transforms):
            values = y[:, target]
            total += transform.log_abs_det_jacobian(transform.inverse(values), values)
        return total

    def outside(self, y: Array) -> Mask:
        """Return which rows of y, (N, T), have a target at a bound or beyond it, shape (N,)."""
        beyond = [transform.outside(y[:, i]) for i, transform in enumerate(self.transforms)]
        anywhere: Mask = np.any(beyond, axis=0)
        return anywhere

    def to_plain(self) -> dict[str, Any]:
        """Return the schema as plain values."""
        return {
            "features": [feature_to_plain(feature) for feature in self.features],
            "targets": [_target_to_plain(target) for target in self.targets],
            "weight": self.weight,
            "event": self.event,
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Schema":
        """Return the schema that `to_plain` gave."""
        return cls(
            tuple(feature_from_plain(column) for column in plain["features"]),
            tuple(_target_from_plain(column) for column in plain["targets"]),
            plain["weight"],
            plain["event"],
        )


def _target_to_plain(target: Target) -> dict[str, Any]:
    plain = asdict(target)
    return {**plain, "atoms": list(target.atoms), "closed": list(target.closed)}


def _target_from_plain(plain: dict[str, Any]) -> Target:
    return Target(**{**plain, "atoms": tuple(plain["atoms"]), "closed": tuple(plain["closed"])})


def measure_targets(
    source: str,
    names: Sequence[str],
    y: Array,
    transforms: dict[str, Transform],
    min_sigma: dict[str, float],
) -> tuple[Target, ...]:
    """Return the targets of training rows y, (N, T), all of them between their bounds.

    Args:
        source: the table's name in messages.
        names: of the targets.
        y: (N, T), N at least 1.
        transforms: of the targets that have bounds, by name.
        min_sigma: by name, for the targets that get a smallest sigma of the user's choice.

    Raises:
        DataError: a target is constant, its smallest sigma is less than a millionth of its scale,
            or a bound is so far away that the values can hardly be told apart from there.
    """
    measured = []
    for position, name in enumerate(names):
        values = y[:, position]
        if Column.measure(name, values).constant:
            raise DataError(
                f"{source}: the target {quoted(name)} is {values[0]:g} in every row, so there is "
                f"nothing to learn. Choose another {parameter('target')}."
            )
        transform = transforms.get(name, IDENTITY)
        _require_near_bounds(source, name, values, transform)
        if isinstance(transform, Atoms) and len(np.unique(values[transform.atom(values) < 0])) < 2:
            raise DataError(
                f"{source}: {quoted(name)} has fewer than two values beside its atoms, so there is "
                f"no density to learn. Use {parameter('target_kind', repr('rounded'))}, or more "
                "rows."
            )
        given = min_sigma.get(name)
        target = Target.measure_target(name, values, transform, given)
        least = _LEAST_MIN_SIGMA * target.scale
        if given is not None and target.min_sigma < least:
            raise DataError(
                f"{parameter('min_sigma')} of {quoted(name)} is {given:g}: it must be at least "
                f"{least * given / target.min_sigma:.3g}, a millionth of its scale."
            )
        measured.append(target)
    return tuple(measured)


def _require_near_bounds(source: str, name: str, values: Array, transform: Transform) -> None:
    """Check that values keep their digits as distances from the bounds."""
    if transform.is_identity or isinstance(transform, Rounding | Wrapped):
        return
    column = Column.measure(name, values)
    lost = np.abs(transform.forward(transform.inverse(values)) - values)
    if (lost > _MOST_LOST * np.maximum(column.scale, np.abs(values - column.median))).any():
        raise DataError(
            f"{source}: {quoted(name)} must be {transform.describe()}. That is so far from its "
            f"values, {column.lowest:g} to {column.highest:g}, that they hardly differ from there. "
            "Choose a nearer bound, or none."
        )
