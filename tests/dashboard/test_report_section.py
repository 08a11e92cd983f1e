"""The report of a run on the Results page: made on a click, the same as the command's."""

from __future__ import annotations

import shlex

import pytest
from apps import codes, opened
from typer.testing import CliRunner

import cxr.cli
from cxr.reports.run import Choices
from cxr.runs import Run


def test_results_offers_the_report_and_makes_none_before_it_is_asked_for(
    trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("the page made a report that nobody asked for")

    monkeypatch.setattr("cxr.reports.run.contents.measured_split", asked)
    app = opened("results", run=trained.id)
    assert not app.exception
    assert {button.label for button in app.get("download_button")} >= {"As one HTML file", "As PDF"}
    app.number_input(key="results:report:heatmaps").set_value(2).run()
    app.checkbox(key="results:report:images").check().run()
    assert not app.exception
    command = f"cxr report {trained.id} --out report.html --heatmaps 2 --with-images --split test"
    assert command in codes(app)
    app.checkbox(key="results:report:ids").check().run()
    assert command.replace("--split", "--with-ids --split") in codes(app)


def test_the_page_and_its_command_write_the_same_report(trained: Run, tmp_path, monkeypatch) -> None:
    from sections.results import report

    monkeypatch.setattr("cxr.reports.run.contents.written_in_words", lambda: "now")
    choices = Choices(heatmaps=1, with_images=True, split="val")
    words = ["report", trained.id, "--out", str(tmp_path / "r.html"), *report.words(choices)]
    result = CliRunner().invoke(cxr.cli.app, words)
    assert result.exit_code == 0, shlex.join(words) + result.output
    assert (tmp_path / "r.html").read_bytes() == report.content(trained, ".html", choices)
