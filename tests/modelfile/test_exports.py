"""Exports, as other programs read them: safetensors' own reader, and onnxruntime."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import safetensors
import torch
from safetensors.numpy import load_file
from small_model import small_fit

from mdncli import ConditionalDensity, MdnError, __version__, fit
from mdncli.columns.features import CategoryFeature, DateFeature
from mdncli.density.model import MixtureDensityNetwork, Rung
from mdncli.density.network import Neighbours

pytestmark = pytest.mark.filterwarnings("ignore::mdncli.errors.MdnWarning")

ROWS = 160
P = [1e-5, 0.05, 0.5, 0.95, 0.999]
QUICK: dict[str, Any] = {"mixtures": 3, "hidden": (8,), "frequencies": 1, "steps": 40, "noise_x": 0}


def table(seed: int = 0) -> pd.DataFrame:
    """Return features of every kind, most of them with missing cells, and a number z."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "number": rng.normal(size=ROWS),
            "skewed": rng.exponential(size=ROWS) ** 4,
            "place": rng.choice(["p", "q", "r r"], ROWS),
            "hour": rng.uniform(0.0, 24.0, ROWS),
            "day": pd.Timestamp("2022-01-01") + pd.to_timedelta(rng.integers(0, 900, ROWS), "D"),
        }
    )
    z = frame["number"] + (frame["place"] == "p") + np.sin(frame["hour"] / 24.0 * 2.0 * np.pi)
    frame["z"] = z + 0.3 * rng.normal(size=ROWS)
    for name, every in (("number", 7), ("place", 11), ("hour", 13), ("day", 17)):
        frame.loc[::every, name] = None
    return frame


def unusual_rows() -> pd.DataFrame:
    """Return rows with a level that training did not have, and numbers outside its range."""
    frame = table(1)
    frame.loc[:4, "place"] = ["new", "P", "p ", "(other)", "q"]
    frame.loc[1:4, "hour"] = [-3.5, 25.0, 24.0, 1e4]
    frame.loc[1:3, "skewed"] = [-50.0, 1e4, 3e300]
    frame.loc[2, "number"] = -9.0
    frame.loc[3, "day"] = pd.Timestamp("1964-02-29 12:30:00.25")
    return frame


def quick_fit(target: np.ndarray, **parameters: Any) -> ConditionalDensity:
    features = table().drop(columns="z")
    return fit(
        features.assign(y=target), target="y", **{**QUICK, "period": {"hour": 24.0}, **parameters}
    )


def counts(z: np.ndarray) -> np.ndarray:
    return np.random.default_rng(2).poisson(np.exp(np.minimum(z, 2.0))).astype(float)


def two_targets(covariance: str, **bounds: Any) -> ConditionalDensity:
    frame = table().rename(columns={"z": "mean"}).assign(other=lambda each: each["mean"] ** 2)
    return fit(
        frame,
        **{**QUICK, "target": ["mean", "other"], "covariance": covariance, **bounds},
    )


def ensemble() -> ConditionalDensity:
    """Return a model of two rungs, the first of two members and calibrated."""
    one, other = (quick_fit(Z, seed=seed) for seed in (0, 1))
    rung, background = one.network.main, one.network.background
    assert background is not None
    members = [*rung.networks, *other.network.main.networks]
    rest = 1.0 - background.weight
    calibrated = {"weight": 0.7 * rest, "sigma_scale": 1.3, "temperature": 0.6}
    rungs = [
        replace(rung, networks=members, **calibrated),
        replace(other.network.main, weight=0.3 * rest),
    ]
    return ConditionalDensity(replace(one.network, rungs=rungs))


def without_neighbours(network: MixtureDensityNetwork) -> MixtureDensityNetwork:
    """Return a model that reads the same, but for what it reads of the nearest training rows."""
    targets = len(network.schema.targets)
    start = network.schema.periodic_width + network.schema.plain_width + 2 * targets
    lost = np.arange(start, start + Neighbours.width(targets))

    def of_rung(rung: Rung) -> Rung:
        assert rung.reads == ("forest", "boosted", "neighbours")
        networks = []
        for each in rung.networks:
            (weight, bias), *rest = each.layers
            networks.append(replace(each, layers=[(np.delete(weight, lost, 1), bias), *rest]))
        return replace(rung, networks=networks, reads=rung.reads[:2])

    rungs = [of_rung(rung) for rung in network.rungs]
    return replace(network, rungs=rungs, memory=replace(network.memory, neighbours=None))


Z = table()["z"].to_numpy()
SHARE = 1.0 / (1.0 + np.exp(-Z))
MODELS: dict[str, Callable[[], ConditionalDensity]] = {
    "no bound": lambda: quick_fit(Z),
    "ladder": lambda: quick_fit(Z, ladder=True, mixtures=2, members=2, steps=20),
    "ensemble": ensemble,
    "leaky relu": lambda: quick_fit(Z, activation="leaky-relu", calibrate=False, background=False),
    "tanh": lambda: quick_fit(Z, activation="tanh", frequencies=0, lower=-20.0),
    "upper bound": lambda: quick_fit(-np.exp(Z), upper=0.0),
    "two bounds": lambda: quick_fit(10.0 + 5.0 * SHARE, lower=10.0, upper=15.0),
    "rounded": lambda: quick_fit(counts(Z)),
    "rounded up to a bound": lambda: quick_fit(np.minimum(counts(Z), 4.0), upper=4.0),
    "atom at an end": lambda: quick_fit(np.where(Z < 0.0, 0.0, np.exp(Z)), atom=0.0),
    "atom inside": lambda: quick_fit(np.where(np.abs(Z) < 0.3, 0.0, Z), atom=0.0),
    "atoms between bounds": lambda: quick_fit(
        np.clip(SHARE, 0.2, 0.9), atom=[0.2, 0.9], lower=0.0, upper=1.0
    ),
    "angle": lambda: quick_fit((60.0 * Z) % 360.0, period={"hour": 24.0, "y": 360.0}),
    "censored": lambda: quick_fit(np.exp(Z), censor_above=3.0, lower=0.0),
    "diagonal": lambda: two_targets("diagonal", upper={"other": 100.0}),
    "isotropic": lambda: two_targets("isotropic"),
    "full": lambda: two_targets("full", lower={"other": -1.0}, upper={"other": 100.0}),
}


def exported(model: ConditionalDensity, *arguments: Any) -> bytes:
    stream = io.BytesIO()
    model.export(stream, *arguments)
    return stream.getvalue()


def cells(model: ConditionalDensity, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return rows as an ONNX graph takes them."""
    found = {}
    for feature in model.schema.features:
        column = rows[feature.name]
        if isinstance(feature, CategoryFeature):
            found[feature.name] = column.fillna("").to_numpy(dtype=object)
        elif isinstance(feature, DateFeature):
            seconds = (column - pd.Timestamp("1970-01-01")) / pd.Timedelta(seconds=1)
            found[feature.name] = seconds.to_numpy(dtype=np.float64)
        else:
            found[feature.name] = column.to_numpy(dtype=np.float64)
    return {name: values.copy() for name, values in found.items()}


def answers(content: bytes, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what onnxruntime computes, by the names of the outputs."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def require_same_answers(model: ConditionalDensity, rows: pd.DataFrame) -> None:
    """Check all outputs to 1e-5, in scales of u or in ranges of the target."""
    found = answers(exported(model, "onnx", P), cells(model, rows))
    ours, targets = model.condition(rows), model.schema.targets
    shape = len(rows), len(targets)
    scale = np.array([target.scale for target in targets])
    np.testing.assert_allclose(found["pi"], ours.mixture.pi, atol=1e-5)
    for name in ("mu", "sigma"):
        difference = (found[name] - getattr(ours.mixture, name)) / scale
        np.testing.assert_allclose(difference, 0.0, atol=1e-5, err_msg=name)
    assert ("factor" in found) == (ours.mixture.factor is not None)
    if "factor" in found:
        np.testing.assert_allclose(found["factor"], ours.mixture.factor, atol=1e-5)
    span = np.array([target.highest - target.lowest for target in targets])
    mean, quantiles = ours.mean().reshape(shape), ours.quantile(P).reshape(*shape, len(P))
    np.testing.assert_allclose(found["mean"] / span, mean / span, rtol=1e-5, atol=1e-5)
    span = span[:, None]
    np.testing.assert_allclose(found["quantiles"] / span, quantiles / span, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_graph_answers_as_the_model_does(name: str) -> None:
    model = MODELS[name]()
    require_same_answers(model, table())
    usual = model.schema.target_names == ["y"]
    if usual and not name.startswith("rounded"):
        require_same_answers(model, unusual_rows())


@pytest.fixture(scope="module")
def small() -> ConditionalDensity:
    return ConditionalDensity(small_fit())


def test_a_graph_computes_trees_rungs_and_calibration(small: ConditionalDensity) -> None:
    network = without_neighbours(small.network)
    assert [rung.temperature == 1.0 for rung in network.rungs] == [False, False]
    rng = np.random.default_rng(1)
    a = np.append(rng.normal(size=300), [1e9, -1e9])
    rows = pd.DataFrame({"a": a, "place": rng.choice(["north", "south", "west"], 302)})
    rows.loc[::5, "a"] = np.nan
    require_same_answers(ConditionalDensity(network), rows)


def test_trees_of_a_fit_that_leaves_out_training_rows() -> None:
    model = quick_fit(Z, memory="on", private=True, steps=20)
    assert list(model.network.memory.parts()) == ["boosted"]
    require_same_answers(model, unusual_rows())


@pytest.fixture(scope="module")
def model() -> ConditionalDensity:
    return quick_fit(Z)


def test_a_row_with_a_cell_that_is_refused_has_no_answers(model: ConditionalDensity) -> None:
    rows = table()[:4]
    inputs = cells(model, rows)
    inputs["skewed"][0] = np.nan  # There was no missing cell in training.
    inputs["number"][1] = np.inf
    found = answers(exported(model, "onnx"), inputs)
    median = model.condition(rows).quantile(0.5)
    for name, values in found.items():
        assert np.isnan(values[:2]).all(), name
        assert np.isfinite(values[2:]).all(), name
    np.testing.assert_allclose(found["quantiles"][2:, 0, 1], median[2:], atol=1e-5)


def test_an_empty_text_is_refused_where_there_was_none_in_training() -> None:
    features = table()[["number", "place"]].fillna({"place": "q"})
    model = fit(features.assign(y=Z), target="y", **QUICK)
    inputs = cells(model, features[:2])
    inputs["place"][0] = ""
    mean = answers(exported(model, "onnx"), inputs)["mean"]
    assert np.isnan(mean).tolist() == [[True], [False]]


def test_no_rows_have_no_answers(model: ConditionalDensity) -> None:
    found = answers(exported(model, "onnx"), cells(model, table()[:0]))
    assert {name: values.shape for name, values in found.items()} == {
        **{"pi": (0, 4), "mu": (0, 4, 1), "sigma": (0, 4, 1)},
        **{"mean": (0, 1), "quantiles": (0, 1, 3)},
    }


def test_an_output_gets_another_name_if_a_feature_has_its_name() -> None:
    features = table()[["number", "skewed"]].set_axis(["mean", "tensor7"], axis=1)
    model = fit(features.assign(y=Z), target="y", **QUICK)
    content = exported(model, "onnx")
    found = answers(content, cells(model, features))
    np.testing.assert_allclose(found["mean_"][:, 0], model.condition(features).mean(), atol=1e-5)
    properties = {each.key: each.value for each in onnx.load_from_string(content).metadata_props}
    assert json.loads(properties["outputs"])["mean"] == "mean_"


def test_what_a_graph_says_about_itself(model: ConditionalDensity) -> None:
    content = exported(model, "onnx", "0.1,0.9")
    graph = onnx.load_from_string(content)
    onnx.checker.check_model(graph, full_check=True)
    said = {each.key: each.value for each in graph.metadata_props}
    assert (said["mdncli"], said["format"]) == (__version__, "mdncli.onnx")
    plain = {name: json.loads(said[name]) for name in ("features", "targets", "quantiles")}
    assert plain == {
        "features": {
            **{"number": "number", "skewed": "number", "place": "category"},
            **{"hour": "angle", "day": "date"},
        },
        "targets": {"y": "number"},
        "quantiles": [0.1, 0.9],
    }
    assert json.loads(said["first_component"]) == 0
    assert content == exported(model, "onnx", [0.1, 0.9])
    assert content != exported(model, "onnx", [0.1, 0.8])


def test_a_model_that_reads_training_rows_is_refused(small: ConditionalDensity) -> None:
    with pytest.raises(MdnError, match="reads the nearest training rows.*private=True"):
        exported(small, "onnx")


def test_safetensors_hold_the_tensors_of_the_model_file(
    small: ConditionalDensity, tmp_path: Path
) -> None:
    small.export(tmp_path / "m.safetensors")
    small.save(tmp_path / "m.pt")
    tensors = load_file(tmp_path / "m.safetensors")
    stored = torch.load(tmp_path / "m.pt", weights_only=True)
    assert sorted(tensors) == sorted(stored["state_dict"])
    for name, tensor in stored["state_dict"].items():
        np.testing.assert_array_equal(tensors[name], tensor.numpy(), err_msg=name)
    places = {name for name, tensor in tensors.items() if tensor.dtype == np.int32}
    assert {"forest.left", "boosted.feature", "neighbours.columns"} <= places
    with safetensors.safe_open(tmp_path / "m.safetensors", "np") as file:
        said = {name: json.loads(text) for name, text in file.metadata().items()}
    assert said.pop("mdncli") == __version__
    assert said["schema"] == small.schema.to_plain()
    assert said["origin"]["request"] == small.network.origin.request
    assert said["rungs"] == stored["rungs"]
    assert set(said) == set(stored) - {"state_dict"}


def test_safetensors_are_the_same_bytes_for_the_same_model(
    model: ConditionalDensity, tmp_path: Path
) -> None:
    content = exported(model)
    assert content == exported(model, "safetensors")
    model.export(tmp_path / "m.SAFETENSORS")
    assert content == (tmp_path / "m.SAFETENSORS").read_bytes()
    # The tensors begin at a multiple of their size.
    assert int.from_bytes(content[:8], "little") % 8 == 0
    assert b"NaN" not in content[: 8 + int.from_bytes(content[:8], "little")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("m.bin",), "ends neither in .safetensors nor in .onnx"),
        (("m.onnx", "h5"), "format is 'h5': it must be safetensors or onnx"),
        (("m.onnx", None, [1.0]), "quantiles is 1: it must be between 0 and 1"),
        (("m.safetensors", None, 0.5), "quantiles is for format='onnx'"),
        (("nowhere/m.onnx",), "there is no such folder"),
    ],
)
def test_what_cannot_be_written_is_refused(
    model: ConditionalDensity,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[Any, ...],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MdnError) as caught:
        model.export(*arguments)
    assert words in str(caught.value)
    assert not list(tmp_path.iterdir())
