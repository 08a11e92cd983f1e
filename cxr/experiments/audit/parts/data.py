"""The audit of the data: properties that tell the classes apart without a look at the chest."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cxr.errors import ManifestError
from cxr.evaluation.truth import UNCERTAIN, finding_names
from cxr.experiments.audit.context import EVALUATION, Context, Progress
from cxr.experiments.audit.findings import Collected, Finding
from cxr.experiments.audit.parts.of_one_run import OfDataSet
from cxr.experiments.audit.parts.seen import share_of
from cxr.experiments.data_audit.classes import classes_of
from cxr.experiments.data_audit.results import AuditResults, Entry, audit_results
from cxr.formatting import percent, within_sentence, xrays
from cxr.json_types import JsonObject

_GROUP_TITLES = {"file": "the file", "border": "the border", "grey values": "grey values"}


class DataAudit(OfDataSet):
    """What tells the classes of the data set apart, source and view first."""

    name = "data"
    kind, verb = "audit-data", "audit"

    def more_params(self, context: Context) -> JsonObject:
        """Return how many processes measure."""
        return {"workers": context.params.workers}

    def cannot(self, context: Context) -> str:
        """Return that there are no classes to compare."""
        manifest = context.subject.manifest
        assert manifest is not None  # it needs images
        try:
            classes_of(manifest.table)
        except ManifestError as error:
            return str(error)
        return ""

    def collect(self, context: Context, progress: Progress) -> Collected:
        """Return the strongest property of each group, and sources that hold one class."""
        result, results = Collected(), audit_results(context.runs[self.name])
        n = results["n_images"], results["n_patients"]
        for entry in strongest_by_group(results["properties"]):
            result.add(self._finding(context, results, entry))
        for finding in self._one_class_sources(context):
            result.add(finding)
        tested = [entry for entry in results["properties"] if entry["p"] is not None]
        silent = [entry for entry in tested if not entry["shown"]]
        if silent:
            highs = [high for entry in silent if (high := entry["auc"]["high"]) is not None]
            reach = f" An AUC of {max(highs):.2f} cannot be excluded for each of them." if highs else ""
            result.looked.append(
                f"{len(silent):,} of {len(tested):,} properties are not shown to predict the class, "
                f"on {xrays(*n)}.{reach}"
            )
        return result

    def _finding(self, context: Context, results: AuditResults, entry: Entry) -> Finding | None:
        own = entry["by_class"].get(entry["best"]) if entry["best"] else None
        return context.finding(
            f"class-by-property:{entry['name']}",
            "class-by-property",
            entry["sentence"],
            own or entry["auc"],
            figure_name=f"AUC of {entry['best'] or 'the class'} from {within_sentence(entry['title'])} alone",
            n=(None, None) if context.multi_label else _compared(results, entry),
            not_shown="That the network uses it. Text and grey values may differ because the illness does.",
            next_step="Compare the network within one value of this property, and balance the classes over it.",
            command=["cxr", "data", "report", context.runs[self.name].id],
            link=self.link(context),
        )

    def _one_class_sources(self, context: Context) -> list[Finding | None]:
        """Return for each class how much of what can be learnt from comes from sources that hold no other class."""
        manifest = context.subject.manifest
        assert manifest is not None  # it needs images
        table = _learnt_from(manifest.table[manifest.table["source"] != ""]).reset_index(drop=True)
        if context.multi_label:
            names = [
                {name for name in finding_names(text) if not name.startswith(UNCERTAIN)} for text in table["findings"]
            ]
            classes = pd.Series(["|".join(sorted(of)) for of in names], dtype=object)
        else:
            classes = table["label"].astype(object)
        known = table[(classes != "").to_numpy()].reset_index(drop=True)
        classes = classes[classes != ""].reset_index(drop=True)
        if context.multi_label or known["source"].nunique() < 2:
            return []
        run = context.subject.table or context.runs.get(EVALUATION)
        measured = run.id if run is not None else "RUN"
        pure = classes.groupby(known["source"]).nunique()
        findings = []
        for name in sorted(set(classes)):
            own = (classes == name).to_numpy()
            rows = known[own].reset_index(drop=True)
            alone = np.asarray(rows["source"].map(pure) == 1)
            if not alone.any():
                continue
            share, sources = share_of(alone, rows), sorted(set(rows["source"][alone]))
            findings.append(
                context.finding(
                    f"class-is-source:{name}",
                    "class-is-source",
                    f"{percent(share)} of the X-rays of {name} come from sources that hold no other class "
                    f"({', '.join(map(str, sources))}): there, class and source cannot be told apart.",
                    share,
                    figure_name=f"share of {name} from sources of one class",
                    form="percent",
                    n=(len(rows), rows["patient_id"].nunique()),
                    not_shown="Whether the network tells the illness or the source.",
                    next_step="Add X-rays of other classes from these sources, or measure without them.",
                    command=["cxr", "slices", measured, "--by", "source"],
                    link=self.link(context),
                    images=[str(i) for i in rows["image_id"][alone][:24]],
                )
            )
        return findings


def _learnt_from(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that a training learns from, all where none is set apart for it.

    A held-out split with another mixture of classes and sources would hide that the training has one source a class.
    """
    learnt = table[table["split"].isin(["train", ""])]
    return learnt if len(learnt) else table


def strongest_by_group(entries: list[Entry]) -> list[Entry]:
    """Return of each group of properties the one that is shown and whose interval begins highest.

    Columns of the manifest are groups of their own.
    """
    best: dict[str, Entry] = {}
    for entry in entries:
        if not entry["shown"]:
            continue
        group = entry["group"] if entry["group"] in _GROUP_TITLES or entry["group"] == "text" else entry["name"]
        if group not in best or _beginning(entry) > _beginning(best[group]):
            best[group] = entry
    return list(best.values())


def _beginning(entry: Entry) -> float:
    own = entry["by_class"].get(entry["best"]) or entry["auc"]
    return own["low"] if own["low"] is not None else own["value"] or 0.0


def _compared(results: AuditResults, entry: Entry) -> tuple[int | None, None]:
    """Return how many X-rays a property was compared on: those with a class, where the property is known of all."""
    if entry["missing"]:
        return None, None  # how many of those without a value have a class is not recorded
    return sum(size["images"] for size in results["by_class"].values()), None
