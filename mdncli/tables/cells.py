"""The cells of a column as numbers, and the reason why a cell is not a number."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mdncli.errors import parameter
from mdncli.tables.arrow import text_array, text_scalar, to_floats, to_mask, to_numpy
from mdncli.text import quoted
from mdncli.types import Array, Mask

Kind = Literal["number", "text", "mixed", "empty"]

# Texts that pandas reads as missing, too. An empty cell is always missing.
NA_TEXTS = (
    *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
_INFINITE = r"[+-]?inf(inity)?"
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


def cells_of_numbers(column: pa.ChunkedArray) -> Cells:
    """Return the cells of a column of numbers or booleans. Null and NaN are missing."""
    return _cells_without_text(to_floats(column))


def cells_of_text(column: pa.ChunkedArray, decimal: str, na: tuple[str, ...]) -> Cells:
    """Return the cells of a column of text without nulls.

    Args:
        column: (N,).
        decimal: the decimal point.
        na: texts that stand for a missing value, in addition to the usual ones.
    """
    if decimal == "." and not na:
        try:
            values = to_numpy(pc.cast(column, pa.float64()), np.float64)
        except pa.ArrowInvalid:
            pass
        else:
            # Arrow accepts more spellings of NaN than `NA_TEXTS` has.
            if not np.isnan(values).any():
                return _cells_without_text(values)
    return _classified(pc.utf8_trim_whitespace(column), decimal, na)


def _cells_without_text(values: Array) -> Cells:
    infinite = np.isinf(values)
    if infinite.any():
        values = np.where(infinite, np.nan, values)
    return Cells(values, np.isnan(values) & ~infinite, np.zeros(len(values), bool), infinite)


def _classified(text: pa.ChunkedArray, decimal: str, na: tuple[str, ...]) -> Cells:
    number = pc.match_substring_regex(text, f"^{_number(decimal)}$")
    with_point = text if decimal == "." else pc.replace_substring(text, decimal, ".")
    numbers = pc.if_else(number, with_point, text_scalar("nan"))
    values = to_numpy(pc.cast(numbers, pa.float64()), np.float64).copy()
    always_missing = to_mask(pc.is_in(text, value_set=text_array(("", *na))))
    infinite = np.isinf(values)
    infinite |= to_mask(pc.match_substring_regex(text, f"^{_INFINITE}$", ignore_case=True))
    infinite &= ~always_missing
    is_number = to_mask(number) & ~always_missing
    missing = always_missing
    if is_number.any():
        missing = always_missing | to_mask(pc.is_in(text, value_set=text_array(NA_TEXTS)))
    values[missing | infinite] = np.nan
    return Cells(values, missing, ~(is_number | missing | infinite), infinite)


def _number(decimal: str) -> str:
    point = re.escape(decimal)
    return rf"[+-]?([0-9]+{point}?[0-9]*|{point}[0-9]+)([eE][+-]?[0-9]+)?"


def reason_not_number(cell: str, decimal: str = ".", na: tuple[str, ...] = ()) -> str:
    """Return why a cell is not a finite number, with a remedy for the usual reasons."""
    text = cell.strip()
    if not text:
        return "the cell is empty"
    if text in NA_TEXTS or text in na:
        return f"{quoted(cell)} stands for a missing value"
    if re.fullmatch(f"{_number(decimal)}|{_INFINITE}", text, re.IGNORECASE):
        return f"{quoted(cell)} is not a finite number"
    remedy = _remedy(text, decimal)
    return f"{quoted(cell)} is not a number{': ' if remedy else ''}{remedy}"


def _remedy(text: str, decimal: str) -> str:
    """Return how to make a number of a text that is nearly one, or an empty text."""
    if not any(character.isdigit() for character in text):
        return ""
    currency = next((c for c in text if unicodedata.category(c) == "Sc"), "")
    if currency:
        return f"remove the currency sign {currency}"
    if text.endswith("%") and re.fullmatch(r"[+-]?[\d.,\s]+%", text):
        return "remove the percent sign"
    thousands = _WITH_THOUSANDS.fullmatch(text)
    other = "," if decimal == "." else "."
    if re.fullmatch(_number(other), text) and other in text:
        return _decimal_remedy(decimal, or_thousands=thousands is not None)
    return f"remove the thousands separator {quoted(thousands[1])}" if thousands else ""


def _decimal_remedy(decimal: str, *, or_thousands: bool) -> str:
    comma = parameter("decimal", repr(","))
    name, remedy = ("comma", "set") if decimal == "." else ("point", "do not set")
    phrase = f"it looks like a decimal {name} ({remedy} {comma})"
    return f"{phrase} or a thousands separator (remove it)" if or_thousands else phrase
