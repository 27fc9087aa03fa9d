"""`mdn inspect`: what a model file is, and what a table holds."""

import hashlib
import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands.helpers import error_of

from mdncli import load, read_table
from mdncli.conditional_density import ConditionalDensity
from running import Run, mdn

OLD = Path(__file__).parent.parent / "modelfile" / "files"


def plain(done: subprocess.CompletedProcess[bytes]) -> dict:
    """Return the JSON that a command printed and nothing else."""
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    assert done.stdout.count(b"\n") == 1
    return json.loads(done.stdout)


def lines(done: subprocess.CompletedProcess[bytes]) -> list[list[str]]:
    """Return the words of every line of a table that a command printed."""
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.decode().splitlines()]


# A model.


def test_json_of_a_model_describes_it(here: Run, wide: Path) -> None:
    result = plain(here("inspect", wide / "model.pt", "--json"))
    data = read_table(wide / "data.csv")
    assert result["kind"] == "model"
    for role, names in (("features", "abc"), ("targets", "uv")):
        assert [column["name"] for column in result[role]] == [*names]
        for column in result[role]:
            values = data[column["name"]]
            assert (column["lowest"], column["highest"]) == (values.min(), values.max())
            assert column["median"] == values.median()
    assert result["members"] == 1
    assert result["architecture"]["mixtures"] == 12
    assert result["settings"]["epochs"] == 20
    assert result["record"]["rows"] == 400
    assert result["record"]["stopped"] == "epochs"
    assert len(result["record"]["components"][0]["weight"]) == 12
    assert result["origin"]["command"] == (
        "mdn fit DATA --target u --target v --mixtures 12 --covariance diagonal --epochs 20 "
        "--finish 0 --baseline"
    )
    table = (wide / "data.csv").read_bytes()
    assert result["origin"]["table_sha256"] == hashlib.sha256(table).hexdigest()
    assert set(result["origin"]["versions"]) >= {"mdncli", "python", "torch", "numpy"}
    assert result["origin"]["versions"]["numpy"] == np.__version__
    python = load(wide / "model.pt").describe()
    assert result["record"]["nll_valid"] == python["record"]["nll_valid"]
    assert result["nll_baseline"] == python["nll_baseline"]


def test_a_model_is_described_as_text(here: Run, wide: Path) -> None:
    done = here("inspect", wide / "model.pt")
    assert done.stderr == b""
    message = done.stdout.decode()
    result = load(wide / "model.pt").describe()
    command = plain(here("inspect", wide / "model.pt", "--json"))["origin"]["command"]
    rows = {words[0]: words[1:] for words in lines(done) if words}
    for column in (*result["features"], *result["targets"]):
        role, kind, *numbers = rows[f"'{column['name']}'"]
        assert (role, kind) == ("target" if column in result["targets"] else "feature", "number")
        assert numbers[:3] == [f"{column[name]:g}" for name in ("lowest", "median", "highest")]
    assert rows["'u'"][5] == "continuous"
    record, origin = result["record"], result["origin"]
    for text in (
        *("1 of 12", "64,64, silu", "epochs=20", "400, 40 of them held out"),
        *(f"{value:.4f} nats per row" for value in (record["nll_train"], record["nll_valid"])),
        f"{record['reference']['nll_valid']:.4f} nats per row",
        f"{result['nll_baseline']:.4f} nats per row",
        f"all epochs done; best epoch {record['best_epochs'][0]} of 20",
        *(command, origin["table_sha256"], f"numpy {np.__version__}"),
        f"effective components: {record['components'][0]['effective']:.1f} of 12",
    ):
        assert text in message


def test_components_have_the_numbers_that_predict_gives_them(
    here: Run, wide: Path, tmp_path: Path
) -> None:
    """A component of the second rung follows those of the first."""
    model = load(wide / "model.pt").network
    rung = model.main
    rungs = [replace(rung, name="first", weight=0.1), replace(rung, weight=rung.weight - 0.1)]
    with (tmp_path / "two.pt").open("wb") as stream:
        ConditionalDensity(replace(model, rungs=rungs)).write(stream)
    message = here("inspect", "two.pt").stdout.decode()
    numbers = [int(number) for number in re.findall(r"^ +(\d+) +\S+% +\S+% +\S+%", message, re.M)]
    assert numbers == list(range(13, 25))


def test_a_model_comes_through_a_pipe_and_loads_no_torch(run: Run, fitted: Path) -> None:
    model = (fitted / "model.pt").read_bytes()
    code = (
        "import sys; from mdncli.commands.app import run; status = run()\n"
        "print('loaded', *sorted({'torch', 'scipy.special', 'pandas'} & set(sys.modules)))\n"
        "sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", "-", "--json"],
        input=model,
        capture_output=True,
        check=True,
    )
    output, loaded = done.stdout.splitlines(keepends=True)
    assert loaded == b"loaded\n"
    assert output == run("inspect", fitted / "model.pt", "--json").stdout


@pytest.mark.parametrize("version", [1, 2])
def test_models_of_earlier_formats_are_described(here: Run, version: int) -> None:
    path = OLD / f"version{version}.pt"
    result = plain(here("inspect", path, "--json"))
    assert result["origin"] == {
        **{"command": "", "request": {}, "dialect": {}},
        **{"table_sha256": "", "versions": {}},
    }
    done = here("inspect", path)
    assert ["made", "by", "unknown"] in lines(done)
    assert "nan" not in done.stdout.decode()
    assert (b"least squares" in done.stdout) == (result["nll_baseline"] is not None)


def test_a_model_holds_no_file_name(here: Run, fitted: Path, tmp_path: Path) -> None:
    (tmp_path / "other-name.csv").write_bytes((fitted / "data.csv").read_bytes())
    options = ("--baseline", "--epochs", "20", "--no-ladder")
    done = here("fit", "other-name.csv", *options, "-o", "another.pt", "--json")
    assert done.returncode == 0, done.stderr
    # The order of the options does not matter either.
    kept = {
        path: plain(here("inspect", path, "--json"))
        for path in (fitted / "model.pt", tmp_path / "another.pt")
    }
    one, other = kept.values()
    assert one == other
    assert one["origin"]["command"] == "mdn fit DATA --no-ladder --epochs 20 --baseline"
    assert (tmp_path / "another.pt").read_bytes() == (fitted / "model.pt").read_bytes()


def test_the_stored_command_makes_the_model_again(here: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, count in (("table.csv", 60), ("held-out.csv", 20)):
        rows = "\n".join(f"{a},{b},{b + 0.1 * a}" for a, b in rng.normal(size=(count, 2)).tolist())
        (tmp_path / name).write_text(f'"my, x",b,the y\n{rows}\n')
    options = ("-t", "the y", "-x", "my, x", "-x", "b", "--valid-file", "held-out.csv", "-k", "2")
    done = here(
        "fit", "table.csv", *options, "--epochs", "2", "--hidden", "8,8", "--no-background", "-q"
    )
    assert done.returncode == 0, done.stderr
    command = plain(here("inspect", "model.pt", "--json"))["origin"]["command"]
    assert "table" not in command
    assert "held-out" not in command
    names = {"DATA": "table.csv", "FILE": "held-out.csv"}
    _, *words = (names.get(word, word) for word in shlex.split(command))
    done = here(*words, "-o", "again.pt", "-q")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again.pt").read_bytes() == (tmp_path / "model.pt").read_bytes()


# A table.

TABLE = (
    "n,steps,word,gaps,mixed,blank,same\n"
    "0.5,1.5,red,1,1,,7\n"
    "0.25,3,blue,,two,,7\n"
    "1e1,1.5,red,NaN,3,,7\n"
    "-4,0,a b,NA,inf,,7\n"
)


def test_json_of_a_table_describes_its_columns(run: Run) -> None:
    result = plain(run("inspect", "-", "--json", stdin=TABLE.encode()))
    assert (result["kind"], result["rows"]) == ("table", 4)
    columns = {column["name"]: column for column in result["columns"]}
    assert [*columns] == TABLE.split("\n")[0].split(",")
    assert {name: column["kind"] for name, column in columns.items()} == {
        **{"n": "number", "steps": "number", "word": "text", "gaps": "number"},
        **{"mixed": "mixed", "blank": "empty", "same": "number"},
    }
    assert {name: column["missing"] for name, column in columns.items() if column["missing"]} == {
        "gaps": 3,
        "blank": 4,
    }
    n = columns["n"]
    assert (n["lowest"], n["median"], n["highest"]) == (-4.0, 0.375, 10.0)
    assert (columns["steps"]["step"], n["step"]) == (1.5, None)
    assert columns["word"]["distinct"] == 3
    assert columns["word"]["examples"] == ["red", "blue", "a b"]
    assert columns["mixed"]["examples"] == ["two", "inf"]
    assert columns["blank"]["lowest"] is None
    assert result["options"] == ["-t steps", "--ignore mixed"]


def test_a_table_is_described_as_text(here: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(TABLE)
    done = here("inspect", "t.csv")
    rows = lines(done)
    assert rows[0] == ["4", "rows,", "7", "columns"]
    assert rows[2] == ["'n'", "number", "4", "-4", "0.375", "10"]
    assert rows[3] == ["'steps'", "number", "3", "0", "1.5", "3", "1.5"]
    assert rows[4] == ["'word'", "text", "3", "'red',", "'blue',", "'a", "b'"]
    assert (
        done.stdout.decode()
        .splitlines()[-1]
        .startswith("mdn fit needs these options: -t steps --ignore")
    )
    assert done.stderr == b""


def test_the_options_named_are_what_fit_needs(here: Run, tmp_path: Path) -> None:
    rows = (f"{i},id {i},{i * i % 7},,{i % 5}.5,{'' if i == 3 else i},5" for i in range(30))
    names = 'x,my id,"the, target",none,"a ""b""",gap,same'
    (tmp_path / "t.csv").write_text("\n".join([names, *rows]) + "\n")
    last_line = here("inspect", "t.csv").stdout.decode().splitlines()[-1]
    options = shlex.split(last_line.removeprefix("mdn fit needs these options: "))
    assert options == ["-t", "gap"]
    done = here("fit", "t.csv", "--epochs", "1", "--json", *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["features"] == ["x", "the, target", 'a "b"']


def test_a_table_that_fit_takes_needs_no_options(here: Run, fitted: Path, wide: Path) -> None:
    for folder in (fitted, wide):
        assert plain(here("inspect", folder / "data.csv", "--json"))["options"] == []
        assert b"mdn fit needs" not in here("inspect", folder / "data.csv").stdout


DIALECTS = [
    ("d.csv", b"x;y\n1,5;2\n2,5;3\n", ["--delimiter", ";", "--decimal", ","]),
    ("d.csv", b"x;y\na;b\n", ["--delimiter", ";"]),
    ("d.tsv", b"x\ty\n1\t2\n", []),
    ("d.csv", b"x\ty\n1\t2\n", ["--delimiter", "\\t"]),
    ("d.csv", "\ufeffx|y\r\n1|2\r\n".encode(), ["--delimiter", "|"]),
    ("d.csv", "x,y\n1,2\n3,4\n".encode("utf-16"), ["--encoding", "utf-16"]),
    ("d.csv", "x,y\n1,2\n3,4\n".encode("utf-16-be"), ["--encoding", "utf-16-be"]),
    ("d.csv", b"x,y\n\xe9,2\n", ["--encoding", "cp1252"]),
    ("d.csv", b"0.5,2\n1.5,3\n", ["--no-header"]),
    ("d.csv", b"# made in May\n# twice\nx,y\n1,2\n", ["--comment", "#"]),
    ("d.csv", b"x,y;z\n1,2\n", []),
]


@pytest.mark.parametrize(("name", "content", "words"), DIALECTS)
def test_the_suggested_options_read_the_file(
    here: Run, tmp_path: Path, name: str, content: bytes, words: list[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    result = plain(here("inspect", name, "--json"))
    assert result["reading"] == words
    message = here("inspect", name).stdout.decode()
    # A table without a target cannot be fitted.
    command = "inspect" if "needs a target" in message else "fit"
    proposed = f"To read it like that: mdn {command} {shlex.join([name, *words])}\n"
    assert (proposed in message) == bool(words)
    # With those options it is described, and nothing else is suggested.
    explicit = plain(here("inspect", name, "--json", *words))
    assert (len(explicit["columns"]), explicit["problem"], explicit["reading"]) == (2, None, words)
    assert "To read it" not in here("inspect", name, *words).stdout.decode()


def test_explicit_options_that_read_the_file_are_not_doubted(here: Run) -> None:
    result = plain(here("inspect", "-", "--json", "--delimiter", "|", stdin=b"x;y\n1;2\n"))
    assert [column["name"] for column in result["columns"]] == ["x;y"]
    assert result["reading"] == ["--delimiter", "|"]


def test_a_header_alone_is_a_table_of_no_rows(here: Run) -> None:
    result = plain(here("inspect", "-", "--json", stdin=b"x,y\n"))
    assert result["rows"] == 0
    assert [column["kind"] for column in result["columns"]] == ["empty", "empty"]


def test_text_from_a_file_cannot_disturb_the_terminal(here: Run) -> None:
    table = "x\x1b[31m,y,[bold]z\u202e\nred\x1b[0m,1,\u202e\n".encode()
    message = here("inspect", "-", stdin=table).stdout.decode()
    assert "\x1b" not in message
    assert "\u202e" not in message
    assert r"x\x1b[31m" in message
    assert "[bold]z" in message


def test_a_reader_that_leaves_early_ends_it_quietly(fitted: Path) -> None:
    script = f'"{sys.executable}" -m mdncli inspect model.pt | (exec 0<&-; sleep 2); '
    done = subprocess.run(
        ["bash", "-c", script + "echo ${PIPESTATUS[0]}"],
        cwd=fitted,
        capture_output=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"0\n", b"")


# Errors.


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"x,y\n1,2,3\n4,5\n", "row 1, line 2: 3 fields"),
        (b"PK\x03\x04 and no more", "not a model file"),
        (b"x\0y\n", "null bytes"),
        (b"\xff\0,\xff\n", "null bytes"),
    ],
)
def test_files_that_are_neither_a_model_nor_a_table(here: Run, content: bytes, words: str) -> None:
    assert words in error_of(here("inspect", "-", stdin=content), 65)


def test_a_model_cut_short_and_a_file_that_is_not_there(fitted: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.pt").write_bytes((fitted / "model.pt").read_bytes()[:9000])
    assert "cut.pt: this is not a model file" in error_of(
        mdn("inspect", "cut.pt", cwd=tmp_path), 65
    )
    error_of(mdn("inspect", "nowhere.pt", cwd=tmp_path), 66)
    error_of(mdn("inspect", tmp_path, cwd=tmp_path), 66)
