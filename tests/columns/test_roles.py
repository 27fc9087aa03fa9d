"""The roles of columns, and the values that parameters give by the names of columns."""

from typing import Any

import pytest
from small_tables import table_of_text

from mdncli.columns.roles import (
    NamedValues,
    Roles,
    choose_roles,
    column_names,
    date_formats,
    probabilities,
)
from mdncli.errors import DataError, ParameterError
from mdncli.settings import FitOptions

TABLE = table_of_text("a,b,c,d\n1,2,3,4\n", "data.csv")


def roles(**parameters: Any) -> Roles:
    return choose_roles(TABLE, FitOptions(**parameters))


def test_the_last_column_is_the_target_and_the_rest_are_features() -> None:
    assert roles() == Roles(["a", "b", "c"], ["d"])


def test_roles_can_be_chosen() -> None:
    assert roles(target=["a"]) == Roles(["b", "c", "d"], ["a"])
    assert roles(target=["a", "b"], feature=["d"]) == Roles(["d"], ["a", "b"])
    assert roles(ignore=["d"]) == Roles(["a", "b"], ["c"])
    assert roles(target="a,b", feature="d") == Roles(["d"], ["a", "b"])


def test_weights_and_groups_are_neither_features_nor_targets() -> None:
    assert roles(weight="d") == Roles(["a", "b"], ["c"], "d")
    assert roles(target="d", group="a", weight="b") == Roles(["c"], ["d"], "b", "a")
    # Values of the user's own are no column.
    assert roles(weight=[1.0], group=[3]) == Roles(["a", "b", "c"], ["d"])
    for name in ("weight", "group"):
        with pytest.raises(
            ParameterError,
            match=f"'a' is used by {name}, so it cannot also be a target or a feature",
        ):
            roles(**{name: "a", "target": "a"})
        with pytest.raises(DataError, match="no column 'z'"):
            roles(**{name: "z"})


@pytest.mark.parametrize("choice", ["target", "feature", "ignore"])
def test_a_column_that_does_not_exist_is_an_error(choice: str) -> None:
    with pytest.raises(DataError, match="no column 'z'"):
        roles(**{choice: ["z"]})


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"target": "a", "feature": "a,b"}, "'a' cannot be both the target"),
        ({"feature": "d"}, "'d' cannot be both the target"),
        ({"target": "a", "ignore": "a"}, "left out"),
        ({"feature": "a", "ignore": "a"}, "a feature .* and left out"),
    ],
)
def test_a_column_has_one_role(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        roles(**parameters)


def test_a_feature_must_be_left() -> None:
    with pytest.raises(DataError, match="the only column is 'a'"):
        choose_roles(table_of_text("a\n1\n", "data.csv"), FitOptions())
    with pytest.raises(DataError, match="no feature"):
        roles(target=["a", "b", "c", "d"])


# Names.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", ["a"]),
        ("a,b", ["a,b"]),
        (["a,b", "a"], ["a,b", "a"]),
        ("b, a ,b", ["b", "a"]),
        (("a", "b"), ["a", "b"]),
        ((), []),
    ],
)
def test_names_are_split_at_commas_unless_a_column_has_them(
    value: Any, expected: list[str]
) -> None:
    assert column_names("target", value, ["a", "b", "a,b"]) == expected


@pytest.mark.parametrize("value", ["", " , ", ["a", ""]])
def test_an_empty_name_is_an_error(value: Any) -> None:
    with pytest.raises(ParameterError, match="target is empty"):
        column_names("target", value, ["a"])


def test_formats_of_dates() -> None:
    names = ["day", "a=b"]
    assert date_formats(["day=%d.%m.%Y", "a=b"], names) == {"day": "%d.%m.%Y", "a=b": ""}
    assert date_formats("day", names) == {"day": ""}
    assert date_formats({"day": "%Y", "a=b": ""}, names) == {"day": "%Y", "a=b": ""}
    with pytest.raises(ParameterError, match="datetime names 'day' twice"):
        date_formats(["day", "day=%Y"], names)


# Values by name.


FEATURES = NamedValues("at", "feature", ["a", "b", "x=y", "c,d"])
TARGETS = NamedValues("given", "target", ["u", "v"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a=1,b=red", {"a": "1", "b": "red"}),
        (["a=1", "b=2=3"], {"a": "1", "b": "2=3"}),
        (["x=y=4", "c,d=5"], {"x=y": "4", "c,d": "5"}),
        ({"b": 2.0, "a": "x"}, {"b": 2.0, "a": "x"}),
        ([], {}),
    ],
)
def test_values_by_name(given: Any, expected: dict[str, Any]) -> None:
    assert FEATURES.values(given) == expected


def test_values_that_are_not_by_name() -> None:
    with pytest.raises(ParameterError, match="at 'a': write it as NAME=VALUE"):
        FEATURES.values("a")
    with pytest.raises(ParameterError, match="at names 'a' twice"):
        FEATURES.values("a=1,a=2")
    for given in ("x=1", {"x": 1.0}):
        with pytest.raises(DataError, match="at: there is no feature 'x'"):
            FEATURES.values(given)


def test_numbers_by_target() -> None:
    lower = NamedValues("lower", "target", ["u", "v"])
    assert lower.numbers(None) == {}
    assert lower.numbers(0) == {"u": 0.0, "v": 0.0}
    assert lower.numbers({"v": 2}) == {"v": 2.0}
    assert lower.numbers("u=1,v=-2e3") == {"u": 1.0, "v": -2000.0}
    one = NamedValues("lower", "target", ["u"])
    assert one.numbers(["1.5"]) == one.numbers("u=1.5") == one.numbers(1.5) == {"u": 1.5}
    for bad in ("u=x", {"u": float("nan")}, "u=inf"):
        with pytest.raises(ParameterError, match="lower of 'u' is .*: it must be a finite number"):
            lower.numbers(bad)
    with pytest.raises(ParameterError, match="lower '1': there are 2 targets"):
        lower.numbers("1")


def test_known_values_of_targets() -> None:
    assert TARGETS.known_values("u=1.5,v") == {"u": 1.5, "v": None}
    assert TARGETS.known_values(["v"]) == {"v": None}
    assert TARGETS.known_values({"u": None}) == {"u": None}
    assert TARGETS.known_values(None) == {}
    by_row = TARGETS.known_values({"u": [1.0, 2.0]})
    assert by_row["u"] == [1.0, 2.0]
    with pytest.raises(ParameterError, match="given names 'u' twice"):
        TARGETS.known_values("u=1,u")
    with pytest.raises(ParameterError, match="given of 'u' is 'x'"):
        TARGETS.known_values("u=x")
    with pytest.raises(DataError, match=r"there is no target 'w'.*The targets are: 'u', 'v'"):
        TARGETS.known_values("w=1")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ()),
        (0.9, (0.9,)),
        ([0.05, 0.95, 0.05], (0.05, 0.95)),
        ("0.1,0.2", (0.1, 0.2)),
        (["0.1", "0.2,0.3"], (0.1, 0.2, 0.3)),
    ],
)
def test_probabilities(value: Any, expected: tuple[float, ...]) -> None:
    assert probabilities("quantiles", value) == expected


@pytest.mark.parametrize("value", [0, 1.0, -0.1, "x", "0.5,2", [float("nan")]])
def test_probabilities_are_between_0_and_1(value: Any) -> None:
    with pytest.raises(ParameterError, match="quantiles is"):
        probabilities("quantiles", value)
