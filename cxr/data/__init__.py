"""X-rays as data: the manifest, importers, safe decoding, splits and the image cache."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxr.data.images.decode import read_xray
    from cxr.data.images.image_cache import ImageCache
    from cxr.data.importers.importing import ImportResult, import_data
    from cxr.data.importers.registry import SOURCES, Excluded
    from cxr.data.library import DataSet, list_data_sets, open_data_set, resolve_manifest, save_data_set
    from cxr.data.manifest import CLASSES, Manifest
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

# A decoding process loads `cxr.data.images.resize` and must not wait for pandas and pydicom, so names are looked up
# when used.
_MODULES = {
    "images.image_cache": ("ImageCache",),
    "images.decode": ("read_xray",),
    "importers.importing": ("ImportResult", "import_data"),
    "importers.registry": ("SOURCES", "Excluded"),
    "library": ("DataSet", "list_data_sets", "open_data_set", "resolve_manifest", "save_data_set"),
    "manifest": ("CLASSES", "Manifest"),
    "splits": ("split_manifest",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"cxr.data.{name}")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'cxr.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"cxr.data.{_MODULE_OF[name]}"), name)
