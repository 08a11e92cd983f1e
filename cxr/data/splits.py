"""Splits that no patient and no duplicate straddles, stratified by class and repeatable from a seed.

Splits that a data set brings are kept on request, the test split above all: what shares a patient with it is taken out
of the others, never the other way round.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cxr.data.manifest import Manifest
from cxr.errors import ManifestError, wrong_use

FRACTIONS: Mapping[str, float] = {"train": 0.7, "val": 0.1, "test": 0.2}
ORDER = ("train", "val", "test", "external", "probe")
_HELD_OUT_ROLES = ("external", "probe")
_GIVES_WAY_LAST = ("test", "external", "probe", "val")  # of splits that are kept, these keep a patient of two of them
_NO_LABEL = ""
_MOST_DRAWS = 40  # of placements, of which the first that is even enough is taken
_GROUPS_TO_DRAW = 200_000  # in all of the draws together: a second or two


@dataclass(frozen=True)
class _Group:
    """Images that stay together: their ids and how many there are of each class (K,)."""

    ids: tuple[str, ...]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class _Task:
    """The rows that get a split, one flag per row of the table, and the class or the findings that each counts for."""

    chosen: NDArray[np.bool_]
    names: list[list[str]]
    by_findings: bool


def in_order(splits: Iterable[str]) -> list[str]:
    """Return the names of splits as people list them: train, val, test, external, probe, then the others, "" last."""
    return sorted(splits, key=lambda name: (name == "", ORDER.index(name) if name in ORDER else len(ORDER), name))


def split_manifest(
    manifest: Manifest,
    fractions: Mapping[str, float] | None = None,
    seed: int = 0,
    keep: Collection[str] = (),
) -> tuple[Manifest, pd.DataFrame]:
    """Give every labelled, trainable row a split; whole groups go together.

    A group is a connected component over ``patient_id`` and ``dup_group``: if A and B share a patient, and B and C are
    duplicates, all three stay together. Rows of role ``probe`` or ``external`` get a split of that name, unless their
    group holds a trainable row; ``intermediate`` and unlabelled rows get "". A group is drawn into a split by the seed,
    the largest ones first: a patient with many images is as often in test as one with few, unless the patient is more
    than half of a class there. The result depends on ids, labels, groups and seed, not on the row order.
    Where no row has a label, rows with findings are placed instead, by their findings; a rare finding may then be
    absent from a split.

    Parameters
    ----------
    fractions
        ``{split: share}`` of the rows that get a new split; by default train 0.7, val 0.1 and test 0.2, without those
        in ``keep`` and in the same proportion. Empty, with ``keep``: no row is placed again.
    keep
        Splits whose rows stay as they are, unlabelled ones too. Every other row of their groups is set aside. If two
        kept splits share a group, test keeps it before external, probe, val and the others.

    Returns
    -------
    Manifest
        With a new ``split``.
    DataFrame
        ``image_id, image, reason`` of the rows that were set aside (split "").

    Raises
    ------
    ManifestError
        For fractions that are not positive or do not add up to 1, a split to keep that is not there, nothing to split,
        or a class with too few groups.
    """
    shares = _fractions(manifest, fractions, keep)
    table = manifest.table.sort_values("image_id", ignore_index=True)
    components = connected_groups(table, ("patient_id", "dup_group"))
    splits, owners = _kept_splits(table, components, keep)
    set_aside = _conflicting_rows(table, components, owners, splits)
    if shares:
        free = ~table["split"].isin(list(keep)).to_numpy() & ~np.isin(components, list(owners))
        task = _task(table, free, keeps=bool(keep))
        if task.chosen.any():
            splits |= _split_trainable(table, components, task, shares, seed)
            owners = dict.fromkeys(components[task.chosen].tolist(), "train") | owners
        elif fractions is not None or not keep:  # with the default shares, to keep all there is asks for no more
            raise ManifestError(_nothing_to_split(table[free]))
    held_out, remaining = _hold_out(table, components, owners, splits)
    result = manifest.with_splits(splits | held_out)
    result.check_splits()
    return result, pd.DataFrame([*set_aside, *remaining], columns=["image_id", "image", "reason"])


def connected_groups(table: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.int64]:
    """Return the number of the connected component of each row; rows that share a value of a column are connected.

    An empty value connects nothing.
    """
    n = len(table)
    rows, nodes, offset = [], [], n
    for column in columns:
        positions = np.flatnonzero((table[column] != "").to_numpy())
        codes, names = pd.factorize(table[column].to_numpy()[positions])
        rows.append(positions)
        nodes.append(codes + offset)
        offset += len(names)
    edges = (np.concatenate(rows), np.concatenate(nodes))
    graph = coo_array((np.ones(len(edges[0]), np.int8), edges), shape=(offset, offset))
    return connected_components(graph, directed=False)[1][:n].astype(np.int64)


def _fractions(manifest: Manifest, fractions: Mapping[str, float] | None, keep: Collection[str]) -> Mapping[str, float]:
    """Return the shares of the new splits, checked."""
    for name in keep:
        if name not in manifest.splits:
            split_names = ", ".join(in_order(manifest.splits)) or "none"
            raise wrong_use(
                ManifestError(f"split {name!r} cannot be kept: the data set has no such split. Found: {split_names}")
            )
    if fractions is None:
        shares = {name: share for name, share in FRACTIONS.items() if name not in keep}
        return {name: share / sum(shares.values()) for name, share in shares.items()}
    if fractions or not keep:
        _check_fractions(fractions, keep)
    return fractions


def _check_fractions(fractions: Mapping[str, float], keep: Collection[str]) -> None:
    for name, value in fractions.items():
        if not name or name in _HELD_OUT_ROLES:
            raise wrong_use(ManifestError(f"split {name!r} cannot be requested: it is reserved for rows of that role"))
        if name in keep:
            raise wrong_use(
                ManifestError(f"split {name!r} is to be kept and to get the share {value:g}: choose one of the two")
            )
        if not (math.isfinite(value) and 0 < value <= 1):
            raise wrong_use(ManifestError(f"fraction {value!r} of split {name!r} is not above 0 and at most 1"))
    if not math.isclose(sum(fractions.values()), 1, abs_tol=1e-6):
        fractions_text = ", ".join(f"{name} {value:g}" for name, value in fractions.items())
        raise ManifestError(f"fractions ({fractions_text}) add up to {sum(fractions.values()):g}, not to 1")


def _kept_splits(
    table: pd.DataFrame, components: NDArray[np.int64], keep: Collection[str]
) -> tuple[dict[str, str], dict[int, str]]:
    """Return the splits of the rows that keep theirs, and the kept split that owns each group which has one."""
    owners: dict[int, str] = {}
    for split in sorted(keep, key=lambda s: _GIVES_WAY_LAST.index(s) if s in _GIVES_WAY_LAST else len(_GIVES_WAY_LAST)):
        for component in set(components[(table["split"] == split).to_numpy()].tolist()):
            owners.setdefault(component, split)
    rows = zip(table["image_id"], table["split"], components.tolist(), strict=True)
    return {image_id: split for image_id, split, component in rows if split and owners.get(component) == split}, owners


def _conflicting_rows(
    table: pd.DataFrame, components: NDArray[np.int64], owners: Mapping[int, str], splits: Mapping[str, str]
) -> list[tuple[str, str, str]]:
    """Return ``image_id, image, reason`` of the rows that could be learnt from, but whose group a kept split owns."""
    owned = np.isin(components, list(owners)) & ~table["image_id"].isin(list(splits)).to_numpy()
    usable = ((table["split"] != "") | (table["label"] != "")) & table["role"].isin(["", "train"])
    return [
        (row["image_id"], row["image"], _shares(row, row["split"], owners[int(components[position])], " that is kept"))
        for position in np.flatnonzero(owned & usable.to_numpy())
        for row in [table.iloc[position]]
    ]


def _task(table: pd.DataFrame, free: NDArray[np.bool_], keeps: bool) -> _Task:
    """Choose the rows to place: the labelled ones, with ``keeps`` those that have a split too, else by findings."""
    trainable = free & table["role"].isin(["", "train"]).to_numpy()
    labelled = trainable & (table["label"] != "").to_numpy()
    with_findings = trainable & (table["findings"] != "").to_numpy()
    if not labelled.any():
        return _Task(with_findings, [_findings(text) for text in table["findings"]], by_findings=True)
    chosen = labelled | (with_findings & (table["split"] != "").to_numpy()) if keeps else labelled
    return _Task(chosen, [[label] for label in table["label"]], by_findings=False)


def _findings(text: str) -> list[str]:
    return [name.strip().removeprefix("?") for name in text.split("|") if name.strip()]


def _nothing_to_split(table: pd.DataFrame) -> str:
    if table.empty:
        return "no row to split: every row is in a split that is kept, or shares a patient or a duplicate with one"
    others = sorted(set(table["role"]) - {"", "train"})
    if others and not table["role"].isin(["", "train"]).any():
        return (
            f"no row to split: all {len(table)} have the role {' or '.join(others)}, none has the role train. "
            "Such a data set is measured as a whole"
        )
    return "no row to split: none has a label and the role train (or no role)"


def _split_trainable(
    table: pd.DataFrame,
    components: NDArray[np.int64],
    task: _Task,
    fractions: Mapping[str, float],
    seed: int,
) -> dict[str, str]:
    names = [names for names, chosen in zip(task.names, task.chosen, strict=True) if chosen]
    groups, classes = _groups(table[task.chosen], components[task.chosen], names)
    # Each class is needed in each split; of findings only that no split is empty.
    needed = [] if task.by_findings else [k for k, name in enumerate(classes) if name != _NO_LABEL]
    _check_enough(groups, classes, fractions, needed)
    rng = np.random.default_rng(seed)
    shuffled = [groups[i] for i in rng.permutation(len(groups))]
    placement = _place(shuffled, fractions, {}, rng)
    if _lacking(placement, fractions, needed):
        placement = _place(shuffled, fractions, _seats(shuffled, fractions, needed), rng)
    for split, position in _lacking(placement, fractions, needed):
        missing = f"class {classes[position]!r}" if needed else "patients or duplicates"
        raise ManifestError(f"no group of {missing} is left for split {split!r}; use fewer splits")
    return {image_id: split for split, placed in placement.items() for group in placed for image_id in group.ids}


def _groups(
    table: pd.DataFrame, components: NDArray[np.int64], names: list[list[str]]
) -> tuple[list[_Group], list[str]]:
    classes = sorted({name for row in names for name in row})
    position = {name: k for k, name in enumerate(classes)}
    members: dict[int, list[tuple[str, list[str]]]] = defaultdict(list)
    for component, image_id, row in zip(components.tolist(), table["image_id"], names, strict=True):
        members[component].append((image_id, row))
    groups = [
        _Group(
            tuple(image_id for image_id, _ in rows),
            np.bincount([position[name] for _, row in rows for name in row], minlength=len(classes)),
        )
        for rows in members.values()
    ]
    return sorted(groups, key=lambda group: group.ids[0]), classes


def _check_enough(
    groups: list[_Group], classes: list[str], fractions: Mapping[str, float], needed: Sequence[int]
) -> None:
    present = np.sum([group.counts > 0 for group in groups], axis=0)
    counts = [(f"class {classes[k]!r}", int(present[k])) for k in needed] or [("the data set", len(groups))]
    for name, n in counts:
        if n < len(fractions):
            raise ManifestError(
                f"{name} has {n} group{'' if n == 1 else 's'} of patients or duplicates, fewer than the "
                f"{len(fractions)} splits ({', '.join(fractions)}); add images or use fewer splits"
            )


def _place(
    groups: list[_Group], fractions: Mapping[str, float], seats: Mapping[int, str], rng: np.random.Generator
) -> dict[str, list[_Group]]:
    """Return the groups of each split; ``seats`` holds the split of groups that are placed beforehand.

    Placements are drawn until one keeps the fractions as well as the even one does, which puts every group where its
    classes are most lacking; else the best of the draws is taken.
    """
    names = sorted(fractions, key=lambda name: -fractions[name])  # a tie goes to the larger split
    counts = np.stack([group.counts for group in groups])
    target = np.array([fractions[name] for name in names])[:, None] * counts.sum(axis=0)
    fixed = {i: names.index(split) for i, split in seats.items()}
    even = _unevenness(_placed(counts, target, fixed, None), counts, target)
    best, least = np.zeros(0, np.int64), np.inf
    for _ in range(max(1, min(_MOST_DRAWS, _GROUPS_TO_DRAW // len(groups)))):
        drawn = _placed(counts, target, fixed, rng)
        unevenness = _unevenness(drawn, counts, target)
        if unevenness < least:
            best, least = drawn, unevenness
        if least <= even + 1e-9:
            break
    return {name: [groups[i] for i in np.flatnonzero(best == k)] for k, name in enumerate(names)}


def _placed(
    counts: NDArray[np.int64], target: NDArray[np.float64], fixed: Mapping[int, int], rng: np.random.Generator | None
) -> NDArray[np.int64]:
    """Return the split of each group, (G,), the largest placed first; ``fixed`` ones before them.

    With ``rng`` a group is drawn into one of the splits that have room for it, each as likely as its room is large, so
    that a large group is as often in a small split as a small group is. Without room for it, or without ``rng``, it
    goes where its classes are most lacking.
    """
    total, sizes = counts.sum(axis=0), counts.sum(axis=1)
    room_left, split_of = target.copy(), np.zeros(len(counts), np.int64)
    for i in sorted(range(len(counts)), key=lambda i: (i not in fixed, -sizes[i])):
        classes = np.flatnonzero(counts[i])
        count = counts[i, classes]
        # A split of one patient says little: several images of a class may be half of what it is to have, not more.
        room = room_left[:, classes] >= count
        room &= (count == 1) | (count <= target[:, classes] / 2)
        open_splits = np.flatnonzero(room.all(axis=1))
        if i in fixed:
            k = fixed[i]
        elif rng is not None and len(open_splits):
            chances = (room_left[:, classes] * (count / total[classes])).sum(axis=1)[open_splits]
            k = int(open_splits[np.searchsorted(chances.cumsum(), rng.random() * chances.sum(), side="right")])
        else:
            k = int(np.argmax((room_left[:, classes] / target[:, classes]) @ (count / total[classes])))
        room_left[k, classes] -= count
        split_of[i] = k
    return split_of


def _unevenness(split_of: NDArray[np.int64], counts: NDArray[np.int64], target: NDArray[np.float64]) -> float:
    """Return how far the images of each class in each split are from what they should be: 0 is exact."""
    filled = np.stack([counts[split_of == k].sum(axis=0) for k in range(len(target))])
    return float(((filled - target) ** 2 / target).sum())


def _lacking(
    placement: Mapping[str, list[_Group]], fractions: Mapping[str, float], needed: Sequence[int]
) -> list[tuple[str, int]]:
    """Return the splits that lack a class which is needed, each with the class; class 0 for an empty split."""
    lacking = []
    for split in fractions:
        if not placement[split]:
            lacking += [(split, k) for k in needed or [0]]
        else:
            present = np.sum([group.counts for group in placement[split]], axis=0)
            lacking += [(split, k) for k in needed if present[k] == 0]
    return lacking


def _seats(groups: list[_Group], fractions: Mapping[str, float], needed: Sequence[int]) -> dict[int, str]:
    """Give every class one group in every split, the rarest class first and the smallest groups first.

    Where no class is ``needed`` everywhere, each split gets one group of any findings: a finding that few groups have
    must not draw all of them into one split.
    """
    seats: dict[int, str] = {}
    if not needed:
        smallest = sorted(range(len(groups)), key=lambda i: (groups[i].counts.sum(), i))
        return dict(zip(smallest, sorted(fractions, key=lambda name: fractions[name]), strict=False))
    n_groups = np.sum([group.counts > 0 for group in groups], axis=0)
    for k in np.argsort(n_groups, kind="stable"):
        for split in sorted(fractions, key=lambda name: fractions[name]):
            if any(groups[i].counts[k] for i, seat in seats.items() if seat == split):
                continue
            free = [i for i, group in enumerate(groups) if group.counts[k] and i not in seats]
            if free:
                seats[min(free, key=lambda i: ((groups[i].counts > 0).sum(), groups[i].counts.sum(), i))] = split
    return seats


def _hold_out(
    table: pd.DataFrame, components: NDArray[np.int64], owners: Mapping[int, str], splits: Mapping[str, str]
) -> tuple[dict[str, str], list[tuple[str, str, str]]]:
    """Return the splits of probe and external rows, and ``image_id, image, reason`` of those that may not have theirs.

    ``owners`` has the split, or the role, of each group that is taken; rows in ``splits`` have theirs already.
    """
    all_owners = dict(owners)
    held_out: dict[str, str] = {}
    set_aside: list[tuple[str, str, str]] = []
    for role in _HELD_OUT_ROLES:
        for position in np.flatnonzero((table["role"] == role).to_numpy()):
            row, component = table.iloc[position], int(components[position])
            if row["image_id"] in splits:
                continue
            owner = all_owners.setdefault(component, role)
            if owner == role:
                held_out[row["image_id"]] = role
            else:
                set_aside.append((row["image_id"], row["image"], _shares(row, role, owner)))
    return held_out, set_aside


def _shares(row: pd.Series, kind: str, owner: str, suffix: str = "") -> str:
    keys = (("patient_id", row["patient_id"]), ("dup_group", row["dup_group"]))
    groups = ", ".join(f"{column} {value!r}" for column, value in keys if value)
    return f"{kind or 'unsplit'} row that shares a patient or duplicate ({groups}) with a {owner} row{suffix}"
