"""The package as its users import it."""

from __future__ import annotations

import subprocess
import sys


def test_parts_are_there_after_importing_the_package_alone_and_cost_nothing_before() -> None:
    script = (
        "import sys, cxr\n"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules\n"
        "assert cxr.data.Manifest.load and cxr.models.keep_output_neurons and cxr.runs.start\n"
        "assert 'streamlit' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_an_unknown_part_is_an_attribute_error() -> None:
    import cxr

    assert not hasattr(cxr, "no_such_part")
