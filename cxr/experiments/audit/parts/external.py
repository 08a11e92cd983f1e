"""X-rays from elsewhere: how much of the figures is left, over the classes that both have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cxr.data.manifest import Manifest
from cxr.evaluation.intervals import FEWEST_PATIENTS, effective_patients, mean_of_patients
from cxr.evaluation.metrics import estimate, patients_of, ratio
from cxr.evaluation.results import EvaluationResults, evaluation_results
from cxr.evaluation.slices.differences import Side, difference_limits
from cxr.evaluation.slices.figures import MeanAuc
from cxr.experiments.audit.context import EVALUATION, Context, Need, Part, Progress, counted, rows_of
from cxr.experiments.audit.external_data import External
from cxr.experiments.audit.findings import NOTHING, Collected, Finding, Link
from cxr.experiments.audit.parts.evaluation import EvaluationPart
from cxr.experiments.audit.requests import Request, measured
from cxr.formatting import Estimate, number, percent, points, xrays
from cxr.models.card import MULTI_LABEL
from cxr.runs import Run

_MOST_IMAGES = 24


@dataclass(frozen=True)
class Drop:
    """A figure on the own X-rays, the same on those from elsewhere, and what is lost between them.

    ``classes`` are those that both have, over which the figure is a mean.
    """

    own: Estimate
    elsewhere: Estimate
    lost: Estimate
    classes: list[str]


class ExternalPart(Part):
    """What is left of the figures on X-rays from elsewhere."""

    name = "external"
    needs = frozenset[Need]({"network"})

    def requests(self, context: Context) -> list[Request]:
        """Return the measure on the own split and one on each of the data sets from elsewhere."""
        others = [self._request(context, index, of) for index, of in enumerate(context.subject.external)]
        return [*EvaluationPart().requests(context), *others]

    def _request(self, context: Context, index: int, of: External) -> Request:
        subject, aliases = context.subject, dict(context.params.aliases)
        params = {**context.on_network, "manifest": str(of.manifest)}
        words = [word for label, name in aliases.items() for word in ("--alias", f"{label}={name}")]
        return Request(
            f"external:{index}",
            ("evaluate", "train"),
            {**params, "aliases": aliases, **({"splits": [of.split]} if of.split else {})},
            weights=subject.weights,
            manifest_hash=Manifest.load(of.manifest).hash(),
            fits=measured(of.split, aliases),
            command=(
                *("cxr", "evaluate", subject.network, "--data", _data(of)),
                *(("--split", of.split) if of.split else ()),
                *words,
            ),
            link={"page": "results", "parameters": {"run": "{run}", "split": of.split}},
        )

    def command(self, context: Context) -> list[str]:
        """Return the command that measures on other X-rays."""
        others = self.requests(context)[1:]
        return list(others[0].command) if others else ["cxr", "evaluate", context.subject.network, "--data", "DATA"]

    def link(self, context: Context) -> Link:
        """Return the page of results."""
        run = context.runs.get("external:0") or context.runs.get(EVALUATION)
        split = context.subject.external[0].split if context.subject.external else ""
        parameters = {"run": run.id if run is not None else "", "split": split}
        return {"page": "results", "parameters": {name: value for name, value in parameters.items() if value}}

    def collect(self, context: Context, progress: Progress) -> Collected:
        """Return how much is lost on each of the data sets, and what it says nothing about."""
        result = Collected()
        if not context.subject.external:
            result.add(
                context.finding(
                    "nothing-external",
                    "nothing-external",
                    "No X-rays from elsewhere were measured: nothing is known about another hospital.",
                    NOTHING,
                    not_shown="How much is lost elsewhere.",
                    next_step="Import X-rays of another hospital and audit again with --external.",
                    command=["cxr", "audit", context.subject.network, "--external", "DATA"],
                    link={"page": "data", "parameters": {"tab": "Import"}},
                )
            )
        for index, of in enumerate(context.subject.external):
            run = context.runs.get(f"external:{index}")
            if run is not None:
                self._compare(context, of, run, result)
        return result

    def _compare(self, context: Context, of: External, run: Run, result: Collected) -> None:
        results = evaluation_results(run)
        rows = rows_of(run, [of.split] if of.split else ())
        for finding in _missing(context, of, run, results, rows):
            result.add(finding)
        drop = drop_between(context.rows, rows, context.subject.classes, context.subject.task)
        if drop is None:
            result.looked.append(
                f"{of.title} shares no class of {FEWEST_PATIENTS} patients or more with the own X-rays."
            )
            return
        n, link = counted(rows), _link(run, of)
        written = number if context.multi_label else percent
        name = "mean AUC" if context.multi_label else "mean recall" if len(drop.classes) > 1 else "recall"
        over = f"{name} of {', '.join(drop.classes)}"
        where = f"{over} is {written(drop.elsewhere)} on {of.title} ({xrays(*n)}), {written(drop.own)} on its own"
        chance = 0.5 if context.multi_label else 1 / len(drop.classes)
        single = (
            " With one shared class a network that always names it has a recall of 100 %."
            if chance == 1 and not context.multi_label
            else ""
        )
        lost = number(drop.lost, signed=True) if context.multi_label else points(drop.lost)
        nothing_known = chance < 1 and drop.elsewhere["low"] is not None and drop.elsewhere["low"] <= chance
        verdict = f"is not shown to do better than chance ({chance:.2f})" if nothing_known else "does worse"
        found = result.add(
            context.finding(
                f"external:{of.title}",
                "external-chance" if nothing_known else "external-drop",
                f"Elsewhere the network {verdict}: {where}. Lost: {lost}.",
                drop.lost,
                figure_name=f"{over} lost on {of.title}",
                form="number" if context.multi_label else "points",
                n=n,
                not_shown=f"Which of devices, patients and labels is the cause; classes that {of.title} lacks.{single}",
                next_step="Find the slice that explains it, and train on X-rays of several hospitals.",
                command=["cxr", "slices", run.id, *(("--split", of.split) if of.split else ())],
                link=link,
                images=_errors(rows) if of.manifest == context.params.manifest_file else (),
            )
        )
        if not found:
            reach = f" A loss of {_size(context, drop.lost['high'])} cannot be excluded." if drop.lost["high"] else ""
            result.looked.append(f"{of.title}: {where}; no loss is shown ({lost}).{reach}{single}")


def drop_between(own: pd.DataFrame, elsewhere: pd.DataFrame, classes: Sequence[str], task: str) -> Drop | None:
    """Return what is lost from the own X-rays to those from elsewhere, None where no class is shared.

    The figure is the mean recall over the classes that both have of six
    patients or more, or the mean AUC over the findings that can be
    measured on both. The two are of different patients, so the interval of the difference is put together from both
    (:func:`cxr.evaluation.slices.differences.difference_limits` without correlation).
    """
    if task == MULTI_LABEL:
        both = pd.concat([own, elsewhere], ignore_index=True)
        figure = MeanAuc(both, classes)
        first = np.arange(len(both)) < len(own)
        shared = figure.comparable(first, ~first)
        if not shared:
            return None
        sides = figure.side(first, shared), figure.side(~first, shared)
        names = [classes[k] for k in shared]
    else:
        present = [_enough(table) for table in (own, elsewhere)]
        names = [name for name in classes if name in present[0] & present[1]]
        if not names:
            return None
        sides = mean_recall(own, names), mean_recall(elsewhere, names)
    limits = difference_limits(*sides)
    one, other = (estimate(side.value, side.limits()) for side in sides)
    return Drop(one, other, estimate(sides[0].value - sides[1].value, limits), names)


def _enough(rows: pd.DataFrame) -> set[str]:
    """Return the labels of enough patients for a recall of their own."""
    groups = pd.Series(patients_of(rows), index=rows.index, dtype=object).groupby(rows["label"]).nunique()
    return {str(name) for name, n in groups.items() if n >= FEWEST_PATIENTS}


def mean_recall(rows: pd.DataFrame, classes: Sequence[str]) -> Side:
    """Return the mean recall over classes, of their X-rays alone; each of them needs two patients.

    It is as uncertain of its variance as the recalls are of theirs, foremost that of the rarest class.
    """
    rows = rows[rows["label"].isin(list(classes))]
    of_class = np.column_stack([(rows["label"] == name).to_numpy(np.float64) for name in classes])
    hits = of_class * (rows["label"] == rows["predicted"]).to_numpy(np.float64)[:, None]
    groups = patients_of(rows)
    numbers = [effective_patients(groups, column) for column in of_class.T]

    def statistic(weights: np.ndarray) -> np.ndarray:
        recalls = ratio(weights @ hits, weights @ of_class)
        return np.column_stack([recalls.mean(1), recalls])

    return Side.of(statistic, groups, mean_of_patients(numbers), numbers)


def _missing(
    context: Context, of: External, run: Run, results: EvaluationResults, rows: pd.DataFrame
) -> Iterator[Finding | None]:
    """Yield what the X-rays from elsewhere say nothing about: absent classes, and labels that are none of them."""
    classes = context.subject.classes
    present = set(rows["label"]) if not context.multi_label else _findings_in(rows, classes)
    absent = [name for name in classes if name not in present]
    left_out = results.get("left_out")
    strangers = dict(left_out["by_label"]) if left_out else {}
    likely = dict(left_out["likely"]) if left_out else {}
    if not absent and not strangers:
        return
    parts = [f"{of.title} has no X-ray of {', '.join(absent)}"] if absent else []
    if strangers and not of.split:
        named = ", ".join(f"{label} ({n})" for label, n in strangers.items())
        parts.append(f"labels there that are no class of the network are left out: {named}")
    if not parts:
        return
    aliases = [word for label, name in likely.items() for word in ("--alias", f"{label}={name}")]
    yield context.finding(
        f"external-class-missing:{of.title}",
        "external-class-missing",
        f"{'; '.join(parts)}.",
        NOTHING,
        n=counted(rows),
        not_shown="Anything about these classes elsewhere.",
        next_step=(
            "Name the labels that mean a class of the network." if aliases else "Find X-rays of these classes there."
        ),
        command=["cxr", "evaluate", context.subject.network, "--data", _data(of), *aliases] if aliases else [],
        link=_link(run, of),
    )


def _findings_in(rows: pd.DataFrame, classes: Sequence[str]) -> set[str]:
    return {name for name in classes if (rows[f"target_{name}"] == 1).any()}


def _errors(rows: pd.DataFrame) -> list[str]:
    if "predicted" not in rows:
        return []
    wrong = rows[rows["label"] != rows["predicted"]].sort_values("confidence", ascending=False)
    return [str(image_id) for image_id in wrong["image_id"][:_MOST_IMAGES]]


def _link(run: Run, of: External) -> Link:
    parameters = {"run": run.id} | ({"split": of.split} if of.split else {})
    return {"page": "results", "parameters": parameters}


def _data(of: External) -> str:
    from cxr.experiments.audit.subject import data_name

    return data_name(of.manifest)


def _size(context: Context, value: float) -> str:
    return f"{value:.2f}" if context.multi_label else f"{100 * value:.0f} points"
