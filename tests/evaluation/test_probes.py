"""Protocol probes: what a simple classifier reads without the lungs, as a run, on the command line and as a report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from typer.testing import CliRunner

from cxr.cli import app
from cxr.data import Manifest, read_xray
from cxr.errors import CxrError
from cxr.experiments.probes import described, job
from cxr.experiments.probes.described import NO_LUNGS, describe_file
from cxr.experiments.probes.descriptors import BLOCKS, LENGTH, block_weights, describe
from cxr.experiments.probes.discriminant import Folds, balanced_accuracy, dealt, permutation_test
from cxr.experiments.probes.probing import Predictions, fold_auc, measured, predictions_table, probe
from cxr.experiments.probes.questions import Question, check_masks, groups_of, one_of_each, questions_of, sample
from cxr.experiments.probes.results import KIND, VIEWS, ProbeResults, finding, flat, not_probed, probe_cells
from cxr.experiments.probes.settings import ProbeParams
from cxr.regions import Lungs
from cxr.reports import probes as report
from cxr.runs import Run, RunFolder, start
from cxr.runs.shards.folders import shards_of
from cxr.text import DetectionStore, TextBox
from tests.configurations import CONFIGURATIONS, ODD, TWO, Configuration, write_xrays
from tests.spoiled import settle, spoil
from tests.typed_results import misfits

FOUR = ("flu", "no flu", "a/b", "50 % | $x$")


def table_of(patient: np.ndarray, **columns: object) -> pd.DataFrame:
    """Return rows of a manifest: one for each entry of ``patient``."""
    empty = dict.fromkeys(("label", "findings", "source", "dup_group"), "")
    ids = [f"i{k}" for k in range(len(patient))]
    return pd.DataFrame({"image_id": ids, "patient_id": [f"p{p}" for p in patient]} | empty | columns)


def drawn_set(
    n_patients: int, names: tuple[str, ...], seed: int = 0, per_patient: int = 2
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return rows of patients with one class each, their classes, and descriptors that tell nothing."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), per_patient)
    codes = rng.permutation(np.arange(n_patients) % len(names))[patient]
    points = rng.normal(size=(n_patients, LENGTH))[patient] + 0.3 * rng.normal(size=(len(patient), LENGTH))
    return table_of(patient, label=np.asarray(names)[codes]), codes, points.astype(np.float32)


# the classifier


def test_an_x_ray_belongs_to_the_nearest_mean_within_classes_of_other_patients_x_rays():
    table, codes, points = drawn_set(60, FOUR)
    points = points[:, :20] + codes[:, None] * np.linspace(0, 2, 20)
    groups = groups_of(table)
    every = np.ones(len(codes), bool)
    fold = dealt(codes, groups, one_of_each(groups, every, 0), 0)
    folds = Folds.of(points, fold, np.ones(20))
    scores = folds.scores(codes[None], 4, every)[0]
    for k in range(int(fold.max()) + 1):
        train = fold != k
        scaled = (points - points[train].mean(0)) / points[train].std(0)
        own = scaled[train]
        means = np.stack([own[codes[train] == c].mean(0) for c in range(4)])
        rest = own - means[codes[train]]
        within = (1 - folds.shrinkage[k]) * rest.T @ rest / len(own) + folds.shrinkage[k] * np.eye(20)
        away = scaled[fold == k][:, None] - means[None]
        distance = np.einsum("nkp,pq,nkq->nk", away, np.linalg.inv(within), away)
        assert np.allclose(np.diff(scores[fold == k]), -np.diff(distance) / 2, rtol=1e-3, atol=1e-3)
    changed = np.where(fold == 0, (codes + 1) % 4, codes)
    assert np.allclose(folds.scores(changed[None], 4, every)[0][fold == 0], scores[fold == 0])


def test_whitening_knows_the_other_folds_alone():
    table, codes, points = drawn_set(40, TWO)
    fold = dealt(codes, groups_of(table), one_of_each(groups_of(table), codes >= 0, 0), 0)
    other = points.copy()
    other[fold == 0] *= 100
    first, second = (Folds.of(values, fold, block_weights()) for values in (points, other))
    assert np.allclose(first.whitened[0][fold != 0], second.whitened[0][fold != 0], atol=1e-4)
    assert not np.allclose(first.whitened[1][fold != 0], second.whitened[1][fold != 0], atol=1e-4)


def test_patients_and_copies_stay_in_one_fold_and_each_class_is_in_each_fold():
    table, codes, _ = drawn_set(50, FOUR, per_patient=3)
    table.loc[table["image_id"].isin(["i0", "i149"]), "dup_group"] = "same picture"
    groups = groups_of(table)
    drawn = one_of_each(groups, np.ones(len(table), bool), 1)
    fold = dealt(codes, groups, drawn, 1)
    assert drawn.sum() == len(np.unique(groups)) == 49
    assert pd.Series(fold).groupby(groups).nunique().max() == 1
    assert fold[0] == fold[149]
    assert (pd.crosstab(fold, codes).to_numpy() > 0).all()


def test_the_score_is_scikit_learn_s_and_the_area_is_so_within_folds():
    rng = np.random.default_rng(0)
    truth, fold, scores = rng.integers(0, 3, 300), rng.integers(0, 5, 300), rng.normal(size=(300, 3))
    scores[np.arange(300), truth] += 0.7
    question = Question("class", "", ("a", "b", "c"), truth)
    said = Predictions(question, "full", np.arange(300), truth, fold, scores)
    score, auc = measured(said, scores, np.arange(300) // 3)
    assert score["value"] == pytest.approx(balanced_accuracy_score(truth, scores.argmax(1)))
    assert score["low"] < score["value"] < score["high"]
    assert auc["low"] < auc["value"] < auc["high"]
    own = [roc_auc_score(truth[fold == k] == 1, scores[fold == k, 1]) for k in range(5)]
    pairs = [(truth[fold == k] == 1).sum() * (truth[fold == k] != 1).sum() for k in range(5)]
    area = fold_auc(truth == 1, scores[:, 1], fold, np.ones((1, 300)))
    assert area[0] == pytest.approx(np.average(own, weights=pairs))
    predicted = scores.argmax(1)
    assert balanced_accuracy(truth[None], predicted[None], 3)[0] == pytest.approx(score["value"])


def test_p_is_small_in_few_sets_without_association_although_patients_have_many_alike_x_rays():
    ps = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        table, codes, points = drawn_set(40, TWO, seed=seed, per_patient=int(rng.integers(1, 6)))
        groups = groups_of(table)
        drawn = one_of_each(groups, codes >= 0, seed)
        folds = Folds.of(points[:, :30], dealt(codes, groups, drawn, seed), np.ones(30))
        ps.append(permutation_test(folds, codes, drawn, 100, seed).p)
    assert np.mean(np.array(ps) < 0.05) <= 0.1
    assert 0.35 < np.mean(ps) < 0.75


def test_labels_are_permuted_within_folds_and_no_more_are_drawn_than_needed():
    table, codes, points = drawn_set(60, FOUR, seed=3)
    groups = groups_of(table)
    drawn = one_of_each(groups, codes >= 0, 0)
    folds = Folds.of(points[:, :20], dealt(codes, groups, drawn, 0), np.ones(20))
    silent = permutation_test(folds, codes, drawn, 2000, 0)
    assert silent.n < 2000
    assert silent.chance == pytest.approx(0.25, abs=0.03)
    points[:, :8] += 3 * codes[:, None]
    folds = Folds.of(points[:, :20], folds.fold, np.ones(20))
    found = permutation_test(folds, codes, drawn, 2000, 0)
    assert (found.n, found.p) == (2000, 1 / 2001)
    assert permutation_test(folds, codes, drawn, 2000, 0, stopped=lambda: True) is None


# questions


@pytest.mark.parametrize("names", [TWO, FOUR, ODD])
def test_class_source_and_source_within_each_class_are_asked(names: tuple[str, ...]):
    table, _, _ = drawn_set(24 * len(names), names)
    order = table.drop_duplicates("patient_id").groupby("label").cumcount()
    of_patient = dict(zip(table.loc[order.index, "patient_id"], order % 2, strict=True))
    table["source"] = np.where(table["patient_id"].map(of_patient), "north", "south")
    table.loc[table["label"] == names[0], "source"] = "north"
    questions = questions_of(table)
    assert [q.target for q in questions] == ["class", "source", *(f"source within {name}" for name in sorted(names))]
    assert questions[0].names == tuple(sorted(names))
    reasons = {q.of: q.reason for q in questions if q.reason}
    assert reasons == {names[0]: "only one source: north"}


def test_findings_are_asked_one_by_one_and_rare_sources_are_left_out():
    rng = np.random.default_rng(0)
    n = 120
    found = rng.random((n, 2)) < 0.4
    texts = ["|".join(name for name, own in zip(("Mass", "A_B"), row, strict=True) if own) for row in found]
    sources = np.where(np.arange(n) < 6, "small", np.where(np.arange(n) % 2, "north", "south"))
    table = table_of(np.arange(n), findings=[text or "No Finding" for text in texts], source=sources)
    questions = {q.target: q for q in questions_of(table)}
    assert list(questions) == ["finding A_B", "finding Mass", "source", "source within A_B", "source within Mass"]
    assert (questions["finding Mass"].codes == found[:, 0]).all()
    assert questions["source"].left_out == ("small (6 patients)",)
    assert questions["source"].names == ("north", "south")
    assert (questions["source"].codes[:6] == -1).all()


def test_a_source_can_be_asked_without_any_class_and_nothing_at_all_is_refused():
    table = table_of(np.arange(60), source=np.where(np.arange(60) % 2, "north", "south"))
    assert [q.target for q in questions_of(table)] == ["source"]
    with pytest.raises(CxrError, match="no labels"):
        questions_of(table.assign(source="north"))
    with pytest.raises(CxrError, match="no labels"):
        questions_of(table, "label")


def test_few_patients_are_said_however_many_x_rays_they_have():
    table, _, _ = drawn_set(16, TWO, per_patient=20)
    assert questions_of(table)[0].reason == (
        f"too few patients ({TWO[0]} 8, {TWO[1]} 8): two of these need 10 or more each"
    )


def test_a_sample_takes_whole_patients_and_as_many_of_each_label_and_source(tmp_path: Path):
    patient = np.r_[np.arange(400) // 2, 400 + np.arange(20)]
    table = table_of(patient, label=np.where(patient >= 400, "rare", "usual"), source="x")
    table = table.assign(image=[f"{name}.png" for name in table["image_id"]])
    manifest = Manifest.from_table(table, tmp_path)
    drawn = sample(manifest, 60, 0)
    assert 60 <= len(drawn) <= 62
    assert drawn.table["label"].value_counts()["rare"] == 20
    assert drawn.table.groupby("patient_id").size().to_numpy().max() == 2
    usual = drawn.table[drawn.table["label"] == "usual"]
    assert (usual.groupby("patient_id").size() == 2).all()
    assert sample(manifest, 60, 0).ids == drawn.ids != sample(manifest, 60, 1).ids
    assert sample(manifest, 420, 0).ids == manifest.ids


# descriptors


def test_a_description_is_finite_always_the_same_and_knows_small_marks_and_brightness():
    rng = np.random.default_rng(0)
    for picture in (np.zeros((1, 1), np.uint8), np.full((50, 80), 200, np.uint8)):
        assert np.isfinite(describe(picture)).all()
    picture = cv2.GaussianBlur(rng.integers(40, 160, (300, 260), dtype=np.uint8), (9, 9), 0)
    own = describe(picture)
    assert own.shape == (LENGTH,) == (sum(n for _, n in BLOCKS),)
    assert (own == describe(picture)).all()
    marked = picture.copy()
    cv2.putText(marked, "L", (20, 40), cv2.FONT_HERSHEY_SIMPLEX, 1, 255, 2)
    assert np.abs(describe(marked) - own).max() > 0.2
    assert np.abs(describe(np.minimum(picture, 100)) - own).max() > 0.2


# masks: one way for all


def masks_of_one_source(folder: Path, n: int = 40) -> Path:
    """Write X-rays of two sources that differ in nothing but this: the first has mask files."""
    path = write_xrays(folder, Configuration(1, "single-label", TWO), n=n, side=64)
    table = pd.read_csv(path)
    table["lung_mask"] = [f"m{k}.png" if source == "A" else "" for k, source in enumerate(table["source"])]
    for name in filter(None, table["lung_mask"]):
        mask = np.zeros((64, 64), np.uint8)
        mask[5:60, 3:30] = mask[5:60, 34:61] = 255
        cv2.imwrite(str(folder / name), mask)
    table.to_csv(path, index=False)
    return path


def test_masks_that_only_some_sources_have_are_refused_and_never_mixed_with_others(tmp_path: Path):
    path = masks_of_one_source(tmp_path / "xrays")
    manifest = Manifest.load(path)
    with pytest.raises(CxrError, match="20 of 40 X-rays have a lung mask") as error:
        start(KIND, {"manifest": path, "masks": "manifest"})
    assert "\n" not in str(error.value)
    own = [image_id for image_id in manifest.ids if manifest.mask_path(image_id) is not None]
    check_masks(manifest.select(ids=own), "manifest")
    for image_id in (own[0], own[5]):
        image, mask = manifest.image_path(image_id), manifest.mask_path(image_id)
        for masks in ("segmentation", "box"):
            with_file, without = (describe_file((image, file, masks, ())) for file in (mask, None))
            assert (with_file[0] == without[0]).all()
            assert with_file[1] == without[1] in (masks, NO_LUNGS)
        by_file, source = describe_file((image, mask, "manifest", ()))
        assert source == "manifest"
        no_lungs = VIEWS.index("no-lungs")
        assert (by_file[no_lungs] != describe_file((image, mask, "box", ()))[0][no_lungs]).any()


def test_an_x_ray_without_plausible_lungs_gets_no_box_in_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_xrays(tmp_path / "xrays", Configuration(1, "single-label", TWO), n=60, side=64)
    table = pd.read_csv(path).assign(patient_id="")
    table.to_csv(path, index=False)

    def of_bright_ones(image: np.ndarray, mask_file: Path | None = None, *, segment: bool = True) -> Lungs:
        mask = np.zeros(image.shape, bool)
        mask[10:50, 10:25] = True
        return Lungs(mask, "box" if int(image[0, 0]) % 3 == 0 else "segmentation")

    monkeypatch.setattr(described, "lungs_of", of_bright_ones)
    params = ProbeParams.of({"manifest": path, "text": False, "workers": 0})
    folder = RunFolder.create(tmp_path / "runs", KIND, params.stored())
    job.run(folder, params, lambda fraction, message: None)
    results = folder.read_json("results.json")
    without = sum(int(read_xray(file)[0, 0]) % 3 == 0 for file in (tmp_path / "xrays").glob("*.png"))
    assert 0 < without < 25
    assert results["lungs_from"] == {"segmentation": 60 - without, NO_LUNGS: without}
    n = {entry["view"]: entry["n_images"] for entry in results["probes"] if entry["target"] == "class"}
    assert n == {"full": 60} | dict.fromkeys(("no-lungs", "border", "lungs"), 60 - without)


# probes in memory


@pytest.mark.parametrize("names", [TWO, FOUR])
def test_a_mark_in_one_view_is_read_there_alone(names: tuple[str, ...]):
    table, codes, points = drawn_set(30 * len(names), names, seed=1)
    table["source"] = np.where(np.random.default_rng(2).random(len(table)) < 0.5, "north", "south")
    marked = points.copy()
    marked[:, 256:288] += 2.0 * codes[:, None]
    empty = np.zeros_like(points)
    views = {"full": points, "border": marked, "text": empty}
    entries, predictions = probe(views, questions_of(table), groups_of(table))
    shown = {(entry["target"], entry["view"]) for entry in entries if entry["shown"]}
    assert shown == {("class", "border")}
    border = next(entry for entry in entries if entry["shown"])
    assert border["warning"]
    assert border["score"]["low"] > border["chance"]
    assert border["chance"] == pytest.approx(1 / len(names), abs=0.03)
    assert border["sentence"].startswith("From the border alone the class is predicted with balanced accuracy ")
    said = finding(entries, len(table), 30 * len(names))
    assert said.startswith("1 of ")
    assert border["sentence"] in said
    assert {entry["reason"] for entry in entries if entry["view"] == "text"} == {"the same on every X-ray"}
    assert len(not_probed(entries)) == len(questions_of(table))
    assert len(flat(entries)) == len(entries)
    assert probe_cells(border)["from"] == "the border alone"
    rows = predictions_table(predictions, table["image_id"].tolist())
    own = rows[(rows["target"] == "class") & (rows["view"] == "border")]
    assert balanced_accuracy_score(own["truth"], own["predicted"]) == pytest.approx(border["score"]["value"])


def test_silence_is_no_proof_and_is_said_so():
    table, _, points = drawn_set(60, TWO, seed=4)
    entries, _ = probe({"full": points, "border": points}, questions_of(table), groups_of(table))
    assert not any(entry["shown"] for entry in entries)
    assert "That does not prove a clean data set." in finding(entries, len(table), 60)


# the run


def with_marks(folder: Path, configuration: Configuration, n: int = 60) -> Path:
    """Write X-rays of one patient each on which the first class or finding has a bright mark in the border."""
    path = write_xrays(folder, configuration, n=n, side=64)
    table = pd.read_csv(path, keep_default_na=False).assign(patient_id="")
    for name, label, found in table[["image", "label", "findings"]].itertuples(index=False):
        if configuration.classes[0] in (label, *found.split("|")):
            image = cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)
            image[0:4, 20:44] = 255
            cv2.imwrite(str(folder / name), image)
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def confounded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """X-rays of two classes with a mark in the border of one, two sources that are named oddly, one broken file."""
    folder = tmp_path_factory.mktemp("confounded") / "xrays"
    path = with_marks(folder, Configuration(1, "single-label", TWO))
    table = pd.read_csv(path)
    table["source"] = np.where(np.arange(60) // 2 % 2, "<b>north</b>", "south")
    table.to_csv(path, index=False)
    (folder / "59.png").write_bytes(b"no picture")
    return path


@pytest.fixture(scope="module")
def probed(confounded: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Finished probes of it, made by the command."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_RUNS", str(root))
        printed = CliRunner().invoke(app, ["data", "probe", str(confounded), "--no-text", "--masks", "box", "--json"])
    assert printed.exit_code == 0, printed.output
    return Run(RunFolder(root / json.loads(printed.stdout)["run"]).path)


def test_the_command_says_where_the_class_can_be_read(probed: Run):
    results = probed.results()
    assert list(misfits(results, ProbeResults)) == []
    shown = {(entry["target"], entry["view"]) for entry in results["probes"] if entry["warning"]}
    assert shown == {("class", "border"), ("class", "no-lungs")}
    assert "From the border alone the class is predicted" in results["finding"]
    assert [row["reason"] for row in results["left_out"]] == ["is text, not an image"]
    assert (results["n_images"], results["lungs_from"]) == (59, {"box": 59, "none": 0})
    assert not (probed.folder.path / described.RECORDS).exists()
    table = pd.read_parquet(probed.folder.path / job.PREDICTIONS)
    assert set(table["target"]) >= {"class", "source"}
    assert len(pd.read_csv(probed.folder.path / job.TABLE)) == len(results["probes"])


def test_the_report_of_probes_says_the_same_and_names_of_the_data_stay_text(
    probed: Run, tmp_path: Path, cxr: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CXR_RUNS", str(probed.folder.path.parent))
    code, printed, _ = cxr("data", "report", probed.id, "--out", tmp_path / "probes.html")
    assert (code, printed.strip()) == (0, str(tmp_path / "probes.html"))
    page = (tmp_path / "probes.html").read_text()
    assert "From the border alone the class is predicted with balanced accuracy" in page
    assert "<b>north</b>" not in page
    assert len(pd.read_csv(report.write(probed, tmp_path / "probes.csv"))) == len(probed.results()["probes"])
    assert report.write(probed, tmp_path / "probes.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(CxrError, match="no known report format"):
        report.write(probed, tmp_path / "probes.doc")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--masks", "hand"], "masks: 'hand' is not allowed"),
        (["--split", "nights"], "unknown split 'nights'"),
        (["--n", "3"], "n: 3 is not allowed. Allowed: at least 40"),
    ],
)
def test_what_cannot_be_probed_is_wrong_use_in_one_line(
    confounded: Path, cxr: Callable[..., tuple[int, str, str]], words: list[str], line: str
):
    code, _, error = cxr("data", "probe", confounded, *words)
    assert code in (1, 2)
    assert line in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("configuration", [CONFIGURATIONS[0], Configuration(3, "multi-label", TWO)], ids=str)
def test_stopped_probes_go_on_where_they_were_and_find_the_same(
    configuration: Configuration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    manifest = with_marks(tmp_path / "xrays", configuration, n=66)
    params = ProbeParams.of({"manifest": manifest, "text": False, "workers": 0, "masks": "box"})
    whole, halved = (RunFolder.create(tmp_path / "runs", KIND, params.stored()) for _ in range(2))
    job.run(whole, params, lambda fraction, message: None)
    done: list[Path] = []
    monkeypatch.setattr(described, "describe_file", lambda item: done.append(item[0]) or describe_file(item))

    def stop_at_ten(fraction: float, message: str) -> None:
        if message.startswith("10 of"):
            halved.request_stop()

    job.run(halved, params, stop_at_ten)
    assert (len(done), halved.read_json("results.json")) == (10, None)
    with (halved.path / described.RECORDS).open("ab") as records:  # as a process that was killed leaves them
        records.write(b"half a record")
    with (halved.path / described.LINES).open("a") as lines:
        lines.write('["half a li')
    halved.clear_stop()
    job.run(halved, params, lambda fraction, message: None)
    assert sorted(done) == sorted(set(done))
    assert len(done) == 66
    first, second = (folder.read_json("results.json") for folder in (whole, halved))
    assert first["task"] == configuration.task
    assert first["probes"] == second["probes"]
    target = f"finding {configuration.classes[0]}" if configuration.multi_label else "class"
    assert any(entry["warning"] and entry["target"] == target for entry in first["probes"])


def test_shards_describe_what_one_piece_does_and_the_merge_opens_no_image(tmp_path: Path):
    folder = tmp_path / "xrays"
    manifest = with_marks(folder, Configuration(3, "single-label", TWO), n=45)
    settle(folder)
    for file in folder.glob("*.png"):
        DetectionStore().put(read_xray(file), [TextBox(8, 30, 40, 50, "Portable", 0.9, "word")])
    params = ProbeParams.of({"manifest": manifest, "workers": 0, "n": 42, "masks": "box"})
    whole = RunFolder.create(tmp_path / "runs", KIND, params.stored())
    cut = RunFolder.create(tmp_path / "runs", KIND, params.stored(), shards=3)
    job.run(whole, params, lambda fraction, message: None)
    for shard in shards_of(cut):
        shard.path.mkdir(parents=True)
        job.probe_shard(shard, params, lambda fraction, message: None)
        shard.update_status(state="finished")
    spoil(folder)
    job.run(cut, params, lambda fraction, message: None)
    one, merged = (of_run.read_json("results.json") for of_run in (whole, cut))
    for results in (one, merged):
        results["provenance"].pop("date")
    assert one == merged
    assert (one["n_images"], one["n_available"]) == (42, 45)


def test_text_that_goes_with_the_class_is_read_from_text_alone_and_nothing_is_searched_twice(tmp_path: Path):
    manifest = write_xrays(tmp_path / "xrays", Configuration(1, "single-label", TWO), n=60, side=64)
    table = pd.read_csv(manifest).assign(patient_id="", source=["north", "north", "south", "south"] * 15)
    table.to_csv(manifest, index=False)
    store = DetectionStore()
    for path, label in zip(table["image"], table["label"], strict=True):
        box = TextBox(8, 30, 40, 50, "Portable", 0.9, "word")
        store.put(read_xray(manifest.parent / path), [box] * (label == TWO[0]))
    params = ProbeParams.of({"manifest": manifest, "workers": 0, "masks": "box"})
    folder = RunFolder.create(tmp_path / "runs", KIND, params.stored())
    job.run(folder, params, lambda fraction, message: None)
    results = folder.read_json("results.json")
    shown = {(entry["target"], entry["view"]) for entry in results["probes"] if entry["warning"]}
    assert shown == {("class", "text")}
    assert "From burned-in text alone the class is predicted" in results["finding"]
