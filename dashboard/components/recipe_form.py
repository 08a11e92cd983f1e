"""The form of a recipe: the same fields as its YAML, started from a preset."""

from __future__ import annotations

import copy
from typing import Any

import streamlit as st

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
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
DEVICES = ("auto", "cpu", "cuda")


def _among(options: tuple[str, ...], value: str) -> list[str]:
    """Return ``options`` with ``value`` among them: a recipe may name more than the form lists."""
    return [*options] if value in options else [value, *options]


def _choice(cell: Any, label: str, options: tuple[str, ...], value: str, key: str, **more: Any) -> str:
    values = _among(options, value)
    return cell.selectbox(label, values, index=values.index(value), key=key, **more)


def recipe_form(base: dict[str, Any], *, key: str) -> dict[str, Any]:
    """Show the fields of the recipe ``base`` and return it with what the user changed; validates nothing."""
    recipe = copy.deepcopy(base)
    cells = st.columns(5)
    recipe["backbone"] = _choice(
        cells[0],
        "Backbone",
        BACKBONES,
        recipe["backbone"],
        f"{key}:backbone",
        accept_new_options=True,
        help="Any timm CNN",
    )
    if recipe["backbone"] != base["backbone"]:
        recipe["backbone_args"] = {}
    recipe["size"] = cells[1].number_input("Image size (pixels)", 32, 1024, int(recipe["size"]), 32, key=f"{key}:size")
    recipe["seed"] = cells[2].number_input("Seed", 0, 2**31 - 1, int(recipe["seed"]), key=f"{key}:seed")
    recipe["precision"] = _choice(cells[3], "Precision", PRECISIONS, recipe["precision"], f"{key}:precision")
    recipe["device"] = _choice(
        cells[4], "Device", DEVICES, recipe["device"], f"{key}:device", help="auto: the first GPU where there is one"
    )
    stages = recipe["stages"]
    tabs = st.tabs([f"Stage {i + 1}: {stage['name']}" for i, stage in enumerate(stages)])
    for index, (tab, stage) in enumerate(zip(tabs, stages, strict=True)):
        with tab:
            _stage(stage, f"{key}:stage{index}")
    return recipe


def _stage(stage: dict[str, Any], key: str) -> None:
    cells = st.columns(4)
    stage["epochs"] = cells[0].number_input("Epochs", 1, 1000, int(stage["epochs"]), key=f"{key}:epochs")
    stage["batch"] = cells[1].number_input("Batch", 2, 4096, int(stage["batch"]), key=f"{key}:batch")
    weights = ("none", "balanced")
    stage["class_weights"] = _choice(cells[2], "Class weights", weights, stage["class_weights"], f"{key}:weights")
    stage["train"] = _choice(cells[3], "What is trained", ("all", "head"), stage["train"], f"{key}:train")
    cells = st.columns(4)
    optimiser, schedule = stage["optimiser"], stage["schedule"]
    optimiser["name"] = _choice(cells[0], "Optimiser", OPTIMISERS, optimiser["name"], f"{key}:optimiser")
    optimiser["lr"] = cells[1].number_input(
        "Learning rate", 0.0, 10.0, float(optimiser["lr"]), format="%.6f", step=1e-4, key=f"{key}:lr"
    )
    optimiser["weight_decay"] = cells[2].number_input(
        "Weight decay", 0.0, 1.0, float(optimiser["weight_decay"]), format="%.5f", step=1e-4, key=f"{key}:decay"
    )
    schedule["name"] = _choice(cells[3], "Schedule", SCHEDULES, schedule["name"], f"{key}:schedule")
    _augment(stage["augment"], f"{key}:augment")
    if stage.get("keep_neurons"):
        st.caption("Output neuron keeping: the neurons of the classes shared with the stage before keep their weights.")


def _augment(augment: dict[str, Any], key: str) -> None:
    st.markdown("**Augmentation**")
    cells = st.columns(6)
    ranges = (("rotate", 45.0, "Rotate ±°"), ("translate", 0.5, "Shift ±"), ("scale", 0.5, "Scale ±"))
    ranges += (("brightness", 1.0, "Brightness ±"), ("contrast", 1.0, "Contrast ±"))
    for cell, (name, most, label) in zip(cells, ranges, strict=False):
        step = 1.0 if most > 1 else 0.01
        augment[name] = cell.number_input(label, 0.0, most, float(augment[name]), step, key=f"{key}:{name}")
    augment["hflip"] = cells[5].checkbox(
        "Mirror left-right",
        bool(augment["hflip"]),
        key=f"{key}:hflip",
        help="Off by default: it swaps the sides of the heart and of the L and R markers. X-rays are never turned "
        "upside down.",
    )
