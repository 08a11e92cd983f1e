"""Reports say what their figures rest on: X-rays, patients, date, version, network and data."""

from __future__ import annotations

import re
import zipfile
from io import BytesIO

import pytest
from configurations import CONFIGURATIONS, write_network, write_xrays

from cxr import __version__
from cxr.data import Manifest, read_xray
from cxr.evaluation.provenance import in_words, provenance, provenance_of
from cxr.experiments.masking.job import run as run_masking
from cxr.files import replacing
from cxr.models.checksums import sha256_of
from cxr.paths import runs_root
from cxr.reports.identities import Privacy
from cxr.reports.masking import to_html, to_markdown, to_zip
from cxr.runs import Run
from cxr.runs.folder import RunFolder
from cxr.text import Reviews, TextBox
from cxr.text.detection_store import content_hash


@pytest.fixture(scope="module", params=[CONFIGURATIONS[1], CONFIGURATIONS[4]], ids=str)
def finished(request, tmp_path_factory):
    """A finished experiment on 8 X-rays of 4 patients, and the network's file and the manifest's."""
    folder = tmp_path_factory.mktemp("experiment")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_DATA", str(folder / "data"))
        patch.setenv("CXR_RUNS", str(folder / "runs"))
        manifest = write_xrays(folder / "hospital", request.param, n=8, words=True)
        data = Manifest.load(manifest)
        for image_id, path in data.image_paths().items():  # by hand, so that nothing is searched
            image = read_xray(path)
            box = [TextBox(4, 4, 60, 20, text="PORTABLE")] if path.stem in "0246" else []
            Reviews.beside(manifest).save(image_id, box, shape=image.shape, content_hash=content_hash(image))
        network = write_network(request.param, folder / "net.safetensors")
        params = {"model": str(network), "manifest": str(manifest), "split": "test", "device": "cpu"}
        run = RunFolder.create(runs_root(), "text-experiment", params | {"explained": 3, "draws": 1})
        run_masking(run, run.params, lambda fraction, text: None)
        yield Run(run), network, data


def test_every_form_of_the_report_carries_date_version_network_and_data(finished):
    run, network, data = finished
    packed = zipfile.ZipFile(BytesIO(to_zip(run)))
    for text in (to_html(run), to_markdown(run), packed.read("finding.txt").decode()):
        assert sha256_of(network)[:12] in text
        assert data.hash()[:12] in text
        assert f"with cxr {__version__}" in text
        assert "Network: net (weights sha256" in text
        assert "Data: hospital (manifest hash" in text
        assert len(re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", text)) >= 2  # measured, written


def test_the_sentences_say_of_how_many_x_rays_and_patients_they_are(finished):
    run, _, _ = finished
    finding = run.results()["finding"]
    assert "tokens on 4 of 8 images (4 of 4 patients)" in finding
    assert re.search(r"Tokens hold .* \(3 of the 4 X-rays with text, 3 patients\)\.", finding)
    for text in (to_html(run), to_markdown(run)):
        assert "Of 3 of the 4 X-rays with text, 3 patients; the others were not explained." in text


def test_of_an_older_run_what_is_not_recorded_is_said_to_be_so(finished):
    run, _, _ = finished
    older = {name: value for name, value in run.results().items() if name not in ("provenance", "n_patients")}
    whole = (run.folder.path / "results.json").read_bytes()
    run.folder.write_json("results.json", older)
    try:
        said = in_words(provenance_of(run))
        assert "weights sha256 not recorded" in said
        assert "Data: hospital" in said
        assert "not recorded" in to_html(run)
    finally:
        with replacing(run.folder.path / "results.json") as draft:
            draft.write_bytes(whole)


def test_figures_of_data_alone_name_no_network(finished):
    _, _, data = finished
    assert "Network" not in in_words(provenance(data))


def words_of(page: str) -> set[str]:
    """Return the words that a reader of a page sees, and those behind its pictures."""
    return set(re.findall(r"[\w-]+", re.sub(r"data:[^\"]+|<style>.*?</style>", "", page, flags=re.S)))


def test_no_form_of_the_report_names_or_shows_an_xray_unless_asked_to(finished):
    run, _, data = finished
    ids, patients = set(data.ids), set(data.table["patient_id"])
    with zipfile.ZipFile(BytesIO(to_zip(run))) as archive:
        tables = "\n".join(archive.read(name).decode() for name in archive.namelist())
    for text in (to_html(run), to_markdown(run), tables):
        assert not words_of(text) & (ids | patients)
    page = to_html(run)
    assert page.count("data:image/png") == 2  # the heatmap of one X-ray, before and after
    assert "This file holds no picture of an X-ray" in page
    assert "PORTABLE" not in re.findall(r"X-ray 1, .*? carries .*?\.", page)[0]
    asked = to_html(run, Privacy(with_images=True, with_ids=True))
    assert asked.count("data:image/png") > 4
    assert words_of(asked) & ids
    assert not words_of(asked) & patients
    assert "carries “PORTABLE”" in asked
