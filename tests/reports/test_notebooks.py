"""A finding as a notebook: valid by Jupyter's own rules, and its calls make the number that was found."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import numpy as np
import pytest
from configurations import CONFIGURATIONS, ODD_NAMES, Configuration, every_configuration, write_network, write_xrays
from executed import executed

from cxr.data import Manifest, read_xray
from cxr.data.images.resize import fit_square
from cxr.errors import CxrError, RunError
from cxr.evaluation.job import evaluate
from cxr.explain.heatmap import Method, heatmaps_of
from cxr.models.card import MULTI_LABEL
from cxr.networks import load_network
from cxr.paths import runs_root
from cxr.reports.notebooks import AuditFinding, ExplainedXray, finding_of, notebook_bytes, write
from cxr.reports.notebooks.notebook import code, literal, words
from cxr.runs import Run
from cxr.runs.folder import RunFolder
from tests.audits.finished import finished

SOME = (CONFIGURATIONS[0], CONFIGURATIONS[4], *ODD_NAMES)


def evaluated(tmp_path: Path, configuration: Configuration) -> Run:
    network = write_network(configuration, tmp_path / "net.safetensors")
    manifest = write_xrays(tmp_path / "xrays", configuration, n=16)
    folder = RunFolder.create(runs_root(), "evaluate", {"weights": str(network), "manifest": str(manifest)})
    evaluate(folder, folder.params)
    folder.update_status(state="finished")
    return Run(folder)


@every_configuration
def test_the_figures_of_a_split_come_out_of_the_notebook(tmp_path, configuration) -> None:
    run = evaluated(tmp_path, configuration)
    finding = finding_of(run)
    values, printed = executed(finding)
    key = "auc" if configuration.multi_label else "accuracy"
    assert values["summary"][key] == run.results()["splits"]["test"][key]
    assert values["summary"]["per_class"].keys() == run.results()["splits"]["test"]["per_class"].keys()
    assert "as shown" in printed


@pytest.mark.parametrize("configuration", SOME, ids=str)
@pytest.mark.parametrize("composite", ["epsilon-plus-flat", "gradient-x-input"])
def test_a_heatmap_comes_out_of_the_notebook_as_it_was(tmp_path, configuration, composite) -> None:
    ref = str(write_network(configuration, tmp_path / "net.safetensors"))
    manifest = Manifest.load(write_xrays(tmp_path / "xrays", configuration))
    network, _ = load_network(ref)
    image_id, target = manifest.ids[3], configuration.classes[-1]
    picture = fit_square(read_xray(manifest.image_path(image_id)), network.card.size)
    method = Method.of(composite)
    ((heatmap,),) = heatmaps_of(method.explain(network, picture[None], target))
    finding = ExplainedXray(["cxr", "explain"], ref, manifest.path, image_id, target, method, heatmap.logit)
    values, printed = executed(finding)
    np.testing.assert_array_equal(values["heatmap"].relevance, heatmap.relevance)
    assert values["heatmap"].target == target
    assert "as shown" in printed
    wrong = ExplainedXray(["cxr"], ref, manifest.path, image_id, target, method, heatmap.logit + 1)
    assert "but the page showed" in executed(wrong)[1]


@pytest.mark.parametrize("configuration", [CONFIGURATIONS[1], CONFIGURATIONS[4]], ids=str)
def test_the_effect_of_text_comes_out_of_the_notebook(tmp_path, configuration) -> None:
    network = write_network(configuration, tmp_path / "net.safetensors")
    manifest = write_xrays(tmp_path / "xrays", configuration, n=4, side=128, words=True)
    params = {"model": str(network), "manifest": str(manifest), "mode": "mean", "draws": 1, "explained": 0}
    run = finished("text-experiment", params | {"split": "test"})
    values, printed = executed(finding_of(run))
    results = run.results()
    assert values["results"]["finding"] == results["finding"]
    assert results["task" if configuration.task == MULTI_LABEL else "n_changed"] is not None
    assert "as shown" in printed
    assert values["shown"] == pytest.approx(values["computed"])


def test_a_finding_of_an_audit_comes_out_of_the_notebook(tmp_path) -> None:
    run = evaluated(tmp_path, CONFIGURATIONS[0])
    own = run.spec["params"]
    params = {"model": own["weights"], "manifest": own["manifest"], "split": "test", "quick": True}
    audit = finished("audit-network", params)
    findings = audit.results()["findings"]
    assert findings
    for number, of in enumerate(findings, 1):
        finding = finding_of(audit, number=number)
        assert isinstance(finding, AuditFinding)
        values, _ = executed(finding)
        assert values["finding"] == of
    with pytest.raises(RunError, match=f"Accepted: 1 to {len(findings)}"):
        finding_of(audit, number=len(findings) + 1)


def test_a_notebook_is_valid_and_the_same_each_time(tmp_path) -> None:
    finding = finding_of(evaluated(tmp_path, ODD_NAMES[0]))
    file = write(finding, tmp_path / "finding.ipynb")
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    assert len({cell["id"] for cell in notebook.cells}) == len(notebook.cells)
    assert file.read_bytes() == notebook_bytes(finding.cells())
    with pytest.raises(CxrError, match=r"\.ipynb"):
        write(finding, tmp_path / "finding.txt")


def test_marks_of_markdown_in_a_command_stay_as_they_are() -> None:
    assert literal("cxr a") == "`cxr a`"
    assert literal("a `b` ``c``") == "``` a `b` ``c`` ```"
    cells = [words("# a", "b"), code("x = 1", "x")]
    assert [cell.source for cell in cells] == ["# a\n\nb", "x = 1\nx"]


def test_the_command_writes_the_notebook_of_a_run(tmp_path, cxr) -> None:
    run = evaluated(tmp_path, CONFIGURATIONS[0])
    code_, out, _ = cxr("report", run.id, "--out", tmp_path / "r.ipynb", "--json")
    assert code_ == 0
    assert json.loads(out)["file"] == str(tmp_path / "r.ipynb")
    nbformat.validate(nbformat.read(tmp_path / "r.ipynb", as_version=4))
    code_, _, error = cxr("report", run.id, "--out", tmp_path / "r.ipynb", "--split", "nope")
    assert code_ == 2
    assert "Available: test" in error


def test_a_run_that_found_nothing_of_the_kind_is_refused(tmp_path) -> None:
    folder = RunFolder.create(runs_root(), "explain", {"model": "demo", "manifest": "m.csv"})
    with pytest.raises(RunError, match="has no results yet"):
        finding_of(Run(folder))
    folder.write_json("results.json", {})
    with pytest.raises(RunError, match="is a run of kind explain"):
        finding_of(Run(folder))
