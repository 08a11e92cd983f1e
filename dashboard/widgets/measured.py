"""What a measure rests on: which X-rays were measured, which were left out and why, and the buttons that mend it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from cxr.evaluation.provenance import in_words, provenance_of
from cxr.evaluation.seen import ALL_SEEN, OWN_SPLIT, seen_in_words
from cxr.evaluation.selection import EVERYTHING, NOT_KNOWN
from cxr.models.seen_images import CHOSEN, TRAINED
from cxr.runs import Run, Slurm, start

from widgets import address, page, viewer, where

OLD_FINDINGS = (
    "This is a multi-label network, but an older version evaluated this run as if its findings excluded each other. "
    "Its accuracy and confusion matrix mean nothing and are not shown. Measure it again."
)


REACH = (
    "Intervals are over patients. Where few patients have a class and their X-rays resemble each other, those of AUC "
    "and average precision are too short: in simulations they contained the true value in as few as 85 of 100 data "
    "sets."
)


def show(run: Run, network: Mapping[str, str], split: str) -> None:
    """Say what was measured and what was left out of it, and offer to measure the rest.

    ``network`` names the network as the job does: ``{"run": id}`` or ``{"weights": name}``. What was seen before is
    said of ``split`` alone.
    """
    results = run.results() or {}
    left_out = results.get("left_out") or {}
    _show_seen(results.get("seen") or {}, split)
    sentences = seen_in_words(results.get("seen"))
    notes = [_as_markdown(line) for line in results.get("notes") or () if line not in sentences]
    strange = (left_out.get("by_reason") or {}).get("unknown-label", 0)
    if strange:
        st.warning("  \n".join(notes), icon=":material/rule:")
    elif notes:
        st.caption("  \n".join(notes))
    likely = left_out.get("likely") or {}
    elsewhere = sum((left_out.get("by_split") or {}).values())
    elsewhere *= (results.get("measured") or {}).get("why") == NOT_KNOWN
    seen = _seen_in_split(results.get("seen") or {}, split)
    if not (likely or elsewhere or seen):
        return
    for_buttons, for_place = st.columns(2)
    with for_place:
        place = where.choose("evaluate", "measured")
    with for_buttons.container(horizontal=True):
        if likely and st.button(_as_words(likely), icon=":material/sync_alt:", key=f"measured:alias:{run.id}"):
            _measure_again(run, network, place, aliases={**(results.get("aliases") or {}), **likely})
        words = f"Measure the other {page.counted(elsewhere, 'X-ray')} too"
        if elsewhere and st.button(words, icon=":material/select_all:", key=f"measured:all:{run.id}"):
            _measure_again(run, network, place, splits=[EVERYTHING])
        included = bool(run.spec["params"].get("include_seen"))
        words = f"Measure {'without' if included else 'also'} the {page.counted(seen, 'X-ray')} seen before"
        if seen and st.button(words, icon=":material/visibility:", key=f"measured:seen:{run.id}"):
            _measure_again(run, network, place, include_seen=not included)


def _seen_in_split(seen: Mapping[str, Any], split: str) -> int:
    """Return how many X-rays of a split are not new to the network, where they can be counted in or left out."""
    counts = (seen.get("splits") or {}).get(split) or {}
    return 0 if counts.get("why") in (ALL_SEEN, OWN_SPLIT) else sum(counts.get(use, 0) for use in (TRAINED, CHOSEN))


def _show_seen(seen: Mapping[str, Any], split: str) -> None:
    """Say which X-rays of a split are not new to the network, and list them; of old results nothing is known."""
    lines = [_as_markdown(line) for line in seen_in_words(seen, split)]
    rows = [
        {"image": image_id, "seen": "; ".join(row["stages"])}
        for row in seen.get("images") or ()
        if row["split"] == split
        for image_id in row["ids"]
    ]
    if not rows:
        if lines:
            st.caption("  \n".join(lines))
        return
    st.warning("  \n".join(lines), icon=":material/visibility:")
    with st.expander(f"The {page.counted(len(rows), 'X-ray')} that the network has seen", icon=":material/list:"):
        st.dataframe(rows, hide_index=True)


def rests_on(run: Run) -> None:
    """Say in small letters when a run's figures were made, with what, of which network and on which data."""
    st.caption(viewer.plain(in_words(provenance_of(run))))


def is_of_an_older_version(run: Run, network: Mapping[str, str]) -> bool:
    """Return whether a run of a network of several findings was measured as if they excluded each other."""
    from cxr.errors import CxrError
    from cxr.networks import network_card

    if "task" in (run.results() or {}):
        return False
    try:
        card = network_card(next(iter(network.values())))
    except (CxrError, OSError):
        return False  # the network is gone, and with it whatever could tell
    return card is not None and card.task == "multi-label"


def of_an_older_version(run: Run, network: Mapping[str, str]) -> None:
    """Say that a run's figures do not hold, and offer to measure again; ends the page."""
    st.warning(OLD_FINDINGS, icon=":material/history:")
    place = where.choose("evaluate", "measured")
    if st.button("Measure it again", icon=":material/play_arrow:", key=f"measured:again:{run.id}"):
        _measure_again(run, network, place)
    raise address.Ended


def _as_markdown(line: str) -> str:
    """Return a sentence whose names of labels are no Markdown, but whose commands in backticks are."""
    parts = line.split("`")
    return "".join(f"`{part}`" if k % 2 else viewer.plain(part) for k, part in enumerate(parts))


def _as_words(likely: Mapping[str, str]) -> str:
    return "Measure with " + ", ".join(f"{label} as {name}" for label, name in likely.items())


def _measure_again(run: Run, network: Mapping[str, str], place: Slurm | None, **changes: Any) -> None:
    params = run.spec["params"]
    same_params = {
        name: params[name]
        for name in ("splits", "aliases", "include_seen")
        if params.get(name) and run.kind == "evaluate"
    }
    again = {**network, "manifest": params["manifest"], **same_params, **changes}
    address.forget("split", "finding", "outcome", "cell", "page")
    address.ask(run=start("evaluate", again, name=run.name, where=place).id)
    st.rerun()
