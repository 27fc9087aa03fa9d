"""Standard streams and `-`, messages and tables for people, and parameters written as flags.

Standard output carries data alone. Everything else goes to standard error.
"""

import ast
import contextlib
import glob
import io
import json
import os
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, TextIO

import typer

from mdncli.errors import InputOutputError, MdnWarning, ParameterError, with_parameters
from mdncli.files import (
    FileContent,
    FileStream,
    read_model_stream,
    reason,
    replacing,
    require_writable,
)
from mdncli.text import printable, without_nan

STANDARD = "-"
_STANDARD_INPUT = "standard input"
_DESCRIPTORS = 0, 1, 2
_SECONDS_BEFORE_BAR = 1.0
# In a pipe no table is cut to the width of a terminal.
_WIDTH_OF_PIPE = 10_000
# An error can repeat names from a file. Its end says what to do.
_LONGEST_ERROR, _END_OF_ERROR = 500, 150


class ReaderGone(Exception):  # noqa: N818 - not an error: the reader has all that it wants
    """The reader of the output closed it, as `head` does."""


@dataclass(frozen=True)
class TextTable:
    """A table for people.

    Attributes:
        rows: of text.
        columns: the header; none if empty.
        left: how many columns from the left are aligned to the left; the others are to the right.
    """

    rows: Sequence[Sequence[str]]
    columns: Sequence[str] = ()
    left: int = 2


def source(path: str) -> str | FileStream:
    """Return what the library reads: standard input as a stream for `-`, else the path.

    Raises:
        InputOutputError: standard input is closed.
    """
    if path != STANDARD:
        return path
    if sys.stdin is None:
        raise InputOutputError(f"{_STANDARD_INPUT}: cannot be read: it is closed.")
    return FileStream(_STANDARD_INPUT, sys.stdin.buffer)


def model_source(path: str, max_size: int, *, or_table: bool = False) -> str | FileContent:
    """Return what `source` does, for a model of at most so many bytes.

    Args:
        path: `-` for standard input.
        max_size: see `read_model_file`.
        or_table: whether standard input may be a table, too.

    Raises:
        InputOutputError: standard input cannot be read.
        ModelFileError: standard input holds a larger model.
    """
    found = source(path)
    if isinstance(found, str):
        return found
    try:
        return read_model_stream(found.stream, _STANDARD_INPUT, max_size, or_table=or_table)
    except OSError as error:
        raise InputOutputError(f"{_STANDARD_INPUT}: cannot be read: {reason(error)}.") from error


def check_paths(output: str | None, inputs: Mapping[str, str | None]) -> None:
    """Check that one input at most is standard input, and that no output replaces an input.

    Args:
        output: a path; None or `-` for standard output.
        inputs: paths by what the help calls them.

    Raises:
        ParameterError: two inputs are standard input, or the output would replace an input.
    """
    if sum(path == STANDARD for path in inputs.values()) > 1:
        raise ParameterError(f"Only one of {' and '.join(inputs)} can be standard input (-).")
    if output is None or not os.path.isfile(output):
        return
    for path in (each for given in inputs.values() for each in _files(given)):
        if _is_same_file(output, path):
            raise ParameterError(f"-o {output} would replace an input. Choose another name.")


def _files(path: str | None) -> list[str]:
    """Return the files that a path may stand for: itself, those of a folder, those of a pattern."""
    if path is None or path == STANDARD:
        return [path] if path else []
    folder = os.path.join(glob.escape(path), "*") if os.path.isdir(path) else path
    return [path] if os.path.isfile(path) else glob.glob(folder, recursive=True)


def _is_same_file(output: str, path: str) -> bool:
    """Return whether an output that exists is also the input at a path, or on standard input."""
    try:
        opened = os.fstat(sys.stdin.fileno()) if path == STANDARD and sys.stdin else os.stat(path)
        return os.path.samestat(opened, os.stat(output))
    except (OSError, ValueError):
        # The input is not there, which its reader will say, or it is no file.
        return False


def require_output(path: str | None) -> None:
    """Check, before long work begins, what can be known of an output.

    Args:
        path: None or `-` for standard output.

    Raises:
        InputOutputError: it cannot be written.
    """
    if path is not None and path != STANDARD:
        require_writable(path)
    elif sys.stdout is None:
        raise InputOutputError("standard output: cannot be written: it is closed.")


@contextlib.contextmanager
def writing(path: str | None) -> Iterator[BinaryIO]:
    """Yield a stream to a file that is replaced on success, or to standard output for None or `-`.

    Raises:
        InputOutputError: writing failed.
        ReaderGone: the reader of the output closed it.
    """
    if path is not None and path != STANDARD:
        try:
            with _warnings_last(), replacing(path) as stream:
                yield stream
        except BrokenPipeError as error:
            # The path is that of a pipe.
            raise ReaderGone from error
        return
    require_output(path)
    try:
        with _warnings_last():
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
    except BrokenPipeError as error:
        raise ReaderGone from error
    except OSError as error:
        raise InputOutputError(f"standard output: cannot be written: {reason(error)}.") from error


@contextlib.contextmanager
def counting_rows(*, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes numbers of rows that are done.

    After a second a bar shows their sum and their rate, if standard error is a terminal.
    """
    with contextlib.ExitStack() as shown:
        began, rows, bar = time.monotonic(), 0, None

        def count(more: int) -> None:
            nonlocal rows, bar
            rows += more
            waited = time.monotonic() - began > _SECONDS_BEFORE_BAR
            if bar is None and waited and not quiet and sys.stderr.isatty():
                bar = shown.enter_context(_bar())
            if bar is not None:
                rate = rows / (time.monotonic() - began)
                bar.update(0, completed=rows, description=f"{rows:,} rows, {rate:,.0f} per second")

        yield count


def _bar() -> Any:
    """Return a bar that moves while work goes on whose end is not known."""
    progress = progress_module()
    columns = progress.SpinnerColumn(), progress.TextColumn("{task.description}")
    bar = progress.Progress(*columns, console=rich_console(stderr=True), transient=True)
    bar.add_task("", total=None)
    return bar


def progress_module() -> Any:
    """Return `rich.progress`."""
    # The import takes 30 ms, and most work takes less than a second.
    from rich import progress

    return progress


@contextlib.contextmanager
def _warnings_last() -> Iterator[None]:
    """Show the warnings of a block after it; if it fails, its error alone is shown."""
    with warnings.catch_warnings(record=True) as caught:
        yield
    for each in caught:
        warnings.showwarning(each.message, each.category, each.filename, each.lineno)


def abandon_standard_output() -> None:
    """Point standard output nowhere, so that Python's last flush does not meet a closed pipe."""
    if sys.stdout is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())


def write_json(value: dict[str, Any]) -> None:
    """Write an object to standard output; not-a-number becomes null."""
    with writing(STANDARD) as stream:
        stream.write(json.dumps(without_nan(value), allow_nan=False).encode() + b"\n")


def write_answer(*parts: TextTable | str) -> None:
    """Write tables and lines to standard output, as text."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    console = rich_console(None if terminal else _WIDTH_OF_PIPE)
    with console.capture() as captured:
        _print(console, parts)
    # Rich fills every line of a table with blanks.
    text = "\n".join(line.rstrip() for line in captured.get().splitlines())
    with writing(None) as stream:
        stream.write(f"{text}\n".encode())


def say(*parts: TextTable | str, style: str | None = None) -> None:
    """Write tables and lines to standard error, with unprintable characters escaped."""
    lines = [printable(part) for part in parts if isinstance(part, str)]
    if len(lines) < len(parts):
        _print(rich_console(stderr=True), parts, style)
        return
    # No color, rather than a question to the terminal, where the user wants none.
    color = False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None
    for line in lines:
        typer.echo(typer.style(line, fg=style) if style else line, file=sys.stderr, color=color)


def warn(text: str) -> None:
    """Write a warning; it may mention parameters."""
    say(f"warning: {as_flags(text)}", style="yellow")


def fail(text: str) -> None:
    """Write an error; it may mention parameters. Of a long one, the middle is left out."""
    line = printable(f"error: {as_flags(text)}")
    if len(line) > _LONGEST_ERROR:
        line = f"{line[: _LONGEST_ERROR - _END_OF_ERROR - 3]} … {line[-_END_OF_ERROR:]}"
    say(line, style="red")


def say_written(output: str | None, *, quiet: bool) -> None:
    """Say which file was written, if one was."""
    if output not in (None, STANDARD) and not quiet:
        say(f"wrote {output}")


class ReportOfSpool:
    """Says how many rows of a large table are on disk, in about ten lines."""

    def __init__(self) -> None:
        self._said = -1

    def show(self, progress: Any) -> None:
        """Show the progress, if it is time to."""
        tenth = 10 * progress.rows // max(1, progress.expected_rows)
        if not progress.rows:
            size = _in_bytes(progress.expected_size)
            rows = f"about {progress.expected_rows:,} rows"
            say(f"The rows go to disk, for learning: {rows}, {size}, in {progress.folder}.")
        elif tenth > self._said:
            say(f"reading: {progress.rows:,} rows, {_in_bytes(progress.size)} on disk")
        self._said = max(tenth, self._said)


def _in_bytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def show_warnings() -> None:
    """Show every warning of the library at once, as a line on standard error.

    From now on, a message that cannot be written is lost, and the work goes on.
    """
    _lose_what_cannot_be_said()
    show = warnings.showwarning

    def showwarning(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if isinstance(message, MdnWarning):
            warn(message.message)
        elif issubclass(category, RuntimeWarning):
            # NumPy's own words name a line of the program.
            warn("a number is too large or too small to compute with: an answer may be missing.")
        else:
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = showwarning
    warnings.simplefilter("always", MdnWarning)


class _LossyFile(io.FileIO):
    """A file that takes everything, and loses what cannot be written."""

    def write(self, data: Any) -> int:
        try:
            written = super().write(data)
        except OSError:
            written = None
        # None is also the answer of a full pipe that does not wait.
        return memoryview(data).nbytes if written is None else written


def _lose_what_cannot_be_said() -> None:
    """Replace standard error by a stream that never fails, though it may be closed or full.

    Each standard stream that is closed is opened on nothing first. Otherwise the next file to be
    opened would get its number, and a library that writes a message would write it into that file.
    """
    for descriptor in _DESCRIPTORS:
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # A program that has replaced standard error itself, as a test does, keeps its own stream.
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        raw = _LossyFile(_DESCRIPTORS[-1], "wb", closefd=False)
        encoding = sys.stderr.encoding if sys.stderr else "utf-8"
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=True
        )


def as_flags(message: str) -> str:
    """Return a message with its parameters as the command line writes them."""
    return with_parameters(message, flag)


def flag(name: str, value: str = "") -> str:
    """Return a parameter as the command line writes it, such as `--on-bad-rows skip`.

    Args:
        name: as Python writes it.
        value: as Python writes it, or a word that stands for a value; empty for none.
    """
    if name == "header":
        return "--no-header"
    # Beside other options, its name says what it is about.
    name = "max-model-size" if name == "max_size" else name
    try:
        given = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return f"--{name.replace('_', '-')}{' ' if value else ''}{value}"
    return shlex.join(flag_words(name, given))


def flag_words(name: str, value: Any) -> list[str]:
    """Return the words of a command line that give a parameter this value."""
    option = f"--{name.replace('_', '-')}"
    if name == "header":
        return [] if value else ["--no-header"]
    if value is True:
        return [option]
    if value is False:
        return [f"--no-{option[2:]}"]
    if isinstance(value, dict):
        pairs = [f"{key}={each}" if each != "" else str(key) for key, each in value.items()]
        return [word for pair in pairs for word in (option, pair)]
    if name == "hidden" and isinstance(value, list | tuple):
        return [option, ",".join(map(str, value))]
    if isinstance(value, list | tuple):
        return [word for each in value for word in (option, str(each))]
    return [option, {None: "", "\t": "\\t"}.get(value, str(value))]


def _print(console: Any, parts: Iterable[TextTable | str], style: str | None = None) -> None:
    for part in parts:
        if isinstance(part, TextTable):
            console.print(_rich_table(part))
        else:
            console.print(printable(part), style=style)


def rich_console(width: int | None = None, *, stderr: bool = False) -> Any:
    """Return a console that takes text as it is, without markup."""
    options: dict[str, Any] = dict.fromkeys(("markup", "highlight", "emoji"), False)
    console, _ = _rich()
    return console.Console(stderr=stderr, width=width, soft_wrap=True, **options)


def _rich_table(table: TextTable) -> Any:
    _, rich_table = _rich()
    drawn = rich_table.Table(box=None, pad_edge=False, show_header=bool(table.columns))
    count = len(table.columns) or max((len(row) for row in table.rows), default=0)
    for position in range(count):
        title = table.columns[position] if table.columns else ""
        # Short columns on the left stay whole; a long last one is wrapped.
        drawn.add_column(
            printable(title),
            justify="left" if position < table.left else "right",
            no_wrap=position < count - 1,
        )
    for row in table.rows:
        drawn.add_row(*(printable(cell) for cell in row))
    return drawn


def _rich() -> Any:
    # The import takes 30 ms, and many commands say nothing.
    from rich import console, table

    return console, table
