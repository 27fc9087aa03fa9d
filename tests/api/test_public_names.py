"""What `import mdncli` offers: few names, each with an example that runs."""

import doctest
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mdncli
from mdncli import load, read_table, save
from mdncli.density.model import ConditionalDensity
from mdncli.errors import DataError, MissingInputError, ModelFileError

NAMES = {"MdnError", "MixtureDensityRegressor", "load", "read_table", "save"}


@pytest.fixture
def folder(fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working directory with `data.csv` and `model.pt`."""
    for name in ("data.csv", "model.pt"):
        shutil.copy(fitted / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_public_names_are_few_and_lead_somewhere() -> None:
    assert set(mdncli.__all__) == NAMES
    assert set(dir(mdncli)) >= NAMES
    for name in NAMES - {"MixtureDensityRegressor"}:
        assert getattr(mdncli, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        mdncli.lode  # noqa: B018
    assert (files("mdncli") / "py.typed").is_file()


def examples(name: str) -> tuple[object, dict]:
    """Return a public thing and the names that its examples may use beside `mdncli`'s own."""
    if "." in name:
        return getattr(ConditionalDensity, name.split(".")[1]), {}
    thing = getattr(mdncli, name)
    return thing, vars(sys.modules[thing.__module__])


@pytest.mark.parametrize(
    "name",
    [
        *("load", "read_table", "save", "MixtureDensityRegressor"),
        *("ConditionalDensity.condition", "ConditionalDensity.evaluate"),
        "MdnError",
    ],
)
def test_examples_in_docstrings_run(folder: Path, name: str) -> None:
    if name == "MixtureDensityRegressor":
        pytest.importorskip("sklearn")
    thing, names = examples(name)
    [test] = doctest.DocTestFinder(recurse=False).find(thing, name, globs=dict(names))
    assert test.examples, f"{name} has no example"
    said: list[str] = []
    result = doctest.DocTestRunner().run(test, out=said.append)
    assert result.failed == 0, "".join(said)


def test_reading_a_model_and_answering_load_neither_torch_nor_pandas(folder: Path) -> None:
    code = (
        "import sys, mdncli\n"
        "assert not {'numpy', 'torch', 'pandas', 'sklearn'} & set(sys.modules)\n"
        "y = mdncli.load('model.pt').condition([[2.5], [3.0]])\n"
        "y.quantile(0.9), y.mode(), y.hdr(0.9), y.sample(100, seed=0), y.log_prob([0.0, 1.0])\n"
        "mdncli.load('model.pt').evaluate([[2.5], [3.0]], [0.0, 1.0])\n"
        "print(*sorted({'torch', 'pandas', 'sklearn', 'typer'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_a_model_comes_back_as_it_was_saved(folder: Path) -> None:
    model = load("model.pt")
    save(model, Path("copy.pt"))
    save(model, Path("another.pt"))
    assert Path("copy.pt").read_bytes() == Path("another.pt").read_bytes()
    assert repr(load("copy.pt").describe()) == repr(model.describe())
    x = np.linspace(-5.0, 5.0, 30)[:, None]
    np.testing.assert_array_equal(
        load(folder / "copy.pt").condition(x).median(), model.condition(x).median()
    )


def test_a_failed_save_leaves_the_file_before(folder: Path) -> None:
    before = Path("model.pt").read_bytes()
    with pytest.raises(Exception):  # noqa: B017, PT011 - no model
        save(None, "model.pt")  # type: ignore[arg-type]
    assert Path("model.pt").read_bytes() == before
    with pytest.raises(mdncli.MdnError, match="no such folder"):
        save(load("model.pt"), "no/such/model.pt")


def test_errors_a_user_can_mend_name_the_file(folder: Path) -> None:
    for read in (load, read_table):
        with pytest.raises(MissingInputError, match="nowhere: there is no such file"):
            read("nowhere")
    with pytest.raises(ModelFileError, match=r"data.csv: this is not a model file"):
        load("data.csv")
    with pytest.raises(DataError, match=r"model.pt: this is no text: it is a zip archive"):
        read_table("model.pt")
    assert issubclass(DataError, mdncli.MdnError)


# Rows, as Python has them.


def test_rows_may_be_a_frame_or_an_array(folder: Path, wide: Path) -> None:
    model, rows = load(wide / "model.pt"), read_table(wide / "data.csv")
    whole = model.condition(rows).mean()
    np.testing.assert_array_equal(model.condition(rows[["v", "c", "b", "a"]]).mean(), whole)
    np.testing.assert_array_equal(model.condition(rows[["a", "b", "c"]].to_numpy()).mean(), whole)
    assert model.condition(rows[:0]).mean().shape == (0, 2)
    for wrong, words in (
        (rows.rename(columns={"b": "bb"}), "no column 'b'. Did you mean 'bb'?"),
        (rows[["a", "b"]].to_numpy(), "must have 3 columns, 'a', 'b', 'c'"),
        (rows.assign(c=np.nan), "row 1, column 'c': nan is not a finite number"),
    ):
        with pytest.raises(DataError) as refusal:
            model.condition(wrong)
        assert words in str(refusal.value)


def test_a_model_is_evaluated_on_frames_and_arrays(folder: Path, wide: Path) -> None:
    model, rows = load(wide / "model.pt"), read_table(wide / "data.csv")
    plain = model.evaluate(rows).to_plain()
    x, y = rows[["a", "b", "c"]], rows[["v", "u"]]
    assert repr(model.evaluate(x, y).to_plain()) == repr(plain)
    by_array = model.evaluate(x.to_numpy(), rows[["u", "v"]].to_numpy())
    assert by_array.nll == plain["nll"]
    for given in ((x,), (x, y[:-1]), (x[:0], y[:0]), (x, y[["u"]])):
        with pytest.raises(DataError):
            model.evaluate(*given)


# Tables.


def test_a_table_is_read_by_the_rules_of_the_commands(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = 'n,"a, b",word,mixed,gaps\n007, 1.50 ,red,1,\n-1e3,+2,,x,0.10\n.5,3,"say ""so""",2,NA\n'
    path.write_text(rows, encoding="utf-8-sig")
    frame = read_table(path)
    assert isinstance(frame, pd.DataFrame)
    assert frame.columns.tolist() == ["n", "a, b", "word", "mixed", "gaps"]
    assert frame["n"].tolist() == [7.0, -1000.0, 0.5]
    assert frame["a, b"].tolist() == [1.5, 2.0, 3.0]
    assert frame["word"].tolist() == ["red", "", 'say "so"']
    assert frame["mixed"].tolist() == ["1", "x", "2"]
    assert frame["gaps"].isna().tolist() == [True, False, True]
    assert (frame[["n", "a, b", "gaps"]].dtypes == np.float64).all()
    assert len(read_table(str(path))) == 3


def test_a_table_that_the_commands_refuse_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for content, words in (
        (b"", "empty"),
        (b"a,a\n1,2\n", "two columns are named 'a'"),
        (b"a,b\n1\n", "row 1, line 2: 1 field"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=words):
            read_table(path)


def test_what_pandas_reads_is_read_the_same(fitted: Path) -> None:
    ours, theirs = read_table(fitted / "data.csv"), pd.read_csv(fitted / "data.csv")
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
