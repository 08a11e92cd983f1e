"""Which X-rays have the most of their relevance in a region."""

from __future__ import annotations

import pandas as pd

from cxr.formatting import NOTHING


def ranked(table: pd.DataFrame, region: str) -> pd.DataFrame:
    """Return the rows of images that have a region, those with the largest share of relevance in it first."""
    if f"share_{region}" not in table:
        return table.iloc[:0]
    own = table[table[f"share_{region}"].notna()]
    return own.sort_values([f"share_{region}", "image_id"], ascending=[False, True], kind="stable")


def ranked_cells(table: pd.DataFrame, region: str) -> list[dict[str, str]]:
    """Return the rows of :func:`ranked` as people read them, by column."""
    return [
        {
            "X-ray": str(row["image_id"]),
            "label": str(row["true"]),
            "explained": str(row["explained"]),
            "relevance": f"{100 * row[f'share_{region}']:.1f} %",
            "area": f"{100 * row[f'area_{region}']:.1f} %",
            "gain": f"{row[f'gain_{region}']:.2g}",
            "logit without it": f"{row[f'logit_change_{region}']:+.3f}",
            "changed elsewhere": _signed(row[f"control_change_{region}"]),
        }
        for row in ranked(table, region).to_dict("records")
    ]


def _signed(value: float) -> str:
    return NOTHING if pd.isna(value) else f"{value:+.3f}"
