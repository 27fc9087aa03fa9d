"""`MixtureDensityRegressor` keeps scikit-learn's conventions and gives the model's answers."""

import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from mdncli import MixtureDensityRegressor, load
from mdncli.settings import Settings

QUICK = {"mixtures": 2, "hidden": (8,), "frequencies": 1, "steps": 30}
N, F, T = 120, 3, 2
KINDS = ("dense", "sparse")


def quick(**more: object) -> MixtureDensityRegressor:
    return MixtureDensityRegressor(**{**QUICK, **more})


RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, F))
Y = X[:, 0] + 0.3 * RNG.normal(size=N)
BOTH = np.column_stack([Y, np.sin(X[:, 1]) + 0.1 * RNG.normal(size=N)])


@pytest.fixture(scope="module")
def one() -> MixtureDensityRegressor:
    return quick().fit(X, Y)


@pytest.fixture(scope="module")
def two() -> MixtureDensityRegressor:
    return quick().fit(X, BOTH)


@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks_pass() -> None:
    # Repeated rows come in a different order than rows with a weight.
    why = "mini-batches are drawn at random"
    expected = {f"check_sample_weight_equivalence_on_{kind}_data": why for kind in KINDS}
    checks = check_estimator(
        quick(steps=10), on_skip=None, on_fail=None, expected_failed_checks=expected
    )
    failed = {c["check_name"]: c["exception"] for c in checks if c["status"] == "failed"}
    assert failed == {}
    statuses = [check["status"] for check in checks]
    # Few checks do not apply, or are expected to fail.
    assert set(statuses) <= {"passed", "skipped", "xfail"}
    assert statuses.count("xfail") <= 2
    assert statuses.count("passed") > 40 > 8 * statuses.count("skipped")


def test_it_is_a_regressor_and_its_score_is_not_r_squared() -> None:
    assert is_regressor(quick())
    tags = quick().__sklearn_tags__()
    assert tags.regressor_tags.poor_score
    assert tags.target_tags.multi_output


def test_parameters_are_the_settings_by_the_same_names() -> None:
    given = set(inspect.signature(MixtureDensityRegressor.__init__).parameters) - {"self"}
    settings = set(Settings.__dataclass_fields__)
    about_targets = {"min_sigma", "lower", "upper", "target_kind", "atom"}
    about_targets |= {"censor_below", "censor_above"}
    assert given - settings == {"preset", "random_state", *about_targets}
    assert settings - given == {"seed"}
    assert quick().get_params()["random_state"] == 0


def test_a_parameter_reaches_learning() -> None:
    reg = quick(members=2, hidden=[4, 3], activation="tanh", min_sigma=0.5, baseline=True)
    model = reg.fit(X, Y).model_
    plain = model.describe()
    assert plain["members"] == 2
    assert (plain["settings"]["mixtures"], plain["settings"]["hidden"]) == (2, [4, 3])
    assert plain["settings"]["activation"] == "tanh"
    assert model.schema.targets[0].min_sigma == 0.5
    assert np.isfinite(plain["nll_baseline"])
    best = MixtureDensityRegressor(preset="best", ladder=False, members=2, epochs=1).fit(X, Y)
    assert best.model_.network.main.architecture.mixtures == 6
    floors = quick(min_sigma={"y2": 0.25}).fit(X, BOTH).model_.schema.targets
    assert floors[1].min_sigma == 0.25
    assert floors[0].min_sigma != 0.25


@pytest.mark.parametrize("bad", [{"mixtures": 0}, {"valid": 1.0}, {"activation": "sine"}])
def test_a_parameter_out_of_range_is_a_value_error(bad: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        quick(**bad).fit(X, Y)


# Answers.


def test_shapes_with_one_target(one: MixtureDensityRegressor) -> None:
    x = X[:7]
    assert one.predict(x).shape == one.predict_var(x).shape == (7,)
    assert one.predict_quantiles(x, [0.1, 0.5, 0.9]).shape == (7, 3)
    assert one.predict_quantiles(x, 0.5).shape == (7, 1)
    assert one.predict_interval(x).shape == one.predict_interval(x, coverage=0.5).shape == (7, 2)
    assert one.sample(x, 5).shape == (7, 5)
    assert one.sample(x).shape == (7, 1)
    assert np.shape(one.score(x, Y[:7])) == ()


def test_several_targets_come_after_the_rows(two: MixtureDensityRegressor) -> None:
    x = X[:7]
    assert two.predict(x).shape == two.predict_var(x).shape == (7, T)
    assert two.predict_quantiles(x, [0.1, 0.5, 0.9]).shape == (7, T, 3)
    assert two.predict_quantiles(x, 0.5).shape == (7, T, 1)
    assert two.predict_interval(x).shape == (7, T, 2)
    assert two.sample(x, 5).shape == (7, T, 5)
    assert np.shape(two.score(x, BOTH[:7])) == ()


def test_a_target_as_a_column_keeps_its_axis(one: MixtureDensityRegressor) -> None:
    column = quick().fit(X, Y[:, None])
    x = X[:7]
    assert column.predict(x).shape == column.predict_var(x).shape == (7, 1)
    assert column.predict_quantiles(x, [0.1, 0.9]).shape == (7, 1, 2)
    assert column.predict_interval(x).shape == (7, 1, 2)
    assert column.sample(x, 5).shape == (7, 1, 5)
    np.testing.assert_array_equal(column.predict(x)[:, 0], one.predict(x))
    assert column.score(x, Y[:7, None]) == one.score(x, Y[:7])


def test_answers_are_those_of_the_model(
    one: MixtureDensityRegressor, two: MixtureDensityRegressor
) -> None:
    for reg, y in ((one, Y), (two, BOTH)):
        given = reg.model_.condition(X)
        np.testing.assert_array_equal(reg.predict(X), given.mean())
        np.testing.assert_array_equal(reg.predict_var(X), given.variance())
        levels = [0.05, 0.5, 0.95]
        quantiles = reg.predict_quantiles(X, levels)
        np.testing.assert_array_equal(quantiles, given.quantile(levels))
        np.testing.assert_allclose(reg.predict_interval(X), quantiles[..., [0, 2]], rtol=1e-12)
        assert reg.score(X, y) == given.log_prob(y).mean()
        assert reg.score(X, y) == pytest.approx(-reg.model_.evaluate(X, y).nll)
        np.testing.assert_array_equal(reg.condition(X).mode(), given.mode())


def test_samples_follow_the_seed_and_the_density(one: MixtureDensityRegressor) -> None:
    drawn = one.sample(X[:5], 4000)
    np.testing.assert_array_equal(drawn, one.sample(X[:5], 4000, seed=0))
    assert (drawn != one.sample(X[:5], 4000, seed=1)).all()
    error = np.sqrt(one.predict_var(X[:5]) / 4000)
    assert (abs(drawn.mean(axis=1) - one.predict(X[:5])) < 5.0 * error).all()


def test_it_learns_the_density() -> None:
    # A network of 8 units may start badly; these seeds do not.
    reg = quick(steps=200, mixtures=1, random_state=3).fit(X, Y)
    least = np.log(0.3) + 0.5 * np.log(2.0 * np.pi * np.e)
    assert reg.score(X, Y) > -least - 0.3
    assert np.corrcoef(reg.predict(X), X[:, 0])[0, 1] > 0.95
    assert reg.score(X, Y) > reg.score(X, Y + 1.0)


# Seeds, and tools of scikit-learn.


def test_the_random_state_decides_everything(one: MixtureDensityRegressor) -> None:
    first = one.predict(X)
    np.testing.assert_array_equal(quick(random_state=0).fit(X, Y).predict(X), first)
    assert (quick(random_state=1).fit(X, Y).predict(X) != first).any()
    by_state = [quick(random_state=np.random.RandomState(3)).fit(X, Y).predict(X) for _ in "ab"]
    np.testing.assert_array_equal(*by_state)
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    again = clone(one).fit(X, Y)
    np.testing.assert_array_equal(again.predict(X), first)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    # A second fit starts anew.
    np.testing.assert_array_equal(again.fit(X, Y).predict(X), first)


def test_a_clone_has_the_parameters_and_nothing_learned(one: MixtureDensityRegressor) -> None:
    copy = clone(one)
    assert copy.get_params() == one.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(X)


def test_a_pickle_answers_the_same(two: MixtureDensityRegressor) -> None:
    copy = pickle.loads(pickle.dumps(two))
    np.testing.assert_array_equal(copy.predict_quantiles(X, 0.9), two.predict_quantiles(X, 0.9))


def test_it_works_in_a_pipeline_a_search_and_a_cross_validation() -> None:
    pipeline = make_pipeline(StandardScaler(), quick())
    search = GridSearchCV(pipeline, {"mixturedensityregressor__mixtures": [1, 3]}, cv=2)
    search.fit(X, Y)
    assert search.best_params_["mixturedensityregressor__mixtures"] in (1, 3)
    assert search.predict(X).shape == (N,)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    held_out = cross_val_score(quick(steps=100), X, Y, cv=3)
    shuffled = cross_val_score(quick(steps=100), X, np.random.default_rng(1).permutation(Y), cv=3)
    assert held_out.shape == (3,)
    assert held_out.min() > shuffled.max()


# Tables.


def test_names_of_a_data_frame_are_kept(tmp_path: Path) -> None:
    frame = pd.DataFrame(X, columns=["b", "a", "c"])
    reg = quick().fit(frame, pd.Series(Y, name="price"))
    assert reg.feature_names_in_.tolist() == ["b", "a", "c"]
    assert reg.n_features_in_ == 3
    assert reg.model_.schema.feature_names == ["b", "a", "c"]
    assert reg.model_.schema.target_names == ["price"]
    np.testing.assert_array_equal(reg.predict(frame), quick().fit(X, Y).predict(X))
    with pytest.raises(ValueError, match="feature names"):
        reg.predict(frame[["a", "b", "c"]])
    # The commands know the names of the columns that Python learned from.
    reg.model_.save(tmp_path / "model.pt")
    by_name = load(tmp_path / "model.pt").condition(frame[["a", "b", "c"]])
    np.testing.assert_allclose(by_name.mean(), reg.predict(frame))
    two = quick().fit(frame, pd.DataFrame(BOTH, columns=["u", "v"]))
    assert two.model_.schema.target_names == ["u", "v"]
    assert two.predict(frame).shape == (N, T)


def test_arrays_have_names_too(one: MixtureDensityRegressor, two: MixtureDensityRegressor) -> None:
    assert one.model_.schema.feature_names == ["x1", "x2", "x3"]
    assert one.model_.schema.target_names == ["y"]
    assert two.model_.schema.target_names == ["y1", "y2"]
    assert not hasattr(one, "feature_names_in_")


@pytest.mark.filterwarnings("ignore:.*because it is constant")
def test_a_constant_feature_is_left_out(one: MixtureDensityRegressor) -> None:
    with_constant = np.column_stack([X[:, 0], np.full(N, 4.0), X[:, 1:]])
    reg = quick().fit(with_constant, Y)
    assert reg.n_features_in_ == 4
    np.testing.assert_array_equal(reg.predict(with_constant), one.predict(X))
    elsewhere = with_constant + np.array([0.0, 9.0, 0.0, 0.0])
    np.testing.assert_array_equal(reg.predict(elsewhere), one.predict(X))


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (X[:9], Y[:9], "n_samples=9"),
        (X, np.full(N, 2.0), "the target 'y' is 2 in every row"),
        (np.ones((N, 1)), Y, "every feature is constant"),
        (np.where(np.arange(N)[:, None] == 5, np.nan, X), Y, "NaN"),
        (X, Y[:-1], "inconsistent"),
    ],
)
def test_rows_that_cannot_be_learned_from(x: np.ndarray, y: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        quick().fit(x, y)


def test_rows_that_cannot_be_answered(one: MixtureDensityRegressor) -> None:
    with pytest.raises(ValueError, match="features"):
        one.predict(X[:, :2])
    with pytest.raises(ValueError, match="NaN"):
        one.sample(np.full((1, F), np.nan))
    for wrong in (0.0, 1.0, 90.0):
        with pytest.raises(ValueError, match="coverage"):
            one.predict_interval(X, coverage=wrong)
    with pytest.raises(ValueError):  # noqa: PT011 - any will do
        one.score(X, BOTH)


WITHOUT = """
import sys
sys.modules["sklearn"] = None
import mdncli
model = mdncli.load("model.pt")
print(model.condition(mdncli.read_table("data.csv")).mean().shape)
try:
    mdncli.MixtureDensityRegressor
except ImportError as error:
    print(error)
from mdncli.commands.app import run
sys.argv = ["mdn", "predict", "model.pt", "data.csv", "--only"]
assert run() == 0
"""


def test_without_scikit_learn_the_extra_is_named_and_the_rest_works(fitted: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=fitted, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    shape, said, *answers = done.stdout.splitlines()
    assert shape == "(1000,)"
    assert "needs scikit-learn" in said
    assert "mdncli[sklearn]" in said
    assert len(answers) == 1001


@pytest.mark.filterwarnings("ignore:.*a weight of 0")
def test_weights_count_in_learning_and_in_the_score() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 1))
    y = np.where(rng.random(400) < 0.5, 3.0, -3.0) + 0.1 * rng.normal(size=400)
    weights = np.where(y > 0.0, 3.0, 1.0)
    reg = quick(steps=200).fit(x, y, sample_weight=weights)
    # Three times the weight on the upper half.
    assert reg.condition(x[:1]).cdf(0.0)[0] == pytest.approx(0.25, abs=0.06)
    by_row = reg.condition(x).log_prob(y)
    expected = np.average(by_row, weights=weights)
    assert reg.score(x, y, sample_weight=weights) == pytest.approx(expected)
    upper = quick(steps=200).fit(x, y, sample_weight=(y > 0.0).astype(float))
    assert upper.model_.network.record.rows == int((y > 0.0).sum())
    for bad in (-weights, weights[:5], np.zeros(400)):
        with pytest.raises(ValueError, match="sample_weight"):
            quick().fit(x, y, sample_weight=bad)
