"""What stands in a report in place of ids of X-rays and patients, and of paths of this machine."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cxr.data.settings import OnManifest
from cxr.errors import CxrError
from cxr.evaluation.tables.settings import PredictionsParams

if TYPE_CHECKING:
    import pandas as pd

    from cxr.runs import Run

Value = TypeVar("Value")
_WORD = re.compile(r"[\w.~-]+(?:/[\w.~-]+)*")
_PATH = re.compile(r"(?<![\w:/.])~?(?:/[^\s/,;()'\"`]+){2,}")
_ENDS = ".-/"
_QUOTES, _CLOSING = tuple("'\"‘“"), tuple("'\"’”")
# Where a word of a sentence is an id although it could be a number: in quotes, after its noun, before the splits of a
# patient. Older versions wrote ids of notes without quotes.
_BEFORE = re.compile(
    r"(?:(?<!class )(?<!label )(?<!split )(?P<quote>['\"‘“`])|\b(?:patient|image|patient_id|image_id) )$", re.IGNORECASE
)
_AFTER = re.compile(r" \([\w-]+(?:, [\w-]+)* and [\w-]+\)")
_OLD_NOTE = re.compile(r"(?:^|[.;:] )(?:patient_id|image_id): [^;]*$")
_COUNT = re.compile(r" (?:X-rays?|images?|patients?|rows?|written|missing|with|more|of)\b")
_VOCABULARY = ("label", "findings", "source", "view", "split", "sex", "role")


@dataclass(frozen=True)
class Privacy:
    """What a report shows of single X-rays: by default neither pictures nor ids.

    Attributes
    ----------
    with_images
        Whether pictures of X-rays go in. Without, a heatmap stands alone, and nothing that was read on one X-ray.
    with_ids
        Whether X-rays are called by their ids. Without, they get running numbers.
    """

    with_images: bool = False
    with_ids: bool = False


PRIVATE = Privacy()


def holds(privacy: Privacy) -> str:
    """Return in words what a report holds of single X-rays."""
    pictures = "pictures of X-rays" if privacy.with_images else "no picture of an X-ray"
    ids = "ids of X-rays" if privacy.with_ids else "no id of an X-ray (they have running numbers)"
    return f"This file holds {pictures}, {ids}, and no id of a patient."


@dataclass
class Identities:
    """Running numbers of X-rays, given in the order in which a report names them.

    Attributes
    ----------
    images, patients
        The ids that must not stand in a report.
    with_ids
        Leaves the ids of X-rays as they are; those of patients never stand in a report.
    vocabulary
        Words that are more than ids, such as the names of classes: they are hidden only where a sentence names an id.
    """

    images: Collection[str]
    patients: Collection[str]
    with_ids: bool = False
    vocabulary: Collection[str] = frozenset()
    _numbers: dict[str, int] = field(default_factory=dict)
    _patient_numbers: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, tables: Iterable[pd.DataFrame | None], *, with_ids: bool = False) -> Identities:
        """Return those of all X-rays and patients of some tables, with the names of their files."""
        known = [table for table in tables if table is not None]

        def values(*columns: str) -> set[str]:
            return {str(v) for table in known for c in columns if c in table for v in table[c].dropna().unique()} - {""}

        files = values("image")
        words = {word for text in values(*_VOCABULARY) for word in re.split(r"[|\s]+", text)}
        images = values("image_id") | files | {Path(file).name for file in files}
        patients = values("patient_id")
        patients |= {f"{patient}.0" for patient in patients if patient.isdecimal()}  # as a spreadsheet had them
        return cls(frozenset(images), frozenset(patients), with_ids, frozenset(words))

    @classmethod
    def of_run(cls, run: Run, *, with_ids: bool = False) -> Identities:
        """Return those of all data that the report of a run may name."""
        return cls.of([run.predictions(), _data_of(run)], with_ids=with_ids)

    def name(self, image_id: str) -> str:
        """Return how an X-ray is called in the report: ``X-ray 3``, or its id where ids are wanted."""
        return image_id if self.with_ids else f"X-ray {self._number(image_id)}"

    def left_out(self, row: Mapping[str, str]) -> str:
        """Return which X-ray could not be read, and why: a row of ``image_id, reason``."""
        return f"{self.name(row['image_id'])}: {self.hidden(row['reason'])}"

    def without_ids(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return a table with running numbers in place of its ids; those of patients are hidden in any case."""
        hidden = table.copy()
        if "image_id" in hidden:
            hidden["image_id"] = [self.name(str(image_id)) for image_id in hidden["image_id"]]
        if "patient_id" in hidden:
            hidden["patient_id"] = [self._patient(str(patient)) for patient in hidden["patient_id"]]
        return hidden

    def hidden(self, text: str) -> str:
        """Return a text without ids of X-rays and patients, and with the last name alone of each path.

        An id that could as well be a word or a small number (without a digit, or of fewer than six digits alone) is
        hidden where the sentence names an id: in quotes, or after "patient".
        """
        text = _PATH.sub(lambda path: Path(path[0]).name, text)
        parts, end = [], 0
        for found in _WORD.finditer(text):
            if found.start() < end:
                continue
            start, words = self._of_several_words(text, found) or (found.start(), found[0].rstrip(_ENDS))
            if start >= end and self._is_named(text, start, words):
                name = self.name(words) if words in self.images else "(a patient)"
                stop = start + len(words)
                if name != words and start > end and text[start - 1] in _QUOTES and text[stop : stop + 1] in _CLOSING:
                    start, stop = start - 1, stop + 1
                parts += [text[end:start], name]
                end = stop
        return "".join(parts) + text[end:]

    def all_hidden(self, value: Value) -> Value:
        """Return texts, and lists, mappings and dataclasses of them, with :meth:`hidden` for each text."""
        return _mapped(value, self)

    @cached_property
    def _long_ids(self) -> dict[str, list[tuple[int, str]]]:
        """Ids of several words by their first word, each with the place of this word in it, the longest first."""
        by_word: dict[str, list[tuple[int, str]]] = {}
        for name in sorted({*self.images, *self.patients}, key=len, reverse=True):
            first = _WORD.search(name)
            if first is not None and first[0] != name:
                by_word.setdefault(first[0], []).append((first.start(), name))
        return by_word

    def _of_several_words(self, text: str, found: re.Match[str]) -> tuple[int, str] | None:
        """Return where an id of several words begins that has its first word here, and the id."""
        for offset, name in self._long_ids.get(found[0], ()):
            start = found.start() - offset
            after = text[start + len(name) : start + len(name) + 1]
            if start >= 0 and text.startswith(name, start) and not after.isalnum():
                return start, name
        return None

    def _is_named(self, text: str, start: int, word: str) -> bool:
        """Return whether a word is an id, and is meant as one here."""
        if word not in self.images and word not in self.patients:
            return False
        return self._telling(word) or _in_place_of_id(text, start, word)

    def _telling(self, word: str) -> bool:
        """Return whether a word that is an id can hardly be anything else."""
        digits = sum(letter.isdigit() for letter in word)
        if digits:
            return len(word) > digits or digits >= 6
        return (
            word not in self.vocabulary and len(word) > 2 and (word != word.lower() or any(c in "-_~./" for c in word))
        )

    def _number(self, image_id: str) -> int:
        return self._numbers.setdefault(image_id, len(self._numbers) + 1)

    def _patient(self, patient: str) -> str:
        numbers = self._patient_numbers
        return f"patient {numbers.setdefault(patient, len(numbers) + 1)}" if patient else ""


def _in_place_of_id(text: str, start: int, word: str) -> bool:
    """Return whether a sentence names an id at this place."""
    before, after = text[:start], text[start + len(word) :]
    named = _BEFORE.search(before[-16:])
    if named is not None:
        closing = {"‘": "’", "“": "”"}.get(named["quote"], named["quote"])
        return closing is None or after.startswith(closing)
    if _AFTER.match(after):
        return True
    return bool(_OLD_NOTE.search(before)) and not _COUNT.match(after)


def _mapped(value: Any, identities: Identities) -> Any:
    if isinstance(value, str):
        return identities.hidden(value)
    if isinstance(value, Mapping):
        return {key: _mapped(item, identities) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        items = [_mapped(item, identities) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _mapped(getattr(value, f.name), identities) for f in fields(value) if f.init})
    return value


def _data_of(run: Run) -> pd.DataFrame | None:
    """Return the table of the X-rays of a run, None where they are not at hand."""
    try:
        params = run.params
        data = params.data if isinstance(params, (OnManifest, PredictionsParams)) else None
    except (CxrError, OSError):
        return None
    return None if data is None else data.table
