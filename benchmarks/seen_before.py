"""Are X-rays that a network was trained on found again, and are others left alone?

Synthetic X-rays stand for a training set; its list of what was seen is compared with innocent sets (other X-rays of the
same kind) and with the same X-rays renamed, split again, and saved in other ways. With real X-rays, one half of the
patients stands for a training set: copies of its X-rays, changed in many ways, should be found, the other half should
not. Also measured: what the list takes on the disk and how long it takes to make and to compare.

    OMP_NUM_THREADS=1 python benchmarks/seen_before.py [--sets 10] [--n 40] [--real MANIFEST] [--alike MANIFEST]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from duplicates import KINDS, cropped, fillers, held_out, wilson
from numpy.typing import NDArray
from PIL import Image

from cxr.data import ImageCache, Manifest
from cxr.data.digests import picture_digest
from cxr.data.fingerprints import FORM, THRESHOLD, fingerprints_of, nearest_fingerprints
from cxr.data.images.decode import decode
from cxr.data.images.resize import fit_square
from cxr.data.phantom.demo import write_demo
from cxr.evaluation.seen import marked
from cxr.evaluation.seen.confirming import PROPOSED, one_x_ray
from cxr.models.seen_images import Seen, SeenImages, sorted_digests

RESULTS = Path(__file__).parent / "results" / "seen_before.md"
SIZES = (64, 128, 224)
SIDE = 256


def listed(manifest: Manifest, size: int, root: Path) -> Seen:
    """Return the list of a network that was trained on all of a manifest."""
    cache = ImageCache.build(manifest, size, root=root)
    files, pictures = cache.digests(np.arange(len(cache)))
    entry = SeenImages(
        "run",
        "only",
        "trained",
        len(cache),
        cache.form,
        sorted_digests(files),
        sorted_digests(pictures),
        fingerprints=fingerprints_of(cache.images[row] for row in range(len(cache))),
        fingerprint_form=FORM,
    )
    return Seen((entry,))


def again(
    manifest: Manifest, folder: Path, suffix: str, change: Callable[[Image.Image], Image.Image], how: dict
) -> Manifest:
    """Save every picture under another name, perhaps changed."""
    folder.mkdir()
    paths = list(manifest.image_paths().values())
    for k, path in enumerate(paths):
        change(Image.open(path)).save(folder / f"new-{k}{suffix}", **how)
    table = pd.DataFrame({"image": [f"new-{k}{suffix}" for k in range(len(paths))], "split": "test"})
    return Manifest.from_table(table, folder)


def one_grey_more(image: Image.Image) -> Image.Image:
    """Return a picture whose every pixel is one grey level brighter, where there is room."""
    return Image.fromarray(np.minimum(np.asarray(image), 254).astype(np.uint8) + 1)


COPIES: dict[str, tuple[str, Callable[[Image.Image], Image.Image], dict]] = {
    "PNG, written anew": (".png", lambda image: image, {}),
    "PNG, other compression": (".png", lambda image: image, {"compress_level": 1}),
    "BMP": (".bmp", lambda image: image, {}),
    "TIFF": (".tiff", lambda image: image, {}),
    "three equal channels, PNG": (".png", lambda image: image.convert("RGB"), {}),
    "JPEG, quality 90 (a near-duplicate)": (".jpg", lambda image: image, {"quality": 90}),
    "one grey level brighter (a near-duplicate)": (".png", one_grey_more, {}),
    "half the size (a near-duplicate)": (".png", lambda image: image.resize((SIDE // 2, SIDE // 2)), {}),
}


def share_found(seen: Seen, manifest: Manifest, size: int) -> tuple[int, int]:
    """Return how many X-rays are marked as seen, of how many."""
    counts = marked(seen, manifest, size)["splits"]
    return sum(c["trained"] for c in counts.values()), sum(c["of"] for c in counts.values())


def innocent(args: argparse.Namespace, folder: Path, seen: dict[int, Seen]) -> list[str]:
    lines = [
        "| size | sets | X-rays | pairs | marked as seen | marked per 1,000 | sets with a mark |",
        "|---|---|---|---|---|---|---|",
    ]
    sets = [write_demo(folder / f"set-{k}", n=args.n, seed=1000 + k, size=SIDE, workers=0) for k in range(args.sets)]
    for size in SIZES:
        found = [share_found(seen[size], manifest, size) for manifest in sets]
        marks, n = (sum(part) for part in zip(*found, strict=True))
        cells = f"{n} | {n * args.trained:,} | {marks} | {per_thousand(marks, n)} | {sum(m > 0 for m, _ in found)}"
        lines.append(f"| {size} px | {len(sets)} | {cells} |")
    return lines


def copies(manifest: Manifest, folder: Path, seen: dict[int, Seen]) -> list[str]:
    lines = ["| the same X-rays as | " + " | ".join(f"{s} px" for s in SIZES) + " |", "|---|" + "---|" * len(SIZES)]
    for k, (title, (suffix, change, how)) in enumerate(COPIES.items()):
        other = again(manifest, folder / f"copy-{k}", suffix, change, how)
        found = (share_found(seen[size], other, size) for size in SIZES)
        lines.append(f"| {title} | " + " | ".join(f"{n} of {of}" for n, of in found) + " |")
    return lines


Thumbnail = NDArray[np.uint8]
NEAR_SIDE = 128


def crop_of_a_tenth(image: Thumbnail, rng: np.random.Generator) -> Thumbnail:
    return cropped(image, rng, 0.1, 0.1)


def jpeg_80(image: Thumbnail, rng: np.random.Generator) -> Thumbnail:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], 0), np.uint8)


NEAR_KINDS = {
    "JPEG 80": ("quality 80", jpeg_80),
    "cropped 10 %": ("each side by 10 %, off centre", crop_of_a_tenth),
    **{kind: how for kind, how in KINDS.items() if kind != "same pixels"},
}


def near(path: Path, n_listed: int, most: int, n_copies: int) -> list[str]:
    """Measure near-duplicates: recall by kind of copy, and false alarms on X-rays of other patients."""
    manifest = held_out(Manifest.load(path))
    rng = np.random.default_rng(0)
    manifest = manifest.select(ids=[manifest.ids[k] for k in sorted(rng.permutation(len(manifest))[:most])])
    table = manifest.table.set_index("image_id")
    patients = table["patient_id"].where(table["patient_id"] != "", table.index)
    of_one = patients.isin(rng.permutation(patients.unique())[::2])
    of_other = ~of_one & ~table["dup_group"].isin(set(table.loc[of_one, "dup_group"]) - {""})
    pictures = {i: fit_square(decode(manifest.image_path(i)), NEAR_SIDE) for i in table.index[of_one | of_other]}
    halves = [[str(i) for i in table.index[chosen]] for chosen in (of_one, of_other)]
    lists = [fingerprints_of(pictures[i] for i in half) for half in halves]
    drawn = [fingerprints_of(fillers(np.stack(list(pictures.values())), 1000, rng)) for _ in range(0, n_listed, 1000)]
    return [
        f"Patients are drawn by lot: {len(halves[0])} X-rays of one half stand for the training. The projection was "
        f"learnt from other X-rays; the threshold ({THRESHOLD}) was set with a look at these, and nothing since. "
        "X-rays are brought to 512 pixels before they are changed. Intervals (95 %, Wilson) are over copies.",
        "",
        *_recall(manifest, halves[0][:n_copies], halves[0], np.concatenate([lists[0], *drawn]), pictures, rng),
        "",
        *_alarms(halves, lists, pictures, dict(table["source"])),
    ]


def _recall(
    manifest: Manifest,
    copied: list[str],
    listed: list[str],
    fingerprints: NDArray[np.uint8],
    pictures: dict[str, Thumbnail],
    rng: np.random.Generator,
) -> list[str]:
    lines = [
        f"The list holds {len(fingerprints):,} X-rays, most of them blended of two real ones and warped. Found by the "
        "fingerprint alone, as where the X-rays of the training are gone; and as where they are at hand and "
        f"registration decides (from an agreement of {PROPOSED} on).",
        "",
        "| kind | what was done | fingerprint alone | registration |",
        "|---|---|---|---|",
    ]
    images = [halfway(decode(manifest.image_path(image_id))) for image_id in copied]
    for kind, (what, change) in NEAR_KINDS.items():
        copies = [fit_square(np.ascontiguousarray(change(image, rng)), NEAR_SIDE) for image in images]
        matches = nearest_fingerprints(copies, fingerprints)
        right = [match.row == listed.index(image_id) for image_id, match in zip(copied, matches, strict=True)]
        alone = sum(match.same and own for match, own in zip(matches, right, strict=True))
        confirmed = sum(
            own and match.score >= PROPOSED and one_x_ray(copy, pictures[image_id])
            for image_id, copy, match, own in zip(copied, copies, matches, right, strict=True)
        )
        n = len(copies)
        lines.append(f"| {kind} | {what} | {wilson(alone, n)} | {wilson(confirmed, n)} |")
        print(lines[-1], flush=True)
    return lines


def _alarms(
    halves: list[list[str]], lists: list[NDArray[np.uint8]], pictures: dict[str, Thumbnail], source_of: dict[str, str]
) -> list[str]:
    """Compare each half of the patients with the list of the other: whoever is marked is marked wrongly."""
    rows: dict[str, list[tuple[bool, bool]]] = {}
    scores: list[float] = []
    pairs = 0
    for own, other in ((0, 1), (1, 0)):
        matches = nearest_fingerprints([pictures[i] for i in halves[own]], lists[other])
        pairs += len(halves[own]) * len(halves[other])
        scores += [match.score for match in matches]
        for image_id, match in zip(halves[own], matches, strict=True):
            confirmed = match.score >= PROPOSED and one_x_ray(pictures[image_id], pictures[halves[other][match.row]])
            rows.setdefault(source_of[image_id], []).append((match.same, confirmed))
    lines = [
        f"False alarms: X-rays of each half are compared with the list of the other, {pairs:,} pairs of X-rays of "
        f"different patients. The highest agreement is {max(scores):.3f}. Marked X-rays per 1,000:",
        "",
        "| source | X-rays | fingerprint alone | registration |",
        "|---|---|---|---|",
    ]
    for source, marks in [*sorted(rows.items()), ("all", [mark for own in rows.values() for mark in own])]:
        cells = (per_thousand(sum(mark[k] for mark in marks), len(marks)) for k in (0, 1))
        lines.append(f"| {source} | {len(marks)} | " + " | ".join(cells) + " |")
    return lines


def per_thousand(hits: int, n: int) -> str:
    """Return how many of 1,000, with the 95 % interval (Wilson)."""
    share, low, high = (1000 * float(number) for number in re.findall(r"[\d.]+", wilson(hits, n)))
    return f"{hits} of {n}: {share:.0f} ({low:.0f} to {high:.0f})"


def halfway(image: Thumbnail) -> Thumbnail:
    """Return an X-ray whose longer side is 512 pixels at most."""
    factor = min(512 / max(image.shape), 1.0)
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


def real(path: Path, root: Path) -> list[str]:
    """Count different real X-rays (by their pixels at full size) that are one picture at a network's size."""
    from cxr.data import read_xray

    manifest = Manifest.load(path)
    whole = {}
    for image_id, file in manifest.image_paths().items():
        picture = read_xray(file)
        whole[image_id] = (picture.shape, hashlib.blake2b(picture.tobytes(), digest_size=16).digest())
    lines = ["| size | real X-rays | different pictures | of these alike at this size |", "|---|---|---|---|"]
    for size in SIZES:
        cache = ImageCache.build(manifest, size, root=root)
        pictures = [picture_digest(cache[image_id]) for image_id in cache.ids]
        different = len({whole[image_id] for image_id in cache.ids})
        lines.append(f"| {size} px | {len(cache)} | {different} | {different - len(set(pictures))} |")
    return lines


def cost(folder: Path) -> list[str]:
    """Measure the list of 112,000 X-rays: its bytes, and the time to make it from that of 2,000 pictures."""
    rng = np.random.default_rng(0)
    digests = sorted_digests(rng.integers(1, 2**63, 112_000, dtype=np.uint64))
    some = fingerprints_of(rng.integers(0, 256, (2000, 64, 64), dtype=np.uint8))
    fingerprints = np.concatenate([some] * 56)
    fingerprints[:, :48] = rng.integers(0, 256, (112_000, 48))
    patients = digests[:30_000]
    seen = SeenImages("run", "only", "trained", 112_000, "form", digests, digests, patients, fingerprints, FORM)
    text = Seen((seen,)).to_text()
    begun = time.perf_counter()
    Seen.from_text(text)
    read = time.perf_counter() - begun
    lines = [
        f"- the list of 112,000 X-rays of 30,000 patients takes {len(text) / 1e6:.1f} MB and is read in {read:.2f} s"
    ]
    for count in (112_000, 28_000):
        begun = time.process_time()
        nearest_fingerprints(list(rng.integers(0, 256, (256, 64, 64), dtype=np.uint8)), fingerprints[:count])
        seconds = (time.process_time() - begun) / 256 * 1000
        lines.append(f"- 1,000 X-rays looked for in a list of {count:,}: {seconds:.0f} s of processor time")
    pictures = rng.integers(0, 256, (2000, 224, 224), dtype=np.uint8)
    begun = time.process_time()
    fingerprints_of(pictures)
    seconds = (time.process_time() - begun) / len(pictures) * 112_000
    lines.append(f"- fingerprints of 112,000 decoded pictures of 224 px: {seconds:.0f} s of processor time")
    for size in SIZES:
        pictures = rng.integers(0, 256, (2000, size, size), dtype=np.uint8)
        begun = time.perf_counter()
        for picture in pictures:
            picture_digest(picture)
        seconds = (time.perf_counter() - begun) / len(pictures) * 112_000
        lines.append(f"- digests of 112,000 decoded pictures of {size} px: {seconds:.1f} s on one core")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=10)
    parser.add_argument("--trained", type=int, default=300)
    parser.add_argument("--n", type=int, default=40)
    parser.add_argument("--real", type=Path, help="a manifest of real X-rays")
    parser.add_argument("--alike", type=Path, help="a manifest: are two of its X-rays one at a network's size?")
    parser.add_argument("--listed", type=int, default=20_000, help="blended X-rays that fill up the list")
    parser.add_argument("--most", type=int, default=1647, help="real X-rays that are looked at")
    parser.add_argument("--copies", type=int, default=400, help="real X-rays of which a copy of each kind is made")
    args = parser.parse_args()
    command = f"python benchmarks/seen_before.py --sets {args.sets} --n {args.n} --trained {args.trained}"
    command += f" --real MANIFEST --listed {args.listed} --most {args.most} --copies {args.copies}" * bool(args.real)
    command += " --alike MANIFEST" * bool(args.alike)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["CXR_DATA"] = str(folder / "data")
        root = folder / "data" / ".cache"
        trained = write_demo(folder / "trained", n=args.trained, seed=1, size=SIDE, workers=0)
        seen = {size: listed(trained, size, root) for size in SIZES}
        parts = [
            "# X-rays seen before",
            f"`{command}`, fixed seeds, {platform.machine()}, Python {platform.python_version()}. A network's list of "
            f"{args.trained} synthetic X-rays is compared with others.",
            "## Innocent sets: synthetic X-rays of other seeds",
            "\n".join(innocent(args, folder, seen)),
            "## The same X-rays again, renamed and in another data set",
            "\n".join(copies(trained, folder, seen)),
        ]
        if args.real:
            parts += [
                "## Near-duplicates of real X-rays",
                "\n".join(near(args.real, args.listed, args.most, args.copies)),
            ]
        if args.alike:
            parts += ["## Real X-rays: is one taken for another?", "\n".join(real(args.alike, root))]
        parts += ["## Cost", "\n".join(cost(folder))]
    RESULTS.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(RESULTS.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
