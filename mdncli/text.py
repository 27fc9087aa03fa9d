"""Phrases for messages: quoted text that cannot disturb a terminal, and nearest names."""

import difflib


def quoted(text: str, most: int = 60) -> str:
    """Return text in single quotes, cut at `most` characters, unprintable ones escaped."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return "'" + "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut) + "'"


def listed(names: list[str], most: int = 12) -> str:
    """Return names as a phrase, quoted, cut after `most`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(quoted(name) for name in names[:most]) + more


def nearest(name: str, names: list[str]) -> str:
    """Return a sentence that offers the name most like the one given, or nothing."""
    matches = difflib.get_close_matches(name, names, n=1)
    if not matches:
        lowered = {other.lower(): other for other in names}
        matches = [lowered[name.lower()]] if name.lower() in lowered else []
    return f" Did you mean {quoted(matches[0])}?" if matches else ""


def counted_rest(count: int, what: str) -> str:
    """Return a phrase for what a list leaves out, such as ` and 3 more rows`, or nothing."""
    return f" and {count} more {what}{'' if count == 1 else 's'}" if count else ""
