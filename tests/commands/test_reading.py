"""Tables in other dialects and other file formats, through the commands."""

import gzip
import io
import json
import lzma
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands.helpers import cells, error_of, table_of, texts_of

from mdncli import read_table
from running import Run, mdn

ABROAD = ("--delimiter", ";", "--decimal", ",", "--encoding", "latin-1", "--comment", "#")


def abroad(content: bytes) -> bytes:
    """Return a CSV as a European spreadsheet writes it."""
    text = content.decode().replace(",", ";").replace(".", ",").replace("x;y", "größe;y")
    return f"# aus Köln\n{text}".encode("latin-1")


@pytest.fixture(scope="module")
def foreign(fitted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `data.csv` in another dialect and a model of it."""
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "data.csv").write_bytes(abroad((fitted / "data.csv").read_bytes()))
    done = mdn("fit", "data.csv", *ABROAD, "--epochs", "20", "-q", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_command_takes_the_same_options(foreign: Path, here: Run, tmp_path: Path) -> None:
    model, data = foreign / "model.pt", foreign / "data.csv"
    predicted = table_of(here("predict", model, data, *ABROAD, "--mean"))
    assert predicted["größe"][0].count(",") == 1
    scores = here("evaluate", model, data, *ABROAD, "--json", "-q")
    assert json.loads(scores.stdout)["rows"] == 1000
    drawn = table_of(here("sample", model, "--rows", data, *ABROAD))
    assert drawn["größe"] == predicted["größe"]
    done = here("plot", model, data, *ABROAD, "--kind", "modes", "-o", "p.svg")
    assert done.returncode == 0, done.stderr
    assert {"größe", "y"} <= texts_of((tmp_path / "p.svg").read_bytes())
    assert len(json.loads(here("inspect", data, *ABROAD, "--json").stdout)["columns"]) == 2
    assert "--decimal ," in json.loads(here("inspect", model, "--json").stdout)["origin"]["command"]


def test_the_dialect_does_not_change_what_is_learned(foreign: Path, fitted: Path) -> None:
    ours = read_table(
        foreign / "data.csv", delimiter=";", decimal=",", encoding="latin-1", comment="#"
    )
    theirs = read_table(fitted / "data.csv")
    assert ours.to_numpy().tolist() == theirs.to_numpy().tolist()


def test_an_error_names_the_reading_options_of_the_fit(foreign: Path, here: Run) -> None:
    model, data = foreign / "model.pt", foreign / "data.csv"
    was = "The model was fitted with --delimiter ';' --decimal , --encoding latin-1 --comment '#'."
    for command in (
        ("predict", model, data),
        ("evaluate", model, data),
        ("sample", model, "--rows", data),
        ("plot", model, data),
    ):
        assert was in error_of(here(*command), 65)
    message = error_of(here("predict", model, data, *ABROAD[:2], *ABROAD[4:]), 65)
    assert message.endswith("The model was fitted with --decimal ,.\n")
    assert "looks like a decimal comma" in message


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--delimiter", ";;;;"), "--delimiter is ';;;;'. It must be one to three characters"),
        (("--delimiter", ""), "--delimiter is ''"),
        (("--quote", ","), "--quote and the delimiter are both ','"),
        (("--delimiter", ";", "--escape", ";"), "--delimiter and --escape are both ';'"),
        (("--delimiter", ",", "--decimal", ","), "--decimal and --delimiter are both ','"),
        (("--decimal", "x"), "--decimal is 'x'"),
        (("--encoding", "klingon"), "--encoding is 'klingon', which is unknown"),
        (("--encoding", "rot13"), "--encoding is 'rot13'"),
        (("--comment", "\n"), "It must not be a line end"),
    ],
)
def test_impossible_options(here: Run, flags: tuple, words: str) -> None:
    assert words in error_of(here("inspect", "-", *flags, stdin=b"x,y\n1,2\n"), 2)


def test_no_header_names_the_columns(here: Run, fitted: Path) -> None:
    bare = (fitted / "data.csv").read_bytes().partition(b"\n")[2]
    done = here("fit", "-", "--no-header", "--epochs", "1", "--json", stdin=bare)
    assert (json.loads(done.stdout)["features"], json.loads(done.stdout)["target"]) == (
        ["c1"],
        ["c2"],
    )
    assert json.loads(done.stdout)["rows"] == 1000


# Rows that cannot be used.


def rows_of(fitted: Path, *more: bytes) -> bytes:
    return (fitted / "data.csv").read_bytes() + b"".join(row + b"\n" for row in more)


def test_fit_leaves_out_bad_rows_and_counts_them(here: Run, fitted: Path) -> None:
    data = rows_of(fitted, b"1", b"abc,2", b"1,inf", b"1,2,3")
    error_of(here("fit", "-", stdin=data), 65)
    done = here("fit", "-", "--on-bad-rows", "skip", "--epochs", "1", "--json", stdin=data)
    assert json.loads(done.stdout)["rows"] == 1000
    message = done.stderr.decode()
    assert (
        "warning: 2 of 1004 rows have a different number of fields than the header and are left out"
        in message
    )
    assert "The first: standard input, row 1001, line 1002: 1 field where" in message
    assert "warning: 2 of 1004 rows have a cell that cannot be used" in message
    assert "The first: standard input, row 1002, line 1003, column 'x': 'abc'" in message


def test_fit_stops_when_more_than_a_tenth_is_bad(here: Run, fitted: Path) -> None:
    few = rows_of(fitted, *[b"1"] * 60, *[b"a,1"] * 40)
    flags = ("--on-bad-rows", "skip", "--epochs", "1", "--json")
    assert json.loads(here("fit", "-", *flags, stdin=few).stdout)["rows"] == 1000
    many = rows_of(fitted, *[b"1"] * 60, *[b"a,1"] * 60)
    done = here("fit", "-", *flags, stdin=many)
    assert done.returncode == 65
    assert b"120 of 1120 rows cannot be used, more than 10%" in done.stderr
    # A row without a target is not a bad row.
    without_target = rows_of(fitted, *[b"1,"] * 500)
    assert json.loads(here("fit", "-", *flags, stdin=without_target).stdout)["rows"] == 1000


def test_every_row_is_answered_or_reported(here: Run, fitted: Path) -> None:
    data = b"x,y\n1,2\n3\nabc,4\n5,6\n7,8,9\n"
    model, skip = fitted / "model.pt", ("--on-bad-rows", "skip")
    done = here("predict", model, "-", *skip, "--mean", stdin=data)
    assert table_of(done)["x"] == ["1", "abc", "5"]
    assert [cell == "" for cell in table_of(done)["y_mean"]] == [False, True, False]
    assert b"2 of 5 rows have a different number of fields than the header" in done.stderr
    done = here("sample", model, "--rows", "-", *skip, stdin=data)
    assert table_of(done)["x"] == ["1", "5"]
    assert b"1 of 5 rows have a cell that cannot be used" in done.stderr
    done = here("evaluate", model, "-", *skip, "--json", stdin=data)
    assert json.loads(done.stdout)["rows"] == 2
    done = here("plot", model, "-", *skip, "--kind", "residuals", stdin=data)
    assert done.returncode == 0
    assert b"1 of 5 rows have a cell" in done.stderr


# Files of other kinds.


@pytest.mark.parametrize("suffix", ["csv", "tsv", "csv.gz", "csv.zst", "tsv.xz", "parquet"])
def test_the_suffix_of_the_output_sets_its_format(
    here: Run, fitted: Path, tmp_path: Path, suffix: str
) -> None:
    rows = b'id,x,note\n007,0.10,"a, b"\n0x1,1.5,\n'
    command = ("predict", fitted / "model.pt", "-", "--median")
    plain = table_of(here(*command, stdin=rows))
    name = f"out.{suffix}"
    for _ in range(2):
        done = here(*command, "-o", name, stdin=rows)
        assert done.returncode == 0, done.stderr
        (tmp_path / f"before.{suffix}").write_bytes((tmp_path / name).read_bytes())
    assert (tmp_path / name).read_bytes() == (tmp_path / f"before.{suffix}").read_bytes()
    content = (tmp_path / name).read_bytes()
    if suffix == "parquet":
        table = pq.read_table(io.BytesIO(content))
        assert table.schema.types == [pa.string(), pa.string(), pa.string(), pa.float64()]
        assert table["id"].to_pylist() == plain["id"]
        assert table["y_median"].to_pylist() == [float(cell) for cell in plain["y_median"]]
        return
    unpack = {"gz": gzip.decompress, "xz": lzma.decompress, "zst": unpacked}.get(suffix[4:], bytes)
    text = unpack(content)
    if suffix.startswith("tsv"):
        # No cell needs quotes, because a comma is not a delimiter here.
        assert b'"' not in text
        text = text.replace(b"a, b", b'"a; b"').replace(b"\t", b",").replace(b";", b",")
    assert cells(text) == plain


def unpacked(content: bytes) -> bytes:
    """Return the content of a zstd file."""
    return pa.CompressedInputStream(pa.BufferReader(content), "zstd").read()


def test_parquet_in_is_parquet_out_with_its_types(here: Run, fitted: Path, tmp_path: Path) -> None:
    table = pa.table(
        {
            "when": pa.array([0, None], pa.timestamp("ms")),
            "x": pa.array([0.5, 1.5]),
            "n": pa.array([2**60 + 1, None]),
            "deep": pa.array([[1], [2]]),
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    command = ("predict", fitted / "model.pt", "rows.parquet", "--mean")
    assert here(*command, "-o", "out.parquet").returncode == 0
    out = pq.read_table(tmp_path / "out.parquet")
    assert out.select(table.column_names).equals(pq.read_table(tmp_path / "rows.parquet"))
    assert "'deep' holds list" in error_of(here(*command), 65)
    pq.write_table(table.drop_columns(["deep"]), tmp_path / "rows.parquet")
    columns = table_of(here(*command))
    assert columns["when"] == ["1970-01-01T00:00:00.000", ""]
    assert columns["n"] == [str(2**60 + 1), ""]
    pq.write_table(table.rename_columns(["when", "deep", "n", "x"]), tmp_path / "rows.parquet")
    assert "column 'x': it holds list" in error_of(here(*command), 65)


def test_a_file_argument_is_only_ever_a_path(here: Run, fitted: Path) -> None:
    for name in ("http://127.0.0.1:9/x.csv", "s3://bucket/x.csv", "file:///etc/hostname", "a|b"):
        assert "there is no such file" in error_of(here("predict", fitted / "model.pt", name), 66)
