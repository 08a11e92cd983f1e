"""Are copies of real X-rays found, and are other X-rays left alone? How long does it take?

Copies of real X-rays are planted among the originals, one of one kind for each: rescaled, saved as JPEG, cropped,
brightened, and so on. Recall counts the planted pairs that are found. Precision counts, of all pairs that are
reported, those that were planted, and those that the manifest's `dup_group` names. Beside it the library imagededup on
the same files, if a Python that has it is given. `benchmarks/duplicates_time.py` measures how long larger sets take.

    OMP_NUM_THREADS=1 python benchmarks/duplicates.py MANIFEST [--sets 3] [--imagededup PYTHON]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr.data import Manifest
from cxr.data.audit.duplicates import find_duplicates
from cxr.data.audit.duplicates.pictures import SIDE
from cxr.data.images.decode import decode
from cxr.data.images.resize import fit_square
from cxr.machine import cores

RESULTS = Path(__file__).parent / "results" / "duplicates.md"
TUNED_ON = 600  # rows of the manifest on which thresholds were set; planted copies are of other patients
Image = NDArray[np.uint8]
Rng = np.random.Generator
Pairs = set[frozenset[str]]


def same(image: Image, rng: Rng) -> Image:
    return image


def rescaled(image: Image, rng: Rng) -> Image:
    factor = rng.uniform(0.3, 0.8)
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


def jpeg(image: Image, rng: Rng) -> Image:
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 81))]
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_GRAYSCALE), np.uint8)


def cropped(image: Image, rng: Rng, least: float = 0.05, most: float = 0.2) -> Image:
    height, width = image.shape
    cut_y, cut_x = rng.uniform(least, most, 2)
    top, left = int(rng.uniform(0, cut_y) * height), int(rng.uniform(0, cut_x) * width)
    return image[top : top + int(height * (1 - cut_y)), left : left + int(width * (1 - cut_x))]


def brightness(image: Image, rng: Rng) -> Image:
    shift = int(rng.choice([-1, 1]) * rng.integers(20, 61))
    return np.clip(image.astype(np.int16) + shift, 0, 255).astype(np.uint8)


def contrast(image: Image, rng: Rng) -> Image:
    factor = rng.choice([rng.uniform(0.4, 0.8), rng.uniform(1.25, 1.6)])
    return np.clip((image.astype(np.float32) - 128) * factor + 128, 0, 255).astype(np.uint8)


def inverted(image: Image, rng: Rng) -> Image:
    return 255 - image


def turned(image: Image, rng: Rng) -> Image:
    height, width = image.shape
    degrees = rng.choice([-1, 1]) * rng.uniform(1, 5)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height)), np.uint8)


def several(image: Image, rng: Rng) -> Image:
    return jpeg(brightness(cropped(turned(image, rng), rng, 0.05, 0.12), rng), rng)


KINDS: dict[str, tuple[str, Callable[[Image, Rng], Image]]] = {
    "same pixels": ("saved as PNG", same),
    "rescaled": ("to 30 to 80 % of the side", rescaled),
    "JPEG": ("quality 20 to 80", jpeg),
    "cropped": ("each side by 5 to 20 %, off centre", cropped),
    "brightness": ("20 to 60 grey levels up or down, clipped", brightness),
    "contrast": ("by 0.4 to 0.8 or 1.25 to 1.6, clipped", contrast),
    "inverted": ("negative", inverted),
    "turned": ("1 to 5 degrees, corners black", turned),
    "several at once": ("turned, cropped 5 to 12 %, brightness, JPEG", several),
}


def wilson(hits: int, n: int) -> str:
    """Return a share with its 95 % interval (Wilson)."""
    if n == 0:
        return "none"
    z, share = 1.96, hits / n
    middle, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
    return f"{share:.3f} ({low:.3f} to {min(high, 1):.3f})"


def planted_set(manifest: Manifest, seed: int) -> tuple[dict[str, Image], dict[frozenset[str], str]]:
    """Return images by id, originals and one copy of each, and the kind of each planted pair."""
    rng = np.random.default_rng(seed)
    kinds = list(KINDS)
    images: dict[str, Image] = {}
    kind_of: dict[frozenset[str], str] = {}
    for place, k in enumerate(rng.permutation(len(manifest))):
        image_id = manifest.ids[k]
        image, kind = decode(manifest.image_path(image_id)), kinds[place % len(kinds)]
        images[image_id] = image
        images[f"copy-{image_id}"] = np.ascontiguousarray(KINDS[kind][1](image, rng))
        kind_of[frozenset((image_id, f"copy-{image_id}"))] = kind
    return images, kind_of


def ours(images: dict[str, Image]) -> Pairs:
    thumbnails = np.stack([fit_square(image, SIDE) for image in images.values()])
    sizes = [(image.shape[1], image.shape[0]) for image in images.values()]
    pairs = find_duplicates(thumbnails, list(images), sizes=sizes)
    return {frozenset(pair) for pair in zip(pairs["image_id_a"], pairs["image_id_b"], strict=True)}


THEIRS = """
import json, sys, time
from importlib.metadata import version
from imagededup import methods
folder, name, *thresholds = sys.argv[1:]
print("VERSION", json.dumps(version("imagededup")))
try:
    method = getattr(methods, name)(verbose=False)
except Exception as error:
    print("UNAVAILABLE", json.dumps(f"{type(error).__name__}: {error}"))
    sys.exit()
begun = time.process_time()
encodings = method.encode_images(image_dir=folder, num_enc_workers=0)
for threshold in thresholds:
    limit = {"min_similarity_threshold": float(threshold), "num_sim_workers": 0} if name == "CNN" else {
        "max_distance_threshold": int(threshold), "num_dist_workers": 0}
    found = method.find_duplicates(encoding_map=encodings, **limit)
    print("PAIRS", json.dumps([[a[:-4], b[:-4]] for a, others in found.items() for b in others]))
print("SECONDS", json.dumps(time.process_time() - begun))
"""
THRESHOLDS: dict[str, tuple[float, ...]] = {"PHash": (10, 16), "DHash": (10, 16), "CNN": (0.9,)}
"""Of each method its default and, of hashes of 64 bits, a distance that finds more."""


class Theirs:
    """What imagededup found with one method: pairs at each threshold, or why it could not be used."""

    def __init__(self, python: str, folder: Path, method: str) -> None:
        command = [python, "-c", THEIRS, str(folder), method, *map(str, THRESHOLDS[method])]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
        answers = [line.partition(" ") for line in output.splitlines()]
        read = {key: [json.loads(value) for name, _, value in answers if name == key] for key in _ANSWERS}
        self.version: str = read["VERSION"][0]
        self.unavailable: str = " ".join(read["UNAVAILABLE"])
        self.seconds: float = sum(read["SECONDS"])
        self.pairs: list[Pairs] = [{frozenset(pair) for pair in pairs} for pairs in read["PAIRS"]]


_ANSWERS = ("VERSION", "UNAVAILABLE", "SECONDS", "PAIRS")


class Score:
    """Pairs of one method over all sets."""

    def __init__(self) -> None:
        self.found = dict.fromkeys(KINDS, 0)
        self.planted = dict.fromkeys(KINDS, 0)
        self.known, self.known_found, self.reported, self.right = 0, 0, 0, 0
        self.others: dict[str, int] = {}

    def add(self, pairs: Pairs, kind_of: dict[frozenset[str], str], group_of: dict[str, str]) -> None:
        """Count the pairs of one set; a copy counts as its original, so that copies of duplicates are right."""
        for pair, kind in kind_of.items():
            self.planted[kind] += 1
            self.found[kind] += pair in pairs
        known = same_group(group_of)
        self.known += len(known)
        self.known_found += len(known & pairs)
        for pair in pairs:
            originals = frozenset(name.removeprefix("copy-") for name in pair)
            self.reported += 1
            if len(originals) == 1 or originals in known:
                self.right += 1
            else:
                name = " and ".join(sorted(originals))
                self.others[name] = self.others.get(name, 0) + 1


def same_group(group_of: dict[str, str]) -> Pairs:
    members: dict[str, list[str]] = {}
    for image_id, group in group_of.items():
        if group:
            members.setdefault(group, []).append(image_id)
    return {frozenset((a, b)) for ids in members.values() for a in ids for b in ids if a < b}


def fillers(images: NDArray[np.uint8], n: int, rng: Rng) -> NDArray[np.uint8]:
    """Return thumbnails that look like X-rays and are none of the images: two of them blended, one mirrored, warped."""
    grid = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1).astype(np.float32)
    made = np.empty((n, SIDE, SIDE), np.uint8)
    for k in range(n):
        one, other = rng.choice(len(images), 2, replace=False)
        blend = cv2.addWeighted(images[one], 0.5, images[other][:, ::-1], 0.5, 0)
        moves = rng.normal(0, 0.02 * SIDE, (6, 6, 2)).astype(np.float32)
        places = grid + cv2.resize(moves, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        made[k] = cv2.remap(blend, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return made


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *rows]]
    return "\n".join(lines)


def held_out(manifest: Manifest) -> Manifest:
    """Return the X-rays of patients, and of groups of duplicates, that no threshold was set on."""
    seen = manifest.table.iloc[:TUNED_ON]
    rest = manifest.table.iloc[TUNED_ON:]
    return manifest.with_table(
        rest[~rest["patient_id"].isin(seen["patient_id"]) & ~rest["dup_group"].isin(seen["dup_group"])]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--sets", type=int, default=3)
    parser.add_argument("--imagededup", metavar="PYTHON", help="a Python that has imagededup")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    whole = Manifest.load(arguments.manifest)
    manifest = held_out(whole)
    groups = dict(zip(manifest.table["image_id"], manifest.table["dup_group"], strict=True))
    methods, notes = {"ours": Score()}, [""]
    for seed in range(arguments.sets):
        images, kind_of = planted_set(manifest, seed)
        begun = time.process_time()
        methods["ours"].add(ours(images), kind_of, groups)
        print(f"set {seed}: {time.process_time() - begun:.0f} s", flush=True)
        if arguments.imagededup and seed == 0:
            notes = compare(arguments.imagededup, images, kind_of, groups, methods)
    images = {}
    arguments.out.write_text(report(arguments, manifest, methods, notes, on_the_whole(whole)), encoding="utf-8")


def compare(
    python: str,
    images: dict[str, Image],
    kind_of: dict[frozenset[str], str],
    groups: dict[str, str],
    methods: dict[str, Score],
) -> list[str]:
    """Measure imagededup on the files of a set, at its own thresholds and at some that find more; return sentences."""
    notes = []
    with tempfile.TemporaryDirectory() as folder:
        for name, image in images.items():
            cv2.imwrite(f"{folder}/{name}.bmp", image)
        for method, thresholds in THRESHOLDS.items():
            found = Theirs(python, Path(folder), method)
            for threshold, pairs in zip(thresholds, found.pairs, strict=False):
                score = methods.setdefault(f"imagededup {method}, {threshold}", Score())
                score.add(pairs, kind_of, groups)
            if found.unavailable:
                notes.append(f"imagededup {found.version} {method} was not measured: {found.unavailable}.")
            else:
                notes.append(f"imagededup {found.version} {method}: {found.seconds:.0f} s of processor time.")
            print(notes[-1], flush=True)
    return ["", *notes]


def on_the_whole(manifest: Manifest) -> list[str]:
    """Return sentences on the data as they are: the pairs of `dup_group`, and what else is found."""
    images = {image_id: decode(path) for image_id, path in manifest.image_paths().items()}
    pairs = ours(images)
    known = same_group(dict(zip(manifest.table["image_id"], manifest.table["dup_group"], strict=True)))
    names = manifest.table.set_index("image_id")["image"]
    others = sorted(" and ".join(sorted(Path(names[i]).name for i in pair)) for pair in pairs - known)
    return [
        f"{len(known & pairs)} of the {len(known)} pairs of `dup_group` were found, among {len(manifest)} X-rays, and "
        f"{len(others)} more. These were looked at when this table was made: each pair shows one X-ray, under two "
        "patients:",
        "",
        *(f"- {text}" for text in others),
    ]


def report(
    arguments: argparse.Namespace,
    manifest: Manifest,
    methods: dict[str, Score],
    notes: list[str],
    real: list[str],
) -> str:
    first = methods["ours"]
    rows = [
        [kind, KINDS[kind][0], *(wilson(score.found[kind], score.planted[kind]) for score in methods.values())]
        for kind in KINDS
    ]
    rows.append(["**all**", "", *(wilson(sum(s.found.values()), sum(s.planted.values())) for s in methods.values())])
    rows.append(["**precision**", "of all pairs reported", *(wilson(s.right, s.reported) for s in methods.values())])
    names = manifest.table.set_index("image_id")["image"]
    others = [
        f"- {' and '.join(Path(names[i]).name for i in text.split(' and '))} ({n} times)"
        for text, n in sorted(first.others.items())
    ]
    return "\n".join(
        [
            "# Duplicates",
            "",
            "Command: `OMP_NUM_THREADS=1 python benchmarks/duplicates.py MANIFEST "
            f"--sets {arguments.sets}"
            f"{' --imagededup PYTHON' if arguments.imagededup else ''}`, {platform.machine()}, {cores()} cores.",
            "",
            f"Sets: {arguments.sets}, each of {len(manifest)} real X-rays and one copy of each; of patients on whose "
            "X-rays no threshold was set (different X-rays that look alike were looked at in all). Each original has "
            "one kind of copy in each set. Intervals (95 %, Wilson) are over planted pairs, or over reported pairs; "
            "X-rays that occur in several sets count as often."
            + (
                " imagededup is measured on the first set. The number behind a method is its threshold: a distance of "
                "64 bits (10 is its default), or a similarity."
                if arguments.imagededup
                else ""
            ),
            *notes,
            "",
            "The threshold of the coarse step was lowered once, on the X-rays set aside for that, after a first run of "
            "this table had found fewer of the crops than are found now. Later the coarse step was made shorter, on "
            "the same X-rays, after a look at how many steps the planted copies of this table need.",
            "",
            table(["kind", "what was done", *methods], rows),
            "",
            f"A pair is right if both are of one original, or of two that `dup_group` joins. Ours reported "
            f"{first.reported} pairs, of which {first.reported - first.right} are neither planted nor in `dup_group`:"
            if others
            else f"Every one of the {first.reported} pairs that ours reported is planted or in `dup_group`.",
            "",
            *others,
            "",
            "## The data as they are",
            "",
            *real,
            "",
        ]
    )


if __name__ == "__main__":
    main()
