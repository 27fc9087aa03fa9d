"""A slice of a model: its density along one feature, and the rows of a table over it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from mdncli.columns.features import (
    OTHER,
    CategoryFeature,
    DateFeature,
    Feature,
    date_texts,
)
from mdncli.columns.transforms import Transform
from mdncli.density.distribution import Distribution
from mdncli.density.mixture import GaussianMixture, generator_of_draws
from mdncli.density.model import MixtureDensityNetwork
from mdncli.errors import DataError
from mdncli.plots.style import headline, label_ticks, plain
from mdncli.text import counted, listed, nearest, quoted
from mdncli.types import Array, Mask

_POINTS = 400
_WIDTH_OF_A_LEVEL = 0.9
_MOST_TICKS = 10
_GOLDEN = 0.6180339887498949
# In scales of the target: a value that is farther from the mean is not shown, unless the density
# reaches it with this share in each tail.
_FARTHEST, _TAIL = 20.0, 0.01
# Of more features than this, those with the largest effects on some random rows are compared, at
# every eighth point.
_MOST_COMPARED, _RANDOM_ROWS, _BINS, _EVERY = 10, 400, 10, 8


@dataclass(frozen=True)
class Slice:
    """The density of one target along one feature, with the other features fixed.

    Attributes:
        model: the model.
        along: the position of the feature on the horizontal axis.
        target: the position of the target to show.
        points: (P, F), where the density is computed: evenly spaced along the training range of
            the feature, with the other features at their typical values.
        x: (N, F), the rows of the table shown over it; N is 0 without a table.
        y: (N, T), the targets of these rows.
        given: known values of other targets, in the units of the file.
        known: (N,), False where the target is only known to exceed y; None where it is known.
    """

    model: MixtureDensityNetwork
    along: int
    target: int
    points: Array
    x: Array
    y: Array
    given: Mapping[str, float] = field(default_factory=dict)
    known: Mask | None = None

    @classmethod
    def of(
        cls,
        model: MixtureDensityNetwork,
        x: Array,
        y: Array,
        *,
        along: str | None = None,
        target: int = 0,
        given: Mapping[str, float] | None = None,
        known: Mask | None = None,
    ) -> "Slice":
        """Return a slice of a model.

        Args:
            model: the model.
            x: (N, F), rows of a table in the order of the model's schema; N may be 0.
            y: (N, T), their targets.
            along: the feature on the horizontal axis; by default the one along which the mean
                changes most.
            target: the position of the target to show.
            given: known values of other targets, in the units of the file.
            known: (N,), False where the target is only known to exceed y.

        Raises:
            DataError: the model has no such feature.
        """
        features = model.schema.features

        def along_feature(position: int) -> "Slice":
            points = _points_along(features, position)
            return cls(model, position, target, points, x, y, given or {}, known)

        if along is None:
            slices = [along_feature(position) for position in along_feature(0).candidates()]
            effects = [np.ptp(one.at(one.points[::_EVERY]).mean()) for one in slices]
            return slices[int(np.argmax(effects))]
        names = model.schema.feature_names
        if along not in names:
            raise DataError(
                f"The model has no feature {quoted(along)}.{nearest(along, names)} "
                f"Its features are: {listed(names)}."
            )
        return along_feature(names.index(along))

    def candidates(self) -> list[int]:
        """Return the positions of the features along which the mean may change most.

        Of many features these are a few: every feature takes random values from its training range
        in some rows, and the means of the target are averaged in bins of each feature. The averages
        of the candidates vary most.
        """
        features = self.model.schema.features
        if len(features) <= _MOST_COMPARED:
            return list(range(len(features)))
        rng = np.random.default_rng(0)
        x = np.stack([rng.permutation(each.points(_RANDOM_ROWS)) for each in features], axis=1)
        means = self.at(x).mean().ravel()[x.argsort(axis=0, kind="stable")]
        spread = means.reshape(_BINS, -1, len(features)).mean(axis=1).std(axis=0)
        return sorted(np.argsort(-spread, kind="stable")[:_MOST_COMPARED].tolist())

    @property
    def feature(self) -> Feature:
        """The feature on the horizontal axis."""
        return self.model.schema.features[self.along]

    @property
    def target_name(self) -> str:
        """The name of the target."""
        return self.model.schema.targets[self.target].name

    @property
    def transform(self) -> Transform:
        """The transform of the target."""
        return self.model.schema.transforms[self.target]

    @property
    def name_of_u(self) -> str:
        """What the mixtures are of: the target or, if it has bounds, a function of it."""
        return self.transform.name_of_u(self.target_name)

    @cached_property
    def distribution(self) -> Distribution:
        """The distributions of the target at the P points."""
        return self.at(self.points)

    def at(self, x: Array) -> Distribution:
        """Return the distributions of the target at some rows of features, (N, F)."""
        return self._of_target(self.model.distribution(x))

    def members_at(self, x: Array) -> list[Distribution]:
        """Return what each member of the heaviest rung says of the target there."""
        schema = self.model.schema
        mixtures = self.model.member_mixtures(x)
        joint = [Distribution(one, schema.transforms, schema.target_names) for one in mixtures]
        return [self._of_target(each) for each in joint]

    @property
    def mixture(self) -> GaussianMixture:
        """The mixtures of the target at the P points, on the scale of `name_of_u`."""
        return self.distribution.mixture

    @property
    def baseline(self) -> GaussianMixture:
        """The Gaussians of the least-squares baseline at the P points, like `mixture`."""
        schema = self.model.schema
        mixtures = self.model.baseline_mixture(self.points)
        joint = Distribution(mixtures, schema.transforms, schema.target_names)
        return self._of_target(joint).mixture

    @property
    def grid(self) -> Array:
        """Where the points are on the horizontal axis, shape (P,); a level of a category is 1 wide.

        The levels of a category have equally many points, which are spread over their width.
        """
        values = self.points[:, self.along]
        if not isinstance(self.feature, CategoryFeature):
            return values
        _, first, counts = np.unique(values, return_index=True, return_counts=True)
        within = (np.arange(len(values)) - first.repeat(counts)) / (counts.repeat(counts) - 1)
        return values + _WIDTH_OF_A_LEVEL * (within - 0.5)

    @property
    def data(self) -> tuple[Array, Array]:
        """Where the table's rows are on the horizontal axis, and their targets, each (N,)."""
        return feature_places(self.feature, self.x[:, self.along]), self.y[:, self.target]

    def samples(self, seed: int) -> tuple[Array, Array]:
        """Return one draw for every row of the table or, without a table, three for every point.

        Returns:
            The places on the horizontal axis and the values of the target, each (D,).
        """
        rng = generator_of_draws(seed)
        x = self.x if len(self.x) else self.points.repeat(3, axis=0)
        y = [drawn.y[:, self.target] for drawn in self.model.draws(x, 1, rng, given=self.given)]
        return feature_places(self.feature, x[:, self.along]), np.concatenate(y)

    @property
    def fixed(self) -> str:
        """The given targets, and where the other features are fixed, for a title; may be empty."""
        given = given_values(self.given)
        features = self.model.schema.features
        others = [other.name for position, other in enumerate(features) if position != self.along]
        if not others:
            return given
        names = ", ".join(others) if len(others) <= 3 else f"{len(others)} other features"
        if any(isinstance(other, CategoryFeature) for other in features):
            where = "typical values"
        else:
            where = "the median" + "s" * (len(others) > 1)
        fixed = f"{names} at {where}"
        return f"{given}; {fixed}" if given else fixed

    def _of_target(self, joint: Distribution) -> Distribution:
        """Return the distribution of the target, given the given ones, from that of all targets."""
        return joint.given(self.given).marginal(self.target_name)


def given_values(given: Mapping[str, ArrayLike]) -> str:
    """Return what a title says of given targets, such as `a = 1, b of the row`; may be empty."""
    return ", ".join(
        f"{name} of the row" if np.ndim(value) else f"{name} = {float(np.asarray(value)):.6g}"
        for name, value in given.items()
    )


def value_text(feature: Feature, value: float) -> str:
    """Return a value of a feature as a title shows it."""
    if isinstance(feature, CategoryFeature | DateFeature):
        [text] = feature.column(np.array([value])).to_pylist()
        return text or "(empty)"
    return "(empty)" if np.isnan(value) else f"{value:.4g}"


def feature_places(feature: Feature, values: Array) -> Array:
    """Return where values of a feature are on an axis, (N,).

    The values of one level of a category are spread beside each other.
    """
    if not isinstance(feature, CategoryFeature):
        return values
    # Multiples of the golden ratio fill any interval evenly.
    aside = (np.arange(len(values)) * _GOLDEN) % 1.0 - 0.5
    at = np.where(np.isnan(values), feature.plain_width - 1, values)
    places: Array = at + 0.6 * _WIDTH_OF_A_LEVEL * aside
    return places


def feature_ticks(feature: Feature, values: Array) -> dict[float, str]:
    """Return texts for places on a feature's axis; none if its values are numbers.

    Args:
        feature: on the axis.
        values: (N,), the values shown. Other texts and empty cells get a tick if there are any.
    """
    if isinstance(feature, CategoryFeature):
        names = [*feature.levels, OTHER, "(empty)"]
        missing, other = np.isnan(values).any(), (values == feature.other).any()
        places = list(range(0, len(feature.levels), -(-len(feature.levels) // _MOST_TICKS)))
        places += [feature.other] * bool(other) + [feature.plain_width - 1] * bool(missing)
        return {float(p): names[-1 if p > feature.other else p] for p in places}
    if isinstance(feature, DateFeature):
        days = np.linspace(feature.lowest, feature.highest, 4).round()
        return dict(zip(days.tolist(), date_texts(days, ""), strict=True))
    return {}


def target_limits(shown: Slice) -> tuple[float, float]:
    """Return limits of the target: its training range and the table's values, with a margin.

    Values that are far from all others are left out.
    """
    values = _values_to_show(shown)
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def limits_of_u(shown: Slice) -> tuple[float, float]:
    """Return the same limits on the scale of the mixtures; see `Slice.name_of_u`."""
    if shown.transform.is_identity:
        return target_limits(shown)
    values = _values_to_show(shown)
    u = shown.transform.inverse(values[~shown.transform.outside(values)])
    margin = 0.05 * float(np.ptp(u))
    return float(u.min()) - margin, float(u.max()) + margin


def label_axes(axes: Axes, shown: Slice) -> None:
    """Name both axes after their columns, and set their limits."""
    label_feature(axes, shown)
    axes.set_ylabel(plain(shown.target_name))
    axes.set_ylim(*target_limits(shown))


def label_feature(axes: Axes, shown: Slice) -> None:
    """Name the horizontal axis after its feature, and set its limits.

    They include the training range and the table's values.
    """
    axes.set_xlabel(plain(shown.feature.name))
    values = np.append(shown.data[0], shown.grid)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.03 * (high - low)
    axes.set_xlim(low - margin, high + margin)
    label_ticks(axes, feature_ticks(shown.feature, shown.x[:, shown.along]))


def title(figure: Figure, shown: Slice) -> None:
    """Give a figure a title: the target, the feature, and where everything else is fixed."""
    text = f"{plain(shown.target_name, 30)} given {plain(shown.feature.name, 30)}"
    remark = plain(shown.fixed, 60)
    low, high = target_limits(shown)
    beyond = int(((shown.data[1] < low) | (shown.data[1] > high)).sum())
    if beyond:
        remark += f"{'; ' if remark else ''}{counted(beyond, 'row')} beyond the limits"
    headline(figure, text, remark)


def _values_to_show(shown: Slice) -> Array:
    """Return values of the target in training and in the table, without those far from the rest."""
    column = shown.model.schema.targets[shown.target]
    values = np.append(shown.data[1], [column.lowest, column.highest])
    distance = np.abs(shown.transform.inverse(values) - column.mean)
    far = np.isfinite(distance) & (distance > _FARTHEST * column.scale)
    if not far.any():
        return values
    reached = shown.distribution.quantile([_TAIL, 1.0 - _TAIL]).ravel()
    return np.append(values[~far], reached.clip(values.min(), values.max()))


def _points_along(features: tuple[Feature, ...], position: int) -> Array:
    """Return points, (P, F), along one feature's training range, the others at typical values.

    The levels of a category have equally many points, one level after another.
    """
    points = np.tile([feature.typical for feature in features], (_POINTS, 1))
    points[:, position] = np.sort(features[position].points(_POINTS))
    return points
