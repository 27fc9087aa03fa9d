"""The description of a table, and the parameters with which `fit` can learn from it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tables import table_of_text

from mdncli.columns.checks import describe_table
from mdncli.columns.dataset import RowRules, measure_schema, training_dataset
from mdncli.columns.kinds import Layout, feature_readers
from mdncli.columns.roles import choose_roles
from mdncli.settings import FitOptions
from mdncli.tables.table import Table


def table(*columns: list[str], names: list[str] | None = None) -> Table:
    names = names or [f"c{i}" for i in range(len(columns))]
    lines = [",".join(f'"{cell}"' for cell in row) for row in zip(*columns, strict=True)]
    header = ",".join(f'"{name}"' for name in names)
    return table_of_text("\n".join([header, *lines]) + "\n")


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
        (["2026-01-01", "", "2025-12-31"], "date", 1, ["2026-01-01", "2025-12-31"]),
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
        [f"name {i}" for i in range(12)],
        [""] * 12,
        [*map(str, range(11)), ""],
        [*map(str, range(11)), "inf"],
    ]
)
NAME = st.text("ab ,'$\\é-=", min_size=1, max_size=6).filter(str.strip)


@pytest.mark.filterwarnings("ignore::mdncli.errors.MdnWarning")
@given(st.lists(st.tuples(NAME, CELLS), min_size=2, max_size=6, unique_by=lambda each: each[0]))
def test_the_parameters_make_a_table_learnable(columns: list[tuple[str, list[str]]]) -> None:
    names = [name for name, _ in columns]
    made = table(*(texts for _, texts in columns), names=names)
    parameters = describe_table(made).parameters
    if parameters is None:
        return
    assert set(parameters) <= {"target", "ignore"}
    options = FitOptions(**parameters)
    roles = choose_roles(made, options)
    layout = Layout(feature_readers(made, roles, options), roles.targets)
    dataset = training_dataset(made, layout, RowRules())
    schema, _ = measure_schema("t.csv", dataset, layout)
    # Nothing is left out, and no target is chosen, unless it is necessary.
    assert parameters.get("ignore", []) == [name for name, texts in columns if "inf" in texts]
    assert ("target" not in parameters) == (names[-1] == schema.target_names[0])
    targets = [name for name, texts in columns if texts[0].isdigit() and len({*texts}) > 2]
    assert schema.target_names[0] in [*targets, *(n for n, texts in columns if "0.5" in texts)]


def test_no_parameters_are_given_where_there_is_nothing_to_learn() -> None:
    assert describe_table(table(["a", "b"], ["c", "d"])).parameters is None
    assert describe_table(table(["1", "2"])).parameters is None
    assert describe_table(table(["1", "2"], ["3", "3"])).parameters is None
    assert describe_table(table(["1", "2"], ["3", "4"])).parameters == {}


def test_plain_values_have_every_attribute() -> None:
    description = describe_table(table(["1", "2"], ["3", "5"], ["a", "b"]))
    plain = description.to_plain()
    assert plain["rows"] == 2
    assert [column["name"] for column in plain["columns"]] == ["c0", "c1", "c2"]
    assert set(plain["columns"][0]) == {
        *("name", "kind", "missing", "distinct", "lowest", "median", "highest", "step", "examples")
    }
    assert description.parameters == {"target": ["c1"]}
