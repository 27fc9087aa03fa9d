"""Component 0, the background, in the columns and draws of every command."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands.helpers import numbers, table_of

from mdncli import load
from running import Run, mdn

QUICK = ("--hidden", "8", "--frequencies", "1", "--steps", "60", "-q")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a table of two targets, and models with and without a background."""
    folder = tmp_path_factory.mktemp("background")
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    rows = np.column_stack([x, x + 0.1 * rng.normal(size=200), rng.normal(size=200)])
    np.savetxt(folder / "data.csv", rows, delimiter=",", header="x,u,v", comments="")
    for name, options in (("with.pt", ()), ("without.pt", ("--no-background",))):
        fit = ("fit", "data.csv", "-t", "u,v", "-k", "2", *QUICK, "-o", name)
        done = mdn(*fit, *options, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def columns_of(here: Run, folder: Path, model: str, *options: str) -> dict[str, list[str]]:
    return table_of(
        here("predict", model, "data.csv", "--parameters", "--only", *options, cwd=folder)
    )


def test_the_columns_of_the_background_have_the_number_0(here: Run, folder: Path) -> None:
    columns = columns_of(here, folder, "with.pt")
    assert [name for name in columns if name.startswith("pi")] == ["pi0", "pi1", "pi2"]
    assert {"u_mu0", "u_sigma0", "v_mu0", "v_sigma0", "u_v_correlation0"} <= set(columns)
    background = load(folder / "with.pt").network.background
    assert background is not None
    np.testing.assert_allclose(numbers(columns, "pi0"), background.weight)
    data = np.loadtxt(folder / "data.csv", delimiter=",", skiprows=1)
    # It is about twice as wide as the target, the same at every row, and without correlations.
    for name, values in (("u", data[:, 1]), ("v", data[:, 2])):
        sigma = numbers(columns, f"{name}_sigma0")
        assert np.ptp(sigma) == 0.0
        assert sigma[0] == pytest.approx(2.0 * values.std(), rel=0.1)
    assert (numbers(columns, "u_v_correlation0") == 0.0).all()


def test_without_a_background_the_first_component_is_1(here: Run, folder: Path) -> None:
    columns = columns_of(here, folder, "without.pt")
    assert [name for name in columns if name.startswith("pi")] == ["pi1", "pi2"]
    assert not any(name.endswith("0") for name in columns)


@pytest.mark.parametrize(("model", "first"), [("with.pt", 0), ("without.pt", 1)])
def test_known_targets_leave_the_numbers_as_they_are(
    here: Run, folder: Path, model: str, first: int
) -> None:
    columns = columns_of(here, folder, model, "--given", "u")
    assert [name for name in columns if name.startswith("pi")] == [
        f"pi{k}" for k in range(first, 3)
    ]


@pytest.mark.parametrize(("model", "first"), [("with.pt", 0), ("without.pt", 1)])
def test_draws_have_the_numbers_of_their_components(
    here: Run, folder: Path, model: str, first: int
) -> None:
    # At this temperature all components are equally probable.
    options = ("--at", "x=0.5", "--n", "600", "--component", "--temperature", "1e9")
    drawn = table_of(here("sample", model, *options, cwd=folder))
    counts = {int(name): drawn["component"].count(name) for name in set(drawn["component"])}
    assert set(counts) == set(range(first, 3))
    assert min(counts.values()) > 600 / len(counts) - 100


def test_fit_and_inspect_tell_its_weight(here: Run, folder: Path, tmp_path: Path) -> None:
    fit = ("fit", folder / "data.csv", "-t", "u,v", "-k", "2", *QUICK, "--json")
    result = json.loads(here(*fit, "-o", "m.pt").stdout)
    weight = load(folder / "with.pt").network.background.weight
    assert result["background"] == weight
    shown = here("inspect", "m.pt").stdout.decode()
    assert f"component 0, weight {weight:.3g}" in shown
    assert json.loads(here("inspect", "m.pt", "--json").stdout)["background"] == {"weight": weight}
    assert json.loads(here(*fit, "--no-background", "-o", "m.pt").stdout)["background"] is None
    assert "component 0" not in here("inspect", "m.pt").stdout.decode()
