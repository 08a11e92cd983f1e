"""A real Slurm of one node on loopback, from Debian's packages, for tests and for looking at pages.

``python -m tests.runs.slurm`` starts one, prints the ``SLURM_CONF`` to use and keeps it until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
CPUS, GPUS = 4, 2  # promised to Slurm; TaskPlugin=task/none binds nothing, so they need not be there; nor need the GPUs
CONF = """
ClusterName=cxrtest
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CryptoType=crypto/munge
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,default_queue_depth=100
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=10
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4096 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=60 State=UP
PartitionName=closed Nodes={host} MaxTime=120 State=DOWN
"""


def why_not() -> str:
    """Return why a Slurm cannot be started here, or ``""``."""
    missing = [name for name in PROGRAMS if _program(name) is None]
    if missing:
        return f"no Slurm here: {', '.join(missing)} not found (Debian: slurm-wlm munge)"
    if os.geteuid() != 0:
        return "a Slurm of our own needs root: munged changes its user, slurmd starts other users' jobs"
    try:
        pwd.getpwnam("munge")
    except KeyError:
        return "there is no user munge, as whom munged runs"
    return ""


@contextlib.contextmanager
def loopback_slurm() -> Iterator[Path]:
    """Start munged, slurmctld and slurmd, give the path of their slurm.conf, and end them with all their jobs."""
    folder = Path(tempfile.mkdtemp(prefix="cxr-slurm-"))
    folder.chmod(0o755)  # munged runs as a user of its own and must reach its socket
    conf = folder / "slurm.conf"
    processes: list[subprocess.Popen[bytes]] = []
    try:
        _write(folder, conf)
        processes.append(_start_munge(folder))
        processes.append(_start(folder, "slurmctld", "-D", "-c", "-f", str(conf)))
        processes.append(_start(folder, "slurmd", "-D", "-f", str(conf)))
        _wait_for_node(conf, folder)
        yield conf
        _end_jobs(conf)
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(4)
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _write(folder: Path, conf: Path) -> None:
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir()
    user = pwd.getpwnam("munge")
    key = folder / "munge" / "key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    for path in (folder / "munge", key):
        os.chown(path, user.pw_uid, user.pw_gid)
    controller, daemon = _free_ports()
    host = socket.gethostname().partition(".")[0]
    values = {"folder": folder, "controller": controller, "daemon": daemon, "host": host, "cpus": CPUS, "gpus": GPUS}
    conf.write_text(CONF.format(**values))
    for index in range(GPUS):
        (folder / f"gpu{index}").touch()
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-{GPUS - 1}]\n")


def _free_ports() -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(2)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _start_munge(folder: Path) -> subprocess.Popen[bytes]:
    place = folder / "munge"
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    options = [f"--{option}={place / name}" for option, name in files.items()]
    return _start(folder, "munged", "--foreground", *options, user="munge", group="munge")


def _start(folder: Path, program: str, *arguments: str, **options: str) -> subprocess.Popen[bytes]:
    with (folder / f"{program}.out").open("wb") as output:
        command = [str(_program(program)), *arguments]
        return subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, **options)


def _wait_for_node(conf: Path, folder: Path, timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while "idle" not in _ask(conf, "sinfo", "--noheader", "--format=%t", "--partition=debug"):
        if time.monotonic() > deadline:
            told = "\n".join(f"{path.name}: {path.read_text()[-2000:]}" for path in folder.glob("*.[lo][ou][gt]"))
            raise RuntimeError(f"Slurm's node did not come up\n{told}")
        time.sleep(0.2)


def _end_jobs(conf: Path) -> None:
    _ask(conf, "scancel", "--full", "--signal=KILL", "--user=root")
    _ask(conf, "scancel", "--user=root")


def _ask(conf: Path, *command: str) -> str:
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30).stdout


if __name__ == "__main__":
    if why_not():
        raise SystemExit(why_not())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with loopback_slurm() as running:
        print(f"export SLURM_CONF={running}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
