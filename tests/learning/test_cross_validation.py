"""Cross-validation: what each model learns from, and the rows that it is judged by."""

from typing import Any

import numpy as np
import pytest

from mdncli.columns.dataset import Dataset
from mdncli.columns.features import Column
from mdncli.columns.kinds import Layout, NumberReader
from mdncli.columns.schema import Schema
from mdncli.density.evaluation import Evaluation
from mdncli.density.model import MixtureDensityNetwork
from mdncli.errors import DataError
from mdncli.learning import fit as learning
from mdncli.learning.monitor import Epoch
from mdncli.settings import Settings

QUICK = Settings(mixtures=2, hidden=(4,), frequencies=0, epochs=2)


def table(groups: np.ndarray | None = None, rows: int = 60) -> Dataset:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(rows, 2))
    return Dataset(x, x[:, :1] + 0.1 * rng.normal(size=(rows, 1)), groups=groups)


def validated(
    dataset: Dataset,
    folds: int,
    settings: Settings = QUICK,
    min_sigma: dict[str, float] | None = None,
    **more: Any,
) -> tuple[list[Epoch], list[Evaluation]]:
    """Return the epochs of all folds, and their scores."""
    readers = [NumberReader(f"x{i}") for i in range(dataset.x.shape[1])]
    layout = Layout(readers, ["y"], min_sigma=min_sigma or {})
    epochs: list[Epoch] = []
    scores = learning.cross_validate(
        dataset, layout, settings, folds, source="data.csv", progress=epochs.append, **more
    )
    return epochs, scores


class Observed:
    """What the models of all folds learned from, and the rows that they were judged by."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.learned: list[Dataset] = []
        self.schemas: list[Schema] = []
        self.judged: list[tuple[MixtureDensityNetwork, np.ndarray, np.ndarray]] = []
        fit, evaluate = learning.fit, learning.evaluate

        def observed_fit(dataset: Dataset, schema: Schema, *given: Any, **more: Any) -> Any:
            self.learned.append(dataset)
            self.schemas.append(schema)
            return fit(dataset, schema, *given, **more)

        def observed_evaluate(model: Any, x: np.ndarray, y: np.ndarray, *more: Any) -> Evaluation:
            self.judged.append((model, x, y))
            return evaluate(model, x, y, *more)

        monkeypatch.setattr(learning, "fit", observed_fit)
        monkeypatch.setattr(learning, "evaluate", observed_evaluate)


@pytest.fixture
def observed(monkeypatch: pytest.MonkeyPatch) -> Observed:
    return Observed(monkeypatch)


@pytest.mark.parametrize("folds", [2, 3, 7])
def test_every_row_is_judged_once_by_a_model_that_did_not_see_it(
    observed: Observed, folds: int
) -> None:
    dataset = table()
    epochs, scores = validated(dataset, folds)
    assert len(scores) == len(observed.learned) == folds
    held_out = np.concatenate([y for _, _, y in observed.judged])
    assert sorted(held_out.ravel()) == sorted(dataset.y.ravel())
    for learned, (_, x, y), score in zip(observed.learned, observed.judged, scores, strict=True):
        assert not np.isin(y, learned.y).any()
        assert len(y) + len(learned.y) == 60
        assert abs(len(y) - 60 / folds) < 1.0
        assert score.rows == len(y)
        # The features and the target of a row are still together.
        for row, value in zip(x, y, strict=True):
            assert value == dataset.y[(dataset.x == row).all(axis=1)]
    # Each fold has two epochs, and one that shows the scores of its model.
    assert [epoch.fold for epoch in epochs] == [
        f"fold {fold}" for fold in range(1, folds + 1) for _ in range(3)
    ]


def test_the_scores_are_those_of_the_model_of_each_fold(observed: Observed) -> None:
    _, scores = validated(table(), 3)
    for (model, x, y), score in zip(observed.judged, scores, strict=True):
        assert score.nll == pytest.approx(-model.distribution(x).log_prob(y).mean())
    assert len({id(model) for model, _, _ in observed.judged}) == 3


def test_scales_ranges_and_smallest_sigmas_come_from_the_rows_learned_from(
    observed: Observed,
) -> None:
    dataset = table()
    dataset.x[7, 0], dataset.y[7, 0] = 1e6, 1e6
    validated(dataset, 3, min_sigma={"y": 2.0})
    has_outlier = set()
    for learned, schema in zip(observed.learned, observed.schemas, strict=True):
        [feature, *_], [target] = schema.features, schema.targets
        assert (feature.highest, target.highest) == (learned.x[:, 0].max(), learned.y.max())
        assert target.scale == Column.measure("y", learned.y[:, 0]).scale
        assert target.min_sigma == 2.0
        has_outlier.add(target.highest == 1e6)
    assert has_outlier == {True, False}


def test_a_feature_that_is_constant_outside_a_fold_is_left_out(observed: Observed) -> None:
    dataset = table()
    dataset.x[:, 0] = 5.0
    dataset.x[7, 0] = 6.0
    _, scores = validated(dataset, 3)
    assert sorted(len(schema.features) for schema in observed.schemas) == [1, 2, 2]
    assert len(scores) == 3
    for (_, x, _), schema in zip(observed.judged, observed.schemas, strict=True):
        assert x.shape[1] == len(schema.features)
        assert schema.features[-1].name == "x1"
        np.testing.assert_array_equal(np.isin(x[:, -1], dataset.x[:, 1]), True)


@pytest.mark.parametrize("members", [1, 3])
def test_no_group_is_split(observed: Observed, members: int) -> None:
    rng = np.random.default_rng(2)
    groups = np.concatenate([np.zeros(20, int), rng.integers(1, 9, 40)])
    dataset = table(groups)
    dataset.x[:, 1] = groups + 0.01 * rng.normal(size=60)
    settings = Settings(mixtures=2, hidden=(4,), frequencies=0, epochs=2, members=members)
    _, scores = validated(dataset, 4, settings)
    assert sum(score.rows for score in scores) == 60
    for learned, (_, x, _) in zip(observed.learned, observed.judged, strict=True):
        inside, outside = np.round(learned.x[:, 1]), np.round(x[:, 1])
        assert not np.isin(outside, inside).any()
        # Each fit gets the remaining groups, numbered from 0, so that it does not split them.
        assert (np.unique(inside, return_inverse=True)[1] == learned.groups).all()


def test_the_seed_decides_the_folds(observed: Observed) -> None:
    once, again = (validated(table(), 3)[1] for _ in range(2))
    assert [score.nll for score in once] == [score.nll for score in again]
    validated(table(), 3, Settings(mixtures=2, hidden=(4,), epochs=2, seed=1))
    first, _, _, _, _, _, other, _, _ = (y for _, _, y in observed.judged)
    assert not np.array_equal(np.sort(first, axis=0), np.sort(other, axis=0))


def test_a_fold_that_is_stopped_and_those_after_it_are_left_out(observed: Observed) -> None:
    _, scores = validated(table(), 3, stop=lambda: len(observed.learned) > 1)
    assert len(scores) == 1
    assert len(observed.learned) == 2


@pytest.mark.parametrize(
    ("groups", "folds", "words"),
    [
        (None, 61, "data.csv: cv is 61, but there are only 60 rows"),
        (np.arange(60) % 4, 5, "data.csv: cv is 5, but there are only 4 groups"),
        (np.arange(60) // 55, 2, "data.csv, fold .: 5 rows are too few"),
    ],
)
def test_more_folds_than_the_rows_allow(groups: np.ndarray | None, folds: int, words: str) -> None:
    with pytest.raises(DataError, match=words):
        validated(table(groups), folds)


def test_overfitting_shows_in_the_scores() -> None:
    # The target is pure noise: nothing that is learned of some rows helps with the others.
    rng = np.random.default_rng(4)
    dataset = Dataset(rng.normal(size=(80, 1)), rng.normal(size=(80, 1)))
    settings = Settings(
        mixtures=2, hidden=(32,), steps=400, valid=0.0, dropout=0.0, weight_decay=0.0
    )
    _, scores = validated(dataset, 2, settings)
    entropy = 0.5 * np.log(2.0 * np.pi * np.e)
    assert min(score.nll for score in scores) > entropy
