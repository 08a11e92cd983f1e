"""Where a run works, here or on a cluster through Slurm, and in how many shards: what every form offers for its run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cxr.runs import KINDS, Kind, Slurm
from cxr.runs.slurm import client

from widgets import pick

HERE, SLURM = "This machine", "Slurm"
MOST_SHARDS = 1000
"""Of a run from a page: a job array of Slurm takes as many where its site has changed nothing."""
_SHARDS_HELP = "The X-rays are cut into so many slices, each with a process of its own; the results are the same."
_WIDE, _NARROW = 200, 110  # pixels of a field


@dataclass(frozen=True)
class Place:
    """Where a run works (None: this machine), and in how many shards."""

    slurm: Slurm | None = None
    shards: int = 1


def choose(kind: str, key: str = "") -> Slurm | None:
    """Show the choice for a run of ``kind`` and return the settings for Slurm, or None for this machine.

    Where there is no Slurm nothing is shown. ``key`` keeps apart the forms of one page; by default it is the kind.

    Raises
    ------
    RunError
        For options of sbatch that make no sense.
    """
    key = f"where:{key or kind}"
    if not client.here():
        return None
    with _expander(key):
        return _settings(KINDS[kind], key) if _on_slurm(key) else None


def choose_with_shards(kind: str, key: str = "") -> Place:
    """Show the choice for a run of a kind that can work in shards; as :func:`choose`, but shown everywhere.

    Raises
    ------
    RunError
        For options of sbatch that make no sense.
    """
    key = f"where:{key or kind}"
    with _expander(key):
        on_slurm = client.here() and _on_slurm(key)
        shards = _number(st, "Shards", key, "shards", 1, MOST_SHARDS, 1, _SHARDS_HELP)
        return Place(_settings(KINDS[kind], key) if on_slurm else None, shards)


def words(where: Slurm | Place | None) -> tuple[str, ...]:
    """Return what the command line needs to say the same."""
    place = where if isinstance(where, Place) else Place(where)
    slurm = () if place.slurm is None else ("--slurm", place.slurm.option())
    return slurm if place.shards == 1 else ("--shards", str(place.shards), *slurm)


def _expander(key: str) -> DeltaGenerator:
    opened = st.session_state.get(f"{key}:place") == SLURM or st.session_state.get(f"{key}:shards", 1) > 1
    return st.expander("Where it runs", icon=":material/dns:", expanded=opened)


def _on_slurm(key: str) -> bool:
    key = f"{key}:place"
    pick.remember(key, HERE, (HERE, SLURM))
    options = (HERE, SLURM)
    return st.radio("Where it runs", options, key=key, horizontal=True, label_visibility="collapsed") == SLURM


@st.cache_data(ttl=30, show_spinner="Asking Slurm …")
def _partitions() -> list[client.Partition]:
    return client.partitions()


def _settings(kind: Kind, key: str) -> Slurm:
    """Show the fields that fit the kind: GPUs for networks, several of them and nodes for what several processes do."""
    partitions = {partition.name: partition for partition in _partitions()}
    if not partitions:
        st.caption("Slurm does not name its partitions now (`sinfo` fails); the run goes to its default one.")
    work = KINDS[kind.members[0]] if kind.members else kind  # the settings are those of each run that it starts
    several, on_gpu = work.processes == "many", work.device == "queued"
    row = st.container(horizontal=True, vertical_alignment="bottom")  # breaks into lines where it is narrow
    partition = _partition(row, partitions, key)
    gpus = partitions[partition].gpus if partition in partitions else 0
    longer = "saves and goes on" if work.resumes else "restarts from the beginning"
    values: dict[str, Any] = {}
    help_ = f"A run that needs longer {longer}."
    values["minutes"] = _number(row, "Minutes", key, "minutes", 1, 43200, 60, help_)
    if on_gpu:
        help_ = "On each node; each gets a process of its own." if several else "0: the processor."
        values["gpus"] = _number(row, "GPUs", key, "gpus", 0, 64 if several else 1, min(gpus, 1), help_)
    if several:
        values["nodes"] = _number(row, "Nodes", key, "nodes", 1, 1024, 1)
    values["cpus"] = _number(row, "CPUs", key, "cpus", 1, 1024, 2, "Of each process." if several else "")
    memory = _number(row, "Memory (GiB)", key, "memory", 0, 65536, 0, "Of each node; 0: what Slurm gives.")
    if kind.members and several:
        help_ = "How many trainings may run at the same time; 0: as many as the cluster gives."
        values["at_once"] = _number(row, "At once", key, "at-once", 0, 1000, 0, help_)
    chosen = Slurm(partition=partition, memory_gb=memory or None, **values)
    pick.remember(f"{key}:extra", "")
    extra = st.text_input(
        "More options",
        key=f"{key}:extra",
        placeholder="account=lab,qos=high",
        help="Options of sbatch: name=value,…",
    )
    st.caption("The folders of runs and of data must be the same on the cluster's nodes, see docs/cluster.md.")
    return Slurm.parse(f"{chosen.option()},{extra}")  # what is written by hand goes first


def _partition(row: DeltaGenerator, partitions: dict[str, client.Partition], key: str) -> str:
    if not partitions:
        return ""
    key = f"{key}:partition"
    pick.remember(key, next(iter(partitions)), partitions)
    labels = {name: f"{name} (up to {item.limit}{'' if item.up else ', closed'})" for name, item in partitions.items()}
    return row.selectbox("Partition", list(partitions), format_func=labels.__getitem__, key=key, width=_WIDE)


def _number(
    row: Any,
    label: str,
    key: str,
    name: str,
    least: int,
    most: int,
    default: int,
    help_: str = "",
) -> int:
    key = f"{key}:{name}"
    pick.remember(key, default)
    return int(row.number_input(label, least, most, step=1, key=key, help=help_ or None, width=_NARROW))
