"""``cxr text``: find burned-in text, and measure what masking it changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from cxr import formatting
from cxr.cli.audits.openings import OpenLocked
from cxr.cli.follow import Detach, ShardsOption, SlurmOption, follow_or_leave
from cxr.cli.models import DataOption, Device, IdsOption, Model, check_split, manifest_of, read_ids
from cxr.cli.output import Json, WithIds, WithImages, emit, say, show_table
from cxr.json_types import JsonObject
from cxr.runs import start
from cxr.text.mask_modes import DEFAULT_MARGIN, DEFAULT_MODE, MASK_MODES, MOST_MARGIN

if TYPE_CHECKING:
    from cxr.cli.text_of_one import MaskedReport
    from cxr.text.boxes import BoxValues

app = typer.Typer(help="Burned-in text: find it, mask it, measure its effect.", no_args_is_help=True)

IncludeSeen = Annotated[
    bool,
    typer.Option(
        "--include-seen",
        help="Keep X-rays that the network was trained or selected on; by default they are left out.",
    ),
]


@app.command()
def detect(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    operating_point: Annotated[
        str, typer.Option(help="careful: few false boxes; mask-all: finds more, and is slower.")
    ] = "careful",
    as_json: Json = False,
) -> None:
    """Find burned-in text. Boxes are in pixels of the file."""
    from cxr.data import read_xray
    from cxr.text.detection.shared import shared_detector

    detect_in = shared_detector(operating_point=operating_point)
    entries: list[_Found] = [
        {"image": str(path), "boxes": [box.to_dict() for box in detect_in(read_xray(path))]} for path in images
    ]
    emit(entries, as_json, _show_boxes)


@app.command()
def mask(
    model: Model,
    image: Annotated[str, typer.Argument(help="An image id of the data set, or an image file.")],
    data: DataOption = None,
    mode: Annotated[str, typer.Option(help=f"How text is masked: {', '.join(MASK_MODES)}.")] = DEFAULT_MODE,
    margin: Annotated[
        float, typer.Option(min=0, max=MOST_MARGIN, help="How far each box is enlarged, as for `cxr text experiment`.")
    ] = DEFAULT_MARGIN,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Mask the text of one X-ray: what the network says before, after, and with random boxes masked instead."""
    from cxr.cli.text_of_one import mask_one

    emit(mask_one(model, image, data, mode, margin, device), as_json, _show_masked)


@app.command()
def experiment(
    model: Model,
    data: DataOption = None,
    split: Annotated[str, typer.Option(help="The split to measure on.")] = "test",
    ids: IdsOption = None,
    mode: Annotated[
        list[str] | None,
        typer.Option(
            help="How text is masked: black, mean, blur, noise, inpaint, inpaint-ns or swap; may be repeated, the "
            "first one is the main one. Default: inpaint."
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=MOST_MARGIN,
            help="How far each box is enlarged before masking: below 1 as a share of its shorter side, else in pixels.",
        ),
    ] = None,
    draws: Annotated[int | None, typer.Option(help="How often random boxes are drawn. Default: 5.")] = None,
    explained: Annotated[
        int | None, typer.Option(help="Number of X-rays with text that get a heatmap, 0 for none. Default: 50.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the control boxes.")] = 0,
    include_seen: IncludeSeen = False,
    open_locked: OpenLocked = False,
    device: Device = "auto",
    slurm: SlurmOption = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Compare a network's predictions before and after masking the text of a split, and under controls.

    With --ids the result is of these X-rays alone and says so: no report of the network takes it for the split's.
    """
    from cxr.experiments.masking.settings import Setting

    values = {"modes": mode or [], "margin": margin, "draws": draws, "explained": explained, "seed": seed}
    chosen = {name: value for name, value in values.items() if value is not None}
    chosen |= {"open_locked": True} if open_locked else {}
    chosen |= {"include_seen": True} if include_seen else {}
    chosen |= {"ids": read_ids(ids)} if ids else {}
    Setting.of({"model": model, "manifest": ""} | chosen)  # before the data are looked at
    manifest = manifest_of(model, data)
    check_split(manifest, split)
    params: JsonObject = {"model": model, "manifest": manifest, "split": split, "device": device} | chosen
    follow_or_leave(start("text-experiment", params, where=slurm), detach, as_json)


@app.command()
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A finished text experiment.")],
    out: Annotated[
        Path,
        typer.Option(
            help=("File to write: .html (self-contained), .md or .zip (CSV tables); .svg, .png or .pdf for the figure.")
        ),
    ] = Path("text.html"),
    with_images: WithImages = False,
    with_ids: WithIds = False,
) -> None:
    """Write the report of a text experiment: conclusion, heatmaps, figures and tables.

    Neither pictures nor ids of X-rays go in, nor what was read on a single one, unless asked for.
    """
    from cxr.reports.identities import Privacy
    from cxr.reports.masking import write
    from cxr.runs import get_run

    say(str(write(get_run(run), out, Privacy(with_images, with_ids))))


@app.command()
def vocabulary(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A data set's name or a manifest.")],
    split: Annotated[str, typer.Option(help="A split; by default every image.")] = "",
    min_images: Annotated[int, typer.Option(min=1, help="Leave out tokens on fewer images than this.")] = 3,
    join: Annotated[
        bool, typer.Option("--join", help="Merge spellings that OCR confuses (PORTABL, P0RTABLE, GLINICA).")
    ] = False,
    csv: Annotated[Path | None, typer.Option(help="Write the whole table to this file.")] = None,
    shards: ShardsOption = 1,
    slurm: SlurmOption = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """List the burned-in tokens of a data set, the best predictor of a class first.

    Boxes corrected by hand are used instead of detected ones. Ctrl-C loses nothing: the same command continues from
    there.
    """
    from cxr.cli.experiments.vocabulary import count

    options = {"min_images": min_images, "join": join}
    count(data, split, options, csv=csv, where=slurm, shards=shards, detach=detach, as_json=as_json)


@app.command("stamp")
def stamp(
    model: Model,
    word: Annotated[str, typer.Option(help="Text to write: a letter, a word or several words.")] = "",
    cut: Annotated[
        str,
        typer.Option(
            "--from", metavar="ID:X0,Y0,X1,Y1", help=("Instead of --word: cut from an X-ray of the data, in pixels.")
        ),
    ] = "",
    take: Annotated[
        str, typer.Option(help=("What to take from the cut box: ink (bright or dark, detected), bright, dark, or all."))
    ] = "ink",
    data: DataOption = None,
    split: Annotated[str, typer.Option(help="The split to measure on.")] = "test",
    towards: Annotated[str, typer.Option(help="Target class or finding; default: covid19, or the first.")] = "",
    onto: Annotated[
        list[str] | None, typer.Option(help="Class or finding to stamp onto, may be repeated; default: all others.")
    ] = None,
    place: Annotated[
        str, typer.Option(help=("top-left, top, top-right, ..., or x,y as shares of the image."))
    ] = "top-right",
    size: Annotated[
        list[float] | None, typer.Option(help="Height as a share of the image's height; may be repeated (doses).")
    ] = None,
    contrast: Annotated[
        list[float] | None, typer.Option(help=("Contrast, above 0 and up to 1; may be repeated (doses)."))
    ] = None,
    font: Annotated[str, typer.Option(help="sans-bold, sans, italic, uni, aileron or pixel.")] = "sans-bold",
    colour: Annotated[str, typer.Option(help="white or black.")] = "white",
    control: Annotated[str, typer.Option(help="Control patch without letters: shuffled or plate.")] = "shuffled",
    cover: Annotated[
        bool, typer.Option("--cover", help=("Allow the stamp to cover text; text is not searched for."))
    ] = False,
    jitter: Annotated[float, typer.Option(help="Random shift of the place, as a share of the image's height.")] = 0.0,
    include_seen: IncludeSeen = False,
    open_locked: OpenLocked = False,
    seed: Annotated[int, typer.Option(help="Seed of the control and of the jitter.")] = 0,
    device: Device = "auto",
    slurm: SlurmOption = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Stamp a token onto X-rays of other classes and measure how predictions change, by size and contrast."""
    from cxr.cli.experiments.stamping import stamp_and_tell

    token = {"word": word, "cut": cut, "take": take, "font": font, "colour": colour}
    where = {"towards": towards, "onto": onto or [], "place": place, "avoid": not cover, "jitter": jitter}
    doses = {"sizes": size or [], "contrasts": contrast or [], "control": control, "seed": seed}
    params = {"model": model, "split": split, "device": device} | token | where | doses
    params |= {"open_locked": True} if open_locked else {}
    params |= {"include_seen": True} if include_seen else {}
    stamp_and_tell(params, data, where=slurm, detach=detach, as_json=as_json)


def _show_masked(report: MaskedReport) -> None:
    _show_boxes([{"image": report["image"], "boxes": report["boxes"]}])
    if not report["boxes"]:
        return
    rows = [
        [name, *(f"{chance:.3f}" for chance in row["probability"].values()), *map(_signed, row["logit_moves"].values())]
        for name, row in report["classes"].items()
    ]
    moved = ["logit moves, text", "random"]
    show_table(report["model"], ["class", "before", "text masked", "random masked", *moved], rows)
    say(f"{formatting.share(report['masked_share'], 1)} of the picture masked. {report['computed']}")


def _signed(value: float) -> str:
    return f"{value:+.3f}"


class _Found(TypedDict):
    image: str
    boxes: list[BoxValues]


def _show_boxes(entries: list[_Found]) -> None:
    for entry in entries:
        if not entry["boxes"]:
            say(f"{entry['image']}: no text found")
            continue
        rows = [
            [
                box["text"],
                box["kind"],
                *(str(round(box[key])) for key in ("x0", "y0", "x1", "y1")),
                f"{box['score']:.2f}",
            ]
            for box in entry["boxes"]
        ]
        show_table(entry["image"], ["text", "kind", "x0", "y0", "x1", "y1", "score"], rows)
