"""Make the judge of text (``cxr/text/judge.onnx``) from scratch.

Tokens are drawn over synthetic X-rays and, with ``--data``, over real ones (:mod:`judge_tokens`), beside things that
resemble text (:mod:`judge_things`). A sample is a box as a detector may give it:

- word, letter, arrow: the drawn token's box, shifted and grown at random
- nothing: boxes of drawn things; glyph-like components that touch no token, anywhere on synthetic X-rays and on pieces
  cut from the middle of real ones; on whole real ones only of the sources in ``TRUSTED`` and where those hardly ever
  carry text, for real images are not labelled and carry text of their own

That goes on for some rounds, each with new samples and with what the last network takes for tokens on more real
X-rays, in the same places. The judge is the mean of the networks after each round.

Real images that also lie in ``--held-out`` (a folder with ``images.csv``), by name or by content, are left out. One
seed fixes the samples and the network's start; on another number of cores sums round otherwise.

    python benchmarks/train_text_judge.py [--data FOLDER] [--held-out FOLDER/text] [--out cxr/text/judge.onnx]

The judge that is shipped is the mean of five networks: three of an earlier making, by this script before its last
changes, and the last two rounds of

    --seed 0 --real 500 250 300 250 --synthetic 150 50 60 60 --mine 0 200 160 160 --epochs 7 4 4 4

Either alone was less precise at the same recall on the X-rays boxed by hand; which of the rounds were taken hardly
mattered.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from judge_things import draw_things
from judge_tokens import Drawn, draw_token
from torch import nn

from cxr.data.phantom import CLASSES as LABELS
from cxr.data.phantom import make_phantom
from cxr.text.boxes import TextBox, clip, grow, intersection, iou
from cxr.text.components import components
from cxr.text.judge import CLASSES, N_FEATURES, SIZE, WEIGHTS, Judge, patches

TRUSTED = ("nih", "montgomery")
"""Sources whose middle of the chest hardly ever carries text; images of journals carry arrows there."""
TEXTLESS = ((0.24, 0.26, 0.76, 0.9), (0.0, 0.42, 1.0, 0.93))
"""x0, y0, x1, y1 as shares of the image: where a component of a real image of those sources counts as nothing."""
DOUBTFUL = 0.08
"""Probability above which a first judge's candidates on nothing are shown to it again."""


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


def backgrounds(
    rng: np.random.Generator, real: pd.DataFrame, root: Path | None, n_real: int, n_phantom: int
) -> Iterator:
    """Yield (image, source): real ones in random order, then synthetic ones; sizes as files of hospitals have them."""
    order = rng.permutation(len(real))[:n_real]
    for row in real.iloc[order].itertuples():
        image = cv2.imread(str(root / row.image), cv2.IMREAD_GRAYSCALE)
        if row.source in TRUSTED and rng.random() < 0.4:  # real texture up to the border, and nothing written on it
            yield _rescaled(rng, _middle(rng, image), (1.0, 2.2)), "middle"
        else:
            yield _rescaled(rng, image, (0.75, 1.5)), row.source
    for i in range(n_phantom):
        seed = int(rng.integers(2**31))
        phantom = make_phantom(seed, LABELS[i % 3], size=int(rng.choice([256, 384, 512, 640])), tokens=False)
        yield _rescaled(rng, phantom.image, (1.0, 1.7)), "phantom"


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
    boxes = [_shifted(rng, t, image.shape) for t in tokens]
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
        image = cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_GRAYSCALE)
    return image


def _shifted(rng: np.random.Generator, token: Drawn, shape: tuple[int, ...]) -> TextBox:
    """Return a token's box as a detector gives it: a little off, and mostly too large."""
    box, short = token.box, min(token.box.width, token.box.height)
    x0, y0, x1, y1 = rng.uniform(-0.08, 0.3, 4) * short * rng.uniform(0, 1)
    moved = TextBox(round(box.x0 - x0), round(box.y0 - y0), round(box.x1 + x1), round(box.y1 + y1))
    return clip(moved, shape)


def textless(box: TextBox, shape: tuple[int, ...]) -> bool:
    """Whether a box lies where X-rays of the trusted sources hardly ever carry text."""
    height, width = shape[:2]
    x0, y0, x1, y1 = box.x0 / width, box.y0 / height, box.x1 / width, box.y1 / height
    return any(x0 >= a and y0 >= b and x1 <= c and y1 <= d for a, b, c, d in TEXTLESS)


def mined(rng: np.random.Generator, real: pd.DataFrame, root: Path, n: int, judge: Judge, out: Samples) -> None:
    """Add components of real X-rays that carry no text there and that a first judge takes for tokens nevertheless."""
    rows = real[real["source"].isin(TRUSTED)]
    for row in rows.iloc[rng.permutation(len(rows))[:n]].itertuples():
        image = _rescaled(rng, cv2.imread(str(root / row.image), cv2.IMREAD_GRAYSCALE), (0.75, 1.5))
        boxes = [b for b in components(image) if textless(b, image.shape)]
        doubtful = [b for b, v in zip(boxes, judge(image, boxes), strict=True) if v.token > DOUBTFUL]
        out.add(image, doubtful[:30], ["nothing"] * len(doubtful[:30]))


def usable(data: Path, held_out: Path | None) -> pd.DataFrame:
    """Return image and source of the real X-rays that are not in ``held_out``, by stem of the name or by content."""
    table = pd.read_csv(data / "manifest.csv")[["image", "source"]]
    table["source"] = table["source"].str.replace(r"^cohen.*", "cohen", regex=True)
    if held_out is None:
        return table
    names = pd.read_csv(held_out / "images.csv")["image"]
    stems = {Path(name).stem.split("__")[-1] for name in names}
    known = np.stack([_thumbnail(held_out / name) for name in names])
    alike = np.array([float((known @ _thumbnail(data / image)).max()) for image in table["image"]])
    same = table["image"].map(lambda image: Path(image).stem in stems).to_numpy() | (alike > 0.985)
    print(f"left out as held out: {int(same.sum())} of {len(table)} images")
    return table[~same]


def _thumbnail(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_REDUCED_GRAYSCALE_4)
    small = cv2.resize(image, (24, 24), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)


class Network(nn.Module):
    """Strided convolutions, mean and maximum over the place, and the features.

    Without ``norm`` it has no batch normalisation: so it lies in an ONNX file, where that is folded into the weights.
    """

    def __init__(self, norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b, stride in ((2, 16, 2), (16, 32, 2), (32, 64, 2), (64, 96, 2), (96, 96, 1)):
            layers += [nn.Conv2d(a, b, 3, stride, 1, bias=not norm)]
            layers += [nn.BatchNorm2d(b) if norm else nn.Identity(), nn.ReLU()]
        self.look = nn.Sequential(*layers)
        self.decide = nn.Sequential(
            nn.Linear(2 * 96 + N_FEATURES, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, len(CLASSES))
        )

    def forward(self, picture: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        seen = self.look(picture)
        return self.decide(torch.cat([seen.mean((2, 3)), seen.amax((2, 3)), features], dim=1))


def opened(path: Path) -> Network:
    """Return the network of an ONNX file that this script wrote."""
    import onnx

    network = Network(norm=False)
    stored = {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in onnx.load(path).graph.initializer}
    wanted = network.state_dict()
    # The exporter calls a bias that came out of folding "look.0.weight_bias".
    state = {key: stored[key] if key in stored else stored[key.replace(".bias", ".weight_bias")] for key in wanted}
    network.load_state_dict(state)
    return network


def train(samples: Samples, epochs: int, seed: int, out: Path, first: Path | None = None) -> None:
    """Train the network, from scratch or on from ``first``, and write it as ONNX."""
    torch.manual_seed(seed)
    pictures = torch.from_numpy(np.concatenate(samples.pictures))
    features, classes = torch.from_numpy(np.concatenate(samples.features)), torch.tensor(samples.classes)
    n = len(classes)
    valid = torch.zeros(n, dtype=torch.bool)
    valid[int(0.47 * n) : int(0.51 * n)] = True  # in the order of the images: hardly any is on both sides
    network, batch = (opened(first) if first else Network(norm=True)), 192
    rows = torch.nonzero(~valid).flatten()
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=2e-3)
    steps = epochs * (len(rows) // batch) + 1
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 8e-4 if first else 3e-3, total_steps=steps)
    weight = (n / (len(CLASSES) * torch.bincount(classes, minlength=len(CLASSES)).float())).sqrt()
    loss_of = nn.CrossEntropyLoss(weight, label_smoothing=0.02)
    for epoch in range(epochs):
        network.train()
        began, total = time.perf_counter(), 0.0
        for some in rows[torch.randperm(len(rows))][: len(rows) // batch * batch].split(batch):
            picture = _varied(pictures[some].float())
            noise = 0.05 * torch.randn(len(some), N_FEATURES)
            loss = loss_of(network(picture, features[some] + noise), classes[some])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(some)
        print(f"epoch {epoch + 1}: loss {total / len(rows):.4f}, {time.perf_counter() - began:.0f} s", flush=True)
    network.eval()
    _tell(network, pictures[valid].float(), features[valid], classes[valid])
    _write(network, out)


def _varied(picture: torch.Tensor) -> torch.Tensor:
    """Return a batch mirrored at times, and brighter or darker in its second channel."""
    if torch.rand(()) < 0.5:
        picture = picture.flip(int(torch.randint(2, 4, ())))
    picture[:, 1] = (picture[:, 1] * (0.8 + 0.4 * torch.rand(len(picture), 1, 1))).clip(0, 1)
    return picture


def _write(network: Network, out: Path) -> None:
    example = (torch.zeros(2, 2, *SIZE), torch.zeros(2, N_FEATURES))
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
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


def joined(paths: Sequence[Path], out: Path) -> None:
    """Write one ONNX file that gives the mean of the logits of several, its weights kept in half precision."""
    import onnx
    from onnx import compose, helper, numpy_helper

    nodes, weights = [], []
    for i, path in enumerate(paths):
        graph = compose.add_prefix(onnx.load(path), f"net{i}_").graph
        for node in graph.node:
            node.input[:] = [name.replace(f"net{i}_picture", "picture") for name in node.input]
            node.input[:] = [name.replace(f"net{i}_features", "features") for name in node.input]
        for tensor in graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype != np.float32:
                weights.append(tensor)
                continue
            weights.append(numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}_half"))
            nodes.append(helper.make_node("Cast", [f"{tensor.name}_half"], [tensor.name], to=onnx.TensorProto.FLOAT))
        nodes += graph.node
    nodes.append(helper.make_node("Mean", [f"net{i}_logits" for i in range(len(paths))], ["logits"]))
    model = onnx.load(paths[0])
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [None, len(CLASSES)])
    graph = helper.make_graph(nodes, "judge", list(model.graph.input), [logits], weights)
    whole = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    _strip(whole)
    onnx.checker.check_model(whole)
    onnx.save(whole, out)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


def _strip(model: Any) -> None:
    """Take out what the exporter wrote beside the network: stack traces, with the paths of a machine."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        part.doc_string = ""
        del part.metadata_props[:]


def _tell(network: Network, pictures: torch.Tensor, features: torch.Tensor, classes: torch.Tensor) -> None:
    """Print the confusions of the images kept aside."""
    with torch.no_grad():
        logits = torch.cat([network(p, f) for p, f in zip(pictures.split(512), features.split(512), strict=True)])
    table = pd.crosstab(classes.numpy(), logits.argmax(1).numpy(), rownames=["is"], colnames=["said"])
    print(table.rename(index=dict(enumerate(CLASSES)), columns=dict(enumerate(CLASSES))).to_string())
    token = 1 - logits.softmax(1)[:, 0].numpy()
    for level in (0.2, 0.5, 0.8):
        kept = (token >= level)[classes.numpy() > 0].mean(), (token >= level)[classes.numpy() == 0].mean()
        print(f"at {level}: tokens kept {kept[0]:.4f}, nothing kept {kept[1]:.4f}")


def main() -> None:
    """Draw, train, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with manifest.csv and real X-rays")
    parser.add_argument("--held-out", type=Path, help="folder with images.csv: real X-rays that must not be trained on")
    parser.add_argument("--real", type=int, nargs="+", default=[550, 230, 280], help="real backgrounds, per round")
    parser.add_argument("--synthetic", type=int, nargs="+", default=[150, 50, 60], help="synthetic ones, per round")
    parser.add_argument("--mine", type=int, nargs="+", default=[0, 240, 160], help="real X-rays searched for mistakes")
    parser.add_argument("--epochs", type=int, nargs="+", default=[7, 4, 4], help="per round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    given = parser.parse_args()
    cv2.setNumThreads(given.threads)
    torch.set_num_threads(given.threads)
    real = usable(given.data, given.held_out) if given.data else pd.DataFrame(columns=["image", "source"])
    rounds = zip(given.real, given.synthetic, given.mine, given.epochs, strict=True)
    with tempfile.TemporaryDirectory() as folder:
        made: list[Path] = []
        for number, (n_real, n_synthetic, n_mined, epochs) in enumerate(rounds):
            rng, samples = np.random.default_rng(given.seed + number), Samples()
            for image, source in backgrounds(rng, real, given.data, n_real if given.data else 0, n_synthetic):
                sample(rng, image, source, samples)
            if made and given.data:
                mined(rng, real, given.data, n_mined, Judge(given.threads, made[-1]), samples)
            print(f"round {number + 1}: {dict(Counter(CLASSES[c] for c in samples.classes))}", flush=True)
            path = Path(folder) / f"{number}.onnx"
            train(samples, epochs, given.seed + number, path, made[-1] if made else None)
            made.append(path)
        joined(made, given.out)


if __name__ == "__main__":
    main()
