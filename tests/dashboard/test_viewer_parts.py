"""What stands behind the viewer: what the browser is given, what it tells, and the answers without a region."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from apps import act_in_viewer, change_look, open_in_gallery, opened, shown_in_gallery, shown_in_viewer
from streamlit.testing.v1 import AppTest

from cxr.data import Manifest, read_xray
from cxr.data.images.resize import fit_square
from cxr.data.library import save_data_set
from cxr.evaluation import predict
from cxr.networks import load_network
from cxr.runs import Run
from cxr.text import TextBox, mask_text


def bytes_of(url: str) -> bytes:
    return base64.b64decode(url.partition(",")[2])


def test_pixels_and_relevance_reach_the_browser_without_loss() -> None:
    from widgets.panes import media

    pixels = np.random.default_rng(0).integers(0, 256, (70, 50), np.uint8)
    relevance = np.random.default_rng(1).normal(size=(9, 7)).astype(np.float32)
    sent = cv2.imdecode(np.frombuffer(bytes_of(media.xray_url(pixels, "a stamp", "x")), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(sent, pixels)
    np.testing.assert_array_equal(np.frombuffer(bytes_of(media.map_url(relevance, "x")), "<f4"), relevance.ravel())


def test_the_titles_of_two_pictures_stand_outside_their_frame_which_inherits_neither_letters_nor_colours() -> None:
    def page() -> None:
        import numpy as np

        from widgets import viewer

        grey = np.zeros((8, 8), np.uint8)
        viewer.show_slider(grey, grey, ("as it <is>", "masked"))

    app = AppTest.from_function(page).run()
    assert not app.exception
    (titles,) = (part.proto.body for part in app.get("html"))
    assert "◀ as it &lt;is&gt;" in titles
    assert "masked ▶" in titles
    (frame,) = (part.proto.srcdoc for part in app.get("iframe"))
    assert "figcaption {display: none !important}" in frame


@pytest.mark.parametrize("fill", ["mean", "inpaint"])
@pytest.mark.parametrize("shape", [(90, 120), (1500, 1300)])
def test_a_box_is_filled_as_a_masked_token_is(fill: str, shape: tuple[int, int]) -> None:
    from services import regions

    pixels = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, shape, np.uint8), (0, 0), 3)
    mask = regions.mask_of("box", [(60, 70), (20, 30)], shape)
    assert mask.sum() == 40 * 40
    filled = regions.filled(pixels, mask, fill)
    np.testing.assert_array_equal(filled[~mask], pixels[~mask])
    token = mask_text(pixels, [TextBox(20, 30, 60, 70, "", 1.0, "word")], fill, 0.0)
    if fill == "inpaint":
        np.testing.assert_array_equal(filled, token)
    else:
        assert len(np.unique(filled[mask])) == 1
        assert abs(int(filled[40, 40]) - int(token[40, 40])) <= 6  # rings of another width


def test_a_lasso_is_the_inside_of_its_line_clipped_to_the_xray() -> None:
    from services import regions

    mask = regions.mask_of("lasso", [(10, 10), (40, 10), (10, 40)], (60, 50))
    assert mask[15, 15]
    assert not mask[39, 39]
    assert regions.mask_of("lasso", [(-30, -30), (90, -30), (90, 90), (-30, 90)], (60, 50)).all()
    assert not regions.mask_of("box", [(5, 5), (5, 9)], (60, 50)).any()
    assert regions.filled(np.full((60, 50), 7, np.uint8), np.ones((60, 50), bool), "mean").max() == 0


def test_random_places_have_the_shape_of_the_region_lie_off_it_and_are_always_the_same() -> None:
    from services import regions

    mask = regions.mask_of("lasso", [(10, 10), (30, 12), (14, 34)], (100, 100))
    places = regions.random_places(mask)
    assert len(places) == regions.RANDOM
    assert all(place.sum() == mask.sum() and not (place & mask).any() for place in places)
    np.testing.assert_array_equal(places, regions.random_places(mask))
    assert len({place.tobytes() for place in places}) > 1
    everything = np.ones((20, 20), bool)
    assert all(place.all() for place in regions.random_places(everything))


def test_a_region_is_answered_with_the_prediction_without_it(trained: Run, demo: Manifest) -> None:
    app = opened("explorer", split="test")
    xray = read_xray(demo.image_path(app.selectbox(key="pick:image").value))
    network, _ = load_network(trained.id)
    act_in_viewer(app, "region", kind="box", points=[[20, 30], [70, 90]])
    assert not app.exception, app.exception
    shown = shown_in_viewer(app)
    rows = {row[0]: row[1:] for row in shown["region"]["rows"]}
    hidden = mask_text(xray, [TextBox(20, 30, 70, 90, "", 1.0, "word")], "inpaint", 0.0)
    logits = predict(network, fit_square(hidden, network.card.size)[None])[0]
    target = next(row["name"] for row in shown["prediction"]["classes"] if row["explained"])
    assert float(rows["inpainted"][2]) == pytest.approx(logits[network.classes.index(target)], abs=2e-3)
    assert rows["inpainted"][0] == network.classes[int(logits.argmax())]
    assert len(shown["region"]["random"]) == 5
    assert shown["region"]["title"].startswith("Without this box: 18.")
    act_in_viewer(app, "region", kind="lasso", points=[[20, 30], [70, 30], [20, 90]])
    assert shown_in_viewer(app)["region"]["kind"] == "lasso"
    act_in_viewer(app, "region", kind="box", points=[[20, 30], [20, 30]])
    assert shown_in_viewer(app)["region"] is None
    act_in_viewer(app, "region", kind="box", points=[[20, 30], [70, 90]])
    act_in_viewer(app, "show", to=2)
    assert shown_in_viewer(app)["region"] is None, "it was drawn on another X-ray"
    act_in_viewer(app, "show", to=1)
    act_in_viewer(app, "forget")
    assert shown_in_viewer(app)["region"] is None


def test_settings_out_of_range_are_left_as_they_were_and_refused_in_an_address(trained: Run) -> None:
    app = opened("explorer")
    before = shown_in_viewer(app)["look"]
    change_look(app, opacity=7, percentile="all", colours="rainbow", scale="fixed", fixed=-1, centre=900, width=0)
    assert shown_in_viewer(app)["look"] == before
    for name, value in {"scale": "0", "window": "127", "colours": "rainbow", "panes": "map", "threshold": "2"}.items():
        app = opened("explorer", **{name: value})
        assert not app.exception
        (box,) = app.error
        assert repr(value) in box.value


def test_what_stands_beside_the_picture_is_chosen_in_the_viewer_and_in_the_address(
    trained: Run, demo: Manifest, tmp_path: Path
) -> None:
    ids = demo.select(split="test").ids
    link = {"split": "test", "image": ids[0], "beside": "gradient,epsilon", "second": "demo", "other": ids[1]}
    app = opened("explorer", model=trained.id, **link)
    assert not app.exception, app.exception
    assert not app.error, app.error
    shown = shown_in_viewer(app)
    titles = [pane["title"] for pane in shown["panes"][3:]]
    assert titles[:2] == ["gradient", "epsilon"]
    assert titles[2].startswith("demo · ")
    assert titles[3].startswith(ids[1])
    assert [known["group"] for known in shown["maps"]] == ["first", "gradient", "epsilon", "demo", "first"]
    assert len(shown["images"]) == 2
    act_in_viewer(app, "extra", name="classes")
    assert app.selectbox(key="pick:classes").value == "all"
    act_in_viewer(app, "extra", name="masked")
    assert app.selectbox(key="pick:classes").value == "one"
    assert app.toggle(key="explorer:masked").value
    (text_masked,) = [p for p in shown_in_viewer(app)["panes"] if p["title"].startswith("Text masked: logit ")]
    assert text_masked["image"] == 2


def test_a_second_network_that_is_deleted_is_said_to_be_gone_and_one_that_becomes_the_first_is_not(
    trained: Run, demo: Manifest
) -> None:
    app = opened("explorer", model="demo", second=trained.id, split="test")
    assert not app.error
    app.selectbox(key="pick:model").set_value(trained.id).run()
    assert not app.error, "it is the first network now"
    app.selectbox(key="pick:model").set_value("demo").run()
    app.selectbox(key="pick:second").set_value(trained.id).run()
    trained.delete()
    (error,) = app.run().error
    assert trained.id in error.value


def test_a_picture_of_a_list_opens_large_and_leads_to_its_neighbours(trained: Run, demo: Manifest) -> None:
    app = opened("results")
    ids = [picture["id"] for picture in shown_in_gallery(app)]
    open_in_gallery(app, ids[0])
    assert not app.exception, app.exception
    shown = shown_in_viewer(app)
    assert f"{ids[0]}:" in shown["subject"]
    assert shown["list"]["position"] == 1
    kinds = [pane["kind"] for pane in shown["panes"]]
    assert kinds == ["xray", "heatmap", "overlay"]
    assert shown["prediction"] is not None
    assert {outline["name"] for outline in shown["outlines"]} >= {"lung"}


def test_captions_lose_the_signs_of_markdown_and_keep_their_lines() -> None:
    from widgets import gallery

    assert gallery.without_marks(r"**a\_b** → c\*  " + "\nd") == "a_b → c*\nd"


def test_a_data_set_that_is_deleted_while_the_viewer_is_drawn_is_named_as_gone(
    trained: Run, demo: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sections.explorer import picture

    another = save_data_set("another", demo)
    app = opened("explorer", model=trained.id, data="another")
    assert not app.error
    real = picture.scene

    def deleted_meanwhile(*args: Any, **options: Any) -> Any:
        shutil.rmtree(another, ignore_errors=True)
        return real(*args, **options)

    monkeypatch.setattr(picture, "scene", deleted_meanwhile)
    app.run()
    assert not app.exception
    assert [error.value for error in app.error] == [
        "The address names the data set 'another', which is not here. Available: 'demo'."
    ]


def test_the_label_of_a_box_covers_no_other_box_where_there_is_room_beside_it() -> None:
    from widgets import viewer

    upper, lower = viewer.Rectangle(0, 10, 200, 40), viewer.Rectangle(0, 44, 160, 74)
    size, picture = (80, 20), (400, 300)
    first = viewer.label_place(size, upper, [upper, lower], picture)
    assert first == viewer.Rectangle(202, 10, 282, 30), "above it is no room, below it is the other box"
    second = viewer.label_place(size, lower, [upper, lower, first], picture)
    assert second == viewer.Rectangle(0, 76, 80, 96)
    alone = viewer.Rectangle(100, 100, 150, 130)
    assert viewer.label_place(size, alone, [alone], picture) == viewer.Rectangle(100, 79, 180, 99)
    everywhere = viewer.Rectangle(0, 0, 400, 300)
    assert viewer.label_place(size, alone, [everywhere], picture) == viewer.Rectangle(100, 79, 180, 99)
