"""What people see of a fit and of its model: columns, progress, scores, components, warnings."""

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean, stdev
from time import perf_counter
from types import FrameType
from typing import Any

import numpy as np

from mdncli.api import fit
from mdncli.api import inspect as inspect_file
from mdncli.columns.dataset import Dataset
from mdncli.columns.kinds import why_kind
from mdncli.columns.schema import Schema, Target
from mdncli.commands import handling_signals, interrupt, status_of
from mdncli.commands.console import (
    STANDARD,
    ReportOfSpool,
    TextTable,
    as_flags,
    progress_module,
    rich_console,
    say,
    source,
    warn,
    write_answer,
    writing,
)
from mdncli.commands.options import command_line
from mdncli.conditional_density import ConditionalDensity
from mdncli.density.model import MemberReport, MixtureDensityNetwork
from mdncli.files import remove_leftovers
from mdncli.text import listed, quoted
from mdncli.types import Array

_WHY_STOPPED = {
    "epochs": "all epochs done",
    "patience": "validation NLL no longer falls",
    "time": "the time limit",
    "interrupted": "interrupted",
    "faults": "NaN, inf or an exploding loss",
}
# One component does all the work above this share of the weight.
_ALONE = 0.999
_MUCH_AT_MIN_SIGMA = 0.5
_MOST_COMPONENTS_SHOWN = 12
# In nats: a validation NLL that is less far below that of the marginal shows nothing.
_LEARNED_NOTHING = 0.005

__all__ = ["ConditionalDensity", "fit_and_report", "inspect_file", "model_as_json", "show_model"]

ShowEpoch = Callable[[Any], None]


def fit_and_report(
    data: str,
    parameters: dict[str, Any],
    output: str | None,
    more: dict[str, Any],
    *,
    quiet: bool,
) -> tuple[dict[str, Any], int]:
    """Fit a model, write it, and show how it went.

    Args:
        data: a path, or `-`.
        parameters: of `FitOptions`, `Settings` and `Dialect`.
        output: the model file, or `-`; None to write none.
        more: other arguments of `mdncli.fit`: of a checkpoint, and of rows on disk.
        quiet: whether to show errors and warnings only.

    Returns:
        What `--json` prints, and the exit status.

    Raises:
        Interrupted: a signal came before there was a model to keep, or a second one came.
    """
    started = perf_counter()
    times, left_out = dict[str, float](), dict[str, int]()

    def prepared(dataset: Dataset, schema: Schema) -> None:
        times["read"] = perf_counter() - started
        left_out.update(dataset.left_out)
        if not quiet:
            _show_columns(dataset, schema, parameters)

    # The time of the last epoch of every fit, since a cross-validation fits several times.
    seconds: dict[str, float] = {}
    interruption, arguments = _Interruption(), _arguments({**parameters, **more}, quiet=quiet)
    with handling_signals(interruption.handle), _progress(quiet=quiet) as show:

        def progress(epoch: Any) -> None:
            interruption.learning = not epoch.fold
            seconds[epoch.fold] = epoch.seconds
            show(epoch)

        def stop() -> bool:
            return interruption.number > 0

        model = fit(source(data), progress=progress, prepared=prepared, stop=stop, **arguments)
        times["train"] = sum(seconds.values())
        if output is None:
            return {}, 0
        with writing(output) as stream:
            model.write(stream)
    times["total"] = perf_counter() - started
    if not quiet:
        _show_result(model, times, output)
    _warn_of_result(model.network)
    result = {**_result(model.network, output), "seconds": times, "left_out": left_out}
    _end_checkpoint(more.get("checkpoint", ""), result["stopped"])
    number = interruption.number
    return result, status_of(number) if number else int(result["stopped"] == "faults")


def _arguments(given: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Return the arguments of `mdncli.fit`: rows on standard input are read."""
    file = given.get("valid_file")
    spooling = {} if quiet else {"spooling": ReportOfSpool().show}
    return {**given, "valid_file": None if file is None else source(file), **spooling}


def _end_checkpoint(path: str, stopped: str) -> None:
    """Remove a checkpoint of learning that is over, or say how to go on from it."""
    if path:
        remove_leftovers(path)
    if not os.path.exists(path):
        return
    if stopped == "interrupted":
        say(f"{path} holds the state of learning. Add --resume to the same command to go on.")
    else:
        os.unlink(path)


def _result(network: MixtureDensityNetwork, output: str) -> dict[str, Any]:
    record, schema = network.record, network.schema
    return {
        "model": output,
        "features": schema.feature_names,
        "kinds": {feature.name: feature.kind for feature in schema.features},
        "target": schema.target_names,
        "target_kinds": {target.name: target.kind for target in schema.targets},
        "rows": record.rows,
        "members": len(network.main.networks),
        "mixtures": network.main.architecture.mixtures,
        "rungs": network.summaries_of_rungs(),
        "background": network.background.weight if network.background else math.nan,
        "memory": network.memory.summary(),
        "forest": network.memory.summary().get("forest"),
        "nll_train": record.nll_train,
        "nll_valid": record.nll_valid,
        "nll_unconditional": record.reference["nll_valid"],
        "nll_baseline": network.baseline.nll if network.baseline else math.nan,
        "resolution": math.nan if schema.resolution is None else schema.resolution,
        "epochs": record.epochs,
        "stopped": record.stopped,
        "faults": record.faults,
        "tried": {str(candidate): nll for candidate, nll in record.tried.items()},
        "components": [vars(member) for member in record.components],
        "cv": record.cv,
    }


# Before learning.


def _show_columns(dataset: Dataset, schema: Schema, parameters: dict[str, Any]) -> None:
    """Say which columns are which, of what kind and why, and what they hold."""
    say(f"target: {listed(schema.target_names)}; features: {listed(schema.feature_names)}.")
    missing = np.isnan(dataset.x).sum(axis=0)
    names = [*schema.feature_names, *schema.target_names]
    rows = [
        [
            quoted(feature.name),
            feature.kind,
            as_flags(why_kind(feature, parameters, names)),
            str(count or ""),
            feature.range,
        ]
        for feature, count in zip(schema.features, missing, strict=True)
    ]
    rows += [
        [
            quoted(t.name),
            f"{t.kind}, target",
            "",
            "",
            f"{t.lowest:g} to {t.highest:g}",
        ]
        for t in schema.targets
    ]
    say(TextTable(rows, ["column", "kind", "why", "missing", "range or categories"], left=5))
    for target, values in zip(schema.targets, dataset.y.T, strict=True):
        _say_kind(target, values, named="atom" in parameters)
    if dataset.known is not None:
        [target] = schema.targets
        of_u = target.transform.name_of_u(target.name)
        learned = f" It is learned as {of_u}." if of_u != target.name else ""
        say(
            f"In {int((~dataset.known).sum())} of {len(dataset)} rows, {quoted(target.name)} is "
            f"only known to exceed its value.{learned}"
        )


def _say_kind(target: Target, values: Array, *, named: bool) -> None:
    """Say what the values of a target stand for, and how to change that; `named`: by an option."""
    name, continuous = quoted(target.name), "--target-kind continuous gives a density instead."
    of_u = target.transform.name_of_u(target.name)
    if target.rounded:
        ends = "" if target.lower is None else f" from {target.lower:g} on"
        say(
            f"{name} is rounded: the model gives the probabilities of values {target.step:g} "
            f"apart{ends}. {continuous}"
        )
    elif target.period is not None:
        say(
            f"{name} is an angle with the period {target.period:g}: its mean, its intervals and "
            "its errors are on the circle."
        )
    elif target.step is not None:
        where = "With bounds, this minimum applies at the median, for the mixture itself. "
        say(
            f"{name} was recorded in steps of {target.step:g}, so no σ is below "
            f"{target.min_sigma:.3g}. {'' if of_u == target.name else where}"
            "--min-sigma sets another minimum."
        )
    for atom in target.atoms:
        say(
            f"{name} is {atom:g} in {(values == atom).mean():.0%} of the rows, so the model also "
            f"learns the probability of that value. {'' if named else continuous}".rstrip()
        )
    if target.atoms and of_u != target.name:
        say(f"The other values are learned as {of_u}.")
    for limit, most, at in (
        (target.censor_below, "most", values <= (target.censor_below or 0.0)),
        (target.censor_above, "least", values >= (target.censor_above or 0.0)),
    ):
        if limit is not None:
            say(f"{int(at.sum())} values of {name} only say that it is at {most} {limit:g}.")


class _Interruption:
    """Notes a signal while learning goes on; at any other time, and the second time, raises.

    Attributes:
        number: of the signal; 0 if there was none.
        learning: whether there is a model to keep.
    """

    def __init__(self) -> None:
        self.number, self.learning = 0, False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note a signal, or raise `Interrupted`."""
        at_once = self.number or not self.learning
        self.number = number
        if at_once:
            interrupt(number, frame)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[ShowEpoch]:
    """Yield a function that shows an epoch: on a live line, in a few plain lines, or not at all."""
    if quiet:
        yield lambda epoch: None
    elif sys.stderr.isatty():
        with _live() as show:
            yield show
    else:
        yield _show_some


def _show_some(epoch: Any) -> None:
    """Write about ten lines in all, for a log."""
    tenth = max(1, epoch.epochs // 10)
    if epoch.epoch == 1 or epoch.epoch % tenth == 0:
        valid = "" if math.isnan(epoch.nll_valid) else f"  {epoch.nll_valid:.4f} valid"
        say(
            f"{_name(epoch)}  NLL {epoch.nll_train:.4f} train{valid}  "
            f"(marginal reference {epoch.reference:.4f})  {epoch.seconds:.1f} s"
        )


@contextmanager
def _live() -> Iterator[ShowEpoch]:
    rich_progress = progress_module()
    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.TextColumn(
            "NLL {task.fields[train]:.4f} train {task.fields[valid]:.4f} valid "
            "(marginal reference {task.fields[reference]:.4f})"
        ),
        rich_progress.TimeRemainingColumn(),
    )
    tasks: dict[str, Any] = {}
    console = rich_console(stderr=True)
    with rich_progress.Progress(*columns, console=console, transient=True) as progress:

        def show(epoch: Any) -> None:
            figures: dict[str, Any] = {
                "train": epoch.nll_train,
                "valid": epoch.nll_valid,
                "reference": epoch.reference,
            }
            name = _stage(epoch)
            if name not in tasks:
                tasks[name] = progress.add_task("", total=epoch.epochs, **figures)
            progress.update(tasks[name], completed=epoch.epoch, description=_name(epoch), **figures)

        yield show


def _name(epoch: Any) -> str:
    return f"{_stage(epoch)}epoch {epoch.epoch}/{epoch.epochs}"


def _stage(epoch: Any) -> str:
    """Return the fold and the stage of an epoch, as the beginning of a text."""
    return f"{epoch.fold} {epoch.stage}" if epoch.fold else str(epoch.stage)


# After learning.


def _show_result(model: ConditionalDensity, seconds: dict[str, float], output: str) -> None:
    """Write the scores, the seconds of each part, and the report on the components."""
    network, schema = model.network, model.schema
    record = network.record
    held_out = f"{record.rows_valid} of them held out"
    if record.rows_valid == record.rows:
        held_out = "each held out by a member"
    rest = seconds["total"] - seconds["read"] - seconds["train"]
    time = (
        f"{seconds['read']:.2f} s reading, {seconds['train']:.2f} s learning, "
        f"{rest:.2f} s importing and writing"
    )
    rows = [
        ("rows", f"{record.rows}, {held_out}"),
        ("target", listed(schema.target_names)),
        ("features", listed(schema.feature_names)),
        *_shape(network),
        *_scores(network),
        ("stopped", f"{_WHY_STOPPED[record.stopped]}; {_best_epochs(network)}"),
        ("time", time),
        ("model", "standard output" if output == STANDARD else output),
    ]
    say(TextTable(rows), *_ladder(network), *_component_report(network))
    if min(record.nll_train, record.nll_valid) < 0.0:
        say(
            "A negative NLL is not an error: the density exceeds 1 where y is known to within less."
        )


# What is said about each part of a memory.
_MEMORY = {
    "forest": "{trees} trees, whose leaves hold single targets of the table",
    "boosted": "{trees} trees of {levels} levels",
    "neighbours": "the file holds {rows} training rows: {inputs} inputs and the target of each",
}


def _shape(network: MixtureDensityNetwork) -> list[tuple[str, str]]:
    """Return what the model consists of, as rows of a table."""
    main, rows = network.main, []
    rows.append(("members, components", f"{len(main.networks)} of {main.architecture.mixtures}"))
    scale, temperature = main.sigma_scale, main.temperature
    if (scale, temperature) != (1.0, 1.0):
        rows.append(
            ("calibration", f"σ times {scale:.3g}, π to the power of {1 / temperature:.3g}")
        )
    if network.background is not None:
        rows.append(("background", f"component 0, weight {network.background.weight:.3g}"))
    sizes = network.memory.summary()
    rows += [(name, _MEMORY[name].format(**size)) for name, size in sizes.items()]
    return rows


def _ladder(network: MixtureDensityNetwork) -> list[TextTable]:
    """Return the rungs of the ladder with their weights, if there are several or a simple one."""
    if len(network.rungs) == 1 and network.main.name == "networks":
        return []
    rows = [
        [
            " + ".join([rung.name, *rung.reads]),
            f"{len(rung.networks)} of {rung.architecture.mixtures}",
            f"{rung.weight:.1%}",
            _nats(rung.nll),
        ]
        for rung in sorted(network.rungs, key=lambda rung: -rung.weight)
    ]
    return [TextTable(rows, ["model", "members, components", "weight", "NLL alone, held out"])]


def _scores(network: MixtureDensityNetwork) -> list[tuple[str, str]]:
    """Return the NLLs of a fit, with those of its folds and references, as rows of a table."""
    record = network.record
    rows = [(f"tried K = {tried}", _nats(nll)) for tried, nll in record.tried.items()]
    rows += [
        *_folds(record.cv),
        ("NLL, training", _nats(record.nll_train)),
        ("NLL, validation", _nats(record.nll_valid)),
    ]
    reference = record.reference["nll_valid"], record.reference["nll_train"]
    if not all(map(math.isnan, reference)):
        rows.append(("NLL, marginal reference", _nats(*reference)))
    if network.baseline and not math.isnan(network.baseline.nll):
        rows.append(("NLL, least squares", _nats(network.baseline.nll)))
    return rows


def _folds(folds: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    rows = []
    for number, fold in enumerate(folds, start=1):
        score = f"NLL {fold['nll']:.4f}"
        if not isinstance(fold["crps"], dict):
            covered = fold["coverage"]["0.9"]
            score += f", CRPS {fold['crps']:.4g}, 90% intervals cover {covered:.1%}"
        rows.append((f"fold {number}", score))
    if rows:
        nlls = [fold["nll"] for fold in folds]
        error = stdev(nlls) / math.sqrt(len(nlls)) if len(nlls) > 1 else math.nan
        rows.append(("all folds", f"NLL {fmean(nlls):.4f} ± {error:.4f} (standard error)"))
    return rows


def _nats(value: float, instead: float = math.nan) -> str:
    """Return an NLL in words, or the other one if the first is not a number."""
    value = instead if math.isnan(value) else value
    return "no rows held out" if math.isnan(value) else f"{value:.4f} nats per row"


def _best_epochs(network: MixtureDensityNetwork) -> str:
    """Return which epochs the members keep, in words."""
    best = sorted(set(network.record.best_epochs))
    kept = f"{best[0]}" if len(best) == 1 else f"{best[0]} to {best[-1]}"
    return f"best epoch {kept} of {network.record.epochs}"


def _component_report(network: MixtureDensityNetwork) -> list[TextTable | str]:
    """Return how the components of the main rung are used.

    There is a row for each component, with the number that other answers give it, or for each of
    several members.
    """
    members = network.record.components
    if not members:
        return []
    if len(members) > 1:
        figures = [_figures(member) for member in members]
        mean = [sum(each) / len(members) for each in zip(*figures, strict=True)]
        names = [*map(str, range(1, len(members) + 1)), "mean"]
        rows = [[name, *_formatted(f)] for name, f in zip(names, [*figures, mean], strict=True)]
        titles = ["member", "heaviest", "lightest", "effective", "duplicates"]
        return [TextTable(rows, [*titles, "weight at minimum σ"], left=0)]
    [member] = members
    shares = list(zip(member.weight, member.leads, member.at_floor, strict=True))
    heaviest = sorted(range(len(shares)), key=lambda k: -shares[k][0])[:_MOST_COMPONENTS_SHOWN]
    before = network.rungs[: network.rungs.index(network.main)]
    first = 1 + sum(rung.components for rung in before)
    rows = [[str(k + first), *(f"{share:.1%}" for share in shares[k])] for k in sorted(heaviest)]
    titles = ["component", "mean weight", "heaviest in", "at minimum σ in"]
    return [
        TextTable(rows, titles, left=0),
        f"effective components: {member.effective:.1f} of {len(shares)}; "
        f"duplicates: {member.duplicates}",
    ]


def _figures(member: MemberReport) -> list[float]:
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


def _warn_of_result(network: MixtureDensityNetwork) -> None:
    """Warn of what makes the model worse than it seems."""
    record, mixtures = network.record, network.main.architecture.mixtures
    if record.stopped == "faults":
        warn("learning failed three times; the best model before that was written.")
    elif record.faults:
        warn(
            f"in {record.faults} epochs the loss was NaN, inf or exploding; each was undone, and "
            "learning continued at a lower rate."
        )
    _warn_of_resolution(network)
    reference = record.reference["nll_valid"]
    if record.nll_valid > reference - _LEARNED_NOTHING:
        warn(
            f"the features tell nothing about {listed(network.schema.target_names)} beyond its "
            "marginal. Look for outliers in the table. If the target is positive and skewed, try "
            "--lower 0."
        )
    members = record.components
    if mixtures > 1 and any(max(member.weight) > _ALONE for member in members):
        warn(f"one of the {mixtures} components does all the work. Try -k 1 or -k auto.")
    elif any(member.duplicates >= max(1, mixtures - 1) for member in members):
        warn(f"all {mixtures} components are alike. Try -k 1 or -k auto.")
    continuous = all(target.step is None for target in network.schema.targets)
    if continuous and any(member.weight_at_floor > _MUCH_AT_MIN_SIGMA for member in members):
        warn(
            f"σ is at its minimum for most of the weight. {listed(network.schema.target_names)} "
            "seems to be known almost exactly from the features, or rows are repeated."
        )


def _warn_of_resolution(network: MixtureDensityNetwork) -> None:
    resolution = network.schema.resolution
    nlls = network.record.nll_train, network.record.nll_valid
    lowest = min((nll for nll in nlls if not math.isnan(nll)), default=math.inf)
    if resolution is not None and lowest < resolution:
        warn(
            f"the NLL of {lowest:.4f} is lower than the steps of the target support, "
            f"{resolution:.4f}. Use a larger --min-sigma, or none."
        )


# Of a model file.


def model_as_json(model: ConditionalDensity) -> dict[str, Any]:
    """Return what a model is, with the command line that fits it."""
    plain = {"kind": "model", **model.describe()}
    origin = model.network.origin
    plain["origin"] = {"command": command_line(origin.request, origin.dialect), **plain["origin"]}
    return plain


def show_model(model: ConditionalDensity) -> None:
    """Write what a model is to standard output."""
    network, schema = model.network, model.schema
    architecture, record, origin = network.main.architecture, network.record, network.origin
    widths = ",".join(map(str, architecture.hidden))
    given = [f"{k}={v}" for k, v in network.settings.items() if v not in (None, False)]
    versions = ", ".join(f"{name} {version}" for name, version in origin.versions.items())
    rows = [
        *_shape(network),
        ("hidden layers", f"{widths}, {architecture.activation}" if widths else "none"),
        ("frequencies", str(architecture.frequencies)),
        ("covariance", architecture.covariance),
        ("settings", ", ".join(given)),
        ("rows", f"{record.rows}, {record.rows_valid} of them held out"),
        *_scores(network),
        (
            "training",
            f"{_WHY_STOPPED[record.stopped]}; {_best_epochs(network)}; faults: {record.faults}",
        ),
        ("made by", command_line(origin.request, origin.dialect) or "unknown"),
        ("training table", f"SHA-256 {origin.table_sha256 or 'unknown'}"),
        ("versions", versions or "unknown"),
    ]
    if schema.weight:
        rows.append(("weighted by", quoted(schema.weight)))
    if schema.event:
        rows.append(("event", f"{quoted(schema.event)} says where the target is known"))
    rows += [
        (f"levels of {quoted(feature.name)}", feature.range)
        for feature in schema.features
        if feature.kind == "category"
    ]
    parts = *_ladder(network), *_component_report(network)
    write_answer(_model_columns(model), TextTable(rows), *parts)


def _model_columns(model: ConditionalDensity) -> TextTable:
    schema = model.schema
    titles = ["column", "role", "kind", "lowest", "median", "highest", "step", "minimum σ"]
    rows = []
    for feature in schema.features:
        kind = f"{feature.kind}{', may be empty' if feature.allows_missing else ''}"
        rows.append([quoted(feature.name), "feature", kind, *feature.three_points()])
    for target in schema.targets:
        step = "continuous" if target.step is None else f"{target.step:g}"
        smallest = f"{target.min_sigma:.3g}"
        of_u = target.transform.name_of_u(target.name)
        smallest += f" of {of_u}" if of_u != target.name else ""
        numbers = (target.lowest, target.median, target.highest)
        row = [quoted(target.name), "target", target.kind, *(f"{number:g}" for number in numbers)]
        # Beside an atom, the bound is only slightly beyond it.
        bounds = (None, None) if target.atoms else (target.lower, target.upper)
        ends = ["" if end is None else f"{end:g}" for end in bounds]
        rows.append([*row, step, smallest, *(ends if schema.bounded else ())])
    return TextTable(rows, [*titles, *(("above", "below") if schema.bounded else ())], left=3)
