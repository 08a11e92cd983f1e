"""LRP explorer: which pixels of one X-ray a network's logit rests on."""

from __future__ import annotations

import streamlit as st

from cxr.data import read_xray
from cxr.explain import COMPOSITES, DEFAULT_COMPOSITE
from cxr.explain.render import figure, relevance_2d, to_png

from components import browse, explaining, load, page, pages, pick, subject, viewer

FROM_DATA, UPLOAD = "Data set", "Upload"


def chosen_upload() -> explaining.Xray:
    file = st.file_uploader("X-ray (PNG, JPEG or DICOM)", key="explorer:upload")
    if file is None:
        st.info("Upload a frontal chest X-ray. It stays on this computer.", icon=":material/upload_file:")
        st.stop()
    return explaining.of_upload(file.name, file.getvalue())


page.header(
    "LRP explorer",
    "Which pixels of an X-ray a logit rests on. A heatmap shows what this network used, not where disease is.",
)
with page.told_in_one_line():
    first, second, third, fourth = st.columns([3, 2, 3, 2])
    reference = subject.network(first)
    source = second.segmented_control(
        "X-ray from", [FROM_DATA, UPLOAD], default=FROM_DATA, required=True, key="explorer:source", width="stretch"
    )
    if source == UPLOAD:
        chosen, xray = None, chosen_upload()
    else:
        chosen = subject.choose(reference, third, fourth)
        xray = explaining.of_manifest(
            chosen.data, browse.image(chosen.data, chosen.split, explaining.predictions(chosen))
        )

    network, description = load.model(reference)
    values = explaining.logits(reference, xray)
    predicted = network.classes[int(values.argmax())]

    st.divider()
    rule, goal, look, colour, outline = st.columns([3, 3, 2, 2, 3], vertical_alignment="top")
    with rule:
        composite = pick.from_url(
            "Composite", list(COMPOSITES), {n: c.title for n, c in COMPOSITES.items()}, "composite"
        )
    with goal:
        asked = pick.from_url(
            "Class to explain",
            [explaining.PREDICTED, *network.classes],
            {explaining.PREDICTED: f"predicted: {predicted}"},
            "target",
        )
    target = predicted if asked == explaining.PREDICTED else asked
    pick.remember("explorer:opacity", 0.8)
    opacity = look.slider("Overlay opacity", 0.0, 1.0, step=0.05, key="explorer:opacity")
    pick.remember("explorer:percentile", 99.5)
    percentile = colour.slider(
        "Colour percentile",
        95.0,
        100.0,
        step=0.1,
        key="explorer:percentile",
        help="Relevance at this percentile of its absolute values gets full colour. Lower shows more of weak parts.",
    )
    pick.remember_some("explorer:outlines", xray.masks)
    wanted = outline.pills(
        "Outlines of the ground truth" if xray.masks else "No masks to outline",
        list(xray.masks),
        selection_mode="multi",
        key="explorer:outlines",
    )
    masks = {name: read_xray(xray.masks[name]) for name in wanted if name in xray.masks}
    result = explaining.explanation(reference, xray, composite, target)

relevance = relevance_2d(result.relevance[0])
viewer.show_relevance(xray.pixels, relevance, target=target, opacity=opacity, percentile=percentile, masks=masks)
if masks:
    st.markdown(f"Outlines: {viewer.legend_of(masks)}")
st.markdown(explaining.ledger(result))
st.caption(f"{COMPOSITES[composite].title}: {COMPOSITES[composite].description}")
for note in explaining.warnings(result):
    st.warning(note, icon=":material/info:")

left, right = st.columns([3, 2])
with left:
    verdict = f"True label: **{xray.label}**" if xray.label else "True label unknown"
    st.markdown(f"Predicted **{predicted}** · {verdict}")
    st.dataframe(
        explaining.scores(network, values),
        hide_index=True,
        column_config={
            "probability": st.column_config.ProgressColumn("probability", min_value=0, max_value=1, format="%.3f"),
            "logit": st.column_config.NumberColumn("logit", format="%+.3f"),
        },
    )
with right:
    name = f"{xray.id}_{composite}_{target}"
    picture = figure(
        xray.pixels,
        relevance,
        composite=composite,
        target=target,
        logit=float(result.target_logits.flat[0]),
        absorbed=float(result.absorbed.flat[0]),
        notes=result.notes,
        percentile=percentile,
        alpha=opacity,
        height=512,
    )
    st.download_button(
        "Picture with legend (PNG)",
        to_png(picture),
        f"{name}.png",
        "image/png",
        icon=":material/download:",
        on_click="ignore",
        key="explorer:png",
        width="stretch",
    )
    st.download_button(
        "Relevance of every input value (.npy)",
        explaining.as_npy(result.relevance[0]),
        f"{name}.npy",
        "application/octet-stream",
        icon=":material/download:",
        on_click="ignore",
        key="explorer:npy",
        width="stretch",
        help=f"float32 {result.relevance[0].shape}: channels, height, width of the network's input",
    )
    if chosen is not None:
        st.page_link(
            pages.TEXT,
            label="What does its text do?",
            icon=":material/text_fields:",
            query_params={**chosen.link, "image": xray.id},
        )
st.caption(description)
options = ["--composite", composite] if composite != DEFAULT_COMPOSITE else []
where = ["--data", chosen.command_data] if chosen else []
page.command("cxr", "explain", reference, xray.id if chosen else "IMAGE", *where, "--target", target, *options)
