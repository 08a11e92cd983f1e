"""Signals end ``streamlit run dashboard/Home.py`` as a success; ``cxr dashboard`` is in ``tests/test_cli.py``."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import uvicorn

PROJECT = Path(__file__).resolve().parents[2]


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.read() == b"ok"
    except OSError:
        return False


@pytest.mark.parametrize(
    "numbers",
    [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGINT]],
    ids=["SIGINT", "SIGTERM", "SIGINT twice"],
)
def test_a_signal_ends_the_server_without_a_word(numbers: list[signal.Signals]) -> None:
    words = ["-m", "streamlit", "run", "dashboard/Home.py", "--server.port=0", "--server.headless=true"]
    server = subprocess.Popen(
        [sys.executable, *words, "--server.address=127.0.0.1"],
        cwd=PROJECT,
        env={**os.environ, "CXR_WARM_UP": "off"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # tests started in a shell's background inherit an ignored SIGINT; a terminal's commands do not
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        address = next(line.split()[1] for line in server.stdout if "URL:" in line)
        deadline = time.monotonic() + 120
        while not answers(f"{address}/_stcore/health"):
            assert server.poll() is None, server.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        loop = Path(f"/proc/{server.pid}/maps")
        assert not loop.exists() or "uvloop" in loop.read_text(), "asyncio's own holds back small answers"
        for number in numbers:
            server.send_signal(number)
            time.sleep(0.05)  # two at once are one
        last_words = server.stdout.read().strip()
        assert (server.wait(120), last_words) == (0, "")
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def test_a_second_ctrl_c_does_not_wait_and_what_listens_elsewhere_is_left_alone() -> None:
    from services.quiet_end import end_quietly

    listening = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    end_quietly()
    assert {number: signal.getsignal(number) for number in listening} == listening

    server = uvicorn.Server(uvicorn.Config("nothing:app"))
    try:
        with server.capture_signals():
            end_quietly()
            signal.raise_signal(signal.SIGTERM)
            assert (server.should_exit, server.force_exit) == (True, False)
            signal.raise_signal(signal.SIGINT)
            assert server.force_exit
    finally:
        logging.getLogger("uvicorn.error").setLevel(logging.NOTSET)
        assert {number: signal.getsignal(number) for number in listening} == listening
