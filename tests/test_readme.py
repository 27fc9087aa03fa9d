"""What the README promises runs as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mdncli.tables.table import read_table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL = re.compile(r"<!-- example -->\n```sh\n(.*?)```", re.DOTALL)


def test_every_example_runs(tmp_path: Path) -> None:
    scripts = SHELL.findall(README)
    assert len(scripts) >= 6
    # The command of this very Python, wherever the tests run.
    shell = f'set -euo pipefail\nmdn() {{ "{sys.executable}" -m mdncli "$@"; }}\n'
    shell += f'python() {{ "{sys.executable}" "$@"; }}\n'
    for script in scripts:
        done = subprocess.run(
            ["bash", "-c", shell + script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stderr}"
    for name in ("overview.png", "samples.csv", "eight.pt", "at.csv", "components.svg"):
        assert (tmp_path / name).stat().st_size > 0
    assert len((tmp_path / "three-each.csv").read_text().splitlines()) == 3001


def test_every_command_has_an_example() -> None:
    examples = "\n".join(SHELL.findall(README))
    for command in ("generate", "fit", "sample", "predict", "evaluate", "inspect", "plot"):
        assert f"mdn {command}" in examples
        assert f"### `mdn {command}`" in README


def test_the_python_example_runs(fitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fitted)
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict = {}
    exec(code, names)
    assert names["y"].pi.shape == (1000, 5)
    assert names["reg"].predict(names["rows"][["x"]]).shape == (1000,)


def test_there_are_exactly_two_set_up_commands() -> None:
    [part] = re.findall(r"<!-- set-up -->(.*?)<!-- end of set-up -->", README, re.DOTALL)
    commands = re.findall(r"```sh\n(.*?)\n```", part, re.DOTALL)
    assert len(commands) == 2
    assert all("\n" not in command for command in commands)


def test_pictures_are_there() -> None:
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert len(pictures) >= 3
    for picture in pictures:
        assert (ROOT / picture).read_bytes().startswith(b"\x89PNG")


def test_every_sample_table_has_its_command() -> None:
    listed = re.findall(r"\| `(\S+\.csv)` \|", (ROOT / "sample_data/README.md").read_text())
    assert sorted(listed) == sorted(path.name for path in (ROOT / "sample_data").glob("*.csv"))
    assert len(listed) >= 4


@pytest.mark.parametrize(
    ("file", "command"),
    re.findall(r"\| `(\S+\.csv)` \| `mdn (.*?)` \|", (ROOT / "sample_data/README.md").read_text()),
)
def test_sample_tables_are_what_generate_writes(file: str, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mdncli", *command.split()], capture_output=True, check=True
    )
    kept = read_table((ROOT / "sample_data" / file).read_bytes(), file)
    fresh = read_table(done.stdout, "fresh")
    assert kept.names == fresh.names
    # Processors differ in the last bits of a sine.
    np.testing.assert_allclose(
        kept.numbers(kept.names), fresh.numbers(fresh.names), rtol=1e-9, atol=1e-12
    )
