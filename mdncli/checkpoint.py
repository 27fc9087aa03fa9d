"""The model file: written by PyTorch, read without it, and nothing in it is ever run.

A model file is what `torch.save` makes of one dictionary: a zip archive of uncompressed entries,
in it a pickle of plain values and, beside it, the raw bytes of each tensor. The reader accepts that
and no more: the pickle may name a handful of things, all replaced by our own, and every value is
checked before it becomes a model.

Raising `FORMAT_VERSION`: write the new version only, have `load` turn a dictionary of the version
before into the new one, and keep a small file of the old version with its answers in `tests/`.
"""

import io
import itertools
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, BinaryIO, get_args

import numpy as np

from mdncli.density.model import Baseline, ConditionalDensity, TrainingRecord
from mdncli.density.network import Architecture, Array, Perceptron
from mdncli.errors import ModelFileError
from mdncli.settings import Activation, Covariance
from mdncli.tables.schema import Schema

FORMAT = "mdncli.model"
FORMAT_VERSION = 1

# What torch.save needs, in whatever pickle protocol. Names are checked one by one later.
_OPCODES = frozenset(
    """
    PROTO MARK EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 SETITEM SETITEMS
    APPEND APPENDS BINUNICODE BINFLOAT BININT BININT1 BININT2 LONG1 NONE NEWTRUE NEWFALSE
    BINPUT LONG_BINPUT BINGET LONG_BINGET BINPERSID REDUCE STOP
    GLOBAL STACK_GLOBAL SHORT_BINUNICODE MEMOIZE FRAME
    """.split()
)
_MOST_DIMENSIONS = 2

_DTYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8"}


def save(model: ConditionalDensity, stream: BinaryIO) -> None:
    """Write a model so that `torch.load(..., weights_only=True)` and `load` open it.

    The same model gives the same bytes: no clock, file name or random number goes in.
    """
    import torch

    tensors = {
        name: torch.tensor(np.asarray(array, dtype=np.float32))
        for name, array in _state(model).items()
    }
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "schema": model.schema.to_plain(),
        "architecture": model.architecture.to_plain(),
        "settings": model.settings,
        "record": asdict(model.record),
        "baseline": model.baseline is not None,
        "state_dict": tensors,
    }
    # Through a buffer: given a path, torch would write the file's name into the archive.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    stream.write(buffer.getbuffer())


def load(content: bytes, source: str) -> ConditionalDensity:
    """Return the model that a file holds, without PyTorch and without running anything in it.

    Args:
        content: the whole file.
        source: what messages call it.

    Raises:
        ModelFileError: not a model file, damaged, of a newer version, or naming anything that a
            model file has no use for.
    """
    plain = _unpickled(content, source)
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise ModelFileError(f"{source}: this is not a model file that mdn fit wrote.")
    version = plain.get("format_version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise ModelFileError(
            f"{source}: the model file is of format {version}; this mdn reads up to format "
            f"{FORMAT_VERSION}. Upgrade mdn, or fit the model again."
        )
    try:
        return _model(plain)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ModelFileError(f"{source}: the model file is damaged: {error}.") from error


def _state(model: ConditionalDensity) -> dict[str, Array]:
    """Return every tensor of a model by the name it has in the file."""
    named = _named("network", model.network)
    if model.baseline is not None:
        named |= _named("baseline", model.baseline.network)
        named["baseline.sigma"] = model.baseline.sigma
    return named


def _named(prefix: str, network: Perceptron) -> dict[str, Array]:
    named = {f"{prefix}.frequencies": network.frequencies}
    for index, (weight, bias) in enumerate(network.layers):
        named[f"{prefix}.layers.{index}.weight"] = weight
        named[f"{prefix}.layers.{index}.bias"] = bias
    return named


def _model(plain: dict[str, Any]) -> ConditionalDensity:
    """Return the model that a dictionary describes; ValueError and the like if it does not."""
    schema = Schema.from_plain(plain["schema"])
    architecture = Architecture.from_plain(plain["architecture"])
    record = TrainingRecord(**plain["record"])
    _check_values(schema, architecture, record)
    features, targets = len(schema.features), len(schema.targets)
    state = dict(plain["state_dict"])
    baseline = None
    if plain["baseline"]:
        network = _network(state, "baseline", architecture, features, targets)
        baseline = Baseline(network, _tensor(state, "baseline.sigma", (targets,)))
    outputs = architecture.head_width(targets)
    return ConditionalDensity(
        schema=schema,
        architecture=architecture,
        network=_network(state, "network", architecture, features, outputs),
        settings=dict(plain["settings"]),
        record=record,
        baseline=baseline,
    )


def _check_values(schema: Schema, architecture: Architecture, record: TrainingRecord) -> None:
    """Check what the types alone do not: a file may say anything."""
    for column in (*schema.features, *schema.targets):
        numbers = (column.mean, column.scale, column.lowest, column.median, column.highest)
        finite = all(isinstance(value, float) and math.isfinite(value) for value in numbers)
        _expect(isinstance(column.name, str) and finite and column.scale > 0.0, "a column")
    widths = (architecture.mixtures, *architecture.hidden)
    _expect(all(type(width) is int and width >= 1 for width in widths), "the widths")
    _expect(type(architecture.frequencies) is int and architecture.frequencies >= 0, "frequencies")
    _expect(architecture.activation in get_args(Activation), "the activation")
    _expect(architecture.covariance in get_args(Covariance), "the covariance")
    floor = architecture.sigma_floor
    _expect(isinstance(floor, float) and 0.0 < floor < math.inf, "the floor of sigma")
    counts = (
        record.rows,
        record.rows_valid,
        record.epochs,
        record.best_epoch,
        record.faults,
    )
    _expect(all(type(count) is int and count >= 0 for count in counts), "the training record")
    histories = [record.history[name] for name in ("nll_train", "nll_valid")]
    whole = all(len(history) == record.epochs for history in histories)
    floats = (record.nll_train, record.nll_valid, *histories[0], *histories[1])
    _expect(whole and all(isinstance(v, float) for v in floats), "the training history")


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"{what} cannot be as the file says")


def _network(
    state: dict[str, Any], prefix: str, architecture: Architecture, features: int, outputs: int
) -> Perceptron:
    widths = [architecture.trunk_width(features), *architecture.hidden, outputs]
    layers = [
        (
            _tensor(state, f"{prefix}.layers.{index}.weight", (width, inputs)),
            _tensor(state, f"{prefix}.layers.{index}.bias", (width,)),
        )
        for index, (inputs, width) in enumerate(itertools.pairwise(widths))
    ]
    frequencies = _tensor(state, f"{prefix}.frequencies", (features, architecture.frequencies))
    return Perceptron(architecture.activation, frequencies, layers)


def _tensor(state: dict[str, Any], name: str, shape: tuple[int, ...]) -> Array:
    array = state[name]
    if not isinstance(array, np.ndarray) or array.shape != shape:
        raise ValueError(f"the tensor {name} is not of shape {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"the tensor {name} holds a value that is not finite")
    return array.astype(np.float64)


def _unpickled(content: bytes, source: str) -> Any:
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        _check_entries(archive, len(content))
        entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
        _check_opcodes(entries["data.pkl"])
        return _Reader(entries).load()
    except ModelFileError as error:
        raise ModelFileError(f"{source}: {error}") from error
    except Exception as error:
        # A damaged pickle can fail in any way; whatever it was, the file is not a model.
        cut = " or was cut short" if content[:2] == b"PK" else ""
        raise ModelFileError(f"{source}: this is not a model file{cut}.") from error


def _check_entries(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse what could unpack to more than the file holds."""
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ModelFileError("the file is compressed inside, as no model file is.")
    distinct = {entry.filename for entry in entries}
    if len(distinct) < len(entries) or sum(entry.file_size for entry in entries) > size:
        raise ModelFileError("the model file is damaged: its entries overlap.")


def _check_opcodes(pickled: bytes) -> None:
    """Refuse a pickle that asks for more than dictionaries, lists, plain values and tensors.

    An opcode outside torch.save's own few could change an object that a name stands for, or make
    the unpickler reserve memory by a number in the file.
    """
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name not in _OPCODES:
            raise ModelFileError(
                f"refused: the file uses {opcode.name}, which no model file needs."
            )
        if opcode.name == "LONG_BINPUT" and int(argument or 0) > len(pickled):
            raise ModelFileError("the model file is damaged.")


class _Reader(pickle.Unpickler):
    """Unpickles plain values and tensors; anything else that a pickle names is refused."""

    def __init__(self, entries: dict[str, bytes]) -> None:
        super().__init__(io.BytesIO(entries["data.pkl"]))
        self._entries = entries
        self._little = entries.get("byteorder", b"little") == b"little"

    def find_class(self, module: str, name: str) -> Any:
        allowed: dict[str, Callable[..., Any] | str] = {
            "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
            "collections.OrderedDict": OrderedDict,
            **{f"torch.{storage}": storage for storage in _DTYPES},
        }
        if f"{module}.{name}" not in allowed:
            raise ModelFileError(
                f"refused: the file names {module}.{name}, which no model file needs. It could run "
                "code of someone else's."
            )
        return allowed[f"{module}.{name}"]

    def persistent_load(self, reference: Any) -> Array:
        _, storage, key, _, _ = reference
        stored = np.dtype(_DTYPES[storage])
        if not self._little:
            stored = stored.newbyteorder(">")
        return np.frombuffer(self._entries[f"data/{key}"], dtype=stored).astype(np.float64)


def _rebuild_tensor(
    storage: Array, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Array:
    """Return a contiguous tensor out of its storage, with the bounds checked by NumPy."""
    if len(size) > _MOST_DIMENSIONS:
        raise ModelFileError("the model file is damaged: a tensor has too many dimensions.")
    count = int(np.prod(size, dtype=object))
    contiguous = tuple(int(np.prod(size[axis + 1 :], dtype=object)) for axis in range(len(size)))
    if tuple(stride) != contiguous or offset < 0 or offset + count > storage.size:
        raise ModelFileError("the model file is damaged: a tensor does not fit its data.")
    return storage[offset : offset + count].reshape(size)
