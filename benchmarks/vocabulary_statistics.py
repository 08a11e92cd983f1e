"""How often the vocabulary speaks of a word that tells nothing, and how often its odds ratios' intervals hold.

    python benchmarks/vocabulary_statistics.py [--sets 75] [--out benchmarks/results/vocabulary_statistics.md]

Tables of words by patient are simulated and given to ``cxr.experiments.vocabulary.count`` as users' are. "Before" is
the version that permuted labels 10,000 times, added 0.5 to each cell (Woolf) and counted a patient once in each of
their classes.
"""

from __future__ import annotations

import argparse
import math
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binom, false_discovery_control, norm

from cxr.experiments.vocabulary.association import LEVEL, mutual_information, odds_ratio
from cxr.experiments.vocabulary.count import SIGNIFICANT, chosen_level, finding, q_of, vocabulary

N_PERMUTATIONS = 10_000
Tables = tuple[pd.DataFrame, pd.DataFrame]


# --- sets of X-rays ------------------------------------------------------------------------------------------------


def name_of(word: int) -> str:
    """A word without digits, since all numbers are one token."""
    return "W" + "".join(chr(97 + int(digit)) for digit in str(word))


def xrays(
    rng: np.random.Generator,
    classes: np.ndarray,
    n_images: np.ndarray,
    shares: np.ndarray,
    *,
    stays: float = 0.0,
    second: bool = False,
) -> Tables:
    """Return the tables of a set of patients.

    Parameters
    ----------
    classes
        (N,) class of each patient.
    n_images
        (N,) X-rays of each patient.
    shares
        (N, W) chance of each word on an X-ray of each patient.
    stays
        Chance that an X-ray repeats what the patient's first one carries.
    second
        Deal the X-rays of every patient out over two classes.
    """
    images, tokens = [], []
    names = np.unique(classes)
    for patient, (own, n) in enumerate(zip(classes, n_images, strict=True)):
        first = rng.random(shares.shape[1]) < shares[patient]
        for k in range(n):
            repeats = rng.random(shares.shape[1]) < stays
            carried = first if k == 0 else np.where(repeats, first, rng.random(shares.shape[1]) < shares[patient])
            label = rng.choice(names) if second and k else own
            image_id = f"x{patient}-{k}"
            images.append({"image_id": image_id, "label": label, "source": "s", "patient_id": f"p{patient}"})
            tokens += [{"image_id": image_id, "text": name_of(int(w))} for w in np.flatnonzero(carried)]
    table = pd.DataFrame(tokens, columns=["image_id", "text"])
    return pd.DataFrame(images), table.assign(kind="word", place="upper left")


def null_sets(rng: np.random.Generator, n_classes: int, layout: str, n_words: int) -> Tables:
    """Return a set of 150 patients in which no word has anything to do with the class."""
    classes = np.array([f"c{i % n_classes}" for i in range(150)])
    n_images = np.ones(150, int) if layout == "one X-ray each" else rng.integers(1, 11, 150)
    if layout == "1 to 10 in one class, 1 in the others":
        n_images[classes != "c0"] = 1
    shares = np.tile(rng.uniform(0.02, 0.3, n_words), (150, 1))
    return xrays(rng, classes, n_images, shares, stays=0.7, second=layout == "1 to 10, in two classes or more")


LAYOUTS = (
    "one X-ray each",
    "1 to 10 X-rays",
    "1 to 10 in one class, 1 in the others",
    "1 to 10, in two classes or more",
)


# --- the version before --------------------------------------------------------------------------------------------


def before(images: pd.DataFrame, tokens: pd.DataFrame, min_images: int = 3) -> dict[str, float]:
    """Return q by word as the version before had it."""
    facts = images.assign(unit=images["label"] + "\0" + images["patient_id"])
    found = tokens.merge(facts, on="image_id")
    totals = facts.groupby("label")["unit"].nunique()
    ps = {}
    for word, rows in found.groupby("text"):
        if rows["image_id"].nunique() >= min_images:
            present = rows.groupby("label")["unit"].nunique().reindex(totals.index, fill_value=0).to_numpy()
            ps[str(word)] = permutation_p(present, totals.to_numpy())
    # Three pseudo tokens that every X-ray with text carries were corrected for too.
    return dict(zip(ps, false_discovery_control([*ps.values(), 1.0, 1.0, 1.0])[: len(ps)], strict=True))


_BY_CHANCE: dict[tuple[int, tuple[int, ...]], np.ndarray] = {}


def permutation_p(present: np.ndarray, totals: np.ndarray) -> float:
    key = (int(present.sum()), tuple(totals.tolist()))
    if key not in _BY_CHANCE:
        rng = np.random.default_rng([0, key[0]])
        _BY_CHANCE[key] = np.sort(bits(rng.multivariate_hypergeometric(totals, key[0], size=N_PERMUTATIONS), totals))
    as_much = N_PERMUTATIONS - np.searchsorted(_BY_CHANCE[key], mutual_information(present, totals) - 1e-12)
    return float((1 + as_much) / (1 + N_PERMUTATIONS))


def bits(present: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Return the mutual information (N,) of many tables (N, K)."""
    n, total = totals.sum(), np.zeros(len(present))
    for cells in (present.astype(float), (totals - present).astype(float)):
        expected = cells.sum(1, keepdims=True) * totals / n
        with np.errstate(divide="ignore", invalid="ignore"):
            total += np.where(cells > 0, cells * np.log2(cells / expected), 0.0).sum(1) / n
    return total


def woolf(with_in: int, n_in: int, with_out: int, n_out: int) -> tuple[float, float]:
    cells = np.array([with_in, n_in - with_in, with_out, n_out - with_out], float) + 0.5
    middle = math.log(cells[0] * cells[3] / (cells[1] * cells[2]))
    half = norm.ppf(0.5 + LEVEL / 2) * math.sqrt((1 / cells).sum())
    return math.exp(middle - half), math.exp(middle + half)


# --- what is measured ----------------------------------------------------------------------------------------------


def null_table(n_sets: int, n_words: int) -> list[list[str]]:
    rows, total = [], dict.fromkeys(("before", "after", "sentence"), 0)
    for n_classes in (2, 4):
        for layout in LAYOUTS:
            rng = np.random.default_rng([1, n_classes, LAYOUTS.index(layout)])
            told = dict.fromkeys(("before", "after", "sentence"), 0)
            for _ in range(n_sets):
                tables = null_sets(rng, n_classes, layout, n_words)
                entries = vocabulary(*tables)
                told["before"] += min(before(*tables).values()) < SIGNIFICANT
                told["after"] += min(q_of(e) for e in entries) < SIGNIFICANT
                told["sentence"] += "predicts the class best" in finding(*tables, entries)
            total = {key: total[key] + count for key, count in told.items()}
            rows.append([str(n_classes), layout, *(f"{100 * count / n_sets:.1f} %" for count in told.values())])
    n = n_sets * len(rows)
    return [*rows, ["", f"all {n} sets", *(f"{100 * count / n:.1f} %" for count in total.values())]]


def many_words(n_sets: int) -> list[list[str]]:
    """A word on 40 of 50 patients of a class and on nobody else, among words that tell nothing."""
    rows = []
    for n_words in (50, 500):
        rng = np.random.default_rng([2, n_words])
        old, new, told = [], [], 0
        for _ in range(n_sets):
            shares = np.tile(rng.uniform(0.02, 0.1, n_words), (150, 1))
            shares[:, 0] = np.arange(150) < 40
            classes = np.where(np.arange(150) < 50, "covid19", "normal")
            tables = xrays(rng, classes, np.ones(150, int), shares)
            entries = vocabulary(*tables)
            old.append(before(*tables)[name_of(0)])
            new.append(next(q_of(e) for e in entries if e["token"] == name_of(0).upper()))
            told += f"{name_of(0).upper()} predicts the class best" in finding(*tables, entries)
        rows.append([str(n_words), f"{np.median(old):.2g}", f"{max(new):.2g}", f"{told} of {n_sets}"])
    return rows


def power_table(n_sets: int, n_words: int) -> list[list[str]]:
    """One word that a class has more often; and whether the sentence's interval holds its odds ratio."""
    rows = []
    for share_in, share_out in ((0.3, 0.1), (0.4, 0.1), (0.5, 0.1), (0.2, 0.01)):
        rng = np.random.default_rng([3, int(100 * share_in)])
        old = new = chosen = single = together = 0
        truth = share_in / (1 - share_in) / (share_out / (1 - share_out))
        for _ in range(n_sets):
            classes = np.where(np.arange(150) < 50, "a", "b")
            shares = np.tile(rng.uniform(0.02, 0.3, n_words), (150, 1))
            shares[:, 0] = np.where(classes == "a", share_in, share_out)
            tables = xrays(rng, classes, np.ones(150, int), shares)
            entries = vocabulary(*tables)
            old += before(*tables).get(name_of(0), 1.0) < SIGNIFICANT
            entry = next((e for e in entries if e["token"] == name_of(0).upper()), None)
            if entry is not None and q_of(entry) < SIGNIFICANT:
                new += 1
                cells = cells_of(entry["by_class"])
                chosen += 1
                single += holds(odds_ratio(*cells), truth)
                together += holds(odds_ratio(*cells, level=chosen_level(entries)), truth)
        rows.append(
            [
                f"{share_in:.0%} against {share_out:.0%}",
                f"{100 * old / n_sets:.0f} %",
                f"{100 * new / n_sets:.0f} %",
                f"{100 * single / max(chosen, 1):.1f} %",
                f"{100 * together / max(chosen, 1):.1f} %",
            ]
        )
    return rows


def cells_of(by_class: dict[str, Any]) -> tuple[int, int, int, int]:
    a, b = by_class["a"], by_class["b"]
    return a["units"], a["of"], b["units"], b["of"]


def holds(interval: tuple[float, float, float], truth: float) -> bool:
    return interval[1] <= truth <= interval[2]


def copied_words(n_sets: int) -> list[list[str]]:
    """False discoveries where words come in groups that are always together and some tell the class."""
    rows = []
    for n_true in (0, 5, 20):
        rng = np.random.default_rng([4, n_true])
        shares_false, any_false, found = [], 0, 0
        for _ in range(n_sets):
            classes = np.where(np.arange(150) < 50, "a", "b")
            groups = rng.random((150, 12)) < 0.2
            carried = np.repeat(groups, 5, axis=1)
            if n_true:
                telling = rng.random((150, n_true)) < np.where(classes == "a", 0.5, 0.1)[:, None]
                carried = np.hstack([telling, carried])
            entries = vocabulary(*xrays(rng, classes, np.ones(150, int), carried.astype(float)))
            chosen = [e for e in entries if q_of(e) < SIGNIFICANT and e["group"] == "token"]
            wrong = sum(e["token"] not in {name_of(k).upper() for k in range(n_true)} for e in chosen)
            shares_false.append(wrong / max(1, len(chosen)))
            any_false += wrong > 0
            found += len(chosen) - wrong
        rows.append(
            [
                f"{n_true} of {60 + n_true}",
                f"{100 * np.mean(shares_false):.1f} %",
                f"{100 * any_false / n_sets:.1f} %",
                f"{100 * found / max(1, n_sets * n_true):.0f} %" if n_true else "",
            ]
        )
    return rows


def coverage(interval: Callable[..., tuple[float, float]], n_in: int, n_out: int, share: float, ratio: float) -> float:
    """Return the exact coverage of an interval of the odds ratio; ``share`` of the others have the word."""
    odds = ratio * share / (1 - share)
    inside, outside = (binom.pmf(np.arange(n + 1), n, p) for n, p in ((n_in, odds / (1 + odds)), (n_out, share)))
    total = 0.0
    for a, b in likely(inside, outside):
        low, high = interval(a, n_in, b, n_out)
        total += inside[a] * outside[b] * (low <= ratio <= high)
    return total


def likely(inside: np.ndarray, outside: np.ndarray) -> Iterator[tuple[int, int]]:
    for a in np.flatnonzero(inside > 1e-6):
        for b in np.flatnonzero(outside > 1e-6):
            yield int(a), int(b)


def coverage_table() -> list[list[str]]:
    rows = []
    for n_in, n_out in ((20, 40), (50, 100), (10, 200)):
        for share in (0.005, 0.05, 0.3, 0.9, 0.995):
            values = []
            for interval in (woolf, lambda *cells: odds_ratio(*cells)[1:]):
                values.append([coverage(interval, n_in, n_out, share, ratio) for ratio in (0.02, 0.2, 1, 5, 50)])
            rows.append([f"{n_in} and {n_out}", f"{share:.1%}", *(f"{v:.3f}" for v in np.ravel(values))])
    return rows


def markdown(columns: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows))


def page(n_sets: int, n_words: int) -> str:
    ratios = ("0.02", "0.2", "1", "5", "50")
    return f"""\
# What the vocabulary says of words that tell nothing, and how well its intervals hold

Command: `python benchmarks/vocabulary_statistics.py --sets {n_sets} --words {n_words}`; {platform.machine()}, fixed \
seeds. Simulated are tables of words by X-ray, which
go through `cxr.experiments.vocabulary.count` as users' tables do. *Before* is the version that permuted labels 10,000
times, had odds ratios of Woolf with 0.5 added to each cell, and counted a patient once in each of their classes if any
X-ray had the word.

## No word tells anything

{n_sets} sets of 150 patients and {n_words} words per row; a word is on 2 to 30 % of the X-rays, and an X-ray repeats \
its patient's first one word by
word in 70 %. Told: share of sets in which at least one word, kind or place has q < 0.05. Sentence: share of sets whose
sentence names a word.

{markdown(["classes", "X-rays of a patient", "told, before", "told", "sentence"], null_table(n_sets, n_words))}

## A word on 40 of 50 patients of a class and on none of 100 others

{max(10, n_sets // 5)} sets per row; the other words are on 2 to 10 % of all.

{
        markdown(
            ["words", "its q, before (median)", "its q (largest)", "told as the first"],
            many_words(max(10, n_sets // 5)),
        )
    }

## One word that a class has more often

{n_sets} sets of 50 and 100 patients per row, {n_words} words of which one tells the class. Coverage is that of its odds
ratio where it was told: of its own 95 % interval, which the table shows, and of the one in the sentence, which allows
for the choice.

{
        markdown(
            ["share with the word", "told, before", "told", "own interval holds", "sentence's holds"],
            power_table(n_sets, n_words),
        )
    }

## Words that come together

{n_sets} sets of 50 and 100 patients per row; 12 groups of 5 words that are always together and tell nothing, beside
words that tell the class (50 % against 10 %).

{
        markdown(
            ["words that tell", "false discoveries (mean share)", "any false one", "found of those that tell"],
            copied_words(n_sets),
        )
    }

## Coverage of the odds ratio's 95 % interval

Exact, summed over all tables: patients of the class and others, share of the others that has the word, true odds ratio.

{markdown(["patients", "share", *(f"before, {r}" for r in ratios), *(f"exact, {r}" for r in ratios)], coverage_table())}

The exact interval never covers less than 95 %. Where few patients have the word, or nearly all, it covers more, up to
100 %: it is then wider than a luckier choice would be, and often without an end on one side.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=75)
    parser.add_argument("--words", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "vocabulary_statistics.md")
    arguments = parser.parse_args()
    arguments.out.write_text(page(arguments.sets, arguments.words), encoding="utf-8")
    print(arguments.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
