"""Reads a model file without PyTorch, checks every value in it, and executes nothing in it."""

import io
import itertools
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np

from mdncli.columns.discrete import Atoms
from mdncli.columns.features import AngleFeature, CategoryFeature, Column, DateFeature, Feature
from mdncli.columns.schema import Schema, Target
from mdncli.columns.transforms import HIGHEST_ORDER
from mdncli.density.memory import (
    HIGHEST_INPUT,
    MOST_LEVELS,
    NEAREST,
    BoostedTrees,
    Forest,
    Memory,
    Neighbours,
)
from mdncli.density.mixture import GaussianMixture
from mdncli.density.model import (
    Background,
    Baseline,
    MemberReport,
    MixtureDensityNetwork,
    Origin,
    Rung,
    TrainingRecord,
)
from mdncli.density.network import Architecture, Perceptron
from mdncli.errors import ModelFileError, ParameterError
from mdncli.files import FileContent
from mdncli.modelfile.migrations import (
    FORMAT,
    FORMAT_VERSION,
    MEMORY_TENSORS,
    REFERENCE_TENSORS,
    migrate,
)
from mdncli.settings import Activation, Covariance
from mdncli.tables.dialect import Dialect
from mdncli.types import Array

# The opcodes that torch.save writes, in any pickle protocol.
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


def _unpickled(file: FileContent) -> Any:
    """Return the object that `torch.save` wrote: plain values, and a float64 array for a tensor.

    The file is a zip archive of uncompressed entries: a pickle of plain values, and the bytes of
    each tensor. The pickle may name only what `torch.save` names for them, and each of these names
    stands for a function of this module.

    Raises:
        ModelFileError: the file is not such an archive, or contains anything else.
    """
    content = file.content
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        _check_entries(archive, len(content))
        entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
        _check_opcodes(entries["data.pkl"])
        return _Unpickler(entries).load()
    except ModelFileError as error:
        raise ModelFileError(f"{file.name}: {error}") from error
    except Exception as error:
        # A damaged pickle can raise any exception.
        cut = " or was cut short" if content[:2] == b"PK" else ""
        raise ModelFileError(f"{file.name}: this is not a model file{cut}.") from error


def _check_entries(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse entries that could unpack to more bytes than the file has."""
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ModelFileError("the entries of the file are compressed, as in no model file.")
    distinct = {entry.filename for entry in entries}
    if len(distinct) < len(entries) or sum(entry.file_size for entry in entries) > size:
        raise ModelFileError("the model file is damaged: its entries overlap.")


def _check_opcodes(pickled: bytes) -> None:
    """Refuse a pickle that does more than build dictionaries, lists, plain values and tensors.

    Other opcodes could change an object that a name stands for, or make the unpickler reserve as
    much memory as a number in the file says.
    """
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name not in _OPCODES:
            raise ModelFileError(
                f"refused: the file uses {opcode.name}, which no model file needs."
            )
        if opcode.name == "LONG_BINPUT" and int(argument or 0) > len(pickled):
            raise ModelFileError("the model file is damaged.")


class _Unpickler(pickle.Unpickler):
    """Unpickles plain values and tensors, and refuses any other name in the pickle."""

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
                f"refused: the file names {module}.{name}, which no model file needs. Loading it "
                "could run unknown code."
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
    """Return a contiguous tensor from its storage."""
    if len(size) > _MOST_DIMENSIONS:
        raise ModelFileError("the model file is damaged: a tensor has too many dimensions.")
    count = int(np.prod(size, dtype=object))
    contiguous = tuple(int(np.prod(size[axis + 1 :], dtype=object)) for axis in range(len(size)))
    # An empty tensor has any stride.
    if (count and tuple(stride) != contiguous) or offset < 0 or offset + count > storage.size:
        raise ModelFileError("the model file is damaged: a tensor does not fit its data.")
    return storage[offset : offset + count].reshape(size)


_SPLITS = ("nll_train", "nll_valid")


def read_model(file: FileContent) -> MixtureDensityNetwork:
    """Return the model in a file.

    Raises:
        ModelFileError: the file is not a model file, is damaged or of a newer version, or contains
            anything that no model file needs.
    """
    plain = _unpickled(file)
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise ModelFileError(f"{file.name}: this is not a model file that mdn wrote.")
    version = plain.get("format_version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise ModelFileError(
            f"{file.name}: the model file has format {version}, but this version of mdn reads only "
            f"formats up to {FORMAT_VERSION}. Upgrade mdn, or fit the model again."
        )
    try:
        return _model(migrate(plain, version))
    except KeyError as error:
        raise _damaged(file, f"{error} is missing") from error
    except (TypeError, ValueError, AttributeError, IndexError, ParameterError) as error:
        raise _damaged(file, str(error)) from error


def _damaged(file: FileContent, fault: str) -> ModelFileError:
    return ModelFileError(f"{file.name}: the model file is damaged: {fault}.")


def _model(plain: dict[str, Any]) -> MixtureDensityNetwork:
    """Return the model that a dictionary describes.

    Raises:
        KeyError, TypeError, ValueError, AttributeError, IndexError, ParameterError: it describes
            none.
    """
    schema = _schema(plain["schema"])
    targets, state = len(schema.targets), dict(plain["state_dict"])
    memory = _memory(plain["memory"], state, schema)
    rungs = [
        _rung(each, state, f"rung.{position}", schema)
        for position, each in enumerate(plain["rungs"])
    ]
    background = _background(plain["background"], state, targets)
    read = {part for rung in rungs for part in rung.reads}
    _require(read == set(plain["memory"]), "the memory of a rung")
    total = sum(rung.weight for rung in rungs) + (background.weight if background else 0.0)
    _require(bool(rungs) and abs(total - 1.0) < 1e-6, "the weight of a rung")
    main = max(rungs, key=lambda rung: rung.weight)
    return MixtureDensityNetwork(
        schema=schema,
        rungs=rungs,
        settings=dict(plain["settings"]),
        record=_record(plain["record"], main.architecture.mixtures),
        reference=_reference(state, targets) if plain["reference"] else None,
        baseline=_baseline(plain, state, main.architecture, schema) if plain["baseline"] else None,
        background=background,
        memory=memory,
        origin=_origin(plain["origin"]),
    )


def _rung(plain: dict[str, Any], state: dict[str, Any], prefix: str, schema: Schema) -> Rung:
    architecture, members = _architecture(plain["architecture"]), plain["members"]
    _require(type(members) is int and members >= 1, "the number of members")
    numbers = {name: plain[name] for name in ("weight", "sigma_scale", "temperature")}
    positive = all(isinstance(v, float) and 0.0 < v < math.inf for v in numbers.values())
    _require(positive, "the weight or the calibration of a rung")
    known = isinstance(plain["name"], str) and isinstance(plain["nll_valid"], float)
    _require(known, "the name or the NLL of a rung")
    reads = _parts_of_memory(plain["reads"])
    targets = len(schema.targets)
    plain_inputs = schema.plain_width + Memory.width(reads, targets)
    sizes = (schema.periodic_width, plain_inputs, architecture.head_width(targets))
    networks = [
        _network(state, f"{prefix}.network.{member}", architecture, sizes)
        for member in range(members)
    ]
    nll = plain["nll_valid"]
    return Rung(plain["name"], architecture, networks, nll=nll, reads=tuple(reads), **numbers)


def _parts_of_memory(names: Any) -> list[str]:
    """Return the names of parts of a memory, which must be known ones in the usual order."""
    _require(isinstance(names, list), "the memory")
    known = [name for name in MEMORY_TENSORS if name in names]
    _require(names == known, "the memory")
    return known


def _memory(kinds: Any, state: dict[str, Any], schema: Schema) -> Memory:
    known = _parts_of_memory(kinds)
    targets = len(schema.targets)
    inputs = schema.periodic_width + schema.plain_width
    return Memory(
        _forest(state, targets, inputs) if "forest" in known else None,
        _boosted(state, targets, inputs) if "boosted" in known else None,
        _neighbours(state, targets, inputs) if "neighbours" in known else None,
    )


def _arrays(state: dict[str, Any], kind: str, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    return [
        _tensor(state, f"{kind}.{name}", shape)
        for name, shape in zip(MEMORY_TENSORS[kind], shapes, strict=True)
    ]


def _places(values: Array, count: int) -> bool:
    """Return whether all values are whole numbers from 0 to below a count."""
    return bool(((values == np.floor(values)) & (values >= 0) & (values < count)).all())


def _forest(state: dict[str, Any], targets: int, inputs: int) -> Forest:
    """Return the forest; every path from a root must end at a leaf of the same tree."""
    nodes, trees = (np.shape(state[f"forest.{name}"])[:1] for name in ("left", "roots"))
    shapes = trees, nodes, nodes, nodes, (*nodes, targets)
    roots, feature, threshold, left, value = _arrays(state, "forest", shapes)
    _require(len(nodes) == len(trees) == 1 and trees[0] >= 1, "a node of the forest")
    _require(_places(roots, len(left)) and _places(left, len(left)), "a node of the forest")
    ends = np.append(roots[1:], len(left))
    _require(bool(roots[0] == 0 and (roots < ends).all()), "a root of the forest")
    node, end = np.arange(len(left)), np.repeat(ends, (ends - roots).astype(np.int64))
    leaf = left == node
    goes_on = (left > node) & (left + 1 < end)
    ends_there = leaf & (threshold == HIGHEST_INPUT)
    _require(bool((goes_on | ends_there).all()), "a node of the forest")
    _require(_places(feature, inputs), "a feature of the forest")
    return Forest(
        roots.astype(np.int32),
        feature.astype(np.int32),
        threshold.astype(np.float32),
        left.astype(np.int32),
        value,
    )


def _boosted(state: dict[str, Any], targets: int, inputs: int) -> BoostedTrees:
    trees, levels = np.shape(state["boosted.feature"])
    _require(trees >= 1 and 1 <= levels <= MOST_LEVELS, "the levels of the boosted trees")
    each = trees, levels
    shapes = each, each, (trees, 1 << levels, targets), (targets,)
    feature, threshold, value, base = _arrays(state, "boosted", shapes)
    _require(_places(feature, inputs), "a feature of the boosted trees")
    return BoostedTrees(feature.astype(np.int32), threshold.astype(np.float32), value, base)


def _neighbours(state: dict[str, Any], targets: int, inputs: int) -> Neighbours:
    rows, count = np.shape(state["neighbours.points"])
    shapes = (count,), (count,), (rows, count), (rows, targets)
    columns, scale, points, y = _arrays(state, "neighbours", shapes)
    _require(rows >= NEAREST and count >= 1, "the number of the neighbours")
    _require(_places(columns, inputs), "a column of the neighbours")
    _require(bool((scale >= 0.0).all()), "a scale of the neighbours")
    return Neighbours(columns.astype(np.int32), scale, points.astype(np.float32), y)


def _background(weight: Any, state: dict[str, Any], targets: int) -> Background | None:
    if weight is None:
        return None
    _require(isinstance(weight, float) and 0.0 < weight < 1.0, "the weight of the background")
    mu, sigma = (_tensor(state, f"background.{name}", (targets,)) for name in ("mu", "sigma"))
    _require(bool((sigma > 0.0).all()), "a sigma of the background")
    return Background(weight, mu, sigma)


def _require(holds: bool, what: str) -> None:
    """Raise a ValueError unless a condition holds."""
    if not holds:
        raise ValueError(f"{what} has an impossible value")


def _schema(plain: dict[str, Any]) -> Schema:
    schema = Schema.from_plain(plain)
    _require(bool(schema.features and schema.targets), "the number of columns")
    for feature in schema.features:
        _check_feature(feature)
    for target in schema.targets:
        _check_target(target)
    _require(isinstance(schema.weight, str | None), "the column of weights")
    _require(isinstance(schema.event, str | None), "the column of events")
    alone = len(schema.targets) == 1
    plain_targets = all(_is_plain(target) for target in schema.targets)
    _require(alone or (plain_targets and schema.event is None), "the kinds of several targets")
    no_angle = all(target.period is None for target in schema.targets)
    _require(schema.event is None or no_angle, "the column of events of an angle")
    return schema


def _check_feature(feature: Feature) -> None:
    _require(isinstance(feature.allows_missing, bool), "allows_missing of a feature")
    _require(isinstance(getattr(feature, "linear", False), bool), "linear of a feature")
    if isinstance(feature, CategoryFeature):
        _check_category(feature)
        return
    if isinstance(feature, DateFeature):
        _require(isinstance(feature.format, str), "the format of a date")
    period = [feature.period] if isinstance(feature, AngleFeature) else []
    _check_column(feature, [*feature.knots, *feature.scores, *period])
    _require(all(each > 0.0 for each in period), "the period of a feature")
    rising = all(one < other for one, other in itertools.pairwise(feature.knots))
    _require(rising and len(feature.knots) == len(feature.scores), "the scores of a feature")


def _check_category(feature: CategoryFeature) -> None:
    levels = feature.levels
    texts = all(isinstance(text, str) for text in [feature.name, *levels])
    _require(texts and len(set(levels)) == len(levels) >= 1, "the levels of a category")
    rare = all(type(place) is int and 0 <= place < len(levels) for place in feature.rare)
    _require(rare, "the rare levels of a category")


# A target has at most so many values with a probability of their own.
_MOST_ATOMS = 100


def _check_target(target: Target) -> None:
    positive = [target.min_sigma, 1.0 if target.step is None else target.step]
    bounds = [bound for bound in (target.lower, target.upper) if bound is not None]
    _check_column(target, [*positive, *bounds])
    _require(min(positive) > 0.0, "the step or the smallest sigma of a target")
    values = np.array([target.lowest, target.median, target.highest])
    orders = range(1, HIGHEST_ORDER + 1 if len(bounds) == 2 and not target.rounded else 2)
    _require(type(target.order) is int and target.order in orders, "the order of a target")
    stepped = target.step is not None or target.rounded is False
    _require(isinstance(target.rounded, bool) and stepped, "the kind of a target")
    _check_kind(target)
    rising = bounds == sorted(set(bounds))
    _require(rising and not target.transform.outside(values).any(), "a bound of a target")


def _is_plain(target: Target) -> bool:
    """Return whether every value of a target is a known point on a line."""
    limits = target.censor_below, target.censor_above
    return not (target.rounded or target.atoms or target.period) and limits == (None, None)


def _check_kind(target: Target) -> None:
    """Check what a target's values stand for: atoms, limits and a period exclude some others."""
    atoms, closed = target.atoms, target.closed
    numbers = [*atoms, target.gap, target.period, target.censor_below, target.censor_above]
    good = all(
        each is None or (isinstance(each, float) and math.isfinite(each)) for each in numbers
    )
    _require(good and len(atoms) <= _MOST_ATOMS, "the kind of a target")
    _require(len(closed) == 2 and all(type(each) is bool for each in closed), "the closed ends")
    rising = all(one < other for one, other in itertools.pairwise(atoms))
    one_kind = sum([target.rounded, bool(atoms), target.period is not None]) <= 1
    _require(rising and one_kind, "the atoms of a target")
    _require((target.gap > 0.0) == bool(atoms), "the gap of a target")
    _require(target.period is None or target.period > 0.0, "the period of a target")
    _require(len(atoms) >= sum(closed), "the closed ends of a target")
    transform = target.transform
    if isinstance(transform, Atoms):
        _require(not transform.inner.outside(np.array(atoms)).any(), "an atom of a target")
    ends = [each for each in (target.censor_below, target.censor_above) if each is not None]
    _require(ends == sorted(set(ends)), "the limits of a target")
    plain = not ends and target.upper is None
    _require(target.period is None or plain, "the limits of an angle")


def _check_column(column: Column, more: list[float]) -> None:
    numbers = [column.mean, column.scale, column.lowest, column.median, column.highest, *more]
    finite = all(isinstance(value, float) and math.isfinite(value) for value in numbers)
    _require(isinstance(column.name, str) and finite and column.scale > 0.0, "a column")


def _architecture(plain: dict[str, Any]) -> Architecture:
    architecture = Architecture.from_plain(plain)
    widths = (architecture.mixtures, *architecture.hidden)
    _require(all(type(width) is int and width >= 1 for width in widths), "a width")
    frequencies = architecture.frequencies
    _require(type(frequencies) is int and frequencies >= 0, "the number of frequencies")
    _require(architecture.activation in get_args(Activation), "the activation")
    _require(architecture.covariance in get_args(Covariance), "the covariance")
    return architecture


def _record(plain: dict[str, Any], mixtures: int) -> TrainingRecord:
    reports = [MemberReport(**member) for member in plain["components"]]
    record = TrainingRecord(**{**plain, "components": reports})
    counts = [record.rows, record.rows_valid, record.epochs, record.faults, *record.best_epochs]
    _require(all(type(count) is int and count >= 0 for count in counts), "the training record")
    _require(len(record.best_epochs) > 0, "the number of best epochs")
    histories = [record.history[name] for name in _SPLITS]
    complete = all(len(history) == record.epochs for history in histories)
    reference = [record.reference[name] for name in _SPLITS]
    floats = [record.nll_train, record.nll_valid, *reference, *histories[0], *histories[1]]
    floats += [*record.tried.values()]
    _require(all(type(count) is int for count in record.tried), "the numbers of components tried")
    for report in record.components:
        columns = [report.weight, report.leads, report.at_floor]
        _require(all(len(column) == mixtures for column in columns), "the report on components")
        floats += [report.effective, *columns[0], *columns[1], *columns[2]]
    _require(all(isinstance(fold, dict) for fold in record.cv), "the cross-validation")
    _require(complete and all(isinstance(v, float) for v in floats), "the training history")
    return record


def _origin(plain: dict[str, Any]) -> Origin:
    origin = Origin(**plain)
    texts = [origin.table_sha256, *origin.request, *origin.versions, *origin.versions.values()]
    _require(all(isinstance(text, str) for text in texts), "the origin of the model")
    _require(all(_is_option_value(value) for value in origin.request.values()), "the request")
    dialect = Dialect.from_plain(origin.dialect)
    texts = [dialect.encoding, dialect.thousands or "", dialect.format or "csv"]
    texts += [*dialect.na, *dialect.strip]
    _require(all(isinstance(text, str) for text in texts), "the dialect")
    switches = [dialect.header, dialect.name_columns]
    _require(all(isinstance(switch, bool) for switch in switches), "the dialect")
    _require(type(dialect.skip_lines) is int, "the dialect")
    return origin


def _is_option_value(value: Any) -> bool:
    """Return whether a value is plain, or a list or a dictionary of plain values."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    values = value if isinstance(value, list | tuple) else [value]
    return all(isinstance(each, str | int | float | None) for each in values)


def _reference(state: dict[str, Any], targets: int) -> GaussianMixture:
    components = np.shape(state[REFERENCE_TENSORS[0]])[-1]
    shapes = (1, components), (1, components, targets), (1, components, targets)
    log_pi, mu, sigma = (
        _tensor(state, name, shape) for name, shape in zip(REFERENCE_TENSORS, shapes, strict=True)
    )
    _require(bool((sigma > 0.0).all()), "a sigma of the marginal reference")
    return GaussianMixture(log_pi, mu, sigma)


def _baseline(
    plain: dict[str, Any], state: dict[str, Any], architecture: Architecture, schema: Schema
) -> Baseline:
    targets = len(schema.targets)
    sizes = (schema.periodic_width, schema.plain_width, targets)
    network = _network(state, "baseline", architecture, sizes)
    _require(isinstance(plain["baseline_nll"], float), "the NLL of the baseline")
    sigma = _tensor(state, "baseline.sigma", (targets,))
    _require(bool((sigma > 0.0).all()), "a sigma of the baseline")
    return Baseline(network, sigma, plain["baseline_nll"])


def _network(
    state: dict[str, Any], prefix: str, architecture: Architecture, sizes: tuple[int, int, int]
) -> Perceptron:
    """Return a network with these numbers of periodic inputs, of other inputs and of outputs."""
    periodic, plain, outputs = sizes
    widths = [architecture.trunk_width(periodic, plain), *architecture.hidden, outputs]
    layers = [
        (
            _tensor(state, f"{prefix}.layers.{index}.weight", (width, inputs)),
            _tensor(state, f"{prefix}.layers.{index}.bias", (width,)),
        )
        for index, (inputs, width) in enumerate(itertools.pairwise(widths))
    ]
    frequencies = _tensor(state, f"{prefix}.frequencies", (periodic, architecture.frequencies))
    return Perceptron(architecture.activation, frequencies, layers)


def _tensor(state: dict[str, Any], name: str, shape: tuple[int, ...]) -> Array:
    array = state[name]
    if not isinstance(array, np.ndarray) or array.shape != shape:
        raise ValueError(f"the tensor {name} does not have the shape {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"the tensor {name} contains a value that is not finite")
    return array.astype(np.float64)
