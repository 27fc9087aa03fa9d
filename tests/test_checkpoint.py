import io
import math
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from mdncli.errors import ModelFileError
from mdncli.modelfile import reader as checkpoint


@pytest.fixture(scope="module")
def content(fitted: Path) -> bytes:
    return (fitted / "model.pt").read_bytes()


def rewritten(content: bytes, **changes: object) -> bytes:
    """Return a model file with some of its entries changed, as torch.save writes it."""
    plain = torch.load(io.BytesIO(content), weights_only=True)
    stream = io.BytesIO()
    torch.save({**plain, **changes}, stream)
    return stream.getvalue()


def test_torch_opens_it_as_a_dictionary_of_plain_values_and_tensors(content: bytes) -> None:
    plain = torch.load(io.BytesIO(content), weights_only=True)
    assert plain["format"] == checkpoint.FORMAT
    assert plain["format_version"] == checkpoint.FORMAT_VERSION
    assert plain["settings"]["mixtures"] == 5
    assert [column["name"] for column in plain["schema"]["features"]] == ["x"]
    assert [column["name"] for column in plain["schema"]["targets"]] == ["y"]
    assert plain["record"]["rows"] == 1000
    assert all(isinstance(tensor, torch.Tensor) for tensor in plain["state_dict"].values())


def test_read_without_torch_it_holds_the_same_weights(content: bytes) -> None:
    state = torch.load(io.BytesIO(content), weights_only=True)["state_dict"]
    density = checkpoint.load(content, "model.pt")
    [network] = density.networks
    np.testing.assert_array_equal(network.frequencies, state["network.0.frequencies"])
    for index, (weight, bias) in enumerate(network.layers):
        np.testing.assert_array_equal(weight, state[f"network.0.layers.{index}.weight"])
        np.testing.assert_array_equal(bias, state[f"network.0.layers.{index}.bias"])
    assert density.baseline is not None
    np.testing.assert_array_equal(density.baseline.sigma, state["baseline.sigma"])


def test_saving_what_was_loaded_gives_the_same_model(content: bytes) -> None:
    stream = io.BytesIO()
    checkpoint.save(checkpoint.load(content, "model.pt"), stream)
    first, second = (
        torch.load(io.BytesIO(v), weights_only=True) for v in (content, stream.getvalue())
    )
    tensors = [plain.pop("state_dict") for plain in (first, second)]
    assert first == second
    assert list(tensors[0]) == list(tensors[1])
    for name, tensor in tensors[0].items():
        torch.testing.assert_close(tensor, tensors[1][name], rtol=0, atol=0)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(content: bytes, share: float) -> None:
    with pytest.raises(ModelFileError, match="model.pt: this is not a model file"):
        checkpoint.load(content[: int(share * len(content))], "model.pt")


def test_a_changed_byte_anywhere_is_refused_or_harmless(content: bytes) -> None:
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.integers(len(content), size=300):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        try:
            checkpoint.load(bytes(damaged), "model.pt")
        except ModelFileError:
            refused += 1
    assert refused > 200


@pytest.mark.parametrize("other", [b"x,y\n1,2\n", b"PK\x03\x04", pickle.dumps({"format": 1})])
def test_something_else_is_refused(other: bytes) -> None:
    with pytest.raises(ModelFileError, match="not a model file"):
        checkpoint.load(other, "model.pt")


def test_another_file_of_torch_is_refused() -> None:
    stream = io.BytesIO()
    torch.save({"weights": torch.zeros(3)}, stream)
    with pytest.raises(ModelFileError, match="not a model file that mdn fit wrote"):
        checkpoint.load(stream.getvalue(), "model.pt")


def test_a_newer_version_is_refused_with_the_remedy(content: bytes) -> None:
    with pytest.raises(ModelFileError, match="format 5; this mdn reads up to format 4. Upgrade"):
        checkpoint.load(rewritten(content, format_version=5), "model.pt")


class Code:
    """What a malicious file would hold."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_in_a_file_is_refused_and_never_run(
    content: bytes, tmp_path: Path, protocol: int
) -> None:
    mark = tmp_path / "it ran"
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            code = pickle.dumps({"format": Code(mark)}, protocol=protocol)
            new.writestr(name, code if name.endswith("data.pkl") else old.read(name))
    with pytest.raises(ModelFileError, match="model.pt: refused: the file (names|uses)"):
        checkpoint.load(stream.getvalue(), "model.pt")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["builtins.eval", "os.system", "torch.load", "torch.nn.Linear"])
def test_any_other_name_is_refused(content: bytes, name: str) -> None:
    module, _, attribute = name.rpartition(".")
    pickled = f"c{module}\n{attribute}\n.".encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
    with pytest.raises(ModelFileError, match=f"names {name}"):
        checkpoint.load(stream.getvalue(), "model.pt")


def test_a_compressed_file_is_refused(content: bytes) -> None:
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(ModelFileError, match="compressed inside"):
        checkpoint.load(stream.getvalue(), "model.pt")


REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        # Memory reserved by a number in the file.
        (b"\x80\x02}r\xff\xff\xff\x7f.", "damaged"),
        (b"}p2000000000\n.", "refused: the file uses PUT"),
        # The state of a function that a name stands for.
        (REBUILD + b"}X\x01\x00\x00\x00aK\x01sb.", "refused: the file uses BUILD"),
        # A tensor of as many dimensions as the file likes.
        (REBUILD + b"(]K\x00(" + b"K\x01" * 5000 + b"t)tR.", "too many dimensions"),
    ],
)
def test_a_pickle_that_wastes_or_meddles_is_refused(pickled: bytes, message: str) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
    with pytest.raises(ModelFileError, match=message):
        checkpoint.load(stream.getvalue(), "model.pt")


def test_entries_of_the_same_name_are_refused(content: bytes) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for _ in range(2):
            archive.writestr("archive/data.pkl", b"}.")
    with pytest.raises(ModelFileError, match="overlap"):
        checkpoint.load(stream.getvalue(), "model.pt")


def changed(plain: dict, path: str, value: object) -> dict:
    """Return the entry of a file's dictionary that a dotted path leads into, changed at its end."""
    first, _, rest = path.partition(".")
    inner = plain[first]
    keys = rest.split(".")
    for key in keys[:-1]:
        inner = inner[int(key) if key.isdigit() else key]
    inner[keys[-1]] = value
    return {first: plain[first]}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("architecture.mixtures", "5"),
        ("architecture.mixtures", 6),
        ("architecture.mixtures", -5),
        ("architecture.hidden", [64]),
        ("architecture.hidden", "64"),
        ("architecture.activation", "exec"),
        ("architecture.covariance", "none"),
        ("schema.targets.0.min_sigma", 0.0),
        ("schema.targets.0.step", "small"),
        ("schema.targets.0.lower", math.inf),
        ("schema.targets.0.lower", "low"),
        ("schema.targets.0.lower", 1e9),
        ("schema.targets.0.upper", -1e9),
        ("schema.features.0.knots", [1.0]),
        ("record.best_epochs", [1, 2]),
        ("record.components", [{"weight": [1.0]}]),
        ("record.reference", {}),
        ("architecture.frequencies", None),
        ("schema.features.0.scale", 0.0),
        ("schema.features.0.mean", "zero"),
        ("schema.features.0.name", 3),
        ("record.history", []),
        ("record.epochs", "many"),
        ("record.surprise", 1),
    ],
)
def test_values_that_make_no_model_are_refused(content: bytes, path: str, value: object) -> None:
    plain = torch.load(io.BytesIO(content), weights_only=True)
    with pytest.raises(ModelFileError, match="model.pt: the model file is damaged"):
        checkpoint.load(rewritten(content, **changed(plain, path, value)), "model.pt")


@pytest.mark.parametrize("tensor", [torch.zeros(2, 2), torch.full((64, 9), torch.nan), "zeros"])
def test_tensors_that_do_not_fit_are_refused(content: bytes, tensor: object) -> None:
    plain = torch.load(io.BytesIO(content), weights_only=True)
    plain["state_dict"]["network.0.layers.0.weight"] = tensor
    with pytest.raises(ModelFileError, match="damaged"):
        checkpoint.load(rewritten(content, state_dict=plain["state_dict"]), "model.pt")


def test_a_file_of_version_1_still_gives_its_answers() -> None:
    content = (Path(__file__).parent / "files" / "version1.pt").read_bytes()
    density = checkpoint.load(content, "version1.pt")
    x, y = np.array([[0.2], [0.5], [0.9]]), np.array([[0.1], [0.5], [0.7]])
    expected = [-0.18656212, -0.50449893, 0.31692439]
    np.testing.assert_allclose(-density.nll(x, y), expected, atol=1e-7)
    means = density.condition_baseline(x).mean()[:, 0]
    np.testing.assert_allclose(means, [0.49604561, 0.51481753, 0.55654698], atol=1e-7)
    assert density.reference is None
    stream = io.BytesIO()
    checkpoint.save(density, stream)
    again = checkpoint.load(stream.getvalue(), "again.pt")
    np.testing.assert_allclose(-again.nll(x, y), expected, atol=1e-7)


def test_a_file_of_version_2_still_gives_its_answers() -> None:
    content = (Path(__file__).parent / "files" / "version2.pt").read_bytes()
    density = checkpoint.load(content, "version2.pt")
    x, y = np.array([[-3.0], [0.5], [9.0]]), np.array([[1.0], [0.5], [7.0]])
    expected = [3.3082727031838934, 3.279661002446196, 2.8196397075102007]
    np.testing.assert_allclose(density.nll(x, y), expected, rtol=1e-5)
    means = density.condition_reference(x).mean()[:, 0]
    np.testing.assert_allclose(means, 0.35503327061752143, rtol=1e-6)
    assert len(density.networks) == 2
    assert density.origin.table_sha256 == ""
    assert density.record.cv == []


def test_a_file_of_version_3_still_gives_its_answers() -> None:
    content = (Path(__file__).parent / "files" / "version3.pt").read_bytes()
    density = checkpoint.load(content, "version3.pt")
    x, y = np.array([[-3.0], [0.5], [9.0]]), np.array([[1.0], [0.5], [7.0]])
    expected = [3.4681686720372995, 3.0753663586557125, 3.806584132383117]
    np.testing.assert_allclose(density.nll(x, y), expected, rtol=1e-5)
    means = density.condition_baseline(x).mean()[:, 0]
    np.testing.assert_allclose(means, [1.05496552667, 0.27400306702, 5.57120607361], rtol=1e-6)
    assert len(density.record.cv) == 2
    assert density.origin.command.startswith("mdn fit DATA --cv 2")
