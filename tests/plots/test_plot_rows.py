"""The densities of single rows: of one target, and of every two targets."""

import numpy as np
import pytest
from density.models import (
    bounded_targets,
    inverse_sinusoid,
    twenty_features,
    two_targets,
    with_a_category,
    with_background,
)
from pictures import bytes_of, lines_of, title_of, words_of

from mdncli.columns.features import DateFeature, NumberFeature
from mdncli.errors import DataError
from mdncli.plots import draw, style
from mdncli.plots.slice import value_text


def test_each_of_the_first_nine_rows_has_a_panel_and_its_value() -> None:
    model, x, y = two_targets()
    figure = draw("row", model, x, y, target="v")
    assert len(figure.axes) == 9
    assert "(the first 9 of 400 rows)" in words_of(figure)
    for row, axes in enumerate(figure.axes):
        named = ", ".join(f"{name}={value:.4g}" for name, value in zip("abc", x[row], strict=True))
        assert axes.get_title(loc="left") == f"row {row + 1}\n{named}"
        [value] = [line for line in axes.lines if line.get_label() == "observed value"]
        assert list(value.get_xdata()) == [y[row, 1]] * 2
    assert "first" not in words_of(draw("row", model, x[:9], y[:9]))


def test_the_curve_of_a_row_is_its_density_and_the_shade_holds_90_percent() -> None:
    model, x, y = inverse_sinusoid()
    for axes, row in zip(draw("row", model, x, y).axes, range(9), strict=True):
        [curve] = [line for line in axes.lines if line.get_label() == "density"]
        at, height = curve.get_data()
        predicted = model.distribution(np.repeat(x[[row]], len(at), axis=0))
        np.testing.assert_allclose(height, np.exp(predicted.log_prob(at)), rtol=1e-9)
        assert np.trapezoid(height, at) == pytest.approx(0.999, abs=2e-3)
        [shade] = axes.collections
        mass = 0.0
        for path in shade.get_paths():
            corners = path.vertices
            after = np.roll(corners, -1, axis=0)
            mass += 0.5 * abs((corners[:, 0] * after[:, 1] - after[:, 0] * corners[:, 1]).sum())
        assert mass == pytest.approx(0.9, abs=2e-3)


def test_rows_without_targets_are_drawn_without_values() -> None:
    model, x, y = inverse_sinusoid()
    figure = draw("row", model, x[:2], np.full_like(y[:2], np.nan))
    assert "density" in words_of(figure)
    assert "observed value" not in words_of(figure)


def test_a_value_far_off_and_a_narrow_component_are_both_in_the_panel() -> None:
    model, x, y = inverse_sinusoid()
    figure = draw("row", model, x[:1], y[:1] + 1e5)
    [axes] = figure.axes
    [curve] = [line for line in axes.lines if line.get_label() == "density"]
    assert axes.get_xlim()[1] > y[0, 0] + 1e5
    assert np.trapezoid(curve.get_ydata(), curve.get_xdata()) == pytest.approx(1.0, abs=0.02)


def test_a_title_names_at_most_three_features() -> None:
    model, x, y = twenty_features()
    title = draw("row", model, x[:1], y[:1]).axes[0].get_title(loc="left")
    assert title.count("=") == 3
    assert title.endswith(", …")


def test_a_title_shows_a_category_by_its_name() -> None:
    model, _, y = with_a_category()
    row = np.array([[1.0, 0.25]])
    assert (
        draw("row", model, row, y[:1])
        .axes[0]
        .get_title(loc="left")
        .endswith("kind=green, size=0.25")
    )


def test_a_title_shows_dates_and_empty_cells() -> None:
    days = np.arange(20_000.0, 20_100.0)
    date = DateFeature.measure_feature("day", days, format="")
    number = NumberFeature.measure_feature("n", days)
    assert value_text(date, 20_000.0) == "2024-10-04"
    assert value_text(number, 20_000.0) == "2e+04"
    assert [value_text(each, np.nan) for each in (date, number)] == ["(empty)", "(empty)"]


def test_pairs_show_the_first_rows_and_their_values() -> None:
    model, x, y = two_targets()
    figure = draw("pairs", model, x, y)
    words = words_of(figure)
    for word in ("u, v: joint densities", "the first 4 of 400 rows", "row 4: a=", "95%"):
        assert word in words
    assert "observed values" in words
    unknown = draw("pairs", model, x, np.full_like(y, np.nan))
    assert "observed values" not in words_of(unknown)


def test_the_same_rows_draw_the_same_bytes() -> None:
    model, x, y = two_targets()
    one, two = (bytes_of(draw("pairs", model, x, y)) for _ in range(2))
    assert one == two
    assert one != bytes_of(draw("pairs", model, x[1:], y[1:]))


def test_without_rows_the_medians_are_shown() -> None:
    model, x, y = two_targets()
    words = words_of(draw("pairs", model, x[:0], y[:0]))
    assert "at the medians: a=" in words
    assert "row 1" not in words


def test_the_regions_hold_their_probability() -> None:
    """The share of new draws inside the outline that is drawn is 95%."""
    model, x, y = two_targets()
    figure = draw("pairs", model, x[:1], y[:1])
    [panel] = [axes for axes in figure.axes if axes.get_ylabel()]
    outline = panel.collections[1].get_paths()[0]
    drawn, _ = model.mixture(x[:1]).sample(20_000, np.random.default_rng(5))
    assert outline.contains_points(drawn[0]).mean() == pytest.approx(0.95, abs=0.01)


def test_one_target_has_no_pairs() -> None:
    model, x, y = inverse_sinusoid()
    with pytest.raises(DataError, match="two targets or more"):
        draw("pairs", model, x, y)


def test_rows_with_given_values_of_their_own_show_the_conditional_density() -> None:
    model, x, y = bounded_targets()
    figure = draw("row", model, x, y, given={"r": y[:, 2]})
    assert title_of(figure) == (
        "p: predicted densities\n(given r of the row; the first 9 of 500 rows)"
    )
    for row, axes in enumerate(figure.axes):
        [curve] = lines_of(axes, "density")
        at, height = curve.get_data()
        predicted = model.distribution(np.repeat(x[[row]], len(at), axis=0)).given(r=y[row, 2])
        np.testing.assert_allclose(height, np.exp(predicted.marginal("p").log_prob(at)), rtol=1e-9)
        assert (at > 0.0).all()


def test_the_components_add_up_to_the_density() -> None:
    model, x, y = bounded_targets()
    model = with_background(model, 0.05)
    axes = draw("row", model, x[:1], y[:1], target="q").axes[0]
    [background] = lines_of(axes, "background")
    assert background.get_color() == style.BACKGROUND
    [curve] = lines_of(axes, "density")
    others = [line for line in axes.lines if line.get_label() not in ("density", "observed value")]
    assert len(others) == model.components
    total = np.sum([line.get_ydata() for line in others], axis=0)
    np.testing.assert_allclose(total, curve.get_ydata(), rtol=1e-12)


def test_a_light_background_does_not_widen_the_panels() -> None:
    model, x, y = inverse_sinusoid()
    figures = [draw("row", with_background(model, w), x[:9], y[:9]) for w in (0.002, 0.0)]
    for axes, other in zip(*(figure.axes for figure in figures), strict=True):
        np.testing.assert_allclose(axes.get_xlim(), other.get_xlim(), atol=1e-6)
        assert not lines_of(axes, "background")
    model, x, y = two_targets()
    figures = [draw("pairs", with_background(model, w), x[:2], y[:2]) for w in (0.03, 0.0)]
    for axes, other in zip(*(figure.axes for figure in figures), strict=True):
        np.testing.assert_allclose(np.ptp(axes.get_xlim()), np.ptp(other.get_xlim()), rtol=0.05)


def test_a_background_that_is_most_of_a_row_decides_its_panel() -> None:
    model, x, y = two_targets()
    far = {"v": float(y[:, 1].max()) + 50.0}
    predicted = model.distribution(x[:1]).given(far)
    assert predicted.pi[0, 0] > 0.9
    [axes] = draw("row", model, x[:1], np.full_like(y[:1], np.nan), given=far).axes
    low, high = predicted.quantile([0.001, 0.999])[0]
    assert axes.get_xlim()[0] < low < high < axes.get_xlim()[1]


def test_the_diagonal_of_pairs_has_the_marginal_densities() -> None:
    model, x, y = bounded_targets()
    figure = draw("pairs", model, x[:1], y[:1])
    diagonal = [axes for axes in figure.axes if not axes.get_yticks().size]
    assert len(diagonal) == 3
    assert len(figure.axes) == 6
    for axes, name in zip(diagonal, "pqr", strict=True):
        at, height = axes.lines[0].get_data()
        predicted = model.distribution(np.repeat(x[:1], len(at), axis=0)).marginal(name)
        np.testing.assert_allclose(height, np.exp(predicted.log_prob(at)), rtol=1e-9)
        assert axes.lines[1].get_xdata()[0] == y[0, "pqr".index(name)]


def test_pairs_leave_out_the_given_targets() -> None:
    model, x, y = bounded_targets()
    figure = draw("pairs", model, x[:2], y[:2], given={"q": y[:2, 1]})
    assert title_of(figure) == "p, r: joint densities\n(given q of the row)"
    [panel, _] = [axes for axes in figure.axes if axes.get_ylabel()]
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("p", "r")
    outline = panel.collections[1].get_paths()[0]
    predicted = model.distribution(x[:1]).given(q=y[0, 1])
    [drawn] = predicted.sample(20_000, seed=5)
    assert outline.contains_points(drawn.T).mean() == pytest.approx(0.95, abs=0.01)
