"""A text experiment that was stopped goes on: it predicts nothing twice, and ends with the same numbers."""

import pandas as pd
import pytest
from configurations import CONFIGURATIONS, write_network, write_xrays

from cxr.data import Manifest
from cxr.experiments.masking import predictions
from cxr.experiments.masking.job import ALL_CONDITIONS, BOXES, CONTROL_BOXES, run
from cxr.runs.folder import RunFolder
from cxr.runs.kinds import kind_of
from cxr.text.corrections import Reviews

JOURNAL = "predicted.jsonl"
BATCH = 4


@pytest.fixture
def counted(monkeypatch):
    """How many pictures each call of the network got; four X-rays are a batch."""
    monkeypatch.setattr(predictions, "_CHUNK", BATCH)
    calls, predict = [], predictions.predict

    def counting(model, pictures):
        calls.append(len(pictures))
        return predict(model, pictures)

    monkeypatch.setattr(predictions, "predict", counting)
    return calls


@pytest.fixture(scope="module")
def detected(tmp_path_factory):
    """The pictures are the same for every configuration: what is detected on them is kept for all."""
    return tmp_path_factory.mktemp("detected")


def begun(folder, manifest, weights):
    params = {
        "model": str(weights),
        "manifest": str(manifest),
        "split": "test",
        "workers": 0,
        "modes": ["black", "noise"],
    }
    return RunFolder.create(folder, "text-experiment", params | {"draws": 2, "explained": 2})


def stopped_after(folder, n):
    """Do an experiment until ``n`` X-rays are predicted."""

    def stop(fraction, message):
        if message.startswith(f"{n} of ") and "predicted" in message:
            folder.request_stop()

    run(folder, folder.params, stop)
    assert not (folder.path / "results.json").exists()
    folder.clear_stop()


def contents(folder):
    """What an experiment says, but for the time and the number of looks at the split."""
    results = {name: value for name, value in folder.read_json("results.json").items() if name != "provenance"}
    return results, [pd.read_parquet(folder.path / name) for name in (ALL_CONDITIONS, BOXES, CONTROL_BOXES)]


@pytest.mark.parametrize("configuration", [CONFIGURATIONS[1], CONFIGURATIONS[3]], ids=str)
def test_a_resumed_experiment_predicts_nothing_twice_and_equals_an_uninterrupted_one(
    tmp_path, configuration, detected, counted, monkeypatch
):
    monkeypatch.setenv("CXR_DATA", str(detected))
    manifest = write_xrays(tmp_path / "xrays", configuration, words=True)
    weights = write_network(configuration, tmp_path / "net.safetensors")
    whole, cut = begun(tmp_path / "whole", manifest, weights), begun(tmp_path / "cut", manifest, weights)
    run(whole, whole.params, lambda fraction, message: None)
    uninterrupted = counted.copy()
    assert len(uninterrupted) == 12 / BATCH

    counted.clear()
    stopped_after(cut, BATCH)
    with (cut.path / JOURNAL).open("a") as lines:
        lines.write('["a line that a killed proc')
    stopped_after(cut, 2 * BATCH)
    run(cut, cut.params, lambda fraction, message: None)
    assert counted == uninterrupted
    assert not (cut.path / JOURNAL).exists()
    (results, tables), (expected, expected_tables) = contents(cut), contents(whole)
    assert results == expected
    for table, expected_table in zip(tables, expected_tables, strict=True):
        pd.testing.assert_frame_equal(table, expected_table, check_exact=True)
    pd.testing.assert_frame_equal(cut.predictions(), whole.predictions(), check_exact=True)


@pytest.mark.parametrize("what", ["tokens", "network"])
def test_predictions_of_other_tokens_or_of_another_network_are_made_again(
    tmp_path, detected, counted, monkeypatch, what
):
    monkeypatch.setenv("CXR_DATA", str(detected))
    configuration = CONFIGURATIONS[0]
    manifest = write_xrays(tmp_path / "xrays", configuration, words=True)
    weights = write_network(configuration, tmp_path / "net.safetensors")
    folder = begun(tmp_path / "runs", manifest, weights)
    stopped_after(folder, BATCH)
    if what == "tokens":
        first = Manifest.load(manifest).ids[0]
        Reviews.beside(manifest).save(first, [], shape=(96, 96), content_hash="")
    else:
        write_network(configuration, weights, seed=1)
    counted.clear()
    run(folder, folder.params, lambda fraction, message: None)
    assert len(counted) == 12 / BATCH


def test_its_kind_says_that_it_resumes():
    assert kind_of("text-experiment").resumes
