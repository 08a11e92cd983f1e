"""What a page is for stands on the first screen of a small laptop: the finding, the matrix, the picture."""

from __future__ import annotations

import pytest
from test_journey import WAIT_MS, has_no_traceback, settled

WIDTH, HEIGHT = 1280, 720
START = '[data-testid=stBaseButton-primary]:has-text("{}")'


@pytest.fixture(scope="module")
def tab(browser, measured):
    measured.cxr("audit", "demo", "--data", "demo", "--quick")
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
    opened = context.new_page()
    opened.set_default_timeout(WAIT_MS)
    yield opened
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("trust?model=demo&data=demo", '[data-testid=stMarkdown]:has(.stMarkdownBadge):has-text("1.") >> nth=0'),
        ("results", ".matrix table >> nth=0"),
        ("explorer?model=demo&data=demo&split=test", ".pane canvas >> nth=0"),
        ("data?data=demo", ".gallery button >> nth=0"),
        ("train?data=demo&recipe=demo", START.format("Start training")),
        ("train?data=demo&recipe=twice-keep", START.format("Start training")),
        ("study?data=demo", START.format("Start 6 trainings")),
    ],
)
def test_what_a_page_is_for_stands_on_the_first_screen(measured, tab, address: str, shown: str) -> None:
    tab.goto(f"{measured.url}/{address}")
    part = tab.locator(shown)
    part.wait_for()
    settled(tab)
    has_no_traceback(tab)
    box = part.bounding_box()
    assert box["y"] + box["height"] <= HEIGHT, box
