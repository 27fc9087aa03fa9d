import numpy as np
import pytest
from scipy.optimize import brentq

from mdncli import datasets
from mdncli.errors import UsageError

# The best possible mean NLL of each problem, and how far the mean over 20,000 rows may stray.
CURVES = ["sinusoid", "bishop", "spiral"]
BOUNDS = {
    ("sinusoid", True): (1.285, 0.02),
    ("bishop", True): (-1.28, 0.02),
    ("sinusoid", False): (1.4189, 0.02),
    ("bishop", False): (-1.6094, 1e-4),
    # By two-dimensional convolution on a grid too, which shares nothing with the quadrature.
    ("spiral", False): (-0.3475, 0.02),
    ("spiral", True): (-0.30, 0.02),
}


@pytest.mark.parametrize(("name", "inverse"), BOUNDS)
def test_the_best_possible_nll_is_the_known_one(name: str, inverse: bool) -> None:
    columns = datasets.generate(name, n=20_000, inverse=inverse, seed=11)
    nll = -datasets.log_density(name, columns["x"], columns["y"], inverse=inverse).mean()
    expected, tolerance = BOUNDS[name, inverse]
    assert abs(nll - expected) < tolerance


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("noise", [None, 0.05])
@pytest.mark.parametrize("name", CURVES)
def test_the_conditional_density_integrates_to_one(
    name: str, noise: float | None, inverse: bool
) -> None:
    columns = datasets.generate(name, inverse=inverse, noise=noise, seed=3)
    margin = 5.0 * (datasets.PROBLEMS[name].noise if noise is None else noise)
    y = np.linspace(columns["y"].min() - margin, columns["y"].max() + margin, 4001)
    for x in columns["x"][:2]:
        density = np.exp(
            datasets.log_density(name, np.full_like(y, x), y, inverse=inverse, noise=noise)
        )
        # The uniform densities jump, which costs the trapezoidal rule a cell at each edge.
        tolerance = 2e-2 if name == "bishop" else 1e-4
        assert np.trapezoid(density, y) == pytest.approx(1.0, abs=tolerance)


def test_spiral_is_independent_of_its_quadrature() -> None:
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
def test_inverse_swaps_the_columns_of_the_same_draw(name: str) -> None:
    forward, inverse = (datasets.generate(name, n=50, inverse=v, seed=4) for v in (False, True))
    assert list(forward) == list(inverse) == ["x", "y"]
    np.testing.assert_array_equal(forward["x"], inverse["y"])
    np.testing.assert_array_equal(forward["y"], inverse["x"])


def test_without_noise_the_rows_lie_on_the_curve() -> None:
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


@pytest.mark.parametrize("choice", [{"n": 0}, {"noise": -1.0}, {"noise": np.inf}, {"seed": -1}])
def test_impossible_choices_are_refused(choice: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        datasets.generate("sinusoid", **choice)


def test_without_noise_there_is_no_density() -> None:
    with pytest.raises(ValueError, match="no conditional density"):
        datasets.log_density("bishop", np.zeros(1), np.zeros(1), noise=0.0)
