"""Finding a trained network by what a user calls it: a run's id, a weights file, or a name such as ``demo``."""

from __future__ import annotations

from pathlib import Path

from cxr.data import Manifest
from cxr.errors import ManifestError, WeightsError
from cxr.models.backbone import XrayClassifier
from cxr.models.weights import list_weights, load_model
from cxr.paths import runs_root, shipped_weights, weights_root
from cxr.runs.folder import RunFolder

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


def refuse_new_splits(source: str | Path, model: XrayClassifier, manifest: Manifest) -> None:
    """Refuse to measure a run on its own data when the splits were made again since: it may have seen the new test set.

    Raises
    ------
    ManifestError
        If ``manifest`` is the file that the run was trained on and its splits are not those of the training.
    """
    spec = checkpoint_of(source).parent.parent / "spec.json"
    if not spec.is_file() or manifest.path is None:
        return
    own = RunFolder(spec.parent).spec["params"].get("manifest")
    same_file = own is not None and Path(own).resolve() == manifest.path.resolve()
    if same_file and model.card.split_hash not in ("", manifest.split_hash()):
        raise ManifestError(
            f"the splits of {manifest.path} were changed after run {spec.parent.name} was trained on it, so it may "
            "have seen the images of its present test split; put the old splits back or train again"
        )


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
    card = model.card
    where = path.parent.parent.name if path.name == BEST else path.stem
    title = f"{card.name} ({where})" if card.name and card.name != where else where
    trained = f", trained on {card.trained_on}" if card.trained_on else ""
    return f"{title}: {card.backbone} at {card.size} px, {', '.join(card.classes)}{trained}"
