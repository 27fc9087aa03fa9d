"""Cross-validation: what each fold learns from, and what it is judged by."""

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

from mdncli.columns.kinds import Roles
from mdncli.columns.schema import learnable
from mdncli.density.evaluation import Evaluation
from mdncli.errors import DataError
from mdncli.learning import fit as crossvalidation
from mdncli.learning.fit import cross_validate
from mdncli.learning.splits import Examples
from mdncli.settings import Settings

QUICK = Settings(mixtures=2, hidden=(4,), frequencies=0, epochs=2)


def ended(learning: Generator) -> tuple[list, Any]:
    """Return what a generator yields, and what it returns."""
    met = []
    while True:
        try:
            met.append(next(learning))
        except StopIteration as end:
            return met, end.value


def table(rows: int = 60, features: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(rows, features))
    return x, x[:, :1] + 0.1 * rng.normal(size=(rows, 1))


def validated(
    examples: Examples, folds: int, settings: Settings = QUICK, **more: Any
) -> tuple[list, list[Evaluation]]:
    features = [f"x{i + 1}" for i in range(examples.x.shape[1])]
    schema, _ = learnable("rows", examples.x, examples.y, Roles(features, ["y"]))
    return ended(cross_validate(examples, schema, settings, folds, **more))


class Watched:
    """What every fold learned from and was judged by."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.learned: list[Examples] = []
        self.schemas: list = []
        self.judged: list[tuple] = []
        fit, evaluate = crossvalidation.fit, crossvalidation.evaluate

        def watched_fit(examples: Examples, schema: Any, *given: Any, **more: Any) -> Generator:
            self.learned.append(examples)
            self.schemas.append(schema)
            return fit(examples, schema, *given, **more)

        def watched_evaluate(model: Any, x: np.ndarray, y: np.ndarray, *more: Any) -> Evaluation:
            self.judged.append((model, x, y))
            return evaluate(model, x, y, *more)

        monkeypatch.setattr(crossvalidation, "fit", watched_fit)
        monkeypatch.setattr(crossvalidation, "evaluate", watched_evaluate)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


@pytest.mark.parametrize("folds", [2, 3, 7])
def test_every_row_is_judged_once_by_a_model_that_did_not_see_it(
    watched: Watched, folds: int
) -> None:
    x, y = table()
    epochs, scores = validated(Examples(x, y), folds)
    assert len(scores) == len(watched.learned) == folds
    held_out = np.concatenate([y for _, _, y in watched.judged])
    assert sorted(held_out.ravel()) == sorted(y.ravel())
    for examples, (_, judged_x, judged_y), score in zip(
        watched.learned, watched.judged, scores, strict=True
    ):
        assert not np.isin(judged_y, examples.y).any()
        assert len(judged_y) + len(examples.y) == 60
        assert abs(len(judged_y) - 60 / folds) < 1.0
        assert score.rows == len(judged_y)
        # Features and targets have stayed together.
        for row, value in zip(judged_x, judged_y, strict=True):
            assert value == y[(x == row).all(axis=1)]
    assert [epoch.fold for epoch in epochs] == [
        f"fold {fold} " for fold in range(1, folds + 1) for _ in range(2)
    ]


def test_the_scores_are_of_each_folds_own_model(watched: Watched) -> None:
    x, y = table()
    _, scores = validated(Examples(x, y), 3)
    for (model, judged_x, judged_y), score in zip(watched.judged, scores, strict=True):
        assert score.nll == pytest.approx(-model.condition(judged_x).log_prob(judged_y).mean())
    assert len({id(model) for model, _, _ in watched.judged}) == 3


def test_scales_ranges_and_floors_come_from_the_rows_learned_from(watched: Watched) -> None:
    x, y = table()
    x[7, 0], y[7, 0] = 1e6, 1e6
    validated(Examples(x, y), 3, min_sigma={"y": 2.0})
    ranges = set()
    for examples, schema in zip(watched.learned, watched.schemas, strict=True):
        [feature, *_], [target] = schema.features, schema.targets
        assert (feature.highest, target.highest) == (examples.x[:, 0].max(), examples.y.max())
        assert target.scale == pytest.approx(examples.y.std())
        assert target.min_sigma == 2.0
        ranges.add(target.highest == 1e6)
    assert ranges == {True, False}


def test_a_feature_that_is_constant_without_the_fold_is_left_out(watched: Watched) -> None:
    x, y = table()
    x[:, 1] = 5.0
    x[7, 1] = 6.0
    _, scores = validated(Examples(x, y), 3)
    assert sorted(len(schema.features) for schema in watched.schemas) == [1, 2, 2]
    assert len(scores) == 3


@pytest.mark.parametrize("members", [1, 3])
def test_no_group_is_on_both_sides(watched: Watched, members: int) -> None:
    x, y = table()
    rng = np.random.default_rng(2)
    groups = np.concatenate([np.zeros(20, int), rng.integers(1, 9, 40)])
    x[:, 1] = groups + 0.01 * rng.normal(size=60)
    settings = Settings(mixtures=2, hidden=(4,), frequencies=0, epochs=2, members=members)
    _, scores = validated(Examples(x, y, groups), 4, settings)
    assert sum(score.rows for score in scores) == 60
    for examples, (_, judged_x, _) in zip(watched.learned, watched.judged, strict=True):
        inside, outside = np.round(examples.x[:, 1]), np.round(judged_x[:, 1])
        assert not np.isin(outside, inside).any()
        # The groups that are left stay together inside the fold as well: numbered from 0.
        assert (np.unique(inside, return_inverse=True)[1] == examples.groups).all()


def test_the_same_seed_gives_the_same_folds(watched: Watched) -> None:
    x, y = table()
    once, again = (validated(Examples(x, y), 3)[1] for _ in range(2))
    assert [score.nll for score in once] == [score.nll for score in again]
    validated(Examples(x, y), 3, Settings(mixtures=2, hidden=(4,), epochs=2, seed=1))
    first, _, _, _, _, _, other, _, _ = (y for _, _, y in watched.judged)
    assert not np.array_equal(np.sort(first, axis=0), np.sort(other, axis=0))


def test_a_fold_that_is_stopped_and_those_after_it_are_left_out(watched: Watched) -> None:
    x, y = table()
    _, scores = validated(Examples(x, y), 3, stop=lambda: len(watched.learned) > 1)
    assert len(scores) == 1
    assert len(watched.learned) == 2


@pytest.mark.parametrize(
    ("groups", "folds", "words"),
    [
        (None, 61, "there are 60 rows only"),
        (np.arange(60) % 4, 5, "there are 4 groups only"),
        (np.arange(60) // 55, 2, "fold . of --cv: 5 rows are too few"),
    ],
)
def test_more_folds_than_the_rows_allow(groups: np.ndarray | None, folds: int, words: str) -> None:
    x, y = table()
    with pytest.raises(DataError, match=words):
        validated(Examples(x, y, groups), folds)


def test_rows_that_can_only_be_learned_by_heart_score_as_they_should() -> None:
    # Pure noise: what was learned of the rows by heart is worth nothing on a fold.
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(80, 1)), rng.normal(size=(80, 1))
    settings = Settings(
        mixtures=2, hidden=(32,), steps=400, valid=0.0, dropout=0.0, weight_decay=0.0
    )
    _, scores = validated(Examples(x, y), 2, settings)
    entropy = 0.5 * np.log(2.0 * np.pi * np.e)
    assert min(score.nll for score in scores) > entropy
