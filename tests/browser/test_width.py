"""What stands on a page fits the screen of a small laptop: no label, table or picture is cut at its right edge."""

from __future__ import annotations

import pytest
from test_journey import WAIT_MS, has_no_traceback, settled, wait_until

# Also within the viewers, which have documents of their own.
CUT = """() => {
const within = root => [...root.querySelectorAll('*')].flatMap(e => e.shadowRoot ? [e, ...within(e.shadowRoot)] : [e]);
return within(document.querySelector('[data-testid=stMain]')).filter(e => {
    const takes_part = e.tagName == 'INPUT' ? e.type != 'file' : getComputedStyle(e).overflowX != 'visible';
    const folded = e.closest('details:not([open])');
    return takes_part && !folded && e.clientWidth > 4 && e.clientHeight > 4 && e.scrollWidth > e.clientWidth + 1;
}).map(e => `${e.tagName} ${e.className} ${e.value || e.innerText || ''}`.slice(0, 120))}"""
TEXT = "model=demo&data=demo&split=test"


@pytest.fixture(scope="module")
def context(browser):
    """One for all pages: what they load they load once."""
    opened = browser.new_context(viewport={"width": 1280, "height": 3000})
    yield opened
    opened.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "address",
    [
        "",
        "train?data=demo&recipe=demo",
        "study?tab=New+study",
        "results",
        "results?tab=curves&threshold=0.2",
        "results?tab=slices&pairs=1",
        "compare",
        "explorer?model=demo",
        "explorer?model=demo&masked=1",
        f"explorer?{TEXT}&look=grid",
        "data?data=demo",
        "data?data=demo&look=splits",
        "trust?model=demo",
        f"text?{TEXT}",
        f"text?{TEXT}&look=Stamp",
        f"text?{TEXT}&look=Whole+split",
        f"text?{TEXT}&look=Correct+boxes",
        "weights?look=Import",
    ],
)
def test_nothing_is_cut_on_a_page_of_1280_pixels(shared_dashboard, context, address: str) -> None:
    tab = context.new_page()
    tab.set_default_timeout(WAIT_MS)
    tab.goto(f"{shared_dashboard.url}/{address}")
    tab.locator("h1").first.wait_for()
    settled(tab)
    has_no_traceback(tab)
    wait_until(lambda: tab.locator("[data-testid=stSkeleton]").count() == 0, 60, "tables and charts are drawn")
    assert tab.evaluate(CUT) == []
    tab.close()
