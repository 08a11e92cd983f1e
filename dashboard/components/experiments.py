"""Text experiments of whole splits: starting one, watching it, and what it found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from cxr.data import Manifest, read_xray
from cxr.runs import ACTIVE, Run, list_runs, start
from cxr.text import MASK_MODES, TextBox, mask_text
from cxr.text.experiment import BOXES, CONDITIONS

from components import charts, load, page, pages, pick, viewer
from components import runs as run_parts
from components.subject import Subject, name_of
from components.tokens import CONDITION_TITLES

KIND = "text-experiment"
REFRESH_S = 1.5
PAPER = (
    "Bassi and Attux (2021) report that words on the X-rays influence the predictions and that removing them had “only "
    "a very small effect on accuracy”. An accuracy that stays says nothing about single images: look at those below."
)
_PER_PAGE = 6
_PICTURE_SIDE = 360
_SHOWN = ("changed predictions", "largest moves")


def begin(subject: Subject, how: dict[str, Any]) -> None:
    """Start an experiment on the chosen split and show it."""
    params = {"model": subject.reference, "manifest": subject.manifest_path, "split": subject.split, **how}
    run = start(KIND, params, name=f"text {subject.data_name} {subject.split}", manifest_hash=subject.data.hash())
    st.query_params["run"] = run.id
    st.rerun()


def choose(subject: Subject) -> Run:
    """Let the user choose an experiment, those of the present choice first; without any, say what to do."""
    every = list_runs(kind=KIND)
    mine = [run for run in every if _concerns(run, subject)]
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    others = len(every) - len(mine)
    help_ = "Lists experiments on other networks, data sets and splits too"
    show_all = others > 0 and right.toggle(f"All ({len(every)})", key="experiments:all", help=help_)
    listed = every if show_all else mine
    if not listed:
        more = f" {others} on other networks or data can be listed with the switch above." if others else ""
        page.nothing_yet(f"No experiment on this network and split yet. Start one: it runs in the background.{more}")
    labels = {run.id: _describe(run, named=show_all) for run in listed}
    by_id = {run.id: run for run in listed}
    with left:
        return by_id[pick.from_url("Experiment", list(by_id), labels, "run")]


def _concerns(run: Run, subject: Subject) -> bool:
    params = run.spec["params"]
    same_data = Path(params.get("manifest", "")).resolve() == subject.manifest_path.resolve()
    return same_data and (params.get("model"), params.get("split")) == (subject.reference, subject.split)


def _describe(run: Run, *, named: bool) -> str:
    params = run.spec["params"]
    where = f"{params.get('model')} on {run.spec['name'].removeprefix('text ')} · " if named else ""
    mode = MASK_MODES[params["mode"]].title if params.get("mode") in MASK_MODES else "local mean"
    margin = f"margin {params['margin']:g} · " if "margin" in params else ""
    # The state stands below: a label that changes while its entry is chosen stays as it was in the browser.
    return f"{where}{mode} · {margin}{load.local_time(run.spec['created'])}"


def watch(run: Run) -> None:
    """Show state and buttons of an experiment, refreshed as long as it is active; the whole page follows its end."""
    active = run.status()["state"] in ACTIVE

    @st.fragment(run_every=REFRESH_S if active else None)
    def progress() -> None:
        status = run.status()
        if active and status["state"] not in ACTIVE:
            st.rerun()
        line, buttons = st.columns([5, 1], vertical_alignment="center")
        with line:
            run_parts.state_line(run, status)
        with buttons:
            run_parts.controls(run, status, key="experiment")

    progress()


def show(run: Run) -> None:
    """Show what a finished experiment found; before that, say what is missing."""
    results, table = run.results(), load.predictions(run)
    if results is None or table is None:
        if run.status()["state"] not in ACTIVE:
            st.info("This experiment ended before it had results. Resume it or start another.", icon=":material/info:")
        return
    st.info(results["finding"], icon=":material/lightbulb:")
    _show_counts(results)
    st.dataframe(accuracies(results), hide_index=True)
    st.caption(PAPER)
    st.subheader("By class", anchor=False)
    st.dataframe(by_class(results), hide_index=True, column_config=_signed("logit, text masked", "logit, random boxes"))
    st.caption("Mean change of logit over the images with text. “Random boxes” are as many and as large, off the text.")
    page.csv_button("Predictions before and after as CSV", table, run.id)
    _show_left_out(results)
    with page.told_in_one_line():
        _show_images(run, results, table)


def _show_counts(results: dict[str, Any]) -> None:
    cells = st.columns(4)
    n, with_text = results["n_images"], results["n_with_text"]
    cells[0].metric("Images", n)
    cells[1].metric("With text", f"{with_text} ({with_text / n:.0%})", help=f"{results['n_tokens']} tokens in all")
    cells[2].metric("Predictions changed", f"{results['n_changed']} ({results['n_changed'] / n:.1%})")
    control = results["n_changed_control"]
    cells[3].metric("… by random boxes", f"{control} ({control / n:.1%})", help="Control: same sizes, off the text")


def accuracies(results: dict[str, Any]) -> pd.DataFrame:
    """Return one row per condition: accuracy, its difference to before, macro F1, all with 95 % intervals."""
    rows = []
    for name in CONDITIONS:
        suffix = {"before": None, "after": "", "control": "_control"}[name]
        difference = results.get(f"accuracy_difference{suffix}") if suffix is not None else None
        rows.append(
            {
                "condition": CONDITION_TITLES[name],
                "accuracy": charts.interval(results[name]["accuracy"]),
                "difference": _points(difference),
                "became wrong": _count(difference, "became_wrong"),
                "became right": _count(difference, "became_right"),
                "macro F1": charts.interval(results[name]["macro_f1"], percent=False),
            }
        )
    return pd.DataFrame(rows)


def _count(difference: dict[str, Any] | None, key: str) -> str:
    return "–" if not difference or difference[key] is None else str(difference[key])


def _points(difference: dict[str, Any] | None) -> str:
    if not difference or difference["value"] is None:
        return "–"
    value = f"{100 * difference['value']:+.1f} points"
    if difference["low"] is None:
        return value
    return f"{value} [{100 * difference['low']:+.1f}, {100 * difference['high']:+.1f}]"


def by_class(results: dict[str, Any]) -> pd.DataFrame:
    """Return one row per class: recall under each condition and the mean change of its logit."""
    rows = []
    for name in results["classes"]:
        row: dict[str, Any] = {"class": name, "images": results["before"]["per_class"][name]["support"]}
        for condition in CONDITIONS:
            recall = results[condition]["per_class"][name]["recall"]
            row[f"recall, {CONDITION_TITLES[condition]}"] = charts.interval(recall)
        row["logit, text masked"] = results["mean_logit_change"][name]
        row["logit, random boxes"] = results["mean_logit_change_control"][name]
        rows.append(row)
    return pd.DataFrame(rows)


def _signed(*columns: str) -> dict[str, Any]:
    return {name: st.column_config.NumberColumn(name, format="%+.3f") for name in columns}


def _show_left_out(results: dict[str, Any]) -> None:
    left_out = results.get("left_out") or []
    if left_out:
        with st.expander(f"{len(left_out)} images could not be read", icon=":material/warning:"):
            st.dataframe(pd.DataFrame(left_out), hide_index=True)


def moved(table: pd.DataFrame, classes: Sequence[str]) -> pd.Series:
    """Return how far each image's probabilities moved when its text was masked: half the sum over classes, 0 to 1."""
    parts = [(table[f"prob_{name}_after"] - table[f"prob_{name}_before"]).abs() for name in classes]
    return sum(parts) / 2


def _show_images(run: Run, results: dict[str, Any], table: pd.DataFrame) -> None:
    st.subheader("Images", anchor=False)
    changed = table[table["changed"]].sort_values("confidence_before", ascending=False)
    most = table.assign(moved=moved(table, results["classes"])).query("moved > 0")
    tables = dict(zip(_SHOWN, (changed, most.sort_values("moved", ascending=False)), strict=True))
    shown = st.segmented_control(
        "Show",
        list(tables),
        default=_SHOWN[0] if len(changed) else _SHOWN[1],
        format_func=lambda name: f"{name} ({len(tables[name])})",
        required=True,
        key=f"experiments:shown:{run.id}",
    )
    rows = tables[shown]
    if rows.empty:
        st.caption("None: with the text masked, the network says the same of every image.")
        return
    number = 1
    if len(rows) > _PER_PAGE:
        total = -(-len(rows) // _PER_PAGE)
        number = st.number_input(f"Page (of {total})", 1, total, key=f"experiments:page:{run.id}:{shown}", width=140)
    _show_pairs(run, rows.iloc[(number - 1) * _PER_PAGE : number * _PER_PAGE])


def _show_pairs(run: Run, rows: pd.DataFrame) -> None:
    """Show each image with its boxes and masked, two pairs in a row."""
    data, params = load.manifest_of(run), run.spec["params"]
    boxes = boxes_by_image(run)
    entries = rows.to_dict("records")
    for first in range(0, len(entries), 2):
        for cell, entry in zip(st.columns(2), entries[first : first + 2], strict=False):
            with cell.container(border=True):
                _show_pair(data, entry, boxes.get(entry["image_id"], []), params, run)


def _show_pair(data: Manifest, entry: dict[str, Any], boxes: list[TextBox], params: dict[str, Any], run: Run) -> None:
    image_id = entry["image_id"]
    path = data.image_path(image_id)
    if not path.is_file():
        st.caption(f"{image_id}: its file is gone")
        return
    pair = _pair(str(path), path.stat().st_mtime_ns, run.id, image_id, boxes, params)
    for column, picture in zip(st.columns(2), pair, strict=True):
        column.image(picture, width="stretch")
    before, after = (f"{entry[f'predicted_{c}']} {entry[f'confidence_{c}']:.0%}" for c in ("before", "after"))
    st.markdown(f"**{before} → {after}** · true: {entry['label'] or 'unknown'} · {entry['n_boxes']} tokens")
    where = {"model": params["model"], "data": name_of(Path(params["manifest"])), "split": entry["split"]}
    st.page_link(pages.EXPLORER, label="Explain", icon=":material/radiology:", query_params=where | {"image": image_id})


@st.cache_data(max_entries=256, show_spinner=False)
def _pair(
    path: str, stamp: int, run_id: str, image_id: str, _boxes: list[TextBox], _params: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    image = read_xray(path)
    masked = mask_text(image, _boxes, **{key: _params[key] for key in ("mode", "margin") if key in _params})
    return viewer.with_boxes(image, _boxes, _PICTURE_SIDE, labels=False), viewer.at_display_size(masked, _PICTURE_SIDE)


def boxes_by_image(run: Run) -> dict[str, list[TextBox]]:
    """Return the tokens that an experiment found, by image id."""
    path = run.folder.path / BOXES
    table = load.table(path) if path.exists() else pd.DataFrame(columns=["image_id"])
    return {
        str(image_id): [TextBox(**entry) for entry in rows.drop(columns="image_id").to_dict("records")]
        for image_id, rows in table.groupby("image_id")
    }
