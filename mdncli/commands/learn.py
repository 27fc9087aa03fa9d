"""What `mdn fit` does: read the table, learn, write the model file, and tell how it went."""

import hashlib
import math
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

from mdncli.commands.console import say, warn
from mdncli.commands.options import bounds_of_targets, named_columns, smallest_sigmas
from mdncli.commands.progress import stop_on_interrupt, watch
from mdncli.commands.streams import (
    STANDARD,
    input_name,
    only_one_from_standard_input,
    open_table,
    read_input,
    spare_inputs,
    writing,
)
from mdncli.commands.telling import tell, warn_of_the_result
from mdncli.errors import DataError, UsageError
from mdncli.files import require_writable
from mdncli.settings import Settings
from mdncli.words import listed, quoted

if TYPE_CHECKING:
    from mdncli.density.evaluation import Evaluation
    from mdncli.density.model import ConditionalDensity
    from mdncli.density.network import Array
    from mdncli.learning.splits import Examples
    from mdncli.tables.reader import Table
    from mdncli.tables.schema import Roles, Schema

_FEW_ROWS = 50
# A step of less than this many standard deviations leaves a target as good as continuous.
_FINE = 0.01
_WIDE_FLOOR = 0.1


@dataclass(frozen=True)
class Request:
    """The table to learn from and the columns that the command line names, as it names them."""

    data: str
    target: list[str] | None = None
    feature: list[str] | None = None
    ignore: list[str] | None = None
    group: str | None = None
    valid_file: str | None = None
    min_sigma: list[str] | None = None
    lower: list[str] | None = None
    upper: list[str] | None = None
    folds: int | None = None
    command: str = ""


@dataclass(frozen=True)
class Lesson:
    """What was read to learn from."""

    examples: "Examples"
    schema: "Schema"
    floors: dict[str, float]
    table_sha256: str


def run(
    request: Request, settings: Settings, output: str, *, quiet: bool, valid_given: bool
) -> dict[str, Any]:
    """Learn as asked, write the model file, and return what `--json` prints."""
    started = perf_counter()
    _check(request, settings, output, valid_given)
    lesson = _read(request, quiet=quiet)
    _warn_of_a_shared_floor(lesson.schema, settings)
    read = perf_counter() - started

    from mdncli import checkpoint

    density, seconds = _learn(lesson, request, settings, quiet=quiet)
    with writing(output) as stream:
        checkpoint.save(density, stream)
    times = {"read": read, "train": seconds, "total": perf_counter() - started}
    if not quiet:
        tell(density, times, output)
    warn_of_the_result(density)
    return _result(density, output, times)


def _learn(
    lesson: Lesson, request: Request, settings: Settings, *, quiet: bool
) -> tuple["ConditionalDensity", float]:
    """Return the density, cross-validated first if that was asked for, and the seconds it took."""
    from mdncli.density.record import Origin
    from mdncli.learning.crossvalidation import cross_validate
    from mdncli.learning.training import fit, versions

    examples, schema = lesson.examples, lesson.schema
    folds: list[Evaluation] = []
    before = 0.0
    with stop_on_interrupt() as stop:
        if request.folds:
            folds, before = watch(
                cross_validate(
                    examples,
                    schema,
                    settings,
                    request.folds,
                    min_sigma=lesson.floors,
                    stop=stop,
                ),
                quiet=quiet,
            )
            if stop():
                # A model of one epoch would replace a good one.
                raise KeyboardInterrupt
        density, seconds = watch(fit(examples, schema, settings, stop=stop), quiet=quiet)
    record = replace(density.record, cv=[fold.to_plain() for fold in folds])
    origin = Origin(request.command, lesson.table_sha256, versions())
    return replace(density, record=record, origin=origin), before + seconds


def _check(request: Request, settings: Settings, output: str, valid_given: bool) -> None:
    """Refuse, before anything is read, what the command line alone shows to be wrong."""
    if request.group and request.valid_file:
        raise UsageError(
            "--group and --valid-file exclude each other: your own rows are not split."
        )
    if request.folds is not None and request.folds < 2:
        raise UsageError(f"--cv is {request.folds}: it must be at least 2.")
    if request.folds and request.valid_file:
        raise UsageError("--cv and --valid-file exclude each other: each fold is held out in turn.")
    inputs = {"DATA": request.data, "--valid-file": request.valid_file}
    only_one_from_standard_input(**inputs)
    spare_inputs(output, *inputs.values())
    if output != STANDARD:
        require_writable(output)
    if valid_given and (settings.members > 1 or request.valid_file):
        why = "--valid-file gives them" if request.valid_file else "several hold out equal parts"
        warn(f"--valid is for the rows that one member holds out; here {why}.")


def _read(request: Request, *, quiet: bool) -> Lesson:
    """Return the rows to learn from and their schema."""
    from mdncli.learning.splits import Examples
    from mdncli.tables.reader import parse_csv
    from mdncli.tables.schema import learnable, require_inside

    content = read_input(request.data)
    table = parse_csv(content, input_name(request.data))
    roles = _roles(request, table)
    x, y = _numbers(table, roles)
    floors = smallest_sigmas(request.min_sigma, roles.targets)
    bounds = bounds_of_targets(request.lower, request.upper, roles.targets)
    schema, kept = learnable(table.source, x, y, roles, min_sigma=floors, bounds=bounds)
    groups = table.codes(request.group) if request.group else None
    own_x = own_y = None
    if request.valid_file:
        own_x, own_y = _numbers(open_table(request.valid_file), roles)
        if not len(own_y):
            raise DataError(f"{request.valid_file}: there are no rows to hold out.")
        own_x = own_x[:, kept]
        require_inside(request.valid_file, own_y, roles.targets, schema.bounds)
    examples = Examples(x[:, kept], y, groups, own_x, own_y)
    _say_what_was_read(examples, schema, roles, quiet=quiet)
    return Lesson(examples, schema, floors, hashlib.sha256(content).hexdigest())


def _roles(request: Request, table: "Table") -> "Roles":
    from mdncli.tables.schema import choose_roles

    targets, features, ignore = (
        named_columns(texts, table.names)
        for texts in (request.target, request.feature, request.ignore)
    )
    if request.group:
        table.require([request.group])
        if request.group in (*targets, *features):
            raise UsageError(
                f"{quoted(request.group)} is the --group, so no target and no feature."
            )
        ignore = [*ignore, request.group]
    return choose_roles(table, targets=targets, features=features, ignore=ignore)


def _numbers(table: "Table", roles: "Roles") -> tuple["Array", "Array"]:
    x = table.numbers(roles.features, remedy=", or leave the column out with --ignore {}")
    return x, table.numbers(roles.targets)


def _say_what_was_read(
    examples: "Examples", schema: "Schema", roles: "Roles", *, quiet: bool
) -> None:
    """Say which columns are which, and what about them a reader should know."""
    from mdncli.tables.steps import pile_of
    from mdncli.tables.suspicions import near_targets

    dropped = [name for name in roles.features if name not in schema.feature_names]
    if dropped:
        warn(f"left out, since constant: {listed(dropped)}.")
    if not quiet:
        say(f"target: {listed(schema.target_names)}; features: {listed(schema.feature_names)}.")
    for position, target in enumerate(schema.targets):
        values = examples.y[:, position]
        if target.step is not None and not quiet:
            where = "step/√(2π), unless --min-sigma says otherwise"
            if target.bounds:
                where = "of the mixture underneath the bounds; at the median " + where
            say(
                f"{quoted(target.name)} was recorded in steps of {target.step:g}, so no σ is below "
                f"{target.min_sigma:.3g} ({where})."
            )
        fine = target.step is None or target.step < _FINE * target.scale
        pile = pile_of(values) if fine else None
        if pile:
            warn(
                f"{pile[1]:.0%} of the rows have {quoted(target.name)} at {pile[0]:g} exactly. A "
                "mixture can only put a narrow component there; consider a model without them."
            )
        for name in near_targets(examples.x, values, schema.feature_names):
            warn(
                f"{quoted(name)} is nearly the target {quoted(target.name)} itself. Is it known "
                "before the target is? If not, leave it out with --ignore."
            )
    if len(examples.y) < _FEW_ROWS:
        warn(f"with {len(examples.y)} rows the validation NLL is unreliable.")


def _warn_of_a_shared_floor(schema: "Schema", settings: Settings) -> None:
    """Warn where the steps of one target keep the sigmas of the others wide."""
    floors = schema.sigma_floor
    widest = int(floors.argmax())
    if settings.covariance == "isotropic" and len(floors) > 1 and floors[widest] > _WIDE_FLOOR:
        warn(
            f"with --covariance isotropic no σ is below {floors[widest]:.2g} standard deviations "
            f"of any target, since {quoted(schema.target_names[widest])} was recorded so coarsely."
        )


def _result(
    density: "ConditionalDensity", output: str, seconds: dict[str, float]
) -> dict[str, Any]:
    """Return what `--json` prints."""
    record = density.record
    resolution = density.schema.resolution
    return {
        "model": output,
        "features": density.schema.feature_names,
        "target": density.schema.target_names,
        "rows": record.rows,
        "members": len(density.networks),
        "mixtures": density.architecture.mixtures,
        "nll_train": record.nll_train,
        "nll_valid": record.nll_valid,
        "nll_unconditional": record.reference["nll_valid"],
        "nll_baseline": density.baseline.nll if density.baseline else math.nan,
        "resolution": math.nan if resolution is None else resolution,
        "epochs": record.epochs,
        "stopped": record.stopped,
        "faults": record.faults,
        "tried": {str(candidate): nll for candidate, nll in record.tried.items()},
        "components": [vars(member) for member in record.components],
        "cv": record.cv,
        "seconds": seconds,
    }
