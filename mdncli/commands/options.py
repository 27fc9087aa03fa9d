"""Options that several commands share, and those that follow from the declarations in the library.

`with_parameters_of` gives a command an option for every field of the library's dataclasses, so that
a parameter is declared once.
"""

import csv
import functools
import gzip
import inspect
import lzma
import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from typer.core import TyperCommand

from mdncli.commands.console import as_flags, flag_words
from mdncli.declarations import Declaration, declaration_of
from mdncli.errors import ParameterError, parameter
from mdncli.settings import READING, FitOptions
from mdncli.tables.dialect import Dialect
from mdncli.text import quoted

Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no tables. Warnings and errors stay.")
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Output file; - or nothing is standard output."
    ),
]
Seed = Annotated[
    int,
    typer.Option(min=0, help="Seed of the random numbers. The same seed gives the same output."),
]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A file that mdn fit wrote; - for standard input.")
]

# The limit as text, since Typer would show a default in bytes.
MaxModelSize = Annotated[
    str,
    typer.Option(
        "--max-model-size",
        metavar="BYTES",
        help="Refuse a model file with more bytes, such as 500M or 4G.",
    ),
]
DEFAULT_SIZE = "1G"
_SIZE = re.compile(r"([0-9]{1,15})([KMG]?)(i?B)?", re.IGNORECASE)


class QuickCommand(TyperCommand):
    """A command that converts its values itself."""

    def get_params(self, ctx: Any) -> Any:
        """Return the options and the arguments."""
        return converting_quickly(super().get_params(ctx))


def converting_quickly(parameters: Sequence[Any]) -> Sequence[Any]:
    """Return options and arguments that are converted here: Typer takes 0.1 s to import for it.

    Only the newer releases of Typer take so long. The older ones, and options of other types than
    ours, are left alone.
    """
    for each in parameters:
        described = getattr(each, "type_descriptor", None)
        if described is not None and _kind_of(described.annotation) in _CONVERTED:
            each.process_value = functools.partial(_processed, each)
    return parameters


_CONVERTED = (str, int, float, bool, list, Literal)
_WORDS_OF_NUMBERS = {int: "a whole number", float: "a number"}


def _kind_of(annotation: Any) -> Any:
    return get_origin(annotation) or annotation


def _processed(each: Any, context: Any, value: Any) -> Any:
    """Return the value of an option or an argument, from its words or its default.

    Raises:
        BadParameter: it is missing or no such value.
    """
    if each.multiple:
        value = list(value or ())
    elif value is not None:
        try:
            value = _value_of(value, each.type_descriptor)
        except ValueError as error:
            raise typer.BadParameter(str(error), context, each) from error
    elif each.required:
        raise _MissingArgument("", context, each)
    return value if each.callback is None else each.callback(context, each, value)


def _value_of(value: Any, described: Any) -> Any:
    """Return the value that a text stands for; a default is a value already.

    Raises:
        ValueError: it stands for none.
    """
    kind, choices = described.annotation, get_args(described.annotation)
    if choices:
        if value not in choices:
            raise ValueError(f"{value!r} is not one of {', '.join(map(repr, choices))}.")
        return value
    if not isinstance(value, str) or kind not in _WORDS_OF_NUMBERS:
        return value
    try:
        number = kind(value)
    except ValueError as error:
        raise ValueError(f"{quoted(value)} is not {_WORDS_OF_NUMBERS[kind]}.") from error
    least = described.parameter_info.min
    if least is not None and not number >= least:
        raise ValueError(f"{value} is less than {least}.")
    return number


class _MissingArgument(typer.BadParameter):
    """An argument that the command needs is not there."""

    def format_message(self) -> str:
        each: Any = self.param
        choices = get_args(each.type_descriptor.annotation)
        one_of = f" Choose from: {', '.join(choices)}." if choices else ""
        return f"Missing argument {each.metavar or each.name}.{one_of}"


def bytes_of(size: str) -> int:
    """Return the number of bytes that a text such as 500M stands for.

    Raises:
        ParameterError: it is no such text.
    """
    found = _SIZE.fullmatch(size.strip())
    count = int(found[1]) << 10 * " KMG".index(found[2].upper() or " ") if found else 0
    if not count:
        raise ParameterError(
            f"{parameter('max_size')} is {quoted(size)}: it must be a number of bytes, such as "
            "1000000, 500M or 4G."
        )
    return count


def option(
    text: str,
    *names: str,
    panel: str | None = None,
    metavar: str | None = None,
    columns: bool = False,
) -> Any:
    """Return an option whose help does not repeat its default.

    Args:
        text: the help.
        names: such as `--target`, `-t`; by default the name of the parameter.
        panel: the heading under which the help shows it.
        metavar: what stands for the value in the help.
        columns: whether the shell completes names of columns.
    """
    return typer.Option(
        *names,
        help=text,
        metavar=metavar,
        rich_help_panel=panel,
        show_default=False,
        autocompletion=complete_columns if columns else None,
    )


def complete_columns(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the columns of the table on the command line that continue what was typed.

    After a comma the next name is completed.
    """
    typed, comma, _ = incomplete.rpartition(",")
    before = f"{typed}{comma}"
    names = [f"{before}{name}" for name in _header(ctx)]
    found = [name for name in names if name.startswith(incomplete)]
    # Bash inserts a completion as it is; the other shells quote it.
    bash = "bash" in os.environ.get("_MDN_COMPLETE", "")
    return [shlex.quote(name) for name in found] if bash else found


def _header(ctx: typer.Context) -> list[str]:
    """Return the names of the columns of the table on the command line; none if it has no header.

    Reading the header alone, without the library, keeps completion fast.
    """
    given = ctx.params
    # While an option lacks its value, arguments are still among the words that are left.
    words = [given.get("rows"), given.get("data"), *reversed(ctx.args)]
    path = next((word for word in words if word and os.path.isfile(word)), None)
    if path is None or path.endswith(_MODEL) or given.get("header"):
        return []
    opened = _OPENED.get(os.path.splitext(path)[1].lower(), open)
    usual = "\t" if ".tsv" in path.lower() else ","
    try:
        with opened(path, "rt", encoding=given.get("encoding") or "utf-8-sig", newline="") as text:
            delimiter = _character(given.get("delimiter") or usual)
            return next(csv.reader(text, delimiter=delimiter), [])
    except (OSError, ValueError, LookupError, csv.Error, EOFError):
        return []


_MODEL = ".pt"
# Files by their suffixes, as far as the standard library opens them.
_OPENED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}

Given = Annotated[
    list[str] | None,
    option(
        "With several targets: fix a at 1, and b at the value in each row. The answers are about "
        "the other targets. May be repeated.",
        "--given",
        metavar="a=1,b",
        columns=True,
    ),
]


def with_parameters_of(
    *declared: type[Any],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command the options of dataclasses.

    The command takes them as `parameters`, a dictionary of the values that are given. Beside
    `Dialect` it gets `--on-bad-rows`.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [
            p for name, p in inspect.signature(command).parameters.items() if name != "parameters"
        ]
        every = [each for kind in declared for each in fields(kind)]
        if FitOptions not in declared:
            every += [each for each in fields(FitOptions) if each.name == "on_bad_rows"]
        options = {each.name: _option(each) for each in every}
        arguments = [p for p in own if p.default is inspect.Parameter.empty]
        rest = [p for p in own if p.default is not inspect.Parameter.empty]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            parameters = {each.name: _value(each, given.pop(each.name)) for each in every}
            command(**given, parameters={k: v for k, v in parameters.items() if v is not None})

        signature = [*arguments, *rest, *options.values()]
        if FitOptions in declared:
            signature = [*arguments, *options.values(), *rest]
        signature = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature]
        run.__dict__["__signature__"] = inspect.Signature(signature)
        run.__annotations__ = {p.name: p.annotation for p in signature}
        return run

    return decorate


def _declaration(each: "Field[Any]") -> Declaration:
    """Return the declaration of a parameter; of how files are read, made from its metadata."""
    if "declaration" in each.metadata:
        return declaration_of(each)
    return Declaration(
        each.metadata["help"],
        READING,
        repeats=each.metadata["repeats"],
        metavar=each.metadata["metavar"] or None,
        type=each.metadata["type"],
    )


def _option(each: "Field[Any]") -> inspect.Parameter:
    """Return the parameter of a command for a field of a dataclass."""
    declaration = _declaration(each)
    name = "--no-header" if each.name == "header" else f"--{each.name.replace('_', '-')}"
    if declaration.on_off:
        name += f"/--no-{each.name.replace('_', '-')}"
    names = [name, declaration.short] if declaration.short else [name]
    kind: Any = declaration.type | None
    default: Any = None
    if declaration.type is bool and not declaration.on_off:
        kind, default = bool, False
    elif declaration.choices is not None:
        kind = declaration.choices | None
    elif declaration.repeats:
        kind = list[str] | None
    text = f"{as_flags(declaration.help)}{_default_and_range(each, declaration)}"
    made = option(
        text,
        *names,
        panel=declaration.panel,
        metavar=declaration.metavar,
        columns=declaration.names_columns,
    )
    return inspect.Parameter(
        each.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, made],
    )


def _default_and_range(each: "Field[Any]", declaration: Declaration) -> str:
    """Return the default and the range of a setting, for its help."""
    if "declaration" not in each.metadata:
        return ""
    parts = []
    default = each.default
    if default not in (MISSING, None, ()) and default is not False:
        words = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
        parts.append(f"default: {words}")
    if declaration.range is not None:
        parts.append(declaration.range.words)
    return f" ({'; '.join(parts)})" if parts else ""


def _value(each: "Field[Any]", given: Any) -> Any:
    """Return the value of an option for the library; None if it is not given."""
    declaration = _declaration(each)
    if given is None or given == [] or (given is False and not declaration.on_off):
        return None
    if each.name == "header":
        return False
    if each.name in ("quote", "escape", "comment", "delimiter"):
        return _character(given)
    parse = declaration.parse
    if parse is not None:
        try:
            return parse(given)
        except ParameterError as error:
            raise ParameterError(f"{parameter(each.name)}: {error.message}") from error
    return tuple(given) if isinstance(given, list) else given


def _character(text: str) -> str:
    """Return the character that a text stands for; `\\t` is a tab."""
    return "\t" if text == "\\t" else text


def command_line(request: dict[str, Any], dialect: dict[str, Any]) -> str:
    """Return the command line that asks `mdn fit` for a stored request; empty if none is stored."""
    if not request and not dialect:
        return ""
    words = ["mdn", "fit", "DATA"]
    for name, value in {**request, **dialect}.items():
        words += flag_words(name, value)
    return shlex.join(words)


def dialect_words(dialect: Dialect) -> list[str]:
    """Return the words of a command line that read a file by this dialect."""
    return [word for name, value in dialect.to_plain().items() for word in flag_words(name, value)]
