"""The code before it was rebuilt and now, in one table: sizes, cycles, names, types, and the cost of starting.

    python benchmarks/house.py [--base REVISION] [--rounds 3] [--out FILE.md]

The base is taken out of the repository's history into a temporary folder; its commands and pages run there, with the
packages that are installed. Modules are those of ``cxr`` and ``dashboard``. Start-up is measured as in ``imports.py``.
"""

from __future__ import annotations

import argparse
import ast
import io
import platform
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import imports

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from code_imports import imported

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = PROJECT / "benchmarks" / "results" / "house.md"
BASE = "0587c0f"  # the last commit before the modules moved
SHARED_NAMES = {"__init__", "job", "settings", "results"}  # what each experiment has, under one name
STARTED = ("cxr --help", "cxr recipe list", "the first page")
# Of one thing of each sort that both have: in how many files it is named tells how far such a thing is spread.
NAMED = {
    "kind of run": "text-vocabulary",
    "composite": "epsilon-gamma-box",
    "importer": "chexpert",
}
ADDITIONS = """## What an addition touches

Each was done in a copy of the checkout, which was thrown away, until the tests of its part passed. CONTRIBUTING.md
lists the files.

| addition | tried with | new files | files edited | of them in tests and docs |
|---|---|---:|---:|---:|
| a composite of rules that there are | `epsilon-magnitude-flat`, the rule left out of the count | 0 | 3 | 2 |
| a composite with a rule of its own | the rule `ByMagnitude`, held to the reference of the tests | 1 | 3 | 2 |
| an importer | the JSRT set of nodules, from file names | 2 | 2 | 2 |
| a page with a run of its own | `tests/runs/brightness` as an experiment, a command and a page | 5 | 8 | 4 |
| an architecture (propagator) | `TwoViewsPropagator` of the tests | 1 | 3 | 2 |

The table in docs/lrp.md is written by `python docs/composites.py` and counts as edited. Tests named what was forgotten:
the table, the example network of the architecture, the parameters of the page's address, those in `old_specs`. The
architecture is a toy without convolutions: its tests passed but for those of Grad-CAM, which refuses it by name."""


@dataclass(frozen=True)
class House:
    """The modules of a checkout."""

    root: Path

    @cached_property
    def sources(self) -> dict[Path, str]:
        """The text of every module of the package and the pages."""
        files = [*(self.root / "cxr").rglob("*.py"), *(self.root / "dashboard").rglob("*.py")]
        return {file: file.read_text(encoding="utf-8") for file in sorted(files)}

    @cached_property
    def trees(self) -> dict[Path, ast.Module]:
        """The syntax tree of every module."""
        return {file: ast.parse(source) for file, source in self.sources.items()}

    @cached_property
    def lines(self) -> dict[Path, int]:
        """Lines of every module."""
        return {file: len(source.splitlines()) for file, source in self.sources.items()}

    @cached_property
    def function_lines(self) -> list[int]:
        """Lines of every function and method, from ``def`` to its end, sorted."""
        functions = (
            node
            for tree in self.trees.values()
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        )
        return sorted((node.end_lineno or node.lineno) - node.lineno + 1 for node in functions)

    @cached_property
    def modules(self) -> dict[str, Path]:
        """``{name that imports use: file}``; the pages import each other from their own folder."""
        named = {}
        for file in self.sources:
            inside = file.relative_to(self.root / "dashboard" if "dashboard" in self._parts(file)[:1] else self.root)
            named[".".join(inside.with_suffix("").parts).removesuffix(".__init__")] = file
        return named

    def _parts(self, file: Path) -> tuple[str, ...]:
        return file.relative_to(self.root).parts

    def in_cycles(self) -> int:
        """Count the modules that import themselves by way of others, at run time, also inside functions."""
        graph = {
            name: (set(imported(self.sources[file], self.modules)) & self.modules.keys()) - {name}
            for name, file in self.modules.items()
        }
        return sum(name in _reached(graph, name) for name in graph)

    def largest_module(self) -> str:
        """Return the longest module with its lines."""
        file = max(self.lines, key=lambda file: self.lines[file])
        return f"{self.lines[file]} (`{file.relative_to(self.root).as_posix()}`)"

    def largest_folder(self) -> str:
        """Return the folder with most modules, without ``__init__.py``."""
        folders = Counter(file.parent for file in self.sources if file.stem != "__init__")
        folder, n = folders.most_common(1)[0]
        return f"{n} (`{folder.relative_to(self.root).as_posix()}/`)"

    def equal_names(self) -> str:
        """Return how many names several modules have, with some of them."""
        names = Counter(file.stem for file in self.sources if file.stem not in SHARED_NAMES)
        several = [f"{name} {n}x" for name, n in names.most_common() if n > 1]
        return f"{len(several)}" + (f" ({', '.join(several[:4])}{' …' if len(several) > 4 else ''})" if several else "")

    def lines_with(self, text: str) -> int:
        """Count the lines of ``cxr`` that hold a text."""
        package = (source for file, source in self.sources.items() if self._parts(file)[0] == "cxr")
        return sum(text in line for source in package for line in source.splitlines())

    def files_naming(self, name: str) -> int:
        """Count the modules that hold a name as a word."""
        word = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
        return sum(bool(word.search(source)) for source in self.sources.values())


def _reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    reached: set[str] = set()
    pending = list(graph[start])
    while pending:
        name = pending.pop()
        if name not in reached:
            reached.add(name)
            pending += graph[name]
    return reached


FIGURES: dict[str, Callable[[House], object]] = {
    "modules of `cxr` and `dashboard`": lambda house: len(house.sources),
    "lines": lambda house: f"{sum(house.lines.values()):,}",
    "functions": lambda house: f"{len(house.function_lines):,}",
    "lines of a function: median / p90 / max": lambda house: " / ".join(map(str, _quantiles(house.function_lines))),
    "modules in an import cycle": House.in_cycles,
    "largest folder, in modules": House.largest_folder,
    "largest module, in lines": House.largest_module,
    "modules above 400 lines": lambda house: sum(n > 400 for n in house.lines.values()),
    "lines of `cxr` with `dict[str, Any]`": lambda house: house.lines_with("dict[str, Any]"),
    "names that several modules have": House.equal_names,
}


def _quantiles(values: Sequence[int]) -> tuple[int, int, int]:
    return int(statistics.median(values)), values[int(0.9 * (len(values) - 1))], values[-1]


def start_up(checkout: Path, rounds: int) -> dict[str, tuple[float, float]]:
    """Return the medians {title: (CPU seconds, peak MB)} of what should answer at once, in an empty folder."""
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        for title in STARTED:
            command = imports.commands()[title]
            imports.measure(command, checkout, Path(folder))  # which writes what Python compiles
            pairs = [imports.measure(command, checkout, Path(folder)) for _ in range(rounds)]
            measured[title] = (statistics.median(s for s, _ in pairs), statistics.median(m for _, m in pairs))
    return measured


def take_out(revision: str, folder: Path) -> str:
    """Write the files of a revision into a folder, and return its date."""
    archive = subprocess.run(["git", "archive", revision], cwd=PROJECT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    shown = ["git", "show", "--no-patch", "--format=%cs", revision]
    return subprocess.run(shown, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.strip()


def table(houses: Mapping[str, House], rounds: int) -> str:
    """Return the figures of each checkout side by side, in Markdown."""
    lines = [f"| | {' | '.join(houses)} |", f"|---|{'---:|' * len(houses)}"]
    for title, figure in FIGURES.items():
        lines.append(f"| {title} | {' | '.join(str(figure(house)) for house in houses.values())} |")
    for sort, name in NAMED.items():
        cells = [str(house.files_naming(name)) for house in houses.values()]
        lines.append(f"| modules that name one {sort} (`{name}`) | {' | '.join(cells)} |")
    started = [start_up(house.root, rounds) for house in houses.values()]
    for title in STARTED:
        cells = [f"{seconds:.2f} s, {megabytes:.0f} MB" for seconds, megabytes in (each[title] for each in started)]
        lines.append(f"| {title}: CPU time, peak memory | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure both, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=BASE, help="a revision of this repository")
    parser.add_argument("--rounds", type=int, default=3, help="processes for each start-up time")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        date = take_out(given.base, base)
        figures = table({f"before ({given.base}, {date})": House(base), "now": House(PROJECT)}, given.rounds)
    page = [
        "# The house before and now",
        f"Command: `python benchmarks/house.py --base {given.base}`; {platform.machine()}, Python "
        f"{platform.python_version()}. Start-up: medians of {given.rounds} processes each, files in the system's "
        "cache. Cycles count imports at run time, also those inside functions. Equal names leave out `job`, `settings` "
        "and `results`, which each experiment has.",
        figures,
        ADDITIONS,
    ]
    given.out.write_text("\n\n".join(page) + "\n", encoding="utf-8")
    print("\n\n".join(page))


if __name__ == "__main__":
    main()
