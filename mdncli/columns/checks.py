"""What a table holds, what `fit` would need to learn from it, and what looks wrong in it.

There is a warning for each thing that makes a model misleading. The checks look for values that
seem to mark missing cells or are far from the others, for targets that a bound or another kind of
model would suit better, for leakage (a feature that is nearly the target), for a value that many
rows share, for a minimum sigma that one target imposes on the others, and for too few rows.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mdncli.columns.dataset import Dataset, require_spread, require_units
from mdncli.columns.features import NumberFeature, median_of, parsed_dates, robust_scale, step_of
from mdncli.columns.schema import Schema, Target
from mdncli.columns.transforms import IDENTITY
from mdncli.errors import DataError, parameter, parameter_for, warn
from mdncli.settings import Settings
from mdncli.tables.cells import Cells, missing_markers, text_array, to_mask
from mdncli.tables.table import Fault, Table
from mdncli.text import listed, quoted
from mdncli.types import Array, Mask, Positions

_MOST_EXAMPLES = 5
# Examples are looked for among so many cells that are not numbers.
_CELLS_FOR_EXAMPLES = 10_000
_FEWEST_FOR_A_STEP = 2

# A feature is nearly the target if its correlation with it, or that of their ranks, exceeds this.
_NEARLY = 0.9999
_MOST_ROWS = 20_000
_FEW_ROWS = 50
# In standard deviations: a target with a smaller step is as good as continuous.
_FINE_STEP = 0.01
# In standard deviations: a minimum sigma above this is wide.
_WIDE_SIGMA = 0.1
# A value is reported if more than this share of the rows hold it, and at least so many rows.
_REPEATED_SHARE, _FEWEST_REPEATED = 0.05, 3

_ROWS_FOR_TEXTS = 10_000
# In robust scales from the median: the farthest value of a group that is far from the others, and
# the nearest one.
_FAR, _NEAREST_FAR = 20.0, 8.0
# Such a group has at most this share of the values. The next value is at most a third as far, and
# the gap before it is so many times as wide as the next gaps, on a logarithmic scale.
_MOST_FAR, _TIMES_AS_FAR, _TIMES_AS_WIDE = 0.08, 3.0, 8.0
_MOST_GAPS, _FEWEST_GAPS = 20, 5
_LARGEST = 1e300
# A target of at most so many whole numbers, each in so many rows on average, has classes.
_MOST_CLASSES, _ROWS_OF_CLASS = 10, 5
# The upper tail of a skewed target is so many times as long as the lower one. The tails of its
# logarithm are about as long as each other.
_SKEWED, _ABOUT_AS_LONG, _ROWS_OF_TAILS = 3.0, 2.0, 50


@dataclass(frozen=True)
class ColumnDescription:
    """One column of a table.

    Attributes:
        name: of the column.
        kind: `number`, `text` (no cell is a number), `date` (ISO 8601), `mixed`, `empty`, or
            `other` (lists, bytes).
        missing: the number of cells that are empty or stand for a missing value.
        distinct: the number of different texts.
        lowest, median, highest: of the numbers; NaN if there are none.
        step: the step in which the numbers were recorded; None if they are continuous or too few.
        examples: some of the texts that are not numbers; for `other` the type.
    """

    name: str
    kind: str
    missing: int
    distinct: int
    lowest: float
    median: float
    highest: float
    step: float | None
    examples: list[str]


@dataclass(frozen=True)
class TableDescription:
    """A table: its rows, its columns, and the parameters that `fit` would need for it.

    Attributes:
        rows: their number.
        columns: in the order of the table.
        parameters: `target` and `ignore`, where they are needed; None where no parameter would do,
            because there is no target (numbers that vary) or no feature beside it.
    """

    rows: int
    columns: list[ColumnDescription]
    parameters: dict[str, list[str]] | None

    @property
    def numbers(self) -> list[str]:
        """The names of the columns of numbers that vary: each could be a target."""
        return [
            column.name
            for column in self.columns
            if column.kind == "number" and column.lowest < column.highest
        ]

    @property
    def target(self) -> str | None:
        """The column that `fit` would take as the target; None if there is none."""
        if self.parameters is None:
            return None
        return self.parameters.get("target", [self.columns[-1].name])[0]

    def to_plain(self) -> dict[str, Any]:
        """Return the rows and the columns as plain values."""
        return {"rows": self.rows, "columns": [asdict(column) for column in self.columns]}


def describe_table(table: Table) -> TableDescription:
    """Return what each column of a table holds, and what `fit` would need to learn from it."""
    columns = [_describe(table, name) for name in table.names]
    found = TableDescription(table.rows, columns, None)
    target = found.numbers[-1] if found.numbers else None
    others = [each for each in columns if each.name != target]
    if target is None or not any(_may_be_feature(each, table) for each in others):
        return found
    parameters: dict[str, list[str]] = {}
    if columns[-1].name != target:
        parameters["target"] = [target]
    unusable = [column.name for column in columns if column.kind in ("mixed", "other")]
    if unusable:
        parameters["ignore"] = unusable
    return replace(found, parameters=parameters)


def _may_be_feature(column: ColumnDescription, table: Table) -> bool:
    """Return whether a column varies, and is not a different text in every row."""
    if column.kind not in ("number", "text", "date"):
        return False
    there = column.distinct - bool(column.missing)
    identifier = column.kind == "text" and there == table.rows - column.missing > 1
    return (there > 1 or column.missing > 0) and not identifier


def _describe(table: Table, name: str) -> ColumnDescription:
    if name not in table.columns:
        kind = str(table.originals[name].type)
        return ColumnDescription(name, "other", 0, 0, math.nan, math.nan, math.nan, None, [kind])
    column, cells = table.columns[name], table.cells(name)
    numbers = cells.values[~np.isnan(cells.values)]
    others = np.flatnonzero(cells.text | cells.infinite)
    examples = dict.fromkeys(column[row].as_py() for row in others[:_CELLS_FOR_EXAMPLES].tolist())
    lowest, median, highest = (
        (float(numbers.min()), median_of(numbers), float(numbers.max()))
        if len(numbers)
        else (math.nan,) * 3
    )
    has_step = len(numbers) >= _FEWEST_FOR_A_STEP and lowest < highest
    return ColumnDescription(
        name=name,
        kind=_kind(column, cells),
        missing=int(cells.missing.sum()),
        distinct=int(pc.count_distinct(column).as_py()),
        lowest=lowest,
        median=median,
        highest=highest,
        step=step_of(numbers) if has_step else None,
        examples=list(examples)[:_MOST_EXAMPLES],
    )


def _kind(column: pa.ChunkedArray, cells: Cells) -> str:
    """Return the kind that `fit` would find for a column."""
    if cells.kind == "text" and not np.isnan(parsed_dates(column, "")[~cells.missing]).any():
        return "date"
    return cells.kind


def check_training_rows(
    dataset: Dataset, schema: Schema, settings: Settings, table: Table | None = None
) -> None:
    """Warn of what makes a model of these rows misleading.

    Args:
        dataset: the rows.
        schema: of these rows.
        settings: of the fit.
        table: that the rows come from; without it, values are not judged by their size.
    """
    for text in [] if table is None else suspicions(_columns_of(dataset, schema, table)):
        warn(text)
    for position, target in enumerate(schema.targets):
        values = dataset.y[:, position]
        known = ~(target.is_limit(values, dataset.known) | np.isin(values, missing_markers(values)))
        _check_repeated_value(target, values[known])
    _check_leakage(dataset, schema)
    _check_shared_sigma(schema, settings)
    if len(dataset) < _FEW_ROWS:
        warn(f"With {len(dataset)} rows the validation NLL is unreliable.")


def _check_repeated_value(target: Target, values: Array) -> None:
    coarse = target.step is not None and target.step >= _FINE_STEP * target.scale
    if coarse or target.atoms:
        return
    repeated = repeated_value(values)
    if repeated:
        warn(
            f"{repeated[1]:.0%} of the rows have exactly {repeated[0]:g} as {quoted(target.name)}. "
            f"A mixture can only put a narrow component there. Use "
            f"{parameter('atom', f'{repeated[0]:g}')} to learn the probability of that value."
        )


def _check_leakage(dataset: Dataset, schema: Schema) -> None:
    numbers = [i for i, feature in enumerate(schema.features) if feature.periodic_width]
    typical = [schema.features[i].typical for i in numbers]
    x = np.where(np.isnan(dataset.x[:, numbers]), typical, dataset.x[:, numbers])
    names = [schema.features[i].name for i in numbers]
    for position, target in enumerate(schema.target_names):
        for name in leaking_features(x, dataset.y[:, position], names):
            warn(
                f"{quoted(name)} is nearly the target {quoted(target)} itself. Is it known before "
                f"the target is? If not, leave it out: {parameter_for('ignore', name)}."
            )


def _check_shared_sigma(schema: Schema, settings: Settings) -> None:
    smallest = schema.min_sigma
    widest = int(smallest.argmax())
    if settings.covariance == "isotropic" and len(smallest) > 1 and smallest[widest] > _WIDE_SIGMA:
        warn(
            f"With {parameter('covariance', repr('isotropic'))} no σ is below "
            f"{smallest[widest]:.2g} standard deviations of any target, because "
            f"{quoted(schema.target_names[widest])} was recorded in large steps."
        )


def repeated_value(values: Array) -> tuple[float, float] | None:
    """Return the value that more than 5% of the rows hold and their share; None if there is none.

    Args:
        values: (N,).
    """
    if not len(values):
        return None
    distinct, counts = np.unique(values, return_counts=True)
    most = int(counts.argmax())
    share = float(counts[most] / len(values))
    many = counts[most] >= _FEWEST_REPEATED and share > _REPEATED_SHARE
    return (float(distinct[most]), share) if many else None


def leaking_features(x: Array, y: Array, names: list[str]) -> list[str]:
    """Return the names of the features that are nearly the target, or a monotone function of it.

    Args:
        x: (N, F), no feature constant.
        y: (N,), not constant.
        names: of the features, (F,).
    """
    some = slice(None, None, max(1, len(y) // _MOST_ROWS))
    leaking = []
    for position, name in enumerate(names):
        feature, target = x[some, position], y[some]
        pairs = (feature, target), (_ranks(feature), _ranks(target))
        if any(_correlation(*pair) > _NEARLY for pair in pairs):
            leaking.append(name)
    return leaking


def _correlation(one: Array, other: Array) -> float:
    one, other = (v / (np.abs(v).max() or 1.0) for v in (one, other))
    one, other = one - one.mean(), other - other.mean()
    size = float(np.sqrt((one @ one) * (other @ other)))
    return abs(float(one @ other)) / size if size > 0.0 else 0.0


def _ranks(values: Array) -> Array:
    """Return the mean rank of each value."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Array = (counts.cumsum() - 0.5 * counts)[place]
    return ranks


@dataclass(frozen=True)
class NumberColumn:
    """The numbers of a column that count.

    Attributes:
        table: with the column.
        name: of the column.
        values: (N,), without missing cells.
        rows: (N,), the rows of the table that they are in.
        is_target: whether the column is a target.
        bounded: whether it is a target with bounds or of another kind.
    """

    table: Table
    name: str
    values: Array
    rows: Positions
    is_target: bool = False
    bounded: bool = False

    def texts(self, values: Array) -> list[str]:
        """Return the different texts of the cells with some of the values."""
        cells = self.table.columns[self.name]
        rows = self.rows[np.isin(self.values, values)][:_ROWS_FOR_TEXTS]
        return list(dict.fromkeys(cells[row].as_py().strip() for row in rows.tolist()))

    def place(self, position: int, reason: str) -> str:
        """Return the place of a value, and a reason after a colon."""
        row = self.rows[position : position + 1]
        return self.table.describe_faults([Fault(self.name, row, reason)], 1)[0]


def _columns_of(dataset: Dataset, schema: Schema, table: Table) -> list[NumberColumn]:
    """Return the columns of numbers to learn from, the targets last."""
    rows = np.arange(table.rows) if dataset.positions is None else dataset.positions
    columns = []
    for feature, values in zip(schema.features, dataset.x.T, strict=True):
        if feature.kind == NumberFeature.kind:
            there = ~np.isnan(values)
            columns.append(NumberColumn(table, feature.name, values[there], rows[there]))
    for target, values in zip(schema.targets, dataset.y.T, strict=True):
        bounded = not target.transform.is_identity
        columns.append(NumberColumn(table, target.name, values, rows, True, bounded))
    return columns


def table_suspicions(table: Table, target: str | None) -> list[str]:
    """Return what `fit` would find wrong in the columns of numbers of a table, as sentences.

    Args:
        table: all of it.
        target: the name of the column that it would take as the target; None if there is none.
    """
    columns, refused = [], []
    for name in table.columns:
        cells = table.cells(name)
        if cells.kind == "number":
            rows = np.flatnonzero(~cells.missing)
            columns.append(NumberColumn(table, name, cells.values[rows], rows, name == target))
    for column in columns:
        if column.is_target:
            try:
                require_units(table, [column.name])
                require_spread(table, column.name, column.values, column.rows, IDENTITY)
            except DataError as error:
                refused.append(error.message)
    return refused + suspicions([c for c in columns if not (c.is_target and refused)])


def suspicions(columns: Sequence[NumberColumn]) -> list[str]:
    """Return what looks wrong in columns of numbers, each thing with its place and a remedy."""
    markers = {column.name: missing_markers(column.values) for column in columns}
    marked = [name for name, values in markers.items() if values.size]
    found = []
    for column in columns:
        is_marker = np.isin(column.values, markers[column.name])
        others, places = column.values[~is_marker], np.flatnonzero(~is_marker)
        if is_marker.any():
            found.append(_about_markers(column, is_marker, marked))
        far = far_values(others)
        if far is not None:
            found.append(_about_far_values(column, far, int(places[far.farthest]), marked))
        about = _about_target(column, others) if column.is_target else ""
        found += [about] if about else []
    return found


def _about_markers(column: NumberColumn, is_marker: Mask, marked: Sequence[str]) -> str:
    others = column.values[~is_marker]
    texts = column.texts(np.unique(column.values[is_marker]))
    remedy = "replace them by NaN."
    if column.table.file is not None:
        options, elsewhere = _options_for_missing(column, texts, marked)
        remedy = f"set {options}."
        if elsewhere:
            remedy = f"empty these cells; {options} would empty cells of {listed(elsewhere)}, too."
    if column.is_target:
        remedy += " The rows without a target are then left out."
    return (
        f"{int(is_marker.sum())} values of {quoted(column.name)} are {listed(texts)}, apart from "
        f"all others, {others.min():g} to {others.max():g}. Do they stand for missing values? The "
        f"first: {column.place(int(np.argmax(is_marker)), '').removesuffix(': ')}. If they do, "
        f"{remedy}"
    )


def _options_for_missing(
    column: NumberColumn, texts: Sequence[str], marked: Sequence[str]
) -> tuple[str, list[str]]:
    """Return what reads some texts as missing, and the other columns of which it empties cells.

    Args:
        column: with the texts.
        texts: of its cells.
        marked: the columns where such cells are to be read as missing, too.
    """
    options, value_set = [parameter("na", repr(text)) for text in texts], text_array(list(texts))
    elsewhere = [
        name
        for name, cells in column.table.columns.items()
        if name not in (column.name, *marked)
        and to_mask(pc.is_in(pc.utf8_trim_whitespace(cells), value_set=value_set)).any()
    ]
    return " ".join(options), elsewhere


@dataclass(frozen=True)
class FarValues:
    """Values that are far from the others.

    Attributes:
        count: their number.
        farthest: the position of the farthest.
        distance: of the farthest from the median, in robust scales.
        median: of all values.
    """

    count: int
    farthest: int
    distance: float
    median: float


def far_values(values: Array) -> FarValues | None:
    """Return the values that are far from the others; None if there are none.

    They are more than 20 robust scales from the median, and isolated: in a skewed or heavy-tailed
    column the farthest values are far, too, but the gaps between them grow evenly.

    Args:
        values: (N,), finite.
    """
    if not len(values):
        return None
    median, unit = median_of(values), float(np.abs(values).max()) or 1.0
    scale = robust_scale(values) or float(np.std(values / unit) * unit)
    if not scale > 0.0:
        return None
    with np.errstate(over="ignore"):
        distance = np.clip((values - median) / scale, -_LARGEST, _LARGEST)
    most = int(_MOST_FAR * len(values)) or 1
    sides = [(side, _isolated(side, most)) for side in (distance, -distance)]
    count = sum(found for _, found in sides)
    if not 0 < count <= most:
        return None
    side = max((side for side, found in sides if found), key=lambda side: float(side.max()))
    farthest = int(side.argmax())
    return FarValues(count, farthest, float(side[farthest]), median)


def _isolated(side: Array, most: int) -> int:
    """Return how many of the largest values are isolated from the others.

    With d_1 >= d_2 >= … the values i log(d_i / d_{i+1}) of a power-law tail are independent draws
    from one exponential distribution (Rényi 1953), and they hardly vary faster with a lighter tail.
    A gap that is ten times the mean of the next ones is improbable in either.

    Args:
        side: (N,), distances, negative on the other side of the median.
        most: how many may be isolated.
    """
    if side.max() <= _FAR:
        return 0
    side = side[side > 0.0]
    # Only gaps in the tail: those near the median are wide on a logarithmic scale.
    count = min(max(len(side) // 4, _FEWEST_GAPS), _MOST_GAPS)
    top = np.sort(side)[::-1][: most + count + 1]
    gaps = np.arange(1, len(top)) * -np.diff(np.log(top))
    before = np.arange(min(most, len(gaps) - count))
    if not len(before):
        return 0
    total = np.append(0.0, gaps.cumsum())
    next_gaps = (total[before + 1 + count] - total[before + 1]) / count
    isolated = gaps[before] >= _TIMES_AS_WIDE * next_gaps
    isolated &= top[before] >= np.maximum(_NEAREST_FAR, _TIMES_AS_FAR * top[before + 1])
    return int(np.flatnonzero(isolated).max(initial=-1)) + 1


def _about_far_values(
    column: NumberColumn, far: FarValues, position: int, marked: Sequence[str]
) -> str:
    texts = column.texts(column.values[position : position + 1])
    where = column.place(
        position,
        f"{quoted(texts[0])} is {far.distance:.3g} robust standard deviations from the median, "
        f"{far.median:g}",
    )
    if far.count > 1:
        return (
            f"{far.count} values of {quoted(column.name)} are far from all others. The farthest: "
            f"{where}. If they are wrong, correct them or remove the rows."
        )
    remedy = "correct it"
    if column.table.file is not None:
        options, elsewhere = _options_for_missing(column, texts, marked)
        remedy += "" if elsewhere else f", or read it as missing: {options}"
    return f"A value is far from all others: {where}. If it is wrong, {remedy}."


def _about_target(column: NumberColumn, values: Array) -> str:
    """Return what suits a target better, or an empty text."""
    name, distinct = quoted(column.name), np.unique(values)
    has_classes = 1 < len(distinct) <= len(values) // _ROWS_OF_CLASS
    rounded = f"As a rounded target ({parameter('target_kind')}), each has a probability"
    if has_classes and len(distinct) == 2:
        return (
            f"The target {name} has only two values, {distinct[0]:g} and {distinct[1]:g}. "
            f"{rounded}; a classifier would suit it better."
        )
    whole = bool((distinct == np.round(distinct)).all())
    if has_classes and whole and len(distinct) <= _MOST_CLASSES:
        return (
            f"The target {name} has only {len(distinct)} values, whole numbers from "
            f"{distinct[0]:g} to {distinct[-1]:g}. {rounded}; a density has a peak at each."
        )
    if column.bounded or not _is_skewed(values):
        return ""
    return (
        f"The target {name} is positive and strongly skewed: its median is "
        f"{np.median(values):g}, its highest value {values.max():g}. "
        f"{parameter_for('lower', column.name, '=0')} keeps the density above 0, and learns the "
        "logarithm."
    )


def _is_skewed(values: Array) -> bool:
    """Return whether values are positive and skewed, and their logarithms are not."""
    if len(values) < _ROWS_OF_TAILS or values.min() <= 0.0:
        return False
    low, median, high = np.quantile(values, [0.1, 0.5, 0.9])
    if not low < median:
        return False
    ratio = np.log(high / median) / np.log(median / low)
    even = 1.0 / _ABOUT_AS_LONG <= ratio <= _ABOUT_AS_LONG
    return bool(even and high - median >= _SKEWED * (median - low))
