"""What a process of its own does for the tests of the image store; imports little, so that it starts at once."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import pandas as pd

from cxr.data.images import image_store, resize, store_index
from cxr.data.images.image_cache import ImageCache
from cxr.data.manifest import Manifest

SIDE = 24
ROW = SIDE * SIDE


def chosen(files: Path, seeds: Any) -> Manifest:
    return Manifest.from_table(
        pd.DataFrame([{"image_id": f"id{seed:02d}", "image": f"{seed}.png"} for seed in seeds]), files
    )


def build(files: Path, seeds: Any, **options: Any) -> ImageCache:
    return ImageCache.build(chosen(files, seeds), SIDE, workers=0, **options)


def builds(pipe: Connection, files: Path, root: Path, seeds: list[int], dies_in: str = "", waits_at: int = 0) -> None:
    """Build, tell each step and what was decoded, hold the cache open until told to end; or die or wait on the way."""
    cv2.setNumThreads(1)
    image_store._COMMIT_BYTES = 5 * ROW
    decoded: list[str] = []
    decode = resize.decode

    def decode_and_tell(path: Path) -> Any:
        decoded.append(path.name)
        return decode(path)

    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    resize.decode = decode_and_tell
    if dies_in:
        setattr(os if hasattr(os, dies_in) else store_index, dies_in, die)
    pipe.recv()

    def tell(done: int, total: int) -> None:
        pipe.send(done)
        if waits_at and done == waits_at:  # it may begin with telling 0
            pipe.recv()

    cache = build(files, seeds, root=root, progress=tell)
    pipe.send((decoded, cache.images.copy(), cache.ids))
    pipe.recv()
