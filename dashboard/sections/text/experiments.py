"""Text experiments of whole splits: setting one up, starting it, choosing and watching it."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from cxr.experiments.masking.conditions import DEFAULT_DRAWS, MOST_DRAWS
from cxr.experiments.masking.settings import Setting, is_of_whole_split
from cxr.json_types import JsonObject
from cxr.runs import Run, Slurm, list_runs
from cxr.text import DEFAULT_MODE, MASK_MODES

from sections.text.tokens import MaskedBy
from services import load
from widgets import address, page, pick
from widgets import run_state as run_parts
from widgets.run_state import start
from widgets.subject import Subject, name_of

KIND = "text-experiment"


def settings(how: MaskedBy) -> JsonObject:
    """Let the user choose the rest of an experiment; returns its parameters, ``modes`` with that of ``how`` first."""
    other_modes = [name for name in MASK_MODES if name != how["mode"]]
    left, right = st.columns([5, 1], vertical_alignment="bottom")
    pick.arrive_some("experiments:modes", "also", other_modes)
    also = left.pills(
        "Also mask by",
        other_modes,
        selection_mode="multi",
        format_func=lambda name: MASK_MODES[name].title,
        key="experiments:modes",
        help=(
            "Each way of masking leaves a different kind of patch. An effect that all of them show is the safest. "
            "Each one takes extra time."
        ),
    )
    pick.leave_some("also", also)
    few, many = 1, MOST_DRAWS
    pick.arrive("experiments:draws", "draws", DEFAULT_DRAWS, int, range(few, many + 1), accepted=f"{few} to {many}")
    help_ = "How often random boxes are drawn, as a control. More draws make the control more precise and take longer."
    draws = int(right.number_input("Random draws", 1, MOST_DRAWS, key="experiments:draws", help=help_))
    pick.leave("draws", str(draws), str(DEFAULT_DRAWS))
    params: JsonObject = {"modes": [how["mode"], *also], "margin": how["margin"], "draws": draws}
    return params | choose_seen()


def choose_seen() -> JsonObject:
    """Let the user keep X-rays that the network has seen; returns ``include_seen`` if so."""
    pick.arrive("text:include-seen", "seen", False, pick.switched, accepted="0, 1")
    help_ = "By default X-rays that the network was trained or selected on, and those of their patients, are left out."
    include = st.checkbox("Include X-rays that the network has seen", key="text:include-seen", help=help_)
    pick.leave("seen", str(int(include)), "0")
    return {"include_seen": True} if include else {}


def seen_words(params: JsonObject) -> list[str]:
    """Return the option of the command that keeps what was seen."""
    return ["--include-seen"] if params.get("include_seen") else []


def begin(subject: Subject, how: JsonObject, place: Slurm | None) -> None:
    """Start an experiment on the chosen split and show it."""
    params = {"model": subject.network_ref, "manifest": subject.manifest_path, "split": subject.split, **how}
    address.ask(run=start(KIND, params, where=place).id)
    st.rerun()


def complete_address(look: str) -> None:
    """Have an address that names an experiment and no network name what belongs to it, and open ``look``."""
    run_id = address.asks("run")
    if run_id is None or address.asks("model") is not None:
        return
    run = next((run for run in list_runs(kind=KIND) if run.id == run_id), None)
    if run is None:
        address.refuse("run", pick.missing_run(run_id, (KIND,)), "Show the page without it")
    parameters = {"look": look, **_subject_of(run)}
    address.ask(**{name: value for name, value in parameters.items() if address.asks(name) is None})


def _subject_of(run: Run) -> dict[str, str]:
    """Return the parameters of an address that name what an experiment is on."""
    setting = Setting.of(run.params)
    return {"model": setting.model, "data": name_of(setting.manifest), "split": setting.split}


def choose(subject: Subject) -> Run:
    """Let the user choose an experiment, those of the present choice first; without any, say what to do."""
    runs = list_runs(kind=KIND)
    matching = [run for run in runs if _concerns(run, subject)]
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    n_others = len(runs) - len(matching)
    help_ = "Also lists experiments on other networks, data sets and splits"
    pick.arrive("experiments:all", "all", False, pick.switched, accepted="0, 1")
    show_all = n_others > 0 and right.toggle(f"All ({len(runs)})", key="experiments:all", help=help_)
    pick.leave("all", str(int(show_all)), "0")
    listed = runs if show_all else matching
    if not listed and not address.asks("run"):
        more = f" {n_others} on other networks or data: use the switch above to list them." if n_others else ""
        page.nothing_yet(f"No experiment on this network and split yet. Start one: it runs in the background.{more}")
    listed = sorted(listed, key=lambda run: not is_of_whole_split(run.spec["params"]))  # the split's own result first
    labels = {run.id: _describe(run, named=show_all) for run in listed}
    by_id = {run.id: run for run in listed}
    with left:
        return by_id[pick.from_url("Experiment", list(by_id), labels, "run", missing=_missing)]


def _missing(run_id: str) -> str:
    """Return why an experiment is not among those listed; one on another network, data set or split can be opened."""
    run = next((run for run in list_runs(kind=KIND) if run.id == run_id), None)
    if run is None:
        return pick.missing_run(run_id, (KIND,))
    where = _subject_of(run)
    on = f"the network {where['model']!r}, the data set {where['data']!r} and its split {where['split']!r}"
    text = f"The experiment {run_id!r} was made on {on}, which are not chosen above."
    return address.refuse("run", text, "Open it with its network and data", lambda: address.ask(run=run_id, **where))


def _concerns(run: Run, subject: Subject) -> bool:
    params = run.spec["params"]
    same_data = Path(params.get("manifest", "")).resolve() == subject.manifest_path.resolve()
    return same_data and (params.get("model"), params.get("split")) == (subject.network_ref, subject.split)


def _describe(run: Run, *, named: bool) -> str:
    params = run.spec["params"]
    where = (
        f"{params.get('model')} on {Path(params['manifest']).parent.name} {params.get('split', 'test')} · "
        if named
        else ""
    )
    named_modes = [name for name in params.get("modes") or [params.get("mode")] if name in MASK_MODES] or [DEFAULT_MODE]
    mode = MASK_MODES[named_modes[0]].title + (f" + {len(named_modes) - 1}" if len(named_modes) > 1 else "")
    margin = f"margin {params['margin']:g} · " if "margin" in params else ""
    # The state stands below: a label that changes while its entry is chosen stays as it was in the browser.
    return f"{where}{_part(params)}{mode} · {margin}{load.local_time(run.spec['created'])}"


def _part(params: JsonObject) -> str:
    """Return of how many X-rays an experiment is that is not of its whole split."""
    if params.get("ids"):
        return f"{page.counted(len(params['ids']), 'picked X-ray')} · "
    return "" if is_of_whole_split(params) else f"first {page.counted(params['n'], 'X-ray')} · "


def watch(run: Run) -> None:
    """Show state and buttons of an experiment, refreshed as long as it is active; the whole page follows its end."""
    run_parts.watch(run, key="experiment")
