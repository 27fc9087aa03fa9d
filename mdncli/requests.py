"""The parameters of `predict`, `sample` and `plot`, which are checked before any work begins."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple, Self, TypeVar, get_args

import numpy as np

from mdncli.columns import dataframe
from mdncli.columns.dataset import RowRules, model_dataset
from mdncli.columns.roles import NamedValues, numbers_of, probabilities
from mdncli.columns.schema import Schema
from mdncli.declarations import NOT_NEGATIVE, POSITIVE, require_whole
from mdncli.density.answers import Questions
from mdncli.density.model import MixtureDensityNetwork
from mdncli.errors import DataError, ParameterError, parameter
from mdncli.settings import MOST_ROWS, PlotKind
from mdncli.tables.blocks import chained, in_rows, is_files, read_blocks, read_files
from mdncli.tables.decoding import Digest
from mdncli.tables.dialect import Dialect
from mdncli.tables.table import Table
from mdncli.text import first_phrases, listed, nearest, quoted
from mdncli.types import Array

_DEFAULT_DRAWS = 1000
# What `as_table` takes.
TableLike = Any
Item = TypeVar("Item")


@dataclass(frozen=True)
class Request:
    """How the rows of a question are read.

    Attributes:
        dialect: how a file is written.
        skip: whether rows that cannot be used are skipped instead of an error.
        given: known values of some targets.
    """

    dialect: Dialect = field(default_factory=Dialect)
    skip: bool = False
    given: Any = None

    @classmethod
    def of(cls, *, on_bad_rows: str = "fail", **parameters: Any) -> Self:
        """Return the request that these parameters make.

        Raises:
            ParameterError: a parameter has a wrong value.
            TypeError: there is no such parameter.
        """
        own, reading = split_parameters(parameters, cls, Dialect)
        return cls(**{**own, "dialect": Dialect(**reading), "skip": skips(on_bad_rows)})


@dataclass(frozen=True)
class PredictRequest(Request):
    """The parameters of `predict`.

    Attributes:
        questions: about every row; the mean and the central interval of 90% by default.
        flag_extrapolation: add the column `extrapolates`, 1 where a feature is far outside its
            training range.
        only: leave out the columns of the rows.
    """

    questions: Questions = field(default_factory=Questions)
    flag_extrapolation: bool = False
    only: bool = False

    @classmethod
    def of(cls, *, on_bad_rows: str = "fail", **parameters: Any) -> Self:
        """Return the request that these parameters, and those of `Questions`, make.

        Raises:
            ParameterError: a parameter has a wrong value.
            TypeError: there is no such parameter.
        """
        own, rest, reading = split_parameters(parameters, Questions, cls, Dialect)
        for name in ("quantiles", "interval", "hdr"):
            own[name] = probabilities(name, own.get(name))
        own["survival"] = numbers_of("survival", own.get("survival"))
        questions = Questions(**own)
        if questions == Questions():
            questions = Questions(mean=True, interval=(0.9,))
        return super().of(on_bad_rows=on_bad_rows, questions=questions, **rest, **reading)


@dataclass(frozen=True)
class SampleRequest(Request):
    """The parameters of `sample`.

    Attributes:
        n: the number of draws.
        at: a value for each feature, where to draw n times, 1000 times by default.
        temperature: positive; makes the weights proportional to pi^(1/temperature).
        sigma_temperature: zero or positive; multiplies every sigma.
        component: whether the number of the component is the first column.
        seed: the same seed gives the same draws.
    """

    n: int | None = None
    at: Any = None
    temperature: float = 1.0
    sigma_temperature: float = 1.0
    component: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n is not None:
            require_whole("n", self.n)
            if not 1 <= self.n <= MOST_ROWS:
                raise ParameterError(
                    f"{parameter('n')} is {self.n}: it must be from 1 to {MOST_ROWS}."
                )
        _require_seed(self.seed)
        if not POSITIVE.holds(self.temperature):
            raise ParameterError(
                f"{parameter('temperature')} is {self.temperature}: it must be positive."
            )
        if not NOT_NEGATIVE.holds(self.sigma_temperature):
            raise ParameterError(
                f"{parameter('sigma_temperature')} is {self.sigma_temperature}: it must be zero or "
                "positive."
            )

    def places(self, schema: Schema) -> tuple[Array, dict[str, Any], int]:
        """Return where to draw without rows: x (N, F), the columns of the features, and the draws.

        Raises:
            ParameterError: there are several features, and `at` does not say where to draw.
            DataError: `at` names no feature, or does not name all of them.
        """
        features = schema.features
        if self.at is not None and self.at != []:
            x, n = _point(schema, self.at), self.n or _DEFAULT_DRAWS
        elif len(features) == 1:
            x, n = features[0].points(self.n or _DEFAULT_DRAWS)[:, None], 1
        else:
            shown = first_phrases([f"{name}=…" for name in schema.feature_names])
            example = ",".join([*shown, "…"] if len(shown) < len(features) else shown)
            raise ParameterError(
                f"The model has {len(features)} features. Say where to draw: with "
                f"{parameter('rows', 'FILE')}, or with {parameter('at', repr(example))}."
            )
        return x, {each.name: each.column(x[:, i]) for i, each in enumerate(features)}, n


@dataclass(frozen=True)
class PlotRequest(Request):
    """The parameters of `plot`.

    Attributes:
        kind: of picture.
        along: the feature on the horizontal axis, the others at their medians; by default the one
            with the largest effect on the mean.
        target: which of several targets; by default the first.
        seed: of samples and of the randomized PIT.
    """

    kind: str = "overview"
    along: str | None = None
    target: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        _require_seed(self.seed)
        if self.kind not in get_args(PlotKind):
            raise ParameterError(
                f"{parameter('kind')} is {quoted(self.kind)}: it must be one of "
                f"{', '.join(get_args(PlotKind))}."
            )
        if self.given and self.kind in ("training", "calibration", "residuals"):
            raise ParameterError(
                f"{parameter('given')} cannot be used with {parameter('kind', repr(self.kind))}."
            )

    @property
    def needs_data(self) -> bool:
        """Whether the picture is about rows."""
        return self.kind in ("comparison", "calibration", "residuals", "row")

    @property
    def shows_single_rows(self) -> bool:
        """Whether the picture shows the densities of single rows."""
        return self.kind in ("row", "pairs")

    def check(self, network: MixtureDensityNetwork, given: Mapping[str, Any], data: Any) -> None:
        """Check that the picture can be drawn.

        Raises:
            ParameterError: the kind needs rows.
            DataError: the model has no least-squares baseline to compare with.
        """
        if self.needs_data and data is None:
            raise ParameterError(
                f"{parameter('kind', repr(self.kind))} needs rows: give {parameter('data')}."
            )
        if self.kind == "comparison" and network.baseline is None:
            raise DataError(
                "The model has no least-squares baseline. Fit one with the mixture: "
                f"{parameter('baseline', 'True')}."
            )
        own = [name for name, value in given.items() if value is None]
        if own and (data is None or not self.shows_single_rows):
            raise ParameterError(
                f"{parameter('given')} names {quoted(own[0])} without a value, which stands for "
                f"the row's own value; only {parameter('kind', repr('row'))} and "
                f"{parameter('kind', repr('pairs'))} have rows. Give a value."
            )


def _point(schema: Schema, at: Any) -> Array:
    """Return the one row that `at` names, (1, F)."""
    values = NamedValues("at", "feature", schema.feature_names).values(at)
    missing = [name for name in schema.feature_names if name not in values]
    if missing:
        raise ParameterError(
            f"{parameter('at')} must name every feature: {listed(missing)} is missing."
        )
    table = dataframe.table_of({n: [v] for n, v in values.items()})
    table = replace(table, source=parameter("at"))
    try:
        return model_dataset(table, schema, RowRules(remedy="Correct the value.")).x
    except DataError as error:
        # There is only one row, so its number would say nothing.
        raise ParameterError(error.message.replace(", row 1,", ",", 1)) from error


def _require_seed(seed: Any) -> None:
    require_whole("seed", seed)
    if seed < 0:
        raise ParameterError(f"{parameter('seed')} is {seed}: it must be zero or positive.")


def skips(on_bad_rows: str) -> bool:
    """Return whether bad rows are skipped.

    Raises:
        ParameterError: the parameter is neither fail nor skip.
    """
    if on_bad_rows not in ("fail", "skip"):
        raise ParameterError(
            f"{parameter('on_bad_rows')} is {on_bad_rows!r}: it must be fail or skip."
        )
    return on_bad_rows == "skip"


def split_parameters(given: Mapping[str, Any], *classes: type[Any]) -> tuple[dict[str, Any], ...]:
    """Return the given parameters by the dataclass that has a field of their name.

    Args:
        given: values by name; None stands for a parameter that is not given.
        classes: the dataclasses.

    Raises:
        TypeError: no class has a field of this name.
    """
    names = [[each.name for each in fields(declared)] for declared in classes]
    unknown = [name for name in given if not any(name in own for own in names)]
    if unknown:
        every = [name for own in names for name in own]
        raise TypeError(f"There is no parameter {unknown[0]!r}.{nearest(unknown[0], every)}")
    return tuple(
        {name: given[name] for name in own if given.get(name) is not None} for own in names
    )


def require_targets(table: Table, given: Sequence[str], asked: Sequence[str]) -> None:
    """Check that a table has the targets that are given or that a question is about."""
    try:
        table.require([*given, *asked])
    except DataError as error:
        more = (
            f" {parameter('given', 'NAME')} is the row's own value; to give one value for all rows,"
            f" use {parameter('given', 'NAME=VALUE')}."
        )
        if asked:
            more = (
                " The question is about the rows' own target values; to ask about one value, use "
                f"{parameter('at_target')}."
            )
        raise DataError(f"{error.message}{more}") from error


def as_table(rows: TableLike, dialect: Dialect, *, skip: bool, names: Sequence[str] = ()) -> Table:
    """Return the table of a file, a data frame, a mapping or an array.

    Args:
        rows: the path of a file, its content, or what `table_of` takes.
        dialect: how a file is written.
        skip: whether rows with another number of fields are left out of a file.
        names: of the columns of an array.
    """
    if isinstance(rows, Table):
        return rows
    if is_files(rows):
        return read_files(rows, dialect, skip=skip)
    return dataframe.table_of(rows, names)


class Drawn(NamedTuple):
    """Rows to draw for.

    Attributes:
        x: (N, F), the features.
        columns: what is carried to the output, by name.
        own: the rows' own values of targets, (N,) each.
    """

    x: Array
    columns: dict[str, Any]
    own: dict[str, Array]

    def part(self, start: int, stop: int) -> "Drawn":
        """Return the rows from `start` to `stop`."""
        return Drawn(
            self.x[start:stop],
            {name: column.slice(start, stop - start) for name, column in self.columns.items()},
            {name: values[start:stop] for name, values in self.own.items()},
        )


def in_multiples(parts: Iterable[Drawn], at_once: int) -> Iterator[Drawn]:
    """Yield the rows in blocks of a multiple of `at_once`, so that the draws depend on no block."""
    held: Drawn | None = None
    any_rows = False
    for part in parts:
        if held is not None:
            both = held, part
            part = Drawn(
                np.concatenate([each.x for each in both]),
                {n: chained([each.columns[n] for each in both]) for n in part.columns},
                {n: np.concatenate([each.own[n] for each in both]) for n in part.own},
            )
        whole = len(part.x) // at_once * at_once
        if whole:
            any_rows = True
            yield part.part(0, whole)
        held = part.part(whole, len(part.x))
    if held is not None and (len(held.x) or not any_rows):
        yield held


def blocks_of(
    rows: TableLike,
    request: Request,
    *,
    names: Sequence[str],
    most: int = 0,
    digest: Digest | None = None,
) -> Iterator[Table]:
    """Yield the rows of files block by block; or the table of a data frame, a mapping or an array.

    Args:
        rows: see `as_table`.
        request: how files are read.
        names: of the columns of an array.
        most: the rows of a block of files at most; 0 for as many as are read at once.
        digest: takes in the bytes of the files.
    """
    if not is_files(rows):
        yield as_table(rows, request.dialect, skip=request.skip, names=names)
        return
    blocks = read_blocks(rows, request.dialect, skip_bad_rows=request.skip, digest=digest)
    yield from in_rows(blocks, most) if most else blocks


@contextlib.contextmanager
def recalling(network: MixtureDensityNetwork, rows: TableLike, dialect: Dialect) -> Iterator[None]:
    """Add to an error about a file how the training table was read, if it was read differently."""
    try:
        yield
    except DataError as error:
        then, now = network.origin.dialect, dialect.to_plain()
        differing = {name: value for name, value in then.items() if now.get(name) != value}
        from_file = is_files(rows)
        from_file |= isinstance(rows, Table) and rows.file is not None
        if not differing or not from_file:
            raise
        words = " ".join(parameter(name, repr(value)) for name, value in differing.items())
        raise DataError(f"{error.message} The model was fitted with {words}.") from error


def recalled(
    network: MixtureDensityNetwork, rows: TableLike, dialect: Dialect, items: Iterator[Item]
) -> Iterator[Item]:
    """Yield the items; see `_recalling` for the errors of computing them."""
    with recalling(network, rows, dialect):
        yield from items
