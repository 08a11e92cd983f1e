"""A data set described in Croissant: JSON-LD that search engines and loaders of data sets read, with its RAI part.

Croissant 1.0 and Croissant RAI 1.0 of MLCommons. The description holds no row of the table and no id.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from cxr import __version__
from cxr.data import Manifest
from cxr.data.library import facts_beside, read_excluded
from cxr.data.manifest_columns import SIZE_COLUMNS
from cxr.errors import ManifestError
from cxr.evaluation.metrics import patients_of
from cxr.files import replacing
from cxr.formatting import xrays
from cxr.json_types import JsonObject
from cxr.models.card import INTENDED_USE
from cxr.models.checksums import sha256_of
from cxr.reports.checklist.subject import counts_in_words, listed
from cxr.reports.forms import form_for
from cxr.runs import list_runs

CROISSANT, RAI = "http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"
_CONTEXT: JsonObject = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_MEANING = {
    "image_id": "A name of the X-ray, of its own in this table",
    "image": "The file of the X-ray, beside the table or as a path",
    "label": "The class; empty where it is not known",
    "findings": "Findings, separated by |; empty where they are not known",
    "patient_id": "Pseudonym of the patient; empty where it is not known",
    "dup_group": "X-rays that are copies of each other share it",
    "source": "The collection that the X-ray comes from",
    "view": "Projection, such as PA or AP",
    "sex": "F or M; empty where it is not known",
    "age": "In years; empty where it is not known",
    "licence": "Of the X-ray",
    "split": "What the X-ray is for: train, val or test",
}
_SPLITS = {"train": "cr:TrainingSplit", "val": "cr:ValidationSplit", "test": "cr:TestSplit"}
_AUDITS = ("audit-data", "check-data", "probe-data")


def croissant(manifest: Manifest) -> JsonObject:
    """Return the description of a data set whose table lies in a file.

    Raises
    ------
    ManifestError
        For a table without a file.
    """
    if manifest.path is None:
        raise ManifestError("the table of this data set lies in no file: save it first")
    table, facts, path = manifest.table, facts_beside(manifest.path), manifest.path
    name = path.parent.name or path.stem
    licences = sorted(set(table["licence"]) - {""})
    description = (
        f"{xrays(len(table), _patients(table))}; labels: {counts_in_words(table, 'label')}; "
        f"sources: {counts_in_words(table, 'source')}. {INTENDED_USE}"
    )
    value: JsonObject = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [CROISSANT, RAI],
        "name": name,
        "description": description,
        "version": f"1.0.0+{manifest.hash()[:12]}",
        "license": licences or ["unknown"],
        "creator": {"@type": "sc:Organization", "name": listed(sorted(set(table["source"]) - {""})) or "not stated"},
        "isLiveDataset": False,
        "distribution": [_file(path)],
        "recordSet": list(_record_sets(table, path.name)),
        "sdVersion": f"cxr {__version__}",
    }
    value |= {"datePublished": facts["created"]} if "created" in facts else {}
    return value | dict(_responsible(manifest, name))


def write(manifest: Manifest, path: Path) -> Path:
    """Write the description as ``.json`` or ``.jsonld`` and return the file.

    Raises
    ------
    ManifestError
        For another ending, a folder that is not there, or a table without a file.
    """
    form_for(path, dict.fromkeys((".json", ".jsonld"), True), ManifestError)
    content = json.dumps(croissant(manifest), indent=2, ensure_ascii=False) + "\n"
    with replacing(path) as draft:
        draft.write_text(content, encoding="utf-8")
    return path


def _patients(table: pd.DataFrame) -> int:
    return int(pd.Series(patients_of(table[["image_id", "patient_id"]])).nunique())


def _file(path: Path) -> JsonObject:
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "description": "The table of the X-rays, one row each",
        "contentUrl": path.name,
        "encodingFormat": "text/csv",
        "contentSize": f"{path.stat().st_size} B",
        "sha256": sha256_of(path),
    }


def _record_sets(table: pd.DataFrame, file: str) -> Iterator[JsonObject]:
    used = [split for split in dict.fromkeys(table["split"]) if split]
    if used:
        fields = [_field("splits", name, kind, "") for name, kind in (("name", "sc:Text"), ("url", "sc:URL"))]
        rows = [{"splits/name": name, "splits/url": _SPLITS.get(name, "cr:Split")} for name in used]
        yield {
            "@type": "cr:RecordSet",
            "@id": "splits",
            "name": "splits",
            "dataType": "cr:Split",
            "key": {"@id": "splits/name"},
            "field": fields,
            "data": rows,
        }
    columns = [name for name in table.columns if (table[name].astype(str).str.strip() != "").any()]
    fields = [_field("xrays", name, _kind(table, name), file) for name in columns]
    for field in fields:
        if used and field["name"] == "split":
            field["references"] = {"field": {"@id": "splits/name"}}
    yield {
        "@type": "cr:RecordSet",
        "@id": "xrays",
        "name": "xrays",
        "description": "One record for each X-ray",
        "key": {"@id": "xrays/image_id"},
        "field": fields,
    }


def _kind(table: pd.DataFrame, name: str) -> str:
    if name in SIZE_COLUMNS:
        return "sc:Integer"
    return "sc:Float" if table[name].dtype.kind in "fiu" else "sc:Text"


def _field(record_set: str, name: str, kind: str, file: str) -> JsonObject:
    """Return a field; one of the table's says its column of ``file``."""
    field: JsonObject = {"@type": "cr:Field", "@id": f"{record_set}/{name}", "name": name, "dataType": kind}
    if name in _MEANING and file:
        field["description"] = _MEANING[name]
    return field | ({"source": {"fileObject": {"@id": file}, "extract": {"column": name}}} if file else {})


def _responsible(manifest: Manifest, name: str) -> Iterator[tuple[str, str | list[str]]]:
    """Yield the properties of Croissant RAI that can be told; one that nothing is known of is left out."""
    assert manifest.path is not None  # croissant() has looked
    table, facts = manifest.table, facts_beside(manifest.path)
    kind = facts.get("kind")
    read = f"Collected from public or local sources ({counts_in_words(table, 'source')})"
    yield "rai:dataCollection", f"{read}{f', read by the importer {kind}' if kind else ''}."
    yield "rai:dataAnnotationProtocol", "Labels are those of the sources. They were not verified."
    yield "rai:dataUseCases", f"{INTENDED_USE} Not established: use in another population or for another task."
    yield "rai:personalSensitiveInformation", _sensitive(table)
    yield "rai:dataPreprocessingProtocol", "X-rays are decoded to 8-bit grey; DICOM by its own windows."
    excluded = read_excluded(name)["reason"].value_counts().head(8)
    if len(excluded):
        left_out = listed(f"{reason} {n}" for reason, n in excluded.items())
        yield "rai:dataManipulationProtocol", f"Left out at import: {left_out}."
    yield "rai:dataBiases", list(_biases(manifest))
    yield "rai:dataLimitations", list(_limitations(table, facts.get("notes", []), facts.get("split_notes", [])))


def _sensitive(table: pd.DataFrame) -> str:
    known = [name for name in ("patient_id", "sex", "age") if (table[name].astype(str).replace("nan", "") != "").any()]
    return (
        f"Chest X-rays of people. Columns about them: {listed(known) or 'none'}. Burned-in text may name people or "
        "places: search for it before the X-rays are handed on."
    )


def _biases(manifest: Manifest) -> Iterator[str]:
    """Yield what goes with the class: sources by class, and what audits of this table have concluded."""
    table = manifest.table
    if (table["label"] != "").any():
        for label, own in table[table["label"] != ""].groupby("label"):
            yield f"Sources of {label}: {counts_in_words(own, 'source')}."
    audits = [run for run in list_runs() if run.kind in _AUDITS]
    for run in audits:
        finding = (run.results() or {}).get("finding")
        if run.spec["params"].get("manifest") == str(manifest.path) and isinstance(finding, str) and finding:
            yield f"{finding} (run {run.id})"
    if not audits:
        yield "Not audited for what tells the classes apart without a look at the chest."


def _limitations(table: pd.DataFrame, notes: list[str], split_notes: list[str]) -> Iterator[str]:
    yield from notes
    yield from split_notes
    used = [split for split in dict.fromkeys(table["split"]) if split]
    sizes = listed(f"{split} {xrays(int((table['split'] == split).sum()))}" for split in used)
    yield f"Splits: {sizes}." if used else "The data have no splits."
    for column, noun in (("patient_id", "patient"), ("sex", "sex"), ("age", "age"), ("view", "view")):
        missing = int((table[column].astype(str).replace("nan", "") == "").sum())
        if missing:
            yield f"The {noun} of {missing} of {xrays(len(table))} is not stated."
