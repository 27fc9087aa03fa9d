"""What a fit learns, and from which rows: the request, and the table in memory or on disk."""

import contextlib
import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np

from mdncli.columns import dataframe
from mdncli.columns.checks import check_training_rows
from mdncli.columns.dataset import (
    FEWEST_ROWS,
    Dataset,
    RowRules,
    measure_schema,
    model_dataset,
    require_rows,
    training_dataset,
)
from mdncli.columns.kinds import Layout, feature_readers, row_weights
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
from mdncli.conditional_density import TableLike, as_table, load
from mdncli.declarations import declaration_of
from mdncli.density.model import MixtureDensityNetwork, Origin
from mdncli.errors import DataError, MdnWarning, ParameterError, parameter, parameter_for, warn
from mdncli.files import FileContent, FileStream
from mdncli.modelfile.writer import require_room
from mdncli.requests import split_parameters
from mdncli.settings import FitOptions, Settings
from mdncli.tables.blocks import is_files
from mdncli.tables.dialect import Dialect
from mdncli.tables.shards import OwnBlocks, is_large
from mdncli.tables.spool import Spool, SpoolPlan, SpoolProgress, spooled
from mdncli.tables.table import Table
from mdncli.text import listed

# What a model to start from decides.
_SHAPE = ("ladder", "mixtures", "hidden", "frequencies", "activation", "covariance")
# The parts of a request that name columns which are no part of the model.
_NEVER_ASKED_FOR = ("ignore", "group")


class Processes(Protocol):
    """Processes that learn together; see `mdncli.learning.processes`."""

    rank: int
    count: int
    in_step: bool

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes."""


@dataclass(frozen=True)
class Spooling:
    """When and where rows are kept on disk.

    Attributes:
        folder: where, for a table of any size; None for tables that are too large for the memory,
            in the system's folder of temporary files.
        show: is called now and then while rows are read.
        processes: those that learn together; None for one.
    """

    folder: str | None = None
    show: Callable[[SpoolProgress], None] = lambda progress: None
    processes: Processes | None = None


@dataclass(frozen=True)
class Task:
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
        rules: what a row must have in order to count.
        spool: the rows on disk, of which those above are a sample; None if those are all.
    """

    source: str
    layout: Layout
    every: Dataset
    dataset: Dataset
    schema: Schema
    settings: Settings
    folds: int | None
    origin: Origin
    init: MixtureDensityNetwork | None
    rules: RowRules
    spool: Spool | None

    @classmethod
    def of(
        cls,
        data: TableLike,
        y: Any,
        settings: Settings | None,
        parameters: Mapping[str, Any],
        spooling: Spooling = Spooling(),
    ) -> "Task":
        """Return the task that the arguments of `fit` describe.

        Raises:
            MdnError: the table cannot be learned from, or a parameter has a wrong value.
            TypeError: there is no such parameter.
        """
        options, given, dialect = _fit_parameters(parameters, settings)
        init = None if options.init is None else load(options.init).network
        chosen = settings or Settings.of(options.preset, **_with_structure_of(init, given))
        _warn_of_unused_share(given, chosen, options)
        spool = _spool_of(data, y, options, chosen, dialect, spooling)
        try:
            return cls._of_rows(
                data, y, options, chosen, dialect, init, spool, (settings, parameters)
            )
        except BaseException:
            if spool is not None:
                spool.close()
            raise

    @classmethod
    def _of_rows(
        cls,
        data: TableLike,
        y: Any,
        options: FitOptions,
        chosen: Settings,
        dialect: Dialect,
        init: MixtureDensityNetwork | None,
        spool: Spool | None,
        named: tuple[Settings | None, Mapping[str, Any]],
    ) -> "Task":
        skip = options.on_bad_rows == "skip"
        table = spool.sample if spool else _training_table(data, y, dialect, skip=skip)
        if y is not None:
            options = replace(options, target=table.names[len(table.names) - _width(y) :])
        layout = layout_of(table, options)
        rules = RowRules(
            weights=options.weight,
            groups=options.group,
            event=options.event,
            skip=skip,
            feature_remedy=_feature_remedy(layout),
        )
        with _counting_later(spool):
            if init is not None:
                schema = init.schema
                every = dataset = _rows_of(table, schema, "learn from")
            else:
                every = training_dataset(table, layout, rules)
                schema, dataset = measure_schema(table.source, every, layout)
        if init is None:
            _warn_of_constant_features(layout, schema)
        rules = replace(
            rules, targets=schema.target_names, inside=schema.transforms_of(schema.target_names)
        )
        if options.valid_file is not None:
            dataset = replace(dataset, validation=_validation(options.valid_file, schema, dialect))
        elif spool is not None and chosen.valid > 0.0:
            with _counting_later(spool):
                held_out = model_dataset(spool.held_out, schema, rules)
            _require_enough_held_out(table.source, held_out)
            dataset = replace(dataset, validation=held_out)
        check_training_rows(dataset, schema, chosen, table)
        require_room(schema, table.source)
        origin = _origin(table, layout, options, chosen, dialect, named)
        return cls(
            *(table.source, layout, every, dataset, schema, chosen, options.cv, origin, init),
            *(rules, spool),
        )

    @property
    def mean_weight(self) -> float:
        """The mean weight of the rows in memory, in the units of the file; 1 without weights."""
        if self.spool is None or self.rules.weights is None:
            return 1.0
        weights, _ = row_weights(self.spool.sample, self.rules.weights)
        positions = self.dataset.positions
        return float(np.mean(weights if positions is None else weights[positions]))

    def identity(self, versions: Mapping[str, str]) -> dict[str, Any]:
        """Return all that a model depends on, by what a message calls it."""
        rows, origin = hashlib.sha256(), self.origin
        validation = self.dataset.validation
        for each in (self.every, *([] if validation is None else [validation])):
            for array in (each.x, each.y, each.weights, each.groups, each.known):
                rows.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        return {
            "table": origin.table_sha256,
            "rows": rows.hexdigest(),
            **self.settings.to_plain(),
            **origin.request,
            **origin.dialect,
            **versions,
        }

    def close(self) -> None:
        """Free the rows on disk."""
        if self.spool is not None:
            self.spool.close()


def _require_enough_held_out(source: str, held_out: Dataset) -> None:
    if len(held_out) < FEWEST_ROWS:
        raise DataError(
            f"{source}: too few rows to learn from the disk: a tenth of them is held out, and that "
            f"must be at least {FEWEST_ROWS}. Fit in memory, without {parameter('spool')} and with "
            "one process."
        )


@contextlib.contextmanager
def _counting_later(spool: Spool | None) -> Iterator[None]:
    """Leave out warnings about rows of a sample: they are for the rows of the whole table."""
    with warnings.catch_warnings():
        if spool is not None:
            warnings.simplefilter("ignore", MdnWarning)
        yield


def _spool_of(
    data: TableLike,
    y: Any,
    options: FitOptions,
    settings: Settings,
    dialect: Dialect,
    spooling: Spooling,
) -> Spool | None:
    """Return the rows of files on disk; None for a table that can be in memory.

    Raises:
        ParameterError: something that was asked for needs all rows in memory.
    """
    processes = spooling.processes
    asked = spooling.folder is not None or processes is not None
    files = is_files(data) and not isinstance(data, FileContent | FileStream)
    if not asked and not (files and is_large(data, dialect)):
        return None
    reason = _why_in_memory(files and y is None, options, settings)
    if reason and not asked:
        return None
    if reason:
        what = parameter("spool") if processes is None else "Learning with several processes"
        raise ParameterError(f"{what} does not go with {reason}.")
    rank, count = (0, 1) if processes is None else (processes.rank, processes.count)
    skip = options.on_bad_rows == "skip"
    source = OwnBlocks(data, dialect, skip=skip, rank=rank, count=count)
    rows = source.estimated_rows()
    every = rows if processes is None else sum(processes.gather(rows))
    plan = SpoolPlan(
        rows=rows,
        folder=spooling.folder,
        text=[*_names(options.categorical), *_names(options.datetime)],
        seed=(settings.seed, rank),
        share=rows / max(1, every),
        holds_out=options.valid_file is None and settings.valid > 0.0,
    )
    spool = spooled(source.blocks, plan, spooling.show)
    if processes is not None:
        processes.in_step = True
        spool = spool.shared(processes.gather)
    return spool


def _why_in_memory(from_files: bool, options: FitOptions, settings: Settings) -> str:
    """Return what needs all rows in memory, as a phrase; empty for nothing."""
    if not from_files:
        return "rows that do not come from a file"
    for name in ("cv", "group"):
        if getattr(options, name) is not None:
            return parameter(name)
    if settings.memory == "on":
        return parameter("memory", repr("on"))
    given = [name for name in ("weight", "event") if getattr(options, name) is not None]
    return next((parameter(n) for n in given if not isinstance(getattr(options, n), str)), "")


def _names(given: Any) -> list[str]:
    """Return the names of columns that a parameter may hold."""
    parts = [given] if isinstance(given, str) else list(given)
    return [name.partition("=")[0] for part in parts for name in (part, *part.split(","))]


def without_private(origin: Origin) -> Origin:
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


def layout_of(table: Table, options: FitOptions) -> Layout:
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


def _origin(
    table: Table,
    layout: Layout,
    options: FitOptions,
    chosen: Settings,
    dialect: Dialect,
    named: tuple[Settings | None, Mapping[str, Any]],
) -> Origin:
    """Return where a model comes from; `named` are the settings or the parameters of the call."""
    settings, parameters = named
    asked = _plain(_changed(settings) if settings else parameters, chosen, options)
    request = _request(options, asked, layout, table.names)
    return Origin(request, dialect.to_plain(), table.content_sha256)


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
