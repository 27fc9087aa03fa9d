"""Dates as text become days since 1970, and back."""

import math
import re
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

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
    if form:
        return _days(pc.strptime(texts, format=form, unit="us", error_is_null=True))
    try:
        return _days(_iso(texts))
    except pa.ArrowInvalid:
        # 30 February, and the like: one by one.
        return np.array([_day(text) for text in texts.to_pylist()])


def date_texts(days: NDArray[np.float64], form: str) -> list[str]:
    """Return days since 1970, (N,), as texts of a date format, ISO 8601 where that is empty."""
    moments = (days * 86400.0).round().astype("datetime64[s]")
    if form:
        return [moment.item().strftime(form) for moment in moments]
    texts = np.datetime_as_string(moments)
    return [text.removesuffix("T00:00:00") for text in texts.tolist()]


def _days(moments: Any) -> NDArray[np.float64]:
    return floats(pc.cast(moments, pa.int64())) / _A_DAY


def _iso(column: pa.ChunkedArray) -> Any:
    """Return ISO 8601 texts as moments, null for any other text."""
    plain = pc.match_substring_regex(column, _ISO)
    zoned = pc.match_substring_regex(column, _HAS_ZONE)
    nothing = pa.nulls(1, pa.string())[0]
    local = pc.if_else(pc.and_(plain, pc.invert(zoned)), column, nothing)
    there = pc.if_else(pc.and_(plain, zoned), column, nothing)
    universal = pc.cast(pc.cast(there, pa.timestamp("us", "UTC")), pa.timestamp("us"))
    return pc.coalesce(pc.cast(local, pa.timestamp("us")), universal)


def _day(text: str) -> float:
    if re.match(_ISO, text) is None:
        return math.nan
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return zoned.timestamp() * 1e6 / _A_DAY
