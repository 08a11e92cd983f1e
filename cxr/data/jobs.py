"""Importing and making data sets as background jobs: what the worker runs for the Data page and for large imports."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cxr.data.importing import import_data
from cxr.data.library import check_name, describe_data_set, save_data_set
from cxr.data.phantom import write_demo
from cxr.data.splits import split_manifest
from cxr.paths import data_root

if TYPE_CHECKING:
    from cxr.runs.folder import RunFolder

DEMO = "synthetic"
Progress = Callable[[float, str], None]


def run_import(folder: RunFolder, spec: dict[str, Any], progress: Progress) -> None:
    """Import a data set, make its splits and save it under its name.

    ``spec["params"]``: ``kind`` and ``path`` as :func:`cxr.data.import_data` takes them, ``name`` of the data set,
    optional ``columns``, ``aliases``, ``modalities``, ``uncertain``, ``keep_labels`` and ``source``, and ``seed`` of
    the splits (none are made where the source brings its own or nothing has a label).
    """
    params = spec["params"]
    check_name(params["name"])
    result = import_data(
        params["kind"],
        params["path"],
        columns=params.get("columns") or None,
        aliases=params.get("aliases") or None,
        modalities=params.get("modalities") or (),
        uncertain=params.get("uncertain", "unknown"),
        keep_labels=bool(params.get("keep_labels", False)),
        source=params.get("source", ""),
        progress=lambda done, total: progress(done / max(total, 1), f"{done} of {total} files read"),
    )
    manifest = result.manifest
    if not manifest.splits and manifest.classes:
        manifest, _ = split_manifest(manifest, seed=params.get("seed", 0))
        result = result.with_manifest(manifest)
    save_data_set(params["name"], result)
    summary = {"data": params["name"], "images": len(manifest), "left_out": len(result.excluded)}
    summary |= {"notes": list(result.notes)}
    folder.write_json("results.json", summary)
    progress(1.0, f"{summary['images']} X-rays imported, {summary['left_out']} left out")


def run_demo(folder: RunFolder, spec: dict[str, Any], progress: Progress) -> None:
    """Make the synthetic X-rays. ``spec["params"]``: optional ``n``, ``correlation``, ``seed``, ``size``, ``name``."""
    params = dict(spec["params"])
    name = check_name(params.pop("name", "demo"))
    manifest = write_demo(
        data_root() / name,
        progress=lambda done, total: progress(done / max(total, 1), f"{done} of {total} X-rays made"),
        **params,
    )
    describe_data_set(name, DEMO)
    folder.write_json("results.json", {"data": name, "images": len(manifest), "left_out": 0})
    progress(1.0, f"{len(manifest)} synthetic X-rays made")
