"""A network's answers about every X-ray under every condition of :mod:`cxr.experiments.masking.conditions`.

They are made for a few X-rays at a time. A journal keeps each such batch once it is done, one line each, so that an
experiment that was stopped goes on after the last one. A batch is kept whole: pictures are then computed beside the
same others as in an experiment that was never stopped, and give the same numbers to the last bit.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import pandas as pd

from cxr.data import Manifest, read_xray
from cxr.data.audit.journal import read_journal
from cxr.data.images.resize import fit_square
from cxr.evaluation.metrics import patients_of, probabilities
from cxr.evaluation.predict import predict
from cxr.evaluation.summary import TARGET
from cxr.experiments.masking.conditions import BEFORE, Condition, Controls, Masking, controls_of, lenders_of, versions
from cxr.experiments.masking.effects import Answers, limits_of
from cxr.experiments.masking.shapes import Match
from cxr.experiments.vocabulary.count import UNREAD, tokens_in
from cxr.models.card import MULTI_LABEL, SINGLE_LABEL
from cxr.text.boxes import TextBox
from cxr.text.controls import share_of_middle
from cxr.text.corrections import FileTokens
from cxr.text.mask import grown_boxes

if TYPE_CHECKING:
    from cxr.models import XrayClassifier

Progress = Callable[[float, str], None]

MIN_IMAGES_OF_A_WORD, MOST_WORDS = 3, 40
_CHUNK = 16


@dataclass(frozen=True)
class LeftIn:
    """Answers with the tokens of one kind, or one word, left in.

    ``rows`` (n,) index the images that have it, ``logits`` (n, K) are theirs, ``n_tokens`` counts the tokens.
    """

    rows: np.ndarray
    logits: np.ndarray
    n_tokens: int


@dataclass(frozen=True)
class ConditionPredictions:
    """Logits (N, K) of the images ``ids`` by condition, those with tokens left in by name, and the control boxes.

    ``controls`` are by image id and mask mode, ``changes`` by condition: (N,) mean absolute change of grey of the
    network's picture, 0 to 255. ``task`` and ``limits`` are the network's (see
    :class:`cxr.experiments.masking.effects.Answers`).
    """

    ids: list[str]
    logits: dict[Condition, np.ndarray]
    left_in: dict[str, LeftIn]
    controls: dict[str, dict[str, Controls]]
    changes: dict[Condition, np.ndarray]
    task: str = SINGLE_LABEL
    limits: np.ndarray | None = None

    def answers(self, table: pd.DataFrame, masking: Masking, classes: Sequence[str]) -> Answers:
        """Return what :func:`cxr.experiments.masking.effects.effects` takes; ``table`` is that of the predictions.

        Of several findings it holds what the data say of each, ``target_<class>``.
        """
        draws = range(masking.draws)
        return Answers(
            before=self.logits[BEFORE],
            tokens={mode: self.logits[Condition("tokens", mode)] for mode in masking.modes},
            random={
                mode: np.stack([self.logits[Condition("random", mode, d)] for d in draws]) for mode in masking.modes
            },
            other={mode: self.logits[Condition("other", mode)] for mode in masking.modes},
            truth=self._truth(table, classes),
            patients=patients_of(table),
            task=self.task,
            limits=self.limits,
        )

    def match(self, file_tokens: Mapping[str, FileTokens], masking: Masking) -> dict[str, Match]:
        """Return how well the controls match the tokens, by mask mode; means over the images with text.

        Returns
        -------
        ``change``, the mean absolute change of grey (0 to 255) of the network's picture, and ``inside``, the share of
        the middle of the X-ray (:data:`cxr.text.controls.MIDDLE`) that is masked; each for ``tokens``, ``random`` (mean
        over draws) and ``other``. Empty where no image has text.
        """
        having = [row for row, image_id in enumerate(self.ids) if file_tokens[image_id].boxes]
        if not having:
            return {}
        rows = {
            mode: [self._inside(self.ids[row], file_tokens, mode, masking.margin) for row in having]
            for mode in masking.modes
        }
        match = {}
        for mode in masking.modes:
            inside = np.mean(rows[mode], axis=0)
            draws = [Condition("random", mode, draw) for draw in range(masking.draws)]
            change = [[Condition("tokens", mode)], draws, [Condition("other", mode)]]
            means = [float(np.mean([self.changes[c][having] for c in conditions])) for conditions in change]
            names = ("tokens", "random", "other")
            match[mode] = {
                "change": dict(zip(names, means, strict=True)),
                "inside": dict(zip(names, inside.tolist(), strict=True)),
            }
        return match

    def _inside(self, image_id: str, file_tokens: Mapping[str, FileTokens], mode: str, margin: float) -> list[float]:
        of, controls = file_tokens[image_id], self.controls[image_id][mode]
        masked: list[Sequence[Sequence[TextBox]]] = [[of.boxes], controls.random, [controls.other]]
        return [
            float(np.mean([share_of_middle(grown_boxes(boxes, margin, of.shape), of.shape) for boxes in draws]))
            for draws in masked
        ]

    def _truth(self, table: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
        if self.task == MULTI_LABEL:
            return table[[TARGET + name for name in classes]].to_numpy(np.float64)
        places = {name: k for k, name in enumerate(classes)}
        return np.array([places.get(label, -1) for label in table["label"]], dtype=np.int64)

    def long_table(self, classes: Sequence[str]) -> pd.DataFrame:
        """Return one row per image and condition."""
        everything = [(condition, np.arange(len(self.ids)), logits) for condition, logits in self.logits.items()]
        mode = next((c.mode for c in self.logits if c.mode), "")
        everything += [(Condition("kept", mode, kept=name), k.rows, k.logits) for name, k in self.left_in.items()]
        parts = []
        for condition, rows, logits in everything:
            part = pd.DataFrame({"image_id": [self.ids[row] for row in rows]})
            part["condition"], part["mode"], part["draw"], part["kept"] = condition
            part["picture_change"] = self.changes.get(condition, np.full(len(self.ids), np.nan))[rows]
            if self.task == SINGLE_LABEL:
                part["predicted"] = [classes[k] for k in logits.argmax(1)]
            chances = probabilities(logits, self.task)
            part = part.assign(**{f"logit_{c}": logits[:, k] for k, c in enumerate(classes)})
            parts.append(part.assign(**{f"prob_{c}": chances[:, k] for k, c in enumerate(classes)}))
        return pd.concat(parts, ignore_index=True)


_BoxFields = tuple[int, int, int, int, str, float, str]


class _Answer(TypedDict):
    """What the network said of one X-ray, as a line of the journal holds it.

    ``logits`` are by condition (its fields first), ``changes`` in the same order (None where none is measured), and
    ``controls`` by mask mode: the boxes of each random draw, and the borrowed ones last.
    """

    conditions: list[tuple[str, str, int, str]]
    logits: list[list[float]]
    changes: list[float | None]
    controls: dict[str, list[list[_BoxFields]]]


def predict_conditions(
    model: XrayClassifier,
    manifest: Manifest,
    file_tokens: Mapping[str, FileTokens],
    masking: Masking,
    progress: Progress = lambda fraction, text: None,
    stopped: Callable[[], bool] = lambda: False,
    journal: Path | None = None,
    network: str = "",
) -> ConditionPredictions | None:
    """Return predictions for every image of ``file_tokens`` (by id) under every condition; None when stopped.

    Parameters
    ----------
    journal
        File that keeps what is predicted. What it holds already is not predicted again, as long as it was made by the
        same network, of the same images and tokens, masked in the same way.
    network
        Digest of the network's weights, for the journal.
    """
    predictor = _Predictor(model, manifest, file_tokens, masking)
    basis = _basis(network, file_tokens, masking)
    done = read_journal(journal) if journal else {}
    with journal.open("a", encoding="utf-8") if journal else contextlib.nullcontext() as lines:
        for start in range(0, len(predictor.ids), _CHUNK):
            end = min(start + _CHUNK, len(predictor.ids))
            answers: list[_Answer] | None = done.get(f"{basis} {start}")
            if answers is None:
                if stopped():
                    return None
                answers = predictor.predicted(range(start, end))
                if lines is not None:
                    lines.write(json.dumps([f"{basis} {start}", answers]) + "\n")
                    lines.flush()
            predictor.take(range(start, end), answers)
            progress(end / len(predictor.ids), f"{end:,} of {len(predictor.ids):,} images predicted")
    return predictor.result()


def _basis(network: str, file_tokens: Mapping[str, FileTokens], masking: Masking) -> str:
    """Return a digest of all that predictions depend on: lenders and frequent words make each depend on all tokens."""
    tokens = [(i, of.content_hash, of.shape, _fields(of.boxes)) for i, of in file_tokens.items()]
    return hashlib.sha256(json.dumps([network, astuple(masking), tokens]).encode()).hexdigest()[:16]


def _fields(boxes: Iterable[TextBox]) -> list[_BoxFields]:
    return [(box.x0, box.y0, box.x1, box.y1, box.text, box.score, box.kind) for box in boxes]


def _controls(drawn: Sequence[Sequence[_BoxFields]]) -> Controls:
    *random, other = (tuple(TextBox(*fields) for fields in boxes) for boxes in drawn)
    return Controls(tuple(random), other)


class _Predictor:
    """Answers as they come in, a few images at a time: their pictures under all conditions fill one batch."""

    def __init__(
        self, model: XrayClassifier, manifest: Manifest, file_tokens: Mapping[str, FileTokens], masking: Masking
    ) -> None:
        self.ids = list(file_tokens)
        self._model, self._manifest, self._found, self._masking = model, manifest, file_tokens, masking
        self._patients = dict(zip(manifest.table["image_id"], manifest.table["patient_id"].fillna(""), strict=True))
        self._boxes = {image_id: of.boxes for image_id, of in file_tokens.items()}
        self._words = frequent_words(self._boxes.values())
        shape = (len(self.ids), len(model.classes))
        self._logits = {condition: np.zeros(shape, np.float32) for condition in masking.conditions}
        self._kept: dict[str, list[tuple[int, np.ndarray]]] = {}
        self._counts: Counter[str] = Counter()
        self._controls: dict[str, dict[str, Controls]] = {}
        self._changes = {condition: np.zeros(len(self.ids)) for condition in masking.conditions}

    def predicted(self, rows: range) -> list[_Answer]:
        """Ask the network about some images."""
        answers: list[_Answer] = []
        pictures: list[np.ndarray] = []
        for image_id in (self.ids[row] for row in rows):
            conditions: list[tuple[str, str, int, str]] = []
            changes: list[float | None] = []
            image = read_xray(self._manifest.image_path(image_id))
            controls = self._controls_of(image_id, image)
            for condition, picture in self._pictures(image_id, image, controls):
                conditions.append(condition)
                pictures.append(fit_square(picture, self._model.card.size))
                if condition == BEFORE:
                    before_picture = pictures[-1].astype(np.int16)
                measured = condition in self._changes
                changes.append(float(np.abs(pictures[-1] - before_picture).mean()) if measured else None)
            boxes = {mode: [_fields(drawn) for drawn in (*of.random, of.other)] for mode, of in controls.items()}
            answers.append({"conditions": conditions, "logits": [], "changes": changes, "controls": boxes})
        logits = iter(predict(self._model, np.stack(pictures)).tolist())
        for answer in answers:
            answer["logits"] = [next(logits) for _ in answer["conditions"]]
        return answers

    def take(self, rows: range, answers: Sequence[_Answer]) -> None:
        """Take over what the network said about some images."""
        for row, answer in zip(rows, answers, strict=True):
            conditions = [Condition(*fields) for fields in answer["conditions"]]
            logits = dict(zip(conditions, np.array(answer["logits"], np.float32), strict=True))
            before = logits[BEFORE]
            for condition in self._masking.conditions:
                self._logits[condition][row] = logits.get(condition, before)  # nothing masked: the same picture
            for condition, change in zip(conditions, answer["changes"], strict=True):
                if change is not None:
                    self._changes[condition][row] = change
            for name, boxes in groups_of(self._boxes[self.ids[row]], self._words).items():
                condition = Condition("kept", self._masking.modes[0], kept=name)
                self._kept.setdefault(name, []).append((row, logits.get(condition, before)))
                self._counts[name] += len(boxes)
            self._controls[self.ids[row]] = {mode: _controls(drawn) for mode, drawn in answer["controls"].items()}

    def _controls_of(self, image_id: str, image: np.ndarray) -> dict[str, Controls]:
        of, masking = self._found[image_id], self._masking
        ids = lenders_of(image_id, self._patients, self._boxes, masking) if of.boxes else []
        lenders = [(self._found[i].boxes, self._found[i].shape) for i in ids]
        return controls_of(image_id, image, of.boxes, masking, self._model.card.size, lenders)

    def _pictures(
        self, image_id: str, image: np.ndarray, controls: Mapping[str, Controls]
    ) -> Iterator[tuple[Condition, np.ndarray]]:
        boxes = self._boxes[image_id]
        yield BEFORE, image
        groups = groups_of(boxes, self._words)
        yield from versions(image, boxes, controls, self._masking, self._model.card.size, groups)

    def result(self) -> ConditionPredictions:
        """Return all answers."""
        left_in = {
            name: LeftIn(
                np.array([row for row, _ in rows]), np.stack([answer for _, answer in rows]), self._counts[name]
            )
            for name, rows in self._kept.items()
        }
        card = self._model.card
        return ConditionPredictions(
            self.ids, self._logits, left_in, self._controls, self._changes, card.task, limits_of(card)
        )


def frequent_words(boxes: Iterable[Sequence[TextBox]]) -> set[str]:
    """Return the words, normalised, that at least 3 images carry, at most the 40 of the most images."""
    counts = Counter(
        word for image_boxes in boxes for word in {w for box in image_boxes for w in tokens_in(box.text)} - {UNREAD}
    )
    return {word for word, n in counts.most_common(MOST_WORDS) if n >= MIN_IMAGES_OF_A_WORD}


def groups_of(boxes: Sequence[TextBox], words: set[str]) -> dict[str, list[TextBox]]:
    """Return the tokens to be left in, by ``kind:<kind>`` and ``word:<word>``, of one image."""
    groups: dict[str, list[TextBox]] = {}
    for box in boxes:
        for name in (f"kind:{box.kind}", *(f"word:{w}" for w in dict.fromkeys(tokens_in(box.text)) if w in words)):
            groups.setdefault(name, []).append(box)
    return groups
