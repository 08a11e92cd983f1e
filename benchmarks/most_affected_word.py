"""How large is the word that seems to move the network most, and how large is it said to be?

Words of 3 to 60 patients each move probabilities by a true mean, patients around it (gamma, as skewed as real ones).
The experiment lists the largest first. Simulated: the true mean of the word that is listed first, what is said of it,
and how often its 95 % interval holds the truth, for the means as they are measured and for the shrunken ones
(`cxr.experiments.masking.shrinkage`).

    python benchmarks/most_affected_word.py [--sets 1000] [--words 40] [--out benchmarks/results/most_affected_word.md]
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import numpy as np
from blocks import write_page
from training_setting import machine

from cxr.experiments.masking.shrinkage import FEWEST_PATIENTS, shrunken_means
from cxr.formatting import Estimate

MEAN = 0.012
SPREADS = {"all alike": 0.0, "some differ": 0.3, "many differ": 0.7}
VARIATION = 1.0  # of patients around a word's mean: standard deviation by mean


def one_set(rng: np.random.Generator, words: int, spread: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the true means (W,) and the values of each word's patients."""
    truth = MEAN * np.exp(rng.normal(0, spread, words) - spread**2 / 2)
    counts = np.exp(rng.uniform(np.log(3), np.log(60), words)).astype(int)
    shape = 1 / VARIATION**2
    return truth, [rng.gamma(shape, mean / shape, n) for mean, n in zip(truth, counts, strict=True)]


def holds(interval: Estimate, truth: float) -> bool:
    return (interval["low"] or 0.0) <= truth <= (interval["high"] or 0.0)


def simulate(sets: int, words: int, spread: float) -> dict[str, list[tuple[float, float, bool]]]:
    """Return of each set (true, said, interval holds) of the word that is listed first, as measured and shrunken."""
    rng = np.random.default_rng(0)
    rows: dict[str, list[tuple[float, float, bool]]] = {"measured": [], "shrunken": []}
    for seed in range(sets):
        truth, values = one_set(rng, words, spread)
        patients = [[str(k) for k in range(len(some))] for some in values]
        first = int(np.argmax([some.mean() for some in values]))
        some = values[first]
        resampled = some[np.random.default_rng(seed).integers(0, len(some), (1000, len(some)))].mean(1)
        low, high = np.quantile(resampled, [0.025, 0.975])
        rows["measured"].append((truth[first], float(some.mean()), bool(low <= truth[first] <= high)))
        drawn = [(k, entry) for k, entry in enumerate(shrunken_means(values, patients)) if entry is not None]
        first, largest = max(drawn, key=lambda one: one[1]["value"] or 0.0)
        rows["shrunken"].append((truth[first], largest["value"] or 0.0, holds(largest, truth[first])))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--words", type=int, default=40)
    parser.add_argument("--out", type=Path, help="a Markdown file for the results")
    args = parser.parse_args()
    lines = [
        "| true means | listed first by | its true mean | what is said of it | its interval holds the truth |",
        "|---|---|---|---|---|",
    ]
    for title, spread in SPREADS.items():
        for how, rows in simulate(args.sets, args.words, spread).items():
            true, said, held = np.array(rows, float).T
            lines.append(f"| {title} | {how} mean | {true.mean():.4f} | {said.mean():.4f} | {held.mean():.1%} |")
    factors = ", ".join(f"{np.exp(spread):.2g}" for spread in SPREADS.values())
    text = f"""# The word that moves the network most

Command: `python benchmarks/most_affected_word.py {shlex.join(sys.argv[1:])}`; {machine()}.

{args.sets} sets for each row, {args.words} words of 3 to 60 patients, who vary around their word's mean as much as it
is large. The words' true means vary around {MEAN:g} by a factor of {factors} (one standard deviation).
Measured: the means as they are, with the bootstrap over patients, words of three patients among them. Shrunken: drawn
towards the mean of all words, words of fewer than {FEWEST_PATIENTS} patients left out.

{chr(10).join(lines)}
"""
    write_page(text.splitlines(), args.out)


if __name__ == "__main__":
    main()
