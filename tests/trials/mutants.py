"""A random sample of mutants of the densities and of the model file, tried with mutmut.

    python tests/trials/mutants.py --sample 150 --seed 0

A mutant is the code with one small change. It is killed if a test of its rooms fails. The folder
`mutants` holds the changed code and the outcomes, and `mutmut show NAME` shows a change.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path

MUTANTS = Path("mutants")
MEMORY = 8 << 30
# What mutmut writes for the outcome of a mutant.
KILLED = ("killed", "timeout", "segfault", "suspicious")


def mutmut(*words: str, may_fail: bool = False) -> str:
    """Return what a command of mutmut prints."""
    done = subprocess.run(
        [sys.executable, "-m", "mutmut", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A second thread would be lost when a process is forked.
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=_limit_memory,
        text=True,
        check=False,
    )
    if done.returncode and not may_fail:
        sys.exit(done.stdout[-3000:])
    return done.stdout


def _limit_memory() -> None:
    # A mutant may ask for all the memory there is.
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def every_mutant() -> list[str]:
    """Return the names of all mutants in rising order; mutmut makes them if there are none."""
    found = sorted(MUTANTS.rglob("*.meta"))
    if not found:
        # They are made, and the tests that reach them are noted, before this name is not found.
        mutmut("run", "--max-children", "1", "none.*", may_fail=True)
        found = sorted(MUTANTS.rglob("*.meta"))
    names: list[str] = []
    for path in found:
        names += json.loads(path.read_text("utf-8"))["exit_code_by_key"]
    return sorted(names)


def outcomes(names: list[str]) -> dict[str, str]:
    """Return the outcome of each mutant that was tried, by its name."""
    pairs = [line.strip().rpartition(": ") for line in mutmut("results", "--all", "1").splitlines()]
    return {name: outcome for name, _, outcome in pairs if name in names}


def main() -> None:
    """Try the sample, and print how many were killed and which were not."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sample", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", default="", help="mutants whose name contains this text")
    given = parser.parse_args()
    every = [name for name in every_mutant() if given.only in name]
    chosen = random.Random(given.seed).sample(every, min(given.sample, len(every)))
    mutmut("run", "--max-children", str(given.jobs), *chosen)
    found = outcomes(chosen)
    for name in sorted(chosen):
        if found.get(name) not in KILLED:
            print(f"{found.get(name)}: {name}")
            print(mutmut("show", name))
    counts = Counter(found.values())
    killed = sum(counts[each] for each in KILLED)
    print(f"{killed} of {len(chosen)} mutants killed, of {len(every)} in all: {dict(counts)}")


if __name__ == "__main__":
    main()
