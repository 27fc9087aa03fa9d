"""Compressed files, in and out."""

import gzip
import io

import pytest

from mdncli.errors import DataError
from mdncli.files import FileContent
from mdncli.tables.decoding import compressing, decompressed, require_utf8, utf8_text
from mdncli.tables.dialect import Dialect
from mdncli.tables.table import read_table

CONTENT = b"x,y\n1,2\n" * 1000


def compressed(name: str) -> bytes:
    stream = io.BytesIO()
    with compressing(stream, name) as sink:
        sink.write(CONTENT)
    assert not stream.closed
    return stream.getvalue()


@pytest.mark.parametrize("name", ["d.csv.gz", "d.csv.zst", "d.CSV.XZ"])
def test_compressed_file_comes_back(name: str) -> None:
    content = compressed(name)
    assert len(content) < len(CONTENT) / 5
    assert decompressed(FileContent(name, content)) == FileContent(name, CONTENT)
    # No time and no name is stored.
    assert compressed(name) == content


def test_other_suffixes_are_not_compressed() -> None:
    assert compressed("d.csv") == CONTENT
    file = FileContent("d.csv", CONTENT)
    assert decompressed(file) is file


def test_file_that_grows_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdncli.tables.decoding._MAX_BYTES", 1 << 23)
    bomb = gzip.compress(b"x,y\n" + b"1,2\n" * (1 << 22))
    with pytest.raises(DataError, match="larger than 0.00781 GiB when decompressed"):
        read_table(FileContent("bomb.csv.gz", bomb))


def test_text_in_another_encoding_becomes_utf8() -> None:
    file = FileContent("d.csv", "größe\n".encode("latin-1"))
    assert utf8_text(file, Dialect(encoding="latin-1")).content == "größe\n".encode()
    with pytest.raises(DataError, match="line 1: this is not UTF-8 text"):
        require_utf8(file)


def test_wrong_encoding_that_gives_null_characters_is_refused() -> None:
    file = FileContent("d.csv", "x,y\n".encode("utf-16-le"))
    with pytest.raises(DataError, match="null characters when it is read as latin-1"):
        utf8_text(file, Dialect(encoding="latin-1"))


def test_line_of_a_bad_byte_is_found_in_a_long_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdncli.tables.decoding._DECODED_AT_ONCE", 1000)
    with pytest.raises(DataError, match="line 5001: this is not UTF-8"):
        require_utf8(FileContent("d.csv", b"1,2\n" * 5000 + b"\xff\n"))
