"""Names that people give to clusters: stored beside the run, so that they are there when it is opened again."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from cxr import permission
from cxr.errors import RunError
from cxr.experiments.clusters.results import cluster_of, cluster_results
from cxr.runs.storage import locked, write_json

if TYPE_CHECKING:
    from cxr.runs import Run

NAMES = "names.json"
LONGEST = 80


class _Names(TypedDict):
    names: dict[str, str]


def names_of(run: Run) -> dict[int, str]:
    """Return the names of a run's clusters, by number: those that people gave."""
    stored: _Names | None = run.folder.read_json(NAMES)
    return {int(number): name for number, name in stored["names"].items()} if stored else {}


def name_cluster(run: Run, number: int, name: str) -> None:
    """Give a cluster a name, or with "" its suggested title again.

    Raises
    ------
    RunError
        For a number that no cluster has, or a name that is too long.
    """
    permission.ask("name a cluster")
    cluster_of(cluster_results(run), number)
    name = " ".join(name.split())
    if len(name) > LONGEST:
        raise RunError(f"the name {name[:20]!r}… has {len(name)} letters. Accepted: up to {LONGEST}")
    with locked(run.folder.path / f".{NAMES}.lock"):
        names = names_of(run)
        names.pop(number, None)
        if name:
            names[number] = name
        write_json(run.folder.path / NAMES, _Names(names={str(key): names[key] for key in sorted(names)}))


def title_of(number: int, title: str, names: dict[int, str]) -> str:
    """Return what a cluster is called: the name that it was given, else its suggested title."""
    return names.get(number) or title
