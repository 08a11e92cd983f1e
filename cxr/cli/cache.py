"""``cxr cache``: disk space of decoded images, and their removal."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from cxr.cli.output import Json, emit, say, show_table

app = typer.Typer(help="Show and clear the decoded images that runs share.")


@app.callback(invoke_without_command=True)
def _default(context: typer.Context, as_json: Json = False) -> None:
    """Show and clear the decoded images that runs share; without a command as ``show``."""
    if context.invoked_subcommand is None:
        show(as_json)


@app.command("show")
def show(as_json: Json = False) -> None:
    """List the image caches, their size and the size limit (set CXR_CACHE_GB to change it)."""
    from cxr.data.images.cache_limit import gigabytes, limit_bytes, usage
    from cxr.paths import cache_root

    root = cache_root() / "images"
    stores = usage(root)
    total = sum(store.bytes for store in stores)
    limit = limit_bytes(root, total)
    value = {
        "folder": str(root),
        "stores": [store.to_dict() for store in stores],
        "bytes": total,
        "limit_bytes": limit,
    }

    def show_to_people(_: Any) -> None:
        columns = ["name", "size", "treatment", "images", "unreadable", "takes", "last used", "state"]
        if stores:
            show_table("", columns, [_row(store) for store in stores])
        say(f"{gigabytes(total)} of at most {gigabytes(limit)} in {root}")
        if any(not store.is_current for store in stores):
            say("`cxr cache clear` removes images that this version cannot use")

    emit(value, as_json, show_to_people)


def _row(store: Any) -> list[Any]:
    from cxr.data.images.cache_limit import gigabytes

    used = datetime.fromtimestamp(store.used).strftime("%Y-%m-%d %H:%M") if store.used else ""
    state = "in use" if store.in_use else "" if store.is_current else "from another version"
    sizes = [str(store.size), store.treatment, store.images, store.unreadable]
    return [store.name, *sizes, gigabytes(store.bytes), used, state]


@app.command("clear")
def clear(
    older_than: Annotated[
        float | None, typer.Option(metavar="DAYS", min=0, help="Only images not opened for this many days.")
    ] = None,
    size: Annotated[int | None, typer.Option(metavar="PX", min=1, help="Only images of this size.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All images, whatever their size and age.")] = False,
    as_json: Json = False,
) -> None:
    """Remove decoded images; without an option, those that this version cannot use.

    Images that a run is using stay. Removed images are decoded again when needed.
    """
    from cxr.data.images.cache_limit import clear as remove
    from cxr.data.images.cache_limit import gigabytes
    from cxr.paths import cache_root

    if everything and (older_than is not None or size is not None):
        raise typer.BadParameter("it means every size and age: leave out --older-than and --size", param_hint="'--all'")
    freed = remove(cache_root() / "images", older_than_days=older_than, size=size, everything=everything)

    def show_to_people(_: Any) -> None:
        say(f"{gigabytes(freed.bytes)} freed")
        if freed.kept_bytes:
            say(f"{gigabytes(freed.kept_bytes)} stay: they are in use")

    emit({"freed_bytes": freed.bytes, "kept_bytes": freed.kept_bytes}, as_json, show_to_people)
