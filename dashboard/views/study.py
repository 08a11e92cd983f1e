"""Studies: several recipes over the same seeds, compared while they run."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from cxr.experiments.study import members, start_study
from cxr.experiments.study.comparison import Report
from cxr.experiments.study.curves import to_table
from cxr.experiments.study.measures import Measure
from cxr.experiments.study.members import plan_of
from cxr.experiments.study.settings import StudyParams
from cxr.reports.study import COLOURED, measure_tables, to_html
from cxr.runs import Run, list_runs

from sections.study import study_charts, study_form, study_state
from widgets import address, page, pick, where
from widgets import run_state as run_parts
from widgets.access import acts

REFRESH_S = 2.0
TABS = ("Compare", "New study")
CLAIM = (
    "Bassi and Attux (2021) report that twice transfer learning and output neuron keeping help “mainly in the "
    "beginning of the training process”. A study tests this on your X-rays, over several seeds."
)


def choose(studies: list[Run]) -> Run:
    by_id = {run.id: run for run in studies}
    labels = {i: pick.describe_run(r) for i, r in by_id.items()}
    missing = lambda run_id: pick.missing_run(run_id, ("study",))  # noqa: E731
    return by_id[pick.from_url("Study", list(by_id), labels, "study", missing=missing, stays=True)]


def settings(study: Run) -> tuple[int, float]:
    """Let the user say what the beginning and the level are; the study's own come first."""
    plan = plan_of(study)
    longest = min(recipe.stages[-1].epochs for recipe in StudyParams.of(study.params).recipes.values())
    left, right = st.columns(2)
    first = min(plan.first_epochs[0], longest)
    k = first
    if longest > 1:
        key = f"study:k:{study.id}"
        pick.arrive(key, "first", first, int, range(1, longest + 1), accepted=f"1 to {longest}")
        k = left.slider("The beginning (first epochs)", 1, longest, key=key)
        pick.leave("first", str(k), str(first))
    highest = max(1.0, *plan.accuracy) if plan.lower_is_better else 1.0
    label = "Level to reach (at most)" if plan.lower_is_better else "Level to reach"
    key, reach = f"study:level:{study.id}", (0.0, highest, 0.01)
    pick.arrive(key, "level", plan.accuracy[0], pick.number(*reach), accepted=pick.in_steps(*reach))
    level = right.slider(label, 0.0, highest, step=0.01, key=key)
    pick.leave("level", f"{level:g}", f"{plan.accuracy[0]:g}")
    return k, level


def show_curves(report: Report, k: int, level: float) -> None:
    if not any(report.curves.values()):
        st.caption("No epoch has been validated yet. Curves begin with the first one.")
        return
    st.plotly_chart(study_charts.mean_curves(report, k, level), key="study:curves")
    st.caption(
        "Thick lines: mean over seeds, with the 95 % t interval of the mean at each epoch. Thin lines: single seeds. "
        "Shaded: the beginning."
    )


def show_verdicts(report: Report) -> None:
    st.header("Mainly in the beginning?", anchor=False)
    for verdict in report.verdicts:
        st.markdown(f"- {plain(verdict.sentence)}")
    if any(verdict.gap.together for verdict in report.verdicts):
        st.caption(f"These intervals hold for all {report.n_comparisons} comparisons of the study together.")
    if not report.verdicts:
        st.caption("The beginning is as long as the training: choose fewer epochs to compare it with the end.")


def show_differences(report: Report) -> None:
    # Short names, since titles change with the sliders and the choice should not.
    by_name = {short_name(measure): measure for measure in report.measures}
    names = list(by_name)
    pick.arrive("study:measure", "measure", names[0], allowed=names)
    chosen = st.segmented_control("Compare by", names, required=True, key="study:measure") or names[0]
    pick.leave("measure", chosen, names[0])
    measure = by_name[chosen]
    any_mean = any(mean.n for mean in measure.means.values())
    any_difference = any(difference.mean.n for difference in measure.differences.values())
    if any_difference:
        st.plotly_chart(study_charts.forest(measure), key="study:forest")
        st.caption(COLOURED)
    # What no training has reached yet would be a table of dashes.
    for (_, columns, rows), known in zip(measure_tables(report, measure), (any_mean, any_difference), strict=False):
        if known:
            st.dataframe(pd.DataFrame(rows, columns=columns), hide_index=True)
    for sentence in report.by_measure[measure.key]:
        st.markdown(f"- {plain(sentence)}")


def short_name(measure: Measure) -> str:
    kind, _, score = measure.key.partition("_")
    names = {
        "area": "the beginning",
        "start": "before the first step",
        "reach": "epochs to the level",
        "best": "best validation",
    }
    return names.get(kind) or f"test {score.replace('_', ' ')}"


def plain(text: str) -> str:
    """Return text that Markdown leaves as it is."""
    return "".join(f"\\{letter}" if letter in r"\`*_[]#<>$~|:" else letter for letter in text)


def downloads(study: Run, report: Report) -> None:
    with st.container(horizontal=True):
        st.download_button(
            "Report as one HTML file",
            lambda: to_html(report).encode(),  # drawn when it is wanted, not each time that the page is
            f"{study.id}.html",
            "text/html",
            icon=":material/download:",
            on_click="ignore",
            key="study:html",
        )
        page.csv_button("Curves as CSV", to_table(report.learning_curves), study.id)


def show(study: Run) -> None:
    """Show a study, refreshed while it or one of its members runs."""
    active = study.active or any(member.state in run_parts.ACTIVE for member in members(study))

    @page.refreshed(REFRESH_S if active else None)
    def live() -> None:
        run_parts.rerun_when_gone(study)
        plan, trainings = plan_of(study), members(study)
        curves = study_state.learning_curves(study, trainings)
        study_state.state(study, trainings)
        if active:
            study_state.show_members(study, plan, trainings, curves)
        answer = st.container()
        k, level = settings(study)  # below the curves that they change
        report = study_state.report(study, plan, curves, k, level)
        with answer:
            if active:
                show_curves(report, k, level)
            show_verdicts(report)
            if not active:  # of a study that is over, the answer comes first
                show_curves(report, k, level)
        if not active:
            study_state.show_members(study, plan, trainings, curves)
        show_differences(report)
        st.caption(plain(report.basis))
        with st.expander("How to read this", icon=":material/help:"):
            for note in report.notes:
                st.markdown(f"- {plain(note)}")
        downloads(study, report)

    live()
    page.command("cxr", "study", "report", study.id, "--out", "report.html")


def new_study() -> None:
    st.caption(CLAIM)
    left, right = st.columns(2)
    with left:
        data_set = pick.data_set()
    data = data_set.name
    with page.told_in_one_line():
        plan = study_form.study_form(data_set, right)
        place = where.choose("study")
        n = len(plan.recipes) * len(plan.seeds)
        if acts.button(
            f"Start {n} training{'s' * (n != 1)}", type="primary", icon=":material/play_arrow:", key="study:start"
        ):
            with st.spinner("Checking all trainings …"):
                run = start_study(plan, data, where=place)
            address.ask(study=run.id, tab=TABS[0])  # where the new study is seen
            st.rerun()
    with st.expander("This study as YAML", icon=":material/description:"):
        page.code(plan.to_yaml())
        st.download_button("Download", plan.to_yaml(), f"{plan.name}.yaml", "text/yaml", on_click="ignore")
    page.command("cxr", "study", f"{plan.name}.yaml", "--data", data, *where.words(place))


page.header(
    "Studies",
    "Compare several recipes over the same seeds. Their trainings are queued, stopped and compared together.",
    dense=True,
)
studies = list_runs(kind="study")
first_tab = TABS[0 if studies or address.asks("study") else 1]
pick.arrive("study:tab", "tab", first_tab, allowed=TABS)
compare, new = st.tabs(TABS, key="study:tab", on_change="rerun")
pick.leave("tab", st.session_state["study:tab"], first_tab)
with compare, page.told_in_one_line():
    if studies or address.asks("study"):
        show(choose(studies))
    else:
        st.info("No study yet. Start one under New study.", icon=":material/lightbulb:")
with new:
    new_study()
