"""The benchmark of training runs: what it measures is not looked at here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm

TRAINING = Path(__file__).resolve().parent.parent / "benchmarks" / "training.py"
TINY = ["--backbone", "densenet-small", "--size", "32", "--batch", "4", "--rounds", "1", "--quick"]


def benchmark(*words: object) -> str:
    """Run it with one thread, so that other busy processes do not slow it many times over; return what it printed."""
    command = [sys.executable, str(TRAINING), *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", warm.WARM: "1"}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_the_step_is_measured_beside_a_tensor_in_memory_and_takes_its_own_section_of_the_page(tmp_path):
    page = tmp_path / "training.md"
    page.write_text("# How fast training is\n\n## Another part\n\nkept\n\n## On a GPU\n\nold\n", encoding="utf-8")
    printed = benchmark("--part", "step", *TINY, "--out", page)
    title = "## From the cache to the optimiser's step: densenet-small, 32 px, batch 4, cpu"
    assert title in printed
    written = page.read_text(encoding="utf-8")
    assert [line for line in written.splitlines() if line.startswith("#")] == [
        "# How fast training is",
        "## Another part",
        "## On a GPU",
        title,
    ]
    assert "kept" in written
    row = next(line for line in written.splitlines() if line.startswith("| from the cache |"))
    images_per_s, ratio = (float(cell) for cell in row.split("|")[2:4])
    assert images_per_s > 0
    assert 0 < ratio < 10
    assert "Command: `python benchmarks/training.py --part step" in written
    assert not list(Path(os.environ["CXR_RUNS"]).parent.glob("runs/*"))
