"""Real tables with categories and missing cells: `mdn fit FILE -t TARGET` beside NGBoost.

    python tests/benchmarks/real_tables.py DIR [--tables cps85,faithful] [--preset default]
        [--markdown]

DIR holds airquality.csv, cps85.csv, diamonds.csv and faithful.csv, or others named as FILE:TARGET.
For each of the seeds 1 to 10 (for a table of more than 10,000 rows: 1), a random four fifths of the
rows that have a target are fitted by the command line, without any other option. The other rows are
scored. NGBoost (500 trees) learns from the same rows, if it is installed. It gets one column for
each level of a category, and the median in place of a missing cell. Figures are means of the NLL in
nats with their standard errors, and the mean of the paired differences with its own.
"""

import argparse
import contextlib
import csv
import json
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from markdown_table import markdown_table, with_minus_signs

TARGETS = {"airquality": "Ozone", "cps85": "wage", "diamonds": "price", "faithful": "waiting"}
SPLITS, MANY_ROWS = 10, 10_000
MDN = [sys.executable, "-m", "mdncli"]
MISSING = {"", "NA"}

Table = tuple[list[str], list[list[str]]]


def read(path: Path, target: str) -> Table:
    """Return the header and the rows that have a target, as text."""
    with path.open(newline="") as stream:
        names, *rows = csv.reader(stream)
    at = names.index(target)
    return names, [row for row in rows if row[at] not in MISSING]


def ours(names: list[str], train: list, test: list, target: str, preset: str) -> float:
    """Return the test NLL of the command line, which is given the target alone."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for part, rows in (("train", train), ("test", test)):
            paths[part] = Path(folder) / f"{part}.csv"
            with paths[part].open("w", newline="") as stream:
                csv.writer(stream).writerows([names, *rows])
        model = Path(folder) / "model.pt"
        fit = [*MDN, "fit", paths["train"], "-t", target, "--preset", preset, "-o", model, "-q"]
        subprocess.run(fit, check=True, stderr=subprocess.DEVNULL)
        scored = subprocess.run(
            [*MDN, "evaluate", model, paths["test"], "--json", "-q"],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return float(json.loads(scored.stdout)["nll"])


def ngboost(names: list[str], train: list, test: list, target: str) -> float:
    """Return the test NLL of NGBoost with 500 trees and its other defaults."""
    from ngboost import NGBRegressor

    at = names.index(target)
    columns = []
    for position in range(len(names)):
        if position != at:
            columns += encoded([r[position] for r in train], [r[position] for r in test])
    x, x_test = (np.column_stack([column[part] for column in columns]) for part in (0, 1))
    y, y_test = (np.array([float(row[at]) for row in rows]) for rows in (train, test))
    model = NGBRegressor(n_estimators=500, verbose=False, random_state=0)
    model.fit(x, y)
    return -float(model.pred_dist(x_test).logpdf(y_test).mean())


def encoded(train: list[str], test: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the columns of the training and the test rows for NGBoost.

    Numbers are one column, with the median in place of a missing cell. A category is one column for
    each level.
    """
    try:
        known = [float(cell) for cell in train if cell not in MISSING]
    except ValueError:
        levels = sorted(set(train))
        return [
            tuple(np.array([float(cell == level) for cell in part]) for part in (train, test))
            for level in levels
        ]
    median = statistics.median(known)
    return [
        tuple(
            np.array([median if cell in MISSING else float(cell) for cell in part])
            for part in (train, test)
        )
    ]


def compared(path: Path, target: str, preset: str) -> tuple[list[float], list[float]]:
    """Return the NLLs of the preset and of NGBoost on each split; of NGBoost none without it."""
    names, rows = read(path, target)
    scores: tuple[list[float], list[float]] = [], []
    for seed in range(1, 2 if len(rows) > MANY_ROWS else SPLITS + 1):
        order = np.random.default_rng(seed).permutation(len(rows))
        cut = round(0.8 * len(rows))
        train, test = ([rows[i] for i in part] for part in (order[:cut], order[cut:]))
        scores[0].append(ours(names, train, test, target, preset))
        with contextlib.suppress(ImportError):
            scores[1].append(ngboost(names, train, test, target))
    return scores


def line(ours: list[float], theirs: list[float]) -> list[str]:
    """Return the mean of each and of their differences, with standard errors."""
    if not theirs:
        return [mean_and_error(ours), "", ""]
    differences = [one - other for one, other in zip(ours, theirs, strict=True)]
    difference = with_minus_signs(mean_and_error(differences, digits=2))
    return [mean_and_error(ours), mean_and_error(theirs), difference]


def mean_and_error(values: list[float], digits: int = 3) -> str:
    """Return the mean of some figures and its standard error, if there are several."""
    if len(values) < 2:
        return f"{values[0]:.{digits}f}"
    error = statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.fmean(values):.{digits}f} ± {error:.{digits}f}"


def main() -> None:
    """Print the figures of each table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dir", type=Path)
    parser.add_argument("--tables", default=",".join(TARGETS), help="names, or NAME:TARGET")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--markdown", action="store_true", help="print the README's table")
    options = parser.parse_args()
    rows = []
    for each in options.tables.split(","):
        name, _, target = each.partition(":")
        path = options.dir / f"{name}.csv"
        scores = compared(path, target or TARGETS[name], options.preset)
        rows.append([name, *line(*scores)])
        if not options.markdown:
            ours, theirs, difference = rows[-1][1:]
            words = f"mdn --preset {options.preset} {ours}"
            words += f"   NGBoost {theirs}   difference {difference}" if theirs else ""
            print(f"{name:<12}{words}", flush=True)
    if options.markdown:
        titles = ["table", f"`{options.preset}`", "NGBoost", "difference ± its standard error"]
        print(markdown_table(titles, rows))


if __name__ == "__main__":
    main()
