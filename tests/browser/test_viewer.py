"""The viewer worked by mouse and keys in a real Chromium: what it shows is what is stored."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image
from test_journey import WAIT_MS, has_no_traceback, settled

from cxr.data import Manifest, read_xray
from cxr.data.images.resize import fit_square
from cxr.evaluation import predict
from cxr.explain import explain
from cxr.networks import load_network
from cxr.text import TextBox, mask_text

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

IMAGE = "model=demo&data=demo&split=test"
Opened = Callable[..., Any]


def query(tab: Any) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(tab.url).query).items()}


def viewer(tab: Any, expression: str) -> Any:
    """Return what an expression of the viewer ``v`` is."""
    return tab.locator(".viewer").evaluate(f"root => (v => {expression})(root.viewer)")


def pixels(tab: Any, pane: int, layer: str = "image") -> np.ndarray:
    """Return what a canvas of a pane shows, RGB."""
    data = tab.locator(f".pane >> nth={pane} >> canvas.{layer}").evaluate("c => c.toDataURL().split(',')[1]")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)


def pane_box(tab: Any, pane: int = 0) -> dict[str, float]:
    return tab.locator(".pane").nth(pane).bounding_box()


def frame(tab: Any) -> None:
    """Wait until what was asked for is drawn."""
    tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.fixture
def opened(shared_dashboard: Any, tab: Any) -> Opened:
    """Open the explorer as on a small laptop."""
    tab.set_viewport_size({"width": 1280, "height": 720})

    def open_it(more: str = "") -> Any:
        tab.goto(f"{shared_dashboard.url}/explorer?{IMAGE}{more}")
        tab.locator(".viewer canvas").first.wait_for(timeout=WAIT_MS)
        settled(tab)
        return tab

    return open_it


@pytest.fixture
def demo(shared_dashboard: Any) -> Manifest:
    return Manifest.load(shared_dashboard.folder / "data" / "demo" / "manifest.csv")


def test_picture_prediction_and_truth_stand_on_the_first_screen_of_a_small_laptop(opened: Opened) -> None:
    tab = opened()
    for part in (".pane >> nth=0", ".pane >> nth=1", ".pane >> nth=2", ".verdict"):
        box = tab.locator(part).bounding_box()
        assert box["y"] + box["height"] <= 720, part
        assert box["x"] + box["width"] <= 1280, part
    assert pane_box(tab)["width"] >= 280
    assert re.match(r"Predicted \w+ \d\.\d\d\s[✓✗]", tab.locator(".verdict").inner_text())
    assert "True label: " in tab.locator(".verdict").inner_text()
    has_no_traceback(tab)


FINDINGS = """Pleural_Thickening Cardiomegaly Effusion Infiltration Mass Nodule Pneumonia Pneumothorax Consolidation
Edema Emphysema Fibrosis Atelectasis Hernia"""


@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080)])
def test_fourteen_findings_stand_above_the_pictures_in_full(opened: Opened, size: tuple[int, int]) -> None:
    tab = opened()
    tab.set_viewport_size({"width": size[0], "height": size[1]})
    classes = [{"name": name, "probability": 0.5, "logit": 0.0, "explained": False} for name in FINDINGS.split()]
    tab.locator(".viewer").evaluate(
        """async (root, classes) => {
            const v = root.viewer, prediction = {...v.data.prediction, classes};
            await v.update({data: {...v.data, prediction}, setStateValue: v.tell, setTriggerValue: v.trigger});
        }""",
        classes,
    )
    tab.locator(".class").nth(13).wait_for()
    frame(tab)
    assert tab.locator(".stage").get_attribute("data-prediction") == "top"
    cut = "names => names.filter(name => name.scrollWidth > name.clientWidth).map(name => name.textContent)"
    assert tab.locator(".class .name").evaluate_all(cut) == []
    room, picture = tab.locator(".prediction").bounding_box(), pane_box(tab)
    for box in tab.locator(".class").all():
        at = box.bounding_box()
        assert at["y"] + at["height"] <= room["y"] + room["height"]
    assert room["y"] + room["height"] <= picture["y"]
    assert picture["y"] + picture["height"] <= size[1]


def test_words_on_a_picture_are_read_on_any_ground(opened: Opened) -> None:
    tab = opened()
    box = pane_box(tab)
    tab.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    frame(tab)
    ground = tab.locator(".pane .value").first.evaluate("part => getComputedStyle(part).backgroundColor")
    *_, alpha = map(float, re.findall(r"[\d.]+", ground))
    assert alpha >= 0.6, ground
    # White on black of this strength, over a white picture: 4.5 to 1 is what a small text needs.
    grey = 1 - alpha + alpha * 10 / 255
    luminance = ((grey + 0.055) / 1.055) ** 2.4
    assert 1.05 / (luminance + 0.05) >= 4.5


def test_the_title_of_a_picture_covers_none_of_it(opened: Opened) -> None:
    tab = opened()
    titles, pictures = tab.locator(".viewer figcaption"), tab.locator(".pane")
    assert titles.count() == pictures.count() == 3
    for k in range(3):
        title, picture = titles.nth(k).bounding_box(), pictures.nth(k).bounding_box()
        assert title
        assert picture
        assert title["y"] + title["height"] <= picture["y"] + 0.5
        assert title["x"] == pytest.approx(picture["x"], abs=3)
    for end in tab.locator(".titled .scale .end").all():
        box = end.bounding_box()
        assert box
        assert box["y"] + box["height"] <= picture["y"] + 0.5
    numbers = [float(end.inner_text().replace("−", "-")) for end in tab.locator(".titled .scale .end").all()]
    assert len(numbers) == 4
    assert numbers[0] == -numbers[1]
    assert numbers[1] > 0


def test_the_numbers_under_the_cursor_are_those_that_are_stored(opened: Opened, demo: Manifest) -> None:
    tab = opened()
    xray = read_xray(demo.image_path(query(tab)["image"]))
    network, _ = load_network("demo")
    target = tab.locator(".class[aria-pressed=true] .name").inner_text()
    expected = explain(network, fit_square(xray, network.card.size)[None], target).relevance[0].sum(0)
    box = pane_box(tab)
    for across, down in ((0.31, 0.27), (0.62, 0.55)):
        tab.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
        frame(tab)
        x, y, grey = map(int, re.findall(r"\d+", tab.locator(".readout").inner_text()))
        assert grey == xray[y, x]
        assert abs(x - across * xray.shape[1]) <= 2
        shown = [float(value.get_attribute("data-value")) for value in tab.locator(".pane .value").all()]
        size = expected.shape[0]
        at = expected[int((y + 0.5) / xray.shape[0] * size), int((x + 0.5) / xray.shape[1] * size)]
        near = expected[
            max(0, int(down * size) - 1) : int(down * size) + 2, max(0, int(across * size) - 1) : int(across * size) + 2
        ]
        assert shown[0] == grey
        assert shown[1] == shown[2]
        # a stored map holds three digits
        assert np.isclose(near, shown[1], rtol=2e-3, atol=1e-6 * np.abs(expected).max()).any(), (shown[1], at)


def test_every_pane_is_enlarged_at_the_same_place(opened: Opened) -> None:
    tab = opened()
    box = pane_box(tab)
    tab.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + 0.25 * box["height"])
    before = [pixels(tab, k) for k in range(3)]
    for _ in range(3):
        tab.mouse.wheel(0, -200)
    tab.wait_for_function("() => true")
    frame(tab)
    assert float(tab.locator(".viewer").get_attribute("data-zoom")) == pytest.approx(np.exp(1.5), abs=0.01)
    after = [pixels(tab, k) for k in range(3)]
    assert all((one != other).any() for one, other in zip(before, after, strict=True))
    at = np.array(before[0].shape[:2]) // 4  # what was under the cursor stays there
    for k in (0, 2):
        assert np.abs(before[k][tuple(at)] - after[k][tuple(at)]).max() < 40
    tab.mouse.move(box["x"] + 100, box["y"] + 150)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 130, box["y"] + 150, steps=3)
    tab.mouse.up()
    frame(tab)
    moved = pixels(tab, 0)
    np.testing.assert_array_equal(moved[20:200, 60:250], after[0][20:200, 30:220])
    tab.keyboard.press("0")
    frame(tab)
    np.testing.assert_array_equal(pixels(tab, 0), before[0])


def test_settings_change_the_picture_at_once_stay_in_the_address_and_add_no_entry(opened: Opened) -> None:
    tab = opened()
    entries = tab.evaluate("history.length")
    before, grey = pixels(tab, 2), pixels(tab, 0)
    slider = tab.get_by_label("Opacity", exact=True)
    slider.focus()
    for _ in range(16):
        slider.press("ArrowLeft")
    frame(tab)
    np.testing.assert_array_equal(pixels(tab, 2), grey)
    assert (before != grey).any()
    tab.wait_for_url(re.compile(r"opacity=0(&|$)"))
    tab.keyboard.press("i")
    frame(tab)
    np.testing.assert_array_equal(pixels(tab, 0), 255 - grey)
    tab.get_by_label("Colours", exact=True).select_option("purple-green")
    tab.wait_for_url(re.compile(r"invert=1.*"))
    tab.wait_for_url(re.compile(r"colours=purple-green"))
    settled(tab)
    assert tab.evaluate("history.length") == entries
    address = tab.url
    shown = pixels(tab, 1)
    tab.reload()
    tab.locator(".viewer canvas").first.wait_for()
    settled(tab)
    assert tab.url == address
    np.testing.assert_array_equal(pixels(tab, 0), 255 - grey)
    np.testing.assert_array_equal(pixels(tab, 1), shown)


def test_keys_lead_through_xrays_classes_and_panes(opened: Opened) -> None:
    tab = opened()
    first = query(tab)["image"]
    tab.keyboard.press("ArrowRight")
    tab.wait_for_url(lambda url: f"image={first}" not in url)
    second = query(tab)["image"]
    tab.wait_for_function("id => document.querySelector('.st-key-pick-image input').value.endsWith(id)", arg=second)
    settled(tab)
    assert f":{second}:" in tab.locator(".viewer").get_attribute("data-subject")
    explained = tab.locator(".class[aria-pressed=true] .name")
    before = explained.inner_text()
    tab.keyboard.press("k")
    tab.wait_for_url(re.compile("target="))
    tab.wait_for_function(
        "name => [...document.querySelectorAll('*')].some(e => e.shadowRoot?.querySelector("
        "'.class[aria-pressed=true] .name')?.textContent === name)",
        arg=query(tab)["target"],
    )
    assert explained.inner_text() != before
    settled(tab)
    tab.keyboard.press("2")
    assert tab.locator(".pane").count() == 2
    tab.wait_for_url(re.compile("panes=xray%2Coverlay"))
    settled(tab)
    tab.go_back()
    tab.wait_for_url(lambda url: "panes" not in url)
    tab.locator(".pane").nth(2).wait_for()
    tab.keyboard.press("?")
    tab.get_by_role("dialog", name="Keys and mouse").wait_for()
    tab.keyboard.press("?")
    tab.get_by_role("dialog", name="Keys and mouse").wait_for(state="hidden")
    tab.keyboard.press("t")
    tab.locator(".viewer.present .sentence").wait_for()
    assert not tab.get_by_role("button", name="Invert").is_visible()
    tab.keyboard.press("Escape")
    tab.get_by_role("button", name="Invert").wait_for()


def test_a_box_asks_the_network_without_it(opened: Opened, demo: Manifest) -> None:
    tab = opened()
    xray = read_xray(demo.image_path(query(tab)["image"]))
    network, _ = load_network("demo")
    tab.keyboard.press("b")
    box = pane_box(tab)
    tab.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.5 * box["height"])
    tab.mouse.down()
    tab.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.75 * box["height"], steps=4)
    tab.mouse.up()
    table = tab.locator(".region table")
    table.wait_for()
    settled(tab)
    (x0, y0), (x1, y1) = viewer(tab, "v.data.region.points")
    assert abs(x0 / xray.shape[1] - 0.25) < 0.02
    assert abs(y1 / xray.shape[0] - 0.75) < 0.02
    hidden = mask_text(xray, [TextBox(x0, y0, x1, y1, "", 1.0, "word")], "inpaint", 0.0)
    logits = predict(network, fit_square(hidden, network.card.size)[None])[0]
    target = tab.locator(".class[aria-pressed=true] .name").inner_text()
    told = {row[0]: row[1:] for row in viewer(tab, "v.data.region.rows")}
    assert float(told["inpainted"][2]) == pytest.approx(logits[network.classes.index(target)], abs=2e-3)
    assert told["inpainted"][0] == network.classes[int(logits.argmax())]
    assert "5 random places, mean" in told
    assert re.search(
        r"holds [\d.]+ % of the relevance, [\d.]+ times its share of the area", table.locator("..").inner_text()
    )
    tab.keyboard.press("Escape")
    table.wait_for(state="hidden")


def test_a_measure_tells_pixels_and_pictures_can_be_taken_away(opened: Opened) -> None:
    tab = opened()
    clean = pixels(tab, 0, "marks")
    tab.keyboard.press("m")
    box = pane_box(tab)
    tab.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.4 * box["height"])
    tab.mouse.down()
    tab.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.4 * box["height"], steps=4)
    tab.mouse.up()
    frame(tab)
    assert (pixels(tab, 0, "marks") != clean).any()
    (start, end) = viewer(tab, "v.shapes[0].points")
    assert end[0] - start[0] == pytest.approx(0.5, abs=0.01)
    with tab.expect_download() as saved:
        tab.get_by_role("button", name="Save as SVG with legend").click()
    figure = saved.value.path().read_text()
    assert figure.startswith("<svg ")
    assert figure.count("<image ") == 6
    assert "epsilon-plus-flat" in figure
    assert "http" not in figure.replace("http://www.w3.org/2000/svg", "")
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.get_by_role("button", name="Copy as PNG with legend").click()
    tab.get_by_text("Copied as PNG with its legend.").wait_for()
    kinds = tab.evaluate("async () => (await navigator.clipboard.read()).flatMap(item => item.types)")
    assert kinds == ["image/png"]


def test_classes_composites_and_the_masked_version_stand_beside_it(opened: Opened) -> None:
    tab = opened("&classes=all&beside=gradient,epsilon")
    titles = tab.locator(".viewer figcaption").all_inner_texts()
    assert titles[:3] == ["X-ray", f"Heatmap: {tab.locator('.class .name').first.inner_text()}", "Overlay"]
    assert sum(" · logit " in title for title in titles) == 2
    assert titles[-2:] == ["gradient", "epsilon"]
    box = pane_box(tab, 6)
    assert box["y"] + box["height"] <= 720
