"""A process that has everything imported and forks a worker per line that it reads: deaths cost no import of torch.

What is forked does what ``python -m cxr.runs.worker RUN`` does, in a session of its own, with the run's log as its
output.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are not waited for
    print("ready", flush=True)
    for line in sys.stdin:
        folder = line.strip()
        pid = os.fork()
        if pid == 0:
            work(folder)
        print(pid, flush=True)


def work(folder: str) -> None:
    from cxr.runs import local, worker

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.environ[local.RUN_VARIABLE] = folder
    log = os.open(os.path.join(folder, "log.txt"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)  # noqa: PTH118
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code = worker.main(folder)
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
