"""A job of several processes for the tests of clusters: each says who it is."""

from __future__ import annotations

import os
import time

from cxr.runs import RunFolder
from tests.runs.jobs import JobParams

NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "CXR_SLURM_JOB")


def who(folder: RunFolder, params: JobParams, *, progress) -> None:
    """Write the variables of this process; the first one waits for the others."""
    told = {name: os.environ.get(name) for name in NAMES}
    folder.write_json(f"rank-{told['RANK'] or 0}.json", told)
    while len(list(folder.path.glob("rank-*.json"))) < params.recipe["devices"]:
        time.sleep(0.05)
