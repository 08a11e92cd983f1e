"""LRP explorer: which pixels of one X-ray a network's logit rests on."""

from __future__ import annotations

from functools import partial

import streamlit as st

from cxr.data import read_xray
from cxr.explain import legend
from cxr.explain.render import colour_scale, figure, to_png
from cxr.explain.run_files import safe_names

from sections.explorer import faithfulness, heatmap_facts, masked_text, whole_split
from sections.trust import cluster_runs, relevance
from services import computing, explaining, load
from widgets import address, browse, page, pages, pick, subject, viewer

FROM_DATA, UPLOAD = "Data set", "Upload"
ONE, ALL = "one", "all"
MOST_CLASSES = 12
OPACITY, PERCENTILE = 0.8, 99.5


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
)
with page.told_in_one_line():
    first, second, third, fourth = st.columns([7, 5, 6, 4])
    network_ref = subject.network(first)
    pick.arrive("explorer:source", "source", FROM_DATA, {"upload": UPLOAD}.__getitem__, accepted="upload")
    source = second.segmented_control(
        "X-ray from", [FROM_DATA, UPLOAD], required=True, key="explorer:source", width="stretch"
    )
    pick.leave("source", "upload" if source == UPLOAD else "", "")
    if source == UPLOAD:
        chosen, xray = None, chosen_upload()
    else:
        chosen = subject.choose(network_ref, third, fourth)
        image_id = browse.image(chosen.data, chosen.split, explaining.predictions(chosen), load.model(network_ref)[0])
        xray = explaining.of_manifest(chosen.data, image_id)

    network, description = load.model(network_ref)
    values = explaining.logits(network_ref, xray)
    ranked = [network.classes[k] for k in (-values).argsort(kind="stable")]
    predicted = ranked[0]

    st.divider()
    rule, settings, biases, goal, several = st.columns([8, 5, 6, 7, 4], vertical_alignment="bottom")
    method = heatmap_facts.choose_method(rule, settings, biases)
    with goal:
        follow = explaining.predicted_option(network.classes)
        word = "most probable" if explaining.is_of_findings(network) else "predicted"
        labels = {follow: f"{word}: {predicted}"}
        chosen_class = pick.from_url("Class to explain", [follow, *network.classes], labels, "target")
    target = predicted if chosen_class == follow else chosen_class
    with several:
        shown = pick.from_url("Show", [ONE, ALL], {ONE: "this class", ALL: "all classes"}, "classes")
    look, colour, outline, without_text = st.columns([3, 3, 4, 3], vertical_alignment="top")
    opacities, percentiles = (0.0, 1.0, 0.05), (95.0, 100.0, 0.1)
    accepted = pick.in_steps(*opacities)
    pick.arrive("explorer:opacity", "opacity", OPACITY, pick.number(*opacities), accepted=accepted)
    opacity = look.slider("Overlay opacity", 0.0, 1.0, step=0.05, key="explorer:opacity")
    pick.leave("opacity", f"{opacity:g}", f"{OPACITY:g}")
    accepted = pick.in_steps(*percentiles)
    pick.arrive("explorer:percentile", "percentile", PERCENTILE, pick.number(*percentiles), accepted=accepted)
    percentile = colour.slider(
        "Colour percentile",
        95.0,
        100.0,
        step=0.1,
        key="explorer:percentile",
        help=(
            "Absolute relevance at this percentile gets full colour. A lower percentile shows weak relevance more "
            "clearly."
        ),
    )
    pick.leave("percentile", f"{percentile:g}", f"{PERCENTILE:g}")
    pick.arrive_some("explorer:outlines", "outlines", list(xray.masks))
    outlined = outline.pills(
        "Outlines of the ground truth" if xray.masks else "No masks to outline",
        list(xray.masks),
        selection_mode="multi",
        key="explorer:outlines",
    )
    pick.leave_some("outlines", outlined)
    with without_text:
        masked = chosen is not None and shown == ONE and masked_text.switch()
    masks = {name: read_xray(xray.masks[name]) for name in outlined if name in xray.masks}
    others = [name for name in ranked if name != target][: MOST_CLASSES - 1] if shown == ALL else []
    explained = explaining.heatmaps(network_ref, xray, method, [target, *others])

heatmap, maps = explained.heatmaps[target], list(explained.heatmaps.values())
scale = max(colour_scale(shown_map.relevance, percentile) for shown_map in maps)
side_by_side = False
if masked and chosen is not None:
    with page.told_in_one_line():
        look_at = {"opacity": opacity, "percentile": percentile}
        side_by_side = masked_text.show(chosen, xray, method, target, values=values, **look_at)
if shown == ALL:
    viewer.show_classes(xray.pixels, maps, opacity=opacity, scale=scale, masks=masks)
elif not side_by_side:
    viewer.show_relevance(xray.pixels, heatmap, opacity=opacity, scale=scale, masks=masks)
if masks:
    st.markdown(f"Outlines: {viewer.legend_of(masks)}")
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
    faithfulness.show_localisation(xray, heatmap)

left, right = st.columns([3, 2])
with left:
    st.markdown(f"{explaining.verdict(network, values)} · {xray.truth(network)}")
    st.dataframe(
        explaining.scores(network, values),
        hide_index=True,
        column_config={
            "probability": st.column_config.ProgressColumn("probability", min_value=0, max_value=1, format="%.3f"),
            "logit": st.column_config.NumberColumn("logit", format="%+.3f"),
        },
    )
with right:
    names = safe_names([xray.id, *network.classes])
    name = f"{names[xray.id]}_{method.composite}_{names[target]}"
    lines = legend.lines(heatmap)

    def picture() -> bytes:
        drawn = figure(xray.pixels, heatmap.relevance, legend=lines, scale=scale, alpha=opacity, height=512)
        return to_png(drawn)

    st.download_button(
        "Picture with legend (PNG)",
        picture,
        f"{name}.png",
        "image/png",
        icon=":material/download:",
        on_click="ignore",
        key="explorer:png",
        width="stretch",
    )
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
        whole_split.section(chosen, network, method, "all" if shown == ALL else of_each)
        relevance.section(chosen, method, "all" if shown == ALL else of_each)
        cluster_runs.section(chosen, method, "all" if shown == ALL else of_each)
heatmap_facts.show_stored()
where = ["--data", chosen.command_data] if chosen else []
goal_word = "all" if shown == ALL else target
options = heatmap_facts.command_words(method)
page.command("cxr", "explain", network_ref, xray.id if chosen else "IMAGE", *where, "--target", goal_word, *options)
