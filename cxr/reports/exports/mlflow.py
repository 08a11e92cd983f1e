"""A run in MLflow: in a folder, or on a server."""

from __future__ import annotations

import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

from cxr.errors import RunError, require
from cxr.reports.exports.tracked import Tracked, tracked
from cxr.runs import Run

EXPERIMENT, TAG = "cxr", "cxr.run"
_AT_ONCE = {"params": 100, "metrics": 1000}  # as many as MLflow takes in one call
_LONGEST = 6000  # letters of a value


def to_mlflow(run: Run, uri: str) -> str:
    """Log settings, curves, figures, drawings and the network of a run, and return the id that MLflow gave it.

    MLflow is told to report nothing to its makers, as every library is (:data:`cxr.TOLD_TO_SEND_NOTHING`).

    Parameters
    ----------
    uri
        Where MLflow keeps runs: a folder, ``file:FOLDER``, or the address of a server.

    Raises
    ------
    MissingPackageError
        Without the package ``mlflow``.
    RunError
        For a run without figures, one that is there already, or a place that cannot be written to.
    """
    require("mlflow", extra="tracking")
    from mlflow.exceptions import MlflowException

    content = tracked(run)
    try:
        with redirect_stdout(sys.stderr):  # MLflow prints the run's address, which is no part of a command's answer
            return _log(content, uri if ":" in uri else Path(uri).absolute().as_uri())
    except (MlflowException, OSError) as error:
        raise RunError(f"MLflow at {uri}: {' '.join(str(error).split())[:300]}") from None


def _log(content: Tracked, uri: str) -> str:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    client, run = MlflowClient(tracking_uri=uri), content.run
    known = client.get_experiment_by_name(EXPERIMENT)
    experiment = client.create_experiment(EXPERIMENT) if known is None else known.experiment_id
    there = client.search_runs([experiment], f"tags.`{TAG}` = '{run.id}'", max_results=1)
    if there:
        raise RunError(f"{run.id} is in MLflow at {uri} already, as {there[0].info.run_id}: delete it there first")
    status = run.status()
    started = int(1000 * (status["started"] or run.created))
    made = client.create_run(experiment, start_time=started, run_name=run.name).info.run_id
    tags = [RunTag(TAG, run.id), RunTag("cxr.kind", run.kind), RunTag("cxr.manifest_hash", run.spec["manifest_hash"])]
    client.log_batch(made, tags=[tag for tag in tags if tag.value])
    params = [Param(name, value[:_LONGEST]) for name, value in content.settings.items()]
    for first in range(0, len(params), _AT_ONCE["params"]):
        client.log_batch(made, params=params[first : first + _AT_ONCE["params"]])
    ended = int(1000 * (status["ended"] or run.created))
    metrics = [Metric(point.name, point.value, int(1000 * point.time), point.step) for point in content.points]
    metrics += [Metric(name, value, ended, 0) for name, value in content.figures.items()]
    for first in range(0, len(metrics), _AT_ONCE["metrics"]):
        client.log_batch(made, metrics=metrics[first : first + _AT_ONCE["metrics"]])
    with tempfile.TemporaryDirectory() as folder:
        for name, drawing in content.drawings.items():
            file = Path(folder) / f"{name.replace('/', '_')}.png"
            file.write_bytes(drawing.to_bytes("png"))
            client.log_artifact(made, str(file), "figures")
    for path in content.files:
        client.log_artifact(made, str(path), "model" if path.suffix == ".safetensors" else None)
    client.set_terminated(made, end_time=ended)
    return str(made)
