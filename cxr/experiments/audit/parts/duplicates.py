"""Duplicates and patients: copies across splits, one X-ray under two labels, patients on both sides."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cxr.data.audit.duplicates.conflicts import Conflicts, find_conflicts
from cxr.data.audit.duplicates.data_set import PAIRS_FILE, search_manifest
from cxr.data.library import facts_beside
from cxr.data.manifest import Manifest
from cxr.errors import CxrError
from cxr.evaluation.metrics import patients_of
from cxr.evaluation.relation import is_own
from cxr.evaluation.selection import EVERYTHING
from cxr.experiments.audit.context import Context, Need, Part, Progress
from cxr.experiments.audit.findings import Collected, Finding, Link, Weight
from cxr.experiments.audit.parts.seen import share_of
from cxr.experiments.duplicates.results import KIND as SEARCH
from cxr.experiments.duplicates.results import pairs_of, search_results
from cxr.files import replacing
from cxr.formatting import patients, percent, xrays
from cxr.networks import network_card
from cxr.runs import Run, list_runs

KIND = "audit-network"
FACTS, PARTS = "duplicates.json", "duplicates-parts"
_IMAGES = ("image_id_a", "image_id_b")
_FITTED_ON = ("train", "val")
_MOST_MISSING = 0.01  # of X-rays that could not be read in an earlier search


@dataclass(frozen=True)
class _Search:
    pairs: pd.DataFrame
    compared: int


class DuplicatesPart(Part):
    """Copies and patients that the measured split shares with the training, and labels that contradict each other."""

    name = "duplicates"
    needs = frozenset[Need]({"images"})

    def slow(self, context: Context) -> str:
        """Return that the X-rays have to be compared, where nobody has done that yet."""
        return "" if _earlier(context) else "the X-rays have not been compared with each other yet"

    def further_runs(self, context: Context) -> list[Run]:
        """Return the searches of the same X-rays, and the audits that compared them."""
        return [
            run
            for run in list_runs(context.root)
            if (run.kind == SEARCH or (run.kind == KIND and (run.folder.path / FACTS).is_file()))
            and run.spec.get("manifest_hash") == context.subject.manifest_hash
            and run.status()["state"] == "finished"
        ]

    def command(self, context: Context) -> list[str]:
        """Return the command that looks for duplicates."""
        return ["cxr", "data", "duplicates", context.subject.data]

    def link(self, context: Context) -> Link:
        """Return the page of the data set."""
        return {"page": "data", "parameters": {**context.subject.data_link, "look": "check"}}

    def collect(self, context: Context, progress: Progress) -> Collected:
        """Return what copies and patients spoil."""
        result, manifest = Collected(), context.subject.manifest
        assert manifest is not None  # it needs images
        search = _earlier(context) or _search(context, manifest, progress)
        if (missing := len(manifest) - search.compared) > 0:
            result.looked.append(f"Could not be read, and so not compared: {xrays(missing)}.")
        conflicts = find_conflicts(manifest, search.pairs)
        of_split = manifest.table["split"] == context.subject.split
        rows = manifest.table[of_split].reset_index(drop=True)
        if context.subject.split == EVERYTHING or context.subject.split in _FITTED_ON:
            result.looked.append("The X-rays have no split of their own for measuring, so none is compared.")
        else:
            for finding in (self._copies(context, rows, conflicts), self._patients(context, rows, manifest)):
                result.add(finding)
        result.add(self._labels(context, manifest, conflicts))
        result.add(self._classes(context, manifest, conflicts))
        if not result.findings:
            clean = share_of(rows["image_id"] == "", rows) if len(rows) else None
            upper = clean["high"] if clean else None
            reach = "" if upper is None else f" A share of {100 * upper:.1f} % cannot be excluded for data like these."
            result.looked.append(
                f"No copy and no patient of the measured split is in train or val, and no X-ray has two labels; "
                f"{search.compared:,} X-rays were compared.{reach}"
            )
        return result

    def _copies(self, context: Context, rows: pd.DataFrame, conflicts: Conflicts) -> Finding | None:
        table = conflicts.splits
        own = context.subject.split
        ids: set[str] = set()
        for one, other in (("a", "b"), ("b", "a")):
            crossing = (table[f"split_{one}"] == own) & table[f"split_{other}"].isin(_FITTED_ON)
            ids |= set(table.loc[crossing, f"image_id_{one}"])
        share = share_of(rows["image_id"].isin(ids).to_numpy(), rows)
        return context.finding(
            "copies-in-training",
            "copies-in-training",
            f"{len(ids):,} of {xrays(len(rows), len(set(patients_of(rows))))} of split {own} have a copy in train or "
            f"val: {percent(share)}.",
            share,
            figure_name=f"share of split {own} with a copy in train or val",
            form="percent",
            n=(len(rows), len(set(patients_of(rows)))),
            not_shown="How much the figures owe to them; copies that were cropped by more than a fifth.",
            next_step="Group duplicates, make the splits again, and train again.",
            command=[*self.command(context), "--group"],
            link=self.link(context),
            images=sorted(ids),
            at_most=_at_most(context),
        )

    def _patients(self, context: Context, rows: pd.DataFrame, manifest: Manifest) -> Finding | None:
        fitted = manifest.table[manifest.table["split"].isin(_FITTED_ON)]
        known = set(fitted["patient_id"]) - {""}
        both = rows["patient_id"].isin(known)
        share = share_of(both.to_numpy(), rows)
        n_patients = rows.loc[both, "patient_id"].nunique()
        return context.finding(
            "patients-in-training",
            "patients-in-training",
            f"{patients(n_patients)} of split {context.subject.split} {'is' if n_patients == 1 else 'are'} in train or "
            f"val too, with {percent(share)} of its X-rays.",
            share,
            figure_name="share of X-rays whose patient is in train or val",
            form="percent",
            n=(len(rows), len(set(patients_of(rows)))),
            not_shown="Patients whose id is unknown, or differs between sources.",
            next_step="Make the splits by patient, and train again.",
            command=["cxr", "data", "split", context.subject.data],
            link=self.link(context),
            images=rows.loc[both, "image_id"].astype(str).tolist(),
            at_most=_at_most(context),
        )

    def _classes(self, context: Context, manifest: Manifest, conflicts: Conflicts) -> Finding | None:
        several = set(conflicts.patients_in_classes["patient_id"])
        table = manifest.table.reset_index(drop=True)
        own = table["patient_id"].isin(several)
        share = share_of(own.to_numpy(), table)
        return context.finding(
            "patients-in-classes",
            "patients-in-classes",
            f"{patients(len(several))} {'has' if len(several) == 1 else 'have'} X-rays of more than one class, "
            f"{percent(share)} of all X-rays.",
            share,
            figure_name="share of X-rays of patients in several classes",
            form="percent",
            n=(len(table), len(set(patients_of(table)))),
            not_shown="Whether the illness changed or a label is wrong.",
            next_step="Look at these patients' X-rays in the order in which they were taken.",
            command=self.command(context),
            link=self.link(context),
            images=table.loc[own].sort_values("patient_id", kind="stable")["image_id"].astype(str).tolist(),
        )

    def _labels(self, context: Context, manifest: Manifest, conflicts: Conflicts) -> Finding | None:
        ids = list(dict.fromkeys(i for column in _IMAGES for i in conflicts.labels[column]))
        table = manifest.table.reset_index(drop=True)
        share = share_of(table["image_id"].isin(ids).to_numpy(), table)
        return context.finding(
            "labels-conflict",
            "labels-conflict",
            f"{len(conflicts.labels):,} pairs of one X-ray are under two labels ({len(ids):,} of {xrays(len(table))}).",
            share,
            figure_name="share of X-rays with a contradicting copy",
            form="percent",
            n=(len(table), len(set(patients_of(table)))),
            not_shown="Which label is right, and wrong labels of X-rays that are there once.",
            next_step="Look at the pairs and correct or leave out one of each.",
            command=self.command(context),
            link=self.link(context),
            images=[str(i) for i in ids],
        )


def _at_most(context: Context) -> Weight | None:
    """Return ``note`` where the network was not trained on these splits, so that crossing them proves nothing."""
    subject = context.subject
    if subject.table is not None:
        return "warning"
    card = network_card(subject.network)
    assert subject.manifest is not None  # it needs images
    return None if card is not None and is_own(subject.network, card, subject.manifest) else "note"


def _search(context: Context, manifest: Manifest, progress: Progress) -> _Search:
    kept = None if context.folder is None else context.folder / PARTS  # a stopped audit goes on from there
    duplicates = search_manifest(manifest, progress, context.params.workers, kept)
    search = _Search(duplicates.pairs, duplicates.n)
    if context.folder is not None:
        with replacing(context.folder / PAIRS_FILE) as draft:
            search.pairs.to_csv(draft, index=False)
        with replacing(context.folder / FACTS) as draft:
            draft.write_text(json.dumps({"compared": search.compared}), encoding="utf-8")
    return search


def _earlier(context: Context) -> _Search | None:
    """Return the pairs that an earlier search of the same X-rays found: the library's, or those of a run."""
    manifest = context.subject.manifest
    assert manifest is not None  # it needs images
    assert manifest.path is not None
    facts = facts_beside(manifest.path).get("duplicates")
    file = manifest.path.parent / PAIRS_FILE
    if facts is not None and (1 - _MOST_MISSING) * len(manifest) <= facts["compared"] <= len(manifest):
        with contextlib.suppress(OSError, ValueError):
            pairs = pd.read_csv(file, dtype=dict.fromkeys(_IMAGES, str))
            if set(_IMAGES) <= set(pairs.columns) and all(pairs[column].isin(manifest.ids).all() for column in _IMAGES):
                return _Search(pairs, facts["compared"])
    for run in list_runs(context.root, kind=KIND):
        if run.spec.get("manifest_hash") == context.subject.manifest_hash:
            with contextlib.suppress(OSError, ValueError, CxrError):
                return _read(run.folder.path)
    for run in list_runs(context.root, kind=SEARCH):
        if run.spec.get("manifest_hash") == context.subject.manifest_hash:
            with contextlib.suppress(OSError, ValueError, CxrError):
                return _Search(pairs_of(run), search_results(run)["counts"]["compared"])
    return None


def _read(folder: Path) -> _Search:
    compared = json.loads((folder / FACTS).read_text(encoding="utf-8"))["compared"]
    return _Search(pd.read_csv(folder / PAIRS_FILE, dtype=dict.fromkeys(_IMAGES, str)), int(compared))
