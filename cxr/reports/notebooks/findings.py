"""What pages show, each as a thing that knows its number and the Python calls that make the number again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cxr import __version__
from cxr.errors import RunError, wrong_use
from cxr.evaluation.provenance import in_words, provenance_of
from cxr.evaluation.results import Summary
from cxr.experiments.audit.findings import written
from cxr.experiments.audit.results import KIND as AUDIT
from cxr.experiments.audit.results import network_audit_results
from cxr.experiments.masking.shapes import masking_results
from cxr.explain.heatmap import Method
from cxr.files import replacing
from cxr.models.card import MULTI_LABEL, SINGLE_LABEL
from cxr.paths import runs_root, weights_root
from cxr.reports.checklist.subject import MEASURED_KINDS
from cxr.reports.forms import form_for
from cxr.reports.notebooks.notebook import Cell, code, literal, notebook_bytes, words
from cxr.runs import Run


class NotebookFinding(Protocol):
    """A finding that can be opened as a notebook."""

    @property
    def command(self) -> Sequence[str]:
        """The words of the command that does the same, as its page shows them."""
        ...

    def cells(self) -> list[Cell]:
        """Return the cells of its notebook; the last code cell compares its number with that of the page."""
        ...


@dataclass(frozen=True)
class ExplainedXray:
    """A heatmap of one X-ray of a data set.

    Attributes
    ----------
    manifest
        The file of the data set's table.
    logit
        The logit of ``target``, as the page shows it.
    """

    command: Sequence[str]
    network_ref: str
    manifest: Path
    image_id: str
    target: str
    method: Method
    logit: float

    def cells(self) -> list[Cell]:
        """Return the cells of its notebook."""
        method = self.method
        return [
            _title(f"Heatmap of {self.image_id} for {self.target}", self.command),
            _setup(
                "from PIL import Image",
                "",
                "from cxr.data import Manifest, read_xray",
                "from cxr.data.images.resize import fit_square",
                "from cxr.explain import legend, render",
                "from cxr.explain.heatmap import Method, heatmaps_of",
                "from cxr.networks import load_network",
            ),
            words("The network, and the X-ray at the size that the network takes."),
            code(
                f"network, description = load_network({self.network_ref!r})",
                f"manifest = Manifest.load({str(self.manifest)!r})",
                f"image_id, target = {self.image_id!r}, {self.target!r}",
                "xray = read_xray(manifest.image_path(image_id))",
                "picture = fit_square(xray, network.card.size)",
                "print(description)",
            ),
            words("The relevance of each pixel for the logit of the class."),
            code(
                f"method = Method.of({method.composite!r}, bias={method.bias or None!r}, "
                f"precision={method.precision!r}, options={dict(method.options)!r})",
                "result = method.explain(network, picture[None], target)",
                "((heatmap,),) = heatmaps_of(result)",
                "print(legend.title(heatmap))",
                "legend.ledger(heatmap)",
            ),
            code("Image.fromarray(render.figure(xray, heatmap.relevance, legend=legend.lines(heatmap)))"),
            *_compared("heatmap.logit", "logit", self.logit),
        ]


@dataclass(frozen=True)
class MeasuredSplit:
    """The figures of a run on a split: its accuracy, or the mean AUC of findings."""

    command: Sequence[str]
    run: Run
    split: str
    summary: Summary

    def cells(self) -> list[Cell]:
        """Return the cells of its notebook."""
        several = self.summary.get("task") == MULTI_LABEL
        key, name = ("auc", "mean AUC") if several else ("accuracy", "accuracy")
        errors = () if several else (code('rows[rows["predicted"] != rows["label"]]'),)
        return [
            _title(f"{name} of {self.run.name} on {self.split}".capitalize(), self.command, self.run),
            _setup(
                "import pandas as pd",
                "",
                "from cxr.evaluation.seen import measured_rows",
                "from cxr.evaluation.summary import summarise_predictions",
                "from cxr.runs import get_run",
            ),
            words("What the network predicted, without X-rays that are left out of the figures."),
            code(
                f"run = get_run({self.run.id!r})",
                f"classes = {list(self.summary['classes'])!r}",
                "table = measured_rows(run.predictions(), run.results())",
                f'rows = table[table["split"] == {self.split!r}]',
                f"summary = summarise_predictions(rows, classes, {self.summary.get('task', SINGLE_LABEL)!r})",
                f'summary["n"], summary[{key!r}]',
            ),
            words("Figures by class, each with its interval."),
            code('pd.DataFrame(summary["per_class"]).T'),
            *errors,
            *_compared(f'summary[{key!r}]["value"]', name, self.summary["auc" if several else "accuracy"]["value"]),
        ]


@dataclass(frozen=True)
class TextFinding:
    """The result of masking burned-in text on a whole set."""

    command: Sequence[str]
    run: Run

    def cells(self) -> list[Cell]:
        """Return the cells of its notebook."""
        results = masking_results(self.run)
        if results is None:
            raise RunError(f"run {self.run.id} has no results of a text experiment")
        if results.get("task") == MULTI_LABEL:
            leading = next(iter(results["modes"].values()))
            number = 'table["moved"].mean()'
            compared = _compared(number, "mean change of probability", leading["moved"]["tokens"]["value"])
        else:
            number = '(table["predicted_before"] != table["predicted_after"]).sum()'
            compared = _compared(number, "predictions that change", results["n_changed"])
        return [
            _title(f"Burned-in text: {self.run.name}", self.command, self.run),
            _setup(
                "from cxr.experiments.masking.shapes import masking_results",
                "from cxr.reports.masking_tables import TABLES",
                "from cxr.runs import get_run",
            ),
            code(
                f"run = get_run({self.run.id!r})",
                "results, table = masking_results(run), run.predictions()",
                'print(results["finding"])',
            ),
            words("Every table of the page."),
            code('tables = {name: make(results) for name, make in TABLES.items()}\ntables["accuracy"]'),
            code('tables["modes"]'),
            words("The X-rays whose probabilities masking the text moves most."),
            code('table.sort_values("moved", ascending=False).head(10)'),
            *compared,
        ]


@dataclass(frozen=True)
class AuditFinding:
    """A finding of an audit, by its number from 1, and the X-rays behind it."""

    command: Sequence[str]
    run: Run
    number: int

    def cells(self) -> list[Cell]:
        """Return the cells of its notebook."""
        results = network_audit_results(self.run)
        finding = results["findings"][self.number - 1]
        figure = written(finding)
        said = [f"{finding['figure_name']}: {figure}"] if figure else []
        said += [f"Not shown: {finding['not_shown']}"] if finding["not_shown"] else []
        said += [f"Next: {finding['next_step']}"] if finding["next_step"] else []
        said += [literal(shlex.join(finding["command"]))] if finding["command"] else []
        manifest = results["subject"]["manifest"]
        pictures = [
            words("X-rays behind it."),
            code(
                f"manifest = Manifest.load({manifest!r})",
                'ids = [image_id for image_id in finding["images"] if image_id in set(manifest.ids)]',
                "pictures = [fit_square(read_xray(manifest.image_path(image_id)), 224) for image_id in ids[:6]]",
                "Image.fromarray(np.concatenate(pictures, axis=1)) if pictures else ids",
            ),
            code('manifest.table[manifest.table["image_id"].isin(ids)]'),
        ]
        value = finding["figure"]["value"]
        return [
            _title(f"Finding {self.number} ({finding['weight']})", self.command, self.run),
            words(finding["sentence"], *said),
            _setup(
                "import numpy as np",
                "from PIL import Image",
                "",
                "from cxr.data import Manifest, read_xray",
                "from cxr.data.images.resize import fit_square",
                "from cxr.experiments.audit.results import network_audit_results",
                "from cxr.runs import get_run",
            ),
            code(
                f"run = get_run({self.run.id!r})",
                f'finding = network_audit_results(run)["findings"][{self.number - 1}]',
                'finding["sentence"], finding["figure"]',
            ),
            *(pictures if manifest and finding["images"] else []),
            *([] if value is None else _compared('finding["figure"]["value"]', finding["figure_name"], value)),
        ]


def finding_of(run: Run, split: str = "", number: int = 1) -> NotebookFinding:
    """Return what a finished run found, for a notebook.

    Parameters
    ----------
    split
        Of a training or an evaluation; by default the test split, else the last that was measured.
    number
        Of an audit's findings, from 1.

    Raises
    ------
    RunError
        For a run of another kind or without results, or a split or number that it does not have.
    """
    command = ["cxr", "report", run.id, "--out", "finding.ipynb"]
    results = run.results()
    if results is None:
        raise RunError(f"{run.id} has no results yet: wait until it has finished")
    if run.kind == "text-experiment":
        return TextFinding(command, run)
    if run.kind == AUDIT:
        n = len(network_audit_results(run)["findings"])
        if not 1 <= number <= n:
            raise wrong_use(RunError(f"finding {number} does not exist. Accepted: 1 to {n}"))
        return AuditFinding([*command, "--finding", str(number)], run, number)
    if run.kind not in MEASURED_KINDS:
        kinds = "a training, an evaluation, a table of predictions, a text experiment or an audit"
        raise RunError(f"{run.id} is a run of kind {run.kind}. Accepted: {kinds}")
    splits = results["splits"]
    split = split or ("test" if "test" in splits else list(splits)[-1])
    if split not in splits:
        raise wrong_use(RunError(f"unknown split {split!r}. Available: {', '.join(splits)}"))
    return MeasuredSplit([*command, "--split", split], run, split, splits[split])


def write(finding: NotebookFinding, path: Path) -> Path:
    """Write a finding as a notebook and return the file; the name must end in ``.ipynb``."""
    form_for(path, {".ipynb": True}, RunError)
    with replacing(path) as draft:
        draft.write_bytes(notebook_bytes(finding.cells()))
    return path


def _title(title: str, command: Sequence[str], run: Run | None = None) -> Cell:
    basis = [in_words(provenance_of(run))] if run is not None else []
    same = f"The same on the command line: {literal(shlex.join(command))}"
    return words(f"# {title}", *basis, same, f"Written by cxr {__version__}. For research, not for diagnosis.")


def _setup(*imports: str) -> Cell:
    """Return the cell that finds runs and weights where they were when the notebook was written."""
    return code(
        "import os",
        *imports[: imports.index("") if "" in imports else 0],
        "",
        f'os.environ.setdefault("CXR_RUNS", {str(runs_root())!r})',
        f'os.environ.setdefault("CXR_WEIGHTS", {str(weights_root())!r})',
        "",
        *imports[imports.index("") + 1 if "" in imports else 0 :],
    )


def _compared(expression: str, name: str, shown: float | None) -> list[Cell]:
    """Return the cells that compare the number with that of the page."""
    if shown is None:
        return []
    return [
        words("The number that the page showed. Another one means that network, data or version have changed."),
        code(
            f"shown, computed = {float(shown)!r}, float({expression})",
            f"print({name!r}, computed, 'as shown' if abs(computed - shown) <= 1e-3 * max(1, abs(shown)) "
            "else f'but the page showed {shown}')",
        ),
    ]
