"""Stamping a token onto X-rays: its settings, a preview of one X-ray with live predictions, and runs on a split."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from cxr import formatting
from cxr.data import Manifest
from cxr.errors import TextError
from cxr.experiments.stamping.job import KIND, Refused, Version, versions_of
from cxr.experiments.stamping.settings import (
    CONTRASTS,
    SIZES,
    Setting,
    chosen_images,
    default_class,
    labels_of,
    patch_of,
)
from cxr.json_types import JsonObject
from cxr.runs import Run, list_runs
from cxr.text import TextBox
from cxr.text.stamp import COLOURS, CONTROLS, FONTS, LONGEST_WORD, PLACES, TAKES

from sections.text import experiments, stamping_results, tokens
from services import explaining, load
from services.explaining import Xray
from widgets import address, browse, locked, page, pick, tables, viewer, where
from widgets.access import acts
from widgets.run_state import start
from widgets.subject import Subject

if TYPE_CHECKING:
    from cxr.models import XrayClassifier

WRITTEN, CUT = "a word", "cut from an X-ray"
PLACES_OF_ALL = ("top-right", *(name for name in PLACES if name != "top-right"))
TITLES = {"unstamped": "As it is", "stamped": "Stamped", "control": "Without letters"}
DEFAULT_WORD = "DX"
_PICTURE_SIDE = 520
_CONTROL_TITLES = {"shuffled": "its own ink, shuffled", "plate": "a plain plate"}


@dataclass(frozen=True)
class Choice:
    """What the page asks for: parameters of a run, the dose of the preview, and the X-rays to stamp."""

    params: JsonObject
    setting: Setting
    dose: tuple[float, float]
    images: Manifest


def show(chosen: Subject, network_ref: str) -> None:
    """Show the whole section: settings, preview, run, and what runs found."""
    network, _ = load.model(network_ref)
    choice = _settings(chosen, network)
    _preview(chosen, choice, network)
    opened = locked.choose_open(chosen.manifest_path, [chosen.split] if chosen.split else [], "stamping")
    place = where.choose(KIND)
    n = len(choice.images)
    label = f"Stamp all {n:,} X-rays" if choice.setting.onto else f"Stamp all {n:,} X-rays of the split"
    if acts.button(label, icon=":material/play_arrow:", type="primary", key="stamping:start"):
        address.ask(stamping=start(KIND, choice.params | opened, where=place).id)
        st.rerun()
    sizes, contrasts = (", ".join(map(formatting.share, doses)) for doses in (SIZES, CONTRASTS))
    st.caption(f"Sizes: {sizes} of the image's height. Contrasts: {contrasts}. Each is compared with its control.")
    page.command(*_command(chosen, choice.params), *locked.words(opened), *where.words(place))
    run = _choose(chosen)
    experiments.watch(run)
    stamping_results.show(run)


# --- settings ------------------------------------------------------------------------------------------------------


def _settings(chosen: Subject, network: XrayClassifier) -> Choice:
    classes = network.classes
    first = st.columns([2, 2, 2, 2, 2], vertical_alignment="top")
    with first[0]:
        source = pick.from_url("Token", [WRITTEN, CUT], {}, "token")
    params: JsonObject = {"model": chosen.network_ref, "manifest": chosen.manifest_path, "split": chosen.split}
    second = st.columns([11, 7, 7, 14, 11, 10], vertical_alignment="top")
    if source == WRITTEN:
        params |= _word(first, second[2])
    else:
        params |= _cut(chosen, first, second[2], classes)
    with first[3]:
        params["place"] = pick.from_url("Place", PLACES_OF_ALL, {}, "place")
    with first[4]:
        ranked = sorted(classes, key=lambda name: name != default_class(classes))
        noun = "finding" if explaining.is_of_findings(network) else "class"
        params["towards"] = pick.from_url(f"Target {noun}", ranked, {}, "towards")
    with second[0]:
        size = pick.from_url("Size", _ranked(SIZES, 0.08), _percents(SIZES, " of the height"), "size")
    with second[1]:
        contrast = pick.from_url("Contrast", _ranked(CONTRASTS, 1.0), _percents(CONTRASTS), "contrast")
    with second[3]:
        help_ = "The same box with the same mean grey shows what the patch does without letters"
        params["control"] = pick.from_url("Control", list(CONTROLS), _CONTROL_TITLES, "control", help=help_)
    params["onto"] = _onto(chosen, params["towards"], network.card.task, second[4])
    pick.arrive("stamping:avoid", "cover", True, lambda value: not pick.switched(value), accepted="0, 1")
    help_ = "Moves the stamp to the nearest place free of text. Text is searched for once, about a second per X-ray."
    params["avoid"] = second[5].toggle("Keep text", key="stamping:avoid", help=help_)
    pick.leave("cover", str(int(not params["avoid"])), "0")
    params |= experiments.choose_seen()
    setting = Setting.of(params)
    images, setting = chosen_images(chosen.data, classes, setting, network.card.task)
    return Choice(params, setting, (float(size), float(contrast)), images)


def _word(columns: list[Any], for_ink: Any) -> dict[str, str]:
    with columns[1]:
        pick.arrive("stamping:word", "word", DEFAULT_WORD, _short_word, accepted=f"up to {LONGEST_WORD} letters")
        word = st.text_input("Word", key="stamping:word", max_chars=LONGEST_WORD)
        pick.leave("word", word, DEFAULT_WORD)
    with columns[2]:
        font = pick.from_url("Font", sorted(FONTS, key=lambda name: name != "sans-bold"), {}, "font")
    with for_ink:
        colour = pick.from_url("Ink", list(COLOURS), {}, "ink")
    return {"word": word, "font": font, "colour": colour}


def _short_word(text: str) -> str:
    if len(text) > LONGEST_WORD:
        raise ValueError(text)
    return text


def _cut(chosen: Subject, columns: list[Any], for_take: Any, classes: tuple[str, ...]) -> dict[str, str]:
    """Let the user choose an X-ray of the data set, those of the expected class first, and a token on it."""
    table = chosen.data.table
    target_class = default_class(classes)
    ids = table.sort_values("label", key=lambda labels: labels != target_class, kind="stable")["image_id"].tolist()
    labels = {i: f"{label or 'unlabelled'} · {i}" for i, label in zip(table["image_id"], table["label"], strict=True)}
    with columns[1]:
        image_id = pick.from_url("Cut from", ids, labels, "from")
    xray = explaining.of_manifest(chosen.data, image_id)
    boxes = {f"{b.x0},{b.y0},{b.x1},{b.y1}": b for b in _tokens(chosen, xray)}
    if not boxes:
        raise TextError(f"no text was found on {image_id}: choose another X-ray to cut from, or type a word")
    box_titles = {sides: f"{box.text or box.kind} ({box.width} × {box.height} px)" for sides, box in boxes.items()}
    with columns[2]:
        sides = pick.from_url("Its token", list(boxes), box_titles, "box")
    with for_take:
        help_ = "The ink alone (bright or dark: detected, or chosen here), or the whole box with its background"
        take = pick.from_url("Take", list(TAKES), {}, "take", help=help_)
    return {"cut": f"{image_id}:{sides}", "take": take}


def _onto(chosen: Subject, towards: str, task: str, cell: Any) -> list[str]:
    labels = [name for name in labels_of(chosen.data, task) if name != towards]
    pick.arrive_some("stamping:onto", "onto", labels)
    onto = cell.multiselect("Onto", labels, key="stamping:onto", placeholder="all others")
    pick.leave_some("onto", onto)
    return onto


def _ranked(doses: tuple[float, ...], first: float) -> list[str]:
    return [f"{dose:g}" for dose in sorted(doses, key=lambda dose: dose != first)]


def _percents(doses: tuple[float, ...], unit: str = "") -> dict[str, str]:
    return {f"{dose:g}": f"{formatting.share(dose)}{unit}" for dose in doses}


def _command(chosen: Subject, params: JsonObject) -> list[str]:
    words = ["cxr", "text", "stamp", chosen.network_ref]
    if "cut" in params:
        words += ["--from", params["cut"]] + (["--take", params["take"]] if params["take"] != "ink" else [])
    else:
        words += ["--word", params["word"], "--font", params["font"], "--colour", params["colour"]]
    words += ["--data", chosen.command_data, "--split", chosen.split]
    words += ["--towards", params["towards"], "--place", params["place"], "--control", params["control"]]
    words += [part for label in params["onto"] for part in ("--onto", label)]
    return words + ([] if params["avoid"] else ["--cover"]) + experiments.seen_words(params)


# --- preview -------------------------------------------------------------------------------------------------------


def _tokens(chosen: Subject, xray: Xray) -> list[TextBox]:
    """Return the tokens of an X-ray, corrected ones first."""
    return tokens.corrected_or_found(chosen, xray)[0]


def _preview(chosen: Subject, choice: Choice, network: Any) -> None:
    for_filters, before, for_image, after = st.columns([4, 1, 20, 1], vertical_alignment="bottom")
    filters = for_filters.popover("Filter", width="stretch")
    with filters:
        predictions = explaining.predictions(chosen)
    listed = browse.listed(
        choice.images, chosen.split, predictions, network, filters=filters, where=[before, for_image, after]
    )
    _stamped(chosen, choice, network, listed.chosen)
    with st.expander("X-rays beside it in the list", icon=":material/view_carousel:"):
        browse.strip(choice.images, listed)


def _stamped(chosen: Subject, choice: Choice, network: Any, image_id: str) -> None:
    """Show an X-ray as it is, stamped and with the control, and what the network says of each."""
    xray = explaining.of_manifest(choice.images, image_id)
    setting = choice.setting.model_copy(update={"sizes": choice.dose[:1], "contrasts": choice.dose[1:]})
    drawn_versions = list(
        versions_of(
            xray.pixels,
            image_id,
            patch_of(setting, chosen.data),
            setting,
            _tokens(chosen, xray) if setting.avoid else (),
        )
    )
    refused = next((version for version in drawn_versions if isinstance(version, Refused)), None)
    if refused is not None:
        st.warning(refused.reason, icon=":material/fit_screen:")
        return
    versions = {version.condition: version for version in drawn_versions if isinstance(version, Version)}
    box = versions["stamped"].box
    assert box is not None  # only the unstamped picture has none
    for cell, (name, title) in zip(st.columns(3), TITLES.items(), strict=True):
        picture = versions[name].picture
        cell.image(viewer.at_display_size(picture, _PICTURE_SIDE), caption=title, alt=title, width="stretch")
        cell.image(_close_up(picture, box), alt=f"{title}: the place of the stamp", width="stretch")
    answers = {
        name: explaining.logits(
            chosen.network_ref, replace(xray, stamp=f"{xray.stamp}:{name}:{setting}", pixels=version.picture)
        )
        for name, version in versions.items()
    }
    st.markdown(f"{_verdict(network, answers, setting)} {xray.truth(network)}.")
    rows = _changes(network, answers)
    st.dataframe(rows, hide_index=True, column_config=_FORMAT, height=tables.height_of(len(rows)))


def _close_up(picture: np.ndarray, box: TextBox) -> np.ndarray:
    """Return the stamped place and what lies around it, enlarged, in a frame of 3 to 1 where the X-ray allows."""
    height = min(max(2 * box.height, -(-6 * box.width // 5) // 3), picture.shape[0])
    width = min(3 * height, picture.shape[1])
    top = min(max(0, (box.y0 + box.y1 - height) // 2), picture.shape[0] - height)
    left = min(max(0, (box.x0 + box.x1 - width) // 2), picture.shape[1] - width)
    return viewer.at_display_size(picture[top : top + height, left : left + width], _PICTURE_SIDE)


_FORMAT = {
    **{f"prob. {name}": st.column_config.NumberColumn(format="%.3f") for name in ("as it is", "stamped", "control")},
    **{f"Δ logit {name}": st.column_config.NumberColumn(format="%+.3f") for name in ("stamped", "control")},
}


def _changes(network: Any, answers: dict[str, np.ndarray]) -> pd.DataFrame:
    chances = {name: explaining.probabilities(network, values) for name, values in answers.items()}
    return pd.DataFrame(
        {
            "class": network.classes,
            "prob. as it is": chances["unstamped"],
            "prob. stamped": chances["stamped"],
            "prob. control": chances["control"],
            "Δ logit stamped": answers["stamped"] - answers["unstamped"],
            "Δ logit control": answers["control"] - answers["unstamped"],
        }
    )


def _verdict(network: Any, answers: dict[str, np.ndarray], setting: Setting) -> str:
    token = viewer.plain(setting.title)
    if explaining.is_of_findings(network):
        place = network.classes.index(setting.towards)
        chances = {name: explaining.probabilities(network, values)[place] for name, values in answers.items()}
        return (
            f"With {token} the probability of **{viewer.plain(setting.towards)}** goes from {chances['unstamped']:.3f} "
            f"to {chances['stamped']:.3f}; the same patch without letters gives {chances['control']:.3f}."
        )
    predictions = {name: viewer.plain(network.classes[int(values.argmax())]) for name, values in answers.items()}
    if predictions["stamped"] == predictions["unstamped"]:
        first = f"With {token} the prediction stays **{predictions['unstamped']}**"
    else:
        first = f"{token[0].upper()}{token[1:]} turns **{predictions['unstamped']}** into **{predictions['stamped']}**"
    return f"{first}; the same patch without letters gives **{predictions['control']}**."


# --- runs ----------------------------------------------------------------------------------------------------------


def _choose(chosen: Subject) -> Run:
    """Let the user choose a run of the present network and split; without one, say what to do."""
    runs = [run for run in list_runs(kind=KIND) if _concerns(run, chosen)]
    if not runs and not address.asks("stamping"):
        page.nothing_yet("No stamping experiment on this network and split yet. Start one: it runs in the background.")
    by_id = {run.id: run for run in runs}
    labels = {run.id: _describe(run) for run in runs}
    return by_id[pick.from_url("Stamping", list(by_id), labels, "stamping", missing=_missing)]


def _missing(run_id: str) -> str:
    if any(run.id == run_id for run in list_runs(kind=KIND)):
        return f"The stamping experiment {run_id!r} was made on another network, data set or split than chosen above."
    return pick.missing_run(run_id, (KIND,))


def _concerns(run: Run, chosen: Subject) -> bool:
    params = run.spec["params"]
    same_data = Path(params.get("manifest", "")).resolve() == chosen.manifest_path.resolve()
    return same_data and (params.get("model"), params.get("split", "test")) == (chosen.network_ref, chosen.split)


def _describe(run: Run) -> str:
    params = run.spec["params"]
    token = f"“{params['word']}”" if params.get("word") else f"token of {params.get('cut', '')}"
    towards = f" · towards {params['towards']}" if params.get("towards") else ""
    return f"{token} · {params.get('place', 'top-right')}{towards} · {load.local_time(run.spec['created'])}"
