"""Files as people have them: each is read in one command, or refused with a remedy that works.

Every command that a message proposes is followed, and the result is compared with the true table.
"""

import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands.helpers import Cells, cells, error_of, numbers, table_of

from mdncli import read_table
from running import Run

ROWS = 40
RNG = np.random.default_rng(5)
X = np.round(RNG.normal(size=ROWS), 3)
Y = np.round(2.0 * X + RNG.normal(size=ROWS), 3)
FIT = "--steps", "3", "-k", "1", "--members", "1", "-q"


def text(*, sep: str = ",", head: str = "", header: str = "x,y", y: list[str] | None = None) -> str:
    """Return the table as CSV; `y` is how the cells of y are written."""
    y = y or [str(value) for value in Y]
    rows = [f"{a}{sep}{b}" for a, b in zip(X, y, strict=True)]
    return head + "\n".join([header.replace(",", sep), *rows]) + "\n"


def write(folder: Path, content: str | bytes, name: str = "d.csv") -> Path:
    content = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(content)
    return folder / name


def fitted_columns(here: Run, *words: str | Path) -> tuple[list[str], list[str], str]:
    """Return the features and the target of a fit, and what it said."""
    done = here("fit", *words, *FIT, "-o", "m.pt", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return found["features"], found["target"], done.stderr.decode()


# Columns without a name.


def test_an_index_in_a_parquet_file_is_no_column(here: Run, tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": X, "y": Y}).sample(frac=0.9, random_state=1)
    frame.to_parquet(tmp_path / "d.parquet")
    assert "__index_level_0__" in pq.read_schema(tmp_path / "d.parquet").names
    features, target, said = fitted_columns(here, "d.parquet")
    assert (features, target) == (["x"], ["y"])
    assert "'__index_level_0__' is the index of the data frame" in said
    named = frame.rename_axis("when")
    named.to_parquet(tmp_path / "n.parquet")
    assert fitted_columns(here, "n.parquet")[:2] == (["x"], ["y"])
    # It can still be named.
    assert fitted_columns(here, "n.parquet", "-x", "when,x")[0] == ["when", "x"]


@pytest.mark.parametrize("metadata", [b"", b"[]", b"{", b'{"index_columns": 3}', b"[" * 100_000])
def test_odd_metadata_of_pandas_are_ignored(metadata: bytes, tmp_path: Path) -> None:
    table = pa.table({"x": [1.0, 2.0], "y": [3.0, 4.0]}).replace_schema_metadata(
        {b"pandas": metadata}
    )
    pq.write_table(table, tmp_path / "d.parquet")
    assert list(read_table(tmp_path / "d.parquet")) == ["x", "y"]


def test_a_first_column_without_a_name_names_the_rows(here: Run, tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": X, "y": Y})
    frame.to_csv(tmp_path / "pandas.csv")
    frame.to_csv(tmp_path / "r.csv", quoting=2)
    for name in ("pandas.csv", "r.csv"):
        features, target, said = fitted_columns(here, name)
        assert (features, target) == (["x"], ["y"])
        assert "The first column has no name, so its cells are the names of the rows." in said
        # They are carried to an output like any other column.
        carried = table_of(here("predict", "m.pt", name, "--mean"))
        assert list(carried) == ["", "x", "y", "y_mean"]
        assert carried[""] == [str(row) for row in range(ROWS)]


def test_a_header_of_r_lacks_the_name_of_the_row_names(here: Run, tmp_path: Path) -> None:
    rows = [f'"{row}" {a} {b}' for row, (a, b) in enumerate(zip(X, Y, strict=True), start=1)]
    write(tmp_path, "\n".join(['"x" "y"', *rows]) + "\n", "r.txt")
    features, target, _ = fitted_columns(here, "r.txt", "--delimiter", " ")
    assert (features, target) == (["x"], ["y"])
    frame = read_table(tmp_path / "r.txt", delimiter=" ")
    assert frame["y"].tolist() == Y.tolist()


@pytest.mark.parametrize("header", ["x;y;;", "x;y"])
def test_empty_columns_without_a_name_are_left_out(header: str, here: Run, tmp_path: Path) -> None:
    ends = ";;" if header.endswith(";") else ";"
    rows = [f"{a};{b}{ends}" for a, b in zip(X, Y, strict=True)]
    write(tmp_path, "\n".join([header, *rows]) + "\n")
    features, target, said = fitted_columns(here, "d.csv", "--delimiter", ";")
    assert (features, target) == (["x"], ["y"])
    count = "2 columns" if header.endswith(";") else "1 column"
    assert f"{count} without a name and without a value is left out" in said
    assert list(table_of(here("predict", "m.pt", "d.csv", "--delimiter", ";", "--mean"))) == [
        *("x", "y", "y_mean")
    ]


def test_other_columns_without_a_name_get_one(here: Run, tmp_path: Path) -> None:
    rows = [f"{row % 3},{a},{b}" for row, (a, b) in enumerate(zip(X, Y, strict=True))]
    write(tmp_path, "\n".join(["a,,y", *rows]) + "\n")
    message = error_of(here("fit", "d.csv", *FIT), 65)
    assert "column 2 has no name" in message
    assert "--name-columns" in message
    assert fitted_columns(here, "d.csv", "--name-columns")[:2] == (["a", "c2"], ["y"])
    assert list(read_table(tmp_path / "d.csv", name_columns=True)) == ["a", "c2", "y"]
    shown = here("inspect", "d.csv").stdout.decode()
    assert "To read it like that: mdn fit d.csv --name-columns" in shown


def test_a_name_must_not_be_that_of_another_column(here: Run, tmp_path: Path) -> None:
    write(tmp_path, "c2,,y\n1,2,3\n4,5,7\n")
    message = error_of(here("fit", "d.csv", "--name-columns", *FIT), 65)
    assert "two columns are named 'c2'" in message


# Numbers as people write them.


def test_thousands_are_read(here: Run, tmp_path: Path) -> None:
    y = [f'"{200_000 + 1000 * value:,.0f}"' for value in Y]
    write(tmp_path, text(y=y))
    message = error_of(here("fit", "d.csv", *FIT), 65)
    assert "--decimal ," in message
    assert "--thousands ," in message
    fitted_columns(here, "d.csv", "--thousands", ",")
    frame = read_table(tmp_path / "d.csv", thousands=",")
    np.testing.assert_allclose(frame["y"], np.round(200_000 + 1000 * Y), atol=0.5)


def test_inspect_never_chooses_between_thousands_and_a_decimal_comma(
    here: Run, tmp_path: Path
) -> None:
    write(tmp_path, "x,y\n" + "".join(f'{row},"{269 + row},231"\n' for row in range(ROWS)))
    shown = here("inspect", "d.csv").stdout.decode()
    assert "'269,231' may be 269231 (--thousands ,) or 269.231 (--decimal ,)." in shown
    assert "To read it like that" not in shown
    assert "mdn fit needs these options" not in shown
    found = json.loads(here("inspect", "d.csv", "--json").stdout)
    assert "--decimal" not in found["reading"]
    assert "--thousands" not in found["reading"]


@pytest.mark.parametrize(
    ("written", "options"),
    [
        (lambda value: f'"{value:,.2f}"', {"thousands": ","}),
        (lambda value: f"{value:,.2f}".replace(",", " "), {"thousands": " "}),
        (lambda value: f"{value:,.2f}".replace(",", "'"), {"thousands": "'"}),
        (lambda value: f"{value:,.2f}".replace(",", "\u202f"), {"thousands": " "}),
        (
            lambda value: '"' + f"{value:,.2f}".translate(str.maketrans(",.", ".,")) + '"',
            {"thousands": ".", "decimal": ","},
        ),
        (lambda value: f"{value / 1e4:.2f}%", {"strip": ("%",)}),
        (lambda value: f"${value:.2f}", {"strip": ("$",)}),
        (lambda value: f"-€ {value:.2f}", {"strip": ("€",)}),
        (lambda value: f"{value:.2f} kg", {"strip": ("kg",)}),
        (lambda value: f'"${value:,.2f}"', {"strip": ("$",), "thousands": ","}),
    ],
)
def test_written_numbers_are_read_as_inspect_says(
    written: object, options: dict[str, object], here: Run, tmp_path: Path
) -> None:
    values = np.round(1e6 + 1e5 * Y, 2)
    rows = [f"{row},{written(value)}" for row, value in enumerate(values)]
    write(tmp_path, "\n".join(["x,y", *rows]) + "\n")
    frame = read_table(tmp_path / "d.csv", **options)
    found = frame["y"].to_numpy()
    expected = values / 1e4 if "%" in options.get("strip", ()) else values
    expected = -expected if "€" in options.get("strip", ()) else expected
    np.testing.assert_allclose(found, np.round(expected, 2), rtol=1e-12)
    follow_inspect(here, tmp_path / "d.csv", pd.DataFrame({"y": np.round(expected, 2)}))


@pytest.mark.parametrize(
    ("cell", "remedy"),
    [
        ("{:.2f}%", "--strip %"),
        ("${:.2f}", "--strip '$'"),
        ("{:.1f} kg", "--strip kg"),
    ],
)
def test_a_feature_of_written_numbers_is_refused_with_a_remedy_that_works(
    cell: str, remedy: str, here: Run, tmp_path: Path
) -> None:
    rows = [f"{cell.format(abs(a))},{b}" for a, b in zip(X, Y, strict=True)]
    write(tmp_path, "\n".join(["a,y", *rows]) + "\n")
    message = error_of(here("fit", "d.csv", *FIT), 65)
    assert "column 'a': its cells look like numbers" in message
    assert remedy in message
    assert fitted_columns(here, "d.csv", *shlex.split(remedy))[0] == ["a"]
    few = [f"{cell.format(row % 2)},{b}" for row, b in enumerate(Y)]
    write(tmp_path, "\n".join(["a,y", *few]) + "\n")
    message = error_of(here("fit", "d.csv", *FIT), 65)
    assert "--categorical a" in message
    assert fitted_columns(here, "d.csv", "--categorical", "a")[0] == ["a"]


def test_ordinals_stay_categories(here: Run, tmp_path: Path) -> None:
    rows = [f"{('1st', '2nd', '3rd')[row % 3]},{b}" for row, b in enumerate(Y)]
    write(tmp_path, "\n".join(["class,y", *rows]) + "\n")
    assert fitted_columns(here, "d.csv")[0] == ["class"]


@pytest.mark.parametrize("marker", ["-999", "-999.0", "-9.99e2"])
def test_markers_match_as_numbers(marker: str, here: Run, tmp_path: Path) -> None:
    content = "x,y\n" + "".join(
        f"{('-999', '-999.0', '-999.00')[row] if row < 3 else X[row]},{Y[row]}\n"
        for row in range(ROWS)
    )
    write(tmp_path, content)
    assert read_table(tmp_path / "d.csv", na=(marker,))["x"].isna().sum() == 3
    said = fitted_columns(here, "d.csv", "--na", marker)[2]
    assert "No cell matches" not in said


def test_a_marker_that_matches_nothing_is_mentioned(here: Run, tmp_path: Path) -> None:
    write(tmp_path, text())
    said = fitted_columns(here, "d.csv", "--na", "-999", "--na", "?")[2]
    assert "No cell matches --na -999." in said
    assert "No cell matches --na '?'." in said


def test_codes_with_leading_zeros_are_mentioned(here: Run, tmp_path: Path) -> None:
    rows = [f"{row % 4:05d},{b}" for row, b in enumerate(Y)]
    write(tmp_path, "\n".join(["zip,y", *rows]) + "\n")
    said = fitted_columns(here, "d.csv")[2]
    assert "such as '00000'" in said
    assert "--categorical zip" in said
    assert "--categorical" not in fitted_columns(here, "d.csv", "--categorical", "zip")[2]


# Dates.


@pytest.mark.parametrize("zone", ["", "Z", "+02:00"])
def test_nanoseconds_are_read(zone: str, here: Run, tmp_path: Path) -> None:
    moments = pd.date_range("2024-01-01", periods=ROWS, freq="36h") + pd.Timedelta(123456789, "ns")
    cells_of_csv = [f"{moment.isoformat()}{zone}" for moment in moments]
    assert "123456789" in cells_of_csv[0]
    rows = [f"{a},{b}" for a, b in zip(cells_of_csv, Y, strict=True)]
    write(tmp_path, "\n".join(["when,y", *rows]) + "\n")
    done = here("fit", "d.csv", *FIT, "--json")
    assert json.loads(done.stdout)["kinds"] == {"when": "date"}
    frame = pd.DataFrame({"when": moments.tz_localize("UTC") if zone else moments, "y": Y})
    frame.to_parquet(tmp_path / "d.parquet")
    done = here("fit", "d.parquet", *FIT, "--json")
    assert json.loads(done.stdout)["kinds"] == {"when": "date"}


@pytest.mark.parametrize(
    ("form", "proposed"),
    [
        ("%d/%m/%Y", ["when=%d/%m/%Y"]),
        ("%m/%d/%Y", ["when=%m/%d/%Y"]),
        ("%d.%m.%Y %H:%M", ["when=%d.%m.%Y %H:%M"]),
        ("%d.%m.%y", ["when=%d.%m.%y"]),
        ("%Y/%m/%d", ["when=%Y/%m/%d"]),
        ("%Y/%m/%d %H:%M:%S", ["when=%Y/%m/%d %H:%M:%S"]),
    ],
)
def test_other_dates_are_refused_with_their_formats(
    form: str, proposed: list[str], here: Run, tmp_path: Path
) -> None:
    moments = pd.date_range("2024-01-03", periods=ROWS, freq="61h")
    rows = [f"{moment.strftime(form)},{b}" for moment, b in zip(moments, Y, strict=True)]
    write(tmp_path, "\n".join(["when,y", *rows]) + "\n")
    message = error_of(here("fit", "d.csv", *FIT), 65)
    for each in proposed:
        assert shlex.join(["--datetime", each]) in message
        done = here("fit", "d.csv", "--datetime", each, *FIT, "--json")
        assert json.loads(done.stdout)["kinds"] == {"when": "date"}


def test_both_formats_are_named_where_both_are_possible(here: Run, tmp_path: Path) -> None:
    rows = [f"{1 + row % 12:02d}/{1 + row % 11:02d}/2024,{b}" for row, b in enumerate(Y)]
    write(tmp_path, "\n".join(["when,y", *rows]) + "\n")
    message = error_of(here("fit", "d.csv", *FIT), 65)
    assert "--datetime when=%d/%m/%Y or --datetime when=%m/%d/%Y" in message


# Headers, delimiters, formats.


def test_a_header_of_numbers_is_mentioned(here: Run, tmp_path: Path) -> None:
    write(tmp_path, "".join(f"{a},{b}\n" for a, b in zip(X, Y, strict=True)))
    said = fitted_columns(here, "d.csv")[2]
    assert "Every name in the header is a number" in said
    assert "--no-header" in said
    assert "header" not in fitted_columns(here, "d.csv", "--no-header")[2]


@pytest.mark.parametrize(("sep", "word"), [(";", "';'"), ("\t", "\\t"), ("|", "'|'")])
def test_an_error_names_the_delimiter_that_would_read_the_file(
    sep: str, word: str, here: Run, tmp_path: Path
) -> None:
    rows = [f"{a}{sep}{b}{sep}a, b" for a, b in zip(X, Y, strict=True)]
    write(tmp_path, "\n".join([f"x{sep}y{sep}g", *rows]) + "\n")
    message = error_of(here("fit", "d.csv", *FIT), 65)
    proposed = re.search(r"--delimiter (\S+)\.$", message.strip())
    assert proposed is not None, message
    [delimiter] = shlex.split(proposed[1])
    assert delimiter in (sep, word)
    fitted_columns(here, "d.csv", "--delimiter", delimiter, "-t", "y", "--ignore", "g")


@pytest.mark.parametrize("name", ["out.json", "out.xlsx", "out.feather", "out.csv.zip"])
def test_an_unknown_suffix_is_refused(name: str, fitted: Path, here: Run, tmp_path: Path) -> None:
    for words in (
        ("predict", fitted / "model.pt", fitted / "data.csv"),
        ("sample", fitted / "model.pt"),
        ("generate", "sinusoid"),
    ):
        message = error_of(here(*words, "-o", name), 2)
        assert ".jsonl" in message
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["d.jsonl", "d.ndjson", "d.jsonl.gz"])
def test_json_lines_go_in_and_out(name: str, here: Run, tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": X, "g": ["a", "é\n"] * (ROWS // 2), "y": Y})
    frame.loc[3, "x"] = np.nan
    frame.to_json(tmp_path / name, orient="records", lines=True)
    features, target, _ = fitted_columns(here, name)
    assert (features, target) == (["x", "g"], ["y"])
    assert here("predict", "m.pt", name, "--mean", "-o", f"out-{name}").returncode == 0
    back = pd.read_json(tmp_path / f"out-{name}", lines=True, precise_float=True)
    assert list(back) == ["x", "g", "y", "y_mean"]
    assert back["g"].tolist() == frame["g"].tolist()
    pd.testing.assert_series_equal(back["x"], frame["x"])
    answers = table_of(here("predict", "m.pt", name, "--mean", "--only"))
    assert back["y_mean"].tolist() == [float(cell) for cell in answers["y_mean"]]
    # What was written is read again.
    assert here("evaluate", "m.pt", f"out-{name}", "-q", "--json").returncode == 0


def test_json_lines_go_through_pipes(here: Run, tmp_path: Path) -> None:
    content = "".join(f'{{"x": {a}, "y": {b}}}\n' for a, b in zip(X, Y, strict=True)).encode()
    words = ("--format", "jsonl")
    done = here("fit", "-", *words, *FIT, "-o", "m.pt", stdin=content)
    assert done.returncode == 0, done.stderr
    done = here("predict", "m.pt", "-", *words, "--mean", stdin=content)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["x"], row["y"]) for row in rows] == list(zip(X.tolist(), Y.tolist(), strict=True))
    write(tmp_path, content, "d.jsonl")
    same = table_of(here("predict", "m.pt", "d.jsonl", "--mean", "--only"))
    assert [row["y_mean"] for row in rows] == [float(cell) for cell in same["y_mean"]]
    drawn = here("sample", "m.pt", "--n", "3", "--format", "tsv").stdout
    assert drawn.splitlines()[0] == b"x\ty"
    assert json.loads(here("inspect", "-", *words, "--json", stdin=content).stdout)["rows"] == ROWS


def test_json_lines_of_numbers_and_texts(tmp_path: Path) -> None:
    write(tmp_path, '{"x": 1, "y": "a"}\n{"x": "b", "z": true}\n\n', "d.jsonl")
    frame = read_table(tmp_path / "d.jsonl")
    assert frame["x"].tolist() == ["1", "b"]
    assert frame["y"].tolist() == ["a", ""]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ('{"x": 1}\n{"x":\n', "line 2: this is not JSON"),
        ("[1, 2]\n", "line 1: this is not a JSON object"),
        ("", "the file is empty"),
        ("[" * 100_000, "this is not JSON"),
    ],
)
def test_bad_json_lines_are_refused(content: str, part: str, here: Run, tmp_path: Path) -> None:
    write(tmp_path, content, "d.jsonl")
    assert re.search(part, error_of(here("fit", "d.jsonl", *FIT), 65))


def test_a_name_with_a_comma_can_be_given(here: Run, tmp_path: Path) -> None:
    rows = [f"{a},{-a},{b}" for a, b in zip(X, Y, strict=True)]
    write(tmp_path, "\n".join(['"a,b",c,y', *rows]) + "\n")
    fitted_columns(here, "d.csv")
    for at in ("a,b=1,c=2", "c=2,a,b=1", "c=2, a,b=1"):
        drawn = table_of(here("sample", "m.pt", "--at", at, "--n", "2"))
        assert numbers(drawn, "a,b", "c").tolist() == [[1.0, 2.0]] * 2


def test_a_stray_quote_is_refused(here: Run, tmp_path: Path) -> None:
    content = "name,size,y\n" + "".join(f"a,{row},{Y[row]}\n" for row in range(ROWS))
    write(tmp_path, content + 'x "b, c" d,1\n')
    message = error_of(here("fit", "d.csv", *FIT), 65)
    assert f"row {ROWS + 1}, line {ROWS + 2}, column 'name'" in message
    assert "--quote ''" in message
    # A quote that concerns a single field is as it is.
    write(tmp_path, content + '5" disk,1,2\n"a ""b""",1,2\n')
    assert fitted_columns(here, "d.csv", "-x", "size")[0] == ["size"]


# What inspect proposes is followed.


def follow_inspect(here: Run, path: Path, truth: pd.DataFrame) -> str:
    """Follow the command that inspect proposes; compare what it reads with the true table."""
    shown = here("inspect", path.name).stdout.decode()
    proposed = re.search(r"To read it like that: mdn (.*)", shown)
    assert proposed, shown
    words = shlex.split(proposed[1])
    done = here(*words, *FIT, "-o", "followed.pt", "--json")
    assert done.returncode == 0, done.stderr
    reading = json.loads(here("inspect", path.name, "--json").stdout)["reading"]
    carried = table_of(here("predict", "followed.pt", path.name, *reading, "--mean"))
    assert len(carried["y_mean"]) == len(truth)
    from mdncli.api import inspect

    frame = read_table(path, **inspect(path).suggested.__dict__)
    for name in truth:
        if truth[name].dtype == object or str(truth[name].dtype) == "str":
            assert [cell.strip() for cell in frame[name]] == truth[name].tolist()
        else:
            np.testing.assert_allclose(frame[name], truth[name], rtol=1e-12)
    return proposed[1]


G = ["red", "light blue"] * (ROWS // 2)


def lines(form: str, header: str) -> str:
    rows = [form.format(a=a, b=b, g=g) for a, b, g in zip(X, Y, G, strict=True)]
    return "\n".join([header, *rows]) + "\n"


@pytest.mark.parametrize(
    ("content", "option"),
    [
        (lines("{a};{g};{b}", "x;g;y"), "--delimiter"),
        (lines("{a}\t{g}\t{b}", "x\tg\ty"), "--delimiter"),
        ("Sales of 2024\nby the, office\n\n" + lines("{a},{g},{b}", "x,g,y"), "--skip-lines 2"),
        ("Report; draft\n" + lines("{a};{g};{b}", "x;g;y"), "--skip-lines 1"),
        (lines("{a},{g},{b}", "x,g,y\n---,---,---"), "--comment ---"),
        (lines("{a} | {g} | {b}", "x | g | y\n----|-----|---"), "--comment ---"),
        (lines('{a}, "{g}, {g}", {b}', "x, g, y"), "--delimiter ', '"),
        (lines("{a}||{g}||{b}", "x||g||y"), "--delimiter '||'"),
        (lines("{a}::{g}::{b}", "x::g::y"), "--delimiter ::"),
        (lines('{a},"{g} \\"so\\", ok",{b}', "x,g,y"), "--escape"),
        (lines("{a},'{g}, ok',{b}", "x,g,y"), "--quote"),
        (lines("'{a}','{g}','{b}'", "'x','g','y'"), "--quote"),
        (lines('"1" "{a}" "{b}"', '"i" "x" "y"'), "--delimiter ' '"),
        (lines("{a},{g},{b}", "温度,色,y").encode("shift_jis"), "--encoding shift_jis"),
        (lines("{a},{g},{b}", "größe,g,y").encode("cp1252"), "--encoding cp1252"),
        (lines("{a},it’s {g},{b}", "x,g,y").encode("cp1252"), "--encoding cp1252"),
    ],
)
def test_what_inspect_proposes_reads_the_file(
    content: str | bytes, option: str, here: Run, tmp_path: Path
) -> None:
    path = write(tmp_path, content)
    words = follow_inspect(here, path, pd.DataFrame({"y": Y}))
    assert option in words


def test_inspect_proposes_no_command_that_fails(here: Run, tmp_path: Path) -> None:
    rows = [f"{row + 1}/{1 + row % 9}/2024,a{row},{b}" for row, b in enumerate(Y[:12])]
    write(tmp_path, "\n".join(["when,Qty,id", *rows]) + "\n")
    found = json.loads(here("inspect", "d.csv", "--json").stdout)
    assert found["refused"]
    shown = here("inspect", "d.csv").stdout.decode()
    assert "mdn fit would refuse it: " in shown
    message = error_of(here("fit", "d.csv", *(found["options"] or []), *FIT), 65)
    assert message.removeprefix("error: ").strip() in shown


def test_a_suggestion_that_fails_is_never_printed(here: Run, tmp_path: Path) -> None:
    """Every prefix and many damages of a file: what is proposed works, or nothing is proposed."""
    rng = np.random.default_rng(3)
    whole = ("a report\n" + lines('{a};"{g}, 1";{b}', "x;g;y")).replace(".", ",")
    for _ in range(25):
        at = rng.integers(0, len(whole), 2)
        damaged = whole[: at[0]] + str(rng.choice([*";,\"' \n-", ""])) + whole[at.max() :]
        write(tmp_path, damaged)
        done = here("inspect", "d.csv")
        proposed = re.search(r"To read it like that: mdn (.*)", done.stdout.decode())
        if proposed:
            words = shlex.split(proposed[1])
            more = (*FIT, "-o", "followed.pt") if words[0] == "fit" else ()
            followed = here(*words, *more)
            few = b"at least 10" in followed.stderr
            assert followed.returncode == 0 or few, (damaged, followed.stderr)


# The kind of each column.


def test_fit_says_which_kind_each_column_got_and_why(here: Run, tmp_path: Path) -> None:
    rows = [
        f"{a},{g},{row % 2},{row % 3}x,2024-01-{1 + row % 28:02d},{b}"
        for row, (a, g, b) in enumerate(zip(X, G, Y, strict=True))
    ]
    write(tmp_path, "\n".join(["x,colour,flag,code,day,y", *rows]) + "\n")
    words = ("fit", "d.csv", "--categorical", "flag,code", "--steps", "3", "-k", "1")
    said = here(*words).stderr.decode()
    table = [line for line in said.splitlines() if re.match(r"\s*'\w+' ", line)]
    kinds = {re.match(r"\s*'(\w+)'", line)[1]: " ".join(line.split()[1:]) for line in table}
    assert "every cell is a number" in kinds["x"]
    assert "its cells are texts" in kinds["colour"]
    assert "--categorical" in kinds["flag"]
    assert "looks like numbers" in kinds["flag"]
    assert "looks like numbers" in kinds["code"]
    assert "its cells are dates" in kinds["day"]


def test_the_table_of_a_pipe_is_that_of_the_file(here: Run, tmp_path: Path) -> None:
    path = write(tmp_path, text(sep=", "))
    fitted_columns(here, path.name, "--delimiter", ", ")
    words = ("predict", "m.pt", "-", "--delimiter", ", ", "--mean")
    piped: Cells = cells(here(*words, stdin=path.read_bytes()).stdout)
    assert list(piped) == ["x", "y", "y_mean"]
    assert piped["x"] == [str(value) for value in X]
    assert io.StringIO(path.read_text()).readline() == "x, y\n"
