"""Every kind of picture by its name, and the one way to draw them."""

from collections.abc import Callable
from functools import partial

from matplotlib.figure import Figure

from mdncli.density.model import ConditionalDensity
from mdncli.density.network import Array
from mdncli.plots import (
    comparison,
    components,
    density_map,
    modes,
    overview,
    parameters,
    samples,
    training,
)
from mdncli.plots.scene import Scene, scene
from mdncli.plots.style import style


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
        kind: `overview`, `parameters`, `components`, `samples`, `density`, `modes`, `comparison`
            (which needs rows and a baseline in the model) or `training`.
        density: the model.
        x: (N, F), the rows shown, in the order of the model's schema; N may be 0.
        y: (N, T), their targets.
        along: the feature on the horizontal axis; by default the one with the largest effect.
        target: the target shown; by default the first.
        seed: of the samples.

    Raises:
        DataError: the model has no such feature or target.
        KeyError: there is no such kind.
    """
    with style():
        if kind == "training":
            return training.draw(density)
        pictures: dict[str, Callable[[Scene], Figure]] = {
            "overview": partial(overview.draw, seed=seed),
            "samples": partial(samples.draw, seed=seed),
            "comparison": partial(comparison.draw, seed=seed),
            "parameters": parameters.draw,
            "components": components.draw,
            "density": density_map.draw,
            "modes": modes.draw,
        }
        return pictures[kind](scene(density, x, y, along=along, target=target))
