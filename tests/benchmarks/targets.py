"""Targets that are no points on a line: how near a fit comes to the truth, and what it was before.

    python tests/benchmarks/targets.py [--seeds 5] [--rows 4000] [--threads 1] [--markdown]

Counts: y is Poisson with a mean that rises from 0.5 to 20 with x. The same rows are learned as a
rounded target, which is the default for them, and as a continuous one. Figures are means over the
seeds of the data, on 5000 fresh rows:

- NLL less that of the truth, in nats per row, at most 0.02. A density of counts is not bounded by
  their probabilities, so that of the continuous fit says nothing about them.
- The mean absolute error of P(y <= k), over k from 0 to the largest test value and over the rows,
  at most 0.01.
- The error of P(y <= 0) at x = 0, where it is 0.607.

The exit status is 1 if the rounded fit misses a limit.
"""

import argparse
import sys
import warnings

import numpy as np
import pandas as pd
from markdown_table import markdown_table
from scipy.stats import poisson

import mdncli
from mdncli.errors import MdnWarning

LOWEST, RATIO, TEST_ROWS = 0.5, 40.0, 5000
MOST_NLL, MOST_ERROR = 0.02, 0.01
KINDS = {"rounded": "auto", "continuous": "continuous"}


def counts(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return rows of x and y, and the mean of y at each."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.0, 1.0, rows)
    mean = LOWEST * RATIO**x
    return pd.DataFrame({"x": x, "y": rng.poisson(mean)}), mean


def errors(kind: str, rows: int, seed: int, threads: int) -> list[float]:
    """Return the excess NLL, the error of the cdf, and that of P(y <= 0) at x = 0."""
    train, _ = counts(rows, seed)
    test, mean = counts(TEST_ROWS, 1000 + seed)
    y = test["y"].to_numpy()
    model = mdncli.fit(train, target_kind=KINDS[kind], threads=threads)
    predicted = model.condition(test[["x"]])
    excess = -predicted.log_prob(y).mean() + poisson.logpmf(y, mean).mean()
    each = [np.abs(predicted.cdf(float(k)) - poisson.cdf(k, mean)).mean() for k in range(y.max())]
    at_zero = model.condition([[0.0]]).cdf(0.0)[0] - poisson.cdf(0, LOWEST)
    return [float(excess), float(np.mean(each)), float(abs(at_zero))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore", MdnWarning)
    found = {
        kind: np.mean(
            [errors(kind, options.rows, s, options.threads) for s in range(options.seeds)], axis=0
        )
        for kind in KINDS
    }
    titles = [
        "counts learned as",
        "NLL less the true one",
        "error of P(y ≤ k)",
        "of P(y ≤ 0), x = 0",
    ]
    rows = [[kind, *(f"{value:.4f}" for value in values)] for kind, values in found.items()]
    if options.markdown:
        print(markdown_table(titles, rows))
    else:
        for row in [titles, *rows]:
            print("  ".join(f"{cell:>22}" for cell in row))
    excess, error, _ = found["rounded"]
    return int(excess > MOST_NLL or error > MOST_ERROR)


if __name__ == "__main__":
    sys.exit(main())
