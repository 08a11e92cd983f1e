"""Which classes a run explains on each X-ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxr.errors import ExplainError, unknown
from cxr.models.card import MULTI_LABEL

if TYPE_CHECKING:
    from cxr.models import XrayClassifier

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
            raise ExplainError(unknown("target", text, (*words, *model.classes)))
        return cls(word=text)

    def __str__(self) -> str:
        return self.word or self.name
