import numpy as np
import pytest

from mdncli.errors import DataError
from mdncli.learning.splits import Examples, divided, split


def test_one_member_holds_out_its_share() -> None:
    parts = split(200, 1, 0.1, np.random.default_rng(0))
    [train], [valid] = parts.train, parts.valid
    assert len(valid) == 20
    assert sorted([*train, *valid]) == list(range(200))


def test_nothing_is_held_out_when_not_asked_for() -> None:
    parts = split(20, 1, 0.0, np.random.default_rng(0))
    assert len(parts.valid[0]) == 0
    assert sorted(parts.train[0]) == list(range(20))


@pytest.mark.parametrize(("members", "part"), [(2, 5), (5, 5), (8, 8)])
def test_members_hold_out_disjoint_parts(members: int, part: int) -> None:
    parts = split(400, members, 0.1, np.random.default_rng(0))
    assert not parts.shared
    held_out = np.concatenate(parts.valid)
    assert len(np.unique(held_out)) == len(held_out) == 400 * members // part
    for train, valid in zip(parts.train, parts.valid, strict=True):
        assert sorted([*train, *valid]) == list(range(400))


@pytest.mark.parametrize("members", [1, 3])
def test_a_group_is_never_split(members: int) -> None:
    rng = np.random.default_rng(1)
    groups = np.concatenate([np.arange(20), rng.integers(0, 20, 180)])
    parts = split(200, members, 0.2, np.random.default_rng(0), groups)
    for train, valid in zip(parts.train, parts.valid, strict=True):
        assert not set(groups[train]) & set(groups[valid])
        assert sorted([*train, *valid]) == list(range(200))
        assert len(valid) == pytest.approx(40, abs=12)


@pytest.mark.parametrize(
    ("sizes", "held_out"), [([90, 5, 5], 10), ([500, 300, 100, 100], 100), ([50, 50], 50)]
)
def test_groups_of_unlike_sizes_hold_out_about_the_share(sizes: list, held_out: int) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    parts = split(len(groups), 1, 0.1, np.random.default_rng(0), groups)
    assert len(parts.valid[0]) == held_out


def test_one_group_alone_is_refused() -> None:
    with pytest.raises(DataError, match="one group alone"):
        split(60, 4, 0.1, np.random.default_rng(0), np.zeros(60, dtype=int))


@pytest.mark.parametrize("groups", [None, np.repeat([0, 1, 2], [2, 4, 6])])
def test_more_members_than_rows_or_groups_take_the_parts_in_turn(groups) -> None:
    parts = split(12, 20, 0.1, np.random.default_rng(0), groups)
    assert len(parts.train) == 20
    count = 12 if groups is None else 3
    np.testing.assert_array_equal(parts.valid[0], parts.valid[count])
    for train, valid in zip(parts.train, parts.valid, strict=True):
        assert len(valid) > 0
        assert sorted([*train, *valid]) == list(range(12))


def test_own_rows_are_held_out_by_every_member() -> None:
    x, y = np.zeros((30, 2)), np.zeros((30, 1))
    examples = Examples(x, y, own=Examples(np.ones((7, 2)), np.ones((7, 1))))
    every, parts = divided(examples, 3, 0.1, np.random.default_rng(0))
    assert parts.shared
    assert len(every.y) == 37
    for train, valid in zip(parts.train, parts.valid, strict=True):
        assert (every.x[valid] == 1.0).all()
        assert len(valid) == 7
        assert sorted(train) == list(range(30))
