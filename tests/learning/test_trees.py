"""Regression trees: how they grow, and what they say about their own rows."""

from dataclasses import replace

import numpy as np
import pytest

from mdncli.density.network import HIGHEST_INPUT, Forest
from mdncli.learning.splits import Split, StandardizedRows, parts_of_rows
from mdncli.learning.trees import Boosted, BoostingPlan, boost, forest_and_column, grow


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


# Boosted trees.


PLAN = BoostingPlan(60, 0.2, 4)


def boosted(rows: StandardizedRows, parts: np.ndarray, plan: BoostingPlan = PLAN) -> Boosted:
    result = boost(rows, parts, plan, np.random.default_rng(0))
    assert result is not None
    return result


def test_a_boosted_answer_is_the_sum_of_the_leaves_where_a_row_ends() -> None:
    rng = np.random.default_rng(0)
    rows = rows_of(rng.normal(size=(300, 4)), rng.normal(size=(300, 2)))
    trees = boosted(rows, five_parts(300), BoostingPlan(20, 0.3, 3)).trees
    fresh = rng.normal(size=(9001, 4))
    answers = trees(fresh)
    assert answers.shape == (9001, 2)
    for place in (0, 1, 4095, 4096, 9000):
        row, total = fresh[place].astype(np.float32), trees.base.copy()
        for feature, threshold, value in zip(
            trees.feature, trees.threshold, trees.value, strict=True
        ):
            digits = "".join(str(int(high)) for high in row[feature] > threshold)
            total += value[int(digits, 2)]
        np.testing.assert_allclose(answers[place], total, atol=1e-12)
    # A row's answer does not depend on the rows beside it.
    np.testing.assert_array_equal(trees(fresh[4000:5000]), answers[4000:5000])


def test_one_boosted_tree_takes_the_best_question() -> None:
    x = np.linspace(0.0, 1.0, 200)[:, None]
    rows = rows_of(np.column_stack([np.sin(50.0 * x), x]), (x > 0.7) * 1.0)
    trees = boosted(rows, five_parts(200), BoostingPlan(400, 0.5, 1)).trees
    # A tree of one level is one step, and only the second input has the step of the target.
    assert trees.feature[0, 0] == 1
    away = np.abs(x[:, 0] - 0.7) > 0.05
    np.testing.assert_allclose(trees(rows.inputs)[away], rows.y[away], atol=0.1)


def test_boosting_comes_as_near_as_that_of_another_library() -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    x, y = steps(800, 0.3)
    fresh_x, fresh_y = steps(4000, 0.0, seed=1)
    rows = rows_of(x, y)
    ours = boosted(rows, five_parts(800)).trees(fresh_x)[:, 0] * y.std() + y.mean()
    library = ensemble.HistGradientBoostingRegressor(max_iter=60, random_state=0)
    theirs = library.fit(x, y[:, 0]).predict(fresh_x)
    errors = [np.sqrt(np.mean((each - fresh_y[:, 0]) ** 2)) for each in (ours, theirs)]
    assert errors[0] < 1.1 * errors[1]


def test_what_boosted_trees_say_about_a_row_does_not_come_from_its_part() -> None:
    rng = np.random.default_rng(0)
    rows = rows_of(rng.normal(size=(1000, 3)), rng.normal(size=(1000, 1)))
    parts = five_parts(1000)
    result = boosted(rows, parts, BoostingPlan(60, 0.3, 5, patience=60))
    assert np.corrcoef(result.column[:, 0], rows.y[:, 0])[0, 1] < 0.1
    changed = replace(rows, y=np.where((parts == 3)[:, None], -rows.y, rows.y))
    other = boosted(changed, parts, BoostingPlan(1, 0.3, 5))
    same = boosted(rows, parts, BoostingPlan(1, 0.3, 5))
    # The base is the mean of all rows; it moves, but nothing else.
    shift = other.trees.base - same.trees.base
    third = parts == 3
    np.testing.assert_allclose(other.column[third], same.column[third] + shift, atol=0.02)


def test_boosted_trees_count_weights() -> None:
    x = np.repeat([[0.0], [1.0]], 200, axis=0)
    y = np.tile([[0.0], [1.0]], (200, 1))
    weights = np.tile([3.0, 1.0], 200)
    rows = StandardizedRows(x, y, weights, 1, [])
    trees = boosted(rows, five_parts(400), BoostingPlan(5, 0.5, 2)).trees
    np.testing.assert_allclose(trees(x), 0.25, atol=0.02)


def test_the_importance_is_that_of_the_inputs_that_matter() -> None:
    x, y = steps(800, 0.1)
    noise = np.random.default_rng(3).uniform(size=(800, 2))
    importance = boosted(rows_of(np.column_stack([noise, x]), y), five_parts(800)).importance
    assert importance.sum() == pytest.approx(1.0)
    assert importance[2:].sum() > 0.9


def test_hopeless_boosting_ends_early() -> None:
    x, y = steps(400, 0.1)
    rng = np.random.default_rng(0)
    assert boost(rows_of(x, y), five_parts(400), PLAN, rng, (10, 1e-6)) is None
    assert boost(rows_of(x, y), five_parts(400), PLAN, rng, (10, 1.0)) is not None


def test_equal_rows_cannot_be_parted() -> None:
    rows = rows_of(np.ones((100, 2)), np.random.default_rng(0).normal(size=(100, 1)))
    trees = boosted(rows, five_parts(100), BoostingPlan(3, 0.5, 2)).trees
    assert np.isfinite(trees.threshold).all()
    np.testing.assert_allclose(trees(rows.inputs), 0.0, atol=0.2)
