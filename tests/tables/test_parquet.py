"""Parquet files: typed columns, their text, and what is refused."""

import io
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mdncli.errors import DataError
from mdncli.files import FileContent
from mdncli.tables.table import Table, read_table
from mdncli.tables.writer import write_table

SECONDS = 1_577_934_245


def parquet(table: pa.Table) -> Table:
    content = io.BytesIO()
    pq.write_table(table, content)
    return read_table(FileContent("t.parquet", content.getvalue()))


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "+05:30"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_are_text_in_iso_8601(unit: str, zone: str | None) -> None:
    seconds = pa.array([SECONDS, None]).cast(pa.timestamp("s"))
    column = seconds.cast(pa.timestamp(unit, zone))
    text, missing = parquet(pa.table({"t": column})).columns["t"].to_pylist()
    assert missing == ""
    moment = datetime.fromisoformat(text)
    assert (moment.tzinfo is None) is (zone is None)
    assert (moment if zone else moment.replace(tzinfo=UTC)).timestamp() == SECONDS
    # Parquet has no unit of seconds.
    fraction = text.partition(".")[2].partition("+")[0]
    assert len(fraction) == (3 if unit in ("s", "ms") else 6)


def test_nanoseconds_are_cut_to_microseconds() -> None:
    column = pa.array([1_123_456_789]).cast(pa.timestamp("ns"))
    table = parquet(pa.table({"t": column}))
    assert table.columns["t"].to_pylist() == ["1970-01-01T00:00:01.123456"]
    assert table.originals["t"].type == pa.timestamp("ns")


def test_booleans_of_a_file_are_text() -> None:
    table = parquet(pa.table({"b": pa.array([True, None, False])}))
    assert table.columns["b"].to_pylist() == ["true", "", "false"]
    cells = table.cells("b")
    assert cells.kind == "text"
    np.testing.assert_array_equal(cells.missing, [False, True, False])


def test_numbers_of_a_file_are_numbers() -> None:
    table = parquet(pa.table({"x": pa.array([1, None], pa.int8()), "y": [0.5, np.inf]}))
    assert table.cells("x").values.tolist()[0] == 1.0
    np.testing.assert_array_equal(table.cells("x").missing, [False, True])
    np.testing.assert_array_equal(table.cells("y").infinite, [False, True])


def test_dictionaries_are_read_as_their_values() -> None:
    column = pa.array(["a", "b", None, "a"]).dictionary_encode()
    table = parquet(pa.table({"g": column}))
    assert table.columns["g"].to_pylist() == ["a", "b", "", "a"]


def test_lists_are_carried_and_cannot_be_used() -> None:
    table = parquet(pa.table({"deep": [[1], [2]], "x": [1, 2]}))
    assert table.names == ["deep", "x"]
    assert list(table.columns) == ["x"]
    with pytest.raises(DataError, match="it holds list<.*>, which is neither numbers nor text"):
        table.require(["deep"])


def test_file_without_columns_is_refused() -> None:
    with pytest.raises(DataError, match="the file has no columns"):
        parquet(pa.table({}))


@pytest.mark.parametrize("name", ["t.parquet", "t.parquet.gz"])
def test_tables_are_written_one_below_another(name: str) -> None:
    stream = io.BytesIO()
    write_table(stream, [{"x": np.array([1.0])}, {"x": np.array([np.nan, 3.0])}], name)
    table = read_table(FileContent(name, stream.getvalue()))
    assert table.columns["x"].to_pylist() == ["1", "", "3"]
