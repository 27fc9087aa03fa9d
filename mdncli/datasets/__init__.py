"""Built-in problems: tables to practise on, with their exact conditional densities.

A problem draws (x, y) in its forward direction. Its inverse swaps the two, so that one feature
value has several plausible targets. The exact log-density is known in both directions. On average,
no model can reach a larger one.

The curves `sinusoid`, `bishop` and `spiral` have one feature and one target each. `robot-arm` has
two of each: the joint angles of an arm with two links, and the position of its hand (Bishop 1994,
section 5, eq. 41 and 42). A position of the hand has two solutions, elbow up and elbow down, so the
inverse problem is ambiguous in two targets at once. `two-moons` has two of each as well:
parameters, and a point on a half circle that they move. Its inverse is a task of the benchmark
sbibm (Lueckmann et al. 2021): the posterior of the parameters is two thin crescents.

A density without a closed form is an integral, which Gauss-Legendre quadrature computes in logs.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mdncli.declarations import require_whole
from mdncli.errors import ParameterError, parameter
from mdncli.settings import MOST_ROWS
from mdncli.text import nearest, quoted
from mdncli.types import Array

__all__ = ["PROBLEMS", "generate", "log_density"]

_MAX_NOISE = 1e100


@dataclass(frozen=True)
class Problem:
    """A built-in problem.

    It draws (x, y) in its forward direction, and its inverse swaps the two. Here x and y are
    columns of shape (N,), or of shape (N, C) if the problem has several (C) of them.

    Attributes:
        name: the name that `generate` takes.
        rows: the default number of rows.
        noise: the default scale of the noise, in the units of y.
        draw: `draw(rng, n, noise)` returns x and y.
        log_prob: `log_prob(x, y, noise)` returns log p(y | x), in nats, shape (N,).
        inverse_log_prob: `inverse_log_prob(y, x, noise)` returns log p(x | y), in nats, shape (N,).
        x_names, y_names: the names of the columns in the forward direction.
        keeps_names: whether each column keeps its name in the inverse direction. Otherwise the
            feature is called `x` and the target `y` in both directions.
    """

    name: str
    rows: int
    noise: float
    draw: Callable[[np.random.Generator, int, float], tuple[Array, Array]]
    log_prob: Callable[[Array, Array, float], Array]
    inverse_log_prob: Callable[[Array, Array, float], Array]
    x_names: tuple[str, ...] = ("x",)
    y_names: tuple[str, ...] = ("y",)
    keeps_names: bool = False

    def features(self, *, inverse: bool = False) -> tuple[str, ...]:
        """Return the names of the features in one direction."""
        return self.y_names if inverse and self.keeps_names else self.x_names

    def targets(self, *, inverse: bool = False) -> tuple[str, ...]:
        """Return the names of the targets in one direction."""
        return self.x_names if inverse and self.keeps_names else self.y_names


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_CELLS_AT_ONCE = 4_000_000

# The Q nodes of an integral, (Q,) or (Q, 2), and the logs of their weights, (Q,).
Nodes = tuple[Array, Array]


def normal_log_prob(deviation: Array, std: float) -> Array:
    """Return log N(deviation; 0, std^2), in nats, in the shape of `deviation`."""
    constant = float(np.log(std) + 0.5 * np.log(2.0 * np.pi))
    return -0.5 * (deviation / std) ** 2 - constant


def panels(limits: tuple[float, float], width: float) -> Nodes:
    """Return the nodes of an integral over an interval, (Q,), and their log weights, (Q,).

    Args:
        limits: the ends of the interval.
        width: the scale on which the integrand varies. Each panel has eight nodes and is four times
            as wide.
    """
    edges = np.linspace(*limits, 2 + int((limits[1] - limits[0]) / (4.0 * width)))
    half = 0.5 * np.diff(edges)[:, None]
    nodes = (edges[:-1, None] + half + half * _NODES).ravel()
    return nodes, np.log(half * _WEIGHTS).ravel()


def product(first: Nodes, second: Nodes) -> Nodes:
    """Return the nodes of an integral over a rectangle, (Q, 2), and their log weights, (Q,).

    Args:
        first: of an integral over one side.
        second: of an integral over the other side.
    """
    pairs = np.stack(np.meshgrid(first[0], second[0], indexing="ij"), axis=-1)
    return pairs.reshape(-1, 2), np.add.outer(first[1], second[1]).ravel()


def log_integral(log_integrand: Callable[..., Array], nodes: Nodes, *rows: Array) -> Array:
    """Return the log of an integral for every row, shape (N,).

    Args:
        log_integrand: takes the nodes, (Q,) or (Q, 2), and a slice of each of `rows`; returns
            (rows of the slice, Q).
        nodes: from `panels` or `product`.
        rows: arrays with N as their first axis.
    """
    points, log_weights = nodes
    chunk = max(1, _CELLS_AT_ONCE // len(points))
    parts = [np.empty(0)]
    for start in range(0, len(rows[0]), chunk):
        terms = log_integrand(points, *(row[start : start + chunk] for row in rows)) + log_weights
        parts.append(log_sum(terms))
    return np.concatenate(parts)


def log_sum(terms: Array) -> Array:
    """Return the log of the sum of exp(terms) of every row, (N,), of terms (N, Q)."""
    top = terms.max(axis=1)
    total: Array = top + np.log(np.exp(terms - top[:, None]).sum(axis=1))
    return total


SINUSOID_RANGE = 10.5
SPIRAL_TURNS = 4.0 * np.pi
# The smallest coordinate of the spiral without noise: a sin a at the root of tan a = -a in
# (3 pi, 4 pi).
SPIRAL_LOWEST = -11.04070801593
SPIRAL_SCALE = 5.0 / (SPIRAL_TURNS - SPIRAL_LOWEST)
# The ends and the extrema of x + 0.3 sin(2 pi x). The curve is monotone between neighbours.
_EXTREMUM = float(np.arccos(-1.0 / (0.6 * np.pi)) / (2.0 * np.pi))
BISHOP_KNOTS = (0.0, _EXTREMUM, 1.0 - _EXTREMUM, 1.0)


def _sinusoid(x: Array) -> Array:
    return 7.0 * np.sin(0.75 * x) + 0.5 * x


def _draw_sinusoid(rng: np.random.Generator, n: int, noise: float) -> tuple[Array, Array]:
    x = rng.uniform(-SINUSOID_RANGE, SINUSOID_RANGE, n)
    return x, _sinusoid(x) + noise * rng.standard_normal(n)


def _sinusoid_log_prob(x: Array, y: Array, noise: float) -> Array:
    return normal_log_prob(y - _sinusoid(x), noise)


def _sinusoid_inverse_log_prob(y: Array, x: Array, noise: float) -> Array:
    # Bayes' theorem with a flat prior: p(x | y) = p(y | x) / integral of p(y | x) dx.
    def log_likelihood(nodes: Array, y: Array) -> Array:
        return normal_log_prob(y[:, None] - _sinusoid(nodes), noise)

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
    # p(x | y) is uniform over {x in (0, 1): |y - g(x)| <= noise}, so the result is -log(length).
    length = np.zeros_like(y)
    for start, end in itertools.pairwise(BISHOP_KNOTS):
        ends = [_bishop_root(y + side, start, end) for side in (-noise, noise)]
        length += np.abs(ends[1] - ends[0])
    possible = (np.abs(y - _bishop(x)) <= noise) & (x >= 0.0) & (x <= 1.0)
    with np.errstate(divide="ignore"):
        return np.where(possible, -np.log(length), -np.inf)


def _bishop_root(value: Array, start: float, end: float) -> Array:
    """Return x in [start, end] at which the curve has a value, or the nearest end.

    The curve is monotone on the interval.
    """
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
    return _spiral_conditional(x, y, noise, np.cos, np.sin)


def _spiral_inverse_log_prob(y: Array, x: Array, noise: float) -> Array:
    return _spiral_conditional(y, x, noise, np.sin, np.cos)


def _spiral_conditional(
    feature: Array,
    target: Array,
    noise: float,
    feature_wave: Callable[[Array], Array],
    target_wave: Callable[[Array], Array],
) -> Array:
    """Return log p(target | feature): the log of the joint density minus that of the marginal.

    Both densities are integrals over the angle a. Without noise, each coordinate is a times its
    wave, which is the cosine or the sine of a.
    """
    feature, target = (v / SPIRAL_SCALE + SPIRAL_LOWEST for v in (feature, target))

    def log_marginal(a: Array, feature: Array, _: Array) -> Array:
        return normal_log_prob(feature[:, None] - a * feature_wave(a), noise)

    def log_joint(a: Array, feature: Array, target: Array) -> Array:
        return log_marginal(a, feature, target) + normal_log_prob(
            target[:, None] - a * target_wave(a), noise
        )

    nodes = panels((0.0, SPIRAL_TURNS), noise / SPIRAL_TURNS)
    joint = log_integral(log_joint, nodes, feature, target)
    marginal = log_integral(log_marginal, nodes, feature, target)
    return joint - marginal - float(np.log(SPIRAL_SCALE))


SINUSOID = Problem(
    "sinusoid", 1000, 1.0, _draw_sinusoid, _sinusoid_log_prob, _sinusoid_inverse_log_prob
)
BISHOP = Problem("bishop", 2500, 0.1, _draw_bishop, _bishop_log_prob, _bishop_inverse_log_prob)
SPIRAL = Problem("spiral", 10000, 0.2, _draw_spiral, _spiral_log_prob, _spiral_inverse_log_prob)


FIRST_LINK, SECOND_LINK = 0.8, 0.2
THETA1_RANGE = (0.3, 1.2)
THETA2_RANGE = (0.5 * np.pi, 1.5 * np.pi)


def hand_position(theta: Array) -> Array:
    """Return the position of the hand, (..., 2), in units of length.

    Args:
        theta: (..., 2), the joint angles in radians.
    """
    first, both = theta[..., 0], theta[..., 0] + theta[..., 1]
    x1 = FIRST_LINK * np.cos(first) - SECOND_LINK * np.cos(both)
    x2 = FIRST_LINK * np.sin(first) - SECOND_LINK * np.sin(both)
    return np.stack([x1, x2], axis=-1)


def _draw_arm(rng: np.random.Generator, n: int, noise: float) -> tuple[Array, Array]:
    theta = np.column_stack([rng.uniform(*THETA1_RANGE, n), rng.uniform(*THETA2_RANGE, n)])
    return theta, hand_position(theta) + noise * rng.standard_normal((n, 2))


def _arm_log_prob(theta: Array, x: Array, noise: float) -> Array:
    both: Array = normal_log_prob(x - hand_position(theta), noise).sum(axis=-1)
    return both


def _arm_inverse_log_prob(x: Array, theta: Array, noise: float) -> Array:
    # Bayes' theorem with a flat prior on the angles. Rows with equal positions share an integral.
    reach = FIRST_LINK + SECOND_LINK
    nodes = product(panels(THETA1_RANGE, noise / reach), panels(THETA2_RANGE, noise / SECOND_LINK))

    def log_likelihood(nodes: Array, x: Array) -> Array:
        return _arm_log_prob(nodes, x[:, None], noise)

    positions, index = np.unique(x, axis=0, return_inverse=True)
    evidence = log_integral(log_likelihood, nodes, positions)[index.reshape(-1)]
    ranges = np.array([THETA1_RANGE, THETA2_RANGE])
    inside = ((theta >= ranges[:, 0]) & (theta <= ranges[:, 1])).all(axis=1)
    return np.where(inside, _arm_log_prob(theta, x, noise) - evidence, -np.inf)


ROBOT_ARM = Problem(
    "robot-arm",
    1000,
    0.01,
    _draw_arm,
    _arm_log_prob,
    _arm_inverse_log_prob,
    x_names=("theta1", "theta2"),
    y_names=("x1", "x2"),
    keeps_names=True,
)


MOON_CENTRE, MOON_RADIUS = 0.25, 0.1
PARAMETER_RANGE = (-1.0, 1.0)
_ROOT = float(np.sqrt(2.0))
# So many standard deviations from its peak, a normal density no longer counts.
_TAIL = 9.0
_MOST_PANELS = 19
_RAY_NODES, _RAY_WEIGHTS = np.polynomial.legendre.leggauss(16)


def moon_centre(theta: Array) -> Array:
    """Return the centre of the half circle, (..., 2), of parameters (..., 2)."""
    across, up = theta[..., 0] + theta[..., 1], theta[..., 1] - theta[..., 0]
    return np.stack([MOON_CENTRE - np.abs(across) / _ROOT, up / _ROOT], axis=-1)


def _draw_moons(rng: np.random.Generator, n: int, noise: float) -> tuple[Array, Array]:
    theta = rng.uniform(*PARAMETER_RANGE, (n, 2))
    a = rng.uniform(-0.5 * np.pi, 0.5 * np.pi, n)
    r = MOON_RADIUS + noise * rng.standard_normal(n)
    return theta, moon_centre(theta) + np.column_stack([r * np.cos(a), r * np.sin(a)])


def _moons_log_prob(theta: Array, x: Array, noise: float) -> Array:
    # x - centre = r (cos a, sin a), and dx = |r| dr da. The half circle is to the right of its
    # centre, so a point on the left has a negative r.
    across, up = np.moveaxis(x - moon_centre(theta), -1, 0)
    distance = np.hypot(across, up)
    with np.errstate(divide="ignore"):
        log_area = np.log(np.pi * distance)
    log_prob: Array = normal_log_prob(np.copysign(distance, across) - MOON_RADIUS, noise) - log_area
    return log_prob


def _moons_inverse_log_prob(x: Array, theta: Array, noise: float) -> Array:
    # Bayes' theorem with a flat prior. Rows with equal x share an integral.
    points, index = np.unique(x, axis=0, return_inverse=True)
    chunk = _CELLS_AT_ONCE // (_MOST_PANELS * len(_RAY_NODES) * 8)
    parts = [
        _moons_log_share(points[start : start + chunk], noise)
        for start in range(0, len(points), chunk)
    ]
    evidence = np.log(2.0) + np.concatenate([np.empty(0), *parts])[index.reshape(-1)]
    inside = (np.abs(theta) <= PARAMETER_RANGE[1]).all(axis=1)
    return np.where(inside, _moons_log_prob(theta, x, noise) - evidence, -np.inf)


def _moons_log_share(x: Array, noise: float) -> Array:
    """Return the log of half the integral of p(x | theta) over the prior's square, shape (N,).

    Let v be theta turned by 45 degrees. Then u = x - centre = c + (|v1|, -v2) with
    c = x - (0.25, 0), and each half of the square is a triangle of u. So the result is the log of
    the probability that u = r (cos a, sin a) is in this triangle: the integral over r of N(r) times
    the share of the angles a that are inside. At some known r this share has roots or kinks.
    Between them r = low + (high - low) sin^2(pi t / 2) makes the integrand smooth in t. The result
    is accurate to 1e-4.

    Args:
        x: (N, 2).
        noise: the standard deviation of r.
    """
    c1, c2 = x[:, 0] - MOON_CENTRE, x[:, 1]
    # How far the three sides are from u = 0, in the directions of pi, pi/4 and -pi/4.
    sides = np.column_stack([-c1, 1.0 + (c1 + c2) / _ROOT, 1.0 + (c1 - c2) / _ROOT])
    corners = [np.hypot(c1, c2 - _ROOT), np.hypot(c1, c2 + _ROOT), np.hypot(c1 + _ROOT, c2)]
    # Where the circle touches a side, where a side meets the ends of the half circle, the corners.
    radii = np.column_stack([sides, _ROOT * sides[:, 1:], *corners])
    peak = MOON_RADIUS + noise * np.array([-3.0, 0.0, 3.0])
    fixed = np.broadcast_to([0.0, *peak], (len(x), 4))
    edges = np.sort(np.column_stack([radii, -radii, fixed]), axis=1)
    edges = np.clip(edges, *_moons_window(edges, sides, noise))
    row, panel = np.nonzero(np.diff(edges) > 0.0)
    low, width = edges[row, panel][:, None], np.diff(edges)[row, panel][:, None]
    t = 0.5 + 0.5 * _RAY_NODES
    r = low + width * np.sin(0.5 * np.pi * t) ** 2
    log_weights = np.log(0.25 * np.pi * width * np.sin(np.pi * t) * _RAY_WEIGHTS)
    terms = np.full((len(x), edges.shape[1] - 1, len(t)), -np.inf)
    with np.errstate(divide="ignore"):
        log_share = np.log(_angles_inside(r, sides[row]) / np.pi)
    terms[row, panel] = log_share + normal_log_prob(r - MOON_RADIUS, noise) + log_weights
    return log_sum(terms.reshape(len(x), -1))


def _moons_window(edges: Array, sides: Array, noise: float) -> tuple[Array, Array]:
    """Return the lowest and the highest r that count, (N, 1) each.

    Far from every moon, only the r nearest to the peak that are possible at all count.
    """
    middle = 0.5 * (edges[:, 1:] + edges[:, :-1])
    gap = np.maximum(edges[:, :-1] - MOON_RADIUS, MOON_RADIUS - edges[:, 1:])
    possible = _angles_inside(middle, sides) > 0.0
    nearest = np.where(possible, np.maximum(gap, 0.0), np.inf).min(axis=1, keepdims=True)
    reach = np.hypot(nearest, _TAIL * noise)
    return MOON_RADIUS - reach, MOON_RADIUS + reach


def _angles_inside(r: Array, sides: Array) -> Array:
    """Return the length of the angles a at which u = r (cos a, sin a) is in the triangle, (P, Q).

    Args:
        r: (P, Q), positive or negative.
        sides: (P, 3), how far the three sides are from u = 0.
    """
    normals = np.array([np.pi, 0.25 * np.pi, -0.25 * np.pi])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        half = np.arccos(np.clip(sides[:, None] / r[:, :, None], -1.0, 1.0))
    crossings = np.concatenate([normals - half, normals + half], axis=-1)
    crossings = (crossings + np.pi) % (2.0 * np.pi) - np.pi
    ends = np.broadcast_to([-0.5 * np.pi, 0.5 * np.pi], (*r.shape, 2))
    a = np.concatenate([crossings.clip(-0.5 * np.pi, 0.5 * np.pi), ends], axis=-1)
    a.sort(axis=-1)
    middle = 0.5 * (a[..., 1:] + a[..., :-1])
    across, up = r[:, :, None] * np.cos(middle), r[:, :, None] * np.sin(middle)
    left, above, below = np.moveaxis(sides[:, :, None, None], 1, 0)
    inside = (-across <= left) & (across + up <= _ROOT * above) & (across - up <= _ROOT * below)
    length: Array = (np.diff(a) * inside).sum(axis=-1)
    return length


TWO_MOONS = Problem(
    "two-moons",
    10000,
    0.01,
    _draw_moons,
    _moons_log_prob,
    _moons_inverse_log_prob,
    x_names=("theta1", "theta2"),
    y_names=("x1", "x2"),
    keeps_names=True,
)


PROBLEMS = {problem.name: problem for problem in (SINUSOID, BISHOP, SPIRAL, ROBOT_ARM, TWO_MOONS)}


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
