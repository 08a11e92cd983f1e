"""What every page has: a heading, errors told in one line, the same on the command line, and a next step."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec

import pandas as pd
import streamlit as st
from pyarrow.lib import ArrowException

from cxr import formatting
from cxr.errors import CxrError, system_error
from cxr.paths import data_root, runs_root
from cxr.runs.index import one_look

from services import field_names
from services.page_list import TITLES
from widgets import address

if TYPE_CHECKING:
    from cxr.reports.identities import Privacy
    from cxr.reports.notebooks import NotebookFinding

_log = logging.getLogger(__name__)
P = ParamSpec("P")
_PRESSED = "address:pressed"
_SHORT = 5000  # rows of a table that take no time to write
# Colours of words in Streamlit's code have too little contrast on a light ground.
# Captions at their own opacity are hard to read on a projector.
# On a wide screen a line of text would have two hundred letters and more.
_STYLE = """[data-testid=stMainBlockContainer] {padding: 2.2rem 3rem 4rem}
[data-testid=stCaptionContainer] {opacity: .8}
[data-testid=stMain] [data-testid=stMarkdownContainer] :is(p, li) {max-width: 64rem}
[data-testid=stMain] h2 {padding: .5rem 0 .75rem}
[data-testid=stMain] pre, [data-testid=stMain] pre * {white-space: pre-wrap; overflow-wrap: anywhere}
[data-testid=stMain] pre .token {color: inherit !important}
.code {position: relative; border-radius: .5rem; background: color-mix(in srgb, currentColor 6%, transparent)}
.code pre {margin: 0; padding: .75rem 4.5rem .75rem 1rem; max-height: 40rem; overflow: auto; font-size: .875rem}
.code button {position: absolute; top: .4rem; right: .5rem; padding: .15rem .6rem; border: 1px solid currentColor;
  border-radius: .4rem; background: none; color: inherit; font: inherit; font-size: .8rem; opacity: .75;
  cursor: pointer}
.code button:is(:hover, :focus-visible) {opacity: 1}
"""
# White letters on the light colour of the dark theme have less than half the contrast that small text needs.
_DARK_STYLE = "[data-testid=stBaseButton-primary], [data-testid=stMultiSelect] span[title] {color: #08222a !important}"
_DENSE = """[data-testid=stMainBlockContainer] {padding: 1rem 1.5rem 4rem}
[data-testid=stMainBlockContainer] h1 {font-size: 1.4rem; padding: 0 0 0.25rem}
[data-testid=stMainBlockContainer] > [data-testid=stVerticalBlock] {gap: 0.6rem}
"""


def theme() -> str:
    """Return whether the page is light or dark; light before the browser has said so, as a print is."""
    return st.context.theme.type or "light"


def header(title: str, lead: str, *, dense: bool = False) -> None:
    """Write the page's heading and one sentence that says what it is for; ``dense`` leaves most room to a picture."""
    _title(title, dense=dense)
    st.caption(lead)
    address.notice_here()


def _title(title: str, *, dense: bool = False) -> None:
    dark = _DARK_STYLE if theme() == "dark" else ""
    st.html(f"<style>{_STYLE}{_DENSE if dense else ''}{dark}</style>")
    st.title(title, anchor=False)


@contextmanager
def told_in_one_line(*, below_heading: bool = True) -> Iterator[None]:
    """Show what a user or the machine caused as a box with its one line, and end the page there.

    What an address names and is not there is said below the page's heading, where it is seen.
    That is every CxrError, every OSError (read-only, full, not permitted) and every damaged Parquet file. Any other
    exception is a fault of the program: Streamlit says so without details and writes its traceback to the log.
    """
    try:
        yield
    except _NothingYet as nothing:
        nothing.show()
        raise address.Unfinished from None
    except address.AddressError as error:
        _log.info("%s", error)
        place = address.notice_place()
        if place is None:  # what stands above the page was refused, so the page itself writes no heading
            _title(TITLES.get(address.page().removeprefix("home"), ""))
        with (place if below_heading else None) or st.container():
            st.error(address.plain(str(error)), icon=":material/link_off:")
            st.button(error.instead, key=f"address:instead:{error.param}", on_click=_press, args=(error,))
        raise address.Ended from None
    except (CxrError, OSError, ArrowException) as error:
        _log.warning("%s", error, exc_info=not isinstance(error, CxrError))
        st.error(address.plain(_named(sentence(error))), icon=":material/error:")
        raise address.Unfinished from None


def _press(error: address.AddressError) -> None:
    error.press()
    st.session_state[_PRESSED] = True


def sentence(error: Exception) -> str:
    """Return an error in one line for people; of an OSError, what failed on which file."""
    if isinstance(error, OSError) and not isinstance(error, CxrError):
        return system_error(error)
    return " ".join(str(error).split()) or type(error).__name__


def _named(text: str) -> str:
    """Return a sentence with the page's own names of its fields."""
    return field_names.on_page(text, field_names.of_page(address.page()))


def tried(action: Callable[[], object]) -> bool:
    """Do what a button asks for and return whether it went well; an error is told in one line in a corner."""
    try:
        action()
    except (CxrError, OSError) as error:
        _log.warning("%s", error)
        st.toast(address.plain(_named(sentence(error))), icon=":material/error:")
        return False
    return True


def refreshed(every: float | None) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Return a decorator for a part of a page that runs by itself each ``every`` seconds, or only when clicked in.

    Its errors are told in one line and its choices stand in the address, as those of the whole page.
    """

    def decorate(body: Callable[P, None]) -> Callable[P, None]:
        @st.fragment(run_every=every)
        def part(*args: P.args, **options: P.kwargs) -> None:
            # What a link names and is not there is said on the first screen; of a click within a part, in that part.
            with address.in_step_in_fragment() as whole, told_in_one_line(below_heading=whole), one_look():
                if st.session_state.pop(_PRESSED, False) and not whole:
                    st.rerun()  # the whole page follows another address
                body(*args, **options)

        return part

    return decorate


@contextmanager
def folded(label: str, *, icon: str, key: str, asked: bool = False, opened: bool = False) -> Iterator[bool]:
    """Fold a part of a page away and tell whether it is open: what is shut need not be made.

    To open it runs the page, so it belongs into a :func:`refreshed` part. ``asked`` opens it, as an address does that
    names something in it; ``opened`` too where it was not so before, and then the user may shut it.
    """
    was = f"{key}:opened"
    if asked or (opened and not (st.session_state.get(was) and key in st.session_state)):
        st.session_state[key] = True
    st.session_state[was] = opened
    part = st.expander(label, icon=icon, key=key, on_change="rerun")
    with part:
        yield bool(part.open)


def rerun_when_other(key: str, value: object) -> None:
    """Run the whole page once when ``value``, which a part of it shows, is another than at the last look."""
    before = st.session_state.get(key, value)
    st.session_state[key] = value
    if before != value:
        st.rerun()


def selected(key: str, kind: str) -> list[Any] | None:
    """Return what is selected in a chart or table, ``points`` or ``rows``, for the callback that hears of it.

    None where its page has been left by the time that the server hears of it.
    """
    state = st.session_state.get(key)
    return None if state is None else list(state["selection"][kind])


def estimate(cell: Any, label: str, value: formatting.Estimate | None, *, percent: bool = True, help: str = "") -> None:
    """Show an estimate as a large figure with its 95 % interval below it."""
    point, limits = formatting.point_and_interval(value, percent=percent)
    figure(cell, label, point, f"95 % interval {limits[0]} to {limits[1]}" if limits else "", help=help)


def figure(cell: Any, label: str, value: str, below: str, *, help: str = "") -> None:
    """Show a large figure with what belongs to it close below."""
    close = cell.container(gap=None)
    close.metric(label, value, help=help or None)
    if below:
        close.caption(below)


def csv_button(label: str, table: pd.DataFrame, name: str) -> None:
    """Offer a table as ``name``.csv; a long one is written when it is asked for, not at every look at the page."""
    st.download_button(
        label,
        table.to_csv(index=False) if len(table) <= _SHORT else lambda: table.to_csv(index=False),
        f"{name}.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
        key=f"csv:{name}",
    )


def privacy(key: str, *, images: bool = True) -> Privacy:
    """Let the user choose what a report that is downloaded shows of single X-rays: by default nothing."""
    from cxr.reports.identities import Privacy

    with_images = images and st.checkbox("Show the X-rays themselves", key=f"{key}:images")
    help_ = "Without, X-rays have running numbers. Ids of patients never go in."
    return Privacy(with_images, st.checkbox("Call X-rays by their ids", key=f"{key}:ids", help=help_))


def privacy_words(privacy: Privacy) -> list[str]:
    """Return what the command line takes for the same."""
    return ["--with-images"] * privacy.with_images + ["--with-ids"] * privacy.with_ids


def command(*words: object, writes: str = "", what: str = "The same") -> None:
    """Show the command that does the same as this page and the Python calls, and which files they write.

    A part of a page says ``what`` its command is of: the page has one of its own.
    """
    with st.expander(f"{what} on the command line", icon=":material/terminal:"):
        command_line(*words)
        if writes:
            st.caption(writes)


def commands(*lines: Sequence[object]) -> None:
    """Show the commands that do the same as a page of several parts."""
    with st.expander("The same on the command line", icon=":material/terminal:"):
        for words in lines:
            command_line(*words)


def command_line(*words: object) -> None:
    """Show a command that does the same as the form that it stands in, and below it the same in Python."""
    written = tuple(str(word) for word in words)
    code(shlex.join(written))
    if lines := _python_call(written, (str(runs_root()), str(data_root()))):
        code(lines)


def code(text: str) -> None:
    """Show text as it is typed, with a button that copies it.

    For the colours of its own element Streamlit fetches a script of 1.6 MB, also where that is folded away.
    """
    st.html(
        f'<div class="code"><pre>{escape(text)}</pre><button aria-label="Copy to the clipboard">Copy</button></div>'
    )


@st.cache_data(max_entries=256, ttl=60, show_spinner=False)
def _python_call(words: tuple[str, ...], folders: tuple[str, str]) -> str:
    from cxr.cli.python_calls import python_call

    from services import load

    return python_call(words, read=load.manifest)  # held: reading a large one takes longer than the page


def notebook(finding: NotebookFinding, name: str) -> None:
    """Offer what the page shows as ``name``.ipynb: the Python calls that make it again. It is made on a click."""

    def content() -> bytes:
        from cxr.reports.notebooks import notebook_bytes  # loads the networks, which most pages do not need

        return notebook_bytes(finding.cells())

    st.download_button(
        "Open as notebook",
        content,
        f"{name}.ipynb",
        "application/x-ipynb+json",
        icon=":material/code_blocks:",
        on_click="ignore",
        key=f"notebook:{name}",
        help="A Jupyter notebook with the Python calls that make this again, and its number to compare with",
    )


class _NothingYet(address.Ended):
    """Ends a page that has nothing to show; it is said where the page catches it, never in a popover that is shut."""

    def __init__(self, text: str, page: str | None, label: str) -> None:
        super().__init__(text)
        self.text, self.page, self.label = text, page, label

    def show(self) -> None:
        st.info(self.text, icon=":material/lightbulb:")
        if self.page:
            st.page_link(self.page, label=self.label, icon=":material/arrow_forward:")


def nothing_yet(text: str, page: str | None = None, label: str = "") -> NoReturn:
    """Say why the page is empty and link to the page that fills it; the script ends here."""
    raise _NothingYet(text, page, label)


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is one."""
    return formatting.counted(n, noun)
