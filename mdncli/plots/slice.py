"""What every picture shows: a model along one feature, and the rows of a table over it."""

from dataclasses import dataclass

import numpy as np

from mdncli.columns.features import OTHER, CategoryFeature, DateFeature, Feature, date_texts
from mdncli.columns.transforms import Bounds
from mdncli.density.conditioned import fixed_values
from mdncli.density.distribution import BoundedDistribution, Distribution
from mdncli.density.mixture import GaussianMixture, generator_of_draws
from mdncli.density.model import ConditionalDensity
from mdncli.errors import DataError
from mdncli.text import listed, nearest, quoted
from mdncli.types import Array

_POINTS = 400
_WIDTH_OF_A_LEVEL = 0.9
_MOST_TICKS = 10
_GOLDEN = 0.6180339887498949


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
        """Where the points stand along the horizontal axis, shape (P,); a level is a step wide."""
        feature, values = self.density.schema.features[self.along], self.points[:, self.along]
        if not isinstance(feature, CategoryFeature):
            return values
        _, first, counts = np.unique(values, return_index=True, return_counts=True)
        within = (np.arange(len(values)) - first.repeat(counts)) / (counts.repeat(counts) - 1)
        return values + _WIDTH_OF_A_LEVEL * (within - 0.5)

    @property
    def data(self) -> tuple[Array, Array]:
        """Where the table's rows stand along the horizontal axis and the target's, each (N,)."""
        return self._places(self.x[:, self.along]), self.y[:, self.target]

    @property
    def ticks(self) -> dict[float, str]:
        """Texts for places on the horizontal axis; none where they are numbers."""
        return feature_ticks(self.density.schema.features[self.along], self.x[:, self.along])

    def _places(self, values: Array) -> Array:
        """Return where values stand along the horizontal axis; those of one level side by side."""
        return feature_places(self.density.schema.features[self.along], values)

    @property
    def held(self) -> str:
        """What the title says of the targets and features held fast: nothing if there are none."""
        fixed = fixed_values(self.density)
        others = [
            column.name
            for position, column in enumerate(self.density.schema.features)
            if position != self.along
        ]
        if not others:
            return fixed
        names = ", ".join(others) if len(others) <= 3 else f"{len(others)} other features"
        categories = any(not feature.waves for feature in self.density.schema.features)
        where = "what is typical" if categories else "the median" + "s" * (len(others) > 1)
        held = f"{names} at {where}"
        return f"{fixed}; {held}" if fixed else held

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
        return self._places(places[:, self.along]), np.concatenate(y)


def feature_places(feature: Feature, values: Array) -> Array:
    """Return where values of a feature stand on an axis, (N,); those of one level side by side."""
    if not isinstance(feature, CategoryFeature):
        return values
    # Multiples of the golden ratio fill any interval evenly.
    aside = (np.arange(len(values)) * _GOLDEN) % 1.0 - 0.5
    at = np.where(np.isnan(values), feature.plain - 1, values)
    places: Array = at + 0.6 * _WIDTH_OF_A_LEVEL * aside
    return places


def feature_ticks(feature: Feature, values: Array) -> dict[float, str]:
    """Return texts for places on an axis of a feature; none where its values are numbers.

    Args:
        feature: on the axis.
        values: (N,), that are shown: other texts and empty cells are named where there are any.
    """
    if isinstance(feature, CategoryFeature):
        names = [*feature.levels, OTHER, "(empty)"]
        there = np.isnan(values).any(), (values == feature.other).any()
        places = list(range(0, len(feature.levels), -(-len(feature.levels) // _MOST_TICKS)))
        places += [feature.other] * bool(there[1]) + [feature.plain - 1] * bool(there[0])
        return {float(p): names[-1 if p > feature.other else p] for p in places}
    if isinstance(feature, DateFeature):
        days = np.linspace(feature.lowest, feature.highest, 4).round()
        return dict(zip(days.tolist(), date_texts(days, ""), strict=True))
    return {}


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
    return mixture.targets([target])


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
    """Return points (P, F) along one feature's training range, the others at what is typical.

    Of a category each level has as many points, one after another.
    """
    features = density.schema.features
    points = np.tile([feature.typical for feature in features], (_POINTS, 1))
    values = features[position].points(_POINTS)
    points[:, position] = np.sort(values)
    return points


def _position(kind: str, name: str, names: list[str]) -> int:
    if name not in names:
        raise DataError(
            f"The model has no {kind} {quoted(name)}.{nearest(name, names)} "
            f"It has: {listed(names)}."
        )
    return names.index(name)
