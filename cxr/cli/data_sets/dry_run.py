"""What ``cxr data import --dry-run`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxr.cli.output import emit, say, show_table
from cxr.formatting import counted, patients, xrays

if TYPE_CHECKING:
    from cxr.data.dry_run import DryRun

_SHOWN = 12


def tell(result: DryRun, name: str, as_json: bool) -> None:
    """Print what an import would give."""

    def show(_: object) -> None:
        _show(result, name)

    emit({**result.as_dict(), "dry_run": True}, as_json, show)


def _show(result: DryRun, name: str) -> None:
    of = patients(result.patients) if result.patients else "unknown patients"
    say(f"Dry run, nothing is kept: {xrays(result.n)} of {of}, as {name}")
    say(f"{counted(result.checked, 'image')} decoded, {result.unreadable:,} of them cannot be used")
    show_table("", ["class", "X-rays"], list(result.counts.items())[:_SHOWN])
    if result.splits:
        say("splits: " + ", ".join(f"{split} {n:,}" for split, n in result.splits.items()))
    else:
        say(f"no splits: {result.split_reason}")
    if result.left_out:
        rows = [[reason["n"], reason["reason"], reason["first"]] for reason in result.left_out[:_SHOWN]]
        show_table("", ["left out", "reason", "first file"], rows)
    for text in result.notes:
        say(f"note: {text}")
