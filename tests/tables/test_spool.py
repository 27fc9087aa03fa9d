"""Rows on disk: each is there once, with its place, and the sample shows what columns hold."""

import math
import os
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mdncli.errors import DataError, InputOutputError
from mdncli.tables import spool as spooling
from mdncli.tables.blocks import read_blocks
from mdncli.tables.decoding import Digest
from mdncli.tables.dialect import Dialect
from mdncli.tables.shards import OwnBlocks
from mdncli.tables.spool import Spool, SpoolPlan, SpoolProgress, spooled
from mdncli.tables.table import Table

ROWS = 5000


def frame(rows: int = ROWS) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"number": np.arange(rows), "x": rng.normal(size=rows)})
    table["city"] = rng.choice(["Rome", "Bern, CH", "Ürümqi"], rows)
    table.loc[rows // 2, "x"] = np.nan
    table.loc[rows - 7, "city"] = None
    return table


def blocks_of(*paths: Path, at_once: int = 3000) -> Callable[[Digest], Iterable[Table]]:
    files = list(map(str, paths))
    return lambda digest: read_blocks(files, at_once=at_once, digest=digest)


def rows_of(tables: Iterable[Table]) -> pd.DataFrame:
    """Return the rows of tables, with the places that they name."""
    found = []
    for table in tables:
        places = table.locate(list(range(table.rows)))
        columns = {name: column.to_pylist() for name, column in table.columns.items()}
        where = {"file": [p.source for p in places], "row": [p.row for p in places]}
        found.append(pd.DataFrame({**columns, **where}))
    return pd.concat(found, ignore_index=True)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooling, "_ROWS_OF_PART", 1000)
    monkeypatch.setattr(spooling, "ROWS_OF_SAMPLE", 400)
    monkeypatch.setattr(spooling, "ROWS_HELD_OUT", 200)


@pytest.fixture
def spool(small_parts: None, tmp_path: Path) -> Iterator[Spool]:
    frame().to_csv(tmp_path / "data.csv", index=False)
    made = spooled(blocks_of(tmp_path / "data.csv"), SpoolPlan(ROWS, str(tmp_path)))
    yield made
    made.close()


def test_every_row_is_on_disk_or_held_out_once_and_knows_its_place(spool: Spool) -> None:
    parts = list(spool.tables())
    assert len(parts) == 5
    on_disk, held_out = rows_of(parts), rows_of([spool.held_out])
    assert len(on_disk) == spool.rows
    assert 120 < len(held_out) < 300
    every = pd.concat([on_disk, held_out])
    every["number"] = every["number"].astype(float).astype(int)
    every = every.sort_values("number").reset_index(drop=True)
    there = frame()
    assert every["number"].tolist() == there["number"].tolist()
    assert (every["row"] == there["number"] + 1).all()
    read = every["x"].replace({"": "nan", "null": "nan"}).astype(float)
    assert np.array_equal(read, there["x"], equal_nan=True)
    assert every["city"].tolist() == there["city"].fillna("").tolist()
    assert {Path(file).name for file in every["file"]} == {"data.csv"}


def test_every_part_is_a_random_sample(spool: Spool) -> None:
    for part in spool.tables():
        assert part.rows == pytest.approx(spool.rows / 5, rel=0.15)
        numbers = part.cells("number").values
        spread = ROWS / math.sqrt(12 * part.rows)
        assert numbers.mean() == pytest.approx(ROWS / 2, abs=4 * spread)


def test_the_sample_shows_the_ends_and_the_missing_cells_of_every_column(spool: Spool) -> None:
    sample, there = spool.sample, frame()
    assert 300 < sample.rows < 600
    x = sample.cells("x").values
    for extreme in (there["x"].min(), there["x"].max()):
        assert (x == extreme).any()
    assert sample.cells("x").missing.any()
    assert sample.cells("city").missing.any()
    numbers = sample.cells("number").values
    assert (numbers.min(), numbers.max()) == (0, ROWS - 1)
    assert len(np.unique(numbers)) == sample.rows


def test_the_same_seed_gives_the_same_order_and_another_seed_another(
    small_parts: None, tmp_path: Path
) -> None:
    frame().to_csv(tmp_path / "data.csv", index=False)
    orders = []
    for seed in (1, 1, 2):
        plan = SpoolPlan(ROWS, seed=(seed, 0))
        made = spooled(blocks_of(tmp_path / "data.csv"), plan)
        orders.append([part.cells("number").values.tolist() for part in made.tables()])
    assert orders[0] == orders[1] != orders[2]


def test_a_column_that_turns_out_to_hold_texts_is_kept_as_text(
    small_parts: None, tmp_path: Path
) -> None:
    table = frame()
    table["code"] = ["7"] * (ROWS - 1) + ["x7"]
    table.to_csv(tmp_path / "data.csv", index=False)
    made = spooled(blocks_of(tmp_path / "data.csv"), SpoolPlan(ROWS))
    codes = rows_of([*made.tables(), made.held_out])["code"]
    assert sorted(codes)[-1] == "x7"
    assert (codes == "7").sum() == ROWS - 1


@pytest.mark.parametrize("expected", [20, 1_000_000])
def test_an_estimate_far_from_the_truth_does_no_harm(
    small_parts: None, tmp_path: Path, expected: int
) -> None:
    frame().to_csv(tmp_path / "data.csv", index=False)
    made = spooled(blocks_of(tmp_path / "data.csv"), SpoolPlan(expected))
    every = rows_of([*made.tables(), made.held_out])
    assert sorted(every["number"].astype(float)) == list(range(ROWS))
    assert made.sample.rows <= 800 + 10
    assert made.held_out.rows <= 400


def test_a_table_that_needs_more_space_than_there_is_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame().to_csv(tmp_path / "data.csv", index=False)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(spooling.shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    shown: list[SpoolProgress] = []
    with pytest.raises(InputOutputError, match="GB are free. Name another folder: spool=DIR"):
        spooled(blocks_of(tmp_path / "data.csv"), SpoolPlan(10**8, str(tmp_path)), shown.append)
    assert not shown
    with pytest.raises(InputOutputError, match="no such file or directory"):
        spooled(blocks_of(tmp_path / "data.csv"), SpoolPlan(10, str(tmp_path / "none")))


def test_a_failure_frees_all_space(tmp_path: Path, small_parts: None) -> None:
    content = frame().to_csv(index=False) + "1,2,3,4,5\n"
    (tmp_path / "data.csv").write_text(content)
    with pytest.raises(DataError, match="row 5001"):
        spooled(blocks_of(tmp_path / "data.csv"), SpoolPlan(ROWS, str(tmp_path)))
    descriptors = Path("/proc/self/fd")
    opened = [os.readlink(each) for each in descriptors.iterdir() if os.path.lexists(each)]
    assert not [path for path in opened if path.startswith(str(tmp_path)) and "deleted" in path]
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"]


def test_the_size_is_said_before_the_first_row_is_written(
    tmp_path: Path, small_parts: None
) -> None:
    frame().to_csv(tmp_path / "data.csv", index=False)
    shown: list[SpoolProgress] = []
    source = OwnBlocks(tmp_path / "data.csv", Dialect(), skip=False)
    spooled(source.blocks, SpoolPlan(source.estimated_rows()), shown.append)
    first, *_, last = shown
    assert first.rows == first.size == 0
    assert first.expected_rows == pytest.approx(ROWS, rel=0.2)
    assert first.expected_size == pytest.approx(last.size, rel=0.3)


@pytest.mark.parametrize("files", [1, 3, 7])
def test_processes_share_the_rows(tmp_path: Path, files: int) -> None:
    pieces = np.array_split(np.arange(ROWS), files)
    for number, piece in enumerate(pieces):
        frame().iloc[piece].to_csv(tmp_path / f"part-{number}.csv", index=False)
    numbers: list[float] = []
    for rank in range(3):
        own = OwnBlocks(str(tmp_path / "*.csv"), Dialect(), skip=False, rank=rank, count=3)
        blocks = list(own.blocks(Digest()))
        assert list(blocks[0].columns) == ["number", "x", "city"]
        numbers += [n for block in blocks for n in block.cells("number").values]
    assert sorted(numbers) == list(range(ROWS))
