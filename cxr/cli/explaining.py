"""``cxr explain``: heatmaps of one X-ray, as pictures and as numbers, or of many; ``cxr heatmaps``: what is stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer

from cxr.cli.audits.openings import OpenLocked
from cxr.cli.follow import Detach, ShardsOption, SlurmOption, follow_or_leave
from cxr.cli.models import DataOption, Device, IdsOption, Model, check_split, is_training, manifest_of, read_ids
from cxr.cli.output import Json, WrongUse, assignments, emit, note, percent, say, show_table
from cxr.errors import ImageError, unknown, wrong_use
from cxr.explain.composites import BIASES, COMPOSITES, DEFAULT_COMPOSITE, choices_in_words, summary
from cxr.json_types import JsonObject
from cxr.runs import start

if TYPE_CHECKING:
    import numpy as np

    from cxr.data import Manifest
    from cxr.explain import Explanation
    from cxr.explain.composites.catalogue import CompositeSummary
    from cxr.explain.composites.composite import Settings
    from cxr.explain.heatmap import Heatmap, Method
    from cxr.reports.exports.secondary_capture import CaptureFile

ALL = "all"


def explain(
    model: Model,
    image: Annotated[
        str | None, typer.Argument(metavar="[IMAGE]", help="An image file, or an image id of the run's manifest.")
    ] = None,
    composite: Annotated[
        str,
        typer.Option(help=f"{choices_in_words()} `cxr composites` describes them."),
    ] = DEFAULT_COMPOSITE,
    target: Annotated[
        str,
        typer.Option(help=("Class whose logit is explained, or all; default: the predicted (or most probable) class.")),
    ] = "",
    bias: Annotated[
        str | None, typer.Option(metavar="|".join(BIASES), help="Biases in alpha-beta rules; default: the composite's.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="An option of the composite, such as epsilon=1e-4; `cxr composites NAME` lists them.",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="bfloat16",
            help=(
                "Faster but less exact; used only if a trial on the first image gives nearly the same map in less time."
            ),
        ),
    ] = None,
    data: DataOption = None,
    split: Annotated[str, typer.Option(help="Without IMAGE: the split to explain.")] = "test",
    ids: IdsOption = None,
    n: Annotated[int | None, typer.Option(min=1, help="Without IMAGE: number of X-rays; by default all.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help=(
                "With IMAGE: folder for the PNG files and the array; by default this one. A name that ends in .dcm: "
                "a DICOM secondary capture in their place."
            )
        ),
    ] = None,
    keep_patient: Annotated[
        bool, typer.Option("--keep-patient", help="With --out x.dcm: keep patient and study of a DICOM IMAGE.")
    ] = False,
    reference_source: Annotated[
        bool, typer.Option("--reference-source", help="With --out x.dcm: name the DICOM IMAGE as the source.")
    ] = False,
    open_locked: OpenLocked = False,
    device: Device = "auto",
    slurm: SlurmOption = None,
    shards: ShardsOption = 1,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Explain the prediction for one X-ray, or for all of a split, by Layer-wise Relevance Propagation."""
    from cxr.explain.heatmap import Method

    method = Method.of(composite, bias, precision, numbers(option))
    as_capture = image is not None and out is not None and out.suffix.lower() == ".dcm"
    if (keep_patient or reference_source) and not as_capture:
        flag = "--keep-patient" if keep_patient else "--reference-source"
        raise WrongUse(f"{flag} is for a secondary capture of one IMAGE: add --out x.dcm")
    if image is None:
        if out is not None:
            raise WrongUse(
                f"--out {out} goes with an IMAGE. Without one the maps of a split lie in the run's own folder"
            )
        manifest = manifest_of(model, data)
        check_split(manifest, split)
        params: JsonObject = {"model": model, "manifest": manifest, "split": split}
        params |= {"composite": composite, "options": numbers(option), "device": device}
        choices = (
            ("targets", target),
            ("bias", bias),
            ("precision", precision),
            ("n", n),
            ("ids", read_ids(ids) if ids else None),
            ("open_locked", open_locked),
        )
        params |= {key: value for key, value in choices if value}
        follow_or_leave(start("explain", params, where=slurm, shards=shards), detach, as_json)
        return
    if ids is not None:
        raise WrongUse(f"--ids {ids} goes without an IMAGE: it lists the X-rays of a split to explain")
    if shards > 1:
        raise WrongUse("--shards goes without an IMAGE: one X-ray is explained at once")
    if slurm is not None or detach:
        option_name = "--detach" if slurm is None else "--slurm"
        raise WrongUse(
            f"{option_name} is for the X-rays of a split: one IMAGE is explained at once. Leave one of them out"
        )
    # One image is explained at once, without a turn: on a GPU if it is free, else on the processor.
    place: Path | CaptureFile = out or Path()
    if as_capture and out is not None:
        from cxr.reports.exports.secondary_capture import CaptureFile

        place = CaptureFile(out, keep_patient, reference_source)
    _explain_one(model, image, method, target, data, place, device, as_json)


def composites(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One composite, with rules and options.")] = None,
    as_json: Json = False,
) -> None:
    """List the composites and other methods of explaining, with their options and supported networks."""
    if name is None:
        emit([summary(composite) for composite in COMPOSITES], as_json, _show_composites)
        return
    emit(summary(name), as_json, _show_composite)


def _show_composites(rows: list[CompositeSummary]) -> None:
    table = [[row["name"], row["label"], ", ".join(row["options"])] for row in rows]
    show_table("", ["composite", "title", "options"], table)
    say("`cxr composites NAME` describes one: its rules, options and supported networks.")


def _show_composite(row: CompositeSummary) -> None:
    say(f"{row['title']} ({row['name']})")
    say(row["description"])
    say(f"Values add up to {row['adds_up']}.")
    say(f"Runs on {'; '.join(row['runs_on'])}.")
    for layers, rule in row["rules"].items():
        say(f"  {layers}: {rule}")
    if row["bias_modes"]:
        say(f"Biases: {' or '.join(row['bias_modes'])} (--bias; the first is the default)")
    columns = ["option", "default", "accepted", "meaning"]
    declared = row["options"].items()
    options = [[name, str(option["default"]), option["accepted"], option["meaning"]] for name, option in declared]
    if options:
        show_table("Options (--option NAME=VALUE):", columns, options)


def heatmaps(
    clear: Annotated[bool, typer.Option("--clear", help="Delete them; they are computed again when needed.")] = False,
    as_json: Json = False,
) -> None:
    """Show how many heatmaps are stored for the dashboard, and their size; --clear deletes them."""
    from cxr.explain import store

    stored = store.clear() if clear else store.usage()
    counts = {"networks": stored.networks, "maps": stored.maps, "bytes": stored.bytes, "cleared": clear}
    text = f"{stored.maps:,} heatmaps ({stored.bytes / 1e6:.1f} MB, networks: {stored.networks})"
    emit(counts, as_json, lambda _: say(f"deleted {text}" if clear else f"{text} in {store.heatmaps_root()}"))


def numbers(option: list[str] | None) -> Settings:
    """Return ``name=value`` options, numbers as numbers."""
    return {name: _number(value) for name, value in assignments(option, "--option").items()}


def _number(value: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def _explain_one(
    model: str,
    image: str,
    method: Method,
    target: str,
    data: str | None,
    out: Path | CaptureFile,
    device: str,
    as_json: bool,
) -> None:
    from cxr.data.images.decode import read_with_notes
    from cxr.data.images.resize import fit_square
    from cxr.explain.heatmap import heatmaps_of, picture_digest
    from cxr.explain.legend import rules, title
    from cxr.explain.run_files import safe_names
    from cxr.explain.store import HeatmapStore
    from cxr.networks import compute_on_free_device, load_network, network_title

    store = HeatmapStore.of(model)
    network, description = load_network(model)
    path = image_path(model, image, data)
    if not isinstance(out, Path):
        out.check(path)
    pixels, file_notes = read_with_notes(path)
    seen = fit_square(pixels, network.card.size)  # shrunk as training and evaluation do it
    every = target == ALL and ALL not in network.classes  # a class of that name goes first
    if target and not every and target not in network.classes:
        raise WrongUse(unknown("target", target, (ALL, *network.classes)))

    def computation(on_device: Any) -> tuple[dict[str, dict[str, float]], Explanation]:
        scores = _scores(on_device, seen)
        targets = list(scores) if every else [target or max(scores, key=lambda name: scores[name]["logit"])]
        return scores, method.explain(on_device, seen[None], [targets])

    computed = compute_on_free_device(network, computation, device)
    scores, result = computed.value
    (heatmaps,) = heatmaps_of(result)
    store.put(method, [(picture_digest(seen), heatmap) for heatmap in heatmaps])
    names = safe_names(network.classes)
    if isinstance(out, Path):
        stems = [f"{path.stem}-{names[heatmap.target]}-{method.composite}" for heatmap in heatmaps]
        files = _write(out, stems, pixels, result, heatmaps)
    else:
        files = out.write(path, pixels, heatmaps, network_title(model))
    maps = [_map(result, t, heatmap, files[t]) for t, heatmap in enumerate(heatmaps)]
    report: _Report = {
        "model": description,
        "image": str(path),
        "composite": method.composite,
        "bias": method.bias,
        "options": dict(method.options),
        "precision": result.precision,
        "device": computed.device,
        "predictions": scores,
        "legend": [title(heatmaps[0]), *(f"{layers}: {rule}" for layers, rule in rules(heatmaps[0]).items())],
        "notes": [*file_notes, *result.notes, f"Computed {computed.where}."],
        "maps": maps,
    }
    emit(report if every else {**report, **maps[0]}, as_json, _show)


class _MapReport(TypedDict):
    target: str
    logit: float
    relevance_sum: float
    relevance_for: float
    relevance_against: float
    absorbed: float | None
    lost: float | None
    residual: float | None
    not_finite: int
    concerns: list[str]
    files: dict[str, str]


class _Report(TypedDict):
    model: str
    image: str
    composite: str
    bias: str
    options: Settings
    precision: str
    device: str
    predictions: dict[str, dict[str, float]]
    legend: list[str]
    notes: list[str]
    maps: list[_MapReport]


def _map(result: Explanation, t: int, entry: Heatmap, files: dict[str, str]) -> _MapReport:
    """Return what is told of one map."""
    from cxr.explain.diagnostics import concerns

    return {
        "target": entry.target,
        "logit": entry.logit,
        "relevance_sum": float(result.relevance[0, t].sum(dtype="float64")),
        "relevance_for": entry.positive,
        "relevance_against": entry.negative,
        "absorbed": entry.absorbed if entry.has_ledger else None,
        "lost": entry.lost if entry.has_ledger else None,
        "residual": entry.residual if entry.has_ledger else None,
        "not_finite": entry.not_finite,
        "concerns": concerns(entry),
        "files": files,
    }


def image_path(model: str, image: str, data: str | None, read: Callable[[str], Manifest] | None = None) -> Path:
    """Return an image file, or the file of the X-ray of this id in a data set, by default the network's own.

    ``read`` reads the data set's manifest, for a caller that may hold it.
    """
    path = Path(image).expanduser()
    if path.exists():
        return path
    from cxr.data import Manifest

    if data is None and not is_training(model):
        raise wrong_use(
            ImageError(f"image {image} not found: give an image file, or --data and the id of one of its X-rays")
        )
    return (read or Manifest.load)(manifest_of(model, data)).image_path(image)


def _scores(network: Any, pixels: np.ndarray) -> dict[str, dict[str, float]]:
    """Return logit and probability per class for one image (H, W) uint8."""
    import torch

    with torch.inference_mode():
        logits = network(pixels[None])[0].float()
    single = network.card.task == "single-label"
    shares = logits.softmax(-1) if single else logits.sigmoid()
    rows = zip(network.classes, logits.tolist(), shares.tolist(), strict=True)
    return {name: {"logit": logit, "probability": share} for name, logit, share in rows}


def _write(
    folder: Path, stems: list[str], pixels: np.ndarray, result: Explanation, heatmaps: list[Heatmap]
) -> list[dict[str, str]]:
    """Write the files of each map and return them by kind; all maps of a call share one colour scale."""
    import numpy as np

    from cxr.explain import legend, render

    folder.mkdir(parents=True, exist_ok=True)
    scale = max(render.colour_scale(heatmap.relevance) for heatmap in heatmaps)
    written = []
    for stem, heatmap, relevance in zip(stems, heatmaps, result.relevance[0], strict=True):
        pictures = {
            "heatmap": render.heatmap_rgb(heatmap.relevance, scale),
            "overlay": render.overlay(pixels, heatmap.relevance, scale=scale),
            "figure": render.figure(pixels, heatmap.relevance, legend=legend.lines(heatmap), scale=scale, height=512),
        }
        files = {kind: str(folder / f"{stem}-{kind}.png") for kind in pictures}
        for kind, picture in pictures.items():
            Path(files[kind]).write_bytes(render.to_png(picture))
        files["relevance"] = str(folder / f"{stem}.npy")
        np.save(files["relevance"], np.asarray(relevance, dtype=np.float32))
        written.append(files)
    return written


def _show(report: _Report) -> None:
    rows = [[name, round(row["logit"], 3), percent(row["probability"])] for name, row in report["predictions"].items()]
    show_table(f"{report['image']}", ["class", "logit", "probability"], rows)
    rows = [[entry["target"], *map(_rounded, _ledger(entry))] for entry in report["maps"]]
    show_table("where the logit went:", ["explained", "logit", "for", "against", "absorbed", "lost", "residual"], rows)
    for text in (*report["legend"], *report["notes"]):
        say(text)
    for entry in report["maps"]:
        for sentence in entry["concerns"]:
            note(f"{entry['target']}: {sentence}")
        say(f"heatmap of {entry['target']}:")
        for path in entry["files"].values():
            say(f"  {path}")


def _ledger(entry: _MapReport) -> tuple[float | None, ...]:
    """Return where a logit went: relevance for and against it, and what was absorbed, lost and left."""
    on_pixels = (entry["relevance_for"], entry["relevance_against"])
    return entry["logit"], *on_pixels, entry["absorbed"], entry["lost"], entry["residual"]


def _rounded(value: float | None) -> float | None:
    if value is None:
        return None
    # Seven numbers stand in one line of 80 characters.
    return round(value, 4) if abs(value) >= 1e-3 else float(f"{value:.0e}")
