"""The rows of `mdn predict` and the answers for them, written piece by piece."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mdncli.commands.console import warn, writing
from mdncli.commands.given import Conditions
from mdncli.commands.reading import warn_of_left_out
from mdncli.commands.rows import Rows, read_rows, warn_of_extrapolation, warn_of_skipped
from mdncli.errors import UsageError
from mdncli.text import listed

if TYPE_CHECKING:
    from mdncli.density.answers import Questions
    from mdncli.density.model import ConditionalDensity
    from mdncli.tables.table import Table

_ROWS_AT_ONCE = 1 << 17
_EXTRAPOLATES = "extrapolates"
_NO_TARGET = (
    " The question is about the rows' own target values; ask about one value with --at-target "
    "where there are none."
)
_NOT_GIVEN = " --given NAME is the row's own value; give one for all rows with --given NAME=VALUE."


def read_asked(
    density: "ConditionalDensity",
    questions: "Questions",
    known: Conditions,
    table: "Table",
    *,
    skip: bool,
) -> Rows:
    """Return the rows of a table that are asked about, with the targets that this needs."""
    own = questions.own_targets(known.left)
    return read_rows(
        density.schema,
        table,
        [*known.own, *own],
        skip=skip,
        no_target=_NO_TARGET if own else _NOT_GIVEN,
        complete=True,
        given=known.own,
    )


class Answers:
    """The answers for some rows, and what was met on the way to them."""

    def __init__(
        self,
        density: "ConditionalDensity",
        questions: "Questions",
        known: Conditions,
        rows: Rows,
        *,
        only: bool,
        flag: bool,
    ) -> None:
        self._density, self._questions, self._rows = density, questions, rows
        self._known, self._only, self._flag = known, only, flag
        self._extrapolating = self._joined = 0

    def write(self, output: str | None) -> None:
        """Write them to a file or to standard output."""
        with writing(output) as stream:
            from mdncli.density.parallel import ahead
            from mdncli.tables.writer import write_table

            write_table(stream, ahead(self._tables()), output)

    def warn(self) -> None:
        """Warn of rows without an answer, and of answers that are less than was asked."""
        count = self._rows.count
        warn_of_left_out(self._rows.table)
        warn_of_skipped(self._rows, "their answers are empty")
        warn_of_extrapolation(self._extrapolating, count)
        if self._joined:
            warn(
                f"in {self._joined} of {count} rows the region has more intervals than there are "
                "columns: the closest were joined, and hold at least what was asked."
            )

    def _tables(self) -> Iterator[dict[str, Any]]:
        """Yield the answers for one piece of the rows after another."""
        for start in range(0, max(1, self._rows.count), _ROWS_AT_ONCE):
            piece = slice(start, min(start + _ROWS_AT_ONCE, self._rows.count))
            answers = self._answer(piece)
            carried = {} if self._only else self._rows.carried(piece)
            clash = [name for name in answers if name in carried]
            if clash:
                raise UsageError(
                    f"the table has {listed(clash)} already. Write the answers alone with --only."
                )
            yield {**carried, **answers}

    def _answer(self, piece: slice) -> dict[str, Any]:
        import numpy as np

        from mdncli.density.answers import blanked

        x, y, bad = self._rows.x[piece], self._rows.y[piece], self._rows.bad[piece]
        schema, left = self._density.schema, self._known.left
        # A bad row's answers are blanked: any value will do to ask about it.
        usable = np.where(bad[:, None], [target.median for target in schema.targets], y)
        known = self._known.values(usable, schema.target_names)
        given = self._density.at_rows(x, known)
        y = y[:, [schema.target_names.index(name) for name in left]]
        columns, had_joined = self._questions.answer(given, left, y)
        self._joined += had_joined
        outside = schema.extrapolates(x) & ~bad
        self._extrapolating += int(outside.sum())
        if self._flag:
            if _EXTRAPOLATES in columns:
                raise UsageError(f"two answers would be called {_EXTRAPOLATES!r}.")
            columns[_EXTRAPOLATES] = outside.astype(np.int64)
        if not bad.any():
            return columns
        return dict(blanked(columns, bad))
