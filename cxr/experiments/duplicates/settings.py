"""What a search for duplicates is asked for."""

from __future__ import annotations

from cxr.data.settings import OnManifest


class SearchParams(OnManifest):
    """The X-rays that are compared with each other.

    Attributes
    ----------
    group
        Whether the groups that are found are noted in the data set's manifest, so that new splits keep them together.
    workers
        Processes that open the files.
    """

    group: bool = False
    workers: int | None = None

    def default_name(self) -> str:
        """Return the run's name."""
        return f"duplicates {self.data_set}"

    def check(self) -> list[str]:
        """Raise a CxrError if groups are wanted of a manifest that is no data set."""
        from cxr.data.audit.duplicates.data_set import check_groups

        if self.group:
            check_groups(self.manifest)
        return []
