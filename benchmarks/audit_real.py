"""What an audit finds about a network that was trained on data whose flaws are known.

The data set ``--data`` has one source for each class, patients in two classes, X-rays of another class from a class's
own source (split ``probe``) and X-rays from elsewhere (split ``external``). Measured are, by commands:

- ``cxr data audit`` and ``cxr audit`` of the network, whole, with seconds, processor seconds and memory;
- ``cxr slices`` of the splits test and probe by source: which slice explains what is lost;
- ``cxr audit --part duplicates`` of the same network on the data with ``PLANTED`` copies of X-rays of the split test,
  which were cropped, scaled and saved again, and put into the split train under patients of their own;
- ``cxr audit`` of the table of the network's predictions, without the network.

What was measured is kept in ``--kept`` as JSON, so that a further start only writes the table.

    cxr data import manifest MANIFEST --name real
    cxr train scratch --data real --name real-scratch --set backbone=densenet-small ...
    python benchmarks/audit_real.py --data real --network RUN --out benchmarks/results/audit_real.md
"""

from __future__ import annotations

import argparse
import json
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict, cast

import cv2
import numpy as np
import pandas as pd

from cxr.data import Manifest
from cxr.data.library import resolve_manifest
from cxr.evaluation.slices import SliceResults
from cxr.evaluation.slices.wording import where_in_words, with_interval
from cxr.experiments.audit.findings import Finding, written
from cxr.experiments.audit.results import NetworkAuditResults
from cxr.experiments.data_audit.results import AuditResults, entry_cells
from cxr.json_types import JsonObject
from cxr.runs import get_run

NAMES = ("data", "network", "slices", "table", "planted")
PLANTED = 12
DUPLICATES_FILE = "duplicates.csv"


class Measured(TypedDict):
    """A command with what it printed, and what it took with all processes that it waited for."""

    command: str
    code: int
    seconds: float
    processor_seconds: float
    gib: float
    results: JsonObject


def measured(*words: str) -> Measured:
    """Return what a command printed as JSON, and what it took."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    ended = subprocess.run([sys.executable, "-m", "cxr", *words, "--json"], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if not ended.stdout.strip():
        raise SystemExit(f"cxr {shlex.join(words)}: {ended.stderr.strip()[-500:]}")
    return {
        "command": f"cxr {shlex.join(words)}",
        "code": ended.returncode,
        "seconds": time.monotonic() - began,
        "processor_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "gib": after.ru_maxrss / 2**20,
        "results": json.loads(ended.stdout),
    }


def plant(data: str, folder: Path) -> tuple[Path, list[tuple[str, str]]]:
    """Write the manifest with planted copies, and return it and the ids of each X-ray and its copy."""
    manifest, rng = Manifest.load(resolve_manifest(data)), np.random.default_rng(0)
    table, paths = manifest.table.copy(), manifest.image_paths()
    table["image"] = [str(paths[image_id]) for image_id in table["image_id"]]
    test = table[table["split"] == "test"].sort_values("image_id")
    chosen = test.iloc[np.sort(rng.choice(len(test), PLANTED, replace=False))].copy()
    folder.mkdir(parents=True, exist_ok=True)
    pairs = []
    for k, (position, row) in enumerate(chosen.iterrows()):
        image = cv2.imread(row["image"], cv2.IMREAD_GRAYSCALE)
        assert image is not None
        top, left = (int(0.03 * side) for side in image.shape)
        cropped = cv2.resize(image[top:-top, left:-left], None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
        file = folder / f"copy{k}.jpg"
        cv2.imwrite(str(file), cropped, [cv2.IMWRITE_JPEG_QUALITY, 70])
        changes = {"image_id": f"copy{k}", "image": str(file), "patient_id": f"new{k}", "split": "train"}
        chosen.loc[position, [*changes, "dup_group", "lung_mask"]] = [*changes.values(), "", ""]
        pairs.append((str(row["image_id"]), f"copy{k}"))
    planted = folder / "planted.csv"
    pd.concat([table.drop(columns="lung_mask"), chosen.drop(columns="lung_mask")]).to_csv(planted, index=False)
    return planted, pairs


def copies_found(audit: str, pairs: list[tuple[str, str]]) -> int:
    """Return how many planted pairs an audit lists."""
    listed = pd.read_csv(get_run(audit).folder.path / DUPLICATES_FILE, dtype=str)
    known = {frozenset(pair) for pair in zip(listed["image_id_a"], listed["image_id_b"], strict=True)}
    return sum(frozenset(pair) in known for pair in pairs)


def as_theirs(network: str, folder: Path) -> Path:
    """Write the test predictions of a training as somebody else would, and return the table."""
    table = get_run(network).predictions()
    assert table is not None
    test = table[table["split"] == "test"]
    columns = {name: name.removeprefix("prob_") for name in test.columns if name.startswith("prob_")}
    file = folder / "theirs.csv"
    test[["image_id", *columns]].rename(columns=columns).to_csv(file, index=False)
    return file


def of_parts(audit: NetworkAuditResults) -> Iterator[str]:
    """Yield a table of the parts of an audit, with what each one found or looked at."""
    yield "| part | state | seconds | findings | looked at without a finding |"
    yield "|---" * 5 + "|"
    for part in audit["parts"]:
        n = sum(finding["part"] == part["name"] for finding in audit["findings"])
        yield (
            f"| {part['title']} | {part['state']} | {part['seconds']:.0f} | {n} | "
            f"{_cell(' '.join([*part['looked'], part['reason']]).strip())} |"
        )


def of_findings(findings: list[Finding]) -> Iterator[str]:
    """Yield a table of findings, the heaviest first."""
    yield "| | weight | rule | figure | sentence |"
    yield "|---" * 5 + "|"
    for number, finding in enumerate(findings, 1):
        yield (
            f"| {number} | {finding['weight']} | `{finding['rule']}` | {_cell(written(finding))} | "
            f"{_cell(finding['sentence'])} |"
        )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def took(of: Measured) -> str:
    """Return a command with what it took; paths are from where the benchmark was started."""
    command = of["command"].replace(f"{Path.cwd()}/", "")
    return (
        f"`{command}`: exit code {of['code']}, {of['seconds']:.0f} s, {of['processor_seconds']:.0f} s of processors, "
        f"at most {of['gib']:.1f} GiB in one process."
    )


def page(kept: dict[str, Measured], n_found: int | None) -> Iterator[str]:
    """Yield the lines of the page."""
    yield "# An audit of a network trained on data with known flaws"
    yield ""
    yield f"Command: `{shlex.join(['python', 'benchmarks/audit_real.py', *sys.argv[1:]])}`"
    if "data" in kept:
        data = cast(AuditResults, kept["data"]["results"])
        yield from ("", "## The data", "", took(kept["data"]), "", data["finding"], "")
        rows = [entry_cells(entry) for entry in data["properties"] if entry["p"] is not None][:12]
        yield "| " + " | ".join(rows[0]) + " |"
        yield "|---" * len(rows[0]) + "|"
        yield from ("| " + " | ".join(map(_cell, row.values())) + " |" for row in rows)
        shown = [entry for entry in data["properties"] if entry["shown"]]
        yield from ("", f"{len(shown)} properties are shown; the first 12 of {len(data['properties'])} stand here.")
    if "slices" in kept:
        slices = cast(SliceResults, kept["slices"]["results"])
        yield from ("", "## Test and probe by source", "", took(kept["slices"]), "")
        yield from (f"- {line}" for line in slices["conclusions"])
        yield ""
        yield "| slice | " + " | ".join(f"recall of {name}" for name in slices["classes"]) + " |"
        yield "|---" * (len(slices["classes"]) + 1) + "|"
        for entry in slices["slices"]:
            recalls = (entry["per_class"].get(name) for name in slices["classes"])
            cells = [with_interval(r, "accuracy", f"n = {r['n']}") if r else "–" for r in recalls]
            yield f"| {where_in_words(entry['where'])} | " + " | ".join(cells) + " |"
    for name, title in (("network", "The network"), ("table", "Its predictions as a table")):
        if name in kept:
            audit = cast(NetworkAuditResults, kept[name]["results"])
            yield from ("", f"## {title}", "", took(kept[name]), "", audit["finding"], "")
            yield from of_findings(audit["findings"])
            yield ""
            yield from of_parts(audit)
    if "planted" in kept and n_found is not None:
        audit = cast(NetworkAuditResults, kept["planted"]["results"])
        yield from ("", "## Planted copies", "", took(kept["planted"]), "")
        yield f"{n_found} of {PLANTED} planted copies are listed."
        yield ""
        yield from of_findings(audit["findings"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="real")
    parser.add_argument("--network", required=True, help="the training's run")
    parser.add_argument("--kept", type=Path, default=Path("audit_real"), help="folder for what was measured")
    parser.add_argument("--part", action="append", choices=NAMES)
    parser.add_argument("--audit", default="", help="a finished audit of the network, which is shown instead")
    parser.add_argument("--quick", action="store_true", help="audits of network and table only do what takes seconds")
    parser.add_argument("--no-text", action="store_true", help="the data are audited without the search for text")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.kept.mkdir(parents=True, exist_ok=True)
    planted, pairs = plant(args.data, args.kept.resolve() / "planted")  # paths of a manifest are from its own folder
    quick = ["--quick"] if args.quick else []
    kept: dict[str, Measured] = {}
    for name in args.part or NAMES:
        file = args.kept / f"{name}.json"
        if not file.exists():
            if name == "data":
                words = ["data", "audit", args.data, *(["--no-text"] if args.no_text else [])]
            elif name == "network":
                audited = [args.audit] if args.audit else [args.network, "--data", args.data]
                words = ["audit", *audited, *quick, "--fail-on", "serious"]
            elif name == "slices":
                words = ["slices", args.network, "--split", "test", "--split", "probe", "--by", "source", "--no-pairs"]
            elif name == "table":
                theirs = measured(
                    "evaluate", "--predictions", str(as_theirs(args.network, args.kept)), "--data", args.data
                )
                words = ["audit", str(theirs["results"]["id"]), *quick, "--fail-on", "serious"]
            else:
                words = ["audit", args.network, "--data", str(planted), "--part", "duplicates"]
            file.write_text(json.dumps(measured(*words), indent=1), encoding="utf-8")
        kept[name] = cast(Measured, json.loads(file.read_text(encoding="utf-8")))
    n_found = copies_found(str(kept["planted"]["results"]["run"]), pairs) if "planted" in kept else None
    text = "\n".join(page(kept, n_found)) + "\n"
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
