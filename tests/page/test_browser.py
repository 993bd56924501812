"""
The page in a browser, as people see and use it: Chromium, over a real socket.

Where there is no Chromium these tests are skipped, but never where `CI` is set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from budgetguard.ledger import Entry, new_id
from budgetguard.server.keys import KeyRing
from budgetguard.server.page.views import VIEWS
from budgetguard.stores import open_store
from tests.support.chromium import browser_of_the_system, chromium
from tests.support.hosting import Hosted
from tests.support.page_books import HOSTILE, fill, fill_hostile

pytestmark = pytest.mark.skipif(
    chromium() is None and not os.environ.get("CI"), reason="there is no Chromium on this machine: install one"
)

SUBJECTS = {"subject": "tag=user&value=ann", "explorer": "by=user&and=model", "steer": "target=users%2Fann&verb=raise"}
LOOKS = [view.name for view in VIEWS if view.method == "GET" and view.listed]


@pytest.fixture(scope="module")
def chromium_browser() -> Iterator[Any]:
    """One browser for all of them."""
    with browser_of_the_system() as made:
        yield made


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """A server of books as a team has them, and of those of people who wish us ill; two keys are in `texts`."""
    url = f"sqlite:///{tmp_path_factory.mktemp('browser')}/books.db"
    for project, filling in (("shop", fill), ("evil", fill_hostile)):
        store = open_store(url, namespace=project)
        filling(store)
        store.close()
    made = Hosted(url, open_mode=False)
    ring = KeyRing(made.app.projects.own)
    made.texts = {name: ring.create(name, "admin")[1] for name in ("shop", "evil")}  # type: ignore[attr-defined]
    with made.app.projects.at_work("shop") as project:
        made.app.page.shelf.reports_of(project).refresh()
    yield made
    made.stop()


class Tab:
    """A page of the browser, and what it complained of."""

    def __init__(self, browser: Any, hosted: Hosted, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.url = hosted.url
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))

    def sign_in(self, key: str) -> None:
        """Type a key."""
        self.page.goto(f"{self.url}/ui/sign-in")
        self.page.get_by_label("Key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/ui/overview*")

    def look(self, name: str, **query: str) -> Any:
        """Go to a view."""
        more = "&".join(f"{key}={value}" for key, value in query.items())
        self.page.goto(f"{self.url}/ui/{name}?{SUBJECTS.get(name, '')}&{more}")
        return self.page


@pytest.fixture
def open_tab(chromium_browser: Any, seen: Hosted) -> Iterator[Any]:
    """Opens tabs, each a browser of its own, signed in."""
    tabs: list[Tab] = []

    def opened(project: str | None = "shop", **options: Any) -> Tab:
        tab = Tab(chromium_browser, seen, **options)
        tabs.append(tab)
        if project is not None:
            tab.sign_in(seen.texts[project])  # type: ignore[attr-defined]
        return tab

    yield opened
    for tab in tabs:
        tab.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong_with_any_view(open_tab: Any, scheme: str) -> None:
    """Whoever listens to the page, or sees little contrast, has it as well as everybody."""
    tab, found = open_tab(color_scheme=scheme), {}
    options = {"runOnly": ["color-contrast"]} if scheme == "dark" else {}  # all else is the same in both
    for name in [*LOOKS, "key", "sign-in"]:
        if name == "sign-in":
            tab.context.clear_cookies()
        for violation in Axe().run(tab.look(name), options=options).response["violations"]:
            found[name, violation["id"]] = [node["html"][:200] for node in violation["nodes"][:3]]
    assert found == {}


@pytest.mark.parametrize("least", [320, 400])
def test_no_view_scrolls_sideways_on_a_phone(open_tab: Any, least: int) -> None:
    """With names as long as people have them; at 320 pixels, as for whoever has enlarged it four times."""
    wide = {}
    for project in ("shop", "evil"):
        tab = open_tab(project, viewport={"width": least, "height": 800})
        for name in LOOKS:
            width = tab.look(name).evaluate("document.scrollingElement.scrollWidth")
            if width > least:
                wide[project, name] = width
    assert wide == {}


def test_no_view_breaks_its_own_policy(open_tab: Any) -> None:
    """A script or a style that the policy forbids would be missing for everybody."""
    tab = open_tab()
    for name in LOOKS:
        tab.look(name)
    assert tab.said == []


def test_no_name_becomes_markup_or_script(open_tab: Any) -> None:
    """Users, models, tags and notes are what anybody writes: they are shown, and do nothing."""
    tab = open_tab("evil")
    for name in LOOKS:
        page = tab.look(name)
        assert page.locator("img[src='x'], main script").count() == 0, name
    for name in HOSTILE[:4]:
        page = tab.look("subject", value=name.replace("&", "%26").replace("#", "%23").replace(" ", "%20"))
        assert page.locator("h1").inner_text()
    assert tab.said == []


def test_a_whole_visit_needs_no_script(open_tab: Any) -> None:
    """What is there is there without: sign in, filter, page, make a key, sign out."""
    tab = open_tab(java_script_enabled=False)
    page = tab.look("calls")
    page.get_by_role("textbox", name="Model").fill("gpt-4o-mini")
    page.get_by_role("button", name="Show", exact=True).last.click()
    assert "model=gpt-4o-mini" in page.url
    models = page.locator("tbody tr td:nth-child(3) .name").all_inner_texts()
    assert set(models) == {"gpt-4o-mini"}
    page.get_by_role("link", name="Older").click()
    assert "before=" in page.url
    page = tab.look("keys")
    page.locator("select[name=scope]").select_option("read")
    page.get_by_role("button", name="Make it").click()
    assert page.locator("pre").inner_text().startswith("bg_")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/ui/sign-in*")
    page = tab.look("calls")
    assert "/ui/sign-in" in page.url


def test_a_keyboard_is_enough(open_tab: Any) -> None:
    """The first key leads past the navigation, whatever has the focus is seen to have it, and a form is sent."""
    tab = open_tab()
    page = tab.look("keys")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    unseen = "(() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle === 'none'; })()"
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.name || document.activeElement.textContent.trim()"))
        assert not page.evaluate(unseen), reached[-1]
        if reached[-1] == "Make it":
            break
    assert [each for each in reached if each in ("scope", "alias", "expires", "Make it")] == [
        "scope",
        "alias",
        "expires",
        "Make it",
    ]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/ui/keys/create*")


def test_a_call_is_seen_without_loading_the_page_again(open_tab: Any, seen: Hosted) -> None:
    """Within seconds of its settlement, in the figures and as a line of its own, whatever its user is called."""
    tab = open_tab()
    with tab.page.expect_response("**/ui/events*"):
        page = tab.look("calls")
    with seen.app.projects.at_work("shop") as project:
        entry = Entry(
            f"{new_id()}", 1_234_000_000, (), project.store.now_ms(), {"user": HOSTILE[0]}, "openai", "a-new-model"
        )
        project.store.load(entries=[entry])
    row = page.locator(f"tr[data-id='{entry.hold_id}']")
    row.wait_for(timeout=30_000)
    assert HOSTILE[0] in row.inner_text()
    assert "a-new-model" in row.inner_text()
    assert page.evaluate("new URL(document.querySelector('tr.fresh a').href).searchParams.get('value')") == HOSTILE[0]
    assert tab.said == []
