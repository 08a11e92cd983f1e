"""The switch of the Train page that masks burned-in text."""

from __future__ import annotations

from apps import opened

from cxr.data import Manifest
from cxr.runs import list_runs


def test_the_form_masks_text_and_asks_how_only_then(demo: Manifest) -> None:
    def labelled(kind: object, label: str) -> list:
        return [widget for widget in kind if widget.label == label]

    app = opened("train", recipe="demo")
    assert not labelled(app.selectbox, "Masked by")
    labelled(app.selectbox, "Burned-in text")[0].select("mask").run()
    labelled(app.selectbox, "Masked by")[0].select("inpaint").run()
    labelled(app.number_input, "Margin")[0].set_value(0.25).run()
    labelled(app.selectbox, "Evaluate on")[0].select("unmasked").run()
    labelled(app.number_input, "Epochs")[0].set_value(1).run()
    labelled(app.button, "Start training")[0].click().run()
    assert not app.error
    (run,) = list_runs(kind="train")
    text = run.spec["params"]["recipe"]["text"]
    assert text == {"handling": "mask", "mode": "inpaint", "margin": 0.25, "measure_on": "unmasked"}
