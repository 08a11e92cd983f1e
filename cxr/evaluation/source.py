"""Finding a trained network by what a user calls it: a run's id, a weights file, or a name such as ``demo``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from cxr.data import Manifest
from cxr.data.digests import file_digests
from cxr.errors import ManifestError, WeightsError
from cxr.evaluation.selection import EXTERNAL, NOT_KNOWN, OWN
from cxr.models.card import ModelCard
from cxr.models.seen_images import Seen
from cxr.models.weights import list_weights, load_model, read_seen
from cxr.paths import cache_root, runs_root, shipped_weights, weights_root
from cxr.runs.folder import RunFolder

if TYPE_CHECKING:
    from cxr.models.classifier import XrayClassifier

BEST = "best.safetensors"


def load_trained(source: str | Path) -> tuple[XrayClassifier, str]:
    """Return the network (evaluation mode, CPU) that ``source`` means, and a line that describes it.

    Parameters
    ----------
    source
        A run's id or folder (its best checkpoint is taken), a .safetensors file, or the name of weights in the
        folder of weights or of those that we ship, such as ``demo``.

    Raises
    ------
    WeightsError
        If there is no such thing, or the run has no checkpoint yet.
    """
    path = checkpoint_of(source)
    model = load_model(path)
    return model, _describe(model, path)


def seen_by(source: str | Path) -> Seen | None:
    """Return which X-rays the network that ``source`` means has seen, or None if nothing tells."""
    return read_seen(checkpoint_of(source))


def is_own(source: str | Path, card: ModelCard, manifest: Manifest) -> bool:
    """Return whether a network was trained on this manifest, splits included."""
    same_splits = card.split_hash in ("", manifest.split_hash())
    return (_is_its_own(source, manifest) and same_splits) or bool(
        card.manifest_hash and card.manifest_hash == manifest.hash()
    )


def refuse_new_splits(source: str | Path, model: XrayClassifier, manifest: Manifest) -> None:
    """Refuse to measure a run on its own data when the splits were made again since: it may have seen the new test set.

    A run whose weights list all that they have seen is measured: what it has seen is known and left out, or marked.

    Raises
    ------
    ManifestError
        If ``manifest`` is the file that the run was trained on, its splits are not those of the training, and nothing
        tells what the run has seen.
    """
    seen = seen_by(source)
    if seen is not None and not seen.unknown:
        return
    if _is_its_own(source, manifest) and model.card.split_hash not in ("", manifest.split_hash()):
        raise ManifestError(
            f"the splits of {manifest.path} were changed after run {checkpoint_of(source).parent.parent.name} was "
            "trained on it, so it may have seen the images of its present test split; put the old splits back or train "
            "again"
        )


def _is_its_own(source: str | Path, manifest: Manifest) -> bool:
    """Return whether ``source`` is of a run that was started on this manifest's file."""
    own = _own_manifest(source)
    return own is not None and manifest.path is not None and own.resolve() == manifest.path.resolve()


def _own_manifest(source: str | Path) -> Path | None:
    """Return the manifest that a run was started on, None for weights that are no run's."""
    spec = checkpoint_of(source).parent.parent / "spec.json"
    own = RunFolder(spec.parent).spec["params"].get("manifest") if spec.is_file() else None
    return Path(own).expanduser() if own else None


def relation_to_training(source: str | Path, card: ModelCard, manifest: Manifest) -> str:
    """Return what data are to a network, one of :data:`cxr.evaluation.selection.RELATIONS`.

    ``own`` if they are what it was trained on, splits included; ``external`` if no patient, no group of duplicates and
    no image file of theirs stands in a manifest that it was trained on. That cannot be looked up for weights that are
    no run's, for a training that began with the weights of another, and where a manifest is gone.
    """
    if is_own(source, card, manifest):
        return OWN
    trained_on = _training_manifests(source, card)
    shared = not trained_on or any(_share_something(manifest, other) for other in trained_on)
    return NOT_KNOWN if shared else EXTERNAL


def _training_manifests(source: str | Path, card: ModelCard) -> list[Manifest]:
    """Return the manifests of all stages of the run that ``source`` is of, none unless all are known."""
    own = _own_manifest(source)
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


def checkpoint_of(source: str | Path) -> Path:
    """Return the weights file that ``source`` means."""
    text, path = str(source), Path(source).expanduser()
    if path.is_file():
        return path
    run = path if (path / "spec.json").is_file() else runs_root() / text
    if Path(text).name == text or run == path:
        if (run / "checkpoints" / BEST).is_file():
            return run / "checkpoints" / BEST
        if (run / "spec.json").is_file():
            raise WeightsError(f"run {run.name} has no checkpoint yet: wait for the end of its first epoch")
        for folder in (weights_root(), shipped_weights()):
            if (folder / f"{text}.safetensors").is_file():
                return folder / f"{text}.safetensors"
    names = ", ".join(name for name, _, _ in list_weights()) or "none"
    raise WeightsError(f"no trained network {text!r}: a run's id, a .safetensors file or a name is needed ({names})")


def _describe(model: XrayClassifier, path: Path) -> str:
    card, title = model.card, title_of(model.card, path)
    trained = f", trained on {card.trained_on}" if card.trained_on else ""
    return f"{title}: {card.backbone} at {card.size} px, {', '.join(card.classes)}{trained}"


def title_of(card: ModelCard | None, path: Path) -> str:
    """Return what a network is called, by its card and its file: ``demo (20261128-140312-a1b2c3)``, or ``demo``."""
    where = path.parent.parent.name if path.name == BEST else path.stem
    return f"{card.name} ({where})" if card is not None and card.name and card.name != where else where
