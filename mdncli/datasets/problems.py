"""What a built-in problem is: how its rows are drawn, and its exact conditional densities.

Integrals of densities in logs, by Gauss and Legendre, and the normal density.

The curves: sinusoid, bishop and spiral, one feature and one target each.

The robot arm: the joint angles of two links, and where they put the hand.

(Bishop 1994, section 5, eq. 41 and 42.) A position within reach has two solutions, elbow up and
elbow down, so its inverse problem is ambiguous in two targets at once.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mdncli.types import Array


@dataclass(frozen=True)
class Problem:
    """One built-in problem.

    It draws (x, y) in its forward direction, its inverse swaps the two. `draw(rng, n, noise)` gives
    x and y; `log_prob(x, y, noise)` is log p(y | x) and `inverse_log_prob(y, x, noise)` is
    log p(x | y), in nats, shape (N,). A side of one column is (N,), one of several (N, columns).

    Attributes:
        name: what `mdn generate` calls it.
        rows: of a table, unless asked for another number.
        noise: its scale, in the units of y.
        x_names, y_names: the columns of the forward direction.
        names_follow: whether a name stays with its quantity in the inverse direction; else the
            feature is called `x` and the target `y` in both.
    """

    name: str
    rows: int
    noise: float
    draw: Callable[[np.random.Generator, int, float], tuple[Array, Array]]
    log_prob: Callable[[Array, Array, float], Array]
    inverse_log_prob: Callable[[Array, Array, float], Array]
    x_names: tuple[str, ...] = ("x",)
    y_names: tuple[str, ...] = ("y",)
    names_follow: bool = False

    def features(self, *, inverse: bool = False) -> tuple[str, ...]:
        """Return the names of the features of a direction."""
        return self.y_names if inverse and self.names_follow else self.x_names

    def targets(self, *, inverse: bool = False) -> tuple[str, ...]:
        """Return the names of the targets of a direction."""
        return self.x_names if inverse and self.names_follow else self.y_names


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_CELLS_AT_ONCE = 4_000_000

Nodes = tuple[Array, Array]


def normal_log_prob(deviation: Array, std: float) -> Array:
    """Return log N(deviation; 0, std^2), nats."""
    constant = float(np.log(std) + 0.5 * np.log(2.0 * np.pi))
    return -0.5 * (deviation / std) ** 2 - constant


def panels(limits: tuple[float, float], width: float) -> Nodes:
    """Return the nodes of an integral, (Q,), and the logs of their weights.

    Args:
        limits: of the integral.
        width: the scale on which the integrand varies; a panel of eight nodes spans four of them.
    """
    edges = np.linspace(*limits, 2 + int((limits[1] - limits[0]) / (4.0 * width)))
    half = 0.5 * np.diff(edges)[:, None]
    nodes = (edges[:-1, None] + half + half * _NODES).ravel()
    return nodes, np.log(half * _WEIGHTS).ravel()


def crossed(first: Nodes, second: Nodes) -> Nodes:
    """Return the nodes of an integral over a rectangle, (Q, 2), and the logs of their weights."""
    pairs = np.stack(np.meshgrid(first[0], second[0], indexing="ij"), axis=-1)
    return pairs.reshape(-1, 2), np.add.outer(first[1], second[1]).ravel()


def log_integral(log_integrand: Callable[..., Array], nodes: Nodes, *rows: Array) -> Array:
    """Return the log of an integral for every row, shape (N,).

    Args:
        log_integrand: takes the nodes, (Q,) or (Q, 2), and slices of `rows`, gives (N, Q).
        nodes: of `panels`, or of `crossed`.
        rows: arrays whose first axis is N.
    """
    at, log_weights = nodes
    chunk = max(1, _CELLS_AT_ONCE // len(at))
    parts = [np.empty(0)]
    for start in range(0, len(rows[0]), chunk):
        terms = log_integrand(at, *(row[start : start + chunk] for row in rows)) + log_weights
        top = terms.max(axis=1)
        parts.append(top + np.log(np.exp(terms - top[:, None]).sum(axis=1)))
    return np.concatenate(parts)


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


FIRST_LINK, SECOND_LINK = 0.8, 0.2
THETA1_RANGE = (0.3, 1.2)
THETA2_RANGE = (0.5 * np.pi, 1.5 * np.pi)


def hand(theta: Array) -> Array:
    """Return where the joint angles put the hand, both (..., 2), in radians and lengths."""
    first, both = theta[..., 0], theta[..., 0] + theta[..., 1]
    x1 = FIRST_LINK * np.cos(first) - SECOND_LINK * np.cos(both)
    x2 = FIRST_LINK * np.sin(first) - SECOND_LINK * np.sin(both)
    return np.stack([x1, x2], axis=-1)


def _draw(rng: np.random.Generator, n: int, noise: float) -> tuple[Array, Array]:
    theta = np.column_stack([rng.uniform(*THETA1_RANGE, n), rng.uniform(*THETA2_RANGE, n)])
    return theta, hand(theta) + noise * rng.standard_normal((n, 2))


def _log_prob(theta: Array, x: Array, noise: float) -> Array:
    both: Array = normal_log_prob(x - hand(theta), noise).sum(axis=-1)
    return both


def _inverse_log_prob(x: Array, theta: Array, noise: float) -> Array:
    # Bayes with a flat prior on the box of angles; rows of one position share their evidence.
    reach = FIRST_LINK + SECOND_LINK
    nodes = crossed(panels(THETA1_RANGE, noise / reach), panels(THETA2_RANGE, noise / SECOND_LINK))

    def log_likelihood(at: Array, given: Array) -> Array:
        return _log_prob(at, given[:, None], noise)

    positions, place = np.unique(x, axis=0, return_inverse=True)
    evidence = log_integral(log_likelihood, nodes, positions)[place.reshape(-1)]
    ranges = np.array([THETA1_RANGE, THETA2_RANGE])
    inside = ((theta >= ranges[:, 0]) & (theta <= ranges[:, 1])).all(axis=1)
    return np.where(inside, _log_prob(theta, x, noise) - evidence, -np.inf)


ROBOT_ARM = Problem(
    "robot-arm",
    1000,
    0.01,
    _draw,
    _log_prob,
    _inverse_log_prob,
    x_names=("theta1", "theta2"),
    y_names=("x1", "x2"),
    names_follow=True,
)
