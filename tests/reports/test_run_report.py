"""The report of a run holds what is known of it, and nothing that points at a patient unless it is asked for."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
from configurations import CONFIGURATIONS, ODD_NAMES, Configuration, every_configuration, write_network, write_xrays
from runs_made import measured, trained

from cxr.data import Manifest
from cxr.data.library import save_data_set
from cxr.data.notes import straddling_notes
from cxr.errors import CxrError, RunError
from cxr.paths import data_root, runs_root
from cxr.reports.checklist.subject import Subject
from cxr.reports.identities import Identities
from cxr.reports.run import Choices, document_of, to_html, to_pdf, write
from cxr.reports.run.document import Figure, Picture, Table, Text
from cxr.reports.run.heatmaps import most_certain
from cxr.reports.run.sections import newest_experiment
from cxr.runs import Run
from cxr.runs.folder import RunFolder


def data_of(tmp_path, configuration, n=24, name="own"):
    """A data set whose ids of images and patients are found again wherever they stand."""
    table = pd.read_csv(write_xrays(tmp_path / "xrays", configuration, n=n), dtype=str, keep_default_na=False)
    table["image_id"] = [f"secret-{k:04d}" for k in range(n)]
    table["patient_id"] = [f"jane-doe-{k // 2:03d}" for k in range(n)]
    table["split"] = (["train"] * (n // 2) + ["val"] * (n // 4) + ["test"] * n)[:n]
    save_data_set(name, Manifest.from_table(table, tmp_path / "xrays"))
    return data_root() / name / "manifest.csv"


@pytest.fixture
def run(tmp_path):
    configuration = CONFIGURATIONS[0]
    return measured(write_network(configuration, tmp_path / "n.safetensors"), data_of(tmp_path, configuration))


def titles(document):
    return [section.title for section in document.sections]


@every_configuration
def test_a_report_of_any_task_is_one_html_file_and_one_pdf(tmp_path, configuration):
    run = measured(write_network(configuration, tmp_path / "n.safetensors"), data_of(tmp_path, configuration))
    document = document_of(run, Choices(heatmaps=2))
    assert {"Data card", "Recipe", "Figures", "Heatmaps", "Limits", "Versions and hashes", "Checklists"} <= set(
        titles(document)
    )
    html = to_html(document).decode()
    for name in configuration.classes:
        assert name in html
    assert "<script" not in html
    assert re.search(r'(?:src|href)="(?!data:)', html) is None  # needs no other file
    for hash_ in (run.results()["provenance"]["weights_sha256"], Manifest.load(run.params.manifest).split_hash()):
        assert hash_ in html
    pdf = to_pdf(document)
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 20_000


def test_nothing_points_at_a_patient_unless_it_is_asked_for(run):
    private = document_of(run, Choices(heatmaps=3, images=["secret-0020"]))
    for content in (to_html(private).decode(), repr(private)):
        assert "secret-" not in content
        assert "jane-doe" not in content
        assert "X-ray 1." in content
        assert str(runs_root().parent) not in content  # nor do paths of this machine
    asked = repr(document_of(run, Choices(images=["secret-0020"], with_ids=True)))
    assert "secret-0020" in asked
    assert "jane-doe" not in asked


def test_pictures_of_xrays_go_in_only_where_they_are_asked_for(run):
    def widths(**choices):
        document = document_of(run, Choices(images=["secret-0020"], **choices))
        return [block.width for part in document.sections for block in part.blocks if isinstance(block, Picture)]

    (alone,), (beside,) = widths(), widths(with_images=True)
    assert beside > 2.5 * alone
    picture = next(
        block
        for part in document_of(run, Choices(images=["secret-0020"])).sections
        for block in part.blocks
        if isinstance(block, Picture)
    )
    pixels = cv2.imdecode(np.frombuffer(picture.png, np.uint8), cv2.IMREAD_COLOR)
    grey = (np.ptp(pixels.astype(int), axis=2) == 0) & (pixels.max(2) < 200) & (pixels.max(2) > 30)
    assert grey[:, :256].mean() < 0.01  # a heatmap goes from red through white to blue


def test_every_figure_of_results_stands_in_the_tables(run):
    document = document_of(run, Choices())
    cells = {
        cell
        for part in document.sections
        for b in part.blocks
        if isinstance(b, Table)
        for row in b.rows
        for cell in row
    }
    test = run.results()["splits"]["test"]
    accuracy = test["accuracy"]
    assert f"{100 * accuracy['value']:.1f} % [{100 * accuracy['low']:.1f}, {100 * accuracy['high']:.1f}]" in cells
    assert {run.id, *run.spec["versions"].values()} <= cells
    drawn = [b.drawing.title for part in document.sections for b in part.blocks if isinstance(b, Figure)]
    assert [title.split()[0] for title in drawn] == ["Confusion", "ROC", "Calibration:"]


def test_the_figures_of_a_pdf_are_lines_and_letters_and_no_pictures(run):
    pdf = to_pdf(document_of(run, Choices()))
    assert b"/Subtype /Image" not in pdf
    assert b"/ToUnicode" in pdf  # letters that can be selected and searched
    assert b"/Outlines" in pdf
    assert b"/Subtype /Image" in to_pdf(document_of(run, Choices(heatmaps=1)))


@pytest.mark.parametrize("configuration", ODD_NAMES, ids=str)
def test_classes_with_odd_names_are_written_as_they_are(tmp_path, configuration: Configuration):
    run = measured(write_network(configuration, tmp_path / "n.safetensors"), data_of(tmp_path, configuration))
    document = document_of(run, Choices())
    html = to_html(document).decode()
    assert "*&lt;b&gt;flu&lt;/b&gt;*" in html
    assert "肺炎" in html
    assert "<b>flu" not in html
    assert to_pdf(document).startswith(b"%PDF")


def test_a_training_shows_recipe_curves_and_its_own_hashes(tmp_path):
    manifest = data_of(tmp_path, CONFIGURATIONS[0])
    run = trained(manifest)
    document = document_of(run, Choices())
    content = repr(document)
    assert "Curves of the training" in titles(document)
    assert "'stages.0.batch', '6'" in content
    (limits,) = [section for section in document.sections if section.title == "Limits"]
    assert repr(limits).count("Figures hold for images like those it was trained on") == 1
    assert "'seed', '5'" in content
    assert "metrics.jsonl, sha256" in content
    assert "Loss of the training" in content
    assert "Scores on the validation X-rays" in content


def test_a_text_experiment_on_the_same_xrays_comes_before_a_newer_one_on_others(run):
    subject = Subject.of(run)
    params = {"model": "n", "mode": ["mean"], "split": "test"}
    same, other = (
        Run(RunFolder.create(runs_root(), "text-experiment", params | {"manifest": str(manifest)}, name))
        for name, manifest in (("same", subject.manifest.path), ("other", "elsewhere.csv"))
    )
    assert newest_experiment(replace(subject, on_network=[other, same])) == (same, True)
    assert newest_experiment(replace(subject, on_network=[other])) == (other, False)
    assert newest_experiment(replace(subject, on_network=[])) == (None, False)


def test_the_command_writes_the_file_and_says_which(run, cxr, tmp_path):
    for ending in ("html", "pdf"):
        code, out, _ = cxr("report", run.id, "--out", tmp_path / f"r.{ending}", "--heatmaps", 1, "--json")
        assert code == 0
        assert json.loads(out)["bytes"] == (tmp_path / f"r.{ending}").stat().st_size
    code, _, error = cxr("report", run.id, "--out", tmp_path / "r.docx")
    assert code == 2
    assert ".html, .pdf" in error
    code, _, error = cxr("report", run.id, "--out", tmp_path / "r.pdf", "--split", "nope")
    assert code == 2
    assert "Available: " in error
    code, _, error = cxr("report", run.id, "--out", tmp_path / "r.pdf", "--image", "nope")
    assert code == 2
    assert len(error.strip().splitlines()) == 1


def test_a_run_that_measured_nothing_is_refused_in_one_line(tmp_path):
    manifest = write_xrays(tmp_path / "xrays", CONFIGURATIONS[0])
    folder = RunFolder.create(runs_root(), "audit-data", {"manifest": str(manifest)})
    with pytest.raises(RunError, match="Accepted: a training, an evaluation or a table of predictions"):
        write(Run(folder), tmp_path / "r.html")
    with pytest.raises(CxrError, match="does not exist"):
        write(Run(folder), tmp_path / "no" / "r.html")


def test_an_xray_that_has_gone_is_said_to_have_gone_unless_it_was_named(run, tmp_path):
    for file in (tmp_path / "xrays").glob("*.png"):
        file.unlink()
    assert "X-ray 1 could not be read any more." in repr(document_of(run, Choices(heatmaps=1)))
    with pytest.raises(CxrError):
        document_of(run, Choices(images=["secret-0020"]))


def test_heatmaps_are_chosen_by_turns_of_classes_right_and_wrong():
    rows = [("a", "x", 0.9), ("b", "x", 0.8), ("c", "y", 0.7), ("d", "x", 0.2), ("e", "y", 0.1)]
    table = pd.DataFrame(rows, columns=["image_id", "label", "prob_x"])
    table["prob_y"] = 1 - table["prob_x"]
    # predicted x: a, b right, c wrong; predicted y: e right, d wrong
    assert most_certain(table, ["x", "y"], 4) == ["a", "c", "e", "d"]
    assert most_certain(table, ["x", "y"], 9) == ["a", "c", "e", "d", "b"]
    assert most_certain(None, ["x"], 3) == []


def test_ids_and_paths_are_hidden_and_other_words_stay():
    names = Identities({"img-1", "7", "normal", "0001234", "a/b-2.png"}, {"p-9"})
    text = "img-1, and a/b-2.png. 7 of 8 normal; 0001234 of p-9 in /home/jane/data/x.png at 3/4, https://a.org/b/c"
    said = "X-ray 1, and X-ray 2. 7 of 8 normal; X-ray 3 of (a patient) in x.png at 3/4, https://a.org/b/c"
    assert names.hidden(text) == said
    assert Identities({"img-1"}, {"p-9"}, with_ids=True).hidden("img-1 of p-9") == "img-1 of (a patient)"


def test_short_numbers_are_hidden_where_a_sentence_names_a_patient_and_nowhere_else():
    names = Identities({"scan (1).png", "12"}, {"12", "1234", "Jane Doe", "Smith", "12.0"}, vocabulary={"normal"})
    for text, hidden in {
        "1,234 X-rays of 12 patients, 12 % and 1234 bins": "1,234 X-rays of 12 patients, 12 % and 1234 bins",
        "in more than one split: '1234' (train and val)": "in more than one split: (a patient) (train and val)",
        "in more than one split: 1234 (train and val), and 12 more": (
            "in more than one split: (a patient) (train and val), and 12 more"
        ),
        "patient_id: from the folder for 12 X-rays (1234, Smith)": (
            "patient_id: from the folder for 12 X-rays ((a patient), (a patient))"
        ),
        "scan (1).png: broken. Jane Doe is 'class '12''": "X-ray 1: broken. (a patient) is 'class '12''",
        "seed 12, 1 of 12": "seed 12, 1 of 12",
    }.items():
        assert names.hidden(text) == hidden


def test_no_note_of_an_import_or_a_split_names_a_patient_in_a_report(tmp_path):
    manifest = write_xrays(tmp_path / "numbers", CONFIGURATIONS[0], n=12)
    table = pd.read_csv(manifest).assign(patient_id=[f"{k % 4}" for k in range(12)], split=["train", "val", "test"] * 4)
    table.to_csv(manifest, index=False)
    data = Manifest.load(manifest)
    (note, *_) = straddling_notes(data)
    assert "'0' (" in note
    hidden = Identities.of([data.table]).hidden(note)
    assert "4 patients in more than one split: (a patient) (" in hidden
    assert not re.search(r"'\d'", hidden)


def test_a_pdf_of_a_long_table_breaks_over_pages_and_keeps_its_columns(run):
    from cxr.reports.run.document import Document, Section

    rows = [[f"row {k}", "word " * 40] for k in range(120)]
    pdf = to_pdf(Document("A title", "finding", "basis", [Section("Long", [Table(("name", "text"), rows)])]))
    assert pdf.count(b"/Type /Page\n") >= 4 or len(re.findall(rb"/Type /Page\b(?!s)", pdf)) >= 4


def test_a_pdf_gives_long_texts_more_of_the_page_and_keeps_the_words_of_the_other_columns_whole():
    from cxr.reports.run.pdf import column_widths

    columns = ("item", "asks for", "state", "what the run says", "left to the author")
    rows = [["12 Data", "How missing data were handled " * 2, "partly", "word " * 60, "the reason for it " * 3]]
    widths = dict(zip(columns, column_widths(Table(columns, rows)), strict=True))
    assert widths["what the run says"] > 1.5 * widths["left to the author"] > 2 * widths["state"]
    letters = 120 * widths["state"] / sum(widths.values())  # of those that fit a line of the page
    assert letters > len("partly") + 1


def test_a_heading_in_a_pdf_stands_on_the_page_of_the_figure_below_it(run, monkeypatch):
    from cxr.reports.run import pdf as pages
    from cxr.reports.run.document import Document, Figure, Section

    placed = {}
    start, image = pages._Pages.start_section, pages._Pages.image

    def note(name, method):
        def noted(self, *args, **options):
            placed.setdefault(name, []).append(self.page_no())
            return method(self, *args, **options)

        return noted

    monkeypatch.setattr(pages._Pages, "start_section", note("heading", start))
    monkeypatch.setattr(pages._Pages, "image", note("figure", image))
    document = document_of(run, Choices())
    figure = next(block for section in document.sections for block in section.blocks if isinstance(block, Figure))
    full = Section("Text", [Text("line\n" * 38)])
    to_pdf(Document("A title", "finding", "basis", [full, Section("Curves", [figure])]))
    assert placed == {"heading": [1, 2], "figure": [2]}


@pytest.mark.parametrize("text", ["word " * 3000, "字" * 6000, "one\ntwo\n" * 200, "x" * 9000], ids=len)
def test_a_cell_that_is_longer_than_a_page_goes_on_in_the_next_row(run, text):
    from cxr.reports.run.document import Document, Section

    columns = ("item", "asks for", "state", "what the run says", "left to the author")
    rows = [["38", "Diagnostic performance", "filled", text, text[:20]]]
    pdf = to_pdf(Document("A title", "finding", "basis", [Section("Long", [Table(columns, rows)])]))
    assert len(re.findall(rb"/Type /Page\b(?!s)", pdf)) >= 3


def test_splits_stand_in_the_order_in_which_people_list_them(run):
    results = run.results()
    results["splits"] = dict.fromkeys(("external", "test", "val"), results["splits"]["test"])
    run.folder.write_json("results.json", results)
    (figures,) = [section for section in document_of(run, Choices()).sections if section.title == "Figures"]
    assert [row[0] for row in figures.blocks[0].rows] == ["val", "test", "external"]
