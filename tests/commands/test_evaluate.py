"""`mdn evaluate`: its scores against those of SciPy, `--fail-over`, and errors."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from commands.helpers import Cells, Mixture, cells, error_of, numbers, table_of
from scipy.special import logsumexp
from scipy.stats import kstest, norm

from mdncli import load, read_table
from running import Run, mdn

LEVELS = ("0.5", "0.8", "0.9", "0.95")


def scores(done: subprocess.CompletedProcess[bytes], status: int = 0) -> dict:
    """Return the JSON that a command printed and nothing else."""
    assert done.returncode == status, done.stderr
    assert done.stdout.count(b"\n") == 1
    return json.loads(done.stdout)


def write(path: Path, header: str, *columns: np.ndarray) -> Path:
    rows = (",".join(map(repr, row)) for row in zip(*(c.tolist() for c in columns), strict=True))
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def fresh(fitted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a table with targets drawn from the fitted model."""
    path = tmp_path_factory.mktemp("fresh") / "fresh.csv"
    done = mdn("sample", "model.pt", "--rows", "data.csv", "--seed", "5", "-o", path, cwd=fitted)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def result(fitted: Path, fresh: Path) -> dict:
    """Return the scores of the fitted model on the table drawn from it."""
    return scores(mdn("evaluate", "model.pt", fresh, "--json", cwd=fitted))


@pytest.fixture(scope="module")
def stepped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model of a target in steps, and a table drawn from it, in steps."""
    folder = tmp_path_factory.mktemp("stepped")
    rng = np.random.default_rng(3)
    x = rng.uniform(-1.0, 1.0, 400)
    y = 0.5 * np.round(3.0 * x + 0.4 * rng.normal(size=400))
    write(folder / "data.csv", "x,y", x, y)
    done = mdn("fit", "data.csv", "-k", "2", "--epochs", "20", "-q", cwd=folder)
    assert done.returncode == 0, done.stderr
    x = rng.uniform(-0.9, 0.9, 4000)
    drawn = load(folder / "model.pt").condition(x[:, None]).sample(1, seed=1)[:, 0]
    write(folder / "fresh.csv", "x,y", x, 0.5 * np.round(drawn / 0.5))
    return folder


def test_a_model_passes_on_rows_drawn_from_itself(result: dict) -> None:
    assert result["rows"] == 1000
    assert result["pit_ks_p"] > 1e-3
    assert result["pit_ks"] < 0.06
    for level in LEVELS:
        share = float(level)
        error = 5.0 * np.sqrt(share * (1.0 - share) / 1000)
        assert result["coverage"][level] == pytest.approx(share, abs=error)
    assert result["skill"]["unconditional"] > 0.5
    assert result["skill"]["baseline"] > 0.5


def test_json_has_the_keys_of_the_plan(result: dict) -> None:
    assert set(result) >= {
        *("rows", "nll", "resolution", "crps", "rmse", "coverage", "pit_ks", "width"),
        *("pit_ks_p", "skill"),
    }
    assert result["resolution"] is None
    assert tuple(result["coverage"]) == tuple(result["width"]) == LEVELS


def test_scores_are_those_of_an_independent_computation(
    here: Run, fitted: Path, fresh: Path, result: dict
) -> None:
    model = fitted / "model.pt"
    command = ("--parameters", "--interval", ",".join(LEVELS))
    columns = table_of(here("predict", model, fresh, *command))
    mixture, y = Mixture(columns), numbers(columns, "y")
    reached = mixture.cdf(y)
    assert result["nll"] == pytest.approx(-mixture.log_density(y).mean(), rel=1e-9)
    assert result["crps"] == pytest.approx(mixture.crps(y).mean(), rel=1e-6)
    assert result["rmse"] == pytest.approx(np.sqrt(((mixture.mean() - y) ** 2).mean()), rel=1e-9)
    test = kstest(reached, "uniform")
    assert result["pit_ks"] == pytest.approx(test.statistic, rel=1e-9)
    assert result["pit_ks_p"] == pytest.approx(test.pvalue, rel=1e-6)
    for level in LEVELS:
        low, high = (numbers(columns, f"y_{end}{float(level) * 100:g}") for end in ("lo", "hi"))
        assert result["coverage"][level] == ((low <= y) & (y <= high)).mean()
        assert result["width"][level] == pytest.approx((high - low).mean(), rel=1e-9)


def test_skill_is_the_improvement_over_the_reference_and_over_least_squares(
    fitted: Path, fresh: Path, result: dict
) -> None:
    model, rows = load(fitted / "model.pt"), read_table(fresh)
    [target] = model.schema.targets
    standardized = (rows["y"].to_numpy()[:, None] - target.mean) / target.scale
    pi, mu, sigma = (part.ravel() for part in model.network.reference.arrays())
    without_x = logsumexp(pi + norm.logpdf(standardized, mu, sigma), axis=1) - np.log(target.scale)
    skill = -without_x.mean() - result["nll"]
    assert result["skill"]["unconditional"] == pytest.approx(skill, rel=1e-6)
    gaussian = model.network.baseline_mixture(rows[["x"]].to_numpy())
    log_density = norm.logpdf(rows["y"], gaussian.mu[:, 0, 0], gaussian.sigma[:, 0, 0])
    skill = -log_density.mean() - result["nll"]
    assert result["skill"]["baseline"] == pytest.approx(skill, rel=1e-6)


def test_python_gives_the_same_scores(fitted: Path, fresh: Path, result: dict) -> None:
    model, rows = load(fitted / "model.pt"), read_table(fresh)
    plain = model.evaluate(rows).to_plain()
    assert np.isnan(plain.pop("resolution"))
    assert plain == {name: result[name] for name in plain}
    x, y = rows[["x"]].to_numpy(), rows["y"].to_numpy()
    assert model.evaluate(x, y).nll == result["nll"]


def test_several_targets_give_objects_by_name(here: Run, wide: Path) -> None:
    result = scores(here("evaluate", wide / "model.pt", wide / "data.csv", "--json"))
    columns = table_of(here("predict", wide / "model.pt", wide / "data.csv", "--parameters"))
    log_joint = np.log(numbers(columns, *(f"pi{k}" for k in range(13))))
    for target in "uv":
        mixture, y = Mixture(columns, target), numbers(columns, target)
        assert result["crps"][target] == pytest.approx(mixture.crps(y).mean(), rel=1e-6)
        rmse = np.sqrt(((mixture.mean() - y) ** 2).mean())
        assert result["rmse"][target] == pytest.approx(rmse, rel=1e-9)
        test = kstest(mixture.cdf(y), "uniform")
        assert result["pit_ks"][target] == pytest.approx(test.statistic, rel=1e-6)
        covered = abs(mixture.cdf(y) - 0.5) <= 0.4
        assert result["coverage"]["0.8"][target] == covered.mean()
        log_joint += norm.logpdf(y[:, None], mixture.mu, mixture.sigma)
    assert result["nll"] == pytest.approx(-logsumexp(log_joint, axis=1).mean(), rel=1e-9)
    for name in ("crps", "rmse", "pit_ks", "pit_ks_p"):
        assert set(result[name]) == {"u", "v"}
    assert result["skill"]["baseline"] is not None


def test_the_table_shows_the_same_figures(here: Run, wide: Path) -> None:
    command = ("evaluate", wide / "model.pt", wide / "data.csv")
    result = scores(here(*command, "--json"))
    message = here(*command).stdout.decode()
    assert message.splitlines()[0].split() == ["'u'", "'v'"]
    for name in ("crps", "rmse"):
        for target in "uv":
            assert f"{result[name][target]:.4g}" in message
    for level, percent in zip(LEVELS, ("50%", "80%", "90%", "95%"), strict=True):
        [line] = [line for line in message.splitlines() if f"{percent} intervals" in line]
        shown = [f"{result['coverage'][level][target]:.1%}" for target in "uv"]
        assert line.split()[-2:] == shown
    for value in (result["nll"], *result["skill"].values()):
        assert f"{value:.4f}" in message


# A target recorded in steps.


def test_a_target_in_steps_has_its_pit_drawn_within_them(
    run: Run, here: Run, stepped: Path
) -> None:
    model, rows = stepped / "model.pt", stepped / "fresh.csv"
    done = run("evaluate", model, rows)
    assert done.returncode == 0
    assert b"Recorded in steps: 'y'" in done.stderr
    assert b"PIT is therefore drawn at random within each step" in done.stderr
    result = scores(here("evaluate", model, rows, "--json"))
    assert result["resolution"] == pytest.approx(np.log(0.5))
    # The rows are drawn from the model, so its densities are right. Even so, the PIT without
    # randomization is far from uniform.
    columns = table_of(here("predict", model, rows, "--parameters"))
    mixture, y = Mixture(columns), numbers(columns, "y")
    assert kstest(mixture.cdf(y), "uniform").pvalue < 1e-6
    assert result["pit_ks_p"] > 1e-3
    assert f"{result['pit_ks']:.4f}" in done.stdout.decode()
    pit = numbers(table_of(here("evaluate", model, rows, "--per-row")), "y_pit")
    assert kstest(pit, "uniform").statistic == pytest.approx(result["pit_ks"])
    low, high = mixture.cdf(y - 0.25), mixture.cdf(y + 0.25)
    assert ((pit >= low - 1e-12) & (pit <= high + 1e-12)).all()
    assert kstest((pit - low) / (high - low), "uniform").pvalue > 1e-3
    assert scores(here("evaluate", model, rows, "--json")) == result


def test_a_wrong_model_of_a_target_in_steps_still_fails(
    here: Run, stepped: Path, tmp_path: Path
) -> None:
    rows = read_table(stepped / "fresh.csv")
    write(tmp_path / "moved.csv", "x,y", rows["x"], rows["y"] + 0.5)
    result = scores(here("evaluate", stepped / "model.pt", "moved.csv", "--json"))
    assert result["pit_ks_p"] < 1e-6


def test_a_continuous_target_prints_nothing_about_steps(
    here: Run, fitted: Path, fresh: Path
) -> None:
    done = here("evaluate", fitted / "model.pt", fresh)
    assert (done.returncode, done.stderr) == (0, b"")


# Rows.


def test_the_scores_are_means_of_the_scores_per_row(
    here: Run, fitted: Path, fresh: Path, result: dict, tmp_path: Path
) -> None:
    done = here("evaluate", fitted / "model.pt", fresh, "--per-row", "-o", "rows.csv", "--json")
    assert scores(done) == result
    rows = cells((tmp_path / "rows.csv").read_bytes())
    assert list(rows) == ["x", "y", "nll", "y_crps", "y_error", "y_pit"]
    given = cells(fresh.read_bytes())
    assert {name: rows[name] for name in given} == given
    assert numbers(rows, "nll").mean() == pytest.approx(result["nll"], rel=1e-12)
    assert numbers(rows, "y_crps").mean() == pytest.approx(result["crps"], rel=1e-12)
    rmse = np.sqrt((numbers(rows, "y_error") ** 2).mean())
    assert rmse == pytest.approx(result["rmse"], rel=1e-12)
    pit = kstest(numbers(rows, "y_pit"), "uniform").statistic
    assert pit == pytest.approx(result["pit_ks"], rel=1e-12)


def test_per_row_writes_data_alone_and_the_table_when_it_has_a_file(
    here: Run, wide: Path, tmp_path: Path
) -> None:
    command = ("evaluate", wide / "model.pt", wide / "data.csv", "--per-row")
    columns: Cells = table_of(here(*command))
    scored = [f"{target}_{name}" for target in "uv" for name in ("crps", "error", "pit")]
    assert list(columns) == ["a", "b", "c", "u", "v", "nll", *scored]
    assert len(columns["nll"]) == 400
    with_file = here(*command, "-o", "rows.csv")
    assert cells((tmp_path / "rows.csv").read_bytes()) == columns
    assert b"CRPS" in with_file.stdout
    assert b"wrote rows.csv" in with_file.stderr
    quiet = here(*command, "-o", "rows.csv", "-q")
    assert quiet.stdout == b""
    assert b"wrote" not in quiet.stderr


BAD = b"id,x,y\n007,1.5,2\n,,3\nc,2,none\nd,0.10,-1\n"


def test_a_bad_row_is_named_or_skipped(run: Run, here: Run, fitted: Path, tmp_path: Path) -> None:
    model = fitted / "model.pt"
    (tmp_path / "bad.csv").write_bytes(BAD)
    message = error_of(run("evaluate", model, "bad.csv"), 65)
    assert "bad.csv, row 2, line 3, column 'x': the cell is empty" in message
    assert "--on-bad-rows skip" in message
    command = ("evaluate", model, "bad.csv", "--on-bad-rows", "skip")
    done = here(*command, "--json")
    (tmp_path / "good.csv").write_bytes(b"id,x,y\n007,1.5,2\nd,0.10,-1\n")
    assert scores(done) == scores(here("evaluate", model, "good.csv", "--json"))
    assert b"warning: 2 of 4 rows have a cell that cannot be used" in done.stderr
    assert b"bad.csv, row 2, line 3, column 'x': the cell is empty" in done.stderr
    rows = table_of(here(*command, "--per-row"))
    assert {name: rows[name] for name in ("id", "x", "y")} == cells(BAD)
    for name in ("nll", "y_crps", "y_error", "y_pit"):
        assert [cell == "" for cell in rows[name]] == [False, True, True, False]


def test_rows_outside_the_training_range_are_warned_of(here: Run, fitted: Path) -> None:
    done = here("evaluate", fitted / "model.pt", "-", "--json", stdin=b"x,y\n1,2\n500,3\n")
    assert scores(done)["rows"] == 2
    assert done.stderr.startswith(b"warning: 1 of 2 rows have a feature outside")


def test_the_training_table_is_known_by_its_content(
    run: Run, here: Run, fitted: Path, tmp_path: Path
) -> None:
    model, data = fitted / "model.pt", (fitted / "data.csv").read_bytes()
    (tmp_path / "renamed.csv").write_bytes(data)
    done = run("evaluate", model, "renamed.csv", "-q", "--json")
    assert b"warning: renamed.csv is the training table" in done.stderr
    assert b"training table" in here("evaluate", model, "-", "--json", stdin=data).stderr
    another = here("evaluate", model, "-", "--json", stdin=data + b"1.0,2.0\n")
    assert b"training table" not in another.stderr
    assert scores(another)["rows"] == scores(done)["rows"] + 1


# Limits on scores.


def test_fail_over_ends_with_1_and_everything_written(
    run: Run, here: Run, fitted: Path, fresh: Path, result: dict, tmp_path: Path
) -> None:
    command = ("evaluate", fitted / "model.pt", fresh, "--json", "--per-row", "-o", "rows.csv")
    limits = [f"--fail-over={name}={result[name]!r}" for name in ("nll", "crps", "rmse", "pit_ks")]
    assert scores(here(*command, *limits)) == result
    rows = (tmp_path / "rows.csv").read_bytes()
    (tmp_path / "rows.csv").unlink()
    limits[2] = f"--fail-over=rmse={result['rmse'] - 1e-6!r}"
    done = run(*command, *limits)
    assert scores(done, status=1) == result
    assert (tmp_path / "rows.csv").read_bytes() == rows
    assert b"warning: rmse is" in done.stderr
    assert b"nll" not in done.stderr


@pytest.mark.parametrize("name", ["nll", "crps", "rmse", "pit_ks"])
def test_every_score_can_have_a_limit(here: Run, wide: Path, name: str) -> None:
    command = ("evaluate", wide / "model.pt", wide / "data.csv", "--json")
    result = scores(here(*command))
    values = [result[name]] if name == "nll" else [*result[name].values()]
    # With several targets, the greatest score counts.
    for limit, status in ((max(values), 0), (max(values) - 1e-9, 1)):
        done = here(*command, "--fail-over", f"{name}={limit!r}")
        assert scores(done, status) == result
        assert (f"warning: {name} is".encode() in done.stderr) == (status == 1)


# Errors.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--fail-over", "mse=1"), "one of nll, crps, rmse, pit_ks"),
        (("--fail-over", "nll"), "write it as SCORE=MOST"),
        (("--fail-over", "nll=low"), "low is not a finite number"),
        (("-o", "scores.txt"), "-o is the output file of --per-row"),
        (("--per-row", "--json"), "both use standard output"),
        (("--per-row", "--json", "-o", "-"), "both use standard output"),
        (("--per-row", "-o", "rows.csv"), "would replace an input"),
        (("--per-row",), "'nll' already"),
    ],
)
def test_wrong_usage(here: Run, fitted: Path, tmp_path: Path, options: tuple, words: str) -> None:
    (tmp_path / "rows.csv").write_bytes(b"x,y,nll\n1,2,3\n")
    done = here("evaluate", fitted / "model.pt", "rows.csv", *options)
    assert words in error_of(done, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        (b"x,y\n", (), ["there are no rows to evaluate"]),
        (b"x,yy\n1,2\n", (), ["no column 'y'", "Did you mean 'yy'?"]),
        (b"X,y\n1,2\n", (), ["no column 'x'", "Did you mean 'X'?"]),
        (b"", (), ["empty"]),
    ],
)
def test_tables_without_what_is_needed(
    here: Run, fitted: Path, rows: bytes, options: tuple, words: list
) -> None:
    message = error_of(here("evaluate", fitted / "model.pt", "-", *options, stdin=rows), 65)
    assert all(word in message for word in ("standard input", *words)), message
    # Only `predict` has this option.
    assert "--at-target" not in message


def test_an_error_follows_the_warning_of_skipped_rows(here: Run, fitted: Path) -> None:
    command = ("evaluate", fitted / "model.pt", "-", "--on-bad-rows", "skip")
    done = here(*command, stdin=b"x,y\n,1\n2,\n")
    assert (done.returncode, done.stdout) == (65, b"")
    bad_cell, no_target, error = done.stderr.decode().splitlines()
    assert bad_cell.startswith("warning: 1 of 2 rows have a cell that cannot be used")
    assert no_target.startswith("warning: 1 of 2 rows have no target")
    assert error == "error: standard input: there are no rows to evaluate."


def test_what_is_not_there(run: Run, here: Run, fitted: Path) -> None:
    error_of(run("evaluate", "nowhere.pt", fitted / "data.csv"), 66)
    error_of(here("evaluate", fitted / "model.pt", "nowhere.csv"), 66)
    error_of(here("evaluate", fitted / "data.csv", fitted / "data.csv"), 65)
    assert "Only one of" in error_of(here("evaluate", "-", "-"), 2)
