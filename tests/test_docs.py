"""The documentation: its links lead somewhere, and its site is built from what the code says today."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxr.data import SOURCES

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "weights" / "README.md", *(ROOT / "docs").glob("*.md")]
_CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the repository's pages and the site have them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = (re.sub(r"[*`]|\]\([^)]*\)|\[", "", title) for title in _HEADING.findall(text))
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def broken(page: Path) -> Iterator[str]:
    """Yield the links of a page that lead to no file, or to no heading of it."""
    for link in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: Path):
    assert list(broken(page)) == []


# The glossary itself, and the page for those who change the code.
WITHOUT_GLOSSARY = {"architecture.md", "glossary.md"}


def test_every_page_about_a_subject_links_its_words_to_the_glossary():
    pages = {page.name for page in (ROOT / "docs").glob("*.md") if "](glossary.md#" not in page.read_text("utf-8")}
    assert pages == WITHOUT_GLOSSARY


def test_links_that_lead_nowhere_are_found(tmp_path: Path):
    (tmp_path / "there.md").write_text("# The *way* of `data`\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md#the-way-of-data) [b](gone.md) [c](there.md#no) [d](https://example.org) `[e](f.md)`\n",
        encoding="utf-8",
    )
    assert list(broken(page)) == ["gone.md", "there.md#no"]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_file_that_developers_are_led_to_is_there(page: str):
    paths = re.findall(
        r"`((?:cxr|dashboard|docs|tests|tools|benchmarks)/[\w/.]*)`", (ROOT / page).read_text(encoding="utf-8")
    )
    assert len(paths) > 10
    assert [path for path in paths if not re.search(r"NAME|SUBJECT", path) and not (ROOT / path).exists()] == []


def test_every_kind_of_data_set_is_named_where_importing_is_described():
    page = (ROOT / "docs" / "importing.md").read_text(encoding="utf-8")
    assert [name for name in SOURCES if f"`{name}`" not in page] == []


def test_the_drawing_of_the_layers_is_that_of_the_imports(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import layers

    edges = layers.imports()
    heights = layers.levels(edges)
    assert all(heights[upper] > heights[lower] for upper, lower in edges)
    assert heights["dashboard"] > heights["explain"] > heights["data"] > heights["runs"]
    assert layers.in_words(sorted(layers.direct(edges))) in layers.PICTURE.read_text("utf-8"), "run docs/layers.py"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_the_site_has_every_command_and_every_public_name(site: Path):
    import cxr

    commands = (site / "commands.html").read_text(encoding="utf-8")
    assert "--keep-labels" in commands  # which importers declare
    for command in ("cxr-data-import", "cxr-train", "cxr-text-experiment", "cxr-weights-export"):
        assert f'id="{command}"' in commands
    for part in ("data", "text", "models", "explain", "runs", "evaluation", "training"):
        page = (site / "python" / f"{part}.html").read_text(encoding="utf-8")
        missing = [name for name in getattr(cxr, part).__all__ if f'id="cxr.{part}.{name}"' not in page]
        assert missing == []
        assert ":class:`" not in page


@pytest.mark.slow
def test_the_site_fetches_nothing_from_elsewhere_and_would_be_refused_if_it_did(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "site"))
    from hooks import fetched_from_elsewhere

    assert (site / "index.html").exists()
    assert fetched_from_elsewhere(site) == set()
    (tmp_path / "page.html").write_text(
        '<a href="https://example.org">x</a><link rel=stylesheet href=https://example.org/a.css>'
        '<script src="//example.org/b.js"></script><style>@font-face{src:url(https://example.org/c)}</style>',
        encoding="utf-8",
    )
    assert len(fetched_from_elsewhere(tmp_path)) == 3
