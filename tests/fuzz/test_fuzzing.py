"""A short run of the fuzzer; see the README beside it."""

import subprocess
import sys
from pathlib import Path

import pytest

FUZZER = Path(__file__).with_name("fuzz_model_reader.py")


def fuzz(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, str(FUZZER), *options],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_random_changes_are_refused_or_harmless(tmp_path: Path) -> None:
    done = fuzz(tmp_path, "--plain", "--runs", "3000", "--seed", "7")
    read, refused = (int(word) for word in done.stdout.split() if word.isdigit())
    assert read + refused > 2900
    # Some changes are of numbers alone, and give other models.
    assert 10 < read < refused


def test_changes_that_reach_new_branches_are_refused_or_harmless(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    done = fuzz(tmp_path, "--runs", "2000", "--seed", "7")
    assert "Done 2000 runs" in done.stderr
    assert not list(tmp_path.iterdir())
