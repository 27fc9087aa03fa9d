"""How finely a column was recorded: its step, and single values that pile up in it.

One column as it was in training: its range, its scale, and how finely it was recorded.

The columns that a model reads and predicts: their roles, ranges and standardization.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mdncli.columns import features as of_features
from mdncli.columns.features import CategoryFeature, Column, Feature
from mdncli.columns.kinds import FeatureColumn, NumberColumn, Roles
from mdncli.columns.transforms import FREE, Bounds
from mdncli.errors import DataError
from mdncli.text import quoted

if TYPE_CHECKING:
    pass


# A column is recorded in steps only if at least this share of its rows repeat another row's value,
_SHARED = 0.01
# and if the step is larger than this many standard deviations: a smaller one tells nothing.
_SMALLEST = 1e-6
_PILE, _FEWEST_IN_PILE = 0.05, 3


def step_of(values: NDArray[np.float64]) -> float | None:
    """Return the step in which values were recorded, in their units, or None if continuous.

    The greatest common divisor of the differences between the values, each taken as the shortest
    decimal that reads back as it, in exact arithmetic.

    Args:
        values: (N,), finite, not all the same.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if counts[counts > 1].sum() < _SHARED * len(values):
        return None
    smallest = _SMALLEST * float(np.std(values / _largest(values)) * _largest(values))
    decimals = [Decimal(repr(value)) for value in distinct.tolist()]
    exponent = min(int(decimal.as_tuple().exponent) for decimal in decimals)
    first, *others = (int(decimal.scaleb(-exponent)) for decimal in decimals)
    step, divisor = 0.0, 0
    for other in others:
        before, divisor = divisor, math.gcd(divisor, other - first)
        if divisor != before:
            step = float(Decimal(divisor).scaleb(exponent))
            # It only shrinks, so a continuous column is settled after a few values.
            if step <= smallest:
                return None
    return step


def pile_of(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the one value that more than 5% of the rows hold and their share, if there is one."""
    distinct, counts = np.unique(values, return_counts=True)
    most = int(counts.argmax())
    share = float(counts[most] / len(values))
    many = counts[most] >= _FEWEST_IN_PILE and share > _PILE
    return (float(distinct[most]), share) if many else None


def _largest(values: NDArray[np.float64]) -> float:
    return float(np.abs(values).max()) or 1.0


# Of a continuous target, in its standard deviations.
_LEAST_SIGMA = 1e-4


@dataclass(frozen=True)
class Target(Column):
    """A column to predict.

    A target with bounds is learned on the scale of `bounds`, the mixture's: `mean` and `scale` are
    of its values there.

    Attributes:
        step: in which it was recorded, or None for a continuous one; in the units of the file.
        min_sigma: the smallest sigma of any component, on the mixture's scale.
        lower, upper: what it stays above and below, in the units of the file; None for no bound.
    """

    step: float | None
    min_sigma: float
    lower: float | None = None
    upper: float | None = None

    @property
    def bounds(self) -> Bounds:
        """The bounds, with the map from the file's units to the mixture's scale."""
        return Bounds(self.lower, self.upper)

    @classmethod
    def of(
        cls,
        column: Column,
        values: NDArray[np.float64],
        min_sigma: float | None = None,
        bounds: Bounds = FREE,
    ) -> "Target":
        """Return the target of this column and its values, shape (N,), with the sigma it allows.

        A Gaussian of sigma = step / sqrt(2 pi) is 1/step high. So no mixture claims a density above
        1/step anywhere, which is all that values recorded in steps can support. With bounds it is
        so at the median, where a width in the units of the file is du/dy times that on the
        mixture's scale; elsewhere the densities of y are higher or lower by the map.

        Args:
            column: as it was measured.
            values: all of them between the bounds.
            min_sigma: in the units of the file, instead.
            bounds: none by default.
        """
        step, at_median = step_of(values), 1.0
        if bounds:
            on_line = Column.measure(column.name, bounds.to_mixture(values))
            column = replace(column, mean=on_line.mean, scale=on_line.scale)
            at_median = float(np.exp(bounds.log_slope(np.array(column.median))))
        floor = _LEAST_SIGMA * column.scale
        if step is not None:
            floor = step * at_median / math.sqrt(2.0 * math.pi)
        return cls(
            **asdict(column),
            step=step,
            min_sigma=min_sigma * at_median if min_sigma else floor,
            lower=bounds.lower,
            upper=bounds.upper,
        )


FEWEST_ROWS = 10
# In standard deviations of the target.
_FINEST_SIGMA = 1e-6


@dataclass(frozen=True)
class Schema:
    """The features and the targets of a model, in its order, and the column of weights if any."""

    features: tuple[Feature, ...]
    targets: tuple[Target, ...]
    weight: str | None = None

    @property
    def feature_names(self) -> list[str]:
        """The features' names."""
        return [column.name for column in self.features]

    @property
    def target_names(self) -> list[str]:
        """The targets' names."""
        return [column.name for column in self.targets]

    @property
    def bounds(self) -> tuple[Bounds, ...]:
        """The targets' bounds, with the map of each to the mixture's scale."""
        return tuple(target.bounds for target in self.targets)

    @property
    def bounded(self) -> bool:
        """Whether a target has a bound."""
        return any(self.bounds)

    @property
    def target_scales(self) -> NDArray[np.float64]:
        """The targets' standard deviations in training, on the mixture's scale, shape (T,)."""
        return np.array([column.scale for column in self.targets])

    @property
    def sigma_floor(self) -> NDArray[np.float64]:
        """The targets' smallest sigmas, standardized, shape (T,)."""
        return np.array([target.min_sigma / target.scale for target in self.targets])

    @property
    def resolution(self) -> float | None:
        """The sum of ln(step) over targets, in nats; None if one is continuous or has a bound."""
        if self.bounded:
            return None
        steps = [target.step for target in self.targets]
        return None if None in steps else sum(math.log(step) for step in steps if step)

    @property
    def waves(self) -> int:
        """The number of inputs that the networks read with sines and cosines of them."""
        return sum(feature.waves for feature in self.features)

    @property
    def plain(self) -> int:
        """The number of inputs that the networks read as they are."""
        return sum(feature.plain for feature in self.features)

    def inputs(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return x, shape (N, F), as the networks read it: first `waves` inputs, then `plain`.

        See `waving_inputs` and `plain_inputs` of each kind of feature.
        """
        columns = np.asarray(x, dtype=np.float64).T
        pairs = list(zip(self.features, columns, strict=True))
        waving = [feature.waving_inputs(values) for feature, values in pairs]
        plain = [feature.plain_inputs(values) for feature, values in pairs if feature.plain]
        return np.column_stack([*waving, *plain])

    def categories(self) -> list[tuple[int, int, int]]:
        """Return of each category where its inputs begin, its `other` is, and they end."""
        places, at = [], self.waves
        for feature in self.features:
            if isinstance(feature, CategoryFeature):
                places.append((at, at + feature.other, at + feature.plain))
            at += feature.plain
        return places

    def extrapolates(self, x: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which rows of x, (N, F), have a feature far outside its training range, (N,)."""
        outside = np.zeros(len(x), dtype=bool)
        for feature, values in zip(self.features, x.T, strict=True):
            outside |= feature.far_outside(values)
        return outside

    def standardize_targets(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return y, shape (N, T), in training standard deviations from the training mean.

        Both are on the mixture's scale, to which a target with bounds is mapped first.
        """
        mean = np.array([target.mean for target in self.targets])
        standardized: NDArray[np.float64] = (self.to_mixture(y) - mean) / self.target_scales
        return standardized

    def to_mixture(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return y, shape (N, T), on the mixture's scale: see `Bounds`."""
        if not self.bounded:
            return y
        return np.column_stack([b.to_mixture(y[:, i]) for i, b in enumerate(self.bounds)])

    def log_slope(self, y: NDArray[np.float64]) -> NDArray[np.float64] | float:
        """Return what log p of the mixture's scale lacks of log p in the units of the file, nats.

        Shape (N,) for y of shape (N, T); 0 without bounds.
        """
        if not self.bounded:
            return 0.0
        slopes = [bounds.log_slope(y[:, i]) for i, bounds in enumerate(self.bounds)]
        total: NDArray[np.float64] = np.sum(slopes, axis=0)
        return total

    def outside(self, y: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which rows of y, (N, T), have a target at a bound or beyond it, shape (N,)."""
        beyond = [bounds.outside(y[:, i]) for i, bounds in enumerate(self.bounds)]
        anywhere: NDArray[np.bool_] = np.any(beyond, axis=0)
        return anywhere

    def to_plain(self) -> dict[str, Any]:
        """Return the schema as plain values."""
        return {
            "features": [of_features.to_plain(feature) for feature in self.features],
            "targets": [asdict(target) for target in self.targets],
            "weight": self.weight,
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Schema":
        """Return the schema that `to_plain` gave."""
        return cls(
            tuple(of_features.from_plain(column) for column in plain["features"]),
            tuple(Target(**column) for column in plain["targets"]),
            plain["weight"],
        )


def learnable(
    source: str,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    roles: Roles,
    *,
    columns: Sequence[FeatureColumn] | None = None,
    min_sigma: dict[str, float] | None = None,
    bounds: dict[str, Bounds] | None = None,
) -> tuple[Schema, list[int]]:
    """Return the schema of training rows and the positions of the features that are not constant.

    Args:
        source: the table's name in messages.
        x: features in the order of `roles`, shape (N, F), NaN where missing.
        y: targets in the order of `roles`, shape (N, T).
        roles: their names.
        columns: how each feature was read; all as numbers, if not said.
        min_sigma: by target, in its units, instead of the floor that its values allow.
        bounds: by target, of those that have one.

    Raises:
        DataError: fewer than 10 rows, a constant target or one with a value at a bound or beyond
            it, no feature that varies, or a smallest sigma beyond what single precision resolves.
    """
    require_rows(source, len(y))
    limits = [(bounds or {}).get(name, FREE) for name in roles.targets]
    require_inside(source, y, roles.targets, limits)
    targets = [Column.measure(name, y[:, i]) for i, name in enumerate(roles.targets)]
    for target in targets:
        if target.constant:
            raise DataError(
                f"{source}: the target {quoted(target.name)} is {target.lowest:g} in every row, "
                "so there is nothing to learn. Choose another target with -t."
            )
    columns = columns or [NumberColumn(name) for name in roles.features]
    kept = [position for position in range(len(columns)) if _varies(x[:, position])]
    if not kept:
        raise DataError(f"{source}: every feature is constant, so none can tell about the target.")
    features = tuple(columns[position].measured(x[:, position]) for position in kept)
    floored = _with_floors(targets, y, limits, min_sigma or {})
    return Schema(features, floored, roles.weight), kept


def _varies(values: NDArray[np.float64]) -> bool:
    """Return whether a feature's values differ, or some are there and others missing."""
    there = values[~np.isnan(values)]
    if not len(there):
        return False
    return len(there) < len(values) or not Column.measure("", there).constant


def require_rows(source: str, rows: int) -> None:
    """Check that there are enough rows to learn from.

    Raises:
        DataError: there are fewer than 10.
    """
    if rows < FEWEST_ROWS:
        count = "1 row is" if rows == 1 else f"{rows} rows are"
        raise DataError(f"{source}: {count} too few. At least {FEWEST_ROWS} are needed.")


def require_inside(
    source: str, y: NDArray[np.float64], names: list[str], limits: Sequence[Bounds]
) -> None:
    """Check that targets y, (N, T), are all between their bounds.

    Raises:
        DataError: one is at a bound or beyond it.
    """
    for values, name, bounds in zip(y.T, names, limits, strict=True):
        beyond = bounds.outside(values)
        if beyond.any():
            row = int(beyond.argmax())
            low = bounds.lower is not None and values[row] <= bounds.lower
            side = f"not above --lower {bounds.lower:g}" if low else ""
            side = side or f"not below --upper {bounds.upper:g}"
            count = int(beyond.sum())
            more = f", nor are {count - 1} more" if count > 1 else ""
            raise DataError(
                f"{source}, row {row + 1}, column {quoted(name)}: {float(values[row])!r} is {side}"
                f"{more}. A density with this bound is 0 there: give a wider one, or remove the "
                "rows."
            )


def _with_floors(
    targets: list[Column],
    y: NDArray[np.float64],
    limits: list[Bounds],
    given: dict[str, float],
) -> tuple[Target, ...]:
    made = [
        Target.of(target, y[:, i], given.get(target.name), limits[i])
        for i, target in enumerate(targets)
    ]
    for target in made:
        least = _FINEST_SIGMA * target.scale
        if target.name in given and target.min_sigma < least:
            least *= given[target.name] / target.min_sigma
            raise DataError(
                f"--min-sigma of {quoted(target.name)} is {given[target.name]:g}: it must be at "
                f"least {least:.3g}, a millionth of its standard deviation."
            )
    return tuple(made)
