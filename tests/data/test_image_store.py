"""The store of decoded images: shared by sets and processes, whole after any death, kept within its limit."""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import pickle
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import building
import numpy as np
import pytest
from building import ROW, SIDE
from configurations import CONFIGURATIONS, make_network
from data_samples import chest, write_png

from cxr.cli import main
from cxr.data import ImageCache, Manifest
from cxr.data.images import image_store, store_index
from cxr.data.images.cache_limit import clear, usage
from cxr.data.images.resize import fit_square
from cxr.errors import ImageError
from cxr.evaluation.predict import predict
from cxr.paths import cache_root

IMAGES = 30
OTHER_STEPS = ("fsync", "ftruncate", "take_shard", "claim", "find", "end_work")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for seed in range(IMAGES):
        write_png(folder / f"{seed}.png", seed)
    return folder


def chosen(files: Path, seeds: Any = range(IMAGES)) -> Manifest:
    return building.chosen(files, seeds)


def build(files: Path, seeds: Any = range(IMAGES), **options: Any) -> ImageCache:
    return building.build(files, seeds, **options)


def assert_right(cache: ImageCache) -> None:
    for image_id in cache.ids:
        np.testing.assert_array_equal(cache[image_id], fit_square(chest(int(image_id[2:])), SIDE))


def rows_on_disk(folder: Path) -> int:
    return sum(path.stat().st_size - store_index.HEADER for path in folder.glob("shard-*.u8")) // ROW


def assert_whole(folder: Path) -> int:
    """Every row that the index knows has its checksum; no two contents share one. Return their number."""
    with closing(sqlite3.connect(folder / "index.sqlite")) as index:
        rows = index.execute("SELECT shard, row, crc32 FROM images").fetchall()
    for shard, row, crc32 in rows:
        data = store_index.shard_path(folder, shard).read_bytes()[store_index.row_start(row, SIDE) :][:ROW]
        assert len(data) == ROW
        assert zlib.crc32(data) == crc32
    assert len({entry[:2] for entry in rows}) == len(rows)
    return len(rows)


# Several processes: forked from one that has everything imported and runs no thread.


def context() -> Any:
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(["cxr.data.images.image_cache", "cxr.data.images.resize"])
    return forking


@pytest.fixture
def start(files: Path, tmp_path: Path) -> Iterator[Any]:
    """Start a process that builds; give it and its pipe."""
    processes = []

    def begin(seeds: Any = range(IMAGES), dies_in: str = "", waits_at: int = 0) -> tuple[Any, Connection]:
        ours, theirs = context().Pipe()
        process = context().Process(
            target=building.builds, args=(theirs, files, tmp_path / "root", list(seeds), dies_in, waits_at)
        )
        process.start()
        theirs.close()
        processes.append(process)
        return process, ours

    yield begin
    for process in processes:
        process.kill()
        process.join()


def outcome(pipe: Connection) -> Any:
    while isinstance(message := pipe.recv(), int):
        continue
    return message


@pytest.fixture
def folder(tmp_path: Path, files: Path) -> Path:
    """The folder of the store in which processes build."""
    return tmp_path / "root" / "images" / build(files, [0]).folder.name


@pytest.mark.slow
def test_processes_that_build_overlapping_sets_at_once_decode_each_image_once_and_all_get_theirs(start, folder):
    sets = [range(20), range(IMAGES), range(10, IMAGES), range(IMAGES - 1, -1, -1)]
    running = [start(seeds) for seeds in sets]
    for _, pipe in running:
        pipe.send("go")
    decoded: list[str] = []
    for (_, pipe), seeds in zip(running, sets, strict=True):
        names, images, ids = outcome(pipe)
        decoded += names
        assert ids == sorted(f"id{seed:02d}" for seed in seeds)
        for image_id, image in zip(ids, images, strict=True):
            np.testing.assert_array_equal(image, fit_square(chest(int(image_id[2:])), SIDE))
    assert sorted(decoded) == sorted(f"{seed}.png" for seed in range(IMAGES))
    assert assert_whole(folder) == rows_on_disk(folder) == IMAGES


@pytest.mark.slow
def test_a_builder_killed_at_random_moments_leaves_a_whole_store_and_its_unfinished_rows_are_reused(
    start, folder, files, tmp_path
):
    moments = random.Random(0)
    for _ in range(5):
        process, pipe = start()
        pipe.send("go")
        for _ in range(moments.randrange(1, 12)):
            pipe.recv()
        process.kill()
        process.join()
        assert_whole(folder)
    cache = build(files, root=tmp_path / "root")
    assert len(cache) == IMAGES
    assert_right(cache)
    assert assert_whole(folder) == rows_on_disk(folder) == IMAGES


@pytest.mark.parametrize("dies_in", ["pwrite", *(pytest.param(step, marks=pytest.mark.slow) for step in OTHER_STEPS)])
def test_a_builder_killed_between_any_two_steps_leaves_nothing_behind_that_lasts(
    start, folder, files, tmp_path, dies_in
):
    build(files, range(5), root=tmp_path / "root")
    process, pipe = start(dies_in=dies_in)
    pipe.send("go")
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert assert_whole(folder) >= 5
    cache = build(files, root=tmp_path / "root")
    assert_right(cache)
    assert assert_whole(folder) == rows_on_disk(folder) == IMAGES
    assert len(list(folder.glob("*.lease"))) == 1  # that of `cache`


def test_a_builder_waits_for_another_one_s_images_and_decodes_them_itself_once_that_is_dead(
    start, folder, files, tmp_path
):
    process, pipe = start(waits_at=6)
    pipe.send("go")
    for _ in range(6):
        pipe.recv()
    waited = []

    def kill_it(done: int, total: int) -> None:
        if not waited:
            process.kill()
        waited.append(done)

    cache = build(files, root=tmp_path / "root", progress=kill_it)
    assert 5 <= waited[0] < IMAGES
    assert waited[-1] == IMAGES
    assert_right(cache)
    assert assert_whole(folder) == IMAGES


def test_a_builder_that_is_stopped_keeps_what_it_has_decoded(files, monkeypatch):
    class Stopped(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 12:
            raise Stopped

    with pytest.raises(Stopped):
        build(files, progress=stop)
    seen: list[int] = []
    assert_right(build(files, progress=lambda done, total: seen.append(done)))
    assert seen == list(range(13, IMAGES + 1))


def test_threads_may_build_and_read_at_once(files):
    caches: list[ImageCache] = []
    threads = [threading.Thread(target=lambda: caches.append(build(files))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for cache in caches:
        assert_right(cache)
    assert rows_on_disk(caches[0].folder) == IMAGES


# Reading


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four images to a shard."""
    monkeypatch.setattr(image_store, "_SHARD_BYTES", range(4 * ROW, 4 * ROW))
    monkeypatch.setattr(image_store, "_COMMIT_BYTES", 4 * ROW)


@pytest.mark.usefixtures("small_shards")
def test_images_of_many_shards_are_indexed_as_an_array_is(files):
    images = build(files).images
    array = np.stack([fit_square(chest(seed), SIDE) for seed in range(IMAGES)])
    assert len(list(build(files).folder.glob("shard-*"))) == 8
    assert (images.shape, images.dtype, images.ndim, images.nbytes) == (array.shape, array.dtype, 3, array.nbytes)
    rng = np.random.default_rng(0)
    indices: list[Any] = [3, -1, np.int64(7), np.array([-2, 3]), np.array([[1, 2], [29, 4]]), [5, 1, 1]]
    indices += [slice(2, 20, 5), slice(3, 3), rng.permutation(IMAGES), rng.random(IMAGES) > 0.5]
    indices += [(4, 2, 3), (slice(0, 9), slice(3, 5), 0)]
    for index in indices:
        np.testing.assert_array_equal(images[index], array[index])
    out = np.empty((9, SIDE, SIDE), np.uint8)
    rows = rng.permutation(IMAGES)[:9]
    assert np.take(images, rows, axis=0, out=out, mode="clip") is out
    np.testing.assert_array_equal(out, array[rows])
    every_other = np.zeros((18, SIDE, SIDE), np.uint8)[::2]
    np.testing.assert_array_equal(np.take(images, rows, axis=0, out=every_other), array[rows])
    np.testing.assert_array_equal(every_other, array[rows])
    np.testing.assert_array_equal(np.asarray(images), array)
    for wrong in (IMAGES, -IMAGES - 1, np.array([0, IMAGES])):
        with pytest.raises(IndexError):
            images[wrong]


def test_networks_of_one_and_of_three_channels_read_the_same_rows(files):
    sizes = set()
    for configuration in CONFIGURATIONS:
        network = make_network(configuration, size=32)
        cache = ImageCache.build(chosen(files, range(6)), network.card.size, workers=0)
        np.testing.assert_array_equal(predict(network, cache), predict(network, cache.images.copy()))
        (shard,) = cache.folder.glob("shard-*")
        sizes.add((cache.folder, shard.stat().st_size))
    assert {configuration.channels for configuration in CONFIGURATIONS} == {1, 3}
    assert len(sizes) == 1


# The limit


@pytest.fixture
def limit(small_shards: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve images: three shards."""
    monkeypatch.setenv("CXR_CACHE_GB", str(12.5 * ROW / 1e9))


def held(files: Path) -> set[int]:
    """The seeds whose image the store has, found without making it forget or learn anything."""
    folder = next((cache_root() / "images").glob(f"{SIDE}-*"))
    with closing(sqlite3.connect(folder / "index.sqlite")) as index:
        crcs = {crc32 for (crc32,) in index.execute("SELECT crc32 FROM images")}
    return {seed for seed in range(IMAGES) if zlib.crc32(fit_square(chest(seed), SIDE).tobytes()) in crcs}


@pytest.mark.usefixtures("limit")
def test_what_was_used_longest_ago_goes_and_what_is_in_use_stays(files):
    build(files, range(4))
    kept = build(files, range(4, 8))
    build(files, range(8, 12))
    build(files, range(4))  # used again
    build(files, range(12, 16))
    assert held(files) == {*range(8), *range(12, 16)}  # 4 to 7 were used longest ago but are open
    assert_right(kept)
    del kept
    build(files, range(16, 20))
    assert held(files) == {*range(4), *range(12, 20)}
    assert rows_on_disk(next((cache_root() / "images").glob(f"{SIDE}-*"))) == 12


@pytest.mark.usefixtures("limit")
def test_what_another_process_has_open_stays_until_it_ends_in_whatever_way(start, files, tmp_path, folder):
    process, pipe = start(range(4))
    pipe.send("go")
    outcome(pipe)
    (shard,) = folder.glob("shard-*")
    root = tmp_path / "root"
    for first in (4, 8, 12, 16):
        build(files, range(first, first + 4), root=root)
    assert shard.exists()
    assert clear(root / "images", everything=True).kept_bytes == 4 * ROW
    process.kill()
    process.join()
    assert clear(root / "images", everything=True).kept_bytes == 0
    assert not folder.exists()


@pytest.mark.usefixtures("limit")
def test_a_cache_sent_to_another_process_is_in_use_there_too(files):
    cache = build(files, range(4))
    copy = pickle.loads(pickle.dumps(cache))
    del cache
    assert clear(cache_root() / "images", everything=True).kept_bytes == 4 * ROW
    assert_right(copy)


@pytest.mark.usefixtures("limit")
def test_a_set_larger_than_the_limit_is_refused_before_it_is_decoded_and_removes_nothing_in_use(files):
    kept = build(files, range(4))
    line = r"13 images of 24 px take 0\.01 MB in the image cache, which may take 0\.01 MB: set CXR_CACHE_GB to more GB"
    with pytest.raises(ImageError, match=line):
        build(files, range(13))
    assert_right(kept)
    assert len(build(files, range(12))) == 12


@pytest.mark.usefixtures("limit")
def test_sets_in_use_at_once_may_take_more_than_the_limit_which_the_next_one_keeps_again(files, caplog):
    first, second = build(files, range(10)), build(files, range(10, 20))
    assert "more than the limit" in caplog.text
    assert_right(first)
    assert_right(second)
    del first, second
    build(files, range(20, 24))
    assert len(held(files)) <= 12


@pytest.mark.parametrize("value", ["0", "-1", "many", "nan", "inf"])
def test_an_impossible_limit_is_named(files, monkeypatch, value):
    monkeypatch.setenv("CXR_CACHE_GB", value)
    with pytest.raises(ImageError, match=f"CXR_CACHE_GB='{value}' is not allowed. Allowed: a number of GB above 0"):
        build(files)


# A disk that cannot be written


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a disk of its own cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_read_only_disk_is_read_and_what_it_lacks_is_refused_in_one_line(files, disk):
    build(files, range(4), root=disk)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert_right(build(files, range(3), root=disk))
    with pytest.raises(ImageError, match=r"cannot be written \(.*[Rr]ead-only.*\): free some disk space .*CXR_DATA"):
        build(files, range(5), root=disk)


def test_a_full_disk_is_one_line_and_loses_nothing(files, disk):
    build(files, range(4), root=disk)
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(512)):
            continue
    with pytest.raises(ImageError, match=r"free some disk space") as refused:
        build(files, root=disk)
    assert "\n" not in str(refused.value)
    assert_right(build(files, range(4), root=disk))
    filler.unlink()
    assert_right(build(files, root=disk))


# cxr cache


@pytest.fixture
def cxr(monkeypatch, capsys):
    def command(*arguments: object) -> Any:
        monkeypatch.setattr(sys, "argv", ["cxr", "cache", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return (left.value.code or 0, printed.out, printed.err)

    return command


def of_the_version_before(size: int = 32) -> Path:
    """A cache as the layout before had it, and what a killed builder of it left."""
    folder = cache_root() / "images" / ("a1" * 16)
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", np.zeros((3, size, size), np.uint8))
    facts = {"recipe": {"size": size, "fit": "pad", "decoder": 1}, "n": 3, "bytes": {}}
    (folder / "complete.json").write_text(json.dumps(facts))
    (folder.parent / f".{'b2' * 16}.partial").mkdir()
    return folder


def test_the_command_lists_stores_of_all_versions_with_their_bytes_and_the_limit(cxr, files, monkeypatch):
    monkeypatch.setenv("CXR_CACHE_GB", "3")
    assert cxr("show")[1].startswith("0.00 MB of at most 3.00 GB")
    (files / "broken.png").write_text("no image")
    table = chosen(files, range(4)).table
    table.loc[0, "image"] = "broken.png"
    cache = ImageCache.build(chosen(files).with_table(table), SIDE, workers=0)
    of_the_version_before()
    code, out, _ = cxr("--json")
    told = json.loads(out)
    assert (code, told["limit_bytes"]) == (0, 3 * 10**9)
    new, old = told["stores"]
    assert new | {"used": 0} == {
        "name": cache.folder.name, "folder": str(cache.folder), "size": SIDE, "treatment": "stretch", "images": 3,
        "unreadable": 1, "bytes": 3 * ROW, "is_current": True, "in_use": True, "used": 0,
    }  # fmt: skip
    assert (old["size"], old["treatment"], old["images"], old["is_current"]) == (32, "pad", 3, False)
    assert old["bytes"] > 3 * 32 * 32
    assert told["bytes"] == new["bytes"] + old["bytes"]
    for arguments in ((), ("show",)):
        code, out, _ = cxr(*arguments)
        assert code == 0
        assert cache.folder.name in out
        assert "from another version" in out.replace("\n", " ")
        assert "`cxr cache clear` removes" in out


def test_the_command_clears_other_versions_or_by_size_or_by_age_or_all_but_what_is_in_use(cxr, files):
    root = cache_root() / "images"
    assert cxr("clear")[:2] == (0, "0.00 MB freed\n")

    def names() -> set[str]:
        return {store.name.split("-")[0][:4] for store in usage(root)}

    old = of_the_version_before()
    for size in (24, 32, 40):
        ImageCache.build(chosen(files, range(2)), size, workers=0)
    code, out, _ = cxr("clear", "--json")
    assert (code, json.loads(out)["freed_bytes"] > 3000) == (0, True)
    assert not old.exists()
    assert not list(root.glob(".*"))
    assert names() == {"24", "32", "40"}
    assert json.loads(cxr("clear", "--size", 24, "--json")[1]) == {"freed_bytes": 2 * ROW, "kept_bytes": 0}
    assert names() == {"32", "40"}
    (folder,) = root.glob("40-*")
    with closing(sqlite3.connect(folder / "index.sqlite")) as index, index:
        index.execute("UPDATE shards SET used = used - 3 * 86400")
    assert cxr("clear", "--older-than", 4)[1] == "0.00 MB freed\n"
    assert names() == {"32", "40"}
    cxr("clear", "--older-than", 2)
    assert names() == {"32"}
    cache = ImageCache.build(chosen(files, range(2)), 32, workers=0)
    assert "stay: they are in use" in cxr("clear", "--all")[1]
    assert names() == {"32"}
    del cache
    cxr("clear", "--all")
    assert names() == set()
    assert [path.name for path in root.iterdir()] == ["lock.sqlite"]
    code, _, err = cxr("clear", "--all", "--size", 32)
    assert code == 2
    assert "--older-than" in err


def test_a_store_removed_by_hand_while_it_is_open_can_be_read_on_and_is_made_anew(files, caplog):
    caplog.set_level(logging.INFO)
    cache = build(files)
    for path in cache.folder.iterdir():
        path.unlink()
    assert_right(cache)
    again = build(files)
    assert_right(again)
    assert_right(cache)
