"""`pairs`: the joint density of every two targets, with the marginal of each on the diagonal."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from mdncli.columns.transforms import Bounds, underneath
from mdncli.density.conditioned import fixed_values
from mdncli.density.mixture import GaussianMixture, generator_of_draws
from mdncli.density.model import ConditionalDensity
from mdncli.errors import DataError
from mdncli.plots.rows import named_values
from mdncli.plots.slice import answer_of
from mdncli.plots.style import COLOURS, canvas, headline, pale, plain
from mdncli.text import quoted
from mdncli.types import Array

_MOST_TARGETS = 5
# Rows shown by the number of targets: more would be too small to read.
_MOST_ROWS = {2: 4, 3: 2}
# Of highest-density regions, from the inside out, and how strong each is.
_REGIONS = ((0.5, 0.75), (0.8, 0.45), (0.95, 0.2))
_DRAWS = 20_000
# What each panel reaches over: far components of next to no weight would shrink all others.
_REACH = 0.99
_MARGIN = 0.08
_POINTS = 200
# Around the heaviest components, in σ: their contours stay smooth however narrow they are.
_REFINED = 5
_NEAR = np.linspace(-3.5, 3.5, 61)
_POINTS_AT_ONCE = 20_000
_SIDE = 2.3


@dataclass(frozen=True)
class _Row:
    """The joint density of one row's targets: its mixture, and the bounds of each target."""

    mixture: GaussianMixture
    bounds: tuple[Bounds, ...]

    def targets(self, positions: list[int]) -> "_Row":
        """Return the joint density of some of the targets."""
        bounds = tuple(self.bounds[position] for position in positions)
        return _Row(self.mixture.targets(positions), bounds)

    def log_density(self, y: Array) -> Array:
        """Return log p at points (P, T), in pieces of bounded size."""
        u, slopes = underneath(self.bounds, y)
        parts = range(0, len(u), _POINTS_AT_ONCE)
        found = [self.mixture.log_prob(u[at : at + _POINTS_AT_ONCE]) for at in parts]
        log_density: Array = np.concatenate(found) + slopes.sum(axis=1)
        return log_density

    def draws(self, count: int) -> Array:
        """Return draws, (count, T), always the same ones."""
        u, _ = self.mixture.sample(count, generator_of_draws(0))
        return np.stack([each.to_target(u[0, :, t]) for t, each in enumerate(self.bounds)], axis=1)


def draw(density: ConditionalDensity, x: Array, y: Array) -> Figure:
    """Return a triangle of panels for each of the first rows, or for the features' medians.

    Args:
        density: the model, of two targets at least; the first five are shown.
        x: (N, F), the rows; N may be 0.
        y: (N, T), their targets in the units of the file; NaN where unknown.

    Raises:
        DataError: the model has one target.
    """
    names = density.schema.target_names[:_MOST_TARGETS]
    if len(names) == 1:
        raise DataError(
            f"--kind pairs shows two targets or more; there is only {quoted(names[0])}."
        )
    shown, remark = len(names), ""
    places, titles = _places(density, x, _MOST_ROWS.get(shown, 1))
    if len(x) > len(places):
        remark = f"the first {len(places)} of {len(x):,} rows"
    values = y[: len(places)] if len(x) else np.full((1, shown), np.nan)
    mixtures = density.mixture(places).targets(list(range(shown)))
    bounds = density.schema.bounds[:shown]
    across = min(2, len(places))
    down = -(-len(places) // across)
    side = _SIDE * shown
    figure = canvas(max(6.5, across * side), 0.9 + down * (side + 0.4))
    parts = np.ravel(figure.subfigures(down, across, squeeze=False))
    for row, title in enumerate(titles):
        parts[row].suptitle(title, fontsize=9)
        one = _Row(mixtures.rows(np.array([row])), bounds)
        _draw_triangle(parts[row], one, values[row, :shown], names)
    _label(figure, known=bool(np.isfinite(values).any()))
    fixed = fixed_values(density)
    remark = "; ".join(each for each in (f"given {fixed}" if fixed else "", remark) if each)
    headline(figure, f"{plain(', '.join(names), 60)}: joint densities", plain(remark, 70))
    return figure


def _places(density: ConditionalDensity, x: Array, most: int) -> tuple[Array, list[str]]:
    """Return where the densities are shown, (R, F), and what each is called."""
    if len(x):
        rows = x[:most]
        return rows, [f"row {i + 1}: {named_values(density, row)}" for i, row in enumerate(rows)]
    medians = np.array([[feature.typical for feature in density.schema.features]])
    return medians, [f"at the medians: {named_values(density, medians[0])}"]


def _draw_triangle(figure: SubFigure, row: _Row, values: Array, names: list[str]) -> None:
    """Draw one row's marginals (T) on the diagonal, and its pairs below."""
    targets = len(names)
    panels = figure.subplots(targets, targets, squeeze=False)
    grids = [_grid(row, target, values[target]) for target in range(targets)]
    for down in range(targets):
        for across in range(targets):
            axes: Axes = panels[down, across]
            if across > down:
                axes.remove()
                continue
            if across == down:
                _draw_marginal(axes, row.targets([down]), grids[down], values[down])
            else:
                pair = [across, down]
                _draw_pair(axes, row.targets(pair), [grids[t] for t in pair], values[pair])
            axes.set_xlim(grids[across][0], grids[across][-1])
            axes.tick_params(labelsize=8, labelbottom=down == targets - 1)
            axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
            if down == targets - 1:
                axes.set_xlabel(plain(names[across], 20))
            if across == 0 and down > 0:
                axes.set_ylabel(plain(names[down], 20))
            elif across != down:
                axes.tick_params(labelleft=False)


def _grid(row: _Row, target: int, value: float) -> Array:
    """Return one target's coordinates (P,) in rising order: as closely as its components need."""
    mixture, bounds = row.mixture, row.bounds[target]
    marginal = answer_of(mixture.targets([target]), bounds)
    ends = np.append(marginal.hdr(_REACH).ravel(), value)
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    margin = _MARGIN * (high - low)
    low, high = low - margin, high + margin
    heaviest = np.argsort(-mixture.log_pi[0], kind="stable")[:_REFINED]
    mu, sigma = mixture.mu[0, heaviest, target], mixture.sigma[0, heaviest, target]
    near = bounds.to_target((mu[:, None] + sigma[:, None] * _NEAR).ravel())
    inside = near[(near > low) & (near < high)]
    return np.unique(np.concatenate([np.linspace(low, high, _POINTS), inside]))


def _draw_marginal(axes: Axes, row: _Row, grid: Array, value: float) -> None:
    """Draw the density of one target on its own."""
    density = np.exp(row.log_density(grid[:, None]))
    axes.fill_between(grid, density, color=pale(COLOURS[0], 0.2), linewidth=0)
    axes.plot(grid, density, color=COLOURS[0], linewidth=1.5)
    if np.isfinite(value):
        axes.axvline(value, color=COLOURS[4], linewidth=1.5)
    axes.set_ylim(0.0, 1.08 * float(density.max()))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _draw_pair(axes: Axes, row: _Row, grids: list[Array], values: Array) -> None:
    """Draw the regions of highest joint density of two targets."""
    points = np.stack(np.meshgrid(*grids), axis=-1)
    heights = row.log_density(points.reshape(-1, 2)).reshape(points.shape[:2])
    drawn = row.log_density(row.draws(_DRAWS))
    levels = np.quantile(drawn, [1.0 - held for held, _ in _REGIONS])
    # Beyond a bound there is none; the contour runs along it.
    heights = np.maximum(heights, float(levels[-1]) - 10.0)
    # From the outside in, and up to the top.
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


def _label(figure: Figure, *, known: bool) -> None:
    """Name the regions, and the rows' own values if there are any."""
    handles: list[Patch | Line2D] = [
        Patch(color=pale(COLOURS[0], strength), label=f"{held:.0%}") for held, strength in _REGIONS
    ]
    if known:
        handles.append(
            Line2D([], [], color=COLOURS[4], marker="X", linewidth=1.5, label="the row's values")
        )
    title = "highest-density region of"
    figure.legend(handles=handles, title=title, loc="outside lower center", ncols=len(handles))
