import math

import numpy as np
import pytest
import torch

from mdncli.columns.kinds import Roles
from mdncli.columns.schema import learnable
from mdncli.density.model import ConditionalDensity
from mdncli.errors import DataError, UsageError
from mdncli.learning import loop as descent
from mdncli.learning.fit import fit
from mdncli.learning.splits import Examples
from mdncli.learning.trainer import Epoch
from mdncli.settings import Settings


def learn(
    x: np.ndarray, y: np.ndarray, settings: Settings, **options
) -> tuple[ConditionalDensity, list[Epoch]]:
    roles = Roles([f"x{i}" for i in range(x.shape[1])], [f"y{i}" for i in range(y.shape[1])])
    schema, _ = learnable("data.csv", x, y, roles)
    stop = {name: options.pop(name) for name in ("stop",) if name in options}
    learning, epochs = fit(Examples(x, y, **options), schema, settings, **stop), []
    while True:
        try:
            epochs.append(next(learning))
        except StopIteration as ended:
            return ended.value, epochs


def two_branches(rows: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """y is near x or near -x, with equal chances."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(1.0, 3.0, (rows, 1))
    sign = rng.choice([-1.0, 1.0], (rows, 1))
    return x, sign * x + 0.1 * rng.normal(size=(rows, 1))


def test_learns_two_branches_nearly_as_well_as_possible() -> None:
    density, _ = learn(*two_branches(), Settings(mixtures=2))
    x, y = two_branches(5000, seed=1)
    best = math.log(2.0) + math.log(0.1) + 0.5 * math.log(2.0 * math.pi) + 0.5
    assert density.mean_nll(x, y) < best + 0.06
    mixture = density.mixture(np.array([[2.0]]))
    np.testing.assert_allclose(np.sort(mixture.mu[0, :, 0]), [-2.0, 2.0], atol=0.1)
    np.testing.assert_allclose(mixture.pi[0], 0.5, atol=0.15)
    np.testing.assert_allclose(mixture.sigma[0, :, 0], 0.1, atol=0.03)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    x, y = two_branches()
    runs = [learn(x, y, Settings(epochs=3, seed=seed))[0] for seed in (0, 0, 1)]
    weights = [run.networks[0].layers[0][0] for run in runs]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_the_best_weights_are_restored() -> None:
    x, y = two_branches(80)
    # So many epochs without weight decay that a network overfits these rows.
    settings = Settings(epochs=600, lr=0.05, patience=600, valid=0.3, weight_decay=0.0)
    density, epochs = learn(x, y, settings)
    record = density.record
    [best] = record.best_epochs
    assert best < record.epochs == 600
    assert record.history["nll_valid"][best - 1] == min(record.history["nll_valid"])
    assert record.nll_valid == pytest.approx(min(record.history["nll_valid"]), abs=1e-4)
    assert [epoch.nll_valid for epoch in epochs] == record.history["nll_valid"]


def test_patience_ends_learning() -> None:
    density, _ = learn(*two_branches(60), Settings(epochs=500, patience=5, lr=0.1, valid=0.3))
    assert density.record.stopped == "patience"
    assert density.record.epochs == density.record.best_epochs[0] + 5


def test_a_question_stops_learning_with_the_best_so_far() -> None:
    asked = []
    density, _ = learn(
        *two_branches(),
        Settings(epochs=50),
        stop=lambda: len(asked) > 20 or bool(asked.append(1)),
    )
    assert density.record.stopped == "interrupted"
    assert 0 < density.record.epochs < 50
    assert math.isfinite(density.record.nll_train)


def test_without_held_out_rows_the_last_weights_are_kept() -> None:
    density, epochs = learn(*two_branches(100), Settings(epochs=7, valid=0.0))
    assert density.record.rows_valid == 0
    assert density.record.best_epochs == [7]
    assert math.isnan(density.record.nll_valid)
    assert all(math.isnan(epoch.nll_valid) for epoch in epochs)


def test_nan_returns_to_the_last_good_weights_and_goes_on(monkeypatch) -> None:
    step, calls = descent.AveragedAdam.step, []

    def sometimes_bad(self, raw, gradient, rate):
        calls.append(rate)
        if len(calls) == 10:
            gradient = gradient * math.nan
        return step(self, raw, gradient, rate)

    monkeypatch.setattr(descent.AveragedAdam, "step", sometimes_bad)
    density, epochs = learn(*two_branches(), Settings(epochs=20))
    assert density.record.stopped == "epochs"
    assert density.record.epochs == 19
    assert len(epochs) == 19
    assert math.isfinite(density.record.nll_valid)


def test_three_faults_end_learning_with_the_best_model_before(monkeypatch) -> None:
    step, calls = descent.AveragedAdam.step, []

    def bad_from_some_step_on(self, raw, gradient, rate):
        calls.append(rate)
        return step(self, raw, gradient * (math.nan if len(calls) > 9 else 1.0), rate)

    monkeypatch.setattr(descent.AveragedAdam, "step", bad_from_some_step_on)
    density, _ = learn(*two_branches(), Settings(epochs=20))
    assert density.record.stopped == "faults"
    assert density.record.epochs == 3
    assert math.isfinite(density.record.nll_valid)


def test_when_nothing_is_finite_there_is_no_model(monkeypatch) -> None:
    monkeypatch.setattr(descent.AveragedAdam, "step", lambda *_: False)
    with pytest.raises(DataError, match="NaN or inf"):
        learn(*two_branches(), Settings(epochs=20))


@pytest.mark.parametrize("covariance", ["diagonal", "isotropic"])
def test_several_targets(covariance: str) -> None:
    x, y = two_branches()
    both = np.concatenate([y, 100.0 * y + 7.0], axis=1)
    settings = Settings(mixtures=3, covariance=covariance, epochs=60)
    density, _ = learn(x, both, settings)
    mixture = density.mixture(x[:5])
    assert mixture.sigma.shape == (5, 3, 2)
    ratio = mixture.sigma[:, :, 1] / mixture.sigma[:, :, 0]
    if covariance == "isotropic":
        np.testing.assert_allclose(ratio, both[:, 1].std() / both[:, 0].std(), rtol=1e-6)
    unconditional = np.log(both.std(axis=0)).sum() + math.log(2.0 * math.pi) + 1.0
    assert density.record.nll_valid < unconditional - 1.0


@pytest.mark.parametrize("rows", [10, 11, 30])
def test_few_rows_and_more_components_than_rows(rows: int) -> None:
    x, y = two_branches(rows)
    for targets in (1, 2):
        density, _ = learn(x, np.repeat(y, targets, axis=1), Settings(mixtures=40, epochs=3))
        assert math.isfinite(density.mean_nll(x, np.repeat(y, targets, axis=1)))


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_scales_far_from_one(scale: float) -> None:
    x, y = two_branches()
    density, _ = learn(x * scale, y / scale, Settings(mixtures=2, epochs=60))
    plain, _ = learn(x, y, Settings(mixtures=2, epochs=60))
    shift = density.record.nll_valid - plain.record.nll_valid
    assert shift == pytest.approx(-math.log(scale), abs=0.05)


def test_one_outlier_does_not_break_learning() -> None:
    x, y = two_branches()
    y[3] = 1e6
    density, _ = learn(x, y, Settings(mixtures=3))
    assert density.record.stopped in ("epochs", "patience")
    assert math.isfinite(density.record.nll_train)


def test_the_baseline_is_a_gaussian_of_its_validation_error() -> None:
    x, y = two_branches()
    density, epochs = learn(x, y, Settings(epochs=20, baseline=True))
    assert {epoch.stage for epoch in epochs} == {"", "baseline "}
    gaussian = density.condition_baseline(x)
    assert gaussian.mu.shape == (600, 1, 1)
    # Two branches of opposite sign: the mean is near zero, and its error near |x|.
    assert np.abs(gaussian.mean()).mean() < 0.7
    assert np.sqrt((x**2).mean()) == pytest.approx(gaussian.sigma[0, 0, 0], rel=0.15)


def test_cuda_is_refused_where_there_is_none() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UsageError, match="CUDA"):
        learn(*two_branches(), Settings(device="cuda"))


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    learn(*two_branches(50), Settings(epochs=1, threads=2))
    assert torch.get_num_threads() == before


def test_a_blown_up_loss_is_undone(monkeypatch) -> None:
    step, calls = descent.AveragedAdam.step, []

    def sometimes_far_off(self, raw, gradient, rate):
        calls.append(rate)
        taken = step(self, raw, gradient, rate)
        if len(calls) == 10:
            self.weights.mul_(1e6)
        return taken

    monkeypatch.setattr(descent.AveragedAdam, "step", sometimes_far_off)
    density, _ = learn(*two_branches(), Settings(epochs=20, patience=20))
    assert density.record.faults == 1
    assert density.record.epochs == 19
    assert density.record.nll_valid < 1.5
    # The rate is lower after it.
    assert max(calls[30:]) < 0.31 * Settings().lr


@pytest.mark.parametrize("tail", ["features", "targets"])
def test_heavy_tails_are_learned(tail: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2))
    y = x[:, :1] + 0.3 * rng.normal(size=(600, 1))
    if tail == "features":
        x = np.sinh(4.0 * x)
    else:
        y += 0.1 * rng.standard_cauchy(size=(600, 1))
    density, _ = learn(x, y, Settings())
    assert density.record.faults == 0
    assert density.record.nll_valid < density.record.reference["nll_valid"] - 0.5


def test_more_features_than_most_tables_have() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 200))
    y = x[:, :1] + 0.3 * rng.normal(size=(400, 1))
    density, _ = learn(x, y, Settings())
    assert density.record.nll_valid < density.record.reference["nll_valid"] + 0.1


def test_the_time_limit_ends_the_search_for_k_with_a_model() -> None:
    settings = Settings(mixtures="auto", steps=100_000, patience=100_000, time_limit=0.5)
    density, _ = learn(*two_branches(), settings)
    assert density.record.stopped == "time"
    assert density.record.tried
    assert math.isfinite(density.record.nll_valid)


def test_members_stop_each_at_its_own_best_epoch() -> None:
    density, epochs = learn(*two_branches(120), Settings(members=3, steps=400, lr=0.05))
    record = density.record
    assert len(record.best_epochs) == 3
    assert len(set(record.best_epochs)) > 1
    assert record.rows_valid == 72
    assert record.epochs == len(epochs)
    assert [epoch.nll_valid for epoch in epochs] == record.history["nll_valid"]
    # What each member reached at its best is what is reported for the rows that it held out.
    assert record.nll_valid <= min(record.history["nll_valid"]) + 1e-4
