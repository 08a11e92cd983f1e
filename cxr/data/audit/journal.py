"""What a run has answered of each X-ray so far, a line each, so that a resumed one goes on from there."""

from __future__ import annotations

import json
from pathlib import Path

from cxr.json_types import JsonObject


def read_journal(path: Path) -> JsonObject:
    """Return ``{image id: answer}`` of the whole lines of a journal; the last line may have been cut off.

    Each line is ``[image id, answer]``. Answers that are texts say why an X-ray could not be read: they are left out,
    so that it is tried again.
    """
    done: JsonObject = {}
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole, encoding="utf-8")
        lines = map(json.loads, whole.splitlines())
        done.update((image_id, value) for image_id, value in lines if not isinstance(value, str))
    return done
