"""The pictures that judge a model, and its bands: what is drawn is what was computed otherwise."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from pictures import opened, saved, texts
from scipy.stats import binom

from mdncli.density.distribution import Distribution
from mdncli.density.evaluation import evaluate
from mdncli.density.model import ConditionalDensity
from mdncli.errors import DataError
from mdncli.plots import calibration, intervals, kinds, residuals, style
from mdncli.plots.calibration import judged
from mdncli.plots.slice import of_target, scene
from running import Run, mdn

JUDGING = ["calibration", "residuals", "row"]
KINDS = [*JUDGING, "intervals"]


@pytest.fixture(scope="module")
def twenty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a table of twenty features, of which an ensemble learned little."""
    folder = tmp_path_factory.mktemp("twenty")
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 20))
    y = 3.0 * x[:, 13] + rng.normal(size=400)
    header = ",".join([f"feature_{i}" for i in range(20)] + ["y"])
    rows = np.column_stack([x, y])
    np.savetxt(folder / "data.csv", rows, delimiter=",", header=header, comments="")
    done = mdn("fit", "data.csv", "--members", "5", "--epochs", "1", "-q", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def drawn(kind: str, folder: Path, rows: slice = slice(None), **options: object) -> Figure:
    density, x, y = opened(folder)
    return kinds.draw(kind, density, x[rows], y[rows], **options)


def one_gaussian(density: ConditionalDensity) -> ConditionalDensity:
    """Return the model with a head that answers the same Gaussian everywhere."""
    [network] = density.networks
    weight, _ = network.layers[-1]
    one = replace(density.architecture, mixtures=1)
    width = one.head_width(len(density.schema.targets))
    head = np.zeros((width, weight.shape[1])), np.zeros(width)
    simple = replace(network, layers=[*network.layers[:-1], head])
    return replace(density, architecture=one, networks=[simple])


def in_steps(density: ConditionalDensity, step: float) -> ConditionalDensity:
    """Return the model with its first target recorded in steps."""
    first, *others = density.schema.targets
    targets = (replace(first, step=step), *others)
    return replace(density, schema=replace(density.schema, targets=targets))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_draws_quietly_and_the_same_bytes_twice(
    fitted: Path, wide: Path, kind: str
) -> None:
    for folder, options in ((fitted, {}), (wide, {"target": "v"})):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            one, two = (saved(drawn(kind, folder, **options)) for _ in range(2))
        assert one == two
        assert len(one) > 10_000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 20])
def test_few_rows_and_many_features_and_members(twenty: Path, kind: str, rows: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(saved(drawn(kind, twenty, slice(rows)))) > 10_000


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_the_same_svg_and_pdf_twice(fitted: Path, kind: str) -> None:
    for file_format in ("svg", "pdf"):
        one, two = (saved(drawn(kind, fitted, slice(5)), file_format) for _ in range(2))
        assert one == two


@pytest.mark.parametrize("kind", JUDGING)
def test_a_kind_that_needs_rows_says_so(fitted: Path, kind: str) -> None:
    with pytest.raises(ValueError, match="no rows"):
        drawn(kind, fitted, slice(0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_that_is_not_there_is_refused(wide: Path, kind: str) -> None:
    with pytest.raises(DataError, match="no target 'w'"):
        drawn(kind, wide, target="w")


@pytest.mark.parametrize("kind", KINDS)
def test_words_stay_on_the_figure_and_apart(twenty: Path, kind: str) -> None:
    density, x, y = opened(twenty)
    longer = tuple(
        replace(column, name=f"$x_1$ {column.name} " + "long " * 9)
        for column in density.schema.features
    )
    [target] = density.schema.targets
    schema = replace(
        density.schema, features=longer, targets=(replace(target, name="y long " * 9, step=1e-5),)
    )
    figure = kinds.draw(kind, replace(density, schema=schema), -1.23456e-5 * x, y)
    with style.style():
        figure.draw_without_rendering()
        boxes = [figure._suptitle.get_window_extent()]
        boxes += [axes._left_title.get_window_extent() for axes in figure.axes]
        for box in boxes:
            assert box.x1 < figure.bbox.x1
        for axes in figure.axes:
            if axes.get_legend():
                assert not axes.get_legend().get_window_extent().overlaps(boxes[0])
                title = axes._left_title.get_window_extent()
                assert not axes.get_legend().get_window_extent().overlaps(title)


# calibration


def test_the_pit_is_what_evaluate_scores(wide: Path) -> None:
    density, x, y = opened(wide)
    stepped = in_steps(density, 2.0)
    for target, name in enumerate("uv"):
        scored = evaluate(stepped, x, y, seed=5).by_row.pit[:, target]
        np.testing.assert_array_equal(judged(stepped, x, y, target=name, seed=5).pit, scored)


def test_coverage_is_the_share_of_values_inside_their_central_intervals(wide: Path) -> None:
    density, x, y = opened(wide)
    coverage = kinds.draw("calibration", density, x, y, target="v").axes[2]
    levels, shares = coverage.lines[-1].get_data()
    answer = Distribution(of_target(density.mixture(x), 1))
    for level in (0.1, 0.5, 0.8, 0.95):
        low, high = answer.interval(level).T
        [at] = np.flatnonzero(np.isclose(levels, level))
        assert shares[at] == pytest.approx(np.mean((y[:, 1] >= low) & (y[:, 1] <= high)))


def test_the_histogram_and_the_ecdf_count_the_pit(fitted: Path) -> None:
    density, x, y = opened(fitted)
    pit = Distribution(density.mixture(x)).cdf(y[:, 0])
    histogram, ecdf, _ = kinds.draw("calibration", density, x, y).axes
    heights, edges, _ = histogram.patches[1].get_data()
    assert len(heights) == 20
    for height, low, high in zip(heights, edges[:-1], edges[1:], strict=True):
        assert height == pytest.approx(20.0 * np.mean((pit >= low) & (pit < high)))
    u, difference = ecdf.lines[-1].get_data()
    np.testing.assert_allclose(difference, [np.mean(pit <= each) - each for each in u], atol=1e-12)


def test_the_histogram_s_band_holds_a_bin_of_a_uniform_in_95_percent(fitted: Path) -> None:
    histogram, _, _ = drawn("calibration", fitted, slice(500)).axes
    band = histogram.patches[0].get_bbox()
    low, high = 500 * band.y0 / 20.0, 500 * band.y1 / 20.0
    inside = binom.cdf(round(high), 500, 0.05) - binom.cdf(round(low) - 1, 500, 0.05)
    assert 0.95 <= inside < 0.98


@pytest.mark.parametrize("rows", [1, 20, 300, 20_000])
def test_the_ecdf_band_holds_95_percent_of_uniform_samples(rows: int) -> None:
    low, high = calibration.simultaneous_band(rows)
    rng = np.random.default_rng(11)
    differences = [calibration.ecdf_difference(rng.random(rows)) for _ in range(1000)]
    inside = [bool(((low <= d + 1e-9) & (d <= high + 1e-9)).all()) for d in differences]
    assert 0.93 < np.mean(inside) < 0.98


def test_the_ecdf_leaves_its_band_where_the_model_is_wrong(wide: Path) -> None:
    density, x, _ = opened(wide)
    rng = np.random.default_rng(0)
    y = np.concatenate([y for _, y, _ in density.sample(x, 1, rng)])
    scale = y[:, 0].std()
    for wrong, values in (
        (False, y),
        (True, y + 0.2 * scale),
        (True, y.mean(axis=0) + 1.5 * (y - y.mean(axis=0))),
    ):
        _, ecdf, coverage = kinds.draw("calibration", density, x, values).axes
        low, high = calibration.simultaneous_band(len(x))
        difference = ecdf.lines[-1].get_ydata()
        assert ((difference < low) | (difference > high)).any() == wrong
        assert len(coverage.collections) == 1


def test_a_target_in_steps_is_told_and_its_pit_is_seeded(fitted: Path) -> None:
    density, x, y = opened(fitted)
    stepped = in_steps(density, 0.5)
    for kind in ("calibration", "residuals"):
        words = texts(kinds.draw(kind, stepped, x, y))
        assert "PIT drawn at random within the target's steps of 0.5" in words
        assert "drawn at random" not in texts(kinds.draw(kind, density, x, y))
    one, two, other = (
        kinds.draw("calibration", stepped, x, y, seed=seed).axes[1].lines[-1].get_ydata()
        for seed in (0, 0, 1)
    )
    assert (one == two).all()
    assert (one != other).any()


# intervals


def polygons(axes: Axes) -> dict[str, PolyCollection]:
    return {each.get_label(): each for each in axes.collections if hasattr(each, "set_verts")}


def test_regions_are_drawn_where_the_density_splits(fitted: Path) -> None:
    density, x, y = opened(fitted)
    shown = scene(density, x, y)
    answer = Distribution(shown.mixture())
    [axes] = kinds.draw("intervals", density, x, y).axes
    assert axes.get_title(loc="left") == "highest-density regions"
    levels = np.linspace(y.min(), y.max(), 60)
    for name, coverage in (("50%", 0.5), ("90%", 0.9)):
        regions = answer.hdr(coverage)
        assert regions.shape[1] > 1
        paths = polygons(axes)[name].get_paths()
        for point in range(5, 400, 13):
            places = np.column_stack([np.full(60, shown.grid[point]), levels])
            painted = np.any([path.contains_points(places) for path in paths], axis=0)
            low, high = regions[point, :, :1], regions[point, :, 1:]
            np.testing.assert_array_equal(painted, ((levels > low) & (levels < high)).any(axis=0))


def test_central_intervals_are_drawn_of_a_density_of_one_branch(wide: Path) -> None:
    density, x, y = opened(wide)
    simple = one_gaussian(density)
    [axes] = kinds.draw("intervals", simple, x, y, along="a", target="v").axes
    assert axes.get_title(loc="left") == "central intervals"
    answer = Distribution(scene(simple, x, y, along="a", target="v").mixture())
    for name, coverage in (("50%", 0.5), ("90%", 0.9)):
        [path] = polygons(axes)[name].get_paths()
        low, high = answer.interval(coverage)[0]
        box = path.get_extents()
        np.testing.assert_allclose([box.y0, box.y1], [low, high])
        np.testing.assert_allclose([box.x0, box.x1], [x[:, 0].min(), x[:, 0].max()])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), answer.median())


def test_a_band_beyond_the_data_is_shown_but_does_not_crowd_them_out(wide: Path) -> None:
    density, x, y = opened(wide)
    simple = one_gaussian(density)
    low, high = Distribution(simple.mixture(x[:1])).interval(0.9)[0, 0]
    column = density.schema.targets[0]
    middle = 0.5 * (low + high)
    for share, shown in ((0.8, 1.0), (0.1, 0.2)):
        reach = 0.5 * share * (high - low)
        narrow = replace(column, lowest=middle - reach, highest=middle + reach)
        schema = replace(simple.schema, targets=(narrow, *density.schema.targets[1:]))
        [axes] = kinds.draw("intervals", replace(simple, schema=schema), x[:0], y[:0]).axes
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
    outlines = intervals._outlines(np.arange(5.0), bands)
    across = [(float(each[:, 0].min()), float(each[:, 0].max())) for each in outlines]
    assert across == [(0.0, 1.5), (1.5, 2.5), (1.5, 2.5), (2.5, 3.5), (3.5, 4.0)]


# row


def test_each_of_the_first_nine_rows_has_a_panel_and_its_value(wide: Path) -> None:
    density, x, y = opened(wide)
    figure = kinds.draw("row", density, x, y, target="v")
    assert len(figure.axes) == 9
    assert "(the first 9 of 400 rows)" in texts(figure)
    for row, axes in enumerate(figure.axes):
        named = ", ".join(f"{name}={value:.4g}" for name, value in zip("abc", x[row], strict=True))
        assert axes.get_title(loc="left") == f"row {row + 1}\n{named}"
        [value] = [line for line in axes.lines if line.get_label() == "the row's value"]
        assert list(value.get_xdata()) == [y[row, 1]] * 2
    assert "first" not in texts(kinds.draw("row", density, x[:9], y[:9]))


def test_a_row_s_curve_is_its_density_and_the_shade_holds_90_percent(fitted: Path) -> None:
    density, x, y = opened(fitted)
    for axes, mixture_row in zip(kinds.draw("row", density, x, y).axes, range(9), strict=True):
        [curve] = [line for line in axes.lines if line.get_label() == "density"]
        at, height = curve.get_data()
        answer = Distribution(density.mixture(np.repeat(x[[mixture_row]], len(at), axis=0)))
        np.testing.assert_allclose(height, np.exp(answer.log_prob(at)), rtol=1e-9)
        assert np.trapezoid(height, at) == pytest.approx(0.999, abs=2e-3)
        [shade] = axes.collections
        mass = 0.0
        for path in shade.get_paths():
            corners = path.vertices
            after = np.roll(corners, -1, axis=0)
            mass += 0.5 * abs((corners[:, 0] * after[:, 1] - after[:, 0] * corners[:, 1]).sum())
        assert mass == pytest.approx(0.9, abs=2e-3)


def test_rows_without_targets_are_drawn_without_values(fitted: Path) -> None:
    density, x, y = opened(fitted)
    figure = kinds.draw("row", density, x[:2], np.full_like(y[:2], np.nan))
    assert "density" in texts(figure)
    assert "the row's value" not in texts(figure)


def test_a_value_far_off_and_a_narrow_component_are_both_in_the_panel(fitted: Path) -> None:
    density, x, y = opened(fitted)
    figure = kinds.draw("row", density, x[:1], y[:1] + 1e5)
    [axes] = figure.axes
    [curve] = [line for line in axes.lines if line.get_label() == "density"]
    assert axes.get_xlim()[1] > y[0, 0] + 1e5
    assert np.trapezoid(curve.get_ydata(), curve.get_xdata()) == pytest.approx(1.0, abs=0.02)


def test_a_title_names_three_features_at_most(twenty: Path) -> None:
    title = drawn("row", twenty, slice(1)).axes[0].get_title(loc="left")
    assert title.count("=") == 3
    assert title.endswith(", …")


# residuals


def test_there_is_a_panel_for_each_feature_up_to_twelve(wide: Path, twenty: Path) -> None:
    figure = drawn("residuals", wide)
    assert [axes.get_xlabel() for axes in figure.axes] == ["a", "b", "c"]
    assert "most" not in texts(figure)
    many = drawn("residuals", twenty)
    assert len(many.axes) == 12
    assert "(the 12 of 20 features that it depends on most)" in texts(many)
    # The model learned for an epoch: what it has not yet seen is the effect of this one.
    assert many.axes[0].get_xlabel() == "feature_13"


def test_the_running_quantiles_are_those_of_the_pit_in_each_bin(wide: Path) -> None:
    density, x, y = opened(wide)
    pit = Distribution(density.mixture(x)).cdf(y)[:, 0]
    axes = kinds.draw("residuals", density, x, y).axes[1]
    running = [line.get_ydata() for line in axes.lines if "running" in line.get_label()]
    # 400 rows are five bins of 80.
    bins = np.array_split(pit[np.argsort(x[:, 1])], 5)
    for level, values in zip((0.1, 0.5, 0.9), running, strict=True):
        np.testing.assert_allclose(values, [np.quantile(each, level) for each in bins])


def test_a_few_distinct_values_have_a_bin_each_and_ties_are_never_split() -> None:
    rng = np.random.default_rng(0)
    few = rng.choice([-1.0, 0.5, 7.0], p=[0.9, 0.08, 0.02], size=60)
    np.testing.assert_array_equal(residuals.bins(few), np.searchsorted([-1.0, 0.5, 7.0], few))
    tied = np.round(rng.normal(size=4000) * 10.0)
    tied[:2500] = 0.0
    places = residuals.bins(tied)
    assert all(len(set(places[tied == value])) == 1 for value in set(tied))
    assert set(places) == set(range(places.max() + 1))
    assert places.max() >= 5
    even = residuals.bins(rng.normal(size=4000))
    np.testing.assert_array_equal(np.bincount(even), np.full(20, 200))
    assert set(residuals.bins(np.full(500, 3.0))) == {0}


def test_dependence_finds_a_shift_and_a_spread_and_nothing_in_noise() -> None:
    rng = np.random.default_rng(0)
    x, pit = rng.normal(size=2000), rng.random(2000)
    shifted = np.where(x > 0.5, pit**3, pit)
    narrow = np.where(np.abs(x) > 1.0, 0.5 + 0.7 * (pit - 0.5), pit)
    assert abs(residuals.dependence(x, pit)) < 4.0
    assert residuals.dependence(x, shifted) > 8.0
    assert residuals.dependence(x, narrow) > 8.0
    assert residuals.dependence(np.ones(2000), shifted) == 0.0
    assert residuals.dependence(x, np.full(2000, 0.5)) == 0.0


def test_a_feature_that_is_constant_in_the_table_is_drawn(wide: Path) -> None:
    density, x, y = opened(wide)
    x[:, 1] = 50.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(saved(kinds.draw("residuals", density, x, y))) > 10_000


# the command


@pytest.mark.parametrize("kind", ["calibration", "residuals"])
def test_a_kind_that_judges_by_data_is_refused_without(fitted: Path, run: Run, kind: str) -> None:
    done = run("plot", fitted / "model.pt", "--kind", kind)
    assert done.returncode == 2
    assert f"mdn plot MODEL DATA --kind {kind}" in done.stderr.decode()


def test_row_and_rows_go_together(fitted: Path, run: Run) -> None:
    model, data = fitted / "model.pt", fitted / "data.csv"
    without = run("plot", model, "--kind", "row")
    assert without.returncode == 2
    assert "mdn plot MODEL --kind row --rows FILE" in without.stderr.decode()
    other = run("plot", model, data, "--kind", "calibration", "--rows", data)
    assert other.returncode == 2
    assert "--rows is for --kind row" in other.stderr.decode()
    both = run("plot", "-", "--kind", "row", "--rows", "-")
    assert both.returncode == 2
    assert run("plot", model, "--kind", "row", "--rows", "none.csv").returncode == 66


@pytest.mark.parametrize(
    "arguments",
    [
        ("h.csv", "--kind", "calibration"),
        ("h.csv", "--kind", "residuals"),
        ("--kind", "row", "--rows", "h.csv"),
    ],
)
def test_a_header_alone_is_refused(
    fitted: Path, run: Run, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "h.csv").write_text("x,y\n")
    done = run("plot", fitted / "model.pt", *arguments)
    assert done.returncode == 65
    assert "h.csv: --kind" in done.stderr.decode()
    assert "needs rows" in done.stderr.decode()
    assert not (tmp_path / "plot.png").exists()


def test_rows_may_lack_their_targets_and_come_from_standard_input(wide: Path, run: Run) -> None:
    rows = b"b,extra,c,a\n50,text,3,0\n60,,3.1,-1\n"
    arguments = ("plot", wide / "model.pt", "--kind", "row", "--rows", "-", "-o", "-")
    done = run(*arguments, stdin=rows)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"\x89PNG")
    # Of the targets only the one shown is looked at.
    with_other = b"b,c,a,v\n50,3,0,?\n60,3.1,-1,?\n"
    assert run(*arguments, stdin=with_other).stdout == done.stdout
    refused = run(*arguments, "--target", "v", stdin=with_other)
    assert refused.returncode == 65
    assert "column 'v'" in refused.stderr.decode()
