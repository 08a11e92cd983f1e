"""What a network has seen of the X-rays that results are of, in sentences."""

from __future__ import annotations

from cxr.evaluation.metrics import headline
from cxr.evaluation.results import SeenRecord, SeenSplit
from cxr.evaluation.seen.records import ALL_SEEN, n_seen, n_seen_of
from cxr.formatting import verb

_TRAINED, _CHOSEN, _OF_PATIENT = "trained on", "chosen on", "of patients that it has seen"


def seen_in_words(seen: SeenRecord | None, split: str | None = None) -> list[str]:
    """Return the entry ``seen`` of results.json in sentences, of one split or of all; none for older results."""
    if not seen:
        return []
    splits = {name: counts for name, counts in seen["splits"].items() if split in (None, name)}
    rest = " The rest may be of patients that it has seen." if seen.get("no_patient") else ""
    lines = [_split_in_words(name, counts, rest) for name, counts in splits.items() if n_seen_of(counts)]
    n = sum(counts["of"] for counts in splits.values())
    if not lines and seen["compared_with"]:
        lines.append(
            f"None of the {n:,} X-rays is one of the {seen['compared_with']:,} that the network was trained or "
            f"selected on ({_compared(seen)})."
        )
    lines += [
        f"Not known: {subject}. X-rays that it has seen may be among those measured." for subject in seen["unknown"]
    ]
    if seen["blank"]:
        lines.append(f"Not compared: {seen['blank']} of a single grey value, which cannot be told apart.")
    return lines + _not_compared(seen)


def _compared(seen: SeenRecord) -> str:
    ways = ["file", "picture"]
    ways += [] if seen.get("no_near") else ["near-duplicate"]
    ways += [] if seen.get("no_patient") else ["patient"]
    return f"compared by {', '.join(ways[:-1])} and by {ways[-1]}"


def _not_compared(seen: SeenRecord) -> list[str]:
    lines = []
    if titles := seen.get("no_near"):
        lines.append(
            f"Near-duplicates were not looked for in {', '.join(titles)}: an older version made its list, or its "
            "pictures were not at hand."
        )
    if n := seen.get("no_patient"):
        lines.append(
            f"Patients were not compared for {n:,} X-rays: here or in the training, source or id is not known."
        )
    return lines


def marked_in_words(seen: SeenRecord) -> str:
    """Return how many X-rays of an experiment were seen, and whether they are left out; "" where none was."""
    lines = []
    out = [of for of in seen["splits"].values() if of["left_out"]]
    if n := n_seen(seen, left_out=True):
        of = sum(counts["of"] for counts in out)
        lines.append(
            f"{n:,} of {of:,} X-rays {verb(n)} left out: {'it is' if n == 1 else 'they are'} not new to the network "
            f"({_uses(*out)}). `--include-seen` keeps {'it' if n == 1 else 'them'}."
        )
    kept = [of for of in seen["splits"].values() if not of["left_out"]]
    if n := sum(map(n_seen_of, kept)):
        of = sum(counts["of"] for counts in kept)
        lines.append(f"{n:,} of the {of:,} X-rays {verb(n)} not new to the network ({_uses(*kept)}).")
    if not lines and seen["unknown"]:
        lines.append(f"Not known: {'; '.join(seen['unknown'])}.")
    return " ".join(lines)


def _split_in_words(split: str, counts: SeenSplit, rest: str) -> str:
    n, of = n_seen_of(counts), counts["of"]
    where = "the data" if split == "all" else f"split {split}"
    seen = f"not new to the network ({_uses(counts)})"
    why = counts.get("why")
    if why == ALL_SEEN:
        return f"All {of:,} X-rays of {where} are {seen}: its figures say nothing about new X-rays."
    these = f"{n:,} of the {of:,} X-rays of {where} {verb(n)} {seen}"
    them = "it" if n == 1 else "them"
    other = _figures(counts, them)
    if why:
        return f"{these} and {verb(n)} measured with the others: its figures are not those of new X-rays.{other}"
    return f"{these}: every figure is without {them} (`--include-seen` measures {them} too).{rest}{other}"


def _uses(*splits: SeenSplit) -> str:
    trained, chosen = sum(of["trained"] for of in splits), sum(of["chosen"] for of in splits)
    near, patients = sum(of.get("near", 0) for of in splits), sum(of.get("patients", 0) for of in splits)
    parts = ((trained, _TRAINED), (chosen, _CHOSEN), (patients, _OF_PATIENT))
    words = ", ".join(f"{n:,} {words}" for n, words in parts if n)
    confirmed = sum(of.get("confirmed", 0) for of in splits)
    return f"{words}; {near:,} of them as near-duplicates, {_how(near, confirmed)}" if near else words


def _how(near: int, confirmed: int) -> str:
    """Return in words by what near-duplicates were found."""
    on_training, alone = "confirmed on the X-rays of the training", "by their fingerprints alone"
    if confirmed in (0, near):
        return on_training if confirmed else alone
    return f"{confirmed:,} {on_training}, {near - confirmed:,} {alone}"


def _figures(counts: SeenSplit, them: str) -> str:
    pairs = ((f"With {them}", counts.get("with_them")), (f"Without {them}", counts.get("without_them")))
    return "".join(f" {words}: {headline(figures)}." for words, figures in pairs if figures)
