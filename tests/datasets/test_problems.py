"""The built-in problems: their rows, and their exact densities in both directions."""

import doctest

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from mdncli import datasets
from mdncli.datasets.problems import THETA1_RANGE, THETA2_RANGE
from mdncli.errors import ParameterError

CURVES = ["sinusoid", "bishop", "spiral"]
# The best possible mean NLL of each problem, and the tolerance of a mean over 20,000 rows.
BEST_NLL = {
    ("sinusoid", True): (1.285, 0.02),
    ("bishop", True): (-1.28, 0.02),
    ("sinusoid", False): (1.4189, 0.02),
    ("bishop", False): (-1.6094, 1e-4),
    # Also computed by a two-dimensional convolution on a grid, independent of the quadrature.
    ("spiral", False): (-0.3475, 0.02),
    ("spiral", True): (-0.30, 0.02),
}


@pytest.mark.parametrize(("name", "inverse"), BEST_NLL)
def test_best_possible_nll_matches_the_known_value(name: str, inverse: bool) -> None:
    columns = datasets.generate(name, n=20_000, inverse=inverse, seed=11)
    nll = -datasets.log_density(name, columns["x"], columns["y"], inverse=inverse).mean()
    expected, tolerance = BEST_NLL[name, inverse]
    assert abs(nll - expected) < tolerance


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("noise", [None, 0.05])
@pytest.mark.parametrize("name", CURVES)
def test_conditional_density_integrates_to_one(
    name: str, noise: float | None, inverse: bool
) -> None:
    columns = datasets.generate(name, inverse=inverse, noise=noise, seed=3)
    margin = 5.0 * (datasets.PROBLEMS[name].noise if noise is None else noise)
    y = np.linspace(columns["y"].min() - margin, columns["y"].max() + margin, 4001)
    for x in columns["x"][:2]:
        density = np.exp(
            datasets.log_density(name, np.full_like(y, x), y, inverse=inverse, noise=noise)
        )
        # The uniform densities jump, where the trapezoidal rule is off by up to a cell.
        tolerance = 2e-2 if name == "bishop" else 1e-4
        assert np.trapezoid(density, y) == pytest.approx(1.0, abs=tolerance)


def test_spiral_density_matches_a_plain_sum() -> None:
    columns = datasets.generate("spiral", n=20, seed=5)
    cells = 400_000
    a = (np.arange(cells) + 0.5) * 4.0 * np.pi / cells
    lowest = brentq(lambda v: np.sin(v) + v * np.cos(v), 10.6, 11.6, xtol=1e-14)
    lowest = lowest * np.sin(lowest)
    scale = 5.0 / (4.0 * np.pi - lowest)
    for x, y in zip(columns["x"], columns["y"], strict=True):
        across = np.exp(-0.5 * ((x / scale + lowest - a * np.cos(a)) / 0.2) ** 2)
        up = np.exp(-0.5 * ((y / scale + lowest - a * np.sin(a)) / 0.2) ** 2)
        density = (across * up).sum() / across.sum() / (0.2 * np.sqrt(2.0 * np.pi)) / scale
        exact = datasets.log_density("spiral", np.array([x]), np.array([y]))[0]
        assert np.log(density) == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("name", CURVES)
def test_inverse_swaps_the_columns(name: str) -> None:
    forward, inverse = (datasets.generate(name, n=50, inverse=v, seed=4) for v in (False, True))
    assert list(forward) == list(inverse) == ["x", "y"]
    np.testing.assert_array_equal(forward["x"], inverse["y"])
    np.testing.assert_array_equal(forward["y"], inverse["x"])


def test_without_noise_rows_lie_on_the_curve() -> None:
    columns = datasets.generate("sinusoid", n=50, noise=0.0)
    curve = 7.0 * np.sin(0.75 * columns["x"]) + 0.5 * columns["x"]
    np.testing.assert_allclose(columns["y"], curve, atol=1e-12)
    spiral = datasets.generate("spiral", n=20_000, noise=0.0)
    assert min(v.min() for v in spiral.values()) == pytest.approx(0.0, abs=1e-4)
    assert max(v.max() for v in spiral.values()) == pytest.approx(5.0, abs=1e-2)


def test_default_sizes_and_seeds() -> None:
    sizes = {name: len(datasets.generate(name)["x"]) for name in CURVES}
    assert sizes == {"sinusoid": 1000, "bishop": 2500, "spiral": 10_000}
    first, second = (datasets.generate("bishop", seed=seed)["x"] for seed in (0, 1))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n is 0. It must be from 1 to 1000000000."),
        ({"noise": -1.0}, "noise is -1.0. It must be from 0 to 1e+100."),
        ({"noise": np.inf}, "noise is inf. It must be from 0 to 1e+100."),
        ({"seed": -1}, "seed is -1. It must be zero or positive."),
        (
            {"name": "spirl"},
            "There is no problem 'spirl'. Did you mean 'spiral'? The problems are:",
        ),
    ],
)
def test_values_out_of_range_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ParameterError) as error:
        datasets.generate(**{"name": "sinusoid", **arguments})
    assert str(error.value).startswith(message)


def test_without_noise_there_is_no_density() -> None:
    with pytest.raises(ValueError, match="no conditional density"):
        datasets.log_density("bishop", np.zeros(1), np.zeros(1), noise=0.0)


@pytest.mark.parametrize("function", [datasets.generate, datasets.log_density])
def test_docstring_examples_run(function: object) -> None:
    [test] = doctest.DocTestFinder(recurse=False).find(function)
    output: list[str] = []
    result = doctest.DocTestRunner().run(test, out=output.append)
    assert result.attempted > 0
    assert result.failed == 0, "".join(output)


ARM_COLUMNS = ["theta1", "theta2", "x1", "x2"]


def pair(columns: dict[str, np.ndarray], kind: str) -> np.ndarray:
    return np.column_stack([columns[f"{kind}1"], columns[f"{kind}2"]])


def hand_position(theta: np.ndarray) -> np.ndarray:
    """Return the position of the hand, computed with complex numbers."""
    position = 0.8 * np.exp(1j * theta[:, 0]) - 0.2 * np.exp(1j * theta.sum(axis=1))
    return np.column_stack([position.real, position.imag])


def test_arm_angles_are_uniform_and_positions_noisy() -> None:
    columns = datasets.generate("robot-arm", n=50_000, seed=1)
    assert list(columns) == ARM_COLUMNS
    theta, x = pair(columns, "theta"), pair(columns, "x")
    for angle, (low, high) in zip(theta.T, (THETA1_RANGE, THETA2_RANGE), strict=True):
        assert stats.kstest(angle, stats.uniform(low, high - low).cdf).pvalue > 1e-3
    assert THETA1_RANGE == (0.3, 1.2)
    assert pytest.approx((np.pi / 2, 1.5 * np.pi)) == THETA2_RANGE
    noise = (x - hand_position(theta)).ravel()
    assert stats.kstest(noise, stats.norm(0.0, 0.01).cdf).pvalue > 1e-3


def test_arm_columns_keep_their_names_in_the_inverse() -> None:
    forward, inverse = (datasets.generate("robot-arm", inverse=v, seed=4) for v in (False, True))
    assert list(inverse) == [*ARM_COLUMNS[2:], *ARM_COLUMNS[:2]]
    assert len(forward["x1"]) == 1000
    for name in ARM_COLUMNS:
        np.testing.assert_array_equal(forward[name], inverse[name])


def test_arm_without_noise_matches_its_geometry() -> None:
    columns = datasets.generate("robot-arm", noise=0.0, n=50)
    np.testing.assert_allclose(
        pair(columns, "x"), hand_position(pair(columns, "theta")), atol=1e-14
    )


def test_arm_density_is_a_product_of_two_normals() -> None:
    columns = datasets.generate("robot-arm", n=100, seed=2)
    theta, x = pair(columns, "theta"), pair(columns, "x")
    expected = stats.norm(hand_position(theta), 0.01).logpdf(x).sum(axis=1)
    np.testing.assert_allclose(datasets.log_density("robot-arm", theta, x), expected, rtol=1e-10)


@pytest.mark.parametrize("noise", [None, 0.03])
def test_arm_inverse_density_integrates_to_one(noise: float | None) -> None:
    columns = datasets.generate("robot-arm", n=4, seed=3, noise=noise, inverse=True)
    # The midpoint rule is independent of the quadrature.
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


def test_arm_angles_out_of_range_have_no_density() -> None:
    columns = datasets.generate("robot-arm", n=3, seed=5)
    x = pair(columns, "x")
    outside = np.array([[0.29, 3.0], [0.5, 4.8], [1.3, 1.0]])
    assert (datasets.log_density("robot-arm", x, outside, inverse=True) == -np.inf).all()


def test_arm_positions_have_two_solutions() -> None:
    """Elbow up and elbow down are mirror images, and both are likely."""
    theta = np.array([[0.7, np.pi - 0.6]])
    x = hand_position(theta)
    direction = np.arctan2(x[0, 1], x[0, 0])
    mirrored = np.array([[2.0 * direction - 0.7, np.pi + 0.6]])
    np.testing.assert_allclose(hand_position(mirrored), x, atol=1e-12)
    both = datasets.log_density(
        "robot-arm", np.repeat(x, 2, 0), np.vstack([theta, mirrored]), inverse=True
    )
    assert both[0] == pytest.approx(both[1], abs=1e-9)
    assert np.isfinite(both).all()
