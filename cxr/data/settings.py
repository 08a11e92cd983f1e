"""The parameters of the runs that import data sets and make synthetic X-rays, and what all runs on data share."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from cxr.errors import ManifestError
from cxr.json_types import JsonObject
from cxr.runs.kinds import AbsolutePath, Params

if TYPE_CHECKING:
    from cxr.data.manifest import Manifest


def manifest_path(value: object) -> object:
    """Return the manifest that a data set's name, a folder or a file means; what is not there (any more) stays."""
    if not isinstance(value, str | Path) or not str(value):
        return value
    if Path(value).is_absolute() and Path(value).is_file():  # as all specs have it: no need of pandas
        return value
    from cxr.data.library import resolve_manifest

    try:
        return resolve_manifest(value)
    except ManifestError:
        return value


ManifestPath = Annotated[AbsolutePath, BeforeValidator(manifest_path)]
"""The file of a manifest; a data set's name or a folder is accepted for it."""


class OnManifest(Params):
    """Parameters of a run that works on the X-rays of a manifest."""

    manifest: ManifestPath

    @cached_property
    def data(self) -> Manifest:
        """The manifest, read once.

        Raises
        ------
        ManifestError
            If it is not there or cannot be used.
        """
        from cxr.data.library import resolve_manifest
        from cxr.data.manifest import Manifest

        return Manifest.load(resolve_manifest(self.manifest))

    @property
    def data_set(self) -> str:
        """The name of the manifest's folder, which is the data set's name in the library."""
        return self.manifest.parent.name

    def manifest_hash(self) -> str:
        """Return the hash of the manifest."""
        return self.data.hash()


class ImportParams(Params):
    """The parameters of an import; see :func:`cxr.data.jobs.import_data_set`.

    Attributes
    ----------
    options
        Those that the importers declare, by name. A run's spec keeps them beside the other keys.
    """

    kind: str
    path: AbsolutePath
    name: str
    splits: Literal["make", "keep", "new", "none"] = "make"
    seed: int = Field(default=0, ge=0)
    overwrite: bool = False
    find_duplicates: bool = False
    options: JsonObject = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _with_options_aside(cls, values: Any) -> Any:
        """Put the options aside, and take the keys of older runs: ``split`` said whether splits are made."""
        from cxr.data.importers.import_options import all_declarations
        from cxr.data.importers.registry import SOURCES

        values = dict(values)
        if "split" in values:
            values.setdefault("splits", "make" if values.pop("split") else "keep")
        declared = all_declarations({kind: source.options for kind, source in SOURCES.items()})
        options = {name: values.pop(name) for name in list(values) if name in declared}
        values = {key: value for key, value in values.items() if value is not None and (key, value) != ("splits", "")}
        return values | ({"options": options} if options else {})

    def stored(self) -> JsonObject:
        """Return what ``spec.json`` keeps, the options beside the other keys."""
        stored = super().stored()
        return stored | stored.pop("options", {})

    def default_name(self) -> str:
        """Return the run's name."""
        return f"import {self.name}"

    def check(self) -> list[str]:
        """Raise a ManifestError if there is nothing at ``path``, or the name is taken or being imported just now."""
        from cxr.data.jobs import check_free
        from cxr.runs import list_runs

        if not self.path.exists():
            raise ManifestError(f"path: {str(self.path)!r} does not exist. Give the full path of a folder or file")
        check_free(self.name, self.overwrite)
        # Read as stored: an active import of another version must not stop this one.
        if any(run.active and run.spec["params"].get("name") == self.name for run in list_runs(kind="import")):
            raise ManifestError(
                f"a data set {self.name!r} is being imported just now; wait for it, or choose another name"
            )
        return []


class DemoParams(Params):
    """How many synthetic X-rays are made, and how; see :func:`cxr.data.phantom.write_demo`."""

    name: str = "demo"
    n: int = 600
    size: int = 256
    correlation: float = 0.5
    seed: int = 0
    workers: int | None = None

    def default_name(self) -> str:
        """Return the run's name."""
        return f"make {self.name}"
