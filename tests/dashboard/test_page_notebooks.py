"""Open as notebook: what a page offers makes the number that stands on the page, by the command that it shows."""

from __future__ import annotations

import shlex

import pytest
from apps import codes, opened
from typer.testing import CliRunner

import cxr.cli
from cxr.reports.notebooks import AuditFinding, ExplainedXray, MeasuredSplit, NotebookFinding
from cxr.runs import Run
from tests.audits.finished import finished
from tests.reports.executed import executed


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> list[NotebookFinding]:
    """What the pages that a test opens offer as notebooks."""
    from widgets import page

    findings: list[NotebookFinding] = []
    offer = page.notebook

    def noted(finding: NotebookFinding, name: str) -> None:
        findings.append(finding)
        offer(finding, name)

    monkeypatch.setattr(page, "notebook", noted)
    return findings


def test_the_explorers_notebook_and_its_command_give_the_logit_of_the_page(trained: Run, offered, tmp_path) -> None:
    app = opened("explorer", model=trained.id, data="demo", split="test")
    assert not app.exception
    assert "Open as notebook" in [button.label for button in app.get("download_button")]
    (finding,) = offered
    assert isinstance(finding, ExplainedXray)
    assert shlex.join(finding.command) in codes(app)
    values, printed = executed(finding)
    assert "as shown" in printed
    words = [*finding.command[1:], "--out", str(tmp_path), "--json"]
    result = CliRunner().invoke(cxr.cli.app, words)
    assert result.exit_code == 0, result.output
    assert f'"logit": {values["heatmap"].logit:.4f}'[:-1] in result.stdout


def test_the_notebook_of_results_gives_the_accuracy_of_the_page(trained: Run, offered) -> None:
    app = opened("results", run=trained.id)
    assert not app.exception
    (finding,) = offered
    assert isinstance(finding, MeasuredSplit)
    values, printed = executed(finding)
    assert "as shown" in printed
    (accuracy,) = [metric.value for metric in app.metric if metric.label == "Accuracy"]
    assert accuracy == f"{100 * values['summary']['accuracy']['value']:.1f} %"


def test_each_finding_of_an_audit_has_its_notebook(trained: Run, demo, offered) -> None:
    params = {"model": trained.id, "manifest": str(demo.path), "split": "test", "quick": True}
    audit = finished("audit-network", params)
    app = opened("trust", audit=audit.id)
    assert not app.exception
    assert [f.number for f in offered if isinstance(f, AuditFinding)] == [
        *range(1, len(audit.results()["findings"]) + 1)
    ]
    assert executed(offered[0])[0]["finding"] == audit.results()["findings"][0]
