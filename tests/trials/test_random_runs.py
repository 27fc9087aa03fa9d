"""Random arguments and damaged files, and whether the trial sees what is wrong."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


def test_200_random_runs_end_as_the_design_says(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "random_runs.py"), "--runs", "200", "--seed", "0"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    # Enough of them succeed, so that not the refusals alone are tried.
    ends = [line.split() for line in done.stdout.splitlines() if line[:6].strip().isdigit()]
    assert sum(int(count) for count, *_, status in ends if status == "0") >= 50


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module("random_runs")


@pytest.mark.parametrize(
    ("words", "status", "messages", "fault"),
    [
        ("predict", 65, "error: t.csv is not a table.\n", ""),
        ("predict", 0, "warning: few rows.\nwrote out.csv\n", ""),
        ("fit", 1, "", ""),
        ("evaluate --fail-over nll=1", 1, "", ""),
        ("predict", 1, "", "exit status is 1"),
        ("predict", 70, "", "exit status is 70"),
        ("predict", -6, "", "exit status is -6"),
        ("predict", 65, "", "0 lines of error"),
        ("predict", 65, "error: one.\nerror: two.\n", "2 lines of error"),
        ("predict", 0, "error: one.\n", "1 lines of error"),
        ("predict", 65, "error: one.\nand more\n", "not the last line"),
        ("predict", 65, f"error: {'x' * 500}\n", "507 characters"),
        ("predict", 65, "error: \x1b[31m\n", "control characters"),
        ("fit", 1, "Traceback (most recent call last):\n", "a traceback"),
        ("fit", 0, "/lib/mixture.py:295: RuntimeWarning: overflow\n", "warning of a library"),
    ],
)
def test_what_is_wrong_with_a_run_is_seen(
    trial: Any, tmp_path: Path, words: str, status: int, messages: str, fault: str
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (tmp_path / "stderr").write_text(messages)
    (tmp_path / "stdout").touch()
    run = trial.Run(0, folder, words.split(), status=status)
    trial.judge(run, trial.snapshot(folder))
    assert len(run.faults) == bool(fault)
    assert fault in "".join(run.faults)


@pytest.mark.parametrize(
    ("status", "name", "wrong"),
    [(0, "out.csv", False), (0, "data.csv", True), (65, "out.csv", True), (0, ".out.1.ab", True)],
)
def test_a_file_that_must_not_change_is_watched(
    trial: Any, tmp_path: Path, status: int, name: str, wrong: bool
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "data.csv").touch()
    (tmp_path / "stderr").write_text("error: no.\n" if status else "")
    (tmp_path / "stdout").touch()
    run = trial.Run(0, folder, ["sample", "model.pt", "-o", "out.csv"], status=status)
    before = trial.snapshot(folder)
    (folder / name).write_text("changed")
    trial.judge(run, before)
    assert run.faults == ([f"it changed {name}"] if wrong else [])


def test_a_run_depends_on_its_seed_and_number_alone(trial: Any, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    for name in trial.FITS:
        (models / name).write_bytes(b"a model")
    runs = []
    for place in ("one", "two"):
        run = trial.Run(0, tmp_path / place)
        run.folder.mkdir()
        trial.prepare(run, models, trial.random.Random("0 7"))
        runs.append((run.words, run.streams, trial.snapshot(run.folder)))
    assert runs[0] == runs[1]
    assert set(trial.COMMANDS) == set(trial.SHARES)
