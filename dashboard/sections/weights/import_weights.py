"""Importing weights of others on a page: the file, what it holds, what only a person can tell."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from cxr.errors import WeightsError
from cxr.files import replacing
from cxr.models.card import TASKS
from cxr.models.licences import sharing_note
from cxr.models.weights import read_card
from cxr.paths import weights_root

from services import field_names
from widgets import address, page, pick, viewer
from widgets.access import acts

if TYPE_CHECKING:
    from cxr.models.imports.conversion import InspectedWeights

ENDINGS = ("pth", "pt", "bin", "tar", "safetensors", "ckpt", "pkl")
# Files of other programs may be given too: they are named for what they are, with what to do.
_OTHERS = ("h5", "hdf5", "keras", "onnx", "pb", "tflite", "zip", "gz", "npz")
MAX_UPLOAD_MB = 200  # a DenseNet201 has 74 MB, a ResNet101 171 MB
UPLOAD, FOLDER = "Upload a file", "A file in the folder of weights"
_LIKELY = {"size": "224", "mean": "0.5", "std": "0.25"}
_LIKELY_COLOUR = {"size": "224", "mean": "imagenet", "std": "imagenet"}


def choose_file() -> tuple[Path, str] | None:
    """Let the user give a file; returns where it lies on this machine and what a command calls it."""
    pick.arrive("weights:from", "from", UPLOAD, {"folder": FOLDER}.__getitem__, accepted="folder")
    where = st.segmented_control("From", [UPLOAD, FOLDER], required=True, key="weights:from")
    pick.leave("from", "folder" if where == FOLDER else "", "")
    return _uploaded() if where == UPLOAD else _in_folder()


def _uploaded() -> tuple[Path, str] | None:
    upload = st.file_uploader(
        f"Weights file, up to {MAX_UPLOAD_MB} MB",
        type=[*ENDINGS, *_OTHERS],
        max_upload_size=MAX_UPLOAD_MB,
        key="weights:upload",
    )
    if upload is None:
        st.caption(f"For a larger file: put it in {weights_root()}, or use the command below.")
        return None
    # The same upload is written once; another one of its name does not replace it.
    path = _upload_folder() / hashlib.sha256(upload.file_id.encode()).hexdigest()[:16] / Path(upload.name).name
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as draft:
            draft.write_bytes(upload.getbuffer())
    return path, path.name


def _upload_folder() -> Path:
    """Return this session's folder of uploads; it goes when the session does."""
    if "weights:uploads" not in st.session_state:
        st.session_state["weights:uploads"] = tempfile.TemporaryDirectory(prefix="cxr-uploads-")
    return Path(st.session_state["weights:uploads"].name)


def _in_folder() -> tuple[Path, str] | None:
    files = {path.name: path for path in foreign_files()}
    if not files:
        st.info(
            f"There is no weights file without a card in {weights_root()}. Put a {', '.join('.' + e for e in ENDINGS)} "
            "file there.",
            icon=":material/folder_open:",
        )
        return None
    name = st.selectbox("File", list(files), key="weights:file")
    return files[name], str(files[name])


def foreign_files() -> list[Path]:
    """Return the files in the folder of weights that need an import: those without a card."""
    files = [path for ending in ENDINGS for path in weights_root().glob(f"*.{ending}") if path.is_file()]
    return sorted(path for path in files if not _has_card(path))


def _has_card(path: Path) -> bool:
    try:
        return path.suffix == ".safetensors" and read_card(path) is not None
    except WeightsError:
        return False


@st.cache_resource(max_entries=2, show_spinner="Reading the tensors …")
def _look(path: str, stamp: int, backbone: str | None) -> InspectedWeights:
    from cxr.models.imports.conversion import look_at

    return look_at(path, backbone)


def look(path: Path) -> InspectedWeights:
    """Return what a file holds; asks for the backbone where its tensors do not tell it."""
    from cxr.models.imports.recognise import UnknownBackboneError

    stamp = path.stat().st_mtime_ns
    try:
        return _look(str(path), stamp, None)
    except UnknownBackboneError as error:
        st.info(viewer.plain(field_names.on_page(str(error), field_names.WEIGHTS)), icon=":material/help:")
        backbone = st.text_input("Backbone (timm's name)", key="weights:backbone").strip()
        if not backbone:
            raise address.Ended from None
        return _look(str(path), stamp, backbone)


def show_found(candidate: InspectedWeights) -> None:
    """Show what was found and, where tensors do not fit, which."""
    family = candidate.known
    channels, outputs = page.counted(candidate.channels, "channel"), page.counted(candidate.outputs, "output")
    st.markdown(
        f"**{family.title}**: {candidate.backbone}, {channels}, {outputs}. "
        f"{len(candidate.report.matched)} tensors match. Checksum: {candidate.checked}."
    )
    for line in candidate.described():
        st.caption(f"{line[0].upper()}{line[1:]}.")
    rows = pd.DataFrame(candidate.rows())
    if not candidate.report.complete:
        st.error(
            f"The file does not fit {candidate.backbone}: {candidate.report}. Nothing is imported in part.",
            icon=":material/error:",
        )
        st.dataframe(rows[rows["verdict"] != "matched"], hide_index=True)
    elif candidate.report.ignored:
        names = [name for name, _ in candidate.report.ignored]
        listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        n = page.counted(len(names), "tensor")
        st.caption(f"The network has no place for {n} of the file, ignored here: {listed}.")
    with st.expander(f"All {len(rows)} tensors"):
        st.dataframe(rows, hide_index=True)


def ask(candidate: InspectedWeights, file_name: str) -> dict[str, str] | None:
    """Show the form of what the card needs; returns the answers once it is sent. What was typed stays."""
    likely = _LIKELY_COLOUR if candidate.channels == 3 else _LIKELY
    family = candidate.known
    if candidate.unknown:
        st.warning(
            f"The file does not state: {', '.join(candidate.unknown)}. Usual sizes and normalisations are filled in. A "
            "wrong one gives wrong predictions without an error.",
            icon=":material/help:",
        )
    key = f"weights:{candidate.checked.sha256[:12]}"
    with st.form(f"{key}:form", border=False):
        classes = st.text_area(
            f"Names of the {candidate.outputs} outputs, in their order, separated by commas",
            ", ".join(family.classes or ()),
            placeholder="covid19, normal, pneumonia",
            key=f"{key}:classes",
            help="The order decides which class each output stands for. It is filled in here if the file states it.",
        )
        cells = st.columns(4)
        answers = {
            "task": cells[0].selectbox(
                "Task",
                TASKS,
                index=TASKS.index(family.task) if family.task else None,
                key=f"{key}:task",
                help="single-label: softmax. multi-label: a sigmoid for each class.",
            ),
            "size": cells[1].text_input("Image size (pixels)", str(family.size or likely["size"]), key=f"{key}:size"),
            "mean": cells[2].text_input("Mean", _numbers(family.mean) or likely["mean"], key=f"{key}:mean", help=_HELP),
            "std": cells[3].text_input("Std", _numbers(family.std) or likely["std"], key=f"{key}:std", help=_HELP),
        }
        provenance = st.columns(3)
        answers["name"] = provenance[0].text_input("Name", file_name.split(".")[0], key=f"{key}:name")
        answers["licence"] = provenance[1].text_input(
            "Licence of the weights",
            candidate.licence,
            placeholder="unknown",
            key=f"{key}:licence",
            help=f"From {candidate.licence_from}."
            if candidate.licence
            else "Such as GPL-3.0 or MIT. No file beside the weights states it. It is written to the card, to exports "
            "and to networks trained from these weights.",
        )
        answers["origin"] = provenance[2].text_input("Where the weights come from", family.origin, key=f"{key}:origin")
        if note := sharing_note(candidate.licence):
            st.caption(f"{candidate.licence}: {note}")
        force = st.checkbox("Replace weights of this name", key=f"{key}:force")
        sent = acts.submit("Import", type="primary", icon=":material/download:")
    answers["classes"] = ",".join(name.strip() for name in classes.split(",") if name.strip())
    st.session_state["weights:told"] = {k: v for k, v in answers.items() if v} | ({"force": True} if force else {})
    return st.session_state["weights:told"] if sent else None


_HELP = "For pixel values in [0, 1]: one number, three separated by commas, or imagenet."


def _numbers(values: tuple[float, ...] | None) -> str:
    return ", ".join(f"{value:.10g}" for value in values or ())


def save(candidate: InspectedWeights, form: dict) -> str:
    """Import and return the name of the new weights."""
    from cxr.models.imports.conversion import import_weights

    answers = {key: value for key, value in form.items() if key not in ("classes", "force")}
    classes = tuple(filter(None, form.get("classes", "").split(",")))
    path, _ = import_weights(candidate, classes=classes, force=bool(form.get("force")), **answers)
    return path.stem


def show_command(called: str) -> None:
    """Show the command that does the same as the form."""
    words: list[str] = []
    for key, value in st.session_state.get("weights:told", {}).items():
        words += [f"--{key}"] if key == "force" else [f"--{key}", value]
    page.command("cxr", "weights", "import", called, *words)
