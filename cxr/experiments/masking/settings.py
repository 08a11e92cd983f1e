"""What a masking experiment is asked for, checked."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from cxr.errors import TextError, wrong_use
from cxr.evaluation.settings import OnNetwork
from cxr.experiments.masking.conditions import DEFAULT_DRAWS, Masking
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
    n: int | None = Field(default=None, ge=1)
    include_seen: bool = False
    explained: int = DEFAULT_EXPLAINED

    @model_validator(mode="before")
    @classmethod
    def _modes_of_older_versions(cls, values: Any) -> Any:
        """Take ``mode`` for one mode, as older runs have it; empty values mean the default."""
        values = {name: value for name, value in dict(values).items() if value not in (None, [], ())}
        mode = values.pop("mode", None)
        modes = values.get("modes") or mode
        if modes:
            values["modes"] = tuple(dict.fromkeys([modes] if isinstance(modes, str) else modes))
        return values

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
        """Raise a CxrError if the network cannot be loaded, or the split has no X-rays."""
        in_split(self.data, self.split)
        return super().check()

    def default_name(self) -> str:
        """Return the run's name."""
        return f"text {self.data_set} {self.split}".strip()
