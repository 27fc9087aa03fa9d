"""The built-in problems: how their rows are drawn, and their exact conditional densities.

A problem draws (x, y) in its forward direction. Its inverse swaps the two, so that one feature
value has several plausible targets. The exact log-density of the target, in either direction, is
the bound that no model can beat on average.
"""

import numpy as np

from mdncli.datasets.problems import BISHOP, ROBOT_ARM, SINUSOID, SPIRAL, Problem
from mdncli.errors import UsageError
from mdncli.settings import MOST_ROWS
from mdncli.types import Array

PROBLEMS = {problem.name: problem for problem in (SINUSOID, BISHOP, SPIRAL, ROBOT_ARM)}

_MOST_NOISE = 1e100


def generate(
    name: str,
    *,
    n: int | None = None,
    inverse: bool = False,
    noise: float | None = None,
    seed: int = 0,
) -> dict[str, Array]:
    """Return the columns of a fresh table of a built-in problem, the targets last.

    Args:
        name: one of `PROBLEMS`.
        n: rows; the problem's own number if None.
        inverse: swap the roles of features and targets. The names x and y stay where they are;
            those of `robot-arm` follow their quantities.
        noise: the standard deviation of the noise (for `bishop` its half-width); None for its own.
        seed: of the random generator.

    Returns:
        `{"x": (N,), "y": (N,)}`; of `robot-arm` theta1, theta2, x1 and x2.

    Raises:
        UsageError: an unknown name, or n, a noise or a seed out of its range.

    Example:
        >>> generate("sinusoid", n=3)["x"].shape
        (3,)
    """
    problem = find_problem(name)
    n = problem.rows if n is None else n
    noise = problem.noise if noise is None else noise
    if not 1 <= n <= MOST_ROWS:
        raise UsageError(f"--n is {n}: it must be from 1 to {MOST_ROWS}.")
    if not 0.0 <= noise <= _MOST_NOISE:
        raise UsageError(f"--noise is {noise}: it must be from 0 to {_MOST_NOISE:g}.")
    if seed < 0:
        raise UsageError(f"--seed is {seed}: it must be zero or a positive whole number.")
    x, y = problem.draw(np.random.default_rng(seed), n, noise)
    columns = np.column_stack([y, x] if inverse else [x, y])
    names = (*problem.features(inverse=inverse), *problem.targets(inverse=inverse))
    return dict(zip(names, np.ascontiguousarray(columns.T), strict=True))


def log_density(
    name: str, x: Array, y: Array, *, inverse: bool = False, noise: float | None = None
) -> Array:
    """Return the exact log p(y | x) of a built-in problem's columns, in nats, shape (N,).

    Args:
        name: one of `PROBLEMS`.
        x: the feature column, (N,); several as (N, columns).
        y: the target column, (N,); several as (N, columns).
        inverse: whether the columns came from the inverse problem.
        noise: as in `generate`; it must be positive, since without noise there is no density.

    Raises:
        UsageError: an unknown name.
        ValueError: a noise that is not positive.

    Example:
        >>> round(float(log_density("sinusoid", np.zeros(1), np.zeros(1))[0]), 6)
        -0.918939
    """
    problem = find_problem(name)
    noise = problem.noise if noise is None else noise
    if not noise > 0.0:
        raise ValueError("a problem without noise has no conditional density")
    return (problem.inverse_log_prob if inverse else problem.log_prob)(x, y, noise)


def find_problem(name: str) -> Problem:
    """Return the built-in problem of this name.

    Raises:
        UsageError: there is none; the message lists those that are there.
    """
    if name not in PROBLEMS:
        raise UsageError(f"There is no problem {name!r}. Choose one of: {', '.join(PROBLEMS)}.")
    return PROBLEMS[name]
