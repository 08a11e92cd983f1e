"""Slices of a split: how the network does on parts of the X-rays, beside the rest, and the X-rays of one part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from cxr import formatting
from cxr.errors import CxrError
from cxr.evaluation.slices import Slice, SliceResults, slices_of
from cxr.evaluation.slices.columns import joined, slice_rows
from cxr.evaluation.slices.wording import stands_out, where_in_words
from cxr.formatting import number, p_value, patients, percent, points

from sections.results import curve_charts, xrays
from sections.results.evaluated import Evaluated
from services import field_names
from widgets import address, page, pick, tables, viewer

_SLICE, _PAIRS = "results:slice", "results:pairs"
_ALL = "all columns"
_MOST_PAIRS, _MOST_SENTENCES = 20, 3
ABOUT = (
    "Orange: different from the rest after correction for all slices that were compared (Holm). Intervals are of each "
    "slice alone, over its patients. A slice may differ in its patients, devices, labels or mix of classes: this does "
    "not say why."
)


@st.cache_data(max_entries=32, show_spinner="Comparing slices …")
def _results(run_id: str, stamp: int, data_stamp: str, split: str, pairs: bool, _evaluated: Evaluated) -> SliceResults:
    return slices_of(_evaluated.run, splits=[split], pairs=pairs)


def show(evaluated: Evaluated) -> None:
    """Show the forest plot, the table, the worst pairs, and the X-rays of the chosen slice."""
    for_column, for_pairs = st.columns([3, 5], vertical_alignment="bottom")
    pick.arrive(_PAIRS, "pairs", False, pick.switched, accepted="0, 1")
    with for_pairs:
        pairs = st.toggle(
            "Also find the worst pairs of two columns",
            key=_PAIRS,
            help="Every combination of two columns. p values are then corrected for all of them.",
        )
    pick.leave("pairs", str(int(pairs)), "0")
    results = _results(evaluated.run.id, evaluated.stamp, _data_stamp(evaluated), evaluated.split, pairs, evaluated)
    with for_column:
        column = pick.from_url("Column", [_ALL, *results["columns"]], {}, "column")
    for line in results["conclusions"][:_MOST_SENTENCES]:
        st.markdown(viewer.plain(line))
    others = results["conclusions"][_MOST_SENTENCES:]
    if others:
        with st.expander(f"{len(others):,} more that stand out", icon=":material/expand_more:"):
            for line in others:
                st.markdown(viewer.plain(line))
    entries = [entry for entry in results["slices"] if column == _ALL or column in entry["where"]]
    enough = [entry for entry in entries if not entry["too_small"]]
    if enough:
        is_share = results["figure"] == "accuracy"
        rows: list[curve_charts.ForestRow] = [_forest_row(entry) for entry in enough]
        figure = curve_charts.forest(rows, results["overall"]["value"], figure_name=results["figure"], percent=is_share)
        st.plotly_chart(figure, key=f"slices:{column}", config={"displayModeBar": False})
        st.caption(ABOUT)
    small = [f"{where_in_words(e['where'])} ({e['n']:,} X-rays; {e['too_small']})" for e in entries if e["too_small"]]
    if small:
        st.caption(viewer.plain(f"Too small to compare: {'; '.join(small)}."))
    skipped = [f"{name} ({reason})" for name, reason in results["skipped"].items()]
    if skipped:
        st.caption(viewer.on_page(f"Not compared: {'; '.join(skipped)}.", field_names.SLICES))
    worst = results["pairs"][:_MOST_PAIRS]
    _table(entries, "slices", evaluated, results["figure"])
    if pairs:
        st.markdown(
            f"**The worst pairs of columns** · {results['pairs_compared']} compared, {results['pairs_too_small']} too "
            "small"
        )
        if worst:
            _table(worst, "pairs", evaluated, results["figure"])
        else:
            st.caption("No pair does worse than the rest.")
    _show_xrays(evaluated)
    for note in results["notes"]:
        st.caption(viewer.as_markdown(note))
    alone = [] if pairs else ["--no-pairs"]
    page.command("cxr", "slices", evaluated.run.id, "--split", evaluated.split, *alone, what="These slices")


def _data_stamp(evaluated: Evaluated) -> str:
    file = evaluated.data.path if evaluated.data is not None else None
    return str(file.stat().st_mtime_ns) if file is not None and file.exists() else ""


def _forest_row(entry: Slice) -> curve_charts.ForestRow:
    return {
        "label": f"{where_in_words(entry['where'])} ({entry['n']:,})",
        "figure": entry["figure"],
        "difference": entry["difference"],
        "stands_out": stands_out(entry),
    }


def _table(entries: Sequence[Slice], name: str, evaluated: Evaluated, figure: str) -> None:
    """Show slices in a table of which one can be chosen."""
    is_share = figure == "accuracy"
    rows = [
        {
            "slice": where_in_words(entry["where"]),
            "X-rays": entry["n"],
            "patients": entry["n_patients"],
            figure: (percent if is_share else number)(entry["figure"]) if not entry["too_small"] else "too small",
            "difference to the rest": points(entry["difference"])
            if is_share
            else number(entry["difference"], signed=True),
            "p (Holm)": p_value(entry["difference"]["p_holm"]),
        }
        for entry in entries
    ]
    key = f"{evaluated.key}:{name}:{len(rows)}"
    choices = [joined_where(entry["where"]) for entry in entries]
    frame = pd.DataFrame(rows)
    st.dataframe(
        frame,
        hide_index=True,
        column_config=tables.counts_of(frame),
        key=key,
        on_select=lambda: _take(key, choices),
        selection_mode="single-row",
        height=min(36 * len(rows) + 40, 400),
    )


def _take(key: str, choices: Sequence[str]) -> None:
    chosen = page.selected(key, "rows")
    if chosen is None:
        return
    st.session_state[_SLICE] = choices[chosen[0]] if chosen else ""


def joined_where(where: Mapping[str, str | None]) -> str:
    """Return a slice as an address writes it: column, group, column, group; a group of none is left empty."""
    return address.joined([part for column, group in where.items() for part in (column, group or "")])


def parted_where(text: str) -> dict[str, str | None]:
    """Return the slice of such a text; ValueError where it is none."""
    parts = address.parted(text)
    if len(parts) % 2 or not all(parts[::2]):
        raise ValueError(text)
    return {column: group or None for column, group in zip(parts[::2], parts[1::2], strict=True)}


def _show_xrays(evaluated: Evaluated) -> None:
    """Show the X-rays of the slice that was chosen in a table or by the address, those that are wrong first."""
    known = joined(evaluated.rows, None if evaluated.data is None else evaluated.data.table)

    def read(text: str) -> str:
        if text:
            try:
                slice_rows(known, parted_where(text))
            except CxrError as error:
                raise ValueError(text) from error
        return text

    pick.arrive(_SLICE, "slice", "", read, accepted="COLUMN,GROUP")
    text = st.session_state[_SLICE]
    pick.leave("slice", text, "")
    if not text:
        st.caption("Choose a row of the table to see its X-rays.")
        return
    where = parted_where(text)
    rows = evaluated.rows[slice_rows(known, where)]
    if "correct" in rows:
        rows = rows.sort_values(["correct", "confidence"], ascending=[True, False])
    words, back = st.columns([6, 2], vertical_alignment="center")
    n_patients = len(set(rows["patient_id"]) - {""}) + int((rows["patient_id"] == "").sum())
    wrong = f", {int((~rows['correct'].astype(bool)).sum()):,} wrong, these first" if "correct" in rows else ""
    words.header(
        viewer.plain(f"{where_in_words(where)}: {len(rows):,} X-rays of {patients(n_patients)}{wrong}"), anchor=False
    )
    back.button("Close", icon=":material/close:", key="results:slice:close", on_click=_leave)
    by_id = rows.set_index("image_id")

    def caption(image_id: str) -> str:
        if "correct" not in by_id:
            return viewer.plain(str(by_id.at[image_id, "findings"] or by_id.at[image_id, "label"]).replace("|", ", "))
        label, predicted = (viewer.plain(str(by_id.at[image_id, name])) for name in ("label", "predicted"))
        return f"{label} → {predicted}  \n{formatting.share(by_id.at[image_id, 'confidence'])}"

    xrays.show(
        evaluated.data, rows, caption, key=f"results:slice:{text}", link=evaluated.gallery_link, param="slice-page"
    )


def _leave() -> None:
    st.session_state[_SLICE] = ""
