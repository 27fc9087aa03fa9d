"""What `mdn inspect` says of a table: how it is written, what would read it, what it holds."""

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mdncli.commands.console import answer, input_name
from mdncli.commands.reading import warn_of_left_out
from mdncli.errors import DataError
from mdncli.tables.dialect import Dialect
from mdncli.text import listed, quoted

if TYPE_CHECKING:
    from mdncli.columns.description import TableDescription
    from mdncli.tables.sniffer import Looks


@dataclass(frozen=True)
class Seen:
    """A table that was looked at.

    Attributes:
        path: as it was given.
        dialect: by which it was asked to be read.
        looks: what its text looks like; None for what is no text.
        suggested: the options that would read it better; None where there are none.
        description: what it holds; None where it cannot be read as asked.
        problem: why it cannot.
    """

    path: str
    dialect: Dialect
    looks: "Looks | None"
    suggested: Dialect | None
    description: "TableDescription | None"
    problem: str

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain values."""
        empty: dict[str, Any] = {"rows": None, "columns": [], "options": None}
        return {
            "kind": "table",
            **(self.description.to_plain() if self.description else empty),
            "looks": self.looks.to_plain() if self.looks else None,
            "reading": (self.suggested or self.dialect).words(),
            "problem": self.problem or None,
        }


def see_table(content: bytes, path: str, dialect: Dialect, *, skip_bad_rows: bool) -> Seen:
    """Return what a table holds, or at least what would read it.

    Raises:
        DataError: it cannot be read as asked, and nothing else would read it.
    """
    from mdncli.columns.description import describe_table
    from mdncli.tables.decoding import decompressed
    from mdncli.tables.parquet import is_parquet
    from mdncli.tables.sniffer import look_at
    from mdncli.tables.table import read_table

    source = input_name(path)
    description, problem = None, ""
    try:
        table = read_table(content, source, dialect, skip_bad_rows=skip_bad_rows)
        description = describe_table(table)
        warn_of_left_out(table)
    except DataError as error:
        refusal, problem = error, str(error)
    looks = None if is_parquet(source) else look_at(decompressed(content, source), source)
    # What was asked for by hand is not doubted, unless it fails.
    doubted = looks and looks.dialect != dialect and (problem or dialect == Dialect())
    suggested = looks.dialect if looks and doubted else None
    if suggested and not _reads(content, source, suggested, skip_bad_rows):
        suggested = None
    if problem and not suggested:
        raise refusal
    return Seen(path, dialect, looks, suggested, description, problem)


def _reads(content: bytes, source: str, dialect: Dialect, skip_bad_rows: bool) -> bool:
    from mdncli.tables.table import read_table

    try:
        read_table(content, source, dialect, skip_bad_rows=skip_bad_rows)
    except DataError:
        return False
    return True


def tell_table(seen: Seen) -> None:
    """Write what was seen, for a person."""
    lines: list[Any] = []
    description = seen.description
    if description is not None:
        counts = _counted(description.rows, "row"), _counted(len(description.columns), "column")
        lines += [", ".join(counts), _columns(description)]
    else:
        lines.append(f"As it stands it cannot be read: {harmless(seen.problem)}")
    if seen.looks is not None:
        lines.append(harmless(f"It looks like {seen.looks.phrase()}."))
    if seen.suggested is not None:
        words = ["mdn", "fit", seen.path, *seen.suggested.words()]
        lines.append(f"What would read it so: {harmless(shlex.join(words))}")
    elif description is not None:
        lines += _what_fit_needs(description, seen.dialect)
    answer(*lines)


def _what_fit_needs(description: "TableDescription", dialect: Dialect) -> list[str]:
    if description.options is None:
        return ["mdn fit needs a target, a column of numbers that vary, and another that varies."]
    options = [shlex.quote(word) for word in dialect.words()] + description.options
    return [f"mdn fit would need: {harmless(' '.join(options))}"] if options else []


def _columns(description: "TableDescription") -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    names = "column kind empty distinct lowest median highest step texts".split()
    for position, name in enumerate(names):
        table.add_column(name, justify="left" if position < 2 else "right")
    for column in description.columns:
        numbers = column.lowest, column.median, column.highest
        known = column.kind == "number" or (column.kind == "mixed" and column.lowest <= numbers[2])
        table.add_row(
            quoted(column.name),
            column.kind,
            str(column.missing) if column.missing else "",
            str(column.distinct),
            *(f"{value:g}" if known else "" for value in numbers),
            "" if column.step is None else f"{column.step:g}",
            listed(column.examples, 3),
        )
    return table


def harmless(text: str) -> str:
    """Return text with whatever could disturb a terminal escaped."""
    return quoted(text, len(text))[1:-1]


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
