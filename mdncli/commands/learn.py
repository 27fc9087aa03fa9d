"""What `mdn fit` does: read the table, learn, write the model file, and tell how it went."""

import math
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

from mdncli.commands.console import (
    STANDARD,
    only_one_from_standard_input,
    spare_inputs,
    warn,
    writing,
)
from mdncli.commands.examples import Lesson, read_lesson
from mdncli.commands.progress import stop_on_interrupt, watch
from mdncli.commands.request import Request
from mdncli.commands.telling import tell, warn_of_the_result
from mdncli.errors import UsageError
from mdncli.files import require_writable
from mdncli.settings import Settings
from mdncli.text import quoted

if TYPE_CHECKING:
    from mdncli.columns.schema import Schema
    from mdncli.density.evaluation import Evaluation
    from mdncli.density.model import ConditionalDensity

_WIDE_FLOOR = 0.1


def run(
    request: Request, settings: Settings, output: str, *, quiet: bool, valid_given: bool
) -> dict[str, Any]:
    """Learn as asked, write the model file, and return what `--json` prints."""
    started = perf_counter()
    _check(request, settings, output, valid_given)
    lesson = read_lesson(request, quiet=quiet)
    _warn_of_a_shared_floor(lesson.schema, settings)
    read = perf_counter() - started

    from mdncli.modelfile import reader as checkpoint

    density, seconds = _learn(lesson, request, settings, quiet=quiet)
    with writing(output) as stream:
        checkpoint.save(density, stream)
    times = {"read": read, "train": seconds, "total": perf_counter() - started}
    if not quiet:
        tell(density, times, output)
    warn_of_the_result(density)
    return {**_result(density, output, times), "left_out": lesson.left_out}


def _learn(
    lesson: Lesson, request: Request, settings: Settings, *, quiet: bool
) -> tuple["ConditionalDensity", float]:
    """Return the density, cross-validated first if that was asked for, and the seconds it took."""
    from mdncli.density.record import Origin
    from mdncli.learning.fit import cross_validate, fit, versions

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
        "kinds": {feature.name: feature.kind for feature in density.schema.features},
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
