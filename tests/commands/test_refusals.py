"""Errors: one clear line, the exit status, no traceback, and no file overwritten."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mdncli.commands import app
from running import Run

GOOD = b"x,y\n" + b"".join(b"%d,%d\n" % (i, (i * 7) % 13) for i in range(30))


def error_of(done, status: int, *words: str) -> str:
    """Check that a command failed with this status, and return its standard error."""
    message = done.stderr.decode()
    assert done.returncode == status, message
    assert "Traceback" not in message
    assert done.stdout == b""
    for word in words:
        assert word in message
    return message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["empty"]),
        (b"x,y\n", ["0 rows are too few"]),
        (b"x,y\n1,2\n", ["1 row is too few"]),
        (GOOD[:28], ["too few"]),
        (GOOD + b"3\n", ["row 31", "1 field"]),
        (GOOD + b"3,4,5\n", ["row 31", "3 fields"]),
        (GOOD.replace(b"\n", b",1\n").replace(b"y,1", b"y,"), ["column 3 has no name", "--name-"]),
        (b"x,y\n" + GOOD[4:].replace(b"\n", b",5\n", 2), ["row 1", "3 fields", "comma"]),
        (GOOD.replace(b"x,y", b"y,y"), ["two columns are named 'y'"]),
        (GOOD + b"abc,4\n", ["row 31, line 32", "column 'x'", "'abc' is not a number"]),
        (GOOD + b"4,-inf\n", ["row 31, line 32", "column 'y'", "'-inf' is not a finite number"]),
        (b"x,y\n" + b"".join(b"%d,5\n" % i for i in range(30)), ["target 'y' is 5 in every row"]),
        (b"y\n1\n2\n3\n", ["the only column is 'y'"]),
    ],
)
def test_tables_that_fit_refuses(here: Run, tmp_path: Path, content: bytes, words: list) -> None:
    (tmp_path / "data.csv").write_bytes(content)
    (tmp_path / "model.pt").write_bytes(b"as it was")
    message = error_of(here("fit", "data.csv"), 65, "error: data.csv", *words)
    assert message.count("\n") == 1
    assert (tmp_path / "model.pt").read_bytes() == b"as it was"
    assert sorted(os.listdir(tmp_path)) == ["data.csv", "model.pt"]


@pytest.mark.parametrize(
    "column",
    [["1_000", "5%"], ["NA", "1,5"], ["", "inf"], ["2020-01-01 00:00:00+99:00", "9" * 400]],
)
@pytest.mark.parametrize("name", ["x", "n" * 1000])
def test_a_line_about_many_faults_is_not_long(
    here: Run, tmp_path: Path, column: list, name: str
) -> None:
    cells = [*(str(i) for i in range(30)), *(cell for cell in column for _ in range(40))]
    text = f"{name},y\n" + "".join(f'"{cell}",{i % 7}\n' for i, cell in enumerate(cells))
    (tmp_path / "data.csv").write_text(text)
    for arguments in (("fit", "data.csv"), ("fit", "data.csv", "--numeric", name)):
        message = error_of(here(*arguments), 65, "more cells")
        assert message.count("\n") == 1
        assert len(message) <= 501


def test_standard_input_is_named_in_refusals(run: Run) -> None:
    error_of(run("fit", "-", stdin=b"x,y\n1,b\n"), 65, "standard input, row 1, line 2, column 'y'")


@pytest.mark.parametrize(
    "arguments",
    [
        ("fit", "data.csv", "-k", "0"),
        ("fit", "data.csv", "-k", "-3"),
        ("fit", "data.csv", "-k", "many"),
        ("fit", "data.csv", "-t", "y", "-x", "y"),
        ("fit", "data.csv", "-t", "y", "--ignore", "y"),
        ("fit", "data.csv", "-o", "./data.csv"),
        ("sample", "model.pt", "-o", "model.pt"),
        ("sample", "model.pt", "--rows", "data.csv", "-o", "data.csv"),
        ("fit", "data.csv", "-x", "x,y"),
        ("fit", "data.csv", "-x", ""),
        ("fit", "data.csv", "-o", "-", "--json"),
        ("fit", "data.csv", "--hidden", "64;64"),
        ("fit", "data.csv", "--activation", "sine"),
        ("fit", "data.csv", "--valid", "1.5"),
        ("fit", "data.csv", "--no-such-option"),
        ("fit",),
        ("generate", "circle"),
        ("generate", "spiral", "--n", "0"),
        ("generate", "spiral", "--noise", "-1"),
        ("sample", "model.pt", "--temperature", "0"),
        ("sample", "model.pt", "--sigma-temperature", "-1"),
        ("sample", "model.pt", "--n", "0"),
        ("sample", "model.pt", "--at", "x"),
        ("sample", "model.pt", "--at", "x=one"),
        ("sample", "model.pt", "--at", "x=1,x=2"),
        ("sample", "model.pt", "--at", "x=1", "--rows", "data.csv"),
        ("sample", "-", "--rows", "-"),
        ("plot", "model.pt", "-o", "picture.jpg"),
        ("plot", "model.pt", "-o", "picture"),
        ("plot", "model.pt", "--kind", "pie"),
        ("plot", "model.pt", "--kind", "comparison"),
        ("plot", "-", "-"),
        ("nonsense",),
        ("plot", "model.pt", "--seed", "-1"),
        ("sample", "model.pt", "--seed", "-1"),
        ("sample", "model.pt", "--n", "1" + 20 * "0"),
        ("generate", "sinusoid", "--n", "1" + 20 * "0"),
        ("generate", "bishop", "--noise", "1e308"),
        ("fit", "data.csv", "--threads", "100000"),
    ],
)
def test_wrong_usage(here: Run, fitted: Path, tmp_path: Path, arguments: tuple) -> None:
    for name in ("data.csv", "model.pt"):
        (tmp_path / name).write_bytes((fitted / name).read_bytes())
    message = error_of(here(*arguments), 2)
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == ["data.csv", "model.pt"]


def test_several_features_need_a_place_to_sample_at(run: Run, wide: Path) -> None:
    error_of(run("sample", wide / "model.pt"), 2, "--rows", "--at 'a=…,b=…,c=…'")
    error_of(run("sample", wide / "model.pt", "--at", "a=1"), 2, "'b', 'c'")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fit", "data.csv", "-t", "z"), ["no column 'z'"]),
        (("fit", "data.csv", "-x", "X"), ["no column 'X'", "Did you mean 'x'?"]),
        (("fit", "data.csv", "--ignore", "z"), ["no column 'z'"]),
        (("sample", "model.pt", "--at", "z=1"), ["no feature 'z'"]),
        (("sample", "model.pt", "--rows", "other.csv"), ["no column 'x'", "Did you mean 'xx'?"]),
        (("plot", "model.pt", "other.csv"), ["no column 'x'"]),
        (("plot", "model.pt", "--along", "z"), ["no feature 'z'"]),
        (("plot", "model.pt", "--target", "z"), ["no target 'z'"]),
        (("sample", "data.csv"), ["data.csv: this is not a model file"]),
        (("plot", "cut.pt"), ["cut.pt: this is not a model file", "cut short"]),
    ],
)
def test_what_is_not_there(
    here: Run, fitted: Path, tmp_path: Path, arguments: tuple, words: list
) -> None:
    for name in ("data.csv", "model.pt"):
        (tmp_path / name).write_bytes((fitted / name).read_bytes())
    (tmp_path / "other.csv").write_bytes(b"xx,y\n1,2\n")
    (tmp_path / "cut.pt").write_bytes((fitted / "model.pt").read_bytes()[:9000])
    before = sorted(os.listdir(tmp_path))
    error_of(here(*arguments), 65, *words)
    assert sorted(os.listdir(tmp_path)) == before


def test_a_comparison_without_a_baseline_says_how_to_get_one(here: Run, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(GOOD)
    assert here("fit", "data.csv", "--epochs", "2").returncode == 0
    done = here("plot", "model.pt", "data.csv", "--kind", "comparison")
    error_of(done, 65, "Fit one with the mixture: --baseline")


@pytest.mark.parametrize(
    "arguments",
    [
        ("fit", "nowhere.csv"),
        ("sample", "nowhere.pt"),
        ("plot", "nowhere.pt"),
        ("plot", "model.pt", "nowhere.csv"),
        ("sample", "model.pt", "--rows", "nowhere.csv"),
    ],
)
def test_a_missing_file(here: Run, fitted: Path, tmp_path: Path, arguments: tuple) -> None:
    (tmp_path / "model.pt").write_bytes((fitted / "model.pt").read_bytes())
    error_of(here(*arguments), 66, "nowhere", "there is no such file")


def test_a_folder_without_tables_is_refused(here: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    error_of(here("fit", "folder"), 66, "folder: no file in this folder has the name of a table")
    (tmp_path / "data.csv").write_bytes(GOOD)
    error_of(
        here("fit", "data.csv", "--epochs", "1", "-q", "-o", "folder"), 74, "cannot be written"
    )
    for name in ("no/such/folder.csv", "new-folder/", ""):
        error_of(here("generate", "spiral", "-o", name), 74, "cannot be written")


def test_fit_checks_that_it_can_write_before_it_learns(here: Run, tmp_path: Path) -> None:
    message = error_of(here("fit", "nowhere.csv", "-o", "no/such/model.pt"), 74, "no such folder")
    assert "epoch" not in message


def test_a_bug_is_reported_as_one(here: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(app, "app", fail)
    error_of(here("generate", "spiral"), 70, "a bug in mdn", "ZeroDivisionError: division by zero")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full device")
def test_a_full_disk(run: Run, tmp_path: Path, fitted: Path) -> None:
    error_of(run("generate", "spiral", "-o", "/dev/full"), 74, "no space left")
    (tmp_path / "data.csv").write_bytes(GOOD)
    error_of(run("fit", "data.csv", "--epochs", "1", "-q", "-o", "/dev/full"), 74, "no space left")


def limited(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run `mdn` where no file may grow beyond 4 kB, as on a disk that fills up."""
    script = 'ulimit -f 4; exec "$0" -m mdncli "$@"'
    return subprocess.run(
        ["bash", "-c", script, sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        check=False,
    )


def test_a_disk_that_fills_up_leaves_the_file_before(tmp_path: Path, fitted: Path) -> None:
    for name in ("out.csv", "out.pt", "out.png"):
        (tmp_path / name).write_bytes(b"as it was")
    model, data = str(fitted / "model.pt"), str(fitted / "data.csv")
    for command in (
        ("generate", "spiral", "-o", "out.csv"),
        ("fit", data, "--epochs", "1", "-q", "-o", "out.pt"),
        ("plot", model, "-o", "out.png"),
        ("sample", model, "-o", "out.csv"),
    ):
        error_of(limited(tmp_path, *command), 74, "cannot be written")
    assert sorted(os.listdir(tmp_path)) == ["out.csv", "out.png", "out.pt"]
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"as it was"}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full device")
@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("generate", "spiral"),
        ("sample", "model.pt"),
        ("fit", "data.csv", "--epochs", "1", "-q", "--json", "-o", "/dev/null"),
    ],
)
def test_standard_output_on_a_full_disk(fitted: Path, arguments: tuple) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mdncli", *arguments],
            cwd=fitted,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr.count(b"\n")) == (74, 1), done.stderr
    assert b"standard output: cannot be written: no space left" in done.stderr


def test_an_unwritable_folder(run: Run, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    error_of(run("generate", "spiral", "-o", folder / "data.csv"), 74, "permission denied")


def test_text_from_a_file_cannot_disturb_the_terminal(here: Run) -> None:
    hostile = "x,y\n1,\x1b[31m\u202e[bold]red\n".encode()
    message = error_of(here("fit", "-", stdin=hostile), 65, r"\x1b[31m\u202e[bold]red")
    assert "\x1b" not in message
    assert "\u202e" not in message
