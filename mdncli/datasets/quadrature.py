"""Integrals of densities in logs, by Gauss and Legendre, and the normal density."""

from collections.abc import Callable

import numpy as np

from mdncli.datasets.problem import Array

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
