"""Data sets: counts by class and source, the images, what was left out, and the import of one's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import NoReturn

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cxr.data import Manifest
from cxr.data.importers.rows import FILE_NOTES
from cxr.data.jobs import split_data_set
from cxr.data.library import DataSet, facts_beside, list_data_sets, read_excluded, read_notes
from cxr.data.splits import in_order
from cxr.errors import CxrError
from cxr.runs import ENDED, list_runs

from sections.data import appearance, data_audit, duplicates, import_form, keeping, one_xray, openings, probes
from services import field_names, load
from widgets import address, gallery, page, pick, tables, viewer, where
from widgets import run_state as run_parts
from widgets.access import acts
from widgets.run_state import start

REFRESH_S = 1.0
SHOWN_RUNS = 5
TABS = ("Data sets", "Import", "Synthetic X-rays")
LOOKS = {
    "xrays": "X-rays",
    "splits": "Counts and splits",
    "audit": "What could fool a network",
    "check": "Not what they seem",
}


def counts(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """Return X-rays per class and value of ``by``, with totals; splits in the order train, val, test."""
    named = table.assign(label=table["label"].replace("", "(none)"), **{by: table[by].replace("", "(none)")})
    crossed = pd.crosstab(named["label"], named[by], margins=True, margins_name="all")
    if by != "split":
        return crossed
    return crossed[[name or "(none)" for name in in_order(set(table["split"].unique()))] + ["all"]]


def show_set() -> None:
    """Ask which data set is shown, and show it."""
    cells = st.columns([5, 2, 2, 2, 2], vertical_alignment="bottom")
    with cells[0]:
        chosen = pick.data_set()
    data = load.manifest(chosen.manifest_path)
    table = data.table
    cells[1].metric("X-rays", f"{len(data):,}")
    n_patients = table.loc[table["patient_id"] != "", "patient_id"].nunique()
    cells[2].metric("Patients", f"{n_patients:,}" if n_patients else "unknown")
    cells[3].metric("Sources", table.loc[table["source"] != "", "source"].nunique() or "unknown")
    cells[4].metric("Splits", len(data.splits) or "none yet", help=", ".join(in_order(data.splits)) or None)
    for_one = st.container()  # an X-ray that is opened stands on the first screen, above what is said of the data set
    if load.one_source_each(data):
        st.warning(
            "One class comes only from sources that no other class has. A network can then tell the classes apart by "
            "the look of the hospital's images. A high score on a split proves little.",
            icon=":material/warning:",
        )
    for note in load.straddling_notes(data):
        st.warning(viewer.as_markdown(note), icon=":material/call_split:")
    show_notes(chosen, data)
    facts = facts_beside(chosen.manifest_path)
    if facts.get("split_reason") and not data.splits:
        st.info(f"Imported without splits: {facts['split_reason']}", icon=":material/call_split:")
    if facts.get("unfinished"):
        st.warning(viewer.as_markdown(facts["unfinished"]), icon=":material/warning:")
    look = which_look()
    also: list[Sequence[object]] = []
    if look == "xrays":
        show_images(chosen.name, data, for_one)
    elif look == "splits":
        also = show_splits(chosen, data)
    elif look == "audit":
        also = show_audits(chosen, data)
    else:
        also = [appearance.show(chosen, data), duplicates.show(chosen, data)]
    page.commands(*also, ("cxr", "data", "show", chosen.name))


def which_look() -> str:
    """Ask which part of a data set is shown; the address names it."""
    pick.arrive("data:look", "look", "xrays", allowed=tuple(LOOKS))
    look = st.segmented_control(
        "Look at",
        list(LOOKS),
        format_func=LOOKS.__getitem__,
        required=True,
        key="data:look",
        label_visibility="collapsed",
    )
    pick.leave("look", look, "xrays")
    return str(look)


def is_labelled(data: Manifest) -> bool:
    """Tell whether the X-rays have classes or findings."""
    return bool(data.classes) or bool((data.table["findings"] != "").any())


def show_splits(chosen: DataSet, data: Manifest) -> list[Sequence[object]]:
    """Show how many X-rays are in which split, and who has looked at them; return the commands that do the same."""
    left, right = st.columns(2)
    for cell, by, title in ((left, "split", "Class by split"), (right, "source", "Class by source")):
        cell.markdown(f"**{title}**")
        crossed = counts(data.table, by)
        cell.dataframe(crossed, column_config=tables.counts_of(crossed))
    warned = load.straddling_notes(data)
    notes = [note for note in facts_beside(chosen.manifest_path).get("split_notes", ()) if note not in warned]
    notes = [field_names.on_page(note, field_names.of_page("data")) for note in notes]
    st.caption("\n".join(f"- {viewer.plain(note)}" for note in notes))
    if is_labelled(data):
        make_splits(chosen, data)
    commands = openings.show(chosen, data)
    show_left_out(chosen)
    keeping.show(chosen)
    return commands


def show_audits(chosen: DataSet, data: Manifest) -> list[Sequence[object]]:
    """Show what tells classes and sources apart; return the commands that do the same."""
    commands = [data_audit.show(chosen, data)] if is_labelled(data) else []
    if not commands and data.table["source"].nunique() < 2:
        page.nothing_yet("Without classes, findings or several sources there is nothing that could be told apart.")
    return [*commands, probes.show(chosen, data)]


def make_splits(chosen: DataSet, data: Manifest) -> None:
    official = facts_beside(chosen.manifest_path).get("source_splits", ())
    with st.expander("Make the splits again" if data.splits else "Make the splits", expanded=not data.splits):
        st.caption("Splits are stratified by class. All X-rays of a patient, and all duplicates, go to the same split.")
        if data.splits:
            st.caption("Networks trained on the current splits cannot be evaluated on this data set afterwards.")
        keep = st.multiselect(
            "Splits that stay as they are",
            in_order(data.splits),
            [name for name in ("test",) if name in official and name in data.splits],
            help=(
                "Keep a test split that came with the data. Otherwise your figures cannot be compared with published "
                "ones."
            ),
            key=f"data:keep:{chosen.name}",
        )
        cells = st.columns(4, vertical_alignment="bottom")
        shares = {
            "val": cells[0].number_input("Validation share", 0.05, 0.5, 0.1, 0.05, disabled="val" in keep),
            "test": cells[1].number_input("Test share", 0.05, 0.5, 0.2, 0.05, disabled="test" in keep),
        }
        shares = {name: share for name, share in shares.items() if name not in keep}
        seed = cells[2].number_input("Seed", 0, 10_000, 0)
        if acts.button("Split", at=cells[3], icon=":material/call_split:"):
            fractions = _fractions(shares, keep)
            divided = split_data_set(chosen.name, fractions=fractions, seed=int(seed), keep=keep)
            st.toast(f"Splits made; {page.counted(len(divided.set_aside), 'row')} left out of the splits")
            st.rerun()
        words = [word for name in keep for word in ("--keep", name)]
        words += [word for k, v in _fractions(shares, keep).items() for word in ("--fraction", f"{k}={v:.4g}")]
        page.command("cxr", "data", "split", chosen.name, *words, "--seed", int(seed), what="These splits")


def _fractions(shares: dict[str, float], keep: list[str]) -> dict[str, float]:
    """Return the shares of the splits to be made; train takes what is left, unless it is kept."""
    if "train" not in keep:
        return {"train": 1 - sum(shares.values())} | shares
    return {name: share / sum(shares.values()) for name, share in shares.items()}


def show_images(name: str, data: Manifest, for_one: DeltaGenerator) -> None:
    with for_one:
        one_xray.show(name, data)
    table = data.table
    cells = st.columns([3, 3, 3, 2])
    for cell, column in zip(cells[:3], ("label", "source", "split"), strict=True):
        options, key = sorted(table[column].unique()), f"data:{column}"
        pick.arrive_some(key, column, options)
        values = cell.multiselect(
            column.capitalize(), options, format_func=lambda v: v or "(none)", key=key, placeholder="any"
        )
        pick.leave_some(column, values)
        table = table[table[column].isin(values)] if values else table

    def caption(image_id: str) -> str:
        row = data.row(image_id)
        return " · ".join(str(v) for v in (row["label"] or row["findings"], row["source"], row["view"]) if v)

    ids = table["image_id"].tolist()
    gallery.grid(data, ids, caption, key="data", on_open=one_xray.open_it, picker_in=cells[3])


def show_notes(chosen: DataSet, data: Manifest) -> None:
    """Show what the import read otherwise than written, and what of the files was not followed."""
    notes = read_notes(chosen.name)
    if notes:
        with st.expander(f"Notes of the import ({len(notes):,})"):
            for note in notes:
                st.text(field_names.on_page(note, field_names.of_import()))
            if FILE_NOTES in data.table:
                table = data.table[data.table[FILE_NOTES].fillna("") != ""]
                st.dataframe(table[["image_id", "image", FILE_NOTES]], hide_index=True)


def show_left_out(chosen: DataSet) -> None:
    excluded = read_excluded(chosen.name)
    with st.expander(f"Left out ({len(excluded):,})"):
        if excluded.empty:
            st.caption("Nothing was left out.")
        else:
            st.dataframe(excluded, hide_index=True)


def demo_form() -> None:
    n = st.number_input("X-rays", 60, 20_000, 600, 60)
    correlation = st.slider(
        "Correlation of the burned-in text with the class",
        0.0,
        1.0,
        0.5,
        0.05,
        help=("0: the text says nothing about the class. 1: the text gives the class away."),
    )
    seed = st.number_input("Seed", 0, 10_000, 0, key="demo:seed")
    name = st.text_input("Name of the data set", "demo" if not _name_is_taken("demo") else f"demo-{correlation:.2f}")
    place = where.choose("demo")
    made = acts.button("Make synthetic X-rays", type="primary", icon=":material/auto_awesome:")
    params = {"n": int(n), "correlation": correlation, "seed": int(seed), "name": name}
    page.command("cxr", "demo", *(word for k, v in params.items() for word in (f"--{k}", v)), *where.words(place))
    if made:
        if _name_is_taken(name):
            raise CxrError(f"there is a data set {name!r} already; choose another name")
        start("demo", params, where=place)


def _name_is_taken(name: str) -> bool:
    return any(d.name == name for d in list_data_sets())


def import_summary(results: dict | None) -> str:
    """Return in a few words what an import gave, with a link to the data set."""
    if not results:
        return ""
    name = results["data"]
    reason = results.get("split_reason")
    without = f" · imported without splits: {viewer.plain(reason)}" if reason else ""
    n = len(results.get("notes", ()))
    notes = f" · {page.counted(n, 'note')}" if n else ""
    return (
        f": {results['images']:,} X-rays, {results['left_out']:,} left out{notes}{without} · "
        f"[look at {name}](data?data={name})"
    )


@page.refreshed(REFRESH_S)
def running(kind: str) -> None:
    """Show the newest imports, or makings of synthetic X-rays; those that are over can be dismissed."""
    for run in list_runs(kind=kind)[:SHOWN_RUNS]:
        status = run.status()
        run_parts.rerun_when_changed(run, status)  # a new data set must appear among the others
        line, dismiss = st.columns([7, 1], vertical_alignment="center")
        line.markdown(f"**{viewer.plain(run.name)}**{import_summary(run.results())}")
        help_ = "Deletes this entry and its log. A data set that was imported stays."
        if status["state"] in ENDED and acts.button("Dismiss", at=dismiss, key=f"dismiss:{run.id}", help=help_):
            run.delete()
            st.rerun()
        run_parts.state_line(run, status)


def show_ways_to_the_first() -> NoReturn:
    """Lead to the tabs that make the first data set, and end the page."""
    st.info("No data set yet. Make the synthetic X-rays or import your own.", icon=":material/lightbulb:")
    with st.container(horizontal=True):
        ways = ((TABS[2], "Get synthetic X-rays", "auto_awesome"), (TABS[1], "Import X-rays", "download"))
        for tab, label, icon in ways:
            key = f"data:first:{tab}"
            st.button(label, icon=f":material/{icon}:", key=key, on_click=address.ask, kwargs={"tab": tab})
    raise address.Ended


def show_latest(kind: str, title: str) -> None:
    if any(run.kind == kind for run in every_run):
        with st.container(border=True):
            st.markdown(f"**{title}**")
            running(kind)


@contextlib.contextmanager
def errors_here() -> Iterator[None]:
    """Show a user's or the system's error in this tab; the other tabs are shown all the same."""
    try:
        yield
    except (CxrError, OSError) as error:
        sentence = field_names.on_page(page.sentence(error), field_names.of_page("data"))
        st.error(address.plain(sentence), icon=":material/error:")


page.header(
    "Data",
    ("Your X-rays by class and source. Import your own: nothing is copied, the files stay where they are."),
    dense=True,
)
with page.told_in_one_line():
    pick.arrive("data:tab", "tab", TABS[0], allowed=TABS)
    sets, every_run = list_data_sets(), list_runs()
sets_tab, import_tab, demo_tab = st.tabs(TABS, key="data:tab", on_change="rerun")
pick.leave("tab", st.session_state["data:tab"], TABS[0])
with demo_tab:
    show_latest("demo", "Synthetic X-rays being made")
    with errors_here():
        demo_form()
with import_tab:
    show_latest("import", "Latest imports")
    with errors_here():
        import_form.show()
with sets_tab, page.told_in_one_line():
    if not sets and not address.asks("data"):
        show_ways_to_the_first()
    show_set()
