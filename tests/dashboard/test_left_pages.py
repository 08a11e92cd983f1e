"""What a page asks after it was left: ``tests/browser/test_steps.py`` shows that it is not answered."""

from __future__ import annotations

import sys

from streamlit.runtime.scriptrunner import script_runner


def test_a_streamlit_with_other_names_inside_is_a_warning_and_no_failure(monkeypatch, caplog):
    from services.left_pages import ignore_questions_of_left_pages as ignore

    before = script_runner.ScriptRequests
    monkeypatch.setitem(sys.modules, "streamlit.runtime.scriptrunner_utils.script_requests", None)
    ignore.__wrapped__()
    assert script_runner.ScriptRequests is before
    assert "may empty a page" in caplog.text
