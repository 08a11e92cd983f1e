"""What a masking experiment is asked for, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cxr.errors import TextError
from cxr.experiments.masking.conditions import DEFAULT_DRAWS, Masking
from cxr.text.mask import DEFAULT_MARGIN, DEFAULT_MODE

if TYPE_CHECKING:
    pass

DEFAULT_EXPLAINED = 50


@dataclass(frozen=True)
class Setting:
    """What a run was asked for, checked."""

    model: str
    manifest: str
    split: str = "test"
    masking: Masking = field(default_factory=Masking)
    workers: int | None = None
    limit: int | None = None
    explained: int = DEFAULT_EXPLAINED
    device: str = "auto"

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Setting:
        """Read ``spec["params"]``; raises TextError for what :class:`Masking` or the counts do not allow."""
        modes = params.get("modes") or params.get("mode") or DEFAULT_MODE
        masking = Masking(
            tuple(dict.fromkeys([modes] if isinstance(modes, str) else modes)),
            float(params.get("margin", DEFAULT_MARGIN)),
            int(params.get("draws", DEFAULT_DRAWS)),
            int(params.get("seed", 0)),
        )
        explained = int(params.get("explained", DEFAULT_EXPLAINED))
        if explained < 0:
            raise TextError(f"{explained} explained images are not possible. Accepted: 0 and above")
        return cls(
            model=str(params["model"]),
            manifest=str(params["manifest"]),
            split=str(params.get("split", "test")),
            masking=masking,
            workers=params.get("workers"),
            limit=params.get("n"),
            explained=explained,
            device=str(params.get("device") or "auto"),
        )
