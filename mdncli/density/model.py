"""The learned conditional density: rows of features in, a mixture over the targets out."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mdncli.columns.dataframe import feature_matrix
from mdncli.columns.features import to_plain
from mdncli.columns.schema import Schema
from mdncli.columns.transforms import underneath
from mdncli.density.conditioning import Known
from mdncli.density.mixture import GaussianMixture, pooled
from mdncli.density.network import Architecture, Perceptron, split_head
from mdncli.density.parallel import each_piece
from mdncli.density.record import Origin, TrainingRecord
from mdncli.types import Array

if TYPE_CHECKING:
    from mdncli.density.distribution import Distribution
    from mdncli.density.evaluation import Evaluation


Samples = tuple[NDArray[np.int64], Array, NDArray[np.int64]]

_ROWS_AT_ONCE = 8192
_BLOCK = 4096
_DRAWS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Baseline:
    """The same trunk fitted by least squares: a Gaussian of one sigma a target.

    Attributes:
        network: its output is the standardized mean, (N, T).
        sigma: (T,), the root mean squared error on the validation rows, standardized.
        nll: on the validation rows, nats, in the units of the file; NaN in a model of the first
            file format.
    """

    network: Perceptron
    sigma: Array
    nll: float


@dataclass(frozen=True)
class ConditionalDensity:
    """p(y | x) as mixture density networks (Bishop 1994) over standardized columns.

    Several members are one density: the mean of theirs, which is again a mixture, of M*K
    components (Lakshminarayanan et al. 2017, section 2.4).

    Attributes:
        schema: the columns, in the model's order.
        architecture: of each member's network.
        networks: M of them; the output of each is what `split_head` reads.
        settings: what it was learned with, as plain values; after `-k auto`, the chosen K.
        record: how training went.
        reference: one row, the mixture of as many components that knows nothing of x,
            standardized; None in a model of the first file format.
        baseline: the least-squares fit, if one was asked for.
        origin: where it comes from; empty in a model of an earlier file format.
    """

    schema: Schema
    architecture: Architecture
    networks: list[Perceptron]
    settings: dict[str, Any]
    record: TrainingRecord
    reference: GaussianMixture | None = None
    baseline: Baseline | None = None
    origin: Origin = field(default_factory=Origin)

    def condition(self, rows: Any, given: Mapping[str, Any] | None = None) -> "Distribution":
        """Return the distribution of the targets given each row's features.

        Args:
            rows: a DataFrame whose columns include the features, by name, or an array (N, F) in
                the order of `schema.features`; in the units of the file, categories and dates as
                they are there. Missing values (NaN, None) may be where some were in training.
            given: by name, known values of some targets, one for each row (N,) or one for all; the
                answer is the distribution of the other targets, in their order.

        Raises:
            DataError: a feature or a given target is missing, or a value is not a finite number.
            UsageError: no target is left.

        >>> from mdncli import load
        >>> load("model.pt").condition([[2.5], [3.0]]).mean().shape
        (2,)
        """
        return self.at_rows(feature_matrix(rows, self.schema.features), given)

    def at_rows(self, x: Array, given: Mapping[str, Any] | None = None) -> "Distribution":
        """Return what `condition` does, for rows as `Schema.inputs` takes them, (N, F)."""
        # Here, since SciPy takes a while: drawing samples does without it.
        from mdncli.density.distribution import BoundedDistribution, Distribution

        known = Known.of(self.schema, given or {}, len(x))
        components = len(self.networks) * self.architecture.mixtures
        shape = len(x), components, len(self.schema.targets) - len(known.positions)

        def mixture_of(part: slice) -> GaussianMixture:
            return known.narrowed(self.mixture(x[part]), part)

        bounds = tuple(self.schema.bounds[position] for position in known.rest)
        if any(bounds):
            return BoundedDistribution.under(bounds, shape, mixture_of)
        return Distribution.of_rows(shape, mixture_of)

    def distribution(self, mixture: GaussianMixture) -> "Distribution":
        """Return the distribution of the targets that has these mixtures underneath."""
        from mdncli.density.distribution import BoundedDistribution, Distribution

        if self.schema.bounded:
            return BoundedDistribution(mixture, self.schema.bounds)
        return Distribution(mixture)

    def mixture(self, x: Array) -> GaussianMixture:
        """Return the mixtures that `at_rows` is about, for x (N, F).

        Of a target with bounds they are on the scale of its map, see `Bounds`; else in the units of
        the file.
        """
        rows, targets = len(x), len(self.schema.targets)
        components = len(self.networks) * self.architecture.mixtures
        shapes = [(components,), (components, targets), (components, targets)]
        if self.architecture.slopes(targets):
            shapes.append((components, targets, targets))
        # Positions last in memory: sums over components are several times faster so.
        parts = (np.moveaxis(np.empty((*shape, rows)), -1, 0) for shape in shapes)
        whole = GaussianMixture(*parts)

        def answer(piece: slice) -> None:
            members = pooled(self._members(x[piece]))
            for part, values in zip(whole.arrays(), members.arrays(), strict=True):
                part[piece] = values

        each_piece(answer, rows, _BLOCK)
        return whole

    def condition_members(self, x: Array) -> list[GaussianMixture]:
        """Return each member's own answer to `mixture`."""
        whole, each = self.mixture(x), self.architecture.mixtures
        parts = [whole.components(slice(at, at + each)) for at in range(0, whole.pi.shape[1], each)]
        more = math.log(len(self.networks))
        return [replace(part, log_pi=part.log_pi + more) for part in parts]

    def _members(self, x: Array) -> list[GaussianMixture]:
        """Return each member's mixtures at one block of rows."""
        inputs = self.schema.inputs(x)
        floor = self.schema.sigma_floor
        return [
            self._unstandardized(
                split_head(network(inputs, precision=np.float32), self.architecture, floor)
            )
            for network in self.networks
        ]

    def evaluate(self, rows: Any, targets: Any = None, weights: Any = None) -> "Evaluation":
        """Return how well the model meets rows whose targets are known.

        Args:
            rows: as `condition` takes them.
            targets: an array (N,) or (N, T); or None, if `rows` is a DataFrame that has them.
            weights: (N,), zero or more, how much each row counts. If not given, the column that
                weighted the rows in training where `rows` is a DataFrame that has it, else alike.

        Positions without a target, or of weight zero, do not count.

        Raises:
            DataError: a column is missing, there are no rows, or a value is not a finite number.

        >>> from mdncli import load, read_table
        >>> load("model.pt").evaluate(read_table("data.csv")).rows
        1000
        """
        from mdncli.density.evaluation import evaluate_rows

        return evaluate_rows(self, rows, targets, weights)

    def describe(self) -> dict[str, Any]:
        """Return what the model is, as plain values: columns, architecture, settings, training."""
        return {
            "features": [to_plain(feature) for feature in self.schema.features],
            "targets": [asdict(target) for target in self.schema.targets],
            "members": len(self.networks),
            "architecture": self.architecture.to_plain(),
            "settings": self.settings,
            "record": asdict(self.record),
            "nll_baseline": math.nan if self.baseline is None else self.baseline.nll,
            "origin": asdict(self.origin),
        }

    def nll(self, x: Array, y: Array) -> Array:
        """Return -log p(y | x), nats, shape (N,), for x (N, F) and y (N, T) as in the file."""
        return -self.log_prob(self.mixture(x), y)

    def log_prob(self, mixture: GaussianMixture, y: Array) -> Array:
        """Return log p(y), nats, shape (N,), of the targets with these mixtures underneath.

        Args:
            mixture: N of them.
            y: (N, T), in the units of the file; where it is at a bound or beyond, -inf.
        """
        if not self.schema.bounded:
            return mixture.log_prob(y)
        u, slopes = underneath(self.schema.bounds, y)
        log_prob: Array = mixture.log_prob(u) + slopes.sum(axis=1)
        return log_prob

    def sample(
        self,
        x: Array,
        n: int,
        rng: np.random.Generator,
        *,
        temperature: float = 1.0,
        sigma_temperature: float = 1.0,
        given: Mapping[str, Any] | None = None,
    ) -> Iterator[Samples]:
        """Yield n draws of the targets for every row of x, in pieces of bounded size.

        Args:
            x: (N, F), in the units of the file.
            n: draws for each row.
            rng: the source of randomness.
            temperature: positive; the weights become proportional to pi^(1/temperature).
            sigma_temperature: zero or more; multiplies every sigma of the mixture, which for a
                target with bounds is underneath its map.
            given: as `condition` takes it; the other targets are drawn, these keep their values.

        Yields:
            Of each draw, those of one row adjacent: its row in x, (D,); the targets in the units of
            the file, (D, T); and the component that it came from, counted from 0, (D,).
        """
        known = Known.of(self.schema, given or {}, len(x))
        at_once = max(1, _DRAWS_AT_ONCE // n)
        for start in range(0, max(1, len(x)), at_once):
            part = slice(start, start + at_once)
            mixture = known.narrowed(self.mixture(x[part]), part).tempered(
                temperature=temperature, sigma_temperature=sigma_temperature
            )
            for done in range(0, n, _DRAWS_AT_ONCE):
                drawn, component = mixture.sample(min(n - done, _DRAWS_AT_ONCE), rng)
                y = known.completed(drawn, part)
                rows = start + np.arange(len(y)).repeat(y.shape[1])
                yield rows, y.reshape(len(rows), y.shape[2]), component.reshape(-1)

    def mean_nll(self, x: Array, y: Array, weights: Array | None = None) -> float:
        """Return the mean of `nll` over rows, in bounded memory; NaN for no rows.

        Args:
            x: (N, F).
            y: (N, T).
            weights: (N,), how much each row counts; all alike if not given.
        """
        if not len(y):
            return math.nan
        parts = range(0, len(y), _ROWS_AT_ONCE)
        nlls = [self.nll(x[at : at + _ROWS_AT_ONCE], y[at : at + _ROWS_AT_ONCE]) for at in parts]
        return float(np.average(np.concatenate(nlls), weights=weights))

    def condition_baseline(self, x: Array) -> GaussianMixture:
        """Return the least-squares baseline's Gaussian given each row of x, shape (N, F).

        As `mixture` it is underneath the maps of targets with bounds.

        Raises:
            ValueError: the model holds none.
        """
        if self.baseline is None:
            raise ValueError("the model has no baseline")
        inputs = self.schema.inputs(x)
        mean = self.baseline.network(inputs)
        sigma = np.broadcast_to(self.baseline.sigma, mean.shape)
        one = GaussianMixture(np.zeros((len(mean), 1)), mean[:, None], sigma[:, None])
        return self._unstandardized(one)

    def condition_reference(self, x: Array) -> GaussianMixture:
        """Return the mixture that knows nothing of x, once for each row of x, shape (N, F).

        As `mixture` it is underneath the maps of targets with bounds.

        Raises:
            ValueError: the model holds none.
        """
        if self.reference is None:
            raise ValueError("the model has no unconditional mixture")
        rows = [np.repeat(part, len(x), axis=0) for part in self.reference.arrays()]
        return self._unstandardized(GaussianMixture(*rows))

    def _unstandardized(self, standardized: GaussianMixture) -> GaussianMixture:
        location = np.array([column.mean for column in self.schema.targets])
        scale = self.schema.target_scales
        mu, sigma = standardized.mu * scale + location, standardized.sigma * scale
        return replace(standardized, mu=mu, sigma=sigma)
