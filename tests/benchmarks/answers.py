"""How many rows a second a model answers.

    python tests/benchmarks/answers.py [--rows 1000000] [--markdown]

The model is what `mdn fit -k 5` learns from the inverse sinusoid, which has one feature. Each
question goes from a float64 array to an array, includes the network, and uses all cores. The last
line is the whole command `mdn predict --mean` from a CSV to a CSV, minus the same command on one
row. skpro's `MDNRegressor` answers the same questions on fewer rows, if it is installed. Figures
are medians of five runs. The exit status is 1 if a rate is below its limit.
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
from markdown_table import markdown_table, three_digits

import mdncli

MEAN_AND_STD = "mean and standard deviation"
THREE_QUANTILES = "three quantiles"
TEN_SAMPLES = "samples, ten a row"
ONE_SAMPLE = "samples, one a row"
REGIONS = "highest-density regions"
MODES = "modes"
WHOLE_COMMAND = "means, from a CSV to a CSV"
LEAST = {MEAN_AND_STD: 2e6, THREE_QUANTILES: 3e5, TEN_SAMPLES: 2e6, WHOLE_COMMAND: 8e5}
RUNS = 5
QUANTILES = [0.05, 0.5, 0.95]
ROWS_OF_SKPRO = 20_000
MDN = [sys.executable, "-m", "mdncli"]

# A question, and its answers a second in each run.
Rates = dict[str, list[float]]


def per_second(work: Callable[[], object], count: int) -> list[float]:
    """Return the rate of each run of a work that does `count` things."""
    work()
    return [count / seconds(work) for _ in range(RUNS)]


def seconds(work: Callable[[], object]) -> float:
    """Return how long the work takes."""
    started = perf_counter()
    work()
    return perf_counter() - started


def ours(folder: Path, x: np.ndarray) -> Rates:
    """Return the rates of a model, by question."""
    model = mdncli.load(folder / "model.pt")

    def mean_and_std() -> None:
        distribution = model.condition(x)
        distribution.mean()
        distribution.std()

    some, few = x[: max(1, len(x) // 5)], x[:20_000]
    return {
        MEAN_AND_STD: per_second(mean_and_std, len(x)),
        THREE_QUANTILES: per_second(lambda: model.condition(some).quantile(QUANTILES), len(some)),
        TEN_SAMPLES: per_second(lambda: model.condition(some).sample(10), 10 * len(some)),
        ONE_SAMPLE: per_second(lambda: model.condition(x).sample(1), len(x)),
        REGIONS: per_second(lambda: model.condition(few).hdr(0.9), len(few)),
        MODES: per_second(lambda: model.condition(few).mode(), len(few)),
    }


def command(folder: Path, x: np.ndarray) -> Rates:
    """Return the rate of `mdn predict --mean`, without its start-up."""
    for name, rows in (("all.csv", x), ("one.csv", x[:1])):
        lines = "\n".join(map(repr, rows[:, 0].tolist()))
        (folder / name).write_text(f"x\n{lines}\n")

    def predict(name: str) -> float:
        words = [*MDN, "predict", folder / "model.pt", folder / name, "--mean", "-q"]
        return seconds(lambda: subprocess.run([*words, "-o", folder / "out.csv"], check=True))

    times = [predict("all.csv") - predict("one.csv") for _ in range(RUNS)]
    return {WHOLE_COMMAND: [(len(x) - 1) / time for time in times]}


def skpro(folder: Path) -> Rates:
    """Return the rates of skpro, or nothing if it is not installed."""
    try:
        import pandas as pd
        from skpro.regression.mdn import MDNRegressor
    except ImportError:
        print("skpro is not installed; it is left out.", file=sys.stderr)
        return {}
    data = mdncli.read_table(folder / "data.csv")
    model = MDNRegressor(random_state=0, epochs=50)
    model.fit(data[["x"]], data[["y"]])
    rows = pd.DataFrame({"x": np.random.default_rng(0).uniform(-12.0, 12.0, ROWS_OF_SKPRO)})

    def mean_and_std() -> None:
        distribution = model.predict_proba(rows)
        distribution.mean()
        distribution.var()

    return {
        MEAN_AND_STD: per_second(mean_and_std, len(rows)),
        THREE_QUANTILES: per_second(
            lambda: model.predict_quantiles(rows, alpha=QUANTILES), len(rows)
        ),
        TEN_SAMPLES: per_second(lambda: model.predict_proba(rows).sample(10), 10 * len(rows)),
    }


def rounded(rates: list[float]) -> str:
    """Return the median rate, or the lowest and the highest if they differ by more than double."""
    if max(rates) > 2.0 * min(rates):
        return f"{three_digits(min(rates))} to {three_digits(max(rates))}"
    return three_digits(statistics.median(rates))


def report(rates: Rates, rivals: Rates, *, markdown: bool) -> None:
    """Print the rates."""
    if markdown:
        rows = [
            [
                name,
                three_digits(statistics.median(each)),
                rounded(rivals[name]) if name in rivals else "",
            ]
            for name, each in rates.items()
            if name != ONE_SAMPLE
        ]
        print(markdown_table(["question", "a second", "skpro"], rows))
        return
    for name, each in rates.items():
        words = f"{statistics.median(each):12,.0f} a second"
        words += f", at least {LEAST[name]:,.0f}" if name in LEAST else ""
        words += f"; skpro {rounded(rivals[name])}" if name in rivals else ""
        print(f"{name:<28}{words}", flush=True)


def main() -> int:
    """Print the rates and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--markdown", action="store_true", help="print the README's table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for words in (
            ["generate", "sinusoid", "--inverse", "-q", "-o", folder / "data.csv"],
            ["fit", folder / "data.csv", "-k", "5", "-q", "-o", folder / "model.pt"],
        ):
            subprocess.run([*MDN, *words], check=True)
        x = np.random.default_rng(0).uniform(-12.0, 12.0, (options.rows, 1))
        rates = {**ours(folder, x), **command(folder, x)}
        report(rates, skpro(folder), markdown=options.markdown)
    return 0 if all(statistics.median(rates[name]) >= least for name, least in LEAST.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
