"""Which public data set a table is of, by its columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from cxr.data.importers.import_options import TableOptions
from cxr.data.importers.listing import Source
from cxr.data.manifest import COLUMNS


def recognise(
    columns: Collection[str], options: TableOptions, public_sets: Sequence[Source[Any]]
) -> Source[Any] | None:
    """Return the public data set whose columns these are, None for a table of anything else.

    A table of our own is none, nor one whose image the caller finds in another column, nor, where columns are mapped,
    one whose importer maps none.
    """
    names = [str(column) for column in columns]
    if set(COLUMNS) <= set(names) or "image" in names:
        return None
    public_set = next(
        (source for source in public_sets if source.recognises is not None and source.recognises(names)), None
    )
    if public_set is None or options.columns.get("image", public_set.image_column) != public_set.image_column:
        return None
    return None if options.columns and not issubclass(public_set.options, TableOptions) else public_set
