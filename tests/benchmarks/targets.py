"""Targets that are no points on a line: how near a fit comes to the truth, and what it was before.

    python tests/benchmarks/targets.py [--seeds 5] [--rows 4000] [--threads 1] [--markdown]

The truth is known. Each kind of data is learned as the kind of target that it is, and the old way,
as points on a line. Figures are means over the seeds of the data, on 5000 fresh rows. The NLL of
the old way is left out where a density and a probability cannot be compared.

- counts: y is Poisson with a mean that rises from 0.5 to 20 with x. The excess NLL must be at most
  0.02 nats, and the mean absolute error of P(y <= k) over k and x at most 0.01.
- zeros, 20% and 60%: y is 0 with a probability that depends on x, and lognormal otherwise. The
  excess NLL must be at most 0.05, and the error of P(y = 0) at most 0.03.
- survival: exponential times, 40% of which are censored at random. The NLL of fresh times that are
  all known, less that of a fit that saw all times, must be at most 0.03. The old way takes the
  times as they are.
- angles: a von Mises distribution around a direction that moves with x. The excess NLL must be at
  most 0.05, and the mean circular error of the circular mean at most 1.2 times that of the truth.

The exit status is 1 if a limit is missed.
"""

import argparse
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from markdown_table import markdown_table
from scipy.special import expit, logit
from scipy.stats import lognorm, poisson, vonmises

import mdncli
from mdncli.errors import MdnWarning

TEST_ROWS = 5000
Figures = dict[str, float]


def frame(x: np.ndarray, **more: np.ndarray) -> pd.DataFrame:
    """Return a table with features a, b, … and more columns."""
    return pd.DataFrame({name: x[:, i] for i, name in enumerate("ab"[: x.shape[1]])} | more)


def counts(rows: int, seed: int, threads: int) -> tuple[Figures, Figures]:
    """Return the excess NLL and the error of P(y <= k), as counts and the old way."""

    def draw(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
        rng = np.random.default_rng(seed)
        x = rng.uniform(0.0, 1.0, (rows, 1))
        mean = 0.5 * 40.0 ** x[:, 0]
        return frame(x, y=rng.poisson(mean)), mean

    (train, _), (test, mean) = draw(rows, seed), draw(TEST_ROWS, 1000 + seed)
    y = test["y"].to_numpy()
    found = []
    for kind in ("auto", "continuous"):
        model = mdncli.fit(train, target_kind=kind, threads=threads)
        predicted = model.condition(test[["a"]])
        each = [
            np.abs(predicted.cdf(float(k)) - poisson.cdf(k, mean)).mean() for k in range(y.max())
        ]
        excess = -predicted.log_prob(y).mean() + poisson.logpmf(y, mean).mean()
        found.append({"excess NLL": excess, "error of P(y ≤ k)": float(np.mean(each))})
    found[1]["excess NLL"] = np.nan
    return found[0], found[1]


def zeros(share: float) -> Callable[[int, int, int], tuple[Figures, Figures]]:
    """Return a function like `counts` for values of which this share are 0."""

    def draw(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        x = rng.uniform(0.0, 1.0, (rows, 2))
        zero = expit(logit(share) + 3.0 * (x[:, 0] - 0.5))
        mu, sigma = np.sin(3.0 * x[:, 1]) + x[:, 0], 0.4 + 0.4 * x[:, 1]
        y = np.where(rng.random(rows) < zero, 0.0, np.exp(mu + sigma * rng.normal(size=rows)))
        with np.errstate(divide="ignore"):
            above = np.log1p(-zero) + lognorm.logpdf(y, sigma, scale=np.exp(mu))
        return frame(x, y=y), zero, np.where(y == 0.0, np.log(zero), above)

    def figures(rows: int, seed: int, threads: int) -> tuple[Figures, Figures]:
        (train, *_), (test, zero, true) = draw(rows, seed), draw(TEST_ROWS, 1000 + seed)
        found = []
        for kind in ("auto", "continuous"):
            model = mdncli.fit(train, target_kind=kind, threads=threads)
            predicted = model.condition(test[["a", "b"]])
            excess = float(true.mean() - predicted.log_prob(test["y"].to_numpy()).mean())
            error = float(np.abs(predicted.cdf(0.0) - zero).mean())
            found.append({"excess NLL": excess, "error of P(y = 0)": error})
        found[1]["excess NLL"] = np.nan
        return found[0], found[1]

    return figures


def survival(rows: int, seed: int, threads: int) -> tuple[Figures, Figures]:
    """Return the NLL of fresh times less that of a fit that saw all, with and without events."""

    def draw(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
        rng = np.random.default_rng(seed)
        x = rng.uniform(0.0, 1.0, (rows, 2))
        return x, np.exp(0.5 + 1.5 * x[:, 0] - x[:, 1]), rng

    x, mean, rng = draw(rows, seed)
    time = rng.exponential(mean)
    until = rng.exponential(1.5 * mean)
    seen = frame(x, event=(time <= until).astype(int), y=np.minimum(time, until))
    at, later, again = draw(TEST_ROWS, 1000 + seed)
    test = frame(at, y=again.exponential(later))

    def nll(train: pd.DataFrame, **more: Any) -> float:
        return mdncli.fit(train, threads=threads, **more).evaluate(test).nll

    best = nll(frame(x, y=time), lower=0)
    found = nll(seen, event="event"), nll(seen.drop(columns="event"), lower=0)
    names = "NLL less that of all times"
    return {names: found[0] - best}, {names: found[1] - best}


def angles(rows: int, seed: int, threads: int) -> tuple[Figures, Figures]:
    """Return the excess NLL, and the circular error of the mean over that of the truth."""

    def draw(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        x = rng.uniform(0.0, 1.0, (rows, 2))
        mean, kappa = 3.0 * np.pi * x[:, 0] + 2.0 * np.sin(3.0 * x[:, 1]), 1.0 + 9.0 * x[:, 1]
        angle = rng.vonmises(mean, kappa)
        true = vonmises.logpdf(angle, kappa, loc=mean) - np.log(180.0 / np.pi)
        return frame(x, y=np.degrees(angle) % 360.0), np.degrees(mean), true

    (train, *_), (test, mean, true) = draw(rows, seed), draw(TEST_ROWS, 1000 + seed)
    y = test["y"].to_numpy()

    def error(centre: np.ndarray) -> float:
        return float(np.abs((y - centre + 180.0) % 360.0 - 180.0).mean())

    found = []
    for more in ({"period": {"y": 360}}, {}):
        model = mdncli.fit(train, threads=threads, **more)
        predicted = model.condition(test[["a", "b"]])
        excess = float(true.mean() - predicted.log_prob(y).mean())
        ratio = error(predicted.mean()) / error(mean)
        found.append({"excess NLL": excess, "circular error over the truth's": ratio})
    return found[0], found[1]


KINDS = {
    "counts": (counts, (0.02, 0.01)),
    "zeros, 20%": (zeros(0.2), (0.05, 0.03)),
    "zeros, 60%": (zeros(0.6), (0.05, 0.03)),
    "survival": (survival, (0.03,)),
    "angles": (angles, (0.05, 1.2)),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore", MdnWarning)
    rows, missed = [], 0
    for kind, (figures, limits) in KINDS.items():
        pairs = [figures(options.rows, seed, options.threads) for seed in range(options.seeds)]
        for name, limit in zip(pairs[0][0], limits, strict=True):
            own, old = (float(np.mean([pair[way][name] for pair in pairs])) for way in (0, 1))
            missed += own > limit
            before = "" if np.isnan(old) else f"{old:.4f}"
            rows.append([kind, name, f"{own:.4f}", before, f"{limit:g}"])
            print(f"{kind:12} {name:34} {own:8.4f} {before:>8} at most {limit:g}", file=sys.stderr)
    titles = ["data", "figure", "as its kind", "as continuous", "limit"]
    if options.markdown:
        print(markdown_table(titles, rows))
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
