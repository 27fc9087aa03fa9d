"""`mdn predict`: rows, cells, errors and streams."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands.helpers import EVERYTHING, Cells, cells, error_of, numbers, table_of

from mdncli import load, read_table
from running import Run

# Rows and cells.


def test_cells_are_carried_through_unchanged(here: Run, fitted: Path) -> None:
    table = (
        b'id,"a, b",x,note,y\n'
        b'007,"1,5", 0.10 ,"say ""so""",?\n'
        b'08,,1e0,"two\nlines",\n'
        b"\xe2\x82\xac,0.10,+2.50,x y,abc\n"
    )
    columns = table_of(here("predict", fitted / "model.pt", "-", "--mean", stdin=table))
    given = cells(table)
    assert {name: columns[name] for name in given} == given
    assert list(columns) == [*given, "y_mean"]
    mean = load(fitted / "model.pt").condition([[0.1], [1.0], [2.5]]).mean()
    np.testing.assert_allclose(numbers(columns, "y_mean"), mean, rtol=1e-12)


def test_rows_keep_their_order_and_their_answers(
    here: Run, fitted: Path, everything: Cells
) -> None:
    order = np.random.default_rng(0).permutation(len(everything["x"]))[:333]
    rows = "\n".join(["x", *(everything["x"][i] for i in order)])
    columns = table_of(
        here("predict", fitted / "model.pt", "-", *EVERYTHING[:6], stdin=rows.encode())
    )
    assert columns["x"] == [everything["x"][i] for i in order]
    for name in ("y_mean", "y_std", "y_median", "y_mode", "y_component_mean", "pi1"):
        np.testing.assert_allclose(
            numbers(columns, name), numbers(everything, name)[order], rtol=1e-9, atol=1e-9
        )


def test_a_table_with_more_rows_than_are_answered_at_once(
    run: Run, fitted: Path, tmp_path: Path
) -> None:
    count = (1 << 17) + 7
    x = np.round(np.random.default_rng(0).uniform(-10.0, 10.0, count), 3).astype(str)
    x[[5, count - 2]], x[count - 1] = "", "1000"
    # A reader would skip an empty line.
    (tmp_path / "long.csv").write_text("\n".join(["x", *(each or '""' for each in x)]) + "\n")
    command = ("predict", fitted / "model.pt", "long.csv", "--mean", "--flag-extrapolation")
    done = run(*command, "--on-bad-rows", "skip", "-o", "answers.csv")
    assert done.returncode == 0, done.stderr
    assert f"warning: 2 of {count} rows have a cell that cannot be used".encode() in done.stderr
    assert f"warning: 1 of {count} rows have a feature outside".encode() in done.stderr
    columns = cells((tmp_path / "answers.csv").read_bytes())
    assert columns["x"] == x.tolist()
    for name in ("y_mean", "extrapolates"):
        assert [i for i, cell in enumerate(columns[name]) if not cell] == [5, count - 2]
    assert [i for i, flag in enumerate(columns["extrapolates"]) if flag == "1"] == [count - 1]
    few = [0, 1, count - 3]
    mean = load(fitted / "model.pt").condition(x[few].astype(float)).mean()
    np.testing.assert_allclose(numbers(columns, "y_mean")[few], mean, rtol=1e-12)


def test_a_header_alone_gives_a_header(run: Run, here: Run, fitted: Path, wide: Path) -> None:
    done = run("predict", fitted / "model.pt", "-", *EVERYTHING, stdin=b"id,x,y\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"\n") == 1
    assert done.stdout.startswith(b"id,x,y,y_mean,y_std,")
    done = here("predict", wide / "model.pt", "-", "--hdr", "0.5", "--mode", stdin=b"c,b,a\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"c,b,a,u_mode,v_mode,u_hdr50_lo1,")


def test_only_questions_about_target_values_need_targets(
    here: Run, wide: Path, tmp_path: Path
) -> None:
    rows = b"c,b,a\n3.0,50,0\n"
    command = ("predict", wide / "model.pt", "-", "--only")
    free = ("--mean", "--std", "--median", "--mode", "--component-mean", "--parameters")
    table_of(
        here(*command, *free, "--quantiles", "0.5", "--hdr", "0.5", "--exceed", "u=1", stdin=rows)
    )
    table_of(here(*command, "--density", "--at-target", "u=15,v=0", stdin=rows))
    (tmp_path / "rows.csv").write_bytes(b"a,b,c,u\n0,50,3,15\n")
    for question in ("--density", "--cdf"):
        message = error_of(here("predict", wide / "model.pt", "rows.csv", question), 65)
        assert "no column 'v'" in message
        assert "--at-target" in message


def test_rows_outside_the_training_range_are_flagged(
    here: Run, wide: Path, both: Cells, tmp_path: Path
) -> None:
    data = read_table(wide / "data.csv")[["a", "b", "c"]].to_numpy()
    low, high = data.min(axis=0), data.max(axis=0)
    edge = 0.1 * (high - low)
    middle = np.median(data, axis=0)
    rows, flags = [middle], [0]
    for column in range(3):
        for end, side in ((low, -1.0), (high, 1.0)):
            for share, flag in ((0.0, 0), (0.99, 0), (1.01, 1), (20.0, 1)):
                row = middle.copy()
                row[column] = end[column] + side * share * edge[column]
                rows.append(row)
                flags.append(flag)
    lines = ["a,b,c", *(",".join(map(repr, row.tolist())) for row in rows)]
    (tmp_path / "r.csv").write_text("\n".join(lines))
    done = here("predict", wide / "model.pt", "r.csv", "--mean", "--flag-extrapolation")
    assert table_of(done)["extrapolates"] == [str(flag) for flag in flags]
    warning = f"warning: {sum(flags)} of {len(flags)} rows have a feature outside".encode()
    assert done.stderr.startswith(warning)
    without = here("predict", wide / "model.pt", "r.csv", "-q")
    assert "extrapolates" not in table_of(without)
    assert without.stderr == done.stderr
    assert set(both["extrapolates"]) == {"0"}


BAD = b"id,x,y\n1,0.5,1\n2,,2\n3,abc,3\n4,99,4\n5,inf,5\n6,2.5,\n7,NaN,7\n"


def test_a_bad_row_is_named_and_nothing_is_written(here: Run, fitted: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(BAD)
    (tmp_path / "old.csv").write_bytes(b"as it was")
    for more in ((), ("-o", "old.csv"), ("--on-bad-rows", "fail")):
        message = error_of(here("predict", fitted / "model.pt", "rows.csv", *more), 65)
        assert message.startswith("error: rows.csv, row 2, line 3, column 'x': the cell is empty")
        assert "; row 7, line 8, column 'x': 'NaN' stands for a missing value. No cell" in message
        assert "--on-bad-rows skip" in message
    assert (tmp_path / "old.csv").read_bytes() == b"as it was"


def test_skipped_rows_stay_with_empty_answers_and_are_counted(
    run: Run, here: Run, fitted: Path
) -> None:
    command = ("predict", fitted / "model.pt", "-", "--on-bad-rows", "skip", "--flag-extrapolation")
    done = run(*command, *EVERYTHING[:-1], stdin=BAD)
    columns = table_of(done)
    assert {name: columns[name] for name in ("id", "x", "y")} == cells(BAD)
    answers = [name for name in columns if name not in ("id", "x", "y")]
    empty = [all(columns[name][row] == "" for name in answers) for row in range(7)]
    assert empty == [False, True, True, False, True, True, True]
    assert b"warning: 5 of 7 rows have a cell that cannot be used" in done.stderr
    assert b"row 2, line 3, column 'x': the cell is empty" in done.stderr
    assert b"warning: 1 of 7 rows have a feature outside" in done.stderr
    assert [columns["extrapolates"][row] for row in (0, 3)] == ["0", "1"]
    good = table_of(here(*command, *EVERYTHING[:-1], stdin=b"id,x,y\n1,0.5,1\n4,99,4\n"))
    for name in answers:
        rows = numbers(columns, name)[[0, 3]]
        np.testing.assert_allclose(rows, numbers(good, name), rtol=1e-12, err_msg=name)


def test_a_bad_target_matters_only_where_it_is_needed(
    here: Run, fitted: Path, tmp_path: Path
) -> None:
    rows = b"x,y\n1,\n2,3\n3,none\n"
    command = ("predict", fitted / "model.pt", "-", "--mean", "--only")
    free = table_of(here(*command, stdin=rows))
    assert "" not in free["y_mean"]
    # A lone empty answer is not written as an empty line, which readers skip.
    lone = here(*command[:3], "--cdf", "--only", "--on-bad-rows", "skip", stdin=rows)
    assert [cell == "" for cell in table_of(lone)["y_cdf"]] == [True, False, True]
    assert b"\n\n" not in lone.stdout
    (tmp_path / "rows.csv").write_bytes(rows)
    message = error_of(here("predict", fitted / "model.pt", "rows.csv", "--mean", "--cdf"), 65)
    assert "rows.csv, row 1, line 2, column 'y': the cell is empty" in message


# Errors.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--quantiles", "0"), "--quantiles is 0"),
        (("--quantiles", "0.5,1"), "--quantiles is 1"),
        (("--quantiles", "abc"), "--quantiles is 'abc': it must be a finite number"),
        (("--quantiles", "nan"), "--quantiles is 'nan': it must be a finite number"),
        (("--interval", "90"), "--interval is 90"),
        (("--hdr", "-0.1"), "--hdr is -0.1"),
        (
            ("--mean", "--log"),
            "--log applies to --density, --probability, --cdf, --exceed and --survival",
        ),
        (("--at-target", "1"), "sets where --density, --probability and --cdf are computed"),
        (("--mean", "--marginal"), "--marginal applies to --density"),
        (("--exceed", "much"), "--exceed is 'much': it must be a finite number"),
        (("--cdf", "--at-target", "y=1,y=2"), "names 'y' twice"),
        (("--std",), "'y_std' already. Rename the column, or write the answers alone: --only"),
        (("--on-bad-rows", "ignore"), "'ignore'"),
        (("-o", "rows.csv"), "would replace an input"),
        (("-o", "model.pt"), "would replace an input"),
    ],
)
def test_wrong_usage(here: Run, fitted: Path, tmp_path: Path, options: tuple, words: str) -> None:
    (tmp_path / "rows.csv").write_bytes(b"x,y,y_std\n1,2,3\n")
    (tmp_path / "model.pt").write_bytes((fitted / "model.pt").read_bytes())
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert words in error_of(here("predict", "model.pt", "rows.csv", *options), 2)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_several_targets_need_by_name(here: Run, wide: Path) -> None:
    command = ("predict", wide / "model.pt", wide / "data.csv", "--only")
    for options, status, word in (
        (("--exceed", "15"), 2, "--exceed u=15,v=15"),
        (("--density", "--at-target", "u=15"), 2, "--at-target lacks 'v'"),
        (("--exceed", "w=1"), 65, "no target 'w'"),
    ):
        assert word in error_of(here(*command, *options), status)


def test_only_avoids_a_clash_of_names(here: Run, fitted: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"x,y,y_mean,extrapolates\n1,2,3,4\n")
    (tmp_path / "old.csv").write_bytes(b"as it was")
    command = ("predict", fitted / "model.pt", "rows.csv", "--mean", "--flag-extrapolation")
    message = error_of(here(*command, "-o", "old.csv"), 2)
    assert "'y_mean', 'extrapolates'" in message
    assert "--only" in message
    assert (tmp_path / "old.csv").read_bytes() == b"as it was"
    assert list(table_of(here(*command, "--only"))) == ["y_mean", "extrapolates"]


@pytest.mark.parametrize(
    ("model", "rows", "status", "words"),
    [
        ("model.pt", "renamed.csv", 65, ["no column 'x'", "Did you mean 'X'?"]),
        ("model.pt", "ragged.csv", 65, ["ragged.csv, row 2", "3 fields"]),
        ("model.pt", "empty.csv", 65, ["empty.csv", "empty"]),
        ("model.pt", "nowhere.csv", 66, ["nowhere.csv: there is no such file"]),
        ("nowhere.pt", "renamed.csv", 66, ["nowhere.pt: there is no such file"]),
        ("renamed.csv", "renamed.csv", 65, ["this is not a model file"]),
        ("-", "-", 2, ["Only one of MODEL and ROWS"]),
    ],
)
def test_what_is_refused(
    here: Run, fitted: Path, tmp_path: Path, model: str, rows: str, status: int, words: list
) -> None:
    (tmp_path / "model.pt").write_bytes((fitted / "model.pt").read_bytes())
    (tmp_path / "renamed.csv").write_bytes(b"X,y\n1,2\n")
    (tmp_path / "ragged.csv").write_bytes(b"x,y\n1,2\n1,2,3\n")
    (tmp_path / "empty.csv").write_bytes(b"")
    message = error_of(here("predict", model, rows), status)
    assert all(word in message for word in words), message


# Streams.


def test_models_and_rows_come_through_pipes(
    run: Run, here: Run, fitted: Path, everything: Cells
) -> None:
    model, data = fitted / "model.pt", fitted / "data.csv"
    command = ("--mean", "--hdr", "0.9")
    by_model = here("predict", "-", data, *command, stdin=model.read_bytes())
    by_rows = run("predict", model, "-", *command, "-o", "-", stdin=data.read_bytes())
    assert by_model.stdout == by_rows.stdout
    assert by_model.stderr == by_rows.stderr == b""
    columns = table_of(by_rows)
    assert columns == {name: everything[name] for name in columns}


def test_a_file_holds_the_same_bytes_every_time(run: Run, fitted: Path, tmp_path: Path) -> None:
    command = ("predict", fitted / "model.pt", fitted / "data.csv", "--mode", "--median")
    done = run(*command, "-o", "answers.csv")
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr == b"wrote answers.csv\n"
    assert run(*command).stdout == (tmp_path / "answers.csv").read_bytes()


def test_a_reader_that_leaves_early_ends_it_quietly(fitted: Path) -> None:
    # 100,000 rows of parameters do not fit into a pipe, so the writer meets the closed end.
    script = (
        f'(echo x; seq 100000) | "{sys.executable}" -m mdncli predict model.pt - --parameters'
        " --on-bad-rows skip 2> stderr.txt | head -2; "
        "echo ${PIPESTATUS[1]}; cat stderr.txt; rm stderr.txt"
    )
    done = subprocess.run(
        ["bash", "-c", script], cwd=fitted, capture_output=True, text=True, check=True
    )
    *rows, status = done.stdout.splitlines()
    assert status == "0"
    assert [row.split(",")[0] for row in rows] == ["x", "1"]


def test_a_failed_output_leaves_the_file_before(fitted: Path, tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_bytes(b"as it was")
    script = 'ulimit -f 4; exec "$0" -m mdncli predict "$@" -o out.csv'
    arguments = [sys.executable, str(fitted / "model.pt"), str(fitted / "data.csv")]
    done = subprocess.run(
        ["bash", "-c", script, *arguments], cwd=tmp_path, capture_output=True, check=False
    )
    assert error_of(done, 74).startswith("error: out.csv: cannot be written")
    assert os.listdir(tmp_path) == ["out.csv"]
    assert (tmp_path / "out.csv").read_bytes() == b"as it was"


def test_help_shows_every_question(run: Run) -> None:
    message = run("predict", "--help").stdout.decode()
    for option in (*EVERYTHING, "--log", "--marginal", "--at-target", "--only", "--on-bad-rows"):
        assert not option.startswith("--") or option in message
    assert "Example: mdn predict" in message
    assert "search" in message
