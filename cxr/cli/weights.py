"""``cxr weights``: networks' weights in and out, and their cards."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cxr.cli.output import Json, emit, fail, note, say, show_table, stdout
from cxr.json_types import JsonObject

app = typer.Typer(help="Import, list, show and export the weights of networks.", no_args_is_help=True)
Network = Annotated[str, typer.Argument(metavar="RUN|NAME", help="A training run's id, a name of weights, or a file.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing file.")]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the available weights."""
    from cxr.models import list_weights

    rows = [_row(*entry) for entry in list_weights()]

    def show(_: Any) -> None:
        if not rows:
            say("no weights found")
            return
        columns = ["name", "backbone", "size", "classes", "path"]
        cells = [[", ".join(row[key]) if key == "classes" else str(row[key]) for key in columns] for row in rows]
        show_table("", columns, cells)

    emit(rows, as_json, show)


def _row(name: str, path: Any, card: Any) -> JsonObject:
    return {"name": name, "path": str(path), **card.to_dict()} | {"name": name}


@app.command("show")
def show(network: Network, as_json: Json = False) -> None:
    """Print the card of a network: input, classes, origin, figures with their intervals, limits."""
    card = _card_of(network)

    def page(_: Any) -> None:
        from rich.markdown import Markdown

        text = card.to_markdown()
        # In a pipe the page itself is of more use than its picture.
        stdout().print(Markdown(text)) if sys.stdout.isatty() else print(text, end="")

    emit(card.to_dict(), as_json, page)


def _card_of(network: str) -> Any:
    from cxr.errors import WeightsError
    from cxr.networks import network_card, network_file

    path, card = network_file(network), network_card(network)
    if card is None:
        raise WeightsError(f"{path} has no card: `cxr weights import {path}` makes one")
    return card


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of weights, or a folder of timm.")],
    name: Annotated[str | None, typer.Option(help="Name for the weights; by default that of the file.")] = None,
    classes: Annotated[str | None, typer.Option(help="Class names in the order of the outputs: a,b,c.")] = None,
    task: Annotated[str | None, typer.Option(help="single-label or multi-label.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the input in pixels.")] = None,
    mean: Annotated[str | None, typer.Option(help=(
        "Mean of pixel values in [0, 1]: 0.5, or a,b,c, or imagenet."
    ))] = None,
    std: Annotated[str | None, typer.Option(help="Standard deviation, as --mean.")] = None,
    channels: Annotated[int | None, typer.Option(help="1 or 3, as the first layer expects.")] = None,
    backbone: Annotated[str | None, typer.Option(help=(
        "Backbone by its timm name, if the tensors do not show it."
    ))] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the weights, for the card: GPL-3.0, MIT, ...")] = None,
    origin: Annotated[str | None, typer.Option(help="Where the file comes from, for the card.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; by default NAME.safetensors in this folder.")] = None,
    force: Force = False,
    brief: Annotated[bool, typer.Option("--brief", help="Show only tensors that do not match.")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Import weights of timm, torchvision, CheXNet, torchxrayvision or the paper's authors, and write their card.

    Whole pickled models are read too. Code inside the file is never run. Weights that fit only partly are refused. The
    licence comes from --licence, from the publisher if the file is known, or from a card, README or LICENSE beside it.
    """
    from cxr.models.imports.conversion import import_weights, look_at

    candidate = look_at(file, backbone)
    rows = [row for row in candidate.rows() if not (brief and row["verdict"] == "matched")]
    if not as_json:
        _show_found(candidate, rows)
    _refuse_misfit(candidate, rows, as_json)
    answers = {"classes": _names(classes), "task": task, "size": size, "mean": mean, "std": std}
    more = {"channels": channels, "name": name, "licence": licence, "origin": origin}
    if sys.stdin.isatty() and not as_json:
        answers = _ask(candidate, answers)
        more["licence"] = _licence(candidate, licence)
    path, model = import_weights(candidate, out=out, force=force, **answers, **more)
    called = path.stem if out is None else str(path)
    value = {
        "name": called,
        "path": str(path),
        "layout": candidate.known.title,
        "tensors": rows,
        "card": model.card.to_dict(),
        "next": f"cxr evaluate {called} --data ...",
    }

    def told_to_people(_: Any) -> None:
        say(f"{len(candidate.report.matched):,} tensors, all of {candidate.backbone}, saved as {path}")
        say(f"checksum: {candidate.checked}")
        say(licence_line(model.card, candidate.licence_from if licence is None else "--licence"))
        say(f"next: `cxr evaluate {called} --data ...` measures it, `cxr weights show {called}` prints its card")

    emit(value, as_json, told_to_people)


def licence_line(card: Any, source: str) -> str:
    """Return one line on the licence of imported weights, and where it is known from."""
    from cxr.models.licences import UNKNOWN, sharing_note

    if card.licence == UNKNOWN:
        return "licence: unknown, no file beside the weights states it; give --licence with --force once you know it"
    note_ = sharing_note(card.licence)
    return f"licence: {card.licence}" + (f" (from {source})" if source else "") + (f". {note_}" if note_ else "")


def _licence(candidate: Any, licence: str | None) -> str | None:
    """Ask at the terminal for a licence that nothing tells; an empty answer leaves it unknown."""
    if licence is not None or candidate.licence:
        return licence
    note("licence: under which the weights were published, such as GPL-3.0 or MIT")
    return str(typer.prompt("licence", default="unknown", err=True))


def _names(classes: str | None) -> tuple[str, ...] | None:
    return None if classes is None else tuple(name.strip() for name in classes.split(",") if name.strip())


def _show_found(candidate: Any, rows: list[dict[str, str]]) -> None:
    if rows:
        cells = [[row["verdict"], _shape(row), row["tensor"]] for row in rows]
        show_table("", ["verdict", "shape", "tensor"], cells)
    say(
        f"{candidate.path}\n{candidate.known.title}: {candidate.backbone}, {candidate.channels} channel(s), "
        f"{candidate.outputs} outputs"
    )
    for line in candidate.described():
        say(line)
    say(str(candidate.report))


def _shape(row: dict[str, str]) -> str:
    """Return the one shape of a tensor, or both where file and model differ."""
    shapes = dict.fromkeys(filter(None, (row["in the file"], row["in the model"])))
    return ", not ".join(shapes)


def _refuse_misfit(candidate: Any, rows: list[dict[str, str]], as_json: bool) -> None:
    """End the command where tensors do not fit; with --json their table goes with the error."""
    from cxr.cli.output import to_json
    from cxr.models.imports.conversion import Misfit

    try:
        candidate.check()
    except Misfit as misfit:
        if as_json:
            print(to_json({"error": str(misfit), "tensors": rows}))
        fail(misfit, as_json=False)


def _ask(candidate: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Ask at the terminal for what neither the file nor the options tell; an empty answer is asked again."""
    from cxr.models.imports.conversion import NEEDED

    answers = dict(values)
    for key in candidate.unknown:
        if answers[key] is None:
            note(f"{key}: {NEEDED[key]}")
            answer = typer.prompt(f"{key} of the {candidate.outputs} outputs" if key == "classes" else key, err=True)
            answers[key] = _names(answer) if key == "classes" else answer
    return answers


@app.command("export")
def export(
    network: Network,
    format: Annotated[str, typer.Option(help="onnx, timm (a folder for timm's local-dir:) or card (Markdown).")],
    out: Annotated[Path, typer.Option(help="File to write or, for timm, folder.")],
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Export a network for other programs, or its card as text. An exported network is loaded again and compared."""
    from cxr.models.export import export as write
    from cxr.networks import load_network, seen_by

    model, description = load_network(network)
    done = write(model, out, format, force=force, seen=seen_by(network))
    value = {"network": description, "path": str(done.path), "format": done.format,
             "max_abs_difference": done.difference, "relative_difference": done.relative}  # fmt: skip

    def told_to_people(_: Any) -> None:
        say(f"{description}\nwritten: {done.path}")
        if done.difference is not None:
            say(f"loaded again, its logits differ from the original's by at most {done.difference:.2g} "
                f"({done.relative:.1g} of the largest logit)")  # fmt: skip
        if format == "timm":
            say(f'load it: timm.create_model("local-dir:{done.path}", pretrained=True)')

    emit(value, as_json, told_to_people)
