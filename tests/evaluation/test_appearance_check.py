"""The check of a data set for X-rays that are not what they seem: as a run, in shards, and on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from pydicom.data import get_testdata_file

from cxr.data import Manifest
from cxr.data.audit.appearance import picture as pictures
from cxr.data.phantom import make_phantom
from cxr.errors import CxrError
from cxr.experiments.appearance import job
from cxr.experiments.appearance.job import KIND, TABLE
from cxr.experiments.appearance.results import (
    CheckResults,
    alarms_in_words,
    check_results,
    measured_false_alarms,
    remaining,
)
from cxr.experiments.appearance.settings import CheckParams
from cxr.runs import Run, RunFolder, get_run
from cxr.runs.shards.folders import shards_of
from tests.configurations import TWO, Configuration
from tests.spoiled import settle, spoil
from tests.typed_results import misfits

CONFIGURATIONS = (Configuration(1, "single-label", TWO), Configuration(3, "multi-label", ("Mass", "Nodule", "Hernia")))
PLANTED = {"i1": "inverted", "i4": "rotated-180", "i6": "empty", "i9": "child"}


def write_chests(folder: Path, configuration: Configuration, n: int = 12) -> Path:
    """Write synthetic X-rays, some of them changed as :data:`PLANTED` says, one of 16 bits, and one broken file."""
    folder.mkdir(parents=True)
    rows = []
    for k in range(n):
        image = make_phantom(700_000 + k, "normal", size=128, tokens=False).image
        changed = {1: 255 - image, 4: np.rot90(image, 2), 6: np.full_like(image, 30)}.get(k, image)
        if k == 2:
            changed = changed.astype(np.uint16) * 257
        cv2.imwrite(str(folder / f"{k}.png"), cv2.merge([changed] * 3) if configuration.channels == 3 else changed)
        name = configuration.classes[k % len(configuration.classes)]
        labels = {"label": "", "findings": name} if configuration.multi_label else {"label": name, "findings": ""}
        rows.append(
            {"image": f"{k}.png", "image_id": f"i{k}", "patient_id": f"p{k // 2}", "age": 4 if k == 9 else 50 + k}
        )
        rows[-1] |= labels
    (folder / "broken.png").write_bytes(b"no picture")
    rows.append(rows[-1] | {"image": "broken.png", "image_id": "broken"})
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def found(results: CheckResults) -> set[tuple[str, str]]:
    return {(flag["image_id"], flag["kind"]) for flag in results["flags"]}


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
def test_the_command_lists_what_was_planted_and_writes_flags_and_a_manifest_without_them(
    configuration: Configuration, tmp_path: Path, cxr
):
    manifest = write_chests(tmp_path / "xrays", configuration)
    out, clean = tmp_path / "flags.csv", tmp_path / "clean.csv"
    code, printed, errors = cxr("data", "check", manifest, "--out", out, "--without", clean, "--json")
    assert code == 0, errors
    results = json.loads(printed)
    assert set(PLANTED.items()) <= found(results)
    assert len(results["flags"]) <= len(PLANTED) + 1, results["flags"]
    assert results["counts"]["inverted"] >= 1
    assert (results["n_images"], results["left_out"]) == (
        12,
        [{"image_id": "broken", "reason": "is text, not an image"}],
    )
    table = pd.read_csv(out)
    assert dict(zip(table["image_id"], table["kind"], strict=True)).items() >= PLANTED.items()
    left = Manifest.load(clean)
    assert not set(PLANTED) & set(left.ids)
    assert "broken" in left.ids
    assert all(path.is_file() for path in left.image_paths().values())
    assert not list(misfits(get_run(results["run"]).results(), CheckResults))


def test_the_command_says_it_in_words_and_refuses_what_it_cannot_do(tmp_path: Path, cxr):
    manifest = write_chests(tmp_path / "xrays", CONFIGURATIONS[0])
    code, printed, errors = cxr("data", "check", manifest)
    assert code == 0, errors
    words = " ".join(printed.split())
    assert "may not be what they seem" in words
    assert "1 of 12 X-rays with a known age are of children" in words
    assert "--without FILE" in words
    for options, line in (
        (["--out", tmp_path], "is a folder"),
        (["--without", tmp_path / "none" / "clean.csv"], "lies in a folder that does not exist"),
        (["--kind", "mirrored"], "give --without FILE too"),
        (["--kind", "upside", "--without", tmp_path / "clean.csv"], "'upside'"),
        (["--out", tmp_path / "flags.csv", "--detach"], "leave out --slurm and --detach"),
        (["--split", "other"], "'other'"),
    ):
        code, _, errors = cxr("data", "check", manifest, *options)
        assert code == 2, options
        assert line in " ".join(errors.split())


def test_some_kinds_alone_can_be_left_out(tmp_path: Path):
    manifest = Manifest.load(write_chests(tmp_path / "xrays", CONFIGURATIONS[1]))
    results = _checked(tmp_path, manifest.path)
    left = remaining(results, manifest, ["child"]).ids
    assert ("i9" in left, "i1" in left, len(left)) == (False, True, 12)
    with pytest.raises(CxrError, match="'grown-up'"):
        remaining(results, manifest, ["grown-up"])
    with pytest.raises(CxrError, match="all 4 X-rays are flagged"):
        remaining(results, manifest.select(ids=list(PLANTED)))


def _checked(tmp_path: Path, manifest: Path | None) -> CheckResults:
    params = CheckParams.of({"manifest": manifest, "workers": 0})
    folder = RunFolder.create(tmp_path / "runs", KIND, params.stored())
    job.run(folder, params, lambda fraction, message: None)
    results: CheckResults = folder.read_json("results.json")
    return results


def test_a_stopped_check_goes_on_where_it_was_and_finds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    manifest = write_chests(tmp_path / "xrays", CONFIGURATIONS[1])
    whole = _checked(tmp_path, manifest)
    params = CheckParams.of({"manifest": manifest, "workers": 0})
    halved = RunFolder.create(tmp_path / "runs", KIND, params.stored())
    opened: list[Path] = []
    monkeypatch.setattr(job, "look", lambda path: opened.append(path) or pictures.look(path))
    monkeypatch.setattr(job, "_BATCH", 4)

    def stop_at_five(fraction: float, message: str) -> None:
        if message.startswith("5 of"):
            halved.request_stop()

    job.run(halved, params, stop_at_five)
    assert halved.read_json("results.json") is None
    with (halved.path / "looks.jsonl").open("a") as lines:
        lines.write('["half a li')  # as a process that was killed leaves it
    halved.clear_stop()
    before = len(opened)
    job.run(halved, params, lambda fraction, message: None)
    assert len(opened) - before == 13 - 5
    results = halved.read_json("results.json")
    assert results["flags"] == whole["flags"]
    assert len(pd.read_csv(halved.path / TABLE)) == len(whole["flags"])


def test_shards_find_what_one_piece_finds_and_the_merge_opens_no_image(tmp_path: Path):
    folder = tmp_path / "xrays"
    manifest = write_chests(folder, CONFIGURATIONS[0])
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes())
    settle(folder)
    whole = _checked(tmp_path, manifest)
    params = CheckParams.of({"manifest": manifest, "workers": 0})
    cut = RunFolder.create(tmp_path / "runs", KIND, params.stored(), shards=3)
    for shard in shards_of(cut):
        shard.path.mkdir(parents=True)
        job.check_shard(shard, params, lambda fraction, message: None)
        shard.update_status(state="finished")
    spoil(folder)
    job.run(cut, params, lambda fraction, message: None)
    assert cut.read_json("results.json")["flags"] == whole["flags"]


def test_a_section_in_a_dicom_file_is_no_chest_and_a_data_set_without_files_is_refused(tmp_path: Path):
    file = str(get_testdata_file("CT_small.dcm", download=False))
    pd.DataFrame({"image": [file], "label": ["normal"]}).to_csv(tmp_path / "manifest.csv", index=False)
    results = _checked(tmp_path, tmp_path / "manifest.csv")
    assert {flag["kind"] for flag in results["flags"]} & {"not-a-chest", "lateral", "cut"}
    assert results["children"]["sentence"].startswith("No age is known")
    pd.DataFrame({"image": ["gone.png"], "label": ["normal"]}).to_csv(tmp_path / "none.csv", index=False)
    with pytest.raises(CxrError, match="none of the 1 X-rays can be read"):
        _checked(tmp_path, tmp_path / "none.csv")


def test_the_false_alarms_are_those_of_the_benchmark():
    alarms = measured_false_alarms()
    assert alarms[0]["kind"] == "any"
    page = (Path(__file__).parents[2] / "benchmarks" / "results" / "appearance.md").read_text(encoding="utf-8")
    share = f"{100 * (alarms[0]['share']['value'] or 0):.1f} %"
    assert share in alarms_in_words(alarms)
    assert f"| any, by the picture | {share} " in page


def test_only_a_finished_check_has_results(tmp_path: Path):
    folder = RunFolder.create(tmp_path / "runs", KIND, {"manifest": "none"})
    with pytest.raises(CxrError, match="has no results of a check"):
        check_results(Run(folder.path))
