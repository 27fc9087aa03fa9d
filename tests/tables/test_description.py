"""What a table is said to hold, and which options would make it learnable."""

import shlex

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdncli.commands.options import named_columns
from mdncli.tables.description import describe_table
from mdncli.tables.reader import Table, read_table
from mdncli.tables.roles import choose_roles
from mdncli.tables.schema import learnable


def table(*columns: list[str], names: list[str] | None = None) -> Table:
    names = names or [f"c{i}" for i in range(len(columns))]
    lines = [",".join(f'"{cell}"' for cell in row) for row in zip(*columns, strict=True)]
    header = ",".join(f'"{name}"' for name in names)
    return read_table("\n".join([header, *lines]).encode() + b"\n", "t.csv")


@pytest.mark.parametrize(
    ("texts", "kind", "missing", "examples"),
    [
        (["1", " 2 ", "3e4"], "number", 0, []),
        (["1", "", "NaN"], "number", 2, []),
        (["1", "n/a", "null"], "number", 2, []),
        (["a", "b", "a"], "text", 0, ["a", "b"]),
        (["a", "", "None"], "text", 1, ["a", "None"]),
        (["1", "a", ""], "mixed", 1, ["a"]),
        (["1", "inf", "-Infinity"], "mixed", 0, ["inf", "-Infinity"]),
        (["1", "1_000", "1,5"], "mixed", 0, ["1_000", "1,5"]),
        (["", " "], "empty", 2, []),
        (["", "NA"], "text", 1, ["NA"]),
        (["1", "NAN", "+nan"], "mixed", 0, ["NAN", "+nan"]),
        (["f", "e", "d", "c", "b", "a"], "text", 0, ["f", "e", "d", "c", "b"]),
    ],
)
def test_kinds(texts: list[str], kind: str, missing: int, examples: list[str]) -> None:
    [column] = describe_table(table(texts)).columns
    assert (column.kind, column.missing, column.examples) == (kind, missing, examples)
    assert column.distinct == len(set(texts))


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20))
def test_ranges_are_of_the_numbers_alone(values: list[float]) -> None:
    texts = [repr(value) for value in values]
    [column] = describe_table(table([*texts, "", "nan"])).columns
    ends = column.lowest, column.median, column.highest
    assert ends == (min(values), float(np.median(values)), max(values))
    assert column.missing == 2


def test_steps() -> None:
    columns = [["0.5", "2", "0.5", "3.5"], ["0.1", "0.25", "3", "7"], ["4"] * 4, ["", "", "1", ""]]
    steps = [column.step for column in describe_table(table(*columns)).columns]
    assert steps == [1.5, None, None, None]


CELLS = st.sampled_from(
    [
        [str(i * i % 11) for i in range(12)],
        [f"{i}.5" for i in range(12)],
        ["3"] * 12,
        ["red", "blue"] * 6,
        [""] * 12,
        [*map(str, range(11)), ""],
        [*map(str, range(11)), "inf"],
    ]
)
NAME = st.text("ab ,'$\\é-=", min_size=1, max_size=6).filter(str.strip)


@given(st.lists(st.tuples(NAME, CELLS), min_size=2, max_size=6, unique_by=lambda each: each[0]))
def test_the_options_make_a_table_learnable(columns: list[tuple[str, list[str]]]) -> None:
    varied = [name for name, texts in columns if len({*texts}) > 2 and texts[11] not in ("", "inf")]
    if len(varied) < 2:
        return
    names = [name for name, _ in columns]
    made = table(*(texts for _, texts in columns), names=names)
    given_: dict[str, list[str]] = {"-t": [], "--ignore": []}
    for option in describe_table(made).options:
        flag, column = shlex.split(option)
        given_[flag].append(column)
    roles = choose_roles(
        made,
        targets=named_columns(given_["-t"], names),
        ignore=named_columns(given_["--ignore"], names),
    )
    x, y = made.numbers(roles.features), made.numbers(roles.targets)
    schema, _ = learnable("t.csv", x, y, roles)
    assert {*schema.feature_names, *schema.target_names} == set(varied)
    # Nothing is left out, and no target chosen, without need.
    assert set(given_["--ignore"]) == {
        name for name, texts in columns if name not in varied and texts != ["3"] * 12
    }
    assert (given_["-t"] == []) == (names[-1] == varied[-1])


def test_plain_values_have_every_attribute() -> None:
    plain = describe_table(table(["1", "2"], ["3", "5"], ["a", "b"])).to_plain()
    assert plain["rows"] == 2
    assert [column["name"] for column in plain["columns"]] == ["c0", "c1", "c2"]
    assert plain["options"] == ["-t c1", "--ignore c2"]
