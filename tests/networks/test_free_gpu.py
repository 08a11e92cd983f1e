"""A page or a command that computes uses a GPU while one is free, gives it back, and says where it computed.

GPUs are made up here: the queue counts as many as a test says, and what would go to one stays on the processor.
"""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from configurations import CONFIGURATIONS, every_configuration, make_network

from cxr import paths
from cxr.errors import ExplainError, RecipeError, RunError
from cxr.evaluation import predict
from cxr.explain.heatmap import Method
from cxr.networks import compute_on_free_device, free_gpu, usual_device
from cxr.runs import DeviceQueue, queue
from cxr.runs.devices import device_options

NETWORK = make_network(CONFIGURATIONS[0])
PICTURES = np.random.default_rng(0).integers(0, 256, (2, 64, 64), dtype=np.uint8)
GpuWork = Callable[[object, torch.device], object]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch):
    """Let this process believe in so many GPUs; returns the copies that went to them, with their device."""

    def believe(number: int, copied: GpuWork | None = None, shared: bool = True) -> list[tuple[object, str]]:
        went: list[tuple[object, str]] = []

        def copy_on(network: object, gpu: torch.device) -> object:
            twin = copied(network, gpu) if copied else copy.deepcopy(network)
            went.append((weakref.ref(twin), str(gpu)))
            return twin

        monkeypatch.setattr(free_gpu, "_gpus_here", lambda: number)
        monkeypatch.setattr(free_gpu, "_shared", lambda: shared)
        monkeypatch.setattr(free_gpu, "_copy_on", copy_on)
        return went

    return believe


def a_run_has(held: ExitStack, *devices: str, name: str = "training") -> None:
    options = {devices[0]: devices}
    held.enter_context(DeviceQueue().turn(name, options, lambda: False, lambda text: None))


def where(network: object = NETWORK) -> str:
    return compute_on_free_device(network, lambda on_device: predict(on_device, PICTURES)).where


def test_without_a_gpu_it_computes_on_the_processor_and_leaves_no_trace(gpus) -> None:
    gpus(0)
    computed = compute_on_free_device(NETWORK, lambda on_device: on_device)
    assert (computed.value, computed.device, computed.note) == (NETWORK, "cpu", "")
    assert (computed.where, usual_device()) == ("on the processor", "on the processor")
    assert not (paths.runs_root() / ".locks").exists()


@every_configuration
def test_a_free_gpu_gets_a_copy_for_the_computation_alone(configuration, gpus) -> None:
    network, went = make_network(configuration), gpus(1)
    holds: list[tuple[str, ...]] = []

    def computation(on_device):
        assert on_device is not network  # other threads may be working with it
        holds.extend(ticket.holds for ticket in DeviceQueue().tickets())
        return Method.of().explain(on_device, PICTURES, configuration.classes[0]).relevance

    computed = compute_on_free_device(network, computation)
    assert (computed.where, computed.device, usual_device()) == (
        "on the GPU cuda:0",
        "cuda:0",
        "on a GPU while one is free, else on the processor",
    )
    expected = Method.of().explain(network, PICTURES, configuration.classes[0]).relevance
    np.testing.assert_array_equal(computed.value, expected)
    assert holds == [("cuda:0",)]
    assert DeviceQueue().tickets() == []
    (copied, device), *more = went
    assert (copied(), device, more) == (None, "cuda:0", [])


def test_the_gpu_that_a_run_has_is_left_to_it_and_another_is_taken(gpus) -> None:
    gpus(2)
    with ExitStack() as held:
        a_run_has(held, "cuda:0")
        assert where() == "on the GPU cuda:1"
        a_run_has(held, "cuda:1", name="evaluation")
        assert where() == "on the processor (in use: cuda:0, cuda:1 by training, evaluation)"
        held.pop_all().close()
    assert where() == "on the GPU cuda:0"


def test_a_run_that_waits_for_two_gpus_is_not_kept_waiting_by_pages(gpus) -> None:
    gpus(2)
    with ExitStack() as held:
        a_run_has(held, "cuda:0")
        came, has_both = threading.Event(), threading.Event()

        def pair() -> None:
            options = device_options("auto", 2, 2)
            with DeviceQueue().turn("pair", options, lambda: False, lambda text: came.set()):
                has_both.set()

        waits = threading.Thread(target=pair)
        waits.start()
        assert came.wait(300)
        assert where() == "on the processor (in use: cuda:0, cuda:1 by training, pair)"
        held.pop_all().close()
        assert has_both.wait(300)
        waits.join(20)


def test_a_training_that_comes_meanwhile_waits_for_the_computation_alone(gpus) -> None:
    gpus(1)
    said: list[str] = []
    began = threading.Event()

    def training() -> None:
        with DeviceQueue().turn("training", {"cuda:0": ("cuda:0",)}, lambda: False, said.append):
            began.set()

    thread = threading.Thread(target=training)

    def computation(on_device):
        thread.start()
        while not said:
            began.wait(0.01)
        assert not began.is_set()
        assert [row["id"] for row in DeviceQueue().rows()] == ["training"]  # a page is no run that people can move
        return where()  # another page does not wait behind the training

    assert compute_on_free_device(NETWORK, computation).value == (
        f"on the processor (in use: cuda:0 by {queue.NO_RUN}, training)"
    )
    assert began.wait(300)
    thread.join(20)
    assert said == [f"waiting for cuda:0, behind {queue.NO_RUN}"]


def out_of_memory(network: object, gpu: torch.device) -> object:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def on_a_gpu_that_no_machine_has(network: object, _: torch.device) -> object:
    return copy.deepcopy(network).to("cuda:99")


def test_where_the_gpus_memory_is_too_small_the_processor_does_it(gpus) -> None:
    gpus(1, out_of_memory)
    computed = compute_on_free_device(NETWORK, lambda on_device: (on_device, DeviceQueue().tickets()))
    assert computed.where == "on the processor (the memory of cuda:0 is too small for this)"
    assert computed.value == (NETWORK, [])  # the GPU is not held meanwhile


def test_memory_that_gives_out_during_the_computation_is_no_failure_either(gpus) -> None:
    gpus(1)
    tried: list[object] = []

    def computation(on_device):
        tried.append(on_device)
        if on_device is not NETWORK:
            out_of_memory(on_device, torch.device("cuda:0"))
        return "done"

    computed = compute_on_free_device(NETWORK, computation)
    assert (computed.value, computed.device, len(tried)) == ("done", "cpu", 2)


def test_a_gpu_that_does_not_work_is_named_and_the_processor_does_it(gpus) -> None:
    gpus(1, on_a_gpu_that_no_machine_has)
    try:
        torch.zeros(1, device="cuda:99")
    except AssertionError:  # torch built without GPUs never counts one
        pytest.skip("this torch knows no GPUs")
    except RuntimeError:
        assert where().startswith("on the processor (cuda:0 failed: ")


def test_mistakes_of_the_user_are_no_failures_of_the_gpu(gpus) -> None:
    gpus(1)
    calls: list[object] = []

    def refused(error: Exception):
        def computation(on_device):
            calls.append(on_device)
            raise error

        return computation

    for error in (ExplainError("unknown target"), RunError("it is over")):
        with pytest.raises(type(error), match=str(error)):
            compute_on_free_device(NETWORK, refused(error))
    assert len(calls) == 2
    assert DeviceQueue().tickets() == []


def test_a_gpu_for_one_process_alone_is_left_to_runs(gpus) -> None:
    gpus(1, shared=False)
    assert where() == "on the processor (GPUs here take one process at a time)"


def test_a_queue_that_cannot_be_used_is_no_reason_to_fail(gpus, tmp_path, monkeypatch) -> None:
    gpus(1)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CXR_RUNS", str(tmp_path / "file"))
    assert where().startswith("on the processor (the queue of the devices cannot be used: ")


def test_a_named_device_is_taken_at_its_word(gpus) -> None:
    gpus(2)
    assert compute_on_free_device(NETWORK, lambda on_device: 1, "cpu").where == "on the processor"
    with pytest.raises(RecipeError, match=r"device: 'cuda:99' is not on this machine"):
        compute_on_free_device(NETWORK, lambda on_device: 1, "cuda:99")
