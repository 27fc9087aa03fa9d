"""The command and the function do the same: the same model bytes, the same columns and numbers."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_fits import QUICK, QUICK_FLAGS, every_kind, model_bytes

from mdncli import ConditionalDensity, MdnError, fit, load
from mdncli.requests import PlotRequest
from running import mdn

pytestmark = pytest.mark.filterwarnings("ignore::mdncli.errors.MdnWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a table in two dialects, and a model of two targets."""
    folder = tmp_path_factory.mktemp("same")
    frame = every_kind()
    frame.to_csv(folder / "data.csv", index=False)
    german = frame.assign(date=frame["date"].dt.strftime("%d.%m.%Y"))
    german.to_csv(folder / "german.csv", index=False, sep=";", decimal=",")
    frame[:50].to_csv(folder / "held.csv", index=False)
    done = mdn(
        *("fit", "data.csv", "-t", "u,v", "--lower", "v=0", "--ignore", "w,g", *QUICK_FLAGS),
        *("-o", "model.pt", "-q"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ConditionalDensity:
    monkeypatch.chdir(folder)
    return load("model.pt")


REQUESTS: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [
    ("data.csv", (), {}),
    (
        "data.csv",
        ("-t", "u,v", "--ignore", "w", "--mixtures", "3", "--preset", "fast", "--noise-x", "auto"),
        {"target": ["u", "v"], "ignore": "w", "mixtures": 3, "preset": "fast", "noise_x": "auto"},
    ),
    (
        "data.csv",
        ("--lower", "0", "--weight", "w", "--group", "g", "--covariance", "full", "--baseline"),
        {"lower": 0, "weight": "w", "group": "g", "covariance": "full", "baseline": True},
    ),
    (
        "german.csv",
        (
            *("--delimiter", ";", "--decimal", ",", "--datetime", "date=%d.%m.%Y"),
            *("--categorical", "g", "--categorical", "truth", "--na", "q"),
        ),
        {
            **{"delimiter": ";", "decimal": ",", "datetime": {"date": "%d.%m.%Y"}, "na": ["q"]},
            "categorical": ["g", "truth"],
        },
    ),
    (
        "data.csv",
        ("--cv", "3", "--seed", "4", "-t", "u", "-x", "number", "-x", "truth,category"),
        {"cv": 3, "seed": 4, "target": "u", "feature": "number,truth,category"},
    ),
    (
        "data.csv",
        ("--valid-file", "held.csv", "--min-sigma", "u=0.1,v=0.2", "-t", "v,u", "--members", "2"),
        {
            **{"valid_file": "held.csv", "min_sigma": {"u": 0.1, "v": 0.2}},
            **{"target": ("v", "u"), "members": 2},
        },
    ),
    (
        "data.csv",
        ("-t", "u", "--no-ladder", "--no-background", "--no-calibrate", "--finish", "5"),
        {"target": "u", "ladder": False, "background": False, "calibrate": False, "finish": 5},
    ),
    (
        "data.csv",
        ("-t", "u", "--ladder", "--background", "--calibrate"),
        {"target": "u", "ladder": True, "background": True, "calibrate": True},
    ),
]


@pytest.mark.parametrize(
    ("data", "flags", "parameters"), REQUESTS, ids=[" ".join(each[1][:2]) for each in REQUESTS]
)
def test_a_request_gives_the_same_model_bytes(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    data: str,
    flags: tuple[str, ...],
    parameters: dict[str, Any],
) -> None:
    monkeypatch.chdir(folder)
    output = tmp_path / "model.pt"
    # The last value of an option that is given twice counts.
    done = mdn("fit", data, *QUICK_FLAGS, *flags, "-o", output, "-q", cwd=folder)
    assert done.returncode == 0, done.stderr
    by_function = fit(data, **{**QUICK, **parameters})
    assert load(output).network.origin == by_function.network.origin
    assert output.read_bytes() == model_bytes(by_function)
    by_function.save(tmp_path / "saved.pt")
    assert output.read_bytes() == (tmp_path / "saved.pt").read_bytes()
    assert output.read_bytes() == model_bytes(load(output))


def test_the_stored_request_says_only_what_was_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    german = {"delimiter": ";", "decimal": ","}
    origin = fit("german.csv", target="u", ignore="date", steps=5, **german).network.origin
    assert origin.request == {"target": ["u"], "ignore": ["date"], "steps": 5}
    assert origin.dialect == {"delimiter": ";", "decimal": ","}


def answers(folder: Path, *arguments: str) -> pd.DataFrame:
    """Return the table that a command writes, every number read exactly."""
    done = mdn(*arguments, "-q", cwd=folder)
    assert done.returncode == 0, done.stderr
    return pd.read_csv(BytesIO(done.stdout))


def require_same(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """Check columns and numbers; text that looks like a number may be one in the other frame."""
    assert ours.columns.tolist() == theirs.columns.tolist()
    assert len(ours) == len(theirs)
    for name in ours:
        if theirs[name].dtype.kind in "if":
            np.testing.assert_array_equal(ours[name].astype(float), theirs[name], err_msg=name)
        else:
            texts = [column[name].astype("string").fillna("") for column in (ours, theirs)]
            assert texts[0].tolist() == texts[1].tolist(), name


PREDICTIONS: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    ((), {}),
    (
        (
            *("--mean", "--std", "--median", "--component-mean", "--correlation", "--parameters"),
            *("--quantiles", "0.05,0.5", "--interval", "0.8", "--hdr", "0.5", "--only"),
        ),
        {
            **dict.fromkeys(("mean", "std", "median", "component_mean", "correlation"), True),
            **{"parameters": True, "quantiles": [0.05, 0.5], "interval": 0.8, "hdr": 0.5},
            "only": True,
        },
    ),
    (
        ("--density", "--cdf", "--log", "--marginal", "--flag-extrapolation"),
        {"density": True, "cdf": True, "log": True, "marginal": True, "flag_extrapolation": True},
    ),
    (
        ("--density", "--at-target", "u=1,v=2", "--exceed", "v=3"),
        {"density": True, "at_target": {"u": 1, "v": 2}, "exceed": {"v": 3.0}},
    ),
    (
        ("--mode", "--given", "v", "--on-bad-rows", "skip"),
        {"mode": True, "given": ["v"], "on_bad_rows": "skip"},
    ),
    (("--mean", "--given", "u=0.5"), {"mean": True, "given": {"u": 0.5}}),
]


@pytest.mark.parametrize(("flags", "parameters"), PREDICTIONS)
def test_predictions(
    folder: Path, model: ConditionalDensity, flags: tuple[str, ...], parameters: dict[str, Any]
) -> None:
    theirs = answers(folder, "predict", "model.pt", "data.csv", *flags)
    require_same(model.predict("data.csv", **parameters), theirs)
    by_frame = model.predict(every_kind(), **parameters)
    assert by_frame.columns.tolist() == theirs.columns.tolist()
    for name in set(theirs) - set(every_kind()):
        np.testing.assert_array_equal(by_frame[name], theirs[name])


def test_a_data_frame_keeps_its_columns_and_its_index(model: ConditionalDensity) -> None:
    frame = every_kind(5).set_index(pd.Index(list("vwxyz")))
    predicted = model.predict(frame)
    pd.testing.assert_frame_equal(predicted[frame.columns.tolist()], frame)
    assert "u_mean" in predicted
    assert model.predict(frame, only=True).index.equals(frame.index)


def test_zero_is_a_value_for_a_target(folder: Path, model: ConditionalDensity) -> None:
    flags = ("--density", "--at-target", "u=0", "--marginal", "--exceed", "u=0", "--log")
    theirs = answers(folder, "predict", "model.pt", "data.csv", "--only", *flags)
    asked = {"density": True, "marginal": True, "log": True, "only": True}
    require_same(model.predict("data.csv", at_target={"u": 0}, exceed={"u": 0.0}, **asked), theirs)
    for value in (0, np.float64(0.0), "u=0,v=0"):
        both = model.predict("data.csv", at_target=value, exceed=value, **asked)
        np.testing.assert_array_equal(both["u_log_density"], theirs["u_log_density"])
        np.testing.assert_array_equal(both["u_log_exceed"], theirs["u_log_exceed"])
    with pytest.raises(MdnError, match="at_target sets where density"):
        model.predict("data.csv", at_target=0)
    assert "u_log_exceed" in model.predict("data.csv", exceed=0, log=True)


SAMPLES: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (("--rows", "data.csv"), {"rows": "data.csv"}),
    (
        ("--rows", "data.csv", "--n", "3", "--seed", "5", "--temperature", "0.5", "--component"),
        {"rows": "data.csv", "n": 3, "seed": 5, "temperature": 0.5, "component": True},
    ),
    (
        ("--at", "number=1,category=p,truth=True,date=2024-05-01", "--n", "4"),
        {"at": {"number": 1, "category": "p", "truth": "True", "date": "2024-05-01"}, "n": 4},
    ),
    (
        ("--rows", "data.csv", "--given", "u", "--sigma-temperature", "0.5"),
        {"rows": "data.csv", "given": "u", "sigma_temperature": 0.5},
    ),
]


@pytest.mark.parametrize(("flags", "parameters"), SAMPLES)
def test_samples(
    folder: Path, model: ConditionalDensity, flags: tuple[str, ...], parameters: dict[str, Any]
) -> None:
    theirs = answers(folder, "sample", "model.pt", *flags)
    ours = model.sample(**parameters)
    assert ours.columns.tolist() == theirs.columns.tolist()
    for name in ("u", "v"):
        np.testing.assert_array_equal(ours[name].astype(float), theirs[name])
    if "rows" in parameters:
        by_frame = model.sample(**{**parameters, "rows": every_kind()})
        np.testing.assert_array_equal(by_frame["v"], theirs["v"])


def test_scores(folder: Path, model: ConditionalDensity) -> None:
    done = mdn("evaluate", "model.pt", "data.csv", "--json", "-q", cwd=folder)
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    ours = model.evaluate("data.csv").to_plain()
    assert {name: theirs[name] for name in ("rows", "nll", "crps", "coverage")} == {
        name: ours[name] for name in ("rows", "nll", "crps", "coverage")
    }
    frame = every_kind()
    assert model.evaluate(frame).nll == ours["nll"]
    features = frame[model.schema.feature_names]
    for targets in (frame[["v", "u"]], frame[["u", "v"]].to_numpy()):
        assert model.evaluate(features, targets).nll == ours["nll"]
    weighted = model.evaluate(frame, weights=frame["w"])
    by_row = model.evaluate(frame).by_row.nll
    table = answers(folder, "evaluate", "model.pt", "data.csv", "--per-row", "-q")
    require_same(model.score_rows("data.csv"), table)
    assert weighted.nll == pytest.approx(np.average(by_row, weights=frame["w"]))


@pytest.mark.parametrize("kind", ["overview", "calibration", "parameters"])
def test_pictures(folder: Path, tmp_path: Path, model: ConditionalDensity, kind: str) -> None:
    data = () if kind == "parameters" else ("data.csv",)
    path = tmp_path / "plot.svg"
    done = mdn("plot", "model.pt", *data, "--kind", kind, "-o", path, "-q", cwd=folder)
    assert done.returncode == 0, done.stderr
    stream = BytesIO()
    model.write_figure(stream, "svg", data[0] if data else None, PlotRequest(kind=kind))
    assert stream.getvalue() == path.read_bytes()
    figure = model.plot(kind, *data)
    drawn = [[line.get_ydata() for line in axes.lines] for axes in figure.axes]
    features, targets = every_kind().drop(columns=["u", "v"]), every_kind()[["u", "v"]]
    others = [model.plot(kind, every_kind() if data else None)]
    others += [model.plot(kind, features, targets.to_numpy())] if data else []
    for other in others:
        for axes, lines in zip(other.axes, drawn, strict=True):
            for line, values in zip(axes.lines, lines, strict=True):
                np.testing.assert_array_equal(line.get_ydata(), values)
