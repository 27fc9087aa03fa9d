"""The built-in problems: how far each preset stays above the best possible NLL.

    python tests/benchmarks/built_in.py [--presets default,best] [--mixtures 5] [--markdown]

For each of the seeds 0 to 4, a model is fitted to a table of that seed. Its mean NLL on 20,000
fresh rows is compared with that of the exact density of the problem. Figures are medians over the
seeds, in nats. The exit status is 1 if `--preset best` misses its limit on a problem.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from markdown_table import markdown_table

import mdncli
from mdncli.datasets import generate, log_density

FRESH_ROWS, FRESH_SEED = 20_000, 1000
MDN = [sys.executable, "-m", "mdncli"]


@dataclass(frozen=True)
class Problem:
    """A built-in problem, and the largest gap that `--preset best` may have."""

    name: str
    title: str
    inverse: bool
    limit: float

    def words(self) -> list[str]:
        """Return the words after `mdn generate`."""
        return [self.name, *(["--inverse"] if self.inverse else [])]


PROBLEMS = (
    Problem("sinusoid", "inverse sinusoid, 1000 rows", True, 0.06),
    Problem("bishop", "inverse bishop, 2500 rows", True, 0.09),
    Problem("spiral", "spiral, 10000 rows", False, 0.015),
)


def gap(problem: Problem, seed: int, options: list[str], folder: Path) -> tuple[float, float]:
    """Return how far above the best possible NLL a fit is, in nats, and its seconds of learning."""
    data, model = folder / "data.csv", folder / "model.pt"
    subprocess.run(
        [*MDN, "generate", *problem.words(), "--seed", str(seed), "-o", data, "-q"], check=True
    )
    done = subprocess.run(
        [*MDN, "fit", data, *options, "--seed", str(seed), "-o", model, "-q", "--json"],
        check=True,
        stdout=subprocess.PIPE,
    )
    fresh = generate(problem.name, n=FRESH_ROWS, inverse=problem.inverse, seed=FRESH_SEED + seed)
    x, y = fresh["x"], fresh["y"]
    exact = log_density(problem.name, x, y, inverse=problem.inverse)
    found = mdncli.load(model).condition(x).log_prob(y)
    return float((exact - found).mean()), json.loads(done.stdout)["seconds"]["train"]


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--presets", default="fast,default,best")
    parser.add_argument("--mixtures", help="K; by default the preset's own")
    parser.add_argument("--seeds", type=int, default=5, help="the number of seeds")
    parser.add_argument("--markdown", action="store_true", help="print the README's table")
    return parser.parse_args()


def main() -> int:
    """Fit every preset to every problem, print the gaps, and return the exit status."""
    options = arguments()
    presets = options.presets.split(",")
    held, table = True, []
    with tempfile.TemporaryDirectory() as folder:
        for problem in PROBLEMS:
            table.append([problem.title])
            for preset in presets:
                words = ["--preset", preset]
                words += ["-k", options.mixtures] if options.mixtures else []
                runs = [gap(problem, seed, words, Path(folder)) for seed in range(options.seeds)]
                gaps = [run[0] for run in runs]
                median = statistics.median(gaps)
                table[-1].append(f"{median:.3f}")
                verdict = ""
                if preset == "best":
                    held = held and median <= problem.limit
                    verdict = f", limit {problem.limit}"
                print(
                    f"{problem.name:<10}{preset:<9}median {median:.4f} above the best "
                    f"({min(gaps):.4f} to {max(gaps):.4f}){verdict}; "
                    f"{statistics.median(run[1] for run in runs):.1f} s of learning",
                    file=sys.stderr if options.markdown else sys.stdout,
                    flush=True,
                )
    if options.markdown:
        print(markdown_table(["problem", *(f"`{preset}`" for preset in presets)], table))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
