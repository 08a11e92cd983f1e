"""A checklist filled in: of each item what the run says, or why it says nothing, and what is the author's to write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

from cxr.errors import RunError, unknown, wrong_use
from cxr.networks import training_of
from cxr.reports.checklist.items import CLAIM, ITEMS, MODEL_CARD, TRIPOD, Item
from cxr.reports.checklist.subject import Subject, is_of_network
from cxr.reports.checklist.topics import TOPICS
from cxr.runs import Run, get_run, list_runs

NAMES = {"claim": CLAIM, "tripod": TRIPOD, "card": MODEL_CARD}
"""The checklists by the name that commands take."""

State = Literal["filled", "partly", "not recorded", "author"]
"""All that the item asks for is there; the author adds something; a run could tell it and does not; no run can."""

_COMMANDS = {
    "external": "cxr evaluate RUN --data OTHER",
    "robustness": "cxr text experiment RUN",
    "explainability": "cxr explain RUN",
    "quality": "cxr data audit DATA",
    "demographics": "import sex and age with the data",
    "acquisition": "import the views with the data",
    "slices": "import source, view, sex and age with the data",
    "partitions": "cxr data split DATA",
    "disjoint": "cxr data split DATA",
}


class Entry(TypedDict):
    """One item: ``text`` is what the run says, ``author`` what is left to write, ``missing`` how topics are filled."""

    checklist: str
    number: str
    section: str
    asks: str
    state: State
    text: str
    author: str
    missing: list[str]


class Counts(TypedDict):
    """Items by what became of them."""

    items: int
    filled: int
    partly: int
    not_recorded: int
    author: int


class Checklist(TypedDict):
    """The checklists of a run: ``finding`` in one sentence for each, ``counts`` by checklist, ``entries`` in order."""

    run: str
    finding: str
    counts: dict[str, Counts]
    entries: list[Entry]
    notes: list[str]


NOTES = (
    "Filled means that the run knows what the item asks for. It does not mean that it is good, nor that the text fits "
    "your paper: read it.",
    "Items are named in our own words. The wording that journals ask for is that of Tejani et al. 2024 (CLAIM), "
    "Collins et al. 2024 (TRIPOD+AI) and Mitchell et al. 2019 (model cards).",
)


def fill(run: Run, names: Sequence[str] = ()) -> Checklist:
    """Fill the checklists from a finished training, evaluation or table of predictions.

    Parameters
    ----------
    names
        Of :data:`NAMES`; without any, all of them.

    Raises
    ------
    RunError
        For an unknown checklist, or a run without figures.
    """
    for name in names:
        if name not in NAMES:
            raise wrong_use(RunError(unknown("checklist", name, NAMES)))
    chosen = {NAMES[name] for name in names or NAMES}
    subject = Subject.of(run)
    items = [item for item in ITEMS if item.checklist in chosen]
    texts = {topic: TOPICS[topic](subject) for topic in dict.fromkeys(t for item in items for t in item.topics)}
    entries = [_entry(item, texts) for item in items]
    counts = {
        name: _counts([entry for entry in entries if entry["checklist"] == name])
        for name in dict.fromkeys(item.checklist for item in items)
    }
    return {
        "run": run.id,
        "finding": " ".join(_in_words(name, of) for name, of in counts.items()),
        "counts": counts,
        "entries": entries,
        "notes": list(NOTES),
    }


def measured_run(network: str, table: str = "") -> Run | None:
    """Return the run that a checklist of a network, or of a table of predictions, is filled from.

    It is the network's training, else its newest finished evaluation; None where neither is there.

    Parameters
    ----------
    network
        A training's id, a weights file, or the name of weights; "" for a table.
    table
        The id of the run that measured a table of predictions.
    """
    if table:
        return get_run(table)
    training = training_of(network)
    if training is not None and training.results() is not None:
        return training
    evaluations = (run for run in list_runs(kind="evaluate") if run.results() is not None)
    return next((run for run in evaluations if is_of_network(run, network)), None)


def _entry(item: Item, texts: dict[str, str]) -> Entry:
    said = [texts[topic] for topic in item.topics if texts[topic]]
    missing = [topic for topic in item.topics if not texts[topic]]
    state: State = "filled"
    if not item.topics:
        state = "author"
    elif not said:
        state = "not recorded"
    elif missing or item.author:
        state = "partly"
    hints = [f"{topic.replace('_', ' ')}: `{_COMMANDS[topic]}`" for topic in missing if topic in _COMMANDS]
    return {
        "checklist": item.checklist,
        "number": item.number,
        "section": item.section,
        "asks": item.asks,
        "state": state,
        "text": " ".join(said),
        "author": item.author,
        "missing": hints or [topic.replace("_", " ") for topic in missing],
    }


def _counts(entries: Sequence[Entry]) -> Counts:
    states = [entry["state"] for entry in entries]
    return {
        "items": len(states),
        "filled": states.count("filled"),
        "partly": states.count("partly"),
        "not_recorded": states.count("not recorded"),
        "author": states.count("author"),
    }


def _in_words(name: str, counts: Counts) -> str:
    return (
        f"{name}: of {counts['items']} items {counts['filled']} are filled, {counts['partly']} in part, "
        f"{counts['not_recorded']} could be and are not, {counts['author']} are the author's alone."
    )
