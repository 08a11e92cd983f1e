"""The Data page counts looks at held-out X-rays and locks a split; forms offer to open it."""

from __future__ import annotations

from pathlib import Path

import pytest
from apps import codes, opened, said, unfolded
from configurations import CONFIGURATIONS, write_network, write_xrays

from cxr.data import Manifest
from cxr.data.library import save_data_set
from cxr.data.openings import locked_splits, note_opening, set_locked
from cxr.paths import data_root


@pytest.fixture
def own(tmp_path: Path) -> Manifest:
    save_data_set("own", Manifest.load(write_xrays(tmp_path / "xrays", CONFIGURATIONS[0])))
    return Manifest.load(data_root() / "own" / "manifest.csv")


def test_looks_are_listed_and_a_split_is_locked_and_unlocked(own: Manifest) -> None:
    app = opened("data", data="own", look="splits")
    assert not app.exception
    assert "not looked at yet" in said(app)
    note_opening(own, own.ids, run="20260101-000000-aaaaaa-mine", kind="evaluate", network="mine")
    app = opened("data", data="own", look="splits")
    assert f"Split test ({len(own)} X-rays): looked at once." in said(app)
    (looks,) = (frame.value for frame in app.dataframe if "kind" in frame.value.columns and "of" in frame.value.columns)
    assert looks[["split", "run", "kind", "of", "X-rays"]].to_numpy().tolist() == [
        ["test", "20260101-000000-aaaaaa-mine", "evaluate", "mine", len(own)]
    ]
    assert "cxr data openings own" in codes(app)
    titles = [box.label for box in app.expander if box.label.endswith("on the command line")]
    assert titles.count("The same on the command line") == 3, "one of each tab"
    note_opening(own, own.ids, run="20260102-000000-aaaaaa-mine", kind="evaluate", network="other")
    listed = said(opened("data", data="own", look="splits"))
    assert "looked at 2 times (first " in listed
    assert "this figure" not in listed, "there is none beside it"
    app.button(key="openings:Lock:own:test").click().run()
    assert locked_splits(own) == ("test",)
    assert "**Locked.**" in said(app)
    app.button(key="openings:Unlock:own:test").click().run()
    assert locked_splits(own) == ()


def test_a_form_offers_to_open_a_locked_split_and_otherwise_shows_nothing(own: Manifest, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    write_network(CONFIGURATIONS[0], tmp_path / "weights" / "net.safetensors")
    page = {"model": "net", "data": "own", "split": "test"}
    key = "split:open-locked"
    assert key not in [box.key for box in unfolded(opened("explorer", **page), "split").checkbox]
    set_locked("own", ["test"])
    app = unfolded(opened("explorer", **page), "split")
    assert not app.exception
    app.button(key="split:start").click().run()
    assert "is locked" in " ".join(error.value for error in app.error)
    app.checkbox(key=key).check().run()
    assert any("--open-locked" in code for code in codes(app))
