"""The explorer's pickers of a composite's options: in the address, in the map, in the store, in the command."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
import torch
from apps import codes, open_address, opened, said
from streamlit.testing.v1 import AppTest

from cxr.cli import explaining as command
from cxr.explain.composites import COMPOSITES, Choice, composite_of, option_names
from cxr.explain.heatmap import Method
from cxr.networks import free_gpu
from cxr.runs import DeviceQueue, Run

from widgets.parameters import PARAMETERS  # isort: skip  - found through the path that conftest sets

# One value for each option, none of them the default of any composite that has it.
OTHER = {
    "epsilon": 0.001, "gamma": 0.5, "low": -2.5, "high": 2.5, "steps": 3, "baseline": -1.0, "samples": 2,
    "noise": 0.3, "seed": 7, "patch": 24, "stride": 24, "fill": -1.0,
}  # fmt: skip


def value_of(name: str, option: Any) -> Any:
    return next(word for word in option.words if word != option.default) if isinstance(option, Choice) else OTHER[name]


def widget(app: AppTest, name: str) -> Any:
    found = [box for box in [*app.number_input, *app.selectbox] if box.key in (f"option:{name}", f"pick:{name}")]
    assert len(found) == 1, name
    return found[0]


def explained(app: AppTest) -> tuple[Method, Any]:
    """The way of the map that is shown, and the map."""
    ((key, held),) = list(app.session_state["explained"].items())[-1:]
    (heatmap,) = held.heatmaps.values()
    method = Method.of(heatmap.composite, heatmap.bias or None, options=heatmap.options)
    assert method.key == key[4]
    return method, heatmap


def test_every_option_of_every_composite_has_a_picker_and_a_parameter_of_its_own() -> None:
    assert set(option_names()) == {name for known in COMPOSITES.values() for name in known.options}
    others = {name for name, known in PARAMETERS["explorer"].items() if "value of the option" not in known.noun}
    assert not others & set(option_names())
    assert set(option_names()) <= set(PARAMETERS["explorer"])


@pytest.mark.parametrize("composite", ["epsilon-plus-flat", "epsilon-gamma-box", "smoothgrad", "occlusion"])
def test_a_link_with_options_shows_their_map_and_the_command_makes_it(trained: Run, composite: str) -> None:
    known = composite_of(composite).options
    wanted = {name: value_of(name, option) for name, option in known.items()}
    query = {"composite": composite} | {name: str(value) for name, value in wanted.items()}
    app = opened("explorer", **query)
    assert not app.exception, app.exception
    assert not app.error, said(app)
    assert {name: widget(app, name).value for name in known} == wanted
    method, heatmap = explained(app)
    assert dict(method.options) == wanted
    assert {name: "".join(app.query_params[name]) for name in known} == {name: query[name] for name in known}
    words = codes(app)[0].split()
    options = [words[k + 1] for k, word in enumerate(words) if word == "--option"]
    assert Method.of(composite, options=command.numbers(options)).key == Method.of(composite, options=wanted).key
    assert Method.of(composite).key != method.key
    assert not np.allclose(heatmap.relevance, 0)
    words = said(app)
    for name, option in known.items():
        value = wanted[name] if isinstance(wanted[name], str) else f"{wanted[name]:g}"
        assert f"{name} {value} ({'not the default' if option.default is None else 'default '}" in words


def test_a_step_in_a_picker_changes_the_map_the_address_and_back(trained: Run) -> None:
    app = opened("explorer", composite="epsilon-gamma-box")
    _, before = explained(app)
    assert "gamma" not in app.query_params
    assert "default" not in " ".join(caption.value for caption in app.caption if "epsilon-gamma-box" in caption.value)
    assert (widget(app, "gamma").value, widget(app, "low").value) == (0.25, None)
    assert app.button(key="options:defaults").disabled
    widget(app, "gamma").set_value(4.0).run()
    _, after = explained(app)
    assert not np.allclose(before.relevance, after.relevance)
    assert app.query_params["gamma"] in ("4", ["4"])
    app.button(key="options:defaults").click().run()
    assert "gamma" not in app.query_params
    assert widget(app, "gamma").value == 0.25
    widget(app, "gamma").set_value(4.0).run()
    app.selectbox(key="pick:composite").select("epsilon").run()
    assert not app.exception
    assert "gamma" not in app.query_params
    app.selectbox(key="pick:composite").select("epsilon-gamma-box").run()
    assert widget(app, "gamma").value == 0.25


def test_a_map_with_other_options_is_another_map_in_the_store(trained: Run) -> None:
    first = opened("explorer", composite="epsilon-gamma-box", gamma="3")
    assert "computed in" in said(first)
    assert "loaded from the store" in said(opened("explorer", composite="epsilon-gamma-box", gamma="3"))
    assert "computed in" in said(opened("explorer", composite="epsilon-gamma-box", gamma="3.5"))


@pytest.mark.parametrize(
    ("composite", "param", "value", "accepted"),
    [
        ("epsilon", "epsilon", "-1", "numbers from 0"),
        ("epsilon", "epsilon", "inf", "numbers from 0"),
        ("smoothgrad", "samples", "2.5", "1 to 10000"),
        ("smoothgrad", "samples", "1000000", "1 to 10000"),
        ("occlusion", "fill", "nan", "a number in values of the network's input"),
        ("epsilon-plus-flat", "stem_bn", "through", "Available: 'rule', 'pass'"),
    ],
)
def test_a_value_out_of_range_is_named_with_what_is_accepted(trained, composite, param, value, accepted) -> None:
    app = opened("explorer", composite=composite, **{param: value})
    (error,) = app.error
    assert repr(value) in error.value
    assert accepted in error.value
    assert not app.exception


def test_options_that_do_not_go_together_and_those_of_another_composite_are_reported(trained: Run) -> None:
    app = opened("explorer", composite="occlusion", patch="16", stride="32")
    assert [error.value for error in app.error] == ["stride 32 leaves pixels uncovered. Accepted: 1 to 16 (the patch)"]
    open_address(app, {"composite": "epsilon", "gamma": "0.5"})
    assert any("value of the option gamma '0.5': not part of what is shown here" in w.value for w in app.warning)


def test_a_composite_without_options_says_so_by_a_closed_door(trained: Run) -> None:
    app = opened("explorer", composite="gradient")
    assert not app.exception
    assert not [box for box in app.number_input if str(box.key).startswith("option:")]


def test_the_explorer_says_on_which_device_it_computes(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_gpu, "_gpus_here", lambda: 0)
    words = said(opened("explorer", composite="gradient"))
    assert "s on the processor" in words
    assert "Last computed on the processor." in words
    went: list[torch.device] = []

    def copy_on(network, gpu):
        went.append(gpu)
        return copy.deepcopy(network)

    monkeypatch.setattr(free_gpu, "_gpus_here", lambda: 1)
    monkeypatch.setattr(free_gpu, "_shared", lambda: True)
    monkeypatch.setattr(free_gpu, "_copy_on", copy_on)
    app = opened("explorer", composite="gradient-x-input")
    assert "s on the GPU cuda:0" in said(app)
    assert set(map(str, went)) == {"cuda:0"}
    assert DeviceQueue().tickets() == []
    with DeviceQueue().turn("a-training", {"cuda:0": ("cuda:0",)}, lambda: False, lambda text: None):
        app.selectbox(key="pick:composite").select("epsilon").run()
    assert "s on the processor (in use: cuda:0 by a-training)" in said(app)


def test_the_command_says_on_which_device_it_computed(trained: Run, monkeypatch, capsys, tmp_path) -> None:
    from cxr.cli import main

    monkeypatch.setattr(free_gpu, "_gpus_here", lambda: 0)
    image = trained.predictions()["image_id"][0]
    monkeypatch.setattr("sys.argv", ["cxr", "explain", trained.id, image, "--out", str(tmp_path), "--json"])
    with pytest.raises(SystemExit):
        main()
    out = json.loads(capsys.readouterr().out)
    assert (out["device"], out["notes"][-1]) == ("cpu", "Computed on the processor.")
