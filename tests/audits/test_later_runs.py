"""What was done since an audit: which runs count as newer, and which do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxr.data import Manifest
from cxr.experiments.audit.later import later_runs
from cxr.runs import Run
from tests.audits.finished import finished
from tests.configurations import CONFIGURATIONS, ODD_NAMES, Configuration, write_network, write_xrays

SEVERAL = (CONFIGURATIONS[1], CONFIGURATIONS[4], CONFIGURATIONS[5], *ODD_NAMES)
"""1 and 3 channels, both tasks, 2 to 14 classes, names that files and tables could mistake."""


def audited(folder: Path, configuration: Configuration) -> tuple[Run, Path, Manifest]:
    """Return a quick look at a network with random weights, its file, and its X-rays."""
    network = write_network(configuration, folder / "network.safetensors", size=32)
    path = write_xrays(folder / "data" / "own", configuration, n=24, side=48)
    audit = finished("audit-network", {"model": str(network), "manifest": str(path), "quick": True})
    return audit, network, Manifest.load(path)


def ids(audit: Run) -> dict[str, list[str]]:
    """Return the ids of newer runs by part."""
    return {name: [run.id for run in newer.runs] for name, newer in later_runs(audit).items()}


@pytest.mark.parametrize("configuration", SEVERAL, ids=str)
def test_runs_that_an_audit_used_are_not_newer_and_those_since_are(tmp_path: Path, configuration):
    before, network, manifest = audited(tmp_path, configuration)
    check = finished("check-data", {"manifest": str(manifest.path)})
    assert ids(before) == {"checks": [check.id]}
    audit = finished("audit-network", before.params)
    assert later_runs(audit) == {}
    again = finished("check-data", {"manifest": str(manifest.path)})
    searched = finished("find-duplicates", {"manifest": str(manifest.path)})
    evaluated = finished("evaluate", {"model": str(network), "manifest": str(manifest.path), "splits": ["test"]})
    found = ids(audit)
    assert found["checks"] == [again.id]
    assert found["duplicates"] == [searched.id]
    assert found["evaluation"] == [evaluated.id]
    assert all(newer.complete for newer in later_runs(audit).values())


def test_duplicates_that_a_later_audit_has_compared_are_newer(tmp_path: Path):
    before, network, manifest = audited(tmp_path, CONFIGURATIONS[1])
    params = {"model": str(network), "manifest": str(manifest.path)}
    compared = finished("audit-network", params | {"parts": ["duplicates"]})
    assert ids(before) == {"duplicates": [compared.id]}
    assert later_runs(before)["duplicates"].complete
    assert later_runs(compared) == {}
    searched = finished("find-duplicates", {"manifest": str(manifest.path)})
    assert ids(before) == {"duplicates": [searched.id]}, "the newest"
    finished("audit-network", params | {"quick": True})
    assert ids(before) == {"duplicates": [searched.id]}, "an audit that compared nothing is none"


def test_runs_on_other_x_rays_are_of_no_part(tmp_path: Path):
    audit, _, manifest = audited(tmp_path, CONFIGURATIONS[1])
    other = tmp_path / "data" / "other" / "manifest.csv"
    other.parent.mkdir()
    table = manifest.table.iloc[1:].assign(image=[str(manifest.image_path(i)) for i in manifest.ids[1:]])
    table.to_csv(other, index=False)
    finished("check-data", {"manifest": str(other)})
    assert later_runs(audit) == {}


def test_what_broke_off_before_the_audit_is_not_told_and_what_broke_off_since_is(tmp_path: Path):
    before, _, manifest = audited(tmp_path, CONFIGURATIONS[1])
    check = finished("check-data", {"manifest": str(manifest.path)})
    (check.folder.path / "results.json").unlink()
    check.folder.update_status(state="failed", error="no X-ray could be read")
    assert ids(before) == {"checks": [check.id]}
    assert not later_runs(before)["checks"].complete
    assert later_runs(finished("audit-network", before.params)) == {}


def test_an_audit_whose_network_is_gone_has_nothing_newer(tmp_path: Path):
    audit, network, manifest = audited(tmp_path, CONFIGURATIONS[1])
    finished("check-data", {"manifest": str(manifest.path)})
    network.unlink()
    assert later_runs(audit) == {}
