"""A fitted model and its file."""

import io
from collections.abc import Callable

import pytest
import torch
from small_model import small_fit

from mdncli.density.model import MixtureDensityNetwork
from mdncli.modelfile.writer import write_model


@pytest.fixture(scope="session")
def model() -> MixtureDensityNetwork:
    """Return a fitted model."""
    return small_fit()


@pytest.fixture(scope="session")
def content(model: MixtureDensityNetwork) -> bytes:
    """Return the bytes of its file."""
    stream = io.BytesIO()
    write_model(model, stream)
    return stream.getvalue()


@pytest.fixture
def rewritten(content: bytes) -> Callable[[Callable[[dict], object]], bytes]:
    """Return a function that changes the dictionary in the file, as torch.save writes it."""

    def change(edit: Callable[[dict], object]) -> bytes:
        plain = torch.load(io.BytesIO(content), weights_only=True)
        edit(plain)
        stream = io.BytesIO()
        torch.save(plain, stream)
        return stream.getvalue()

    return change
