"""``cxr text stamp``: start a stamping experiment and print its dose curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cxr.cli.follow import follow_or_leave
from cxr.cli.models import check_split, manifest_of
from cxr.cli.output import WrongUse, show_table
from cxr.runs import Slurm, start

if TYPE_CHECKING:
    from cxr.experiments.stamping.results import DoseResponse


def stamp_and_tell(
    params: Mapping[str, Any], data: str | None, *, where: Slurm | None, detach: bool, as_json: bool
) -> None:
    """Start a run with ``params`` (:class:`cxr.experiments.stamping.settings.Setting`, without manifest) and wait.

    Raises
    ------
    WrongUse
        For both or none of word and cut, or a split that does not exist.
    TextError
        For values that are not allowed, or a class that does not exist.
    """
    if bool(params["word"]) == bool(params["cut"]):
        raise WrongUse("no token given: use either --word, such as --word DX, or --from IMAGE_ID:x0,y0,x1,y1")
    given = {name: value for name, value in params.items() if name == "split" or value not in ("", [])}
    manifest = manifest_of(params["model"], data)
    check_split(manifest, params.get("split", ""))
    run = start("text-stamping", given | {"manifest": manifest}, where=where)
    follow_or_leave(run, detach, as_json)
    if not (detach or as_json):
        from cxr.experiments.stamping.results import stamping_results

        show_doses(stamping_results(run))


def turned_to(results: DoseResponse) -> str:
    """Return what a share of X-rays that turn means: to a class, or a finding's probability above its threshold."""
    of_findings = results.get("task") == "multi-label"
    return (
        f"{results['towards']} above {results['threshold']:.3g}" if of_findings else f"turned to {results['towards']}"
    )


def show_doses(results: DoseResponse | None) -> None:
    """Print the dose curve of a run's results; nothing without any."""
    from cxr.formatting import p_value, percent

    if not results:
        return
    rows = [
        [
            f"{dose['size']:g}",
            f"{dose['contrast']:g}",
            percent(dose["turned"]["stamped"]),
            percent(dose["turned"]["control"]),
            p_value(dose["turned_beyond"]["p_holm"]),
            f"{round(100 * (dose['probability_beyond']['value'] or 0.0), 1) + 0.0:+.1f}",
        ]
        for dose in results["doses"]
    ]
    columns = ["size", "contrast", "stamped", "control", "p", "points"]
    title = f"{turned_to(results)}; points: of its probability, stamped minus control"
    show_table(title, columns, rows)
