"""What the probes ask of the X-rays: their class or findings, their source, and the source within each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pandas as pd

from cxr.data import Manifest
from cxr.data.splits import connected_groups
from cxr.errors import ManifestError, wrong_use
from cxr.experiments.data_audit.classes import Classes, classes_of
from cxr.formatting import patients
from cxr.models.card import MULTI_LABEL

FEWEST_PATIENTS = 10
"""Of each class or source in a probe: two in each of five folds."""

CLASS, SOURCE, FINDING, SOURCE_WITHIN = "class", "source", "finding", "source within"
KINDS = (CLASS, FINDING, SOURCE, SOURCE_WITHIN)
"""What a probe predicts, in the order of tables; the name of a finding or class follows after the last two."""

WITHOUT, WITH = "without", "with"


@dataclass(frozen=True)
class Question:
    """What a probe predicts.

    Attributes
    ----------
    kind
        One of :data:`KINDS`.
    of
        The finding, or the class whose sources are told apart; "" for the class and the source of all X-rays.
    names
        (K,) of the answers.
    codes
        (N,) the answer of each X-ray, -1 where it is unknown or the X-ray does not count.
    left_out
        Classes or sources with fewer than :data:`FEWEST_PATIENTS` patients, which do not count.
    reason
        Why it cannot be asked, "" if it can.
    """

    kind: str
    of: str
    names: tuple[str, ...]
    codes: np.ndarray
    left_out: tuple[str, ...] = ()
    reason: str = ""

    @property
    def target(self) -> str:
        """What is predicted: ``class``, ``source``, ``finding Edema`` or ``source within covid19``."""
        return f"{self.kind} {self.of}".strip()

    @property
    def counted(self) -> np.ndarray:
        """(N,) which X-rays count."""
        return np.asarray(self.codes >= 0)


def groups_of(table: pd.DataFrame) -> np.ndarray:
    """Return the patient (N,) of each X-ray as a number; patients that share a copy of an X-ray count as one."""
    return np.asarray(connected_groups(table, ("patient_id", "dup_group")))


def check_masks(manifest: Manifest, masks: str) -> None:
    """Refuse the manifest's masks where not every X-ray has one.

    Raises
    ------
    ManifestError
        Which says how many have one.
    """
    if masks != "manifest":
        return
    named = [image_id for image_id in manifest.ids if manifest.mask_path(image_id, "lung") is not None]
    if len(named) < len(manifest):
        raise wrong_use(
            ManifestError(
                f"masks is 'manifest', but {len(named):,} of {len(manifest):,} X-rays have a lung mask: masks that "
                "some sources have and others not would give the source away. Use segmentation, or box"
            )
        )


def questions_of(table: pd.DataFrame, by: str = "auto", seed: int = 0) -> list[Question]:
    """Return what can be asked of a manifest's rows: class or findings, source, source within each class.

    Raises
    ------
    ManifestError
        If there are neither two classes or a finding, nor two sources.
    """
    groups = groups_of(table)
    sources = table["source"].to_numpy()
    classes = _classes(table, by, several_sources=len(set(sources) - {""}) > 1)
    questions: list[Question] = []
    within: list[tuple[str, np.ndarray]] = []
    if classes is not None:
        within = [(name, classes.targets[:, k] == 1) for k, name in enumerate(classes.names)]
    if classes is not None and classes.task == MULTI_LABEL:
        for name, codes in zip(classes.names, classes.questions, strict=True):
            questions.append(_question(FINDING, name, (WITHOUT, WITH), codes, groups, seed))
    elif classes is not None:
        questions.append(_question(CLASS, "", classes.names, classes.questions[0], groups, seed))
    questions.append(_of_sources(SOURCE, "", sources, groups, seed))
    if len(set(sources) - {""}) > 1:
        questions += [
            _of_sources(SOURCE_WITHIN, name, np.where(own, sources, ""), groups, seed) for name, own in within
        ]
    return questions


def _classes(table: pd.DataFrame, by: str, *, several_sources: bool) -> Classes | None:
    """Return the classes; None where there are none but sources can be told apart, and nobody asked for classes."""
    try:
        return classes_of(table, by)
    except ManifestError:
        if by != "auto" or not several_sources:
            raise
        return None


def _of_sources(kind: str, of: str, sources: np.ndarray, groups: np.ndarray, seed: int) -> Question:
    names = sorted(set(sources) - {""})
    if not names:
        return Question(kind, of, (), np.full(len(sources), -1), reason="no X-ray has a source")
    codes = np.array([names.index(name) if name else -1 for name in sources], np.int64)
    return _question(kind, of, tuple(names), codes, groups, seed)


def _question(kind: str, of: str, names: Sequence[str], codes: np.ndarray, groups: np.ndarray, seed: int) -> Question:
    """Return the question with the answers that enough patients have."""
    drawn = one_of_each(groups, codes >= 0, seed)
    n_patients = np.bincount(codes[drawn], minlength=len(names))
    enough = np.flatnonzero(n_patients >= FEWEST_PATIENTS).tolist()
    few = [k for k, n in enumerate(n_patients.tolist()) if 0 < n < FEWEST_PATIENTS]
    left_out = tuple(f"{names[k]} ({patients(int(n_patients[k]))})" for k in few)
    if len(enough) < 2:
        return Question(kind, of, tuple(names), np.full(len(codes), -1), left_out, _too_few(kind, names, n_patients))
    renumbered = np.full(len(names) + 1, -1)
    renumbered[enough] = np.arange(len(enough))
    return Question(kind, of, tuple(names[k] for k in enough), renumbered[codes], left_out)


def _too_few(kind: str, names: Sequence[str], n_patients: np.ndarray) -> str:
    there = {names[k]: int(n) for k, n in enumerate(n_patients) if n}
    if len(there) < 2:
        noun = "source" if kind in (SOURCE, SOURCE_WITHIN) else "class"
        return f"only one {noun}: {next(iter(there))}" if there else f"no X-ray has a {noun}"
    counts = ", ".join(f"{name} {n}" for name, n in there.items())
    return f"too few patients ({counts}): two of these need {FEWEST_PATIENTS} or more each"


def one_of_each(groups: np.ndarray, counted: np.ndarray, seed: int) -> np.ndarray:
    """Return (N,) True for one of the counted X-rays of each patient, drawn by lot."""
    order = np.random.default_rng(seed).permutation(len(groups))
    order = order[counted[order]]
    drawn = np.zeros(len(groups), bool)
    drawn[order[np.unique(groups[order], return_index=True)[1]]] = True
    return drawn


def sample(manifest: Manifest, n: int, seed: int) -> Manifest:
    """Return at most about ``n`` X-rays of a manifest: patients drawn by lot, as many X-rays of each label and source.

    A patient comes with all X-rays. In the order of the manifest, whatever is drawn.
    """
    if len(manifest) <= n:
        return manifest
    table, groups = manifest.table, groups_of(manifest.table)
    lots = {group: _lot(image_id, seed) for image_id, group in zip(table["image_id"][::-1], groups[::-1], strict=True)}
    first = pd.DataFrame({"cell": table["label"] + "\0" + table["source"], "group": groups}).drop_duplicates("group")
    sizes = np.bincount(groups)
    queues = {cell: sorted(of["group"], key=lambda group: lots[group]) for cell, of in first.groupby("cell", sort=True)}
    taken = dict.fromkeys(queues, 0)
    chosen: set[int] = set()
    total = 0
    while total < n:
        open_cells = [cell for cell, queue in queues.items() if queue]
        cell = min(open_cells, key=lambda name: taken[name])
        group = queues[cell].pop(0)
        chosen.add(group)
        taken[cell] += int(sizes[group])
        total += int(sizes[group])
    return manifest.with_table(table[np.isin(groups, list(chosen))])


def _lot(image_id: str, seed: int) -> bytes:
    return blake2b(f"{seed}\0{image_id}".encode(), digest_size=8).digest()
