"""What a command answered, as columns and numbers, and its mixtures worked out with SciPy."""

import csv
import io
import subprocess

import numpy as np
from scipy.special import logsumexp, ndtr
from scipy.stats import norm

Cells = dict[str, list[str]]


def cells(content: bytes) -> Cells:
    """Return the columns of a CSV as text."""
    header, *rows = csv.reader(io.StringIO(content.decode(), newline=""))
    assert all(len(row) == len(header) for row in rows)
    columns = zip(*rows, strict=True) if rows else ([] for _ in header)
    return {name: list(column) for name, column in zip(header, columns, strict=True)}


def table_of(done: subprocess.CompletedProcess[bytes]) -> Cells:
    """Return the table that a command that went well wrote."""
    assert done.returncode == 0, done.stderr
    return cells(done.stdout)


def error_of(done: subprocess.CompletedProcess[bytes], status: int) -> str:
    """Return the one line that a command message which refused with this status."""
    message = done.stderr.decode()
    assert (done.returncode, done.stdout) == (status, b""), message
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    return message


def numbers(columns: Cells, *names: str) -> np.ndarray:
    """Return columns as numbers, (N,) or (N, C), an empty cell as NaN."""
    values = [[float(cell or "nan") for cell in columns[name]] for name in names]
    return np.array(values[0] if len(names) == 1 else values).T


class Mixture:
    """The mixtures of one target that `mdn predict --parameters` tells."""

    def __init__(self, columns: Cells, target: str = "y") -> None:
        count = sum(name.startswith("pi") for name in columns)
        self.pi, self.mu, self.sigma = (
            numbers(columns, *(f"{part}{k + 1}" for k in range(count)))
            for part in ("pi", f"{target}_mu", f"{target}_sigma")
        )

    def log_density(self, y: np.ndarray) -> np.ndarray:
        """Return log p(y) at one point of each."""
        return logsumexp(norm.logpdf(y[:, None], self.mu, self.sigma), b=self.pi, axis=1)

    def cdf(self, y: np.ndarray) -> np.ndarray:
        """Return P(Y <= y) at one point of each."""
        return (self.pi * ndtr((y[:, None] - self.mu) / self.sigma)).sum(axis=1)

    def mean(self) -> np.ndarray:
        """Return E[Y]."""
        return (self.pi * self.mu).sum(axis=1)

    def std(self) -> np.ndarray:
        """Return the standard deviation, from the second moment."""
        second = (self.pi * (self.sigma**2 + self.mu**2)).sum(axis=1)
        return np.sqrt(second - self.mean() ** 2)

    def crps(self, y: np.ndarray) -> np.ndarray:
        """Return the integral of (F(t) - [y <= t])^2 dt, by Gauss and Legendre between knots."""
        widths = np.array([0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 9.0])
        near = self.mu[:, :, None] + self.sigma[:, :, None] * np.concatenate([-widths, widths])
        knots = np.sort(np.column_stack([near.reshape(len(y), -1), y]), axis=1)
        nodes, weights = np.polynomial.legendre.leggauss(8)
        total = np.zeros(len(y))
        for low, high in zip(knots.T[:-1], knots.T[1:], strict=True):
            for node, weight in zip(nodes, weights, strict=True):
                at = 0.5 * (low + high) + 0.5 * (high - low) * node
                excess = self.cdf(at) - (y <= at)
                total += 0.5 * (high - low) * weight * excess**2
        return total
