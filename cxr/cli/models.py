"""``cxr evaluate``: a trained network, measured; and how the commands name networks and their data."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from cxr.cli.audits.openings import OpenLocked
from cxr.cli.follow import Detach, ShardsOption, SlurmOption, follow_or_leave
from cxr.cli.output import Json, WrongUse, assignments, emit
from cxr.errors import system_error, unknown
from cxr.json_types import JsonObject
from cxr.runs import get_run, is_run_id, start

OF_TABLES = "A table of predictions"
Model = Annotated[
    str, typer.Argument(metavar="RUN", help="A training run's id, a weights file, or the name of shipped weights.")
]
DataOption = Annotated[
    str | None, typer.Option("--data", help="A data set's name or a manifest; by default the run's own.")
]


def _device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise typer.BadParameter(f"{name!r} is none of auto, cpu, cuda, cuda:0, cuda:1, ...")
    return name


Device = Annotated[
    str,
    typer.Option(
        "--device",
        callback=_device,
        help="auto: a GPU once it is free, or the CPU if there is none; cpu: starts at once; or cuda:0, cuda:1, ...",
    ),
]


def manifest_of(model: str, data: str | None) -> str:
    """Return the manifest to use with ``model``: ``data``, else the one that the run was trained on.

    Raises
    ------
    WeightsError
        If there is no such network: that is said before anything about its data.
    WrongUse
        If ``data`` is not given and ``model`` is no run.
    """
    from cxr.networks import network_file

    network_file(model)
    if data is not None:
        from cxr.data.library import resolve_manifest

        return str(resolve_manifest(data))
    if not is_training(model):
        raise WrongUse(f"{model!r} is not a run with data of its own: give --data with a data set's name or a manifest")
    from cxr.training.settings import TrainingParams

    return str(TrainingParams.of(get_run(model).params).manifest)


IdsOption = Annotated[
    Path | None,
    typer.Option(
        "--ids",
        metavar="FILE",
        help="Only these X-rays of the split: a CSV table with a column image_id, such as the grid of the explorer "
        "gives, or a text file with an id on each line.",
    ),
]


def read_ids(file: Path) -> list[str]:
    """Return the image ids that a file lists, each once, in its order.

    Raises
    ------
    WrongUse
        If it cannot be read, is a table without a column ``image_id``, or holds none.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUse(
            f"--ids {file}: cannot be read ({system_error(error) if isinstance(error, OSError) else 'not UTF-8 text'})"
        ) from None
    rows = list(csv.reader(lines))
    header = rows[0] if rows else []
    if "image_id" in header:
        at = header.index("image_id")
        ids = [row[at].strip() for row in rows[1:] if len(row) > at]
    elif any(len(row) > 1 for row in rows):
        raise WrongUse(f"--ids {file}: no column image_id. Its columns: {', '.join(header)}")
    else:
        ids = [line.strip() for line in lines]
    ids = list(dict.fromkeys(filter(None, ids)))
    if not ids:
        raise WrongUse(f"--ids {file}: lists no X-ray. Accepted: a column image_id, or an id on each line")
    return ids


def is_training(model: str) -> bool:
    """Return whether ``model`` is the id of a training run (and not a weights file or a shipped name)."""
    from cxr.networks import training_of

    return is_run_id(model) and training_of(model) is not None


def evaluate(
    model: Annotated[
        str,
        typer.Argument(metavar="[RUN]", help="A training run's id, a weights file, or the name of shipped weights."),
    ] = "",
    data: DataOption = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            help="A split, may be repeated; `all` for every X-ray with a known label. By default all splits but train, "
            "and everything if the network was trained on other patients and files."
        ),
    ] = None,
    alias: Annotated[
        list[str] | None,
        typer.Option(help="LABEL=CLASS: a label of the data that means this class of the network; may be repeated."),
    ] = None,
    include_seen: Annotated[
        bool,
        typer.Option(
            "--include-seen",
            help="Also measure X-rays that the network was trained or selected on; by default they are left out.",
        ),
    ] = False,
    open_locked: OpenLocked = False,
    device: Device = "auto",
    predictions: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=OF_TABLES,
            help="Instead of RUN: a table of predictions made elsewhere (CSV or Parquet) with an image, a label and a "
            "column for each class. --data adds labels, patients and splits.",
        ),
    ] = None,
    scale: Annotated[
        str, typer.Option(metavar="auto|probabilities|logits", rich_help_panel=OF_TABLES, help="What the columns hold.")
    ] = "auto",
    task: Annotated[
        str,
        typer.Option(
            metavar="auto|single-label|multi-label",
            rich_help_panel=OF_TABLES,
            help="Classes that exclude each other, or findings, several of which a label joins by |.",
        ),
    ] = "auto",
    column: Annotated[
        list[str] | None,
        typer.Option(rich_help_panel=OF_TABLES, help="CLASS=COLUMN: the column of a class; may be repeated."),
    ] = None,
    positive: Annotated[
        str, typer.Option(rich_help_panel=OF_TABLES, help="The class that the only column of predictions is of.")
    ] = "",
    image_column: Annotated[
        str, typer.Option(rich_help_panel=OF_TABLES, help="By default image_id, image, path, file or the like.")
    ] = "",
    label_column: Annotated[
        str, typer.Option(rich_help_panel=OF_TABLES, help="By default label, truth, target or the like.")
    ] = "",
    patient_column: Annotated[
        str, typer.Option(rich_help_panel=OF_TABLES, help="By default patient_id, patient or subject.")
    ] = "",
    split_column: Annotated[str, typer.Option(rich_help_panel=OF_TABLES, help="By default split.")] = "",
    ignore_label: Annotated[
        list[str] | None,
        typer.Option(rich_help_panel=OF_TABLES, help="A label whose X-rays are left out; may be repeated."),
    ] = None,
    shards: ShardsOption = 1,
    slurm: SlurmOption = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Evaluate a trained network, or a table of predictions, with intervals.

    Classes that exclude each other: accuracy, F1, AUC and the confusion matrix. Several findings: AUC, average
    precision, sensitivity and specificity of each. X-rays that are left out are counted by reason and label.

    X-rays that the network was trained or selected on, under whatever name, are counted, listed in results.json and
    left out of every figure, unless there are no others.

    With --predictions the same figures are computed of a table that somebody else made. What needs the network is then
    left out, by name.
    """
    aliases = assignments(alias, "--alias")
    of_table: JsonObject = {
        "scale": scale if scale != "auto" else None,
        "task": task if task != "auto" else None,
        "class_columns": assignments(column, "--column") or None,
        "positive": positive or None,
        "columns": _named(image=image_column, label=label_column, patient=patient_column, split=split_column) or None,
        "ignored_labels": ignore_label or None,
    }
    of_table = {key: value for key, value in of_table.items() if value is not None}
    if predictions is not None:
        of_network = {
            "RUN": model,
            "--split": split,
            "--include-seen": include_seen,
            "--open-locked": open_locked,
            "--device": device != "auto",
        }
        _refuse_beside("--predictions", of_network)
        params: JsonObject = {"predictions": str(predictions), "aliases": aliases or None, **of_table}
        if data is not None:
            from cxr.data.library import resolve_manifest

            params["manifest"] = str(resolve_manifest(data))
        follow_or_leave(start("evaluate-predictions", params, where=slurm, shards=shards), detach, as_json)
        return
    if not model:
        raise WrongUse("nothing to evaluate: give a RUN, or --predictions with a table")
    if of_table:
        raise WrongUse(f"{', '.join(_OPTIONS[key] for key in of_table)}: only with --predictions, of a table")
    manifest = manifest_of(model, data)
    which = {"run": model} if is_training(model) else {"weights": model}
    options = {
        "splits": split or None,
        "aliases": aliases or None,
        "include_seen": include_seen,
        "open_locked": open_locked,
    }
    params = {
        **which,
        "manifest": manifest,
        "device": device,
        **{key: value for key, value in options.items() if value},
    }
    follow_or_leave(start("evaluate", params, where=slurm, shards=shards), detach, as_json)


_OPTIONS = {
    "scale": "--scale",
    "task": "--task",
    "class_columns": "--column",
    "positive": "--positive",
    "columns": "--image-column, --label-column, --patient-column or --split-column",
    "ignored_labels": "--ignore-label",
}


def _named(**columns: str) -> dict[str, str]:
    return {role: name for role, name in columns.items() if name}


def _refuse_beside(option: str, others: Mapping[str, object]) -> None:
    given = [name for name, value in others.items() if value]
    if given:
        raise WrongUse(f"{option} goes without {', '.join(given)}: that is of a network")


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN_A RUN_B...", help="Ids of trainings or evaluations.")],
    split: Annotated[str | None, typer.Option(help="Only X-rays of this split; by default all predicted.")] = None,
    as_json: Json = False,
) -> None:
    """Compare finished runs on the X-rays that all of them have predicted: which is better, or can nobody tell?

    Differences of accuracy, balanced accuracy and AUC have 95 % intervals and p values over patients, corrected for the
    number of comparisons. X-rays that one of the networks has seen in training are left out if there are others.
    """
    from cxr.cli.results import show_comparison
    from cxr.evaluation.comparison import compare as compare_runs

    emit(compare_runs([get_run(run) for run in runs], split), as_json, show_comparison)


def check_split(manifest: str, split: str) -> None:
    """Raise a WrongUse that names the splits there are, unless ``split`` ("" for every X-ray) is one of them."""
    from cxr.data import Manifest
    from cxr.data.splits import in_order
    from cxr.runs.starting import starts_nothing

    if starts_nothing():  # a large manifest takes a second to read, and the command will be told when it is run
        return
    splits = [name for name in in_order(Manifest.load(manifest).splits) if name]
    if split and split not in splits:
        raise WrongUse(unknown("split", split, [*splits, "'' for every X-ray"]))
