"""Slices in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cxr.evaluation.slices.results import Slice, SliceResults
from cxr.formatting import Estimate, p_value, xrays

SIGNIFICANT = 0.05


def where_in_words(where: Mapping[str, str | None]) -> str:
    """Return ``source a and view PA``; ``no value for sex`` where it is not known."""
    return " and ".join(f"no value for {name}" if group is None else f"{name} {group}" for name, group in where.items())


def with_interval(estimate: Estimate, figure: str, further: str = "") -> str:
    """Return ``62.0 % (55.0 to 69.0; further)``, or for an AUC ``0.812 (0.750 to 0.860; further)``."""
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    if value is None:
        return f"not known ({further})" if further else "not known"
    scale, digits, unit = (100, 1, " %") if figure == "accuracy" else (1, 3, "")
    limits = "" if low is None or high is None else f"{scale * low:.{digits}f} to {scale * high:.{digits}f}"
    inside = "; ".join(part for part in (limits, further) if part)
    return f"{scale * value:.{digits}f}{unit}" + (f" ({inside})" if inside else "")


def sentence_of(entry: Slice, figure: str) -> str:
    """Return what a slice shows, in one sentence or a few."""
    where, of = where_in_words(entry["where"]), xrays(entry["n"], entry["n_patients"])
    if entry["too_small"]:
        return f"X-rays with {where} ({of}) are too few to compare: {entry['too_small']}."
    over = f" over {', '.join(entry['findings'])}" if entry["findings"] else ""
    text = f"In X-rays with {where} the {figure}{over} is {with_interval(entry['figure'], figure, of)}"
    text += f", {_apart(entry['difference'], figure)}."
    if entry["only_class"]:
        text += f" All of them are {entry['only_class']}, so class and slice cannot be told apart."
    return text


def _apart(difference: Estimate, figure: str) -> str:
    value, low, high = difference["value"], difference["low"], difference["high"]
    if value is None:
        return "the difference to the rest is not known"
    scale, digits, unit = (100, 1, " points") if figure == "accuracy" else (1, 3, "")
    sign, word = (-1, "lower") if value < 0 else (1, "higher")
    ends = sorted(sign * scale * end for end in (low, high) if end is not None)
    limits = f" ({ends[0]:z.{digits}f} to {ends[1]:z.{digits}f})" if ends else ""
    if value == 0:
        return f"as in the rest (difference {ends[0]:z.{digits}f} to {ends[1]:z.{digits}f}{unit})"
    return f"{abs(scale * value):.{digits}f}{unit} {word} than in the rest{limits}"


def stands_out(entry: Slice) -> bool:
    """Return whether a slice differs from the rest, corrected for all that were compared."""
    p = entry["difference"]["p_holm"]
    return p is not None and p < SIGNIFICANT


def conclusions(results: SliceResults) -> list[str]:
    """Return what stands out, the worst first; or that nothing does."""
    compared = [entry for entry in results["slices"] if not entry["too_small"]]
    out = _without_rests(_ranked([entry for entry in compared if stands_out(entry)]))
    pairs = [entry for entry in results["pairs"] if stands_out(entry)]
    n_tests = results.get("tests", len(compared) + results["pairs_compared"])
    lines = [f"{entry['sentence']} {_corrected(entry, n_tests)}" for entry in (*out, *pairs[:3])]
    if lines:
        return lines
    if not compared and not results["pairs_compared"]:
        return ["Nothing can be compared: no slice has enough patients on both sides."]
    looked = f"{len(compared):,} slices" + (
        f" and {results['pairs_compared']:,} pairs of them" if results["pairs_compared"] else ""
    )
    return [
        f"Nothing stands out among {looked}. That does not show that the network does equally well everywhere: the "
        "intervals say how large a difference could be."
    ]


def _ranked(entries: Sequence[Slice]) -> list[Slice]:
    return sorted(entries, key=lambda entry: entry["difference"]["value"] or 0.0)


def _without_rests(entries: Sequence[Slice]) -> list[Slice]:
    """Leave out what is the rest of a slice before it: of two groups of a column the first says it all."""
    kept: list[Slice] = []
    for entry in entries:
        is_rest = any(
            set(entry["where"]) == set(other["where"])
            and (entry["rest_n"], entry["rest"]) == (other["n"], other["figure"])
            for other in kept
        )
        if not is_rest:
            kept.append(entry)
    return kept


def _corrected(entry: Slice, n: int) -> str:
    return f"p = {p_value(entry['difference']['p_holm'])}, corrected for {n} comparison{'' if n == 1 else 's'} (Holm)."
