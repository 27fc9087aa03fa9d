"""How fast answers come: in arrays, and from CSV to CSV beside what pandas needs to write them.

    python tests/benchmarks/throughput.py [--rows 1500000] [--runs 5] [--arrays | --commands]

The model is what `mdn fit -k 5` learns from the inverse sinusoid, which has one feature. In arrays,
a question goes from a float64 array to an array and includes the network. A command goes from a CSV
to a CSV, less the same command on a table of one row. Right after each command, pandas writes the
very table that the command wrote, to a file, from a data frame. Figures are medians of several
runs, and "times" is the ratio of two of them. The exit status is 1 if one is below its limit.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from markdown_table import markdown_table, three_digits

import mdncli

MDN = [sys.executable, "-m", "mdncli"]
QUANTILES = [0.05, 0.5, 0.95]
# Regions and modes are asked at so many rows at most.
FEWER_ROWS = 100_000


@dataclass(frozen=True)
class Command:
    """A command from a CSV to a CSV, and how many times faster than pandas' writer it must be."""

    name: str
    words: list[str]
    least: float
    aim: float


COMMANDS = [
    Command("predict --mean --std", ["predict", "MODEL", "ROWS", "--mean", "--std"], 4.5, 7.0),
    Command("sample --rows", ["sample", "MODEL", "--rows", "ROWS"], 4.5, 7.0),
    Command(
        "predict --quantiles 0.05,0.5,0.95",
        ["predict", "MODEL", "ROWS", "--quantiles", "0.05,0.5,0.95"],
        2.5,
        4.0,
    ),
]


def seconds(work: Callable[[], object]) -> float:
    """Return how long the work takes."""
    started = perf_counter()
    work()
    return perf_counter() - started


def median_rate(work: Callable[[], object], rows: int, runs: int) -> float:
    """Return the rows a second of a work, the median of several runs after a first one."""
    work()
    return rows / statistics.median(seconds(work) for _ in range(runs))


def arrays(model_file: Path, x: np.ndarray, runs: int) -> bool:
    """Print the rates of answers in arrays, and return whether all are high enough."""
    model = mdncli.load(model_file)

    def mean_and_std(rows: np.ndarray) -> None:
        distribution = model.condition(rows)
        distribution.mean()
        distribution.std()

    questions: list[tuple[str, Callable[[np.ndarray], object], np.ndarray, float]] = [
        ("mean and standard deviation", mean_and_std, x, 2.5e6),
        ("three quantiles", lambda rows: model.condition(rows).quantile(QUANTILES), x, 5e5),
        ("samples, one a row", lambda rows: model.condition(rows).sample(1), x, 0.0),
        ("regions of 0.9", lambda rows: model.condition(rows).hdr(0.9), x[:FEWER_ROWS], 2e4),
        ("modes", lambda rows: model.condition(rows).mode(), x[:FEWER_ROWS], 1e5),
    ]
    table, enough = [], True
    for name, ask, rows, least in questions:
        rate = median_rate(partial(ask, rows), len(rows), runs)
        enough &= rate >= least
        table.append([name, f"{len(rows):,}", three_digits(rate), f"{least:,.0f}" if least else ""])
    print(markdown_table(["in arrays", "rows", "rows a second", "at least"], table), flush=True)
    return enough


def beside_pandas(folder: Path, command: Command, rows: int, runs: int) -> tuple[float, float]:
    """Return the rows a second of a command and of pandas' writer, medians of several runs."""
    output = folder / "output.csv"

    def run(table: str) -> float:
        places = {"MODEL": str(folder / "model.pt"), "ROWS": str(folder / table)}
        words = [places.get(word, word) for word in command.words]
        return seconds(lambda: subprocess.run([*MDN, *words, "-q", "-o", output], check=True))

    ours, theirs = [], []
    for _ in range(runs):
        start_up = run("one.csv")
        ours.append(run("all.csv") - start_up)
        frame = pd.read_csv(output)
        if len(frame) != rows:
            sys.exit(f"{command.name} wrote {len(frame)} rows instead of {rows}.")
        theirs.append(seconds(partial(frame.to_csv, folder / "pandas.csv", index=False)))
    return (rows - 1) / statistics.median(ours), rows / statistics.median(theirs)


def commands(folder: Path, x: np.ndarray, runs: int) -> bool:
    """Print the rates of commands beside pandas' writer, and return whether they are enough."""
    for name, rows in (("all.csv", x), ("one.csv", x[:1])):
        lines = "\n".join(map(repr, rows[:, 0].tolist()))
        (folder / name).write_text(f"x\n{lines}\n")
    table, enough = [], True
    for command in COMMANDS:
        ours, theirs = beside_pandas(folder, command, len(x), runs)
        enough &= ours >= command.least * theirs
        limits = [f"{command.least:g}", f"{command.aim:g}"]
        figures = [three_digits(ours), three_digits(theirs), f"{ours / theirs:.2f}"]
        table.append([f"`{command.name}`", *figures, *limits])
    titles = ["from CSV to CSV", "rows a second", "pandas' writer", "times", "at least", "aim"]
    print(markdown_table(titles, table), flush=True)
    return enough


def main() -> int:
    """Print the tables and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_500_000)
    parser.add_argument("--runs", type=int, default=5)
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--arrays", action="store_true", help="only the answers in arrays")
    only.add_argument("--commands", action="store_true", help="only the commands")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for words in (
            ["generate", "sinusoid", "--inverse", "--n", "1000", "-q", "-o", folder / "data.csv"],
            ["fit", folder / "data.csv", "-k", "5", "-q", "-o", folder / "model.pt"],
        ):
            subprocess.run([*MDN, *words], check=True)
        x = np.random.default_rng(0).uniform(-12.0, 12.0, (options.rows, 1))
        enough = True
        if not options.commands:
            enough &= arrays(folder / "model.pt", x, options.runs)
            print()
        if not options.arrays:
            enough &= commands(folder, x, options.runs)
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
