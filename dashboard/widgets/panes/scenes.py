"""What viewers show: an X-ray alone, with a network's answer and map, or two versions of it side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cxr.explain import legend
from cxr.explain.heatmap import Heatmap, Method
from cxr.explain.run_files import safe_names

from services import explaining, load
from services.explaining import Xray
from widgets.panes.component import ClassRow, Pane, Prediction, Scene

if TYPE_CHECKING:
    from cxr.models import XrayClassifier


def prediction(network: XrayClassifier, xray: Xray, logits: np.ndarray, target: str) -> Prediction:
    """Return the network's answer, the likeliest class first, with what is true and how near the second class is."""
    table = explaining.scores(network, logits)
    of_findings = explaining.is_of_findings(network)
    rows: list[ClassRow] = [
        {"name": name, "probability": float(chance), "logit": float(logit), "explained": name == target}
        for name, chance, logit in table.itertuples(index=False)
    ]
    best = rows[0]
    return {
        "verdict": f"{'Most probable' if of_findings else 'Predicted'} {best['name']} {best['probability']:.2f}",
        "truth": xray.truth_in_words(network),
        "doubt": "" if of_findings or len(rows) < 2 else _doubt(rows),
        "right": None if of_findings or xray.label not in network.classes else xray.label == best["name"],
        "classes": rows,
    }


def _doubt(rows: Sequence[ClassRow]) -> str:
    ahead = rows[0]["probability"] - rows[1]["probability"]
    return f"{ahead:.3f} ahead of {rows[1]['name']}"


def sentence(target: str) -> str:
    """Return the one sentence below maps of a class."""
    return f"Red speaks for {target}, blue against it: what this network used, not where disease is."


def base_panes(target: str) -> list[Pane]:
    """Return the panes of an X-ray and its first map."""
    return [
        Pane("xray", "X-ray", base=True),
        Pane("heatmap", f"Heatmap: {target}", map=0, base=True),
        Pane("overlay", "Overlay", map=0, base=True),
    ]


def alone(xray: Xray) -> Scene:
    """Return an X-ray without a network."""
    return Scene(
        subject=f"{xray.id}:{xray.stamp}",
        images=[(xray.stamp, xray.pixels)],
        maps=[],
        panes=[Pane("xray", xray.id, base=True)],
        outlines=xray.masks,
        legend=[f"{xray.id} · {xray.label or xray.findings}"],
        name=safe_names([xray.id])[xray.id],
        regions=False,
    )


def explained(network_ref: str, xray: Xray, target: str = "") -> Scene:
    """Return an X-ray with what a network predicts and the default map of ``target``, else of the predicted class."""
    network, _ = load.model(network_ref)
    logits = explaining.logits(network_ref, xray)
    target = target if target in network.classes else network.classes[int(logits.argmax())]
    heatmap = explaining.heatmaps(network_ref, xray, Method.of(), [target]).heatmaps[target]
    said = prediction(network, xray, logits, target)
    return Scene(
        subject=f"{network_ref}:{xray.id}:{xray.stamp}",
        images=[(xray.stamp, xray.pixels)],
        maps=[("first", heatmap.relevance)],
        panes=base_panes(target),
        prediction=said,
        outlines=xray.masks,
        sentence=sentence(target),
        legend=[f"{xray.id} · {said['verdict']} · {said['truth']}", *legend.lines(heatmap)],
        name=safe_names([xray.id])[xray.id],
        regions=False,
    )


def before_and_after(versions: Sequence[tuple[str, Xray, Heatmap]]) -> Scene:
    """Return versions of one X-ray, each with its title and its map of one class, at one colour scale."""
    first = versions[0][1]
    target = versions[0][2].target
    xrays = [Pane("xray", title, k, base=True) for k, (title, _, _) in enumerate(versions)]
    overlays = [
        Pane("overlay", f"{title}: logit of {target} {heatmap.logit:+.2f}", k, k, base=True)
        for k, (title, _, heatmap) in enumerate(versions)
    ]
    return Scene(
        subject=f"{first.id}:{first.stamp}",
        images=[(xray.stamp, xray.pixels) for _, xray, _ in versions],
        maps=[("first", heatmap.relevance) for _, _, heatmap in versions],
        panes=[*xrays, *overlays],
        outlines=first.masks,
        sentence=sentence(target),
        legend=[f"{first.id} · {', '.join(title for title, _, _ in versions)}", *legend.lines(versions[0][2])],
        name=safe_names([first.id])[first.id],
        regions=False,
    )


def with_masked(scene: Scene, network_ref: str, xray: Xray, masked: np.ndarray) -> Scene:
    """Return a scene with the overlay of a masked version of its X-ray, uint8 (H, W), of the class it explains."""
    assert scene.prediction is not None
    target = next(row["name"] for row in scene.prediction["classes"] if row["explained"])
    without = replace(xray, stamp=f"{xray.stamp}:masked", pixels=masked)
    heatmap = explaining.heatmaps(network_ref, without, Method.of(), [target]).heatmaps[target]
    title = f"Text masked: logit {heatmap.logit:+.2f}"
    return replace(
        scene,
        images=[*scene.images, (without.stamp, masked)],
        maps=[*scene.maps, ("first", heatmap.relevance)],
        panes=[*scene.panes, Pane("overlay", title, len(scene.images), len(scene.maps))],
    )
