"""Tables with categories, missing cells, dates and weights."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands.helpers import texts_of

from mdncli import load, read_table
from running import Run

ROWS = 200
QUICK = ["--hidden", "8", "--steps", "60", "-q"]


def lines(rows: int = ROWS, seed: int = 0) -> list[str]:
    """Return the lines of a table: y is 3 higher for red, and 5 higher where size is missing."""
    rng = np.random.default_rng(seed)
    text = ["id,size,colour,day,w,y"]
    for row in range(rows):
        size = "" if rng.random() < 0.2 else f"{rng.normal():.3f}"
        colour = ["red", "blue"][rng.integers(2)]
        day = np.datetime64("2024-01-01") + rng.integers(800)
        y = 3.0 * (colour == "red") + 5.0 * (size == "") + 0.3 * rng.normal()
        text.append(f"n{row},{size},{colour},{day},{rng.integers(1, 4)},{y:.6f}")
    return text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "t.csv").write_text("\n".join(lines()) + "\n")
    return folder


@pytest.fixture
def fitted(here: Run, folder: Path) -> Path:
    model = folder / "t.pt"
    if not model.exists():
        done = here("fit", folder / "t.csv", "--weight", "w", "--steps", "250", "-o", model)
        assert done.returncode == 0, done.stderr
        (folder / "stderr.txt").write_bytes(done.stderr)
    return model


def test_fit_reports_the_kind_of_every_column(fitted: Path, folder: Path) -> None:
    message = (folder / "stderr.txt").read_text()
    assert "'id' is left out, because it has a different text in every row" in message
    for words in (
        ["'size'", "number"],
        ["'colour'", "category", "'red'", "'blue'"],
        ["'day'", "date", "2024-01"],
    ):
        assert any(all(word in line for word in words) for line in message.splitlines()), words


def test_categories_and_missing_cells_are_learned(here: Run, fitted: Path, folder: Path) -> None:
    rows = "size,colour,day\n1,red,2025-01-01\n1,blue,2025-01-01\n,red,2025-01-01\n"
    done = here("predict", fitted, "-", "--mean", "--only", stdin=rows.encode())
    assert done.returncode == 0, done.stderr
    means = [float(line) for line in done.stdout.split()[1:]]
    np.testing.assert_allclose(means, [3.0, 0.0, 8.0], atol=0.8)


def test_an_unseen_category_is_counted_and_answered(here: Run, fitted: Path) -> None:
    rows = b"size,colour,day\n1,green,2025-01-01\n1,red,2025-01-01\n"
    done = here("predict", fitted, "-", "--mean", "--std", "--only", stdin=rows)
    assert done.returncode == 0, done.stderr
    assert b"1 of 2 rows have a category in 'colour' that the model has not learned" in done.stderr
    green, red = (list(map(float, line.split(b","))) for line in done.stdout.split()[1:])
    # An unknown category stands for either colour: the mean is between, the spread is wider.
    assert 0.0 < green[0] < 3.0
    assert green[1] > red[1]


def test_a_missing_cell_where_training_had_none_is_a_bad_row(here: Run, fitted: Path) -> None:
    rows = b"size,colour,day\n0,,2025-01-01\n0,red,2025-01-01\n"
    done = here("predict", fitted, "-", stdin=rows)
    assert done.returncode == 65
    assert b"row 1, line 2, column 'colour': the cell is empty. No cell of" in done.stderr
    done = here("predict", fitted, "-", "--only", "--on-bad-rows", "skip", stdin=rows)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1] == b",,"


def test_weights_count_in_scores(here: Run, fitted: Path, folder: Path) -> None:
    weighted = json.loads(here("evaluate", fitted, folder / "t.csv", "--json", "-q").stdout)
    text = [",".join(line.split(",")[:4] + line.split(",")[5:]) for line in lines()]
    done = here("evaluate", fitted, "-", "--json", stdin="\n".join(text).encode())
    assert (
        b"no column 'w', which weighted the rows in training. All rows count equally" in done.stderr
    )
    plain = json.loads(done.stdout)
    by_row = here("evaluate", fitted, folder / "t.csv", "--per-row", "-q").stdout.decode()
    cells = [line.split(",") for line in by_row.splitlines()[1:]]
    nll, w = (np.array([float(row[at]) for row in cells]) for at in (6, 4))
    assert weighted["nll"] == pytest.approx(np.average(nll, weights=w), abs=1e-9)
    assert plain["nll"] == pytest.approx(nll.mean(), abs=1e-9)
    assert weighted["nll"] != pytest.approx(plain["nll"], abs=1e-6)


def test_rows_with_a_weight_of_zero_do_not_count(here: Run, tmp_path: Path) -> None:
    text = lines(60)
    text[1:31] = [line.rsplit(",", 2)[0] + ",0,999" for line in text[1:31]]
    (tmp_path / "t.csv").write_text("\n".join(text))
    done = here(
        "fit",
        tmp_path / "t.csv",
        "--weight",
        "w",
        "--hidden",
        "4",
        "--steps",
        "20",
        "--json",
        "-o",
        tmp_path / "m.pt",
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["left_out"]["zero_weight"] == 30
    assert result["rows"] == 30
    assert b"30 of 60 rows have a weight of 0" in done.stderr


@pytest.mark.parametrize(
    ("weight", "why"),
    [
        ("-1", "a weight must be zero or more"),
        ("", "the weight is missing"),
        ("x", "is not a number"),
    ],
)
def test_bad_weights_are_refused(here: Run, tmp_path: Path, weight: str, why: str) -> None:
    text = lines(30)
    parts = text[5].split(",")
    text[5] = ",".join([*parts[:4], weight, parts[5]])
    done = here("fit", "-", "--weight", "w", *QUICK, stdin="\n".join(text).encode())
    assert done.returncode == 65
    assert why in done.stderr.decode()
    assert "row 5, line 6, column 'w'" in done.stderr.decode()


def test_rows_without_a_target_are_dropped_and_counted(here: Run) -> None:
    text = lines(40)
    text[3] = text[3].rsplit(",", 1)[0] + ","
    text[4] = text[4].rsplit(",", 1)[0] + ",NA"
    table = "\n".join(text).encode()
    done = here("fit", "-", "-o", "m.pt", "--json", "--hidden", "4", "--steps", "20", stdin=table)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["rows"], result["left_out"]["without_target"]) == (38, 2)
    assert b"2 of 40 rows have no target" in done.stderr
    done = here("evaluate", "m.pt", "-", "--json", stdin=table)
    assert json.loads(done.stdout)["rows"] == 38
    assert b"2 of 40 rows have no target" in done.stderr


def test_more_than_a_tenth_of_bad_rows_stops_fit(here: Run) -> None:
    text = lines(40)
    for row in (3, 7, 9):
        text[row] = text[row].replace(",", ",x", 1)
    bad = ["fit", "-", "-o", "m.pt", *QUICK, "--on-bad-rows", "skip", "--numeric", "size"]
    done = here(*bad, stdin="\n".join(text).encode())
    assert done.returncode == 0, done.stderr
    assert b"3 of 40 rows have a cell that cannot be used and are left out" in done.stderr
    for row in (12, 13):
        text[row] += ",surplus"
    done = here(*bad, stdin="\n".join(text).encode())
    assert done.returncode == 65
    assert b"5 of 40 rows cannot be used, more than 10%" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (["-t", "colour"], 65, "The target 'colour' holds texts"),
        (["-t", "day"], 65, "The target 'day' holds texts"),
        (["--categorical", "size", "--numeric", "size"], 2, "'size' has two kinds"),
        (["--numeric", "colour"], 65, "'red' is not a number"),
        (["--datetime", "size=%Y"], 65, "is not a date of the form %Y"),
        (["--categorical", "siez"], 65, "Did you mean 'size'?"),
        (["-t", "y", "--weight", "y"], 2, "is used by --weight"),
        (["--weight", "w", "-x", "w"], 2, "is used by --weight"),
    ],
)
def test_refusals(here: Run, arguments: list[str], status: int, why: str) -> None:
    done = here("fit", "-", *QUICK, *arguments, stdin="\n".join(lines(40)).encode())
    assert done.returncode == status, done.stderr
    assert why in done.stderr.decode()


def test_one_category_is_sampled_level_by_level(here: Run) -> None:
    table = "\n".join(lines(60)).encode()
    assert here("fit", "-", "-x", "colour", "-o", "m.pt", *QUICK, stdin=table).returncode == 0
    drawn = here("sample", "m.pt", "--n", "4").stdout.decode().splitlines()
    assert drawn[0] == "colour,y"
    assert {line.split(",")[0] for line in drawn[1:]} == {"red", "blue"}
    assert drawn[1].split(",")[0] == drawn[3].split(",")[0]


def test_at_takes_categories_dates_and_missing_cells(here: Run, fitted: Path) -> None:
    at = ["--at", "size=,colour=red,day=2025-02-03"]
    drawn = here("sample", fitted, "--n", "3", *at).stdout.decode().splitlines()
    assert drawn[0] == "size,colour,day,y"
    assert all(line.startswith(",red,2025-02-03,") for line in drawn[1:])
    done = here("sample", fitted, "--at", "size=1,colour=red,day=soon")
    assert done.returncode == 2
    assert b"--at, column 'day': 'soon' is not a date" in done.stderr


@pytest.mark.parametrize("along", ["colour", "day", "size"])
def test_pictures_along_a_feature_of_any_kind(
    here: Run, fitted: Path, folder: Path, tmp_path: Path, along: str
) -> None:
    command = ("plot", fitted, folder / "t.csv", "-o", "p.svg", "--kind")
    for kind in ("overview", "density", "intervals"):
        done = here(*command, kind, "--along", along)
        assert done.returncode == 0, done.stderr
        assert {along, "y"} <= texts_of((tmp_path / "p.svg").read_bytes())
    assert here(*command, "residuals").returncode == 0


def test_cross_validation_and_ensembles_of_every_kind(here: Run) -> None:
    table = "\n".join(lines(80)).encode()
    more = ["--cv", "2", "--members", "2", "--weight", "w", "--baseline", "--json"]
    done = here("fit", "-", "-o", "m.pt", *QUICK, *more, stdin=table)
    assert done.returncode == 0, done.stderr
    assert [fold["rows"] for fold in json.loads(done.stdout)["cv"]] == [40, 40]


def test_python_scores_as_the_command_does(here: Run, fitted: Path, folder: Path) -> None:
    text = lines(60, seed=4)
    text[3] = text[3].rsplit(",", 1)[0] + ","
    (folder / "more.csv").write_text("\n".join(text) + "\n")
    result = json.loads(here("evaluate", fitted, folder / "more.csv", "--json", "-q").stdout)
    python = load(fitted).evaluate(read_table(folder / "more.csv")).to_plain()
    assert python["nll"] == pytest.approx(result["nll"], rel=1e-9)
    assert python["rows"] == result["rows"] == 59


def test_only_the_ratios_of_weights_count(here: Run, fitted: Path, folder: Path) -> None:
    scores = []
    for factor in ("1e-300", "1", "1e300"):
        table = lines(50)
        cells = [line.split(",") for line in table[1:]]
        rows = [",".join([*c[:4], f"{int(c[4]) * float(factor):g}", c[5]]) for c in cells]
        done = here("evaluate", fitted, "-", "--json", stdin="\n".join([table[0], *rows]).encode())
        assert b"Warning" not in done.stderr
        scores.append(json.loads(done.stdout))
    assert scores[0]["pit_ks_p"] == pytest.approx(scores[1]["pit_ks_p"], rel=1e-6)
    assert scores[2]["nll"] == pytest.approx(scores[1]["nll"], rel=1e-6)
