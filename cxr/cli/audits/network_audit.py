"""``cxr audit``: everything that is known about whether a network, or a table of predictions, can be trusted."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr.cli.audits.openings import OpenLocked
from cxr.cli.follow import Detach, SlurmOption, follow_or_leave
from cxr.cli.models import DataOption, Device
from cxr.cli.output import Json, WithIds, WithImages, WrongUse, assignments, emit, say
from cxr.errors import unknown
from cxr.experiments.audit.part_names import PARTS
from cxr.json_types import JsonObject

if TYPE_CHECKING:
    from cxr.experiments.audit.results import NetworkAuditResults
    from cxr.runs import Run

_FAIL_ON = ("serious", "warning", "never")


def _weight(name: str) -> str:
    if name not in _FAIL_ON:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(_FAIL_ON)}")
    return name


def _part(name: str) -> str:
    if name not in PARTS:
        raise typer.BadParameter(unknown("part", name, PARTS))
    return name


def audit(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A training or evaluation, a weights file or its name, or a measured table of predictions (a run of "
            "`cxr evaluate --predictions`). A finished audit is shown again.",
        ),
    ],
    data: DataOption = None,
    split: Annotated[str, typer.Option(help="The measured split; by default test, or every X-ray without one.")] = "",
    external: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA[:SPLIT]",
            help="X-rays from elsewhere, may be repeated; by default the data's further splits.",
        ),
    ] = None,
    alias: Annotated[
        list[str] | None,
        typer.Option(help="LABEL=CLASS: a label of the data that means this class of the network; may be repeated."),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            "--part",
            callback=lambda names: [_part(name) for name in names or ()],
            help=f"Only this part; may be repeated: {', '.join(PARTS)}.",
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without",
            callback=lambda names: [_part(name) for name in names or ()],
            help="Not this part; may be repeated.",
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Only use runs that exist and do what takes seconds."),
    ] = False,
    fail_on: Annotated[
        str,
        typer.Option(
            callback=_weight,
            metavar="serious|warning|never",
            help="Exit code 1 where there is a finding of this weight or a heavier one.",
        ),
    ] = "never",
    out: Annotated[
        Path | None, typer.Option(help="Also write the report: .html (self-contained), .md or .csv.")
    ] = None,
    with_images: WithImages = False,
    with_ids: WithIds = False,
    open_locked: OpenLocked = False,
    device: Device = "auto",
    slurm: SlurmOption = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Find out whether a network can be trusted: ranked findings, each with its figure and what it does not show.

    Each part uses the newest run that fits, or starts one. Exit code 0: done; 1: a finding weighs as much as --fail-on
    says, or the audit failed; 2: wrong use. Ctrl-C loses nothing: `cxr runs resume` continues from there.
    """
    from cxr.experiments.audit.findings import fails
    from cxr.experiments.audit.results import network_audit_results
    from cxr.runs import start

    # Until its findings are known, an audit that a script relies on has not passed: it may have been stopped.
    ending = {"code": int(fail_on != "never" and not detach)}

    def show_finished(audited: Run) -> None:
        results = network_audit_results(audited)
        if out is not None:
            from cxr.reports.audit import write
            from cxr.reports.identities import Privacy

            write(audited, out, Privacy(with_images, with_ids))
        emit({"run": audited.id, **results}, as_json, lambda _: _show(audited, results, out))
        ending["code"] = int(fails(results["findings"], fail_on))

    earlier = _finished_audit(run)
    if earlier is not None:
        show_finished(earlier)
    else:
        if out is not None:
            from cxr.reports.audit import check_form

            check_form(out)
        params = _params(run, data) | {
            "split": split or None,
            "external": external or [],
            "aliases": assignments(alias or [], "--alias"),
            "parts": _chosen(part or [], without or []),
            "quick": quick or None,
            "device": device,
            "open_locked": open_locked or None,
        }
        follow_or_leave(start("audit-network", params, where=slurm), detach, as_json, show_finished)
    if ending["code"]:
        raise typer.Exit(ending["code"])


def _finished_audit(ref: str) -> Run | None:
    from cxr.experiments.audit.results import KIND
    from cxr.runs import get_run, is_run_id

    if not is_run_id(ref):
        return None
    try:
        run = get_run(ref)
    except Exception:
        return None
    return run if run.kind == KIND else None


def _params(ref: str, data: str | None) -> JsonObject:
    """Return what is audited and its data: of an evaluation its network, data and names of classes."""
    from cxr.errors import RunError
    from cxr.evaluation.settings import EvaluationParams
    from cxr.runs import get_run, is_run_id

    try:
        run = get_run(ref) if is_run_id(ref) else None
    except RunError:
        run = None
    if run is not None and run.kind == "evaluate-predictions":
        return {"predictions": run.id, "manifest": data}
    if run is not None and run.kind == "evaluate":
        params = run.params
        assert isinstance(params, EvaluationParams)  # of this kind
        return {"model": params.network, "manifest": data or str(params.manifest)}
    if run is not None and run.kind != "train":
        raise WrongUse(
            f"run {ref} is of the kind {run.kind}. Accepted: a training, an evaluation, a measured table of "
            "predictions, or an audit"
        )
    from cxr.cli.models import manifest_of

    return {"model": ref, "manifest": manifest_of(ref, data)}


def _chosen(parts: list[str], without: list[str]) -> list[str]:
    """Return the parts to do; [] for all of them."""
    if not parts and not without:
        return []
    chosen = [name for name in PARTS if (not parts or name in parts) and name not in without]
    if not chosen:
        raise WrongUse(f"--part and --without leave nothing to do. Parts: {', '.join(PARTS)}")
    return chosen


def _show(run: Run, results: NetworkAuditResults, out: Path | None) -> None:
    """Print the conclusion, each finding with what belongs to it, and how each part stands."""
    from cxr.experiments.audit.findings import written
    from cxr.formatting import xrays

    subject = results["subject"]
    say(results["finding"])
    of = f", {xrays(results['n_images'], results['n_patients'])}" if results["n_images"] else ""
    say(f"Audited: {subject['title']} on {subject['data'] or 'its own labels'}, split {subject['split']}{of}")
    for number, finding in enumerate(results["findings"], 1):
        figure = written(finding)
        say(f"\n{number}. {finding['weight'].upper()}: {finding['sentence']}")
        if figure:
            say(f"   {finding['figure_name']}: {figure}")
        if finding.get("detail"):
            say(f"   more: {finding['detail']}")
        if finding["not_shown"]:
            say(f"   not shown: {finding['not_shown']}")
        if finding["next_step"]:
            command = f" `{shlex.join(finding['command'])}`" if finding["command"] else ""
            say(f"   next: {finding['next_step']}{command}")
    say("")
    for part in results["parts"]:
        for sentence in part["looked"]:
            say(f"- {part['title']}: {sentence}")
    for part in results["parts"]:
        if part["state"] in ("missing", "failed", "left-out"):
            word = {"missing": "not done", "failed": "failed", "left-out": "left out"}[part["state"]]
            command = f" (`{shlex.join(part['command'])}`)" if part["command"] else ""
            say(f"- {part['title']}: {word}, {part['reason']}{command}")
    say(str(out) if out is not None else f"run {run.id}; `cxr audit {run.id} --out audit.html` writes it as a page")
