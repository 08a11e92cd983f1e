"""What ``cxr evaluate`` prints of networks of either task, and what it refuses."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from configurations import CONFIGURATIONS, every_configuration, write_network, write_xrays

from cxr.evaluation.job import evaluate
from cxr.paths import runs_root
from cxr.runs.folder import RunFolder

pytestmark = pytest.mark.usefixtures("wide_terminal")


@every_configuration
def test_the_figures_of_each_task_are_printed_and_those_of_the_other_are_not(tmp_path, cxr, configuration):
    network = write_network(configuration, tmp_path / "net.safetensors")
    data = write_xrays(tmp_path / "xrays", configuration)
    folder = RunFolder.create(runs_root(), "evaluate", {"weights": str(network), "manifest": str(data)})
    evaluate(folder, folder.params)
    code, out, err = cxr("runs", "show", folder.id)
    assert code == 0, err
    for name in configuration.classes:
        assert name in out
    of_findings = ("mean AUC", "by finding", "above probability 0.5")
    of_classes = ("macro_f1", "true class by row")
    assert [
        word for word in ("balanced accuracy", "Brier score", "not fitted: no validation split") if word not in out
    ] == []
    there, gone = (of_findings, of_classes) if configuration.multi_label else (of_classes, of_findings)
    assert [word for word in there if word not in out] == []
    assert [word for word in gone if word in out] == []


def test_a_network_of_findings_is_measured_by_the_command_with_an_alias_and_its_json(tmp_path, cxr):
    configuration = CONFIGURATIONS[4]
    network = write_network(configuration, tmp_path / "net.safetensors")
    file = write_xrays(tmp_path / "xrays", configuration)
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    findings = table["findings"].str.replace("pneumonia", "Pneumonia Bilat").str.replace("covid19", "Fracture")
    table.assign(findings=findings).to_csv(file, index=False)
    code, out, err = cxr("evaluate", network, "--data", file, "--alias", "Pneumonia Bilat=pneumonia", "--json")
    assert code == 0, err
    results = json.loads(out)["results"]
    assert results["task"] == "multi-label"
    assert results["aliases"] == {"Pneumonia Bilat": "pneumonia"}
    assert results["left_out"]["findings"].keys() == {"Fracture"}
    per_class = results["splits"]["test"]["per_class"]
    assert per_class["pneumonia"]["positive"] > 0
    assert per_class["covid19"]["known"] == 0


def test_an_alias_that_is_none_is_wrong_use(tmp_path, cxr):
    network = write_network(CONFIGURATIONS[0], tmp_path / "net.safetensors")
    code, _, err = cxr("evaluate", network, "--data", "x.csv", "--alias", "covid")
    assert code == 2
    assert "'covid' is not of the form name=value" in err
