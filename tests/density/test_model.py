"""The model as a whole: units, rows, members, draws and its reference mixtures."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from density.models import (
    bounded_targets,
    fitted,
    inverse_sinusoid,
    two_targets,
)
from scipy.stats import norm

from mdncli.density.distribution import Distribution
from mdncli.density.mixture import generator_of_draws
from mdncli.density.model import MixtureDensityNetwork


def table(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(300, 2))
    return x, (x[:, :1] + 0.3 * rng.normal(size=(300, 1)))


def small(x: np.ndarray, y: np.ndarray, **settings: Any) -> MixtureDensityNetwork:
    return fitted(x, y, "x0 x1", "y0", **settings)


def test_units_of_the_target_shift_the_log_density() -> None:
    x, y = table()
    plain = small(x, y, mixtures=2, epochs=5)
    stretched = small(x, 40.0 * y + 1e3, mixtures=2, epochs=5)
    np.testing.assert_allclose(
        stretched.nll(x, 40.0 * y + 1e3) - plain.nll(x, y), np.log(40.0), atol=1e-3
    )


def test_units_of_the_features_do_not_matter() -> None:
    x, y = table()
    plain = small(x, y, mixtures=2, epochs=5)
    scaled = small(1e6 * x - 5e6, y, mixtures=2, epochs=5)
    np.testing.assert_allclose(scaled.nll(1e6 * x - 5e6, y), plain.nll(x, y), atol=1e-3)


def test_a_row_does_not_depend_on_the_rows_around_it() -> None:
    model, _, _ = two_targets()
    x = np.random.default_rng(0).normal(size=(100, 3)) * [1.0, 10.0, 0.1] + [0.0, 50.0, 3.0]
    y = np.zeros((100, 2))
    alone = np.concatenate([model.nll(x[i : i + 1], y[i : i + 1]) for i in range(100)])
    np.testing.assert_allclose(model.nll(x, y), alone, rtol=1e-11)


def test_far_outside_the_training_range_the_mixture_is_finite() -> None:
    model, _, _ = two_targets()
    mixture = model.mixture(np.array([[1e9, -1e9, 1e9], [0.0, 50.0, -1e308]]))
    for values in (mixture.pi, mixture.mu, mixture.sigma):
        assert np.isfinite(values).all()


def test_the_distribution_has_the_names_and_transforms_of_the_targets() -> None:
    model, x, y = bounded_targets()
    predicted = model.distribution(x)
    assert predicted.names == ["p", "q", "r"]
    assert predicted.transforms == model.schema.transforms
    np.testing.assert_allclose(predicted.log_prob(y), -model.nll(x, y), rtol=1e-12)


@pytest.mark.parametrize("most", [0, 1 << 30])
def test_mixtures_that_are_kept_and_those_that_are_not_give_the_same_answers(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    model, x, y = bounded_targets()
    many, values = np.tile(x, (20, 1)), np.tile(y, (20, 1))
    expected = Distribution(model.mixture(many), model.schema.transforms)
    monkeypatch.setattr("mdncli.density.model._MOST_TERMS_KEPT", most)
    found = model.distribution(many)
    for ask in (
        Distribution.mean,
        Distribution.std,
        lambda d: d.log_prob(values),
        lambda d: d.quantile([0.1, 0.9]),
        lambda d: d.sample(2, seed=1),
        lambda d: d.mixture.mu,
    ):
        np.testing.assert_array_equal(ask(found), ask(expected))


def test_pieces_of_draws_contain_every_draw_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _, _ = inverse_sinusoid()
    monkeypatch.setattr("mdncli.density.model._DRAWS_AT_ONCE", 7)
    for rows, n in ((5, 3), (2, 20), (0, 4)):
        x = np.linspace(-5.0, 5.0, rows)[:, None]
        pieces = list(model.draws(x, n, generator_of_draws(0)))
        np.testing.assert_array_equal(
            np.concatenate([piece.rows for piece in pieces]), np.repeat(np.arange(rows), n)
        )
        assert sum(len(piece.y) for piece in pieces) == rows * n


def test_draws_do_not_follow_a_table_of_the_same_seed() -> None:
    model, _, _ = inverse_sinusoid()
    rng = np.random.default_rng(0)
    y = rng.uniform(-10.5, 10.5, 1000)
    x = 7.0 * np.sin(0.75 * y) + 0.5 * y
    [(_, draws, _)] = model.draws(x[:, None], 1, generator_of_draws(0))
    middle = np.abs(x) < 3.0
    # There are five branches. Draws that followed the table would have the ranks of its rows.
    assert abs(np.corrcoef(y[middle], draws[middle, 0])[0, 1]) < 0.3


def test_a_model_without_a_baseline_says_so() -> None:
    x, y = table()
    model = small(x, y, mixtures=1, epochs=1)
    with pytest.raises(ValueError, match="no baseline"):
        model.baseline_mixture(x)


def test_members_are_pooled_into_the_mean_of_their_densities() -> None:
    x, y = table()
    model = small(x, y, mixtures=2, members=3, background=False, epochs=5)
    assert len(model.main.networks) == 3
    alone = [mixture.log_prob(y) for mixture in model.member_mixtures(x)]
    together = model.mixture(x)
    assert together.mu.shape == (300, 6, 1)
    np.testing.assert_allclose(together.pi.sum(axis=1), 1.0)
    np.testing.assert_allclose(together.log_prob(y), np.log(np.exp(alone).mean(axis=0)))


def test_the_density_is_the_weighted_mean_of_those_of_the_rungs_and_the_background() -> None:
    x, y = table()
    linear, full = {"hidden": (4,), "frequencies": 0, "mixtures": 1}, {"mixtures": 3, "members": 2}
    rungs = [small(x, y, epochs=5, **each).main for each in (linear, full)]
    rungs = [
        replace(rungs[0], weight=0.25, sigma_scale=1.5),
        replace(rungs[1], weight=0.6, temperature=2.0),
    ]
    model = small(x, y, epochs=1, mixtures=1)
    assert model.background is not None
    model = replace(model, rungs=rungs, background=replace(model.background, weight=0.15))
    assert (model.components, model.first_component) == (8, 0)
    assert model.main is rungs[1]
    [target] = model.schema.targets
    sigma = target.scale * model.background.sigma
    expected = 0.15 * norm(target.mean + target.scale * model.background.mu, sigma).pdf(y)[:, 0]
    for rung in rungs:
        alone = replace(model, rungs=[replace(rung, weight=1.0)], background=None)
        expected += rung.weight * np.exp(alone.distribution(x).log_prob(y))
    np.testing.assert_allclose(model.distribution(x).log_prob(y), np.log(expected))
    np.testing.assert_allclose(model.mixture(x).pi[:, 0], 0.15)


def test_calibration_scales_sigma_and_flattens_pi() -> None:
    x, y = table()
    model = small(x, y, mixtures=3, epochs=5, background=False, calibrate=False)
    calibrated = replace(model.main, sigma_scale=1.5, temperature=2.0)
    plain, changed = model.mixture(x), replace(model, rungs=[calibrated]).mixture(x)
    smallest = model.schema.target_scales * model.schema.min_sigma
    above = [np.sqrt(each.sigma**2 - smallest**2) for each in (plain, changed)]
    np.testing.assert_allclose(above[1], 1.5 * above[0], rtol=1e-6)
    np.testing.assert_array_equal(changed.mu, plain.mu)
    roots = np.sqrt(plain.pi)
    np.testing.assert_allclose(changed.pi, roots / roots.sum(axis=1, keepdims=True), rtol=1e-6)


def test_the_marginal_reference_is_the_same_at_every_row() -> None:
    x, y = table()
    model = small(x, y, mixtures=2, epochs=2)
    mixture = model.reference_mixture(x)
    assert mixture.mu.shape == (300, 2, 1)
    assert np.ptp(mixture.mu, axis=0).max() == 0.0
    np.testing.assert_allclose(mixture.pi.sum(axis=1), 1.0)
    # It is close to the Gaussian that y follows, in the units of y.
    gaussian = 0.5 * np.log(2.0 * np.pi * y.var()) + 0.5
    assert -mixture.log_prob(y).mean() == pytest.approx(gaussian, abs=0.05)


def test_the_mean_nll_is_weighted() -> None:
    model, x, y = inverse_sinusoid()
    weights = np.random.default_rng(0).random(len(x))
    expected = float(np.average(model.nll(x, y), weights=weights))
    assert model.mean_nll(x, y, weights) == pytest.approx(expected)
    assert np.isnan(model.mean_nll(x[:0], y[:0]))
