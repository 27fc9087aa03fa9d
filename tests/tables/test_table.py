"""A file is either read as the table that it holds, or refused with the place and the remedy."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from odd_files import BAD_CELLS, BROKEN_FILES, TABLES

from mdncli.errors import DataError, with_parameters
from mdncli.files import FileContent
from mdncli.tables.cells import TextColumns, text_column
from mdncli.tables.dialect import Dialect
from mdncli.tables.table import Fault, Table, read_table

ODD = Path(__file__).parent / "odd"


def read(content: bytes, **options: object) -> Table:
    return read_table(FileContent("data.csv", content), Dialect(**options))


def odd(name: str, options: dict) -> Table:
    return read_table(FileContent(name, (ODD / name).read_bytes()), Dialect(**options))


def texts(table: Table) -> dict[str, list[str]]:
    return {name: column.to_pylist() for name, column in table.columns.items()}


@pytest.mark.parametrize(("name", "options", "expected"), TABLES, ids=[each[0] for each in TABLES])
def test_odd_file_is_read(name: str, options: dict, expected: dict) -> None:
    table = odd(name, options)
    assert texts(table) == expected
    assert [*table.originals] == [*expected]
    assert table.names == [name for name in expected if name]
    assert table.rows == len(next(iter(expected.values())))


@pytest.mark.parametrize(
    ("name", "options", "message"), BROKEN_FILES, ids=[each[0] for each in BROKEN_FILES]
)
def test_broken_file_is_refused(name: str, options: dict, message: str) -> None:
    with pytest.raises(DataError) as error:
        odd(name, options)
    assert message in str(error.value)
    assert name in str(error.value)
    assert "--" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "options", "message"), BAD_CELLS, ids=[each[0] for each in BAD_CELLS]
)
def test_cell_that_is_not_a_number_is_refused(name: str, options: dict, message: str) -> None:
    table = odd(name, options)
    with pytest.raises(DataError) as error:
        table.numbers([each for each in table.names if each != "note"])
    assert message in str(error.value)
    assert str(error.value).isprintable()
    assert "--" not in str(error.value)


def test_every_odd_file_has_an_expectation() -> None:
    names = [name for name, _, _ in (*TABLES, *BROKEN_FILES, *BAD_CELLS)]
    assert sorted([*names, "long-field.csv"]) == sorted(path.name for path in ODD.iterdir())


def test_messages_mention_parameters_that_a_command_can_rewrite() -> None:
    with pytest.raises(DataError) as error:
        odd("too-few-fields.csv", {})
    message = with_parameters(error.value.message, lambda name, value: f"<{name}|{value}>")
    assert message.endswith("To leave out such rows, use <on_bad_rows|'skip'>.")
    with pytest.raises(DataError) as error:
        odd("decimal-comma.csv", {"delimiter": ";"}).numbers(["x", "y"])
    message = with_parameters(error.value.message, lambda name, value: f"<{name}|{value}>")
    assert "it looks like a decimal comma (use <decimal|','>)" in message


def test_columns_come_in_the_given_order_and_others_may_hold_anything() -> None:
    table = read(b'name,x,y\n"a, b",1,2\n"line\nbreak",3,4\n')
    assert table.numbers(["y", "x"]).tolist() == [[2.0, 1.0], [4.0, 3.0]]
    assert table.columns["name"].to_pylist() == ["a, b", "line\nbreak"]


@pytest.mark.parametrize("decimal", [".", ","])
def test_numbers_are_read_exactly(decimal: str) -> None:
    values = np.random.default_rng(0).normal(size=1000) * 10.0 ** np.arange(-250, 250, 0.5)
    lines = [repr(value).replace(".", decimal) for value in values.tolist()]
    table = read("\n".join(["x", *lines]).encode(), delimiter=";", decimal=decimal)
    assert table.numbers(["x"])[:, 0].tolist() == values.tolist()


def test_missing_column_is_named_with_its_nearest() -> None:
    table = read(b"height,weight\n1,2\n")
    with pytest.raises(DataError, match=r"no column 'hieght'\. Did you mean 'height'\?") as error:
        table.numbers(["hieght"])
    assert "delimiter" not in str(error.value)


def test_missing_column_of_a_table_with_one_column_mentions_the_delimiter() -> None:
    table = read(b"height;weight\n1;2\n")
    with pytest.raises(DataError) as error:
        table.require(["weight"])
    assert str(error.value).endswith("If its cells are separated by another mark, set delimiter.")


@pytest.mark.parametrize(
    ("values", "expected", "text"),
    [
        (pa.array([1.5, None, float("nan")]), [1.5, np.nan, np.nan], ["1.5", "", "nan"]),
        (pa.array([1.5, 2.0], pa.float32()), [1.5, 2.0], ["1.5", "2"]),
        (pa.array([3, None, -1], pa.int16()), [3.0, np.nan, -1.0], ["3", "", "-1"]),
        (pa.array([2**60, None]), [2.0**60, np.nan], [str(2**60), ""]),
        (pa.array([True, None, False]), [1.0, np.nan, 0.0], ["true", "", "false"]),
        (pa.array([], pa.float64()), [], []),
    ],
    ids=["float", "float32", "int", "large int", "bool", "no rows"],
)
def test_typed_column_is_read_as_numbers_without_text(
    values: pa.Array, expected: list[float], text: list[str]
) -> None:
    originals = {"x": pa.chunked_array([values[:1], values[1:]])}
    table = Table("the rows", TextColumns(originals), originals)
    cells = table.cells("x")
    np.testing.assert_array_equal(cells.values, expected)
    np.testing.assert_array_equal(cells.missing, np.isnan(expected))
    assert not cells.text.any()
    # The numbers do not come from the text.
    other = Table("the rows", {"x": text_column(["?"] * max(1, len(values)))}, originals)
    np.testing.assert_array_equal(other.cells("x").values, expected)
    assert table.columns["x"].to_pylist() == text


def test_own_missing_values_apply_to_typed_columns_too() -> None:
    originals = {"x": pa.chunked_array([pa.array([1.0, -9.0])])}
    table = Table("the rows", TextColumns(originals), originals, Dialect(na=("-9",)))
    np.testing.assert_array_equal(table.cells("x").missing, [False, True])


def test_a_typed_column_is_found_without_a_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(_: object) -> None:
        raise AssertionError("the column is converted")

    monkeypatch.setattr("mdncli.tables.cells.as_text", convert)
    columns = TextColumns({"x": pa.chunked_array([pa.array([1.0, 2.0])])})
    assert "x" in columns
    assert "y" not in columns


def test_declared_kinds_are_empty_unless_the_source_declares_them() -> None:
    assert read(b"x,y\n1,2\n").declared == {}
    declared = {"x": "category"}
    assert Table("rows", {"x": text_column(["a"])}, declared=declared).declared == declared


@pytest.mark.parametrize("name", ["lf.csv", "plain.csv.gz", "typed.parquet"])
def test_content_sha256_is_that_of_the_bytes_of_the_file(name: str) -> None:
    expected = hashlib.sha256((ODD / name).read_bytes()).hexdigest()
    assert odd(name, {}).content_sha256 == expected


def test_table_without_a_file_has_no_content_sha256() -> None:
    assert Table("rows", {"x": text_column(["1"])}).content_sha256 == ""


def test_codes_number_the_distinct_texts() -> None:
    table = read(b"g,y\nb,1\na,2\nb,3\n,4\n")
    assert table.codes("g").tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("it is odd", "it is odd"), (lambda cell: f"{cell} is odd", "a is odd")],
    ids=["phrase", "function"],
)
def test_faults_are_described_in_the_order_of_rows(
    reason: str | Callable[[str], str], expected: str
) -> None:
    table = read(b'x,y\n"1\n2",3\n4,a\n5,6\n')
    faults = [Fault("y", np.array([1]), reason), Fault("x", np.array([0, 2]), "no")]
    assert table.describe_faults(faults, 2) == [
        "data.csv, row 1, line 2, column 'x': no",
        f"data.csv, row 2, line 4, column 'y': {expected}",
    ]
    assert table.fault_message(faults, "Correct them.") == (
        "data.csv, row 1, line 2, column 'x': no; "
        f"row 2, line 4, column 'y': {expected}; row 3, line 5, column 'x': no. Correct them."
    )


def test_table_without_a_file_has_rows_without_lines() -> None:
    table = Table("the rows", {"x": text_column(["1", "a"])})
    with pytest.raises(DataError, match=r"^the rows, row 2, column 'x': 'a' is not a number"):
        table.numbers(["x"])


def test_reading_a_csv_file_does_not_import_pandas_or_parquet() -> None:
    code = (
        "import sys\n"
        "from mdncli.files import FileContent\n"
        "from mdncli.tables.table import read_table\n"
        "read_table(FileContent('d.csv', b'x,g\\n1,a\\n')).numbers(['x'])\n"
        "print(sorted({'pandas', 'pyarrow.parquet', 'torch'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
