"""Tables and other files for random runs: good ones, odd ones, and damaged ones."""

import gzip
import io
import json
import lzma
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

Table = list[list[str]]

ODD_NUMBERS = (
    *("inf", "-inf", "nan", "NaN", "1e308", "-1e308", "1.7976931348623157e308", "1e309", "1e-320"),
    *("0", "-0", "0.0", "1_000", "1,5", "1.234,5", "0x10", "+5", "5.", ".5", "1e5", "007", "5%"),
    *("", " ", "NA", "null", "None", "-", "abc", "٣", "１", "1 000", "9" * 400, "1e+0000000001"),
)
ODD_DATES = (
    *("2020-02-30", "0000-01-01", "9999-12-31", "10000-01-01", "2020-01-01T25:00", "1.2.2020"),
    *("2020-01-01T00:00:00Z", "2020-01-01 00:00:00+99:00", "20200101", "1600-01-01", "-2020-01-01"),
)
ODD_NAMES = (
    *("", " ", "y", "x", "a=b", "a,b", '"', "'", "[red]a[/]", "$a_1$", "\x1b[31m", "\u202ea", "\\"),
    *(
        "n" * 1000,
        "-t",
        "--json",
        "name\nwith line",
        "pi1",
        "y_mean",
        "component",
        "é",
        "😀",
        "a\x1fb",
    ),
)
ODD_BYTES = (
    b"\0",
    b"\xff",
    b"\xfe\xff",
    b"\xef\xbb\xbf",
    b'"',
    b"\r",
    b"\n",
    b",",
    b";",
    b"\t",
    b"#",
)


def table_of_one(rng: random.Random, rows: int) -> Table:
    """Return a table of one feature, x, and one target, y."""
    xs = [rng.uniform(-3.0, 3.0) for _ in range(rows)]
    return [["x", "y"], *([repr(x), repr(x * x + rng.gauss(0.0, 0.3))] for x in xs)]


def table_of_many(rng: random.Random, rows: int) -> Table:
    """Return a table with numbers, categories, dates, missing cells, weights and two targets."""
    table: Table = [["a", "hour", "city", "when", "w", "known", "n", "u", "v"]]
    for _ in range(rows):
        a, hour = rng.gauss(0.0, 2.0), rng.randrange(24)
        city = rng.choice(["Rome", "Oslo", "Lima", "São Paulo"])
        when = f"20{rng.randrange(10, 30)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}"
        u, v = a + hour / 6.0 + rng.gauss(0.0, 1.0), abs(rng.gauss(a, 1.0))
        texts = [f"{a:.4f}", str(hour), city, when, f"{rng.random():.2f}", str(rng.randrange(2))]
        table.append([*texts, str(rng.randrange(6)), f"{u:.3f}", f"{v:.3f}"])
        if rng.random() < 0.05:
            table[-1][rng.randrange(4)] = ""
    return table


def as_csv(table: Table, separator: str = ",", end: str = "\n") -> bytes:
    """Return a table as CSV; a cell is quoted where it must be."""

    def quoted(cell: str) -> str:
        plain = not any(mark in cell for mark in (separator, '"', "\n", "\r"))
        return cell if plain else '"' + cell.replace('"', '""') + '"'

    return "".join(separator.join(map(quoted, row)) + end for row in table).encode()


def with_odd_content(table: Table, rng: random.Random) -> Table:
    """Return a table with some odd cells, names, rows or columns."""
    table = [[*row] for row in table]
    for _ in range(rng.choice([1, 1, 2, 4])):
        rng.choice(_CONTENTS)(table, rng)
    return table


def _odd_cells(table: Table, rng: random.Random) -> None:
    column, values = rng.randrange(len(table[0])), ODD_NUMBERS + ODD_DATES
    value = rng.choice(values)
    for row in table[1:]:
        if rng.random() < 0.2 and column < len(row):
            row[column] = value if rng.random() < 0.7 else rng.choice(values)


def _one_odd_cell(table: Table, rng: random.Random) -> None:
    row = rng.choice(table[1:] or table)
    if row:
        row[rng.randrange(len(row))] = rng.choice(ODD_NUMBERS)


def _odd_name(table: Table, rng: random.Random) -> None:
    table[0][rng.randrange(len(table[0]))] = rng.choice(ODD_NAMES)


def _names_twice(table: Table, rng: random.Random) -> None:
    table[0][rng.randrange(len(table[0]))] = rng.choice(table[0])


def _ragged_rows(table: Table, rng: random.Random) -> None:
    for row in table:
        if rng.random() < 0.1:
            row[:] = row[:-1] if rng.random() < 0.5 else [*row, "7"]


def _empty_column(table: Table, rng: random.Random) -> None:
    column, value = rng.randrange(len(table[0])), rng.choice(["", " ", "5", "1e308", "text"])
    for row in table[1:]:
        if column < len(row):
            row[column] = value


def _huge_field(table: Table, rng: random.Random) -> None:
    row = rng.choice(table)
    if row:
        row[rng.randrange(len(row))] = rng.choice(["9", "x", ",", "\n", "é"]) * 200_000


def _many_columns(table: Table, rng: random.Random) -> None:
    count = rng.choice([50, 3000])
    for number, row in enumerate(table):
        row += [f"c{i}" if number == 0 else "1" for i in range(count)]


def _few_rows(table: Table, rng: random.Random) -> None:
    del table[rng.choice([0, 1, 2, 10, 11]) :]
    if not table:
        table.append(["x"])


def _huge_scale(table: Table, rng: random.Random) -> None:
    column = rng.randrange(len(table[0]))
    power = rng.choice(["e300", "e307", "e-300", "e-310", "e20", "e15"])
    for row in table[1:]:
        if column < len(row) and row[column]:
            row[column] += power


def _great_offset(table: Table, rng: random.Random) -> None:
    column, offset = (
        rng.randrange(len(table[0])),
        rng.choice(["1e15", "123456789012345678", "1e300"]),
    )
    for number, row in enumerate(table[1:]):
        if column < len(row) and number % 2:
            row[column] = offset


def _text_numbers(table: Table, rng: random.Random) -> None:
    column, wrap = rng.randrange(len(table[0])), rng.choice(["{} km", "${}", "{}%", " {} ", "<{}"])
    for row in table[1:]:
        if column < len(row):
            row[column] = wrap.format(row[column])


_CONTENTS: list[Callable[[Table, random.Random], None]] = [
    *(_odd_cells, _odd_cells, _one_odd_cell, _one_odd_cell, _odd_name, _names_twice),
    *(_ragged_rows, _empty_column, _huge_field, _many_columns, _few_rows, _huge_scale),
    *(_great_offset, _text_numbers),
]


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Return bytes with some of them changed, lost, added, or said twice."""
    for _ in range(rng.choice([1, 1, 2, 5])):
        place = rng.randrange(len(content) + 1)
        size = rng.choice([1, 1, 4, 64, 4096])
        fault = rng.randrange(7)
        if fault == 0:
            content = content[:place]
        elif fault == 1:
            content = content[:place] + content[place + size :]
        elif fault == 2:
            content = content[:place] + content[place : place + size] + content[place:]
        elif fault == 3:
            content = content[:place] + rng.choice(ODD_BYTES) * size + content[place:]
        elif fault == 4:
            content = content[:place] + rng.randbytes(size) + content[place + size :]
        elif fault == 5:
            changed = bytearray(content)
            for _ in range(size):
                if changed:
                    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            content = bytes(changed)
        else:
            old, new = rng.choice(ODD_BYTES), rng.choice(ODD_BYTES)
            content = content.replace(old, new, rng.choice([1, 10, -1]))
    return content


def random_table(folder: Path, name: str, table: Table, rng: random.Random) -> str:
    """Write a table, half of the time odd or damaged; return the name of the file."""
    if rng.random() < 0.5:
        (folder / f"{name}.csv").write_bytes(as_csv(table))
        return f"{name}.csv"
    if rng.random() < 0.6:
        table = with_odd_content(table, rng)
    suffix = rng.choice(["csv", "csv", "csv", "csv", "tsv", "txt", "csv.gz", "csv.xz", "csv.zst"])
    suffix = rng.choice([suffix, suffix, suffix, suffix, "parquet", "jsonl"])
    content = _in_format(table, suffix, rng)
    if rng.random() < 0.12:
        content = damaged(content, rng)
    (folder / f"{name}.{suffix}").write_bytes(content)
    return f"{name}.{suffix}"


def _in_format(table: Table, suffix: str, rng: random.Random) -> bytes:
    if suffix == "jsonl":
        return "".join(
            json.dumps({name: _json_cell(cell) for name, cell in zip(table[0], row, strict=False)})
            + "\n"
            for row in table[1:]
        ).encode()
    if suffix == "parquet":
        return _parquet(table)
    separator = "\t" if suffix == "tsv" else ","
    if rng.random() < 0.08:
        separator = rng.choice([";", "\t", "|", " ", ","])
    content = as_csv(table, separator, rng.choice(["\n", "\n", "\n", "\r\n", "\r"]))
    if rng.random() < 0.06:
        encoding = rng.choice(["utf-16", "utf-16-be", "utf-8-sig", "latin-1", "utf-32", "cp1252"])
        content = content.decode().encode(encoding, "replace")
    if rng.random() < 0.05:
        content = damaged(content, rng)
    if suffix.endswith("gz"):
        return gzip.compress(content, mtime=0)
    if suffix.endswith("xz"):
        return lzma.compress(content)
    if suffix.endswith("zst"):
        return bytes(pa.Codec("zstd").compress(content, asbytes=True))
    return content


def _json_cell(cell: str) -> object:
    try:
        return float(cell)
    except ValueError:
        return cell or None


def _parquet(table: Table) -> bytes:
    """Return a table as Parquet, with its columns as numbers, texts or dates."""
    width = len(table[0])
    rows = [row for row in table[1:] if len(row) == width]
    content = as_csv([[f"c{i}" for i in range(width)], *rows])
    options = pa_csv.ParseOptions(newlines_in_values=True)
    read = pa_csv.ReadOptions(block_size=1 << 26)
    stream = io.BytesIO()
    try:
        columns = pa_csv.read_csv(io.BytesIO(content), read, options).rename_columns(table[0])
        pa_parquet.write_table(columns, stream)
    except pa.ArrowException:
        return content
    return stream.getvalue()
