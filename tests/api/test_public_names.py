"""What `import mdncli` offers: few names, each typed and with an example that runs."""

import doctest
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mdncli
from mdncli import ConditionalDensity, datasets, load, read_table
from mdncli.errors import DataError, MissingInputError, ModelFileError

NAMES = {
    *("fit", "load", "read_table", "Settings", "ConditionalDensity", "Distribution"),
    *("MixtureDensityRegressor", "MdnError", "datasets"),
}
METHODS = [
    *("condition", "predict", "sample", "evaluate", "score_rows", "plot", "describe", "save"),
    "export",
]


@pytest.fixture
def folder(fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working directory with `data.csv` and `model.pt`."""
    for name in ("data.csv", "model.pt"):
        shutil.copy(fitted / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_public_names_are_few_and_exist() -> None:
    assert set(mdncli.__all__) == NAMES
    assert set(dir(mdncli)) >= NAMES
    for name in NAMES - {"datasets"}:
        assert getattr(mdncli, name).__name__ == name
    assert mdncli.datasets.__name__ == "mdncli.datasets"
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        mdncli.lode  # noqa: B018
    assert (files("mdncli") / "py.typed").is_file()


def documented() -> dict[str, Any]:
    """Return every public function, class and method, by its name."""
    things = {name: getattr(mdncli, name) for name in NAMES - {"datasets"}}
    things |= {f"ConditionalDensity.{name}": getattr(ConditionalDensity, name) for name in METHODS}
    return things | {f"datasets.{n}": getattr(datasets, n) for n in ("generate", "log_density")}


@pytest.mark.filterwarnings("ignore::mdncli.errors.MdnWarning")
@pytest.mark.parametrize("name", sorted(documented()))
def test_the_examples_in_docstrings_run(folder: Path, name: str) -> None:
    # An example needs only the public names.
    public = {each: getattr(mdncli, each) for each in NAMES}
    finder = doctest.DocTestFinder(recurse=False)
    [test] = finder.find(documented()[name], name, globs=public)
    assert test.examples, f"{name} has no example"
    lines: list[str] = []
    result = doctest.DocTestRunner().run(test, out=lines.append)
    assert result.failed == 0, "".join(lines)


def test_every_public_method_of_a_model_is_documented() -> None:
    own = {name for name in vars(ConditionalDensity) if not name.startswith("_")}
    # The others are for the command line: they compute long tables piece by piece.
    piecewise = {"predictions", "draws", "evaluate_rows", "figure", "write_figure", "write"}
    assert own == {*METHODS, *piecewise, "schema"}
    for name in own:
        assert getattr(ConditionalDensity, name).__doc__


SCRIPT = """
from pathlib import Path

import numpy as np

import mdncli
from mdncli import (
    ConditionalDensity,
    Distribution,
    MdnError,
    MixtureDensityRegressor,
    Settings,
    datasets,
    fit,
    load,
    read_table,
)


def main(path: Path) -> float:
    table = datasets.generate("sinusoid", n=50)
    exact = datasets.log_density("sinusoid", table["x"], table["y"])
    model: ConditionalDensity = fit(table, settings=Settings(steps=3), stop=lambda: False)
    again = fit(np.zeros((20, 1)), np.zeros(20), target="y", mixtures=3, progress=print)
    frame = model.predict(read_table(path), mean=True, quantiles=[0.1, 0.9])
    names: list[str] = model.schema.target_names
    distribution: Distribution = model.condition([[1.0]]).given(a=1.5)
    quantile = distribution.quantile(0.9)
    model.plot("calibration", frame).savefig("calibration.png")
    model.save(path)
    regressor = MixtureDensityRegressor(mixtures=2, random_state=1).fit([[1.0]], [1.0])
    regressor.predict([[1.0]])
    try:
        load(path)
    except MdnError as error:
        print(error.message, mdncli.__version__, names, again.describe())
    nll: float = model.evaluate(path, on_bad_rows="skip").nll
    return nll + float(quantile[0]) + float(exact[0])
"""


def test_a_users_script_passes_mypy(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    wrong = SCRIPT.replace("nll: float", "nll: str").replace("names: list[str]", "names: int")
    for name, script in (("right.py", SCRIPT), ("wrong.py", wrong)):
        (tmp_path / name).write_text(script, encoding="utf-8")
    # The stubs of other packages are not this project's.
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\n"
        "[mypy-pandas.*,sklearn.*,pyarrow.*,scipy.*]\nignore_missing_imports = True\n"
        # PyTorch does not appear in the public names, and mypy takes long to read it.
        "[mypy-torch.*]\nfollow_imports = skip\n",
        encoding="utf-8",
    )
    words = ("--strict", "--config-file", "mypy.ini", "--cache-dir", "cache")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *words, "right.py", "wrong.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    *errors, _ = done.stdout.splitlines()
    assert all(line.startswith("wrong.py:") for line in errors), done.stdout
    assert any('has type "list[str]", variable has type "int"' in line for line in errors)
    assert any('has type "float", variable has type "str"' in line for line in errors)


# Without what is not needed.


def in_process(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_reading_a_model_and_answering_load_neither_torch_nor_pandas(folder: Path) -> None:
    code = (
        "import sys, mdncli\n"
        "assert not {'numpy', 'torch', 'pandas', 'sklearn'} & set(sys.modules)\n"
        "y = mdncli.load('model.pt').condition([[2.5], [3.0]])\n"
        "y.quantile(0.9), y.mode(), y.hdr(0.9), y.sample(100, seed=0), y.log_prob([0.0, 1.0])\n"
        "mdncli.load('model.pt').evaluate([[2.5], [3.0]], [0.0, 1.0])\n"
        "print(*sorted({'torch', 'pandas', 'sklearn', 'typer'} & set(sys.modules)))\n"
    )
    assert in_process(code, folder) == "\n"


def test_everything_but_the_regressor_works_without_scikit_learn(folder: Path) -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import mdncli\n"
        "model = mdncli.fit('data.csv', mixtures=2, steps=5, baseline=True, cv=2)\n"
        "rows = mdncli.read_table('data.csv')\n"
        "model.predict(rows), model.sample(rows), model.evaluate(rows), model.plot(data=rows)\n"
        "model.save('again.pt')\n"
        "print(len(mdncli.load('again.pt').condition(rows)))\n"
    )
    assert in_process(code, folder) == "1000\n"


def test_a_table_that_is_refused_does_not_wait_for_torch(folder: Path) -> None:
    code = (
        "import sys, mdncli\n"
        "try: mdncli.fit('data.csv', target='z')\n"
        "except mdncli.MdnError as error: print(error)\n"
        "assert 'torch' not in sys.modules\n"
    )
    assert "no column 'z'" in in_process(code, folder)


# Files.


def test_a_model_is_the_same_after_saving(folder: Path) -> None:
    model = load("model.pt")
    model.save(Path("copy.pt"))
    model.save("another.pt")
    assert Path("copy.pt").read_bytes() == Path("another.pt").read_bytes()
    assert Path("copy.pt").read_bytes() == Path("model.pt").read_bytes()
    assert repr(load("copy.pt").describe()) == repr(model.describe())
    x = np.linspace(-5.0, 5.0, 30)[:, None]
    np.testing.assert_array_equal(
        load(folder / "copy.pt").condition(x).median(), model.condition(x).median()
    )


def test_a_failed_save_leaves_the_file_as_it_was(folder: Path) -> None:
    before = Path("model.pt").read_bytes()
    broken = ConditionalDensity(None)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        broken.save("model.pt")
    assert Path("model.pt").read_bytes() == before
    with pytest.raises(mdncli.MdnError, match="no such folder"):
        load("model.pt").save("no/such/model.pt")


def test_errors_name_the_file(folder: Path) -> None:
    for read in (load, read_table):
        with pytest.raises(MissingInputError, match="nowhere: there is no such file"):
            read("nowhere")
    with pytest.raises(ModelFileError, match=r"data.csv: this is not a model file"):
        load("data.csv")
    with pytest.raises(DataError, match=r"model.pt: this is not a text file: it is a zip archive"):
        read_table("model.pt")
    assert issubclass(DataError, mdncli.MdnError)


# Rows, as Python has them.


def test_rows_may_be_a_frame_or_an_array(wide: Path) -> None:
    model, rows = load(wide / "model.pt"), read_table(wide / "data.csv")
    whole = model.condition(rows).mean()
    np.testing.assert_array_equal(model.condition(rows[["v", "c", "b", "a"]]).mean(), whole)
    np.testing.assert_array_equal(model.condition(rows[["a", "b", "c"]].to_numpy()).mean(), whole)
    assert model.condition(rows[:0]).mean().shape == (0, 2)
    for wrong, words in (
        (rows.rename(columns={"b": "bb"}), "no column 'b'. Did you mean 'bb'?"),
        (rows[["a", "b"]].to_numpy(), "must have 3 columns, 'a', 'b', 'c'"),
        (rows.assign(c=np.nan), "row 1, column 'c': the cell is empty"),
    ):
        with pytest.raises(DataError) as refusal:
            model.condition(wrong)
        assert words in str(refusal.value)


def test_a_model_is_evaluated_on_frames_and_arrays(wide: Path) -> None:
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


def test_a_table_is_read_by_its_dialect(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes("1,5;é\n2,5;-\n3;ü;x\n".encode("cp1252"))
    dialect = {"delimiter": ";", "decimal": ",", "encoding": "cp1252", "header": False, "na": ["-"]}
    with pytest.raises(DataError, match="row 3, line 3"):
        read_table(path, **dialect)
    frame = read_table(path, on_bad_rows="skip", **dialect)
    assert frame["c1"].tolist() == [1.5, 2.5]
    assert frame["c2"].tolist() == ["é", "-"]
    with pytest.raises(TypeError, match="There is no parameter 'sep'"):
        read_table(path, sep=";")


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
