"""An import or a split that is killed at any moment leaves the data set of before or the one that was wanted."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from data_samples import write_png
from PIL import Image

from cxr.data import Manifest, import_data, open_data_set
from cxr.data.jobs import import_data_set, split_data_set
from cxr.data.library import facts_beside, list_data_sets, read_excluded
from cxr.data.phantom import write_demo
from cxr.paths import data_root

PROJECT = Path(__file__).resolve().parents[2]
KILLS = 15

State = tuple[int, str, int]
Order = Callable[..., str]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two folders to import: 8 X-rays with one broken file, and 10 X-rays with two broken files."""
    made = []
    for number, (n, broken) in enumerate(((4, 1), (5, 2))):
        root = tmp_path_factory.mktemp(f"set{number}")
        for seed in range(2 * n):
            write_png(root / ("hernia" if seed % 2 else "none") / f"{seed}.png", seed, height=40, width=40)
        for k in range(broken):
            (root / "none" / f"broken{k}.png").write_text("no image")
        made.append(root)
    return made[0], made[1]


@pytest.fixture(scope="module")
def server() -> Iterator[Order]:
    """Give a function that does an import or a split in a process of its own and says how that ended."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("crashing.py"))],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    orders, answers = process.stdin, process.stdout
    assert answers.readline() == "ready\n"

    def order(do: str, *, die_at: int = 0, kill_after: float | None = None, **arguments: Any) -> str:
        values = {"do": do, "library": str(data_root()), "die_at": die_at, "kill_after": kill_after}
        orders.write(json.dumps(values | arguments) + "\n")
        orders.flush()
        return answers.readline().strip()

    yield order
    process.kill()
    process.wait()


def state() -> State | None:
    """What the library has: X-rays, splits and files left out of the set ``mine``; all of it must be of one time."""
    sets = {d.name: d for d in list_data_sets()}
    assert sets.keys() <= {"mine"}
    if not sets:
        return None
    manifest, facts = Manifest.load(sets["mine"].manifest_path), facts_beside(sets["mine"].manifest_path)
    assert manifest.missing_files().empty
    manifest.check_splits()
    assert sets["mine"].n == facts["n"] == len(manifest)
    assert bool(facts["split_reason"]) == (not manifest.splits)
    assert Path(facts["imported_from"]).is_dir()
    left_out = len(read_excluded("mine"))
    assert (len(manifest), left_out) in ((8, 1), (10, 2)), "manifest and left-out table are of one import"
    return len(manifest), manifest.split_hash() if manifest.splits else "", left_out


def orders_of(folders: tuple[Path, Path]) -> list[tuple[Path | None, str, dict[str, Any]]]:
    """What there is before, what is done, and with what: a first import, one that replaces another, a split."""
    first, second = folders
    return [
        (None, "import", {"path": str(first), "name": "mine"}),
        (first, "import", {"path": str(second), "name": "mine", "overwrite": True}),
        (first, "split", {"name": "mine", "seed": 5}),
    ]


@pytest.mark.parametrize("which", [0, 1, 2], ids=["first import", "replacing import", "split"])
def test_killed_before_any_change_of_the_disk_the_data_set_is_the_old_or_the_new_one(server, folders, tmp_path, which):
    before, do, arguments = orders_of(folders)[which]
    data_root().mkdir()
    if before is not None:
        import_data_set("image-folder", before, "mine", workers=0)
    shutil.copytree(data_root(), tmp_path / "before")

    states = {state()}
    changes = int(server(do, **arguments).removeprefix("ended "))
    states.add(state())
    if do == "import":
        result = import_data("image-folder", Path(arguments["path"]), workers=0)
        states.add((len(result.manifest), "", len(result.excluded)))
    assert changes >= 8, "changes are counted"

    seen = set()
    for die_at in range(1, changes + 1):
        shutil.rmtree(data_root())
        shutil.copytree(tmp_path / "before", data_root())
        assert server(do, die_at=die_at, **arguments) == "killed"
        seen.add(state())
        assert seen <= states
    assert seen == states, "deaths before, between and after"
    assert server(do, **(arguments | ({"overwrite": True} if do == "import" else {}))).startswith("ended")
    assert state() in states
    assert list(data_root().glob("mine/.pending")) == []


def test_killed_at_random_moments_the_data_set_stays_readable_and_the_next_import_works(server, folders):
    moments = random.Random(0)
    first, second = folders
    began = time.monotonic()
    server("import", path=str(first), name="mine")
    lasts = time.monotonic() - began
    ends = []
    for life in range(KILLS):
        folder = (first, second)[life % 2]
        after = moments.uniform(0, lasts)
        ends.append(server("import", kill_after=after, path=str(folder), name="mine", overwrite=True))
        assert state() is not None
    assert ends.count("killed") > KILLS // 3, "most were killed before their end"
    assert server("import", path=str(second), name="mine", overwrite=True).startswith("ended")
    n, splits, left_out = state() or (0, "", 0)
    assert (n, left_out, bool(splits)) == (10, 2, True)


@pytest.mark.slow
def test_killed_before_any_change_of_the_search_for_duplicates_the_list_never_stands_without_its_groups(
    server, tmp_path
):
    made = write_demo(tmp_path / "made", n=12, size=160, workers=0)
    for number, file in enumerate(made.image_paths().values()):
        folder = tmp_path / "set" / ("hernia" if number % 2 else "none")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / f"{number}.png")
    Image.open(tmp_path / "set" / "hernia" / "1.png").convert("L").save(
        tmp_path / "set" / "hernia" / "copy.jpg", quality=80
    )
    data_root().mkdir()
    arguments = {"path": str(tmp_path / "set"), "name": "mine", "find_duplicates": True}
    changes = int(server("import", **arguments).removeprefix("ended "))
    grouped = Manifest.load(data_root() / "mine" / "manifest.csv")
    assert (grouped.table["dup_group"] != "").sum() == 2
    ends = set()
    for die_at in range(1, changes + 1):
        shutil.rmtree(data_root() / "mine", ignore_errors=True)
        if server("import", die_at=die_at, **arguments) != "killed":
            assert die_at > changes // 2, "fewer changes than the first time, when images were decoded besides"
            break
        if not list_data_sets():
            continue
        manifest, facts = open_data_set("mine"), facts_beside(data_root() / "mine" / "manifest.csv")
        has_groups = bool((manifest.table["dup_group"] != "").any())
        assert (data_root() / "mine" / "duplicates.csv").is_file() == has_groups == bool(facts.get("duplicates"))
        assert has_groups or "has not come to its end" in facts["unfinished"]
        ends.add((has_groups, bool(manifest.splits)))
    assert ends >= {(False, False), (True, False), (True, True)}
    divided = split_data_set("mine", fractions={"train": 0.5, "test": 0.5})
    assert not any("come to its end" in note for note in divided.notes), "the last death was after the search"


def test_an_import_that_ended_within_its_search_says_so_until_it_is_resumed(tmp_path, monkeypatch):
    for seed in range(6):
        write_png(tmp_path / ("hernia" if seed % 2 else "none") / f"{seed}.png", seed, height=96, width=96)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("cxr.data.audit.duplicates.data_set.search_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            import_data_set("image-folder", tmp_path, "mine", find_duplicates=True, run="r1", workers=0)
    assert "`cxr runs resume r1`" in facts_beside(data_root() / "mine" / "manifest.csv")["unfinished"]
    divided = split_data_set("mine", fractions={"train": 0.5, "test": 0.5})
    assert "do not keep them together" in " ".join(divided.notes)
    import_data_set("image-folder", tmp_path, "mine", find_duplicates=True, run="r1", workers=0)
    facts = facts_beside(data_root() / "mine" / "manifest.csv")
    assert facts["unfinished"] == ""
    assert facts["duplicates"]["compared"] == 6
