"""LRP explorer: which pixels of one X-ray a network's logit rests on."""

from __future__ import annotations

from functools import partial

import streamlit as st

from cxr.explain import legend
from cxr.explain.render import colour_scale, figure, to_png
from cxr.explain.run_files import safe_names
from cxr.reports.notebooks import ExplainedXray

from sections.explorer import beside, capture, faithfulness, heatmap_facts, masked_text, picture, whole_split
from sections.explorer.choice import Choice
from sections.grid import actions, grid
from sections.trust import cluster_runs, relevance
from services import computing, explaining, load
from widgets import address, browse, page, pages, pick, subject, tables, viewer
from widgets.panes import look

FROM_DATA, UPLOAD = "Data set", "Upload"


def chosen_upload() -> explaining.Xray:
    file = st.file_uploader("X-ray (PNG, JPEG or DICOM)", key="explorer:upload")
    if file is None:
        st.info(
            "Upload a frontal chest X-ray. It stays on this computer. A link to this page does not hold it: whoever "
            "opens the link uploads the X-ray again.",
            icon=":material/upload_file:",
        )
        raise address.Ended
    return explaining.of_upload(file.name, file.getvalue())


page.header(
    "LRP explorer",
    "Which pixels of an X-ray the score of a class (its logit) is based on. A heatmap shows what this network used, "
    "not where disease is.",
    dense=True,
)
with page.told_in_one_line():
    # Two rows without labels: what is chosen says what it is, and the picture stays on the first screen.
    if actions.tell_look():
        grid.section()
        raise address.Ended
    for_network, for_filters, for_image, for_beside, for_grid = st.columns([5, 4, 16, 5, 4])
    for_grid.button("Grid", icon=":material/grid_view:", key="grid:enter", on_click=actions.show_grid, width="stretch")
    for_rule, for_options, for_class = st.columns([12, 5, 10])
    with for_network.popover("Network", width="stretch"):
        network_ref = subject.network(st.container())
        pick.arrive("explorer:source", "source", FROM_DATA, {"upload": UPLOAD}.__getitem__, accepted="upload")
        source = st.segmented_control(
            "X-ray from", [FROM_DATA, UPLOAD], required=True, key="explorer:source", width="stretch"
        )
        pick.leave("source", "upload" if source == UPLOAD else "", "")
        chosen = None if source == UPLOAD else subject.choose(network_ref, st.container(), st.container())
    network, description = load.model(network_ref)
    listed = None
    if chosen is None:
        xray = chosen_upload()
    else:
        filters = for_filters.popover("Filter", width="stretch")
        with filters:
            # A link may sort and filter by predictions; else the first picture does not wait for those of the others.
            needed = any(map(address.asks, ("sort", "predicted", "errors")))
            predictions = explaining.predictions(chosen, wait=needed)
        listed = browse.listed(chosen.data, chosen.split, predictions, network, filters=filters, where=for_image)
        xray = explaining.of_manifest(chosen.data, listed.chosen)

    values = explaining.logits(network_ref, xray)
    options = for_options.popover("Options", width="stretch")
    method = heatmap_facts.choose_method(for_rule, options, options)
    with for_class:
        labels = explaining.class_labels(network, values)
        chosen_class = pick.from_url("Class to explain", list(labels), labels, "target", label_visibility="collapsed")
        follow = explaining.predicted_option(network.classes)
    with for_beside.popover("Beside it", width="stretch"):
        also = beside.choose(chosen, network_ref, method.composite, listed.ids if listed else [], xray.id)
    choice = Choice(network_ref, method, "" if chosen_class == follow else chosen_class, also)
    target, *others = choice.targets(values)
    explained = explaining.heatmaps(network_ref, xray, method, [target, *others])
    heatmap, maps = explained.heatmaps[target], list(explained.heatmaps.values())
    neighbours = beside.neighbours(also, chosen, network_ref, xray, method, target)
    without = masked_text.masked(chosen, xray, method, target) if also.masked and chosen is not None else None
    if without is not None:
        title = f"Text masked: logit {without.heatmap.logit:+.2f}"
        neighbours.append(beside.Neighbour(title, without.xray, without.heatmap))
    explanation = picture.Explanation(network_ref, xray, values, maps, also, neighbours)
    picture.section(explanation, chosen, listed, choice)
    drawn = look.arrive(list(xray.masks))

scale = max(colour_scale(shown_map.relevance, drawn.percentile) for shown_map in maps)
if without is not None and chosen is not None:
    masked_text.show(chosen, xray, without, values)
st.caption(f"{legend.title(heatmap)} · {explained.origin}")
heatmap_facts.show_concerns(maps, scale)
for note in filter(None, [*heatmap.notes, explaining.below_zero(heatmap, network)]):
    st.caption(f":material/info: {viewer.plain(note)}")

left, right = st.columns(2)
with left:
    heatmap_facts.show_ledger(maps)
with right:
    heatmap_facts.show_rules(heatmap)

with page.told_in_one_line():
    faithfulness.section(network_ref, xray, method, target)
    faithfulness.show_localisation(network_ref, xray, method, heatmap)

left, right = st.columns([3, 2])
with left:
    st.markdown(f"{explaining.verdict(network, values)} · {xray.truth(network)}")
    scores = explaining.scores(network, values)
    st.dataframe(
        scores,
        hide_index=True,
        height=tables.height_of(len(scores)),
        column_config={
            "probability": st.column_config.ProgressColumn("probability", min_value=0, max_value=1, format="%.3f"),
            "logit": st.column_config.NumberColumn("logit", format="%+.3f"),
        },
    )
with right:
    names = safe_names([xray.id, *network.classes])
    name = f"{names[xray.id]}_{method.composite}_{names[target]}"
    lines = legend.lines(heatmap)

    def png() -> bytes:
        return to_png(
            figure(xray.pixels, heatmap.relevance, legend=lines, scale=scale, alpha=drawn.opacity, height=512)
        )

    st.download_button(
        "Picture with legend (PNG)",
        png,
        f"{name}.png",
        "image/png",
        icon=":material/download:",
        on_click="ignore",
        key="explorer:png",
        width="stretch",
    )
    xray_file = chosen.data.image_path(xray.id) if chosen else None
    capture.button(network_ref, xray, heatmap, scale, drawn.opacity, xray_file, name)
    st.download_button(
        "Relevance of every input value (.npy)",
        partial(explaining.relevance_npy, network, explaining.network_picture(network_ref, xray), method, target),
        f"{name}.npy",
        "application/octet-stream",
        icon=":material/download:",
        on_click="ignore",
        key="explorer:npy",
        width="stretch",
        help="Signed, float32: channels, height, width of the network's input. Computed when you click.",
    )
    if chosen is not None:
        st.page_link(
            pages.TEXT,
            label="Mask its text",
            icon=":material/text_fields:",
            query_params={**chosen.link, "image": xray.id},
        )
st.caption(viewer.plain(f"{description}. {computing.device_caption()}"))
if chosen is not None:
    with page.told_in_one_line():
        of_each = "" if chosen_class == follow else target
        whole_split.section(chosen, network, method, "all" if also.all_classes else of_each)
        relevance.section(chosen, method, "all" if also.all_classes else of_each)
        cluster_runs.section(chosen, method, "all" if also.all_classes else of_each)
heatmap_facts.show_stored()
where = ["--data", chosen.command_data] if chosen else []
goal_word = "all" if also.all_classes else target
words = heatmap_facts.command_words(method)
command = ["cxr", "explain", network_ref, xray.id if chosen else "IMAGE", *where, "--target", goal_word, *words]
written = "Writes three pictures and the map as an array into the folder where it is run. `--out FOLDER` names another."
page.command(*command, writes=written)
if chosen is not None:
    shown = ExplainedXray(command, network_ref, chosen.manifest_path, xray.id, target, method, heatmap.logit)
    page.notebook(shown, name)
if chosen is not None and predictions is None and not needed:
    with filters:
        late = explaining.predictions(chosen)
    if late is not None:
        st.rerun()  # with what the network said in the list
