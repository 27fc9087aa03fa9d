import numpy as np
import pytest

from mdncli.columns.dataset import Dataset
from mdncli.errors import DataError
from mdncli.learning.splits import split_dataset, split_rows


def test_one_member_holds_out_its_share() -> None:
    split = split_rows(200, 1, 0.1, np.random.default_rng(0))
    [train], [valid] = split.train, split.valid
    assert len(valid) == 20
    assert sorted([*train, *valid]) == list(range(200))


def test_a_share_of_zero_holds_out_nothing() -> None:
    split = split_rows(20, 1, 0.0, np.random.default_rng(0))
    assert len(split.valid[0]) == 0
    assert sorted(split.train[0]) == list(range(20))


@pytest.mark.parametrize(("members", "part"), [(2, 5), (5, 5), (8, 8)])
def test_members_hold_out_disjoint_parts(members: int, part: int) -> None:
    split = split_rows(400, members, 0.1, np.random.default_rng(0))
    assert not split.is_shared
    held_out = np.concatenate(split.valid)
    assert len(np.unique(held_out)) == len(held_out) == 400 * members // part
    for train, valid in zip(split.train, split.valid, strict=True):
        assert sorted([*train, *valid]) == list(range(400))


@pytest.mark.parametrize("members", [1, 3])
def test_a_group_is_never_split(members: int) -> None:
    rng = np.random.default_rng(1)
    groups = np.concatenate([np.arange(20), rng.integers(0, 20, 180)])
    split = split_rows(200, members, 0.2, np.random.default_rng(0), groups)
    for train, valid in zip(split.train, split.valid, strict=True):
        assert not set(groups[train]) & set(groups[valid])
        assert sorted([*train, *valid]) == list(range(200))
        assert len(valid) == pytest.approx(40, abs=12)


@pytest.mark.parametrize(
    ("sizes", "held_out"), [([90, 5, 5], 10), ([500, 300, 100, 100], 100), ([50, 50], 50)]
)
def test_groups_of_different_sizes_hold_out_about_the_share(sizes: list, held_out: int) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    split = split_rows(len(groups), 1, 0.1, np.random.default_rng(0), groups)
    assert len(split.valid[0]) == held_out


def test_a_single_group_is_refused() -> None:
    with pytest.raises(DataError, match="in one group"):
        split_rows(60, 4, 0.1, np.random.default_rng(0), np.zeros(60, dtype=int))


@pytest.mark.parametrize("groups", [None, np.repeat([0, 1, 2], [2, 4, 6])])
def test_more_members_than_rows_or_groups_take_the_parts_in_turn(groups) -> None:
    split = split_rows(12, 20, 0.1, np.random.default_rng(0), groups)
    assert len(split.train) == 20
    count = 12 if groups is None else 3
    np.testing.assert_array_equal(split.valid[0], split.valid[count])
    for train, valid in zip(split.train, split.valid, strict=True):
        assert len(valid) > 0
        assert sorted([*train, *valid]) == list(range(12))


def test_every_member_holds_out_the_users_validation_rows() -> None:
    x, y = np.zeros((30, 2)), np.zeros((30, 1))
    dataset = Dataset(x, y, validation=Dataset(np.ones((7, 2)), np.ones((7, 1))))
    every, split = split_dataset(dataset, 3, 0.1, np.random.default_rng(0))
    assert split.is_shared
    assert len(every.y) == 37
    for train, valid in zip(split.train, split.valid, strict=True):
        assert (every.x[valid] == 1.0).all()
        assert len(valid) == 7
        assert sorted(train) == list(range(30))
