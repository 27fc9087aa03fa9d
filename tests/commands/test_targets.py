"""Several targets: full covariances, `--given` and `--correlation`."""

from pathlib import Path

import numpy as np
import pytest
from commands.helpers import Cells, error_of, numbers, table_of, texts_of
from scipy import stats

from mdncli import load
from running import Run, mdn

GIVEN = "a=1.5"


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model of three correlated targets, one with an awkward name."""
    folder = tmp_path_factory.mktemp("three")
    rng = np.random.default_rng(3)
    x = rng.normal(size=500)
    shared = rng.normal(size=500)
    a = x + shared
    b = 5.0 * shared + rng.normal(size=500)
    c = np.where(rng.random(500) < 0.5, 1.0, -1.0) * (2.0 + 0.1 * a) + 0.1 * rng.normal(size=500)
    rows = "".join(
        f"{w!r},{p!r},{q!r},{r!r}\n" for w, p, q, r in np.column_stack([x, a, b, c]).tolist()
    )
    (folder / "data.csv").write_text('x,a,"b,=",c\n' + rows)
    (folder / "few.csv").write_text('x,a,"b,=",c\n' + "".join(rows.splitlines(True)[:40]))
    done = mdn(
        *("fit", "data.csv", "-x", "x", "-t", "a", "-t", "b,=", "-t", "c", "-k", "3"),
        *("--covariance", "full", "--epochs", "60", "-q"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return folder


def predicted(here: Run, folder: Path, *options: str, rows: str = "few.csv") -> Cells:
    return table_of(here("predict", "model.pt", rows, *options, "--only", cwd=folder))


def test_a_conditional_density_is_the_joint_over_the_marginal(here: Run, three: Path) -> None:
    joint = predicted(here, three, "--density", "--log")
    marginal = predicted(here, three, "--density", "--log", "--marginal")
    conditional = predicted(here, three, "--density", "--log", "--given", "c")
    difference = numbers(joint, "log_density") - numbers(marginal, "c_log_density")
    np.testing.assert_allclose(numbers(conditional, "log_density"), difference, atol=1e-9)


def test_the_last_remaining_target_is_answered_like_a_single_one(here: Run, three: Path) -> None:
    one = predicted(here, three, "--density", "--log", "--given", "c", "--given", "b,=")
    both = predicted(here, three, "--density", "--log", "--marginal", "--given", "c")
    joint = predicted(here, three, "--density", "--log", "--given", "c")
    assert list(one) == ["a_log_density"]
    of_pair = numbers(joint, "log_density") - numbers(both, "b,=_log_density")
    np.testing.assert_allclose(numbers(one, "a_log_density"), of_pair, atol=1e-9)
    assert list(predicted(here, three, "--given", "c,a=0.5")) == [
        "b,=_mean",
        "b,=_lo90",
        "b,=_hi90",
    ]


def test_a_given_number_acts_like_the_own_value(here: Run, three: Path, tmp_path: Path) -> None:
    x = "x\n" + "".join(f"{value}\n" for value in (-1.0, 0.0, 2.0))
    own = "x,a,c\n" + "".join(f"{value},1.5,-2\n" for value in (-1.0, 0.0, 2.0))
    (tmp_path / "x.csv").write_text(x)
    (tmp_path / "own.csv").write_text(own)
    by_number = predicted(
        here, three, "--given", "a=1.5,c=-2", "--mean", rows=str(tmp_path / "x.csv")
    )
    by_row = predicted(
        here, three, "--given", "a", "--given", "c", "--mean", rows=str(tmp_path / "own.csv")
    )
    assert by_number == by_row


def test_python_conditions_as_the_command_does(here: Run, three: Path) -> None:
    x = np.array([-1.0, 0.0, 2.0])
    (three / "x.csv").write_text("x\n" + "".join(f"{value}\n" for value in x))
    model = load(three / "model.pt")
    given = model.condition(x[:, None], given={"a": 1.5, "c": np.full(3, -2.0)})
    columns = predicted(here, three, "--given", "a=1.5,c=-2", "--mean", "--std", rows="x.csv")
    np.testing.assert_array_equal(given.mean(), numbers(columns, "b,=_mean"))
    np.testing.assert_array_equal(given.std(), numbers(columns, "b,=_std"))
    joint = model.condition(x[:, None], given={"c": -2.0})
    assert joint.mode().shape == (3, 2)


def test_the_correlation_is_that_of_many_draws(here: Run, three: Path) -> None:
    drawn = table_of(here("sample", "model.pt", "--at", "x=0.5", "--n", "40000", cwd=three))
    (three / "at.csv").write_text("x\n0.5\n")
    columns = predicted(here, three, "--correlation", rows="at.csv")
    pairs = [("a", "b,="), ("a", "c"), ("b,=", "c")]
    assert list(columns) == [f"{one}_{other}_correlation" for one, other in pairs]
    for one, other in pairs:
        found = np.corrcoef(numbers(drawn, one), numbers(drawn, other))[0, 1]
        assert abs(found - numbers(columns, f"{one}_{other}_correlation")[0]) < 0.03
    assert numbers(columns, "a_b,=_correlation")[0] > 0.9
    left = predicted(here, three, "--correlation", "--given", "a=0", rows="at.csv")
    assert list(left) == ["b,=_c_correlation"]


def test_parameters_hold_the_correlation_within_each_component(here: Run, three: Path) -> None:
    (three / "at.csv").write_text("x\n0.5\n")
    columns = predicted(here, three, "--parameters", rows="at.csv")
    density = load(three / "model.pt").network.mixture(np.array([[0.5]]))
    for k in range(4):
        covariance = density.factor[0, k] @ density.factor[0, k].T
        assert numbers(columns, f"a_b,=_correlation{k}")[0] == pytest.approx(covariance[0, 1])
        assert numbers(columns, f"a_c_correlation{k}")[0] == pytest.approx(covariance[0, 2])


def test_samples_given_a_target_follow_its_conditional_density(here: Run, three: Path) -> None:
    options = ("--rows", "data.csv", "--given", "b,=", "--n", "4", "--seed", "2")
    drawn = here("sample", "model.pt", *options, "-o", "drawn.csv", cwd=three)
    assert drawn.returncode == 0, drawn.stderr
    columns = table_of(
        here("predict", "model.pt", "drawn.csv", "--given", "b,=", "--cdf", cwd=three)
    )
    assert list(columns)[:4] == ["x", "a", "b,=", "c"]
    kept = table_of(here("predict", "model.pt", "data.csv", "--mean", cwd=three))["b,="]
    assert columns["b,="] == list(np.repeat(kept, 4))
    for target in ("a", "c"):
        assert stats.kstest(numbers(columns, f"{target}_cdf"), "uniform").pvalue > 1e-3
    joint = table_of(here("predict", "model.pt", "drawn.csv", "--cdf", "--only", cwd=three))
    assert list(joint) == ["a_cdf", "b,=_cdf", "c_cdf"]


def test_a_bad_row_has_no_answer_and_disturbs_no_other(here: Run, three: Path) -> None:
    (three / "bad.csv").write_text("x,a\n0,1\n0.5,\n1,2\n")
    options = ("predict", "model.pt", "bad.csv", "--given", "a", "--mean", "--only")
    assert "row 2, line 3, column 'a': the cell is empty" in error_of(here(*options, cwd=three), 65)
    columns = table_of(here(*options, "--on-bad-rows", "skip", cwd=three))
    np.testing.assert_array_equal(np.isnan(numbers(columns, "c_mean")), [False, True, False])


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        (("predict", "few.csv", "--given", "A=1"), 65, "Did you mean 'a'?"),
        (("predict", "few.csv", "--given", "a=1,a"), 2, "names 'a' twice"),
        (
            ("predict", "few.csv", "--given", "a=one"),
            2,
            "--given of 'a' is 'one': it must be a",
        ),
        (("predict", "few.csv", "--given", "a,b,="), 65, "'b'"),
        (("predict", "few.csv", "--given", "a,c", "--given", "b,="), 2, "names every target"),
        (
            ("predict", "few.csv", "--given", "a,c", "--correlation"),
            2,
            "--correlation needs two targets",
        ),
        (("predict", "x.csv", "--given", "a"), 65, "--given NAME=VALUE"),
        (("predict", "few.csv", "--given", "a", "--exceed", "a=1"), 65, "no target 'a'"),
        (("sample", "--at", "x=1", "--given", "a"), 2, "Add --rows FILE"),
        (("plot", "--given", "a"), 2, "only --kind row and --kind pairs have rows"),
        (
            ("plot", "few.csv", "--kind", "calibration", "--given", GIVEN),
            2,
            "--given cannot be used with --kind calibration",
        ),
        (("plot", "few.csv", "--kind", "pairs"), 2, "give the table with --rows"),
        (("plot", "--kind", "pairs", "--given", "a=1,c=2"), 65, "two targets or more"),
    ],
)
def test_refusals(
    here: Run, three: Path, command: tuple[str, ...], status: int, message: str
) -> None:
    (three / "x.csv").write_text("x\n1\n")
    words = list(command)
    words.insert(1, "model.pt")
    if words[0] == "plot":
        words += ["-o", "refused.png"]
    assert message in error_of(here(*words, cwd=three), status)
    assert not (three / "refused.png").exists()


@pytest.mark.parametrize("kind", ["overview", "density", "intervals", "samples", "pairs"])
def test_pictures_given_a_target(here: Run, three: Path, kind: str) -> None:
    for given, name in ((GIVEN, "one.svg"), ("a=-1", "other.svg")):
        done = here(
            *("plot", "model.pt", "--kind", kind, "--given", given, "-q", "-o", name), cwd=three
        )
        assert (done.returncode, done.stderr) == (0, b"")
    one, other = ((three / name).read_bytes() for name in ("one.svg", "other.svg"))
    assert any("b,=" in text for text in texts_of(one))
    assert one != other


@pytest.mark.parametrize("rho", [0.999, 0.99999])
def test_nearly_collinear_targets_are_learned(here: Run, tmp_path: Path, rho: float) -> None:
    rng = np.random.default_rng(0)
    x, first, rest = rng.normal(size=(3, 600))
    u = np.sin(x) + first
    v = 1e4 + 100.0 * (x + rho * first + np.sqrt(1.0 - rho**2) * rest)
    rows = np.column_stack([x, u, v])
    np.savetxt(tmp_path / "data.csv", rows, delimiter=",", header="x,u,v", comments="", fmt="%.17g")
    fit = ("fit", "data.csv", "-t", "u,v", "-k", "2", "--epochs", "100", "-q")
    nll = {}
    for covariance in ("diagonal", "full"):
        done = here(*fit, "--covariance", covariance, "-o", f"{covariance}.pt")
        assert done.returncode == 0, done.stderr
        model = load(tmp_path / f"{covariance}.pt")
        nll[covariance] = float(model.network.mean_nll(rows[:, :1], rows[:, 1:]))
    assert nll["full"] < nll["diagonal"] - 1.0
    columns = table_of(here("predict", "full.pt", "data.csv", "--correlation", "--only"))
    assert np.median(numbers(columns, "u_v_correlation")) > 0.95


def test_with_one_target_full_is_diagonal(here: Run, tmp_path: Path) -> None:
    assert here("generate", "sinusoid", "--n", "100", "-o", "data.csv").returncode == 0
    for covariance in ("diagonal", "full"):
        options = ("--epochs", "3", "-q", "--covariance", covariance, "-o", f"{covariance}.pt")
        assert here("fit", "data.csv", *options).returncode == 0
    one, other = (
        load(tmp_path / f"{each}.pt").condition([[0.0], [1.0]]) for each in ("diagonal", "full")
    )
    np.testing.assert_array_equal(one.mean(), other.mean())
    np.testing.assert_array_equal(one.log_prob(0.5), other.log_prob(0.5))


def test_counts_have_probabilities(here: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    x = rng.uniform(0.0, 1.0, 300)
    counts = rng.poisson(0.5 + 4.0 * x)
    rows = [f"{a},{b}" for a, b in zip(x.round(3), counts, strict=True)]
    (tmp_path / "d.csv").write_text("\n".join(["x,y", *rows]) + "\n")
    done = here("fit", "d.csv", "--steps", "60", "-k", "3")
    assert done.returncode == 0, done.stderr
    said = done.stderr.decode()
    assert "'y' is rounded: the model gives the probabilities of values 1 apart from 0 on." in said
    asked = ("--probability", "--density", "--cdf", "--exceed", "2", "--mean", "--mode", "--hdr")
    found = table_of(here("predict", "model.pt", "d.csv", *asked, "0.5", "--interval", "0.9"))
    probability = numbers(found, "y_probability")
    np.testing.assert_allclose(probability, numbers(found, "y_density"), rtol=1e-12)
    below = table_of(here("predict", "model.pt", "d.csv", "--cdf", "--at-target", "-1", "--only"))
    assert set(below["y_cdf"]) == {"0"}
    each = [
        numbers(
            table_of(
                here("predict", "model.pt", "d.csv", "--probability", "--at-target", k, "--only")
            ),
            "y_probability",
        )
        for k in ("0", "1", "2")
    ]
    np.testing.assert_allclose(np.sum(each, axis=0), 1.0 - numbers(found, "y_exceed"), atol=1e-12)
    whole = numbers(found, "y_mode", "y_lo90", "y_hi90", "y_hdr50_lo1", "y_hdr50_hi1")
    np.testing.assert_array_equal(whole, np.rint(whole))
    drawn = numbers(table_of(here("sample", "model.pt", "--n", "200")), "y")
    assert drawn.min() >= 0.0
    np.testing.assert_array_equal(drawn, np.rint(drawn))
    shown = here("inspect", "model.pt").stdout.decode()
    assert "number, rounded" in shown
    for kind in ("density", "intervals", "calibration", "modes", "row"):
        more = ("--rows", "d.csv") if kind == "row" else ()
        data = () if kind == "row" else ("d.csv",)
        done = here("plot", "model.pt", *data, "--kind", kind, *more, "-o", "p.png")
        assert done.returncode == 0, (kind, done.stderr)


def test_questions_that_need_a_rounded_target(here: Run, fitted: Path, tmp_path: Path) -> None:
    done = here("predict", fitted / "model.pt", fitted / "data.csv", "--probability")
    message = error_of(done, 2)
    assert "--probability is for a target of which values have a probability" in message
    assert "--target-kind rounded" in message
    (tmp_path / "d.csv").write_text("x,y\n" + "".join(f"{i},{i * i / 7}\n" for i in range(30)))
    message = error_of(here("fit", "d.csv", "--target-kind", "rounded", "-q"), 2)
    assert "--target-kind continuous" in message
    (tmp_path / "n.csv").write_text("x,y\n" + "".join(f"{i},{i % 5 - 1}\n" for i in range(30)))
    message = error_of(here("fit", "n.csv", "--lower", "0", "-q"), 65)
    assert "row 1, line 2, column 'y': -1 is not at least --lower 0" in message
