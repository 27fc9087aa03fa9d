"""Kill `mdn fit` at random moments, and see that nothing is lost.

    python tests/trials/kills.py [--kills 300] [--seed 0]

After each kill the model file must be the old one or the new one, whole. Then the fit is run again,
with --resume if there is a checkpoint, and the model must be that of a fit without a break, byte
for byte, with no other file beside it. The exit status is 1 if that fails.

Each fit runs in a fork of this process, which has imported everything before, so that most of the
kills come while it reads, learns or writes.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import mdncli.commands.report
import mdncli.learning.fit
import mdncli.modelfile.writer  # noqa: F401 - imported for the forks
from mdncli.commands import app

OPTIONS = ("--steps", "150", "--checkpoint-every", "0.05", "-q")


def started(arguments: tuple[str, ...]) -> int:
    """Run `mdn` in a fork of this process, and return its number."""
    process = os.fork()
    if process:
        return process
    sys.argv = ["mdn", *arguments]
    os._exit(app.run())


def status(arguments: tuple[str, ...]) -> int:
    """Run `mdn` to its end, and return its exit status."""
    return os.waitstatus_to_exitcode(os.waitpid(started(arguments), 0)[1])


def write_table(path: Path) -> None:
    """Write a table that takes a second to learn from."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    y = np.sin(2.0 * x[:, 0]) + 0.1 * rng.normal(size=300)
    np.savetxt(path, np.column_stack([x, y]), delimiter=",", header="a,b,y", comments="")


def kill_once(after: float, old: bytes, new: bytes) -> str:
    """Kill a fit after so many seconds, and run it again; return what went wrong, or nothing."""
    model, state = Path("model.pt"), Path("model.pt.checkpoint")
    model.write_bytes(old)
    process = started(("fit", "data.csv", *OPTIONS))
    time.sleep(after)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    if model.read_bytes() not in (old, new):
        return "the model is neither the old one nor the new one"
    onwards = ("--resume",) if state.exists() else ()
    ended = status(("fit", "data.csv", *OPTIONS, *onwards))
    if ended:
        return f"the next run ended with {ended}"
    if model.read_bytes() != new:
        return "the next run gave another model"
    left = {each.name for each in Path().iterdir()} - {"data.csv", "model.pt"}
    return f"left behind: {', '.join(sorted(left))}" if left else ""


def run(kills: int, seed: int) -> int:
    """Kill so many fits, and return the number of failures."""
    torch.set_num_threads(1)
    rng, failures = random.Random(seed), 0
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_table(Path("data.csv"))
        assert status(("fit", "data.csv", "-q", "--steps", "10", "--no-ladder")) == 0
        old = Path("model.pt").read_bytes()
        begin = time.perf_counter()
        assert status(("fit", "data.csv", *OPTIONS)) == 0
        seconds = time.perf_counter() - begin
        new = Path("model.pt").read_bytes()
        for number in range(1, kills + 1):
            after = rng.uniform(0.0, 1.1 * seconds)
            fault = kill_once(after, old, new)
            failures += bool(fault)
            if fault:
                print(f"kill {number} after {after:.3f} s: {fault}", flush=True)
        os.chdir(before)
    print(f"{kills} kills within {1.1 * seconds:.1f} s, seed {seed}: {failures} failures")
    return failures


def main() -> None:
    """Read the command line and run the trial."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sys.exit(run(given.kills, given.seed) > 0)


if __name__ == "__main__":
    main()
