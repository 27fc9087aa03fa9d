"""A file is the table that it says it is, or is refused by place and remedy."""

from pathlib import Path

import numpy as np
import pytest
from odd_files import NO_NUMBERS, REFUSALS, TABLES

from mdncli.errors import DataError
from mdncli.tables.dialect import Dialect
from mdncli.tables.table import Table, read_table

ODD = Path(__file__).parent / "odd"


def odd(name: str, options: dict) -> Table:
    return read_table((ODD / name).read_bytes(), name, Dialect(**options))


def texts(table: Table) -> dict[str, list[str]]:
    return {name: column.to_pylist() for name, column in table.columns.items()}


@pytest.mark.parametrize(("name", "options", "expected"), TABLES, ids=[each[0] for each in TABLES])
def test_an_odd_file_is_a_table(name: str, options: dict, expected: dict) -> None:
    table = odd(name, options)
    assert texts(table) == expected
    assert table.names == [*expected]
    assert table.rows == len(next(iter(expected.values())))


@pytest.mark.parametrize(("name", "options", "words"), REFUSALS, ids=[each[0] for each in REFUSALS])
def test_a_broken_file_is_refused(name: str, options: dict, words: str) -> None:
    with pytest.raises(DataError) as refusal:
        odd(name, options)
    assert words in str(refusal.value)
    assert name in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "options", "words"), NO_NUMBERS, ids=[each[0] for each in NO_NUMBERS]
)
def test_a_cell_that_is_no_number_is_refused(name: str, options: dict, words: str) -> None:
    table = odd(name, options)
    with pytest.raises(DataError) as refusal:
        table.numbers([each for each in table.names if each != "note"])
    assert words in str(refusal.value)
    assert str(refusal.value).isprintable()


def test_every_odd_file_is_expected_to_be_something() -> None:
    named = [name for name, _, _ in (*TABLES, *REFUSALS, *NO_NUMBERS)]
    assert sorted([*named, "long-field.csv"]) == sorted(path.name for path in ODD.iterdir())
    assert len(named) >= 60


def test_a_field_may_be_long() -> None:
    assert texts(odd("long-field.csv", {})) == {"x": ["a" * 200_000], "y": ["2"]}
    # By the way of Python's own reader too, whose limit is shorter.
    assert texts(odd("long-field.csv", {"escape": "\\"}))["x"] == ["a" * 200_000]


def test_columns_come_in_the_order_asked_and_others_may_hold_anything() -> None:
    table = read_table(b'name,x,y\n"a, b",1,2\n"line\nbreak",3,4\n', "data.csv")
    assert table.numbers(["y", "x"]).tolist() == [[2.0, 1.0], [4.0, 3.0]]
    assert table.columns["name"].to_pylist() == ["a, b", "line\nbreak"]


@pytest.mark.parametrize("decimal", [".", ","])
def test_numbers_are_read_exactly(decimal: str) -> None:
    values = np.random.default_rng(0).normal(size=1000) * 10.0 ** np.arange(-250, 250, 0.5)
    lines = [repr(value).replace(".", decimal) for value in values.tolist()]
    content = "\n".join(["x", *lines]).encode()
    table = read_table(content, "data.csv", Dialect(";", decimal))
    assert table.numbers(["x"])[:, 0].tolist() == values.tolist()


def test_a_missing_column_is_named_with_its_nearest() -> None:
    table = read_table(b"height,weight\n1,2\n", "data.csv")
    with pytest.raises(DataError, match=r"no column 'hieght'\. Did you mean 'height'\?"):
        table.numbers(["hieght"])


@pytest.mark.parametrize("quoted_cell", [b"", b'"a"'])
def test_a_bad_row_beyond_the_first_block_is_counted_right(monkeypatch, quoted_cell) -> None:
    monkeypatch.setattr("mdncli.tables.csv_reader._BLOCK", 1024)
    content = b"x,y\n" + quoted_cell + b",2\n" + b"1,2\n" * 4999 + b"1,2,3\n" + b"1,2\n" * 100
    with pytest.raises(DataError, match="row 5001, line 5002: 3 fields"):
        read_table(content, "data.csv")


def test_a_row_longer_than_a_block_is_read(monkeypatch) -> None:
    monkeypatch.setattr("mdncli.tables.csv_reader._BLOCK", 1024)
    content = b"x,y\n1,2\n" + b"a" * 5000 + b",2\n"
    assert read_table(content, "data.csv").columns["x"].to_pylist() == ["1", "a" * 5000]


@pytest.mark.parametrize(
    "dialect", [Dialect(), Dialect(escape="\\"), Dialect(quote=None)], ids=["arrow", "csv", "plain"]
)
def test_rows_of_another_number_of_fields_are_left_out_and_counted(dialect: Dialect) -> None:
    content = b"x,y\n1,2\n3\n4,5\n6,7,8\n9,a\n"
    table = read_table(content, "d.csv", dialect, skip_bad_rows=True)
    assert texts(table) == {"x": ["1", "4", "9"], "y": ["2", "5", "a"]}
    assert (table.skipped, table.rows, table.rows_in_file) == (2, 3, 5)
    assert table.first_skipped == "d.csv, row 2, line 3: 1 field where the header has 2"
    # A row keeps the number that it has in the file.
    with pytest.raises(DataError, match="row 5, line 6, column 'y': 'a' is not"):
        table.numbers(["y"])


def test_a_file_that_grows_without_end_is_refused(monkeypatch) -> None:
    import gzip

    monkeypatch.setattr("mdncli.tables.decoding._MOST_BYTES", 1 << 23)
    bomb = gzip.compress(b"x,y\n" + b"1,2\n" * (1 << 22))
    with pytest.raises(DataError, match="grows beyond 0.00781 GiB when decompressed"):
        read_table(bomb, "bomb.csv.gz")
