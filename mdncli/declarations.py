"""How a parameter is declared: with its default, range and help text, which are checked here."""

import operator
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from typing import Any, get_args

from mdncli.errors import ParameterError, in_python, parameter, with_parameters
from mdncli.text import quoted

_HUGE = 1e30


@dataclass(frozen=True)
class Range:
    """The values that a number may have.

    Attributes:
        words: what follows "it must be" in a message, and stands in the help.
        holds: whether a value is in the range.
    """

    words: str
    holds: Callable[[Any], bool]


def between(low: float, high: float) -> Range:
    """Return the range from one number to another."""
    return Range(f"from {low:g} to {high:g}", lambda value: low <= value <= high)


AT_LEAST_ONE = Range("at least 1", lambda value: value >= 1)
SHARE = Range("at least 0 and less than 1", lambda value: 0.0 <= value < 1.0)
POSITIVE = Range("positive", lambda value: 0.0 < value < _HUGE)
NOT_NEGATIVE = Range("zero or positive", lambda value: 0.0 <= value < _HUGE)


@dataclass(frozen=True)
class Declaration:
    """How a parameter is described and given.

    Attributes:
        help: what it does, for help texts.
        panel: the heading under which the help shows it.
        range: the values it may have.
        choices: the words it may be, if it is one of a few.
        repeats: whether it may be given several times.
        metavar: what stands for its value in the help.
        short: a short name on the command line, such as `-t`.
        parse: reads its value from a text, where that is more than a number or a word.
        type: of its value on the command line.
        whole: whether its value must be a whole number.
        names_columns: whether its value names columns of the table.
        or_auto: whether it may be the word `auto` instead.
        on_off: whether the command line has a second option that turns it off.
    """

    help: str
    panel: str
    range: Range | None = None
    choices: Any = None
    repeats: bool = False
    metavar: str | None = None
    short: str = ""
    parse: Callable[[str], Any] | None = None
    type: Any = str
    whole: bool = False
    names_columns: bool = False
    or_auto: bool = False
    on_off: bool = False


def declared(default: Any, text: str, panel: str, **more: Any) -> Any:
    """Return a field of a dataclass with this default, and a declaration with this help."""
    return field(default=default, metadata={"declaration": Declaration(text, panel, **more)})


def declaration_of(each: "Field[Any]") -> Declaration:
    """Return the declaration of a field of `FitOptions` or `Settings`."""
    declaration: Declaration = each.metadata["declaration"]
    return declaration


def number_or_auto(kind: Callable[[str], Any], words: str) -> Callable[[str], Any]:
    """Return a function that reads a number, or the word auto, from a text."""

    def parse(text: str) -> Any:
        if text == "auto":
            return text
        try:
            return kind(text)
        except ValueError:
            raise ParameterError(f"{quoted(text)} is not {words} or auto.") from None

    return parse


def check(settings: Any) -> None:
    """Make numbers Python's own, and refuse a value that is not among the choices or in the range.

    Raises:
        ParameterError: there is such a value.
    """
    for each in fields(settings):
        declaration, value = declaration_of(each), getattr(settings, each.name)
        if value is None or (declaration.or_auto and isinstance(value, str) and value == "auto"):
            continue
        auto = "auto, or " if declaration.or_auto else ""
        if declaration.choices is not None and value not in get_args(declaration.choices):
            words = ", ".join(get_args(declaration.choices))
            raise ParameterError(f"{parameter(each.name)} is {value!r}: it must be one of {words}.")
        if declaration.whole:
            require_whole(each.name, value, f"{auto}a whole number")
        if declaration.type is bool and value not in (True, False):
            raise ParameterError(f"{parameter(each.name)} is {value!r}: it must be True or False.")
        if declaration.range is not None and not _in_range(declaration.range, value):
            raise ParameterError(
                f"{parameter(each.name)} is {value!r}: it must be {auto}{declaration.range.words}."
            )
        if declaration.range is not None:
            # A model file holds Python's own numbers, whatever kind of number was given.
            plain = int(value) if declaration.whole else float(value)
            object.__setattr__(settings, each.name, plain)


def _in_range(allowed: Range, value: Any) -> bool:
    try:
        return allowed.holds(value)
    except TypeError:
        return False


def require_whole(name: str, value: Any, words: str = "a whole number") -> None:
    """Raise a ParameterError unless a value is a whole number; `words` say what it may be."""
    if not is_whole(value):
        raise ParameterError(f"{parameter(name)} is {value!r}: it must be {words}.")


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number, and no truth value."""
    try:
        return operator.index(value) == value and not isinstance(value, bool)
    except TypeError:
        return False


def document(declared: type[Any]) -> None:
    """Write the fields of a class into its docstring."""
    lines = [
        f"        {each.name}: {with_parameters(declaration_of(each).help, in_python)}"
        for each in fields(declared)
    ]
    declared.__doc__ = f"{(declared.__doc__ or '').rstrip()}\n" + "\n".join(lines) + "\n"
