"""Phrases for messages: quoted text that is safe on a terminal, and lists; values for JSON."""

import difflib
import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

# In characters: what a list in a message may have, so that the message stays below 500.
_LONG = 220


def is_unicode(text: str) -> bool:
    """Return whether a text can be written as UTF-8.

    Half of a surrogate pair is how Python holds a byte that is not valid UTF-8.
    """
    return not any("\ud800" <= character <= "\udfff" for character in text)


def quoted(text: str, most: int = 60) -> str:
    """Return text in single quotes, cut at `most` characters, with unprintable ones escaped."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return f"'{printable(cut)}'"


def printable(text: str) -> str:
    """Return text with unprintable characters escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def listed(names: Sequence[str], most: int = 12) -> str:
    """Return names as a phrase, each quoted, cut after `most` names or where it would be long."""
    shown = first_phrases([quoted(name) for name in names[:most]])
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return ", ".join(shown) + more


def first_phrases(phrases: Sequence[str]) -> list[str]:
    """Return the first phrases, as many as a message of one line can hold, and at least one."""
    short = sum(end <= _LONG for end in accumulate(map(len, phrases)))
    return list(phrases[: max(short, 1)])


def nearest(name: str, names: Sequence[str]) -> str:
    """Return a sentence that suggests the most similar name, or an empty text."""
    matches = difflib.get_close_matches(name, names, n=1)
    if not matches:
        lowered = {other.lower(): other for other in names}
        matches = [lowered[name.lower()]] if name.lower() in lowered else []
    return f" Did you mean {quoted(matches[0])}?" if matches else ""


def and_more(count: int, what: str) -> str:
    """Return a phrase for what a list leaves out, such as ` and 3 more rows`, or an empty text."""
    return f" and {counted(count, f'more {what}')}" if count else ""


def counted(count: int, what: str) -> str:
    """Return a count with its noun: `1 row`, `3 rows`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def without_nan(value: Any) -> Any:
    """Return plain values with None for the numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: without_nan(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
