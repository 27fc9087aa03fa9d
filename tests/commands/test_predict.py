"""`mdn predict` as a user runs it: every question, its columns and its values, and refusals."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands.helpers import Cells, Mixture, cells, error_of, numbers, table_of
from scipy.special import logsumexp
from scipy.stats import norm

from mdncli import load, read_table, save
from mdncli.commands.answers import _ROWS_AT_ONCE
from mdncli.density.network import Perceptron
from running import Run, mdn

EVERYTHING = (
    *("--mean", "--std", "--median", "--mode", "--component-mean", "--parameters"),
    *("--quantiles", "0.05,0.5,0.975", "--quantiles", "0.001", "--interval", "0.9,0.5"),
    *("--hdr", "0.9", "--density", "--cdf", "--exceed", "-0.5", "--flag-extrapolation"),
)


@pytest.fixture(scope="module")
def everything(fitted: Path) -> Cells:
    """Every question at once about every row of the model's own table."""
    return table_of(mdn("predict", "model.pt", "data.csv", *EVERYTHING, cwd=fitted))


@pytest.fixture(scope="module")
def both(wide: Path) -> Cells:
    """Every question at once about two targets, and their values."""
    options = [*EVERYTHING]
    options[options.index("-0.5")] = "u=15,v=0.5"
    rows = b"".join((wide / "data.csv").read_bytes().splitlines(keepends=True)[:101])
    return table_of(mdn("predict", "model.pt", "-", *options, cwd=wide, stdin=rows))


@pytest.fixture(scope="module")
def combs(fitted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model whose density has ten narrow tops, wherever x is."""
    model = load(fitted / "model.pt")
    tops = 10
    apart = np.cumsum(np.arange(tops) + 1.0)
    head = np.concatenate([np.zeros(tops), apart, np.full(tops, np.log(0.1))])
    [first] = model.networks
    last = np.zeros((len(head), first.layers[-1][0].shape[1])), head
    network = Perceptron(first.activation, first.frequencies, [*first.layers[:-1], last])
    comb = replace(
        model,
        networks=[network],
        architecture=replace(model.architecture, mixtures=tops),
        record=replace(model.record, components=[]),
        reference=None,
        baseline=None,
    )
    path = tmp_path_factory.mktemp("combs") / "comb.pt"
    save(comb, path)
    return path


# What the columns say, against SciPy and against Python.


def test_columns_have_the_names_of_the_plan(everything: Cells) -> None:
    pairs = [f"y_hdr90_{end}{i}" for i in range(1, 6) for end in ("lo", "hi")]
    components = [f"{part}{k}" for k in range(1, 6) for part in ("pi", "y_mu", "y_sigma")]
    assert set(everything) == {
        *("x", "y", "y_mean", "y_std", "y_median", "y_mode", "y_component_mean"),
        *("y_q05", "y_q50", "y_q97.5", "y_q00.1", "y_lo90", "y_hi90", "y_lo50", "y_hi50"),
        *("y_density", "y_cdf", "y_exceed", "extrapolates", *pairs, *components),
    }


def test_values_are_those_of_the_mixture_that_parameters_tell(everything: Cells) -> None:
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


def test_the_mode_is_the_top_of_a_dense_grid(everything: Cells) -> None:
    mixture = Mixture(everything)
    top = mixture.log_density(numbers(everything, "y_mode"))
    for share in np.linspace(0.0, 1.0, 301):
        low, high = mixture.mu.min(axis=1), mixture.mu.max(axis=1)
        assert (mixture.log_density(low + share * (high - low)) <= top + 1e-9).all()
    for component in mixture.mu.T:
        assert (mixture.log_density(component) <= top + 1e-9).all()
    # So neither the mean nor the heaviest component's mean would do.
    assert (mixture.log_density(numbers(everything, "y_mean")) < top - 0.1).mean() > 0.5
    assert (mixture.log_density(numbers(everything, "y_component_mean")) < top - 1e-6).any()


def test_a_highest_density_region_holds_its_mass_above_one_level(everything: Cells) -> None:
    mixture = Mixture(everything)
    low, high = (
        numbers(everything, *(f"y_hdr90_{end}{i}" for i in range(1, 6))) for end in ("lo", "hi")
    )
    used = ~np.isnan(low)
    assert (used == ~np.isnan(high)).all()
    assert (used[:, :-1] >= used[:, 1:]).all()
    assert len(set(used.sum(axis=1))) > 1
    held, level = np.zeros(len(low)), np.full((len(low), 5, 2), np.nan)
    for i in range(5):
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
        "pi2": y.pi[:, 1],
        "y_mu3": y.mu[:, 2],
        "y_sigma4": y.sigma[:, 3],
    }
    for name, values in same.items():
        np.testing.assert_allclose(numbers(everything, name), values, rtol=1e-12, err_msg=name)


def test_two_targets_have_a_column_each_but_joint_ones(both: Cells) -> None:
    joint = {"density", "extrapolates"} | {f"pi{k}" for k in range(1, 13)}
    both = {name: column for name, column in both.items() if name not in {*"abcuv"}}
    each = {name[2:] for name in both if name not in joint}
    assert {name for name in both if name in joint} == joint
    assert set(both) == joint | {f"{target}_{name}" for target in "uv" for name in each}
    assert each >= {"mean", "std", "median", "mode", "component_mean", "q05", "cdf", "exceed"}
    assert {name for name in each if name.startswith("hdr90_lo")} == {
        f"hdr90_lo{i}" for i in range(1, 9)
    }


def test_two_targets_are_marginal_where_they_should_be(both: Cells) -> None:
    exceeded = {"u": 15.0, "v": 0.5}
    log_joint = np.log(numbers(both, *(f"pi{k}" for k in range(1, 13))))
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
    for component in range(12):
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
    far = 40.0
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


def test_at_target_asks_the_same_of_every_row(run: Run, fitted: Path, everything: Cells) -> None:
    mixture = Mixture(everything)
    rows = "x\n" + "\n".join(everything["x"]) + "\n"
    command = ("predict", fitted / "model.pt", "-", "--density", "--cdf", "--at-target", "y=-1.5")
    columns = table_of(run(*command, stdin=rows.encode()))
    assert list(columns) == ["x", "y_density", "y_cdf"]
    at = np.full(len(mixture.pi), -1.5)
    np.testing.assert_allclose(
        np.log(numbers(columns, "y_density")), mixture.log_density(at), rtol=1e-9
    )
    np.testing.assert_allclose(numbers(columns, "y_cdf"), mixture.cdf(at), rtol=1e-9)


def test_more_intervals_than_columns_are_joined_with_a_warning(run: Run, combs: Path) -> None:
    done = run("predict", combs, "-", "--hdr", "0.9", stdin=b"x\n0\n1\n2\n")
    columns = table_of(done)
    assert list(columns) == ["x", *(f"y_hdr90_{e}{i}" for i in range(1, 9) for e in ("lo", "hi"))]
    assert b"warning: in 3 of 3 rows the region has more intervals" in done.stderr
    given = load(combs).condition([[0.0], [1.0], [2.0]])
    all_of_them = given.hdr(0.9)
    assert all_of_them.shape == (3, 10, 2)
    low, high = (
        numbers(columns, *(f"y_hdr90_{end}{i}" for i in range(1, 9))) for end in ("lo", "hi")
    )
    # The tops stand ever further apart: the first three are the closest.
    np.testing.assert_allclose(low[:, 0], all_of_them[:, 0, 0])
    np.testing.assert_allclose(high[:, 0], all_of_them[:, 2, 1])
    np.testing.assert_allclose(low[:, 1:], all_of_them[:, 3:, 0])
    np.testing.assert_allclose(high[:, 1:], all_of_them[:, 3:, 1])


# Rows and cells.


def test_cells_are_carried_through_as_the_very_text(run: Run, fitted: Path) -> None:
    table = (
        b'id,"a, b",x,note,y\n'
        b'007,"1,5", 0.10 ,"say ""so""",?\n'
        b'08,,1e0,"two\nlines",\n'
        b"\xe2\x82\xac,0.10,+2.50,x y,abc\n"
    )
    columns = table_of(run("predict", fitted / "model.pt", "-", "--mean", stdin=table))
    given = cells(table)
    assert {name: columns[name] for name in given} == given
    assert list(columns) == [*given, "y_mean"]
    mean = load(fitted / "model.pt").condition([[0.1], [1.0], [2.5]]).mean()
    np.testing.assert_allclose(numbers(columns, "y_mean"), mean, rtol=1e-12)


def test_rows_keep_their_order_and_their_answers(
    here: Run, fitted: Path, everything: Cells
) -> None:
    order = np.random.default_rng(0).permutation(len(everything["x"]))[:333]
    rows = "\n".join(["x", *(everything["x"][i] for i in order)])
    columns = table_of(
        here("predict", fitted / "model.pt", "-", *EVERYTHING[:6], stdin=rows.encode())
    )
    assert columns["x"] == [everything["x"][i] for i in order]
    for name in ("y_mean", "y_std", "y_median", "y_mode", "y_component_mean", "pi1"):
        np.testing.assert_allclose(
            numbers(columns, name), numbers(everything, name)[order], rtol=1e-9, atol=1e-9
        )


def test_a_table_of_several_pieces(run: Run, fitted: Path, tmp_path: Path) -> None:
    count = _ROWS_AT_ONCE + 7
    x = np.round(np.random.default_rng(0).uniform(-10.0, 10.0, count), 3).astype(str)
    x[[5, count - 2]], x[count - 1] = "", "1000"
    # An empty line would be no row.
    (tmp_path / "long.csv").write_text("\n".join(["x", *(each or '""' for each in x)]) + "\n")
    command = ("predict", fitted / "model.pt", "long.csv", "--mean", "--flag-extrapolation")
    done = run(*command, "--on-bad-rows", "skip", "-o", "answers.csv")
    assert done.returncode == 0, done.stderr
    assert f"warning: 2 of {count} rows have a cell that cannot be used".encode() in done.stderr
    assert f"warning: 1 of {count} rows have a feature outside".encode() in done.stderr
    columns = cells((tmp_path / "answers.csv").read_bytes())
    assert columns["x"] == x.tolist()
    for name in ("y_mean", "extrapolates"):
        assert [i for i, cell in enumerate(columns[name]) if not cell] == [5, count - 2]
    assert [i for i, flag in enumerate(columns["extrapolates"]) if flag == "1"] == [count - 1]
    few = [0, 1, count - 3]
    mean = load(fitted / "model.pt").condition(x[few].astype(float)).mean()
    np.testing.assert_allclose(numbers(columns, "y_mean")[few], mean, rtol=1e-12)


def test_a_header_alone_gives_a_header(run: Run, here: Run, fitted: Path, wide: Path) -> None:
    done = run("predict", fitted / "model.pt", "-", *EVERYTHING, stdin=b"id,x,y\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"\n") == 1
    assert done.stdout.startswith(b"id,x,y,y_mean,y_std,")
    done = here("predict", wide / "model.pt", "-", "--hdr", "0.5", "--mode", stdin=b"c,b,a\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"c,b,a,u_mode,v_mode,u_hdr50_lo1,")


def test_targets_are_needed_only_by_questions_about_their_values(
    here: Run, wide: Path, tmp_path: Path
) -> None:
    rows = b"c,b,a\n3.0,50,0\n"
    command = ("predict", wide / "model.pt", "-", "--only")
    free = ("--mean", "--std", "--median", "--mode", "--component-mean", "--parameters")
    table_of(
        here(*command, *free, "--quantiles", "0.5", "--hdr", "0.5", "--exceed", "u=1", stdin=rows)
    )
    table_of(here(*command, "--density", "--at-target", "u=15,v=0", stdin=rows))
    (tmp_path / "rows.csv").write_bytes(b"a,b,c,u\n0,50,3,15\n")
    for question in ("--density", "--cdf"):
        message = error_of(here("predict", wide / "model.pt", "rows.csv", question), 65)
        assert "no column 'v'" in message
        assert "--at-target" in message


def test_rows_outside_the_training_range_are_flagged(
    here: Run, wide: Path, both: Cells, tmp_path: Path
) -> None:
    data = read_table(wide / "data.csv")[["a", "b", "c"]].to_numpy()
    low, high = data.min(axis=0), data.max(axis=0)
    edge = 0.1 * (high - low)
    middle = np.median(data, axis=0)
    rows, flags = [middle], [0]
    for column in range(3):
        for end, side in ((low, -1.0), (high, 1.0)):
            for share, flag in ((0.0, 0), (0.99, 0), (1.01, 1), (20.0, 1)):
                row = middle.copy()
                row[column] = end[column] + side * share * edge[column]
                rows.append(row)
                flags.append(flag)
    lines = ["a,b,c", *(",".join(map(repr, row.tolist())) for row in rows)]
    (tmp_path / "r.csv").write_text("\n".join(lines))
    done = here("predict", wide / "model.pt", "r.csv", "--mean", "--flag-extrapolation")
    assert table_of(done)["extrapolates"] == [str(flag) for flag in flags]
    warning = f"warning: {sum(flags)} of {len(flags)} rows have a feature outside".encode()
    assert done.stderr.startswith(warning)
    without = here("predict", wide / "model.pt", "r.csv", "-q")
    assert "extrapolates" not in table_of(without)
    assert without.stderr == done.stderr
    assert set(both["extrapolates"]) == {"0"}


BAD = b"id,x,y\n1,0.5,1\n2,,2\n3,abc,3\n4,99,4\n5,inf,5\n6,2.5,\n7,NaN,7\n"


def test_a_bad_row_is_named_and_nothing_is_written(here: Run, fitted: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(BAD)
    (tmp_path / "old.csv").write_bytes(b"as it was")
    for more in ((), ("-o", "old.csv"), ("--on-bad-rows", "fail")):
        message = error_of(here("predict", fitted / "model.pt", "rows.csv", *more), 65)
        assert message.startswith("error: rows.csv, row 2, line 3, column 'x': the cell is empty")
        assert "; row 7, line 8, column 'x': 'NaN' stands for a missing value. No cell" in message
        assert "--on-bad-rows skip" in message
    assert (tmp_path / "old.csv").read_bytes() == b"as it was"


def test_skipped_rows_stay_with_empty_answers_and_are_counted(
    run: Run, here: Run, fitted: Path
) -> None:
    command = ("predict", fitted / "model.pt", "-", "--on-bad-rows", "skip", "--flag-extrapolation")
    done = run(*command, *EVERYTHING[:-1], stdin=BAD)
    columns = table_of(done)
    assert {name: columns[name] for name in ("id", "x", "y")} == cells(BAD)
    answers = [name for name in columns if name not in ("id", "x", "y")]
    empty = [all(columns[name][row] == "" for name in answers) for row in range(7)]
    assert empty == [False, True, True, False, True, True, True]
    assert b"warning: 5 of 7 rows have a cell that cannot be used" in done.stderr
    assert b"row 2, line 3, column 'x': the cell is empty" in done.stderr
    assert b"warning: 1 of 7 rows have a feature outside" in done.stderr
    assert [columns["extrapolates"][row] for row in (0, 3)] == ["0", "1"]
    good = table_of(here(*command, *EVERYTHING[:-1], stdin=b"id,x,y\n1,0.5,1\n4,99,4\n"))
    for name in answers:
        rows = numbers(columns, name)[[0, 3]]
        np.testing.assert_allclose(rows, numbers(good, name), rtol=1e-12, err_msg=name)


def test_a_bad_target_matters_only_where_it_is_asked_for(
    here: Run, fitted: Path, tmp_path: Path
) -> None:
    rows = b"x,y\n1,\n2,3\n3,none\n"
    command = ("predict", fitted / "model.pt", "-", "--mean", "--only")
    free = table_of(here(*command, stdin=rows))
    assert "" not in free["y_mean"]
    # A lone empty answer is no empty line, which readers would pass over.
    lone = here(*command[:3], "--cdf", "--only", "--on-bad-rows", "skip", stdin=rows)
    assert [cell == "" for cell in table_of(lone)["y_cdf"]] == [True, False, True]
    assert b"\n\n" not in lone.stdout
    (tmp_path / "rows.csv").write_bytes(rows)
    message = error_of(here("predict", fitted / "model.pt", "rows.csv", "--mean", "--cdf"), 65)
    assert "rows.csv, row 1, line 2, column 'y': the cell is empty" in message


# Refusals.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--quantiles", "0"), "--quantiles is 0"),
        (("--quantiles", "0.5,1"), "--quantiles is 1"),
        (("--quantiles", "abc"), "'abc' is not a finite number"),
        (("--quantiles", "nan"), "'nan' is not a finite number"),
        (("--interval", "90"), "--interval is 90"),
        (("--hdr", "-0.1"), "--hdr is -0.1"),
        (("--mean", "--log"), "--log is for --density"),
        (("--at-target", "1"), "--density or --cdf"),
        (("--mean", "--marginal"), "--marginal says which --density"),
        (("--exceed", "much"), "'much' is not a finite number"),
        (("--cdf", "--at-target", "y=1,y=2"), "names 'y' twice"),
        (("--std",), "'y_std' already. Write the answers alone with --only"),
        (("--on-bad-rows", "ignore"), "'ignore'"),
        (("-o", "rows.csv"), "would replace an input"),
        (("-o", "model.pt"), "would replace an input"),
    ],
)
def test_wrong_usage(here: Run, fitted: Path, tmp_path: Path, options: tuple, words: str) -> None:
    (tmp_path / "rows.csv").write_bytes(b"x,y,y_std\n1,2,3\n")
    (tmp_path / "model.pt").write_bytes((fitted / "model.pt").read_bytes())
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert words in error_of(here("predict", "model.pt", "rows.csv", *options), 2)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_several_targets_need_by_name(here: Run, wide: Path) -> None:
    command = ("predict", wide / "model.pt", wide / "data.csv", "--only")
    for options, status, word in (
        (("--exceed", "15"), 2, "NAME=NUMBER"),
        (("--density", "--at-target", "u=15"), 2, "'v' is missing"),
        (("--exceed", "w=1"), 65, "no target 'w'"),
    ):
        assert word in error_of(here(*command, *options), status)


def test_a_clash_is_none_with_only(here: Run, fitted: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"x,y,y_mean,extrapolates\n1,2,3,4\n")
    (tmp_path / "old.csv").write_bytes(b"as it was")
    command = ("predict", fitted / "model.pt", "rows.csv", "--mean", "--flag-extrapolation")
    message = error_of(here(*command, "-o", "old.csv"), 2)
    assert "'y_mean', 'extrapolates'" in message
    assert "--only" in message
    assert (tmp_path / "old.csv").read_bytes() == b"as it was"
    assert list(table_of(here(*command, "--only"))) == ["y_mean", "extrapolates"]


@pytest.mark.parametrize(
    ("model", "rows", "status", "words"),
    [
        ("model.pt", "renamed.csv", 65, ["no column 'x'", "Did you mean 'X'?"]),
        ("model.pt", "ragged.csv", 65, ["ragged.csv, row 2", "3 fields"]),
        ("model.pt", "empty.csv", 65, ["empty.csv", "empty"]),
        ("model.pt", "nowhere.csv", 66, ["nowhere.csv: there is no such file"]),
        ("nowhere.pt", "renamed.csv", 66, ["nowhere.pt: there is no such file"]),
        ("renamed.csv", "renamed.csv", 65, ["this is not a model file"]),
        ("-", "-", 2, ["Only one of MODEL and ROWS"]),
    ],
)
def test_what_is_refused(
    here: Run, fitted: Path, tmp_path: Path, model: str, rows: str, status: int, words: list
) -> None:
    (tmp_path / "model.pt").write_bytes((fitted / "model.pt").read_bytes())
    (tmp_path / "renamed.csv").write_bytes(b"X,y\n1,2\n")
    (tmp_path / "ragged.csv").write_bytes(b"x,y\n1,2\n1,2,3\n")
    (tmp_path / "empty.csv").write_bytes(b"")
    message = error_of(here("predict", model, rows), status)
    assert all(word in message for word in words), message


# Streams.


def test_models_and_rows_come_through_pipes(
    run: Run, here: Run, fitted: Path, everything: Cells
) -> None:
    model, data = fitted / "model.pt", fitted / "data.csv"
    command = ("--mean", "--hdr", "0.9")
    by_model = here("predict", "-", data, *command, stdin=model.read_bytes())
    by_rows = run("predict", model, "-", *command, "-o", "-", stdin=data.read_bytes())
    assert by_model.stdout == by_rows.stdout
    assert by_model.stderr == by_rows.stderr == b""
    columns = table_of(by_rows)
    assert columns == {name: everything[name] for name in columns}


def test_a_file_holds_the_same_bytes_every_time(run: Run, fitted: Path, tmp_path: Path) -> None:
    command = ("predict", fitted / "model.pt", fitted / "data.csv", "--mode", "--median")
    done = run(*command, "-o", "answers.csv")
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr == b"wrote answers.csv\n"
    assert run(*command).stdout == (tmp_path / "answers.csv").read_bytes()


def test_a_reader_that_leaves_early_ends_it_quietly(fitted: Path) -> None:
    # 100,000 rows of parameters do not fit into a pipe, so the writer meets the closed end.
    script = (
        f'(echo x; seq 100000) | "{sys.executable}" -m mdncli predict model.pt - --parameters'
        " --on-bad-rows skip 2> message | head -2; echo ${PIPESTATUS[1]}; cat message; rm message"
    )
    done = subprocess.run(
        ["bash", "-c", script], cwd=fitted, capture_output=True, text=True, check=True
    )
    *rows, status = done.stdout.splitlines()
    assert status == "0"
    assert [row.split(",")[0] for row in rows] == ["x", "1"]


def test_a_failed_output_leaves_the_file_before(fitted: Path, tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_bytes(b"as it was")
    script = 'ulimit -f 4; exec "$0" -m mdncli predict "$@" -o out.csv'
    arguments = [sys.executable, str(fitted / "model.pt"), str(fitted / "data.csv")]
    done = subprocess.run(
        ["bash", "-c", script, *arguments], cwd=tmp_path, capture_output=True, check=False
    )
    assert error_of(done, 74).startswith("error: out.csv: cannot be written")
    assert os.listdir(tmp_path) == ["out.csv"]
    assert (tmp_path / "out.csv").read_bytes() == b"as it was"


def test_help_shows_every_question(run: Run) -> None:
    message = run("predict", "--help").stdout.decode()
    for option in (*EVERYTHING, "--log", "--marginal", "--at-target", "--only", "--on-bad-rows"):
        assert not option.startswith("--") or option in message
    assert "Example: mdn predict" in message
    assert "search" in message
