"""The slice that pictures along a feature show, and the shared style."""

import numpy as np
import pytest
from density.models import bounded_targets, inverse_sinusoid, two_targets, with_a_category

import mdncli
from mdncli.density.mixture import GaussianMixture
from mdncli.plots import style
from mdncli.plots.slice import Slice, feature_places, feature_ticks, given_values


@pytest.mark.parametrize(("target", "name"), [(0, "b"), (1, "a")])
def test_along_is_by_default_the_feature_that_moves_the_mean_most(target: int, name: str) -> None:
    assert Slice.of(*two_targets(), target=target).feature.name == name


def test_of_many_features_only_the_likely_ones_are_compared() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 60))
    y = 2.0 * (x[:, 7] > 0.0) + 0.2 * rng.normal(size=400)
    model = mdncli.fit(x, y, ladder=False, frequencies=0, steps=300).network
    shown = Slice.of(model, x, y[:, None])
    assert shown.feature.name == model.schema.feature_names[7]
    assert 7 in shown.candidates()
    assert len(shown.candidates()) == 10


def test_the_other_features_are_fixed_at_their_medians() -> None:
    model, x, y = two_targets()
    shown = Slice.of(model, x, y, along="b")
    np.testing.assert_allclose(shown.points[:, 0], np.median(x[:, 0]))
    np.testing.assert_allclose(shown.points[:, 2], np.median(x[:, 2]))
    assert (shown.grid[0], shown.grid[-1]) == (x[:, 1].min(), x[:, 1].max())
    assert shown.fixed == "a, c at the medians"


def test_the_distribution_is_that_of_the_target_at_the_points() -> None:
    model, x, y = bounded_targets()
    shown = Slice.of(model, x, y, target=1, given={"r": 0.3})
    expected = model.distribution(shown.points).given(r=0.3).marginal("q")
    np.testing.assert_array_equal(shown.distribution.median(), expected.median())
    assert shown.target_name == "q"
    assert shown.name_of_u == "transformed q, 0 to 1"
    assert shown.fixed == "r = 0.3"
    baseline = model.baseline_mixture(shown.points)
    np.testing.assert_allclose(shown.baseline.mu[:, 0, 0], baseline.mu[:, 0, 1])


def test_samples_are_at_the_rows_and_keep_the_given_values() -> None:
    model, x, y = bounded_targets()
    for seed in (0, 1):
        places, values = Slice.of(model, x, y, target=1).samples(seed)
        np.testing.assert_array_equal(places, x[:, 0])
        assert ((values > 0.0) & (values < 1.0)).all()
    shown = Slice.of(model, x[:0], y[:0], target=0, given={"r": 2.0})
    places, values = shown.samples(0)
    assert len(places) == 3 * len(shown.points)
    error = shown.distribution.std().max() / np.sqrt(len(values))
    assert abs(values.mean() - shown.distribution.mean().mean()) < 5.0 * error


def test_levels_of_a_category_are_side_by_side() -> None:
    model, x, y = with_a_category()
    feature, values = model.schema.features[0], x[:, 0]
    places = feature_places(feature, values)
    assert (np.abs(places - values) < 0.5).all()
    assert len(np.unique(places)) == len(places)
    assert feature_ticks(feature, values) == {0.0: "red", 1.0: "green", 2.0: "blue"}
    other = np.append(values, feature.other)
    assert feature_ticks(feature, other)[float(feature.other)] == "(other)"
    shown = Slice.of(model, x, y, along="kind")
    assert (np.diff(shown.grid) > 0.0).all()
    np.testing.assert_array_equal(np.unique(np.round(shown.grid)), [0.0, 1.0, 2.0])


def test_numbers_have_no_ticks_of_their_own() -> None:
    model, x, _ = inverse_sinusoid()
    assert feature_ticks(model.schema.features[0], x[:, 0]) == {}


def test_given_values_in_a_title() -> None:
    assert given_values({}) == ""
    assert given_values({"a": 1.25, "b": np.zeros(3)}) == "a = 1.25, b of the row"


def test_only_the_eight_heaviest_components_are_coloured() -> None:
    weights = np.array([[12.0, 1.0, 11.0, 2.0, 10.0, 3.0, 9.0, 4.0, 8.0, 5.0, 7.0, 6.0]])
    mixture = GaussianMixture(
        np.log(weights / weights.sum()), np.zeros((1, 12, 1)), np.ones((1, 12, 1))
    )
    colours = style.component_colours(mixture)
    grey = [k for k, colour in enumerate(colours) if colour == style.GREY]
    assert grey == [1, 3, 5, 7]
    assert len(set(colours) - {style.GREY}) == 8
    assert style.grey_first(colours)[:4] == grey


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_a_pale_colour_is_the_opaque_one_over_white(strength: float) -> None:
    assert style.pale("#000000", strength) == pytest.approx((1.0 - strength,) * 3)
