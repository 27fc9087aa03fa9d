"""What values stand for in learning: the loss, which targets are rounded, and a fit of counts."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm, poisson

import mdncli
from mdncli.columns.discrete import Rounding, rounding_of
from mdncli.density.network import Architecture
from mdncli.errors import DataError, ParameterError
from mdncli.learning.network import (
    BackgroundDensity,
    cell_nll_and_gradient,
    log_normal_between,
    nll_and_gradient,
    wrapped_nll_and_gradient,
)

Loss = Callable[[torch.Tensor], torch.Tensor]
SHAPE = Architecture(3, (4,), "silu", "diagonal", 0)
MIN_SIGMA = torch.tensor([0.02], dtype=torch.float64)
INF = float("inf")


def outputs(seed: int = 0) -> torch.Tensor:
    """Return outputs of two members at 50 rows."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 9, 50, dtype=torch.float64, generator=generator)


def ends_of(kind: str, seed: int = 1) -> torch.Tensor:
    """Return what 50 values of two members stand for, (2, 2, 50)."""
    generator = torch.Generator().manual_seed(seed)
    low = 2.0 * torch.randn(2, 50, dtype=torch.float64, generator=generator)
    width = {"wide": 0.4, "narrow": 0.01, "points": 0.0}.get(kind, 0.5)
    high = low + width
    if kind in ("mixed", "tails"):
        below, above = torch.arange(50) % 3 == 0, torch.arange(50) % 3 == 1
        low, high = torch.where(below, -INF, low), torch.where(above, INF, high)
    if kind == "mixed":
        point = torch.arange(50) % 3 == 2
        high = torch.where(point, low, high)
    return torch.stack([low, high], dim=1)


def background() -> BackgroundDensity:
    zero, wide = torch.zeros(1, 1).double(), torch.full((1, 1), 2.0).double()
    return BackgroundDensity(np.log(0.05), zero, wide)


def by_scipy(raw: torch.Tensor, ends: torch.Tensor) -> np.ndarray:
    """Return -log P or -log p, (M, N), by differences of SciPy's cdfs and its densities."""
    logits, mu, log_scale = np.split(raw.numpy(), 3, axis=1)
    pi = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    sigma = np.sqrt(float(MIN_SIGMA) ** 2 + np.exp(2.0 * log_scale))
    low, high = ends[:, :1].numpy(), ends[:, 1:].numpy()
    between = norm.cdf(high, mu, sigma) - norm.cdf(low, mu, sigma)
    density = norm.pdf(np.where(low == high, low, 0.0), mu, sigma)
    return -np.log((pi * np.where(low == high, density, between)).sum(axis=1))


KINDS = ["wide", "narrow", "points", "tails", "mixed"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_that_of_scipy(kind: str) -> None:
    raw, ends = outputs(), ends_of(kind)
    nll, _ = cell_nll_and_gradient(raw, ends, SHAPE, MIN_SIGMA)
    np.testing.assert_allclose(nll.numpy(), by_scipy(raw, ends), rtol=1e-7)


def finite_differences(loss: Loss, raw: torch.Tensor, output: int) -> torch.Tensor:
    """Return the slope of the loss with respect to one output, (M, N)."""
    step = 1e-6
    change = torch.zeros_like(raw)
    change[:, output] = step
    return (loss(raw + change) - loss(raw - change)) / (2.0 * step)


@pytest.mark.parametrize("with_background", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_meets_finite_differences(kind: str, with_background: bool) -> None:
    raw, ends = outputs(), ends_of(kind)
    more = background() if with_background else None

    def loss(values: torch.Tensor) -> torch.Tensor:
        return cell_nll_and_gradient(values, ends, SHAPE, MIN_SIGMA, more)[0]

    gradient = cell_nll_and_gradient(raw, ends, SHAPE, MIN_SIGMA, more)[1]
    for output in range(9):
        expected = finite_differences(loss, raw, output)
        torch.testing.assert_close(gradient[:, output], expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("with_background", [False, True])
def test_points_have_the_loss_and_the_gradient_of_a_density(with_background: bool) -> None:
    raw, ends = outputs(), ends_of("points")
    more = background() if with_background else None
    ours = cell_nll_and_gradient(raw, ends, SHAPE, MIN_SIGMA, more)
    theirs = nll_and_gradient(raw, ends[:, :1], SHAPE, MIN_SIGMA, more)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_a_small_cell_is_the_density() -> None:
    raw, ends = outputs(), ends_of("points")
    width = torch.tensor([-1e-5, 1e-5]).double()[:, None]
    nll, gradient = cell_nll_and_gradient(raw, ends + width, SHAPE, MIN_SIGMA)
    points = cell_nll_and_gradient(raw, ends, SHAPE, MIN_SIGMA)
    torch.testing.assert_close(nll + np.log(2e-5), points[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradient, points[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("with_background", [False, True])
def test_the_loss_of_angles_and_its_gradient(with_background: bool) -> None:
    raw, ends, period = outputs(), ends_of("points"), 3.0
    more = replace(background(), period=period) if with_background else None

    def loss(values: torch.Tensor) -> torch.Tensor:
        return wrapped_nll_and_gradient(values, ends, SHAPE, MIN_SIGMA, more, period=period)[0]

    # Scales that are small beside the period, as `Schema.max_sigma` sees to in a model.
    raw[:, 6:] -= 1.5
    logits, mu, log_scale = np.split(raw.numpy(), 3, axis=1)
    pi = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    sigma = np.sqrt(float(MIN_SIGMA) ** 2 + np.exp(2.0 * log_scale))
    turns = period * np.arange(-40, 41)[:, None, None, None]
    density = (pi * norm.pdf(ends[:, :1].numpy() + turns, mu, sigma).sum(axis=0)).sum(axis=1)
    if with_background:
        broad = norm.pdf(ends[:, 0].numpy() + turns[..., 0], 0.0, 2.0).sum(axis=0)
        density = 0.95 * density + 0.05 * broad
    np.testing.assert_allclose(loss(raw).numpy(), -np.log(density), rtol=1e-3, atol=2e-3)
    gradient = wrapped_nll_and_gradient(raw, ends, SHAPE, MIN_SIGMA, more, period=period)[1]
    for output in range(9):
        expected = finite_differences(loss, raw, output)
        torch.testing.assert_close(gradient[:, output], expected, rtol=1e-4, atol=2e-6)


def test_far_cells_stay_finite_in_single_precision() -> None:
    a = torch.tensor([-60.0, 60.0, -1e4, 5.0, -torch.inf])
    b = torch.tensor([-59.5, 60.5, -1e4 + 1.0, 5.0 + 1e-3, -8.0])
    found = log_normal_between(a, b)
    assert torch.isfinite(found).all()
    double = log_normal_between(a.double(), b.double())
    torch.testing.assert_close(found.double(), double, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.repeat(np.arange(6.0), 5), Rounding(1.0, 0.0, lower=0.0)),
        (np.repeat(np.arange(3.0, 9.0), 5), Rounding(1.0, 3.0, lower=0.0)),
        (np.repeat(np.arange(-2.0, 3.0), 5), Rounding(1.0, -2.0)),
        (np.repeat(np.arange(8) * 0.5 + 0.25, 4), Rounding(0.5, 0.25)),
        (np.repeat(np.arange(0.0, 40.0, 2.0), 4), Rounding(2.0, 0.0, lower=0.0)),
        (np.repeat(np.arange(150.0), 4), None),
        (np.repeat([12_000.0, 15_500.0, 90_300.0, 451_700.0], 4), None),
        (np.repeat([0.0, 1.0, 3.0, 299.0], 4), Rounding(1.0, 0.0, lower=0.0)),
        (np.linspace(0.0, 1.0, 50) ** 2, None),
        (np.ones(30), None),
    ],
)
def test_which_targets_are_rounded(values: np.ndarray, expected: Rounding | None) -> None:
    assert rounding_of(values, None, None) == expected


def test_a_bound_must_be_on_the_grid() -> None:
    values = np.repeat(np.arange(6.0), 5)
    assert rounding_of(values, -0.5, None) is None
    with pytest.raises(ParameterError, match=r"lower is -0.5: it must be one of the values"):
        rounding_of(values, -0.5, None, always=True)
    assert rounding_of(values, None, 9.0) == Rounding(1.0, 0.0, 0.0, 9.0)


def test_too_many_steps_are_refused() -> None:
    values = np.repeat([0.0, 1.0, 3.0, 50_000.0], 4)
    assert rounding_of(values, None, None) is None
    with pytest.raises(ParameterError, match=r"the values span 5e\+04 steps of 1, and the limit"):
        rounding_of(values, None, None, always=True)


def counts(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return rows with counts of means from 0.5 to 20, and the means."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.0, 1.0, rows)
    mean = 0.5 * 40.0**x
    return pd.DataFrame({"x": x, "y": rng.poisson(mean)}), mean


@pytest.mark.filterwarnings("ignore::mdncli.errors.MdnWarning")
def test_a_fit_of_counts_gives_their_probabilities() -> None:
    train, _ = counts(2000, 0)
    test, mean = counts(4000, 1)
    model = mdncli.fit(train, ladder=False, steps=600)
    [target] = model.schema.targets
    assert (target.rounded, target.step, target.lower) == (True, 1.0, 0.0)
    predicted = model.condition(test[["x"]])
    values = np.arange(25)
    errors = [predicted.cdf(float(k)) - poisson.cdf(k, mean) for k in values]
    assert np.abs(errors).mean() < 0.015
    nll = -predicted.log_prob(test["y"].to_numpy())
    assert nll.mean() < -poisson.logpmf(test["y"], mean).mean() + 0.03
    assert np.abs(predicted.mean() - mean).mean() < 0.3
    # Counts that were learned as continuous put much of their probability below 0.
    before = mdncli.fit(train, ladder=False, steps=600, target_kind="continuous")
    assert np.abs(before.condition(test[["x"]]).cdf(0.0) - poisson.cdf(0, mean)).mean() > 0.05
    scores = model.evaluate(test)
    np.testing.assert_allclose(scores.nll, nll.mean(), rtol=1e-12)
    assert scores.resolution == 0.0 <= scores.nll
    assert scores.pit_ks[0] < 0.04
    assert 0.88 < scores.coverage[0.9][0] < 0.92
    assert 0.47 < scores.coverage[0.5][0] < 0.53


@pytest.mark.filterwarnings("ignore::mdncli.errors.MdnWarning")
def test_asking_for_a_kind() -> None:
    train, _ = counts(60, 0)
    continuous = pd.DataFrame({"x": train["x"], "y": train["x"] ** 2})
    with pytest.raises(ParameterError, match="was not recorded in steps"):
        mdncli.fit(continuous.iloc[:1].reindex([0] * 30), target_kind="rounded", steps=3)
    with pytest.raises(ParameterError, match="needs a single target, and there are 2"):
        two = train.assign(z=train["y"], w=train["x"])
        mdncli.fit(two, target=["y", "z"], target_kind="rounded", steps=3)
    model = mdncli.fit(train, target_kind="rounded", ladder=False, steps=20)
    rows = train.assign(y=train["y"].where(train.index > 3, -1))
    assert np.isinf(model.evaluate(rows).nll)
    with pytest.raises(DataError, match="at least lower=3"):
        mdncli.fit(train, lower=3, ladder=False, steps=3)
