"""What an audit of a network is asked for."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from cxr.data.settings import ManifestPath
from cxr.errors import RunError, unknown, wrong_use
from cxr.evaluation.settings import network_name
from cxr.experiments.audit.external_data import ExternalData
from cxr.experiments.audit.part_names import PARTS
from cxr.runs.kinds import DeviceName, NameOrFile, Params

if TYPE_CHECKING:
    from cxr.data.manifest import Manifest


class NetworkAuditParams(Params):
    """What is audited, on which X-rays, and which parts of the audit are done.

    Attributes
    ----------
    model
        A training's id, a weights file, or the name of shipped weights; "" for a table.
    predictions
        The id of a finished run that measured a table of somebody else's predictions.
    manifest
        The X-rays; of a table those that it was measured with, if any.
    split
        The split that is measured; "" takes ``test``, or every X-ray where there is none.
    external
        X-rays from elsewhere, each a manifest and perhaps one of its splits. By default the further splits of the
        manifest, those besides train, val and test.
    aliases
        ``{label in the data: class of the network}``.
    parts
        Names of the parts to do (:data:`cxr.experiments.audit.part_names.PARTS`); () does all.
    quick
        Only look at what exists, and do what takes seconds.
    device, workers, open_locked
        For the runs that the audit starts; the last one looks at locked splits (:mod:`cxr.data.openings`), too.
    """

    model: NameOrFile = ""
    predictions: str = ""
    manifest: ManifestPath | None = None
    split: str = ""
    external: tuple[ExternalData, ...] = ()
    aliases: dict[str, str] = Field(default_factory=dict)
    parts: tuple[str, ...] = ()
    quick: bool = False
    device: DeviceName = "auto"
    workers: int | None = None
    open_locked: bool = False

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, values: Any) -> Any:
        return {name: value for name, value in dict(values).items() if value not in (None, "", [], ())}

    @model_validator(mode="after")
    def _names_one_thing(self) -> NetworkAuditParams:
        if bool(self.model) == bool(self.predictions):
            raise wrong_use(
                RunError(
                    "model: missing. Give a network as model (a training's id, a weights file or a name), or the run "
                    "of a table as predictions"
                    if not self.model
                    else "predictions: goes without model. Give a network or a table of predictions, not both"
                )
            )
        for name in self.parts:
            if name not in PARTS:
                raise wrong_use(RunError(unknown("part of the audit", name, PARTS)))
        return self

    @property
    def title(self) -> str:
        """How people call what is audited."""
        if self.model:
            return network_name(self.model)
        from cxr.runs import get_run

        return get_run(self.predictions).name

    @cached_property
    def manifest_file(self) -> Path | None:
        """The manifest's file: the one that was given, else that of the training, or of the table."""
        if self.manifest is not None:
            return self.manifest
        from cxr.networks import training_of
        from cxr.runs import get_run

        run = get_run(self.predictions) if self.predictions else training_of(self.model)
        path = run.spec["params"].get("manifest") if run is not None else None
        return Path(path) if path else None

    @cached_property
    def data(self) -> Manifest | None:
        """The manifest, read once; None for a table without one.

        Raises
        ------
        ManifestError
            If it is not there or cannot be used.
        """
        if self.manifest_file is None:
            return None
        from cxr.data.library import resolve_manifest
        from cxr.data.manifest import Manifest

        return Manifest.load(resolve_manifest(self.manifest_file))

    def manifest_hash(self) -> str:
        """Return the hash of the manifest, "" without one."""
        return self.data.hash() if self.data is not None else ""

    def default_name(self) -> str:
        """Return the run's name."""
        return f"audit {self.title}"

    def check(self) -> list[str]:
        """Raise a CxrError if the network, the table, the data or a split cannot be used."""
        from cxr.experiments.audit.subject import subject_of

        subject_of(self)
        return []
