"""The robot arm: its rows, and its exact densities in both directions."""

import numpy as np
import pytest
from scipy import stats

from mdncli import datasets
from mdncli.datasets.problems import THETA1_RANGE, THETA2_RANGE

NAMES = ["theta1", "theta2", "x1", "x2"]


def pair(columns: dict[str, np.ndarray], kind: str) -> np.ndarray:
    return np.column_stack([columns[f"{kind}1"], columns[f"{kind}2"]])


def hand(theta: np.ndarray) -> np.ndarray:
    """Return the hand's position by turning vectors in the complex plane."""
    there = 0.8 * np.exp(1j * theta[:, 0]) - 0.2 * np.exp(1j * theta.sum(axis=1))
    return np.column_stack([there.real, there.imag])


def test_rows_are_angles_in_their_box_and_noisy_positions() -> None:
    columns = datasets.generate("robot-arm", n=50_000, seed=1)
    assert list(columns) == NAMES
    theta, x = pair(columns, "theta"), pair(columns, "x")
    for angle, (low, high) in zip(theta.T, (THETA1_RANGE, THETA2_RANGE), strict=True):
        assert stats.kstest(angle, stats.uniform(low, high - low).cdf).pvalue > 1e-3
    assert THETA1_RANGE == (0.3, 1.2)
    assert pytest.approx((np.pi / 2, 1.5 * np.pi)) == THETA2_RANGE
    noise = (x - hand(theta)).ravel()
    assert stats.kstest(noise, stats.norm(0.0, 0.01).cdf).pvalue > 1e-3


def test_names_follow_their_quantities_into_the_inverse() -> None:
    forward, inverse = (datasets.generate("robot-arm", inverse=v, seed=4) for v in (False, True))
    assert list(inverse) == [*NAMES[2:], *NAMES[:2]]
    assert len(forward["x1"]) == 1000
    for name in NAMES:
        np.testing.assert_array_equal(forward[name], inverse[name])


def test_without_noise_the_hand_is_where_the_angles_put_it() -> None:
    columns = datasets.generate("robot-arm", noise=0.0, n=50)
    np.testing.assert_allclose(pair(columns, "x"), hand(pair(columns, "theta")), atol=1e-14)


def test_the_density_of_the_hand_is_a_product_of_two_normals() -> None:
    columns = datasets.generate("robot-arm", n=100, seed=2)
    theta, x = pair(columns, "theta"), pair(columns, "x")
    expected = stats.norm(hand(theta), 0.01).logpdf(x).sum(axis=1)
    np.testing.assert_allclose(datasets.log_density("robot-arm", theta, x), expected, rtol=1e-10)


@pytest.mark.parametrize("noise", [None, 0.03])
def test_the_density_of_the_angles_integrates_to_one(noise: float | None) -> None:
    columns = datasets.generate("robot-arm", n=4, seed=3, noise=noise, inverse=True)
    # By midpoints, which share nothing with the panels of the quadrature.
    sides = [(THETA1_RANGE, 500), (THETA2_RANGE, 600)]
    cells = [(high - low) / count for (low, high), count in sides]
    axes = [
        low + (np.arange(count) + 0.5) * cell
        for ((low, _), count), cell in zip(sides, cells, strict=True)
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    for x in pair(columns, "x"):
        rows = np.broadcast_to(x, grid.shape)
        log_density = datasets.log_density("robot-arm", rows, grid, inverse=True, noise=noise)
        assert np.exp(log_density).sum() * cells[0] * cells[1] == pytest.approx(1.0, abs=2e-3)


def test_angles_out_of_their_box_have_no_density() -> None:
    columns = datasets.generate("robot-arm", n=3, seed=5)
    x = pair(columns, "x")
    outside = np.array([[0.29, 3.0], [0.5, 4.8], [1.3, 1.0]])
    assert (datasets.log_density("robot-arm", x, outside, inverse=True) == -np.inf).all()


def test_two_solutions_put_the_hand_in_one_place() -> None:
    """Elbow up and elbow down, mirrored in the line to the hand, are about as likely."""
    theta = np.array([[0.7, np.pi - 0.6]])
    x = hand(theta)
    direction = np.arctan2(x[0, 1], x[0, 0])
    mirrored = np.array([[2.0 * direction - 0.7, np.pi + 0.6]])
    np.testing.assert_allclose(hand(mirrored), x, atol=1e-12)
    both = datasets.log_density(
        "robot-arm", np.repeat(x, 2, 0), np.vstack([theta, mirrored]), inverse=True
    )
    assert both[0] == pytest.approx(both[1], abs=1e-9)
    assert np.isfinite(both).all()
