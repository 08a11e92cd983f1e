"""``cxr weights``: networks' weights in and out, and their cards."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cxr.cli.output import Json, check_root, emit, fail, note, say, show_table, stdout
from cxr.paths import weights_root

app = typer.Typer(help="Import, list, show and export the weights of networks.", no_args_is_help=True)
Network = Annotated[str, typer.Argument(metavar="RUN|NAME", help="A training run's id, a name of weights, or a file.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the weights that are at hand."""
    from cxr.models import list_weights

    check_root(weights_root(), "CXR_WEIGHTS")
    rows = [_row(*entry) for entry in list_weights()]

    def show(_: Any) -> None:
        if not rows:
            say("no weights at hand")
            return
        columns = ["name", "backbone", "size", "classes", "path"]
        cells = [[row[key] if key != "classes" else ", ".join(row[key]) for key in columns] for row in rows]
        show_table("", columns, cells)

    emit(rows, as_json, show)


def _row(name: str, path: Any, card: Any) -> dict[str, Any]:
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
    name: Annotated[str | None, typer.Option(help="What the weights are called here; by default as the file.")] = None,
    classes: Annotated[str | None, typer.Option(help="Names of the outputs in their order: a,b,c.")] = None,
    task: Annotated[str | None, typer.Option(help="single-label or multi-label.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the input in pixels.")] = None,
    mean: Annotated[str | None, typer.Option(help="0.5, or a,b,c, or imagenet; of values in [0, 1].")] = None,
    std: Annotated[str | None, typer.Option(help="As --mean.")] = None,
    channels: Annotated[int | None, typer.Option(help="1 or 3; must be what the first layer takes.")] = None,
    backbone: Annotated[str | None, typer.Option(help="timm's name, where it cannot be told from the tensors.")] = None,
    licence: Annotated[str | None, typer.Option(help="Of the weights, for the card: GPL-3.0, MIT, ...")] = None,
    origin: Annotated[str | None, typer.Option(help="Where the file is from, for the card.")] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write; by default NAME.safetensors here.")] = None,
    force: Force = False,
    brief: Annotated[bool, typer.Option("--brief", help="Leave the tensors that match out of the table.")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Make weights of timm, torchvision, CheXNet, torchxrayvision or the paper's authors usable here, with a card.

    Whole pickled models are read too. No code in the file is run. Tensors that fit only in part are refused. A licence
    is taken from --licence, from the publisher where the file is known, or from a card, README or LICENSE beside it.
    """
    from cxr.models.imports.conversion import import_weights, look_at

    found = look_at(file, backbone)
    rows = [row for row in found.rows() if not (brief and row["verdict"] == "matched")]
    if not as_json:
        _show_found(found, rows)
    _refuse_misfit(found, rows, as_json)
    told = {"classes": _names(classes), "task": task, "size": size, "mean": mean, "std": std}
    more = {"channels": channels, "name": name, "licence": licence, "origin": origin}
    if sys.stdin.isatty() and not as_json:
        told = _ask(found, told)
        more["licence"] = _licence(found, licence)
    path, model = import_weights(found, out=out, force=force, **told, **more)
    called = path.stem if out is None else str(path)
    value = {
        "name": called,
        "path": str(path),
        "layout": found.known.title,
        "tensors": rows,
        "card": model.card.to_dict(),
        "next": f"cxr evaluate {called} --data ...",
    }

    def told_to_people(_: Any) -> None:
        say(f"{len(found.report.matched)} tensors, all that {found.backbone} has, are now {path}")
        say(f"check sum: {found.checked}")
        say(licence_line(model.card, found.licence_from if licence is None else "--licence"))
        say(f"next: `cxr evaluate {called} --data ...` measures it, `cxr weights show {called}` prints its card")

    emit(value, as_json, told_to_people)


def licence_line(card: Any, source: str) -> str:
    """Return one line on the licence of imported weights, and where it is known from."""
    from cxr.models.licences import UNKNOWN, sharing_note

    if card.licence == UNKNOWN:
        return "licence: unknown, nothing beside the file states it; give --licence with --force once you know it"
    note_ = sharing_note(card.licence)
    return f"licence: {card.licence}" + (f" (from {source})" if source else "") + (f". {note_}" if note_ else "")


def _licence(found: Any, licence: str | None) -> str | None:
    """Ask at the terminal for a licence that nothing tells; an empty answer leaves it unknown."""
    if licence is not None or found.licence:
        return licence
    note("licence: under which the weights were published, such as GPL-3.0 or MIT")
    return str(typer.prompt("licence", default="unknown", err=True))


def _names(classes: str | None) -> tuple[str, ...] | None:
    return None if classes is None else tuple(name.strip() for name in classes.split(",") if name.strip())


def _show_found(found: Any, rows: list[dict[str, str]]) -> None:
    if rows:
        cells = [[row["verdict"], _shape(row), row["tensor"]] for row in rows]
        show_table("", ["verdict", "shape", "tensor"], cells)
    say(f"{found.path}\n{found.known.title}: {found.backbone}, {found.channels} channel(s), {found.outputs} outputs")
    for line in found.described():
        say(line)
    say(str(found.report))


def _shape(row: dict[str, str]) -> str:
    """Return the one shape of a tensor, or both where file and model differ."""
    shapes = dict.fromkeys(filter(None, (row["in the file"], row["in the model"])))
    return ", not ".join(shapes)


def _refuse_misfit(found: Any, rows: list[dict[str, str]], as_json: bool) -> None:
    """End the command where tensors do not fit; with --json their table goes with the error."""
    from cxr.cli.output import to_json
    from cxr.models.imports.conversion import Misfit

    try:
        found.check()
    except Misfit as misfit:
        if as_json:
            print(to_json({"error": str(misfit), "tensors": rows}))
        fail(misfit, as_json=False)


def _ask(found: Any, told: dict[str, Any]) -> dict[str, Any]:
    """Ask at the terminal for what neither the file nor the options tell; an empty answer is asked again."""
    from cxr.models.imports.conversion import NEEDED

    asked = dict(told)
    for key in found.unknown:
        if asked[key] is None:
            note(f"{key}: {NEEDED[key]}")
            answer = typer.prompt(f"{key} of the {found.outputs} outputs" if key == "classes" else key, err=True)
            asked[key] = _names(answer) if key == "classes" else answer
    return asked


@app.command("export")
def export(
    network: Network,
    format: Annotated[str, typer.Option(help="onnx, timm (a folder for timm's local-dir:) or card (Markdown).")],
    out: Annotated[Path, typer.Option(help="The file or, for timm, the folder to write.")],
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a network for other programs, or its card for people; what was written is loaded again and compared."""
    from cxr.models.export import export as write
    from cxr.networks import load_network, seen_by

    model, description = load_network(network)
    done = write(model, out, format, force=force, seen=seen_by(network))
    value = {"network": description, "path": str(done.path), "format": done.format,
             "max_abs_difference": done.difference, "relative_difference": done.relative}  # fmt: skip

    def told_to_people(_: Any) -> None:
        say(f"{description}\nwritten: {done.path}")
        if done.difference is not None:
            say(f"loaded again, its logits differ from ours by {done.difference:.2g} at most ({done.relative:.1g} of "
                "the largest logit)")  # fmt: skip
        if format == "timm":
            say(f'load it: timm.create_model("local-dir:{done.path}", pretrained=True)')

    emit(value, as_json, told_to_people)
