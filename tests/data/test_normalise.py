from __future__ import annotations

import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr.data.tables import normalise


@pytest.mark.parametrize(
    ("text", "label"),
    [
        *[(text, "covid19") for text in ("covid", "COVID-19", "Covid_19", "SARS-CoV-2", "2019-nCoV", "COVID+")],
        *[(text, "covid19") for text in ("COVID-19 (positive)", "COVID-19, ARDS", "Pneumonia/Viral/COVID-19")],
        *[(text, "normal") for text in ("NORMAL", " normal ", "No Finding", "No_findings", "Healthy")],
        *[(text, "pneumonia") for text in ("Pneumonia", "PNEUMONIA", "viral pneumonia", "Pneumonia/Bacterial/E.Coli")],
        *[(text, "") for text in ("", " ", "NA", "n/a", "None", "null", "NaN", "-", "?", "Unknown")],
        *[
            (text, text)
            for text in ("COVID-", "non-covid", "no pneumonia", "covid?", "Edema", "肺炎 covid", "abnormal")
        ],
    ],
)
def test_labels_of_many_spellings_are_known_and_others_stay(text: str, label: str):
    assert normalise.normalise_label(text) == label


@pytest.mark.parametrize(
    ("text", "split"),
    [
        *[(text, "train") for text in ("Train", "TRAINING", "train_set", "train_val_list")],
        *[(text, "val") for text in ("val", "Valid", "validation", "validate", "dev")],
        *[(text, "test") for text in ("Test", "testing", "test set", "held-out")],
        *[(text, text) for text in ("fold 1", "external", "intermediate", "A")],
        *[(text, "") for text in ("", "NA", "none")],
    ],
)
def test_splits_of_many_spellings_are_known_and_others_stay(text: str, split: str):
    assert normalise.normalise_split(text) == split


@pytest.mark.parametrize(
    ("text", "age"),
    [
        *(("63", 63), ("63.5", 63.5), ("63,5", 63.5), ("045Y", 45), ("058y", 58), ("63 yrs", 63), ("0", 0)),
        *(("018M", 1.5), ("5 months", 5 / 12), ("010D", 10 / 365.25), ("52W", 52 * 7 / 365.25)),
        *((">89", 89), ("90+", 90), (">= 90", 90), ("~40", 40), ("60s", 65), ("60-69", 64.5)),
        *((text, math.nan) for text in ("", "NA", "unknown", "414", "-3", "old", "about 50", "300Y", "12/3", "1e2")),
    ],
)
def test_ages_are_years_and_what_no_person_has_is_unknown(text: str, age: float):
    assert normalise.normalise_age(text) == pytest.approx(age, nan_ok=True)


@pytest.mark.parametrize(
    ("text", "sex"),
    [("Male", "M"), ("f", "F"), ("FEMALE", "F"), ("Mujer", "F"), ("hombre", "M"), ("O", ""), ("1", ""), ("NA", "")],
)
def test_sexes_are_known_by_whole_words(text: str, sex: str):
    assert normalise.normalise_sex(text) == sex


@pytest.mark.parametrize(
    ("text", "view", "frontal"),
    [
        *(("pa", "PA", True), ("AP Supine", "AP Supine", True), ("AP_horizontal", "AP Supine", True)),
        *(("postero-anterior", "PA", True), ("Frontal", "frontal", True), ("", "", True), ("UNK", "", True)),
        *(("LATERAL", "L", False), ("LL", "L", False), ("left lateral", "L", False), ("COSTAL", "COSTAL", False)),
    ],
)
def test_views_are_known_and_frontal_or_not(text: str, view: str, frontal: bool):
    assert normalise.normalise_view(text) == view
    assert normalise.is_frontal(text) is frontal


@pytest.mark.parametrize(
    ("text", "patient"), [("1000.0", "1000"), ("0012", "0012"), ("p1.0", "p1.0"), (" 7 ", "7"), ("NA", ""), ("nan", "")]
)
def test_patients_lose_a_decimal_point_and_keep_their_zeros(text: str, patient: str):
    assert normalise.normalise_patient(text) == patient


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ("Edema|Effusion", "Edema|Effusion"),
        ("['pneumonia ', 'pleural effusion', 'pneumonia']", "pneumonia|pleural effusion"),
        ("No finding", "No Finding"),
        ("a; b ;", "a|b"),
        ("[]", ""),
        ("['nodule', nan]", "nodule"),
        ("NA", ""),
    ],
)
def test_findings_are_joined_from_lists_in_text(text: str, findings: str):
    assert normalise.normalise_findings(text) == findings


def test_a_path_is_looked_for_in_every_spelling():
    spellings = list(normalise.path_spellings("C:\\set\\é.png"))
    assert spellings[0] == "C:\\set\\é.png"
    assert {"/set/" + unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD")} <= set(spellings)
    assert normalise.normalise_path(".\\img\\a.png") == "img/a.png"


def test_spellings_become_one_class_and_each_is_reported_with_its_count():
    mapped = normalise.map_labels(["Covid", "covid", "covid", "NORMAL", "effusion", "Effusion", "Effusion", "NA"])
    assert mapped.classes == {
        "Covid": "covid19",
        "covid": "covid19",
        "NORMAL": "normal",
        "effusion": "Effusion",
        "Effusion": "Effusion",
        "NA": "",
    }
    assert mapped.notes[0] == (
        "labels: Covid -> covid19 (1), NORMAL -> normal (1), covid -> covid19 (2), effusion -> Effusion (1)"
    )
    assert mapped.notes[1] == "labels: 1 missing (written NA)"


def test_signs_that_change_a_meaning_keep_labels_apart():
    mapped = normalise.map_labels(["COVID+", "COVID-", "grade 1", "grade_1", "grade 2"])
    assert mapped.classes["COVID+"] == "covid19"
    assert mapped.classes["COVID-"] == "COVID-"
    assert mapped.classes["grade_1"] == mapped.classes["grade 1"] != mapped.classes["grade 2"]


def test_two_kinds_of_pneumonia_stay_apart_with_a_note_and_one_alone_is_pneumonia():
    both = normalise.map_labels(["Viral Pneumonia", "Bacterial Pneumonia", "Normal"])
    assert both.classes == {
        **{name: name for name in ("Viral Pneumonia", "Bacterial Pneumonia")},
        "Normal": "normal",
    }
    assert any("stay classes of their own" in note for note in both.notes)
    assert normalise.map_labels(["Viral Pneumonia", "Normal"]).classes["Viral Pneumonia"] == "pneumonia"


def test_aliases_go_first_and_labels_can_be_kept():
    mapped = normalise.map_labels(["none", "covid", "Covid"], {"none": "none", "COVID": "flu"})
    assert mapped.classes == {"none": "none", "covid": "flu", "Covid": "flu"}
    kept = normalise.map_labels(["Covid", "covid", "NA"], keep=True)
    assert kept.classes == {"Covid": "Covid", "covid": "covid", "NA": ""}
    assert any("look alike but stay apart" in note for note in kept.notes)


def test_numbers_as_labels_are_in_doubt():
    assert "name the classes" in normalise.map_labels(["0", "1", "1"]).notes[-1]


@given(st.text(max_size=30))
def test_no_text_breaks_a_reader_and_a_value_that_was_read_is_read_as_itself(text: str):
    for reader in (
        normalise.normalise_label,
        normalise.normalise_split,
        normalise.normalise_view,
        normalise.normalise_patient,
        normalise.normalise_findings,
    ):
        assert reader(reader(text)) == reader(text)
    age = normalise.normalise_age(text)
    assert math.isnan(age) or 0 <= age <= normalise.OLDEST
    assert normalise.normalise_sex(text) in {"F", "M", ""}
    list(normalise.path_spellings(text))
