"""``cxr data probe``: what a simple classifier reads of a data set where the lungs are hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cxr.cli.follow import Detach, ShardsOption, SlurmOption, follow_or_leave
from cxr.cli.output import Json, emit, say, show_table

if TYPE_CHECKING:
    from cxr.experiments.probes.results import ProbeResults
    from cxr.runs import Run


def probe(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A data set's name or the path of a manifest.")],
    split: Annotated[str, typer.Option(help="A split; by default every image.")] = "",
    by: Annotated[
        str, typer.Option(help="What the class is: label, findings (each by itself), or auto: labels if there are any.")
    ] = "auto",
    masks: Annotated[
        str,
        typer.Option(
            help="Where all lungs come from: segmentation, manifest (its masks, if every X-ray has one), or box."
        ),
    ] = "segmentation",
    text: Annotated[
        bool, typer.Option("--text/--no-text", help="Search for burned-in text, which takes most of the time.")
    ] = True,
    n: Annotated[int, typer.Option("--n", help="X-rays at most; beyond that, patients are drawn by lot.")] = 4000,
    seed: Annotated[int, typer.Option(help="Seed of the draws by patient, of the folds and of the permutations.")] = 0,
    shards: ShardsOption = 1,
    slurm: SlurmOption = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Can source and class be read without the lungs, from the border or from text alone? With a permutation test.

    Ctrl-C loses nothing: `cxr runs resume` continues from there.
    """
    from cxr.runs import start

    def show_finished(run: Run) -> None:
        from cxr.experiments.probes.results import probe_results

        results = probe_results(run)
        emit({"run": run.id, **results}, as_json, lambda _: _show(run, results))

    params = {"manifest": data, "split": split, "by": by, "masks": masks, "text": text, "n": n, "seed": seed}
    follow_or_leave(start("probe-data", params, where=slurm, shards=shards), detach, as_json, show_finished)


def _show(run: Run, results: ProbeResults) -> None:
    """Print the conclusion, the table, what could not be probed, and what the figures do not show."""
    from cxr.experiments.probes.results import lungs_in_words, not_probed, probe_cells, sampled_in_words

    say(results["finding"])
    rows = [probe_cells(entry) for entry in results["probes"] if entry["p"] is not None]
    if rows:
        show_table("", list(rows[0]), [list(row.values()) for row in rows])
    for line in not_probed(results["probes"]):
        say(line)
    say(" ".join(filter(None, (lungs_in_words(results), sampled_in_words(results)))))
    if results["left_out"]:
        first = results["left_out"][0]
        say(f"{len(results['left_out']):,} images could not be read, the first: {first['image_id']}: {first['reason']}")
    for line in results["notes"]:
        say(line)
    say(f"run {run.id}; `cxr data report {run.id}` writes it as a page")
