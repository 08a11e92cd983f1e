"""Which X-rays a network has seen: digests and fingerprints of all that each stage learnt from or chose on.

The list lies inside the weights file, beside the card, so that a copy of the file cannot lose it. Eight bytes for a
file, eight for its picture, eight for its patient, and 176 for a fingerprint (:mod:`cxr.data.fingerprints`): of 112,000
X-rays some 29 MB. That two different ones share a digest by chance happens once in some hundred million comparisons of
two data sets of that size.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from cxr.json_types import JsonObject

Digests = NDArray[np.uint64]
Fingerprints = NDArray[np.uint8]

TRAINED, CHOSEN = USES = ("trained", "chosen")
"""What a stage did with X-rays: it learnt from them, or its best epoch was chosen on them."""
KEY = "seen"  # of a safetensors file's metadata
_VERSION = 1
_STORED = np.dtype("<u8")


class StoredFingerprints(TypedDict):
    """Fingerprints as JSON holds them: rows of ``width`` bytes, one after the other in base64."""

    form: str
    width: int
    rows: str


class StoredSeen(TypedDict):
    """A :class:`SeenImages` as JSON holds it; digests are base64 of little-endian 64-bit numbers.

    Older lists have neither ``patients`` nor ``fingerprints``, and older readers pass over them.
    """

    run: str
    stage: str
    use: str
    n: int
    form: str
    files: str
    pictures: str
    patients: NotRequired[str]
    fingerprints: NotRequired[StoredFingerprints]


@dataclass(frozen=True, eq=False)
class SeenImages:
    """The X-rays that one stage of a training learnt from, or was chosen on.

    Attributes
    ----------
    run, stage
        Id of the run and name of its stage.
    use
        One of :data:`USES`.
    n
        Number of X-rays.
    form
        In which form the pictures were compared (size and versions, see :attr:`cxr.data.ImageCache.form`): digests of
        pictures of different forms say nothing about each other.
    files, pictures
        Sorted digests of the files' bytes and of the decoded pictures. X-rays of one single grey are not among them.
    patients
        Sorted digests of patients (:func:`patient_digests`), None in lists of older versions.
    fingerprints, fingerprint_form
        (n, width) bytes by which near-duplicates are found, and how they were made; "" in lists of older versions.
    """

    run: str
    stage: str
    use: str
    n: int
    form: str
    files: Digests
    pictures: Digests
    patients: Digests | None = None
    fingerprints: Fingerprints = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    fingerprint_form: str = ""

    @property
    def title(self) -> str:
        """The stage and its run in words."""
        return f"stage {self.stage} of run {self.run}"

    def to_dict(self) -> StoredSeen:
        """Return plain values that JSON can hold."""
        stored: StoredSeen = {
            "run": self.run,
            "stage": self.stage,
            "use": self.use,
            "n": self.n,
            "form": self.form,
            "files": _as_text(self.files),
            "pictures": _as_text(self.pictures),
        }
        if self.patients is not None:
            stored["patients"] = _as_text(self.patients)
        if self.fingerprint_form:
            stored["fingerprints"] = {
                "form": self.fingerprint_form,
                "width": self.fingerprints.shape[1],
                "rows": base64.b64encode(self.fingerprints.tobytes()).decode("ascii"),
            }
        return stored

    @classmethod
    def from_dict(cls, values: JsonObject) -> SeenImages:
        """Return what :meth:`to_dict` gave; a ValueError, TypeError or KeyError for anything else."""
        near = values.get("fingerprints") or {"form": "", "width": 0, "rows": ""}
        patients = values.get("patients")
        return cls(
            run=str(values["run"]),
            stage=str(values["stage"]),
            use=str(values["use"]),
            n=int(values["n"]),
            form=str(values["form"]),
            files=_from_text(values["files"]),
            pictures=_from_text(values["pictures"]),
            patients=None if patients is None else _from_text(patients),
            fingerprints=_rows(near["rows"], int(near["width"])),
            fingerprint_form=str(near["form"]),
        )


@dataclass(frozen=True)
class Seen:
    """All that a network has seen, with the networks that it began with.

    Attributes
    ----------
    images
        One entry per stage and use, the earliest stage first.
    unknown
        What the list does not cover, in words: weights that the training began with and that keep no list.
    """

    images: tuple[SeenImages, ...] = ()
    unknown: tuple[str, ...] = ()

    def plus(self, *images: SeenImages) -> Seen:
        """Return the list with further entries."""
        return Seen((*self.images, *images), self.unknown)

    def count(self) -> int:
        """Return how many different files there are in all stages."""
        return len(np.unique(np.concatenate([entry.files for entry in self.images]))) if self.images else 0

    def to_text(self) -> str:
        """Return JSON with the digests in base64."""
        images = [entry.to_dict() for entry in self.images]
        return json.dumps({"version": _VERSION, "unknown": list(self.unknown), "images": images})

    @classmethod
    def from_text(cls, text: str) -> Seen:
        """Return what :meth:`to_text` gave.

        Raises
        ------
        ValueError
            If it is anything else, or of a later version.
        """
        try:
            values = json.loads(text)
            if values["version"] != _VERSION:
                raise ValueError(f"version {values['version']!r} is not {_VERSION}")
            images = tuple(SeenImages.from_dict(entry) for entry in values["images"])
            return cls(images, tuple(map(str, values["unknown"])))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a list of X-rays seen in training: {error}") from None


def sorted_digests(digests: Sequence[int] | Digests) -> Digests:
    """Return digests sorted, each once and without 0, which stands for none."""
    unique = np.unique(np.asarray(digests, np.uint64))
    return unique[unique != 0]


def patient_digests(run: str, patients: Iterable[tuple[str, str]]) -> Digests:
    """Return 64 bits for each ``(source, patient id)``, 0 where one of them is not known.

    Ids such as 1 or "patient 3" are those of one source. ``run`` goes in too, so that lists of two networks do not tell
    whether they share a patient; whoever knows an id can still try whether it is there.
    """
    return np.array([_patient_digest(run, *patient) for patient in patients], np.uint64)


def _patient_digest(run: str, source: str, patient: str) -> int:
    if not source or not patient:
        return 0
    text = json.dumps([run, source, patient])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _rows(text: str, width: int) -> Fingerprints:
    return (
        np.frombuffer(base64.b64decode(text, validate=True), np.uint8).reshape(-1, width)
        if width
        else np.zeros((0, 0), np.uint8)
    )


def _as_text(digests: Digests) -> str:
    return base64.b64encode(digests.astype(_STORED).tobytes()).decode("ascii")


def _from_text(text: str) -> Digests:
    return np.frombuffer(base64.b64decode(text, validate=True), _STORED).astype(np.uint64)
