"""`overview`: π, μ and σ against a feature, and samples over the data."""

from matplotlib.figure import Figure

from mdncli.plots.parameters import draw_means, draw_scales, draw_weights
from mdncli.plots.samples import draw_samples
from mdncli.plots.slice import Scene
from mdncli.plots.style import canvas, component_colours, label_components, label_feature, title


def draw(scene: Scene, seed: int) -> Figure:
    """Return four panels."""
    figure = canvas(11.0, 8.0)
    (weights, means), (scales, samples) = figure.subplots(2, 2)
    mixture = scene.mixture()
    draw_weights(weights, scene, mixture)
    label_components(figure, component_colours(mixture))
    draw_means(means, scene, mixture)
    draw_scales(scales, scene, mixture)
    for axes in (weights, means, scales):
        label_feature(axes, scene)
    draw_samples(samples, scene, seed)
    title(figure, scene)
    return figure
