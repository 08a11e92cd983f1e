"""The job ``evaluate-predictions``: a table of somebody else's predictions, measured like those of a network."""

from __future__ import annotations

from pathlib import Path

from cxr.evaluation.job import results
from cxr.evaluation.provenance import provenance_of_table, with_opening
from cxr.evaluation.results import EvaluationResults
from cxr.evaluation.seen import NOTHING_KNOWN
from cxr.evaluation.tables.reading import Predictions, read_predictions
from cxr.evaluation.tables.settings import PredictionsParams
from cxr.runs.folder import RunFolder
from cxr.runs.kinds import Progress

WITHOUT_NETWORK = (
    "Not here, because they need the network: heatmaps, masked and stamped text, and the comparison with the X-rays "
    "that it was trained on."
)


def evaluate_table(folder: RunFolder, params: PredictionsParams, *, progress: Progress | None = None) -> None:
    """Measure a table of predictions; writes predictions.parquet and results.json.

    Raises
    ------
    CxrError
        If the table cannot be used.
    """
    tell = progress or (lambda fraction, message="": None)
    tell(0.0, "reading the table")
    predictions = read_predictions(params)
    folder.write_predictions(predictions.table)
    tell(0.3, "computing the metrics")
    summary = results_of(predictions)
    summary["network"] = f"predictions of {Path(params.predictions).name}"
    rests_on = provenance_of_table(params.predictions, params.data)
    if params.data is not None:
        own = set(params.data.ids)
        ids = [image_id for image_id in predictions.table["image_id"] if image_id in own]
        rests_on = with_opening(rests_on, params.data, ids, folder.id, "evaluate-predictions")
    summary["provenance"] = rests_on
    if params.aliases:
        summary["aliases"] = dict(params.aliases)
    folder.write_json("results.json", summary)
    tell(1.0, "finished")


def results_of(predictions: Predictions) -> EvaluationResults:
    """Return what results.json holds of predictions: the metrics by split, and what was measured and left out."""
    record = results(predictions.table, predictions, predictions.selection, NOTHING_KNOWN)
    if predictions.not_in_data:
        record["left_out"]["by_reason"]["not-in-data"] = predictions.not_in_data
        record["left_out"]["n"] += predictions.not_in_data
    record["notes"] = [*predictions.notes, *record["notes"], WITHOUT_NETWORK]
    return record
