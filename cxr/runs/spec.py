"""What a run records of itself when it is started: its id, what was requested, and with which versions."""

from __future__ import annotations

import contextlib
import re
import secrets
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, NotRequired, TypedDict

from cxr.json_types import JsonObject

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,119}")
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
