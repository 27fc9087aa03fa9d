"""What every picture shows: a model along one feature, and the rows of a table over it."""

from dataclasses import dataclass

import numpy as np

from mdncli.density.bounded import BoundedDistribution
from mdncli.density.distribution import Distribution
from mdncli.density.mixture import GaussianMixture, generator_of_draws
from mdncli.density.model import ConditionalDensity
from mdncli.density.network import Array
from mdncli.errors import DataError
from mdncli.tables.maps import Bounds
from mdncli.words import listed, nearest, quoted

_POINTS = 400


@dataclass(frozen=True)
class Scene:
    """A model seen along one feature, the others held at their medians.

    Attributes:
        density: the model.
        along: the position of the feature on the horizontal axis.
        target: the position of the target shown.
        points: (P, F), where the model is asked, evenly spaced along the feature's training range.
        x: (N, F), the rows of the table shown over it; N is 0 without a table.
        y: (N, T), their targets.
    """

    density: ConditionalDensity
    along: int
    target: int
    points: Array
    x: Array
    y: Array

    @property
    def feature_name(self) -> str:
        """The name on the horizontal axis."""
        return self.density.schema.features[self.along].name

    @property
    def target_name(self) -> str:
        """The name of the target shown."""
        return self.density.schema.targets[self.target].name

    @property
    def grid(self) -> Array:
        """The feature's values along the horizontal axis, shape (P,)."""
        return self.points[:, self.along]

    @property
    def data(self) -> tuple[Array, Array]:
        """The table's values of the feature and of the target, each (N,)."""
        return self.x[:, self.along], self.y[:, self.target]

    @property
    def held(self) -> str:
        """What the title says of the other features: nothing if there are none."""
        others = [
            column.name
            for position, column in enumerate(self.density.schema.features)
            if position != self.along
        ]
        if not others:
            return ""
        names = ", ".join(others) if len(others) <= 3 else f"{len(others)} other features"
        return f"{names} at the median" + ("s" if len(others) > 1 else "")

    @property
    def bounds(self) -> Bounds:
        """The bounds of the target shown."""
        return self.density.schema.targets[self.target].bounds

    @property
    def underneath(self) -> str:
        """What the scale of the mixtures is called: the target, or its map where it has bounds."""
        return self.bounds.scale_name(self.target_name)

    def mixture(self) -> GaussianMixture:
        """Return the shown target's mixtures at the points of the grid: P of one target.

        They are on the scale of the target's map where it has bounds.
        """
        return of_target(self.density.mixture(self.points), self.target)

    def answer(self) -> Distribution:
        """Return the shown target's distributions at the points of the grid."""
        return answer_of(self.mixture(), self.bounds)

    def sampled(self, seed: int) -> tuple[Array, Array]:
        """Return one draw for every row of the table, or for points of the grid without one.

        Returns:
            The feature's and the target's values, each (N,).
        """
        rng = generator_of_draws(seed)
        places = self.x if len(self.x) else self.points.repeat(3, axis=0)
        y = [y[:, self.target] for _, y, _ in self.density.sample(places, 1, rng)]
        return places[:, self.along], np.concatenate(y)


def scene(
    density: ConditionalDensity,
    x: Array,
    y: Array,
    *,
    along: str | None = None,
    target: str | None = None,
) -> Scene:
    """Return a model as pictures show it.

    Args:
        density: the model.
        x: (N, F), rows of a table in the order of its schema; N may be 0.
        y: (N, T), their targets.
        along: the feature on the horizontal axis; by default the one with the largest effect.
        target: the target shown; by default the first.

    Raises:
        DataError: the model has no such feature or target.
    """
    schema = density.schema
    shown = position_of_target(density, target)
    if along is not None:
        chosen = _position("feature", along, schema.feature_names)
    else:
        bounds = schema.targets[shown].bounds
        effects = [
            np.ptp(answer_of(of_target(density.mixture(sweep), shown), bounds).mean())
            for sweep in (_sweep(density, position) for position in range(len(schema.features)))
        ]
        chosen = int(np.argmax(effects))
    return Scene(density, chosen, shown, _sweep(density, chosen), x, y)


def of_target(mixture: GaussianMixture, target: int) -> GaussianMixture:
    """Return the mixtures of one target, the others integrated out."""
    only = slice(target, target + 1)
    return GaussianMixture(mixture.log_pi, mixture.mu[:, :, only], mixture.sigma[:, :, only])


def answer_of(mixture: GaussianMixture, bounds: Bounds) -> Distribution:
    """Return the distributions of one target that have these mixtures underneath."""
    return BoundedDistribution(mixture, (bounds,)) if bounds else Distribution(mixture)


def position_of_target(density: ConditionalDensity, name: str | None) -> int:
    """Return the position of the target of this name, of the first for None.

    Raises:
        DataError: the model has no such target.
    """
    return 0 if name is None else _position("target", name, density.schema.target_names)


def _sweep(density: ConditionalDensity, position: int) -> Array:
    """Return points (P, F) along one feature's training range, the others at their medians."""
    columns = density.schema.features
    points = np.tile([column.median for column in columns], (_POINTS, 1))
    points[:, position] = np.linspace(columns[position].lowest, columns[position].highest, _POINTS)
    return points


def _position(kind: str, name: str, names: list[str]) -> int:
    if name not in names:
        raise DataError(
            f"The model has no {kind} {quoted(name)}.{nearest(name, names)} "
            f"It has: {listed(names)}."
        )
    return names.index(name)
