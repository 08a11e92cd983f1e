"""What the explorer explains of whichever X-ray is chosen: network, method, class, and what stands beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cxr.explain.composites import COMPOSITES, composite_of
from cxr.explain.heatmap import Heatmap, Method
from cxr.runs import told_apart

from sections.explorer.beside import ALL, MOST_CLASSES, Beside
from services import explaining, load
from services.explaining import Xray
from widgets.browse import Listed
from widgets.subject import Subject


@dataclass(frozen=True)
class Choice:
    """What is explained. ``target`` is a class, "" for the one that the network predicts of each X-ray."""

    network_ref: str
    method: Method
    target: str
    beside: Beside

    def targets(self, logits: np.ndarray) -> list[str]:
        """Return the explained class and those beside it, by the network's answer (K,)."""
        network, _ = load.model(self.network_ref)
        ranked = [network.classes[k] for k in (-logits).argsort(kind="stable")]
        target = self.target or ranked[0]
        others = [name for name in ranked if name != target] if self.beside.all_classes else []
        return [target, *others[: MOST_CLASSES - 1]]

    def with_picked(self, wish: Mapping[str, str], classes: Mapping[str, str], bias: str | None) -> Choice | None:
        """Return what is explained after a click in the viewer or on a picker, None where that is not known.

        Parameters
        ----------
        wish
            ``target``, a class; ``classes``, one or all of them; ``class`` and ``composite``, as their pickers call it.
        classes
            What the picker calls each class.
        bias
            What biases do where the composite that is picked leaves it open.
        """
        choice = self
        if (called := wish.get("class")) is not None:
            name = next((name for name, label in told_apart(classes).items() if label == called), None)
            if name is None:
                return None
            choice = replace(choice, target="" if name == next(iter(classes)) else name)
        if (called := wish.get("composite")) is not None:
            labels = told_apart({name: COMPOSITES[name].label for name in COMPOSITES})
            name = next((name for name, label in labels.items() if label == called), None)
            if name is None:
                return None
            bias = bias if bias in composite_of(name).bias_modes else None
            choice = replace(choice, method=Method.of(name, bias))
        if (target := wish.get("target")) is not None:
            if target not in classes:
                return None
            choice = replace(choice, target=target)
        if (shown := wish.get("classes")) is not None:
            choice = replace(choice, beside=replace(choice.beside, all_classes=shown == ALL))
        return choice

    def stored(self, xray: Xray) -> tuple[np.ndarray, Sequence[Heatmap]] | None:
        """Return logits and maps of an X-ray where its maps are stored; else None, and no map is computed.

        A network's answer, which takes a small part of a map's time, is computed where maps are stored.
        """
        if self.beside.n > self.beside.all_classes:  # what stands beside it would have to be stored as well
            return None
        classes = set(explaining.stored_classes(self.network_ref, xray, self.method))
        if not classes or (self.target and self.target not in classes):
            return None
        logits = explaining.logits(self.network_ref, xray)
        explained = explaining.stored_heatmaps(self.network_ref, xray, self.method, self.targets(logits))
        return None if explained is None else (logits, list(explained.heatmaps.values()))

    def digest(self, chosen: Subject, listed: Listed, more: str = "") -> str:
        """Return what changes with all that decides how an X-ray of the list is shown, and with ``more``."""
        stamps = load.model_stamp(self.network_ref), chosen.manifest_path.stat().st_mtime_ns
        method = self.method.key
        parts = (self.network_ref, method, self.target, self.beside, chosen.link, stamps, listed.digest, more)
        return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
