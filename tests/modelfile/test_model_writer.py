"""Writing a model file."""

import io

import numpy as np
import torch
from small_model import DIALECT, REQUEST, small_fit

from mdncli.columns.dataset import Dataset
from mdncli.columns.features import NumberFeature
from mdncli.columns.schema import Schema, measure_targets
from mdncli.columns.transforms import ORDER, Interval, LowerBound, transform_between
from mdncli.density.model import MixtureDensityNetwork
from mdncli.files import FileContent
from mdncli.learning.fit import fit
from mdncli.modelfile.migrations import FORMAT, FORMAT_VERSION
from mdncli.modelfile.reader import read_model
from mdncli.modelfile.writer import write_model
from mdncli.settings import Settings


def written(model: MixtureDensityNetwork) -> bytes:
    stream = io.BytesIO()
    write_model(model, stream)
    return stream.getvalue()


def test_torch_opens_it_as_a_dictionary_of_plain_values_and_tensors(content: bytes) -> None:
    plain = torch.load(io.BytesIO(content), weights_only=True)
    assert plain["format"] == FORMAT
    assert plain["format_version"] == FORMAT_VERSION == 10
    assert plain["settings"]["mixtures"] == 3
    assert [column["name"] for column in plain["schema"]["features"]] == ["a", "place"]
    assert [column["allows_missing"] for column in plain["schema"]["features"]] == [True, False]
    assert [column["name"] for column in plain["schema"]["targets"]] == ["y"]
    assert plain["record"]["rows"] == 80
    assert plain["origin"]["request"] == REQUEST
    assert plain["origin"]["dialect"] == DIALECT
    assert all(isinstance(tensor, torch.Tensor) for tensor in plain["state_dict"].values())


def test_a_new_target_with_two_bounds_has_the_order_of_new_transforms() -> None:
    y = np.random.default_rng(0).random((50, 2))
    transforms = {"a": transform_between(0.0, 1.0), "b": transform_between(-1.0, None)}
    targets = measure_targets("t", ["a", "b"], y, transforms, {})
    rows = Dataset(np.linspace(0.0, 1.0, 50)[:, None], y)
    feature = NumberFeature.measure_feature("x", rows.x[:, 0])
    settings = Settings(mixtures=1, hidden=(4,), frequencies=0, epochs=1, ladder=False)
    content = written(fit(rows, Schema((feature,), targets), settings))
    plain = torch.load(io.BytesIO(content), weights_only=True)
    assert [column["order"] for column in plain["schema"]["targets"]] == [ORDER, 1]
    model = read_model(FileContent("model.pt", content))
    assert model.schema.transforms == (Interval(0.0, 1.0, ORDER), LowerBound(-1.0))


def test_the_same_fit_gives_the_same_bytes(content: bytes) -> None:
    assert written(small_fit()) == content


def test_reading_and_writing_gives_the_same_values(content: bytes) -> None:
    again = written(read_model(FileContent("model.pt", content)))
    first, second = (torch.load(io.BytesIO(v), weights_only=True) for v in (content, again))
    tensors = [plain.pop("state_dict") for plain in (first, second)]
    assert first == second
    assert list(tensors[0]) == list(tensors[1])
    for name, tensor in tensors[0].items():
        torch.testing.assert_close(tensor, tensors[1][name], rtol=0, atol=0)
