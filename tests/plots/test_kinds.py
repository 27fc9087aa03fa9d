from pathlib import Path

import numpy as np
import pytest
from pictures import opened, saved, texts

from mdncli.density.mixture import GaussianMixture
from mdncli.plots import kinds, style
from mdncli.plots.slice import scene

KINDS = [
    *("overview", "parameters", "components", "samples"),
    *("density", "modes", "intervals", "comparison", "training"),
]
SIGNATURES = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_with_one_feature_in_every_format(fitted: Path, kind: str) -> None:
    density, x, y = opened(fitted)
    figure = kinds.draw(kind, density, x, y)
    for file_format, signature in SIGNATURES.items():
        assert saved(figure, file_format).startswith(signature)
    if kind != "training":
        assert "y given x" in texts(figure)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_with_several_features_and_targets(wide: Path, kind: str) -> None:
    density, x, y = opened(wide)
    figure = kinds.draw(kind, density, x, y, target="v")
    assert len(saved(figure)) > 10_000
    if kind != "training":
        # Only `a` moves the second target.
        assert "v given a\n(b, c at the medians)" in texts(figure)
        along = kinds.draw(kind, density, x, y, along="c")
        assert "u given c\n(a, b at the medians)" in texts(along)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "comparison"])
def test_every_kind_but_comparison_works_without_a_table(wide: Path, kind: str) -> None:
    density, x, y = opened(wide)
    assert len(saved(kinds.draw(kind, density, x[:0], y[:0]))) > 10_000


def test_along_is_by_default_the_feature_that_moves_the_mean_most(wide: Path) -> None:
    density, x, y = opened(wide)
    assert scene(density, x, y, target="u").feature_name == "b"
    assert scene(density, x, y, target="v").feature_name == "a"


def test_a_scene_holds_the_other_features_at_their_medians(wide: Path) -> None:
    density, x, y = opened(wide)
    shown = scene(density, x, y, along="b")
    np.testing.assert_allclose(shown.points[:, 0], np.median(x[:, 0]))
    np.testing.assert_allclose(shown.points[:, 2], np.median(x[:, 2]))
    assert (shown.grid[0], shown.grid[-1]) == (x[:, 1].min(), x[:, 1].max())


def test_beyond_eight_components_the_heaviest_are_coloured_and_the_rest_grey() -> None:
    weights = np.array([[12.0, 1.0, 11.0, 2.0, 10.0, 3.0, 9.0, 4.0, 8.0, 5.0, 7.0, 6.0]])
    mixture = GaussianMixture(
        np.log(weights / weights.sum()), np.zeros((1, 12, 1)), np.ones((1, 12, 1))
    )
    colours = style.component_colours(mixture)
    grey = [k for k, colour in enumerate(colours) if colour == style.GREY]
    assert grey == [1, 3, 5, 7]
    assert len(set(colours) - {style.GREY}) == 8


def test_a_component_has_one_colour_in_every_panel(fitted: Path) -> None:
    density, x, y = opened(fitted)
    figure = kinds.draw("overview", density, x, y)
    weights, means, scales, _ = figure.axes
    drawn = [line.get_color() for line in weights.lines]
    for panel in (means, scales):
        panel_colours = [lines.get_colors()[0][:3] for lines in panel.collections]
        from matplotlib.colors import to_rgb

        assert [to_rgb(colour) for colour in drawn] == [tuple(c) for c in panel_colours]


def test_more_components_than_any_share_can_reach_are_drawn(fitted: Path) -> None:
    from dataclasses import replace

    density, x, y = opened(fitted)
    [network] = density.networks
    weight, _ = network.layers[-1]
    many = replace(density.architecture, mixtures=200)
    head = np.zeros((many.head_width(1), weight.shape[1])), np.zeros(many.head_width(1))
    wider = replace(network, layers=[*network.layers[:-1], head])
    figure = kinds.draw("overview", replace(density, architecture=many, networks=[wider]), x, y)
    assert len(saved(figure)) > 10_000


def test_the_title_stays_on_the_figure(wide: Path) -> None:
    from dataclasses import replace

    density, x, y = opened(wide)
    longer = tuple(
        replace(column, name=f"{column.name} " + "a long name of " * 5)
        for column in density.schema.features
    )
    schema = replace(density.schema, features=longer)
    figure = kinds.draw("parameters", replace(density, schema=schema), x, y)
    with style.style():
        figure.draw_without_rendering()
        assert figure._suptitle.get_window_extent().x1 < figure.bbox.x1


@pytest.mark.parametrize("name", ["$x_1$", "100% [bold] \\alpha", "tab\tand\u202eturn", "x" * 300])
def test_names_from_a_file_are_drawn_as_they_are(fitted: Path, name: str) -> None:
    from dataclasses import replace

    density, x, y = opened(fitted)
    [feature], [target] = density.schema.features, density.schema.targets
    schema = replace(
        density.schema,
        features=(replace(feature, name=name),),
        targets=(replace(target, name=name),),
    )
    figure = kinds.draw("overview", replace(density, schema=schema), x, y)
    words = texts(figure)
    assert len(saved(figure)) > 10_000
    assert "\u202e" not in words
    if name != "x" * 300 and name.isprintable():
        assert name in words
    assert "x" * 60 not in words


def test_the_same_seed_draws_the_same_bytes(fitted: Path) -> None:
    density, x, y = opened(fitted)
    for file_format in SIGNATURES:
        one, two, other = (
            saved(kinds.draw("samples", density, x, y, seed=seed), file_format)
            for seed in (0, 0, 1)
        )
        assert one == two
        assert one != other


def test_a_matplotlibrc_of_the_user_changes_nothing(fitted: Path) -> None:
    import matplotlib as mpl

    density, x, y = opened(fitted)
    plain = saved(kinds.draw("density", density, x, y))
    with mpl.rc_context({"font.size": 30.0, "axes.facecolor": "black", "savefig.dpi": 30}):
        assert saved(kinds.draw("density", density, x, y)) == plain
