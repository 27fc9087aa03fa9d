"""Features that wrap around."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mdncli
from mdncli.columns.features import AngleFeature, feature_from_plain, feature_to_plain
from mdncli.errors import DataError, ParameterError
from running import mdn


def test_an_angle_is_read_as_sine_and_cosine() -> None:
    values = np.array([0.0, 6.0, 18.0, 24.0, 30.0, -18.0, np.nan])
    feature = AngleFeature.measure_feature("hour", values, period=24.0)
    inputs = feature.periodic_inputs(values)
    root = np.sqrt(2.0)
    expected = [[0, root], [root, 0], [-root, 0], [0, root], [root, 0], [root, 0], [0, 0]]
    np.testing.assert_allclose(inputs, expected, atol=1e-12)
    assert feature.plain_inputs(values)[:, 0].tolist() == [0, 0, 0, 0, 0, 0, 1]
    assert not feature.far_outside(np.array([1e6])).any()
    assert feature_from_plain(feature_to_plain(feature)) == feature


@pytest.mark.filterwarnings("ignore::mdncli.errors.MdnWarning")
def test_the_ends_of_a_period_are_answered_alike() -> None:
    rng = np.random.default_rng(0)
    hour = rng.uniform(0.0, 24.0, 800)
    y = np.cos(2.0 * np.pi * (hour - 1.0) / 24.0) + rng.normal(0.0, 0.1, 800)
    frame = pd.DataFrame({"hour": hour, "y": y})
    model = mdncli.fit(frame, period={"hour": 24}, ladder=False, steps=300)
    ends = model.condition([[0.0], [24.0], [1.0], [25.0], [-23.0]]).mean()
    np.testing.assert_allclose(ends[:2], np.cos(2.0 * np.pi / 24.0), atol=0.1)
    np.testing.assert_allclose(ends[[0, 2, 2]], ends[[1, 3, 4]], atol=1e-6)
    assert model.network.origin.request["period"] == {"hour": 24.0}
    gap = abs(np.diff(mdncli.fit(frame, ladder=False, steps=300).condition([[0.0], [24.0]]).mean()))
    assert gap[0] > 0.01


def test_wrong_periods() -> None:
    frame = pd.DataFrame({"hour": np.arange(30.0), "y": np.arange(30.0) ** 1.5})
    for period, message in (
        ({"hour": 0}, "period of 'hour' is 0: it must be positive."),
        ({"hour": 1e308}, "period of 'hour' is 1e.308: it must be positive."),
        ("hour", "period 'hour'"),
    ):
        with pytest.raises(ParameterError, match=message):
            mdncli.fit(frame, period=period, steps=3)
    with pytest.raises(DataError, match="there is no column 'day'"):
        mdncli.fit(frame, period={"day": 7}, steps=3)
    with pytest.raises(ParameterError, match="'hour' has two kinds"):
        mdncli.fit(frame, period={"hour": 24}, categorical="hour", steps=3)


def test_the_command_takes_periods(tmp_path: Path) -> None:
    rows = [f"{i % 24},{i * 15 % 360},{(i * 7 % 24) ** 1.5}" for i in range(60)]
    (tmp_path / "d.csv").write_text("\n".join(["hour,direction,y", *rows]) + "\n")
    words = ("fit", "d.csv", "--period", "hour=24,direction=360", "--steps", "3", "-k", "1")
    done = mdn(*words, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kinds"] == {"hour": "angle", "direction": "angle"}
    assert b"it wraps around after 24, as --period says" in done.stderr
    again = mdn("predict", "model.pt", "d.csv", "--mean", "--only", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    drawn = mdn("plot", "model.pt", "d.csv", "--along", "hour", "-o", "p.png", cwd=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
