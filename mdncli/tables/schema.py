"""The columns that a model reads and predicts: their roles, ranges and standardization."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mdncli.errors import DataError
from mdncli.tables import features as of_features
from mdncli.tables.columns import Column, Target
from mdncli.tables.features import CategoryFeature, Feature
from mdncli.tables.kinds import FeatureColumn, NumberColumn
from mdncli.tables.maps import FREE, Bounds
from mdncli.tables.roles import Roles
from mdncli.words import quoted

if TYPE_CHECKING:
    pass

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
