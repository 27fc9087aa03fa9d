"""Columns as Arrow arrays, and their cells as numbers, missing values or text.

`pa.array`, `pa.scalar` and `to_numpy` import pandas, which takes half a second. The functions here
do the same without it.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mdncli.errors import DataError, parameter
from mdncli.tables.dialect import Dialect
from mdncli.text import quoted
from mdncli.types import Array, Mask

_MAX_BYTES = 1 << 31

# Numbers that often stand for a missing value, beside those of three nines or more.
_MARKERS = (-99.0, -200.0, -999.25, -32768.0, 32767.0, 65535.0, -2147483648.0, 2147483647.0)
_FEWEST_NINES, _SMALLEST_OF_NINES = 3, 90.0
# These often do so as well, but are also ordinary values.
_WEAK_MARKERS = (-1.0, -9.0, 99.0)
# How many rows have a marker, how many other values there are, and how far it is from the next of
# them, as a share of the range of most of them.
_ROWS_OF_MARKER, _OTHERS_OF_MARKER, _APART = 2, 2, 0.5
_ROWS_OF_WEAK, _OTHERS_OF_WEAK, _WEAK_APART = 3, 10, 1.0
_MOST_MARKERS = 3


def text_array(values: Sequence[str]) -> pa.Array:
    """Return texts as an Arrow array.

    Args:
        values: at least one text; none contains a null character.

    Raises:
        DataError: together the texts are longer than 2 GiB.
    """
    # The texts are joined with null characters and encoded at once. One by one would be slow.
    joined = np.frombuffer("\0".join(values).encode(), np.uint8)
    if len(joined) >= _MAX_BYTES:
        raise DataError(
            "A block of rows holds more than 2 GiB of text. Shorten the longest cells, or split "
            "the table."
        )
    separators = np.flatnonzero(joined == 0)
    ends = np.append(separators, len(joined)) - np.arange(len(separators) + 1)
    offsets = pa.py_buffer(np.insert(ends, 0, 0).astype(np.int32))
    content = pa.py_buffer(joined[joined != 0])
    return pa.Array.from_buffers(pa.string(), len(values), [None, offsets, content])


def text_column(values: Sequence[str]) -> pa.ChunkedArray:
    """Return texts, at least one, as a column of a table."""
    return pa.chunked_array([text_array(values)])


def text_scalar(value: str) -> pa.Scalar:
    """Return one text as an Arrow scalar."""
    return text_array([value])[0]


def to_numpy(column: pa.ChunkedArray, dtype: Any) -> NDArray[Any]:
    """Return a column of numbers without nulls as a NumPy array, shape (N,).

    Args:
        column: (N,).
        dtype: the NumPy type that matches the type of the column.
    """
    parts = [np.empty(0, dtype)]
    for chunk in column.chunks:
        if len(chunk):
            values = np.frombuffer(chunk.buffers()[1], dtype=dtype)
            parts.append(values[chunk.offset : chunk.offset + len(chunk)])
    return np.concatenate(parts)


def to_mask(column: pa.ChunkedArray) -> Mask:
    """Return a column of booleans without nulls as a NumPy array, shape (N,)."""
    return to_numpy(pc.cast(column, pa.uint8()), np.uint8).astype(bool)


def to_floats(column: Any) -> Array:
    """Return a column of numbers or booleans as float64, shape (N,), with NaN for null."""
    numbers = pc.cast(column, pa.float64(), safe=False)
    if numbers.null_count:
        numbers = pc.fill_null(numbers, pc.cast(text_scalar("nan"), pa.float64()))
    return to_numpy(numbers, np.float64)


def is_missing(column: pa.ChunkedArray, na: tuple[str, ...]) -> Mask:
    """Return which texts are blank or stand for a missing value, shape (N,).

    Args:
        column: (N,), text.
        na: texts that stand for a missing value.
    """
    missing = text_array(["", *na])
    return to_mask(pc.is_in(pc.utf8_trim_whitespace(column), value_set=missing))


def value_counts(column: pa.ChunkedArray, na: tuple[str, ...]) -> dict[str, int]:
    """Return how often each text occurs, in the order of first occurrence.

    Missing cells are not counted; see `is_missing`.
    """
    counts = {each["values"]: each["counts"] for each in pc.value_counts(column).to_pylist()}
    return {text: count for text, count in counts.items() if text.strip() not in ("", *na)}


def positions(column: pa.ChunkedArray, levels: list[str]) -> Array:
    """Return the position of each text in `levels`, shape (N,), with NaN for any other text."""
    return to_floats(pc.index_in(column, value_set=text_array(levels)))


class TextColumns(Mapping[str, pa.ChunkedArray]):
    """Typed columns as text. Each is converted when it is first used.

    Columns of lists, maps or bytes are left out; see `has_text`.
    """

    def __init__(self, originals: Mapping[str, pa.ChunkedArray]) -> None:
        self._originals = {
            name: column for name, column in originals.items() if has_text(column.type)
        }
        self._converted: dict[str, pa.ChunkedArray] = {}

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        if name not in self._converted:
            self._converted[name] = as_text(self._originals[name])
        return self._converted[name]

    def __contains__(self, name: object) -> bool:
        # The method that this replaces would convert the column.
        return name in self._originals

    def __iter__(self) -> Iterator[str]:
        return iter(self._originals)

    def __len__(self) -> int:
        return len(self._originals)


def has_text(kind: Any) -> bool:
    """Return whether values of an Arrow type can be written as text: no lists, maps or bytes."""
    without_text = (
        pa.types.is_nested,
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_fixed_size_binary,
        pa.types.is_binary_view,
    )
    return not any(is_kind(kind) for is_kind in without_text)


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as text without nulls.

    A null becomes the empty text. A date or a time is written as in ISO 8601, with microseconds at
    most.
    """
    kind = column.type
    if pa.types.is_timestamp(kind):
        column = _timestamps_as_text(column)
    elif pa.types.is_duration(kind):
        column = pc.cast(pc.cast(column, pa.int64()), pa.string())
    elif kind != pa.string():
        column = pc.cast(column, pa.string())
    return pc.fill_null(column, text_scalar("")) if column.null_count else column


def _timestamps_as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if kind.unit == "ns":
        column = pc.cast(column, pa.timestamp("us", kind.tz), safe=False)
    zone = "%z" if kind.tz else ""
    return pc.strftime(column, format=f"%Y-%m-%dT%H:%M:%S{zone}")


Kind = Literal["number", "text", "mixed", "empty"]

# Texts that pandas reads as missing, too. An empty cell is always missing.
NA_TEXTS = (
    *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
_INFINITE = r"[+-]?inf(inity)?"
# A number as people write it, with a decimal point or comma and separators of thousands.
_LIKE_NUMBER = r"[+-]?\d[\d.,'’_\u00a0\u202f]*"
_WITH_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:([,.'’_\s])\d{3})(?:\1\d{3})*(?:[.,]\d*)?")


@dataclass(frozen=True)
class Cells:
    """A column of N cells. Each is a number, missing, text or infinite.

    Attributes:
        values: (N,), NaN where the cell is not a finite number.
        missing: (N,), empty cells. If the column has numbers, also cells such as `NA`.
        text: (N,), cells that are neither a number nor missing.
        infinite: (N,), cells that spell out infinity, or hold a number too large for float64.
    """

    values: Array
    missing: Mask
    text: Mask
    infinite: Mask

    @property
    def kind(self) -> Kind:
        """What the cells hold that are not missing.

        `number` for finite numbers alone, `text` for no numbers at all, `mixed` for anything else,
        and `empty` if all cells are missing.
        """
        numbers = not np.isnan(self.values).all()
        infinite = bool(self.infinite.any())
        if self.text.any():
            return "mixed" if numbers or infinite else "text"
        if infinite:
            return "mixed"
        return "number" if numbers else "empty"


def cells_of_numbers(column: pa.ChunkedArray, na: tuple[str, ...] = ()) -> Cells:
    """Return the cells of a column of numbers or booleans. Null and NaN are missing.

    Args:
        column: (N,).
        na: numbers, as texts, that stand for a missing value.
    """
    values = to_floats(column)
    markers = _markers(na, Dialect())
    if markers:
        values = np.where(np.isin(values, markers), np.nan, values)
    return _cells_without_text(values)


def cells_of_text(column: pa.ChunkedArray, dialect: Dialect) -> Cells:
    """Return the cells of a column of text without nulls.

    Args:
        column: (N,).
        dialect: how numbers and missing values are written.
    """
    if dialect.decimal == "." and not (dialect.na or dialect.thousands or dialect.strip):
        try:
            values = to_numpy(pc.cast(column, pa.float64()), np.float64)
        except pa.ArrowInvalid:
            pass
        else:
            # Arrow accepts more spellings of NaN than `NA_TEXTS` has.
            if not np.isnan(values).any():
                return _cells_without_text(values)
    return _classified(pc.utf8_trim_whitespace(column), dialect)


def _cells_without_text(values: Array) -> Cells:
    infinite = np.isinf(values)
    if infinite.any():
        values = np.where(infinite, np.nan, values)
    return Cells(values, np.isnan(values) & ~infinite, np.zeros(len(values), bool), infinite)


def _classified(text: pa.ChunkedArray, dialect: Dialect) -> Cells:
    number, plain = _numbers(text, dialect)
    values = to_numpy(pc.cast(plain, pa.float64()), np.float64).copy()
    always_missing = to_mask(pc.is_in(text, value_set=text_array(("", *dialect.na))))
    always_missing |= np.isin(values, _markers(dialect.na, dialect))
    infinite = np.isinf(values)
    infinite |= to_mask(pc.match_substring_regex(text, f"^{_INFINITE}$", ignore_case=True))
    infinite &= ~always_missing
    is_number = to_mask(number) & ~always_missing
    missing = always_missing
    if is_number.any():
        missing = always_missing | to_mask(pc.is_in(text, value_set=text_array(NA_TEXTS)))
    values[missing | infinite] = np.nan
    return Cells(values, missing, ~(is_number | missing | infinite), infinite)


def _numbers(text: pa.ChunkedArray, dialect: Dialect) -> tuple[Any, Any]:
    """Return which trimmed cells are numbers, and all cells as texts of numbers, `nan` if not."""
    text = _without_affixes(text, dialect.strip)
    pattern = _number(dialect.decimal)
    if dialect.thousands:
        mark = _thousands_mark(dialect.thousands)
        grouped = rf"[+-]?[0-9]{{1,3}}(?:{mark}[0-9]{{3}})+({re.escape(dialect.decimal)}[0-9]*)?"
        pattern = f"(?:{pattern}|{grouped})"
    number = pc.match_substring_regex(text, f"^{pattern}$")
    if dialect.thousands:
        text = pc.replace_substring_regex(text, mark, "")
    with_point = text
    if dialect.decimal != ".":
        with_point = pc.replace_substring(text, dialect.decimal, ".")
    return number, pc.if_else(number, with_point, text_scalar("nan"))


def _thousands_mark(mark: str) -> str:
    # Many programs write a no-break space, wide or narrow, where people see a space.
    return "[ \u00a0\u202f]" if mark == " " else re.escape(mark)


def _without_affixes(text: Any, affixes: Sequence[str]) -> Any:
    """Return trimmed texts without what stands before or after a number."""
    if not affixes:
        return text
    alternatives = "|".join(re.escape(affix.strip()) for affix in affixes)
    text = pc.replace_substring_regex(text, rf"^([+-]?)(?:{alternatives})\s*", r"\1")
    return pc.replace_substring_regex(text, rf"\s*(?:{alternatives})$", "")


def _markers(na: Sequence[str], dialect: Dialect) -> list[float]:
    """Return the numbers among the texts that stand for a missing value."""
    numbers = []
    for text in na:
        bare = text.strip()
        if re.fullmatch(_number(dialect.decimal), bare):
            numbers.append(float(bare.replace(dialect.decimal, ".")))
    return numbers


def _number(decimal: str) -> str:
    point = re.escape(decimal)
    return rf"[+-]?([0-9]+{point}?[0-9]*|{point}[0-9]+)([eE][+-]?[0-9]+)?"


def reason_not_number(cell: str, dialect: Dialect) -> str:
    """Return why a cell is not a finite number, with a remedy for the usual reasons."""
    text = cell.strip()
    if not text:
        return "the cell is empty"
    whole = cells_of_text(text_column([text]), dialect)
    if text in NA_TEXTS or whole.missing[0]:
        return f"{quoted(cell)} stands for a missing value"
    if whole.infinite[0] or not whole.text[0]:
        return f"{quoted(cell)} is not a finite number"
    remedy = remedy_of_number(text, dialect.decimal)
    return f"{quoted(cell)} is not a number{': ' if remedy else ''}{remedy}"


def affix_of(text: str) -> str | None:
    """Return what stands before or after a number in a text, such as %, $ or kg; None if nothing.

    Before a number it is a sign of a currency, and after it a sign or at most two words.
    """
    before = re.fullmatch(rf"[+-]?(\D{{1,3}}?)\s*{_LIKE_NUMBER}", text)
    if before and all(unicodedata.category(c) == "Sc" for c in before[1].strip()):
        return before[1].strip()
    after = re.fullmatch(rf"{_LIKE_NUMBER}\s*([^\d\s.,+-][^\d.,+-]{{0,11}})", text)
    return after[1].strip() if after else None


def remedy_of_number(text: str, decimal: str) -> str:
    """Return how to make a number of a text that is nearly one, or an empty text."""
    affix = affix_of(text)
    if affix:
        return f"to take {quoted(affix)} off, use {parameter('strip', repr(affix))}"
    thousands = _WITH_THOUSANDS.fullmatch(text)
    other = "," if decimal == "." else "."
    if re.fullmatch(_number(other), text) and other in text:
        return _decimal_remedy(decimal, or_thousands=thousands is not None)
    if not thousands or thousands[1] == decimal:
        return ""
    mark = " " if thousands[1].isspace() else thousands[1]
    return f"if {quoted(mark)} separates thousands, use {parameter('thousands', repr(mark))}"


def _decimal_remedy(decimal: str, *, or_thousands: bool) -> str:
    name, mark = ("comma", ",") if decimal == "." else ("point", ".")
    comma = parameter("decimal", repr(","))
    remedy = f"use {comma}" if decimal == "." else f"do not use {comma}"
    phrase = f"it looks like a decimal {name} ({remedy})"
    thousands = parameter("thousands", repr(mark))
    return f"{phrase} or a separator of thousands (use {thousands})" if or_thousands else phrase


def parquet_module() -> Any:
    """Return `pyarrow.parquet`."""
    # The import takes 21 ms, and most tables are CSV.
    import pyarrow.parquet

    return pyarrow.parquet


def missing_markers(values: Array) -> Array:
    """Return the values that seem to stand for a missing value, such as -999.

    Such a value is the lowest or the highest, is repeated, and is apart from all others.

    Args:
        values: (N,), finite.
    """
    found: list[float] = []
    while len(values) and len(found) < _MOST_MARKERS:
        ends = dict.fromkeys([float(values.min()), float(values.max())])
        new = [end for end in ends if _is_marker(end, values)]
        if not new:
            break
        found += new
        values = values[~np.isin(values, new)]
    return np.array(found)


def _is_marker(value: float, values: Array) -> bool:
    strong = value in _MARKERS or _has_nines_alone(value)
    if not strong and value not in _WEAK_MARKERS:
        return False
    others = values[values != value]
    distinct = len(np.unique(others))
    if strong and (len(values) - len(others) < _ROWS_OF_MARKER or distinct < _OTHERS_OF_MARKER):
        return False
    if not strong and (len(values) - len(others) < _ROWS_OF_WEAK or distinct < _OTHERS_OF_WEAK):
        return False
    if strong and value < 0.0 <= others.min():
        return True
    low, high = np.quantile(others, [0.01, 0.99])
    gap = np.abs(others - value).min()
    return bool(gap >= (_APART if strong else _WEAK_APART) * (high - low))


def _has_nines_alone(value: float) -> bool:
    digits = f"{abs(value):.15g}".replace(".", "")
    return set(digits) == {"9"} and len(digits) >= _FEWEST_NINES and abs(value) > _SMALLEST_OF_NINES
