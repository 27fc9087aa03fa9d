"""The density along a feature: intervals, the map, samples and the comparison with a baseline."""

from dataclasses import replace

import numpy as np
import pytest
from density.models import bounded_targets, inverse_sinusoid, two_targets, with_constant_head
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from pictures import points_of

from mdncli.density.distribution import Distribution
from mdncli.plots import draw
from mdncli.plots.along import outlines_of
from mdncli.plots.slice import Slice


def polygons(axes: Axes) -> dict[str, PolyCollection]:
    return {each.get_label(): each for each in axes.collections if hasattr(each, "set_verts")}


def test_regions_are_drawn_where_the_density_splits() -> None:
    model, x, y = inverse_sinusoid()
    shown = Slice.of(model, x, y)
    predicted = shown.distribution
    [axes] = draw("intervals", model, x, y).axes
    assert axes.get_title(loc="left") == "highest-density regions"
    levels = np.linspace(y.min(), y.max(), 60)
    for name, coverage in (("50%", 0.5), ("90%", 0.9)):
        regions = predicted.hdr(coverage)
        assert regions.shape[1] > 1
        paths = polygons(axes)[name].get_paths()
        for point in range(5, 400, 13):
            places = np.column_stack([np.full(60, shown.grid[point]), levels])
            painted = np.any([path.contains_points(places) for path in paths], axis=0)
            low, high = regions[point, :, :1], regions[point, :, 1:]
            np.testing.assert_array_equal(painted, ((levels > low) & (levels < high)).any(axis=0))


def test_central_intervals_are_drawn_of_a_density_of_one_branch() -> None:
    model, x, y = two_targets()
    simple = with_constant_head(model, 1)
    [axes] = draw("intervals", simple, x, y, along="a", target="v").axes
    assert axes.get_title(loc="left") == "central intervals"
    predicted = Slice.of(simple, x, y, along="a", target=1).distribution
    for name, coverage in (("50%", 0.5), ("90%", 0.9)):
        [path] = polygons(axes)[name].get_paths()
        low, high = predicted.interval(coverage)[0]
        box = path.get_extents()
        np.testing.assert_allclose([box.y0, box.y1], [low, high])
        np.testing.assert_allclose([box.x0, box.x1], [x[:, 0].min(), x[:, 0].max()])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), predicted.median())


def test_a_band_beyond_the_data_is_shown_but_does_not_crowd_them_out() -> None:
    model, x, y = two_targets()
    simple = with_constant_head(model, 1)
    low, high = Distribution(simple.mixture(x[:1])).interval(0.9)[0, 0]
    column = model.schema.targets[0]
    middle = 0.5 * (low + high)
    for share, shown in ((0.8, 1.0), (0.1, 0.2)):
        reach = 0.5 * share * (high - low)
        narrow = replace(column, lowest=middle - reach, highest=middle + reach)
        schema = replace(simple.schema, targets=(narrow, *model.schema.targets[1:]))
        [axes] = draw("intervals", replace(simple, schema=schema), x[:0], y[:0]).axes
        bottom, top = axes.get_ylim()
        assert (top - bottom) / (high - low) == pytest.approx(shown, rel=0.2)


def test_branches_that_begin_and_end_are_drawn_apart() -> None:
    nan = float("nan")
    bands = np.array(
        [
            [[0.0, 1.0], [nan, nan]],
            [[0.5, 1.5], [nan, nan]],
            [[0.5, 1.0], [3.0, 4.0]],
            [[9.0, 9.5], [nan, nan]],
            [[0.0, 1.0], [nan, nan]],
        ]
    )
    outlines = outlines_of(np.arange(5.0), bands)
    across = [(float(each[:, 0].min()), float(each[:, 0].max())) for each in outlines]
    assert across == [(0.0, 1.5), (1.5, 2.5), (1.5, 2.5), (2.5, 3.5), (3.5, 4.0)]


def test_the_map_shows_the_mean_density_of_each_cell() -> None:
    model, x, y = bounded_targets()
    figure = draw("density", model, x, y, target="q")
    [mesh] = [each for each in figure.axes[0].collections if each.get_array() is not None]
    density = np.asarray(mesh.get_array())
    shown = Slice.of(model, x, y, target=1)
    low, high = figure.axes[0].get_ylim()
    edges = np.linspace(low, high, 401)
    for row in (100, 200, 300):
        mass = shown.distribution.cdf(edges[row + 1]) - shown.distribution.cdf(edges[row])
        np.testing.assert_allclose(density[row], mass / np.diff(edges)[row], atol=1e-9)
    # Every column holds all of the probability between the bounds.
    np.testing.assert_allclose(density.sum(axis=0) * (edges[1] - edges[0]), 1.0, atol=1e-9)


def test_samples_are_draws_at_the_rows_over_the_data() -> None:
    model, x, y = inverse_sinusoid()
    axes = draw("samples", model, x, y, seed=4).axes[0]
    np.testing.assert_array_equal(points_of(axes, "data"), np.column_stack([x, y]))
    places, values = Slice.of(model, x, y).samples(4)
    np.testing.assert_array_equal(points_of(axes, "samples"), np.column_stack([places, values]))


@pytest.mark.parametrize("target", ["p", "r"])
def test_the_comparison_shows_two_sigma_of_the_baseline(target: str) -> None:
    model, x, y = bounded_targets()
    _, baseline, _ = draw("comparison", model, x, y, target=target).axes
    position = "pqr".index(target)
    shown = Slice.of(model, x, y, target=position)
    gaussian = model.baseline_mixture(shown.points)
    forward = model.schema.transforms[position].forward
    mean, sigma = (part[:, 0, position] for part in (gaussian.mu, gaussian.sigma))
    [line] = baseline.lines
    np.testing.assert_allclose(line.get_ydata(), forward(mean))
    [band] = [each for each in baseline.collections if each.get_label() != "data"]
    box = band.get_paths()[0].get_extents()
    ends = forward(mean - 2.0 * sigma).min(), forward(mean + 2.0 * sigma).max()
    np.testing.assert_allclose([box.y0, box.y1], ends)
