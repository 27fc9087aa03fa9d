"""The built-in problems: how their rows are drawn, and their exact conditional densities.

A problem draws (x, y) in its forward direction. Its inverse swaps the two, so that one feature
value has several plausible targets. The exact log-density of the target, in either direction, is
the bound that no model can beat on average.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mdncli.errors import UsageError
from mdncli.settings import MOST_ROWS

Array = NDArray[np.float64]

_MOST_NOISE = 1e100

SINUSOID_RANGE = 10.5
SPIRAL_TURNS = 4.0 * np.pi
# The noiseless spiral's smallest coordinate, a sin a at the root of tan a = -a in (3 pi, 4 pi).
SPIRAL_LOWEST = -11.04070801593
SPIRAL_SCALE = 5.0 / (SPIRAL_TURNS - SPIRAL_LOWEST)
# The extrema of x + 0.3 sin(2 pi x): the curve is monotone between neighbours of 0, these, and 1.
_TURN = float(np.arccos(-1.0 / (0.6 * np.pi)) / (2.0 * np.pi))
BISHOP_KNOTS = (0.0, _TURN, 1.0 - _TURN, 1.0)

_QUADRATURE_NODES, _QUADRATURE_WEIGHTS = np.polynomial.legendre.leggauss(8)
_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Problem:
    """One built-in problem.

    `draw(rng, n, noise)` gives x and y, each (N,). `log_prob(x, y, noise)` is log p(y | x) and
    `inverse_log_prob(y, x, noise)` is log p(x | y), in nats, shape (N,).
    """

    name: str
    rows: int
    noise: float
    draw: Callable[[np.random.Generator, int, float], tuple[Array, Array]]
    log_prob: Callable[[Array, Array, float], Array]
    inverse_log_prob: Callable[[Array, Array, float], Array]


def generate(
    name: str,
    *,
    n: int | None = None,
    inverse: bool = False,
    noise: float | None = None,
    seed: int = 0,
) -> dict[str, Array]:
    """Return the columns of a fresh table of a built-in problem, the target last.

    Args:
        name: one of `PROBLEMS`.
        n: rows; the problem's own number if None.
        inverse: swap the roles of the two variables; the column names stay.
        noise: the standard deviation of the noise (for `bishop` its half-width); None for its own.
        seed: of the random generator.

    Returns:
        `{"x": (N,), "y": (N,)}`.

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
    return {"x": y, "y": x} if inverse else {"x": x, "y": y}


def log_density(
    name: str, x: Array, y: Array, *, inverse: bool = False, noise: float | None = None
) -> Array:
    """Return the exact log p(y | x) of a built-in problem's columns, in nats, shape (N,).

    Args:
        name: one of `PROBLEMS`.
        x: the feature column, (N,).
        y: the target column, (N,).
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


def _sinusoid(x: Array) -> Array:
    return 7.0 * np.sin(0.75 * x) + 0.5 * x


def _draw_sinusoid(rng: np.random.Generator, n: int, noise: float) -> tuple[Array, Array]:
    x = rng.uniform(-SINUSOID_RANGE, SINUSOID_RANGE, n)
    return x, _sinusoid(x) + noise * rng.standard_normal(n)


def _sinusoid_log_prob(x: Array, y: Array, noise: float) -> Array:
    return _normal_log_prob(y - _sinusoid(x), noise)


def _sinusoid_inverse_log_prob(y: Array, x: Array, noise: float) -> Array:
    # Bayes with a flat prior: p(x | y) = N(y; f(x), noise) / its integral over the range of x.
    def log_likelihood(at: Array, given: Array) -> Array:
        return _normal_log_prob(given[:, None] - _sinusoid(at), noise)

    steepest = 7.0 * 0.75 + 0.5
    evidence = _log_integral(log_likelihood, (-SINUSOID_RANGE, SINUSOID_RANGE), noise / steepest, y)
    inside = np.abs(x) <= SINUSOID_RANGE
    return np.where(inside, _sinusoid_log_prob(x, y, noise) - evidence, -np.inf)


def _bishop(x: Array) -> Array:
    return x + 0.3 * np.sin(2.0 * np.pi * x)


def _draw_bishop(rng: np.random.Generator, n: int, noise: float) -> tuple[Array, Array]:
    x = rng.uniform(0.0, 1.0, n)
    return x, _bishop(x) + rng.uniform(-noise, noise, n)


def _bishop_log_prob(x: Array, y: Array, noise: float) -> Array:
    return np.where(np.abs(y - _bishop(x)) <= noise, -np.log(2.0 * noise), -np.inf)


def _bishop_inverse_log_prob(y: Array, x: Array, noise: float) -> Array:
    # p(x | y) is uniform over {x in (0, 1): |y - g(x)| <= noise}: minus the log of its length.
    length = np.zeros_like(y)
    for start, end in itertools.pairwise(BISHOP_KNOTS):
        ends = [_bishop_root(y + side, start, end) for side in (-noise, noise)]
        length += np.abs(ends[1] - ends[0])
    possible = (np.abs(y - _bishop(x)) <= noise) & (x >= 0.0) & (x <= 1.0)
    with np.errstate(divide="ignore"):
        return np.where(possible, -np.log(length), -np.inf)


def _bishop_root(value: Array, start: float, end: float) -> Array:
    """Return where the curve, monotone on [start, end], takes a value, clipped to that interval."""
    ends = _bishop(np.array([start, end]))
    low, high = np.full_like(value, start), np.full_like(value, end)
    for _ in range(60):
        middle = 0.5 * (low + high)
        before = (_bishop(middle) < value) == bool(ends[0] < ends[1])
        low, high = np.where(before, middle, low), np.where(before, high, middle)
    return 0.5 * (low + high)


def _draw_spiral(rng: np.random.Generator, n: int, noise: float) -> tuple[Array, Array]:
    a = rng.uniform(0.0, SPIRAL_TURNS, n)
    x = a * np.cos(a) + noise * rng.standard_normal(n)
    y = a * np.sin(a) + noise * rng.standard_normal(n)
    return SPIRAL_SCALE * (x - SPIRAL_LOWEST), SPIRAL_SCALE * (y - SPIRAL_LOWEST)


def _spiral_log_prob(x: Array, y: Array, noise: float) -> Array:
    return _spiral_given(x, y, noise, np.cos, np.sin)


def _spiral_inverse_log_prob(y: Array, x: Array, noise: float) -> Array:
    return _spiral_given(y, x, noise, np.sin, np.cos)


def _spiral_given(
    given: Array,
    asked: Array,
    noise: float,
    along_given: Callable[[Array], Array],
    along_asked: Callable[[Array], Array],
) -> Array:
    """Return log p(asked | given): the joint density over the marginal, each integrated over a."""
    given, asked = (v / SPIRAL_SCALE + SPIRAL_LOWEST for v in (given, asked))

    def log_marginal(a: Array, given: Array, _: Array) -> Array:
        return _normal_log_prob(given[:, None] - a * along_given(a), noise)

    def log_joint(a: Array, given: Array, asked: Array) -> Array:
        return log_marginal(a, given, asked) + _normal_log_prob(
            asked[:, None] - a * along_asked(a), noise
        )

    limits, width = (0.0, SPIRAL_TURNS), noise / SPIRAL_TURNS
    joint = _log_integral(log_joint, limits, width, given, asked)
    marginal = _log_integral(log_marginal, limits, width, given, asked)
    return joint - marginal - float(np.log(SPIRAL_SCALE))


def _normal_log_prob(deviation: Array, std: float) -> Array:
    constant = float(np.log(std) + 0.5 * np.log(2.0 * np.pi))
    return -0.5 * (deviation / std) ** 2 - constant


def _log_integral(
    log_integrand: Callable[..., Array],
    limits: tuple[float, float],
    width: float,
    *rows: Array,
) -> Array:
    """Return the log of an integral for every row, by Gauss-Legendre panels.

    Args:
        log_integrand: takes the nodes (Q,) and slices of `rows`, gives (N, Q).
        limits: of the integral.
        width: the scale on which the integrand varies; a panel spans four of them.
        rows: arrays of shape (N,).
    """
    edges = np.linspace(*limits, 2 + int((limits[1] - limits[0]) / (4.0 * width)))
    half = 0.5 * np.diff(edges)[:, None]
    nodes = (edges[:-1, None] + half + half * _QUADRATURE_NODES).ravel()
    log_weights = np.log(half * _QUADRATURE_WEIGHTS).ravel()
    chunk = max(1, _CELLS_AT_ONCE // nodes.size)
    parts = []
    for start in range(0, rows[0].size, chunk):
        terms = log_integrand(nodes, *(row[start : start + chunk] for row in rows)) + log_weights
        top = terms.max(axis=1)
        parts.append(top + np.log(np.exp(terms - top[:, None]).sum(axis=1)))
    return np.concatenate(parts)


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem(
            "sinusoid",
            1000,
            1.0,
            _draw_sinusoid,
            _sinusoid_log_prob,
            _sinusoid_inverse_log_prob,
        ),
        Problem(
            "bishop",
            2500,
            0.1,
            _draw_bishop,
            _bishop_log_prob,
            _bishop_inverse_log_prob,
        ),
        Problem(
            "spiral",
            10000,
            0.2,
            _draw_spiral,
            _spiral_log_prob,
            _spiral_inverse_log_prob,
        ),
    )
}
