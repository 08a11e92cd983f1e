"""The vocabulary of burned-in text: which token is on which images, and whether it predicts a class.

A pure function of two tables, ``images`` (image_id, label, source, patient_id) and ``tokens`` (image_id, text, kind,
place), as :mod:`cxr.experiments.vocabulary.job` writes them. Presence counts, not frequency: five times "AP" on one
image are one image. Association is counted over patients, since the images of one resemble each other: every patient
counts once, with one of their labelled images, drawn by lot. So a patient of two classes is in one of them, and a class
whose patients have many images each gives a token no more chances than one whose patients have a single image. An image
without a patient counts as one of its own.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b

import numpy as np
import pandas as pd

from cxr.evaluation.metrics import patients_of
from cxr.experiments.vocabulary.association import LEVEL, exact_p, expected_information, mutual_information, odds_ratio
from cxr.experiments.vocabulary.entries import Association, ClassCounts, Entry, Odds, TokenCounts
from cxr.experiments.vocabulary.within_sources import add_within_sources, flat_columns, sentence
from cxr.formatting import xrays
from cxr.text.boxes import TextBox

GROUPS = ("token", "kind", "place", "kind and place")
"""What is counted: transcriptions, and as pseudo tokens kinds, places and both together, which need no reading."""
UNREAD, ANY = "<unread>", "any text"
MIN_IMAGES = 3
SIGNIFICANT = 0.05

_NESTED = ("by_class", "by_source", "spellings", "within_sources")
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
    tokens = []
    for piece in _PIECES.finditer(unicodedata.normalize("NFKC", text)):
        tokens.append(f"<{piece.lastgroup}>" if piece.lastgroup != "word" else _word(piece.group()))
    return tokens or [UNREAD]


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
    words_of = {text: tokens_in(text) for text in set(tokens["text"])}
    for box, (image_id, text, kind, place) in enumerate(boxes):
        rows += [(box, image_id, "token", token, text) for token in words_of[text]]
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
) -> list[Entry]:
    """Return one entry per token that at least ``min_images`` images carry, the best predictor of a class first.

    Returns
    -------
    Entries with

    - ``group`` (one of :data:`GROUPS`), ``token``, ``spellings`` (what was read, with its number of times), ``times``,
      ``images``, ``patients``
    - ``by_class``: by class ``images``; of the images drawn, one per patient: ``units`` that carry it, ``of`` all of
      the class, ``p`` and ``odds_ratio`` against the other classes with its limits ``low`` and ``high`` (exact, 95 %,
      of this token and class alone; infinite where a cell is empty, see
      :func:`cxr.experiments.vocabulary.association.odds_ratio`); ``by_source``: images
    - ``points_to``: the class with the smallest p, which has more of it or less (:func:`points_in_words`)
    - ``p``: that smallest p, times the number of classes (Bonferroni) if there are more than two; ``q``: p after
      Benjamini and Hochberg (1995) over the entries
    - ``within_sources``: the same among X-rays of the same source (:class:`~.entries.WithinSources`), where there are
      several
    - ``bits``: mutual information of presence and class; ``chance``: its mean if as many units carried it whatever
      their class

    The last are None where fewer than two classes have a label. Neither the choice by ``min_images`` nor the lot, which
    ``seed`` casts, looks at labels and tokens together, so they do not bias the p values.
    """
    facts = images.set_index("image_id")[["label", "source", "patient_id"]].reset_index()
    facts["drawn"] = one_per_patient(facts, seed)
    table = occurrences(tokens, join).merge(facts, on="image_id")
    once = table.drop_duplicates(["group", "token", "image_id"])
    from scipy.stats import false_discovery_control  # takes a second to load

    by_class = _drawn_by_class(facts)
    entries = [_associated(entry) for entry in _counted(table, by_class) if entry["images"] >= min_images]
    add_within_sources(entries, once, facts, n_tests(by_class))
    p_values = [entry["p"] for entry in entries if entry["p"] is not None]
    if p_values:
        for entry, q in zip(entries, false_discovery_control(p_values), strict=True):
            entry["q"] = float(q)
    return sorted(entries, key=lambda e: (-((e["bits"] or 0) - (e["chance"] or 0)), -e["images"], e["token"]))


def one_per_patient(images: pd.DataFrame, seed: int = 0) -> np.ndarray:
    """Return (N,) True for one labelled image of each patient, and for each labelled image without a patient.

    The lot is cast with the image's id, so it does not depend on the order of the images or on which others there are.
    """
    labelled = (images["label"] != "").to_numpy()
    unit = images["patient_id"].where(images["patient_id"] != "", "image\0" + images["image_id"])
    lot = [blake2b(f"{seed}\0{image_id}".encode(), digest_size=8).digest() for image_id in images["image_id"]]
    cast = pd.DataFrame({"unit": unit.to_numpy(), "lot": lot})[labelled].sort_values("lot", kind="stable")
    drawn = np.zeros(len(images), bool)
    drawn[cast.drop_duplicates("unit").index] = True
    return drawn


def _drawn_by_class(facts: pd.DataFrame) -> dict[str, int]:
    drawn = facts.loc[facts["drawn"], "label"].value_counts()
    return {name: int(drawn.get(name, 0)) for name in sorted(set(facts["label"]) - {""})}


def _counted(table: pd.DataFrame, totals: dict[str, int]) -> list[TokenCounts]:
    """Return an entry of counts for every token and pseudo token."""
    once = table.drop_duplicates(["group", "token", "image_id"])
    patients = once[once["patient_id"] != ""].drop_duplicates(["group", "token", "patient_id"])
    spellings, labels, sources = _by(table, "spelling"), _by(once, "label"), _by(once, "source")
    drawn, n_patients = _by(once[once["drawn"]], "label"), _by(patients.assign(all=""), "all")
    return [
        {
            "group": group,
            "token": token,
            "spellings": dict(read.most_common()) if group == "token" and not token.startswith("<") else {},
            "times": read.total(),
            "images": sources[group, token].total(),
            "patients": n_patients[group, token].total(),
            "by_class": {
                name: {"images": labels[group, token][name], "units": drawn[group, token][name], "of": of}
                for name, of in totals.items()
            },
            "by_source": dict(sources[group, token].most_common()),
        }
        for (group, token), read in spellings.items()
    ]


def _by(rows: pd.DataFrame, column: str) -> defaultdict[tuple[str, str], Counter[str]]:
    """Return how many rows of each token have which value in a column."""
    counts: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for (group, token, value), n in rows.groupby(["group", "token", column], dropna=False).size().items():
        counts[group, token][str(value)] = int(n)
    return counts


def _associated(counts: TokenCounts) -> Entry:
    return {**counts, **_association(counts["by_class"])}


def _association(by_class: dict[str, ClassCounts]) -> Association:
    """Add p values and odds ratios to ``by_class`` and return what concerns all classes."""
    if len(by_class) < 2:
        return {"points_to": None, "bits": None, "chance": None, "p": None, "q": None}
    for name, counts in by_class.items():
        cells = _cells(by_class, name)
        counts["p"] = exact_p(*cells)
        counts["odds_ratio"], counts["low"], counts["high"] = odds_ratio(*cells)
    first = min(by_class, key=lambda c: (by_class[c]["p"], -(by_class[c]["low"] or 0.0)))
    present = np.array([counts["units"] for counts in by_class.values()])
    totals = np.array([counts["of"] for counts in by_class.values()])
    return {
        "points_to": first,
        "bits": max(0.0, mutual_information(present, totals)),
        "chance": expected_information(int(present.sum()), tuple(totals.tolist())),
        "p": min(1.0, by_class[first]["p"] * n_tests(by_class)),
        "q": None,
    }


def n_tests(by_class: Mapping[str, object]) -> int:
    """Return how many different tests of one class against the rest there are: of two classes both are the same."""
    return len(by_class) if len(by_class) > 2 else 1


def _cells(by_class: Mapping[str, ClassCounts], name: str) -> tuple[int, int, int, int]:
    """Return carriers and units of a class, and those of all others."""
    with_in, n_in = by_class[name]["units"], by_class[name]["of"]
    carriers = sum(counts["units"] for counts in by_class.values())
    everybody = sum(counts["of"] for counts in by_class.values())
    return with_in, n_in, carriers - with_in, everybody - n_in


# --- for tables and people -----------------------------------------------------------------------------------------


def flat(entries: Sequence[Entry]) -> pd.DataFrame:
    """Return the entries as a table: one column per number, ``images <class>``, ``odds_ratio <class>``, ...

    Limits without end are ``inf``.
    """
    rows = []
    for entry in entries:
        row: dict[str, object] = {k: v for k, v in entry.items() if k not in _NESTED}
        row["spellings"] = ", ".join(f"{text} ({n})" for text, n in entry["spellings"].items())
        for name, counts in entry["by_class"].items():
            numbers: dict[str, object] = {**counts}
            if "low" in counts:
                numbers |= zip(_ODDS, limits(counts), strict=True)
            row |= {f"{key} {name}": value for key, value in numbers.items()}
        row |= flat_columns(entry)
        rows.append(row | {f"source {name or '(none)'}": n for name, n in entry["by_source"].items()})
    table = pd.DataFrame(rows)
    sources = [c for c in table.columns if c.startswith("source ")]
    return table.assign(**{c: table[c].fillna(0).astype(int) for c in sources})


def odds_in_words(counts: Odds) -> str:
    """Return an entry's odds ratio of one class as people write it; JSON's null for infinity is understood.

    >>> odds_in_words({"odds_ratio": 154.71, "low": 7.36, "high": 3255.4})
    '155 [7.4, 3,255]'
    >>> odds_in_words({"odds_ratio": None, "low": 10.43, "high": None})
    '∞ [10, ∞]'
    """
    value, low, high = limits(counts)
    return f"{_number(value)} [{_number(low)}, {_number(high)}]"


def limits(counts: Odds) -> tuple[float, float, float]:
    """Return odds ratio, lower and upper limit of one class, also of results that were read from JSON.

    There infinity is null, and so is the ratio of a token that nobody or everybody carries (NaN here).
    """
    value, low, high = counts["odds_ratio"], counts["low"], counts["high"]
    if value is None:
        value = math.inf if low else math.nan
    return value, low or 0.0, math.inf if high is None else high


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.2g}"


def points_in_words(entry: Entry) -> str:
    """Return the class that a token points to, or ``not`` and the class that lacks it, with ``?`` if not shown."""
    name, q = entry["points_to"], entry.get("q")
    if name is None:
        return "–"
    value, low, high = limits(entry["by_class"][name])
    if (low, high) == (0.0, math.inf):
        return "–"
    not_shown = " ?" if q is not None and q >= SIGNIFICANT else ""
    return f"{'not ' if value < 1 else ''}{name}{not_shown}"


def boxes_with(tokens: pd.DataFrame, group: str, token: str, join: bool = False) -> pd.DataFrame:
    """Return the rows of ``tokens`` that carry a token or pseudo token."""
    table = occurrences(tokens, join)
    return tokens.iloc[table.loc[(table["group"] == group) & (table["token"] == token), "box"].unique()]


def finding(images: pd.DataFrame, tokens: pd.DataFrame, entries: Sequence[Entry]) -> str:
    """Return in plain sentences what predicts the class best of the class, if anything is shown to.

    The interval is that of a token chosen for its small p (false coverage rate, Benjamini and Yekutieli 2005): as many
    tokens are chosen and looked at, 5 % of such intervals miss on average, and none of them holds 1.
    """
    with_text = tokens["image_id"].nunique()
    begin = f"{with_text:,} of {xrays(len(images), len(set(patients_of(images))))} carry text."
    words = [e for e in entries if e["group"] == "token"]
    if not words:
        return f"{begin} No token is on enough of them to be counted."
    if words[0]["p"] is None:
        return f"{begin} Fewer than two classes have a label, so no token can be compared between classes."
    best = next((e for e in words if q_of(e) < SIGNIFICANT), None)
    if best is None or best["points_to"] is None:
        return f"{begin} {_nothing_shown(words, entries)}"
    name, counts = best["points_to"], best["by_class"][best["points_to"]]
    cells = _cells(best["by_class"], name)
    ratio, low, high = odds_ratio(*cells, level=chosen_level(entries))
    odds = odds_in_words({"odds_ratio": ratio, "low": low, "high": high})
    units = sum(c["of"] for c in best["by_class"].values())
    lot = " Each patient is counted with one randomly drawn X-ray." if (images["label"] != "").sum() > units else ""
    within = odds_in_words(best["within_sources"]) if "low" in best.get("within_sources", {}) else ""
    return (
        f"{begin} {best['token']} predicts the class best: it is on {counts['units']:,} of {counts['of']:,} patients "
        f"of class {name} and on {cells[2]} of the {cells[3]} others (odds ratio {odds}, q = {q_of(best):.2g}, chosen "
        f"among {len(entries):,} tokens, kinds and places).{lot}{sentence(best, within)}"
    )


def chosen_level(entries: Sequence[Entry]) -> float:
    """Return the level for single intervals of the entries with a q below 5 %, of which then 5 % miss on average."""
    n_chosen = max(1, sum(q_of(entry) < SIGNIFICANT for entry in entries))
    return 1 - (1 - LEVEL) * n_chosen / (len(entries) * n_tests(entries[0]["by_class"]))


def _nothing_shown(words: Sequence[Entry], entries: Sequence[Entry]) -> str:
    by_class = words[0]["by_class"]
    sizes = [counts["of"] for counts in by_class.values()]
    smallest_possible = min(exact_p(n, n, 0, sum(sizes) - n) for n in sizes) * n_tests(by_class) * len(entries)
    if smallest_possible >= SIGNIFICANT:
        return f"There are too few patients to decide whether a token predicts the class ({_sizes(by_class)})."
    smallest = min(map(q_of, words))
    return f"No token is shown to predict the class (smallest q = {smallest:.2g}; patients: {_sizes(by_class)})."


def q_of(entry: Entry) -> float:
    """Return the q of an entry, NaN where it has none."""
    return math.nan if entry["q"] is None else entry["q"]


def _sizes(by_class: Mapping[str, ClassCounts]) -> str:
    return ", ".join(f"{counts['of']} {name}" for name, counts in by_class.items())
