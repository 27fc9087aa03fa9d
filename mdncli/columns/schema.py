"""The schema of a model: its features and targets with their ranges, scales and transforms."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np

from mdncli.columns.features import (
    CategoryFeature,
    Column,
    Feature,
    feature_from_plain,
    feature_to_plain,
    scale_with_heavy_tails,
)
from mdncli.columns.transforms import IDENTITY, Rounding, Transform, transform_between
from mdncli.errors import DataError, ParameterError, parameter
from mdncli.text import quoted
from mdncli.types import Array, Mask

# The smallest sigma of a continuous target, and the least value of `min_sigma`, in scales of the
# target: below that, single precision does not resolve it.
_DEFAULT_MIN_SIGMA = 1e-4
_LEAST_MIN_SIGMA = 1e-6
# The smallest sigma of a rounded target, in steps. No density of it is higher than 1/step anyway.
_LEAST_OF_STEP = 0.1
# A target with more values than this is continuous.
_MOST_ROUNDED_VALUES, _TWO_VALUES = 100, 2
# A value may lose so much of its distance from the median to rounding, as a distance from a bound.
_MOST_LOST = 1e-3
# A column has a step only if at least this share of its rows repeat the value of another row, and
# if the step is larger than this many scales of the column.
_REPEATED = 0.01
_SMALLEST_STEP = 1e-6


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
    """

    step: float | None
    min_sigma: float
    lower: float | None
    upper: float | None
    order: int
    rounded: bool = False

    @property
    def transform(self) -> Transform:
        """The transform from u to the target."""
        if self.rounded and self.step is not None:
            return Rounding(self.step, self.lowest, self.lower, self.upper)
        return transform_between(self.lower, self.upper, self.order)

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
        column = Column.measure(name, values)
        rounded = isinstance(transform, Rounding)
        step = transform.step if isinstance(transform, Rounding) else step_of(values)
        per_unit = 1.0
        if not (transform.is_identity or rounded):
            u = transform.inverse(values)
            of_u = Column.measure(name, u)
            column = replace(column, mean=of_u.mean, scale=of_u.scale)
            median = np.array(column.median)
            at_median = transform.log_abs_det_jacobian(transform.inverse(median), median)
            per_unit = math.exp(-float(at_median))
        smallest = _DEFAULT_MIN_SIGMA * column.scale
        if step is not None:
            smallest = step * (_LEAST_OF_STEP if rounded else per_unit / math.sqrt(2.0 * math.pi))
        return cls(
            **asdict(column),
            step=step,
            min_sigma=min_sigma * per_unit if min_sigma else smallest,
            lower=transform.lower,
            upper=transform.upper,
            order=transform.order,
            rounded=rounded,
        )


@dataclass(frozen=True)
class Schema:
    """The features and targets of a model, in its order, and the column of weights if any."""

    features: tuple[Feature, ...]
    targets: tuple[Target, ...]
    weight: str | None = None

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
        """Whether a target has a bound, and is not rounded."""
        return not all(t.is_identity or isinstance(t, Rounding) for t in self.transforms)

    @property
    def target_scales(self) -> Array:
        """The scales of u in training, shape (T,); see `Column`."""
        return np.array([target.scale for target in self.targets])

    @property
    def min_sigma(self) -> Array:
        """The smallest sigma of each target, in scales of u, shape (T,)."""
        return np.array([target.min_sigma / target.scale for target in self.targets])

    @property
    def standardized_rounding(self) -> Rounding | None:
        """The rounding of the only target, standardized; None if it is not rounded."""
        [target, *others] = self.targets
        transform = target.transform
        if others or not isinstance(transform, Rounding):
            return None
        return transform.standardized(target.mean, target.scale)

    @property
    def max_sigma(self) -> Array:
        """The largest sigma of each target, in scales of u, shape (T,): its range in training."""
        ends = np.array([[target.lowest, target.highest] for target in self.targets]).T
        low, high = self.inverse(ends)
        largest: Array = (high - low) / self.target_scales
        return largest

    @property
    def resolution(self) -> float | None:
        """The sum of ln(step) over the targets, in nats.

        None if a target is continuous or has a bound.
        """
        if self.bounded:
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
        if not self.bounded:
            return y
        return np.column_stack([t.inverse(y[:, i]) for i, t in enumerate(self.transforms)])

    def standardize_targets(self, y: Array) -> Array:
        """Return (u - mean) / scale of targets y, (N, T), with those of the training rows."""
        mean = np.array([target.mean for target in self.targets])
        standardized: Array = (self.inverse(y) - mean) / self.target_scales
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
            "targets": [asdict(target) for target in self.targets],
            "weight": self.weight,
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Schema":
        """Return the schema that `to_plain` gave."""
        return cls(
            tuple(feature_from_plain(column) for column in plain["features"]),
            tuple(Target(**column) for column in plain["targets"]),
            plain["weight"],
        )


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
        _require_near_bounds(source, name, values, transforms.get(name, IDENTITY))
        given = min_sigma.get(name)
        target = Target.measure_target(name, values, transforms.get(name, IDENTITY), given)
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
    if transform.is_identity:
        return
    column = Column.measure(name, values)
    lost = np.abs(transform.forward(transform.inverse(values)) - values)
    if (lost > _MOST_LOST * np.maximum(column.scale, np.abs(values - column.median))).any():
        raise DataError(
            f"{source}: {quoted(name)} must be {transform.describe()}. That is so far from its "
            f"values, {column.lowest:g} to {column.highest:g}, that they hardly differ from there. "
            "Choose a nearer bound, or none."
        )


def rounding_of(
    values: Array, lower: float | None, upper: float | None, *, always: bool = False
) -> Rounding | None:
    """Return the rounding of a target, or None if it is rather continuous.

    A target is rounded if it was recorded in steps and has at most 100 different values. If all
    values are whole numbers of at least 0, no lower one is possible.

    Args:
        values: (N,), finite.
        lower, upper: the bounds that the user gave.
        always: whatever the number of different values.

    Raises:
        ParameterError: a bound is not on the grid of the values.
    """
    distinct = np.unique(values)
    few = len(distinct) <= _MOST_ROUNDED_VALUES
    if len(distinct) < _TWO_VALUES or not (few or always):
        return None
    step = step_of(values) or (step_of(np.repeat(distinct, 2)) if always else None)
    if step is None:
        return None
    origin = float(distinct[0])
    whole = step == round(step) and origin == round(origin)
    if lower is None and whole and origin >= 0.0:
        lower = origin % step
    rounding = Rounding(step, origin, lower, upper)
    for name, bound in (("lower", lower), ("upper", upper)):
        if bound is None or not Rounding(step, origin).is_off_grid(bound):
            continue
        if not always:
            return None
        raise ParameterError(
            f"{parameter(name)} is {bound:g}: it must be one of the values of the target, such as "
            f"{origin:g} and {origin + step:g}."
        )
    return rounding


def step_of(values: Array) -> float | None:
    """Return the step in which values were recorded, in their units; None if they are continuous.

    The step is the greatest common divisor of the differences between the values. Each value counts
    as the shortest decimal that reads back exactly; the arithmetic is exact.

    Args:
        values: (N,), finite, not all the same.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if counts[counts > 1].sum() < _REPEATED * len(values):
        return None
    largest = float(np.abs(values).max()) or 1.0
    scale = scale_with_heavy_tails(values) or float(np.std(values / largest) * largest)
    smallest = _SMALLEST_STEP * scale
    decimals = [Decimal(repr(value)) for value in distinct.tolist()]
    exponent = min(int(decimal.as_tuple().exponent) for decimal in decimals)
    first, *others = (int(decimal.scaleb(-exponent)) for decimal in decimals)
    step, divisor = 0.0, 0
    for other in others:
        before, divisor = divisor, math.gcd(divisor, other - first)
        if divisor != before:
            step = float(Decimal(divisor).scaleb(exponent))
            # The divisor only shrinks, so a continuous column is recognized after a few values.
            if step <= smallest:
                return None
    return step
