"""Imports run downwards and never in a circle, and the package knows nothing of the dashboard."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tools import code_imports

PACKAGE = Path(__file__).resolve().parents[1] / "cxr"
LAYERS = (
    {"errors", "files", "json_types", "validation", "formatting", "lazy", "earlier_names", "machine"},
    {"locks", "paths", "permission"},
    {"models", "runs"},
    {"data"},
    {"networks"},
    {"text"},
    {"regions"},
    {"evaluation"},
    {"explain"},
    {"training"},
    {"experiments"},
    {"reports"},
    {"cli", "study", "worker"},
    {"__main__"},
)
MOST_LINES, MOST_MODULES = 400, 15
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}


def imported(file: Path) -> Iterator[str]:
    """Every module that a file imports at run time, also inside functions; not what only type checkers read."""
    return code_imports.imported(file.read_text(encoding="utf-8"), FILES)


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_of(file): file for file in PACKAGE.rglob("*.py")}


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {name: set(imported(file)) & FILES.keys() for name, file in FILES.items()}
    assert graph["cxr.runs.worker"] >= {"cxr.runs.local", "cxr.runs.folder"}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules of a circle


def test_no_module_and_no_folder_grows_too_large() -> None:
    """A module is read in one go, and a folder seen at one look."""
    files = [file for part in (PACKAGE, PACKAGE.parent / "dashboard") for file in part.rglob("*.py")]
    lines = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert {file.name: n for file, n in lines.items() if n > MOST_LINES} == {}
    modules = Counter(file.parent for file in files if file.name != "__init__.py")
    assert {folder.name: n for folder, n in modules.items() if n > MOST_MODULES} == {}
    assert max(lines.values()) > 300  # so the package was looked at


UNTYPED = "dict[str, Any]"


def test_data_without_a_type_are_listed_with_their_reason() -> None:
    """Where keys are known, a type lists them; the page on architecture says where they are not, and why."""
    root = PACKAGE.parent
    page = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    stated = {module: int(n) for module, n in re.findall(r"^\| `([\w/]+\.py)` \| (\d+) \| ", page, re.MULTILINE)}
    files = [file for part in ("cxr", "dashboard") for file in (root / part).rglob("*.py")]
    lines = {str(file.relative_to(root)): file.read_text(encoding="utf-8").splitlines() for file in files}
    counts = {name: sum(UNTYPED in line for line in of_file) for name, of_file in lines.items()}
    assert stated == {name: n for name, n in counts.items() if n}


def wrong_imports(file: Path) -> list[str]:
    """What a module imports although it lies above or beside it, or is none of its business."""
    part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    modules = list(imported(file))
    wrong = [m for m in modules if m.split(".")[0] == "streamlit"]  # the package must work without the dashboard
    if part == "data":
        wrong += [m for m in modules if m.split(".")[0] in ("timm", "torchvision", "zennit")]
    parts = {m.split(".")[1] for m in modules if m.startswith("cxr.")} - {part, "__version__"}
    return wrong + sorted(p for p in parts if RANK[p] >= RANK.get(part, 0))


def test_a_module_imports_only_what_lies_below_it() -> None:
    wrong = {str(file.relative_to(PACKAGE)): wrong_imports(file) for file in PACKAGE.rglob("*.py")}
    assert len(wrong) > 300  # so the package was looked at
    assert {file: modules for file, modules in wrong.items() if modules} == {}


NAMES_GPUS = (PACKAGE / "networks", PACKAGE / "training" / "engine.py")


def gpu_names(source: str) -> list[str]:
    """Where a module decides about GPUs itself: ``torch.cuda``, or the type of a device compared with a word."""
    tree = ast.parse(source)
    names = [f"line {n.lineno}: .cuda" for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr == "cuda"]
    words = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and n.value == "cuda"]
    return names + [f"line {n.lineno}: 'cuda'" for n in words]


def test_only_networks_and_the_engine_of_training_decide_about_gpus() -> None:
    """Elsewhere a device is passed on; the queue and recipes know the names that users give (``cuda:1``)."""
    files = [f for f in PACKAGE.rglob("*.py") if not any(f.is_relative_to(place) for place in NAMES_GPUS)]
    names = {str(file.relative_to(PACKAGE)): gpu_names(file.read_text(encoding="utf-8")) for file in files}
    assert {file: lines for file, lines in names.items() if lines} == {}


def test_decisions_about_gpus_are_seen_where_they_stand_in_code() -> None:
    assert len(gpu_names("if device.type == 'cuda' and torch.cuda.is_available(): model.cuda()")) == 3
    assert not gpu_names("device: str = Field(pattern=r'^(auto|cpu|cuda(:\\d+)?)$')")
    files = (PACKAGE / "networks" / name for name in ("device.py", "resolve.py"))
    assert [bool(gpu_names(file.read_text(encoding="utf-8"))) for file in files] == [True, False]


def test_only_networks_know_where_a_trained_network_lies() -> None:
    """A file that names a checkpoint, or loads one by its path, would find networks in a way of its own."""
    files = [file for part in (PACKAGE, PACKAGE.parent / "dashboard") for file in part.rglob("*.py")]
    own_ways = re.compile(r"best\*?\.safetensors\"|\"checkpoints\"|\bload_model\(|\bshipped_weights\(")
    places = {str(f.relative_to(PACKAGE.parent)) for f in files if own_ways.search(f.read_text(encoding="utf-8"))}
    assert places == {
        "cxr/networks/resolve.py",
        "cxr/models/weights.py",  # names of weights, and the one reader of files
        "cxr/models/imports/imagenet.py",  # the folder in which torch keeps downloads
        "cxr/paths.py",
        "cxr/runs/folder.py",
        "cxr/training/checkpoint.py",  # reads its own to go on with them
    }


ROOT = PACKAGE.parent
COMPUTING = sorted(
    file
    for folder in ("cxr", "benchmarks", "tools")
    for file in (ROOT / folder).rglob("*.py")
    if PACKAGE / "reports" not in file.parents
)
_TAGS = (
    "a|b|i|p|body|br|button|circle|div|figure|figcaption|g|h[1-6]|head|hr|html|iframe|img|input|li|line|link|meta|ol|"
    "path|polygon|polyline|pre|rect|script|section|span|strong|style|sub|sup|svg|table|tbody|td|text|th|thead|title|tr|ul"
)
# Tags, but no placeholders such as <date>; declarations of a style; JavaScript that does something to a page.
_OF_A_BROWSER = re.compile(
    rf"</?(?:{_TAGS})(?:\s+[\w:-]+\s*=[^<>]*)?\s*/?>|<!doctype|<(?:{_TAGS})\s+[\w:-]+=|"
    r"\b(?:font-size|font-family|background|border(?:-\w+)?|margin|padding|max-width|text-align)\s*:[^;{}]+[;}]|"
    r"\bdocument\.\w+|\baddEventListener\b|=>\s*\{|\bfunction\s*\(",
    re.IGNORECASE,
)


def browser_code(source: str) -> list[str]:
    """HTML, CSS, SVG and JavaScript in the text literals of a module; docstrings and bytes are none of it.

    Bytes are what files are recognised by: a web page where an image should be.
    """
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            texts.append("".join(str(v.value) if isinstance(v, ast.Constant) else "0" for v in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            texts.append(node.value)
    return [match.group() for text in texts for match in [_OF_A_BROWSER.search(text)] if match]


def test_html_css_svg_and_javascript_stand_in_the_reports_and_in_the_dashboard_alone() -> None:
    code = {str(file.relative_to(ROOT)): browser_code(file.read_text(encoding="utf-8")) for file in COMPUTING}
    assert {file: texts for file, texts in code.items() if texts} == {}


def test_no_page_style_or_script_lies_elsewhere_in_the_package() -> None:
    templates = PACKAGE / "reports" / "templates"
    files = [file for kind in ("html", "css", "js", "svg") for file in PACKAGE.rglob(f"*.{kind}")]
    assert files
    assert [file for file in files if file.parent != templates] == []


@pytest.mark.parametrize(
    "source",
    [
        "x = '<h2>Curves</h2>'",
        "x = f'<li>{sentence}</li>'",
        'x = f\'<line x1="{x:.1f}" stroke="{colour}"/>\'',
        "x = '<div class=\\'row\\'>'",
        "x = 'td,th{border-bottom:1px solid #ddd;padding:.25rem .8rem}'",
        "x = 'document.getElementById(name)'",
        "x = '<!doctype html>'",
    ],
)
def test_what_a_browser_reads_is_found_where_it_stands_in_code(source: str) -> None:
    assert browser_code(source)


@pytest.mark.parametrize(
    "source",
    [
        '"""Return ``<b>``."""',
        "x = 'tokens <date>, <time> and <unread>'",
        "x = 'CHNCXR_<number>_<0 or 1>.png'",
        "x = b'<html'",
        "x = 'p < 0.05 and a > b'",
        "x = {'margin': 0.25, 'padding': 1}",
        "x = f'margin {margin:g}; draws'",
    ],
)
def test_placeholders_and_numbers_are_not_taken_for_a_page(source: str) -> None:
    assert browser_code(source) == []
