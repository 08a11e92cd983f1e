"""Which X-rays of a manifest are measured, why these, and which are left out: counted by reason, by label, by split."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from cxr.data import Manifest
from cxr.errors import ManifestError, wrong_use
from cxr.evaluation.results import EvaluationResults, LeftOut, Measured, SelectionRecord
from cxr.evaluation.truth import UNCERTAIN, finding_names, is_normal, likely_classes, usable
from cxr.formatting import xrays
from cxr.models.card import MULTI_LABEL, SINGLE_LABEL

EVERYTHING = "all"
NOT_FOR_MEASURING = ("train", "")

OWN, EXTERNAL, NOT_KNOWN = RELATIONS = ("own", "external", "held-out")
"""What data are to a network: those it was trained on, strangers to its training, or nobody knows."""
REASONS = ("asked", "no-splits", *RELATIONS)
"""Why these X-rays are measured: somebody named the splits; the data have none; they are all the splits that the
network's own training held out; all of the data, none of which it was trained on; or, where nobody knows, every split
but train."""


@dataclass(frozen=True)
class Selection:
    """The X-rays that are measured, and what is left out of the measure.

    Attributes
    ----------
    by_split
        ``{split: image ids}``; :data:`EVERYTHING` is the one split of data that are measured whole.
    why
        One of :data:`REASONS`.
    unknown_labels
        ``{split: {label: X-rays}}`` of the measured splits whose label is not a class of the network.
    unlabelled
        X-rays of the measured splits of which nothing is stated.
    other_splits
        ``{split: X-rays}`` that could be measured and are not, because of their split.
    absent
        ``{split: {class: X-rays of it in the rest of the data}}`` for classes without an X-ray in a measured split.
    unknown_findings
        ``{finding: X-rays}`` that are measured, but not for this finding, which the network does not know.
    likely
        ``{label: class}`` for labels that differ from a class by their spelling alone.
    unreadable
        Files that do not decode.
    seen
        X-rays that were seen in training and are left out for that; ``measured`` is then what is left of each split.
    seen_patients
        X-rays that are left out since their patient was seen.
    """

    by_split: dict[str, list[str]]
    why: str = NOT_KNOWN
    unknown_labels: dict[str, dict[str, int]] = field(default_factory=dict)
    unlabelled: int = 0
    other_splits: dict[str, int] = field(default_factory=dict)
    absent: dict[str, dict[str, int]] = field(default_factory=dict)
    unknown_findings: dict[str, int] = field(default_factory=dict)
    likely: dict[str, str] = field(default_factory=dict)
    unreadable: int = 0
    seen: int = 0
    seen_patients: int = 0
    measured: dict[str, int] | None = None

    @property
    def ids(self) -> list[str]:
        """Ids of all splits, one after the other."""
        return [image_id for ids in self.by_split.values() for image_id in ids]

    def without(self, unreadable: Sequence[str]) -> Selection:
        """Return the selection without images that do not decode."""
        unreadable_ids = set(unreadable)
        remaining = {name: [i for i in ids if i not in unreadable_ids] for name, ids in self.by_split.items()}
        return replace(self, by_split=remaining, unreadable=len(unreadable_ids & set(self.ids)))

    def without_seen(self, measured: Mapping[str, int], seen: int, patients: int = 0) -> Selection:
        """Return the selection with how many X-rays of each split are measured once others are left out.

        ``seen`` of them were seen themselves, of ``patients`` others another X-ray of the patient.
        """
        if not seen + patients:
            return self
        return replace(self, measured=dict(measured), seen=seen, seen_patients=patients)

    def to_dict(self) -> SelectionRecord:
        """Return ``measured`` and ``left_out`` as results.json holds them."""
        by_label = sum((Counter(labels) for labels in self.unknown_labels.values()), Counter())
        by_reason = {
            "unknown-label": by_label.total(),
            "no-label": self.unlabelled,
            "other-split": sum(self.other_splits.values()),
            "unreadable": self.unreadable,
            **({"seen": self.seen} if self.seen else {}),
            **({"seen-patient": self.seen_patients} if self.seen_patients else {}),
        }
        left_out: LeftOut = {
            "n": sum(by_reason.values()),
            "by_reason": by_reason,
            "by_label": dict(by_label.most_common()),
            "by_split": dict(self.other_splits),
            "findings": dict(self.unknown_findings),
            "likely": dict(self.likely),
        }
        measured = self.measured or {name: len(ids) for name, ids in self.by_split.items()}
        return {"measured": {"why": self.why, "splits": measured}, "left_out": left_out}


def select(
    manifest: Manifest,
    classes: Sequence[str],
    task: str = SINGLE_LABEL,
    splits: Sequence[str] | str | None = None,
    *,
    relation: str = NOT_KNOWN,
    annotated: Mapping[str, Sequence[str]] | None = None,
    locked: Sequence[str] = (),
) -> Selection:
    """Return which X-rays of a manifest a network with these classes is measured on.

    Parameters
    ----------
    splits
        Names of splits, or ``all`` for every labelled X-ray. By default every split but train; everything where the
        data have no splits or are external.
    relation
        What the data are to the network, one of :data:`RELATIONS`: of data external to it no split need be spared.
    annotated
        ``{source: findings that it labels}``, see :func:`cxr.evaluation.truth.finding_targets`.
    locked
        Splits that are measured only where ``splits`` names them.

    Raises
    ------
    ManifestError
        If a split is not there, or nothing is labelled with one of the classes.
    """
    table = manifest.table
    is_usable = usable(table, classes, task, annotated)
    present = list(manifest.splits)
    named = [splits] if isinstance(splits, str) else list(splits or ())
    closed: set[str] = set(locked) - set(named)
    chosen_splits, why = _splits_to_measure(present, named, relation)
    open_rows = table[~table["split"].isin(closed)]
    by_split = {name: rows for name, rows in _parts(open_rows, chosen_splits, present) if len(rows)}
    ids_by_split = {name: rows.loc[is_usable[rows.index], "image_id"].tolist() for name, rows in by_split.items()}
    inside = pd.concat([*by_split.values(), table.iloc[:0]])
    if not any(ids_by_split.values()):
        if closed & set(present) and is_usable.any():
            which = ", ".join(sorted(closed & set(present)))
            raise ManifestError(
                f"every X-ray that could be measured is in a locked split ({which}): name it to open it"
            )
        raise ManifestError(_nothing_to_measure(inside if splits else table, classes, task))
    outside = table[is_usable & ~table.index.isin(inside.index)]
    stated = _stated(inside, task)
    names = {name for stated in _stated(table, task) for name in stated}
    likely = likely_classes({name for name in names if task != MULTI_LABEL or not is_normal(name)}, classes)
    return Selection(
        by_split={name: ids for name, ids in ids_by_split.items() if ids},
        why=why,
        unknown_labels={
            name: counts for name, rows in by_split.items() if (counts := _unknown(rows[~is_usable[rows.index]], task))
        },
        unlabelled=int((~is_usable[inside.index].to_numpy() & [not names for names in stated]).sum()),
        other_splits=dict(sorted(Counter(outside["split"]).items())),
        absent={name: _absent(by_split[name], table, classes, task) for name, ids in ids_by_split.items() if ids},
        unknown_findings=_unknown_findings(inside[is_usable[inside.index]], classes, task),
        likely=likely,
    )


def sentences(results: EvaluationResults) -> list[str]:
    """Return in words what a results.json says of what was measured and what was left out; none for an older one."""
    measured, left_out, seen = results.get("measured"), results.get("left_out"), results.get("seen")
    listed_all = seen is not None and bool(seen["compared_with"]) and not seen["unknown"]
    lines = [] if measured is None or left_out is None else list(_measured_in_words(measured, left_out, listed_all))
    if left_out is not None:
        lines += left_out_in_words(left_out)
    return [*lines, *_absent_in_words(results)]


def left_out_in_words(left_out: LeftOut) -> list[str]:
    """Return a sentence for each reason for which X-rays of the measured splits are left out."""
    reasons, lines = left_out["by_reason"], []
    if n := reasons.get("unknown-label"):
        lines.append(
            f"Left out: {xrays(n)} whose label is not a class of the network ({listed(left_out['by_label'])})."
        )
    if findings := left_out["findings"]:
        lines.append(f"Findings that are not classes of the network are not measured: {listed(findings)}.")
    lines += [
        f"{label!r} may be the network's {name!r}: `--alias {shlex.quote(f'{label}={name}')}` measures it as such."
        for label, name in left_out["likely"].items()
    ]
    if n := reasons.get("no-label"):
        lines.append(f"Left out: {xrays(n)} without a label.")
    if n := reasons.get("unreadable"):
        lines.append(f"Left out: {xrays(n)} whose file cannot be read.")
    return lines


def listed(counts: Mapping[str, int], at_most: int = 12) -> str:
    """Return ``covid 8, tuberculosis 2``; only the first ``at_most`` by name."""
    parts = [f"{name or 'no split'} {n:,}" for name, n in counts.items()]
    more = f" and {len(parts) - at_most} more" if len(parts) > at_most else ""
    return ", ".join(parts[:at_most]) + more


def _measured_in_words(measured: Measured, left_out: LeftOut, listed_all: bool) -> Iterator[str]:
    """Yield what was measured; ``listed_all`` says that the network's list of what it has seen is whole."""
    why, splits, others = measured["why"], measured["splits"], left_out["by_split"]
    n = sum(splits.values())
    if why == "no-splits":
        yield f"The data have no splits: all {xrays(n)} with a known label are measured."
    elif why == EXTERNAL:
        yield (
            "No patient and no image file of these data was in the training, so every split is measured: "
            f"{xrays(n)} with a known label."
        )
    elif EVERYTHING in splits:
        warning = "" if listed_all else " The figures are too good if the network was trained on some of them."
        yield f"Every split is measured: {xrays(n)} with a known label.{warning}"
    if others and why == NOT_KNOWN:
        yield (
            f"Only {', '.join(splits)} {'is' if len(splits) == 1 else 'are'} measured ({xrays(n)}). "
            f"Not measured: {listed(others)}. `--split all` measures them too"
            + (
                ", without those that the network has seen."
                if listed_all
                else "; do so only if the network was not trained on these data."
            )
        )
    elif others and (why != OWN or others.keys() != {"train"}):  # that a training's own X-rays are not is no news
        yield f"Not measured, because of their split: {listed(others)}."


def _absent_in_words(results: EvaluationResults) -> Iterator[str]:
    for split, summary in (results.get("splits") or {}).items():
        absent = summary.get("absent") or {}
        elsewhere = {name: n for name, n in absent.items() if n}
        nowhere = [name for name, n in absent.items() if not n]
        where = "the data" if split == EVERYTHING else f"split {split}"
        if elsewhere:
            yield f"No X-ray of {', '.join(elsewhere)} in {where}; in other splits: {listed(elsewhere)}."
        if nowhere:
            them = "it" if len(nowhere) == 1 else "them"
            yield f"No X-ray of {', '.join(nowhere)} in {where}: nothing is said of {them}."


def check_splits(present: Sequence[str], splits: Sequence[str]) -> None:
    """Raise a ManifestError for a split that is neither one of those ``present`` in a manifest nor ``all``."""
    for name in splits:
        if name not in present and name != EVERYTHING:
            raise wrong_use(
                ManifestError(
                    f"split {name!r} is not in the manifest. Found: {', '.join(present) or 'none'}; "
                    f"{EVERYTHING} measures everything"
                )
            )


def _splits_to_measure(present: list[str], splits: list[str], relation: str) -> tuple[list[str], str]:
    """Return the splits to measure and why; :data:`EVERYTHING` alone for all."""
    check_splits(present, splits)
    if EVERYTHING in splits and EVERYTHING not in present:
        return [EVERYTHING], "asked" if present else "no-splits"
    if splits:
        return list(dict.fromkeys(splits)), "asked"
    if not present or relation == EXTERNAL:
        return [EVERYTHING], relation if present else "no-splits"
    return [name for name in present if name not in NOT_FOR_MEASURING], relation


def _parts(table: pd.DataFrame, splits: list[str], present: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    for name in splits:
        yield name, table if name == EVERYTHING and name not in present else table[table["split"] == name]


def _stated(rows: pd.DataFrame, task: str) -> list[list[str]]:
    """Return for each row what the data say of it: its label, or for several findings their names."""
    if task != MULTI_LABEL:
        return [[label] if label else [] for label in rows["label"].tolist()]
    pairs = zip(rows["findings"].tolist(), rows["label"].tolist(), strict=True)
    return [finding_names(findings) or ([label] if label else []) for findings, label in pairs]


def _unknown(rows: pd.DataFrame, task: str) -> dict[str, int]:
    """Count rows that nothing of the network fits by what the data say of them, the commonest first."""
    return dict(Counter("|".join(names) for names in _stated(rows, task) if names).most_common())


def _unknown_findings(rows: pd.DataFrame, classes: Sequence[str], task: str) -> dict[str, int]:
    if task != MULTI_LABEL:
        return {}
    named = (name.removeprefix(UNCERTAIN) for names in _stated(rows, task) for name in names)
    counts = Counter(name for name in named if name not in classes and not is_normal(name))
    return dict(counts.most_common())


def _absent(part: pd.DataFrame, table: pd.DataFrame, classes: Sequence[str], task: str) -> dict[str, int]:
    present = {name for names in _stated(part, task) for name in names}
    elsewhere = Counter(name for names in _stated(table, task) for name in names)
    return {name: elsewhere[name] for name in classes if name not in present}


def _nothing_to_measure(rows: pd.DataFrame, classes: Sequence[str], task: str) -> str:
    counts = Counter(name for names in _stated(rows, task) for name in names)
    noun = "findings" if task == MULTI_LABEL else "labels"
    text = (
        f"no image is labelled with one of {', '.join(classes)}. {noun.capitalize()} found: {listed(counts) or 'none'}"
    )
    likely = likely_classes(counts, classes)
    tips = " ".join(f"--alias {shlex.quote(f'{label}={name}')}" for label, name in likely.items())
    return f"{text} (`{tips}` measures them as classes of the network)" if tips else text
