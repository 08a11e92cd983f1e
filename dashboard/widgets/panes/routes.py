"""What the server answers beside pages: heatmaps that are stored and small pictures, see :mod:`widgets.panes.frames`.

The server has these routes before it runs, when nothing that Streamlit keeps for pages can be loaded yet.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from functools import partial
from typing import Protocol
from urllib.parse import parse_qs, urlencode

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

AT_ONCE = 3
"""As many answers are made at a time for all visitors together; the others wait."""
_PATH, _SHOWN, _SMALL = "frames", "shown.bin", "small.png"
_turns = asyncio.Semaphore(AT_ONCE)


class Answers(Protocol):
    """What makes the answers: :mod:`widgets.panes.frames`, once the server runs."""

    def answer(self, token: str, cookies: dict[str, str], wish: dict[str, str], held: frozenset[str]) -> bytes | None:
        """Return what the viewer would show, None where it is not stored or not for this token and browser."""

    def small_png(self, token: str, cookies: dict[str, str], image_id: str) -> bytes | None:
        """Return the small picture of an X-ray, None where it is not for this token and browser."""


def prefix() -> str:
    """Return what addresses of this server begin with: "" or a path without a slash at its end."""
    path = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{path}" if path else ""


def url(token: str) -> str:
    """Return where the browser asks for scenes."""
    return f"{prefix()}/{_PATH}/{token}/{_SHOWN}"


def small_url(token: str, image_id: str, stamp: str) -> str:
    """Return where the browser finds the small picture of an X-ray; ``stamp`` changes with its content."""
    version = hashlib.blake2b(stamp.encode(), digest_size=6).hexdigest()
    return f"{prefix()}/{_PATH}/{token}/{_SMALL}?{urlencode({'id': image_id, 'v': version})}"


def routes(answers: Callable[[], Answers]) -> list[BaseRoute]:
    """Return what the server answers by itself; ``answers`` loads what makes the answers, with the first question."""
    logging.getLogger("streamlit.runtime.scriptrunner_utils.script_run_context").addFilter(_is_of_a_page)

    async def shown(request: Request) -> Response:
        asked = parse_qs(request.url.query, keep_blank_values=True)
        wish = {name: values[-1] for name, values in asked.items()}
        held = frozenset(asked.get("held", ()))
        make = partial(answers().answer, request.path_params["token"], request.cookies, wish, held)
        return await _made(make, "application/octet-stream", "no-store")

    async def small(request: Request) -> Response:
        image_id = parse_qs(request.url.query).get("id", [""])[0]
        make = partial(answers().small_png, request.path_params["token"], request.cookies, image_id)
        return await _made(make, "image/png", "private, max-age=86400")

    at = f"{prefix()}/{_PATH}/{{token}}"
    return [Route(f"{at}/{_SHOWN}", shown), Route(f"{at}/{_SMALL}", small)]


def _is_of_a_page(record: logging.LogRecord) -> bool:
    """Leave out of the log that an answer is made outside of a page, which Streamlit warns of at each file."""
    return not (record.threadName or "").startswith("AnyIO")


async def _made(make: Callable[[], bytes | None], mimetype: str, keep: str) -> Response:
    async with _turns:
        content = await run_in_threadpool(make)
    if content is None:
        return Response(status_code=204, headers={"cache-control": "no-store"})
    # Compressing takes longer than sending what is compressed already. What a browser keeps is for who is signed in.
    headers = {"cache-control": keep, "content-encoding": "identity", "vary": "cookie"}
    return Response(content, media_type=mimetype, headers=headers)
