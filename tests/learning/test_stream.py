"""Mini-batches of rows on disk: every member reads every row once in a pass."""

import tempfile
from typing import Any

import numpy as np
import pytest
import torch

from mdncli.learning import stream as streaming
from mdncli.learning.processes import Processes
from mdncli.learning.splits import Split, StandardizedRows
from mdncli.learning.stream import RowsOnDisk, StreamedBatches

INPUTS, TARGETS, MEMBERS = 2, 1, 3
ENDS = [300, 700, 1000, 1010, 1500]


def rows_on_disk(**changed: Any) -> RowsOnDisk:
    """Return 1500 rows in five parts; the first input of a row is its number."""
    rows = np.zeros((ENDS[-1], INPUTS + TARGETS + 1), dtype=np.float32)
    rows[:, 0] = np.arange(ENDS[-1])
    rows[:, -1] = 1.0 + np.arange(ENDS[-1]) % 2
    file = tempfile.TemporaryFile()  # noqa: SIM115
    rows.tofile(file)
    file.flush()
    given: dict[str, Any] = {"all_rows": ENDS[-1], "processes": Processes(), **changed}
    return RowsOnDisk(ENDS, INPUTS, TARGETS, {}, given["all_rows"], given["processes"], file)


def batches_of(stream: RowsOnDisk) -> StreamedBatches:
    """Return batches with twenty rows to hold out, whose first input is negative."""
    inputs = np.column_stack([-1.0 - np.arange(50.0), np.zeros(50)])
    rows = StandardizedRows(inputs, np.zeros((50, 1)), np.full(50, 3.0), 0, [])
    split = Split([np.arange(30)] * MEMBERS, [np.arange(30, 50)] * MEMBERS)
    how: dict[str, Any] = {"in_advance": True, "stream": stream, "seed": 7}
    return StreamedBatches(rows, split, torch.device("cpu"), lambda x: x, **how)


def numbers_read(batches: StreamedBatches, epoch: int, steps: int) -> tuple[np.ndarray, list[int]]:
    """Return the numbers of the rows that each member reads in an epoch, and the sizes of steps."""
    generator = torch.Generator().manual_seed(epoch)
    found, sizes = [], []
    for rows in batches.epoch(epoch, steps, generator):
        x, y = batches.take(rows)
        assert x.shape == (MEMBERS, INPUTS, rows.shape[1])
        assert y.shape == (MEMBERS, TARGETS, rows.shape[1])
        assert torch.equal(batches.weights[rows], 1.0 + x[:, 0] % 2)
        found.append(x[:, 0].numpy())
        sizes.append(rows.shape[1])
    return np.concatenate(found, axis=1).astype(int), sizes


def test_every_member_reads_every_row_once_in_an_order_of_its_own() -> None:
    batches = batches_of(rows_on_disk())
    numbers, sizes = numbers_read(batches, 0, 30)
    assert len(sizes) == 30
    assert batches.rows_of_step(torch.zeros(1, 1)) == 50.0
    for member in range(MEMBERS):
        assert sorted(numbers[member]) == list(range(1500))
    assert not np.array_equal(numbers[0], numbers[1])
    assert max(sizes) < 80


def test_a_pass_of_several_epochs_reads_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_ROWS_OF_EPOCH", 600)
    stream = rows_on_disk()
    assert (stream.epochs_of_pass, stream.rows_of_epoch) == (3, 500)
    batches = batches_of(stream)
    orders = []
    for in_pass in range(2):
        read = [numbers_read(batches, 3 * in_pass + place, 10)[0] for place in range(3)]
        every = np.concatenate(read, axis=1)
        assert sorted(every[0]) == list(range(1500))
        orders.append(every[0].tolist())
    assert orders[0] != orders[1]


def test_an_epoch_does_not_depend_on_those_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_ROWS_OF_EPOCH", 600)
    whole, resumed = batches_of(rows_on_disk()), batches_of(rows_on_disk())
    read = [numbers_read(whole, epoch, 10)[0] for epoch in range(6)]
    for epoch in (2, 3, 4, 5):
        assert np.array_equal(numbers_read(resumed, epoch, 10)[0], read[epoch])


def test_a_pass_that_does_not_read_every_row_is_an_error() -> None:
    batches = batches_of(rows_on_disk(all_rows=1501))
    with pytest.raises(RuntimeError, match="A pass read 1500 of 1501 rows"):
        numbers_read(batches, 0, 30)
    # A pass that was broken off is not counted.
    steps = iter(batches.epoch(0, 30, torch.Generator()))
    next(steps)
    monkey = batches_of(rows_on_disk())
    next(iter(monkey.epoch(0, 30, torch.Generator())))
    numbers_read(monkey, 0, 30)


def test_the_rows_that_are_held_out_stay() -> None:
    batches = batches_of(rows_on_disk())
    for epoch in range(2):
        numbers_read(batches, epoch, 30)
        x, _ = batches.take(batches.valid)
        for member in range(MEMBERS):
            assert x[member, 0].tolist() == [-31.0 - place for place in range(20)]
        assert batches.weights[batches.valid].unique().tolist() == [3.0]


class OneOfTwo(Processes):
    """A process beside another one that has as many rows and reads none of them."""

    count = 2

    def sum(self, values: np.ndarray) -> np.ndarray:
        return values * 2.0


def test_the_mean_of_a_step_is_over_the_rows_of_all_processes() -> None:
    batches = batches_of(rows_on_disk(processes=OneOfTwo(), all_rows=3000))
    numbers_read(batches, 0, 30)
    assert batches.rows_of_step(torch.zeros(1, 1)) == 100.0
