"""Names for values whose shape no type here can describe."""

from __future__ import annotations

from typing import Any

JsonObject = dict[str, Any]
"""An object that was just read from JSON, or is written as JSON, and whose keys are not ours to list: the parameters
of any kind of run before its model has checked them, a row of metrics of any kind, a recipe or a network's card as
plain values, changes that a user writes in YAML, options that importers declare. Where the keys are known, a dataclass
or a TypedDict stands instead."""
