"""The recipe book in a browser: writing, photos, conflicts, and windows that keep up with each other."""

from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="tests in a browser need playwright: pip install --group browser")

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visits


def write(page: Page, title: str, **texts: str) -> str:
    """Store a new recipe, and return the path of its page."""
    page.goto("/recipes/new")
    page.get_by_label("Title").fill(title)
    for label, text in texts.items():
        page.get_by_label(label.capitalize(), exact=True).fill(text)
    save(page)
    expect(page.get_by_role("heading", level=1)).to_have_text(title)
    return page.url


def save(page: Page) -> None:
    page.get_by_role("button", name="Save").click()


def test_a_recipe_is_written_with_a_photo_that_is_shown_before_it_is_saved(visit: Visits, photo: Path) -> None:
    page = visit("/recipes/new")
    page.get_by_label("Title").fill("Bean stew")
    page.locator("label", has_text="4 of 5 stars").click()
    page.get_by_label("Tags").fill("Stew, winter")
    page.get_by_label("Ingredients").fill("beans\n\nonions")
    page.get_by_label("Photo").set_input_files(photo)
    expect(page.get_by_alt_text("Preview of soup.jpg")).to_be_visible()
    save(page)
    expect(page.get_by_text("The recipe is in the book.")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Bean stew")
    expect(page.get_by_role("checkbox")).to_have_count(2)
    expect(page.get_by_role("img", name="4 of 5 stars")).to_be_visible()
    expect(page.get_by_alt_text("Bean stew")).to_have_js_property("naturalWidth", 800)
    page.goto("/?tag=winter")
    expect(page.locator(".card img")).to_have_js_property("naturalWidth", 640)


def test_what_does_not_fit_is_said_beside_its_field_and_nothing_is_lost(visit: Visits, photo: Path) -> None:
    page = visit("/recipes/new")
    page.get_by_label("Minutes").fill("soon")
    page.get_by_label("Steps").fill("Wait.")
    page.get_by_label("Photo").set_input_files(photo)
    save(page)
    expect(page.get_by_label("Title")).to_have_accessible_description("String should have at least 1 character.")
    expect(page.get_by_label("Title")).to_be_focused()
    expect(page.get_by_label("Minutes")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Minutes")).to_have_value("soon")
    expect(page.get_by_label("Steps")).to_have_value("Wait.")
    expect(page.get_by_alt_text("Preview of soup.jpg")).to_be_visible()
    page.get_by_label("Title").fill("Patience")
    page.get_by_label("Minutes").fill("600")
    save(page)
    expect(page.get_by_alt_text("Patience")).to_be_visible()
    expect(page.get_by_text("10 h")).to_be_visible()


def test_a_file_that_is_no_photo_is_refused_with_words(visit: Visits) -> None:
    page = visit("/recipes/new")
    page.get_by_label("Title").fill("Riddle")
    page.get_by_label("Photo").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"})
    save(page)
    expect(page.get_by_text("The photo is not a picture that can be read.")).to_be_visible()
    expect(page.get_by_label("Title")).to_have_value("Riddle")


def test_forms_work_without_a_script(visit: Visits) -> None:
    page = visit("/recipes/new", java_script_enabled=False)
    page.get_by_label("In a sentence").fill("Plain.")
    save(page)
    expect(page.get_by_text("String should have at least 1 character.")).to_be_visible()
    expect(page.get_by_label("In a sentence")).to_have_value("Plain.")
    page.get_by_label("Title").fill("Plain rice")
    save(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Plain rice")


def test_versions_that_clash_are_shown_side_by_side_and_merged_by_field(visit: Visits, photo: Path) -> None:
    ada, ben = visit(user="ada"), visit(user="ben")
    address = write(ada, "Dumplings", ingredients="flour", steps="Boil.")
    for page in (ada, ben):
        page.goto(f"{address}/edit")
    ben.get_by_label("Title").fill("Small dumplings")
    ben.get_by_label("Ingredients").fill("flour\ncheese")
    ben.get_by_label("Servings").fill("7")
    save(ben)
    expect(ada.get_by_text("ben has saved this recipe meanwhile.")).to_be_visible()
    ada.get_by_label("Title").fill("Large dumplings")
    ada.get_by_label("Ingredients").fill("flour\nplums")
    ada.get_by_label("Photo").set_input_files(photo)
    save(ada)

    expect(ada.get_by_role("heading", level=1)).to_have_text("Two versions of one recipe")
    title, ingredients = ada.get_by_role("group", name="Title"), ada.get_by_role("group", name="Ingredients")
    for text in ("Dumplings", "Large dumplings", "Small dumplings"):
        expect(title.get_by_text(text, exact=True).first).to_be_visible()
    expect(ada.get_by_text("Merged by itself")).to_be_visible()
    title.get_by_label("By ben").check()
    ingredients.get_by_label("Ingredients: something else").fill("flour\ncheese\nplums")
    expect(ingredients.get_by_label("Something else", exact=True)).to_be_checked()
    save(ada)
    expect(ada.get_by_role("heading", level=1)).to_have_text("Small dumplings")
    expect(ada.get_by_role("checkbox")).to_have_count(3)
    expect(ada.get_by_text("7 servings")).to_be_visible()
    expect(ada.get_by_alt_text("Small dumplings")).to_be_visible()


def test_of_two_new_photos_one_is_picked(visit: Visits, photo: Path) -> None:
    ada, ben = visit(user="ada"), visit(user="ben")
    address = write(ada, "Paella")
    for page in (ada, ben):
        page.goto(f"{address}/edit")
    ben.get_by_label("Photo").set_input_files(photo.with_name("curry.jpg"))
    save(ben)
    expect(ben.get_by_alt_text("Paella")).to_be_visible()
    ada.get_by_label("Photo").set_input_files(photo)
    save(ada)
    expect(ada.get_by_alt_text("Preview of soup.jpg")).to_be_visible()
    ada.get_by_role("group", name="Photo").locator("label").last.click()
    save(ada)
    expect(ada.get_by_alt_text("Paella")).to_be_visible()
    stored = ada.request.get(ada.url.replace("/recipes", "/api/recipes") + "/photo")
    assert stored.body() == photo.with_name("curry.jpg").read_bytes()


def test_changes_of_different_fields_are_merged_without_a_question(visit: Visits) -> None:
    ada, ben = visit(user="ada"), visit(user="ben")
    address = write(ada, "Polenta")
    for page in (ada, ben):
        page.goto(f"{address}/edit")
    ben.get_by_label("Servings").fill("9")
    save(ben)
    ada.get_by_label("Minutes").fill("45")
    save(ada)
    expect(ada.get_by_text("9 servings")).to_be_visible()
    expect(ada.get_by_text("45 min")).to_be_visible()


def test_a_recipe_that_was_deleted_meanwhile_can_be_saved_anew(visit: Visits) -> None:
    ada, ben = visit(user="ada"), visit(user="ben")
    address = write(ada, "Fondue")
    for page in (ada, ben):
        page.goto(f"{address}/edit")
    ben.once("dialog", lambda dialog: dialog.accept())
    ben.get_by_role("button", name="Delete").click()
    expect(ben.get_by_text("“Fondue” is deleted.")).to_be_visible()
    ada.get_by_label("Title").fill("Fondue for two")
    save(ada)
    expect(ada.get_by_text("This recipe was deleted meanwhile.")).to_be_visible()
    save(ada)
    expect(ada.get_by_role("heading", level=1)).to_have_text("Fondue for two")


def test_a_second_window_shows_changes_at_once(visit: Visits) -> None:
    ada, ben, reader = visit(user="ada"), visit(user="ben"), visit(user=None)
    address = write(ada, "Gnocchi")
    expect(reader.get_by_role("link", name="Gnocchi")).to_be_visible()
    ben.goto(address)
    ada.goto(f"{address}/edit")
    ada.get_by_label("Title").fill("Green gnocchi")
    save(ada)
    expect(ben.get_by_role("heading", level=1)).to_have_text("Green gnocchi")
    expect(reader.get_by_role("link", name="Green gnocchi")).to_be_visible()


def test_an_older_version_comes_back_from_the_history(visit: Visits) -> None:
    page = visit()
    address = write(page, "Risotto")
    page.goto(f"{address}/edit")
    page.get_by_label("Title").fill("Burnt risotto")
    save(page)
    page.get_by_role("link", name="History").click()
    expect(page.get_by_role("listitem").filter(has_text="Burnt risotto").locator("del")).to_have_text("Risotto")
    page.get_by_role("button", name="Bring this version back").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Risotto")


def test_the_search_finds_titles_by_their_beginning_while_one_types(visit: Visits) -> None:
    page = visit("/", user=None)
    for letters in ("BUT", "TER"):
        page.get_by_role("searchbox").press_sequentially(letters)
        expect(page.locator(".card")).to_have_count(1)
    expect(page.get_by_role("link", name="Buttermilk pancakes")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.get_by_role("searchbox").fill("nothing begins with this")
    expect(page.get_by_role("heading", name="Nothing found")).to_be_visible()


def test_who_wants_to_write_signs_in_first_and_is_led_back(visit: Visits) -> None:
    page = visit("/recipes/pancakes", user=None)
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill("pears")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("do not belong together")
    expect(page.get_by_label("Name")).to_have_value("ada")
    page.get_by_label("Password").fill("apples")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Edit the recipe")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
