"""A researcher's first hour, in a real Chromium: train, watch, stop, resume, results, heatmap, text; and a crash."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlparse

import pytest

from cxr.runs import get_run

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

EPOCHS = "25"
WAIT_MS = 180_000  # a crowded machine needs more than a minute for some of what a page does


def metric(tab, label: str) -> str:
    return tab.get_by_test_id("stMetric").filter(has_text=label).get_by_test_id("stMetricValue").inner_text()


def wait_until(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for something; on a crowded machine longer than the ``seconds`` in which it should come about."""
    end = time.monotonic() + max(seconds, WAIT_MS / 1000)
    while time.monotonic() < end:
        if true():
            return
        time.sleep(0.3)
    raise AssertionError(f"not within {seconds} s: {what}")


def state(tab) -> str:
    return tab.get_by_test_id("stBadge").or_(tab.locator(".stMarkdownBadge")).first.inner_text()


def has_no_traceback(tab) -> None:
    assert tab.get_by_test_id("stException").count() == 0


def steps(tab) -> int:
    return int(metric(tab, "Steps"))


def points_of_loss_curve(tab) -> int:
    return tab.evaluate(
        "() => { const plot = document.querySelector('.js-plotly-plot');"
        "return plot && plot._fullData ? Math.max(0, ...plot._fullData.map(t => (t.x || []).length)) : 0 }"
    )


def settled(tab) -> None:
    """Wait until the page's script has stood still for half a second: one field's step may start another."""
    tab.wait_for_function(
        """() => {
            const app = document.querySelector('[data-testid=stApp]');
            const still = app && app.dataset.testScriptState === 'notRunning';
            if (!still) { window.stillSince = null; return false; }
            window.stillSince = window.stillSince ?? performance.now();
            return performance.now() - window.stillSince > 500;
        }"""
    )
    tab.evaluate("() => { window.stillSince = null; }")


def start_training(tab, url: str, *, epochs: str, name: str) -> None:
    tab.goto(f"{url}/train?data=demo&recipe=demo")
    tab.get_by_role("button", name="Start training").wait_for()
    for label, value in (("Image size (pixels)", "64"), ("Epochs", epochs)):
        box = tab.get_by_label(label, exact=True)
        box.fill(value)
        box.press("Enter")
    title = tab.get_by_label("Name of the run")
    title.fill(name)
    title.press("Enter")
    settled(tab)  # Streamlit reruns after each field; the button reads the last of them
    tab.get_by_role("button", name="Start training").click()
    tab.wait_for_url(re.compile(r"/live\?run="))


def click_largest_cell(tab) -> str:
    """Click the confusion matrix where most images are and return their number."""
    cells = tab.locator(".matrix button")
    cells.first.wait_for()
    counts = [int(text) for text in cells.locator("b").all_text_contents()]
    cells.nth(counts.index(max(counts))).click()
    return str(max(counts))


@pytest.mark.slow
def test_from_a_click_on_train_to_the_effect_of_text(dashboard, tab) -> None:
    start_training(tab, dashboard.url, epochs=EPOCHS, name="journey")
    wait_until(lambda: steps(tab) > 0, 120, "the first step")
    before = points_of_loss_curve(tab)
    wait_until(lambda: points_of_loss_curve(tab) > before, 60, "the curve grows without a reload")

    tab.get_by_role("button", name="Stop").click()
    wait_until(lambda: state(tab) == "stopped", 60, "the training stops")
    stopped_at = steps(tab)
    tab.get_by_role("button", name="Resume").click()
    wait_until(lambda: state(tab) in ("running", "finished"), 60, "the training goes on")
    wait_until(lambda: steps(tab) > stopped_at, 120, "steps after the resume")
    wait_until(lambda: state(tab) == "finished", 240, "the training ends")
    # a slow machine draws the state a moment before the figures below it
    wait_until(lambda: metric(tab, "Epochs done") == EPOCHS, 30, f"{EPOCHS} epochs done")
    has_no_traceback(tab)

    tab.get_by_role("link", name="See its results").click()
    tab.wait_for_url(re.compile(r"/results\?"))
    wait_until(lambda: metric(tab, "X-rays") == "24", 30, "the results of the 24 test images")
    count = click_largest_cell(tab)
    tab.get_by_role("heading", name=re.compile(rf"True \w+, predicted \w+ \({count}\)")).wait_for()
    settled(tab)  # the list of the cell is there, not the one before it
    tab.locator(".gallery button").first.click()
    tab.get_by_role("dialog").locator(".viewer canvas").first.wait_for(timeout=WAIT_MS)
    has_no_traceback(tab)

    tab.get_by_role("link", name="Explain", exact=True).click()
    tab.wait_for_url(re.compile(r"/explorer\?"))
    tab.get_by_role("button", name="Picture with legend (PNG)").wait_for(timeout=WAIT_MS)
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Picture with legend (PNG)").click()
    assert download.value.path().read_bytes().startswith(b"\x89PNG")
    has_no_traceback(tab)

    tab.get_by_role("link", name="Mask its text").click()
    tab.wait_for_url(re.compile(r"/text\?"))
    tab.get_by_text("Whole split", exact=True).click()
    tab.get_by_role("button", name=re.compile(r"Mask the text of all 24 X-rays")).click()
    tab.get_by_text(re.compile(r"random boxes", re.IGNORECASE)).first.wait_for(timeout=2 * WAIT_MS)
    wait_until(lambda: tab.get_by_text("before", exact=False).count() > 0, 120, "accuracy before and after")
    has_no_traceback(tab)


@pytest.mark.slow
def test_a_training_outlives_the_dashboard_and_the_next_one_shows_it(dashboard, tab) -> None:
    start_training(tab, dashboard.url, epochs="400", name="survivor")
    wait_until(lambda: steps(tab) > 2, 120, "the first steps")
    address = tab.url
    seen = steps(tab)
    run = get_run(parse_qs(urlparse(address).query)["run"][0], dashboard.folder / "runs")
    dashboard.kill()
    rows = len(run.metrics()[0])
    wait_until(lambda: len(run.metrics()[0]) > rows + 5, 60, "it goes on without a dashboard")
    dashboard.start()
    tab.goto(address)
    wait_until(lambda: tab.get_by_test_id("stMetric").count() > 0 and steps(tab) > seen, 60, "it went on meanwhile")
    wait_until(lambda: state(tab) == "running", 30, "the restarted dashboard shows that it runs")
    tab.get_by_role("button", name="Stop").click()
    wait_until(lambda: state(tab) == "stopped", 60, "the restarted dashboard stops it")


@pytest.mark.slow
def test_no_page_shows_a_traceback_for_ids_that_do_not_exist(dashboard, tab) -> None:
    for page in (
        "live?run=../../etc/passwd",
        "results?run=nope",
        "explorer?model=x&image=y",
        "text?model=x",
        "data?data=x",
    ):
        tab.goto(f"{dashboard.url}/{page}")
        tab.locator("h1").wait_for()
        settled(tab)
        has_no_traceback(tab)
