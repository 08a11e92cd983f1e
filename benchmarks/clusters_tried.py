"""Which heatmaps and settings show what a network makes of text: clusters, relevance by region, masking and a stamp.

Of one trained network, heatmaps of several splits, composites and explained classes are clustered, with several grids.
Beside them stands how much of each X-ray's relevance lies in text, and what masked and stamped text does, by the newest
finished runs of these kinds. Heatmaps and clusters that were made before are kept in ``--kept``.

    cxr relevance RUN --data real
    cxr text experiment RUN --data real
    cxr text stamp RUN --data real --word PORTABLE
    python benchmarks/clusters_tried.py --network RUN --data real --out benchmarks/results/clusters_tried.md
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypedDict

import pandas as pd
from blocks import write_page
from clusters_real import finished, kept

from cxr.data.library import resolve_manifest
from cxr.evaluation.intervals import mean_intervals
from cxr.experiments.clusters.region.measure import measurements_of
from cxr.experiments.clusters.results import cluster_results
from cxr.experiments.relevance.results import IMAGES
from cxr.formatting import percent, xrays
from cxr.runs import Run, get_run, list_runs, start

LARGE = 0.2
"""A share of an X-ray's relevance that would make its map unlike the others'."""
COMPOSITE, GRID = "epsilon-plus-flat", 20
ABOUT = ("text", "border")


class Try(NamedTuple):
    """Heatmaps that are clustered, and how; ``split`` "" is the whole data set."""

    split: str
    composite: str = COMPOSITE
    targets: str = "predicted"
    grid: int = GRID
    smooth: float = 0.0


TRIES = (
    Try("test"),
    Try("train"),
    Try("train", grid=32),
    Try("train", grid=10),
    Try("train", smooth=1.0),
    Try("train", targets="label"),
    Try("train", composite="epsilon-gamma-box"),
    Try("train", composite="epsilon-alpha2-beta1-flat"),
    Try("train", composite="grad-cam"),
    Try(""),
)


class OfClass(TypedDict):
    """What the clusters of a class are: p of there being any, and their titles, those of ends with a ``?``."""

    target: str
    patients: int
    p: float | None
    titles: list[str]
    about: list[str]


class Tried(TypedDict):
    """What one try gave."""

    n_images: int
    n_patients: int
    classes: list[OfClass]


def heatmaps(network: str, manifest: Path, of: Try) -> str:
    """Return the id of a finished run of heatmaps."""
    params = {"model": network, "manifest": manifest, "split": of.split or None, "composite": of.composite}
    return finished(start("explain", {**params, "targets": of.targets, "previews": 0}, detached=False)).id


def tried(explained: str, of: Try) -> Tried:
    """Return the clusters of heatmaps."""
    run = start("cluster-heatmaps", {"heatmaps": explained, "grid": of.grid, "smooth": of.smooth}, detached=False)
    results = cluster_results(finished(run))
    classes: list[OfClass] = []
    for entry in results["classes"]:
        own = [cluster for cluster in results["clusters"] if cluster["target"] == entry["target"]]
        several = own if len(own) > 1 else []
        classes.append(
            {
                "target": entry["target"],
                "patients": entry["n_patients"],
                "p": entry["p_corrected"],
                "titles": [f"{cluster['title']}{'' if cluster['shown'] else ' ?'}" for cluster in several],
                "about": [cluster["title"] for cluster in several if cluster["region"] in ABOUT],
            }
        )
    return {"n_images": results["n_images"], "n_patients": results["n_patients"], "classes": classes}


def newest(kind: str, network: str) -> Run:
    """Return the newest finished run of a kind on a network."""
    runs = [run for run in list_runs(kind=kind) if run.spec["params"].get("model") == network and run.results()]
    if not runs:
        raise SystemExit(f"no finished run of the kind {kind} on {network}: see the commands at the top of the script")
    return max(runs, key=lambda run: run.spec["created"])


def clusters_table(by_try: dict[Try, Tried]) -> Iterator[str]:
    """Yield a table with a row for each try."""
    yield "| heatmaps of | composite | explained | cells | blur | X-rays | clusters | about text or border |"
    yield "|---" * 8 + "|"
    for of, result in by_try.items():
        said = [
            f"{entry['target']}: {' and '.join(map(repr, entry['titles']))}"
            for entry in result["classes"]
            if entry["titles"]
        ]
        least = min((entry["p"] for entry in result["classes"] if entry["p"] is not None), default=None)
        none = f"none (smallest p {least:.2g})" if least is not None else "none"
        n_about = sum(len(entry["about"]) for entry in result["classes"])
        cells = (
            of.split or "every split",
            of.composite,
            of.targets,
            str(of.grid),
            f"{of.smooth:g}",
            xrays(result["n_images"], result["n_patients"]),
            f"{'; '.join(said)} (smallest p {least:.2g})" if said and least is not None else none,
            str(n_about),
        )
        yield "| " + " | ".join(cells) + " |"


def _shares(table: pd.DataFrame) -> Iterator[str]:
    """Yield how much of an X-ray's positive relevance lies in text, of all with text and by explained class."""
    table = table[table["share_text"].notna()]
    groups = [("all", table), *((str(name), own) for name, own in table.groupby("explained"))]
    for name, own in groups:
        share = own["share_text"]
        cells = (
            name,
            xrays(len(own), own["patient"].nunique()),
            f"{100 * share.median():.1f} %",
            f"{100 * share.quantile(0.9):.1f} %",
            f"{100 * share.max():.1f} %",
            _large(own),
        )
        yield "| " + " | ".join(cells) + " |"


def _large(own: pd.DataFrame) -> str:
    large = (own["share_text"] > LARGE).to_numpy(float)
    limits, value = mean_intervals(large, own["patient"].to_numpy(), bounded=True)[0], float(large.mean())
    low, high = limits or (None, None)
    return f"{int(large.sum())}, {percent({'value': value, 'low': low, 'high': high})}"


def measured(run: Run) -> Iterator[str]:
    """Yield the clusters of a run that are about text or the border, and what masking them did."""
    changes = measurements_of(run)
    yield from ("", "## Clusters that were found, and what masking them does", "", f"`{run.id}`:", "")
    for entry in cluster_results(run)["clusters"]:
        if entry["shown"] and entry["region"] in ABOUT:
            change = changes.get(entry["number"])
            yield f"- {entry['sentence']} {change['sentence'] if change else 'Not masked.'}"


def page(by_try: dict[Try, Tried], network: str, found: str) -> Iterator[str]:
    """Yield the lines of the page."""
    relevance, masking, stamping = (
        newest(kind, network) for kind in ("relevance-regions", "text-experiment", "text-stamping")
    )
    yield "# Clusters of a network that uses text a little"
    yield ""
    yield f"Command: `{shlex.join(['python', 'benchmarks/clusters_tried.py', *sys.argv[1:]])}`"
    yield ""
    yield "Clusters with a `?` are not stable, or may be the ends of a gradual change. *Cells*: side of the pooled"
    yield "maps, *blur*: of these, in cells."
    yield from ("", "## What was tried", "", *clusters_table(by_try))
    yield ""
    yield f"p is corrected for the explained classes of one row, not for the {len(by_try)} rows."
    yield from measured(get_run(found)) if found else ()
    yield from ("", "## How much of an X-ray's relevance lies in text", "")
    yield f"Positive relevance of the explained class inside of the tokens (`{relevance.id}`). A map differs from the"
    yield f"others by its text where much of its relevance lies there: the last column counts more than {LARGE:.0%}."
    yield ""
    yield f"| explained class | X-rays with text | median | 90 % have at most | most | above {LARGE:.0%} |"
    yield "|---" * 6 + "|"
    yield from _shares(pd.read_parquet(relevance.folder.path / IMAGES))
    yield from ("", "## What other measures say of the same network", "")
    for title, run in (("Relevance by region", relevance), ("Masked text", masking), ("Stamped word", stamping)):
        yield f"- {title} (`{run.id}`): {(run.results() or {})['finding']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", required=True, help="the training's run")
    parser.add_argument("--data", default="real")
    parser.add_argument("--kept", type=Path, default=Path("clusters_tried"), help="folder for what was done")
    parser.add_argument("--tries", type=int, default=len(TRIES), help="only the first so many")
    parser.add_argument("--found", default="", help="a run of clusters, of which some were masked with --measure")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.kept.mkdir(parents=True, exist_ok=True)
    manifest = resolve_manifest(args.data)
    by_try: dict[Try, Tried] = {}
    for of in TRIES[: args.tries]:
        maps = "-".join((of.split or "all", of.composite, of.targets))
        explained = kept(args.kept, f"maps-{maps}", partial(heatmaps, args.network, manifest, of))
        by_try[of] = kept(args.kept, f"clusters-{maps}-{of.grid}-{of.smooth:g}", partial(tried, explained, of))
        print(json.dumps([*of, by_try[of]]), file=sys.stderr, flush=True)
    write_page(list(page(by_try, args.network, args.found)), args.out)


if __name__ == "__main__":
    main()
