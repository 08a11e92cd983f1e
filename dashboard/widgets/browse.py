"""Choosing one X-ray out of a split: sorted, filtered, with a strip of neighbours and previous and next buttons."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cxr.data import Manifest
from cxr.evaluation.multilabel import THRESHOLD
from cxr.evaluation.truth import finding_names
from cxr.models.card import MULTI_LABEL

from services import load
from widgets import address, page, pick, viewer

if TYPE_CHECKING:
    from cxr.models import XrayClassifier

STRIP = 8

_Order = Callable[[pd.DataFrame], pd.DataFrame]
_BY_TRUTH: _Order = lambda t: t.sort_values(["apart", "label"], kind="stable")  # noqa: E731
# The first of each is what a page begins with: it needs no prediction, so that one address always shows one X-ray.
ORDERS: dict[str, _Order] = {
    "class": _BY_TRUTH,
    "errors first": lambda t: t.sort_values(["correct", "confidence"], ascending=[True, False], kind="stable"),
    "confidence, lowest first": lambda t: t.sort_values("confidence", kind="stable"),
    "confidence, highest first": lambda t: t.sort_values("confidence", ascending=False, kind="stable"),
}
ORDERS_OF_FINDINGS: dict[str, _Order] = {
    "findings": _BY_TRUTH,
    "most errors first": lambda t: t.sort_values(["errors", "confidence"], ascending=[False, False], kind="stable"),
    "highest probability, lowest first": ORDERS["confidence, lowest first"],
    "highest probability, highest first": ORDERS["confidence, highest first"],
}


def rows_of(data: Manifest, split: str, predictions: pd.DataFrame | None) -> pd.DataFrame:
    """Return one row per X-ray of a split: ``image_id``, ``label`` and ``names``, a list of it alone.

    Where there are predictions also ``predicted``, ``said`` (a list of it alone), ``correct`` and ``confidence``.
    """
    rows = data.select(split=split).table[["image_id", "label"]]
    rows = rows.assign(names=[[label] for label in rows["label"]])
    if predictions is None:
        return rows
    measured = predictions[["image_id", "predicted", "correct", "confidence"]]
    return rows.merge(measured.assign(said=[[name] for name in measured["predicted"]]), on="image_id")


def rows_of_findings(
    data: Manifest, split: str, predictions: pd.DataFrame | None, network: XrayClassifier
) -> pd.DataFrame:
    """Return the same for a network of several findings: ``label`` and ``names`` are those that the data state.

    ``predicted`` is the most probable finding and ``confidence`` its probability, ``said`` are all findings above their
    threshold (the publisher's, else 0.5), ``errors`` how many known ones lie on the wrong side of it.
    """
    table = data.select(split=split).table
    names = [finding_names(text) for text in table["findings"]]
    rows = table[["image_id"]].assign(label=[", ".join(findings) for findings in names], names=names)
    if predictions is None:
        return rows
    classes = list(network.classes)
    chances, targets = (predictions[[f"{kind}_{c}" for c in classes]].to_numpy() for kind in ("prob", "target"))
    above = chances > np.array([network.card.thresholds.get(c, THRESHOLD) for c in classes])
    errors = (np.isfinite(targets) & (above != (targets == 1))).sum(1)
    measured = {
        "image_id": predictions["image_id"],
        "predicted": [classes[k] for k in chances.argmax(1)],
        "confidence": chances.max(1),
        "said": [[c for c, here in zip(classes, row, strict=True) if here] for row in above],
        "errors": errors,
        "correct": errors == 0,
    }
    return rows.merge(pd.DataFrame(measured), on="image_id")


def narrowed(rows: pd.DataFrame, labels: Sequence[str], predicted: Sequence[str], only_errors: bool) -> pd.DataFrame:
    """Return the rows that meet the filters; an empty list filters nothing."""
    selected = pd.Series(True, index=rows.index)
    if labels:
        selected &= _any_of(rows["names"], labels)
    if predicted:
        selected &= _any_of(rows["said"], predicted)
    if only_errors:
        selected &= ~rows["correct"] & (rows["label"] != "")
    return rows[selected]


def _any_of(names: pd.Series, accepted: Sequence[str]) -> pd.Series:
    return names.map(lambda names_of_row: not set(accepted).isdisjoint(names_of_row)).astype(bool)


@dataclass(frozen=True)
class Listed:
    """The X-rays that sorting and filters leave, in their order, each with its caption; and the chosen one."""

    ids: list[str]
    captions: dict[str, str]
    chosen: str

    @property
    def place(self) -> int:
        """Where in the list the chosen X-ray stands."""
        return self.ids.index(self.chosen)

    @cached_property
    def digest(self) -> str:
        """What changes with the X-rays, their order and their captions."""
        return hashlib.blake2b("\n".join(self.captions.values()).encode(), digest_size=8).hexdigest()

    def at(self, position: int) -> Listed | None:
        """Return the same list with the X-ray at a place chosen, counted from 1 on; None where there is no such."""
        return replace(self, chosen=self.ids[position - 1]) if 1 <= position <= len(self.ids) else None

    def neighbours(self) -> list[str]:
        """Return the ids around the chosen one, as many as a strip shows."""
        start = max(0, min(self.place - STRIP // 2, len(self.ids) - STRIP))
        return self.ids[start : start + STRIP]


def listed(
    data: Manifest,
    split: str,
    predictions: pd.DataFrame | None,
    network: XrayClassifier,
    *,
    filters: DeltaGenerator,
    where: DeltaGenerator | Sequence[DeltaGenerator],
) -> Listed:
    """Let the user choose an X-ray of a split; where the filters leave none, say so and end there.

    ``filters`` takes the filters, ``where`` the list itself, between its buttons where there are three cells for it.
    """
    every, of_findings = _every(data, split, predictions, network)
    with filters:
        rows = _filtered(every, of_findings)
    return _chosen(data, split, every, rows, where if isinstance(where, Sequence) else [where])


def _every(
    data: Manifest, split: str, predictions: pd.DataFrame | None, network: XrayClassifier | None
) -> tuple[pd.DataFrame, bool]:
    """Return all rows of a split, and whether they are of a network of several findings.

    Those that are ``apart``, to be listed last, may have no prediction: the network does not know what the data say.
    """
    if network is not None and network.card.task == MULTI_LABEL:
        rows = rows_of_findings(data, split, predictions, network)
        return rows.assign(apart=rows["label"] == ""), True
    rows = rows_of(data, split, predictions)
    return rows.assign(apart=~rows["label"].isin(network.classes if network is not None else data.classes)), False


def _chosen(
    data: Manifest,
    split: str,
    every: pd.DataFrame,
    rows: pd.DataFrame,
    cells: Sequence[DeltaGenerator],
) -> Listed:
    """Let the user choose one of ``rows`` in one cell, or between two cells for the buttons before and after."""
    if rows.empty and not address.asks("image"):
        page.nothing_yet("No X-ray matches these filters. Clear one of them.")
    captions = dict(zip(rows["image_id"], map(_caption, rows.to_dict("records")), strict=True))
    ids = rows["image_id"].tolist()
    with cells[len(cells) // 2]:
        label = f"X-ray (of {len(ids):,})"
        chosen = pick.from_url(
            label,
            ids,
            captions,
            "image",
            missing=lambda image_id: _missing(data, split, every, image_id),
            label_visibility="collapsed",
        )
    found = Listed(ids, captions, chosen)
    if len(cells) == 3:
        _step(cells[0], ids, found.place - 1, ":material/chevron_left:", "Previous X-ray", "previous")
        _step(cells[2], ids, found.place + 1, ":material/chevron_right:", "Next X-ray", "next")
    return found


def _missing(data: Manifest, split: str, rows: pd.DataFrame, image_id: str) -> str:
    """Return why an X-ray that an address names is not offered; where it is elsewhere, a button shows it there."""
    short = repr(image_id[:80])
    if image_id in set(rows["image_id"]):

        def clear() -> None:
            address.forget("label", "predicted", "errors")
            address.ask(image=image_id)

        address.refuse(
            "image",
            f"The X-ray {short} does not match the filters of this address.",
            "Clear the filters",
            clear,
        )
    if image_id not in data.ids:
        return f"There is no X-ray {short} in this data set."
    actual = str(data.row(image_id)["split"])
    if actual == split:
        return f"The network has no prediction for the X-ray {short}."
    if not actual:
        return f"The X-ray {short} belongs to no split of this data set."
    return address.refuse(
        "image",
        f"The X-ray {short} is in the split {actual!r} of this data set, not in {split!r}.",
        f"Show it in {actual}",
        lambda: address.ask(split=actual, image=image_id),
    )


def _filtered(rows: pd.DataFrame, of_findings: bool) -> pd.DataFrame:
    measured = "predicted" in rows
    every = ORDERS_OF_FINDINGS if of_findings else ORDERS
    orders = list(every)[: None if measured else 1]
    labels = sorted({name for names_of_row in rows["names"] for name in names_of_row} - {""})
    names = sorted({name for names_of_row in rows["said"] for name in names_of_row}) if measured else []
    # Before the split is predicted there is less to sort by; what was chosen then is no choice among all orders.
    key = "browse:order" if measured else "browse:order:before"
    pick.arrive(key, "sort", orders[0], allowed=orders)
    pick.arrive_some("browse:label", "label", labels)
    pick.arrive_some("browse:predicted", "predicted", names)
    pick.arrive(
        "browse:errors", "errors", False, pick.switched, (False, True) if measured else (False,), accepted="0, 1"
    )
    order = st.selectbox("Sort by", orders, key=key)
    titles = ("Findings", "Above threshold") if of_findings else ("True class", "Predicted")
    wanted_labels = st.multiselect(titles[0], labels, key="browse:label", placeholder="any")
    wanted_names = st.multiselect(titles[1], names, key="browse:predicted", placeholder="any", disabled=not measured)
    only = st.toggle("Only errors", key="browse:errors", disabled=not measured) and measured
    pick.leave("sort", order, orders[0])
    pick.leave_some("label", wanted_labels)
    pick.leave_some("predicted", wanted_names)
    pick.leave("errors", str(int(only)), "0")
    return every[order](narrowed(rows, wanted_labels, wanted_names, only))


def _caption(row: Mapping[str, Any]) -> str:
    names = row["names"]
    more = f" +{len(names) - 1}" if len(names) > 1 else ""
    label = f"{names[0]}{more}" if row["label"] else "unlabelled"
    if "predicted" not in row:
        return f"{label} · {row['image_id']}"
    verdict = f"{label} → {row['predicted']} {row['confidence']:.2f}"
    wrong = not row["correct"] and row["label"] and "errors" not in row  # of many findings some are always wrong
    return f"{verdict}{' ✗' if wrong else ''} · {row['image_id']}"


def _step(column: DeltaGenerator, ids: list[str], to: int, icon: str, text: str, name: str) -> None:
    inside = 0 <= to < len(ids)
    target = ids[to] if inside else ""
    column.button(
        "",
        icon=icon,
        help=text,
        key=f"browse:{name}",
        disabled=not inside,
        on_click=go,
        args=(target,),
        width="stretch",
    )


def go(image_id: str) -> None:
    """Choose an X-ray of the list: for use in a callback."""
    st.session_state["pick:image"] = image_id


def strip(data: Manifest, listed: Listed) -> None:
    """Show the neighbours of the chosen X-ray, each with a button that chooses it."""
    for place, (cell, image_id) in enumerate(zip(st.columns(STRIP), listed.neighbours(), strict=False)):
        with cell:
            here_it_is = image_id == listed.chosen
            st.button(
                "Shown" if here_it_is else "Show",
                key=f"browse:strip:{place}",
                type="primary" if here_it_is else "secondary",
                on_click=go,
                args=(image_id,),
                width="stretch",
            )
            # Below the button, since captions are of different heights.
            caption = _two_lines(viewer.plain(listed.captions[image_id]))
            st.image(load.thumbnail(data, image_id), caption=caption, alt=image_id, width="stretch")


def _two_lines(caption: str) -> str:
    """Return the verdict of a caption broken after its arrow, as it fits below a small picture."""
    verdict = caption.split(" · ")[0].replace(" 0.", " .").replace(" ✗", "✗")
    return verdict.replace("→ ", "→  \n")
