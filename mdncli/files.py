"""Files: read as a whole, and replaced only by a complete new one."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mdncli.errors import InputOutputError, MissingInputError

# The descriptor must not be inherited by other programs, and the file must be new.
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)


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
    folder = os.path.dirname(os.path.realpath(path)) if "\0" not in path else ""
    if not path or path.endswith(os.sep) or os.path.isdir(path):
        fault = "it names a folder" if path else "the name is empty"
    elif not os.path.isdir(folder):
        fault = "there is no such folder"
    elif not os.access(path if os.path.exists(path) else folder, os.W_OK):
        fault = "permission denied"
    else:
        return
    raise InputOutputError(f"{path or repr(path)}: cannot be written: {fault}.")


@contextlib.contextmanager
def _replacement(target: str) -> Iterator[BinaryIO]:
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name[:80]}.{secrets.token_hex(6)}")
    # A new file gets the permissions that the process gives to new files.
    descriptor = os.open(temporary, _NEW_FILE, 0o666)
    try:
        with open(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(descriptor)
        if os.path.exists(target):
            os.chmod(temporary, os.stat(target).st_mode & 0o777)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def reason(error: Exception) -> str:
    """Return the operating system's words for an error, without the path that they repeat."""
    return (getattr(error, "strerror", None) or str(error)).rstrip(".").lower()
