"""Simulation-based inference: can a classifier tell learned posteriors from the reference?

    python tests/benchmarks/sbi.py DIR [--preset default,best] [--sets 3] [--observations 1,2,3]
        [--samples 4000] [--tasks two_moons,slcp] [--threads 1] [--jobs 2] [--markdown]

DIR holds tasks of the benchmark sbibm (Lueckmann et al. 2021, Benchmarking simulation-based
inference). An observation is TASK_1.observation.csv, and samples of its exact posterior are
TASK_1.posterior.csv.gz. All tasks and observations that are there take part, unless others are
named. This needs scikit-learn: `pip install '.[bench]'`.

For each set of simulations, 10,000 pairs of parameters and data are drawn from the prior and the
simulator. The density of the parameters given the data is learned from these pairs alone, with the
bounds of the prior, `covariance="full"`, and otherwise the defaults of the preset. The same model
is sampled at every observation.

C2ST is the accuracy of a classifier in 5-fold cross-validation, on as many samples of the model as
of the reference, both standardized by the reference. One half is perfect. The classifier and the
folds are those of sbibm. From fewer samples it learns less, so C2ST is lower; the published figures
are for 10,000 samples, 10,000 simulations and the observations 1 to 3. Figures are means over the
observations, and then medians over the sets. Seconds are those of learning a set, without imports.
The exit status is 1 if a figure misses its limit. The classifier takes most of the time: in ten
dimensions two minutes for each observation, and less with `--jobs 2`, which trains it in two
processes.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd
from markdown_table import markdown_table

import mdncli

SIMULATIONS = 10_000
PRESETS = ("fast", "default", "best")
PUBLISHED = ("NPE", "SNPE", "NLE", "NRE")
# How much worse than NPE `--preset default` may be, and how long it may learn, in seconds.
MARGIN, MOST_SECONDS = 0.01, 15.0
SEED_OF_CLASSIFIER, FOLDS = 1, 5

# Takes a generator and parameters, (N, T); returns data, (N, F).
Simulator = Callable[[np.random.Generator, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Task:
    """A task of sbibm.

    Attributes:
        simulator: draws data.
        parameters: their number, T.
        bound: the prior of each parameter is uniform from -bound to bound.
        published: the C2ST of NPE, SNPE, NLE and NRE.
        limit: the largest C2ST that `--preset best` may have.
    """

    simulator: Simulator
    parameters: int
    bound: float
    published: tuple[float, float, float, float]
    limit: float

    def draw(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a set of simulations: parameters (N, T) and data (N, F)."""
        rng = np.random.default_rng(seed)
        theta = rng.uniform(-self.bound, self.bound, (SIMULATIONS, self.parameters))
        return theta, self.simulator(rng, theta)


def two_moons(rng: np.random.Generator, theta: np.ndarray) -> np.ndarray:
    """A point near a half circle of radius 0.1, the centre of which depends on the parameters."""
    a = rng.uniform(-0.5 * np.pi, 0.5 * np.pi, len(theta))
    r = rng.normal(0.1, 0.01, len(theta))
    across, up = -np.abs(theta[:, 0] + theta[:, 1]), theta[:, 1] - theta[:, 0]
    moon = np.column_stack([r * np.cos(a) + 0.25, r * np.sin(a)])
    return moon + np.column_stack([across, up]) / np.sqrt(2.0)


def gaussian_mixture(rng: np.random.Generator, theta: np.ndarray) -> np.ndarray:
    """The parameters plus noise, the standard deviation of which is 1 or 0.1."""
    sigma = np.where(rng.random((len(theta), 1)) < 0.5, 1.0, 0.1)
    return theta + sigma * rng.standard_normal(theta.shape)


def gaussian_linear_uniform(rng: np.random.Generator, theta: np.ndarray) -> np.ndarray:
    """The parameters plus noise of variance 0.1."""
    return theta + np.sqrt(0.1) * rng.standard_normal(theta.shape)


def slcp(rng: np.random.Generator, theta: np.ndarray) -> np.ndarray:
    """Four points of a plane; their mean and their covariance depend on the parameters."""
    s1, s2, rho = theta[:, 2] ** 2, theta[:, 3] ** 2, np.tanh(theta[:, 4])
    first, second = rng.standard_normal((2, 4, len(theta)))
    x1 = theta[:, 0] + s1 * first
    x2 = theta[:, 1] + s2 * (rho * first + np.sqrt(1.0 - rho**2) * second)
    # (4, N) each -> the coordinates of each point are adjacent, (N, 8)
    return np.stack([x1, x2], axis=-1).transpose(1, 0, 2).reshape(len(theta), 8)


TASKS = {
    "two_moons": Task(two_moons, 2, 1.0, (0.586, 0.551, 0.664, 0.734), 0.54),
    "gaussian_mixture": Task(gaussian_mixture, 2, 10.0, (0.636, 0.582, 0.717, 0.752), 0.55),
    "gaussian_linear_uniform": Task(
        gaussian_linear_uniform, 10, 1.0, (0.566, 0.539, 0.562, 0.697), 0.55
    ),
    "slcp": Task(slcp, 5, 3.0, (0.894, 0.820, 0.749, 0.954), 0.86),
}


@dataclass(frozen=True)
class Observation:
    """Observed data, (1, F), and samples of the reference posterior, (S, T)."""

    data: pd.DataFrame
    reference: pd.DataFrame


# The observations of a task, by number.
Observations = dict[int, Observation]


@dataclass(frozen=True)
class Score:
    """A preset on one set of simulations: the C2ST at each observation, and seconds."""

    c2st: list[float]
    seconds: float


@dataclass(frozen=True)
class Scores:
    """A preset on every set of simulations of a task."""

    each: list[Score]

    @property
    def c2st(self) -> float:
        """The median over the sets of the mean over the observations."""
        return float(np.median([np.mean(score.c2st) for score in self.each]))

    @property
    def at_observations(self) -> np.ndarray:
        """The median over the sets at each observation."""
        return np.median([score.c2st for score in self.each], axis=0)

    @property
    def seconds(self) -> float:
        """The median time of learning."""
        return float(np.median([score.seconds for score in self.each]))


# The scores of a task, by preset.
TaskScores = dict[str, Scores]


def read(folder: Path, name: str, chosen: set[int] | None) -> Observations:
    """Return the observations of a task that are in a folder and are chosen; None means all."""
    found = {}
    for path in folder.glob(f"{name}_*.observation.csv"):
        number = path.name.removeprefix(f"{name}_").removesuffix(".observation.csv")
        reference = folder / f"{name}_{number}.posterior.csv.gz"
        if number.isdigit() and reference.is_file() and (chosen is None or int(number) in chosen):
            found[int(number)] = Observation(pd.read_csv(path), pd.read_csv(reference))
    return dict(sorted(found.items()))


def learn(
    task: Task, observation: Observation, seed: int, preset: str, threads: int | None
) -> tuple[mdncli.ConditionalDensity, float]:
    """Return a model of the parameters given the data, and the seconds that learning took.

    Args:
        task: what to simulate.
        observation: any one, for the names of the columns.
        seed: of the simulations.
        preset: of the fit.
        threads: of the fit; None stands for the preset's own.
    """
    theta, data = task.draw(seed)
    targets = list(observation.reference.columns)
    seconds = [0.0]
    model = mdncli.fit(
        pd.DataFrame(data, columns=observation.data.columns),
        pd.DataFrame(theta, columns=targets),
        preset=preset,
        covariance="full",
        lower=dict.fromkeys(targets, -task.bound),
        upper=dict.fromkeys(targets, task.bound),
        threads=threads,
        progress=lambda epoch: seconds.append(epoch.seconds),
    )
    return model, seconds[-1]


def c2st(reference: np.ndarray, samples: np.ndarray, jobs: int = 1) -> float:
    """Return the accuracy of a classifier that tells samples from the reference, (S, T) each."""
    from sklearn.model_selection import KFold, cross_val_score
    from sklearn.neural_network import MLPClassifier

    units = 10 * reference.shape[1]
    classifier = MLPClassifier(
        activation="relu",
        hidden_layer_sizes=(units, units),
        max_iter=10_000,
        solver="adam",
        random_state=SEED_OF_CLASSIFIER,
    )
    both = np.concatenate([reference, samples])
    both = (both - reference.mean(axis=0)) / reference.std(axis=0, ddof=1)
    origin = np.repeat([0, 1], [len(reference), len(samples)])
    folds = KFold(n_splits=FOLDS, shuffle=True, random_state=SEED_OF_CLASSIFIER)
    accuracies = cross_val_score(
        classifier, both, origin, cv=folds, scoring="accuracy", n_jobs=jobs
    )
    return float(accuracies.mean())


def measure(
    task: Task, observations: Observations, seed: int, options: argparse.Namespace, preset: str
) -> Score:
    """Return the score of a preset on one set of simulations."""
    model, seconds = learn(task, next(iter(observations.values())), seed, preset, options.threads)
    accuracies = []
    for observation in observations.values():
        reference = observation.reference.to_numpy()[: options.samples]
        [draws] = model.condition(observation.data).sample(len(reference), seed=seed)
        accuracies.append(c2st(reference, draws.T, options.jobs))
    return Score(accuracies, seconds)


def compete(
    name: str, observations: Observations, options: argparse.Namespace, stream: TextIO
) -> TaskScores:
    """Run the presets on every set of simulations of a task, and write their scores."""
    row = "  {:<10}{:>8}{:>10}   {}".format
    print(f"\n{name}", file=stream)
    numbers = ", ".join(map(str, observations))
    print(row("", "C2ST", "seconds", f"C2ST at {numbers}"), file=stream, flush=True)
    scores = {}
    for preset in options.preset:
        each = [
            measure(TASKS[name], observations, seed, options, preset)
            for seed in range(options.sets)
        ]
        scores[preset] = Scores(each)
        figures = f"{scores[preset].c2st:.3f}", f"{scores[preset].seconds:.1f}"
        at_each = " ".join(f"{value:.3f}" for value in scores[preset].at_observations)
        print(row(preset, *figures, at_each), file=stream, flush=True)
    published = zip(PUBLISHED, TASKS[name].published, strict=True)
    words = ", ".join(f"{method} {figure:.3f}" for method, figure in published)
    print(f"  published: {words}", file=stream, flush=True)
    return scores


def table(results: dict[str, TaskScores], presets: list[str]) -> str:
    """Return the README's table; the lowest C2ST of a row is bold."""
    rows = []
    for name, scores in results.items():
        figures = [scores[preset].c2st for preset in presets] + list(TASKS[name].published)
        cells = [f"{figure:.3f}" for figure in figures]
        lowest = min(cells)
        cells = [f"**{cell}**" if cell == lowest else cell for cell in cells]
        rows.append([name, *cells, *(f"{scores[preset].seconds:.1f}" for preset in presets)])
    ours = [f"`{preset}`" for preset in presets]
    seconds = [f"seconds of learning: {ours[0]}", *ours[1:]]
    return markdown_table(["task", *ours, *PUBLISHED, *seconds], rows)


def verdict(results: dict[str, TaskScores], stream: TextIO) -> bool:
    """Write every limit and whether it holds, over the tasks that were run."""
    held = True

    def say(text: str, holds: bool) -> None:
        nonlocal held
        held = held and holds
        print(f"  {text}: {'held' if holds else 'MISSED'}", file=stream)

    print("\nlimits", file=stream)
    for name, scores in results.items():
        if "default" in scores:
            found, most = scores["default"], TASKS[name].published[0] + MARGIN
            say(f"default on {name}: C2ST {found.c2st:.3f}, at most {most:.3f}", found.c2st <= most)
            words = f"{found.seconds:.1f} s of learning, at most {MOST_SECONDS:g}"
            say(f"default on {name}: {words}", found.seconds <= MOST_SECONDS)
        if "best" in scores:
            found, most = scores["best"], TASKS[name].limit
            say(f"best on {name}: C2ST {found.c2st:.3f}, at most {most}", found.c2st <= most)
    return held


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--preset", default="default,best", help="names, with commas")
    parser.add_argument("--sets", type=int, default=3, help="the number of sets of simulations")
    parser.add_argument("--observations", help="numbers, with commas; by default all in DIR")
    parser.add_argument("--samples", type=int, default=4000, help="of each posterior")
    parser.add_argument("--tasks", default=",".join(TASKS), help="names, with commas")
    parser.add_argument("--threads", type=int, help="of the presets; by default their own")
    parser.add_argument("--jobs", type=int, default=1, help="processes for the classifier")
    parser.add_argument("--markdown", action="store_true", help="print the README's table")
    options = parser.parse_args()
    options.preset, options.tasks = options.preset.split(","), options.tasks.split(",")
    for names, known in ((options.preset, PRESETS), (options.tasks, TASKS)):
        unknown = set(names) - set(known)
        if unknown:
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if options.observations:
        options.observations = {int(number) for number in options.observations.split(",")}
    return options


def main() -> int:
    """Run the tasks, print the tables, and return the exit status."""
    options = arguments()
    stream = sys.stderr if options.markdown else sys.stdout
    results = {}
    for name in options.tasks:
        observations = read(options.folder, name, options.observations)
        if observations:
            results[name] = compete(name, observations, options, stream)
        else:
            print(f"left out: {options.folder} has no such {name}.", file=sys.stderr)
    if not results:
        return 1
    if options.markdown:
        print(table(results, options.preset))
    return 0 if verdict(results, stream) else 1


if __name__ == "__main__":
    sys.exit(main())
