"""Tables written by the `csv` module come back; files damaged at random never crash the reader."""

import csv
import io
import random
import time
import tracemalloc

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from mdncli.errors import MdnError
from mdncli.files import FileContent
from mdncli.tables.dialect import Dialect
from mdncli.tables.table import read_table

MARK = st.one_of(
    st.sampled_from(",;\t|: '\"\\^~§a0"),
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n\ufeff"),
)


@st.composite
def written(draw: st.DrawFn) -> tuple[list[list[str]], bytes, Dialect]:
    """Return a table of text, its file as the `csv` module writes it, and its dialect."""
    delimiter, quote, escape = draw(st.lists(MARK, min_size=3, max_size=3, unique=True))
    quoting = draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONE]))
    escaped = quoting == csv.QUOTE_NONE or draw(st.booleans())
    decimal = "." if "." not in (delimiter, quote, escape) else ","
    assume(decimal not in (delimiter, quote, escape))
    dialect = Dialect(
        delimiter,
        decimal,
        quote=None if quoting == csv.QUOTE_NONE else quote,
        escape=escape if escaped else None,
        header=False,
    )
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    # Python 3.11 does not quote a line end that differs from the file's own. Nothing can read
    # that back.
    unquoted = "" if quoting == csv.QUOTE_ALL else "\r\n"
    text = st.text(
        st.one_of(
            st.sampled_from([*{delimiter, quote, escape, " ", '"', *"\r\n"} - {*unquoted}]),
            st.characters(exclude_categories=["Cs"], exclude_characters=f"\0\ufeff{unquoted}"),
        ),
        max_size=5,
    )
    width = draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(text, min_size=width, max_size=width), min_size=1, max_size=6))
    stream = io.StringIO()
    try:
        csv.writer(
            stream,
            delimiter=delimiter,
            quotechar=quote,
            escapechar=escape if escaped else None,
            doublequote=not escaped or draw(st.booleans()),
            quoting=quoting,
            lineterminator=end,
        ).writerows(rows)
    except csv.Error:
        # A single empty cell without quotes is not a row.
        assume(False)
    return rows, stream.getvalue().encode(), dialect


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@example(
    case=(
        [[",", ","]],
        b",\t,,;,\t,,\n",
        Dialect(delimiter=";", quote=",", escape="\t", header=False, na=()),
    )
)
@given(written())
def test_table_of_text_comes_back_exactly(case: tuple[list[list[str]], bytes, Dialect]) -> None:
    rows, content, dialect = case
    table = read_table(FileContent("t.csv", content), dialect)
    columns = [column.to_pylist() for column in table.columns.values()]
    assert [list(row) for row in zip(*columns, strict=True)] == rows


VALID = [
    (b"x,y,z\n1,2,3\n4,5,6\n7,8,9\n", {}),
    (b'x,"a ""b""",z\r\n1,"two\r\nlines",3\r\n4,"5, 6",6\r\n', {}),
    ("\ufeffgröße;y\r1,5;2\r2,5;3\r".encode(), {"delimiter": ";", "decimal": ","}),
    (b"# note\nx|y\n1\\|2|'3'\n'4|5'|6\n", {"delimiter": "|", "quote": "'", "escape": "\\"}),
    (b"# note\nx,y\n#1,2\n1,\n,NA\n", {"comment": "#", "na": ("-9",)}),
    ("x\ty\nä\t2\n".encode("utf-16"), {"delimiter": "\t", "encoding": "utf-16"}),
    (b'x\n1\n""\n3\n', {"header": False}),
]
SPLICED = [
    b'"',
    b",",
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\\",
    b"#",
    b'""',
    b"\xef\xbb\xbf",
    b";",
    b"'",
]


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Return the content with a few bytes inserted, removed, changed or doubled."""
    for _ in range(rng.randint(1, 4)):
        at, to = sorted(rng.randint(0, len(content)) for _ in range(2))
        middle = rng.choice([b"", rng.choice(SPLICED), rng.randbytes(1), content[at:to] * 2])
        to = rng.choice([at, min(at + 1, len(content)), to])
        content = content[:at] + middle + content[to:]
    return content


def check(content: bytes, options: dict) -> None:
    """Read a damaged file. If it is a table, it must be the one that the `csv` module reads."""
    dialect = Dialect(**options)
    message = ""
    try:
        table = read_table(FileContent("t.csv", content), dialect)
    except MdnError as error:
        message = str(error)
    if message:
        assert message.startswith("t.csv")
        assert message.isprintable()
        return
    rows = reference(content, dialect)
    if dialect.header:
        header = rows.pop(0)
        # The name of a first column with the names of the rows may be lacking.
        header = ["", *header] if rows and len(header) + 1 == len(rows[0]) else header
        empty = [
            not name.strip() and len(header) > 1 and not any(row[at].strip() for row in rows)
            for at, name in enumerate(header)
        ]
        empty[0] &= bool(rows)
        header, *rows = [
            [c for c, e in zip(r, empty, strict=True) if not e] for r in (header, *rows)
        ]
        header = [name.strip() and name for name in header]
        assert [*table.originals] == header
        assert table.names == [name for name in header if name]
    columns = [column.to_pylist() for column in table.columns.values()]
    assert [list(row) for row in zip(*columns, strict=True)] == rows
    for name in table.names:
        cells = table.cells(name)
        kinds = (
            cells.missing.astype(int) + cells.text + cells.infinite + (cells.values == cells.values)
        )
        assert (kinds == 1).all()


def reference(content: bytes, dialect: Dialect) -> list[list[str]]:
    """Return the rows that the `csv` module reads, without comment lines."""
    encoding = "utf-8-sig" if dialect.utf8 else dialect.encoding
    text = io.StringIO(content.decode(encoding), newline="")
    reader = csv.reader(
        (line for line in text if not (dialect.comment and line.startswith(dialect.comment))),
        delimiter=dialect.delimiter or ",",
        quotechar=dialect.quote,
        escapechar=dialect.escape,
    )
    return [row for row in reader if row]


@pytest.mark.parametrize("number", range(len(VALID)))
def test_damaged_files_are_read_rightly_or_refused(number: int) -> None:
    content, options = VALID[number]
    rng = random.Random(number)
    check(content, options)
    for _ in range(5000 // len(VALID) + 1):
        before = time.perf_counter()
        check(damaged(content, rng), options)
        assert time.perf_counter() - before < 5.0


def test_damaged_file_needs_memory_in_proportion_to_its_size() -> None:
    content = b'x,y\n1,2\n"3,4\n' + b"5,6\n" * 200_000
    tracemalloc.start()
    try:
        check(content, {})
        assert tracemalloc.get_traced_memory()[1] < 60 * len(content)
    finally:
        tracemalloc.stop()
