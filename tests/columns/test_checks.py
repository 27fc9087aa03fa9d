import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdncli.columns.schema import pile_of, step_of

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=1000)


@pytest.mark.parametrize(
    ("values", "step"),
    [
        (np.round(NORMAL, 2), 0.01),
        (RNG.integers(3, 9, 500).astype(float), 1.0),
        (np.round(4.0 * NORMAL) / 4.0 + 7.0, 0.25),
        (np.array([float(f"{whole}e299") for whole in RNG.integers(-9, 9, 99)]), 1e299),
        (np.array([5.0, 8.0, 17.0, 5.0]), 3.0),
        (np.array([0.1, 0.2, 0.3, 0.3]), 0.1),
        (NORMAL, None),
        # Whole numbers, but no two alike: they may be anything.
        (np.arange(500.0), None),
        # Too fine to tell anything.
        (np.array([0.0, 0.0, 1e-7, 1.0, 1.0]), None),
        # A pile at zero of values that are else continuous.
        (np.where(RNG.random(1000) < 0.3, 0.0, NORMAL), None),
    ],
)
def test_the_step_of_a_column(values: np.ndarray, step: float | None) -> None:
    assert step_of(values) == step


@given(st.integers(1, 999), st.integers(-4, 4), st.lists(st.integers(-500, 500), min_size=2))
def test_the_step_divides_every_difference(unit: int, exponent: int, wholes: list[int]) -> None:
    if len(set(wholes)) < 2:
        return
    values = np.array([float(f"{whole * unit}e{exponent}") for whole in wholes + wholes])
    step = step_of(values)
    divisor = math.gcd(*(whole - wholes[0] for whole in wholes)) * unit
    assert step == float(f"{divisor}e{exponent}")


def test_a_value_that_many_rows_hold_is_named() -> None:
    values = NORMAL.copy()
    assert pile_of(values) is None
    values[:60] = 2.5
    assert pile_of(values) == (2.5, 0.06)
    assert pile_of(values[995:]) is None
