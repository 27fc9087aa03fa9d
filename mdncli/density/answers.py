"""The questions about the rows of a table, and their answers as columns, piece by piece."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import combinations
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mdncli.columns import dataframe
from mdncli.columns.dataset import Dataset, RowRules, RowTally, model_dataset
from mdncli.columns.kinds import no_weight
from mdncli.columns.roles import is_given
from mdncli.columns.schema import Schema
from mdncli.density.distribution import Distribution
from mdncli.density.evaluation import Evaluation, RowScores, Scores
from mdncli.density.hdr import join_closest
from mdncli.density.model import MixtureDensityNetwork
from mdncli.errors import DataError, ParameterError, parameter, warn
from mdncli.tables.blocks import prefetched
from mdncli.tables.table import Table
from mdncli.tables.writer import whole_numbers, write_table
from mdncli.text import counted, listed, quoted
from mdncli.types import Array, Mask

if TYPE_CHECKING:
    import pandas as pd

Columns = dict[str, Array]
Watch = Callable[[int], None]

# A table has columns for at most this many intervals of a highest-density region.
_MOST_INTERVALS = 8
# A piece of a long table has at most so many rows, and so many components of mixtures.
_ROWS_AT_ONCE, _FEWEST_ROWS_AT_ONCE = 1 << 17, 1 << 10
_COMPONENTS_AT_ONCE = 1 << 22
_EXTRAPOLATES = "extrapolates"


@dataclass(frozen=True)
class Questions:
    """What to compute at every row. The fields are parameters of `predict`.

    Attributes:
        mean, std, median, mode, component_mean: whether to return these, for each target.
        correlation: whether to return the correlation of every two targets.
        quantiles: a probability, or several.
        interval: the probability that a central interval holds, or several.
        hdr: the probability that a highest-density region holds, or several.
        density: whether to return the density at each row's own target values, or at `at_target`.
            With several targets it is the joint one.
        marginal: whether to return the density of each target on its own instead.
        probability: whether to return the probability of the target's value, at the same values:
            of a rounded target, or of one with atoms.
        cdf: whether to return the cdf of each target, at the same values.
        exceed: by target, a value v; returns P(y > v).
        survival: of a single target, a value t, or several; returns P(y > t) for each.
        at_target: by target, a value to use for density, probability and cdf instead of the row's
            own.
        log: whether to return the logarithm of densities and probabilities; NaN for that of 0.
        parameters: whether to return pi, mu, sigma and, if there are any, the correlations of every
            component.

    Raises:
        ParameterError: a probability is not between 0 and 1, or a question needs another one.
    """

    mean: bool = False
    std: bool = False
    median: bool = False
    mode: bool = False
    component_mean: bool = False
    correlation: bool = False
    quantiles: float | Sequence[float] = ()
    interval: float | Sequence[float] = ()
    hdr: float | Sequence[float] = ()
    density: bool = False
    marginal: bool = False
    probability: bool = False
    cdf: bool = False
    exceed: Mapping[str, float] = field(default_factory=dict)
    survival: float | Sequence[float] = ()
    at_target: Mapping[str, float] = field(default_factory=dict)
    log: bool = False
    parameters: bool = False

    def __post_init__(self) -> None:
        for name in ("quantiles", "interval", "hdr"):
            for value in _several(getattr(self, name)):
                if not 0.0 < value < 1.0:
                    raise ParameterError(
                        f"{parameter(name)} is {value:g}: it must be between 0 and 1."
                    )
        names = ("density", "probability", "cdf", "exceed", "survival")
        density, probability, cdf, exceed, survival = map(parameter, names)
        if is_given(self.at_target) and not self._at_values:
            raise ParameterError(
                f"{parameter('at_target')} sets where {density}, {probability} and {cdf} are "
                "computed. Add one of them."
            )
        if self.marginal and not self.density:
            raise ParameterError(f"{parameter('marginal')} applies to {density}. Add {density}.")
        if self.log and not (self._at_values or is_given(self.exceed) or _several(self.survival)):
            raise ParameterError(
                f"{parameter('log')} applies to {density}, {probability}, {cdf}, {exceed} and "
                f"{survival}. Add one of them."
            )

    @property
    def _at_values(self) -> bool:
        """Whether something is asked at values of the targets."""
        return self.density or self.cdf or self.probability

    def needed_targets(self, targets: list[str]) -> list[str]:
        """Return the targets that must have a value in every row for these questions.

        Raises:
            ParameterError: `at_target` lacks a target that the joint density needs.
        """
        if not self._at_values:
            return []
        if self.at_target and self.density and not self.marginal:
            missing = [name for name in targets if name not in self.at_target]
            if missing:
                raise ParameterError(
                    f"{parameter('at_target')} lacks {listed(missing)}, and the joint density "
                    f"needs every target. Add {'it' if len(missing) == 1 else 'them'}, or "
                    f"{parameter('marginal')}."
                )
        return [] if self.at_target else targets

    def answer(
        self,
        predicted: Distribution,
        y: Array,
        rows: int | None = None,
        too_large: list[int] | None = None,
    ) -> tuple[Columns, int]:
        """Return the answers, (N,) each, and in how many rows a region had too many intervals.

        A region has columns for at most 8 intervals. If it has more, the closest are joined.

        Args:
            predicted: the distributions at N rows.
            y: (N, T), the rows' own target values; NaN where they are not needed.
            rows: how many of the first rows to answer; all by default.
            too_large: gets the number of densities that are too large for a number, instead of a
                warning.

        Raises:
            ParameterError: two answers have the same name, or a correlation needs two targets.
        """
        answers = _Answers(predicted, len(predicted) if rows is None else rows)
        for name in ("mean", "std", "median", "mode", "component_mean"):
            if getattr(self, name):
                answers.add(name, getattr(predicted, name)())
        if self.correlation:
            answers.add_correlations()
        probabilities = _several(self.quantiles)
        if probabilities:
            found = answers.by_target(predicted.quantile(probabilities))
            for position, p in enumerate(probabilities):
                answers.add(f"q{percent(p)}", found[:, :, position])
        for level in _several(self.interval):
            ends = answers.by_target(predicted.interval(level))
            answers.add(f"lo{percent(level)}", ends[:, :, 0])
            answers.add(f"hi{percent(level)}", ends[:, :, 1])
        for level in _several(self.hdr):
            answers.add_regions(f"hdr{percent(level)}", predicted.hdr(level))
        counts: list[int] = []
        self._add_probabilities(answers, y, counts)
        if too_large is None:
            _warn_of_too_large(sum(counts))
        else:
            too_large += counts
        if self.parameters:
            answers.add_parameters()
        return answers.columns, int(answers.had_more[: answers.rows].sum())

    def _add_probabilities(self, answers: "_Answers", y: Array, too_large: list[int]) -> None:
        """Add the answers about density, cdf and exceed."""
        log = "log_" if self.log else ""
        targets, predicted = answers.targets, answers.predicted
        points = y
        if self.at_target:
            values = [self.at_target.get(name, np.nan) for name in targets]
            points = np.broadcast_to(values, y.shape)
        chosen = [name for name in targets if not self.at_target or name in self.at_target]
        if self.density:
            separate = self.marginal or len(targets) == 1
            log_density = predicted.log_prob(points, marginal=separate)
            finite = log_density if self.log else _density(log_density, answers.rows, too_large)
            density = self._finite(finite)
            if separate:
                answers.add(f"{log}density", density, chosen)
            else:
                answers.put(f"{log}density", density)
        if self.probability:
            log_probability = predicted.log_probability(points)
            found = log_probability if self.log else np.exp(log_probability)
            answers.add(f"{log}probability", self._finite(found), chosen)
        if self.cdf:
            answers.add(f"{log}cdf", self._finite(predicted.cdf(points, log=self.log)), chosen)
        if self.exceed:
            values = [self.exceed.get(name, np.nan) for name in targets]
            tails = predicted.cdf(np.broadcast_to(values, y.shape), upper=True, log=self.log)
            answers.add(f"{log}exceed", self._finite(tails), list(self.exceed))
        for time in _several(self.survival):
            if len(targets) > 1:
                raise ParameterError(
                    f"{parameter('survival')} needs a single target, and there are {len(targets)}. "
                    f"Use {parameter('exceed')}."
                )
            alive = predicted.cdf(np.broadcast_to(time, y.shape), upper=True, log=self.log)
            answers.add(f"{log}survival{time:g}", self._finite(alive))

    def _finite(self, values: Array) -> Array:
        """Return values with NaN for the logarithm of 0, which a target with bounds may have."""
        return np.where(np.isneginf(values), np.nan, values) if self.log else values


def _density(log_density: Array, rows: int, counts: list[int]) -> Array:
    """Return densities; NaN where one is too large, which is counted in the first `rows`."""
    with np.errstate(over="ignore"):
        density = np.exp(log_density)
    too_large = np.isposinf(density)
    counts.append(int(too_large[:rows].sum()))
    return np.where(too_large, np.nan, density)


def _warn_of_too_large(rows: int) -> None:
    if rows:
        warn(
            f"In {counted(rows, 'row')} the density is too large for a number, and the cell is "
            f"empty. Ask for its logarithm: {parameter('log', 'True')}."
        )


class _Answers:
    """The columns of the answers, which are added one after another.

    Attributes:
        predicted: the distributions at N rows.
        rows: how many of the first rows are answered, R.
        targets: the names of their targets.
        columns: the answers so far, (R,) each.
        had_more: (N,), whether a region had more intervals than columns.
    """

    def __init__(self, predicted: Distribution, rows: int) -> None:
        self.predicted, self.rows, self.targets = predicted, rows, predicted.names
        self.columns: Columns = {}
        self.had_more: Mask = np.zeros(len(predicted), dtype=bool)

    def by_target(self, answer: Array) -> Array:
        """Return an answer with an axis of targets, (N, T, …), even for a single target."""
        return answer[:, None] if len(self.targets) == 1 else answer

    def put(self, name: str, values: Array) -> None:
        """Add a column.

        Raises:
            ParameterError: there is a column of that name.
        """
        if name in self.columns:
            raise ParameterError(
                f"Two answers have the name {quoted(name)}. Ask for them one at a time."
            )
        self.columns[name] = values[: self.rows]

    def add(self, name: str, answer: Array, chosen: list[str] | None = None) -> None:
        """Add a column for each target, or for the chosen ones, from (N,) or (N, T)."""
        values = answer.reshape(len(self.predicted), len(self.targets))
        for position, target in enumerate(self.targets):
            if chosen is None or target in chosen:
                self.put(f"{target}_{name}", values[:, position])

    def add_correlations(self) -> None:
        """Add a column for every two targets.

        Raises:
            ParameterError: there is only one target.
        """
        if len(self.targets) == 1:
            raise ParameterError(
                f"{parameter('correlation')} needs two targets or more, and there is only "
                f"{quoted(self.targets[0])}."
            )
        correlation = self.predicted.correlation()
        for one, other in combinations(range(len(self.targets)), 2):
            name = f"{self.targets[one]}_{self.targets[other]}_correlation"
            self.put(name, correlation[:, one, other])

    def add_regions(self, name: str, regions: Array) -> None:
        """Add the ends of highest-density regions, (N, I, 2) or (N, T, I, 2)."""
        atoms = sum(len(getattr(each, "values", ())) for each in self.predicted.transforms)
        most = min(self.predicted.shape[1] + atoms, _MOST_INTERVALS)
        by_target = self.by_target(regions)
        for position, target in enumerate(self.targets):
            fewer, more = join_closest(by_target[:, position], most)
            self.had_more |= more
            for interval in range(most):
                self.put(f"{target}_{name}_lo{interval + 1}", fewer[:, interval, 0])
                self.put(f"{target}_{name}_hi{interval + 1}", fewer[:, interval, 1])

    def add_parameters(self) -> None:
        """Add pi, mu, sigma and correlations of every component; those of one are adjacent."""
        mixture = self.predicted.mixture
        for component in range(mixture.mu.shape[1]):
            number = component + self.predicted.first_component
            self.put(f"pi{number}", mixture.pi[:, component])
            for position, target in enumerate(self.targets):
                for part in ("mu", "sigma"):
                    values = getattr(mixture, part)[:, component, position]
                    self.put(f"{target}_{part}{number}", values)
            if mixture.factor is None:
                continue
            for one, other in combinations(range(len(self.targets)), 2):
                rows = mixture.factor[:, component, one], mixture.factor[:, component, other]
                name = f"{self.targets[one]}_{self.targets[other]}_correlation{number}"
                self.put(name, (rows[0] * rows[1]).sum(axis=1))


def percent(probability: float) -> str:
    """Return a probability in percent with at least two integer digits: 05, 50, 97.5."""
    whole, dot, rest = f"{(Decimal(repr(probability)) * 100).normalize():f}".partition(".")
    return whole.zfill(2) + dot + rest


def _several(probabilities: float | Sequence[float]) -> list[float]:
    """Return one probability, or several, as a list."""
    values: list[float] = np.atleast_1d(np.asarray(probabilities, dtype=np.float64)).tolist()
    return values


@dataclass(frozen=True)
class Result:
    """A table that is computed piece by piece, so that a long one does not fill the memory.

    Attributes:
        pieces: tables with the same columns, to be read once; NumPy arrays or Arrow's columns by
            their names.
    """

    pieces: Iterable[Mapping[str, Any]]

    def frame(self) -> "pd.DataFrame":
        """Return the whole table as a data frame."""
        return dataframe.frame_of(self.pieces)

    def write(
        self,
        stream: BinaryIO,
        name: str | None = None,
        *,
        otherwise: str | None = None,
        watch: Watch | None = None,
    ) -> None:
        """Write the table in the format that the suffix of a file's name stands for.

        Without a name it is `otherwise`, or else CSV. `watch` is called with the rows of each piece
        when the next one is wanted.
        """
        write_table(stream, self.watched(watch), name, otherwise=otherwise)

    def watched(self, watch: Watch | None) -> Iterator[Mapping[str, Any]]:
        """Yield the pieces, each computed while the one before it is being used; see `write`."""
        for piece in prefetched(iter(self.pieces)):
            yield piece
            if watch is not None:
                watch(len(next(iter(piece.values()))))


# The rows of a table that are read together, and those among them that can be used.
Part = tuple[Table, Dataset]


def model_parts(
    tables: Iterable[Table], schema: Schema, rules: RowRules, check: Callable[[Table], None]
) -> Iterator[Part]:
    """Yield each table with its rows for a model; at the end, warn of all of them together.

    Args:
        tables: blocks of one table, at least one.
        schema: of the model.
        rules: what a row must have.
        check: refuses a table that lacks a column.

    Raises:
        DataError: as for `model_dataset`, once the rows at fault are reached.
    """
    tally = RowTally()
    rules = replace(rules, tally=tally)
    source = ""
    for table in tables:
        source = source or table.source
        check(table)
        yield table, model_dataset(table, schema, rules)
    if isinstance(rules.weights, str) and not tally.weighted:
        raise no_weight(source, rules.weights)
    tally.warn(replace(rules, warn_of_unseen=True))


@dataclass(frozen=True)
class Predictor:
    """Answers questions about the rows of a table, piece by piece.

    Attributes:
        network: the model.
        questions: what is asked, with the targets' values as numbers by their names.
        given: known values of targets by their names; None for the row's own.
        left: the targets that are not given.
        flag_extrapolation: add the column `extrapolates`, 1 where a feature is far outside its
            training range.
        only: leave out the columns of the rows.
    """

    network: MixtureDensityNetwork
    questions: Questions
    given: Mapping[str, Any]
    left: list[str]
    flag_extrapolation: bool
    only: bool

    @property
    def rows_at_once(self) -> int:
        """The rows of a piece at most."""
        at_once = max(_FEWEST_ROWS_AT_ONCE, _COMPONENTS_AT_ONCE // self.network.components)
        return min(_ROWS_AT_ONCE, at_once)

    def pieces(self, parts: Iterable[Part]) -> Iterator[dict[str, Any]]:
        """Yield the answers for one piece of the table after another, then warn about them."""
        rows = extrapolating = joined = 0
        too_large: list[int] = []
        for table, dataset in parts:
            rows += table.rows
            for start in range(0, max(1, table.rows), self.rows_at_once):
                piece = slice(start, min(start + self.rows_at_once, table.rows))
                answers, outside, more = self._answer(dataset, piece, too_large)
                extrapolating, joined = extrapolating + outside, joined + more
                carried: dict[str, Any] = {}
                if not self.only:
                    length = piece.stop - piece.start
                    originals = table.originals.items()
                    carried = {n: column.slice(piece.start, length) for n, column in originals}
                    require_new_names(list(answers), list(carried))
                yield {**carried, **answers}
        _warn_of_too_large(sum(too_large))
        warn_of_extrapolation(extrapolating, rows)
        if joined:
            warn(
                f"In {joined} of {rows} rows the region has more intervals than there are columns. "
                "The closest intervals were joined, so the region holds at least the probability "
                "that was asked for."
            )

    def _answer(
        self, dataset: Dataset, piece: slice, too_large: list[int]
    ) -> tuple[dict[str, Any], int, int]:
        """Return the answers for the rows of a piece, and how many extrapolate or were joined."""
        schema, positions = self.network.schema, dataset.positions
        within, places = piece, None
        if positions is not None:
            within = slice(*np.searchsorted(positions, [piece.start, piece.stop]).tolist())
            places = positions[within] - piece.start
        x, y = dataset.x[within], dataset.y[within]
        rows = len(x)
        if rows == 1:
            # A row that is alone would be rounded differently; see `numerics.added_up`.
            x, y = x.repeat(2, axis=0), y.repeat(2, axis=0)
        names = schema.target_names
        given = {
            name: y[:, names.index(name)] if value is None else value
            for name, value in self.given.items()
        }
        distribution = self.network.distribution(x)
        if given:
            distribution = distribution.given(given)
        own = y[:, [names.index(name) for name in self.left]]
        columns: dict[str, Any]
        columns, joined = self.questions.answer(distribution, own, rows, too_large)
        outside = schema.extrapolates(x[:rows])
        if self.flag_extrapolation:
            require_new_names([_EXTRAPOLATES], list(columns))
            columns[_EXTRAPOLATES] = outside.astype(np.int64)
        if places is not None:
            length = piece.stop - piece.start
            columns = {n: _scattered(v, places, length) for n, v in columns.items()}
            if self.flag_extrapolation:
                columns[_EXTRAPOLATES] = whole_numbers(columns[_EXTRAPOLATES])
        return columns, int(outside.sum()), joined


def _scattered(values: Array, places: Any, length: int) -> Array:
    """Return values at these places among so many rows, NaN elsewhere."""
    whole = np.full(length, math.nan)
    whole[places] = values
    return whole


@dataclass(frozen=True)
class ScoredRows(Result):
    """The rows of a table with the scores of each beside them, piece by piece.

    Attributes:
        found: gets the evaluation once all pieces were read.
    """

    found: list[Evaluation] = field(default_factory=list)

    def evaluation(self, watch: Watch | None = None) -> Evaluation:
        """Return the scores of all rows; the pieces are read for that, unless they were already."""
        for _ in () if self.found else self.watched(watch):
            pass
        return self.found[0]


def scored_rows(
    scores: Scores,
    schema: Schema,
    parts: Iterable[Part],
    at_end: Callable[[], None],
    found: list[Evaluation],
) -> Iterator[dict[str, Any]]:
    """Yield the rows with the scores of each beside them; NaN for a row that does not count.

    At the end `at_end` is called, and `found` gets the evaluation.

    Raises:
        DataError: no row counts.
    """
    outside, held, source = 0, None, ""
    for table, dataset in parts:
        by_row = scores.add(dataset.x, dataset.y, dataset.weights, dataset.known)
        outside += int(schema.extrapolates(dataset.x).sum())
        source = source or table.source
        if held is not None:
            yield held
        # A table without a row that counts is refused before it is written.
        held = {**table.originals, **_scores_of(by_row, schema.target_names, table, dataset)}
    if not scores.rows:
        raise DataError(f"{source}: there are no rows to evaluate.")
    at_end()
    warn_of_extrapolation(outside, scores.rows)
    found.append(scores.evaluation())
    if held is not None:
        yield held


def _scores_of(
    by_row: RowScores, targets: list[str], table: Table, dataset: Dataset
) -> dict[str, Array]:
    """Return the columns of scores for the rows of a table."""
    places = slice(None) if dataset.positions is None else dataset.positions
    # An infinite NLL cannot be written as a number.
    nll = np.where(np.isfinite(by_row.nll), by_row.nll, math.nan)
    columns = {"nll": _scattered(nll, places, table.rows)}
    for position, target in enumerate(targets):
        for name in ("crps", "error", "pit"):
            values = getattr(by_row, name)[:, position]
            columns[f"{target}_{name}"] = _scattered(values, places, table.rows)
    require_new_names(list(columns), table.names)
    return columns


def require_new_names(names: Sequence[str], taken: Sequence[str]) -> None:
    """Raise a ParameterError if answers have the names of columns of the table."""
    both = [name for name in names if name in taken]
    if both:
        raise ParameterError(
            f"The table has {listed(both)} already. Rename the column, or write the answers alone: "
            f"{parameter('only', 'True')}."
        )


def warn_of_extrapolation(outside: int, rows: int) -> None:
    """Warn if rows of a question are far from those of the training table."""
    if outside:
        warn(
            f"{outside} of {rows} rows have a feature outside its training range by more than a "
            "tenth of that range. The model has seen no such rows."
        )
