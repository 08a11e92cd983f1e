"""The results of a text experiment as tables, the same on the page, in the report and as CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from cxr.experiments.masking.shapes import Effect, LeftInRow, MaskingResults, ShownCondition
from cxr.formatting import NOTHING, Estimate, number, p_value, percent, points, times
from cxr.models.card import MULTI_LABEL
from cxr.text.mask import MASK_MODES


def is_of_findings(results: MaskingResults) -> bool:
    """Tell whether an experiment was one on a network of several findings."""
    return results.get("task") == MULTI_LABEL


UNDER = {"tokens": "text masked", "random": "random boxes", "other": "boxes of another image"}
"""What people read for each condition of :func:`cxr.experiments.masking.effects.effects`."""
COLOURS = {"tokens": "#f2a65a", "random": "#4fb3bf", "other": "#b48ee0"}
_NAMES: dict[ShownCondition, str] = {"before": "before", "after": UNDER["tokens"], "control": UNDER["random"]}
_BOXES_OF: dict[ShownCondition, str] = {"after": "tokens", "control": "random"}
"""What is masked under a condition; nothing before."""


def summary(results: MaskingResults) -> pd.DataFrame:
    """Return what the leading mode changes under tokens and controls, a row per measure: the figures in short."""
    effect, of_findings = _leading(results), is_of_findings(results)
    changed, accuracy = ("a finding crosses its threshold", "AUC, change") if of_findings else _OF_ONE_LABEL
    rows = {
        changed: _row(effect["changed"], percent) | {_P: p_value(effect["beyond_random"]["p_holm"])},
        "probabilities moved by": _row(effect["moved"], number)
        | {_P: p_value(effect["moved_beyond_random"]["p_holm"])},
        accuracy: _row(effect["auc"], lambda change: number(change, signed=True))
        if of_findings
        else _row(effect["accuracy"], points),
    }
    if change := effect.get("match", {}).get("change"):
        rows["picture changed by (grey levels of 255)"] = {UNDER[key]: f"{change[key]:.2f}" for key in UNDER}
    measured = results.get("relevance")
    if measured and measured["n"]:
        parts = {"tokens": measured["tokens"], "random": measured["random"]}
        gains = {UNDER[key]: times(part["positive"]["gain"]) for key, part in parts.items()}
        rows["positive relevance inside, per area (1 = chance)"] = gains
    named = [{"measure": measure} | row for measure, row in rows.items()]
    return pd.DataFrame(named, columns=["measure", *UNDER.values(), _P]).fillna(NOTHING)


_P = "p (text against random)"
_OF_ONE_LABEL = ("predictions changed", "accuracy, change")


def _row(values: Mapping[str, Estimate], written: Callable[[Estimate], str]) -> dict[str, str]:
    return {title: written(values[key]) for key, title in UNDER.items() if key in values}


def accuracies(results: MaskingResults) -> pd.DataFrame:
    """Return accuracy, its difference to before, macro F1 and AUC of the leading mode, a row per condition.

    Of several findings there is the mean AUC alone.
    """
    effect = _leading(results)
    if is_of_findings(results):
        return _aucs(results, effect)
    rows = []
    for name in _NAMES:
        difference = effect["accuracy"][_BOXES_OF[name]] if name in _BOXES_OF else None
        rows.append(
            {
                "condition": _NAMES[name],
                "accuracy": percent(results[name]["accuracy"]),
                "difference": points(difference) if difference else "–",
                "became wrong": _count(difference.get("became_wrong") if difference else None),
                "became right": _count(difference.get("became_right") if difference else None),
                "macro F1": number(results[name]["macro_f1"]),
                "AUC": number(results[name]["auc"]),
            }
        )
    return pd.DataFrame(rows)


def _aucs(results: MaskingResults, effect: Effect) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "condition": _NAMES[name],
            "mean AUC": number(results[name]["auc"]),
            "difference": number(effect["auc"][_BOXES_OF[name]], signed=True) if name in _BOXES_OF else "–",
        }
        for name in _NAMES
    )


def _leading(results: MaskingResults) -> Effect:
    return next(iter(results["modes"].values()))


def _count(n: int | None) -> str:
    return NOTHING if n is None else str(n)


def by_class(results: MaskingResults) -> pd.DataFrame:
    """Return recall before and how recall, logit and probability change in the leading mode, a row per class.

    Of several findings it is AUC before, how logit and probability change, and whether that goes beyond random boxes.
    """
    effect, rows = _leading(results), []
    if is_of_findings(results):
        return pd.DataFrame([_of_finding(results, effect, name) for name in results["classes"]])
    for name in results["classes"]:
        of = results["before"]["per_class"][name]
        row: dict[str, str | int] = {"class": name, "images": of["support"], "recall, before": percent(of["recall"])}
        for key in ("tokens", "random"):
            recall = effect["recall"][key].get(name)
            row[f"recall, {UNDER[key]}"] = points(recall) if recall else "–"
        row.update(_moves(effect, name))
        rows.append(row)
    return pd.DataFrame(rows)


def _of_finding(results: MaskingResults, effect: Effect, name: str) -> dict[str, str | int]:
    before, of = results["before"]["per_class"][name], effect["findings"][name]
    row: dict[str, str | int] = {"finding": name, "images with it": before["positive"]}
    row["AUC, before"] = number(before["auc"])
    row[f"AUC, {UNDER['tokens']}"] = number(effect["auc_by_finding"]["tokens"].get(name), signed=True)
    row.update(_moves(effect, name))
    for key in ("tokens", "random"):
        row[f"size of change, {UNDER[key]}"] = number(of["moved"][key])
    row["p (random)"] = p_value(of["moved_beyond_random"]["p_holm"])
    row[f"crosses its threshold, {UNDER['tokens']}"] = percent(of["changed"]["tokens"])
    row[f"crosses its threshold, {UNDER['random']}"] = percent(of["changed"]["random"])
    return row


def _moves(effect: Effect, name: str) -> dict[str, str]:
    """Return how the logit and the probability of a class move."""
    return {
        f"{measure}, {UNDER[key]}": number(changes[key][name], signed=True)
        for measure, changes in (("logit", effect["logit"]), ("probability", effect["probability"]))
        for key in ("tokens", "random")
    }


def by_mode(results: MaskingResults) -> pd.DataFrame:
    """Return what each mask mode changes under tokens and controls, with p values corrected over the modes (Holm)."""
    rows = []
    for mode, effect in results["modes"].items():
        row = {"mask": MASK_MODES[mode].title}
        row |= {f"changed, {title}": percent(effect["changed"][key]) for key, title in UNDER.items()}
        row["beyond random boxes"] = points(effect["beyond_random"])
        row["p (random)"] = p_value(effect["beyond_random"]["p_holm"])
        row["p (another image)"] = p_value(effect["beyond_other"]["p_holm"])
        row["probabilities moved"] = number(effect["moved"]["tokens"])
        row["… random boxes"] = number(effect["moved"]["random"])
        row["p (moved)"] = p_value(effect["moved_beyond_random"]["p_holm"])
        if not is_of_findings(results):
            row["accuracy"] = points(effect["accuracy"]["tokens"])
            row["p (accuracy)"] = p_value(effect["accuracy"]["tokens"]["p_holm"])
            row["macro F1"] = number(effect["macro_f1"]["tokens"], signed=True)
        row["AUC"] = number(effect["auc"]["tokens"], signed=True)
        rows.append(row)
    return pd.DataFrame(rows)


def flips(results: MaskingResults) -> pd.DataFrame:
    """Return how many predictions go from which class to which in the leading mode (random boxes: mean of draws).

    Of several findings it is on how many images each crosses its threshold, and which way.
    """
    names = ("finding", "to") if is_of_findings(results) else ("from", "to")
    counts = pd.DataFrame(_leading(results)["flips"], columns=[*names, *UNDER])
    for key in UNDER:
        counts[key] = [round(n, 1) for n in counts[key]]
    return counts.rename(columns=UNDER)


def left_in(results: MaskingResults) -> pd.DataFrame:
    """Return what each kind of token and each word does when it alone is left in, those that move most first."""
    most = "moves most" if is_of_findings(results) else "towards"
    rows = [
        {
            "token": row["token"] if row["group"] == "word" else f"all of kind {row['token']}",
            "images": row["n_images"],
            "tokens": row["n_tokens"],
            "predictions turned": percent(row["changed"]),
            "probabilities moved": _shrunken(row),
            "as measured": number(row["moved"]),
            most: row["towards"] or "–",
            "by": number(row["probability"][row["towards"]], signed=True) if row["towards"] else "–",
        }
        for row in results["left_in"]
    ]
    columns = ["token", "images", "tokens", "predictions turned", "probabilities moved", "as measured", most, "by"]
    return pd.DataFrame(rows, columns=columns)


def _shrunken(row: LeftInRow) -> str:
    if "shrunken" not in row:  # an experiment of an older version
        return NOTHING
    return number(row["shrunken"]) if row["shrunken"] else "too few patients"


def match(results: MaskingResults) -> pd.DataFrame:
    """Return how well the controls match the tokens, a row per mask mode; empty for results of an older version."""
    rows = []
    for mode, effect in results["modes"].items():
        of = effect.get("match")
        if not of:
            continue
        row = {"mask": MASK_MODES[mode].title}
        row |= {f"grey levels changed, {title}": f"{of['change'][key]:.2f}" for key, title in UNDER.items()}
        row |= {f"middle of the X-ray, {title}": f"{100 * of['inside'][key]:.2f} %" for key, title in UNDER.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def groups(results: MaskingResults) -> pd.DataFrame:
    """Return the leading mode's effect within each class and each source."""
    rows = [
        {
            "by": {"label": "class"}.get(row["by"], row["by"]),
            "group": row["group"],
            "images": row["n_images"],
            "with text": row["n_with_text"],
            **{f"changed, {UNDER[key]}": percent(row["changed"][key]) for key in ("tokens", "random")},
            "beyond random boxes": points(row["beyond_random"]),
            "probabilities moved": number(row["moved"]["tokens"]),
            "… random boxes": number(row["moved"]["random"]),
        }
        for row in results["groups"]
    ]
    return pd.DataFrame(rows)


def relevance(results: MaskingResults) -> pd.DataFrame:
    """Return how much relevance lies in tokens and in random boxes; empty where none was measured."""
    measured, rows = results.get("relevance"), []
    parts = {"tokens": measured["tokens"], "random": measured["random"]} if measured and measured["n"] else {}
    for key, part in parts.items():
        for measure, inside in (("positive", part["positive"]), ("absolute", part["absolute"])):
            rows.append(
                {
                    "inside": "tokens" if key == "tokens" else UNDER[key],
                    "relevance": measure,
                    "share of relevance": percent(inside["share"]),
                    "share of area": f"{100 * part['area']:.2f} %",
                    "relevance per area (1 = chance)": times(inside["gain"]),
                }
            )
    return pd.DataFrame(rows)


TABLES = {
    "accuracy": accuracies,
    "classes": by_class,
    "modes": by_mode,
    "match": match,
    "flips": flips,
    "left_in": left_in,
    "groups": groups,
    "relevance": relevance,
}
"""Every table by the name of its CSV file."""


def changed_title(results: MaskingResults) -> str:
    """Return what :func:`changed_in_percent` counts."""
    return "images with a crossing (%)" if is_of_findings(results) else "predictions changed (%)"


def changed_in_percent(results: MaskingResults, condition: str) -> tuple[list[float], list[float], list[float]]:
    """Return the share of predictions that change under a condition of :data:`UNDER`, a value per mask mode.

    Of several findings it is the share of images on which at least one crosses its threshold.

    Returns
    -------
    Shares in percent, and how far their 95 % intervals reach below and above them; 0 without an interval.
    """
    changed = [effect["changed"][condition] for effect in results["modes"].values()]
    share = [100 * (estimate["value"] or 0.0) for estimate in changed]
    below = [0.0 if e["low"] is None else max(0.0, s - 100 * e["low"]) for s, e in zip(share, changed, strict=True)]
    above = [0.0 if e["high"] is None else max(0.0, 100 * e["high"] - s) for s, e in zip(share, changed, strict=True)]
    return share, below, above
