"""All pages in both schemes: they can be used by everybody, on small screens, too, and they are shown in the docs."""

import os
from pathlib import Path
from typing import Any, Final

import pytest

pytest.importorskip("playwright.sync_api", reason="tests in a browser need playwright: pip install --group browser")

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visits

AXE: Final = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")
SCREENSHOTS: Final = os.environ.get("COUCHMODEL_SCREENSHOTS")
"""The folder for pictures of the pages: docs/images/recipe_book, if those of the docs are to be made anew."""

PAGES: Final = {
    "list": "/",
    "nothing-found": "/?q=nothing",
    "recipe": "/recipes/apple-pie",
    "form": "/recipes/tomato-soup/edit",
    "history": "/recipes/pancakes/history",
    "offline": "/offline",
    "sign-in": "/sign-in",
    "missing": "/recipes/none",
}


def open_page(visit: Visits, name: str, **options: Any) -> Page:
    page = visit(PAGES[name], user=None if name == "sign-in" else "ada", **options)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    if name == "offline":
        expect(page.get_by_role("status").first).to_have_text("Everything is in the book")
        page.get_by_role("button", name="pancakes").click()
    if name == "history":
        for writer, change in (
            (visit(user="ben"), {"servings": 5}),
            (page, {"summary": "Thick, soft, and soon done."}),
        ):
            assert writer.request.patch("/api/recipes/pancakes", data=change).ok
        expect(page.get_by_role("listitem").filter(has_text="soon done")).to_be_visible()
    page.evaluate("document.fonts.ready")
    return page


def show_conflict(visit: Visits, **options: Any) -> Page:
    """Open the page of a conflict. Nothing is stored by it."""
    page = visit("/recipes/chickpea-curry/edit", **options)
    other = visit("/recipes/chickpea-curry/edit", user="ben")
    changes = (
        (other, {"Title": "Mild chickpea curry", "Servings": "6", "Ingredients": "2 tins of chickpeas\n2 carrots"}),
        (page, {"Title": "Hot chickpea curry", "Minutes": "40", "Ingredients": "2 tins of chickpeas\n3 chillies"}),
    )
    for window, texts in changes:
        for label, text in texts.items():
            window.get_by_label(label).fill(text)
        window.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Two versions of one recipe")
    return page


def check_page(page: Page) -> None:
    """Check that axe finds no serious fault, and that the page is not wider than the screen."""
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(AXE)
    found = page.evaluate("axe.run({ resultTypes: ['violations'] })")
    faults = [
        f"{each['id']}: {node['html']}"
        for each in found["violations"]
        if each["impact"] in {"serious", "critical"}
        for node in each["nodes"]
    ]
    assert faults == []
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def take_picture(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.evaluate("document.activeElement?.blur(); scrollTo(0, 0)")
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.jpg", type="jpeg", quality=78)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_used_by_everybody(name: str, visit: Visits) -> None:
    page = open_page(visit, name, viewport={"width": 1200, "height": 800})
    take_picture(page, name)
    check_page(page)
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 360, "height": 740})
    check_page(page)


def test_the_page_of_a_conflict_can_be_used_by_everybody(visit: Visits) -> None:
    page = show_conflict(visit, viewport={"width": 1200, "height": 800})
    take_picture(page, "conflict")
    check_page(page)
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 360, "height": 740})
    check_page(page)


def test_a_form_with_faults_can_be_used_by_everybody(visit: Visits) -> None:
    page = visit("/recipes/new", viewport={"width": 1200, "height": 800})
    page.get_by_label("Minutes").fill("soon")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_be_visible()
    take_picture(page, "form-with-faults")
    check_page(page)


@pytest.mark.parametrize("name", ["list", "recipe"])
def test_pictures_of_small_and_dark_screens(name: str, visit: Visits) -> None:
    small = open_page(visit, name, viewport={"width": 360, "height": 740}, color_scheme="dark")
    check_page(small)
    take_picture(small, f"{name}-small")


def test_a_recipe_is_rated_and_saved_by_keyboard_alone(visit: Visits) -> None:
    page = visit("/recipes/chocolate-cookies/edit")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_label("Servings").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_label("5 of 5 stars")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_label("4 of 5 stars")).to_be_checked()
    page.get_by_label("Title").press("Enter")
    expect(page.get_by_role("img", name="4 of 5 stars")).to_be_visible()
