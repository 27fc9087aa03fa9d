"""What the README says holds: its examples run, and what it names exists."""

import functools
import json
import re
import shutil
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer

import mdncli
from mdncli.commands.app import app
from running import mdn

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SAMPLES = (ROOT / "sample_data/README.md").read_text(encoding="utf-8")
BENCHMARKS = (ROOT / "tests/benchmarks/README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
EXAMPLE = re.compile(r"<!-- example -->\n```sh\n(.*?)```", re.DOTALL)
PNG = b"\x89PNG\r\n\x1a\n"

# The headings with examples that share their files, in the order of the README.
CHAINS = {
    "learning": [
        *("Three commands", "Scoring many rows", "`mdn generate`", "`mdn fit`"),
        *("Exactly one network", "How much effort", "Interrupted fits"),
        *("New rows for an old model", "How many components", "Bounds"),
        "Which rows are held out",
    ],
    "answers": [
        *("`mdn sample`", "`mdn predict`", "`mdn evaluate`", "`mdn inspect`", "`mdn plot`"),
        *("`mdn export`", "Tables"),
    ],
    "shop": ["Intervals for my table", "What columns hold"],
    "counts": [
        *("Counts and other rounded targets", "Zeros and caps"),
        *("Survival times and detection limits", "Angles and times of day"),
    ],
    "arm": ["An inverse problem", "Several targets", "Simulation-based inference"],
    "large": ["Several files", "A table larger than the memory"],
}
# Files that a chain finds, by those of `fitted`, since an earlier chain makes them too.
FOUND = {"data.csv": "data.csv", "model.pt": "model.pt", "with-baseline.pt": "model.pt"}
# The number of intervals depends on the model, so `check_output` leaves out their numbers.
REGIONS = [f"y_hdr90_{end}" for end in ("lo", "hi")]
GIVEN = [f"theta2_hdr90_{end}" for end in ("lo", "hi")]
ARM = ["x1", "x2", "theta1", "theta2"]
RAIN, PROBABILITIES = ["pressure", "month", "rain"], ["rain_probability", "rain_exceed"]
STUDY, ANGLE = (
    ["dose", "age", "event", "months"],
    ["mean", "mode", "lo90", "hi90", "hdr90_lo", "hdr90_hi"],
)
SHOP = ["size", "colour", "day", "count", "price"]
SCORES = {"nll", "crps", "rmse", "coverage", "width", "pit_ks", "pit_ks_p", "rows", "skill"}
FIT = {"model", "features", "target", "rows", "mixtures", "nll_train", "nll_valid", "seconds", "cv"}
# What the examples of a chain write: the rows and columns of a table, the keys of a JSON object,
# the features, targets and components of a model, or the kind of a picture. A ladder of models has
# as many components as the rows choose; a single network has one more than K, the background.
OUTPUTS = {
    "large": {
        "parts": None,
        "parts.pt": (["x"], ["y"], 3 + 1),
        "means.parquet": (5000, ["y_mean"]),
        "long.csv": (20_000, ["x", "y"]),
        "from-disk.pt": (["x"], ["y"], 3 + 1),
    },
    "learning": {
        "data.csv": (1000, ["x", "y"]),
        "model.pt": (["x"], ["y"], None),
        "answers.csv": (1000, ["x", "y", "y_median", "y_lo90", "y_hi90"]),
        "overview.png": "png",
        "samples.csv": (1000, ["x", "y"]),
        "fit.json": FIT,
        "many.parquet": (100_000, ["x", "y"]),
        "answers.parquet": (100_000, ["y_mean", "y_std"]),
        "answers.csv.gz": (100_000, ["x", "y", "y_exceed", "extrapolates"]),
        "scores.json": SCORES,
        "bishop.csv": (500, ["x", "y"]),
        "eight.pt": (["x"], ["y"], 8 + 1),
        "with-baseline.pt": (["x"], ["y"], None),
        "one.pt": (["x"], ["y"], 5 + 1),
        "bare.pt": (["x"], ["y"], 8),
        "ensemble.pt": (["x"], ["y"], None),
        "auto.pt": (["x"], ["y"], None),
        "limited.pt": (["x"], ["y"], None),
        "long.pt": (["x"], ["y"], None),
        "new.csv": (1000, ["x", "y"]),
        "newer.pt": (["x"], ["y"], None),
        "skewed.csv": (1000, ["x", "y"]),
        "positive.pt": (["x"], ["y"], None),
        "positive.csv": (1000, ["x", "y", "y_mean", "y_mode", "y_lo90", "y_hi90", "y_cdf"]),
        "cv.pt": (["x"], ["y"], 5 + 1),
        "cv.json": FIT,
    },
    "answers": {
        "answers.csv": (1000, ["x", "y", "y_mean", "y_lo90", "y_hi90"]),
        "scores.json": SCORES,
        "at.csv": (1000, ["component", "x", "y"]),
        "three-each.csv": (3000, ["x", "y"]),
        "sharper.csv": (1000, ["x", "y"]),
        "quantiles.csv": (1000, ["y_median", "y_q05", "y_q50", "y_q95"]),
        "regions.csv": (1000, ["x", "y", "y_mode", *REGIONS]),
        "densities.csv": (1000, ["x", "y", "y_log_density", "y_log_cdf", "y_log_exceed"]),
        "at-zero.csv": (1000, ["x", "y", "y_cdf", "extrapolates"]),
        "test.csv": (1000, ["x", "y"]),
        "rows.csv": (1000, ["x", "y", "nll", "y_crps", "y_error", "y_pit"]),
        "model.json": {"kind", "features", "targets", "architecture", "settings", "origin"},
        "density.png": "png",
        "components.svg": "svg",
        "comparison.png": "png",
        "calibration.png": "png",
        "residuals.pdf": "pdf",
        "rows.png": "png",
        "model.safetensors": None,
        "model.onnx": None,
        "abroad.csv": None,
        "abroad.pt": (["x"], ["y"], 5 + 1),
        "answers.tsv.gz": (1000, ["x", "y", "y_mean", "y_lo90", "y_hi90"]),
        "bishop.parquet": (2500, ["x", "y"]),
        "bishop.pt": (["x"], ["y"], 5 + 1),
    },
    "shop": {
        "shop.csv": (400, SHOP),
        "old.csv": (300, SHOP),
        "new.csv": (100, SHOP),
        "shop.pt": (["size", "colour", "day"], ["price"], None),
        "intervals.csv": (
            100,
            [*SHOP, "price_median", "price_lo80", "price_hi80", "price_lo95", "price_hi95"],
        ),
        "weighted.pt": (["size", "colour", "day"], ["price"], 5 + 1),
        "other.pt": (["size", "colour", "count"], ["price"], 5 + 1),
    },
    "counts": {
        "calls.csv": (1500, ["hour", "calls"]),
        "calls.pt": (["hour"], ["calls"], None),
        "probabilities.csv": (
            1500,
            [*("hour", "calls", "calls_lo90", "calls_hi90"), "calls_probability", "calls_exceed"],
        ),
        "none.csv": (1500, ["calls_probability"]),
        "calls.png": "png",
        "rain.csv": (2000, RAIN),
        "rain.pt": (["pressure", "month"], ["rain"], None),
        "rain-answers.csv": (
            2000,
            [*RAIN, *(f"rain_hdr90_{end}" for end in ("lo", "hi")), *PROBABILITIES],
        ),
        "rain.png": "png",
        "study.csv": (1500, STUDY),
        "study.pt": (["dose", "age"], ["months"], None),
        "alive.csv": (
            1500,
            [*STUDY, "months_median", *(f"months_survival{time}" for time in (6, 12, 24))],
        ),
        "survival.png": "png",
        "wind.csv": (1500, ["hour", "direction"]),
        "wind.pt": (["hour"], ["direction"], None),
        "wind-answers.csv": (
            1500,
            ["hour", "direction", *(f"direction_{name}" for name in ANGLE)],
        ),
    },
    "arm": {
        "arm.csv": (1000, ARM),
        "arm.pt": (["x1", "x2"], ["theta1", "theta2"], None),
        "hands.csv": (100, ARM),
        "modes.csv": (100, [*ARM, "theta1_mode", "theta2_mode"]),
        "solutions.csv": (100, ARM),
        "arms.png": "png",
        "joint.csv": (
            100,
            [*ARM, "theta1_mode", "theta2_mode", "theta1_theta2_correlation"],
        ),
        "given.csv": (
            100,
            [*ARM, "theta2_median", *GIVEN, "theta2_log_density"],
        ),
        "elbow.csv": (100, ARM),
        "given.png": "png",
        "moons.csv": (10_000, ARM),
        "moons.pt": (["x1", "x2"], ["theta1", "theta2"], 12 + 1),
        "observation.csv": (1, ["x1", "x2"]),
        "posterior.csv": (10_000, ARM),
        "two_moons.png": "png",
        "new.csv": (1000, ARM),
    },
}
PRINTED = {
    "learning": [],
    "answers": ["mdn fit abroad.csv --delimiter ';' --decimal ,", "improvement over the marginal"],
    "shop": ["size,colour,day,price_mean,price_lo90,price_hi90", "90% intervals cover"],
    "counts": ["with only a limit of the target"],
    "arm": ["NLL of the exact posterior: -3."],
    "large": [],
}


def sections(text: str) -> Iterator[tuple[str, str]]:
    """Yield each heading of a Markdown file, and the text up to the next one."""
    outside = re.sub(r"```.*?```", lambda block: block[0].replace("\n#", "\n "), text, flags=re.S)
    parts = re.split(r"^#+ (.*)\n", outside, flags=re.MULTILINE)
    yield from zip(parts[1::2], parts[2::2], strict=True)


def examples() -> dict[str, list[str]]:
    """Return the examples by their headings."""
    found = {heading: EXAMPLE.findall(text) for heading, text in sections(README)}
    return {heading: scripts for heading, scripts in found.items() if scripts}


def run_script(script: str, folder: Path) -> str:
    """Run a shell script with the commands of this Python, and return its standard output."""
    # The first fit is run as it stands. The others take fewer steps, unless they say how many.
    shorter = '[ "$1" != fit ] || [ "$*" = "fit data.csv" ] || [[ "$*" = *--steps* ]]'
    shell = f'set -euo pipefail\nmdn() {{ {shorter} || set -- "$@" --steps 50\n'
    shell += f'"{sys.executable}" -m mdncli "$@"; }}\n'
    shell += f'python() {{ "{sys.executable}" "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-c", shell + script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{script}\n{done.stderr}"
    return done.stdout


def png_size(content: bytes) -> tuple[int, int]:
    """Return the width and height of a PNG in pixels, from its IHDR chunk."""
    assert content.startswith(PNG)
    assert content[12:16] == b"IHDR"
    return struct.unpack(">II", content[16:24])


def check_picture(path: Path, kind: str) -> None:
    content = path.read_bytes()
    if kind == "png":
        assert all(400 <= pixels <= 4000 for pixels in png_size(content)), path.name
    elif kind == "svg":
        assert ET.fromstring(content).tag.endswith("}svg")
    else:
        assert content.startswith(b"%PDF-")
        assert content.rstrip().endswith(b"%%EOF")


def check_output(path: Path, expected: object) -> None:
    """Check that a file holds what the chain's table says."""
    if expected is None:
        return
    if isinstance(expected, str):
        check_picture(path, expected)
    elif isinstance(expected, set):
        assert expected <= set(json.loads(path.read_text())), path.name
    elif path.suffix == ".pt":
        features, targets, components = expected
        model = mdncli.load(path)
        assert (model.schema.feature_names, model.schema.target_names) == (features, targets)
        assert components in (None, model.network.components), path.name
    else:
        rows, columns = expected
        table = mdncli.read_table(path)
        names = dict.fromkeys(re.sub(r"(_hdr90_\w\w)\d$", r"\1", name) for name in table.columns)
        assert (len(table), list(names)) == (rows, columns), path.name


@pytest.mark.quick
def test_every_example_belongs_to_one_chain() -> None:
    assert sorted(examples()) == sorted(each for chain in CHAINS.values() for each in chain)


@pytest.mark.parametrize("chain", CHAINS)
def test_the_examples_run_and_write_what_they_should(
    chain: str, fitted: Path, tmp_path: Path
) -> None:
    found = FOUND if chain == "answers" else {}
    for name, source in found.items():
        shutil.copy(fitted / source, tmp_path / name)
    scripts = [script for heading in CHAINS[chain] for script in examples()[heading]]
    printed = "".join(run_script(script, tmp_path) for script in scripts)
    for words in PRINTED[chain]:
        assert words in printed
    assert {path.name for path in tmp_path.iterdir()} == {*found, *OUTPUTS[chain]}
    for name, expected in OUTPUTS[chain].items():
        check_output(tmp_path / name, expected)


def test_the_python_examples_run(
    fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("data.csv", "model.pt"):
        shutil.copy(fitted / name, tmp_path)
    arm = tmp_path / "arm.csv"
    assert mdn("generate", "robot-arm", "--inverse", "-o", arm).returncode == 0
    fit = ("fit", arm, "-t", "theta1,theta2", "--steps", "20", "-o", tmp_path / "arm.pt", "-q")
    assert mdn(*fit).returncode == 0
    monkeypatch.chdir(tmp_path)
    first, tables, distributions, regressor, graph = map(
        run_python, (code for kind, code in BLOCK.findall(README) if kind == "python")
    )

    asked = ["x", "y", "y_mean", "y_q05", "y_q95", "y_hdr90_lo1"]
    assert list(first["answers"].columns[:6]) == asked
    assert first["draws"].shape == (10_000, 2)
    assert np.isfinite(first["nll"])
    assert len(first["figure"].axes) == 3
    assert first["model"].network.components == 8 + 1
    assert [each.kind for each in tables["model"].schema.features] == ["number", "category", "date"]
    carried = list(tables["shop"].columns)
    added = ["price_mean", "price_lo90", "price_hi90"]
    assert list(tables["answers"].columns) == carried + added
    components = mdncli.load("model.pt").network.components
    assert distributions["y"].pi.shape == (2, components)
    assert distributions["theta2"].names == ["theta2"]
    assert regressor["reg"].predict(regressor["rows"][["x"]]).shape == (1000,)
    assert (graph["mean"].shape, graph["quantiles"].shape) == ((1000, 1), (1000, 1, 3))
    assert mdncli.load("sklearn.pt").network.components == 5 + 1


def run_python(code: str) -> dict:
    """Run an example by itself, and return its names."""
    names: dict = {}
    exec(code, names)
    return names


@pytest.mark.quick
def test_there_are_exactly_two_set_up_commands() -> None:
    [part] = re.findall(r"<!-- set-up -->(.*?)<!-- end of set-up -->", README, re.DOTALL)
    commands = re.findall(r"```sh\n(.*?)\n```", part, re.DOTALL)
    assert len(commands) == 2
    assert all("\n" not in command for command in commands)


# What the texts name.


@functools.cache
def options_by_command() -> dict[str, set[str]]:
    """Return the options of every command, as its help lists them."""
    group = typer.main.get_command(app)
    commands = {"": group, **group.commands}
    return {
        name: {"--help"}
        | {o for each in command.params for o in (*each.opts, *each.secondary_opts) if o[0] == "-"}
        for name, command in commands.items()
    }


def command_lines(text: str) -> list[tuple[str, set[str]]]:
    """Return the name and the options of every `mdn` command in the shell blocks of a text."""
    scripts = [code for kind, code in BLOCK.findall(text) if kind == "sh"]
    pieces = [piece for script in scripts for piece in re.split(r"\||&&|\n", script)]
    words = [piece.split() for piece in pieces if piece.split()[:1] == ["mdn"]]
    return [(line[1], {word for word in line[2:] if re.match(r"--?[a-z]", word)}) for line in words]


@pytest.mark.quick
@pytest.mark.parametrize("text", [README, SAMPLES], ids=["README.md", "sample_data/README.md"])
def test_every_command_line_uses_options_that_its_command_has(text: str) -> None:
    lines = command_lines(text)
    assert lines
    for command, options in lines:
        assert options <= options_by_command()[command], command


@pytest.mark.quick
def test_every_option_in_the_prose_exists() -> None:
    prose = BLOCK.sub("", re.sub(r"<!--.*?-->", "", README))
    spans = re.findall(r"`([^`]+)`", prose)
    named = {option for span in spans for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", span)}
    known = set().union(*options_by_command().values())
    assert len(named) > len(known) / 2
    assert named <= known


@pytest.mark.quick
def test_every_command_has_a_section_with_an_example() -> None:
    commands = set(options_by_command()) - {""}
    assert commands == {h[5:-1] for h in examples() if h.startswith("`mdn ")}
    assert commands <= {command for command, _ in command_lines(README)}


@pytest.mark.quick
def test_every_option_of_predict_that_asks_a_question_is_in_its_table() -> None:
    text = dict(sections(README))["`mdn predict`"]
    named = set(re.findall(r"--[a-z-]+", text))
    reading = options_by_command()["evaluate"] | {"--given", "--marginal"}
    assert options_by_command()["predict"] - reading <= named


@pytest.mark.quick
@pytest.mark.parametrize("text", [README, BENCHMARKS], ids=["README.md", "benchmarks/README.md"])
def test_every_benchmark_that_is_named_takes_the_options_that_are_named(text: str) -> None:
    lines = re.findall(r"python (tests/benchmarks/\w+\.py)([^\n>]*)", text)
    for script, words in lines:
        assert (ROOT / script).is_file(), script
        for option in re.findall(r"--[a-z-]+", words):
            assert f'"{option}"' in (ROOT / script).read_text(), f"{script} {option}"
    if text is README:
        marked = re.findall(r"<!-- figures: python (\S+) .*?-->\n\|.*?<!-- end of", text, re.DOTALL)
        scripts = {path.name for path in (ROOT / "tests/benchmarks").glob("*.py")}
        # Two help the others, and the figures of two are not in the README.
        without = {"markdown_table.py", "coverage.py", "sbi.py", "real_tables.py"}
        assert {Path(name).name for name in marked} == scripts - without


def slug(heading: str) -> str:
    """Return the anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.quick
@pytest.mark.parametrize(
    "path", ["README.md", "sample_data/README.md", "tests/benchmarks/README.md"]
)
def test_links_lead_somewhere(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    anchors = {slug(heading) for heading, _ in sections(text)}
    for target in re.findall(r"\]\((.*?)\)", BLOCK.sub("", text)):
        file, _, anchor = target.partition("#")
        assert ((ROOT / path).parent / file).exists(), target
        assert not anchor or anchor in anchors, target


# Pictures and sample tables.


@pytest.mark.quick
def test_every_picture_is_a_png_that_the_sample_readme_says_how_to_draw() -> None:
    pictures = re.findall(r"!\[(.*?)\]\((.*?)\)", README)
    files = {path.name for path in (ROOT / "sample_data/figures").iterdir()}
    assert {Path(path).name for _, path in pictures} == files
    for description, path in pictures:
        assert description
        width, height = png_size((ROOT / path).read_bytes())
        assert 600 <= width <= 2400, path
        assert 300 <= height <= 2400, path
        drawn = rf"mdn plot .*-o figures/{re.escape(Path(path).name)}\n"
        assert len(re.findall(drawn, SAMPLES)) == 1, path
