"""What a measure rests on: which X-rays were measured, which were left out and why, and the buttons that mend it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from cxr.evaluation.provenance import in_words, provenance_of
from cxr.evaluation.results import SeenRecord, evaluation_results
from cxr.evaluation.seen import ALL_SEEN, OWN_SPLIT, n_seen_of, seen_in_words
from cxr.evaluation.selection import EVERYTHING, NOT_KNOWN
from cxr.runs import Run

from services import field_names
from widgets import address, page, viewer, where
from widgets.access import acts
from widgets.run_state import start

OLD_FINDINGS = (
    "This is a multi-label network, but an older version evaluated this run as if its findings excluded each other. "
    "Its accuracy and confusion matrix mean nothing and are not shown. Measure it again."
)


REACH = (
    "Intervals are over patients. Where few patients have a class and their X-rays resemble each other, those of AUC "
    "and average precision are too short: in simulations they contained the true value in as few as 91 of 100 data "
    "sets."
)


def unknown_labels(run: Run) -> int:
    """Return how many X-rays were left out for a label that the network does not know."""
    left_out = evaluation_results(run).get("left_out")
    return left_out["by_reason"].get("unknown-label", 0) if left_out else 0


def warn_of_seen(run: Run, split: str) -> None:
    """Warn of X-rays of a split that are not new to the network."""
    seen = evaluation_results(run).get("seen")
    if seen and _rows_of_seen(seen, split):
        st.warning("  \n".join(map(_said, seen_in_words(seen, split))), icon=":material/visibility:")


def show(run: Run, network: Mapping[str, str], split: str) -> None:
    """Say what was measured and what was left out of it, and offer to measure the rest.

    ``network`` names the network as the job does: ``{"run": id}`` or ``{"weights": name}``. What was seen before is
    said of ``split`` alone.
    """
    results = evaluation_results(run)
    left_out, seen = results.get("left_out"), results.get("seen")
    if seen:
        _list_seen(seen, split)
    # Stored with the wording of the version that measured; where it is not, today's is the best guess.
    sentences = results.get("seen_notes") or seen_in_words(seen)
    notes = [_said(line) for line in results.get("notes") or () if line not in sentences]
    if unknown_labels(run):
        st.warning("  \n".join(notes), icon=":material/rule:")
    elif notes:
        st.caption("  \n".join(notes))
    likely = left_out["likely"] if left_out else {}
    measured = results.get("measured")
    elsewhere = sum(left_out["by_split"].values()) if left_out else 0
    elsewhere *= measured is not None and measured["why"] == NOT_KNOWN
    n_seen = _seen_in_split(seen, split)
    if not (likely or elsewhere or n_seen):
        return
    for_buttons, for_place = st.columns(2)
    with for_place:
        place = where.choose_with_shards("evaluate", "measured")
    with for_buttons.container(horizontal=True):
        if likely and acts.button(_as_words(likely), icon=":material/sync_alt:", key=f"measured:alias:{run.id}"):
            _measure_again(run, network, place, aliases={**(results.get("aliases") or {}), **likely})
        words = f"Measure the other {page.counted(elsewhere, 'X-ray')} too"
        if elsewhere and acts.button(words, icon=":material/select_all:", key=f"measured:all:{run.id}"):
            _measure_again(run, network, place, splits=[EVERYTHING])
        included = bool(run.spec["params"].get("include_seen"))
        words = f"Measure {'without' if included else 'also'} the {page.counted(n_seen, 'X-ray')} seen before"
        if n_seen and acts.button(words, icon=":material/visibility:", key=f"measured:seen:{run.id}"):
            _measure_again(run, network, place, include_seen=not included)


def _seen_in_split(seen: SeenRecord | None, split: str) -> int:
    """Return how many X-rays of a split are not new to the network, where they can be counted in or left out."""
    counts = seen["splits"].get(split) if seen else None
    if counts is None or counts.get("why") in (ALL_SEEN, OWN_SPLIT):
        return 0
    return n_seen_of(counts)


def _rows_of_seen(seen: SeenRecord, split: str) -> list[dict[str, str]]:
    return [
        {"image": image_id, "seen": "; ".join(row["stages"])}
        for row in seen["images"]
        if row["split"] == split
        for image_id in row["ids"]
    ]


def _list_seen(seen: SeenRecord, split: str) -> None:
    """List the X-rays of a split that are not new to the network, or say that none is."""
    rows = _rows_of_seen(seen, split)
    lines = seen_in_words(seen, split)
    if rows:
        with st.expander(f"The {page.counted(len(rows), 'X-ray')} that the network has seen", icon=":material/list:"):
            st.dataframe(rows, hide_index=True)
    elif lines:
        st.caption("  \n".join(map(_said, lines)))


def _said(line: str) -> str:
    """Return a sentence of a measure as Markdown, with the names of this page's buttons."""
    return viewer.on_page(line, field_names.EVALUATION)


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
    place = where.choose_with_shards("evaluate", "measured")
    if acts.button("Measure it again", icon=":material/play_arrow:", key=f"measured:again:{run.id}"):
        _measure_again(run, network, place)
    raise address.Ended


def _as_words(likely: Mapping[str, str]) -> str:
    return "Measure with " + ", ".join(f"{label} as {name}" for label, name in likely.items())


def _measure_again(run: Run, network: Mapping[str, str], place: where.Place, **changes: Any) -> None:
    params = run.spec["params"]
    same_params = {
        name: params[name]
        for name in ("splits", "aliases", "include_seen")
        if params.get(name) and run.kind == "evaluate"
    }
    again = {**network, "manifest": params["manifest"], **same_params, **changes}
    address.forget("split", "finding", "outcome", "cell", "page", "class", "threshold", "prevalence", "slice")
    started = start("evaluate", again, name=run.name, where=place.slurm, shards=place.shards)
    address.ask(run=started.id)
    st.rerun()
