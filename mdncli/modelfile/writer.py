"""Writes files in three formats: model files, with PyTorch; safetensors; and graphs of ONNX.

`mdncli.modelfile.reader` reads a model file without PyTorch. The other two are for other programs;
`mdncli.modelfile.exports` says what such a graph computes.
"""

import io
import json
import math
import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, BinaryIO

import numpy as np
import scipy

from mdncli import __version__
from mdncli.columns.schema import Schema
from mdncli.density.model import MixtureDensityNetwork
from mdncli.density.network import Perceptron
from mdncli.errors import DataError, parameter
from mdncli.files import FileContent
from mdncli.modelfile.archive import MOST_PICKLED
from mdncli.modelfile.migrations import FORMAT, FORMAT_VERSION, MEMORY_TENSORS, REFERENCE_TENSORS
from mdncli.modelfile.reader import read_model
from mdncli.text import without_nan
from mdncli.types import Array, Numbers

# The header of safetensors ends where the position in the file is a multiple of this.
_ALIGNMENT = 8
# How much of the description of a model its columns may take, by `pickle`, which is shorter.
_SHARE_OF_SCHEMA = 0.75
# What safetensors calls the types of the arrays.
_DTYPES = {"f": ("F32", "<f4"), "i": ("I32", "<i4")}

# onnxruntime 1.12, of 2022, knows these versions of the operators and of the format.
_OPSET, _OPSET_ML, _IR_VERSION = 17, 2, 8
_MOST_BYTES = 2_000_000_000
# The cdf of a Gaussian: the centre of the polynomial, its degree, and where the tail is 0.
_CENTRE, _DEGREE, _FARTHEST = 3.0, 20, 40.0


def write_model(model: MixtureDensityNetwork, stream: BinaryIO) -> None:
    """Write a model, so that `read_model` and `torch.load(..., weights_only=True)` can open it.

    The same model gives the same bytes: the file contains no time, file name or random number.

    Raises:
        ModelFileError: `read_model` would refuse the file, so nothing is written.
    """
    # Importing PyTorch takes more than a second, and the other format does not need it.
    import torch

    tensors = {
        name: torch.tensor(np.asarray(array, dtype=np.float32))
        for name, array in _arrays(model).items()
    }
    content = {**_content(model), "state_dict": tensors}
    # Given a path, torch.save would write the name of the file into it.
    buffer = io.BytesIO()
    torch.save(_with_shared_texts(content), buffer)
    # It is better to know now than when the file is needed.
    read_model(FileContent("this model cannot be written", buffer.getvalue()))
    stream.write(buffer.getbuffer())


def require_room(schema: Schema, source: str) -> None:
    """Check before learning that a model file can describe all columns.

    Raises:
        DataError: there are too many features, or too long texts.
    """
    size = len(pickle.dumps(schema.to_plain(), protocol=2))
    if size > _SHARE_OF_SCHEMA * MOST_PICKLED:
        raise DataError(
            f"{source}: its {len(schema.features)} features need {size / 2**20:.1f} MB in a model "
            f"file, and there is room for {_SHARE_OF_SCHEMA * MOST_PICKLED / 2**20:.1f} MB. Leave "
            f"some out with {parameter('ignore', 'COL')}."
        )


def write_safetensors(model: MixtureDensityNetwork, stream: BinaryIO) -> None:
    """Write a model as safetensors; the same model gives the same bytes.

    The format is the length of a header in 8 bytes, the header in JSON, and the bytes of one tensor
    after another, little-endian. The tensors have the names and the values of those of the model
    file. The entry `__metadata__` of the header holds everything else, each part as JSON: the
    schema, the rungs with their architectures and calibration, the settings, the record and the
    origin. Not-a-number is null.
    """
    header: dict[str, Any] = {
        "__metadata__": {
            name: json.dumps(without_nan(part), allow_nan=False)
            for name, part in {"mdncli": __version__, **_content(model)}.items()
        }
    }
    parts, end = [], 0
    for name, array in _arrays(model).items():
        dtype, stored = _DTYPES[array.dtype.kind]
        parts.append(np.ascontiguousarray(array, dtype=stored).tobytes())
        start, end = end, end + len(parts[-1])
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    # Blanks at the end make the tensors begin at a multiple of their size.
    text += b" " * (-len(text) % _ALIGNMENT)
    stream.write(b"".join([len(text).to_bytes(8, "little"), text, *parts]))


def _content(model: MixtureDensityNetwork) -> dict[str, Any]:
    """Return what a model consists of beside its arrays, as plain values."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "schema": model.schema.to_plain(),
        "rungs": [
            {**rung.summary(), "architecture": rung.architecture.to_plain()} for rung in model.rungs
        ],
        "background": None if model.background is None else model.background.weight,
        "memory": list(model.memory.parts()),
        "settings": model.settings,
        "record": asdict(model.record),
        "reference": model.reference is not None,
        "baseline": model.baseline is not None,
        "baseline_nll": model.baseline.nll if model.baseline else math.nan,
        "origin": asdict(model.origin),
    }


def _with_shared_texts(value: Any) -> Any:
    """Return plain values in which equal texts are the same object.

    Pickle writes an object once and then refers to it. Without this, the bytes of a file would
    depend on which of its equal texts happen to be the same object.
    """
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, dict):
        return {_with_shared_texts(k): _with_shared_texts(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_with_shared_texts(each) for each in value)
    return value


def _arrays(model: MixtureDensityNetwork) -> dict[str, Numbers]:
    """Return the arrays of a model by the names of their tensors in the file."""
    named: dict[str, Numbers] = {}
    for position, rung in enumerate(model.rungs):
        for member, network in enumerate(rung.networks):
            named |= _arrays_of_network(f"rung.{position}.network.{member}", network)
    if model.background is not None:
        named |= {"background.mu": model.background.mu, "background.sigma": model.background.sigma}
    for kind, part in model.memory.parts().items():
        named |= {f"{kind}.{name}": getattr(part, name) for name in MEMORY_TENSORS[kind]}
    if model.reference is not None:
        named |= dict(zip(REFERENCE_TENSORS, model.reference.arrays(), strict=True))
    if model.baseline is not None:
        named |= _arrays_of_network("baseline", model.baseline.network)
        named["baseline.sigma"] = model.baseline.sigma
    return named


def _arrays_of_network(prefix: str, network: Perceptron) -> dict[str, Array]:
    named = {f"{prefix}.frequencies": network.frequencies}
    for index, (weight, bias) in enumerate(network.layers):
        named[f"{prefix}.layers.{index}.weight"] = weight
        named[f"{prefix}.layers.{index}.bias"] = bias
    return named


class Tensor(np.lib.mixins.NDArrayOperatorsMixin):
    """A tensor of a graph. What NumPy computes with it becomes nodes of the graph."""

    def __init__(self, graph: "OnnxGraph", name: str, dtype: Any) -> None:
        self.graph, self.name, self.dtype = graph, name, np.dtype(dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *given: Any, **_: Any) -> Any:
        name = ufunc.__name__
        if method != "__call__" or name not in _OPERATORS | _COMPOSED:
            return NotImplemented
        dtype = next(each.dtype for each in given if isinstance(each, Tensor))
        parts = [each if isinstance(each, Tensor) else np.asarray(each, dtype) for each in given]
        if name in _COMPOSED:
            return _COMPOSED[name](*parts)
        return self.graph.node(_OPERATORS[name], *parts, dtype=bool if name in _LOGICAL else dtype)

    def __array_function__(self, function: Any, _: Any, given: Any, named: Any) -> Any:
        return _FUNCTIONS[function](self.graph, *given, **named)

    def __getitem__(self, key: tuple[Any, ...]) -> Any:
        """Return the tensor with an axis of length 1 wherever the key is None."""
        axes = np.array([position for position, each in enumerate(key) if each is None])
        return self.graph.node("Unsqueeze", self, axes)

    def __len__(self) -> int:
        # The number of rows is not known. Only an array without columns is made of it.
        return 0

    def astype(self, dtype: Any) -> Any:
        """Return the tensor in another type."""
        return self.graph.node("Cast", self, dtype=dtype, to=self.graph.type_of(dtype))

    def sum(self, axis: int, *, keepdims: bool = False) -> Any:
        """Return the sum over an axis."""
        return self.graph.node("ReduceSum", self, np.array([axis]), keepdims=int(keepdims))

    def largest(self, *axes: int) -> Any:
        """Return the maximum over some axes; over all of them by default, a scalar."""
        more = {"axes": list(axes)} if axes else {}
        return self.graph.node("ReduceMax", self, keepdims=0, **more)

    def take(self, places: Any, axis: int = 0) -> Any:
        """Return the parts at these places of an axis."""
        return self.graph.node("Gather", self, places, axis=axis)

    def reshape(self, *shape: int) -> Any:
        """Return the tensor in another shape; 0 stands for a length as it is."""
        return self.graph.node("Reshape", self, np.array(shape))


class OnnxGraph:
    """Nodes and constants of an ONNX graph.

    Args:
        onnx: the package.
        taken: names that no tensor may have, those of inputs and outputs.
    """

    def __init__(self, onnx: Any, taken: Sequence[str]) -> None:
        self._onnx, self._taken, self._count = onnx, set(taken), 0
        self.nodes: list[Any] = []
        self.constants: dict[Any, tuple[str, Numbers]] = {}

    def new_name(self) -> str:
        """Return a name that no other tensor has."""
        self._count += 1
        name = f"tensor{self._count}"
        return self.new_name() if name in self._taken else name

    def type_of(self, dtype: Any) -> int:
        """Return the number of a type."""
        number: int = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return number

    def tensor(self, given: Any) -> Tensor:
        """Return a tensor; an array becomes a constant, the same array the same one."""
        if isinstance(given, Tensor):
            return given
        array = np.asarray(given)
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self.constants:
            self.constants[key] = self.new_name(), array
        return Tensor(self, self.constants[key][0], array.dtype)

    def node(self, operator: str, *given: Any, dtype: Any = None, **attributes: Any) -> Any:
        """Return the result of an operator; by default it has the type of the first input."""
        return self.nodes_of(operator, *given, dtypes=[dtype], **attributes)[0]

    def nodes_of(
        self,
        operator: str,
        *given: Any,
        dtypes: Sequence[Any],
        domain: str = "",
        **attributes: Any,
    ) -> list[Any]:
        """Return the results of an operator that has several."""
        inputs = [self.tensor(each) for each in given]
        results = [Tensor(self, self.new_name(), kind or inputs[0].dtype) for kind in dtypes]
        names = [[each.name for each in side] for side in (inputs, results)]
        self.nodes.append(
            self._onnx.helper.make_node(operator, *names, domain=domain, **attributes)
        )
        return results

    def described(self, tensors: Sequence[Tensor], shape: Any = None) -> list[Any]:
        """Return what ONNX stores of inputs and outputs."""
        make = self._onnx.helper.make_tensor_value_info
        return [make(each.name, self.type_of(each.dtype), shape) for each in tensors]

    def loop(
        self, steps: Any, start: Sequence[Tensor], body: Callable[..., tuple[Any, list[Any]]]
    ) -> list[Any]:
        """Return the state after at most so many steps.

        Args:
            steps: their largest number, an integer.
            start: the state before the first step.
            body: takes the number of the step and the state; returns whether to go on, and the
                next state.
        """
        outside, self.nodes = self.nodes, []
        dtypes = [each.dtype for each in start]
        inputs = [Tensor(self, self.new_name(), kind) for kind in (np.int64, bool, *dtypes)]
        goes_on, after = body(inputs[0], *inputs[2:])
        results = [self.node("Identity", each) for each in (goes_on, *after)]
        make = self._onnx.helper.make_graph
        sides = [
            [*self.described(side[:scalars], []), *self.described(side[scalars:])]
            for side, scalars in ((inputs, 2), (results, 1))
        ]
        inside = make(self.nodes, "body", *sides)
        self.nodes = outside
        return self.nodes_of("Loop", steps, np.array(True), *start, dtypes=dtypes, body=inside)

    def file(
        self, inputs: Sequence["Tensor"], outputs: Sequence[Any], properties: dict[str, str]
    ) -> bytes:
        """Return the bytes of a file with this graph.

        Args:
            inputs: one for each column, (N,).
            outputs: as `described` returns them.
            properties: what the file says about itself.

        Raises:
            DataError: an ONNX file cannot be so large.
        """
        if sum(array.nbytes for _, array in self.constants.values()) > _MOST_BYTES:
            raise DataError(
                "The model has more than 2 GB of weights and trees, and a file of ONNX holds no "
                "more. Fit it with fewer rows or without a memory."
            )
        onnx = self._onnx
        constants = [
            onnx.numpy_helper.from_array(array, name) for name, array in self.constants.values()
        ]
        helper, columns = onnx.helper, self.described(inputs, ["rows"])
        graph = helper.make_graph(self.nodes, "mdn", columns, outputs, constants)
        model = helper.make_model(
            graph,
            producer_name="mdncli",
            producer_version=__version__,
            ir_version=_IR_VERSION,
            opset_imports=[
                helper.make_opsetid("", _OPSET),
                helper.make_opsetid("ai.onnx.ml", _OPSET_ML),
            ],
        )
        helper.set_model_props(model, properties)
        content: bytes = model.SerializeToString(deterministic=True)
        return content


_LOGICAL = {
    **{"less": "Less", "less_equal": "LessOrEqual", "greater": "Greater"},
    **{"greater_equal": "GreaterOrEqual", "equal": "Equal", "isnan": "IsNaN", "isinf": "IsInf"},
    **{"bitwise_and": "And", "bitwise_or": "Or", "invert": "Not"},
}
_OPERATORS = {
    **{"add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "power": "Pow"},
    **{"negative": "Neg", "absolute": "Abs", "exp": "Exp", "log": "Log", "sqrt": "Sqrt"},
    **{"sin": "Sin", "cos": "Cos", "tanh": "Tanh", "floor": "Floor", "ceil": "Ceil"},
    **{"rint": "Round", "minimum": "Min", "maximum": "Max", **_LOGICAL},
}


def _remainder(values: Any, period: Array) -> Any:
    """Return values modulo a positive period, from 0 on."""
    rest = values.graph.node("Mod", values, period, fmod=1)
    return np.where(rest < 0.0, rest + period, rest)


def _ndtr(z: Any) -> Any:
    """Return the cdf of a standard Gaussian; onnxruntime has no erf in double precision.

    Phi(-z) = exp(-z^2 / 2) w(x) / (2 + 4 x) with x = z / sqrt 2, where w(x) = (1 + 2 x) exp(x^2)
    erfc(x) is a polynomial in t = (x - c) / (x + c), with a relative error of 2e-13 (Shepherd and
    Laframboise 1981).
    """

    def scaled(t: Any) -> Any:
        x = _CENTRE * (1.0 + t) / (1.0 - t)
        return (1.0 + 2.0 * x) * scipy.special.erfcx(x)

    chebyshev = np.polynomial.chebyshev
    coefficients = chebyshev.cheb2poly(chebyshev.chebinterpolate(scaled, _DEGREE))
    size = np.minimum(np.abs(z), _FARTHEST)
    x = size / math.sqrt(2.0)
    w = np.polyval(coefficients[::-1], (x - _CENTRE) / (x + _CENTRE))
    tail = np.exp(-0.5 * size * size) * w / (2.0 + 4.0 * x)
    return np.where(z < 0.0, tail, 1.0 - tail)


_COMPOSED: dict[str, Callable[..., Any]] = {"remainder": _remainder, "ndtr": _ndtr}


def _where(graph: OnnxGraph, condition: Any, *given: Any) -> Any:
    kinds = [each.dtype for each in given if isinstance(each, Tensor)]
    dtype = kinds[0] if kinds else np.float64
    parts = [each if isinstance(each, Tensor) else np.asarray(each, dtype) for each in given]
    return graph.node("Where", condition, *parts, dtype=dtype)


def _clip(_: OnnxGraph, values: Any, low: Any, high: Any) -> Any:
    above = values if low is None else np.maximum(values, low)
    return above if high is None else np.minimum(above, high)


def _concatenate(graph: OnnxGraph, parts: Sequence[Any], axis: int = 0) -> Any:
    some = [each for each in parts if isinstance(each, Tensor) or each.size]
    return some[0] if len(some) == 1 else graph.node("Concat", *some, axis=axis)


def _column_stack(graph: OnnxGraph, parts: Sequence[Any]) -> Any:
    """Return columns, (N,) or (N, P), side by side."""
    columns = [
        graph.node("Flatten", each, axis=1) if isinstance(each, Tensor) else each for each in parts
    ]
    return _concatenate(graph, columns, axis=1)


def _polyval(_: OnnxGraph, coefficients: Sequence[float], values: Any) -> Any:
    total = coefficients[0]
    for each in coefficients[1:]:
        total = total * values + each
    return total


def _interp(
    graph: OnnxGraph, values: Any, points: Sequence[float], heights: Sequence[float]
) -> Any:
    """Return the linear interpolation at values, (N,), between points, constant beyond them."""
    x, y = np.array(points), np.array(heights)
    if len(x) == 1:
        return graph.tensor(y)
    inside = np.clip(values, x[0], x[-1])
    piece = (inside[:, None] >= x[1:-1]).astype(np.int64).sum(1)
    start, height, slope = (graph.tensor(e).take(piece) for e in (x, y, np.diff(y) / np.diff(x)))
    return slope * (inside - start) + height


# How a graph computes the functions of NumPy that features and transforms use.
_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.where: _where,
    np.clip: _clip,
    np.concatenate: _concatenate,
    np.column_stack: _column_stack,
    np.stack: lambda graph, parts, axis: _column_stack(graph, parts),
    np.polyval: _polyval,
    np.interp: _interp,
    np.nan_to_num: lambda _, values: np.where(np.isnan(values), 0.0, values),
    np.shape: lambda *_: (),
}
