"""Computing with a network in the page's own process: on a GPU while one is free, else on the processor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from cxr.networks import Computed, compute_on_free_device, usual_device

from services import load

if TYPE_CHECKING:
    from cxr.models import XrayClassifier

T = TypeVar("T")
_LAST = "computed:where"


def compute(network_ref: str, computation: Callable[[XrayClassifier], T]) -> Computed[T]:
    """Return what ``computation`` returns for a network, with the device that it was computed on."""
    network, _ = load.model(network_ref)
    computed = compute_on_free_device(network, computation)
    if get_script_run_ctx(suppress_warning=True) is not None:
        st.session_state[_LAST] = computed.where
    return computed


def device_caption() -> str:
    """Return where this page's session computed last, in a sentence; before that, where it will."""
    where = st.session_state.get(_LAST)
    return f"Last computed {where}." if where else f"Computes {usual_device()}."
