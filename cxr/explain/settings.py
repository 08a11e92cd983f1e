"""The parameters of the runs that explain many X-rays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from cxr.errors import ExplainError, unknown, wrong_use
from cxr.evaluation.settings import OnNetwork, check_ids
from cxr.json_types import JsonObject
from cxr.models.card import MULTI_LABEL

if TYPE_CHECKING:
    from cxr.explain.heatmap import Method
    from cxr.models import XrayClassifier

DEFAULT_PREVIEWS = 24


class ExplainParams(OnNetwork):
    """What a run of explanations is asked for.

    Attributes
    ----------
    ids
        Only these images of ``split``, or of the whole manifest; None for all.
    n
        The first n of them.
    targets
        A class, or ``predicted``, ``label`` or ``all`` (see :class:`Targets`).
    composite, bias, precision, options
        How it is explained (see :func:`cxr.explain.explain`); "" is the default composite.
    batch
        Images at once; 0 takes the default.
    previews
        How many pictures with their legend are drawn.
    """

    ids: tuple[str, ...] | None = None
    split: str | None = None
    n: int | None = Field(default=None, ge=1)
    composite: str = ""
    targets: str = ""
    bias: str | None = None
    precision: str | None = None
    options: JsonObject = Field(default_factory=dict)
    batch: int = Field(default=0, ge=0)
    previews: int = Field(default=DEFAULT_PREVIEWS, ge=0)

    def default_name(self) -> str:
        """Return the run's name."""
        return f"explain {self.split or self.data_set}"

    def method(self) -> Method:
        """Return the composite with its settings; raises ExplainError for unknown ones."""
        from cxr.explain.composites import DEFAULT_COMPOSITE
        from cxr.explain.heatmap import Method

        return Method.of(self.composite or DEFAULT_COMPOSITE, self.bias, self.precision, self.options)

    def check(self) -> list[str]:
        """Raise a CxrError if the network cannot be loaded, or the method, the target or one of ``ids`` is unknown."""
        from cxr.networks import load_network

        self.method()
        Targets.of(self.targets, load_network(self.network)[0])
        if self.ids:
            check_ids(self.data.select(split=self.split or None), self.ids, self.split or "")
        self.refuse_locked()
        return []

    def splits_looked_at(self) -> tuple[str, ...]:
        """Return the splits of a whole look; single images are not a measure."""
        return () if self.ids else super().splits_looked_at()


PREDICTED, LABEL, ALL = "predicted", "label", "all"


@dataclass(frozen=True)
class Targets:
    """The classes to explain: a word for them (``predicted``, ``label``, ``all``), or the name of one."""

    word: str = ""
    name: str = ""

    @classmethod
    def of(cls, text: str | None, model: XrayClassifier) -> Targets:
        """Return what ``text`` means for a network, nothing being ``predicted``; a class called by a word goes first.

        Of several findings ``predicted`` is the most probable one, and there is no single label.

        Raises
        ------
        ExplainError
            For neither a word nor a class of the network.
        """
        if not text:
            return cls(word=PREDICTED)
        if text in model.classes:
            return cls(name=text)
        words = (PREDICTED, ALL) if model.card.task == MULTI_LABEL else (PREDICTED, LABEL, ALL)
        if text not in words:
            raise wrong_use(ExplainError(unknown("target", text, (*words, *model.classes))))
        return cls(word=text)

    def __str__(self) -> str:
        return self.word or self.name
