"""The forest: how it grows, what it says about its own rows, and when networks read it."""

import math

import numpy as np
import pytest
from fits import fitted

from mdncli.columns.dataset import Dataset
from mdncli.density.network import HIGHEST_INPUT, Forest
from mdncli.errors import DataError
from mdncli.learning.forest import forest_and_column, grow, use_of_forest
from mdncli.learning.splits import Split, StandardizedRows, parts_of_rows
from mdncli.settings import Settings


def rows_of(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None) -> StandardizedRows:
    y = (y - y.mean(axis=0)) / y.std(axis=0)
    return StandardizedRows(x, y, np.ones(len(y)) if weights is None else weights, x.shape[1], [])


def steps(rows: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(rows, 3))
    y = 2.0 * (x[:, :1] > 0.6) + (x[:, 1:2] > 0.3) * (x[:, 2:] > 0.5)
    return x, y + noise * rng.normal(size=(rows, 1))


def five_parts(rows: int) -> np.ndarray:
    return np.random.default_rng(1).permutation(rows) % 5


def grown(rows: StandardizedRows, trees: int, seed: int = 0) -> Forest:
    every = [np.arange(len(rows.y))] * trees
    inputs = rows.inputs.astype(np.float32)
    return grow(inputs, rows.y, rows.weights, every, np.random.default_rng(seed))


def leaf_of(forest: Forest, tree: int, row: np.ndarray) -> int:
    node = int(forest.roots[tree])
    while forest.left[node] != node:
        right = row[forest.feature[node]] > forest.threshold[node]
        node = int(forest.left[node]) + int(right)
    return node


def test_an_answer_is_the_mean_of_the_leaves_where_a_row_ends() -> None:
    rng = np.random.default_rng(0)
    rows = rows_of(rng.normal(size=(300, 4)), rng.normal(size=(300, 2)))
    forest = grown(rows, 7)
    fresh = rng.normal(size=(9001, 4))
    answers = forest(fresh)
    assert answers.shape == (9001, 2)
    for place in (0, 1, 4095, 4096, 9000):
        row = fresh[place].astype(np.float32)
        leaves = [leaf_of(forest, tree, row) for tree in range(7)]
        np.testing.assert_allclose(answers[place], forest.value[leaves].mean(axis=0), rtol=1e-12)
    # A row's answer does not depend on the rows beside it.
    np.testing.assert_array_equal(forest(fresh[4000:5000]), answers[4000:5000])


def test_every_leaf_holds_the_weighted_mean_of_its_rows() -> None:
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.2, 3.0, 200)
    # Rows with equal inputs cannot be parted.
    rows = rows_of(rng.integers(0, 3, (200, 3)).astype(float), rng.normal(size=(200, 1)), weights)
    forest = grown(rows, 4)
    for tree in range(4):
        inputs = rows.inputs.astype(np.float32)
        leaves = np.array([leaf_of(forest, tree, row) for row in inputs])
        assert len(np.unique(leaves)) == len(np.unique(inputs, axis=0))
        for leaf in np.unique(leaves):
            own = leaves == leaf
            mean = np.average(rows.y[own, 0], weights=weights[own])
            assert forest.value[leaf, 0] == pytest.approx(mean, abs=1e-6)


def test_the_nodes_of_a_tree_follow_each_other_and_children_their_parents() -> None:
    x, y = steps(500, 0.1)
    forest = grown(rows_of(x, y), 5)
    node = np.arange(len(forest.left))
    leaf = forest.left == node
    assert (forest.left[~leaf] > node[~leaf]).all()
    assert (forest.threshold[leaf] == np.float32(HIGHEST_INPUT)).all()
    assert list(forest.roots) == sorted(forest.roots)
    # Without equal inputs, each row ends in a leaf of its own.
    assert np.count_nonzero(leaf) == 5 * 500
    assert len(node) == 5 * (2 * 500 - 1)


def test_it_is_as_exact_as_the_trees_of_another_library() -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    x, y = steps(600, 0.3)
    fresh_x, fresh_y = steps(4000, 0.0, seed=1)
    rows = rows_of(x, y)
    ours = grown(rows, 60)(fresh_x)[:, 0] * y.std() + y.mean()
    theirs = ensemble.ExtraTreesRegressor(60, random_state=0).fit(x, y[:, 0]).predict(fresh_x)
    errors = [np.sqrt(np.mean((each - fresh_y[:, 0]) ** 2)) for each in (ours, theirs)]
    assert errors[0] < 1.1 * errors[1]


def test_a_column_that_repeats_the_order_of_another_is_not_used() -> None:
    x, y = steps(200, 0.1)
    forest = grown(rows_of(np.column_stack([x, np.exp(x), x[:, :1] ** 3]), y), 10)
    assert set(forest.feature) <= {0, 1, 2}


def test_a_row_does_not_see_its_own_target() -> None:
    rng = np.random.default_rng(0)
    rows = rows_of(rng.normal(size=(1000, 3)), rng.normal(size=(1000, 1)))
    forest, column = forest_and_column(rows, five_parts(1000), rng)
    # The targets are noise: what is said about a row by trees that did not see it tells nothing.
    assert np.corrcoef(forest(rows.inputs)[:, 0], rows.y[:, 0])[0, 1] > 0.9
    assert np.corrcoef(column[:, 0], rows.y[:, 0])[0, 1] < 0.05


def test_a_row_does_not_see_its_group() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(100), 10)
    effect = rng.normal(size=100)[groups]
    x = np.column_stack([rng.normal(size=100)[groups], rng.normal(size=1000)])
    rows = rows_of(x, effect[:, None] + 0.1 * rng.normal(size=(1000, 1)))
    split = Split([np.arange(1000)], [np.empty(0, dtype=int)])
    for known, least, most in ((None, 0.7, 1.0), (groups, -1.0, 0.3)):
        parts = parts_of_rows(1000, split, 5, rng, known)
        assert sorted(np.unique(parts)) == [0, 1, 2, 3, 4]
        _, column = forest_and_column(rows, parts, rng)
        assert least < np.corrcoef(column[:, 0], rows.y[:, 0])[0, 1] < most
        if known is not None:
            assert all(len(np.unique(parts[groups == group])) == 1 for group in range(100))


def test_rows_of_no_part_are_not_learned_from_and_see_all_trees() -> None:
    x, y = steps(400, 0.1)
    parts = five_parts(400)
    parts[300:] = -1
    y[300:] = 1e6
    rows = rows_of(x, y)
    forest, column = forest_and_column(rows, parts, np.random.default_rng(0))
    assert forest.value.max() < rows.y[300:].min()
    np.testing.assert_allclose(column[300:], forest(x[300:]))


def test_the_part_that_a_member_holds_out_is_whole() -> None:
    rng = np.random.default_rng(0)
    held_out = np.split(rng.permutation(300), 20)
    split = Split([np.arange(300)] * 6, held_out[:6], held_out)
    parts = parts_of_rows(300, split, 5, rng)
    assert all(len(np.unique(parts[part])) == 1 for part in held_out)
    assert sorted(np.unique(parts)) == [0, 1, 2, 3, 4]


def test_too_few_parts_are_a_mistake() -> None:
    x, y = steps(100, 0.1)
    with pytest.raises(ValueError, match="at most 2 parts"):
        forest_and_column(rows_of(x, y), five_parts(100) % 2, np.random.default_rng(0))


def test_steps_suit_a_forest_and_smooth_curves_do_not() -> None:
    x, y = steps(800, 0.1)
    rng = np.random.default_rng(0)
    assert use_of_forest(rows_of(x, y), five_parts(800), rng) == "all"
    smooth = np.sin(3.0 * x[:, :1]) + x[:, 1:2] * x[:, 2:] + 0.1 * rng.normal(size=(800, 1))
    assert use_of_forest(rows_of(x, smooth), five_parts(800), rng) == "none"


# Whole fits.


def table(rows: int, seed: int = 0) -> Dataset:
    """Return rows of a stair of 60 steps of random heights."""
    heights = np.random.default_rng(5).normal(size=60)
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(rows, 1))
    return Dataset(x, heights[(60.0 * x).astype(int)] + 0.1 * rng.normal(size=(rows, 1)))


def test_a_fit_of_steps_gains_by_the_forest() -> None:
    fresh = table(3000, seed=1)
    nlls = {}
    for memory in ("auto", "off"):
        model, _ = fitted(table(800), Settings(memory=memory, steps=200))
        assert (model.forest is not None) == (memory == "auto")
        assert model.main.reads_forest == (memory == "auto")
        nlls[memory] = model.mean_nll(fresh.x, fresh.y)
    exact = 0.5 * math.log(2.0 * math.pi * math.e * 0.1**2)
    assert exact < nlls["auto"] < nlls["off"] - 0.2


def test_memory_on_gives_a_single_network_the_forest() -> None:
    for settings in (Settings(mixtures=2, epochs=3), Settings(mixtures=2, epochs=3, members=3)):
        alone, _ = fitted(table(200), settings)
        assert alone.forest is None
        model, _ = fitted(table(200), Settings(**{**vars(settings), "memory": "on"}))
        assert model.forest is not None
        assert [rung.reads_forest for rung in model.rungs] == [True]
        assert np.isfinite(model.nll(table(50).x, table(50).y)).all()


def test_memory_on_needs_fifty_rows() -> None:
    with pytest.raises(DataError, match=r"at least 50 rows.*Leave out memory='on'"):
        fitted(table(49), Settings(memory="on", mixtures=2, epochs=2))


def test_the_forest_does_not_depend_on_the_number_of_threads() -> None:
    one, two = (fitted(table(300), Settings(steps=20, threads=threads))[0] for threads in (1, 2))
    assert one.forest is not None
    assert two.forest is not None
    for name in ("roots", "feature", "threshold", "left", "value"):
        np.testing.assert_array_equal(getattr(one.forest, name), getattr(two.forest, name))
    x = table(20).x
    np.testing.assert_array_equal(one.mixture(x).mu, two.mixture(x).mu)
