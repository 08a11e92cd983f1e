"""What data are to a trained network: its own, strange to it, or its own with other splits than then."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from cxr.data import Manifest
from cxr.data.digests import file_digests
from cxr.errors import ManifestError
from cxr.evaluation.selection import EXTERNAL, NOT_KNOWN, OWN
from cxr.models.card import ModelCard
from cxr.networks import network_file, seen_by, training_of
from cxr.paths import cache_root

if TYPE_CHECKING:
    from cxr.models.classifier import XrayClassifier


def is_own(network_ref: str | Path, card: ModelCard, manifest: Manifest) -> bool:
    """Return whether a network was trained on this manifest, splits included."""
    same_splits = card.split_hash in ("", manifest.split_hash())
    return (_is_its_own(network_ref, manifest) and same_splits) or bool(
        card.manifest_hash and card.manifest_hash == manifest.hash()
    )


def refuse_new_splits(network_ref: str | Path, model: XrayClassifier, manifest: Manifest) -> None:
    """Refuse to measure a run on its own data when the splits were made again since: it may have seen the new test set.

    A run whose weights list all that they have seen is measured: what it has seen is known and left out, or marked.

    Raises
    ------
    ManifestError
        If ``manifest`` is the file that the run was trained on, its splits are not those of the training, and nothing
        tells what the run has seen.
    """
    seen = seen_by(network_ref)
    if seen is not None and not seen.unknown:
        return
    if _is_its_own(network_ref, manifest) and model.card.split_hash not in ("", manifest.split_hash()):
        raise ManifestError(
            f"the splits of {manifest.path} were changed after run {network_file(network_ref).parent.parent.name} was "
            "trained on it, so it may have seen the images of its present test split; put the old splits back or train "
            "again"
        )


def _is_its_own(network_ref: str | Path, manifest: Manifest) -> bool:
    """Return whether ``network_ref`` is of a run that was started on this manifest's file."""
    own = _own_manifest(network_ref)
    return own is not None and manifest.path is not None and own.resolve() == manifest.path.resolve()


def _own_manifest(network_ref: str | Path) -> Path | None:
    """Return the manifest that a run was started on, None for weights that are no run's."""
    training = training_of(network_file(network_ref))
    own = training.spec["params"].get("manifest") if training else None
    return Path(own).expanduser() if own else None


def relation_to_training(network_ref: str | Path, card: ModelCard, manifest: Manifest) -> str:
    """Return what data are to a network, one of :data:`cxr.evaluation.selection.RELATIONS`.

    ``own`` if they are what it was trained on, splits included; ``external`` if no patient, no group of duplicates and
    no image file of theirs stands in a manifest that it was trained on. That cannot be looked up for weights that are
    no run's, for a training that began with the weights of another, and where a manifest is gone.
    """
    if is_own(network_ref, card, manifest):
        return OWN
    trained_on = _training_manifests(network_ref, card)
    shared = not trained_on or any(_share_something(manifest, other) for other in trained_on)
    return NOT_KNOWN if shared else EXTERNAL


def _training_manifests(network_ref: str | Path, card: ModelCard) -> list[Manifest]:
    """Return the manifests of all stages of the run that ``network_ref`` is of, none unless all are known."""
    own = _own_manifest(network_ref)
    if own is None or card.recipe.get("weights") not in (None, "imagenet"):
        return []
    stages = [stage for stage in card.recipe.get("stages") or [] if isinstance(stage, dict)]
    paths = [own, *(Path(stage["data"]).expanduser() for stage in stages if stage.get("data"))]
    if not all(path.is_file() for path in paths):
        return []
    return [Manifest.load(path) for path in dict.fromkeys(path.resolve() for path in paths)]


def _share_something(one: Manifest, other: Manifest) -> bool:
    for column in ("patient_id", "dup_group"):
        if (set(one.table[column]) & set(other.table[column])) - {""}:
            return True
    sizes = [_files_by_size(manifest) for manifest in (one, other)]
    common = sizes[0].keys() & sizes[1].keys()  # files of one size alone can be the same: only those are read
    paths = [[path for size in common for path in files[size]] for files in sizes]
    digests = file_digests([*paths[0], *paths[1]], cache_root() / "digests.sqlite")
    one_digests, other_digests = ({digests[path] for path in files} - {None} for files in paths)
    return bool(one_digests & other_digests)


def _files_by_size(manifest: Manifest) -> dict[int, list[Path]]:
    files: dict[int, list[Path]] = {}
    for path in manifest.image_paths().values():
        with contextlib.suppress(OSError):
            files.setdefault(path.stat().st_size, []).append(path)
    return files
