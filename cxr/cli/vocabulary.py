"""What ``cxr text vocabulary`` does and prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cxr.cli.follow import end_of
from cxr.cli.output import emit, note, say, show_table
from cxr.errors import RunError, TextError
from cxr.files import replacing
from cxr.runs import Run, Slurm, start

_SHOWN = 25


def count(
    data: str,
    split: str,
    *,
    min_images: int,
    join: bool,
    csv: Path | None,
    where: Slurm | None,
    detach: bool,
    as_json: bool,
) -> None:
    """Search and count in a run, follow it, and print its table."""
    if csv is not None and not csv.parent.is_dir():
        raise TextError(f"--csv {csv}: the folder {csv.parent} is not there")
    if csv is not None and detach:
        raise TextError("--csv waits for the table, --detach does not: give one of them")
    params = {"manifest": data, "split": split, "min_images": min_images, "join": join}
    run = start("text-vocabulary", params, where=where)
    if end_of(run, detach, as_json) is None:
        return
    results = run.results()
    if results is None:
        raise RunError("stopped before the table; what was found is kept, and the same command goes on from there")
    if csv is not None:
        _write_csv(csv, results)
    emit({"run": run.id, **results}, as_json, lambda _: _show(run, results))


def _write_csv(path: Path, results: dict[str, Any]) -> None:
    from cxr.experiments.vocabulary.count import flat

    try:
        with replacing(path) as draft:
            flat(results["vocabulary"]).to_csv(draft, index=False)
    except OSError as error:
        raise TextError(f"{path} cannot be written: {error.strerror or error}") from None
    note(f"{len(results['vocabulary'])} tokens written to {path}")


def _show(run: Run, results: dict[str, Any]) -> None:
    say(results["finding"])
    entries = results["vocabulary"]
    words = [entry for entry in entries if entry["group"] == "token"]
    marks = [entry for entry in entries if entry["group"] != "token"]
    for title, listed in (("Tokens", words), ("Kinds and places, read or not", marks)):
        if listed:
            show_table(_title(title, listed), [*_COLUMNS, *_classes(listed)], [_row(e) for e in listed[:_SHOWN]])
    if any(entry["p"] is not None for entry in entries):
        say(
            "bits: of the class, beyond chance; odds ratio: of patients, each with one X-ray drawn by lot, with an "
            "exact 95 % interval for this row alone; q: exact p after Benjamini and Hochberg over all rows; "
            "?: not shown, since q is 0.05 or more"
        )
    if results["left_out"]:
        first = results["left_out"][0]
        say(f"{len(results['left_out'])} images could not be read, the first: {first['image_id']}: {first['reason']}")
    say(f"run {run.id}")


_COLUMNS = ("token", "images", "points to", "odds ratio", "bits", "q")


def _title(title: str, listed: list[dict[str, Any]]) -> str:
    return title if len(listed) <= _SHOWN else f"{title}: the first {_SHOWN} of {len(listed)}, all with --csv or --json"


def _classes(listed: list[dict[str, Any]]) -> list[str]:
    return list(listed[0]["by_class"])


def _row(entry: dict[str, Any]) -> list[Any]:
    from cxr.experiments.vocabulary.count import odds_in_words, points_in_words

    shares = [f"{told['units']} of {told['of']}" for told in entry["by_class"].values()]
    if entry["p"] is None:
        return [entry["token"], entry["images"], "", "", "", "", *shares]
    told = entry["by_class"][entry["points_to"]]
    odds = odds_in_words(told)
    bits = f"{entry['bits'] - entry['chance']:.3f}"
    return [entry["token"], entry["images"], points_in_words(entry), odds, bits, f"{entry['q']:.2g}", *shares]
