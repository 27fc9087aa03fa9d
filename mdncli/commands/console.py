"""Standard streams and files behind one name: `-` is standard input or output.

What a person reads while a command runs: all of it on standard error.
"""

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from mdncli.errors import InputOutputError, UsageError
from mdncli.files import read_bytes, reason, replacing

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from mdncli.density.model import ConditionalDensity
    from mdncli.tables.dialect import Dialect
    from mdncli.tables.table import Table


STANDARD = "-"


class ReaderGone(Exception):  # noqa: N818 - not an error: the reader has what it wanted
    """The reader of standard output closed it, as `head` does."""


def read_input(path: str) -> bytes:
    """Return the content of a file, or of standard input for `-`.

    Raises:
        MissingInputError, InputOutputError: as `mdncli.files.read_bytes`.
    """
    if path != STANDARD:
        return read_bytes(path)
    if sys.stdin is None:
        raise InputOutputError("standard input: cannot be read: it is closed.")
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise InputOutputError(f"standard input: cannot be read: {reason(error)}.") from error


def open_model(path: str) -> "ConditionalDensity":
    """Return the model that a file, or standard input for `-`, holds."""
    from mdncli.modelfile import reader as checkpoint

    return checkpoint.load(read_input(path), input_name(path))


def open_table(path: str, dialect: "Dialect", *, skip_bad_rows: bool) -> "Table":
    """Return the table that a file, or standard input for `-`, holds."""
    from mdncli.tables.table import read_table

    return read_table(read_input(path), input_name(path), dialect, skip_bad_rows=skip_bad_rows)


def input_name(path: str) -> str:
    """Return what messages call an input."""
    return "standard input" if path == STANDARD else path


def spare_inputs(output: str | None, *inputs: str | None) -> None:
    """Check that the output would not replace one of the inputs.

    Raises:
        UsageError: it would.
    """
    for path in inputs:
        both_there = output and path and os.path.isfile(output) and os.path.exists(path)
        if both_there and os.path.samefile(str(output), str(path)):
            raise UsageError(f"-o {output} would replace an input. Choose another name.")


def only_one_from_standard_input(**paths: str | None) -> None:
    """Check that at most one of the inputs is standard input.

    Raises:
        UsageError: two are.
    """
    if sum(path == STANDARD for path in paths.values()) > 1:
        raise UsageError(f"Only one of {' and '.join(paths)} can be standard input (-).")


@contextlib.contextmanager
def writing(path: str | None) -> Iterator[BinaryIO]:
    """Yield a stream to a file that is replaced on success, or to standard output for None or `-`.

    Raises:
        InputOutputError: writing failed.
        ReaderGone: standard output was closed by its reader.
    """
    if path is not None and path != STANDARD:
        with replacing(path) as stream:
            yield stream
        return
    if sys.stdout is None:
        raise InputOutputError("standard output: cannot be written: it is closed.")
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError as error:
        raise ReaderGone from error
    except OSError as error:
        raise InputOutputError(f"standard output: cannot be written: {reason(error)}.") from error


def abandon_standard_output() -> None:
    """Point standard output nowhere, so that Python's last flush meets no closed pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


def write_json(value: dict[str, Any]) -> None:
    """Write one object to standard output; not-a-number is null there."""
    with writing(STANDARD) as stream:
        stream.write(json.dumps(_without_nan(value), allow_nan=False).encode() + b"\n")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def error_console() -> "Console":
    """Return a console on standard error that takes text as it is, without markup."""
    from rich.console import Console

    return Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)


def answer(*tables: "RenderableType") -> None:
    """Write what was asked for to standard output, as text."""
    from rich.console import Console

    # In a pipe nothing is cut to a terminal's width.
    terminal = sys.stdout is not None and sys.stdout.isatty()
    width = None if terminal else 10_000
    console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True, width=width)
    with console.capture() as captured:
        for table in tables:
            console.print(table)
    # Rich fills every line of a table with blanks.
    text = "\n".join(line.rstrip() for line in captured.get().splitlines())
    with writing(None) as stream:
        stream.write(f"{text}\n".encode())


def say(text: str, *, style: str | None = None) -> None:
    """Write a line, with whatever could disturb a terminal escaped."""
    harmless = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    error_console().print(harmless, style=style)


def say_written(output: str | None, *, quiet: bool) -> None:
    """Say which file was written, if one was."""
    if output not in (None, "-") and not quiet:
        say(f"wrote {output}")


def warn(text: str) -> None:
    """Write a warning."""
    say(f"warning: {text}", style="yellow")


def fail(text: str) -> None:
    """Write an error."""
    say(f"error: {text}", style="red")
