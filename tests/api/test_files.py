"""Files that are read as a whole, and replaced only by a complete new one."""

import os
import stat
from pathlib import Path

import pytest

from mdncli.errors import InputOutputError, MissingInputError
from mdncli.files import FileContent, read_file, replacing


def test_a_complete_file_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"before")
    with replacing(str(path)) as stream:
        stream.write(b"after")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, OSError])
def test_a_failure_leaves_the_file_as_it_was(tmp_path: Path, failure: type) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"before")
    expected = InputOutputError if failure is OSError else failure
    with pytest.raises(expected), replacing(str(path)) as stream:
        stream.write(b"half")
        raise failure
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["out"]


def test_permissions_are_kept_or_are_those_of_a_new_file(tmp_path: Path) -> None:
    old, new, plain = tmp_path / "old", tmp_path / "new", tmp_path / "plain"
    old.write_bytes(b"")
    old.chmod(0o640)
    plain.write_bytes(b"")
    for path in (old, new):
        with replacing(str(path)) as stream:
            stream.write(b"x")
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert new.stat().st_mode == plain.stat().st_mode


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "goal").write_bytes(b"before")
    (tmp_path / "link").symlink_to("goal")
    with replacing(str(tmp_path / "link")) as stream:
        stream.write(b"after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "goal").read_bytes() == b"after"


def test_a_device_is_written_directly() -> None:
    with replacing(os.devnull) as stream:
        stream.write(b"x")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_a_file_that_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="nowhere: there is no such file"):
        read_file(str(tmp_path / "nowhere"))
    with pytest.raises(InputOutputError, match="cannot be read: is a directory"):
        read_file(tmp_path)
    for path in (tmp_path, tmp_path / "no" / "folder", "bad\0name"):
        with pytest.raises(InputOutputError, match="cannot be written"), replacing(str(path)):
            pass


def test_a_file_is_read_by_its_path_or_is_read_already(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(b"content")
    content = FileContent(str(path), b"content")
    assert read_file(path) == read_file(str(path)) == content
    assert read_file(content) is content
