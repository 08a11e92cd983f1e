"""The vocabulary of burned-in text: which token is on which images, and whether it gives a class away.

A pure function of two tables, ``images`` (image_id, label, source, patient_id) and ``tokens`` (image_id, text, kind,
place), as :mod:`cxr.text.vocabulary_run` writes them. Presence counts, not frequency: five times "AP" on one image are
one image. Association is counted over patients, since the images of one resemble each other: a patient carries a token
if any of their images does, counts once per class, and an image without a patient counts as one of its own.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from cxr.evaluation.metrics import patients_of
from cxr.evaluation.words import xrays
from cxr.text.association import by_chance, mutual_information, odds_ratio, permutation_p
from cxr.text.boxes import TextBox

GROUPS = ("token", "kind", "place", "kind and place")
"""What is counted: transcriptions, and as pseudo tokens kinds, places and both together, which need no reading."""
UNREAD, ANY = "<unread>", "any text"
MIN_IMAGES = 3
SIGNIFICANT = 0.05

_ODDS = ("odds_ratio", "low", "high")
_SHORTEST_JOINED = 5  # letters: shorter words that differ in one letter are different words
_LOOK_ALIKE = str.maketrans("GQI", "COL")
_MONTHS = "jan|feb|mar|apr|may|mai|jun|jul|aug|ago|sep|set|oct|okt|ott|nov|dec|dez|dic"
_PIECES = re.compile(
    rf"""(?P<date>(?<!\d)(?:\d{{1,4}}[./-]\d{{1,2}}[./-]\d{{1,4}}|(?:19|20)\d{{6}}
        |\d{{1,2}}[ ./-]*(?:{_MONTHS})[a-z]*[ ./-]*\d{{2,4}})(?!\d))
      |(?P<time>(?<!\d)\d{{1,2}}:\d{{2}}(?::\d{{2}})?(?:\s*[ap]m\b)?(?!\d))
      |(?P<word>\S+)""",
    re.IGNORECASE | re.VERBOSE,
)


def tokens_in(text: str) -> list[str]:
    """Return the normalised tokens of one transcription, in its order.

    Upper case, without punctuation around; dates, times and numbers become ``<date>``, ``<time>`` and ``<number>``,
    digits within a word ``#``. Nothing read is one token, ``<unread>``.

    >>> tokens_in("Dx 12.03.2020 portable, 80 kV2")
    ['DX', '<date>', 'PORTABLE', '<number>', 'KV#']
    """
    found = []
    for piece in _PIECES.finditer(unicodedata.normalize("NFKC", text)):
        found.append(f"<{piece.lastgroup}>" if piece.lastgroup != "word" else _word(piece.group()))
    return found or [UNREAD]


def _word(piece: str) -> str:
    ends = [i for i, c in enumerate(piece) if c.isalnum()]
    if not ends:
        return piece
    bare = piece[ends[0] : ends[-1] + 1]
    if not any(c.isalpha() for c in bare):
        return "<number>"
    return re.sub(r"\d+", "#", bare).upper()


def place_of(box: TextBox, shape: Sequence[int]) -> str:
    """Return where on the picture (H, W) a box's centre lies, by thirds, as one looks at it: "upper left"."""
    height, width = shape[:2]
    row = min(2, int(1.5 * (box.y0 + box.y1) / height))
    column = min(2, int(1.5 * (box.x0 + box.x1) / width))
    return f"{('upper', 'middle', 'lower')[row]} {('left', 'centre', 'right')[column]}"


def joined_spellings(counts: Mapping[str, int]) -> dict[str, str]:
    """Return ``{token: commoner token}`` for spellings that a reader of letters confuses.

    Joined are words of five letters or more of which one lacks a letter of the other (PORTABL), has a digit in its
    place (P#RTABLE), or differs in letters of one shape (C and G, O and Q, I and L: GLINICA). Any other letter makes
    another word: SUPINO is not SUPINE.
    """
    heads: dict[str, str] = {}
    one_less: dict[str, str] = {}
    joined = {}
    for token in sorted(counts, key=lambda t: (-counts[t], t)):
        plain = token.replace("#", "").translate(_LOOK_ALIKE)
        if "<" in token or len(plain) < _SHORTEST_JOINED:
            continue
        head = heads.get(plain) or one_less.get(plain) or next(filter(None, map(heads.get, _without_one(plain))), None)
        if head is not None:
            joined[token] = head
            continue
        heads[plain] = token
        for shorter in _without_one(plain):
            one_less.setdefault(shorter, token)
    return joined


def _without_one(word: str) -> Iterator[str]:
    shorter = (word[:i] + word[i + 1 :] for i in range(len(word)))
    return (s for s in shorter if len(s) >= _SHORTEST_JOINED)


# --- what is on which image ----------------------------------------------------------------------------------------


def occurrences(tokens: pd.DataFrame, join: bool = False) -> pd.DataFrame:
    """Return one row per token and pseudo token of each box: ``box`` (row of ``tokens``), ``image_id, group, token,
    spelling``.

    ``join`` puts near-equal spellings together (:func:`joined_spellings`).
    """
    rows: list[tuple[int, str, str, str, str]] = []
    boxes = zip(*(tokens[c] for c in ("image_id", "text", "kind", "place")), strict=True)
    for box, (image_id, text, kind, place) in enumerate(boxes):
        rows += [(box, image_id, "token", token, text) for token in tokens_in(text)]
        rows += [(box, image_id, "kind", value, "") for value in (kind, ANY)]
        rows += [(box, image_id, "place", place, ""), (box, image_id, "kind and place", f"{kind}, {place}", "")]
    table = pd.DataFrame(rows, columns=["box", "image_id", "group", "token", "spelling"])
    if join:
        words = table[table["group"] == "token"]
        heads = joined_spellings(words.drop_duplicates(["image_id", "token"])["token"].value_counts().to_dict())
        table.loc[words.index, "token"] = words["token"].replace(heads)
    return table


def vocabulary(
    images: pd.DataFrame, tokens: pd.DataFrame, *, min_images: int = MIN_IMAGES, join: bool = False, seed: int = 0
) -> list[dict[str, Any]]:
    """Return one entry per token that at least ``min_images`` images carry, the one that tells most of the class first.

    Returns
    -------
    Entries with

    - ``group`` (one of :data:`GROUPS`), ``token``, ``spellings`` (what was read, with its number of times), ``times``,
      ``images``, ``patients``
    - ``by_class``: by class ``images``, ``units`` (patients, or images without one) that carry it, ``of`` all of the
      class, ``odds_ratio`` against the other classes with ``low`` and ``high`` (95 %, Haldane-Anscombe 0.5, Woolf);
      ``by_source``: images
    - ``points_to``: the class whose interval of the odds ratio begins highest
    - ``bits``: mutual information of presence and class; ``chance``: its mean when labels are permuted among units;
      ``p`` of that permutation; ``q``: p after Benjamini and Hochberg (1995) over the entries

    The last are None where fewer than two classes have a label. The choice by ``min_images`` does not look at
    labels, so it does not bias the p values.
    """
    facts = images.set_index("image_id")[["label", "source", "patient_id"]].reset_index()
    facts["unit"] = _units(facts)
    found = occurrences(tokens, join).merge(facts, on="image_id")
    n_images = found.groupby(["group", "token"])["image_id"].nunique()
    kept = n_images[n_images >= min_images].index
    classes = sorted(set(facts["label"]) - {""})
    totals = {c: int(facts.loc[facts["label"] == c, "unit"].nunique()) for c in classes}
    by_token = dict(iter(found.groupby(["group", "token"])))
    entries = [_entry(group, token, by_token[group, token], totals, seed) for group, token in kept]
    if len(classes) > 1 and entries:
        for entry, q in zip(entries, false_discovery_control([e["p"] for e in entries]), strict=True):
            entry["q"] = float(q)
    return sorted(entries, key=lambda e: (-((e["bits"] or 0) - (e["chance"] or 0)), -e["images"], e["token"]))


def _units(facts: pd.DataFrame) -> pd.Series:
    patient = facts["patient_id"].where(facts["patient_id"] != "", "image " + facts["image_id"])
    return facts["label"] + "\0" + patient


def _entry(group: str, token: str, rows: pd.DataFrame, totals: dict[str, int], seed: int) -> dict[str, Any]:
    once = rows.drop_duplicates("image_id")
    patients = once.loc[once["patient_id"] != "", "patient_id"].nunique()
    spellings = Counter(rows["spelling"]) if group == "token" and not token.startswith("<") else Counter()
    entry: dict[str, Any] = {
        "group": group,
        "token": token,
        "spellings": dict(spellings.most_common()),
        "times": len(rows),
        "images": len(once),
        "patients": int(patients),
        "by_class": {},
        "by_source": {str(k): int(n) for k, n in once["source"].value_counts().items()},
    }
    labelled = once[once["label"] != ""]
    present = {c: int(labelled.loc[labelled["label"] == c, "unit"].nunique()) for c in totals}
    shown = labelled["label"].value_counts()
    for name, of in totals.items():
        entry["by_class"][name] = {"images": int(shown.get(name, 0)), "units": present[name], "of": of}
    return entry | _association(entry["by_class"], seed)


def _association(by_class: dict[str, dict[str, Any]], seed: int) -> dict[str, Any]:
    """Add the odds ratios to ``by_class`` and return what concerns all classes."""
    if len(by_class) < 2:
        return dict.fromkeys(("points_to", "bits", "chance", "p", "q"))
    carriers, everybody = (sum(c[key] for c in by_class.values()) for key in ("units", "of"))
    for told in by_class.values():
        rest = (carriers - told["units"], everybody - told["of"])
        told |= dict(zip(_ODDS, odds_ratio(told["units"], told["of"], *rest), strict=True))
    present, totals = (np.array([c[key] for c in by_class.values()]) for key in ("units", "of"))
    bits = max(0.0, float(mutual_information(present, totals)))
    chance = by_chance(carriers, tuple(totals.tolist()), seed)
    return {
        "points_to": max(by_class, key=lambda c: by_class[c]["low"]),
        "bits": bits,
        "chance": float(chance.mean()),
        "p": permutation_p(bits, chance),
        "q": None,
    }


# --- for tables and people -----------------------------------------------------------------------------------------


def flat(entries: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return the entries as a table: one column per number, ``images <class>``, ``odds_ratio <class>``, ..."""
    rows = []
    for entry in entries:
        row = {k: v for k, v in entry.items() if k not in ("by_class", "by_source", "spellings")}
        row["spellings"] = ", ".join(f"{text} ({n})" for text, n in entry["spellings"].items())
        row |= {f"{key} {name}": value for name, told in entry["by_class"].items() for key, value in told.items()}
        rows.append(row | {f"source {name or '(none)'}": n for name, n in entry["by_source"].items()})
    table = pd.DataFrame(rows)
    sources = [c for c in table.columns if c.startswith("source ")]
    return table.assign(**{c: table[c].fillna(0).astype(int) for c in sources})


def odds_in_words(told: Mapping[str, Any]) -> str:
    """Return an entry's odds ratio of one class as people write it.

    >>> odds_in_words({"odds_ratio": 154.71, "low": 7.36, "high": 3255.4})
    '155 [7.4, 3,255]'
    """
    value, low, high = (f"{v:,.0f}" if v >= 99.5 else f"{v:.2g}" for v in (told[k] for k in _ODDS))
    return f"{value} [{low}, {high}]"


def boxes_with(tokens: pd.DataFrame, group: str, token: str, join: bool = False) -> pd.DataFrame:
    """Return the rows of ``tokens`` that carry a token or pseudo token."""
    found = occurrences(tokens, join)
    return tokens.iloc[found.loc[(found["group"] == group) & (found["token"] == token), "box"].unique()]


def finding(images: pd.DataFrame, tokens: pd.DataFrame, entries: Sequence[dict[str, Any]]) -> str:
    """Return in plain sentences what tells most of the class."""
    with_text = tokens["image_id"].nunique()
    begin = f"{with_text} of {xrays(len(images), len(set(patients_of(images))))} carry text."
    words = [e for e in entries if e["group"] == "token"]
    if not words:
        return f"{begin} No token is on enough of them to be counted."
    if words[0]["p"] is None:
        return f"{begin} Fewer than two classes have a label, so nothing can be said about them."
    best = next((e for e in words if e["q"] < SIGNIFICANT), None)
    if best is None:
        smallest = min(e["q"] for e in words)
        return f"{begin} No token tells the classes apart beyond chance (smallest q = {smallest:.2g})."
    name, told = best["points_to"], best["by_class"][best["points_to"]]
    others = {key: sum(c[key] for c in best["by_class"].values()) - told[key] for key in ("units", "of")}
    return (
        f"{begin} {best['token']} tells most: it is on {told['units']} of {told['of']} patients of class {name} and on "
        f"{others['units']} of the {others['of']} others (odds ratio {odds_in_words(told)}, "
        f"{best['bits'] - best['chance']:.3f} bits beyond chance, q = {best['q']:.2g})."
    )
