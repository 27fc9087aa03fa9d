"""The course of training."""

from dataclasses import replace

import numpy as np
import pytest
from density.models import bounded_targets, inverse_sinusoid, twenty_features
from pictures import lines_of

from mdncli.plots import draw


def test_the_curves_are_the_history() -> None:
    model, x, y = inverse_sinusoid()
    [axes] = draw("training", model, x, y).axes
    for label, key in (("training rows", "nll_train"), ("validation rows", "nll_valid")):
        [line] = lines_of(axes, label)
        np.testing.assert_array_equal(line.get_xdata(), range(1, 21))
        np.testing.assert_array_equal(line.get_ydata(), model.record.history[key])
    assert axes.get_xlabel() == "epoch"
    assert axes.get_ylabel() == "NLL (nats per row)"
    [kept] = lines_of(axes, f"weights kept: epoch {model.record.best_epochs[0]}")
    assert kept.get_xdata()[0] == model.record.best_epochs[0]


def test_the_levels_are_those_of_the_marginal_reference_and_the_baseline() -> None:
    model, x, y = inverse_sinusoid()
    [axes] = draw("training", model, x, y).axes
    [reference], [baseline] = (lines_of(axes, n) for n in ("marginal reference", "least squares"))
    assert reference.get_ydata()[0] == model.record.reference["nll_valid"]
    assert model.baseline is not None
    assert baseline.get_ydata()[0] == model.baseline.nll
    low, high = axes.get_ylim()
    assert low < reference.get_ydata()[0] < high


def test_without_a_baseline_or_a_finite_level_there_is_no_line() -> None:
    model, x, y = twenty_features()
    [axes] = draw("training", model, x, y).axes
    assert lines_of(axes, "least squares") == []
    missing = {"nll_train": float("nan"), "nll_valid": float("nan")}
    without = replace(model, record=replace(model.record, reference=missing))
    [axes] = draw("training", without, x, y).axes
    assert lines_of(axes, "marginal reference") == []


def test_without_validation_rows_the_reference_is_that_of_the_training_rows() -> None:
    model, x, y = inverse_sinusoid()
    reference = {"nll_train": 2.5, "nll_valid": float("nan")}
    record = replace(model.record, reference=reference, rows_valid=0)
    [axes] = draw("training", replace(model, record=record), x, y).axes
    [line] = lines_of(axes, "marginal reference")
    assert line.get_ydata()[0] == 2.5
    assert lines_of(axes, "validation rows") == []


def test_every_member_has_its_epoch() -> None:
    model, x, y = bounded_targets()
    record = replace(model.record, best_epochs=[3, 6])
    [axes] = draw("training", replace(model, record=record), x, y).axes
    vertical = sorted(line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":")
    assert vertical == pytest.approx([3, 6])
    assert len(lines_of(axes, "weights kept: epochs 3 to 6")) == 1
