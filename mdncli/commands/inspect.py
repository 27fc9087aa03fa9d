"""`mdn inspect` and `mdn export`: what a file is, and a model in other formats."""

import os
import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mdncli.commands.console import (
    STANDARD,
    TextTable,
    as_flags,
    check_paths,
    flag_words,
    model_source,
    say_written,
    write_answer,
    write_json,
    writing,
)
from mdncli.commands.options import (
    DEFAULT_SIZE,
    MaxModelSize,
    Model,
    Quiet,
    bytes_of,
    dialect_words,
    option,
    with_parameters_of,
)
from mdncli.settings import ExportFormat
from mdncli.tables.dialect import Dialect
from mdncli.text import counted, quoted

if TYPE_CHECKING:
    from mdncli.api import TableReport
    from mdncli.columns.checks import TableDescription

_MOST_EXAMPLES = 3
_NO_TARGET = "mdn fit needs a target, a column of numbers that vary, and another that varies."


@with_parameters_of(Dialect)
def inspect(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A model that mdn fit wrote, or a table; - for standard input."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    max_model_size: MaxModelSize = DEFAULT_SIZE,
    *,
    parameters: dict[str, Any],
) -> None:
    """Say what a model file is, or what a table holds and which options read it.

    Example: mdn inspect model.pt

    Example: mdn inspect data.csv
    """
    from mdncli.commands import report

    limit = bytes_of(max_model_size)
    read = model_source(file, limit, or_table=True)
    found = report.inspect_file(read, max_size=limit, **parameters)
    if isinstance(found, report.ConditionalDensity):
        if as_json:
            write_json(report.model_as_json(found))
        else:
            report.show_model(found)
    elif as_json:
        write_json(_table_as_json(found))
    else:
        _show_table(found, file)


def export(
    model: Model,
    file_format: Annotated[
        ExportFormat | None,
        option(
            "safetensors (the default) holds the weights and the schema. onnx is a graph that "
            "computes π, μ, σ, means and quantiles from the cells of a row.",
            "--format",
        ),
    ] = None,
    quantiles: Annotated[
        list[str] | None,
        option("With onnx: which quantiles (default: 0.05,0.5,0.95).", metavar="P,…"),
    ] = None,
    output: Annotated[
        str | None,
        option(
            "Output file, whose suffix chooses the format unless --format does; - for standard "
            "output. By default the name of the model with the suffix of the format.",
            "--output",
            "-o",
            metavar="FILE",
        ),
    ] = None,
    max_model_size: MaxModelSize = DEFAULT_SIZE,
    quiet: Quiet = False,
) -> None:
    """Write a model for other programs: its weights as safetensors, or its answers as ONNX.

    Example: mdn export model.pt -o model.safetensors

    Example: mdn export model.pt --format onnx --quantiles 0.1,0.5,0.9
    """
    from mdncli.conditional_density import export_format, load

    named = None if output == STANDARD else output
    chosen = export_format(named, file_format)
    if output is None:
        stem = "model" if model == STANDARD else os.path.splitext(model)[0]
        output = f"{stem}.{chosen}"
    check_paths(output, {"MODEL": model})
    limit = bytes_of(max_model_size)
    density = load(model_source(model, limit), max_size=limit)
    with writing(output) as stream:
        density.export(stream, chosen, quantiles)
    say_written(output, quiet=quiet)


def _table_as_json(report: "TableReport") -> dict[str, Any]:
    description = report.description
    return {
        "kind": "table",
        **(description.to_plain() if description else {"rows": None, "columns": []}),
        "options": _options(report.best) if report.best else None,
        "refused": as_flags(report.unfit) or None,
        "target_kind": report.target_kind or None,
        "looks": report.looks.to_plain() if report.looks else None,
        "reading": dialect_words(report.suggested or report.dialect),
        "problem": as_flags(report.problem) or None,
        "warnings": [as_flags(text) for text in report.warnings],
    }


def _options(description: "TableDescription") -> list[str] | None:
    """Return the options that fit needs for a table, such as `-t price`; None if none would do."""
    if description.parameters is None:
        return None
    options = []
    for name, columns in description.parameters.items():
        for column in columns:
            words = ["-t", column] if name == "target" else flag_words(name, column)
            options.append(shlex.join(words))
    return options


def _show_table(report: "TableReport", path: str) -> None:
    parts: list[TextTable | str] = []
    description = report.description
    if description is not None:
        counts = counted(description.rows, "row"), counted(len(description.columns), "column")
        parts += [", ".join(counts), _table_columns(description)]
    else:
        parts.append(f"It cannot be read as it is: {as_flags(report.problem)}")
    parts += [f"Warning: {as_flags(text)}" for text in report.warnings]
    if report.looks is not None:
        parts.append(f"It looks like {report.looks.describe()}.")
    if report.best is not None:
        parts += _needed(report, report.best, path)
    write_answer(*parts)


def _needed(report: "TableReport", best: "TableDescription", path: str) -> list[str]:
    """Return how to fit the table, or why that is not possible."""
    options = _options(best)
    fits = options is not None and not report.unfit
    reading = [shlex.quote(word) for word in dialect_words(report.suggested or report.dialect)]
    words = [*reading, *(options or [])] if fits else reading
    lines = []
    if report.target_kind and best.target is not None:
        lines.append(f"mdn fit would take {quoted(best.target)} as: {report.target_kind}.")
    if report.suggested is not None:
        command = " ".join(["fit" if fits else "inspect", shlex.quote(path), *words])
        lines.append(f"To read it like that: mdn {command}")
    elif fits and words:
        lines.append(f"mdn fit needs these options: {' '.join(words)}")
    if report.unfit:
        lines.append(f"mdn fit would refuse it: {as_flags(report.unfit)}")
    elif options is None:
        lines.append(_NO_TARGET)
    return lines


def _table_columns(description: "TableDescription") -> TextTable:
    titles = "column kind empty distinct lowest median highest step texts".split()
    rows = []
    for column in description.columns:
        numbers = column.lowest, column.median, column.highest
        known = column.kind == "number" or (column.kind == "mixed" and column.lowest <= numbers[2])
        rows.append(
            [
                quoted(column.name),
                column.kind,
                str(column.missing) if column.missing else "",
                str(column.distinct),
                *(f"{value:g}" if known else "" for value in numbers),
                "" if column.step is None else f"{column.step:g}",
                _first(column.examples),
            ]
        )
    return TextTable(rows, titles)


def _first(examples: list[str]) -> str:
    more = ", …" if len(examples) > _MOST_EXAMPLES else ""
    return ", ".join(quoted(text) for text in examples[:_MOST_EXAMPLES]) + more
