"""Exceptions and warnings; their messages name the thing, the place and the remedy.

A message may mention a parameter, such as `lr` or `on_bad_rows='skip'`. Python and the command line
write parameters differently, so `parameter` marks each mention, and whoever shows the message
chooses how to write it. `str(error)` writes them as Python does.
"""

import contextlib
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator

# Neither character occurs in other text: quoted text has its control characters escaped.
_EDGE, _BETWEEN = "\x1f", "\x1e"
_LONGEST_NAME = 60
_MENTION = re.compile(f"{_EDGE}([^{_BETWEEN}]*){_BETWEEN}([^{_EDGE}]*){_EDGE}")


def parameter(name: str, value: str = "") -> str:
    """Return a mention of a parameter, for the message of an error or a warning.

    Args:
        name: as Python writes it, such as `on_bad_rows`.
        value: as Python writes it, such as `'skip'`; or a word in capitals that stands for a value,
            such as `FILE`. Empty to mention the parameter alone.

    >>> str(MdnError(f"{parameter('lr')} is 0. Use {parameter('preset', repr('fast'))}."))
    "lr is 0. Use preset='fast'."
    """
    return f"{_EDGE}{name}{_BETWEEN}{value}{_EDGE}"


def parameter_for(name: str, column: str, rest: str = "") -> str:
    """Return a mention of a parameter whose value begins with the name of a column.

    A long name would hide the rest of the message, so COL stands for it.

    >>> str(MdnError(parameter_for("lower", "y", "=0")))
    "lower='y=0'"
    """
    shown = repr(f"{column}{rest}") if len(column) <= _LONGEST_NAME else f"COL{rest}"
    return parameter(name, shown)


def with_parameters(message: str, write: Callable[[str, str], str]) -> str:
    """Return a message with every mention of a parameter written as `write(name, value)`."""
    return _MENTION.sub(lambda found: write(found[1], found[2]), message)


def in_python(name: str, value: str) -> str:
    """Return a parameter as Python writes it: `name` or `name=value`."""
    return f"{name}={value}" if value else name


class MdnError(Exception):
    """An error that its reader can correct.

    Attributes:
        message: the text with its marked mentions of parameters; see `with_parameters`.
        repeated: whether another process that learns with this one raises the same error.

    >>> from mdncli import load
    >>> try:
    ...     load("nowhere.pt")
    ... except MdnError as error:
    ...     print(error)
    nowhere.pt: there is no such file.
    """

    repeated = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return with_parameters(self.message, in_python)


class ParameterError(MdnError):
    """A parameter has a value that it cannot have, or excludes another one."""


class DataError(MdnError):
    """A table, or a column of it, cannot be used as the parameters say."""


class ModelFileError(MdnError):
    """A model file is not as it should be."""


class MissingInputError(MdnError):
    """An input file does not exist."""


class InputOutputError(MdnError):
    """Reading or writing failed."""


class MdnWarning(UserWarning):
    """Something that the reader of a result should know.

    Attributes:
        message: as for `MdnError`.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return with_parameters(self.message, in_python)


class _Heard(threading.local):
    """What was warned of already in a `warning_once` block of this thread; None outside of one."""

    kinds: set[str] | None = None


_heard = _Heard()


@contextlib.contextmanager
def warning_once(kinds: set[str]) -> Iterator[None]:
    """Warn only of what is not among `kinds`, and add it to them. Numbers make no difference."""
    before, _heard.kinds = _heard.kinds, kinds
    try:
        yield
    finally:
        _heard.kinds = before


def warn(message: str) -> None:
    """Warn with `MdnWarning`, as if from the line outside this package that called it."""
    if _heard.kinds is not None:
        kind = re.sub("[0-9]+", "", message)
        if kind in _heard.kinds:
            return
        _heard.kinds.add(kind)
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("mdncli."):
        frame, level = frame.f_back, level + 1
    warnings.warn(MdnWarning(message), stacklevel=level)
