"""``cxr explain``: the heatmap of one X-ray, as pictures and as numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxr.cli.follow import follow_or_leave
from cxr.cli.models import DataOption, Model, manifest_of
from cxr.cli.output import Json, emit, percent, say, show_table
from cxr.runs import start

if TYPE_CHECKING:
    import numpy as np


def explain(
    model: Model,
    image: Annotated[
        str | None, typer.Argument(metavar="[IMAGE]", help="An image file, or an image id of the run's manifest.")
    ] = None,
    composite: Annotated[str, typer.Option(help="The rules of LRP.")] = "epsilon-plus-flat",
    target: Annotated[str, typer.Option(help="The class whose logit is explained; by default the predicted one.")] = "",
    data: DataOption = None,
    split: Annotated[str, typer.Option(help="Without IMAGE: the split whose X-rays are explained.")] = "test",
    n: Annotated[int | None, typer.Option(min=1, help="Without IMAGE: how many; by default all.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the PNG files and the array.")] = Path(),
    as_json: Json = False,
) -> None:
    """Explain the prediction for one X-ray, or for those of a split, by Layer-wise Relevance Propagation."""
    if image is None:
        params: dict[str, Any] = {"model": model, "manifest": manifest_of(model, data), "split": split}
        params |= {"composite": composite, "targets": target or "predicted"} | ({"n": n} if n else {})
        follow_or_leave(start("explain", params, name=f"explain {split}"), detach=False, as_json=as_json)
        return
    _explain_one(model, image, composite, target, data, out, as_json)


def _explain_one(
    model: str, image: str, composite: str, target: str, data: str | None, out: Path, as_json: bool
) -> None:
    import numpy as np

    from cxr.data import read_xray
    from cxr.data.cache import fit_square
    from cxr.evaluation.source import load_trained
    from cxr.explain import explain as explain_images

    network, description = load_trained(model)
    path = _image_path(model, image, data)
    pixels = read_xray(path)
    seen = fit_square(pixels, network.card.size)  # shrunk as training and evaluation do it
    scores = _scores(network, seen)
    target = target or max(scores, key=lambda name: scores[name]["logit"])
    result = explain_images(network, seen[None], [target], composite=composite)
    relevance = np.asarray(result.relevance, dtype=np.float32)[0]
    files = _write(out, f"{path.stem}-{target}-{composite}", pixels, relevance)
    told = {
        "model": description,
        "image": str(path),
        "target": target,
        "composite": composite,
        "predictions": scores,
        "relevance_sum": float(relevance.sum()),
        "absorbed": float(np.asarray(result.absorbed).ravel()[0]),
        "exact": result.exact,
        "notes": list(result.notes),
        "files": files,
    }
    emit(told, as_json, _show)


def _image_path(model: str, image: str, data: str | None) -> Path:
    path = Path(image).expanduser()
    if path.exists():
        return path
    from cxr.data import Manifest

    return Manifest.load(manifest_of(model, data)).image_path(image)


def _scores(network: Any, pixels: np.ndarray) -> dict[str, dict[str, float]]:
    """Return logit and probability per class for one image (H, W) uint8."""
    import torch

    with torch.inference_mode():
        logits = network(pixels[None])[0].float()
    single = network.card.task == "single-label"
    shares = logits.softmax(-1) if single else logits.sigmoid()
    rows = zip(network.classes, logits.tolist(), shares.tolist(), strict=True)
    return {name: {"logit": logit, "probability": share} for name, logit, share in rows}


def _write(folder: Path, stem: str, pixels: np.ndarray, relevance: np.ndarray) -> dict[str, str]:
    import numpy as np

    from cxr.explain import render

    folder.mkdir(parents=True, exist_ok=True)
    flat = render.relevance_2d(relevance)
    pictures = {"heatmap": render.heatmap_rgb(flat), "overlay": render.overlay(pixels, flat)}
    files = {kind: str(folder / f"{stem}-{kind}.png") for kind in pictures}
    for kind, picture in pictures.items():
        Path(files[kind]).write_bytes(render.to_png(picture))
    files["relevance"] = str(folder / f"{stem}.npy")
    np.save(files["relevance"], relevance)
    return files


def _show(told: dict[str, Any]) -> None:
    rows = [[name, round(row["logit"], 3), percent(row["probability"])] for name, row in told["predictions"].items()]
    show_table(f"{told['image']}", ["class", "logit", "probability"], rows)
    for text in told["notes"]:
        say(text)
    say(f"relevance of {told['target']} ({told['composite']}), sum {told['relevance_sum']:.4g}:")
    for path in told["files"].values():
        say(f"  {path}")
