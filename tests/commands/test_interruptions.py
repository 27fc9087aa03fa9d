"""What ends a command early: Ctrl-C, `kill`, and a terminal that is closed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mdncli.commands import Interrupted, status_of
from mdncli.commands.report import _Interruption

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A fit that goes on until it is told to stop.
FOR_EVER = ("--no-ladder", "--epochs", "100000", "--patience", "100000")
# Runs `mdn`, and sends it a signal as soon as it imports a module.
WITH_SIGNAL = """
import os, sys
class AtImport:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, AtImport())
sys.argv = ["mdn", "predict", "model.pt", "data.csv"]
from mdncli.__main__ import main
main()
"""


def started(
    *arguments: str | Path, cwd: Path, ignored: signal.Signals | None = None
) -> subprocess.Popen[bytes]:
    """Start `mdn` in a process that may ignore a signal from its start on."""
    return subprocess.Popen(
        [sys.executable, "-m", "mdncli", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        preexec_fn=None if ignored is None else lambda: signal.signal(ignored, signal.SIG_IGN),
    )


def wait_for_learning(process: subprocess.Popen[bytes]) -> None:
    assert process.stderr is not None
    while b"epoch 1/" not in process.stderr.readline():
        assert process.poll() is None


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("module", ["mdncli.commands.app", "numpy", "scipy.special"])
def test_while_modules_are_imported(fitted: Path, number: int, module: str) -> None:
    code = WITH_SIGNAL.format(module=module, number=int(number))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, cwd=fitted, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, b"", b"interrupted\n")


@pytest.mark.parametrize("question", ["--hdr=0.9", "--mode"])
def test_long_answers_end_within_a_second(fitted: Path, tmp_path: Path, question: str) -> None:
    (tmp_path / "rows.csv").write_text("x\n" + "".join(f"{i / 1e4}\n" for i in range(200_000)))
    process = started(
        "predict", fitted / "model.pt", "rows.csv", question, "-o", "out.csv", cwd=tmp_path
    )
    while len(list(tmp_path.iterdir())) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    sent = time.perf_counter()
    output, message = process.communicate(timeout=30)
    assert time.perf_counter() - sent < 1.0
    assert (process.returncode, output, message) == (130, b"", b"interrupted\n")
    assert [each.name for each in tmp_path.iterdir()] == ["rows.csv"]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_fit_that_is_told_to_end_writes_its_best_model(
    fitted: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = started("fit", fitted / "data.csv", *FOR_EVER, cwd=tmp_path)
    wait_for_learning(process)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 128 + number
    plain = torch.load(tmp_path / "model.pt", weights_only=True)
    assert plain["record"]["stopped"] == "interrupted"


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_the_parent_ignores_stays_ignored(
    fitted: Path, tmp_path: Path, number: signal.Signals
) -> None:
    options = ("--no-ladder", "--epochs", "20")
    process = started("fit", fitted / "data.csv", *options, cwd=tmp_path, ignored=number)
    wait_for_learning(process)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_the_first_signal_is_noted_and_the_second_one_raises() -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    interruption = _Interruption()
    interruption.learning = True
    interruption.handle(signal.SIGTERM, None)
    assert interruption.number == signal.SIGTERM
    try:
        with pytest.raises(Interrupted) as raised:
            interruption.handle(signal.SIGINT, None)
    finally:
        for each, handler in zip(SIGNALS, before, strict=True):
            signal.signal(each, handler)
    assert status_of(raised.value.number) == 130


def test_before_there_is_a_model_the_first_signal_ends_a_fit(fitted: Path, tmp_path: Path) -> None:
    process = started("fit", "-", *FOR_EVER, cwd=tmp_path)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    assert process.stderr is not None
    assert (process.returncode, process.stderr.read()) == (130, b"interrupted\n")
    assert not list(tmp_path.iterdir())


def test_the_cursor_is_shown_again(fitted: Path, tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    main, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mdncli", "fit", str(fitted / "data.csv"), *FOR_EVER],
        stderr=other,
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(other)
    drawn = b""
    while b"NLL" not in drawn:
        drawn += os.read(main, 65536)
    process.send_signal(signal.SIGTERM)
    while True:
        try:
            drawn += os.read(main, 65536)
        except OSError:
            break
    assert process.wait() == 143
    assert drawn.rfind(b"\x1b[?25h") > drawn.rfind(b"\x1b[?25l") >= 0
