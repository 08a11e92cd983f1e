"""Sections of a run's report that say what is known of data, training, text, trust, limits and versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from cxr.evaluation.provenance import in_words, provenance_of
from cxr.experiments.audit.results import network_audit_results
from cxr.experiments.masking.settings import is_of_whole_split
from cxr.experiments.masking.shapes import masking_results
from cxr.json_types import JsonObject
from cxr.models.card import LIMITS
from cxr.models.checksums import sha256_of
from cxr.networks import network_file
from cxr.reports.audit.contents import PART_COLUMNS, contents_of
from cxr.reports.checklist.filling import fill
from cxr.reports.checklist.subject import Subject
from cxr.reports.checklist.topics import TOPICS
from cxr.reports.checklist.write import COLUMNS, parts_of
from cxr.reports.identities import Identities
from cxr.reports.masking import notes, rests_on, titles
from cxr.reports.masking_figures import changed
from cxr.reports.masking_tables import TABLES
from cxr.reports.run.choices import Choices
from cxr.reports.run.document import Block, Bullets, Figure, Section, Table, Text
from cxr.reports.run.figures import training_curves
from cxr.runs import Run
from cxr.runs.metrics.metrics_table import MetricsTable

_DATA = (
    "sources", "labels", "sizes", "partitions", "disjoint", "demographics", "acquisition", "missing", "exclusions",
    "subsets", "differences", "quality",
)  # fmt: skip
_RECIPE = ("model", "initial_weights", "preprocessing", "training", "imbalance", "final_model", "ensemble")
_FILES = ("spec.json", "results.json", "predictions.parquet", "metrics.jsonl")


def _said(subject: Subject, topics: Sequence[str]) -> Table:
    said = {topic.replace("_", " "): TOPICS[topic](subject) for topic in topics}
    return Table(("topic", "what is known"), [[topic, text or "not recorded"] for topic, text in said.items()])


def data_card(subject: Subject, choices: Choices, identities: Identities) -> Section:
    """Return what the data are: sources, labels, splits, patients, what is missing and what was left out."""
    told = [*subject.facts.get("notes", []), *subject.facts.get("split_notes", [])]
    return Section("Data card", [_said(subject, _DATA), *([Bullets(told)] if told else [])])


def recipe(subject: Subject, choices: Choices, identities: Identities) -> Section | None:
    """Return how the network was made, and every value of its recipe; None without a network."""
    if subject.card is None:
        return None
    blocks: list[Block] = [_said(subject, _RECIPE)]
    values = list(flat(subject.card.recipe))
    if values:
        blocks.append(_two_abreast(values, "All values of the recipe"))
    return Section("Recipe", blocks)


def flat(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the values of nested settings with their names, such as ``stages.0.epochs``."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from flat(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from flat(item, f"{name}.{index}")
    elif name:
        listed = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        yield name, listed


def _two_abreast(rows: Sequence[Sequence[str]], title: str) -> Table:
    """Return rows of two short cells as a table of half as many rows."""
    half = (len(rows) + 1) // 2
    right = [*rows[half:], ("", "")]
    return Table(("value", "setting") * 2, [[*rows[k], *right[k]] for k in range(half)], title)


def curves(subject: Subject, choices: Choices, identities: Identities) -> Section | None:
    """Return the curves of the network's training; None where it was trained elsewhere."""
    if subject.training is None:
        return None
    drawings = training_curves(MetricsTable(subject.training.folder).refresh())
    return Section("Curves of the training", [Figure(drawing) for drawing in drawings]) if drawings else None


def newest_experiment(subject: Subject) -> tuple[Run | None, bool]:
    """Return the newest text experiment on the network and a whole split, and whether it is on the report's data.

    One on the same data comes before newer ones on others.
    """
    of_text = (run for run in subject.on_network if run.kind == "text-experiment")
    runs = [run for run in of_text if is_of_whole_split(run.spec["params"])]
    manifest = subject.manifest.path if subject.manifest is not None else None
    for run in runs:
        if manifest is not None and Path(str(run.spec["params"].get("manifest"))).resolve() == manifest.resolve():
            return run, True
    return (runs[0] if runs else None), False


def text_experiment(subject: Subject, choices: Choices, identities: Identities) -> Section:
    """Return the newest experiment on burned-in text of the network and a whole split, or how to do one."""
    title = "Burned-in text"
    run, is_on_these = newest_experiment(subject)
    results = masking_results(run) if run is not None else None
    if run is None or results is None:
        if subject.card is None:
            return Section(title, [Text("Not examined: these predictions come without a network.")])
        command = f"cxr text experiment {subject.network_ref}"
        return Section(title, [Text(f"Not examined. `{command}` masks it and measures what changes.")])
    others = [] if is_on_these else [Text("These are other X-rays than those of the figures above.")]
    basis = Text(f"{in_words(provenance_of(run))} Run {run.id}.", small=True)
    blocks: list[Block] = [*others, Text(results["finding"]), basis, Figure(changed(results))]
    for name, make in TABLES.items():
        rows = make(results)
        if len(rows):
            blocks.append(Table(list(rows.columns), rows.astype(str).to_numpy().tolist(), titles(results)[name]))
            blocks += [Text(line, small=True) for line in rests_on(name, results)]
    return Section(title, [*blocks, Bullets(notes(results))])


def audit(subject: Subject, choices: Choices, identities: Identities) -> Section:
    """Return the findings of the newest audit of the network, or how to do one."""
    title = "Can this be trusted?"
    runs = (run for run in (*subject.on_network, *subject.on_data) if run.kind == "audit-network")
    run = next((run for run in runs if _audits(network_audit_results(run)["subject"]["network"], subject)), None)
    if run is None:
        return Section(
            title, [Text(f"Not audited. `cxr audit {subject.network_ref}` looks at what speaks against it.")]
        )
    contents = contents_of(run)
    blocks: list[Block] = [Text(contents.finding), Text(f"{contents.how} Run {run.id}.", small=True)]
    rows = [[row.weight, row.sentence, row.figure, row.of, row.not_shown, row.next_step] for row in contents.rows]
    blocks.append(Table(("weight", "finding", "figure", "of", "not shown", "next"), rows))
    if contents.looked:
        blocks += [Text("Looked at, nothing shown:"), Bullets(contents.looked)]
    parts = [list(part[:3]) for part in contents.parts]
    return Section(title, [*blocks, Table(PART_COLUMNS[:3], parts, "Parts"), Bullets(contents.notes)])


def _audits(network: str, subject: Subject) -> bool:
    return bool(network) and subject.card is not None and network_file(network) == network_file(subject.network_ref)


def limits(subject: Subject, choices: Choices, identities: Identities) -> Section:
    """Return what the figures do not show."""
    card = subject.card
    said = [card.limits if card is not None else LIMITS, *subject.results.get("notes", [])]
    makers: tuple[Callable[[Subject], str], ...] = (TOPICS["limitations"], TOPICS["failures"])
    said += [text for make in makers if (text := make(subject))]
    told = [text for k, text in enumerate(said) if not any(text in later for later in said[k + 1 :])]
    return Section("Limits", [Bullets(told)])


def versions(subject: Subject, choices: Choices, identities: Identities) -> Section:
    """Return ids, versions of software, and the hashes of data, weights and files."""
    run, record = subject.run, provenance_of(subject.run)
    rows = [["run", run.id], ["kind", run.kind]]
    rows += [["training", subject.training.id]] if subject.training is not None else []
    rows += [["seed", str(seed)] for seed in [_seed(run.spec["params"])] if seed is not None]
    rows += [[name, version] for name, version in run.spec["versions"].items()]
    manifest_hash = record.get("manifest_hash") or run.spec["manifest_hash"]
    rows += [["data", record.get("data", "")], ["manifest hash", manifest_hash]]
    rows += [["split hash", subject.manifest.split_hash()]] if subject.manifest is not None else []
    rows += [["weights, sha256", record["weights_sha256"]]] if record.get("weights_sha256") else []
    files = [run.folder.path / name for name in _FILES]
    rows += [[f"{file.name}, sha256", sha256_of(Path(file))] for file in files if file.is_file()]
    return Section("Versions and hashes", [Table(("", "value"), [[name, value or "–"] for name, value in rows])])


def _seed(params: JsonObject) -> object:
    made = params.get("recipe")
    return made.get("seed") if isinstance(made, dict) else params.get("seed")


def checklists(subject: Subject, choices: Choices, identities: Identities) -> Section:
    """Return the reporting checklists, filled in."""
    filled = fill(subject.run)
    tables = [Table(COLUMNS, rows, name) for name, rows in parts_of(filled)]
    return Section("Checklists", [Text(filled["finding"]), *tables, Bullets(filled["notes"])])
