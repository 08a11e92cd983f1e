"""Does the text experiment find a shortcut that was planted, and stay silent where there is none?

Synthetic X-rays whose text tells the class as often as ``correlation`` says (0: never more than by chance, 1: always).
Small DenseNets are trained at each correlation, each on X-rays of its own, and the experiment is done on X-rays that
are drawn as those of the training were: tokens masked, random boxes masked, another X-ray's boxes masked.

    python benchmarks/planted_shortcut.py [--seeds 5] [--at-zero 20] [--workers 2] [--keep ROWS.jsonl] [--quick]
        [--out benchmarks/results/planted_shortcut.md] [--figure docs/images/planted_shortcut.svg]

Tokens are masked where the drawing put them; ``--detect`` has them found instead. ``--keep`` holds a line for each
network that is done, which is not done again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shlex
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from planted_report import draw, page
from synthetic_networks import HELD_OUT, label_of, train, xray
from training_setting import machine

from cxr.data.images.resize import fit_square
from cxr.data.phantom import CLASSES, Phantom
from cxr.evaluation import predict
from cxr.evaluation.intervals import mean_intervals
from cxr.evaluation.metrics import softmax
from cxr.experiments.masking.conclusions import conclusion
from cxr.experiments.masking.conditions import BEFORE, Condition, Controls, Masking, controls_of, lenders_of, versions
from cxr.experiments.masking.effects import Answers, effects
from cxr.experiments.masking.shapes import Effect
from cxr.models import XrayClassifier, build
from cxr.reports.figures import endings, form_of
from cxr.text import DetectionStore, TextBox
from cxr.text.boxes import coverage
from cxr.text.mask import grown_boxes

CORRELATIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
_APART = 100_000  # seeds of X-rays between one network and the next


@dataclass(frozen=True)
class Setting:
    """What every network has in common: X-rays of ``drawn`` pixels, taken in at ``side``."""

    train: int = 600
    test: int = 150
    epochs: int = 18
    drawn: int = 192
    side: int = 64
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    modes: tuple[str, ...] = ("mean",)
    draws: int = 5
    detect: bool = False

    def network(self) -> XrayClassifier:
        return build("densenet-small", CLASSES, size=self.side, backbone_args={"block_config": list(self.blocks)})

    def masking(self, seed: int) -> Masking:
        return Masking(modes=self.modes, draws=self.draws, seed=seed)


QUICK = Setting(train=48, test=18, epochs=1, drawn=96, side=48, blocks=(1, 1, 1, 1), draws=2)
Job = tuple[Setting, float, int]


def one_network(job: Job) -> dict[str, Any]:
    """Train a network at a correlation and do the experiment; return what is told of it, as JSON takes it."""
    setting, correlation, seed = job
    torch.set_num_threads(1)
    began = time.perf_counter()
    model = trained(setting, correlation, seed)
    shown = [
        xray(HELD_OUT + seed * _APART, i, correlation=correlation, size=setting.drawn) for i in range(setting.test)
    ]
    answers, covered, change = asked(model, shown, setting, seed)
    told: dict[str, dict[str, Any]] = {mode: {**effect} for mode, effect in effects(answers, CLASSES, seed).items()}
    for mode, values in told.items():
        values["match"] = {"change": change[mode]}
        values["conclusion"] = conclusion(cast("Effect", values))
        values["true_class"] = true_class(answers, mode, seed)
    return {
        "setting": plain(setting),
        "correlation": correlation,
        "seed": seed,
        "accuracy": float((answers.before.argmax(1) == answers.truth).mean()),
        "covered": covered,
        "effects": told,
        "seconds": round(time.perf_counter() - began, 1),
    }


def plain(setting: Setting) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(setting)))


def trained(setting: Setting, correlation: float, seed: int) -> XrayClassifier:
    start = (1 + seed) * _APART
    shown = [xray(start, i, correlation=correlation, size=setting.drawn).image for i in range(setting.train)]
    x = torch.from_numpy(np.stack([fit_square(image, setting.side) for image in shown])).float()[:, None] / 255
    torch.manual_seed(seed)
    model = setting.network()
    y = torch.arange(setting.train) % 3
    train(model, lambda batch: model.network(model.normalise(batch)), x, y, setting.epochs, seed)
    return model


def boxes_of(phantom: Phantom, setting: Setting) -> list[TextBox]:
    if setting.detect:
        return DetectionStore().detect(phantom.image)
    return [TextBox(int(t["x0"]), int(t["y0"]), int(t["x1"]), int(t["y1"]), text=t["text"]) for t in phantom.tokens]


def asked(
    model: XrayClassifier, shown: list[Phantom], setting: Setting, seed: int
) -> tuple[Answers, dict[str, float], dict[str, dict[str, float]]]:
    """Ask a network about every version of the X-rays.

    Also return the share of them that each condition covers, and by mode how far each changes the picture.
    """
    masking = setting.masking(seed)
    names = [f"{seed}-{i}" for i in range(len(shown))]  # every X-ray is a patient of its own
    found = dict(zip(names, (boxes_of(phantom, setting) for phantom in shown), strict=True))
    pictures: dict[Condition, list[np.ndarray]] = {condition: [] for condition in masking.conditions}
    covered: list[list[float]] = []
    for name, phantom in zip(names, shown, strict=True):
        shape = phantom.image.shape
        lenders = [
            (found[other], shape) for other in lenders_of(name, dict(zip(names, names, strict=True)), found, masking)
        ]
        controls = controls_of(name, phantom.image, found[name], masking, setting.side, lenders)
        covered.append(list(shares(found[name], controls[masking.modes[0]], masking, shape)))
        made = {BEFORE: phantom.image} | dict(versions(phantom.image, found[name], controls, masking, setting.side))
        for condition, some in pictures.items():
            some.append(fit_square(made.get(condition, phantom.image), setting.side))
    logits = {condition: predict(model, np.stack(some)) for condition, some in pictures.items()}
    means = dict(zip(("tokens", "random", "other"), np.mean(covered, axis=0).tolist(), strict=True))
    return as_answers(logits, masking, names), means, matches(pictures, masking)


def matches(pictures: dict[Condition, list[np.ndarray]], masking: Masking) -> dict[str, dict[str, float]]:
    """Return by mode how far tokens and controls change the network's picture, mean absolute change of grey."""
    before = np.stack(pictures[BEFORE]).astype(np.int16)
    change = {c: float(np.abs(np.stack(some) - before).mean()) for c, some in pictures.items()}
    return {
        mode: {
            name: float(np.mean([change[c] for c in change if (c.name, c.mode) == (name, mode)]))
            for name in ("tokens", "random", "other")
        }
        for mode in masking.modes
    }


def shares(boxes: list[TextBox], controls: Controls, masking: Masking, shape: tuple[int, ...]) -> Iterator[float]:
    """Yield the share of an X-ray that tokens, random boxes (mean over draws) and another X-ray's boxes cover."""
    for draws in ([boxes], controls.random, [controls.other]):
        yield float(np.mean([coverage(grown_boxes(some, masking.margin, shape), shape).mean() for some in draws]))


def as_answers(logits: dict[Condition, np.ndarray], masking: Masking, names: list[str]) -> Answers:
    return Answers(
        before=logits[BEFORE],
        tokens={mode: logits[Condition("tokens", mode)] for mode in masking.modes},
        random={
            mode: np.stack([logits[Condition("random", mode, draw)] for draw in range(masking.draws)])
            for mode in masking.modes
        },
        other={mode: logits[Condition("other", mode)] for mode in masking.modes},
        truth=np.array([CLASSES.index(label_of(i)) for i in range(len(names))]),
        patients=names,
    )


def true_class(answers: Answers, mode: str, seed: int) -> dict[str, dict[str, float | None]]:
    """Return how far the true class's probability moves by masked tokens beyond each control, with its interval."""
    rows = np.arange(len(answers.truth))

    def chance(logits: np.ndarray) -> np.ndarray:
        return softmax(logits)[rows, answers.truth]

    tokens = chance(answers.tokens[mode])
    random = np.mean([chance(draw) for draw in answers.random[mode]], axis=0)
    beyond = {"random": tokens - random, "other": tokens - chance(answers.other[mode])}
    told: dict[str, dict[str, float | None]] = {}
    for control, moved in beyond.items():
        (limits,) = mean_intervals(moved, answers.patients, seed)
        low, high = limits or (None, None)
        told[control] = {"value": float(moved.mean()), "low": low, "high": high}
    return told


def measured(jobs: list[Job], keep: Path | None, workers: int) -> list[dict[str, Any]]:
    """Return the rows of all jobs, those in ``keep`` as they are; each new one is written there when it is done."""
    lines = keep.read_text(encoding="utf-8").splitlines() if keep and keep.exists() else []
    rows = {
        (row["correlation"], row["seed"]): row for row in map(json.loads, lines) if row["setting"] == plain(jobs[0][0])
    }
    todo = [job for job in jobs if (job[1], job[2]) not in rows]
    # "spawn": a forked torch may wait for threads that are not there.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done in as_completed([pool.submit(one_network, job) for job in todo]):
            row = done.result()
            rows[row["correlation"], row["seed"]] = row
            print(f"correlation {row['correlation']}, seed {row['seed']}: accuracy {row['accuracy']:.3f},", end=" ")
            print(f"{row['seconds']:.0f} s ({len(rows)} of {len(jobs)})", flush=True)
            if keep:
                with keep.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    return [rows[job[1], job[2]] for job in jobs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--correlations", type=float, nargs="+", default=list(CORRELATIONS))
    parser.add_argument("--seeds", type=int, default=5, help="networks at each correlation")
    parser.add_argument("--at-zero", type=int, default=20, help="networks at correlation 0")
    parser.add_argument("--modes", nargs="+", default=list(Setting.modes), help="ways of masking")
    parser.add_argument(
        "--detect", action="store_true", help="find the tokens instead of knowing where they were drawn"
    )
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="networks at once")
    parser.add_argument("--keep", type=Path, help="a file of JSON lines for what is done")
    parser.add_argument("--quick", action="store_true", help="as few X-rays and networks as show that it works")
    parser.add_argument("--out", type=Path, help="a Markdown file for the results")
    parser.add_argument("--figure", type=Path, help="a file for the figure: .svg, .png or .pdf")
    args = parser.parse_args()
    if args.figure and form_of(args.figure) is None:
        parser.error(f"--figure: {args.figure.name} does not end in {', '.join(endings())}")
    setting = replace(QUICK if args.quick else Setting(), modes=tuple(args.modes), detect=args.detect)
    seeds = {c: args.seeds if c else args.at_zero for c in args.correlations}
    if args.quick:
        seeds = {0.0: 1, 1.0: 1}
    print(machine())
    # Correlations in turn, so that a run that is cut short has something of each.
    jobs = [(setting, c, seed) for seed in range(max(seeds.values())) for c in seeds if seed < seeds[c]]
    rows = measured(jobs, args.keep, args.workers)
    command = "python benchmarks/planted_shortcut.py " + shlex.join(sys.argv[1:])
    text = page(rows, f"Command: `{command.strip()}`; {machine()}.")
    print("\n" + text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    if args.figure:
        draw(rows, args.modes[0]).write(args.figure)


if __name__ == "__main__":
    main()
