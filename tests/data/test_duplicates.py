"""Copies of synthetic X-rays are found however they were changed, and those of other patients are left alone."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from cxr.cli import app
from cxr.data import Manifest, open_data_set, save_data_set, split_manifest
from cxr.data.audit.duplicates import find_conflicts, find_duplicates, finding, group_duplicates
from cxr.data.audit.duplicates.candidates import candidates_of, nearest_rows
from cxr.data.audit.duplicates.data_set import group_found, search_data_set, search_manifest
from cxr.data.audit.duplicates.groups import with_groups
from cxr.data.images.resize import fit_square
from cxr.data.library import facts_beside
from cxr.data.phantom import make_phantom
from cxr.errors import CxrError
from cxr.experiments.duplicates.job import run as search_run
from cxr.experiments.duplicates.results import KIND, SearchResults, pairs_of, search_results
from cxr.runs import Run, RunFolder, list_runs
from cxr.runs.folder import Stopped
from tests.typed_results import misfits

N = 24


@pytest.fixture(scope="module")
def xrays() -> list[np.ndarray]:
    """X-rays of as many patients, three classes in turn."""
    labels = ("normal", "pneumonia", "covid19")
    return [make_phantom(seed, labels[seed % 3], size=192).image for seed in range(N)]


def turned(image: np.ndarray, degrees: float) -> np.ndarray:
    height, width = image.shape
    return cv2.warpAffine(image, cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1), (width, height))


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


COPIES = {
    "same": (lambda x: x.copy(), "same pixels"),
    "smaller": (lambda x: cv2.resize(x, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA), "rescaled"),
    "jpeg": (lambda x: jpeg(x, 40), "saved again"),
    "cropped": (lambda x: x[20:180, 0:160], "b cropped by 17 %"),
    "brighter": (lambda x: np.clip(x.astype(int) + 30, 0, 255).astype(np.uint8), "brighter"),
    "flatter": (lambda x: (x * 0.6 + 40).astype(np.uint8), "less contrast"),
    "inverted": (lambda x: 255 - x, "inverted"),
    "turned": (lambda x: turned(x, 4), "turned by 4 degrees"),
    "several": (lambda x: 255 - jpeg(turned(x, -3)[4:176, 10:182], 60), "inverted"),
}


@pytest.fixture(scope="module")
def pairs(xrays: list[np.ndarray]) -> pd.DataFrame:
    copies = {name: np.ascontiguousarray(change(xrays[k])) for k, (name, (change, _)) in enumerate(COPIES.items())}
    images = {f"x{k}": image for k, image in enumerate(xrays)} | copies
    thumbnails = np.stack([fit_square(image, 128) for image in images.values()])
    sizes = [(image.shape[1], image.shape[0]) for image in images.values()]
    return find_duplicates(thumbnails, list(images), sizes=sizes)


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_found_and_said_to_be_what_it_is(name: str, pairs: pd.DataFrame):
    original = f"x{list(COPIES).index(name)}"
    row = pairs[pairs["image_id_b"] == name]
    assert row["image_id_a"].tolist() == [original]
    assert COPIES[name][1] in row["transform"].item()
    assert row["kind"].item() == ("exact" if name == "same" else "near")
    assert row["score"].item() > 0.86


def test_x_rays_of_different_patients_are_no_duplicates(pairs: pd.DataFrame):
    assert len(pairs) == len(COPIES)


def test_small_and_flat_sets_have_no_duplicates():
    nothing = find_duplicates(np.zeros((0, 64, 64), np.uint8), [])
    flat = find_duplicates(np.full((3, 64, 64), 7, np.uint8), ["a", "b", "c"])
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64), np.uint8)
    assert nothing.empty
    assert flat.empty
    assert find_duplicates(noise, ["a", "b"]).empty
    assert find_duplicates(noise[[0, 0]], ["a", "b"])["kind"].tolist() == ["exact"]


def test_the_nearest_in_blocks_are_those_of_one_large_product():
    rng = np.random.default_rng(0)
    descriptors = rng.normal(size=(3, 1300, 4)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=2, keepdims=True)
    similarity = (descriptors @ descriptors[0].T).max(axis=0)
    np.fill_diagonal(similarity, -1)
    expected = {(row, int(near)) for row in range(1300) for near in np.argsort(-similarity[row])[:5]}
    rows = nearest_rows(descriptors, 0, 1300)
    assert set(map(tuple, rows.tolist())) == expected
    assert set(map(tuple, nearest_rows(descriptors, 1024, 1300).tolist())) == {p for p in expected if p[0] >= 1024}
    candidates = candidates_of(descriptors, rows)
    assert {frozenset(candidate[:2]) for candidate in candidates} == {frozenset(pair) for pair in expected}
    assert candidates == sorted(candidates)
    assert len(candidates) == len({frozenset(candidate[:2]) for candidate in candidates})
    for first, second, view in candidates[::97]:
        forth = descriptors[:, first] @ descriptors[0, second]
        assert forth.argmax() == view
        assert forth.max() >= (descriptors[:, second] @ descriptors[0, first]).max() - 1e-6


class _Interrupted(Exception):
    pass


@pytest.mark.parametrize("words", ["described", "most like them", "compared"])
def test_a_search_that_was_ended_goes_on_from_its_parts_and_finds_the_same(
    words: str, xrays: list[np.ndarray], pairs: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(finding, "_PART", 8)
    images = np.stack([fit_square(image, 128) for image in [*xrays, 255 - xrays[3], turned(xrays[4], 3)]])
    ids = [str(row) for row in range(len(images))]
    whole = find_duplicates(images, ids)
    assert len(whole) == 2
    reports: list[str] = []

    def interrupt(share: float, text: str) -> None:
        reports.append(text)
        if words in text and text.startswith("8 of"):
            raise _Interrupted

    with pytest.raises(_Interrupted):
        find_duplicates(images, ids, folder=tmp_path / "parts", progress=interrupt)
    kept = {file.name for file in (tmp_path / "parts").glob("*.npz")}
    made: list[str] = []
    parts_of = finding.Parts.of

    def counted(self: finding.Parts, stage: str, starts: range, make):
        return parts_of(self, stage, starts, lambda start: made.append(f"{stage}-{start}.npz") or make(start))

    monkeypatch.setattr(finding.Parts, "of", counted)
    damaged = tmp_path / "parts" / "describe-0.npz"
    damaged.write_bytes(damaged.read_bytes()[:100])
    again = find_duplicates(images, ids, folder=tmp_path / "parts", progress=lambda share, text: reports.append(text))
    pd.testing.assert_frame_equal(again, whole)
    assert kept & set(made) == {"describe-0.npz"}
    assert reports[-1] == "2 pairs found"
    assert not (tmp_path / "parts").exists()


def test_parts_of_other_x_rays_are_not_used(xrays: list[np.ndarray], tmp_path: Path):
    images = np.stack([fit_square(image, 128) for image in [*xrays[:6], 255 - xrays[3]]])

    def interrupt(share: float, text: str) -> None:
        if "compared" in text:
            raise _Interrupted

    with pytest.raises(_Interrupted):
        find_duplicates(images, list("abcdefg"), folder=tmp_path / "parts", progress=interrupt)
    others = np.concatenate([images[:5], images[6:], images[5:6]])
    found = find_duplicates(others, list("abcdefg"), folder=tmp_path / "parts")
    assert found[["image_id_a", "image_id_b"]].to_numpy().tolist() == [["d", "f"]]


def pair_table(*pairs: tuple[str, str]) -> pd.DataFrame:
    rows = [(a, b, "near", "inverted", 0.9) for a, b in pairs]
    return pd.DataFrame(rows, columns=["image_id_a", "image_id_b", "kind", "transform", "score"])


def manifest_of(**columns: list[str]) -> Manifest:
    n = len(next(iter(columns.values())))
    rows = pd.DataFrame({"image": [f"{k}.png" for k in range(n)], "image_id": [f"i{k}" for k in range(n)]} | columns)
    return Manifest.from_table(rows, Path("/x"))


def test_connected_pairs_are_one_group_and_join_the_groups_there_were():
    pairs = pair_table(("i0", "i1"), ("i1", "i3"), ("i4", "i5"))
    groups = dict.fromkeys(("i0", "i1", "i3"), "same-i0") | dict.fromkeys(("i4", "i5"), "same-i4")
    assert group_duplicates(pairs) == groups
    assert group_duplicates(pair_table()) == {}
    manifest = with_groups(manifest_of(label=["a"] * 7, dup_group=["", "", "", "old", "", "", "old"]), pairs)
    assert manifest.table["dup_group"].tolist() == ["old", "old", "", "old", "same-i4", "same-i4", "old"]


def test_conflicts_are_labels_splits_and_patients_that_differ():
    manifest = manifest_of(
        label=["left", "right", "left", "", "right"],
        findings=["", "", "", "mass", ""],
        split=["train", "test", "train", "test", ""],
        patient_id=["p", "p", "q", "q", ""],
    )
    pairs = pair_table(("i0", "i1"), ("i2", "i3"), ("i3", "i4"), ("i0", "i2"), ("i0", "gone"))
    conflicts = find_conflicts(manifest, pairs)
    assert conflicts.labels["label_b"].tolist() == ["right", "mass", "right"]
    assert conflicts.splits[["image_id_a", "image_id_b"]].to_numpy().tolist() == [["i0", "i1"], ["i2", "i3"]]
    assert conflicts.patients_in_classes.to_numpy().tolist() == [["p", "left|right", 2]]
    assert conflicts.patients_in_splits["patient_id"].tolist() == ["p", "q"]
    assert conflicts.counts() == {"labels": 3, "splits": 2, "patients_in_classes": 1, "patients_in_splits": 2}


def test_splits_keep_groups_together():
    pairs = pair_table(*((f"i{k}", f"i{k + 20}") for k in range(20)))
    manifest = with_groups(manifest_of(label=["a", "b"] * 20), pairs)
    split = split_manifest(manifest, seed=1)[0].table.set_index("image_id")["split"]
    assert all(split[f"i{k}"] == split[f"i{k + 20}"] for k in range(20))
    assert set(split) == {"train", "val", "test"}


@pytest.fixture
def doubled(xrays: list[np.ndarray], tmp_path: Path) -> Manifest:
    """A data set `mine` of 12 X-rays, of which 3 are copies, one under another label and in another split."""
    images = [*xrays[:9], 255 - xrays[0], xrays[1][10:182, 10:182], xrays[2]]
    folder = tmp_path / "films"
    folder.mkdir()
    for k, image in enumerate(images):
        Image.fromarray(np.stack([image] * 3, axis=-1) if k % 2 else image).save(folder / f"{k}.png")
    rows = {
        "image": [f"{k}.png" for k in range(12)],
        "image_id": [f"i{k}" for k in range(12)],
        "label": ["left", "right", "left"] * 3 + ["right", "right", "left"],
        "split": ["train"] * 9 + ["test"] * 3,
    }
    save_data_set("mine", Manifest.from_table(pd.DataFrame(rows), folder))
    return open_data_set("mine")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs work in this process."""

    def work(folder: RunFolder) -> None:
        search_run(folder, folder.params, lambda share, text="": None)
        folder.end_status(state="finished", progress=1.0)

    monkeypatch.setattr("cxr.runs.starting.launch", work)
    monkeypatch.setattr("cxr.data.images.pool.default_workers", lambda: 0)  # a dozen images need no processes


def invoke(*words: str) -> tuple[int, dict]:
    result = CliRunner().invoke(app, ["data", "duplicates", *words, "--json"])
    return result.exit_code, json.loads(result.stdout) if result.exit_code == 0 else {"error": str(result.exception)}


def test_the_command_lists_pairs_and_conflicts_and_leaves_the_manifest_alone(doubled: Manifest, here: None):
    code, value = invoke("mine")
    assert code == 0
    found = {frozenset((row["image_id_a"], row["image_id_b"])) for row in value["duplicates"]}
    assert found == {frozenset(("i0", "i9")), frozenset(("i1", "i10")), frozenset(("i2", "i11"))}
    assert {key: value[key] for key in ("compared", "pairs", "exact", "images", "groups", "grouped")} == {
        "compared": 12, "pairs": 3, "exact": 1, "images": 6, "groups": 3, "grouped": False
    }  # fmt: skip
    assert [len(rows) for rows in value["conflicts"].values()] == [1, 3, 0, 0]
    assert value["notes"][0].startswith("6 X-rays of 12 are there more than once: 3 groups, 3 pairs, 1 with the same")
    written = pd.read_csv(value["file"])
    assert Path(value["file"]).parent == doubled.path.parent
    assert len(written) == 3
    assert open_data_set("mine").hash() == doubled.hash()
    assert facts_beside(doubled.path)["duplicates"]["pairs"] == 3
    shown = CliRunner().invoke(app, ["data", "duplicates", "mine"])
    assert "6 X-rays of 12" in shown.stdout
    assert "--group" in shown.stdout


def test_groups_are_kept_in_the_manifest_and_the_next_splits_keep_them_together(doubled: Manifest, here: None):
    code, value = invoke("mine", "--group")
    assert code == 0
    assert "3 duplicate groups in more than one split" in " ".join(value["notes"])
    table = open_data_set("mine").table.set_index("image_id")
    assert (table["dup_group"] != "").sum() == 6
    assert table.at["i0", "dup_group"] == table.at["i9", "dup_group"]
    assert table["split"].tolist() == doubled.table["split"].tolist()
    command = ["data", "split", "mine", "--fraction", "train=0.6", "--fraction", "test=0.4", "--json"]
    split = CliRunner().invoke(app, command)
    assert split.exit_code == 0, split.output
    after = open_data_set("mine").table
    assert after[after["dup_group"] != ""].groupby("dup_group")["split"].nunique().max() == 1


@pytest.mark.parametrize(
    ("column", "values"), [("label", ["left", "right"] * 3), ("findings", ["Mass|Nodule", "Mass"] * 2)]
)
def test_an_import_groups_what_it_finds_before_it_splits(
    column: str, values: list[str], xrays: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cxr.data.images.pool.default_workers", lambda: 0)  # a dozen images need no processes
    rows = []
    for k, value in enumerate(values):
        for name, image in ((f"{k}.png", xrays[k]), (f"{k}.jpg", 255 - jpeg(xrays[k][6:186, 8:188], 70))):
            Image.fromarray(image).save(tmp_path / name)
            rows.append({"image": name, column: value})
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    command = ["data", "import", "manifest", str(tmp_path / "table.csv"), "--name", "twice", "--find-duplicates"]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    n = len(values)
    notes = json.loads(done.stdout)["notes"]
    assert any(note.startswith(f"{2 * n} X-rays of {2 * n} are there more than once: {n} groups") for note in notes)
    manifest = open_data_set("twice")
    assert manifest.table.groupby("dup_group")["split"].nunique().tolist() == [1] * n
    assert set(manifest.splits) == {"train", "val", "test"}
    assert facts_beside(manifest.path)["duplicates"]["grouped"]


def test_a_manifest_that_is_no_data_set_is_read_but_not_written(doubled: Manifest, tmp_path: Path, here: None):
    file = tmp_path / "films" / "table.csv"
    doubled.save(file)
    before = sorted(file.parent.iterdir())
    code, value = invoke(str(file))
    assert (code, value["pairs"], value["file"]) == (0, 3, None)
    assert sorted(file.parent.iterdir()) == before
    pairs_file = tmp_path / "new" / "pairs.csv"
    assert invoke(str(file), "--out", str(pairs_file))[1]["file"] == str(pairs_file)
    assert pairs_file.is_file()
    code, value = invoke(str(file), "--group")
    assert "only a data set can keep groups" in value["error"]
    assert open_data_set("mine").hash() == doubled.hash()
    assert "is a folder" in invoke("mine", "--out", str(tmp_path))[1]["error"]
    assert "neither a data set" in invoke("nothing")[1]["error"]
    assert "leave out --detach" in invoke("mine", "--out", str(pairs_file), "--detach")[1]["error"]


@pytest.mark.parametrize("group", [False, True])
def test_a_search_that_is_a_run_is_stopped_resumed_and_finds_what_an_unbroken_one_finds(
    group: bool, doubled: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(finding, "_PART", 4)
    params = {"manifest": str(doubled.path), "workers": 0}
    whole, halved = (RunFolder.create(tmp_path / "runs", KIND, params | {"group": group}) for _ in range(2))
    reports: list[tuple[float, str]] = []

    def stop_in_the_middle(share: float, text: str = "") -> None:
        reports.append((share, text))
        if text.startswith("8 of 11 X-rays: looking"):
            halved.request_stop()

    with pytest.raises(Stopped):
        search_run(halved, halved.params, stop_in_the_middle)
    assert halved.read_json("results.json") is None
    assert (halved.path / "parts" / "nearest-4.npz").is_file()
    assert facts_beside(doubled.path).get("duplicates") is None
    halved.clear_stop()
    search_run(halved, halved.params, lambda share, text="": reports.append((share, text)))
    shares = [share for share, _ in reports]
    assert min(shares) >= 0
    assert shares[-1] == 1
    search_run(whole, whole.params, lambda share, text="": None)
    results, other = (folder.read_json("results.json") for folder in (halved, whole))
    assert list(misfits(results, SearchResults)) == []
    same = [{k: v for k, v in own.items() if k != "provenance"} for own in (results, other)]
    assert same[0] == same[1]
    assert results["counts"] == {"compared": 12, "pairs": 3, "exact": 1, "images": 6, "groups": 3, "grouped": group}
    pd.testing.assert_frame_equal(pairs_of(Run(halved.path)), pairs_of(Run(whole.path)))
    assert not (halved.path / "parts").exists()
    assert (open_data_set("mine").table["dup_group"] != "").sum() == (6 if group else 0)
    with pytest.raises(CxrError, match="has no results of a search"):
        search_results(Run(RunFolder.create(tmp_path / "runs", KIND, params).path))


def test_the_command_stops_and_resumes_in_a_process_of_its_own(doubled: Manifest):
    code, value = invoke("mine", "--detach")
    assert code == 0
    (run,) = list_runs(kind=KIND)
    run.wait()
    assert run.status()["state"] == "finished", run.status()["error"]
    assert search_results(run)["finding"].startswith("6 X-rays of 12 are there more than once")
    assert value["id"] == run.id


def test_what_was_found_can_be_grouped_later_without_another_search(doubled: Manifest):
    with pytest.raises(CxrError, match="look for them again with `cxr data duplicates mine --group`"):
        group_found("mine")
    search_data_set("mine", workers=0)
    group_found("mine")
    assert (open_data_set("mine").table["dup_group"] != "").sum() == 6
    assert facts_beside(doubled.path)["duplicates"]["grouped"]


def test_the_duplicates_that_are_known_among_real_x_rays_are_found(shared_data: Path):
    whole = Manifest.load(shared_data / "manifest.csv")
    doubles = whole.table[whole.table["dup_group"].duplicated(keep=False) & (whole.table["dup_group"] != "")]
    chosen = pd.concat([doubles, whole.table.iloc[::40]]).drop_duplicates("image_id")
    manifest = whole.with_table(chosen)
    pairs = search_manifest(manifest, workers=0).pairs
    groups = chosen.set_index("image_id")["dup_group"]
    found = {tuple(sorted(pair)) for pair in zip(pairs["image_id_a"], pairs["image_id_b"], strict=True)}
    known = {tuple(sorted(ids)) for ids in doubles.groupby("dup_group")["image_id"].agg(list)}
    assert known <= found
    assert all(groups[a] == groups[b] for a, b in found), "of X-rays that dup_group does not join"
