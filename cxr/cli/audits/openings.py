"""``cxr data openings``, ``lock`` and ``unlock``: who has looked at held-out X-rays, and who may."""

from __future__ import annotations

from typing import Annotated, TypedDict

import typer

from cxr.cli.output import Json, emit, say, show_table
from cxr.errors import unknown, wrong_use

OpenLocked = Annotated[
    bool, typer.Option("--open-locked", help="Look at a locked split (`cxr data lock`), too. Each look is counted.")
]
Data = Annotated[str, typer.Argument(metavar="DATA", help="A data set's name or the path of a manifest.")]
LockedData = Annotated[str, typer.Argument(metavar="DATA", help="A data set's name.")]
Splits = Annotated[list[str] | None, typer.Option("--split", help="A split; may be repeated. By default test.")]


class _SplitOpenings(TypedDict):
    split: str
    images: int
    locked: bool
    openings: int
    networks: int
    sentence: str
    runs: list[dict[str, str | int]]


def openings(data: Data, split: Splits = None, as_json: Json = False) -> None:
    """List how often the X-rays of each held-out split were looked at, by which runs and when."""
    from cxr.data import Manifest
    from cxr.data.library import resolve_manifest
    from cxr.data.openings import held_out_ids, in_words, locked_splits, openings_of, rows_of

    manifest = Manifest.load(resolve_manifest(data))
    groups = held_out_ids(manifest, manifest.ids)
    for name in split or ():
        if name not in groups:
            from cxr.errors import ManifestError

            raise wrong_use(ManifestError(unknown("held-out split", name, groups)))
    locked = locked_splits(manifest)
    entries: list[_SplitOpenings] = []
    for name in split or groups:
        looks = openings_of(manifest, groups[name], name)
        entries.append(
            {
                "split": name,
                "images": looks.n,
                "locked": name in locked,
                "openings": len(looks.earlier),
                "networks": looks.networks,
                "sentence": in_words(looks),
                "runs": [dict(row) for row in rows_of(looks)],
            }
        )
    emit(entries, as_json, _show)


def lock(data: LockedData, split: Splits = None, as_json: Json = False) -> None:
    """Lock the test split: trainings, measures and experiments leave it alone until --open-locked is given."""
    _set(data, split, True, as_json)


def unlock(data: LockedData, split: Splits = None, as_json: Json = False) -> None:
    """Unlock a split; looks at it are counted as before."""
    _set(data, split, False, as_json)


def _set(data: str, split: list[str] | None, locked: bool, as_json: bool) -> None:
    from cxr.data.openings import set_locked

    after = set_locked(data, tuple(split or ("test",)), locked=locked)
    emit({"data": data, "locked": list(after)}, as_json, lambda _: say(f"locked: {', '.join(after) or 'none'}"))


def _show(entries: list[_SplitOpenings]) -> None:
    for entry in entries:
        say(entry["sentence"] + (" It is locked." if entry["locked"] else ""))
        rows = [
            [str(run["date"])[:16], str(run["run"]), str(run["kind"]), str(run["network"]), f"{run['of_these']:,}"]
            for run in entry["runs"]
        ]
        if rows:
            show_table("", ["date", "run", "kind", "of", "X-rays"], rows)
    if not entries:
        say("no held-out X-rays: every split is train or val")
