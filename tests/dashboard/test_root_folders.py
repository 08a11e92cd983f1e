"""The folders of data sets, runs and weights: where one is a file, pages say so and do not look empty."""

from __future__ import annotations

from pathlib import Path

import pytest
from apps import opened, said

EMPTY = {"CXR_DATA": "data set yet", "CXR_RUNS": "No ", "CXR_WEIGHTS": "No "}
PAGES = {
    "CXR_DATA": ("home", "data", "train", "study", "text"),
    "CXR_RUNS": ("home", "live", "results", "study", "weights"),
    "CXR_WEIGHTS": ("explorer", "weights"),
}


@pytest.mark.parametrize("variable", PAGES)
def test_pages_say_that_a_root_folder_is_a_file(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with monkeypatch.context() as patch:
        patch.setenv(variable, str(file))
        for page in PAGES[variable]:
            app = opened(page)
            assert not app.exception, page
            (error,) = app.error
            assert error.value.replace("\\", "").startswith(f"{file} is a file. {variable} must name a folder"), page
            assert EMPTY[variable] not in said(app), page
