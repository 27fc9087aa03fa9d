"""Messages name parameters as Python writes them, and no flag of the command line."""

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_fits import every_kind, quick_fit

import mdncli
from mdncli import ConditionalDensity, Settings, datasets, fit, read_table
from mdncli.errors import (
    MdnError,
    MdnWarning,
    ParameterError,
    in_python,
    parameter,
    with_parameters,
)
from mdncli.text import and_more, counted, first_phrases, listed, nearest, printable, quoted

PACKAGE = Path(mdncli.__file__).parent
FLAG = re.compile(r"(?<![-\w])--[a-z]")
FRAME = pd.DataFrame({"a": np.arange(30.0) % 7, "b": np.arange(30.0) ** 2, "y": np.arange(30.0)})


def test_a_mention_is_written_as_its_reader_writes_it() -> None:
    message = f"{parameter('on_bad_rows', repr('skip'))} or {parameter('lr')}."
    for error in (MdnError(message), MdnWarning(message)):
        assert str(error) == "on_bad_rows='skip' or lr."
        assert error.message == message
    assert with_parameters(message, in_python) == "on_bad_rows='skip' or lr."
    flags = with_parameters(message, lambda name, value: f"<{name}|{value}>")
    assert flags == "<on_bad_rows|'skip'> or <lr|>."
    assert with_parameters("nothing", in_python) == "nothing"


def test_no_text_below_the_commands_names_a_flag() -> None:
    paths = [path for path in PACKAGE.rglob("*.py") if "commands" not in path.parts]
    assert len(paths) > 40
    found = []
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found += [(path.name, node.lineno)] if FLAG.search(node.value) else []
    # Files of older formats hold a command line, and its reader quotes one.
    assert [each for each in found if each[0] != "migrations.py"] == []


@pytest.fixture(scope="module")
def model() -> ConditionalDensity:
    options: dict[str, Any] = {"target": "u,v", "ignore": "w,g", "lower": "v=0"}
    return quick_fit(every_kind(), **options)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"lr": 0}, "lr is 0: it must be positive."),
        ({"lr": "fast"}, "lr is 'fast': it must be positive."),
        ({"mixtures": 2.5}, "mixtures is 2.5: it must be auto, or a whole number."),
        ({"mixtures": "many"}, "mixtures is 'many': it must be auto, or a whole number."),
        ({"members": 0}, "members is 0: it must be from 1 to 1000."),
        ({"batch_size": 2.5}, "batch_size is 2.5: it must be a whole number."),
        ({"batch_size": 0}, "batch_size is 0: it must be at least 1."),
        ({"preset": "slow"}, "preset is 'slow': it must be one of fast, default, best."),
        ({"hidden": (8.5,)}, "hidden is (8.5,): it must be a list of widths of at least 1"),
        ({"hidden": 8}, "hidden is 8: it must be a list of widths of at least 1"),
        ({"hidden": (0,)}, "hidden is (0,): it must be a list of widths of at least 1"),
        ({"hidden": ()}, "hidden is (): it must be a list of widths"),
        ({"cv": 1}, "cv is 1: it must be at least 2."),
        ({"on_bad_rows": "drop"}, "on_bad_rows is 'drop': it must be one of fail, skip."),
        ({"target": ""}, "target is empty: name a column, or leave it out."),
        ({"target": "a", "feature": "a"}, "'a' cannot be both the target (target, by default"),
        ({"weight": "a", "feature": "a"}, "'a' is used by weight"),
        ({"categorical": "y"}, "it cannot be in categorical or datetime."),
        ({"categorical": "a", "numeric": "a"}, "one of categorical, numeric, datetime, period."),
        ({"datetime": ["a", "a=%Y"]}, "datetime names 'a' twice."),
        ({"lower": "x"}, "lower is 'x': it must be a finite number."),
        ({"lower": 100, "upper": 0}, "lower of 'y' is 100 and upper is 0"),
        ({"lower": 5}, "is not above lower=5"),
        ({"min_sigma": -1}, "min_sigma of 'y' is -1: it must be positive."),
        ({"min_sigma": 1e-9}, "min_sigma of 'y' is 1e-09: it must be at least"),
        ({"baseline": "yes"}, "baseline is 'yes': it must be True or False."),
        ({"seed": True}, "seed is True: it must be a whole number."),
        ({"weight": ["a"] * 30}, "weight must be 30 numbers"),
        ({"weight": [1.0]}, "weight must be 30 numbers"),
        ({"group": [1.0]}, "group must be 30 values"),
        ({"target": "z"}, "there is no column 'z'"),
        ({"delimiter": ";;;;"}, "delimiter"),
        ({"encoding": "martian"}, "encoding"),
        ({"decimal": ";"}, "decimal"),
        ({"quote": "#", "comment": "#"}, "comment and quote are both '#'."),
    ],
)
def test_errors_of_fit(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(MdnError) as met:
        fit(FRAME, **{"steps": 1, **parameters})
    assert words in str(met.value)
    assert not FLAG.search(str(met.value))


QUESTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("predict", {"quantiles": [2.0]}, "quantiles is 2: it must be between 0 and 1."),
    ("predict", {"interval": "x"}, "interval is 'x': it must be a finite number."),
    ("predict", {"at_target": 1.0}, "at_target"),
    ("predict", {"density": True, "at_target": "z=1"}, "at_target: there is no target 'z'."),
    ("predict", {"log": True}, "log"),
    ("predict", {"marginal": True}, "marginal"),
    ("predict", {"given": "u,v"}, "given"),
    ("predict", {"given": "z"}, "given: there is no target 'z'."),
    ("predict", {"given": {"v": -1.0}}, "lower=0"),
    ("predict", {"on_bad_rows": "drop"}, "on_bad_rows is 'drop': it must be fail or skip."),
    ("sample", {"n": 2.5}, "n is 2.5: it must be a whole number."),
    ("sample", {"seed": -1}, "seed is -1: it must be zero or positive."),
    ("sample", {"at": {"number": 1}}, "rows and at exclude each other."),
    ("plot", {"kind": "calibration", "seed": -1}, "seed is -1: it must be zero or positive."),
    ("sample", {"n": 0}, "n is 0: it must be from 1 to 1000000000."),
    ("sample", {"temperature": 0.0}, "temperature is 0.0: it must be positive."),
    ("sample", {"sigma_temperature": -1.0}, "sigma_temperature is -1.0: it must be zero or"),
    ("sample", {"sigma_temperature": 1e308}, "sigma_temperature is 1e+308: it must be zero or"),
    ("sample", {"rows": None}, "Say where to draw: with rows=FILE, or with at='number=…"),
    ("sample", {"rows": None, "at": "number=1"}, "at must name every feature"),
    ("sample", {"rows": None, "at": "a"}, "at 'a': write it as NAME=VALUE."),
    ("sample", {"rows": None, "given": "u"}, "given names 'u' without a value"),
    ("plot", {"kind": "pie"}, "kind is 'pie': it must be one of overview, parameters"),
    ("plot", {"kind": "calibration", "given": "u=1"}, "given cannot be used with kind="),
    ("plot", {"kind": "row", "data": None}, "kind='row' needs rows: give data."),
    ("plot", {"kind": "comparison"}, "Fit one with the mixture: baseline=True."),
    ("plot", {"kind": "overview", "along": "z"}, "The model has no feature 'z'."),
    ("plot", {"kind": "overview", "target": "z"}, "'z'"),
    ("evaluate", {"weights": [1.0]}, "weight must be 200 numbers"),
]


@pytest.mark.parametrize(("verb", "parameters", "words"), QUESTIONS)
def test_errors_of_questions(
    model: ConditionalDensity, verb: str, parameters: dict[str, Any], words: str
) -> None:
    name = "rows" if verb in ("predict", "sample") else "data"
    with pytest.raises(MdnError) as met:
        getattr(model, verb)(**{name: every_kind(), **parameters})
    assert words in str(met.value)
    assert not FLAG.search(str(met.value))


def test_errors_about_a_table(tmp_path: Path, model: ConditionalDensity) -> None:
    path = tmp_path / "t.csv"
    for content, words in (
        ("a;b\n1;2\n", "delimiter"),
        ('a,b\n"1,2\n', "quote"),
        ("a,b\n1,2,3\n4,5\n", "on_bad_rows='skip'"),
        ("a,b\n1,\xff\n", "encoding"),
        ("number,b\n1.5,2\n", "there is no column"),
    ):
        path.write_bytes(content.encode("latin-1"))
        with pytest.raises(MdnError) as met:
            read_table(path)
            model.predict(path)
        assert words in str(met.value)
        assert not FLAG.search(str(met.value))


@pytest.mark.filterwarnings("ignore::mdncli.errors.MdnWarning")
def test_a_file_that_is_read_differently_recalls_how_the_training_table_was_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "t.csv"
    FRAME.to_csv(path, sep=";", index=False)
    model = quick_fit(path, delimiter=";")
    with pytest.raises(MdnError, match=r"The model was fitted with delimiter=';'\.$"):
        model.predict(path)
    assert len(model.predict(path, delimiter=";")) == 30


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"n": 0}, "n is 0"),
        ({"noise": -1.0}, "noise is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"name": "sinus"}, "Did you mean 'sinusoid'?"),
    ],
)
def test_errors_of_the_built_in_problems(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError) as met:
        datasets.generate(**{"name": "sinusoid", **parameters})
    assert words in str(met.value)


def test_the_documentation_of_settings_names_no_flag() -> None:
    assert Settings.__doc__
    assert "lr: Learning rate at its highest." in Settings.__doc__
    assert not FLAG.search(Settings.__doc__)
    assert "\x1f" not in Settings.__doc__


# Phrases.


def test_phrases() -> None:
    assert quoted("a'b") == "'a'b'"
    assert quoted("x" * 80) == "'" + "x" * 59 + "…'"
    assert printable("a\x1b[31m\n") == "a\\x1b[31m\\n"
    assert listed(["a", "b"]) == "'a', 'b'"
    assert listed(["a", "b", "c"], 2) == "'a', 'b' and 1 more"
    assert listed(["x" * 55] * 9) == ", ".join(["'" + "x" * 55 + "'"] * 3) + " and 6 more"
    assert first_phrases(["x" * 900, "y"]) == ["x" * 900]
    assert first_phrases([]) == []
    assert (counted(1, "row"), counted(3, "row")) == ("1 row", "3 rows")
    assert (and_more(0, "row"), and_more(2, "row")) == ("", " and 2 more rows")
    assert nearest("wges", ["wages", "firm"]) == " Did you mean 'wages'?"
    assert nearest("FIRM", ["wages", "firm"]) == " Did you mean 'firm'?"
    assert nearest("zzz", ["wages", "firm"]) == ""
