"""The same rows count for fit, predict, evaluate, sample and plot."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_fits import quick_fit

from mdncli import ConditionalDensity
from mdncli.errors import DataError, MdnWarning

ROWS = 60
BAD, NO_TARGET, NO_WEIGHT, AT_BOUND = 3, [7, 8], [11, 12, 13], 20
COUNTING = np.setdiff1d(np.arange(ROWS), [BAD, *NO_TARGET, *NO_WEIGHT, AT_BOUND])


def table() -> pd.DataFrame:
    """Return rows of which one is bad, one is at a bound, and some have no target or no weight."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=ROWS)
    frame = pd.DataFrame({"x": x, "w": rng.integers(1, 4, ROWS), "y": np.exp(x + rng.random(ROWS))})
    frame["x"] = frame["x"].astype(object)
    frame.loc[BAD, "x"] = "typo"
    frame.loc[NO_TARGET, "y"] = np.nan
    frame.loc[NO_WEIGHT, "w"] = 0
    frame.loc[AT_BOUND, "y"] = 0.0
    return frame


@pytest.fixture(scope="module")
def model() -> ConditionalDensity:
    with pytest.warns(MdnWarning):
        return quick_fit(table(), lower=0, weight="w", on_bad_rows="skip")


def test_a_fit_counts_them(model: ConditionalDensity) -> None:
    assert model.network.record.rows == len(COUNTING)
    seen: list[Any] = []
    with pytest.warns(MdnWarning) as caught:
        again = quick_fit(
            table(),
            lower=0,
            weight=table()["w"].to_numpy(),
            feature="x",
            on_bad_rows="skip",
            prepared=lambda dataset, _: seen.append(dataset),
        )
    assert [str(each.message)[:8] for each in caught] == ["2 of 60 ", "2 of 60 ", "3 of 60 "]
    assert seen[0].left_out == {"without_target": 2, "bad": 2, "zero_weight": 3}
    np.testing.assert_array_equal(seen[0].positions, COUNTING)
    clean = table().loc[COUNTING].assign(x=lambda f: f["x"].astype(float))
    np.testing.assert_array_equal(
        again.condition([[0.5]]).mean(),
        quick_fit(clean, lower=0, weight="w").condition([[0.5]]).mean(),
    )


@pytest.mark.filterwarnings("ignore::mdncli.errors.MdnWarning")
def test_the_same_rows_count_for_every_question(model: ConditionalDensity) -> None:
    frame = table()
    # A value at a bound is a row to score: its density is 0.
    scored = np.sort([*COUNTING, AT_BOUND])
    rows = model.evaluate_rows(frame, on_bad_rows="skip")
    evaluation = model.evaluate(frame, on_bad_rows="skip")
    assert (evaluation.rows, evaluation.rows_beyond_bounds) == (len(scored), 1)
    with_scores = np.flatnonzero(np.isfinite(rows.frame()["y_crps"]))
    np.testing.assert_array_equal(with_scores, scored)
    predicted = model.predict(frame, mean=True, on_bad_rows="skip")
    usable = np.setdiff1d(np.arange(ROWS), [BAD])
    np.testing.assert_array_equal(np.flatnonzero(predicted["y_mean"].notna()), usable)
    dense = model.predict(frame, density=True, on_bad_rows="skip", only=True)
    np.testing.assert_array_equal(
        np.flatnonzero(dense["y_density"].notna()), np.setdiff1d(usable, NO_TARGET)
    )
    drawn = model.sample(frame, on_bad_rows="skip")
    assert drawn["x"].astype(float).tolist() == frame["x"][usable].tolist()
    assert len(model.condition(frame, on_bad_rows="skip")) == len(usable)
    figure = model.plot("residuals", frame, on_bad_rows="skip")
    points = [len(c.get_offsets()) for axes in figure.axes for c in axes.collections]
    assert set(points) == {len(usable) - len(NO_TARGET)}


@pytest.mark.parametrize("verb", ["condition", "predict", "sample", "evaluate"])
def test_a_bad_row_is_an_error_unless_it_is_skipped(model: ConditionalDensity, verb: str) -> None:
    with pytest.raises(DataError, match="row 4, column 'x': 'typo' is not a number"):
        getattr(model, verb)(table())


def test_values_of_rows_stay_with_their_rows_in_long_tables() -> None:
    """Each row of 140,000 is conditioned on its own value, also across the pieces of a table."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=400)
    u = x + rng.normal(size=400)
    small = pd.DataFrame({"x": x, "u": u, "v": u + 0.1 * rng.normal(size=400)})
    model = quick_fit(small, target="u,v", covariance="full", steps=100)
    rows = pd.DataFrame({"x": rng.normal(size=140_000), "u": rng.normal(size=140_000)})
    rows.loc[99_999, "u"] = np.nan
    with pytest.warns(MdnWarning, match="rows have") as caught:
        found = model.predict(rows, mean=True, given=["u"], only=True, on_bad_rows="skip")
    assert str(caught[0].message).startswith("1 of 140000 rows have a cell that cannot be used")
    assert np.isnan(found["v_mean"][99_999])
    for some in (slice(0, 5), slice(131_070, 131_075), slice(139_990, 140_000)):
        part = rows[some]
        expected = model.condition(part[["x"]]).given(u=part["u"]).mean()
        np.testing.assert_allclose(found["v_mean"][some], expected, rtol=1e-12)
