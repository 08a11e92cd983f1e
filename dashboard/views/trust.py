"""Can this be trusted? Everything that is known about a network, or a table of predictions, in order of weight."""

from __future__ import annotations

import streamlit as st

from cxr.experiments.audit.part_names import PARTS
from cxr.experiments.audit.results import KIND, conclusion, network_audit_results, so_far
from cxr.json_types import JsonObject
from cxr.reports import audit as report
from cxr.reports.checklist import measured_run
from cxr.reports.identities import Privacy
from cxr.runs import ACTIVE, Run

from sections.trust import checklists, choice, findings, parts, since
from widgets import address, measured, page, viewer, where
from widgets import run_state as run_parts
from widgets.access import acts
from widgets.run_state import start

REFRESH_S = 2.0


def begin(chosen: choice.Choice, external: list[str], place: where.Slurm | None, **more: object) -> None:
    """Start an audit and show it."""
    params: JsonObject = {**chosen.params, "external": external, **more}
    with page.told_in_one_line():
        run = start(KIND, params, where=place)
        address.forget("finding")
        address.ask(audit=run.id)
        st.rerun()


@st.cache_data(max_entries=8, show_spinner=False)
def html_of(run_id: str, folder: str, privacy: Privacy) -> str:
    return report.to_html(Run(folder), privacy)


def downloads(run: Run) -> None:
    with st.container(horizontal=True):
        privacy = page.privacy(f"trust:{run.id}")
    with st.container(horizontal=True):
        st.download_button(
            "Report as one HTML file",
            lambda: html_of(run.id, str(run.folder.path), privacy).encode(),  # made when it is wanted
            f"{run.id}.html",
            "text/html",
            icon=":material/download:",
            on_click="ignore",
            key="trust:html",
        )
        st.download_button(
            "As Markdown",
            lambda: report.to_markdown(run, privacy).encode(),
            f"{run.id}.md",
            "text/markdown",
            icon=":material/download:",
            on_click="ignore",
            key="trust:md",
        )
        st.download_button(
            "Findings as CSV",
            lambda: report.to_table(run, privacy).to_csv(index=False),
            f"{run.id}.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
            key=f"csv:{run.id}",
        )


def show_results(run: Run, chosen: choice.Choice, external: list[str], place: where.Slurm | None) -> None:
    results = network_audit_results(run)
    number = results["counts"]
    icon = ":material/error:" if number["serious"] else ":material/lightbulb:"
    box = st.warning if number["serious"] or number["warning"] else st.info
    newer = since.of(run)
    said = [part for part in results["parts"] if part["state"] == "done" or part["name"] not in newer]
    box(viewer.plain(conclusion(results["findings"], said)), icon=icon)
    parts.chips(results["parts"], newer)
    since.show(results["parts"], newer, lambda: begin(chosen, external, place, quick=True))
    findings.show(results["findings"], chosen.data, link_of(chosen), run)
    if not results["findings"]:
        st.caption("No findings. What each part looked at, and what it could not see, stands below.")
    done = [part["name"] for part in results["parts"] if part["state"] == "done"]
    parts.show(
        results["parts"],
        results["findings"],
        lambda name: begin(chosen, external, place, parts=[part for part in PARTS if part in (*done, name)]),
        newer,
    )
    with st.expander("How to read this", icon=":material/help:"):
        for note in results["notes"]:
            st.markdown(f"- {viewer.as_markdown(note)}")
    of = measured_run(results["subject"]["network"], results["subject"]["table"])
    if of is not None:
        checklists.show(of)
    measured.rests_on(run)
    downloads(run)


def watch(run: Run, chosen: choice.Choice) -> None:
    """Show how far an audit is and what it has found so far; the page follows each part that ends."""
    run_parts.watch(run, key="trust")
    found, ended = so_far(run.folder)

    @page.refreshed(REFRESH_S if run.active else None)
    def follow() -> None:
        if len(so_far(run.folder)[1]) != len(ended):
            st.rerun()

    follow()
    if ended:
        st.caption(f"So far, {len(ended)} of {len(PARTS)} parts:")
        parts.chips(ended)
        findings.show(found, chosen.data, link_of(chosen))


def link_of(chosen: choice.Choice) -> dict[str, str]:
    """Return the parameters with which an X-ray opens in the explorer; none without a network."""
    if chosen.table is not None:
        return {}
    return {"model": chosen.ref, "data": chosen.data_name, "split": chosen.split}


def missing_parts(audits: list[Run]) -> int:
    """Return how many parts the newest finished audit has not tried yet and could do.

    What was done since is not counted: it is there to be taken in. What has failed would most likely fail again: it is
    offered where it says why.
    """
    finished = next((run for run in audits if run.status()["state"] == "finished"), None)
    if finished is None:
        return 0
    newer = since.of(finished)
    return sum(
        part["state"] in ("missing", "not-asked")
        and not (part["name"] in newer and newer[part["name"]].state == "finished")
        for part in network_audit_results(finished)["parts"]
    )


page.header(
    "Can this be trusted?",
    "What speaks against a network, or a table of predictions, the heaviest first; and what nobody has looked at.",
    dense=True,
)
with page.told_in_one_line():
    chosen = choice.choose()
    audits = choice.audits_of(chosen)
    running = any(run.status()["state"] in ACTIVE for run in audits)
    missing = missing_parts(audits)
    label = "Audit again" if audits else "Audit"
    if missing:
        label = "Do the missing part" if missing == 1 else f"Do the {page.counted(missing, 'missing part')}"
    buttons, which = st.columns([7, 4], vertical_alignment="bottom")
    with buttons.container(horizontal=True, vertical_alignment="bottom"):
        whole = acts.button(
            label,
            icon=":material/policy:",
            type="primary" if missing or not audits else "secondary",
            key="trust:start",
            disabled=running,
            help="Uses the runs that exist and starts the others, one after another.",
        )
        quick = acts.button(
            "Quick look",
            icon=":material/bolt:",
            key="trust:quick",
            disabled=running,
            help="Seconds: only what exists already, and what is cheap. It says what is not done.",
        )
        with st.popover("Options", icon=":material/tune:"):
            external = choice.elsewhere(chosen)
            place = where.choose(KIND)
    if whole or quick:
        begin(chosen, external, place, quick=quick)
    if audits or address.asks("audit"):
        with which:
            run = choice.which(audits)
        if run.status()["state"] == "finished":
            show_results(run, chosen, external, place)
        else:
            watch(run, chosen)
    else:
        st.caption("Not audited yet. A quick look takes seconds; an audit does every part, some of which take minutes.")
words = [word for name in external for word in ("--external", name)]
page.command("cxr", "audit", *chosen.words, *words, *where.words(place))
