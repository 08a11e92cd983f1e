"""The Croissant description of a data set: every required property, its columns as they are, and no row or id."""

from __future__ import annotations

import hashlib
import json

import pandas as pd
import pytest
from configurations import CONFIGURATIONS, ODD_NAMES, Configuration, write_xrays

from cxr.data import Manifest
from cxr.data.library import save_data_set
from cxr.errors import ManifestError
from cxr.paths import data_root
from cxr.reports.exports.croissant import CROISSANT, RAI, croissant, write
from tests.audits.finished import finished

# "Dataset-level information" and "Resources" of the specification, version 1.0
REQUIRED = {"@context", "@type", "conformsTo", "name", "description", "license", "creator", "version"}
OF_A_FILE = {"@type", "@id", "name", "contentUrl", "encodingFormat", "sha256"}


def data_of(tmp_path, configuration: Configuration) -> Manifest:
    table = pd.read_csv(write_xrays(tmp_path / "xrays", configuration, n=12), dtype=str, keep_default_na=False)
    table["image_id"] = [f"secret-{k}" for k in range(12)]
    table["patient_id"] = [f"jane-{k // 2}" for k in range(12)]
    table["split"] = ["train"] * 6 + ["val"] * 2 + ["test"] * 4
    table["sex"] = ["F", "M", ""] * 4
    save_data_set("own", Manifest.from_table(table, tmp_path / "xrays"), notes=["Labels were read from a spreadsheet."])
    return Manifest.load(data_root() / "own" / "manifest.csv")


@pytest.mark.parametrize("configuration", [CONFIGURATIONS[1], CONFIGURATIONS[4], *ODD_NAMES], ids=str)
def test_a_description_has_what_the_specification_requires_and_no_row(tmp_path, configuration) -> None:
    manifest = data_of(tmp_path, configuration)
    value = croissant(manifest)
    assert value.keys() >= REQUIRED
    assert value["conformsTo"] == [CROISSANT, RAI]
    (file,) = value["distribution"]
    assert file.keys() >= OF_A_FILE
    assert file["sha256"] == hashlib.sha256(manifest.path.read_bytes()).hexdigest()
    splits, xrays = value["recordSet"]
    assert [row["splits/url"] for row in splits["data"]] == ["cr:TrainingSplit", "cr:ValidationSplit", "cr:TestSplit"]
    columns = pd.read_csv(manifest.path, nrows=0).columns
    assert {field["source"]["extract"]["column"] for field in xrays["field"]} <= set(columns)
    assert {"xrays/image_id", "xrays/split", "xrays/sex"} <= {field["@id"] for field in xrays["field"]}
    ids = [node["@id"] for part in value["recordSet"] for node in (part, *part["field"])]
    assert len(ids) == len(set(ids))
    text = json.dumps(value)
    assert "secret-" not in text
    assert "jane-" not in text
    assert str(tmp_path) not in text


def test_biases_and_limits_are_what_is_known_of_the_data(tmp_path) -> None:
    manifest = data_of(tmp_path, CONFIGURATIONS[1])
    assert "Not audited for what tells the classes apart" in " ".join(croissant(manifest)["rai:dataBiases"])
    audit = finished("audit-data", {"manifest": str(manifest.path), "text": False})
    value = croissant(manifest)
    assert f"{audit.results()['finding']} (run {audit.id})" in value["rai:dataBiases"]
    assert "Sources of hernia: A 6." in value["rai:dataBiases"]
    limits = value["rai:dataLimitations"]
    assert limits[0] == "Labels were read from a spreadsheet."
    assert "The sex of 4 of 12 X-rays is not stated." in limits
    assert "Splits: train 6 X-rays, val 2 X-rays, test 4 X-rays." in limits


def test_the_loader_of_croissant_takes_the_description_and_reads_the_rows(tmp_path) -> None:
    import mlcroissant

    manifest = data_of(tmp_path, CONFIGURATIONS[1])
    file = write(manifest, manifest.path.parent / "croissant.json")
    dataset = mlcroissant.Dataset(str(file))
    assert not dataset.metadata.ctx.issues.errors
    rows = list(dataset.records("xrays"))
    assert [row["xrays/image_id"].decode() for row in rows] == manifest.ids


def test_the_command_writes_the_file(tmp_path, cxr) -> None:
    manifest = data_of(tmp_path, CONFIGURATIONS[0])
    code, out, _ = cxr("data", "export", "own", "--croissant", tmp_path / "own.jsonld", "--json")
    assert code == 0
    assert json.loads(out) == {"data": "own", "croissant": str(tmp_path / "own.jsonld")}
    assert json.loads((tmp_path / "own.jsonld").read_text()) == croissant(manifest)
    code, _, error = cxr("data", "export", "own", "--croissant", tmp_path / "own.txt")
    assert code == 2
    assert ".json, .jsonld" in error
    for both_or_neither in ((), (tmp_path / "out", "--croissant", tmp_path / "own.json")):
        code, _, error = cxr("data", "export", "own", *both_or_neither)
        assert code == 2
        assert "give either OUT" in error


def test_a_table_that_lies_in_no_file_is_refused(tmp_path) -> None:
    table = Manifest.load(write_xrays(tmp_path / "xrays", CONFIGURATIONS[0])).table
    with pytest.raises(ManifestError, match="lies in no file"):
        croissant(Manifest.from_table(table, tmp_path / "xrays"))
