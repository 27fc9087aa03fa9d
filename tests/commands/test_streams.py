"""Commands on tables that are read block by block, from files, folders, patterns and pipes."""

import json
import os
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands.helpers import error_of, table_of

from mdncli import load, read_table
from mdncli.density import evaluation
from mdncli.tables import blocks
from running import Run

ROWS = 30_000


def rows(count: int = ROWS, bad: int | None = None) -> bytes:
    """Return a table whose row `bad` has a text in place of a number."""
    x = np.random.default_rng(0).uniform(-5.0, 5.0, count)
    cells = [f"{value:.4f}" for value in x.tolist()]
    if bad is not None:
        cells[bad - 1] = "oops"
    return "".join(["x,y,id\n", *(f"{c},{i % 7},r{i}\n" for i, c in enumerate(cells))]).encode()


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read 10 kB at a time, and answer 1000 rows first."""
    monkeypatch.setattr(blocks, "BYTES_AT_ONCE", 10_000)
    monkeypatch.setattr(blocks.read_blocks, "__kwdefaults__", {
        **blocks.read_blocks.__kwdefaults__, "at_once": 10_000,
    })  # fmt: skip
    monkeypatch.setattr(blocks, "_FIRST_ROWS", 1000)


QUESTIONS = [
    ("predict", "--mean", "--std", "--flag-extrapolation"),
    ("predict", "--quantiles", "0.1,0.9", "--only"),
    ("sample", "--seed", "3", "--n", "2"),
    ("evaluate", "--per-row", "-q"),
    ("evaluate", "--json"),
]


@pytest.mark.parametrize("question", QUESTIONS, ids=[" ".join(each) for each in QUESTIONS])
def test_the_answers_do_not_depend_on_the_blocks(
    here: Run,
    fitted: Path,
    tmp_path: Path,
    question: tuple[str, ...],
    request: pytest.FixtureRequest,
) -> None:
    (tmp_path / "rows.csv").write_bytes(rows())
    command, *options = question
    table = ["--rows", "rows.csv"] if command == "sample" else ["rows.csv"]
    whole = here(command, fitted / "model.pt", *table, *options)
    assert whole.returncode == 0
    request.getfixturevalue("small_blocks")
    cut = here(command, fitted / "model.pt", *table, *options)
    piped = here(command, fitted / "model.pt", *table[:-1], "-", *options, stdin=rows())
    assert cut.stdout == piped.stdout
    if "--json" in question:
        # Sums of other pieces differ in their last digits.
        assert json.loads(cut.stdout)["nll"] == pytest.approx(json.loads(whole.stdout)["nll"])
    else:
        assert cut.stdout == whole.stdout
    assert cut.stderr == whole.stderr


def test_several_files_and_a_folder_are_one_table(here: Run, fitted: Path, tmp_path: Path) -> None:
    lines = rows(2500).splitlines(keepends=True)
    (tmp_path / "rows.csv").write_bytes(b"".join(lines))
    (tmp_path / "parts").mkdir()
    for number, at in enumerate(range(1, 2501, 500), start=8):
        part = b"".join([lines[0], *lines[at : at + 500]])
        (tmp_path / "parts" / f"part-{number}.csv").write_bytes(part)
    for command in (["predict"], ["evaluate", "--json"], ["sample", "--rows"]):
        words = [command[0], fitted / "model.pt", *command[1:]]
        expected = here(*words, "rows.csv")
        assert expected.returncode == 0
        for several in ("parts", "parts/part-*.csv"):
            assert here(*words, several).stdout == expected.stdout
    model = load(fitted / "model.pt")
    listed = [tmp_path / "parts" / f"part-{number}.csv" for number in range(8, 13)]
    frame = model.predict(listed, mean=True)
    assert frame.equals(model.predict(tmp_path / "rows.csv", mean=True))
    assert read_table(tmp_path / "parts").equals(read_table(tmp_path / "rows.csv"))
    assert "2500 rows" in here("inspect", "parts").stdout.decode()


def test_fit_learns_from_several_files_as_from_one(here: Run, tmp_path: Path) -> None:
    lines = here("generate", "sinusoid", "--n", "300").stdout.splitlines(keepends=True)
    (tmp_path / "one.csv").write_bytes(b"".join(lines))
    for number, at in enumerate(range(1, 301, 100), start=9):
        (tmp_path / f"part-{number}.csv").write_bytes(b"".join([lines[0], *lines[at : at + 100]]))
    quick = ("-k", "2", "--steps", "20", "-q", "--json")
    one, several = (
        json.loads(here("fit", data, *quick, "-o", "m.pt").stdout)
        for data in ("one.csv", "part-*.csv")
    )
    assert several["nll_valid"] == one["nll_valid"]
    assert several["rows"] == 300
    scored = here("evaluate", "m.pt", "part-*.csv")
    assert b"is the training table" in scored.stderr
    (tmp_path / "part-11.csv").write_bytes(b"x,z\n1,2\n")
    refused = here("fit", "part-*.csv", *quick, "-o", "n.pt")
    assert refused.returncode == 65
    message = "part-11.csv: its columns are not those of part-9.csv: it lacks 'y'"
    assert message in error_of(refused, 65)


@pytest.mark.usefixtures("small_blocks")
def test_a_bad_row_in_the_middle_is_named_and_ends_the_output_with_a_whole_row(
    here: Run, fitted: Path, tmp_path: Path
) -> None:
    table = rows(bad=20_000)
    done = here("predict", fitted / "model.pt", "-", "--mean", stdin=table)
    assert done.returncode == 65
    assert "standard input, row 20000, line 20001, column 'x': 'oops'" in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert done.stdout.endswith(b"\n")
    answered = done.stdout.splitlines()
    assert 1000 < len(answered) < 20_000
    assert all(line.count(b",") == 3 for line in answered)
    (tmp_path / "out.csv").write_text("before")
    to_file = here("predict", fitted / "model.pt", "-", "-o", "out.csv", stdin=table)
    assert to_file.returncode == 65
    assert (tmp_path / "out.csv").read_text() == "before"
    assert os.listdir(tmp_path) == ["out.csv"]


@pytest.mark.usefixtures("small_blocks")
def test_what_is_skipped_is_counted_over_the_whole_table(here: Run, fitted: Path) -> None:
    table = rows(bad=20_000) + b"1,2\n" + rows(10)[7:].replace(b"\n", b",4\n")
    done = here("predict", fitted / "model.pt", "-", "--on-bad-rows", "skip", stdin=table)
    assert done.returncode == 0
    assert done.stderr.decode().splitlines() == [
        "warning: 11 of 30011 rows have a different number of fields than the header and are left "
        "out. The first: standard input, row 30001, line 30002: 2 fields where the header has 3.",
        "warning: 1 of 30011 rows have a cell that cannot be used and have empty answers. The "
        "first: standard input, row 20000, line 20001, column 'x': 'oops' is not a number.",
    ]
    assert len(table_of(done)["x"]) == ROWS


@pytest.mark.usefixtures("small_blocks")
def test_rows_outside_the_training_range_are_counted_over_the_whole_table(
    here: Run, fitted: Path
) -> None:
    table = "x\n" + "0\n" * 5000 + "9999\n" * 5000
    done = here("predict", fitted / "model.pt", "-", "--mean", stdin=table.encode())
    [warning] = done.stderr.decode().splitlines()
    assert "5000 of 10000 rows have a feature outside its training range" in warning


@pytest.mark.usefixtures("small_blocks")
def test_parquet_is_written_with_the_types_of_all_blocks(
    here: Run, fitted: Path, tmp_path: Path
) -> None:
    late = pa.array([None] * 15_000 + ["text"] * 5000)
    x = pa.array(np.linspace(-4, 4, 20_000))
    table = pa.table({"x": x, "late": late, "n": pa.array(range(20_000), pa.int32())})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=4000)
    words = ("--mean", "--flag-extrapolation", "-o", "out.parquet", "-q")
    assert here("predict", fitted / "model.pt", "in.parquet", *words).returncode == 0
    written = pq.read_table(tmp_path / "out.parquet")
    assert written.select(["x", "late", "n"]).equals(table)
    assert written.schema.field("y_mean").type == pa.float64()


def test_files_with_other_types_cannot_be_one_parquet_file(
    here: Run, fitted: Path, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"x": [1.0], "t": [1]}), tmp_path / "a1.parquet")
    pq.write_table(pa.table({"x": [1.0] * 9000, "t": ["b"] * 9000}), tmp_path / "a2.parquet")
    done = here("predict", fitted / "model.pt", "a*.parquet", "-o", "out.parquet")
    assert done.returncode == 0
    assert pq.read_table(tmp_path / "out.parquet").schema.field("t").type == pa.string()


def test_evaluate_with_many_rows_counts_the_pit_in_bins(
    here: Run, fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.csv").write_bytes(rows())
    exact = json.loads(here("evaluate", fitted / "model.pt", "rows.csv", "--json").stdout)
    monkeypatch.setattr(evaluation, "_MOST_KEPT", 10_000)
    binned = json.loads(here("evaluate", fitted / "model.pt", "rows.csv", "--json").stdout)
    assert binned["pit_ks"] == pytest.approx(exact["pit_ks"], abs=1e-4)
    assert {**binned, "pit_ks": 0, "pit_ks_p": 0} == {**exact, "pit_ks": 0, "pit_ks_p": 0}


def test_weights_of_several_blocks_count_as_in_one(
    here: Run, fitted: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = load(fitted / "model.pt")
    x = np.linspace(-4, 4, 20_000)
    weights = np.where(np.arange(20_000) < 15_000, 1e-3, 1e3)
    frame = {"x": x, "y": np.sin(x), "w": weights}
    pq.write_table(pa.table({k: pa.array(v) for k, v in frame.items()}), tmp_path / "t.parquet")
    expected = model.evaluate({k: frame[k] for k in "xy"}, weights=weights)
    request.getfixturevalue("small_blocks")
    found = model.evaluate(tmp_path / "t.parquet", weights="w")
    assert found.nll == pytest.approx(expected.nll, rel=1e-12)
    assert found.crps == pytest.approx(expected.crps, rel=1e-12)
    assert found.pit_ks == pytest.approx(expected.pit_ks, rel=1e-9)


def test_the_first_answers_do_not_wait_for_the_last_rows(fitted: Path) -> None:
    words = [sys.executable, "-m", "mdncli", "predict", "model.pt", "-", "--mean"]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=fitted
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        table = rows(60_000)
        writer = threading.Thread(target=process.stdin.write, args=(table,))
        writer.start()
        first = process.stdout.readline()
        assert first == b"x,y,id,y_mean\n"
        rest: list[bytes] = []
        reader = threading.Thread(target=lambda: rest.append(process.stdout.read()))
        reader.start()
        writer.join()
        process.stdin.close()
        reader.join()
        assert rest[0].count(b"\n") == 60_000


LIMIT_MIB = 330


@pytest.mark.parametrize("command", [("predict", "--mean", "--only"), ("sample", "--rows")])
def test_memory_stays_bounded_over_three_million_rows(
    fitted: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    path = tmp_path / "long.csv"
    line = b"0.123456789,1.5,some more text in every row that would fill the memory\n"
    path.write_bytes(b"x,y,text\n" + line * 3_000_000)
    code = (
        "import re, sys\n"
        "sys.argv[0] = 'mdn'\n"
        "from mdncli.commands.app import run\n"
        "status = run()\n"
        "peak = re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]\n"
        "print(status, int(peak) >> 10, file=sys.stderr)\n"
    )
    words = [command[0], fitted / "model.pt", *command[1:], path]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=True,
    )
    status, mebibytes = map(int, done.stderr.split()[-2:])
    assert status == 0
    assert mebibytes < LIMIT_MIB


def test_a_terminal_sees_rows_and_rate_of_long_work(fitted: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(rows(24_000))
    words = [
        sys.executable,
        "-m",
        "mdncli",
        "predict",
        fitted / "model.pt",
        "rows.csv",
        "--hdr",
        "0.9",
    ]
    shown = {}
    for quiet in ((), ("-q",)):
        controller, terminal = pty.openpty()
        with subprocess.Popen(
            [*words, *quiet], stdout=subprocess.DEVNULL, stderr=terminal, cwd=tmp_path
        ) as process:
            os.close(terminal)
            seen = b""
            try:
                while part := os.read(controller, 1 << 16):
                    seen += part
            except OSError:
                pass
            assert process.wait() == 0
        os.close(controller)
        shown[quiet] = seen
    assert re.search(rb"[0-9,]+ rows, [0-9,]+ per second", shown[()])
    assert shown[("-q",)] == b""


def test_an_output_inside_the_input_folder_is_refused(
    here: Run, fitted: Path, tmp_path: Path
) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a.csv").write_bytes(rows(5))
    done = here("predict", fitted / "model.pt", "parts", "-o", "parts/a.csv")
    assert done.returncode == 2
    assert "-o parts/a.csv would replace an input" in error_of(done, 2)
    missing = here("predict", fitted / "model.pt", "parts/*.parquet")
    assert missing.returncode == 66
