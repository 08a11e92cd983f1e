"""The results of a text experiment as tables and figures, the same on the page, in the report and as CSV."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cxr.evaluation.words import number, p_value, percent, points, times
from cxr.text.mask import MASK_MODES

UNDER = {"tokens": "text masked", "random": "random boxes", "other": "boxes of another image"}
"""What people read for each condition of :func:`cxr.text.effects.effects`."""
COLOURS = {"tokens": "#f2a65a", "random": "#4fb3bf", "other": "#b48ee0"}
_NAMES = {"before": "before", "after": UNDER["tokens"], "control": UNDER["random"]}


def accuracies(results: Mapping[str, Any]) -> pd.DataFrame:
    """Return accuracy, its difference to before, macro F1 and AUC of the leading mode, a row per condition."""
    effect = _leading(results)
    rows = []
    for name, key in (("before", None), ("after", "tokens"), ("control", "random")):
        difference = effect["accuracy"][key] if key else None
        rows.append(
            {
                "condition": _NAMES[name],
                "accuracy": percent(results[name]["accuracy"]),
                "difference": points(difference) if difference else "–",
                "became wrong": _count(difference, "became_wrong"),
                "became right": _count(difference, "became_right"),
                "macro F1": number(results[name]["macro_f1"]),
                "AUC": number(results[name]["auc"]),
            }
        )
    return pd.DataFrame(rows)


def _leading(results: Mapping[str, Any]) -> dict[str, Any]:
    return next(iter(results["modes"].values()))


def _count(difference: Mapping[str, Any] | None, key: str) -> str:
    return str(difference[key]) if difference and difference.get(key) is not None else "–"


def by_class(results: Mapping[str, Any]) -> pd.DataFrame:
    """Return recall before and how recall, logit and probability change in the leading mode, a row per class."""
    effect, rows = _leading(results), []
    for name in results["classes"]:
        of = results["before"]["per_class"][name]
        row: dict[str, Any] = {"class": name, "images": of["support"], "recall, before": percent(of["recall"])}
        for key in ("tokens", "random"):
            recall = effect["recall"][key].get(name)
            row[f"recall, {UNDER[key]}"] = points(recall) if recall else "–"
        for measure in ("logit", "probability"):
            for key in ("tokens", "random"):
                row[f"{measure}, {UNDER[key]}"] = number(effect[measure][key][name], signed=True)
        rows.append(row)
    return pd.DataFrame(rows)


def by_mode(results: Mapping[str, Any]) -> pd.DataFrame:
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
        row["accuracy"] = points(effect["accuracy"]["tokens"])
        row["McNemar p"] = p_value(effect["accuracy"]["tokens"]["p_holm"])
        row["macro F1"] = number(effect["macro_f1"]["tokens"], signed=True)
        row["AUC"] = number(effect["auc"]["tokens"], signed=True)
        rows.append(row)
    return pd.DataFrame(rows)


def flips(results: Mapping[str, Any]) -> pd.DataFrame:
    """Return how many predictions go from which class to which in the leading mode (random boxes: mean of draws)."""
    rows = [
        {"from": row["from"], "to": row["to"]} | {title: round(row[key], 1) for key, title in UNDER.items()}
        for row in _leading(results)["flips"]
    ]
    return pd.DataFrame(rows, columns=["from", "to", *UNDER.values()])


def left_in(results: Mapping[str, Any]) -> pd.DataFrame:
    """Return what each kind of token and each word does when it alone is left in, those that move most first."""
    rows = [
        {
            "token": row["token"] if row["group"] == "word" else f"all of kind {row['token']}",
            "images": row["n_images"],
            "tokens": row["n_tokens"],
            "predictions turned": percent(row["changed"]),
            "probabilities moved": number(row["moved"]),
            "towards": row["towards"] or "–",
            "by": number(row["probability"][row["towards"]], signed=True) if row["towards"] else "–",
        }
        for row in results["left_in"]
    ]
    columns = ["token", "images", "tokens", "predictions turned", "probabilities moved", "towards", "by"]
    return pd.DataFrame(rows, columns=columns)


def groups(results: Mapping[str, Any]) -> pd.DataFrame:
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


def relevance(results: Mapping[str, Any]) -> pd.DataFrame:
    """Return how much relevance lies in tokens and in random boxes; empty where none was measured."""
    told = results.get("relevance") or {}
    rows = []
    for key in ("tokens", "random") if told.get("n") else ():
        for measure in ("positive", "absolute"):
            of = told[key][measure]
            rows.append(
                {
                    "inside": {"tokens": "tokens"}.get(key, UNDER[key]),
                    "relevance": measure,
                    "share of relevance": percent(of["share"]),
                    "share of area": f"{100 * told[key]['area']:.2f} %",
                    "relevance per area (1 = chance)": times(of["gain"]),
                }
            )
    return pd.DataFrame(rows)


TABLES = {
    "accuracy": accuracies,
    "classes": by_class,
    "modes": by_mode,
    "flips": flips,
    "left_in": left_in,
    "groups": groups,
    "relevance": relevance,
}
"""Every table by the name of its CSV file."""


def changed_figure(results: Mapping[str, Any]) -> go.Figure:
    """Draw the share of predictions that change, tokens and controls of each mode, with 95 % intervals."""
    modes = list(results["modes"])
    figure = go.Figure()
    for key, title in UNDER.items():
        values = [results["modes"][mode]["changed"][key] for mode in modes]
        share = np.array([100 * (v["value"] or 0.0) for v in values])
        known = [v if v["low"] is not None else dict.fromkeys(("low", "high"), v["value"] or 0.0) for v in values]
        figure.add_scatter(
            x=[MASK_MODES[mode].title for mode in modes],
            y=share,
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [100 * k["high"] - s for k, s in zip(known, share, strict=True)],
                "arrayminus": [s - 100 * k["low"] for k, s in zip(known, share, strict=True)],
            },
            name=title,
            mode="markers",
            marker={"size": 11, "color": COLOURS[key]},
        )
    figure.update_layout(
        scattermode="group",
        height=330,
        margin={"l": 50, "r": 10, "t": 40, "b": 40},
        yaxis={"title": "predictions changed (%)", "rangemode": "tozero"},
        legend={"orientation": "h", "y": 1.0, "x": 1, "xanchor": "right", "yanchor": "bottom"},
    )
    return figure
