"""CSV files in blocks and records: long fields, bad rows, lines, and the state of the process."""

import csv
import itertools
from pathlib import Path

import pytest

from mdncli.errors import DataError
from mdncli.files import FileContent
from mdncli.tables.csv_reader import CsvText, quotes_surround_fields, records
from mdncli.tables.dialect import Dialect
from mdncli.tables.table import Table, read_table

ODD = Path(__file__).parent / "odd"


def read(content: bytes, dialect: Dialect | None = None, *, skip_bad_rows: bool = False) -> Table:
    return read_table(FileContent("d.csv", content), dialect, skip_bad_rows=skip_bad_rows)


def csv_text(content: bytes, **options: object) -> CsvText:
    return CsvText(FileContent("d.csv", content), Dialect(**options))


def texts(table: Table) -> dict[str, list[str]]:
    return {name: column.to_pylist() for name, column in table.columns.items()}


# By Arrow, and by the `csv` module, with its shorter limit on a field.
@pytest.mark.parametrize("dialect", [Dialect(), Dialect(escape="\\")], ids=["arrow", "csv"])
def test_field_may_be_long(dialect: Dialect) -> None:
    content = (ODD / "long-field.csv").read_bytes()
    assert texts(read(content, dialect)) == {"x": ["a" * 200_000], "y": ["2"]}


@pytest.mark.parametrize("quoted_cell", [b"", b'"a"'])
def test_bad_row_beyond_the_first_block_has_its_number(
    monkeypatch: pytest.MonkeyPatch, quoted_cell: bytes
) -> None:
    monkeypatch.setattr("mdncli.tables.csv_reader._BLOCK", 1024)
    content = b"x,y\n" + quoted_cell + b",2\n" + b"1,2\n" * 4999 + b"1,2,3\n" + b"1,2\n" * 100
    with pytest.raises(DataError, match="row 5001, line 5002: 3 fields"):
        read(content)


def test_row_longer_than_a_block_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdncli.tables.csv_reader._BLOCK", 1024)
    content = b"x,y\n1,2\n" + b"a" * 5000 + b",2\n"
    assert texts(read(content))["x"] == ["1", "a" * 5000]


@pytest.mark.parametrize(
    "dialect", [Dialect(), Dialect(escape="\\"), Dialect(quote=None)], ids=["arrow", "csv", "plain"]
)
def test_bad_rows_are_left_out_and_counted(dialect: Dialect) -> None:
    table = read(b"x,y\n1,2\n3\n4,5\n6,7,8\n9,a\n", dialect, skip_bad_rows=True)
    assert texts(table) == {"x": ["1", "4", "9"], "y": ["2", "5", "a"]}
    assert (table.skipped, table.rows, table.rows_in_file) == (2, 3, 5)
    assert table.first_skipped == "d.csv, row 2, line 3: 1 field where the header has 2"
    # A row keeps the number that it has in the file.
    with pytest.raises(DataError, match="row 5, line 6, column 'y': 'a' is not"):
        table.numbers(["y"])


def test_all_records_come_with_their_lines() -> None:
    count = 20_000
    content = b"".join(b'%d,"a\nb"\n\n' % number for number in range(count))
    read_records = list(records(csv_text(content)))
    assert [line for line, _ in read_records] == [1 + 3 * row for row in range(count)]
    assert [fields for _, fields in read_records] == [[str(n), "a\nb"] for n in range(count)]


@pytest.mark.parametrize("bad", [b'1,"2"x\n', b"1,\xff\n"], ids=["quotes", "encoding"])
def test_error_comes_after_all_records_before_it(bad: bytes) -> None:
    good = 5000
    # Decoding is ahead of the records by less than 10,000 bytes.
    padding = b"" if b"\xff" not in bad else b"1,2\n" * 2500
    text = csv_text(b"1,2\n" * good + padding + bad)
    read_records = records(text)
    assert len(list(itertools.islice(read_records, good))) == good
    with pytest.raises((DataError, UnicodeDecodeError)):
        list(read_records)


@pytest.mark.parametrize("options", [{}, {"comment": "#"}], ids=["plain", "comments"])
def test_field_limit_of_the_process_stays_as_it_was(options: dict) -> None:
    before = csv.field_size_limit(1234)
    try:
        text = csv_text(b'1,"2"\n' * 10_000, **options)
        first, second = records(text), records(text)
        # Neither generator is finished, and they take turns.
        for _ in range(50):
            next(first)
            assert csv.field_size_limit() == 1234
            next(second)
            assert csv.field_size_limit() == 1234
        first.close()
        next(second)
        assert csv.field_size_limit() == 1234
        with pytest.raises(DataError):
            list(records(csv_text(b'1,"2"x\n', **options)))
        assert csv.field_size_limit() == 1234
    finally:
        csv.field_size_limit(before)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'"a",1\n', True),
        (b'"a ""b""",1\n', True),
        (b'1,"a\nb"', True),
        (b'a"b,1\n', False),
        (b'"a"b,1\n', False),
        (b'1,"a\n', False),
        (b"a,1\n", True),
        ('\ufeff"a",1\n'.encode(), True),
    ],
)
@pytest.mark.parametrize("at_once", [1, 3, 1 << 24])
def test_quotes_that_surround_whole_fields_are_recognised(
    monkeypatch: pytest.MonkeyPatch, content: bytes, expected: bool, at_once: int
) -> None:
    monkeypatch.setattr("mdncli.tables.csv_reader._BYTES_AT_ONCE", at_once)
    assert quotes_surround_fields(content, ",", '"') is expected
    assert quotes_surround_fields(content, ",", None)
