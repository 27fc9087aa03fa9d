"""A fit that starts from a model of the same columns."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mdncli
from mdncli.errors import DataError, MissingInputError, ParameterError


def table(seed: int, rows: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3.0, 3.0, rows)
    city = rng.choice(["a", "b"], rows)
    y = np.sin(3.0 * x) + (city == "b") + 0.05 * rng.normal(size=rows)
    return pd.DataFrame({"x": x, "city": city, "y": y})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("init") / "model.pt"
    mdncli.fit(table(0), ladder=False, mixtures=2, steps=600).save(path)
    return path


def nll(model: mdncli.ConditionalDensity, rows: pd.DataFrame) -> float:
    return float(-model.condition(rows).log_prob(rows["y"]).mean())


def test_a_few_steps_go_on_from_what_was_learned(model: Path) -> None:
    fresh = table(2)
    scratch = mdncli.fit(table(1), ladder=False, mixtures=2, steps=30)
    onwards = mdncli.fit(table(1), init=model, steps=30)
    before = nll(mdncli.load(model), fresh)
    assert nll(onwards, fresh) < before + 0.1
    assert nll(onwards, fresh) < nll(scratch, fresh) - 0.5
    assert onwards.schema == mdncli.load(model).schema
    assert onwards.network.main.architecture.mixtures == 2


def test_the_kinds_of_a_ladder_start_from_their_own_rungs(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    mdncli.fit(table(0), memory="off").save(path)
    fresh = table(2)
    onwards = mdncli.fit(table(1), init=path, memory="off", steps=30)
    scratch = mdncli.fit(table(1), memory="off", steps=30)
    assert nll(onwards, fresh) < nll(scratch, fresh) - 0.2


def test_what_cannot_be_continued_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="where mixtures is 2. Leave out mixtures"):
        mdncli.fit(table(1), init=model, mixtures=3)
    with pytest.raises(ParameterError, match="init and lower exclude each other"):
        mdncli.fit(table(1), init=model, lower=0.0)
    with pytest.raises(DataError, match="x"):
        mdncli.fit(table(1).rename(columns={"x": "other"}), init=model)
    with pytest.raises(MissingInputError, match="there is no such file"):
        mdncli.fit(table(1), init=tmp_path / "none.pt")
