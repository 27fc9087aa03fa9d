"""How many rows a second a model answers.

    python tests/benchmarks/answers.py [--rows 1000000]

The model is what `mdn fit -k 5` makes of the inverse sinusoid, one feature. From a float64 array to
an array, the network included, on all cores; then the whole command from a CSV to a CSV, less the
same command on one row. Beside them skpro's `MDNRegressor`, on fewer rows, where it is installed.
Medians of five runs.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np

from mdncli import load

ASKED = {"mean and std": 2e6, "three quantiles": 3e5, "samples, ten a row": 2e6}
ASKED_OF_COMMAND = 8e5
RUNS = 5
QUANTILES = [0.05, 0.5, 0.95]
ROWS_OF_SKPRO = 20_000
MDN = [sys.executable, "-m", "mdncli"]


def per_second(work: Callable[[], object], count: int) -> float:
    """Return how many a second, of `count` things that the work does."""
    work()
    return count / statistics.median(seconds(work) for _ in range(RUNS))


def seconds(work: Callable[[], object]) -> float:
    """Return how long the work takes."""
    started = perf_counter()
    work()
    return perf_counter() - started


def ours(folder: Path, x: np.ndarray) -> dict[str, float]:
    """Return the answers a second of a model, by question."""
    model = load(folder / "model.pt")

    def mean_and_std() -> None:
        given = model.condition(x)
        given.mean()
        given.std()

    some = x[: max(1, len(x) // 5)]
    return {
        "mean and std": per_second(mean_and_std, len(x)),
        "three quantiles": per_second(lambda: model.condition(some).quantile(QUANTILES), len(some)),
        "samples, ten a row": per_second(lambda: model.condition(some).sample(10), 10 * len(some)),
        "samples, one a row": per_second(lambda: model.condition(x).sample(1), len(x)),
        "highest-density regions": per_second(
            lambda: model.condition(x[:20_000]).hdr(0.9), min(len(x), 20_000)
        ),
        "modes": per_second(lambda: model.condition(x[:20_000]).mode(), min(len(x), 20_000)),
    }


def command(folder: Path, x: np.ndarray) -> float:
    """Return the rows a second of `mdn predict --mean`, its start-up left out."""
    for name, rows in (("all.csv", x), ("one.csv", x[:1])):
        lines = "\n".join(map(repr, rows[:, 0].tolist()))
        (folder / name).write_text(f"x\n{lines}\n")

    def predict(name: str) -> float:
        words = [*MDN, "predict", folder / "model.pt", folder / name, "--mean", "-q"]
        return seconds(lambda: subprocess.run([*words, "-o", folder / "out.csv"], check=True))

    times = [predict("all.csv") - predict("one.csv") for _ in range(RUNS)]
    return (len(x) - 1) / statistics.median(times)


def skpro(folder: Path, x: np.ndarray) -> dict[str, float]:
    """Return the same of skpro, or nothing where it is not installed."""
    try:
        import pandas as pd
        from skpro.regression.mdn import MDNRegressor
    except ImportError:
        return {}
    data = np.loadtxt(folder / "data.csv", delimiter=",", skiprows=1)
    model = MDNRegressor(random_state=0, epochs=50)
    model.fit(pd.DataFrame({"x": data[:, 0]}), pd.DataFrame({"y": data[:, 1]}))
    rows = pd.DataFrame({"x": x[:ROWS_OF_SKPRO, 0]})

    def mean_and_std() -> None:
        given = model.predict_proba(rows)
        given.mean()
        given.var()

    return {
        "mean and std": per_second(mean_and_std, len(rows)),
        "three quantiles": per_second(
            lambda: model.predict_quantiles(rows, alpha=QUANTILES), len(rows)
        ),
        "samples, ten a row": per_second(
            lambda: model.predict_proba(rows).sample(10), 10 * len(rows)
        ),
    }


def main() -> int:
    """Print the table and return 0 if what was asked held."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for words in (
            ["generate", "sinusoid", "--inverse", "-q", "-o", folder / "data.csv"],
            ["fit", folder / "data.csv", "-k", "5", "-q", "-o", folder / "model.pt"],
        ):
            subprocess.run([*MDN, *words], check=True)
        x = np.random.default_rng(0).uniform(-12.0, 12.0, (options.rows, 1))
        rates, rivals = ours(folder, x), skpro(folder, x)
        held = True
        for question, rate in rates.items():
            asked = ASKED.get(question, 0.0)
            held = held and rate >= asked
            words = f"{rate:12,.0f} a second"
            words += f", asked {asked:,.0f}" if asked else ""
            words += f"; skpro {rivals[question]:,.0f}" if question in rivals else ""
            print(f"{question:<26}{words}", flush=True)
        rate = command(folder, x)
        print(f"{'CSV to CSV, means':<26}{rate:12,.0f} a second, asked {ASKED_OF_COMMAND:,.0f}")
    return 0 if held and rate >= ASKED_OF_COMMAND else 1


if __name__ == "__main__":
    sys.exit(main())
