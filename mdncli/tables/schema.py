"""The columns that a model reads and predicts: their roles, ranges and standardization."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mdncli.errors import DataError, UsageError
from mdncli.words import listed, quoted

if TYPE_CHECKING:
    from mdncli.tables.reader import Table

FEWEST_ROWS = 10
_FARTHEST = 1e6


@dataclass(frozen=True)
class Column:
    """A number column as it was in training: every value in the units of the file."""

    name: str
    mean: float
    scale: float
    lowest: float
    median: float
    highest: float

    @classmethod
    def measure(cls, name: str, values: NDArray[np.float64]) -> "Column":
        """Return the column of these values, shape (N,)."""
        # Dividing by the largest magnitude first keeps the sums finite at the ends of float64.
        unit = float(np.abs(values).max()) or 1.0
        return cls(
            name,
            mean=float((values / unit).mean() * unit),
            scale=float((values / unit).std() * unit),
            lowest=float(values.min()),
            median=float(np.median(values)),
            highest=float(values.max()),
        )

    @property
    def constant(self) -> bool:
        """Whether the column holds one value, at the resolution of float64."""
        return not self.lowest < self.highest or not self.scale > 0.0


@dataclass(frozen=True)
class Schema:
    """The features and the targets of a model, in its order."""

    features: tuple[Column, ...]
    targets: tuple[Column, ...]

    @property
    def feature_names(self) -> list[str]:
        """The features' names."""
        return [column.name for column in self.features]

    @property
    def target_names(self) -> list[str]:
        """The targets' names."""
        return [column.name for column in self.targets]

    @property
    def target_scales(self) -> NDArray[np.float64]:
        """The targets' standard deviations in training, shape (T,)."""
        return np.array([column.scale for column in self.targets])

    def standardize_features(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return x, shape (N, F), in training standard deviations from the training mean.

        Cut at a million of them: beyond, no answer means anything, but it stays a number.
        """
        with np.errstate(over="ignore"):
            return np.clip(_standardize(x, self.features), -_FARTHEST, _FARTHEST)

    def standardize_targets(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return y, shape (N, T), in training standard deviations from the training mean."""
        return _standardize(y, self.targets)

    def to_plain(self) -> dict[str, Any]:
        """Return the schema as plain values."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Schema":
        """Return the schema that `to_plain` gave."""
        return cls(
            tuple(Column(**column) for column in plain["features"]),
            tuple(Column(**column) for column in plain["targets"]),
        )


def _standardize(values: NDArray[np.float64], columns: tuple[Column, ...]) -> NDArray[np.float64]:
    mean = np.array([column.mean for column in columns])
    scale = np.array([column.scale for column in columns])
    standardized: NDArray[np.float64] = (values - mean) / scale
    return standardized


@dataclass(frozen=True)
class Roles:
    """Which columns of a table are features and which are targets."""

    features: list[str]
    targets: list[str]


def choose_roles(
    table: "Table",
    *,
    targets: list[str] | None = None,
    features: list[str] | None = None,
    ignore: list[str] | None = None,
) -> Roles:
    """Return the roles of a table's columns: by default the last is the target, the rest features.

    Raises:
        DataError: a named column is not there, or no feature or no target is left.
        UsageError: a column would be both.
    """
    targets, features, ignore = targets or [], features or [], ignore or []
    table.require([*targets, *features, *ignore])
    left = [name for name in table.names if name not in ignore]
    targets = targets or left[-1:]
    for first, second, flags in (
        (targets, features, "the target (-t, by default the last column) and a feature (-x)"),
        (targets, ignore, "the target (-t) and left out (--ignore)"),
        (features, ignore, "a feature (-x) and left out (--ignore)"),
    ):
        both = [name for name in first if name in second]
        if both:
            raise UsageError(f"{listed(both)} would be both {flags}.")
    features = features or [name for name in left if name not in targets]
    if not features:
        raise DataError(
            f"{table.source}: no feature is left beside the target. A table needs at least two "
            "columns, separated by commas."
        )
    return Roles(features, targets)


def learnable(
    source: str, x: NDArray[np.float64], y: NDArray[np.float64], roles: Roles
) -> tuple[Schema, list[int]]:
    """Return the schema of training rows and the positions of the features that are not constant.

    Args:
        source: the table's name in messages.
        x: features in the order of `roles`, shape (N, F).
        y: targets in the order of `roles`, shape (N, T).
        roles: their names.

    Raises:
        DataError: fewer than 10 rows, a constant target, or no feature that varies.
    """
    if len(y) < FEWEST_ROWS:
        count = "1 row is" if len(y) == 1 else f"{len(y)} rows are"
        raise DataError(f"{source}: {count} too few. At least {FEWEST_ROWS} are needed.")
    targets = [Column.measure(name, y[:, i]) for i, name in enumerate(roles.targets)]
    for target in targets:
        if target.constant:
            raise DataError(
                f"{source}: the target {quoted(target.name)} is {target.lowest:g} in every row, "
                "so there is nothing to learn. Choose another target with -t."
            )
    measured = [Column.measure(name, x[:, i]) for i, name in enumerate(roles.features)]
    kept = [position for position, feature in enumerate(measured) if not feature.constant]
    if not kept:
        raise DataError(f"{source}: every feature is constant, so none can tell about the target.")
    return Schema(tuple(measured[position] for position in kept), tuple(targets)), kept
