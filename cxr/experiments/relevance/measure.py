"""One image at a time: shares of relevance by region, and the network's logits without each region."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cxr.evaluation.predict import predict
from cxr.experiments.relevance.picture_regions import TEXT
from cxr.experiments.relevance.planted import PlantedRow, planted_rows
from cxr.experiments.relevance.removal import control_masks, grey_change, removed
from cxr.explain.heatmap import Method, picture_digest
from cxr.explain.quality.region_shares import region_shares
from cxr.explain.settings import ALL, LABEL, Targets
from cxr.explain.store import packed_map, stored_or_explained

if TYPE_CHECKING:
    from cxr.explain.run_files import RunMaps
    from cxr.explain.store import HeatmapStore
    from cxr.models import XrayClassifier

NAN = float("nan")
_OFF_LIMITS = (TEXT, "lesion", "devices")
"""Regions that no control meets: it would show what removing them does."""


@dataclass(frozen=True)
class RegionRow:
    """What one region of one image holds for one class; NaN where it cannot be said.

    Attributes
    ----------
    area, share, absolute
        Share of the pixels, of positive and of absolute relevance.
    control_area, control_share
        The same of the controls, means over draws.
    logit_change, control_change
        By how much the explained class's logit changes without the region, and without the controls.
    grey, control_grey
        Mean absolute change of grey of the picture, 0 to 255, by removing the region, and the controls.
    """

    area: float
    share: float
    absolute: float
    control_area: float
    control_share: float
    logit_change: float
    control_change: float
    grey: float
    control_grey: float


@dataclass(frozen=True)
class _Removal:
    """Control masks (D, H, W); without the region and each control, logits (1 + D, K) and changes of grey (1 + D,)."""

    controls: np.ndarray
    logits: np.ndarray
    grey: np.ndarray


@dataclass(frozen=True)
class ImageRow:
    """One image explained for one class."""

    image_id: str
    predicted: str
    explained: str
    logit: float
    lungs: str
    regions: Mapping[str, RegionRow]
    planted: PlantedRow | None = None


@dataclass(frozen=True)
class Subject:
    """An image at the network's size with its regions.

    ``label`` is what the data say of it; ``mark`` asks for a planted mark.
    """

    image_id: str
    picture: np.ndarray
    regions: Mapping[str, np.ndarray]
    lungs: str
    label: str
    mark: bool = False


@dataclass(frozen=True)
class Measure:
    """How images are explained and what is removed; ``border`` is the border's width as a share of the side."""

    model: XrayClassifier
    method: Method
    targets: Targets
    store: HeatmapStore
    run_maps: RunMaps
    draws: int
    border: float
    seed: int
    counts: dict[str, int] = field(default_factory=lambda: {"stored": 0, "computed": 0})

    def rows(self, subjects: Sequence[Subject]) -> list[ImageRow]:
        """Return the rows of some images, for each explained class one; those without positive relevance have NaN."""
        pictures = np.stack([subject.picture for subject in subjects])
        logits = predict(self.model, pictures)
        predicted = [self.model.classes[k] for k in logits.argmax(1)]
        targets = [self._targets(s.label, name) for s, name in zip(subjects, predicted, strict=True)]
        maps = self._maps(pictures, targets)
        rows = []
        for k, subject in enumerate(subjects):
            removals = self._removals(subject)
            marked = planted_rows(self, subject, targets[k], maps[k], logits[k]) if subject.mark else {}
            for target, relevance in zip(targets[k], maps[k], strict=True):
                column = self.model.classes.index(target)
                before = float(logits[k, column])
                rows.append(
                    ImageRow(
                        subject.image_id,
                        predicted[k],
                        target,
                        before,
                        subject.lungs,
                        {
                            name: _region_row(relevance, mask, removals[name], before, column)
                            for name, mask in subject.regions.items()
                        },
                        marked.get(target),
                    )
                )
        return rows

    def _targets(self, label: str, predicted: str) -> tuple[str, ...]:
        if self.targets.word == ALL:
            return self.model.classes
        if self.targets.name:
            return (self.targets.name,)
        return (label if self.targets.word == LABEL and label in self.model.classes else predicted,)

    def _maps(self, pictures: np.ndarray, targets: Sequence[tuple[str, ...]]) -> list[list[np.ndarray]]:
        """Return the maps of each image: of explaining runs, from the store, or computed."""
        digests = [picture_digest(picture) for picture in pictures]
        known = [[self.run_maps.get(d, t) for t in names] for d, names in zip(digests, targets, strict=True)]
        missing = [k for k, maps in enumerate(known) if any(m is None for m in maps)]
        stored = [len(self.store.get(digests[k], self.method, targets[k])) == len(targets[k]) for k in missing]
        self.counts["computed"] += sum(not there for there in stored)
        self.counts["stored"] += len(pictures) - sum(not there for there in stored)
        if missing:
            heatmaps = stored_or_explained(
                self.store,
                self.method,
                self.model,
                pictures[missing],
                [digests[k] for k in missing],
                [targets[k] for k in missing],
            )
            for k, own in zip(missing, heatmaps, strict=True):
                known[k] = [_as_stored(heatmap.relevance) for heatmap in own]
        return [[m for m in maps if m is not None] for maps in known]

    def _removals(self, subject: Subject) -> dict[str, _Removal]:
        """Return by region what becomes of an image without it, and without its controls."""
        picture, avoid = subject.picture, np.zeros(subject.picture.shape, bool)
        for name in _OFF_LIMITS:
            avoid |= subject.regions.get(name, False)
        controls, pictures = {}, {}
        for number, (name, mask) in enumerate(subject.regions.items()):
            key = [self.seed, zlib.crc32(subject.image_id.encode()), number]
            controls[name] = control_masks(picture, mask, avoid, self.draws, key)
            pictures[name] = removed(picture, mask, controls[name], self.seed)
        logits = predict(self.model, np.concatenate(list(pictures.values())))
        ends = np.cumsum([len(own) for own in pictures.values()])
        parts = np.split(logits, ends[:-1])
        return {
            name: _Removal(controls[name], part, np.array([grey_change(picture, other) for other in pictures[name]]))
            for name, part in zip(controls, parts, strict=True)
        }


def _as_stored(relevance: np.ndarray) -> np.ndarray:
    """Return a map with the digits that it has once stored, so that results do not depend on what was stored before."""
    packed, scale = packed_map(relevance)
    return packed.astype(np.float32) * np.float32(scale)


def _region_row(relevance: np.ndarray, mask: np.ndarray, removal: _Removal, before: float, column: int) -> RegionRow:
    named = {"own": mask, **{str(draw): control for draw, control in enumerate(removal.controls)}}
    shares = region_shares(relevance, named)
    share, absolute = shares.pop("own")
    changes = removal.logits[:, column].astype(np.float64) - before
    held = len(removal.controls) > 0
    return RegionRow(
        area=float(mask.mean()),
        share=share,
        absolute=absolute,
        control_area=float(removal.controls.mean()) if held else NAN,
        control_share=float(np.mean([own for own, _ in shares.values()])) if held else NAN,
        logit_change=float(changes[0]),
        control_change=float(changes[1:].mean()) if held else NAN,
        grey=float(removal.grey[0]),
        control_grey=float(removal.grey[1:].mean()) if held else NAN,
    )
