"""The commands together, through real files and real pipes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commands.helpers import png_size

from mdncli import load
from mdncli.files import FileContent
from mdncli.tables.table import Table, read_table
from running import Run, mdn

MDN = f'"{sys.executable}" -m mdncli'


def table(content: bytes) -> Table:
    return read_table(FileContent("output", content))


def shell(script: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", script.replace("mdn ", f"{MDN} ")],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_generate_writes_a_header_and_rows(run: Run) -> None:
    done = run("generate", "sinusoid", "--n", "7", "--seed", "3")
    assert done.returncode == 0
    assert done.stdout.startswith(b"x,y\n")
    assert table(done.stdout).rows == 7
    assert done.stderr == b""
    assert run("generate", "sinusoid", "--n", "7", "--seed", "3").stdout == done.stdout
    assert run("generate", "sinusoid", "--n", "7", "--seed", "4").stdout != done.stdout


def test_generate_fit_sample_and_plot_through_files(run: Run, tmp_path: Path) -> None:
    assert run("generate", "sinusoid", "--inverse", "-o", "data.csv").returncode == 0
    fitted = run("fit", "data.csv", "--mixtures", "5")
    assert fitted.returncode == 0, fitted.stderr
    assert fitted.stdout == b""
    message = fitted.stderr.decode()
    for word in ("target: 'y'", "features: 'x'", "epoch", "NLL", "1000", "model.pt"):
        assert word in message
    sampled = run("sample", "model.pt", "--n", "1000")
    samples = table(sampled.stdout)
    assert samples.names == ["x", "y"]
    assert samples.rows == 1000
    data = table((tmp_path / "data.csv").read_bytes()).numbers(["x", "y"])
    x = samples.numbers(["x"])[:, 0]
    np.testing.assert_allclose(x, np.linspace(data[:, 0].min(), data[:, 0].max(), 1000))
    # The inverse sinusoid has branches from -10.5 to 10.5; draws must reach all of them.
    y = samples.numbers(["y"])[:, 0]
    assert y.min() < -8.0
    assert y.max() > 8.0
    assert run("plot", "model.pt", "data.csv").returncode == 0
    # 11 by 8 inches, at 130 dots per inch.
    assert png_size((tmp_path / "plot.png").read_bytes()) == (1430, 1040)


def test_generate_fit_and_sample_through_pipes(tmp_path: Path) -> None:
    script = (
        "mdn generate sinusoid --inverse --n 2000 | mdn fit - --mixtures 5 --epochs 5 -o - "
        "| mdn sample - --n 1000 > samples.csv"
    )
    done = shell(script, tmp_path)
    assert done.returncode == 0, done.stderr
    samples = tmp_path / "samples.csv"
    assert table(samples.read_bytes()).rows == 1000
    again = shell("mdn fit - -q --epochs 2 -o again.pt < samples.csv", tmp_path)
    assert again.returncode == 0, again.stderr


def test_a_reader_that_leaves_early_ends_the_command_quietly(fitted: Path) -> None:
    # A million rows do not fit into a pipe, so the writer meets the closed end.
    for command in ("mdn sample model.pt --n 1000000", "mdn generate spiral --n 1000000"):
        done = shell(f"{command} | head -5; echo ${{PIPESTATUS[0]}}", fitted)
        assert done.stdout.splitlines()[-1] == "0"
        assert len(done.stdout.splitlines()) == 6
        assert done.stderr == ""


def test_fit_prints_json_for_machines(run: Run, fitted: Path) -> None:
    options = "-q", "--json", "--memory", "off", "--epochs", "4", "-o", "m.pt"
    done = run("fit", fitted / "data.csv", *options)
    assert done.stderr == b""
    result = json.loads(done.stdout)
    assert result["model"] == "m.pt"
    assert result["features"] == ["x"]
    assert result["target"] == ["y"]
    assert (result["rows"], result["members"], result["mixtures"]) == (1000, 1, 5)
    assert (result["epochs"], result["stopped"]) == (4, "epochs")
    assert set(result["seconds"]) == {"read", "train", "total"}
    assert result["seconds"]["total"] > result["seconds"]["train"] > 0.0


def test_json_says_null_where_there_is_no_number(here: Run, fitted: Path) -> None:
    data = fitted / "data.csv"
    done = here("fit", data, "-q", "--json", "--epochs", "2", "--valid", "0", "-o", "m.pt")
    assert json.loads(done.stdout)["nll_valid"] is None


def test_reported_nll_is_that_of_the_written_model(here: Run, fitted: Path, tmp_path: Path) -> None:
    data = fitted / "data.csv"
    done = here("fit", data, "-q", "--json", "--epochs", "9", "--valid", "0", "-o", "m.pt")
    density = load(tmp_path / "m.pt").network
    rows = table(data.read_bytes())
    nll = density.mean_nll(rows.numbers(["x"]), rows.numbers(["y"]))
    assert json.loads(done.stdout)["nll_train"] == pytest.approx(nll, abs=1e-5)


def test_the_same_seed_writes_the_same_bytes_whatever_the_name(
    run: Run, here: Run, fitted: Path, tmp_path: Path
) -> None:
    data, folder = fitted / "data.csv", tmp_path
    options = ("--epochs", "3", "--baseline", "-q")
    # Once in a process of its own, and once in this one, which has done other things before.
    for name, command in (("one.pt", run), ("two.pt", here)):
        assert command("fit", data, *options, "-o", folder / name).returncode == 0
        for end in ("png", "svg", "pdf"):
            plot = ("plot", folder / name, data, "--kind", "comparison", "-q")
            assert command(*plot, "-o", folder / f"{name}.{end}").returncode == 0
    for end in ("", ".png", ".svg", ".pdf"):
        one, two = ((folder / f"{name}.pt{end}").read_bytes() for name in ("one", "two"))
        assert one == two
    assert here("fit", data, *options, "--seed", "1", "-o", folder / "two.pt").returncode == 0
    assert (folder / "one.pt").read_bytes() != (folder / "two.pt").read_bytes()


def test_several_targets_and_chosen_columns(here: Run, wide: Path, tmp_path: Path) -> None:
    data = wide / "data.csv"
    options = ("-t", "u", "-t", "v", "-x", "b,a", "--covariance", "isotropic", "--epochs", "3")
    done = here("fit", data, *options, "-o", "m.pt", "-q", "--json")
    result = json.loads(done.stdout)
    assert result["features"] == ["b", "a"]
    assert result["target"] == ["u", "v"]
    sampled = here("sample", "m.pt", "--rows", data, "--n", "2", "--component")
    assert table(sampled.stdout).names == ["component", "b", "a", "u", "v"]
    assert table(sampled.stdout).rows == 800


def test_ignored_and_constant_columns_are_not_needed_later(here: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [f"row {i},5,{v!r},{v * v!r}" for i, v in enumerate(rng.normal(size=60).tolist())]
    (tmp_path / "d.csv").write_text("id,const,x,y\n" + "\n".join(lines))
    done = here("fit", "d.csv", "--ignore", "id", "--epochs", "2")
    assert done.returncode == 0, done.stderr
    assert b"'const' is left out, because it is constant" in done.stderr
    (tmp_path / "new.csv").write_text("x\n0.5\n")
    assert here("sample", "model.pt", "--rows", "new.csv").returncode == 0


def test_names_with_commas_quotes_and_brackets(here: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(60, 3)).tolist()
    text = '"a, b","$x_1$ [red]",y\n' + "\n".join(",".join(map(repr, row)) for row in rows)
    (tmp_path / "d.csv").write_text(text)
    done = here("fit", "d.csv", "-x", "a, b", "-x", "$x_1$ [red]", "--epochs", "2")
    assert done.returncode == 0, done.stderr
    assert b"$x_1$ [red]" in done.stderr
    at = here("sample", "model.pt", "--at", "a, b=1", "--at", "$x_1$ [red]=2", "--n", "3")
    assert table(at.stdout).numbers(["a, b", "$x_1$ [red]"]).tolist() == [[1.0, 2.0]] * 3
    assert here("plot", "model.pt", "d.csv").returncode == 0


def test_samples_at_a_point_follow_the_density(fitted: Path, run: Run) -> None:
    model = fitted / "model.pt"
    density = load(model).network.mixture(np.array([[2.5]]))
    done = run("sample", model, "--at", "x=2.5", "--n", "20000", "--component")
    rows = table(done.stdout).numbers(["component", "x", "y"])
    assert rows.shape == (20000, 3)
    assert (rows[:, 1] == 2.5).all()
    standard_error = float(np.sqrt(density.variance()[0, 0] / 20000))
    assert abs(rows[:, 2].mean() - density.mean()[0, 0]) < 5.0 * standard_error
    shares = [(rows[:, 0] == k).mean() for k in range(6)]
    np.testing.assert_allclose(shares, density.pi[0], atol=0.02)


def test_temperatures(fitted: Path, here: Run) -> None:
    model = fitted / "model.pt"
    options = ("--at", "x=0", "--n", "2000", "--component")
    cold = here("sample", model, *options, "--temperature", "1e-6", "--sigma-temperature", "0")
    rows = table(cold.stdout).numbers(["component", "y"])
    assert len(np.unique(rows[:, 0])) == 1
    assert len(np.unique(rows[:, 1])) == 1
    hot = here("sample", model, *options, "--temperature", "1000")
    shares = np.bincount(table(hot.stdout).numbers(["component"])[:, 0].astype(int)) / 2000
    np.testing.assert_allclose(shares, np.full(6, 1.0 / 6.0), atol=0.05)


def test_rows_keep_their_text_and_their_draws_are_adjacent(fitted: Path, here: Run) -> None:
    rows = b"other,x\nfoo,0.10\nbar,007\n"
    done = here("sample", fitted / "model.pt", "--rows", "-", "--n", "3", stdin=rows)
    assert [line.split(b",")[0] for line in done.stdout.splitlines()] == [
        *(b"x", b"0.10", b"0.10", b"0.10", b"007", b"007", b"007")
    ]


def test_a_header_alone_gives_a_header(fitted: Path, here: Run) -> None:
    done = here("sample", fitted / "model.pt", "--rows", "-", stdin=b"x\n")
    assert (done.returncode, done.stdout) == (0, b"x,y\n")


def test_an_interrupt_keeps_the_best_model_so_far(fitted: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mdncli", "fit", str(fitted / "data.csv"), "--json"]
    process = subprocess.Popen(
        [*command, "--epochs", "100000", "--patience", "100000", "-o", str(tmp_path / "m.pt")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    while b"epoch 1/" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    output, message = process.communicate(timeout=60)
    assert process.returncode == 130, message
    assert json.loads(output)["stopped"] == "interrupted"
    plain = torch.load(tmp_path / "m.pt", weights_only=True)
    assert plain["record"]["stopped"] == "interrupted"


def test_progress_is_drawn_on_a_terminal_only(fitted: Path, tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    main, other = pty.openpty()
    options = ("--no-ladder", "--epochs", "40")
    process = subprocess.Popen(
        [sys.executable, "-m", "mdncli", "fit", str(fitted / "data.csv"), *options],
        stderr=other,
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(other)
    drawn = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:
            break
        if not part:
            break
        drawn += part
    assert process.wait() == 0
    assert b"\x1b[" in drawn
    assert b"40/40" in drawn
    plain = mdn("fit", fitted / "data.csv", *options, cwd=tmp_path)
    assert b"\x1b[" not in plain.stderr
    assert 5 <= plain.stderr.count(b"epoch ") <= 13


def test_quiet_says_nothing(fitted: Path, run: Run) -> None:
    done = run("fit", fitted / "data.csv", "--epochs", "2", "-q")
    assert (done.stdout, done.stderr) == (b"", b"")
    assert run("plot", "model.pt", "-q").stderr == b""


@pytest.mark.parametrize("rows", [10, 49])
def test_few_rows_are_warned_about_even_when_quiet(here: Run, tmp_path: Path, rows: int) -> None:
    made = here("generate", "sinusoid", "--n", str(rows))
    done = here("fit", "-", "--epochs", "2", "-q", stdin=made.stdout)
    assert done.returncode == 0
    assert f"With {rows} rows the validation NLL is unreliable".encode() in done.stderr
    assert (
        b"unreliable"
        not in here(
            "fit", "-", "--epochs", "2", stdin=here("generate", "sinusoid", "--n", "50").stdout
        ).stderr
    )


def test_version_and_help(run: Run) -> None:
    assert run("--version").stdout.startswith(b"mdn 0.")
    assert b"generate" in run("--help").stdout
    for command in ("generate", "fit", "sample", "plot"):
        done = run(command, "--help")
        assert done.returncode == 0
        assert b"Example: mdn" in done.stdout
