"""The verbs of mdn: `fit`, `load` and `read_table`. A fitted model has the others as methods.

A table is a path, a pattern, a folder, a list of them, a data frame, a mapping, or an array.
"""

import contextlib
import math
import os
import warnings as python_warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mdncli import datasets
from mdncli.columns import dataframe
from mdncli.columns.checks import (
    TableDescription,
    describe_table,
    table_suspicions,
)
from mdncli.columns.dataset import (
    FEWEST_ROWS,
    Dataset,
    RowRules,
    RowTally,
    measure_schema,
    training_dataset,
)
from mdncli.columns.schema import Schema
from mdncli.conditional_density import ConditionalDensity, Result, TableLike, load
from mdncli.density.model import MixtureDensityNetwork
from mdncli.errors import DataError, MdnError, ParameterError, parameter
from mdncli.files import MODEL_BEGINS, MOST_BYTES, FileContent, read_model_file
from mdncli.requests import skips, split_parameters
from mdncli.settings import FitOptions, Settings
from mdncli.tables.blocks import files_of, read_files
from mdncli.tables.dialect import Dialect, format_of
from mdncli.tables.sniffer import TableFormat, sniff
from mdncli.tables.table import Table
from mdncli.task import Spooling, Task, layout_of, without_private

__all__ = [
    "ConditionalDensity",
    "Result",
    "built_in_problem",
    "fit",
    "inspect",
    "load",
    "read_table",
]

if TYPE_CHECKING:
    import pandas as pd

    from mdncli.density.evaluation import Evaluation
    from mdncli.learning.monitor import Epoch
    from mdncli.tables.spool import SpoolProgress


def fit(
    data: TableLike,
    y: Any = None,
    *,
    settings: Settings | None = None,
    progress: "Callable[[Epoch], None] | None" = None,
    prepared: Callable[[Dataset, Schema], None] | None = None,
    stop: Callable[[], bool] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 60.0,
    resume: bool = False,
    spool: str | os.PathLike[str] | None = None,
    spooling: "Callable[[SpoolProgress], None]" = lambda progress: None,
    distributed: bool = False,
    **parameters: Any,
) -> "ConditionalDensity":
    """Return a model of p(y | x), learned from a table. It needs PyTorch.

    The same table, parameters, seed and versions give the same model as `mdn fit`.

    Args:
        data: the path of a file, a data frame, a mapping or an array.
        y: the targets, (N,) or (N, T), if `data` holds the features alone.
        settings: instead of the parameters that `Settings` declares.
        progress: is called with the record of every epoch.
        prepared: is called with the rows to learn from and their schema, before learning.
        stop: is called after every step. Once it returns True, learning ends, and the result is
            the best model so far.
        checkpoint: a file in which to keep the state of learning; remove it in the end.
        checkpoint_every: seconds between two states. A shorter fit keeps none.
        resume: go on from the state in this file. The model is the same as without a break.
        spool: a folder in which to keep the rows while learning goes on, in files without names. By
            default only the rows of large files are kept so, in the system's temporary folder.
        spooling: is called while such rows are read.
        distributed: whether processes that `torchrun` has started learn together. Each calls this
            function with the same arguments, reads some of the files, and returns the same model.
        parameters: of `FitOptions`, `Settings` and `Dialect`, by name. `weight`, `group` and
            `event` may be the name of a column, or one value for each row.

    Raises:
        MdnError: the table cannot be learned from, or a parameter has a wrong value.
        TypeError: there is no such parameter.
        KeyboardInterrupt: `stop` returned True during a cross-validation, so there is no model.

    >>> model = fit("data.csv", target="y", mixtures=3, steps=50)
    >>> model.condition([[2.5]]).mean().shape
    (1,)
    """
    if resume and checkpoint is None:
        raise ParameterError(f"{parameter('resume')} needs {parameter('checkpoint', 'FILE')}.")
    with contextlib.ExitStack() as stack:
        processes = None
        if distributed:
            device = _learning().device_of(parameters.get("device", "auto"))
            processes = _learning().TorchrunProcesses(device)
            stack.enter_context(_said_once(processes))
        folder = None if spool is None else os.fspath(spool)
        how = Spooling(folder, spooling, processes)
        task = Task.of(data, y, settings, parameters, how)
        stack.callback(task.close)
        if task.spool is None and prepared is not None:
            prepared(task.dataset, task.schema)
        # Only now: a table that is refused should not wait.
        learning = _learning()
        stream = None
        if task.spool is not None:
            stream = learning.rows_on_disk(task, folder, processes)
            stack.callback(stream.close)
            if prepared is not None:
                prepared(replace(task.dataset, left_out=stream.left_out), task.schema)
        watch: dict[str, Any] = {"progress": progress, "stop": stop}
        if checkpoint is not None:
            identity = task.identity(learning.versions())
            path = os.fspath(checkpoint)
            every = checkpoint_every if processes is None or processes.rank == 0 else math.inf
            watch["checkpoint"] = learning.Checkpoint(path, every, identity, resume=resume)
        network = _learned(task, stream, watch)
    origin = replace(task.origin, versions=learning.versions())
    origin = without_private(origin) if task.settings.private else origin
    return ConditionalDensity(replace(network, origin=origin))


def _learned(task: Task, stream: Any, watch: dict[str, Any]) -> MixtureDensityNetwork:
    """Return the network of a task, after its cross-validation if one was asked for."""
    learning, stop = _learning(), watch["stop"]
    folds: list[Evaluation] = []
    if task.folds is not None:
        folds = learning.cross_validate(
            task.every, task.layout, task.settings, task.folds, source=task.source, **watch
        )
        if stop is not None and stop():
            raise KeyboardInterrupt
    network: MixtureDensityNetwork = learning.fit(
        task.dataset, task.schema, task.settings, init=task.init, stream=stream, **watch
    )
    return replace(network, record=replace(network.record, cv=[f.to_plain() for f in folds]))


@contextlib.contextmanager
def _said_once(processes: Any) -> Iterator[None]:
    """Leave the processes in the end, and mark an error that the first one raises, too."""
    try:
        yield
    except MdnError as error:
        error.repeated = processes.rank > 0 and processes.in_step
        raise
    processes.leave()


def _learning() -> Any:
    """Return the module that learns. It imports PyTorch, which takes 1 to 2 s."""
    from mdncli.learning import fit as learning

    return learning


def read_table(file: TableLike, *, on_bad_rows: str = "fail", **dialect: Any) -> "pd.DataFrame":
    """Return the table in a file as a data frame, read as the commands read it.

    A column in which every cell is a number or missing is float64, with NaN for a missing cell.
    Any other column is text. Columns of lists and the like in a Parquet file are left out.

    Args:
        file: its path; or a pattern, a folder or a list of files that are one table.
        on_bad_rows: `skip` leaves out rows that have a different number of fields than the header.
        dialect: delimiter, decimal, encoding, quote, escape, comment, header and na; see `Dialect`.

    Raises:
        MissingInputError: there is no such file.
        DataError: it is not a table.
        ParameterError: a parameter has a wrong value.

    >>> read_table("data.csv").columns.tolist()
    ['x', 'y']
    """
    [given] = split_parameters(dialect, Dialect)
    table = read_files(file, Dialect(**given), skip=skips(on_bad_rows))
    return dataframe.frame_of([dataframe.numbers_where_possible(table)])


@dataclass(frozen=True)
class TableReport:
    """What a file holds, if it is a table.

    Attributes:
        dialect: how it was read.
        description: what it holds; None where it cannot be read so.
        problem: why it cannot be read so; empty otherwise.
        looks: how it seems to be written; None for a Parquet file.
        suggested: how it would be read better; None where that is not known.
        best: what it holds when it is read as suggested, or as it was read.
        unfit: why `fit` would refuse that with the parameters that `best` names; empty if it would
            not.
        target_kind: what `fit` would take the values of the target for, such as `number, atom 0`;
            empty if it would refuse the table.
        warnings: what looks wrong in its columns; they may mention parameters, as errors do.
    """

    dialect: Dialect
    description: TableDescription | None
    problem: str
    looks: TableFormat | None
    suggested: Dialect | None
    best: TableDescription | None
    unfit: str
    target_kind: str = ""
    warnings: list[str] = field(default_factory=list)


def inspect(
    file: TableLike,
    *,
    max_size: int = MOST_BYTES,
    on_bad_rows: str = "fail",
    **dialect: Any,
) -> ConditionalDensity | TableReport:
    """Return the model that a file holds, or what is known of the table that it holds.

    Args:
        file: a regular file, or a pipe that ends; a pattern, a folder or a list of tables.
        max_size: the number of bytes that a model has at most; see `load`.
        on_bad_rows, dialect: how to read a table; see `read_table`.

    Raises:
        MdnError: it is neither a model nor a table, or it cannot be read.
    """
    files = [file] if isinstance(file, FileContent) else files_of(file)
    content = read_model_file(files[0], max_size, or_table=True)
    table = content if len(files) == 1 else file
    if content.content.startswith(MODEL_BEGINS):
        return load(content, max_size=max_size)
    [given] = split_parameters(dialect, Dialect)
    asked, skip = Dialect(**given), skips(on_bad_rows)
    refusal: DataError | None = None
    reading = _Reading()
    try:
        reading = _Reading.of_file(table, asked, skip=skip)
    except DataError as error:
        refusal = error
    typed = format_of(content.name, asked.format) in ("parquet", "jsonl")
    looks = None if typed else sniff(content)
    # A dialect that the user has set is doubted only if it fails.
    fails = refusal is not None or reading.unfit
    doubted = looks is not None and looks.dialect != asked and (fails or asked == Dialect())
    better = _better(table, looks.dialect, skip=skip) if looks and doubted else None
    if refusal is not None and better is None:
        raise refusal
    return TableReport(
        asked,
        reading.description,
        refusal.message if refusal else "",
        looks,
        looks.dialect if looks and better else None,
        better.description if better else reading.description,
        better.unfit if better else reading.unfit,
        better.target_kind if better else reading.target_kind,
        [*reading.warnings, *([looks.doubt] if looks and looks.doubt else [])],
    )


@dataclass(frozen=True)
class _Reading:
    """What a file holds when it is read by some dialect; the attributes of `TableReport`."""

    description: TableDescription | None = None
    unfit: str = ""
    target_kind: str = ""
    warnings: Sequence[str] = ()

    @classmethod
    def of_file(cls, file: TableLike, dialect: Dialect, *, skip: bool) -> "_Reading":
        table = read_files(file, dialect, skip=skip)
        description = describe_table(table)
        RowTally(table.rows, table.skipped, table.first_skipped).warn(RowRules())
        unfit, kind = _kind_of_target(table, description, skip=skip)
        suspicions = table_suspicions(table, description.target)
        return cls(description, unfit, kind, [*table.notes, *suspicions])


def _better(file: TableLike, dialect: Dialect, *, skip: bool) -> _Reading | None:
    """Return what a file holds when it is read by a dialect that it seems to have, if it can be."""
    try:
        return _Reading.of_file(file, dialect, skip=skip)
    except DataError:
        return None


def _kind_of_target(table: Table, description: TableDescription, *, skip: bool) -> tuple[str, str]:
    """Return why `fit` would refuse a table with the parameters that its description names.

    If it would not, also return what it would take the values of the target for. That there are too
    few rows is not said: whoever asks may be trying a part of the table.
    """
    given: Mapping[str, Any] = description.parameters or {"target": description.numbers[-1:]}
    few = table.rows < FEWEST_ROWS
    if few or not given.get("target", [description.columns[-1].name]):
        return "", ""
    options = FitOptions(**given, on_bad_rows="skip" if skip else "fail")
    try:
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore")
            layout = layout_of(table, options)
            dataset = training_dataset(table, layout, RowRules(skip=skip))
            schema, _ = measure_schema(table.source, dataset, layout)
    except MdnError as error:
        return error.message, ""
    return "", schema.targets[0].kind


def built_in_problem(name: str, **parameters: Any) -> Result:
    """Return the table of a built-in problem; see `mdncli.datasets.generate`."""
    return Result([datasets.generate(name, **parameters)])
