"""X-rays that are in a data set more than once, also cropped, turned, inverted or saved in another way."""

from cxr.data.audit.duplicates.conflicts import Conflicts, find_conflicts
from cxr.data.audit.duplicates.finding import PAIR_COLUMNS, find_duplicates
from cxr.data.audit.duplicates.groups import group_duplicates

__all__ = ["PAIR_COLUMNS", "Conflicts", "find_conflicts", "find_duplicates", "group_duplicates"]
