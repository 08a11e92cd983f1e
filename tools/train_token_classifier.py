"""Make the token classifier (``cxr/text/detection/token_classifier.onnx``) from scratch.

Tokens are drawn over synthetic X-rays and, with ``--data``, over real ones (:mod:`drawn_tokens`), beside things that
resemble text (:mod:`drawn_things`). A sample is a box as a detector may give it:

- word, letter, arrow: the drawn token's box, shifted and grown at random
- nothing: boxes of drawn things; glyph-like components that touch no token, anywhere on synthetic X-rays and on pieces
  cut from the middle of real ones; on whole real ones only of the sources in ``TRUSTED`` and where those hardly ever
  carry text, for real images are not labelled and carry text of their own
- with ``--data``, also the boxes of ``token_labels.csv``: candidates on real X-rays that an earlier classifier was not
  sure of, or found, looked at one by one and called word, letter, arrow or nothing. A fifth of the patients with labels
  is kept aside, with all their X-rays, to tell how good the token classifier is.

A first network, trained for a few epochs, then looks for tokens on more real X-rays where there are none; what it finds
joins the samples as nothing, and the token classifier is trained on all of them from the beginning. Its weights are the
running mean of the training's.

Real images that also lie in ``--held-out`` (a folder with ``images.csv``), by name or by content, are left out with all
others of their patients, for a patient's X-rays mostly carry the same text. One seed fixes the samples and the
network's start; on another number of cores sums round otherwise.

    python tools/train_token_classifier.py --data FOLDER --held-out FOLDER/text [--out FILE.onnx]

made the token classifier that is shipped. Without ``--data`` it knows drawn X-rays alone, and is worse on real ones.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from drawn_things import draw_things
from drawn_tokens import draw_token
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cxr.data.phantom import CLASSES as LABELS
from cxr.data.phantom import make_phantom
from cxr.data.splits import connected_groups
from cxr.text.boxes import TextBox, clip, grow, intersection, iou
from cxr.text.detection.components import components
from cxr.text.detection.token_classifier import CLASSES, N_CHANNELS, N_FEATURES, SIZE, WEIGHTS, TokenClassifier, patches

TRUSTED = ("nih", "montgomery")
"""Sources whose middle of the chest hardly ever carries text; images of journals carry arrows there."""
TEXTLESS = ((0.24, 0.26, 0.76, 0.9), (0.0, 0.42, 1.0, 0.93))
"""x0, y0, x1, y1 as shares of the image: where a component of a real image of those sources counts as nothing."""
DOUBTFUL = 0.08
"""Probability above which a first classifier's candidates on nothing are shown to it again."""
LABELS_FILE = Path(__file__).with_name("token_labels.csv")
"""Candidates on real X-rays, told apart by eye: image as in the manifest, x0, y0, x1, y1 in its pixels, kind."""
PARTS = 8
"""Pieces that the images are shared out in, each with a random generator of its own."""
KEPT_ASIDE = 5
"""One in so many patients with labels is not trained on."""


@dataclass
class Samples:
    """Pictures as float16, features, and class numbers, of all images so far."""

    pictures: list[np.ndarray] = field(default_factory=list)
    features: list[np.ndarray] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)

    def add(self, image: np.ndarray, boxes: list[TextBox], kinds: list[str]) -> None:
        """Take the boxes of one image."""
        if boxes:
            pictures, features = patches(image, boxes)
            self.pictures.append(pictures.astype(np.float16))
            self.features.append(features)
            self.classes += [CLASSES.index(kind) for kind in kinds]

    def __iadd__(self, other: Samples) -> Samples:
        self.pictures += other.pictures
        self.features += other.features
        self.classes += other.classes
        return self

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return pictures (n, 3, 48, 96), features (n, 4) and class numbers (n)."""
        pictures, features = np.concatenate(self.pictures), np.concatenate(self.features)
        return torch.from_numpy(pictures), torch.from_numpy(features), torch.tensor(self.classes)


def grey(path: Path, flags: int = cv2.IMREAD_GRAYSCALE) -> np.ndarray:
    """Return an image file as uint8 (H, W)."""
    image = cv2.imread(str(path), flags)
    if image is None:
        raise SystemExit(f"{path} cannot be read as an image")
    return image


def backgrounds(rng: np.random.Generator, real: pd.DataFrame, root: Path | None, n_phantom: int) -> Iterator:
    """Yield (image, source): the real ones, then synthetic ones; sizes as files of hospitals have them."""
    for row in real.itertuples() if root is not None else ():
        image = grey(root / row.image)
        if row.source in TRUSTED and rng.random() < 0.4:  # real texture up to the border, and nothing written on it
            yield _rescaled(rng, _middle(rng, image), (1.0, 2.2)), "middle"
        else:
            yield _rescaled(rng, image, (0.75, 1.5)), row.source
    for i in range(n_phantom):
        seed = int(rng.integers(2**31))
        phantom = make_phantom(seed, LABELS[i % 3], size=int(rng.choice([256, 384, 512, 640])), tokens=False)
        yield _rescaled(rng, phantom.image, (1.0, 1.7)), "phantom"


def drawn(seed: int, real: pd.DataFrame, root: Path | None, n_phantom: int) -> Samples:
    """Return samples of tokens and things drawn over the real X-rays and over synthetic ones."""
    cv2.setNumThreads(1)
    rng, out = np.random.default_rng(seed), Samples()
    for image, source in backgrounds(rng, real, root, n_phantom):
        sample(rng, image, source, out)
    return out


def labelled(seed: int, labels: pd.DataFrame, root: Path, variants: int) -> Samples:
    """Return the labelled boxes of real X-rays, each ``variants`` times at other sizes, contrasts and positions.

    With no variants the boxes are taken once, as they are.
    """
    cv2.setNumThreads(1)
    rng, out = np.random.default_rng(seed), Samples()
    for name, rows in labels.groupby("image", sort=True):
        image = grey(root / str(name))
        boxes = [TextBox(r.x0, r.y0, r.x1, r.y1) for r in rows.itertuples()]
        if not variants:
            out.add(image, boxes, list(rows["kind"]))
        for _ in range(variants):
            varied, moved = _another_look(rng, image, boxes)
            out.add(varied, moved, list(rows["kind"]))
    return out


def _another_look(
    rng: np.random.Generator, image: np.ndarray, boxes: list[TextBox]
) -> tuple[np.ndarray, list[TextBox]]:
    """Return the image scaled, mirrored, brighter or blurred, with boxes a little off."""
    scale = rng.uniform(0.75, 1.7)
    varied = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.4:
        varied = cv2.LUT(varied, (255 * np.linspace(0, 1, 256) ** rng.uniform(0.6, 1.6)).astype(np.uint8))
    if rng.random() < 0.25:
        varied = 255 - varied
    height, width = varied.shape
    grown = [TextBox(round(b.x0 * scale), round(b.y0 * scale), round(b.x1 * scale), round(b.y1 * scale)) for b in boxes]
    moved = [_shifted(rng, b, varied.shape, least=-0.08, most=0.15) for b in grown]
    if rng.random() < 0.5:
        varied = np.ascontiguousarray(varied[:, ::-1])
        moved = [TextBox(width - b.x1, b.y0, width - b.x0, b.y1) for b in moved]
    if rng.random() < 0.25:
        varied = np.ascontiguousarray(varied[::-1])
        moved = [TextBox(b.x0, height - b.y1, b.x1, height - b.y0) for b in moved]
    return _degraded(rng, varied), moved


def _middle(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    x0, y0, x1, y1 = TEXTLESS[0] + rng.uniform(-0.02, 0.08, 4) * (1, 1, -1, -1)
    (height, width) = image.shape
    return image[int(y0 * height) : int(y1 * height), int(x0 * width) : int(x1 * width)]


def _rescaled(rng: np.random.Generator, image: np.ndarray, span: tuple[float, float]) -> np.ndarray:
    scale = rng.uniform(*span)
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.3:  # contrast of other machines
        image = cv2.LUT(image, (255 * np.linspace(0, 1, 256) ** rng.uniform(0.6, 1.6)).astype(np.uint8))
    return np.ascontiguousarray(image[:, ::-1]) if rng.random() < 0.3 else image


def sample(rng: np.random.Generator, image: np.ndarray, source: str, out: Samples) -> None:
    """Draw on one background and add its boxes."""
    things = draw_things(rng, image, int(rng.integers(0, 6)))
    tokens = [t for t in (draw_token(rng, image) for _ in range(int(rng.integers(3, 14)))) if t is not None]
    tokens = [t for i, t in enumerate(tokens) if not any(intersection(t.box, u.box) for u in tokens[i + 1 :])]
    image = _degraded(rng, image)
    found = components(image)
    boxes = [_shifted(rng, t.box, image.shape) for t in tokens]
    kinds = [t.kind for t in tokens]
    for box in found:
        best = max(tokens, key=lambda t: iou(t.box, box), default=None)
        if best is not None and iou(best.box, box) >= 0.6:
            boxes.append(box)
            kinds.append(best.kind)
    # Beside a token, too, there is nothing: what lies between two words is no third.
    clear = [b for b in found + things if not any(intersection(grow(t.box, 0.05, image.shape), b) for t in tokens)]
    free = [
        b
        for b in clear
        if source in ("phantom", "middle") or b in things or (source in TRUSTED and textless(b, image.shape))
    ]
    free = [free[i] for i in rng.permutation(len(free))[:26]]
    out.add(image, boxes + free, kinds + ["nothing"] * len(free))


def _degraded(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    if rng.random() < 0.4:
        image = np.clip(image + rng.normal(0, rng.uniform(1, 5), image.shape), 0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        small = cv2.resize(image, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, image.shape[::-1], interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.6:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 96))]
        image = _decoded(cv2.imencode(".jpg", image, quality)[1])
    return image


def _decoded(data: np.ndarray) -> np.ndarray:
    image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    assert image is not None  # it was encoded just before
    return image


def _shifted(
    rng: np.random.Generator, box: TextBox, shape: tuple[int, ...], least: float = -0.08, most: float = 0.3
) -> TextBox:
    """Return a token's box as a detector gives it: a little off, and mostly too large."""
    x0, y0, x1, y1 = rng.uniform(least, most, 4) * min(box.width, box.height) * rng.uniform(0, 1)
    moved = TextBox(round(box.x0 - x0), round(box.y0 - y0), round(box.x1 + x1), round(box.y1 + y1))
    return clip(moved, shape)


def textless(box: TextBox, shape: tuple[int, ...]) -> bool:
    """Whether a box lies where X-rays of the trusted sources hardly ever carry text."""
    height, width = shape[:2]
    x0, y0, x1, y1 = box.x0 / width, box.y0 / height, box.x1 / width, box.y1 / height
    return any(x0 >= a and y0 >= b and x1 <= c and y1 <= d for a, b, c, d in TEXTLESS)


def mined(seed: int, real: pd.DataFrame, root: Path, judge: Path) -> Samples:
    """Return components of real X-rays that carry no text there and that a first classifier takes for tokens."""
    cv2.setNumThreads(1)
    rng, out, first = np.random.default_rng(seed), Samples(), TokenClassifier(1, judge)
    for row in real[real["source"].isin(TRUSTED)].itertuples():
        image = _rescaled(rng, grey(root / row.image), (0.75, 1.5))
        boxes = [b for b in components(image) if textless(b, image.shape)]
        doubtful = [b for b, v in zip(boxes, first(image, boxes), strict=True) if v.token > DOUBTFUL][:30]
        out.add(image, doubtful, ["nothing"] * len(doubtful))
    return out


def usable(data: Path, held_out: Path | None) -> pd.DataFrame:
    """Return image, source and group (of patients and duplicates) of the real X-rays that may be trained on.

    A group is left out if one of its images is in ``held_out``, by stem of the name or by content.
    """
    table = pd.read_csv(data / "manifest.csv", dtype=str, keep_default_na=False)
    table["source"] = table["source"].str.replace(r"^cohen.*", "cohen", regex=True)
    table["group"] = connected_groups(table, ("patient_id", "dup_group"))
    table = table[["image", "source", "group"]]
    if held_out is None:
        return table
    names = pd.read_csv(held_out / "images.csv")["image"]
    stems = {Path(name).stem.split("__")[-1] for name in names}
    known = np.stack([_thumbnail(held_out / name) for name in names])
    alike = np.array([float((known @ _thumbnail(data / image)).max()) for image in table["image"]])
    same = table["image"].map(lambda image: Path(image).stem in stems).to_numpy() | (alike > 0.985)
    out = table["group"].isin(table["group"][same])
    print(f"held out: {int(same.sum())} of {len(table)} images; left out with their patients: {int(out.sum())}")
    return table[~out]


def told_apart(real: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the labels to train on, those kept aside, and the real X-rays whose groups are not kept aside."""
    labels = pd.read_csv(LABELS_FILE).merge(real, on="image")
    aside = labels["group"].factorize()[0] % KEPT_ASIDE == 0
    return labels[~aside], labels[aside], real[~real["group"].isin(labels["group"][aside])]


def _thumbnail(path: Path) -> np.ndarray:
    image = grey(path, cv2.IMREAD_REDUCED_GRAYSCALE_4)
    small = cv2.resize(image, (24, 24), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)


class Network(nn.Module):
    """Strided convolutions, mean and maximum over the place, and the features."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b, stride in ((N_CHANNELS, 24, 2), (24, 48, 2), (48, 96, 2), (96, 96, 1), (96, 128, 2)):
            layers += [nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.look = nn.Sequential(*layers)
        self.decide = nn.Sequential(
            nn.Linear(2 * 128 + N_FEATURES, 96), nn.ReLU(), nn.Dropout(0.25), nn.Linear(96, len(CLASSES))
        )

    def forward(self, picture: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        seen = self.look(picture)
        return self.decide(torch.cat([seen.mean((2, 3)), seen.amax((2, 3)), features], dim=1))


def train(samples: Samples, aside: Samples | None, epochs: int, seed: int, out: Path) -> None:
    """Train a network from scratch, tell how it does on what was kept aside, and write it as ONNX."""
    torch.manual_seed(seed)
    pictures, features, classes = samples.tensors()
    n, batch, network = len(classes), 192, Network()
    mean = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.998), use_buffers=True)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=epochs * (n // batch) + 1)
    weight = (n / (len(CLASSES) * torch.bincount(classes, minlength=len(CLASSES)).float())).sqrt()
    loss_of = nn.CrossEntropyLoss(weight, label_smoothing=0.02)
    for epoch in range(epochs):
        network.train()
        began, total = time.perf_counter(), 0.0
        for some in torch.randperm(n)[: n // batch * batch].split(batch):
            noise = 0.05 * torch.randn(len(some), N_FEATURES)
            loss = loss_of(network(_varied(pictures[some].float()), features[some] + noise), classes[some])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            mean.update_parameters(network)
            total += loss.item() * len(some)
        print(f"epoch {epoch + 1}: loss {total / n:.4f}, {time.perf_counter() - began:.0f} s", flush=True)
    judge = mean.module.eval()
    assert isinstance(judge, Network)
    if aside is not None:
        _tell(judge, *aside.tensors())
    _write(judge, out)


def _varied(picture: torch.Tensor) -> torch.Tensor:
    """Return a batch mirrored at times, and brighter or darker in its last channel."""
    if torch.rand(()) < 0.5:
        picture = picture.flip(int(torch.randint(2, 4, ())))
    picture[:, 2] = (picture[:, 2] * (0.8 + 0.4 * torch.rand(len(picture), 1, 1))).clip(0, 1)
    return picture


def _write(network: Network, out: Path) -> None:
    example = (torch.zeros(2, N_CHANNELS, *SIZE), torch.zeros(2, N_FEATURES))
    any_number = torch.export.Dim.DYNAMIC
    torch.onnx.export(
        network,
        example,
        str(out),
        input_names=["picture", "features"],
        output_names=["logits"],
        dynamic_shapes={"picture": {0: any_number}, "features": {0: any_number}},
        external_data=False,
        verbose=False,
    )
    _pack(out)


def _pack(path: Path) -> None:
    """Keep the weights of an ONNX file in half precision; they are computed with in single precision."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(path)
    graph = model.graph
    weights, casts = [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32:
            weights.append(tensor)
            continue
        weights.append(numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}_half"))
        casts.append(helper.make_node("Cast", [f"{tensor.name}_half"], [tensor.name], to=onnx.TensorProto.FLOAT))
    nodes = casts + list(graph.node)
    packed = helper.make_graph(nodes, "judge", list(graph.input), list(graph.output), weights)
    whole = helper.make_model(packed, opset_imports=model.opset_import, ir_version=model.ir_version)
    _strip(whole)
    onnx.checker.check_model(whole)
    onnx.save(whole, path)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def _strip(model: Any) -> None:
    """Take out what the exporter wrote beside the network: stack traces, with the paths of a machine."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        part.doc_string = ""
        del part.metadata_props[:]


def _tell(network: Network, pictures: torch.Tensor, features: torch.Tensor, classes: torch.Tensor) -> None:
    """Print the confusions on the X-rays kept aside."""
    with torch.no_grad():
        parts = zip(pictures.float().split(512), features.split(512), strict=True)
        logits = torch.cat([network(p, f) for p, f in parts])
    table = pd.crosstab(classes.numpy(), logits.argmax(1).numpy(), rownames=["is"], colnames=["said"])
    print(table.rename(index=dict(enumerate(CLASSES)), columns=dict(enumerate(CLASSES))).to_string())
    token = 1 - logits.softmax(1)[:, 0].numpy()
    for level in (0.3, 0.5, 0.7, 0.8, 0.9):
        kept = (token >= level)[classes.numpy() > 0].mean(), (token >= level)[classes.numpy() == 0].mean()
        print(f"at {level}: tokens kept {kept[0]:.4f}, nothing kept {kept[1]:.4f}")


def _side_by_side(work: Callable[..., Samples], seed: int, table: pd.DataFrame, threads: int, *rest: Any) -> Samples:
    """Share a table's images out over processes; the number of parts, not of processes, decides what is drawn."""
    parts = [table[table["image"].factorize()[0] % PARTS == i] for i in range(PARTS)]
    out = Samples()
    with ProcessPoolExecutor(threads, get_context("spawn")) as pool:
        jobs = [pool.submit(work, seed * 1000 + i, part, *rest) for i, part in enumerate(parts)]
        for job in jobs:
            out += job.result()
    return out


def main() -> None:
    """Draw, train, look for mistakes, train again, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with manifest.csv and real X-rays")
    parser.add_argument("--held-out", type=Path, help="folder with images.csv: real X-rays that must not be trained on")
    parser.add_argument("--real", type=int, default=1200, help="real backgrounds to draw on")
    parser.add_argument("--synthetic", type=int, default=240, help="synthetic ones")
    parser.add_argument("--mine", type=int, default=500, help="real X-rays searched for mistakes")
    parser.add_argument("--variants", type=int, default=6, help="of each labelled box")
    parser.add_argument(
        "--epochs", type=int, nargs=2, default=[2, 11], help="of the first network and of the token classifier"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rng, threads = np.random.default_rng(given.seed), given.threads
    real, aside = pd.DataFrame(columns=["image", "source", "group"]), None
    if given.data:
        known, unknown, real = told_apart(usable(given.data, given.held_out))
        aside = labelled(given.seed, unknown, given.data, 0)
    shown = real.iloc[rng.permutation(len(real))[: given.real]]
    samples = _side_by_side(drawn, given.seed, shown, threads, given.data, given.synthetic // PARTS)
    if given.data:
        samples += _side_by_side(labelled, given.seed + 1, known, threads, given.data, given.variants)
    _count("first network", samples)
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder) / "first.onnx"
        train(samples, aside, given.epochs[0], given.seed, first)
        if given.data:
            searched = real.iloc[rng.permutation(len(real))[: given.mine]]
            samples += _side_by_side(mined, given.seed + 2, searched, threads, given.data, first)
    _count("judge", samples)
    train(samples, aside, given.epochs[1], given.seed + 1, given.out)


def _count(what: str, samples: Samples) -> None:
    print(f"{what}: {dict(Counter(CLASSES[c] for c in samples.classes))}", flush=True)


if __name__ == "__main__":
    main()
