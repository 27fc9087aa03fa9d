"""`mdn inspect`."""

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mdncli.commands.console import answer, say
from mdncli.commands.streams import input_name, read_input, write_json
from mdncli.commands.telling import WHY_STOPPED, components, fold_rows, nats
from mdncli.words import listed, quoted

if TYPE_CHECKING:
    from rich.table import Table

    from mdncli.density.model import ConditionalDensity
    from mdncli.tables.description import TableDescription

# Of the zip archive that a model file is.
_MODEL_BEGINS = b"PK\x03\x04"
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def inspect(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A model that mdn fit wrote, or a CSV; - for standard input."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say what a model file is, or what a table holds.

    Example: mdn inspect model.pt

    Example: mdn inspect data.csv
    """
    content = read_input(file)
    if content.startswith(_MODEL_BEGINS):
        from mdncli import checkpoint

        density = checkpoint.load(content, input_name(file))
        if as_json:
            write_json({"kind": "model", **density.describe()})
        else:
            _tell_model(density)
        return
    from mdncli.tables.description import describe_table
    from mdncli.tables.reader import parse_csv

    _say_what_separates(content)
    table = describe_table(parse_csv(content, input_name(file)))
    if as_json:
        write_json({"kind": "table", **table.to_plain()})
    else:
        _tell_table(table)


def _tell_model(density: "ConditionalDensity") -> None:
    architecture, record, origin = density.architecture, density.record, density.origin
    widths = ",".join(map(str, architecture.hidden))
    best = sorted(set(record.best_epochs))
    rows = [
        ("members, components", f"{len(density.networks)} of {architecture.mixtures}"),
        ("hidden layers", f"{widths}, {architecture.activation}"),
        ("frequencies", str(architecture.frequencies)),
        ("covariance", architecture.covariance),
        ("settings", _settings(density.settings)),
        ("rows", f"{record.rows}, {record.rows_valid} of them held out"),
        *((f"tried K = {tried}", nats(nll)) for tried, nll in record.tried.items()),
        *fold_rows(record.cv),
        ("NLL, training", nats(record.nll_train)),
        ("NLL, validation", nats(record.nll_valid)),
    ]
    without_x = record.reference["nll_valid"], record.reference["nll_train"]
    if not all(map(math.isnan, without_x)):
        rows.append(("NLL without x", nats(*without_x)))
    if density.baseline and not math.isnan(density.baseline.nll):
        rows.append(("NLL, least squares", nats(density.baseline.nll)))
    rows += [
        (
            "training",
            f"{WHY_STOPPED[record.stopped]}; best epoch {best[0]}"
            + (f" to {best[-1]}" if len(best) > 1 else "")
            + f" of {record.epochs}; faults: {record.faults}",
        ),
        ("made by", origin.command or "unknown"),
        ("training table", f"SHA-256 {origin.table_sha256 or 'unknown'}"),
        ("versions", ", ".join(f"{k} {v}" for k, v in origin.versions.items()) or "unknown"),
    ]
    reports = components(record.components) if record.components else []
    answer(_columns(density), _in_pairs(rows), *reports)


def _settings(settings: dict[str, Any]) -> str:
    return ", ".join(
        f"{name}={value}" for name, value in settings.items() if value not in (None, False)
    )


def _columns(density: "ConditionalDensity") -> "Table":
    titles = ["column", "role", "lowest", "median", "highest", "step", "smallest σ"]
    bounded = density.schema.bounded
    table = _new_table(*titles, *(("above", "below") if bounded else ()))
    for feature in density.schema.features:
        table.add_row(quoted(feature.name), "feature", *_range(feature), "", "")
    for target in density.schema.targets:
        step = "continuous" if target.step is None else f"{target.step:g}"
        ends = ["" if end is None else f"{end:g}" for end in (target.lower, target.upper)]
        floor = f"{target.min_sigma:.3g}"
        if target.bounds:
            floor += f" of {_harmless(target.bounds.scale_name(target.name))}"
        cells = [quoted(target.name), "target", *_range(target), step, floor]
        table.add_row(*cells, *(ends if bounded else ()))
    return table


def _tell_table(description: "TableDescription") -> None:
    table = _new_table(
        "column", "kind", "empty", "distinct", "lowest", "median", "highest", "step", "texts"
    )
    for column in description.columns:
        ends = _range(column) if column.kind in ("number", "mixed") else ("", "", "")
        step = "" if column.step is None else f"{column.step:g}"
        table.add_row(
            quoted(column.name),
            column.kind,
            str(column.missing) if column.missing else "",
            str(column.distinct),
            *ends,
            step,
            listed(column.examples, 3),
        )
    counts = _counted(description.rows, "row"), _counted(len(description.columns), "column")
    lines: list[Any] = [", ".join(counts), table]
    if description.options is None:
        lines.append("mdn fit needs two columns of numbers that vary, without empty cells.")
    elif description.options:
        lines.append(f"mdn fit would need: {_harmless(' '.join(description.options))}")
    answer(*lines)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _say_what_separates(content: bytes) -> None:
    header = content[: content.find(b"\n")].decode("utf-8", "replace")
    for separator, name in _SEPARATORS.items():
        if separator in header and "," not in header:
            say(f"the header has {name} and no commas: mdn reads fields separated by commas.")


def _range(column: Any) -> tuple[str, str, str]:
    return f"{column.lowest:g}", f"{column.median:g}", f"{column.highest:g}"


def _new_table(*columns: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for position, name in enumerate(columns):
        table.add_column(name, justify="left" if position < 2 else "right")
    return table


def _in_pairs(rows: list[tuple[str, str]]) -> "Table":
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in rows:
        table.add_row(name, _harmless(value))
    return table


def _harmless(text: str) -> str:
    """Return text with whatever could disturb a terminal escaped."""
    return quoted(text, len(text))[1:-1]
