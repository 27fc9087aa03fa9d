"""The memory: what neighbours say, when networks read it, and whole fits with one."""

import math

import numpy as np
import pytest
from fits import fitted

from mdncli.columns.dataset import Dataset
from mdncli.density.network import Neighbours
from mdncli.errors import DataError
from mdncli.learning.memory import learn_memory, neighbours_and_columns, use_of_memory
from mdncli.learning.splits import Split, StandardizedRows
from mdncli.settings import Settings


def rows_of(x: np.ndarray, y: np.ndarray) -> StandardizedRows:
    y = (y - y.mean(axis=0)) / y.std(axis=0)
    return StandardizedRows(x, y, np.ones(len(y)), x.shape[1], [])


def five_parts(rows: int) -> np.ndarray:
    return np.random.default_rng(1).permutation(rows) % 5


def random_neighbours(rows: int = 60, targets: int = 2) -> Neighbours:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(rows, 2)).astype(np.float32)
    return Neighbours(
        np.array([0, 2]), np.array([1.0, 0.3]), points, rng.normal(size=(rows, targets))
    )


def test_neighbours_are_the_nearest_by_scaled_ranks() -> None:
    neighbours = random_neighbours()
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(40, 3))
    said = neighbours(inputs)
    assert said.shape == (40, Neighbours.width(2))

    def place(points: np.ndarray) -> np.ndarray:
        below = (neighbours.points[None] < points[:, None]).mean(axis=1)
        upto = (neighbours.points[None] <= points[:, None]).mean(axis=1)
        return 0.5 * (below + upto) * neighbours.scale

    own = place(neighbours.points)
    for row, at in zip(said, place(inputs[:, [0, 2]].astype(np.float32)), strict=True):
        distance = np.sqrt(((own - at) ** 2).sum(axis=1))
        near = np.argsort(distance, kind="stable")[:8]
        if np.diff(np.sort(distance)[:9]).min() < 1e-9:
            # Either of two rows at the same distance may come first.
            continue
        weight = 1.0 / (distance[near] + 0.1 * distance[near[-1]] + 1e-6)
        mean = np.average(neighbours.y[near], axis=0, weights=weight)
        spread = np.sqrt(np.average((neighbours.y[near] - mean) ** 2, axis=0, weights=weight))
        np.testing.assert_allclose(row[:2], mean)
        np.testing.assert_allclose(row[2:4], np.log(spread + 0.01) + 2.0)
        np.testing.assert_allclose(row[4:6], neighbours.y[near[0]])
        ends = distance[near[[0, -1]]]
        np.testing.assert_allclose(row[6:], 0.5 * np.log(ends + 1e-3) + 1.0)
    np.testing.assert_array_equal(neighbours(inputs[7:9]), said[7:9])


def test_a_row_sees_only_rows_of_other_parts() -> None:
    rng = np.random.default_rng(0)
    # Every row recurs four times; in its own part it would find itself.
    x = np.repeat(rng.normal(size=(200, 3)), 4, axis=0)
    rows = rows_of(x, rng.normal(size=(800, 1)))
    parts = np.repeat(np.arange(200) % 5, 4)
    parts[-8:] = -1
    neighbours, said = neighbours_and_columns(rows, parts, np.full(3, 1.0 / 3.0), rng)
    assert len(neighbours.y) == 792
    assert abs(np.corrcoef(said[:, 0], rows.y[:, 0])[0, 1]) < 0.15
    assert np.corrcoef(neighbours(x)[:, 0], rows.y[:, 0])[0, 1] > 0.4
    # The ranks of a row are the same when its part is left out.
    without = neighbours.without(parts[parts >= 0] == 2, x[parts == 2])
    np.testing.assert_array_equal(said[parts == 2], without)


def test_the_inputs_that_matter_count_most() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(2000, 12))
    y = np.sin(6.0 * x[:, :1])
    importance = np.array([0.9, *([0.1 / 11.0] * 11)])
    neighbours, said = neighbours_and_columns(rows_of(x, y), five_parts(2000), importance, rng)
    assert len(neighbours.columns) == 10
    assert neighbours.scale.argmax() == 0
    assert np.corrcoef(said[:, 0], y[:, 0])[0, 1] > 0.9


@pytest.mark.parametrize(("kind", "use"), [("steps", "all"), ("line", "none"), ("wave", "some")])
def test_steps_suit_trees_and_smooth_functions_do_not(kind: str, use: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(900, 3))
    y = {
        "steps": 2.0 * (x[:, :1] > 0.6) + (x[:, 1:2] > 0.3) * (x[:, 2:] > 0.5),
        "line": x @ np.array([[1.0], [2.0], [-1.0]]),
        "wave": np.sin(6.0 * x[:, :1]) * np.cos(4.0 * x[:, 1:2]) + 0.5 * np.sin(5.0 * x[:, 2:]),
    }[kind]
    rows = rows_of(x, y + 0.02 * rng.normal(size=(900, 1)))
    assert use_of_memory(rows, five_parts(900), Settings(), rng)[0] == use


def test_a_private_memory_holds_boosted_trees_alone() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(400, 2))
    rows = rows_of(x, (x[:, :1] > 0.5) + 0.1 * rng.normal(size=(400, 1)))
    split = Split([np.arange(400)], [np.empty(0, dtype=int)])
    parts = {True: ["boosted"], False: ["forest", "boosted", "neighbours"]}
    for private, names in parts.items():
        settings = Settings(memory="on", private=private)
        learned = learn_memory(rows, split, None, settings)
        assert list(learned.memory.parts()) == list(learned.said) == names
        assert learned.memory.width(names, 1) == sum(
            each.shape[1] for each in learned.said.values()
        )


# Whole fits.


def table(rows: int, seed: int = 0) -> Dataset:
    """Return rows of a stair of 60 steps of random heights."""
    heights = np.random.default_rng(5).normal(size=60)
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(rows, 1))
    return Dataset(x, heights[(60.0 * x).astype(int)] + 0.1 * rng.normal(size=(rows, 1)))


def test_a_fit_of_steps_gains_by_the_memory() -> None:
    fresh = table(3000, seed=1)
    nlls = {}
    for memory in ("auto", "off"):
        model, _ = fitted(table(800), Settings(memory=memory, steps=200))
        assert bool(model.memory.parts()) == (memory == "auto")
        assert bool(model.main.reads) == (memory == "auto")
        nlls[memory] = model.mean_nll(fresh.x, fresh.y)
    exact = 0.5 * math.log(2.0 * math.pi * math.e * 0.1**2)
    assert exact < nlls["auto"] < nlls["off"] - 0.2


def test_a_fit_of_rows_that_recur_gains_by_neighbours() -> None:
    rng = np.random.default_rng(0)
    centres, heights = rng.normal(size=(700, 8)), rng.normal(size=700)

    def recurring(rows: int) -> Dataset:
        own = rng.integers(0, 700, rows)
        return Dataset(centres[own], (heights[own] + 0.02 * rng.normal(size=rows))[:, None])

    train, fresh = recurring(2000), recurring(2000)
    nlls = {}
    for memory in ("auto", "off"):
        model, _ = fitted(train, Settings(memory=memory, steps=400))
        nlls[memory] = model.mean_nll(fresh.x, fresh.y)
        assert ("neighbours" in model.memory.parts()) == (memory == "auto")
    assert nlls["auto"] < nlls["off"] - 0.05


def test_memory_on_gives_a_single_network_the_memory() -> None:
    for settings in (Settings(mixtures=2, epochs=3), Settings(mixtures=2, epochs=3, members=3)):
        alone, _ = fitted(table(200), settings)
        assert not alone.memory.parts()
        model, _ = fitted(table(200), Settings(**{**vars(settings), "memory": "on"}))
        assert [rung.reads for rung in model.rungs] == [tuple(model.memory.parts())]
        assert np.isfinite(model.nll(table(50).x, table(50).y)).all()


def test_memory_on_needs_fifty_rows() -> None:
    with pytest.raises(DataError, match=r"at least 50 rows.*Leave out memory='on'"):
        fitted(table(49), Settings(memory="on", mixtures=2, epochs=2))


def test_the_memory_does_not_depend_on_the_number_of_threads() -> None:
    one, two = (
        fitted(table(300), Settings(steps=20, memory="on", threads=threads))[0]
        for threads in (1, 2)
    )
    assert list(one.memory.parts()) == list(two.memory.parts())
    x = table(20).x
    inputs = one.schema.inputs(x)
    for name, said in one.memory(inputs).items():
        np.testing.assert_array_equal(said, two.memory(inputs)[name])
    np.testing.assert_array_equal(one.mixture(x).mu, two.mixture(x).mu)
