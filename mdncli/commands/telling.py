"""What `mdn fit` says at the end: the small table, the report on the components, and warnings."""

import math
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from mdncli.commands.console import STANDARD, error_console, say, warn
from mdncli.text import listed

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from mdncli.density.model import ConditionalDensity
    from mdncli.density.record import MemberReport

WHY_STOPPED = {
    "epochs": "all epochs done",
    "patience": "validation NLL no longer falls",
    "time": "the time limit",
    "interrupted": "interrupted",
    "faults": "NaN, inf or a blown-up loss",
}
# Shares of a member's weight: above these, components are collapsed.
_ALONE = 0.999
_MUCH_AT_FLOOR = 0.5
_MOST_COMPONENTS_SHOWN = 12


def tell(density: "ConditionalDensity", seconds: dict[str, float], output: str) -> None:
    """Write the small table, with the seconds of each part, and the report on the components."""
    from rich.table import Table

    record, schema = density.record, density.schema
    table = Table(show_header=False, box=None, pad_edge=False)
    rows = [
        ("rows", f"{record.rows}, {_held_out(record.rows, record.rows_valid)}"),
        ("target", listed(schema.target_names)),
        ("features", listed(schema.feature_names)),
        ("members, components", f"{len(density.networks)} of {density.architecture.mixtures}"),
        *((f"tried K = {tried}", nats(nll)) for tried, nll in record.tried.items()),
        *fold_rows(record.cv),
        ("NLL, training", nats(record.nll_train)),
        ("NLL, validation", nats(record.nll_valid)),
        ("NLL without x", nats(record.reference["nll_valid"], record.reference["nll_train"])),
    ]
    if density.baseline:
        rows.append(("NLL, least squares", nats(density.baseline.nll)))
    best = sorted(set(record.best_epochs))
    kept = f"{best[0]}" if len(best) == 1 else f"{best[0]} to {best[-1]}"
    rows += [
        ("stopped", f"{WHY_STOPPED[record.stopped]}; best epoch {kept} of {record.epochs}"),
        ("time", _time(seconds)),
        ("model", "standard output" if output == STANDARD else output),
    ]
    for name, value in rows:
        table.add_row(name, value)
    error_console().print(table)
    error_console().print(*components(record.components), sep="\n")
    if min(record.nll_train, record.nll_valid) < 0.0:
        say("A negative NLL is no mistake: the density exceeds 1 where y is known to within less.")


def fold_rows(folds: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return the scores of a cross-validation as rows of a table: each fold's and their mean."""
    if not folds:
        return []
    rows = []
    for number, fold in enumerate(folds, start=1):
        score = f"NLL {fold['nll']:.4f}"
        if not isinstance(fold["crps"], dict):
            covered = fold["coverage"]["0.9"]
            score += f", CRPS {fold['crps']:.4g}, 90% intervals cover {covered:.1%}"
        rows.append((f"fold {number}", score))
    nlls = [fold["nll"] for fold in folds]
    spread = stdev(nlls) / math.sqrt(len(nlls)) if len(nlls) > 1 else math.nan
    return [*rows, ("all folds", f"NLL {fmean(nlls):.4f} ± {spread:.4f} (standard error)")]


def _time(seconds: dict[str, float]) -> str:
    rest = seconds["total"] - seconds["read"] - seconds["train"]
    return (
        f"{seconds['read']:.2f} s reading, {seconds['train']:.2f} s learning, "
        f"{rest:.2f} s importing and writing"
    )


def _held_out(rows: int, held_out: int) -> str:
    if held_out == rows:
        return "each held out by a member"
    return f"{held_out} of them held out"


def nats(value: float, instead: float = math.nan) -> str:
    """Return an NLL in words, or the other one if the first is not a number."""
    value = instead if math.isnan(value) else value
    return "none held out" if math.isnan(value) else f"{value:.4f} nats a row"


def components(members: list["MemberReport"]) -> list["RenderableType"]:
    """Return how each component is used: a row each for one member, a row a member for several."""
    if len(members) > 1:
        figures = [_figures(member) for member in members]
        mean = [sum(each) / len(members) for each in zip(*figures, strict=True)]
        names = [*map(str, range(1, len(members) + 1)), "mean"]
        rows = [[name, *_formatted(f)] for name, f in zip(names, [*figures, mean], strict=True)]
        titles = ["member", "heaviest", "lightest", "effective", "duplicates"]
        return [_table([*titles, "weight at σ's floor"], rows)]
    [member] = members
    shares = list(zip(member.weight, member.leads, member.at_floor, strict=True))
    heaviest = sorted(range(len(shares)), key=lambda k: -shares[k][0])[:_MOST_COMPONENTS_SHOWN]
    rows = [[str(k + 1), *(f"{share:.1%}" for share in shares[k])] for k in sorted(heaviest)]
    return [
        _table(["component", "mean weight", "leads on", "σ at its floor on"], rows),
        f"effective components: {member.effective:.1f} of {len(shares)}; "
        f"duplicates: {member.duplicates}",
    ]


def _table(columns: list[str], rows: list[list[str]]) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def _figures(member: "MemberReport") -> list[float]:
    return [
        max(member.weight),
        min(member.weight),
        member.effective,
        float(member.duplicates),
        member.weight_at_floor,
    ]


def _formatted(figures: list[float]) -> list[str]:
    heaviest, lightest, effective, duplicates, at_floor = figures
    shares = f"{heaviest:.1%}", f"{lightest:.1%}"
    return [*shares, f"{effective:.1f}", f"{duplicates:g}", f"{at_floor:.1%}"]


def warn_of_the_result(density: "ConditionalDensity") -> None:
    """Warn of what makes the model less than it seems."""
    record, mixtures = density.record, density.architecture.mixtures
    if record.stopped == "faults":
        warn("learning went wrong three times; the best model before that was written.")
    elif record.faults:
        warn(
            f"{record.faults} times an epoch met NaN, inf or a blown-up loss; it was undone and "
            "learning went on at a lower rate."
        )
    resolution = density.schema.resolution
    lowest = min(v for v in (record.nll_train, record.nll_valid, math.inf) if not math.isnan(v))
    if resolution is not None and lowest < resolution:
        warn(
            f"an NLL of {lowest:.4f} claims more than was recorded: steps as fine as the target's "
            f"allow {resolution:.4f} at best. Give a larger --min-sigma, or none."
        )
    members = record.components
    if mixtures > 1 and any(max(member.weight) > _ALONE for member in members):
        warn(f"one of the {mixtures} components does all the work; -k 1 would do, or -k auto.")
    elif any(member.duplicates >= max(1, mixtures - 1) for member in members):
        warn(f"all {mixtures} components do the same; -k 1 would do, or -k auto.")
    continuous = all(target.step is None for target in density.schema.targets)
    if continuous and any(member.weight_at_floor > _MUCH_AT_FLOOR for member in members):
        warn(
            f"σ is at its floor over most of the weight: {listed(density.schema.target_names)} "
            "seems to be known almost exactly from the features, or rows are repeated."
        )
