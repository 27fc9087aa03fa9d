"""`row`: the predicted densities of some rows, one by one."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mdncli.columns.transforms import Bounds
from mdncli.density.conditioned import fixed_values
from mdncli.density.marginal import Univariate
from mdncli.density.model import ConditionalDensity
from mdncli.plots.slice import answer_of, of_target
from mdncli.plots.style import COLOURS, DATA, grid_of_panels, headline, label_panels, pale, plain
from mdncli.types import Array

_MOST = 9
_ACROSS = 3
_NAMED = 3
_REGION = 0.9
_TAIL = 5e-4
_POINTS = 400
# In σ of a component: where its curve is drawn, however narrow it is in its panel.
_NEAR = np.linspace(-4.0, 4.0, 33)


def draw(density: ConditionalDensity, x: Array, y: Array, target: int) -> Figure:
    """Return a panel for each of the first nine rows.

    Args:
        density: the model.
        x: (N, F), the rows; N is at least 1.
        y: (N,), their values of the target in the units of the file; NaN where unknown.
        target: its position.

    Raises:
        ValueError: there are no rows.
    """
    if not len(x):
        raise ValueError("there are no rows to show")
    name = density.schema.targets[target].name
    shown = min(len(x), _MOST)
    figure, panels = grid_of_panels(shown, _ACROSS, (4.6, 2.7))
    mixture = of_target(density.mixture(x[:shown]), target)
    bounds = density.schema.targets[target].bounds
    answer = answer_of(mixture, bounds)
    regions, ends = answer.hdr(_REGION), answer.quantile([_TAIL, 1.0 - _TAIL])
    line = Univariate.marginal(mixture, 0)
    for row, axes in enumerate(panels):
        one = line.rows(np.array([row]))
        points = _points(one, bounds, ends[row], regions[row], y[row])
        _draw_density(axes, one, bounds, regions[row], points)
        if np.isfinite(y[row]):
            axes.axvline(y[row], color=COLOURS[4], linewidth=1.8, label="the row's value")
        axes.set_title(f"row {row + 1}\n{named_values(density, x[row])}", fontsize=9)
        if row + _ACROSS >= shown:
            axes.set_xlabel(plain(name, 30))
    label_panels(figure, panels, _ACROSS, y="density")
    many = f"the first {shown} of {len(x):,} rows" if len(x) > shown else ""
    fixed = fixed_values(density)
    remark = "; ".join(each for each in (f"given {fixed}" if fixed else "", many) if each)
    headline(figure, f"{plain(name, 30)}: predicted densities", plain(remark, 70))
    return figure


def _points(mixture: Univariate, bounds: Bounds, ends: Array, region: Array, value: float) -> Array:
    """Return where one density is drawn, (P,), in rising order: as closely as each component needs.

    They reach over its quantiles `ends` (2,) and its region (I, 2), whose borders are among them,
    and to the value where that is known.
    """
    reach = np.concatenate([ends, region.ravel(), [value]])
    low, high = np.nanmin(reach), np.nanmax(reach)
    near = bounds.to_target((mixture.mu + mixture.sigma * _NEAR).ravel())
    all_points = np.concatenate([np.linspace(low, high, _POINTS), near, region.ravel()])
    return np.unique(all_points[(all_points >= low) & (all_points <= high)])


def _draw_density(axes: Axes, mixture: Univariate, bounds: Bounds, region: Array, y: Array) -> None:
    """Draw one density at y (P,), its components, and its region (I, 2)."""
    same = mixture.rows(np.zeros(len(y), dtype=np.int64))
    parts = np.exp(same.log_parts(bounds.to_mixture(y)) + bounds.log_slope(y))
    density = parts.sum(axis=0)
    low, high = region[:, :1], region[:, 1:]
    inside = ((y >= low) & (y <= high)).any(axis=0)
    axes.fill_between(
        y,
        density,
        where=inside,
        color=pale(COLOURS[0], 0.25),
        linewidth=0,
        label=f"{_REGION:.0%} highest-density region",
    )
    for number, part in enumerate(parts):
        name = "components" if number == 0 else None
        axes.plot(y, part, color=DATA, alpha=0.5, linewidth=0.8, label=name)
    axes.plot(y, density, color=COLOURS[0], linewidth=1.8, label="density")
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.set_ylim(0.0, 1.08 * float(density.max()))


def named_values(density: ConditionalDensity, row: Array) -> str:
    """Return a row's features as a title has room for them."""
    pairs = zip(density.schema.feature_names[:_NAMED], row, strict=False)
    most = 30 // min(_NAMED, len(row))
    named = ", ".join(f"{plain(name, most)}={value:.4g}" for name, value in pairs)
    return plain(named, 51) + (", …" if len(row) > _NAMED else "")
