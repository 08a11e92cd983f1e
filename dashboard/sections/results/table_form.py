"""The form that measures a table of predictions that somebody else made, by its path or uploaded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from cxr.data.library import list_data_sets
from cxr.errors import CxrError
from cxr.evaluation.tables.settings import PredictionsParams
from cxr.files import replacing
from cxr.paths import cache_root
from cxr.runs import Slurm

from widgets import address, page, pick, where
from widgets.access import acts
from widgets.run_state import start

_KIND = "evaluate-predictions"
_NO_DATA = "none"
_SCALES = ("auto", "probabilities", "logits")
_ENDINGS = ("csv", "tsv", "gz", "zip", "parquet")
_TASKS = ("auto", "single-label", "multi-label")
FORMAT = (
    "CSV or Parquet with one row for each X-ray: a column `image`, a column `label` (findings joined by `|`), and a "
    "column of probabilities or logits for each class, named after it. A column `patient_id` makes patients the units "
    "of the intervals; without it each image counts as a patient of its own. Other columns are kept."
)


def show() -> None:
    """Show the form; its run is shown on this page when it is started."""
    with st.expander("Measure somebody else's predictions", icon=":material/table:"):
        st.caption(FORMAT)
        for key, default in (("path", ""), ("data", _NO_DATA), ("scale", "auto"), ("task", "auto")):
            pick.remember(f"predictions:{key}", default)
        left, right = st.columns(2)
        path = left.text_input("Path on this machine", key="predictions:path", placeholder="/data/predictions.csv")
        upload = right.file_uploader("Or upload the table", _ENDINGS, key="predictions:file")
        cells = st.columns(3)
        sets = {d.name: d for d in list_data_sets()}
        name = cells[0].selectbox(
            "Data set (for labels, patients, pictures)", [_NO_DATA, *sets], key="predictions:data"
        )
        scale = cells[1].selectbox("Values", _SCALES, key="predictions:scale")
        task = cells[2].selectbox("Task", _TASKS, key="predictions:task")
        place = where.choose(_KIND, "predictions")
        params = {
            "predictions": path.strip() or "FILE",
            "manifest": str(sets[name].manifest_path) if name in sets else None,
            "scale": scale if scale != "auto" else None,
            "task": task if task != "auto" else None,
        }
        command = [*words(PredictionsParams.of(params), name if name in sets else ""), *where.words(place)]
        page.command_line(*command)
        if acts.button("Measure the predictions", icon=":material/play_arrow:", key="predictions:start"):
            if upload is not None:
                params["predictions"] = str(_kept(upload.name, upload.getvalue()))
            _start(params, place, given=upload is not None or bool(path.strip()))


def _start(params: Mapping[str, str | None], place: Slurm | None, *, given: bool) -> None:
    with page.told_in_one_line(below_heading=False):
        if not given:
            raise CxrError("no table given: type the path of a CSV or Parquet file, or upload one")
        address.forget("split", "finding", "outcome", "cell", "page")
        address.ask(run=start(_KIND, params, where=place).id)
    st.rerun()


def words(params: PredictionsParams, data: str = "") -> list[str]:
    """Return the command that measures a table with these parameters."""
    command = ["cxr", "evaluate", "--predictions", str(params.predictions)]
    if params.manifest is not None:
        command += ["--data", data or str(params.manifest)]
    for option, value in (("--scale", params.scale), ("--task", params.task)):
        command += [option, value] if value != "auto" else []
    for option, pairs in (("--column", params.class_columns), ("--alias", params.aliases)):
        command += [word for key, value in pairs.items() for word in (option, f"{key}={value}")]
    command += [word for role, column in params.columns.items() for word in (f"--{role}-column", column)]
    command += [word for label in params.ignored_labels for word in ("--ignore-label", label)]
    return [*command, "--positive", params.positive] if params.positive else command


def _kept(name: str, content: bytes) -> Path:
    """Store an uploaded table for its run and return where."""
    folder = cache_root() / "predictions" / hashlib.blake2b(content, digest_size=6).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / Path(name).name) as draft:
        draft.write_bytes(content)
    return folder / Path(name).name
