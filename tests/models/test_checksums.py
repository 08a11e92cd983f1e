"""A weights file is compared with everything that says what its sum should be."""

from __future__ import annotations

import hashlib

import pytest

from cxr.errors import WeightsError
from cxr.models import checksums
from cxr.models.checksums import verify

CONTENT = b"weights"
SUM = hashlib.sha256(CONTENT).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "net.pth"
    file.write_bytes(CONTENT)
    return file


@pytest.mark.parametrize("line", ["{}", "{}  net.pth\n", "{} *net.pth\n", "# note\n{}  net.pth"])
def test_a_sum_beside_the_file_is_compared(path, line):
    beside = path.with_name("net.pth.sha256")
    if line.startswith("#"):
        beside.write_text(line.format(SUM))
        with pytest.raises(WeightsError, match="holds no sha256"):
            verify(path)
        return
    beside.write_text(line.format(SUM.upper()))
    assert verify(path).against == "net.pth.sha256"
    beside.write_text(line.format(OTHER))
    with pytest.raises(WeightsError) as refusal:
        verify(path)
    assert SUM in str(refusal.value)
    assert OTHER in str(refusal.value)


def test_a_list_of_sums_is_compared_for_the_files_it_names(path):
    (path.parent / "SHA256SUMS").write_text(f"{OTHER}  else.pth\n{SUM}  ./net.pth\n")
    assert verify(path).against == "SHA256SUMS"
    (path.parent / "SHA256SUMS").write_text(f"{OTHER}  net.pth\n")
    with pytest.raises(WeightsError, match="SHA256SUMS says"):
        verify(path)


@pytest.mark.parametrize("name", ["densenet121-{}.pth", "densenet121_ra-{}.pth", "net-{}.pth.tar"])
def test_the_digits_of_a_name_are_compared(tmp_path, name):
    right = tmp_path / name.format(SUM[:8])
    right.write_bytes(CONTENT)
    assert verify(right).against == "the file's name"
    wrong = tmp_path / name.format(OTHER[:8])
    wrong.write_bytes(CONTENT)
    with pytest.raises(WeightsError) as refusal:
        verify(wrong)
    assert f"its sha256 is {SUM}, but the file's name says {OTHER[:8]}" in str(refusal.value)


def test_one_of_several_that_disagrees_is_enough(tmp_path):
    file = tmp_path / f"net-{SUM[:8]}.pth"
    file.write_bytes(CONTENT)
    file.with_name(file.name + ".sha256").write_text(OTHER)
    with pytest.raises(WeightsError, match="refused"):
        verify(file)


def test_a_file_in_the_hub_s_cache_is_compared_with_its_blob_s_name(tmp_path):
    blob = tmp_path / "models--x" / "blobs" / SUM
    blob.parent.mkdir(parents=True)
    blob.write_bytes(CONTENT)
    link = tmp_path / "models--x" / "snapshots" / "abc" / "model.safetensors"
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    assert verify(link).against == "the hub's cache"
    blob.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="the hub's cache says"):
        verify(link)


def test_without_anything_to_compare_the_first_sum_is_remembered_and_a_change_is_noticed(path):
    checked = verify(path)
    assert (checked.sha256, checked.against) == (SUM, "")
    assert "not verified" in str(checked)
    assert verify(path).against == "net.pth.first-use.sha256"
    path.write_bytes(b"changed")
    with pytest.raises(WeightsError, match=r"net\.pth\.first-use\.sha256 says"):
        verify(path)


def test_looking_does_not_remember(path):
    verify(path, remember=False)
    assert [file.name for file in path.parent.iterdir()] == ["net.pth"]


def test_a_published_sum_names_its_publisher(path, monkeypatch):
    assert len(checksums.PUBLISHED) == 6
    assert all(len(digits) == 64 for digits in checksums.PUBLISHED)
    monkeypatch.setitem(checksums.PUBLISHED, SUM, "example NetA.pt")
    assert verify(path).against == "its publisher, example NetA.pt"
    assert list(path.parent.glob("*.sha256")) == []
