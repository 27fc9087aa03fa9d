"""The background: no row costs much more than under the marginal, and outliers spoil little."""

import itertools
import math
from functools import cache

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from fits import fitted, schema_of, two_branches
from hypothesis import given, settings
from hypothesis import strategies as st

from mdncli.columns.dataset import Dataset
from mdncli.columns.transforms import transform_between
from mdncli.density.distribution import Distribution
from mdncli.density.model import MixtureDensityNetwork
from mdncli.settings import Settings

ROWS = 300


@cache
def narrow() -> tuple[MixtureDensityNetwork, Dataset]:
    """Return a model that knows two targets nearly exactly, and its rows."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 1))
    y = np.column_stack([x, 100.0 - 30.0 * x]) + 0.01 * rng.normal(size=(ROWS, 2))
    model, _ = fitted(Dataset(x, y), Settings(mixtures=1, steps=200))
    return model, Dataset(x, y)


@given(
    at=st.floats(-1e3, 1e3),
    distance=st.tuples(*[st.floats(1.5, 1e3) | st.floats(-1e3, -1.5)] * 2),
)
@settings(max_examples=100, deadline=None)
def test_no_far_row_costs_more_than_under_the_marginal_and_a_constant(
    at: float, distance: tuple[float, float]
) -> None:
    model, dataset = narrow()
    mean, std = dataset.y.mean(axis=0), dataset.y.std(axis=0)
    y = mean + std * np.array(distance)
    cost = -model.distribution(np.array([[at]])).log_prob(y[None])[0]
    marginal = -scipy.stats.norm(mean, std).logpdf(y).sum()
    assert cost <= marginal + math.log(ROWS / 2.0 + 1.0)


@given(at=st.floats(-1e3, 1e3), distance=st.tuples(*[st.floats(-1e3, 1e3)] * 2))
@settings(max_examples=100, deadline=None)
def test_no_row_costs_more_than_under_a_gaussian_of_twice_the_width_and_a_constant(
    at: float, distance: tuple[float, float]
) -> None:
    model, dataset = narrow()
    mean, std = dataset.y.mean(axis=0), dataset.y.std(axis=0)
    y = mean + std * np.array(distance)
    cost = -model.distribution(np.array([[at]])).log_prob(y[None])[0]
    broad = -scipy.stats.norm(mean, 2.0 * std).logpdf(y).sum()
    assert cost <= broad + math.log(ROWS / 2.0 + 1.0) + 1e-6 * abs(broad)


def test_without_a_background_a_far_row_costs_much_more() -> None:
    _, dataset = narrow()
    model, _ = fitted(dataset, Settings(mixtures=1, steps=200, background=False))
    assert model.background is None
    assert (model.components, model.first_component) == (1, 1)
    far = dataset.y[:1] + 2.0 * dataset.y.std(axis=0)
    with_background, _ = narrow()
    assert (with_background.components, with_background.first_component) == (2, 0)
    assert model.nll(dataset.x[:1], far)[0] > with_background.nll(dataset.x[:1], far)[0] + 50.0


@pytest.mark.parametrize(
    ("bounds", "ends"),
    [
        ((None, None), [-60.0, -5.0, 0.0, 5.0, 60.0]),
        # The background is broad in log(y + 5).
        ((-5.0, None), [-5.0, 0.0, 5.0, 60.0, 1e4, 1e8]),
        ((-5.0, 5.0), [-5.0, 0.0, 5.0]),
    ],
)
def test_the_density_with_a_background_integrates_to_one(
    bounds: tuple[float | None, float | None], ends: list[float]
) -> None:
    rows = two_branches(200)
    schema = schema_of(rows.x, rows.y, {"y0": transform_between(*bounds)})
    model, _ = fitted(rows, Settings(mixtures=2, steps=50), schema)
    for at in (-3.0, 2.0):
        predicted = model.distribution(np.array([[at]]))

        def density(t: float, predicted: Distribution = predicted) -> float:
            return float(np.exp(predicted.log_prob(np.array([[t]]))[0]))

        total = sum(
            scipy.integrate.quad(density, low, high, limit=500)[0]
            for low, high in itertools.pairwise(ends)
        )
        assert total == pytest.approx(1.0, abs=1e-6)


def test_conditioning_keeps_the_numbers_of_the_components() -> None:
    model, dataset = narrow()
    joint = model.distribution(dataset.x[:4])
    left = joint.given({"y0": dataset.y[:4, 0]})
    assert joint.first_component == left.first_component == 0
    # Where the known target is far from what the network expects, the background takes over.
    far = joint.given({"y0": dataset.y[:4, 0] + 10.0})
    assert (left.mixture.pi[:, 0] < 0.1).all()
    assert (far.mixture.pi[:, 0] > 0.999).all()
    _, target = model.schema.targets
    assert model.background is not None
    expected = target.mean + target.scale * model.background.mu[1]
    np.testing.assert_allclose(far.mean(), expected, rtol=1e-3)


def test_the_background_is_as_heavy_as_outliers_are_frequent() -> None:
    rows = two_branches(600)
    plain, _ = fitted(rows, Settings(mixtures=2, steps=200))
    assert plain.background is not None
    assert plain.background.weight == pytest.approx(2.0 / (540.0 + 2.0))
    rng = np.random.default_rng(1)
    outlier = rng.random(600) < 0.1
    rows.y[outlier] = rng.normal(0.0, 4.0, (int(outlier.sum()), 1))
    spoiled, _ = fitted(rows, Settings(mixtures=2, steps=200))
    assert spoiled.background is not None
    assert spoiled.background.weight > 0.03


# Outliers and markers of missing values.


def curve() -> Dataset:
    rng = np.random.default_rng(0)
    x = rng.uniform(-2.0, 2.0, (600, 1))
    return Dataset(x, np.sin(2.0 * x) + 0.2 * rng.normal(size=(600, 1)))


@cache
def scores(kind: str) -> tuple[float, float]:
    """Return the NLL on fresh clean rows, and the mean width of intervals of 90%."""
    rows = curve()
    if kind == "one":
        rows.y[5] = 1e6
    elif kind == "marker":
        rows.y[::50] = -9999.0
    model, _ = fitted(rows, Settings(steps=100))
    fresh = curve()
    clean = np.arange(600) % 50 != 0
    clean[5] = False
    width = np.diff(model.distribution(fresh.x[clean]).interval(0.9))
    return model.mean_nll(fresh.x[clean], fresh.y[clean]), float(width.mean())


@pytest.mark.parametrize("kind", ["one", "marker"])
def test_values_far_from_all_others_spoil_little(kind: str) -> None:
    (nll, width), (spoiled_nll, spoiled_width) = scores("clean"), scores(kind)
    assert spoiled_nll < nll + 0.15
    assert spoiled_width < 1.3 * width
