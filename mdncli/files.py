"""Files: read as a whole, and replaced only by a complete new one."""

import contextlib
import hashlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mdncli.errors import InputOutputError, MissingInputError

if sys.platform != "win32":
    import fcntl

# The descriptor must not be inherited by other programs, and the file must be new.
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
# In bytes. A temporary file has a longer name than its target, and most disks allow 255.
_LONGEST_NAME = 100


@dataclass(frozen=True)
class FileContent:
    """The bytes of a file that was read already.

    Attributes:
        name: what messages call it; its suffix says how the bytes are compressed.
        content: all of its bytes.
    """

    name: str
    content: bytes


def read_file(file: str | os.PathLike[str] | FileContent) -> FileContent:
    """Return the content of a file, by its path or as it was read already.

    Raises:
        MissingInputError: there is no such file.
        InputOutputError: the file cannot be read.
    """
    if isinstance(file, FileContent):
        return file
    path = os.fspath(file)
    try:
        return FileContent(path, Path(path).read_bytes())
    except FileNotFoundError as error:
        raise MissingInputError(f"{path}: there is no such file.") from error
    except (OSError, ValueError) as error:
        raise InputOutputError(f"{path}: cannot be read: {reason(error)}.") from error


@contextlib.contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """Yield a stream; what is written to it becomes the file at `path` if the block succeeds.

    The content is collected in a temporary file in the same folder, so a failure leaves an existing
    file as it was. A path that is not a regular file (a device, a pipe) is written directly.

    Raises:
        InputOutputError: the file cannot be written.
    """
    require_writable(path)
    try:
        target = os.path.realpath(path)
        if os.path.exists(target) and not os.path.isfile(target):
            with open(target, "wb") as stream:
                yield stream
        else:
            with _replacement(target) as stream:
                yield stream
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputOutputError(f"{path}: cannot be written: {reason(error)}.") from error


def require_writable(path: str) -> None:
    """Check what can be known before long work begins.

    Raises:
        InputOutputError: the path is a folder, its folder does not exist, or writing is not
            permitted.
    """
    fault = _fault_of_output(path)
    if fault:
        raise InputOutputError(f"{path or repr(path)}: cannot be written: {fault}.")


def _fault_of_output(path: str) -> str:
    """Return why a file cannot be written, as far as that is known without writing it."""
    if not path:
        return "the name is empty"
    if "\0" in path:
        return "the name has a null character"
    if path.endswith(os.sep) or os.path.isdir(path):
        return "it names a folder"
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        return "there is no such folder"
    must_be_writable = [folder]
    try:
        # A regular file is replaced by a new one in its folder; a device is opened itself.
        regular = stat.S_ISREG(os.stat(target).st_mode)
        must_be_writable = [target, folder] if regular else [target]
    except FileNotFoundError:
        pass
    except OSError as error:
        return reason(error)
    writable = all(os.access(each, os.W_OK) for each in must_be_writable)
    return "" if writable else "permission denied"


@contextlib.contextmanager
def _replacement(target: str) -> Iterator[BinaryIO]:
    folder, name = os.path.split(target)
    beginning = _beginning_of_temporary(name)
    _remove_what_dead_processes_left(folder, beginning)
    temporary = os.path.join(folder, f"{beginning}{os.getpid()}.{secrets.token_hex(6)}")
    # A new file gets the permissions that the process gives to new files.
    descriptor = os.open(temporary, _NEW_FILE, 0o666)
    try:
        with open(descriptor, "wb") as stream:
            _lock(descriptor)
            yield stream
            stream.flush()
            os.fsync(descriptor)
        if os.path.exists(target):
            os.chmod(temporary, os.stat(target).st_mode & 0o777)
        os.replace(temporary, target)
    except BaseException:
        # The error that is being handled says more than one of this removal would.
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _beginning_of_temporary(name: str) -> str:
    """Return how the names of the temporary files of a target begin; no other target has it."""
    encoded = os.fsencode(name)
    whole = len(encoded) <= _LONGEST_NAME
    return f".{name if whole else hashlib.sha256(encoded).hexdigest()}."


def remove_leftovers(path: str) -> None:
    """Remove the temporary files of a target whose processes were killed."""
    folder, name = os.path.split(os.path.realpath(path))
    _remove_what_dead_processes_left(folder, _beginning_of_temporary(name))


def _remove_what_dead_processes_left(folder: str, beginning: str) -> None:
    """Remove the temporary files of a target whose processes were killed.

    A file is removed if no process of this machine has the number in its name, and if nobody holds
    a lock on it. The lock is seen from other containers too, and from other machines that share the
    disk, where the numbers of processes mean something else. Where a disk has no locks, the file
    stays.
    """
    if sys.platform == "win32":
        return
    pattern = re.compile(rf"{re.escape(beginning)}([1-9][0-9]{{0,8}})\.[0-9a-f]{{12}}")
    names = []
    # A folder may be writable without being readable.
    with contextlib.suppress(OSError):
        names = os.listdir(folder)
    for name in names:
        found = pattern.fullmatch(name)
        if found and not _is_running(int(found[1])):
            _remove_unless_locked(os.path.join(folder, name))


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        # It belongs to somebody else.
        return True
    return True


def _remove_unless_locked(path: str) -> None:
    """Remove a file; if it is locked, or not ours to remove, or gone already, leave it."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        # No link is followed, and opening a pipe does not wait.
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Lock a file until it is closed, if its disk has locks."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def reason(error: Exception) -> str:
    """Return the operating system's words for an error, without the path that they repeat."""
    return (getattr(error, "strerror", None) or str(error)).rstrip(".").lower()
