"""Every kind of picture: panels, labels, titles, formats, repeatability, and refusals."""

import warnings
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from density.models import (
    Example,
    bounded_targets,
    inverse_sinusoid,
    twenty_features,
    two_targets,
    with_a_category,
    with_names,
)
from matplotlib.artist import Artist
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from pictures import bytes_of, panel_titles, title_of, words_of

from mdncli.errors import DataError, ParameterError
from mdncli.plots import KINDS, draw, style

ALONG = [
    *("overview", "parameters", "components", "samples"),
    *("density", "modes", "intervals", "comparison"),
]
# The titles of the panels, and the labels of their vertical axes.
PANELS = {
    "overview": (
        ["weights π", "means μ, opacity by π", "standard deviations σ, opacity by π"],
        ["π", "μ of y", "σ of y", "y"],
    ),
    "parameters": (
        ["weights π", "means μ, opacity by π", "standard deviations σ, opacity by π"],
        ["π", "μ of y", "σ of y"],
    ),
    "components": (["means ± one σ, opacity by π"], ["y"]),
    "samples": (["samples at the rows of the data"], ["y"]),
    "density": (["conditional density"], ["y", "p(y | x)"]),
    "modes": (["means of the components"], ["y"]),
    "intervals": (["highest-density regions"], ["y"]),
    "comparison": (["data", "least-squares baseline: mean ± 2 σ", "samples of the mixture"], ["y"]),
    "training": (["negative log-likelihood of y during training"], ["NLL (nats per row)"]),
    "calibration": (
        ["PIT histogram", "ECDF minus uniform", "coverage"],
        ["density", "share of PIT ≤ u, minus u", "observed share"],
    ),
    "residuals": ([""], ["PIT"]),
    "row": (["row 1\nx="], ["density"]),
}
SIGNATURES = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


def some(example: Example, rows: int = 100) -> Example:
    model, x, y = example
    return model, x[:rows], y[:rows]


@pytest.mark.parametrize("kind", PANELS)
def test_the_panels_of_every_kind(kind: str) -> None:
    figure = draw(kind, *some(inverse_sinusoid()))
    titles, labels = PANELS[kind]
    for found, expected in zip(panel_titles(figure), titles, strict=False):
        assert found.startswith(expected)
    assert [axes.get_ylabel() for axes in figure.axes][: len(labels)] == labels


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn_without_warnings_and_is_the_same_twice(kind: str) -> None:
    example = some(two_targets() if kind == "pairs" else inverse_sinusoid(), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, two = (bytes_of(draw(kind, *example), "svg") for _ in range(2))
    assert one == two


@pytest.mark.parametrize("file_format", SIGNATURES)
@pytest.mark.parametrize("kind", ["density", "intervals"])
def test_a_picture_is_the_same_twice_in_every_format(kind: str, file_format: str) -> None:
    example = some(inverse_sinusoid())
    one, two = (bytes_of(draw(kind, *example), file_format) for _ in range(2))
    assert one.startswith(SIGNATURES[file_format])
    assert one == two


@pytest.mark.parametrize("kind", ALONG)
def test_the_title_names_target_and_feature_and_where_the_others_are(kind: str) -> None:
    assert title_of(draw(kind, *some(inverse_sinusoid()))) == "y given x"
    example = some(two_targets())
    # Only a moves the second target.
    assert title_of(draw(kind, *example, target="v")) == "v given a\n(b, c at the medians)"
    assert title_of(draw(kind, *example, along="c")) == "u given c\n(a, b at the medians)"


@pytest.mark.parametrize("kind", ALONG)
def test_given_targets_are_in_the_title_and_condition_the_picture(kind: str) -> None:
    model, x, y = some(bounded_targets())
    one, other = (draw(kind, model, x, y, given={"p": value}) for value in (0.5, 3.0))
    assert title_of(one) == "q given x\n(p = 0.5)"
    # The scatter of the data is the same; the model's answers are not.
    assert bytes_of(one) != bytes_of(other)


@pytest.mark.parametrize("kind", [kind for kind in ALONG if kind != "comparison"])
def test_without_a_table_there_is_no_data_in_the_picture(kind: str) -> None:
    model, x, y = two_targets()
    figure = draw(kind, model, x[:0], y[:0])
    low, high = figure.axes[0].get_xlim()
    # The axis shows the training range and a margin.
    assert (low, high) == pytest.approx((x[:, 1].min(), x[:, 1].max()), abs=0.05 * np.ptp(x[:, 1]))
    labels = {each.get_label() for axes in figure.axes for each in axes.collections}
    assert "data" not in labels


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_with_bounds(kind: str) -> None:
    model, x, y = some(bounded_targets(), 20)
    figure = draw(kind, model, x, y, target="q")
    assert ("q" if kind != "training" else "p, q, r") in words_of(figure)
    if kind in ("parameters", "overview"):
        assert figure.axes[1].get_ylabel() == "μ of transformed q, 0 to 1"


@pytest.mark.parametrize("kind", [kind for kind in ALONG if kind != "comparison"])
def test_a_category_has_its_levels_on_the_axis(kind: str) -> None:
    model, x, y = some(with_a_category())
    figure = draw(kind, model, x, y, along="kind")
    axes = figure.axes[2 if kind == "parameters" else 0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["red", "green", "blue"]
    assert "size at typical values" in title_of(figure)


@pytest.mark.parametrize("kind", ["calibration", "residuals", "row"])
def test_a_kind_that_needs_rows_says_so(kind: str) -> None:
    model, x, y = inverse_sinusoid()
    with pytest.raises(DataError, match=f"kind='{kind}' needs rows"):
        draw(kind, model, x[:0], y[:0])


def test_a_comparison_needs_a_baseline() -> None:
    model, x, y = twenty_features()
    with pytest.raises(DataError, match="needs a least-squares baseline.*Fit it with baseline"):
        draw("comparison", model, x, y)


@pytest.mark.parametrize("kind", ["calibration", "residuals", "training"])
def test_a_kind_that_does_not_condition_refuses_given(kind: str) -> None:
    model, x, y = two_targets()
    with pytest.raises(ParameterError, match=f"given does not apply to kind='{kind}'"):
        draw(kind, model, x, y, given={"u": 1.0})


def test_along_a_feature_a_given_value_is_one_number() -> None:
    model, x, y = two_targets()
    with pytest.raises(ParameterError, match="given of 'u' must be one number for kind='modes'"):
        draw("modes", model, x, y, given={"u": y[:, 0]})


def test_wrong_names_are_refused_with_the_nearest_one() -> None:
    model, x, y = two_targets()
    with pytest.raises(ParameterError, match=r"kind is 'overveiw'\. Did you mean 'overview'\?"):
        draw("overveiw", model, x, y)
    with pytest.raises(DataError, match=r"no target 'w'.*Its targets are: 'u', 'v'"):
        draw("row", model, x, y, target="w")
    with pytest.raises(DataError, match=r"no feature 'A'\. Did you mean 'a'\?"):
        draw("modes", model, x, y, along="A")
    with pytest.raises(DataError, match="'u' is both target and given"):
        draw("modes", model, x, y, target="u", given={"u": 1.0})


@pytest.mark.parametrize("kind", [*ALONG[1:-1], "calibration", "residuals", "row"])
def test_long_words_stay_on_the_figure_and_apart(kind: str) -> None:
    model, x, y = some(twenty_features())
    names = [f"$x_1$ {feature.name} " + "long " * 9 for feature in model.schema.features]
    model = with_names(model, names, ["y long " * 9])
    [target] = model.schema.targets
    stepped = replace(model, schema=replace(model.schema, targets=(replace(target, step=1e-5),)))
    figure = draw(kind, stepped, -1.23456e-5 * x, y)
    with style.picture_style():
        figure.draw_without_rendering()
        [headline] = texts_with(figure, figure.get_suptitle())
        assert headline.x1 < figure.bbox.x1
        for axes in figure.axes:
            titles = texts_with(axes, axes.get_title(loc="left"))
            assert all(title.x1 < figure.bbox.x1 for title in titles)
            legend = axes.get_legend()
            if legend is not None:
                box = legend.get_window_extent()
                assert not any(box.overlaps(title) for title in (headline, *titles))


def texts_with(artist: Artist, words: str) -> list[Bbox]:
    """Return the boxes of all texts with these words, if there are any words."""
    found = [text for text in artist.findobj(Text) if words and text.get_text() == words]
    return [text.get_window_extent() for text in found]


@pytest.mark.parametrize("name", ["$x_1$", "100% [bold] \\alpha", "tab\tand\u202eturn", "x" * 300])
def test_names_from_a_file_are_drawn_as_they_are(name: str) -> None:
    model, x, y = some(inverse_sinusoid())
    words = words_of(draw("overview", with_names(model, [name], [name]), x, y))
    assert "\u202e" not in words
    if name != "x" * 300 and name.isprintable():
        assert name in words
    assert "x" * 60 not in words
    assert name[:3] in words


@pytest.mark.parametrize("file_format", SIGNATURES)
def test_the_seed_decides_the_samples(file_format: str) -> None:
    example = some(inverse_sinusoid())
    one, two, other = (
        bytes_of(draw("samples", *example, seed=seed), file_format) for seed in (0, 0, 1)
    )
    assert one == two
    assert one != other


def test_the_matplotlibrc_of_the_user_changes_nothing_and_is_not_changed() -> None:
    example = some(inverse_sinusoid())
    plain = bytes_of(draw("density", *example))
    with mpl.rc_context({"font.size": 30.0, "axes.facecolor": "black", "savefig.dpi": 30}):
        before = dict(mpl.rcParams)
        assert bytes_of(draw("density", *example)) == plain
        assert dict(mpl.rcParams) == before
