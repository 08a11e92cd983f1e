"""``cxr data audit`` and ``cxr data report``: what tells the classes of a data set apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr.cli.follow import Detach, ShardsOption, SlurmOption, follow_or_leave
from cxr.cli.output import Json, WithIds, emit, say, show_table

if TYPE_CHECKING:
    from cxr.experiments.data_audit.results import AuditResults
    from cxr.runs import Run

_FIRST, _MOST = 3, 12  # sentences that the conclusion has already, and that are printed below the table


def audit(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A data set's name or the path of a manifest.")],
    split: Annotated[str, typer.Option(help="A split; by default every image.")] = "",
    by: Annotated[
        str, typer.Option(help="What is compared: label, findings (each by itself), or auto: labels if there are any.")
    ] = "auto",
    text: Annotated[
        bool, typer.Option("--text/--no-text", help="Search for burned-in text, which takes most of the time.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Seed of the folds, of the permutations, and of the draws by patient.")] = 0,
    shards: ShardsOption = 1,
    slurm: SlurmOption = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Find what tells the classes apart without a look at the chest: source, size, borders, grey values, text.

    Ctrl-C loses nothing: `cxr runs resume` continues from there.
    """
    from cxr.runs import start

    def show_finished(run: Run) -> None:
        from cxr.experiments.data_audit.results import audit_results

        results = audit_results(run)
        emit({"run": run.id, **results}, as_json, lambda _: _show(run, results))

    params = {"manifest": data, "split": split, "by": by, "text": text, "seed": seed}
    follow_or_leave(start("audit-data", params, where=slurm, shards=shards), detach, as_json, show_finished)


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A finished audit of a data set, or finished probes.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write, by default audit.html or probes.html: .html (self-contained), .csv; .svg, .png or "
            ".pdf for the figure."
        ),
    ] = None,
    with_ids: WithIds = False,
) -> None:
    """Write the report of an audit or of probes: conclusion, figure, the whole table."""
    from cxr.reports import data_audit, probes
    from cxr.reports.identities import Privacy
    from cxr.runs import get_run

    finished = get_run(run)
    write, name = (probes.write, "probes.html") if finished.kind == probes.KIND else (data_audit.write, "audit.html")
    say(str(write(finished, out or Path(name), Privacy(with_ids=with_ids))))


def _show(run: Run, results: AuditResults) -> None:
    """Print sentences, the ranked table, missing metadata and what was left out."""
    from cxr.experiments.data_audit.results import entry_cells, missing_cells

    say(results["finding"])
    entries = results["properties"]
    _table("", [entry_cells(entry) for entry in entries if entry["p"] is not None])
    more = [entry["sentence"] for entry in entries if entry["shown"]][_FIRST:]
    for sentence in more[:_MOST]:
        say(f"- {sentence}")
    if len(more) > _MOST:
        say(f"- and {len(more) - _MOST:,} more, see the table")
    for reason in sorted({entry["reason"] for entry in entries if entry["reason"]}):
        say(f"{reason}: {', '.join(entry['title'] for entry in entries if entry['reason'] == reason)}")
    _table("Metadata that are missing", [missing_cells(row) for row in results["missing"] if row["missing"]])
    if results["left_out"]:
        first = results["left_out"][0]
        say(f"{len(results['left_out']):,} images could not be read, the first: {first['image_id']}: {first['reason']}")
    for line in results["notes"]:
        say(line)
    say(f"run {run.id}; `cxr data report {run.id}` writes it as a page")


def _table(title: str, rows: list[dict[str, str]]) -> None:
    if rows:
        show_table(title, list(rows[0]), [list(row.values()) for row in rows])
