"""Loading torch and what belongs to it in the background, so that the first heatmap need not wait for it."""

from __future__ import annotations

import atexit
import gc
import importlib
import itertools
import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import streamlit as st
from streamlit import runtime
from streamlit.runtime import Runtime

from cxr.machine import give_back_memory
from cxr.text.detection import ELSEWHERE

MODULES = (
    "cxr.reports.slider",
    "cxr.evaluation.metrics",
    "cxr.experiments.masking.job",
    "cxr.experiments.vocabulary.count",
    "torch",
    "timm",
    "cxr.models.weights",
    "cxr.explain.explainer",
    "cxr.explain.lrp.densenet.sweeps",
)
"""What the first page with a network would load, what loads fast first."""
AFTER_S = 1.0
"""Seconds from the first page to the beginning: the browser first gets its pictures."""
AGAIN_S, EVERY_S = (5.0, 15.0, 60.0), 600.0
"""Seconds from one settling (:func:`settle`) to the next, at the beginning and later."""
IDLE_LOOK_S = 10.0
"""Seconds from one look for text detectors that nobody uses to the next."""
PAUSE_S = 0.001
"""Seconds between two modules, in which pages can go on."""
VARIABLE, OFF = "CXR_WARM_UP", "off"

_hurry = threading.Event()
_log = logging.getLogger(__name__)


class _Pauses(MetaPathFinder):
    """Finds nothing, but lets the threads of the pages go on before each module that this thread imports.

    Importing holds the interpreter's lock: without pauses each step of a page waits 5 ms for it.
    """

    def __init__(self) -> None:
        self.thread = threading.get_ident()

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if threading.get_ident() == self.thread:
            _hurry.wait(PAUSE_S)
        return None


def import_all() -> None:
    """Import the modules; one that cannot be imported is told of by the page that needs it."""
    pauses = _Pauses()
    sys.meta_path.insert(0, pauses)
    try:
        for name in MODULES:
            importlib.import_module(name)
    except Exception:
        _log.warning("%s cannot be loaded ahead", name, exc_info=True)
    finally:
        sys.meta_path.remove(pauses)
        settle()


def settle() -> None:
    """Leave out of every later garbage collection what there is now: modules, which stay for good; give back the rest.

    Streamlit collects at the end of each run of a script, before the browser is told of that end. With PyTorch loaded
    a collection looks at half a million objects of modules, which takes longer than most pages.

    What a script holds at that moment is left out too and would stay, so what earlier calls left out is looked at anew.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    give_back_memory()
    atexit.unregister(gc.unfreeze)
    atexit.register(gc.unfreeze)  # what libraries free at the end they free then too


def settle_again() -> None:
    """Settle once the first pages are through, and from time to time after that, without an end."""
    for seconds in itertools.chain(AGAIN_S, itertools.repeat(EVERY_S)):
        end = time.monotonic() + seconds
        while (left_s := end - time.monotonic()) > 0:
            time.sleep(min(left_s, IDLE_LOOK_S))
            give_back_text_detectors()
        settle()


def give_back_text_detectors() -> None:
    """Give back the memory of text detectors that nobody has used for a while; without one, import nothing."""
    loaded = sys.modules.get("cxr.text.detection.ocr")
    if loaded is not None and loaded.give_back_idle():
        give_back_memory()


def hurry() -> None:
    """End the pauses: a page waits for a network."""
    _hurry.set()


@st.cache_resource(show_spinner=False)
def _settled(torch_is_loaded: bool) -> None:
    settle()


@st.cache_resource(show_spinner=False)
def _settling() -> threading.Thread:
    thread = threading.Thread(target=settle_again, daemon=True)
    thread.start()
    return thread


@st.cache_resource(show_spinner=False)
def _started() -> threading.Timer:
    timer = threading.Timer(AFTER_S, import_all)
    timer.daemon = True
    timer.start()
    return timer


def start() -> None:
    """Begin once in a server, when its first page stands, unless ``CXR_WARM_UP=off`` says to save the memory."""
    # Pages under test have no server, but something in its place.
    if runtime.exists() and type(runtime.get_instance()) is Runtime:
        ELSEWHERE.set()
        _settling()
        _settled("torch" in sys.modules)  # once more when a page has loaded it
        if os.environ.get(VARIABLE) != OFF:
            _started()
