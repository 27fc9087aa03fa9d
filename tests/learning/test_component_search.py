"""The choice of the number of components."""

import math

import numpy as np
from fits import fitted, two_branches

from mdncli.learning.fit import CANDIDATES
from mdncli.settings import Settings


def test_two_branches_need_more_than_one_component() -> None:
    model, epochs = fitted(two_branches(), Settings(mixtures="auto"))
    tried = model.record.tried
    assert list(tried) == list(CANDIDATES[: len(tried)])
    assert model.main.architecture.mixtures == model.settings["mixtures"] > 1
    assert tried[model.main.architecture.mixtures] < tried[1] - 0.3
    stages = list(dict.fromkeys(epoch.stage for epoch in epochs))
    assert stages == [*(f"trying K = {candidate}: " for candidate in tried), ""]


def test_a_gaussian_needs_one_component() -> None:
    rng = np.random.default_rng(0)
    rows = two_branches()
    rows.y[:] = 0.5 * rows.x + rng.normal(size=rows.y.shape)
    model, _ = fitted(rows, Settings(mixtures="auto"))
    assert model.main.architecture.mixtures == 1
    # Two larger candidates brought no improvement.
    assert len(model.record.tried) == 3


def test_the_time_limit_ends_the_search_with_a_model() -> None:
    settings = Settings(mixtures="auto", steps=100_000, patience=100_000, time_limit=0.5)
    model, _ = fitted(two_branches(), settings)
    assert model.record.stopped == "time"
    assert model.record.tried
    assert math.isfinite(model.record.nll_valid)
