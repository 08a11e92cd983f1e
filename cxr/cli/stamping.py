"""``cxr text stamp``: start a stamping experiment and print its dose curve."""

from __future__ import annotations

from typing import Any

from cxr.cli.follow import follow_or_leave
from cxr.cli.models import check_split, manifest_of
from cxr.cli.output import WrongUse, show_table
from cxr.runs import Slurm, start


def stamp_and_tell(
    params: dict[str, Any], data: str | None, *, where: Slurm | None, detach: bool, as_json: bool
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
    params = {name: value for name, value in params.items() if name == "split" or value not in ("", [])}
    params["manifest"] = manifest_of(params["model"], data)
    check_split(params["manifest"], params.get("split", ""))
    run = start("text-stamping", params, where=where)
    follow_or_leave(run, detach, as_json)
    if not (detach or as_json):
        show_doses(run.results())


def turned_to(results: dict[str, Any]) -> str:
    """Return what a share of X-rays that turn means: to a class, or a finding's probability above its threshold."""
    of_findings = results.get("task") == "multi-label"
    return (
        f"{results['towards']} above {results['threshold']:.3g}" if of_findings else f"turned to {results['towards']}"
    )


def show_doses(results: dict[str, Any] | None) -> None:
    """Print the dose curve of a run's results; nothing without any."""
    from cxr.formatting import percent

    if not results:
        return
    rows = [
        [
            f"{dose['size']:g}",
            f"{dose['contrast']:g}",
            percent(dose["turned"]["stamped"]),
            percent(dose["turned"]["control"]),
            f"{dose['turned_beyond']['p_holm']:.2g}",
            f"{round(100 * dose['probability_beyond']['value'], 1) + 0.0:+.1f}",
        ]
        for dose in results["doses"]
    ]
    columns = ["size", "contrast", "stamped", "control", "p", "points"]
    title = f"{turned_to(results)}; points: of its probability, stamped minus control"
    show_table(title, columns, rows)
