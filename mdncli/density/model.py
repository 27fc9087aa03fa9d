"""The mixture density network: rows of features in, a Gaussian mixture over the targets out.

A model also holds the record of how it came to be: its training, its origin, and what each of its
components does.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mdncli.columns.features import Feature, feature_to_plain
from mdncli.columns.schema import Schema
from mdncli.density.distribution import Distribution, log_prob
from mdncli.density.marginal import Marginal
from mdncli.density.mixture import GaussianMixture, GivenTargets, empty_mixture
from mdncli.density.network import Architecture, Memory, Perceptron, split_head
from mdncli.density.numerics import for_each_piece
from mdncli.types import Array, Mask, Positions

_ROWS_AT_ONCE = 8192
_BLOCK = 6144
_DRAWS_AT_ONCE = 1 << 16
# Mixtures of at most this many terms, N*K*T, are computed at once and kept, about 100 MB. Larger
# ones are computed piece by piece for each question.
_MOST_TERMS_KEPT = 1 << 22

# Two components are similar at a row if their means are at most this many sigmas apart, and the
# ratio of their sigmas is at most 1 plus this. Duplicates are similar on most rows.
_SIMILAR = 0.1
_MOST_ROWS = 0.9
# A component of less weight counts as unused, and not as a duplicate.
_USED = 1e-3
# A sigma within this factor of its minimum counts as being at the minimum.
_AT_MINIMUM = 1.05


@dataclass(frozen=True)
class MemberReport:
    """How the K components of one member are used over some rows.

    Attributes:
        weight: the mean pi of each component, (K,).
        leads: the share of rows where each component has the largest pi, (K,).
        at_floor: the share of rows where one of its sigmas is within 5% of the minimum, (K,). With
            correlated targets this holds for the conditional sigma, given the earlier targets.
        effective: exp of the entropy of `weight`, the effective number of components.
        duplicates: the number of components that are similar to an earlier one on 90% of the rows.
    """

    weight: list[float]
    leads: list[float]
    at_floor: list[float]
    effective: float
    duplicates: int

    @property
    def weight_at_floor(self) -> float:
        """The share of the total weight on components at their minimum sigma."""
        return sum(w * share for w, share in zip(self.weight, self.at_floor, strict=True))


def report(mixture: GaussianMixture, min_sigma: Array) -> MemberReport:
    """Return the report on one member.

    Args:
        mixture: the member's mixtures at N rows.
        min_sigma: (T,), the smallest sigma of each target, in the units of the mixtures.
    """
    pi, sigma = mixture.pi, mixture.sigma
    if mixture.factor is not None:
        # The minimum holds for the sigma of each target given the targets before it.
        sigma = sigma * np.diagonal(mixture.factor, axis1=2, axis2=3)
    rows, components = pi.shape
    weight = pi.mean(axis=0)
    leads = np.bincount(pi.argmax(axis=1), minlength=components) / rows
    at_floor = (sigma <= _AT_MINIMUM * min_sigma).any(axis=2).mean(axis=0)
    used = weight[weight > 0.0]
    return MemberReport(
        weight=weight.tolist(),
        leads=leads.tolist(),
        at_floor=at_floor.tolist(),
        effective=float(np.exp(-(used * np.log(used)).sum())),
        duplicates=_duplicates(mixture, weight),
    )


def _duplicates(mixture: GaussianMixture, weight: Array) -> int:
    """Return how many used components are similar to a heavier one."""
    kept: list[int] = []
    used = [int(k) for k in np.argsort(-weight, kind="stable") if weight[k] > _USED]
    for component in used:
        if not any(_are_duplicates(mixture, component, other) for other in kept):
            kept.append(component)
    return len(used) - len(kept)


def _are_duplicates(mixture: GaussianMixture, one: int, other: int) -> bool:
    """Return whether two components are similar on most rows."""
    mu, sigma, factor = mixture.mu, mixture.sigma, mixture.factor
    narrow = np.minimum(sigma[:, one], sigma[:, other])
    close = np.abs(mu[:, one] - mu[:, other]) <= _SIMILAR * narrow
    alike = np.maximum(sigma[:, one], sigma[:, other]) <= (1.0 + _SIMILAR) * narrow
    similar = (close & alike).all(axis=1)
    if factor is not None:
        similar &= (np.abs(factor[:, one] - factor[:, other]) <= _SIMILAR).all(axis=(1, 2))
    return bool(similar.mean() >= _MOST_ROWS)


@dataclass(frozen=True)
class TrainingRecord:
    """How training went. Every NLL is in nats per row, in the units of the file.

    Attributes:
        rows: the number of rows that were used, for training or for validation.
        rows_valid: the number of them that any member held out for early stopping.
        epochs: the number of epochs trained.
        best_epochs: for each member, the epoch with the weights that it keeps, counted from 1.
        stopped: why training ended: `epochs`, `patience`, `time`, `interrupted` or `faults`.
        faults: how often NaN, inf or a sudden rise of the loss was detected and undone.
        nll_train: of the model on the training rows.
        nll_valid: on the validation rows. Where the members held out different rows, each row is
            scored by the member that held it out; otherwise by the model.
        history: `nll_train` and `nll_valid` of each epoch, measured during training.
        reference: the NLL of the marginal reference on the rows of `nll_train` and `nll_valid`.
        components: the report on each member's components.
        tried: where K was chosen automatically, the mean validation NLL of each K.
        cv: the scores of each fold of an earlier cross-validation; empty without one.
    """

    rows: int
    rows_valid: int
    epochs: int
    best_epochs: list[int]
    stopped: str
    faults: int
    nll_train: float
    nll_valid: float
    history: dict[str, list[float]]
    reference: dict[str, float]
    components: list[MemberReport]
    tried: dict[int, float]
    cv: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Origin:
    """Where a model comes from.

    Attributes:
        request: what `fit` was asked for, as plain data: parameter name to value, without those
            that were left at their default.
        dialect: how the training table was read, as plain data: only what differs from the default.
        table_sha256: the hash of the training table's bytes, in hexadecimal digits.
        versions: the versions of Python and of the packages that affect the result, by name.
    """

    request: dict[str, Any] = field(default_factory=dict)
    dialect: dict[str, Any] = field(default_factory=dict)
    table_sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)


class Draws(NamedTuple):
    """Some draws of the targets; those of one row are adjacent.

    Attributes:
        rows: (D,), the row of x that each draw belongs to.
        y: (D, T), the targets in the units of the file.
        component: (D,), the component that each draw came from, counted from 0.
    """

    rows: Positions
    y: Array
    component: Positions


@dataclass(frozen=True)
class Baseline:
    """The same network fitted by least squares: a Gaussian with one sigma for each target.

    Attributes:
        network: its output is the standardized mean, (N, T).
        sigma: (T,), the root mean squared error on the validation rows, standardized.
        nll: on the validation rows, in nats per row, in the units of the file; NaN in a model of
            the first file format.
    """

    network: Perceptron
    sigma: Array
    nll: float

    def mixture(self, means: Array) -> GaussianMixture:
        """Return the Gaussians with these means, (N, T), standardized, as mixtures."""
        sigma = np.broadcast_to(self.sigma, means.shape)
        return GaussianMixture(np.zeros((len(means), 1)), means[:, None], sigma[:, None])


@dataclass(frozen=True)
class Rung:
    """Networks of one shape: one rung of the ladder from simple to rich, or the only one.

    Their density is the mean of the members' densities, a mixture of M*K components
    (Lakshminarayanan et al. 2017, section 2.4).

    Attributes:
        name: what kind of model it is: `marginal`, `linear`, `networks` and so on.
        architecture: of each network. The marginal and the linear model have no hidden layer.
        networks: the M networks; `split_head` reads their outputs.
        weight: the share of this rung in the density of the model, from 0 to 1.
        sigma_scale: what calibration multiplies every sigma by.
        temperature: calibration makes the weights proportional to pi^(1/temperature).
        nll: of this rung alone on rows that were held out, in nats per row, in the units of the
            file, before calibration; NaN where it is not known.
        reads: the parts of the memory that give the networks further inputs, in the order of
            `Memory.parts`.
    """

    name: str
    architecture: Architecture
    networks: list[Perceptron]
    weight: float = 1.0
    sigma_scale: float = 1.0
    temperature: float = 1.0
    nll: float = math.nan
    reads: tuple[str, ...] = ()

    @property
    def components(self) -> int:
        """The number of components, M*K."""
        return len(self.networks) * self.architecture.mixtures

    @property
    def kind(self) -> tuple[str, Architecture, tuple[str, ...]]:
        """What networks have in common that can take each other's weights."""
        return self.name, self.architecture, self.reads

    def summary(self) -> dict[str, Any]:
        """Return what it is and what it weighs, as plain values."""
        return {
            "name": self.name,
            "members": len(self.networks),
            "mixtures": self.architecture.mixtures,
            "weight": self.weight,
            "sigma_scale": self.sigma_scale,
            "temperature": self.temperature,
            "nll_valid": self.nll,
            "reads": list(self.reads),
        }


@dataclass(frozen=True)
class Background:
    """Component 0: a broad Gaussian with independent targets, the same at every row.

    Attributes:
        weight: its share in the density of the model, more than 0 and less than 1.
        mu, sigma: (T,), standardized.
    """

    weight: float
    mu: Array
    sigma: Array

    def mixture(self, rows: int = 1) -> GaussianMixture:
        """Return it as the mixture of each of some rows, standardized."""
        shape = rows, 1, len(self.mu)
        mu, sigma = (np.broadcast_to(part, shape) for part in (self.mu, self.sigma))
        return GaussianMixture(np.zeros((rows, 1)), mu, sigma)


@dataclass(frozen=True)
class MixtureDensityNetwork:
    """p(y | x) by mixture density networks (Bishop 1994) over standardized columns.

    The density is a weighted mean of those of the rungs and of the background. So it is a Gaussian
    mixture: the background comes first, then the components of one rung after another.

    Attributes:
        schema: the columns, in the order of the model.
        rungs: the networks; at least one rung. Their weights and the background's sum to 1.
        settings: the settings of training, as plain values, with the chosen K.
        record: how training went.
        reference: the marginal reference: one row of a mixture of K components that ignores x,
            standardized; None in a model of the first file format.
        baseline: the least-squares fit, if there is one.
        background: component 0, if there is one.
        memory: what some rungs read; it may be empty.
        origin: where the model comes from; empty in a model of an early file format.
    """

    schema: Schema
    rungs: list[Rung]
    settings: dict[str, Any]
    record: TrainingRecord
    reference: GaussianMixture | None = None
    baseline: Baseline | None = None
    background: Background | None = None
    memory: Memory = field(default_factory=Memory)
    origin: Origin = field(default_factory=Origin)

    @property
    def main(self) -> Rung:
        """The rung with the largest weight."""
        return max(self.rungs, key=lambda rung: rung.weight)

    @property
    def components(self) -> int:
        """The number of components of the mixtures, with the background."""
        return sum(rung.components for rung in self.rungs) + (self.background is not None)

    @property
    def first_component(self) -> int:
        """The number of the first component: 0 for the background, else 1."""
        return 1 if self.background is None else 0

    def distribution(self, x: Array) -> Distribution:
        """Return the distribution of the targets at each row of x, in the units of the file.

        For a long table its mixtures are computed piece by piece, anew for each question; x must
        not change in the meantime.

        Args:
            x: (N, F), in the order of the schema; NaN where a value is missing.
        """
        terms = len(x) * self.components * len(self.schema.targets)
        mixtures = self.mixture(x) if terms <= _MOST_TERMS_KEPT else _MixturesOfRows(self, x)
        return Distribution(
            mixtures,
            self.schema.transforms,
            self.schema.target_names,
            first_component=self.first_component,
        )

    def mixture(self, x: Array) -> GaussianMixture:
        """Return the mixtures at each row of x, (N, F), of all targets.

        They are mixtures of u = transform.inverse(y), which is y for a target without bounds.
        """
        rows, targets = len(x), len(self.schema.targets)
        correlated = any(rung.architecture.slopes(targets) for rung in self.rungs)
        whole = empty_mixture(rows, self.components, targets, with_factor=correlated)
        for_each_piece(lambda piece: self._write(x[piece], whole.rows(piece)), rows, _BLOCK)
        return whole

    def member_mixtures(self, x: Array) -> list[GaussianMixture]:
        """Return the mixtures of each member of the main rung at each row of x, (N, F)."""
        inputs = self._inputs(x)(self.main)
        mixtures = [self._member(network, self.main, inputs) for network in self.main.networks]
        for mixture in mixtures:
            self._change_units(mixture)
        return mixtures

    def baseline_mixture(self, x: Array) -> GaussianMixture:
        """Return the least-squares baseline's Gaussian at each row of x, (N, F), as `mixture` does.

        Raises:
            ValueError: the model has no baseline.
        """
        if self.baseline is None:
            raise ValueError("the model has no baseline")
        means = self.baseline.network(self.schema.inputs(x))
        return self._in_units(self.baseline.mixture(means))

    def reference_mixture(self, x: Array) -> GaussianMixture:
        """Return the marginal reference, repeated for each row of x, (N, F), as `mixture` does.

        Raises:
            ValueError: the model has no marginal reference.
        """
        if self.reference is None:
            raise ValueError("the model has no marginal reference")
        rows = [np.repeat(part, len(x), axis=0) for part in self.reference.arrays()]
        return self._in_units(GaussianMixture(*rows))

    def log_prob(self, mixture: GaussianMixture, y: Array, known: Mask | None = None) -> Array:
        """Return log p(y), in nats, shape (N,), of targets with these mixtures.

        It is the log probability where a value has one, or stands for all values beyond a limit.

        Args:
            mixture: N mixtures, as `mixture` returns them.
            y: (N, T), in the units of the file; the result is -inf at a bound and beyond it.
            known: (N,), False where the target is only known to exceed y; None for nowhere.
        """
        if not self.schema.is_censored and known is None:
            return log_prob(mixture, self.schema.transforms, y)
        return Marginal.of(mixture, 0).log_prob_of(self.schema.targets[0].cells(y[:, 0], known))

    def nll(self, x: Array, y: Array, known: Mask | None = None) -> Array:
        """Return -log p(y | x), in nats, shape (N,); see `log_prob`.

        Args:
            x: (N, F).
            y: (N, T).
            known: (N,), as for `log_prob`.
        """
        return -self.log_prob(self.mixture(x), y, known)

    def mean_nll(
        self, x: Array, y: Array, weights: Array | None = None, known: Mask | None = None
    ) -> float:
        """Return the mean of `nll` over the rows, in nats, in bounded memory; NaN for no rows.

        Args:
            x: (N, F).
            y: (N, T).
            weights: (N,), how much each row counts; by default all rows count alike.
            known: (N,), as for `log_prob`.
        """
        if not len(y):
            return math.nan
        nlls = []
        for at in range(0, len(y), _ROWS_AT_ONCE):
            part = slice(at, at + _ROWS_AT_ONCE)
            nlls.append(self.nll(x[part], y[part], None if known is None else known[part]))
        return float(np.average(np.concatenate(nlls), weights=weights))

    def rows_of_draws(self, n: int) -> int:
        """Return for how many rows n draws each are made at once."""
        return max(1, _DRAWS_AT_ONCE // n)

    def draws(
        self,
        x: Array,
        n: int,
        rng: np.random.Generator,
        *,
        temperature: float = 1.0,
        sigma_temperature: float = 1.0,
        given: Mapping[str, ArrayLike] | None = None,
    ) -> Iterator[Draws]:
        """Yield n draws of the targets for every row of x, in pieces of bounded size.

        Args:
            x: (N, F), in the order of the schema; NaN where a value is missing.
            n: the number of draws for each row.
            rng: the source of randomness.
            temperature: positive; the weights become proportional to pi^(1/temperature).
            sigma_temperature: zero or more; multiplies every sigma of the mixtures.
            given: known values of some targets, as for `Distribution.given`. The other targets are
                drawn, and these keep their values.
        """
        known = GivenTargets.read(
            given or {}, self.schema.target_names, self.schema.transforms, len(x)
        )

        def draw(part: slice, uniform: Array, z: Array) -> tuple[Array, Positions]:
            mixture = known.condition(self.mixture(x[part]), part)
            if (temperature, sigma_temperature) != (1.0, 1.0):
                mixture = mixture.tempered(
                    temperature=temperature, sigma_temperature=sigma_temperature
                )
            drawn, component = mixture.draw(uniform, z)
            return known.complete(drawn, part), component

        at_once = self.rows_of_draws(n)
        for start in range(0, max(1, len(x)), at_once):
            part = slice(start, min(start + at_once, len(x)))
            for done in range(0, n, _DRAWS_AT_ONCE):
                y, component = self._drawn(
                    draw, part, min(n - done, _DRAWS_AT_ONCE), (rng, len(known.remaining))
                )
                rows = start + np.arange(len(y)).repeat(y.shape[1])
                yield Draws(rows, y.reshape(len(rows), y.shape[2]), component.reshape(-1))

    def _drawn(
        self,
        draw: Callable[[slice, Array, Array], tuple[Array, Positions]],
        part: slice,
        n: int,
        source: tuple[np.random.Generator, int],
    ) -> tuple[Array, Positions]:
        """Return n draws at each of some rows, and their components.

        Args:
            draw: takes rows and their random numbers, and returns the same.
            part: the rows.
            n: the number of draws.
            source: of random numbers, and the number of targets to draw.
        """
        rows = part.stop - part.start
        rng, left = source
        uniform, z = rng.random((rows, n)), rng.standard_normal((rows, n, left))
        y, component = np.empty((rows, n, len(self.schema.targets))), np.empty((rows, n), np.int64)

        def fill(piece: slice) -> None:
            within = slice(part.start + piece.start, part.start + piece.stop)
            y[piece], component[piece] = draw(within, uniform[piece], z[piece])

        for_each_piece(fill, rows, _BLOCK)
        return y, component

    def describe(self) -> dict[str, Any]:
        """Return the model as plain values: columns, architecture, settings and training."""
        return {
            "features": [_described(feature) for feature in self.schema.features],
            "targets": [asdict(target) for target in self.schema.targets],
            "members": len(self.main.networks),
            "architecture": self.main.architecture.to_plain(),
            "rungs": self.summaries_of_rungs(),
            "background": None if self.background is None else {"weight": self.background.weight},
            "memory": self.memory.summary(),
            "forest": self.memory.summary().get("forest"),
            "settings": self.settings,
            "record": asdict(self.record),
            "nll_baseline": math.nan if self.baseline is None else self.baseline.nll,
            "origin": asdict(self.origin),
        }

    def summaries_of_rungs(self) -> list[dict[str, Any]]:
        """Return what each rung is and weighs; `reads_forest` is an earlier name of `reads`."""
        return [{**rung.summary(), "reads_forest": "forest" in rung.reads} for rung in self.rungs]

    def _write(self, x: Array, whole: GaussianMixture) -> None:
        """Write the mixtures at one block of rows: p(y) = sum_m w_m p_m(y), as one mixture."""
        inputs, start = self._inputs(x), 0
        if self.background is not None:
            first, constant = whole.components(slice(0, 1)), self.background.mixture()
            first.log_pi[:] = math.log(self.background.weight)
            first.mu[:], first.sigma[:] = constant.mu, constant.sigma
            if first.factor is not None:
                first.factor[:] = np.eye(len(self.schema.targets))
            start = 1
        for rung in self.rungs:
            log_weight = math.log(rung.weight / len(rung.networks))
            said, count = inputs(rung), rung.architecture.mixtures
            for network in rung.networks:
                part = whole.components(slice(start, start + count))
                self._member(network, rung, said, part)
                part.log_pi[:] += log_weight
                start += count
        self._change_units(whole)

    def _inputs(self, x: Array) -> Callable[[Rung], Array]:
        """Return a function from a rung to the inputs of its networks."""
        inputs = self.schema.inputs(x)
        said = self.memory(inputs)

        def of_rung(rung: Rung) -> Array:
            columns = [said[part] for part in rung.reads]
            return np.column_stack([inputs, *columns]) if columns else inputs

        return of_rung

    def _member(
        self, network: Perceptron, rung: Rung, inputs: Array, out: GaussianMixture | None = None
    ) -> GaussianMixture:
        """Return the standardized mixtures of a member of a rung, from inputs of its networks."""
        return split_head(
            network(inputs, precision=np.float32),
            rung.architecture,
            self.schema.min_sigma,
            self.schema.max_sigma,
            sigma_scale=rung.sigma_scale,
            temperature=rung.temperature,
            out=out,
        )

    def _change_units(self, mixture: GaussianMixture) -> None:
        """Change standardized mixtures, in place, to the units of u."""
        scale = self.schema.target_scales
        mixture.mu[:] *= scale
        mixture.mu[:] += np.array([target.mean for target in self.schema.targets])
        mixture.sigma[:] *= scale

    def _in_units(self, standardized: GaussianMixture) -> GaussianMixture:
        """Return standardized mixtures in the units of u."""
        location = np.array([target.mean for target in self.schema.targets])
        scale = self.schema.target_scales
        mu, sigma = standardized.mu * scale + location, standardized.sigma * scale
        return replace(standardized, mu=mu, sigma=sigma)


@dataclass(frozen=True)
class _MixturesOfRows:
    """The mixtures of a model at the rows of x, (N, F), computed when rows are requested."""

    model: MixtureDensityNetwork
    x: Array

    @property
    def shape(self) -> tuple[int, int, int]:
        """The numbers of rows, components and targets."""
        return len(self.x), self.model.components, len(self.model.schema.targets)

    def rows(self, chosen: slice) -> GaussianMixture:
        """Return the mixtures of these rows."""
        return self.model.mixture(self.x[chosen])


def _described(feature: Feature) -> dict[str, Any]:
    """Return a feature as plain values, with `gaps`, the earlier name of `allows_missing`."""
    plain = feature_to_plain(feature)
    if "allows_missing" in plain:
        plain["gaps"] = plain["allows_missing"]
    return plain
