"""The course of training: the NLL of each epoch, with what to compare it with."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mdncli.density.model import MixtureDensityNetwork
from mdncli.density.record import TrainingRecord
from mdncli.plots.style import COLOURS, DATA, canvas, plain


def draw_training(model: MixtureDensityNetwork) -> Figure:
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
