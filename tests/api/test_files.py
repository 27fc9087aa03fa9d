"""Files that are read as a whole, and replaced only by a complete new one."""

import contextlib
import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from api.faults import STAGES, fault_at

from mdncli.errors import InputOutputError, MissingInputError
from mdncli.files import FileContent, read_file, replacing, require_writable


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


@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_is_full_at_any_stage_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    path, new = tmp_path / "out", tmp_path / "new"
    path.write_bytes(b"before")
    fault_at(stage, monkeypatch)
    for each in (path, new):
        with pytest.raises(InputOutputError, match=r"cannot be written: no space left"):  # noqa: SIM117
            with replacing(str(each)) as stream:
                stream.write(b"after")
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["out"]


def test_an_error_is_the_first_one_though_the_removal_fails_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    fault_at("fsync", monkeypatch)
    monkeypatch.setattr("os.unlink", refused)
    with pytest.raises(InputOutputError, match="no space left"), replacing(str(tmp_path / "out")):
        pass


@contextlib.contextmanager
def half_written(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that has begun to write a file and now waits."""
    code = (
        "import sys, time\n"
        "from mdncli.files import replacing\n"
        "with replacing(sys.argv[1]) as stream:\n"
        "    stream.write(b'half')\n"
        "    stream.flush()\n"
        "    print('written', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        try:
            yield process
        finally:
            process.kill()


def temporary_files(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.startswith("."))


def write(path: Path) -> None:
    with replacing(str(path)) as stream:
        stream.write(b"whole")


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    path, other = tmp_path / "out", tmp_path / "out.1"
    with half_written(path) as one, half_written(other) as two:
        for process in (one, two):
            process.send_signal(signal.SIGKILL)
            process.wait()
    left = temporary_files(tmp_path)
    [of_other] = [name for name in left if name.startswith(f".out.1.{two.pid}.")]
    assert [name.rpartition(".")[0] for name in left if name != of_other] == [f".out.{one.pid}"]
    write(path)
    assert temporary_files(tmp_path) == [of_other]
    write(other)
    assert sorted(os.listdir(tmp_path)) == ["out", "out.1"]
    assert path.read_bytes() == other.read_bytes() == b"whole"


def test_the_temporary_file_of_a_living_process_stays(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with half_written(path):
        before = temporary_files(tmp_path)
        write(path)
        assert temporary_files(tmp_path) == before
    assert len(before) == 1


def test_a_locked_file_stays_though_its_process_is_not_one_of_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "out"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    foreign = tmp_path / f".out.{dead.pid}.0123456789ab"
    with half_written(path):
        # Another machine gives other processes this number.
        os.rename(tmp_path / temporary_files(tmp_path)[0], foreign)
        write(path)
        assert temporary_files(tmp_path) == [foreign.name]
    write(path)
    assert temporary_files(tmp_path) == []


def test_other_hidden_files_stay(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [
        *(".out.0123456789ab", ".out.0.0123456789ab", f".out.{dead.pid}.0123456789ag"),
        *(f".out.{dead.pid}.0123456789abc", f".out.{'9' * 30}.0123456789ab"),
        *(f".ou.{dead.pid}.0123456789ab", f"out.{dead.pid}.0123456789ab"),
    ]
    for name in names:
        (tmp_path / name).touch()
    # A link is not followed, and is nobody's temporary file.
    (tmp_path / "goal").touch()
    link = f".out.{dead.pid}.00000000beef"
    (tmp_path / link).symlink_to("goal")
    write(tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == sorted([*names, link, "goal", "out"])


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "x" * 101])
def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"whole"
    with half_written(tmp_path / name) as process:
        pass
    assert len(os.listdir(tmp_path)) == 2, process.pid
    write(tmp_path / name)
    assert os.listdir(tmp_path) == [name]


def test_a_name_that_is_too_long_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InputOutputError, match="file name too long"):
        require_writable(str(tmp_path / ("x" * 256)))


def test_a_file_in_a_folder_that_takes_no_new_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out"
    path.touch()
    access = os.access
    monkeypatch.setattr("os.access", lambda p, mode: str(p) != str(tmp_path) and access(p, mode))
    for each in (path, tmp_path / "new"):
        with pytest.raises(InputOutputError, match="permission denied"):
            require_writable(str(each))
    require_writable(os.devnull)


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
