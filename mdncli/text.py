"""Phrases for messages: quoted text that cannot disturb a terminal, lists, and nearest names."""

import difflib
from collections.abc import Sequence


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
    """Return names as a phrase, each quoted, cut after `most` names."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(quoted(name) for name in names[:most]) + more


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
