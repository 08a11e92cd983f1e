"""A process that has everything imported and forks one that imports or splits a data set, to be killed at any moment.

Each line of stdin is JSON: ``do`` (``import`` or ``split``) with its arguments; ``library``: the folder of data sets;
``die_at``: the child kills itself right before that change of the file system in the library (creating, renaming or
removing a name), 0 for never; ``kill_after``: it is killed after so many seconds, null for never. The answer is
``ended CHANGES`` or ``killed``.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}


def main() -> None:
    import cxr.data.jobs  # noqa: F401

    gc.disable()  # collecting would copy every page that a child shares with this process
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        out, into = os.pipe()
        kill_after = order.pop("kill_after")
        pid = os.fork()
        if pid == 0:
            os.close(out)
            child(order, into)
        os.close(into)
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        with os.fdopen(out) as answer:
            print("killed" if os.WIFSIGNALED(status) else f"ended {answer.read()}", flush=True)


def child(order: dict[str, Any], into: int) -> NoReturn:
    try:
        os.environ["CXR_DATA"] = order.pop("library")
        os.fsync = lambda handle: None  # the system outlives the process, so what it has is not lost
        count = die_at_change(order.pop("die_at"))
        work(order.pop("do"), order)
        os.write(into, str(count[0]).encode())
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def die_at_change(number: int) -> list[int]:
    """Let this process die right before its change of that number; return the count, which goes on."""
    root, count = os.environ["CXR_DATA"], [0]

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in CHANGES) and str(arguments[0]).startswith(root):
            count[0] += 1
            if count[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)
    return count


def work(what: str, order: dict[str, Any]) -> None:
    from cxr.data.jobs import import_data_set, split_data_set

    if what == "import":
        import_data_set("image-folder", Path(order.pop("path")), order.pop("name"), workers=0, **order)
    else:
        split_data_set(order.pop("name"), **order)


if __name__ == "__main__":
    main()
