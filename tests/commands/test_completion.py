"""Shell completion: commands, options, choices, files, and the columns of the table on the line."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

SHELLS = ("bash", "zsh", "fish")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with tables, a file that is no table, and an executable `mdn`."""
    folder = tmp_path_factory.mktemp("completion")
    table = b'size,"my col",price\n1,2,3\n'
    (folder / "t.csv").write_bytes(table)
    (folder / "t.csv.gz").write_bytes(gzip.compress(table))
    (folder / "s.csv").write_bytes(b"a;b c\n1;2\n")
    (folder / "t.tsv").write_bytes(b"u\tv\n1\t2\n")
    (folder / "model.pt").write_bytes(b"not,a,table\n")
    (folder / "mdn").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mdncli "$@"\n')
    (folder / "mdn").chmod(0o755)
    return folder


def mdn(folder: Path, *arguments: str, **environment: str) -> str:
    """Return the standard output of `mdn` in the folder, with more environment variables."""
    done = subprocess.run(
        [sys.executable, "-m", "mdncli", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def in_bash(folder: Path, line: str) -> list[str]:
    """Return the completions of the last word of a line, an empty one after a blank."""
    position = len(line.split(" ")) - 1
    environment = {"COMP_WORDS": line, "COMP_CWORD": str(position)}
    return mdn(folder, _MDN_COMPLETE="complete_bash", **environment).split("\n")[:-1]


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        (
            "mdn ",
            ["generate", "fit", "sample", "predict", "evaluate", "inspect", "plot", "export"],
        ),
        ("mdn e", ["evaluate", "export"]),
        ("mdn export --format o", ["onnx"]),
        ("mdn fit --mi", ["--min-sigma", "--mixtures"]),
        ("mdn fit --preset ", ["fast", "default", "best"]),
        ("mdn fit --covariance f", ["full"]),
        ("mdn plot model.pt --kind c", ["components", "comparison", "calibration"]),
        ("mdn generate s", ["sinusoid", "spiral"]),
        ("mdn fit t.csv -t ", ["size", "'my col'", "price"]),
        ("mdn fit t.csv --weight p", ["price"]),
        ("mdn fit t.csv -x size,p", ["size,price"]),
        ("mdn fit t.csv.gz --ignore ", ["size", "'my col'", "price"]),
        ("mdn fit t.tsv -t ", ["u", "v"]),
        ("mdn fit s.csv --delimiter ';' -t ", ["a", "'b c'"]),
        ("mdn predict model.pt t.csv --given ", ["size", "'my col'", "price"]),
        ("mdn sample model.pt --rows t.csv --at ", ["size", "'my col'", "price"]),
        ("mdn plot model.pt t.csv --along s", ["size"]),
        # Nothing of ours, so that the shell completes the names of files.
        ("mdn fit ", [""]),
        ("mdn fit t.csv --no-header -t ", [""]),
        ("mdn plot model.pt --along ", [""]),
        ("mdn fit nowhere.csv -t ", [""]),
    ],
)
def test_completions_in_bash(folder: Path, line: str, completions: list[str]) -> None:
    assert in_bash(folder, line) == completions


def test_completions_in_zsh(folder: Path) -> None:
    def complete(line: str) -> str:
        return mdn(folder, _MDN_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS=line)

    assert complete("mdn fit t.csv -t ") == '_arguments \'*: :(("size"\n"my col"\n"price"))\'\n'
    assert '"evaluate":"Score a fitted density' in complete("mdn ev")
    assert '"--preset":"A set of defaults' in complete("mdn fit t.csv --prese")
    assert complete("mdn fit ") == "_files\n"


def test_completions_in_fish(folder: Path) -> None:
    def complete(line: str) -> list[str]:
        environment = {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
        return mdn(folder, _MDN_COMPLETE="complete_fish", **environment).splitlines()

    assert complete("mdn fit t.csv -t ") == ["size", "my col", "price"]
    assert complete("mdn fit t.csv -x size,") == ["size,size", "size,my col", "size,price"]
    assert complete("mdn plot m.pt --kind mo") == ["modes"]
    [evaluate] = complete("mdn ev")
    assert evaluate.startswith("evaluate\tScore a fitted density")


def test_the_function_for_bash_completes_in_bash(folder: Path) -> None:
    script = (
        'eval "$("$PWD/mdn" --show-completion)"\n'
        'COMP_WORDS=("$PWD/mdn" fit t.csv -t pr); COMP_CWORD=4\n'
        '_mdn_completion "$PWD/mdn"\n'
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
        "complete -p mdn\n"
    )
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=True
    )
    completion, registration = done.stdout.splitlines()
    assert completion == "price"
    # Where there are no completions of ours, bash completes the names of files.
    assert registration == "complete -o default -F _mdn_completion mdn"


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_is_shown_and_installed(folder: Path, tmp_path: Path, shell: str) -> None:
    # Without the detection of the shell, which finds the one that runs the tests.
    environment = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = mdn(folder, "--show-completion", shell, **environment)
    assert f"_MDN_COMPLETE=complete_{shell}" in shown
    assert not list(tmp_path.iterdir())
    assert f"{shell} completion installed" in mdn(
        folder, "--install-completion", shell, **environment
    )
    installed = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert any(f"_MDN_COMPLETE=complete_{shell}" in text for text in installed)
