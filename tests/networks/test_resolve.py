"""A trained network is found by any of its names, everywhere by the same rules."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from configurations import Configuration, every_configuration, write_network

from cxr.errors import WeightsError
from cxr.networks import (
    has_network,
    list_networks,
    load_network,
    network_card,
    network_file,
    network_title,
    seen_by,
    training_of,
)
from cxr.paths import runs_root
from cxr.runs import Run
from cxr.runs.folder import RunFolder


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a network as weights and as a training's, and return what each is called."""

    def write(configuration: Configuration) -> tuple[Path, RunFolder]:
        monkeypatch.setenv("CXR_WEIGHTS", str(tmp_path / "weights"))
        file = write_network(configuration, tmp_path / "weights" / "theirs.safetensors")
        training = RunFolder.create(runs_root(), "train", {"manifest": "m.csv"}, name="ours")
        shutil.copy(file, training.checkpoints / "best.safetensors")
        return file, training

    return write


@every_configuration
def test_a_network_is_found_by_file_name_training_and_folder(configuration: Configuration, names) -> None:
    file, training = names(configuration)
    for network_ref in (file, str(file), "theirs"):
        assert network_file(network_ref) == file
        assert (network_title(network_ref), training_of(network_ref)) == ("theirs", None)
    for network_ref in (training.id, training.path, str(training.path), training.checkpoints / "best.safetensors"):
        assert network_file(network_ref) == training.checkpoints / "best.safetensors"
        found = training_of(network_ref)
        assert (network_title(network_ref), found and found.id) == (training.id, training.id)
    for network_ref in ("theirs", training.id):
        model, description = load_network(network_ref)
        card = network_card(network_ref)
        assert card is not None
        assert (model.classes, card.classes, card.task) == (configuration.classes, *(configuration.classes, card.task))
        assert (card.channels, card.task) == (configuration.channels, configuration.task)
        assert description == f"{network_title(network_ref)}: densenet-small at 64 px, {', '.join(card.classes)}"
        assert seen_by(network_ref) is None
        assert not model.training


def test_a_training_goes_before_weights_of_its_name_and_a_file_before_both(tmp_path, monkeypatch, names) -> None:
    file, training = names(Configuration(1, "single-label", ("a", "b")))
    shutil.copy(file, file.with_name(f"{training.id}.safetensors"))
    assert network_file(training.id) == training.checkpoints / "best.safetensors"
    monkeypatch.chdir(tmp_path)
    shutil.copy(file, tmp_path / training.id)
    assert network_file(training.id) == Path(training.id)


def test_lists_hold_what_can_be_loaded_and_nothing_else(names, monkeypatch) -> None:
    _, training = names(Configuration(3, "multi-label", ("x", "y", "z")))
    empty = RunFolder.create(runs_root(), "train", {"manifest": "m.csv"})
    other = RunFolder.create(runs_root(), "evaluate", {"manifest": "m.csv"})
    shutil.copy(training.checkpoints / "best.safetensors", other.checkpoints / "best.safetensors")
    listed = list_networks()
    assert [entry.ref for entry in listed if entry.run] == [training.id]
    assert {"theirs", "demo"} <= {entry.ref for entry in listed if not entry.run}
    assert not [entry for entry in list_networks(finished=True) if entry.run]  # it is not at its end
    assert [has_network(folder) for folder in (training, empty)] == [True, False]
    for entry in listed:
        assert network_file(entry.ref).is_file()
    with pytest.raises(WeightsError, match=f"run {empty.id} has no checkpoint yet: it is failed. Resume it"):
        network_file(empty.id)
    monkeypatch.setattr(Run, "status", lambda _: {"state": "running"})
    with pytest.raises(WeightsError, match="has no checkpoint yet: wait for the end of its first"):
        network_file(empty.id)
    audit = RunFolder.create(runs_root(), "audit-network", {"manifest": "m.csv"})
    with pytest.raises(WeightsError, match="is of the kind 'audit-network' and has no network of its own") as raised:
        network_file(audit.id)
    assert raised.value.wrong_use
    assert training_of(other.id) is None


@pytest.mark.parametrize("network_ref", ["nobody", "../../etc", "", "a/b", ".."])
def test_what_names_no_network_is_answered_with_what_would(network_ref: str) -> None:
    with pytest.raises(WeightsError, match=r"a run's id, a \.safetensors file or a name is needed .*demo"):
        load_network(network_ref)
    assert training_of(network_ref) is None


def test_the_older_name_still_loads_a_network() -> None:
    from cxr import evaluation

    assert evaluation.load_trained is load_network
