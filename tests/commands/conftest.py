"""Fixtures that the tests of commands share."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from commands.helpers import EVERYTHING, Cells, table_of

from mdncli.commands import app
from running import Run, mdn


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Run:
    """Run `mdn` as `run` does, but in this process, which takes less time."""

    def in_process(
        *arguments: str | Path, stdin: bytes = b"", cwd: Path = tmp_path
    ) -> subprocess.CompletedProcess[bytes]:
        monkeypatch.chdir(cwd)
        capsysbinary.readouterr()
        words = [*map(str, arguments)]
        monkeypatch.setattr(sys, "argv", ["mdn", *words])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        status = app.run()
        return subprocess.CompletedProcess(words, status, *capsysbinary.readouterr())

    return in_process


@pytest.fixture(scope="session")
def everything(fitted: Path) -> Cells:
    """Return the answers to every question about every row of the training table."""
    return table_of(mdn("predict", "model.pt", "data.csv", *EVERYTHING, cwd=fitted))


@pytest.fixture(scope="session")
def both(wide: Path) -> Cells:
    """Return the answers to every question about two targets, for 100 rows."""
    options = [*EVERYTHING]
    options[options.index("-0.5")] = "u=15,v=0.5"
    rows = b"".join((wide / "data.csv").read_bytes().splitlines(keepends=True)[:101])
    return table_of(mdn("predict", "model.pt", "-", *options, cwd=wide, stdin=rows))
