"""Runs compared pair by pair: differences over patients, corrected for their number, beside rules that see no X-ray."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from cxr.evaluation.comparison.bootstrap import paired_bootstrap
from cxr.evaluation.comparison.measures import ACCURACY, BALANCED, Measures
from cxr.evaluation.comparison.pairing import Paired, Predictions, names_of, pair, predictions_of, with_files
from cxr.evaluation.comparison.references import delong, mcnemar
from cxr.evaluation.comparison.results import Baseline, Compared, ComparisonResults, Difference, Reference
from cxr.evaluation.comparison.seeds import seed_notes
from cxr.evaluation.comparison.sentences import notes_of, sentence_of
from cxr.evaluation.intervals import LEVEL, difference_tests, sign_flips
from cxr.evaluation.intervals import Paired as Test
from cxr.evaluation.metrics import FastStatistic
from cxr.evaluation.tests import holm
from cxr.models.card import MULTI_LABEL
from cxr.runs import Run


def compare(runs: Sequence[Run], split: str | None = None) -> ComparisonResults:
    """Return how finished runs differ on the X-rays that all of them have predicted.

    Parameters
    ----------
    runs
        Two or more trainings or evaluations, of the same class names in any order.
    split
        Only X-rays of this split; None for all that were predicted.

    Raises
    ------
    RunError
        If a run has no predictions, task or classes differ, or no X-ray is shared.
    """
    results = compare_predictions(shared_predictions(runs, split))
    results["notes"] = [*seed_notes(runs), *results["notes"]]
    return results


def shared_predictions(runs: Sequence[Run], split: str | None = None) -> list[Predictions]:
    """Return what runs have predicted, with the digests of files where their data differ; see :func:`compare`."""
    predictions = [predictions_of(run, split) for run in runs]
    hashes = {of_run.data_hash for of_run in predictions}
    if len(hashes) > 1 or "" in hashes:  # an id of other data may be another X-ray
        predictions = [with_files(run, of_run) for run, of_run in zip(runs, predictions, strict=True)]
    return predictions


def compare_predictions(
    runs: Sequence[Predictions], seed: int = 0, *, with_references: bool = True
) -> ComparisonResults:
    """Return what :func:`compare` does, of predictions; the tests for reference take most of the time.

    Differences are the first run's figure minus the second's. The interval and ``p`` are over patients: of accuracy by
    :func:`cxr.evaluation.intervals.sign_flips`, of the others by :func:`cxr.evaluation.intervals.difference_tests`.
    ``p_corrected`` allows for all pairs of runs and all measures (Holm); two runs are ``different`` where it is below
    0.05.
    """
    paired = pair(runs)
    measures, names = Measures(paired), names_of(runs)
    differences = _differences(measures, runs, names, seed)
    return {
        "task": paired.task,
        "classes": list(paired.classes),
        "splits": paired.splits,
        "paired_by": paired.paired_by,
        "n": len(paired.patients),
        "n_patients": len(set(paired.patients)),
        "level": LEVEL,
        "n_comparisons": sum(difference["p"] is not None for difference in differences),
        "runs": [_compared(measures, index, run, names[index], seed) for index, run in enumerate(runs)],
        "baselines": list(_baselines(measures)),
        "differences": differences,
        "references": _published_tests(measures, runs, seed) if with_references else [],
        "notes": notes_of(paired, runs, {run.data_hash for run in runs}),
    }


def published_tests(runs: Sequence[Predictions], seed: int = 0) -> list[Reference]:
    """Return the tests for reference alone, which :func:`compare_predictions` may leave out."""
    return _published_tests(Measures(pair(runs)), runs, seed)


def _published_tests(measures: Measures, runs: Sequence[Predictions], seed: int) -> list[Reference]:
    return [*_references(measures, runs), *_resampled(measures, runs, seed)]


def _compared(measures: Measures, index: int, run: Predictions, name: str, seed: int) -> Compared:
    return {
        "run": run.run,
        "name": name,
        "n": len(run.table),
        "left_out": measures.paired.left_out[index],
        "figures": measures.estimates(index, seed),
    }


def _differences(measures: Measures, runs: Sequence[Predictions], names: Sequence[str], seed: int) -> list[Difference]:
    pairs, paired = list(combinations(range(len(runs)), 2)), measures.paired

    def apart(values: Sequence[np.ndarray]) -> np.ndarray:
        return np.hstack([values[first] - values[second] for first, second in pairs])

    statistic = FastStatistic(
        lambda weights: apart([measures.values(index, weights) for index in range(len(runs))]),
        lambda part, n_parts: apart([measures.without(index, part, n_parts) for index in range(len(runs))]),
    )
    tests = difference_tests(statistic, paired.patients, measures.patients() * len(pairs), seed)
    labelled = [(*of_pair, measure) for of_pair in pairs for measure in measures.names]
    for k, (first, second, measure) in enumerate(labelled):
        if measure == ACCURACY:
            right = paired.predicted == paired.truth
            tests[k] = sign_flips(right[first].astype(np.float64) - right[second], paired.patients, seed)
    corrected = holm([test.p if np.isfinite(test.value) else None for test in tests])
    n_comparisons = sum(p is not None for p in corrected)
    differences = []
    for (first, second, measure), test, p in zip(labelled, tests, corrected, strict=True):
        row = _difference(runs[first].run, runs[second].run, measure, test, p)
        row["sentence"] = sentence_of(
            row, (names[first], names[second]), paired, measures.counts(measure), n_comparisons
        )
        differences.append(row)
    return differences


def _difference(run: str, against: str, measure: str, test: Test, corrected: float | None) -> Difference:
    defined = corrected is not None
    return {
        "run": run,
        "against": against,
        "measure": measure,
        "value": test.value if defined else None,
        "low": test.low,
        "high": test.high,
        "p": test.p if defined else None,
        "p_corrected": corrected,
        "different": corrected is not None and corrected < 1 - LEVEL,
        "sentence": "",
    }


def _baselines(measures: Measures) -> Iterator[Baseline]:
    """Yield the rule that always names the commonest class, and that which guesses each class as often."""
    auc: dict[str, float | None] = {name: 0.5 for name in measures.names if "AUC" in name}
    if measures.several:
        yield {"name": "random guess", "figures": dict(auc)}
        return
    figures, paired = measures.by_run[0], measures.paired
    support = np.bincount(paired.truth, minlength=figures.n)
    commonest = paired.classes[int(support.argmax())]
    shares = (float(support.max() / support.sum()), 1 / len(figures.present))
    yield {"name": f"always {commonest!r}", "figures": {ACCURACY: shares[0], BALANCED: shares[1], **auc}}
    yield {"name": "random guess", "figures": {ACCURACY: 1 / figures.n, BALANCED: 1 / figures.n, **auc}}


def _references(measures: Measures, runs: Sequence[Predictions]) -> Iterator[Reference]:
    """Yield McNemar's and DeLong's tests of each pair of runs, uncorrected, over X-rays."""
    paired = measures.paired
    for first, second in combinations(range(len(runs)), 2):
        if paired.task != MULTI_LABEL:
            yield _mcnemar(paired, runs, first, second)
        for k, name in enumerate(paired.classes):
            known = measures.known[:, k] if measures.several else np.ones(len(paired.truth), bool)
            positive = measures.positive[:, k] if measures.several else paired.truth == k
            scores = (paired.scores[index][known, k] for index in (first, second))
            test = delong(positive[known], *scores)
            if test is not None:
                yield {
                    "test": "DeLong",
                    "measure": f"AUC of {name}",
                    "run": runs[first].run,
                    "against": runs[second].run,
                    "p": test.p,
                    "value": test.value,
                    "low": test.low,
                    "high": test.high,
                }


def _resampled(measures: Measures, runs: Sequence[Predictions], seed: int) -> Iterator[Reference]:
    """Yield the paired bootstrap of each pair of runs and each measure, uncorrected, over patients."""
    if len(set(measures.paired.patients)) < 2:
        return
    pairs = list(combinations(range(len(runs)), 2))
    for (first, second), name, test in paired_bootstrap(measures, pairs, seed=seed):
        if np.isfinite(test.value):
            yield {
                "test": "paired bootstrap",
                "measure": name,
                "run": runs[first].run,
                "against": runs[second].run,
                "p": test.p,
                "value": test.value,
                "low": test.low,
                "high": test.high,
            }


def _mcnemar(paired: Paired, runs: Sequence[Predictions], first: int, second: int) -> Reference:
    right = paired.predicted == paired.truth
    only_first, only_second = int((right[first] & ~right[second]).sum()), int((right[second] & ~right[first]).sum())
    return {
        "test": "McNemar",
        "measure": ACCURACY,
        "run": runs[first].run,
        "against": runs[second].run,
        "p": mcnemar(only_first, only_second),
        "only_run": only_first,
        "only_against": only_second,
    }
