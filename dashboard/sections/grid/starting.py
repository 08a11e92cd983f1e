"""Runs on X-rays of the grid: on those that are selected, those that the filters leave, or the whole split."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from cxr.explain.heatmap import Method
from cxr.explain.settings import ExplainParams
from cxr.formatting import xrays
from cxr.json_types import JsonObject
from cxr.runs import Run, list_runs

from sections.explorer import heatmap_facts
from widgets import locked, page, pages, run_state, where
from widgets.access import acts
from widgets.run_state import start
from widgets.subject import Subject

_MASKED = "grid:masked"  # the experiment that was started here
_TEXT = "text-experiment"


@dataclass(frozen=True)
class Selection:
    """X-rays of the grid that a run can be made of; ``csv`` is the file with their ids that the grid gives."""

    chosen: Subject
    ids: tuple[str, ...]
    some: bool
    csv: str

    @property
    def is_whole(self) -> bool:
        """Whether they are all of the split, and not because each was selected."""
        return not self.some and len(self.ids) == len(self.chosen.data.select(split=self.chosen.split))

    @property
    def words(self) -> str:
        """What they are called."""
        if self.is_whole:
            return "the whole split"
        return "the selected X-rays" if self.some else "the X-rays that are shown"

    @property
    def params(self) -> JsonObject:
        """What a run is asked for: network, data and X-rays."""
        return {
            "model": self.chosen.network_ref,
            "manifest": self.chosen.manifest_path,
            "ids": None if self.is_whole else list(self.ids),
        }

    @property
    def command_words(self) -> list[str]:
        """What the command line needs to work on the same X-rays."""
        ids = [] if self.is_whole else ["--ids", self.csv]
        return ["--data", self.chosen.command_data, "--split", self.chosen.split, *ids]

    def look(self, key: str) -> JsonObject:
        """Let the user open the split if it is locked; returns the run's parameters for it."""
        return locked.choose_open(self.chosen.manifest_path, [self.chosen.split] if self.chosen.split else [], key)

    def command(self, *words: object) -> None:
        """Show a command on the same X-rays, and where it has their ids from."""
        page.command(*words, what="This run")
        if not self.is_whole:
            st.caption(f"`{self.csv}` is what *CSV* above saves.")


def explain(selection: Selection, method: Method) -> None:
    """Offer to explain the X-rays."""
    chosen = selection.chosen
    st.caption(f"Heatmaps of {selection.words}, by {method.composite}. The grid shows them once they are there.")
    look = selection.look("grid")
    place = where.choose("explain", key="grid")
    params = {
        **look,
        **selection.params,
        "split": chosen.split or None,
        "composite": method.composite,
        "bias": method.bias,
        "options": dict(method.options),
    }
    n = page.counted(len(selection.ids), "X-ray")
    if acts.button(f"Explain {n}", icon=":material/play_arrow:", key="grid:explain"):
        start("explain", params, where=place)
        st.rerun()
    words = [*selection.command_words, *heatmap_facts.command_words(method), *locked.words(look), *where.words(place)]
    selection.command("cxr", "explain", chosen.network_ref, *words)


def mask_text(selection: Selection) -> None:
    """Offer the experiment that masks the text of the X-rays."""
    chosen = selection.chosen
    alone = "" if selection.is_whole else " The result is of these X-rays alone and does not stand for the split."
    st.caption(f"Masks the text of {selection.words} and compares predictions, beside random boxes.{alone}")
    look = selection.look("grid-text")
    help_ = "By default X-rays that the network was trained or selected on, and those of their patients, are left out."
    if st.checkbox("Include X-rays that the network has seen", key="grid:include-seen", help=help_):
        look |= {"include_seen": True}
    place = where.choose(_TEXT, key="grid-text")
    n = page.counted(len(selection.ids), "X-ray")
    if acts.button(f"Mask the text of {n}", icon=":material/play_arrow:", key="grid:mask"):
        run = start(_TEXT, {**look, **selection.params, "split": chosen.split}, where=place)
        st.session_state[_MASKED] = run.id
        st.rerun()
    seen = ["--include-seen"] if look.get("include_seen") else []
    words = [*selection.command_words, *seen, *locked.words(look), *where.words(place)]
    selection.command("cxr", "text", "experiment", chosen.network_ref, *words)
    one = len(selection.ids) == 1
    st.page_link(
        pages.TEXT,
        label="Mask its text here and now" if one else "Other ways of masking, for the whole split",
        icon=":material/text_fields:",
        query_params={**chosen.link, **({"image": selection.ids[0]} if one else {"look": "Whole split"})},
    )


def watch_masking(chosen: Subject) -> None:
    """Show the experiment that was started on X-rays of this grid, and lead to its result."""
    run = next((run for run in list_runs(kind=_TEXT) if run.id == st.session_state.get(_MASKED)), None)
    if run is None or run.spec["params"]["model"] != chosen.network_ref:
        return
    run_state.watch(run, key="grid:masked")
    picked = run.spec["params"].get("ids")
    st.page_link(
        pages.TEXT,
        label=f"The text of {xrays(len(picked)) if picked else 'the whole split'}: open the experiment",
        icon=":material/text_fields:",
        query_params={**chosen.link, "look": "Whole split", "run": run.id},
    )


def method_of(run: Run | None) -> Method:
    """Return how a run explains, the default without one."""
    return ExplainParams.of(run.spec["params"]).method() if run is not None else Method.of()
