"""Where each kind of run is shown: the address of a page, and on it the network, the X-rays and the run itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from cxr.data.library import list_data_sets
from cxr.runs import Run, Status


@dataclass(frozen=True)
class Place:
    """A page, the parameter of its address that names the run, where it has one, and the part of the page.

    ``of_network`` and ``of_data`` tell what the address names besides: the network with its X-rays, or these alone.
    """

    page: str
    run: str = ""
    part: Mapping[str, str] = field(default_factory=dict)
    of_network: bool = False
    of_data: bool = False


_DATA_AUDIT = Place("data", part={"look": "audit"}, of_data=True)
_DATA_CHECK = Place("data", part={"look": "check"}, of_data=True)
_PLACES: Mapping[str, Place] = {
    "train": Place("results", "run"),
    "evaluate": Place("results", "run"),
    "evaluate-predictions": Place("results", "run"),
    "study": Place("study", "study"),
    "demo": Place("data", of_data=True),
    "import": Place("data", of_data=True),
    "check-data": _DATA_CHECK,
    "find-duplicates": _DATA_CHECK,
    "audit-data": _DATA_AUDIT,
    "probe-data": _DATA_AUDIT,
    "explain": Place("explorer", "maps", of_network=True),
    "cluster-heatmaps": Place("explorer", "clusters", of_network=True),
    "relevance-regions": Place("explorer", "regions", of_network=True),
    "audit-network": Place("trust", "audit"),
    "text-experiment": Place("text", "run", {"look": "Whole split"}, of_network=True),
    "text-stamping": Place("text", "stamping", {"look": "Stamp"}, of_network=True),
    "text-vocabulary": Place("text", part={"look": "Vocabulary"}, of_data=True),
}


def data_set_names() -> dict[Path, str]:
    """Return the names of the data sets in the library by the files of their manifests."""
    return {data.manifest_path.resolve(): data.name for data in list_data_sets()}


def data_set_of(params: Mapping[str, Any], names: Mapping[Path, str]) -> str | None:
    """Return the data set of the library that a run with these parameters reads or made, None where there is none."""
    if params.get("manifest"):
        return names.get(Path(params["manifest"]).resolve())
    return params.get("name") if params.get("name") in names.values() else None


def address_of(run: Run, status: Status, names: Mapping[Path, str]) -> str | None:
    """Return the address of the page that shows a run, None for a kind that no page shows.

    ``names`` are those of :func:`data_set_names`.
    """
    if run.kind == "train" and status.state != "finished":
        return f"live?{urlencode({'run': run.id})}"
    place = _PLACES.get(run.kind)
    if place is None:
        return None
    subject = _subject(place, run.spec["params"], names)
    if subject is None:  # its X-rays are no data set of the library any more, or are in none yet
        return place.page
    query = {**place.part, **subject, **({place.run: run.id} if place.run else {})}
    return f"{place.page}?{urlencode(query)}" if query else place.page


def _subject(place: Place, params: Mapping[str, Any], names: Mapping[Path, str]) -> dict[str, str] | None:
    """Return what an address names besides the run; None where that cannot be shown."""
    if not (place.of_network or place.of_data):
        return {}
    data = data_set_of(params, names)
    if data is None:
        return None
    split = {"split": params["split"]} if params.get("split") and place.page != "data" else {}
    if not place.of_network:
        return {"data": data, **split}
    return {"model": str(params["model"]), "data": data, **split} if params.get("model") else None
