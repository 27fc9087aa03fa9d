"""The app, where every error becomes one line and an exit status."""

import contextlib
import gc
import inspect
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mdncli import __version__
from mdncli.commands import Interrupted, handling_signals, interrupt, status_of
from mdncli.commands.console import (
    ReaderGone,
    abandon_standard_output,
    fail,
    say,
    show_warnings,
)
from mdncli.commands.evaluate import evaluate
from mdncli.commands.fit import fit
from mdncli.commands.inspect import export
from mdncli.commands.inspect import inspect as inspect_file
from mdncli.commands.options import QuickCommand, converting_quickly
from mdncli.commands.plot import plot
from mdncli.commands.predict import predict
from mdncli.commands.sample import generate, sample
from mdncli.errors import (
    DataError,
    InputOutputError,
    MdnError,
    MissingInputError,
    ModelFileError,
    ParameterError,
)
from mdncli.files import reason

_BUG = 70
_EXIT_STATUS: dict[type[MdnError], int] = {
    ParameterError: 2,
    DataError: 65,
    ModelFileError: 65,
    MissingInputError: 66,
    InputOutputError: 74,
}


class _PlainGroup(TyperGroup):
    """A group whose own help and errors are plain text: Rich's boxes take 0.1 s to import."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "rich_markup_mode": None})

    def get_params(self, ctx: Any) -> Any:
        """Return the options."""
        return converting_quickly(super().get_params(ctx))


def _paragraphs(text: str) -> str:
    """Return a docstring with every paragraph on one line, for the help to wrap."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


app = typer.Typer(
    cls=_PlainGroup,
    name="mdn",
    help="Learn the whole conditional distribution p(y | x) from a table, and ask it anything.",
    epilog=(
        "Example: mdn generate sinusoid --inverse > data.csv && mdn fit data.csv "
        "&& mdn plot model.pt data.csv"
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (generate, fit, sample, predict, evaluate, inspect_file, plot, export):
    app.command(cls=QuickCommand, help=_paragraphs(command.__doc__ or ""))(command)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"mdn {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line and end the process with its exit status."""
    # The imports create many objects and hardly any garbage, so the collector runs less often.
    gc.set_threshold(500_000)
    status = run()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.flush()
    # At an ordinary exit pyarrow aborts the process about once in several hundred runs, when a
    # thread of its pool is still ending. Everything is written, so nothing is lost.
    os._exit(status)


def run() -> int:
    """Run the command line on `sys.argv` and return the exit status."""
    show_warnings()
    try:
        with handling_signals(interrupt):
            return _run()
    except Interrupted as interruption:
        say("interrupted")
        return status_of(interruption.number)


def _run() -> int:
    """Return the exit status of the command line on `sys.argv`.

    Raises:
        Interrupted: a signal asked the process to end.
    """
    try:
        status = app(prog_name="mdn", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except SystemExit as ended:
        # Typer's own answer to a closed pipe, such as that of `mdn --help | true`.
        if not isinstance(ended.__context__, BrokenPipeError):
            raise
        abandon_standard_output()
        return 0
    except ReaderGone:
        abandon_standard_output()
        return 0
    except MdnError as error:
        if not error.repeated:
            fail(error.message)
        return _EXIT_STATUS[type(error)]
    except MemoryError:
        fail("this needs more memory than there is. Use fewer rows at a time.")
        return _EXIT_STATUS[DataError]
    except OSError as error:
        # Help or the version, onto a full disk; the commands' own streams raise other errors.
        abandon_standard_output()
        fail(f"standard output: cannot be written: {reason(error)}.")
        return _EXIT_STATUS[InputOutputError]
    except Exception as error:
        if hasattr(error, "format_message"):
            return _usage_error(error)
        fail(f"this is a bug in mdn, not a mistake of yours: {type(error).__name__}: {error}")
        return _BUG
    return status if isinstance(status, int) else 0


def _usage_error(error: Any) -> int:
    """Say in one line what Typer found wrong with the command line; `mdn` alone shows its help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        command = error.ctx.command_path if getattr(error, "ctx", None) else "mdn"
        message = " ".join(error.format_message().replace("Value error, ", "").split())
        fail(f"{message.rstrip('.')}. See {command} --help.")
    return _EXIT_STATUS[ParameterError]
