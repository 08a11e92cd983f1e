"""From pairs of duplicates to groups that stay together."""

from __future__ import annotations

import pandas as pd

from cxr.data.manifest import Manifest
from cxr.data.splits import connected_groups


def group_duplicates(pairs: pd.DataFrame) -> dict[str, str]:
    """Return the group of each image that is in a pair; images connected by pairs share one.

    A group is called ``same-`` and the first of its image ids by alphabet.
    """
    ids = sorted({*pairs["image_id_a"], *pairs["image_id_b"]})
    edges = [
        (image_id, str(k))
        for k, pair in enumerate(pairs.itertuples())
        for image_id in (pair.image_id_a, pair.image_id_b)
    ]
    table = pd.DataFrame([*edges, *((image_id, "") for image_id in ids)], columns=["image_id", "pair"])
    components = connected_groups(table, ("image_id", "pair"))
    first: dict[int, str] = {}
    groups = {}
    for image_id, component in sorted(set(zip(table["image_id"], components.tolist(), strict=True))):
        groups[image_id] = f"same-{first.setdefault(component, image_id)}"
    return groups


def with_groups(manifest: Manifest, pairs: pd.DataFrame) -> Manifest:
    """Return a manifest whose ``dup_group`` joins the images of each pair; groups that were there are kept or joined.

    A joined group is called like the first, by alphabet, of those that it joins.
    """
    found = group_duplicates(pairs)
    table = manifest.table[["image_id", "dup_group"]].assign(
        found=[found.get(i, "") for i in manifest.table["image_id"]]
    )
    components = pd.Series(connected_groups(table, ("dup_group", "found")), index=table.index)
    names = table.assign(component=components)
    old = names[names["dup_group"] != ""].groupby("component")["dup_group"].min()
    new = names[names["found"] != ""].groupby("component")["found"].min()
    groups = [str(old.get(component) or new.get(component) or "") for component in components]
    return manifest.with_table(manifest.table.assign(dup_group=groups))
