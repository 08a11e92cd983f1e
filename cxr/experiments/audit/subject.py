"""What is audited: a network or a table of somebody's predictions, and the X-rays that it is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cxr.data.manifest import Manifest
from cxr.errors import RunError, WeightsError, unknown, wrong_use
from cxr.evaluation.results import evaluation_results
from cxr.evaluation.selection import EVERYTHING
from cxr.experiments.audit.external_data import External
from cxr.models.card import SINGLE_LABEL
from cxr.models.checksums import sha256_of
from cxr.networks import network_card, network_file, network_title
from cxr.runs import Run, get_run

if TYPE_CHECKING:
    from cxr.experiments.audit.settings import NetworkAuditParams

USUAL_SPLITS = ("train", "val", "test", "")


@dataclass(frozen=True)
class Subject:
    """What is audited.

    Attributes
    ----------
    title
        How people call it.
    network, weights
        The network's name and the sha256 of its file; "" for a table.
    table
        The run that measured a table of predictions; None for a network.
    manifest, data
        The X-rays, and how a command names them; None and "" for a table without them.
    split
        The measured split, :data:`cxr.evaluation.selection.EVERYTHING` for all X-rays.
    task, classes
        Of the outputs.
    external
        X-rays from elsewhere.
    """

    title: str
    network: str
    weights: str
    table: Run | None
    manifest: Manifest | None
    data: str
    split: str
    task: str
    classes: tuple[str, ...]
    external: tuple[External, ...]

    @property
    def manifest_hash(self) -> str:
        """The hash of the manifest, "" without one."""
        return self.manifest.hash() if self.manifest is not None else ""

    @property
    def manifest_split(self) -> str:
        """The split as manifests and most commands name it: "" for all X-rays."""
        return "" if self.split == EVERYTHING else self.split

    @property
    def link(self) -> dict[str, str]:
        """Parameters of an address that open the same choice on another page; none for a table."""
        if not self.network:
            return {}
        in_library = not Path(self.data).is_absolute()
        return {"model": self.network, "data": self.data if in_library else "own", "split": self.manifest_split}

    @property
    def data_link(self) -> dict[str, str]:
        """The parameter of an address that opens the data set; none for a manifest outside of the library."""
        return {"data": self.data} if self.data and not Path(self.data).is_absolute() else {}

    @property
    def split_words(self) -> list[str]:
        """The option of commands for the split; none for all X-rays."""
        return ["--split", self.manifest_split] if self.manifest_split else []


def subject_of(params: NetworkAuditParams) -> Subject:
    """Return what an audit is of.

    Raises
    ------
    CxrError
        If the network, the table, the data or a split is not there, or the network has no card.
    """
    return _of_table(params) if params.predictions else _of_network(params)


def _of_network(params: NetworkAuditParams) -> Subject:
    card = network_card(params.model)
    if card is None:
        raise WeightsError(f"{params.model}: has no model card, so its classes are not known (`cxr weights import`)")
    manifest = params.data
    if manifest is None:
        raise wrong_use(
            RunError(f"manifest: missing. {params.model} is no training of this machine: name the X-rays (--data)")
        )
    for of in params.external:
        _check_external(of)
    return Subject(
        title=network_title(params.model),
        network=params.model,
        weights=sha256_of(network_file(params.model)),
        table=None,
        manifest=manifest,
        data=data_name(manifest.path),
        split=_split(params.split, manifest.splits),
        task=card.task,
        classes=tuple(card.classes),
        external=params.external or _further_splits(manifest),
    )


def _of_table(params: NetworkAuditParams) -> Subject:
    run = get_run(params.predictions)
    results = evaluation_results(run)
    if run.kind != "evaluate-predictions" or not results.get("splits"):
        raise wrong_use(
            RunError(
                f"run {run.id} ({run.kind}, {run.status()['state']}) is no finished measure of a table of predictions "
                "(`cxr evaluate --predictions FILE` makes one)"
            )
        )
    manifest = params.data
    return Subject(
        title=run.name,
        network="",
        weights="",
        table=run,
        manifest=manifest,
        data=data_name(manifest.path) if manifest is not None else "",
        split=_split(params.split, tuple(results["splits"])),
        task=results.get("task", SINGLE_LABEL),
        classes=tuple(results["classes"]),
        external=(),
    )


def data_name(path: Path | None) -> str:
    """Return how commands and addresses name a manifest: by its data set, else by its path."""
    from cxr.data.library import list_data_sets

    assert path is not None  # always read from a file here
    names = (data.name for data in list_data_sets() if data.manifest_path.resolve() == path.resolve())
    return next(names, str(path))


def _split(requested: str, present: tuple[str, ...]) -> str:
    if requested and requested not in (*present, EVERYTHING):
        raise wrong_use(RunError(unknown("split", requested, present or [EVERYTHING])))
    if requested:
        return requested
    if "test" in present:
        return "test"
    return present[0] if len(present) == 1 else EVERYTHING


def _check_external(of: External) -> None:
    """Raise a ManifestError if X-rays from elsewhere cannot be read, or have no such split."""
    from cxr.data.library import resolve_manifest

    splits = Manifest.load(resolve_manifest(of.manifest)).splits
    if of.split and of.split not in splits:
        raise wrong_use(RunError(unknown(f"split of {of.manifest.parent.name}", of.split, splits)))


def _further_splits(manifest: Manifest) -> tuple[External, ...]:
    assert manifest.path is not None
    return tuple(External(manifest=manifest.path, split=name) for name in manifest.splits if name not in USUAL_SPLITS)
