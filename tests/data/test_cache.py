from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from data_samples import chest, manifest_of, write_png

from cxr.data import ImageCache, Manifest, read_xray
from cxr.data.digests import file_digest, file_digests
from cxr.data.images.resize import fit_square
from cxr.data.images.store_index import HEADER
from cxr.errors import ImageError, ManifestError


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    for seed in range(6):
        write_png(tmp_path / f"{seed}.png", seed)
    return manifest_of([{"image_id": f"id{seed}", "image": f"{seed}.png"} for seed in range(6)], tmp_path)


def stamps(folder: Path) -> dict[str, int]:
    """Sizes of a store's shards and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("shard-*")}


def shard(cache: ImageCache) -> Path:
    (path,) = cache.folder.glob("shard-*.u8")
    return path


def size_of_rows(shard: Path) -> int:
    return shard.stat().st_size - HEADER


def test_each_image_is_the_decoded_file_shrunk_by_area(manifest: Manifest, tmp_path: Path):
    calls: list[tuple[int, int]] = []
    cache = ImageCache.build(manifest, 24, progress=lambda done, total: calls.append((done, total)))
    assert cache.images.shape == (6, 24, 24)
    assert cache.images.dtype == np.uint8
    assert cache.ids == sorted(manifest.ids)
    assert cache.missing.empty
    assert calls[-1] == (6, 6)
    for image_id in manifest.ids:
        expected = cv2.resize(read_xray(manifest.image_path(image_id)), (24, 24), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(cache[image_id], expected)
        np.testing.assert_array_equal(cache.images[cache.index(image_id)], expected)
    np.testing.assert_array_equal(cache.rows(["id3", "id0"]), np.stack([cache["id3"], cache["id0"]]))
    with pytest.raises(ValueError, match="read-only"):
        cache["id0"][0, 0] = 1


def test_opening_again_decodes_nothing_whatever_the_order_of_rows(manifest: Manifest):
    first = ImageCache.build(manifest, 24)
    before = stamps(first.folder)
    calls: list[int] = []
    reordered = manifest.with_table(manifest.table.iloc[::-1])
    second = ImageCache.build(reordered, 24, progress=lambda done, total: calls.append(done))
    assert (second.folder, second.key) == (first.folder, first.key)
    assert stamps(second.folder) == before
    assert calls == []


def test_a_store_is_for_one_size_and_fit_and_a_key_for_what_files_hold(manifest: Manifest, tmp_path: Path):
    folders = {ImageCache.build(manifest, size, fit=fit).folder for size in (24, 32) for fit in ("stretch", "pad")}
    assert len(folders) == 4
    before = ImageCache.build(manifest, 24)
    old = before.images.copy()
    write_png(tmp_path / "2.png", seed=99)
    after = ImageCache.build(manifest, 24)
    assert after.key != before.key
    assert after.folder == before.folder
    assert size_of_rows(shard(after)) == 7 * 24 * 24  # one row more: the others are shared
    np.testing.assert_array_equal(after["id2"], fit_square(chest(99), 24))
    np.testing.assert_array_equal(after["id1"], before["id1"])
    np.testing.assert_array_equal(before.images, old)


def test_images_of_another_set_are_shared_not_decoded_again(manifest: Manifest, monkeypatch: pytest.MonkeyPatch):
    whole = ImageCache.build(manifest, 24)
    monkeypatch.setattr("cxr.data.images.resize.decode", lambda path: pytest.fail("decoded again"))
    part = ImageCache.build(manifest.select(ids=["id4", "id1"]), 24, workers=0)
    assert part.ids == ["id1", "id4"]
    np.testing.assert_array_equal(part.images, whole.rows(["id1", "id4"]))
    assert size_of_rows(shard(whole)) == whole.images.nbytes


def test_files_of_the_same_bytes_share_a_row_whatever_they_are_called(manifest: Manifest, tmp_path: Path):
    shutil.copy(tmp_path / "3.png", tmp_path / "other.png")
    table = pd.concat([manifest.table, manifest.table.iloc[[3]].assign(image_id="same", image="other.png")])
    cache = ImageCache.build(manifest.with_table(table), 24)
    assert len(cache) == 7
    np.testing.assert_array_equal(cache["same"], cache["id3"])
    assert size_of_rows(shard(cache)) == 6 * 24 * 24


def damage_nothing_but_the_end(cache: ImageCache) -> None:
    os.truncate(shard(cache), shard(cache).stat().st_size - 5)


def flip_a_pixel(cache: ImageCache) -> None:
    with shard(cache).open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        value = file.read(1)
        file.seek(-100, os.SEEK_END)
        file.write(bytes([value[0] ^ 1]))


def spoil_the_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))


DAMAGES = {
    "cut": damage_nothing_but_the_end,
    "one bit": flip_a_pixel,
    "no index": lambda cache: (cache.folder / "index.sqlite").unlink(),
    "empty index": lambda cache: os.truncate(cache.folder / "index.sqlite", 0),
    "no index at all": lambda cache: (cache.folder / "index.sqlite").write_bytes(b"this is no database" * 1000),
    "spoilt index": lambda cache: spoil_the_middle(cache.folder / "index.sqlite"),
    "no images": lambda cache: shard(cache).unlink(),
    "no description": lambda cache: (cache.folder / "store.json").unlink(),
    "nothing at all": lambda cache: shutil.rmtree(cache.folder.parent),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_decoded_anew(manifest: Manifest, damage: str):
    cache = ImageCache.build(manifest, 24, workers=0)
    expected = cache.images.copy()
    DAMAGES[damage](cache)
    again = ImageCache.build(manifest, 24, workers=0)
    np.testing.assert_array_equal(again.images, expected)
    before = stamps(again.folder)
    np.testing.assert_array_equal(ImageCache.build(manifest, 24, workers=0).images, expected)
    assert stamps(again.folder) == before  # mended once


def test_unreadable_images_are_named_and_left_out(manifest: Manifest, tmp_path: Path):
    (tmp_path / "1.png").write_text("no image")
    (tmp_path / "4.png").unlink()
    for cache in (ImageCache.build(manifest, 24), ImageCache.build(manifest, 24)):
        assert cache.ids == ["id0", "id2", "id3", "id5"]
        assert cache.missing[["image_id", "reason"]].to_numpy().tolist() == [
            ["id1", "is text, not an image"],
            ["id4", "does not exist"],
        ]
        np.testing.assert_array_equal(cache["id5"], fit_square(chest(5), 24))
        assert "id1" not in cache
        assert 3 not in cache
        with pytest.raises(ImageError, match="'id4' is not in the cache: its file does not exist"):
            cache["id4"]
        with pytest.raises(ImageError, match="'zz' is not in the cache: the manifest does not have it"):
            cache.rows(["zz"])


def test_the_reason_of_an_unreadable_file_is_remembered_until_the_file_changes(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "1.png").write_text("no image")
    first = ImageCache.build(manifest, 24, workers=0)
    with monkeypatch.context() as patched:
        patched.setattr("cxr.data.images.resize.decode", lambda path: pytest.fail("decoded again"))
        again = ImageCache.build(manifest, 24, workers=0)
    pd.testing.assert_frame_equal(again.missing, first.missing)
    write_png(tmp_path / "1.png", 1)
    assert ImageCache.build(manifest, 24, workers=0).missing.empty


def test_a_file_that_changes_while_it_is_decoded_is_never_stored_under_what_it_held_before(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    original = (tmp_path / "2.png").read_bytes()

    def decode_late(path: Path) -> np.ndarray:
        if path.name == "2.png":
            write_png(path, seed=99)
        return read_xray(path)

    with monkeypatch.context() as patched:
        patched.setattr("cxr.data.images.resize.decode", decode_late)
        cache = ImageCache.build(manifest, 24, workers=0)
    assert cache.missing[["image_id", "reason"]].to_numpy().tolist() == [["id2", "was changed while it was being read"]]
    (tmp_path / "2.png").write_bytes(original)
    np.testing.assert_array_equal(ImageCache.build(manifest, 24, workers=0)["id2"], fit_square(chest(2), 24))


def test_nothing_to_decode_and_impossible_requests_are_errors(manifest: Manifest, tmp_path: Path):
    with pytest.raises(ManifestError, match="no rows"):
        ImageCache.build(manifest.select(split="none"), 24)
    with pytest.raises(ManifestError, match=r"unknown fit 'fill'. Available: stretch, pad, crop"):
        ImageCache.build(manifest, 24, fit="fill")
    with pytest.raises(ManifestError, match="size 8 is not"):
        ImageCache.build(manifest, 8)
    absent = manifest_of([{"image": "gone.png"}], tmp_path)
    with pytest.raises(ImageError, match=r"none of the 1 images can be read; the first: .*gone.png does not exist"):
        ImageCache.build(absent, 24)
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match=r"cannot be written \(.*\): free some disk space .*, or set CXR_DATA"):
        ImageCache.build(manifest, 24, root=tmp_path / "file")


def test_pad_keeps_the_proportions_and_crop_takes_the_middle():
    tall = chest(height=100, width=50)
    padded, cropped = fit_square(tall, 40, "pad"), fit_square(tall, 40, "crop")
    assert (padded[:, :10] == 0).all()
    assert (padded[:, 30:] == 0).all()
    np.testing.assert_array_equal(padded[:, 10:30], cv2.resize(tall, (20, 40), interpolation=cv2.INTER_AREA))
    np.testing.assert_array_equal(cropped, cv2.resize(tall[25:75], (40, 40), interpolation=cv2.INTER_AREA))
    assert fit_square(chest(height=40, width=200), 64).shape == (64, 64)


def test_a_cache_travels_to_another_process_without_its_pixels(manifest: Manifest):
    cache = ImageCache.build(manifest, 64)
    packed = pickle.dumps(cache)
    assert len(packed) < cache.images.nbytes / 2
    np.testing.assert_array_equal(pickle.loads(packed).images, cache.images)


def test_digests_are_remembered_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_png(tmp_path / "a.png")
    os.utime(path, (1000, 1000))
    first = file_digests([path, tmp_path / "absent"], tmp_path / "memory")
    assert first == {path: file_digest(path), tmp_path / "absent": None}
    with monkeypatch.context() as patched:
        patched.setattr("cxr.data.digests.file_digest", lambda path: "hashed again")
        assert file_digests([path], tmp_path / "memory")[path] == first[path]
        os.utime(path, (2000, 2000))
        assert file_digests([path], tmp_path / "memory")[path] == "hashed again"


def test_a_file_changed_a_moment_ago_is_not_remembered(tmp_path: Path):
    path = write_png(tmp_path / "a.png")
    now = path.stat().st_mtime_ns
    before = file_digests([path], tmp_path / "memory")[path]
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(now, now))
    assert file_digests([path], tmp_path / "memory")[path] != before


def test_a_spoiled_memory_of_digests_only_costs_time(tmp_path: Path):
    path = write_png(tmp_path / "a.png")
    os.utime(path, (1000, 1000))
    (tmp_path / "memory").write_text("this is not a database, and it is long enough to be looked at as one" * 20)
    for _ in range(2):
        assert file_digests([path], tmp_path / "memory")[path] == file_digest(path)


def test_real_images_are_cached_and_opened_again_quickly(shared_data: Path, tmp_path: Path):
    manifest = Manifest.load(shared_data / "manifest.csv").with_table(
        Manifest.load(shared_data / "manifest.csv").table.iloc[::40]
    )
    cache = ImageCache.build(manifest, 128)
    assert len(cache) == len(manifest)
    assert cache.images.copy().std() > 30
    before = stamps(cache.folder)
    assert ImageCache.build(manifest, 128).key == cache.key
    assert stamps(cache.folder) == before
