"""The form of a recipe: the same fields as its YAML, started from a preset."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import streamlit as st

from cxr.json_types import JsonObject
from cxr.models import list_weights
from cxr.text import MASK_MODES
from cxr.training.recipe import MONITORS

BACKBONES = (
    "densenet-small",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "resnet18",
    "resnet50",
    "efficientnet_b0",
    "convnext_tiny",
)
OPTIMISERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "constant", "step")
PADDINGS = ("reflection", "edge", "black")
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
DEVICES = ("auto", "cpu", "cuda")
NO_WEIGHTS = "none (random)"
TRAINED = ("all", "head", "block-1", "block-2", "block-3", "block-4")
LOSSES = {"single-label": ("auto", "cross-entropy", "focal"), "multi-label": ("auto", "bce", "focal")}
HANDLINGS = {"keep": "keep it", "mask": "mask it before training"}
MEASURED_ON = {"masked": "masked images", "unmasked": "images as they are"}


def _among(options: Sequence[str], value: str) -> list[str]:
    """Return ``options`` with ``value`` among them: a recipe may name more than the form lists."""
    return [*options] if value in options else [value, *options]


def _choice(cell: Any, label: str, options: Sequence[str], value: str, key: str, **more: Any) -> str:
    values = _among(options, value)
    return cell.selectbox(label, values, index=values.index(value), key=key, **more)


def _number(cell: Any, label: str, value: float | None, key: str, help: str, **limits: Any) -> float | None:
    """Return a number, or None where the field is left empty."""
    return cell.number_input(label, value=value, key=key, help=help, placeholder="off", **limits)


def recipe_form(base: JsonObject, *, key: str) -> JsonObject:
    """Show the fields of the recipe ``base`` and return it with what the user changed; validates nothing."""
    recipe = copy.deepcopy(base)
    _network(recipe, base, key)
    stages = recipe["stages"]
    tabs = st.tabs([f"Stage {i + 1}: {stage['name']}" for i, stage in enumerate(stages)])
    for index, (tab, stage) in enumerate(zip(tabs, stages, strict=True)):
        with tab:
            _stage(stage, f"{key}:stage{index}", has_neurons=index > 0 or recipe["weights"] not in (None, "imagenet"))
    with st.expander("Burned-in text, device, precision and heatmaps", icon=":material/tune:"):
        _text(recipe["text"], f"{key}:text")
        _engine(recipe, key)
    return recipe


def _network(recipe: JsonObject, base: JsonObject, key: str) -> None:
    cells = st.columns([3, 3, 2, 2])
    help_ = "Any timm CNN"
    options = {"accept_new_options": True, "help": help_}
    recipe["backbone"] = _choice(cells[0], "Backbone", BACKBONES, recipe["backbone"], f"{key}:backbone", **options)
    if recipe["backbone"] != base["backbone"]:
        recipe["backbone_args"] = {}
    names = [NO_WEIGHTS, "imagenet", *(name for name, _, _ in list_weights())]
    chosen = _choice(
        cells[1],
        "Initial weights",
        names,
        recipe["weights"] or NO_WEIGHTS,
        f"{key}:weights",
        accept_new_options=True,
        help="ImageNet weights come through timm, others from the Weights page. You can also type the path of a file.",
    )
    recipe["weights"] = None if chosen == NO_WEIGHTS else chosen
    recipe["size"] = cells[2].number_input("Image size (pixels)", 32, 1024, int(recipe["size"]), 32, key=f"{key}:size")
    recipe["seed"] = cells[3].number_input("Seed", 0, 2**31 - 1, int(recipe["seed"]), key=f"{key}:seed")


def _text(text: JsonObject, key: str) -> None:
    cells = st.columns([2, 2, 2, 2], vertical_alignment="bottom")
    text["handling"] = cells[0].selectbox(
        "Burned-in text",
        list(HANDLINGS),
        index=list(HANDLINGS).index(text["handling"]),
        format_func=HANDLINGS.__getitem__,
        key=f"{key}:handling",
        help="Masked: text is detected in the files (about a second per image, once) and the network never sees it. "
        "Boxes corrected by hand are used instead of detected ones.",
    )
    if text["handling"] != "mask":
        return
    text["mode"] = cells[1].selectbox(
        "Masked by",
        list(MASK_MODES),
        index=list(MASK_MODES).index(text["mode"]),
        format_func=lambda name: MASK_MODES[name].title,
        key=f"{key}:mode",
        help="  \n".join(f"{mode.title}: {mode.description}" for mode in MASK_MODES.values()),
    )
    text["margin"] = cells[2].number_input(
        "Margin",
        0.0,
        100.0,
        float(text["margin"]),
        0.05,
        key=f"{key}:margin",
        help="Below 1: a share of the box's shorter side. From 1: pixels.",
    )
    text["measure_on"] = cells[3].selectbox(
        "Evaluate on",
        list(MEASURED_ON),
        index=list(MEASURED_ON).index(text["measure_on"]),
        format_func=MEASURED_ON.__getitem__,
        key=f"{key}:measure_on",
        help="The images on which the finished network is evaluated. Its best epoch is always chosen on masked images.",
    )


def _engine(recipe: JsonObject, key: str) -> None:
    cells = st.columns([2, 2, 2, 2, 2], vertical_alignment="bottom")
    help_ = "auto: the first free GPU, or the CPU if there is none"
    recipe["device"] = _choice(cells[0], "Device", DEVICES, recipe["device"], f"{key}:device", help=help_)
    recipe["devices"] = cells[1].number_input(
        "Number of GPUs", 1, 64, int(recipe["devices"]), key=f"{key}:devices", help="They share each batch"
    )
    recipe["precision"] = _choice(
        cells[2], "Precision", PRECISIONS, recipe["precision"], f"{key}:precision", help="auto: bfloat16 on a GPU"
    )
    recipe["compile"] = cells[3].checkbox(
        "Compile",
        recipe["compile"],
        key=f"{key}:compile",
        help=("torch.compile: starts a minute later, then runs faster"),
    )
    recipe["deterministic"] = cells[4].checkbox(
        "Deterministic",
        recipe["deterministic"],
        key=f"{key}:deterministic",
        help=("The same numbers in every run on a GPU"),
    )
    recipe["heatmaps_every"] = _number(
        st.columns(5)[0],
        "Heatmaps every (epochs)",
        recipe["heatmaps_every"],
        f"{key}:heatmaps",
        "While it trains, heatmaps are drawn of the eight X-rays that the last validation got most wrong; the page "
        "Live shows them. Empty: none.",
        min_value=1,
        max_value=10000,
        step=1,
    )


def _stage(stage: JsonObject, key: str, *, has_neurons: bool) -> None:
    cells = st.columns(4)
    stage["epochs"] = cells[0].number_input("Epochs", 1, 1000, int(stage["epochs"]), key=f"{key}:epochs")
    stage["batch"] = cells[1].number_input(
        "Batch", 2, 4096, int(stage["batch"]), key=f"{key}:batch", help="Images per step, over all devices"
    )
    optimiser = stage["optimiser"]
    optimiser["lr"] = cells[2].number_input(
        "Learning rate", 0.0, 10.0, float(optimiser["lr"]), format="%.6f", step=1e-4, key=f"{key}:lr"
    )
    stage["train"] = _choice(
        cells[3],
        "What is trained",
        TRAINED,
        stage["train"],
        f"{key}:train",
        help="block-N: block N and everything after it. Unfreezing epoch by epoch (`unfreeze`) is set in the YAML.",
    )
    if has_neurons:
        stage["keep_neurons"] = st.checkbox(
            "Output neuron keeping",
            stage["keep_neurons"],
            key=f"{key}:keep",
            help=("Output neurons of classes that both tasks share keep their weights, matched by name (see aliases)"),
        )
    if stage["keep_neurons"] and stage["aliases"]:
        same = ", ".join(f"{name} = {meaning}" for name, meaning in stage["aliases"].items())
        st.caption(
            f"Output neurons of classes that both tasks share keep their weights. Treated as the same class: {same}."
        )
    with st.expander("More of this stage: loss, optimiser, monitor, augmentation"):
        _loss(stage, key)
        _optimiser(stage, key)
        _augment(stage["augment"], f"{key}:augment")


def _loss(stage: JsonObject, key: str) -> None:
    cells = st.columns(4)
    stage["loss"] = _choice(cells[0], "Loss", LOSSES[stage["task"]], stage["loss"], f"{key}:loss")
    if isinstance(stage["class_weights"], str):
        weights = ("none", "balanced")
        stage["class_weights"] = _choice(cells[1], "Class weights", weights, stage["class_weights"], f"{key}:weights")
    else:
        cells[1].text_input("Class weights", str(stage["class_weights"]), disabled=True, key=f"{key}:weights:own")
    if stage["loss"] == "focal":
        stage["focal_gamma"] = cells[2].number_input(
            "Focal gamma", 0.0, 10.0, float(stage["focal_gamma"]), 0.5, key=f"{key}:gamma"
        )
    elif stage["task"] == "single-label":
        stage["label_smoothing"] = cells[2].number_input(
            "Label smoothing", 0.0, 0.9, float(stage["label_smoothing"]), 0.05, key=f"{key}:smoothing"
        )
    help_ = "The stage ends after this many epochs without a better value. Empty: never."
    limits = {"min_value": 1, "max_value": 1000, "step": 1}
    stage["early_stop"] = _number(cells[3], "Stop early after", stage["early_stop"], f"{key}:patience", help_, **limits)


def _optimiser(stage: JsonObject, key: str) -> None:
    cells = st.columns(4)
    optimiser, schedule = stage["optimiser"], stage["schedule"]
    optimiser["name"] = _choice(cells[0], "Optimiser", OPTIMISERS, optimiser["name"], f"{key}:optimiser")
    optimiser["weight_decay"] = cells[1].number_input(
        "Weight decay", 0.0, 1.0, float(optimiser["weight_decay"]), format="%.5f", step=1e-4, key=f"{key}:decay"
    )
    schedule["name"] = _choice(cells[2], "Schedule", SCHEDULES, schedule["name"], f"{key}:schedule")
    stage["monitor"] = _choice(
        cells[3],
        "Monitor",
        MONITORS[stage["task"]],
        stage["monitor"],
        f"{key}:monitor",
        help="The best epoch is chosen by it, on validation images only.",
    )
    cells = st.columns(4)
    schedule["warmup_epochs"] = cells[0].number_input(
        "Warm-up (epochs)", 0.0, 1000.0, float(schedule["warmup_epochs"]), 0.5, key=f"{key}:warmup"
    )
    limits: dict[str, Any] = {"min_value": 0.0, "max_value": 1000.0, "step": 0.5}
    help_ = "Largest norm of the gradients. Empty: not clipped."
    clip = _number(cells[1], "Clip gradients at", stage["clip_gradients"], f"{key}:clip", help_, **limits)
    stage["clip_gradients"] = clip or None
    limits = {"min_value": 0.0, "max_value": 0.99999, "step": 0.01, "format": "%.4f"}
    help_ = (
        "Decay of an exponential moving average of the weights. The averaged weights are validated and saved. Empty: "
        "none."
    )
    stage["ema"] = _number(cells[2], "Weight averaging (EMA)", stage["ema"], f"{key}:ema", help_, **limits) or None
    stage["accumulate"] = cells[3].number_input(
        "Accumulation steps",
        1,
        1024,
        int(stage["accumulate"]),
        key=f"{key}:accumulate",
        help=(
            "Gradient accumulation: each batch is computed in this many parts, for a GPU too small for the whole batch"
        ),
    )


def _augment(augment: JsonObject, key: str) -> None:
    st.markdown("**Augmentation**")
    cells = st.columns(6)
    ranges = (
        ("rotate", 45.0, "Rotate ±°"),
        ("translate", 0.5, "Shift ±"),
        ("scale", 0.5, "Scale ±"),
        ("brightness", 0.5, "Brightness ±"),
        ("contrast", 0.9, "Contrast ±"),
    )
    for cell, (name, most, label) in zip(cells, ranges, strict=False):
        step = 1.0 if most > 1 else 0.01
        augment[name] = cell.number_input(label, 0.0, most, float(augment[name]), step, key=f"{key}:{name}")
    augment["padding"] = _choice(
        cells[5],
        "Padding",
        PADDINGS,
        augment["padding"],
        f"{key}:padding",
        help="What fills the frame where a shifted or rotated X-ray leaves it empty: its mirror image, its edge "
        "pixels, or black. Black makes borders that a network may learn.",
    )
    augment["hflip"] = st.checkbox(
        "Mirror left-right",
        bool(augment["hflip"]),
        key=f"{key}:hflip",
        help="Off by default: it swaps the sides of the heart and of the L and R markers. X-rays are never turned "
        "upside down.",
    )
