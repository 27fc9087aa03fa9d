"""The output of a command as columns and numbers, and mixtures computed with SciPy."""

import csv
import io
import re
import struct
import subprocess

import numpy as np
from scipy.special import logsumexp, ndtr
from scipy.stats import norm

Cells = dict[str, list[str]]

# Every question of `mdn predict`.
EVERYTHING = (
    *("--mean", "--std", "--median", "--mode", "--component-mean", "--parameters"),
    *("--quantiles", "0.05,0.5,0.975", "--quantiles", "0.001", "--interval", "0.9,0.5"),
    *("--hdr", "0.9", "--density", "--cdf", "--exceed", "-0.5", "--flag-extrapolation"),
)


def cells(content: bytes) -> Cells:
    """Return the columns of a CSV as text."""
    header, *rows = csv.reader(io.StringIO(content.decode(), newline=""))
    assert all(len(row) == len(header) for row in rows)
    columns = zip(*rows, strict=True) if rows else ([] for _ in header)
    return {name: list(column) for name, column in zip(header, columns, strict=True)}


def table_of(done: subprocess.CompletedProcess[bytes]) -> Cells:
    """Return the table that a successful command wrote to standard output."""
    assert done.returncode == 0, done.stderr
    return cells(done.stdout)


def error_of(done: subprocess.CompletedProcess[bytes], status: int) -> str:
    """Return the single line of error of a command that failed with this status."""
    message = done.stderr.decode()
    assert (done.returncode, done.stdout) == (status, b""), message
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    return message


def numbers(columns: Cells, *names: str) -> np.ndarray:
    """Return columns as numbers, (N,) or (N, C), an empty cell as NaN."""
    values = [[float(cell or "nan") for cell in columns[name]] for name in names]
    return np.array(values[0] if len(names) == 1 else values).T


def texts_of(svg: bytes) -> set[str]:
    """Return the texts of a picture, which an SVG holds in comments beside their outlines."""
    assert svg.startswith(b"<?xml")
    assert svg.rstrip().endswith(b"</svg>")
    return set(re.findall("<!-- (.*?) -->", svg.decode()))


def png_size(png: bytes) -> tuple[int, int]:
    """Return the width and the height of a whole PNG, in pixels."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert png.endswith(b"IEND\xaeB`\x82")
    width, height = struct.unpack(">2I", png[16:24])
    return width, height


class Mixture:
    """The mixtures of one target that `mdn predict --parameters` writes."""

    def __init__(self, columns: Cells, target: str = "y") -> None:
        numbers_of_components = [name[2:] for name in columns if name.startswith("pi")]
        self.pi, self.mu, self.sigma = (
            numbers(columns, *(f"{part}{k}" for k in numbers_of_components))
            for part in ("pi", f"{target}_mu", f"{target}_sigma")
        )

    def log_density(self, y: np.ndarray) -> np.ndarray:
        """Return log p(y) at one point for each row, (N,)."""
        return logsumexp(norm.logpdf(y[:, None], self.mu, self.sigma), b=self.pi, axis=1)

    def cdf(self, y: np.ndarray) -> np.ndarray:
        """Return P(Y <= y) at one point for each row, (N,)."""
        return (self.pi * ndtr((y[:, None] - self.mu) / self.sigma)).sum(axis=1)

    def mean(self) -> np.ndarray:
        """Return E[Y], (N,)."""
        return (self.pi * self.mu).sum(axis=1)

    def std(self) -> np.ndarray:
        """Return the standard deviation from the second moment, (N,)."""
        second = (self.pi * (self.sigma**2 + self.mu**2)).sum(axis=1)
        return np.sqrt(second - self.mean() ** 2)

    def crps(self, y: np.ndarray) -> np.ndarray:
        """Return the integral of (F(t) - [y <= t])^2 dt, by Gauss-Legendre quadrature, (N,)."""
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
