"""Tables and quick fits for the tests of the Python interface."""

import io
from typing import Any

import numpy as np
import pandas as pd

from mdncli import ConditionalDensity, fit

QUICK: dict[str, Any] = {"mixtures": 2, "hidden": (8,), "frequencies": 1, "steps": 30}
# The same for the command line.
QUICK_FLAGS = ("--mixtures", "2", "--hidden", "8", "--frequencies", "1", "--steps", "30")


def every_kind(rows: int = 200, seed: int = 0) -> pd.DataFrame:
    """Return a table with every kind of column: a number, a category, a truth value and a date.

    Beside these features it has weights w, groups g, and the targets u and v. Some numbers and some
    categories are missing.
    """
    rng = np.random.default_rng(seed)
    number, place = rng.normal(size=rows), rng.integers(0, 3, rows)
    truth, days = rng.random(rows) < 0.5, rng.integers(0, 900, rows)
    u = number + place + 0.2 * rng.normal(size=rows)
    category = np.array(["p", "q", "r"], dtype=object)[place]
    category[rng.random(rows) < 0.1] = None
    return pd.DataFrame(
        {
            "number": np.where(rng.random(rows) < 0.1, np.nan, number),
            "category": pd.Categorical(category),
            "truth": truth,
            "date": pd.Timestamp("2024-01-01") + pd.to_timedelta(days, unit="D"),
            "w": rng.integers(1, 4, rows).astype(float),
            "g": rng.integers(0, 20, rows),
            "u": u,
            "v": np.exp(0.5 * u + truth + 0.1 * rng.normal(size=rows)),
        }
    )


def quick_fit(data: Any, *arguments: Any, **parameters: Any) -> ConditionalDensity:
    """Return the model of a fit that takes a moment."""
    return fit(data, *arguments, **{**QUICK, **parameters})


def model_bytes(model: ConditionalDensity) -> bytes:
    """Return the content of a model's file."""
    stream = io.BytesIO()
    model.write(stream)
    return stream.getvalue()
