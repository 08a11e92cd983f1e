"""A relevance budget in plain sentences, each with its interval and what it is of."""

from __future__ import annotations

from collections.abc import Sequence

from cxr.evaluation.intervals import FEWEST_PATIENTS
from cxr.experiments.relevance.results import PlantedResults, RegionEntry
from cxr.formatting import Estimate, number, p_value, patients, percent, times, xrays

LEAST_MATCH = 0.9
"""Of a region's change of grey, that its controls reach without a remark."""

_PLURAL = ("the lungs", "marked lesions", "devices")


def region_sentence(entry: RegionEntry) -> str:
    """Return one or two sentences on a region: what it holds, and what removing it does against its control."""
    who = entry["title"] if entry["every"] else f"{entry['title']} (explained for {entry['group']})"
    hold = "hold" if entry["title"] in _PLURAL else "holds"
    them = "them" if entry["title"] in _PLURAL else "it"
    control = entry["control_gain"]["value"]
    beside = (
        ""
        if control is None
        else f"; its control places {times(entry['control_gain'])}".replace("its", "their" if them == "them" else "its")
    )
    first = (
        f"{who[0].upper()}{who[1:]} {hold} {percent(entry['share'])} of the relevance, {times(entry['gain'])} what the "
        f"area would{beside}."
    )
    change = f"Removing {them} changes the logit by {number(entry['logit_change'], signed=True)}"
    if entry["control_change"]["value"] is None:
        return f"{first} {change}; there is no room for an equal area elsewhere to compare it with."
    return (
        f"{first} {change}, as much change elsewhere by {number(entry['control_change'], signed=True)}: "
        f"{_verdict(entry)}."
    )


def _verdict(entry: RegionEntry) -> str:
    p = f"corrected p {p_value(entry['p_corrected'])}{_match(entry)}"
    if entry["n_patients"] < FEWEST_PATIENTS:
        return f"too few patients ({entry['n_patients']}) to tell them apart"
    if entry["shown"]:
        return f"the network relies on {'them' if entry['title'] in _PLURAL else 'it'} more than on such places ({p})"
    if entry["p_corrected"] is not None and entry["p_corrected"] < 0.05:
        return f"other places lower it more ({p})"
    return f"no difference is shown ({p})"


def _match(entry: RegionEntry) -> str:
    """Return how much less grey the controls change, where they do."""
    control = entry["control_grey"]
    if control is None or not entry["grey"] or control >= LEAST_MATCH * entry["grey"]:
        return ""
    return f"; the control changes {100 * control / entry['grey']:.0f} % as much grey"


def planted_sentence(planted: PlantedResults) -> str:
    """Return what a mark that was never learnt does, as the background for the relevance of text."""
    sentence = (
        f"A mark that the network cannot know, stamped at the border of {xrays(planted['n'], planted['n_patients'])}, "
        f"holds {times(planted['gain'])} the relevance of its area (the same place without it "
        f"{times(planted['gain_without'])}), changes the logit by {number(planted['logit_change'], signed=True)} and "
        f"{percent(planted['changed'])} of the decisions."
    )
    ratio = planted["text_over_mark"]
    if ratio["value"] is None:
        return sentence
    return f"{sentence} Burned-in text holds {times(ratio)} the relevance per area of the mark: {_against_mark(ratio)}."


def finding(
    entries: Sequence[RegionEntry],
    planted: PlantedResults | None,
    n: int,
    n_patients: int,
    explained: str,
    composite: str,
) -> str:
    """Return the conclusion: the regions of all X-rays, those that the network is shown to rely on first."""
    own = [entry for entry in entries if entry["every"]]
    if not own:
        return f"No map of {xrays(n, n_patients)} holds positive relevance, so that there is nothing to share out."
    shown = [entry for entry in own if entry["shown"]]
    outside = [entry["title"] for entry in shown if entry["region"] in ("text", "border", "devices", "elsewhere")]
    sentences = [f"{xrays(n, n_patients)}, explained for {explained} ({composite})."]
    if outside:
        sentences.append(f"The network relies on what is not lung: {_listed(outside)}.")
    elif shown:
        sentences.append(
            f"It is shown to rely on {_listed([entry['title'] for entry in shown])}, and on nothing outside them. That "
            "is no proof that it does not."
        )
    else:
        sentences.append(
            "Over all of them the network is not shown to rely on any region more than on other places. That is no "
            "proof that it does not."
        )
    sentences += [_change_in_short(entry) for entry in shown]
    by_class = _by_class(entries)
    sentences += [f"By explained class it relies on: {by_class}."] if by_class else []
    text = next((entry for entry in own if entry["region"] == "text"), None)
    if text is not None:
        sentences.append(_text_in_short(text, planted))
    if n_patients < FEWEST_PATIENTS:
        sentences.append(f"With {patients(n_patients)} no difference can be shown: {FEWEST_PATIENTS} are needed.")
    return " ".join(sentences)


def _change_in_short(entry: RegionEntry) -> str:
    return (
        f"Without {entry['title']} its logit changes by {number(entry['logit_change'], signed=True)}, with as much "
        f"change elsewhere by {number(entry['control_change'], signed=True)} (corrected p "
        f"{p_value(entry['p_corrected'])})."
    )


def _text_in_short(text: RegionEntry, planted: PlantedResults | None) -> str:
    """Return how much relevance text holds, beside what a mark holds that was never learnt."""
    first = f"Burned-in text holds {times(text['gain'])} the relevance of its area"
    if planted is None or planted["text_over_mark"]["value"] is None:
        return f"{first}, its control places {times(text['control_gain'])}."
    return f"{first}, a mark that it cannot know {times(planted['gain'])}: {_against_mark(planted['text_over_mark'])}."


def _against_mark(ratio: Estimate) -> str:
    low, high = ratio["low"], ratio["high"]
    if low is not None and low > 1:
        return "more than such a mark gets without being learnt"
    if high is not None and high < 1:
        return "less than such a mark gets without being learnt"
    return "not shown to be more than such a mark gets without being learnt"


def _by_class(entries: Sequence[RegionEntry]) -> str:
    """Return by class the regions that are shown, in words; "" where there is none."""
    shown: dict[str, list[str]] = {}
    for entry in entries:
        if not entry["every"] and entry["shown"]:
            shown.setdefault(entry["group"], []).append(entry["title"])
    return "; ".join(f"{group}: {_listed(titles)}" for group, titles in shown.items())


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def entry_cells(entry: RegionEntry) -> dict[str, str]:
    """Return a row of the table that people read, by its columns; ? where no reliance is shown."""
    return {
        "of": "all X-rays" if entry["every"] else f"explained for {entry['group']}",
        "region": entry["title"] + ("" if entry["shown"] else " ?"),
        "X-rays": f"{entry['n']:,}",
        "share": percent(entry["share"]),
        "area": f"{100 * entry['area']:.1f} %",
        "gain": _plain_times(entry["gain"]),
        "gain elsewhere": _plain_times(entry["control_gain"]),
        "logit without it": number(entry["logit_change"], signed=True),
        "changed elsewhere": number(entry["control_change"], signed=True),
        "p": p_value(entry["p_corrected"]),
    }


def _plain_times(gain: Estimate) -> str:
    return times(gain).replace(" times", "")
