"""How often the X-rays of a split were looked at, by which run and when; and splits that are locked.

A test split says how a network does on new X-rays only as long as nothing was chosen by it. Every run that measures or
explains held-out X-rays is noted in ``<data_root>/.openings``: a line in ``openings.jsonl``, and the X-rays themselves
as hashes of their files' paths, once for each set of them. So new names of a data set or of its splits hide nothing;
files that were moved or copied do.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np

from cxr import permission
from cxr.data.library import add_facts, facts_beside, open_data_set
from cxr.data.manifest import Manifest
from cxr.data.splits import in_order
from cxr.errors import ManifestError, unknown, wrong_use
from cxr.files import replacing
from cxr.formatting import xrays
from cxr.locks import FileLock
from cxr.paths import data_root

log = logging.getLogger(__name__)

ALL = "all"
FOR_TRAINING = ("train", "val")
"""Splits that are there to learn and to choose from: looks at them are not counted."""

_LEDGER, _LOCK = "openings.jsonl", "lock"
_WAIT_S = 30.0


@dataclass(frozen=True)
class Opening:
    """One run that looked at held-out X-rays.

    Attributes
    ----------
    date
        ISO 8601, UTC.
    run, kind
        The run's id and its kind.
    network
        What was measured: a network's title or a table's name.
    data, split
        How data set and split were called then.
    n
        X-rays of them.
    images
        Names the file with their hashes.
    """

    date: str
    run: str
    kind: str
    network: str
    data: str
    split: str
    n: int
    images: str

    @cached_property
    def hashes(self) -> np.ndarray:
        """The X-rays, sorted uint64 (n,); empty if their file is gone."""
        try:
            return np.load(_folder() / f"{self.images}.npy", allow_pickle=False)
        except (OSError, ValueError):
            return np.empty(0, np.uint64)


@dataclass(frozen=True)
class Openings:
    """The looks at the X-rays of one split, the oldest first, one for each run.

    Attributes
    ----------
    split, n
        The split's present name and its X-rays.
    earlier
        The runs that looked at one of them or more.
    shared
        How many of the X-rays each run looked at.
    """

    split: str
    n: int
    earlier: tuple[Opening, ...] = ()
    shared: tuple[int, ...] = ()

    @property
    def networks(self) -> int:
        """Number of networks, or tables, that were measured."""
        return len({opening.network for opening in self.earlier})


def held_out_ids(manifest: Manifest, ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the image ids by split, in the order of :func:`cxr.data.splits.in_order`, without those to train on.

    ``all`` are those without a split; they come last.
    """
    splits = dict(zip(manifest.ids, manifest.table["split"].tolist(), strict=True))
    groups: dict[str, list[str]] = {}
    for image_id in ids:
        if splits[image_id] not in FOR_TRAINING:
            groups.setdefault(splits[image_id] or ALL, []).append(image_id)
    names = in_order("" if name == ALL else name for name in groups)
    return {name or ALL: groups[name or ALL] for name in names}


def openings_of(manifest: Manifest, ids: Sequence[str], split: str = "", until: str = "") -> Openings:
    """Return the looks at these X-rays.

    Parameters
    ----------
    split
        What the X-rays are called in sentences.
    until
        The id of a run: later looks than its own do not count.
    """
    hashes = _hashes(manifest, ids)
    looks: dict[str, tuple[Opening, int]] = {}
    for opening in _read():
        n = len(np.intersect1d(hashes, opening.hashes, assume_unique=True))
        if n:
            first, most = looks.get(opening.run, (opening, 0))
            looks[opening.run] = first, max(n, most)
        if n and opening.run == until:
            break
    entries = looks.values()
    return Openings(split, len(ids), tuple(opening for opening, _ in entries), tuple(n for _, n in entries))


def note_opening(manifest: Manifest, ids: Sequence[str], *, run: str, kind: str, network: str) -> dict[str, str]:
    """Note that a run looks at X-rays of a manifest, and return what its provenance says of that.

    A run counts once for the same X-rays, however often it was resumed. Where the folder of data sets cannot be
    written, nothing is noted and the measure goes on.

    Returns
    -------
    ``{"opened": sentences}``; empty where only X-rays for training were looked at.
    """
    groups = held_out_ids(manifest, ids)
    data = manifest.path.parent.name if manifest.path else ""
    try:
        for split, own in groups.items():
            _append(_hashes(manifest, own), run=run, kind=kind, network=network, data=data, split=split)
    except OSError as error:
        log.warning("this look at held-out X-rays is not counted: %s", error)
    looks = [openings_of(manifest, own, split, until=run) for split, own in groups.items()]
    sentences = " ".join(in_words(look) for look in looks if look.earlier)
    return {"opened": sentences} if sentences else {}


def in_words(openings: Openings, *, beside_figure: bool = True) -> str:
    """Return how often the X-rays of a split were looked at: beside a figure of one of the looks, or in a list."""
    times, n = len(openings.earlier), openings.n
    what = f"Split {openings.split} ({xrays(n)})" if openings.split else f"These {xrays(n)}"
    if openings.split == ALL:
        what = f"{xrays(n)} without a split"
    if not times:
        return f"{what}: not looked at yet."
    if times == 1:
        return f"{what}: looked at {'for the first time' if beside_figure else 'once'}."
    first = datetime.fromisoformat(openings.earlier[0].date)
    before = max(openings.shared[:-1])
    part = "" if before == n else f", up to {before} of them"
    networks = openings.networks
    by = f" of {networks} networks or tables" if networks > 1 else ""
    since = f"{part} (first {first:%Y-%m-%d %H:%M} UTC, results{by})."
    if not beside_figure:
        return f"{what}: looked at {times:,} times{since}"
    return (
        f"{what}: looked at for the {_ordinal(times)} time{since} "
        "Whatever was chosen by an earlier look makes this figure too good."
    )


def locked_splits(manifest: Manifest) -> tuple[str, ...]:
    """Return the splits that are locked; none of a manifest outside the library."""
    if manifest.path is None:
        return ()
    locked = set(facts_beside(manifest.path).get("locked", []))
    return tuple(split for split in manifest.splits if split in locked)


def set_locked(data_set: str, splits: Sequence[str], *, locked: bool = True) -> tuple[str, ...]:
    """Lock or unlock splits of a data set of the library; return those that are locked then.

    Raises
    ------
    ManifestError
        If the data set or a split does not exist.
    """
    permission.ask("lock or unlock a split")
    manifest = open_data_set(data_set)
    for split in splits:
        if split not in manifest.splits:
            raise wrong_use(ManifestError(unknown("split", split, manifest.splits)))
    before = set(locked_splits(manifest))
    after = sorted(before | set(splits) if locked else before - set(splits))
    add_facts(data_set, locked=after)
    return tuple(after)


def refuse_locked(manifest: Manifest, splits: Iterable[str], *, opened: bool) -> None:
    """Refuse a look at a locked split unless it was opened on purpose.

    Raises
    ------
    ManifestError
        That names the split and how it is opened.
    """
    if opened:
        return
    for split in splits:
        if split in locked_splits(manifest):
            raise wrong_use(
                ManifestError(
                    f"split {split!r} of {manifest.path.parent.name if manifest.path else 'these data'} is locked: "
                    "--open-locked looks at it, which is counted; `cxr data unlock` unlocks it"
                )
            )


def ids_of_split(manifest: Manifest, split: str) -> list[str]:
    """Return the image ids of a split; of ``all`` and "" every one."""
    whole = split in ("", ALL) and split not in manifest.splits
    return manifest.ids if whole else manifest.table.loc[manifest.table["split"] == split, "image_id"].tolist()


def rows_of(openings: Openings) -> list[Mapping[str, str | int]]:
    """Return a row for each look, as tables show it."""
    return [
        {**asdict(opening), "of_these": shared}
        for opening, shared in zip(openings.earlier, openings.shared, strict=True)
    ]


def _folder() -> Path:
    return data_root() / ".openings"


def _read() -> list[Opening]:
    try:
        text = (_folder() / _LEDGER).read_text(encoding="utf-8")
    except OSError:
        return []
    return [opening for line in text.splitlines() if (opening := _parsed(line)) is not None]


def _parsed(line: str) -> Opening | None:
    """Return what a line says, None for one that a crash cut off."""
    try:
        return Opening(**json.loads(line))
    except (TypeError, ValueError):
        return None


def _append(hashes: np.ndarray, *, run: str, kind: str, network: str, data: str, split: str) -> None:
    """Write a look down, unless this run's look at the same X-rays stands there."""
    if not len(hashes):
        return
    name = hashlib.blake2b(hashes.tobytes(), digest_size=16).hexdigest()
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK)
    if not lock.acquire(timeout=_WAIT_S):
        raise OSError(f"{folder} is locked by another process")
    try:
        if any((opening.run, opening.images) == (run, name) for opening in _read()):
            return
        if not (folder / f"{name}.npy").is_file():
            with replacing(folder / f"{name}.npy") as draft, draft.open("wb") as file:
                np.save(file, hashes)
        opening = Opening(_now(), run, kind, network, data, split, len(hashes), name)
        with (folder / _LEDGER).open("a+", encoding="utf-8") as file:
            file.write(_newline_if_cut(folder / _LEDGER) + json.dumps(asdict(opening)) + "\n")
    finally:
        lock.release()


def _newline_if_cut(ledger: Path) -> str:
    """Return what ends a line that a crash cut off."""
    content = ledger.read_bytes()
    return "\n" if content and not content.endswith(b"\n") else ""


def _hashes(manifest: Manifest, ids: Sequence[str]) -> np.ndarray:
    """Return hashes of the files' paths, sorted and without repetition, uint64 (n,)."""
    images = dict(zip(manifest.ids, manifest.table["image"].tolist(), strict=True))
    real_path = _RealPaths(manifest.root)
    digests = b"".join(hashlib.blake2b(real_path(images[i]).encode(), digest_size=8).digest() for i in ids)
    return np.unique(np.frombuffer(digests, np.uint64))


class _RealPaths:
    """Resolves paths below a folder, where many lie in one folder: as ``Path.resolve``, twenty times as fast."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._folders: dict[str, str] = {}

    def __call__(self, path: str) -> str:
        folder, name = os.path.split(os.path.join(self._root, path))  # noqa: PTH118
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        real = f"{self._folders[folder].rstrip('/')}/{name}"
        return os.path.realpath(real) if name in ("", ".", "..") or os.path.islink(real) else real  # noqa: PTH114


def _ordinal(n: int) -> str:
    ending = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
