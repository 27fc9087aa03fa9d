"""The verbs of mdn: `fit`, `load` and `read_table`. A fitted model has the others as methods.

A table is the path of a file, a data frame, a mapping from names to columns, or an array.
"""

import hashlib
import os
import warnings as python_warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mdncli import datasets
from mdncli.columns import dataframe
from mdncli.columns.checks import (
    TableDescription,
    check_training_rows,
    describe_table,
    table_suspicions,
)
from mdncli.columns.dataset import (
    FEWEST_ROWS,
    Dataset,
    RowRules,
    measure_schema,
    model_dataset,
    require_rows,
    training_dataset,
    warn_of_skipped_rows,
)
from mdncli.columns.kinds import Layout, feature_readers
from mdncli.columns.roles import (
    NamedValues,
    atom_values,
    choose_roles,
    column_names,
    date_formats,
    periods_of,
    target_layout,
)
from mdncli.columns.schema import Schema
from mdncli.conditional_density import ConditionalDensity, Result, TableLike, as_table, load
from mdncli.declarations import declaration_of
from mdncli.density.model import MixtureDensityNetwork, Origin
from mdncli.errors import DataError, MdnError, ParameterError, parameter, parameter_for, warn
from mdncli.files import MODEL_BEGINS, MOST_BYTES, FileContent, read_model_file
from mdncli.modelfile.writer import require_room
from mdncli.requests import skips, split_parameters
from mdncli.settings import FitOptions, Settings
from mdncli.tables.dialect import Dialect, format_of
from mdncli.tables.sniffer import TableFormat, sniff
from mdncli.tables.table import Table
from mdncli.tables.table import read_table as read_table_file
from mdncli.text import listed

__all__ = [
    "ConditionalDensity",
    "Result",
    "built_in_problem",
    "fit",
    "inspect",
    "load",
    "read_table",
]

# What a model to start from decides.
_SHAPE = ("ladder", "mixtures", "hidden", "frequencies", "activation", "covariance")
# The parts of a request that name columns which are no part of the model.
_NEVER_ASKED_FOR = ("ignore", "group")

if TYPE_CHECKING:
    import pandas as pd

    from mdncli.density.evaluation import Evaluation
    from mdncli.learning.monitor import Epoch


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
    task = _Task.of(data, y, settings, parameters)
    if prepared is not None:
        prepared(task.dataset, task.schema)
    # Only now: importing PyTorch takes 1 to 2 s, and a table that is refused should not wait.
    from mdncli.learning import fit as learning

    chosen, dataset = task.settings, task.dataset
    origin = replace(task.origin, versions=learning.versions())
    watch: dict[str, Any] = {"progress": progress, "stop": stop}
    if checkpoint is not None:
        identity = _identity(origin, chosen, task.every, dataset.validation)
        path = os.fspath(checkpoint)
        watch["checkpoint"] = learning.Checkpoint(path, checkpoint_every, identity, resume=resume)
    folds: list[Evaluation] = []
    if task.folds is not None:
        folds = learning.cross_validate(
            task.every, task.layout, chosen, task.folds, source=task.source, **watch
        )
        if stop is not None and stop():
            raise KeyboardInterrupt
    network = learning.fit(dataset, task.schema, chosen, init=task.init, **watch)
    origin = _private(origin) if chosen.private else origin
    record = replace(network.record, cv=[fold.to_plain() for fold in folds])
    return ConditionalDensity(replace(network, record=record, origin=origin))


@dataclass(frozen=True)
class _Task:
    """What is to be learned, from which rows.

    Attributes:
        source: what messages call the table.
        layout: how the columns of the table are read.
        every: all rows that can be used, in the units of the file.
        dataset: the rows to learn from, with those of the user's own to hold out.
        schema: of these rows.
        settings: what to learn, and how.
        folds: of a cross-validation; None for none.
        origin: what was asked for, without the versions.
        init: the model to start from; None for none.
    """

    source: str
    layout: Layout
    every: Dataset
    dataset: Dataset
    schema: Schema
    settings: Settings
    folds: int | None
    origin: Origin
    init: MixtureDensityNetwork | None = None

    @classmethod
    def of(
        cls, data: TableLike, y: Any, settings: Settings | None, parameters: Mapping[str, Any]
    ) -> "_Task":
        """Return the task that the arguments of `fit` describe.

        Raises:
            MdnError: the table cannot be learned from, or a parameter has a wrong value.
            TypeError: there is no such parameter.
        """
        options, given, dialect = _fit_parameters(parameters, settings)
        skip = options.on_bad_rows == "skip"
        table = _training_table(data, y, dialect, skip=skip)
        if y is not None:
            options = replace(options, target=table.names[len(table.names) - _width(y) :])
        init = None if options.init is None else load(options.init).network
        chosen = settings or Settings.of(options.preset, **_with_structure_of(init, given))
        _warn_of_unused_share(given, chosen, options)
        layout = _layout(table, options)
        rules = RowRules(
            weights=options.weight,
            groups=options.group,
            event=options.event,
            skip=skip,
            feature_remedy=_feature_remedy(layout),
        )
        if init is not None:
            schema = init.schema
            every = dataset = _rows_of(table, schema, "learn from")
        else:
            every = training_dataset(table, layout, rules)
            schema, dataset = measure_schema(table.source, every, layout)
            _warn_of_constant_features(layout, schema)
        if options.valid_file is not None:
            dataset = replace(dataset, validation=_validation(options.valid_file, schema, dialect))
        check_training_rows(dataset, schema, chosen, table)
        require_room(schema, table.source)
        named = _changed(settings) if settings is not None else parameters
        request = _request(options, _plain(named, chosen, options), layout, table.names)
        origin = Origin(request, dialect.to_plain(), table.content_sha256)
        return cls(
            *(table.source, layout, every, dataset, schema), *(chosen, options.cv, origin, init)
        )


def _identity(
    origin: Origin, settings: Settings, dataset: Dataset, validation: Dataset | None
) -> dict[str, Any]:
    """Return all that a model depends on, by what a message calls it."""
    rows = hashlib.sha256()
    for each in (dataset, *([] if validation is None else [validation])):
        for array in (each.x, each.y, each.weights, each.groups, each.known):
            rows.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    return {
        "table": origin.table_sha256,
        "rows": rows.hexdigest(),
        **settings.to_plain(),
        **origin.request,
        **origin.dialect,
        **origin.versions,
    }


def read_table(
    file: str | os.PathLike[str], *, on_bad_rows: str = "fail", **dialect: Any
) -> "pd.DataFrame":
    """Return the table in a file as a data frame, read as the commands read it.

    A column in which every cell is a number or missing is float64, with NaN for a missing cell.
    Any other column is text. Columns of lists and the like in a Parquet file are left out.

    Args:
        file: its path.
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
    table = read_table_file(file, Dialect(**given), skip_bad_rows=skips(on_bad_rows))
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
    file: str | os.PathLike[str] | FileContent,
    *,
    max_size: int = MOST_BYTES,
    on_bad_rows: str = "fail",
    **dialect: Any,
) -> ConditionalDensity | TableReport:
    """Return the model that a file holds, or what is known of the table that it holds.

    Args:
        file: a regular file, or a pipe that ends; or a content that was read already.
        max_size: the number of bytes that a model has at most; see `load`.
        on_bad_rows, dialect: how to read a table; see `read_table`.

    Raises:
        MdnError: it is neither a model nor a table, or it cannot be read.
    """
    content = read_model_file(file, max_size, or_table=True)
    if content.content.startswith(MODEL_BEGINS):
        return load(content, max_size=max_size)
    [given] = split_parameters(dialect, Dialect)
    asked, skip = Dialect(**given), skips(on_bad_rows)
    refusal: DataError | None = None
    reading = _Reading()
    try:
        reading = _Reading.of_file(content, asked, skip=skip)
    except DataError as error:
        refusal = error
    typed = format_of(content.name, asked.format) in ("parquet", "jsonl")
    looks = None if typed else sniff(content)
    # A dialect that the user has set is doubted only if it fails.
    fails = refusal is not None or reading.unfit
    doubted = looks is not None and looks.dialect != asked and (fails or asked == Dialect())
    better = _better(content, looks.dialect, skip=skip) if looks and doubted else None
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
    def of_file(cls, file: FileContent, dialect: Dialect, *, skip: bool) -> "_Reading":
        table = read_table_file(file, dialect, skip_bad_rows=skip)
        description = describe_table(table)
        warn_of_skipped_rows(table)
        unfit, kind = _kind_of_target(table, description, skip=skip)
        suspicions = table_suspicions(table, description.target)
        return cls(description, unfit, kind, [*table.notes, *suspicions])


def _better(file: FileContent, dialect: Dialect, *, skip: bool) -> _Reading | None:
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
            layout = _layout(table, options)
            dataset = training_dataset(table, layout, RowRules(skip=skip))
            schema, _ = measure_schema(table.source, dataset, layout)
    except MdnError as error:
        return error.message, ""
    return "", schema.targets[0].kind


def built_in_problem(name: str, **parameters: Any) -> Result:
    """Return the table of a built-in problem; see `mdncli.datasets.generate`."""
    return Result([datasets.generate(name, **parameters)])


def _private(origin: Origin) -> Origin:
    """Return an origin without what no answer needs.

    With the hash, whoever has a table could tell that the model was learned from it.
    """
    request = {name: v for name, v in origin.request.items() if name not in _NEVER_ASKED_FOR}
    return replace(origin, request=request, table_sha256="")


def _fit_parameters(
    parameters: Mapping[str, Any], settings: Settings | None
) -> tuple[FitOptions, dict[str, Any], Dialect]:
    """Return the options, the settings that are given, and how files are read."""
    options, given, reading = split_parameters(parameters, FitOptions, Settings, Dialect)
    if settings is not None and (given or "preset" in options):
        names = [*given, *(["preset"] if "preset" in options else [])]
        raise ParameterError(f"settings and {', '.join(map(parameter, names))} exclude each other.")
    return FitOptions(**options), given, Dialect(**reading)


def _training_table(data: TableLike, y: Any, dialect: Dialect, *, skip: bool) -> Table:
    """Return the table to learn from; its last columns are the targets `y`, if they are given."""
    table = as_table(data, dialect, skip=skip)
    if y is None:
        return table
    targets = dataframe.table_of(y, target_names(y, table.names))
    clash = [name for name in targets.names if name in table.names]
    if clash:
        raise DataError(f"{listed(clash)} names both a feature and a target. Rename one.")
    return dataframe.joined(table, targets, targets.names)


def target_names(y: Any, taken: Sequence[str]) -> list[str]:
    """Return the names that targets carry; else y, or y1, y2, …, names that no feature has."""
    if dataframe.is_data_frame(y):
        return [str(name) for name in y.columns]
    name = getattr(y, "name", None)
    if name is not None and not callable(name):
        return [str(name)]
    stem = "y"
    while any(name.startswith(stem) for name in taken):
        stem += "_"
    width = _width(y)
    return [stem] if width == 1 else [f"{stem}{i + 1}" for i in range(width)]


def _width(y: Any) -> int:
    shape = np.asarray(y).shape
    return 1 if len(shape) < 2 else int(shape[1])


def _layout(table: Table, options: FitOptions) -> Layout:
    """Return how the columns of a table to learn from are read."""
    roles = choose_roles(table, options)
    if not table.rows:
        require_rows(table.source, 0)
    readers = feature_readers(table, roles, options)
    about = target_layout(table, roles, options)
    return Layout(readers, roles.targets, roles.weight, roles.group, event=roles.event, **about)


def _feature_remedy(layout: Layout) -> str:
    names = [reader.name for reader in layout.features]
    ignore = parameter_for("ignore", names[0]) if len(names) == 1 else parameter("ignore", "COL")
    return (
        f"Correct them, leave the rows out with {parameter('on_bad_rows', repr('skip'))}, or leave "
        f"a feature out with {ignore}."
    )


def _with_structure_of(
    init: MixtureDensityNetwork | None, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the given settings, with the shape of the networks of a model to start from.

    Raises:
        ParameterError: a setting asks for another shape.
    """
    if init is None:
        return dict(given)
    shape = {name: init.settings[name] for name in _SHAPE}
    shape["hidden"] = tuple(shape["hidden"]) if shape["hidden"] else None
    for name, value in shape.items():
        if given.get(name) not in (None, value):
            raise ParameterError(
                f"{parameter('init')} keeps the shape of its networks, where {parameter(name)} is "
                f"{value}. Leave out {parameter(name)}."
            )
    return {**given, **shape}


def _validation(file: TableLike, schema: Schema, dialect: Dialect) -> Dataset:
    """Return the user's own rows to hold out, their columns as the schema has them."""
    if schema.event == "":
        raise ParameterError(
            f"{parameter('event')} must name a column where {parameter('valid_file')} is given, so "
            "that both tables have it."
        )
    return _rows_of(as_table(file, dialect, skip=False), schema, "hold out")


def _rows_of(table: Table, schema: Schema, purpose: str) -> Dataset:
    """Return the rows of a table, their columns as a schema has them.

    Raises:
        DataError: a column is missing, a cell cannot be used, or there are no rows.
    """
    rules = RowRules(
        targets=schema.target_names,
        inside=schema.transforms_of(schema.target_names),
        weights=schema.weight,
        event=schema.event or None,
        remedy="Correct them, or remove the rows.",
    )
    dataset = model_dataset(table, schema, rules)
    if not len(dataset):
        raise DataError(f"{table.source}: there are no rows to {purpose}.")
    return dataset


def _request(
    options: FitOptions, given: Mapping[str, Any], layout: Layout, names: Sequence[str]
) -> dict[str, Any]:
    """Return the request as the model stores it: the given parameters as plain values.

    Columns are lists of names, so that Python and the command line store the same. No file name is
    kept.

    Args:
        options: of the fit.
        given: the parameters that were given, from `_plain`.
        layout: how the table was read.
        names: of the table's columns.
    """
    request: dict[str, Any] = {}
    defaults = {"preset": "default", "on_bad_rows": "fail", "target_kind": "auto"}
    by_target = {
        name: NamedValues(name, "target", layout.targets).numbers(getattr(options, name))
        for name in ("min_sigma", "lower", "upper", "censor_below", "censor_above")
    }
    for name in (each.name for each in (*fields(FitOptions), *fields(Settings))):
        value = given.get(name)
        if value is None or (name in defaults and value == defaults[name]):
            continue
        if name in ("valid_file", "init"):
            request[name] = "FILE"
        elif name in by_target:
            request[name] = by_target[name]
        elif name == "target":
            request[name] = list(layout.targets)
        elif name in ("feature", "ignore", "categorical", "numeric"):
            request[name] = column_names(name, getattr(options, name), names)
        elif name == "period":
            request[name] = periods_of(options, names)
        elif name == "atom":
            request[name] = list(atom_values(options.atom))
        elif name == "datetime":
            request[name] = date_formats(options.datetime, names)
        elif name in ("weight", "group", "event"):
            request[name] = value if isinstance(value, str) else "…"
        else:
            request[name] = value
    return {name: value for name, value in request.items() if value not in ([], {})}


def _plain(
    parameters: Mapping[str, Any], settings: Settings, options: FitOptions
) -> dict[str, Any]:
    """Return the parameters that are given; the numbers among them are Python's own."""
    plain = {**settings.to_plain(), "cv": options.cv}
    # False is the default of the others.
    may_be_false = {each.name for each in fields(Settings) if declaration_of(each).on_off}
    return {
        name: plain.get(name, value)
        for name, value in parameters.items()
        if value is not None and (value is not False or name in may_be_false)
    }


def _changed(settings: Settings) -> dict[str, Any]:
    """Return the settings that differ from their defaults."""
    return {
        each.name: getattr(settings, each.name)
        for each in fields(settings)
        if getattr(settings, each.name) != each.default
    }


def _warn_of_constant_features(layout: Layout, schema: Schema) -> None:
    constant = [r.name for r in layout.features if r.name not in schema.feature_names]
    if constant:
        warn(f"{listed(constant)} is left out, because it is constant.")


def _warn_of_unused_share(
    given: Mapping[str, Any], settings: Settings, options: FitOptions
) -> None:
    if "valid" not in given:
        return
    if options.valid_file is not None:
        warn(f"{parameter('valid')} has no effect: {parameter('valid_file')} gives the rows.")
    elif settings.uses_ladder or (settings.members or 1) > 1:
        warn(
            f"{parameter('valid')} has no effect: it is for a single network. Each of several "
            "holds out an equal part."
        )
