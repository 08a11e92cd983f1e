"""What can be done with X-rays of the grid: side by side, a table, a ZIP of pictures, a run on them."""

from __future__ import annotations

import io
import zipfile
from functools import partial

import pandas as pd
import streamlit as st

from cxr.data.images.resize import fit_square
from cxr.explain.render import overlay, to_png
from cxr.explain.run_files import safe_names
from cxr.runs import Run

from sections.grid import starting, tiles
from sections.grid.rows import caption, read_map
from services import explaining, load
from widgets import browse, page, pick
from widgets.panes import component
from widgets.panes.component import Pane, Scene
from widgets.subject import Subject

MOST_BESIDE = 6
MOST_PICTURES = 500
_SIDE = 384


def show(chosen: Subject, rows: pd.DataFrame, selected: tuple[str, ...], run: Run | None) -> None:
    """Show the row of buttons above the grid; they work on the selected X-rays, or on all that are shown."""
    of = rows[rows["image_id"].isin(selected)] if selected else rows
    words = f"{len(selected)} selected" if selected else f"all {len(rows)}"
    cells = st.columns([5, 3, 4, 3, 3, 4, 4], vertical_alignment="center")
    cells[0].markdown(f"**{page.counted(len(rows), 'X-ray')}** · {len(selected)} selected")
    if selected:
        cells[1].button("Select none", key="grid:none", on_click=tiles.select, args=((),), width="stretch")
    else:
        every = rows["image_id"].tolist()
        cells[1].button("Select all", key="grid:all", on_click=tiles.select, args=(every,), width="stretch")
    if cells[2].button(
        "Side by side",
        key="grid:beside:button",
        icon=":material/view_week:",
        disabled=not 2 <= len(selected) <= MOST_BESIDE,
        help=f"Select 2 to {MOST_BESIDE} X-rays.",
        width="stretch",
    ):
        _beside(chosen, of, run)
    cells[3].download_button(
        "CSV",
        partial(_csv, of),
        _csv_name(chosen),
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
        key="grid:csv",
        help=f"The rows of {words}.",
        width="stretch",
    )
    cells[4].download_button(
        "ZIP",
        partial(_zip, chosen, of.head(MOST_PICTURES), run),
        f"{chosen.data_name}_{chosen.split or 'all'}.zip",
        "application/zip",
        icon=":material/folder_zip:",
        on_click="ignore",
        key="grid:zip",
        help=f"Pictures (PNG) and rows of {words}, at most {MOST_PICTURES}.",
        width="stretch",
    )
    for_run = starting.Selection(chosen, tuple(of["image_id"]), bool(selected), _csv_name(chosen))
    with cells[5].popover("Explain", width="stretch"):
        starting.explain(for_run, starting.method_of(run))
    with cells[6].popover("Mask text", width="stretch"):
        starting.mask_text(for_run)
    starting.watch_masking(chosen)


@st.dialog("Side by side", width="large")
def _beside(chosen: Subject, rows: pd.DataFrame, run: Run | None) -> None:
    component.show(scene(chosen, rows, run), key="grid:viewer")


def scene(chosen: Subject, rows: pd.DataFrame, run: Run | None) -> Scene:
    """Return X-rays beside each other, with their maps where there are some, at one colour scale and one zoom."""
    images, maps, panes = [], [], []
    for row in rows.to_dict("records"):
        xray = explaining.of_manifest(chosen.data, str(row["image_id"]))
        words = f"{xray.id}: {caption({str(name): value for name, value in row.items()})}"
        images.append((xray.stamp, xray.pixels))
        if run is None:
            panes.append(Pane("xray", words, len(images) - 1))
        else:
            maps.append(("first", read_map(run, int(row["row"]), float(row["scale"]))))
            panes.append(Pane("overlay", f"{words} · {row['target']}", len(images) - 1, len(maps) - 1))
    return Scene(
        subject=":".join(stamp for stamp, _ in images),
        images=images,
        maps=maps,
        panes=panes,
        legend=[pane.title for pane in panes],
        name="side_by_side",
        regions=False,
    )


def _columns(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows as a table for others: without lists and places in files."""
    return rows.drop(columns=["names", "said", "row", "scale"], errors="ignore")


def _csv_name(chosen: Subject) -> str:
    return f"{chosen.data_name}_{chosen.split or 'all'}.csv"


def _csv(rows: pd.DataFrame) -> str:
    return _columns(rows).to_csv(index=False)


def _zip(chosen: Subject, rows: pd.DataFrame, run: Run | None) -> bytes:
    """Return a ZIP of the pictures, each with its map where there is one, and of the rows."""
    content, names = io.BytesIO(), safe_names(rows["image_id"].tolist())
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("rows.csv", _csv(rows))
        for row in rows.to_dict("records"):
            image = fit_square(load.xray(chosen.data, str(row["image_id"])), _SIDE)
            if run is not None:
                image = overlay(image, read_map(run, int(row["row"]), float(row["scale"])), percentile=99.5)
            archive.writestr(f"{names[str(row['image_id'])]}.png", to_png(image))
    return content.getvalue()


def open_one(image_id: str) -> None:
    """Leave the grid for one X-ray."""
    browse.go(image_id)
    st.session_state["explorer:look"] = "one"


def show_one() -> None:
    """Leave the grid: for use in a callback."""
    st.session_state["explorer:look"] = "one"


def show_grid() -> None:
    """Enter the grid: for use in a callback."""
    st.session_state["explorer:look"] = "grid"


def tell_look() -> bool:
    """Read whether the grid is looked at, from the address or from what was chosen, and write it there."""
    pick.arrive("explorer:look", "look", "one", allowed=("one", "grid"))
    grid = st.session_state["explorer:look"] == "grid"
    pick.leave("look", "grid" if grid else "one", "one")
    return grid
