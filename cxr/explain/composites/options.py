"""Options of composites: what is accepted, the default, and what each means in one line.

The command line's help, pickers and error messages are made from them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from cxr.errors import ExplainError, unknown, wrong_use


@dataclass(frozen=True)
class Option(ABC):
    """An option of a composite.

    Attributes
    ----------
    default
        Its value unless another is given.
    meaning
        One line for people.
    """

    default: Any
    meaning: str

    @property
    @abstractmethod
    def accepted(self) -> str:
        """The values that are accepted, in words."""

    @abstractmethod
    def checked(self, name: str, value: Any) -> Any:
        """Return a value that was given for the option ``name``; raises ExplainError with what is accepted."""

    def _refused(self, name: str, value: Any) -> ExplainError:
        return wrong_use(ExplainError(f"{name} {value!r} is out of range. Accepted: {self.accepted}"))


@dataclass(frozen=True)
class Number(Option):
    """A finite number from ``least`` up; ``unit`` is what it counts, for people. Text that reads as one is accepted."""

    least: float = 0.0
    unit: str = ""

    @property
    def accepted(self) -> str:
        """The range in words."""
        return f"numbers from {self.least:g}" + (f" ({self.unit})" if self.unit else "")

    def checked(self, name: str, value: Any) -> float:
        """Return the number as a float."""
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not self.least <= number < math.inf:
            raise self._refused(name, value)
        return number


@dataclass(frozen=True)
class Whole(Option):
    """A whole number from ``least`` up, below 2**63."""

    least: int = 1

    @property
    def accepted(self) -> str:
        """The range in words."""
        return f"{self.least}, {self.least + 1}, {self.least + 2}, ..."

    def checked(self, name: str, value: Any) -> int:
        """Return the number as an int."""
        number = float(value) if isinstance(value, Real) else math.nan
        if not (number.is_integer() and self.least <= number < 2**63):
            raise self._refused(name, value)
        return int(value)


@dataclass(frozen=True)
class Choice(Option):
    """One of a few words."""

    words: Sequence[str] = ()

    @property
    def accepted(self) -> str:
        """The words."""
        return ", ".join(self.words)

    def checked(self, name: str, value: Any) -> str:
        """Return the word."""
        if value not in self.words:
            raise wrong_use(ExplainError(unknown(name, value, self.words)))
        return str(value)


@dataclass(frozen=True)
class InputValue(Option):
    """A value of the network's own input: a number, one per channel, or what broadcasts to the images.

    Whether it fits is seen when the images are there.
    """

    @property
    def accepted(self) -> str:
        """What fits, in words."""
        return "a number, or one per channel, in values of the network's input"

    def checked(self, name: str, value: Any) -> Any:
        """Return the value as it is; a number as a float, so that equal settings have one key."""
        return float(value) if isinstance(value, Real) else value
