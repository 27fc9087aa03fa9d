"""The built-in problems: their rows, and their exact densities in both directions."""

import doctest

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from mdncli import datasets
from mdncli.datasets import THETA1_RANGE, THETA2_RANGE
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


PAIR_COLUMNS = ["theta1", "theta2", "x1", "x2"]


def pair(columns: dict[str, np.ndarray], kind: str) -> np.ndarray:
    return np.column_stack([columns[f"{kind}1"], columns[f"{kind}2"]])


def midpoints(low: float, high: float, count: int) -> np.ndarray:
    return low + (np.arange(count) + 0.5) * (high - low) / count


def pairs_of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)


def hand_position(theta: np.ndarray) -> np.ndarray:
    """Return the position of the hand, computed with complex numbers."""
    position = 0.8 * np.exp(1j * theta[:, 0]) - 0.2 * np.exp(1j * theta.sum(axis=1))
    return np.column_stack([position.real, position.imag])


def test_arm_angles_are_uniform_and_positions_noisy() -> None:
    columns = datasets.generate("robot-arm", n=50_000, seed=1)
    assert list(columns) == PAIR_COLUMNS
    theta, x = pair(columns, "theta"), pair(columns, "x")
    for angle, (low, high) in zip(theta.T, (THETA1_RANGE, THETA2_RANGE), strict=True):
        assert stats.kstest(angle, stats.uniform(low, high - low).cdf).pvalue > 1e-3
    assert THETA1_RANGE == (0.3, 1.2)
    assert pytest.approx((np.pi / 2, 1.5 * np.pi)) == THETA2_RANGE
    noise = (x - hand_position(theta)).ravel()
    assert stats.kstest(noise, stats.norm(0.0, 0.01).cdf).pvalue > 1e-3


@pytest.mark.parametrize(("problem", "rows"), [("robot-arm", 1000), ("two-moons", 10_000)])
def test_pairs_keep_their_names_in_the_inverse(problem: str, rows: int) -> None:
    forward, inverse = (datasets.generate(problem, inverse=v, seed=4) for v in (False, True))
    assert list(forward) == PAIR_COLUMNS
    assert list(inverse) == [*PAIR_COLUMNS[2:], *PAIR_COLUMNS[:2]]
    assert len(forward["x1"]) == rows
    for name in PAIR_COLUMNS:
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
    grid = pairs_of(*(midpoints(*ends, count) for ends, count in sides))
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


def moon_radius_and_angle(columns: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return r and a of rows with positive r, computed with complex numbers.

    (1 - i) / sqrt 2 turns theta1 + i theta2 by -45 degrees.
    """
    turned = (columns["theta1"] + 1j * columns["theta2"]) * (1.0 - 1j) / np.sqrt(2.0)
    step = columns["x1"] + 1j * columns["x2"] - 0.25 + abs(turned.real) - 1j * turned.imag
    return np.abs(step), np.angle(step)


def test_moons_are_drawn_as_the_benchmark_says() -> None:
    columns = datasets.generate("two-moons", n=50_000, seed=1)
    for name in ("theta1", "theta2"):
        assert stats.kstest(columns[name], stats.uniform(-1.0, 2.0).cdf).pvalue > 1e-3
    r, a = moon_radius_and_angle(columns)
    assert stats.kstest(r, stats.norm(0.1, 0.01).cdf).pvalue > 1e-3
    assert stats.kstest(a, stats.uniform(-0.5 * np.pi, np.pi).cdf).pvalue > 1e-3


def test_moons_density_is_that_of_radius_and_angle_over_the_radius() -> None:
    columns = datasets.generate("two-moons", n=100, seed=2)
    r, _ = moon_radius_and_angle(columns)
    expected = stats.norm(0.1, 0.01).logpdf(r) - np.log(np.pi * r)
    found = datasets.log_density("two-moons", pair(columns, "theta"), pair(columns, "x"))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("noise", [0.01, 0.08])
def test_moons_density_integrates_to_one(noise: float) -> None:
    """With much noise, r can be negative: those points are left of the centre."""
    theta = np.array([0.3, -0.5])
    centre = np.array([0.25 - 0.2 / np.sqrt(2.0), -0.8 / np.sqrt(2.0)])
    grid = centre + pairs_of(*[midpoints(-0.6, 0.6, 800)] * 2)
    rows = np.broadcast_to(theta, grid.shape)
    density = np.exp(datasets.log_density("two-moons", rows, grid, noise=noise))
    assert density.sum() * (1.2 / 800) ** 2 == pytest.approx(1.0, abs=3e-3)
    left = (grid[:, 0] < centre[0]) @ density * (1.2 / 800) ** 2
    assert left == pytest.approx(stats.norm(0.1, noise).cdf(0.0), abs=3e-3)


# At the last four points, the bounds of the prior cut the moons, or the moons meet.
@pytest.mark.parametrize("x", [(-0.4, 0.3), (0.3, 0.02), (0.25, 1.3), (-0.2, 0.95), (0.34, 0.0)])
@pytest.mark.parametrize("noise", [0.01, 0.3])
def test_moons_inverse_density_integrates_to_one(x: tuple[float, float], noise: float) -> None:
    # The midpoint rule is independent of the quadrature.
    grid = pairs_of(*[midpoints(-1.0, 1.0, 800)] * 2)
    rows = np.broadcast_to(x, grid.shape)
    log_density = datasets.log_density("two-moons", rows, grid, inverse=True, noise=noise)
    assert np.exp(log_density).sum() * (2.0 / 800) ** 2 == pytest.approx(1.0, abs=5e-3)


def moons_log_marginal(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Return log p(x), by Bayes' theorem at any theta."""
    likelihood = datasets.log_density("two-moons", theta, x)
    return likelihood + np.log(0.25) - datasets.log_density("two-moons", x, theta, inverse=True)


def test_moons_draws_agree_with_the_densities() -> None:
    columns = datasets.generate("two-moons", n=20_000, seed=6)
    theta, x = pair(columns, "theta"), pair(columns, "x")
    # The mean log densities are minus the entropies: of x given theta, and of x.
    nll = -datasets.log_density("two-moons", theta, x)
    entropy = stats.norm(0.1, 0.01).entropy() + np.log(np.pi)
    entropy += stats.norm(0.1, 0.01).expect(np.log, lb=0.02, ub=0.18)
    assert nll.mean() == pytest.approx(entropy, abs=4.0 * nll.std() / np.sqrt(len(nll)))
    grid = pairs_of(midpoints(-1.3, 0.45, 140), midpoints(-1.65, 1.65, 264))
    cell = 1.75 / 140 * 3.3 / 264
    log_density = moons_log_marginal(grid, np.broadcast_to([0.1, 0.2], grid.shape))
    density = np.exp(log_density)
    assert density.sum() * cell == pytest.approx(1.0, abs=2e-3)
    own = -moons_log_marginal(x, theta)
    expected = -(density * log_density).sum() * cell
    assert own.mean() == pytest.approx(expected, abs=4.0 * own.std() / np.sqrt(len(own)))


def test_moons_are_mirror_images_within_the_bounds() -> None:
    x = np.array([[-0.3, 0.2]])
    theta = np.array([[0.35, 0.32]])
    mirrored = -theta[:, ::-1]
    both = datasets.log_density(
        "two-moons", np.repeat(x, 3, 0), np.vstack([theta, mirrored, [[1.01, 0]]]), inverse=True
    )
    assert both[0] == pytest.approx(both[1], abs=1e-12)
    assert np.isfinite(both[:2]).all()
    assert both[2] == -np.inf
    # Far from every moon, the density is still that of a distribution.
    far = datasets.log_density("two-moons", np.array([[100.0, 0.0]]), theta, inverse=True)
    assert np.isfinite(far).all()
