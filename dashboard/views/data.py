"""Data sets: counts by class and source, the images, what was left out, and the import of one's own."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from cxr.data import Manifest, split_manifest
from cxr.data.library import DataSet, list_data_sets, read_excluded, update_data_set
from cxr.data.sources import SOURCES
from cxr.errors import CxrError
from cxr.runs import list_runs, start

from components import address, gallery, load, page, pick
from components import runs as run_parts

REFRESH_S = 1.0
TABS = ("Data sets", "Import", "Synthetic X-rays")


def counts(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """Return X-rays per class and value of ``by``, with totals."""
    named = table.assign(label=table["label"].replace("", "(none)"), **{by: table[by].replace("", "(none)")})
    return pd.crosstab(named["label"], named[by], margins=True, margins_name="all")


def one_source_each(table: pd.DataFrame) -> bool:
    """Tell whether some class shares no source with any other class, the worst confounding there is."""
    labelled = table[(table["label"] != "") & (table["source"] != "") & table["split"].isin(["train", ""])]
    sources = labelled.groupby("label")["source"].agg(set)
    return any(
        not (own & set().union(*(other for name, other in sources.items() if name != label)))
        for label, own in sources.items()
        if len(sources) > 1
    )


def show_set(chosen: DataSet) -> None:
    data = load.manifest(chosen.manifest_path)
    table = data.table
    cells = st.columns(4)
    cells[0].metric("X-rays", len(data))
    cells[1].metric("Patients", table.loc[table["patient_id"] != "", "patient_id"].nunique() or "unknown")
    cells[2].metric("Sources", table.loc[table["source"] != "", "source"].nunique())
    cells[3].metric("Splits", len(data.splits) or "none yet", help=", ".join(data.splits) or None)
    if one_source_each(table):
        st.warning(
            "A class here comes from sources that no other class has. A network can then tell the classes by the "
            "hospital's look, and a high score on a split proves little.",
            icon=":material/warning:",
        )
    left, right = st.columns(2)
    for cell, by, title in ((left, "split", "Class by split"), (right, "source", "Class by source")):
        cell.markdown(f"**{title}**")
        cell.dataframe(counts(table, by))
    if data.classes:
        make_splits(chosen, data)
    show_images(data)
    show_left_out(chosen)
    page.command("cxr", "data", "show", chosen.name)


def make_splits(chosen: DataSet, data: Manifest) -> None:
    with st.expander("Make the splits again" if data.splits else "Make the splits", expanded=not data.splits):
        st.caption("Grouped by patient and by duplicate, stratified by class; a group never straddles two splits.")
        if data.splits:
            st.caption("Networks trained on the present splits cannot be measured on this data set afterwards.")
        cells = st.columns(4, vertical_alignment="bottom")
        validation = cells[0].number_input("Validation share", 0.05, 0.5, 0.1, 0.05)
        test = cells[1].number_input("Test share", 0.05, 0.5, 0.2, 0.05)
        seed = cells[2].number_input("Seed", 0, 10_000, 0)
        if cells[3].button("Split", icon=":material/call_split:"):
            fractions = {"train": 1 - validation - test, "val": validation, "test": test}
            divided, aside = split_manifest(data, fractions, seed=int(seed))
            update_data_set(chosen.name, divided)
            st.toast(f"Splits made; {len(aside)} rows set aside")
            st.rerun()


def show_images(data: Manifest) -> None:
    st.subheader("Images", anchor=False)
    table = data.table
    cells = st.columns(3)
    for cell, column in zip(cells, ("label", "source", "split"), strict=True):
        options, key = sorted(set(table[column])), f"data:{column}"
        pick.arrive_some(key, column, options)
        values = cell.multiselect(column.capitalize(), options, format_func=lambda v: v or "(none)", key=key)
        pick.leave_some(column, values)
        table = table[table[column].isin(values)] if values else table
    by_id = table.set_index("image_id")

    def caption(image_id: str) -> str:
        row = by_id.loc[image_id]
        return " · ".join(str(v) for v in (row["label"] or row["findings"], row["source"], row["view"]) if v)

    gallery.grid(data, table["image_id"].tolist(), caption, key="data")


def show_left_out(chosen: DataSet) -> None:
    excluded = read_excluded(chosen.name)
    with st.expander(f"Left out ({len(excluded)})"):
        if excluded.empty:
            st.caption("Nothing was left out.")
        else:
            st.dataframe(excluded, hide_index=True)


def mapping(text: str, what: str) -> dict[str, str]:
    """Read lines of ``a = b``; an error names the line that is not one."""
    pairs = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, value = map(str.strip, line.partition("="))
        if not (name and equals and value):
            raise CxrError(f"{what}: {line!r} is not of the form name = value")
        pairs[name] = value
    return pairs


def import_form() -> None:
    kind = st.selectbox("What it is", list(SOURCES), format_func=lambda k: SOURCES[k].title)
    st.caption(SOURCES[kind].description)
    with st.form("import", border=False):
        path = st.text_input("Folder or file on this machine", placeholder="/home/me/covid-chestxray-dataset")
        name = st.text_input("Name of the data set", placeholder="letters, digits, - and _")
        columns = ""
        if kind == "manifest":
            columns = st.text_area("Columns of the file, where they have other names", placeholder="image = filename")
        aliases = st.text_area(
            "Labels of the source, where they have other names", placeholder="Covid-19 = covid19", height=80
        )
        if not st.form_submit_button("Import", type="primary", icon=":material/download:"):
            return
    if not path.strip() or not Path(path).expanduser().exists():
        raise CxrError(f"{path!r} does not exist on this machine; give the full path of a folder or file")
    if not name.strip() or any(d.name == name.strip() for d in list_data_sets()):
        raise CxrError(f"name {name!r} is empty or taken; choose another")
    params = {
        "kind": kind,
        "path": str(Path(path).expanduser().resolve()),
        "name": name.strip(),
        "columns": mapping(columns, "columns"),
        "aliases": mapping(aliases, "labels"),
    }
    start("import", params, name=f"import {name.strip()}")


def demo_form() -> None:
    with st.form("demo", border=False):
        n = st.number_input("X-rays", 60, 20_000, 600, 60)
        correlation = st.slider(
            "Correlation of the burned-in text with the class", 0.0, 1.0, 0.5, 0.05, help="0: no clue; 1: it tells all"
        )
        seed = st.number_input("Seed", 0, 10_000, 0)
        name = st.text_input("Name of the data set", "demo" if not _taken("demo") else f"demo-{correlation:.2f}")
        made = st.form_submit_button("Make synthetic X-rays", type="primary", icon=":material/auto_awesome:")
    if made:
        if _taken(name):
            raise CxrError(f"there is a data set {name!r} already; choose another name")
        params = {"n": int(n), "correlation": correlation, "seed": int(seed), "name": name}
        start("demo", params, name=f"make {name}")


def _taken(name: str) -> bool:
    return any(d.name == name for d in list_data_sets())


def told(results: dict | None) -> str:
    """Return in a few words what an import gave, with a link to the data set."""
    if not results:
        return ""
    name = results["data"]
    return f": {results['images']} X-rays, {results['left_out']} left out · [look at {name}](data?data={name})"


def imports() -> list:
    return [r for r in list_runs() if r.spec["kind"] in ("import", "demo")][:5]


@page.refreshed(REFRESH_S)
def running_imports() -> None:
    for run in imports():
        status = run.status()
        run_parts.rerun_when_changed(run, status)  # a new data set must appear among the others
        st.markdown(f"**{run.name}**{told(run.results())}")
        run_parts.state_line(run, status)


page.header("Data", "What there is, by class and source. Bring your own: nothing is copied, files stay where they are.")
with page.told_in_one_line():
    pick.arrive("data:tab", "tab", TABS[0], allowed=TABS)
sets_tab, import_tab, demo_tab = st.tabs(TABS, key="data:tab", on_change="rerun")
pick.leave("tab", st.session_state["data:tab"], TABS[0])
with import_tab, page.told_in_one_line():
    import_form()
with demo_tab, page.told_in_one_line():
    demo_form()
if imports():
    with st.container(border=True):
        st.markdown("**Latest imports**")
        running_imports()
with sets_tab:
    if not list_data_sets() and not address.asks("data"):
        page.nothing_yet("No data set yet: make the synthetic X-rays or import your own in the tabs above.")
    with page.told_in_one_line():
        show_set(pick.data_set())
