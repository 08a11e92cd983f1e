from pathlib import Path

import pytest
import yaml

from cxr.errors import RecipeError
from cxr.experiments.study import EXAMPLES, load_plan, parse_plan

RECIPES = {"a": "demo", "b": {"recipe": "scratch", "set": {"size": 64}}}


def test_a_plan_survives_yaml(tmp_path):
    plan = parse_plan({"recipes": RECIPES, "seeds": 4, "baseline": "b", "set": {"stages.-1.epochs": 3}})
    (tmp_path / "s.yaml").write_text(plan.to_yaml())
    assert load_plan(tmp_path / "s.yaml") == plan
    assert (plan.seeds, plan.labels, plan.pairs) == ([0, 1, 2, 3], ["b", "a"], [("a", "b")])


def test_short_forms_mean_the_long_ones():
    plan = parse_plan({"recipes": ["scratch", "twice"], "seeds": [7], "accuracy": 0.8, "first_epochs": 3})
    assert plan.recipes["twice"].recipe == "twice"
    assert (plan.accuracy, plan.first_epochs) == ([0.8], [3])


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_plans(name):
    assert load_plan(name).name == name


def test_a_recipe_s_file_is_looked_for_beside_the_study_s_file(tmp_path):
    (tmp_path / "mine.yaml").write_text("name: mine\n")
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"recipes": {"a": "mine.yaml", "b": "demo"}}))
    plan = load_plan(tmp_path / "s.yaml")
    assert Path(plan.recipes["a"].recipe) == tmp_path / "mine.yaml"
    assert plan.recipes["b"].recipe == "demo"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 3}, r"^seed: unknown key \(did you mean 'seeds'\?\)$"),
        ({"recipes": {"a": {"recipe": "demo", "sat": {}}}}, r"^recipes\.a\.sat: unknown key \(did you mean 'set'\?\)$"),
        ({"recipes": {}}, r"^recipes: 1 to 12 recipes are needed"),
        ({"recipes": {"a b": "demo"}}, r"^recipes: 'a b' is not a valid label\. Allowed: letters"),
        ({"recipes": {"a": {"recipe": 3}}}, r"^recipes\.a\.recipe: 3 is not a recipe\. Allowed: a preset's name"),
        ({"recipes": {"a": {}}}, r"^recipes\.a\.recipe: missing, it is needed$"),
        ({"recipes": {"a": 3}}, r"^recipes\.a: 3 is not allowed\. Allowed: keys and values"),
        ({"seeds": 0}, r"^seeds: 0 is not allowed\. Allowed: 1 to 20, or a list of as many seeds$"),
        ({"seeds": 21}, r"^seeds: 21 is not allowed"),
        ({"seeds": [1, 1]}, r"^seeds: \[1, 1\] is not allowed"),
        ({"seeds": [True]}, r"^seeds: \[True\] is not allowed"),
        ({"seeds": 10**12}, r"^seeds: 1000000000000 is not allowed"),
        ({"metric": "accuracy"}, r"^metric: 'accuracy' is not allowed\. Allowed: val_accuracy, val_macro_f1,"),
        ({"accuracy": 70}, r"^accuracy: 70\.0 is not allowed\. Allowed with val_accuracy: at most 1$"),
        ({"accuracy": []}, r"^accuracy: \[\] is not allowed\. Allowed: a level above 0"),
        ({"first_epochs": 0}, r"^first_epochs: 0 is not allowed"),
        ({"baseline": "c"}, r"^baseline: 'c' is not allowed\. Allowed: a, b$"),
        ({"parallel": 0}, r"^parallel: 0 is not allowed\. Allowed: 1 to 64$"),
        ({"on_failure": "wait"}, r"^on_failure: 'wait' is not allowed\. Allowed: go-on, stop$"),
    ],
)
def test_what_is_wrong_is_reported_in_one_line_with_the_key_the_value_and_what_is_allowed(changes, message):
    with pytest.raises(RecipeError, match=message) as caught:
        parse_plan({"recipes": RECIPES} | changes)
    assert "\n" not in str(caught.value)


def test_what_is_no_study_is_refused_in_one_line(tmp_path):
    with pytest.raises(RecipeError, match=r"unknown study 'clam'\. Available: claim, or a YAML file"):
        load_plan("clam")
    with pytest.raises(RecipeError, match="a study is a list: keys and values are needed"):
        parse_plan([])
    (tmp_path / "s.yaml").write_text("recipes: [a\n")
    with pytest.raises(RecipeError, match=r"s\.yaml is not YAML: line 2, column 1: expected") as caught:
        load_plan(tmp_path / "s.yaml")
    assert "\n" not in str(caught.value)
    with pytest.raises(RecipeError, match=r"^recipes: missing, it is needed$"):
        parse_plan({"name": "x"})
