"""Built-in problems: tables to practise on, with their exact conditional densities.

A problem draws (x, y) in its forward direction. Its inverse swaps the two, so that one feature
value has several plausible targets. The exact log-density is known in both directions. On average,
no model can reach a larger one.
"""

import numpy as np

from mdncli.datasets.problems import BISHOP, ROBOT_ARM, SINUSOID, SPIRAL, TWO_MOONS, Problem
from mdncli.errors import ParameterError, parameter
from mdncli.settings import MOST_ROWS, require_whole
from mdncli.text import nearest, quoted
from mdncli.types import Array

__all__ = ["PROBLEMS", "generate", "log_density"]

PROBLEMS = {problem.name: problem for problem in (SINUSOID, BISHOP, SPIRAL, ROBOT_ARM, TWO_MOONS)}

_MAX_NOISE = 1e100


def generate(
    name: str,
    *,
    n: int | None = None,
    inverse: bool = False,
    noise: float | None = None,
    seed: int = 0,
) -> dict[str, Array]:
    """Return the columns of a new table of a built-in problem, with the targets last.

    Args:
        name: one of `PROBLEMS`.
        n: the number of rows, N. If None, the problem has a default.
        inverse: swap the features and the targets. In the curves, the feature is called x and the
            target y in both directions. `robot-arm` and `two-moons` keep the names of their
            columns.
        noise: the standard deviation of the noise (for `bishop` its half-width; for `two-moons`
            that of the radius r), in the units of y. If None, the problem has a default.
        seed: of the random generator.

    Returns:
        `{"x": (N,), "y": (N,)}`; for `robot-arm` and `two-moons` the columns theta1, theta2, x1 and
        x2, each (N,).

    Raises:
        ParameterError: the name is unknown, or n, the noise or the seed is out of its range.

    Example:
        >>> from mdncli import datasets
        >>> datasets.generate("sinusoid", n=3)["x"].shape
        (3,)
        >>> list(datasets.generate("robot-arm", inverse=True))
        ['x1', 'x2', 'theta1', 'theta2']
    """
    problem = find_problem(name)
    n = problem.rows if n is None else n
    noise = problem.noise if noise is None else noise
    require_whole("n", n)
    require_whole("seed", seed)
    if not 1 <= n <= MOST_ROWS:
        raise ParameterError(f"{parameter('n')} is {n}. It must be from 1 to {MOST_ROWS}.")
    if not 0.0 <= noise <= _MAX_NOISE:
        raise ParameterError(
            f"{parameter('noise')} is {noise}. It must be from 0 to {_MAX_NOISE:g}."
        )
    if seed < 0:
        raise ParameterError(f"{parameter('seed')} is {seed}. It must be zero or positive.")
    x, y = problem.draw(np.random.default_rng(seed), n, noise)
    columns = np.column_stack([y, x] if inverse else [x, y])
    names = (*problem.features(inverse=inverse), *problem.targets(inverse=inverse))
    return dict(zip(names, np.ascontiguousarray(columns.T), strict=True))


def log_density(
    name: str, x: Array, y: Array, *, inverse: bool = False, noise: float | None = None
) -> Array:
    """Return the exact log p(y | x) of rows of a built-in problem, in nats, shape (N,).

    Args:
        name: one of `PROBLEMS`.
        x: the feature column, (N,); several as (N, F).
        y: the target column, (N,); several as (N, T).
        inverse: whether the columns are those of the inverse problem.
        noise: as in `generate`. It must be positive, since without noise there is no density.

    Raises:
        ParameterError: the name is unknown.
        ValueError: the noise is not positive.

    Example:
        >>> import numpy as np
        >>> from mdncli import datasets
        >>> round(float(datasets.log_density("sinusoid", np.zeros(1), np.zeros(1))[0]), 6)
        -0.918939
    """
    problem = find_problem(name)
    noise = problem.noise if noise is None else noise
    if not noise > 0.0:
        raise ValueError("a problem without noise has no conditional density")
    return (problem.inverse_log_prob if inverse else problem.log_prob)(x, y, noise)


def find_problem(name: str) -> Problem:
    """Return the built-in problem with this name.

    Raises:
        ParameterError: there is none; the message lists the names.
    """
    if name not in PROBLEMS:
        raise ParameterError(
            f"There is no problem {quoted(name)}.{nearest(name, [*PROBLEMS])} The problems are: "
            f"{', '.join(PROBLEMS)}."
        )
    return PROBLEMS[name]
