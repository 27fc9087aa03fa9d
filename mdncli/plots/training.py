"""`training`: the NLL by epoch."""

import math

from matplotlib.figure import Figure

from mdncli.density.model import ConditionalDensity
from mdncli.plots.style import COLOURS, DATA, canvas, plain


def draw(density: ConditionalDensity) -> Figure:
    """Return one panel with the NLL on both splits and the epoch whose weights were kept."""
    record = density.record
    figure = canvas(8.0, 5.0)
    axes = figure.subplots()
    epochs = range(1, record.epochs + 1)
    train, valid = record.history["nll_train"], record.history["nll_valid"]
    axes.plot(epochs, train, color=COLOURS[1], linewidth=1.5, label="training rows")
    if record.rows_valid:
        axes.plot(epochs, valid, color=COLOURS[0], linewidth=1.5, label="validation rows")
    for member, epoch in enumerate(record.best_epochs):
        many = f"s {min(record.best_epochs)} to {max(record.best_epochs)}"
        which = many if len(record.best_epochs) > 1 else f" {epoch}"
        label = None if member else f"weights kept: epoch{which}"
        axes.axvline(epoch, color=DATA, linewidth=1.0, linestyle=":", label=label)
    # The first epochs can be far above the rest, and would flatten it.
    shown = [v for v in train[len(train) // 10 :] + valid[len(valid) // 10 :] if math.isfinite(v)]
    margin = 0.08 * (max(shown) - min(shown)) or 1.0
    axes.set_ylim(min(shown) - margin, max(shown) + margin)
    axes.set_xlabel("epoch")
    axes.set_ylabel("NLL, nats a row")
    targets = ", ".join(density.schema.target_names)
    axes.set_title(f"negative log-likelihood of {plain(targets)} during training")
    axes.legend()
    return figure
