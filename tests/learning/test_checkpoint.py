"""A fit that goes on from a checkpoint gives the same model as without a break, bit for bit."""

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mdncli
from mdncli.errors import DataError, MdnWarning, ParameterError

RNG = np.random.default_rng(0)
TABLE = pd.DataFrame({"a": RNG.normal(size=200), "b": RNG.normal(size=200)})
TABLE["y"] = np.sin(2.0 * TABLE.a) + 0.05 * RNG.normal(size=200)
JOINT = TABLE.assign(z=TABLE.b + 0.05 * RNG.normal(size=200))


class BrokenError(Exception):
    """Ends a fit at some epoch, as a crash would."""


def bytes_of(model: mdncli.ConditionalDensity) -> bytes:
    stream = io.BytesIO()
    model.write(stream)
    return stream.getvalue()


def fit_with_breaks(table: pd.DataFrame, path: Path, calls: int, **parameters: Any) -> Any:
    """Fit in pieces of so many calls of `progress`; return the model and the number of breaks."""
    for breaks in range(100):
        shown = itertools.count(1)

        def progress(_: object, shown: Any = shown) -> None:
            if next(shown) > calls:
                raise BrokenError

        try:
            model = mdncli.fit(
                table,
                progress=progress,
                checkpoint=path,
                checkpoint_every=0.0,
                resume=path.exists(),
                **parameters,
            )
        except BrokenError:
            continue
        return model, breaks
    raise AssertionError("the fit does not come to an end")


@pytest.mark.parametrize(
    ("parameters", "calls"),
    [
        ({"steps": 40}, 4),
        ({"steps": 40, "threads": 2, "memory": "on"}, 5),
        ({"preset": "best", "members": 2, "epochs": 8}, 2),
        ({"mixtures": "auto", "steps": 20}, 8),
        ({"cv": 2, "steps": 20, "ladder": False}, 11),
        ({"baseline": True, "steps": 40, "ladder": False}, 13),
        ({"finish": 40, "steps": 40, "ladder": False}, 9),
        ({"target": ["y", "z"], "steps": 30}, 1),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_the_same_model(tmp_path: Path, parameters: dict[str, Any], calls: int) -> None:
    table = JOINT if "target" in parameters else TABLE
    model, breaks = fit_with_breaks(table, tmp_path / "state", calls, **parameters)
    assert breaks >= 2
    assert bytes_of(model) == bytes_of(mdncli.fit(table, **parameters))


def stopped_fit(path: Path, table: pd.DataFrame = TABLE, **parameters: Any) -> None:
    """Leave the checkpoint of a fit that broke off."""

    def progress(_: object) -> None:
        if path.exists():
            raise BrokenError

    with pytest.raises(BrokenError):
        mdncli.fit(table, checkpoint=path, checkpoint_every=0.0, progress=progress, **parameters)


def test_another_fit_is_refused_with_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "state"
    stopped_fit(path, steps=40, lr=0.004)
    for table, parameters, differs in (
        (TABLE, {"steps": 40, "lr": 0.01}, "'lr' differs"),
        (TABLE, {"steps": 50, "lr": 0.01}, "'steps', 'lr' differ"),
        (TABLE, {"steps": 40, "lr": 0.004, "ignore": "b"}, "'rows', 'ignore' differ"),
        (TABLE.assign(y=TABLE.y + 1.0), {"steps": 40, "lr": 0.004}, "'rows' differs"),
    ):
        with pytest.raises(DataError, match=f"of another fit: .*{differs}"):
            mdncli.fit(table, checkpoint=path, resume=True, **parameters)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive", b"\x93NUMPY\x01\x00"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not a checkpoint of mdn"):
        mdncli.fit(TABLE, checkpoint=path, resume=True, steps=10)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_a_checkpoint_that_was_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "state"
    stopped_fit(path, steps=40)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match="is not a checkpoint of mdn"):
        mdncli.fit(TABLE, checkpoint=path, resume=True, steps=40)


def test_learning_goes_on_where_its_state_cannot_be_kept() -> None:
    with pytest.warns(MdnWarning, match="its state is not kept") as caught:
        model = mdncli.fit(TABLE, checkpoint="/dev/full", checkpoint_every=0.0, steps=30)
    assert len(caught) == 1
    assert bytes_of(model) == bytes_of(mdncli.fit(TABLE, steps=30))


def test_a_short_fit_keeps_no_state(tmp_path: Path) -> None:
    mdncli.fit(TABLE, checkpoint=tmp_path / "state", steps=10)
    assert not list(tmp_path.iterdir())


def test_resume_needs_a_checkpoint() -> None:
    with pytest.raises(ParameterError, match="resume needs checkpoint=FILE"):
        mdncli.fit(TABLE, resume=True)
