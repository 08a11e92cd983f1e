"""What mkdocs does beside rendering docs/: pages made from the code, pages that lie elsewhere, and a last check.

README.md is the first page. Links between Markdown files are written for the repository, and lead to the same page of
the site here.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

import command_line
import python_reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
# {file of the repository: page of the site}, beside docs/*.md
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "weights/README.md": "weights-folder.md",
    "CITATION.cff": "CITATION.cff",
}
_LINK = re.compile(r"(\]\()([^)#\s:]+)((?:#[^)\s]*)?\))")
# What a browser fetches by itself: scripts, styles, pictures and fonts of another host.
_FETCHED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\b(?:src|srcset)=[\"']?(?:https?:)?//[^\s\"'>]+|"
    r"<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|preload|icon|preconnect))[^>]*\bhref=[\"']?(?:https?:)?//[^\s\"'>]+|"
    r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^\s\"')]+",
    re.IGNORECASE,
)


def repository_pages() -> dict[str, str]:
    """Return ``{file of the repository: page of the site}`` for what does not lie in docs/."""
    results = (f"benchmarks/results/{file.name}" for file in (ROOT / "benchmarks" / "results").glob("*.md"))
    return ELSEWHERE | {path: path for path in results}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is made from the code, and what lies elsewhere in the repository."""
    pages = {"commands.md": command_line.page()}
    pages |= {f"python/{name}.md": python_reference.page(name) for name in python_reference.PAGES}
    pages |= {page: (ROOT / path).read_text(encoding="utf-8") for path, page in repository_pages().items()}
    for page, content in pages.items():
        files.append(File.generated(config, page, content=content))
    files.append(File.generated(config, "images/icon.png", abs_src_path=str(ROOT / "dashboard" / "icon.png")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    here = page.file.src_uri
    source = {page: path for path, page in repository_pages().items()}.get(here, f"docs/{here}")

    def on_site(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[2]))
        target = repository_pages().get(target, target.removeprefix("docs/"))
        return link[1] + posixpath.relpath(target, posixpath.dirname(here) or ".") + link[3]

    return markdown if here.startswith(("python/", "commands")) else _LINK.sub(on_site, markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site whose pages fetch anything from another host."""
    fetched = fetched_from_elsewhere(Path(config.site_dir))
    if fetched:
        raise PluginError("the site would fetch from other hosts: " + "; ".join(sorted(fetched)[:5]))


def fetched_from_elsewhere(site: Path) -> set[str]:
    """Return what pages and styles of a built site fetch from other hosts."""
    files = [file for kind in ("html", "css") for file in site.rglob(f"*.{kind}")]
    return {match.group() for file in files for match in _FETCHED.finditer(file.read_text(encoding="utf-8"))}
