"""`comparison`: the data, the least-squares baseline, and samples of the mixture, side by side."""

from matplotlib.figure import Figure

from mdncli.plots.slice import Scene
from mdncli.plots.style import COLOURS, DATA, canvas, label_axes, plain, scatter, title


def draw(scene: Scene, seed: int) -> Figure:
    """Return three panels with the same axes; the model must hold a baseline."""
    figure = canvas(13.0, 4.8)
    data, baseline, samples = figure.subplots(1, 3, sharex=True, sharey=True)
    scatter(data, *scene.data, colour=DATA, label="data")
    data.set_title("data")

    scatter(baseline, *scene.data, colour=DATA, label="data")
    gaussian = scene.density.condition_baseline(scene.points)
    mean, sigma = gaussian.mu[:, 0, scene.target], gaussian.sigma[:, 0, scene.target]
    low, middle, high = (scene.bounds.to_target(mean + by * sigma) for by in (-2.0, 0.0, 2.0))
    baseline.fill_between(scene.grid, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
    baseline.plot(scene.grid, middle, color=COLOURS[0], linewidth=2.0)
    mapped = f"\nof {plain(scene.underneath, 40)}" if scene.bounds else ""
    baseline.set_title(f"least-squares baseline: mean ± 2 σ{mapped}")

    scatter(samples, *scene.sampled(seed), colour=COLOURS[4], label="samples")
    samples.set_title("samples of the mixture")
    for axes in (data, baseline, samples):
        label_axes(axes, scene)
    title(figure, scene)
    return figure
