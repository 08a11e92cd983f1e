"""What a masking experiment is asked for, checked."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from cxr.errors import TextError, wrong_use
from cxr.evaluation.settings import OnNetwork, check_ids
from cxr.experiments.masking.conditions import DEFAULT_DRAWS, Masking
from cxr.json_types import JsonObject
from cxr.text.mask import DEFAULT_MARGIN, DEFAULT_MODE
from cxr.text.search import in_split

DEFAULT_EXPLAINED = 50


class Setting(OnNetwork):
    """What a run is asked for.

    Attributes
    ----------
    split
        The X-rays to mask; "" takes every image.
    modes
        Names of mask modes, the first of which leads.
    margin, draws, seed
        How far boxes grow and how the controls are drawn, see :class:`~cxr.experiments.masking.conditions.Masking`.
    workers
        Processes that search for text.
    ids
        Only these X-rays of the split, picked by hand; None for all.
    n
        The first n images.
    include_seen
        Keep X-rays that the network was trained or chosen on; they are left out otherwise, as by an evaluation.
    explained
        How many X-rays with text get a heatmap; 0 for none.

    Raises
    ------
    TextError
        For what :class:`Masking` or the counts do not allow.
    """

    split: str = "test"
    modes: tuple[str, ...] = (DEFAULT_MODE,)
    margin: float = DEFAULT_MARGIN
    draws: int = DEFAULT_DRAWS
    seed: int = 0
    workers: int | None = None
    ids: tuple[str, ...] | None = None
    n: int | None = Field(default=None, ge=1)
    include_seen: bool = False
    explained: int = DEFAULT_EXPLAINED

    @model_validator(mode="before")
    @classmethod
    def _modes_of_older_versions(cls, values: Any) -> Any:
        """Take ``mode`` for one mode, as older runs have it; empty values mean the default."""
        values = dict(values)
        values = {name: value for name, value in values.items() if name == "ids" or value not in (None, [], ())}
        mode = values.pop("mode", None)
        modes = values.get("modes") or mode
        if modes:
            values["modes"] = tuple(dict.fromkeys([modes] if isinstance(modes, str) else modes))
        return values

    @field_validator("ids")
    @classmethod
    def _are_some(cls, ids: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if ids is not None and not ids:
            raise wrong_use(TextError("ids: none given. Accepted: one image id or more, or None for the whole split"))
        return tuple(dict.fromkeys(ids)) if ids else ids

    @model_validator(mode="after")
    def _is_possible(self) -> Setting:
        if self.explained < 0:
            raise wrong_use(TextError(f"explained {self.explained} is not allowed. Accepted: 0 or more images"))
        assert self.masking.modes  # which checks all that it holds
        return self

    @property
    def masking(self) -> Masking:
        """How tokens are masked."""
        return Masking(self.modes, self.margin, self.draws, self.seed)

    def check(self) -> list[str]:
        """Raise a CxrError if the network cannot be loaded, the split has no X-rays, or one of ``ids`` is not in it."""
        check_ids(in_split(self.data, self.split), self.ids or (), self.split)
        return super().check()

    def splits_looked_at(self) -> tuple[str, ...]:
        """Return the names of the splits that the run looks at: without a split those of the picked X-rays."""
        if self.ids is None or self.split:
            return super().splits_looked_at()
        return tuple(self.data.select(ids=self.ids).splits)

    def default_name(self) -> str:
        """Return the run's name."""
        picked = f"{len(self.ids):,} picked" if self.ids else ""
        return " ".join(filter(None, ("text", self.data_set, self.split, picked)))


def is_of_whole_split(params: JsonObject) -> bool:
    """Return whether an experiment with these parameters, as a spec stores them, is of all X-rays of its split."""
    return params.get("ids") is None and params.get("n") is None
