"""What a person reads while a command runs: all of it on standard error."""

import sys
from typing import TYPE_CHECKING

from mdncli.commands.streams import writing

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


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
