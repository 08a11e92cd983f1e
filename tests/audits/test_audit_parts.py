"""What each part makes of the results that it reads: which weight, at most which, and what is only named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cxr.data.openings import note_opening
from cxr.experiments.audit.context import Context
from cxr.experiments.audit.findings import Collected
from cxr.experiments.audit.parts import BY_NAME
from cxr.experiments.audit.requests import fitting
from cxr.experiments.audit.settings import NetworkAuditParams
from cxr.experiments.audit.subject import subject_of
from cxr.paths import runs_root
from cxr.runs import Run, RunFolder
from tests.audits.finished import audited, part
from tests.configurations import CONFIGURATIONS, Configuration, write_network, write_xrays

KINDS_OF = {
    "checks": "check-data",
    "probes": "probe-data",
    "relevance": "relevance-regions",
    "clusters": "cluster-heatmaps",
}
KINDS_OF |= {"data": "audit-data", "stamping": "text-stamping"}


def of(value: float, low: float | None, high: float | None) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high}


@pytest.fixture(params=[CONFIGURATIONS[1], CONFIGURATIONS[5]], ids=str)
def context(request: pytest.FixtureRequest, tmp_path: Path) -> Context:
    """A network and X-rays of which nothing was done yet."""
    configuration: Configuration = request.param
    network = write_network(configuration, tmp_path / "network.safetensors", size=32)
    manifest = write_xrays(tmp_path / "data" / "own", configuration, n=24, side=32)
    params = NetworkAuditParams.of({"model": str(network), "manifest": str(manifest)})
    return Context(params, subject_of(params))


def collected(context: Context, name: str, results: dict[str, Any]) -> Collected:
    """Return what a part collects from a finished run with these results."""
    root = Path(runs_root())
    root.mkdir(parents=True, exist_ok=True)
    folder = RunFolder.create(root, KINDS_OF[name], {"split": "test"}, manifest_hash=context.subject.manifest_hash)
    folder.write_json("results.json", {"n_images": 24, "n_patients": 12, "finding": "", "notes": [], **results})
    folder.update_status(state="finished", ended=0.0)
    context.runs[name] = Run(folder)
    return BY_NAME[name].collect(context, lambda fraction, message="": None)


def weights(result: Collected) -> dict[str, str]:
    return {finding["name"]: finding["weight"] for finding in result.findings}


def region(name: str, gain: Any, beyond: Any, shown: bool = True, group: str = "all") -> dict[str, Any]:
    entry = {"group": group, "every": group == "all", "region": name, "gain": gain, "beyond": beyond, "shown": shown}
    return entry | {"n": 20, "n_patients": 10, "sentence": f"The {name}."}


@pytest.mark.parametrize(
    ("over_mark", "weight"), [(of(1.2, 0.8, 1.7), "warning"), (of(3.0, 2.1, 4.0), "serious"), (None, "serious")]
)
def test_relevance_outside_weighs_by_its_near_end_and_text_by_more_than_a_planted_mark(context, over_mark, weight):
    drop = of(-0.3, -0.4, -0.1)
    regions = [
        region("text", of(2.8, 2.3, 3.5), drop),
        region("border", of(0.9, 0.8, 1.1), drop),
        region("elsewhere", of(3.0, 2.5, 3.5), drop),
        region("lungs", of(1.5, 1.4, 1.6), drop),
        region("devices", of(4.0, 3.0, 5.0), drop, shown=False),
        region("border", of(9.0, 8.0, 9.5), drop, group="flu"),
    ]
    planted = None if over_mark is None else {"text_over_mark": over_mark, "sentence": "A mark moves nothing."}
    result = collected(context, "relevance", {"regions": regions, "planted": planted})
    assert weights(result) == {"relevance:text": weight, "removal:border": "note", "relevance:elsewhere": "note"}
    assert any("devices (4 times [3, 5] its area)" in sentence for sentence in result.looked)
    assert any("A mark moves nothing." in sentence for sentence in result.looked) == (over_mark is not None)


def probe(kind: str, view: str, score: Any, shown: bool = True, of_class: str = "") -> dict[str, Any]:
    entry = {"kind": kind, "of": of_class, "target": f"{kind} {of_class}".strip(), "view": view, "score": score}
    entry |= {"chance": 0.5, "p": 0.01, "shown": shown, "n_images": 24, "n_patients": 12, "sentence": f"{kind} {view}."}
    return entry


def test_probes_warn_of_the_class_without_the_lungs_and_of_the_source_within_a_class(context):
    probes = [
        probe("class", "no-lungs", of(0.9, 0.85, 0.95)),
        probe("class", "border", of(0.7, 0.55, 0.8)),
        probe("class", "text", of(0.6, 0.4, 0.72), shown=False),
        probe("class", "lungs", of(0.99, 0.95, 1.0)),
        probe("source", "full", of(0.99, 0.95, 1.0)),
        probe("source within", "full", of(0.99, 0.95, 1.0), of_class="flu"),
        {**probe("finding", "border", of(0.0, None, None)), "p": None, "chance": None},
    ]
    result = collected(context, "probes", {"probes": probes})
    assert weights(result) == {
        "probe:class:no-lungs": "serious",
        "probe:class:border": "warning",
        "probe:source within flu:full": "warning",
    }
    assert result.findings[0]["figure"]["low"] == pytest.approx(0.35)  # above chance
    assert any("Could not be probed: finding from the border alone" in sentence for sentence in result.looked)
    assert any("22 points above chance cannot be excluded" in sentence for sentence in result.looked)


def test_clusters_are_at_most_a_warning_and_those_of_the_chest_a_note(context):
    def cluster(number: int, where: str, shown: bool = True) -> dict[str, Any]:
        entry = {"number": number, "title": f"{where}, upper left", "region": where, "size": 10, "patients": 6}
        return entry | {"shown": shown, "sentence": f"Cluster {number}.", "examples": ["a", "b"]}

    clusters = [cluster(1, "text"), cluster(2, "elsewhere"), cluster(3, "lungs"), cluster(4, "border", shown=False)]
    result = collected(context, "clusters", {"clusters": clusters})
    assert weights(result) == {"cluster:1": "warning", "cluster:2": "note"}
    assert result.findings[0]["images"] == ["a", "b"]
    assert result.findings[0]["figure"]["value"] == 0.5  # 6 of 12 patients
    assert "lungs, upper left" in result.looked[0]
    assert collected(context, "clusters", {"clusters": []}).looked == ["The heatmaps form no clusters: "]
    whole = [cluster(1, "") | {"target": "flu"}, cluster(2, "") | {"target": "cold"}]  # all maps of a class are alike
    assert collected(context, "clusters", {"clusters": whole}).looked == ["The heatmaps form no clusters: "]


@pytest.mark.parametrize("quick", [False, True])
def test_clusters_of_too_few_patients_are_left_out_with_the_numbers(context, quick: bool):
    params = {"model": context.params.model, "manifest": str(context.subject.manifest.path), "quick": quick}
    found = part(audited(**params, **({} if quick else {"parts": ["clusters", "openings"]})), "clusters")
    n = context.subject.manifest.select(split="test").table["patient_id"].nunique()
    assert found["state"] == "left-out"
    assert found["reason"] == f"the X-rays are of {n} patients, and clusters need 30 or more of one class"
    assert found["runs"] == []


def test_clusters_are_left_out_where_a_run_found_too_few_patients_of_each_class(context, monkeypatch):
    monkeypatch.setattr("cxr.experiments.audit.parts.clusters.FEWEST_PATIENTS", 2)
    (request,) = BY_NAME["clusters"].requests(context)
    assert BY_NAME["clusters"].cannot(context) == ""
    root = Path(runs_root())
    root.mkdir(parents=True, exist_ok=True)
    folder = RunFolder.create(root, request.kinds[0], request.params, manifest_hash=context.subject.manifest_hash)
    folder.update_status(state="failed", error="no room on the disk")
    assert BY_NAME["clusters"].cannot(context) == "", "it may go well the next time"
    folder.write_json("too_few.json", {"most_patients": 1})
    assert BY_NAME["clusters"].cannot(context) == (
        "no class is explained on X-rays of more than 1 patient, and clusters need 2"
    )


def test_what_tells_classes_apart_is_left_out_where_there_is_one(context):
    table = context.subject.manifest.table
    table["findings"] = ""
    table["label"] = ["flu", "cold"] * (len(table) // 2)
    assert BY_NAME["data"].cannot(context) == ""
    table["label"] = "flu"
    assert BY_NAME["data"].cannot(context).startswith("the X-rays have one label, 'flu'")


def test_x_rays_that_are_not_what_they_seem_are_counted_once_and_the_surest_come_first(context):
    flags = [
        {"image_id": "2", "kind": "inverted", "score": 0.7, "sentence": ""},
        {"image_id": "5", "kind": "lateral", "score": 0.9, "sentence": ""},
        {"image_id": "5", "kind": "cut", "score": 0.8, "sentence": ""},
    ]
    ids = context.subject.manifest.ids
    flags = [{**flag, "image_id": ids[int(flag["image_id"])]} for flag in flags]
    result = collected(
        context, "checks", {"flags": flags, "counts": {"inverted": 1, "lateral": 1, "cut": 1, "child": 0}}
    )
    (finding,) = result.findings
    assert finding["images"] == [ids[5], ids[2]]
    assert finding["figure"]["value"] == pytest.approx(2 / 24)
    assert "inverted 1, lateral 1, cut 1" in finding["sentence"]
    assert finding["weight"] == "note"
    alarms = [{"kind": "any", "share": of(0.05, 0.04, 0.06)}, {"kind": "cut", "share": of(0.9, 0.8, 1.0)}]
    usual = collected(context, "checks", {"flags": flags, "counts": {}, "false_alarms": alarms})
    assert usual.findings == []
    assert "no more than false alarms make" in usual.looked[0]
    nothing = collected(context, "checks", {"flags": [], "counts": {}})
    assert nothing.findings == []
    assert "cannot be excluded" in nothing.looked[0]


def test_a_source_of_one_class_and_the_strongest_property_of_each_group_are_findings(tmp_path: Path):
    configuration = CONFIGURATIONS[1]
    manifest = write_xrays(tmp_path / "data" / "own", configuration, n=60, side=32)
    table = pd.read_csv(manifest)
    table["source"] = ["A" if label == configuration.classes[0] else "B" for label in table["label"]]
    table["patient_id"] = [f"p{k}" for k in range(60)]
    table.loc[:9, "source"] = "C"
    table.to_csv(manifest, index=False)
    network = write_network(configuration, tmp_path / "network.safetensors", size=32)
    params = NetworkAuditParams.of({"model": str(network), "manifest": str(manifest)})

    def entry(name: str, group: str, low: float, shown: bool = True) -> dict[str, Any]:
        auc = of(low + 0.05, low, low + 0.1)
        found = {"name": name, "group": group, "title": name.capitalize(), "known": 60, "missing": 0, "auc": auc}
        found |= {"by_class": {"hernia": auc}, "best": "hernia", "p": 0.01, "shown": shown, "sentence": f"{name}."}
        return found

    entries = [entry("width", "file", 0.7), entry("height", "file", 0.85), entry("sex", "manifest", 0.55)]
    entries += [entry("age", "manifest", 0.45, shown=False)]
    sizes = {"hernia": {"images": 30, "patients": 20}, "normal": {"images": 50, "patients": 40}}
    result = collected(Context(params, subject_of(params)), "data", {"properties": entries, "by_class": sizes})
    assert weights(result) == {
        "class-by-property:height": "serious",
        "class-by-property:sex": "note",
        "class-is-source:hernia": "serious",
        "class-is-source:no hernia": "serious",
    }
    height = next(f for f in result.findings if f["name"] == "class-by-property:height")
    assert (height["n_images"], height["n_patients"]) == (80, None)  # those with a class
    share = next(f["figure"] for f in result.findings if f["name"] == "class-is-source:hernia")
    assert share["value"] == pytest.approx(25 / 30)


def test_a_held_out_split_does_not_hide_that_the_training_has_one_source_a_class(tmp_path: Path):
    configuration = CONFIGURATIONS[1]
    manifest = write_xrays(tmp_path / "data" / "own", configuration, n=60, side=32)
    table = pd.read_csv(manifest)
    first = table["label"] == configuration.classes[0]
    table["split"] = ["train" if k < 40 else "probe" for k in range(60)]
    table["source"] = ["A" if one else "B" for one in first]
    table.loc[40:, "source"] = "A"  # both classes from one source, but only where the network is measured
    table.to_csv(manifest, index=False)
    network = write_network(configuration, tmp_path / "network.safetensors", size=32)
    params = NetworkAuditParams.of({"model": str(network), "manifest": str(manifest), "split": "probe"})
    result = collected(Context(params, subject_of(params)), "data", {"properties": [], "by_class": {}})
    assert {name: f for name, f in weights(result).items() if "class-is-source" in name} == {
        "class-is-source:hernia": "serious",
        "class-is-source:no hernia": "serious",
    }


def test_the_networks_that_were_measured_on_the_split_are_counted(context):
    manifest, part = context.subject.manifest, BY_NAME["openings"]
    first = part.collect(context, lambda fraction, message="": None)
    assert (first.findings, first.looked) == ([], ["Split test (24 X-rays): not looked at yet."])
    for number in range(7):
        note_opening(manifest, manifest.ids, run=f"run-{number}", kind="evaluate", network=f"network {number}")
    (finding,) = part.collect(context, lambda fraction, message="": None).findings
    assert (finding["weight"], finding["figure"]["value"]) == ("warning", 7.0)
    assert finding["sentence"].startswith("7 networks or tables were measured on split test, in 7 runs")


def test_a_stamped_mark_that_turns_predictions_is_a_finding_and_one_that_does_not_is_named(context):
    def results(beyond: dict[str, Any]) -> dict[str, Any]:
        share = {"stamped": of(0.5, 0.4, 0.6), "control": of(0.1, 0.0, 0.2)}
        dose = {"size": 0.06, "contrast": 1.0, "n": 24, "n_patients": 12, "turned": share, "turned_beyond": beyond}
        return {"doses": [dose], "token": "“X”", "towards": "flu", "finding": "The letters turn predictions."}

    caught = collected(context, "stamping", results({**of(0.4, 0.25, 0.55), "p": 0.001, "p_holm": 0.001}))
    assert weights(caught) == {"mark-turns:flu": "serious"}
    not_caught = collected(context, "stamping", results({**of(0.1, -0.1, 0.3), "p": 0.3, "p_holm": 0.3}))
    assert not_caught.findings == []
    assert "Up to 30.0 points cannot be excluded" in not_caught.looked[0]


def test_a_run_of_other_weights_or_another_split_does_not_fit(context, tmp_path: Path):
    (request,) = BY_NAME["relevance"].requests(context)
    root = Path(runs_root())
    root.mkdir(parents=True, exist_ok=True)

    def run(weights_sha256: str, split: str, state: str = "finished") -> str:
        rests_on = {"weights_sha256": weights_sha256, "manifest_hash": context.subject.manifest_hash}
        folder = RunFolder.create(root, "relevance-regions", {"split": split})
        folder.write_json("results.json", {"provenance": rests_on})
        folder.update_status(state=state)
        return folder.id

    run("0" * 64, "test")
    run(context.subject.weights, "val")
    run(context.subject.weights, "test", "stopped")
    assert fitting(request, root) is None
    fits = run(context.subject.weights, "test")
    found = fitting(request, root)
    assert found is not None
    assert found.id == fits
