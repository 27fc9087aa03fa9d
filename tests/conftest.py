"""What every test may use: the command line in a folder, and fitted models."""

import subprocess
from pathlib import Path

import pytest

from running import Run, mdn


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run `mdn` in this test's own folder."""

    def in_folder(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return mdn(*arguments, stdin=stdin, cwd=tmp_path)

    return in_folder


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a table, `data.csv`, and its model with a baseline, `model.pt`."""
    folder = tmp_path_factory.mktemp("fitted")
    made = mdn("generate", "sinusoid", "--inverse", "-o", "data.csv", cwd=folder)
    assert made.returncode == 0, made.stderr
    done = mdn("fit", "data.csv", "--epochs", "20", "--baseline", "-q", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a table of three features and two targets, and a model of both."""
    import numpy as np

    folder = tmp_path_factory.mktemp("wide")
    rng = np.random.default_rng(7)
    x = rng.normal(size=(400, 3)) * [1.0, 10.0, 0.1] + [0.0, 50.0, 3.0]
    first = x[:, 1] * 0.3 + rng.normal(size=400)
    second = np.sin(x[:, 0]) + 0.1 * rng.normal(size=400)
    rows = np.column_stack([x, first, second])
    np.savetxt(folder / "data.csv", rows, delimiter=",", header="a,b,c,u,v", comments="")
    done = mdn(
        *("fit", "data.csv", "-t", "u,v", "-k", "12", "--epochs", "20", "--baseline", "-q"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return folder
