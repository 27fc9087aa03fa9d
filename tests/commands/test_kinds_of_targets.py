"""Atoms, censored targets and angles on the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands.helpers import error_of, numbers, table_of, texts_of

from running import Run, mdn

QUICK = "--no-ladder", "--steps", "200", "-q"


def table(folder: Path, name: str, header: str, columns: np.ndarray) -> None:
    rows = "".join(",".join(f"{value!r}" for value in row) + "\n" for row in columns.tolist())
    (folder / name).write_text(f"{header}\n{rows}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three tables and a model of each."""
    folder = tmp_path_factory.mktemp("kinds")
    rng = np.random.default_rng(5)
    x = rng.uniform(0.0, 1.0, 400)
    rain = np.where(rng.random(400) < x, 0.0, np.exp(rng.normal(size=400)))
    table(folder, "rain.csv", "x,rain", np.column_stack([x, rain]))
    time, until = rng.exponential(1.0 + 3.0 * x), rng.exponential(5.0, 400)
    columns = np.column_stack([x, time <= until, np.minimum(time, until)])
    table(folder, "time.csv", "x,dead,time", columns)
    wind = np.degrees(rng.vonmises(3.0 * x, 8.0)) % 360.0
    table(folder, "wind.csv", "x,wind", np.column_stack([x, wind]))
    for name, more in (
        ("rain", ()),
        ("time", ("--event", "dead", "--members", "3")),
        ("wind", ("--period", "wind=360")),
    ):
        done = mdn("fit", f"{name}.csv", *more, *QUICK, "-o", f"{name}.pt", cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def test_answers_with_an_atom(here: Run, folder: Path) -> None:
    questions = "--probability", "--cdf", "--at-target", "0", "--hdr", "0.8", "--mean", "--only"
    found = table_of(here("predict", "rain.pt", "rain.csv", *questions, cwd=folder))
    probability = numbers(found, "rain_probability")
    np.testing.assert_allclose(numbers(found, "rain_cdf"), probability, rtol=1e-9)
    assert 0.3 < probability.mean() < 0.7
    # The region lists the atom first.
    assert set(found["rain_hdr80_lo1"]) == set(found["rain_hdr80_hi1"]) == {"0"}
    draws = table_of(here("sample", "rain.pt", "--rows", "rain.csv", "--n", "20", cwd=folder))
    assert np.mean(numbers(draws, "rain") == 0.0) == pytest.approx(probability.mean(), abs=0.02)
    exact = table_of(here("predict", "rain.pt", "rain.csv", "--exceed", "0", "--only", cwd=folder))
    np.testing.assert_allclose(numbers(exact, "rain_exceed"), 1.0 - probability, atol=1e-9)


def test_fit_and_inspect_say_what_the_values_are(here: Run, folder: Path) -> None:
    rain = here("fit", "rain.csv", *QUICK[:-1], "-o", "again.pt", cwd=folder).stderr.decode()
    assert "'rain' is 0 in" in rain
    assert "also learns the probability of that value" in rain
    assert "The other values are learned as log(" in rain
    done = here("fit", "time.csv", "--event", "dead", *QUICK[:-1], "-o", "a.pt", cwd=folder)
    assert (
        "rows, 'time' is only known to exceed its value. It is learned as log(time)"
        in done.stderr.decode()
    )
    done = here("fit", "wind.csv", "--period", "wind=360", *QUICK[:-1], "-o", "a.pt", cwd=folder)
    assert "'wind' is an angle with the period 360" in done.stderr.decode()
    limits = "--censor-below", "0.5", "--censor-above", "3", "--target-kind", "continuous"
    done = here("fit", "time.csv", "--ignore", "dead", *limits, *QUICK[:-1], cwd=folder)
    assert "values of 'time' only say that it is at most 0.5" in done.stderr.decode()
    assert "values of 'time' only say that it is at least 3" in done.stderr.decode()
    for name, kind in (("rain", "number, atom 0"), ("wind", "angle, period 360")):
        assert kind in here("inspect", f"{name}.pt", cwd=folder).stdout.decode()
    of_table = here("inspect", "rain.csv", cwd=folder).stdout.decode()
    assert "mdn fit would take 'rain' as: number, atom 0." in of_table
    command = here("inspect", "time.pt", cwd=folder).stdout.decode()
    assert "--event dead" in command
    done = here("fit", "rain.csv", "--atom", "0", *QUICK, "--json", "-o", "a.pt", cwd=folder)
    assert json.loads(done.stdout)["target_kinds"] == {"rain": "number, atom 0"}


def test_survival(here: Run, folder: Path) -> None:
    found = table_of(
        here("predict", "time.pt", "time.csv", "--survival", "1,2.5", "--exceed", "2.5", cwd=folder)
    )
    assert list(found)[-3:] == ["time_exceed", "time_survival1", "time_survival2.5"]
    assert found["time_exceed"] == found["time_survival2.5"]
    assert (numbers(found, "time_survival1") >= numbers(found, "time_survival2.5")).all()
    scores = json.loads(here("evaluate", "time.pt", "time.csv", "--json", cwd=folder).stdout)
    dead = numbers(found, "dead")
    assert scores["rows_censored"] == int((dead == 0.0).sum()) > 50
    rows = table_of(here("evaluate", "time.pt", "time.csv", "--per-row", cwd=folder))
    assert [cell == "" for cell in rows["time_crps"]] == (dead == 0.0).tolist()
    assert "" not in rows["nll"]
    (folder / "bare.csv").write_text("x,time\n0.5,1.5\n0.2,2.5\n")
    done = here("evaluate", "time.pt", "bare.csv", cwd=folder)
    assert "has no column 'dead', which said in training" in done.stderr.decode()


def test_pictures(here: Run, folder: Path) -> None:
    done = here("plot", "time.pt", "time.csv", "--kind", "survival", "-o", "s.svg", cwd=folder)
    assert done.returncode == 0, done.stderr
    texts = texts_of((folder / "s.svg").read_bytes())
    assert {"observed (Kaplan-Meier), 95%", "mean prediction", "all 400 rows"} <= texts
    assert "predicted survival; bands: all members" in texts
    done = here("plot", "rain.pt", "--kind", "row", "--rows", "rain.csv", "-o", "r.svg", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert any(text.startswith("P(0) = 0.") for text in texts_of((folder / "r.svg").read_bytes()))
    for kind in ("overview", "intervals", "density", "modes", "components", "survival"):
        for name in ("rain", "wind"):
            done = here(
                "plot", f"{name}.pt", f"{name}.csv", "--kind", kind, "-o", "p.png", cwd=folder
            )
            assert done.returncode == 0, done.stderr
    done = here("plot", "wind.pt", "--kind", "row", "--rows", "wind.csv", "-o", "w.png", cwd=folder)
    assert done.returncode == 0, done.stderr


def test_angles(here: Run, folder: Path) -> None:
    found = table_of(here("predict", "wind.pt", "wind.csv", "--only", cwd=folder))
    low, high, mean = numbers(found, "wind_lo90", "wind_hi90", "wind_mean").T
    assert ((mean >= 0.0) & (mean < 360.0)).all()
    crosses = high < low
    assert crosses.any()
    inside = np.where(crosses, (mean >= low) | (mean <= high), (mean >= low) & (mean <= high))
    assert inside.all()
    scores = json.loads(here("evaluate", "wind.pt", "wind.csv", "--json", cwd=folder).stdout)
    assert scores["rmse"] < 35.0
    assert scores["width"]["0.9"] < 120.0


@pytest.mark.parametrize(
    ("status", "message", "options"),
    [
        (65, "--atom is 0.25, and no row has that value of 'rain'", ("--atom", "0.25")),
        (2, "--atom is 'x': it must be a finite number", ("--atom", "x")),
        (2, "--atom 0 is outside the bound --lower 1 of 'rain'", ("--atom", "0", "--lower", "1")),
        (2, "--period of 'rain' is 0: it must be positive", ("--period", "rain=0")),
        (65, "row 1, line 2, column 'x': an event must be 0 or 1", ("--event", "x", "-x", "w")),
        (2, "'rain' is used by --event", ("--event", "rain", "-t", "rain")),
        (65, "there is no column 'dead'", ("--event", "dead")),
        (
            2,
            "--censor-below is 3 and --censor-above is 1",
            ("--censor-below", "3", "--censor-above", "1"),
        ),
    ],
)
def test_refusals(
    here: Run, folder: Path, status: int, message: str, options: tuple[str, ...]
) -> None:
    text = (folder / "rain.csv").read_text().splitlines()
    lines = [
        f"{text[0].replace('x,', 'x,w,')}",
        *(row.replace(",", f",{i},", 1) for i, row in enumerate(text[1:])),
    ]
    (folder / "wide.csv").write_text("\n".join(lines) + "\n")
    assert message in error_of(here("fit", "wide.csv", *options, *QUICK, cwd=folder), status)


def test_a_negative_count_is_named(here: Run, folder: Path) -> None:
    (folder / "n.csv").write_text("x,n\n" + "".join(f"{i},{i % 5 - (i == 5)}\n" for i in range(30)))
    message = error_of(here("fit", "n.csv", "--lower", "0", *QUICK, cwd=folder), 65)
    assert "row 6, line 7, column 'n': -1 is not at least --lower 0" in message


def test_questions_about_probabilities_need_them(here: Run, folder: Path) -> None:
    done = here("predict", "wind.pt", "wind.csv", "--probability", cwd=folder)
    assert "Use --density, or fit with --target-kind rounded or --atom" in error_of(done, 2)
