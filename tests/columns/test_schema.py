import numpy as np
import pytest

from mdncli.columns.kinds import Roles, choose_roles
from mdncli.columns.schema import Schema, learnable
from mdncli.errors import DataError
from mdncli.tables.table import read_table

TABLE = read_table(b"a,b,c,d\n1,2,3,4\n", "data.csv")


def test_the_last_column_is_the_target_and_the_rest_are_features() -> None:
    assert choose_roles(TABLE) == Roles(["a", "b", "c"], ["d"])


def test_roles_can_be_chosen() -> None:
    assert choose_roles(TABLE, targets=["a"]) == Roles(["b", "c", "d"], ["a"])
    assert choose_roles(TABLE, targets=["a", "b"], features=["d"]) == Roles(["d"], ["a", "b"])
    assert choose_roles(TABLE, ignore=["d"]) == Roles(["a", "b"], ["c"])


@pytest.mark.parametrize("choice", ["targets", "features", "ignore"])
def test_a_column_that_is_not_there_is_refused(choice: str) -> None:
    with pytest.raises(DataError, match="no column 'z'"):
        choose_roles(TABLE, **{choice: ["z"]})


def test_a_table_of_one_column_has_no_feature() -> None:
    with pytest.raises(DataError, match="no feature"):
        choose_roles(read_table(b"a\n1\n", "data.csv"))


def test_constant_features_are_dropped_and_a_constant_target_refused() -> None:
    x = np.column_stack([np.arange(20.0), np.full(20, 3.0), np.arange(20.0) ** 2])
    y = np.arange(20.0)[:, None]
    schema, kept = learnable("data.csv", x, y, Roles(["a", "b", "c"], ["d"]))
    assert schema.feature_names == ["a", "c"]
    assert kept == [0, 2]
    with pytest.raises(DataError, match="the target 'd' is 3 in every row"):
        learnable("data.csv", y, x[:, 1:2], Roles(["a"], ["d"]))
    with pytest.raises(DataError, match="every feature is constant"):
        learnable("data.csv", x[:, 1:2], y, Roles(["b"], ["d"]))


@pytest.mark.parametrize("rows", [0, 1, 9])
def test_fewer_than_ten_rows_are_refused(rows: int) -> None:
    values = np.arange(float(rows))[:, None]
    with pytest.raises(DataError, match=f"{rows} rows? (is|are) too few"):
        learnable("data.csv", values, values, Roles(["a"], ["d"]))


def test_a_schema_goes_through_plain_values() -> None:
    x, y = np.arange(20.0)[:, None] ** 3, np.arange(20.0)[:, None]
    schema, _ = learnable("data.csv", x, np.hstack([y, y]), Roles(["a"], ["b", "c"]))
    assert Schema.from_plain(schema.to_plain()) == schema
    assert schema.standardize_targets(np.hstack([y, y])).std() == pytest.approx(1.0)


def test_sigma_is_floored_by_the_step_or_as_given() -> None:
    rng = np.random.default_rng(0)
    x, continuous = rng.normal(size=(300, 1)), rng.normal(size=300)
    y = np.column_stack([np.round(continuous, 1), continuous])
    roles = Roles(["a"], ["stepped", "free"])
    schema, _ = learnable("data.csv", x, y, roles)
    stepped, free = schema.targets
    assert stepped.step == 0.1
    assert stepped.min_sigma == pytest.approx(0.1 / np.sqrt(2.0 * np.pi))
    assert free.step is None
    assert free.min_sigma == pytest.approx(1e-4 * continuous.std())
    assert schema.resolution is None
    given, _ = learnable("data.csv", x, y, roles, min_sigma={"free": 0.2})
    assert given.targets[1].min_sigma == 0.2
    assert given.targets[0] == stepped
    with pytest.raises(DataError, match="--min-sigma of 'free' is 1e-08: it must be at least"):
        learnable("data.csv", x, y, roles, min_sigma={"free": 1e-8})
