"""The parameters that the address of each page has."""

from __future__ import annotations

from dataclasses import dataclass

from cxr.explain.composites import option_names


@dataclass(frozen=True)
class Parameter:
    """A parameter of an address.

    ``noun`` is what a message calls its value. What is ``always`` named keeps a link on the same thing although newer
    runs or other defaults come; the others are named where they are not the default. What changes ``in_place``
    replaces the address before it: a slider's ticks are no steps of a user.
    """

    noun: str
    always: bool = False
    in_place: bool = False


_RUN, _SPLIT = Parameter("run", always=True), Parameter("split", always=True)
_MODEL, _DATA = Parameter("network", always=True), Parameter("data set", always=True)
_IMAGE, _PAGE = Parameter("X-ray", always=True), Parameter("page of the list")
_TOUR = Parameter("stop of the tour")
CLUSTERS = {
    "clusters": Parameter("run of clusters", always=True),
    "group": Parameter("explained class"),
    "cluster": Parameter("cluster", always=True),
    "turn": Parameter("page of a cluster's X-rays"),
}
"""What a page has that shows clusters of heatmaps."""
GRID = {
    "heatmaps": Parameter("run of heatmaps"),
    "shown": Parameter("kind of picture"),
    "order": Parameter("order"),
    "down": Parameter("order upside down"),
    "outcome": Parameter("outcome"),
    "confidence": Parameter("range of confidence", in_place=True),
    "from": Parameter("source"),
    "text": Parameter("choice"),
    "share": Parameter("range of shares", in_place=True),
    "column": Parameter("column"),
    "values": Parameter("value"),
}
"""What the explorer's grid is filtered and sorted by."""
LOOK = {
    "opacity": Parameter("opacity", in_place=True),
    "percentile": Parameter("colour percentile", in_place=True),
    "threshold": Parameter("threshold of relevance", in_place=True),
    "colours": Parameter("colour map", in_place=True),
    "scale": Parameter("colour scale", in_place=True),
    "window": Parameter("window of grey values", in_place=True),
    "invert": Parameter("inversion of grey values", in_place=True),
    "panes": Parameter("pane"),
    "outlines": Parameter("outline"),
}
"""How a viewer draws its pictures."""
_BROWSE = {
    "image": _IMAGE,
    "sort": Parameter("order"),
    "label": Parameter("true class"),
    "predicted": Parameter("predicted class"),
    "errors": Parameter("choice of errors alone"),
}
PARAMETERS: dict[str, dict[str, Parameter]] = {
    "home": {"kind": Parameter("kind of run"), "page": _PAGE},
    "data": {
        "tour": _TOUR,
        "tab": Parameter("tab"),
        "data": _DATA,
        "look": Parameter("section"),
        "image": Parameter("X-ray"),
        "label": Parameter("class"),
        "source": Parameter("source"),
        "split": Parameter("split"),
        "page": _PAGE,
        "flag": Parameter("kind of flag"),
        "flags-page": Parameter("page of the flags"),
        "pairs-page": Parameter("page of the duplicates"),
    },
    "train": {"tour": _TOUR, "data": _DATA, "recipe": Parameter("recipe", always=True)},
    "live": {
        "run": _RUN,
        "compare": Parameter("training to compare with"),
        "x": Parameter("axis"),
        "smooth": Parameter("smoothing"),
        "log": Parameter("log scale"),
        "seeds": Parameter("band over seeds"),
        "page": _PAGE,
        "drawn": Parameter("epoch with heatmaps", in_place=True),
    },
    "study": {
        "data": _DATA,
        "tab": Parameter("tab"),
        "study": Parameter("study", always=True),
        "first": Parameter("length of the beginning"),
        "level": Parameter("level to reach"),
        "measure": Parameter("measure"),
    },
    "results": {
        "run": _RUN,
        "split": _SPLIT,
        "cell": Parameter("cell of the matrix"),
        "finding": Parameter("finding"),
        "outcome": Parameter("list of X-rays"),
        "page": _PAGE,
        "unit": Parameter("unit of the matrix"),
        "tab": Parameter("section"),
        "curve": Parameter("curve"),
        "class": Parameter("class"),
        "threshold": Parameter("threshold"),
        "prevalence": Parameter("prevalence"),
        "range": Parameter("range of probabilities"),
        "range-page": _PAGE,
        "column": Parameter("column"),
        "pairs": Parameter("choice of pairs of columns"),
        "slice": Parameter("slice"),
        "slice-page": _PAGE,
    },
    "compare": {
        "runs": Parameter("run"),
        "split": Parameter("split"),
        "measure": Parameter("measure"),
        "pair": Parameter("pair of runs"),
        "finding": Parameter("finding"),
        "list": Parameter("list of X-rays"),
        "page": _PAGE,
    },
    "trust": {
        "tour": _TOUR,
        "model": _MODEL,
        "data": _DATA,
        "split": _SPLIT,
        "external": Parameter("data set from elsewhere"),
        "audit": Parameter("audit", always=True),
        "checklist": Parameter("choice of the checklist"),
        "finding": Parameter("finding"),
        "page": _PAGE,
        "rank": Parameter("region"),
        **{name: parameter for name, parameter in CLUSTERS.items() if name != "clusters"},  # the audit says which run
    },
    "explorer": {
        "tour": _TOUR,
        "model": _MODEL,
        "source": Parameter("source of the X-ray"),
        "data": _DATA,
        "split": _SPLIT,
        **_BROWSE,
        "composite": Parameter("composite"),
        "bias": Parameter("treatment of biases"),
        "target": Parameter("class to explain"),
        "classes": Parameter("choice of classes"),
        **LOOK,
        "masked": Parameter("choice of masked text beside it"),
        "beside": Parameter("composite beside it"),
        "second": Parameter("second network"),
        "other": Parameter("second X-ray"),
        **{name: Parameter(f"value of the option {name}") for name in option_names()},
        "maps": Parameter("run of heatmaps"),
        "look": Parameter("section"),
        **GRID,
        "regions": Parameter("relevance budget"),
        "rank": Parameter("region"),
        **CLUSTERS,
    },
    "text": {
        "tour": _TOUR,
        "look": Parameter("section"),
        "model": _MODEL,
        "data": _DATA,
        "split": _SPLIT,
        "mode": Parameter("way of masking"),
        "margin": Parameter("margin"),
        **_BROWSE,
        "heatmaps": Parameter("choice of heatmaps"),
        # whole split
        "also": Parameter("further way of masking"),
        "draws": Parameter("number of random draws"),
        "seen": Parameter("choice of X-rays seen in training"),
        "all": Parameter("choice of every experiment"),
        "run": Parameter("experiment", always=True),
        "tab": Parameter("tab"),
        "list": Parameter("list of X-rays"),
        "page": _PAGE,
        # stamping
        "token": Parameter("kind of token"),
        "word": Parameter("word"),
        "font": Parameter("font"),
        "ink": Parameter("ink"),
        "from": Parameter("X-ray to cut from"),
        "box": Parameter("token of that X-ray"),
        "take": Parameter("way of cutting"),
        "place": Parameter("place"),
        "towards": Parameter("class that the token may speak for"),
        "size": Parameter("size"),
        "contrast": Parameter("contrast"),
        "control": Parameter("control"),
        "onto": Parameter("class to stamp onto"),
        "cover": Parameter("choice of covered places"),
        "stamping": Parameter("stamping", always=True),
        "curve": Parameter("curve"),
        "dose": Parameter("dose"),
        # vocabulary
        "scope": Parameter("choice of X-rays"),
        "least": Parameter("number of X-rays"),
        "join": Parameter("choice of joined words"),
        "count": Parameter("kind of entry"),
        "entry": Parameter("entry of the table"),
        # correcting boxes
        "reviewed": Parameter("list of X-rays"),
        "zoom": Parameter("zoom"),
    },
    "weights": {"look": Parameter("section"), "model": _MODEL, "from": Parameter("place of the file")},
    "glossary": {"term": Parameter("word")},
    "unknown": {},
}
"""Every parameter of every page. One that is not listed here cannot be read."""
