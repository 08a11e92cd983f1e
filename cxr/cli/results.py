"""Print a run's results.json for people: one table of scores per split, and the confusion matrices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cxr.cli.output import say, show_table


def show_results(results: Any) -> None:
    """Print every summary (as ``cxr.evaluation`` makes them) found in ``results``; nothing if there are none."""
    results = results if isinstance(results, dict) else {}
    summaries = list(_summaries(results))
    if results.get("finding"):
        say(results["finding"])
    if not summaries:
        return
    scores = ("accuracy", "macro_f1", "auc")
    rows = [
        [name, summary.get("n", ""), *(_interval(summary.get(key)) for key in scores)] for name, summary in summaries
    ]
    show_table("", ["split", "images", *scores], rows)
    show_stages(results.get("stages") or [])
    for name, summary in summaries:
        classes = summary.get("classes") or []
        confusion = summary.get("confusion") or []
        body = [[true, *row] for true, row in zip(classes, confusion, strict=False)]
        if body:
            show_table(f"{name}: true class by row, predicted by column", ["", *classes], body)


def show_stages(stages: list[dict[str, Any]]) -> None:
    """Print what each stage of a training was and achieved; nothing for a training of a single one."""
    if len(stages) < 2:
        return
    rows = []
    for stage in stages:
        kept = ", ".join(f"{new} (was {old})" for new, old in stage["kept_neurons"].items())
        found = stage["validation"]
        score = "accuracy" if "accuracy" in found else "auc"
        rows.append(
            [stage["name"], stage["task"], stage["n_train"], f"{score} {_interval(found[score])}", kept or "none"]
        )
    show_table("", ["stage", "task", "X-rays", "validation", "kept output neurons"], rows)


def _summaries(value: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(value, dict):
        return
    if "confusion" in value and "accuracy" in value:
        yield name, value
        return
    for key, item in value.items():
        if key == "validation":  # of a stage, shown with it
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
