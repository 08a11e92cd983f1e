"""``cxr data check``: X-rays that are not what they seem."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr.cli.follow import Detach, ShardsOption, SlurmOption, follow_or_leave
from cxr.cli.output import Json, WrongUse, emit, say, show_table

if TYPE_CHECKING:
    from cxr.experiments.appearance.results import CheckResults
    from cxr.runs import Run

_SHOWN = 20


def check(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A data set's name or the path of a manifest.")],
    split: Annotated[str, typer.Option(help="A split; by default every image.")] = "",
    out: Annotated[Path | None, typer.Option(help="File for all flags (CSV), one row each.")] = None,
    without: Annotated[
        Path | None,
        typer.Option(help="File for a manifest (CSV) of the X-rays without a flag, which every command takes as DATA."),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="With --without: only X-rays with a flag of this kind are left out; may be repeated."),
    ] = None,
    shards: ShardsOption = 1,
    slurm: SlurmOption = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Find X-rays that are not what they seem: turned, mirrored, inverted, lateral, no chest, children, empty or cut.

    Nothing is removed. Ctrl-C loses nothing: `cxr runs resume` continues from there.
    """
    from cxr.runs import start

    _check_options(out, without, kind or [], left=detach or slurm is not None)

    def show_finished(run: Run) -> None:
        from cxr.experiments.appearance.results import check_results

        results = check_results(run)
        files = _write(run, results, out, without, kind or [])
        emit({"run": run.id, **results, **files}, as_json, lambda _: _show(run, results, files))

    started = start("check-data", {"manifest": data, "split": split}, where=slurm, shards=shards)
    follow_or_leave(started, detach, as_json, show_finished)


def _check_options(out: Path | None, without: Path | None, kinds: list[str], *, left: bool) -> None:
    from cxr.data.audit.appearance.flags import KINDS
    from cxr.errors import unknown

    for name, path in (("--out", out), ("--without", without)):
        if path is None:
            continue
        if left:
            raise WrongUse(f"{name} {path} is written when the check is over: leave out --slurm and --detach")
        if path.is_dir() or not path.absolute().parent.is_dir():
            reason = "is a folder" if path.is_dir() else "lies in a folder that does not exist"
            raise WrongUse(f"{name} {path} {reason}: give the path of a file, such as flags.csv")
    if kinds and without is None:
        raise WrongUse(f"--kind {kinds[0]} says what --without leaves out: give --without FILE too")
    for own in kinds:
        if own not in KINDS:
            raise WrongUse(unknown("kind of flag", own, KINDS))


def _write(run: Run, results: CheckResults, out: Path | None, without: Path | None, kinds: list[str]) -> dict[str, str]:
    """Write the files that were asked for, and return where they are."""
    from cxr.experiments.appearance.job import TABLE
    from cxr.experiments.appearance.results import remaining
    from cxr.files import replacing
    from cxr.text.search import images_of

    files = {}
    if out is not None:
        with replacing(out) as draft:
            draft.write_bytes((run.folder.path / TABLE).read_bytes())
        files["file"] = str(out)
    if without is not None:
        manifest = images_of(run.spec["params"]["manifest"], results["split"])
        files["manifest"] = str(remaining(results, manifest, kinds).save(without).path)
    return files


def _show(run: Run, results: CheckResults, files: dict[str, str]) -> None:
    """Print sentences, counts, the first flags, and what was left out."""
    from cxr.experiments.appearance.results import alarms_in_words

    say(results["finding"])
    rows = [[flag["image_id"], flag["kind"], f"{flag['score']:.2f}", flag["sentence"]] for flag in results["flags"]]
    if rows:
        show_table("", ["X-ray", "kind", "score", "what was seen"], rows[:_SHOWN])
    if len(rows) > _SHOWN:
        say(f"and {len(rows) - _SHOWN:,} more" + ("" if "file" in files else ": --out FILE writes all of them"))
    say(alarms_in_words(results["false_alarms"]))
    if results["left_out"]:
        first = results["left_out"][0]
        say(f"{len(results['left_out']):,} images could not be read, the first: {first['image_id']}: {first['reason']}")
    for line in results["notes"]:
        say(line)
    if "file" in files:
        say(f"all flags: {files['file']}")
    if "manifest" in files:
        say(f"manifest without them: {files['manifest']}")
    elif rows:
        say("`--without FILE` writes a manifest without the flagged X-rays, which every command takes as DATA.")
    say(f"run {run.id}")
