"""Tables of any length, block by block, and several files as one table.

A block is a `Table` of consecutive rows. Memory holds a few blocks, however long the table is. The
next block is read, decompressed and parsed in a thread while the one before it is being used.
"""

import glob
import hashlib
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mdncli.errors import DataError, MissingInputError
from mdncli.files import FileContent, FileStream
from mdncli.tables.cells import TextColumns, text_column
from mdncli.tables.csv_reader import (
    CsvColumns,
    FieldCountError,
    Header,
    Place,
    header_of,
    quotes_surround_fields,
    read_columns,
    records,
    with_names,
)
from mdncli.tables.decoding import (
    BYTE_ORDER_MARK,
    CsvText,
    Digest,
    File,
    Input,
    count_lines,
    last_line_end,
    line_ends,
    text_parts,
    text_pieces,
)
from mdncli.tables.dialect import SUFFIXES, Dialect, format_of, uncompressed_name
from mdncli.tables.table import (
    Table,
    complete_parquet,
    csv_table,
    json_kinds,
    json_names,
    json_table,
    naming_the_delimiter,
    parquet_reader,
    read_json_lines,
    read_table,
    require_keys,
    typed_table,
)
from mdncli.text import listed

# A block has at most so many bytes of text. A typed file has values instead.
BYTES_AT_ONCE = 1 << 22
_BYTES_OF_VALUE = 16
# The rows of a first block of a fixed number of rows.
_FIRST_ROWS = 1 << 13
# So many names of rows are compared to find whether they are all different.
_MOST_NAMES = 1 << 20
_LINE_END = re.compile(b"\r\n|\r|\n")
_MAGIC = re.compile(r"[*?[]")
# A path, a pattern, a folder, a `FileContent`, a `FileStream`, or a list of them.
Source = Any
Item = TypeVar("Item")


def files_of(source: Source) -> list[str]:
    """Return the paths of the files that are one table, in the order of their rows.

    The files of a folder, or those that a pattern matches, are sorted by name. Numbers inside the
    names are compared as numbers, so `part-2.csv` comes before `part-10.csv`. A list keeps its
    order. Of a folder, the files directly in it count whose names end as those of tables do and
    begin with neither a point nor an underscore.

    Args:
        source: a path, a pattern such as `part-*.parquet` (`**` stands for any folders), a folder,
            or a list of them. A path that exists as it is written is no pattern.

    Raises:
        MissingInputError: no file matches the pattern, or the folder has no table.
    """
    if isinstance(source, list | tuple):
        return [path for each in source for path in files_of(each)]
    path = os.fspath(source)
    if os.path.isdir(path):
        found = [
            entry.path for entry in os.scandir(path) if entry.is_file() and _may_be_table(entry)
        ]
        if not found:
            raise MissingInputError(f"{path}: no file in this folder has the name of a table.")
        return sorted(found, key=_natural)
    if os.path.lexists(path) or not _MAGIC.search(path):
        return [path]
    found = [each for each in glob.glob(path, recursive=True) if os.path.isfile(each)]
    if not found:
        raise MissingInputError(f"{path}: there is no such file, and no file matches this pattern.")
    return sorted(found, key=_natural)


def _may_be_table(entry: "os.DirEntry[str]") -> bool:
    suffix = os.path.splitext(uncompressed_name(entry.name))[1]
    return suffix in SUFFIXES and not entry.name.startswith((".", "_"))


def _natural(path: str) -> list[tuple[int, str]]:
    """Return a key that sorts the numbers inside names as numbers."""
    parts = re.split(r"([0-9]+)", path)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts] + [(-2, path)]


def is_files(rows: Any) -> bool:
    """Return whether rows are given as files: as one, or as a list of them."""
    if isinstance(rows, list | tuple) and rows:
        names = all(isinstance(each, str | os.PathLike) for each in rows)
        return names and any(
            isinstance(each, os.PathLike) or os.path.exists(each) or _MAGIC.search(each) is not None
            for each in rows
        )
    return isinstance(rows, str | os.PathLike | FileContent | FileStream)


def _inputs_of(source: Source) -> list[File]:
    if isinstance(source, FileContent | FileStream):
        return [source]
    return [*files_of(source)]


def prefetched(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the items; each is computed in a thread while the one before it is being used.

    After an error or an interruption, nothing waits for the thread.
    """
    pool = ThreadPoolExecutor(1)
    try:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def read_files(source: Source, dialect: Dialect | None = None, *, skip: bool = False) -> Table:
    """Return the whole table in a file, or in several files, one below another.

    Args:
        source: see `files_of`; also a content, or a stream.
        dialect, skip: see `read_blocks`.

    Raises:
        MdnError: as for `read_table` and `files_of`; or the columns of two files differ.
    """
    tables = []
    for file in _inputs_of(source):
        if isinstance(file, FileStream):
            file = FileContent(file.name, b"".join(iter(Input(file).raw().read, b"")))
        tables.append(read_table(file, dialect, skip_bad_rows=skip))
    matching = [with_columns_of(table, tables[0]) for table in tables]
    return tables[0] if len(tables) == 1 else _joined(matching, source_name(source))


def source_name(source: Source) -> str:
    """Return what messages call the files that are one table."""
    if isinstance(source, list | tuple):
        return ", ".join(map(os.fspath, source))
    return str(getattr(source, "source", getattr(source, "name", source)))


def _joined(tables: Sequence[Table], name: str) -> Table:
    """Return tables with the same columns as one, whose messages name the files."""
    first, digest = tables[0], hashlib.sha256()
    for table in tables:
        digest.update(table.file.content if table.file else b"")
    starts = np.cumsum([0, *(table.rows for table in tables)])
    skipped = [table for table in tables if table.skipped]

    def locate(positions: list[int]) -> list[Place]:
        places = []
        for position in positions:
            number = int(np.searchsorted(starts, position, side="right")) - 1
            [place] = tables[number].locate([position - int(starts[number])])
            places.append(place._replace(source=tables[number].source))
        return places

    originals = {name: chained([t.originals[name] for t in tables]) for name in first.originals}
    typed = isinstance(first.columns, TextColumns) or any(
        not pa.types.is_string(column.type) for column in originals.values()
    )
    return replace(
        first,
        source=name,
        columns=TextColumns(originals) if typed else originals,
        originals=originals,
        locate=locate,
        skipped=sum(table.skipped for table in skipped),
        first_skipped=skipped[0].first_skipped if skipped else "",
        file=FileContent(name, b""),
        sha256=digest.hexdigest(),
    )


def in_rows(tables: Iterator[Table], most: int) -> Iterator[Table]:
    """Yield the rows of at least one block as blocks of so many rows; the first ones have fewer."""
    held: list[Table] = []
    rows, wanted, any_rows = 0, min(most, _FIRST_ROWS), False
    for table in tables:
        start = 0
        while rows + table.rows - start >= wanted:
            stop = start + wanted - rows
            yield _held([*held, part_of(table, start, stop)])
            held, rows, start = [], 0, stop
            wanted, any_rows = min(most, 2 * wanted), True
        if start < table.rows or not start:
            held.append(part_of(table, start, table.rows))
            rows += table.rows - start
    if rows or not any_rows or any(table.skipped for table in held):
        yield _held(held)


def _held(tables: list[Table]) -> Table:
    return tables[0] if len(tables) == 1 else replace(_joined(tables, tables[0].source), sha256="")


def part_of(table: Table, start: int, stop: int) -> Table:
    """Return the rows from `start` to `stop`; the rows that were skipped belong to the first."""
    originals = {n: c.slice(start, stop - start) for n, c in table.originals.items()}
    return replace(
        table,
        originals=originals,
        columns=TextColumns(originals) if isinstance(table.columns, TextColumns) else originals,
        locate=lambda positions: table.locate([start + position for position in positions]),
        skipped=0 if start else table.skipped,
        first_skipped="" if start else table.first_skipped,
    )


def chained(columns: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    """Return columns one below another; as text, if some are numbers and others are text."""
    kinds = {column.type for column in columns}
    if len(kinds) > 1:
        numbers = all(pa.types.is_integer(k) or pa.types.is_floating(k) for k in kinds)
        kind = pa.float64() if numbers else pa.string()
        columns = [pc.cast(column, kind) for column in columns]
    chunks = [chunk for column in columns for chunk in column.chunks]
    return pa.chunked_array(chunks, columns[0].type)


def read_blocks(
    source: Source,
    dialect: Dialect | None = None,
    *,
    skip_bad_rows: bool = False,
    at_once: int = BYTES_AT_ONCE,
    digest: "Digest | None" = None,
) -> Iterator[Table]:
    """Yield the rows of a table as tables of consecutive rows, in their order and at least one.

    Together the blocks hold what `read_table` returns for each file. Several files are one table.
    Each block has the name of its file, and its `locate` gives places in the whole of that file. A
    block without rows is yielded only if the table has none.

    Args:
        source: see `files_of`; also a content, or a stream.
        dialect: how the files are written.
        skip_bad_rows: leave out rows with a number of fields that differs from the header's. Each
            block counts its own.
        at_once: the bytes of text in a block at most. The first blocks have fewer.
        digest: takes in the bytes of all files in their order.

    Raises:
        MissingInputError: there is no such file.
        DataError: as for `read_table`, once the row at fault is reached; or the columns of two
            files differ.
    """
    files, dialect = _inputs_of(source), dialect or Dialect()
    return prefetched(_every_block(files, dialect, skip_bad_rows, at_once, digest))


def _every_block(
    files: Sequence[File], dialect: Dialect, skip: bool, at_once: int, digest: "Digest | None"
) -> Iterator[Table]:
    first: Table | None = None
    empty: Table | None = None
    any_rows = False
    for file in files:
        for block in _blocks_of(Input(file, digest), dialect, skip, at_once):
            first = first or block
            matched = with_columns_of(block, first)
            if matched.rows_in_file:
                any_rows = True
                yield matched
            else:
                empty = empty or matched
    if empty is not None and not any_rows:
        yield empty


def with_columns_of(table: Table, first: Table) -> Table:
    """Return a table with its columns in the order of the first one.

    Raises:
        DataError: the two have different columns.
    """
    names, own = list(first.originals), list(table.originals)
    if names == own:
        return table
    lacking = [name for name in names if name not in own]
    more = [name for name in own if name not in names]
    if lacking or more:
        phrases = [f"it lacks {listed(lacking)}"] if lacking else []
        phrases += [f"it has {listed(more)} as well"] if more else []
        raise DataError(
            f"{table.source}: its columns are not those of {first.source}: "
            f"{' and '.join(phrases)}. Files that are read as one table need the same columns."
        )
    originals = {name: table.originals[name] for name in names}
    typed = isinstance(table.columns, TextColumns)
    columns = TextColumns(originals) if typed else originals
    return replace(table, originals=originals, columns=columns)


def _blocks_of(file: "Input", dialect: Dialect, skip: bool, at_once: int) -> Iterator[Table]:
    """Yield the rows of one file, at least one block."""
    form = format_of(file.name, dialect.format)
    if form == "parquet":
        blocks = _parquet_blocks(file, dialect, at_once)
    elif form == "jsonl":
        blocks = _json_blocks(file, dialect, at_once)
    else:
        blocks = _csv_blocks(file, dialect, skip, at_once)
    for block in blocks:
        yield replace(block, file=FileContent(file.name, b""))


def _parquet_blocks(file: Input, dialect: Dialect, at_once: int) -> Iterator[Table]:
    reader, row_names = parquet_reader(file.random_access(), file.name, in_parts=True)
    rows = max(1, at_once // (_BYTES_OF_VALUE * len(reader.schema_arrow.names)))
    before = 0
    with complete_parquet(file.name):
        for batch in reader.iter_batches(batch_size=rows):
            table = pa.Table.from_batches([batch])
            yield _below(typed_table(table, file.name, dialect, row_names), before)
            before += table.num_rows
        if not before:
            empty = reader.schema_arrow.empty_table()
            yield typed_table(empty, file.name, dialect, row_names)


def _below(table: Table, before: int) -> Table:
    """Return a block of rows that has no lines and is below so many rows."""
    return replace(
        table, locate=lambda positions: [Place(before + at + 1, None) for at in positions]
    )


def _json_blocks(file: Input, dialect: Dialect, at_once: int) -> Iterator[Table]:
    """Yield the rows of a file with an object on each line.

    A longer one is read twice: the kinds of its columns depend on all rows.
    """

    def texts() -> Iterator[tuple[bytes, bool]]:
        parts = text_parts(file.parts(), file.name, dialect)
        return text_pieces(parts, last_line_end, file.name, at_once)

    content, last = next(texts())
    if last:
        read = read_json_lines(FileContent(file.name, content))
        yield typed_table(read, file.name, dialect)
        return
    file.keep()
    kinds = json_kinds(content for content, _ in texts())
    names = json_names(content for content, _ in texts()) if kinds is None else list(kinds)
    require_keys(names, file.name)
    rows = lines = 0
    for content, _ in texts():
        read = json_table(FileContent(file.name, content), kinds, names, lines)
        lines += count_lines(content)
        if read.num_rows:
            yield _below(typed_table(read, file.name, dialect), rows)
            rows += read.num_rows


def _csv_blocks(file: Input, dialect: Dialect, skip: bool, at_once: int) -> Iterator[Table]:
    """Yield the rows of a CSV file.

    It is read twice where all rows decide what a column without a name is.
    """

    def texts() -> Iterator[tuple[CsvText, bool]]:
        return _csv_texts(file, dialect, at_once)

    every = texts()
    first, last = next(every)
    # The lines above the header are no part of the texts.
    with naming_the_delimiter(first.file, replace(dialect, skip_lines=0)):
        header = header_of(first)
        if not last and first.has_header and len(_first_record(first)) < len(header.names):
            file.keep()
            header, every = _header_of_all(texts(), _first_record(first)), texts()
            next(every)
        read = read_columns(first, header, skip)
        names = _names(read.columns, header, first)
        if not last and _is_undecided(names, _rows(read) - read.skipped, dialect):
            file.keep()
            names, every = _names_of_all(texts(), header, skip), texts()
            next(every)
        file.settle()
        yield csv_table(_named(read, names, header, first), file.name, dialect)
        rows = _rows(read)
        for text, _ in every:
            text = replace(text, rows_before=rows)
            read = read_columns(text, header, skip)
            rows += _rows(read)
            yield csv_table(_named(read, names, header, text), file.name, dialect)


def _rows(read: CsvColumns) -> int:
    return len(next(iter(read.columns.values()))) + read.skipped


def _first_record(text: CsvText) -> list[str]:
    return next(iter(records(text)))[1]


def _csv_texts(file: Input, dialect: Dialect, at_once: int) -> Iterator[tuple[CsvText, bool]]:
    """Yield texts of whole records, and whether each is the last; the first has two at least."""
    parts = text_parts(file.parts(), file.name, dialect)
    lines = dialect.skip_lines
    if lines:
        parts = _without_lines(parts, lines)
    dialect = replace(dialect, skip_lines=0)
    continued = False

    def end_of_rows(content: bytes) -> int:
        end = _end_of_records(content, file.name, dialect)
        whole = continued or not end or _has_two_records(content[:end], file.name, dialect)
        return end if whole else 0

    for content, last in text_pieces(parts, end_of_rows, file.name, at_once):
        before = lines
        if lines and content.startswith(BYTE_ORDER_MARK.encode()):
            # Here it is a part of a cell, and at the beginning of a text it would be left out.
            content, before = b"\n" + content, lines - 1
        lines = before + count_lines(content)
        text = CsvText.of_file(FileContent(file.name, content), dialect)
        yield replace(text, lines_before=before, continued=continued), last
        continued = True


def _without_lines(parts: Iterator[bytes], count: int) -> Iterator[bytes]:
    """Yield a text without its first lines."""
    held = b""
    for part in parts:
        held, at = held + part, 0
        for found in _LINE_END.finditer(held):
            # What follows a final CR may be an LF.
            if not count or (found[0] == b"\r" and found.end() == len(held)):
                break
            at, count = found.end(), count - 1
        held = held[at:]
        if not count:
            yield held
            yield from parts


def _has_two_records(content: bytes, name: str, dialect: Dialect) -> bool:
    text = CsvText.of_file(FileContent(name, content), dialect)
    try:
        return len(list(itertools.islice(records(text), 2))) > 1
    except (DataError, UnicodeDecodeError):
        # Whoever reads the text says what is wrong with it.
        return True


def _end_of_records(content: bytes, name: str, dialect: Dialect) -> int:
    """Return the length of the whole records at the beginning of a text; 0 if there are none."""
    quote, escape, separator = dialect.quote, dialect.escape, dialect.separator(name)
    escaped = escape is not None and escape.encode() in content
    if not escaped and (quote is None or quote.encode() not in content):
        return last_line_end(content)
    marks = f"{separator}{quote or ''}"
    if not escaped and not dialect.comment and len(separator) == 1 and marks.isascii():
        end = _end_outside_quotes(content, quote or "")
        if end and quotes_surround_fields(content[:end], separator, quote):
            return end
    return _end_by_record(content[: last_line_end(content)], name, dialect)


def _end_outside_quotes(content: bytes, quote: str) -> int:
    """Return the position after the last line end that has an even number of quotes before it."""
    ends = line_ends(content[: last_line_end(content)])
    quotes = np.flatnonzero(np.frombuffer(content, np.uint8) == ord(quote))
    outside = ends[np.searchsorted(quotes, ends) % 2 == 0]
    return int(outside[-1]) if len(outside) else 0


def _end_by_record(content: bytes, name: str, dialect: Dialect) -> int:
    """Return where the last record begins, as the reader of single records finds it."""
    line = 1
    try:
        for line, _ in records(CsvText.of_file(FileContent(name, content), dialect)):  # noqa: B007
            pass
    except UnicodeDecodeError:
        return len(content)
    except DataError as error:
        # If a quote is still open, its record goes on. Of anything else the reader says more.
        if "unexpected end" not in str(error.__cause__):
            return len(content)
    return 0 if line == 1 else int(line_ends(content)[line - 2])


def _blank(column: pa.ChunkedArray) -> bool:
    return bool(pc.all(pc.match_substring_regex(column, r"^\s*$"), min_count=0).as_py())


def _names(
    columns: Mapping[str, pa.ChunkedArray], header: Header, text: CsvText
) -> dict[str, str | None]:
    """Return the name of each column by its key; None for one that is left out."""
    named = with_names(CsvColumns(dict(columns), _nowhere), header, text).columns
    found = {id(column): name for name, column in named.items()}
    return {key: found.get(id(column)) for key, column in columns.items()}


def _nowhere(_: list[int]) -> list[Place]:
    return []


def _is_undecided(names: Mapping[str, str | None], rows: int, dialect: Dialect) -> bool:
    """Return whether a column that is blank so far would be read if it had a value further down."""
    key, name = next(iter(names.items()))
    first = name is None or (not rows and key.startswith("\0"))
    return first or (dialect.name_columns and None in names.values())


def _names_of_all(
    texts: Iterable[tuple[CsvText, bool]], header: Header, skip: bool
) -> dict[str, str | None]:
    """Return what `_names` does for the columns of all texts together."""
    written, rows = dict.fromkeys(header.keys, False), 0
    for text, _ in texts:
        for key, column in read_columns(text, header, skip).columns.items():
            written[key] = written[key] or (key.startswith("\0") and not _blank(column))
            rows += len(column)
    cells = {key: text_column(["1" if there else ""]) for key, there in written.items()}
    columns = {key: cell if rows else cell.slice(1) for key, cell in cells.items()}
    return _names(columns, header, text)


def _named(
    read: CsvColumns, names: Mapping[str, str | None], header: Header, text: CsvText
) -> CsvColumns:
    """Return columns by their names.

    Raises:
        DataError: a column that has no name, and had no value further up, has one.
    """
    left_out = [key for key, name in names.items() if name is None]
    if any(not _blank(read.columns[key]) for key in left_out):
        with_names(read, header, text)
    columns = {name: read.columns[key] for key, name in names.items() if name is not None}
    return replace(read, columns=columns, unnamed=len(left_out))


def _header_of_all(texts: Iterable[tuple[CsvText, bool]], names: list[str]) -> Header:
    """Return the header of a file whose rows begin with one field more than there are names.

    The field without a name is the last one if it is blank in every row, or the first one if it
    differs in every row. Of long files the first million rows are compared.
    """
    last, seen, rows, blank = Header([*names, ""]), set[str](), 0, True
    for text, _ in texts:
        try:
            read = read_columns(text, last, False)
        except FieldCountError:
            return Header(names)
        first, *_, final = read.columns.values()
        blank = blank and _blank(final)
        if rows < _MOST_NAMES:
            rows += len(first)
            seen.update(first.to_pylist())
    if blank:
        return last
    return Header(["", *names], before=1) if len(seen) == rows else Header(names)
