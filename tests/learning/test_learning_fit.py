"""Fits as a whole: what they learn, why they stop, and what they leave behind."""

import io
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from fits import fitted, schema_of, two_branches

from mdncli.columns.dataset import Dataset
from mdncli.columns.features import CategoryFeature
from mdncli.columns.schema import Schema, measure_targets
from mdncli.errors import DataError, ParameterError
from mdncli.learning.fit import device_of, fit
from mdncli.modelfile.writer import write_model
from mdncli.settings import Settings

QUICK = Settings(mixtures=2, hidden=(8,), frequencies=1, steps=150)


def test_two_branches_are_learned_nearly_as_well_as_possible() -> None:
    model, _ = fitted(two_branches(), Settings(mixtures=2))
    test = two_branches(5000, seed=1)
    best = math.log(2.0) + math.log(0.1) + 0.5 * math.log(2.0 * math.pi) + 0.5
    assert model.mean_nll(test.x, test.y) < best + 0.06
    mixture = model.mixture(np.array([[2.0]])).components(slice(1, None))
    np.testing.assert_allclose(np.sort(mixture.mu[0, :, 0]), [-2.0, 2.0], atol=0.1)
    np.testing.assert_allclose(mixture.pi[0], 0.5, atol=0.15)
    np.testing.assert_allclose(mixture.sigma[0, :, 0], 0.1, atol=0.03)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    runs = [
        fitted(two_branches(), Settings(ladder=False, epochs=3, seed=seed))[0] for seed in (0, 0, 1)
    ]
    weights = [run.main.networks[0].layers[0][0] for run in runs]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_stop_ends_learning_with_the_best_model_so_far() -> None:
    calls = []
    model, epochs = fitted(
        two_branches(),
        Settings(ladder=False, epochs=50),
        stop=lambda: len(calls) > 20 or bool(calls.append(1)),
    )
    assert model.record.stopped == "interrupted"
    assert 0 < model.record.epochs == len(epochs) < 50
    assert math.isfinite(model.record.nll_train)


@pytest.mark.parametrize("covariance", ["diagonal", "isotropic"])
def test_several_targets(covariance: str) -> None:
    one = two_branches()
    both = np.concatenate([one.y, 100.0 * one.y + 7.0], axis=1)
    settings = Settings(mixtures=3, covariance=covariance, epochs=60)
    model, _ = fitted(Dataset(one.x, both), settings)
    mixture = model.mixture(one.x[:5]).components(slice(1, None))
    assert mixture.sigma.shape == (5, 3, 2)
    ratio = mixture.sigma[:, :, 1] / mixture.sigma[:, :, 0]
    if covariance == "isotropic":
        np.testing.assert_allclose(ratio, both[:, 1].std() / both[:, 0].std(), rtol=1e-6)
    gaussian = np.log(both.std(axis=0)).sum() + math.log(2.0 * math.pi) + 1.0
    assert model.record.nll_valid < gaussian - 1.0


@pytest.mark.parametrize("rows", [10, 11, 30])
@pytest.mark.parametrize("targets", [1, 2])
def test_few_rows_and_more_components_than_rows(rows: int, targets: int) -> None:
    one = two_branches(rows)
    y = np.repeat(one.y, targets, axis=1)
    model, _ = fitted(Dataset(one.x, y), Settings(mixtures=40, epochs=3))
    assert math.isfinite(model.mean_nll(one.x, y))


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_scales_far_from_one(scale: float) -> None:
    rows = two_branches()
    scaled, _ = fitted(Dataset(rows.x * scale, rows.y / scale), Settings(mixtures=2, epochs=60))
    plain, _ = fitted(rows, Settings(mixtures=2, epochs=60))
    shift = scaled.record.nll_valid - plain.record.nll_valid
    assert shift == pytest.approx(-math.log(scale), abs=0.05)


def test_one_outlier_does_not_break_learning() -> None:
    rows = two_branches()
    rows.y[3] = 1e6
    model, _ = fitted(rows, Settings(mixtures=3))
    assert model.record.stopped in ("epochs", "patience")
    assert math.isfinite(model.record.nll_train)


def test_the_baseline_is_a_gaussian_of_its_validation_error() -> None:
    rows = two_branches()
    model, epochs = fitted(rows, Settings(ladder=False, epochs=20, baseline=True))
    assert {epoch.stage for epoch in epochs} == {"", "baseline "}
    gaussian = model.baseline_mixture(rows.x)
    assert gaussian.mu.shape == (600, 1, 1)
    # The branches have opposite signs: the mean is near zero, and its error near |x|.
    assert np.abs(gaussian.mean()).mean() < 0.7
    assert np.sqrt((rows.x**2).mean()) == pytest.approx(gaussian.sigma[0, 0, 0], rel=0.15)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is available")
def test_cuda_is_refused_where_it_is_not_available() -> None:
    with pytest.raises(ParameterError, match="device='cuda': PyTorch finds no CUDA device"):
        fitted(two_branches(), Settings(device="cuda"))


def test_small_tables_stay_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of("auto", 1000).type == "cpu"
    assert device_of("auto", 10**6).type == device_of("auto").type == "cuda"
    assert device_of("cuda", 1000).type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto").type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA is not available")
@pytest.mark.parametrize(
    "parameters",
    [{"ladder": False, "dropout": 0.0}, {"memory": "off"}, {"mixtures": 2, "finish": 40}],
)
def test_cuda_gives_the_same_density(parameters: dict[str, Any]) -> None:
    rows = two_branches()
    nlls = []
    for device in ("cpu", "cuda"):
        model, _ = fitted(rows, Settings(device=device, steps=60, **parameters))
        nlls.append(model.mean_nll(rows.x, rows.y, np.ones(len(rows)), None))
    assert nlls[1] == pytest.approx(nlls[0], abs=1e-4 if "ladder" in parameters else 0.02)


@pytest.mark.parametrize("tail", ["features", "targets"])
def test_heavy_tails_are_learned(tail: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2))
    y = x[:, :1] + 0.3 * rng.normal(size=(600, 1))
    if tail == "features":
        x = np.sinh(4.0 * x)
    else:
        y += 0.1 * rng.standard_cauchy(size=(600, 1))
    model, _ = fitted(Dataset(x, y), Settings())
    assert model.record.faults == 0
    assert model.record.nll_valid < model.record.reference["nll_valid"] - 0.5


def test_a_few_rows_that_lie_apart_are_learned() -> None:
    # Three rows in a hundred are near -8; the first feature says which.
    rng = np.random.default_rng(0)
    x = rng.uniform(-1.0, 1.0, size=(1500, 2))
    apart = x[:, 0] > 0.94
    y = np.where(apart, -8.0, x[:, 1])[:, None] + 0.3 * rng.normal(size=(1500, 1))
    model, _ = fitted(Dataset(x, y), Settings(ladder=False))
    means = model.distribution(np.array([[0.98, 0.0], [0.0, 0.0]])).mean().ravel()
    assert means == pytest.approx([-8.0, 0.0], abs=0.5)


def test_more_features_than_most_tables_have() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 200))
    y = x[:, :1] + 0.3 * rng.normal(size=(400, 1))
    model, _ = fitted(Dataset(x, y), Settings(ladder=False))
    assert model.record.nll_valid < model.record.reference["nll_valid"] + 0.1


class TestThreads:
    """Every thread of a fit uses one core, and a fit leaves the numbers of PyTorch as they were."""

    @staticmethod
    def of_a_new_thread() -> int:
        with ThreadPoolExecutor(1) as executor:
            return executor.submit(torch.get_num_threads).result()

    @pytest.mark.parametrize("threads", [1, 3])
    @pytest.mark.parametrize("fails", [False, True])
    def test_after_a_fit(self, fails: bool, threads: int) -> None:
        before, new_before, inside = torch.get_num_threads(), self.of_a_new_thread(), []

        def progress(_: object) -> None:
            inside.append(torch.get_num_threads())
            if fails:
                raise RuntimeError("the caller's own error")

        rows = two_branches(50)
        schema = schema_of(rows.x, rows.y)
        # Thirteen members learn in three blocks.
        settings = Settings(mixtures=2, members=13, epochs=1, threads=threads)
        if fails:
            with pytest.raises(RuntimeError, match="the caller's own error"):
                fit(rows, schema, settings, progress=progress)
        else:
            fit(rows, schema, settings, progress=progress)
            assert len(inside) == 4
        assert set(inside) == {1}
        assert torch.get_num_threads() == before
        assert self.of_a_new_thread() == new_before

    def test_during_and_after_fits_in_two_threads(self) -> None:
        before, rows = self.of_a_new_thread(), two_branches(50)
        schema = schema_of(rows.x, rows.y)
        # Both are in a fit at once, and the one that began first also ends first.
        both_began, first_ended = threading.Barrier(2, timeout=60), threading.Event()
        # A thread gets its number of threads at its first use of PyTorch.
        both_started = threading.Barrier(2, timeout=60)

        def run(is_first: bool) -> tuple[int, list[int], int]:
            at_start, inside = torch.get_num_threads(), []
            both_started.wait()

            def progress(_: object) -> None:
                if not inside:
                    both_began.wait()
                inside.append(torch.get_num_threads())
                if not is_first:
                    assert first_ended.wait(60)

            fit(rows, schema, Settings(mixtures=2, epochs=1), progress=progress)
            if is_first:
                first_ended.set()
            return at_start, inside, torch.get_num_threads()

        with ThreadPoolExecutor(2) as executor:
            first, second = executor.submit(run, True), executor.submit(run, False)
            assert first.result() == second.result() == (before, [1, 1], before)
        assert self.of_a_new_thread() == before


@pytest.mark.parametrize(
    "settings", [Settings.of("best", members=10, epochs=2), Settings(members=10, epochs=2)]
)
def test_the_model_does_not_depend_on_the_number_of_threads(settings: Settings) -> None:
    files = []
    for threads in (1, 2, 3):
        model, _ = fitted(two_branches(200), replace(settings, threads=threads))
        # Networks of two kinds take part, in two blocks each.
        assert model.settings["ladder"]
        stream = io.BytesIO()
        write_model(replace(model, settings={**model.settings, "threads": 1}), stream)
        files.append(stream.getvalue())
    assert files[0] == files[1] == files[2]


def test_a_baseline_that_was_not_reached_is_left_out() -> None:
    began = []
    model, _ = fitted(
        two_branches(100),
        Settings(ladder=False, epochs=3, baseline=True),
        stop=lambda: len(began) > 3 or bool(began.append(1)),
    )
    assert model.baseline is None
    assert model.record.stopped == "interrupted"


def test_one_group_cannot_be_held_out() -> None:
    rows = two_branches(60)
    with pytest.raises(DataError, match="Leave out group"):
        fitted(Dataset(rows.x, rows.y, groups=np.zeros(60, dtype=np.int64)), QUICK)


def test_other_stands_for_categories_that_were_not_learned() -> None:
    rng = np.random.default_rng(3)
    place = rng.integers(0, 2, 200).astype(float)
    dataset = Dataset(place[:, None], (2.0 * place + 0.1 * rng.normal(size=200))[:, None])
    feature = CategoryFeature.measure_feature("place", ["north", "south"], place)
    targets = measure_targets("data.csv", ["y"], dataset.y, {}, {})
    model, _ = fitted(dataset, QUICK, Schema((feature,), targets))
    north, south, other = model.distribution(np.array([[0.0], [1.0], [feature.other]])).std()
    # The network learns the mean over both categories for `other`: y is near 0 or near 2.
    assert other == pytest.approx(1.0, abs=0.1)
    assert other > 1.5 * max(north, south)
