"""What ``cxr text vocabulary`` does and prints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cxr.cli.follow import end_of
from cxr.cli.output import WrongUse, emit, note, say, show_table
from cxr.errors import RunError, TextError
from cxr.files import replacing
from cxr.runs import Run, Slurm, start

if TYPE_CHECKING:
    from cxr.experiments.vocabulary.entries import Entry, VocabularyResults

_SHOWN = 25


def count(
    data: str,
    split: str,
    options: Mapping[str, int | bool],
    *,
    csv: Path | None,
    where: Slurm | None,
    shards: int,
    detach: bool,
    as_json: bool,
) -> None:
    """Search and count in a run, follow it, and print its table; ``options`` are further parameters of the run."""
    if csv is not None and not csv.parent.is_dir():
        raise TextError(f"--csv {csv}: the folder {csv.parent} does not exist")
    if csv is not None and detach:
        raise WrongUse("--csv must wait for the table, --detach does not wait: give only one of them")
    run = start("text-vocabulary", {"manifest": data, "split": split, **options}, where=where, shards=shards)
    if end_of(run, detach, as_json) is None:
        return
    results = cast("VocabularyResults | None", run.results())
    if results is None:
        raise RunError(
            "stopped before the table was ready; what was found is kept, and the same command continues from there"
        )
    if csv is not None:
        _write_csv(csv, results)
    emit({"run": run.id, **results}, as_json, lambda _: _show(run, results))


def _write_csv(path: Path, results: VocabularyResults) -> None:
    from cxr.experiments.vocabulary.count import flat

    try:
        with replacing(path) as draft:
            flat(results["vocabulary"]).to_csv(draft, index=False)
    except OSError as error:
        raise TextError(f"{path} cannot be written: {error.strerror or error}") from None
    note(f"{len(results['vocabulary']):,} tokens written to {path}")


def _show(run: Run, results: VocabularyResults) -> None:
    say(results["finding"])
    entries = results["vocabulary"]
    words = [entry for entry in entries if entry["group"] == "token"]
    marks = [entry for entry in entries if entry["group"] != "token"]
    for title, listed in (("Tokens", words), ("Kinds and places, read or not", marks)):
        if listed:
            columns = [*_COLUMNS, *_classes(listed), *["within sources"] * ("within_sources" in listed[0])]
            show_table(_title(title, listed), columns, [_row(e) for e in listed[:_SHOWN]])
    if any(entry["p"] is not None for entry in entries):
        say(
            "bits: information about the class, beyond chance; odds ratio: over patients, each with one randomly "
            "drawn X-ray, with an exact 95 % interval for this row alone; q: exact p value, corrected over all rows "
            "(Benjamini and Hochberg); ?: not significant, q is 0.05 or more"
        )
    if any("within_sources" in entry for entry in entries):
        say("within sources: the same test among X-rays of the same source, corrected in the same way")
    if results["left_out"]:
        first = results["left_out"][0]
        say(f"{len(results['left_out']):,} images could not be read, the first: {first['image_id']}: {first['reason']}")
    say(f"run {run.id}")


_COLUMNS = ("token", "images", "points to", "odds ratio", "bits", "q")


def _title(title: str, listed: list[Entry]) -> str:
    return (
        title if len(listed) <= _SHOWN else f"{title}: the first {_SHOWN} of {len(listed):,}, all with --csv or --json"
    )


def _classes(listed: list[Entry]) -> list[str]:
    return list(listed[0]["by_class"])


def _row(entry: Entry) -> list[str | int]:
    from cxr.experiments.vocabulary.count import odds_in_words, points_in_words
    from cxr.experiments.vocabulary.within_sources import in_words

    shares = [f"{counts['units']:,} of {counts['of']:,}" for counts in entry["by_class"].values()]
    shares += [in_words(entry)] if "within_sources" in entry else []
    if entry["points_to"] is None:
        return [entry["token"], entry["images"], "", "", "", "", *shares]
    counts = entry["by_class"][entry["points_to"]]
    odds = odds_in_words(counts)
    bits = f"{(entry['bits'] or 0) - (entry['chance'] or 0):.3f}"
    return [entry["token"], entry["images"], points_in_words(entry), odds, bits, f"{entry['q'] or 0:.2g}", *shares]
