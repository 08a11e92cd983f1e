"""What a part of a page asks after its page has been left is not answered.

Streamlit runs a part of a page (a fragment) whose question arrives while the next page is made, once that page stands.
The browser then takes the page that was left for the one that is shown, and empties the new one. Such questions come
from whoever clicks twice on a slow server, and from a viewer that fetches the next X-ray.
"""

from __future__ import annotations

import logging
from functools import cache

_log = logging.getLogger(__name__)


@cache
def ignore_questions_of_left_pages() -> None:
    """Have every session do so from its next run of a page on; only the first call changes anything.

    Streamlit has no setting for this. It makes what takes a session's questions anew for each run, by the name of the
    class, which stands for ours from here on. Under a Streamlit that has other names inside, a warning is all.
    """
    try:
        from streamlit.runtime.scriptrunner import get_script_run_ctx, script_runner
        from streamlit.runtime.scriptrunner_utils.script_requests import (
            ScriptRequest,
            ScriptRequests,
            ScriptRequestType,
        )
    except ImportError as error:
        _log.warning("Two quick clicks may empty a page: this Streamlit is not known from inside (%s).", error)
        return

    def is_of_left_page(request: ScriptRequest) -> bool:
        context = get_script_run_ctx()
        if context is None or request.type != ScriptRequestType.RERUN or not request.rerun_data.fragment_id_queue:
            return False
        return request.rerun_data.page_script_hash not in ("", context.page_script_hash)

    class Requests(ScriptRequests):
        """What the browser of one session asks, without what pages ask that were left."""

        def on_scriptrunner_ready(self) -> ScriptRequest:
            request = super().on_scriptrunner_ready()
            while is_of_left_page(request):
                request = super().on_scriptrunner_ready()
            return request

    script_runner.ScriptRequests = Requests  # type: ignore[misc]  # mypy lets no class be assigned
