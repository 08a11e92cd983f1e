"""What a run records of itself when it is started: its id, what was requested, and with which versions."""

from __future__ import annotations

import contextlib
import re
import secrets
import sys
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, NotRequired, TypedDict

from cxr.json_types import JsonObject

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,119}")
_MADE = re.compile(r"\d{8}-\d{6}-([0-9a-f]{6})(?:-.*)?")
_VERSIONED = ("cxr", "torch", "timm", "zennit", "numpy")


class Spec(TypedDict):
    """The content of ``spec.json``, which never changes but for the place where a resumed run works (``slurm``).

    Attributes
    ----------
    id, kind, name
        Of the run; ``kind`` is a key of :data:`cxr.runs.KINDS`, ``name`` is the user's.
    created
        Unix time.
    params
        The parameters of the run's job as they are stored; ``RunFolder.params`` gives them checked and typed.
    manifest_hash
        Hash of the manifest, "" for a run without one.
    versions
        Of Python and of the packages that decide the numbers.
    slurm
        Options of a run on a cluster.
    shards
        In how many slices the X-rays are worked on (see ``cxr.runs.shards``), where there are several.
    started_by
        The id of the run that started it as one of its members, where one did.
    """

    id: str
    kind: str
    name: str
    created: float
    params: JsonObject
    manifest_hash: str
    versions: dict[str, str]
    slurm: NotRequired[JsonObject]
    shards: NotRequired[int]
    started_by: NotRequired[str]


def new_run_id(name: str = "") -> str:
    """Return a new id such as ``20250131-142355-7f3ac2-demo``: sorts by time, safe as a folder's name and in a URL."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
    parts = [datetime.now(UTC).strftime("%Y%m%d-%H%M%S"), secrets.token_hex(3), slug]
    return "-".join(part for part in parts if part)


def is_run_id(text: object) -> bool:
    """Return whether ``text`` has the form of an id: letters, digits, ``-`` and ``_``, nothing that leads elsewhere."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def mark_of(run_id: str) -> str:
    """Return of a run's id the part that tells it from others of the same second, of another text all of it."""
    parts = _MADE.fullmatch(run_id)
    return parts[1] if parts else run_id


def told_apart(names: Mapping[str, str]) -> dict[str, str]:
    """Return names by their ids, with the id behind those that several have, of a run's a part."""
    count = Counter(names.values())
    marks = Counter(mark_of(i) for i, name in names.items() if count[name] > 1)
    return {
        i: name if count[name] == 1 else f"{name} ({mark_of(i) if marks[mark_of(i)] == 1 else i})"
        for i, name in names.items()
    }


def new_spec(
    run_id: str,
    kind: str,
    params: Mapping[str, Any],
    name: str,
    manifest_hash: str,
    slurm: Mapping[str, Any] | None,
    shards: int = 1,
    started_by: str = "",
) -> Spec:
    """Return the content of a new run's ``spec.json``."""
    spec: Spec = {
        "id": run_id,
        "kind": kind,
        "name": name or kind,
        "created": time.time(),
        "params": dict(params),
        "manifest_hash": manifest_hash,
        "versions": _versions(),
    }
    if slurm is not None:
        spec["slurm"] = dict(slurm)
    if shards > 1:
        spec["shards"] = shards
    if started_by:
        spec["started_by"] = started_by
    return spec


def _versions() -> dict[str, str]:
    versions = {"python": sys.version.split()[0]}
    for package in _VERSIONED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions
