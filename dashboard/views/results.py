"""How well a trained network does: numbers with intervals, the confusion matrix, and the images behind each cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pandas as pd
import streamlit as st

from cxr.evaluation.metrics import summarise
from cxr.evaluation.results import Summary
from cxr.evaluation.seen import measured_rows
from cxr.evaluation.selection import listed
from cxr.evaluation.settings import EvaluationParams, OnNetwork
from cxr.evaluation.tables.settings import PredictionsParams
from cxr.models.card import MULTI_LABEL, SINGLE_LABEL
from cxr.networks import training_of
from cxr.reports.notebooks import MeasuredSplit
from cxr.runs import Run
from cxr.training.results import StageOutcome, training_results

from sections.results import by_finding, curves, further, matrix, measuring, report, slices, table_form
from sections.results.evaluated import Evaluated
from services import load
from widgets import address, charts, measured, page, pages, pick, subject, tables
from widgets import run_state as run_parts

PAPER = (
    "The paper reports 100 % test accuracy on its own test set. Tested on outside data by the same authors, a plain "
    "DenseNet201 reached 71.7 % (95 % HDI 64.6 to 78.6). A high figure on a split of the training data is no proof."
)


@st.cache_data(max_entries=64, show_spinner=False)
def summary(run_id: str, stamp: int, split: str, _table: pd.DataFrame, _classes: list[str]) -> Summary:
    return summarise(_table[_table["split"] == split], _classes)


def per_class(result: Summary) -> pd.DataFrame:
    rows = {
        name: {
            "images": values["support"],
            "recall": charts.interval(values["recall"]),
            "precision": charts.interval(values["precision"]),
            "F1": charts.interval(values["f1"], percent=False),
            "AUC": charts.interval(values["auc"], percent=False),
        }
        for name, values in result["per_class"].items()
    }
    return pd.DataFrame(rows).T


MEASURED = ("train", "evaluate", "evaluate-predictions")
BY_CLASS, CURVES, SLICES = "figures", "curves", "slices"
TABS = {BY_CLASS: "By class", CURVES: "Curves and thresholds", SLICES: "Slices"}


def network_of(run: Run) -> str:
    """Return the network that a run measured: itself for a training."""
    return run.params.network if isinstance(run.params, OnNetwork) else run.id


def wait_for(run: Run) -> NoReturn:
    """Say how far a run without predictions is, go on by itself when it has them; ends the page."""
    if run.kind == "train":
        status = run.status()
        text = f"This training ({status['state']}) has no predictions yet. They are made at its end."
        if status["state"] == "failed" and status["error"]:
            text = f"This training failed, so it has no predictions: {address.plain(status['error'])}"
        page.nothing_yet(text, pages.LIVE, "Watch it")

    @page.refreshed(1.5)
    def progress() -> None:
        run_parts.rerun_when_gone(run)
        status = run.status()
        run_parts.state_line(run, status)
        run_parts.rerun_when_changed(run, status)

    progress()
    raise address.Ended


def stage_table(stages: list[StageOutcome]) -> pd.DataFrame:
    """Return one row per stage of a training: what it was and what it achieved on its validation images."""
    rows = []
    for stage in stages:
        validation = stage["validation"]
        several = stage["task"] == MULTI_LABEL
        score = validation["auc"] if several else validation["accuracy"]
        neurons = ", ".join(f"{new} (was {old})" for new, old in stage["kept_neurons"].items())
        left_out = "; ".join(f"{split}: {listed(labels)}" for split, labels in stage.get("left_out", {}).items())
        rows.append(
            {
                "stage": stage["name"],
                "task": stage["task"],
                "X-rays": f"{stage['n_train']:,} + {stage['n_val']:,} validation",
                "epochs": stage["epochs"],
                "best epoch": stage["best"]["epoch"],
                "validation": f"{'mean AUC' if several else 'accuracy'} {charts.interval(score, percent=not several)}",
                "kept output neurons": neurons or "none",
                "labels left out": left_out or "none",
            }
        )
    return pd.DataFrame(rows)


def stage_classes(summary_of_stage: Summary) -> pd.DataFrame:
    """Return one row per class of a stage: its figures with their intervals over patients, and of how many images."""
    if summary_of_stage.get("task") == MULTI_LABEL:
        return by_finding.table_of(summary_of_stage)
    rows = {
        name: {
            "AUC": charts.interval(entry["auc"], percent=False),
            "images": entry.get("positive", entry.get("support")),
        }
        for name, entry in summary_of_stage["per_class"].items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def say_of_which_network(run: Run) -> None:
    """Say that an evaluation is not the training that it measures, and lead to that one's own results."""
    if not isinstance(run.params, EvaluationParams):
        return
    training = training_of(network_of(run))
    with st.container(horizontal=True, vertical_alignment="center"):
        named = f"the training {training.name}" if training else f"the network {network_of(run)}"
        st.caption(address.plain(f"An evaluation of {named} on {run.params.data_set}."), width="content")
        if training is not None:
            query = {"run": training.id}
            pages.link(pages.RESULTS, "Results of the training", query, key="results:training", icon=":material/undo:")


def link_to(run: Run) -> dict[str, str]:
    """Return the query parameters of a run's network and data; empty for predictions without a network."""
    if isinstance(run.params, PredictionsParams):
        return {}
    return {"model": network_of(run), "data": subject.name_of(Path(run.spec["params"]["manifest"]))}


def at_the_end(evaluated: Evaluated, stages: list[StageOutcome]) -> None:
    """Show what stands below the figures of either task: what they rest on, stages, other X-rays, the command."""
    run, split, link = evaluated.run, evaluated.split, evaluated.link
    measured.rests_on(run)
    report.show(run, split, explains=bool(link))
    if isinstance(run.params, PredictionsParams):
        command_and_notebook(evaluated, table_form.words(run.params))
        return
    if stages:
        st.header("Stages", anchor=False)
        st.dataframe(stage_table(stages), hide_index=True, width="stretch")
        for stage in stages[:-1]:
            with st.expander(f"{stage['name']}: each class on its validation images", icon=":material/stacks:"):
                st.dataframe(
                    stage_classes(stage["validation"]), width="stretch", column_config={"images": tables.COUNT}
                )
    with page.told_in_one_line():
        measuring.elsewhere(run, link["model"])
    data_ref = link["data"] if link["data"] != subject.OWN else run.spec["params"]["manifest"]
    options: list[str] = []
    if isinstance(run.params, EvaluationParams):
        options += [word for label, name in run.params.aliases.items() for word in ("--alias", f"{label}={name}")]
        options += ["--include-seen"] * run.params.include_seen
    command = ["cxr", "evaluate", link["model"], "--data", data_ref, "--split", split, *options]
    command_and_notebook(evaluated, command)


def command_and_notebook(evaluated: Evaluated, command: Sequence[str]) -> None:
    """Show the command that measures the same, and offer the figures as a notebook."""
    page.command(*command)
    shown = MeasuredSplit(command, evaluated.run, evaluated.split, evaluated.result)
    page.notebook(shown, f"results-{evaluated.run.id}")


def headline(evaluated: Evaluated) -> None:
    """Show the overall figures of classes, each with its interval."""
    result = evaluated.result
    cells = st.columns(4)
    of_patients = f"of {page.counted(result['n_patients'], 'patient')}"
    page.figure(cells[0], "X-rays", f"{result['n']:,}", of_patients, help="Their label is one of the network's classes")
    help_ = "Share of X-rays whose predicted class is the label; interval over patients"
    page.estimate(cells[1], "Accuracy", result["accuracy"], help=help_)
    help_ = "Mean over the classes present; interval over patients"
    page.estimate(cells[2], "Macro F1", result["macro_f1"], percent=False, help=help_)
    help_ = "Each class against the rest; interval over patients"
    page.estimate(cells[3], "AUC", result["auc"], percent=False, help=help_)


def show_section(evaluated: Evaluated, finding: str) -> None:
    """Show the part of the page that the user looks at; only that is computed."""
    titles = TABS | {BY_CLASS: "By finding" if evaluated.several else "By class"}
    pick.arrive("results:tab", "tab", BY_CLASS, allowed=list(titles))
    tab = st.segmented_control(
        "Section", list(titles), format_func=titles.__getitem__, required=True, key="results:tab",
        label_visibility="collapsed",
    )  # fmt: skip
    pick.leave("tab", tab, BY_CLASS)
    if tab == CURVES:
        curves.show(evaluated, finding)
    elif tab == SLICES:
        with page.told_in_one_line(below_heading=False):
            slices.show(evaluated)
    elif tab == BY_CLASS:
        more = further.of_split(evaluated)
        if evaluated.several:
            by_finding.table(evaluated.result)
        else:
            st.dataframe(per_class(evaluated.result), height="content", column_config={"images": tables.COUNT})
            st.caption(measured.REACH)
        further.show(more)


page.header("Results", "Every figure with its 95 % interval. Choose a cell or a finding to see its images.", dense=True)
with page.told_in_one_line():
    measuring.lead_to_the_first(MEASURED)
    for_run, for_split, for_more = st.columns([6, 2, 2], vertical_alignment="bottom")
    with for_run:
        run = pick.run(*MEASURED, first=lambda run: load.predictions_file(run).is_file())
    table = load.predictions(run)
    if table is None or ("predicted" not in table and not run.results()):
        wait_for(run)
    data = load.manifest_of(run) if run.spec["params"].get("manifest") else None
    link = link_to(run)
    with for_split:
        split = pick.split(sorted(table["split"].unique()))
    for_more.page_link(
        pages.COMPARE, label="Compare runs", icon=":material/compare_arrows:", query_params={"runs": run.id}
    )
    say_of_which_network(run)
    network = measuring.as_params(link["model"]) if link else {}
    if network and measured.is_of_an_older_version(run, network):
        measured.of_an_older_version(run, network)
    results = training_results(run)
    several = results.get("task") == MULTI_LABEL
    new = measured_rows(table, results)
    stamp = load.predictions_file(run).stat().st_mtime_ns
    classes = [c.removeprefix("logit_") for c in table.columns if c.startswith("logit_")]
    stored = (results.get("splits") or {}).get(split)
    result = stored if stored and "n_patients" in stored else summary(run.id, stamp, split, new, classes)
    task = MULTI_LABEL if several else SINGLE_LABEL
    evaluated = Evaluated(run, stamp, split, task, table, new[new["split"] == split], result, data, link)

if several:
    by_finding.headline(result)
else:
    headline(evaluated)
measured.warn_of_seen(run, split)
# What was left out stands below the matrix, but for labels that a press of a button would count in.
if measured.unknown_labels(run):
    measured.show(run, network, split)
finding = ""
if several:
    finding = by_finding.images(evaluated)
else:
    matrix.show(evaluated)
if not measured.unknown_labels(run):
    measured.show(run, network, split)
if not several:
    st.caption(PAPER)
stages = results.get("stages", [])
show_section(evaluated, finding)
at_the_end(evaluated, stages)
table_form.show()
