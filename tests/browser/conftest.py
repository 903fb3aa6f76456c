"""A real browser, and the recipe book that it visits. Where no browser is found, the tests are skipped."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

ROOT: Final = Path(__file__).parents[2]
PASSWORDS: Final = {"ada": "apples", "ben": "berries"}
NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
NO_BROWSER: Final = "no browser is found: install chromium, or give the path of one in COUCHMODEL_TEST_BROWSER"


# A scope of packages would last to the end of the run here, and Playwright's event loop with it: no other test could
# start one.
@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A headless Chromium: the one that is named, that of the system, or Playwright's own."""
    from playwright.sync_api import expect, sync_playwright  # noqa: PLC0415  the tests are skipped without it

    expect.set_options(timeout=20_000)  # on a busy machine everything may take long
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        path = os.environ.get("COUCHMODEL_TEST_BROWSER") or next(filter(None, map(shutil.which, NAMES)), own)
        if not Path(path).exists():
            pytest.skip(NO_BROWSER)
        # As root, as in a container, Chromium runs without its sandbox only. It visits nothing but the recipe book.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def book(browser: "Browser") -> Iterator[str]:
    """The address of a recipe book that runs, with its samples, in memory."""
    command = (sys.executable, "-m", "examples.recipe_book", "memory:", "--port", "0", "--sync-port", "0")
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own words
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.communicate(timeout=30)


class Visits:
    """The windows of a test. What their consoles say is kept in ``said``."""

    def __init__(self, browser: "Browser", address: str) -> None:
        self.said: list[str] = []
        self._browser = browser
        self._address = address
        self._contexts: list[BrowserContext] = []

    def __call__(self, path: str = "/", user: str | None = "ada", **options: Any) -> "Page":
        """Open a window of a visitor with cookies of their own, who has signed in unless ``user`` is None."""
        context = self._browser.new_context(base_url=self._address, reduced_motion="reduce", **options)
        self._contexts.append(context)
        if user is not None:
            context.request.post("/sign-in", form={"name": user, "password": PASSWORDS[user]})
        page = context.new_page()
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.said.append(f"{page.url}: {error}"))
        page.goto(path)
        return page

    def close(self) -> None:
        for context in self._contexts:
            context.close()

    def _note(self, message: "ConsoleMessage") -> None:
        # The browser itself notes that a form was refused, or that a page does not exist. Both are what tests ask for.
        address = message.location["url"]
        page = message.page
        is_refused_form = re.search(r"status of (409|422) ", message.text)
        if not is_refused_form and (page is None or page.url != address):
            self.said.append(f"{address}: {message.type}: {message.text}")


@pytest.fixture
def visit(browser: "Browser", book: str) -> Iterator[Visits]:
    """Opens windows. At the end their consoles have to be empty."""
    visits = Visits(browser, book)
    yield visits
    visits.close()
    assert visits.said == []


@pytest.fixture
def photo() -> Path:
    """A photo that can be uploaded."""
    return ROOT / "examples" / "recipe_book" / "sample_data" / "soup.jpg"
