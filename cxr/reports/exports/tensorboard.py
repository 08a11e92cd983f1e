"""A run as event files, which TensorBoard shows."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
from PIL import Image

from cxr.errors import RunError, require
from cxr.reports.exports.tracked import tracked
from cxr.runs import Run


def to_tensorboard(run: Run, folder: Path) -> Path:
    """Write curves, figures, settings and drawings into ``folder/RUN`` and return it; an earlier export is replaced.

    Raises
    ------
    MissingPackageError
        Without the package ``tensorboard``.
    RunError
        For a run without figures, or a folder that holds something else.
    """
    require("tensorboard", extra="tracking")
    from torch.utils.tensorboard import SummaryWriter

    content, target = tracked(run), folder / run.id
    for file in target.iterdir() if target.is_dir() else ():
        if not file.name.startswith("events.out.tfevents."):
            raise RunError(f"{target} holds {file.name}, which is no export of a run: choose another folder")
        file.unlink()
    with SummaryWriter(str(target)) as writer:
        for point in content.points:
            writer.add_scalar(point.name, point.value, point.step, walltime=point.time)
        ended = run.status()["ended"] or time.time()
        for name, value in content.figures.items():
            writer.add_scalar(f"figures/{name}", value, 0, walltime=ended)
        rows = [f"| {name} | {value.replace('|', '&#124;')} |" for name, value in content.settings.items()]
        writer.add_text("settings", "\n".join(["| setting | value |", "|---|---|", *rows]), walltime=ended)
        for name, drawing in content.drawings.items():
            picture = np.asarray(Image.open(io.BytesIO(drawing.to_bytes("png"))).convert("RGB"))
            writer.add_image(name, picture, dataformats="HWC", walltime=ended)
    return target
