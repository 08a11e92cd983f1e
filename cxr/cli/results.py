"""Print a run's results.json for people: scores per split, confusion matrices or findings, and what was left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

from cxr.cli.output import say, show_table
from cxr.formatting import p_value, xrays

if TYPE_CHECKING:
    from cxr.evaluation.comparison.results import ComparisonResults, Reference
    from cxr.evaluation.results import ClassScores, Summary
    from cxr.evaluation.scores.results import FurtherScores
    from cxr.training.results import StageOutcome

_Score = Literal["accuracy", "macro_f1", "auc", "average_precision"]
MULTI_LABEL = "multi-label"  # as cxr.models.card has it, which would load all of torch for a word


def show_results(results: Any) -> None:
    """Print every summary (as ``cxr.evaluation`` makes them) found in ``results``, and what was left out of them."""
    results = results if isinstance(results, dict) else {}
    if results.get("finding"):
        say(results["finding"])
    summaries = list(_summaries(results))
    for several, show in ((False, _show_classes), (True, _show_findings)):
        own = [(name, summary) for name, summary in summaries if is_of_findings(summary) == several]
        if own:
            show(own)
    if not summaries:
        return
    show_stages(results.get("stages") or [])
    for name, summary in summaries:
        _show_further(name, summary.get("further"))
        classes = summary.get("classes") or []
        confusion = summary.get("confusion") or []
        body = [[true, *row] for true, row in zip(classes, confusion, strict=False)]
        if body:
            show_table(f"{name}: true class by row, predicted by column", ["", *classes], body)
    for line in results.get("notes") or ():
        say(line)


def show_comparison(comparison: ComparisonResults) -> None:
    """Print a comparison of runs: who is in it, their figures beside the baselines, the differences, references."""
    splits = ", ".join(f"{n:,} of {name}" for name, n in comparison["splits"].items())
    say(f"{xrays(comparison['n'], comparison['n_patients'])} are compared ({splits})")
    for run in comparison["runs"]:
        reasons = "; ".join(f"{n:,} {reason}" for reason, n in run["left_out"].items())
        say(f"{run['run']}  {run['name']}: {xrays(run['n'])} predicted" + (f"; left out: {reasons}" if reasons else ""))
    measures = list(comparison["runs"][0]["figures"])
    entries: list[tuple[str, Mapping[str, object]]] = [(run["name"], run["figures"]) for run in comparison["runs"]]
    entries += [(baseline["name"], baseline["figures"]) for baseline in comparison["baselines"]]
    rows = [[name, *(_interval(figures.get(measure)) for measure in measures)] for name, figures in entries]
    show_table("", ["run", *measures], rows)
    for difference in comparison["differences"]:
        say(difference["sentence"])
    body = [_reference_row(reference) for reference in comparison["references"]]
    if body:
        columns = ["test", "measure", "run", "against", "difference", "p"]
        show_table("For reference, not corrected (McNemar and DeLong count X-rays as independent):", columns, body)
    for line in comparison["notes"]:
        say(line)


def _reference_row(reference: Reference) -> list[str]:
    difference = _interval({key: reference.get(key) for key in ("value", "low", "high")})
    if "only_run" in reference:
        difference = f"only one is right: {reference['only_run']:,} and {reference['only_against']:,}"
    names = [reference["test"], reference["measure"], reference["run"], reference["against"]]
    return [*names, difference, p_value(reference["p"])]


def is_of_findings(summary: Summary) -> bool:
    """Return whether a summary is of findings, each by itself, and not of classes that exclude each other."""
    return summary.get("task") == MULTI_LABEL


def _show_classes(summaries: list[tuple[str, Summary]]) -> None:
    _show_scores(summaries, {"accuracy": "accuracy", "macro_f1": "macro_f1", "auc": "auc"})


def _show_findings(summaries: list[tuple[str, Summary]]) -> None:
    _show_scores(summaries, {"auc": "mean AUC", "average_precision": "mean average precision"})
    for name, summary in summaries:
        rows = [_finding_row(finding, scores) for finding, scores in summary["per_class"].items()]
        columns = list(rows[0])
        show_table(f"{name}, by finding (* no published threshold)", columns, [list(row.values()) for row in rows])


def _show_further(name: str, scores: FurtherScores | None) -> None:
    """Print the further scores of a split: those of all classes together, of each class, and why some are missing."""
    from cxr.evaluation.scores.results import FURTHER

    if scores is None:
        return
    scaled = scores["scaled"]
    after = {key: _interval(scaled.get(key)) for key in ("brier", "log_loss", "ece")}
    rows = [[title, _interval(scores["overall"].get(key)), after.get(key, "")] for key, title in FURTHER.items()]
    show_table(f"{name}: {scores['errors']}", ["score", "value", "after temperature scaling"], rows)
    if "why" in scaled:
        say(f"Temperature scaling: {scaled['why']}.")
    else:
        say(f"Temperature {scaled['temperature']:.3f}, fitted on {xrays(scaled['n_fitted'])} of {scaled['fitted_on']}.")
    columns = {"specificity": "specificity", "average_precision": "average precision"}
    columns |= {"sensitivity_at_90": "sensitivity at 90 % spec.", "sensitivity_at_95": "at 95 % spec."}
    by_class = [[c, *(_interval(entry[key]) for key in columns)] for c, entry in scores["per_class"].items()]
    show_table("", ["class", *columns.values()], by_class)
    for c, reason in scores["undefined"].items():
        say(f"{c}: {reason}.")


def _show_scores(summaries: list[tuple[str, Summary]], titles: dict[_Score, str]) -> None:
    rows = [
        [name, summary.get("n", ""), summary.get("n_patients", ""), *(_interval(summary.get(key)) for key in titles)]
        for name, summary in summaries
    ]
    show_table("", ["split", "images", "patients", *titles.values()], rows)


def _finding_row(finding: str, scores: ClassScores) -> dict[str, str]:
    return {
        "finding": finding,
        "positive of known": f"{scores['positive']:,} of {scores['known']:,}",
        "AUC": _interval(scores["auc"]),
        "average precision": _interval(scores["average_precision"]),
        "threshold": f"{scores['threshold']:.3g}{'' if scores['published'] else ' *'}",
        "sensitivity": _interval(scores["sensitivity"]),
        "specificity": _interval(scores["specificity"]),
        "precision": _interval(scores["precision"]),
        "f1": _interval(scores["f1"]),
    }


def show_stages(stages: list[StageOutcome]) -> None:
    """Print what each stage of a training was and achieved; nothing for a training of a single one."""
    if len(stages) < 2:
        return
    rows = []
    for stage in stages:
        neurons = ", ".join(f"{new} (was {old})" for new, old in stage["kept_neurons"].items())
        validation = stage["validation"]
        several = stage["task"] == MULTI_LABEL
        score = validation["auc"] if several else validation["accuracy"]
        rows.append(
            [
                stage["name"],
                stage["task"],
                stage["n_train"],
                f"{'mean AUC' if several else 'accuracy'} {_interval(score)}",
                neurons or "none",
            ]
        )
    show_table("", ["stage", "task", "X-rays", "validation", "kept output neurons"], rows)


def _summaries(value: Any, name: str = "") -> Iterator[tuple[str, Summary]]:
    if not isinstance(value, dict):
        return
    if (value.get("task") == MULTI_LABEL and "per_class" in value) or ("confusion" in value and "accuracy" in value):
        yield name, cast("Summary", value)
        return
    for key, item in value.items():
        if key in ("validation", "stages"):  # shown by themselves
            continue
        yield from _summaries(item, f"{name} {key}".strip() if key not in ("metrics", "splits") else name)


def _interval(value: Any) -> str:
    """Return ``0.912 [0.88, 0.94]`` for a value with its interval, or the bare number."""
    if isinstance(value, dict):
        middle, low, high = (value.get(key) for key in ("value", "low", "high"))
        if middle is None:
            return ""
        return f"{middle:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else "")
    return f"{value:.3f}" if isinstance(value, int | float) else ""
