"""The rows that `mdn fit` learns from: read, sorted out by kind, and told about."""

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mdncli.commands.console import error_console, input_name, read_input, say, warn
from mdncli.commands.options import bounds_of_targets, date_formats, named_columns, smallest_sigmas
from mdncli.commands.reading import warn_of_left_out
from mdncli.commands.request import Request
from mdncli.commands.rows import weights_of
from mdncli.errors import DataError, UsageError
from mdncli.text import listed, quoted
from mdncli.types import Array

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mdncli.columns.kinds import Asked, FeatureColumn, Roles
    from mdncli.columns.schema import Schema
    from mdncli.columns.transforms import Bounds
    from mdncli.learning.splits import Examples
    from mdncli.tables.table import Fault, Table

_FEW_ROWS = 50
_MOST_SKIPPED = 0.1
# A step of less than this many standard deviations leaves a target as good as continuous.
_FINE = 0.01


@dataclass(frozen=True)
class Lesson:
    """What was read to learn from.

    Attributes:
        examples: the rows.
        schema: of these rows.
        floors: the smallest sigmas that were asked for.
        table_sha256: of the table's bytes.
        left_out: how many rows of the table are not among the examples, by the reason.
    """

    examples: "Examples"
    schema: "Schema"
    floors: dict[str, float]
    table_sha256: str
    left_out: dict[str, int]


def read_lesson(request: Request, *, quiet: bool) -> Lesson:
    """Return the rows to learn from and their schema, and say what a reader should know of them."""
    from mdncli.columns.kinds import feature_columns, refuse_as_target
    from mdncli.columns.schema import learnable, require_rows
    from mdncli.tables.table import read_table

    content = read_input(request.data)
    source = input_name(request.data)
    table = read_table(content, source, request.dialect, skip_bad_rows=request.skip_bad_rows)
    roles = _roles(request, table)
    if not table.rows:
        require_rows(table.source, 0)
    asked = _asked(request, table)
    for target in roles.targets:
        refuse_as_target(table, target, asked)
    columns, unused = feature_columns(table, roles.features, asked, skip=request.skip_bad_rows)
    for name, why in unused.items():
        warn(f"{quoted(name)} is left out: it {why}.")
    if not columns:
        raise DataError(f"{table.source}: no feature is left beside the target.")
    floors = smallest_sigmas(request.min_sigma, roles.targets)
    bounds = bounds_of_targets(request.lower, request.upper, roles.targets)
    rows = _Rows(table, columns, roles, bounds, skip=request.skip_bad_rows)
    schema, kept = learnable(
        table.source, rows.x, rows.y, roles, columns=columns, min_sigma=floors, bounds=bounds
    )
    examples = rows.examples(request.group, kept)
    if request.valid_file:
        examples = replace(examples, own=_own(request, schema))
    constant = [column.name for i, column in enumerate(columns) if i not in kept]
    if constant:
        warn(f"left out, since constant: {listed(constant)}.")
    _say_what_was_read(examples, schema, quiet=quiet)
    return Lesson(examples, schema, floors, hashlib.sha256(content).hexdigest(), rows.left_out)


class _Rows:
    """The rows of a table that can be learned from, and how many cannot."""

    def __init__(
        self,
        table: "Table",
        columns: "list[FeatureColumn]",
        roles: "Roles",
        bounds: "dict[str, Bounds]",
        *,
        skip: bool,
    ) -> None:
        from mdncli.columns.dataset import encoded, encoded_numbers, outside_bounds, rows_at_fault
        from mdncli.columns.transforms import FREE

        self._table = table
        features = encoded(table, columns)
        targets, no_target = encoded_numbers(table, roles.targets)
        weights, faults = _weights(table, roles.weight)
        limits = [bounds.get(name, FREE) for name in roles.targets]
        beyond = outside_bounds(targets.values, roles.targets, limits)
        faults = [*features.faults, *targets.faults, *faults, *beyond]
        bad = rows_at_fault(faults, table.rows) & ~no_target
        self.left_out = {
            "without_target": int(no_target.sum()),
            "bad": int(bad.sum()) + table.skipped,
            "zero_weight": int(((weights == 0.0) & ~bad & ~no_target).sum()),
        }
        self._settle(faults, bad, skip=skip)
        self._used = ~(bad | no_target | (weights == 0.0))
        self.x, self.y = features.values[self._used], targets.values[self._used]
        self._weights = weights[self._used] if roles.weight else None

    def _settle(self, faults: "list[Fault]", bad: "NDArray[np.bool_]", *, skip: bool) -> None:
        """Refuse bad cells, or say how many rows they cost."""
        table, count = self._table, self.left_out["bad"]
        if bad.any() and not skip:
            remedy = "Correct them, leave the rows out with --on-bad-rows skip, or the column with "
            names = listed(list(dict.fromkeys(name for name, _, _ in faults)))
            raise DataError(table.complaint(faults, f"{remedy}--ignore ({names})."))
        if count:
            if count > _MOST_SKIPPED * table.rows_in_file:
                raise DataError(
                    f"{table.source}: {count} of {table.rows_in_file} rows cannot be used, more "
                    f"than {_MOST_SKIPPED:.0%}. The first: "
                    f"{table.first_skipped or table.told(faults, 1)[0]}."
                )
            warn_of_left_out(table)
            if bad.any():
                warn(
                    f"{int(bad.sum())} of {table.rows_in_file} rows have a cell that cannot be "
                    f"used and are left out. The first: {table.told(faults, 1)[0]}."
                )
        for reason, words in (
            ("without_target", "have no target"),
            ("zero_weight", "have a weight of 0"),
        ):
            if self.left_out[reason]:
                say(f"{self.left_out[reason]} of {table.rows_in_file} rows {words}: left out.")

    def examples(self, group: str | None, kept: list[int]) -> "Examples":
        """Return the rows with the features that are kept."""
        from mdncli.learning.splits import Examples, mean_one, renumbered

        groups = None
        if group:
            groups = renumbered(self._table.codes(group)[self._used])
        weights = None if self._weights is None else mean_one(self._weights)
        return Examples(self.x[:, kept], self.y, groups, weights)


def _weights(table: "Table", name: str | None) -> tuple["Array", "list[Fault]"]:
    """Return each row's weight, (N,), 1 where there are none, and the cells that are none."""
    import numpy as np

    return weights_of(table, name) if name else (np.ones(table.rows), [])


def _own(request: Request, schema: "Schema") -> "Examples":
    """Return the rows of `--valid-file`, their columns as the schema has them."""
    from mdncli.columns.dataset import encoded_features, encoded_numbers, outside_bounds
    from mdncli.learning.splits import Examples, mean_one
    from mdncli.tables.table import read_table

    assert request.valid_file
    source = input_name(request.valid_file)
    table = read_table(read_input(request.valid_file), source, request.dialect)
    features = encoded_features(table, schema.features)
    targets, no_target = encoded_numbers(table, schema.target_names)
    weights, faults = _weights(table, schema.weight)
    beyond = outside_bounds(targets.values, schema.target_names, schema.bounds)
    faults = [*features.faults, *targets.faults, *faults, *beyond]
    if faults:
        raise DataError(table.complaint(faults, "Correct them, or leave the rows out."))
    used = ~no_target & (weights > 0.0)
    if not used.any():
        raise DataError(f"{source}: there are no rows to hold out.")
    own = mean_one(weights[used]) if schema.weight else None
    return Examples(features.values[used], targets.values[used], weights=own)


def _roles(request: Request, table: "Table") -> "Roles":
    from mdncli.columns.kinds import choose_roles

    targets, features, ignore = (
        named_columns(texts, table.names)
        for texts in (request.target, request.feature, request.ignore)
    )
    for flag, name in (("--group", request.group), ("--weight", request.weight)):
        if name:
            table.require([name])
            if name in (*targets, *features):
                raise UsageError(f"{quoted(name)} is the {flag}, so no target and no feature.")
            ignore = [*ignore, name]
    roles = choose_roles(table, targets=targets, features=features, ignore=ignore)
    return replace(roles, weight=request.weight)


def _asked(request: Request, table: "Table") -> "Asked":
    from mdncli.columns.kinds import Asked

    categorical, numeric = (
        named_columns(texts, table.names) for texts in (request.categorical, request.numeric)
    )
    dates = date_formats(request.datetime, table.names)
    table.require([*categorical, *numeric, *dates])
    return Asked(categorical, numeric, dates)


def _say_what_was_read(examples: "Examples", schema: "Schema", *, quiet: bool) -> None:
    """Say which columns are which, and what about them a reader should know."""
    if not quiet:
        say(f"target: {listed(schema.target_names)}; features: {listed(schema.feature_names)}.")
        _show_columns(examples, schema)
    for position, target in enumerate(schema.targets):
        values = examples.y[:, position]
        if target.step is not None and not quiet:
            where = "step/√(2π), unless --min-sigma says otherwise"
            if target.bounds:
                where = "of the mixture underneath the bounds; at the median " + where
            say(
                f"{quoted(target.name)} was recorded in steps of {target.step:g}, so no σ is below "
                f"{target.min_sigma:.3g} ({where})."
            )
        _warn_of_target(target.name, target.step, target.scale, values)
    _warn_of_near_targets(examples, schema)
    if len(examples.y) < _FEW_ROWS:
        warn(f"with {len(examples.y)} rows the validation NLL is unreliable.")


def _warn_of_target(name: str, step: float | None, scale: float, values: "Array") -> None:
    from mdncli.columns.schema import pile_of

    pile = pile_of(values) if step is None or step < _FINE * scale else None
    if pile:
        warn(
            f"{pile[1]:.0%} of the rows have {quoted(name)} at {pile[0]:g} exactly. A mixture can "
            "only put a narrow component there; consider a model without them."
        )


def _warn_of_near_targets(examples: "Examples", schema: "Schema") -> None:
    import numpy as np

    from mdncli.columns.dataset import near_targets

    numbers = [i for i, feature in enumerate(schema.features) if feature.waves]
    typical = [schema.features[i].typical for i in numbers]
    x = np.where(np.isnan(examples.x[:, numbers]), typical, examples.x[:, numbers])
    names = [schema.features[i].name for i in numbers]
    for position, target in enumerate(schema.target_names):
        for name in near_targets(x, examples.y[:, position], names):
            warn(
                f"{quoted(name)} is nearly the target {quoted(target)} itself. Is it known before "
                "the target is? If not, leave it out with --ignore."
            )


def _show_columns(examples: "Examples", schema: "Schema") -> None:
    """Show the kind of every column, what is missing in it, and what it ranges over."""
    import numpy as np
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("column", "kind", "missing"):
        table.add_column(title, no_wrap=True)
    table.add_column("range or categories")
    missing = np.isnan(examples.x).sum(axis=0)
    for feature, count in zip(schema.features, missing, strict=True):
        table.add_row(quoted(feature.name), feature.kind, str(count or ""), feature.range)
    for target in schema.targets:
        ends = f"{target.lowest:g} to {target.highest:g}"
        table.add_row(quoted(target.name), "number, target", "", ends)
    error_console().print(table)
