"""A fit from rows on disk: as good as from rows in memory, repeatable, and with the same errors."""

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mdncli
from mdncli.errors import DataError, InputOutputError, MdnWarning, ParameterError
from mdncli.learning import stream as streaming
from mdncli.tables import shards
from mdncli.tables import spool as spooling

SETTINGS: dict[str, Any] = {"ladder": False, "mixtures": 3, "steps": 300}


def table(rows: int = 6000, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    city = rng.choice(["Bern", "Rome", "Oslo"], rows)
    y = np.sin(2.0 * x) + (city == "Rome") + 0.1 * rng.normal(size=rows)
    found = pd.DataFrame({"x": x, "city": city, "y": y})
    found.loc[rng.random(rows) < 0.05, "x"] = np.nan
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    table().to_csv(path, index=False)
    return path


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many parts, several epochs in a pass, and a sample that lacks most rows."""
    monkeypatch.setattr(spooling, "_ROWS_OF_PART", 1000)
    monkeypatch.setattr(spooling, "ROWS_OF_SAMPLE", 1500)
    monkeypatch.setattr(spooling, "ROWS_HELD_OUT", 500)
    monkeypatch.setattr(streaming, "_ROWS_OF_EPOCH", 2000)


def bytes_of(model: mdncli.ConditionalDensity) -> bytes:
    stream = io.BytesIO()
    model.write(stream)
    return stream.getvalue()


def nll(model: mdncli.ConditionalDensity, rows: pd.DataFrame) -> float:
    return float(-model.condition(rows).log_prob(rows["y"]).mean())


def test_the_density_is_as_good_as_from_memory(
    data: Path, tmp_path: Path, small_parts: None
) -> None:
    fresh = table(seed=1)
    from_disk = mdncli.fit(data, spool=tmp_path, **SETTINGS)
    in_memory = mdncli.fit(data, memory="off", **SETTINGS)
    assert nll(from_disk, fresh) < nll(in_memory, fresh) + 0.05
    assert from_disk.schema.feature_names == ["x", "city"]
    assert from_disk.network.record.rows == 6000
    for one, other in zip(from_disk.schema.features, in_memory.schema.features, strict=True):
        assert (one.kind, one.allows_missing) == (other.kind, other.allows_missing)
    # The range is that of all rows, not of a sample.
    assert from_disk.schema.features[0].range == in_memory.schema.features[0].range


def test_the_same_seed_gives_the_same_bytes(data: Path, tmp_path: Path, small_parts: None) -> None:
    made = [bytes_of(mdncli.fit(data, spool=tmp_path, **SETTINGS)) for _ in range(2)]
    assert made[0] == made[1]
    assert made[0] != bytes_of(mdncli.fit(data, spool=tmp_path, seed=1, **SETTINGS))
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"]


class BrokenError(Exception):
    """Ends a fit at some epoch, as a crash would."""


def test_a_fit_that_goes_on_gives_the_same_bytes(
    data: Path, tmp_path: Path, small_parts: None
) -> None:
    whole = bytes_of(mdncli.fit(data, spool=tmp_path, **SETTINGS))
    state, breaks = tmp_path / "state", 0
    while True:
        shown = itertools.count(1)

        def progress(_: object, shown: Any = shown) -> None:
            if next(shown) > 3:
                raise BrokenError

        try:
            model = mdncli.fit(
                data,
                spool=tmp_path,
                progress=progress,
                checkpoint=state,
                checkpoint_every=0.0,
                resume=state.exists(),
                **SETTINGS,
            )
            break
        except BrokenError:
            breaks += 1
    assert breaks > 2
    assert bytes_of(model) == whole


def test_a_large_file_goes_to_disk_without_being_asked(
    data: Path, monkeypatch: pytest.MonkeyPatch, small_parts: None
) -> None:
    asked = bytes_of(mdncli.fit(data, spool="/tmp", **SETTINGS))
    assert bytes_of(mdncli.fit(data, memory="off", **SETTINGS)) != asked
    monkeypatch.setattr(shards, "_LARGE", 10_000)
    seen: list[Any] = []
    assert bytes_of(mdncli.fit(data, spooling=seen.append, **SETTINGS)) == asked
    assert seen[-1].rows > 5000
    # What needs all rows in memory has them there.
    mdncli.fit(data, cv=2, **SETTINGS)


def test_several_files_of_any_format_are_one_table(tmp_path: Path, small_parts: None) -> None:
    rows = table()
    rows[:1000].to_csv(tmp_path / "part-1.csv.gz", index=False)
    rows[1000:1100].to_csv(tmp_path / "part-2.csv", index=False)
    rows[1100:].to_csv(tmp_path / "part-10.csv", index=False)
    model = mdncli.fit(tmp_path / "part-*", spool=tmp_path, **SETTINGS)
    assert model.network.record.rows == 6000
    typed = tmp_path / "typed"
    typed.mkdir()
    rows[:3000].to_parquet(typed / "a.parquet")
    rows[3000:].to_parquet(typed / "b.parquet")
    again = mdncli.fit(typed, spool=tmp_path, **SETTINGS)
    assert nll(again, table(seed=1)) < nll(model, table(seed=1)) + 0.05


def test_a_cell_that_only_the_disk_holds_is_named(
    data: Path, tmp_path: Path, small_parts: None
) -> None:
    lines = data.read_text().splitlines()
    lines[4321] = "1.5,Bern,abc"
    data.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"data.csv, row 4321, column 'y': 'abc' is not a number"):
        mdncli.fit(data, spool=tmp_path, **SETTINGS)
    with pytest.warns(MdnWarning, match="1 of 6000 rows have a cell .* and are left out"):
        model = mdncli.fit(data, spool=tmp_path, on_bad_rows="skip", **SETTINGS)
    assert model.network.record.rows == 5999


def test_rows_that_cannot_be_used_are_counted_over_the_whole_table(
    data: Path, tmp_path: Path, small_parts: None
) -> None:
    rows = table()
    rows.loc[::10, "y"] = np.nan
    rows.to_csv(data, index=False)
    with pytest.warns(MdnWarning, match="600 of 6000 rows have no target and are left out"):
        mdncli.fit(data, spool=tmp_path, **SETTINGS)
    text = data.read_text().splitlines()
    text[1::8] = ["1,2,3,4"] * len(text[1::8])
    data.write_text("\n".join(text))
    with pytest.raises(DataError, match="750 of 6000 rows cannot be used, more than 10%"):
        mdncli.fit(data, spool=tmp_path, on_bad_rows="skip", **SETTINGS)


def test_weights_count(data: Path, tmp_path: Path, small_parts: None) -> None:
    rows = table()
    rows["w"] = np.where(rows["city"] == "Rome", 0.0, 1.0 + np.arange(6000) % 3)
    rows.loc[rows["city"] == "Rome", "y"] += 40.0
    rows.to_csv(data, index=False)
    with pytest.warns(MdnWarning, match="a weight of 0 and are left out"):
        model = mdncli.fit(data, spool=tmp_path, weight="w", **SETTINGS)
    fresh = table(seed=1)
    fresh = fresh[fresh["city"] != "Rome"]
    assert nll(model, fresh) < 0.0
    assert model.schema.targets[0].highest < 20.0


def test_rounded_and_censored_targets_are_learned_from_disk(
    data: Path, tmp_path: Path, small_parts: None
) -> None:
    rng = np.random.default_rng(0)
    rows = table()[["x"]].fillna(0.0)
    rows["y"] = rng.poisson(np.exp(rows["x"].clip(-1, 1)))
    rows.to_csv(data, index=False)
    model = mdncli.fit(data, spool=tmp_path, **SETTINGS)
    assert model.schema.targets[0].kind == "number, rounded"
    exact = np.exp(rows["x"].clip(-1, 1))
    assert np.abs(model.condition(rows[["x"]]).mean() - exact).mean() < 0.15
    time = rng.exponential(np.exp(rows["x"].clip(-1, 1)))
    limit = rng.exponential(2.0, len(rows))
    known = rows[["x"]].assign(event=(time <= limit).astype(int), y=np.minimum(time, limit))
    known.to_csv(data, index=False)
    survival = mdncli.fit(data, event="event", spool=tmp_path, **SETTINGS)
    in_memory = mdncli.fit(data, event="event", memory="off", **SETTINGS)
    means = [each.condition([[-1.0], [0.0], [1.0]]).median() for each in (survival, in_memory)]
    assert means[0] == pytest.approx(means[1], rel=0.2)


def test_rows_of_the_users_own_are_held_out(data: Path, tmp_path: Path, small_parts: None) -> None:
    held_out = tmp_path / "valid.csv"
    table(500, seed=5).to_csv(held_out, index=False)
    model = mdncli.fit(data, spool=tmp_path, valid_file=held_out, **SETTINGS)
    record = model.network.record
    assert (record.rows, record.rows_valid) == (6500, 500)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"cv": 3}, "spool does not go with cv"),
        ({"group": "city"}, "spool does not go with group"),
        ({"memory": "on"}, "spool does not go with memory='on'"),
        ({"weight": np.ones(6000)}, "spool does not go with weight"),
    ],
)
def test_what_needs_all_rows_in_memory_is_refused(
    data: Path, tmp_path: Path, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        mdncli.fit(data, spool=tmp_path, **parameters, **SETTINGS)


def test_a_damaged_parquet_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data.parquet"
    table(3000).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-100])
    monkeypatch.setattr(shards, "_LARGE", 1000)
    for more in ({}, {"spool": tmp_path}):
        with pytest.raises(DataError, match="data.parquet"):
            mdncli.fit(path, **more, **SETTINGS)


def test_what_cannot_be_spooled_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="rows that do not come from a file"):
        mdncli.fit(table(), spool=tmp_path, **SETTINGS)
    with pytest.raises(InputOutputError, match="none: cannot hold rows: no such file"):
        mdncli.fit(data, spool=tmp_path / "none", **SETTINGS)
    with pytest.raises(DataError, match="too few rows"):
        table(30).to_csv(data, index=False)
        mdncli.fit(data, spool=tmp_path, **SETTINGS)
