"""Choosing one X-ray out of a split: sorted, filtered, with a strip of neighbours and previous and next buttons."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cxr.data import Manifest

from components import address, load, page, pick

STRIP = 8

_Order = Callable[[pd.DataFrame], pd.DataFrame]
ORDERS: dict[str, _Order] = {
    "errors first": lambda t: t.sort_values(["correct", "confidence"], ascending=[True, False], kind="stable"),
    "class": lambda t: t.sort_values("label", kind="stable"),
    "confidence, lowest first": lambda t: t.sort_values("confidence", kind="stable"),
    "confidence, highest first": lambda t: t.sort_values("confidence", ascending=False, kind="stable"),
}


def rows_of(data: Manifest, split: str, predictions: pd.DataFrame | None) -> pd.DataFrame:
    """Return ``image_id, label`` of a split, with ``predicted, correct, confidence`` where there are predictions."""
    rows = data.select(split=split).table[["image_id", "label"]]
    if predictions is None:
        return rows
    return rows.merge(predictions[["image_id", "predicted", "correct", "confidence"]], on="image_id")


def narrowed(rows: pd.DataFrame, labels: Sequence[str], predicted: Sequence[str], only_errors: bool) -> pd.DataFrame:
    """Return the rows that meet the filters; an empty list filters nothing."""
    kept = pd.Series(True, index=rows.index)
    if labels:
        kept &= rows["label"].isin(labels)
    if predicted:
        kept &= rows["predicted"].isin(predicted)
    if only_errors:
        kept &= ~rows["correct"] & (rows["label"] != "")
    return rows[kept]


def image(data: Manifest, split: str, predictions: pd.DataFrame | None) -> str:
    """Let the user choose an X-ray of a split and return its id; where the filters leave none, say so and end there."""
    every = rows_of(data, split, predictions)
    rows = _filtered(every)
    if rows.empty and not address.asks("image"):
        page.nothing_yet("No X-ray meets these filters. Clear one of them to see some.")
    captions = dict(zip(rows["image_id"], map(_caption, rows.to_dict("records")), strict=True))
    return _pick(data, rows["image_id"].tolist(), captions, lambda image_id: _missing(data, split, every, image_id))


def _missing(data: Manifest, split: str, every: pd.DataFrame, image_id: str) -> str:
    """Return why an X-ray that an address names is not offered; where it is elsewhere, a button shows it there."""
    short = repr(image_id[:80])
    if image_id in set(every["image_id"]):
        address.refuse(
            "image",
            f"The X-ray {short} does not meet the filters of this address.",
            "Clear the filters",
            lambda: (address.forget("label", "predicted", "errors"), address.ask(image=image_id)),
        )
    if image_id not in data.ids:
        return f"There is no X-ray {short} in this data set."
    there = str(data.row(image_id)["split"])
    if there == split:
        return f"The network was not measured on the X-ray {short}."
    if not there:
        return f"The X-ray {short} belongs to no split of this data set."
    return address.refuse(
        "image",
        f"The X-ray {short} is in the split {there!r} of this data set, not in {split!r}.",
        f"Show it in {there}",
        lambda: address.ask(split=there, image=image_id),
    )


def _filtered(rows: pd.DataFrame) -> pd.DataFrame:
    measured = "predicted" in rows
    orders = list(ORDERS) if measured else ["class"]
    labels = sorted(set(rows["label"]) - {""})
    names = sorted(set(rows["predicted"])) if measured else []
    pick.arrive("browse:order", "sort", orders[0], allowed=orders)
    pick.arrive_some("browse:label", "label", labels)
    pick.arrive_some("browse:predicted", "predicted", names)
    pick.arrive(
        "browse:errors", "errors", False, pick.switched, (False, True) if measured else (False,), accepted="0, 1"
    )
    sort, label, predicted, errors = st.columns([2, 2, 2, 1], vertical_alignment="bottom")
    order = sort.selectbox("Sort by", orders, key="browse:order")
    wanted_labels = label.multiselect("True class", labels, key="browse:label", placeholder="any")
    wanted_names = predicted.multiselect(
        "Predicted", names, key="browse:predicted", placeholder="any", disabled=not measured
    )
    only = errors.toggle("Only errors", key="browse:errors", disabled=not measured) and measured
    pick.leave("sort", order, orders[0])
    pick.leave_some("label", wanted_labels)
    pick.leave_some("predicted", wanted_names)
    pick.leave("errors", str(int(only)), "0")
    return ORDERS[order](narrowed(rows, wanted_labels, wanted_names, only))


def _caption(row: dict[str, object]) -> str:
    label = row["label"] or "unlabelled"
    if "predicted" not in row:
        return f"{label} · {row['image_id']}"
    verdict = f"{label} → {row['predicted']} {row['confidence']:.2f}"
    return f"{verdict}{'' if row['correct'] or not row['label'] else ' ✗'} · {row['image_id']}"


def _pick(data: Manifest, ids: list[str], captions: dict[str, str], missing: pick.Sentence) -> str:
    back, middle, forward = st.columns([1, 10, 1], vertical_alignment="bottom")
    with middle:
        chosen = pick.from_url(f"X-ray (of {len(ids)})", ids, captions, "image", missing=missing)
    here = ids.index(chosen)
    _step(back, ids, here - 1, ":material/chevron_left:", "Previous X-ray", "previous")
    _step(forward, ids, here + 1, ":material/chevron_right:", "Next X-ray", "next")
    _strip(data, ids, here, captions)
    return chosen


def _step(column: DeltaGenerator, ids: list[str], to: int, icon: str, text: str, name: str) -> None:
    inside = 0 <= to < len(ids)
    target = ids[to] if inside else ""
    column.button(
        "",
        icon=icon,
        help=text,
        key=f"browse:{name}",
        disabled=not inside,
        on_click=_go,
        args=(target,),
        width="stretch",
    )


def _go(image_id: str) -> None:
    st.session_state["pick:image"] = image_id


def _strip(data: Manifest, ids: list[str], here: int, captions: dict[str, str]) -> None:
    """Show the neighbours of the chosen X-ray, each with a button that chooses it."""
    start = max(0, min(here - STRIP // 2, len(ids) - STRIP))
    for place, (cell, image_id) in enumerate(zip(st.columns(STRIP), ids[start : start + STRIP], strict=False)):
        with cell:
            st.image(load.thumbnail(data, image_id), caption=_two_lines(captions[image_id]), width="stretch")
            here_it_is = image_id == ids[here]
            st.button(
                "Shown" if here_it_is else "Show",
                key=f"browse:strip:{place}",
                type="primary" if here_it_is else "secondary",
                on_click=_go,
                args=(image_id,),
                width="stretch",
            )


def _two_lines(caption: str) -> str:
    """Return the verdict of a caption broken after its arrow, so that the buttons below pictures stay in line."""
    verdict = caption.split(" · ")[0].replace(" 0.", " .").replace(" ✗", "✗")
    return verdict.replace("→ ", "→  \n")
