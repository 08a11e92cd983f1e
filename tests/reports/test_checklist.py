"""Reporting checklists are filled from what a run, its data and other runs know, and never from anything else."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil

import pandas as pd
import pytest
from configurations import CONFIGURATIONS, every_configuration, write_network, write_xrays
from runs_made import measured, trained

from cxr.data import Manifest
from cxr.data.library import save_data_set
from cxr.errors import CxrError
from cxr.evaluation.job import evaluate
from cxr.paths import data_root, runs_root
from cxr.reports.checklist import fill, write
from cxr.reports.checklist.items import CARD_ITEMS, CLAIM_ITEMS, ITEMS, TRIPOD_ITEMS
from cxr.reports.checklist.topics import TOPICS
from cxr.runs import Run
from cxr.runs.folder import RunFolder

pytestmark = pytest.mark.usefixtures("wide_terminal")


def data_of(tmp_path, configuration, n=24):
    """A data set with sexes, ages and views, two sources and three splits."""
    table = pd.read_csv(write_xrays(tmp_path / "xrays", configuration, n=n), dtype=str, keep_default_na=False)
    table["split"] = (["train"] * (n // 2) + ["val"] * (n // 4) + ["test"] * n)[:n]
    table["sex"] = ["F", "M"] * (n // 2)
    table["age"] = [str(30 + k) for k in range(n - 1)] + [""]
    table["view"] = "PA"
    save_data_set("own", Manifest.from_table(table, tmp_path / "xrays"))
    return data_root() / "own" / "manifest.csv"


def item(checklist, number, name="CLAIM 2024"):
    (entry,) = [e for e in checklist["entries"] if (e["checklist"], e["number"]) == (name, number)]
    return entry


def test_the_lists_are_whole_and_every_topic_exists_and_is_used():
    assert [int(of.number) for of in CLAIM_ITEMS] == list(range(1, 45))
    assert sorted({int(re.match(r"\d+", of.number)[0]) for of in TRIPOD_ITEMS}) == list(range(1, 28))
    assert len(CARD_ITEMS) == 9
    assert {topic for of in ITEMS for topic in of.topics} == set(TOPICS)
    assert all(of.topics or of.author for of in ITEMS)


@every_configuration
def test_an_evaluation_fills_what_it_knows_and_leaves_the_rest_to_the_author(tmp_path, configuration):
    manifest = data_of(tmp_path, configuration)
    run = measured(write_network(configuration, tmp_path / "net.safetensors"), manifest)
    checklist = fill(run)
    for name in configuration.classes[:2]:
        assert name in item(checklist, "1")["text"]
    results = run.results()["splits"]["test"]
    assert f"{results['n']} X-rays" in item(checklist, "32")["text"]
    assert "sex F 3, M 3" in item(checklist, "36")["text"]
    assert item(checklist, "12")["text"].startswith("Missing values of 24 X-rays: age 1.")
    assert item(checklist, "19")["state"] == "filled"
    assert "Patients in more than one split: 0 of 12" in item(checklist, "20")["text"]
    assert run.results()["provenance"]["weights_sha256"] in item(checklist, "22")["text"]
    assert item(checklist, "16")["state"] == "author"
    assert item(checklist, "25")["state"] == "not recorded"  # weights of others: their training is not known
    assert item(checklist, "33")["missing"] == ["external: `cxr evaluate RUN --data OTHER`"]
    counts = checklist["counts"]["CLAIM 2024"]
    assert counts["items"] == 44 == sum(n for name, n in counts.items() if name != "items")


def test_patients_on_both_sides_are_counted_and_not_taken_on_trust(tmp_path):
    table = pd.read_csv(write_xrays(tmp_path / "xrays", CONFIGURATIONS[0], n=12), dtype=str, keep_default_na=False)
    table["split"] = ["train", "test"] * 6
    table.to_csv(tmp_path / "xrays" / "manifest.csv", index=False)
    run = measured(write_network(CONFIGURATIONS[0], tmp_path / "n.safetensors"), tmp_path / "xrays" / "manifest.csv")
    assert "Patients in more than one split: 6 of 6" in item(fill(run), "20")["text"]


def test_a_training_tells_its_recipe_and_another_data_set_is_external(tmp_path):
    manifest = data_of(tmp_path, CONFIGURATIONS[0])
    run = trained(manifest)
    assert item(fill(run), "33")["state"] == "not recorded"
    shutil.copytree(tmp_path / "xrays", tmp_path / "other")
    other = write_xrays(tmp_path / "hospital", CONFIGURATIONS[0], n=8, side=80)
    elsewhere = RunFolder.create(runs_root(), "evaluate", {"run": run.id, "manifest": str(other)})
    evaluate(elsewhere, elsewhere.params)
    elsewhere.update_status(state="finished")
    checklist = fill(run)
    assert "1 epochs of batches of 6" in item(checklist, "25")["text"]
    assert "Seed 5" in item(checklist, "25")["text"]
    assert item(checklist, "24")["text"].startswith("Began with random weights")
    assert item(checklist, "26")["text"].startswith("The epoch with the best val_loss on the validation split: epoch 1")
    assert item(checklist, "33")["text"].startswith("hospital, ")
    assert "hospital" not in item(checklist, "32")["text"]
    from_outside = fill(Run(elsewhere))
    assert "hospital" in item(from_outside, "33")["text"]
    assert "1 epochs" in item(from_outside, "25")["text"]


def test_the_command_writes_html_markdown_csv_and_json(tmp_path, cxr):
    configuration = CONFIGURATIONS[4]
    run = measured(write_network(configuration, tmp_path / "net.safetensors"), data_of(tmp_path, configuration))
    code, out, err = cxr("checklist", run.id, "--json")
    assert code == 0, err
    assert json.loads(out)["counts"].keys() == {"CLAIM 2024", "TRIPOD+AI", "Model card"}
    code, out, _ = cxr("checklist", run.id, "--which", "card")
    assert code == 0
    assert "Model card: of 9 items" in out
    assert "CLAIM" not in out.split("Items are named")[0]
    for ending in ("html", "md", "csv"):
        file = tmp_path / f"list.{ending}"
        assert cxr("checklist", run.id, "--out", file) == (0, f"{file}\n", "")
        assert "Demographic" in file.read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "list.csv").read_text(encoding="utf-8"))))
    assert len(rows) == len(ITEMS)
    assert "http" not in (tmp_path / "list.html").read_text(encoding="utf-8")


def test_what_cannot_be_is_refused_in_one_line(tmp_path, cxr):
    run = measured(write_network(CONFIGURATIONS[0], tmp_path / "n.safetensors"), data_of(tmp_path, CONFIGURATIONS[0]))
    code, _, err = cxr("checklist", run.id, "--which", "prisma")
    assert code == 2
    assert "'prisma'" in err
    assert "claim" in err
    assert cxr("checklist", run.id, "--out", tmp_path / "list.docx")[0] == 2
    other = RunFolder.create(runs_root(), "import", {"kind": "image-folder", "path": str(tmp_path), "name": "x"})
    with pytest.raises(CxrError, match="is a run of kind import"):
        fill(Run(other))
    unfinished = RunFolder.create(runs_root(), "evaluate", run.spec["params"])
    with pytest.raises(CxrError, match="has no figures yet"):
        write(Run(unfinished), tmp_path / "list.md")
