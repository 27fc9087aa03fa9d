"""The built-in problems: how far each preset stays above the best possible NLL.

    python tests/benchmarks/built_in.py [--presets default,best] [--mixtures 5]

For seeds 0 to 4: a table and a fit of that seed, judged on 20,000 fresh rows by the exact density
of the problem. Figures are medians over the seeds, in nats.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from mdncli.datasets import generate, log_density
from mdncli.files import read_bytes
from mdncli.modelfile import reader as checkpoint

# The problem, whether inverse, and what `--preset best` is asked to reach.
PROBLEMS = {"sinusoid": (True, 0.06), "bishop": (True, 0.09), "spiral": (False, 0.015)}
SEEDS = range(5)
FRESH_ROWS, FRESH_SEED = 20_000, 1000
MDN = [sys.executable, "-m", "mdncli"]


def gap(name: str, seed: int, options: list[str], folder: Path) -> tuple[float, float]:
    """Return how far above the best possible NLL a fit is, in nats, and its seconds of learning."""
    inverse = PROBLEMS[name][0]
    data, model = folder / "data.csv", folder / "model.pt"
    direction = ["--inverse"] if inverse else []
    subprocess.run(
        [*MDN, "generate", name, *direction, "--seed", str(seed), "-o", data, "-q"], check=True
    )
    done = subprocess.run(
        [*MDN, "fit", data, *options, "--seed", str(seed), "-o", model, "-q", "--json"],
        check=True,
        stdout=subprocess.PIPE,
    )
    fresh = generate(name, n=FRESH_ROWS, inverse=inverse, seed=FRESH_SEED + seed)
    x, y = fresh["x"], fresh["y"]
    best = -float(log_density(name, x, y, inverse=inverse).mean())
    nll = checkpoint.load(read_bytes(str(model)), "model.pt").mean_nll(x[:, None], y[:, None])
    return nll - best, json.loads(done.stdout)["seconds"]["train"]


def main() -> int:
    """Run the presets, print the gaps, and return 0 if what was asked of `best` held."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--presets", default="fast,default,best")
    parser.add_argument("--mixtures", help="K; the preset's own if not given")
    options = parser.parse_args()
    held = True
    with tempfile.TemporaryDirectory() as folder:
        for name, (_, most) in PROBLEMS.items():
            for preset in options.presets.split(","):
                arguments = ["--preset", preset]
                arguments += ["-k", options.mixtures] if options.mixtures else []
                runs = [gap(name, seed, arguments, Path(folder)) for seed in SEEDS]
                gaps = [run[0] for run in runs]
                seconds = statistics.median(run[1] for run in runs)
                verdict = ""
                if preset == "best":
                    held = held and statistics.median(gaps) <= most
                    verdict = f", asked {most}"
                print(
                    f"{name:<10}{preset:<9}median {statistics.median(gaps):.4f} above the best "
                    f"({min(gaps):.4f} to {max(gaps):.4f}){verdict}; {seconds:.1f} s of learning",
                    flush=True,
                )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
