"""The curves: sinusoid, bishop and spiral, one feature and one target each."""

import itertools
from collections.abc import Callable

import numpy as np

from mdncli.datasets.problem import Array, Problem
from mdncli.datasets.quadrature import log_integral, normal_log_prob, panels

SINUSOID_RANGE = 10.5
SPIRAL_TURNS = 4.0 * np.pi
# The noiseless spiral's smallest coordinate, a sin a at the root of tan a = -a in (3 pi, 4 pi).
SPIRAL_LOWEST = -11.04070801593
SPIRAL_SCALE = 5.0 / (SPIRAL_TURNS - SPIRAL_LOWEST)
# The extrema of x + 0.3 sin(2 pi x): the curve is monotone between neighbours of 0, these, and 1.
_TURN = float(np.arccos(-1.0 / (0.6 * np.pi)) / (2.0 * np.pi))
BISHOP_KNOTS = (0.0, _TURN, 1.0 - _TURN, 1.0)


def _sinusoid(x: Array) -> Array:
    return 7.0 * np.sin(0.75 * x) + 0.5 * x


def _draw_sinusoid(rng: np.random.Generator, n: int, noise: float) -> tuple[Array, Array]:
    x = rng.uniform(-SINUSOID_RANGE, SINUSOID_RANGE, n)
    return x, _sinusoid(x) + noise * rng.standard_normal(n)


def _sinusoid_log_prob(x: Array, y: Array, noise: float) -> Array:
    return normal_log_prob(y - _sinusoid(x), noise)


def _sinusoid_inverse_log_prob(y: Array, x: Array, noise: float) -> Array:
    # Bayes with a flat prior: p(x | y) = N(y; f(x), noise) / its integral over the range of x.
    def log_likelihood(at: Array, given: Array) -> Array:
        return normal_log_prob(given[:, None] - _sinusoid(at), noise)

    steepest = 7.0 * 0.75 + 0.5
    nodes = panels((-SINUSOID_RANGE, SINUSOID_RANGE), noise / steepest)
    evidence = log_integral(log_likelihood, nodes, y)
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
        return normal_log_prob(given[:, None] - a * along_given(a), noise)

    def log_joint(a: Array, given: Array, asked: Array) -> Array:
        return log_marginal(a, given, asked) + normal_log_prob(
            asked[:, None] - a * along_asked(a), noise
        )

    nodes = panels((0.0, SPIRAL_TURNS), noise / SPIRAL_TURNS)
    joint = log_integral(log_joint, nodes, given, asked)
    marginal = log_integral(log_marginal, nodes, given, asked)
    return joint - marginal - float(np.log(SPIRAL_SCALE))


SINUSOID = Problem(
    "sinusoid", 1000, 1.0, _draw_sinusoid, _sinusoid_log_prob, _sinusoid_inverse_log_prob
)
BISHOP = Problem("bishop", 2500, 0.1, _draw_bishop, _bishop_log_prob, _bishop_inverse_log_prob)
SPIRAL = Problem("spiral", 10000, 0.2, _draw_spiral, _spiral_log_prob, _spiral_inverse_log_prob)
