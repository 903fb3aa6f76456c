"""The recipe book without a network: read and changed in the browser, and synchronised when the network is back."""

import pytest

pytest.importorskip("playwright.sync_api", reason="tests in a browser need playwright: pip install --group browser")

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visits


def open_offline(visit: Visits) -> Page:
    """Open the page for offline use, and wait until all recipes have arrived and the page itself is kept."""
    page = visit("/offline")
    expect(page.get_by_role("status").first).to_have_text("Everything is in the book")
    page.evaluate("navigator.serviceWorker.ready")
    return page


def change_title(page: Page, before: str, after: str) -> None:
    page.get_by_role("button", name=before).click()
    page.get_by_label("Title").fill(after)
    page.get_by_role("button", name="Save on this device").click()
    expect(page.get_by_text("Saved on this device.")).to_be_visible()


def set_offline(page: Page, *, offline: bool = True) -> None:
    page.context.set_offline(offline)
    expect(page.get_by_role("status").first).to_have_text("Offline" if offline else "Everything is in the book")


def test_a_recipe_is_changed_offline_and_is_in_the_book_when_the_network_is_back(visit: Visits) -> None:
    page, other = open_offline(visit), visit("/recipes/country-bread", user="ben")
    set_offline(page)
    change_title(page, "Country bread", "Bread of the alp")
    page.goto("/recipes/country-bread")  # any page leads to the recipes on this device
    expect(page.get_by_role("button", name="Bread of the alp")).to_be_visible()
    page.get_by_role("button", name="New recipe").click()
    page.get_by_label("Title").fill("Cheese of the alp")
    page.get_by_role("button", name="Save on this device").click()
    expect(page.get_by_role("button", name="Cheese of the alp")).to_be_visible()
    set_offline(page, offline=False)
    expect(other.get_by_role("heading", level=1)).to_have_text("Bread of the alp")
    expect(other.get_by_text("Changed by ada")).to_be_visible()
    other.goto("/?q=cheese")
    expect(other.get_by_role("link", name="Cheese of the alp")).to_be_visible()


def test_versions_of_two_devices_are_merged_on_a_page(visit: Visits) -> None:
    page, other = open_offline(visit), visit("/recipes/lemonade/edit", user="ben")
    set_offline(page)
    change_title(page, "lemonade", "Sour lemonade")
    other.get_by_label("Title").fill("Sweet lemonade")
    other.get_by_label("Servings").fill("11")
    other.get_by_role("button", name="Save").click()
    expect(other.get_by_role("heading", level=1)).to_have_text("Sweet lemonade")
    set_offline(page, offline=False)
    other.get_by_role("button", name="Merge them").click()
    title = other.get_by_role("group", name="Title")
    expect(title.get_by_text("Grandmother’s lemonade")).to_be_visible()
    title.locator("label", has_text="Sour lemonade").click()
    other.get_by_role("button", name="Save this version").click()
    expect(other.get_by_text("The versions are one recipe again.")).to_be_visible()
    expect(other.get_by_role("heading", level=1)).to_have_text("Sour lemonade")
    expect(other.get_by_text("11 servings")).to_be_visible()
    expect(other.get_by_role("button", name="Merge them")).to_have_count(0)


def test_the_database_refuses_what_the_model_does_not_allow(visit: Visits) -> None:
    page = open_offline(visit)
    change_title(page, "Summer salad", "x" * 81)
    expect(page.get_by_role("alert")).to_contain_text("title: has to be 80 or fewer characters long")


def test_a_visitor_who_has_not_signed_in_is_asked_to(visit: Visits) -> None:
    page = visit("/offline", user=None)
    expect(page.get_by_role("alert")).to_contain_text("Sign in")
