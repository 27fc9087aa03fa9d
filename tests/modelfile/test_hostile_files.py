"""Files that are damaged, are something else, or try to run code."""

import io
import math
import pickle
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from mdncli.density.model import MixtureDensityNetwork
from mdncli.errors import ModelFileError
from mdncli.files import FileContent
from mdncli.modelfile.reader import read_model


def read(content: bytes) -> MixtureDensityNetwork:
    return read_model(FileContent("model.pt", content))


def archive_of(pickled: bytes) -> bytes:
    """Return an archive with one entry, the pickle of a model file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
    return stream.getvalue()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(content: bytes, share: float) -> None:
    with pytest.raises(ModelFileError, match="model.pt: this is not a model file"):
        read(content[: int(share * len(content))])


def test_a_changed_byte_anywhere_is_refused_or_harmless(content: bytes) -> None:
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.integers(len(content), size=300):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        try:
            read(bytes(damaged))
        except ModelFileError:
            refused += 1
    assert refused > 200


@pytest.mark.parametrize("other", [b"x,y\n1,2\n", b"PK\x03\x04", pickle.dumps({"format": 1})])
def test_something_else_is_refused(other: bytes) -> None:
    with pytest.raises(ModelFileError, match="model.pt: this is not a model file"):
        read(other)


@pytest.mark.parametrize("other", [{"weights": torch.zeros(3)}, [1, 2], {"format": "other"}])
def test_another_file_of_torch_is_refused(other: object) -> None:
    stream = io.BytesIO()
    torch.save(other, stream)
    with pytest.raises(ModelFileError, match="this is not a model file that mdn wrote"):
        read(stream.getvalue())


class Code:
    """Calls a function when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple]:
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
    with pytest.raises(ModelFileError, match="model.pt: (refused|the model file is damaged)"):
        read(stream.getvalue())
    assert not mark.exists()


@pytest.mark.parametrize("name", ["builtins.eval", "os.system", "torch.load", "torch.nn.Linear"])
def test_any_other_name_is_refused(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    with pytest.raises(ModelFileError, match=f"names {name}"):
        read(archive_of(f"c{module}\n{attribute}\n.".encode()))


def test_a_compressed_file_is_refused(content: bytes) -> None:
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(ModelFileError, match="entries of the file are compressed"):
        read(stream.getvalue())


REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        # The unpickler would reserve as much memory as the number says.
        (b"\x80\x02}r\xff\xff\xff\x7f.", "damaged"),
        (b"}p2000000000\n.", "refused: the file uses PUT"),
        # The file sets the state of a function that a name stands for.
        (REBUILD + b"}X\x01\x00\x00\x00aK\x01sb.", "refused: the file uses BUILD"),
        # A tensor has thousands of dimensions.
        (REBUILD + b"(]K\x00(" + b"K\x01" * 5000 + b"t)tR.", "damaged"),
    ],
)
def test_a_pickle_that_wastes_memory_or_changes_objects_is_refused(
    pickled: bytes, message: str
) -> None:
    with pytest.raises(ModelFileError, match=message):
        read(archive_of(pickled))


def test_two_entries_of_one_name_are_refused() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for _ in range(2):
            archive.writestr("archive/data.pkl", b"}.")
    with pytest.raises(ModelFileError, match="overlap"):
        read(stream.getvalue())


@pytest.mark.parametrize("order", [0, -4, 17, 10**9, 2**70, True, 4.0, math.nan, "4", None, [4]])
def test_an_impossible_order_of_a_transform_is_refused(
    rewritten: Callable[[Callable[[dict], object]], bytes], order: object
) -> None:
    """It is the size of a table, so a huge one would take all the memory."""

    def edit(plain: dict, order: object = order) -> None:
        plain["schema"]["targets"][0].update(upper=9.0, order=order)

    with pytest.raises(ModelFileError, match="damaged: .*order"):
        read(rewritten(edit))
    for possible in (1, 4, 16):
        again = read(rewritten(partial(edit, order=possible)))
        assert again.schema.transforms[0].order == possible


def test_a_target_without_its_order_is_refused(
    rewritten: Callable[[Callable[[dict], object]], bytes],
) -> None:
    with pytest.raises(ModelFileError, match="damaged: .*'order'"):
        read(rewritten(lambda plain: plain["schema"]["targets"][0].pop("order")))


def test_a_list_that_contains_itself_is_refused(
    rewritten: Callable[[Callable[[dict], object]], bytes],
) -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(ModelFileError, match="damaged: it uses a value twice"):
        read(rewritten(lambda plain: plain["origin"].update(request={"target": endless})))
