"""Views and body parts as scanners, languages and coding schemes write them."""

from __future__ import annotations

import pytest
from pydicom.sr.codedict import codes

from cxr.data.tables.xray_views import (
    FRONTAL,
    is_chest,
    is_unknown,
    normalise_view,
    projection,
    tells_no_view,
    view_of_codes,
)


@pytest.mark.parametrize(
    ("view", "texts"),
    [
        (
            "PA",
            ["PA", "pa", "PA UPRIGHT", "P.A.", "P/A", "postero-anterior", "POSTEROANTERIOR", "Chest PA", "PA_STEHEND"],
        ),
        ("AP", ["AP", "AP SUPINE", "AP PORTABLE", "PORTABLE AP", "AP AXIAL", "Antero Posterior", "AP decúbito supino"]),
        ("frontal", ["FRONTAL", "Face", "frontale", "PA/AP"]),
        ("lateral", ["LL", "RL", "LAT", "LATERAL", "Left lateral", "L LAT", "XTABLE LATERAL", "seitlich", "PERFIL"]),
        ("oblique", ["LAO", "RPO", "OBLIQUE", "antero-posterior oblique", "schräg"]),
        ("decubitus", ["LLD", "AP LLD", "RLD", "LATERAL DECUBITUS", "decubito lateral"]),
        ("", ["", "UPRIGHT", "CHEST", "PA AND LATERAL", "2 views", "N/A", "XYZ"]),
    ],
)
def test_a_view_is_known_by_any_of_its_spellings(view: str, texts: list[str]):
    assert {text: projection(text) for text in texts} == dict.fromkeys(texts, view)


def test_what_tells_of_no_view_is_distinguished_from_what_is_not_known():
    assert all(map(tells_no_view, ["", "UPRIGHT", "PORT CHEST", "N/A", "Unknown", "1"]))
    assert not any(map(tells_no_view, ["XYZ", "PA LATERAL", "SIDEWAYS"]))


def test_every_coded_view_of_the_standard_is_frontal_or_is_not():
    frontal = {"antero-posterior", "postero-anterior", "frontal"}
    other = {"lateral", "left lateral", "right lateral", "left anterior oblique", "right posterior oblique", "oblique"}
    listed = [getattr(codes.cid4010, name) for name in dir(codes.cid4010) if name[0].isupper()]
    views = {code.meaning: view_of_codes([(code.value, "")]) for code in listed}
    assert {meaning for meaning, view in views.items() if view in FRONTAL} == frontal
    assert all(views[meaning] not in (*FRONTAL, "") for meaning in other)


@pytest.mark.parametrize(
    ("code", "meaning", "view"),
    [
        ("R-10206", "", "AP"),
        ("R-10214", "", "PA"),
        ("R-10236", "", "lateral"),
        ("R-10232", "anything", "lateral"),
        ("99PRIV", "left lateral", "lateral"),
        ("99PRIV", "Postero-anterior", "PA"),
        ("99PRIV", "what is this", ""),
    ],
)
def test_a_coded_view_is_known_by_its_code_or_its_meaning(code: str, meaning: str, view: str):
    assert view_of_codes([(code, meaning)]) == view


CHEST = [
    *(
        "CHEST",
        "THORAX",
        "TORAX",
        "TÓRAX",
        "Tórax",
        "TORACE",
        "T0RAX",
        "PECHO",
        "POITRINE",
        "BRUSTKORB",
        "LUNG",
        "LUNGS",
    ),
    *("Lunge", "CHEST_TO_1Y", "CHESTPA", "胸部", "흉부"),
]
NOT_CHEST = ["HAND", "ABDOMEN", "CHESTABDOMEN", "CHEST ABDOMEN", "THORACIC SPINE", "TSPINE", "RIBS", "HIP", "SKULL"]


def test_the_chest_is_known_in_several_languages_and_distinguished_from_its_neighbours():
    for text in [*CHEST, "PORT CHEST", "CHEST PORT", "CHEST PA", "XR CHEST 1 VIEW", "Rx torax", "грудная клетка"]:
        assert is_chest(text) is True, text
    for text in NOT_CHEST:
        assert is_chest(text) is False, text
    for text in ["", "PORT", "ADULT", "C-ARM ROOM 2"]:
        assert is_chest(text) is None, text
    assert is_unknown("UNKNOWN")
    assert is_unknown("N/A")
    assert not is_unknown("PORT")


@pytest.mark.parametrize(
    ("text", "view"),
    [("Thorax PA", "PA"), ("AP portable chest", "AP"), ("Left lateral view", "L"), ("AP Supine", "AP Supine")],
)
def test_tables_and_headers_are_read_by_the_same_words(text: str, view: str):
    assert normalise_view(text) == view
    assert projection(text) == {"L": "lateral"}.get(view, view.split()[0])
