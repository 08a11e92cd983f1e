"""Weights: the networks at hand with their cards, weights of others brought in, ours given away."""

from __future__ import annotations

import re
from dataclasses import replace

import streamlit as st

from cxr.errors import WeightsError
from cxr.networks import list_networks, network_card

from sections.weights import export_weights, import_weights
from widgets import address, page, pages, pick

AT_HAND, IMPORT = "At hand", "Import"


def networks() -> list[dict]:
    """Return one row for each finished run and each weights file."""
    rows = []
    for network in list_networks(finished=True):
        title = pick.describe_run(network.run) if network.run else network.ref
        origin = "training here" if network.run else "file"
        rows.append({"id": network.ref, "network": title, "from": origin} | _card_cells(network.ref))
    return rows


def _card_cells(network_ref: str) -> dict:
    """Return what the table shows of a card; empty cells where it cannot be read."""
    try:
        card = network_card(network_ref)
    except WeightsError:
        card = None
    if card is None:
        return {"backbone": "", "input": "", "licence": "", "classes": ""}
    return {
        "backbone": card.backbone,
        "input": f"{card.size} px, {'grey' if card.channels == 1 else '3 channels'}",
        "licence": card.licence or "not stated",
        "classes": ", ".join(card.classes),  # last: of many findings they are wider than the page
    }


def show_networks() -> None:
    rows = networks()
    if not rows and not address.asks("model"):
        page.nothing_yet("No network yet. Train one, or import weights above.", pages.TRAIN, "Start a training")
    st.dataframe([{k: v for k, v in row.items() if k != "id"} for row in rows], hide_index=True)
    labels = {row["id"]: row["network"] for row in rows}
    network_ref = pick.from_url("Network", list(labels), labels, "model", missing=pick.missing_network, stays=True)
    card = network_card(network_ref)
    if card is None:
        raise WeightsError(f"{network_ref} has no card")
    name = card.name or network_ref
    left, right = st.columns([3, 1], gap="large")
    with left, st.container(border=True):
        # A part of this page, so below its heading; trainings of one recipe have cards of one name.
        titled = replace(card, name=labels.get(network_ref, name))
        st.markdown(re.sub(r"^#", "##", titled.to_markdown(), flags=re.MULTILINE))
    with right:
        export_weights.card_button(card.to_markdown(), name)
        with page.told_in_one_line():
            export_weights.export_buttons(network_ref, name)
        st.page_link(
            pages.EXPLORER,
            label="See its heatmaps",
            icon=":material/radiology:",
            query_params={"model": network_ref},
        )
    page.command("cxr", "weights", "export", network_ref, "--format", "onnx", "--out", f"{name}.onnx")


def show_import() -> None:
    st.caption(
        "Recognised: timm, torchvision, CheXNet, torchxrayvision and the paper's networks, as tensors or as whole "
        "pickled models. Code inside a file is never run."
    )
    chosen_file = import_weights.choose_file()
    if chosen_file is None:
        page.command("cxr", "weights", "import", "FILE")
        return
    path, called = chosen_file
    candidate = import_weights.look(path)
    import_weights.show_found(candidate)
    if not candidate.report.complete:
        page.command("cxr", "weights", "import", called, "--backbone", candidate.backbone)
        return
    outcome = st.container()  # above the form, where it is seen
    answers = import_weights.ask(candidate, path.name)
    import_weights.show_command(called)
    if answers is not None:
        with outcome, page.told_in_one_line():
            new = import_weights.save(candidate, answers)
            licence = answers.get("licence", "unknown")
            st.success(
                f"Imported as {new}: {', '.join(answers['classes'].split(','))}. Licence: {licence}.",
                icon=":material/check:",
            )
            st.button("See its card", icon=":material/arrow_forward:", on_click=look_at_hand, args=(new,))


def look_at_hand(name: str) -> None:
    address.ask(look=AT_HAND, model=name)


page.header("Weights", "Trained networks and their model cards. Import weights of others, export your own.")
pick.arrive("weights:section", "look", AT_HAND, allowed=(AT_HAND, IMPORT))
section = st.segmented_control(
    "Look at", [AT_HAND, IMPORT], required=True, key="weights:section", label_visibility="collapsed"
)
pick.leave("look", section, AT_HAND)
with page.told_in_one_line():
    if section == AT_HAND:
        show_networks()
    else:
        show_import()
