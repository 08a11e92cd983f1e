"""The dose curve of a stamped token: what each size and contrast does, beyond the same patch without letters.

All numbers are paired: the same X-rays without a stamp, with the token, and with the control. Intervals are over
patients, p values come from flipping the signs of patients' differences and are corrected over the doses (Holm 1979).

An X-ray is said to have a class where it is predicted. A network of several findings says of each by itself: there it
is a probability above the finding's threshold, which the network's publisher states, else above 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cxr.evaluation.metrics import patients_of
from cxr.evaluation.multilabel import THRESHOLD
from cxr.experiments.masking.effects import (
    SMALLEST_EFFECT,
    TOO_FEW_PATIENTS,
    beyond_control,
    correct,
    paired_means,
    paired_shares,
)
from cxr.experiments.masking.shapes import Comparison
from cxr.experiments.stamping.results import Dose, DoseResponse, Effects
from cxr.formatting import Estimate, patients, percent, points, xrays
from cxr.models.card import MULTI_LABEL, SINGLE_LABEL

CONDITIONS = ("unstamped", "stamped", "control")
_SIGNIFICANT = 0.05


def results_of(
    table: pd.DataFrame,
    classes: Sequence[str],
    towards: str,
    token: str,
    onto: Sequence[str] = (),
    seed: int = 0,
    threshold: float = THRESHOLD,
) -> DoseResponse:
    """Return the numbers of ``results.json`` from the long table of answers.

    Returns
    -------
    ``n_images``, ``task``, ``classes``, ``towards``, ``onto``, ``n_there`` (X-rays said to have ``towards`` unstamped),
    ``finding``, and ``doses``, each with ``size``, ``contrast``, ``n``, ``n_patients`` and

    - ``turned``: share of all X-rays that turn to ``towards``, ``stamped`` and ``control``, as ``{value, low, high}``;
      ``turned_beyond``, the difference, with ``p`` and ``p_holm``
    - ``probability`` and ``logit``: mean change by class, ``stamped``, ``control`` and ``beyond``, the difference;
      ``probability_beyond``, that of ``towards``, with ``p`` and ``p_holm``
    - ``change``: mean change of grey over the stamped box, ``stamped`` and ``control``
    """
    unstamped = table[table["condition"] == "unstamped"].set_index("image_id")
    stamped = table[table["condition"] != "unstamped"]
    doses: list[Dose] = [
        {
            "size": float(size),
            "contrast": float(contrast),
            **_of_dose(rows, unstamped, classes, towards, seed, threshold),
        }
        for (size, contrast), rows in stamped.groupby(["size", "contrast"], sort=True)
    ]
    correct([dose["turned_beyond"] for dose in doses])
    correct([dose["probability_beyond"] for dose in doses])
    results: DoseResponse = {
        "n_images": int(stamped["image_id"].nunique()),
        "n_there": int(predicted_as(unstamped.loc[stamped["image_id"].unique()], towards, threshold).sum()),
        "classes": list(classes),
        "towards": towards,
        "onto": list(onto),
        "token": token,
        "doses": doses,
        "task": SINGLE_LABEL if "predicted" in table else MULTI_LABEL,
        "threshold": threshold,
        "finding": "",
    }
    results["finding"] = finding(results)
    return results


def predicted_as(table: pd.DataFrame, name: str, threshold: float = THRESHOLD) -> np.ndarray:
    """Return of which rows of answers the network says the class ``name``, bool (N,)."""
    predicted = table["predicted"] == name if "predicted" in table else table[f"prob_{name}"] > threshold
    return predicted.to_numpy(dtype=bool)


def _of_dose(
    rows: pd.DataFrame,
    unstamped: pd.DataFrame,
    classes: Sequence[str],
    towards: str,
    seed: int,
    threshold: float = THRESHOLD,
) -> Effects:
    parts = {name: rows[rows["condition"] == name].set_index("image_id") for name in ("stamped", "control")}
    before = unstamped.loc[parts["stamped"].index]
    parts = {name: part.loc[before.index] for name, part in parts.items()}
    patients = patients_of(before.reset_index())
    away = ~predicted_as(before, towards, threshold)
    turned = {name: (away & predicted_as(part, towards, threshold)).astype(float) for name, part in parts.items()}
    changes = {
        kind: {
            (name, c): (part[f"{kind}_{c}"] - before[f"{kind}_{c}"]).to_numpy()
            for name, part in parts.items()
            for c in classes
        }
        for kind in ("prob", "logit")
    }
    probability = changes["prob"]["stamped", towards] - changes["prob"]["control", towards]
    return {
        "n": len(before),
        "n_patients": len(set(patients)),
        "turned": paired_shares(turned, patients, seed),
        "turned_beyond": beyond_control(turned["stamped"] - turned["control"], patients, seed),
        "change": {name: float(part["change"].mean()) for name, part in parts.items()},
        "probability": _mean_changes(changes["prob"], classes, patients, seed),
        "logit": _mean_changes(changes["logit"], classes, patients, seed),
        "probability_beyond": beyond_control(probability, patients, seed),
    }


def _mean_changes(
    changes: Mapping[tuple[str, str], np.ndarray], classes: Sequence[str], patients: Sequence[str], seed: int
) -> dict[str, dict[str, Estimate]]:
    """Return the mean change by class, ``stamped``, ``control`` and ``beyond``, the difference."""
    beyond = {("beyond", c): changes["stamped", c] - changes["control", c] for c in classes}
    means = paired_means({**changes, **beyond}, patients, seed)
    return {c: {name: means[name, c] for name in ("stamped", "control", "beyond")} for c in classes}


def strongest(results: DoseResponse) -> Dose:
    """Return the dose that the sentence tells of: the largest size, and there the highest contrast."""
    return max(results["doses"], key=lambda dose: (dose["size"], dose["contrast"]))


def least(results: DoseResponse) -> Dose | None:
    """Return the smallest dose (size, then contrast) that raises the probability beyond the control, or None.

    By less than :data:`cxr.experiments.masking.effects.SMALLEST_EFFECT` does not count.
    """
    doses = sorted(results["doses"], key=lambda dose: (dose["size"], dose["contrast"]))
    beyond = ((dose, dose["probability_beyond"]) for dose in doses)
    return next((d for d, of in beyond if _p_of(of) < _SIGNIFICANT and _value_of(of) >= SMALLEST_EFFECT), None)


def finding(results: DoseResponse) -> str:
    """Return the result in plain sentences with its uncertainty."""
    dose, towards = strongest(results), results["towards"]
    beyond = dose["turned_beyond"]
    stamped, control = (percent(dose["turned"][name]) for name in ("stamped", "control"))
    if results["task"] == MULTI_LABEL:
        threshold = f"{results['threshold']:.3g}"
        on = f"{dose['n']:,} images" + (f" without {towards}" if results["onto"] else "")
        turns = f"takes the probability of {towards} above {threshold} on {stamped}"
        turns += f", the same patch without letters on {control}"
    else:
        on = f"{dose['n']:,} images" + (f" of {_listed(results['onto'])}" if results["onto"] else "")
        turns = f"moves {stamped} of predictions to {towards}, the same patch without letters {control}"
    of_patients = "" if "n_patients" not in dose else f"{patients(dose['n_patients'])}, "
    first = (
        f"Stamping {results['token']} onto {on} ({of_patients}size {dose['size']:g}, contrast {dose['contrast']:g}) "
        f"{turns} ({_p(_p_of(beyond), len(results['doses']))})."
    )
    if dose["turned_beyond"]["low"] is None:
        return f"{first} {TOO_FEW_PATIENTS}"
    return " ".join(filter(None, (first, _about_turned(dose), _about_probability(results))))


def _about_turned(dose: Dose) -> str:
    """Return what may be concluded from the predictions that turned; nothing where none did."""
    stamped, control = (_value_of(dose["turned"][name]) for name in ("stamped", "control"))
    of = xrays(dose["n"], dose.get("n_patients"))
    if not stamped and not control:
        return ""
    if _p_of(dose["turned_beyond"]) >= _SIGNIFICANT:
        return f"The two do not differ significantly on {of}: the patch may be the cause, letters or not."
    if abs(stamped - control) < SMALLEST_EFFECT:
        return f"On {of} the two differ by less than {100 * SMALLEST_EFFECT:g} %: too small to matter."
    if stamped > control:
        return f"On {of} the letters turn more predictions than a patch of their size does."
    return f"On {of} the patch without letters turns more predictions than the letters do."


def _about_probability(results: DoseResponse) -> str:
    dose, towards = least(results), results["towards"]
    if dose is None:
        most = max(results["doses"], key=lambda d: d["n"])
        return (
            f"At no dose does the token raise the probability of {towards} more than its control does, beyond chance "
            f"and by {100 * SMALLEST_EFFECT:g} % or more ({xrays(most['n'], most.get('n_patients'))})."
        )
    value = dose["probability_beyond"]
    return (
        f"The smallest dose that raises the probability of {towards} beyond the control is size {dose['size']:g} at "
        f"contrast {dose['contrast']:g}: {points(value)} "
        f"({_p(_p_of(value), len(results['doses']))}; {xrays(dose['n'], dose.get('n_patients'))})."
    )


def _value_of(estimate: Estimate) -> float:
    """Return the value of an estimate, NaN where there is none."""
    return math.nan if estimate["value"] is None else estimate["value"]


def _p_of(test: Comparison) -> float:
    """Return the corrected p of a test, NaN where there is none."""
    return math.nan if test["p_holm"] is None else test["p_holm"]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _p(p: float, doses: int) -> str:
    return f"p = {p:.2g}" + (f", Holm over {doses} doses" if doses > 1 else "")
