"""Colours are told apart on a light and on a dark ground, and by people who see fewer colours."""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest

from widgets import charts

CONFIG = Path(__file__).parents[2] / "dashboard" / ".streamlit" / "config.toml"
# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
SEEN_BY = {
    "everybody": np.eye(3),
    "people with deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
    ),
    "people with protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "people with tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]]
    ),
}


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])


def _linear(rgb: np.ndarray) -> np.ndarray:
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def _contrast(one: str, other: str) -> float:
    """Return the contrast of WCAG 2, from 1 to 21."""
    low, high = sorted(float(_linear(_rgb(colour)) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def _themes() -> dict[str, dict[str, str]]:
    theme = tomllib.loads(CONFIG.read_text(encoding="utf-8"))["theme"]
    return {name: theme[name] for name in ("light", "dark")}


@pytest.mark.parametrize("name", ["light", "dark"])
def test_every_colour_of_a_chart_stands_out_from_the_page(name: str):
    ground = _themes()[name]["backgroundColor"]
    colours = (*charts.COLOURS, *charts.CLASS_COLOURS, charts.GREY, charts.NOTABLE, charts.ORDINARY)
    assert min(_contrast(colour, ground) for colour in colours) >= 3


@pytest.mark.parametrize("name", ["light", "dark"])
def test_text_is_read_on_the_page_and_in_its_boxes(name: str):
    theme = _themes()[name]
    grounds = (theme["backgroundColor"], theme["secondaryBackgroundColor"])
    for ground, text in itertools.product(grounds, (theme["textColor"], theme["primaryColor"])):
        assert _contrast(text, ground) >= 4.5


@pytest.mark.parametrize("people", SEEN_BY)
def test_classes_are_told_apart(people: str):
    linear = np.clip(np.stack([_linear(_rgb(colour)) for colour in charts.CLASS_COLOURS]) @ SEEN_BY[people].T, 0, 1)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    lab = cv2.cvtColor(rgb[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0]
    assert min(float(np.linalg.norm(one - other)) for one, other in itertools.combinations(lab, 2)) > 15


def test_the_colours_of_the_theme_are_those_of_the_charts():
    assert tomllib.loads(CONFIG.read_text())["theme"]["chartCategoricalColors"] == [*charts.COLOURS]


@pytest.mark.parametrize("name", ["light", "dark"])
def test_numbers_are_read_in_every_cell_of_a_matrix_and_few_are_nearest_to_the_page(name: str):
    for share in np.linspace(0, 1, 41):
        assert _contrast(charts.ink_on(share, name), charts.ground_of(share, name)) >= 4.5, share
    assert (charts.ground_of(0, name), charts.ground_of(1, name)) == charts.MATRIX_COLOURS[name]
    ground = _themes()[name]["backgroundColor"]
    assert (
        _contrast(charts.MATRIX_COLOURS[name][0], ground) < 1.3 < 4 < _contrast(charts.MATRIX_COLOURS[name][1], ground)
    )
