"""The command line in a process of its own."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., subprocess.CompletedProcess[bytes]]


def mdn(
    *arguments: str | Path, stdin: bytes = b"", cwd: Path | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[bytes]:
    """Run `mdn` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "mdncli", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        timeout=timeout,
        check=False,
    )
