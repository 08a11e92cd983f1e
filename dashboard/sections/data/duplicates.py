"""X-rays that are in a data set more than once: what the last search found, and how to make one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pandas as pd
import streamlit as st

from cxr.data import Manifest
from cxr.data.audit.duplicates.data_set import PAIRS_FILE, group_found
from cxr.data.library import DataSet, DuplicateFacts, facts_beside
from cxr.experiments.duplicates.results import KIND
from cxr.runs import ACTIVE

from widgets import gallery, page, run_state, viewer, where
from widgets.access import acts
from widgets.run_state import start

_SIDES = ("image_id", "label", "split", "patient_id")
_REST = {"transform": "how b differs from a", "score": "agreement"}


def show(chosen: DataSet, data: Manifest) -> Sequence[object]:
    """Show what the last search of a data set found, and how to look or to group; return the command that does it."""
    st.header("Duplicates", anchor=False)
    facts = facts_beside(chosen.manifest_path).get("duplicates")
    run = run_state.newest_of_whole(KIND, chosen.manifest_path)
    state = run.status()["state"] if run is not None else ""
    if facts is None:
        st.caption(
            "Not looked for yet. One X-ray may be here twice: cropped, turned a little, inverted, brightened or saved "
            "again. If it is in two splits, the figures on the test split are too good."
        )
    else:
        _show_found(chosen, facts, data)
    place = where.choose(KIND)
    label = f"Look for duplicates among these {len(data):,} X-rays" if facts is None else "Look for duplicates again"
    kind: Literal["primary", "secondary"] = "primary" if facts is None else "secondary"
    if state not in ACTIVE and acts.button(label, icon=":material/content_copy:", type=kind, key="duplicates:start"):
        start(KIND, {"manifest": chosen.manifest_path}, where=place)
        st.rerun()
    if run is not None and state != "finished":
        run_state.watch(run, key="duplicates")
    group = bool(facts and facts["pairs"] and not facts["grouped"])
    return ("cxr", "data", "duplicates", chosen.name, *["--group"] * group, *where.words(place))


def _show_found(chosen: DataSet, facts: DuplicateFacts, data: Manifest) -> None:
    """Show what was found; where new splits would not keep it together, offer to let them."""
    st.caption(in_words(facts))
    pairs = _pairs(chosen)
    if pairs is not None and len(pairs):
        _pictures(groups_of(pairs.iloc[:, :2].to_numpy().tolist()), data)
        st.dataframe(pairs, hide_index=True, height=min(320, 38 + 35 * len(pairs)))
    if not facts["pairs"]:
        return
    if not facts["grouped"]:
        st.warning("New splits do not keep them together yet.", icon=":material/call_split:")
        if acts.button("Keep them together in new splits", icon=":material/link:", key="duplicates:keep"):
            group_found(chosen.name)
            st.rerun()
    elif apart := len(data.straddling()["duplicate group"]):
        st.warning(
            f"{page.counted(apart, 'group')} {'is' if apart == 1 else 'are'} in more than one split: make the splits "
            "again, under *Counts and splits*.",
            icon=":material/call_split:",
        )


def groups_of(pairs: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the X-rays that pairs join, group by group, in the order in which the pairs name them."""
    groups: dict[str, list[str]] = {}
    for a, b in pairs:
        one, other = groups.setdefault(a, [a]), groups.setdefault(b, [b])
        if one is not other:
            one += other
            groups.update(dict.fromkeys(other, one))
    return list({id(group): group for group in groups.values()}.values())


def _pictures(groups: Sequence[Sequence[str]], data: Manifest) -> None:
    """Show the X-rays of each group beside each other, as far as they are still in the data set."""
    number = {i: n for n, group in enumerate(groups, 1) for i in group if i in data.positions}

    def caption(image_id: str) -> str:
        row = data.row(image_id)
        parts = (f"group {number[image_id]}", row["label"], row["split"])
        return viewer.plain(" · ".join(str(part) for part in parts if part))

    gallery.grid(data, list(number), caption, key="duplicates", rows=2, picker_below=True, param="pairs-page")


def in_words(facts: DuplicateFacts) -> str:
    """Return what was found in one sentence."""
    if not facts["pairs"]:
        return f"None of {page.counted(facts['compared'], 'X-ray')} is here twice."
    kept = " New splits keep each group together." if facts["grouped"] else ""
    return (
        f"{facts['images']:,} of {page.counted(facts['compared'], 'X-ray')} are here more than once: "
        f"{page.counted(facts['pairs'], 'pair')} in {page.counted(facts['groups'], 'group')}, "
        f"{facts['exact']:,} with the same pixels.{kept}"
    )


def _pairs(chosen: DataSet) -> pd.DataFrame | None:
    """Return the pairs that were written, those of two splits first, then those of two labels."""
    file = chosen.folder / PAIRS_FILE
    if not file.is_file():
        return None
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    images, *others = ([f"{name}_{side}" for side in "ab"] for name in _SIDES)
    columns = [*images, *_REST, *(column for pair in others for column in pair)]
    if not set(columns) <= set(table.columns):  # written by somebody else
        return None
    together = table["split_a"].eq(table["split_b"]).astype(int), table["label_a"].eq(table["label_b"]).astype(int)
    order = pd.DataFrame(dict(enumerate(together))).sort_values([0, 1], kind="stable").index
    shown = table.loc[order, [*images, *_REST]].rename(
        columns=dict(zip(images, ("image a", "image b"), strict=True)) | _REST
    )
    for name, (one, other) in zip(_SIDES[1:], others, strict=True):
        both = zip(table.loc[order, one], table.loc[order, other], strict=True)
        shown[name.removesuffix("_id")] = [a if a == b else f"{a or '(none)'} / {b or '(none)'}" for a, b in both]
    return shown
