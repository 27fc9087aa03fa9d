"""Where a model may come from, a file or a pipe of a limited size, and what the commands refuse."""

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from commands.helpers import error_of
from modelfile import hostile

from mdncli.commands import console
from running import Run

GOLDEN = Path(__file__).parents[1] / "modelfile" / "files" / "version9.pt"
COMMANDS = [("inspect",), ("sample",), ("predict",), ("evaluate",), ("plot",)]
MOST_SECONDS, LONGEST_ERROR = 2.0, 500


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a model and a table."""
    (tmp_path / "model.pt").write_bytes(GOLDEN.read_bytes())
    (tmp_path / "rows.csv").write_text("x,c,y\n1,a,2\n")
    return tmp_path


def words(command: str, model: str) -> tuple[str, ...]:
    return (command, model, "rows.csv") if command in ("predict", "evaluate") else (command, model)


@pytest.mark.parametrize("command", [name for [name] in COMMANDS])
@pytest.mark.parametrize(
    ("model", "status", "message"),
    [
        ("fifo", 66, "fifo: no program writes to this pipe."),
        ("/dev/zero", 65, "/dev/zero: this is a device, not a file or a pipe."),
        ("large.pt", 65, "large.pt: the model file has more than 1,073,741,824 bytes."),
        ("nowhere.pt", 66, "nowhere.pt: there is no such file."),
        (".", 74, "cannot be read: is a directory."),
    ],
)
def test_what_is_no_file_is_refused_at_once(
    here: Run, folder: Path, command: str, model: str, status: int, message: str
) -> None:
    os.mkfifo(folder / "fifo")
    with (folder / "large.pt").open("wb") as large:
        large.write(GOLDEN.read_bytes())
        # Most of it has no place on the disk.
        large.truncate(1 << 40)
    if (command, model) == ("inspect", "."):
        # The files of a folder may be one table.
        status, message = 66, ".: no file in this folder has the name of a table."
        (folder / "rows.csv").unlink()
    started = time.monotonic()
    assert message in error_of(here(*words(command, model)), status)
    assert time.monotonic() - started < MOST_SECONDS


@pytest.mark.parametrize("command", [name for [name] in COMMANDS])
def test_every_command_takes_a_limit(here: Run, folder: Path, command: str) -> None:
    for limit in ("1000", "1K", "1kB", "1KiB"):
        done = here(*words(command, "model.pt"), "--max-model-size", limit)
        assert "larger --max-model-size." in error_of(done, 65)
        done = here(*words(command, "-"), "--max-model-size", limit, stdin=GOLDEN.read_bytes())
        assert "larger --max-model-size." in error_of(done, 65)
    for wrong in ("", "0", "-1", "1.5", "big", "1P", "0G"):
        done = here(*words(command, "model.pt"), f"--max-model-size={wrong}")
        assert "--max-model-size is" in error_of(done, 2)


def test_the_limit_can_be_the_size(here: Run, folder: Path) -> None:
    size = str(GOLDEN.stat().st_size)
    assert here("inspect", "model.pt", "--max-model-size", size).returncode == 0


def in_shell(folder: Path, line: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash, in which `$MDN` is the command."""
    environment = {**os.environ, "MDN": f"{sys.executable} -m mdncli"}
    return subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        cwd=folder,
        env=environment,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "line",
    [
        "$MDN inspect <(cat model.pt)",
        "$MDN inspect <(head -c 2 model.pt; sleep 0.5; tail -c +3 model.pt)",
        "cat model.pt | $MDN inspect /dev/stdin",
        "(sleep 0.5; cat model.pt) | $MDN inspect /dev/stdin",
        "cat model.pt | $MDN inspect -",
        "$MDN inspect - < model.pt",
        "mkfifo named; cat model.pt > named & $MDN inspect named",
    ],
)
def test_a_model_can_come_from_a_pipe(folder: Path, line: str) -> None:
    done = in_shell(folder, line)
    assert done.returncode == 0, done.stderr
    assert b"members" in done.stdout


@pytest.mark.parametrize(
    "line",
    ["$MDN inspect <(cat rows.csv)", "cat rows.csv | $MDN inspect -", "$MDN inspect - < rows.csv"],
)
def test_a_table_can_still_come_from_a_pipe(folder: Path, line: str) -> None:
    assert in_shell(folder, line).stdout.startswith(b"1 row, 3 columns")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("$MDN sample - < /dev/zero", 65),
        ("$MDN inspect - < /dev/zero", 65),
        ("cat /dev/zero | $MDN sample -", 65),
        ("cat /dev/zero | $MDN sample /dev/stdin", 65),
        ("(cat model.pt /dev/zero) | $MDN sample - --max-model-size 1M", 65),
        ("(cat model.pt /dev/zero) | $MDN sample /dev/stdin --max-model-size 1M", 65),
        ("true | $MDN sample /dev/stdin", 66),
        ("true | $MDN sample -", 65),
    ],
)
def test_a_pipe_without_an_end_or_a_model_is_refused(folder: Path, line: str, status: int) -> None:
    error_of(in_shell(folder, line), status)


SOME = (
    *("a tuple doubled 40 times as a name", "200,000 tuples in each other", "ten million opcodes"),
    *("a megabyte, used by 20,000 tensors", "a version of 200,000 tuples", "os.system"),
    *("an unknown reason to stop", "a tensor among the settings", "tuples as names"),
    *("half a surrogate pair as a level", "weights near the end of float32"),
)


@pytest.mark.parametrize("name", SOME)
def test_the_commands_refuse_it_in_one_line(here: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "model.pt").write_bytes(hostile.HOSTILE[name]())
    (tmp_path / "rows.csv").write_text("x,c\n1,a\n")
    for command in (
        ("inspect", "model.pt"),
        ("sample", "model.pt"),
        ("predict", "model.pt", "rows.csv"),
    ):
        message = error_of(here(*command), 65)
        assert len(message) <= LONGEST_ERROR + 1
        assert "Traceback" not in message
    assert not (tmp_path / hostile.CANARY).exists()


def test_a_process_of_its_own_ends_soon(run: Run, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(hostile.HOSTILE["200,000 tuples in each other"]())
    assert "nested too deeply" in error_of(run("inspect", "model.pt", "--json"), 65)


def test_of_a_long_error_the_middle_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """An error may repeat names from a file, and its end says what to do."""
    console.fail(f"model.pt: the columns {'name ' * 1000} are missing. \x1b Add them.")
    message = capsys.readouterr().err
    assert len(message) == LONGEST_ERROR + 1
    assert message.startswith("error: model.pt: the columns name name")
    assert message.endswith(" are missing. \\x1b Add them.\n")


def test_a_warning_of_a_library_is_shown_in_our_words(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        console.show_warnings()
        warnings.warn("overflow encountered in exp", RuntimeWarning, stacklevel=1)
    assert capsys.readouterr().err == (
        "warning: a number is too large or too small to compute with: an answer may be missing.\n"
    )
