"""Seen before: which X-rays that are to be measured a network was trained on, or chosen on, whatever they are called.

Files of the same bytes and pictures of the same pixels (at the network's size) are the same X-ray, so neither a new
name, nor another split, data set or kind of file makes it new. Near-duplicates (another size, JPEG, a crop, another
brightness) are found by fingerprints, other X-rays of a patient by source and patient id. X-rays of one single grey are
not compared.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from cxr.data import ImageCache, Manifest
from cxr.data.fingerprints import FORM, LEAST_SIDE, nearest_fingerprints
from cxr.errors import CxrError, ImageError
from cxr.evaluation.metrics import headline
from cxr.evaluation.results import EvaluationResults, SeenImagesRow, SeenRecord, SeenSplit
from cxr.models.seen_images import CHOSEN, TRAINED, Seen, SeenImages, patient_digests

SAME_PATIENT = "patient"
"""What is said of an X-ray that was not seen itself, but another one of its patient was."""

ALL_SEEN, OWN_SPLIT, INCLUDED = WHOLE = ("all-seen", "own-split", "included")
"""Why a split is measured with the X-rays that were seen: it holds no others; it is what the network was trained or
chosen on by its name; somebody asked for it."""
_OWN_SPLITS = ("train", "val")
_IN_WORDS = {TRAINED: "trained on", CHOSEN: "chosen on"}
_OF_PATIENT = "of patients that it has seen"


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
    near, no_near = _near(seen, manifest, cache, equal, blank)
    of_patients, no_patient = _of_patients(seen, manifest, cache.ids)
    matches = [(entry, same | like) for entry, same, like in zip(seen.images, equal, near, strict=True)]
    uses = {i: use for use in (CHOSEN, TRAINED) for entry, ids in matches if entry.use == use for i in sorted(ids)}
    patients = [(entry, ids - uses.keys()) for entry, ids in zip(seen.images, of_patients, strict=True)]
    return SeenAmong(
        use={i: SAME_PATIENT for _, ids in patients for i in sorted(ids)} | uses,
        stages=_stages(matches, near) | _stages(patients, of_patients, "its patient: "),
        compared_with=seen.count(),
        blank=blank,
        unknown=tuple(dict.fromkeys(unknown)),
        near=frozenset[str]().union(*near) - frozenset[str]().union(*equal),
        no_near=no_near,
        no_patient=no_patient - uses.keys(),
    )


def _near(
    seen: Seen, manifest: Manifest, cache: ImageCache, equal: Sequence[set[str]], blank: frozenset[str]
) -> tuple[list[set[str]], tuple[str, ...]]:
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
    near: list[set[str]] = [set() for _ in seen.images]
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
            near[k] = {i for i, match in zip(shown, found, strict=True) if match.same} - equal[k]
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


# --- what results.json holds of it ---------------------------------------------------------------------------------


def whole_because(split: str, uses: Sequence[str], *, own: bool, include: bool) -> str:
    """Return why a split is measured with what was seen (one of :data:`WHOLE`), "" where that is left out.

    ``uses`` are those of all its images, "" for the ones that were not seen; ``own`` says that the data are those that
    the network was trained on.
    """
    if not any(uses):
        return ""
    if all(uses):
        return ALL_SEEN
    if own and split in _OWN_SPLITS:
        return OWN_SPLIT
    return INCLUDED if include else ""


def facts(among: SeenAmong, by_split: Mapping[str, Sequence[str]], whole: Mapping[str, str]) -> SeenRecord:
    """Return the entry ``seen`` of results.json.

    Returns
    -------
    ``compared_with``, ``unknown``, ``blank`` (how many), ``no_near`` and ``no_patient`` where something was not
    compared, ``splits`` (of each ``of``, ``trained``, ``chosen``, ``near`` and ``patients`` where there are any,
    ``left_out`` and, where nothing is left out, ``why``) and ``images``: rows of ``split``, ``use``, ``stages`` and
    ``ids``, so that every X-ray that was seen is named.
    """
    splits: dict[str, SeenSplit] = {}
    images: list[SeenImagesRow] = []
    for split, ids in by_split.items():
        uses = among.column(ids)
        splits[split] = {
            "of": len(ids),
            "trained": uses.count(TRAINED),
            "chosen": uses.count(CHOSEN),
            "left_out": any(uses) and not whole.get(split),
        }
        if near := sum(image_id in among.near for image_id in ids):
            splits[split]["near"] = near
        if patients := uses.count(SAME_PATIENT):
            splits[split]["patients"] = patients
        if whole.get(split):
            splits[split]["why"] = whole[split]
        images += _entries_of(among, split, ids)
    record: SeenRecord = {
        "compared_with": among.compared_with,
        "unknown": list(among.unknown),
        "blank": sum(image_id in among.blank for ids in by_split.values() for image_id in ids),
        "splits": splits,
        "images": images,
    }
    if among.no_near:
        record["no_near"] = list(among.no_near)
    if n := sum(image_id in among.no_patient for ids in by_split.values() for image_id in ids):
        record["no_patient"] = n
    return record


def marked(seen: Seen | None, manifest: Manifest, size: int) -> SeenRecord:
    """Return the entry ``seen`` for results that are of all images of ``manifest``, whether they were seen or not.

    ``size`` is that of the network's pictures.
    """
    among = NOTHING_KNOWN
    if seen is not None and len(manifest):
        try:
            among = seen_among(seen, manifest, ImageCache.build(manifest, size))
        except ImageError as error:
            among = SeenAmong(unknown=(f"whether these X-rays were seen in training ({error})",))
    by_split = {str(name): rows["image_id"].tolist() for name, rows in manifest.table.groupby("split", sort=True)}
    return facts(among, by_split, {name: INCLUDED for name, ids in by_split.items() if any(among.column(ids))})


def _entries_of(among: SeenAmong, split: str, ids: Sequence[str]) -> Iterator[SeenImagesRow]:
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for image_id in ids:
        if image_id in among.use:
            groups.setdefault((among.use[image_id], among.stages[image_id]), []).append(image_id)
    for (use, stages), named in groups.items():
        yield {"split": split, "use": use, "stages": list(stages), "ids": named}


def measured_rows(table: pd.DataFrame, results: EvaluationResults) -> pd.DataFrame:
    """Return the rows of predictions that the figures of results.json are of: without what was left out as seen."""
    seen = results.get("seen")
    left_out = [name for name, counts in seen["splits"].items() if counts["left_out"]] if seen else []
    if "seen" not in table or not left_out:
        return table
    return table[(table["seen"] == "") | ~table["split"].isin(left_out)]


def n_seen(seen: SeenRecord, *, left_out: bool = False) -> int:
    """Return how many X-rays the entry ``seen`` of results.json counts as seen, or only those that are left out.

    X-rays of patients that were seen are among them.
    """
    return sum(n_seen_of(counts) for counts in seen["splits"].values() if counts["left_out"] or not left_out)


def n_patients_seen(seen: SeenRecord, *, left_out: bool = False) -> int:
    """Return how many X-rays count as seen for their patient alone, or only those that are left out."""
    return sum(counts.get("patients", 0) for counts in seen["splits"].values() if counts["left_out"] or not left_out)


def n_seen_of(counts: SeenSplit) -> int:
    """Return how many X-rays of a split count as seen."""
    return counts["trained"] + counts["chosen"] + counts.get("patients", 0)


def seen_in_words(seen: SeenRecord | None, split: str | None = None) -> list[str]:
    """Return the entry ``seen`` of results.json in sentences, of one split or of all; none for older results."""
    if not seen:
        return []
    splits = {name: counts for name, counts in seen["splits"].items() if split in (None, name)}
    rest = " The rest may be of patients that it has seen." if seen.get("no_patient") else ""
    lines = [_split_in_words(name, counts, rest) for name, counts in splits.items() if n_seen_of(counts)]
    n = sum(counts["of"] for counts in splits.values())
    if not lines and seen["compared_with"]:
        lines.append(
            f"None of the {n} X-rays is one of the {seen['compared_with']:,} that the network was trained or selected "
            f"on ({_compared(seen)})."
        )
    lines += [
        f"Not known: {subject}. X-rays that it has seen may be among those measured." for subject in seen["unknown"]
    ]
    if seen["blank"]:
        lines.append(f"Not compared: {seen['blank']} of a single grey value, which cannot be told apart.")
    return lines + _not_compared(seen)


def _compared(seen: SeenRecord) -> str:
    ways = ["file", "picture"]
    ways += [] if seen.get("no_near") else ["near-duplicate"]
    ways += [] if seen.get("no_patient") else ["patient"]
    return f"compared by {', '.join(ways[:-1])} and by {ways[-1]}"


def _not_compared(seen: SeenRecord) -> list[str]:
    lines = []
    if titles := seen.get("no_near"):
        lines.append(
            f"Near-duplicates were not looked for in {', '.join(titles)}: an older version made its list, or its "
            "pictures were not at hand."
        )
    if n := seen.get("no_patient"):
        lines.append(f"Patients were not compared for {n} X-rays: here or in the training, source or id is not known.")
    return lines


def marked_in_words(seen: SeenRecord) -> str:
    """Return one sentence for results in which X-rays that were seen are marked and kept; "" where none was."""
    n, of = n_seen(seen), sum(counts["of"] for counts in seen["splits"].values())
    if n:
        return f"{n} of the {of} X-rays are not new to the network ({_uses(*seen['splits'].values())})."
    return f"Not known: {'; '.join(seen['unknown'])}." if seen["unknown"] else ""


def _split_in_words(split: str, counts: SeenSplit, rest: str) -> str:
    n, of = n_seen_of(counts), counts["of"]
    where = "the data" if split == "all" else f"split {split}"
    seen = f"not new to the network ({_uses(counts)})"
    why = counts.get("why")
    if why == ALL_SEEN:
        return f"All {of} X-rays of {where} are {seen}: its figures say nothing about new X-rays."
    these = f"{n} of the {of} X-rays of {where} are {seen}"
    other = _figures(counts)
    if why:
        return f"{these} and are measured with the others: its figures are not those of new X-rays.{other}"
    return f"{these}: every figure is without them (`--include-seen` measures them too).{rest}{other}"


def _uses(*splits: SeenSplit) -> str:
    trained, chosen = sum(of["trained"] for of in splits), sum(of["chosen"] for of in splits)
    near, patients = sum(of.get("near", 0) for of in splits), sum(of.get("patients", 0) for of in splits)
    parts = ((trained, _IN_WORDS[TRAINED]), (chosen, _IN_WORDS[CHOSEN]), (patients, _OF_PATIENT))
    words = ", ".join(f"{n} {words}" for n, words in parts if n)
    return f"{words}; {near} of them as near-duplicates" if near else words


def _figures(counts: SeenSplit) -> str:
    pairs = (("With them", counts.get("with_them")), ("Without them", counts.get("without_them")))
    return "".join(f" {words}: {headline(figures)}." for words, figures in pairs if figures)
