"""What a run can say of each topic of the checklists: sentences, or "" where it knows nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cxr.evaluation.results import Summary
from cxr.evaluation.selection import left_out_in_words
from cxr.formatting import Estimate, number, percent, xrays
from cxr.models.card import MULTI_LABEL
from cxr.reports.checklist.data_topics import (
    acquisition,
    demographics,
    differences,
    disjoint,
    exclusions,
    labels,
    missing,
    partitions,
    quality,
    sizes,
    sources,
    subsets,
)
from cxr.reports.checklist.network_topics import (
    availability,
    ensemble,
    final_model,
    imbalance,
    initial_weights,
    intended_use,
    model,
    preprocessing,
    protocol,
    software,
    technology,
    thresholds,
    training,
    updating,
)
from cxr.reports.checklist.subject import NOT_STATED, Subject, listed


def metrics(subject: Subject) -> str:
    """Return which figures were computed."""
    names = (
        "AUC of each finding, average precision, sensitivity, specificity and precision at a threshold"
        if subject.results.get("task") == MULTI_LABEL
        else "accuracy, balanced accuracy, and by class recall, precision, specificity, F1, AUC (one against the rest) "
        "and average precision, and their means"
    )
    return f"Computed: {names}; sensitivity at 90 and 95 % specificity, Brier score, log loss, calibration error."


def uncertainty(subject: Subject) -> str:
    """Return how intervals and tests are made."""
    return (
        "95 % intervals by leaving out one patient at a time (jackknife), so that several X-rays of a patient count as "
        "what they are; tests flip the signs of patients' differences; Holm's correction for many comparisons."
    )


def figures_in_words(name: str, split: str, summary: Summary) -> str:
    """Return the headline figures of a split with their intervals."""
    parts = [f"accuracy {percent(summary['accuracy'])}"] if "accuracy" in summary else []
    parts.append(f"mean AUC {number(summary['auc'])}" if summary["auc"]["value"] is not None else "no mean AUC")
    return f"{name}, {split}: {listed(parts)} on {xrays(summary['n'], summary.get('n_patients'))}."


def _summaries(subject: Subject) -> Iterator[tuple[str, str, Summary, bool]]:
    """Yield data, split, figures and whether they are of data strange to the training."""
    own = subject.training.spec["params"].get("manifest") if subject.training else None
    strange = _splits_of_other_sources(subject)
    runs = [subject.run, *(run for run in subject.on_network if "splits" in (run.results() or {}))]
    for run, (name, results) in zip(runs, subject.evaluations(), strict=True):
        elsewhere = own is not None and run.spec["params"].get("manifest") not in (None, own)
        for split, summary in (results.get("splits") or {}).items():
            yield name, split, summary, elsewhere or split in strange


def _splits_of_other_sources(subject: Subject) -> set[str]:
    """Return the splits of the training's data whose X-rays all come from sources that it did not learn from."""
    table = subject.training_table
    if table is None:
        return set()
    learnt = set(table.loc[table["split"] == "train", "source"])
    return {str(split) for split, own in table.groupby("split") if split and not set(own["source"]) & learnt}


def internal(subject: Subject) -> str:
    """Return the figures on held-out X-rays of the training's own data."""
    rows = [
        figures_in_words(name, split, summary)
        for name, split, summary, outside in _summaries(subject)
        if not outside and split not in ("train", "val")
    ]
    return " ".join(dict.fromkeys(rows))


def external(subject: Subject) -> str:
    """Return the figures on data that are strange to the training."""
    rows = [figures_in_words(name, split, summary) for name, split, summary, outside in _summaries(subject) if outside]
    return " ".join(dict.fromkeys(rows))


def by_class(subject: Subject) -> str:
    """Return recall or sensitivity, specificity and AUC of each class, with intervals."""
    lines = []
    for split, summary in (subject.results.get("splits") or {}).items():
        if split in ("train", "val"):
            continue
        further = summary.get("further")
        for name, scores in summary["per_class"].items():
            specificity = (further["per_class"].get(name) or {}).get("specificity") if further else None
            figures = [
                ("sensitivity", scores.get("recall") or scores.get("sensitivity")),
                ("specificity", specificity or scores.get("specificity")),
                ("precision", scores["precision"]),
            ]
            said = [f"{title} {percent(value)}" for title, value in figures if _is_known(value)]
            said += [f"AUC {number(scores['auc'])}"] if _is_known(scores["auc"]) else []
            lines += [f"{split}, {name}: {listed(said)}."] if said else []
    return " ".join(lines)


def _is_known(estimate: Estimate | None) -> bool:
    return estimate is not None and estimate["value"] is not None


def failures(subject: Subject) -> str:
    """Return how many X-rays are wrong, and which classes are taken for which."""
    lines = []
    for split, summary in (subject.results.get("splits") or {}).items():
        if split in ("train", "val"):
            continue
        further = summary.get("further")
        confused = _confused(summary)
        lines += [f"{split}: {further['errors']}{confused}."] if further and further["errors"] else []
    if not lines:
        return ""
    return f"{' '.join(lines)} The Results page lists every one of them with its picture and heatmap."


def _confused(summary: Summary) -> str:
    counts, classes = summary.get("confusion"), summary["classes"]
    if not counts:
        return ""
    pairs = [(counts[i][j], a, b) for i, a in enumerate(classes) for j, b in enumerate(classes) if i != j]
    n, true, predicted = max(pairs)
    return f"; the most frequent: {true} taken for {predicted}, {n:,}" if n else ""


def robustness(subject: Subject) -> str:
    """Return what masking and stamping text, probes and audits have shown."""
    kinds = ("text-experiment", "text-stamping", "probe-data", "relevance-regions", "audit-network")
    return " ".join(subject.findings_of(*kinds)[:6])


def explainability(subject: Subject) -> str:
    """Return how predictions were explained."""
    runs = [run for run in subject.on_network if run.kind == "explain"]
    lines = []
    for run in runs[:3]:
        results = run.results() or {}
        lines.append(
            f"Layer-wise relevance propagation ({results.get('composite')}) of {xrays(results.get('n', 0))} "
            f"(run {run.id})."
        )
    lines += subject.findings_of("cluster-heatmaps", "relevance-regions")[:3]
    return " ".join(lines)


def slices(subject: Subject) -> str:
    """Return what differs between parts of the measured X-rays: sources, views, sexes, ages."""
    from cxr.errors import CxrError
    from cxr.evaluation.slices import slices_of

    try:
        results = slices_of(subject.run, pairs=False)
    except (CxrError, OSError):
        return ""
    compared = [entry for entry in results["slices"] if not entry["too_small"]]
    if not compared:
        return ""
    written = percent if results["figure"] == "accuracy" else number
    rows = [
        f"{listed(f'{column} {group or NOT_STATED}' for column, group in entry['where'].items())} "
        f"{written(entry['figure'])} ({xrays(entry['n'], entry['n_patients'])})"
        for entry in compared
    ]
    return f"{results['figure'].capitalize()} by group: {'; '.join(rows)}. {' '.join(results['conclusions'])}"


def limitations(subject: Subject) -> str:
    """Return what the card and the results say against the figures."""
    card = [subject.card.limits] if subject.card else []
    notes = [note for note in subject.results.get("notes") or [] if note not in card]
    opened = (subject.results.get("provenance") or {}).get("opened")
    return " ".join([*card, *notes, *([opened] if opened else [])])


def missing_input(subject: Subject) -> str:
    """Return what happens to X-rays that cannot be used."""
    left_out = subject.results.get("left_out")
    lines = left_out_in_words(left_out) if left_out else []
    return " ".join(["Files that cannot be decoded are refused with the reason.", *lines])


TOPICS: dict[str, Callable[[Subject], str]] = {
    function.__name__: function
    for function in (
        acquisition,
        availability,
        by_class,
        demographics,
        differences,
        disjoint,
        ensemble,
        exclusions,
        explainability,
        external,
        failures,
        final_model,
        imbalance,
        initial_weights,
        intended_use,
        internal,
        labels,
        limitations,
        metrics,
        missing,
        missing_input,
        model,
        partitions,
        preprocessing,
        protocol,
        quality,
        robustness,
        sizes,
        slices,
        software,
        sources,
        subsets,
        technology,
        thresholds,
        training,
        uncertainty,
        updating,
    )
}
"""What can be said of each topic, by its name."""
