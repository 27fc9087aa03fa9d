"""Learning from rows on disk: the rows as the networks read them, and mini-batches of them.

The rows lie in parts, and each part is a random sample of all rows. An epoch reads some parts, each
in random order, and several epochs read all of them: a pass. The number of steps grows slowly with
the rows, so a large table may be learned in less than a pass.
"""

import contextlib
import math
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from mdncli.columns.dataset import MOST_SKIPPED, Dataset, RowRules, model_dataset
from mdncli.columns.kinds import row_weights
from mdncli.columns.schema import Schema
from mdncli.errors import DataError, InputOutputError, MdnWarning, warn
from mdncli.files import reason
from mdncli.learning.loop import Batches
from mdncli.learning.processes import Processes
from mdncli.learning.splits import Split, StandardizedRows
from mdncli.settings import Settings
from mdncli.tables.spool import Spool
from mdncli.tables.table import Table
from mdncli.types import Array, Positions

# The rows of an epoch at most, roughly; and of a part.
_ROWS_OF_EPOCH, _ROWS_OF_PART = 1 << 20, 1 << 16


@dataclass(frozen=True)
class RowsOnDisk:
    """Training rows as the networks read them, in parts on disk.

    A row is its inputs, its targets and its weight, in single precision.

    Attributes:
        ends: where each part ends, as a number of rows.
        inputs, targets: the numbers of columns.
        left_out: the number of rows of the table that are not among these, by the reason.
        all_rows: the number of training rows of all processes.
        processes: those that learn together, each from its own rows.
    """

    ends: list[int]
    inputs: int
    targets: int
    left_out: dict[str, int]
    all_rows: int
    processes: Processes
    _file: IO[bytes] = field(repr=False)

    @property
    def epochs_of_pass(self) -> int:
        """The number of epochs that together read every row once."""
        return max(1, math.ceil(self.all_rows / _ROWS_OF_EPOCH))

    @property
    def rows_of_epoch(self) -> int:
        """The number of rows that all processes read in an epoch, on average."""
        return math.ceil(self.all_rows / self.epochs_of_pass)

    def parts_of_epoch(self, number: int, seed: int) -> list[int]:
        """Return the parts that an epoch reads, in their order.

        Args:
            number: of the epoch, from 0.
            seed: of the order.
        """
        in_pass, place = divmod(number, self.epochs_of_pass)
        order = np.random.default_rng([seed, in_pass]).permutation(len(self.ends))
        parts: list[int] = np.array_split(order, self.epochs_of_pass)[place].tolist()
        return parts

    def sizes(self, parts: list[int]) -> Positions:
        """Return the numbers of rows of some parts."""
        return np.diff([0, *self.ends])[parts]

    def read(self, part: int) -> Array:
        """Return the rows of a part, (R, inputs + targets + 1); none for part -1."""
        start = self.ends[part - 1] if part > 0 else 0
        width = self.inputs + self.targets + 1
        shape = self.ends[part] - start if part >= 0 else 0, width
        if not shape[0]:
            return np.empty(shape, dtype=np.float32)
        mapped = np.memmap(self._file, np.float32, "r", start * width * 4, shape)
        return np.array(mapped)

    def close(self) -> None:
        """Free the space."""
        self._file.close()


class OnDisk(Protocol):
    """What is learned from rows on disk; see `mdncli.task.Task`."""

    @property
    def source(self) -> str:
        """The name of the table in messages."""

    @property
    def dataset(self) -> Dataset:
        """The rows in memory."""

    @property
    def schema(self) -> Schema:
        """How the columns are read."""

    @property
    def settings(self) -> Settings:
        """What to learn, and how."""

    @property
    def rules(self) -> RowRules:
        """What a row must have in order to count."""

    @property
    def spool(self) -> Spool | None:
        """The rows on disk."""

    @property
    def mean_weight(self) -> float:
        """What a weight is divided by."""


def rows_on_disk(task: OnDisk, folder: str | None, processes: Processes | None) -> RowsOnDisk:
    """Return the rows of a spool as the networks read them, on the disk again.

    Args:
        task: with a spool, whose parts are freed.
        folder: where to write; None for the system's folder of temporary files.
        processes: those that learn together, each from its own rows; None for one.

    Raises:
        DataError: a cell cannot be used, or too many rows are left out.
        InputOutputError: the folder cannot be written to.
    """
    assert task.spool is not None
    processes = processes or Processes()
    processes.in_step = False
    with contextlib.ExitStack() as stack:
        try:
            file: IO[bytes] = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            rng = np.random.default_rng([task.settings.seed, processes.rank])
            parts = [_written(table, task, file, rng) for table in task.spool.tables()]
            file.flush()
        except OSError as error:
            where = folder or tempfile.gettempdir()
            raise InputOutputError(f"{where}: cannot be written: {reason(error)}.") from error
        ends = np.cumsum([n for part in parts for n in _sizes(part.rows)], dtype=np.int64).tolist()
        widths = (parts[0].inputs, parts[0].targets) if parts else (0, 0)
        left_out = _sums([part.left_out for part in parts], processes)
        stack.pop_all()
    processes.in_step = True
    held_out = task.dataset.validation
    if held_out is not None:
        left_out = {name: n + held_out.left_out.get(name, 0) for name, n in left_out.items()}
    left_out["bad"] += task.spool.skipped
    [all_rows] = processes.sum(np.array([ends[-1] if ends else 0]))
    every = int(all_rows) + sum(left_out.values()) + (0 if held_out is None else len(held_out))
    _require_few_left_out(task.source, left_out, every)
    return RowsOnDisk(ends, *widths, left_out, int(all_rows), processes, file)


class _Part(NamedTuple):
    """How many rows and columns of a part were written, and how many rows were left out."""

    rows: int
    inputs: int
    targets: int
    left_out: Mapping[str, int]


def _sizes(rows: int) -> list[int]:
    """Return the sizes of the smaller parts into which so many rows are divided."""
    count = max(1, math.ceil(rows / _ROWS_OF_PART))
    return [rows * (place + 1) // count - rows * place // count for place in range(count)]


def _written(table: Table, task: OnDisk, file: IO[bytes], rng: np.random.Generator) -> _Part:
    """Write the rows of a part in random order."""
    with warnings.catch_warnings():
        # Each would count the rows of one part.
        warnings.simplefilter("ignore", MdnWarning)
        dataset = model_dataset(table, task.schema, task.rules)
    if task.rules.weights is not None:
        weights, _ = row_weights(table, task.rules.weights)
        used = weights if dataset.positions is None else weights[dataset.positions]
        dataset = replace(dataset, weights=used / task.mean_weight)
    inputs, targets = _columns_of(StandardizedRows.of(dataset, task.schema))
    columns = [inputs, targets, dataset.row_weights]
    rows = np.column_stack(columns).astype(np.float32)
    rows[rng.permutation(len(rows))].tofile(file)
    return _Part(len(dataset), inputs.shape[1], targets.shape[1], dataset.left_out)


def _sums(parts: Sequence[Mapping[str, int]], processes: Processes) -> dict[str, int]:
    """Return the numbers of rows that are left out, by the reason, in all processes."""
    reasons = "without_target", "bad", "zero_weight"
    own = [sum(part[reason] for part in parts) for reason in reasons]
    return {name: int(n) for name, n in zip(reasons, processes.sum(np.array(own)), strict=True)}


def _columns_of(rows: StandardizedRows) -> tuple[Array, Array]:
    """Return the inputs of rows, and what the objective reads; see `Batches.targets`."""
    if rows.cells is None:
        return rows.inputs, rows.y
    return rows.inputs, np.stack([rows.cells.low, rows.cells.high], axis=1)


def _require_few_left_out(source: str, left_out: Mapping[str, int], rows: int) -> None:
    """Check that not too many rows are bad, and warn of those that are left out.

    Raises:
        DataError: too many are.
    """
    if left_out["bad"] > MOST_SKIPPED * rows:
        raise DataError(
            f"{source}: {left_out['bad']} of {rows} rows cannot be used, more than "
            f"{MOST_SKIPPED:.0%}."
        )
    for name, what in (
        ("bad", "a cell or a number of fields that cannot be used"),
        ("without_target", "no target"),
        ("zero_weight", "a weight of 0"),
    ):
        if left_out[name]:
            warn(f"{left_out[name]} of {rows} rows have {what} and are left out.")


def _together(parts: list[int], ends: list[int]) -> list[tuple[list[int], int]]:
    """Return the parts, and how many steps they have; small ones are joined to have at least one.

    Args:
        parts: of an epoch.
        ends: the step after the last one of each; the last is the number of all steps.
    """
    found: list[tuple[list[int], int]] = []
    waiting, start = [], 0
    for part, end in zip(parts, ends, strict=False):
        waiting.append(part)
        if end > start:
            found.append((waiting, end - start))
            waiting, start = [], end
    if waiting and found:
        found[-1][0].extend(waiting)
    return found or [(waiting, ends[-1])]


class StreamedBatches(Batches):
    """The held-out rows as tensors, and training rows that come from the disk part by part.

    Every member reads every row of an epoch once, each in an order of its own.

    Args:
        rows, split, device, embed: as for `Batches`: a sample of the rows, of which only those that
            are held out are read, the same for all members.
        in_advance: whether to embed the rows of a part at once.
        stream: the training rows.
        seed: of the order of the parts.
    """

    def __init__(
        self,
        rows: StandardizedRows,
        split: Split,
        device: torch.device,
        embed: Callable[[Tensor], Tensor],
        *,
        in_advance: bool,
        stream: RowsOnDisk,
        seed: int,
    ) -> None:
        super().__init__(rows, split, device, embed, in_advance=False)
        self.processes, self._stream, self._seed = stream.processes, stream, seed
        self._embed_part = embed if in_advance else None
        # Of the present epoch; and of the present pass, None if it is not a whole one.
        self._rows_of_step = 1.0
        self._seen: int | None = None
        held_out = self.valid[0]
        self._held_out = [each[held_out] for each in (self.x, self.targets, self.weights)]
        if self._embed_part is not None:
            self._held_out[0], self._embed = self._embed_part(self._held_out[0]), None
        self.valid = torch.arange(len(held_out), device=device).repeat(self.members, 1)
        self._use(np.empty((0, stream.inputs + stream.targets + 1), dtype=np.float32))

    @property
    def most_train_rows(self) -> int:
        """The number of training rows that all processes read in an epoch."""
        return self._stream.rows_of_epoch

    def epoch(self, number: int, steps: int, generator: torch.Generator) -> Iterable[Tensor]:
        """Return the positions of the training rows of every step of an epoch, (M, B).

        They are positions in `x` until the next step is asked for. With several processes, each has
        its share of the rows of a step, which may be none.

        Raises:
            RuntimeError: not every row was read once in a pass.
        """
        parts = self._stream.parts_of_epoch(number, self._seed)
        sizes = self._stream.sizes(parts)
        [rows] = self.processes.sum(np.array([sizes.sum()]))
        ends = np.round(steps * sizes.cumsum() / max(1, sizes.sum())).astype(int)
        together = _together(parts, [*ends[:-1].tolist(), steps])
        number %= self._stream.epochs_of_pass
        return self._steps(number, together, float(rows) / steps, generator)

    def rows_of_step(self, rows: Tensor) -> float:
        """Return the number of rows of all processes in a step of this epoch, on average."""
        return self._rows_of_step

    def _steps(
        self,
        number: int,
        plan: list[tuple[list[int], int]],
        rows_of_step: float,
        generator: torch.Generator,
    ) -> Iterator[Tensor]:
        """Yield the rows of every step of an epoch.

        Args:
            number: of the epoch in its pass.
            plan: parts that are read together, and the number of steps with them.
            rows_of_step: see `rows_of_step`.
            generator: of the order.
        """
        # A pass that is broken off, or that goes on from a checkpoint, cannot be counted.
        seen, self._seen = 0 if number == 0 else self._seen, None
        self._rows_of_step, first = rows_of_step, len(self._held_out[0])
        for parts, count in plan:
            self._use(np.concatenate([self._stream.read(part) for part in parts or [-1]]))
            rows = len(self.x) - first
            orders = [torch.randperm(rows, generator=generator) for _ in range(self.members)]
            order = torch.stack(orders).to(self.x.device) + first
            for step in order.tensor_split(count, 1):
                seen = None if seen is None else seen + step.shape[1]
                yield step
        self._seen = seen
        if number == self._stream.epochs_of_pass - 1 and seen is not None:
            self._require_all_rows(seen)

    def _require_all_rows(self, seen: int) -> None:
        [count] = self.processes.sum(np.array([seen]))
        if count != self._stream.all_rows:
            raise RuntimeError(f"A pass read {count:.0f} of {self._stream.all_rows} rows.")

    def _use(self, part: Array) -> None:
        """Put the rows of a part after those that are held out."""
        rows = torch.from_numpy(part).to(self.y.device)
        x, targets, weights = torch.split(rows, [self._stream.inputs, self._stream.targets, 1], 1)
        if self._embed_part is not None:
            x = self._embed_part(x)
        every = zip(self._held_out, (x, targets, weights[:, 0]), strict=True)
        self.x, self.targets, self.weights = (torch.cat(both) for both in every)
