"""Every kind of picture by its name, and the one way to draw them."""

from collections.abc import Callable

from matplotlib.figure import Figure

from mdncli.density.model import ConditionalDensity
from mdncli.plots import (
    calibration,
    comparison,
    components,
    intervals,
    modes,
    overview,
    pairs,
    parameters,
    residuals,
    samples,
    training,
)
from mdncli.plots import density as density_map
from mdncli.plots import rows as row
from mdncli.plots.calibration import Judged, judged
from mdncli.plots.slice import Scene, position_of_target, scene
from mdncli.plots.style import style
from mdncli.types import Array

_JUDGING: dict[str, Callable[[Judged], Figure]] = {
    "calibration": calibration.draw,
    "residuals": residuals.draw,
}
# Along one feature.
_ALONG: dict[str, Callable[[Scene, int], Figure]] = {
    "overview": overview.draw,
    "samples": samples.draw,
    "comparison": comparison.draw,
    "parameters": lambda shown, _: parameters.draw(shown),
    "components": lambda shown, _: components.draw(shown),
    "density": lambda shown, _: density_map.draw(shown),
    "modes": lambda shown, _: modes.draw(shown),
    "intervals": lambda shown, _: intervals.draw(shown),
}


def draw(
    kind: str,
    density: ConditionalDensity,
    x: Array,
    y: Array,
    *,
    along: str | None = None,
    target: str | None = None,
    seed: int = 0,
) -> Figure:
    """Return a picture of a model.

    Args:
        kind: `overview`, `parameters`, `components`, `samples`, `density`, `modes`, `intervals`,
            `comparison` (which needs rows and a baseline in the model), `training`, or what judges
            a model: `calibration` and `residuals`, which need rows, and `row`, the predicted
            densities of the first of them; or `pairs`, the joint densities of several targets.
        density: the model.
        x: (N, F), the rows shown, in the order of the model's schema; N may be 0.
        y: (N, T), their targets; for `row` and `pairs` NaN where unknown.
        along: the feature on the horizontal axis; by default the one with the largest effect. Kinds
            that have no such axis do not look at it.
        target: the target shown; by default the first.
        seed: of the samples, and of the randomized PIT of targets recorded in steps.

    Raises:
        DataError: the model has no such feature or target, or for `pairs` only one target.
        KeyError: there is no such kind.
        ValueError: the kind needs rows, and there are none.
    """
    with style():
        if kind == "training":
            return training.draw(density)
        if kind == "pairs":
            return pairs.draw(density, x, y)
        if kind == "row":
            shown = position_of_target(density, target)
            return row.draw(density, x, y[:, shown], shown)
        if kind in _JUDGING:
            return _JUDGING[kind](judged(density, x, y, target=target, seed=seed))
        return _ALONG[kind](scene(density, x, y, along=along, target=target), seed)
