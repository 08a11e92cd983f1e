"""``cxr text``: find burned-in text, and measure what masking it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cxr.cli.follow import follow_or_leave
from cxr.cli.models import DataOption, Detach, Model, check_model, manifest_of, name_of
from cxr.cli.output import Json, emit, say, show_table
from cxr.errors import TextError, unknown
from cxr.runs import start

app = typer.Typer(help="Burned-in text: find it, mask it, measure its effect.", no_args_is_help=True)


@app.command()
def detect(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")], as_json: Json = False
) -> None:
    """Find burned-in text; boxes are in pixels of the file."""
    from cxr.data import read_xray
    from cxr.text import detect_text

    told = [{"image": str(path), "boxes": [box.to_dict() for box in detect_text(read_xray(path))]} for path in images]
    emit(told, as_json, _show_boxes)


@app.command()
def experiment(
    model: Model,
    data: DataOption = None,
    split: Annotated[str, typer.Option(help="The split to measure on.")] = "test",
    mode: Annotated[
        str, typer.Option(help="How text is masked: black, mean, blur, noise, inpaint, inpaint-ns or swap.")
    ] = "mean",
    margin: Annotated[
        float | None, typer.Option(min=0, help="How far each box grows before it is masked, in its shorter sides.")
    ] = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Compare a network's predictions before and after masking the text of a split."""
    from cxr.text import MASK_MODES

    if mode not in MASK_MODES:
        raise TextError(unknown("mask mode", mode, MASK_MODES))
    check_model(model)
    params: dict[str, Any] = {"model": model, "manifest": manifest_of(model, data), "split": split, "mode": mode}
    if margin is not None:
        params["margin"] = margin
    follow_or_leave(start("text-experiment", params, name=f"text {name_of(model)}"), detach, as_json)


def _show_boxes(told: list[dict[str, Any]]) -> None:
    for entry in told:
        if not entry["boxes"]:
            say(f"{entry['image']}: no text found")
            continue
        rows = [
            [box["text"], box["kind"], *(round(box[key]) for key in ("x0", "y0", "x1", "y1")), f"{box['score']:.2f}"]
            for box in entry["boxes"]
        ]
        show_table(entry["image"], ["text", "kind", "x0", "y0", "x1", "y1", "score"], rows)
