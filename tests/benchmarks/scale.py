"""How learning grows with the rows: seconds, memory, and the distance from the best density.

    python tests/benchmarks/scale.py
    python tests/benchmarks/scale.py --rows 10_000_000 50_000_000 --features 10

For each number of rows, a table of a problem with a known density is written, `mdn fit` learns
from it in a process of its own, and 200,000 fresh rows score the model. The last column is the mean
of log p(y | x) of the true density minus that of the model, in nats per row.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from markdown_table import markdown_table

import mdncli

PROJECT = Path(__file__).parents[2]
ROWS = 10_000, 100_000, 1_000_000, 10_000_000
ROWS_AT_ONCE, FRESH_ROWS = 500_000, 200_000


def problem(rows: int, features: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x (N, F), y (N,) and the exact log p(y | x), (N,), of a mixture of two branches."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, features))
    centre = np.sin(2.0 * x[:, 0]) + x[:, 1 % features] * x[:, 2 % features]
    sigma = 0.2 + 0.2 * np.abs(x[:, 3 % features])
    share = 1.0 / (1.0 + np.exp(-2.0 * x[:, 4 % features]))
    means = np.stack([centre - 1.0, centre + 1.0])
    y = np.where(rng.random(rows) < share, means[1], means[0]) + sigma * rng.normal(size=rows)
    log_n = -0.5 * ((y - means) / sigma) ** 2 - np.log(sigma) - 0.5 * np.log(2.0 * np.pi)
    return x, y, np.logaddexp(np.log1p(-share) + log_n[0], np.log(share) + log_n[1])


def blocks(rows: int, features: int) -> Iterator[pa.Table]:
    """Yield the rows of a table, a block at a time."""
    for number, start in enumerate(range(0, rows, ROWS_AT_ONCE)):
        x, y, _ = problem(min(ROWS_AT_ONCE, rows - start), features, seed=number)
        # Five digits, as tables of measurements have.
        columns = {f"x{i}": np.round(x[:, i], 5) for i in range(features)}
        yield pa.table({**columns, "y": np.round(y, 5)})


def write(path: Path, rows: int, features: int) -> None:
    every = blocks(rows, features)
    first = next(every)
    with pa_csv.CSVWriter(path, first.schema) as writer:
        writer.write_table(first)
        for block in every:
            writer.write_table(block)


def measured(arguments: list[str]) -> tuple[dict, float, float]:
    """Run `mdn`; return its JSON, its seconds and its peak memory in MB."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mdncli", *arguments, "--json", "-q"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )
    started = time.perf_counter()
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"mdn {' '.join(arguments)} ended with the status {status}")
    return json.loads(out), time.perf_counter() - started, usage.ru_maxrss / 1024.0


def row_of(rows: int, features: int, folder: Path, more: list[str]) -> list[str]:
    """Return the row of the table for so many rows."""
    data, model = folder / "data.csv", folder / "model.pt"
    write(data, rows, features)
    result, seconds, memory = measured(["fit", str(data), "-o", str(model), *more])
    x, y, exact = problem(FRESH_ROWS, features, seed=10**6)
    own = mdncli.load(model).condition(x).log_prob(y)
    size = data.stat().st_size / 1e6
    data.unlink()
    learning = result["seconds"]["train"]
    return [
        f"{rows:,}",
        f"{size:,.0f} MB",
        f"{seconds - learning:.1f}",
        f"{learning:.1f}",
        f"{memory:,.0f} MB",
        f"{(exact - own).mean():.4f}",
    ]


def main() -> None:
    """Print a table with a row for each number of rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--features", type=int, default=10)
    parser.add_argument("--folder", help="for the tables; by default a temporary one")
    parser.add_argument("fit", nargs=argparse.REMAINDER, help="options of mdn fit, after --")
    given = parser.parse_args()
    more = [each for each in given.fit if each != "--"]
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    try:
        table = []
        for rows in given.rows:
            table.append(row_of(rows, given.features, folder, more))
            print(" ".join(table[-1]), file=sys.stderr)
    finally:
        shutil.rmtree(folder)
    columns = "rows", "CSV", "reading, s", "learning, s", "peak memory", "nats above the best"
    print(markdown_table(columns, table))


if __name__ == "__main__":
    main()
