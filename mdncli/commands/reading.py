"""How tables are read: the options that every command has that reads one, declared once."""

import contextlib
import functools
import inspect
import shlex
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mdncli.commands.console import warn
from mdncli.errors import DataError, UsageError
from mdncli.tables.dialect import Dialect

if TYPE_CHECKING:
    from mdncli.tables.table import Table

OnBadRows = Literal["fail", "skip"]
_DEFAULT = Dialect()
_MADE_HERE = ("dialect", "on_bad_rows")


def _option(text: str, flag: str, metavar: str | None = None) -> Any:
    return typer.Option(
        flag, help=text, metavar=metavar, rich_help_panel="Reading", show_default=False
    )


def _dialect(
    *,
    delimiter: Annotated[
        str | None,
        _option(
            "Between fields, such as ';'; \\t is a tab. By default a comma; a .tsv has tabs.",
            "--delimiter",
            "CHAR",
        ),
    ] = None,
    decimal: Annotated[
        str, _option("The decimal point: . (the default) or a comma.", "--decimal", "CHAR")
    ] = _DEFAULT.decimal,
    encoding: Annotated[
        str,
        _option(
            "Of the text, such as cp1252 or utf-16. By default UTF-8, with or without a mark.",
            "--encoding",
            "NAME",
        ),
    ] = _DEFAULT.encoding,
    quote: Annotated[
        str,
        _option(
            "Around fields, by default \"; '' reads quotes as any other character.",
            "--quote",
            "CHAR",
        ),
    ] = '"',
    escape: Annotated[
        str | None,
        _option(
            "Takes the meaning from the character after it. None by default.", "--escape", "CHAR"
        ),
    ] = None,
    comment: Annotated[
        str | None,
        _option("Lines that begin with it are passed over. None by default.", "--comment", "CHAR"),
    ] = None,
    no_header: Annotated[
        bool, _option("The first row is data: the columns are c1, c2, …", "--no-header")
    ] = False,
    na: Annotated[
        list[str] | None,
        _option("A further text for a missing cell. May be repeated.", "--na", "TEXT"),
    ] = None,
) -> Dialect:
    return Dialect(
        delimiter=_character(delimiter),
        decimal=decimal,
        encoding=encoding,
        quote=_character(quote) or None,
        escape=_character(escape) or None,
        comment=_character(comment) or None,
        header=not no_header,
        na=tuple(na or ()),
    )


def _bad_rows(
    *,
    on_bad_rows: Annotated[
        OnBadRows,
        typer.Option(
            help="What a row of another number of fields, or with a cell that cannot be used, "
            "does: fail, or be skipped and counted.",
            rich_help_panel="Reading",
        ),
    ] = "fail",
) -> None:
    pass


def reads_tables(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that has the options of reading; it is given `dialect` and `on_bad_rows`."""
    own = [
        parameter
        for name, parameter in inspect.signature(command).parameters.items()
        if name not in _MADE_HERE
    ]
    shared = inspect.signature(_dialect).parameters
    bad_rows = inspect.signature(_bad_rows).parameters

    @functools.wraps(command)
    def reading(**given: Any) -> None:
        told = {name: given.pop(name) for name in shared}
        command(**given, dialect=_dialect(**told))

    parameters = [*own, *shared.values(), *bad_rows.values()]
    reading.__dict__["__signature__"] = inspect.Signature(parameters)
    reading.__annotations__ = {each.name: each.annotation for each in parameters}
    return reading


def _character(text: str | None) -> str | None:
    return "\t" if text == "\\t" else text


@contextlib.contextmanager
def recalling(fitted_by: str, dialect: Dialect) -> Iterator[None]:
    """Add to a refusal of a table how the model's own was read, where that was another way.

    Args:
        fitted_by: the command line that made the model.
        dialect: by which the table is read now.
    """
    try:
        yield
    except DataError as error:
        then = _dialect_of(fitted_by)
        others = {
            each.name: getattr(_DEFAULT, each.name)
            for each in fields(Dialect)
            if getattr(then, each.name) == getattr(dialect, each.name)
        }
        missing = replace(then, **others).command_text()
        if not missing:
            raise
        raise DataError(f"{error} The model was fitted with {missing}.") from error


def _dialect_of(command: str) -> Dialect:
    """Return the dialect that a command line of `mdn fit` gives."""
    try:
        words = shlex.split(command)
        told: dict[str, Any] = {}
        for flag, value in zip(words, [*words[1:], ""], strict=True):
            name = flag.removeprefix("--").replace("-", "_")
            if flag == "--na":
                told["na"] = [*told.get("na", []), value]
            elif flag == "--no-header":
                told["no_header"] = True
            elif flag.startswith("--") and name in inspect.signature(_dialect).parameters:
                told[name] = value
        return _dialect(**told)
    except (ValueError, UsageError):
        return _DEFAULT


def warn_of_left_out(table: "Table") -> None:
    """Warn of rows of another number of fields, which were left out."""
    if table.skipped:
        warn(
            f"{table.skipped} of {table.rows_in_file} rows have another number of fields and are "
            f"left out. The first: {table.first_skipped}."
        )
