"""Comparing runs on the X-rays that they share: which is better, or can nobody tell?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from cxr.data import Manifest
from cxr.errors import CxrError
from cxr.evaluation.comparison import ComparisonResults, Predictions, compare_predictions
from cxr.evaluation.comparison.compare import published_tests, shared_predictions
from cxr.evaluation.comparison.pairing import Paired, pair
from cxr.evaluation.comparison.results import Reference
from cxr.evaluation.comparison.seeds import seed_notes
from cxr.evaluation.results import evaluation_results
from cxr.evaluation.settings import OnNetwork
from cxr.evaluation.tables.settings import PredictionsParams
from cxr.formatting import number, p_value, xrays
from cxr.runs import Run, list_runs

from sections.compare import charts, disagree
from services import load
from widgets import address, page, pages, pick, subject, viewer

MEASURED = ("train", "evaluate", "evaluate-predictions")
_RUNS, _EVERY = "compare:runs", "every split"


@st.cache_resource(max_entries=16, show_spinner="Comparing …")
def compared(
    ids: tuple[str, ...], stamps: tuple[int, ...], split: str, _runs: Sequence[Run]
) -> tuple[ComparisonResults, Paired]:
    """Return the comparison of runs, and the X-rays that they share."""
    predictions: list[Predictions] = shared_predictions(_runs, split or None)
    results = compare_predictions(predictions, with_references=False)
    results["notes"] = [*seed_notes(_runs), *results["notes"]]
    return results, pair(predictions)


@st.cache_resource(max_entries=16, show_spinner="Testing …")
def references(ids: tuple[str, ...], stamps: tuple[int, ...], split: str, _runs: Sequence[Run]) -> list[Reference]:
    """Return the published tests, which take longer than all the rest."""
    return published_tests(shared_predictions(_runs, split or None))


def stamp_of(run: Run) -> int:
    """Return what changes when a run's predictions do."""
    return load.predictions_file(run).stat().st_mtime_ns


def choose(runs: dict[str, Run]) -> list[Run]:
    """Let the user choose two runs or more; says what to do with fewer, and ends the page."""
    labels = pick.describe_runs(list(runs.values()))
    pick.arrive_some(_RUNS, "runs", list(runs), gone=pick.gone_run)
    chosen = st.multiselect(
        "Runs", list(runs), format_func=labels.__getitem__, key=_RUNS, placeholder="Choose two runs or more"
    )
    pick.leave_some("runs", chosen)
    if len(chosen) < 2:
        st.info(
            "Choose two runs or more that have predicted the same X-rays: trainings, evaluations, or tables of "
            "somebody else's predictions.",
            icon=":material/compare_arrows:",
        )
        raise address.Ended
    return [runs[i] for i in chosen]


def choose_split(runs: Sequence[Run]) -> str:
    """Let the user choose a split that all runs have predicted, the test split first; "" for all together."""
    tables = [load.predictions(run) for run in runs]
    splits = set.intersection(*(set(table["split"].unique()) for table in tables if table is not None))
    ranked = sorted(splits, key=lambda name: (name != "test", name in ("train", "val"), name))
    chosen = pick.from_url("Split", [*ranked, _EVERY], {}, "split")
    return "" if chosen == _EVERY else chosen


def show_figures(results: ComparisonResults) -> None:
    """Show what each run achieves, and how they differ, of every measure."""
    names = {run["run"]: run["name"] for run in results["runs"]}
    measures = list(results["runs"][0]["figures"])
    for line in [row["sentence"] for row in results["differences"]][: 3 * len(measures)]:
        st.markdown(f"- {viewer.plain(line)}")
    left, right = st.columns(2)
    with left:
        measure = pick.from_url("Measure", measures, {}, "measure")
        figure = charts.figures(results, measure)
        st.plotly_chart(figure, key=f"compare:figures:{measure}", config={"displayModeBar": False})
        st.caption("Diamonds: rules that look at no X-ray.")
    with right:
        rows = [row for row in results["differences"] if len(names) == 2 or row["measure"] == measure]
        st.markdown("**Differences on the same X-rays**")
        st.plotly_chart(
            charts.differences(rows, names), key=f"compare:apart:{measure}", config={"displayModeBar": False}
        )
        right_of_0 = f"Right of 0: {results['runs'][0]['name']} is better. " if len(names) == 2 else ""
        st.caption(
            f"{viewer.plain(right_of_0)}"
            f"Orange: they differ after correction for {results['n_comparisons']} comparisons (Holm). "
            "Blue: they cannot be told apart. Intervals are over patients, each alone."
        )


def show_details(results: ComparisonResults, tests: Callable[[], list[Reference]]) -> None:
    """Show all figures, the published tests once they are opened, and what was left out."""
    names = {run["run"]: run["name"] for run in results["runs"]}
    with st.expander("All figures, and what was left out", icon=":material/table:"):
        entries = [(run["name"], {m: number(e) for m, e in run["figures"].items()}) for run in results["runs"]]
        entries += [
            (b["name"], {m: "–" if v is None else f"{v:.3f}" for m, v in b["figures"].items()})
            for b in results["baselines"]
        ]
        st.dataframe(pd.DataFrame(dict(entries)), height="content")
        for run in results["runs"]:
            reasons = "; ".join(f"{n:,} {reason}" for reason, n in run["left_out"].items())
            st.caption(viewer.plain(f"{run['name']}: {xrays(run['n'])} predicted; left out: {reasons or 'none'}."))
    part = st.expander(
        "Published tests, for reference", icon=":material/menu_book:", key="compare:tests", on_change="rerun"
    )
    with part:
        if part.open:
            st.dataframe(pd.DataFrame([reference_row(row, names) for row in tests()]), hide_index=True)
        st.caption(
            "Not corrected. McNemar's and DeLong's tests count each X-ray as independent: where patients have several, "
            "their p values are too small. The paired bootstrap draws patients 2,000 times; with few patients its "
            "intervals are too short."
        )
    for note in results["notes"]:
        st.caption(viewer.as_markdown(note))


def reference_row(row: Reference, names: dict[str, str]) -> dict[str, str]:
    """Return a published test as a row of a table."""
    if "only_run" in row:
        apart = f"only one is right: {row['only_run']:,} and {row['only_against']:,}"
    else:
        apart = number({"value": row.get("value"), "low": row.get("low"), "high": row.get("high")}, signed=True)
    return {
        "test": row["test"],
        "measure": row["measure"],
        "runs": f"{names[row['run']]} - {names[row['against']]}",
        "difference": apart,
        "p": p_value(row["p"]),
    }


def pictures_of(run: Run) -> tuple[Manifest | None, dict[str, str]]:
    """Return the data of a run where its pictures are at hand, and what opens them in the explorer."""
    manifest = run.spec["params"].get("manifest")
    if not manifest:
        return None, {}
    try:
        data = load.manifest(manifest)
    except CxrError:
        return None, {}
    if isinstance(run.params, PredictionsParams):
        return data, {}
    network = run.params.network if isinstance(run.params, OnNetwork) else run.id
    return data, {"model": network, "data": subject.name_of(Path(manifest))}


page.header("Compare", "Is one network better than another on the same X-rays, or can nobody tell?", dense=True)
with page.told_in_one_line():
    runs = {run.id: run for run in list_runs() if run.kind in MEASURED and load.predictions_file(run).exists()}
    if not runs:
        nothing = "No run has predictions yet. Measure a network on the page Results, or train one first."
        page.nothing_yet(nothing, pages.RESULTS, "Go to Results")
    for_runs, for_split = st.columns([6, 2], vertical_alignment="bottom")
    with for_runs:
        chosen = choose(runs)
    with for_split:
        split = choose_split(chosen)
    ids, stamps = tuple(run.id for run in chosen), tuple(map(stamp_of, chosen))
    results, paired = compared(ids, stamps, split, chosen)
    splits = ", ".join(f"{n:,} of {name or 'no split'}" for name, n in results["splits"].items())
    st.markdown(f"**{xrays(results['n'], results['n_patients'])}** are compared ({viewer.plain(splits)}).")
    show_figures(results)
    names = [run["name"] for run in results["runs"]]
    pairs = [(a, b) for a in range(len(names)) for b in range(a + 1, len(names))]
    of_pair = {f"{ids[a]},{ids[b]}": (a, b) for a, b in pairs}
    labels = {key: f"{names[a]} and {names[b]}" for key, (a, b) in of_pair.items()}
    between = next(iter(of_pair.values()))
    if len(of_pair) > 1:
        between = of_pair[pick.from_url("Two of them", list(of_pair), labels, "pair")]
    data, link = pictures_of(chosen[between[0]])
    limits = [
        {
            name: scores["threshold"]
            for summary in (evaluation_results(run).get("splits") or {}).values()
            for name, scores in summary["per_class"].items()
            if "threshold" in scores
        }
        for run in chosen
    ]
    disagree.show(paired, between, names, limits, data, link and {**link, "split": split or "test"})
    show_details(results, lambda: references(ids, stamps, split, chosen))
    st.page_link(pages.STUDY, label="Compare recipes over seeds", icon=":material/science:")
    page.command("cxr", "compare", *ids, *(["--split", split] if split else []))
