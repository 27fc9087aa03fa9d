"""Learning of rounded targets: the loss, which targets are rounded, and a fit of counts."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm, poisson

import mdncli
from mdncli.columns.schema import rounding_of
from mdncli.columns.transforms import Rounding
from mdncli.density.network import Architecture
from mdncli.errors import DataError, ParameterError
from mdncli.learning.network import (
    BackgroundDensity,
    Cell,
    cell_nll_and_gradient,
    log_normal_between,
    nll_and_gradient,
)

SHAPE = Architecture(3, (4,), "silu", "diagonal", 0)
MIN_SIGMA = torch.tensor([0.02], dtype=torch.float64)
CELLS = [Cell(0.2), Cell(0.2, lowest=-1.0), Cell(0.2, lowest=-1.0, highest=1.4), Cell(0.005)]


def outputs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return outputs of two members at 50 rows, and targets on a grid."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(2, 9, 50, dtype=torch.float64, generator=generator)
    steps = torch.randint(-3, 5, (2, 1, 50), generator=generator)
    return raw, -1.0 + 0.4 * (steps + 3).double()


def background(cell: Cell) -> BackgroundDensity:
    zero, wide = torch.zeros(1, 1).double(), torch.full((1, 1), 2.0).double()
    return BackgroundDensity(np.log(0.05), zero, wide, cell)


def by_scipy(raw: torch.Tensor, y: torch.Tensor, cell: Cell) -> np.ndarray:
    """Return -log (P(cell) / width), (M, N), by differences of SciPy's cdfs."""
    logits, mu, log_scale = np.split(raw.numpy(), 3, axis=1)
    pi = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    sigma = np.sqrt(float(MIN_SIGMA) ** 2 + np.exp(2.0 * log_scale))
    low, high = (end.numpy() for end in cell.ends(y))
    between = norm.cdf(high, mu, sigma) - norm.cdf(low, mu, sigma)
    return -np.log((pi * between).sum(axis=1) / (2.0 * cell.half))


@pytest.mark.parametrize("cell", CELLS)
def test_the_loss_is_that_of_scipy(cell: Cell) -> None:
    raw, y = outputs()
    nll, _ = cell_nll_and_gradient(raw, y, SHAPE, MIN_SIGMA, cell=cell)
    np.testing.assert_allclose(nll.numpy(), by_scipy(raw, y, cell), rtol=1e-7)


@pytest.mark.parametrize("with_background", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_the_gradient_meets_finite_differences(cell: Cell, with_background: bool) -> None:
    raw, y = outputs()
    more = background(cell) if with_background else None

    def loss(values: torch.Tensor) -> torch.Tensor:
        return cell_nll_and_gradient(values, y, SHAPE, MIN_SIGMA, more, cell=cell)[0]

    gradient = cell_nll_and_gradient(raw, y, SHAPE, MIN_SIGMA, more, cell=cell)[1]
    step = 1e-6
    for output in range(9):
        change = torch.zeros_like(raw)
        change[:, output] = step
        expected = (loss(raw + change) - loss(raw - change)) / (2.0 * step)
        torch.testing.assert_close(gradient[:, output], expected, rtol=1e-4, atol=2e-6)


def test_a_small_cell_is_the_density() -> None:
    raw, y = outputs()
    ours = cell_nll_and_gradient(raw, y, SHAPE, MIN_SIGMA, cell=Cell(1e-5))
    theirs = nll_and_gradient(raw, y, SHAPE, MIN_SIGMA)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


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
