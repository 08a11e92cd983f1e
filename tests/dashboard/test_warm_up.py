"""Loading networks' libraries in the background: all of them, once in a server, and not at a page's cost."""

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from apps import opened
from streamlit import runtime
from streamlit.runtime import Runtime

from cxr.text.boxes import TextBox
from cxr.text.detection import ocr
from cxr.text.detection.ocr import shared_engine

from services import warm_up

PROJECT = Path(__file__).resolve().parents[2]
COLLECTED = """
import gc, sys
sys.path.insert(0, "dashboard")
import pandas, streamlit
from services import warm_up
class Noisy:
    def __del__(self): print("freed at the end")
warm_up.MODULES = ("sqlite3",)
before = len(gc.get_objects())
noisy = Noisy(); noisy.itself = noisy
warm_up.import_all()
print("sqlite3" in sys.modules, len(gc.get_objects()) < 0.05 * before)
garbage = Noisy(); garbage.itself = garbage; del garbage
gc.collect()
print("collected")
"""
LIBRARIES = """
import json, sys
sys.path.insert(0, "dashboard")
from services import warm_up
warm_up.hurry()
warm_up.import_all()
before = set(sys.modules)
from cxr.explain.heatmap import Method
from cxr.networks import load_network
import numpy as np
network, _ = load_network("demo")
Method.of().explain(network, np.full((1, network.card.size, network.card.size), 90, np.uint8), [[network.classes[0]]])
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch):
    """A server in which nothing has been started yet."""
    real = object.__new__(Runtime)
    monkeypatch.delenv("CXR_WARM_UP", raising=False)
    monkeypatch.setattr(runtime, "exists", lambda: True)
    monkeypatch.setattr(runtime, "get_instance", lambda: real)
    monkeypatch.setattr(warm_up, "AFTER_S", 0.0)
    monkeypatch.setattr(warm_up, "ELSEWHERE", threading.Event())
    warm_up._started.clear()
    warm_up._settled.clear()
    warm_up._settling.clear()
    monkeypatch.setattr(warm_up, "settle_again", lambda: None)
    yield
    warm_up._started.clear()
    warm_up._settled.clear()
    gc.unfreeze()


def test_modules_are_imported_and_one_that_is_missing_is_told_to_the_log(monkeypatch, caplog):
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    monkeypatch.setattr(warm_up, "MODULES", ("wave", "there_is_no_such_module"))
    finders = list(sys.meta_path)
    with caplog.at_level(logging.WARNING):
        warm_up.import_all()
    assert "wave" in sys.modules
    assert "there_is_no_such_module cannot be loaded ahead" in caplog.text
    assert sys.meta_path == finders


def test_only_the_thread_that_loads_pauses_and_not_once_a_page_waits(monkeypatch):
    waited: list[float] = []

    class Hurry(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout or 0)
            return super().wait(timeout)

    monkeypatch.setattr(warm_up, "_hurry", Hurry())
    pauses = warm_up._Pauses()
    assert pauses.find_spec("anything", None) is None
    other = threading.Thread(target=pauses.find_spec, args=("anything", None))
    other.start()
    other.join()
    assert waited == [warm_up.PAUSE_S]
    warm_up.hurry()
    assert warm_up._hurry.is_set()


@pytest.mark.parametrize("chosen", ["", "off"])
def test_a_server_begins_once_unless_it_is_told_not_to(server, monkeypatch, chosen):
    begun: list[str] = []
    done = threading.Event()
    monkeypatch.setattr(warm_up, "import_all", lambda: (begun.append("all"), done.set()))
    monkeypatch.setenv("CXR_WARM_UP", chosen)
    warm_up.start()
    warm_up.start()
    assert done.wait(30) is True if chosen != "off" else not done.is_set()
    assert begun == ([] if chosen == "off" else ["all"])
    assert warm_up.ELSEWHERE.is_set(), "text is read in a process of its own"


def test_the_first_page_and_then_the_loaded_libraries_are_left_out_of_collections_once(server, monkeypatch):
    monkeypatch.setenv("CXR_WARM_UP", "off")
    settled: list[bool] = []
    monkeypatch.setattr(warm_up, "settle", lambda: settled.append("torch" in sys.modules))
    monkeypatch.setitem(sys.modules, "torch", sys)
    monkeypatch.delitem(sys.modules, "torch")
    for _ in range(3):
        warm_up.start()
    monkeypatch.setitem(sys.modules, "torch", sys)
    for _ in range(3):
        warm_up.start()
    assert settled == [False, True]


def test_a_collection_passes_over_what_was_loaded_but_not_over_what_came_later():
    done = subprocess.run([sys.executable, "-c", COLLECTED], cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    # What later became garbage goes in the collection; the rest at the end of the process, as without freezing.
    assert done.stdout.splitlines() == ["True True", "freed at the end", "collected", "freed at the end"]


def test_what_a_script_held_at_the_first_settling_is_freed_by_the_next(monkeypatch):
    class Held:
        pass

    held = Held()
    held.itself, freed = held, weakref.ref(held)
    monkeypatch.setattr(warm_up, "AGAIN_S", (0.0, 0.0))
    times = iter([None, None])
    monkeypatch.setattr(warm_up.time, "sleep", lambda _: next(times))
    warm_up.settle()
    del held
    gc.collect()
    assert freed() is not None
    with pytest.raises(StopIteration):
        warm_up.settle_again()
    gc.unfreeze()
    assert freed() is None


def test_between_two_settlings_text_detectors_that_nobody_uses_give_their_memory_back(monkeypatch):
    engine = shared_engine(1)
    engine.read(np.full((40, 90), 128, np.uint8), [TextBox(5, 5, 80, 30)])
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            raise StopIteration

    monkeypatch.setattr(ocr, "give_back_idle", lambda: engine.give_back(0, 0))
    monkeypatch.setattr(warm_up, "AGAIN_S", ())
    monkeypatch.setattr(warm_up.time, "sleep", sleep)
    monkeypatch.setattr(warm_up, "settle", lambda: pytest.fail("ten minutes are not over"))
    with pytest.raises(StopIteration):
        warm_up.settle_again()
    assert slept == [warm_up.IDLE_LOOK_S] * 3
    assert not engine.give_back(0, 0)  # it is done


def test_pages_under_test_load_nothing_ahead(monkeypatch):
    monkeypatch.setattr(warm_up, "_started", lambda: pytest.fail("loading has begun"))
    assert not opened("glossary").exception
    assert not warm_up.ELSEWHERE.is_set()


def test_what_no_page_needs_at_first_is_not_loaded_with_the_rest():
    program = "import importlib, sys; from services.warm_up import MODULES\n"
    program += "for name in MODULES: importlib.import_module(name)\n"
    program += "print(sorted({'pydicom', 'scipy.optimize', 'scipy.stats', 'sklearn.metrics'} & set(sys.modules)))"
    command, path = [sys.executable, "-c", program], {"PYTHONPATH": f"{PROJECT}{os.pathsep}{PROJECT / 'dashboard'}"}
    done = subprocess.run(command, env=os.environ | path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_what_a_network_needs_has_all_been_loaded():
    done = subprocess.run([sys.executable, "-c", LIBRARIES], cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    more = set(json.loads(done.stdout.splitlines()[-1])) & {"torch", "timm", "torchvision", "scipy", "sklearn"}
    assert not more
