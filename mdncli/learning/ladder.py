"""The ladder of models from simple to rich, and how held-out rows weigh its rungs.

The rungs are the marginal, a linear-Gaussian model, networks that read the features alone, networks
that also read sines and cosines of them, networks that also read a memory, and deeper ones. The
density is a weighted mean of theirs (stacking: Smyth and Wolpert 1999). Each row is scored by a
member that held it out.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import numpy as np

from mdncli.columns.transforms import Cells
from mdncli.density.marginal import Marginal
from mdncli.density.mixture import GaussianMixture, log_sum_exp, pooled
from mdncli.density.network import Architecture, Perceptron, split_head
from mdncli.learning.loop import Batches, LoopResult
from mdncli.learning.memory import UseOfMemory
from mdncli.learning.splits import StandardizedRows
from mdncli.settings import FEW_ROWS, Settings
from mdncli.types import Array

# Of the periodic networks of a ladder, in proportion to the settings.
_DROPOUT_OF_PERIODIC, _RATE_OF_PERIODIC, _STEPS_OF_PERIODIC = 0.5, 1.5, 1.2
# Of the steps, where networks read the memory: it takes time, and makes the rest easier.
_STEPS_WITH_MEMORY = 0.8
# Of the preset `best`: the rows from which on there are deep networks, and wide ones; and the steps
# of the other networks, as a share of those of the periodic ones.
_DEEP_ROWS, _WIDE_ROWS = 700, 2000
_STEPS_OF_PLAIN, _STEPS_OF_PLAIN_OF_MANY, _STEPS_OF_DEEP = 0.35, 0.2, 0.5
# On a small table, each member of `best` learns from more of the rows.
_PARTS_OF_BEST = 20
_RATE_OF_MANY_ROWS = 2.0
_SMALL_STEPS, _SMALL_DROPOUT = 150, 0.3
# Of the preset `best`, for several targets.
_STEPS_OF_SHORT, _BATCH_OF_SHORT, _MOST_COMPONENTS_OF_SHORT = 1000, 256, 10
_MOST_TARGETS_OF_LONG = 3
# The steps of the finish in a ladder on up to 1000 rows, as a share of those before it: with one
# target, with several, and of the preset `best`.
_SHARE_OF_FINISH, _SHARE_OF_JOINT_FINISH, _SHARE_OF_FINISH_OF_BEST = 0.3, 0.4, 1.0
# What these are multiplied by where networks read a memory, which takes time itself.
_FINISH_WITH_MEMORY = 0.5
# The parts of the memory that networks of some kinds read. Kinds that read different parts make a
# better mean.
_TREES = "forest", "boosted"
_MEMORY = *_TREES, "neighbours"
# Rows that count for equal weights, in addition to those held out.
_PRIOR_ROWS = 5.0
_ROUNDS = 500
_CONVERGED = 1e-7
# Calibration acts as if so many rows spoke for no change.
_ROWS_OF_NO_CHANGE = 15.0
_LARGEST_CHANGE = math.log(3.0)
# The smallest share of the squared error of a member that averaging leaves.
_LEAST_ERROR_LEFT = 0.1


class Recipe(NamedTuple):
    """One kind of networks: its name, its settings, and what parts of the memory it reads."""

    name: str
    settings: Settings
    reads: tuple[str, ...] = ()


def architecture_of(settings: Settings) -> Architecture:
    """Return the architecture of networks with these settings."""
    return Architecture(
        # The number of components is known here: `fit` has replaced None and "auto".
        mixtures=cast(int, settings.mixtures),
        hidden=cast(tuple[int, ...], settings.hidden),
        activation=settings.activation,
        covariance=settings.covariance,
        frequencies=cast(int, settings.frequencies),
    )


@dataclass(frozen=True)
class Kind:
    """One kind of networks: what they are, and the rows that their members learn from."""

    name: str
    settings: Settings
    rows: StandardizedRows
    reads: tuple[str, ...]
    batches: Batches

    @property
    def members(self) -> int:
        """The number of networks."""
        return cast(int, self.settings.members)

    @property
    def architecture(self) -> Architecture:
        """The architecture of the networks."""
        return architecture_of(self.settings)


@dataclass(frozen=True)
class Block:
    """Some trained members of a kind, and how their training went."""

    kind: Kind
    members: range
    networks: list[Perceptron]
    result: LoopResult


def network_rungs(
    settings: Settings, rows: int, targets: int = 1, memory: UseOfMemory = "none"
) -> list[Recipe]:
    """Return the kinds of networks to learn from this many rows.

    Args:
        settings: of the fit, with every choice made.
        rows: to learn from.
        targets: T. A joint density needs means that are exact, so there is no dropout.
        memory: which networks read it.
    """
    trees = _TREES if memory != "none" else ()
    if not settings.ladder:
        return [Recipe("networks", settings, _MEMORY if trees else ())]
    plain = replace(settings, hidden=settings.hidden or (64, 64, 64), frequencies=0)
    if rows < FEW_ROWS:
        steps = min(settings.steps or _SMALL_STEPS, _SMALL_STEPS)
        hidden = settings.hidden or (64, 64)
        small = replace(plain, hidden=hidden, steps=steps, dropout=_SMALL_DROPOUT)
        return _beside(Recipe("small", small), memory)
    if targets > 1:
        return _rungs_of_joint(replace(plain, dropout=0.0), targets, memory)
    periodic = replace(
        settings, hidden=settings.hidden or (64, 64), frequencies=settings.frequencies or 8
    )
    if settings.steps is not None:
        steps = round(_STEPS_WITH_MEMORY * settings.steps) if trees else settings.steps
        plain = replace(plain, steps=steps)
        periodic = replace(
            periodic,
            dropout=_DROPOUT_OF_PERIODIC * settings.dropout,
            lr=_RATE_OF_PERIODIC * settings.lr,
            steps=round(_STEPS_OF_PERIODIC * steps),
        )
        # These never read the memory: where it misleads the others, they make up for it.
        return [*_beside(Recipe("plain", plain), memory), Recipe("periodic", periodic)]
    return _rungs_of_best(settings, plain, periodic, rows, memory)


def _rungs_of_joint(plain: Settings, targets: int, memory: UseOfMemory) -> list[Recipe]:
    """Return the kinds of networks for several targets; two kinds for few of them with `best`.

    Few passes over the rows suit targets that the features say little about; many suit others.
    """
    if plain.steps is not None:
        return _beside(Recipe("plain", plain), memory)
    components = min(cast(int, plain.mixtures), _MOST_COMPONENTS_OF_SHORT)
    short = replace(plain, mixtures=components, steps=_STEPS_OF_SHORT, batch_size=_BATCH_OF_SHORT)
    long = [Recipe("long", plain)] if targets <= _MOST_TARGETS_OF_LONG else []
    return [*_beside(Recipe("plain", short), memory), *long]


def _rungs_of_best(
    settings: Settings, plain: Settings, periodic: Settings, rows: int, memory: UseOfMemory
) -> list[Recipe]:
    """Return the kinds of networks of the preset `best`, from those of networks of two kinds.

    It leaves the steps open: they are those of the periodic networks.
    """
    many, trees = rows >= _WIDE_ROWS, _TREES if memory != "none" else ()
    plain = replace(plain, batch_size=max(256, settings.batch_size or 0))
    periodic = replace(
        periodic,
        hidden=settings.hidden or ((128, 64) if many else (64, 64)),
        dropout=0.0,
        lr=settings.lr * (_RATE_OF_MANY_ROWS if many else 1.0),
    )
    # On a large table, more steps with the memory are worth more than deep networks.
    share = _STEPS_OF_PLAIN_OF_MANY if many and memory != "all" else _STEPS_OF_PLAIN
    plain = _with_steps(plain, share, rows)
    # Kinds that differ make a better mean, so one of them never reads the memory.
    rungs = [*_beside(Recipe("plain", plain), memory), Recipe("periodic", periodic)]
    if rows >= _DEEP_ROWS and not (many and trees):
        hidden = settings.hidden or ((128, 128, 64) if many else (128, 64, 32))
        deep = replace(settings, hidden=hidden, frequencies=2, dropout=0.2, batch_size=256)
        rungs.append(Recipe("deep", _with_steps(deep, _STEPS_OF_DEEP, rows), trees))
    return rungs


def steps_of_finish(settings: Settings, rows: int, targets: int, reads_memory: bool) -> int:
    """Return the number of steps of the finish of a kind of networks.

    Args:
        settings: of the kind.
        rows: to learn from.
        targets: T.
        reads_memory: whether networks of any kind read a memory.
    """
    share = 1.0
    if settings.ladder:
        share = _SHARE_OF_FINISH if targets == 1 else _SHARE_OF_JOINT_FINISH
        share = min(1.0, share * max(1.0, math.sqrt(rows / 1000.0)))
        share = share if settings.steps is not None else _SHARE_OF_FINISH_OF_BEST
        share *= _FINISH_WITH_MEMORY if reads_memory else 1.0
    return round(share * settings.epochs_for(rows) * settings.steps_per_epoch(rows))


def _beside(recipe: Recipe, memory: UseOfMemory) -> list[Recipe]:
    """Return a kind without the memory, the same kind with it, or both."""
    reader = Recipe("memory", recipe.settings, _MEMORY)
    beside = reader._replace(settings=replace(recipe.settings, finish=0))
    return {"none": [recipe], "some": [recipe, beside], "all": [reader]}[memory]


def _with_steps(settings: Settings, share: float, rows: int) -> Settings:
    """Return the settings with this share of the steps on a table of so many rows."""
    return replace(settings, epochs=max(2, round(share * settings.epochs_for(rows))))


def parts_to_hold_out(settings: Settings, rows: int) -> int:
    """Return the number of parts of which a member holds one out, if it is more than usual."""
    few = settings.ladder and settings.steps is None and FEW_ROWS <= rows < _WIDE_ROWS
    return _PARTS_OF_BEST if few else 0


@dataclass(frozen=True)
class HeldOut:
    """The outputs of a rung at rows that were held out.

    Attributes:
        architecture: of its networks.
        raw: outputs of networks, each (N, O), whose densities are averaged.
        y: (N, T), standardized.
        min_sigma: (T,), standardized.
        cells: what the values of a single target stand for, standardized; see `StandardizedRows`.
        y_of_pool: (M, N, T), the targets as M members of a pool would see them; see
            `targets_of_pool`. None if the rung has one member, or if no member saw these rows.
    """

    architecture: Architecture
    raw: list[Array]
    y: Array
    min_sigma: Array
    cells: Cells | None = None
    y_of_pool: Array | None = None

    @property
    def is_network(self) -> bool:
        """Whether there are hidden layers. Other rungs are not calibrated."""
        return bool(self.architecture.hidden)

    def log_prob(self, sigma_scale: float = 1.0, temperature: float = 1.0) -> Array:
        """Return the log density of each row, (N,), after a calibration."""
        members = self._mixtures(sigma_scale, temperature)
        pool = pooled(members, [-math.log(len(members))] * len(members))
        return log_prob_standardized(pool, self.y, self.cells)

    def log_prob_of_pool(self, sigma_scale: float, temperature: float) -> Array:
        """Return the log density of each row under a pool of all members, (N,), estimated."""
        if self.y_of_pool is None:
            return self.log_prob(sigma_scale, temperature)
        [mixture] = self._mixtures(sigma_scale, temperature)
        logs = np.stack(
            [log_prob_standardized(mixture, self.y, self.cells, y) for y in self.y_of_pool],
            axis=1,
        )
        return log_sum_exp(logs) - math.log(len(self.y_of_pool))

    def _mixtures(self, sigma_scale: float, temperature: float) -> list[GaussianMixture]:
        return [
            split_head(raw, self.architecture, self.min_sigma, sigma_scale=sigma_scale).tempered(
                temperature=temperature
            )
            for raw in self.raw
        ]


def log_prob_standardized(
    mixture: GaussianMixture, y: Array, cells: Cells | None, seen: Array | None = None
) -> Array:
    """Return the log density or probability of each row, (N,), of standardized targets.

    Args:
        mixture: N mixtures, or one for all rows.
        y: (N, T).
        cells: what the values of a single target stand for; None for points on a line.
        seen: (N, T), where the targets are for a member of a pool; by default y.
    """
    if cells is None:
        return mixture.log_prob(y if seen is None else seen)
    moved = cells if seen is None else cells.shifted((seen - y)[:, 0])
    return Marginal.of(mixture, 0).log_prob_of(replace(moved, log_unit=np.zeros(len(y))))


def targets_of_pool(mixture: GaussianMixture, means: Array, y: Array) -> Array:
    """Return the targets as the members of a pool would see them, (M, N, T).

    The other members have learned from a row that one member held out. So their pool cannot be
    judged at this row, but its members can be imagined. They differ from their common mean c by

        d_j = (mean_j - c) sqrt(B / mean (mean_j - c)^2),   B = mean (mean_j - mean)^2 / 2

    where `mean` is that of the member that held the row out. Averaging removes the share 1 - 1/M
    of the variance B from the squared error e^2 = (y - mean)^2, so that the error of the pool is

        e' = e sqrt(1 - (1 - 1/M) B / max(e^2, variance))

    A member then sees the target at e' - d_j from its own mean.

    Args:
        mixture: the mixtures of the member that held each row out, N rows.
        means: of each member at each row, (M, N, T).
        y: (N, T), standardized.
    """
    members = len(means)
    own = mixture.mean()
    error = y - own
    others = ((means - own) ** 2).sum(axis=0) / (members - 1)
    from_centre = means - means.mean(axis=0)
    spread = (from_centre**2).sum(axis=0) / (members - 1)
    between = 0.5 * others
    from_centre = from_centre * np.sqrt(between / np.maximum(spread, 1e-300))
    removed = (1.0 - 1.0 / members) * between / np.maximum(error**2, mixture.variance())
    left = error * np.sqrt(np.maximum(1.0 - removed, _LEAST_ERROR_LEFT))
    seen: Array = own + left - from_centre
    return seen


# From a rung, a scale and a temperature to the log density of each row, (N,).
LogProb = Callable[[HeldOut, float, float], Array]


@dataclass(frozen=True)
class Stack:
    """The weights of the rungs, and the calibration of the networks among them.

    Attributes:
        weights: of every rung; 0 for a rung that is left out.
        background: the weight of the background; 0 without one.
        sigma_scale, temperature: of the networks in the model, where their members are pooled.
        nll: the mean NLL of the held-out rows, standardized, where each network is alone.
    """

    weights: list[float]
    background: float
    sigma_scale: float
    temperature: float
    nll: float


@dataclass(frozen=True)
class Stacking:
    """Finds the stack with the lowest NLL on held-out rows.

    Attributes:
        rungs: their outputs at the N rows.
        row_weights: (N,), how much each row counts.
        log_background: (N,), the log density of the background; None without one.
        least: the smallest weight of the background.
        calibrate: whether to calibrate the networks.
        least_gain: by which a rung must lower the NLL at least, beside its noise, in nats.
    """

    rungs: Sequence[HeldOut]
    row_weights: Array
    log_background: Array | None
    least: float
    calibrate: bool
    least_gain: float = 0.0

    def solve(self) -> Stack:
        """Return the stack. A rung stays only if it lowers the NLL by more than its noise."""
        terms = self._terms(HeldOut.log_prob, 1.0, 1.0)
        kept = self._prune(terms)
        weights, background = self._weights(terms, kept)
        scale, temperature = 1.0, 1.0
        if self.calibrate:
            solution = weights, background
            scale, temperature = self._calibration(HeldOut.log_prob, *solution)
            terms = self._terms(HeldOut.log_prob, scale, temperature)
            weights, background = self._weights(terms, kept)
            if any(self.rungs[rung].y_of_pool is not None for rung in kept):
                solution = weights, background
                scale, temperature = self._calibration(HeldOut.log_prob_of_pool, *solution)
        log_density = self._log_density(terms, weights, background)
        nll = -float(np.average(log_density, weights=self.row_weights))
        return Stack(weights.tolist(), background, scale, temperature, nll)

    def _terms(self, log_prob: LogProb, scale: float, temperature: float) -> Array:
        """Return the log density of each rung at each row, (R, N)."""
        return np.stack(
            [
                log_prob(rung, scale, temperature) if rung.is_network else rung.log_prob()
                for rung in self.rungs
            ]
        )

    def _weights(self, terms: Array, kept: list[int]) -> tuple[Array, float]:
        """Return the weights of all rungs, (R,), and of the background, by maximum likelihood.

        The expectation-maximization algorithm finds them; the problem is convex.
        """
        parts = [terms[rung] for rung in kept]
        if self.log_background is not None:
            parts.append(self.log_background)
        stacked, count = np.stack(parts), len(kept)
        prior = np.zeros(len(parts))
        prior[:count] = _PRIOR_ROWS / count
        share = np.full(len(parts), 1.0 / len(parts))
        for _ in range(_ROUNDS):
            joint = np.log(np.maximum(share, 1e-300))[:, None] + stacked
            responsibility = np.exp(joint - log_sum_exp(joint.T)) * self.row_weights
            new = responsibility.sum(axis=1) + prior
            new /= new.sum()
            done = float(np.abs(new - share).max()) < _CONVERGED
            share = new
            if done:
                break
        background = 0.0
        if self.log_background is not None:
            background = min(max(float(share[-1]), self.least), 0.99)
        weights = np.zeros(len(terms))
        weights[kept] = (1.0 - background) * share[:count] / share[:count].sum()
        return weights, background

    def _log_density(self, terms: Array, weights: Array, background: float) -> Array:
        kept = np.flatnonzero(weights)
        parts = [math.log(weights[rung]) + terms[rung] for rung in kept]
        if self.log_background is not None:
            parts.append(math.log(background) + self.log_background)
        return log_sum_exp(np.stack(parts, axis=1))

    def _prune(self, terms: Array) -> list[int]:
        """Return the rungs to keep: leave out one after another while that costs only noise."""
        kept = list(range(len(terms)))
        while len(kept) > 1:
            whole = self._log_density(terms, *self._weights(terms, kept))
            costs = []
            for rung in kept:
                rest = [each for each in kept if each != rung]
                loss = whole - self._log_density(terms, *self._weights(terms, rest))
                cost = float(np.average(loss, weights=self.row_weights))
                spread = float(np.average((loss - cost) ** 2, weights=self.row_weights))
                noise = self._noise * math.sqrt(spread / len(loss))
                costs.append(cost - max(noise, self.least_gain))
            least = int(np.argmin(costs))
            if costs[least] > 0.0:
                break
            del kept[least]
        return kept

    @property
    def _noise(self) -> float:
        """The standard errors that a rung must gain; fewer where few rows can show a gain."""
        return min(1.0, len(self.row_weights) / 500.0)

    def _calibration(
        self, log_prob: LogProb, weights: Array, background: float
    ) -> tuple[float, float]:
        """Return the scale of sigma and the temperature of pi with the lowest NLL.

        Args:
            log_prob: gives the log density of a rung at each row.
            weights, background: of the rungs, (R,), and of the background.
        """
        kept = np.flatnonzero(weights).tolist()
        networks = [rung for rung in kept if self.rungs[rung].is_network]
        if not networks:
            return 1.0, 1.0
        terms = self._terms(log_prob, 1.0, 1.0)

        def nll(log_scale: float, log_temperature: float) -> float:
            calibration = math.exp(log_scale), math.exp(log_temperature)
            for rung in networks:
                terms[rung] = log_prob(self.rungs[rung], *calibration)
            log_density = self._log_density(terms, weights, background)
            penalty = _ROWS_OF_NO_CHANGE * (log_scale**2 + log_temperature**2) / len(log_density)
            return penalty - float(np.average(log_density, weights=self.row_weights))

        log_scale = _minimum(lambda value: nll(value, 0.0))
        log_temperature = 0.0
        if any(self.rungs[rung].architecture.mixtures > 1 for rung in networks):
            log_temperature = _minimum(lambda value: nll(log_scale, value))
            log_scale = _minimum(lambda value: nll(value, log_temperature))
        return math.exp(log_scale), math.exp(log_temperature)


def _minimum(function: Callable[[float], float], tolerance: float = 0.02) -> float:
    """Return where a function of one variable has its minimum, by golden-section search."""
    low, high = -_LARGEST_CHANGE, _LARGEST_CHANGE
    ratio = 0.5 * (math.sqrt(5.0) - 1.0)
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > tolerance:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return 0.5 * (low + high)
