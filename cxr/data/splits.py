"""Splits that no patient and no duplicate straddles, stratified by class and repeatable from a seed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cxr.data.manifest import Manifest
from cxr.errors import ManifestError

FRACTIONS: Mapping[str, float] = {"train": 0.7, "val": 0.1, "test": 0.2}
_HELD_OUT_ROLES = ("external", "probe")


@dataclass(frozen=True)
class _Group:
    """Images that stay together: their ids and how many there are of each class (K,)."""

    ids: tuple[str, ...]
    counts: NDArray[np.int64]


def split_manifest(
    manifest: Manifest, fractions: Mapping[str, float] = FRACTIONS, seed: int = 0
) -> tuple[Manifest, pd.DataFrame]:
    """Give every labelled, trainable row a split; whole groups go together.

    A group is a connected component over ``patient_id`` and ``dup_group``: if A and B share a patient, and B and C are
    duplicates, all three stay together. Rows of role ``probe`` or ``external`` get a split of that name, unless their
    group holds a trainable row; ``intermediate`` and unlabelled rows get "". The largest groups are placed first,
    each where its classes are most lacking. The result depends on ids, labels, groups and seed, not on the row order.

    Returns
    -------
    Manifest
        With ``split`` set anew.
    DataFrame
        ``image_id, image, reason`` of the probe and external rows that were set aside (split "").

    Raises
    ------
    ManifestError
        For fractions that are not positive or do not add up to 1, nothing to split, or a class with too few groups.
    """
    _check_fractions(fractions)
    table = manifest.table.sort_values("image_id", ignore_index=True)
    components = connected_groups(table, ("patient_id", "dup_group"))
    trainable = (table["label"] != "") & table["role"].isin(["", "train"])
    if not trainable.any():
        raise ManifestError("no row to split: none has a label and the role train (or no role)")
    splits = _split_trainable(table, components, trainable.to_numpy(), fractions, seed)
    held_out, aside = _hold_out(table, components, trainable.to_numpy())
    result = manifest.with_splits(splits | held_out)
    result.check_splits()
    return result, aside


def connected_groups(table: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.int64]:
    """Return the number of the connected component of each row; rows that share a value of a column are connected.

    An empty value connects nothing.
    """
    n = len(table)
    rows, nodes, offset = [], [], n
    for column in columns:
        known = np.flatnonzero((table[column] != "").to_numpy())
        codes, names = pd.factorize(table[column].to_numpy()[known])
        rows.append(known)
        nodes.append(codes + offset)
        offset += len(names)
    edges = (np.concatenate(rows), np.concatenate(nodes))
    graph = coo_array((np.ones(len(edges[0]), np.int8), edges), shape=(offset, offset))
    return connected_components(graph, directed=False)[1][:n].astype(np.int64)


def _check_fractions(fractions: Mapping[str, float]) -> None:
    for name, value in fractions.items():
        if not name or name in _HELD_OUT_ROLES:
            raise ManifestError(f"split {name!r} cannot be asked for: it is kept for the rows of that role")
        if not (math.isfinite(value) and 0 < value <= 1):
            raise ManifestError(f"fraction {value!r} of split {name!r} is not above 0 and at most 1")
    if not math.isclose(sum(fractions.values()), 1, abs_tol=1e-6):
        given = ", ".join(f"{name} {value:g}" for name, value in fractions.items())
        raise ManifestError(f"fractions ({given}) add up to {sum(fractions.values()):g}, not to 1")


def _split_trainable(
    table: pd.DataFrame,
    components: NDArray[np.int64],
    trainable: NDArray[np.bool_],
    fractions: Mapping[str, float],
    seed: int,
) -> dict[str, str]:
    groups, classes = _groups(table[trainable], components[trainable])
    _check_enough(groups, classes, fractions)
    shuffled = [groups[i] for i in np.random.default_rng(seed).permutation(len(groups))]
    placement = _place(shuffled, fractions, seats={})
    if _lacking(placement, fractions):
        placement = _place(shuffled, fractions, seats=_seats(shuffled, fractions))
    for split, position in _lacking(placement, fractions):
        raise ManifestError(f"no group of class {classes[position]!r} is left for split {split!r}; use fewer splits")
    return {image_id: split for split, placed in placement.items() for group in placed for image_id in group.ids}


def _groups(table: pd.DataFrame, components: NDArray[np.int64]) -> tuple[list[_Group], list[str]]:
    classes = sorted(set(table["label"]))
    position = {name: k for k, name in enumerate(classes)}
    members: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for component, image_id, label in zip(components, table["image_id"], table["label"], strict=True):
        members[int(component)].append((image_id, position[label]))
    groups = [
        _Group(tuple(i for i, _ in rows), np.bincount([k for _, k in rows], minlength=len(classes)))
        for rows in members.values()
    ]
    return sorted(groups, key=lambda group: group.ids[0]), classes


def _check_enough(groups: list[_Group], classes: list[str], fractions: Mapping[str, float]) -> None:
    present = np.sum([group.counts > 0 for group in groups], axis=0)
    for name, n in zip(classes, present, strict=True):
        if n < len(fractions):
            raise ManifestError(
                f"class {name!r} has {n} group{'' if n == 1 else 's'} of patients or duplicates, fewer than the "
                f"{len(fractions)} splits ({', '.join(fractions)}); add images or use fewer splits"
            )


def _place(groups: list[_Group], fractions: Mapping[str, float], seats: Mapping[int, str]) -> dict[str, list[_Group]]:
    """Place groups, the largest first; ``seats`` holds the split of groups that are placed beforehand."""
    total = np.sum([group.counts for group in groups], axis=0)
    names = sorted(fractions, key=lambda name: -fractions[name])  # a tie goes to the larger split
    target = np.array([fractions[name] for name in names])[:, None] * total
    filled = np.zeros_like(target)
    placement: dict[str, list[_Group]] = {name: [] for name in names}
    order = sorted(range(len(groups)), key=lambda i: (i not in seats, -groups[i].counts.sum()))
    for i in order:
        counts = groups[i].counts
        need = ((target - filled) / target) @ (counts / total)
        best = names.index(seats[i]) if i in seats else int(np.argmax(need))
        filled[best] += counts
        placement[names[best]].append(groups[i])
    return placement


def _lacking(placement: Mapping[str, list[_Group]], fractions: Mapping[str, float]) -> list[tuple[str, int]]:
    lacking = []
    for split in fractions:
        present = np.sum([group.counts for group in placement[split]], axis=0) if placement[split] else None
        n_classes = len(next(group for placed in placement.values() for group in placed).counts)
        lacking += [(split, k) for k in range(n_classes) if present is None or present[k] == 0]
    return lacking


def _seats(groups: list[_Group], fractions: Mapping[str, float]) -> dict[int, str]:
    """Give every class one group in every split, the rarest class first and the smallest groups first."""
    seats: dict[int, str] = {}
    n_groups = np.sum([group.counts > 0 for group in groups], axis=0)
    for k in np.argsort(n_groups, kind="stable"):
        for split in sorted(fractions, key=lambda name: fractions[name]):
            if any(groups[i].counts[k] for i, taken in seats.items() if taken == split):
                continue
            free = [i for i, group in enumerate(groups) if group.counts[k] and i not in seats]
            if free:
                seats[min(free, key=lambda i: ((groups[i].counts > 0).sum(), groups[i].counts.sum(), i))] = split
    return seats


def _hold_out(
    table: pd.DataFrame, components: NDArray[np.int64], trainable: NDArray[np.bool_]
) -> tuple[dict[str, str], pd.DataFrame]:
    """Return the splits of probe and external rows, and those whose group another split has."""
    taken = dict.fromkeys(components[trainable].tolist(), "train")
    splits: dict[str, str] = {}
    aside: list[tuple[str, str, str]] = []
    for role in _HELD_OUT_ROLES:
        for position in np.flatnonzero((table["role"] == role).to_numpy()):
            row, component = table.iloc[position], int(components[position])
            owner = taken.setdefault(component, role)
            if owner == role:
                splits[row["image_id"]] = role
            else:
                reason = f"{role} row that shares a patient or duplicate ({_groups_of(row)}) with a {owner} row"
                aside.append((row["image_id"], row["image"], reason))
    return splits, pd.DataFrame(aside, columns=["image_id", "image", "reason"])


def _groups_of(row: pd.Series) -> str:
    named = (("patient_id", row["patient_id"]), ("dup_group", row["dup_group"]))
    return ", ".join(f"{column} {value}" for column, value in named if value)
