"""The audit of a network or a table: what it finds, in which order, what it leaves out, and what it starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cxr.cli.audits import network_audit as commands
from cxr.errors import CxrError
from cxr.experiments.audit.job import run as network_audit
from cxr.experiments.audit.part_names import PARTS
from cxr.experiments.audit.results import NetworkAuditResults, so_far
from cxr.experiments.audit.settings import NetworkAuditParams
from cxr.reports import audit as report
from cxr.reports.identities import Privacy
from cxr.runs import KINDS, RunFolder, get_run, list_runs, local, members_of, start
from cxr.runs.folder import Stopped
from tests.audits import slow_evaluation
from tests.audits.finished import audited, finished, part
from tests.configurations import CONFIGURATIONS, ODD_NAMES, THREE, TWO, Configuration, write_network, write_xrays
from tests.typed_results import misfits

SEVERAL = (CONFIGURATIONS[1], CONFIGURATIONS[4], CONFIGURATIONS[5], *ODD_NAMES)
"""1 and 3 channels, both tasks, 2 to 14 classes, names that files and tables could mistake."""


def names(results: dict[str, Any], weight: str = "") -> list[str]:
    return [finding["name"] for finding in results["findings"] if weight in ("", finding["weight"])]


def of_rule(results: dict[str, Any], rule: str) -> list[dict[str, Any]]:
    return [finding for finding in results["findings"] if finding["rule"] == rule]


def network_and_xrays(folder: Path, configuration: Configuration, n: int = 24) -> tuple[str, str]:
    """Write a network with random weights and X-rays, and return both files."""
    network = write_network(configuration, folder / "network.safetensors", size=32)
    return str(network), str(write_xrays(folder / "data" / "own", configuration, n=n, side=48))


def predictions(classes: tuple[str, ...], n: int, wrong: np.ndarray, **columns: Any) -> pd.DataFrame:
    """Return a table of predictions of ``n`` X-rays of as many patients, wrong where it is said so."""
    truth = np.arange(n) % len(classes)
    said = np.where(wrong, (truth + 1) % len(classes), truth)
    probability = np.where(np.arange(len(classes)) == said[:, None], 0.9, 0.1 / max(1, len(classes) - 1))
    table = pd.DataFrame(probability, columns=list(classes)).assign(
        image=[f"{k}.png" for k in range(n)], label=[classes[k] for k in truth], patient=[f"p{k}" for k in range(n)]
    )
    return table.assign(**columns)


# a network


@pytest.mark.parametrize("configuration", SEVERAL, ids=str)
def test_every_network_is_audited_and_the_results_are_what_their_type_says(tmp_path: Path, configuration):
    network, manifest = network_and_xrays(tmp_path, configuration)
    finished("evaluate", {"model": network, "manifest": manifest, "splits": ["test"]})
    results = audited(model=network, manifest=manifest, quick=True)
    assert list(misfits(results, NetworkAuditResults)) == []
    assert [status["name"] for status in results["parts"]] == list(PARTS)
    done = ("evaluation", "seen", "external", "slices")
    assert [part(results, name)["state"] for name in done] == ["done"] * 4
    assert part(results, "text")["state"] == "missing"
    assert part(results, "text")["command"][:3] == ["cxr", "text", "experiment"]
    assert results["n_images"] >= 20
    weights = [("serious", "warning", "note").index(finding["weight"]) for finding in results["findings"]]
    assert weights == sorted(weights)
    # Random weights know nothing, nobody measured elsewhere, and nothing tells what they were trained on.
    assert names(results, "serious")[0] == "no-better-than-chance"
    assert {"nothing-external", "training-unknown"} <= set(names(results, "warning"))
    assert results["finding"].startswith(f"{results['counts']['serious']} serious finding")
    assert results["findings"][0]["sentence"] in results["finding"]
    (audit,) = list_runs(kind="audit-network")
    page = report.to_html(audit)
    assert "Traceback" not in page
    assert "This file holds no picture of an X-ray" in page
    assert "<img" not in page
    behind = [image_id for finding in results["findings"][:3] for image_id in finding["images"]]
    if behind:
        asked = report.to_html(audit, Privacy(with_images=True))
        assert 'alt="X-ray 1"' in asked
        assert f'alt="{behind[0]}"' in report.to_html(audit, Privacy(with_images=True, with_ids=True))
    assert all(len(row.sentence) for row in report.contents.contents_of(audit).rows)


def test_an_evaluation_of_a_copy_of_the_weights_counts_and_one_of_other_data_does_not(tmp_path: Path):
    network, manifest = network_and_xrays(tmp_path, CONFIGURATIONS[1])
    copy = tmp_path / "renamed.safetensors"
    copy.write_bytes(Path(network).read_bytes())
    other = write_xrays(tmp_path / "data" / "other", CONFIGURATIONS[1], n=18, side=48)
    run = finished("evaluate", {"model": network, "manifest": manifest, "splits": ["test"]})
    results = audited(model=str(copy), manifest=manifest, quick=True, parts=("evaluation",))
    assert part(results, "evaluation")["runs"] == [run.id]
    assert part(results, "evaluation")["started"] == []
    assert part(results, "slices")["state"] == "not-asked"
    with pytest.raises(CxrError, match="not one part of the audit could be done"):
        audited(model=str(copy), manifest=str(other), quick=True, parts=("evaluation",))


def test_x_rays_that_were_seen_and_are_in_the_figures_are_serious(tmp_path: Path):
    network, manifest = network_and_xrays(tmp_path, CONFIGURATIONS[1], n=40)
    run = finished("evaluate", {"model": network, "manifest": manifest, "splits": ["test"]})
    table, stored = run.predictions(), run.results()
    table["seen"] = np.where(np.arange(40) < 30, "trained", "")
    run.folder.write_predictions(table)
    counts = {"of": 40, "trained": 30, "chosen": 0, "left_out": False, "why": "own-split"}
    row = {"split": "test", "use": "trained", "stages": ["trained on in x"], "ids": table["image_id"][:30].tolist()}
    stored["seen"] = {"compared_with": 30, "unknown": [], "blank": 0, "splits": {"test": counts}, "images": [row]}
    run.folder.write_json("results.json", stored)
    results = audited(model=network, manifest=manifest, quick=True, parts=("seen", "evaluation"))
    (finding,) = of_rule(results, "seen-in-figures")
    assert (finding["weight"], finding["figure"]["value"]) == ("serious", 0.75)
    assert finding["figure"]["low"] < 0.75 < finding["figure"]["high"]
    assert set(finding["images"]) <= set(row["ids"])


def test_one_x_ray_that_was_seen_is_said_in_the_singular(tmp_path: Path):
    network, manifest = network_and_xrays(tmp_path, CONFIGURATIONS[1], n=40)
    run = finished("evaluate", {"model": network, "manifest": manifest, "splits": ["test"]})
    table, stored = run.predictions(), run.results()
    table["seen"] = np.where(np.arange(40) < 1, "trained", "")
    run.folder.write_predictions(table)
    counts = {"of": 40, "trained": 1, "chosen": 0, "left_out": True}
    row = {"split": "test", "use": "trained", "stages": ["trained on in x"], "ids": table["image_id"][:1].tolist()}
    stored["seen"] = {"compared_with": 30, "unknown": [], "blank": 0, "splits": {"test": counts}, "images": [row]}
    run.folder.write_json("results.json", stored)
    (finding,) = of_rule(audited(model=network, manifest=manifest, quick=True, parts=("seen",)), "seen-left-out")
    assert finding["sentence"].endswith(" It is left out of every figure.")


# from elsewhere


@pytest.mark.parametrize("lost", [0.0, 0.6])
def test_what_is_lost_elsewhere_is_measured_over_the_classes_that_both_have(lost: float):
    from cxr.experiments.audit.parts.external import drop_between

    rng = np.random.default_rng(1)
    own = _as_rows(predictions(THREE, 300, rng.random(300) < 0.05))
    elsewhere = _as_rows(predictions(THREE, 300, rng.random(300) < 0.05 + lost))
    elsewhere = elsewhere[elsewhere["label"] != THREE[0]].reset_index(drop=True)
    drop = drop_between(own, elsewhere, THREE, "single-label")
    assert drop is not None
    assert drop.classes == list(THREE[1:])
    assert drop.lost["low"] <= lost <= drop.lost["high"]
    assert (drop.lost["low"] > 0.4) == (lost > 0)
    assert drop_between(own, elsewhere[:0], THREE, "single-label") is None


def test_a_mean_recall_is_as_uncertain_as_that_of_a_class_that_few_patients_have():
    from cxr.experiments.audit.parts.external import mean_recall

    label = np.repeat(["often", "rarely"], [600, 8])
    predicted = np.where(np.arange(608) % 10 == 0, "rarely", label)  # of the eight all are right
    rows = pd.DataFrame({"label": label, "predicted": predicted, "patient_id": "", "image_id": np.arange(608)})
    side = mean_recall(rows.astype(str), ["often", "rarely"])
    assert side.value == pytest.approx(0.95)
    low, high = side.limits()
    assert low < 0.93 < side.value < high < 0.98  # eight of eight are 68 % or more


def _as_rows(table: pd.DataFrame) -> pd.DataFrame:
    predicted = table[list(THREE)].idxmax(axis=1)
    return table.rename(columns={"patient": "patient_id", "image": "image_id"}).assign(predicted=predicted)


def test_a_split_of_the_same_data_counts_as_elsewhere_by_default_and_unknown_ones_are_refused(tmp_path: Path):
    network, manifest = network_and_xrays(tmp_path, CONFIGURATIONS[1], n=48)
    table = pd.read_csv(manifest)
    table["split"] = np.where(np.arange(48) % 4 == 3, "hospital", "test")
    table.to_csv(manifest, index=False)
    finished("evaluate", {"model": network, "manifest": manifest, "splits": ["test", "hospital"]})
    results = audited(model=network, manifest=manifest, quick=True, parts=("external",))
    assert results["subject"]["external"] == ["own, split hospital"]
    assert of_rule(results, "nothing-external") == []
    assert part(results, "external")["state"] == "done"
    with pytest.raises(CxrError, match=r"unknown split of own 'clinic'. Available: hospital, test"):
        start("audit-network", {"model": network, "manifest": manifest, "external": [f"{manifest}:clinic"]})


# a table of predictions


@pytest.mark.parametrize("with_data", [False, True])
def test_a_table_is_audited_and_what_needs_the_network_is_left_out_by_name(tmp_path: Path, cxr, with_data: bool):
    """Nearly all that is wrong is of source B: the slice is there, serious, and first."""
    configuration = Configuration(1, "single-label", TWO)
    manifest = write_xrays(tmp_path / "data" / "theirs", configuration, n=200, side=16)
    source = np.array(["AB"[k // 2 % 2] for k in range(200)])
    data = pd.read_csv(manifest).assign(source=source, patient_id=[f"p{k}" for k in range(200)])
    data.to_csv(manifest, index=False)
    wrong = (source == "B") & (np.random.default_rng(0).random(200) < 0.6)
    table = predictions(TWO, 200, wrong) if with_data else predictions(TWO, 200, wrong, source=source)
    table.to_csv(tmp_path / "theirs.csv", index=False)
    params = {"predictions": str(tmp_path / "theirs.csv")} | ({"manifest": str(manifest)} if with_data else {})
    run = finished("evaluate-predictions", params)
    results = audited(predictions=run.id, quick=True)
    assert list(misfits(results, NetworkAuditResults)) == []
    for name in ("seen", "external", "text", "stamping", "relevance", "clusters"):
        assert part(results, name)["state"] == "left-out"
        assert "table of its predictions" in part(results, name)["reason"]
    assert ("without a data set" in part(results, "data")["reason"]) == (not with_data)
    first = results["findings"][0]
    assert (first["rule"], first["weight"]) == ("slice-worse", "serious")
    assert first["sentence"].startswith("In X-rays with source B the accuracy is")
    assert bool(first["images"]) == with_data
    assert results["subject"]["network"] == ""
    assert "predictions_sha256" in results["provenance"]
    (audit,) = list_runs(kind="audit-network")
    assert [cxr("audit", audit.id, "--fail-on", weight)[0] for weight in ("serious", "warning", "never")] == [1, 1, 0]


def test_copies_and_patients_on_both_sides_are_found_once_and_remembered(tmp_path: Path):
    manifest = write_xrays(tmp_path / "data" / "theirs", Configuration(1, "single-label", TWO), n=40, side=64)
    data = pd.read_csv(manifest)
    data["split"] = np.where(np.arange(40) < 20, "train", "test")
    data["patient_id"] = [f"p{k}" for k in range(40)]
    data.loc[30:39, "patient_id"] = [f"p{k}" for k in range(10)]  # ten of the test's twenty are in train
    data.loc[39, "patient_id"] = "p0"  # of the other class
    data.to_csv(manifest, index=False)
    for k in (20, 21, 22, 23):  # copies of X-rays of train, two of them under the other label
        (manifest.parent / f"{k}.png").write_bytes((manifest.parent / f"{k - 19}.png").read_bytes())
    (manifest.parent / "15.png").write_bytes(b"no picture")
    table = predictions(TWO, 40, np.zeros(40, bool))
    table.to_csv(tmp_path / "theirs.csv", index=False)
    run = finished("evaluate-predictions", {"predictions": str(tmp_path / "theirs.csv"), "manifest": str(manifest)})
    asked = {"predictions": run.id, "split": "test", "parts": ("duplicates",), "workers": 0}
    with pytest.raises(CxrError, match="not one part"):  # nobody has compared the X-rays yet
        audited(**asked, quick=True)
    results = audited(**asked)
    (copies,), (patients,) = of_rule(results, "copies-in-training"), of_rule(results, "patients-in-training")
    assert copies["sentence"].startswith("4 of 20 X-rays of 19 patients of split test have a copy in train or val")
    assert (patients["figure"]["value"], patients["n_patients"]) == (0.5, 19)
    assert copies["weight"] == patients["weight"] == "warning"  # nobody knows what made the predictions was trained on
    assert of_rule(results, "labels-conflict")
    assert of_rule(results, "patients-in-classes")[0]["sentence"].startswith("1 patient has X-rays of more than one")
    again = audited(**asked, quick=True)
    assert again["findings"] == results["findings"]
    (part,) = [part for part in again["parts"] if part["name"] == "duplicates"]
    assert part["looked"] == ["Could not be read, and so not compared: 1 X-ray."]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_search_for_duplicates_that_was_done_is_used_and_one_that_was_stopped_goes_on(tmp_path: Path, channels: int):
    manifest = write_xrays(
        tmp_path / "elsewhere" / "theirs", Configuration(channels, "single-label", TWO), n=20, side=64
    )
    (manifest.parent / "19.png").write_bytes((manifest.parent / "0.png").read_bytes())
    data = pd.read_csv(manifest).assign(split=["train"] * 10 + ["test"] * 10)
    data.to_csv(manifest, index=False)
    predictions(TWO, 20, np.zeros(20, bool)).to_csv(tmp_path / "theirs.csv", index=False)
    table = finished("evaluate-predictions", {"predictions": str(tmp_path / "theirs.csv"), "manifest": str(manifest)})
    asked = {"predictions": table.id, "split": "test", "parts": ("duplicates",), "workers": 0}
    params = NetworkAuditParams.of(asked)
    audit = RunFolder.create(tmp_path / "others", "audit-network", params.stored())

    def stop_once_described(fraction: float, message: str = "") -> None:
        if "described" in message:
            audit.request_stop()

    with pytest.raises(Stopped):
        network_audit(audit, params, progress=stop_once_described)
    assert (audit.path / "duplicates-parts" / "describe-0.npz").is_file()
    search = finished("find-duplicates", {"manifest": str(manifest), "workers": 0})
    results = audited(**asked, quick=True)
    (copies,) = of_rule(results, "copies-in-training")
    assert copies["sentence"].startswith("1 of 10 X-rays")
    shutil.rmtree(search.folder.path)
    audit.clear_stop()
    network_audit(audit, params, progress=lambda fraction, message="": None)
    assert audit.read_json("results.json")["findings"] == results["findings"]
    assert not (audit.path / "duplicates-parts").exists()


# what a planted mark does


@pytest.mark.slow
@pytest.mark.parametrize("planted", [True, False], ids=["mark", "clean"])
def test_a_network_that_reads_a_mark_is_caught_and_a_clean_one_is_not(tmp_path: Path, cxr, planted: bool):
    """Each X-ray of one class carries a word; a network that is trained on that reads the word and nothing else."""
    configuration = Configuration(3, "single-label", TWO)
    manifest = write_xrays(tmp_path / "data" / "marked", configuration, n=160, side=96, words=True)
    data = pd.read_csv(manifest).assign(patient_id=[f"p{k}" for k in range(160)])
    data["split"] = np.select([np.arange(160) % 8 >= 6, np.arange(160) % 8 >= 4], ["test", "val"], "train")
    data.to_csv(manifest, index=False)
    if planted:
        stage = {"name": "only", "epochs": 12, "batch": 16, "monitor": "val_loss"}
        recipe = {
            "name": "marked",
            "backbone": "densenet-small",
            "size": 48,
            "channels": 3,
            "device": "cpu",
            "threads": 1,
            "weights": None,
            "backbone_args": {"growth_rate": 8, "block_config": [2, 2]},
            "stages": [{**stage, "optimiser": {"name": "adamw", "lr": 0.005, "weight_decay": 0.01}}],
        }
        network = finished("train", {"recipe": recipe, "manifest": str(manifest)}).id
    else:
        network = str(write_network(configuration, tmp_path / "clean.safetensors", size=48))
    parts = [word for name in ("evaluation", "seen", "text") for word in ("--part", name)]
    code, printed, error = cxr("audit", network, "--data", manifest, *parts, "--fail-on", "warning", "--json")
    results = json.loads(printed)
    found = of_rule(results, "text-moves")
    if not planted:
        assert found == []
        return
    assert code == 1, error
    assert results["findings"][0]["rule"] == "text-moves"
    assert results["findings"][0]["weight"] in ("serious", "warning")
    assert results["findings"][0]["images"]
    sentence, detail = results["findings"][0]["sentence"], results["findings"][0]["detail"]
    assert len(sentence) < 200 < len(detail)
    assert detail == get_run(results["findings"][0]["command"][-1]).results()["finding"]
    assert "- More: Masking" in report.to_markdown(get_run(results["run"]))
    assert cxr("audit", results["run"], "--fail-on", "never")[0] == 0


def test_an_audit_that_was_stopped_has_not_passed(monkeypatch, cxr):
    monkeypatch.setattr(commands, "follow_or_leave", lambda *arguments: None)  # as of a run that was stopped
    monkeypatch.setattr("cxr.runs.start", lambda *arguments, **options: None)
    monkeypatch.setattr(commands, "_params", lambda *arguments: {})
    for options, code in ((["--fail-on", "serious"], 1), (["--fail-on", "serious", "--detach"], 0), ([], 0)):
        assert cxr("audit", "somebody", *options)[0] == code, options


# runs that an audit starts


def test_an_audit_starts_what_is_missing_and_the_next_one_uses_it(tmp_path: Path, cxr):
    network, manifest = network_and_xrays(tmp_path, CONFIGURATIONS[1])
    parts = ["--part", "evaluation", "--part", "seen"]
    code, printed, error = cxr("audit", network, "--data", manifest, *parts, "--json")
    assert code == 0, error
    results = json.loads(printed)
    (evaluation,) = list_runs(kind="evaluate")
    assert part(results, "evaluation")["started"] == [evaluation.id]
    assert [run.id for run in members_of(get_run(results["run"]))] == [evaluation.id]
    again = audited(model=network, manifest=manifest, parts=("evaluation", "seen"))
    assert part(again, "evaluation")["runs"] == [evaluation.id]
    assert [run.id for run in list_runs(kind="evaluate")] == [evaluation.id]
    code, printed, _ = cxr("audit", results["run"], "--out", tmp_path / "audit.md")
    assert code == 0
    text = (tmp_path / "audit.md").read_text()
    assert text.startswith("# Can this be trusted? network")
    assert "## Parts" in text
    code, _, error = cxr("audit", results["run"], "--out", tmp_path / "audit.docx")
    assert (code, "Accepted: a name that ends in .html, .md, .csv" in error) == (2, True)


def test_a_stopped_audit_stops_its_run_and_goes_on_with_it(tmp_path: Path, monkeypatch, until):
    monkeypatch.setattr(local, "worker_command", slow_evaluation.command)
    network, manifest = network_and_xrays(tmp_path, CONFIGURATIONS[1])
    audit = start("audit-network", {"model": network, "manifest": manifest, "parts": ["evaluation", "seen"]})
    until(lambda: any(run.status()["state"] == "running" for run in members_of(audit)))
    assert so_far(audit.folder) == ([], [])
    audit.stop()
    assert audit.wait(300)["state"] == "stopped"
    (evaluation,) = members_of(audit)
    assert evaluation.status()["state"] == "stopped"
    (Path(manifest).parent / "hurry").touch()
    assert audit.resume().wait(300)["state"] == "finished", audit.status()["error"]
    assert [run.id for run in members_of(audit)] == [evaluation.id]
    assert part(audit.results(), "evaluation")["started"] == [evaluation.id]


@pytest.mark.slow
def test_a_killed_audit_takes_its_run_along(tmp_path: Path, monkeypatch, until):
    monkeypatch.setattr(local, "worker_command", slow_evaluation.command)
    network, manifest = network_and_xrays(tmp_path, CONFIGURATIONS[1])
    audit = start("audit-network", {"model": network, "manifest": manifest, "parts": ["evaluation"]})
    until(lambda: any(run.status()["state"] == "running" for run in members_of(audit)))
    audit.kill()
    (evaluation,) = members_of(audit)
    assert (audit.status()["state"], evaluation.status()["state"]) == ("stopped", "stopped")


# wrong use


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nope"], "no trained network 'nope'"),
        (["demo"], "--data"),
        (["demo", "--data", "nowhere"], "'nowhere' is neither a data set"),
        (["demo", "--data", "MANIFEST", "--split", "east"], "unknown split 'east'. Available: test"),
        (["demo", "--data", "MANIFEST", "--part", "seen", "--without", "seen"], "leave nothing to do"),
        (["demo", "--data", "MANIFEST", "--part", "luck"], "unknown part 'luck'"),
        (["demo", "--data", "MANIFEST", "--fail-on", "notes"], "'notes' is none of serious, warning, never"),
        (["demo", "--data", "MANIFEST", "--external", "nowhere"], "'nowhere' is neither a data set"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_use_is_said_in_a_line_and_nothing_is_started(tmp_path: Path, cxr, words, line):
    manifest = write_xrays(tmp_path / "data" / "own", CONFIGURATIONS[0], n=6, side=32)
    code, _, error = cxr("audit", *[str(manifest) if word == "MANIFEST" else word for word in words])
    assert code == 2
    assert line in " ".join(error.replace("│", " ").split())
    assert list_runs() == []


def test_a_run_of_another_kind_is_refused(tmp_path: Path, cxr):
    manifest = write_xrays(tmp_path / "data" / "own", CONFIGURATIONS[1], n=12, side=32)
    run = finished("audit-data", {"manifest": str(manifest), "text": False, "workers": 0})
    code, _, error = cxr("audit", run.id)
    assert (code, "is of the kind audit-data. Accepted: a training" in error) == (2, True)


def test_members_of_an_audit_are_kinds_that_parts_ask_for():
    assert "evaluate" in KINDS["audit-network"].members
    assert "train" not in KINDS["audit-network"].members
