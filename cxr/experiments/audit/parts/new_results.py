"""Reading what several kinds of results share: entries, each with a name, a sentence and whether it holds."""

from __future__ import annotations

from cxr.experiments.audit.findings import NOTHING
from cxr.formatting import Estimate
from cxr.json_types import JsonObject
from cxr.runs import Run


def results_of(run: Run) -> JsonObject:
    """Return a finished run's results."""
    return run.results() or {}


def size_of(results: JsonObject) -> tuple[int | None, int | None]:
    """Return the numbers of X-rays and of patients that results are of."""
    return results.get("n_images"), results.get("n_patients")


def negative(figure: Estimate) -> Estimate:
    """Return an estimate with the opposite sign."""
    value, low, high = (None if end is None else -end for end in (figure["value"], figure["low"], figure["high"]))
    return {"value": value, "low": high, "high": low}


def less(figure: Estimate, amount: float) -> Estimate:
    """Return an estimate less an amount that is known."""
    if figure["value"] is None:
        return NOTHING
    ends = (None if end is None else end - amount for end in (figure["low"], figure["high"]))
    low, high = ends
    return {"value": figure["value"] - amount, "low": low, "high": high}
