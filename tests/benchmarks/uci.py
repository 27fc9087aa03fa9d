"""Real tables, 20 splits each: every preset beside NGBoost, skpro and the published figures.

    python tests/benchmarks/uci.py DIR [--sets concrete,energy] [--splits 20] [--threads 1]
        [--markdown]

DIR holds the sets, which are tables of numbers with their target last: by default concrete.csv,
energy.csv, power.csv, yacht.csv and wine.csv. The splits are those of the literature: 20
permutations from `numpy.random.seed(1)`, with nine tenths of each to learn from. One recipe serves
all sets. NGBoost and skpro take part if they are installed: `pip install '.[bench]'`.

Figures are means over splits. NLL is in nats and in the units of the file, with its standard error.
CRPS is in the units of the target. Coverage is the share of test values inside the central 90%
interval. Seconds are the median time of learning a split, without imports. A mean NLL that is lower
than the steps of the target support is shown as `spikes`. The exit status is 1 if a figure misses
its limit.
"""

import argparse
import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TextIO

import numpy as np
import pandas as pd
from coverage import coverage
from markdown_table import markdown_table, with_minus_signs

import mdncli
from mdncli.density.mixture import GaussianMixture

# Best published NLL of a method that is trained from scratch, and that of TabPFN v2, which is
# pretrained.
PUBLISHED = {
    "concrete": ("2.75 (PGBM)", "2.21"),
    "energy": (".53 (WGBoost)", ".15"),
    "power": ("2.58 (TabResFlow)", "2.28"),
    "yacht": (".05 (PGBM)", "-.73"),
    "wine": (".87 (CARD)", "spikes"),
}
# The largest NLL that each preset may have.
LIMITS = {
    "default": {"concrete": 2.78, "energy": 0.22, "power": 2.60, "yacht": -0.30, "wine": 0.90},
    "best": {"concrete": 2.50, "energy": -0.06, "power": 2.416, "yacht": -0.87, "wine": 0.84},
}
PRESETS = ("fast", "default", "best")
NGBOOST, SKPRO, SKPRO_NGEM = "NGBoost", "skpro", "skpro, ngem"
METHODS = (*PRESETS, NGBOOST, SKPRO, SKPRO_NGEM)

Rows = tuple[np.ndarray, np.ndarray]
# What a method gives for test rows: their distribution, and the seconds that learning took.
Method = Callable[[Rows, np.ndarray], tuple[mdncli.Distribution, float]]


@dataclass(frozen=True)
class Score:
    """One method on one split."""

    nll: float
    crps: float
    coverage: float
    seconds: float


@dataclass(frozen=True)
class Scores:
    """One method on every split of a set, of which there may be none."""

    each: list[Score]
    resolution: float

    def mean(self, name: str) -> float:
        """Return the mean of a score; NaN without splits."""
        return float(np.mean([getattr(s, name) for s in self.each])) if self.each else math.nan

    @property
    def seconds(self) -> float:
        """The median time of learning; NaN without splits."""
        return float(np.median([s.seconds for s in self.each])) if self.each else math.nan

    @property
    def spikes(self) -> bool:
        """Whether the NLL is lower than the steps of the target support."""
        return self.mean("nll") < self.resolution

    def nll_in_words(self, *, with_error: bool = True) -> str:
        """Return the mean NLL, with its standard error if there are several splits."""
        if not self.each or self.spikes:
            return "spikes" if self.each else ""
        words = f"{self.mean('nll'):.3f}"
        if not with_error or len(self.each) < 2:
            return words
        error = np.std([s.nll for s in self.each], ddof=1) / math.sqrt(len(self.each))
        return f"{words} ± {error:.3f}"


# The scores of a set, by method.
SetScores = dict[str, Scores]


def ours(preset: str, threads: int | None) -> Method:
    """Return what `mdn fit --preset` does with its other defaults."""

    def learn(train: Rows, x: np.ndarray) -> tuple[mdncli.Distribution, float]:
        names = [f"x{i + 1}" for i in range(x.shape[1])]
        seconds = [0.0]
        model = mdncli.fit(
            pd.DataFrame(train[0], columns=names),
            train[1],
            preset=preset,
            threads=threads,
            progress=lambda epoch: seconds.append(epoch.seconds),
        )
        # By name, since a feature that is constant on these rows is left out.
        return model.condition(pd.DataFrame(x, columns=names)), seconds[-1]

    return learn


def ngboost(train: Rows, x: np.ndarray) -> tuple[mdncli.Distribution, float]:
    """Learn by NGBoost with 500 trees and its other defaults."""
    from ngboost import NGBRegressor

    model = NGBRegressor(n_estimators=500, verbose=False, random_state=0)
    started = perf_counter()
    model.fit(train[0], train[1][:, 0])
    seconds = perf_counter() - started
    normal = model.pred_dist(x)
    return gaussians(np.zeros((len(x), 1)), normal.loc[:, None], normal.scale[:, None]), seconds


def skpro(loss: str) -> Method:
    """Return skpro's mixture density network with one of its losses and its other defaults."""

    def learn(train: Rows, x: np.ndarray) -> tuple[mdncli.Distribution, float]:
        from skpro.regression.mdn import MDNRegressor

        # It does not standardize the columns.
        (x_mean, x_std), (y_mean, y_std) = ((v.mean(0), v.std(0)) for v in train)
        x_std = np.where(x_std > 0.0, x_std, 1.0)
        model = MDNRegressor(loss=loss, random_state=0)
        started = perf_counter()
        model.fit(
            pd.DataFrame((train[0] - x_mean) / x_std), pd.DataFrame((train[1] - y_mean) / y_std)
        )
        seconds = perf_counter() - started
        answer = model.predict_proba(pd.DataFrame((x - x_mean) / x_std))
        weights, mu, sigma = (
            np.asarray(v, dtype=float).reshape(len(x), -1)
            for v in (answer.pi, answer.mu, answer.sigma)
        )
        with np.errstate(divide="ignore"):
            log_pi = np.log(weights)
        return gaussians(log_pi, mu * y_std + y_mean, sigma * y_std), seconds

    return learn


def gaussians(log_pi: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> mdncli.Distribution:
    """Return the distribution with mixtures from arrays of shape (N, K)."""
    return mdncli.Distribution(GaussianMixture(log_pi, mu[:, :, None], sigma[:, :, None]))


def methods(threads: int | None) -> dict[str, Method]:
    """Return the methods that can run here, by their names in the tables."""
    found: dict[str, Method] = {preset: ours(preset, threads) for preset in PRESETS}
    try:
        import ngboost as _
    except ImportError:
        print("NGBoost is not installed; it is left out.", file=sys.stderr)
    else:
        found[NGBOOST] = ngboost
    try:
        import skpro.regression.mdn as _  # noqa: F401
    except ImportError:
        print("skpro is not installed; it is left out.", file=sys.stderr)
    else:
        found |= {SKPRO: skpro("nll"), SKPRO_NGEM: skpro("ngem")}
    return found


def read(path: Path) -> Rows | None:
    """Return x and y of a set, or None with a message if it does not hold numbers alone."""
    try:
        frame = mdncli.read_table(path)
    except mdncli.MdnError as error:
        print(f"left out: {error}", file=sys.stderr)
        return None
    if not all(kind == np.float64 for kind in frame.dtypes) or frame.isna().any(axis=None):
        print(f"left out: {path.name} does not hold numbers alone.", file=sys.stderr)
        return None
    values = frame.to_numpy()
    return values[:, :-1], values[:, -1:]


def resolution(y: np.ndarray) -> float:
    """Return the lowest NLL that the steps of a target support, ln(step); -inf if it has none."""
    if (y == np.round(y)).all():
        return math.log(np.gcd.reduce(np.diff(np.unique(y)).astype(int)))
    return -math.inf


def splits(rows: int, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the rows to learn from and to test on, by the standard protocol."""
    np.random.seed(1)
    permutations = [np.random.choice(range(rows), rows, replace=False) for _ in range(count)]
    return [(p[: round(0.9 * rows)], p[round(0.9 * rows) :]) for p in permutations]


def measure(method: Method, train: Rows, test: Rows) -> Score:
    """Return the scores of a method on one split."""
    distribution, seconds = method(train, test[0])
    y = test[1]
    return Score(
        -float(distribution.log_prob(y).mean()),
        float(distribution.crps(y).mean()),
        coverage(distribution, y),
        seconds,
    )


def compete(data: Rows, chosen: dict[str, Method], count: int, skpro_count: int) -> SetScores:
    """Run every method on every split of a set, in turn."""
    x, y = data
    taking_part = [
        m for m in METHODS if m in chosen and (skpro_count or m not in (SKPRO, SKPRO_NGEM))
    ]
    scores = {method: Scores([], resolution(y)) for method in taking_part}
    for number, (train, test) in enumerate(splits(len(y), count)):
        for method, learn in chosen.items():
            if number < skpro_count or method not in (SKPRO, SKPRO_NGEM):
                score = measure(learn, (x[train], y[train]), (x[test], y[test]))
                scores[method].each.append(score)
    return scores


def show(name: str, scores: SetScores, stream: TextIO) -> None:
    """Write the scores of a set."""
    row = "  {:<14}{:>18}{:>12}{:>10}{:>10}".format
    print(f"\n{name}", file=stream)
    print(row("", "NLL", "CRPS", "90% cov.", "seconds"), file=stream)
    for method, each in scores.items():
        if each.each:
            figures = f"{each.mean('crps'):.4g}", f"{each.mean('coverage'):.1%}"
            line = row(method, each.nll_in_words(), *figures, f"{each.seconds:.2f}")
            print(line, file=stream)
    best, pretrained = PUBLISHED.get(name, ("none", "none"))
    words = f"  published, from scratch: {best}; TabPFN v2, pretrained: {pretrained}"
    print(words, file=stream, flush=True)


def nll_table(results: dict[str, SetScores]) -> str:
    """Return the README's table of NLLs; the lowest of a row is bold."""
    rows = []
    for name, scores in results.items():
        lowest = min(s.mean("nll") for s in scores.values() if s.each and not s.spikes)
        cells = []
        for method, each in scores.items():
            cell = each.nll_in_words(with_error=method not in (SKPRO, SKPRO_NGEM))
            cells.append(f"**{cell}**" if each.mean("nll") == lowest else cell)
        cells += PUBLISHED.get(name, ("", ""))
        rows.append([name, *map(with_minus_signs, cells)])
    titles = ["set", *map(_title, next(iter(results.values())))]
    return markdown_table([*titles, "best from scratch", "TabPFN v2 (pretrained)"], rows)


def other_table(results: dict[str, SetScores]) -> str:
    """Return the README's table of seconds, coverage and CRPS."""
    methods = next(iter(results.values()))
    timed = [method for method in methods if method != SKPRO_NGEM]
    compared = [method for method in ("default", "best", NGBOOST) if method in methods]
    rows = []
    for name, scores in results.items():
        figures = [_seconds(scores[method].seconds) for method in timed]
        figures += [_known(scores[method].mean("coverage"), ".0%") for method in compared]
        figures += [_known(scores[method].mean("crps"), "#.3g") for method in compared]
        rows.append([name, *figures])
    titles = ["set"]
    for what, columns in (
        ("seconds of learning: ", timed),
        ("90% intervals cover: ", compared),
        ("CRPS: ", compared),
    ):
        first, *others = map(_title, columns)
        titles += [f"{what}{first}", *others]
    return markdown_table(titles, rows)


def _title(method: str) -> str:
    return f"`{method}`" if method in PRESETS else method


def _seconds(value: float) -> str:
    return _known(value, ".1f" if value < 20.0 else ".0f")


def _known(value: float, form: str) -> str:
    return "" if math.isnan(value) else f"{value:{form}}"


def verdict(results: dict[str, SetScores], stream: TextIO) -> bool:
    """Write every limit and whether it holds, over the sets that were run."""
    held = True

    def say(text: str, holds: bool) -> None:
        nonlocal held
        held = held and holds
        print(f"  {text}: {'held' if holds else 'MISSED'}", file=stream)

    print("\nlimits", file=stream)
    for preset, limits in LIMITS.items():
        for name, most in limits.items():
            if name in results:
                nll = results[name][preset].mean("nll")
                say(f"{preset} on {name}: NLL {nll:.3f}, at most {most}", nll <= most)
    for name, scores in results.items():
        share = scores["default"].mean("coverage")
        say(
            f"default on {name}: 90% intervals cover {share:.1%}, 85% to 95%", 0.85 <= share <= 0.95
        )
    for preset in ("default", "best"):
        share = float(np.mean([scores[preset].mean("coverage") for scores in results.values()]))
        say(f"{preset}: 90% intervals cover {share:.1%}, 88% to 92%", 0.88 <= share <= 0.92)
    if all(NGBOOST in scores for scores in results.values()):
        against_ngboost(results, say)
    return held


def against_ngboost(results: dict[str, SetScores], say: Callable[[str, bool], None]) -> None:
    """Print how the presets compare with NGBoost, in NLL and in time."""
    wins, quick = 0, True
    for name, scores in results.items():
        theirs = scores[NGBOOST]
        wins += scores["default"].mean("nll") < theirs.mean("nll")
        quick = quick and scores["default"].seconds <= theirs.seconds
        ratio = scores["best"].seconds / theirs.seconds
        say(f"best on {name}: {ratio:.1f} times NGBoost's time, at most 2", ratio <= 2.0)
    say(f"default is better than NGBoost on {wins} of {len(results)}", wins >= len(results) - 1)
    say("default takes no longer than NGBoost on any", quick)


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--sets", default=",".join(PUBLISHED), help="names of sets, with commas")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--skpro-splits", type=int, help="fewer for skpro, the slowest; 0: none")
    parser.add_argument("--threads", type=int, help="of the presets; by default their own")
    parser.add_argument("--markdown", action="store_true", help="print the README's tables")
    return parser.parse_args()


def main() -> int:
    """Run the sets, print the tables, and return the exit status."""
    options = arguments()
    # Such as that of a constant feature, which some splits have.
    warnings.simplefilter("ignore")
    chosen = methods(options.threads)
    skpro_splits = options.splits if options.skpro_splits is None else options.skpro_splits
    stream = sys.stderr if options.markdown else sys.stdout
    results = {}
    for name in options.sets.split(","):
        data = read(options.folder / f"{name}.csv")
        if data is not None:
            results[name] = compete(data, chosen, options.splits, skpro_splits)
            show(name, results[name], stream)
    if options.markdown:
        print(nll_table(results), other_table(results), sep="\n\n")
    return 0 if verdict(results, stream) else 1


if __name__ == "__main__":
    sys.exit(main())
