import numpy as np
import pytest

from mdncli.errors import DataError
from mdncli.tables.reader import read_table


def read(content: bytes) -> list[list[float]]:
    table = read_table(content, "data.csv")
    return table.numbers(table.names).tolist()


@pytest.mark.parametrize(
    "content",
    [
        b"x,y\n1,2\n3,4\n",
        b"x,y\n1,2\n3,4",
        b"x,y\r\n1,2\r\n3,4\r\n",
        b"x,y\r1,2\r3,4\r",
        b"\xef\xbb\xbfx,y\n1,2\n3,4\n",
        b'"x","y"\n"1","2"\n"3","4"\n',
        b"x,y\n 1 ,+2\n\t3,4.\n",
        b"\n\nx,y\n\n1,2\n\n3,4\n\n",
        b"x,y\n1e0,20e-1\n3.0,0.4E+1\n",
    ],
)
def test_the_same_table_in_many_dresses(content: bytes) -> None:
    table = read_table(content, "data.csv")
    assert table.names == ["x", "y"]
    assert table.rows == 2
    assert table.numbers(["x", "y"]).tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_columns_come_in_the_order_asked_and_others_may_hold_anything() -> None:
    table = read_table(b'name,x,y\n"a, b",1,2\n"line\nbreak",3,4\n', "data.csv")
    assert table.numbers(["y", "x"]).tolist() == [[2.0, 1.0], [4.0, 3.0]]
    assert table.columns["name"].to_pylist() == ["a, b", "line\nbreak"]


def test_numbers_are_read_exactly() -> None:
    values = np.random.default_rng(0).normal(size=1000) * 10.0 ** np.arange(-250, 250, 0.5)
    content = b"x\n" + "\n".join(map(repr, values.tolist())).encode()
    assert [row[0] for row in read(content)] == values.tolist()


@pytest.mark.parametrize("content", [b"x,y\n", b"x,y", b"x,y\r\n"])
def test_a_header_alone_is_a_table_of_no_rows(content: bytes) -> None:
    table = read_table(content, "data.csv")
    assert table.rows == 0
    assert table.numbers(["x", "y"]).shape == (0, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "data.csv: the file is empty"),
        (b"\n\n", "data.csv: the file is empty"),
        (b"x,y\n1,2\n3\n", "row 2: 1 field where the header has 2"),
        (b"x,y\n1,2\n3,4,5\n", "row 2: 3 fields where the header has 2"),
        (b"x,y\n1,2,\n3,4,\n", "row 1: 3 fields.*every row end with a comma"),
        (b"x,y,\n1,2,\n3,4,\n", "column 3 has no name.*every row end with a comma"),
        (b"x,x\n1,2\n", "two columns are named 'x'"),
        (b" ,y\n1,2\n", "column 1 has no name"),
        (b"x,y\n1,2\n3,abc\n", "row 2, column 'y': 'abc' is not a number. Correct the cell"),
        (b"x,y\n1,2\n,4\n", "row 2, column 'x': the cell is empty"),
        (b"x,y\n1,2\n3,NaN\n", "row 2, column 'y': 'NaN' stands for a missing value"),
        (b"x,y\ninf,2\n", "row 1, column 'x': 'inf' is not a finite number"),
        (b"x,y\n1,-1e999\n", "row 1, column 'y': '-1e999' is not a finite number"),
        (b"x,y\n1_000,2\n", "row 1, column 'x': '1_000' is not a number"),
        (b"x,y\n1,2\n3,\xff\n", "line 3: this is not UTF-8"),
        ("x,y\n1,2\n".encode("utf-16"), "null bytes"),
        (b"x,y\n1,a\n2,b\n3,c\n", "row 1, column 'y': 'a' is not a number. 2 more cells"),
        (b"x,y\n1,\x1b[31m\n", r"'\\x1b\[31m' is not a number"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_by_place(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"(?s){message}"):
        read(content)


def test_a_missing_column_is_named_with_its_nearest() -> None:
    table = read_table(b"height,weight\n1,2\n", "data.csv")
    with pytest.raises(DataError, match=r"no column 'hieght'\. Did you mean 'height'\?"):
        table.numbers(["hieght"])


def test_a_bad_row_beyond_the_first_block_is_counted_right(monkeypatch) -> None:
    monkeypatch.setattr("mdncli.tables.reader._BLOCK", 1024)
    content = b"x,y\n" + b"1,2\n" * 5000 + b"1,2,3\n" + b"1,2\n" * 100
    with pytest.raises(DataError, match="row 5001: 3 fields"):
        read(content)
