"""What the explorer and the text page look at: a network, a data set, one of its splits, and the predictions there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from streamlit.delta_generator import DeltaGenerator

from cxr.data import Manifest
from cxr.data.library import list_data_sets
from cxr.networks import training_of

from services import load
from widgets import address, page, pages, pick

OWN = "own"
"""What the URL says for the manifest that a run was trained on, where that is no data set of the library."""


@dataclass(frozen=True)
class Subject:
    """A network (a run's id or the name of weights) and the X-rays that it looks at."""

    network_ref: str
    data: Manifest
    data_name: str
    split: str

    @property
    def manifest_path(self) -> Path:
        """The manifest's file."""
        assert self.data.path is not None  # always loaded from a file here
        return self.data.path

    @property
    def link(self) -> dict[str, str]:
        """Query parameters that open the same choice on another page."""
        return {"model": self.network_ref, "data": self.data_name, "split": self.split}

    @property
    def on_own_data(self) -> bool:
        """Whether the network is a run's and the X-rays are those it was trained and tested on."""
        return own_manifest(self.network_ref) == self.manifest_path.resolve()

    @property
    def command_data(self) -> str:
        """How the command line names the data."""
        return str(self.manifest_path) if self.data_name == OWN else self.data_name


def network(where: DeltaGenerator) -> str:
    """Let the user choose a network and return what it is called: a run's id or the name of weights."""
    return pick.model(where=where, resets=("data",))  # another network: begin with the data that belong to it


def choose(network_ref: str, for_data: DeltaGenerator, for_split: DeltaGenerator) -> Subject:
    """Let the user choose data and split for a network in the two columns given; without data, say what to do."""
    paths, labels = _data_for(network_ref)
    if address.asks("data") == OWN and OWN not in paths and own_manifest(network_ref) is not None:
        address.ask(data=next(iter(paths)))  # its own manifest has become a data set of the library since
    if not paths and not address.asks("data"):
        page.nothing_yet("No X-rays yet. Make the synthetic ones or import your own.", pages.DATA, "Go to Data")
    with for_data:
        name = pick.from_url(
            "Data set",
            list(paths),
            labels,
            "data",
            missing=lambda name: _missing_data(network_ref, name, paths),
            stays=True,
        )
    manifest = load.manifest(paths[name])
    with for_split:
        return Subject(network_ref, manifest, name, pick.split(manifest.splits))


def _data_for(network_ref: str) -> tuple[dict[str, Path], dict[str, str]]:
    """Return manifests and labels of the data sets by name, those of the run itself first."""
    sets = list_data_sets()
    paths = {d.name: d.manifest_path for d in sets}
    labels = {d.name: f"{d.name} · {d.n:,} X-rays" for d in sets}
    own = own_manifest(network_ref)
    if own is None:
        return paths, labels
    own_name = next((name for name, path in paths.items() if path.resolve() == own), OWN)
    labels[own_name] = f"{labels.get(own_name, own.parent.name)} (its own)"
    return {own_name: own} | paths, labels


def _missing_data(network_ref: str, name: str, paths: dict[str, Path]) -> str:
    """Return why a data set that an address names is not there."""
    if name != OWN:
        return address.unknown("data", name, list(paths))
    run = training_of(network_ref)
    if run is None:
        return f"{network_ref!r} are weights from a file, so the X-rays they were trained on are not known here."
    file = run.spec["params"].get("manifest", "")
    return f"The X-rays that {network_ref!r} was trained on are missing: {file} does not exist."


def name_of(manifest: Path) -> str:
    """Return the name by which a URL calls a manifest: its data set's in the library, else :data:`OWN`."""
    names = (d.name for d in list_data_sets() if d.manifest_path.resolve() == manifest.resolve())
    return next(names, OWN)


def own_manifest(network_ref: str) -> Path | None:
    """Return the manifest that a run was trained on, ``None`` for weights or where the file is gone."""
    run = training_of(network_ref)
    path = Path(run.spec["params"].get("manifest", "")) if run else None
    return path.resolve() if path and path.is_file() else None


def stored_predictions(subject: Subject) -> pd.DataFrame | None:
    """Return the run's predictions on this split, ``None`` where the network was not measured on it."""
    run = training_of(subject.network_ref)
    return load.predictions_of_split(run, subject.split) if run and subject.on_own_data else None
