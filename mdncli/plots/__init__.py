"""Pictures of a model, with matplotlib: a model and matrices in, a Figure out."""

import math
from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from mdncli.density.mixture import remaining_targets
from mdncli.density.model import MixtureDensityNetwork, TrainingRecord
from mdncli.errors import DataError, ParameterError, parameter
from mdncli.plots.along import (
    draw_comparison,
    draw_components,
    draw_density,
    draw_intervals,
    draw_modes,
    draw_overview,
    draw_parameters,
    draw_samples,
    draw_survival,
)
from mdncli.plots.calibration import Calibration, draw_calibration, draw_residuals
from mdncli.plots.rows import draw_pairs, draw_row
from mdncli.plots.slice import Slice
from mdncli.plots.style import COLOURS, DATA, canvas, picture_style, plain, save
from mdncli.text import listed, nearest, quoted
from mdncli.types import Array, Mask

__all__ = ["KINDS", "draw", "save"]

# Pictures along one feature. The number is the seed of the samples.
_ALONG_A_FEATURE: dict[str, Callable[[Slice, int], Figure]] = {
    "overview": draw_overview,
    "parameters": lambda shown, _: draw_parameters(shown),
    "components": lambda shown, _: draw_components(shown),
    "samples": draw_samples,
    "density": lambda shown, _: draw_density(shown),
    "modes": lambda shown, _: draw_modes(shown),
    "intervals": lambda shown, _: draw_intervals(shown),
    "comparison": draw_comparison,
    "survival": lambda shown, _: draw_survival(shown),
}
_OF_CALIBRATION: dict[str, Callable[[Calibration], Figure]] = {
    "calibration": draw_calibration,
    "residuals": draw_residuals,
}
_OF_SINGLE_ROWS = ("row", "pairs")
KINDS = (*_ALONG_A_FEATURE, "training", *_OF_CALIBRATION, *_OF_SINGLE_ROWS)
_NEED_ROWS = (*_OF_CALIBRATION, "row")
_NOT_CONDITIONAL = ("training", *_OF_CALIBRATION)


def draw(
    kind: str,
    model: MixtureDensityNetwork,
    x: Array,
    y: Array,
    *,
    along: str | None = None,
    target: str | None = None,
    seed: int = 0,
    given: Mapping[str, ArrayLike] | None = None,
    known: Mask | None = None,
) -> Figure:
    """Return a picture of a model.

    Args:
        kind: one of `KINDS`. Along one feature: `overview`, `parameters`, `components`, `samples`,
            `density`, `modes`, `intervals`, `survival` and `comparison`, which needs a
            least-squares baseline in the model. Of the model as a whole: `training`, and
            `calibration` and `residuals`, which need rows. Of single rows: `row`, the predicted
            densities of the first rows, and `pairs`, the joint densities of several targets.
        model: the model.
        x: (N, F), the rows to show, in the order of the model's schema; N may be 0.
        y: (N, T), all targets of these rows, in the units of the file. For `row` and `pairs`, NaN
            where unknown. Targets that are given, or not shown, are not read.
        along: the feature on the horizontal axis; by default the one with the largest effect on the
            mean. Kinds without such an axis ignore it.
        target: the target to show; by default the first one that is not given. `pairs` and
            `training` ignore it.
        seed: of the samples, and of the randomized PIT of targets that were recorded in steps.
        given: known values of some targets, which condition the density of the others: a number
            for all rows or, for `row` and `pairs`, one for each row, (N,).
        known: (N,), False where the target is only known to exceed y; `survival`, `calibration` and
            `residuals` count such a row by that. None where all values are known.

    Raises:
        DataError: the model has no such feature or target, or no baseline, or there are no rows and
            the kind needs some, or `pairs` has a single target.
        ParameterError: there is no such kind, or it does not take `given`, or all targets are
            given.
    """
    given = dict(given or {})
    _check(kind, model, x, given)
    shown = _position_of_target(model, target, given)
    with picture_style():
        if kind == "training":
            return _draw_training(model)
        if kind == "pairs":
            return draw_pairs(model, x, y, given)
        if kind == "row":
            return draw_row(model, x, y, shown, given)
        if kind in _OF_CALIBRATION:
            return _OF_CALIBRATION[kind](Calibration.of(model, x, y, shown, known, seed=seed))
        fixed = {name: float(np.asarray(value)) for name, value in given.items()}
        return _ALONG_A_FEATURE[kind](
            Slice.of(model, x, y, along=along, target=shown, given=fixed, known=known), seed
        )


def _check(
    kind: str, model: MixtureDensityNetwork, x: Array, given: Mapping[str, ArrayLike]
) -> None:
    """Check that a picture of this kind can be drawn.

    Raises:
        DataError: there are no rows, or no baseline, and the kind needs them.
        ParameterError: there is no such kind, or it does not take `given`, or not these values.
    """
    if kind not in KINDS:
        raise ParameterError(
            f"{parameter('kind')} is {quoted(kind)}.{nearest(kind, KINDS)} The kinds are: "
            f"{listed(KINDS, len(KINDS))}."
        )
    this = parameter("kind", repr(kind))
    if given and kind in _NOT_CONDITIONAL:
        raise ParameterError(f"{parameter('given')} does not apply to {this}. Leave it out.")
    several = [name for name, value in given.items() if np.ndim(value)]
    if several and kind not in _OF_SINGLE_ROWS:
        raise ParameterError(
            f"{parameter('given')} of {quoted(several[0])} must be one number for {this}."
        )
    if kind in _NEED_ROWS and not len(x):
        raise DataError(f"{this} needs rows, and there are no rows.")
    if kind == "comparison" and model.baseline is None:
        raise DataError(
            f"{this} needs a least-squares baseline, and the model has none. Fit it with "
            f"{parameter('baseline')}."
        )


def _position_of_target(
    model: MixtureDensityNetwork, target: str | None, given: Mapping[str, ArrayLike]
) -> int:
    """Return the position of the target to show, by default the first that is not given.

    Raises:
        DataError: the model has no such target.
        ParameterError: it is given, or all targets are.
    """
    names = model.schema.target_names
    remaining = remaining_targets(list(given), names)
    if target in given:
        raise DataError(
            f"{quoted(target or '')} is both {parameter('target')} and {parameter('given')}. "
            f"Choose another target: {listed(remaining)}."
        )
    if target is not None and target not in names:
        raise DataError(
            f"The model has no target {quoted(target)}.{nearest(target, names)} "
            f"Its targets are: {listed(names)}."
        )
    return names.index(remaining[0] if target is None else target)


def _draw_training(model: MixtureDensityNetwork) -> Figure:
    """Return one panel: the NLL on training and validation rows, and the epochs that were kept.

    Horizontal lines show the NLL of the marginal reference and of the least-squares baseline.
    """
    record = model.record
    figure = canvas(8.0, 5.0)
    axes = figure.subplots()
    epochs = range(1, record.epochs + 1)
    train, valid = record.history["nll_train"], record.history["nll_valid"]
    axes.plot(epochs, train, color=COLOURS[1], linewidth=1.5, label="training rows")
    if record.rows_valid:
        axes.plot(epochs, valid, color=COLOURS[0], linewidth=1.5, label="validation rows")
    others = _draw_others(axes, model)
    _draw_kept(axes, record)
    # The first epochs may be far above the rest, so they do not count for the limits.
    shown = train[len(train) // 10 :] + valid[len(valid) // 10 :] + others
    finite = [value for value in shown if math.isfinite(value)] or [0.0]
    margin = 0.08 * (max(finite) - min(finite)) or 1.0
    axes.set_ylim(min(finite) - margin, max(finite) + margin)
    axes.set_xlabel("epoch")
    axes.set_ylabel("NLL (nats per row)")
    targets = ", ".join(model.schema.target_names)
    axes.set_title(f"negative log-likelihood of {plain(targets)} during training")
    axes.legend()
    return figure


def _draw_others(axes: Axes, model: MixtureDensityNetwork) -> list[float]:
    """Draw the NLLs of the marginal reference and of the baseline, and return them."""
    marginal = model.record.reference["nll_valid"]
    if math.isnan(marginal):
        marginal = model.record.reference["nll_train"]
    levels = [("marginal reference", COLOURS[3], marginal)]
    if model.baseline is not None:
        levels.append(("least squares", COLOURS[2], model.baseline.nll))
    finite = [level for level in levels if math.isfinite(level[2])]
    for label, colour, nll in finite:
        axes.axhline(nll, color=colour, linewidth=1.2, linestyle="--", label=label)
    return [nll for _, _, nll in finite]


def _draw_kept(axes: Axes, record: TrainingRecord) -> None:
    """Draw the epochs with the weights that the members keep."""
    first, last = min(record.best_epochs), max(record.best_epochs)
    kept = f"epoch {first}" if first == last else f"epochs {first} to {last}"
    for number, epoch in enumerate(sorted(set(record.best_epochs))):
        label = f"weights kept: {kept}" if number == 0 else None
        axes.axvline(epoch, color=DATA, linewidth=1.0, linestyle=":", label=label)
