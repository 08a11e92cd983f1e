"""What the data say of an X-ray, as a network's targets: its label, or findings that are there, absent or unknown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from cxr.data import Manifest
from cxr.data.importers.listing import known_class
from cxr.errors import ManifestError, unknown, wrong_use
from cxr.models.card import MULTI_LABEL, SINGLE_LABEL, ModelCard

NO_FINDING = "No Finding"
UNCERTAIN = "?"  # before the name of a finding: it may be there or not


def finding_names(findings: str) -> list[str]:
    """Return the names in ``"Mass|?Nodule"``, those in doubt with their question mark."""
    return [name.strip() for name in findings.split("|") if name.strip()]


def is_normal(name: str) -> bool:
    """Return whether a label or finding says that there is none: ``normal``, ``No Finding`` and their spellings."""
    return known_class(name) == "normal"


def finding_targets(
    table: pd.DataFrame, classes: Sequence[str], annotated: Mapping[str, Sequence[str]] | None = None
) -> np.ndarray:
    """Return targets (N, K) float32 of rows of a manifest: 1 where a finding is there, 0 absent, NaN unknown.

    A finding that an X-ray's ``findings`` do not name is absent if its source is one that labels this finding, else
    unknown. Where no findings are stated, the label alone counts: the class it names is there and the others are
    unknown, and a normal X-ray has none of them. A row that says nothing is unknown in everything.

    Parameters
    ----------
    annotated
        ``{source: findings that it labels}``; for other sources those that any of its rows names (all of them, if
        its rows name nothing but that there is no finding).
    """
    vocabulary = _named_by_source(table) | {source: set(names) for source, names in (annotated or {}).items()}
    targets = np.full((len(table), len(classes)), np.nan, np.float32)
    rows = zip(table["findings"], table["label"], table["source"], strict=True)
    for row, (findings, label, source) in enumerate(rows):
        names = finding_names(findings)
        if not names:
            targets[row] = _from_label(label, classes)
            continue
        named = vocabulary.get(source) or set(classes)
        for k, name in enumerate(classes):
            if name in names or (is_normal(name) and any(map(is_normal, names))):
                targets[row, k] = 1
            elif f"{UNCERTAIN}{name}" not in names and (name in named or is_normal(name)):
                targets[row, k] = 0
    return targets


def usable(
    table: pd.DataFrame,
    classes: Sequence[str],
    task: str = SINGLE_LABEL,
    annotated: Mapping[str, Sequence[str]] | None = None,
) -> pd.Series:
    """Return for each row whether the data say anything of it that a network with these classes can be measured by."""
    if task != MULTI_LABEL:
        return table["label"].isin(list(classes))
    return pd.Series(np.isfinite(finding_targets(table, classes, annotated)).any(1), index=table.index, dtype=bool)


def likely_classes(labels: Iterable[str], classes: Sequence[str]) -> dict[str, str]:
    """Return ``{label: class}`` for labels that are no class but differ from one by their spelling alone."""
    by_spelling = {_spelling(name): name for name in reversed(classes)}
    unknown_labels = sorted({label.removeprefix(UNCERTAIN) for label in labels} - set(classes))
    pairs = {label: by_spelling.get(_spelling(label)) for label in unknown_labels if _spelling(label)}
    return {label: name for label, name in pairs.items() if name is not None}


def renamed(manifest: Manifest, aliases: Mapping[str, str], classes: Sequence[str], task: str) -> Manifest:
    """Return the manifest with labels and findings called as the network calls them.

    Raises
    ------
    ManifestError
        If an alias leads to no class of the network, or from a name that is not in the data.
    """
    if not aliases:
        return manifest
    allowed = [*classes, *([NO_FINDING, "normal"] if task == MULTI_LABEL else [])]
    findings = {name.removeprefix(UNCERTAIN) for text in manifest.table["findings"] for name in finding_names(text)}
    present = set(manifest.classes) | (findings if task == MULTI_LABEL else set())
    for name, meaning in aliases.items():
        if meaning not in allowed:
            raise wrong_use(
                ManifestError(unknown(f"class of the network in alias {name}={meaning}:", meaning, allowed))
            )
        if name not in present:
            raise wrong_use(
                ManifestError(unknown(f"label of the data in alias {name}={meaning}:", name, sorted(present)))
            )
    table = manifest.table.assign(
        label=[aliases.get(label, label) for label in manifest.table["label"]],
        findings=[_renamed_findings(text, aliases) for text in manifest.table["findings"]],
    )
    return manifest.with_table(table)


def _renamed_findings(text: str, aliases: Mapping[str, str]) -> str:
    if not any(name in text for name in aliases):
        return text
    marked = [(name.startswith(UNCERTAIN), name.removeprefix(UNCERTAIN)) for name in finding_names(text)]
    return "|".join(f"{UNCERTAIN * doubted}{aliases.get(name, name)}" for doubted, name in marked)


def _named_by_source(table: pd.DataFrame) -> dict[str, set[str]]:
    """Return ``{source: findings that any of its rows names}``."""
    named: dict[str, set[str]] = {}
    for source, findings in set(zip(table["source"], table["findings"], strict=True)):
        names = {name.removeprefix(UNCERTAIN) for name in finding_names(findings)}
        named.setdefault(source, set()).update(name for name in names if not is_normal(name))
    return named


def _from_label(label: str, classes: Sequence[str]) -> np.ndarray:
    if label and is_normal(label):
        return np.array([float(is_normal(name)) for name in classes], np.float32)
    return np.array([1 if label == name else np.nan for name in classes], np.float32)


def _spelling(name: str) -> str:
    """Return what the spellings of one name share, such as ``COVID-19`` and ``covid``."""
    return known_class(name) or "".join(letter for letter in name.casefold() if letter.isalnum())


def annotated_in_training(card: ModelCard) -> dict[str, list[str]]:
    """Return ``{source: findings that it labels}`` as the recipe of a network's training states it."""
    stages = [stage for stage in card.recipe.get("stages") or [] if isinstance(stage, dict)]
    return {source: list(names) for stage in stages for source, names in (stage.get("annotated") or {}).items()}
