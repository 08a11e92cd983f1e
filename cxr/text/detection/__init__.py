"""Finding burned-in tokens on an X-ray, and reading them."""

from __future__ import annotations

import threading

ELSEWHERE = threading.Event()
"""Set by a server: its text detectors work in a process of their own (:mod:`cxr.text.detection.elsewhere`)."""
