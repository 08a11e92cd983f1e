"""Curves of a split: ROC, precision-recall, calibration, scores by class, and what a threshold does."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from cxr.evaluation.curves import histogram, operating_point, point_in_words
from cxr.evaluation.multilabel import THRESHOLD

from sections.results import brush, curve_charts
from sections.results.evaluated import PRECISION_RECALL, ROC, Evaluated
from widgets import charts, page, pick, viewer

CALIBRATION, SCORES = "calibration", "scores"
TITLES = {ROC: "ROC", PRECISION_RECALL: "Precision-recall", CALIBRATION: "Calibration", SCORES: "Scores by class"}
_CURVE = "results:curve"
_STEPS = (0.0, 1.0, 0.005)
_PERCENT = (0.01, 99.99)
_ABOUT = {
    ROC: "The band is pointwise: at each place of the axis it is a 95 % interval over patients. That the whole curve "
    "lies in it is less certain.",
    PRECISION_RECALL: "Precision depends on how common the class is in these X-rays. The band is pointwise: at each "
    "recall it is a 95 % interval over patients.",
    CALIBRATION: "Bins hold about equal numbers of X-rays. On the diagonal, probabilities mean what they say. The band "
    "is the 95 % interval of each bin over patients. Click a point, or draw a frame, to see the X-rays of its bin.",
    SCORES: "X-rays with the class stand above the axis, the others below it. Click a bar, or draw a frame, to see its "
    "X-rays.",
}


def show(evaluated: Evaluated, finding: str = "") -> None:
    """Show the curves; of findings those of ``finding``, of classes the user chooses one."""

    @page.refreshed(None)
    def section() -> None:
        _show(evaluated, finding)

    section()


def _show(evaluated: Evaluated, finding: str) -> None:
    left, right = st.columns([7, 5])
    with left:
        kind = _kind()
    with right:
        name = finding or _class(evaluated)
    one = evaluated.by_class()[name]
    if one.undefined:
        st.info(viewer.plain(f"No curve of {name}: {one.undefined}."), icon=":material/info:")
        return
    with right:
        threshold, prevalence = _threshold(evaluated, name), _prevalence(name, one.prevalence)
        point = operating_point(one, threshold, prevalence)
        st.markdown(
            "  \n".join(
                viewer.plain(line) for line in (f"**A threshold of {threshold:g}**", *point_in_words(point))
            ).replace("\\*\\*", "**")
        )
        st.caption(
            "Intervals are over patients. The prevalence is taken as known. A threshold chosen on these X-rays "
            "does better on them than on others: choose it on the validation split."
        )
    stretch = brush.chosen(name)
    with left:
        colour = charts.class_colour(name, evaluated.classes)
        if kind == CALIBRATION:
            bins, scaled = evaluated.calibration(name)
            figure = curve_charts.calibration(bins, scaled, colour)
            brush.chart(figure, name, stretch, key="results:calibration")
            if not scaled:
                st.caption(viewer.plain(f"Not shown after temperature scaling: {evaluated.why_not_scaled()}."))
        elif kind == SCORES:
            figure = curve_charts.scores(histogram(one), name, colour, threshold)
            brush.chart(figure, name, stretch, key="results:scores")
        else:
            _show_curves(evaluated, kind, name, _place(kind, point.counts))
        st.caption(viewer.plain(f"{name}: {one.in_words}. {_ABOUT[kind]}"))
    brush.show(evaluated, name, stretch)


def _kind() -> str:
    pick.arrive(_CURVE, "curve", ROC, allowed=list(TITLES))
    kind = st.segmented_control(
        "Curve", list(TITLES), format_func=TITLES.__getitem__, required=True, key=_CURVE, label_visibility="collapsed"
    )
    pick.leave("curve", kind, ROC)
    return kind or ROC


def _class(evaluated: Evaluated) -> str:
    counts = {name: scores.get("support", 0) for name, scores in evaluated.result["per_class"].items()}
    ranked = sorted(evaluated.classes, key=lambda name: not counts[name])  # those that are there first
    labels = {name: f"{name} ({counts[name]:,})" for name in ranked}
    return pick.from_url("Class", ranked, labels, "class", resets=("threshold", "prevalence", "range"))


def _threshold(evaluated: Evaluated, name: str) -> float:
    default = evaluated.thresholds.get(name, THRESHOLD)
    key = f"results:threshold:{name}"
    rounded = round(round(default / _STEPS[2]) * _STEPS[2], 4)
    pick.arrive(key, "threshold", rounded, pick.number(*_STEPS), accepted=pick.in_steps(*_STEPS))
    value = st.slider("Present above this probability", 0.0, 1.0, step=_STEPS[2], key=key, format="%.3f")
    pick.leave("threshold", f"{value:g}", f"{rounded:g}")
    return default if value == rounded else value


def _prevalence(name: str, here: float) -> float:
    """Let the user choose where predictive values hold; returns a share, by default that of these X-rays."""
    key = f"results:prevalence:{name}"
    default = min(_PERCENT[1], max(_PERCENT[0], round(100 * here, 2)))
    pick.arrive(key, "prevalence", default, _percent(), accepted=f"{_PERCENT[0]:g} to {_PERCENT[1]:g}, in per cent")
    value = st.number_input(
        "Prevalence (%) for the predictive values",
        *_PERCENT,
        step=1.0,
        key=key,
        help=f"How many of 100 X-rays have it where the network is to be used. In these X-rays: {default:g}.",
    )
    pick.leave("prevalence", f"{value:g}", f"{default:g}")
    return here if value == default else value / 100


def _percent() -> Callable[[str], float]:
    def read(text: str) -> float:
        value = float(text)
        if not _PERCENT[0] <= value <= _PERCENT[1]:
            raise ValueError(text)
        return value

    return read


def _place(kind: str, counts: tuple[tuple[int, int], tuple[int, int]]) -> tuple[float, float] | None:
    (tn, fp), (fn, tp) = counts
    if kind == ROC:
        return fp / (fp + tn), tp / (tp + fn)
    return (tp / (tp + fn), tp / (tp + fp)) if tp + fp else None


def _show_curves(evaluated: Evaluated, kind: str, name: str, place: tuple[float, float] | None) -> None:
    drawn = {
        other: evaluated.curve(kind, other, band=other == name)
        for other, one in evaluated.by_class().items()
        if not one.undefined and (not evaluated.several or other == name)
    }
    figure = curve_charts.curves(drawn, name, evaluated.classes, roc=kind == ROC, point=place)
    st.plotly_chart(figure, key=f"results:curves:{kind}")
    absent = [one.undefined for one in evaluated.by_class().values() if one.undefined]
    if absent and not evaluated.several:
        st.caption(viewer.plain(f"Without a curve: {'; '.join(absent)}."))
