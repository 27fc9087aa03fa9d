"""The predicted densities of single rows: of one target, and of every two targets."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from mdncli.columns.discrete import Wrapped
from mdncli.density.distribution import Distribution, log_prob
from mdncli.density.mixture import GaussianMixture, normalize_weights, remaining_targets
from mdncli.density.model import MixtureDensityNetwork
from mdncli.density.numerics import in_pieces
from mdncli.errors import DataError, parameter
from mdncli.plots.slice import given_values, value_text
from mdncli.plots.style import (
    BACKGROUND,
    COLOURS,
    DATA,
    canvas,
    grid_of_panels,
    headline,
    label_panels,
    pale,
    plain,
)
from mdncli.text import quoted
from mdncli.types import Array, Mask

# Of the densities of one target.
_MOST_ROWS = 9
_ACROSS = 3
_MOST_NAMED = 3
_REGION = 0.9
# The background is drawn in the panels of rows where it has at least this weight.
_LEAST_WEIGHT = 0.02
_TAIL = 5e-4
_POINTS = 400
# The curve has points at these places of every component, in sigmas, however narrow it is.
_NEAR = np.linspace(-4.0, 4.0, 33)

# Of the densities of every two targets. The number of rows depends on that of the targets: more
# would be too small to read.
_MOST_TARGETS = 5
_MOST_ROWS_OF_PAIRS = {2: 4, 3: 2}
# The probabilities of the regions, from the inside out, and how strong the colour of each is.
_REGIONS = ((0.5, 0.75), (0.8, 0.45), (0.95, 0.2))
_DRAWS = 20_000
# Each panel shows a region of this probability. Distant components of little weight would otherwise
# make all others small.
_REACH = 0.99
_MARGIN = 0.08
_POINTS_OF_PAIRS = 200
# The heaviest components have points at these places, in sigmas, so that their contours are smooth.
_REFINED = 5
_POINTS_AT_ONCE = 2048
_NEAR_OF_PAIRS = np.linspace(-3.5, 3.5, 61)
_SIDE = 2.3


def draw_row(
    model: MixtureDensityNetwork,
    x: Array,
    y: Array,
    target: int,
    given: Mapping[str, ArrayLike] | None = None,
) -> Figure:
    """Return a panel for each of the first nine rows, with the density of one target.

    Args:
        model: the model.
        x: (N, F), the rows; N is at least 1.
        y: (N, T), their targets in the units of the file; NaN where unknown.
        target: the position of the target to show.
        given: known values of other targets, one number or one for each row, (N,).
    """
    name, given = model.schema.target_names[target], given or {}
    count = min(len(x), _MOST_ROWS)
    values = y[:count, target]
    figure, panels = grid_of_panels(count, _ACROSS, (4.6, 2.7))
    predicted = model.distribution(x[:count]).given(_of_first(given, count)).marginal(name)
    regions = predicted.hdr(_REGION)
    for row, axes in enumerate(panels):
        [ends] = _without_background(predicted, row).quantile([_TAIL, 1.0 - _TAIL])
        points = _points(predicted, row, np.append(ends, values[row]), regions[row])
        _draw_density(axes, predicted, row, points, regions[row])
        if np.isfinite(values[row]):
            axes.axvline(values[row], color=COLOURS[4], linewidth=1.8, label="observed value")
        axes.set_title(f"row {row + 1}\n{_named_values(model, x[row])}", fontsize=9)
        if row + _ACROSS >= count:
            axes.set_xlabel(plain(name, 30))
    label_panels(figure, panels, _ACROSS, y="density")
    headline(figure, f"{plain(name, 30)}: predicted densities", _remark(given, count, len(x)))
    return figure


def draw_pairs(
    model: MixtureDensityNetwork,
    x: Array,
    y: Array,
    given: Mapping[str, ArrayLike] | None = None,
) -> Figure:
    """Return, for some rows, the joint density of every two targets, and each marginal density.

    Each row has a triangle of panels, with the marginals on the diagonal. Without rows there is one
    triangle, at the medians of the features. The first five targets are shown.

    Args:
        model: the model.
        x: (N, F), the rows; N may be 0.
        y: (N, T), their targets in the units of the file; NaN where unknown.
        given: known values of other targets, one number or one for each row, (N,).

    Raises:
        DataError: there is only one target to show.
    """
    given = given or {}
    names = remaining_targets(list(given), model.schema.target_names)[:_MOST_TARGETS]
    if len(names) == 1:
        kind = parameter("kind", "'pairs'")
        raise DataError(f"{kind} needs two targets or more; there is only {quoted(names[0])}.")
    places, titles = _places(model, x, _MOST_ROWS_OF_PAIRS.get(len(names), 1))
    values = np.full((1, len(names)), np.nan)
    if len(x):
        positions = [model.schema.target_names.index(name) for name in names]
        values = y[: len(places), positions]
    predicted = model.distribution(places).given(_of_first(given, len(places))).marginal(*names)
    across = min(2, len(places))
    down = -(-len(places) // across)
    side = _SIDE * len(names)
    figure = canvas(max(6.5, across * side), 0.9 + down * (side + 0.4))
    parts = np.ravel(figure.subfigures(down, across, squeeze=False))
    for row, title in enumerate(titles):
        parts[row].suptitle(title, fontsize=9)
        _draw_triangle(parts[row], predicted, row, values[row])
    _label_regions(figure, observed=bool(np.isfinite(values).any()))
    remark = _remark(given, len(places), len(x))
    headline(figure, f"{plain(', '.join(names), 60)}: joint densities", remark)
    return figure


def _of_first(given: Mapping[str, ArrayLike], rows: int) -> dict[str, Array]:
    """Return given values of the first rows only."""
    arrays = {name: np.asarray(value, dtype=np.float64) for name, value in given.items()}
    return {name: value[:rows] if value.ndim else value for name, value in arrays.items()}


def _remark(given: Mapping[str, ArrayLike], shown: int, rows: int) -> str:
    """Return what the title says of given targets, and of rows that are not shown."""
    fixed = given_values(given)
    parts = [f"given {fixed}"] if fixed else []
    if rows > shown:
        parts.append(f"the first {shown} of {rows:,} rows")
    return plain("; ".join(parts), 70)


def _named_values(model: MixtureDensityNetwork, row: Array) -> str:
    """Return a row's features, (F,), as a title has room for them."""
    pairs = zip(model.schema.features[:_MOST_NAMED], row, strict=False)
    most = 30 // min(_MOST_NAMED, len(row))
    named = ", ".join(
        f"{plain(each.name, most)}={value_text(each, value)}" for each, value in pairs
    )
    return plain(named, 51) + (", …" if len(row) > _MOST_NAMED else "")


def _repeated(mixture: GaussianMixture, row: int, count: int) -> GaussianMixture:
    """Return one row's mixture `count` times, without copying it."""
    parts = (np.broadcast_to(part[row], (count, *part.shape[1:])) for part in mixture.arrays())
    return GaussianMixture(*parts)


def _of_row(predicted: Distribution, row: int) -> Distribution:
    """Return one row's distribution."""
    mixture = predicted.mixture.rows(slice(row, row + 1))
    return Distribution(mixture, predicted.transforms, predicted.names)


def _without_background(predicted: Distribution, row: int) -> Distribution:
    """Return one row's distribution without the background, unless that is most of it.

    Its tails are many times as wide as the other components, and hold almost nothing.
    """
    mixture = predicted.mixture.rows(slice(row, row + 1))
    if predicted.first_component == 0 and mixture.pi[0, 0] < 0.5:
        others = mixture.components(slice(1, None))
        mixture = replace(others, log_pi=normalize_weights(others.log_pi))
    return Distribution(mixture, predicted.transforms, predicted.names)


def _log_prob(predicted: Distribution, row: int, y: Array) -> Array:
    """Return one row's joint log density at points y, (P, T): (P,), in nats."""
    one = predicted.mixture.rows(slice(row, row + 1))
    return in_pieces(
        lambda piece: log_prob(one, predicted.transforms, y[piece]), len(y), _POINTS_AT_ONCE
    )


def _points(predicted: Distribution, row: int, reach: Array, region: Array) -> Array:
    """Return where one row's density is drawn, (P,), in rising order.

    The points resolve every component, and include the ends of the region.

    Args:
        predicted: the distributions of one target at N rows.
        row: the row.
        reach: values that the points must include between them; NaN is ignored.
        region: (I, 2), the highest-density region.
    """
    whole = np.append(reach, region)
    low, high = float(np.nanmin(whole)), float(np.nanmax(whole))
    [transform] = predicted.transforms
    if isinstance(transform, Wrapped):
        low, high = transform.origin, transform.origin + transform.period
    if not low < high:
        # The value is almost certainly an atom.
        low, high = low - 1.0, high + 1.0
    mu, sigma = predicted.mixture.mu[row, :, 0], predicted.mixture.sigma[row, :, 0]
    near = transform.forward((mu[:, None] + sigma[:, None] * _NEAR).ravel())
    points = np.concatenate([np.linspace(low, high, _POINTS), near, region.ravel()])
    points = points[(points >= low) & (points <= high)]
    # At an atom there is a probability, and no density.
    return np.unique(points[~np.isin(points, getattr(transform, "values", ()))])


def _draw_density(axes: Axes, predicted: Distribution, row: int, y: Array, region: Array) -> None:
    """Draw one row's density at y, (P,), its components, and its region, (I, 2)."""
    mixture = _repeated(predicted.mixture, row, len(y))
    components = []
    for k in range(mixture.shape[1]):
        one = Distribution(mixture.components(slice(k, k + 1)), predicted.transforms)
        components.append(np.exp(one.log_prob(y)))
    density = np.sum(components, axis=0)
    background = components.pop(0) if predicted.first_component == 0 else None
    axes.fill_between(
        y,
        density,
        where=_inside(y, region),
        color=pale(COLOURS[0], 0.25),
        linewidth=0,
        label=f"{_REGION:.0%} highest-density region",
    )
    for number, component in enumerate(components):
        name = "components" if number == 0 else None
        axes.plot(y, component, color=DATA, alpha=0.5, linewidth=0.8, label=name)
    if background is not None and mixture.pi[0, 0] >= _LEAST_WEIGHT:
        axes.plot(
            y, background, color=BACKGROUND, linewidth=0.8, linestyle="--", label="background"
        )
    axes.plot(y, density, color=COLOURS[0], linewidth=1.8, label="density")
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.set_ylim(0.0, 1.08 * float(density.max()))
    _draw_atoms(axes, predicted, row)


def _inside(y: Array, region: Array) -> Mask:
    """Return which values y, (P,), are inside a region, (I, 2); an interval may cross a cut."""
    low, high = region[:, :1], region[:, 1:]
    above, below, crosses = y >= low, y <= high, low > high
    inside = np.any((above & below) | (crosses & (above | below)), axis=0)
    return np.asarray(inside, dtype=bool)


def _draw_atoms(axes: Axes, predicted: Distribution, row: int) -> None:
    """Draw a line at every atom, with its probability."""
    [transform] = predicted.transforms
    for value in getattr(transform, "values", ()):
        probability = float(np.exp(_of_row(predicted, row).log_probability(value)[0]))
        axes.axvline(value, color=COLOURS[1], linewidth=2.0, alpha=max(0.15, probability))
        axes.annotate(
            f"P({value:g}) = {probability:.2f}",
            (value, 0.97),
            xycoords=("data", "axes fraction"),
            xytext=(3, 0),
            textcoords="offset points",
            fontsize=8,
            color=COLOURS[1],
            verticalalignment="top",
        )


def _places(model: MixtureDensityNetwork, x: Array, most: int) -> tuple[Array, list[str]]:
    """Return the rows of the triangles, (R, F), and the title of each."""
    if len(x):
        rows = x[:most]
        return rows, [f"row {i + 1}: {_named_values(model, row)}" for i, row in enumerate(rows)]
    medians = np.array([[feature.typical for feature in model.schema.features]])
    return medians, [f"at the medians: {_named_values(model, medians[0])}"]


def _draw_triangle(figure: SubFigure, predicted: Distribution, row: int, values: Array) -> None:
    """Draw one row's marginals on the diagonal, and every two targets below it.

    Args:
        figure: to draw on.
        predicted: the distributions of T targets at N rows.
        row: the row.
        values: (T,), its observed targets; NaN where unknown.
    """
    names, targets = predicted.names, len(predicted.names)
    panels = figure.subplots(targets, targets, squeeze=False)
    each = [predicted.marginal(name) for name in names]
    grids = [_grid(one, row, value) for one, value in zip(each, values, strict=True)]
    for down in range(targets):
        for across in range(targets):
            axes: Axes = panels[down, across]
            if across > down:
                axes.remove()
                continue
            if across == down:
                _draw_marginal(axes, each[down], row, grids[down], values[down])
            else:
                pair = predicted.marginal(names[across], names[down])
                both = [across, down]
                _draw_pair(axes, pair, row, [grids[target] for target in both], values[both])
            axes.set_xlim(grids[across][0], grids[across][-1])
            axes.tick_params(labelsize=8, labelbottom=down == targets - 1)
            axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
            if down == targets - 1:
                axes.set_xlabel(plain(names[across], 20))
            if across == 0 and down > 0:
                axes.set_ylabel(plain(names[down], 20))
            elif across != down:
                axes.tick_params(labelleft=False)


def _grid(predicted: Distribution, row: int, value: float) -> Array:
    """Return coordinates of one target, (P,), in rising order, that resolve its components."""
    within = _without_background(predicted, row).hdr(_REACH)
    # The outermost region that is drawn may reach into the background.
    drawn = _of_row(predicted, row).hdr(_REGIONS[-1][0])
    ends = np.concatenate([within.ravel(), drawn.ravel(), [value]])
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    margin = _MARGIN * (high - low)
    low, high = low - margin, high + margin
    mixture = predicted.mixture
    heaviest = np.argsort(-mixture.log_pi[row], kind="stable")[:_REFINED]
    mu, sigma = mixture.mu[row, heaviest, 0], mixture.sigma[row, heaviest, 0]
    [transform] = predicted.transforms
    near = transform.forward((mu[:, None] + sigma[:, None] * _NEAR_OF_PAIRS).ravel())
    inside = near[(near > low) & (near < high)]
    return np.unique(np.concatenate([np.linspace(low, high, _POINTS_OF_PAIRS), inside]))


def _draw_marginal(
    axes: Axes, predicted: Distribution, row: int, grid: Array, value: float
) -> None:
    """Draw the density of one target on its own."""
    density = np.exp(_log_prob(predicted, row, grid[:, None]))
    axes.fill_between(grid, density, color=pale(COLOURS[0], 0.2), linewidth=0)
    axes.plot(grid, density, color=COLOURS[0], linewidth=1.5)
    if np.isfinite(value):
        axes.axvline(value, color=COLOURS[4], linewidth=1.5)
    axes.set_ylim(0.0, 1.08 * float(density.max()))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _draw_pair(
    axes: Axes, predicted: Distribution, row: int, grids: list[Array], values: Array
) -> None:
    """Draw the highest-density regions of two targets."""
    points = np.stack(np.meshgrid(*grids), axis=-1)
    heights = _log_prob(predicted, row, points.reshape(-1, 2)).reshape(points.shape[:2])
    [drawn] = _of_row(predicted, row).sample(_DRAWS)
    densities = _log_prob(predicted, row, drawn.T)
    levels = np.quantile(densities, [1.0 - held for held, _ in _REGIONS])
    # Beyond a bound the log density is -inf. The contour must run along the bound.
    heights = np.maximum(heights, float(levels[-1]) - 10.0)
    # The levels go from the outside in, and up to the highest density.
    edges = np.append(levels[::-1], max(float(heights.max()), float(levels[0])) + 1.0)
    colours = [pale(COLOURS[0], strength) for _, strength in _REGIONS[::-1]]
    axes.contourf(*grids, heights, levels=edges, colors=colours)
    axes.contour(
        *grids, heights, levels=edges[:1], colors=COLOURS[0], linewidths=0.8, linestyles="solid"
    )
    axes.set_ylim(grids[1][0], grids[1][-1])
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    if np.isfinite(values).all():
        axes.plot(*values, "X", color=COLOURS[4], markersize=9, markeredgecolor="white")


def _label_regions(figure: Figure, *, observed: bool) -> None:
    """Add a legend of the regions and, if there are any, of the observed values."""
    handles: list[Patch | Line2D] = [
        Patch(color=pale(COLOURS[0], strength), label=f"{held:.0%}") for held, strength in _REGIONS
    ]
    if observed:
        handles.append(
            Line2D([], [], color=COLOURS[4], marker="X", linewidth=1.5, label="observed values")
        )
    title = "highest-density region of"
    figure.legend(handles=handles, title=title, loc="outside lower center", ncols=len(handles))
