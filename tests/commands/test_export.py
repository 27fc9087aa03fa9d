"""`mdn export`: the file, its name, its format, and every refusal."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from commands.helpers import error_of
from safetensors.numpy import load

from mdncli import load as load_model
from mdncli import read_table
from running import Run, mdn


def test_the_name_of_the_model_with_the_suffix_of_the_format(
    here: Run, fitted: Path, tmp_path: Path
) -> None:
    (tmp_path / "my.model.pt").write_bytes((fitted / "model.pt").read_bytes())
    for options, name in (((), "my.model.safetensors"), (("--format", "onnx"), "my.model.onnx")):
        done = here("export", "my.model.pt", *options)
        assert (done.returncode, done.stdout) == (0, b"")
        assert done.stderr == f"wrote {name}\n".encode()
    tensors = load((tmp_path / "my.model.safetensors").read_bytes())
    model = load_model(fitted / "model.pt").network
    weight, _ = model.main.networks[0].layers[0]
    np.testing.assert_array_equal(tensors["rung.0.network.0.layers.0.weight"], weight)


def test_a_process_of_its_own_writes_what_the_method_writes(fitted: Path, tmp_path: Path) -> None:
    model = load_model(fitted / "model.pt")
    for name, options in (("m.onnx", ("--quantiles", "0.1,0.9")), ("m.safetensors", ())):
        done = mdn("export", fitted / "model.pt", "-o", name, *options, "-q", cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        model.export(tmp_path / f"own-{name}", quantiles=options[1:] or None)
        assert (tmp_path / name).read_bytes() == (tmp_path / f"own-{name}").read_bytes()


def test_a_graph_answers_as_predict_does(here: Run, fitted: Path, tmp_path: Path) -> None:
    assert here("export", fitted / "model.pt", "-o", "m.onnx", "--quantiles", "0.2").returncode == 0
    asked = ("--mean", "--quantiles", "0.2", "--parameters", "--only", "-o", "answers.csv")
    assert here("predict", fitted / "model.pt", fitted / "data.csv", *asked).returncode == 0
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    names = [each.name for each in session.get_outputs()]
    x = read_table(fitted / "data.csv")["x"].to_numpy()
    found = dict(zip(names, session.run(None, {"x": x}), strict=True))
    ours = read_table(tmp_path / "answers.csv")
    np.testing.assert_allclose(found["mean"][:, 0], ours["y_mean"], atol=1e-4)
    np.testing.assert_allclose(found["quantiles"][:, 0, 0], ours["y_q20"], atol=1e-4)
    for component in (0, 3):
        np.testing.assert_allclose(found["pi"][:, component], ours[f"pi{component}"], atol=1e-5)
        for part in ("mu", "sigma"):
            values = found[part][:, component, 0]
            np.testing.assert_allclose(values, ours[f"y_{part}{component}"], atol=1e-4)


def test_the_suffix_chooses_the_format_unless_an_option_does(
    here: Run, fitted: Path, tmp_path: Path
) -> None:
    model = fitted / "model.pt"
    for options in (("-o", "a.ONNX"), ("-o", "b.bin", "--format", "onnx")):
        assert here("export", model, *options).returncode == 0
    assert (tmp_path / "a.ONNX").read_bytes() == (tmp_path / "b.bin").read_bytes()


def test_standard_input_and_output(here: Run, run: Run, fitted: Path, tmp_path: Path) -> None:
    content = (fitted / "model.pt").read_bytes()
    done = run("export", "-", "-o", "-", stdin=content)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "background.mu" in load(done.stdout)
    assert here("export", fitted / "model.pt", "-o", "m.safetensors").returncode == 0
    assert (tmp_path / "m.safetensors").read_bytes() == done.stdout
    assert run("export", "-", stdin=content).stderr == b"wrote model.safetensors\n"


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("-o", "m.pb"), 2, "'m.pb' ends neither in .safetensors nor in .onnx"),
        (("--format", "onnx", "--quantiles", "1"), 2, "--quantiles is 1: it must be between"),
        (("--quantiles", "0.5"), 2, "--quantiles is for --format onnx"),
        (("--format", "h5"), 2, "'h5' is not one of"),
        (("-o", "nowhere/m.onnx"), 74, "there is no such folder"),
    ],
)
def test_refusals(
    here: Run, fitted: Path, tmp_path: Path, options: tuple[str, ...], status: int, words: str
) -> None:
    (tmp_path / "model.pt").write_bytes((fitted / "model.pt").read_bytes())
    assert words in error_of(here("export", "model.pt", *options), status)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_a_model_is_not_replaced_and_must_be_one(here: Run, fitted: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes((fitted / "model.pt").read_bytes())
    message = error_of(here("export", "model.onnx", "--format", "onnx"), 2)
    assert "would replace an input" in message
    error_of(here("export", "nowhere.pt"), 66)
    assert "not a model file" in error_of(here("export", fitted / "data.csv", "-o", "m.onnx"), 65)


def test_a_model_that_reads_training_rows_keeps_the_file_that_is_there(
    here: Run, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    rows = "\n".join(f"{a},{b},{round(a) + b}" for a, b in rng.normal(size=(60, 2)).tolist())
    (tmp_path / "t.csv").write_text(f"a,b,y\n{rows}\n")
    fit = ("fit", "t.csv", "-k", "2", "--steps", "5", "--memory", "on", "-q")
    assert here(*fit).returncode == 0
    (tmp_path / "m.onnx").write_bytes(b"before")
    message = error_of(here("export", "model.pt", "-o", "m.onnx"), 65)
    assert "reads the nearest training rows" in message
    assert "--private" in message
    assert (tmp_path / "m.onnx").read_bytes() == b"before"
    assert here(*fit, "--private").returncode == 0
    assert here("export", "model.pt", "-o", "m.onnx").returncode == 0


def test_without_the_package_the_message_says_what_to_install(
    here: Run, fitted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An import of a module that is None fails.
    monkeypatch.setitem(sys.modules, "onnx", None)
    message = error_of(here("export", fitted / "model.pt", "-o", "m.onnx"), 2)
    assert "--format onnx needs the package onnx: pip install 'mdncli[onnx]'" in message
    assert here("export", fitted / "model.pt", "-o", "m.safetensors").returncode == 0
