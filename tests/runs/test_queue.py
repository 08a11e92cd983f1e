"""One run per device at a time; the others wait in an order that can be changed, whoever dies in whatever way."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cxr.errors import RunError
from cxr.runs import DeviceQueue, Run, RunFolder, devices, list_runs, local, start
from cxr.runs.devices import device_options
from cxr.runs.kinds import KINDS
from cxr.runs.queue import Ticket, devices_in_words, grants, waiting_for
from tests.configurations import CONFIGURATIONS, write_xrays

PROJECT = Path(__file__).resolve().parents[2]
CPU = {"cpu": ("cpu",)}
ENDLESS = {"n": 100_000, "recipe": {"device": "cpu"}}
WORKER_WITH_GPUS = """
import os, sys, cxr.runs.worker
from cxr.runs import devices, kinds
from tests.runs import jobs
kinds.KINDS.update(jobs.KINDS)
devices.count_gpus = lambda: {gpus}
sys.exit(cxr.runs.worker.main(sys.argv[1]))
"""


@pytest.fixture
def gpus(job_kinds, monkeypatch):
    """Let the workers believe in so many GPUs."""

    def believe(number: int) -> None:
        script = WORKER_WITH_GPUS.format(gpus=number)
        monkeypatch.setattr(local, "worker_command", lambda folder: [sys.executable, "-c", script, str(folder)])

    return believe


@pytest.fixture
def line_up(until):
    """Start trainings one after the other, each once the one before has its place."""

    def start_all(*names: str, **params: object) -> list[Run]:
        runs = []
        for name in names:
            run = start("train", ENDLESS | params, name=name)
            until(lambda run=run: run.id in [ticket.run for ticket in DeviceQueue().tickets()])
            runs.append(run)
        until(lambda: DeviceQueue().tickets()[0].holds)
        return runs

    return start_all


def order() -> list[str]:
    """Names of the runs that wait, in their order."""
    return [row["name"] for row in DeviceQueue().rows() if row["place"]]


def has_device() -> list[str]:
    return [row["name"] for row in DeviceQueue().rows() if not row["place"]]


def kill_process(run: Run) -> None:
    os.kill(run.status()["pid"], signal.SIGKILL)


def ticket(run: str, arrived: int, *options: tuple[str, ...], holds: tuple[str, ...] = ()) -> Ticket:
    return Ticket(run, arrived, 1, {devices[0]: devices for devices in options}, holds)


# who may begin


def test_the_first_that_waits_gets_a_free_device_and_the_second_does_not():
    first, second = ticket("a", 1, ("cpu",)), ticket("b", 2, ("cpu",))
    assert grants([first, second]) == {first.key: "cpu"}
    assert grants([ticket("x", 0, ("cpu",), holds=("cpu",)), first, second]) == {}


def test_two_devices_are_given_to_two_runs_at_once():
    first, second = ticket("a", 1, ("cuda:0",)), ticket("b", 2, ("cuda:1",))
    assert grants([first, second]) == {first.key: "cuda:0", second.key: "cuda:1"}


def test_a_run_on_any_gpu_takes_the_first_that_is_free():
    holder = ticket("x", 0, ("cuda:0",), holds=("cuda:0",))
    waiting = [ticket(name, n, ("cuda:0",), ("cuda:1",), ("cuda:2",)) for n, name in enumerate("abc", 1)]
    assert grants([holder, *waiting]) == {waiting[0].key: "cuda:1", waiting[1].key: "cuda:2"}


def test_a_run_on_two_gpus_waits_for_both_and_is_not_passed_by_those_behind_it():
    holder = ticket("x", 0, ("cuda:0",), holds=("cuda:0",))
    pair, single = ticket("pair", 1, ("cuda:0", "cuda:1")), ticket("single", 2, ("cuda:1",))
    assert grants([holder, pair, single]) == {}
    assert grants([pair, single]) == {pair.key: "cuda:0"}


def test_a_run_on_any_two_of_four_gpus_keeps_the_pair_that_lacks_least():
    holder = ticket("x", 0, ("cuda:0", "cuda:1"), holds=("cuda:0", "cuda:1"))
    other = ticket("y", 1, ("cuda:3",), holds=("cuda:3",))
    pair = ticket("pair", 2, ("cuda:0", "cuda:1"), ("cuda:1", "cuda:2"), ("cuda:2", "cuda:3"))
    assert grants([holder, other, pair]) == {}
    assert grants([holder, other, pair, ticket("z", 3, ("cuda:2",))]) == {}
    assert grants([holder, pair]) == {pair.key: "cuda:2"}


def test_runs_that_want_overlapping_pairs_never_wait_in_a_circle():
    chances = random.Random(0)
    waiting = [ticket(str(n), n, *_pairs(chances)) for n in range(30)]
    while waiting:
        begun = grants(waiting)
        assert begun, "nobody may begin although no device is held"
        waiting = [each for each in waiting if each.key not in begun]


def _pairs(chances: random.Random) -> list[tuple[str, ...]]:
    n = chances.randint(1, 4)
    firsts = chances.sample(range(5 - n), chances.randint(1, 5 - n))
    return [tuple(f"cuda:{first + i}" for i in range(n)) for first in firsts]


def test_a_waiting_run_says_whom_it_waits_for_and_not_of_runs_on_other_devices():
    holders = [ticket("x", 0, ("cpu",), holds=("cpu",)), ticket("y", 1, ("cuda:0",), holds=("cuda:0",))]
    waiting = [ticket(name, n, ("cpu",)) for n, name in enumerate("abcd", 2)]
    assert waiting_for(waiting[0], [*holders, *waiting]) == "waiting for cpu, behind x"
    assert waiting_for(waiting[3], [*holders, *waiting]) == "waiting for cpu, behind x, a, b and 1 more"
    assert devices_in_words(ticket("z", 9, ("cuda:0", "cuda:1"), ("cuda:1", "cuda:2"))) == (
        "any of cuda:0 and cuda:1, cuda:1 and cuda:2"
    )


# what a recipe's device means


@pytest.mark.parametrize(
    ("device", "n", "gpus", "options"),
    [
        ("cpu", 1, 4, CPU),
        ("cpu", 2, 0, CPU),
        ("auto", 1, 0, CPU),
        ("auto", 1, 2, {"cuda:0": ("cuda:0",), "cuda:1": ("cuda:1",)}),
        ("auto", 2, 3, {"cuda:0": ("cuda:0", "cuda:1"), "cuda:1": ("cuda:1", "cuda:2")}),
        ("auto", 4, 2, {"cuda:0": ("cuda:0", "cuda:1", "cuda:2", "cuda:3")}),
        ("cuda", 1, 0, {"cuda:0": ("cuda:0",)}),
        ("cuda:2", 2, 0, {"cuda:2": ("cuda:2", "cuda:3")}),
        ("cuda:x", 1, 2, {"cuda:x": ("cuda:x",)}),
        ("tpu", 1, 2, {"tpu": ("tpu",)}),
    ],
)
def test_a_recipe_s_device_says_what_its_run_may_take(device, n, gpus, options, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert device_options(device, n, gpus) == options


def test_a_gpu_has_one_place_whatever_number_a_process_gives_it(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    assert device_options("auto", 1, 2) == {"cuda:0": ("cuda:3",), "cuda:1": ("cuda:1",)}


def test_without_a_driver_no_gpus_are_looked_for(monkeypatch):
    monkeypatch.setattr(devices, "_DRIVERS", ("/no/such/driver",))
    monkeypatch.setattr(devices, "_ASK_TORCH", "raise SystemExit(3)")
    assert devices.count_gpus() == 0


@pytest.mark.parametrize(
    ("listed", "visible", "gpus"),
    [
        ("GPU 0: NVIDIA H100 (UUID: GPU-1)\nGPU 1: NVIDIA H100 (UUID: GPU-2)", None, 2),
        ("GPU 0: NVIDIA H100 (UUID: GPU-1)\nGPU 1: NVIDIA H100 (UUID: GPU-2)", "1", 1),
        ("GPU 0: NVIDIA H100 (UUID: GPU-1)", "", 0),
        ("GPU 0: NVIDIA H100 (UUID: GPU-1)\n  MIG 1g.10gb Device 0: (UUID: MIG-1)", None, 7),
    ],
)
def test_nvidia_s_tool_tells_the_gpus_and_torch_is_asked_only_about_slices(
    listed, visible, gpus, monkeypatch, tmp_path
):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{listed}\nEND\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(devices, "_DRIVERS", ("/dev/null",))
    monkeypatch.setattr(devices, "_ASK_TORCH", "print(7)")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.count_gpus() == gpus


@pytest.mark.parametrize(("answer", "gpus"), [("print('a warning'); print(2)", 2), ("raise SystemExit(3)", 0)])
def test_where_there_is_a_driver_torch_is_asked_in_a_process_of_its_own(answer, gpus, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))  # where NVIDIA's tool is not
    monkeypatch.setattr(devices, "_DRIVERS", (str(tmp_path),))
    monkeypatch.setattr(devices, "_ASK_TORCH", answer)
    assert devices.count_gpus() == gpus


# runs in the queue


@pytest.mark.usefixtures("job_kinds")
def test_one_runs_and_three_wait_in_order_and_the_order_is_reported(line_up, cxr):
    runs = line_up("one", "two", "three", "four")
    assert (has_device(), order()) == (["one"], ["two", "three", "four"])
    code, out, _ = cxr("runs", "queue", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [(row["id"], row["place"], row["devices"]) for row in rows] == [
        (run.id, place, ["cpu"]) for place, run in enumerate(runs)
    ]
    assert all(run.id in cxr("runs", "queue")[1] for run in runs)
    assert [run.status()["state"] for run in runs[1:]] == ["queued"] * 3


@pytest.mark.usefixtures("job_kinds")
def test_a_waiting_run_is_moved_to_the_front_to_the_end_and_before_another(line_up, cxr, until):
    one, two, three, four = line_up("one", "two", "three", "four")
    code, out, _ = cxr("runs", "move", four.id, "--first", "--json")
    assert (code, [row["name"] for row in json.loads(out)]) == (0, ["one", "four", "two", "three"])
    cxr("runs", "move", four.id, "--last")
    assert order() == ["two", "three", "four"]
    cxr("runs", "move", four.id, "--before", three.id)
    assert order() == ["two", "four", "three"]
    until(lambda: three.status()["message"] == f"waiting for cpu, behind {one.id}, {two.id}, {four.id}")
    cxr("runs", "move", four.id, "--first")
    (five,) = line_up("five")
    assert order() == ["four", "two", "three", "five"]  # who comes later stands behind, whatever was moved
    kill_process(one)
    until(lambda: has_device() == ["four"])
    until(lambda: four.status()["state"] == "running")
    assert (order(), five.status()["state"]) == (["two", "three", "five"], "queued")


@pytest.mark.usefixtures("job_kinds")
def test_only_what_waits_is_moved_and_every_other_wish_is_refused_in_one_line(line_up, cxr):
    one, two = line_up("one", "two")
    elsewhere = RunFolder.create(one.folder.path.parent, "train", {})
    for words, message in (
        ((one.id, "--first"), f"run {one.id} has cpu already: only a waiting run can be moved"),
        ((two.id, "--before", one.id), f"run {one.id} has cpu already"),
        ((two.id, "--before", two.id), f"run {two.id} cannot be put before itself"),
        ((elsewhere.id, "--last"), f"run {elsewhere.id} does not wait for a device. Waiting: {two.id}"),
        (("20250101-000000-abcdef", "--first"), "there is no run '20250101-000000-abcdef'"),
    ):
        code, _, err = cxr("runs", "move", *words)
        assert (code, err.count("\n")) == (2 if "there is no run" in message else 1, 1)
        assert message in err
    assert cxr("runs", "move", two.id)[0] == cxr("runs", "move", two.id, "--first", "--last")[0] == 2


OTHERS = [kind.name for kind in KINDS.values() if kind.device == "queued" and kind.name != "train"]


@pytest.mark.parametrize("kind", OTHERS)
def test_whatever_computes_with_a_network_waits_for_the_gpu_that_a_training_has(kind, gpus, until):
    gpus(1)
    training = start("train", {"n": 100_000, "recipe": {"device": "auto"}}, name="training")
    until(lambda: training.status()["state"] == "running")
    waits = start(kind, {"n": 1}, name="waits")
    until(lambda: waits.status()["message"] == f"waiting for cuda:0, behind {training.id}")
    at_once = start(kind, {"n": 1, "device": "cpu"}, name="at once")
    until(lambda: at_once.status()["state"] == "finished")
    assert (waits.status()["state"], at_once.folder.read_json("device.json")) == ("queued", None)
    training.stop()
    until(lambda: waits.status()["state"] == "finished")
    assert waits.folder.read_json("device.json") == "cuda:0"


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS.values() if kind.device == "none"])
def test_what_computes_with_no_network_needs_no_turn(kind, monkeypatch):
    monkeypatch.setattr(devices, "count_gpus", lambda: 2)
    assert devices.options_of(KINDS[kind], {"device": "auto"}) is None


@pytest.mark.parametrize("kind", OTHERS)
def test_the_processor_is_shared_by_all_but_trainings(kind, monkeypatch):
    monkeypatch.setattr(devices, "count_gpus", lambda: 0)
    assert devices.options_of(KINDS[kind], {}) is None
    assert devices.options_of(KINDS["train"], {"recipe": {}}) == CPU
    monkeypatch.setattr(devices, "count_gpus", lambda: 2)
    assert list(devices.options_of(KINDS[kind], {})) == ["cuda:0", "cuda:1"]
    assert list(devices.options_of(KINDS[kind], {"device": "cuda:1"})) == ["cuda:1"]
    assert devices.options_of(KINDS[kind], {"device": "cpu"}) is None


ASKED = {
    "evaluate": ("evaluate", "demo"),
    "explain": ("explain", "demo", "--split", "test"),
    "text-experiment": ("text", "experiment", "demo"),
    "text-stamping": ("text", "stamp", "demo", "--word", "DX", "--detach"),
    "relevance-regions": ("relevance", "demo", "--detach"),
    "cluster-heatmaps": ("clusters", "demo", "--detach"),
}


@pytest.mark.usefixtures("job_kinds")
@pytest.mark.parametrize("kind", OTHERS)
def test_every_command_that_starts_one_takes_the_device_and_refuses_what_is_none(kind, cxr, tmp_path):
    data = write_xrays(tmp_path / "xrays", CONFIGURATIONS[0], words=True)
    words = (*ASKED[kind], "--data", str(data))
    code, _, err = cxr(*words, "--device", "tpu")
    assert code == 2
    assert "'tpu' is none of auto, cpu, cuda" in " ".join(err.replace("│", " ").split())
    cxr(*words, "--device", "cpu")
    (run,) = list_runs(kind=kind)
    assert run.spec["params"]["device"] == "cpu"


@pytest.mark.usefixtures("job_kinds")
def test_a_queue_without_runs_says_so(cxr):
    assert cxr("runs", "queue", "--json") == (0, "[]\n", "")
    assert cxr("runs", "queue")[1] == "no run is using or waiting for a device of this machine\n"


@pytest.mark.usefixtures("job_kinds")
@pytest.mark.parametrize("end", ["stop", "kill", "vanish"])
def test_a_waiting_run_that_ends_leaves_the_queue_at_once(line_up, until, end):
    one, two, three = line_up("one", "two", "three")
    {"stop": two.stop, "kill": two.kill, "vanish": lambda: kill_process(two)}[end]()
    until(lambda: order() == ["three"], timeout=1.0)
    kill_process(one)
    until(lambda: three.status()["state"] == "running", timeout=5.0)
    assert two.metrics()[0] == []


@pytest.mark.usefixtures("job_kinds")
def test_a_run_that_was_first_and_is_resumed_stands_behind_those_that_came_meanwhile(line_up, until):
    three = line_up("one", "two", "three")[-1]
    DeviceQueue().move(three.id)
    three.stop()
    three.wait(300)
    line_up("four")
    three.resume()
    until(lambda: order() == ["two", "four", "three"])


@pytest.mark.usefixtures("job_kinds")
def test_a_waiting_process_has_not_imported_torch(line_up, cold_workers):
    _, two = line_up("one", "two", recipe={"device": "auto"})
    process = psutil.Process(two.status()["pid"])
    assert not [part.path for part in process.memory_maps() if "libtorch" in part.path]
    assert process.memory_info().rss < 80 * 2**20


@pytest.mark.usefixtures("job_kinds")
def test_what_a_killed_training_left_behind_is_ended_before_the_next_one_has_its_device(line_up, until):
    one, two = line_up("one", "two", helpers=2)
    until(lambda: one.folder.read_json("helpers.json"))
    helpers = one.folder.read_json("helpers.json")
    kill_process(one)
    until(lambda: two.folder.read_json("device.json") == "cpu")
    assert [local.start_time(pid) for pid in helpers] == [None, None]
    assert two.status()["state"] == "running"


def test_a_run_on_any_gpu_is_given_a_free_one_and_reported_which(gpus, line_up, until, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpus(2)
    one, two, three, four = line_up("one", "two", "three", "four", recipe={"device": "auto"})
    until(lambda: [run.folder.read_json("device.json") for run in (one, two)] == ["cuda:0", "cuda:1"])
    assert order() == ["three", "four"]
    kill_process(two)
    until(lambda: three.folder.read_json("device.json") == "cuda:1")
    kill_process(one)
    until(lambda: four.folder.read_json("device.json") == "cuda:0")


def test_a_run_on_two_gpus_takes_them_together(gpus, line_up, until, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpus(2)
    (one,) = line_up("one", recipe={"device": "cuda:1"})
    (pair,) = line_up("pair", recipe={"device": "cuda:0", "devices": 2})
    (other,) = line_up("other", recipe={"device": "auto", "devices": 2})
    (last,) = line_up("last", recipe={"device": "cuda:0"})
    assert order() == ["pair", "other", "last"]
    until(lambda: pair.status()["message"] == f"waiting for cuda:0 and cuda:1, behind {one.id}")
    for run, then in ((one, pair), (pair, other), (other, last)):
        kill_process(run)
        until(lambda then=then: then.folder.read_json("device.json") == "cuda:0")
    assert order() == []


# whoever dies, nothing stays behind and nobody gets in beside another

TAKE_TURNS = """
import os, sys, time
from pathlib import Path
from cxr.runs import DeviceQueue
root, name, turns = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
inside = root / "inside"
for n in range(turns):
    with DeviceQueue(root).turn(f"{name}-{n}", {"cpu": ("cpu",)}, lambda: False, lambda text: None):
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails if another one is in
        time.sleep(0.002)
        inside.unlink()
"""
MOVE_ABOUT = """
import random, sys
from pathlib import Path
from cxr.errors import RunError
from cxr.runs import DeviceQueue
queue, chances = DeviceQueue(Path(sys.argv[1])), random.Random()
while True:
    waiting = [ticket.run for ticket in queue.tickets() if not ticket.holds]
    if len(waiting) > 1:
        one, other = chances.sample(waiting, 2)
        try:
            queue.move(one, before=chances.choice([None, other]), last=chances.random() < 0.2)
        except RunError:
            continue  # it has left meanwhile
        print(".", flush=True)
"""


def script(text: str, *words: object, quick: bool = False) -> subprocess.Popen[str]:
    text = "from cxr.runs import queue; queue._POLL_S = queue._LISTEN_S = 0.005\n" + text if quick else text
    command = [sys.executable, "-c", text, *map(str, words)]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_moving_while_devices_change_hands_never_lets_two_in(tmp_path):
    movers = [script(MOVE_ABOUT, tmp_path) for _ in range(2)]
    runners = [script(TAKE_TURNS, tmp_path, name, 25, quick=True) for name in "abcd"]
    try:
        for runner in runners:
            _, err = runner.communicate(timeout=120)
            assert (runner.returncode, err) == (0, "")
    finally:
        for process in [*movers, *runners]:
            process.kill()
    moves = [mover.communicate()[0].count(".") for mover in movers]
    assert all(n > 10 for n in moves), moves
    assert DeviceQueue(tmp_path).tickets() == []


@pytest.mark.usefixtures("job_kinds")
def test_killing_the_one_that_moves_at_any_moment_leaves_a_whole_queue(line_up, until):
    runs = line_up("one", "two", "three", "four")
    root = runs[0].folder.path.parent
    chances = random.Random(1)
    for _ in range(8):
        mover = script(MOVE_ABOUT, root)
        mover.stdout.readline()
        time.sleep(chances.uniform(0, 0.02))
        mover.kill()
        mover.communicate()
        assert (has_device(), sorted(order())) == (["one"], ["four", "three", "two"])
    assert DeviceQueue().move(runs[1].id)[0] == runs[1].id
    assert list(root.glob(".locks/*/.order.json.*")) == []  # no half files of those that were killed
    kill_process(runs[0])
    until(lambda: has_device() == ["two"])


def test_a_process_killed_while_it_waits_or_holds_leaves_its_place_free(tmp_path):
    wait_for_it = """
import sys, time
from pathlib import Path
from cxr.runs import DeviceQueue
say = lambda text: print(text, flush=True)
with DeviceQueue(Path(sys.argv[1])).turn(sys.argv[2], {"cpu": ("cpu",)}, lambda: False, say):
    say("in")
    time.sleep(60)
"""
    first = script(wait_for_it, tmp_path, "first")
    assert first.stdout.readline() == "in\n"
    second = script(wait_for_it, tmp_path, "second")
    assert second.stdout.readline() == "waiting for cpu, behind first\n"
    assert [each.run for each in DeviceQueue(tmp_path).tickets()] == ["first", "second"]
    for process in (second, first):
        process.kill()
        process.communicate()
    assert DeviceQueue(tmp_path).tickets() == []
    with DeviceQueue(tmp_path).turn("third", CPU, lambda: False, print) as ours:
        assert ours == "cpu"
        assert [each.run for each in DeviceQueue(tmp_path).tickets()] == ["third"]
    assert list(tmp_path.glob(".locks/*/tickets/*")) == []


@pytest.mark.parametrize("options", [CPU, {"cuda:0": ("cuda:0", "cuda:1")}])
def test_a_device_is_given_back_when_the_work_fails(tmp_path, options):
    queue = DeviceQueue(tmp_path)
    with pytest.raises(ZeroDivisionError), queue.turn("one", options, lambda: False, print):
        _ = 1 / 0
    with queue.turn("two", options, lambda: False, print) as ours:
        assert ours == next(iter(options))


def test_who_gives_up_holds_nothing(tmp_path):
    queue, said = DeviceQueue(tmp_path), []
    with queue.turn("one", CPU, lambda: False, print):
        with queue.turn("two", CPU, lambda: bool(said), said.append) as ours:
            assert ours is None
        assert [each.run for each in queue.tickets()] == ["one"]
    assert said == ["waiting for cpu, behind one"]


def test_a_clock_that_was_set_back_puts_nobody_in_front(tmp_path, monkeypatch):
    queue = DeviceQueue(tmp_path)
    with queue.turn("one", CPU, lambda: False, print):
        monkeypatch.setattr(time, "time_ns", lambda: 1)
        with queue.turn("two", CPU, lambda: True, print):
            assert [each.run for each in queue.tickets()] == ["one", "two"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"run": 1}', b"\xff"])
def test_a_damaged_ticket_or_order_disturbs_nobody(tmp_path, content):
    queue = DeviceQueue(tmp_path)
    with queue.turn("one", CPU, lambda: False, print):
        pass
    (folder,) = tmp_path.glob(".locks/*")
    (folder / "tickets" / "00000000000000000001-bad").write_bytes(content)
    (folder / "order.json").write_bytes(content)
    assert queue.tickets() == []
    with queue.turn("two", CPU, lambda: False, print) as ours:
        assert ours == "cpu"
    assert list((folder / "tickets").iterdir()) == []


def test_moving_in_an_empty_queue_is_an_error(tmp_path):
    with pytest.raises(RunError, match=r"run one does not wait for a device\. Waiting: none"):
        DeviceQueue(tmp_path).move("one")
