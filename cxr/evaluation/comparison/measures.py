"""The measures that runs are compared by, for all runs at once from weights of the X-rays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cxr.evaluation.comparison.pairing import Paired
from cxr.evaluation.intervals import effective_patients, mean_of_patients, patients_of_pairs
from cxr.evaluation.metrics import Figures, auc_without, estimates_of, weighted_auc
from cxr.formatting import Estimate
from cxr.models.card import MULTI_LABEL

ACCURACY, BALANCED, MACRO_AUC, MEAN_AUC = "accuracy", "balanced accuracy", "macro AUC", "mean AUC"
_BY_CLASS = "AUC by class"


class Measures:
    """What each run achieves on the shared X-rays."""

    def __init__(self, paired: Paired) -> None:
        self.paired, self.several = paired, paired.task == MULTI_LABEL
        self.known = np.isfinite(paired.truth) if self.several else np.ones((len(paired.patients), 0), bool)
        self.positive = paired.truth == 1
        self.findings = [
            k for k in range(self.known.shape[1]) if 0 < self.positive[:, k].sum() < self.known[:, k].sum()
        ]
        self.by_run = [
            Figures(paired.truth, predicted, scores, len(paired.classes))
            for predicted, scores in zip(paired.predicted, paired.scores, strict=True)
            if not self.several
        ]

    @property
    def names(self) -> list[str]:
        """The measures; AUC of findings are called ``AUC of <finding>``."""
        if not self.several:
            return [ACCURACY, BALANCED, MACRO_AUC]
        return [MEAN_AUC, *(f"AUC of {name}" for name in self.paired.classes)]

    def values(self, run: int, weights: np.ndarray) -> np.ndarray:
        """Return (B, M) for weights (B, N), in the order of ``names``; NaN where a measure is not defined."""
        if self.several:
            return self._aucs(
                run, lambda k, score: weighted_auc(self.positive[:, k], score, weights * self.known[:, k]), len(weights)
            )
        return self._of_classes(run, self.by_run[run].values(weights))

    def without(self, run: int, part: np.ndarray, n_parts: int) -> np.ndarray:
        """Return (P, M) without the X-rays of each part; ``part`` (N,) is the part of each."""
        if not self.several:
            return self._of_classes(run, self.by_run[run].without(part, n_parts))

        def auc(k: int, score: np.ndarray) -> np.ndarray:
            known = self.known[:, k]
            return auc_without(self.positive[known, k], score[known], part[known], n_parts)

        return self._aucs(run, auc, n_parts)

    def _of_classes(self, run: int, values: Mapping[str, np.ndarray]) -> np.ndarray:
        recalls = values["recall"][:, self.by_run[run].present].mean(1, keepdims=True)
        return np.hstack([values["accuracy"], recalls, values["auc"]])

    def estimates(self, run: int, seed: int) -> dict[str, Estimate]:
        """Return each measure of a run as ``{value, low, high}``, with the intervals that an evaluation gives it."""
        groups, numbers = self.paired.patients, self.patients()
        if self.several:
            found = estimates_of(
                lambda weights: self._split(self.values(run, weights)),
                {MEAN_AUC: numbers[:1], _BY_CLASS: numbers[1:]},
                groups,
                seed,
                lambda part, n_parts: self._split(self.without(run, part, n_parts)),
                {MEAN_AUC: (_BY_CLASS, self.findings)},
            )
            return dict(zip(self.names, [*found[MEAN_AUC], *found[_BY_CLASS]], strict=True))
        figures = self.by_run[run]
        found = estimates_of(
            lambda weights: self._named(run, figures.values(weights)),
            {name: [n] for name, n in zip(self.names, numbers, strict=True)}
            | {_BY_CLASS: figures.patients(groups)["auc_by_class"]},
            groups,
            seed,
            lambda part, n_parts: self._named(run, figures.without(part, n_parts)),
            {MACRO_AUC: (_BY_CLASS, figures.ranked)},
        )
        return {name: found[name][0] for name in self.names}

    def _split(self, aucs: np.ndarray) -> dict[str, np.ndarray]:
        return {MEAN_AUC: aucs[:, :1], _BY_CLASS: aucs[:, 1:]}

    def _named(self, run: int, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        columns = self._of_classes(run, values).T[..., None]
        return dict(zip(self.names, columns, strict=True)) | {_BY_CLASS: values["auc_by_class"]}

    def patients(self) -> list[float]:
        """Return for each measure for how many independent X-rays its own stand at the least."""
        groups = self.paired.patients
        if not self.several:
            own, present = self.by_run[0].patients(groups), self.by_run[0].present
            return [*own["accuracy"], mean_of_patients([own["recall"][c] for c in present]), *own["auc"]]
        pairs = [self._patients_of(groups, k) for k in range(self.known.shape[1])]
        return [mean_of_patients([pairs[k] for k in self.findings]), *pairs]

    def counts(self, name: str) -> tuple[int, int]:
        """Return the numbers of X-rays and of patients that a measure is of."""
        groups = np.array(self.paired.patients, dtype=object)
        if self.several and name != MEAN_AUC:
            groups = groups[self.known[:, self.paired.classes.index(name.removeprefix("AUC of "))]]
        return len(groups), len(set(groups))

    def _patients_of(self, groups: Sequence[str], k: int) -> float:
        positive, negative = self.positive[:, k], self.known[:, k] & ~self.positive[:, k]
        return patients_of_pairs(effective_patients(groups, positive), effective_patients(groups, negative))

    def _aucs(self, run: int, auc: Callable[[int, np.ndarray], np.ndarray], n: int) -> np.ndarray:
        values = np.full((n, 1 + self.known.shape[1]), np.nan)
        for k in self.findings:
            values[:, 1 + k] = auc(k, self.paired.scores[run][:, k])
        if self.findings:
            values[:, 0] = values[:, [1 + k for k in self.findings]].mean(1)
        return values
