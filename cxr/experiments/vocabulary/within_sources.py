"""Whether a token goes with a class among X-rays of the same source, so that it tells more than where they are from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cxr.experiments.vocabulary.association import Strata, exact_p_of_strata, is_informative, odds_ratio_of_strata
from cxr.experiments.vocabulary.entries import Entry, WithinSources

SIGNIFICANT = 0.05


def add_within_sources(entries: Sequence[Entry], once: pd.DataFrame, facts: pd.DataFrame, n_tests: int) -> None:
    """Add ``within_sources`` to entries; nothing where the drawn X-rays have one class or come from one source.

    Parameters
    ----------
    once
        One row for each token and image: ``group, token, label, source, drawn``.
    facts
        One row for each image: ``label, source, drawn``.
    n_tests
        How many different tests of one class against the rest there are.
    """
    from scipy.stats import false_discovery_control  # takes a second to load

    drawn = facts[facts["drawn"]]
    classes, sources = sorted(set(drawn["label"])), sorted(set(drawn["source"]))
    if len(classes) < 2 or len(sources) < 2:
        return
    units = _counts(drawn, classes, sources)
    carriers = {key: _counts(rows, classes, sources) for key, rows in once[once["drawn"]].groupby(["group", "token"])}
    for entry in entries:
        present = carriers.get((entry["group"], entry["token"]), np.zeros_like(units))
        entry["within_sources"] = _within(present, units, classes, sources, n_tests)
    shown = [entry["within_sources"] for entry in entries if entry["within_sources"]["p"] is not None]
    if shown:
        for within, q in zip(shown, false_discovery_control([within["p"] or 0.0 for within in shown]), strict=True):
            within["q"] = float(q)


def _counts(rows: pd.DataFrame, classes: Sequence[str], sources: Sequence[str]) -> np.ndarray:
    """Return the rows of each source and class, (S, K)."""
    table = pd.crosstab(rows["source"], rows["label"]).reindex(index=sources, columns=classes, fill_value=0)
    return table.to_numpy()


def _within(
    present: np.ndarray, units: np.ndarray, classes: Sequence[str], sources: Sequence[str], n_tests: int
) -> WithinSources:
    """Return what carriers ``present`` (S, K) of ``units`` (S, K) tell of the classes within the sources."""
    telling: set[str] = set()
    best: tuple[float, str, Strata] | None = None
    for k, name in enumerate(classes):
        strata: Strata = tuple(
            (int(x[k]), int(n[k]), int(x.sum() - x[k]), int(n.sum() - n[k]))
            for x, n in zip(present, units, strict=True)
        )
        informative = [is_informative(stratum) for stratum in strata]
        telling |= {source for source, tells in zip(sources, informative, strict=True) if tells}
        if any(informative):
            p = exact_p_of_strata(strata)
            best = min(best or (np.inf, "", ()), (p, name, strata), key=lambda entry: entry[0])
    if best is None:
        return {"points_to": None, "p": None, "q": None, "sources": []}
    p, name, strata = best
    value, low, high = odds_ratio_of_strata(strata)
    return {
        "points_to": name,
        "p": min(1.0, p * n_tests),
        "q": None,
        "odds_ratio": value,
        "low": low,
        "high": high,
        "sources": sorted(telling),
    }


def in_words(entry: Entry) -> str:
    """Return the class that a token points to within a source, as tables show it; "" where it was not asked."""
    within = entry.get("within_sources")
    if within is None:
        return ""
    if within["points_to"] is None:
        return "cannot be told"
    low = within.get("low")
    more = "" if low else "not " if within.get("odds_ratio") is not None and (within["odds_ratio"] or 0) < 1 else ""
    unsure = " ?" if within["q"] is None or within["q"] >= SIGNIFICANT else ""
    return f"{more}{within['points_to']}{unsure}"


def sentence(entry: Entry, odds: str) -> str:
    """Return what a token of which something is said tells within a source; "" where all X-rays are of one.

    Parameters
    ----------
    odds
        The odds ratio within sources with its interval, in words.
    """
    within = entry.get("within_sources")
    if within is None:
        return ""
    if within["points_to"] is None:
        return (
            " No source has patients of two classes of whom some carry it and some do not: whether it says more than "
            "where an X-ray comes from cannot be told."
        )
    where = _listed(within["sources"])
    if within["q"] is None or within["q"] >= SIGNIFICANT:
        return (
            f" Among X-rays of the same source ({where}) this is not shown (odds ratio {odds}, q = {within['q']:.2g}): "
            "it may say no more than where an X-ray comes from."
        )
    return f" It does so among X-rays of the same source, too ({where}: odds ratio {odds}, q = {within['q']:.2g})."


def _listed(sources: Sequence[str]) -> str:
    names = [name or "not stated" for name in sources]
    return ", ".join(names) if len(names) <= 4 else f"{len(names)} sources"


def flat_columns(entry: Mapping[str, object]) -> dict[str, object]:
    """Return an entry's figures within sources as columns of a table."""
    within = entry.get("within_sources")
    if not isinstance(within, dict):
        return {}
    columns = {
        f"{name} within sources": within.get(name) for name in ("points_to", "p", "q", "odds_ratio", "low", "high")
    }
    return {**columns, "sources that tell": ", ".join(within["sources"])}
