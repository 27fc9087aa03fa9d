"""`mdn inspect`."""

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mdncli.commands.console import answer, input_name, read_input, write_json
from mdncli.commands.inspect_table import harmless, see_table, tell_table
from mdncli.commands.reading import OnBadRows, reads_tables
from mdncli.commands.telling import WHY_STOPPED, components, fold_rows, nats
from mdncli.tables.dialect import Dialect
from mdncli.text import quoted

if TYPE_CHECKING:
    from rich.table import Table

    from mdncli.density.model import ConditionalDensity

# Of the zip archive that a model file is.
_MODEL_BEGINS = b"PK\x03\x04"


@reads_tables
def inspect(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A model that mdn fit wrote, or a table; - for standard input."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    *,
    dialect: Dialect,
    on_bad_rows: OnBadRows,
) -> None:
    """Say what a model file is, or what a table holds and how it is to be read.

    Example: mdn inspect model.pt

    Example: mdn inspect data.csv
    """
    content = read_input(file)
    if content.startswith(_MODEL_BEGINS):
        from mdncli.modelfile import reader as checkpoint

        density = checkpoint.load(content, input_name(file))
        if as_json:
            write_json({"kind": "model", **density.describe()})
        else:
            _tell_model(density)
        return
    seen = see_table(content, file, dialect, skip_bad_rows=on_bad_rows == "skip")
    if as_json:
        write_json(seen.to_plain())
    else:
        tell_table(seen)


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
    if density.schema.weight:
        rows.append(("weighted by", quoted(density.schema.weight)))
    rows += [
        (f"levels of {quoted(feature.name)}", feature.range)
        for feature in density.schema.features
        if not feature.waves
    ]
    reports = components(record.components) if record.components else []
    answer(_columns(density), _in_pairs(rows), *reports)


def _settings(settings: dict[str, Any]) -> str:
    return ", ".join(
        f"{name}={value}" for name, value in settings.items() if value not in (None, False)
    )


def _columns(density: "ConditionalDensity") -> "Table":
    titles = ["column", "role", "kind", "lowest", "median", "highest", "step", "smallest σ"]
    bounded = density.schema.bounded
    table = _new_table(*titles, *(("above", "below") if bounded else ()))
    for feature in density.schema.features:
        kind = f"{feature.kind}{', may be empty' if feature.gaps else ''}"
        table.add_row(quoted(feature.name), "feature", kind, *feature.three_points())
    for target in density.schema.targets:
        step = "continuous" if target.step is None else f"{target.step:g}"
        ends = ["" if end is None else f"{end:g}" for end in (target.lower, target.upper)]
        floor = f"{target.min_sigma:.3g}"
        if target.bounds:
            floor += f" of {harmless(target.bounds.scale_name(target.name))}"
        cells = [quoted(target.name), "target", "number", *_range(target), step, floor]
        table.add_row(*cells, *(ends if bounded else ()))
    return table


def _range(column: Any) -> tuple[str, str, str]:
    return f"{column.lowest:g}", f"{column.median:g}", f"{column.highest:g}"


def _new_table(*columns: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name in ("column", "role", "kind") else "right")
    return table


def _in_pairs(rows: list[tuple[str, str]]) -> "Table":
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in rows:
        table.add_row(name, harmless(value))
    return table
