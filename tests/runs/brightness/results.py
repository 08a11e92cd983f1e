"""What came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Brightness:
    """The mean grey (0 to 255) of each group."""

    groups: Mapping[str, float]

    @classmethod
    def of(cls, values: Mapping[str, Sequence[float]]) -> Brightness:
        return cls({name: sum(group) / len(group) for name, group in values.items()})

    def to_dict(self) -> dict[str, Any]:
        return {"groups": dict(self.groups)}
