"""How often is a reading of burned-in text right, below and above a limit of its score?

``--data`` is a folder with ``boxes.csv`` (image, x0, y0, x1, y1, kind, transcription, difficult), tokens boxed and read
by hand, and the images that it names. Each X-ray is searched and read as the page *Text tokens* does. The truth of a
box that was read are the transcriptions of the tokens whose centres lie in it, joined by x, by y, or line by line;
where none does, the reading of what is no text is wrong. A reading is right if its letters and digits are those of the
truth, whatever their case. Left out are boxes that hold a token which is difficult or has no transcription (arrows,
symbols), and boxes that hold no token's centre but lie in one.

Intervals are those of shares over patients (``cxr.evaluation.intervals``); ids of patients are read from the names of
files where they hold any, else each X-ray is a patient.

    python benchmarks/reading_scores.py --data FOLDER [--limits 0.8 0.9 0.95] [--rows FILE.csv]
        [--out benchmarks/results/reading_scores.md]
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from blocks import write_page
from grey_images import read_grey
from numpy.typing import NDArray
from training_setting import machine

from cxr.evaluation.intervals import effective_patients, share_intervals
from cxr.text.boxes import TextBox
from cxr.text.detection.shared import shared_detector

LIMITS = (0.6, 0.7, 0.8, 0.85, 0.9, 0.92, 0.95, 0.97, 0.98, 0.99, 0.995)
_PATIENT = re.compile(r"(\d{8})_\d{3}|(MCUCXR_\d{4})|(person\d+)")


@dataclass(frozen=True)
class Token:
    """A token boxed by hand; ``text`` is "" where it has no transcription that could be read."""

    box: TextBox
    text: str


def plain(text: str) -> str:
    """Return the letters and digits of a text in lower case."""
    return re.sub(r"[\W_]", "", text).casefold()


def tokens_of(rows: pd.DataFrame) -> list[Token]:
    """Return the tokens of one image's rows."""
    return [
        Token(
            TextBox(round(row.x0), round(row.y0), round(row.x1), round(row.y1)),
            "" if row.difficult == 1 or row.kind in ("arrow", "marker_symbol") else plain(str(row.transcription)),
        )
        for row in rows.dropna(subset=["x0"]).itertuples()
    ]


def centre(box: TextBox) -> tuple[float, float]:
    return (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2


def holds(box: TextBox, other: TextBox) -> bool:
    """Whether the centre of ``other`` lies in ``box``."""
    x, y = centre(other)
    return box.x0 <= x < box.x1 and box.y0 <= y < box.y1


def truths(inside: Sequence[Token]) -> set[str]:
    """Return what a box that holds these tokens may say, by the orders in which they may be read."""
    height = float(np.median([token.box.height for token in inside]))
    orders = (
        lambda token: centre(token.box)[0],
        lambda token: centre(token.box)[1],
        lambda token: (round(centre(token.box)[1] / height), centre(token.box)[0]),
    )
    joined = {"".join(token.text for token in sorted(inside, key=order)) for order in orders}
    return joined | {"".join(token.text for token in sorted(inside, key=orders[1], reverse=True))}


def verdict(box: TextBox, tokens: Sequence[Token]) -> bool | None:
    """Return whether the reading of a box is right, None where it cannot be told."""
    inside = [token for token in tokens if holds(box, token.box)]
    if not inside:
        return None if any(holds(token.box, box) for token in tokens) else False
    if not all(token.text for token in inside):
        return None
    return plain(box.text) in truths(inside)


def readings(data: Path) -> Iterator[dict[str, object]]:
    """Yield image, patient, text, score, whether it is right, and whether there is text, of each box that was read."""
    for image, rows in pd.read_csv(data / "boxes.csv", dtype={"transcription": str}).groupby("image", sort=True):
        pixels, tokens = read_grey(data / str(image)), tokens_of(rows)
        boxes = shared_detector(1)(pixels)
        for box, score in zip(boxes, shared_detector(1).reading_scores(pixels, boxes), strict=True):
            if score is None:
                continue
            named = _PATIENT.search(Path(str(image)).name)
            yield {
                "image": image,
                "patient": named[0] if named and not named[1] else named[1] if named else image,
                "text": box.text,
                "kind": box.kind,
                "score": score,
                "right": verdict(box, tokens),
                "is_text": any(holds(box, token.box) for token in tokens),
            }


def share(table: pd.DataFrame) -> str:
    """Return how many readings are right, with the interval over patients."""
    if table.empty:
        return "none"
    right, groups = table["right"].to_numpy(float), table["patient"].to_numpy()

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            return ((weights * right).sum(1) / weights.sum(1))[:, None]

    (limits,) = share_intervals(statistic, groups, [effective_patients(groups)])
    interval = f" ({limits[0]:.0%} to {limits[1]:.0%})" if limits else ""
    return f"{int(right.sum())} of {len(right)}, {right.mean():.0%}{interval}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limits", type=float, nargs="+", default=LIMITS)
    parser.add_argument("--rows", type=Path, help="a CSV file for the readings themselves")
    parser.add_argument("--out", type=Path, help="a Markdown file for the results")
    args = parser.parse_args()
    every = pd.DataFrame(readings(args.data))
    if args.rows:
        every.to_csv(args.rows, index=False)
    table = every[every["right"].notna()].assign(right=lambda rows: rows["right"].astype(bool))
    lines = ["| limit | right below it | right from it on | wrong ones that are marked |", "|---|---|---|---|"]
    for limit in args.limits:
        below = table["score"] < limit
        wrong = ~table["right"]
        marked = f"{int((wrong & below).sum())} of {int(wrong.sum())}"
        lines.append(f"| {limit:g} | {share(table[below])} | {share(table[~below])} | {marked} |")
    no_text = table[~table["is_text"]]
    words = ["FOLDER" if word == str(args.data) else word for word in sys.argv[1:]]
    n_images, n_patients = table["image"].nunique(), table["patient"].nunique()
    scores = ", ".join(f"{score:.2f}" for score in sorted(no_text["score"]))
    text = f"""# How often a reading of burned-in text is right, by its score

Command: `python benchmarks/reading_scores.py {shlex.join(words)}`; {machine()}.

{len(table)} boxes that were read on {n_images} X-rays of {n_patients} patients, and whose text is known;
{len(every) - len(table)} others hold an arrow, a symbol or what could not be read by hand, and are left out.
All of them: {share(table)} right. {len(no_text)} hold no text{f", with scores of {scores}" if scores else ""}.
In brackets: 95 % intervals over patients.

{chr(10).join(lines)}
"""
    write_page(text.splitlines(), args.out)


if __name__ == "__main__":
    main()
