"""Model files that no program wrote are refused, soon and in little memory, and nothing runs."""

import pickle
import pickletools
import resource
import struct
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from modelfile import archives, hostile
from modelfile.hostile import CANARY, GOLDEN, HOSTILE, pickled, set_at

import mdncli
from mdncli.errors import ModelFileError
from mdncli.files import FileContent
from mdncli.modelfile import archive
from mdncli.modelfile.reader import read_model

MOST_SECONDS, MOST_KILOBYTES, LONGEST_MESSAGE = 2.0, 500_000, 500
# The opcodes that call, or that look up what is called.
CALLS = (
    *("REDUCE", "BUILD", "NEWOBJ", "NEWOBJ_EX", "INST", "OBJ", "GLOBAL", "STACK_GLOBAL"),
    *("EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"),
)
OPCODES = {opcode.code.encode("latin-1")[0]: opcode.name for opcode in pickletools.opcodes}
# Those that no model file has.
UNKNOWN = {
    name: bytes([code])
    for code, name in OPCODES.items()
    if code not in archive._STEPS and name != "STOP"
}


def refusal(content: bytes, name: str = "model.pt") -> str:
    """Return why a file is refused; it must be within the limits."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    with pytest.raises(ModelFileError) as caught, warnings.catch_warnings():
        warnings.simplefilter("error")
        read_model(FileContent(name, content))
    message = str(caught.value)
    assert time.process_time() - started < MOST_SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KILOBYTES
    assert len(message) <= LONGEST_MESSAGE
    assert message.isprintable()
    assert message.startswith(f"{name}: ")
    return message


def test_there_are_many_of_them() -> None:
    assert len(HOSTILE) >= 60


def test_what_they_were_made_of_is_read() -> None:
    assert read_model(FileContent("golden", GOLDEN)).schema.target_names
    again = archives.archive(hostile.members())
    assert read_model(FileContent("again", again)).schema.target_names


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refusal(HOSTILE[name]())
    assert not Path(CANARY).exists()


def call_by(opcode: str) -> bytes:
    """Return a pickle that would leave a mark, if an unpickler carried out its opcode."""
    command = pickle.dumps((f"touch {CANARY}",), 2)[2:-1]
    short = {name: b"\x8c" + bytes([len(name)]) + name.encode() for name in ("os", "system")}
    system = b"cos\nsystem\n"
    return {
        "REDUCE": system + command + b"R",
        "BUILD": system + command + b"b",
        "NEWOBJ": system + command + b"\x81",
        "NEWOBJ_EX": system + command + b"}\x92",
        "INST": b"(X\x0c\x00\x00\x00touch canaryios\nsystem\n",
        "OBJ": b"(" + system + b"X\x0c\x00\x00\x00touch canaryo",
        "GLOBAL": system,
        "STACK_GLOBAL": short["os"] + short["system"] + b"\x93" + command + b"R",
        "EXT1": b"\x82\x01" + command + b"R",
        "EXT2": b"\x83\x01\x00" + command + b"R",
        "EXT4": b"\x84\x01\x00\x00\x00" + command + b"R",
        "PERSID": b"Pos.system\n" + command + b"R",
        "BINPERSID": command + b"Q",
    }[opcode]


@pytest.mark.parametrize("opcode", CALLS)
def test_an_opcode_that_calls_is_refused(
    opcode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refusal(pickled(call_by(opcode)))
    assert not Path(CANARY).exists()


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_opcode_that_torch_does_not_write_is_refused_by_its_name(name: str) -> None:
    assert f"the file uses {name}," in refusal(pickled(UNKNOWN[name] + b"\x00" * 16))


@pytest.mark.parametrize(
    "code", set(range(256)) - {o.code.encode("latin-1")[0] for o in pickletools.opcodes}
)
def test_a_byte_that_is_no_opcode_is_refused(code: int) -> None:
    assert "unknown opcode" in refusal(pickled(bytes([code])))


def test_a_list_is_made_of_a_list_alone() -> None:
    assert "no list" in refusal(pickled(b"}(NNe"))
    assert "no list" in refusal(pickled(b"}Na"))


def angle(**changes: object) -> bytes:
    """Return a model of an angle in degrees."""
    plain = {"rounded": False, "atoms": [], "gap": 0.0, "closed": [False, False], "step": None}
    ends = {"lower": 0.0, "upper": None, "censor_below": None, "censor_above": None, "order": 1}
    size = {"lowest": 0.0, "median": 90.0, "highest": 359.0, "scale": 60.0, "min_sigma": 0.1}
    new = {**plain, **ends, **size, "period": 360.0, **changes}
    content = archives.content_of((archives.FILES / "version10.pt").read_bytes())
    content["schema"]["targets"][0].update(new)
    return archives.file_of(content)


def test_an_angle_has_a_period_of_about_its_range() -> None:
    assert read_model(FileContent("angle", angle())).schema.targets[0].period == 360.0
    for period in (1e-60, 1e-3, 0.0, -360.0):
        assert "the period of a target" in refusal(angle(period=period))
    assert "a limit of an angle" in refusal(angle(censor_below=1.0))
    assert "an atom of a target" in refusal(angle(atoms=[1.0], gap=1.0))


def test_a_rounded_target_has_few_steps() -> None:
    for step in (1e-60, 1e-6, None):
        refusal(angle(rounded=True, period=None, lower=None, step=step))


def test_a_file_that_was_cut_at_any_place_is_refused() -> None:
    for length in range(0, len(GOLDEN), 64):
        refusal(GOLDEN[:length])


def test_a_pickle_that_was_cut_at_any_place_is_refused() -> None:
    entries = hostile.members()
    whole = entries["archive/data.pkl"]
    for length in range(0, len(whole), 64):
        refusal(archives.quick_archive({**entries, "archive/data.pkl": whole[:length]}))


def test_a_flipped_byte_of_the_pickle_is_refused_or_harmless() -> None:
    entries = hostile.members()
    whole = entries["archive/data.pkl"]
    for place in range(0, len(whole), 7):
        flipped = bytearray(whole)
        flipped[place] ^= 0xFF
        file = archives.quick_archive({**entries, "archive/data.pkl": bytes(flipped)})
        try:
            read_model(FileContent("model.pt", file))
        except ModelFileError as error:
            message = str(error)
        else:
            message = ""
        assert len(message) <= LONGEST_MESSAGE


def test_the_numbers_of_a_tensor_may_begin_within_its_storage() -> None:
    three = archives.tensor(archives.storage("0", 4), (3,), (1,), 1)
    data = struct.pack("<4f", 1.0, 2.0, 3.0, 4.0)
    file = archives.file_with(b"\x80\x02" + three + b".", {"data/0": data})
    np.testing.assert_array_equal(archive.plain_values(file).read(), [2.0, 3.0, 4.0])


def test_a_file_of_the_other_byte_order_gives_the_same_answers() -> None:
    entries = hostile.members(archive__byteorder=b"big")
    for name, content in entries.items():
        if name.startswith("archive/data/"):
            entries[name] = np.frombuffer(content, "<f4").astype(">f4").tobytes()
    one, other = (
        read_model(FileContent("model.pt", content))
        for content in (GOLDEN, archives.archive(entries))
    )
    x = np.array([[0.3, 0.0], [1.0, 1.0]])
    np.testing.assert_array_equal(one.mixture(x).mu, other.mixture(x).mu)


@pytest.mark.parametrize("value", [1e299, 1e-299, -1e299, 5e-324])
@pytest.mark.parametrize("name", ["mean", "scale", "lowest", "highest", "median"])
def test_a_feature_of_any_size_gives_answers_without_a_warning_or_is_refused(
    name: str, value: float
) -> None:
    file = FileContent("model.pt", set_at(f"schema.features.0.{name}", value))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            model = read_model(file)
        except ModelFileError:
            return
        distribution = model.distribution(np.array([[0.0, 0.0], [value, 1.0], [-value, 1.0]]))
        assert np.isfinite(distribution.mean()).all()
        assert np.isfinite(distribution.quantile([0.1, 0.9])).all()


def test_load_takes_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(GOLDEN)
    assert mdncli.load(path, max_size=len(GOLDEN)).schema.target_names
    with pytest.raises(ModelFileError, match=r"more than 100 bytes.*max_size"):
        mdncli.load(path, max_size=100)
    with pytest.raises(ModelFileError, match="more than 100 bytes"):
        mdncli.load(FileContent("content", GOLDEN), max_size=100)
    for wrong in (0, -1, 1.5, "1G", None):
        with pytest.raises(mdncli.MdnError, match="max_size is"):
            mdncli.load(path, max_size=wrong)
