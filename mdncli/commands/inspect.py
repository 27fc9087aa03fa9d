"""`mdn inspect`."""

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mdncli.commands.console import (
    TextTable,
    as_flags,
    flag_words,
    source,
    write_answer,
    write_json,
)
from mdncli.commands.options import command_line, dialect_words, with_parameters_of
from mdncli.tables.dialect import Dialect
from mdncli.text import counted, listed, quoted

if TYPE_CHECKING:
    from mdncli.api import TableReport
    from mdncli.columns.description import TableDescription
    from mdncli.conditional_density import ConditionalDensity


@with_parameters_of(Dialect)
def inspect(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A model that mdn fit wrote, or a table; - for standard input."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    *,
    parameters: dict[str, Any],
) -> None:
    """Say what a model file is, or what a table holds and which options read it.

    Example: mdn inspect model.pt

    Example: mdn inspect data.csv
    """
    from mdncli import api

    found = api.inspect(source(file), **parameters)
    if isinstance(found, api.ConditionalDensity):
        if as_json:
            write_json(_model_as_json(found))
        else:
            _show_model(found)
    elif as_json:
        write_json(_table_as_json(found))
    else:
        _show_table(found, file)


def _model_as_json(model: "ConditionalDensity") -> dict[str, Any]:
    plain = {"kind": "model", **model.describe()}
    origin = model.network.origin
    plain["origin"] = {"command": command_line(origin.request, origin.dialect), **plain["origin"]}
    return plain


def _show_model(model: "ConditionalDensity") -> None:
    from mdncli.commands.report import WHY_STOPPED, best_epochs, component_report, scores

    network, schema = model.network, model.schema
    architecture, record, origin = network.architecture, network.record, network.origin
    widths = ",".join(map(str, architecture.hidden))
    given = [f"{k}={v}" for k, v in network.settings.items() if v not in (None, False)]
    versions = ", ".join(f"{name} {version}" for name, version in origin.versions.items())
    rows = [
        ("members, components", f"{len(network.networks)} of {architecture.mixtures}"),
        ("hidden layers", f"{widths}, {architecture.activation}"),
        ("frequencies", str(architecture.frequencies)),
        ("covariance", architecture.covariance),
        ("settings", ", ".join(given)),
        ("rows", f"{record.rows}, {record.rows_valid} of them held out"),
        *scores(network),
        (
            "training",
            f"{WHY_STOPPED[record.stopped]}; {best_epochs(network)}; faults: {record.faults}",
        ),
        ("made by", command_line(origin.request, origin.dialect) or "unknown"),
        ("training table", f"SHA-256 {origin.table_sha256 or 'unknown'}"),
        ("versions", versions or "unknown"),
    ]
    if schema.weight:
        rows.append(("weighted by", quoted(schema.weight)))
    rows += [
        (f"levels of {quoted(feature.name)}", feature.range)
        for feature in schema.features
        if feature.kind == "category"
    ]
    write_answer(_model_columns(model), TextTable(rows), *component_report(record.components))


def _model_columns(model: "ConditionalDensity") -> TextTable:
    schema = model.schema
    titles = ["column", "role", "kind", "lowest", "median", "highest", "step", "minimum σ"]
    rows = []
    for feature in schema.features:
        kind = f"{feature.kind}{', may be empty' if feature.allows_missing else ''}"
        rows.append([quoted(feature.name), "feature", kind, *feature.three_points()])
    for target in schema.targets:
        step = "continuous" if target.step is None else f"{target.step:g}"
        smallest = f"{target.min_sigma:.3g}"
        if not target.transform.is_identity:
            smallest += f" of {target.transform.name_of_u(target.name)}"
        numbers = (target.lowest, target.median, target.highest)
        row = [quoted(target.name), "target", "number", *(f"{number:g}" for number in numbers)]
        ends = ["" if end is None else f"{end:g}" for end in (target.lower, target.upper)]
        rows.append([*row, step, smallest, *(ends if schema.bounded else ())])
    return TextTable(rows, [*titles, *(("above", "below") if schema.bounded else ())], left=3)


def _table_as_json(report: "TableReport") -> dict[str, Any]:
    description = report.description
    return {
        "kind": "table",
        **(description.to_plain() if description else {"rows": None, "columns": []}),
        "options": _options(description) if description else None,
        "looks": report.looks.to_plain() if report.looks else None,
        "reading": dialect_words(report.suggested or report.dialect),
        "problem": as_flags(report.problem) or None,
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
    if report.looks is not None:
        parts.append(f"It looks like {report.looks.describe()}.")
    if report.suggested is not None:
        words = ["mdn", "fit", path, *dialect_words(report.suggested)]
        parts.append(f"To read it like that: {shlex.join(words)}")
    elif description is not None:
        parts += _needed(description, report.dialect)
    write_answer(*parts)


def _needed(description: "TableDescription", dialect: Dialect) -> list[str]:
    options = _options(description)
    if options is None:
        return ["mdn fit needs a target, a column of numbers that vary, and another that varies."]
    options = [shlex.quote(word) for word in dialect_words(dialect)] + options
    return [f"mdn fit needs these options: {' '.join(options)}"] if options else []


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
                listed(column.examples, 3),
            ]
        )
    return TextTable(rows, titles)
