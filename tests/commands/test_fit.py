"""The options of `mdn fit`: members, presets, the minimum σ, groups, and warnings."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from mdncli import load
from running import Run

RNG = np.random.default_rng(0)


def write(path: Path, header: str, *columns: np.ndarray) -> Path:
    lines = (",".join(map(str, row)) for row in zip(*columns, strict=True))
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def fitted(run: Run, *arguments: str | Path) -> tuple[dict, str]:
    """Return the JSON that `fit --json` prints, and standard error."""
    done = run("fit", *arguments, "--json", "-o", "model.pt")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr.decode()


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    x = RNG.uniform(-3.0, 3.0, 200)
    return write(tmp_path / "plain.csv", "x,y", x, np.sin(x) + 0.2 * RNG.normal(size=200))


def test_members_form_one_mixture_for_every_command(run: Run, plain: Path) -> None:
    result, message = fitted(run, plain, "--members", "3", "-k", "2", "--epochs", "30")
    assert (result["members"], result["mixtures"]) == (3, 2)
    assert len(result["components"]) == 3
    assert "120 of them held out" in message
    samples = run("sample", "model.pt", "--n", "500", "--component").stdout.decode().splitlines()
    assert {line.split(",")[0] for line in samples[1:]} <= set("0123456")
    assert run("plot", "model.pt", plain).returncode == 0
    assert run("plot", "model.pt", "--kind", "training").returncode == 0


def test_several_members_beat_each_of_them_on_fresh_rows(here: Run, plain: Path) -> None:
    fitted(here, plain, "--no-ladder", "--members", "5", "--steps", "300")
    density = load(plain.parent / "model.pt").network
    x = np.linspace(-2.9, 2.9, 4000)[:, None]
    y = np.sin(x) + 0.2 * np.random.default_rng(5).normal(size=x.shape)
    alone = [-mixture.log_prob(y).mean() for mixture in density.member_mixtures(x)]
    assert density.mean_nll(x, y) < min(np.mean(alone), np.median(alone))


def test_an_option_overrides_the_preset(here: Run, plain: Path) -> None:
    result, _ = fitted(here, plain, "--preset", "best", "--epochs", "2", "-k", "2")
    assert result["members"] > 1
    assert (result["mixtures"], result["epochs"]) == (2, 2)
    result, _ = fitted(
        here, plain, "--preset", "best", "--no-ladder", "--members", "2", "--epochs", "2"
    )
    assert result["members"] == 2
    by_default, _ = fitted(here, plain, "-q", "--steps", "100")
    one = (plain.parent / "model.pt").read_bytes()
    assert by_default == by_default | fitted(
        here, plain, "-q", "--steps", "100", "--preset", "default"
    )[0] | {"seconds": by_default["seconds"]}
    assert (plain.parent / "model.pt").read_bytes() == one


@pytest.mark.parametrize("options", [("--members", "3"), ("--preset", "best", "--epochs", "3")])
def test_the_same_seed_gives_the_same_ensemble(here: Run, plain: Path, options: tuple) -> None:
    files = []
    for seed in ("0", "0", "1"):
        fitted(here, plain, "--epochs", "5", *options, "--seed", seed)
        files.append((plain.parent / "model.pt").read_bytes())
    assert files[0] == files[1] != files[2]


def test_a_memory_is_shown_and_a_smooth_table_has_none(run: Run, plain: Path) -> None:
    result, message = fitted(run, plain, "--steps", "20")
    assert result["memory"] == {}
    assert result["forest"] is None
    assert "trees" not in message
    result, message = fitted(run, plain, "--memory", "on", "-k", "2", "--epochs", "5")
    memory = result["memory"]
    assert memory["forest"] == result["forest"]
    assert memory["forest"]["trees"] == 100
    assert memory["forest"]["nodes"] > 10_000
    assert 1 <= memory["boosted"]["trees"] <= 250
    assert memory["neighbours"]["rows"] <= result["rows"]
    [rung] = result["rungs"]
    assert rung["reads"] == ["forest", "boosted", "neighbours"]
    assert rung["reads_forest"]
    inspected = json.loads(run("inspect", "model.pt", "--json").stdout)
    assert inspected["rungs"] == result["rungs"]
    for text in (message, run("inspect", "model.pt").stdout.decode()):
        words = " ".join(text.split())
        assert "100 trees, whose leaves hold single targets" in words
        assert f"the file holds {memory['neighbours']['rows']} training rows" in words
    answers = run("predict", "model.pt", plain, "--only", "--mean", "--cdf")
    assert answers.returncode == 0, answers.stderr
    cdf = np.array([float(line.split(",")[1]) for line in answers.stdout.decode().split()[1:]])
    assert 0.2 < cdf.mean() < 0.8


def test_a_private_model_holds_no_rows(run: Run, plain: Path) -> None:
    options = "--memory", "on", "--private", "-k", "2", "--epochs", "5"
    result, message = fitted(run, plain, *options)
    assert list(result["memory"]) == ["boosted"]
    assert result["rungs"][0]["reads"] == ["boosted"]
    assert "training rows:" not in message
    assert run("predict", "model.pt", plain).returncode == 0


def test_a_private_model_names_no_column_that_it_does_not_need(run: Run, tmp_path: Path) -> None:
    rows = [f"{k},{k % 7},{k % 3},{k % 5}" for k in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["a,secret,team,y", *rows]) + "\n")
    options = "--ignore", "secret", "--group", "team", "--epochs", "2", "-k", "1", "-q"
    kept = {}
    for private in ((), ("--private",)):
        assert run("fit", "t.csv", *options, *private).returncode == 0
        kept[private] = (tmp_path / "model.pt").read_bytes()
    digest = hashlib.sha256((tmp_path / "t.csv").read_bytes()).hexdigest().encode()
    for word in (b"secret", b"team", digest):
        assert word in kept[()]
        assert word not in kept[("--private",)]


def test_a_memory_for_too_few_rows_is_refused(run: Run, plain: Path) -> None:
    short = plain.parent / "short.csv"
    short.write_text("\n".join(plain.read_text().split()[:50]) + "\n")
    done = run("fit", short, "--memory", "on")
    assert done.returncode == 65
    message = " ".join(done.stderr.decode().split())
    assert "needs at least 50 rows" in message
    assert "Leave out --memory on." in message
    assert not (plain.parent / "model.pt").exists()


def test_k_auto_prefers_few_components_and_reports_what_it_tried(here: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1.0, 1.0, 600)
    one = write(tmp_path / "one.csv", "x,y", x, 2.0 * x + 0.3 * rng.normal(size=600))
    result, message = fitted(here, one, "-k", "auto", "--steps", "300")
    assert result["mixtures"] <= 2
    assert "tried K = 1" in message
    assert set(result["tried"]) >= {"1", "2"}
    sign = rng.choice([-1.0, 1.0], 600)
    two = write(tmp_path / "two.csv", "x,y", x, sign * (2.0 + x) + 0.1 * rng.normal(size=600))
    result, _ = fitted(here, two, "-k", "auto")
    assert 2 <= result["mixtures"] <= 3
    lowest = min(result["tried"].values())
    assert result["tried"]["1"] > lowest + 0.5


def test_a_target_in_steps_has_a_minimum_sigma_and_no_density_above_one_over_the_step(
    here: Run, tmp_path: Path
) -> None:
    x = RNG.uniform(-1.0, 1.0, 400)
    y = np.round(3.0 * x + 0.5 * RNG.normal(size=400))
    data = write(tmp_path / "steps.csv", "x,y", x, y)
    kind = "--target-kind", "continuous"
    result, message = fitted(here, data, "--steps", "100", *kind)
    assert "'y' was recorded in steps of 1" in message
    assert result["resolution"] == 0.0
    density = load(tmp_path / "model.pt").network
    points = np.linspace(-1.0, 1.0, 50)[:, None]
    for value in np.linspace(-4.0, 4.0, 81):
        assert (density.nll(points, np.full((50, 1), value)) >= -1e-9).all()
    result, message = fitted(
        *(here, data, "--no-ladder", "--min-sigma", "0.001", *kind),
        *("--epochs", "300", "--patience", "300"),
    )
    assert result["nll_train"] < 0.0
    assert "is lower than the steps of the target support" in message


def test_min_sigma_of_several_targets_goes_by_name(here: Run, wide: Path, tmp_path: Path) -> None:
    data = wide / "data.csv"
    fitted(here, data, "-t", "u,v", "--min-sigma", "u=0.5,v=0.25", "--epochs", "2")
    schema = load(tmp_path / "model.pt").network.schema
    assert [target.min_sigma for target in schema.targets] == [0.5, 0.25]
    for value, status, word in (
        ("0.1", 2, "--min-sigma u=0.1,v=0.1"),
        ("w=1", 65, "no target 'w'"),
        ("u=0", 2, "must be positive"),
        ("u=1e-30", 65, "at least"),
    ):
        done = here("fit", data, "-t", "u,v", "--min-sigma", value)
        assert done.returncode == status, done.stderr
        assert word in done.stderr.decode()


def test_a_value_shared_by_many_rows_is_named(here: Run, tmp_path: Path) -> None:
    x = RNG.normal(size=300)
    y = np.where(RNG.random(300) < 0.2, 0.0, np.exp(x + RNG.normal(size=300)))
    continuous = "--epochs", "2", "--target-kind", "continuous"
    _, message = fitted(here, write(tmp_path / "pile.csv", "x,y", x, y), *continuous)
    assert "of the rows have exactly 0 as 'y'" in message
    assert "Use --atom 0 to learn the probability of that value" in message


def test_a_feature_that_is_nearly_the_target_is_named(here: Run, tmp_path: Path) -> None:
    y = RNG.normal(size=500)
    leak = y + 1e-6 * RNG.normal(size=500)
    data = write(tmp_path / "leak.csv", "a,leak,y", RNG.normal(size=500), leak, y)
    result, message = fitted(here, data, "--no-ladder")
    assert "'leak' is nearly the target 'y' itself" in message
    assert "'a' is nearly" not in message
    assert result["nll_valid"] < -2.0


def test_groups_stay_together_and_are_not_a_feature(here: Run, tmp_path: Path) -> None:
    # Rows of a group are nearly equal. If a group is in both parts, its held-out rows get far
    # too good a score.
    group = np.repeat(np.arange(40), 10)
    x = RNG.normal(size=40)[group]
    y = RNG.normal(size=40)[group] + 0.01 * RNG.normal(size=400)
    names = np.array([f"g{each}" for each in group])
    data = write(tmp_path / "groups.csv", "who,x,y", names, x, y)
    split, _ = fitted(here, data, "--no-ladder", "--ignore", "who")
    whole, _ = fitted(here, data, "--no-ladder", "--group", "who")
    assert whole["features"] == ["x"]
    assert whole["nll_valid"] > split["nll_valid"] + 0.5
    members, _ = fitted(here, data, "--group", "who", "-k", "2", "--members", "3", "--epochs", "3")
    assert members["members"] == 3


@pytest.mark.parametrize(
    ("options", "status", "word"),
    [
        (("--group", "z"), 65, "no column 'z'"),
        (("--group", "x"), 65, "no feature is left"),
        (("--group", "x", "-x", "x"), 2, "'x' is used by --group, so it cannot also be"),
        (("--group", "y", "--valid-file", "plain.csv"), 2, "exclude each other"),
        (("--valid-file", "none.csv"), 66, "none.csv"),
        (("--valid-file", "other.csv"), 65, "no column 'y'"),
        (("--valid-file", "header.csv"), 65, "no rows to hold out"),
        (("-k", "auto", "--valid-file", "header.csv"), 65, "no rows to hold out"),
        (("--min-sigma", "small"), 2, "--min-sigma is 'small': it must be a finite number"),
        (("-k", "many"), 2, "--mixtures: 'many' is not a whole number or auto"),
        (("-k", "0"), 2, "--mixtures is 0"),
        (("--members", "0"), 2, "--members is 0"),
        (("--preset", "slow"), 2, "slow"),
        (("--dropout", "1"), 2, "--dropout is 1.0"),
        (("--noise-x", "-1"), 2, "--noise-x is -1.0"),
        (("--noise-y", "much"), 2, "--noise-y: 'much' is not a number or auto"),
        (("--time-limit", "0"), 2, "--time-limit is 0.0"),
        (("-k", "1000000000000"), 2, "from 1 to 100000"),
        (("--lr", "1e308"), 2, "--lr is 1e+308"),
    ],
)
def test_refusals(here: Run, plain: Path, options: tuple, status: int, word: str) -> None:
    write(plain.parent / "other.csv", "x,z", np.arange(20), np.arange(20))
    (plain.parent / "header.csv").write_text("x,y\n", encoding="utf-8")
    done = here("fit", plain, *options)
    assert done.returncode == status, done.stderr
    assert word in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert not (plain.parent / "model.pt").exists()


def test_the_rows_of_a_validation_file_are_held_out(here: Run, plain: Path) -> None:
    x = np.linspace(-2.0, 2.0, 50)
    own = write(plain.parent / "own.csv", "y,extra,x", np.sin(x), np.zeros(50), x)
    for members in ("1", "3"):
        result, message = fitted(
            here, plain, "--valid-file", own, "--members", members, "--epochs", "30"
        )
        assert result["rows"] == 250
        density = load(plain.parent / "model.pt").network
        nll = density.mean_nll(x[:, None], np.sin(x)[:, None])
        assert result["nll_valid"] == pytest.approx(nll, abs=1e-5)
    _, message = fitted(here, plain, "--valid-file", own, "--valid", "0.3", "--epochs", "2")
    assert "warning: --valid has no effect: --valid-file gives the rows" in message


def test_a_time_limit_ends_with_the_best_so_far(here: Run, plain: Path) -> None:
    options = ("--epochs", "1000000", "--patience", "1000000", "--time-limit", "1")
    result, message = fitted(here, plain, *options)
    assert result["stopped"] == "time"
    assert 0.9 < result["seconds"]["train"] < 4.0
    assert "the time limit" in message
    assert here("sample", "model.pt", "--n", "5").returncode == 0


def test_three_faults_write_the_best_model_and_end_with_1(run: Run, plain: Path) -> None:
    done = run(
        "fit", plain, "--no-ladder", "--lr", "1e4", "--epochs", "60", "--json", "-o", "model.pt"
    )
    if done.returncode == 0:
        pytest.skip("learning held at this rate here")
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["stopped"] == "faults"
    assert "the best model before that was written" in done.stderr.decode()
    assert run("sample", "model.pt", "--n", "5").returncode == 0


def test_when_nothing_is_finite_nothing_is_written(run: Run, plain: Path) -> None:
    done = run("fit", plain, "--lr", "1e25")
    assert done.returncode == 65
    assert b"so there is no model" in done.stderr
    assert not (plain.parent / "model.pt").exists()


@pytest.mark.parametrize(
    "options",
    [
        ("--dropout", "0.2"),
        ("--noise-x", "auto", "--noise-y", "0.05"),
        ("--noise-x", "0.1", "--members", "2"),
    ],
)
def test_regularizers_change_what_is_learned(here: Run, plain: Path, options: tuple) -> None:
    without, _ = fitted(here, plain, "--epochs", "40")
    result, _ = fitted(here, plain, "--epochs", "40", *options)
    assert result["nll_train"] != without["nll_train"]
    assert result["nll_train"] < result["nll_unconditional"]


def test_progress_shows_the_references(here: Run, plain: Path) -> None:
    result, message = fitted(here, plain, "--baseline", "--epochs", "20")
    assert f"(marginal reference {result['nll_unconditional']:.4f})" in message
    assert "NLL, least squares" in message
    assert result["nll_baseline"] < result["nll_unconditional"]
    assert message.count("A negative NLL") <= 1


def test_repeated_rows_bring_sigma_to_its_minimum_with_a_warning(here: Run, tmp_path: Path) -> None:
    x, y = np.random.default_rng(3).normal(size=(2, 12)).repeat(20, axis=1)
    data = write(tmp_path / "repeated.csv", "x,y", x, y)
    options = (
        "-k",
        "1",
        "--hidden",
        "32",
        "--steps",
        "1500",
        "--min-sigma",
        "0.1",
        "--dropout",
        "0",
        "--valid",
        "0",
    )
    result, message = fitted(here, data, *options)
    [member] = result["components"]
    assert set(member) == {"weight", "leads", "at_floor", "effective", "duplicates"}
    assert np.dot(member["weight"], member["at_floor"]) > 0.5
    assert "warning: σ is at its minimum for most of the weight" in message


def test_the_use_of_the_components_is_reported(here: Run, plain: Path) -> None:
    result, message = fitted(here, plain, "-k", "3", "--epochs", "30")
    [member] = result["components"]
    assert f"effective components: {member['effective']:.1f} of 3" in message
    assert sum(member["weight"]) == pytest.approx(1.0)
    assert sum(member["leads"]) == pytest.approx(1.0)


def test_a_coarse_target_that_widens_a_shared_sigma_gives_a_warning(
    here: Run, tmp_path: Path
) -> None:
    x = RNG.normal(size=100)
    columns = x, x + 0.1 * RNG.normal(size=100), (x > 0.0).astype(int)
    data = write(tmp_path / "mixed.csv", "x,a,b", *columns)
    options = ("-t", "a,b", "--epochs", "2")
    _, message = fitted(here, data, *options, "--covariance", "isotropic")
    assert "because 'b' was recorded in large steps" in message
    _, message = fitted(here, data, *options)
    assert "isotropic" not in message
