"""What figures rest on: when they were made, with which version, of which network and on which data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr import __version__
from cxr.data import Manifest
from cxr.data.openings import note_opening
from cxr.errors import CxrError
from cxr.models.checksums import sha256_of
from cxr.networks import network_file, network_title

if TYPE_CHECKING:
    from cxr.runs import Run

_DIGITS = 12  # of a hash that people read; files hold all of it


def provenance(manifest: Manifest, network: str | Path | None = None, data_name: str = "") -> dict[str, str]:
    """Return what figures rest on, as results.json holds it.

    Parameters
    ----------
    manifest
        The whole table of the data, also where a part of it is measured.
    network
        As :func:`cxr.networks.load_network` takes it; None for figures of data alone.
    data_name
        How the data set is called, by default as its folder.

    Returns
    -------
    ``date`` (ISO 8601, UTC), ``cxr`` (version), ``data``, ``manifest_hash`` and, of a network, ``network`` and
    ``weights_sha256``, the checksum of its file. Jobs add ``opened``, how often the X-rays were looked at
    (:func:`cxr.data.openings.note_opening`).
    """
    name = data_name or (manifest.path.parent.name or manifest.path.name if manifest.path else "")
    record = {"date": _now(), "cxr": __version__, "data": name, "manifest_hash": manifest.hash()}
    if network is None:
        return record
    return record | {"network": network_title(network), "weights_sha256": sha256_of(network_file(network))}


def with_opening(
    record: Mapping[str, str], manifest: Manifest, ids: Sequence[str], run: str, kind: str
) -> dict[str, str]:
    """Return a record with how often the held-out X-rays of a run were looked at, after noting that this run did.

    Parameters
    ----------
    record
        As :func:`provenance` or :func:`provenance_of_table` gives it.
    ids
        The X-rays of ``manifest`` that the run predicted.
    run, kind
        The run's id and its kind.
    """
    network = record.get("network") or record.get("predictions") or ""
    return {**record, **note_opening(manifest, ids, run=run, kind=kind, network=network)}


def provenance_of_table(table: str | Path, manifest: Manifest | None = None) -> dict[str, str]:
    """Return what figures of a table of predictions rest on, as :func:`provenance` does.

    Returns
    -------
    ``date``, ``cxr``, ``predictions`` (the table's name), ``predictions_sha256``, the checksum of its file, and with a
    manifest ``data`` and ``manifest_hash``.
    """
    record = provenance(manifest) if manifest is not None else {"date": _now(), "cxr": __version__}
    return record | {"predictions": Path(table).name, "predictions_sha256": sha256_of(Path(table))}


def provenance_of(run: Run) -> dict[str, str]:
    """Return what a run's figures rest on; of a run of an older version what its folder still tells."""
    recorded = (run.results() or {}).get("provenance")
    if isinstance(recorded, dict):
        return recorded
    spec, params = run.spec, run.spec["params"]
    created = datetime.fromtimestamp(spec["created"], UTC).isoformat(timespec="seconds")
    record = {"date": created, "cxr": str((spec.get("versions") or {}).get("cxr") or "")}
    record["manifest_hash"] = str(spec.get("manifest_hash") or "")
    if params.get("manifest"):
        record["data"] = Path(params["manifest"]).parent.name
    network = params.get("model") or params.get("run") or params.get("weights")
    return record | ({"network": _named(network), "weights_sha256": ""} if network else {})


def in_words(record: Mapping[str, str]) -> str:
    """Return in a few sentences what figures rest on; what an older run did not record is said to be so."""
    lines = [f"Measured {date_in_words(record['date'])} with cxr {record.get('cxr') or '(version not recorded)'}."]
    if record.get("network"):
        lines.append(f"Network: {record['network']} (weights {_hash('sha256', record.get('weights_sha256'))}).")
    if record.get("predictions"):
        lines.append(
            f"Predictions: {record['predictions']} ({_hash('sha256', record.get('predictions_sha256'))}), made "
            "elsewhere."
        )
        if not record.get("data"):
            return " ".join([*lines, "Data: none given; labels are those of the table."])
    lines.append(
        f"Data: {record.get('data') or 'not recorded'} (manifest {_hash('hash', record.get('manifest_hash'))})."
    )
    if record.get("opened"):
        lines.append(record["opened"])
    return " ".join(lines)


def written_in_words() -> str:
    """Return when a report is written, which is now, and with which version."""
    return f"This report was written {date_in_words(_now())} with cxr {__version__}."


def date_in_words(date: str) -> str:
    """Return an ISO date with its time as people read it: ``2026-11-28 14:31 UTC``."""
    return f"{datetime.fromisoformat(date).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _hash(name: str, digits: str | None) -> str:
    return f"{name} {digits[:_DIGITS]}" if digits else f"{name} not recorded"


def _named(network: Any) -> str:
    try:
        return network_title(network)
    except (CxrError, OSError):
        return Path(str(network)).stem


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
