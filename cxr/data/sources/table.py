"""Any table of X-rays: a CSV or Parquet manifest, its columns mapped to ours."""

from __future__ import annotations

from pathlib import Path

from cxr.data.manifest import MASK_COLUMNS, Manifest
from cxr.data.sources.base import Found, Options, find_table


def read(path: Path, options: Options) -> Found:
    """Read a CSV or Parquet file (or ``manifest.csv`` in a folder) through :meth:`Manifest.load`."""
    file = find_table(path, ["manifest.csv", "manifest.parquet"], "folder with a manifest")
    manifest = Manifest.load(file, columns=options.columns, aliases=options.aliases)
    found = Found(manifest.root)
    for row in manifest.table.to_dict("records"):
        taken = {str(column): value for column, value in row.items()}
        taken["image"] = str(manifest.resolve(taken["image"]))
        for column in MASK_COLUMNS:
            taken[column] = _mask(taken[column], manifest, found)
        found.rows.append(taken)
    return found


def _mask(path: str, manifest: Manifest, found: Found) -> str:
    if not path:
        return ""
    mask = manifest.resolve(path)
    if mask.is_file():
        return str(mask)
    found.leave_out(mask, "is named as a mask, but is not there; its image is kept without")
    return ""
