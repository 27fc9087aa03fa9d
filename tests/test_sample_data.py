"""The sample tables are listed with the commands that write them, and are what these write."""

import re
from pathlib import Path

import numpy as np
import pytest

import mdncli
from running import mdn

FOLDER = Path(__file__).parent.parent / "sample_data"
SAMPLES = (FOLDER / "README.md").read_text(encoding="utf-8")
TABLES = re.findall(r"\| `(\S+\.csv)` \| `mdn (.*?)` \|", SAMPLES)


@pytest.mark.quick
def test_every_sample_table_is_listed_with_its_command() -> None:
    assert sorted(file for file, _ in TABLES) == sorted(path.name for path in FOLDER.glob("*.csv"))


@pytest.mark.parametrize(("file", "command"), TABLES)
def test_sample_tables_are_what_generate_writes(file: str, command: str, tmp_path: Path) -> None:
    done = mdn(*command.split(), "-o", tmp_path / file)
    assert done.returncode == 0, done.stderr
    kept = mdncli.read_table(FOLDER / file)
    fresh = mdncli.read_table(tmp_path / file)
    assert list(kept.columns) == list(fresh.columns)
    # Processors differ in the last bits of a sine.
    np.testing.assert_allclose(kept, fresh, rtol=1e-9, atol=1e-12)
