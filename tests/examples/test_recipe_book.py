"""The pages of the recipe book on the embedded store: what they answer, also to odd requests."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from couchmodel import ConnectError
from couchmodel.engine import Session
from couchmodel.transports import Request, Response
from examples.recipe_book.app import app
from examples.recipe_book.models import Recipe

SAMPLES = Path(__file__).parents[2] / "examples" / "recipe_book" / "sample_data"
FULL = {"title": "Pie", "servings": "4", "rating": "3", "minutes": ""}


@pytest.fixture(scope="module")
def running() -> Iterator[TestClient]:
    """The application on an embedded store, which begins with its samples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COUCHMODEL_URL", "memory:")
        with TestClient(app, base_url="http://127.0.0.1") as client:
            yield client


@pytest.fixture
def visitor(running: TestClient) -> TestClient:
    """A visitor who has not signed in."""
    running.cookies.clear()
    return running


@pytest.fixture
def writer(visitor: TestClient) -> TestClient:
    """A visitor who has signed in."""
    assert visitor.post("/sign-in", data={"name": "ada", "password": "apples"}).status_code == 200
    return visitor


def revision(client: TestClient, id: str) -> str:
    found = re.search(r'name="rev" value="([^"]+)"', client.get(f"/recipes/{id}/edit").text)
    assert found
    return found[1]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/?q=app&tag=SWEET", 200),
        ("/?after=tampered", 400),
        ("/recipes/apple-pie", 200),
        ("/recipes/apple-pie/history", 200),
        ("/recipes/missing", 404),
        ("/recipes/missing/history", 404),
        ("/recipes/_design%2Frecipes", 404),
        ("/recipes/a%2Fb", 404),
        ("/offline", 200),
        ("/nowhere", 404),
        ("/api/recipes?title__startswith=App", 200),
        ("/api/recipes/apple-pie/thumbnail", 200),
        ("/api/recipes/missing", 404),
    ],
)
def test_a_page_is_found_or_words_say_that_it_is_not(path: str, status: int, visitor: TestClient) -> None:
    answer = visitor.get(path)
    assert answer.status_code == status
    assert "Traceback" not in answer.text


def test_the_search_finds_the_beginning_of_titles_in_any_case(visitor: TestClient) -> None:
    assert "Apple pie" in visitor.get("/?q=APPLE").text
    assert "Apple pie" not in visitor.get("/?q=pie").text
    assert "Apple pie" in visitor.get("/?q=ap&tag=baking").text


def test_who_has_not_signed_in_changes_nothing(visitor: TestClient) -> None:
    for path in ("/recipes/new", "/recipes/apple-pie/edit", "/recipes/apple-pie/delete", "/recipes/apple-pie/resolve"):
        answer = visitor.post(path, data=FULL, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/")
    assert visitor.post("/api/recipes", json={"title": "Pie"}).status_code == 401


def test_the_page_for_signing_in_leads_to_no_other_site(visitor: TestClient) -> None:
    for there in ("//evil.example/", "https://evil.example/", "/\\evil.example"):
        sent = {"name": "ada", "password": "apples", "next": there}
        answer = visitor.post("/sign-in", data=sent, follow_redirects=False)
        assert answer.headers["location"] == "/"


def test_a_wrong_password_is_answered_with_words(visitor: TestClient) -> None:
    answer = visitor.post("/sign-in", data={"name": "ada", "password": "pears"})
    assert answer.status_code == 401
    assert "do not belong together" in answer.text


def test_an_account_that_may_not_write_is_not_signed_in(visitor: TestClient) -> None:
    assert visitor.portal
    visitor.portal.call(lambda: app.state.couch.users.create("eve", "pears"))
    answer = visitor.post("/sign-in", data={"name": "eve", "password": "pears"})
    assert answer.status_code == 403
    assert "may not write" in answer.text
    assert visitor.post("/api/recipes", json={"title": "Pie"}).status_code == 401


def test_the_model_speaks_beside_the_fields(writer: TestClient) -> None:
    sent = {"title": "x" * 81, "servings": "many", "tags": f"good, {'y' * 25}", "steps": "Stir.\r\nWait."}
    answer = writer.post("/recipes/new", data=sent)
    assert answer.status_code == 422
    assert "String should have at most 80 characters." in answer.text
    assert "Input should be a valid integer, unable to parse string as an integer." in answer.text
    assert "Number 2: String should have at most 24 characters." in answer.text
    assert "Stir.\nWait.</textarea>" in answer.text
    assert 'value="many"' in answer.text


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (("a.txt", b"text", "text/plain"), "text/plain"),
        (("a.png", b"no picture", "image/png"), "no picture that can be read"),
        (("a.png", b"\x89PNG" + bytes(5_000_001), "image/png"), "5,000,000 bytes"),
    ],
)
def test_a_photo_that_is_none_is_refused(file: tuple[str, bytes, str], said: str, writer: TestClient) -> None:
    answer = writer.post("/recipes/new", data=FULL, files={"photo": file})
    assert answer.status_code == 422
    assert said in answer.text.replace("not a picture", "no picture")
    assert 'value="Pie"' in answer.text


def test_texts_of_visitors_are_no_markup(writer: TestClient) -> None:
    page = writer.post("/recipes/new", data={**FULL, "title": "<script>alert(1)</script>"})
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert "script-src" not in page.headers["content-security-policy"]
    assert "default-src 'self'" in page.headers["content-security-policy"]


def test_an_unchanged_form_makes_no_revision(writer: TestClient) -> None:
    recipe = writer.post("/recipes/new", data=FULL)
    path = recipe.url.path
    rev = revision(writer, path.removeprefix("/recipes/"))
    writer.post(f"{path}/edit", data={**FULL, "rev": rev})
    assert revision(writer, path.removeprefix("/recipes/")) == rev


def test_a_form_of_a_version_that_nobody_has_keeps_its_texts(writer: TestClient) -> None:
    answer = writer.post("/recipes/lemonade/edit", data={**FULL, "rev": "1-a"})
    assert answer.status_code in {400, 409}
    assert 'value="Pie"' in answer.text


def test_texts_are_kept_when_the_store_is_down(writer: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(session: Session, request: Request) -> Response:
        raise ConnectError("the server is not there")

    monkeypatch.setattr(Session, "send", fail)
    for path in ("/recipes/new", "/recipes/lemonade/edit"):
        answer = writer.post(path, data={**FULL, "rev": "1-a"})
        assert answer.status_code == 503
        assert 'value="Pie"' in answer.text
    assert writer.get("/").status_code == 503


async def replicate_version(id: str, parent: str, title: str, photo: bytes) -> None:
    """Store another version of a recipe on top of a revision, as a replication does."""
    database = Recipe.repository().database
    number, digest = parent.split("-")
    picture = {"content_type": "image/jpeg", "data": base64.b64encode(photo).decode()}
    body = {
        **((await database.get(id)).data or {}),
        "title": title,
        "_rev": f"{int(number) + 1}-{'f' * 32}",
        "_revisions": {"start": int(number) + 1, "ids": ["f" * 32, digest]},
        "_attachments": {"photo": picture, "thumbnail": picture},
    }
    documents = json.dumps({"docs": [body], "new_edits": False}).encode()
    await database.session.send(Request("POST", (*database.path, "_bulk_docs"), body=documents))


@pytest.mark.parametrize("picked", ["version0", "version1"])
def test_of_two_photos_that_replication_has_brought_one_is_picked(picked: str, writer: TestClient) -> None:
    photos = [(SAMPLES / name).read_bytes() for name in ("pie.jpg", "bread.jpg", "curry.jpg")]
    path = writer.post("/recipes/new", data=FULL, files={"photo": ("a.jpg", photos[0], "image/jpeg")}).url.path
    id = path.rpartition("/")[2]
    first = revision(writer, id)
    form = {**FULL, "rev": first, "title": "Near pie"}
    writer.post(f"{path}/edit", data=form, files={"photo": ("a.jpg", photos[1], "image/jpeg")})
    assert writer.portal
    writer.portal.call(replicate_version, id, first, "Far pie", photos[2])
    asked = writer.post(f"{path}/resolve")
    assert asked.status_code == 409
    shown = writer.get(f"/api{path}/photo").content
    kept = shown if picked == "version0" else next(photo for photo in photos[1:] if photo != shown)
    picks = {**FULL, "pick-title": "own", "own-title": "Our pie", "pick-photo": picked}
    page = writer.post(f"{path}/resolve", data=picks)
    assert (page.status_code, page.url.path) == (200, path)
    assert "Our pie" in page.text
    assert "Merge them" not in page.text
    assert writer.get(f"/api{path}/photo").content == kept


def test_a_text_that_does_not_fit_is_not_lost_on_the_page_of_a_conflict(writer: TestClient) -> None:
    path = writer.post("/recipes/new", data=FULL).url.path
    id = path.rpartition("/")[2]
    first = revision(writer, id)
    writer.post(f"{path}/edit", data={**FULL, "rev": first, "title": "Near pie"})
    assert writer.portal
    writer.portal.call(replicate_version, id, first, "Far pie", (SAMPLES / "pie.jpg").read_bytes())
    answer = writer.post(f"{path}/resolve", data={**FULL, "pick-title": "own", "own-title": "x" * 81})
    assert answer.status_code == 422
    assert "String should have at most 80 characters." in answer.text
    assert "x" * 81 in answer.text
    assert writer.post(f"{path}/resolve", data={**FULL, "pick-title": "own", "own-title": "Pie"}).status_code == 200


@pytest.mark.parametrize("id", ["what? #1", "50%", "crème brûlée", 'a"b&c', "a+b"])
def test_the_links_of_a_recipe_lead_to_it_whatever_its_id(id: str, writer: TestClient) -> None:
    assert writer.portal
    writer.portal.call(Recipe(id=id, title="Odd pie").save)
    [path] = set(re.findall(r'href="(/recipes/[^"]+)" id=', writer.get("/?q=Odd").text))
    recipe = writer.get(path).text
    assert "Odd pie" in recipe
    for link in re.findall(rf'href="({re.escape(path)}/\w+)"', recipe):
        assert "Odd pie" in writer.get(link).text
    [action] = re.findall(r'action="(/recipes/[^"]+/edit)"', writer.get(f"{path}/edit").text)
    saved = writer.post(action, data={**FULL, "title": "Odd pie 2", "rev": revision(writer, path.rpartition("/")[2])})
    assert (saved.status_code, str(saved.url).endswith(path), "Odd pie 2" in saved.text) == (200, True, True)
    deleted = writer.post(f"{path}/delete")
    assert (deleted.status_code, writer.get(path).status_code) == (200, 404)


def test_other_programs_write_by_json(writer: TestClient) -> None:
    made = writer.post("/api/recipes", json={"title": "Stew", "tags": ["Winter"]})
    assert made.status_code == 201
    assert (made.json()["changed_by"], made.json()["tags"]) == ("ada", ["winter"])
    changed = writer.patch(f"/api/recipes/{made.json()['id']}", json={"rating": 4})
    assert changed.json()["rating"] == 4
    refused = writer.post("/api/recipes", json={"title": "", "changed_by": "eve"})
    assert refused.status_code == 422
    assert {error["loc"][-1] for error in refused.json()["errors"]} == {"title", "changed_by"}
