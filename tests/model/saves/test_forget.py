"""Forgetting: documents are removed with all their revisions, and the known replicas are named."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from couchmodel import (
    BadRequestError,
    ConfigurationError,
    ConflictError,
    Connection,
    CouchModel,
    Field,
    Mapped,
    NotFoundError,
    Repository,
    SoftDelete,
)
from couchmodel._model.store.deletions import purges
from couchmodel._wire.messages import Request, Response, encode
from couchmodel.engine import Database, Session
from couchmodel.sync import replicate, synchronize


class Person(SoftDelete, CouchModel, type="person"):
    name: Mapped[str] = Field(default="")


class Pupil(Person, type="pupil"):
    pass


class Other(CouchModel, type="other"):
    name: Mapped[str] = Field(default="")


class Anything(CouchModel):
    pass


@pytest.fixture
async def people(database: Database) -> Repository[Person]:
    """A database with two persons, a pupil, a person who was deleted, and a document of another model."""
    people = Repository(Person, database)
    await people.save_all([Person(id=id, name=id) for id in ("ada", "bob", "eve")])
    await people.save(Pupil(id="kit", name="kit"))
    await (await people.get("eve")).delete(reason="left")
    await Repository(Other, database).save(Other(id="other"))
    return people


@pytest.fixture
async def there(couch: Connection) -> AsyncIterator[Database]:
    """Another database."""
    database = await couch.create(f"test-{secrets.token_hex(6)}", q=1)
    yield database
    await database.delete()


async def left(database: Database) -> list[str]:
    return sorted([event.id async for event in database.changes()])


async def test_nothing_is_left_of_what_is_forgotten(people: Repository[Person]) -> None:
    ada = await people.get("ada")
    ada.name = "Ada"
    await ada.save()
    report = await people.forget(["ada", "eve", "kit", "ada"])
    assert (report.forgotten, report.missing, report.replicas) == (["ada", "eve", "kit"], [], [])
    assert str(report) == "3 documents were removed with all their revisions."
    assert await left(people.database) == ["bob", "other"]
    assert await people.find().count() == 1
    with pytest.raises(NotFoundError):
        await people.restore("eve")
    await people.save(Person(id="ada", name="another one"))
    assert (await people.get("ada")).rev.startswith("1-")  # type: ignore[union-attr]


async def test_what_is_not_there_is_told(people: Repository[Person]) -> None:
    report = await people.forget(["nobody", "bob"])
    assert (report.forgotten, report.missing) == (["bob"], ["nobody"])
    assert "1 were not there" in str(report)
    assert (await people.forget([])).forgotten == []


async def test_documents_of_other_models_are_left_alone(people: Repository[Person]) -> None:
    report = await people.forget(["other"])
    assert (report.forgotten, report.missing) == ([], ["other"])
    assert "other" in await left(people.database)
    assert (await Repository(Pupil, people.database).forget(["ada", "kit"])).forgotten == ["kit"]
    assert (await Repository(Anything, people.database).forget(["other"])).forgotten == ["other"]


async def test_a_deletion_that_lost_its_type_can_be_forgotten(people: Repository[Person]) -> None:
    await (await people.database["ada"]).delete()
    assert (await people.forget(["ada"])).forgotten == ["ada"]


async def test_all_branches_are_forgotten(people: Repository[Person], there: Database) -> None:
    await synchronize(people.database, there)
    for database in (people.database, there):
        async with Repository(Person, database).edit("ada") as ada:
            ada.name = database.id
    await synchronize(people.database, there)
    await (await people.get("ada")).delete()  # now the other branch is shown
    assert (await people.forget(["ada"])).forgotten == ["ada"]
    assert "ada" not in await left(people.database)


async def test_many_are_forgotten_in_requests_that_couchdb_takes(
    people: Repository[Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    await people.save_all(Person(id=f"{n:04}") for n in range(250))
    sizes, send = list[int](), Session.send

    async def spy(session: Session, request: Request) -> Response:
        if request.path[-1] == "_purge":
            sizes.append(bytes(request.body).count(b":"))  # type: ignore[arg-type]
        return await send(session, request)

    async def ids() -> AsyncIterator[str]:
        for n in range(250):
            yield f"{n:04}"

    monkeypatch.setattr(Session, "send", spy)
    assert len((await people.forget(ids())).forgotten) == 250
    assert sizes == [100, 100, 50]
    assert await left(people.database) == ["ada", "bob", "eve", "kit", "other"]


async def test_a_document_of_very_many_branches_is_forgotten(people: Repository[Person]) -> None:
    docs = [{"_id": "ada", "type": "person", "_rev": f"2-{n:032x}", "n": n} for n in range(1, 1101)]
    body = encode({"docs": docs, "new_edits": False})
    await people.database.session.send(Request("POST", (*people.database.path, "_bulk_docs"), body=body))
    assert (await people.forget(["ada"])).forgotten == ["ada"]
    assert "ada" not in await left(people.database)


@pytest.mark.parametrize("count", [1, 100])
async def test_what_others_write_meanwhile_is_forgotten_too(
    people: Repository[Person], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    read, writes = purges._read_leaves, list[int]()

    async def late(source: Any, ids: Any) -> Any:
        found = await read(source, ids)
        if len(writes) < count:
            writes.append(1)
            current = await people.get_or_none("ada")
            rev = None if current is None else current.rev
            await people.save(Person(id="ada", rev=rev, name=secrets.token_hex(4)))
        return found

    monkeypatch.setattr(purges, "_read_leaves", late)
    if count == 1:
        assert (await people.forget(["ada"])).forgotten == ["ada"]
        assert "ada" not in await left(people.database)
    else:
        with pytest.raises(ConflictError, match="'ada' was written"):
            await people.forget(["ada"])


async def test_replicas_are_named(people: Repository[Person], there: Database, couch: Connection) -> None:
    await replicate(people.database, there)
    report = await people.forget(["ada"])
    assert len(report.replicas) == 1
    assert "a replication with the id" in report.replicas[0]
    assert "last on" in report.replicas[0]
    assert "Replicas still have them and may bring them back" in str(report)


async def test_replications_of_the_server_are_named_without_passwords(
    people: Repository[Person], couch: Connection
) -> None:
    name = f"job-{secrets.token_hex(4)}"
    url = f"http://me:secret@127.0.0.1:9/{people.database.id}"
    source = {"url": url, "auth": {"basic": {"username": "me", "password": "secret"}}}
    jobs = couch.database("_replicator")
    job = await jobs.create(name, data={"source": source, "target": "http://you:secret@127.0.0.1:9/copy"})
    await job.save()
    other = await jobs.create(f"{name}-2", data={"source": "http://127.0.0.1:9/a", "target": "http://127.0.0.1:9/b"})
    await other.save()
    try:
        report = await people.forget(["ada"])
    finally:
        for each in (name, f"{name}-2"):
            await jobs.delete_docs([each])
    (replica,) = report.replicas
    assert name in replica
    assert "http://127.0.0.1:9/copy" in replica
    assert "secret" not in replica


async def test_a_replica_may_bring_it_back(people: Repository[Person], there: Database) -> None:
    await replicate(people.database, there)
    await people.forget(["ada"])
    await replicate(there, people.database)
    assert (await people.get("ada")).name == "ada"


@pytest.mark.parametrize("ids", ["ada", None, 5])
async def test_ids_are_several(people: Repository[Person], ids: Any) -> None:
    with pytest.raises(ConfigurationError, match="several ids"):
        await people.forget(ids)


@pytest.mark.parametrize("id", ["_design/x", "_local/x", ""])
async def test_ids_are_those_of_documents(people: Repository[Person], id: str) -> None:
    with pytest.raises(BadRequestError):
        await people.forget(["ada", id])
    assert "ada" in await left(people.database)
