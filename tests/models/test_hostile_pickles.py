"""Files that mean harm: none runs anything, none exhausts memory, each is refused in one line."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hostile import FIRED, PAYLOADS, PLACES, WAYS, Trap, hostile_files, odd_files, whole_state

from cxr.errors import WeightsError
from cxr.models.safe_load import open_weights

# What the interpreter itself tells of: looking up a pickled class, running commands and code, loading libraries.
EVENTS = ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "exec",
          "compile", "ctypes.dlopen", "socket.connect", "shutil.rmtree", "webbrowser.open")  # fmt: skip
_seen: list[str] | None = None


def _watch(event: str, arguments: tuple) -> None:
    if _seen is not None and event in EVENTS:
        _seen.append(f"{event} {arguments}")


sys.addaudithook(_watch)


@contextmanager
def watched() -> Iterator[list[str]]:
    """Collect what the interpreter tells of while the block runs."""
    global _seen
    _seen = seen = []
    FIRED.clear()
    try:
        yield seen
    finally:
        _seen = None


@pytest.fixture(autouse=True)
def warm(tmp_path: Path) -> None:
    """Open a harmless file first, so that modules which reading a zip imports are there."""
    path = tmp_path / "good.pt"
    path.write_bytes(whole_state())
    open_weights(path)


def refusal(content: bytes, path: Path) -> str:
    path.write_bytes(content)
    with pytest.raises(WeightsError) as refused:
        open_weights(path)
    return str(refused.value)


def test_the_tripwires_work():
    with watched() as seen:
        pickle.loads(pickle.dumps(Trap()))
    assert "__setstate__" not in FIRED  # it has no state, so:
    assert "__new__" in FIRED
    assert any(event.startswith("pickle.find_class") for event in seen)
    with watched() as seen:
        exec("1")
    assert any(event.startswith("exec") for event in seen)


def test_of_210_hostile_files_none_runs_and_each_is_refused_in_one_line(tmp_path):
    flag, path = tmp_path / "ran", tmp_path / "hostile.pt"
    files = list(hostile_files(flag))
    assert len(files) == len(PAYLOADS) * len(WAYS) == 210
    assert {name.partition(" in ")[2] for name, _ in files} == set(PLACES)
    for name, content in files:
        with watched() as seen:
            said = refusal(content, path)
        assert not seen, name
        assert not FIRED, name
        assert not flag.exists(), name
        assert str(path) in said, name
        assert "\n" not in said, name
        assert len(said) < 600, name


def test_what_a_hostile_file_asks_for_is_named(tmp_path):
    for place in ("plain pickle", "zip", "legacy object", "modules", "deep inside", "a tensor of a state dict"):
        content = PLACES[place](WAYS["stack global"]("posix", "system", "true"))
        said = refusal(content, tmp_path / "hostile.pt")
        assert "is refused: it asks for posix.system, which no network needs (nothing was run)" in said, place
        assert "Ask its author for tensors alone" in said


@pytest.mark.parametrize(("name", "content"), odd_files(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_pickle_that_no_saver_writes_is_refused_in_one_line(tmp_path, name, content):
    with watched() as seen:
        said = refusal(content, tmp_path / "odd.pt")
    assert not seen
    assert "\n" not in said


_LIMITED = """
import json, resource, tempfile
from pathlib import Path
from hostile import bombs
from cxr.errors import WeightsError
from cxr.models.safe_load import open_weights
held = list(bombs())
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 700 * 2**20,) * 2)
path = Path(tempfile.mkdtemp()) / "bomb.pt"
for name, content in held:
    path.write_bytes(content)
    try:
        said = f"opened: {list(open_weights(path).state)[:3]}"
    except WeightsError as error:
        said = f"refused: {error}"
    print(json.dumps([name, said]), flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by RLIMIT_AS and read from /proc")
def test_what_asks_for_memory_or_time_is_refused_within_700_mb():
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED], capture_output=True, text=True, cwd=Path(__file__).parent, timeout=300
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (rows[-1:], done.stderr[-2000:])
    assert len(rows) == 33
    for name, said in rows:
        assert said.startswith("refused: "), (name, said)
        assert "\n" not in said, name


def test_a_file_as_it_should_be_is_read(tmp_path):
    path = tmp_path / "good.pt"
    path.write_bytes(whole_state())
    assert torch.equal(open_weights(path).state["conv.weight"], torch.tensor([[1.0, 2.0], [3.0, 4.0]]))


def test_what_is_harmless_by_being_inert_does_not_hide_the_tensors_beside_it(tmp_path):
    path = tmp_path / "partial.pt"
    content = {"state_dict": {"conv.weight": torch.ones(2)}, "best": __import__("functools").partial(int, "1")}
    torch.save(content, path)
    with watched() as seen:
        assert torch.equal(open_weights(path).state["conv.weight"], torch.ones(2))
    assert not seen
