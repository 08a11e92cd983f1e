"""Names and values as tables write them become ours: labels, splits, ages, sexes, views, patients, paths, nothing.

One place for all importers. Every function is pure: text in, value out. A text that a function does not know comes back
as it is, without the space around it, so that nothing is lost; only ages, sexes and missing values have no such rest.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cxr.data.tables.missing import is_missing
from cxr.data.tables.xray_views import FRONTAL_VIEWS, normalise_view

OLDEST = 130
NO_FINDING = "No Finding"

# Names that mean one thing and are joined whatever else a data set holds.
_SYNONYMS = {
    "covid19": (
        *("covid", "covid19", "covid2019", "covid19pneumonia", "covidpneumonia", "pneumoniacovid19", "pneumoniacovid"),
        *("sarscov2", "sarscov2pneumonia", "ncov", "ncov19", "ncov2019", "2019ncov", "novelcoronavirus", "coronavirus"),
        *("covidpositive", "covid19positive", "positivecovid", "positivecovid19", "coronavirusdisease2019"),
    ),
    "normal": ("normal", "nofinding", "nofindings", "healthy", "healthycontrol", "normalcontrol", "normalcxr"),
    "pneumonia": ("pneumonia", "pneumonias", "penumonia", "pnemonia", "pnuemonia", "pneumoniae"),
}
# Kinds of a class: joined with it only where a data set holds no other kind, for the distinction may be wanted.
_KINDS = {
    "pneumonia": (
        *("viralpneumonia", "pneumoniaviral", "pneumoniavirus", "bacterialpneumonia", "pneumoniabacterial"),
        *("pneumoniabacteria", "bacterialpneumoniae", "otherpneumonia", "pneumoniaother", "noncovidpneumonia"),
        *("noncovid19pneumonia", "communityacquiredpneumonia"),
    ),
}
_CLASS_OF = {name: label for label, names in _SYNONYMS.items() for name in names}
_CLASS_OF_KIND = {name: label for label, names in _KINDS.items() for name in names}

_SPLIT_NAMES = {
    "train": ("train", "training", "trn", "trainval", "trainvalidation", "trainvalid"),
    "val": ("val", "valid", "validation", "validate", "validating", "dev", "development", "tuning"),
    "test": ("test", "testing", "tst", "holdout", "heldout"),
    "external": ("external",),
    "probe": ("probe",),
}
_SPLIT_OF = {name: split for split, names in _SPLIT_NAMES.items() for name in names}

_SEX_OF = {
    **dict.fromkeys(("f", "female", "femal", "fem", "woman", "w", "girl", "mujer", "femenino", "femme"), "F"),
    **dict.fromkeys(("féminin", "feminin", "weiblich", "frau", "femmina", "femminile", "feminino"), "F"),
    **dict.fromkeys(("m", "male", "man", "boy", "hombre", "masculino", "homme", "masculin", "männlich", "mann"), "M"),
    **dict.fromkeys(("maschio", "maschile", "varón", "varon"), "M"),
}

_UNITS = {
    **dict.fromkeys(("", "y", "yr", "yrs", "year", "years", "yo", "ans", "años", "jahre", "a"), 1.0),
    **dict.fromkeys(("m", "mo", "mos", "mon", "month", "months"), 1 / 12),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), 7 / 365.25),
    **dict.fromkeys(("d", "day", "days"), 1 / 365.25),
}
_AGE = re.compile(r"(?:[<>]=?|≥|≤|~|ca\.?)?\s*(?P<value>\d{1,4}(?:[.,]\d+)?)\s*\+?\s*(?P<unit>[^\W\d_]*)\+?")
_AGE_RANGE = re.compile(r"(\d{1,3})\s*(?:-|–|to)\s*(\d{1,3})\s*(?:y|yrs|years)?")
_DECADE = re.compile(r"(\d{1,2}0)['’]?s")
_DRIVE = re.compile(r"^[A-Za-z]:(?=[\\/])")


def fold_name(text: str) -> str:
    """Return what the spellings of one name have in common: case, Unicode form, and spaces, hyphens, underscores.

    Signs at the end stay: "COVID+" and "COVID-" are no spellings of each other.
    """
    plain = unicodedata.normalize("NFKC", text).strip().casefold()
    return re.sub(r"(?<=\w)[\s_\-–]+(?=\w)|_+", " ", plain).strip()


def _compact(text: str) -> str:
    """Return a name's letters and digits; any sign that may change its meaning stays."""
    return re.sub(r"[\s_\-–./'()]+(?=\w)|[\s_.'()]+$|^[\s_('.]+|(?<=\w)\)", "", fold_name(text)).replace("_", "")


def normalise_label(text: str) -> str:
    """Return covid19, normal or pneumonia for their usual names ("Covid-19", "No_findings"), other text as it is.

    Findings joined by commas or slashes count as COVID-19 or pneumonia where one of them is ("COVID-19, ARDS",
    "Pneumonia/Viral/COVID-19"). A missing value becomes "".
    """
    stripped = text.strip()
    return "" if is_missing(stripped) else known_class(stripped) or stripped


def known_class(name: str) -> str:
    """Return covid19, normal or pneumonia for their usual names, "" for others."""
    compact = _compact(name)
    if compact in {"covid+", "covid19+", "sarscov2+"}:
        return "covid19"
    class_name = _CLASS_OF.get(compact) or _CLASS_OF_KIND.get(compact, "")
    if class_name or not re.search(r"[,/;]", name):
        return class_name
    parts = [_CLASS_OF.get(part) or _CLASS_OF_KIND.get(part, "") for part in map(_compact, re.split(r"[,/;]", name))]
    return next((label for label in ("covid19", "pneumonia") if label in parts), "")


def normalise_split(text: str) -> str:
    """Return train, val or test for their usual names ("Training", "valid", "dev"), other text as it is, "" for none.

    A joint list of training and validation ("train_val") is ``train``.
    """
    stripped = text.strip()
    if is_missing(stripped):
        return ""
    name = re.sub(r"[\W_]+", "", stripped.casefold())
    return _SPLIT_OF.get(name) or _SPLIT_OF.get(re.sub(r"(set|split|data|images|list)$", "", name)) or stripped


def normalise_age(text: str) -> float:
    """Return an age in years, NaN for unknown and for what no person can be.

    Takes years ("63", "63.5", "63,5", "63 yrs"), DICOM's "045Y", "018M", "003W", "010D", bounds by their number
    (">89", "90+"), decades and ranges by their middle ("60s" is 65, "60-69" is 64.5).
    """
    plain = unicodedata.normalize("NFKC", text).strip().casefold()
    if is_missing(plain):
        return math.nan
    if match := _DECADE.fullmatch(plain):
        return _plausible(float(match[1]) + 5)
    if match := _AGE_RANGE.fullmatch(plain):
        return _plausible((float(match[1]) + float(match[2])) / 2)
    match = _AGE.fullmatch(plain)
    if match is None or match["unit"] not in _UNITS:
        return math.nan
    return _plausible(float(match["value"].replace(",", ".")) * _UNITS[match["unit"]])


def is_exact_age(text: str) -> bool:
    """Return whether an age is written as a number of years, or as DICOM writes ages ("045Y"): nothing to report."""
    return re.fullmatch(r"\d{1,3}(?:\.\d+)?|\d{1,3}[YMWD]", text.strip()) is not None


def _plausible(years: float) -> float:
    return years if 0 <= years <= OLDEST else math.nan


def normalise_sex(text: str) -> str:
    """Return F or M, "" for anything else; words of other languages are known, for "Mujer" is no M."""
    return _SEX_OF.get(unicodedata.normalize("NFC", text).strip().strip(".").casefold(), "")


def is_frontal(view: str) -> bool:
    """Return whether a view is frontal; an unknown one ("") counts as frontal, another word does not."""
    return normalise_view(view) in (*FRONTAL_VIEWS, "")


def normalise_patient(text: str) -> str:
    """Return a patient's id without the ``.0`` of a number beside missing values; leading zeros stay, "" for none."""
    stripped = text.strip()
    return "" if is_missing(stripped) else re.sub(r"^(\d+)\.0+$", r"\1", stripped)


def normalise_finding(text: str) -> str:
    """Return one finding: "No Finding" as the training knows it, other text as it is, "" for none."""
    stripped = text.strip()
    if is_missing(stripped):
        return ""
    return NO_FINDING if _compact(stripped) in {"nofinding", "nofindings"} else stripped


def normalise_findings(text: str) -> str:
    """Return findings joined by ``|`` from text joined by ``|`` or ``;`` or a list as Python writes it."""
    return "|".join(split_findings(text))


def split_findings(text: str) -> list[str]:
    """Return the findings of a text: joined by ``|`` or ``;``, or a list as Python writes it; each once, in order."""
    inner = text.strip()
    if is_missing(inner):
        return []
    if inner.startswith("[") and inner.endswith("]"):
        parts = [a or b for a, b in re.findall(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"", inner)]
        parts = parts or inner[1:-1].split(",")
    else:
        parts = re.split(r"[|;]", inner)
    return list(dict.fromkeys(name for name in map(normalise_finding, parts) if name))


def normalise_path(text: str) -> str:
    """Return a path with / between folders and without ``./`` and a drive ("C:"), whether or not it exists."""
    path = _DRIVE.sub("", text.strip("\r\n")).replace("\\", "/")
    while path.startswith("./"):
        path = path[2:].lstrip("/")
    return re.sub(r"(?<!^)/{2,}", "/", path)


def path_spellings(text: str) -> Iterator[str]:
    """Yield the spellings of a path to look for on a disk, the given one first, with / for \\ and in NFC and NFD."""
    spellings = set()
    for path in (text, text.replace("\\", "/"), normalise_path(text), normalise_path(text.strip())):
        for spelling in (path, unicodedata.normalize("NFC", path), unicodedata.normalize("NFD", path)):
            if spelling and spelling not in spellings:
                spellings.add(spelling)
                yield spelling


def label_of_findings(findings: Sequence[str]) -> str:
    """Return covid19 or pneumonia where one of the findings is, normal for "No Finding" or "normal" alone, else ""."""
    classes = [known_class(finding) for finding in findings]
    if len(classes) == 1 and classes[0] == "normal":
        return "normal"
    return next((label for label in ("covid19", "pneumonia") if label in classes), "")


@dataclass(frozen=True)
class LabelMap:
    """What the labels of a data set become.

    Attributes
    ----------
    classes
        ``{label as written: class}``, "" for a label that is missing.
    notes
        One sentence for each that changed or that stays in doubt.
    """

    classes: dict[str, str]
    notes: tuple[str, ...]


def map_labels(labels: Sequence[str], aliases: Mapping[str, str] | None = None, keep: bool = False) -> LabelMap:
    """Say which class each label of a data set stands for.

    ``aliases`` go first (matched exactly, then without regard to case). Then the usual names of covid19, normal and
    pneumonia, and spellings of one name become the commonest of them. Kinds of pneumonia are pneumonia, unless the data
    set holds several kinds. ``keep`` leaves every label that has no alias as it is written.

    Parameters
    ----------
    labels
        The label of each X-ray, repeated as often as it occurs.
    """
    counts: dict[str, int] = defaultdict(int)
    for label in labels:
        counts[label] += 1
    exact = dict(aliases or {})
    folded = {key.strip().casefold(): value for key, value in exact.items()}
    classes: dict[str, str] = {}
    rest: list[str] = []
    for label in counts:
        alias = exact.get(label, exact.get(label.strip(), folded.get(label.strip().casefold())))
        if alias is not None:
            classes[label] = alias
        elif is_missing(label):
            classes[label] = ""
        elif keep:
            classes[label] = label.strip()
        else:
            rest.append(label)
    apart = _kinds_apart(rest)
    spellings: dict[str, list[str]] = defaultdict(list)
    for label in rest:
        spellings[fold_name(label)].append(label)
    for label in rest:
        class_name = "" if _compact(label) in apart else known_class(label)
        classes[label] = class_name or _commonest(spellings[fold_name(label)], counts)
    return LabelMap(classes, tuple(_label_notes(classes, counts, exact, apart)))


def _kinds_apart(labels: Sequence[str]) -> set[str]:
    """Return the kinds of pneumonia that stay classes of their own: where a data set holds more than one of them."""
    kinds = {_compact(label) for label in labels} & set(_CLASS_OF_KIND)
    other = {_compact(label) for label in labels if _CLASS_OF.get(_compact(label)) == "pneumonia"}
    return kinds if len(kinds) + bool(other) > 1 else set()


def _commonest(spellings: Sequence[str], counts: Mapping[str, int]) -> str:
    return min(spellings, key=lambda label: (-counts[label], label)).strip()


def _label_notes(
    classes: Mapping[str, str], counts: Mapping[str, int], aliases: Mapping[str, str], apart: set[str]
) -> Iterator[str]:
    changed = [label for label in sorted(counts) if classes[label] and classes[label] != label.strip()]
    if changed:
        pairs = ", ".join(f"{label.strip()} -> {classes[label]} ({counts[label]})" for label in changed)
        yield f"labels: {pairs}"
    missing = sum(counts[label] for label, name in classes.items() if not name)
    if missing and any(classes.values()):
        words = sorted({label.strip() for label, name in classes.items() if not name} - {""})
        yield f"labels: {missing:,} missing" + (f" (written {', '.join(words)})" if words else "")
    if apart:
        names = [label.strip() for label in sorted(counts) if _compact(label) in apart and label not in aliases]
        yield f"labels: {', '.join(names)} stay classes of their own (to join them: --alias '{names[0]}=pneumonia')"
    yield from _doubts(sorted({name for name in classes.values() if name}))


def _doubts(names: Sequence[str]) -> Iterator[str]:
    """Yield a warning for classes that may be meant to be one, or whose names say nothing."""
    if names and all(re.fullmatch(r"-?\d+(?:\.0+)?", name) for name in names):
        yield f"labels are numbers ({', '.join(names[:10])}): name the classes, as in --alias {names[0]}=normal"
    letters: dict[str, list[str]] = defaultdict(list)
    for name in names:
        letters[_compact(name)].append(name)
    for alike in letters.values():
        if len(alike) > 1:
            yield f"labels {', '.join(alike)} look alike but stay apart (to join them: --alias '{alike[0]}={alike[1]}')"
