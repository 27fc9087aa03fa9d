"""A small model with most of what a model can have."""

from dataclasses import replace

import numpy as np

from mdncli.columns.dataset import Dataset
from mdncli.columns.features import CategoryFeature, NumberFeature
from mdncli.columns.schema import Schema, measure_targets
from mdncli.columns.transforms import transform_between
from mdncli.density.model import MixtureDensityNetwork, Origin
from mdncli.density.network import BoostedTrees, Forest, Memory
from mdncli.learning.fit import fit, versions
from mdncli.settings import Settings

REQUEST = {"target": ["y"], "epochs": 4, "lr": 0.02, "baseline": True, "lower": {"y": -9.0}}
DIALECT = {"delimiter": ";", "quote": None, "header": False, "na": ["none"]}


def small_memory(memory: Memory, trees: int) -> Memory:
    """Return a memory with the first trees, since a small file is enough."""
    forest, boosted = memory.forest, memory.boosted
    assert forest is not None
    assert boosted is not None
    nodes = slice(0, int(forest.roots[trees]))
    parts = forest.feature, forest.threshold, forest.left, forest.value
    some = boosted.feature[:trees], boosted.threshold[:trees], boosted.value[:trees]
    return replace(
        memory,
        forest=Forest(forest.roots[:trees], *(part[nodes] for part in parts)),
        boosted=BoostedTrees(*some, boosted.base),
    )


def small_fit() -> MixtureDensityNetwork:
    """Return a model of two rungs, with a category, a bound, weights, a memory and a baseline."""
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=80), rng.integers(0, 2, 80).astype(float)])
    x[::9, 0] = np.nan
    y = rng.normal(size=(80, 1)) + x[:, 1:]
    features = (
        NumberFeature.measure_feature("a", x[:, 0]),
        CategoryFeature.measure_feature("place", ["north", "south"], x[:, 1]),
    )
    targets = measure_targets("t", ["y"], y, {"y": transform_between(-9.0, None)}, {})
    settings = Settings(mixtures=3, hidden=(4,), frequencies=1, epochs=4, baseline=True)
    settings = replace(settings, memory="on")
    model = fit(Dataset(x, y, np.ones(80)), Schema(features, targets, "w"), settings)
    model = replace(model, memory=small_memory(model.memory, 3))
    main = replace(model.main, weight=0.75 * model.main.weight, temperature=1.5)
    other = replace(model.main, name="other", weight=0.25 * model.main.weight, sigma_scale=0.5)
    origin = Origin(REQUEST, DIALECT, 64 * "0", versions())
    return replace(model, rungs=[main, other], origin=origin)
