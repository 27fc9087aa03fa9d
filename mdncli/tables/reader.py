"""A file becomes a table, or a refusal that names the file, the place and the remedy.

Every cell stays the text that it was until a column is asked for as numbers, so a column that is
not used may hold anything. Nothing about a file is guessed: what it is, its name says (`.tsv`,
`.parquet`, `.gz`, `.zst`, `.xz`), and how it is written, its dialect.
"""

from mdncli.tables.containers import decompressed
from mdncli.tables.csv_text import read_text
from mdncli.tables.dialect import Dialect
from mdncli.tables.parquet import is_parquet, read_parquet
from mdncli.tables.records import Text
from mdncli.tables.table import Table
from mdncli.tables.text import utf8_text

__all__ = ["Table", "read_table"]


def read_table(
    content: bytes, source: str, dialect: Dialect | None = None, *, skip_bad_rows: bool = False
) -> Table:
    """Return the table that a file holds.

    Args:
        content: the file's bytes.
        source: its name, which says whether it is compressed, Parquet or separated by tabs.
        dialect: how it is written; by default comma-separated UTF-8 with a header.
        skip_bad_rows: leave out rows of another number of fields than the header, and count them,
            instead of refusing the file.

    Raises:
        DataError: it cannot be read rightly; the message says why, where, and what to do.
    """
    dialect = dialect or Dialect()
    content = decompressed(content, source)
    if is_parquet(source):
        return read_parquet(content, source, dialect)
    text = Text(utf8_text(content, dialect, source), source, dialect)
    read = read_text(text, skip_bad_rows=skip_bad_rows)
    return Table(
        source,
        read.columns,
        dialect=dialect,
        places=read.places,
        skipped=read.skipped,
        first_skipped=read.first_skipped,
    )
