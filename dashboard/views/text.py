"""Text tokens: what burned-in words and letters do to a network's predictions."""

from __future__ import annotations

import streamlit as st

from cxr.experiments.masking.conditions import DEFAULT_DRAWS
from cxr.text import DEFAULT_MARGIN

from sections.text import correct_boxes, experiments, masking_results, stamping, tokens, vocabulary
from services import computing, explaining, load
from widgets import browse, locked, page, pages, pick, subject, tables, viewer, where
from widgets.access import acts

ONE, SPLIT = "One image", "Whole split"
VOCABULARY, BOXES = "Vocabulary", "Correct boxes"
STAMP = "Stamp"
SECTIONS = (ONE, SPLIT, STAMP, VOCABULARY, BOXES)

page.header(
    "Text tokens",
    "Finds words, letters and numbers burned into X-rays, masks them, and compares the network's predictions.",
    dense=True,
)
with page.told_in_one_line():
    experiments.complete_address(SPLIT)
    # What is chosen once stands in two popovers: the picture stays on the first screen.
    for_network, for_masking, for_look = st.columns([4, 4, 18], vertical_alignment="center")
    with for_network.popover("Network", width="stretch"):
        network_ref = subject.network(st.container())
        chosen = subject.choose(network_ref, st.container(), st.container())
    with for_masking.popover("Masking", width="stretch"):
        how = tokens.masking(st.container(), st.container())
    pick.arrive("text:section", "look", ONE, allowed=SECTIONS)
    section = for_look.segmented_control(
        "Look at",
        SECTIONS,
        required=True,
        key="text:section",
        label_visibility="collapsed",
    )
    pick.leave("look", section, ONE)
options = ["--mode", how["mode"]] + (["--margin", how["margin"]] if how["margin"] != DEFAULT_MARGIN else [])

if section == ONE:
    with page.told_in_one_line():
        network, description = load.model(network_ref)
        for_filters, before, for_image, after = st.columns([4, 1, 20, 1], vertical_alignment="bottom")
        filters = for_filters.popover("Filter", width="stretch")
        with filters:
            predictions = explaining.predictions(chosen)
        listed = browse.listed(
            chosen.data, chosen.split, predictions, network, filters=filters, where=[before, for_image, after]
        )
        image_id = listed.chosen
        xray = explaining.of_manifest(chosen.data, image_id)
        boxes, by_hand = tokens.corrected_or_found(chosen, xray)
        if not boxes:
            st.info(
                "No text was found on this X-ray, so masking changes nothing. Try another X-ray or the whole split.",
                icon=":material/text_fields:",
            )
        verdict = st.empty()  # above the picture, on the first screen with it
        tokens.show_pictures(xray, boxes, how)
        if boxes:
            logits = tokens.before_and_masked(chosen, xray, boxes, how)
            verdict.markdown(f"{tokens.verdict(network, logits)} {xray.truth(network)}.")
            with_control = st.empty()  # filled at the end: places for random boxes are searched for seconds
            with_control.caption("Searching places for random boxes, the control …")
            st.markdown(f"Tokens, in pixels of the file{' (corrected by hand)' if by_hand else ''}")
            table = tokens.table(xray, boxes, by_hand=by_hand)
            st.dataframe(table, hide_index=True, column_config=tokens.TABLE_FORMAT, height=tables.height_of(len(table)))
            pick.arrive("text:heatmaps", "heatmaps", False, pick.switched, accepted="0, 1")
            heatmaps = st.toggle("Heatmaps before and after", key="text:heatmaps")
            pick.leave("heatmaps", str(int(heatmaps)), "0")
            if heatmaps:
                tokens.show_heatmaps(chosen, xray, boxes, how, tokens.target_of(network, logits))
        with st.expander("X-rays beside it in the list", icon=":material/view_carousel:"):
            browse.strip(chosen.data, listed)
        st.caption(f"{viewer.plain(description)}. {computing.device_caption()}")
        st.page_link(
            pages.EXPLORER,
            label="Open in the explorer",
            icon=":material/radiology:",
            query_params={**chosen.link, "image": image_id},
        )
    page.command("cxr", "text", "mask", network_ref, image_id, "--data", chosen.command_data, *options)
    if boxes:
        with page.told_in_one_line(below_heading=False):
            logits = tokens.logits(chosen, xray, boxes, how)
            verdict.markdown(f"{tokens.verdict(network, logits)} {xray.truth(network)}.")
            tokens.show_control(with_control.container(), network, logits)
elif section == STAMP:
    with page.told_in_one_line():
        stamping.show(chosen, network_ref)
        st.caption(computing.device_caption())
elif section == VOCABULARY:
    with page.told_in_one_line():
        vocabulary.show(chosen)
elif section == BOXES:
    with page.told_in_one_line():
        correct_boxes.show(chosen)
else:
    n = len(chosen.data.select(split=chosen.split))
    with page.told_in_one_line():
        row = st.container(horizontal=True)
        with row.popover("Options", icon=":material/tune:"):
            params = experiments.settings(how)
            place = where.choose(experiments.KIND)
        params |= locked.choose_open(chosen.manifest_path, [chosen.split] if chosen.split else [], "text")
        label = f"Mask the text of all {n:,} X-rays"
        if acts.button(label, at=row, icon=":material/play_arrow:", type="primary", key="text:start"):
            experiments.begin(chosen, params, place)
        results = st.container()  # what was found comes before the command
        page.command(
            "cxr",
            "text",
            "experiment",
            network_ref,
            "--data",
            chosen.command_data,
            "--split",
            chosen.split,
            *options,
            *(word for mode in params["modes"][1:] for word in ("--mode", mode)),
            *(["--draws", params["draws"]] if params["draws"] != DEFAULT_DRAWS else []),
            *experiments.seen_words(params),
            *locked.words(params),
            *where.words(place),
        )
        with results:
            run = experiments.choose(chosen)
            experiments.watch(run)
            masking_results.show(run)
