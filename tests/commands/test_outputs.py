"""Outputs that fail, standard streams that are closed or full, and outputs that are inputs."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from api.faults import STAGES, fault_at
from commands.helpers import error_of

from mdncli import load
from running import Run

FIT = ("fit", "data.csv", "--no-ladder", "--steps", "2", "-q")
# Every command that writes a file, without `-o`.
WRITERS = {
    "out.pt": FIT,
    "predicted.csv": ("predict", "model.pt", "data.csv", "-q"),
    "predicted.csv.gz": ("predict", "model.pt", "data.csv", "-q"),
    "predicted.parquet": ("predict", "model.pt", "data.csv", "-q"),
    "sampled.jsonl": ("sample", "model.pt", "-q"),
    "scored.csv": ("evaluate", "model.pt", "other.csv", "--per-row", "-q"),
    "drawn.png": ("plot", "model.pt", "-q"),
    "made.csv": ("generate", "spiral", "-q"),
}
needs_full_device = pytest.mark.skipif(
    not os.path.exists("/dev/full"), reason="needs a full device"
)


@pytest.fixture
def folder(tmp_path: Path, fitted: Path) -> Path:
    """Return a folder with a table, its model, and a table that the model has not seen."""
    (tmp_path / "other.csv").write_bytes(b"x,y\n0.5,0.25\n1.5,0.5\n")
    for name in ("data.csv", "model.pt"):
        (tmp_path / name).symlink_to(fitted / name)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        *((name, stage) for name in ("out.pt", "predicted.csv", "drawn.png") for stage in STAGES),
        *((name, "write") for name in WRITERS if name.endswith(("gz", "parquet", "jsonl"))),
    ],
)
def test_a_full_disk_at_any_stage_leaves_the_old_file(
    folder: Path, here: Run, monkeypatch: pytest.MonkeyPatch, name: str, stage: str
) -> None:
    (folder / name).write_bytes(b"before")
    names = sorted(os.listdir(folder))
    fault_at(stage, monkeypatch)
    message = error_of(here(*WRITERS[name], "-o", name), 74)
    assert f"{name}: cannot be written: no space left on device." in message
    assert (folder / name).read_bytes() == b"before"
    assert sorted(os.listdir(folder)) == names


@pytest.mark.parametrize("name", ["out.pt", "predicted.csv", "scored.csv", "drawn.png"])
def test_a_file_that_may_not_grow_is_not_replaced(folder: Path, name: str) -> None:
    def limited() -> None:
        # The system itself ends the writing, after some of the bytes.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    (folder / name).write_bytes(b"before")
    names = sorted(os.listdir(folder))
    done = started(folder, *WRITERS[name], "-o", name, preexec_fn=limited)
    message = error_of(done, 74)
    assert f"{name}: cannot be written: file too large." in message
    assert (folder / name).read_bytes() == b"before"
    assert sorted(os.listdir(folder)) == names


def test_a_command_that_is_killed_leaves_nothing_for_long(folder: Path, here: Run) -> None:
    command = ["sample", "model.pt", "--n", "1000000", "--at", "x=0", "-q", "-o", "out.csv"]
    with subprocess.Popen([sys.executable, "-m", "mdncli", *command], cwd=folder) as process:
        while not hidden(folder):
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    assert hidden(folder)
    assert not (folder / "out.csv").exists()
    assert here("generate", "spiral", "-q", "-o", "other.csv").returncode == 0
    assert hidden(folder)
    assert here("generate", "spiral", "-q", "-o", "out.csv").returncode == 0
    assert not hidden(folder)


def hidden(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".")]


@needs_full_device
@pytest.mark.parametrize(
    "command",
    [(*FIT, "-o", "-"), ("evaluate", "model.pt", "other.csv", "--json"), ("sample", "model.pt")],
)
def test_standard_output_on_a_full_disk_is_one_line(folder: Path, command: tuple) -> None:
    with open("/dev/full", "wb") as full:
        done = started(folder, *command, stdout=full)
    assert (done.returncode, done.stderr.count(b"\n")) == (74, 1)
    assert b"error: standard output: cannot be written: no space left" in done.stderr


@pytest.mark.parametrize("end", ["closed", pytest.param("/dev/full", marks=needs_full_device)])
@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("fit", "data.csv", "--no-ladder", "--steps", "2", "-o", "out.pt"), 0),
        (("predict", "model.pt", "data.csv", "-o", "out.csv"), 0),
        (("evaluate", "model.pt", "other.csv", "--fail-over", "nll=-9"), 1),
        (("predict", "model.pt", "data.csv", "--no-such-option"), 2),
        ((), 2),
    ],
)
def test_messages_that_cannot_be_written_are_lost_and_the_work_is_not(
    folder: Path, here: Run, command: tuple, status: int, end: str
) -> None:
    done = with_stream(folder, *command, number=2, end=end)
    assert done.returncode == status
    written = sorted(folder.glob("out.*"))
    assert len(written) == ("-o" in command)
    contents = [path.read_bytes() for path in written]
    plain = here(*command)
    assert (plain.returncode, plain.stdout) == (status, done.stdout)
    assert [path.read_bytes() for path in written] == contents


def test_a_message_does_not_go_into_a_file_that_took_the_number_of_a_closed_stream(
    folder: Path,
) -> None:
    code = (
        "import os, sys\n"
        "from mdncli.commands import app\n"
        "from mdncli.conditional_density import ConditionalDensity\n"
        "write = ConditionalDensity.write\n"
        "def loud(self, stream):\n"
        "    for number in (0, 1, 2): os.write(number, b'a message of a library')\n"
        "    write(self, stream)\n"
        "ConditionalDensity.write = loud\n"
        f"sys.argv = ['mdn', *{FIT!r}, '-o', 'out.pt']\n"
        "sys.exit(app.run())\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        ["bash", "-c", '"$@" <&- >&- 2>&-', "bash", *command], cwd=folder, check=False
    )
    assert done.returncode == 0
    assert load(folder / "out.pt").schema.target_names == ["y"]


@pytest.mark.parametrize(
    "command",
    [
        ("generate", "spiral"),
        ("predict", "nowhere.pt", "data.csv"),
        ("evaluate", "nowhere.pt", "data.csv", "--json"),
        ("plot", "nowhere.pt", "-o", "-"),
        (*FIT, "-o", "-"),
        (*FIT, "--json"),
    ],
)
def test_a_closed_standard_output_is_refused_before_the_work(folder: Path, command: tuple) -> None:
    done = with_stream(folder, *command, number=1, end="closed")
    assert (done.returncode, done.stdout) == (74, b"")
    assert done.stderr == b"error: standard output: cannot be written: it is closed.\n"


def test_scores_that_nobody_reads_need_no_standard_output(folder: Path) -> None:
    command = ("evaluate", "model.pt", "data.csv", "-q", "--fail-over", "nll=-9")
    done = with_stream(folder, *command, number=1, end="closed")
    assert done.returncode == 1


@pytest.mark.parametrize("name", WRITERS)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    folder: Path, here: Run, name: str
) -> None:
    # There is no input, so a refusal of the output shows that it was checked first.
    command = [
        "nowhere" if word in ("data.csv", "other.csv", "model.pt") else word
        for word in WRITERS[name]
    ]
    message = error_of(here(*command, "-o", f"no/folder/{name}"), 74)
    assert "there is no such folder" in message


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "model.pt", "-", "-o", "same.csv"),
        ("predict", "model.pt", "/dev/stdin", "-o", "same.csv"),
        ("sample", "model.pt", "--rows", "-", "-o", "same.csv"),
        ("evaluate", "model.pt", "-", "--per-row", "-o", "same.csv"),
        ("fit", "-", "-o", "same.csv"),
        ("plot", "model.pt", "-", "-o", "same.png"),
    ],
)
def test_standard_input_is_not_replaced(folder: Path, command: tuple) -> None:
    same = folder / command[-1]
    same.write_bytes((folder / "data.csv").read_bytes())
    with same.open("rb") as stream:
        done = started(folder, *command, stdin=stream)
    assert f"-o {same.name} would replace an input" in error_of(done, 2)
    assert same.read_bytes() == (folder / "data.csv").read_bytes()


def test_another_file_on_standard_input_is_no_obstacle(folder: Path) -> None:
    (folder / "out.csv").write_bytes(b"before")
    with (folder / "data.csv").open("rb") as stream:
        done = started(folder, "predict", "model.pt", "-", "-o", "out.csv", "-q", stdin=stream)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (folder / "out.csv").read_bytes().startswith(b"x,y,y_mean")


def test_a_reader_that_leaves_a_named_pipe_early_ends_the_command_quietly(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    command = ("sample", "model.pt", "--n", "1000000", "-o", "pipe")
    with subprocess.Popen(["head", "-n", "1", "pipe"], cwd=folder, stdout=subprocess.PIPE) as head:
        done = started(folder, *command)
        assert head.communicate()[0] == b"x,y\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def with_stream(
    folder: Path, *command: str, number: int, end: str
) -> subprocess.CompletedProcess[bytes]:
    """Run `mdn` with a standard stream that is closed, or that is this file."""
    redirected = f"{number}>&-" if end == "closed" else f"{number}>{end}"
    return subprocess.run(
        ["bash", "-c", f'"$@" {redirected}', "bash", sys.executable, "-m", "mdncli", *command],
        capture_output=True,
        cwd=folder,
        check=False,
    )


def started(
    folder: Path,
    *command: str,
    stdin: object = subprocess.DEVNULL,
    stdout: object = subprocess.PIPE,
    preexec_fn: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run `mdn` in a process of its own, on these streams."""
    done = subprocess.run(
        [sys.executable, "-m", "mdncli", *command],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        preexec_fn=preexec_fn,
        cwd=folder,
        check=False,
    )
    return subprocess.CompletedProcess(command, done.returncode, done.stdout or b"", done.stderr)
