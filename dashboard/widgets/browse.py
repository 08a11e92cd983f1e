"""Choosing one X-ray out of a split: sorted, filtered, with a strip of neighbours and previous and next buttons."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

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
    digest: str
    """What changes with the X-rays, their order and their captions."""

    @property
    def place(self) -> int:
        """Where in the list the chosen X-ray stands."""
        return self.ids.index(self.chosen)

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
    every = _every(id(data), split, id(predictions), id(network), (data, predictions, network))
    with filters:
        wanted = _filters(every)
    rows = _sorted(id(every), wanted, every)
    return _chosen(data, split, rows, where if isinstance(where, Sequence) else [where])


@dataclass(frozen=True)
class _Every:
    """All rows of a split; all sessions share them.

    ``apart`` are those that are listed last: the network does not know what the data say of them. ``of_findings`` tells
    whether they are of a network of several findings. ``labels`` and ``names`` are what they can be filtered by, and
    ``made_of`` is held, so that nothing else gets its identity.
    """

    rows: pd.DataFrame
    of_findings: bool
    labels: list[str]
    names: list[str]
    made_of: tuple[object, ...]


_MadeOf = tuple[Manifest, "pd.DataFrame | None", "XrayClassifier"]


@st.cache_resource(max_entries=16, show_spinner=False)
def _every(data: int, split: str, predictions: int, network: int, _made_of: _MadeOf) -> _Every:
    """Return all rows of a split, by the identities of what they are made of."""
    manifest, measured, model = _made_of
    of_findings = model.card.task == MULTI_LABEL
    if of_findings:
        rows = rows_of_findings(manifest, split, measured, model)
        rows = rows.assign(apart=rows["label"] == "")
    else:
        rows = rows_of(manifest, split, measured)
        rows = rows.assign(apart=~rows["label"].isin(model.classes))
    labels, names = _names_in(rows, "names"), _names_in(rows, "said") if measured is not None else []
    return _Every(rows, of_findings, labels, names, _made_of)


def _names_in(rows: pd.DataFrame, column: str) -> list[str]:
    return sorted({name for names_of_row in rows[column] for name in names_of_row} - {""})


@st.cache_resource(max_entries=16, show_spinner=False)
def _sorted(every: int, wanted: _Wanted, _every: _Every) -> _Sorted:
    """Return what a page lists, by the identity of the rows that are sorted and filtered."""
    orders = ORDERS_OF_FINDINGS if _every.of_findings else ORDERS
    rows = orders[wanted.order](narrowed(_every.rows, wanted.labels, wanted.names, wanted.only_errors))
    captions = dict(zip(rows["image_id"], map(_caption, rows.to_dict("records")), strict=True))
    digest = hashlib.blake2b("\n".join(captions.values()).encode(), digest_size=8).hexdigest()
    return _Sorted(rows["image_id"].tolist(), captions, digest, _every)


def _chosen(
    data: Manifest,
    split: str,
    listed: _Sorted,
    cells: Sequence[DeltaGenerator],
) -> Listed:
    """Let the user choose an X-ray in one cell, or between two cells for the buttons before and after."""
    ids, captions, every = listed.ids, listed.captions, listed.every.rows
    if not ids and not address.asks("image"):
        page.nothing_yet("No X-ray matches these filters. Clear one of them.")
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
    found = Listed(ids, captions, chosen, listed.digest)
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


class _Sorted(NamedTuple):
    """Ids in the order of a list, their captions, a digest of these, and the rows that were sorted and filtered.

    The rows are held, so that nothing else gets their identity.
    """

    ids: list[str]
    captions: dict[str, str]
    digest: str
    every: _Every


class _Wanted(NamedTuple):
    """What sorts and filters a list."""

    order: str
    labels: tuple[str, ...]
    names: tuple[str, ...]
    only_errors: bool


def _filters(every: _Every) -> _Wanted:
    measured, labels, names = "predicted" in every.rows, every.labels, every.names
    orders = list(ORDERS_OF_FINDINGS if every.of_findings else ORDERS)[: None if measured else 1]
    # Before the split is predicted there is less to sort by; what was chosen then is no choice among all orders.
    key = "browse:order" if measured else "browse:order:before"
    pick.arrive(key, "sort", orders[0], allowed=orders)
    pick.arrive_some("browse:label", "label", labels)
    pick.arrive_some("browse:predicted", "predicted", names)
    pick.arrive(
        "browse:errors", "errors", False, pick.switched, (False, True) if measured else (False,), accepted="0, 1"
    )
    order = st.selectbox("Sort by", orders, key=key)
    titles = ("Findings", "Above threshold") if every.of_findings else ("True class", "Predicted")
    wanted_labels = st.multiselect(titles[0], labels, key="browse:label", placeholder="any")
    wanted_names = st.multiselect(titles[1], names, key="browse:predicted", placeholder="any", disabled=not measured)
    only = st.toggle("Only errors", key="browse:errors", disabled=not measured) and measured
    pick.leave("sort", order, orders[0])
    pick.leave_some("label", wanted_labels)
    pick.leave_some("predicted", wanted_names)
    pick.leave("errors", str(int(only)), "0")
    return _Wanted(order, tuple(wanted_labels), tuple(wanted_names), only)


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
