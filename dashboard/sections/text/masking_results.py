"""What a text experiment found: the shown_example of one X-ray, then the whole set, and files to take along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from cxr import formatting
from cxr.data import Manifest, read_xray
from cxr.experiments.masking import example
from cxr.experiments.masking.job import BOXES
from cxr.experiments.masking.sentences import lead, relevance_of
from cxr.experiments.masking.settings import Setting
from cxr.experiments.masking.shapes import MaskingResults, masking_results
from cxr.explain import render
from cxr.reports import masking, masking_tables, masking_xrays
from cxr.reports.notebooks import TextFinding
from cxr.runs import ACTIVE, Run
from cxr.text import TextBox, mask_text

from sections.text import masking_charts
from services import field_names, load
from widgets import measured, page, pages, pick, tables, viewer
from widgets.subject import name_of

PAPER = (
    "Bassi and Attux (2021) report that words on the X-rays influence the predictions and that removing them had "
    "“only a very small effect on accuracy”. A stable accuracy says nothing about single images: look at those below."
)
_PER_PAGE = 6
_PICTURE_SIDE = 360
_SHOWN = ("changed predictions", "largest moves")


def show(run: Run) -> None:
    """Show what a finished experiment found; before that, say what is missing."""
    results, table = masking_results(run), load.predictions(run)
    if run.results() is None or table is None:
        if run.status()["state"] not in ACTIVE:
            st.info("This experiment ended without results. Resume it or start another one.", icon=":material/info:")
        return
    if results is None:
        st.info(
            "This experiment was made by an older version, without controls for each way of masking. Start it again."
        )
        return
    selection = results.get("selection")
    if selection is not None:
        part = page.counted(results["n_images"], "X-ray")
        st.warning(f"{part} of {selection['of']:,}: not the result of the split.", icon=":material/filter_alt:")
    _show_in_short(run, results)
    measured.rests_on(run)
    st.caption(PAPER)
    with page.told_in_one_line():
        _show_example(run, results, table)
    st.header("The whole set" if selection is None else "The X-rays of the selection", anchor=False)
    accuracies = masking_tables.accuracies(results)
    st.dataframe(accuracies, hide_index=True, column_config=tables.counts_of(accuracies))
    titles = masking.titles(results)
    st.markdown(f"**{titles['classes']}**")
    tables.show_wide(masking_tables.by_class(results))
    st.caption(
        "Changes are paired means over all images. “Random boxes” are a control: as many and as large, off the text, "
        "where masking changes the picture as much."
    )
    _show_more(results)
    _show_exports(run, table)
    _show_left_out(results)
    with page.told_in_one_line():
        _show_images(run, results, table)


def _show_in_short(run: Run, results: MaskingResults) -> None:
    """Show what came out: first what it means, then its figures, then every sentence of it for who wants to quote."""
    names = field_names.of_kind(run.kind)
    st.info(viewer.on_page(lead(results), names), icon=":material/lightbulb:")
    if not results["n_tokens"]:
        return
    st.dataframe(masking_tables.summary(results), hide_index=True)
    counted = page.counted(results["n_images"], "X-ray")
    of_patients = f" of {page.counted(results['n_patients'], 'patient')}" if "n_patients" in results else ""
    share = formatting.share(results["n_with_text"] / results["n_images"])
    st.caption(
        f"{counted}{of_patients}; {results['n_with_text']:,} ({share}) with text, "
        f"{page.counted(results['n_tokens'], 'token')} in all. Random boxes: same sizes, off the text; mean of "
        f"{page.counted(results['draws'], 'draw')}. In brackets: 95 % intervals over patients."
    )
    with st.expander("In sentences", icon=":material/notes:"):
        st.markdown(viewer.on_page(results["finding"], names))


def _show_example(run: Run, results: MaskingResults, table: pd.DataFrame) -> None:
    """Show the X-ray whose probabilities the tokens move most: as it is and masked, its heatmap, its prediction."""
    shown_example = example.read(run.folder.path)
    data = load.manifest_of(run)
    if shown_example is None or not data.image_path(shown_example.image_id).is_file():
        return
    st.header("One X-ray", anchor=False)
    st.caption(
        "The X-ray whose probabilities change most when its text is masked, beyond random boxes. Its text is given as "
        "it was read by the program, which may be wrong."
    )
    image = read_xray(data.image_path(shown_example.image_id))
    boxes = boxes_by_image(run).get(shown_example.image_id, [])
    masked = mask_text(image, boxes, results["mode"], results["margin"])
    st.markdown(
        viewer.plain(
            masking_xrays.in_words(table.set_index("image_id").loc[shown_example.image_id], results["classes"], boxes)
        )
    )
    left, right = st.columns(2)
    shown = [viewer.at_display_size(picture) for picture in (image, masked)]
    with left:
        viewer.show_slider(shown[0], shown[1], ("as it is", "text masked"))
    with right:
        if shown_example.before is None or shown_example.after is None:
            tokens = page.counted(len(boxes), "token")
            alt = f"The X-ray with {tokens} in boxes"
            st.image(viewer.with_boxes(image, boxes), caption=tokens, alt=alt, width="stretch")
        else:
            scale = max(render.colour_scale(heatmap, 99.5) for heatmap in (shown_example.before, shown_example.after))
            maps = zip(shown, (shown_example.before, shown_example.after), strict=True)
            overlays = [render.overlay(picture, relevance, 0.8, scale) for picture, relevance in maps]
            viewer.show_slider(
                overlays[0], overlays[1], (f"red speaks for {shown_example.target}: as it is", "text masked")
            )


def _show_more(results: MaskingResults) -> None:
    of_findings, titles_of = masking_tables.is_of_findings(results), masking.titles(results)
    named = ["Findings and sources", "Crossings"] if of_findings else ["Classes and sources", "Flips"]
    titles = ["Ways of masking", "Which tokens", *named, "Relevance"]
    pick.arrive("experiments:tab", "tab", titles[0], allowed=titles)
    modes, which, groups, flips, relevance = st.tabs(titles, key="experiments:tab", on_change="rerun")
    pick.leave("tab", st.session_state["experiments:tab"], titles[0])
    with modes:
        st.plotly_chart(masking_charts.changed(results), key="experiments:changed")
        tables.show_wide(masking_tables.by_mode(results))
        st.caption(
            "95 % intervals over patients. p values come from a sign-flip test over patients, corrected over the ways "
            "of masking (Holm)."
        )
        match = masking_tables.match(results)
        if len(match):
            st.markdown(f"**{titles_of['match']}**")
            tables.show_wide(match)
            st.caption("Grey levels (of 255) at the network's input size; means over X-rays with text.")
    with which:
        _frame(masking_tables.left_in(results), "No tokens.")
        st.caption(
            "All tokens masked, compared with all but these: the effect of these tokens when they alone stay visible. "
            "The largest of many measured means is too large, so “probabilities moved” is shrunk towards the mean of "
            "all words (or kinds)."
        )
    with groups:
        rows = masking_tables.groups(results)
        if rows.empty:
            st.caption(f"No {'finding' if of_findings else 'class'} or source has five X-rays.")
        else:
            tables.show_wide(rows, n_keys=2)
    with flips:
        nothing = "finding crosses its threshold" if of_findings else "prediction changes"
        _frame(masking_tables.flips(results), f"No {nothing} under any condition.")
        st.caption("Random boxes: mean over their draws.")
    measured = results.get("relevance")
    with relevance:
        _frame(masking_tables.relevance(results), (measured["note"] if measured else None) or "Nothing was measured.")
        if measured and measured["n"]:
            st.caption(
                f"LRP ({measured['composite']}) of the {'most probable finding' if of_findings else 'predicted class'} "
                f"on {relevance_of(measured)}."
            )


def _frame(rows: pd.DataFrame, nothing: str) -> None:
    if rows.empty:
        st.caption(nothing)
    else:
        st.dataframe(rows, hide_index=True, column_config=tables.counts_of(rows), height=tables.height_of(len(rows)))


def _show_exports(run: Run, table: pd.DataFrame) -> None:
    st.markdown("**Downloads**")
    with st.container(horizontal=True):
        privacy = page.privacy(f"experiments:{run.id}")
    first, second, third = st.columns(3)
    first.download_button(
        "Report (one HTML file)",
        lambda: masking.to_html(run, privacy).encode(),
        f"{run.id}.html",
        "text/html",
        icon=":material/description:",
        key="experiments:html",
    )
    second.download_button(
        "All tables (CSV in a ZIP file)",
        lambda: masking.to_zip(run, privacy),
        f"{run.id}.zip",
        "application/zip",
        icon=":material/folder_zip:",
        key="experiments:zip",
    )
    with third:
        page.csv_button("Predictions before and after as CSV", table, run.id)
    command = ["cxr", "text", "report", run.id, "--out", "text.html", *page.privacy_words(privacy)]
    page.command(*command, what="This report")
    page.notebook(TextFinding(command, run), run.id)


def _show_left_out(results: MaskingResults) -> None:
    left_out = results.get("left_out") or []
    if left_out:
        with st.expander(f"{len(left_out):,} images could not be read", icon=":material/warning:"):
            st.dataframe(pd.DataFrame(left_out), hide_index=True)


def _show_images(run: Run, results: MaskingResults, table: pd.DataFrame) -> None:
    st.header("Images", anchor=False)
    by = "moved" if masking_tables.is_of_findings(results) else "confidence_before"
    changed = table[table["changed"]].sort_values(by, ascending=False)
    most = table[table["moved"] > 0]
    choices = dict(zip(_SHOWN, (changed, most.sort_values("moved", ascending=False)), strict=True))
    first = _SHOWN[0] if len(changed) else _SHOWN[1]
    pick.arrive(f"experiments:shown:{run.id}", "list", first, allowed=_SHOWN)
    chosen = st.segmented_control(
        "Show",
        list(choices),
        format_func=lambda name: f"{name} ({len(choices[name])})",
        required=True,
        key=f"experiments:shown:{run.id}",
    )
    shown = chosen or first
    pick.leave("list", shown, first)
    rows = choices[shown]
    if rows.empty:
        st.caption("None: masking the text changes no prediction.")
        return
    number = pick.page_number(-(-len(rows) // _PER_PAGE), key=f"experiments:page:{run.id}:{shown}")
    _show_pairs(run, rows.iloc[(number - 1) * _PER_PAGE : number * _PER_PAGE])


def _show_pairs(run: Run, rows: pd.DataFrame) -> None:
    """Show each image with its boxes and masked, two pairs in a row."""
    data, setting = load.manifest_of(run), Setting.of(run.params)
    boxes = boxes_by_image(run)
    entries = rows.to_dict("records")
    for first in range(0, len(entries), 2):
        for cell, entry in zip(st.columns(2), entries[first : first + 2], strict=False):
            with cell.container(border=True):
                _show_pair(data, entry, boxes.get(entry["image_id"], []), setting, run)


def _show_pair(data: Manifest, entry: Mapping[str, Any], boxes: list[TextBox], setting: Setting, run: Run) -> None:
    image_id = entry["image_id"]
    path = data.image_path(image_id)
    if not path.is_file():
        st.caption(f"{image_id}: its file is missing")
        return
    pair = _pair(str(path), path.stat().st_mtime_ns, run.id, image_id, boxes, setting)
    for column, picture, state in zip(st.columns(2), pair, ("as it is", "text masked"), strict=True):
        column.image(picture, alt=f"{image_id}, {state}", width="stretch")
    tokens = page.counted(entry["n_boxes"], "token")
    st.markdown(f"**{viewer.plain(_change(entry))}** · {viewer.plain(masking_xrays.known_of(entry))} · {tokens}")
    where = {"model": setting.model, "data": name_of(setting.manifest), "split": entry["split"]}
    st.page_link(pages.EXPLORER, label="Explain", icon=":material/radiology:", query_params=where | {"image": image_id})


def _change(entry: Mapping[str, Any]) -> str:
    """Return the prediction before and after, with its confidence; of several findings the one that moves most."""
    if "predicted_before" not in entry:
        classes = [c.removeprefix("prob_").removesuffix("_before") for c in entry if _is_chance_before(c)]
        return masking_xrays.change_of(entry, example.most_moved(entry, classes)[0])
    before, after = (
        f"{entry[f'predicted_{c}']} {formatting.share(entry[f'confidence_{c}'])}" for c in ("before", "after")
    )
    return f"{before} → {after}"


def _is_chance_before(column: str) -> bool:
    return column.startswith("prob_") and column.endswith("_before")


@st.cache_data(max_entries=256, show_spinner=False)
def _pair(
    path: str, stamp: int, run_id: str, image_id: str, _boxes: list[TextBox], _setting: Setting
) -> tuple[np.ndarray, np.ndarray]:
    image = read_xray(path)
    masking = _setting.masking
    masked = mask_text(image, _boxes, masking.modes[0], masking.margin)
    return viewer.with_boxes(image, _boxes, _PICTURE_SIDE, labels=False), viewer.at_display_size(masked, _PICTURE_SIDE)


def boxes_by_image(run: Run) -> dict[str, list[TextBox]]:
    """Return the tokens that an experiment found, by image id."""
    path = run.folder.path / BOXES
    return example.boxes_of(load.table(path)) if path.exists() else {}
