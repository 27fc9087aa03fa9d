"""What every test may use: the command line in a folder, fitted models, and the quick tests."""

import fcntl
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from running import Run, mdn

# The tests of `pytest -m quick`: some of every room, those that take the least time.
QUICK = (
    "test_rooms.py",
    "api/test_files.py",
    "api/test_settings.py",
    "columns/test_roles.py",
    "columns/test_schema.py",
    "columns/test_transforms.py",
    "commands/test_help.py",
    "commands/test_predict_rows.py",
    "datasets/test_problems.py",
    "density/test_conditioning.py",
    "density/test_distribution.py",
    "density/test_mixture.py",
    "density/test_network.py",
    "learning/test_ladder.py",
    "learning/test_loss.py",
    "learning/test_optimizer.py",
    "learning/test_splits.py",
    "modelfile/test_migrations.py",
    "modelfile/test_model_reader.py",
    "plots/test_plot_slice.py",
    "tables/test_csv_reader.py",
    "tables/test_sniffer.py",
    "tables/test_writer.py",
)

# Two processes end at about the same time if the longest files come first.
SLOW = ("test_readme.py",)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the quick tests, and put the files that take the most time first."""
    tests = Path(__file__).parent
    quick = {tests / name for name in QUICK}
    missing = [str(path) for path in quick if not path.exists()]
    assert not missing, missing
    for item in items:
        if item.path in quick:
            item.add_marker(pytest.mark.quick)
    items.sort(key=lambda item: (item.path.name not in SLOW, "commands" not in item.path.parts))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run `mdn` in this test's own folder."""

    def in_folder(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return mdn(*arguments, stdin=stdin, cwd=tmp_path)

    return in_folder


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a table, `data.csv`, and its model with a baseline, `model.pt`."""

    def build(folder: Path) -> None:
        succeed(folder, "generate", "sinusoid", "--inverse", "-o", "data.csv")
        succeed(folder, "fit", "data.csv", "--no-ladder", "--epochs", "20", "--baseline", "-q")

    return built_once(tmp_path_factory, "fitted", build)


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a table of three features and two targets, and a model of both."""

    def build(folder: Path) -> None:
        rng = np.random.default_rng(7)
        x = rng.normal(size=(400, 3)) * [1.0, 10.0, 0.1] + [0.0, 50.0, 3.0]
        first = x[:, 1] * 0.3 + rng.normal(size=400)
        second = np.sin(x[:, 0]) + 0.1 * rng.normal(size=400)
        rows = np.column_stack([x, first, second])
        np.savetxt(folder / "data.csv", rows, delimiter=",", header="a,b,c,u,v", comments="")
        options = ("-t", "u,v", "-k", "12", "--covariance", "diagonal", "--finish", "0")
        succeed(folder, "fit", "data.csv", *options, "--epochs", "20", "--baseline", "-q")

    return built_once(tmp_path_factory, "wide", build)


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """Return a folder that the first process to need it fills; the others wait for it."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Each worker has a folder of its own in this one.
        root = root.parent
    folder = root / name
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / f"{name}.built").exists():
            folder.mkdir(exist_ok=True)
            build(folder)
            (root / f"{name}.built").touch()
    return folder


def succeed(folder: Path, *arguments: str) -> None:
    """Run `mdn` in a folder and check that it succeeds."""
    done = mdn(*arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
