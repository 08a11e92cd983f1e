"""Image files that nobody can decode any more although they look unchanged: whoever does open them is found out."""

from __future__ import annotations

import os
import time
from pathlib import Path

_AGE_S = 3600.0


def settle(folder: Path) -> None:
    """Make the pictures of a folder an hour old: only files that are not new are known again by size and time."""
    for file in folder.glob("*.png"):
        os.utime(file, (time.time() - _AGE_S,) * 2)


def spoil(folder: Path, pattern: str = "*.png") -> None:
    """Overwrite pictures with zeros of the same size and leave their times as they were."""
    for file in folder.glob(pattern):
        before = file.stat()
        file.write_bytes(bytes(before.st_size))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
