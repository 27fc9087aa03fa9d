"""Options that several commands share, each declared once, and how their texts are read."""

import math
from typing import Annotated

import typer

from mdncli.errors import DataError, UsageError
from mdncli.words import listed, nearest, quoted

Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no tables; warnings and errors stay.")
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Where to write; - or nothing: standard output."
    ),
]
Seed = Annotated[
    int, typer.Option(min=0, help="Of the random numbers: the same seed, the same output.")
]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A file that mdn fit wrote; - for standard input.")
]


def named_columns(texts: list[str] | None, names: list[str]) -> list[str]:
    """Return the column names that an option's texts stand for.

    A text that is itself a column's name means that column; any other is split at its commas.
    """
    chosen: list[str] = []
    for text in texts or []:
        parts = [text] if text in names else [part.strip() for part in text.split(",")]
        if not any(parts):
            raise UsageError("An option that names columns names none: leave it out.")
        chosen += [part for part in parts if part and part not in chosen]
    return chosen


def widths(text: str) -> tuple[int, ...]:
    """Return the whole numbers of a list such as `64,64`.

    Raises:
        UsageError: it is no such list.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"--hidden is {quoted(text)}: give the widths of the layers, such as 64,64."
        ) from error


def point(texts: list[str], names: list[str]) -> dict[str, float]:
    """Return the value of every named feature in texts such as `a=1,b=2`.

    Raises:
        UsageError: a text has another form, or a feature is left out or named twice.
        DataError: a name is not a feature.
    """
    values: dict[str, float] = {}
    for text in texts:
        whole = text.rpartition("=")[0] in names
        for part in [text] if whole else text.split(","):
            name, equals, number = part.rpartition("=")
            name = name.strip()
            if not equals:
                raise UsageError(f"--at {quoted(part)}: write it as NAME=NUMBER.")
            if name not in names:
                raise DataError(
                    f"--at: the model has no feature {quoted(name)}.{nearest(name, names)} "
                    f"Its features are: {listed(names)}."
                )
            if name in values:
                raise UsageError(f"--at names {quoted(name)} twice.")
            values[name] = _number(number, part)
    missing = [name for name in names if name not in values]
    if missing:
        raise UsageError(f"--at must name every feature: {listed(missing)} is missing.")
    return values


def _number(text: str, part: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"--at {quoted(part)}: {quoted(text)} is not a finite number.")
    return value
