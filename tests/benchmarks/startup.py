"""How long the commands take to start, beside importing PyTorch.

    python tests/benchmarks/startup.py [--runs 7] [--markdown]

In every run each command is timed once, and `python -c "import torch"` before and after them, so
that a machine that is busy for a while slows down all of them. Figures are medians. The table has
1000 rows of one feature. The last column is the limit: in seconds, as a share of the time of
importing PyTorch, or, for `fit`, in seconds beyond that import and the learning that `fit --json`
prints. The exit status is 1 if a figure is above its limit.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from markdown_table import markdown_table

MDN = [sys.executable, "-m", "mdncli"]
IMPORT = [sys.executable, "-c", "import torch"]
# An installed package has its bytecode on the disk, so the first run may write it.
ENVIRONMENT = {n: value for n, value in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
SECONDS, RATIO, BEYOND = "s", "of the import", "s beyond it and learning"
BUILD = [
    ["generate", "sinusoid", "--inverse", "-q", "-o", "data.csv"],
    ["fit", "data.csv", "-q", "-o", "model.pt"],
]
FIT = ["fit", "data.csv", "--json", "-q", "-o", "new.pt"]


@dataclass(frozen=True)
class Case:
    """A command and its limit.

    Attributes:
        words: of the command, after `mdn`.
        most: the limit, in `unit`.
        status: the exit status.
    """

    words: list[str]
    most: float
    unit: str = RATIO
    status: int = 0


CASES = [
    Case(["--help"], 0.12, SECONDS),
    Case(["--version"], 0.12, SECONDS),
    Case(["predict", "model.pt"], 0.12, SECONDS, status=2),
    Case(["generate", "sinusoid", "-q", "-o", "new.csv"], 0.25),
    Case(["sample", "model.pt", "-q", "-o", "new.csv"], 0.25),
    Case(["sample", "model.pt", "--rows", "data.csv", "-q", "-o", "new.csv"], 0.25),
    Case(["inspect", "model.pt"], 0.25),
    Case(["inspect", "data.csv"], 0.25),
    Case(["predict", "model.pt", "data.csv", "-q", "-o", "new.csv"], 0.35),
    Case(["evaluate", "model.pt", "data.csv"], 0.35),
    Case(["plot", "model.pt", "data.csv", "-q", "-o", "new.png"], 0.8),
    Case(FIT, 0.4, BEYOND),
]


def timed(words: Sequence[str], folder: Path, status: int) -> tuple[float, bytes]:
    """Return the seconds and the output of a command."""
    started = perf_counter()
    done = subprocess.run(words, cwd=folder, env=ENVIRONMENT, capture_output=True, check=False)
    seconds = perf_counter() - started
    if done.returncode != status:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.decode()}")
    return seconds, done.stdout


def measure(folder: Path, runs: int) -> tuple[list[float], list[list[float]], list[float]]:
    """Return the seconds of the import, of each command, and of learning, in every run."""
    imports: list[float] = []
    commands: list[list[float]] = [[] for _ in CASES]
    learning: list[float] = []
    for case in CASES:
        timed([*MDN, *case.words], folder, case.status)
    for _ in range(runs):
        imports.append(timed(IMPORT, folder, 0)[0])
        for case, seconds in zip(CASES, commands, strict=True):
            took, printed = timed([*MDN, *case.words], folder, case.status)
            seconds.append(took)
            if case.words == FIT:
                learning.append(json.loads(printed)["seconds"]["train"])
        imports.append(timed(IMPORT, folder, 0)[0])
    return imports, commands, learning


def report(folder: Path, runs: int, *, markdown: bool) -> bool:
    """Print the figures, and return whether all are within their limits."""
    imports, commands, learning = measure(folder, runs)
    whole = statistics.median(imports)
    rows, held = [["import torch", f"{whole:.2f}", "1", ""]], True
    for case, each in zip(CASES, commands, strict=True):
        seconds = statistics.median(each)
        beyond = [took - learned for took, learned in zip(each, learning, strict=True)]
        figure = {
            SECONDS: seconds,
            RATIO: seconds / whole,
            BEYOND: statistics.median(beyond) - whole,
        }[case.unit]
        held &= figure <= case.most
        over = "" if figure <= case.most else f", but is {figure:.2f}"
        command = f"mdn {' '.join(word for word in case.words if word != '-q')}"
        limit = f"{case.most} {case.unit}{'' if markdown else over}"
        rows.append([command, f"{seconds:.2f}", f"{seconds / whole:.2f}", limit])
    titles = ["command", "seconds", "share of the import", "at most"]
    if markdown:
        print(markdown_table(titles, [[f"`{row[0]}`", *row[1:]] for row in rows]))
    else:
        for row in [titles, *rows]:
            print(f"{row[0]:<52}{row[1]:>8}{row[2]:>21}  {row[3]}".rstrip())
        print(f"fit: learning takes {statistics.median(learning):.2f} s of it")
    return held


def main() -> int:
    """Print the figures and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--markdown", action="store_true", help="print the README's table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for words in BUILD:
            timed([*MDN, *words], folder, 0)
        return 0 if report(folder, options.runs, markdown=options.markdown) else 1


if __name__ == "__main__":
    sys.exit(main())
