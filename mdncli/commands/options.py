"""Options that several commands share, and those that follow from the declarations in the library.

`with_parameters_of` gives a command an option for every field of the library's dataclasses, so that
a parameter is declared once.
"""

import functools
import inspect
import shlex
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any

import typer

from mdncli.commands.console import as_flags, flag_words
from mdncli.errors import ParameterError, parameter
from mdncli.settings import READING, Declaration, FitOptions, declaration_of
from mdncli.tables.dialect import Dialect

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
    int, typer.Option(min=0, help="Seed of the random numbers. The same seed, the same output.")
]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A file that mdn fit wrote; - for standard input.")
]
Given = Annotated[
    list[str] | None,
    typer.Option(
        "--given",
        metavar="a=1,b",
        help="With several targets: ask about the others, given that a is 1 and b has the row's "
        "own value. May be repeated.",
        show_default=False,
    ),
]


def option(text: str, *names: str, panel: str | None = None, metavar: str | None = None) -> Any:
    """Return an option whose help does not repeat its default."""
    return typer.Option(
        *names, help=text, metavar=metavar, rich_help_panel=panel, show_default=False
    )


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
        repeats=each.name == "na",
        metavar=each.metadata["metavar"] or None,
        type=bool if each.name == "header" else str,
    )


def _option(each: "Field[Any]") -> inspect.Parameter:
    """Return the parameter of a command for a field of a dataclass."""
    declaration = _declaration(each)
    name = "--no-header" if each.name == "header" else f"--{each.name.replace('_', '-')}"
    names = [name, declaration.short] if declaration.short else [name]
    kind: Any = declaration.type | None
    default: Any = None
    if declaration.type is bool:
        kind, default = bool, False
    elif declaration.choices is not None:
        kind = declaration.choices | None
    elif declaration.repeats:
        kind = list[str] | None
    text = f"{as_flags(declaration.help)}{_default_and_range(each, declaration)}"
    made = option(text, *names, panel=declaration.panel, metavar=declaration.metavar)
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
    if each.default not in (MISSING, None, (), False):
        default = each.default
        words = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
        parts.append(f"default: {words}")
    if declaration.range is not None:
        parts.append(declaration.range.words)
    return f" ({'; '.join(parts)})" if parts else ""


def _value(each: "Field[Any]", given: Any) -> Any:
    """Return the value of an option for the library; None if it is not given."""
    if given is None or given is False or given == []:
        return None
    if each.name == "header":
        return False
    if each.name in ("quote", "escape", "comment", "delimiter"):
        return _character(given)
    parse = _declaration(each).parse
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
