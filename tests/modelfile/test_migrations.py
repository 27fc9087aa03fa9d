"""Files of every older format still give their answers, and the command lines in them are read."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy

from mdncli.density.model import MixtureDensityNetwork
from mdncli.density.network import Perceptron
from mdncli.files import FileContent
from mdncli.modelfile.migrations import FORMAT_VERSION, parse_command
from mdncli.modelfile.reader import read_model
from mdncli.modelfile.writer import write_model

FILES = Path(__file__).parent / "files"
VERSIONS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


def read(version: int) -> MixtureDensityNetwork:
    name = f"version{version}.pt"
    return read_model(FileContent(name, (FILES / name).read_bytes()))


def expected_answers(version: int) -> dict[str, Any]:
    """Return the answers that the program which wrote the file gave, in float64."""
    expected: dict[str, Any] = json.loads((FILES / f"version{version}.json").read_text())
    return expected


def check_answers(model: MixtureDensityNetwork, expected: dict[str, Any], rtol: float) -> None:
    x, y = np.array(expected["x"], dtype=np.float64), np.array(expected["y"])
    distribution, mixture = model.distribution(x), model.mixture(x)
    answers = {
        "log_prob": distribution.log_prob(y),
        "mean": distribution.mean(),
        "std": distribution.std(),
        "pi": mixture.pi,
        "mu": mixture.mu,
        "sigma": mixture.sigma,
    }
    if "crps" in expected:
        answers["crps"] = distribution.crps(y)
    if "baseline_mu" in expected:
        answers["baseline_mu"] = model.baseline_mixture(x).mu
    if "reference_mu" in expected:
        answers["reference_mu"] = model.reference_mixture(x).mu
    for name, answer in answers.items():
        np.testing.assert_allclose(answer, expected[name], rtol, rtol, err_msg=name)
    for probability, values in expected["quantiles"].items():
        answer = distribution.quantile(float(probability))
        np.testing.assert_allclose(answer, values, rtol, rtol, err_msg=f"quantile {probability}")


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the networks compute in float64, since the last digits of float32 depend on the CPU."""
    call = Perceptron.__call__
    monkeypatch.setattr(Perceptron, "__call__", lambda self, x, precision=None: call(self, x))


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_still_gives_its_answers(version: int) -> None:
    check_answers(read(version), expected_answers(version), rtol=1e-9)


@pytest.mark.parametrize("version", VERSIONS)
def test_it_gives_them_in_the_usual_precision(version: int) -> None:
    check_answers(read(version), expected_answers(version), rtol=1e-5)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("version", VERSIONS)
def test_it_gives_them_after_it_was_written_in_the_newest_format(version: int) -> None:
    model, stream = read(version), io.BytesIO()
    write_model(model, stream)
    again = read_model(FileContent("again.pt", stream.getvalue()))
    check_answers(again, expected_answers(version), rtol=1e-9)
    assert again.origin == model.origin
    assert again.schema == model.schema


def test_version_1_has_no_marginal_reference_and_one_member() -> None:
    model = read(1)
    assert model.reference is None
    assert model.baseline is not None
    assert [len(rung.networks) for rung in model.rungs] == [1]


def test_version_2_has_no_origin_and_no_cross_validation() -> None:
    model = read(2)
    assert [len(rung.networks) for rung in model.rungs] == [2]
    assert model.record.cv == []
    assert (model.origin.request, model.origin.dialect) == ({}, {})
    assert (model.origin.table_sha256, model.origin.versions) == ("", {})


def test_version_3_has_its_request() -> None:
    model = read(3)
    assert len(model.record.cv) == 2
    assert model.origin.request == {
        **{"cv": "2", "members": "2", "mixtures": "3", "hidden": "8", "frequencies": "2"},
        **{"steps": "60", "baseline": True},
    }
    assert model.origin.dialect == {}
    assert not any(feature.allows_missing for feature in model.schema.features)


def test_version_4_has_its_columns_request_and_dialect() -> None:
    model = read(4)
    schema, origin = model.schema, model.origin
    assert [(f.name, f.kind, f.allows_missing) for f in schema.features] == [
        ("a", "number", True),
        ("place", "category", False),
    ]
    assert [(t.name, t.lower, t.upper) for t in schema.targets] == [
        ("size", 2.0, None),
        ("depth", None, None),
    ]
    assert schema.weight == "w"
    assert origin.request == {
        **{"target": ["size", "depth"], "weight": "w", "lower": ["size=2"], "cv": "2"},
        **{"members": "2", "mixtures": "3", "hidden": "8", "frequencies": "2"},
        **{"covariance": "full", "epochs": "30", "lr": "0.02", "baseline": True},
    }
    assert origin.dialect == {"delimiter": ";", "na": ["none"]}
    assert len(origin.table_sha256) == 64
    assert origin.versions["mdncli"] == "0.1.0"


def test_version_5_has_one_rung_no_background_and_no_linear_inputs() -> None:
    model = read(5)
    [rung] = model.rungs
    assert (rung.name, len(rung.networks)) == ("networks", 2)
    assert (rung.weight, rung.sigma_scale, rung.temperature) == (1.0, 1.0, 1.0)
    assert model.background is None
    assert model.first_component == 1
    schema, origin = model.schema, model.origin
    kinds = [(feature.name, feature.kind) for feature in schema.features]
    assert kinds == [("a", "number"), ("place", "category"), ("day", "date")]
    assert [getattr(feature, "linear", None) for feature in schema.features] == [False, None, False]
    bounds = [(target.name, target.lower, target.upper) for target in schema.targets]
    assert bounds == [("size", 2.0, None), ("share", 0.0, 1.0)]
    assert origin.request == {
        **{"target": ["size", "share"], "weight": "w", "datetime": {"day": ""}, "cv": 2},
        **{"lower": {"size": 2.0, "share": 0.0}, "upper": {"share": 1.0}},
        **{"members": 2, "mixtures": 3, "hidden": [8], "frequencies": 2, "covariance": "full"},
        **{"epochs": 30, "lr": 0.02, "baseline": True},
    }
    assert origin.dialect == {"delimiter": ";", "na": ["none"]}


def test_version_6_has_no_memory() -> None:
    model = read(6)
    assert not model.memory.parts()
    assert not any(rung.reads for rung in model.rungs)
    assert [(rung.name, len(rung.networks)) for rung in model.rungs] == [("small", 2)]
    assert model.background is not None


def test_version_7_has_the_logit_between_two_bounds() -> None:
    model = read(7)
    bounds = [(target.lower, target.upper) for target in model.schema.targets]
    assert bounds == [(2.0, None), (0.0, 1.0), (-1.5, 3.5)]
    assert [target.order for target in model.schema.targets] == [1, 1, 1]
    share = model.schema.transforms[1]
    y = np.array([1e-300, 0.2, 0.75])
    np.testing.assert_allclose(share.inverse(y), scipy.special.logit(y), rtol=1e-15)
    np.testing.assert_allclose(share.forward(share.inverse(y)), y, rtol=1e-12)


def test_version_10_has_an_atom_a_limit_and_an_angle() -> None:
    model = read(10)
    [target] = model.schema.targets
    assert (target.atoms, target.censor_above, target.period) == ((0.0,), 3.0, None)
    assert [feature.kind for feature in model.schema.features] == ["number", "angle", "category"]
    assert list(model.memory.parts()) == ["boosted"]
    assert len(model.record.cv) == 2


def test_there_is_a_file_of_every_version() -> None:
    assert list(range(1, FORMAT_VERSION + 1)) == VERSIONS


@pytest.mark.parametrize(
    ("options", "request_", "dialect"),
    [
        ("", {}, {}),
        ("--batch-size 32", {"batch_size": "32"}, {}),
        ("--noise-x auto --baseline", {"noise_x": "auto", "baseline": True}, {}),
        ("--target 'a b' --target c", {"target": ["a b", "c"]}, {}),
        ("--min-sigma a=1 --on-bad-rows skip", {"min_sigma": ["a=1"], "on_bad_rows": "skip"}, {}),
        ("--valid-file FILE", {"valid_file": "FILE"}, {}),
        ("--target --lr", {"target": ["--lr"]}, {}),
        (r"--delimiter '\t' --decimal ,", {}, {"delimiter": "\t", "decimal": ","}),
        ("--quote '' --escape '' --no-header", {}, {"quote": None, "header": False}),
        ("--na - --na '' --encoding cp1252", {}, {"na": ["-", ""], "encoding": "cp1252"}),
    ],
)
def test_command_lines(options: str, request_: dict[str, Any], dialect: dict[str, Any]) -> None:
    assert parse_command(f"mdn fit DATA {options}") == (request_, dialect)


@pytest.mark.parametrize(
    "command",
    [
        "",
        "mdn",
        "mdn fit",
        f"mdn fit DATA --target {'a' * 70_000}",
        "rm -rf DATA",
        "mdn fit DATA 3",
        "mdn fit DATA --lr",
        "mdn fit DATA '",
    ],
)
def test_other_texts_give_an_empty_request(command: str) -> None:
    assert parse_command(command) == ({}, {})
