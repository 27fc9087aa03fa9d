"""Tables are written so that they read back."""

import csv
import io

import numpy as np
import pyarrow as pa
import pytest

from mdncli.errors import DataError
from mdncli.files import FileContent
from mdncli.tables.cells import text_column
from mdncli.tables.table import read_table
from mdncli.tables.writer import take_rows, write_csv, write_table


def written(*chunks: dict) -> bytes:
    stream = io.BytesIO()
    write_csv(stream, chunks)
    return stream.getvalue()


def test_numbers_read_back_exactly_and_are_short() -> None:
    values = np.array([0.1, 1.0 / 3.0, 5.0, 1e-300, -1.7e308, 123456789.125])
    content = written({"x": values})
    assert content.startswith(b"x\n0.1\n0.3333333333333333\n5\n")
    assert read_table(FileContent("", content)).numbers(["x"])[:, 0].tolist() == values.tolist()


def test_tables_are_written_one_below_another_under_one_header() -> None:
    content = written({"x": np.array([1.0])}, {"x": np.empty(0)}, {"x": np.array([2.0])})
    assert content == b"x\n1\n2\n"


def test_table_without_rows_has_a_header() -> None:
    assert written({"x": np.empty(0), "y": np.empty(0)}) == b"x,y\n"


def test_text_is_carried_and_quoted_only_where_needed() -> None:
    text = b'id,note\n007,plain\n0.10,"with, comma"\n 1 ,"with ""quotes"" and\nbreak"\n'
    table = read_table(FileContent("", text))
    rows = np.array([2, 0, 0])
    chunk = {name: take_rows(values, rows) for name, values in table.columns.items()}
    content = written({**chunk, "y": np.array([1.5, 2.0, 0.1])})
    assert list(csv.reader(io.StringIO(content.decode(), newline=""))) == [
        ["id", "note", "y"],
        [" 1 ", 'with "quotes" and\nbreak', "1.5"],
        ["007", "plain", "2"],
        ["007", "plain", "0.1"],
    ]
    assert b"\n007,plain,2\n" in content


def test_a_cell_with_any_line_end_is_one_cell_again() -> None:
    cells = ["a\rb", "a\nb", "a\r\nb", "plain", "\r"]
    stream = io.BytesIO()
    write_table(stream, [{"x": np.arange(5.0), "note": text_column(cells)}])
    back = read_table(FileContent("t.csv", stream.getvalue()))
    assert back.columns["note"].to_pylist() == cells
    assert b"plain\n" in stream.getvalue()


def test_header_with_a_comma_is_quoted() -> None:
    assert written({"a,b": np.array([1.0])}) == b'"a,b"\n1\n'


def test_missing_numbers_are_empty_cells_and_never_empty_lines() -> None:
    values = np.array([1.0, np.nan])
    assert written({"x": values, "y": values}) == b"x,y\n1,1\n,\n"
    assert written({"x": values}) == b'x\n1\n""\n'


def test_tabs_need_no_quotes_around_commas() -> None:
    stream = io.BytesIO()
    columns = {"x": pa.chunked_array([pa.array(["a, b", "c\td"])]), "n": np.array([1, 2])}
    write_table(stream, [columns], "out.tsv")
    assert stream.getvalue() == b'x\tn\na, b\t1\n"c\td"\t2\n'


def test_column_without_text_is_refused_before_anything_is_written() -> None:
    stream = io.BytesIO()
    with pytest.raises(DataError, match="column 'deep' holds list<.*>, which cannot be written"):
        write_csv(stream, [{"deep": pa.chunked_array([pa.array([[1], [2]])])}])
    assert stream.getvalue() == b""


@pytest.mark.parametrize("special", [",", '"', "\n"])
def test_only_the_part_of_a_column_that_is_written_decides_about_quotes(special: str) -> None:
    texts = pa.array(["a", f"b{special}c", "d", None, "é"])
    without = pa.chunked_array([texts[:1], texts[2:]])
    numbers = np.arange(4.0)
    assert written({"t": without, "n": numbers}) == "t,n\na,0\nd,1\n,2\né,3\n".encode()
    rows = list(csv.reader(io.StringIO(written({"t": texts[1:3]}).decode(), newline="")))
    assert rows == [["t"], [f"b{special}c"], ["d"]]
