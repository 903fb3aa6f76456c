"""Views and ``_all_docs``: rows, keys, documents, pages."""

from contextlib import aclosing

import pytest

from couchmodel import BadRequestError, CouchModelError, NotFoundError, QueryError
from couchmodel.engine import AllDocsView, Database, DesignDocument, View
from couchmodel.engine._io.parameters import encode_aiocouch_params, encode_params
from couchmodel.engine.view import Page
from couchmodel.types import ViewRow

BY_TAG = "function (doc) { for (var n in doc.tags) emit(doc.tags[n], doc.n); }"
LINKS = "function (doc) { if (doc.next) emit(doc._id, {_id: doc.next}); }"


@pytest.fixture
async def filled(database: Database) -> Database:
    """A database of seven documents and a design document."""
    async with database.create_docs() as bulk:
        for n, id in enumerate("abcdefg"):
            bulk.create(id, data={"n": n, "tags": ["x", id], "next": chr(ord(id) + 1)})
    await DesignDocument(database, "by").save()
    return database


@pytest.fixture
async def by_tag(filled: Database) -> View:
    """A view with a reduce function."""
    design = await filled.design_doc("by", exists_ok=True)
    return await design.create_view("tag", BY_TAG, "_sum")


async def test_ids_are_filtered_by_prefix_and_by_list(filled: Database) -> None:
    assert [id async for id in filled.akeys(prefix="b")] == ["b"]
    assert [id async for id in filled.akeys(prefix="_design/", descending=True)] == ["_design/by"]
    assert [id async for id in filled.akeys(ids=["g", "nobody", "a"])] == ["g", "a"]
    assert [id async for id in filled.akeys(ids=[])] == []


@pytest.mark.parametrize("id", ['say "x"', "ä/ö", "\U0001f967", "a\\b"])
async def test_a_prefix_may_hold_any_character(database: Database, id: str) -> None:
    await (await database.create(id + "!")).save()
    assert [key async for key in database.akeys(prefix=id)] == [id + "!"]
    assert [document.id async for document in database.docs(prefix=id, descending=True)] == [id + "!"]


@pytest.mark.parametrize("key", ["c", '"c"'])
async def test_a_key_is_a_value_or_its_json_text(filled: Database, key: str) -> None:
    response = await filled.all_docs.get(startkey=key, limit=2)
    assert list(response.keys()) == ["c", "d"]
    assert [key async for key in filled.all_docs.akeys(startkey=key, descending=True, limit=2)] == ["c", "b"]


def test_keys_are_json_and_the_rest_is_plain_text() -> None:
    assert encode_params({"key": '"c"', "startkey": None, "limit": 2, "stale": "ok", "group": True, "skip": None}) == {
        "key": '"\\"c\\""',
        "startkey": "null",
        "limit": "2",
        "stale": "ok",
        "group": "true",
    }
    assert encode_aiocouch_params({"key": '["a"]', "startkey": None, "endkey": '"a', "keys": ["a"]}) == {
        "key": '["a"]',
        "endkey": '"\\"a"',
        "keys": '["a"]',
    }


async def test_documents_leave_out_design_documents_unless_asked(filled: Database) -> None:
    assert [document.id async for document in filled.docs()] == list("abcdefg")
    assert "_design/by" in [document.id async for document in filled.docs(include_ddocs=True)]
    assert [document.id async for document in filled.docs(["_design/by"])] == ["_design/by"]


async def test_missing_documents_are_errors_or_new(filled: Database) -> None:
    await (await filled["b"]).delete()
    for id in ("b", "nobody"):
        with pytest.raises(NotFoundError, match=id):
            [document async for document in filled.docs([id])]
    new = [document async for document in filled.docs(["b", "nobody"], create=True)]
    assert [(document.id, document.exists) for document in new] == [("b", False), ("nobody", False)]


@pytest.mark.parametrize("arguments", [{"ids": ["a"], "prefix": "a"}, {"create": True, "prefix": "a"}])
async def test_a_prefix_stands_alone(filled: Database, arguments: dict[str, object]) -> None:
    with pytest.raises(QueryError, match="prefix"):
        [document async for document in filled.docs(**arguments)]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["key", "keys"])
async def test_key_and_keys_are_refused_where_ids_are_meant(database: Database, name: str) -> None:
    with pytest.raises(AttributeError, match="give a list as ids=") as caught:
        [id async for id in database.akeys(**{name: "a"})]
    assert isinstance(caught.value, CouchModelError)


async def test_a_whole_answer_has_rows_items_and_documents(filled: Database) -> None:
    response = await filled.all_docs.get(include_docs=True, update_seq=True)
    assert (response.total_rows, len(response.rows)) == (8, 8)
    assert response.update_seq is not None
    assert [key for key, _ in response.items()][:2] == ["_design/by", "a"]
    assert [document["n"] for document in response.docs()] == list(range(7))
    posted = await filled.all_docs.post(["b", "nobody"])
    assert (list(posted.keys()), len(posted.rows)) == (["b"], 2)
    assert (await filled.all_docs.post(keys=["b"])).rows == posted.rows[:1]


async def test_rows_are_streamed(filled: Database) -> None:
    rows = filled.all_docs.rows(startkey="b", endkey="d", inclusive_end=False)
    async with aclosing(rows):
        assert [row["key"] async for row in rows] == ["b", "c"]
    assert [row.get("error") async for row in filled.all_docs.rows(["a", "nobody"])] == [None, "not_found"]


@pytest.mark.parametrize(("size", "expected"), [(3, ["abc", "def", "g"]), (7, ["abcdefg"]), (9, ["abcdefg"])])
async def test_pages_go_on_where_the_last_one_ended(filled: Database, size: int, expected: list[str]) -> None:
    pages: list[str] = []
    page = Page([], next=None)
    while not pages or page.next:
        page = await filled.all_docs.page(size, page.next, startkey="a")
        pages.append("".join(str(row["key"]) for row in page.rows))
    assert pages == expected


async def test_a_skip_counts_for_the_first_page_only(filled: Database) -> None:
    first = await filled.all_docs.page(2, skip=1, descending=True)
    second = await filled.all_docs.page(2, first.next, skip=1, descending=True)
    assert [row["key"] for row in first.rows + second.rows] == ["f", "e", "d", "c"]


async def test_a_page_has_a_size_and_no_limit(filled: Database) -> None:
    with pytest.raises(QueryError):
        await filled.all_docs.page(0)
    with pytest.raises(QueryError):
        await filled.all_docs.page(1, limit=1)


async def test_several_queries_are_one_request(filled: Database) -> None:
    first, second = await filled.all_docs.queries([{"keys": ["a", "b"]}, {"startkey": "f"}])
    assert (list(first.keys()), list(second.keys())) == (["a", "b"], ["f", "g"])


@pytest.mark.parametrize("name", ["", ".", "..", "_x"])
def test_a_view_never_leads_elsewhere(name: str) -> None:
    class Place:
        session = None
        path = ("db",)

    with pytest.raises(BadRequestError):
        View(Place(), "by", name)  # type: ignore[arg-type]
    with pytest.raises(BadRequestError):
        View(Place(), name if name != "_x" else "", "x")  # type: ignore[arg-type]
    assert AllDocsView(Place()).endpoint == "/db/_all_docs"  # type: ignore[arg-type]


async def test_a_view_has_rows_without_its_reduce(by_tag: View) -> None:
    assert [id async for id in by_tag.ids(["c", "x"], reduce=False)][:2] == ["c", "a"]
    assert [item async for item in by_tag.aitems(reduce=False, limit=1)] == [("a", 0)]
    assert [value async for value in by_tag.avalues(reduce=False, key="d")] == [3]
    assert [document.id async for document in by_tag.docs(prefix="d", reduce=False)] == ["d"]


async def test_a_reduced_view_has_a_value_and_a_grouped_one_keys(by_tag: View) -> None:
    assert (await by_tag.get()).rows == [{"key": None, "value": 42}]
    grouped = await by_tag.get(group=True)
    assert (dict(grouped.items())["x"], grouped.total_rows) == (21, None)
    assert [key async for key in by_tag.akeys(group=True, limit=2)] == ["a", "b"]
    page = await by_tag.page(6, group=True)
    assert [row["key"] for row in (await by_tag.page(6, page.next, group=True)).rows] == ["g", "x"]


@pytest.mark.parametrize("descending", [False, True])
async def test_pages_divide_groups_of_a_level_in_either_direction(database: Database, descending: bool) -> None:
    async with database.create_docs() as bulk:
        for n, key in enumerate([["a"], ["a", 1], ["a", {"z": 1}], ["b", 1], ["b", "x"], ["c"], "d"]):
            bulk.create(str(n), data={"key": key})
    design = await database.design_doc("by")
    view = await design.create_view("key", "function (doc) { emit(doc.key, 1); }", "_count")
    whole = (await view.get(group_level=1, descending=descending)).rows
    assert sorted(str(row.get("value")) for row in whole) == ["1", "1", "2", "3"]
    rows: list[ViewRow] = []
    page = Page([], next=None)
    while not rows or page.next:
        page = await view.page(1, page.next, group_level=1, descending=descending)
        rows += page.rows
    assert rows == whole


async def test_pages_divide_rows_of_one_key(by_tag: View) -> None:
    first = await by_tag.page(4, key="x", reduce=False)
    second = await by_tag.page(4, first.next, key="x", reduce=False)
    assert [row.get("id") for row in first.rows + second.rows] == list("abcdefg")


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_pages_divide_rows_that_one_document_emits_for_one_key(database: Database, size: int) -> None:
    async with database.create_docs() as bulk:
        for id in "abc":
            bulk.create(id, data={"numbers": [1, 2, 3, 4, 5]})
    design = await database.design_doc("by")
    view = await design.create_view("x", "function (doc) { doc.numbers.forEach(function (n) { emit('x', n); }); }")
    rows: list[ViewRow] = []
    page = Page([], next=None)
    while not rows or page.next:
        assert len(rows) < 15
        page = await view.page(size, page.next)
        rows += page.rows
    assert [(row.get("id"), row.get("value")) for row in rows] == [(id, n) for id in "abc" for n in range(1, 6)]


async def test_pages_lose_no_row_where_those_around_their_ends_go(filled: Database) -> None:
    first = await filled.all_docs.page(3, startkey="a")
    for row in (*first.rows[1:], {"key": "d"}):
        await (await filled[str(row["key"])]).delete()
    second = await filled.all_docs.page(3, first.next, startkey="a")
    assert [row["key"] for row in second.rows] == list("efg")


async def test_a_view_answers_several_queries(by_tag: View) -> None:
    total, some = await by_tag.queries([{}, {"keys": ["a", "b"], "reduce": False}])
    assert (list(total.values()), list(some.keys())) == ([42], ["a", "b"])


async def test_a_sorted_view_need_not_be(by_tag: View) -> None:
    response = await by_tag.get(sorted=False, reduce=False)
    assert len(response.rows) == 14
    assert response.offset in (0, None)  # several shards have none in common


async def test_a_linked_document_is_itself(filled: Database) -> None:
    design = await filled.design_doc("by", exists_ok=True)
    view = await design.create_view("links", LINKS)
    documents = [document async for document in view.docs(ids=["a", "b"])]
    assert [document.id for document in documents] == ["b", "c"]
    documents[0]["n"] = 100
    await documents[0].save()
    assert (await filled["b"])["n"] == 100
    with pytest.raises(NotFoundError):
        [document async for document in view.docs(ids=["g"])]


async def test_a_view_that_is_not_there_is_missing(filled: Database) -> None:
    with pytest.raises(NotFoundError, match="missing"):
        await filled.view("by", "nobody").get()
