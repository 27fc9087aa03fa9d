"""Reading a model file: what it holds, and values that make no model."""

import io
import math
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mdncli.density.model import MixtureDensityNetwork
from mdncli.errors import ModelFileError
from mdncli.files import FileContent
from mdncli.modelfile.migrations import MEMORY_TENSORS
from mdncli.modelfile.reader import read_model

Rewritten = Callable[[Callable[[dict], object]], bytes]


def read(content: bytes) -> MixtureDensityNetwork:
    return read_model(FileContent("model.pt", content))


def test_it_has_the_weights_that_torch_reads(content: bytes) -> None:
    state = torch.load(io.BytesIO(content), weights_only=True)["state_dict"]
    model = read(content)
    assert len(model.rungs) == 2
    for position, rung in enumerate(model.rungs):
        [network] = rung.networks
        prefix = f"rung.{position}.network.0"
        np.testing.assert_array_equal(network.frequencies, state[f"{prefix}.frequencies"])
        for index, (weight, bias) in enumerate(network.layers):
            np.testing.assert_array_equal(weight, state[f"{prefix}.layers.{index}.weight"])
            np.testing.assert_array_equal(bias, state[f"{prefix}.layers.{index}.bias"])
    assert model.background is not None
    np.testing.assert_array_equal(model.background.sigma, state["background.sigma"])
    assert list(model.memory.parts()) == ["forest", "boosted", "neighbours"]
    for kind, part in model.memory.parts().items():
        for name in MEMORY_TENSORS[kind]:
            np.testing.assert_array_equal(getattr(part, name), state[f"{kind}.{name}"])
    assert model.baseline is not None
    np.testing.assert_array_equal(model.baseline.sigma, state["baseline.sigma"])


def test_it_is_the_model_that_was_written(model: MixtureDensityNetwork, content: bytes) -> None:
    again = read(content)
    assert again.schema == model.schema
    for rung, other in zip(again.rungs, model.rungs, strict=True):
        assert rung.architecture == other.architecture
        assert rung.summary() == other.summary()
    assert again.background == model.background
    assert again.settings == model.settings
    assert again.record == model.record
    assert again.origin == model.origin
    x = np.array([[0.3, 0.0], [np.nan, 2.0]])
    np.testing.assert_allclose(again.mixture(x).mu, model.mixture(x).mu, rtol=1e-6)
    np.testing.assert_allclose(
        again.reference_mixture(x).mu, model.reference_mixture(x).mu, rtol=1e-6
    )
    np.testing.assert_allclose(
        again.baseline_mixture(x).sigma, model.baseline_mixture(x).sigma, rtol=1e-6
    )


def test_a_newer_version_is_refused_with_the_remedy(rewritten: Rewritten) -> None:
    newer = rewritten(lambda plain: plain.update(format_version=11))
    with pytest.raises(ModelFileError, match="has format 11, but .* up to 10. Upgrade mdn"):
        read(newer)


@pytest.mark.parametrize("version", [0, -1, True, "5", None, 4.0])
def test_an_impossible_version_is_refused(rewritten: Rewritten, version: object) -> None:
    with pytest.raises(ModelFileError, match="model.pt: the model file has format"):
        read(rewritten(lambda plain: plain.update(format_version=version)))


def set_at(plain: Any, path: str, value: object) -> None:
    """Set the value at a dotted path in nested dictionaries and lists."""
    *way, last = (int(key) if key.isdigit() else key for key in path.split("."))
    for key in way:
        plain = plain[key]
    plain[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("rungs", []),
        ("rungs", {}),
        ("rungs.0.name", 3),
        ("rungs.0.architecture.mixtures", "3"),
        ("rungs.0.architecture.mixtures", 6),
        ("rungs.0.architecture.mixtures", -3),
        ("rungs.0.architecture.hidden", [64]),
        ("rungs.0.architecture.hidden", "64"),
        ("rungs.1.architecture.activation", "exec"),
        ("rungs.1.architecture.covariance", "none"),
        ("rungs.1.architecture.frequencies", None),
        ("rungs.0.members", 0),
        ("rungs.0.members", 2),
        ("rungs.0.members", "1"),
        ("rungs.0.weight", 0.0),
        ("rungs.0.weight", 0.9),
        ("rungs.0.weight", -0.5),
        ("rungs.0.weight", math.nan),
        ("rungs.1.sigma_scale", 0.0),
        ("rungs.1.sigma_scale", math.inf),
        ("rungs.1.temperature", "hot"),
        ("rungs.1.nll_valid", None),
        ("rungs.1.reads", []),
        ("rungs.1.reads", 1),
        ("rungs.1.reads", ["neighbours", "forest", "boosted"]),
        ("rungs.1.reads", ["forest", "wood"]),
        ("rungs.1.reads", "forest"),
        ("memory", []),
        ("memory", "wood"),
        ("memory", ["forest", "boosted"]),
        ("memory", ["forest", "forest", "boosted", "neighbours"]),
        ("background", 0.0),
        ("background", 1.0),
        ("background", "heavy"),
        ("background", None),
        ("schema.features", []),
        ("schema.weight", 3),
        ("schema.targets.0.min_sigma", 0.0),
        ("schema.targets.0.step", "small"),
        ("schema.targets.0.lower", math.inf),
        ("schema.targets.0.lower", "low"),
        ("schema.targets.0.lower", 1e9),
        ("schema.targets.0.upper", -1e9),
        ("schema.targets.0.order", 4),
        ("schema.targets.0.order", 0),
        ("schema.targets.0.order", None),
        ("schema.features.0.knots", [1.0]),
        ("schema.features.0.scale", 0.0),
        ("schema.features.0.mean", "zero"),
        ("schema.features.0.name", 3),
        ("schema.features.0.kind", "color"),
        ("schema.features.0.allows_missing", 1),
        ("schema.features.0.linear", 1),
        ("schema.features.0.gaps", False),
        ("schema.features.1.levels", ["a", "a"]),
        ("schema.features.1.levels", [1, 2]),
        ("schema.features.1.rare", [2]),
        ("schema.features.1.rare", ["north"]),
        ("record.best_epochs", []),
        ("record.best_epochs", [1.5]),
        ("record.components", [{"weight": [1.0]}]),
        ("record.reference", {}),
        ("record.history", []),
        ("record.epochs", "many"),
        ("record.tried", {"one": 1.0}),
        ("record.cv", [1]),
        ("record.surprise", 1),
        ("settings", 3),
        ("baseline_nll", "low"),
        ("origin.request", {1: "y"}),
        ("origin.request", {"target": [["y"]]}),
        ("origin.request", "mdn fit DATA"),
        ("origin.dialect", {"delimiter": ";;;;"}),
        ("origin.dialect", {"skip_lines": -1}),
        ("origin.dialect", {"skip_lines": 1.5}),
        ("origin.dialect", {"thousands": 1}),
        ("origin.dialect", {"strip": [1]}),
        ("origin.dialect", {"name_columns": 1}),
        ("schema.targets.0.rounded", 1),
        ("schema.targets.0.rounded", True),
        ("origin.dialect", {"color": "red"}),
        ("origin.dialect", {"header": "no"}),
        ("origin.dialect", {"na": [1]}),
        ("origin.versions", ["numpy"]),
        ("origin.versions", {"numpy": 2}),
        ("origin.table_sha256", 0),
        ("origin.command", "mdn fit DATA"),
    ],
)
def test_values_that_make_no_model_are_refused(
    rewritten: Rewritten, path: str, value: object
) -> None:
    with pytest.raises(ModelFileError, match="model.pt: the model file is damaged"):
        read(rewritten(lambda plain: set_at(plain, path, value)))


@pytest.mark.parametrize(
    "key",
    [
        *("schema", "rungs", "background", "settings", "record", "reference", "baseline"),
        "memory",
        *("baseline_nll", "origin", "state_dict"),
    ],
)
def test_a_missing_part_is_refused(rewritten: Rewritten, key: str) -> None:
    with pytest.raises(ModelFileError, match=f"model.pt: .* damaged: '{key}' is missing"):
        read(rewritten(lambda plain: plain.pop(key)))


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        ("memory", ["forest"], "the memory of a rung"),
        ("schema.targets", [], "the number of columns"),
        ("rungs.0.architecture.hidden", [0], "a width"),
    ],
)
def test_a_message_names_what_is_damaged(
    rewritten: Rewritten, path: str, value: object, what: str
) -> None:
    with pytest.raises(ModelFileError, match=f"damaged: {what}"):
        read(rewritten(lambda plain: set_at(plain, path, value)))


def test_a_file_from_a_machine_with_the_other_byte_order_has_the_same_numbers(
    content: bytes, model: MixtureDensityNetwork
) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            part = old.read(name)
            if "/data/" in name:
                part = np.frombuffer(part, "<f4").astype(">f4").tobytes()
            new.writestr(name, b"big" if name.endswith("/byteorder") else part)
    other = read(stream.getvalue())
    assert other.reference is not None
    assert model.reference is not None
    np.testing.assert_allclose(other.reference.mu, model.reference.mu, rtol=1e-6)


def test_boosted_trees_may_have_a_single_level(rewritten: Rewritten) -> None:
    def edit(plain: dict) -> None:
        state = plain["state_dict"]
        for name in ("feature", "threshold", "value"):
            levels = 2 if name == "value" else 1
            state[f"boosted.{name}"] = state[f"boosted.{name}"][:, :levels].clone()

    boosted = read(rewritten(edit)).memory.boosted
    assert boosted is not None
    assert boosted.feature.shape[1] == 1


@pytest.mark.parametrize("tensor", [torch.zeros(2, 2), torch.full((4, 7), torch.nan), "zeros"])
def test_tensors_that_do_not_fit_are_refused(rewritten: Rewritten, tensor: object) -> None:
    name = "rung.0.network.0.layers.0.weight"
    with pytest.raises(ModelFileError, match=f"damaged: .*{name}"):
        read(rewritten(lambda plain: plain["state_dict"].update({name: tensor})))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("reference.sigma", "marginal reference"),
        ("baseline.sigma", "baseline"),
        ("background.sigma", "background"),
    ],
)
def test_a_sigma_that_is_not_positive_is_refused(
    rewritten: Rewritten, name: str, what: str
) -> None:
    with pytest.raises(ModelFileError, match=f"a sigma of the {what}"):
        read(rewritten(lambda plain: plain["state_dict"][name].fill_(-1.0)))


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("roots", 0, 1.0),
        ("roots", 1, 0.0),
        ("roots", 1, 0.5),
        ("roots", 2, 1e9),
        ("feature", 0, -1.0),
        ("feature", 0, 99.0),
        ("feature", 0, 0.5),
        # A row would never reach a leaf, or would leave its tree.
        ("left", 0, 0.0),
        ("left", 1, 0.0),
        ("left", 0, 1e6),
        ("left", 0, 1.5),
        ("threshold", -1, 0.0),
    ],
)
def test_a_forest_in_which_a_path_does_not_end_is_refused(
    rewritten: Rewritten, name: str, place: int, value: float
) -> None:
    def edit(plain: dict) -> None:
        plain["state_dict"][f"forest.{name}"][place] = value

    with pytest.raises(ModelFileError, match="model.pt: .* damaged: a .* of the forest"):
        read(rewritten(edit))


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("boosted.feature", (0, 0), -1.0),
        ("boosted.feature", (0, 0), 0.5),
        ("boosted.feature", (0, 0), 1e6),
        ("boosted.threshold", (0, 0), math.inf),
        ("boosted.value", (0, 0, 0), math.nan),
        ("neighbours.columns", 0, -1.0),
        ("neighbours.columns", 0, 1e9),
        ("neighbours.scale", 0, -1.0),
        ("neighbours.points", (0, 0), math.nan),
        ("neighbours.y", (0, 0), -math.inf),
    ],
)
def test_an_impossible_value_of_the_memory_is_refused(
    rewritten: Rewritten, name: str, place: int | tuple[int, ...], value: float
) -> None:
    def edit(plain: dict) -> None:
        plain["state_dict"][name][place] = value

    with pytest.raises(ModelFileError, match="model.pt: .* damaged"):
        read(rewritten(edit))


@pytest.mark.parametrize(
    "name", [f"{kind}.{name}" for kind, names in MEMORY_TENSORS.items() for name in names]
)
def test_a_part_of_the_memory_of_another_size_is_refused(rewritten: Rewritten, name: str) -> None:
    for shape in ((), (2,), (2, 2, 2), (3, 9), (0, 3)):

        def edit(plain: dict, shape: tuple[int, ...] = shape) -> None:
            plain["state_dict"][name] = torch.zeros(shape)

        with pytest.raises(ModelFileError, match="model.pt: .* damaged"):
            read(rewritten(edit))
    with pytest.raises(ModelFileError, match="model.pt: .* damaged"):
        read(rewritten(lambda plain: plain["state_dict"].pop(name)))
