"""What a cluster's region does: it is masked in the cluster's X-rays and in the others of their class.

Each X-ray is also masked at the same region moved elsewhere: an equal area of the same form. A patch has an effect of
its own, and only what goes beyond that of the moved region speaks of the place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cxr.data import read_xray
from cxr.data.images.resize import fit_square
from cxr.errors import CxrError, RunError, wrong_use
from cxr.evaluation.intervals import mean_intervals
from cxr.evaluation.metrics import estimate
from cxr.evaluation.predict import predict_rows
from cxr.experiments.clusters.maps import one_of_each_patient
from cxr.experiments.clusters.region.places import boxes_of, in_pixels
from cxr.experiments.clusters.results import (
    ClusterEntry,
    ClusterResults,
    MaskedChange,
    Measurement,
    cluster_of,
    cluster_results,
    params_of,
)
from cxr.experiments.masking.effects import decisions_differ, limits_of
from cxr.formatting import Estimate, percent, xrays
from cxr.runs.storage import locked, write_json
from cxr.text.mask import mask_text
from cxr.text.mask_modes import DEFAULT_MODE

if TYPE_CHECKING:
    from cxr.data import Manifest
    from cxr.models import XrayClassifier
    from cxr.runs import Run

MEASURED = "measured.json"
MOST_IMAGES = 100
"""X-rays of the cluster, and of the others, that are masked by default: one of each patient, by lot."""
CONTROLS = 3
NOTES = (
    "Logit changes are those of the explained class. A region that carries the decision in the cluster's X-rays lowers "
    "it there more than the same region moved elsewhere does.",
    "The region is where the cluster's heatmaps differ from those of the others, so it was chosen with these X-rays: "
    "their change is to be confirmed on others. Masking takes away all that lies there, not one mark alone.",
    "Intervals are 95 %, over patients; one X-ray of each patient is masked.",
)
_CHUNK = 16

Progress = Callable[[float, str], object]


def measure_cluster(
    run: Run,
    number: int,
    network: XrayClassifier,
    mode: str = DEFAULT_MODE,
    most: int = MOST_IMAGES,
    progress: Progress = lambda done, text: None,
) -> Measurement:
    """Mask a cluster's region, store what happens to the predictions beside the run, and return it.

    Parameters
    ----------
    network
        That of the heatmaps, on the device that computes.
    mode
        How it is masked, a name in :data:`cxr.text.mask_modes.MASK_MODES`.
    most
        X-rays of the cluster, and as many of the others.

    Raises
    ------
    RunError
        For a number that no cluster has, a cluster of another network's class, or fewer than two patients.
    """
    results = cluster_results(run)
    entry = cluster_of(results, number)
    if entry["target"] not in network.classes:
        raise wrong_use(RunError(f"the network has no class {entry['target']!r}. It has: {', '.join(network.classes)}"))
    params = params_of(run)
    manifest, seed = params.data, params.seed
    table = pd.read_parquet(run.folder.path / "clusters.parquet")
    table = table[(table["target"] == entry["target"]) & table["image_id"].isin(set(manifest.ids))]
    inside = table[table["cluster"] == number]
    outside = table[(table["cluster"] != number) & (table["cluster"] > 0)]
    controls = control_cells(cells_of(entry, results), seed)
    changes = []
    parts = [part.iloc[one_of_each_patient(list(part["patient"]), seed, most)] for part in (inside, outside)]
    total = sum(map(len, parts))
    for k, part in enumerate(parts):
        before = len(parts[0]) * k

        def step(done: int, before: int = before) -> None:
            progress((before + done) / total, f"{before + done:,} of {total:,} X-rays masked")

        changes.append(_changes(network, manifest, part, entry, controls, mode, step) if len(part) > 1 else None)
    if changes[0] is None:
        raise RunError(
            f"cluster {number} holds X-rays of one patient: nothing can be said of others. Accepted: 2 or more"
        )
    measurement = Measurement(
        number=number,
        target=entry["target"],
        mode=mode,
        area=entry["area"],
        inside=changes[0],
        outside=changes[1],
        sentence=sentence(entry, changes[0], changes[1]),
        notes=list(NOTES),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    _store(run, measurement)
    return measurement


def measurements_of(run: Run) -> dict[int, Measurement]:
    """Return what was measured of a run's clusters, the latest of each number."""
    stored: list[Measurement] = run.folder.read_json(MEASURED) or []
    return {entry["number"]: entry for entry in stored}


def _store(run: Run, measurement: Measurement) -> None:
    with locked(run.folder.path / f".{MEASURED}.lock"):
        entries = measurements_of(run) | {measurement["number"]: measurement}
        write_json(run.folder.path / MEASURED, [entries[number] for number in sorted(entries)])


def cells_of(entry: ClusterEntry, results: ClusterResults) -> np.ndarray:
    """Return a cluster's region as cells, bool (grid, grid)."""
    grid = results["grid"]
    cells = np.zeros((grid, grid), bool)
    for x0, y0, x1, y1 in entry["boxes"]:
        cells[round(y0 * grid) : round(y1 * grid), round(x0 * grid) : round(x1 * grid)] = True
    return cells


def control_cells(cells: np.ndarray, seed: int = 0, n: int = CONTROLS) -> list[np.ndarray]:
    """Return the region (grid, grid) ``n`` times elsewhere: mirrored, or else moved (round the edges) by lot.

    Those that overlap it least go first, mirrored ones before others: a corner's control is another corner.
    """
    rng, grid = np.random.default_rng(seed), len(cells)
    mirrored = [cells[:, ::-1], cells[::-1], cells[::-1, ::-1]]
    shifts = rng.integers(0, grid, (200, 2))
    moved = [np.roll(cells, (int(dy), int(dx)), (0, 1)) for dy, dx in shifts]
    overlaps = [(float((other & cells).sum() / max(cells.sum(), 1)), k) for k, other in enumerate([*mirrored, *moved])]
    ranked = sorted((overlap if overlap > 0.05 else 0.0, k) for overlap, k in overlaps)
    return [[*mirrored, *moved][k] for _, k in ranked[:n]]


def _changes(
    network: XrayClassifier,
    manifest: Manifest,
    part: pd.DataFrame,
    entry: ClusterEntry,
    controls: Sequence[np.ndarray],
    mode: str,
    step: Callable[[int], object],
) -> MaskedChange | None:
    regions = [entry["boxes"], *([list(box) for box in boxes_of(cells)] for cells in controls)]
    answers, patients = [], []
    ids, own = list(part["image_id"]), list(part["patient"])
    for start in range(0, len(ids), _CHUNK):
        pictures = []
        for image_id, patient in zip(ids[start : start + _CHUNK], own[start : start + _CHUNK], strict=True):
            versions = _versions(manifest, str(image_id), regions, mode, network.card.size)
            if versions is not None:
                pictures.append(versions)
                patients.append(patient)
        if pictures:
            stacked = np.concatenate(pictures)
            logits = predict_rows(network, stacked, np.arange(len(stacked)))
            answers.append(logits.reshape(len(pictures), len(regions) + 1, -1))
        step(min(start + _CHUNK, len(ids)))
    if len(patients) < 2:
        return None
    return _compared(np.concatenate(answers), patients, entry["target"], network)


def _versions(
    manifest: Manifest, image_id: str, regions: Sequence[Sequence[Sequence[float]]], mode: str, size: int
) -> np.ndarray | None:
    """Return an X-ray as it is and masked at each region, uint8 (1 + regions, size, size); None if it is unreadable."""
    try:
        image = read_xray(manifest.image_path(image_id))
    except CxrError:
        return None
    masked = [mask_text(image, in_pixels(boxes, image.shape), mode, 0.0) for boxes in regions]
    return np.stack([fit_square(version, size) for version in (image, *masked)])


def _compared(logits: np.ndarray, patients: Sequence[str], target: str, network: XrayClassifier) -> MaskedChange:
    """Return the changes of logits (N, 1 + 1 + controls, K)."""
    card = network.card
    own = logits[:, :, network.classes.index(target)].astype(np.float64)
    by_region, by_control = own[:, 1] - own[:, 0], (own[:, 2:] - own[:, :1]).mean(1)
    differ = decisions_differ(logits[:, :1].swapaxes(0, 1), logits[:, 1:].swapaxes(0, 1), card.task, limits_of(card))
    columns = np.stack([by_region, by_control, by_region - by_control], axis=1)
    means = _estimates(columns, patients, bounded=False)
    shares = _estimates(np.stack([differ[0], differ[1:].mean(0)], axis=1), patients, bounded=True)
    return MaskedChange(
        n_images=len(logits),
        n_patients=len(set(patients)),
        logit_change=means[0],
        control_change=means[1],
        beyond_control=means[2],
        changed=shares[0],
        changed_control=shares[1],
    )


def _estimates(columns: np.ndarray, patients: Sequence[str], bounded: bool) -> list[Estimate]:
    limits = mean_intervals(columns, patients, bounded=bounded)
    return [estimate(float(value), own) for value, own in zip(columns.mean(0), limits, strict=True)]


def sentence(entry: ClusterEntry, inside: MaskedChange, outside: MaskedChange | None) -> str:
    """Return in plain words what masking a cluster's region does."""
    own = (
        f"Masking the region of cluster {entry['number']} ({100 * entry['area']:.0f} % of the picture) changes the "
        f"logit of {entry['target']} by {_logit(inside['logit_change'])} in "
        f"{xrays(inside['n_images'], inside['n_patients'])} of the cluster, an equal area elsewhere by "
        f"{_logit(inside['control_change'])}: "
        f"{_logit(inside['beyond_control'])} beyond it. {percent(inside['changed'])} of the predictions change "
        f"(elsewhere {percent(inside['changed_control'])})."
    )
    if outside is None:
        return own
    others = xrays(outside["n_images"], outside["n_patients"])
    return f"{own} In {others} of the class's other clusters: {_logit(outside['beyond_control'])} beyond it."


def _logit(change: Estimate) -> str:
    if change["value"] is None:
        return "–"
    limits = "" if change["low"] is None else f" [{change['low']:+.2f}, {change['high']:+.2f}]"
    return f"{change['value']:+.2f}{limits}"
