"""Reports of hand-made learning curves whose answers are known, and what holds of any."""

from __future__ import annotations

import base64
import dataclasses
import html
import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from scipy import stats

from cxr.errors import RunError
from cxr.experiments.study.comparison import compare
from cxr.experiments.study.curves import LearningCurve, curves_of, to_table
from cxr.experiments.study.plan import parse_plan
from cxr.experiments.study.verdicts import NO_DIFFERENCE, TOO_FEW
from cxr.reports.figures import COLOURS, GREY
from cxr.reports.study import to_html, to_markdown, write
from cxr.reports.study_figures import curves, forest
from cxr.runs.storage import to_json

PLAN = parse_plan({"recipes": ["twice", "keep"], "seeds": 3, "first_epochs": 2, "accuracy": 0.7})
SVG = "{http://www.w3.org/2000/svg}"
TEST = {"accuracy": {"value": 0.8, "low": 0.7, "high": 0.9}}


def learning_curve(recipe, seed, values, *, epochs=None, start=None, **more):
    """A learning curve with one value per epoch, before that ``start`` at epoch 0 if given."""
    curve = dict(enumerate(values, start=1)) | ({0: start} if start is not None else {})
    curves = {"val_accuracy": curve, "val_loss": {e: 1 - v for e, v in curve.items()}}
    return LearningCurve(recipe, seed, epochs or len(values), run=f"run-{recipe}-{seed}", curves=curves, **more)


def study(twice, keep, **more):
    """Courses of two recipes whose curves differ a little from seed to seed."""
    noise = {"twice": (-0.01, 0.0, 0.01), "keep": (-0.009, 0.0, 0.009)}
    return [
        learning_curve(
            name, seed, [v + epoch * noise[name][seed] for epoch, v in enumerate(values, 1)], test=TEST, **more
        )
        for name, values in (("twice", twice), ("keep", keep))
        for seed in range(3)
    ]


def measure(found, key):
    return next(m for m in found.measures if m.key == key)


def figures(page):
    """The pictures of a page, each as the root of its SVG, by what they show."""
    pictures = re.findall(r'<img class="drawing" src="data:image/svg\+xml;base64,([^"]+)" alt="([^"]+)"', page)
    return {html.unescape(title): ET.fromstring(base64.b64decode(data)) for data, title in pictures}


def words(svg):
    return [element.text for element in svg.iter(f"{SVG}text")]


def only(found, key):
    return measure(found, key).differences["keep", "twice"]


def test_the_beginning_is_compared_seed_by_seed():
    found = compare(PLAN, study([0.4, 0.6, 0.8, 0.8], [0.5, 0.8, 0.8, 0.8]))
    difference = only(found, "area_2")
    assert difference.mean.value == pytest.approx(0.15)
    assert difference.mean.low == pytest.approx(0.15 - 4.3027 * 0.0015 / 3**0.5, abs=1e-6)  # t of 2 degrees, sd 0.0015
    assert (difference.p, difference.mean.n) == (0.25, 3)
    assert found.n_comparisons == 5  # the beginning, its gap to the end, one level, the best, test accuracy
    half = stats.t.ppf(1 - 0.025 / 5, 2) * 0.0015 / 3**0.5
    assert difference.together == pytest.approx((0.15 - half, 0.15 + half), abs=1e-6)
    assert list(found.by_measure) == [measure.key for measure in found.measures]
    flat = [sentence for of_measure in found.by_measure.values() for sentence in of_measure]
    assert flat == list(found.sentences[: len(flat)])
    assert all(measure.title in sentence for measure in found.measures for sentence in found.by_measure[measure.key])
    assert found.sentences[0] == (
        "keep against twice: mean validation accuracy over the first 2 epochs +0.150 [+0.141, +0.159] over 3 seeds"
    )
    means = measure(found, "area_2").means
    assert means["twice"].value == pytest.approx(0.5)
    assert means["twice"].smallest == pytest.approx(0.485)


def test_epoch_0_counts_where_every_member_has_it_and_only_there():
    rows = study([0.4, 0.6], [0.4, 0.6], start=0.2)
    assert measure(compare(PLAN, rows), "area_2").means["keep"].value == pytest.approx((0.1 + 0.4 + 0.3) / 2)
    without = [learning_curve("twice", 0, [0.39, 0.59]), *rows[1:]]
    found = compare(PLAN, without)
    assert not found.start
    assert measure(found, "area_2").means["keep"].value == pytest.approx(0.5)


def test_a_level_that_is_not_reached_counts_as_one_more_than_the_horizon_and_is_reported():
    found = compare(PLAN, study([0.4, 0.5, 0.6, 0.695], [0.5, 0.8, 0.8, 0.8]))
    reached = measure(found, "reach_0.7")
    assert reached.values["twice"] == {0: 5, 1: 5, 2: 4}
    assert reached.values["keep"] == {0: 2, 1: 2, 2: 2}
    assert reached.not_reached == {"twice": 2, "keep": 0}
    assert only(found, "reach_0.7").mean.value == pytest.approx(-8 / 3)
    sentence = next(s for s in found.sentences if "epochs to validation accuracy 0.7" in s)
    assert "-2.7 [" in sentence
    assert sentence.endswith("over 3 seeds (not reached by twice in 2 of 3 seeds)")
    assert any("counts as 5" in note for note in found.notes)


def test_the_horizon_is_the_shortest_last_stage():
    found = compare(PLAN, study([0.4, 0.5], [0.5, 0.6, 0.65, 0.9]))
    assert found.horizon == 2
    assert measure(found, "reach_0.7").values["keep"] == {0: 3, 1: 3, 2: 3}


def test_a_member_that_runs_is_not_said_to_miss_a_level_that_it_may_still_reach():
    rows = study([0.4, 0.5, 0.6, 0.8], [0.5, 0.8, 0.8, 0.8])
    rows[0] = learning_curve("twice", 0, [0.4, 0.5], epochs=4, state="running")
    found = compare(PLAN, rows)
    assert 0 not in measure(found, "reach_0.7").values["twice"]
    assert measure(found, "area_2").values["twice"][0] == pytest.approx(0.45)  # that is known already
    assert only(found, "best").mean.n == 2
    assert any("1 of 6 trainings are not finished: twice seed 0 (running)" in note for note in found.notes)


@pytest.mark.parametrize(
    ("keep", "supports", "said"),
    [
        ([0.6, 0.8, 0.80, 0.80], True, "the advantage is larger in the beginning than at the end, as the claim says"),
        ([0.5, 0.7, 0.90, 0.90], False, "that it is larger than at the end is not shown"),
        ([0.5, 0.7, 0.99, 0.99], False, "a larger one at the end, against “mainly”"),
        ([0.3, 0.5, 0.80, 0.80], False, "it is worse in the beginning, against the claim"),
        ([0.4, 0.6, 0.80, 0.80], False, NO_DIFFERENCE),
    ],
)
def test_the_verdict_on_the_claim_says_what_the_intervals_show(keep, supports, said):
    (verdict,) = compare(PLAN, study([0.4, 0.6, 0.8, 0.8], keep)).verdicts
    assert verdict.supports == supports
    assert verdict.sentence.endswith(said)


def test_seeds_that_all_differ_alike_are_too_few_to_tell():
    rows = [
        learning_curve(n, s, [0.4 + 0.1 * (n == "keep"), 0.6, 0.6], test=TEST)
        for n in ("twice", "keep")
        for s in range(3)
    ]
    found = compare(PLAN.model_copy(update={"first_epochs": [1]}), rows)
    (verdict,) = found.verdicts
    assert verdict.early.mean.value == pytest.approx(0.1)
    assert (verdict.early.mean.low, verdict.early.together) == (None, None)
    assert not verdict.supports
    assert verdict.sentence.endswith(TOO_FEW)
    assert "+0.100 (the same in each, no interval)" in verdict.sentence
    for text in (to_html(found), to_markdown(found)):
        assert "0.500 (the same in all 3 seeds)" in text
        assert "+0.100 (no interval)" in text
        assert "[+0.100, +0.100]" not in text
        assert "[0.500, 0.500]" not in text


def test_what_one_comparison_alone_would_show_is_not_claimed_where_many_are_made():
    noise = [0.0, 0.012, -0.012, 0.006, -0.006]
    labels = ["a", "b", "c", "d", "e"]
    plan = parse_plan({"recipes": labels, "seeds": 5, "first_epochs": 2})
    rows = []
    for k, label in enumerate(labels):
        own = np.roll(noise, k)
        rows += [learning_curve(label, s, [0.5 + 0.05 * (k == 4) + own[s], 0.6 + own[s], 0.7, 0.7]) for s in range(5)]
    found = compare(plan, rows)
    assert found.n_comparisons == 10 * 5
    every = [d for m in found.measures for d in m.differences.values()]
    assert any(d.mean.low is not None and d.mean.low > 0 for d in every)
    assert not any(d.shown for d in every)
    assert not any(v.supports for v in found.verdicts)
    assert all(v.sentence.endswith((NO_DIFFERENCE, TOO_FEW)) for v in found.verdicts)
    assert "hold for all 50 comparisons (10 pairs by 5 measures) together" in found.notes[0]


def test_lengths_and_levels_chosen_later_do_not_shorten_the_intervals_and_are_said_to_be_so():
    rows = study([0.4, 0.6, 0.8, 0.8], [0.5, 0.8, 0.8, 0.8])
    planned = PLAN.model_copy(update={"first_epochs": [1, 2], "accuracy": [0.6, 0.7]})
    as_planned, later = compare(planned, rows), compare(PLAN, rows, planned)
    assert later.n_comparisons == as_planned.n_comparisons == 8
    assert only(later, "area_2") == only(as_planned, "area_2")
    assert not any("Not planned" in note for note in (*as_planned.notes, *later.notes))
    moved = compare(PLAN.model_copy(update={"first_epochs": [3], "accuracy": [0.75]}), rows, PLAN)
    assert any(
        note.startswith("Not planned but chosen later: the first 3 epochs, the level 0.75.") for note in moved.notes
    )


def test_with_the_loss_lower_is_better():
    plan = PLAN.model_copy(update={"metric": "val_loss", "accuracy": [0.3]})
    (verdict,) = compare(plan, study([0.4, 0.6, 0.8, 0.8], [0.6, 0.8, 0.8, 0.8])).verdicts
    assert verdict.supports
    assert verdict.early.mean.value == pytest.approx(-0.2)


def test_a_beginning_as_long_as_the_training_leaves_no_end_and_no_verdict():
    found = compare(PLAN.model_copy(update={"first_epochs": [4]}), study([0.4, 0.6, 0.8, 0.8], [0.5, 0.8, 0.8, 0.8]))
    assert found.verdicts == []
    assert only(found, "area_4").mean.n == 3


def test_the_report_says_what_seeds_cannot_tell():
    notes = " ".join(compare(PLAN, study([0.4, 0.6], [0.5, 0.8])).notes)
    assert "With 3 seeds the smallest p there can be is 0.25" in notes
    assert "no p can fall below 0.05" in notes
    assert "Seeds are not patients" in notes


def test_before_the_first_epoch_there_is_a_report_that_says_so():
    planned = [dataclasses.replace(c, curves={}, test={}, state="not started") for c in study([0.4], [0.5])]
    found = compare(PLAN, planned)
    assert found.sentences[0].endswith("cannot be compared yet, no seed has both")
    assert any("No member has a row with val_accuracy yet" in note for note in found.notes)
    assert len(figures(to_html(found))) == 1 + len(found.measures)


def test_no_interval_of_an_accuracy_lies_beyond_0_and_1():
    rows = [learning_curve(name, s, [v] * 3, test=TEST) for name in ("twice", "keep") for s, v in ((0, 0.3), (1, 0.9))]
    means = measure(compare(PLAN.model_copy(update={"seeds": [0, 1]}), rows), "best").means
    assert [(mean.low, mean.high) for mean in means.values()] == [(0, 1)] * 2


def test_one_seed_gives_no_interval_and_no_verdict():
    rows = [c for c in study([0.4, 0.6, 0.8], [0.5, 0.8, 0.8]) if c.seed == 0]
    found = compare(PLAN.model_copy(update={"seeds": [0]}), rows)
    assert "(one seed, no interval)" in found.sentences[0]
    assert "too few to compare the beginning with the end" in found.verdicts[0].sentence


values = st.lists(st.floats(0, 1), min_size=4, max_size=4)


@settings(max_examples=30, deadline=None)
@given(st.lists(values, min_size=6, max_size=6), st.randoms())
def test_neither_the_order_of_members_nor_of_recipes_matters(curves, random):
    rows = [
        learning_curve(n, s, curves[3 * i + s], test=TEST) for i, n in enumerate(("twice", "keep")) for s in range(3)
    ]
    shuffled = random.sample(rows, len(rows))
    one, other = compare(PLAN, rows), compare(PLAN, shuffled)
    assert json.loads(to_json(one.to_dict())) == json.loads(to_json(other.to_dict()))
    turned = compare(PLAN.model_copy(update={"baseline": "keep"}), rows)
    for ours, theirs in zip(one.measures, turned.measures, strict=True):
        there, back = ours.differences["keep", "twice"], theirs.differences["twice", "keep"]
        assert there.p == back.p
        assert there.mean.value == pytest.approx(-back.mean.value, abs=1e-12)


def test_a_real_difference_is_shown_among_many_comparisons():
    plan = parse_plan({"recipes": ["a", "b", "c"], "seeds": 6, "first_epochs": 1})
    rng = np.random.default_rng(0)
    rows = [
        learning_curve(r, s, [0.5 + b + 0.01 * rng.random()])
        for r, b in zip("abc", (0, 0.1, 0.2), strict=True)
        for s in range(6)
    ]
    differences = measure(compare(plan, rows), "area_1").differences
    assert list(differences) == [("b", "a"), ("c", "a"), ("c", "b")]
    assert [d.p for d in differences.values()] == [1 / 32] * 3
    assert all(d.shown for d in differences.values())


def test_the_drawing_has_both_intervals_and_colours_only_what_is_shown():
    found = compare(PLAN, study([0.4, 0.6, 0.8, 0.8], [0.5, 0.8, 0.8, 0.8]))
    shown = only(found, "area_2")
    thin, thick = bars(forest(measure(found, "area_2")))
    assert thin == (pytest.approx(shown.together), COLOURS[0])
    assert thick == (pytest.approx((shown.mean.low, shown.mean.high)), COLOURS[0])
    assert {colour for _, colour in bars(forest(measure(found, "best")))} <= {GREY}


def bars(drawing):
    """The horizontal bars of a drawing in the order of their thickness: ends and colour."""
    axes = Figure().add_subplot()
    drawing.paint(axes)
    collections = sorted(axes.collections, key=lambda c: c.get_linewidth()[0])
    return [(tuple(c.get_segments()[0][:, 0]), to_hex(c.get_color()[0])) for c in collections]


def test_the_curves_have_each_recipes_means_and_bands_and_a_legend():
    found = compare(PLAN, study([0.4, 0.6, 0.8, 0.8], [0.5, 0.8, 0.8, 0.8], start=0.3))
    axes = Figure().add_subplot()
    curves(found).paint(axes)
    for line, recipe in zip(axes.get_lines(), ("twice", "keep"), strict=True):
        assert dict(zip(*line.get_data(), strict=True)) == {e: m.value for e, m in found.curves[recipe].items()}
    bands = [band.get_paths()[0].get_extents() for band in axes.collections]
    for band, recipe in zip(bands, ("twice", "keep"), strict=True):
        means = [mean for mean in found.curves[recipe].values() if mean.low is not None]
        assert (band.ymin, band.ymax) == pytest.approx((min(m.low for m in means), max(m.high for m in means)))
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == ["twice", "keep"]
    assert axes.get_xlim() == (0, 4)


def test_rows_of_other_stages_and_kinds_are_no_part_of_the_curve():
    rows = [
        {"kind": "epoch", "stage_index": 0, "epoch": 1, "val_accuracy": 0.1},
        {"kind": "start", "stage_index": 1, "epoch": 0, "val_accuracy": 0.3},
        {"kind": "step", "stage_index": 1, "epoch": 1, "loss": 2.0},
        {"kind": "epoch", "stage_index": 1, "epoch": 1, "val_accuracy": 0.5, "val_loss": None},
    ]
    assert curves_of(rows, 1)["val_accuracy"] == {0: 0.3, 1: 0.5}
    assert curves_of(rows, 1)["val_loss"] == {}


def test_a_report_is_written_as_one_page_as_markdown_with_drawings_and_as_a_table(tmp_path):
    found = compare(PLAN, study([0.4, 0.6, 0.8, 0.8], [0.5, 0.8, 0.8, 0.8], start=0.3))
    (page,) = write(found, tmp_path / "r.html")
    text = page.read_text()
    assert len(text) < 200_000
    assert "http" not in text
    assert found.sentences[0] in text
    drawn = figures(text)
    assert next(iter(drawn)) == "Mean validation accuracy by recipe"
    assert {"validation accuracy", "epoch of the last stage", "twice", "keep"} <= set(words(next(iter(drawn.values()))))
    for m in found.measures:
        assert {"keep − twice", m.title} <= set(words(drawn[f"Differences between recipes: {m.title}"]))
    files = write(found, tmp_path / "r.md")
    assert "r-curves.svg" in [f.name for f in files]
    assert all(f.name == "r.md" or f"({f.name})" in files[0].read_text() for f in files)
    assert "| keep − twice | " in files[0].read_text()
    (table,) = write(found, tmp_path / "r.csv")
    assert len(table.read_text().splitlines()) == 1 + 6 * 5
    with pytest.raises(RunError, match=r"r\.docx has no known report format\. Accepted: a name that ends in \.html"):
        write(found, tmp_path / "r.docx")


@pytest.mark.parametrize(("ending", "begins"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_the_figures_alone_are_written_in_each_form(tmp_path, ending, begins):
    found = compare(PLAN, study([0.4, 0.6, 0.8, 0.8], [0.5, 0.8, 0.8, 0.8]))
    files = write(found, tmp_path / f"r.{ending}")
    keys = ["curves", "area_2", "reach_0-7", "best", "test_accuracy"]
    assert [file.name for file in files] == [f"r-{key}.{ending}" for key in keys]
    assert all(file.read_bytes().startswith(begins) for file in files)
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_names_from_outside_cannot_put_anything_into_the_page():
    plan = PLAN.model_copy(update={"name": "<script>x</script>", "description": "<img src=x>"})
    page = to_html(compare(plan, study([0.4, 0.6], [0.5, 0.8])))
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "<svg" not in to_markdown(compare(plan, study([0.4], [0.5])))


def test_the_long_table_has_a_row_per_recipe_seed_and_epoch():
    table = to_table(study([0.4, 0.6], [0.5, 0.8]))
    assert list(table.columns) == ["recipe", "seed", "run", "epoch", "val_accuracy", "val_loss"]
    assert len(table) == 12


def test_what_a_network_brings_along_is_compared_before_the_first_step_where_all_members_have_it():
    learning_curves = [learning_curve("twice", seed, [0.4, 0.6], start=0.3 + seed / 100) for seed in range(3)]
    learning_curves += [learning_curve("keep", seed, [0.4, 0.6], start=0.5 + seed / 100) for seed in range(3)]
    found = compare(PLAN, learning_curves)
    assert only(found, "start").mean.value == pytest.approx(0.2)
    assert measure(found, "start").means["keep"].value == pytest.approx(0.51)
    assert any(
        s.startswith("keep against twice: validation accuracy before the first step +0.200") for s in found.sentences
    )
    without = compare(PLAN, [*learning_curves[1:], learning_curve("twice", 0, [0.4, 0.6])])
    assert "start" not in [m.key for m in without.measures]


def test_drawings_and_reports_say_what_they_rest_on(tmp_path):
    on = {"val": (40, 30), "test": (60, 50)}
    basis = "Study begun 2026-11-28 14:03 UTC with cxr 0.1.0. Data: a & b (manifest hash 0123456789ab)."
    found = compare(PLAN, study([0.4, 0.6, 0.8], [0.5, 0.8, 0.8], rests_on=on, weights="f" * 64))
    found = dataclasses.replace(found, basis=basis)
    text, *drawings = (file.read_text(encoding="utf-8") for file in write(found, tmp_path / "study.md"))
    assert len(drawings) > 2
    for drawing in drawings:
        root = ET.fromstring(drawing)
        assert basis in next(root.iter("{http://purl.org/dc/elements/1.1/}description")).text
        assert basis in " ".join(words(root))
    for page in (text, html.unescape(to_html(found))):
        assert basis in page
        assert "40 X-rays of 30 patients" in page
        assert "f" * 12 in page
    endings = {"test": "(test: 60 X-rays of 50 patients)", "val": "(validation: 40 X-rays of 30 patients)"}
    for sentence in found.sentences:
        assert sentence.endswith(endings["test" if "test accuracy" in sentence else "val"])


def test_validation_sets_that_differ_between_trainings_are_said_to():
    rows = study([0.4, 0.6, 0.8], [0.5, 0.8, 0.8], rests_on={"val": (40, 30)})
    rows[0] = dataclasses.replace(rows[0], rests_on={"val": (39, 30)})
    assert "(validation: 39 to 40 X-rays, not the same in all trainings)" in compare(PLAN, rows).sentences[0]
