"""The sniffer finds how a file is written."""

import gzip
from dataclasses import replace

import pytest

from mdncli.files import FileContent
from mdncli.tables.dialect import Dialect
from mdncli.tables.sniffer import TableFormat, sniff
from mdncli.tables.table import read_table

PLAIN = TableFormat(Dialect(), byte_order_mark=False, line_ends="LF", separator=",")


def with_dialect(separator: str = ",", **values: object) -> TableFormat:
    return replace(PLAIN, dialect=Dialect(**values), separator=separator)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("d.csv", b"x,y\n1,2\n", PLAIN),
        ("d.csv", b"x,y\r\n1,2\r\n", replace(PLAIN, line_ends="CRLF")),
        ("d.csv", b"x,y\n1,2\r3,4\n", replace(PLAIN, line_ends="LF and CR")),
        ("d.csv", b"\xef\xbb\xbfx,y\n1,2\n", replace(PLAIN, byte_order_mark=True)),
        ("d.tsv", b"x\ty\n1\t2\n", replace(PLAIN, separator="\t")),
        ("d.tsv", b"x,y\n1,2\n", with_dialect(delimiter=",")),
        ("d.csv", b"x;y\n1,5;2\n", with_dialect(";", delimiter=";", decimal=",")),
        ("d.csv", b"x|y\n1|2\n", with_dialect("|", delimiter="|")),
        ("d.csv", b"1,2\n3,4\n", with_dialect(header=False)),
        ("d.csv", b"# a note\nx,y\n1,2\n", with_dialect(comment="#")),
        ("d.csv", b"#x,y\n1,2\n", PLAIN),
        ("d.csv", b"a,,y\n1,2,3\n", with_dialect(name_columns=True)),
        ("d.csv", b",a,,y\n1,2,,3\n", PLAIN),
        ("d.csv", "größe,y\n1,2\n".encode("cp1252"), with_dialect(encoding="cp1252")),
        ("d.csv", b"\x81,y\n1,2\n", with_dialect(encoding="latin-1")),
        ("d.csv", "x,y\n1,2\n".encode("utf-16-le"), with_dialect(encoding="utf-16-le")),
        ("d.csv.gz", gzip.compress(b"x,y\n1,2\n", mtime=0), PLAIN),
        ("d.csv", b"", replace(PLAIN, line_ends="none")),
    ],
)
def test_format_is_found(name: str, content: bytes, expected: TableFormat) -> None:
    assert sniff(FileContent(name, content)) == expected


def test_long_file_is_judged_by_its_beginning() -> None:
    file = FileContent("d.csv", b"x;y\n" + b"1,5;2\n" * 100_000)
    found = sniff(file)
    assert found == with_dialect(";", delimiter=";", decimal=",")
    assert read_table(file, found.dialect).rows == 100_000


def test_format_is_described_in_a_phrase() -> None:
    found = sniff(FileContent("d.csv", "\ufeff# a note\r\n1,5;2\r\n3,5;4\r\n".encode()))
    assert found.describe() == (
        "UTF-8 with a byte order mark; line ends: CRLF; fields separated by semicolons; decimal "
        "commas; comments after #; no header"
    )
    assert found.to_plain() == {
        "encoding": "utf-8",
        "byte_order_mark": True,
        "line_ends": "CRLF",
        "delimiter": ";",
        "decimal": ",",
        "thousands": None,
        "strip": [],
        "quote": '"',
        "escape": None,
        "comment": "#",
        "header": False,
        "skip_lines": 0,
        "name_columns": False,
    }
