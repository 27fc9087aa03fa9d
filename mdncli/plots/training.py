"""`training`: the NLL by epoch, against the yardsticks."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mdncli.density.model import ConditionalDensity
from mdncli.density.record import TrainingRecord
from mdncli.plots.style import COLOURS, DATA, canvas, plain


def draw(density: ConditionalDensity) -> Figure:
    """Return one panel with the NLL on both splits and the epochs whose weights were kept.

    Beside them, what the mixture that knows nothing of x reaches, and the least-squares baseline.
    """
    record = density.record
    figure = canvas(8.0, 5.0)
    axes = figure.subplots()
    epochs = range(1, record.epochs + 1)
    train, valid = record.history["nll_train"], record.history["nll_valid"]
    axes.plot(epochs, train, color=COLOURS[1], linewidth=1.5, label="training rows")
    if record.rows_valid:
        axes.plot(epochs, valid, color=COLOURS[0], linewidth=1.5, label="validation rows")
    yardsticks = _draw_yardsticks(axes, density)
    _draw_kept(axes, record)
    # The first epochs can be far above the rest, and would flatten it.
    shown = train[len(train) // 10 :] + valid[len(valid) // 10 :] + yardsticks
    finite = [value for value in shown if math.isfinite(value)] or [0.0]
    margin = 0.08 * (max(finite) - min(finite)) or 1.0
    axes.set_ylim(min(finite) - margin, max(finite) + margin)
    axes.set_xlabel("epoch")
    axes.set_ylabel("NLL, nats a row")
    targets = ", ".join(density.schema.target_names)
    axes.set_title(f"negative log-likelihood of {plain(targets)} during training")
    axes.legend()
    return figure


def _draw_yardsticks(axes: Axes, density: ConditionalDensity) -> list[float]:
    """Draw the NLLs to compare with, and return them."""
    reference = density.record.reference
    without_x = reference["nll_valid"]
    if math.isnan(without_x):
        without_x = reference["nll_train"]
    levels = [("without x", COLOURS[3], without_x)]
    if density.baseline is not None:
        levels.append(("least squares", COLOURS[2], density.baseline.nll))
    known = [level for level in levels if math.isfinite(level[2])]
    for label, colour, nll in known:
        axes.axhline(nll, color=colour, linewidth=1.2, linestyle="--", label=label)
    return [nll for _, _, nll in known]


def _draw_kept(axes: Axes, record: TrainingRecord) -> None:
    first, last = min(record.best_epochs), max(record.best_epochs)
    kept = f"epoch {first}" if first == last else f"epochs {first} to {last}"
    for number, epoch in enumerate(sorted(set(record.best_epochs))):
        label = f"weights kept: {kept}" if number == 0 else None
        axes.axvline(epoch, color=DATA, linewidth=1.0, linestyle=":", label=label)
