import csv
import io

import numpy as np

from mdncli.tables.table import read_table
from mdncli.tables.writer import picked, write_csv


def written(*chunks: dict) -> bytes:
    stream = io.BytesIO()
    write_csv(stream, chunks)
    return stream.getvalue()


def test_numbers_read_back_exactly_and_are_short() -> None:
    values = np.array([0.1, 1.0 / 3.0, 5.0, 1e-300, -1.7e308, 123456789.125])
    content = written({"x": values})
    assert content.startswith(b"x\n0.1\n0.3333333333333333\n5\n")
    assert read_table(content, "").numbers(["x"])[:, 0].tolist() == values.tolist()


def test_pieces_stand_one_below_another_under_one_header() -> None:
    content = written({"x": np.array([1.0])}, {"x": np.empty(0)}, {"x": np.array([2.0])})
    assert content == b"x\n1\n2\n"


def test_no_rows_leave_a_header() -> None:
    assert written({"x": np.empty(0), "y": np.empty(0)}) == b"x,y\n"


def test_text_is_carried_as_it_was_and_quoted_only_where_needed() -> None:
    text = b'id,note\n007,plain\n0.10,"with, comma"\n 1 ,"with ""quotes"" and\nbreak"\n'
    table = read_table(text, "")
    rows = np.array([2, 0, 0])
    chunk = {name: picked(values, rows) for name, values in table.columns.items()}
    content = written({**chunk, "y": np.array([1.5, 2.0, 0.1])})
    assert list(csv.reader(io.StringIO(content.decode(), newline=""))) == [
        ["id", "note", "y"],
        [" 1 ", 'with "quotes" and\nbreak', "1.5"],
        ["007", "plain", "2"],
        ["007", "plain", "0.1"],
    ]
    assert b"\n007,plain,2\n" in content


def test_a_header_with_a_comma_is_quoted() -> None:
    assert written({"a,b": np.array([1.0])}) == b'"a,b"\n1\n'
