"""From a folder with copies to splits that keep them together, worked on the Data page in a real Chromium."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from test_journey import has_no_traceback, settled, wait_until

from cxr.data import Manifest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.mark.slow
def test_copies_in_a_folder_are_found_grouped_and_kept_in_one_split(dashboard: Any, tab: Any) -> None:
    demo = Manifest.load(dashboard.folder / "data" / "demo" / "manifest.csv")
    folder = dashboard.folder / "films"
    chosen = demo.table.drop_duplicates("patient_id").groupby("label").head(8)
    for row in chosen.itertuples():
        place = folder / ("Mass" if row.label == "normal" else "Hernia")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(demo.root / row.image, place / f"{row.image_id}.png")
    original = sorted((folder / "Mass").glob("*.png"))[0]
    image = Image.open(original).convert("L")
    image.save(folder / "Mass" / "zz_again.png")
    image.save(folder / "Mass" / "zz_smaller_file.jpg", quality=80)

    tab.set_viewport_size({"width": 1280, "height": 720})
    tab.goto(f"{dashboard.url}/data?tab=Import")
    path = tab.get_by_label("Folder or file on this machine")
    path.wait_for(timeout=120_000)
    settled(tab)
    path.fill(str(folder))
    path.press("Enter")
    tab.get_by_text("images lie in folders, which may be classes").wait_for()
    settled(tab)
    shown = tab.locator("[data-testid=stTabs] img:visible")
    shown.nth(9).wait_for()  # a picture is in sight once the browser has it
    assert shown.count() == 10, "ten of its X-rays are shown"
    tab.get_by_role("button", name="Try it, keep nothing").click()
    tab.get_by_text("Splits: train").wait_for(timeout=120_000)
    name = tab.locator("input[aria-label='Name of the data set']:visible")
    name.fill("films")
    name.press("Enter")
    settled(tab)
    tab.get_by_role("button", name="Import", exact=True).click()
    manifest = dashboard.folder / "data" / "films" / "manifest.csv"
    wait_until(lambda: manifest.is_file() and "split" in manifest.read_text()[:400], 120, "the import is there")
    wait_until(lambda: (pd.read_csv(manifest)["split"].fillna("") != "").any(), 120, "its splits are made")

    tab.goto(f"{dashboard.url}/data?data=films&look=check")
    tab.get_by_role("button", name="Look for duplicates among these").click()
    keep = tab.get_by_role("button", name="Keep them together in new splits")
    keep.wait_for(timeout=240_000)
    settled(tab)
    keep.click()
    wait_until(
        lambda: json.loads((manifest.parent / "data.json").read_text())["duplicates"]["grouped"], 60, "they are grouped"
    )
    table = pd.read_csv(manifest, keep_default_na=False).set_index("image_id")
    of_one = ("zz_", original.stem)
    copies = [image_id for image_id, image in table["image"].items() if any(name in image for name in of_one)]
    assert len(copies) == 3
    assert table.loc[copies, "dup_group"].nunique() == 1
    assert table.loc[copies, "dup_group"].iloc[0]

    tab.goto(f"{dashboard.url}/data?data=films&look=splits")
    tab.get_by_text("Make the splits again").first.wait_for(timeout=60_000)
    settled(tab)
    field = tab.get_by_label("Seed").locator("visible=true").first
    for seed in ("1", "2"):
        if not field.is_visible():  # what lies over it opens and closes by a click
            tab.get_by_text("Make the splits again").first.click()
        field.fill(seed)
        field.press("Enter")
        settled(tab)
        before = manifest.stat().st_mtime_ns
        tab.get_by_role("button", name="Split", exact=True).click()
        wait_until(lambda before=before: manifest.stat().st_mtime_ns != before, 60, "splits are made again")
        settled(tab)
        splits = pd.read_csv(manifest, keep_default_na=False).set_index("image_id")["split"]
        assert splits[copies].nunique() == 1, "copies stay together"
        assert splits.nunique() >= 2
    has_no_traceback(tab)
