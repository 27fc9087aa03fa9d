"""`mdn fit --cv`: it scores the folds first, then writes the model of a fit without `--cv`."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from commands.helpers import error_of

from mdncli import load
from running import Run, mdn

OPTIONS = ("--no-ladder", "--epochs", "20", "--baseline")


@pytest.fixture(scope="module")
def folder(fitted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a fit like that of `fitted`, with a cross-validation before it."""
    folder = tmp_path_factory.mktemp("cv")
    done = mdn("fit", fitted / "data.csv", *OPTIONS, "--cv", "3", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "result.json").write_bytes(done.stdout)
    (folder / "stderr.txt").write_bytes(done.stderr)
    return folder


@pytest.fixture(scope="module")
def result(folder: Path) -> dict:
    """Return what that fit printed as JSON."""
    return json.loads((folder / "result.json").read_text())


def test_json_has_the_scores_of_every_fold(result: dict) -> None:
    assert len(result["cv"]) == 3
    assert sum(fold["rows"] for fold in result["cv"]) == result["rows"] == 1000
    assert max(fold["rows"] for fold in result["cv"]) == 334
    for fold in result["cv"]:
        assert set(fold) >= {"rows", "nll", "crps", "rmse", "coverage", "pit_ks", "skill"}
        assert set(fold["coverage"]) == {"0.5", "0.8", "0.9", "0.95"}
        assert fold["skill"]["baseline"] is not None
    # Each fold is scored by its own model, and none of them by the model that is written.
    figures = [fold["nll"] for fold in result["cv"]]
    assert len({*figures, result["nll_train"], result["nll_valid"]}) == 5


def rows_of_folds(text: str) -> dict[str, str]:
    """Return the rows about folds in a printed table, by their titles."""
    rows = [line.split(maxsplit=2) for line in text.splitlines() if "NLL" in line]
    return {" ".join(row[:2]): row[2].strip() for row in rows if len(row) == 3}


def test_folds_are_shown_while_they_are_learned_and_at_the_end(
    here: Run, folder: Path, result: dict
) -> None:
    message = (folder / "stderr.txt").read_text()
    for number in (1, 2, 3):
        assert f"fold {number} epoch 20/20" in message
    assert "\nepoch 20/20" in message
    nlls = [fold["nll"] for fold in result["cv"]]
    by_inspect = here("inspect", folder / "model.pt").stdout.decode()
    for rows in (rows_of_folds(message), rows_of_folds(by_inspect)):
        for number, fold in enumerate(result["cv"], start=1):
            covered = fold["coverage"]["0.9"]
            for figure in (f"NLL {fold['nll']:.4f}", f"CRPS {fold['crps']:.4g}", f"{covered:.1%}"):
                assert figure in rows[f"fold {number}"]
        error = np.std(nlls, ddof=1) / np.sqrt(3.0)
        assert f"NLL {np.mean(nlls):.4f} ± {error:.4f}" in rows["all folds"]


def test_the_model_is_that_of_a_fit_without_cv(
    here: Run, fitted: Path, folder: Path, result: dict
) -> None:
    with_cv, without = load(folder / "model.pt").network, load(fitted / "model.pt").network
    for one, other in zip(with_cv.main.networks, without.main.networks, strict=True):
        for layer, same in zip(one.layers, other.layers, strict=True):
            for array, twin in zip(layer, same, strict=True):
                assert np.array_equal(array, twin)
    assert with_cv.record.nll_train == without.record.nll_train == result["nll_train"]
    assert with_cv.schema == without.schema
    assert (with_cv.record.rows, without.record.cv) == (1000, [])
    kept = json.loads(here("inspect", folder / "model.pt", "--json").stdout)
    assert kept["record"]["cv"] == result["cv"]
    assert "--cv 3" in kept["origin"]["command"]


@pytest.fixture
def grouped(tmp_path: Path) -> Path:
    """Return the path of a table with groups of nearly equal rows."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(12), 8)
    x, y = rng.normal(size=(2, 12))
    rows = zip(group, x[group], y[group] + 0.01 * rng.normal(size=96), strict=True)
    lines = [f"g{g},{a},{b}" for g, a, b in rows]
    (tmp_path / "data.csv").write_text("\n".join(["who,x,y", *lines]))
    return tmp_path / "data.csv"


def nlls(done: subprocess.CompletedProcess[bytes]) -> list[float]:
    """Return the NLL of every fold."""
    assert done.returncode == 0, done.stderr
    return [fold["nll"] for fold in json.loads(done.stdout)["cv"]]


def test_groups_are_not_split(here: Run, grouped: Path) -> None:
    command = ("fit", grouped, "--no-ladder", "--cv", "3", "--steps", "150", "-q", "--json")
    # If a group is in both parts, its held-out rows get far too good a score.
    split, whole = nlls(here(*command, "--ignore", "who")), nlls(here(*command, "--group", "who"))
    assert min(whole) > max(split) + 0.5


def test_several_targets_and_k_auto_are_cross_validated_too(here: Run, wide: Path) -> None:
    command = ("-t", "u,v", "-k", "auto", "--epochs", "2", "--cv", "2", "-q", "--json")
    done = here("fit", wide / "data.csv", *command)
    assert len(nlls(done)) == 2
    assert {*json.loads(done.stdout)["cv"][1]["crps"]} == {"u", "v"}


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("--cv", "1"), 2, "--cv is 1: it must be at least 2"),
        (("--cv", "0"), 2, "--cv is 0"),
        (("--cv", "-3"), 2, "--cv is -3"),
        (("--cv", "many"), 2, "--cv"),
        (("--cv", "2", "--valid-file", "data.csv"), 2, "--cv and --valid-file exclude each other"),
        (("--cv", "97", "--ignore", "who", "-q"), 65, "--cv is 97, but there are only 96 rows"),
        (("--cv", "13", "--group", "who", "-q"), 65, "--cv is 13, but there are only 12 groups"),
    ],
)
def test_refusals(
    here: Run, grouped: Path, tmp_path: Path, options: tuple, status: int, words: str
) -> None:
    (tmp_path / "model.pt").write_bytes(b"as it was")
    assert words in error_of(here("fit", "data.csv", *options), status)
    assert (tmp_path / "model.pt").read_bytes() == b"as it was"


def test_too_few_rows_left_of_a_fold_is_said(here: Run) -> None:
    rows = "\n".join(["x,y", *(f"{i},{i * i % 7}" for i in range(12))])
    done = here("fit", "-", "--cv", "2", "-q", stdin=rows.encode())
    assert done.returncode == 65
    assert b"error: standard input, fold 1: 6 rows are too few" in done.stderr
