"""What looks wrong in a table: `mdn fit` warns of it once, `mdn inspect` lists it."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from mdncli import fit
from mdncli.api import inspect
from mdncli.errors import MdnWarning
from running import Run

RNG = np.random.default_rng(0)
X = RNG.uniform(size=200)
Y = np.sin(6.0 * X) + 0.1 * RNG.normal(size=200)
SHORT = ("--steps", "100", "--hidden", "8")


def write(path: Path, x: np.ndarray, y: np.ndarray, cells: dict[tuple[int, str], str]) -> None:
    """Write a table, with other texts in some of its cells."""
    columns = {
        name: [cells.get((row, name), repr(value)) for row, value in enumerate(values.tolist())]
        for name, values in (("x", x), ("y", y))
    }
    rows = (f"{a},{b}\n" for a, b in zip(columns["x"], columns["y"], strict=True))
    path.write_text("x,y\n" + "".join(rows))


def warnings_of(stderr: bytes) -> list[str]:
    lines = stderr.decode().splitlines()
    return [line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")]


MARKER = {(row, "y"): "-9999" for row in (3, 50, 120)} | {(7, "y"): "-9999.0"}
# A table, what fit says of it, the options that follow from that, and what fit says then.
TABLES = {
    "a marker of missing targets": (
        (X, Y, MARKER),
        r"4 values of 'y' are '-9999', '-9999.0', apart from .* t.csv, row 4, line 5, column 'y'\. "
        r"If they do, set (.*)\. The rows without a target are then left out\.",
        "--na -9999 --na -9999.0",
        ["4 of 200 rows have no target and are left out."],
    ),
    "a marker of missing features": (
        (X, Y, {(9, "x"): "-1", (30, "x"): "-1", (31, "x"): "-1"}),
        r"3 values of 'x' are '-1', apart from .* row 10, line 11, column 'x'\. .* set (.*)\.$",
        "--na -1",
        [],
    ),
    "a far target": (
        (X, Y, {(9, "y"): "1e6"}),
        r"t.csv, row 10, line 11, column 'y': '1e6' is 1.\d+e\+06 robust standard deviations from "
        r"the median, .* read it as missing: (.*)\.$",
        "--na 1e6",
        ["1 of 200 rows have no target and are left out."],
    ),
    "a skewed target": (
        (X, np.exp(3.0 * Y), {}),
        r"The target 'y' is positive and strongly skewed: .*\. (.*) keeps the density above 0",
        "--lower y=0",
        [],
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_fit_warns_once_and_its_remedy_ends_the_warning(
    here: Run, tmp_path: Path, name: str
) -> None:
    table, words, remedy, then = TABLES[name]
    write(tmp_path / "t.csv", *table)
    done = here("fit", "t.csv", *SHORT, "-q")
    assert done.returncode == 0
    [text] = warnings_of(done.stderr)
    found = re.search(words, text)
    assert found, text
    assert found[1] == remedy
    done = here("fit", "t.csv", *SHORT, "-q", *shlex.split(found[1]))
    assert done.returncode == 0
    assert warnings_of(done.stderr) == then


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ((Y > 0.0).astype(float), "The target 'y' has only two values, 0 and 1."),
        (np.round(3.0 * Y), "The target 'y' has only 8 values, whole numbers from -3 to 4."),
    ],
)
def test_fit_warns_of_a_target_of_few_values(
    here: Run, tmp_path: Path, y: np.ndarray, words: str
) -> None:
    write(tmp_path / "t.csv", X, y, {})
    [text] = warnings_of(here("fit", "t.csv", *SHORT, "-q").stderr)
    assert text.startswith(words)


def test_bounds_end_the_suggestion_of_a_bound_for_each_of_several_targets(
    here: Run, tmp_path: Path
) -> None:
    rows = np.column_stack([X, np.exp(6.0 * X[:, None] + 0.5 * RNG.normal(size=(200, 2)))])
    header = "x,my price,b"
    np.savetxt(tmp_path / "t.csv", rows, delimiter=",", header=header, comments="", fmt="%.17g")
    options = ("fit", "t.csv", "-t", "my price", "-t", "b", *SHORT, "-q")
    said = warnings_of(here(*options).stderr)
    remedies = [re.search(r"--lower ('.*?'|\S+)", text)[0] for text in said]
    assert remedies == ["--lower 'my price=0'", "--lower b=0"]
    assert warnings_of(here(*options, *shlex.split(" ".join(remedies))).stderr) == []


@pytest.mark.parametrize("name", TABLES)
def test_inspect_lists_what_fit_warns_of(here: Run, tmp_path: Path, name: str) -> None:
    table, *_ = TABLES[name]
    write(tmp_path / "t.csv", *table)
    said = warnings_of(here("fit", "t.csv", *SHORT, "-q").stderr)
    done = here("inspect", "t.csv", "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["warnings"] == said
    done = here("inspect", "t.csv")
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert [line for line in lines if line.startswith("Warning: ")] == [f"Warning: {said[0]}"]
    assert [text for text in inspect(tmp_path / "t.csv").warnings if "'" in text]


def test_inspect_says_that_fit_would_refuse_the_target(here: Run, tmp_path: Path) -> None:
    write(tmp_path / "t.csv", X, 1e200 * Y, {})
    [text] = json.loads(here("inspect", "t.csv", "--json").stdout)["warnings"]
    assert here("fit", "t.csv").stderr.decode() == f"error: {text}\n"


def test_nothing_is_said_of_an_ordinary_table(here: Run, tmp_path: Path) -> None:
    write(tmp_path / "t.csv", X, Y, {})
    assert here("fit", "t.csv", *SHORT, "-q").stderr == b""
    assert json.loads(here("inspect", "t.csv", "--json").stdout)["warnings"] == []
    assert b"Warning" not in here("inspect", "t.csv").stdout


def test_python_has_the_same_warnings(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", X, Y, MARKER)
    with pytest.warns(MdnWarning, match="set na='-9999' na='-9999.0'"):
        fit(tmp_path / "t.csv", steps=3, hidden=(8,))
    y = np.where(np.arange(200) % 50, Y, -9999.0)
    with pytest.warns(MdnWarning, match="4 values of 'y' .* replace them by NaN"):
        fit({"x": X, "y": y}, steps=3, hidden=(8,))
    y[y == -9999.0] = np.nan
    with pytest.warns(MdnWarning, match="4 of 200 rows have no target"):
        fit({"x": X, "y": y}, steps=3, hidden=(8,))
