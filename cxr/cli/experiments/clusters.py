"""``cxr clusters``: groups of X-rays whose heatmaps are alike, their names, masks of what they show, and its effect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr.cli.explaining import numbers
from cxr.cli.follow import Detach, SlurmOption, follow_or_leave
from cxr.cli.models import Device
from cxr.cli.output import Json, WrongUse, bar, emit, say, show_table
from cxr.explain.composites import BIASES
from cxr.json_types import JsonObject
from cxr.runs import is_run_id
from cxr.text.mask_modes import DEFAULT_MODE

if TYPE_CHECKING:
    from cxr.experiments.clusters.results import ClusterEntry, ClusterResults
    from cxr.runs import Run

KIND, HEATMAPS = "cluster-heatmaps", "explain"


def clusters(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A finished run of heatmaps (`cxr explain` of a split), a run of clusters to look at again, or a "
            "network, whose heatmaps are then computed first.",
        ),
    ],
    data: Annotated[str | None, typer.Option(help="Of a network: a data set's name or the path of a manifest.")] = None,
    split: Annotated[str, typer.Option(help="Of a network: the split to explain; '' for every X-ray.")] = "test",
    composite: Annotated[str, typer.Option(help="Of a network: how it is explained; see `cxr composites`.")] = "",
    target: Annotated[
        str, typer.Option(help="Of a network: class to explain, or all; by default the predicted class.")
    ] = "",
    bias: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(BIASES),
            help="Of a network: biases in alpha-beta rules; default: the composite's.",
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Of a network: an option of the composite, such as epsilon=1e-4."),
    ] = None,
    grid: Annotated[int, typer.Option(min=8, max=32, help="Side of the pooled maps, in cells.")] = 20,
    text: Annotated[
        bool, typer.Option("--text/--no-text", help="Search for burned-in text, to name clusters that are about it.")
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")] = 0,
    name: Annotated[
        tuple[int, str] | None, typer.Option(metavar='N "TITLE"', help="Name a cluster; '' takes the name back.")
    ] = None,
    measure: Annotated[
        int | None, typer.Option(metavar="N", help="Mask the region of a cluster and measure what that does.")
    ] = None,
    mode: Annotated[
        str, typer.Option(help="With --measure: how it is masked; see `cxr text mask --help`.")
    ] = DEFAULT_MODE,
    export_mask: Annotated[
        int | None, typer.Option(metavar="N", help="Write the region of a cluster as a mask for training; needs --out.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="With --export-mask: a new folder.")] = None,
    with_text: Annotated[bool, typer.Option(help="With --export-mask: burned-in text is masked too.")] = False,
    device: Device = "auto",
    slurm: SlurmOption = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Cluster heatmaps: which X-rays does the network decide by the same part of the picture?

    Prints the clusters with the regions that they use. Ctrl-C loses nothing of heatmaps that are computed first:
    `cxr runs resume` continues from there.
    """
    from cxr.runs import get_run, start

    old = get_run(run) if is_run_id(run) and _kind_of(run) in (KIND, HEATMAPS) else None
    actions = [option for option in (name, measure, export_mask) if option is not None]
    if old is None or old.kind != KIND:
        if actions or out is not None:
            raise WrongUse("--name, --measure, --export-mask and --out need a finished run of clusters as RUN")
        params: JsonObject = {"grid": grid, "text": text, "seed": seed, "device": device}
        if old is not None:
            if data is not None:
                raise WrongUse(f"--data {data} goes with a network: run {run} has its X-rays already")
            if bias is not None or option:
                raise WrongUse(f"--bias and --option go with a network: run {run} has its heatmaps already")
            params |= {"heatmaps": run}
        else:
            params |= _of_network(run, data, split) | {"composite": composite, "targets": target}
            params |= {"options": numbers(option)} | ({"bias": bias} if bias else {})
        follow_or_leave(start(KIND, params, where=slurm), detach, as_json, lambda done: _shown(done, as_json))
        return
    if len(actions) > 1:
        raise WrongUse("give one of --name, --measure and --export-mask at a time")
    if (export_mask is None) != (out is None):
        raise WrongUse("--export-mask N and --out DIR go together")
    if name is not None:
        _name(old, *name, as_json=as_json)
    elif measure is not None:
        _measure(old, measure, mode, device, as_json)
    elif export_mask is not None and out is not None:
        _export(old, export_mask, out, with_text, as_json)
    else:
        _shown(old, as_json)


def _kind_of(run_id: str) -> str:
    from cxr.errors import CxrError
    from cxr.runs import get_run

    try:
        return get_run(run_id).kind
    except CxrError:
        return ""


def _of_network(network: str, data: str | None, split: str) -> JsonObject:
    from cxr.cli.models import check_split, manifest_of

    manifest = manifest_of(network, data)
    if split:
        check_split(manifest, split)
    return {"model": network, "manifest": manifest} | ({"split": split} if split else {})


def _name(run: Run, number: int, title: str, *, as_json: bool) -> None:
    from cxr.experiments.clusters.names import name_cluster, names_of

    name_cluster(run, number, title)
    names = {str(key): value for key, value in names_of(run).items()}
    emit(
        {"run": run.id, "names": names},
        as_json,
        lambda _: say(f"cluster {number}: {names.get(str(number), '(no name)')}"),
    )


def _measure(run: Run, number: int, mode: str, device: str, as_json: bool) -> None:
    from cxr.experiments.clusters.region.measure import measure_cluster
    from cxr.experiments.clusters.results import params_of
    from cxr.networks import compute_on_free_device, load_network

    network = load_network(params_of(run).network)[0]
    with bar(f"masking the region of cluster {number}") as move:
        done = compute_on_free_device(
            network, lambda here: measure_cluster(run, number, here, mode, progress=move), device
        ).value

    def show(_: object) -> None:
        say(done["sentence"])
        for line in done["notes"]:
            say(line)

    emit({"run": run.id, **done}, as_json, show)


def _export(run: Run, number: int, out: Path, with_text: bool, as_json: bool) -> None:
    from cxr.experiments.clusters.region.export import MASK, export_mask

    with bar("reading X-rays") as move:
        done = export_mask(run, number, out, with_text, move)

    def show(_: object) -> None:
        area = f"{100 * done['area']:.0f} % of the picture"
        say(f"{done['manifest']}: {done['n_images']:,} X-rays with the region ({area}) as boxes to mask")
        say(f"{out / MASK}: the region, white")
        if done["left_out"]:
            first = done["left_out"][0]
            say(f"{len(done['left_out']):,} could not be read, the first: {first['image_id']}: {first['reason']}")
        say(f"`cxr train RECIPE --data {done['manifest']} --set text=mask` trains without it")

    emit(done, as_json, show)


def _shown(run: Run, as_json: bool) -> None:
    from cxr.experiments.clusters.names import names_of
    from cxr.experiments.clusters.region.measure import measurements_of
    from cxr.experiments.clusters.results import cluster_results

    results, names = cluster_results(run), names_of(run)
    measured = measurements_of(run)
    value = {
        "run": run.id,
        **results,
        "names": {str(number): name for number, name in names.items()},
        "measured": list(measured.values()),
    }
    emit(value, as_json, lambda _: _show(run, results, names, [entry["sentence"] for entry in measured.values()]))


def _show(run: Run, results: ClusterResults, names: dict[int, str], measured: list[str]) -> None:
    from cxr.experiments.clusters.results import NOTES

    say(results["finding"])
    for entry in results["classes"]:
        say(f"- {entry['sentence']}")
        for association in entry["associations"]:
            if association["shown"]:
                say(f"  {association['sentence']}")
    rows = [_row(entry, names) for entry in results["clusters"]]
    if rows:
        show_table("", list(rows[0]), [list(row.values()) for row in rows])
    for line in [*measured, *(results["notes"] or NOTES)]:
        say(line)
    say(
        f"run {run.id}; `cxr clusters {run.id} --measure N` masks what cluster N uses, `--export-mask N --out DIR` "
        "writes it as a mask for training"
    )


def _row(entry: ClusterEntry, names: dict[int, str]) -> dict[str, str | int]:
    from cxr.experiments.clusters.names import title_of
    from cxr.formatting import NOTHING, times

    return {
        "cluster": entry["number"],
        "class": entry["target"],
        "X-rays": entry["size"],
        "patients": entry["patients"],
        "what": title_of(entry["number"], entry["title"], names) + ("" if entry["shown"] else " ?"),
        "against the others": times(entry["estimate"]) if entry["region"] else NOTHING,
        "stability": NOTHING if entry["stability"] is None else f"{entry['stability']:.2f}",
        "classes": _counts(entry["classes"]),
        "sources": _counts(entry["sources"]),
        "views": _counts(entry["views"]),
    }


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in list(counts.items())[:4])
