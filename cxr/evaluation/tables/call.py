"""Measuring a table of predictions in one call, without a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from cxr.evaluation.results import EvaluationResults
from cxr.evaluation.tables.job import results_of
from cxr.evaluation.tables.reading import read_predictions
from cxr.evaluation.tables.settings import PredictionsParams


def evaluate_predictions(
    predictions: str | Path | pd.DataFrame, data: str | Path | None = None, **options: Any
) -> EvaluationResults:
    """Return the metrics of predictions that somebody else made, with intervals over patients.

    Parameters
    ----------
    predictions
        A CSV or Parquet file, or a table: an image, a label, and a column of probabilities or logits for each class.
    data
        A data set's name or a manifest with labels, patients and splits that the table lacks.
    **options
        The other fields of :class:`cxr.evaluation.tables.settings.PredictionsParams`.

    Returns
    -------
    What results.json of an evaluation holds; ``["splits"][name]`` is the summary of a split (``all`` without splits).

    Raises
    ------
    ManifestError
        In one line, with the row and the value, for whatever cannot be used.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"image": ["a", "b"], "label": ["flu", "none"], "flu": [0.9, 0.2], "none": [0.1, 0.8]})
    >>> evaluate_predictions(table)["splits"]["all"]["accuracy"]["value"]
    1.0
    """
    table = predictions if isinstance(predictions, pd.DataFrame) else None
    path = Path("table") if isinstance(predictions, pd.DataFrame) else Path(predictions)
    params = PredictionsParams.of({"predictions": path, "manifest": data, **options})
    return results_of(read_predictions(params, table))
