"""``cxr dashboard``: the pages in a browser, on this machine alone."""

from __future__ import annotations

import os
import socket
import sys
from typing import Annotated

import typer

from cxr.errors import CxrError, require
from cxr.paths import home, pages

HOST = "127.0.0.1"


def dashboard(port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 8501) -> None:
    """Start the dashboard at 127.0.0.1. Ctrl-C ends it; runs continue."""
    require("streamlit", extra="dashboard")
    main_page = pages() / "Home.py"
    if not main_page.is_file():
        raise CxrError(f"the dashboard's pages are not at {main_page}: install cxr again, or start it from a checkout")
    if _taken(port):
        raise CxrError(
            f"port {port} of {HOST} is in use: a dashboard may be running there already, or choose another --port"
        )
    print(f"dashboard at http://{HOST}:{port}", flush=True)
    os.chdir(home())
    options = [f"--server.address={HOST}", f"--server.port={port}", "--server.headless=true"]
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", "run", str(main_page), *options])


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False
