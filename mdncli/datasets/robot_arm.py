"""The robot arm: the joint angles of two links, and where they put the hand.

(Bishop 1994, section 5, eq. 41 and 42.) A position within reach has two solutions, elbow up and
elbow down, so its inverse problem is ambiguous in two targets at once.
"""

import numpy as np

from mdncli.datasets.problem import Array, Problem
from mdncli.datasets.quadrature import crossed, log_integral, normal_log_prob, panels

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
