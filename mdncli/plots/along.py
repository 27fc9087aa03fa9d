"""Pictures along one feature: the density, its intervals and samples, and the components."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mdncli.columns.discrete import Wrapped
from mdncli.density.distribution import Distribution
from mdncli.plots.slice import (
    Slice,
    label_axes,
    label_feature,
    limits_of_u,
    target_limits,
    title,
    value_text,
)
from mdncli.plots.style import (
    BACKGROUND,
    COLOURS,
    DATA,
    GREY,
    canvas,
    component_colours,
    grey_first,
    label_components,
    legend,
    pale,
    plain,
    scatter,
    strong_line,
)
from mdncli.types import Array, Mask

_CELLS = 400
# The probabilities of the bands, and how strong the colour of each is.
_LEVELS = ((0.9, 0.2), (0.5, 0.45))
# The panel of σ shows all components with at least this weight somewhere. The background is drawn
# only where it has at least this weight.
_LEAST_WEIGHT = 0.02
# Of survival curves: their places, as shares of the feature's range; the number of times; how low
# the highest curve ends; and over how many rows the mean is taken.
_PLACES, _TIMES, _LAST_OF_CURVE, _MOST_CURVES = (0.1, 0.5, 0.9), 200, 0.02, 2000


def draw_density(shown: Slice) -> Figure:
    """Return one panel: a map of p(y | x), darker where the density is higher."""
    figure = canvas(8.0, 5.5)
    axes = figure.subplots()
    edges = np.linspace(*target_limits(shown), _CELLS + 1)
    # A cell shows its mean density, from its mass. The density at its centre would miss a narrow
    # peak beside it.
    cdf = np.array([shown.distribution.cdf(edge) for edge in edges])
    density = np.diff(cdf, axis=0) / np.diff(edges)[:, None]
    y = 0.5 * (edges[1:] + edges[:-1])
    # The scale ends at the 99.5th percentile: a single high peak would leave the rest blank.
    highest = float(np.quantile(density, 0.995)) or float(density.max())
    norm = PowerNorm(0.6, vmin=0.0, vmax=highest, clip=True)
    mesh = axes.pcolormesh(
        shown.grid, y, density, norm=norm, cmap="Blues", shading="nearest", rasterized=True
    )
    scatter(axes, *shown.data, colour="#D55E00", label="data")
    label_axes(axes, shown)
    axes.set_title("conditional density")
    names = plain(shown.target_name, 15), plain(shown.feature.name, 15)
    label = "p({} | {})".format(*names)
    figure.colorbar(mesh, ax=axes, label=label, extend="max", ticks=MaxNLocator(5, prune="upper"))
    title(figure, shown)
    return figure


def draw_samples(shown: Slice, seed: int) -> Figure:
    """Return one panel: samples of the model over the data."""
    figure = canvas(8.0, 5.5)
    axes = figure.subplots()
    draw_samples_on(axes, shown, seed)
    title(figure, shown)
    return figure


def draw_samples_on(axes: Axes, shown: Slice, seed: int) -> None:
    """Draw a sample at every row of the table or, without a table, along the feature."""
    scatter(axes, *shown.data, colour=DATA, label="data")
    scatter(axes, *shown.samples(seed), colour=COLOURS[4], label="samples")
    label_axes(axes, shown)
    axes.set_title("samples at the rows of the data" if len(shown.x) else "samples")
    legend(axes)


def draw_comparison(shown: Slice, seed: int) -> Figure:
    """Return three panels with the same axes: the data, the least-squares fit, and samples.

    The model must have a least-squares baseline.
    """
    figure = canvas(13.0, 4.8)
    data, baseline, samples = figure.subplots(1, 3, sharex=True, sharey=True)
    scatter(data, *shown.data, colour=DATA, label="data")
    data.set_title("data")

    scatter(baseline, *shown.data, colour=DATA, label="data")
    gaussian, forward = shown.baseline, shown.transform.forward
    mean, sigma = gaussian.mu[:, 0, 0], gaussian.sigma[:, 0, 0]
    low, middle, high = (forward(mean + by * sigma) for by in (-2.0, 0.0, 2.0))
    for band in _on_line(shown, np.stack([low, high], axis=1)[:, None]):
        baseline.fill_between(shown.grid, *band[:, 0].T, color=COLOURS[0], alpha=0.2, linewidth=0)
    baseline.plot(shown.grid, middle, color=COLOURS[0], linewidth=2.0)
    of_u = "" if shown.transform.is_identity else f"\nof {plain(shown.name_of_u, 40)}"
    baseline.set_title(f"least-squares baseline: mean ± 2 σ{of_u}")

    scatter(samples, *shown.samples(seed), colour=COLOURS[4], label="samples")
    samples.set_title("samples of the mixture")
    for axes in (data, baseline, samples):
        label_axes(axes, shown)
    title(figure, shown)
    return figure


def draw_intervals(shown: Slice) -> Figure:
    """Return one panel: the median with 50% and 90% bands, under the data.

    The bands are central intervals. A central interval does not show a gap inside it. So if a 50%
    or 90% highest-density region has several intervals anywhere along the feature, highest-density
    regions are drawn instead.
    """
    figure = canvas(8.0, 5.5)
    axes = figure.subplots()
    bands, split = _bands(shown.distribution)
    for (level, strength), band in zip(_LEVELS, bands, strict=True):
        outlines = [
            outline for part in _on_line(shown, band) for outline in outlines_of(shown.grid, part)
        ]
        _fill(axes, outlines, pale(COLOURS[0], strength), f"{level:.0%}")
    scatter(axes, *shown.data, colour=DATA, label="data")
    # Between two branches the median is not a likely value.
    look: dict[str, Any] = {"color": DATA, "linestyle": "--", "linewidth": 1.0}
    if not split:
        look = {"color": COLOURS[0], "linewidth": 2.0}
    if _is_angle(shown):
        # A line would cross the whole picture where an angle begins again.
        look = {"color": DATA, "linestyle": "none", "marker": ".", "markersize": 2.0}
    axes.plot(shown.grid, shown.distribution.median(), label="median", **look)
    label_axes(axes, shown)
    if not _is_angle(shown):
        axes.set_ylim(*_limits(shown, bands))
    axes.set_title("highest-density regions" if split else "central intervals")
    legend(axes)
    title(figure, shown)
    return figure


def _is_angle(shown: Slice) -> bool:
    return isinstance(shown.transform, Wrapped)


def _on_line(shown: Slice, band: Array) -> list[Array]:
    """Return intervals, (P, I, 2), as they are drawn on a line: of an angle three times."""
    transform = shown.transform
    if not isinstance(transform, Wrapped):
        return [band]
    low = band[..., 0]
    unrolled = np.stack([low, low + np.mod(band[..., 1] - low, transform.period)], axis=-1)
    return [unrolled + turn * transform.period for turn in (-1.0, 0.0, 1.0)]


def _bands(predicted: Distribution) -> tuple[list[Array], bool]:
    """Return the intervals (P, I, 2) of each level, and whether they are highest-density regions.

    A row with fewer than I intervals ends with NaN.
    """
    regions = [predicted.hdr(level) for level, _ in _LEVELS]
    if any(region.shape[1] > 1 for region in regions):
        return regions, True
    return [predicted.interval(level)[:, None] for level, _ in _LEVELS], False


def _limits(shown: Slice, bands: list[Array]) -> tuple[float, float]:
    """Return limits of the target that show the data and the bands.

    The bands extend the limits of the data by at most a quarter on each side.
    """
    low, high = target_limits(shown)
    more = 0.25 * (high - low)
    lowest, highest = (float(find(bands[0])) for find in (np.nanmin, np.nanmax))
    return max(low - more, min(low, lowest)), min(high + more, max(high, highest))


def _fill(axes: Axes, outlines: list[Array], colour: tuple[float, float, float], name: str) -> None:
    """Fill polygons with one colour."""
    # Without edges of the same colour, polygons that touch would show a seam.
    axes.add_collection(
        PolyCollection(outlines, facecolors=colour, edgecolors=colour, linewidths=0.5, label=name)
    )


def outlines_of(x: Array, intervals: Array) -> list[Array]:
    """Return polygons, (V, 2), that fill intervals, (P, I, 2), at evenly spaced x, (P,).

    The intervals at two neighbouring points are joined if their numbers are equal and each overlaps
    its counterpart. Otherwise branches begin or end halfway between the points.
    """
    low, high = intervals[..., 0], intervals[..., 1]
    none = np.isnan(low)
    overlap = (low[1:] <= high[:-1]) & (low[:-1] <= high[1:])
    alike = (overlap | (none[1:] & none[:-1])).all(axis=1)
    half = 0.5 * (x[1] - x[0])
    outlines = []
    for run in np.split(np.arange(len(x)), np.flatnonzero(~alike) + 1):
        across = np.concatenate([[x[run[0]] - half], x[run], [x[run[-1]] + half]]).clip(x[0], x[-1])
        for branch in np.flatnonzero(~none[run[0]]):
            bottom, top = (np.pad(end[run, branch], 1, mode="edge") for end in (low, high))
            around = np.append(across, across[::-1]), np.append(bottom, top[::-1])
            outlines.append(np.stack(around, axis=1))
    return outlines


@dataclass(frozen=True)
class _Component:
    """A component of one target along the feature, as pictures draw it; arrays are (P,).

    Attributes:
        position: among all components.
        colour: of its curves.
        pi: its weight.
        mu, sigma: NaN where it is not drawn.
    """

    position: int
    colour: str
    pi: Array
    mu: Array
    sigma: Array


def _components(shown: Slice) -> list[_Component]:
    """Return the components to draw, the coloured ones last, the background only where it matters.

    A background has a weight of a few per mille and a σ of several standard deviations.
    """
    mixture, colours = shown.mixture, _colours(shown)
    drawn = []
    for k in grey_first(colours):
        pi, mu, sigma = mixture.pi[:, k], mixture.mu[:, k, 0], mixture.sigma[:, k, 0]
        if colours[k] == BACKGROUND:
            matters = pi >= _LEAST_WEIGHT
            if not matters.any():
                continue
            mu, sigma = (np.where(matters, part, np.nan) for part in (mu, sigma))
        drawn.append(_Component(k, colours[k], pi, mu, sigma))
    return drawn


def _colours(shown: Slice) -> list[str]:
    return component_colours(shown.mixture, shown.distribution.first_component)


def _label(figure: Figure, shown: Slice) -> None:
    """Add a legend of the components that are drawn."""
    drawn = [each.position for each in _components(shown)]
    label_components(figure, _colours(shown), drawn, shown.distribution.first_component)


def draw_overview(shown: Slice, seed: int) -> Figure:
    """Return four panels: π, μ and σ against the feature, and samples over the data."""
    figure = canvas(11.0, 8.0)
    (weights, means), (scales, samples) = figure.subplots(2, 2)
    _draw_weights(weights, shown)
    _label(figure, shown)
    _draw_means(means, shown)
    _draw_sigmas(scales, shown)
    for axes in (weights, means, scales):
        label_feature(axes, shown)
    draw_samples_on(samples, shown, seed)
    title(figure, shown)
    return figure


def draw_parameters(shown: Slice) -> Figure:
    """Return three panels, one above the other: π, μ and σ."""
    figure = canvas(7.5, 8.5)
    weights, means, scales = figure.subplots(3, 1, sharex=True)
    _draw_weights(weights, shown)
    _draw_means(means, shown)
    _draw_sigmas(scales, shown)
    _label(figure, shown)
    label_feature(scales, shown)
    title(figure, shown)
    return figure


def draw_components(shown: Slice) -> Figure:
    """Return one panel: each mean with a band of one σ over the data, with opacity by π."""
    figure = canvas(8.0, 5.5)
    axes = figure.subplots()
    scatter(axes, *shown.data, colour=DATA, label="data")
    forward = shown.transform.forward
    for each in _components(shown):
        low, middle, high = (forward(each.mu + by * each.sigma) for by in (-1.0, 0.0, 1.0))
        for band in _on_line(shown, np.stack([low, high], axis=1)[:, None]):
            ends = band[:, 0, 0], band[:, 0, 1]
            _draw_band(axes, shown.grid, *ends, 0.4 * np.sqrt(each.pi), each.colour)
        strong_line(axes, shown.grid, middle, each.pi, each.colour)
    label_axes(axes, shown)
    axes.set_title(f"means ± one σ{_of_u(shown, ' ')}, opacity by π")
    _label(figure, shown)
    title(figure, shown)
    return figure


def draw_modes(shown: Slice) -> Figure:
    """Return one panel: all means, and that of the most probable component, over the data."""
    figure = canvas(8.0, 5.5)
    axes = figure.subplots()
    scatter(axes, *shown.data, colour=DATA, label="data")
    forward, label = shown.transform.forward, "all means"
    for each in sorted(_components(shown), key=lambda each: each.position):
        curve = shown.grid, forward(each.mu)
        if each.colour == BACKGROUND:
            axes.plot(*curve, color=BACKGROUND, linewidth=1.2)
            continue
        axes.plot(*curve, color=GREY, linewidth=1.2, label=label)
        label = ""
    # The most probable component changes suddenly. A line would suggest values in between.
    axes.scatter(
        shown.grid,
        shown.distribution.component_mean(),
        s=9,
        color=COLOURS[0],
        linewidths=0,
        zorder=3,
        label="mean of the most probable component",
    )
    label_axes(axes, shown)
    of_u = _of_u(shown, "\n")
    axes.set_title(f"means of the components{of_u}")
    legend(axes)
    title(figure, shown)
    return figure


def _of_u(shown: Slice, before: str) -> str:
    """Return `of` and what the mixtures are of, if that is not the target itself."""
    return "" if shown.transform.is_identity else f"{before}of {plain(shown.name_of_u, 40)}"


def _draw_weights(axes: Axes, shown: Slice) -> None:
    """Draw the components' weights."""
    for each in _components(shown):
        axes.plot(shown.grid, each.pi, color=each.colour, linewidth=1.8)
    # With many members every weight is small.
    top = min(1.0, 2.0 * float(shown.mixture.pi.max()))
    axes.set_ylim(-0.02 * top, 1.02 * top)
    axes.set_title("weights π")
    axes.set_ylabel("π")


def _draw_means(axes: Axes, shown: Slice) -> None:
    """Draw the components' means with opacity by their weights."""
    for each in _components(shown):
        mu = shown.transform.forward(each.mu) if _is_angle(shown) else each.mu
        strong_line(axes, shown.grid, mu, each.pi, each.colour)
    axes.set_ylim(*limits_of_u(shown))
    axes.set_title("means μ, opacity by π")
    axes.set_ylabel(f"μ of {plain(shown.name_of_u, 25)}")


def _draw_sigmas(axes: Axes, shown: Slice) -> None:
    """Draw the components' standard deviations with opacity by their weights."""
    for each in _components(shown):
        strong_line(axes, shown.grid, each.sigma, each.pi, each.colour)
    # The background may be many times as wide as the others, which would be flat beside it.
    others = shown.mixture.components(slice(1 - shown.distribution.first_component, None))
    # With many components, none may reach the least weight.
    visible = others.pi >= min(_LEAST_WEIGHT, float(others.pi.max()))
    axes.set_ylim(0.0, 1.1 * float(np.max(others.sigma[:, :, 0][visible])))
    axes.set_title("standard deviations σ, opacity by π")
    axes.set_ylabel(f"σ of {plain(shown.name_of_u, 25)}")


def _draw_band(axes: Axes, x: Array, low: Array, high: Array, strength: Array, colour: str) -> None:
    """Draw a band between two curves, all (P,), with an opacity at each point."""
    corners = np.stack(
        [
            np.stack([x[:-1], low[:-1]], axis=1),
            np.stack([x[1:], low[1:]], axis=1),
            np.stack([x[1:], high[1:]], axis=1),
            np.stack([x[:-1], high[:-1]], axis=1),
        ],
        axis=1,
    )
    alphas = 0.5 * (strength[:-1] + strength[1:])
    shades = [(colour, float(alpha)) for alpha in alphas]
    axes.add_collection(PolyCollection(list(corners), facecolors=shades, linewidths=0))


def draw_survival(shown: Slice) -> Figure:
    """Return one panel, or two with rows: P(y > t) at places along the feature, and over the rows.

    The band of a predicted curve reaches from the lowest to the highest of the members of the
    model. The observed curve is that of Kaplan and Meier (1958). Its band of 95% is on the scale of
    log(-log S), from Greenwood's variance (Kalbfleisch and Prentice 2002, eq. 1.13 and 1.14).
    """
    with_rows = len(shown.x) > 0
    figure = canvas(12.5 if with_rows else 7.5, 5.0)
    columns = 2 if with_rows else 1
    panels: list[Axes] = list(figure.subplots(1, columns, sharey=True, squeeze=False).ravel())
    times = _times(shown)
    _draw_survival_along(panels[0], shown, times)
    if with_rows:
        _draw_survival_of_rows(panels[1], shown, times)
    for axes in panels:
        axes.set_xlabel(f"t ({plain(shown.target_name, 30)})")
        axes.set_xlim(times[0], times[-1])
        axes.set_ylim(-0.02, 1.02)
        axes.legend()
    panels[0].set_ylabel(f"P({plain(shown.target_name, 20)} > t)")
    title(figure, shown)
    return figure


def _times(shown: Slice) -> Array:
    """Return where the curves are drawn, (L,): up to where the highest of them is small."""
    column = shown.model.schema.targets[shown.target]
    last = float(shown.distribution.quantile(1.0 - _LAST_OF_CURVE).max())
    last = max(column.median, min(last, column.highest))
    first = 0.0 if 0.0 <= column.lowest < 0.25 * last else column.lowest
    return np.linspace(first, last, _TIMES)


def _survival(predicted: Distribution, times: Array) -> Array:
    """Return P(y > t) at N rows, (N, L), for times t, (L,)."""
    return np.stack([predicted.cdf(time, upper=True) for time in times], axis=1)


def _draw_survival_along(axes: Axes, shown: Slice, times: Array) -> None:
    places = [round(share * (len(shown.points) - 1)) for share in _PLACES]
    points = shown.points[places]
    whole = _survival(shown.at(points), times)
    members = np.stack([_survival(one, times) for one in shown.members_at(points)])
    for number, value in enumerate(points[:, shown.along]):
        colour = COLOURS[number]
        ends = members[:, number].min(axis=0), members[:, number].max(axis=0)
        axes.fill_between(times, *ends, color=colour, alpha=0.2, linewidth=0)
        label = f"{plain(shown.feature.name, 20)} = {value_text(shown.feature, value)}"
        axes.plot(times, whole[number], color=colour, label=label)
    band = "; bands: all members" if len(members) > 1 else ""
    axes.set_title(f"predicted survival{band}")


def _draw_survival_of_rows(axes: Axes, shown: Slice, times: Array) -> None:
    """Draw the mean of the predicted curves of the rows, and the observed one."""
    some = slice(None, None, max(1, len(shown.x) // _MOST_CURVES))
    mean = _survival(shown.at(shown.x[some]), times).mean(axis=0)
    y, limit = shown.y[:, shown.target], shown.model.schema.targets[shown.target].censor_above
    known = np.ones(len(y), dtype=bool) if shown.known is None else shown.known
    known = known if limit is None else known & (y < limit)
    observed, low, high = kaplan_meier(y, known, times)
    axes.fill_between(times, low, high, step="post", color=DATA, alpha=0.15, linewidth=0)
    axes.plot(
        times, observed, drawstyle="steps-post", color=DATA, label="observed (Kaplan-Meier), 95%"
    )
    axes.plot(times, mean, color=COLOURS[0], linestyle="--", label="mean prediction")
    axes.set_title(f"all {len(shown.x):,} rows")


def kaplan_meier(y: Array, known: Mask, times: Array) -> tuple[Array, Array, Array]:
    """Return the survival curve of observed times, and the ends of its band of 95%, each (L,).

    S(t) is the product of 1 - d_i / n_i over the times t_i <= t with d_i of n_i cases at risk.

    Args:
        y: (N,), the time of the event, or until which a case was seen.
        known: (N,), whether it is that of the event.
        times: (L,), in rising order.
    """
    distinct, place = np.unique(y, return_inverse=True)
    events = np.bincount(place, weights=known.astype(np.float64))
    at_risk = len(y) - np.searchsorted(np.sort(y), distinct, side="left")
    with np.errstate(divide="ignore"):
        survival = np.cumprod(1.0 - events / at_risk)
        variance = np.cumsum(events / np.maximum(at_risk * (at_risk - events), 1e-300))
        spread = 1.96 * np.sqrt(variance) / np.abs(np.log(np.clip(survival, 1e-300, 1.0 - 1e-16)))
    inside = (survival > 0.0) & (survival < 1.0)
    factor = np.exp(np.where(inside, spread, 0.0))
    ends = survival**factor, survival ** (1.0 / factor)
    before = np.searchsorted(distinct, times, side="right")
    curve, low, high = (np.append(1.0, part)[before] for part in (survival, *ends))
    return curve, low, high
