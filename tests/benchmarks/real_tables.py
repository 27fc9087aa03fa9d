"""Real tables with categories and gaps, as they come: `mdn fit FILE -t TARGET` beside NGBoost.

    python tests/benchmarks/real_tables.py DIR [--tables cps85,faithful] [--preset default]

DIR holds airquality.csv, cps85.csv, diamonds.csv and faithful.csv, or others named as FILE:TARGET.
For seeds 1 to 10 (a table of more than 10,000 rows: 1) a random four fifths of the rows that have a
target are fitted by the command line, without any other option, and the rest are scored. NGBoost
(500 trees), where it is installed, learns from the same rows, their categories as one column a
level and their gaps filled with medians. Figures are means of the NLL in nats with their standard
errors, and the mean of the paired differences with its own.
"""

import argparse
import csv
import json
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

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
    """Return the test NLL of the command line, with nothing but the target named."""
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
    """Return the test NLL of NGBoost with 500 trees, all else as it comes."""
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
    """Return a column as numbers, gaps at the median, or as one column for each level."""
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


def compared(path: Path, target: str, preset: str) -> str:
    """Return a line about one table."""
    names, rows = read(path, target)
    scores: dict[str, list[float]] = {f"mdn --preset {preset}": [], "NGBoost": []}
    for seed in range(1, 2 if len(rows) > MANY_ROWS else SPLITS + 1):
        order = np.random.default_rng(seed).permutation(len(rows))
        cut = round(0.8 * len(rows))
        train, test = ([rows[i] for i in part] for part in (order[:cut], order[cut:]))
        scores[f"mdn --preset {preset}"].append(ours(names, train, test, target, preset))
        try:
            scores["NGBoost"].append(ngboost(names, train, test, target))
        except ImportError:
            del scores["NGBoost"]
            break
    words = [f"{name} {mean_and_error(nlls)}" for name, nlls in scores.items()]
    if len(scores) > 1:
        differences = [one - other for one, other in zip(*scores.values(), strict=True)]
        words.append(f"difference {mean_and_error(differences)}")
    return f"{path.stem:<12}" + "   ".join(words)


def mean_and_error(values: list[float]) -> str:
    """Return the mean of some figures and its standard error, if there are several."""
    if len(values) < 2:
        return f"{values[0]:.3f}"
    error = statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.fmean(values):.3f} ± {error:.3f}"


def main() -> None:
    """Print a line for each table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dir", type=Path)
    parser.add_argument("--tables", default=",".join(TARGETS), help="names, or NAME:TARGET")
    parser.add_argument("--preset", default="default")
    options = parser.parse_args()
    for each in options.tables.split(","):
        name, _, target = each.partition(":")
        path = options.dir / f"{name}.csv"
        print(compared(path, target or TARGETS[name], options.preset), flush=True)


if __name__ == "__main__":
    main()
