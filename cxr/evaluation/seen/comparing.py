"""Seen before: which X-rays that are to be measured a network was trained on, or chosen on, whatever they are called.

Files of the same bytes and pictures of the same pixels (at the network's size) are the same X-ray, so neither a new
name, nor another split, data set or kind of file makes it new. Near-duplicates (another size, JPEG, a crop, another
brightness) are found by fingerprints, and confirmed on the X-rays of the training where these are at hand. Other X-rays
of a patient are found by source and patient id. X-rays of one single grey are not compared.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cxr.data import ImageCache, Manifest
from cxr.data.fingerprints import FORM, LEAST_SIDE, nearest_fingerprints
from cxr.errors import CxrError
from cxr.evaluation.seen.confirming import Near, near_duplicates
from cxr.models.seen_images import CHOSEN, TRAINED, Seen, SeenImages, patient_digests

SAME_PATIENT = "patient"
"""What is said of an X-ray that was not seen itself, but another one of its patient was."""

_IN_WORDS = {TRAINED: "trained on", CHOSEN: "chosen on"}


@dataclass(frozen=True)
class SeenAmong:
    """What a network has seen of a set of X-rays.

    Attributes
    ----------
    use
        By image id ``trained`` or ``chosen`` (trained goes first), of those that were seen; ``patient`` of others whose
        patient was.
    stages
        By image id the stages that saw it, in words.
    compared_with
        How many X-rays the network's list holds.
    blank
        Ids of pictures of one single grey, which are not compared.
    unknown
        What the list does not tell, in words; empty where it tells everything.
    near
        Ids of those that were found as near-duplicates, not as equal.
    confirmed
        Those of ``near`` that were laid over the X-ray of the training itself; of the others the fingerprint decided.
    no_near
        With what near-duplicates were not looked for, in words.
    no_patient
        Ids whose patients could not be compared, as source or id are not known here, or the list has no patients.
    """

    use: Mapping[str, str] = field(default_factory=dict)
    stages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    compared_with: int = 0
    blank: frozenset[str] = frozenset()
    unknown: tuple[str, ...] = ()
    near: frozenset[str] = frozenset()
    confirmed: frozenset[str] = frozenset()
    no_near: tuple[str, ...] = ()
    no_patient: frozenset[str] = frozenset()

    def column(self, ids: Sequence[str]) -> list[str]:
        """Return for each image what was done with it in training, "" for those that were not seen."""
        return [self.use.get(image_id, "") for image_id in ids]


NO_LIST = "what this network was trained on"
NOTHING_KNOWN = SeenAmong(unknown=(NO_LIST,))


def seen_among(seen: Seen | None, manifest: Manifest, cache: ImageCache) -> SeenAmong:
    """Compare the images of ``cache``, those of ``manifest``, with the list of what a network has seen (None: no list).

    Where a stage saw its pictures at another size, they are brought to that size too.
    """
    if seen is None:
        return NOTHING_KNOWN
    files, pictures = cache.digests(np.arange(len(cache)))
    by_form = {cache.form: dict(zip(cache.ids, pictures.tolist(), strict=True))}
    unknown = list(seen.unknown)
    equal: list[set[str]] = []
    for entry in seen.images:
        if entry.form not in by_form and (other := _at_form(manifest, entry.form)) is not None:
            by_form[entry.form] = other
        seen_ids = {cache.ids[k] for k in np.flatnonzero(np.isin(files, entry.files))}
        if entry.form in by_form:
            shown = by_form[entry.form]
            digests = np.fromiter(shown.values(), np.uint64, len(shown))
            seen_ids |= {
                image_id for image_id, same in zip(shown, np.isin(digests, entry.pictures), strict=True) if same
            }
        else:
            unknown.append(
                f"pictures of {entry.title}, stored in another form ({entry.form}): only files were compared"
            )
        equal.append(seen_ids)
    blank = frozenset(cache.ids[k] for k in np.flatnonzero(pictures == 0))
    near_by_entry, no_near = _near(seen, manifest, cache, equal, blank)
    near = [own.ids for own in near_by_entry]
    like = frozenset[str]().union(*near) - frozenset[str]().union(*equal)
    of_patients, no_patient = _of_patients(seen, manifest, cache.ids)
    matches = [(entry, same | close) for entry, same, close in zip(seen.images, equal, near, strict=True)]
    uses = {i: use for use in (CHOSEN, TRAINED) for entry, ids in matches if entry.use == use for i in sorted(ids)}
    patients = [(entry, ids - uses.keys()) for entry, ids in zip(seen.images, of_patients, strict=True)]
    return SeenAmong(
        use={i: SAME_PATIENT for _, ids in patients for i in sorted(ids)} | uses,
        stages=_stages(matches, near) | _stages(patients, of_patients, "its patient: "),
        compared_with=seen.count(),
        blank=blank,
        unknown=tuple(dict.fromkeys(unknown)),
        near=like,
        confirmed=like & frozenset[str]().union(*(own.confirmed for own in near_by_entry)),
        no_near=no_near,
        no_patient=no_patient - uses.keys(),
    )


def _near(
    seen: Seen, manifest: Manifest, cache: ImageCache, equal: Sequence[set[str]], blank: frozenset[str]
) -> tuple[list[Near], tuple[str, ...]]:
    """Return for each entry the near-duplicates among images that are not equal to one that was trained on.

    With them what could not be compared, in words.
    """
    comparable = [entry.fingerprint_form == FORM for entry in seen.images]
    without = [
        entry.title
        for entry, can in zip(seen.images, comparable, strict=True)
        if entry.n and len(entry.files) and not can
    ]
    trained = set[str]().union(*(ids for entry, ids in zip(seen.images, equal, strict=True) if entry.use == TRAINED))
    ids = [image_id for image_id in cache.ids if image_id not in trained | blank]
    near = [Near(set(), set()) for _ in seen.images]
    if not ids or not any(comparable):
        return near, tuple(dict.fromkeys(without))
    try:
        large = cache if cache.size >= LEAST_SIDE else ImageCache.build(manifest.select(ids=ids), LEAST_SIDE)
    except CxrError:  # no room
        return near, tuple(dict.fromkeys(entry.title for entry in seen.images))
    shown = [image_id for image_id in ids if image_id in large]
    pictures = [large[image_id] for image_id in shown]  # views of files
    for k, entry in enumerate(seen.images):
        if comparable[k]:
            found = nearest_fingerprints(pictures, entry.fingerprints)
            matches = {i: match for i, match in zip(shown, found, strict=True) if i not in equal[k]}
            near[k] = near_duplicates(matches, entry, manifest)
    return near, tuple(dict.fromkeys(without))


def _of_patients(seen: Seen, manifest: Manifest, ids: Sequence[str]) -> tuple[list[set[str]], frozenset[str]]:
    """Return for each entry the images of its patients, and the images of which that cannot be told."""
    rows = manifest.table.set_index("image_id").loc[list(ids)]
    patients = list(zip(rows["source"].astype(str), rows["patient_id"].astype(str), strict=True))
    lists = any(entry.patients is None or (entry.n and not len(entry.patients)) for entry in seen.images)
    untold = frozenset(i for i, patient in zip(ids, patients, strict=True) if lists or not all(patient))
    by_run = {entry.run: patient_digests(entry.run, patients) for entry in seen.images}
    matched = [
        np.isin(by_run[entry.run], entry.patients if entry.patients is not None else np.zeros(0, np.uint64))
        for entry in seen.images
    ]
    return [{ids[int(k)] for k in np.flatnonzero(same)} for same in matched], untold


def _at_form(manifest: Manifest, form: str) -> dict[str, int] | None:
    """Return digests of pictures in another form by image id, None if this version does not make that form."""
    size, fit, *_ = form.split("-")
    if not size.isdecimal():
        return None
    with contextlib.suppress(CxrError):  # no room, or a list that names no form of ours
        cache = ImageCache.build(manifest, int(size), fit=fit)
        if cache.form == form:
            return dict(zip(cache.ids, cache.digests(np.arange(len(cache)))[1].tolist(), strict=True))
    return None


def _stages(
    matches: Sequence[tuple[SeenImages, set[str]]], near: Sequence[set[str]], prefix: str = ""
) -> dict[str, tuple[str, ...]]:
    stages: dict[str, list[str]] = {}
    for (entry, ids), like in zip(matches, near, strict=True):
        for image_id in ids:
            words = f"{_IN_WORDS[entry.use]} in {entry.title}"
            copy = "a near-duplicate: " if image_id in like and not prefix else ""
            stages.setdefault(image_id, []).append(f"{prefix}{copy}{words}")
    return {image_id: tuple(titles) for image_id, titles in stages.items()}
