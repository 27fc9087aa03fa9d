"""How learning grows with the rows: seconds, memory, and the distance from the best density.

    python tests/benchmarks/scale.py
    python tests/benchmarks/scale.py --rows 10_000_000 50_000_000 --features 10

For each number of rows, a table of the inverse of the built-in problem `sinusoid` is written, with
further features of noise. `mdn fit` learns from it in a process of its own, and 200,000 fresh rows
score the model. The last column is the mean of log p(y | x) of the true density minus that of the
model, in nats per row.
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
PROBLEM, ROWS_AT_ONCE, FRESH_ROWS = "sinusoid", 500_000, 200_000


def columns_of(rows: int, noise: int, seed: int) -> dict[str, np.ndarray]:
    """Return the columns of the problem, after features of noise that say nothing about y."""
    rng = np.random.default_rng([1, seed])
    nothing = {f"n{i}": rng.normal(size=rows) for i in range(noise)}
    return {**nothing, **mdncli.datasets.generate(PROBLEM, n=rows, inverse=True, seed=seed)}


def blocks(rows: int, noise: int) -> Iterator[pa.Table]:
    """Yield the rows of a table, a block at a time."""
    for number, start in enumerate(range(0, rows, ROWS_AT_ONCE)):
        columns = columns_of(min(ROWS_AT_ONCE, rows - start), noise, seed=number)
        yield pa.table({name: np.round(values, 5) for name, values in columns.items()})


def write(path: Path, rows: int, noise: int) -> None:
    """Write a table with so many features of noise."""
    every = blocks(rows, noise)
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
    write(data, rows, features - 1)
    result, seconds, memory = measured(["fit", str(data), "-o", str(model), *more])
    fresh = columns_of(FRESH_ROWS, features - 1, seed=10**6)
    exact = mdncli.datasets.log_density(PROBLEM, fresh["x"], fresh["y"], inverse=True)
    y = fresh.pop("y")
    own = mdncli.load(model).condition(fresh).log_prob(y)
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
    parser.add_argument("--features", type=int, default=10, help="all but one are noise")
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
