"""Reads a model file without PyTorch: checks every value in it, and makes a model of them.

`mdncli.modelfile.archive` opens the file. The shapes here say which names and kinds of values its
content has in the newest format. Then each part of the model is made, and what its values must
have in common is checked. The limits of numbers are those of tables that `fit` takes, or wider.
Within them nothing overflows when the model answers.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from mdncli.columns.discrete import Atoms
from mdncli.columns.features import AngleFeature, CategoryFeature, Column, DateFeature, Feature
from mdncli.columns.schema import Schema, Target
from mdncli.columns.transforms import HIGHEST_ORDER
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
from mdncli.density.network import (
    HIGHEST_INPUT,
    MOST_LEVELS,
    NEAREST,
    Architecture,
    BoostedTrees,
    Forest,
    Memory,
    Neighbours,
    Perceptron,
)
from mdncli.errors import ModelFileError, ParameterError
from mdncli.files import FileContent
from mdncli.modelfile.archive import StoredTensor, plain_values
from mdncli.modelfile.migrations import (
    FORMAT,
    FORMAT_VERSION,
    MEMORY_TENSORS,
    REFERENCE_TENSORS,
    check_content,
    migrate,
)
from mdncli.settings import Settings
from mdncli.tables.dialect import Dialect
from mdncli.text import printable, quoted
from mdncli.types import Array

# The range of sigmas, in scales of a target.
_SIGMAS, _LEAST_SIGMA = (1e-40, 1e12), 1e-30
# The smallest scale and step of a target, the periods that an angle may spread over, and by how
# much calibration may change what was learned.
_SMALLEST_OF_TARGET, _MOST_PERIODS, _CALIBRATION = 1e-100, 100.0, (1e-6, 1e6)
# No input of a network is larger, and no number in a network for such inputs.
_LARGEST_INPUT, _LARGEST_OUTPUT = 1e6, 1e30
# A target has at most so many values with a probability of their own, and so many steps.
_MOST_ATOMS, _MOST_STEPS = 100, 20_000
# The largest size of u for a target with bounds, and the widest gaps of its atoms.
_LARGEST_LOGARITHM = 1e4
# Days since 1970: those that NumPy can write, and those that a date format can.
_DAYS, _DAYS_WITH_FORMAT = (-1e8, 1e8), (-719_162.0, 2_932_896.0)
_LONGEST_FAULT = 300


def read_model(file: FileContent) -> MixtureDensityNetwork:
    """Return the model in a file.

    Raises:
        ModelFileError: the file is not a model file, is damaged or of a newer version, or contains
            anything that no model file needs.
    """
    try:
        plain = plain_values(file.content)
    except ModelFileError as error:
        raise ModelFileError(f"{file.name}: {error}") from error
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise ModelFileError(f"{file.name}: this is not a model file that mdn wrote.")
    version = plain.get("format_version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        shown = version if type(version) is int else "of another kind"
        raise ModelFileError(
            f"{file.name}: the model file has format {shown}, but this version of mdn reads only "
            f"formats up to {FORMAT_VERSION}. Upgrade mdn, or fit the model again."
        )
    try:
        plain = migrate(plain, version)
        check_content(plain)
        return _model(plain)
    except KeyError as error:
        raise _damaged(file, f"{error} is missing") from error
    except (TypeError, ValueError, AttributeError, IndexError, ParameterError) as error:
        raise _damaged(file, str(error)) from error


def _damaged(file: FileContent, fault: str) -> ModelFileError:
    fault = printable(fault[:_LONGEST_FAULT])[:_LONGEST_FAULT].rstrip(".")
    return ModelFileError(f"{file.name}: the model file is damaged: {fault}.")


class _Tensors:
    """The tensors of a file by their names; each of them is used once."""

    def __init__(self, stored: dict[str, StoredTensor]) -> None:
        self._stored = dict(stored)

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """Return the shape of a tensor with so many dimensions.

        Raises:
            KeyError: there is none of this name.
            ValueError: it has another number of dimensions.
        """
        shape = self._stored[name].shape
        _require(len(shape) == dimensions, f"the shape of the tensor {name}")
        return shape

    def take(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return the values of a tensor that must have this shape.

        Raises:
            KeyError: there is none of this name.
            ValueError: it has another shape, or its values are damaged or not finite.
        """
        stored = self._stored.pop(name)
        if stored.shape != shape:
            raise ValueError(f"the tensor {name} does not have the shape {shape}")
        try:
            return stored.read()
        except ValueError as error:
            raise ValueError(f"the tensor {name} {error}") from error

    def require_none_left(self) -> None:
        """Raise a ValueError if a tensor was not used."""
        for name in self._stored:
            raise ValueError(f"no part of the model has the tensor {name}")


def _model(plain: dict[str, Any]) -> MixtureDensityNetwork:
    """Return the model that a dictionary of the right shape describes.

    Raises:
        KeyError, ValueError, ParameterError: it describes none.
    """
    schema, state = _schema(plain["schema"]), _Tensors(plain["state_dict"])
    targets = len(schema.targets)
    memory, largest_said = _memory(plain["memory"], state, schema)
    rungs = [
        _rung(each, state, f"rung.{position}", schema, largest_said)
        for position, each in enumerate(plain["rungs"])
    ]
    background = _background(plain["background"], state, targets)
    read = {part for rung in rungs for part in rung.reads}
    _require(read == set(plain["memory"]), "the memory of a rung")
    total = sum(rung.weight for rung in rungs) + (background.weight if background else 0.0)
    _require(bool(rungs) and abs(total - 1.0) < 1e-6, "the weight of a rung")
    main = max(rungs, key=lambda rung: rung.weight)
    model = MixtureDensityNetwork(
        schema=schema,
        rungs=rungs,
        settings=_settings(plain["settings"]),
        record=_record(plain["record"], main.architecture.mixtures),
        reference=_reference(state, targets) if plain["reference"] else None,
        baseline=_baseline(plain, state, main.architecture, schema) if plain["baseline"] else None,
        background=background,
        memory=memory,
        origin=_origin(plain["origin"]),
    )
    state.require_none_left()
    return model


def _settings(plain: dict[str, Any]) -> dict[str, Any]:
    """Return the settings, which `fit` must know and accept."""
    hidden = plain.get("hidden")
    _require(hidden is None or isinstance(hidden, list), "the setting hidden")
    known = {each.name for each in fields(Settings)}
    _require(plain.keys() <= known, "the name of a setting")
    Settings(**plain)
    return plain


def _rung(
    plain: dict[str, Any], state: _Tensors, prefix: str, schema: Schema, largest_said: float
) -> Rung:
    architecture, members = _architecture(plain["architecture"]), plain["members"]
    _require(members >= 1, "the number of members")
    _require(plain["mixtures"] == architecture.mixtures, "the number of components")
    numbers = {name: plain[name] for name in ("weight", "sigma_scale", "temperature")}
    _require(0.0 < numbers["weight"] <= 1.0, "the weight of a rung")
    calibration = numbers["sigma_scale"], numbers["temperature"]
    least, most = _CALIBRATION
    _require(all(least < number < most for number in calibration), "the calibration of a rung")
    reads = _parts_of_memory(plain["reads"])
    targets = len(schema.targets)
    plain_inputs = schema.plain_width + Memory.width(reads, targets)
    sizes = (schema.periodic_width, plain_inputs, architecture.head_width(targets))
    largest = max(_LARGEST_INPUT, largest_said)
    networks = [
        _network(state, f"{prefix}.network.{member}", architecture, sizes, largest)
        for member in range(members)
    ]
    nll = plain["nll_valid"]
    return Rung(plain["name"], architecture, networks, nll=nll, reads=tuple(reads), **numbers)


def _parts_of_memory(names: list[str]) -> list[str]:
    """Return the names of parts of a memory, which must be known ones in the usual order."""
    known = [name for name in MEMORY_TENSORS if name in names]
    _require(names == known, "the memory")
    return known


def _memory(kinds: list[str], state: _Tensors, schema: Schema) -> tuple[Memory, float]:
    """Return the memory, and the largest size of what it says about a row."""
    known = _parts_of_memory(kinds)
    targets = len(schema.targets)
    inputs = schema.periodic_width + schema.plain_width
    forest = _forest(state, targets, inputs) if "forest" in known else None
    boosted = _boosted(state, targets, inputs) if "boosted" in known else None
    neighbours = _neighbours(state, targets, inputs) if "neighbours" in known else None
    largest = 0.0
    if forest is not None:
        largest = _size(forest.value)
    if boosted is not None:
        trees = np.abs(boosted.value).max(axis=(1, 2), initial=0.0).sum()
        largest = max(largest, _size(boosted.base) + float(trees))
    if neighbours is not None:
        largest = max(largest, _size(neighbours.y))
    return Memory(forest, boosted, neighbours), largest


def _size(values: Array) -> float:
    """Return the largest absolute value."""
    return float(np.abs(values).max(initial=0.0))


def _arrays(state: _Tensors, kind: str, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    return [
        state.take(f"{kind}.{name}", shape)
        for name, shape in zip(MEMORY_TENSORS[kind], shapes, strict=True)
    ]


def _places(values: Array, count: int) -> bool:
    """Return whether all values are whole numbers from 0 to below a count."""
    return bool(((values == np.floor(values)) & (values >= 0) & (values < count)).all())


def _forest(state: _Tensors, targets: int, inputs: int) -> Forest:
    """Return the forest; every path from a root must end at a leaf of the same tree."""
    nodes, trees = (state.shape(f"forest.{name}", 1) for name in ("left", "roots"))
    shapes = trees, nodes, nodes, nodes, (*nodes, targets)
    roots, feature, threshold, left, value = _arrays(state, "forest", shapes)
    _require(len(roots) >= 1, "a root of the forest")
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


def _boosted(state: _Tensors, targets: int, inputs: int) -> BoostedTrees:
    trees, levels = state.shape("boosted.feature", 2)
    _require(trees >= 1 and 1 <= levels <= MOST_LEVELS, "the levels of the boosted trees")
    each = trees, levels
    shapes = each, each, (trees, 1 << levels, targets), (targets,)
    feature, threshold, value, base = _arrays(state, "boosted", shapes)
    _require(_places(feature, inputs), "a feature of the boosted trees")
    return BoostedTrees(feature.astype(np.int32), threshold.astype(np.float32), value, base)


def _neighbours(state: _Tensors, targets: int, inputs: int) -> Neighbours:
    rows, count = state.shape("neighbours.points", 2)
    shapes = (count,), (count,), (rows, count), (rows, targets)
    columns, scale, points, y = _arrays(state, "neighbours", shapes)
    _require(rows >= NEAREST and count >= 1, "the number of the neighbours")
    _require(_places(columns, inputs), "a column of the neighbours")
    _require(
        bool((scale >= 0.0).all() and (scale <= _LARGEST_INPUT).all()), "a scale of neighbours"
    )
    return Neighbours(columns.astype(np.int32), scale, points.astype(np.float32), y)


def _background(weight: float | None, state: _Tensors, targets: int) -> Background | None:
    if weight is None:
        return None
    _require(0.0 < weight < 1.0, "the weight of the background")
    mu, sigma = (state.take(f"background.{name}", (targets,)) for name in ("mu", "sigma"))
    _require_sigma(sigma, "the background")
    return Background(weight, mu, sigma)


def _require_sigma(sigma: Array, what: str) -> None:
    """Raise a ValueError unless all sigmas, in scales of the targets, are positive and usual."""
    _require(
        bool((sigma > _LEAST_SIGMA).all() and _size(sigma) < _LARGEST_OUTPUT), f"a sigma of {what}"
    )


def _require(holds: bool, what: str) -> None:
    """Raise a ValueError unless a condition holds."""
    if not holds:
        raise ValueError(f"{what} has an impossible value")


def _schema(plain: dict[str, Any]) -> Schema:
    schema = Schema.from_plain(plain)
    _require(bool(schema.features and schema.targets), "the number of columns")
    names = [*schema.feature_names, *schema.target_names]
    _require(len(set(names)) == len(names), "the name of a column")
    for feature in schema.features:
        _check_feature(feature)
    for target in schema.targets:
        _check_target(target)
    alone = len(schema.targets) == 1
    plain_targets = all(_is_plain(target) for target in schema.targets)
    _require(alone or (plain_targets and schema.event is None), "the kinds of several targets")
    no_angle = all(target.period is None for target in schema.targets)
    _require(schema.event is None or no_angle, "the column of events of an angle")
    with np.errstate(all="ignore"):
        sigmas = np.concatenate([schema.min_sigma, schema.max_sigma])
    least, most = _SIGMAS
    _require(bool(((sigmas > least) & (sigmas < most)).all()), "the range of a target")
    return schema


def _check_feature(feature: Feature) -> None:
    if isinstance(feature, CategoryFeature):
        levels = feature.levels
        _require(len(set(levels)) == len(levels) >= 1, "a level of a category")
        # Where no level is left, there is nothing to draw.
        rare = set(feature.rare)
        known = len(rare) < len(levels) and all(place < len(levels) for place in rare)
        _require(known, "a rare level of a category")
        return
    _check_range(feature)
    if isinstance(feature, DateFeature):
        _check_dates(feature)
    if isinstance(feature, AngleFeature):
        _require(feature.period > 0.0, "the period of a feature")
    rising = all(one < other for one, other in itertools.pairwise(feature.knots))
    _require(rising and len(feature.knots) == len(feature.scores), "a score of a feature")


def _check_dates(feature: DateFeature) -> None:
    """Check that dates in the range of a feature can be written in its format."""
    first, last = _DAYS_WITH_FORMAT if feature.format else _DAYS
    _require(first <= feature.lowest and feature.highest <= last, "the range of a date")
    _require("\0" not in feature.format, "the format of a date")


def _check_range(column: Column) -> None:
    ordered = column.lowest <= column.median <= column.highest
    _require(ordered and column.scale > 0.0, f"the range of the column {quoted(column.name)}")


def _check_target(target: Target) -> None:
    _check_range(target)
    positive = [target.scale, target.min_sigma, 1.0 if target.step is None else target.step]
    usual = min(positive) > _SMALLEST_OF_TARGET
    _require(usual, "the scale, the step or the smallest sigma of a target")
    bounds = [bound for bound in (target.lower, target.upper) if bound is not None]
    values = np.array([target.lowest, target.median, target.highest])
    orders = range(1, HIGHEST_ORDER + 1 if len(bounds) == 2 and not target.rounded else 2)
    _require(target.order in orders, "the order of a target")
    if target.rounded:
        steps = (
            target.step is not None and target.highest - target.lowest <= _MOST_STEPS * target.step
        )
        _require(steps, "the step of a target")
    _check_kind(target)
    if bounds and not target.rounded and target.period is None:
        # u is about a logarithm.
        size = max(abs(target.mean), target.scale, target.min_sigma, target.gap)
        _require(size <= _LARGEST_LOGARITHM, "the scale of a target with bounds")
    rising = bounds == sorted(set(bounds))
    _require(rising and not target.transform.outside(values).any(), "a bound of a target")


def _is_plain(target: Target) -> bool:
    """Return whether every value of a target is a known point on a line."""
    limits = target.censor_below, target.censor_above
    return not (target.rounded or target.atoms or target.period) and limits == (None, None)


def _check_kind(target: Target) -> None:
    """Check what a target's values stand for: atoms, limits and a period exclude some others."""
    atoms, closed = target.atoms, target.closed
    _require(len(atoms) <= _MOST_ATOMS, "the number of atoms of a target")
    _require(len(closed) == 2, "a closed end of a target")
    rising = all(one < other for one, other in itertools.pairwise(atoms))
    one_kind = sum([target.rounded, bool(atoms), target.period is not None]) <= 1
    _require(rising and one_kind, "an atom of a target")
    _require(
        target.gap > _SMALLEST_OF_TARGET if atoms else target.gap == 0.0, "the gap of a target"
    )
    _require(len(atoms) >= sum(closed), "a closed end of a target")
    transform = target.transform
    if isinstance(transform, Atoms):
        _require(not transform.inner.outside(np.array(atoms)).any(), "an atom of a target")
    ends = [each for each in (target.censor_below, target.censor_above) if each is not None]
    _require(ends == sorted(set(ends)), "a limit of a target")
    if target.period is not None:
        # A Gaussian is wrapped as many times as it is wide.
        wide = max(target.min_sigma, target.scale, target.highest - target.lowest)
        _require(wide <= _MOST_PERIODS * target.period, "the period of a target")
        _require(not ends and target.upper is None, "a limit of an angle")


def _architecture(plain: dict[str, Any]) -> Architecture:
    architecture = Architecture.from_plain(plain)
    _require(min(architecture.mixtures, *architecture.hidden, 1) >= 1, "a width")
    return architecture


def _record(plain: dict[str, Any], mixtures: int) -> TrainingRecord:
    reports = [MemberReport(**member) for member in plain["components"]]
    record = TrainingRecord(**{**plain, "components": reports})
    _require(len(record.best_epochs) > 0, "the number of best epochs")
    complete = all(len(history) == record.epochs for history in record.history.values())
    _require(complete, "the training history")
    for each in reports:
        columns = each.weight, each.leads, each.at_floor
        _require(all(len(column) == mixtures for column in columns), "the report on components")
    return record


def _origin(plain: dict[str, Any]) -> Origin:
    origin = Origin(**plain)
    kinds = {"bool": (bool,), "int": (int,), "tuple": (list,)}
    for each in fields(Dialect):
        allowed = kinds.get(type(each.default).__name__, (str, type(None)))
        value = origin.dialect.get(each.name, each.default)
        texts = all(isinstance(text, str) for text in value) if type(value) is list else True
        same = value is each.default or type(value) in allowed
        _require(same and texts, f"{each.name} in the dialect")
    Dialect.from_plain(origin.dialect)
    return origin


def _reference(state: _Tensors, targets: int) -> GaussianMixture:
    components = state.shape(REFERENCE_TENSORS[0], 2)[-1]
    _require(components >= 1, "the marginal reference")
    shapes = (1, components), (1, components, targets), (1, components, targets)
    log_pi, mu, sigma = (
        state.take(name, shape) for name, shape in zip(REFERENCE_TENSORS, shapes, strict=True)
    )
    _require_sigma(sigma, "the marginal reference")
    return GaussianMixture(log_pi, mu, sigma)


def _baseline(
    plain: dict[str, Any], state: _Tensors, architecture: Architecture, schema: Schema
) -> Baseline:
    targets = len(schema.targets)
    sizes = (schema.periodic_width, schema.plain_width, targets)
    network = _network(state, "baseline", architecture, sizes, _LARGEST_INPUT)
    sigma = state.take("baseline.sigma", (targets,))
    _require_sigma(sigma, "the baseline")
    return Baseline(network, sigma, plain["baseline_nll"])


def _network(
    state: _Tensors,
    prefix: str,
    architecture: Architecture,
    sizes: tuple[int, int, int],
    largest: float,
) -> Perceptron:
    """Return a network with these numbers of periodic inputs, of other inputs and of outputs.

    Raises:
        ValueError: for inputs of the largest size, a number in it could overflow.
    """
    periodic, plain, outputs = sizes
    widths = [architecture.trunk_width(periodic, plain), *architecture.hidden, outputs]
    layers = [
        (
            state.take(f"{prefix}.layers.{index}.weight", (width, inputs)),
            state.take(f"{prefix}.layers.{index}.bias", (width,)),
        )
        for index, (inputs, width) in enumerate(itertools.pairwise(widths))
    ]
    frequencies = state.take(f"{prefix}.frequencies", (periodic, architecture.frequencies))
    sizes_of_numbers = [2.0 * math.pi * _size(frequencies) * largest]
    for weight, bias in layers:
        # No activation is larger than its argument, or than 1.
        row = float(np.abs(weight).sum(axis=1).max(initial=0.0))
        largest = max(1.0, row * largest + _size(bias))
        sizes_of_numbers.append(largest)
    _require(max(sizes_of_numbers) <= _LARGEST_OUTPUT, f"the size of {prefix}")
    return Perceptron(architecture.activation, frequencies, layers)
