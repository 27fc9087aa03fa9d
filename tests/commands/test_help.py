"""The help of every command, as plain text."""

import re
from dataclasses import MISSING, fields

import pytest

from mdncli.declarations import declaration_of
from mdncli.settings import FitOptions, Settings
from mdncli.tables.dialect import Dialect
from running import Run

COMMANDS = ("generate", "fit", "sample", "predict", "evaluate", "inspect", "plot", "export")


def helped(here: Run, *command: str) -> str:
    """Return the help of a command, without its borders and with single blanks."""
    done = here(*command, "--help")
    assert (done.returncode, done.stderr) == (0, b"")
    # The mentions of parameters are marked with control characters until they are written.
    assert re.findall(rb"[\x00-\x09\x0b-\x1f\x7f]", done.stdout) == []
    return " ".join(re.sub("[│╭╮╰╯─]", " ", done.stdout.decode()).split())


@pytest.fixture
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make lines long enough for every help text."""
    for name in ("COLUMNS", "TERMINAL_WIDTH"):
        monkeypatch.setenv(name, "1000")


def test_the_version_and_the_commands(run: Run) -> None:
    assert re.fullmatch(rb"mdn \d+\.\d+\.\d+\n", run("--version").stdout)
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, b"")
    listed = done.stdout.decode().partition("Commands:\n")[2].split("\n\n")[0]
    assert tuple(line.split()[0] for line in listed.splitlines()) == COMMANDS


def test_mdn_alone_shows_its_help(run: Run) -> None:
    done = run()
    assert done.returncode == 2
    assert b"Usage: mdn" in done.stdout + done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command(here: Run, command: str) -> None:
    text = helped(here, command)
    assert text.startswith(f"Usage: mdn {command}")
    assert f"Example: mdn {command} " in text


@pytest.mark.parametrize("command", COMMANDS[1:-1])
def test_commands_that_read_a_table_share_the_options_for_it(here: Run, command: str) -> None:
    text = helped(here, command)
    names = [each.name.replace("_", "-") for each in fields(Dialect) if each.name != "header"]
    for name in (*names, "no-header", "on-bad-rows"):
        assert f"--{name} " in text


@pytest.mark.usefixtures("wide_terminal")
def test_fit_shows_every_setting_with_its_default_and_range(here: Run) -> None:
    text = helped(here, "fit").partition(" Options ")[2]
    for each in (*fields(FitOptions), *fields(Settings)):
        declaration = declaration_of(each)
        [shown] = re.findall(rf"--{each.name.replace('_', '-')} (?:-\w )?.*?(?= --\w|$)", text)[:1]
        if declaration.range is not None:
            assert declaration.range.words in shown, shown
        default = each.default
        if default not in (MISSING, None, ()) and default is not False:
            words = ",".join(map(str, default)) if isinstance(default, tuple) else default
            assert f"default: {words}" in shown, shown


@pytest.mark.usefixtures("wide_terminal")
def test_mentions_of_parameters_are_flags(here: Run) -> None:
    text = helped(here, "fit")
    assert "or with --upper over a function of y that is infinite at both bounds" in text
