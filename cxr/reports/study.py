"""A report as a file: one HTML file that needs no other, Markdown with its drawings beside, or the numbers as CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cxr.errors import RunError
from cxr.experiments.study.comparison import Report
from cxr.experiments.study.curves import to_table
from cxr.experiments.study.measures import Measure
from cxr.experiments.study.statistics import Difference, Mean
from cxr.files import replacing
from cxr.formatting import xrays
from cxr.reports.figures import endings
from cxr.reports.forms import form_for
from cxr.reports.html_page import page
from cxr.reports.study_figures import all_figures, curves, file_name, forest

BANDS = "Bands are 95 % t intervals of the mean over seeds, each epoch alone."
COLOURED = (
    "Thick bars are 95 % intervals of each comparison alone. Thin bars hold for all comparisons of the study "
    "together. A comparison whose thin bar excludes 0 is in colour."
)

Table = tuple[str, list[str], list[list[str]]]  # title, columns, rows


def write(report: Report, path: Path) -> list[Path]:
    """Write the report in the form that the name asks for and return the files.

    That is .html, .md (with its figures beside it), .csv, or the figures alone as .svg, .png or .pdf: ``NAME.pdf``
    asks for ``NAME-curves.pdf`` and a file for each measure.

    Raises
    ------
    RunError
        For another ending, or a folder that is not there.
    """
    forms: dict[str, Callable[[Report, Path], list[Path]]] = {
        ".html": lambda r, p: [_write(p, to_html(r))],
        ".md": _write_markdown,
        ".csv": lambda r, p: [_write(p, to_table(r.learning_curves).to_csv(index=False))],
    } | dict.fromkeys(endings(), _write_figures)
    form = form_for(path, forms, RunError)
    return form(report, path)


def to_html(report: Report) -> str:
    """Return one HTML file: sentences, drawings, tables and notes."""
    plan = report.plan
    return page(
        "study.html",
        title=plan.name,
        description=plan.description,
        basis=report.basis,
        verdicts=[verdict.sentence for verdict in report.verdicts],
        curves=curves(report),
        bands=BANDS,
        coloured=COLOURED,
        measures=[
            {
                "title": measure.title,
                "forest": forest(measure),
                "tables": [(columns, rows) for _, columns, rows in measure_tables(report, measure)],
            }
            for measure in report.measures
        ],
        trainings=trainings_table(report)[1:],
        sentences=report.sentences,
        notes=report.notes,
    )


def to_markdown(report: Report, pictures: Sequence[tuple[str, str]] = ()) -> str:
    """Return Markdown; ``pictures`` are (title, file) of drawings that lie beside it."""
    plan = report.plan
    lines = [f"# {plan.name}", "", plan.description, "", report.basis, "", "## Mainly in the beginning?", ""]
    lines += [f"- {verdict.sentence}" for verdict in report.verdicts] + [""]
    lines += [f"![{title}]({file})" for title, file in pictures] + ["", BANDS, "", COLOURED, ""]
    for measure in report.measures:
        lines += [f"## {measure.title[0].upper()}{measure.title[1:]}", ""]
        for table in measure_tables(report, measure):
            lines += [*_markdown_table(table), ""]
    lines += ["## Trainings", "", *_markdown_table(trainings_table(report)), ""]
    return "\n".join([*lines, "## How to read this", "", *(f"- {note}" for note in report.notes), ""])


def measure_tables(report: Report, measure: Measure) -> list[Table]:
    """Return a measure's means per recipe and its differences per pair, as text."""
    digits = 1 if measure.in_epochs else 3
    means = [
        [label, interval(mean, digits), _span(mean, digits), str(mean.n), *_never(measure, label)]
        for label, mean in measure.means.items()
    ]
    never = ["not reached by"] if measure.in_epochs else []
    differences = [
        [f"{a} − {b}", together(d, digits), _alone(d.mean, digits), str(d.mean.n), _p(d.p)]
        for (a, b), d in measure.differences.items()
    ]
    columns = ["pair", "difference [95 %, all together]", "alone [95 %]", "seeds", "p, alone"]
    tables: list[Table] = [("", ["recipe", "mean [95 %, each alone]", "smallest to largest", "seeds", *never], means)]
    return [*tables, ("", columns, differences)] if differences else tables


def trainings_table(report: Report) -> Table:
    """Return every training with its own interval on the test split, which is over X-rays or their patients."""
    rows = [
        [
            c.recipe,
            str(c.seed),
            c.state,
            c.run or "",
            c.weights[:12] or "–",
            *(xrays(*c.rests_on[split]) if split in c.rests_on else "–" for split in ("val", "test")),
            *(_test(c.test.get(key)) for key in ("accuracy", "macro_f1")),
        ]
        for c in report.learning_curves
    ]
    facts = ["recipe", "seed", "state", "run", "weights (sha256)", "validation", "test"]
    return "", [*facts, "test accuracy [over patients]", "test macro F1 [over patients]"], rows


def interval(mean: Mean, digits: int = 3) -> str:
    """Return ``0.831 [0.802, 0.860]``, ``0.831 (the same in all 3 seeds)``, or ``–`` without a value."""
    if mean.value is None:
        return "–"
    if mean.constant:
        return f"{mean.value:.{digits}f} (the same in all {mean.n} seeds)"
    if mean.low is None:
        return f"{mean.value:.{digits}f}"
    return f"{mean.value:.{digits}f} [{mean.low:.{digits}f}, {mean.high:.{digits}f}]"


def together(difference: Difference, digits: int = 3) -> str:
    """Return a difference with the interval that holds for all comparisons at once, ``+0.031 [-0.004, +0.066]``."""
    value = difference.mean.value
    if value is None or difference.together is None:
        return "–" if value is None else f"{value:+.{digits}f} (no interval)"
    low, high = difference.together
    return f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def _alone(mean: Mean, digits: int) -> str:
    return "–" if mean.low is None else f"[{mean.low:+.{digits}f}, {mean.high:+.{digits}f}]"


def _span(mean: Mean, digits: int) -> str:
    return "–" if mean.smallest is None else f"{mean.smallest:.{digits}f} to {mean.largest:.{digits}f}"


def _never(measure: Measure, label: str) -> list[str]:
    return [str(measure.not_reached.get(label, 0))] if measure.in_epochs else []


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _test(estimate: object) -> str:
    if not isinstance(estimate, dict) or estimate.get("value") is None:
        return "–"
    value, low, high = (estimate.get(key) for key in ("value", "low", "high"))
    return f"{value:.3f}" if low is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _markdown_table(table: Table) -> list[str]:
    _, columns, rows = table
    return [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows)]


def _write_markdown(report: Report, path: Path) -> list[Path]:
    titles = {"curves": "Mean curves"} | {file_name(measure): measure.title for measure in report.measures}
    files = _write_figures(report, path.with_suffix(".svg"))
    pictures = [(title, file.name) for title, file in zip(titles.values(), files, strict=True)]
    return [_write(path, to_markdown(report, pictures)), *files]


def _write_figures(report: Report, path: Path) -> list[Path]:
    """Write each figure as a file of its own, with what it rests on below it."""
    figures = all_figures(report, f"{report.plan.name}. {report.basis}")
    return [drawing.write(path.with_name(f"{path.stem}-{name}{path.suffix}")) for name, drawing in figures.items()]


def _write(path: Path, text: str) -> Path:
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")
    return path
