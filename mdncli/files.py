"""Files: read as a whole, and replaced only by a complete new one."""

import contextlib
import hashlib
import io
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mdncli.errors import InputOutputError, MissingInputError, ModelFileError, parameter

if sys.platform != "win32":
    import fcntl

# How a model is opened: a pipe that no program writes to would otherwise keep us waiting.
_MODEL = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
# The first bytes of every model file.
MODEL_BEGINS = b"PK\x03\x04"
# The size of a model file at most, unless the user sets another limit.
MOST_BYTES = 1 << 30
_BYTES_AT_ONCE = 1 << 20
# A program that was started at the same time gets so many seconds to open its end of a pipe.
_LOOKS_AT_PIPE, _SECONDS_BETWEEN = 5, 0.05
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


@dataclass(frozen=True)
class FileStream:
    """A stream that is read once, such as standard input.

    Attributes:
        name: what messages call it; its suffix says how the bytes are compressed.
        stream: of bytes.
    """

    name: str
    stream: BinaryIO


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


def read_model_file(
    file: str | os.PathLike[str] | FileContent,
    max_size: int = MOST_BYTES,
    *,
    or_table: bool = False,
) -> FileContent:
    """Return the content of a model file, or the first bytes of a file that is none.

    Args:
        file: a regular file, or a pipe that ends; or a content that was read already.
        max_size: the number of bytes at most. Of a larger file none are kept.
        or_table: return all of a file that is no model, however large it is.

    Raises:
        MissingInputError: there is no such file, or no program writes to the pipe.
        ModelFileError: it is a device, or larger than the limit.
        InputOutputError: the file cannot be read.
    """
    if isinstance(file, FileContent):
        if file.content.startswith(MODEL_BEGINS):
            _require_size(file.name, len(file.content), max_size)
        return file
    path = os.fspath(file)
    try:
        _require_no_device(path, os.stat(path).st_mode)
        # A device can take the place of a file after the first look.
        with open(os.open(path, _MODEL), "rb", buffering=0) as stream:
            status = os.fstat(stream.fileno())
            _require_no_device(path, status.st_mode)
            size = status.st_size if stat.S_ISREG(status.st_mode) else None
            begins = stream.read(len(MODEL_BEGINS)) if size is not None else _first_bytes(stream)
            if begins is None:
                raise MissingInputError(f"{path}: no program writes to this pipe.")
            if size is not None and begins == MODEL_BEGINS:
                _require_size(path, size, max_size)
            return FileContent(path, _rest(path, stream, begins, max_size, or_table=or_table))
    except FileNotFoundError as error:
        raise MissingInputError(f"{path}: there is no such file.") from error
    except (OSError, ValueError) as error:
        raise InputOutputError(f"{path}: cannot be read: {reason(error)}.") from error


def read_model_stream(
    stream: BinaryIO, name: str, max_size: int = MOST_BYTES, *, or_table: bool = False
) -> FileContent:
    """Return what `read_model_file` does, from an open stream with this name in messages.

    Raises:
        ModelFileError: it is larger than the limit, or a device other than a terminal.
        OSError: the stream cannot be read.
    """
    # A stream that is not from the operating system has no number.
    with contextlib.suppress(io.UnsupportedOperation):
        status = os.fstat(stream.fileno())
        if not stream.isatty():
            _require_no_device(name, status.st_mode)
    begins = stream.read(len(MODEL_BEGINS))
    return FileContent(name, _rest(name, stream, begins, max_size, or_table=or_table))


def _require_no_device(name: str, mode: int) -> None:
    """Refuse what may have no end, such as /dev/zero."""
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise ModelFileError(f"{name}: this is a device, not a file or a pipe.")


def _require_size(name: str, size: int, max_size: int) -> None:
    if size > max_size:
        raise ModelFileError(
            f"{name}: the model file has more than {max_size:,} bytes. If you trust it, set a "
            f"larger {parameter('max_size')}."
        )


def _first_bytes(stream: BinaryIO) -> bytes | None:
    """Return the first bytes of a pipe, and let it wait from now on; None if no one writes to it.

    While a program has the other end open and writes nothing, `read` returns None.
    """
    found: bytes | None = b""
    for look in range(_LOOKS_AT_PIPE):
        if look:
            time.sleep(_SECONDS_BETWEEN)
        found = stream.read(len(MODEL_BEGINS))
        if found != b"":
            break
    else:
        return None
    os.set_blocking(stream.fileno(), True)
    begins = found or b""
    while more := stream.read(len(MODEL_BEGINS) - len(begins)):
        begins += more
    return begins


def _rest(name: str, stream: BinaryIO, begins: bytes, max_size: int, *, or_table: bool) -> bytes:
    """Return all bytes of a stream, from which the first were read already.

    Of a file that is no model, and may be no table either, only the first bytes are returned.
    """
    model = begins == MODEL_BEGINS
    if not model and not or_table:
        return begins
    pieces, size = [begins], len(begins)
    while piece := stream.read(_BYTES_AT_ONCE):
        pieces.append(piece)
        size += len(piece)
        if model:
            _require_size(name, size, max_size)
    return b"".join(pieces)


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
