"""Whole files: read at once, and replaced only by a complete successor."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mdncli.errors import InputOutputError, MissingInputError


def read_bytes(path: str) -> bytes:
    """Return a file's content.

    Raises:
        MissingInputError: there is no such file.
        InputOutputError: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise MissingInputError(f"{path}: there is no such file.") from error
    except (OSError, ValueError) as error:
        raise InputOutputError(f"{path}: cannot be read: {reason(error)}.") from error


@contextlib.contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """Yield a stream whose content becomes the file at `path` if the block ends without an error.

    The content is collected in a temporary file in the same folder, so a failure leaves an existing
    file as it was. What is not a regular file (a device, a pipe) is written directly.

    Raises:
        InputOutputError: the file cannot be written.
    """
    require_writable(path)
    try:
        goal = os.path.realpath(path)
        if os.path.exists(goal) and not os.path.isfile(goal):
            with open(goal, "wb") as stream:
                yield stream
        else:
            with _successor(goal) as stream:
                yield stream
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputOutputError(f"{path}: cannot be written: {reason(error)}.") from error


def require_writable(path: str) -> None:
    """Check what can be known beforehand, so that no long work is done for nothing.

    Raises:
        InputOutputError: the path is a folder, its folder is not there, or it may not be written.
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
def _successor(goal: str) -> Iterator[BinaryIO]:
    mode = _mode_of_successor(goal)
    folder, name = os.path.split(goal)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name[:80]}.", dir=folder)
    try:
        with open(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(descriptor)
        os.chmod(temporary, mode)
        os.replace(temporary, goal)
    except BaseException:
        os.unlink(temporary)
        raise


def _mode_of_successor(goal: str) -> int:
    if os.path.exists(goal):
        return os.stat(goal).st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def reason(error: Exception) -> str:
    """Return the operating system's own words for an error, without the path it repeats."""
    return (getattr(error, "strerror", None) or str(error)).rstrip(".").lower()
