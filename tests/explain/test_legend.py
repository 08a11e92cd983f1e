import numpy as np
import pytest
from maps import heatmap
from toys import CLASSES, Model, pictures, shaken_densenet

from cxr.explain import COMPOSITES, legend
from cxr.explain.heatmap import Method, heatmaps_of


@pytest.fixture(scope="module")
def model():
    return Model(shaken_densenet())


@pytest.mark.parametrize("name", list(COMPOSITES))
def test_a_legend_names_the_composite_its_settings_the_class_and_its_rules(name, model):
    options = {"occlusion": {"patch": 32, "stride": 32}, "integrated-gradients": {"steps": 2}}.get(name, {})
    way = Method.of(name, options=options)
    (maps,) = heatmaps_of(way.explain(model, pictures(1), [["normal", "covid19"]]))
    text = "\n".join(legend.lines(maps[0]))
    assert f"({name})" in text
    assert f"Class normal · logit {maps[0].logit:+.3f}" in text
    assert all(rule in text for rule in legend.rules(maps[0]).values())
    assert bool(legend.rules(maps[0])) == (COMPOSITES[name].kind == "lrp")
    assert ("biases" in legend.title(maps[0])) == COMPOSITES[name].chooses_bias
    if not maps[0].has_ledger:
        assert "add up to" in text


def test_the_bias_mode_and_the_options_change_the_legend():
    plain, kept = heatmap(), heatmap(bias="keep", options={"epsilon": 0.01, "stem_bn": "pass"}, precision="bfloat16")
    assert legend.title(plain) == "LRP: epsilon, z+, flat (epsilon-plus-flat) · biases ignored · epsilon 1e-06"
    assert legend.title(kept).endswith("biases kept · epsilon 0.01 · bfloat16")
    assert legend.rules(plain) != legend.rules(kept)
    assert "epsilon 0.01" in legend.rules(kept)["Classifier"]


@pytest.mark.parametrize("name", [name for name, c in COMPOSITES.items() if c.kind == "lrp"])
def test_the_ledger_adds_up_to_the_logit_for_every_class(name, model):
    (maps,) = heatmaps_of(Method.of(name).explain(model, pictures(1), [list(CLASSES)]))
    for one in maps:
        entries = legend.ledger(one)
        assert list(entries) == list(legend.LEDGER_MEANS)
        assert sum(list(entries.values())[1:]) == pytest.approx(entries["logit"], rel=1e-9)
        layers = legend.per_layer(one)
        assert layers["absorbed"].sum() == pytest.approx(one.absorbed, rel=1e-6, abs=1e-9)
        assert layers["lost"].sum() == pytest.approx(one.lost, rel=1e-6, abs=1e-9)


def test_the_ledger_in_one_line_leaves_out_what_is_nothing_and_names_what_is_lost():
    assert legend.ledger_line(heatmap()) == (
        "Class covid19 · logit +1.000 = relevance +0.600 (for +0.900, against -0.300) + 0.400 absorbed"
    )
    line = legend.ledger_line(heatmap(absorbed=-0.4, lost=-0.25, residual=0.1))
    assert line.endswith("- 0.400 absorbed - 0.250 lost + 0.100 unaccounted for")


def test_a_method_without_a_ledger_has_none():
    nothing = {name: float("nan") for name in ("absorbed", "lost", "residual")}
    one = heatmap(composite="gradient", options={}, layers=(), layer_absorbed=np.zeros(0), **nothing)
    assert legend.ledger(one) == {}
    assert legend.per_layer(one).empty
    assert "nothing: a sensitivity" in legend.lines(one)[-1]
