"""Do the seeds of splits differ, and do the splits keep their shares of images and classes?

Data sets of patients with 1 to 20 X-rays are split 0.7 / 0.1 / 0.2 with 20 seeds each: by the package as it is, and by
the rule that it had before (every patient, the largest first, goes where its classes are most lacking), which this
script keeps. For each set:

- largest in train: how many of the 20 seeds put the patient with the most X-rays in train, and the mean over the ten
  largest patients (14 of 20 is the share of train)
- largest in test: the same in test (4 of 20 is its share)
- pairs alike: of two seeds, the share of patients with the same split in both, mean over all pairs (0.54 by chance)
- off by, images: the largest difference of a class's images in a split from what the shares ask for; mean over the
  seeds, and the worst seed
- fewest patients: of a class in a split, the mean over the seeds and the worst seed

With ``--data MANIFEST`` a manifest of real X-rays is split too.

    python benchmarks/split_seeds.py [--seeds 20] [--data manifest.csv] [--out benchmarks/results/split_seeds.md]
"""

from __future__ import annotations

import argparse
import itertools
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from cxr.data import Manifest, split_manifest
from cxr.data.splits import FRACTIONS

Split = Callable[[pd.DataFrame, int], pd.Series]


def by_the_package(table: pd.DataFrame, seed: int) -> pd.Series:
    """Return the split of each row as the package makes it."""
    manifest, _ = split_manifest(Manifest.from_table(table[["image", "label", "patient_id"]], Path("/x")), seed=seed)
    return manifest.table.set_index("image").loc[table["image"], "split"].reset_index(drop=True)


def the_rule_before(table: pd.DataFrame, seed: int) -> pd.Series:
    """Return the split of each row by the earlier rule: the largest patients first, each where it lacks most."""
    counts = pd.crosstab(table["patient_id"], table["label"])
    counts = counts.loc[table["patient_id"].drop_duplicates()]
    counts = counts.iloc[np.random.default_rng(seed).permutation(len(counts))]
    names = sorted(FRACTIONS, key=lambda name: -FRACTIONS[name])
    values, total = counts.to_numpy(), counts.to_numpy().sum(axis=0)
    target = np.array([FRACTIONS[name] for name in names])[:, None] * total
    filled, split = np.zeros_like(target), {}
    for i in sorted(range(len(values)), key=lambda i: -values[i].sum()):
        best = int(np.argmax(((target - filled) / target) @ (values[i] / total)))
        filled[best] += values[i]
        split[counts.index[i]] = names[best]
    return table["patient_id"].map(split)


def simulated(
    n: int, most: int, shares: Mapping[str, float], mixed: float = 0, largest: int = 0, seed: int = 0
) -> pd.DataFrame:
    """Return images of patients with 1 to ``most`` each; of a patient, a share ``mixed`` is of any class.

    One more patient has ``largest`` images of the first class.
    """
    rng = np.random.default_rng(seed)
    one = {"label": next(iter(shares)), "patient_id": "largest"}
    rows = [one | {"image": f"{k:06d}.png"} for k in range(largest)]
    patient = 0
    while len(rows) < n:
        size = min(n - len(rows), int(min(most, rng.geometric(2 / (most + 1)))) if most > 1 else 1)
        label = rng.choice(list(shares), p=list(shares.values()))
        for k in range(size):
            other = rng.choice(list(shares)) if k and rng.random() < mixed else label
            rows.append({"image": f"{len(rows):06d}.png", "label": other, "patient_id": f"p{patient}"})
        patient += 1
    return pd.DataFrame(rows)


def real(path: Path) -> pd.DataFrame:
    """Return the labelled, trainable rows of a manifest; an image without a patient is a patient of its own."""
    table = Manifest.load(path).table
    table = table[(table["label"] != "") & table["role"].isin(["", "train"])].reset_index(drop=True)
    return table.assign(patient_id=table["patient_id"].where(table["patient_id"] != "", "of " + table["image"]))


def measured(table: pd.DataFrame, split: Split, seeds: int) -> dict[str, str]:
    """Return the figures of one data set and one rule as the table shows them."""
    made = [split(table, seed) for seed in range(seeds)]
    sizes = table["patient_id"].value_counts()
    first = table.drop_duplicates("patient_id").index
    of_patients = np.stack([s.to_numpy()[first] for s in made])
    place = {patient: k for k, patient in enumerate(table["patient_id"].to_numpy()[first])}
    ten = [place[patient] for patient in sizes.index[:10]]
    wanted = table["label"].value_counts()
    off, fewest = [], []
    for s in made:
        images = pd.crosstab(table["label"], s).reindex(columns=list(FRACTIONS), fill_value=0)
        asked = pd.DataFrame({name: share * wanted for name, share in FRACTIONS.items()})
        off.append((images - asked.loc[images.index]).abs().to_numpy().max())
        patients = table.assign(split=s).groupby(["label", "split"])["patient_id"].nunique().unstack(fill_value=0)
        fewest.append(patients.reindex(columns=list(FRACTIONS), fill_value=0).to_numpy().min())
    alike = [np.mean(a == b) for a, b in itertools.combinations(of_patients, 2)]
    train, test = ((of_patients == name).sum(axis=0) for name in ("train", "test"))
    return {
        "largest in train": f"{train[ten[0]]} (ten: {train[ten].mean():.1f})",
        "largest in test": f"{test[ten[0]]} (ten: {test[ten].mean():.1f})",
        "pairs alike": f"{np.mean(alike):.2f}",
        "off by, images": f"{np.mean(off):.1f} (worst {max(off):.1f})",
        "fewest patients": f"{np.mean(fewest):.1f} (worst {min(fewest)})",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--data", type=Path, help="a manifest of real X-rays to split too")
    parser.add_argument("--out", type=Path, help="write the table there as Markdown")
    args = parser.parse_args()
    three = {"covid19": 1 / 3, "normal": 1 / 3, "pneumonia": 1 / 3}
    rare = {"yes": 0.1, "no": 0.9}
    two = {"a": 0.5, "b": 0.5}
    sets = {
        "60 X-rays, patients of 1 to 10, three classes": simulated(60, 10, three),
        "600, one X-ray each, three classes": simulated(600, 1, three),
        "600, patients of 1 to 10, three classes": simulated(600, 10, three),
        "600, patients of 1 to 20, three classes, mixed": simulated(600, 20, three, 0.3),
        "600, patients of 1 to 10 and one of 15, two classes": simulated(600, 10, two, largest=15),
        "600, patients of 1 to 10, a class of 10 %": simulated(600, 10, rare),
        "6000, patients of 1 to 20, a class of 10 %": simulated(6000, 20, rare, 0.1),
    }
    if args.data:
        sets["real X-rays"] = real(args.data)
    rows = []
    for name, table in sets.items():
        patients = table["patient_id"].value_counts()
        about = {"data set": f"{name} ({len(patients)} patients, largest {patients.iloc[0]})"}
        for rule, split in (("before", the_rule_before), ("now", by_the_package)):
            rows.append(about | {"rule": rule} | measured(table, split, args.seeds))
            print(rows[-1], flush=True)
    head = list(rows[0])
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(r.values())} |" for r in rows)]
    explained, _, _ = (__doc__ or "").partition("    python ")
    words = shlex.join([name if name != str(args.data) else "MANIFEST" for name in sys.argv[1:]])
    page = f"# Seeds of splits\n\nCommand: `python benchmarks/split_seeds.py {words}`\n\n{explained.strip()}\n\n"
    page += f"{args.seeds} seeds.\n\n" + "\n".join(lines) + "\n"
    print(page)
    if args.out:
        args.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
