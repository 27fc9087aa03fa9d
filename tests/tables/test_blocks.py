"""Blocks of rows hold what the whole table holds, wherever they are cut."""

import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odd_files import BAD_CELLS, BROKEN_FILES, TABLES

from mdncli.errors import DataError, MdnError, MissingInputError
from mdncli.files import FileContent, FileStream
from mdncli.tables.blocks import files_of, is_files, read_blocks, read_files
from mdncli.tables.decoding import Digest
from mdncli.tables.dialect import Dialect
from mdncli.tables.table import Fault, Table, read_table

ODD = Path(__file__).parent / "odd"
EVERY = [*TABLES, *BROKEN_FILES, *BAD_CELLS]


class Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time and cannot be read twice, as a pipe."""

    def __init__(self, content: bytes, step: int) -> None:
        self._content, self._step = io.BytesIO(content), step

    def read(self, size: int = -1) -> bytes:
        return self._content.read(self._step if size < 0 else min(size, self._step))

    def seekable(self) -> bool:
        return False


def blocks(
    content: bytes, at_once: int, name: str = "data.csv", skip: bool = False, **options: object
) -> list[Table]:
    source = FileStream(name, Trickle(content, 7))
    return list(read_blocks(source, Dialect(**options), skip_bad_rows=skip, at_once=at_once))


def texts(tables: list[Table]) -> dict[str, list[str]]:
    """Return the cells of all tables by column, as text."""
    names = list(tables[0].columns)
    assert all(list(table.columns) == names for table in tables)
    return {name: [c for t in tables for c in t.columns[name].to_pylist()] for name in names}


def places(tables: list[Table]) -> list[tuple[int, int | None]]:
    return [(p.row, p.line) for t in tables for p in t.locate(list(range(t.rows)))]


def outcome(read: "Iterator[Table] | list[Table]") -> object:
    """Return all that a table holds, or the message of its error."""
    try:
        tables = list(read)
    except MdnError as error:
        return type(error), str(error)
    first = tables[0]
    carried = {
        name: [c for t in tables for c in t.originals[name].to_pylist()] for name in first.originals
    }
    return (
        texts(tables),
        carried,
        places(tables),
        first.row_names,
        first.notes,
        sum(table.skipped for table in tables),
        next((table.first_skipped for table in tables if table.skipped), ""),
    )


def whole(content: bytes, name: str, skip: bool = False, **options: object) -> object:
    def read() -> Iterator[Table]:
        yield read_table(FileContent(name, content), Dialect(**options), skip_bad_rows=skip)

    return outcome(read())


@pytest.mark.parametrize("at_once", [1, 16, 100, 1 << 20])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize(("name", "options", "_"), EVERY, ids=[each[0] for each in EVERY])
def test_blocks_of_an_odd_file_hold_what_the_file_holds(
    name: str, options: dict, _: object, skip: bool, at_once: int
) -> None:
    content = (ODD / name).read_bytes()
    expected = whole(content, name, skip, **options)

    def read() -> Iterator[Table]:
        source = FileStream(name, Trickle(content, 7))
        yield from read_blocks(source, Dialect(**options), skip_bad_rows=skip, at_once=at_once)

    found = outcome(read())
    if isinstance(expected[0], type) and at_once < 1 << 20:
        # A block knows the first bad rows, and not how many follow.
        assert found[0] is expected[0]
        assert found[1].partition(";")[0][:60] == expected[1].partition(";")[0][:60]
    else:
        assert found == expected


CELL = st.one_of(
    st.sampled_from(
        ["", "1", "2.5", "a", " b ", "NA", '"', '""', '"q"', '"x,y"', '"l\nm"', "é", "#c"]
    ),
    st.text(alphabet='ab,"\n\r;# é\ufeff\\', max_size=6),
)
ROWS = st.lists(st.lists(CELL, min_size=1, max_size=4), min_size=1, max_size=12)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=ROWS,
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    at_once=st.integers(1, 40),
    skip=st.booleans(),
    options=st.sampled_from(
        [
            {},
            {"header": False},
            {"comment": "#"},
            {"escape": "\\"},
            {"quote": ""},
            {"delimiter": ";"},
            {"delimiter": ",,"},
            {"skip_lines": 1},
            {"name_columns": True},
            {"encoding": "utf-16"},
            {"encoding": "latin-1"},
        ]
    ),
    final=st.booleans(),
)
def test_blocks_of_any_text_hold_what_the_text_holds(
    rows: list[list[str]], end: str, at_once: int, skip: bool, options: dict, final: bool
) -> None:
    text = end.join(",".join(row) for row in rows) + (end if final else "")
    content = text.encode(str(options.get("encoding", "utf-8")), "replace")
    expected = whole(content, "data.csv", skip, **options)
    found = outcome(read_once(content, at_once, skip, options))
    if isinstance(expected[0], type):
        assert found[0] is expected[0]
    else:
        assert found == expected


def read_once(content: bytes, at_once: int, skip: bool, options: dict) -> Iterator[Table]:
    source = FileStream("data.csv", Trickle(content, 5))
    yield from read_blocks(source, Dialect(**options), skip_bad_rows=skip, at_once=at_once)


def test_a_column_without_a_name_is_judged_by_all_rows() -> None:
    content = b",x\n" + b",1\n" * 50 + b"last,2\n"
    assert texts(blocks(content, 30))[""][-1] == "last"
    content = b"x,y,\n" + b"1,2,\n" * 50
    assert list(texts(blocks(content, 30))) == ["x", "y"]
    with pytest.raises(DataError, match="column 3 has no name"):
        blocks(content + b"1,2,3\n", 30)
    named = blocks(content + b"1,2,3\n", 30, name_columns=True)
    assert texts(named)["c3"] == [*[""] * 50, "3"]


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        ([f"r{i},{i},2" for i in range(50)], ["", "x", "y"]),
        ([f"{i},2," for i in range(50)], ["x", "y"]),
    ],
)
def test_row_names_of_r_are_judged_by_all_rows(rows: list[str], names: list[str]) -> None:
    content = "\n".join(["x,y", *rows, ""]).encode()
    assert list(texts(blocks(content, 30))) == names
    assert texts(blocks(content, 30)) == texts([read_table(FileContent("d.csv", content))])
    with pytest.raises(DataError, match="row 1, line 2: 3 fields where the header has 2"):
        blocks(content + rows[0].encode() + b",3\n", 30)


def test_a_fault_far_down_is_found_at_its_row_and_line() -> None:
    lines = ["x,y", *(f'{i},"two\nlines"' for i in range(5000)), "oops,2"]
    for table in blocks("\n".join(lines).encode(), 1000):
        wrong = np.flatnonzero(table.cells("x").text)
        if len(wrong):
            message = table.fault_message([Fault("x", wrong, table.reason_not_number)])
            assert "data.csv, row 5001, line 10002, column 'x'" in message
            return
    raise AssertionError


def test_the_first_block_is_small_and_the_others_are_bounded() -> None:
    content = b"x\n" + b"123456789\n" * 2_000_000
    sizes = [table.rows for table in read_blocks(FileContent("d.csv", content))]
    assert sum(sizes) == 2_000_000
    assert sizes[0] < 7_000
    assert max(sizes) <= (1 << 22) / 10


def test_the_first_rows_of_a_pipe_do_not_wait_for_the_last() -> None:
    receive, send = os.pipe()
    writer = threading.Thread(target=os.write, args=(send, b"x,y\n" + b"1,2\n" * 40_000))
    writer.start()
    with os.fdopen(receive, "rb") as stream:
        every = read_blocks(FileStream("pipe", stream))
        assert next(every).rows > 1000
        writer.join(10)
        os.close(send)
        assert sum(table.rows for table in every) > 20_000


def typed() -> pa.Table:
    moments = np.arange(0, 1000 * 60, 60).astype("datetime64[s]")
    return pa.table(
        {
            "whole": pa.array(range(1000), pa.int32()),
            "gaps": pa.array([None if i % 3 else i / 7 for i in range(1000)]),
            "late": pa.array([None] * 900 + [1.5] * 100),
            "text": pa.array([f"t{i % 5}" for i in range(1000)]).dictionary_encode(),
            "when": pa.array(moments),
            "yes": pa.array([i % 2 == 0 for i in range(1000)]),
        }
    )


def test_blocks_of_a_parquet_file_keep_its_types(tmp_path: Path) -> None:
    path = tmp_path / "typed.parquet"
    pq.write_table(typed(), path, row_group_size=300)
    expected = read_table(path)
    for source in (path, FileContent("t.parquet", path.read_bytes()), stream_of(path)):
        found = list(read_blocks(source, at_once=5000))
        assert len(found) > 5
        assert all(
            {n: c.type for n, c in t.originals.items()}
            == {n: c.type for n, c in expected.originals.items()}
            for t in found
        )
        assert outcome(found) == outcome([expected])


def stream_of(path: Path) -> FileStream:
    return FileStream(path.name, Trickle(path.read_bytes(), 1000))


@pytest.mark.parametrize(
    "rows",
    [
        [{"x": i, "y": i / 2, "t": "a"} for i in range(100)],
        [{"x": i if i < 90 else i + 0.5, "t": None if i < 50 else "b"} for i in range(100)],
        [{"x": i} if i < 80 else {"x": i, "late": True} for i in range(100)],
        [{"x": i if i < 90 else "text"} for i in range(100)],
        [{"when": "2026-01-01" if i < 90 else "never"} for i in range(100)],
        [
            {"list": [i], "o": {"a": i}} if i < 90 else {"list": [i / 4], "o": {"b": 2}}
            for i in range(100)
        ],
    ],
)
@pytest.mark.parametrize("at_once", [40, 300, 1 << 20])
def test_blocks_of_json_lines_hold_what_the_file_holds(rows: list[dict], at_once: int) -> None:
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    expected = [read_table(FileContent("d.jsonl", content))]
    found = blocks(content, at_once, "d.jsonl")
    assert outcome(found) == outcome(expected)
    assert {n: c.type for n, c in found[0].originals.items()} == {
        n: c.type for n, c in expected[0].originals.items()
    }


def test_a_line_that_is_not_json_is_named_wherever_it_is() -> None:
    content = b'{"x": 1}\n' * 50 + b"oops\n"
    with pytest.raises(DataError, match=r"d\.jsonl, line 51: this is not JSON"):
        blocks(content, 30, "d.jsonl")


def test_compressed_files_are_read_as_streams_and_hashed_as_they_are(tmp_path: Path) -> None:
    content = b"x,y\n" + b"".join(b"%d,%d\n" % (i, -i) for i in range(20_000))
    for suffix, compress in (("gz", gzip.compress), ("xz", lzma.compress)):
        path = tmp_path / f"data.csv.{suffix}"
        path.write_bytes(compress(content))
        digest = Digest()
        found = list(read_blocks(path, digest=digest, at_once=1 << 14))
        assert len(found) > 5
        assert outcome(found) == outcome([read_table(path)])
        assert digest.hexdigest() == read_table(path).content_sha256
        path.write_bytes(compress(content)[:-20])
        with pytest.raises(DataError, match="not a complete"):
            list(read_blocks(path))


def test_files_are_one_table_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 1, 2):
        (tmp_path / f"part-{number}.csv").write_text(f"x,y\n{number},0\n")
    (tmp_path / "part-11.csv").write_text("y,x\n0,11\n")
    (tmp_path / "_SUCCESS").write_text("")
    (tmp_path / ".part-3.csv").write_text("x,y\n3,0\n")
    (tmp_path / "model.pt").write_text("")
    expected = ["1", "2", "9", "10", "11"]
    for source in (tmp_path, str(tmp_path / "part-*.csv"), f"{tmp_path}/**/p*.csv"):
        assert texts(list(read_blocks(source)))["x"] == expected
        assert texts([read_files(source)])["x"] == expected
    listed = [tmp_path / "part-9.csv", tmp_path / "part-1.csv"]
    assert is_files(listed)
    assert texts(list(read_blocks(listed)))["x"] == ["9", "1"]


def test_a_fault_in_one_of_several_files_is_named_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n2\n")
    (tmp_path / "b.csv").write_text("x\n3\noops\n")
    with pytest.raises(DataError, match=r"b\.csv, row 2, line 3, column 'x': 'oops'"):
        read_files(tmp_path).numbers(["x"])
    with pytest.raises(DataError, match=r"b\.csv, row 2, line 3, column 'x': 'oops'"):
        for table in read_blocks(tmp_path):
            table.numbers(["x"])


def test_files_with_other_columns_are_refused_with_the_difference(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    pq.write_table(pa.table({"x": [1.0], "z": [2.0]}), tmp_path / "b.parquet")
    message = r"b\.parquet: its columns are not those of .*a\.csv: it lacks 'y' and it has 'z'"
    with pytest.raises(DataError, match=message):
        list(read_blocks(tmp_path))
    with pytest.raises(DataError, match=message):
        read_files(tmp_path)


def test_files_of_several_kinds_are_one_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,t\n1,a\n")
    pq.write_table(pa.table({"x": [2.0], "t": ["b"]}), tmp_path / "b.parquet")
    (tmp_path / "c.jsonl").write_text('{"t": "c", "x": 3}\n')
    assert [t.numbers(["x"]).tolist() for t in read_blocks(tmp_path)] == [[[1.0]], [[2.0]], [[3.0]]]
    assert read_files(tmp_path).numbers(["x"])[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert read_files(tmp_path).columns["t"].to_pylist() == ["a", "b", "c"]


def test_missing_files_are_named(tmp_path: Path) -> None:
    for source in (tmp_path, f"{tmp_path}/*.csv", tmp_path / "a.csv"):
        with pytest.raises(MissingInputError, match=str(tmp_path)):
            list(read_blocks(source))


def test_a_path_that_exists_is_no_pattern(tmp_path: Path) -> None:
    (tmp_path / "a[1].csv").write_text("x\n1\n")
    (tmp_path / "a1.csv").write_text("x\n2\n")
    assert files_of(tmp_path / "a[1].csv") == [str(tmp_path / "a[1].csv")]
    assert files_of(f"{tmp_path}/a[0-9].csv") == [str(tmp_path / "a1.csv")]


def test_header_alone_gives_one_block_without_rows(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.csv").write_text("x,y\n")
    [only] = read_blocks(tmp_path)
    assert (only.rows, only.names) == (0, ["x", "y"])
    (tmp_path / "3.csv").write_text("x,y\n1,2\n")
    assert [table.rows for table in read_blocks(tmp_path)] == [1]


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    code = (
        "import re, sys\n"
        "from mdncli.tables.blocks import read_blocks\n"
        "rows = sum(len(t.numbers(['x'])) for t in read_blocks(sys.argv[1]))\n"
        # The peak of `getrusage` may be that of the process that started this one.
        "peak = re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]\n"
        "print(rows, int(peak) >> 10)\n"
    )
    path = tmp_path / "long.csv"
    path.write_bytes(
        b"x,t\n" + b"0.123456789,some text to fill the row up to a width\n" * 5_000_000
    )
    assert path.stat().st_size > 250e6
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    rows, mebibytes = map(int, done.stdout.split())
    assert rows == 5_000_000
    assert mebibytes < 240
