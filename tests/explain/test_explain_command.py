"""``cxr explain`` of one X-ray, of networks of every kind and with names of every kind."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from configurations import ODD_NAMES, ONE_FINDING, every_configuration, write_network, write_xrays

from cxr.cli import main
from cxr.cli.explaining import ALL
from cxr.data import Manifest
from cxr.runs import list_runs


@pytest.fixture
def explained(monkeypatch, capsys, tmp_path):
    """Explain the first X-ray of a configuration, and return (exit code, what was told, stderr)."""

    def command(configuration, *options, as_json=True):
        weights = write_network(configuration, tmp_path / "network.safetensors")
        image = write_xrays(tmp_path / "xrays", configuration, n=2).parent / "0.png"
        line = [
            "cxr",
            "explain",
            weights,
            image,
            "--out",
            tmp_path / "maps",
            *options,
            *(["--json"] if as_json else []),
        ]
        monkeypatch.setattr(sys, "argv", [str(part) for part in line])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return left.value.code or 0, json.loads(out) if as_json else out, err

    return command


@every_configuration
def test_every_class_has_its_files_and_numbers(explained, configuration):
    code, told, err = explained(configuration, "--target", "all")
    assert code == 0, err
    assert [one["target"] for one in told["maps"]] == list(configuration.classes)
    chances = [row["probability"] for row in told["predictions"].values()]
    assert (sum(chances) == pytest.approx(1)) != configuration.multi_label
    for one in told["maps"]:
        relevance = np.load(one["files"]["relevance"])
        assert relevance.shape == (configuration.channels, 64, 64)
        assert one["relevance_sum"] == pytest.approx(float(relevance.sum()), abs=1e-4)
        assert all(Path(file).stat().st_size for file in one["files"].values())
    files = [file for one in told["maps"] for file in one["files"].values()]
    assert len(set(files)) == 4 * len(configuration.classes)


@pytest.mark.parametrize("configuration", [ODD_NAMES[0], ONE_FINDING], ids=str)
def test_a_class_of_any_name_is_explained_by_that_name(explained, configuration, tmp_path):
    for name in configuration.classes:
        code, told, err = explained(configuration, "--target", name)
        assert code == 0, err
        assert told["target"] == name
    assert len(list((tmp_path / "maps").iterdir())) == 4 * len(configuration.classes)
    code, out, err = explained(configuration, as_json=False)
    assert code == 0, err
    assert all(name in out for name in configuration.classes)


@pytest.mark.parametrize("configuration", [ODD_NAMES[0], ONE_FINDING], ids=str)
def test_a_class_that_the_network_does_not_know_is_wrong_use_for_one_image_too(explained, configuration):
    code, told, err = explained(configuration, "--target", "nope")
    assert code == 2
    assert err == f"error: unknown target 'nope'. Available: {', '.join([ALL, *configuration.classes])}\n"
    assert told["error"] in err


@pytest.mark.parametrize("command", [["explain"], ["text", "experiment"]])
@pytest.mark.parametrize("split", ["nope", "all"])
def test_a_split_that_is_not_there_starts_no_run_and_the_splits_are_named(
    monkeypatch, capsys, tmp_path, command, split
):
    weights = write_network(ONE_FINDING, tmp_path / "network.safetensors")
    data = write_xrays(tmp_path / "xrays", ONE_FINDING, n=2)
    monkeypatch.setattr(sys, "argv", ["cxr", *command, str(weights), "--data", str(data), "--split", split])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    splits = Manifest.load(data).splits
    assert capsys.readouterr().err.startswith(f"error: unknown split '{split}'. Available: {splits[0]}")
    assert list_runs() == []


def test_a_folder_for_the_maps_of_a_split_is_refused_not_forgotten(monkeypatch, capsys, tmp_path):
    weights = write_network(ONE_FINDING, tmp_path / "network.safetensors")
    data = write_xrays(tmp_path / "xrays", ONE_FINDING, n=2)
    line = ["cxr", "explain", str(weights), "--data", str(data), "--out", str(tmp_path / "maps")]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "maps goes with an IMAGE. Without one the maps of a split lie in the run's " in capsys.readouterr().err
    assert list_runs() == []


def test_a_class_that_the_network_does_not_know_starts_no_run(monkeypatch, capsys, tmp_path):
    weights = write_network(ONE_FINDING, tmp_path / "network.safetensors")
    data = write_xrays(tmp_path / "xrays", ONE_FINDING, n=2)
    for target in ("flu", "label"):
        monkeypatch.setattr(sys, "argv", ["cxr", "explain", str(weights), "--data", str(data), "--target", target])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 2
        assert f"unknown target '{target}'. Available: predicted, {ALL}, Effusion" in capsys.readouterr().err
    assert list_runs() == []
