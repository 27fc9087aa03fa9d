"""Each kind of feature: how its values become what the networks read."""

import datetime

import numpy as np
import pytest

from mdncli.columns import features
from mdncli.columns.features import CategoryFeature, DateFeature, NumberFeature, levels_of
from mdncli.columns.schema import Schema


def category(values: list[float], levels: list[str]) -> CategoryFeature:
    return CategoryFeature.of("c", levels, np.array(values))


def test_a_gap_stands_at_the_median_and_is_flagged() -> None:
    values = np.array([1.0, 5.0, np.nan, 9.0])
    feature = NumberFeature.of("a", values)
    assert feature.gaps
    assert feature.plain_inputs(values)[:, 0].tolist() == [0.0, 0.0, 1.0, 0.0]
    waving = feature.waving_inputs(values)
    assert waving[2] == waving[1]
    whole = NumberFeature.of("a", values[[0, 1, 3]])
    assert not whole.gaps
    assert whole.plain_inputs(values).shape == (4, 0)
    np.testing.assert_array_equal(whole.waving_inputs(values), waving)


def test_one_value_that_is_there_or_not_tells_by_its_gaps() -> None:
    feature = NumberFeature.of("a", np.array([1.0, np.nan, 1.0]))
    assert np.isfinite(feature.waving_inputs(np.array([1.0, np.nan, 7.0]))).all()


def test_a_category_is_a_one_at_its_level() -> None:
    values = [0.0] * 60 + [1.0] * 50 + [2.0] * 2 + [np.nan]
    feature = category(values, ["a", "b", "c"])
    assert feature.rare == [2]
    shown = feature.plain_inputs(np.array([0.0, 1.0, 2.0, 3.0, np.nan]))
    # The rare level and unknown ones are the same: other. The last column is the empty cell.
    np.testing.assert_array_equal(shown, np.eye(5)[[0, 1, 3, 3, 4]])
    assert feature.waving_inputs(np.zeros(3)).shape == (3, 0)
    assert sorted(set(feature.points(7))) == [0.0, 1.0]
    assert feature.column(np.array([1.0, 3.0, np.nan])).to_pylist() == ["b", "(other)", ""]


def test_a_level_needs_some_rows() -> None:
    assert levels_of({"a": 5, "b": 9, "c": 4}, 200) == ["b", "a"]
    assert levels_of({"a": 5, "b": 9, "c": 4}, 60) == ["b", "a", "c"]
    assert levels_of({"a": 1, "b": 2}, 3) == ["b"]
    assert levels_of({"a": 4, "b": 4}, 200) == []
    assert len(levels_of({str(i): 10 for i in range(500)}, 5000)) == 200


def days(*texts: str) -> np.ndarray:
    epoch = datetime.date(1970, 1, 1)
    return np.array([(datetime.date.fromisoformat(text) - epoch).days for text in texts], float)


def test_a_date_has_cycles_where_its_span_warrants() -> None:
    short = DateFeature.of("d", days("2026-01-01", "2026-01-05", "2026-01-09"), format="")
    assert short.plain == 0
    weeks = DateFeature.of("d", days("2026-01-01", "2026-01-05", "2026-03-09"), format="")
    assert weeks.plain == 2
    mondays = weeks.plain_inputs(days("2026-11-16", "2026-11-23", "2026-11-19"))
    np.testing.assert_allclose(mondays[0], mondays[1], atol=1e-9)
    assert abs(mondays[0] - mondays[2]).max() > 0.5
    years = DateFeature.of("d", days("2020-01-01", "2021-01-05", "2026-01-09"), format="")
    assert years.plain == 4
    springs = years.plain_inputs(days("2021-04-01", "2025-04-01", "2021-10-01"))[:, :2]
    np.testing.assert_allclose(springs[0], springs[1], atol=0.05)
    np.testing.assert_allclose(springs[0], -springs[2], atol=0.05)


@pytest.mark.parametrize("form", ["", "%d.%m.%Y"])
def test_days_are_written_as_they_were_read(form: str) -> None:
    feature = DateFeature.of("d", days("2020-01-31", "2024-02-29"), format=form)
    written = feature.column(np.append(days("2020-01-31", "2024-02-29"), np.nan)).to_pylist()
    expected = ["2020-01-31", "2024-02-29"] if not form else ["31.01.2020", "29.02.2024"]
    assert written == [*expected, ""]


def test_the_inputs_come_waving_first() -> None:
    rng = np.random.default_rng(0)
    number = np.where(rng.random(60) < 0.2, np.nan, rng.normal(size=60))
    place = rng.integers(0, 3, 60).astype(float)
    schema = Schema(
        (
            CategoryFeature.of("c", ["a", "b", "c"], place),
            NumberFeature.of("a", number),
            NumberFeature.of("b", rng.normal(size=60)),
        ),
        (),
    )
    inputs = schema.inputs(np.column_stack([place, number, number]))
    assert (schema.waves, schema.plain) == (2, 5)
    assert inputs.shape == (60, 7)
    np.testing.assert_array_equal(inputs[:, 2:5], np.eye(3)[place.astype(int)])
    np.testing.assert_array_equal(inputs[:, 6], np.isnan(number))
    assert schema.categories() == [(2, 5, 6)]


def test_plain_values_bring_every_kind_back() -> None:
    values = np.array([0.0, 1.0, np.nan, 400.0])
    for feature in (
        NumberFeature.of("a", values),
        DateFeature.of("d", values, format="%Y"),
        category([0.0, 1.0, np.nan], ["x", "y"]),
    ):
        assert features.from_plain(features.to_plain(feature)) == feature
