"""Writing a model file."""

import io

import torch
from small_model import DIALECT, REQUEST, small_fit

from mdncli.density.model import MixtureDensityNetwork
from mdncli.files import FileContent
from mdncli.modelfile.migrations import FORMAT, FORMAT_VERSION
from mdncli.modelfile.reader import read_model
from mdncli.modelfile.writer import write_model


def written(model: MixtureDensityNetwork) -> bytes:
    stream = io.BytesIO()
    write_model(model, stream)
    return stream.getvalue()


def test_torch_opens_it_as_a_dictionary_of_plain_values_and_tensors(content: bytes) -> None:
    plain = torch.load(io.BytesIO(content), weights_only=True)
    assert plain["format"] == FORMAT
    assert plain["format_version"] == FORMAT_VERSION == 7
    assert plain["settings"]["mixtures"] == 3
    assert [column["name"] for column in plain["schema"]["features"]] == ["a", "place"]
    assert [column["allows_missing"] for column in plain["schema"]["features"]] == [True, False]
    assert [column["name"] for column in plain["schema"]["targets"]] == ["y"]
    assert plain["record"]["rows"] == 80
    assert plain["origin"]["request"] == REQUEST
    assert plain["origin"]["dialect"] == DIALECT
    assert all(isinstance(tensor, torch.Tensor) for tensor in plain["state_dict"].values())


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
