"""A fitted model of p(y | x), with a method for everything that one can ask of it.

A table of rows is the path of a file, a data frame, a mapping from names to columns, or an array.
Tables that come out are computed piece by piece, so that long ones do not fill the memory.
"""

import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mdncli.columns import dataframe
from mdncli.columns.dataset import Dataset, RowRules, model_dataset
from mdncli.columns.roles import NamedValues
from mdncli.columns.schema import Schema
from mdncli.declarations import require_whole
from mdncli.density.answers import (
    Predictor,
    Questions,
    Result,
    ScoredRows,
    model_parts,
    require_new_names,
    scored_rows,
)
from mdncli.density.evaluation import ROWS_AT_ONCE, Evaluation, Scores
from mdncli.density.mixture import generator_of_draws, remaining_targets
from mdncli.density.model import MixtureDensityNetwork
from mdncli.errors import DataError, ParameterError, parameter, warn
from mdncli.files import MOST_BYTES, FileContent, read_model_file, replacing
from mdncli.modelfile.exports import ExportTarget, export_format, write_export
from mdncli.modelfile.reader import read_model
from mdncli.modelfile.writer import write_model
from mdncli.requests import (
    Drawn,
    PlotRequest,
    PredictRequest,
    Request,
    SampleRequest,
    TableLike,
    as_table,
    blocks_of,
    in_multiples,
    recalled,
    recalling,
    require_targets,
    skips,
    split_parameters,
)
from mdncli.tables.blocks import is_files, source_name
from mdncli.tables.decoding import Digest
from mdncli.tables.dialect import Dialect
from mdncli.tables.table import Table
from mdncli.tables.writer import take_rows
from mdncli.text import quoted
from mdncli.types import Array

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from mdncli.density.distribution import Distribution

__all__ = [
    "ConditionalDensity",
    "PlotRequest",
    "PredictRequest",
    "Result",
    "SampleRequest",
    "TableLike",
    "as_table",
    "export_format",
    "load",
]

_COMPONENT = "component"
_NO_WEIGHTS = "which weighted the rows in training. All rows count equally."
_NO_EVENTS = "which said in training where the target is known. All values count as known."


def load(
    file: str | os.PathLike[str] | FileContent, *, max_size: int = MOST_BYTES
) -> "ConditionalDensity":
    """Return the model in a file that `mdn fit` or `ConditionalDensity.save` wrote.

    It does not need PyTorch, and nothing in the file is run.

    Args:
        file: a regular file, or a pipe that ends; or a content that was read already.
        max_size: the number of bytes that the file has at most. A larger one is not read.

    Raises:
        MissingInputError: there is no such file, or no program writes to the pipe.
        ModelFileError: it is not a model file, it is damaged, or it is larger than the limit.
        ParameterError: the limit is not a whole number of at least 1.

    >>> model = load("model.pt")
    >>> model.condition([[2.5], [3.0]]).quantile([0.05, 0.95]).shape
    (2, 2)
    """
    require_whole("max_size", max_size)
    if max_size < 1:
        raise ParameterError(f"{parameter('max_size')} is {max_size}: it must be at least 1.")
    return ConditionalDensity(read_model(read_model_file(file, max_size)))


@dataclass(frozen=True)
class ConditionalDensity:
    """A fitted model of p(y | x): everything that one can ask of y given x.

    Wherever rows are taken, they are the path of a file, a data frame, a mapping or an array
    with the columns of the features in their order.

    Attributes:
        network: the networks, the schema and the record of the fit.

    >>> load("model.pt").schema.target_names
    ['y']
    """

    network: MixtureDensityNetwork

    def __repr__(self) -> str:
        schema = self.schema
        return (
            f"ConditionalDensity(features={schema.feature_names}, targets={schema.target_names}, "
            f"members={len(self.network.main.networks)}, "
            f"mixtures={self.network.main.architecture.mixtures})"
        )

    @property
    def schema(self) -> Schema:
        """The features and targets, with their ranges."""
        return self.network.schema

    def condition(
        self, rows: TableLike, given: Mapping[str, Any] | None = None, **reading: Any
    ) -> "Distribution":
        """Return the distribution of the targets given the features of each row.

        Args:
            rows: N rows.
            given: known values of some targets; see `Distribution.given`.
            reading: how to read a file; see `read_table`.

        Raises:
            DataError: a feature is missing, or a cell cannot be used.

        >>> load("model.pt").condition([[2.5], [3.0]]).mean().shape
        (2,)
        """
        dialect, skip = _reading(reading)
        with recalling(self.network, rows, dialect):
            table = self._table(rows, dialect, skip=skip)
            dataset = model_dataset(table, self.schema, RowRules(skip=skip))
        distribution = self.network.distribution(dataset.x)
        return distribution.given(given) if given else distribution

    def predict(self, rows: TableLike, **questions: Any) -> "pd.DataFrame":
        """Return the rows with the columns of `mdn predict` beside them.

        Without a question they are the mean and the central interval of 90%.

        Args:
            rows: N rows.
            questions: see `Questions`; also `given`, `flag_extrapolation`, `only` (leave out
                the columns of the rows), `on_bad_rows`, and how to read a file.

        Raises:
            MdnError: a cell cannot be used, or the questions do not fit the model.
            TypeError: there is no such parameter.

        >>> load("model.pt").predict("data.csv", mean=True, hdr=0.9, only=True).shape[0]
        1000
        """
        request = PredictRequest.of(**questions)
        with recalling(self.network, rows, request.dialect):
            table = self._table(rows, request.dialect, skip=request.skip)
        answers = self.predictions(table, replace(request, only=True)).frame()
        if dataframe.is_data_frame(rows):
            answers.index = rows.index
        if request.only:
            return answers
        frame = _as_frame(rows, table)
        require_new_names(list(answers), [str(name) for name in frame.columns])
        return frame.assign(**{name: answers[name].to_numpy() for name in answers})

    def predictions(self, rows: TableLike, request: "PredictRequest") -> Result:
        """Return what `predict` does, computed piece by piece."""
        targets = self.schema.target_names
        known = NamedValues("given", "target", targets).known_values(request.given)
        left = remaining_targets(list(known), targets)
        questions = _resolved(request.questions, left)
        own = [name for name, value in known.items() if value is None]
        own_targets = questions.needed_targets(left)
        rules = RowRules(
            targets=[*own, *own_targets],
            missing_target="fault",
            inside=self.schema.transforms_of(own),
            clip=False,
            skip=request.skip,
            remedy="Correct them, or leave the answers of such rows empty: "
            f"{parameter('on_bad_rows', repr('skip'))}.",
            consequence="have empty answers",
        )
        predictor = Predictor(
            self.network,
            questions,
            given=known,
            left=left,
            flag_extrapolation=request.flag_extrapolation,
            only=request.only,
        )
        parts = model_parts(
            self._blocks(rows, request, predictor.rows_at_once),
            self.schema,
            rules,
            lambda table: require_targets(table, own, own_targets),
        )
        with_advice = recalled(self.network, rows, request.dialect, parts)
        return Result(predictor.pieces(with_advice))

    def sample(
        self, rows: TableLike = None, *, n: int | None = None, **more: Any
    ) -> "pd.DataFrame":
        """Return draws of the targets: the features, then the targets.

        Args:
            rows: draw n times for each of them, once by default. Without rows, with one feature,
                draw once at each of n evenly spaced points of its training range.
            n: the number of draws.
            more: `at` (a value for each feature: draw n times there), `given`, `temperature`,
                `sigma_temperature`, `component` (put the number of the component first), `seed`,
                `on_bad_rows`, and how to read a file; see `SampleRequest`.

        Raises:
            MdnError: a cell cannot be used, or it is not clear where to draw.
            TypeError: there is no such parameter.

        >>> load("model.pt").sample(n=5, seed=1).columns.tolist()
        ['x', 'y']
        """
        return self.draws(rows, SampleRequest.of(n=n, **more)).frame()

    def draws(self, rows: TableLike, request: "SampleRequest") -> Result:
        """Return what `sample` does, computed piece by piece."""
        schema = self.schema
        if rows is not None and request.at:
            raise ParameterError(f"{parameter('rows')} and {parameter('at')} exclude each other.")
        known = NamedValues("given", "target", schema.target_names).known_values(request.given)
        remaining_targets(list(known), schema.target_names)
        own = [name for name, value in known.items() if value is None]
        if own and rows is None:
            raise ParameterError(
                f"{parameter('given')} names {quoted(own[0])} without a value, which stands for "
                f"the row's own value, and there are no rows. Add {parameter('rows', 'FILE')}, or "
                f"give a value: {parameter('given', 'NAME=VALUE')}."
            )
        n = request.n or 1
        if rows is None:
            x, columns, n = request.places(schema)
            drawn = iter([Drawn(x, columns, {})])
        else:
            every = self._rows_to_draw_for(rows, request, own)
            drawn = in_multiples(every, self.network.rows_of_draws(n))
        if request.component and _COMPONENT in (*schema.feature_names, *schema.target_names):
            raise ParameterError(
                f"{parameter('component')}: the model has a column of that name already."
            )
        return Result(self._drawn(drawn, n, known, request))

    def _drawn(
        self, blocks: Iterator[Drawn], n: int, known: Mapping[str, Any], request: "SampleRequest"
    ) -> Iterator[dict[str, Any]]:
        """Yield n draws for every row of blocks, piece by piece."""
        rng = generator_of_draws(request.seed)
        for block in blocks:
            draws = self.network.draws(
                block.x,
                n,
                rng,
                temperature=request.temperature,
                sigma_temperature=request.sigma_temperature,
                given={**known, **block.own},
            )
            for positions, y, component in draws:
                numbers = component + self.network.first_component
                first = {_COMPONENT: numbers} if request.component else {}
                carried = {k: take_rows(v, positions) for k, v in block.columns.items()}
                targets = {name: y[:, i] for i, name in enumerate(self.schema.target_names)}
                yield {**first, **carried, **targets}

    def _rows_to_draw_for(
        self, rows: TableLike, request: "SampleRequest", own: list[str]
    ) -> Iterator[Drawn]:
        """Yield the rows of each block, with the columns of the features."""
        schema = self.schema
        rules = RowRules(targets=own, inside=schema.transforms_of(own), skip=request.skip)
        blocks = self._blocks(rows, request)
        parts = model_parts(blocks, schema, rules, lambda table: require_targets(table, own, []))
        for table, dataset in recalled(self.network, rows, request.dialect, parts):
            columns: dict[str, Any] = {n: table.originals[n] for n in schema.feature_names}
            if dataset.positions is not None:
                columns = {name: take_rows(c, dataset.positions) for name, c in columns.items()}
            yield Drawn(dataset.x, columns, _own_values(schema, dataset, own))

    def evaluate(
        self,
        data: TableLike,
        targets: Any = None,
        weights: Any = None,
        events: Any = None,
        **reading: Any,
    ) -> Evaluation:
        """Return how well the model predicts rows with known targets.

        Rows without a target, or with a weight of zero, do not count.

        Args:
            data: N rows with their targets.
            targets: (N,) or (N, T), if `data` holds the features alone.
            weights: (N,), how much each row counts; by default the column that weighted the rows in
                training, where `data` has it.
            events: (N,), 1 where the target is known and 0 where it is only known to exceed its
                value; by default the column of events in training, where `data` has it.
            reading: `on_bad_rows`, and how to read a file; see `read_table`.

        Raises:
            DataError: a column is missing, no rows are left, or a cell cannot be used.

        >>> load("model.pt").evaluate("data.csv").rows
        1000
        """
        return self.evaluate_rows(data, targets, weights, events, **reading).evaluation()

    def score_rows(
        self,
        data: TableLike,
        targets: Any = None,
        weights: Any = None,
        events: Any = None,
        **reading: Any,
    ) -> "pd.DataFrame":
        """Return the rows with the scores of each beside them: nll, y_crps, y_error and y_pit.

        The scores of a row that does not count are empty. The parameters and the errors are those
        of `evaluate`.

        >>> load("model.pt").score_rows("data.csv").columns.tolist()
        ['x', 'y', 'nll', 'y_crps', 'y_error', 'y_pit']
        """
        dialect, skip = _reading({**reading})
        with recalling(self.network, data, dialect):
            table = self._table(data, dialect, skip=skip)
        scored = self.evaluate_rows(table, targets, weights, events, **reading).frame()
        scores = scored.columns[-1 - 3 * len(self.schema.targets) :]
        return _as_frame(data, table).assign(**{name: scored[name].to_numpy() for name in scores})

    def evaluate_rows(
        self,
        data: TableLike,
        targets: Any = None,
        weights: Any = None,
        events: Any = None,
        **reading: Any,
    ) -> ScoredRows:
        """Return the rows with the scores of each beside them, and what `evaluate` does.

        The columns are nll, and crps, error and pit of each target; empty for a row that does not
        count.
        """
        schema, (dialect, skip) = self.schema, _reading(reading)
        rules = RowRules(
            targets=schema.target_names, skip=skip, consequence="are left out of the scores"
        )
        whole = any(each is not None and not isinstance(each, str) for each in (weights, events))
        if targets is not None or whole:
            # These are values of all rows.
            with recalling(self.network, data, dialect):
                data = self._table(data, dialect, skip=skip)
            if targets is not None:
                data = _with_targets(data, targets, schema.target_names)
        digest = Digest()
        blocks = self._blocks(data, Request(dialect, skip), ROWS_AT_ONCE, digest)
        with recalling(self.network, data, dialect):
            first = next(blocks)
        given = (weights, schema.weight, _NO_WEIGHTS), (events, schema.event, _NO_EVENTS)
        weights, events = (
            _column_of_training(first, name, lost) if value is None else value
            for value, name, lost in given
        )
        rules = replace(rules, weights=weights, event=events)
        parts = model_parts(itertools.chain([first], blocks), schema, rules, lambda _: None)

        def at_end() -> None:
            sha256 = data.content_sha256 if isinstance(data, Table) else digest.hexdigest()
            if sha256 and sha256 == self.network.origin.table_sha256:
                name = source_name(data)
                warn(f"{name} is the training table: scores on other rows will be worse.")

        scores, found = Scores(self.network, keep=not is_files(data)), list[Evaluation]()
        advised = recalled(self.network, data, dialect, parts)
        return ScoredRows(scored_rows(scores, schema, advised, at_end, found), found)

    def plot(
        self, kind: str = "overview", data: TableLike = None, targets: Any = None, **more: Any
    ) -> "Figure":
        """Return a picture of the model as a matplotlib figure.

        Args:
            kind: of picture; see `PlotRequest`.
            data: rows to show, with their targets; for `row` and `pairs` the targets may be
                missing. `comparison`, `calibration`, `residuals` and `row` need rows.
            targets: (N,) or (N, T), if `data` holds the features alone.
            more: `along`, `target`, `given`, `seed`, `on_bad_rows`, and how to read a file; see
                `PlotRequest`.

        Raises:
            MdnError: the kind needs rows, or the model has no such feature or target.
            TypeError: there is no such parameter.

        >>> len(load("model.pt").plot("parameters").axes)
        3
        """
        request = PlotRequest.of(kind=kind, **more)
        if targets is not None:
            table = self._table(data, request.dialect, skip=request.skip)
            data = _with_targets(table, targets, self.schema.target_names)
        return self.figure(data, request)

    def figure(self, data: TableLike, request: PlotRequest) -> "Figure":
        """Return what `plot` does."""
        given = NamedValues("given", "target", self.schema.target_names).known_values(request.given)
        left = remaining_targets(list(given), self.schema.target_names)
        request.check(self.network, given, data)
        if data is None:
            features, targets = len(self.schema.features), len(self.schema.targets)
            rows = Dataset(np.empty((0, features)), np.empty((0, targets)))
        else:
            rows, values = self._rows_to_show(data, request, given, left)
            given = {**given, **values}
        figure: Figure = _plots().draw(
            request.kind,
            self.network,
            rows.x,
            rows.y,
            known=rows.known,
            along=request.along,
            target=request.target,
            seed=request.seed,
            given=given,
        )
        return figure

    def write_figure(
        self, stream: BinaryIO, file_format: str, data: TableLike, request: PlotRequest
    ) -> None:
        """Write what `plot` draws as png, svg or pdf; the same picture gives the same bytes."""
        _plots().save(self.figure(data, request), stream, file_format)

    def _rows_to_show(
        self, data: TableLike, request: "PlotRequest", given: Mapping[str, Any], left: list[str]
    ) -> tuple[Dataset, dict[str, Array]]:
        """Return the rows, and their own values of the given targets."""
        schema, own = self.schema, [name for name, value in given.items() if value is None]
        with recalling(self.network, data, request.dialect):
            table = self._table(data, request.dialect, skip=request.skip)
            if request.shows_single_rows:
                shown = left if request.kind == "pairs" else [request.target or left[0]]
                there = [name for name in left if name in shown and name in table.names]
                require_targets(table, own, [])
                rules = RowRules(
                    targets=[*there, *own],
                    missing_target="keep",
                    inside=schema.transforms_of(own),
                    skip=request.skip,
                )
            else:
                event = schema.event if schema.event and schema.event in table.names else None
                rules = RowRules(targets=schema.target_names, event=event, skip=request.skip)
            dataset = model_dataset(table, schema, rules)
        if request.needs_data and not len(dataset):
            raise DataError(
                f"{table.source}: {parameter('kind', repr(request.kind))} needs rows, and there "
                "are none."
            )
        values = _own_values(schema, dataset, own)
        whole = np.ones(len(dataset), dtype=bool)
        for own_values in values.values():
            whole &= np.isfinite(own_values)
        if not whole.all():
            warn(f"{int((~whole).sum())} of {len(whole)} rows lack a given target: left out.")
        return dataset.take(np.flatnonzero(whole)), {n: v[whole] for n, v in values.items()}

    def describe(self) -> dict[str, Any]:
        """Return what the model is, as plain values: columns, architecture, settings, training.

        >>> load("model.pt").describe()["members"]
        1
        """
        return self.network.describe()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file, which is replaced only by a complete one. It needs PyTorch.

        Raises:
            InputOutputError: the file cannot be written.

        >>> load("model.pt").save("copy.pt")
        """
        with replacing(os.fspath(path)) as stream:
            self.write(stream)

    def write(self, stream: BinaryIO) -> None:
        """Write the model to a stream; the same model gives the same bytes. It needs PyTorch."""
        write_model(self.network, stream)

    def export(self, file: ExportTarget, format: str | None = None, quantiles: Any = None) -> None:
        """Write the model for other programs; see `write_export` for what can go wrong.

        Args:
            file: a path or a stream.
            format: `safetensors` or `onnx`; by default the suffix of the path decides.
            quantiles: the probabilities of those in an ONNX graph; by default 0.05, 0.5 and 0.95.

        >>> load("model.pt").export("model.safetensors")
        """
        write_export(self.network, file, format, quantiles)

    def _table(self, rows: TableLike, dialect: Dialect, *, skip: bool) -> Table:
        return as_table(rows, dialect, skip=skip, names=self.schema.feature_names)

    def _blocks(
        self, rows: TableLike, request: Request, most: int = 0, digest: Digest | None = None
    ) -> Iterator[Table]:
        names = self.schema.feature_names
        return blocks_of(rows, request, names=names, most=most, digest=digest)


def _resolved(questions: Questions, targets: list[str]) -> Questions:
    """Return the questions, with the values for targets as numbers by name."""
    exceed, at_target = (
        NamedValues(name, "target", targets).numbers(getattr(questions, name))
        for name in ("exceed", "at_target")
    )
    return replace(questions, exceed=exceed, at_target=at_target)


def _with_targets(table: Table, targets: Any, names: list[str]) -> Table:
    """Return a table with these targets, by their names or in the order of the model."""
    added = dataframe.table_of(targets, names)
    added.require(names)
    return dataframe.joined(table, added, names)


def _column_of_training(table: Table, name: str | None, lost: str) -> str | None:
    """Return the name of a column of training if a table has it; `lost` warns of what it did."""
    if not name or name in table.names:
        return name or None
    warn(f"The table has no column {quoted(name)}, {lost}")
    return None


def _as_frame(rows: TableLike, table: Table) -> "pd.DataFrame":
    """Return rows as a data frame: themselves if they are one, otherwise their table."""
    if dataframe.is_data_frame(rows):
        return rows
    return dataframe.frame_of([dataframe.numbers_where_possible(table)])


def _own_values(schema: Schema, dataset: Dataset, targets: list[str]) -> dict[str, Array]:
    """Return the rows' own values of some targets, (N,) each."""
    return {name: dataset.y[:, schema.target_names.index(name)] for name in targets}


def _plots() -> Any:
    # Importing matplotlib takes half a second.
    from mdncli import plots

    return plots


def _reading(parameters: dict[str, Any]) -> tuple[Dialect, bool]:
    """Return how a file is read, and whether bad rows are skipped."""
    on_bad_rows = parameters.pop("on_bad_rows", "fail")
    [given] = split_parameters(parameters, Dialect)
    return Dialect(**given), skips(on_bad_rows)
