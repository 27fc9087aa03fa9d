"""Calibration and residuals: what is drawn is what was computed in another way."""

import warnings

import numpy as np
import pytest
from density.models import (
    inverse_sinusoid,
    twenty_features,
    two_targets,
    with_a_category,
    with_steps,
)
from pictures import lines_of, words_of
from scipy.stats import binom

from mdncli.density.evaluation import evaluate
from mdncli.plots import draw
from mdncli.plots.calibration import (
    Calibration,
    bins,
    dependence,
    ecdf_difference,
    simultaneous_band,
)


def test_the_pit_is_what_evaluate_scores() -> None:
    model, x, y = two_targets()
    stepped = with_steps(model, 2.0)
    for target in range(2):
        scored = evaluate(stepped, x, y, seed=5).by_row.pit[:, target]
        found = Calibration.of(stepped, x, y, target, seed=5)
        np.testing.assert_array_equal(found.pit, scored)


def test_coverage_is_the_share_of_values_inside_their_central_intervals() -> None:
    model, x, y = two_targets()
    coverage = draw("calibration", model, x, y, target="v").axes[2]
    levels, shares = coverage.lines[-1].get_data()
    predicted = model.distribution(x).marginal("v")
    for level in (0.1, 0.5, 0.8, 0.95):
        low, high = predicted.interval(level).T
        [at] = np.flatnonzero(np.isclose(levels, level))
        assert shares[at] == pytest.approx(np.mean((y[:, 1] >= low) & (y[:, 1] <= high)))


def test_the_histogram_and_the_ecdf_count_the_pit() -> None:
    model, x, y = inverse_sinusoid()
    pit = model.distribution(x).cdf(y[:, 0])
    histogram, ecdf, _ = draw("calibration", model, x, y).axes
    heights, edges, _ = histogram.patches[1].get_data()
    assert len(heights) == 20
    for height, low, high in zip(heights, edges[:-1], edges[1:], strict=True):
        assert height == pytest.approx(20.0 * np.mean((pit >= low) & (pit < high)))
    u, difference = ecdf.lines[-1].get_data()
    np.testing.assert_allclose(difference, [np.mean(pit <= each) - each for each in u], atol=1e-12)


def test_the_band_of_the_histogram_holds_a_bin_of_uniform_values_in_95_percent() -> None:
    model, x, y = inverse_sinusoid()
    histogram, _, _ = draw("calibration", model, x[:500], y[:500]).axes
    band = histogram.patches[0].get_bbox()
    low, high = 500 * band.y0 / 20.0, 500 * band.y1 / 20.0
    inside = binom.cdf(round(high), 500, 0.05) - binom.cdf(round(low) - 1, 500, 0.05)
    assert 0.95 <= inside < 0.98


@pytest.mark.parametrize("rows", [1, 20, 300, 20_000])
def test_the_ecdf_band_holds_95_percent_of_uniform_samples(rows: int) -> None:
    low, high = simultaneous_band(rows)
    rng = np.random.default_rng(11)
    differences = [ecdf_difference(rng.random(rows)) for _ in range(1000)]
    inside = [bool(((low <= d + 1e-9) & (d <= high + 1e-9)).all()) for d in differences]
    assert 0.93 < np.mean(inside) < 0.98


def test_the_ecdf_leaves_its_band_where_the_model_is_wrong() -> None:
    model, x, _ = two_targets()
    rng = np.random.default_rng(0)
    y = np.concatenate([y for _, y, _ in model.draws(x, 1, rng)])
    scale = y[:, 0].std()
    for wrong, values in (
        (False, y),
        (True, y + 0.2 * scale),
        (True, y.mean(axis=0) + 1.5 * (y - y.mean(axis=0))),
    ):
        _, ecdf, coverage = draw("calibration", model, x, values).axes
        low, high = simultaneous_band(len(x))
        difference = ecdf.lines[-1].get_ydata()
        assert ((difference < low) | (difference > high)).any() == wrong
        assert len(coverage.collections) == 1


def test_the_title_names_the_steps_of_a_target_and_its_pit_is_seeded() -> None:
    model, x, y = inverse_sinusoid()
    stepped = with_steps(model, 0.5)
    for kind in ("calibration", "residuals"):
        words = words_of(draw(kind, stepped, x, y))
        assert "PIT drawn at random within the target's steps of 0.5" in words
        assert "drawn at random" not in words_of(draw(kind, model, x, y))
    one, two, other = (
        draw("calibration", stepped, x, y, seed=seed).axes[1].lines[-1].get_ydata()
        for seed in (0, 0, 1)
    )
    assert (one == two).all()
    assert (one != other).any()


def test_there_is_a_panel_for_each_feature_up_to_twelve() -> None:
    figure = draw("residuals", *two_targets())
    assert [axes.get_xlabel() for axes in figure.axes] == ["a", "b", "c"]
    assert "strongest" not in words_of(figure)
    many = draw("residuals", *twenty_features())
    assert len(many.axes) == 12
    assert "(the 12 of 20 features with the strongest dependence)" in words_of(many)
    # The model was fitted for one epoch, and has not yet learned the effect of this feature.
    assert many.axes[0].get_xlabel() == "feature_13"


def test_the_running_quantiles_are_those_of_the_pit_in_each_bin() -> None:
    model, x, y = two_targets()
    pit = model.distribution(x).cdf(y)[:, 0]
    axes = draw("residuals", model, x, y).axes[1]
    running = [line.get_ydata() for line in axes.lines if "running" in line.get_label()]
    # 400 rows are five bins of 80.
    bins = np.array_split(pit[np.argsort(x[:, 1])], 5)
    for level, values in zip((0.1, 0.5, 0.9), running, strict=True):
        np.testing.assert_allclose(values, [np.quantile(each, level) for each in bins])


def test_a_few_distinct_values_have_a_bin_each_and_ties_are_never_split() -> None:
    rng = np.random.default_rng(0)
    few = rng.choice([-1.0, 0.5, 7.0], p=[0.9, 0.08, 0.02], size=60)
    np.testing.assert_array_equal(bins(few), np.searchsorted([-1.0, 0.5, 7.0], few))
    tied = np.round(rng.normal(size=4000) * 10.0)
    tied[:2500] = 0.0
    places = bins(tied)
    assert all(len(set(places[tied == value])) == 1 for value in set(tied))
    assert set(places) == set(range(places.max() + 1))
    assert places.max() >= 5
    even = bins(rng.normal(size=4000))
    np.testing.assert_array_equal(np.bincount(even), np.full(20, 200))
    assert set(bins(np.full(500, 3.0))) == {0}


def test_dependence_finds_a_shift_and_a_spread_and_nothing_in_noise() -> None:
    rng = np.random.default_rng(0)
    x, pit = rng.normal(size=2000), rng.random(2000)
    shifted = np.where(x > 0.5, pit**3, pit)
    narrow = np.where(np.abs(x) > 1.0, 0.5 + 0.7 * (pit - 0.5), pit)
    assert abs(dependence(x, pit)) < 4.0
    assert dependence(x, shifted) > 8.0
    assert dependence(x, narrow) > 8.0
    assert dependence(np.ones(2000), shifted) == 0.0
    assert dependence(x, np.full(2000, 0.5)) == 0.0


def test_the_axis_of_a_category_has_its_levels() -> None:
    model, x, y = with_a_category()
    axes = draw("residuals", model, x, y).axes[0]
    labels = {label.get_position()[0]: label.get_text() for label in axes.get_xticklabels()}
    assert labels == {0: "red", 1: "green", 2: "blue"}


def test_a_feature_that_is_constant_in_the_table_is_drawn() -> None:
    model, x, y = two_targets()
    x = x.copy()
    x[:, 1] = 50.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        axes = draw("residuals", model, x, y).axes[1]
    pit = model.distribution(x).cdf(y)[:, 0]
    [median] = lines_of(axes, "running median")
    np.testing.assert_allclose(median.get_ydata(), np.median(pit))
