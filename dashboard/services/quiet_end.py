"""Ctrl-C ends the dashboard as a success.

The server that Streamlit starts, uvicorn, ends all it has begun and then sends itself the signal once more, by which
Streamlit's command would print "Aborted!" and exit with 1.
"""

from __future__ import annotations

import logging
import signal
from types import FrameType

import uvicorn


def end_quietly() -> None:
    """Have SIGINT and SIGTERM end the server that loads this app, with exit code 0; SIGINT twice does not wait.

    Only what a server of uvicorn listens to is changed: its attributes say the same as its own listener does, but it
    does not know of a signal afterwards.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        server = getattr(signal.getsignal(number), "__self__", None)
        if isinstance(server, uvicorn.Server):
            signal.signal(number, _Ending(server))


class _Ending:
    def __init__(self, server: uvicorn.Server) -> None:
        self.server = server

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.server.should_exit and number == signal.SIGINT:
            self.server.force_exit = True
            # The app's end is then broken off, which uvicorn would tell with a traceback.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self.server.should_exit = True
