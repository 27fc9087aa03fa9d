"""Which columns of a table a model predicts, and which it predicts from."""

from dataclasses import dataclass

from mdncli.errors import DataError, UsageError
from mdncli.tables.table import Table
from mdncli.words import listed


@dataclass(frozen=True)
class Roles:
    """Which columns of a table are features, which are targets, and which holds weights, if any."""

    features: list[str]
    targets: list[str]
    weight: str | None = None


def choose_roles(
    table: Table,
    *,
    targets: list[str] | None = None,
    features: list[str] | None = None,
    ignore: list[str] | None = None,
) -> Roles:
    """Return the roles of a table's columns: by default the last is the target, the rest features.

    Raises:
        DataError: a named column is not there, or no feature or no target is left.
        UsageError: a column would be both.
    """
    targets, features, ignore = targets or [], features or [], ignore or []
    table.require([*targets, *features, *ignore])
    left = [name for name in table.names if name not in ignore]
    targets = targets or left[-1:]
    for first, second, flags in (
        (targets, features, "the target (-t, by default the last column) and a feature (-x)"),
        (targets, ignore, "the target (-t) and left out (--ignore)"),
        (features, ignore, "a feature (-x) and left out (--ignore)"),
    ):
        both = [name for name in first if name in second]
        if both:
            raise UsageError(f"{listed(both)} would be both {flags}.")
    features = features or [name for name in left if name not in targets]
    if not features:
        raise DataError(
            f"{table.source}: no feature is left beside the target. A table needs at least two "
            "columns, separated by commas."
        )
    return Roles(features, targets)
