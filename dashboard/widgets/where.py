"""Where a run is to run: on this machine, or on a cluster through Slurm."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cxr.runs import Slurm
from cxr.runs.slurm import client

from widgets import pick

HERE, SLURM = "This machine", "Slurm"
_PLACE = "where:place"


def choose() -> Slurm | None:
    """Show the choice and return the settings for Slurm, or None for this machine.

    Raises
    ------
    RunError
        For options of sbatch that make no sense.
    """
    with st.expander("Where it runs", icon=":material/dns:", expanded=st.session_state.get(_PLACE) == SLURM):
        if not client.here():
            st.caption("On this machine: there is no Slurm here (`sbatch` is not found).")
            return None
        pick.remember(_PLACE, HERE, (HERE, SLURM))
        if st.radio("Where it runs", (HERE, SLURM), key=_PLACE, horizontal=True, label_visibility="collapsed") == HERE:
            return None
        return _settings()


def words(where: Slurm | None) -> tuple[str, ...]:
    """Return what the command line needs to say the same."""
    return () if where is None else ("--slurm", where.option())


@st.cache_data(ttl=30, show_spinner="Asking Slurm …")
def _partitions() -> list[client.Partition]:
    return client.partitions()


def _settings() -> Slurm:
    partitions = {partition.name: partition for partition in _partitions()}
    if not partitions:
        st.caption("Slurm does not name its partitions now (`sinfo` fails); the run goes to its default one.")
    cells = st.columns([2, 1, 1, 1, 1, 1])
    partition = _partition(cells[0], partitions)
    gpus = partitions[partition].gpus if partition in partitions else 0
    settings = Slurm(
        partition=partition,
        minutes=_number(cells[1], "Minutes", "minutes", 1, 43200, 60, "A run that needs longer saves and goes on."),
        gpus=_number(cells[2], "GPUs", "gpus", 0, 64, min(gpus, 1), "On each node; each gets a process of its own."),
        nodes=_number(cells[3], "Nodes", "nodes", 1, 1024, 1),
        cpus=_number(cells[4], "CPUs", "cpus", 1, 1024, 2, "Of each process."),
        memory_gb=_number(cells[5], "Memory (GiB)", "memory", 0, 65536, 0, "Of each node; 0: what Slurm gives.")
        or None,
    )
    pick.remember("where:extra", "")
    extra = st.text_input(
        "More options", key="where:extra", placeholder="account=lab,qos=high", help="Options of sbatch: name=value,…"
    )
    st.caption("The folders of runs and of data must be the same on the cluster's nodes, see docs/cluster.md.")
    return Slurm.parse(f"{settings.option()},{extra}")  # what is written by hand goes first


def _partition(cell: DeltaGenerator, partitions: dict[str, client.Partition]) -> str:
    if not partitions:
        return ""
    pick.remember("where:partition", next(iter(partitions)), partitions)
    labels = {name: f"{name} (up to {item.limit}{'' if item.up else ', closed'})" for name, item in partitions.items()}
    return cell.selectbox("Partition", list(partitions), format_func=labels.__getitem__, key="where:partition")


def _number(cell: DeltaGenerator, label: str, name: str, least: int, most: int, default: int, help_: str = "") -> int:
    key = f"where:{name}"
    pick.remember(key, default)
    return int(cell.number_input(label, least, most, step=1, key=key, help=help_ or None))
