"""The explorer's grid in a real Chromium: only what is in sight is fetched, by mouse and by keys."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from test_journey import has_no_traceback, settled, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

AXE_LIMITS = ("serious", "critical")


@pytest.fixture
def grid(dashboard: Any, tab: Any) -> Any:
    """The grid of the 80 or so X-rays of the split train, as on a small laptop."""
    tab.set_viewport_size({"width": 1280, "height": 720})
    tab.goto(f"{dashboard.url}/explorer?model=demo&data=demo&split=train&look=grid")
    tab.locator(".xgrid-tile img").first.wait_for(timeout=120_000)
    settled(tab)
    return tab


def of_grid(tab: Any, expression: str) -> Any:
    return tab.locator(".xgrid").evaluate(f"root => (g => {expression})(root.grid)")


def drawn(tab: Any) -> list[int]:
    return sorted(of_grid(tab, "[...g.cells.keys()]"))


def knows_of(tab: Any, n: int) -> None:
    """Wait until the buttons work on what is selected: the grid's own words are there before the server knows."""
    tab.locator("[data-testid=stMarkdown]", has_text=f"{n} selected").wait_for()


def test_only_tiles_in_sight_are_drawn_and_scrolling_brings_the_others(grid: Any) -> None:
    total = of_grid(grid, "g.total")
    assert total > 60
    assert len(drawn(grid)) < total
    assert of_grid(grid, "g.tiles.size") < total, "the others were not even asked for"
    box = grid.locator(".xgrid").bounding_box()
    assert box["y"] < 200
    assert box["y"] + box["height"] <= 720, "the grid ends on the first screen"
    of_grid(grid, "g.root.scrollTop = g.root.scrollHeight")
    last = grid.locator(f".xgrid-tile[data-place='{total - 1}'] img")
    last.wait_for()
    wait_until(
        lambda: last.evaluate("image => image.complete && image.naturalWidth") == 160, 30, "its picture is there"
    )
    assert 0 not in drawn(grid)[1:], "those out of sight are gone, but for the one that keeps the focus"
    has_no_traceback(grid)


def test_keys_move_select_and_open(grid: Any) -> None:
    first = grid.locator(".xgrid-tile button").first
    first.focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft"):
        grid.keyboard.press(key)
    per_row = of_grid(grid, "g.perRow")
    assert of_grid(grid, "g.at") == per_row
    grid.keyboard.press(" ")
    grid.keyboard.press("ArrowRight")
    grid.keyboard.press(" ")
    assert of_grid(grid, "g.selected.size") == 2
    knows_of(grid, 2)
    settled(grid)
    grid.get_by_role("button", name="Side by side").click()
    grid.locator("[role=dialog] .viewer .pane").nth(1).wait_for()
    assert grid.locator("[role=dialog] .viewer .pane").count() == 2
    grid.keyboard.press("Escape")
    grid.locator("[role=dialog]").wait_for(state="detached")
    grid.locator(".xgrid-tile button").first.focus()
    grid.keyboard.press("End")
    total = of_grid(grid, "g.total")
    wait_until(lambda: of_grid(grid, "g.at") == total - 1, 30, "End leads to the last")
    last = grid.locator(f".xgrid-tile[data-place='{total - 1}'] button")
    last.wait_for()
    last.focus()
    wanted = last.get_attribute("title").split(":")[0]
    grid.keyboard.press("Enter")
    grid.locator(".viewer canvas").first.wait_for(timeout=120_000)
    settled(grid)
    assert parse_qs(urlsplit(grid.url).query)["image"] == [wanted]
    has_no_traceback(grid)


def test_a_click_on_a_box_selects_and_with_shift_a_row_of_them(grid: Any) -> None:
    boxes = grid.locator(".xgrid-tile input")
    boxes.nth(0).click()
    boxes.nth(4).click(modifiers=["Shift"])
    knows_of(grid, 5)
    settled(grid)
    assert of_grid(grid, "g.selected.size") == 5
    with grid.expect_download() as download:
        grid.get_by_role("button", name="CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 6
    assert lines[0].startswith("image_id,label")


def test_a_file_saved_right_after_a_selection_is_of_that_selection(grid: Any) -> None:
    """The two clicks come within one task of the browser: no page could have heard of the first between them."""
    for at in (0, 5, 9):
        chosen = grid.locator(".xgrid-tile").nth(at)
        wanted = chosen.locator("button").get_attribute("title").split(":")[0]
        if of_grid(grid, "g.selected.size"):
            grid.get_by_role("button", name="Select none").click()
            knows_of(grid, 0)
            settled(grid)
        with grid.expect_download() as download:
            chosen.evaluate(
                "tile => { tile.querySelector('input').click();"
                "document.querySelector('.st-key-grid-csv button').click(); }"
            )
        lines = download.value.path().read_text().splitlines()
        assert [line.split(",")[0] for line in lines[1:]] == [wanted]
    has_no_traceback(grid)


def test_select_all_and_none_overrule_a_selection_that_is_on_its_way(grid: Any) -> None:
    total = of_grid(grid, "g.total")
    grid.locator(".xgrid-tile").first.evaluate(
        "tile => { tile.querySelector('input').click(); document.querySelector('.st-key-grid-all button').click(); }"
    )
    knows_of(grid, total)
    settled(grid)
    assert of_grid(grid, "g.selected.size") == total
    assert of_grid(grid, "[...g.cells.values()].every(cell => cell.querySelector('input').checked)")
    knows_of(grid, total)
    grid.locator(".xgrid-tile").first.evaluate(
        "tile => { tile.querySelector('input').click(); document.querySelector('.st-key-grid-none button').click(); }"
    )
    knows_of(grid, 0)
    settled(grid)
    assert of_grid(grid, "g.selected.size") == 0
    assert not of_grid(grid, "[...g.cells.values()].some(cell => cell.querySelector('input').checked)")


def test_how_sure_the_network_was_is_not_cut_by_long_names_of_classes(grid: Any) -> None:
    words = grid.locator(".xgrid-tile .xgrid-words").first
    words.locator(".classes").evaluate("part => { part.textContent = 'Pleural_Thickening → Consolidation'; }")
    sure = words.locator(".sure").bounding_box()
    room = words.bounding_box()
    assert sure["width"] > 20
    assert sure["x"] + sure["width"] <= room["x"] + room["width"]
    assert words.locator(".classes").evaluate("part => part.scrollWidth > part.clientWidth"), "the name is cut instead"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_grid(dashboard: Any, browser: Any, theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    context = browser.new_context(viewport={"width": 1280, "height": 720}, color_scheme=theme)
    tab = context.new_page()
    tab.goto(f"{dashboard.url}/explorer?model=demo&data=demo&split=test&look=grid")
    tab.locator(".xgrid-tile img").first.wait_for(timeout=120_000)
    settled(tab)
    tab.locator(".xgrid-tile input").first.click()
    settled(tab)
    faults = axe.run(tab).response["violations"]
    context.close()
    grave = [(fault["id"], fault["nodes"][0]["html"][:160]) for fault in faults if fault["impact"] in AXE_LIMITS]
    assert grave == []


def test_the_text_page_has_its_pictures_on_the_first_screen(dashboard: Any, tab: Any) -> None:
    tab.set_viewport_size({"width": 1280, "height": 720})
    tab.goto(f"{dashboard.url}/text?model=demo&data=demo&split=test")
    picture = tab.locator("[data-testid=stImage] img").first
    picture.wait_for(timeout=120_000)
    settled(tab)
    box = picture.bounding_box()
    assert box["y"] < 260
    assert box["y"] + box["height"] <= 720, box
    assert (
        tab.get_by_text("when the text is masked").or_(tab.get_by_text("Masking the text")).first.bounding_box()["y"]
        < 300
    )
    has_no_traceback(tab)
