"""The components along a feature: weights, means, standard deviations, colours, background."""

import numpy as np
import pytest
from density.models import (
    bounded_targets,
    inverse_sinusoid,
    two_targets,
    with_background,
    with_constant_head,
)
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from pictures import bytes_of, lines_of, points_of

from mdncli.plots import draw, style
from mdncli.plots.slice import Slice


def curves_of(axes: Axes) -> list[np.ndarray]:
    """Return the values of the curves whose opacity changes, (P,) each."""
    curves = []
    for each in axes.collections:
        if isinstance(each, LineCollection):
            segments = np.array(each.get_segments())
            curves.append(np.append(segments[:, 0, 1], segments[-1, 1, 1]))
    return curves


def named_components(figure: Figure) -> list[str]:
    """Return the entries of the legend of components."""
    [legend] = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_the_panels_show_every_component() -> None:
    model, x, y = inverse_sinusoid()
    model = with_background(model, 0.0)
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
    model = with_background(model, 0.0)
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


def test_a_light_background_leaves_no_trace() -> None:
    """Its weight of a few per mille is invisible, and its wide sigma would flatten the others."""
    model, x, y = inverse_sinusoid()
    light, none = with_background(model, 0.002), with_background(model, 0.0)
    count = none.components
    figure, plain = (draw("overview", each, x, y) for each in (light, none))
    assert [len(axes.lines) for axes in figure.axes[:1]] == [count]
    assert [len(curves_of(axes)) for axes in figure.axes[1:3]] == [count, count]
    assert named_components(figure) == named_components(plain)
    for axes, other in zip(figure.axes, plain.axes, strict=True):
        np.testing.assert_allclose(axes.get_ylim(), other.get_ylim(), rtol=0.01)
    assert len(draw("modes", light, x, y).axes[0].lines) == count


def test_a_heavy_background_is_grey_and_has_the_number_0() -> None:
    model, x, y = inverse_sinusoid()
    heavy = with_background(model, 0.3)
    figure = draw("parameters", heavy, x, y)
    weights, means, scales = figure.axes
    grey = to_rgb(style.BACKGROUND)
    assert [line.get_color() for line in weights.lines].count(style.BACKGROUND) == 1
    for axes in (means, scales):
        drawn = [tuple(each.get_colors()[0][:3]) for each in axes.collections]
        assert drawn.count(grey) == 1
    others = [str(k) for k in range(1, 6)]
    assert named_components(figure)[:6] == ["0, background", *others]
    # The background is wider than the picture of the others.
    wide = Slice.of(heavy, x, y).mixture.sigma[:, 0, 0]
    assert scales.get_ylim()[1] < 0.5 * wide.max()
    colours = [line.get_color() for line in draw("modes", heavy, x, y).axes[0].lines]
    assert colours == [style.BACKGROUND, *[style.GREY] * (heavy.components - 1)]


def test_the_background_is_not_one_of_the_others() -> None:
    model, x, y = inverse_sinusoid()
    many = with_constant_head(model, 20)
    for weight, count in ((0.002, 9), (0.3, 10)):
        named = named_components(draw("components", with_background(many, weight), x, y))
        assert named[-1] == "12 others"
        assert len(named) == count
    assert style.component_colours(Slice.of(many, x, y).mixture, 0)[0] == style.BACKGROUND


def test_a_background_is_drawn_only_where_it_matters() -> None:
    """A given value that only the background explains gives it all the weight there."""
    model, x, y = two_targets()
    given = {"v": float(y[:, 1].max()) + 3.0}
    shown = Slice.of(model, x, y, along="a", given=given)
    matters = shown.mixture.pi[:, 0] >= 0.02
    assert matters.any()
    means = draw("parameters", model, x, y, along="a", given=given).axes[1]
    [curve] = [
        c for c in means.collections if tuple(c.get_colors()[0][:3]) == to_rgb(style.BACKGROUND)
    ]
    assert np.isfinite(np.array(curve.get_segments())[:, 0, 1]).sum() >= matters.sum() - 1


def test_one_far_row_does_not_hide_the_others() -> None:
    model, x, y = inverse_sinusoid()
    far = y.copy()
    far[7] = 1e6
    for kind in ("overview", "components", "density", "intervals", "samples"):
        figure = draw(kind, model, x, far)
        axes = figure.axes[3 if kind == "overview" else 0]
        low, high = axes.get_ylim()
        assert -25.0 < low < -10.0, kind
        assert 10.0 < high < 25.0, kind
        assert figure.get_suptitle().endswith("(1 row beyond the limits)")
    assert bytes_of(draw("modes", model, x, y)) != bytes_of(draw("modes", model, x, far))
