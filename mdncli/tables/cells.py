"""The cells of a column as numbers, and why one is not a number."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mdncli.tables.arrow import flags, text_scalar, texts, values_of
from mdncli.text import quoted

Kind = Literal["number", "text", "mixed", "empty"]

# What pandas reads as missing too, beside the empty cell.
MARKERS = (
    *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
_INFINITE = r"[+-]?inf(inity)?"
_GROUPS = re.compile(r"[+-]?\d{1,3}(?:([,.'’_\s])\d{3})(?:\1\d{3})*(?:[.,]\d*)?")


@dataclass(frozen=True)
class Cells:
    """A column of N cells, each a number, missing, text or infinite.

    Attributes:
        values: (N,), NaN where the cell is no finite number.
        missing: (N,), empty cells, and in a column with numbers those that stand for a missing one.
        text: (N,), cells that are neither a number nor missing.
        infinite: (N,), infinity spelled out, or a number too large for float64.
    """

    values: NDArray[np.float64]
    missing: NDArray[np.bool_]
    text: NDArray[np.bool_]
    infinite: NDArray[np.bool_]

    @property
    def kind(self) -> Kind:
        """`number`: every cell that is not missing is one, and there is at least one."""
        numbers = not np.isnan(self.values).all()
        infinite = bool(self.infinite.any())
        if self.text.any():
            return "mixed" if numbers or infinite else "text"
        if infinite:
            return "mixed"
        return "number" if numbers else "empty"


def cells_of_numbers(column: pa.ChunkedArray) -> Cells:
    """Return the cells of a column that Arrow holds as numbers; null and NaN are missing."""
    nan = pc.cast(text_scalar("nan"), pa.float64())
    values = values_of(pc.fill_null(pc.cast(column, pa.float64(), safe=False), nan), np.float64)
    return _clean(values)


def cells_of_text(column: pa.ChunkedArray, decimal: str, na: tuple[str, ...]) -> Cells:
    """Return the cells of a column of text without nulls.

    Args:
        column: (N,).
        decimal: the decimal point.
        na: texts that stand for a missing cell, beside the usual ones.
    """
    if decimal == "." and not na:
        try:
            values = values_of(pc.cast(column, pa.float64()), np.float64)
        except pa.ArrowInvalid:
            pass
        else:
            # Arrow reads more spellings of NaN than there are markers.
            if not np.isnan(values).any():
                return _clean(values)
    return _sorted_out(pc.utf8_trim_whitespace(column), decimal, na)


def _clean(values: NDArray[np.float64]) -> Cells:
    infinite = np.isinf(values)
    if infinite.any():
        values = np.where(infinite, np.nan, values)
    return Cells(values, np.isnan(values) & ~infinite, np.zeros(len(values), bool), infinite)


def _sorted_out(text: pa.ChunkedArray, decimal: str, na: tuple[str, ...]) -> Cells:
    number = pc.match_substring_regex(text, f"^{_number(decimal)}$")
    written = text if decimal == "." else pc.replace_substring(text, decimal, ".")
    cells = pc.if_else(number, written, text_scalar("nan"))
    values = values_of(pc.cast(cells, pa.float64()), np.float64).copy()
    left_out = flags(pc.is_in(text, value_set=texts(("", *na))))
    infinite = np.isinf(values)
    infinite |= flags(pc.match_substring_regex(text, f"^{_INFINITE}$", ignore_case=True))
    infinite &= ~left_out
    is_number = flags(number) & ~left_out
    missing = left_out
    if is_number.any():
        missing = left_out | flags(pc.is_in(text, value_set=texts(MARKERS)))
    values[missing | infinite] = np.nan
    return Cells(values, missing, ~(is_number | missing | infinite), infinite)


def _number(decimal: str) -> str:
    point = re.escape(decimal)
    return rf"[+-]?([0-9]+{point}?[0-9]*|{point}[0-9]+)([eE][+-]?[0-9]+)?"


def fault(cell: str, decimal: str = ".", na: tuple[str, ...] = ()) -> str:
    """Return why a cell is not a finite number, and for the usual reasons what mends it."""
    text = cell.strip()
    if not text:
        return "the cell is empty"
    if text in MARKERS or text in na:
        return f"{quoted(cell)} stands for a missing value"
    if re.fullmatch(f"{_number(decimal)}|{_INFINITE}", text, re.IGNORECASE):
        return f"{quoted(cell)} is not a finite number"
    why = _decoration(text, decimal)
    return f"{quoted(cell)} is not a number{': ' if why else ''}{why}"


def _decoration(text: str, decimal: str) -> str:
    """Return what stands in the way of a text that is nearly a number, and how it is mended."""
    if not any(character.isdigit() for character in text):
        return ""
    currency = next((c for c in text if unicodedata.category(c) == "Sc"), "")
    if currency:
        return f"it has a currency sign, {currency}: remove it"
    if text.endswith("%") and re.fullmatch(r"[+-]?[\d.,\s]+%", text):
        return "it has a percent sign: remove it"
    other = "," if decimal == "." else "."
    remedy = "--decimal ," if decimal == "." else "leave out --decimal ,"
    name = "comma" if decimal == "." else "point"
    if re.fullmatch(_number(other), text) and other in text:
        either = " (or a thousands separator: remove it)" if _GROUPS.fullmatch(text) else ""
        return f"it looks like a decimal {name}: {remedy}{either}"
    groups = _GROUPS.fullmatch(text)
    if groups:
        return f"it has a thousands separator, {quoted(groups[1])}: remove it"
    return ""
