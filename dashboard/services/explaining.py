"""Predictions and explanations of single X-rays, cached by ids: the arrays themselves are never hashed."""

from __future__ import annotations

import hashlib
import io
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from cxr.data import ImageCache, Manifest, read_xray
from cxr.data.images.resize import fit_square
from cxr.data.manifest import MASKS
from cxr.errors import ImageError
from cxr.evaluation import predict, predictions_table
from cxr.evaluation.metrics import probabilities as chances_of
from cxr.evaluation.summary import with_targets
from cxr.evaluation.truth import annotated_in_training, finding_names
from cxr.explain.heatmap import Heatmap, Method, heatmaps_of, picture_digest
from cxr.explain.store import HeatmapStore, weights_digest
from cxr.models.card import MULTI_LABEL
from cxr.networks import compute_on_free_device

from services import computing, load
from widgets import viewer
from widgets.subject import Subject, stored_predictions

if TYPE_CHECKING:
    from cxr.models import XrayClassifier

PREDICTED = "predicted"
"""The target that follows the network's decision."""
HELD = 16
"""As many explanations are held while a page is open: moving a slider neither reads nor computes them again."""
AT_ONCE = 300
"""As many X-rays of a split are predicted without being asked."""
ONE_TURN = 512
"""As many X-rays are predicted before a GPU is given to whoever waits for it."""


@dataclass(frozen=True)
class Xray:
    """An X-ray to look at: its id, what changes with its content, its pixels and what is known of it."""

    id: str
    stamp: str
    pixels: np.ndarray
    label: str = ""
    masks: dict[str, Path] = field(default_factory=dict)
    findings: str = ""

    def truth(self, network: XrayClassifier) -> str:
        """Return what the data say of it, in Markdown: its label, or for a network of several findings these."""
        if is_of_findings(network):
            names = ", ".join(finding_names(self.findings))
            return f"Findings: **{viewer.plain(names)}**" if names else "Findings unknown"
        return f"True label: **{viewer.plain(self.label)}**" if self.label else "True label unknown"

    def truth_in_words(self, network: XrayClassifier) -> str:
        """Return the same without Markdown."""
        if is_of_findings(network):
            names = ", ".join(finding_names(self.findings))
            return f"Findings: {names}" if names else "Findings unknown"
        return f"True label: {self.label}" if self.label else "True label unknown"


def of_manifest(data: Manifest, image_id: str) -> Xray:
    """Return an X-ray of a manifest with its label and the ground-truth masks whose files are there."""
    pixels = load.xray(data, image_id)
    path = data.image_path(image_id)
    masks = {name: file for name in MASKS if (file := data.mask_path(image_id, name)) and file.is_file()}
    row, stamp = data.row(image_id), f"{path}:{path.stat().st_mtime_ns}"
    return Xray(image_id, stamp, pixels, row["label"], masks, row["findings"])


def of_upload(name: str, content: bytes) -> Xray:
    """Return an uploaded X-ray; an ImageError names the upload, not the temporary file that it was read from."""
    digest = hashlib.blake2b(content, digest_size=6).hexdigest()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"upload{Path(name).suffix.lower()}"
        file.write_bytes(content)
        try:
            pixels = read_xray(file)
        except ImageError as error:
            raise ImageError(str(error).replace(str(file), name).replace(file.name, name)) from None
    return Xray(f"upload-{digest}", digest, pixels)


@st.cache_data(max_entries=512, show_spinner=False)
def _logits(network_ref: str, model_stamp: int, image_id: str, stamp: str, _pixels: np.ndarray) -> np.ndarray:
    return computing.compute(
        network_ref, lambda network: predict(network, fit_square(_pixels, network.card.size)[None])[0]
    ).value


def logits(network_ref: str, xray: Xray) -> np.ndarray:
    """Return the logits (K,) of an X-ray, resized exactly as for training and evaluation."""
    return _logits(network_ref, load.model_stamp(network_ref), xray.id, xray.stamp, xray.pixels)


def probabilities(network: XrayClassifier, values: np.ndarray) -> np.ndarray:
    """Return softmax, or sigmoid for a network of several findings, of logits (..., K)."""
    return chances_of(values, network.card.task)


def is_of_findings(network: XrayClassifier) -> bool:
    """Tell whether a network looks for several findings, which do not exclude each other, and predicts no class."""
    return network.card.task == MULTI_LABEL


def class_labels(network: XrayClassifier, values: np.ndarray) -> dict[str, str]:
    """Return what a picker calls the classes that can be explained; the first follows the logits (K,) of the X-ray."""
    word = "most probable" if is_of_findings(network) else "predicted"
    highest = network.classes[int((-values).argsort(kind="stable")[0])]
    return {predicted_option(network.classes): f"{word}: {highest}"} | {name: name for name in network.classes}


def predicted_option(classes: Sequence[str]) -> str:
    """Return what stands in the URL for the class that a network predicts: no class is called so."""
    option = PREDICTED
    while option in classes:
        option = f"the {option}"
    return option


def verdict(network: XrayClassifier, values: np.ndarray) -> str:
    """Return what a network says of an X-ray by its logits (K,), in Markdown."""
    highest = int(values.argmax())
    name = viewer.plain(network.classes[highest])
    if is_of_findings(network):
        return f"Most probable **{name}** ({float(probabilities(network, values)[highest]):.2f})"
    return f"Predicted **{name}**"


@st.cache_data(max_entries=64, show_spinner=False)
def _weights(network_ref: str, model_stamp: int) -> str:
    return weights_digest(network_ref)


def network_picture(network_ref: str, xray: Xray) -> np.ndarray:
    """Return what the network sees of an X-ray, uint8 (size, size), resized as for training and evaluation."""
    network, _ = load.model(network_ref)
    return fit_square(xray.pixels, network.card.size)


@dataclass(frozen=True)
class Explained:
    """Heatmaps by class, and where they came from.

    Attributes
    ----------
    read
        How many were loaded from the store.
    seconds, where
        Time spent on the others, and the device in words.
    """

    heatmaps: dict[str, Heatmap]
    read: int
    seconds: float
    where: str = ""

    @property
    def origin(self) -> str:
        """Where the maps came from, in words."""
        computed = len(self.heatmaps) - self.read
        seconds = f"{self.seconds:.1f} s" if self.seconds >= 0.1 else f"{self.seconds:.2f} s"
        took = f"computed in {seconds} {self.where}"
        if not computed:
            return "loaded from the store"
        return f"{self.read} loaded from the store, {computed} {took}" if self.read else took


def heatmaps(network_ref: str, xray: Xray, method: Method, targets: Sequence[str]) -> Explained:
    """Return the heatmaps of some classes on one X-ray: those stored are read, the others computed in one sweep."""
    stamp = load.model_stamp(network_ref)
    key = (network_ref, stamp, xray.id, xray.stamp, method.key, tuple(targets))
    held: dict[tuple, Explained] = st.session_state.setdefault("explained", {})
    if key not in held:
        explained = _explained(network_ref, stamp, xray, method, targets, compute=True)
        assert explained is not None  # whatever was missing has been computed
        held[key] = explained
        for oldest in list(held)[:-HELD]:
            del held[oldest]
    return held[key]


def stored_heatmaps(network_ref: str, xray: Xray, method: Method, targets: Sequence[str]) -> Explained | None:
    """Return the same without computing a map, outside of a page too: None unless all of them are stored."""
    return _explained(network_ref, load.model_stamp(network_ref), xray, method, targets, compute=False)


def stored_classes(network_ref: str, xray: Xray, method: Method) -> list[str]:
    """Return the classes that maps of an X-ray are stored for."""
    store = HeatmapStore(_weights(network_ref, load.model_stamp(network_ref)))
    return store.targets(picture_digest(network_picture(network_ref, xray)), method)


def _explained(
    network_ref: str, model_stamp: int, xray: Xray, method: Method, targets: Sequence[str], compute: bool
) -> Explained | None:
    store, picture = HeatmapStore(_weights(network_ref, model_stamp)), network_picture(network_ref, xray)
    digest = picture_digest(picture)
    began = time.perf_counter()
    heatmaps = store.get(digest, method, targets)
    missing, where = [name for name in targets if name not in heatmaps], ""
    if missing and not compute:
        return None
    if missing:
        with st.spinner("Explaining …"):
            computed = computing.compute(
                network_ref, lambda network: heatmaps_of(method.explain(network, picture[None], [missing]))
            )
        (new,), where = computed.value, computed.where
        store.put(method, [(digest, heatmap) for heatmap in new])
        heatmaps |= {heatmap.target: heatmap for heatmap in new}
    seconds = time.perf_counter() - began
    return Explained({name: heatmaps[name] for name in targets}, len(targets) - len(missing), seconds, where)


def relevance_npy(network: XrayClassifier, picture: np.ndarray, method: Method, target: str) -> bytes:
    """Return the relevance of every value of the network's input, (C, H, W), computed anew, as a .npy file's bytes."""
    computed = compute_on_free_device(network, lambda on_device: method.explain(on_device, picture[None], target))
    return as_npy(computed.value.relevance[0])


def scores(network: XrayClassifier, values: np.ndarray) -> pd.DataFrame:
    """Return ``class, probability, logit``, the likeliest class first."""
    table = pd.DataFrame({"class": network.classes, "probability": probabilities(network, values), "logit": values})
    return table.sort_values("logit", ascending=False, ignore_index=True)


# Of cache_data every session would get a copy of its own at every run of the script.
@st.cache_resource(max_entries=16, show_spinner="Predicting the split …")
def _predictions(
    network_ref: str, model_stamp: int, manifest_path: str, manifest_stamp: int, split: str, _data: Manifest
) -> pd.DataFrame:
    network, _ = load.model(network_ref)
    rows = _data.select(split=split)
    cache = ImageCache.build(rows, network.card.size)
    ids = [i for i in rows.ids if i in cache]
    table = predictions_table(rows, ids, _logits_of(network_ref, cache, ids), network.classes, network.card.task)
    if not is_of_findings(network):
        return table
    return with_targets(table, _data.table, network.classes, annotated_in_training(network.card))


def _logits_of(network_ref: str, cache: ImageCache, ids: Sequence[str]) -> np.ndarray:
    """Return logits (N, K), some hundred X-rays at a time: between them, a run that waits for the GPU gets it."""
    network, _ = load.model(network_ref)
    parts = [ids[start : start + ONE_TURN] for start in range(0, len(ids), ONE_TURN)]
    logits = [computing.compute(network_ref, partial(predict, images=cache, ids=part)).value for part in parts]
    return np.concatenate(logits) if logits else np.zeros((0, len(network.classes)), np.float32)


@st.cache_resource
def _measured() -> set[tuple[str, int, str, int, str]]:
    """Return which splits this process has predicted."""
    return set()


def predictions(subject: Subject, *, wait: bool = True) -> pd.DataFrame | None:
    """Return predictions for the chosen split: the run's own, else computed here; large splits only when asked.

    All sessions share them, so do not write to them.
    Without ``wait`` None takes the place of a split that is still to be computed.
    """
    stored = stored_predictions(subject)
    if stored is not None:
        return stored
    n = len(subject.data.select(split=subject.split))
    flag = f"predict:{subject.link}"
    if n > AT_ONCE and not st.session_state.get(flag):
        if wait:
            _offer(n, flag)
        if not st.session_state.get(flag):
            return None
    path, network_ref = subject.manifest_path, subject.network_ref
    key = (network_ref, load.model_stamp(network_ref), str(path), path.stat().st_mtime_ns, subject.split)
    if not wait and key not in _measured():
        return None
    table = _predictions(*key, subject.data)
    _measured().add(key)
    return table


def _offer(n: int, flag: str) -> None:
    st.caption("The network has no predictions for these X-rays yet. Sorting by error and confidence needs them.")
    if st.button(f"Predict all {n:,} X-rays", icon=":material/calculate:"):
        st.session_state[flag] = True


def below_zero(heatmap: Heatmap, network: XrayClassifier) -> str:
    """Return what a logit below zero means for the colours, "" for any other and for methods without a ledger."""
    if heatmap.logit >= 0 or not heatmap.has_ledger:
        return ""
    low = f"The logit of {heatmap.target} is below zero, so blue marks what makes this score low."
    if is_of_findings(network):
        return f"{low} Its probability is below 0.5."
    return f"{low} It may still be the highest of all classes."


def as_npy(values: np.ndarray) -> bytes:
    """Return an array as the bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()
