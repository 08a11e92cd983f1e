"""The frame of a page, which a browser shows before Streamlit's scripts have run.

Streamlit sends every visitor the same empty page, on which nothing is to be seen until its scripts are loaded and the
first parts have arrived. Here that page is sent with the sidebar and the title in it, which are on screen at once, and
whose links work. Streamlit's own drawing takes the place of the frame.

Below a page there is none. Streamlit sends its page there too, which then looks for its scripts where they are not; the
frame alone is sent instead, and says so.
"""

from __future__ import annotations

import re
from functools import lru_cache
from html import escape
from pathlib import Path
from string import Template

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import config

from services.page_list import SECTIONS, TITLES, name_in_address
from widgets.panes.routes import prefix

_ROOT = '<div id="root"></div>'
_NO_PAGE = re.compile(r"[^/]*\.\w+$|(static|media|component)/|(.*/)?_stcore/")
_ABOUT_A_COPY = (b"accept-encoding", b"if-none-match", b"if-modified-since", b"range")
_FRAME = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
_NOT_FOUND = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><base href="{base}">
<title>{title}</title></head><body>{frame}</body></html>"""


class FirstPaint:
    """Adds the frame to the page that Streamlit sends; everything else passes as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, which ASGI gives as ``scope`` and ``receive``, by messages to ``send``."""
        if scope["type"] != "http" or scope["method"] != "GET" or _NO_PAGE.match(_below_base(scope["path"])):
            await self.app(scope, receive, send)
            return
        # The whole page, uncompressed, also for a browser that has it without the frame.
        asked = [(name, value) for name, value in scope["headers"] if name not in _ABOUT_A_COPY]
        await self.app({**scope, "headers": asked}, receive, _Framing(scope["path"], send))


class _Framing:
    """Passes messages of an answer on; those of a page are held until it is whole."""

    def __init__(self, path: str, send: Send) -> None:
        self.path, self.send = path, send
        self.held: Message | None = None
        self.page = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"])
            if headers.get("content-type", "").startswith("text/html"):
                self.held = message
                return
        if self.held is None:
            await self.send(message)
            return
        self.page += message.get("body", b"")
        if message.get("more_body"):
            return
        sent = self.page.decode("utf-8")
        if _is_a_page(sent) and "/" in _below_base(self.path):
            self.held["status"], sent = 404, not_found(self.path)
        page = framed(sent, self.path).encode("utf-8")
        headers = MutableHeaders(raw=self.held["headers"])
        headers["content-length"] = str(len(page))
        for name in ("etag", "last-modified"):  # of the page without the frame
            del headers[name]
        await self.send(self.held)
        await self.send({"type": "http.response.body", "body": page})


def framed(page: str, path: str) -> str:
    """Return Streamlit's page with the frame of what stands at ``path``; another one comes back as it is."""
    if not _is_a_page(page):
        return page
    asked = _below_base(path)
    name = asked if asked in TITLES else ""
    return page.replace(_ROOT, f'<div id="root">{_frame(name, TITLES[name], "Loading …")}</div>')


def not_found(path: str) -> str:
    """Return what is sent for a ``path`` below a page, with links to the pages that there are."""
    title = "No such page"
    refusal = f"The address names the page {_below_base(path)!r}, which is not here."
    frame = _frame(None, title, f'{escape(refusal)} <a href="./">Home</a>')
    return _NOT_FOUND.format(base=escape(f"{prefix()}/"), title=title, frame=frame)


def _is_a_page(sent: str) -> bool:
    return sent.count(_ROOT) == 1


def _below_base(path: str) -> str:
    """Return what a path names below the server's base path, which may itself be called as a page."""
    return path.removeprefix(prefix()).strip("/")


@lru_cache(maxsize=32)
def _frame(name: str | None, title: str, words: str) -> str:
    rows = []
    for heading, entries in SECTIONS.items():
        if heading:
            rows.append(f"<p>{escape(heading)}</p>")
        for page, label, _ in entries:
            own = name_in_address(page)
            rows.append(f'<a href="./{own}"{" aria-current=page" if own == name else ""}>{escape(label)}</a>')
    parts = {"page": "backgroundColor", "side": "secondaryBackgroundColor", "text": "textColor"}
    colours = {
        f"{theme}_{part}": config.get_option(f"theme.{theme}.{option}")
        for theme in ("light", "dark")
        for part, option in parts.items()
    }
    return _FRAME.substitute(colours, rows="".join(rows), title=escape(title), words=words)
