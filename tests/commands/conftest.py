"""What tests of commands share."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from mdncli.commands import app
from running import Run


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Run:
    """Run `mdn` as `run` does but in this process: for many variants in little time."""
    monkeypatch.chdir(tmp_path)

    def in_process(
        *arguments: str | Path, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        capsysbinary.readouterr()
        words = [*map(str, arguments)]
        monkeypatch.setattr(sys, "argv", ["mdn", *words])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        status = app.run()
        return subprocess.CompletedProcess(words, status, *capsysbinary.readouterr())

    return in_process
