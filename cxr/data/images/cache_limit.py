"""What image caches take, the limit that they keep, and their removal.

``CXR_CACHE_GB`` sets the limit in GB (10^9 bytes) for all stores of a root together; without it, 50 GB but at most half
of what the disk has free without them. Shards that nobody has used for longest go first; those in use never go.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cxr.data.images import leases, store_index
from cxr.data.images.base import one_line
from cxr.data.images.decode import DECODER_VERSION
from cxr.data.images.resize import RESIZER_VERSION
from cxr.errors import ImageError
from cxr.json_types import JsonObject

log = logging.getLogger(__name__)

VARIABLE = "CXR_CACHE_GB"
GB = 10**9
DEFAULT_BYTES = 50 * GB
RECIPE = "store.json"
VERSION = f"v{DECODER_VERSION}.{RESIZER_VERSION}"
_OLD_NAMES = "[0-9a-f]" * 32


@dataclass(frozen=True)
class Shard:
    """A part of a store that is removed as a whole, or a cache of the layout before, which has only one."""

    folder: Path
    number: int | None
    bytes: int
    used: float
    in_use: bool


@dataclass(frozen=True)
class StoreUsage:
    """What one store holds.

    Attributes
    ----------
    size
        Side of its images in pixels; 0 where its description cannot be read.
    treatment
        How images are made square, and what is done to them first.
    is_current
        Whether this version reads it.
    images, unreadable
        Number of contents that have a row, and that are no images.
    bytes
        Of the rows.
    used
        When a process last opened it, in seconds since 1970; 0 if never.
    in_use
        Whether a process has it open.
    """

    name: str
    folder: Path
    size: int
    treatment: str
    is_current: bool
    images: int
    unreadable: int
    bytes: int
    claimed_bytes: int
    used: float
    in_use: bool
    shards: tuple[Shard, ...]

    def to_dict(self) -> dict[str, str | int | float | bool]:
        """Return what ``cxr cache --json`` prints of it."""
        names = ("name", "size", "treatment", "is_current", "images", "unreadable", "bytes", "used", "in_use")
        return {name: getattr(self, name) for name in names} | {"folder": str(self.folder)}


@dataclass(frozen=True)
class Freed:
    """What a removal did: bytes removed, and bytes that stayed although they were meant, as a process uses them."""

    bytes: int = 0
    kept_bytes: int = 0

    def __add__(self, other: Freed) -> Freed:
        return Freed(self.bytes + other.bytes, self.kept_bytes + other.kept_bytes)


def gigabytes(n_bytes: float) -> str:
    """Return bytes in GB with two digits, or in MB where that is little."""
    return f"{n_bytes / GB:.2f} GB" if n_bytes >= GB / 10 else f"{n_bytes / 10**6:.2f} MB"


def limit_bytes(root: Path, used: int) -> int:
    """Return how many bytes the stores below ``root`` may hold together; ``used`` is what they hold now.

    Raises
    ------
    ImageError
        If ``CXR_CACHE_GB`` is no number above 0.
    """
    value = os.environ.get(VARIABLE, "").strip()
    if not value:
        return min(DEFAULT_BYTES, (_free_bytes(root) + used) // 2)
    try:
        limit = float(value)
    except ValueError:
        limit = math.nan
    if not 0 < limit < math.inf:
        raise ImageError(f"{VARIABLE}={value!r} is not allowed. Allowed: a number of GB above 0, such as 50")
    return int(limit * GB)


def usage(root: Path) -> list[StoreUsage]:
    """Return what each store below ``root`` (the folder ``images``) holds, caches of earlier layouts too."""
    folders = sorted(path for path in root.glob("*") if path.is_dir() and not path.name.startswith("."))
    return [entry for folder in folders if (entry := _usage_of(folder)) is not None]


def remove_oldest(root: Path) -> tuple[int, int]:
    """Remove what was used longest ago until all stores, with what is being decoded, keep the limit.

    The caller holds the lock of the root. Returns the bytes that are taken then, and the limit.
    """
    stores = usage(root)
    used = sum(store.bytes + store.claimed_bytes for store in stores)
    limit = limit_bytes(root, sum(store.bytes for store in stores))
    removable = sorted((s for store in stores for s in store.shards if not s.in_use), key=lambda s: s.used)
    for shard in removable:
        if used <= limit:
            break
        used -= _remove(shard).bytes
        log.info(
            "image cache: removed %s of %s to keep %s", gigabytes(shard.bytes), shard.folder.name, gigabytes(limit)
        )
    return used, limit


def clear(
    root: Path, *, older_than_days: float | None = None, size: int | None = None, everything: bool = False
) -> Freed:
    """Remove stores and shards that no process uses.

    Parameters
    ----------
    older_than_days
        Only what was last used longer ago.
    size
        Only images of this side.
    everything
        All that is not in use. Without any of the three: only what this version does not read.
    """
    freed = Freed()
    if not root.is_dir():
        return freed
    try:
        with leases.exclusive(root / store_index.ROOT_LOCK):
            for store in usage(root):
                freed += _clear_store(store, older_than_days, size, everything)
            _remove_drafts_of_the_layout_before(root)
    except sqlite3.Error as error:
        raise ImageError(f"the image cache {root} cannot be cleared ({one_line(error)})") from error
    return freed


def _clear_store(store: StoreUsage, older_than_days: float | None, size: int | None, everything: bool) -> Freed:
    if size not in (None, store.size):
        return Freed()
    if store.is_current and size is None and older_than_days is None and not everything:
        return Freed()
    before = math.inf if older_than_days is None else time.time() - 86400 * older_than_days
    freed = sum((_remove(shard) for shard in store.shards if shard.used < before), Freed())
    if store.used < before:
        _remove_if_empty(store.folder)
    return freed


def _usage_of(folder: Path) -> StoreUsage | None:
    if (folder / store_index.INDEX).exists():
        return _usage_of_store(folder)
    return _usage_of_old(folder) if folder.match(_OLD_NAMES) else None


def _usage_of_store(folder: Path) -> StoreUsage:
    recipe = _read_json(folder / RECIPE)
    size = _positive_integer(recipe.get("size"))
    row_bytes = size * size
    try:
        with closing(store_index.connect_to_read(folder)) as index:
            alive = {name for (name,) in index.execute("SELECT lease FROM leases") if leases.is_alive(folder, name)}
            in_use = {shard for shard, lease in index.execute("SELECT shard, lease FROM uses") if lease in alive}
            rows = index.execute("SELECT shard, rows, used FROM shards").fetchall()
            claims = [lease for (lease,) in index.execute("SELECT lease FROM claims") if lease in alive]
            images, unreadable = (
                store_index.value(index, f"SELECT count(*) FROM {table}") for table in ("images", "unreadable")
            )
    except sqlite3.Error:  # damaged: the next process that opens it makes it again
        rows, alive, in_use, claims, images, unreadable = [], set(), set(), [], 0, 0
    shards = tuple(Shard(folder, number, n * row_bytes, used, number in in_use) for number, n, used in rows)
    return StoreUsage(
        name=folder.name,
        folder=folder,
        size=size,
        treatment=describe(recipe),
        is_current=folder.name.endswith(f"-{VERSION}"),
        images=images,
        unreadable=unreadable,
        bytes=sum(shard.bytes for shard in shards),
        claimed_bytes=len(claims) * row_bytes,
        used=max((shard.used for shard in shards), default=0.0),
        in_use=bool(alive),
        shards=shards,
    )


def _usage_of_old(folder: Path) -> StoreUsage | None:
    """Return what a cache of the layout before holds: one set of images in one array."""
    facts = _read_json(folder / "complete.json")
    recipe = facts.get("recipe")
    recipe = recipe if isinstance(recipe, dict) else {}
    try:
        used = folder.stat().st_mtime
        n_bytes = sum(path.stat().st_size for path in folder.iterdir())
    except OSError:
        return None
    return StoreUsage(
        name=folder.name,
        folder=folder,
        size=_positive_integer(recipe.get("size")),
        treatment=describe(recipe),
        is_current=False,
        images=_positive_integer(facts.get("n")),
        unreadable=0,
        bytes=n_bytes,
        claimed_bytes=0,
        used=used,
        in_use=False,
        shards=(Shard(folder, None, n_bytes, used, False),),
    )


def describe(recipe: Mapping[str, object]) -> str:
    """Return a treatment in words: ``stretch``, or ``stretch, text masked, mode inpaint, margin 0.1``."""
    treatment = recipe.get("treatment")
    parts = [f"{key} {value}" for key, value in treatment.items()] if isinstance(treatment, dict) else []
    return ", ".join([str(recipe.get("fit", "unknown")), *parts])


def _remove(shard: Shard) -> Freed:
    """Remove a shard, or leave it if a process uses it."""
    if shard.number is None:
        shutil.rmtree(shard.folder, ignore_errors=True)
        return Freed(shard.bytes)
    with closing(store_index.connect(shard.folder)) as index:
        with store_index.transaction(index, shard.folder):
            dropped = store_index.drop_shard(index, shard.number)
        if not dropped:
            return Freed(kept_bytes=shard.bytes)
        store_index.shard_path(shard.folder, shard.number).unlink(missing_ok=True)
    return Freed(shard.bytes)


def _remove_if_empty(folder: Path) -> None:
    """Remove a store without images that no process has open; the caller holds the lock of the root."""
    if not (folder / store_index.INDEX).exists():
        return
    try:
        with closing(store_index.connect(folder)) as index, store_index.transaction(index, folder):
            counts = [store_index.value(index, f"SELECT count(*) FROM {table}") for table in ("shards", "leases")]
    except sqlite3.DatabaseError as error:
        if not store_index.is_damage(error):
            raise
        counts = [0]
    if not any(counts):
        store_index.discard(folder)
        (folder / RECIPE).unlink(missing_ok=True)
        _remove_folder(folder)


def _remove_folder(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # somebody keeps files of their own in it
        log.info("%s is not empty and stays", folder)


def _remove_drafts_of_the_layout_before(root: Path) -> None:
    for path in (*root.glob(f".{_OLD_NAMES}.partial"), *root.glob(f".{_OLD_NAMES}.lock")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _read_json(path: Path) -> JsonObject:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _positive_integer(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _free_bytes(root: Path) -> int:
    return shutil.disk_usage(next(_existing(root.absolute()))).free


def _existing(path: Path) -> Iterator[Path]:
    candidates: Iterable[Path] = (path, *path.parents)
    return (candidate for candidate in candidates if candidate.exists())
