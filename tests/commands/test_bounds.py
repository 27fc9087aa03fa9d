"""`--lower` and `--upper` in `fit` and in every later command."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from commands.helpers import error_of, numbers, table_of, texts_of

from mdncli import load
from running import Run, mdn

X = np.random.default_rng(5).uniform(0.0, 3.0, 900)


def write(path: Path, header: str, *columns: np.ndarray) -> None:
    np.savetxt(
        path, np.column_stack(columns), delimiter=",", header=header, comments="", fmt="%.17g"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a skewed target, a share, and models with bounds and without."""
    folder = tmp_path_factory.mktemp("bounds")
    rng = np.random.default_rng(0)
    for name in ("data", "test"):
        skewed = np.exp(np.sin(2.0 * X) + 1.2 * rng.normal(size=len(X)))
        share = 10.0 / (1.0 + np.exp(-2.0 * np.cos(2.0 * X) - 0.8 * rng.normal(size=len(X))))
        write(folder / f"{name}.csv", "x,y", X, skewed)
        write(folder / f"{name}-two.csv", "x,y,p", X, skewed, share)
    for output, data, options in (
        ("free.pt", "data.csv", ()),
        ("above.pt", "data.csv", ("--lower", "0", "--baseline")),
        ("two.pt", "data-two.csv", ("-t", "y,p", "--lower", "y=0,p=0", "--upper", "p=10")),
    ):
        done = mdn(
            *("fit", data, "-q", "-k", "3", "--steps", "150", "-o", output, *options), cwd=folder
        )
        assert done.returncode == 0, done.stderr
    return folder


def scores(done: subprocess.CompletedProcess[bytes], status: int = 0) -> dict:
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def test_a_bound_lowers_the_nll_and_leaves_no_mass_beyond(here: Run, folder: Path) -> None:
    nll = {}
    for model in ("free.pt", "above.pt"):
        nll[model] = scores(here("evaluate", model, "test.csv", "--json", cwd=folder))["nll"]
        below = table_of(
            here("predict", model, "test.csv", "--cdf", "--at-target", "0", cwd=folder)
        )
        if model == "above.pt":
            np.testing.assert_array_equal(numbers(below, "y_cdf"), 0.0)
        else:
            assert numbers(below, "y_cdf").max() > 0.001
    assert nll["above.pt"] < nll["free.pt"] - 0.01


def test_answers_are_in_the_units_of_the_file(here: Run, folder: Path) -> None:
    questions = (
        "--mean",
        "--std",
        "--median",
        "--mode",
        "--hdr",
        "0.9",
        "--interval",
        "0.9",
        "--cdf",
    )
    columns = table_of(
        here("predict", "two.pt", "test-two.csv", *questions, "--density", cwd=folder)
    )
    answer = load(folder / "two.pt").condition(X[:, None])
    values = numbers(columns, "y", "p")
    np.testing.assert_allclose(numbers(columns, "y_mean", "p_mean"), answer.mean(), rtol=1e-9)
    np.testing.assert_allclose(numbers(columns, "density"), np.exp(answer.log_prob(values)))
    for column in ("y_mean", "y_median", "y_mode", "y_lo90", "y_hdr90_lo1"):
        assert (numbers(columns, column) > 0.0).all()
    for column in (
        "p_mean",
        "p_median",
        "p_mode",
        "p_lo90",
        "p_hi90",
        "p_hdr90_lo1",
        "p_hdr90_hi1",
    ):
        assert ((numbers(columns, column) > 0.0) & (numbers(columns, column) < 10.0)).all()
    assert np.abs(np.mean(numbers(columns, "p_cdf") < 0.5) - 0.5) < 0.07


def test_draws_lie_between_the_bounds(here: Run, folder: Path) -> None:
    wild = ("--sigma-temperature", "9", "--temperature", "3", "--rows", "test-two.csv", "--n", "5")
    drawn = table_of(here("sample", "two.pt", *wild, cwd=folder))
    assert (numbers(drawn, "y") > 0.0).all()
    assert ((numbers(drawn, "p") > 0.0) & (numbers(drawn, "p") < 10.0)).all()
    plain = table_of(here("sample", "two.pt", "--rows", "test-two.csv", "--n", "9", cwd=folder))
    answer = load(folder / "two.pt").condition(X.repeat(9)[:, None])
    assert np.abs((numbers(plain, "y") < answer.median()[:, 0]).mean() - 0.5) < 0.02
    assert np.abs((numbers(plain, "p") - answer.mean()[:, 1]).mean()) < 0.1


def test_a_value_beyond_a_bound_has_no_nll_and_finite_other_scores(here: Run, folder: Path) -> None:
    (folder / "beyond.csv").write_text("x,y\n0.5,1.25\n1.0,0\n1.5,-2\n")
    done = here("evaluate", "above.pt", "beyond.csv", "--json", cwd=folder)
    found = scores(done)
    assert (found["rows"], found["rows_beyond_bounds"], found["nll"]) == (3, 2, None)
    assert found["skill"] == {"unconditional": None, "baseline": None}
    assert (
        "in 2 of 3 rows the target is at a bound of the model or beyond it" in done.stderr.decode()
    )
    assert np.isfinite([found["crps"], found["rmse"], found["coverage"]["0.9"]]).all()
    scores(
        here("evaluate", "above.pt", "beyond.csv", "--json", "--fail-over", "nll=99", cwd=folder), 1
    )
    rows = table_of(here("evaluate", "above.pt", "beyond.csv", "--per-row", cwd=folder))
    assert rows["nll"][0] != ""
    assert rows["nll"][1:] == ["", ""]
    assert rows["y_pit"][1:] == ["0", "0"]
    assert (numbers(rows, "y_crps") > 0.0).all()
    density = table_of(here("predict", "above.pt", "beyond.csv", "--density", "--cdf", cwd=folder))
    assert density["y_density"][1:] == density["y_cdf"][1:] == ["0", "0"]
    logs = table_of(here("predict", "above.pt", "beyond.csv", "--density", "--log", cwd=folder))
    assert logs["y_log_density"][1:] == ["", ""]
    assert float(logs["y_log_density"][0]) == pytest.approx(np.log(float(density["y_density"][0])))


def test_inspect_shows_the_bounds(here: Run, folder: Path) -> None:
    target = scores(here("inspect", "two.pt", "--json", cwd=folder))["targets"]
    assert [(each["lower"], each["upper"]) for each in target] == [(0.0, None), (0.0, 10.0)]
    lines = here("inspect", "two.pt", cwd=folder).stdout.decode().splitlines()
    assert lines[0].split()[-2:] == ["above", "below"]
    assert lines[3].split()[-2:] == ["0", "10"]
    assert "transformed p, 0 to 10" in lines[3]
    assert "above" not in here("inspect", "free.pt", cwd=folder).stdout.decode().splitlines()[0]


def test_help_describes_the_parameters_of_the_mixture(here: Run, folder: Path) -> None:
    for command, words in (
        ("fit", "π, μ and σ describe that mixture"),
        ("predict", "describe the mixture of the transformed target"),
    ):
        text = here(command, "--help", cwd=folder).stdout.decode()
        assert words in " ".join(text.replace("│", "").split())


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--lower", "1", "--upper", "1"), 2, "the lower bound must be less than the upper one"),
        (("--lower", "none"), 2, "--lower is 'none': it must be a finite number"),
        (("--lower", "z=0"), 65, "--lower: there is no target 'z'"),
        (("--upper", "1.5"), 65, "is not below --upper 1.5"),
    ],
)
def test_refusals(
    here: Run, folder: Path, options: tuple[str, ...], status: int, message: str
) -> None:
    done = here("fit", "data.csv", "-q", "-o", "none.pt", *options, cwd=folder)
    assert message in error_of(done, status)
    assert not (folder / "none.pt").exists()


def test_own_rows_held_out_are_refused_by_row_too(here: Run, folder: Path) -> None:
    (folder / "own.csv").write_text("x,y\n0.5,1.25\n1.0,-1.5\n")
    options = ("--lower", "0", "--valid-file", "own.csv", "-q", "-o", "none.pt")
    message = error_of(here("fit", "data.csv", *options, cwd=folder), 65)
    assert "own.csv, row 2, line 3, column 'y': -1.5 is not above --lower 0" in message


@pytest.mark.parametrize("kind", ["overview", "components", "density", "intervals", "row"])
def test_pictures_are_drawn(here: Run, folder: Path, kind: str) -> None:
    table = ("--rows", "test-two.csv") if kind == "row" else ("test-two.csv",)
    where = ("--target", "p", "--kind", kind, "-o", f"{kind}.svg", "-q")
    done = here("plot", "two.pt", *table, *where, cwd=folder)
    assert (done.returncode, done.stderr) == (0, b"")
    texts = texts_of((folder / f"{kind}.svg").read_bytes())
    assert "p" in texts
    assert kind == "row" or "x" in texts


def test_a_given_value_at_its_bound_is_a_bad_row(here: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, u = rng.normal(size=60), rng.random(60) * 0.8 + 0.1
    rows = [f"{a},{b},{a + b}" for a, b in zip(x, u, strict=True)]
    (tmp_path / "two.csv").write_text("\n".join(["x,u,v", *rows]) + "\n")
    bounds = ["--lower", "u=0", "--upper", "u=1", "--hidden", "4", "--steps", "10", "-q"]
    assert here("fit", "two.csv", "-t", "u,v", *bounds, "-o", "two.pt").returncode == 0
    command = ["predict", "two.pt", "-", "--given", "u", "--mean", "--only"]
    rows = b"x,u\n0,0.5\n0,1\n"
    done = here(*command, stdin=rows)
    assert done.returncode == 65
    assert b"row 2, line 3, column 'u': 1 is not above --lower 0 and below" in done.stderr
    done = here(*command, "--on-bad-rows", "skip", stdin=rows)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert lines[0] == "v_mean"
    assert lines[1]
    assert lines[2] in ("", '""')
    plot = ["plot", "two.pt", "--kind", "row", "--rows", "-", "--given", "u", "-o", "p.png"]
    for command in (["sample", "two.pt", "--rows", "-", "--given", "u"], plot):
        done = here(*command, stdin=rows)
        assert done.returncode == 65
        assert b"row 2, line 3, column 'u': 1 is not above" in done.stderr
        done = here(*command, "--on-bad-rows", "skip", stdin=rows)
        assert done.returncode == 0, done.stderr
        assert b"1 of 2 rows have a cell that cannot be used and are left out" in done.stderr
