"""X-rays that are not what they seem: started in the background, then their pictures, the likeliest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pandas as pd
import streamlit as st

from cxr.data import Manifest
from cxr.data.audit.appearance.flags import IN_WORDS, KINDS, FlaggedImage
from cxr.data.library import DataSet
from cxr.experiments.appearance.job import KIND
from cxr.experiments.appearance.results import CheckResults, alarms_in_words, alarms_table, check_results, table_of
from cxr.runs import ACTIVE, Run

from services import load
from widgets import gallery, page, pick, viewer, where
from widgets import run_state as run_parts
from widgets.access import acts
from widgets.run_state import start

ALL = "all"


def show(chosen: DataSet, data: Manifest) -> Sequence[object]:
    """Show what the newest check of this data set flagged, or how to start one; return the command that does it."""
    st.header("Not what they seem", anchor=False)
    st.caption(
        "Are some X-rays inverted, turned, mirrored, lateral, not of a chest, of children among adults, empty or cut? "
        "A small model and a few rules look at each picture and list what to look at yourself."
    )
    run = run_parts.newest_of_whole(KIND, chosen.manifest_path)
    running = run is not None and run.status()["state"] in ACTIVE
    pictures = st.container()  # above the form: whoever comes back wants to see them
    place = where.choose_with_shards(KIND)
    label = f"Check these {len(data):,} X-rays" if run is None else "Check again"
    kind: Literal["primary", "secondary"] = "primary" if run is None else "secondary"
    if not running and acts.button(label, icon=":material/frame_inspect:", type=kind, key="check:start"):
        start(KIND, {"manifest": chosen.manifest_path}, where=place.slurm, shards=place.shards)
        st.rerun()
    command = ("cxr", "data", "check", chosen.name, *where.words(place))
    if run is None:
        return command
    with pictures:
        if run.status()["state"] != "finished":
            run_parts.watch(run, key="check")
        else:
            _show_results(chosen, run, check_results(run), data)
    return command


def _show_results(chosen: DataSet, run: Run, results: CheckResults, data: Manifest) -> None:
    there = set(data.ids)
    flags = [flag for flag in results["flags"] if flag["image_id"] in there]
    st.info(viewer.plain(results["finding"]), icon=":material/lightbulb:")
    changed = run.spec.get("manifest_hash") not in ("", data.hash())
    checked = f"Checked {load.local_time(run.spec['created'])}."
    st.caption(checked + (" The data set has changed since: check again." if changed else ""))
    if flags:
        _pictures(flags, data)
    with st.expander("How to read this"):
        st.caption("\n".join(f"- {viewer.plain(note)}" for note in results["notes"]))
        st.caption(viewer.plain(alarms_in_words(results["false_alarms"])))
        st.dataframe(pd.DataFrame(alarms_table(results["false_alarms"])), hide_index=True)
    if results["left_out"]:
        with st.expander(f"{page.counted(len(results['left_out']), 'image')} could not be read"):
            st.dataframe(pd.DataFrame(results["left_out"]), hide_index=True)
    if flags:
        page.csv_button("All flags as CSV", table_of(flags, data), f"flags_{run.id}")
        st.caption(
            "Nothing is removed. This command writes a manifest without the flagged X-rays, which can be imported as a "
            "data set; `--kind mirrored` leaves out that kind alone:"
        )
        page.command_line("cxr", "data", "check", chosen.name, "--without", f"{chosen.name}-checked.csv")


def _pictures(flags: list[FlaggedImage], data: Manifest) -> None:
    """Show the flagged X-rays of one kind or of all, the highest scores first."""
    counts = {kind: sum(flag["kind"] == kind for flag in flags) for kind in KINDS}
    options = [ALL, *(kind for kind in KINDS if counts[kind])]
    pick.arrive("check:kind", "flag", ALL, allowed=options)

    def named(kind: str) -> str:
        n = len({flag["image_id"] for flag in flags}) if kind == ALL else counts[kind]
        return f"{'All' if kind == ALL else IN_WORDS[kind]} ({n:,})"

    kind = str(st.selectbox("Flag", options, format_func=named, key="check:kind", width=260))
    pick.leave("flag", kind, ALL)
    own = [flag for flag in flags if kind in (ALL, flag["kind"])]
    by_image: dict[str, list[FlaggedImage]] = {}
    for flag in flags:
        by_image.setdefault(flag["image_id"], []).append(flag)

    def caption(image_id: str) -> str:
        return viewer.plain(" · ".join(f"{IN_WORDS[flag['kind']]} {flag['score']:.2f}" for flag in by_image[image_id]))

    ids = list(dict.fromkeys(flag["image_id"] for flag in own))
    gallery.grid(data, ids, caption, key="check", rows=2, picker_below=True, param="flags-page")
    with st.expander("In words"):
        table = [{"X-ray": flag["image_id"], "score": flag["score"], "what was seen": flag["sentence"]} for flag in own]
        st.dataframe(pd.DataFrame(table), hide_index=True, height=min(320, 38 + 35 * len(table)))
