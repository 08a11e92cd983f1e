"""Heatmaps kept on disk, so that a page reads in milliseconds what was computed once.

Layout: ``<cache>/heatmaps/<weights>/maps-<H>x<W>.f16`` and ``index.sqlite`` beside it, safe to delete at any time.
``<weights>`` stands for the contents of a network's weights and card, whatever the file is called; a map's key is the
digest of the network's input picture, the way of explaining with all its settings, and the class. The maps are float16
(H, W), one behind the other, each divided by its largest absolute value, which the index holds with the ledger.

A map is on disk before its row is in the index, rows appear all or none, and each carries the checksum of its map: a
reader finds a whole map or none, whatever crashed or was cleared meanwhile. Writers take turns by a lock that ends
with its process.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr import permission
from cxr.data.digests import file_digests
from cxr.explain.explanation import BATCH
from cxr.explain.heatmap import Heatmap, Method, heatmaps_of
from cxr.files import sync_folder
from cxr.networks import network_file
from cxr.paths import cache_root

if TYPE_CHECKING:
    from cxr.explain.precision import Trial
    from cxr.models import XrayClassifier

METHOD_VERSION = 1  # raise it when the same weights and pictures would give other maps
LIMIT = 4 * 2**30
"""Bytes that all stored heatmaps together may take: about 40,000 maps at 224 px."""

_INDEX = "index.sqlite"
_NUMBERS = ("logit", "positive", "negative", "absorbed", "lost", "residual")
_TABLE = f"""CREATE TABLE IF NOT EXISTS maps (
    picture TEXT, way TEXT, target TEXT, height INT, width INT, row INT, crc INT, scale REAL,
    {" REAL, ".join(_NUMBERS)} REAL, not_finite INT, precision TEXT, notes TEXT, layers TEXT,
    PRIMARY KEY (picture, way, target))"""


def heatmaps_root() -> Path:
    """Return the folder of all stored heatmaps."""
    return cache_root() / "heatmaps"


@dataclass(frozen=True)
class Usage:
    """How much is stored."""

    networks: int
    maps: int
    bytes: int


class HeatmapStore:
    """The stored heatmaps of one network. A cache: where it cannot be read or written it holds nothing.

    Parameters
    ----------
    weights
        Digest of the network's weights and card.
    root
        Folder of all stores; default :func:`heatmaps_root`.
    limit
        Bytes that all stores of ``root`` together may take. Beyond, those of other networks go, longest unused first;
        what does not fit even then is not stored.
    """

    def __init__(self, weights: str, root: Path | None = None, limit: int = LIMIT) -> None:
        self.root = root or heatmaps_root()
        self.folder = self.root / weights
        self.limit = limit

    @classmethod
    def of(cls, network_ref: str | Path) -> HeatmapStore:
        """Return the store of the network that ``network_ref`` means; raises WeightsError if there is none."""
        return cls(weights_digest(network_ref))

    def get(self, picture: str, method: Method, targets: Sequence[str]) -> dict[str, Heatmap]:
        """Return what is stored of ``targets`` for a picture (see :func:`~cxr.explain.heatmap.picture_digest`)."""
        try:
            rows = self._rows(picture, method, targets)
        except sqlite3.Error:
            return {}
        heatmaps = {row["target"]: self._read(row, method) for row in rows}
        return {target: heatmap for target, heatmap in heatmaps.items() if heatmap is not None}

    def targets(self, picture: str, method: Method) -> list[str]:
        """Return the classes that maps of a picture are stored for."""
        if not (self.folder / _INDEX).exists():
            return []
        query = "SELECT target FROM maps WHERE picture = ? AND way = ?"
        try:
            with closing(self._open()) as index:
                return [str(name) for (name,) in index.execute(query, (picture, _key(method)))]
        except sqlite3.Error:
            return []

    def put(self, method: Method, entries: Sequence[tuple[str, Heatmap]]) -> int:
        """Store heatmaps by the digest of their picture and return how many were added.

        Heatmaps that are there already are left alone. A full or read-only disk is no error: nothing is added.
        """
        try:
            with _locked(self.root):
                new = [(p, h) for p, h in entries if not self.get(p, method, [h.target])]
                if not new or not self._room(sum(2 * h.relevance.size for _, h in new)):
                    return 0
                return self._append(method, new)
        except sqlite3.DatabaseError as error:
            if not isinstance(error, sqlite3.OperationalError):  # not a database any more
                shutil.rmtree(self.folder, ignore_errors=True)
            return 0
        except OSError:
            return 0

    def _append(self, method: Method, entries: Sequence[tuple[str, Heatmap]]) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = [self._write(picture, method, heatmap) for picture, heatmap in entries]
        for name in {self._file(h.relevance.shape) for _, h in entries}:
            _sync(name)
        sync_folder(self.folder)
        marks = ",".join("?" * len(rows[0]))
        with closing(self._open()) as index, index:
            index.execute(_TABLE)
            index.executemany(f"INSERT OR REPLACE INTO maps VALUES ({marks})", rows)
        return len(rows)

    def _write(self, picture: str, method: Method, heatmap: Heatmap) -> tuple[Any, ...]:
        packed, scale = packed_map(heatmap.relevance)
        height, width = packed.shape
        with self._file(packed.shape).open("ab") as file:
            end = file.seek(0, os.SEEK_END)
            end += file.write(b"\0" * (-end % packed.nbytes))  # a crash left half a map behind
            file.write(packed.tobytes())
        ledger = json.dumps([heatmap.layers, _short(heatmap.layer_absorbed), _short(heatmap.layer_lost)])
        row, crc = end // packed.nbytes, zlib.crc32(packed.tobytes())
        place = (picture, _key(method), heatmap.target, height, width, row, crc, scale)
        numbers = tuple(getattr(heatmap, name) for name in _NUMBERS)  # NaN becomes NULL
        return (*place, *numbers, heatmap.not_finite, heatmap.precision, json.dumps(heatmap.notes), ledger)

    def _rows(self, picture: str, method: Method, targets: Sequence[str]) -> list[sqlite3.Row]:
        if not (self.folder / _INDEX).exists():
            return []
        marks = ",".join("?" * len(targets))
        with closing(self._open()) as index:
            index.row_factory = sqlite3.Row
            query = f"SELECT * FROM maps WHERE picture = ? AND way = ? AND target IN ({marks})"
            return index.execute(query, (picture, _key(method), *targets)).fetchall()

    def _read(self, row: sqlite3.Row, method: Method) -> Heatmap | None:
        shape = (row["height"], row["width"])
        try:
            offset = row["row"] * 2 * shape[0] * shape[1]
            packed = np.memmap(self._file(shape), np.float16, "r", offset, shape)
        except (OSError, ValueError):
            return None
        if zlib.crc32(packed.tobytes()) != row["crc"]:
            return None
        layers, absorbed, lost = json.loads(row["layers"])
        numbers = {name: float("nan") if row[name] is None else row[name] for name in _NUMBERS}
        return Heatmap(
            relevance=packed.astype(np.float32) * np.float32(row["scale"]),
            target=row["target"],
            composite=method.composite,
            bias=method.bias,
            options=method.options,
            precision=row["precision"],
            not_finite=row["not_finite"],
            notes=tuple(json.loads(row["notes"])),
            layers=tuple(layers),
            layer_absorbed=np.asarray(absorbed, dtype=np.float64),
            layer_lost=np.asarray(lost, dtype=np.float64),
            **numbers,
        )

    def _room(self, needed: int) -> bool:
        """Make room by dropping the stores of other networks, longest unused first; tell whether there is enough."""
        used = {folder: _bytes(folder) for folder in _folders(self.root)}
        others = sorted((f for f in used if f != self.folder), key=_last_written)
        while sum(used.values()) + needed > self.limit and others:
            oldest = others.pop(0)
            shutil.rmtree(oldest, ignore_errors=True)
            used.pop(oldest)
        return sum(used.values()) + needed <= self.limit

    def _file(self, shape: tuple[int, ...]) -> Path:
        return self.folder / f"maps-{shape[0]}x{shape[1]}.f16"

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / _INDEX, timeout=10)


def stored_or_explained(
    store: HeatmapStore,
    method: Method,
    model: XrayClassifier,
    images: np.ndarray,
    pictures: Sequence[str],
    targets: Sequence[Sequence[str]],
    batch: int = BATCH,
    trial: bool | Trial = True,
) -> list[list[Heatmap]]:
    """Return the heatmaps of each image, from the store where it holds all of them; new ones go there.

    Parameters
    ----------
    images
        uint8 (N, H, W) at the network's size.
    pictures
        Their digests (:func:`cxr.explain.heatmap.picture_digest`).
    targets
        The classes of each image.
    batch, trial
        As :func:`cxr.explain.explain`.
    """
    stored = [store.get(picture, method, names) for picture, names in zip(pictures, targets, strict=True)]
    missing = [i for i, names in enumerate(targets) if len(stored[i]) < len(names)]
    if missing:
        missing_targets = [list(targets[i]) for i in missing]
        new = heatmaps_of(method.explain(model, images[missing], missing_targets, batch, trial))
        for i, heatmaps in zip(missing, new, strict=True):
            stored[i] = {heatmap.target: heatmap for heatmap in heatmaps}
        store.put(method, [(pictures[i], heatmap) for i in missing for heatmap in stored[i].values()])
    return [[stored[i][name] for name in names] for i, names in enumerate(targets)]


def weights_digest(network_ref: str | Path) -> str:
    """Return 16 hex digits that stand for the contents of a network's weights and of the card beside them."""
    weights = network_file(network_ref)
    digests = file_digests([weights, weights.with_suffix(".json")], cache_root() / "digests.sqlite")
    return hashlib.blake2b(repr(list(digests.values())).encode(), digest_size=8).hexdigest()


def packed_map(relevance: np.ndarray) -> tuple[np.ndarray, float]:
    """Return a map (H, W) as float16 in -1 to 1 and its scale: float16 cannot hold the small numbers themselves."""
    scale = float(np.abs(relevance).max())
    return (relevance / scale if scale > 0 else np.zeros_like(relevance)).astype(np.float16), scale


def usage(root: Path | None = None) -> Usage:
    """Return how much is stored under ``root``, by default :func:`heatmaps_root`."""
    folders = _folders(root or heatmaps_root())
    return Usage(len(folders), sum(map(_count, folders)), sum(map(_bytes, folders)))


def clear(root: Path | None = None) -> Usage:
    """Delete all stored heatmaps and return how much there was. Maps that are needed again are computed again."""
    permission.ask("delete stored heatmaps")
    root = root or heatmaps_root()
    if not root.exists():
        return Usage(0, 0, 0)
    with _locked(root):
        before = usage(root)
        for folder in _folders(root):
            shutil.rmtree(folder, ignore_errors=True)
    return before


def _key(method: Method) -> str:
    return f"{METHOD_VERSION} {method.key}"


def _short(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def _folders(root: Path) -> list[Path]:
    return [folder for folder in root.glob("*") if folder.is_dir()]


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*") if file.is_file())


def _last_written(folder: Path) -> float:
    return max((file.stat().st_mtime for file in folder.glob("*")), default=0.0)


def _count(folder: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{folder / _INDEX}?mode=ro", uri=True)) as index:
            return int(index.execute("SELECT count(*) FROM maps").fetchone()[0])
    except sqlite3.Error:
        return 0


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold the writers' lock of all stores of ``root``; the system lets go of it when its holder dies."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
