"""What is audited: a network and X-rays, or a measured table of predictions; and the newest audits of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from cxr.data import Manifest
from cxr.data.library import list_data_sets
from cxr.experiments.audit.results import KIND
from cxr.experiments.audit.settings import NetworkAuditParams
from cxr.experiments.audit.subject import USUAL_SPLITS
from cxr.json_types import JsonObject
from cxr.networks import list_networks
from cxr.runs import Run, list_runs

from services import load
from widgets import address, page, pages, pick, subject

TABLES = "evaluate-predictions"
NONE = "none"
"""What an address says for no X-rays from elsewhere."""


@dataclass(frozen=True)
class Choice:
    """What is audited.

    Attributes
    ----------
    ref
        The network's name, or the id of the run that measured a table.
    table
        That run; None for a network.
    data, data_name, split
        The X-rays; None and "" for a table that was measured without any.
    """

    ref: str
    table: Run | None
    data: Manifest | None
    data_name: str
    split: str

    @property
    def words(self) -> list[str]:
        """What the command line needs to say the same."""
        split = ["--split", self.split] if self.split else []
        if self.table is not None or self.data is None:
            return [self.ref, *split]
        name = self.data_name if self.data_name != subject.OWN else str(self.data.path)
        return [self.ref, "--data", name, *split]

    @property
    def params(self) -> JsonObject:
        """The parameters of an audit of this."""
        if self.table is not None:
            return {"predictions": self.ref, "split": self.split}
        assert self.data is not None  # a network has X-rays
        return {"model": self.ref, "manifest": str(self.data.path), "split": self.split}


def choose() -> Choice:
    """Let the user choose what is audited; a link to an audit alone chooses what that one is of."""
    _follow_link()
    first, second, third = st.columns([5, 4, 2])
    ref, table = _network_or_table(first)
    if table is None:
        chosen = subject.choose(ref, second, third)
        return Choice(ref, None, chosen.data, chosen.data_name, chosen.split)
    path = table.spec["params"].get("manifest")
    data = load.manifest(path) if path else None
    with second:
        st.text_input("Data set", subject.name_of(Path(path)) if path else "labels of the table", disabled=True)
    with third:
        split = pick.split(sorted((table.results() or {}).get("splits", {})))
    return Choice(ref, table, data, subject.name_of(Path(path)) if path else "", split)


def _follow_link() -> None:
    """Choose what an audit is of, where an address names the audit alone."""
    run_id = address.asks("audit")
    if run_id is None or address.asks("model") is not None:
        return
    run = next((run for run in list_runs(kind=KIND) if run.id == run_id), None)
    if run is None:
        return
    params = NetworkAuditParams.of(run.params)
    recorded = (run.results() or {}).get("subject") or {}
    asked = {"model": params.model or params.predictions, "split": params.split or str(recorded.get("split", ""))}
    if params.model and params.manifest is not None:
        asked["data"] = subject.name_of(params.manifest)
    address.ask(**{name: value for name, value in asked.items() if value and value != "all"})


def _network_or_table(where: st.delta_generator.DeltaGenerator) -> tuple[str, Run | None]:
    networks = {
        network.ref: pick.describe_run(network.run) if network.run else f"{network.ref} · weights file"
        for network in list_networks()
    }
    tables = {run.id: run for run in list_runs(kind=TABLES) if run.status()["state"] == "finished"}
    labels = networks | {i: f"{pick.describe_run(run)} · table of predictions" for i, run in tables.items()}
    if not labels and not address.asks("model"):
        page.nothing_yet("No trained network yet, and no table of predictions.", pages.TRAIN, "Start a training")
    with where:
        resets = ("data", "split", "audit", "finding", "external")
        ref = pick.from_url(
            "Network or predictions",
            list(labels),
            labels,
            "model",
            missing=pick.missing_network,
            stays=True,
            resets=resets,
        )
    return ref, tables.get(ref)


def elsewhere(chosen: Choice) -> list[str]:
    """Let the user choose X-rays from elsewhere, as ``DATA`` or ``DATA:SPLIT``; none for a table."""
    if chosen.table is not None or chosen.data is None:
        return []
    own = chosen.data_name if chosen.data_name != subject.OWN else str(chosen.data.path)
    further = [f"{own}:{name}" for name in chosen.data.splits if name not in (*USUAL_SPLITS, chosen.split)]
    sets = [data.name for data in list_data_sets() if data.name != chosen.data_name]
    key = f"trust:external:{chosen.ref}:{chosen.data_name}"
    if address.take("external", key) == NONE:
        address.accept("external")
        st.session_state[key] = []
    pick.arrive_some(key, "external", [*further, *sets], further)
    names = st.multiselect(
        "X-rays from elsewhere",
        [*further, *sets],
        key=key,
        placeholder="none: nothing is then known about another hospital",
        help="Other data sets, or further splits of this one. Import X-rays of another hospital on the page Data.",
    )
    address.say("external", address.joined(names) or NONE, address.joined(further) or NONE)
    return names


def audits_of(chosen: Choice) -> list[Run]:
    """Return the audits of a choice, the newest first."""
    return [run for run in list_runs(kind=KIND) if _is_of(run, chosen)]


def _is_of(run: Run, chosen: Choice) -> bool:
    stored = run.spec["params"]
    recorded = (run.results() or {}).get("subject") or {}
    split = str(recorded.get("split") or stored.get("split") or "test")
    same_split = split == (chosen.split or "all") or (not recorded and not stored.get("split"))
    if chosen.table is not None:
        return stored.get("predictions") == chosen.ref and same_split
    file = stored.get("manifest")
    same_data = chosen.data is not None and chosen.data.path is not None and file is not None
    if not same_data or stored.get("model") != chosen.ref:
        return False
    assert chosen.data is not None
    assert chosen.data.path is not None
    return Path(str(file)).resolve() == chosen.data.path.resolve() and same_split


def which(audits: Sequence[Run]) -> Run:
    """Let the user choose one of several audits of the same thing."""
    labels = {run.id: _label(run) for run in audits}
    if len(audits) == 1 and address.asks("audit") in (None, audits[0].id):
        address.take("audit", "pick:audit")
        address.accept("audit")
        address.say("audit", audits[0].id)
        return audits[0]
    missing = lambda run_id: pick.missing_run(run_id, (KIND,))  # noqa: E731
    run_id = pick.from_url("Audit", list(labels), labels, "audit", missing=missing, stays=True, resets=("finding",))
    return next(run for run in audits if run.id == run_id)


def _label(run: Run) -> str:
    stored = run.spec["params"]
    kind = "quick look" if stored.get("quick") else "some parts" if stored.get("parts") else "whole audit"
    return f"{kind} · {load.local_time(run.spec['created'])}"
