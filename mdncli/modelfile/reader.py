"""What `torch.save` writes, read without PyTorch, and nothing in it is ever run.

The file is a zip archive of uncompressed entries: a pickle of plain values and, beside it, the raw
bytes of each tensor. The reader accepts that and no more: the pickle may name a handful of things,
all replaced by our own.

The model file: written by PyTorch, read without it, and nothing in it is ever run.

A model file is what `torch.save` makes of one dictionary of plain values and tensors. When it is
read, every value is checked before it becomes a model.

What to do when the format changes stands in `mdncli.formats`.
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

from mdncli.columns.features import CategoryFeature, Column, DateFeature, Feature
from mdncli.columns.schema import Schema, Target
from mdncli.density.mixture import GaussianMixture
from mdncli.density.model import Baseline, ConditionalDensity
from mdncli.density.network import Architecture, Perceptron
from mdncli.density.record import MemberReport, Origin, TrainingRecord
from mdncli.errors import ModelFileError
from mdncli.modelfile.migrations import FORMAT_VERSION, raised
from mdncli.settings import Activation, Covariance
from mdncli.types import Array

# What torch.save needs, in whatever pickle protocol. Names are checked one by one later.
_OPCODES = frozenset(
    """
    PROTO MARK EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 SETITEM SETITEMS
    APPEND APPENDS BINUNICODE BINFLOAT BININT BININT1 BININT2 LONG1 NONE NEWTRUE NEWFALSE
    BINPUT LONG_BINPUT BINGET LONG_BINGET BINPERSID REDUCE STOP
    GLOBAL STACK_GLOBAL SHORT_BINUNICODE MEMOIZE FRAME
    """.split()
)
_MOST_DIMENSIONS = 3

_DTYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8"}


def unpickled(content: bytes, source: str) -> Any:
    """Return the object of an archive: plain values, and a float64 array for each tensor.

    Args:
        content: the file.
        source: what messages call it.

    Raises:
        ModelFileError: it is no such archive, or holds anything else.
    """
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
    # An empty tensor has any stride.
    if (count and tuple(stride) != contiguous) or offset < 0 or offset + count > storage.size:
        raise ModelFileError("the model file is damaged: a tensor does not fit its data.")
    return storage[offset : offset + count].reshape(size)


FORMAT = "mdncli.model"

_REFERENCE = ("reference.log_pi", "reference.mu", "reference.sigma")
_SPLITS = ("nll_train", "nll_valid")


def save(model: ConditionalDensity, stream: BinaryIO) -> None:
    """Write a model so that `torch.load(..., weights_only=True)` and `load` open it.

    The same fit gives the same bytes: no clock, file name or random number goes in.
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
        "members": len(model.networks),
        "reference": model.reference is not None,
        "baseline": model.baseline is not None,
        "baseline_nll": model.baseline.nll if model.baseline else math.nan,
        "origin": asdict(model.origin),
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
    plain = unpickled(content, source)
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise ModelFileError(f"{source}: this is not a model file that mdn fit wrote.")
    version = plain.get("format_version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise ModelFileError(
            f"{source}: the model file is of format {version}; this mdn reads up to format "
            f"{FORMAT_VERSION}. Upgrade mdn, or fit the model again."
        )
    try:
        return _model(raised(plain, version))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ModelFileError(f"{source}: the model file is damaged: {error}.") from error


def _state(model: ConditionalDensity) -> dict[str, Array]:
    """Return every tensor of a model by the name it has in the file."""
    named: dict[str, Array] = {}
    for member, network in enumerate(model.networks):
        named |= _named(f"network.{member}", network)
    if model.reference is not None:
        named |= dict(zip(_REFERENCE, model.reference.arrays(), strict=True))
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
    reports = [MemberReport(**member) for member in plain["record"]["components"]]
    record = TrainingRecord(**{**plain["record"], "components": reports})
    _expect(bool(schema.features and schema.targets), "the number of columns")
    _expect(type(plain["members"]) is int and plain["members"] >= 1, "the number of members")
    for feature in schema.features:
        _check_feature(feature)
    for target in schema.targets:
        _check_target(target)
    _expect(isinstance(schema.weight, str | None), "the column of weights")
    _check_architecture(architecture)
    _check_record(record, plain["members"], architecture.mixtures)
    targets = len(schema.targets)
    state = dict(plain["state_dict"])
    baseline = None
    if plain["baseline"]:
        network = _network(state, "baseline", architecture, schema, targets)
        _expect(isinstance(plain["baseline_nll"], float), "the baseline's NLL")
        sigma = _tensor(state, "baseline.sigma", (targets,))
        _expect(bool((sigma > 0.0).all()), "the baseline's sigma")
        baseline = Baseline(network, sigma, plain["baseline_nll"])
    outputs = architecture.head_width(targets)
    return ConditionalDensity(
        schema=schema,
        architecture=architecture,
        networks=[
            _network(state, f"network.{member}", architecture, schema, outputs)
            for member in range(plain["members"])
        ],
        settings=dict(plain["settings"]),
        record=record,
        reference=_reference(state, architecture, targets) if plain["reference"] else None,
        baseline=baseline,
        origin=_origin(plain["origin"]),
    )


def _origin(plain: dict[str, Any]) -> Origin:
    origin = Origin(**plain)
    texts = [origin.command, origin.table_sha256, *origin.versions, *origin.versions.values()]
    _expect(all(isinstance(text, str) for text in texts), "where the model comes from")
    return origin


def _reference(state: dict[str, Any], architecture: Architecture, targets: int) -> GaussianMixture:
    components = architecture.mixtures
    shapes = (1, components), (1, components, targets), (1, components, targets)
    log_pi, mu, sigma = (
        _tensor(state, name, shape) for name, shape in zip(_REFERENCE, shapes, strict=True)
    )
    _expect(bool((sigma > 0.0).all()), "the unconditional mixture")
    return GaussianMixture(log_pi, mu, sigma)


def _check_feature(feature: Feature) -> None:
    """Check what the types alone do not: a file may say anything."""
    _expect(isinstance(feature.gaps, bool), "a feature's gaps")
    if isinstance(feature, CategoryFeature):
        levels = feature.levels
        texts = all(isinstance(text, str) for text in [feature.name, *levels])
        _expect(texts and len(set(levels)) == len(levels) >= 1, "a category's levels")
        return
    if isinstance(feature, DateFeature):
        _expect(isinstance(feature.format, str), "a date's format")
    _check_column(feature, [*feature.knots, *feature.scores])
    rising = all(one < other for one, other in itertools.pairwise(feature.knots))
    _expect(rising and len(feature.knots) == len(feature.scores), "a feature's scores")


def _check_target(target: Target) -> None:
    positive = [target.min_sigma, 1.0 if target.step is None else target.step]
    ends = [end for end in (target.lower, target.upper) if end is not None]
    _check_column(target, [*positive, *ends])
    _expect(min(positive) > 0.0, "a target's step or smallest sigma")
    values = np.array([target.lowest, target.median, target.highest])
    rising = ends == sorted(set(ends))
    _expect(rising and not target.bounds.outside(values).any(), "a target's bounds")


def _check_column(column: Column, more: list[float]) -> None:
    numbers = [column.mean, column.scale, column.lowest, column.median, column.highest, *more]
    finite = all(isinstance(value, float) and math.isfinite(value) for value in numbers)
    _expect(isinstance(column.name, str) and finite and column.scale > 0.0, "a column")


def _check_architecture(architecture: Architecture) -> None:
    widths = (architecture.mixtures, *architecture.hidden)
    _expect(all(type(width) is int and width >= 1 for width in widths), "the widths")
    _expect(type(architecture.frequencies) is int and architecture.frequencies >= 0, "frequencies")
    _expect(architecture.activation in get_args(Activation), "the activation")
    _expect(architecture.covariance in get_args(Covariance), "the covariance")


def _check_record(record: TrainingRecord, members: int, mixtures: int) -> None:
    counts = [record.rows, record.rows_valid, record.epochs, record.faults, *record.best_epochs]
    _expect(all(type(count) is int and count >= 0 for count in counts), "the training record")
    _expect(len(record.best_epochs) == members, "the best epochs")
    histories = [record.history[name] for name in _SPLITS]
    whole = all(len(history) == record.epochs for history in histories)
    reference = [record.reference[name] for name in _SPLITS]
    floats = [record.nll_train, record.nll_valid, *reference, *histories[0], *histories[1]]
    floats += [*record.tried.values()]
    _expect(all(type(count) is int for count in record.tried), "the numbers of components tried")
    for report in record.components:
        columns = [report.weight, report.leads, report.at_floor]
        _expect(all(len(column) == mixtures for column in columns), "the report on components")
        floats += [report.effective, *columns[0], *columns[1], *columns[2]]
    _expect(all(isinstance(fold, dict) for fold in record.cv), "the cross-validation")
    _expect(whole and all(isinstance(v, float) for v in floats), "the training history")


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"{what} cannot be as the file says")


def _network(
    state: dict[str, Any], prefix: str, architecture: Architecture, schema: Schema, outputs: int
) -> Perceptron:
    inputs = architecture.trunk_width(schema.waves, schema.plain)
    widths = [inputs, *architecture.hidden, outputs]
    layers = [
        (
            _tensor(state, f"{prefix}.layers.{index}.weight", (width, inputs)),
            _tensor(state, f"{prefix}.layers.{index}.bias", (width,)),
        )
        for index, (inputs, width) in enumerate(itertools.pairwise(widths))
    ]
    frequencies = _tensor(state, f"{prefix}.frequencies", (schema.waves, architecture.frequencies))
    return Perceptron(architecture.activation, frequencies, layers)


def _tensor(state: dict[str, Any], name: str, shape: tuple[int, ...]) -> Array:
    array = state[name]
    if not isinstance(array, np.ndarray) or array.shape != shape:
        raise ValueError(f"the tensor {name} is not of shape {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"the tensor {name} holds a value that is not finite")
    return array.astype(np.float64)
