"""Learning of atoms, of censored targets and of angles: how near a small fit comes to the truth."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import norm, vonmises

import mdncli
from mdncli.columns.transforms import Cells
from mdncli.errors import DataError, ParameterError
from mdncli.learning.closed_forms import marginal_mixture

pytestmark = pytest.mark.filterwarnings("ignore::mdncli.errors.MdnWarning")
QUICK = {"ladder": False, "steps": 400}


def test_a_marginal_of_intervals_is_that_of_the_values_behind_them() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(1.0, 2.0, 20_000)
    limit = rng.normal(2.0, 2.0, len(y))
    known = y <= limit
    low = np.minimum(y, limit)
    cells = Cells(low, np.where(known, low, np.inf), np.zeros(len(y)))
    mixture = marginal_mixture(low[:, None], np.ones(len(y)), 1, np.array([1e-4]), rng, cells)
    assert mixture.mu[0, 0, 0] == pytest.approx(1.0, abs=0.1)
    assert mixture.sigma[0, 0, 0] == pytest.approx(2.0, abs=0.1)
    rounded = Cells(np.floor(y), np.floor(y) + 1.0, np.zeros(len(y)))
    mixture = marginal_mixture(y[:, None], np.ones(len(y)), 1, np.array([1e-4]), rng, rounded)
    assert mixture.sigma[0, 0, 0] == pytest.approx(2.0, abs=0.06)


def with_zeros(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.0, 1.0, rows)
    zero = expit(3.0 * (x - 0.5))
    y = np.where(rng.random(rows) < zero, 0.0, np.exp(x + 0.5 * rng.normal(size=rows)))
    return pd.DataFrame({"x": x, "y": y}), zero


def test_zeros_have_their_probability() -> None:
    (train, _), (test, zero) = with_zeros(1500, 0), with_zeros(2000, 1)
    model = mdncli.fit(train, **QUICK)
    [target] = model.schema.targets
    assert (target.atoms, target.closed, target.kind) == ((0.0,), (True, False), "number, atom 0")
    predicted = model.condition(test[["x"]])
    assert np.abs(predicted.cdf(0.0) - zero).mean() < 0.05
    y, x = test["y"].to_numpy(), test["x"].to_numpy()
    with np.errstate(divide="ignore"):
        above = np.log1p(-zero) + norm.logpdf(np.log(y), x, 0.5) - np.log(y)
    true = np.where(y == 0.0, np.log(zero), above)
    scores = model.evaluate(test)
    assert scores.nll < -true.mean() + 0.06
    assert scores.pit_ks[0] < 0.05
    assert 0.87 < scores.coverage[0.9][0] < 0.93
    # Learned as points, the zeros have a density on both sides of them.
    before = mdncli.fit(train, target_kind="continuous", **QUICK).condition(test[["x"]])
    assert np.abs(before.cdf(0.0) - zero).mean() > 2.0 * np.abs(predicted.cdf(0.0) - zero).mean()
    again = mdncli.fit(train, atom=0, **QUICK)
    np.testing.assert_array_equal(again.condition(test[["x"]]).mean(), predicted.mean())


def test_caps_at_both_ends() -> None:
    rng = np.random.default_rng(2)
    x = rng.uniform(0.0, 1.0, 1200)
    frame = pd.DataFrame({"x": x, "y": np.clip(3.0 * x + rng.normal(size=1200), 0.0, 4.0)})
    model = mdncli.fit(frame, **QUICK)
    assert model.schema.targets[0].atoms == (0.0, 4.0)
    predicted = model.condition(np.array([[0.1], [0.5], [0.9]]))
    expected = norm.cdf(0.0, 3.0 * np.array([0.1, 0.5, 0.9]), 1.0)
    np.testing.assert_allclose(predicted.cdf(0.0), expected, atol=0.06)
    assert (predicted.cdf(4.0) == 1.0).all()
    assert ((predicted.mean() > 0.0) & (predicted.mean() < 4.0)).all()


def lifetimes(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.0, 1.0, rows)
    time = rng.exponential(np.exp(2.0 * x))
    return x, time, rng.exponential(1.5 * np.exp(2.0 * x))


def test_a_censored_fit_is_near_one_that_saw_all_times() -> None:
    x, time, until = lifetimes(1500, 0)
    frame = pd.DataFrame({"x": x, "dead": (time <= until) * 1, "time": np.minimum(time, until)})
    fresh, times, _ = lifetimes(2000, 1)
    test = pd.DataFrame({"x": fresh, "time": times})
    model = mdncli.fit(frame, event="dead", **QUICK)
    assert model.schema.event == "dead"
    assert model.schema.feature_names == ["x"]
    # Positive times are learned as logarithms.
    assert model.schema.targets[0].lower == 0.0
    whole = mdncli.fit(pd.DataFrame({"x": x, "time": time}), lower=0, **QUICK)
    naive = mdncli.fit(frame[["x", "time"]], lower=0, **QUICK)
    best = whole.evaluate(test).nll
    assert model.evaluate(test).nll < best + 0.04
    assert naive.evaluate(test).nll > best + 0.08
    scores = model.evaluate(frame)
    assert scores.rows_censored == int((time > until).sum())
    assert np.isnan(scores.by_row.crps[time > until, 0]).all()
    assert np.isfinite(scores.by_row.crps[time <= until, 0]).all()
    predicted = model.condition(frame[["x"]])
    alive = predicted.cdf(frame["time"].to_numpy(), upper=True)
    np.testing.assert_allclose(scores.by_row.nll[time > until], -np.log(alive[time > until]))
    assert scores.pit_ks[0] < 0.06
    assert 0.86 < scores.coverage[0.9][0] < 0.94
    given = mdncli.fit(x, np.minimum(time, until), event=time <= until, **QUICK)
    np.testing.assert_allclose(given.condition(x[:5]).median(), predicted.median()[:5], rtol=1e-6)


def test_events_in_other_words_and_too_few_of_them() -> None:
    x, time, until = lifetimes(80, 0)
    frame = pd.DataFrame({"x": x, "dead": time <= until, "time": np.minimum(time, until)})
    quick = {"ladder": False, "steps": 20}
    words = mdncli.fit(frame, event="dead", baseline=True, **quick)
    digits = mdncli.fit(frame.assign(dead=frame["dead"] * 1), event="dead", **quick)
    assert words.condition([[0.5]]).mean() == digits.condition([[0.5]]).mean()
    assert np.isfinite(words.evaluate(frame).improvement_baseline)
    with pytest.raises(DataError, match="'time' is known in 0 rows, and at least 10 are needed"):
        mdncli.fit(frame.assign(dead=0), event="dead", **quick)
    with pytest.raises(DataError, match="row 4, column 'dead': an event must be 0 or 1"):
        mdncli.fit(frame.assign(dead=frame["dead"].where(frame.index != 3)), event="dead", **quick)


def test_a_periodic_feature_beside_several_targets() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.random(60) for name in ("hour", "u", "v")})
    model = mdncli.fit(frame, target=["u", "v"], period={"hour": 1.0}, ladder=False, steps=3)
    assert model.schema.features[0].kind == "angle"


def test_an_array_of_events_gives_the_model_of_a_column() -> None:
    x, time, until = lifetimes(120, 0)
    known, seen = time <= until, np.minimum(time, until)
    quick = {"ladder": False, "steps": 30}
    array = mdncli.fit(x[:, None], seen, event=known, **quick)
    frame = pd.DataFrame({"x": x, "e": known * 1, "y": seen})
    column = mdncli.fit(frame, event="e", **quick)
    assert (array.schema.event, column.schema.event) == ("", "e")
    one, other = (model.condition(x[:9, None]) for model in (array, column))
    np.testing.assert_array_equal(one.mean(), other.mean())
    scores = array.evaluate(x[:, None], seen, events=known)
    assert scores.nll == column.evaluate(frame).nll
    assert scores.rows_censored == int((~known).sum())
    with pytest.raises(ParameterError, match="event must name a column where valid_file is given"):
        mdncli.fit(frame[["x", "y"]], event=known, valid_file=frame[["x", "y"]], **quick)


def test_rounded_times_with_limits_between_the_values() -> None:
    rng = np.random.default_rng(0)
    x = rng.random(300)
    weeks = np.ceil(rng.exponential(3.0 + 3.0 * x))
    until = rng.uniform(0.0, 12.0, 300)
    known = weeks <= until
    frame = pd.DataFrame({"x": x, "e": known * 1, "y": np.where(known, weeks, until)})
    model = mdncli.fit(frame, event="e", ladder=False, steps=30)
    assert model.schema.targets[0].kind == "number, rounded"
    row = pd.DataFrame({"x": [0.5], "e": [0], "y": [3.6]})
    alive = model.condition([[0.5]]).cdf(3.0, upper=True)
    assert model.evaluate(row).nll == pytest.approx(-np.log(alive[0]))
    capped = mdncli.fit(frame[["x", "y"]].assign(y=weeks), censor_above=4.5, ladder=False, steps=30)
    row = pd.DataFrame({"x": [0.5], "y": [9.0]})
    above = capped.condition([[0.5]]).cdf(4.0, upper=True)
    assert capped.evaluate(row).nll == pytest.approx(-np.log(above[0]))


def test_the_baseline_is_scored_as_evaluate_scores_it() -> None:
    train, *_ = directions(300, 0)
    zeros, _ = with_zeros(300, 0)
    counts = pd.DataFrame({"x": zeros["x"], "y": np.floor(3.0 * zeros["y"])})
    for frame, more in ((train, {"period": {"y": 360}}), (zeros, {}), (counts, {})):
        held_out = frame.iloc[:100]
        model = mdncli.fit(
            frame.iloc[100:], baseline=True, valid_file=held_out, ladder=False, steps=30, **more
        )
        scores = model.evaluate(held_out)
        assert model.network.baseline is not None
        expected = scores.nll + scores.improvement_baseline
        assert model.network.baseline.nll == pytest.approx(expected, abs=1e-3)


def test_the_minimum_sigma_of_an_angle() -> None:
    train, *_ = directions(200, 0)
    model = mdncli.fit(train, period={"y": 360}, min_sigma=20, ladder=False, steps=30)
    assert model.schema.targets[0].min_sigma == 20.0
    assert model.condition([[0.5]]).sigma.min() >= 20.0


def test_an_event_at_the_highest_value_is_refused() -> None:
    x, time, _ = lifetimes(80, 0)
    frame = pd.DataFrame({"x": x, "e": 1, "y": np.floor(np.clip(3 * time, 0, 8))})
    frame.loc[frame.index[frame["y"] == 8.0][0], "e"] = 0
    with pytest.raises(DataError, match="only says that 'y' exceeds 8, and that is its highest"):
        mdncli.fit(frame, event="e", upper=8, ladder=False, steps=3)


def test_predictions_beyond_a_limit_are_about_the_target() -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(0.0, 1.0, 200)
    frame = pd.DataFrame({"x": x, "y": np.minimum(x + rng.normal(size=200), 1.0)})
    model = mdncli.fit(frame, censor_above=1.0, ladder=False, steps=30)
    row = pd.DataFrame({"x": [0.5], "y": [2.0]})
    own = model.predict(row, cdf=True, only=True)["y_cdf"][0]
    assert own == model.predict(row, cdf=True, at_target=2.0, only=True)["y_cdf"][0]


def test_a_value_at_a_bound_suggests_an_atom() -> None:
    frame, _ = with_zeros(80, 0)
    frame = frame.assign(y=frame["y"] + 0.01 * (frame.index > 3))
    with pytest.raises(
        DataError, match="0 is not above lower=0; if that is a possible value, add atom=0"
    ):
        mdncli.fit(frame.assign(y=frame["y"] * (frame.index > 2)), lower=0, steps=3)


def test_detection_limits() -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(0.0, 1.0, 1500)
    y = 2.0 * x + 0.7 * rng.normal(size=1500)
    frame = pd.DataFrame({"x": x, "y": np.clip(y, 0.5, 2.5)})
    model = mdncli.fit(frame, censor_below=0.5, censor_above=2.5, **QUICK)
    assert model.schema.targets[0].kind == "number, censored below 0.5, censored above 2.5"
    predicted = model.condition(np.array([[0.1], [0.5], [0.9]]))
    # Where most values are beyond a limit, only the probability of that is known.
    np.testing.assert_allclose(predicted.mean()[1:], [1.0, 1.8], atol=0.15)
    np.testing.assert_allclose(predicted.std()[1:], 0.7, atol=0.12)
    exact = norm.cdf(0.5, [0.2, 1.0, 1.8], 0.7)
    np.testing.assert_allclose(predicted.cdf(0.5), exact, atol=0.08)
    scores = model.evaluate(frame)
    assert scores.rows_censored == int(((y <= 0.5) | (y >= 2.5)).sum())
    # A value beyond a limit counts as the limit.
    beyond = frame.assign(y=np.where(y <= 0.5, -7.0, frame["y"]))
    assert model.evaluate(beyond).nll == pytest.approx(scores.nll)


def directions(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.0, 1.0, rows)
    mean = 2.5 * np.pi * x
    angle = rng.vonmises(mean, 4.0)
    true = vonmises.logpdf(angle, 4.0, loc=mean) - np.log(180.0 / np.pi)
    frame = pd.DataFrame({"x": x, "y": np.degrees(angle) % 360.0})
    return frame, np.degrees(mean) % 360.0, true


def test_a_direction_is_learned_on_the_circle() -> None:
    (train, *_), (test, mean, true) = directions(1500, 0), directions(2000, 1)
    model = mdncli.fit(train, period={"y": 360}, **QUICK)
    assert model.schema.targets[0].kind == "angle, period 360"
    scores = model.evaluate(test)
    assert scores.nll < -true.mean() + 0.05

    def error(centre: np.ndarray) -> float:
        return float(np.abs((test["y"] - centre + 180.0) % 360.0 - 180.0).mean())

    predicted = model.condition(test[["x"]]).mean()
    assert error(predicted) < 1.1 * error(mean)
    assert scores.rmse[0] < 45.0
    assert scores.pit_ks[0] < 0.05
    assert 0.86 < scores.coverage[0.9][0] < 0.94
    before = mdncli.fit(train, **QUICK).condition(test[["x"]]).mean()
    assert error(before) > 1.3 * error(mean)


def test_a_shifted_circle_gives_the_same_density() -> None:
    train, *_ = directions(400, 0)
    turned = train.assign(y=(train["y"] + 200.0) % 360.0)
    one = mdncli.fit(train, period={"y": 360}, **QUICK)
    other = mdncli.fit(turned, period={"y": 360}, **QUICK)
    x = np.linspace(0.0, 1.0, 9)[:, None]
    away = (other.condition(x).mean() - one.condition(x).mean() - 200.0 + 180.0) % 360.0 - 180.0
    assert np.abs(away).max() < 15.0


def test_what_excludes_each_other() -> None:
    rng = np.random.default_rng(0)
    columns = {"w": rng.random(60), "x": rng.random(60), "e": np.arange(60) % 2}
    frame = pd.DataFrame({**columns, "y": rng.random(60)})
    for message, parameters in (
        ("period and atom exclude each other", {"period": {"y": 2}, "atom": 0.5}),
        ("period and lower exclude each other", {"period": {"y": 2}, "lower": -1}),
        ("period and event exclude each other", {"period": {"y": 2}, "event": "e"}),
        ("atom and target_kind exclude", {"atom": 0.5, "target_kind": "rounded"}),
        ("lower is 0.5 and censor_below is 0.2", {"lower": 0.5, "censor_below": 0.2}),
        ("censor_above is 0.9 and upper is 0.8", {"censor_above": 0.9, "upper": 0.8}),
        ("censor_below is 0.9 and censor_above", {"censor_below": 0.9, "censor_above": 0.2}),
        ("event needs a single target", {"event": "e", "target": ["x", "y"]}),
        ("atom needs a single target", {"atom": 0, "target": ["x", "y"]}),
        ("period needs a single target", {"period": {"y": 2}, "target": ["x", "y"]}),
    ):
        with pytest.raises(ParameterError, match=message):
            mdncli.fit(frame, **{**parameters, "steps": 3})
    with pytest.raises(DataError, match="does not suit an angle"):
        mdncli.fit(frame, period={"y": 2}, memory="on", steps=3)
    with pytest.raises(
        DataError, match=r"row 3, column 'e': an event must be 0 or 1, and it is '2'"
    ):
        mdncli.fit(frame.assign(e=frame["e"].where(frame.index != 2, 2)), event="e", steps=3)
    with pytest.raises(DataError, match="event must be 60 numbers, each of them 0 or 1"):
        mdncli.fit(frame, event=np.full(60, 3), steps=3)
