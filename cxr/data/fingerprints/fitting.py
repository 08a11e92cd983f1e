"""Learn the projection of fingerprints from X-rays: `python -m cxr.data.fingerprints.fitting MANIFEST [MANIFEST ...]`.

Directions in which X-rays differ much, and copies of an X-ray that are slightly turned, cut and shifted differ little
(a linear discriminant analysis with one class per X-ray). Weights files hold fingerprints, so that another projection
needs another :data:`cxr.data.fingerprints.making.FORM`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from cxr.data import Manifest
from cxr.data.audit.duplicates.descriptors import GRID, View, features_of, polarity_of, source_of, turned
from cxr.data.fingerprints.making import DIMENSIONS, MIDDLE, Projection
from cxr.data.images.decode import decode
from cxr.data.images.resize import fit_square
from cxr.files import replacing

_SIDE, _RIDGE = 128, 0.05


def fitted(pictures: Sequence[NDArray[np.uint8]], rounds: int = 6, seed: int = 0) -> Projection:
    """Return the projection that pictures, uint8 (S, S), teach."""
    rng = np.random.default_rng(seed)
    sources = [source_of(picture) for picture in pictures]
    plain = features_of(sources, MIDDLE)
    common = np.linalg.svd(plain[:, : GRID**2], full_matrices=False)[2][0].astype(np.float32)
    upright = plain * polarity_of(plain, common)[:, None]
    within = np.zeros((plain.shape[1], plain.shape[1]))
    for _ in range(rounds):
        copies = np.concatenate([features_of([turned(source, rng)], _moved(rng)) for source in sources])
        difference = copies * polarity_of(copies, common)[:, None] - upright
        within += difference.T @ difference / (len(sources) * rounds)
    within += np.eye(len(within)) * (_RIDGE * np.trace(within) / len(within) + 1e-6)
    mean = upright.mean(axis=0)
    between = (upright - mean).T @ (upright - mean) / len(upright)
    vectors = eigh(between, within, subset_by_index=(len(within) - DIMENSIONS, len(within) - 1))[1]
    return Projection(mean.astype(np.float32), vectors.astype(np.float32), common)


def _moved(rng: np.random.Generator) -> View:
    height, width = np.multiply(MIDDLE[:2], rng.uniform(0.93, 1.07, 2))
    top, left = (1 - np.array([height, width])) / 2 + rng.uniform(-0.04, 0.04, 2)
    return (float(height), float(width), float(top), float(left))


def main() -> None:
    """Learn from the X-rays of manifests and write the projection beside this module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, nargs="+")
    parser.add_argument("--most", type=int, default=600, help="of each manifest, its first rows")
    arguments = parser.parse_args()
    sets = [list(Manifest.load(path).image_paths().values()) for path in arguments.manifest]
    files = [path for paths in sets for path in paths[: arguments.most]]
    learnt = fitted([fit_square(decode(path), _SIDE) for path in files])
    arrays = {name: getattr(learnt, name).astype(np.float16) for name in ("mean", "directions", "common")}
    with replacing(Path(__file__).with_name("projection.npz")) as draft, draft.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    print(f"learnt from {len(files):,} X-rays")


if __name__ == "__main__":
    main()
