"""Purging: what is forgotten, what is left over, and what is told of it."""

from typing import Any

import pytest

from couchmodel import BadRequestError, NotFoundError
from couchmodel._wire.messages import Request, encode
from couchmodel.engine import Database


def rev(generation: int, letter: str) -> str:
    return f"{generation}-{letter * 32}"


async def ask(database: Database, method: str, *path: str, body: object = None, **query: str) -> Any:
    raw = None if body is None else encode(body)
    return await database.session.json(Request(method, (*database.path, *path), query, body=raw))


async def purge(database: Database, **revs: object) -> dict[str, list[str]]:
    purged: dict[str, list[str]] = (await ask(database, "POST", "_purge", body=revs))["purged"]
    return purged


async def seqs(database: Database) -> tuple[str, str]:
    info = await ask(database, "GET")
    return info["update_seq"].partition("-")[0], info["purge_seq"].partition("-")[0]


@pytest.fixture
async def forked(database: Database) -> Database:
    """A database with a document of three leaves, two of which have an ancestor in common."""
    for letters in ["c", "ba", "da"]:
        ids = [letter * 32 for letter in letters]
        stub = {"x": {"data": "Zm9v", "content_type": "text/plain", "revpos": len(letters)}}
        member = {"start": len(letters), "ids": ids}
        document = {"_id": "pie", "_revisions": member, "is": letters, "_attachments": stub}
        await ask(database, "PUT", "pie", body=document, new_edits="false")
    return database


async def test_a_leaf_is_forgotten_and_the_next_one_wins(forked: Database) -> None:
    assert await purge(forked, pie=[rev(2, "d")]) == {"pie": [rev(2, "d")]}
    pie = await ask(forked, "GET", "pie", conflicts="true", revs="true")
    assert (pie["is"], pie["_conflicts"]) == ("ba", [rev(1, "c")])
    assert pie["_revisions"]["ids"] == ["b" * 32, "a" * 32]
    with pytest.raises(NotFoundError):
        await ask(forked, "GET", "pie", rev=rev(2, "d"))


async def test_what_is_no_leaf_stays(forked: Database) -> None:
    assert await purge(forked, pie=[rev(1, "a"), rev(9, "f")], nobody=[rev(1, "a")]) == {"pie": [], "nobody": []}
    assert (await ask(forked, "GET", "pie"))["_rev"] == rev(2, "d")


async def test_a_losing_leaf_is_forgotten(forked: Database) -> None:
    await purge(forked, pie=[rev(1, "c"), rev(2, "b")])
    pie = await ask(forked, "GET", "pie", conflicts="true")
    assert (pie["_rev"], "_conflicts" in pie) == (rev(2, "d"), False)
    assert await (await forked.get("pie")).attachment("x").fetch() == b"foo"


async def test_a_document_is_gone_with_its_last_leaf(forked: Database) -> None:
    leaves = [rev(2, "d"), rev(1, "c"), rev(2, "b"), rev(2, "d")]
    assert await purge(forked, pie=leaves) == {"pie": [rev(1, "c"), rev(2, "b"), rev(2, "d")]}
    with pytest.raises(NotFoundError, match="missing"):
        await ask(forked, "GET", "pie")
    assert (await ask(forked, "GET", "_changes"))["results"] == []
    assert (await ask(forked, "GET"))["doc_count"] == 0
    await ask(forked, "PUT", "pie", body={"_rev": rev(2, "d"), "is": "back"}, new_edits="false")
    assert (await ask(forked, "GET", "pie"))["is"] == "back"


async def test_a_tombstone_may_win_and_be_forgotten(database: Database) -> None:
    for each in ({"_rev": rev(1, "a")}, {"_rev": rev(2, "b"), "_deleted": True}):
        await ask(database, "PUT", "pie", body=each, new_edits="false")
    await purge(database, pie=[rev(1, "a")])
    with pytest.raises(NotFoundError, match="deleted"):
        await ask(database, "GET", "pie")
    await purge(database, pie=[rev(2, "b")])
    assert (await ask(database, "GET"))["doc_del_count"] == 0


async def test_readers_of_changes_see_what_is_left_over(forked: Database) -> None:
    since = (await ask(forked, "GET", "_changes"))["last_seq"]
    assert await seqs(forked) == ("3", "0")
    await purge(forked, pie=[rev(2, "d")])
    assert await seqs(forked) == ("5", "1")
    changes = await ask(forked, "GET", "_changes", since=since, style="all_docs")
    assert [change["rev"] for change in changes["results"][0]["changes"]] == [rev(2, "b"), rev(1, "c")]
    await purge(forked, pie=[], nobody=[])
    assert await seqs(forked) == ("6", "3")
    await purge(forked)
    assert await seqs(forked) == ("6", "3")


async def test_purges_are_written_down(forked: Database) -> None:
    await purge(forked, pie=[rev(2, "d"), rev(1, "c")], nobody=[rev(1, "a")])
    await purge(forked, nobody=[rev(1, "a")], b=[])
    infos = sorted((await ask(forked, "GET", "_purged_infos"))["purged_infos"], key=lambda info: info["id"])
    assert infos == [
        {"id": "b", "revs": []},
        {"id": "nobody", "revs": [rev(1, "a")]},
        {"id": "pie", "revs": [rev(1, "c"), rev(2, "d")]},
    ]


async def test_the_number_of_purges_that_are_kept_is_a_setting(database: Database) -> None:
    assert await ask(database, "GET", "_purged_infos_limit") == 1000
    await ask(database, "PUT", "_purged_infos_limit", body=2)
    assert await ask(database, "GET", "_purged_infos_limit") == 2
    with pytest.raises(BadRequestError, match="`purged_infos_limit` must be positive integer"):
        await ask(database, "PUT", "_purged_infos_limit", body=0)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([], "Request body must be a JSON object"),
        ({"a": "1-a"}, "Invalid list of revisions"),
        ({"a": ["x"]}, "Invalid rev format"),
        ({"a": [1]}, "Invalid rev format"),
        ({str(n): [] for n in range(101)}, "Exceeded maximum number of documents."),
        ({"a": ["1-a"] * 1001}, "Exceeded maximum number of revisions."),
    ],
)
async def test_what_is_no_purge_is_refused(database: Database, body: object, reason: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        await ask(database, "POST", "_purge", body=body)
    assert caught.value.reason == reason
