"""Model files that no program wrote: each must be refused, soon and without much memory."""

import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from modelfile import archives
from modelfile.archives import PROTOCOL, REBUILD, STOP, file_of, file_with, storage, tensor, text

GOLDEN = (archives.FILES / "version9.pt").read_bytes()
# What the files try to do: leave a mark in the folder where they are read.
CANARY = "canary"
COMMAND = text(f"touch {CANARY}")
FOUR = {"data/0": struct.pack("<4f", 1.0, 2.0, 3.0, 4.0)}


def edited(edit: Callable[[dict[str, Any]], object]) -> bytes:
    """Return a model file in which a function changed the content."""
    content = archives.content_of(GOLDEN)
    edit(content)
    return file_of(content)


def set_at(path: str, value: object) -> bytes:
    """Return a model file with a value at a dotted path; bytes are opcodes."""

    def edit(content: Any) -> None:
        *way, last = (int(key) if key.isdigit() else key for key in path.split("."))
        for key in way:
            content = content[key]
        content[last] = value

    return edited(edit)


def version(opcodes: bytes) -> bytes:
    return file_of({"format": "mdncli.model", "format_version": opcodes})


def pickled(opcodes: bytes, **data: bytes) -> bytes:
    return file_with(PROTOCOL + opcodes + STOP, {**FOUR, **data})


def doubled(times: int) -> bytes:
    """Return opcodes of a tuple that holds itself twice, so many times over."""
    twice = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(times))
    return b")" + twice


def weights(value: float) -> bytes:
    """Return a model file whose weights are so large."""

    def edit(content: dict[str, Any]) -> None:
        for name, array in content["state_dict"].items():
            if ".layers." in name:
                array[...] = value

    return edited(edit)


def tensor_of(numbers: bytes, *shape: Any, **more: Any) -> bytes:
    return pickled(b"}" + text("t") + tensor(numbers, *shape, **more) + b"s")


def call(module: str, name: str, arguments: bytes) -> bytes:
    return pickled(f"c{module}\n{name}\n".encode() + b"(" + arguments + b"tR")


def members(**changes: bytes) -> dict[str, bytes]:
    """Return the entries of a whole model, some of them changed or added."""
    entries = archives.entries_of(archives.content_of(GOLDEN))
    return {**entries, **{name.replace("__", "/"): each for name, each in changes.items()}}


def in_folder(folder: str) -> bytes:
    return archives.archive({f"{folder}{n.partition('/')[2]}": e for n, e in members().items()})


def patched(*patches: tuple[bytes, int, bytes]) -> bytes:
    """Return a model file in which the bytes at a distance from every such mark are others."""
    file = bytearray(archives.archive(members()))
    for mark, distance, value in patches:
        place = file.find(mark)
        while place >= 0:
            file[place + distance : place + distance + len(value)] = value
            place = file.find(mark, place + 4)
    return bytes(file)


def twice_the_same_name() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        for name, content in members().items():
            made.writestr(name, content)
        made.fp.seek(0, io.SEEK_END)
    # The second name gets as many bytes as the first one has.
    other, same = b"archive/data/1", b"archive/data/0"
    return stream.getvalue().replace(other, same)


def one_entry_in_place_of_all() -> bytes:
    """Return an archive whose directory points all names to one place."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        for name, content in members().items():
            made.writestr(name, content)
        first = made.infolist()[0]
        for entry in made.infolist():
            entry.header_offset = first.header_offset
    return stream.getvalue()


def tar_with_a_call() -> bytes:
    """Return a file of the tar format, which `torch.load` once read with Python's unpickler."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        for name in ("pickle", "storages", "tensors"):
            content = b"cos\nsystem\n(" + COMMAND + b"tR."
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def legacy_file_with_a_call() -> bytes:
    """Return a file as `torch.save` wrote it before it wrote zip archives."""
    magic = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    return b"".join(map(pickle.dumps, magic)) + b"cos\nsystem\n(" + COMMAND + b"tR."


# A storage that is named, but does not exist in the file or is of another size.
LARGER, NEGATIVE = storage("0", 4096), storage("0", -4)
SPARSE = b"ctorch._utils\n_rebuild_sparse_tensor\n"
QUANTIZED = b"ctorch._utils\n_rebuild_qtensor\n"
MARKS = {"directory": b"PK\x01\x02", "local": b"PK\x03\x04"}
BOUNDED = {
    **{"rounded": False, "step": None, "lower": -1.0, "upper": None, "order": 1},
    **{"lowest": 0.0, "median": 1.0, "highest": 9.0, "min_sigma": 1e30},
}
A_FEATURE, A_TARGET = "schema.features.0", "schema.targets.0"

# What each file does, and how it is made.
HOSTILE: dict[str, Callable[[], bytes]] = {
    # Depth, sizes and repeated values.
    "a tuple doubled 40 times as a name": lambda: pickled(b"}" + doubled(40) + b"K\x01s"),
    "a tuple nested 40 deep as a name": lambda: pickled(b"})" + b"\x85" * 40 + b"K\x01s"),
    "200,000 tuples in each other": lambda: pickled(b"N" + b"\x85" * 200_000),
    "200,000 lists in each other": lambda: pickled(b"]" * 200_000 + b"a" * 199_999),
    "200,000 dictionaries in each other": lambda: pickled(
        b"}" + (text("a") + b"}") * 200_000 + b"s" * 200_000
    ),
    "200,000 marks": lambda: pickled(b"(" * 200_000 + b"t" * 200_000),
    "a version doubled 24 times": lambda: version(doubled(24)),
    "a version of 200,000 tuples": lambda: version(b"N" + b"\x85" * 200_000),
    "a version of a million characters": lambda: version(text("9" * 1_000_000)),
    "a version of 70 bits": lambda: version(archives.whole(2**70)),
    "a list that contains itself": lambda: pickled(b"]q\x00h\x00a"),
    "ten million opcodes": lambda: pickled(b"N" * 10_000_000),
    "ten million items of a list": lambda: pickled(b"](" + b"N" * 10_000_000 + b"e"),
    "four million opcodes": lambda: pickled(b"](" + b"N" * 4_000_000 + b"e"),
    "two million items, one by one": lambda: pickled(b"]" + b"Na" * 2_000_000),
    "a megabyte of text, used 5000 times": lambda: pickled(
        b"](" + text("x" * 1_000_000) + b"q\x00" + b"h\x00" * 5000 + b"e"
    ),
    "a megabyte, used by 20,000 tensors": lambda: pickled(
        b"](" + tensor(storage("9", 250_000), (250_000,), (1,)) * 20_000 + b"e",
        **{"data/9": bytes(1_000_000)},
    ),
    "a storage used twice": lambda: tensor_of(storage("0", 4) + b"0" + storage("0", 4), (4,), (1,)),
    "a tensor used twice": lambda: pickled(
        b"](" + tensor(storage("0", 4), (4,), (1,)) + b"q\x00h\x00e"
    ),
    "a place in the memo of two billion": lambda: pickled(b"}r\xff\xff\xff\x7f"),
    "a value that is not in the memo": lambda: pickled(b"h\x07"),
    "a whole number of 255 bytes": lambda: pickled(b"\x8a\xff" + b"\x01" * 255),
    "a whole number of a gigabyte": lambda: pickled(b"\x8b\x00\x00\x00\x40"),
    "a text that is longer than the file": lambda: pickled(b"X\xff\xff\xff\xff"),
    "numbers of one hash as names": lambda: pickled(
        b"}(" + b"".join(archives.whole(k * (2**61 - 1)) + b"N" for k in range(500)) + b"u"
    ),
    "a name twice in a dictionary": lambda: pickled(b"}(" + (text("a") + b"N") * 2 + b"u"),
    "a truth value as a name": lambda: pickled(b"}\x88Ns"),
    "nothing": lambda: pickled(b""),
    "two values": lambda: pickled(b"}}"),
    "more after the end": lambda: pickled(b"}.}"),
    "no end": lambda: file_with(PROTOCOL + b"}"),
    "a value below a mark": lambda: pickled(b"](\x85"),
    "another protocol": lambda: file_with(b"\x80\x04}."),
    "a byte that is no opcode": lambda: pickled(b"}\xff"),
    # Calls.
    "os.system": lambda: call("os", "system", COMMAND),
    "posix.system": lambda: call("posix", "system", COMMAND),
    "builtins.eval": lambda: call("builtins", "eval", text(f"open('{CANARY}', 'w')")),
    "builtins.getattr": lambda: call("builtins", "getattr", text("a") + text("b")),
    "torch.load": lambda: call("torch", "load", text("other.pt")),
    "torch.hub.load": lambda: call("torch.hub", "load", text("a") + text("b")),
    "a name in two parts": lambda: call("torch._utils._rebuild_tensor_v2\nos", "system", COMMAND),
    "a very long name": lambda: pickled(b"c" + b"a" * 100_000 + b"\nb\n"),
    "a name that is not ASCII": lambda: pickled("cös\nsystem\n".encode()),
    "a call of a text": lambda: pickled(text("print") + b")R"),
    "a call of a tensor": lambda: pickled(tensor(storage("0", 4), (4,), (1,)) + b")R"),
    "hooks with arguments": lambda: pickled(b"ccollections\nOrderedDict\n(]tR"),
    "a function as a value": lambda: pickled(b"]" + REBUILD + b"a"),
    "the state of a function": lambda: pickled(REBUILD + b"}" + text("a") + b"K\x01sb"),
    "a persistent name": lambda: pickled(b"P" + CANARY.encode() + b"\n"),
    "a reference to a text": lambda: pickled(text(CANARY) + b"Q"),
    "a reference to five values": lambda: pickled(b"(NNNNNtQ"),
    # The published faults of torch's own reader of weights: CVE-2025-32434 and CVE-2026-24747.
    "a tar archive that calls": tar_with_a_call,
    "an old file that calls": legacy_file_with_a_call,
    "items set in a tensor": lambda: pickled(tensor(storage("0", 4), (4,), (1,)) + b"K\x00K\x01s"),
    "items set in a list": lambda: pickled(b"](K\x00K\x01u"),
    "items set in a function": lambda: pickled(REBUILD + b"(K\x00K\x01u"),
    "items added to a dictionary": lambda: pickled(b"}K\x00a"),
    "a name without a value": lambda: pickled(b"}(K\x00u"),
    "a storage that is larger than its data": lambda: tensor_of(LARGER, (4096,), (1,)),
    "a storage of a negative size": lambda: tensor_of(NEGATIVE, (4,), (1,)),
    # Tensors.
    "a storage without data": lambda: tensor_of(storage("7", 4), (4,), (1,)),
    "data outside the folder": lambda: tensor_of(storage("../data.pkl", 4), (4,), (1,)),
    "numbers of 64 bits": lambda: tensor_of(storage("0", 2, "DoubleStorage"), (2,), (1,)),
    "whole numbers": lambda: tensor_of(storage("0", 2, "LongStorage"), (2,), (1,)),
    "a shape beyond the storage": lambda: tensor_of(storage("0", 4), (5,), (1,)),
    "a shape of 2^60 numbers": lambda: tensor_of(storage("0", 4), (2**30, 2**30), (2**30, 1)),
    "a stride of 0": lambda: tensor_of(storage("0", 4), (2**30,), (0,)),
    "a transposed tensor": lambda: tensor_of(storage("0", 4), (2, 2), (1, 2)),
    "a negative size": lambda: tensor_of(storage("0", 4), (-4,), (1,)),
    "an offset beyond the storage": lambda: tensor_of(storage("0", 4), (2,), (1,), 3),
    "a negative offset": lambda: tensor_of(storage("0", 4), (2,), (1,), -2),
    "a tensor of four dimensions": lambda: tensor_of(storage("0", 4), (4, 1, 1, 1), (1, 1, 1, 1)),
    "a tensor of 5000 dimensions": lambda: tensor_of(storage("0", 4), (1,) * 5000, (1,) * 5000),
    "a tensor with hooks": lambda: tensor_of(storage("0", 4), (4,), (1,), hooks=b"}"),
    "a tensor in place of a storage": lambda: tensor_of(b"N", (4,), (1,)),
    "a tensor with too few parts": lambda: pickled(REBUILD + b"(K\x00tR"),
    "a sparse tensor": lambda: pickled(SPARSE + b"(NNtR"),
    "a quantized tensor": lambda: pickled(QUANTIZED + b"(" + storage("0", 4) + b"tR"),
    "a tensor in place of the content": lambda: pickled(tensor(storage("0", 4), (4,), (1,))),
    "infinite weights": lambda: weights(np.inf),
    "weights that are no numbers": lambda: weights(np.nan),
    "weights near the end of float32": lambda: weights(3e38),
    "large weights": lambda: weights(1e15),
    "a signalling NaN": lambda: archives.archive(
        members(archive__data__1=b"\x01\x00\x80\x7f" * (len(members()["archive/data/1"]) // 4))
    ),
    "a foreign byte order": lambda: archives.archive(members(archive__byteorder=b"big")),
    "an unknown byte order": lambda: archives.archive(members(archive__byteorder=b"middle")),
    "a very long byte order": lambda: archives.archive(members(archive__byteorder=b"little" * 9)),
    # The archive.
    "compressed entries": lambda: archives.archive(members(), zipfile.ZIP_DEFLATED),
    "a gigabyte of zeros, compressed": lambda: archives.archive(
        members(archive__data__0=bytes(100_000_000)), zipfile.ZIP_DEFLATED
    ),
    "two entries of one name": twice_the_same_name,
    "entries that lie over each other": one_entry_in_place_of_all,
    "an entry of four gigabytes": lambda: patched(
        (MARKS["directory"], 20, b"\xfe\xff\xff\xff" * 2)
    ),
    "an entry with two sizes": lambda: patched((MARKS["directory"], 20, b"\x05\x00\x00\x00")),
    "an entry beyond the file": lambda: patched((MARKS["directory"], 42, b"\xff\xff\xff\x7f")),
    "an encrypted entry": lambda: patched((MARKS["directory"], 8, b"\x01\x00")),
    "a wrong checksum": lambda: patched((MARKS["directory"], 16, b"\x00\x00\x00\x00")),
    "a local name that differs": lambda: patched((MARKS["local"], 30, b"z")),
    "names that lead out of the folder": lambda: in_folder("../"),
    "names from the root": lambda: in_folder("/"),
    "names that lead back": lambda: in_folder("archive/../"),
    "names with a drive": lambda: in_folder("C:/"),
    "names with a line end": lambda: in_folder("a\nb/"),
    "names without a folder": lambda: in_folder(""),
    "two folders": lambda: archives.archive({**members(), "other/data.pkl": b"}."}),
    "60,000 entries": lambda: archives.archive(
        {**members(), **{f"archive/data/{k}": b"" for k in range(100, 60_100)}}
    ),
    "no entries": lambda: archives.archive({}),
    "no pickle": lambda: archives.archive({"archive/version": b"3"}),
    "other bytes before the archive": lambda: b"#!/bin/sh\n" + GOLDEN,
    "the beginning alone": lambda: GOLDEN[:4],
    "an empty file": lambda: b"",
    # Texts that are not valid Unicode.
    "half a surrogate pair as the name of a feature": lambda: set_at(f"{A_FEATURE}.name", "\ud800"),
    "half a surrogate pair as the name of a target": lambda: set_at(f"{A_TARGET}.name", "\udfff"),
    "half a surrogate pair as a level": lambda: set_at("schema.features.1.levels.0", "\udc80"),
    "half a surrogate pair in a date format": lambda: set_at(A_FEATURE, date("%Y\ud800")),
    "a null character in a date format": lambda: set_at(A_FEATURE, date("%Y\0")),
    "half a surrogate pair as a column of weights": lambda: set_at("schema.weight", "\ud800"),
    # Values that no writer writes.
    "an unknown reason to stop": lambda: set_at("record.stopped", "bored"),
    "a number as the reason to stop": lambda: set_at("record.stopped", 3),
    "folds that are numbers": lambda: set_at("record.cv", [1]),
    "folds without scores": lambda: set_at("record.cv", [{}]),
    "folds with texts for scores": lambda: set_at("record.cv", [fold(nll="low")]),
    "folds with lists for scores": lambda: set_at("record.cv", [fold(crps=[1.0])]),
    "folds without the coverage that is shown": lambda: set_at("record.cv", [fold(coverage={})]),
    "folds with an infinite score": lambda: set_at("record.cv", [fold(nll=np.inf)] * 2),
    "a tensor among the settings": lambda: set_at("settings.lr", np.zeros(2)),
    "a tensor among the columns": lambda: set_at("schema.weight", np.zeros(2)),
    "a tensor in the request": lambda: set_at("origin.request", {"lr": np.zeros(2)}),
    "a tensor that no part needs": lambda: set_at("state_dict.more", np.zeros(2)),
    "a dictionary in place of a tensor": lambda: set_at("state_dict", {"a": {}}),
    "tuples as names": lambda: set_at("origin.request", b"})Ns"),
    "a setting that does not exist": lambda: set_at("settings.colour", "red"),
    "a setting of another kind": lambda: set_at("settings.lr", "fast"),
    "a setting that is out of its range": lambda: set_at("settings.dropout", 7.0),
    "hidden layers as a text": lambda: set_at("settings.hidden", "64"),
    "a name that no version has": lambda: edited(lambda content: content.update(more=1)),
    "two columns of one name": lambda: edited(same_names),
    "more rare levels than levels": lambda: set_at("schema.features.1.rare", [0, 1, 2, 3]),
    "every level rare": lambda: edited(all_rare),
    "history of another length": lambda: set_at("record.history.nll_train", [1.0]),
    "a share of components above 1": lambda: set_at("record.components.0.weight", [2.0, -1.0]),
    "a dialect with a list": lambda: set_at("origin.dialect", {"decimal": ["."]}),
    "an encoding that does not exist": lambda: set_at("origin.dialect", {"encoding": "os"}),
    # Magnitudes.
    "a scale of a feature of 0": lambda: set_at(f"{A_FEATURE}.scale", 0.0),
    "a range of a feature near 1e308": lambda: set_at(f"{A_FEATURE}.highest", 1.7e308),
    "a mean of a feature near -1e308": lambda: set_at(f"{A_FEATURE}.mean", -1.7e308),
    "a range of a feature that falls": lambda: set_at(f"{A_FEATURE}.lowest", 1e299),
    "scores of a feature near 1e308": lambda: set_at(f"{A_FEATURE}.scores.0", -1e308),
    "a scale of a target of 5e-324": lambda: set_at(f"{A_TARGET}.scale", 5e-324),
    "a scale of a target near 1e308": lambda: set_at(f"{A_TARGET}.scale", 1e308),
    "a smallest sigma of 5e-324": lambda: set_at(f"{A_TARGET}.min_sigma", 5e-324),
    "a smallest sigma near 1e308": lambda: set_at(f"{A_TARGET}.min_sigma", 1e308),
    "a mean of a target near 1e308": lambda: set_at(f"{A_TARGET}.mean", 1e308),
    "a range of a target near 1e308": lambda: set_at(f"{A_TARGET}.highest", 1e308),
    "a smallest sigma of 1e30 in logarithms": lambda: edited(
        lambda content: content["schema"]["targets"][0].update(BOUNDED)
    ),
    "a step of a target of 5e-324": lambda: set_at(f"{A_TARGET}.step", 5e-324),
    "a temperature of 5e-324": lambda: set_at("rungs.0.temperature", 5e-324),
    "a scale of sigmas near 1e308": lambda: set_at("rungs.0.sigma_scale", 1e308),
    "a weight of a rung that is no number": lambda: set_at("rungs.0.weight", np.nan),
    "a million members": lambda: set_at("rungs.0.members", 10**6),
    "a width of 2^60": lambda: set_at("rungs.0.architecture.hidden", [2**60]),
    "a negative width": lambda: set_at("rungs.0.architecture.hidden", [-1]),
    "a width of 0": lambda: set_at("rungs.0.architecture.hidden", [0]),
    "2^60 components": lambda: set_at("rungs.0.architecture.mixtures", 2**60),
}


def date(form: str) -> dict[str, Any]:
    """Return a feature of dates with a format."""
    number = archives.content_of(GOLDEN)["schema"]["features"][0]
    return {**number, "kind": "date", "format": form}


def fold(**changes: Any) -> dict[str, Any]:
    """Return the scores of a fold, some of them changed."""
    return {"rows": 3, "nll": 1.0, "crps": 0.5, "coverage": {"0.9": 0.9}, **changes}


def same_names(content: dict[str, Any]) -> None:
    content["schema"]["targets"][0]["name"] = content["schema"]["features"][0]["name"]


def all_rare(content: dict[str, Any]) -> None:
    category = content["schema"]["features"][1]
    category["rare"] = list(range(len(category["levels"])))


def write_all(folder: Path) -> None:
    """Write every file into a folder, named by its number."""
    for number, make in enumerate(HOSTILE.values()):
        (folder / f"{number}.pt").write_bytes(make())
