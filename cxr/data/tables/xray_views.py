"""Views and body parts as people, scanners and coding schemes write them, in several languages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise

from cxr.data.tables.missing import is_missing

FRONTAL = frozenset({"PA", "AP", "frontal"})
FRONTAL_VIEWS = frozenset({*FRONTAL, "AP Supine", "AP Erect", "AP Semi Erect"})

# Codes of DICOM CID 4010 (DX View): SNOMED CT, and the older SNOMED RT that most files carry.
_CODED_VIEWS = {
    "AP": ("399348003", "R-10206"),
    "PA": ("272479007", "R-10214", "R-40888"),
    "frontal": ("399033003", "R-10202"),
    "lateral": (
        *("399067008", "399173006", "399198007", "399352003", "399260004", "30730003"),
        *("R-102CD", "R-10236", "R-10232", "R-10228", "R-10224", "G-A145", "G-A138"),
    ),
    "oblique": (
        *("399312000", "399059000", "399160007", "399182000", "399135007", "399184004", "399006002", "399356000"),
        *("399236003", "399038007", "399132005", "399004004", "399225005", "399288005", "399325008", "399099002"),
        *("260427002", "260426006", "399368009"),
        *("R-10208", "R-10216", "R-10204", "R-102C1", "R-10220", "R-10238", "R-10212", "R-40985", "R-10234"),
        *("R-10210", "R-10252", "R-10246", "R-10250", "R-10248", "R-10254", "R-10230", "R-40783", "R-40782", "R-10226"),
    ),
}
_VIEW_OF_CODE = {code: view for view, codes in _CODED_VIEWS.items() for code in codes}

_VIEW_WORDS = {
    "AP": "AP ANTEROPOSTERIOR ANTEROPOSTERIEUR ANTERIORPOSTERIOR ANTEROPOSTERIORE",
    "PA": "PA POSTEROANTERIOR POSTEROANTERIEUR POSTERIORANTERIOR POSTEROANTERIORE POSTERIANTERIOR",
    "frontal": "FRONTAL FRONTALE FRENTE FACE",
    "lateral": "LATERAL LATERALE LATERALIS LATERAAL LAT LL RL LLAT RLAT LATL LATR PROFIL PROFILE PERFIL SEITLICH"
    " DWARS LATEROLATERAL LATEROLATERALE",
    "oblique": "OBLIQUE OBLICUA OBLIQUA OBLIQUO OBL SCHRAG SCHRAEG LAO RAO LPO RPO LLO RLO",
    "decubitus": "DECUBITUS DECUB DECUBITO LLD RLD LATDECUB",
    "other": "SWIMMERS SWIMMER TANGENTIAL",
}
_VIEW_OF_WORD = {word: view for view, words in _VIEW_WORDS.items() for word in words.split()}
_LYING_FLAT = frozenset({"SUPINE", "SUPINO", "SUPINA", "DORSAL", "DORSALE", "PRONE", "PRONO", "RUCKEN"})
# Words of a view that say how the patient lies or how the image was taken, and nothing of the projection.
_NO_VIEW = frozenset(
    (
        *("SUPINE", "SUPINO", "ERECT", "UPRIGHT", "STANDING", "SITTING", "SEATED", "SEMI", "SEMIERECT", "STEHEND"),
        *("LIEGEND", "SITZEND", "DEBOUT", "COUCHE", "BIPEDESTACION", "PORTABLE", "PORT", "MOBILE", "BED", "BEDSIDE"),
        *("ICU", "ADULT", "CHILD", "PED", "PEDIATRIC", "AXIAL", "LORDOTIC", "VIEW", "POSITION", "INSPIRATION"),
    )
)
_FIRST_OF_TWO = {"ANTERO": "A", "ANTERIOR": "A", "POSTERO": "P", "POSTERIOR": "P", "A": "A", "P": "P"}

# Views of tables, which tell how the patient lies too.
_VIEW_SPELLINGS = {
    "PA": ("pa", "posteroanterior", "postanterior", "posterioranterior", "pachest", "chestpa", "frontalpa", "paview"),
    "AP": ("ap", "anteroposterior", "anteriorposterior", "apchest", "chestap", "frontalap", "apportable", "portableap"),
    "AP Supine": ("apsupine", "supineap", "supine", "aphorizontal", "apsup"),
    "AP Erect": ("aperect", "erectap", "apupright", "uprightap"),
    "AP Semi Erect": ("apsemierect", "semierectap", "apsemiupright", "apsemisupine"),
    "frontal": ("frontal", "front", "frontalview"),
    "L": (
        *("l", "ll", "lat", "lateral", "rl", "llateral", "leftlateral", "lateralleft", "rlateral", "rightlateral"),
        *("rlat", "llat", "lateralright", "lateralview", "xtablelateral", "crosstablelateral", "profile", "perfil"),
    ),
}
_VIEW_OF_SPELLING = {name: view for view, names in _VIEW_SPELLINGS.items() for name in names}

# A token that begins with one of these is the chest ("CHESTPA", "THORAX2", "TORAXAP").
_CHEST = (
    *("CHEST", "CHST", "CXR", "THORAX", "TORAX", "TORACE", "TORAKS", "THX", "LUNG", "POITRINE", "POUMON", "POLMON"),
    *("PECHO", "PULMAO", "PULMON", "PULMOES", "BRUSTKORB", "BRUST", "BORSTKAS", "HRUDNIK", "PIERSIOW", "AKCIGER"),
    *("GOGUS", "NGUC", "胸", "흉부", "ГРУДН", "ЛЕГК"),
)
_OTHER_PARTS = (
    *("ABDOMEN", "ABDOMINAL", "PELVIS", "HIP", "KNEE", "FOOT", "FEET", "ANKLE", "HAND", "WRIST", "ELBOW", "SHOULDER"),
    *("CLAVIC", "SCAPULA", "STERNUM", "RIB", "SPINE", "TSPINE", "CSPINE", "LSPINE", "VERTEBRA", "LUMBAR", "CERVICAL"),
    *("THORACIC", "SKULL", "HEAD", "SINUS", "NECK", "FEMUR", "TIBIA", "HUMERUS", "FOREARM", "FINGER", "TOE"),
    *(
        "LEG",
        "UPPERARM",
        "BREAST",
        "TEETH",
        "JAW",
        "HEEL",
        "WIRBEL",
        "BECKEN",
        "KNIE",
        "SCHULTER",
        "COLUMNA",
        "COSTILLA",
    ),
    *("RODILLA", "MANO", "HOMBRO", "ABDOME", "BACINO", "GENOU", "EPAULE", "RACHIS", "COLONNE", "WHOLEBODY"),
)
_SHORT_PARTS = frozenset({"HIP", "HIPS", "RIB", "RIBS", "TOE", "TOES", "LEG", "LEGS", "JAW", "HEAD", "MANO"})
_UNKNOWN = frozenset({"", "UNKNOWN", "UNK", "NONE", "OTHER", "NA", "N", "UNDEFINED", "DEFAULT", "NULL", "ANY", "BODY"})
_CHEST_CODES = frozenset(
    {"816094009", "51185008", "39607008", "43799004", "T-D3000", "T-28000", "302551006", "181216001"}
)


def projection(text: str) -> str:
    """Return the view that a text names: "PA", "AP", "frontal", "lateral", "oblique", "decubitus" or "other".

    "" where it names none ("UPRIGHT", "CHEST") or of several at once ("PA AND LATERAL", which describes a study).
    "AP SUPINE", "PA UPRIGHT" and "AP AXIAL" are AP, PA and AP; any view lying on a side is "decubitus".
    """
    views = _views_in(text)
    for strong in ("decubitus", "oblique", "other"):
        if strong in views:
            return strong
    if views == {"PA", "AP"}:
        return "frontal"
    if len(views) == 2 and "frontal" in views and "lateral" not in views:
        views.discard("frontal")
    return views.pop() if len(views) == 1 else ""


def normalise_view(text: str) -> str:
    """Return a table's view: PA, AP, AP Supine, AP Erect, AP Semi Erect, frontal or L (lateral), "" for none.

    A spelling that is not listed is read by its words as :func:`projection` reads it; other text stays as it is.
    """
    stripped = text.strip()
    if is_missing(stripped):
        return ""
    listed = _VIEW_OF_SPELLING.get(re.sub(r"[\W_]+", "", stripped.casefold()))
    view = listed or projection(stripped)
    return "L" if view == "lateral" else view if listed or view in FRONTAL else stripped


def tells_no_view(text: str) -> bool:
    """Return whether a text says nothing of the projection ("", "UPRIGHT", "N/A", "PORT CHEST")."""
    words = [token for token in _tokens(text) if not token.startswith(_CHEST) and not token.isdecimal()]
    return is_unknown(" ".join(word for word in words if word not in _NO_VIEW))


def view_of_codes(codes: Iterable[tuple[str, str]]) -> str:
    """Return the view of ``(code value, meaning)`` pairs as :func:`projection` does, by the code or its meaning."""
    for code, meaning in codes:
        if view := _VIEW_OF_CODE.get(code.upper()) or projection(meaning):
            return view
    return ""


def is_chest(text: str) -> bool | None:
    """Return whether a text names the chest (True), another part of the body (False), or none (None).

    "PORT CHEST", "CHEST_TO_1Y", "Tórax" are the chest; "THORACIC SPINE", "CHEST ABDOMEN" and "RIBS" are not.
    """
    parts = body_parts_in(text)
    return False if "other" in parts else True if parts else None


def body_parts_in(text: str) -> frozenset[str]:
    """Return "chest", "other" or both for the parts of the body that a text names."""
    tokens = [re.sub(r"(?<=[A-Z])0(?=[A-Z])", "O", token) for token in _tokens(text)]  # "T0RAX"
    chest = {"chest"} if any(token.startswith(_CHEST) for token in tokens) else set()
    other = {"other"} if any(_is_other_part(token) for token in tokens) else set()
    return frozenset(chest | other)


def is_unknown(text: str) -> bool:
    """Return whether a text of a header stands for nothing known ("UNKNOWN", "N/A", "")."""
    return all(token in _UNKNOWN or token == "A" for token in _tokens(text))


def is_chest_code(codes: Iterable[tuple[str, str]]) -> bool | None:
    """Do the same as :func:`is_chest` with ``(code value, meaning)`` pairs."""
    answers = [True if code.upper() in _CHEST_CODES else is_chest(meaning) for code, meaning in codes]
    return None if not answers else False if False in answers else True if True in answers else None


def _views_in(text: str) -> set[str]:
    tokens = _tokens(text)
    views = {_VIEW_OF_WORD[token] for token in tokens if token in _VIEW_OF_WORD}
    if _LYING_FLAT & set(tokens):  # "decubito supino" is on the back
        views.discard("decubitus")
    for first, second in pairwise(tokens):
        pair = _FIRST_OF_TWO.get(first, "") + _FIRST_OF_TWO.get(second, "")
        views |= {pair} & {"AP", "PA"}
    return views


def _tokens(text: str) -> list[str]:
    """Return the words of a text in capitals, accents stripped."""
    plain = unicodedata.normalize("NFKD", text.upper())
    bare = unicodedata.normalize("NFC", "".join(c for c in plain if not unicodedata.combining(c)))
    return re.findall(r"[^\W_]+", bare)


def _is_other_part(token: str) -> bool:
    if token.startswith(_CHEST):
        return any(part in token for part in ("ABDOMEN", "SPINE"))
    return token in _SHORT_PARTS or any(token.startswith(part) for part in _OTHER_PARTS if part not in _SHORT_PARTS)
