import multiprocessing
import sqlite3
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from toys import CLASSES, Model, pictures, shaken_densenet

from cxr.errors import ExplainError, WeightsError
from cxr.explain.heatmap import Method, heatmaps_of, picture_digest
from cxr.explain.store import HeatmapStore, clear, usage, weights_digest
from cxr.models import build, save_model

WAY = Method.of()


@pytest.fixture(scope="module")
def heatmaps():
    """Maps of three classes on two pictures."""
    targets = [list(CLASSES)] * 2
    return heatmaps_of(WAY.explain(Model(shaken_densenet()), pictures(2), targets))


@pytest.fixture
def store(tmp_path):
    return HeatmapStore("0123456789abcdef", tmp_path / "heatmaps")


def test_what_was_stored_is_read_back_with_its_ledger(store, heatmaps):
    assert store.get("one", WAY, CLASSES) == {}
    assert store.put(WAY, [("one", h) for h in heatmaps[0]]) == 3
    found = store.get("one", WAY, ["normal", "covid19", "flu"])
    assert set(found) == {"normal", "covid19"}
    original, read = heatmaps[0][1], found["normal"]
    assert original.target == "normal"
    scale = np.abs(original.relevance).max()
    assert np.allclose(read.relevance, original.relevance, atol=5e-4 * scale)
    for name in ("logit", "positive", "negative", "absorbed", "lost", "residual", "not_finite", "notes", "layers"):
        assert getattr(read, name) == getattr(original, name), name
    assert (read.composite, read.bias, read.options, read.precision) == ("epsilon-plus-flat", "ignore", WAY.options,
                                                                         "float32")  # fmt: skip
    assert np.allclose(read.layer_absorbed, original.layer_absorbed, rtol=1e-5)
    assert read.positive + read.negative + read.absorbed + read.lost + read.residual == pytest.approx(read.logit)


def test_every_setting_the_picture_and_the_weights_are_part_of_the_key(store, heatmaps, tmp_path):
    store.put(WAY, [("one", heatmaps[0][0])])
    target = [heatmaps[0][0].target]
    others = [
        Method.of("epsilon"),
        Method.of(bias="keep"),
        Method.of(options={"epsilon": 1e-3}),
        Method.of(precision="bfloat16"),
        Method.of(options={"stem_bn": "pass"}),
    ]
    assert store.get("one", Method.of(bias="ignore", options={"epsilon": 1e-6}), target)
    assert not any(store.get("one", other, target) for other in others)
    assert not store.get("two", WAY, target)
    assert not HeatmapStore("another", store.root).get("one", WAY, target)


def test_a_way_refuses_what_its_composite_does_not_know():
    with pytest.raises(ExplainError, match="unknown composite 'lrp'"):
        Method.of("lrp")
    with pytest.raises(ExplainError, match="'gamma'"):
        Method.of(options={"gamma": 0.5})


def test_methods_without_a_ledger_and_maps_of_zeros_are_stored_too(store):
    way = Method.of("gradient")
    (maps,) = heatmaps_of(way.explain(Model(shaken_densenet()), pictures(1), "normal"))
    empty = replace(maps[0], relevance=np.zeros((64, 64), np.float32))
    store.put(way, [("one", maps[0]), ("empty", empty)])
    read = store.get("one", way, ["normal"])["normal"]
    assert np.isnan([read.absorbed, read.lost, read.residual]).all()
    assert not read.has_ledger
    assert not store.get("empty", way, ["normal"])["normal"].relevance.any()


def test_storing_twice_keeps_one(store, heatmaps):
    entries = [("one", h) for h in heatmaps[0]]
    store.put(WAY, entries)
    assert store.put(WAY, entries) == 0
    assert usage(store.root).maps == 3


def test_a_torn_end_and_a_damaged_map_are_never_shown_and_mended(store, heatmaps):
    (file,) = [store.folder / "maps-64x64.f16"]
    store.put(WAY, [("one", heatmaps[0][0])])
    with file.open("ab") as torn:
        torn.write(b"half a map")
    store.put(WAY, [("two", heatmaps[1][0])])
    target = heatmaps[1][0].target
    read = store.get("two", WAY, [target])[target]
    assert np.allclose(read.relevance, heatmaps[1][0].relevance, atol=5e-4 * np.abs(read.relevance).max())
    content = bytearray(file.read_bytes())
    content[100] ^= 255
    file.write_bytes(content)
    assert store.get("one", WAY, [target]) == {}
    assert store.put(WAY, [("one", heatmaps[0][0])]) == 1
    assert store.get("one", WAY, [target])
    file.unlink()
    assert store.get("one", WAY, [target]) == {}


def test_a_damaged_index_is_begun_anew(store, heatmaps):
    entries = [("one", heatmaps[0][0])]
    store.put(WAY, entries)
    (store.folder / "index.sqlite").write_bytes(b"no database" * 100)
    target = heatmaps[0][0].target
    assert store.get("one", WAY, [target]) == {}
    store.put(WAY, entries)
    store.put(WAY, entries)
    assert target in store.get("one", WAY, [target])


def write_some(root, heatmaps, worker):
    store = HeatmapStore("shared", root)
    for n in range(10):
        store.put(WAY, [(f"{worker}-{n}", h) for h in heatmaps])
        store.put(WAY, [("common", h) for h in heatmaps])


@pytest.mark.slow
def test_processes_and_threads_append_together_and_readers_see_whole_maps(tmp_path, heatmaps):
    root, store = tmp_path / "heatmaps", HeatmapStore("shared", tmp_path / "heatmaps")
    fork = multiprocessing.get_context("spawn")
    workers = [fork.Process(target=write_some, args=(root, heatmaps[0], f"p{i}")) for i in range(2)]
    workers += [threading.Thread(target=write_some, args=(root, heatmaps[0], f"t{i}")) for i in range(2)]
    for worker in workers:
        worker.start()
    expected = {h.target: h.relevance for h in heatmaps[0]}
    seen = 0
    while any(worker.is_alive() for worker in workers):
        for target, read in store.get("common", WAY, CLASSES).items():
            assert np.allclose(read.relevance, expected[target], atol=5e-4 * np.abs(expected[target]).max())
            seen += 1
    for worker in workers:
        worker.join()
    assert seen
    assert usage(root).maps == 3 * (4 * 10 + 1)
    for name in ("p0", "p1", "t0", "t1"):
        assert all(len(store.get(f"{name}-{n}", WAY, CLASSES)) == 3 for n in range(10))


def test_a_full_store_drops_other_networks_and_then_stores_no_more(tmp_path, heatmaps):
    root, entry = tmp_path / "heatmaps", [("one", heatmaps[0][0])]
    target = [heatmaps[0][0].target]
    limit = 80_000  # a map takes 8 KiB, an index 12 KiB or more
    old, new = HeatmapStore("old", root, limit), HeatmapStore("new", root, limit)
    old.put(WAY, [(str(n), heatmaps[0][0]) for n in range(4)])
    assert new.put(WAY, entry) == 1
    assert sum(new.put(WAY, [(f"more {n}", heatmaps[0][0])]) for n in range(12)) < 12
    assert not old.get("0", WAY, target)
    assert new.get("one", WAY, target)
    assert usage(root).bytes <= limit + 30_000


def test_usage_is_reported_and_all_can_be_cleared(store, heatmaps):
    assert usage(store.root).maps == 0
    store.put(WAY, [("one", h) for h in heatmaps[0]])
    told = usage(store.root)
    assert (told.networks, told.maps) == (1, 3)
    assert told.bytes > 3 * 64 * 64 * 2
    assert clear(store.root) == told
    assert usage(store.root).bytes == 0
    assert store.get("one", WAY, CLASSES) == {}


def test_a_place_that_cannot_be_written_stores_nothing_and_fails_nothing(tmp_path, heatmaps):
    (tmp_path / "file").write_text("in the way")
    store = HeatmapStore("any", tmp_path / "file")
    assert store.put(WAY, [("one", heatmaps[0][0])]) == 0
    assert store.get("one", WAY, CLASSES) == {}


def test_rows_are_in_the_index_only_after_their_maps(store, heatmaps, monkeypatch):
    def crash(*arguments):
        raise OSError("no space left")

    with monkeypatch.context() as broken:
        broken.setattr("cxr.explain.store._sync", crash)
        assert store.put(WAY, [("one", h) for h in heatmaps[0]]) == 0
    assert (store.folder / "maps-64x64.f16").stat().st_size == 3 * 64 * 64 * 2
    assert store.get("one", WAY, CLASSES) == {}
    assert store.put(WAY, [("one", h) for h in heatmaps[0]]) == 3
    with sqlite3.connect(store.folder / "index.sqlite") as index:
        assert [row for (row,) in index.execute("SELECT row FROM maps ORDER BY row")] == [3, 4, 5]


def test_weights_are_known_by_their_content_and_that_of_their_card(tmp_path):
    torch.manual_seed(0)
    model = build("densenet-small", CLASSES, size=64).eval()
    one = save_model(model, tmp_path / "one.safetensors")
    same = save_model(model, tmp_path / "same.safetensors")
    assert weights_digest(one) == weights_digest(same)
    card = one.with_suffix(".json")
    card.write_text(card.read_text() + " ")
    assert weights_digest(one) != weights_digest(same)
    with pytest.raises(WeightsError, match="no trained network"):
        HeatmapStore.of(tmp_path / "none.safetensors")


def test_pictures_are_known_by_their_pixels_and_shape():
    picture = np.arange(16, dtype=np.uint8).reshape(4, 4)
    assert picture_digest(picture) == picture_digest(picture.copy())
    assert len({picture_digest(p) for p in (picture, picture.T, picture.reshape(2, 8), picture + 1)}) == 4
