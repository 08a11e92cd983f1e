import io

import numpy as np
import pytest
from PIL import Image

from cxr.errors import ExplainError
from cxr.explain.render import (
    colour_scale,
    colourbar,
    figure,
    heatmap_rgb,
    overlay,
    relevance_2d,
    scale_line,
    to_png,
)


def test_red_is_positive_blue_negative_white_zero_and_the_scale_symmetric():
    rgb = heatmap_rgb(np.array([[2.0, -2.0, 0.0, 1.0, -1.0]])).astype(int)
    assert tuple(rgb[0, 2]) == (255, 255, 255)
    assert rgb[0, 0, 0] > rgb[0, 0, 2]
    assert rgb[0, 1, 2] > rgb[0, 1, 0]
    # A map with a small negative part does not show it in full blue.
    weak = heatmap_rgb(np.array([[2.0, -0.2]])).astype(int)
    assert weak[0, 1].min() > 200


def test_the_scale_is_the_largest_absolute_value_or_a_percentile_of_it():
    relevance = np.zeros((1, 10, 10))
    relevance[0, 0, 0], relevance[0, 0, 1] = -5.0, 1.0
    assert colour_scale(relevance) == 5.0
    assert colour_scale(relevance, 99) < 5.0
    assert np.array_equal(heatmap_rgb(relevance, scale=5.0), heatmap_rgb(relevance))
    assert not np.array_equal(heatmap_rgb(relevance, scale=50.0), heatmap_rgb(relevance))


def test_zeros_and_values_that_are_no_numbers_are_drawn_without_failing():
    assert (heatmap_rgb(np.zeros((4, 4))) == 255).all()
    strange = np.array([[np.nan, np.inf, -np.inf, 1.0]])
    assert tuple(heatmap_rgb(strange)[0, 0]) == (255, 255, 255)


def test_channels_are_summed():
    relevance = np.random.default_rng(0).normal(size=(2, 3, 8, 9))
    assert relevance_2d(relevance).shape == (2, 8, 9)
    assert np.allclose(relevance_2d(relevance)[1], relevance[1].sum(0))
    with pytest.raises(ExplainError, match=r"\(3,\)"):
        relevance_2d(np.zeros(3))


def test_an_overlay_has_the_size_of_the_xray_and_leaves_it_alone_where_relevance_is_zero():
    image = np.random.default_rng(0).integers(0, 256, (300, 200), dtype=np.uint8)
    relevance = np.zeros((1, 32, 32))
    relevance[0, 24:, 24:] = 1.0
    laid = overlay(image, relevance)
    assert laid.shape == (300, 200, 3)
    assert np.array_equal(laid[:200, :100], np.repeat(image[:200, :100, None], 3, axis=2))
    corner = laid[260:, 180:].astype(int)
    assert (corner[..., 0] - corner[..., 2]).mean() > 40
    assert np.array_equal(overlay(image, relevance, alpha=0.0)[..., 0], image)


def test_wrong_alpha_and_percentile_are_named():
    with pytest.raises(ExplainError, match="alpha 2"):
        overlay(np.zeros((4, 4), np.uint8), np.zeros((4, 4)), alpha=2)
    with pytest.raises(ExplainError, match="percentile 0"):
        colour_scale(np.zeros((4, 4)), 0)


def test_a_colour_bar_runs_from_red_to_blue_and_shows_numbers():
    bar = colourbar(0.25, height=200).astype(int)
    assert bar.shape == (200, 84, 3)
    assert bar[15, 8, 0] > bar[15, 8, 2]
    assert bar[185, 8, 2] > bar[185, 8, 0]
    assert (bar[:, 20:].min(axis=(1, 2)) < 100).sum() > 20  # ink of the numbers
    assert not np.array_equal(bar, colourbar(0.5, height=200))


def test_a_figure_with_its_legend_is_a_png_that_grows_with_its_notes():
    image = np.random.default_rng(0).integers(0, 256, (120, 100), dtype=np.uint8)
    relevance = np.random.default_rng(1).normal(size=(1, 32, 32))
    plain = figure(image, relevance, legend=["epsilon-plus-flat · target covid19"], height=120)
    noted = figure(image, relevance, legend=["epsilon-plus-flat", "an approximation " * 12], height=120)
    assert noted.shape[0] > plain.shape[0] > 120
    png = to_png(noted)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), noted)


def test_the_line_of_the_scale_says_how_many_pixels_lie_beyond_full_colour():
    relevance = np.zeros((10, 10))
    relevance[0, :2] = 4.0, -3.0
    assert scale_line(relevance, 2.0).endswith("full colour at ±2; 2 % of the pixels lie beyond it")
    assert scale_line(relevance, 4.0).endswith("full colour at ±4")
    assert scale_line(np.zeros((4, 4)), 0.0).endswith("full colour at ±0")
