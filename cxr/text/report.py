"""A text experiment as one HTML file that needs no other, or as CSV tables: what a collaborator is sent."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from cxr.data import Manifest, read_xray
from cxr.data.library import resolve_manifest
from cxr.errors import CxrError, TextError
from cxr.explain import render
from cxr.files import replacing
from cxr.runs import Run
from cxr.text import story
from cxr.text.boxes import TextBox
from cxr.text.mask import MASK_MODES, mask_text
from cxr.text.slider import png_url, slider_html
from cxr.text.tables import TABLES, changed_figure

_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#24292f;background:#fff}"
    "table{border-collapse:collapse;margin:.5rem 0 1.5rem;display:block;overflow-x:auto}"
    "td,th{border-bottom:1px solid #d0d7de;padding:.25rem .8rem;text-align:left;font-size:.85rem;white-space:nowrap}"
    "h2{margin-top:2.2rem}.finding{font-size:1.1rem;border-left:4px solid #f2a65a;padding-left:1rem}"
    ".row{display:flex;gap:1rem;flex-wrap:wrap}.row figure{margin:0}figcaption{font-size:.85rem;color:#57606a}"
)
_TITLES = {
    "accuracy": "Accuracy",
    "classes": "By class",
    "modes": "Every way of masking",
    "flips": "From which class to which",
    "left_in": "Which tokens do it",
    "groups": "Within classes and sources",
    "relevance": "Relevance inside tokens",
}
_NOTES = (
    "Every number compares answers about the same X-rays. Intervals are 95 % percentile bootstrap over patients; where "
    "nothing changes at all, Wilson's for as many trials as patients.",
    "A masked token leaves a patch. Random boxes of the same number and sizes, off the tokens, and the boxes of "
    "another patient's X-ray tell what patches do: only what goes beyond them speaks of the text.",
    "p values beside controls flip the signs of whole patients (10,000 draws); accuracy has McNemar's exact test. Both "
    "are corrected over the mask modes (Holm). Those within classes and sources are not corrected.",
    "“Which tokens do it”: all tokens masked, against all but these. Left in alone, a token shows its own effect.",
    "Relevance per area: share of the positive (or absolute) LRP relevance of the predicted class inside the boxes, by "
    "their share of the picture. 1 is what a map without preference has.",
    "An accuracy that stays says nothing about single X-rays, and none of this says that a network looks at the lung.",
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
    body = [
        f"<h1>Burned-in text: {escape(results['model'])}</h1>",
        f"<p class='finding'>{escape(results['finding'])}</p>",
    ]
    body += [f"<p>{escape(_how(run, results))}</p>"]
    body += list(_story(run, results, table))
    body += ["<h2>The whole set</h2>", changed_figure(results).to_html(full_html=False, include_plotlyjs=True)]
    for name, make in TABLES.items():
        rows = make(results)
        if len(rows):
            body += [f"<h3>{_TITLES[name]}</h3>", rows.to_html(index=False, border=0)]
    body += ["<h2>X-rays most swayed</h2>", *_swayed(run, results, table)]
    body += ["<h2>How to read this</h2><ul>", *(f"<li>{escape(note)}</li>" for note in _NOTES), "</ul>"]
    head = f'<meta charset="utf-8"><title>Burned-in text: {escape(run.name)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'


def to_markdown(run: Run) -> str:
    """Return the finding, how it was done and every table as Markdown, without pictures of X-rays."""
    results, _ = _results(run)
    parts = [f"# Burned-in text: {results['model']}", results["finding"], _how(run, results)]
    for name, make in TABLES.items():
        rows = make(results)
        if len(rows):
            cells = [list(rows.columns), ["---"] * len(rows.columns), *rows.astype(str).to_numpy().tolist()]
            lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
            parts += [f"## {_TITLES[name]}", "\n".join(lines)]
    return "\n\n".join([*parts, "## How to read this", "\n".join(f"- {note}" for note in _NOTES)]) + "\n"


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
        archive.writestr("finding.txt", results["finding"] + "\n")
    return packed.getvalue()


def write(run: Run, path: Path) -> Path:
    """Write the report in the form that the name asks for, .html, .md or .zip (of CSV), and return the file.

    Raises
    ------
    TextError
        For another ending, a folder that is not there, or an experiment without results.
    """
    forms = {
        ".html": lambda: to_html(run).encode(),
        ".md": lambda: to_markdown(run).encode(),
        ".zip": lambda: to_zip(run),
    }
    form = forms.get(path.suffix.lower())
    if form is None:
        raise TextError(f"{path.name} is no form of a report. Accepted: a name that ends in {', '.join(forms)}")
    if not path.parent.is_dir():
        raise TextError(f"the folder {path.parent} is not there: make it, or choose another")
    with replacing(path) as draft:
        draft.write_bytes(form())
    return path


def _results(run: Run) -> tuple[dict[str, Any], pd.DataFrame]:
    results, table = run.results(), run.predictions()
    if results is None or table is None or "modes" not in results:
        raise TextError(f"{run.id} has no results of a text experiment to report")
    return results, table


def _how(run: Run, results: dict[str, Any]) -> str:
    params = run.spec["params"]
    modes = ", ".join(MASK_MODES[mode].title.lower() for mode in results["mask_modes"])
    reviewed = f" Boxes of {results['n_reviewed']} X-rays were corrected by hand." if results["n_reviewed"] else ""
    return (
        f"{results['n_images']} X-rays of {Path(params['manifest']).parent.name or params['manifest']}, "
        f"{results['split'] or 'all splits'}; masked by {modes}; margin {results['margin']:g}; "
        f"{results['draws']} draws of random boxes, seed {results['seed']}.{reviewed}"
    )


# --- pictures ------------------------------------------------------------------------------------------------------


def _story(run: Run, results: dict[str, Any], table: pd.DataFrame) -> Iterator[str]:
    told = story.read(run.folder.path)
    image = _image(run, told.image_id) if told else None
    if told is None or image is None:
        return
    boxes = _boxes(run).get(told.image_id, [])
    masked = mask_text(image, boxes, results["mode"], results["margin"])
    row = table.set_index("image_id").loc[told.image_id]
    yield "<h2>One X-ray</h2>"
    yield f"<p>{escape(in_words(row, results['classes'], boxes))}</p><div class='row'>"
    yield slider_html(_small(image, _WIDE), _small(masked, _WIDE), ("as it is", "text masked"), _WIDE)
    if told.before is not None and told.after is not None:
        scale = max(render.colour_scale(one, 99.5) for one in (told.before, told.after))
        overlays = [
            render.overlay(_small(picture, _WIDE), relevance, 0.8, scale)
            for picture, relevance in ((image, told.before), (masked, told.after))
        ]
        titles = (f"for {told.target}: as it is", "text masked")
        yield slider_html(overlays[0], overlays[1], titles, _WIDE)
        yield f"</div><p>Red speaks for {escape(told.target)}, blue against it (LRP).</p>"
    else:
        yield "</div>"


def in_words(row: pd.Series, classes: Sequence[str], boxes: Sequence[TextBox]) -> str:
    """Return what masking does to one X-ray, a row of ``predictions.parquet`` by image id, in sentences."""
    texts = ", ".join(f"“{box.text}”" if box.text else f"a {box.kind}" for box in boxes)
    chances = "; ".join(f"{c} {row[f'prob_{c}_before']:.2f} → {row[f'prob_{c}_after']:.2f}" for c in classes)
    return (
        f"{row.name}, labelled {row['label'] or 'nothing'}, carries {texts}. Predicted {row['predicted_before']}, "
        f"with its text masked {row['predicted_after']}. Probabilities: {chances}. Random boxes move them by "
        f"{row['moved_control']:.3f}, masking the text by {row['moved']:.3f}."
    )


def _swayed(run: Run, results: dict[str, Any], table: pd.DataFrame) -> Iterator[str]:
    boxes = _boxes(run)
    yield "<div class='row'>"
    for _, row in table[table["moved"] > 0].sort_values("moved", ascending=False).head(_SWAYED).iterrows():
        image = _image(run, row["image_id"])
        if image is None:
            continue
        masked = mask_text(image, boxes.get(row["image_id"], []), results["mode"], results["margin"])
        words = (
            f"{row['image_id']}: {row['predicted_before']} → {row['predicted_after']}, "
            f"true {row['label'] or 'unknown'}; moved {row['moved']:.3f}"
        )
        pictures = "".join(f"<img src='{png_url(_small(p, _THUMB))}' alt=''>" for p in (image, masked))
        yield f"<figure>{pictures}<figcaption>{escape(words)}</figcaption></figure>"
    yield "</div>"


def _boxes(run: Run) -> dict[str, list[TextBox]]:
    return story.boxes_of(pd.read_parquet(run.folder.path / "boxes.parquet"))


def _image(run: Run, image_id: str) -> np.ndarray | None:
    try:
        manifest = Manifest.load(resolve_manifest(str(run.spec["params"]["manifest"])))
        return read_xray(manifest.image_path(image_id))
    except (CxrError, KeyError, OSError):
        return None  # the data have gone; the numbers stand without their pictures


def _small(image: np.ndarray, side: int) -> np.ndarray:
    scale = side / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
