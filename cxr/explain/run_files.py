"""What an explaining run keeps: its maps, written and read again under names that are safe, and its precision."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import pandas as pd

from cxr.errors import CxrError, ExplainError
from cxr.explain.diagnostics import concerns
from cxr.explain.heatmap import Heatmap, Method, picture_digest
from cxr.explain.precision import PrecisionRecord, Trial
from cxr.explain.settings import ExplainParams
from cxr.explain.store import packed_map
from cxr.files import replacing
from cxr.runs import list_runs
from cxr.runs.shards.folders import ShardFolder, finished_shards, shards_of

if TYPE_CHECKING:
    from cxr.runs.folder import RunFolder

STORE, INDEX, PREVIEWS, PRECISION = "relevance.npy", "index.parquet", "previews", "precision.json"
LEDGER = ("logit", "positive", "negative", "absorbed", "lost", "residual", "not_finite")
FLOAT32 = "float32"
COLUMNS = ("image_id", "label", "predicted", "target", "composite", "bias", *LEDGER, "concerns", "scale", "row",
            "weights", "picture")  # fmt: skip


class _MapRow(TypedDict):
    target: str
    composite: str
    bias: str
    logit: float
    positive: float
    negative: float
    absorbed: float
    lost: float
    residual: float
    not_finite: int
    concerns: str
    scale: float
    row: int


class IndexRow(_MapRow):
    """A row of the index, which has :data:`COLUMNS`: a map, its image, and the weights that it is of."""

    image_id: str
    label: str
    predicted: str
    weights: str
    picture: str


_LONGEST_NAME = 100  # bytes, of 255 that a file's name may have: an image's and a class's stand in one


def safe_names(names: Sequence[str]) -> dict[str, str]:
    """Return each name as a part of a file's name; those that would be the same, in any case, get a number."""
    safe: dict[str, str] = {}
    used: set[str] = set()
    for name in names:
        short = re.sub(r"[^\w.-]+", "_", name).encode()[:_LONGEST_NAME].decode(errors="ignore")
        plain = candidate = short.lstrip(".") or "_"
        number = 1
        while candidate.casefold() in used:
            number += 1
            candidate = f"{plain}-{number}"
        used.add(candidate.casefold())
        safe[name] = candidate
    return safe


def read_map(folder: RunFolder, image_id: str, target: str | None = None) -> tuple[np.ndarray, pd.Series]:
    """Return one stored map, float32 (H, W) in relevance, and its row of the index; by default the image's first.

    Raises ExplainError where the run holds no map of that image and class.
    """
    path = folder.path / INDEX
    table = pd.read_parquet(path) if path.exists() else pd.DataFrame(columns=list(COLUMNS))
    rows = table.loc[(table["image_id"] == image_id) & (target is None or table["target"] == target)]
    if rows.empty:
        of_class = "" if target is None else f" for {target!r}"
        raise ExplainError(f"run {folder.id} holds no heatmap of image {image_id!r}{of_class} (it holds {len(table)})")
    entry = rows.iloc[0]
    store = np.load(folder.path / STORE, mmap_mode="r")
    return store[int(entry["row"])].astype(np.float32) * np.float32(entry["scale"]), entry


def write_map(maps: np.memmap, row: int, heatmap: Heatmap) -> _MapRow:
    """Write a heatmap to its row of the maps (n, H, W), and return what the index holds of it."""
    maps[row], scale = packed_map(heatmap.relevance)
    return {
        "target": heatmap.target,
        "composite": heatmap.composite,
        "bias": heatmap.bias,
        "logit": heatmap.logit,
        "positive": heatmap.positive,
        "negative": heatmap.negative,
        "absorbed": heatmap.absorbed,
        "lost": heatmap.lost,
        "residual": heatmap.residual,
        "not_finite": heatmap.not_finite,
        "concerns": " ".join(concerns(heatmap)),
        "scale": scale,
        "row": row,
    }


def write_index(folder: RunFolder, maps: np.memmap, rows: list[IndexRow]) -> pd.DataFrame:
    """Write the index of maps that are there, after them, and return it."""
    maps.flush()
    table = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("row", ignore_index=True)
    with replacing(folder.path / INDEX) as draft:
        table.to_parquet(draft, index=False)
    return table


def valid_rows(
    folder: Path, weights: str, n_targets: int, picture_of: Callable[[str], np.ndarray | None]
) -> dict[str, list[IndexRow]]:
    """Return the rows of an index by image, as far as weights and pictures are still these.

    An image counts with all its maps, one row behind the other, or with none; one without a picture does not count.
    """
    by_image: dict[str, list[IndexRow]] = {}
    for row in pd.read_parquet(folder / INDEX, columns=list(COLUMNS)).to_dict("records"):
        by_image.setdefault(row["image_id"], []).append(row)
    valid = {}
    for image_id, rows in by_image.items():
        picture = picture_of(image_id)
        if picture is not None and len(rows) == n_targets:
            digest, first = picture_digest(picture), rows[0]["row"]
            expected = [(weights, digest, first + t) for t in range(n_targets)]
            if [(row["weights"], row["picture"], row["row"]) for row in rows] == expected:
                valid[image_id] = rows
    return valid


def decided_precision(folder: RunFolder, trial_on_first_image: Callable[[], Trial]) -> PrecisionRecord:
    """Return what a run has decided on bfloat16 (:meth:`Trial.record`), once for all of its shards.

    It stands in the run's folder. Whichever shard comes first tries the run's first image, and the others keep to what
    is written. A run in one piece tries again when it is resumed, perhaps on another machine, unless it took float32.
    """
    if isinstance(folder, ShardFolder) or shards_of(folder):
        run = folder.run if isinstance(folder, ShardFolder) else folder
        of_run: PrecisionRecord | None = run.read_json(PRECISION) or _of_each_shard(run)
        if of_run is None:
            of_run = run.create_json(PRECISION, trial_on_first_image().record())
        return of_run
    record: PrecisionRecord | None = folder.read_json(PRECISION)
    if record is not None and record["used"].endswith(FLOAT32):
        return record
    now = trial_on_first_image().record()
    if record is not None and now["used"] != record["used"]:  # resumed on a machine where it does not pay
        now["used"] = f"{record['used']}, then {now['used']}"
    folder.write_json(PRECISION, now)
    return now


def _of_each_shard(run: RunFolder) -> PrecisionRecord | None:
    """Return what the shards decided of a run by an older version, each for itself; None if there are none."""
    records = [record for shard in finished_shards(run) if (record := shard.read_json(PRECISION))]
    if not records:
        return None
    used = ", then ".join(sorted({record["used"] for record in records}))
    joined: PrecisionRecord = run.create_json(PRECISION, records[0] | {"used": used})
    return joined


@dataclass(frozen=True)
class RunMaps:
    """Maps in the folders of explaining runs: file, row and scale by digest of the picture and class."""

    places: dict[tuple[str, str], tuple[Path, int, float]]

    @classmethod
    def of(cls, weights: str, method: Method) -> RunMaps:
        """Return the maps of all explaining runs of a network (the digest of its weights) by a method."""
        places: dict[tuple[str, str], tuple[Path, int, float]] = {}
        for run in list_runs(kind="explain"):
            index = run.folder.path / INDEX
            try:
                params = ExplainParams.of(run.spec["params"])
                if params.method() != method or not index.exists():
                    continue
                table = pd.read_parquet(index, columns=["weights", "picture", "target", "row", "scale"])
            except (CxrError, OSError, ValueError):
                continue  # of an older version, or being deleted: its maps are computed again
            for row in table[table["weights"] == weights].itertuples():
                places[row.picture, row.target] = index.with_name(STORE), int(row.row), float(row.scale)
        return cls(places)

    def get(self, picture: str, target: str) -> np.ndarray | None:
        """Return a map, float32 (H, W) in relevance, None where no run holds it."""
        if (picture, target) not in self.places:
            return None
        path, row, scale = self.places[picture, target]
        try:
            return np.load(path, mmap_mode="r")[row].astype(np.float32) * np.float32(scale)
        except (OSError, ValueError, IndexError):
            return None
