"""What a stamping experiment is asked for, checked: the token, the X-rays that it is put onto, and the doses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, field_serializer, model_validator

from cxr.data import Manifest, read_xray
from cxr.errors import TextError, unknown, wrong_use
from cxr.evaluation.settings import OnNetwork
from cxr.evaluation.truth import UNCERTAIN, finding_names, finding_targets
from cxr.models.card import SINGLE_LABEL
from cxr.text.boxes import TextBox
from cxr.text.search import in_split
from cxr.text.stamp import COLOURS, CONTROLS, FONTS, Patch, cut_patch, place_of, word_patch

SIZES = (0.02, 0.04, 0.08, 0.16)
CONTRASTS = (0.1, 0.25, 0.5, 1.0)
LEAST_SIZE, LARGEST_SIZE = 0.005, 0.9


@dataclass(frozen=True)
class Cut:
    """A token cut from an X-ray: its image id, the box in pixels of the file, and what is taken of it."""

    image_id: str
    box: tuple[int, int, int, int]
    take: str = "ink"

    @classmethod
    def of(cls, text: str, take: str = "ink") -> Cut:
        """Read ``IMAGE_ID:x0,y0,x1,y1``; raises TextError for anything else."""
        image_id, _, sides = text.rpartition(":")
        try:
            x0, y0, x1, y1 = (int(side) for side in sides.split(","))
        except ValueError:
            image_id = ""
        if not image_id:
            raise wrong_use(
                TextError(
                    f"{text!r} does not name a token of an X-ray. Accepted: IMAGE_ID:x0,y0,x1,y1 in pixels of its file"
                )
            )
        return cls(image_id, (x0, y0, x1, y1), take)

    def __str__(self) -> str:
        return f"{self.image_id}:{','.join(map(str, self.box))}"


def _read_cut(value: object, info: ValidationInfo) -> object:
    return Cut.of(value, str(info.data.get("take") or "ink")) if isinstance(value, str) else value


class Setting(OnNetwork):
    """What a run is asked for.

    Attributes
    ----------
    split
        The X-rays to stamp; "" takes every image.
    word, cut
        What is stamped: a word, or a token cut from an X-ray of the same manifest, as ``IMAGE_ID:x0,y0,x1,y1``.
    take
        What is taken of the cut box: ink, bright, dark or all.
    towards, onto
        The class or finding that the token may speak for (covid19, or the network's first), and the labels or findings
        that are stamped (all but ``towards``).
    place, jitter
        A name or "x,y" as shares, and the shares of the height by which the place varies.
    sizes, contrasts
        Heights of the token as shares of the image's, and contrasts above 0 to 1: the doses.
    font, colour, control
        How a word is drawn, and the patch without letters: shuffled or plate.
    avoid
        Whether tokens that are there stay free.
    workers
        Processes that search for them.
    n
        The first n images.
    include_seen
        Keep X-rays that the network was trained or chosen on; they are left out otherwise, as by an evaluation.

    Raises
    ------
    TextError
        For a value that is not allowed.
    """

    split: str = "test"
    word: str = ""
    take: str = "ink"
    cut: Annotated[Cut | None, BeforeValidator(_read_cut)] = None
    towards: str = ""
    onto: tuple[str, ...] = ()
    place: str = "top-right"
    sizes: tuple[float, ...] = SIZES
    contrasts: tuple[float, ...] = CONTRASTS
    font: str = "sans-bold"
    colour: str = "white"
    control: str = "shuffled"
    avoid: bool = True
    jitter: float = 0.0
    seed: int = 0
    workers: int | None = None
    n: int | None = Field(default=None, ge=1)
    include_seen: bool = False

    @model_validator(mode="before")
    @classmethod
    def _without_empty_values(cls, values: Any) -> Any:
        """Leave out what is empty, which means the default; of the split it means every image."""
        empty: tuple[Any, ...] = (None, "", [], ())
        keep = ("split", "manifest", "model")
        return {name: value for name, value in dict(values).items() if name in keep or value not in empty}

    @model_validator(mode="after")
    def _is_possible(self) -> Setting:
        place_of(self.place)
        for what, value, names in (
            ("font", self.font, FONTS),
            ("colour", self.colour, COLOURS),
            ("control", self.control, CONTROLS),
        ):
            if value not in names:
                raise wrong_use(TextError(unknown(what, value, names)))
        _check_numbers("size", self.sizes, LEAST_SIZE, LARGEST_SIZE)
        _check_numbers("contrast", self.contrasts, 0.01, 1.0)
        if not 0 <= self.jitter <= 0.5:
            raise wrong_use(
                TextError(f"jitter {self.jitter:g} is not allowed. Accepted: 0 to 0.5, a share of the image's height")
            )
        if self.cut is None:
            word_patch(self.word, self.font, self.colour)
        return self

    @field_serializer("cut")
    def _cut_in_words(self, cut: Cut | None) -> str | None:
        return None if cut is None else str(cut)

    def default_name(self) -> str:
        """Return the run's name."""
        return f"stamp {self.data_set} {self.split}".strip()

    def check(self) -> list[str]:
        """Raise a CxrError if the network cannot be loaded, no X-ray can be stamped, or the token cannot be cut."""
        from cxr.networks import load_network

        network, _ = load_network(self.network)
        chosen_images(self.data, network.classes, self, network.card.task)
        patch_of(self, self.data)
        self.refuse_locked()
        return []

    @property
    def doses(self) -> list[tuple[float, float]]:
        """Every (size, contrast)."""
        return [(size, contrast) for size in self.sizes for contrast in self.contrasts]

    @property
    def title(self) -> str:
        """What is stamped, in words."""
        return f"“{' '.join(self.word.split())}”" if self.cut is None else f"the token of {self.cut.image_id}"


def _check_numbers(noun: str, values: Sequence[float], low: float, high: float) -> None:
    if not values or len(set(values)) < len(values):
        raise wrong_use(
            TextError(f"{noun} {list(values)!r} is not allowed. Accepted: one number or several different ones")
        )
    for value in values:
        if not low <= value <= high:
            raise wrong_use(TextError(f"{noun} {value:g} is not allowed. Accepted: {low:g} to {high:g}"))


def patch_of(setting: Setting, manifest: Manifest) -> Patch:
    """Return what is stamped; raises TextError, or the manifest's and the image's error for a cut."""
    if setting.cut is None:
        return word_patch(setting.word, setting.font, setting.colour)
    image = read_xray(manifest.image_path(setting.cut.image_id))
    return cut_patch(image, TextBox(*setting.cut.box), setting.cut.take)


def default_class(classes: Sequence[str]) -> str:
    """Return the class that a token is expected to speak for where none is given."""
    return "covid19" if "covid19" in classes else classes[0]


def chosen_images(
    manifest: Manifest, classes: Sequence[str], setting: Setting, task: str = SINGLE_LABEL
) -> tuple[Manifest, Setting]:
    """Return the X-rays to stamp, and the setting with ``towards`` and ``onto`` filled in.

    Without labels in the data set all X-rays are taken. For a network of several findings it is the findings that
    count: X-rays that are known not to have ``towards``, of which ``onto`` takes those that have one of its findings.

    Raises
    ------
    TextError
        Unknown classes, a split without images, or none of the classes to stamp onto.
    """
    towards = setting.towards or default_class(classes)
    if towards not in classes:
        raise wrong_use(TextError(unknown("class of the network", towards, classes)))
    labels = labels_of(manifest, task)
    for label in setting.onto:
        if label not in labels or label == towards:
            raise wrong_use(
                TextError(unknown("class to stamp onto", label, [name for name in labels if name != towards]))
            )
    onto = setting.onto or tuple(name for name in labels if name != towards)
    in_split_manifest = in_split(manifest, setting.split)
    chosen = _without(in_split_manifest, manifest, towards, onto, task) if labels else in_split_manifest
    if not len(chosen):
        raise TextError(f"split {setting.split!r} has no images of {', '.join(onto) or f'a class but {towards}'}")
    if setting.n:
        chosen = chosen.select(ids=chosen.ids[: setting.n])
    return chosen, setting.model_copy(update={"towards": towards, "onto": onto})


def labels_of(manifest: Manifest, task: str = SINGLE_LABEL) -> tuple[str, ...]:
    """Return the labels of a data set, or for a network of several findings the findings that its X-rays have."""
    if task == SINGLE_LABEL:
        return manifest.classes
    names = {name for text in manifest.table["findings"] for name in finding_names(text)}
    return tuple(sorted(name for name in names if not name.startswith(UNCERTAIN)))


def _without(images: Manifest, manifest: Manifest, towards: str, onto: Sequence[str], task: str) -> Manifest:
    """Return those of ``images`` that have one of ``onto`` and, as ``manifest`` row tells, do not have ``towards``."""
    if task == SINGLE_LABEL:
        return images.select(label=onto)
    absent = finding_targets(manifest.table, (towards,))[:, 0] == 0
    has_onto = [bool(set(finding_names(text)) & set(onto)) for text in manifest.table["findings"]]
    ids = set(manifest.table.loc[absent & has_onto, "image_id"])
    return images.select(ids=[image_id for image_id in images.ids if image_id in ids])
