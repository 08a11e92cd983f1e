"""Simulations in blocks of drawn sets, which are kept as they are done, so that a cut loses one block at the most.

A row of a table is simulated in blocks. Each block has a seed of its own, from the row and the block's number alone,
and is appended as one line to a file. What the file already holds is not drawn again. Every row gets its first block
before any gets its second.
"""

from __future__ import annotations

import argparse
import json
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

Row = tuple[str | int | float, ...]


def sets_and_out(about: str | None, sets: int = 200) -> argparse.Namespace:
    """Read the options of a simulation: how many sets are drawn for a row, and the file of its page."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=sets)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def write_page(lines: Sequence[str], out: Path | None) -> None:
    """Write a table's page to a file, or print it."""
    if out:
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        print("\n".join(lines))


@dataclass
class Counts:
    """What drawn sets gave: of each name how often it was looked at, how often it held, a sum, and the least number."""

    sets: int = 0
    seen: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)
    least: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, name: str, holds: bool) -> None:
        """Count one look at ``name``."""
        self.seen[name] = self.seen.get(name, 0) + 1
        self.held[name] = self.held.get(name, 0) + int(holds)

    def add_interval(self, name: str, limits: tuple[float | None, float | None] | None, truth: float) -> None:
        """Count an interval, if there is one, and note its width."""
        low, high = limits or (None, None)
        if low is not None and high is not None:
            self.add(name, low - 1e-9 <= truth <= high + 1e-9)
            self.sums[name] = self.sums.get(name, 0.0) + high - low
            self.least[name] = min(self.least.get(name, np.inf), high - low)

    def share(self, name: str) -> float:
        """Return how often it held, NaN where it was never looked at."""
        return self.held[name] / self.seen[name] if self.seen.get(name) else float("nan")

    def width(self, name: str) -> float:
        """Return the mean width of the intervals of a name."""
        return self.sums[name] / self.seen[name] if self.seen.get(name) else float("nan")

    def merged(self, other: Counts) -> Counts:
        """Return both together."""
        sums, least = dict(self.sums), dict(self.least)
        seen, held = dict(self.seen), dict(self.held)
        for name, number in other.sums.items():
            sums[name] = sums.get(name, 0.0) + number
        for name, number in other.least.items():
            least[name] = min(least.get(name, np.inf), number)
        for name, count in other.seen.items():
            seen[name] = seen.get(name, 0) + count
            held[name] = held.get(name, 0) + other.held[name]
        return Counts(self.sets + other.sets, seen, held, sums, least, self.seconds + other.seconds)


class Blocks:
    """Blocks of ``size`` simulated sets by row, kept in a file of lines; without a file in memory alone."""

    def __init__(self, path: Path | None = None, size: int = 100) -> None:
        self.path, self.size = path, size
        self.done: dict[tuple[Row, int], Counts] = {}
        if path is not None and path.exists():
            text = path.read_text(encoding="utf-8")
            for line in text.splitlines():
                self._remember(line)
            if not text.endswith("\n"):  # it was cut there
                path.write_text(text + "\n", encoding="utf-8")

    def _remember(self, line: str) -> None:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            return
        if entry["size"] == self.size:
            self.done[tuple(entry["row"]), entry["block"]] = Counts(**entry["counts"])

    def simulate(
        self, rows: Sequence[Row], sets: int, draw: Callable[[Row, np.random.Generator, int], Counts], until: float
    ) -> None:
        """Draw what is missing of ``sets``, in whole blocks, for each row.

        No block begins once ``time.time()`` is ``until``. ``draw`` gets a row, a generator of random numbers and how
        many sets to draw.
        """
        for block in range(-(-sets // self.size)):
            for row in rows:
                if (row, block) in self.done:
                    continue
                if time.time() > until:
                    return
                began = time.process_time()
                rng = np.random.default_rng([zlib.crc32(json.dumps(row).encode()), self.size, block])
                counts = draw(row, rng, self.size)
                counts.seconds = time.process_time() - began
                self.done[row, block] = counts
                if self.path is not None:
                    entry = {"row": row, "size": self.size, "block": block, "counts": asdict(counts)}
                    with self.path.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(entry) + "\n")

    def counts(self, row: Row) -> Counts:
        """Return all blocks of a row together."""
        together = Counts()
        for (of_row, _), counts in self.done.items():
            if of_row == row:
                together = together.merged(counts)
        return together
