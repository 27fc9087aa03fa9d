"""The rows of a table with answers or scores beside them, computed piece by piece."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mdncli.columns import dataframe
from mdncli.columns.dataset import Dataset
from mdncli.density.answers import Questions
from mdncli.density.evaluation import Evaluation
from mdncli.density.model import MixtureDensityNetwork
from mdncli.density.parallel import prefetched
from mdncli.errors import ParameterError, parameter, warn
from mdncli.requests import PredictRequest
from mdncli.tables.table import Table
from mdncli.tables.writer import write_table
from mdncli.text import listed
from mdncli.types import Array

if TYPE_CHECKING:
    import pandas as pd

# A piece of a long table has at most so many rows, and so many components of mixtures.
_ROWS_AT_ONCE, _FEWEST_ROWS_AT_ONCE = 1 << 17, 1 << 10
_COMPONENTS_AT_ONCE = 1 << 22
_EXTRAPOLATES = "extrapolates"


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

    def write(self, stream: BinaryIO, name: str | None = None) -> None:
        """Write the table in the form that the suffix of a file's name stands for; CSV for None."""
        write_table(stream, prefetched(iter(self.pieces)), name)


@dataclass(frozen=True)
class Predictor:
    """Answers questions about the rows of a table, piece by piece.

    Attributes:
        network: the model.
        dataset: the rows that can be used.
        table: all rows.
        questions: what is asked, with the targets' values as numbers by their names.
        given: known values of targets by their names; None for the row's own.
        left: the targets that are not given.
        request: what else is asked for.
    """

    network: MixtureDensityNetwork
    dataset: Dataset
    table: Table
    questions: Questions
    given: Mapping[str, Any]
    left: list[str]
    request: PredictRequest

    def pieces(self) -> Iterator[dict[str, Any]]:
        """Yield the answers for one piece of the table after another, then warn about them."""
        at_once = max(_FEWEST_ROWS_AT_ONCE, _COMPONENTS_AT_ONCE // self.network.components)
        at_once = min(_ROWS_AT_ONCE, at_once)
        extrapolating = joined = 0
        for start in range(0, max(1, self.table.rows), at_once):
            piece = slice(start, min(start + at_once, self.table.rows))
            answers, outside, more = self._answer(piece)
            extrapolating, joined = extrapolating + outside, joined + more
            carried: dict[str, Any] = {}
            if not self.request.only:
                length = piece.stop - piece.start
                originals = self.table.originals.items()
                carried = {name: column.slice(piece.start, length) for name, column in originals}
                require_new_names(list(answers), list(carried))
            yield {**carried, **answers}
        warn_of_extrapolation(extrapolating, self.table.rows)
        if joined:
            warn(
                f"In {joined} of {self.table.rows} rows the region has more intervals than there "
                "are columns. The closest intervals were joined, so the region holds at least the "
                "probability that was asked for."
            )

    def _answer(self, piece: slice) -> tuple[dict[str, Array], int, int]:
        """Return the answers for the rows of a piece, and how many extrapolate or were joined."""
        schema, positions = self.network.schema, self.dataset.positions
        within, places = piece, None
        if positions is not None:
            within = slice(*np.searchsorted(positions, [piece.start, piece.stop]).tolist())
            places = positions[within] - piece.start
        x, y = self.dataset.x[within], self.dataset.y[within]
        names = schema.target_names
        given = {
            name: y[:, names.index(name)] if value is None else value
            for name, value in self.given.items()
        }
        distribution = self.network.distribution(x)
        if given:
            distribution = distribution.given(given)
        own = y[:, [names.index(name) for name in self.left]]
        columns, joined = self.questions.answer(distribution, own)
        outside = schema.extrapolates(x)
        if self.request.flag_extrapolation:
            require_new_names([_EXTRAPOLATES], list(columns))
            columns[_EXTRAPOLATES] = outside.astype(np.int64)
        if places is not None:
            columns = {
                n: _scattered(v, places, piece.stop - piece.start) for n, v in columns.items()
            }
        return columns, int(outside.sum()), joined


def _scattered(values: Array, places: Any, length: int) -> Array:
    """Return values at these places among so many rows, NaN elsewhere."""
    whole = np.full(length, math.nan)
    whole[places] = values
    return whole


def scored_rows(evaluation: Evaluation, table: Table, dataset: Dataset) -> Iterator[dict[str, Any]]:
    """Yield the rows with the scores of each beside them; NaN for a row that does not count."""
    places = slice(None) if dataset.positions is None else dataset.positions
    # An infinite NLL cannot be written as a number.
    nll = np.where(np.isfinite(evaluation.by_row.nll), evaluation.by_row.nll, math.nan)
    scores = {"nll": _scattered(nll, places, table.rows)}
    for position, target in enumerate(evaluation.targets):
        for name in ("crps", "error", "pit"):
            values = getattr(evaluation.by_row, name)[:, position]
            scores[f"{target}_{name}"] = _scattered(values, places, table.rows)
    require_new_names(list(scores), table.names)
    yield {**table.originals, **scores}


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
