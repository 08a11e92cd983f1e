"""What belongs under every heatmap: how it was made, of which class, and where the logit went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cxr.explain.composites import composite_of
from cxr.explain.composites.composite import Settings
from cxr.explain.heatmap import Heatmap


def title(heatmap: Heatmap) -> str:
    """Return the composite's title with its name and settings; of one that is not the default, this too."""
    composite = composite_of(heatmap.composite)
    settings = [_bias(heatmap)] if composite.chooses_bias else []
    settings += [_setting(name, value, composite.defaults.get(name)) for name, value in _shown(heatmap).items()]
    settings += [heatmap.precision] if heatmap.precision != "float32" else []
    return " · ".join([f"{composite.title} ({heatmap.composite})", *settings])


def _shown(heatmap: Heatmap) -> Settings:
    """Return the options that a legend names: those with a value, and words (the rules say them) if not the default."""
    defaults = composite_of(heatmap.composite).defaults
    return {
        name: value
        for name, value in heatmap.options.items()
        if value is not None and not (isinstance(value, str) and value == defaults.get(name))
    }


def _setting(name: str, value: Any, default: Any) -> str:
    if isinstance(value, bool | int | float | str) and value == default:
        return f"{name} {_value(value)}"
    return f"{name} {_value(value)} ({'not the default' if default is None else f'default {_value(default)}'})"


def _bias(heatmap: Heatmap) -> str:
    return "biases ignored" if heatmap.bias == "ignore" else "biases kept"


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def rules(heatmap: Heatmap) -> dict[str, str]:
    """Return kind of layer -> rule, in words; empty for methods that know no layers."""
    return composite_of(heatmap.composite).layers(heatmap.bias, heatmap.options)


def ledger(heatmap: Heatmap) -> dict[str, float]:
    """Return where the logit went, by name: the entries after the first add up to it. Empty without a ledger."""
    if not heatmap.has_ledger:
        return {}
    return {
        "logit": heatmap.logit,
        "relevance for": heatmap.positive,
        "relevance against": heatmap.negative,
        "absorbed": heatmap.absorbed,
        "lost": heatmap.lost,
        "residual": heatmap.residual,
    }


LEDGER_MEANS: Mapping[str, str] = {
    "logit": "the network's score of the class, before softmax or sigmoid",
    "relevance for": "red pixels together",
    "relevance against": "blue pixels together",
    "absorbed": "taken by biases and epsilon; belongs to no pixel",
    "lost": "could not be distributed (zero denominators)",
    "residual": "rounding; anything larger is an error",
}
"""What each entry of the ledger is."""


def per_layer(heatmap: Heatmap) -> pd.DataFrame:
    """Return ``layer, absorbed, lost`` from the logit down."""
    columns = {"layer": heatmap.layers, "absorbed": heatmap.layer_absorbed, "lost": heatmap.layer_lost}
    return pd.DataFrame(columns) if heatmap.has_ledger else pd.DataFrame(columns=list(columns))


def lines(heatmap: Heatmap) -> list[str]:
    """Return the legend as lines of text, for pictures and the command line; the colour scale is the picture's own."""
    adds_up = f"Values add up to {composite_of(heatmap.composite).adds_up}."
    rule_by_layer = rules(heatmap)
    parts = [title(heatmap), ledger_line(heatmap) if heatmap.has_ledger else _without(heatmap)]
    parts += (
        ["Rules: " + "; ".join(f"{layer}: {rule}" for layer, rule in rule_by_layer.items())] if rule_by_layer else []
    )
    return list(dict.fromkeys([*parts, *heatmap.notes] + ([] if heatmap.has_ledger or heatmap.notes else [adds_up])))


def ledger_line(heatmap: Heatmap) -> str:
    """Return the ledger as one sum."""
    ends = f"{heatmap.positive:+.3f}, against {heatmap.negative:+.3f}"
    small = (("lost", heatmap.lost), ("unaccounted for", heatmap.residual))
    terms = [(n, v) for n, v in small if not abs(v) < 5e-4 * max(1.0, abs(heatmap.logit))]
    rest = "".join(f" {_signed(value)} {name}" for name, value in [("absorbed", heatmap.absorbed), *terms])
    return f"Class {heatmap.target} · logit {heatmap.logit:+.3f} = relevance {heatmap.total:+.3f} (for {ends}){rest}"


def _signed(value: float) -> str:
    return f"{'-' if np.signbit(value) else '+'} {abs(value):.3f}"


def _without(heatmap: Heatmap) -> str:
    return f"Class {heatmap.target} · logit {heatmap.logit:+.3f}"
