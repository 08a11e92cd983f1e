"""A text experiment as one HTML file that needs no other, as Markdown, CSV or a figure: what a collaborator is sent."""

from __future__ import annotations

import functools
import io
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import cv2
import numpy as np
import pandas as pd

from cxr.data import read_xray
from cxr.errors import CxrError, TextError
from cxr.evaluation.provenance import in_words as in_words_of
from cxr.evaluation.provenance import provenance_of, written_in_words
from cxr.evaluation.truth import finding_names
from cxr.experiments.masking import example
from cxr.experiments.masking.effects import SMALLEST_EFFECT
from cxr.experiments.masking.matched_controls import LARGEST_GAIN
from cxr.experiments.masking.sentences import relevance_of, selection_in_words
from cxr.experiments.masking.settings import Setting
from cxr.experiments.masking.shapes import MaskingResults, masking_results
from cxr.experiments.masking.shrinkage import FEWEST_PATIENTS
from cxr.explain import render
from cxr.files import replacing
from cxr.formatting import xrays
from cxr.reports.figures import FORMS, Form
from cxr.reports.forms import form_for
from cxr.reports.html_page import page
from cxr.reports.masking_figures import changed
from cxr.reports.masking_tables import TABLES, is_of_findings
from cxr.reports.slider import Pair, pair_of, png_url
from cxr.runs import Run
from cxr.text.boxes import TextBox
from cxr.text.mask import MASK_MODES, mask_text

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
_SWAYED, _THUMB, _WIDE = 8, 220, 520


def to_html(run: Run) -> str:
    """Return the report of a finished experiment.

    Raises
    ------
    TextError
        If it has no results yet.
    """
    results, table = _results(run)
    return page(
        "masking.html",
        title=f"Burned-in text: {run.name}",
        model=results["model"],
        finding=results["finding"],
        how=_how(run, results),
        basis=_basis(run),
        example=_example(run, results, table),
        changed=changed(results),
        tables=[
            {
                "title": titles(results)[name],
                "columns": rows.columns,
                "rows": _cells(rows),
                "notes": rests_on(name, results),
            }
            for name, rows in _tables(results).items()
        ],
        most_affected=list(_most_affected(run, results, table)),
        notes=notes(results),
    )


def _tables(results: MaskingResults) -> dict[str, pd.DataFrame]:
    """Return the tables that have rows by their names."""
    tables = {name: make(results) for name, make in TABLES.items()}
    return {name: rows for name, rows in tables.items() if len(rows)}


def _cells(rows: pd.DataFrame) -> list[list[str]]:
    return rows.astype(str).to_numpy().tolist()


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


def to_markdown(run: Run) -> str:
    """Return the finding, how it was done and every table as Markdown, without pictures of X-rays."""
    results, _ = _results(run)
    parts = [_plain(text) for text in (results["finding"], _how(run, results), _basis(run))]
    parts = [f"# Burned-in text: {_plain(results['model'])}", *parts]
    for name, rows in _tables(results).items():
        lines = ["| " + " | ".join(map(_plain, row)) + " |" for row in [list(rows.columns), *_cells(rows)]]
        lines.insert(1, "|" + " --- |" * len(rows.columns))
        parts += [f"## {titles(results)[name]}", "\n".join(lines), *map(_plain, rests_on(name, results))]
    return "\n\n".join([*parts, "## How to read this", "\n".join(f"- {note}" for note in notes(results))]) + "\n"


def _plain(text: str) -> str:
    """Return a text that Markdown shows as it is, in one line: names of classes and X-rays hold what they like."""
    return re.sub(r"([\\`*_<>|$~]|\](?=\())", r"\\\1", " ".join(text.split()))


def to_zip(run: Run) -> bytes:
    """Return a ZIP file of CSV tables: those of the report, the predictions, every condition, and the boxes."""
    results, table = _results(run)
    tables = {name: make(results) for name, make in TABLES.items()} | {"predictions": table}
    for file in ("conditions.parquet", "boxes.parquet", "control_boxes.parquet"):
        tables[Path(file).stem] = pd.read_parquet(run.folder.path / file)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, rows in tables.items():
            archive.writestr(f"{name}.csv", rows.to_csv(index=False))
        archive.writestr("finding.txt", f"{results['finding']}\n\n{_how(run, results)}\n{_basis(run)}\n")
    return packed.getvalue()


def write(run: Run, path: Path) -> Path:
    """Write the report in the form that the name asks for and return the file.

    That is .html, .md, .zip (tables as CSV), or the figure of the whole set as .svg, .png or .pdf.

    Raises
    ------
    TextError
        For another ending, a folder that is not there, or an experiment without results.
    """
    forms: dict[str, Callable[[], bytes]] = {
        ".html": lambda: to_html(run).encode(),
        ".md": lambda: to_markdown(run).encode(),
        ".zip": lambda: to_zip(run),
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


# --- pictures ------------------------------------------------------------------------------------------------------


class _Shown(TypedDict):
    sentences: str
    sliders: list[Pair]
    explained_class: str


class _Affected(TypedDict):
    pictures: list[str]
    caption: str


def _example(run: Run, results: MaskingResults, table: pd.DataFrame) -> _Shown | None:
    """Return one X-ray as it is and masked, with its heatmaps; None where no X-ray has text or its file has gone."""
    shown = example.read(run.folder.path)
    image = _image(run, shown.image_id) if shown else None
    if shown is None or image is None:
        return None
    boxes = _boxes(run).get(shown.image_id, [])
    masked = mask_text(image, boxes, results["mode"], results["margin"])
    row = table.set_index("image_id").loc[shown.image_id]
    pictures = [_small(picture, _WIDE) for picture in (image, masked)]
    sliders = [pair_of(pictures[0], pictures[1], ("as it is", "text masked"), _WIDE)]
    explained = shown.before is not None and shown.after is not None
    if shown.before is not None and shown.after is not None:
        scale = max(render.colour_scale(relevance, 99.5) for relevance in (shown.before, shown.after))
        maps = zip(pictures, (shown.before, shown.after), strict=True)
        before, after = (render.overlay(picture, relevance, 0.8, scale) for picture, relevance in maps)
        sliders.append(pair_of(before, after, (f"for {shown.target}: as it is", "text masked"), _WIDE))
    return {
        "sentences": in_words(row, results["classes"], boxes),
        "sliders": sliders,
        "explained_class": shown.target if explained else "",
    }


def in_words(row: pd.Series, classes: Sequence[str], boxes: Sequence[TextBox]) -> str:
    """Return what masking does to one X-ray, a row of ``predictions.parquet`` by image id, in sentences."""
    texts = ", ".join(f"“{box.text}”" if box.text else f"a {box.kind}" for box in boxes)
    if "predicted_before" in row:
        predicted = f" Predicted {row['predicted_before']}, with its text masked {row['predicted_after']}."
    else:
        predicted = ""
    return (
        f"{row.name}, {known_of(row)}, carries {texts}.{predicted} Probabilities: {_chances(row, classes)}. "
        f"Random boxes move them by {row['moved_control']:.3f}, masking the text by {row['moved']:.3f}."
    )


def known_of(row: Mapping[str, Any] | pd.Series) -> str:
    """Return what the data say of an X-ray, a row of ``predictions.parquet``: ``labelled normal``."""
    if "findings" in row:
        names = finding_names(row["findings"] or "")
        return f"with the findings {', '.join(names)}" if names else "whose findings are not known"
    return f"labelled {row['label'] or 'nothing'}"


def change_of(row: Mapping[str, Any] | pd.Series, name: str) -> str:
    """Return a class's probability before and after: ``Effusion 0.31 → 0.12``."""
    return f"{name} {row[f'prob_{name}_before']:.2f} → {row[f'prob_{name}_after']:.2f}"


def _chances(row: pd.Series, classes: Sequence[str]) -> str:
    shown = classes if len(classes) <= _MOST_CHANCES else example.most_moved(row, classes)[:_MOST_CHANCES]
    rest = len(classes) - len(shown)
    more = f"; the other {rest} move less" if rest else ""
    return "; ".join(change_of(row, c) for c in shown) + more


_MOST_CHANCES = 6


def _most_affected(run: Run, results: MaskingResults, table: pd.DataFrame) -> Iterator[_Affected]:
    """Yield the X-rays whose probabilities masking the text moves most, as they are and masked."""
    boxes = _boxes(run)
    for _, row in table[table["moved"] > 0].sort_values("moved", ascending=False).head(_SWAYED).iterrows():
        image = _image(run, row["image_id"])
        if image is None:
            continue
        masked = mask_text(image, boxes.get(row["image_id"], []), results["mode"], results["margin"])
        words = f"{row['image_id']}: {_change_of(row, results['classes'])}, {known_of(row)}; moved {row['moved']:.3f}"
        yield {"pictures": [png_url(_small(picture, _THUMB)) for picture in (image, masked)], "caption": words}


def _change_of(row: pd.Series, classes: Sequence[str]) -> str:
    if "predicted_before" in row:
        return f"{row['predicted_before']} → {row['predicted_after']}"
    return change_of(row, example.most_moved(row, classes)[0])


def _boxes(run: Run) -> dict[str, list[TextBox]]:
    return example.boxes_of(pd.read_parquet(run.folder.path / "boxes.parquet"))


def _image(run: Run, image_id: str) -> np.ndarray | None:
    try:
        return read_xray(Setting.of(run.params).data.image_path(image_id))
    except (CxrError, KeyError, OSError):
        return None  # the data have gone; the numbers stand without their pictures


def _small(image: np.ndarray, side: int) -> np.ndarray:
    scale = side / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
