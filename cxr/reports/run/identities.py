"""What stands in a report in place of ids of X-rays and patients, and of paths of this machine."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

_WORD = re.compile(r"[\w.~-]+(?:/[\w.~-]+)*")
_PATH = re.compile(r"(?<![\w:/.])~?(?:/[^\s/,;()'\"`]+){2,}")
_ENDS = ".-/"


@dataclass
class Identities:
    """Running numbers of X-rays, given in the order in which a report names them.

    Attributes
    ----------
    images, patients
        The ids that must not stand in a report.
    with_ids
        Leaves the ids of X-rays as they are; those of patients never stand in a report.
    """

    images: Collection[str]
    patients: Collection[str]
    with_ids: bool = False
    _numbers: dict[str, int] = field(default_factory=dict)

    def name(self, image_id: str) -> str:
        """Return how an X-ray is called in the report: ``X-ray 3``, or its id where ids are wanted."""
        return image_id if self.with_ids else f"X-ray {self._number(image_id)}"

    def hidden(self, text: str) -> str:
        """Return a text without ids of X-rays and patients, and with the last name alone of each path.

        An id that could as well be a word or a small number is left: without a digit, or of fewer than six digits
        alone.
        """
        return _WORD.sub(self._word, _PATH.sub(lambda path: Path(path[0]).name, text))

    def _word(self, found: re.Match[str]) -> str:
        word = found[0].rstrip(_ENDS)
        rest = found[0][len(word) :]
        if not _telling(word):
            return found[0]
        if word in self.images:
            return self.name(word) + rest
        return f"(a patient){rest}" if word in self.patients else found[0]

    def _number(self, image_id: str) -> int:
        return self._numbers.setdefault(image_id, len(self._numbers) + 1)


def _telling(word: str) -> bool:
    digits = sum(letter.isdigit() for letter in word)
    return digits > 0 and (len(word) > digits or digits >= 6)
