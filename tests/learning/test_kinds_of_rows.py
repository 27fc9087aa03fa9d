"""Learning from rows that count unequally, and from categories that come later."""

import numpy as np
import pandas as pd
import pytest
import torch

from mdncli.columns.kinds import CategoryColumn, DateColumn, NumberColumn, Roles
from mdncli.columns.schema import learnable
from mdncli.density.evaluation import distance_from_uniform, evaluate
from mdncli.errors import DataError
from mdncli.learning.fit import learned
from mdncli.learning.loop import Batches
from mdncli.learning.splits import Examples, Split, mean_one
from mdncli.settings import Settings

QUICK = Settings(mixtures=2, hidden=(8,), frequencies=1, steps=150)


def test_weights_decide_between_branches() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 1))
    upper = rng.random(600) < 0.5
    y = np.where(upper, 2.0, -2.0)[:, None] + 0.1 * rng.normal(size=(600, 1))
    schema, _ = learnable("t", x, y, Roles(["x"], ["y"], "w"))
    weights = mean_one(np.where(upper, 4.0, 1.0))
    density = learned(Examples(x, y, weights=weights), schema, QUICK)
    share = density.at_rows(x).cdf(0.0).mean()
    assert share == pytest.approx(0.2, abs=0.03)
    plain = learned(Examples(x, y), schema, QUICK)
    assert plain.at_rows(x).cdf(0.0).mean() == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("members", [1, 3])
def test_nlls_are_weighted_means(members: int) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 200, 1))
    weights = mean_one(rng.integers(1, 5, 200).astype(float))
    schema, _ = learnable("t", x, y, Roles(["x"], ["y"], "w"))
    settings = Settings(mixtures=2, hidden=(4,), frequencies=0, epochs=3, members=members)
    density = learned(Examples(x, y, weights=weights), schema, settings)
    if members > 1:
        # Every row is learned from by some member.
        expected = np.average(density.nll(x, y), weights=weights)
        assert density.record.nll_train == pytest.approx(expected)
    judged = evaluate(density, x, y, weights)
    assert judged.nll == pytest.approx(np.average(density.nll(x, y), weights=weights))
    assert judged.crps[0] == pytest.approx(np.average(judged.by_row.crps[:, 0], weights=weights))
    assert judged.rmse[0] ** 2 == pytest.approx(
        np.average(judged.by_row.error[:, 0] ** 2, weights=weights)
    )


def test_a_whole_weight_is_as_many_values() -> None:
    rng = np.random.default_rng(2)
    values, times = rng.random(300) ** 1.3, rng.integers(1, 4, 300)
    distance, chance = distance_from_uniform(values, times.astype(float))
    expected, _ = distance_from_uniform(values.repeat(times), None)
    assert distance == pytest.approx(expected, abs=1e-12)
    equal, _ = distance_from_uniform(values, np.ones(300))
    assert equal == pytest.approx(distance_from_uniform(values, None)[0], abs=1e-12)
    assert 0.0 < chance < 1.0


def test_some_rows_forget_their_category_at_every_step() -> None:
    rows = 20_000
    inputs = np.column_stack([np.ones(rows), np.ones(rows), np.zeros((rows, 2))])
    split = Split([np.arange(rows)], [np.arange(5)])
    batches = Batches(
        inputs, np.zeros((rows, 1)), np.ones(rows), split, [(1, 3, 4)], torch.device("cpu")
    )
    x, _ = batches.take(torch.arange(rows)[None])
    forgotten = batches.forget_some(x, torch.Generator().manual_seed(0))[0].numpy()
    assert (forgotten[0] == 1.0).all()
    np.testing.assert_array_equal(forgotten[1:].sum(axis=0), 1.0)
    assert forgotten[3].mean() == pytest.approx(0.03, abs=0.005)


def every_kind() -> tuple[object, pd.DataFrame]:
    rng = np.random.default_rng(3)
    place, days = rng.integers(0, 2, 200).astype(float), rng.integers(0, 900, 200).astype(float)
    number = np.where(rng.random(200) < 0.2, np.nan, rng.normal(size=200))
    x = np.column_stack([place, days, number])
    y = (2.0 * place + 0.1 * rng.normal(size=200))[:, None]
    columns = [CategoryColumn("c", ["a", "b"]), DateColumn("d", ""), NumberColumn("n")]
    schema, _ = learnable("t", x, y, Roles(["c", "d", "n"], ["y"]), columns=columns)
    frame = pd.DataFrame(
        {
            "n": number,
            "d": pd.Timestamp("1970-01-01") + pd.to_timedelta(days, unit="D"),
            "c": np.array(["a", "b"])[place.astype(int)],
        }
    )
    density = learned(Examples(x, y), schema, QUICK)
    expected = density.at_rows(x).mean()
    np.testing.assert_allclose(density.condition(frame).mean(), expected)
    texts = frame.assign(d=frame["d"].dt.strftime("%Y-%m-%d"))
    np.testing.assert_allclose(density.condition(texts).mean(), expected)
    return density, frame


def test_a_data_frame_may_have_every_kind() -> None:
    density, frame = every_kind()
    unseen = density.condition(frame.assign(c="new"))
    assert unseen.std().mean() > density.condition(frame).std().mean()
    missing = frame.assign(c=[None, *frame["c"][1:]])
    with pytest.raises(DataError, match="row 1, column 'c'"):
        density.condition(missing)
    assert np.isfinite(density.condition(frame.assign(n=np.nan)).mean()).all()
