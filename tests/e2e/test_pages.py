"""The pages in a real browser: nothing is cut off, nothing complains, the keyboard is enough."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.e2e.page_kit import SECRET, WEB, bring_up, build_plane, tenant_file
from tests.e2e.plane import Plane
from tests.e2e.serve_kit import Serve, serving

pytestmark = pytest.mark.chromium

PATHS = (
    "/", "/?phase=running&page=2", "/tenants", "/tenants/acme", WEB, "/plan", "/commits",
    "/events", "/deliveries", "/workers", "/audit", "/login", "/tenants/nobody",
)  # fmt: skip
SIZES = ((390, "light"), (390, "dark"), (1440, "light"), (1440, "dark"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Plane, Serve]]:
    plane = build_plane(tmp_path_factory.mktemp("pages") / "plane")
    with serving(plane, "--ref", "main", "--poll", "1s") as serve:
        bring_up(plane, serve)
        yield plane, serve
    plane.close()


@pytest.fixture(scope="module")
def url(world: tuple[Plane, Serve]) -> str:
    return world[1].url


class Tab:
    """``said`` is what the browser complained about."""

    def __init__(self, browser: Any, width: int = 1440, scheme: str = "light", **options: Any):
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, **options
        )
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self._take(message.type, message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def _take(self, kind: str, text: str) -> None:
        # That a page is not there is told by a status, which the console repeats.
        if kind in ("error", "warning") and "status of 404" not in text:
            self.said.append(text)


@pytest.fixture(params=SIZES, ids=lambda item: f"{item[0]}-{item[1]}")
def tab(request: pytest.FixtureRequest, browser: Any) -> Iterator[Tab]:
    width, scheme = request.param
    made = Tab(browser, width, scheme)
    yield made
    made.context.close()


@pytest.mark.parametrize("path", PATHS)
def test_a_page_fits_nothing_complains_and_axe_finds_nothing_serious(
    tab: Tab, url: str, path: str
) -> None:
    tab.page.goto(url + path)
    wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert tab.page.evaluate(wider) == 0
    assert SECRET not in tab.page.content()
    assert tab.said == []
    assert {address.split("/")[2] for address in tab.asked} == {url.split("/")[2]}

    found = Axe().run(tab.page).response
    assert found["passes"]
    serious = [
        (item["id"], item["nodes"][0]["html"][:200])
        for item in found["violations"]
        if item["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_the_keyboard_reaches_everything_and_shows_where_it_is(browser: Any, url: str) -> None:
    tab = Tab(browser, 1440)
    page = tab.page
    page.goto(url)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"

    seen, wanted = list[str](), 12
    for _ in range(wanted):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.outerHTML.slice(0, 200)"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", seen[-1]
    assert len(set(seen)) == wanted
    tab.context.close()


def test_a_slash_searches_and_leads_to_an_instance(browser: Any, url: str) -> None:
    tab = Tab(browser, 390)
    page = tab.page
    page.goto(url)
    page.keyboard.press("/")
    page.keyboard.type("acme/web")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=acme%2Fweb")
    page.get_by_role("link", name="acme/web").first.click()
    page.wait_for_url(f"**{WEB}")
    assert page.get_by_role("heading", level=1).inner_text() == "web"
    tab.context.close()


def test_without_a_script_everything_is_there_to_read(browser: Any, url: str) -> None:
    tab = Tab(browser, 1440, java_script_enabled=False)
    tab.page.goto(url + WEB)
    text = tab.page.inner_text("main")
    assert "Who gets the requests" in text
    assert re.search(r"v1\s+75%", text) and re.search(r"v2\s+25%", text)
    assert tab.page.locator("svg .stair-current").count() == 1
    tab.context.close()


def test_a_page_follows_what_happens_by_itself(
    browser: Any, url: str, world: tuple[Plane, Serve]
) -> None:
    plane, _ = world
    tab = Tab(browser, 1440)
    page = tab.page
    page.goto(f"{url}/tenants/wonka")
    page.evaluate("window.isTheSamePage = true")
    text = tenant_file("wonka").replace("displayName: Wonka Corp", "displayName: Chocolate")
    plane.write("tenants/wonka.yaml", text)
    plane.commit()
    page.get_by_role("heading", name="Chocolate").wait_for(timeout=30_000)
    assert page.evaluate("window.isTheSamePage") is True
    assert tab.said == []
    tab.context.close()


def test_a_rollout_is_steered_by_its_buttons(browser: Any, url: str) -> None:
    tab = Tab(browser, 390)
    page = tab.page
    page.goto(url + WEB)
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("The rollout is paused").wait_for()
    page.get_by_role("button", name="Resume").click()
    page.get_by_text("The rollout goes on.").wait_for()
    page.get_by_role("button", name="Pause").wait_for()
    # Whoever thinks better of it has asked nothing.
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Abort").click()
    assert page.get_by_role("button", name="Abort").is_visible()
    assert tab.said == []
    tab.context.close()


def test_a_page_says_that_it_is_live(browser: Any, url: str) -> None:
    tab = Tab(browser, 1440)
    tab.page.goto(url)
    tab.page.locator("#live[data-state=live]").wait_for()
    assert tab.page.locator("#live").inner_text() == "live"
    tab.context.close()
