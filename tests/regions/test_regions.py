"""Regions share an X-ray out without overlap, and a view shows its region and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr.data import Manifest
from cxr.data.phantom import make_phantom
from cxr.errors import CxrError, ImageError, ManifestError, RegionError
from cxr.regions import BORDER, REGIONS, VIEWS, Lungs, box_lungs, lungs_in, lungs_many, lungs_of, regions_of, view_of
from cxr.regions.view_names import VIEW_TITLES
from cxr.regions.views import around_lungs
from cxr.text import TextBox

PHANTOM = make_phantom(3, "normal", size=200)
IMAGE = PHANTOM.image[:, :180]
LUNGS = Lungs(PHANTOM.lung_mask[:, :180] > 127, "manifest")
BOXES = [TextBox(0, 0, 60, 12), TextBox(40, 90, 70, 100)]  # in the corner, and over the lungs


def data_set(folder: Path, *, masked: int, n: int = 4) -> Manifest:
    """Write X-rays of which the first ``masked`` have a mask: its left half, as no segmentation would draw it."""
    rows = []
    for number in range(n):
        phantom = make_phantom(number, "normal", size=128)
        Image.fromarray(phantom.image).save(folder / f"{number}.png")
        half = np.zeros((128, 128), np.uint8)
        half[:, :64] = 255
        Image.fromarray(half).save(folder / f"{number}-mask.png")
        rows.append(
            {
                "image_id": f"{number}",
                "image": f"{number}.png",
                "label": ("cats", "dogs")[number % 2],
                "patient_id": f"p{number}",
            }
        )
        rows[-1]["lung_mask"] = f"{number}-mask.png" if number < masked else ""
    return Manifest.from_table(pd.DataFrame(rows), folder)


def test_regions_share_out_every_pixel_and_text_comes_before_lungs_and_lungs_before_the_border():
    device = np.zeros(IMAGE.shape, bool)
    device[80:120, 60:64] = True
    regions = regions_of(IMAGE, LUNGS, BOXES, others={"devices": device})
    assert tuple(regions.masks) == ("devices", *REGIONS)
    assert (np.sum(list(regions.masks.values()), axis=0) == 1).all()
    assert sum(regions.areas().values()) == pytest.approx(1)
    assert (regions.masks["devices"] == device).all()
    assert regions.masks["text"][5, 5]
    assert regions.masks["text"][95, 50]
    assert not regions.masks["lungs"][95, 50]
    assert (regions.masks["lungs"] == LUNGS.mask & ~device & ~regions.masks["text"]).all()
    assert regions.masks["border"][-1, -1]
    assert regions.lungs_source == "manifest"


def test_the_border_is_a_fraction_of_each_side_and_lungs_that_reach_it_stay_lungs():
    lungs = Lungs(np.zeros((100, 300), bool), "box")
    lungs.mask[20:, 100:200] = True
    masks = regions_of(np.zeros((100, 300), np.uint8), lungs, border=0.1).masks
    assert masks["border"].sum() == 100 * 300 - 80 * 240 - 10 * 100
    assert not masks["text"].any()
    assert not regions_of(np.zeros((100, 300), np.uint8), lungs, border=0).masks["border"].any()
    assert not regions_of(np.zeros((9, 9), np.uint8), box_lungs((9, 9)), border=0.5).masks["elsewhere"].any()


@pytest.mark.parametrize("view", ["lungs", "border", "text"])
def test_a_view_shows_the_region_of_its_name_and_the_rest_is_black(view: str):
    image = np.full_like(IMAGE, 77)
    shown = view_of(image, LUNGS, BOXES, view) == 77
    assert (shown == regions_of(image, LUNGS, BOXES).masks[view]).all()
    assert 0 < shown.mean() < 1


def test_without_lungs_a_rectangle_is_black_so_that_their_outline_cannot_be_seen():
    image = np.full_like(IMAGE, 77)
    hidden = view_of(image, LUNGS, BOXES, "no-lungs") == 0
    rows, columns = np.flatnonzero(hidden.any(1)), np.flatnonzero(hidden.any(0))
    assert hidden[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert (hidden & LUNGS.mask).sum() == LUNGS.mask.sum()
    assert hidden.sum() < 2.5 * LUNGS.mask.sum()
    assert not around_lungs(np.zeros((5, 5), bool)).any()


def test_the_whole_view_is_a_copy_and_views_leave_the_given_image_alone():
    before = IMAGE.copy()
    for view in VIEWS:
        seen = view_of(IMAGE, LUNGS, BOXES, view)
        assert seen.shape == IMAGE.shape
        assert seen.dtype == np.uint8
        seen[:] = 1
    assert (before == IMAGE).all()
    assert (view_of(IMAGE, LUNGS, BOXES, "full") == before).all()
    assert not view_of(IMAGE, LUNGS, (), "text").any()
    assert VIEW_TITLES.keys() == set(VIEWS)


def test_a_mask_file_is_brought_to_its_xray_and_an_empty_one_counts_as_none(tmp_path: Path):
    Image.fromarray(PHANTOM.lung_mask).save(tmp_path / "mask.png")
    image = np.zeros((400, 400), np.uint8)
    lungs = lungs_of(image, tmp_path / "mask.png")
    assert lungs.source == "manifest"
    assert lungs.mask.shape == image.shape
    assert (lungs.mask[::2, ::2] == (PHANTOM.lung_mask > 127)).mean() > 0.99
    Image.fromarray(PHANTOM.lung_mask * 0).save(tmp_path / "empty.png")
    assert lungs_of(image, tmp_path / "empty.png", segment=False).source == "box"


def test_boxes_cover_most_of_the_lungs_of_synthetic_xrays():
    shares = []
    for seed in range(6):
        phantom = make_phantom(seed, "normal", size=128)
        lungs = lungs_of(phantom.image, segment=False)
        assert lungs.source == "box"
        shares.append((phantom.lung_mask > 127)[lungs.mask].mean())
    assert np.mean(shares) > 0.55


def test_masks_of_a_manifest_are_used_where_all_xrays_have_one_and_otherwise_for_none(tmp_path: Path):
    for masked, expected in ((4, {"manifest"}), (2, {"segmentation", "box"})):
        folder = tmp_path / str(masked)
        folder.mkdir()
        manifest = data_set(folder, masked=masked)
        sources = {lungs_in(manifest, name, _pixels(manifest, name)).source for name in manifest.ids}
        assert sources <= expected
    assert lungs_in(manifest, "0", _pixels(manifest, "0"), masks="manifest").source == "manifest"
    assert lungs_in(manifest, "3", _pixels(manifest, "3"), masks="manifest").source != "manifest"
    full = Manifest.from_table(data_set(folder, masked=4).table, folder)
    assert lungs_in(full, "0", _pixels(full, "0"), masks="segmentation").source != "manifest"


@pytest.mark.parametrize("workers", [0, 2])
def test_lungs_of_many_xrays_are_those_of_each_in_the_order_asked_for(tmp_path: Path, workers: int):
    manifest, calls = data_set(tmp_path, masked=2), []
    ids = ["2", "0"]
    many = list(lungs_many(manifest, ids, lambda done, n: calls.append((done, n)), workers, masks="manifest"))
    assert [name for name, _ in many] == ids
    assert calls == [(1, 2), (2, 2)]
    for name, lungs in many:
        single = lungs_in(manifest, name, _pixels(manifest, name), masks="manifest")
        assert lungs.source == single.source
        assert (lungs.mask == single.mask).all()
    assert len(dict(lungs_many(manifest, workers=0))) == 4


def test_what_cannot_be_used_is_named(tmp_path: Path):
    manifest = data_set(tmp_path, masked=4)
    with pytest.raises(RegionError, match=r"^unknown view 'half'\. Available: full, no-lungs, lungs, border, text$"):
        view_of(IMAGE, LUNGS, (), "half")
    with pytest.raises(RegionError, match=r"uint8 \(H, W\), not of float64"):
        lungs_of(np.zeros((8, 8)))
    with pytest.raises(RegionError, match=r"^border 0\.7 is out of range"):
        regions_of(IMAGE, LUNGS, border=0.7)
    with pytest.raises(RegionError, match=r"^the mask of lungs is bool of shape \(2, 2\)"):
        regions_of(IMAGE, box_lungs((2, 2)))
    with pytest.raises(RegionError, match=r"^the name 'text' is taken"):
        regions_of(IMAGE, LUNGS, others={"text": LUNGS.mask})
    with pytest.raises(RegionError, match=r"a mask of 128 x 128 pixels does not fit an X-ray of 180 x 200"):
        lungs_of(IMAGE, tmp_path / "0-mask.png")
    with pytest.raises(RegionError, match="unknown choice of lung masks 'own'"):
        lungs_in(manifest, "0", IMAGE, masks="own")
    with pytest.raises(ManifestError, match="'nine' is not in the manifest"):
        lungs_in(manifest, "nine", IMAGE)
    (tmp_path / "1-mask.png").write_text("no picture")
    with pytest.raises(ImageError, match=r"1-mask\.png: is text"):
        list(lungs_many(manifest, workers=0))
    (tmp_path / "0.png").unlink()
    with pytest.raises(CxrError, match=r"0\.png: does not exist"):
        list(lungs_many(manifest, workers=2))


def test_the_border_is_under_a_third_of_the_picture():
    assert 1 - (1 - 2 * BORDER) ** 2 < 1 / 3


def _pixels(manifest: Manifest, name: str) -> np.ndarray:
    return np.asarray(Image.open(manifest.image_path(name)))
