"""From the rows of images to one entry for each region and group: means with intervals, tests, corrections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cxr.evaluation.intervals import Paired, mean_intervals, sign_flips
from cxr.evaluation.metrics import estimate
from cxr.evaluation.tests import holm
from cxr.experiments.relevance.measure import ImageRow
from cxr.experiments.relevance.picture_regions import TEXT, TITLES
from cxr.experiments.relevance.results import EVERY, PlantedResults, RegionEntry
from cxr.experiments.relevance.sentences import planted_sentence, region_sentence
from cxr.explain.quality.region_shares import mean_gains, mean_shares, share_ratio
from cxr.formatting import Estimate

SIGNIFICANT = 0.05
NOTHING = Estimate(value=None, low=None, high=None)


def table_of(rows: Sequence[ImageRow], patients: dict[str, str], truth: dict[str, str]) -> pd.DataFrame:
    """Return one row for each image and explained class, as :func:`cxr.experiments.relevance.results.images_table`."""
    records = []
    for row in rows:
        record: dict[str, object] = {
            "image_id": row.image_id,
            "patient": patients[row.image_id],
            "true": truth[row.image_id],
            "predicted": row.predicted,
            "explained": row.explained,
            "logit": row.logit,
            "lungs": row.lungs,
        }
        for name, own in row.regions.items():
            record |= {f"{key}_{name}": value for key, value in vars(own).items()}
            record[f"gain_{name}"] = own.share / own.area
        if row.planted is not None:
            record |= {f"planted_{key}": value for key, value in vars(row.planted).items()}
        records.append(record)
    return pd.DataFrame(records)


def regions_in(table: pd.DataFrame) -> list[str]:
    """Return the regions that a table of images has, in the order in which people read them."""
    return [name for name in TITLES if f"area_{name}" in table]


def region_entries(table: pd.DataFrame, seed: int = 0) -> list[RegionEntry]:
    """Return an entry for each region over all rows, then over those explained for each class if there are several.

    Rows without positive relevance do not count. p values are corrected over the regions of all rows, and apart from
    them over all entries of classes.
    """
    table = with_relevance(table)
    classes = sorted(set(table["explained"]))
    entries = [_entry(table, "", name, seed) for name in regions_in(table)]
    _correct(entries)
    by_class: list[RegionEntry] = []
    for own in classes if len(classes) > 1 else ():
        rows = table[table["explained"] == own]
        by_class += [_entry(rows, own, name, seed) for name in regions_in(table) if rows[f"area_{name}"].notna().any()]
    _correct(by_class)
    return [*entries, *by_class]


def with_relevance(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose map holds positive relevance."""
    shares = table[[f"share_{name}" for name in regions_in(table)]]
    return table[shares.notna().any(axis=1)]


def _entry(table: pd.DataFrame, of_class: str, region: str, seed: int) -> RegionEntry:
    patients = table["patient"].to_numpy()
    area, share, absolute = (_column(table, f"{key}_{region}") for key in ("area", "share", "absolute"))
    there = np.isfinite(area)
    own, own_patients = table[there], patients[there]
    entry_share, entry_absolute = mean_shares(np.nan_to_num(np.column_stack([share, absolute])), patients, seed)
    gain, absolute_gain = mean_gains(area[there], np.column_stack([share, absolute])[there], own_patients, seed)
    held = own[own[f"control_share_{region}"].notna()]
    control_area, control_share = (_column(held, f"control_{key}_{region}") for key in ("area", "share"))
    logits = own[own[f"control_change_{region}"].notna()]
    change, control = _column(logits, f"logit_change_{region}"), _column(logits, f"control_change_{region}")
    beyond = _paired(change - control, logits["patient"].to_numpy(), seed)
    # At the controls' own area, which is that of the region but for a few pixels.
    more = _column(held, f"share_{region}") - control_share * _column(held, f"area_{region}") / control_area
    gain_beyond = _paired(more, held["patient"].to_numpy(), seed)
    return RegionEntry(
        group=of_class or EVERY,
        every=not of_class,
        region=region,
        title=TITLES[region],
        n=int(own["image_id"].nunique()),
        n_patients=len(set(own_patients)),
        area=float(np.nan_to_num(area).mean()),
        share=entry_share,
        absolute=entry_absolute,
        gain=gain,
        absolute_gain=absolute_gain,
        control_gain=mean_gains(control_area, control_share[:, None], held["patient"].to_numpy(), seed)[0]
        if len(held)
        else NOTHING,
        logit_change=_mean(_column(own, f"logit_change_{region}"), own_patients, seed),
        control_change=_mean(control, logits["patient"].to_numpy(), seed),
        grey=float(_column(own, f"grey_{region}").mean()),
        control_grey=float(_column(logits, f"control_grey_{region}").mean()) if len(logits) else None,
        beyond=estimate(beyond.value, _limits(beyond)),
        p=beyond.p if len(logits) else None,
        p_corrected=None,
        gain_p=gain_beyond.p if len(held) else None,
        gain_p_corrected=None,
        shown=False,
        gain_shown=False,
        sentence="",
    )


def _correct(entries: Sequence[RegionEntry]) -> None:
    """Fill in what depends on all entries of a family: corrected p values, what is shown, and the sentences."""
    removal, gains = (holm([entry[key] for entry in entries]) for key in ("p", "gain_p"))
    for entry, p, gain_p in zip(entries, removal, gains, strict=True):
        entry["p_corrected"], entry["gain_p_corrected"] = p, gain_p
        beyond, gain, control = (entry[key]["value"] for key in ("beyond", "gain", "control_gain"))
        entry["shown"] = p is not None and p < SIGNIFICANT and beyond is not None and beyond < 0
        entry["gain_shown"] = (
            gain_p is not None and gain_p < SIGNIFICANT and (gain or 0.0) > (control if control is not None else np.inf)
        )
        entry["sentence"] = region_sentence(entry)


def planted_results(table: pd.DataFrame, seed: int = 0) -> PlantedResults | None:
    """Return what the planted mark did, None where none was stamped."""
    if "planted_area" not in table:
        return None
    table = with_relevance(table)
    own = table[table["planted_area"].notna() & table["planted_share"].notna()]
    if own.empty:
        return None
    patients = own["patient"].to_numpy()
    area, change = _column(own, "planted_area"), _column(own, "planted_logit_change")
    shares = np.column_stack([_column(own, f"planted_{key}") for key in ("share", "absolute", "share_without")])
    gain, absolute_gain, without = mean_gains(area, shares, patients, seed)
    results = PlantedResults(
        n=int(own["image_id"].nunique()),
        n_patients=len(set(patients)),
        area=float(area.mean()),
        gain=gain,
        absolute_gain=absolute_gain,
        gain_without=without,
        logit_change=_mean(change, patients, seed),
        moved=_mean(np.abs(change), patients, seed),
        changed=mean_shares(_column(own, "planted_changed")[:, None], patients, seed)[0],
        text_over_mark=_text_over_mark(table, seed),
        sentence="",
    )
    results["sentence"] = planted_sentence(results)
    return results


def _text_over_mark(table: pd.DataFrame, seed: int) -> Estimate:
    if f"area_{TEXT}" not in table:
        return NOTHING
    columns = (f"share_{TEXT}", f"area_{TEXT}", "planted_share", "planted_area")
    text_share, text_area, mark_share, mark_area = (np.nan_to_num(_column(table, name)) for name in columns)
    return share_ratio((text_share, text_area), (mark_share, mark_area), table["patient"].to_numpy(), seed)


def _paired(differences: np.ndarray, patients: np.ndarray, seed: int) -> Paired:
    """Return the sign-flip test of differences of any size: brought to -1 to 1, where the test is at home, and back."""
    largest = float(np.abs(differences).max(initial=0.0))
    if not largest:
        return Paired(0.0 if len(differences) else float("nan"), None, None, 1.0)
    test = sign_flips(differences / largest, patients, seed)
    low, high = (None if end is None else end * largest for end in (test.low, test.high))
    return Paired(test.value * largest, low, high, test.p)


def _limits(test: Paired) -> tuple[float, float] | None:
    return None if test.low is None or test.high is None else (test.low, test.high)


def _mean(values: np.ndarray, patients: np.ndarray, seed: int) -> Estimate:
    if not len(values):
        return NOTHING
    return estimate(float(values.mean()), mean_intervals(values, patients, seed)[0])


def _column(table: pd.DataFrame, name: str) -> np.ndarray:
    return np.asarray(table[name].to_numpy(np.float64))
