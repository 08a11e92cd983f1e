"""What the sections of the Results page look at: the predictions of one split of a run, and the figures of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from cxr.data import Manifest
from cxr.evaluation.curves import Curve, OneClass, ReliabilityBin, classes_of, precision_recall, reliability, roc
from cxr.evaluation.results import Summary
from cxr.evaluation.scores.calibration import NoTemperature, Temperature
from cxr.evaluation.scores.further import OWN_SPLIT, temperature_of
from cxr.models.card import MULTI_LABEL
from cxr.runs import Run

ROC, PRECISION_RECALL = "roc", "precision-recall"


@dataclass(frozen=True)
class Evaluated:
    """The measured X-rays of a split.

    Attributes
    ----------
    every
        The predictions of all splits, with those that were left out.
    rows
        The X-rays that the figures are of.
    data
        None where nothing tells where the X-rays lie.
    link
        Query parameters that open its network and data in the explorer; empty without a network.
    """

    run: Run
    stamp: int
    split: str
    task: str
    every: pd.DataFrame
    rows: pd.DataFrame
    result: Summary
    data: Manifest | None
    link: dict[str, str]

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return self.result["classes"]

    @property
    def several(self) -> bool:
        """Whether an X-ray may have several findings."""
        return self.task == MULTI_LABEL

    @property
    def thresholds(self) -> dict[str, float]:
        """By finding, the probability above which it counts as present; of classes none."""
        return {name: scores["threshold"] for name, scores in self.result["per_class"].items() if "threshold" in scores}

    @property
    def key(self) -> str:
        """What widgets of this run and split are called after."""
        return f"results:{self.run.id}:{self.split}"

    @property
    def gallery_link(self) -> dict[str, str]:
        """Query parameters for a picture of this split."""
        return {**self.link, "split": self.split} if self.link else {}

    def by_class(self) -> dict[str, OneClass]:
        """Return each class against the rest."""
        return _by_class(*self._parameters(), None, self.rows, self.classes, self.thresholds)

    def scaled(self) -> dict[str, OneClass]:
        """Return the same after temperature scaling; empty where no temperature was fitted on other X-rays."""
        temperature = _temperature(*self._parameters(), self.every, self.classes)
        if isinstance(temperature, NoTemperature) or temperature.split == self.split:
            return {}
        return _by_class(*self._parameters(), temperature, self.rows, self.classes, self.thresholds)

    def why_not_scaled(self) -> str:
        """Return why nothing is shown after temperature scaling."""
        temperature = _temperature(*self._parameters(), self.every, self.classes)
        return temperature.why if isinstance(temperature, NoTemperature) else OWN_SPLIT

    def curve(self, kind: str, name: str, *, band: bool) -> Curve:
        """Return the ROC or precision-recall curve of a class."""
        return _curve(*self._parameters(), kind, name, band, self.by_class()[name])

    def calibration(self, name: str) -> tuple[list[ReliabilityBin], list[ReliabilityBin]]:
        """Return the calibration bins of a class, as measured and after scaling."""
        scaled = self.scaled()
        return (
            _bins(*self._parameters(), name, False, self.by_class()[name]),
            _bins(*self._parameters(), name, True, scaled[name]) if scaled else [],
        )

    def labelled(self) -> pd.DataFrame:
        """Return the measured X-rays whose label is one of the classes."""
        return self.rows[self.rows["label"].isin(self.classes)]

    def _parameters(self) -> tuple[str, int, str, str]:
        return self.run.id, self.stamp, self.split, self.task


# Of cache_data every session would get copies at every run of the script.
@st.cache_resource(max_entries=16, show_spinner=False)
def _by_class(
    run_id: str,
    stamp: int,
    split: str,
    task: str,
    temperature: Temperature | None,
    _rows: pd.DataFrame,
    _classes: Sequence[str],
    _thresholds: Mapping[str, float],
) -> dict[str, OneClass]:
    return classes_of(_rows, _classes, task, _thresholds, temperature)


@st.cache_resource(max_entries=64, show_spinner=False)
def _temperature(
    run_id: str, stamp: int, split: str, task: str, _every: pd.DataFrame, _classes: Sequence[str]
) -> Temperature | NoTemperature:
    return temperature_of(_every, _classes, task)


@st.cache_resource(max_entries=256, show_spinner="Drawing patients for the band …")
def _curve(run_id: str, stamp: int, split: str, task: str, kind: str, name: str, band: bool, _one: OneClass) -> Curve:
    return (roc if kind == ROC else precision_recall)(_one, band=band)


@st.cache_resource(max_entries=128, show_spinner=False)
def _bins(
    run_id: str, stamp: int, split: str, task: str, name: str, scaled: bool, _one: OneClass
) -> list[ReliabilityBin]:
    return reliability(_one)
