"""The explorer's download of a heatmap as a DICOM secondary capture."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import pydicom
import pytest
from configurations import CONFIGURATIONS, write_network
from streamlit.testing.v1 import AppTest

from cxr.explain.render import figure
from cxr.reports.exports.secondary_capture import HEIGHT, legend_lines
from tests.data.data_samples import chest, dicom, save_dicom
from tests.explain.maps import heatmap

from sections.explorer import capture
from services.explaining import Xray


def test_the_download_holds_the_map_at_the_pages_scale_and_opacity_and_nobodys_name(tmp_path: Path) -> None:
    weights = write_network(CONFIGURATIONS[3], tmp_path / "chests.safetensors")
    source = save_dicom(tmp_path / "x.dcm", dicom(chest(), 8, PatientName="Doe^Jane", BurnedInAnnotation="YES"))
    shown, xray = heatmap(target="hernia"), Xray("x", "1", chest())
    content = capture.content(str(weights), xray, shown, 0.05, 0.4, source)
    assert b"Doe" not in content
    dataset = pydicom.dcmread(io.BytesIO(content))
    assert dataset.BurnedInAnnotation == "YES"
    network = dataset.DerivationDescription.split("Network: ")[1].split(". LRP")[0]
    assert "chests" in network
    drawn = {"scale": 0.05, "alpha": 0.4, "height": HEIGHT, "overlay_alone": True}
    expected = figure(xray.pixels, shown.relevance, legend=legend_lines(shown, network), **drawn)
    assert (dataset.pixel_array == expected).all()
    assert "BurnedInAnnotation" not in pydicom.dcmread(
        io.BytesIO(capture.content(str(weights), xray, shown, 0.05, 0.4, None))
    )


@pytest.mark.parametrize("installed", [True, False])
def test_without_its_package_the_button_says_what_to_install(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def page() -> None:
        import numpy as np

        from tests.explain.maps import heatmap

        from sections.explorer import capture
        from services.explaining import Xray

        capture.button("demo", Xray("x", "1", np.zeros((8, 8), np.uint8)), heatmap(), 1.0, 0.7, None, "x")

    if not installed:
        found = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "highdicom" else found(name))
    app = AppTest.from_function(page, default_timeout=60).run()
    assert not app.exception
    (button,) = app.download_button
    assert button.label == "Secondary capture (DICOM)"
    assert button.disabled != installed
    assert ("pip install 'cxr[dicom-out]'" in button.help) != installed
