"""Does the text experiment claim an effect of tokens that are none?

All text of the test X-rays is inpainted first. Then the boxes of other patients' X-rays are called tokens, none of them
on text, and the experiment is done on these **placebo tokens** with the code that users run: masks, controls, effects,
conclusion. Whatever it claims is wrong.

    python benchmarks/placebo_tokens.py --data real --network RUN --network RUN --network RUN [--sets 8] [--first-set 0]
        [--draws 40] [--modes inpaint mean black] [--random-draws 5] [--geometric] [--keep FOLDER]
        [--out benchmarks/results/placebo_tokens.md]

``--data`` is a data set with a test split or the path of a manifest; networks take pictures of one size. A network's
answers about one set of placebo tokens (a lender for each X-ray) take minutes, so several sets are made, and kept under
``--keep``, where a run that is cut short goes on. A draw takes for each X-ray one of the sets: draw k the set k while
there are sets, after that one at random (seed k). ``--geometric`` takes controls as they were before: boxes of the same
sizes at places of other tokens, whatever they change.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from training_setting import machine

from cxr.data import Manifest, read_xray
from cxr.data.images.resize import fit_square
from cxr.data.library import resolve_manifest
from cxr.evaluation import predict
from cxr.experiments.masking.conclusions import CLAIMS, SIGNIFICANT, conclusion
from cxr.experiments.masking.conditions import (
    BEFORE,
    DEFAULT_DRAWS,
    Condition,
    Controls,
    Masking,
    controls_of,
    lenders_of,
    versions,
)
from cxr.experiments.masking.effects import SMALLEST_EFFECT, beyond_control, decisions_differ, moved
from cxr.experiments.masking.shapes import Effect
from cxr.files import replacing
from cxr.models import XrayClassifier
from cxr.networks import load_network
from cxr.text import TextBox, mask_text
from cxr.text.controls import borrowed_boxes, control_boxes, places_of
from cxr.text.search import in_split, search

Boxes = Sequence[TextBox]


class Films:
    """The X-rays of a test split without their text: pictures, the boxes of that text, and patients, by image id."""

    def __init__(self, data: str, limit: int | None) -> None:
        manifest = in_split(Manifest.load(resolve_manifest(data)), "test")
        manifest = manifest.select(ids=manifest.ids[:limit]) if limit else manifest
        found, _ = search(manifest)
        self.ids = list(found)
        self.text = {i: found[i].boxes for i in self.ids}
        self.images = {i: mask_text(read_xray(manifest.image_path(i)), self.text[i], "inpaint") for i in self.ids}
        patients = dict(zip(manifest.table["image_id"], manifest.table["patient_id"].fillna(""), strict=True))
        self.patients = {i: patients[i] for i in self.ids}

    def placebo(self, seed: int) -> dict[str, list[TextBox]]:
        """Return boxes by image id: those of another patient's text at their places, but for those on text here."""
        return {i: self._borrowed(i, seed) for i in self.ids}

    def _borrowed(self, image_id: str, seed: int) -> list[TextBox]:
        shape = self.images[image_id].shape
        for other in lenders_of(image_id, self.patients, self.text, Masking(seed=1000 + seed)):
            boxes = borrowed_boxes(
                self.text[other], self.images[other].shape, shape, self.text[image_id], Masking().margin
            )
            if boxes:
                return boxes
        return []


def geometric_controls(
    image_id: str, shape: Sequence[int], boxes: Boxes, masking: Masking, lenders: Sequence[tuple[Boxes, Sequence[int]]]
) -> dict[str, Controls]:
    """Return random boxes as they were chosen before: by place and size alone."""
    places = [place for theirs, their_shape in lenders for place in places_of(theirs, their_shape)]
    rng = np.random.default_rng([masking.seed, len(image_id)])
    draws = [control_boxes(boxes, shape, rng, margin=masking.margin, places=places) for _ in range(masking.draws)]
    return dict.fromkeys(masking.modes, Controls(tuple(map(tuple, draws))))


def pictures_of(films: Films, masking: Masking, size: int, geometric: bool) -> dict[Condition, np.ndarray]:
    """Return the pictures (N, size, size) of each condition but borrowed boxes, which the conclusion does not need."""
    placebo = films.placebo(masking.seed)
    made: dict[Condition, list[np.ndarray]] = {c: [] for c in masking.conditions if c.name != "other"}
    for image_id in films.ids:
        image, boxes = films.images[image_id], placebo[image_id]
        ids = lenders_of(image_id, films.patients, placebo, masking)
        lenders = [(placebo[i], films.images[i].shape) for i in ids]
        if geometric:
            controls = geometric_controls(image_id, image.shape, boxes, masking, lenders)
        else:
            controls = controls_of(image_id, image, boxes, masking, size, lenders)
        versions_of = dict(versions(image, boxes, controls, masking, size))
        before = fit_square(image, size)
        for condition, pictures in made.items():
            version = versions_of.get(condition)
            pictures.append(before if version is None else fit_square(version, size))
    return {condition: np.stack(pictures) for condition, pictures in made.items()}


def answered(
    films: Films, networks: Mapping[str, XrayClassifier], masking: Masking, geometric: bool
) -> dict[str, np.ndarray]:
    """Return the changes of the pictures (D + 1, N) and of each network the logits (D + 1, N, K), the tokens' first."""
    size = next(iter(networks.values())).card.size
    pictures = pictures_of(films, masking, size, geometric)
    before = pictures.pop(BEFORE).astype(np.int16)
    order = [Condition("tokens", masking.modes[0]), *(c for c in pictures if c.name == "random")]
    kept = {"change": np.stack([np.abs(pictures[c] - before).mean((1, 2)) for c in order])}
    for name, model in networks.items():
        kept[name] = np.stack([predict(model, pictures[c]) for c in order])
    return kept


def row_of(before: np.ndarray, after: np.ndarray, change: np.ndarray, patients: list[str], seed: int) -> dict[str, Any]:
    """Return what the experiment says of a draw: logits (N, K), those after (D + 1, N, K), changes (D + 1, N)."""
    flipped, far = (
        [size(after[:1]), size(after[1:])]
        for size in (
            lambda logits: decisions_differ(before, logits).mean(0),
            lambda logits: moved(before, logits),
        )
    )
    row: dict[str, Any] = {"match": {"change": {"tokens": float(change[0].mean()), "random": float(change[1:].mean())}}}
    for name, (tokens, random) in (("beyond_random", flipped), ("moved_beyond_random", far)):
        p = beyond_control(tokens - random, patients, seed)["p"]
        row[name] = {"value": float((tokens - random).mean()), "p": p, "p_holm": p}  # one mode, so nothing to correct
    return row | {"conclusion": conclusion(cast("Effect", row))}


def rows_of(
    sets: Sequence[Mapping[str, np.ndarray]], before: Mapping[str, np.ndarray], patients: list[str], draws: int
) -> Iterator[dict[str, Any]]:
    """Yield a row for each draw and network, of the answers about several sets of placebo tokens."""
    everyone = np.arange(len(patients))
    for draw in range(draws):
        if draw < len(sets):
            which = np.full(len(everyone), draw)
        else:
            which = np.random.default_rng(draw).integers(0, len(sets), len(everyone))
        change = np.stack([of["change"] for of in sets])[which, :, everyone].T
        for name, logits in before.items():
            after = np.stack([of[name] for of in sets])[which, :, everyone].transpose(1, 0, 2)
            yield {"network": name, "draw": draw} | row_of(logits, after, change, patients, draw)


def kept_or_made(path: Path | None, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    if path and path.is_file():
        with np.load(path) as kept:
            return dict(kept)
    made = make()
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft, draft.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **made)
    return made


# --- the page ------------------------------------------------------------------------------------------------------


def significant(row: Mapping[str, Any]) -> bool:
    """Return whether a row has a p below .05 in favour of the tokens, however small the effect."""
    return any(row[name]["p"] < SIGNIFICANT and row[name]["value"] > 0 for name in _BEYOND)


_BEYOND = ("beyond_random", "moved_beyond_random")


def line(rows: Sequence[Mapping[str, Any]], control: str, network: str, mode: str) -> str:
    claims = sum(row["conclusion"] in CLAIMS for row in rows)
    far = [row["moved_beyond_random"]["value"] for row in rows]
    grey = {name: np.mean([row["match"]["change"][name] for row in rows]) for name in ("tokens", "random")}
    cells = [
        control,
        network,
        mode,
        f"{claims} of {len(rows)} ({100 * claims / len(rows):.1f} %)",
        f"{sum(map(significant, rows))} of {len(rows)}",
        f"{np.mean(far):+.4f} ({min(far):+.4f} to {max(far):+.4f})",
        f"{grey['tokens']:.3f}",
        f"{grey['random']:.3f}",
    ]
    return "| " + " | ".join(cells) + " |"


_HEAD = (
    "control",
    "network",
    "mask",
    "claims",
    "p < .05, however small",
    "probabilities moved beyond control",
    "grey levels changed: tokens",
    "control",
)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD)]
    for control in dict.fromkeys(row["control"] for row in rows):
        of = [row for row in rows if row["control"] == control]
        modes = list(dict.fromkeys(row["mode"] for row in of))
        for network in (*dict.fromkeys(row["network"] for row in of), "all"):
            for mode in (*modes, "all") if network == "all" else modes:
                chosen = [r for r in of if network in ("all", r["network"]) and mode in ("all", r["mode"])]
                lines.append(line(chosen, control, network, mode))
    return "\n".join(lines)


def page(rows: Sequence[Mapping[str, Any]], n: int, n_sets: int, command: str) -> str:
    matched = [row for row in rows if row["control"] == "matched"] or rows
    claims = sum(row["conclusion"] in CLAIMS for row in matched)
    draws, networks, modes = (len({row[name] for row in matched}) for name in ("draw", "network", "mode"))
    return f"""# Placebo tokens: what the text experiment claims where there is no text

Command: `{command}`; {machine()}.

{n} X-rays of the test split with all their text inpainted. The boxes of another patient's text are called tokens, none
of them on text, and the experiment is done with the code that users run, each way of masking by itself: {draws} draws,
{networks} networks, {modes} way{"s" * (modes != 1)} of masking. A claim is the sentence that the tokens matter, or that
the network answers to them: p below {SIGNIFICANT:g} and an effect of {SMALLEST_EFFECT:g} or more. Here each one is
wrong.

**{claims} claims in {len(matched)} experiments ({100 * claims / len(matched):.1f} %).**

- *matched*: controls as users get them, chosen by how much masking them changes the picture. *geometric* (with
  `--geometric` alone): as they were before, by place and size alone.
- claims: with the smallest effect that is worth a sentence. The column beside it counts p values alone, of predictions
  and of probabilities moved, either of which would do.
- grey levels changed: mean over all pictures at the network's size, of 255.
- {n_sets} sets of placebo tokens were made. The first {n_sets} draws are these sets; each later one takes for every
  X-ray one of them at random. All draws share X-rays and networks, so they are not independent of each other.

{table(rows)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a data set's name or the path of a manifest")
    parser.add_argument("--network", action="append", required=True, help="a run, weights or a shipped name; repeated")
    parser.add_argument("--modes", nargs="+", default=["inpaint", "mean", "black"], help="ways of masking")
    parser.add_argument("--sets", type=int, default=8, help="sets of placebo tokens")
    parser.add_argument(
        "--first-set", type=int, default=0, help="seed of the first set: others are other placebo tokens"
    )
    parser.add_argument("--draws", type=int, default=40, help="draws, each of which takes for every X-ray a set")
    parser.add_argument("--random-draws", type=int, default=DEFAULT_DRAWS, help="draws of control boxes")
    parser.add_argument("--limit", type=int, help="the first N X-rays only")
    parser.add_argument("--geometric", action="store_true", help="also controls by place and size alone")
    parser.add_argument("--keep", type=Path, help="a folder for the networks' answers")
    parser.add_argument("--out", type=Path, help="a Markdown file for the results")
    args = parser.parse_args()
    networks = {f"network {k + 1}": load_network(source)[0] for k, source in enumerate(args.network)}
    films = Films(args.data, args.limit)
    size = next(iter(networks.values())).card.size
    pictures = np.stack([fit_square(films.images[i], size) for i in films.ids])
    before = {name: predict(model, pictures) for name, model in networks.items()}
    patients = [films.patients[i] or i for i in films.ids]
    sets: dict[tuple[str, str], list[dict[str, np.ndarray]]] = {}
    for seed in range(args.first_set, args.first_set + args.sets):
        for control in ("matched", "geometric") if args.geometric else ("matched",):
            for mode in args.modes:
                began = time.perf_counter()
                masking = Masking(modes=(mode,), seed=seed, draws=args.random_draws)
                make = partial(answered, films, networks, masking, control == "geometric")
                path = args.keep / f"{control}-{mode}-{seed}.npz" if args.keep else None
                sets.setdefault((control, mode), []).append(kept_or_made(path, make))
                print(f"set {seed}, {control}, {mode}: {time.perf_counter() - began:.0f} s", flush=True)
    rows = [
        {"control": control, "mode": mode} | row
        for (control, mode), some in sets.items()
        for row in rows_of(some, before, patients, args.draws)
    ]
    text = page(rows, len(films.ids), args.sets, "python benchmarks/placebo_tokens.py " + shlex.join(sys.argv[1:]))
    print("\n" + text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
