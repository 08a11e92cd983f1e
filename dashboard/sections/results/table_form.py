"""The form that measures a table of predictions that somebody else made, by its path or uploaded."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import streamlit as st

from cxr.data.library import list_data_sets
from cxr.errors import CxrError
from cxr.evaluation.tables.settings import PredictionsParams, Role
from cxr.files import replacing
from cxr.json_types import JsonObject
from cxr.paths import cache_root
from cxr.runs import Slurm

from sections.data.import_form import mapping
from widgets import address, page, pick, where
from widgets.access import acts
from widgets.run_state import start

_KIND = "evaluate-predictions"
_NO_DATA = "none"
_SCALES = ("auto", "probabilities", "logits")
_ENDINGS = ("csv", "tsv", "gz", "zip", "parquet")
_TASKS = ("auto", "single-label", "multi-label")
_FIELDS = {
    "columns": (
        "Columns with other names",
        "covid19 = p_covid\nlabel = diagnosis",
        "One in a line: a class, or image, label, patient or split, then = and the column of the table.",
    ),
    "aliases": ("Labels that mean a class", "covid = covid19", "One in a line: a label, then = and its class."),
    "ignored": ("Labels to leave out", "unclear", "One in a line. X-rays with these labels are not measured."),
    "positive": ("Class of the only column", "covid19", "For a table with one column of predictions."),
}
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
        read_names = _names()
        place = where.choose(_KIND, "predictions")

        def params() -> JsonObject:
            return {
                "predictions": path.strip() or "FILE",
                "manifest": str(sets[name].manifest_path) if name in sets else None,
                "scale": scale if scale != "auto" else None,
                "task": task if task != "auto" else None,
                **read_names(),
            }

        with contextlib.suppress(CxrError):  # what cannot be read yet is said when it is to start
            command = words(PredictionsParams.of(params()), name if name in sets else "")
            page.command_line(*command, *where.words(place))
        if acts.button("Measure the predictions", icon=":material/play_arrow:", key="predictions:start"):
            _start(params, place, upload, given=upload is not None or bool(path.strip()))


def _names() -> Callable[[], JsonObject]:
    """Ask what columns and labels mean whose names do not say it; what is returned reads the fields."""
    for key in _FIELDS:
        pick.remember(f"predictions:{key}", "")
    cells = st.columns(4)
    columns, aliases, ignored = (
        cell.text_area(title, placeholder=example, help=help_, height=80, key=f"predictions:{key}")
        for cell, (key, (title, example, help_)) in zip(cells[:3], list(_FIELDS.items())[:3], strict=True)
    )
    title, example, help_ = _FIELDS["positive"]
    positive = cells[3].text_input(title, placeholder=example, help=help_, key="predictions:positive")

    def read() -> JsonObject:
        named = mapping(columns, _FIELDS["columns"][0])
        roles = get_args(Role)
        return {
            "columns": {name: column for name, column in named.items() if name in roles},
            "class_columns": {name: column for name, column in named.items() if name not in roles},
            "aliases": mapping(aliases, _FIELDS["aliases"][0]),
            "ignored_labels": [line.strip() for line in ignored.splitlines() if line.strip()],
            "positive": positive.strip(),
        }

    return read


def _start(params: Callable[[], JsonObject], place: Slurm | None, upload: Any, *, given: bool) -> None:
    with page.told_in_one_line(below_heading=False):
        if not given:
            raise CxrError("no table given: type the path of a CSV or Parquet file, or upload one")
        values = params()
        if upload is not None:
            values["predictions"] = str(_kept(upload.name, upload.getvalue()))
        address.forget("split", "finding", "outcome", "cell", "page")
        address.ask(run=start(_KIND, values, where=place).id)
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
