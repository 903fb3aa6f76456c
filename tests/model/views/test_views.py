"""Views of models: rows, documents, groups and pages with the types of the fields."""

from datetime import date
from typing import Any

import pytest

from couchmodel import (
    Connection,
    DocumentError,
    Group,
    NotFoundError,
    QueryError,
    Repository,
    UnsupportedError,
    ViewRow,
    using,
)
from couchmodel._embedded.javascript import design_schema
from couchmodel._embedded.javascript import engine as javascript
from couchmodel._embedded.javascript.engine import is_available
from couchmodel._model.store.plans.views import plan_views
from couchmodel._model.views.definition import design_documents
from couchmodel.engine import Database
from tests.model.views.models import Author, Book, Novel, Scripted, Shape


@pytest.fixture
def no_javascript(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without the extra ``js``."""
    for module in (javascript, design_schema):
        monkeypatch.setattr(module, "is_available", lambda: False)


async def test_rows_have_typed_keys_and_values(shelf: Repository[Book]) -> None:
    rows = [row async for row in shelf.view(Book.by_author).rows()]
    assert rows[0] == ViewRow("b2", ("ada", date(1842, 1, 1)), 20)
    assert [row.id for row in rows] == ["b2", "b1", "b3", "n1"]
    assert [row.key async for row in shelf.view(Book.by_shape).rows()] == [(Shape.LARGE, 1991), (Shape.SMALL, 1990)]
    assert [(row.key, row.value) async for row in shelf.view(Book.by_title).rows(limit=1)] == [
        ("engine", date(1850, 1, 1))
    ]


async def test_declared_views_need_no_javascript(shelf: Repository[Book], no_javascript: None, backend: str) -> None:
    assert [row.id async for row in shelf.view(Book.by_author).rows(limit=1)] == ["b2"]
    if backend != "live":
        scripted = shelf.repository_of(Scripted)
        await scripted.apply()
        assert [row.key async for row in scripted.view(Scripted.plain).rows(limit=1)] == ["engine"]
        with pytest.raises(UnsupportedError, match="js"):
            await anext(scripted.view(Scripted.lengths).rows())


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        ({"prefix": ("ada",)}, ["b2", "b1"]),
        ({"prefix": ("ada",), "descending": True}, ["b1", "b2"]),
        ({"prefix": ()}, ["b2", "b1", "b3", "n1"]),
        ({"key": ("ada", date(1843, 9, 1))}, ["b1"]),
        ({"key": ("ada", date(1843, 9, 2))}, []),
        ({"start": ("ada", date(1843, 1, 1))}, ["b1", "b3", "n1"]),
        ({"start": ("ada", date(1843, 1, 1)), "end": ("bob", date(1850, 1, 1))}, ["b1", "b3"]),
        ({"end": ("ada",)}, ["b2", "b1"]),
        ({"start": ("ada",), "descending": True}, ["b1", "b2"]),
        ({"start": ("bob",), "end": ("bob",), "descending": True}, ["n1", "b3"]),
        ({"limit": 0}, []),
        ({"limit": 3, "descending": True}, ["n1", "b3", "b1"]),
    ],
)
async def test_ranges_of_tuples(shelf: Repository[Book], arguments: dict[str, Any], ids: list[str]) -> None:
    view = shelf.view(Book.by_author)
    assert [row.id async for row in view.rows(**arguments)] == ids
    assert [book.id async for book in view.docs(**arguments)] == ids


@pytest.mark.parametrize(
    ("arguments", "titles"),
    [
        ({"prefix": "Engine"}, ["Engines"]),
        ({"prefix": "e"}, ["engine"]),
        ({"prefix": ""}, ["engine", "Engines", "Notes", "The Sea"]),
        ({"prefix": "", "descending": True, "limit": 2}, ["The Sea", "Notes"]),
        ({"key": "Notes"}, ["Notes"]),
        ({"start": "F", "end": "O"}, ["Notes"]),
    ],
)
async def test_ranges_of_texts(shelf: Repository[Book], arguments: dict[str, Any], titles: list[str]) -> None:
    assert [row.key async for row in shelf.view(Book.by_title).rows(**arguments)] == titles


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"key": ("ada",)}, "a tuple of 2 items"),
        ({"key": "ada"}, "a tuple of 2 items"),
        ({"prefix": "ada"}, "a tuple of at most 2"),
        ({"start": ("ada", date(1843, 1, 1), 3)}, "a tuple of at most 2"),
        ({"key": ("ada", 3)}, "date"),
        ({"key": ("ada", date(1843, 1, 1)), "prefix": ("ada",)}, "exclude each other"),
        ({"prefix": ("ada",), "start": ("ada",)}, "exclude each other"),
        ({"limit": -1}, "limit"),
    ],
)
async def test_a_key_that_the_view_cannot_have_is_refused(
    shelf: Repository[Book], arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(QueryError, match=said):
        await anext(shelf.view(Book.by_author).rows(**arguments))


async def test_documents_are_of_the_kind_that_they_were_saved_as(shelf: Repository[Book]) -> None:
    assert [type(book) async for book in shelf.view(Book.by_tag).docs(key="sea")] == [Novel]
    novels = shelf.repository_of(Novel)
    assert [row.id async for row in novels.view(Novel.by_author).rows()] == ["n1"]


async def test_a_document_of_two_rows_comes_twice(shelf: Repository[Book]) -> None:
    assert [book.id async for book in shelf.view(Book.by_tag).docs()] == ["b1", "b2", "n1", "b2"]


async def test_groups_and_totals(shelf: Repository[Book]) -> None:
    view = shelf.view(Book.by_author)
    groups = [group async for group in view.groups(level=1)]
    assert {group.key: (group.value.count, group.value.mean) for group in groups} == {
        ("ada",): (2, 43),
        ("bob",): (2, 170),
    }
    assert [group.key async for group in view.groups(prefix=("bob",))] == [
        ("bob", date(1850, 1, 1)),
        ("bob", date(1900, 1, 1)),
    ]
    total = await view.total()
    assert total
    assert (total.sum, total.min, total.max, total.sumsqr) == (426, 20, 300, 96356)
    assert await view.total(prefix=("nobody",)) is None
    within = await view.total(start=("ada", date(1843, 1, 1)), end=("bob", date(1850, 1, 1)))
    assert within
    assert within.sum == 106
    assert [group async for group in shelf.view(Book.by_tag).groups(descending=True)] == [
        Group("short", 1),
        Group("sea", 1),
        Group("science", 2),
    ]
    assert await shelf.view(Book.by_tag_and_day).total(prefix=("science",)) == 86


async def test_the_total_of_a_texts_prefix_is_of_the_texts_that_begin_so(shelf: Repository[Book]) -> None:
    assert await shelf.view(Book.by_tag).total(prefix="s") == 4
    assert await shelf.view(Book.by_tag).total(prefix="x") is None
    total = await shelf.view(Book.weights).total(prefix="The")
    assert total
    assert (total.count, total.sum) == (1, 200)
    assert [group.key async for group in shelf.view(Book.by_tag).groups(prefix="sc")] == ["science"]


async def test_values_that_are_no_numbers_are_left_out_of_sums(shelf: Repository[Book], database: Database) -> None:
    await (await database.create("odd", data={"type": "book", "title": "Odd", "grams": "heavy"})).save()
    total = await shelf.view(Book.weights).total()
    assert total
    assert (total.count, total.sum) == (2, 300.5)


async def test_distinct_keys(shelf: Repository[Book]) -> None:
    assert [tag async for tag in shelf.view(Book.by_tag).distinct()] == ["science", "sea", "short"]
    assert [key async for key in shelf.view(Book.by_title).distinct(prefix="E")] == ["Engines"]
    assert [key async for key in shelf.view(Book.by_reader).distinct()] == ["ada", "bob"]


async def test_only_a_reduced_view_has_groups(shelf: Repository[Book]) -> None:
    with pytest.raises(QueryError, match=r'Book.by_title is not reduced: declare it with reduce="_count"'):
        await shelf.view(Book.by_title).total()
    with pytest.raises(QueryError, match="level is a number of items of the key, from 1 to 2"):
        await anext(shelf.view(Book.by_author).groups(level=3))


async def test_a_condition_leaves_rows_out(shelf: Repository[Book]) -> None:
    assert [row.key async for row in shelf.view(Book.lengths).rows()] == [66]


async def test_a_document_without_a_field_of_the_key_has_no_row(shelf: Repository[Book], database: Database) -> None:
    await (await database.create("old", data={"type": "book", "author": "ada"})).save()
    assert [row.id async for row in shelf.view(Book.by_author).rows(prefix=("ada",))] == ["b2", "b1"]


async def test_linked_documents_are_fetched_with_the_rows(shelf: Repository[Book]) -> None:
    view = shelf.view(Book.editors)
    assert [(row.key, row.value) async for row in view.rows(descending=True, limit=2)] == [
        ("The Sea", "ada"),
        ("Notes", None),
    ]
    assert [author.name async for author in view.linked(Author)] == ["Ada"]
    with pytest.raises(QueryError, match=r"Book.by_title has no links to Author"):
        await anext(shelf.view(Book.by_title).linked(Author))


async def test_a_row_of_another_type_names_its_document(shelf: Repository[Book], database: Database) -> None:
    await (await database.create("odd", data={"type": "book", "title": 5, "published": "never"})).save()
    with pytest.raises(DocumentError, match=r"a row of 'odd' of Book.by_title does not fit its types:\n  key: .*\n"):
        assert [row async for row in shelf.view(Book.by_title).rows()]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("descending", [False, True])
async def test_pages_have_all_rows_once(shelf: Repository[Book], size: int, descending: bool) -> None:
    for view in (shelf.view(Book.by_tag), shelf.view(Book.by_reader)):
        wanted = [(row.key, row.id) async for row in view.rows(descending=descending)]
        found, after, pages = list[tuple[str, str]](), None, 0
        while pages == 0 or after is not None:
            page = await view.page(size, after, descending=descending)
            found += [(row.key, row.id) for row in page.items]
            after, pages = page.next, pages + 1
        assert found == wanted
        assert pages == max(1, -(-len(wanted) // size))


async def test_pages_of_equal_rows_of_one_document(shelf: Repository[Book]) -> None:
    await shelf.save(Book(id="b9", title="x", author="ada", published=date(1900, 1, 1), tags=["a"] * 5 + ["b"]))
    view, after, found = shelf.view(Book.by_tag), None, list[str]()
    while not found or after is not None:
        page = await view.page(2, after, end="b")
        found += [row.key for row in page.items]
        after = page.next
    assert found == ["a"] * 5 + ["b"]


async def test_a_page_goes_on_where_its_last_row_was_deleted(shelf: Repository[Book]) -> None:
    view = shelf.view(Book.by_title)
    page = await view.page(2)
    assert [row.id for row in page.items] == ["b3", "b1"]
    await shelf.delete(await shelf.get("b1"))
    assert [row.id for row in (await view.page(5, page.next)).items] == ["b2", "n1"]
    assert [row.id for row in (await view.page(5, prefix="T")).items] == ["n1"]
    assert [row.id for row in (await view.page(5, key="Notes")).items] == ["b2"]


async def test_a_token_belongs_to_its_view_and_range(shelf: Repository[Book]) -> None:
    token = (await shelf.view(Book.by_title).page(1)).next
    assert token
    with pytest.raises(QueryError, match="token of another query"):
        await shelf.view(Book.by_tag).page(1, token)
    with pytest.raises(QueryError, match="token of another query"):
        await shelf.view(Book.by_title).page(1, token, descending=True)
    with pytest.raises(QueryError, match="token of another query"):
        await shelf.view(Book.by_title).page(1, token, end="T")
    tampered = token[:-2] + ("AA" if token[-2:] != "AA" else "BB")
    for wrong in (tampered, "x", "", "ä"):
        with pytest.raises(QueryError, match="after="):
            await shelf.view(Book.by_title).page(1, wrong)
    with pytest.raises(QueryError, match="1 row or more"):
        await shelf.view(Book.by_title).page(0)


async def test_own_javascript_has_types_as_well(shelf: Repository[Book], backend: str) -> None:
    if backend != "live" and not is_available():
        pytest.skip("needs JavaScript")
    scripted = shelf.repository_of(Scripted)
    await scripted.apply()
    view = scripted.view(Scripted.lengths)
    assert [row.key async for row in view.rows()] == [("engine", 6), ("Engines", 7), ("Notes", 5)]
    assert await view.total(prefix=("Notes",)) == 5
    assert await scripted.view(Scripted.longest).total() == 7


async def test_the_class_asks_the_database_that_it_is_bound_to(couch: Connection, shelf: Repository[Book]) -> None:
    with using(shelf.database):
        assert [book.id async for book in Book.by_author.docs(prefix=("ada",))] == ["b2", "b1"]
        book = await Book.get("b1")
        assert book.by_author.__class__ is Book.by_author.__class__


async def test_a_view_that_is_not_stored_says_what_to_do(couch: Connection, database: Database) -> None:
    with pytest.raises(NotFoundError, match=r"await couch.apply\(Book\)"):
        await Repository(Book, database).view(Book.by_author).total()


async def test_apply_stores_views_once_and_keeps_other_versions(couch: Connection, database: Database) -> None:
    repository = Repository(Book, database)
    await repository.apply()
    plan = [step async for step in plan_views(Book, database, exists=True)]
    assert plan == []
    (name,) = design_documents(Book)
    assert name.startswith("couchmodel-book-views-")
    stored = await database.get(f"_design/{name}")
    assert stored["autoupdate"] is False
    older = await database.create("_design/couchmodel-book-views-000000000000", data={"views": {}})
    await older.save()
    stored["views"] = {}
    await stored.save()
    assert [step.description async for step in plan_views(Book, database, exists=True)] == [
        f"restore the views {', '.join(map(repr, design_documents(Book)[name]['views']))} of Book"
    ]
    await repository.apply()
    assert (await database.get(f"_design/{name}"))["views"].keys() == design_documents(Book)[name]["views"].keys()
    assert await database["_design/couchmodel-book-views-000000000000"]


async def test_pruning_deletes_the_views_that_no_model_declares(couch: Connection, database: Database) -> None:
    with using(database):
        await couch.apply(Book)
        other = await database.create("_design/couchmodel-book-views-000000000000", data={"views": {}})
        await other.save()
        own = await database.create("_design/couchmodel", data={"views": {}})
        await own.save()
        (name,) = design_documents(Book)
        assert (await couch.plan(prune=True)).steps == ("delete the views in 'couchmodel-book-views-000000000000'",)
        await couch.apply(prune=True)
        kept = [id async for id in database.akeys() if id.startswith("_design/couchmodel")]
        assert sorted(kept) == ["_design/couchmodel", f"_design/{name}"]


async def test_a_changed_map_function_is_run(shelf: Repository[Book], database: Database, backend: str) -> None:
    if backend != "live" and not is_available():
        pytest.skip("needs JavaScript")
    (name,) = design_documents(Book)
    stored = await database.get(f"_design/{name}")
    stored["views"]["by_title"]["map"] = "function (doc) { if (doc.title) { emit('all', '1999-01-01'); } }"
    await stored.save()
    assert {row.key async for row in shelf.view(Book.by_title).rows()} == {"all"}
