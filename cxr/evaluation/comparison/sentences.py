"""What a comparison says in words; that two runs cannot be told apart is one of its answers."""

from __future__ import annotations

from collections.abc import Sequence

from cxr.evaluation.comparison.pairing import BY_FILE, Paired, Predictions
from cxr.evaluation.comparison.results import Difference
from cxr.evaluation.intervals import FEWEST_PATIENTS, LEVEL
from cxr.formatting import p_value, xrays

INDEPENDENT = (
    "McNemar's and DeLong's tests count every X-ray as independent and are not corrected. Where patients have several "
    "X-rays, their p values are too small. The paired bootstrap draws patients; with few of them its intervals are too "
    "short. It is not corrected either."
)

ONE_ALONE = (
    "Each interval is of one comparison alone, over patients. It is about these trained networks: whether another "
    "training would do the same is seen with several seeds only (`cxr study`)."
)


def sentence_of(
    row: Difference, names: tuple[str, str], paired: Paired, counts: tuple[int, int], n_comparisons: int
) -> str:
    """Return which of two runs is better in a measure, by how much and how sure, the better one first.

    Parameters
    ----------
    counts
        The numbers of X-rays and of patients that the measure is of.
    n_comparisons
        How many comparisons the corrected p allows for.
    """
    measure, value, of = row["measure"], row["value"], xrays(*counts)
    (first, second), low, high = names, row["low"], row["high"]
    if value is None:
        return f"The {measure} of {first} and {second} is not defined: too few classes among {of}."
    if value < 0:
        first, second, value = second, first, -value
        low, high = (None, None) if low is None or high is None else (-high, -low)
    limits = "no interval" if low is None or high is None else f"{low:z.3f} to {high:z.3f}"
    ending = _verdict(row, n_comparisons, paired)
    if value == 0:
        return f"The {measure} of {first} and {second} is the same (difference {limits}; {of}): {ending}."
    return f"The {measure} of {first} is {value:.3f} higher than that of {second} ({limits}; {of}): {ending}."


def _verdict(row: Difference, n_comparisons: int, paired: Paired) -> str:
    p = row["p_corrected"]
    corrected = f"p {p_value(p)}" + (f", corrected for {n_comparisons} comparisons" if n_comparisons > 1 else "")
    if row["different"]:
        return f"they differ ({corrected})"
    if row["low"] is None:
        fewest = f"at least {FEWEST_PATIENTS} are needed" if row["measure"] == "accuracy" else "at least 2 are needed"
        return f"they cannot be told apart with so few patients, {fewest}"
    alone = row["p"] is not None and row["p"] < 1 - LEVEL
    return "they cannot be told apart" + (f" (p {p_value(row['p'])} alone; {corrected})" if alone else "")


def notes_of(paired: Paired, runs: Sequence[Predictions], data_hashes: set[str]) -> list[str]:
    """Return what readers have to know beside the figures."""
    notes = []
    if paired.all_seen:
        notes.append(
            f"All {len(paired.patients):,} X-rays were seen in training by one of the networks: nothing here is about "
            "new X-rays."
        )
    unknown = [run.run for run in runs if not run.seen_known]
    if unknown:
        notes.append(
            f"Not known of {', '.join(unknown)}: all that the network was trained on. X-rays that it has seen may be "
            "among these."
        )
    if paired.paired_by == BY_FILE:
        notes.append("The runs are of different data: X-rays are paired by their files' content, not by their names.")
    elif len(data_hashes) > 1 or "" in data_hashes:
        notes.append("The runs may be of different data and not all files can be read: X-rays are paired by image id.")
    if paired.contradicted:
        notes.append(f"{paired.contradicted:,} findings are stated differently by the runs' data and count as unknown.")
    of_one = sum(patient.startswith("image ") for patient in paired.patients)
    if of_one:
        notes.append(
            f"No patient is known of {of_one} of {xrays(len(paired.patients))}: each counts as a patient of its own."
        )
    return [*notes, ONE_ALONE, INDEPENDENT]
