"""Faults of a disk that is full, at each stage of writing a file."""

import errno
import io
from typing import Any

import pytest

STAGES = ("write", "flush", "fsync", "replace")


def _full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


class _OfFullDisk(io.BufferedWriter):
    """A stream whose writes reach no disk, or whose flush fails."""

    def __init__(self, descriptor: int, stage: str) -> None:
        super().__init__(io.FileIO(descriptor, "wb"))
        self._stage = stage

    def write(self, data: Any) -> int:
        return _full() if self._stage == "write" else super().write(data)

    def flush(self) -> None:
        if self._stage == "flush":
            _full()
        super().flush()


def fault_at(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every file that is replaced meet a full disk at this stage."""
    if stage in ("fsync", "replace"):
        monkeypatch.setattr(f"os.{stage}", _full)
    else:

        def opened(file: Any, mode: str, **options: Any) -> Any:
            if mode.startswith("r"):
                return open(file, mode, **options)
            return _OfFullDisk(file, stage)

        monkeypatch.setattr("mdncli.files.open", opened, raising=False)
