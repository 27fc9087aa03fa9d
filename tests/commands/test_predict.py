"""`mdn predict`: the columns of every question, and their values."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands.helpers import Cells, Mixture, numbers, table_of
from scipy.special import logsumexp
from scipy.stats import norm

from mdncli import ConditionalDensity, load, read_table
from mdncli.density.model import Rung
from mdncli.density.network import Perceptron
from running import Run

ENDS = ("lo", "hi")


@pytest.fixture(scope="module")
def combs(fitted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a model with ten narrow modes at every x."""
    model = load(fitted / "model.pt").network
    modes = 10
    apart = np.cumsum(np.arange(modes) + 1.0)
    head = np.concatenate([np.zeros(modes), apart, np.full(modes, np.log(0.1))])
    [first] = model.main.networks
    last = np.zeros((len(head), first.layers[-1][0].shape[1])), head
    network = Perceptron(first.activation, first.frequencies, [*first.layers[:-1], last])
    comb = replace(
        model,
        rungs=[Rung("networks", replace(model.main.architecture, mixtures=modes), [network])],
        background=None,
        record=replace(model.record, components=[]),
        reference=None,
        baseline=None,
    )
    path = tmp_path_factory.mktemp("combs") / "comb.pt"
    ConditionalDensity(comb).save(path)
    return path


def intervals(columns: Cells) -> int:
    """Return the largest number of intervals of a highest-density region."""
    count = sum(name.startswith("y_hdr90_lo") for name in columns)
    assert count > 1
    return count


# Columns, against SciPy and against Python.


def test_the_names_of_the_columns(everything: Cells) -> None:
    pairs = [f"y_hdr90_{end}{i}" for i in range(1, intervals(everything) + 1) for end in ENDS]
    components = [f"{part}{k}" for k in range(6) for part in ("pi", "y_mu", "y_sigma")]
    assert set(everything) == {
        *("x", "y", "y_mean", "y_std", "y_median", "y_mode", "y_component_mean"),
        *("y_q05", "y_q50", "y_q97.5", "y_q00.1", "y_lo90", "y_hi90", "y_lo50", "y_hi50"),
        *("y_density", "y_cdf", "y_exceed", "extrapolates", *pairs, *components),
    }


def test_values_are_those_of_the_mixture_of_parameters(everything: Cells) -> None:
    mixture, y = Mixture(everything), numbers(everything, "y")
    np.testing.assert_allclose(mixture.pi.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(numbers(everything, "y_mean"), mixture.mean(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(numbers(everything, "y_std"), mixture.std(), rtol=1e-9)
    density = np.exp(mixture.log_density(y))
    np.testing.assert_allclose(numbers(everything, "y_density"), density, rtol=1e-9)
    np.testing.assert_allclose(numbers(everything, "y_cdf"), mixture.cdf(y), rtol=1e-9, atol=1e-14)
    above = 1.0 - mixture.cdf(np.full(len(y), -0.5))
    np.testing.assert_allclose(numbers(everything, "y_exceed"), above, rtol=1e-9, atol=1e-14)
    heaviest = mixture.mu[np.arange(len(y)), mixture.pi.argmax(axis=1)]
    assert (numbers(everything, "y_component_mean") == heaviest).all()
    assert mixture.pi.argmax(axis=1).max() > 0


def test_quantiles_invert_the_cdf_and_intervals_are_two_of_them(everything: Cells) -> None:
    mixture = Mixture(everything)
    for name, p in (("q00.1", 0.001), ("q05", 0.05), ("q50", 0.5), ("q97.5", 0.975)):
        reached = mixture.cdf(numbers(everything, f"y_{name}"))
        np.testing.assert_allclose(reached, p, rtol=0.0, atol=1e-11)
    for name, p in (("lo90", 0.05), ("hi90", 0.95), ("lo50", 0.25), ("hi50", 0.75)):
        reached = mixture.cdf(numbers(everything, f"y_{name}"))
        np.testing.assert_allclose(reached, p, rtol=0.0, atol=1e-11)
    median = numbers(everything, "y_median")
    np.testing.assert_allclose(numbers(everything, "y_q50"), median, rtol=1e-12, atol=1e-12)


def test_the_mode_is_the_maximum_of_a_dense_grid(everything: Cells) -> None:
    mixture = Mixture(everything)
    top = mixture.log_density(numbers(everything, "y_mode"))
    for share in np.linspace(0.0, 1.0, 301):
        low, high = mixture.mu.min(axis=1), mixture.mu.max(axis=1)
        assert (mixture.log_density(low + share * (high - low)) <= top + 1e-9).all()
    for component in mixture.mu.T:
        assert (mixture.log_density(component) <= top + 1e-9).all()
    # Neither the mean nor the mean of the heaviest component is the mode.
    assert (mixture.log_density(numbers(everything, "y_mean")) < top - 0.1).mean() > 0.5
    assert (mixture.log_density(numbers(everything, "y_component_mean")) < top - 1e-6).any()


def test_a_highest_density_region_holds_its_mass_above_one_level(everything: Cells) -> None:
    mixture, count = Mixture(everything), intervals(everything)
    low, high = (
        numbers(everything, *(f"y_hdr90_{end}{i + 1}" for i in range(count))) for end in ENDS
    )
    used = ~np.isnan(low)
    assert (used == ~np.isnan(high)).all()
    assert (used[:, :-1] >= used[:, 1:]).all()
    assert len(set(used.sum(axis=1))) > 1
    held, level = np.zeros(len(low)), np.full((len(low), count, 2), np.nan)
    for i in range(count):
        rows = used[:, i]
        ends = [np.where(rows, end[:, i], 0.0) for end in (low, high)]
        held += np.where(rows, mixture.cdf(ends[1]) - mixture.cdf(ends[0]), 0.0)
        for side, end in enumerate(ends):
            level[rows, i, side] = mixture.log_density(end)[rows]
    np.testing.assert_allclose(held, 0.9, rtol=0.0, atol=1e-9)
    spread = np.nanmax(level, axis=(1, 2)) - np.nanmin(level, axis=(1, 2))
    assert spread.max() < 1e-8
    central = numbers(everything, "y_hi90") - numbers(everything, "y_lo90")
    assert (np.nansum(high - low, axis=1) <= central + 1e-9).all()


def test_python_gives_the_same_answers(everything: Cells, fitted: Path) -> None:
    model, rows = load(fitted / "model.pt"), read_table(fitted / "data.csv")
    y = model.condition(rows)
    region = y.hdr(0.9)
    same = {
        "y_mean": y.mean(),
        "y_std": y.std(),
        "y_median": y.median(),
        "y_mode": y.mode(),
        "y_component_mean": y.component_mean(),
        "y_q97.5": y.quantile(0.975),
        "y_lo50": y.interval(0.5)[:, 0],
        "y_hi50": y.interval(0.5)[:, 1],
        "y_hdr90_lo1": region[:, 0, 0],
        "y_hdr90_hi2": region[:, 1, 1],
        "y_density": np.exp(y.log_prob(rows["y"])),
        "y_cdf": y.cdf(rows["y"]),
        "y_exceed": y.cdf(-0.5, upper=True),
        "pi0": y.pi[:, 0],
        "pi2": y.pi[:, 2],
        "y_mu3": y.mu[:, 3],
        "y_sigma4": y.sigma[:, 4],
    }
    for name, values in same.items():
        np.testing.assert_allclose(numbers(everything, name), values, rtol=1e-12, err_msg=name)


def test_two_targets_have_a_column_each_except_for_joint_answers(both: Cells) -> None:
    joint = {"density", "extrapolates"} | {f"pi{k}" for k in range(13)}
    both = {name: column for name, column in both.items() if name not in {*"abcuv"}}
    each = {name[2:] for name in both if name not in joint}
    assert {name for name in both if name in joint} == joint
    assert set(both) == joint | {f"{target}_{name}" for target in "uv" for name in each}
    assert each >= {"mean", "std", "median", "mode", "component_mean", "q05", "cdf", "exceed"}
    assert {name for name in each if name.startswith("hdr90_lo")} == {
        f"hdr90_lo{i}" for i in range(1, 9)
    }


def test_answers_about_each_of_two_targets_are_marginal(both: Cells) -> None:
    exceeded = {"u": 15.0, "v": 0.5}
    log_joint = np.log(numbers(both, *(f"pi{k}" for k in range(13))))
    for target in "uv":
        mixture, y = Mixture(both, target), numbers(both, target)
        np.testing.assert_allclose(numbers(both, f"{target}_mean"), mixture.mean(), rtol=1e-9)
        np.testing.assert_allclose(numbers(both, f"{target}_cdf"), mixture.cdf(y), atol=1e-12)
        low = mixture.cdf(numbers(both, f"{target}_lo90"))
        np.testing.assert_allclose(low, 0.05, rtol=0.0, atol=1e-11)
        above = 1.0 - mixture.cdf(np.full(len(y), exceeded[target]))
        np.testing.assert_allclose(numbers(both, f"{target}_exceed"), above, atol=1e-12)
        log_joint += norm.logpdf(y[:, None], mixture.mu, mixture.sigma)
    density = np.exp(logsumexp(log_joint, axis=1))
    np.testing.assert_allclose(numbers(both, "density"), density, rtol=1e-9)


def test_the_mode_of_two_targets_is_one_point_above_every_mean(both: Cells) -> None:
    u, v = Mixture(both, "u"), Mixture(both, "v")

    def log_joint(at_u: np.ndarray, at_v: np.ndarray) -> np.ndarray:
        parts = norm.logpdf(at_u[:, None], u.mu, u.sigma) + norm.logpdf(
            at_v[:, None], v.mu, v.sigma
        )
        return logsumexp(parts, b=u.pi, axis=1)

    mode = numbers(both, "u_mode"), numbers(both, "v_mode")
    top = log_joint(*mode)
    for component in range(13):
        assert (log_joint(u.mu[:, component], v.mu[:, component]) <= top + 1e-9).all()
    for step in (1e-4, -1e-4):
        assert (log_joint(mode[0] + step, mode[1]) <= top).all()
        assert (log_joint(mode[0], mode[1] + step) <= top).all()


def test_marginal_and_logarithms_of_two_targets(here: Run, wide: Path) -> None:
    model, data = wide / "model.pt", wide / "data.csv"
    y = load(model).condition(read_table(data))
    values = read_table(data)[["u", "v"]]
    command = ("predict", model, data, "--only", "--density", "--log")
    joint = table_of(here(*command))
    assert list(joint) == ["log_density"]
    np.testing.assert_allclose(numbers(joint, "log_density"), y.log_prob(values), rtol=1e-12)
    each = table_of(here(*command, "--marginal", "--cdf", "--at-target", "v=0.25"))
    assert set(each) == {"v_log_density", "v_log_cdf"}
    at = np.full((len(y), 2), 0.25)
    wanted = y.log_prob(at, marginal=True)[:, 1], np.log(y.cdf(at)[:, 1])
    np.testing.assert_allclose(numbers(each, "v_log_density"), wanted[0], rtol=1e-12)
    np.testing.assert_allclose(numbers(each, "v_log_cdf"), wanted[1], rtol=1e-9)
    own = table_of(here(*command, "--marginal"))
    assert set(own) == {"u_log_density", "v_log_density"}
    wanted = y.log_prob(values, marginal=True)
    np.testing.assert_allclose(numbers(own, "u_log_density", "v_log_density"), wanted, rtol=1e-12)
    np.testing.assert_array_less(1e-3, abs(wanted.sum(axis=1) - y.log_prob(values)).max())


def test_without_a_question_it_is_the_mean_and_a_90_interval(
    run: Run, here: Run, fitted: Path, everything: Cells
) -> None:
    model, data = fitted / "model.pt", fitted / "data.csv"
    columns = table_of(run("predict", model, data))
    assert list(columns) == ["x", "y", "y_mean", "y_lo90", "y_hi90"]
    assert columns == {name: everything[name] for name in columns}
    assert list(table_of(here("predict", model, data, "--only", "--flag-extrapolation"))) == [
        *("y_mean", "y_lo90", "y_hi90", "extrapolates")
    ]


def test_far_tails_neither_cancel_nor_vanish(here: Run, fitted: Path, everything: Cells) -> None:
    mixture = Mixture(everything)
    # The background is broad, so only much farther out every tail is tiny.
    far = 400.0
    command = ("predict", fitted / "model.pt", fitted / "data.csv", "--only", "--exceed", far)
    plain = numbers(table_of(here(*command)), "y_exceed")
    tails = (mixture.pi * norm.sf(far, mixture.mu, mixture.sigma)).sum(axis=1)
    assert plain.max() < 1e-17
    seen = tails > 1e-300
    assert seen.sum() > 10
    np.testing.assert_allclose(plain[seen], tails[seen], rtol=1e-9)
    logs = table_of(here(*command, "--log", "--density", "--cdf", "--at-target", "1e6"))
    tails = logsumexp(norm.logsf(far, mixture.mu, mixture.sigma), b=mixture.pi, axis=1)
    np.testing.assert_allclose(numbers(logs, "y_log_exceed"), tails, rtol=1e-9)
    at = np.full(len(tails), 1e6)
    np.testing.assert_allclose(numbers(logs, "y_log_density"), mixture.log_density(at), rtol=1e-9)
    assert (numbers(logs, "y_log_density") < -1e6).all()
    reached = logsumexp(norm.logcdf(1e6, mixture.mu, mixture.sigma), b=mixture.pi, axis=1)
    np.testing.assert_allclose(numbers(logs, "y_log_cdf"), reached, rtol=1e-9, atol=1e-14)


def test_at_target_is_the_same_value_for_every_row(
    here: Run, fitted: Path, everything: Cells
) -> None:
    mixture = Mixture(everything)
    rows = "x\n" + "\n".join(everything["x"]) + "\n"
    command = ("predict", fitted / "model.pt", "-", "--density", "--cdf", "--at-target", "y=-1.5")
    columns = table_of(here(*command, stdin=rows.encode()))
    assert list(columns) == ["x", "y_density", "y_cdf"]
    at = np.full(len(mixture.pi), -1.5)
    np.testing.assert_allclose(
        np.log(numbers(columns, "y_density")), mixture.log_density(at), rtol=1e-9
    )
    np.testing.assert_allclose(numbers(columns, "y_cdf"), mixture.cdf(at), rtol=1e-9)


def test_more_intervals_than_columns_are_joined_with_a_warning(here: Run, combs: Path) -> None:
    done = here("predict", combs, "-", "--hdr", "0.9", stdin=b"x\n0\n1\n2\n")
    columns = table_of(done)
    assert list(columns) == ["x", *(f"y_hdr90_{e}{i}" for i in range(1, 9) for e in ("lo", "hi"))]
    assert b"warning: In 3 of 3 rows the region has more intervals" in done.stderr
    given = load(combs).condition([[0.0], [1.0], [2.0]])
    all_of_them = given.hdr(0.9)
    assert all_of_them.shape == (3, 10, 2)
    low, high = (
        numbers(columns, *(f"y_hdr90_{end}{i}" for i in range(1, 9))) for end in ("lo", "hi")
    )
    # The distances between the modes grow, so the first three are the closest.
    np.testing.assert_allclose(low[:, 0], all_of_them[:, 0, 0])
    np.testing.assert_allclose(high[:, 0], all_of_them[:, 2, 1])
    np.testing.assert_allclose(low[:, 1:], all_of_them[:, 3:, 0])
    np.testing.assert_allclose(high[:, 1:], all_of_them[:, 3:, 1])
