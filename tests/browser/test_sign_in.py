"""Signing in at a real OpenID provider: a viewer looks, a researcher starts, an address sent by a colleague is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_links import SETTLED
from test_viewer import viewer

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]
SECRETS = """
[auth]
redirect_uri = "{url}/oauth2callback"
cookie_secret = "a secret of this test alone, long enough"
client_id = "cxr"
client_secret = "secret"
server_metadata_url = "http://127.0.0.1:{provider}/.well-known/openid-configuration"
client_kwargs = {{ scope = "openid email profile", prompt = "login" }}

[roles]
researcher = ["ana@example.org"]
viewer = ["*@example.org"]
"""


@pytest.fixture(scope="module", params=["", "/some/where"], ids=["at the root", "below a path"])
def signed(dashboard: Any, request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The dashboard with a sign-in at a provider of this test."""
    provider = pytest.importorskip("oidc_provider_mock")
    people = ("ana@example.org", "zoe@example.org", "eve@example.com")
    users = [provider.User(sub=email, claims={"email": email, "email_verified": True}) for email in people]
    with provider.run_server_in_thread(user_claims=users) as server, pytest.MonkeyPatch.context() as patch:
        dashboard.base = request.param
        home = tmp_path_factory.mktemp("home")
        patch.setenv("HOME", str(home))
        (home / ".streamlit").mkdir()
        secrets = SECRETS.format(url=dashboard.url, provider=server.server_port)
        (home / ".streamlit" / "secrets.toml").write_text(secrets, encoding="utf-8")
        dashboard.kill()
        dashboard.start()
        yield dashboard


def sign_in(tab: Any, url: str, email: str) -> None:
    tab.goto(url)
    tab.get_by_role("button", name="Sign in").click()
    tab.wait_for_url(lambda address: "/authorize" in address or "/oauth2/" in address)
    tab.get_by_role("button", name=email).or_(tab.locator(f"button[value={json.dumps(email)}]")).first.click()


def test_a_viewer_gets_what_a_link_names_and_starts_nothing(signed: Any, tab: Any) -> None:
    sign_in(tab, f"{signed.url}/train?data=demo&recipe=demo", "zoe@example.org")
    tab.wait_for_url(lambda address: address.endswith("/train?data=demo&recipe=demo"))
    tab.wait_for_function(SETTLED)
    tab.get_by_text("zoe@example.org · viewer").wait_for()
    assert tab.get_by_role("button", name="Start training").is_disabled()
    tab.get_by_role("button", name="Sign out").click()
    tab.wait_for_url(lambda address: "end_session" in address)  # the provider asks whether to leave it, too
    tab.goto(signed.url)
    tab.get_by_role("button", name="Sign in").wait_for()
    assert list((signed.folder / "runs").glob("*train*")) == []


def test_a_researcher_may_start_and_a_stranger_sees_nothing(signed: Any, tab: Any, browser: Any) -> None:
    sign_in(tab, signed.url, "ana@example.org")
    tab.get_by_text("ana@example.org · researcher").wait_for()
    tab.get_by_test_id("stSidebar").get_by_role("link", name="Train", exact=True).click()
    assert tab.get_by_role("button", name="Start training").is_enabled()
    context = browser.new_context()
    other = context.new_page()
    other.set_default_timeout(60_000)
    sign_in(other, signed.url, "eve@example.com")
    other.get_by_text("eve@example.com is signed in, but has no role here").wait_for()
    assert other.get_by_test_id("stSidebar").get_by_role("link").count() == 0
    context.close()


def test_stored_heatmaps_are_given_to_the_browser_that_signed_in_until_it_signs_out(
    signed: Any, tab: Any, browser: Any
) -> None:
    signed.cxr("explain", "demo", "--data", "demo", "--split", "test")
    at_explorer = f"{signed.url}/explorer?model=demo&data=demo&split=test"

    def opened(email: str) -> Any:
        here = browser.new_context().new_page()
        here.set_default_timeout(180_000)
        sign_in(here, at_explorer, email)
        here.locator(".viewer canvas").first.wait_for()
        here.wait_for_function(SETTLED)
        return here

    def given(asking: Any, which: str) -> tuple[int, int]:
        answer = asking.request.get(f"http://127.0.0.1:{signed.port}{addresses[which]}")
        return answer.status, len(answer.body())

    ana, bo = opened("ana@example.org"), opened("zoe@example.org")
    frames, context, image = (viewer(ana, f"v.data.{what}") for what in ("frames", "context", "strip[1].id"))
    addresses = {
        "heatmap": f"{frames}?context={context}&image={image}",
        "picture": frames.replace("shown.bin", f"small.png?id={image}"),
    }
    for which, least in (("heatmap", 10_000), ("picture", 500)):
        status, size = given(ana.context, which)
        assert (status, size > least) == (200, True)
        assert given(bo.context, which) == (204, 0), "signed in, and not this page's visitor"
        assert given(tab.context, which) == (204, 0), "without a sign-in"
    ana.context.clear_cookies(name="_streamlit_user")  # signed out in another tab, unheard here
    assert [given(ana.context, which) for which in addresses] == [(204, 0), (204, 0)]
    for page in (ana, bo):
        page.context.close()


def test_the_secrets_are_no_part_of_what_the_browser_gets(signed: Any, tab: Any) -> None:
    sign_in(tab, signed.url, "zoe@example.org")
    tab.get_by_text("zoe@example.org · viewer").wait_for()
    assert "a secret of this test" not in tab.content()
    assert Path(signed.folder).exists()
