"""The relevance budget: started in the background, what each region holds and does, and the X-rays that stand out."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from cxr.data import Manifest
from cxr.experiments.relevance.picture_regions import TITLES
from cxr.experiments.relevance.ranking import ranked, ranked_cells
from cxr.experiments.relevance.results import (
    IMAGES,
    KIND,
    RelevanceResults,
    flat,
    relevance_regions_results,
)
from cxr.experiments.relevance.sentences import entry_cells
from cxr.explain.heatmap import Method
from cxr.reports import relevance as report
from cxr.reports.identities import Privacy
from cxr.runs import ACTIVE, Run, Slurm, list_runs

from sections.explorer import composite_options, heatmap_facts
from sections.trust import relevance_charts
from services import field_names, load
from widgets import address, measured, page, pages, pick, tables, viewer, where
from widgets import run_state as run_parts
from widgets.access import acts
from widgets.run_state import start
from widgets.subject import Subject, name_of

_IN_ORDER = ("text", "border", "devices", "elsewhere", "lesion", "lungs")
_SHOWN_IMAGES, _LISTED = 6, 200


@page.refreshed(None)
def section(chosen: Subject, method: Method, target: str) -> None:
    """Offer to measure the regions of a split, and show the run that does or did.

    ``target`` is as :class:`cxr.explain.settings.Targets` reads it, "" for the predicted class.
    """
    runs = {run.id: run for run in list_runs(kind=KIND) if _concerns(run, chosen)}
    asked, title = address.asks("regions") is not None, "Where the relevance lies: text, lungs, border"
    with page.folded(
        title, icon=":material/donut_small:", key="regions:fold", asked=asked, opened=bool(runs)
    ) as is_open:
        if not is_open:
            return
        n = len(chosen.data.select(split=chosen.split) if chosen.split else chosen.data)
        st.caption(
            f"Shares out the heatmaps of {page.counted(n, 'X-ray')} (at most 300 of them) among burned-in text, lungs, "
            "border and the rest, by the method chosen above; then removes each region and sees what becomes of the "
            "logit. Heatmaps that are there already are not computed again."
        )
        pick.remember("regions:text", True)
        text = st.toggle("Search for burned-in text", key="regions:text")
        slurm = where.choose(KIND)
        if acts.button("Measure regions", icon=":material/play_arrow:", key="regions:start"):
            run = _start(chosen, method, target, text, slurm)
            address.ask(regions=run.id)
            st.rerun()
        if runs or address.asks("regions") is not None:
            labels = {run_id: _describe(run) for run_id, run in runs.items()}
            run = runs[pick.from_url("Measured", list(runs), labels, "regions", missing=_missing)]
            run_parts.watch(run, key=f"regions:{run.id}")
            if run.results() is not None:
                render(run)
        goal = ["--target", target] if target else []
        words = [*goal, *heatmap_facts.command_words(method), *["--no-text"] * (not text), *where.words(slurm)]
        split_words = ["--data", chosen.command_data, "--split", chosen.split]
        page.command("cxr", "relevance", chosen.network_ref, *split_words, *words, what="This measure")


def render(run: Run) -> None:
    """Show what a finished run found: conclusion, chart, table, and the X-rays with the most relevance in a region."""
    results = relevance_regions_results(run)
    st.info(viewer.on_page(results["finding"], field_names.of_kind(run.kind)), icon=":material/lightbulb:")
    if not results["regions"]:
        return
    st.plotly_chart(relevance_charts.regions(results), key=f"regions:chart:{run.id}", theme="streamlit")
    st.caption(
        "Filled and in colour: more than at the control places, after correction (left); the logit falls by more than "
        "with as much change elsewhere, after correction (right). Bars are 95 % intervals over patients. "
        + viewer.plain(report.how(run, results))
    )
    with st.expander("Every region in sentences and figures"):
        sentences = [entry["sentence"] for entry in results["regions"] if entry["every"]]
        sentences += [results["planted"]["sentence"]] if results["planted"] else []
        st.markdown("\n".join(f"- {viewer.plain(sentence)}" for sentence in sentences))
        tables.show_wide(pd.DataFrame([entry_cells(entry) for entry in results["regions"]]), n_keys=2)
    with st.expander("How to read this"):
        st.caption("\n".join(f"- {viewer.plain(note)}" for note in results["notes"]))
        measured.rests_on(run)
    _show_images(run)
    _show_exports(run, results)


def _show_images(run: Run) -> None:
    """Show the X-rays with the most relevance in a region, each with a link to the explorer."""
    table = load.table(run.folder.path / IMAGES)
    names = [name for name in _IN_ORDER if f"share_{name}" in table]
    labels = {name: TITLES[name] for name in names}
    name = pick.from_url("X-rays with the most relevance in", names, labels, "rank")
    rows = ranked(table, name)
    if rows.empty:
        st.caption("No X-ray has such a region.")
        return
    first = rows.head(_LISTED)
    captions = {
        row["image_id"]: f"{100 * row[f'share_{name}']:.0f} % on  \n{100 * row[f'area_{name}']:.1f} % of the area"
        for row in first.iloc[::-1].to_dict("records")
    }
    shown = list(dict.fromkeys(first["image_id"]))[:_SHOWN_IMAGES]
    data = _data_of(run)
    if data is not None:
        _show_pictures(run, data, {image_id: captions[image_id] for image_id in shown})
    st.dataframe(pd.DataFrame(ranked_cells(first, name)), hide_index=True, height=min(250, 38 + 35 * len(first)))


def _show_pictures(run: Run, data: Manifest, captions: dict[str, str]) -> None:
    """Show X-rays side by side; a press opens one in the explorer, with this run below it."""
    for cell, (image_id, caption) in zip(st.columns(_SHOWN_IMAGES), captions.items(), strict=False):
        link = _link(run) | {"regions": run.id, "image": image_id}
        link["split"] = link["split"] or data.row(image_id)["split"]
        with cell:
            st.image(load.thumbnail(data, image_id), caption=caption, alt=image_id, width="stretch")
            st.page_link(pages.EXPLORER, label="Explain", query_params=link)


def _data_of(run: Run) -> Manifest | None:
    return load.manifest_of(run) if Path(run.spec["params"]["manifest"]).is_file() else None


def _link(run: Run) -> dict[str, str]:
    params = run.spec["params"]
    return {
        "model": str(params["model"]),
        "data": name_of(Path(params["manifest"])),
        "split": str(params.get("split", "test")),
    }


def _show_exports(run: Run, results: RelevanceResults) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        privacy = page.privacy(f"regions:{run.id}", images=False)
        st.download_button(
            "Report as a page",
            lambda: _html(run.id, str(run.folder.path), privacy).encode(),
            f"relevance_{run.id}.html",
            "text/html",
            icon=":material/download:",
            on_click="ignore",
            key=f"regions:html:{run.id}",
        )
        page.csv_button("Regions as CSV", flat(results["regions"]), f"regions_{run.id}")
        page.csv_button("X-rays as CSV", load.table(run.folder.path / IMAGES), f"relevance_{run.id}")


@st.cache_data(max_entries=8, show_spinner=False)
def _html(run_id: str, folder: str, privacy: Privacy) -> str:
    return report.to_html(Run(folder), privacy)


def _start(chosen: Subject, method: Method, target: str, text: bool, slurm: Slurm | None) -> Run:
    params = {
        "model": chosen.network_ref,
        "manifest": chosen.manifest_path,
        "split": chosen.split,
        "composite": method.composite,
        "bias": method.bias or None,
        "options": composite_options.changed(method.composite, dict(method.options)),
        "targets": target,
        "text": text,
    }
    return start(KIND, params, where=slurm)


def _concerns(run: Run, chosen: Subject) -> bool:
    params = run.spec["params"]
    same_data = Path(params.get("manifest", "")).resolve() == chosen.manifest_path.resolve()
    return same_data and params.get("model") == chosen.network_ref and params.get("split", "test") == chosen.split


def _describe(run: Run) -> str:
    params = run.spec["params"]
    state = "" if run.status()["state"] not in ACTIVE else " · running"
    target = params.get("targets") or "predicted"
    return (
        f"{params.get('composite') or 'default composite'} · {target} · {load.local_time(run.spec['created'])}{state}"
    )


def _missing(run_id: str) -> str:
    """Return why a run is not among those listed; one on other X-rays or of another network can be opened."""
    run = next((run for run in list_runs(kind=KIND) if run.id == run_id), None)
    if run is None:
        return pick.missing_run(run_id, (KIND,))
    text = f"The run {run_id!r} is of other X-rays, or of another network, than those chosen here."
    link = _link(run)
    return address.refuse(
        "regions", text, "Open it with its network and data", lambda: address.ask(regions=run_id, **link)
    )
