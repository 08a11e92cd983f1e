"""The parameters of a run that measures a table of predictions."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cxr.data.settings import ManifestPath
from cxr.runs.kinds import AbsolutePath, Params

if TYPE_CHECKING:
    from cxr.data.manifest import Manifest

Role = Literal["image", "label", "patient", "split"]
"""What a column of the table can be named for, beside the columns of classes."""


class PredictionsParams(Params):
    """What a table of predictions is, and what its columns mean.

    Attributes
    ----------
    predictions
        The table: CSV (perhaps packed) or Parquet.
    manifest
        The data that the predictions are of: labels, patients and splits that the table lacks are taken from it.
    task
        ``auto`` takes ``multi-label`` where the table or the manifest states findings.
    scale
        What the columns of classes hold; ``auto`` decides by the values.
    columns
        ``{image, label, patient or split: column}`` where its name is none of the usual ones.
    class_columns
        ``{class: column}`` where the columns are not named after the classes.
    positive
        The class that the only column of predictions is of.
    aliases
        ``{label: class}``.
    ignored_labels
        Labels whose X-rays are left out.
    """

    predictions: AbsolutePath
    manifest: ManifestPath | None = None
    task: Literal["auto", "single-label", "multi-label"] = "auto"
    scale: Literal["auto", "probabilities", "logits"] = "auto"
    columns: dict[Role, str] = Field(default_factory=dict)
    class_columns: dict[str, str] = Field(default_factory=dict)
    positive: str = ""
    aliases: dict[str, str] = Field(default_factory=dict)
    ignored_labels: tuple[str, ...] = ()

    @cached_property
    def data(self) -> Manifest | None:
        """The manifest, read once; None where none was given.

        Raises
        ------
        ManifestError
            If it is not there or cannot be used.
        """
        if self.manifest is None:
            return None
        from cxr.data.library import resolve_manifest
        from cxr.data.manifest import Manifest

        return Manifest.load(resolve_manifest(self.manifest))

    def default_name(self) -> str:
        """Return the run's name."""
        return f"predictions {Path(self.predictions).stem}"

    def manifest_hash(self) -> str:
        """Return the hash of the manifest, "" without one."""
        return self.data.hash() if self.data is not None else ""

    def check(self) -> list[str]:
        """Raise the CxrError that says what is wrong with the table, or with what its columns are said to be."""
        from cxr.evaluation.tables.reading import read_predictions

        return list(read_predictions(self).notes)
