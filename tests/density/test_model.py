"""The answers without PyTorch agree with the network that learned, and hold in any units."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mdncli.columns.kinds import Roles
from mdncli.columns.schema import learnable
from mdncli.density.mixture import generator_of_draws
from mdncli.density.model import ConditionalDensity
from mdncli.density.network import ACTIVATIONS, Architecture, split_head
from mdncli.learning.fit import fit
from mdncli.learning.loss import nll_and_gradient
from mdncli.learning.network import Perceptrons
from mdncli.learning.splits import Examples
from mdncli.modelfile import reader as checkpoint
from mdncli.settings import Settings

MEMBERS, FEATURES, TARGETS, COMPONENTS, ROWS = 2, 4, 3, 5, 50
FLOOR = np.array([1e-4, 0.3, 0.02])


def taught(x: np.ndarray, y: np.ndarray, settings: Settings) -> ConditionalDensity:
    """Return the density that learning ends with."""
    roles = Roles([f"x{i}" for i in range(x.shape[1])], [f"y{i}" for i in range(y.shape[1])])
    schema, _ = learnable("data.csv", x, y, roles)
    learning = fit(Examples(x, y), schema, settings)
    while True:
        try:
            next(learning)
        except StopIteration as ended:
            return ended.value


@pytest.mark.parametrize("covariance", ["diagonal", "isotropic", "full"])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_numpy_and_torch_give_the_same_log_density(activation: str, covariance: str) -> None:
    architecture = Architecture(COMPONENTS, (7, 5), activation, covariance, 2)
    outputs = architecture.head_width(TARGETS)
    generator = torch.Generator().manual_seed(1)
    networks = Perceptrons(MEMBERS, (FEATURES - 1, 1), architecture, outputs, generator)
    # Larger weights than a network starts with, so that every term matters.
    networks.hold([2.0 * p.double() for p in networks.parameters()])
    x = torch.randn(MEMBERS, FEATURES, ROWS, dtype=torch.float64, generator=generator)
    y = torch.randn(MEMBERS, TARGETS, ROWS, dtype=torch.float64, generator=generator)
    floor = torch.tensor(architecture.floor_of_sigmas(FLOOR))
    nll, _ = nll_and_gradient(networks(x), y, architecture, floor)
    for member, network in enumerate(networks.for_answers()):
        mixture = split_head(network(x[member].T.numpy()), architecture, FLOOR)
        answer = mixture.log_prob(y[member].T.numpy())
        np.testing.assert_allclose(answer, -nll[member].numpy(), rtol=0, atol=1e-9)


def table(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(300, 2))
    return x, (x[:, :1] + 0.3 * rng.normal(size=(300, 1)))


def test_units_of_the_target_shift_the_log_density() -> None:
    x, y = table()
    settings = Settings(mixtures=2, epochs=5)
    plain = taught(x, y, settings)
    stretched = taught(x, 40.0 * y + 1e3, settings)
    np.testing.assert_allclose(
        stretched.nll(x, 40.0 * y + 1e3) - plain.nll(x, y), np.log(40.0), atol=1e-3
    )


def test_units_of_the_features_do_not_matter() -> None:
    x, y = table()
    settings = Settings(mixtures=2, epochs=5)
    plain, scaled = taught(x, y, settings), taught(1e6 * x - 5e6, y, settings)
    np.testing.assert_allclose(scaled.nll(1e6 * x - 5e6, y), plain.nll(x, y), atol=1e-3)


def test_a_row_does_not_depend_on_the_rows_around_it(wide: Path) -> None:
    density = checkpoint.load((wide / "model.pt").read_bytes(), "model.pt")
    x = np.random.default_rng(0).normal(size=(100, 3)) * [1.0, 10.0, 0.1] + [0.0, 50.0, 3.0]
    y = np.zeros((100, 2))
    alone = np.concatenate([density.nll(x[i : i + 1], y[i : i + 1]) for i in range(100)])
    np.testing.assert_allclose(density.nll(x, y), alone, rtol=1e-11)


def test_far_outside_the_training_range_the_answer_is_finite(wide: Path) -> None:
    density = checkpoint.load((wide / "model.pt").read_bytes(), "model.pt")
    mixture = density.mixture(np.array([[1e9, -1e9, 1e9], [0.0, 50.0, -1e308]]))
    for values in (mixture.pi, mixture.mu, mixture.sigma):
        assert np.isfinite(values).all()


def test_pieces_of_samples_hold_every_draw_once(fitted: Path, monkeypatch) -> None:
    density = checkpoint.load((fitted / "model.pt").read_bytes(), "model.pt")
    monkeypatch.setattr("mdncli.density.model._DRAWS_AT_ONCE", 7)
    for rows, n in ((5, 3), (2, 20), (0, 4)):
        x = np.linspace(-5.0, 5.0, rows)[:, None]
        pieces = list(density.sample(x, n, generator_of_draws(0)))
        np.testing.assert_array_equal(
            np.concatenate([piece[0] for piece in pieces]), np.repeat(np.arange(rows), n)
        )
        assert sum(len(y) for _, y, _ in pieces) == rows * n


def test_draws_do_not_follow_a_table_of_the_same_seed(fitted: Path) -> None:
    density = checkpoint.load((fitted / "model.pt").read_bytes(), "model.pt")
    rng = np.random.default_rng(0)
    y = rng.uniform(-10.5, 10.5, 1000)
    x = 7.0 * np.sin(0.75 * y) + 0.5 * y
    [(_, draws, _)] = density.sample(x[:, None], 1, generator_of_draws(0))
    middle = np.abs(x) < 3.0
    # Five branches are in reach there; following the table, draws would rank as its rows do.
    assert abs(np.corrcoef(y[middle], draws[middle, 0])[0, 1]) < 0.3


def test_a_model_without_a_baseline_says_so() -> None:
    x, y = table()
    density = taught(x, y, Settings(mixtures=1, epochs=1))
    with pytest.raises(ValueError, match="no baseline"):
        density.condition_baseline(x)


def test_members_are_pooled_into_the_mean_of_their_densities() -> None:
    x, y = table()
    density = taught(x, y, Settings(mixtures=2, members=3, epochs=5))
    assert len(density.networks) == 3
    alone = [mixture.log_prob(y) for mixture in density.condition_members(x)]
    together = density.mixture(x)
    assert together.mu.shape == (300, 6, 1)
    np.testing.assert_allclose(together.pi.sum(axis=1), 1.0)
    np.testing.assert_allclose(together.log_prob(y), np.log(np.exp(alone).mean(axis=0)))


def test_the_unconditional_mixture_is_the_same_at_every_row() -> None:
    x, y = table()
    density = taught(x, y, Settings(mixtures=2, epochs=2))
    mixture = density.condition_reference(x)
    assert mixture.mu.shape == (300, 2, 1)
    assert np.ptp(mixture.mu, axis=0).max() == 0.0
    np.testing.assert_allclose(mixture.pi.sum(axis=1), 1.0)
    # Close to the Gaussian that y is, and in its units.
    gaussian = 0.5 * np.log(2.0 * np.pi * y.var()) + 0.5
    assert -mixture.log_prob(y).mean() == pytest.approx(gaussian, abs=0.05)
