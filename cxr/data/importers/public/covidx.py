"""COVIDx (COVID-Net): lists ``train.txt``, ``val.txt`` and ``test.txt`` of patient, file, class and origin."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxr.data.importers.import_options import LabelOptions
from cxr.data.importers.listing import Listing, Source, existing_folder, join_labels
from cxr.data.importers.rows import Row
from cxr.data.tables.findings import yes_or_no
from cxr.data.tables.normalise import normalise_split
from cxr.errors import ManifestError

TITLE = "COVIDx"
_CLASSES = frozenset({"positive", "negative", "covid-19", "covid19", "pneumonia", "normal"})
_LICENCE = "that of its origin (COVIDx joins several data sets)"


@dataclass(frozen=True)
class _Line:
    """A line of a list."""

    patient: str
    file: str
    label: str
    origin: str


def read(path: Path, options: LabelOptions) -> Listing:
    """Read the lists of a folder, or one list, and the images of ``train/``, ``val/`` and ``test/`` beside them."""
    lists = [path] if path.is_file() else _lists_in(existing_folder(path))
    listing = Listing(lists[0].parent)
    for file in lists:
        _read_list(file, listing, options)
    if not listing.rows and not listing.excluded:
        raise ManifestError(f"{lists[0]} is not a list of {TITLE}: it has no line of patient, file and class")
    join_labels(listing, options)
    return listing


def _lists_in(folder: Path) -> list[Path]:
    lists = [file for file in sorted(folder.glob("*.txt")) if _split_of(file)]
    if not lists:
        raise ManifestError(f"{folder} is not {TITLE}: it has no train.txt and no test.txt")
    return lists


def _split_of(file: Path) -> str:
    """Return the split that a list's name stands for ("train.txt", "test_COVIDx5.txt"), "" for another name."""
    split = normalise_split(file.stem.split("_")[0])
    return split if split in ("train", "val", "test") else ""


def _read_list(file: Path, listing: Listing, options: LabelOptions) -> None:
    folders = [listing.root / file.stem, listing.root / file.stem.split("_")[0], listing.root]
    for number, text in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        line = _line(text)
        if line is None:
            if text.strip():
                listing.leave_out(f"{file.name}, line {number}", "is not of the form: patient, file, class, origin")
            continue
        image = next((folder / line.file for folder in folders if (folder / line.file).is_file()), None)
        if image is None:
            listing.leave_out(line.file, f"has a line in {file.name}, but does not exist")
            continue
        listing.rows.append(_row(line, image, _split_of(file), options))


def _line(text: str) -> _Line | None:
    """Return the parts of a line; a file's name may hold spaces, and old lists name no origin."""
    words = text.split()
    if len(words) >= 4 and words[-2].casefold() in _CLASSES:
        return _Line(words[0], " ".join(words[1:-2]), words[-2], words[-1])
    if len(words) >= 3 and words[-1].casefold() in _CLASSES:
        return _Line(words[0], " ".join(words[1:-1]), words[-1], "")
    return None


def _row(line: _Line, image: Path, split: str, options: LabelOptions) -> Row:
    label = line.label.casefold()
    plain = yes_or_no(label, "covid19") if label in ("positive", "negative") else line.label
    return Row(
        image=str(image),
        label=line.label if line.label in options.aliases else plain,
        findings=plain,
        # Patients are numbered separately by each origin.
        patient_id=f"{line.origin or 'covidx'}_{line.patient}",
        source=line.origin,
        licence=_LICENCE,
        split=split,
    )


SOURCE = Source(
    "covidx",
    "COVIDx (COVID-Net)",
    "train.txt, val.txt, test.txt and folders of these names: COVID-19, pneumonia and normal, or positive and negative",
    read,
    LabelOptions,
)
