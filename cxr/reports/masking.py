"""A text experiment as one HTML file that needs no other, as Markdown, CSV or a figure: what a collaborator is sent."""

from __future__ import annotations

import functools
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from cxr.errors import TextError
from cxr.evaluation.provenance import in_words as in_words_of
from cxr.evaluation.provenance import provenance_of, written_in_words
from cxr.experiments.masking.effects import SMALLEST_EFFECT
from cxr.experiments.masking.matched_controls import LARGEST_GAIN
from cxr.experiments.masking.sentences import lead, relevance_of, selection_in_words
from cxr.experiments.masking.settings import Setting
from cxr.experiments.masking.shapes import MaskingResults, masking_results
from cxr.experiments.masking.shrinkage import FEWEST_PATIENTS
from cxr.files import replacing
from cxr.formatting import xrays
from cxr.networks import training_of
from cxr.reports.figures import FORMS, Form
from cxr.reports.forms import form_for
from cxr.reports.html_page import page
from cxr.reports.identities import PRIVATE, Identities, Privacy, holds
from cxr.reports.masking_figures import changed
from cxr.reports.masking_tables import TABLES, is_of_findings, summary
from cxr.reports.masking_xrays import example_of, most_affected
from cxr.runs import Run
from cxr.text.mask import MASK_MODES

_TITLES = {
    "accuracy": "Accuracy",
    "classes": "By class",
    "modes": "Every way of masking",
    "match": "How well the controls match the tokens",
    "flips": "From which class to which",
    "left_in": "Which tokens do it",
    "groups": "Within classes and sources",
    "relevance": "Relevance inside tokens",
}
_TITLES_OF_FINDINGS = _TITLES | {
    "accuracy": "Area under the ROC curve",
    "classes": "By finding",
    "flips": "Findings that cross their threshold",
    "groups": "Within findings and sources",
}
_NOTES = (
    "Every number compares answers about the same X-rays. Intervals are 95 %, over patients. "
    "They say nothing about other hospitals, another training of the network, or text that was not found.",
    "A masked token leaves a patch. Random boxes of the same number and sizes, off the tokens, as deep in the picture "
    "and chosen by how much masking them changes it, and the boxes of another patient's X-ray show what patches alone "
    "do. Only an effect beyond theirs is due to the text.",
    "“How well the controls match”: mean change of grey (of 255) of the network's picture, and share of the middle of "
    "the X-ray that is masked, over X-rays with text. Where no place changes as much as a token does, the control's "
    f"change is enlarged, up to {LARGEST_GAIN:g} times.",
    f"A difference of less than {100 * SMALLEST_EFFECT:g} % of the predictions, or of probability, is called too small "
    "to matter, whatever its p value.",
    "p values beside controls and of accuracy come from a sign-flip test over patients (10,000 draws). The interval "
    "of a difference contains the values that this test does not reject. They are corrected over the mask modes "
    "(Holm). Those within classes and sources are not corrected.",
    "“Which tokens do it”: all tokens masked, against all but these. Left visible alone, a token shows its own "
    "effect. The largest of many measured means is too large, so means are shrunk towards that of all words (or "
    f"kinds): the fewer patients, the more. With fewer than {FEWEST_PATIENTS} patients no mean is given. “Towards” and "
    "“by” are as measured.",
    "Relevance per area: share of the positive (or absolute) LRP relevance of the predicted class inside the boxes, "
    "by their share of the picture. 1 is chance level.",
    "A stable accuracy says nothing about single X-rays, and none of this shows that a network looks at the lung.",
)
_NOTES_OF_FINDINGS = (
    *_NOTES[:4],
    "The network gives each finding a probability of its own. “Moves” is the size of the change of a probability, up "
    "or down, mean over findings. A finding counts as present above the threshold that the network's publisher "
    "states, else above 0.5, which is a convention and not a clinical threshold.",
    "p values beside controls come from a sign-flip test over patients (10,000 draws). They are corrected over the "
    "mask modes, those of single findings over all findings and modes (Holm). Those within findings and sources are "
    "not corrected.",
    "AUC is measured on images where the finding is known to be present or absent.",
    _NOTES[5],
    "Relevance per area: share of the positive (or absolute) LRP relevance of the most probable finding inside the "
    "boxes, by their share of the picture. 1 is chance level.",
    "A stable AUC says nothing about single X-rays, and none of this shows that a network looks at the lung.",
)


def to_html(run: Run, privacy: Privacy = PRIVATE) -> str:
    """Return the report of a finished experiment.

    Without pictures of X-rays its heatmaps stand alone, and what was read on a single X-ray is left out.

    Raises
    ------
    TextError
        If it has no results yet.
    """
    results, table = _results(run)
    identities = Identities.of_run(run, with_ids=privacy.with_ids)
    words = {
        "title": f"Burned-in text: {run.name}",
        "network": _network(run),
        "model": results["model"],
        "holds": holds(privacy),
        "lead": lead(results),
        "summary": _in_short(results),
        "finding": results["finding"],
        "how": _how(run, results),
        "basis": _basis(run),
        "tables": [
            {
                "title": titles(results)[name],
                "columns": list(rows.columns),
                "rows": _cells(rows),
                "notes": rests_on(name, results),
            }
            for name, rows in _tables(results).items()
        ],
    }
    return page(
        "masking.html",
        **identities.all_hidden(words),
        example=example_of(run, results, table, privacy, identities),
        changed=changed(results),
        most_affected=list(most_affected(run, results, table, privacy, identities)),
        notes=notes(results),
    )


def _in_short(results: MaskingResults) -> dict[str, list[str] | list[list[str]]] | None:
    """Return the figures below the first sentences; None where nothing was masked."""
    if not results["n_tokens"]:
        return None
    rows = summary(results)
    return {"columns": list(rows.columns), "rows": _cells(rows)}


def _network(run: Run) -> str:
    """Return in a few words which network was measured on what: ``short on demo, test``."""
    setting = Setting.of(run.params)
    training = training_of(setting.model)
    return f"{training.name if training else setting.model} on {setting.data_set}, {setting.split or 'every X-ray'}"


def _tables(results: MaskingResults) -> dict[str, pd.DataFrame]:
    """Return the tables that have rows by their names."""
    tables = {name: make(results) for name, make in TABLES.items()}
    return {name: rows for name, rows in tables.items() if len(rows)}


def _cells(rows: pd.DataFrame, change: Callable[[str], str] = str) -> list[list[str]]:
    return [[change(cell) for cell in row] for row in rows.astype(str).to_numpy().tolist()]


def titles(results: MaskingResults) -> dict[str, str]:
    """Return the heading of each table by its name."""
    return _TITLES_OF_FINDINGS if is_of_findings(results) else _TITLES


def notes(results: MaskingResults) -> tuple[str, ...]:
    """Return how the numbers are to be read, a sentence or two each."""
    return _NOTES_OF_FINDINGS if is_of_findings(results) else _NOTES


def rests_on(table: str, results: MaskingResults) -> list[str]:
    """Return below a table which X-rays its figures are of, where its rows do not say it."""
    patients = results.get("n_patients")
    everything = xrays(results["n_images"], patients)
    if table == "relevance":
        return [f"Of {relevance_of(results['relevance'])}; the others were not explained."]
    if table == "accuracy":
        labelled = xrays(results["before"]["n"], results["before"].get("n_patients"))
        return [
            f"Of {labelled} with {'known findings' if is_of_findings(results) else 'a label that the network knows'}."
        ]
    return [f"Of {everything}."] if table in ("modes", "flips") else []


def to_markdown(run: Run, privacy: Privacy = PRIVATE) -> str:
    """Return the finding, how it was done and every table as Markdown, without pictures of X-rays."""
    results, _ = _results(run)
    hidden = Identities.of_run(run, with_ids=privacy.with_ids).hidden
    parts = [_plain(hidden(text)) for text in (results["finding"], _how(run, results), _basis(run))]
    parts = [f"# Burned-in text: {_plain(hidden(_network(run)))}", _plain(results["model"]), *parts]
    for name, rows in _tables(results).items():
        lines = ["| " + " | ".join(map(_plain, row)) + " |" for row in [list(rows.columns), *_cells(rows, hidden)]]
        lines.insert(1, "|" + " --- |" * len(rows.columns))
        parts += [f"## {titles(results)[name]}", "\n".join(lines), *map(_plain, rests_on(name, results))]
    return "\n\n".join([*parts, "## How to read this", "\n".join(f"- {note}" for note in notes(results))]) + "\n"


def _plain(text: str) -> str:
    """Return a text that Markdown shows as it is, in one line: names of classes and X-rays hold what they like."""
    return re.sub(r"([\\`*_<>|$~]|\](?=\())", r"\\\1", " ".join(text.split()))


def to_zip(run: Run, privacy: Privacy = PRIVATE) -> bytes:
    """Return a ZIP file of CSV tables: those of the report, the predictions, every condition, and the boxes.

    Patients have running numbers. Without ids X-rays have them too, and what was read in single boxes is left out.
    """
    results, table = _results(run)
    identities = Identities.of_run(run, with_ids=privacy.with_ids)
    tables = {name: make(results) for name, make in TABLES.items()} | {"predictions": table}
    for file in ("conditions.parquet", "boxes.parquet", "control_boxes.parquet"):
        tables[Path(file).stem] = pd.read_parquet(run.folder.path / file)
    finding = f"{results['finding']}\n\n{_how(run, results)}\n{_basis(run)}\n"
    tables = {name: identities.without_ids(rows) for name, rows in tables.items()}
    if not privacy.with_ids:
        tables["boxes"] = tables["boxes"].drop(columns="text", errors="ignore")
        finding = identities.hidden(finding)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, rows in tables.items():
            archive.writestr(f"{name}.csv", rows.to_csv(index=False))
        archive.writestr("finding.txt", finding)
    return packed.getvalue()


def write(run: Run, path: Path, privacy: Privacy = PRIVATE) -> Path:
    """Write the report in the form that the name asks for and return the file.

    That is .html, .md, .zip (tables as CSV), or the figure of the whole set as .svg, .png or .pdf.

    Raises
    ------
    TextError
        For another ending, a folder that is not there, or an experiment without results.
    """
    forms: dict[str, Callable[[], bytes]] = {
        ".html": lambda: to_html(run, privacy).encode(),
        ".md": lambda: to_markdown(run, privacy).encode(),
        ".zip": lambda: to_zip(run, privacy),
    }
    forms |= {f".{form}": functools.partial(_figure_bytes, run, form) for form in FORMS}
    form = form_for(path, forms, TextError)
    with replacing(path) as draft:
        draft.write_bytes(form())
    return path


def _figure_bytes(run: Run, form: Form) -> bytes:
    """Return the figure of the whole set, which says what it rests on where it is shown by itself."""
    results, _ = _results(run)
    caption = f"Burned-in text: {results['model']}. {_how(run, results)} {_basis(run)}"
    return changed(results, caption).to_bytes(form)


def _results(run: Run) -> tuple[MaskingResults, pd.DataFrame]:
    results, table = masking_results(run), run.predictions()
    if results is None or table is None:
        raise TextError(f"run {run.id} has no results of a text experiment to report")
    return results, table


def _basis(run: Run) -> str:
    """Return when, with what and on what the experiment was done, and when this report is written."""
    return f"{in_words_of(provenance_of(run))} {written_in_words()}"


def _how(run: Run, results: MaskingResults) -> str:
    manifest = Setting.of(run.params).manifest
    modes = ", ".join(MASK_MODES[mode].title.lower() for mode in results["mask_modes"])
    reviewed = f" Boxes of {results['n_reviewed']:,} X-rays were corrected by hand." if results["n_reviewed"] else ""
    part = selection_in_words(results.get("selection"), results, results["split"])
    return (
        f"{part + ' ' if part else ''}{xrays(results['n_images'], results.get('n_patients'))}, of the data set "
        f"{manifest.parent.name or manifest}, {results['split'] or 'all splits'}; masked by "
        f"{modes}; margin {results['margin']:g}; "
        f"{results['draws']} draws of random boxes, seed {results['seed']}.{reviewed}"
    )
