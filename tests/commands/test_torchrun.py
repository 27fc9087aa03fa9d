"""Processes that `torchrun` starts learn together, each from its own shards."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mdncli
from running import mdn

SMALL = ["-k", "3", "--hidden", "32,32", "--steps", "300"]


def table(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    city = rng.choice(["Bern", "Rome"], rows)
    y = np.sin(2.0 * x) + (city == "Rome") + 0.1 * rng.normal(size=rows)
    return pd.DataFrame({"x": x, "city": city, "y": y})


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards, of which one has a tenth of the rows of the other, and all of a category."""
    rows = table(4400, 0)
    rows.loc[4200:, "city"] = "Oslo"
    folder = tmp_path / "shards"
    folder.mkdir()
    rows[:4000].to_csv(folder / "part-1.csv", index=False)
    rows[4000:].to_csv(folder / "part-2.csv", index=False)
    return folder


def start(*arguments: str | Path, cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [*command, "-m", "mdncli", "fit", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def torchrun(*arguments: str | Path, cwd: Path) -> tuple[int, str, str]:
    process = start(*arguments, cwd=cwd)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_two_processes_learn_what_one_learns(shards: Path, tmp_path: Path) -> None:
    pattern = f"{shards}/*.csv"
    status, out, err = torchrun(pattern, *SMALL, "-o", "both.pt", "--json", cwd=tmp_path)
    assert status == 0, err
    result = json.loads(out)
    assert result["rows"] == 4400
    assert err.count("target: 'y'") == 1
    alone = mdn("fit", pattern, *SMALL, "--spool", tmp_path, "-o", "one.pt", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    fresh = table(3000, 1)
    together, one = (mdncli.load(tmp_path / name) for name in ("both.pt", "one.pt"))
    assert [feature.kind for feature in together.schema.features] == ["number", "category"]
    assert "Oslo" in together.schema.features[1].levels
    nlls = [float(-m.condition(fresh).log_prob(fresh["y"]).mean()) for m in (together, one)]
    scores = [m.evaluate(fresh).nll for m in (together, one)]
    assert scores == pytest.approx(nlls)
    # Within 1% of the gain over the marginal.
    gain = float(np.log(fresh["y"].std() * np.sqrt(2 * np.pi * np.e))) - nlls[1]
    assert nlls[0] == pytest.approx(nlls[1], abs=0.02 * gain)
    assert together.network.record.rows == 4400
    assert sorted(p.name for p in tmp_path.iterdir()) == ["both.pt", "one.pt", "shards"]


def test_fewer_files_than_processes_are_shared_block_by_block(tmp_path: Path) -> None:
    table(3000, 0).to_csv(tmp_path / "data.csv", index=False)
    status, out, err = torchrun("data.csv", *SMALL, "--json", cwd=tmp_path)
    assert status == 0, err
    assert json.loads(out)["rows"] == 3000


def test_shards_with_other_columns_are_refused(shards: Path, tmp_path: Path) -> None:
    table(400, 0).rename(columns={"city": "town"}).to_csv(shards / "part-2.csv", index=False)
    (tmp_path / "model.pt").write_bytes(b"old")
    status, _, err = torchrun(f"{shards}/*.csv", *SMALL, cwd=tmp_path)
    assert status != 0
    [line] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "part-2.csv" in line
    assert "'city'" in line
    assert "'town'" in line
    assert "a bug in mdn" not in err
    assert (tmp_path / "model.pt").read_bytes() == b"old"


def test_a_bad_cell_in_a_shard_of_another_process_is_named(shards: Path, tmp_path: Path) -> None:
    with (shards / "part-2.csv").open("a") as file:
        file.write("1.0,Rome,abc\n")
    status, _, err = torchrun(f"{shards}/*.csv", *SMALL, cwd=tmp_path)
    assert status != 0
    assert "part-2.csv, row 401, column 'y': 'abc' is not a number" in err
    assert not (tmp_path / "model.pt").exists()


def test_a_process_that_dies_ends_the_job_and_resume_goes_on(shards: Path, tmp_path: Path) -> None:
    long = ["-k", "3", "--hidden", "32,32", "--steps", "3000", "--checkpoint-every", "0.2"]
    job = start(f"{shards}/*.csv", *long, cwd=tmp_path)
    state = tmp_path / "model.pt.checkpoint"
    try:
        waited = time.monotonic() + 60.0
        while not state.exists():
            assert time.monotonic() < waited, "no state of learning is kept"
            time.sleep(0.1)
        children = subprocess.run(
            ["pgrep", "-P", str(job.pid), "-f", "mdncli"],
            capture_output=True,
            text=True,
            check=True,
        )
        os.kill(int(children.stdout.split()[-1]), signal.SIGKILL)
        killed = time.monotonic()
        job.communicate(timeout=60)
        assert time.monotonic() - killed < 60.0
        assert job.returncode != 0
        assert not (tmp_path / "model.pt").exists()
    finally:
        job.kill()
    kept = state.stat().st_size
    assert kept > 0
    status, _, err = torchrun(f"{shards}/*.csv", *long, "--resume", cwd=tmp_path)
    assert status == 0, err
    assert (tmp_path / "model.pt").exists()
    assert not state.exists()
