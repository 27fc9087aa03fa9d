"""The components along a feature: weights, means, standard deviations, and their colours."""

import numpy as np
import pytest
from density.models import (
    bounded_targets,
    inverse_sinusoid,
    with_constant_head,
)
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from pictures import lines_of, points_of

from mdncli.plots import draw
from mdncli.plots.slice import Slice


def curves_of(axes: Axes) -> list[np.ndarray]:
    """Return the values of the curves whose opacity changes, (P,) each."""
    curves = []
    for each in axes.collections:
        if isinstance(each, LineCollection):
            segments = np.array(each.get_segments())
            curves.append(np.append(segments[:, 0, 1], segments[-1, 1, 1]))
    return curves


def test_the_panels_show_every_component() -> None:
    model, x, y = inverse_sinusoid()
    mixture = Slice.of(model, x, y).mixture
    weights, means, scales = draw("parameters", model, x, y).axes
    for k in range(model.components):
        np.testing.assert_array_equal(weights.lines[k].get_ydata(), mixture.pi[:, k])
        np.testing.assert_array_equal(curves_of(means)[k], mixture.mu[:, k, 0])
        np.testing.assert_array_equal(curves_of(scales)[k], mixture.sigma[:, k, 0])


def test_a_component_has_one_colour_in_every_panel() -> None:
    model, x, y = inverse_sinusoid()
    weights, means, scales, _ = draw("overview", model, x, y).axes
    drawn = [to_rgb(line.get_color()) for line in weights.lines]
    for panel in (means, scales):
        assert [tuple(lines.get_colors()[0][:3]) for lines in panel.collections] == drawn


def test_many_components_of_equal_weight_are_all_drawn() -> None:
    """With 200 components none has as much weight as one that is usually shown."""
    model, x, y = inverse_sinusoid()
    weights, means, scales, _ = draw("overview", with_constant_head(model, 200), x, y).axes
    assert len(weights.lines) == len(curves_of(means)) == len(curves_of(scales)) == 200
    for axes, values in ((weights, 1.0 / 200.0), (scales, curves_of(scales)[0].max())):
        low, high = axes.get_ylim()
        assert low <= values <= high


@pytest.mark.parametrize("target", ["p", "r"])
def test_bands_and_means_are_transformed_to_the_target(target: str) -> None:
    model, x, y = bounded_targets()
    shown = Slice.of(model, x, y, target="pqr".index(target))
    mixture, forward = shown.mixture, shown.transform.forward
    axes = draw("components", model, x, y, target=target).axes[0]
    expected = "means ± one σ of log(p), opacity by π" if target == "p" else None
    assert axes.get_title(loc="left") == (expected or "means ± one σ, opacity by π")
    for k, curve in enumerate(curves_of(axes)):
        np.testing.assert_allclose(curve, forward(mixture.mu[:, k, 0]))
    axes = draw("modes", model, x, y, target=target).axes[0]
    best = points_of(axes, "mean of the most probable component")
    np.testing.assert_allclose(best[:, 1], shown.distribution.component_mean())
    assert len(lines_of(axes, "all means")) == 1
    for k, line in enumerate(axes.lines):
        np.testing.assert_allclose(line.get_ydata(), forward(mixture.mu[:, k, 0]))
