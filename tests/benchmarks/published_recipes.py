"""Three published recipes of mixture density networks beside `mdn fit`, on the same rows.

    python tests/benchmarks/published_recipes.py [sinusoid] [--markdown]

Every recipe and every `mdn fit` is a process of its own. Seconds of learning run from the first
network built to the last step. They include the construction of the optimizer, and exclude
imports. A recipe runs once. `mdn fit` runs with seeds 0 to 4, and its medians are printed. The exit
status is 1 if a figure misses its limit.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TextIO

import numpy as np
from markdown_table import markdown_table

import mdncli
from mdncli import datasets

FRESH_ROWS = 20_000
PYTHON = sys.executable
MDN = [PYTHON, "-m", "mdncli"]


@dataclass(frozen=True)
class Contest:
    """A recipe, its problem, and the limits that `mdn fit` must hold against it.

    Attributes:
        title: of the row in the README.
        problem: the name of the built-in problem.
        inverse: whether it is the inverse problem.
        mixtures: the recipe's K.
        widest_gap: how far the NLL may be above the best possible one, in nats.
        least_speedup: how many times as long the recipe must take.
    """

    title: str
    problem: str
    inverse: bool
    mixtures: int
    widest_gap: float
    least_speedup: float


CONTESTS = {
    "sinusoid": Contest("inverse sinusoid, K = 5", "sinusoid", True, 5, 0.10, 8.0),
    "bishop": Contest("inverse bishop, K = 30", "bishop", True, 30, 0.12, 25.0),
    "spiral": Contest("spiral, K = 20", "spiral", False, 20, 0.035, 5.0),
}


@dataclass(frozen=True)
class Run:
    """A fit: its NLL on fresh rows, its seconds of learning, and those of the whole process."""

    nll: float
    learning: float
    process: float


@dataclass(frozen=True)
class Outcome:
    """A contest that was run, with the best possible NLL on the fresh rows."""

    contest: Contest
    best: float
    recipe: Run
    ours: Run

    @property
    def gap(self) -> float:
        """How far `mdn fit` is above the best possible NLL, in nats."""
        return self.ours.nll - self.best

    @property
    def speedup(self) -> float:
        """How many times as long the recipe learns."""
        return self.recipe.learning / self.ours.learning

    @property
    def held(self) -> bool:
        """Whether `mdn fit` holds its limits."""
        contest = self.contest
        return self.gap <= contest.widest_gap and self.speedup >= contest.least_speedup


def sinusoid_recipe(x, y):
    """One hidden layer of 20 tanh, K = 5, exp for sigma; Adam 1e-3, 8000 full-batch epochs."""
    import torch

    hidden = torch.nn.Linear(1, 20)
    pi, mu, sigma = (torch.nn.Linear(20, 5) for _ in range(3))
    parameters = [p for layer in (hidden, pi, mu, sigma) for p in layer.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)

    def mixture(x):
        h = torch.tanh(hidden(x))
        return torch.softmax(pi(h), 1), mu(h), torch.exp(sigma(h))

    for _ in range(8000):
        weight, mean, scale = mixture(x)
        density = torch.exp(-0.5 * ((y - mean) / scale) ** 2) / (scale * math.sqrt(2 * math.pi))
        loss = -torch.log((weight * density).sum(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return mixture


def bishop_recipe(x, y):
    """50 tanh, K = 30, exp for the variance, a loop over components; Adam 8e-3, 3000 epochs."""
    import torch

    mixtures = 30
    network = torch.nn.Sequential(
        torch.nn.Linear(1, 50), torch.nn.Tanh(), torch.nn.Linear(50, 3 * mixtures)
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=8e-3)

    def mixture(x):
        pi, mu, log_variance = network(x).split(mixtures, dim=1)
        return torch.softmax(pi, 1), mu, torch.sqrt(torch.exp(log_variance))

    for _ in range(3000):
        weight, mean, scale = mixture(x)
        total = 0.0
        for k in range(mixtures):
            variance = scale[:, k] ** 2
            exponent = -((y[:, 0] - mean[:, k]) ** 2) / (2 * variance)
            total = total + weight[:, k] * torch.exp(exponent) / torch.sqrt(2 * math.pi * variance)
        loss = -torch.log(total).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return mixture


def spiral_recipe(x, y):
    """128, 128 relu, K = 20, ELU + 1 for sigma; Adam 1e-3, plateau, early stopping."""
    import torch

    mixtures = 20
    network = torch.nn.Sequential(
        torch.nn.Linear(1, 128),
        torch.nn.ReLU(),
        torch.nn.Linear(128, 128),
        torch.nn.ReLU(),
        torch.nn.Linear(128, 3 * mixtures),
    )

    def mixture(x):
        pi, mu, sigma = network(x).split(mixtures, dim=1)
        return torch.softmax(pi, 1), mu, torch.nn.functional.elu(sigma) + 1 + 1e-7

    def loss_of(x, y):
        weight, mean, scale = mixture(x)
        parts = torch.distributions.Normal(mean, scale).log_prob(y) + torch.log(weight)
        return -torch.logsumexp(parts, dim=1).mean()

    train_until_no_better(network, loss_of, x, y)
    return mixture


def train_until_no_better(network, loss_of, x, y):
    """Train the network of the spiral recipe, and leave it with its best weights."""
    import torch

    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    # PyTorch acts after one epoch more than its patience.
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.1, patience=4, threshold=0.0, threshold_mode="abs"
    )
    # As in the recipe, the loss of the held-out rows is computed but decides nothing. Both rules
    # follow the training loss.
    held_out = int(0.15 * len(x))
    order = torch.randperm(len(x))
    valid, train = order[:held_out], order[held_out:]
    best, best_weights, best_epoch = math.inf, None, 0
    for epoch in range(300):
        total = 0.0
        for batch in train[torch.randperm(len(train))].split(128):
            loss = loss_of(x[batch], y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        plateau.step(total)
        with torch.no_grad():
            loss_of(x[valid], y[valid])
        if total < best:
            best, best_epoch = total, epoch
            best_weights = {name: value.clone() for name, value in network.state_dict().items()}
        elif epoch - best_epoch >= 10:
            break
    network.load_state_dict(best_weights)


RECIPES: dict[str, Callable] = {
    "sinusoid": sinusoid_recipe,
    "bishop": bishop_recipe,
    "spiral": spiral_recipe,
}


def run_recipe(name: str, train_file: str, fresh_file: str) -> None:
    """Train one recipe and print its seconds of learning and NLL on fresh rows, as JSON."""
    import torch

    torch.manual_seed(0)
    # The first optimizer imports modules. That must not count as learning.
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    x, y = (torch.from_numpy(v).float() for v in read_xy(train_file))
    started = perf_counter()
    mixture = RECIPES[name](x, y)
    seconds = perf_counter() - started
    x, y = (torch.from_numpy(v) for v in read_xy(fresh_file))
    with torch.no_grad():
        weight, mean, scale = (v.double() for v in mixture(x.float()))
    parts = torch.distributions.Normal(mean, scale).log_prob(y) + torch.log(weight)
    print(json.dumps({"nll": -torch.logsumexp(parts, dim=1).mean().item(), "seconds": seconds}))


def read_xy(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns x and y of a table, each (N, 1)."""
    table = mdncli.read_table(path)
    return table[["x"]].to_numpy(), table[["y"]].to_numpy()


def timed(command: list[str]) -> tuple[float, str]:
    """Run a command; return the seconds of the whole process and its standard output."""
    started = perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return perf_counter() - started, done.stdout


def compete(name: str, folder: Path, seeds: int) -> Outcome:
    """Run a recipe, and `mdn fit` with every seed, on the same rows."""
    contest = CONTESTS[name]
    train, fresh, model = (str(folder / f"{name}{end}") for end in (".csv", "-fresh.csv", ".pt"))
    rows = ["generate", contest.problem, *(["--inverse"] if contest.inverse else [])]
    timed([*MDN, *rows, "--seed", "1", "-o", train])
    timed([*MDN, *rows, "--seed", "2", "--n", str(FRESH_ROWS), "-o", fresh])
    x, y = read_xy(fresh)
    exact = datasets.log_density(contest.problem, x[:, 0], y[:, 0], inverse=contest.inverse)

    process, output = timed([PYTHON, __file__, "--recipe", name, train, fresh])
    recipe = json.loads(output)
    runs = []
    for seed in range(seeds):
        options = ["-k", str(contest.mixtures), "--seed", str(seed), "-o", model, "-q", "--json"]
        seconds, output = timed([*MDN, "fit", train, *options])
        nll = -mdncli.load(model).condition(x).log_prob(y).mean()
        runs.append((nll, json.loads(output)["seconds"]["train"], seconds))
    ours = Run(*(statistics.median(run[part] for run in runs) for part in range(3)))
    return Outcome(contest, -exact.mean(), Run(recipe["nll"], recipe["seconds"], process), ours)


def show(outcome: Outcome, stream: TextIO) -> None:
    """Write the figures of a contest."""
    contest = outcome.contest
    row = "  {:<10}{:>10}{:>14}{:>14}{:>14}".format
    lines = [
        f"{contest.title}: best possible NLL {outcome.best:.4f} on {FRESH_ROWS} fresh rows",
        row("", "NLL", "above best", "learning s", "process s"),
    ]
    for name, run in (("recipe", outcome.recipe), ("mdn fit", outcome.ours)):
        scores = [f"{run.nll:.4f}", f"{run.nll - outcome.best:.4f}"]
        lines.append(row(name, *scores, f"{run.learning:.2f}", f"{run.process:.2f}"))
    ratio = outcome.recipe.process / outcome.ours.process
    lines += [
        f"  {'ratio':<34}{outcome.speedup:>14.1f}{ratio:>14.1f}",
        f"  limits: {contest.widest_gap} above the best in 1/{contest.least_speedup:g} of the "
        f"recipe's learning: {'held' if outcome.held else 'MISSED'}\n",
    ]
    print(*lines, sep="\n", file=stream, flush=True)


def markdown(outcomes: list[Outcome]) -> str:
    """Return the README's table."""
    titles = ["problem", "recipe, above best", "`mdn fit`, above best"]
    titles += ["recipe learns in", "`mdn fit` learns in", "ratio"]
    rows = [
        [
            each.contest.title,
            f"{each.recipe.nll - each.best:.4f}",
            f"{each.gap:.4f}",
            f"{each.recipe.learning:.2f} s",
            f"{each.ours.learning:.2f} s",
            f"{each.speedup:.0f}",
        ]
        for each in outcomes
    ]
    return markdown_table(titles, rows)


def main() -> int:
    """Run the contests named on the command line, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*CONTESTS, []], help="contests; all if none")
    parser.add_argument("--seeds", type=int, default=5, help="the number of seeds of mdn fit")
    parser.add_argument("--markdown", action="store_true", help="print the README's table")
    parser.add_argument("--recipe", nargs=3, metavar=("NAME", "TRAIN", "FRESH"))
    options = parser.parse_args()
    if options.recipe:
        run_recipe(*options.recipe)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outcomes = []
        for each in options.names or CONTESTS:
            outcomes.append(compete(each, folder, options.seeds))
            show(outcomes[-1], sys.stderr if options.markdown else sys.stdout)
        held = all(outcome.held for outcome in outcomes)
        if options.markdown:
            print(markdown(outcomes))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
