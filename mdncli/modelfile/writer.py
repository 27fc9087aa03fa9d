"""Writes a model file with PyTorch; `mdncli.modelfile.reader` reads it without PyTorch."""

import io
import math
import sys
from dataclasses import asdict
from typing import Any, BinaryIO

import numpy as np
import torch

from mdncli.density.model import MixtureDensityNetwork
from mdncli.density.network import Perceptron
from mdncli.files import FileContent
from mdncli.modelfile.migrations import FORMAT, FORMAT_VERSION, MEMORY_TENSORS, REFERENCE_TENSORS
from mdncli.modelfile.reader import read_model
from mdncli.types import Array


def write_model(model: MixtureDensityNetwork, stream: BinaryIO) -> None:
    """Write a model, so that `read_model` and `torch.load(..., weights_only=True)` can open it.

    The same model gives the same bytes: the file contains no time, file name or random number.

    Raises:
        ModelFileError: `read_model` would refuse the file, so nothing is written.
    """
    tensors = {
        name: torch.tensor(np.asarray(array, dtype=np.float32))
        for name, array in _arrays(model).items()
    }
    content = {
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
        "state_dict": tensors,
    }
    # Given a path, torch.save would write the name of the file into it.
    buffer = io.BytesIO()
    torch.save(_with_shared_texts(content), buffer)
    # It is better to know now than when the file is needed.
    read_model(FileContent("this model cannot be written", buffer.getvalue()))
    stream.write(buffer.getbuffer())


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


def _arrays(model: MixtureDensityNetwork) -> dict[str, Array]:
    """Return the arrays of a model by the names of their tensors in the file."""
    named: dict[str, Array] = {}
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
