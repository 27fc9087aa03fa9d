"""Datasets, schemas and fits for the tests of learning."""

from typing import Any

import numpy as np

from mdncli.columns.dataset import Dataset
from mdncli.columns.features import NumberFeature
from mdncli.columns.schema import Schema, measure_targets
from mdncli.columns.transforms import Transform
from mdncli.density.model import MixtureDensityNetwork
from mdncli.learning.fit import fit
from mdncli.learning.monitor import Epoch
from mdncli.settings import Settings


def schema_of(
    x: np.ndarray, y: np.ndarray, transforms: dict[str, Transform] | None = None
) -> Schema:
    """Return the schema of number features x0, x1, … and targets y0, y1, …"""
    features = [NumberFeature.measure_feature(f"x{i}", x[:, i]) for i in range(x.shape[1])]
    names = [f"y{i}" for i in range(y.shape[1])]
    return Schema(tuple(features), measure_targets("data.csv", names, y, transforms or {}, {}))


def fitted(
    dataset: Dataset, settings: Settings, schema: Schema | None = None, **more: Any
) -> tuple[MixtureDensityNetwork, list[Epoch]]:
    """Return the model of a dataset, and the epochs of its networks."""
    shown: list[Epoch] = []
    schema = schema or schema_of(dataset.x, dataset.y)
    model = fit(dataset, schema, settings, progress=shown.append, **more)
    # The last one is about the whole model.
    return model, [epoch for epoch in shown if not epoch.stage.endswith("together: ")]


def two_branches(rows: int = 600, seed: int = 0) -> Dataset:
    """Return rows where y is near x or near -x, with equal chances."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(1.0, 3.0, (rows, 1))
    sign = rng.choice([-1.0, 1.0], (rows, 1))
    return Dataset(x, sign * x + 0.1 * rng.normal(size=(rows, 1)))
