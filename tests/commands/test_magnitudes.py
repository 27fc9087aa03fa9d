"""Tables of other magnitudes and with outliers, through the real commands."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from commands.helpers import cells, error_of, numbers

from running import Run

RNG = np.random.default_rng(0)
X = RNG.uniform(size=200)
Y = 2.0 + np.sin(6.0 * X) + 0.1 * RNG.normal(size=200)
QUESTIONS = (
    *("--mean", "--std", "--median", "--mode", "--component-mean", "--quantiles", "0.05,0.95"),
    *("--hdr", "0.9", "--density", "--cdf", "--only"),
)
# A few steps are enough to compare two units.
SHORT = ("--steps", "40", "--hidden", "16")
# What a fit is by default, but shorter.
LADDER = ("--steps", "120")


def write(path: Path, x: Sequence[str] | np.ndarray, y: Sequence[str] | np.ndarray) -> None:
    """Write a table; numbers are written as the shortest texts that read back exactly."""
    texts = [[repr(float(v)) if not isinstance(v, str) else v for v in column] for column in (x, y)]
    rows = (f"{a},{b}\n" for a, b in zip(*texts, strict=True))
    path.write_text("x,y\n" + "".join(rows))


def in_units(values: np.ndarray, exponent: int) -> list[str]:
    return [f"{value!r}e{exponent}" for value in values.tolist()]


def answers(here: Run, folder: Path, x: int, y: int, *options: str) -> dict[str, np.ndarray]:
    """Return the answers about a table in these powers of ten, in the units of the first table."""
    write(folder / "t.csv", in_units(X, x), in_units(Y, y))
    done = here("fit", "t.csv", *SHORT, *options, "-q")
    assert (done.returncode, done.stderr) == (0, b"")
    done = here("predict", "model.pt", "t.csv", *QUESTIONS)
    assert (done.returncode, done.stderr) == (0, b"")
    found = cells(done.stdout)
    unit = float(f"1e{y}")
    columns = {}
    for name in found:
        power = {"y_density": -1, "y_cdf": 0}.get(name, 1)
        columns[name] = numbers(found, name) / unit**power
    return columns


@pytest.mark.parametrize("options", [(), ("--lower", "0")])
def test_every_answer_has_the_unit_of_the_target(
    here: Run, tmp_path: Path, options: tuple[str, ...]
) -> None:
    expected = answers(here, tmp_path, 0, 0, *options)
    for x, y in ((0, 40), (0, -40), (300, 58), (-300, -58)):
        found = answers(here, tmp_path, x, y, *options)
        assert list(found) == list(expected)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-4, err_msg=name)


def test_every_command_is_quiet_about_other_magnitudes(here: Run, tmp_path: Path) -> None:
    answers(here, tmp_path, 300, -58)
    for command in (
        ("sample", "model.pt", "--n", "5"),
        ("predict", "model.pt", "t.csv", "--exceed", "1e60", "--at-target", "-1e60", "--cdf"),
        ("predict", "model.pt", "t.csv", "--density", "--at-target", "1e60", "--log"),
        ("inspect", "t.csv", "--json"),
        ("inspect", "model.pt"),
        ("plot", "model.pt", "t.csv", "-o", "p.png", "-q"),
        ("plot", "model.pt", "--kind", "density", "-o", "p.png", "-q"),
        ("plot", "model.pt", "t.csv", "--kind", "residuals", "-o", "p.png", "-q"),
    ):
        done = here(*command)
        assert (done.returncode, done.stderr) == (0, b""), command
        assert not re.search(rb"\b(inf|nan)\b", done.stdout, re.IGNORECASE)
    scores = json.loads(here("evaluate", "model.pt", "t.csv", "--json").stdout)
    assert 0.0 < scores["rmse"] < 2e-58
    assert scores["nll"] < -58 * np.log(10.0) + 3.0


@pytest.mark.parametrize(
    ("exponent", "remedy"), [(160, 160), (300, 300), (-160, -160), (-300, -300)]
)
def test_the_remedy_for_a_magnitude_helps(
    here: Run, tmp_path: Path, exponent: int, remedy: int
) -> None:
    write(tmp_path / "t.csv", X, in_units(Y, exponent))
    message = error_of(here("fit", "t.csv"), 65)
    verb = "Divide" if exponent > 0 else "Multiply"
    assert f"{verb} the column by 1e+{abs(remedy)}." in message
    write(tmp_path / "t.csv", X, in_units(Y, exponent - remedy))
    assert here("fit", "t.csv", *SHORT, "-q").returncode == 0


@pytest.mark.parametrize("value", ["1e300", "-1e61"])
def test_a_value_of_a_target_is_refused_beyond_the_limit(
    here: Run, fitted: Path, value: str
) -> None:
    for option in ("--exceed", "--at-target"):
        options = (f"{option}={value}", "--cdf")
        done = here("predict", "model.pt", "data.csv", *options, cwd=fitted)
        message = error_of(done, 2)
        assert f"{option} is '{value}': it must be a number from -1e+60 to 1e+60." in message


# Outliers.


@pytest.mark.parametrize(
    ("name", "outlier", "count"), [("one", 1e6, 1), ("marker", -9999.0, 4), ("far", 50.0, 10)]
)
def test_outliers_of_a_target_leave_the_quantiles_of_the_others(
    here: Run, tmp_path: Path, name: str, outlier: float, count: int
) -> None:
    y = np.append(Y[:-count], np.full(count, outlier))
    write(tmp_path / "t.csv", X, y)
    assert here("fit", "t.csv", *LADDER, "-q").returncode == 0
    done = here("predict", "model.pt", "t.csv", "--quantiles", "0.25,0.5,0.75", "--only")
    low, median, high = numbers(cells(done.stdout), "y_q25", "y_q50", "y_q75").T
    assert np.sqrt(np.mean((median - 2.0 - np.sin(6.0 * X)) ** 2)) < 0.1
    assert np.median(high - low) < 3.0 * 0.1 * 1.35


def test_outliers_of_a_feature_leave_the_answers_about_the_others(
    here: Run, tmp_path: Path
) -> None:
    x = np.append(X[:-4], [1e6, -9999.0, -9999.0, 1e300])
    write(tmp_path / "t.csv", x, Y)
    assert here("fit", "t.csv", *LADDER, "-q").returncode == 0
    done = here("predict", "model.pt", "t.csv", "--median", "--only")
    error = numbers(cells(done.stdout), "y_median")[:-4] - 2.0 - np.sin(6.0 * X[:-4])
    assert np.sqrt(np.mean(error**2)) < 0.1


def test_a_lognormal_target_is_learned(here: Run, tmp_path: Path) -> None:
    y = np.exp(2.0 * np.sin(6.0 * X) + 2.0 * RNG.normal(size=200))
    write(tmp_path / "t.csv", X, y)
    result = json.loads(here("fit", "t.csv", *LADDER, "--json", "-q").stdout)
    # The exact density costs 2.11 nats for log y, and E[log y] more for y.
    assert result["nll_train"] < 2.11 + np.log(y).mean() + 0.6
    done = here("predict", "model.pt", "t.csv", "--mean", "--std", "--only")
    found = numbers(cells(done.stdout), "y_mean", "y_std")
    assert (np.abs(found) < 1e4).all()
