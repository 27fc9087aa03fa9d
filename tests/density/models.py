"""Small models for tests, fitted once in each process, with the rows that they were fitted to."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from mdncli.columns.dataset import Dataset
from mdncli.columns.features import CategoryFeature, NumberFeature
from mdncli.columns.schema import Schema, measure_targets
from mdncli.columns.transforms import Transform, transform_between
from mdncli.density.model import MixtureDensityNetwork
from mdncli.learning.fit import fit
from mdncli.settings import Settings

Example = tuple[MixtureDensityNetwork, np.ndarray, np.ndarray]


def fitted(
    x: np.ndarray,
    y: np.ndarray,
    features: str,
    targets: str,
    transforms: dict[str, Transform] | None = None,
    **settings: Any,
) -> MixtureDensityNetwork:
    """Return a model of number columns; `features` and `targets` are names divided by spaces."""
    named = zip(features.split(), x.T, strict=True)
    columns = [NumberFeature.measure_feature(name, values) for name, values in named]
    measured = measure_targets("data.csv", targets.split(), y, transforms or {}, {})
    return fit(Dataset(x, y), Schema(tuple(columns), measured), Settings(**settings))


@cache
def inverse_sinusoid() -> Example:
    """Return a model of one feature and one target, with several branches and a baseline."""
    rng = np.random.default_rng(0)
    y = rng.uniform(-10.5, 10.5, (1000, 1))
    x = 7.0 * np.sin(0.75 * y) + 0.5 * y + rng.normal(size=(1000, 1))
    return fitted(x, y, "x", "y", ladder=False, epochs=20, baseline=True), x, y


@cache
def two_targets() -> Example:
    """Return a model of features a, b and c, and targets u and v, with a baseline.

    Only b moves u, and only a moves v.
    """
    rng = np.random.default_rng(7)
    x = rng.normal(size=(400, 3)) * [1.0, 10.0, 0.1] + [0.0, 50.0, 3.0]
    first = x[:, 1] * 0.3 + rng.normal(size=400)
    second = np.sin(x[:, 0]) + 0.1 * rng.normal(size=400)
    y = np.column_stack([first, second])
    return fitted(x, y, "a b c", "u v", mixtures=12, epochs=20, baseline=True), x, y


@cache
def bounded_targets() -> Example:
    """Return a model of one feature and correlated targets: p > 0, 0 < q < 1, and r.

    It has two members and a baseline.
    """
    rng = np.random.default_rng(3)
    x = rng.normal(size=(500, 1))
    shared = rng.normal(size=500)
    first = np.exp(0.5 * x[:, 0] + 0.3 * shared)
    second = 1.0 / (1.0 + np.exp(-shared - 0.5 * rng.normal(size=500)))
    third = x[:, 0] + shared
    y = np.column_stack([first, second, third])
    transforms = {"p": transform_between(0.0, None), "q": transform_between(0.0, 1.0)}
    options = {"mixtures": 3, "members": 2, "covariance": "full", "epochs": 8, "baseline": True}
    return fitted(x, y, "x", "p q r", transforms, **options), x, y


@cache
def with_a_category() -> Example:
    """Return a model of a category and a number, and one target."""
    rng = np.random.default_rng(5)
    level = rng.integers(0, 3, 300).astype(float)
    x = np.column_stack([level, rng.normal(size=300)])
    y = (level + 0.3 * rng.normal(size=300))[:, None]
    category = CategoryFeature.measure_feature("kind", ["red", "green", "blue"], level)
    number = NumberFeature.measure_feature("size", x[:, 1])
    schema = Schema((category, number), measure_targets("data.csv", ["y"], y, {}, {}))
    return fit(Dataset(x, y), schema, Settings(mixtures=2, epochs=5)), x, y


@cache
def twenty_features() -> Example:
    """Return an ensemble that learned little of twenty features; only feature_13 moves y."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 20))
    y = (3.0 * x[:, 13] + rng.normal(size=400))[:, None]
    names = " ".join(f"feature_{i}" for i in range(20))
    return fitted(x, y, names, "y", ladder=False, members=5, epochs=1), x, y


def with_names(
    model: MixtureDensityNetwork, features: list[str], targets: list[str]
) -> MixtureDensityNetwork:
    """Return a model with other names for its columns."""
    schema = model.schema
    renamed = Schema(
        tuple(replace(c, name=name) for c, name in zip(schema.features, features, strict=True)),
        tuple(replace(c, name=name) for c, name in zip(schema.targets, targets, strict=True)),
    )
    return replace(model, schema=renamed)


def with_steps(model: MixtureDensityNetwork, step: float) -> MixtureDensityNetwork:
    """Return a model with its first target recorded in steps."""
    first, *others = model.schema.targets
    targets = (replace(first, step=step), *others)
    return replace(model, schema=replace(model.schema, targets=targets))


def with_constant_head(model: MixtureDensityNetwork, mixtures: int) -> MixtureDensityNetwork:
    """Return a model with this many components that are the same Gaussian everywhere."""
    [network] = model.main.networks
    weight, _ = network.layers[-1]
    architecture = replace(model.main.architecture, mixtures=mixtures)
    width = architecture.head_width(len(model.schema.targets))
    head = np.zeros((width, weight.shape[1])), np.zeros(width)
    simple = replace(network, layers=[*network.layers[:-1], head])
    rung = replace(model.main, architecture=architecture, networks=[simple], weight=1.0)
    return replace(model, rungs=[rung], background=None)
