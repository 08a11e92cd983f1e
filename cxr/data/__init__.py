"""X-rays as data: the manifest, importers, safe decoding, splits and the image cache."""

from cxr.data.cache import ImageCache
from cxr.data.image import read_xray
from cxr.data.importing import ImportResult, import_data
from cxr.data.library import DataSet, list_data_sets, open_data_set, resolve_manifest, save_data_set
from cxr.data.manifest import CLASSES, Manifest
from cxr.data.sources import SOURCES, Excluded
from cxr.data.splits import split_manifest

__all__ = [
    "CLASSES",
    "SOURCES",
    "DataSet",
    "Excluded",
    "ImageCache",
    "ImportResult",
    "Manifest",
    "import_data",
    "list_data_sets",
    "open_data_set",
    "read_xray",
    "resolve_manifest",
    "save_data_set",
    "split_manifest",
]
