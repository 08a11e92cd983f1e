"""The figures of the measured split: better than chance, calibrated, on enough patients, of every class?"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from cxr.evaluation.metrics import headline, patients_of
from cxr.evaluation.scores.calibration import NoTemperature
from cxr.evaluation.scores.further import further_scores
from cxr.evaluation.scores.results import FurtherScores
from cxr.evaluation.selection import EVERYTHING
from cxr.evaluation.summary import TARGET
from cxr.experiments.audit.context import EVALUATION, Context, Part, Progress, counted
from cxr.experiments.audit.findings import NOTHING, Collected, Finding, Link
from cxr.experiments.audit.requests import Request, measured
from cxr.formatting import Estimate, number, patients, percent, xrays

FEWEST_PATIENTS = 10
"""Of a class, or with and without a finding."""
_OTHER = "Another hospital, another training, and labels that are wrong."


class EvaluationPart(Part):
    """The figures of the measured split, held against chance and against what they rest on."""

    name = "evaluation"

    def requests(self, context: Context) -> list[Request]:
        """Return the measure of the network on its split; a table was measured already."""
        subject = context.subject
        if subject.table is not None or subject.manifest is None:
            return []
        validation = ["val"] * ("val" in subject.manifest.splits and subject.split not in ("val", EVERYTHING))
        request = Request(
            EVALUATION,
            ("evaluate", "train"),
            {
                **context.on_network,
                "splits": [subject.split, *validation],  # the temperature is fitted on validation
                "aliases": dict(context.params.aliases),
            },
            weights=subject.weights,
            manifest_hash=subject.manifest_hash,
            fits=measured(subject.split, context.params.aliases),
            command=tuple(self.command(context)),
            link=self.link(context),
        )
        return [request]

    def command(self, context: Context) -> list[str]:
        """Return the command that measures."""
        subject = context.subject
        if subject.table is not None:
            return ["cxr", "runs", "show", subject.table.id]
        aliases = [w for label, name in context.params.aliases.items() for w in ("--alias", f"{label}={name}")]
        return ["cxr", "evaluate", subject.network, "--data", subject.data, "--split", subject.split, *aliases]

    def link(self, context: Context) -> Link:
        """Return the page of results."""
        run = context.subject.table or context.runs.get(EVALUATION)
        parameters = {"run": run.id if run is not None else "{run}", "split": context.subject.split}
        return {"page": "results", "parameters": parameters}

    def collect(self, context: Context, progress: Progress) -> Collected:
        """Return what the figures say against the network, and what they are."""
        result = Collected()
        further = _further(context)
        for finding in (*_against_chance(context, further, self.link(context)), *_about_numbers(context, further)):
            result.add(finding)
        ece = further["overall"].get("ece", NOTHING)
        if not result.add(_calibration(context, ece, further)) and ece["value"] is not None:
            result.looked.append(
                f"Calibration: expected calibration error {number(ece)}; not shown to be above 0.05. An error of "
                f"{_upper(ece)} cannot be excluded."
            )
        result.looked.insert(0, f"{headline(context.summary)}.")
        return result


def _further(context: Context) -> FurtherScores:
    """Return the further scores of the split; they are computed where the run is of a version without them."""
    stored = context.summary.get("further")
    if stored is not None:
        return stored
    older = NoTemperature("not fitted: the measure is of an older version")
    return further_scores(context.rows, context.summary["classes"], context.subject.task, older)


def _against_chance(context: Context, further: FurtherScores, link: Link) -> Iterator[Finding | None]:
    summary, n = context.summary, counted(context.rows)
    auc = summary["auc"]
    if context.multi_label:
        figure, chance, name = auc, 0.5, "mean AUC"
    else:
        present = [c for c, of in summary["per_class"].items() if of.get("support")]
        figure, chance = further["overall"]["balanced_accuracy"], 1 / max(1, len(present))
        name = "balanced accuracy"
    if figure["low"] is not None and figure["low"] <= chance:
        yield context.finding(
            "no-better-than-chance",
            "no-better-than-chance",
            f"The network is not shown to do better than chance: {name} {number(figure)}, chance {chance:.2f}.",
            figure,
            figure_name=name,
            n=n,
            not_shown="That it knows nothing: more patients could show that it knows something.",
            next_step="Measure more patients, or train longer on more X-rays.",
            link=link,
        )
    if context.multi_label:
        return
    accuracy = summary.get("accuracy", NOTHING)
    support = {c: int(of.get("support", 0)) for c, of in summary["per_class"].items()}
    commonest = max(support, key=lambda c: support[c])
    share = support[commonest] / max(1, sum(support.values()))
    if accuracy["low"] is not None and accuracy["low"] <= share < 1:
        yield context.finding(
            "below-majority",
            "below-majority",
            f"Accuracy {percent(accuracy)} is not shown to be above that of always naming {commonest} "
            f"({100 * share:.1f} %).",
            accuracy,
            figure_name="accuracy",
            form="percent",
            n=n,
            not_shown="Whether the classes are told apart: see balanced accuracy and AUC.",
            next_step="Report balanced accuracy and AUC beside accuracy.",
            link=link,
        )


def _about_numbers(context: Context, further: FurtherScores) -> Iterator[Finding | None]:
    """Yield what the figures rest on too little of."""
    summary, link = context.summary, EvaluationPart().link(context)
    for name, elsewhere in (summary.get("absent") or {}).items():
        more = f" ({elsewhere} in the rest of the data)" if elsewhere else ""
        yield context.finding(
            f"absent-class:{name}",
            "absent-class",
            f"No X-ray of {name} is in the measured X-rays{more}: nothing is known about this class.",
            NOTHING,
            n=counted(context.rows),
            not_shown="Anything about this class; means over classes are without it.",
            next_step=f"Measure a split that holds {name}.",
            command=["cxr", "data", "split", context.subject.data] if context.subject.manifest else [],
            link=link,
        )
    for name, n_images, n_patients, of in _small_classes(context):
        yield context.finding(
            f"few-patients:{name}{of}",
            "few-patients",
            f"Only {patients(n_patients)} {of} {name} ({xrays(n_images)}): its figures are those of single people.",
            {"value": float(n_patients), "low": None, "high": None},
            figure_name=f"patients {of} {name}",
            form="count",
            n=(n_images, n_patients),
            not_shown="How the network does on other patients of this class.",
            next_step="Add patients of this class to the test split, or report the bound by patient in words.",
            link=link,
        )
    figure = summary["auc"] if context.multi_label else summary.get("accuracy", NOTHING)
    if figure["low"] is not None and figure["high"] is not None:
        width = figure["high"] - figure["low"]
        name = "mean AUC" if context.multi_label else "accuracy"
        yield context.finding(
            "wide-interval",
            "wide-interval",
            f"The headline figure is not known well: {headline(summary)}.",
            figure,
            figure_name=name,
            form="number" if context.multi_label else "percent",
            n=counted(context.rows),
            not_shown="Whether another network with a figure inside of this interval is better or worse.",
            next_step="Measure more patients; X-rays of the same patients add little.",
            link=link,
            held={"value": width, "low": width, "high": width},
        )


def _small_classes(context: Context) -> Iterator[tuple[str, int, int, str]]:
    """Yield each class of too few patients: its name, X-rays, patients, and ``with`` or ``without``."""
    rows = context.rows
    groups = pd.Series(patients_of(rows), index=rows.index, dtype=object)
    for name in context.summary["classes"]:
        sides = {"of": rows["label"] == name}
        if context.multi_label:
            sides = {"with": rows[TARGET + name] == 1, "without": rows[TARGET + name] == 0}
        for of, chosen in sides.items():
            n = int(groups[chosen].nunique())
            if 0 < n < FEWEST_PATIENTS:
                yield name, int(chosen.sum()), n, of


def _calibration(context: Context, ece: Estimate, further: FurtherScores) -> Finding | None:
    scaled = further["scaled"].get("ece")
    after = f" After temperature scaling it is {number(scaled)}." if scaled and scaled["value"] is not None else ""
    why = further["scaled"].get("why")
    after = f" Temperature scaling: {why}." if why else after
    return context.finding(
        "calibration",
        "calibration",
        f"Probabilities are off: expected calibration error {number(ece)}.{after}",
        ece,
        figure_name="expected calibration error",
        n=counted(context.rows),
        not_shown="Whether the X-rays are ranked wrongly: AUC says that. Calibration elsewhere is usually worse.",
        next_step="Fit a temperature on validation, or do not read the outputs as probabilities.",
        link=EvaluationPart().link(context),
    )


def _upper(figure: Estimate) -> str:
    return "any size" if figure["high"] is None else f"{figure['high']:.2f}"
