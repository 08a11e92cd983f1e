"""The tuberculosis sets of the U.S. National Library of Medicine: Montgomery County and Shenzhen.

Names end in ``_0`` for a normal X-ray and ``_1`` for tuberculosis, which is none of the three classes: such rows have
no label. All rows have the role ``external``: they come from hospitals that no training image comes from.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
from PIL import Image

from cxr.data.images.base import Refusal
from cxr.data.images.decode import decode
from cxr.data.importers.import_options import Options
from cxr.data.importers.listing import Listing, Source, existing_folder, walk
from cxr.data.importers.rows import Row
from cxr.errors import ManifestError
from cxr.files import replacing
from cxr.paths import data_root

_NAME = re.compile(r"(?P<set>MCUCXR|CHNCXR)_(?P<number>\d+)_(?P<ill>[01])", re.IGNORECASE)
_FINDINGS = {"0": "normal", "1": "tuberculosis"}
_MASK_FOLDERS = ("masks", "mask", "lung_masks")
_LICENCE = "none stated (NLM: public for research, cite)"


def read_montgomery(path: Path, options: Options) -> Listing:
    """Read ``CXR_png/MCUCXR_*.png`` with ``masks/`` or ``ManualMask/leftMask`` and ``rightMask``."""
    return _read(path, "MCUCXR", "montgomery", "Montgomery County set", options)


def read_shenzhen(path: Path, options: Options) -> Listing:
    """Read ``CXR_png/CHNCXR_*.png`` with ``mask/CHNCXR_*_mask.png``."""
    return _read(path, "CHNCXR", "shenzhen", "Shenzhen set", options)


def _read(path: Path, prefix: str, source: str, title: str, options: Options) -> Listing:
    root = existing_folder(path)
    folder = next((f for f in (root, *sorted(root.iterdir())) if (f / "CXR_png").is_dir()), None)
    if folder is None:
        raise ManifestError(f"{path} is not {title}: it has no folder CXR_png")
    listing = Listing(folder)
    for image in walk(folder / "CXR_png", listing):
        name = _NAME.fullmatch(image.stem)
        if name is None or name["set"].upper() != prefix:
            listing.leave_out(image, f"is not called {prefix}_<number>_<0 or 1>.png")
        else:
            listing.rows.append(_row(image, name, folder, source, listing, options))
    return listing


def _row(image: Path, name: re.Match[str], folder: Path, source: str, listing: Listing, options: Options) -> Row:
    finding = _FINDINGS[name["ill"]]
    reading = _clinical_reading(folder / "ClinicalReadings" / f"{image.stem}.txt")
    label = options.aliases.get(finding, "normal" if finding == "normal" else "")
    return Row(
        image=str(image),
        lung_mask=_lung_mask(image.stem, folder, source, listing),
        label=label,
        findings=finding,
        patient_id=f"{source}_{name['number']}",
        source=source,
        view="PA",
        sex=reading.get("sex", ""),
        age=reading.get("age", ""),
        licence=_LICENCE,
        role="external",
        extra={"reading": reading.get("text", "")},
    )


def _clinical_reading(file: Path) -> dict[str, str]:
    """Return sex, age and the radiologist's words; both sets write them a little differently."""
    if not file.is_file():
        return {}
    text = file.read_text(encoding="utf-8", errors="replace")
    sex = re.search(r"\b(male|female)\b|sex:\s*([FM])\b", text, re.IGNORECASE)
    age = re.search(
        r"age:\s*(\d{1,3}[YMWD]?)|\b(\d{1,3})\s*(yrs|years|yr|y|months|month|days|day)\b", text, re.IGNORECASE
    )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    words = [line for line in lines if not re.match(r"(patient's\s+(sex|age)|(fe)?male\b)", line, re.IGNORECASE)]
    unit = (age[3] or "y")[0] if age and age[2] else ""
    return {
        "sex": (sex[1] or sex[2]) if sex else "",
        "age": f"{age[1] or age[2]}{unit}".upper() if age else "",
        "text": " ".join(words),
    }


def _lung_mask(stem: str, folder: Path, source: str, listing: Listing) -> str:
    for mask_folder in _MASK_FOLDERS:
        for name in (f"{stem}.png", f"{stem}_mask.png"):
            if (folder / mask_folder / name).is_file():
                return str(folder / mask_folder / name)
    sides = [folder / "ManualMask" / side / f"{stem}.png" for side in ("leftMask", "rightMask")]
    if not all(side.is_file() for side in sides):
        return ""
    try:
        return str(_joined(sides, source, stem))
    except Refusal as refusal:
        listing.leave_out(sides[0], f"and its other half make no mask: one {refusal}; the X-ray is kept without it")
        return ""


def _joined(sides: list[Path], source: str, stem: str) -> Path:
    """Write the union of a left and a right mask beside the data sets, as a set's own folder may be read-only."""
    left, right = (decode(side) for side in sides)
    if left.shape != right.shape:
        raise Refusal("has another size than the other")
    union = np.maximum(left, right)
    digest = hashlib.blake2b(union.tobytes(), digest_size=6).hexdigest()
    target = data_root() / "masks" / source / f"{stem}-{digest}.png"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as draft:
            Image.fromarray(union).save(draft, format="PNG")
    return target


MONTGOMERY = Source(
    "montgomery",
    "Montgomery County (NLM)",
    "CXR_png/ with lung masks: normal and tuberculosis, for external tests",
    read_montgomery,
    Options,
)
SHENZHEN = Source(
    "shenzhen",
    "Shenzhen (NLM)",
    "CXR_png/ with lung masks where there are any: normal and tuberculosis, for external tests",
    read_shenzhen,
    Options,
)
