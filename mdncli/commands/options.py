"""Options that several commands share, each declared once, and how their texts are read."""

import math
from typing import TYPE_CHECKING, Annotated

import typer

from mdncli.errors import DataError, UsageError
from mdncli.settings import Mixtures, Noise
from mdncli.text import listed, nearest, quoted

if TYPE_CHECKING:
    from mdncli.columns.transforms import Bounds

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


def date_formats(texts: list[str] | None, names: list[str]) -> dict[str, str]:
    """Return the format of each column of dates in texts such as `COL` or `COL=FORMAT`.

    Raises:
        UsageError: a column is named twice.
    """
    formats: dict[str, str] = {}
    for text in texts or []:
        name, _, form = (text, "", "") if text in names else text.partition("=")
        if name in formats:
            raise UsageError(f"--datetime names {quoted(name)} twice.")
        formats[name] = form
    return formats


def widths(text: str | None) -> tuple[int, ...] | None:
    """Return the whole numbers of a list such as `64,64`; None for none given.

    Raises:
        UsageError: it is no such list.
    """
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"--hidden is {quoted(text)}: give the widths of the layers, such as 64,64."
        ) from error


def point(texts: list[str], names: list[str]) -> dict[str, str]:
    """Return the value of every named feature, as text, in texts such as `a=1,b=red`.

    Raises:
        UsageError: a text has another form, or a feature is left out or named twice.
        DataError: a name is not a feature.
    """
    values = named_texts("--at", "feature", texts, names)
    missing = [name for name in names if name not in values]
    if missing:
        raise UsageError(f"--at must name every feature: {listed(missing)} is missing.")
    return values


def named_numbers(flag: str, kind: str, texts: list[str], names: list[str]) -> dict[str, float]:
    """Return the numbers of an option's texts, such as `a=1,b=2`, by name.

    Raises:
        UsageError: a text has another form, or names a column twice.
        DataError: a name is not among `names`, the model's columns of this kind.
    """
    return {
        name: finite_number(f"{flag} {quoted(f'{name}={text}')}", text)
        for name, text in named_texts(flag, kind, texts, names, form="NAME=NUMBER").items()
    }


def named_texts(
    flag: str, kind: str, texts: list[str], names: list[str], *, form: str = "NAME=VALUE"
) -> dict[str, str]:
    """Return what follows each name in an option's texts, such as `a=1,b=red`.

    Raises:
        UsageError: a text has another form, or names a column twice.
        DataError: a name is not among `names`, the model's columns of this kind.
    """
    values: dict[str, str] = {}
    for text in texts:
        whole = text.rpartition("=")[0] in names
        for part in [text] if whole else text.split(","):
            name, equals, value = _named(part, names)
            if not equals:
                raise UsageError(f"{flag} {quoted(part)}: write it as {form}.")
            if name not in names:
                raise DataError(
                    f"{flag}: the model has no {kind} {quoted(name)}.{nearest(name, names)} "
                    f"Its {kind}s are: {listed(names)}."
                )
            if name in values:
                raise UsageError(f"{flag} names {quoted(name)} twice.")
            values[name] = value.strip()
    return values


def _named(part: str, names: list[str]) -> tuple[str, str, str]:
    """Return a text split at the first = after a name, or at its last one if there is no name."""
    for position, character in enumerate(part):
        if character == "=" and part[:position].strip() in names:
            return part[:position].strip(), "=", part[position + 1 :]
    name, equals, value = part.rpartition("=")
    return name.strip(), equals, value


def finite_number(option: str, text: str) -> float:
    """Return the number that a text is; `option` says in messages where it stands."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"{option}: {quoted(text)} is not a finite number.")
    return value


def numbers_of_targets(flag: str, texts: list[str] | None, targets: list[str]) -> dict[str, float]:
    """Return the number of each target that an option names; a single target need not be named."""
    if texts and len(texts) == len(targets) == 1 and "=" not in texts[0]:
        return {targets[0]: finite_number(flag, texts[0])}
    return named_numbers(flag, "target", texts or [], targets)


def probabilities(flag: str, texts: list[str] | None) -> tuple[float, ...]:
    """Return the numbers of an option's texts, such as `0.05,0.95`, each once.

    Raises:
        UsageError: one is no number between 0 and 1.
    """
    chosen: list[float] = []
    for text in texts or []:
        for part in text.split(","):
            value = finite_number(flag, part)
            if not 0.0 < value < 1.0:
                raise UsageError(f"{flag} is {part.strip()}: it must be between 0 and 1.")
            chosen += [value] if value not in chosen else []
    return tuple(chosen)


def smallest_sigmas(texts: list[str] | None, targets: list[str]) -> dict[str, float]:
    """Return the smallest sigma of each target that `--min-sigma` names.

    Raises:
        UsageError: one is not positive, or a text has another form.
    """
    values = numbers_of_targets("--min-sigma", texts, targets)
    for name, value in values.items():
        if not value > 0.0:
            raise UsageError(f"--min-sigma of {quoted(name)} is {value:g}: it must be positive.")
    return values


def bounds_of_targets(
    lower: list[str] | None, upper: list[str] | None, targets: list[str]
) -> "dict[str, Bounds]":
    """Return the bounds of each target that `--lower` or `--upper` names.

    Raises:
        UsageError: a lower one is not less than the upper one, or a text has another form.
    """
    from mdncli.columns.transforms import bounds_of

    return bounds_of(
        numbers_of_targets("--lower", lower, targets), numbers_of_targets("--upper", upper, targets)
    )


def limits(texts: list[str] | None, names: tuple[str, ...]) -> dict[str, float]:
    """Return the greatest value allowed of each score in texts such as `nll=1.5`."""
    most: dict[str, float] = {}
    for text in texts or []:
        name, equals, number = text.partition("=")
        if not equals or name.strip() not in names:
            raise UsageError(
                f"--fail-over {quoted(text)}: write it as SCORE=MOST, the score one of "
                f"{', '.join(names)}."
            )
        if name.strip() in most:
            raise UsageError(f"--fail-over names {name.strip()} twice.")
        most[name.strip()] = finite_number(f"--fail-over {quoted(text)}", number)
    return most


def components(text: str | None) -> Mixtures | None:
    """Return the number of components that a text is, or `auto`."""
    if text is None or text == "auto":
        return None if text is None else "auto"
    try:
        return int(text)
    except ValueError as error:
        raise UsageError(f"--mixtures is {quoted(text)}: give a number, or auto.") from error


def noise(flag: str, text: str | None) -> Noise | None:
    """Return the noise that a text is, or `auto`."""
    if text is None or text == "auto":
        return None if text is None else "auto"
    return finite_number(flag, text)
