"""What a stamping run found: its sentence, the dose curves, the table, and the X-rays that were most_affected most."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from plotly.subplots import make_subplots

from cxr import formatting
from cxr.data import read_xray
from cxr.experiments.stamping.job import STAMPED
from cxr.experiments.stamping.results import Dose, StampingResults, stamping_results
from cxr.experiments.stamping.settings import Setting, patch_of
from cxr.formatting import Estimate, p_value, percent, points
from cxr.models.card import MULTI_LABEL
from cxr.reports import masking_xrays
from cxr.runs import ACTIVE, Run
from cxr.text import TextBox
from cxr.text.stamp import stamp_patch

from services import field_names, load
from widgets import charts, measured, page, pages, pick, tables, viewer
from widgets.subject import name_of

_MOST_IMAGES = 6
_PICTURE_SIDE = 360


def show(run: Run) -> None:
    """Show what a finished run found; before that, say what is missing."""
    results = stamping_results(run)
    if results is None:
        if run.status()["state"] not in ACTIVE:
            st.info("This run ended without results. Resume it or start another one.", icon=":material/info:")
        return
    st.info(viewer.on_page(results["finding"], field_names.of_kind(run.kind)), icon=":material/lightbulb:")
    measured.rests_on(run)
    towards = results["towards"]
    measures = {_turned(results): "turned", f"probability of {towards}": "probability"}
    measures[f"logit of {towards}"] = "logit"
    names = {measure: title for title, measure in measures.items()}
    pick.arrive(f"stamping:curve:{run.id}", "curve", "turned", allowed=names)
    chosen = st.segmented_control(
        "Curve",
        list(names),
        format_func=lambda name: viewer.plain(names[name]),
        required=True,
        key=f"stamping:curve:{run.id}",
    )
    shown = chosen or "turned"
    pick.leave("curve", shown, "turned")
    st.plotly_chart(dose_curves(results, shown), key=f"stamping:chart:{run.id}", config={"displaylogo": False})
    tables.show_wide(doses(results), n_keys=2)
    st.caption(
        f"{results['n_images']:,} X-rays, {results['n_there']} of them {_predicted(results)} without any stamp. "
        "“Beyond” is stamped minus control, paired by X-ray, with 95 % intervals over patients. p values come from a "
        "sign-flip test over patients, corrected over the doses (Holm)."
    )
    table = load.table(run.folder.path / STAMPED)
    page.csv_button("All predictions as CSV", table, run.id)
    if results["left_out"]:
        with st.expander(f"{len(results['left_out'])} stamps were left out", icon=":material/warning:"):
            st.dataframe(pd.DataFrame(results["left_out"]), hide_index=True)
    with page.told_in_one_line():
        _show_images(run, results, table)


def _is_of_findings(results: StampingResults) -> bool:
    return results.get("task") == MULTI_LABEL


def _turned(results: StampingResults) -> str:
    """Return what the share of X-rays that turn is, in words."""
    if _is_of_findings(results):
        return f"probability of {results['towards']} above {results['threshold']:.3g}"
    return f"predictions turned to {results['towards']}"


def _predicted(results: StampingResults) -> str:
    name = viewer.plain(results["towards"])
    return f"above {results['threshold']:.3g} for {name}" if _is_of_findings(results) else f"predicted {name}"


# --- curves and table ----------------------------------------------------------------------------------------------


def of_measure(dose: Dose, measure: str, condition: str, towards: str) -> Estimate:
    """Return one estimate of a dose, with its interval: turned, or the mean change of probability or logit."""
    if measure == "turned":
        return dose["turned"][condition]
    return (dose["probability"] if measure == "probability" else dose["logit"])[towards][condition]


def dose_curves(results: StampingResults, measure: str) -> go.Figure:
    """Draw the token beside its control, a line per contrast over size with the band of its interval."""
    figure = make_subplots(
        1, 2, shared_yaxes=True, subplot_titles=(html.escape(results["token"]), "the same patch without letters")
    )
    sizes = sorted({dose["size"] for dose in results["doses"]})
    contrasts = sorted({dose["contrast"] for dose in results["doses"]})
    scale = 1 if measure == "logit" else 100
    for column, condition in enumerate(("stamped", "control"), 1):
        for contrast, colour in zip(contrasts, _colours(len(contrasts)), strict=True):
            rows = sorted((d for d in results["doses"] if d["contrast"] == contrast), key=lambda d: d["size"])
            estimates = [of_measure(dose, measure, condition, results["towards"]) for dose in rows]
            x = [dose["size"] for dose in rows]
            value = [_scaled(estimate["value"], scale) for estimate in estimates]
            low = [_scaled(estimate["low"], scale) for estimate in estimates]
            high = [_scaled(estimate["high"], scale) for estimate in estimates]
            band = {"x": [*x, *x[::-1]], "y": [*high, *low[::-1]], "fill": "toself", "fillcolor": colour}
            figure.add_scatter(**band, opacity=0.14, mode="none", showlegend=False, hoverinfo="skip", row=1, col=column)
            figure.add_scatter(
                x=x,
                y=value,
                mode="lines+markers",
                name=f"contrast {contrast:g}",
                legendgroup=f"{contrast:g}",
                showlegend=column == 1,
                line={"color": colour, "width": 2},
                row=1,
                col=column,
            )
    _lay_out(figure, sizes, measure, results)
    return figure


def _colours(n: int) -> list[str]:
    return [charts.COLOURS[k % len(charts.COLOURS)] for k in range(n)]


def _lay_out(figure: go.Figure, sizes: list[float], measure: str, results: StampingResults) -> None:
    towards = html.escape(results["towards"])
    above = f"{towards} above {results.get('threshold', 0):.3g} (%)"
    titles = {
        "turned": above if _is_of_findings(results) else f"turned to {towards} (%)",
        "probability": f"change of probability of {towards} (points)",
        "logit": f"change of logit of {towards}",
    }
    figure.update_layout(
        height=380,
        margin={"l": 50, "r": 10, "t": 70, "b": 46},
        hovermode="x unified",
        legend={"orientation": "h", "y": 1.12, "x": 1, "xanchor": "right", "yanchor": "bottom"},
        uirevision="keep",
    )
    ticks = [f"{size:g}" for size in sizes]
    figure.update_xaxes(
        title="size, share of the image's height", type="log", tickvals=sizes, ticktext=ticks, minor={"ticks": ""}
    )
    figure.update_yaxes(zeroline=True, zerolinewidth=1)
    figure.update_yaxes(title=titles[measure], col=1)


def doses(results: StampingResults) -> pd.DataFrame:
    """Return one row per dose."""
    towards = results["towards"]
    return pd.DataFrame(
        {
            "size": dose["size"],
            "contrast": dose["contrast"],
            "X-rays": dose["n"],
            "patients": dose.get("n_patients"),
            "turned, stamped": percent(dose["turned"]["stamped"]),
            "turned, control": percent(dose["turned"]["control"]),
            "turned, beyond": points(dose["turned_beyond"]),
            "p": p_value(dose["turned_beyond"]["p_holm"]),
            "probability, beyond": points(dose["probability_beyond"]),
            "p of it": p_value(dose["probability_beyond"]["p_holm"]),
            "logit, stamped": _rounded(dose["logit"][towards]["stamped"]),
            "logit, control": _rounded(dose["logit"][towards]["control"]),
        }
        for dose in results["doses"]
    )


# --- images --------------------------------------------------------------------------------------------------------


def most_affected(table: pd.DataFrame, towards: str, size: float, contrast: float) -> pd.DataFrame:
    """Return the X-rays of a dose by how far the token raised ``towards``, with what was said in each condition."""
    columns = ["image_id", *(["predicted"] if "predicted" in table else []), f"prob_{towards}"]
    facts = ["label", *(["findings"] if "findings" in table else [])]
    before = table.loc[table["condition"] == "unstamped", [*columns, *facts]]
    of_dose = table[(table["size"] == size) & (table["contrast"] == contrast)]
    sides = ["x0", "y0", "x1", "y1"]
    stamped = of_dose.loc[of_dose["condition"] == "stamped", [*columns, *sides]]
    control = of_dose.loc[of_dose["condition"] == "control", columns]
    joined = before.merge(stamped, on="image_id", suffixes=("", "_stamped"))
    joined = joined.merge(control, on="image_id", suffixes=("", "_control"))
    joined["moved"] = joined[f"prob_{towards}_stamped"] - joined[f"prob_{towards}"]
    return joined.sort_values("moved", ascending=False, kind="stable")


def _show_images(run: Run, results: StampingResults, table: pd.DataFrame) -> None:
    st.header("Most affected X-rays", anchor=False)
    doses = [(dose["size"], dose["contrast"]) for dose in results["doses"]]
    doses.sort(reverse=True)
    key = f"stamping:dose:{run.id}"
    by_name = {f"{size:g}x{contrast:g}": (size, contrast) for size, contrast in doses}
    pick.arrive(key, "dose", next(iter(by_name)), allowed=by_name)
    titles = {name: f"size {size:g}, contrast {contrast:g}" for name, (size, contrast) in by_name.items()}
    dose = st.selectbox("Dose", list(by_name), format_func=titles.__getitem__, key=key, width=260)
    pick.leave("dose", dose, next(iter(by_name)))
    size, contrast = by_name[dose]
    rows = most_affected(table, results["towards"], size, contrast).head(_MOST_IMAGES).to_dict("records")
    for first in range(0, len(rows), 3):
        for cell, row in zip(st.columns(3), rows[first : first + 3], strict=False):
            with cell.container(border=True):
                _show_image(run, results, row, contrast)


def _show_image(run: Run, results: StampingResults, row: Mapping[str, Any], contrast: float) -> None:
    setting, towards = Setting.of(run.params), results["towards"]
    path = load.manifest_of(run).image_path(row["image_id"])
    if not path.is_file():
        st.caption(f"{row['image_id']}: its file is missing")
        return
    sides = (int(row["x0"]), int(row["y0"]), int(row["x1"]), int(row["y1"]))
    picture = _stamped(str(path), path.stat().st_mtime_ns, run.id, sides, contrast, run)
    st.image(picture, alt=f"{row['image_id']} with its stamp", width="stretch")
    before, after, control = (
        formatting.share(row[f"prob_{towards}{ending}"]) for ending in ("", "_stamped", "_control")
    )
    change = f"{viewer.plain(towards)} {before} → {after}, control {control}"
    if "predicted" in row:
        turned = f"{viewer.plain(row['predicted'])} → {viewer.plain(row['predicted_stamped'])}"
        change = f"**{turned}** · {change}"
    st.markdown(f"{change} · {viewer.plain(masking_xrays.known_of(row))}")
    where = {"model": setting.model, "data": name_of(setting.manifest), "split": setting.split}
    link = where | {"image": row["image_id"]}
    st.page_link(pages.EXPLORER, label="Explain", icon=":material/radiology:", query_params=link)


def _rounded(estimate: Estimate) -> float | None:
    return None if estimate["value"] is None else round(estimate["value"], 3)


def _scaled(value: float | None, scale: int) -> float | None:
    return None if value is None else scale * value


@st.cache_data(max_entries=256, show_spinner=False)
def _stamped(
    path: str, changed: int, run_id: str, sides: tuple[int, int, int, int], contrast: float, _run: Run
) -> np.ndarray:
    patch = patch_of(Setting.of(_run.params), load.manifest_of(_run))
    box = TextBox(*sides)
    picture = stamp_patch(read_xray(path), patch.scaled(box.height), box, contrast)
    return viewer.at_display_size(picture, _PICTURE_SIDE)
