"""The training loop: batches, faults, early stopping."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from fits import fitted, two_branches

from mdncli.columns.dataset import Dataset
from mdncli.errors import DataError
from mdncli.learning import loop
from mdncli.learning.loop import Batches
from mdncli.learning.splits import Split, StandardizedRows
from mdncli.settings import Settings

# One kind of networks, whose validation NLL is that of their best epochs.
PLAIN: Any = {"ladder": False, "background": False, "calibrate": False}


def test_every_step_hides_the_category_of_some_rows() -> None:
    count = 20_000
    inputs = np.column_stack([np.ones(count), np.ones(count), np.zeros((count, 2))])
    split = Split([np.arange(count)], [np.arange(5)])
    rows = StandardizedRows(inputs, np.zeros((count, 1)), np.ones(count), 1, [(1, 3, 4)])
    batches = Batches(rows, split, torch.device("cpu"))
    x, _ = batches.take(torch.arange(count)[None])
    dropped = batches.drop_categories(x, torch.Generator().manual_seed(0))[0].numpy()
    assert (dropped[0] == 1.0).all()
    np.testing.assert_array_equal(dropped[1:].sum(axis=0), 1.0)
    assert dropped[3].mean() == pytest.approx(0.03, abs=0.005)


def test_shorter_lists_of_rows_are_repeated_without_weight() -> None:
    rows = StandardizedRows(np.zeros((9, 1)), np.zeros((9, 1)), np.full(9, 2.0), 1, [])
    split = Split([np.arange(4), np.arange(9)], [np.arange(4, 9), np.arange(2)])
    batches = Batches(rows, split, torch.device("cpu"))
    assert batches.valid.tolist() == [[4, 5, 6, 7, 8], [0, 1, 0, 1, 0]]
    assert batches.valid_weights.tolist() == [[2.0] * 5, [2.0, 2.0, 0.0, 0.0, 0.0]]
    [order] = batches.epoch(0, 1, torch.Generator().manual_seed(0))
    assert order.shape == (2, 9)
    assert sorted(set(order[0].tolist())) == [0, 1, 2, 3]
    assert sorted(order[1].tolist()) == list(range(9))


def test_the_best_weights_are_kept() -> None:
    # With so many epochs and without weight decay, a network overfits these rows.
    settings = Settings(epochs=600, lr=0.05, patience=600, valid=0.3, weight_decay=0.0, **PLAIN)
    model, epochs = fitted(two_branches(80), settings)
    record = model.record
    [best] = record.best_epochs
    assert best < record.epochs == 600
    assert record.history["nll_valid"][best - 1] == min(record.history["nll_valid"])
    assert record.nll_valid == pytest.approx(min(record.history["nll_valid"]), abs=1e-4)
    assert [epoch.nll_valid for epoch in epochs] == record.history["nll_valid"]


def test_members_keep_each_its_own_best_epoch() -> None:
    model, epochs = fitted(two_branches(120), Settings(members=3, steps=400, lr=0.05, **PLAIN))
    record = model.record
    assert len(record.best_epochs) == 3
    assert len(set(record.best_epochs)) > 1
    assert record.rows_valid == 72
    assert record.epochs == len(epochs)
    assert [epoch.nll_valid for epoch in epochs] == record.history["nll_valid"]
    # The record has the NLL of each member at its best, on the rows that it held out.
    assert record.nll_valid <= min(record.history["nll_valid"]) + 1e-4


def test_patience_ends_learning() -> None:
    settings = Settings(epochs=500, patience=5, lr=0.1, valid=0.3, **PLAIN)
    model, _ = fitted(two_branches(60), settings)
    assert model.record.stopped == "patience"
    assert model.record.epochs == model.record.best_epochs[0] + 5


def test_without_validation_rows_the_last_weights_are_kept() -> None:
    model, epochs = fitted(two_branches(100), Settings(epochs=7, valid=0.0))
    assert model.record.rows_valid == 0
    assert model.record.best_epochs == [7]
    assert math.isnan(model.record.nll_valid)
    assert all(math.isnan(epoch.nll_valid) for epoch in epochs)


def test_automatic_noise_follows_from_the_numbers_of_rows_and_columns() -> None:
    rows = two_branches(100)

    def weights(noise: float | str) -> np.ndarray:
        settings = Settings(epochs=2, valid=0.0, noise_x=noise, noise_y=noise, **PLAIN)
        model, _ = fitted(rows, settings)
        return model.main.networks[0].layers[0][0]

    # The networks read one feature twice, and there is one target.
    np.testing.assert_array_equal(weights("auto"), weights(0.1 * 100 ** (-1 / 7)))
    assert not np.array_equal(weights("auto"), weights(0.0))


class Steps:
    """Replaces the steps of the optimizer, and counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rates: list[float] = []
        self.bad = range(0)
        self.blown_up = range(0)
        step = loop.AveragedAdam.step

        def counted(
            optimizer: loop.AveragedAdam, raw: torch.Tensor, gradient: torch.Tensor, rate: float
        ) -> bool:
            number = len(self.rates)
            self.rates.append(rate)
            taken = step(optimizer, raw, gradient * (math.nan if number in self.bad else 1), rate)
            if number in self.blown_up:
                optimizer.weights.mul_(1e6)
            return taken

        monkeypatch.setattr(loop.AveragedAdam, "step", counted)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


def test_an_epoch_with_nan_is_undone(steps: Steps) -> None:
    steps.bad = range(9, 10)
    model, epochs = fitted(two_branches(), Settings(epochs=20, patience=20, **PLAIN))
    assert model.record.stopped == "epochs"
    assert model.record.faults == 1
    assert model.record.epochs == len(epochs) == 19
    assert math.isfinite(model.record.nll_valid)


def test_an_epoch_with_a_huge_loss_is_undone_and_the_rate_is_lower_after_it(steps: Steps) -> None:
    steps.blown_up = range(9, 10)
    model, _ = fitted(two_branches(), Settings(epochs=20, patience=20, **PLAIN))
    assert model.record.faults == 1
    assert model.record.epochs == 19
    assert model.record.nll_valid < 1.5
    assert max(steps.rates[30:]) < 0.31 * Settings().lr


@pytest.mark.parametrize("outlier", [1e4, 1e6])
@pytest.mark.parametrize("row", [4, 5])
def test_a_row_far_from_the_others_is_no_fault(outlier: float, row: int) -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(size=(600, 1))
    y = np.sin(2.0 * np.pi * x) + 0.1 * rng.normal(size=(600, 1))
    y[row] = outlier
    model, _ = fitted(Dataset(x, y), Settings(ladder=False))
    assert model.record.faults == 0
    rest = np.delete(np.arange(600), row)
    assert model.mean_nll(x[rest], y[rest]) < -0.7


def test_three_faults_end_learning_with_the_best_model_before(steps: Steps) -> None:
    steps.bad = range(9, 10**6)
    model, _ = fitted(two_branches(), Settings(epochs=20, **PLAIN))
    assert model.record.stopped == "faults"
    assert model.record.epochs == 3
    assert math.isfinite(model.record.nll_valid)


@pytest.mark.parametrize("baseline", [False, True])
def test_without_a_finite_loss_there_is_no_model(steps: Steps, baseline: bool) -> None:
    steps.bad = range(60 if baseline else 0, 10**6)
    words = "baseline was NaN or infinite" if baseline else "NaN or infinite in every epoch"
    with pytest.raises(DataError, match=words):
        fitted(two_branches(), Settings(epochs=20, patience=20, baseline=baseline, **PLAIN))
