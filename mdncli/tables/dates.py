"""Dates as text become days since 1970."""

import contextlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mdncli.tables import arrow
from mdncli.tables.texts import floats

_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?"
_ZONE = r"(Z|[+-][0-9]{2}:?[0-9]{2})"
_ISO = rf"^{_DATE}({_TIME}{_ZONE}?)?$"
_HAS_ZONE = rf"{_TIME}{_ZONE}$"
_A_DAY = 86_400_000_000.0


def parsed_dates(texts: pa.ChunkedArray, form: str) -> NDArray[np.float64]:
    """Return each text as days since 1970, (N,), NaN where it is no such date.

    A time is a part of a day, in UTC where a zone is given.

    Args:
        texts: the cells; a blank around one does not matter.
        form: as `strptime` takes it; empty for ISO 8601, with a time or without.
    """
    texts = pc.utf8_trim_whitespace(texts)
    moments = _by_format(texts, form) if form else _iso(texts)
    return floats(pc.cast(moments, pa.int64())) / _A_DAY


def _by_format(texts: pa.ChunkedArray, form: str) -> Any:
    return pc.strptime(texts, format=form, unit="us", error_is_null=True)


def _iso(column: pa.ChunkedArray) -> Any:
    """Return ISO 8601 texts as moments, null for any other text."""
    plain = pc.match_substring_regex(column, _ISO)
    zoned = pc.match_substring_regex(column, _HAS_ZONE)
    local = _moments(column, pc.and_(plain, pc.invert(zoned)), pa.timestamp("us"))
    return pc.coalesce(local, _moments(column, pc.and_(plain, zoned), pa.timestamp("us", "UTC")))


def _moments(column: pa.ChunkedArray, chosen: Any, kind: pa.DataType) -> Any:
    """Return the chosen texts as moments, null for others and for what names no day."""
    column = pc.if_else(chosen, column, pa.nulls(1, pa.string())[0])
    with contextlib.suppress(pa.ArrowInvalid):
        return pc.cast(pc.cast(column, kind), pa.timestamp("us"))
    # 30 February, and the like.
    kept = [text if text and _names_a_day(text, kind) else None for text in column.to_pylist()]
    return pc.cast(pc.cast(pa.chunked_array([arrow.texts(kept)]), kind), pa.timestamp("us"))


def _names_a_day(text: str, kind: pa.DataType) -> bool:
    try:
        pc.cast(arrow.texts([text]), kind)
    except pa.ArrowInvalid:
        return False
    return True
