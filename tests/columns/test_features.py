"""Each kind of feature: how its values become the inputs of the networks."""

import datetime
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats

from mdncli.columns.features import (
    CategoryFeature,
    Column,
    DateFeature,
    NumberFeature,
    date_texts,
    days_of_moments,
    feature_from_plain,
    feature_to_plain,
    frequent_levels,
    parsed_dates,
    robust_scale,
    scale_with_heavy_tails,
)
from mdncli.columns.schema import Schema


def category(values: list[float], levels: list[str]) -> CategoryFeature:
    return CategoryFeature.measure_feature("c", levels, np.array(values))


def test_a_missing_number_stands_at_the_median_and_is_flagged() -> None:
    values = np.array([1.0, 5.0, np.nan, 9.0])
    feature = NumberFeature.measure_feature("a", values)
    assert feature.allows_missing
    linear, missing = feature.plain_inputs(values).T
    np.testing.assert_allclose(linear, np.array([-4.0, 0.0, 0.0, 4.0]) / feature.scale)
    assert missing.tolist() == [0.0, 0.0, 1.0, 0.0]
    periodic = feature.periodic_inputs(values)
    assert periodic[2] == periodic[1]
    whole = NumberFeature.measure_feature("a", values[[0, 1, 3]])
    assert not whole.allows_missing
    np.testing.assert_array_equal(whole.plain_inputs(values), linear[:, None])
    np.testing.assert_array_equal(whole.periodic_inputs(values), periodic)
    # A feature of an earlier file format has no linear input.
    without = replace(feature, linear=False)
    np.testing.assert_array_equal(without.plain_inputs(values), missing[:, None])
    np.testing.assert_array_equal(without.periodic_inputs(values), periodic)
    assert (feature.plain_width, without.plain_width) == (2, 1)


def test_a_constant_with_missing_cells_has_finite_inputs() -> None:
    feature = NumberFeature.measure_feature("a", np.array([1.0, np.nan, 1.0]))
    assert np.isfinite(feature.periodic_inputs(np.array([1.0, np.nan, 7.0]))).all()


def test_a_category_is_one_hot() -> None:
    values = [0.0] * 60 + [1.0] * 50 + [2.0] * 2 + [np.nan]
    feature = category(values, ["a", "b", "c"])
    assert feature.rare == [2]
    shown = feature.plain_inputs(np.array([0.0, 1.0, 2.0, 3.0, np.nan]))
    # Rare and unknown levels share the input of other texts. An empty cell has the last input.
    np.testing.assert_array_equal(shown, np.eye(5)[[0, 1, 3, 3, 4]])
    assert feature.periodic_inputs(np.zeros(3)).shape == (3, 0)
    assert sorted(set(feature.points(7))) == [0.0, 1.0]
    assert feature.column(np.array([1.0, 3.0, np.nan])).to_pylist() == ["b", "(other)", ""]


def test_a_level_needs_some_rows() -> None:
    assert frequent_levels({"a": 5, "b": 9, "c": 4}, 200) == ["b", "a"]
    assert frequent_levels({"a": 5, "b": 9, "c": 4}, 60) == ["b", "a", "c"]
    assert frequent_levels({"a": 1, "b": 2}, 3) == ["b"]
    assert frequent_levels({"a": 4, "b": 4}, 200) == []
    assert len(frequent_levels({str(i): 10 for i in range(500)}, 5000)) == 200


def days(*texts: str) -> np.ndarray:
    epoch = datetime.date(1970, 1, 1)
    return np.array([(datetime.date.fromisoformat(text) - epoch).days for text in texts], float)


def test_a_date_has_periodic_inputs_if_its_span_is_long_enough() -> None:
    short = DateFeature.measure_feature(
        "d", days("2026-01-01", "2026-01-05", "2026-01-09"), format=""
    )
    assert short.plain_width == 1
    weeks = DateFeature.measure_feature(
        "d", days("2026-01-01", "2026-01-05", "2026-03-09"), format=""
    )
    assert weeks.plain_width == 3
    mondays = weeks.plain_inputs(days("2026-11-16", "2026-11-23", "2026-11-19"))[:, 1:]
    np.testing.assert_allclose(mondays[0], mondays[1], atol=1e-9)
    assert abs(mondays[0] - mondays[2]).max() > 0.5
    years = DateFeature.measure_feature(
        "d", days("2020-01-01", "2021-01-05", "2026-01-09"), format=""
    )
    assert years.plain_width == 5
    springs = years.plain_inputs(days("2021-04-01", "2025-04-01", "2021-10-01"))[:, 1:3]
    np.testing.assert_allclose(springs[0], springs[1], atol=0.05)
    np.testing.assert_allclose(springs[0], -springs[2], atol=0.05)


@pytest.mark.parametrize("form", ["", "%d.%m.%Y"])
def test_days_are_written_as_they_were_read(form: str) -> None:
    feature = DateFeature.measure_feature("d", days("2020-01-31", "2024-02-29"), format=form)
    written = feature.column(np.append(days("2020-01-31", "2024-02-29"), np.nan)).to_pylist()
    expected = ["2020-01-31", "2024-02-29"] if not form else ["31.01.2020", "29.02.2024"]
    assert written == [*expected, ""]


def test_periodic_inputs_come_first() -> None:
    rng = np.random.default_rng(0)
    number = np.where(rng.random(60) < 0.2, np.nan, rng.normal(size=60))
    place = rng.integers(0, 3, 60).astype(float)
    schema = Schema(
        (
            CategoryFeature.measure_feature("c", ["a", "b", "c"], place),
            NumberFeature.measure_feature("a", number),
            NumberFeature.measure_feature("b", rng.normal(size=60)),
        ),
        (),
    )
    inputs = schema.inputs(np.column_stack([place, number, number]))
    assert (schema.periodic_width, schema.plain_width) == (2, 7)
    assert inputs.shape == (60, 9)
    np.testing.assert_array_equal(inputs[:, 2:5], np.eye(3)[place.astype(int)])
    np.testing.assert_array_equal(inputs[:, 7], np.isnan(number))
    assert schema.category_inputs() == [(2, 5, 6)]


def test_every_kind_of_feature_goes_through_plain_values() -> None:
    values = np.array([0.0, 1.0, np.nan, 400.0])
    for feature in (
        NumberFeature.measure_feature("a", values),
        DateFeature.measure_feature("d", values, format="%Y"),
        category([0.0, 1.0, np.nan], ["x", "y"]),
    ):
        assert feature_from_plain(feature_to_plain(feature)) == feature


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_a_column_is_measured_at_any_scale(scale: float) -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0]) * scale
    column = Column.measure("a", values)
    assert column.mean == pytest.approx(2.5 * scale)
    assert column.scale == pytest.approx(
        values.std() if scale == 1.0 else 1.118033988749895 * scale
    )
    assert (column.lowest, column.highest) == (scale, 4.0 * scale)
    assert column.median == pytest.approx(2.5 * scale)
    assert not column.constant


@pytest.mark.parametrize("rows", [30, 3000])
def test_a_skewed_feature_is_spread_evenly_and_is_linear_beyond_its_range(rows: int) -> None:
    values = np.exp(np.random.default_rng(0).normal(size=rows))
    feature = NumberFeature.measure_feature("a", values)
    standard = feature.periodic_inputs(values)[:, 0]
    assert abs(standard.mean()) < 0.05
    order = np.argsort(values)
    assert (np.diff(standard[order]) > 0.0).all()
    scores = np.interp(values, feature.knots, feature.scores)
    normal = scipy.stats.norm.ppf((scipy.stats.rankdata(values) - 0.5) / rows)
    np.testing.assert_allclose(scores, normal, atol=0.1)
    beyond = feature.periodic_inputs(np.array([2.0, 3.0]) * values.max())[:, 0]
    assert beyond[1] - beyond[0] == pytest.approx(0.5 * values.max() / values.std())


# Heavy tails.


RNG = np.random.default_rng(1)
NORMAL = 3.0 + 0.5 * RNG.normal(size=600)
ORDINARY = {
    "normal": NORMAL,
    "uniform": RNG.random(600),
    "skewed": np.exp(RNG.normal(size=600)),
    "Student's t, 3 degrees": RNG.standard_t(3, size=600),
    "two values": (RNG.random(600) < 0.02).astype(float),
    "two groups": np.where(RNG.random(600) < 0.2, 40.0, 0.0) + NORMAL,
    "mostly zero": np.where(RNG.random(600) < 0.8, 0.0, RNG.random(600)),
    "one row differs": np.where(np.arange(600) == 7, 1.0, 0.0),
    "ten rows": NORMAL[:10],
    "one row": NORMAL[:1],
}
# Values to put in the place of some that are drawn from the Gaussian.
OUTLIERS = {
    "one of a million": (1e6, 1),
    "one of 1e50": (1e50, 1),
    "2% of -9999": (-9999.0, 12),
    "9% of 99": (99.0, 54),
}


def with_outliers(name: str, values: np.ndarray = NORMAL) -> np.ndarray:
    value, count = OUTLIERS[name]
    return np.concatenate([np.full(count, value), values[count:]])


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_column_has_its_mean_and_standard_deviation(name: str) -> None:
    values = ORDINARY[name]
    column = Column.measure("a", values)
    assert scale_with_heavy_tails(values) is None
    assert column.mean == pytest.approx(values.mean(), rel=1e-14)
    assert column.scale == pytest.approx(values.std(), rel=1e-13)


@pytest.mark.parametrize("name", OUTLIERS)
@pytest.mark.parametrize("unit", [1.0, 1e-40])
def test_outliers_hardly_change_the_scale(name: str, unit: float) -> None:
    column = Column.measure("a", unit * with_outliers(name))
    assert column.mean == column.median == pytest.approx(3.0 * unit, abs=0.1 * unit)
    assert 0.4 < column.scale / unit < 0.8


def test_the_robust_scale_is_the_standard_deviation_of_a_gaussian() -> None:
    values = RNG.normal(size=100_000)
    assert robust_scale(values) == pytest.approx(1.0, abs=0.01)
    assert robust_scale(7.0 - 2.0 * values) == pytest.approx(2.0 * robust_scale(values), rel=1e-12)
    # Where most values are equal, or differ by rounding alone, a wider range is taken.
    mostly = np.where(np.arange(100_000) < 96_000, 1e-17 * values, 1.0 + values)
    assert 0.1 < robust_scale(mostly) < 2.0
    assert robust_scale(np.where(np.arange(1000) < 995, 5.0, 6.0)) == 0.0


def test_a_lognormal_column_is_measured_by_most_of_its_values() -> None:
    values = np.exp(2.0 * RNG.normal(size=3000))
    column = Column.measure("a", values)
    assert column.scale < 0.2 * values.std()
    # A scale of a few times the median resolves most of the values.
    assert column.median < column.scale < 10.0 * column.median


@pytest.mark.parametrize("name", OUTLIERS)
def test_outliers_do_not_move_the_inputs_of_other_values(name: str) -> None:
    values = with_outliers(name)
    rest = values[OUTLIERS[name][1] :]
    feature = NumberFeature.measure_feature("a", values)
    clean = NumberFeature.measure_feature("a", rest)
    inputs, expected = (each.periodic_inputs(rest)[:, 0] for each in (feature, clean))
    # The values keep at least three quarters of their distances, and their order.
    assert np.ptp(inputs[np.abs(expected) < 1.5]) > 0.75 * np.ptp(expected[np.abs(expected) < 1.5])
    assert np.corrcoef(inputs, expected)[0, 1] > 0.98
    order = values.argsort()
    rising = np.diff(feature.periodic_inputs(values)[order, 0])
    assert (rising[np.diff(values[order]) > 0.0] > 0.0).all()


def test_a_far_value_of_a_feature_is_near_on_the_scale_of_the_networks() -> None:
    for outlier in (1e3, 1e6, 1e50):
        values = np.append(NORMAL, outlier)
        feature = NumberFeature.measure_feature("a", values)
        far = feature.periodic_inputs(np.array([outlier, 10.0 * outlier, 1e300]))[:, 0]
        assert (np.diff(far) >= 0.0).all()
        assert 4.0 < far[0] < 3.0 + math.log(outlier)
        assert np.isfinite(far).all()
        assert feature_from_plain(feature_to_plain(feature)) == feature


def test_a_value_is_far_outside_beyond_a_tenth_of_the_range() -> None:
    feature = NumberFeature.measure_feature("a", np.array([0.0, 4.0, 10.0]))
    outside = feature.far_outside(np.array([-1.1, -0.9, 5.0, 10.9, 11.1, np.nan]))
    assert outside.tolist() == [True, False, False, False, True, False]
    assert not category([0.0, 1.0], ["a", "b"]).far_outside(np.array([0.0, 2.0])).any()


@pytest.mark.parametrize(
    ("text", "form", "day"),
    [
        ("1970-01-02", "", 1.0),
        (" 1970-01-02T12:00 ", "", 1.5),
        ("1970-01-02 12:00:00.5", "", 1.5 + 0.5 / 86400.0),
        ("1970-01-02T12:00Z", "", 1.5),
        ("1970-01-02T12:00+06:00", "", 1.25),
        ("03.01.70", "%d.%m.%y", 2.0),
        ("1970-02-30", "", np.nan),
        ("1970-01-02", "%d.%m.%Y", np.nan),
        ("soon", "", np.nan),
        ("", "", np.nan),
    ],
)
def test_dates_are_days_since_1970(text: str, form: str, day: float) -> None:
    found = parsed_dates(pa.chunked_array([[text]]), form)
    np.testing.assert_allclose(found, [day], rtol=1e-15)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_timestamps_of_every_unit_are_days_since_1970(unit: str, zone: str | None) -> None:
    moments = [datetime.datetime(1970, 1, 2, 12, tzinfo=datetime.UTC if zone else None), None]
    column = pa.chunked_array([pa.array(moments, pa.timestamp(unit, zone))])
    np.testing.assert_array_equal(days_of_moments(column), [1.5, np.nan])


def test_texts_of_dates_read_back() -> None:
    days_with_times = np.array([0.0, 0.5, -400.25, 20_000.0])
    texts = date_texts(days_with_times, "")
    assert texts[:2] == ["1970-01-01", "1970-01-01T12:00:00"]
    np.testing.assert_array_equal(parsed_dates(pa.chunked_array([texts]), ""), days_with_times)
