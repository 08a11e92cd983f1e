"""The benchmark of planted shortcuts runs and resumes, and its report counts what its rows say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests import warm

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import planted_report

    return planted_report


def benchmark(*words):
    command = [sys.executable, str(BENCHMARKS / "planted_shortcut.py"), "--quick", "--workers", "1", *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", warm.WARM: "1"}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_a_tiny_run_writes_its_page_and_its_figure_and_does_not_do_again_what_is_kept(tmp_path):
    kept, out, figure = tmp_path / "rows.jsonl", tmp_path / "page.md", tmp_path / "figure.svg"
    first = benchmark("--keep", kept, "--out", out, "--figure", figure)
    rows = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    assert {row["correlation"] for row in rows} == {0.0, 1.0}
    for row in rows:
        # Patches of the same sizes cover as much, and what is borrowed meets no token, so it may cover less.
        assert row["covered"]["tokens"] == pytest.approx(row["covered"]["random"], rel=0.2)
        assert 0 < row["covered"]["other"] < 2 * row["covered"]["tokens"]
        told = row["effects"]["mean"]
        difference = told["changed"]["tokens"]["value"] - told["changed"]["random"]["value"]
        assert told["beyond_random"]["value"] == pytest.approx(difference)
    written = out.read_text(encoding="utf-8")
    assert written in first + "\n"
    assert "another X-ray's boxes" in figure.read_text(encoding="utf-8")
    assert "seed" not in benchmark("--keep", kept).split("# Planted")[0]
    assert len(kept.read_text(encoding="utf-8").splitlines()) == len(rows)


def a_row(correlation, seed, low, high):
    """A network whose effect beyond either control has this interval."""
    middle = {"value": (low + high) / 2, "low": low, "high": high}
    share = {"value": 0.2, "low": 0.1, "high": 0.3}
    told = {"changed": dict.fromkeys(("tokens", "random", "other"), share)}
    told |= {"beyond_random": middle, "beyond_other": middle, "accuracy": {"tokens": share, "random": share}}
    told |= {"moved_beyond_random": share, "moved_beyond_other": share}
    told["true_class"] = {"random": middle, "other": middle}
    setting = {
        "modes": ["mean"],
        "detect": False,
        "train": 1,
        "test": 1,
        "epochs": 1,
        "side": 1,
        "draws": 1,
        "blocks": [1],
    }
    covered = {"tokens": 0.1, "random": 0.1, "other": 0.1}
    return {"correlation": correlation, "seed": seed, "accuracy": 0.9} | {
        "effects": {"mean": told},
        "setting": setting,
        "covered": covered,
    }


def test_the_verdict_counts_intervals_above_across_and_below_zero(report):
    none = [a_row(0.0, 0, -0.1, 0.1), a_row(0.0, 1, 0.01, 0.1), a_row(0.0, 2, -0.2, -0.1)]
    strong = [a_row(0.75, 0, 0.2, 0.3), a_row(1.0, 0, 0.5, 0.6), a_row(1.0, 1, -0.1, 1.3)]
    said = report.verdicts(none + strong, "mean")
    changed = "predictions changed against random boxes: at correlation 0 the interval covers zero in"
    assert f"{changed} 1 of 3 networks and lies above it in 1" in said
    assert "probabilities moved against random boxes: at correlation 0 the interval covers zero in 0 of 3" in said
    assert "at 0.75 and above it lies above zero in 2 of 3" in said
    assert "grows with every step of the correlation" in said
    assert "does **not** grow" in report.verdicts([*none, a_row(0.75, 0, -0.5, -0.4)], "mean")


def test_the_figure_has_a_point_and_an_interval_for_each_network_and_condition(report):
    rows = [a_row(0.0, 0, -0.1, 0.1), a_row(0.0, 1, 0.01, 0.1), a_row(0.75, 0, 0.2, 0.3), a_row(1.0, 0, 0.5, 0.6)]
    axes = Figure().add_subplot()
    report.draw(rows, "mean").paint(axes)
    lines = axes.get_lines()
    assert len(lines) == 3
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 3
    for line, intervals in zip(lines, axes.collections, strict=True):
        assert list(line.get_ydata()) == pytest.approx([20.0] * 4)
        assert [tuple(s[:, 1]) for s in intervals.get_segments()] == [pytest.approx((10.0, 30.0))] * 4
    every = np.concatenate([line.get_xdata() for line in lines])
    assert len(set(every)) == len(every), "networks stand side by side"
    assert axes.get_ylim() == (0, 30)


@pytest.mark.slow
def test_a_figure_of_another_ending_is_refused_before_anything_is_trained(report, monkeypatch, capsys):
    import planted_shortcut

    monkeypatch.setattr(sys, "argv", ["planted_shortcut.py", "--figure", "figure.gif"])
    with pytest.raises(SystemExit) as ended:
        planted_shortcut.main()
    assert ended.value.code == 2
    assert "figure.gif does not end in .svg, .png, .pdf" in capsys.readouterr().err
