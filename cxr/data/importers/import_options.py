"""What the user may say about a data set: each importer declares its options, command line and page are made from them.

An importer's options are a frozen dataclass that inherits from :class:`Options`; each field is made by :func:`option`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from cxr.errors import ManifestError, unknown, wrong_use
from cxr.json_types import JsonObject

Form = Literal["pairs", "words", "choice", "flag", "text"]
"""How a value is given: ``{name: name}``, several words, one of ``choices``, yes or no, or any text."""
Uncertain = Literal["unknown", "positive", "negative"]
UNCERTAIN: tuple[Uncertain, ...] = ("unknown", "positive", "negative")

_EMPTY: Mapping[Form, Any] = {"pairs": {}, "words": (), "choice": "", "flag": False, "text": ""}
AnyOptions = TypeVar("AnyOptions", bound="Options")


@dataclass(frozen=True)
class Declaration:
    """One option of an importer.

    Attributes
    ----------
    name
        Of the field, and of the parameter of :func:`cxr.data.import_data`.
    form
        How its value is given.
    flag
        On the command line, such as ``--column``.
    title, help, placeholder
        What people read: on the page, in the command line's help, in an empty field.
    choices
        The values allowed for the form ``choice``; the first is the default.
    """

    name: str
    form: Form
    flag: str
    title: str
    help: str
    placeholder: str = ""
    choices: tuple[str, ...] = ()

    @property
    def default(self) -> Any:
        """The value of an option that is not given."""
        return self.choices[0] if self.choices else _EMPTY[self.form]

    def checked(self, value: Any) -> Any:
        """Return a value as the importer gets it; a ManifestError says what would be accepted."""
        if value is None:
            return self.default
        if self.form == "choice":
            if value not in self.choices:
                raise wrong_use(ManifestError(unknown(f"value of `{self.name}`", value, self.choices)))
            return value
        if self.form == "pairs" and isinstance(value, Mapping):
            return {str(first): str(second) for first, second in value.items()}
        if self.form == "words" and isinstance(value, Sequence) and not isinstance(value, str):
            return tuple(map(str, value))
        if self.form == "flag" and isinstance(value, bool):
            return value
        if self.form == "text" and isinstance(value, str):
            return value.strip()
        needed = {"pairs": "pairs of names", "words": "a list of words", "flag": "true or false", "text": "text"}
        raise wrong_use(ManifestError(f"`{self.name}` is {value!r}; {needed[self.form]} is needed"))


def option(form: Form, flag: str, title: str, help: str, *, placeholder: str = "", choices: Sequence[str] = ()) -> Any:
    """Return the dataclass field of an option; see :class:`Declaration`."""
    declaration = Declaration("", form, flag, title, help, placeholder, tuple(choices))
    metadata = {"declaration": declaration}
    if form == "pairs":
        return field(default_factory=dict, metadata=metadata)
    return field(default=declaration.default, metadata=metadata)


@dataclass(frozen=True)
class Options:
    """Options of every importer.

    Attributes
    ----------
    aliases
        ``{their label, finding or folder: our class}``.
    source
        Where X-rays come from whose source is not known otherwise.
    """

    aliases: Mapping[str, str] = option(
        "pairs",
        "--alias",
        "Labels of the source that have another name here",
        "label in the source=class here.",
        placeholder="Covid-19 = covid19",
    )
    source: str = option(
        "text",
        "--source",
        "Hospital or data set that all X-rays come from",
        "Hospital or data set of the X-rays whose source is not known otherwise.",
        placeholder="empty if they come from several, or if the files say it",
    )


@dataclass(frozen=True)
class LabelOptions(Options):
    """Options of importers whose labels are written by people.

    Attributes
    ----------
    keep_labels
        Leave labels as they are written, but for missing values and aliases.
    """

    keep_labels: bool = option(
        "flag",
        "--keep-labels",
        "Keep labels as they are written",
        "Do not join spellings of one label (Covid, covid, COVID-19).",
    )


@dataclass(frozen=True)
class TableOptions(LabelOptions):
    """Options of importers that read a table.

    Attributes
    ----------
    columns
        ``{our column: theirs}``.
    """

    columns: Mapping[str, str] = option(
        "pairs",
        "--column",
        "Columns of the file with unusual names",
        "column here=column of the file; the usual names are recognised.",
        placeholder="image = filename",
    )


@dataclass(frozen=True)
class FindingOptions(TableOptions):
    """Options of importers whose findings may be uncertain.

    Attributes
    ----------
    uncertain
        What a finding becomes that a source calls uncertain, or that its readers do not agree on.
    """

    uncertain: Uncertain = option(  # noqa: RUF009 - makes a field
        "choice",
        "--uncertain",
        "Uncertain findings count as",
        "What uncertain findings become: unknown, positive or negative.",
        choices=UNCERTAIN,
    )


@dataclass(frozen=True)
class DicomOptions(Options):
    """Options of importers of DICOM files.

    Attributes
    ----------
    modalities
        DICOM modalities to take besides those of X-rays, such as ``SC``.
    secondary_captures
        Whether to take secondary captures, such as films that were scanned.
    """

    modalities: Sequence[str] = option(
        "words",
        "--allow-modality",
        "Modalities besides those of X-rays",
        "DICOM modality to take besides X-rays', such as SC.",
        placeholder="SC, OT",
    )
    secondary_captures: bool = option(
        "flag",
        "--secondary-captures",
        "Take secondary captures, such as scanned films",
        "Take secondary captures of modality SC, OT or none, such as scanned films.",
    )


def declarations(options: type[Options]) -> dict[str, Declaration]:
    """Return the options that a class of options declares, by name."""
    return {
        entry.name: dataclasses.replace(entry.metadata["declaration"], name=entry.name)
        for entry in dataclasses.fields(options)
    }


def all_declarations(kinds: Mapping[str, type[Options]]) -> dict[str, tuple[Declaration, list[str]]]:
    """Return every option of several kinds by name, each with the kinds that have it.

    Raises
    ------
    ValueError
        If two kinds declare one name or one flag differently: one command line serves all of them.
    """
    joined: dict[str, tuple[Declaration, list[str]]] = {}
    flags: dict[str, str] = {}
    for kind, options in kinds.items():
        for name, declaration in declarations(options).items():
            first, owners = joined.setdefault(name, (declaration, []))
            if first != declaration or flags.setdefault(declaration.flag, name) != name:
                raise ValueError(f"option {name!r} ({declaration.flag}) of {kind!r} is declared otherwise elsewhere")
            owners.append(kind)
    return joined


def read_options(kind: str, options: type[AnyOptions], values: Mapping[str, Any]) -> AnyOptions:
    """Return the options of a kind from what was given by name.

    Raises
    ------
    ManifestError
        For an option that the kind does not have, naming those it has, or a value that is not accepted.
    """
    declared = declarations(options)
    for name in values:
        if name not in declared:
            has = ", ".join(f"{option_name} ({declaration.flag})" for option_name, declaration in declared.items())
            raise wrong_use(ManifestError(f"kind {kind!r} has no option {name!r}. Its options: {has}"))
    return options(**{name: declared[name].checked(value) for name, value in values.items()})


def given_options(kinds: Iterable[type[Options]], params: Mapping[str, Any]) -> JsonObject:
    """Return the options among the parameters of a run that say something: runs of before name every option."""
    declared = {name: declaration for options in kinds for name, declaration in declarations(options).items()}
    return {
        name: value
        for name, value in params.items()
        if name in declared and value not in (None, declared[name].default, [], {}, ())
    }
