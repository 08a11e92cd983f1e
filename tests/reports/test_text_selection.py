"""A text experiment on X-rays that were picked by hand: it says so, and no report takes it for the split's result."""

from __future__ import annotations

import html
from pathlib import Path

import pandas as pd
import pytest
from configurations import CONFIGURATIONS, Configuration, every_configuration, write_network, write_xrays
from runs_made import measured

from cxr.cli.models import read_ids
from cxr.cli.output import WrongUse
from cxr.data import Manifest
from cxr.data.openings import held_out_ids, openings_of
from cxr.errors import CxrError, TextError
from cxr.experiments.audit.parts.text import _of_split
from cxr.experiments.masking.settings import Setting
from cxr.experiments.masking.shapes import MaskingResults, masking_results
from cxr.reports import masking
from cxr.reports.checklist.subject import Subject
from cxr.reports.run import Choices, document_of
from cxr.runs import Run, list_runs, start
from tests.typed_results import misfits

QUICK = {"mode": "black", "draws": 1, "explained": 0, "workers": 0}


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_network(CONFIGURATIONS[0], tmp_path / "net.safetensors")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_xrays(tmp_path / "data" / "own", CONFIGURATIONS[0], side=220, words=True)


def masked(network: Path, manifest: Path, **params: object) -> Run:
    values = {"model": str(network), "manifest": str(manifest), "split": "test", **QUICK, **params}
    run = start("text-experiment", values, detached=False)
    assert run.status()["state"] == "finished", run.folder.log_tail()
    return run


@every_configuration
def test_an_experiment_on_picked_x_rays_is_of_these_and_says_of_how_many_and_of_which_patients(
    configuration: Configuration, tmp_path: Path
) -> None:
    network = write_network(configuration, tmp_path / "net.safetensors")
    manifest = write_xrays(tmp_path / "data" / "own", configuration, side=220, words=True)
    ids = Manifest.load(manifest).ids
    picked = [ids[5], ids[0], ids[1]]
    run = masked(network, manifest, ids=picked)
    results, table = masking_results(run), run.predictions()
    assert results is not None
    assert table is not None
    assert table["image_id"].tolist() == sorted(picked, key=ids.index)
    assert results["selection"] == {"how": "picked", "n": 3, "of": 12}
    said = "This rests on 3 X-rays of 2 patients, picked by hand of the 12 of the split test."
    assert results["finding"].startswith(said)
    assert list(misfits(results, MaskingResults)) == []
    assert said in html.unescape(masking.to_html(run))
    assert run.name == "text own test 3 picked"
    assert Setting.of(run.spec["params"]).ids == tuple(picked)


def test_no_report_takes_it_for_the_result_of_the_split(network: Path, manifest: Path) -> None:
    evaluation = measured(network, manifest)
    for part in ({"ids": Manifest.load(manifest).ids[:4]}, {"n": 4}):
        run = masked(network, manifest, **part)
        assert "of the 12 of the split test" in run.results()["finding"]
        section = next(part for part in document_of(evaluation, Choices()).sections if part.title == "Burned-in text")
        assert "Not examined" in repr(section)
        assert not _of_split("test")(run.spec["params"], run.results())
        assert Subject.of(evaluation).findings_of("text-experiment") == []
    whole = masked(network, manifest)
    assert _of_split("test")(whole.spec["params"], whole.results())
    masked(network, manifest, ids=Manifest.load(manifest).ids[:4])  # newer than that of the whole split
    section = next(part for part in document_of(evaluation, Choices()).sections if part.title == "Burned-in text")
    assert whole.results()["finding"] in repr(section)
    assert [whole.id in line for line in Subject.of(evaluation).findings_of("text-experiment")] == [True]


def test_a_report_says_that_an_experiment_is_on_other_x_rays_than_its_figures(
    network: Path, manifest: Path, tmp_path: Path
) -> None:
    evaluation = measured(network, manifest)
    elsewhere = write_xrays(tmp_path / "data" / "elsewhere", CONFIGURATIONS[0], side=220, words=True)
    said = "These are other X-rays than those of the figures above."
    for data, is_said in ((elsewhere, True), (manifest, False)):
        run = masked(network, data)
        section = next(part for part in document_of(evaluation, Choices()).sections if part.title == "Burned-in text")
        assert run.results()["finding"] in repr(section)
        assert (said in repr(section)) == is_said


def test_the_look_at_picked_x_rays_is_counted_and_a_locked_split_stays_closed(network: Path, manifest: Path) -> None:
    data = Manifest.load(manifest)
    masked(network, manifest, ids=data.ids[:3])
    (opening,) = openings_of(data, held_out_ids(data, data.ids)["test"]).earlier
    assert opening.n == 3
    of_any = Setting.of({"model": str(network), "manifest": str(manifest), "split": "", "ids": data.ids[:3]})
    assert of_any.splits_looked_at() == ("test",)


def test_ids_that_are_not_there_are_refused_before_anything_is_started(network: Path, manifest: Path) -> None:
    table = pd.read_csv(manifest)
    table.loc[0, "split"] = "train"
    table.to_csv(manifest, index=False)
    ids = Manifest.load(manifest).ids
    for kind, params in (("text-experiment", QUICK), ("explain", {})):
        values = {"model": str(network), "manifest": str(manifest), "split": "test", **params}
        for wrong, said in (
            (ids[0], "is none of the 11 X-rays of the split 'test'. Accepted: ids of this split"),
            ("nobody", "ids: 'nobody' is none of the 11 X-rays"),
        ):
            with pytest.raises(CxrError, match=said):
                start(kind, {**values, "ids": [ids[1], wrong]})
    with pytest.raises(TextError, match="ids: none given"):
        Setting.of({"model": "demo", "manifest": str(manifest), "ids": []})
    assert list_runs() == []


def test_the_command_takes_the_table_that_the_grid_saves_or_a_list(
    network: Path, manifest: Path, tmp_path: Path, cxr
) -> None:
    ids = Manifest.load(manifest).ids
    table, listed = tmp_path / "grid.csv", tmp_path / "ids.txt"
    pd.DataFrame({"label": ["a, b", "c"], "image_id": ids[2:4]}).to_csv(table, index=False)
    listed.write_text("\ufeff" + "\n".join([*ids[2:4], "", ids[2]]) + "\n", encoding="utf-8")
    assert read_ids(table) == read_ids(listed) == ids[2:4]
    words = ("--data", manifest, "--ids", table, "--json")
    code, _, err = cxr("text", "experiment", network, *words, "--draws", 1, "--explained", 0)
    assert code == 0, err
    code, _, err = cxr("explain", network, *words)
    assert code == 0, err
    explained, experiment = list_runs()
    assert (explained.kind, experiment.kind) == ("explain", "text-experiment")
    for run in (explained, experiment):
        assert run.spec["params"]["ids"] == ids[2:4]
    assert explained.results()["n"] == experiment.results()["n_images"] == 2


def test_a_file_of_ids_that_cannot_be_used_is_told_in_one_line(tmp_path: Path) -> None:
    for content, said in (
        (b"a,b\n1,2\n", "no column image_id. Its columns: a, b"),
        (b"\n \n", "lists no X-ray"),
        (b"image_id\n", "lists no X-ray"),
        (b"\xff\xfe\x00", "cannot be read"),
    ):
        (tmp_path / "ids.csv").write_bytes(content)
        with pytest.raises(WrongUse, match=said):
            read_ids(tmp_path / "ids.csv")
    with pytest.raises(WrongUse, match="cannot be read"):
        read_ids(tmp_path / "nowhere.csv")
