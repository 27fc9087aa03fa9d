"""The robot arm from the command line: its joint mode reaches the hand, the mean does not."""

from pathlib import Path

import numpy as np
import pytest
from commands.helpers import numbers, table_of

from mdncli import load
from running import Run

WITHIN = 0.03


def distances(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the distance of the hand from x, (N,), by rotations in the complex plane."""
    hand = 0.8 * np.exp(1j * theta[:, 0]) - 0.2 * np.exp(1j * theta.sum(axis=1))
    return np.abs(hand - (x[:, 0] + 1j * x[:, 1]))


def test_the_joint_mode_reaches_the_hand_and_least_squares_does_not(
    run: Run, tmp_path: Path
) -> None:
    arm = ("generate", "robot-arm", "--inverse")
    assert run(*arm, "-o", "arm.csv").returncode == 0
    assert run(*arm, "--seed", "1", "-o", "fresh.csv").returncode == 0
    fit = ("fit", "arm.csv", "-t", "theta1,theta2", "--no-ladder")
    done = run(*fit, "--baseline", "-q")
    assert done.returncode == 0, done.stderr
    columns = table_of(run("predict", "model.pt", "fresh.csv", "--mode"))
    x = numbers(columns, "x1", "x2")
    assert len(x) == 1000
    mode = numbers(columns, "theta1_mode", "theta2_mode")
    assert (distances(mode, x) <= WITHIN).mean() >= 0.95
    least_squares = load(tmp_path / "model.pt").network.baseline_mixture(x).mean()
    assert (distances(least_squares, x) <= WITHIN).mean() < 0.75


@pytest.mark.parametrize("problem", ["robot-arm", "two-moons"])
def test_generate_writes_both_directions(here: Run, problem: str) -> None:
    forward = table_of(here("generate", problem, "--n", "20"))
    inverse = table_of(here("generate", problem, "--n", "20", "--inverse"))
    assert list(forward) == ["theta1", "theta2", "x1", "x2"]
    assert list(inverse) == ["x1", "x2", "theta1", "theta2"]
    assert all(forward[name] == inverse[name] for name in forward)
