import numpy as np
import pytest
from PIL import Image

from cxr.data import ImageCache, Manifest
from cxr.data.images.resize import fit_square
from cxr.data.phantom import make_phantom
from cxr.errors import ExplainError
from cxr.explain.quality.localisation import localise, mask_at, pointing_game, relevance_mass, relevance_rank


def mask_of(rows, columns, shape=(8, 8)):
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return mask


CORNER = mask_of(slice(0, 2), slice(0, 4))  # 8 of 64 pixels


def test_a_map_inside_the_mask_has_all_it_can_have():
    found = localise(CORNER * 2.0, CORNER)
    assert (found.mass, found.absolute_mass, found.rank, found.pointing) == (1, 1, 1, 1)
    assert found.area == 8 / 64
    assert found.gain == 8


def test_a_map_beside_the_mask_has_nothing():
    found = localise((~CORNER) * 2.0, CORNER)
    assert (found.mass, found.absolute_mass, found.gain, found.rank, found.pointing) == (0, 0, 0, 0, 0)


def test_a_map_of_equal_values_is_at_chance_in_every_measure():
    found = localise(np.ones((8, 8)), CORNER)
    assert (found.mass, found.rank, found.pointing) == pytest.approx((1 / 8, 1 / 8, 1 / 8))
    assert found.gain == pytest.approx(1)


def test_negative_relevance_counts_for_the_absolute_mass_alone():
    relevance = np.where(CORNER, -1.0, 0.0)
    relevance[7, 7] = 2.0
    found = localise(relevance, CORNER)
    assert found.mass == 0
    assert found.absolute_mass == pytest.approx(8 / 10)
    assert relevance_mass(relevance, CORNER) == 0


def test_of_pixels_tied_at_the_last_place_each_counts_by_its_chance():
    relevance = np.zeros((8, 8))
    relevance[0, :4] = 3.0  # four places taken, all inside
    relevance[1, :2] = 1.0  # six tie for the four places left, two of them inside
    relevance[5, :4] = 1.0
    assert relevance_rank(relevance, CORNER) == pytest.approx((4 + 4 * 2 / 6) / 8)
    assert relevance_rank(relevance[::-1], CORNER[::-1]) == relevance_rank(relevance, CORNER)
    assert relevance_rank(relevance[:, ::-1], CORNER[:, ::-1]) == relevance_rank(relevance, CORNER)


def test_equal_maxima_count_by_the_share_that_hits_and_not_by_which_comes_first():
    relevance = np.zeros((8, 8))
    relevance[0, 0] = relevance[7, 7] = relevance[7, 0] = 1.0
    assert pointing_game(relevance, CORNER) == pytest.approx(1 / 3)
    assert pointing_game(relevance[::-1, ::-1], CORNER) == pytest.approx(1 / 3)


@pytest.mark.parametrize(("tolerance", "hit"), [(0, 0), (2.9, 0), (3, 1), (5, 1)])
def test_a_maximum_near_the_mask_counts_within_the_tolerance(tolerance, hit):
    relevance = np.zeros((8, 8))
    relevance[4, 2] = 1.0  # three rows below the mask
    assert pointing_game(relevance, CORNER, tolerance) == hit
    assert localise(relevance, CORNER, tolerance=tolerance).pointing == hit


def test_without_a_mask_or_without_positive_relevance_nothing_is_defined():
    empty = localise(np.ones((8, 8)), np.zeros((8, 8), bool))
    assert np.isnan([empty.mass, empty.absolute_mass, empty.gain, empty.rank, empty.pointing]).all()
    assert empty.area == 0
    negative = localise(-np.ones((8, 8)), CORNER)
    assert np.isnan([negative.mass, negative.gain, negative.rank, negative.pointing]).all()
    assert negative.absolute_mass == pytest.approx(1 / 8)
    assert np.isnan(localise(np.zeros((8, 8)), CORNER).absolute_mass)


def test_channels_are_added_up_first():
    relevance = np.stack([CORNER * 1.0, ~CORNER * -1.0, ~CORNER * 1.0])
    assert localise(relevance, CORNER).absolute_mass == 1


def test_masks_of_bytes_count_from_the_middle_up():
    assert localise(CORNER * 1.0, CORNER * np.uint8(128)).mass == 1
    assert np.isnan(localise(CORNER * 1.0, CORNER * np.uint8(127)).mass)


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_a_mask_goes_where_the_image_cache_puts_the_pixels_it_marks(tmp_path, fit):
    bright = np.zeros((150, 260), np.uint8)
    bright[40:110, 70:190] = 255
    Image.fromarray(bright).save(tmp_path / "x.png")
    (tmp_path / "manifest.csv").write_text("image,image_id,label\nx.png,x,normal\n")
    cache = ImageCache.build(Manifest.load(tmp_path / "manifest.csv"), 48, root=tmp_path, workers=0, fit=fit)
    assert np.array_equal(mask_at(bright, 48, fit), cache["x"] > 127)
    assert np.array_equal(mask_at(bright > 0, 48, fit), mask_at(bright, 48, fit))
    relevance = (cache["x"] > 127).astype(float)
    assert localise(relevance, bright, fit=fit).mass == 1


def test_masks_of_a_synthetic_x_ray_keep_their_areas_at_the_size_of_a_network():
    phantom = make_phantom(2, "pneumonia")
    for mask in (phantom.lung_mask, phantom.lesion_mask, phantom.token_mask):
        small = mask_at(mask, 128)
        assert small.mean() == pytest.approx((mask > 127).mean(), rel=0.2)
    dark = 255.0 - fit_square(phantom.image, 128)
    assert localise(dark, phantom.lung_mask).gain > 1.1


@pytest.mark.parametrize(
    ("relevance", "mask", "named"),
    [
        (np.ones((8, 8)), np.ones((8, 8)), r"a mask of float64 and shape \(8, 8\) is unknown. Accepted: bool or uint8"),
        (np.ones((8, 8)), np.ones((8, 8, 3), bool), r"shape \(8, 8, 3\)"),
        (
            np.ones((8, 9)),
            np.ones((16, 16), bool),
            r"a mask of shape \(16, 16\) does not fit relevance of shape \(8, 9\)",
        ),
        (np.full((8, 8), np.inf), CORNER, "not finite"),
        (np.ones((2, 3, 8, 8)), CORNER, r"\(2, 3, 8, 8\) is not one map"),
    ],
)
def test_maps_and_masks_that_cannot_be_compared_are_refused(relevance, mask, named):
    with pytest.raises(ExplainError, match=named):
        localise(relevance, mask)


def test_a_negative_tolerance_is_refused():
    with pytest.raises(ExplainError, match=r"tolerance -1 is not allowed. Accepted: 0 or more"):
        pointing_game(np.ones((8, 8)), CORNER, -1)
