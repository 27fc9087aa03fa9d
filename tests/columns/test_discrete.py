"""Values that stand for more than a point of u: atoms, angles, and which values are atoms."""

import numpy as np
import pytest

from mdncli.columns.discrete import Atoms, Wrapped, atoms_of, found_atoms, origin_of
from mdncli.columns.transforms import IDENTITY, Interval, LowerBound
from mdncli.errors import DataError, ParameterError

AT_ZERO = Atoms(LowerBound(-0.01), (0.0,), 4.0, (True, False))
BETWEEN = Atoms(IDENTITY, (-1.0, 2.0), 3.0, (False, False))
CAPS = Atoms(IDENTITY, (0.0, 5.0), 2.0, (True, True))
SHARES = Atoms(Interval(-0.01, 1.01), (0.0, 1.0), 2.0, (True, True))


@pytest.mark.parametrize("transform", [AT_ZERO, BETWEEN, CAPS, SHARES])
def test_values_come_back(transform: Atoms) -> None:
    low = 0.0 if transform.closed[0] else -4.0
    high = transform.values[-1] if transform.closed[1] else 7.0
    y = np.concatenate([np.linspace(low, high, 201), transform.values])
    np.testing.assert_allclose(transform.forward(transform.inverse(y)), y, atol=1e-9)
    assert not transform.outside(y).any()
    u = np.linspace(-8.0, 12.0, 5001)
    assert (np.diff(transform.forward(u)) >= 0.0).all()


@pytest.mark.parametrize("transform", [AT_ZERO, BETWEEN, CAPS, SHARES])
def test_the_intervals_hold_the_atoms_and_the_segments_the_rest(transform: Atoms) -> None:
    for value, (low, high) in zip(transform.values, transform.intervals, strict=True):
        if np.isinf([low, high]).any():
            end, side = (high, -1.0) if np.isinf(low) else (low, 1.0)
            inside = end + side * np.array([0.1, 1.0, 40.0])
        else:
            inside = np.linspace(low, high, 9)[1:-1]
        np.testing.assert_array_equal(transform.forward(inside), value)
    for low, high, shift in transform.segments:
        ends = max(low, -5.0) + 1e-6, min(high, 20.0) - 1e-6
        u = np.linspace(*ends, 7)
        np.testing.assert_array_equal(transform.atom(transform.forward(u)), -1)
        np.testing.assert_allclose(transform.forward(u), transform.inner.forward(u - shift))


def test_cells_of_atoms_and_of_other_values() -> None:
    cells = BETWEEN.cells(np.array([-1.0, 0.0, 2.0, 3.0]))
    np.testing.assert_allclose(cells.low, [-1.0, 3.0, 5.0, 9.0])
    np.testing.assert_allclose(cells.high, [2.0, 3.0, 8.0, 9.0])
    np.testing.assert_array_equal(cells.is_point, [False, True, False, True])
    np.testing.assert_allclose(BETWEEN.edge_above(np.array([-1.0, 0.0, 2.0])), [2.0, 3.0, 8.0])
    cells = CAPS.cells(np.array([-0.5, 0.0, 2.0, 5.0, 6.0]))
    np.testing.assert_array_equal(cells.low, [-np.inf, -np.inf, 2.0, 5.0, np.inf])
    np.testing.assert_array_equal(cells.high, [-np.inf, 0.0, 2.0, np.inf, np.inf])
    np.testing.assert_array_equal(np.isinf(cells.log_unit), [True, False, False, False, True])


def test_which_values_are_atoms() -> None:
    rng = np.random.default_rng(0)
    smooth = rng.normal(size=900)
    assert found_atoms(smooth) == ()
    assert found_atoms(np.append(smooth, np.zeros(100))) == (0.0,)
    assert found_atoms(np.append(smooth, np.zeros(40))) == ()
    both = np.concatenate([smooth, np.zeros(80), np.full(20, 3.0)])
    assert found_atoms(both) == (0.0, 3.0)
    # Ties everywhere are the steps of a rounded column.
    assert found_atoms(np.round(smooth, 1)) == ()
    assert found_atoms(np.zeros(30)) == ()


def test_skewed_values_above_an_atom_are_learned_as_logarithms() -> None:
    rng = np.random.default_rng(1)
    skewed = np.append(np.exp(rng.normal(size=500)), np.zeros(100))
    found = atoms_of("y", skewed, (0.0,), None, None)
    assert isinstance(found.inner, LowerBound)
    assert -0.1 < found.inner.lower < 0.0
    assert found.closed == (True, False)
    symmetric = np.append(5.0 + rng.normal(size=500), np.zeros(100))
    assert atoms_of("y", symmetric, (0.0,), None, None).inner is IDENTITY
    assert isinstance(atoms_of("y", symmetric, (0.0,), 0.0, None).inner, LowerBound)
    middle = np.append(rng.normal(size=500), np.zeros(100))
    assert atoms_of("y", middle, (0.0,), None, None).closed == (False, False)


def test_atoms_that_cannot_be() -> None:
    values = np.append(np.arange(1.0, 30.0), [0.0, 0.0])
    with pytest.raises(ParameterError, match=r"atom 0 is outside the bound lower=0\.5 of 'y'"):
        atoms_of("y", values, (0.0,), 0.5, None)
    with pytest.raises(ParameterError, match="outside the bound upper=20"):
        atoms_of("y", values, (29.0,), None, 20.0)
    with pytest.raises(DataError, match="atom is 7.5, and no row has that value of 'y'"):
        atoms_of("y", values, (7.5,), None, None)
    with pytest.raises(DataError, match="fewer than two other values"):
        atoms_of("y", np.array([0.0, 0.0, 1.0]), (0.0,), None, None)


def test_angles_wrap_around() -> None:
    turn = Wrapped(360.0)
    y = turn.forward(np.array([-10.0, 0.0, 359.0, 360.0, 730.0, -1e-20]))
    np.testing.assert_allclose(y, [350.0, 0.0, 359.0, 0.0, 10.0, 0.0])
    centred = Wrapped(2.0, -1.0)
    np.testing.assert_allclose(centred.forward(np.array([1.0, 1.5, -1.5])), [-1.0, -0.5, 0.5])
    assert origin_of(np.array([3.0, 350.0]), 360.0) == 0.0
    assert origin_of(np.array([-170.0, 20.0]), 360.0) == -180.0
    assert origin_of(np.array([-170.0, 350.0]), 360.0) == 0.0
