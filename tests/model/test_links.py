"""Links between documents: stored as ids, awaited, prefetched, followed backwards, and kept when documents go."""

import copy
import pickle
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ValidationError

from couchmodel import (
    BackLink,
    BulkError,
    ConfigurationError,
    ConflictError,
    Connection,
    CouchModel,
    DocumentError,
    Field,
    Index,
    Link,
    Links,
    Mapped,
    NotFoundError,
    QueryError,
    Repository,
)
from couchmodel._model.schema.links.link import make_target
from couchmodel._wire.messages import Request, Response
from couchmodel.engine import Database, Session
from tests.model.cycle.authors import Author as CyclicAuthor
from tests.model.cycle.books import Book as CyclicBook


class Publisher(CouchModel, database="links", type="publisher"):
    name: Mapped[str]


class Author(CouchModel, database="links", type="author"):
    name: Mapped[str]
    publisher: Link[Publisher | None] = Field(default=None)
    books: ClassVar[BackLink["Book"]] = BackLink("author")
    read: ClassVar[BackLink["Book"]] = BackLink("readers")


class Chapter(BaseModel):
    translator: Link[Author]


class Book(CouchModel, database="links", type="book", indexes=[Index("author")]):
    author: Link[Author]
    editor: Link[Author | None] = Field(default=None)
    readers: Links[Author] = Field(default_factory=list)
    chapters: Mapped[list[Chapter]] = Field(default_factory=list)


class Novel(Book, type="novel"):
    hero: Link[Author | None] = Field(default=None)


@pytest.fixture
async def shelf(couch: Connection, database: Database) -> Repository[Book]:
    """Books by Ada and Bob, in a database of their own."""
    repository = Repository(Book, database)
    authors = repository.repository_of(Author)
    await repository.repository_of(Publisher).save(Publisher(id="press", name="Press"))
    ada, bob = Author(id="ada", name="Ada", publisher="press"), Author(id="bob", name="Bob")
    await authors.save_all([ada, bob])
    await repository.save_all(
        [
            Book(id="engines", author=ada, readers=["bob", ada]),
            Book(id="notes", author="ada", editor="bob"),
            Novel(id="sea", author=bob, hero="nobody"),
        ]
    )
    return repository


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The methods and last parts of the paths of all requests."""
    sent: list[str] = []
    send = Session.send

    async def recorded(session: Session, request: Request) -> Response:
        sent.append(f"{request.method} {request.path[-1]}")
        return await send(session, request)

    monkeypatch.setattr(Session, "send", recorded)
    return sent


async def test_a_link_is_stored_as_the_id_and_can_be_awaited(shelf: Repository[Book], database: Database) -> None:
    stored = (await database.get("engines")).json
    assert (stored["author"], stored["editor"], stored["readers"]) == ("ada", None, ["bob", "ada"])
    book = await shelf.get("engines")
    assert (book.author.id, book.author.document) == ("ada", None)
    assert (await book.author).name == "Ada"
    assert [(await reader).name for reader in book.readers] == ["Bob", "Ada"]


async def test_an_awaited_document_is_kept(shelf: Repository[Book], requests: list[str]) -> None:
    book = await shelf.get("engines")
    assert await book.author is await book.author
    assert requests == ["GET engines", "GET ada"]


async def test_an_empty_link_is_false_and_gives_none(shelf: Repository[Book]) -> None:
    book = await shelf.get("engines")
    assert not book.editor
    assert book.editor.id == ""
    assert await book.editor is None


async def test_a_link_that_may_be_empty_gives_none_for_a_document_that_is_gone(shelf: Repository[Book]) -> None:
    novel = await shelf.get("sea")
    assert isinstance(novel, Novel)
    assert novel.hero.id == "nobody"
    assert await novel.hero is None


async def test_a_link_to_nothing_says_what_is_missing(shelf: Repository[Book]) -> None:
    await shelf.repository_of(Author).delete(await shelf.repository_of(Author).get("ada"))
    book = await shelf.get("engines")
    with pytest.raises(NotFoundError, match="a link leads to the Author 'ada', which is deleted"):
        await book.author


async def test_a_link_may_be_assigned_and_a_list_of_links_changed(shelf: Repository[Book]) -> None:
    book = await shelf.get("engines")
    bob = await shelf.repository_of(Author).get("bob")
    book.author = bob
    book.editor = "ada"
    book.readers.append(bob)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert book.author.document is bob
    await shelf.save(book)
    book = await shelf.get("engines")
    assert (book.author.id, book.editor.id, [reader.id for reader in book.readers]) == (
        "bob",
        "ada",
        ["bob", "ada", "bob"],
    )
    book.editor = None
    await shelf.save(book)
    assert not (await shelf.get("engines")).editor


async def test_an_unchanged_link_is_not_stored_again(shelf: Repository[Book], requests: list[str]) -> None:
    book = await shelf.get("engines")
    await book.author
    book.author = "ada"
    requests.clear()
    await shelf.save(book)
    assert requests == []


@pytest.mark.parametrize("wrong", [5, "", None, "_design/x", Publisher(id="press", name="Press"), ["ada"]])
def test_what_is_no_link_is_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError, match="link to Author"):
        Book(author=wrong)
    book = Book(author="ada")
    with pytest.raises(ValueError, match=r"Book.author: a link to Author"):
        book.author = wrong


@pytest.mark.parametrize("wrong", ["ada", 5, [5], [None]])
def test_what_is_no_list_of_links_is_refused(wrong: Any) -> None:
    book = Book(author="ada")
    with pytest.raises(ValueError, match=r"Book.readers: "):
        book.readers = wrong


def test_documents_are_compared_dumped_and_copied_with_their_links() -> None:
    ada = Author(id="ada", name="Ada")
    book = Book(id="x", author=ada, readers=["bob"], chapters=[Chapter(translator=ada)])
    assert book.author == ada == book.author
    assert book.author == "ada"
    assert book.model_dump()["chapters"] == [{"translator": "ada"}]
    assert Book.model_validate_json(book.model_dump_json()) == book
    assert copy.deepcopy(book) == pickle.loads(pickle.dumps(book)) == book  # noqa: S301
    assert book.model_copy(update={"editor": ada}).editor.document is ada
    assert {book.author: 1}[Book(author="ada").author] == 1
    assert Book.model_json_schema()["properties"]["author"]["type"] == "string"


async def test_links_are_conditions(shelf: Repository[Book]) -> None:
    ada = await shelf.repository_of(Author).get("ada")
    assert {book.id async for book in shelf.find(Book.author == ada)} == {"engines", "notes"}
    assert {book.id async for book in shelf.find(Book.author == (await shelf.get("sea")).author)} == {"sea"}
    assert {book.id async for book in shelf.find(Book.author.in_([ada, "bob"]))} == {"engines", "notes", "sea"}
    assert {book.id async for book in shelf.find(Book.readers == ada)} == {"engines"}
    assert {book.id async for book in shelf.find(Book.readers.in_(["bob"]))} == {"engines"}
    assert {book.id async for book in shelf.find(Book.author.id.startswith("b"))} == {"sea"}
    with pytest.raises(QueryError, match="author: a link to Author"):
        _ = Book.author == Publisher(name="x")
    with pytest.raises(QueryError, match="several links"):
        Book.author.in_("ada")


async def test_parts_of_documents_have_links_or_ids(shelf: Repository[Book]) -> None:
    class Card(BaseModel):
        author: str
        readers: Links[Author]

    (card,) = await shelf.find(Book.readers == "ada").project(Card)
    assert (card.author, [reader.id for reader in card.readers]) == ("ada", ["bob", "ada"])
    assert await shelf.find(Book.author == "bob").values(Book.author.id) == ["bob"]


async def test_links_are_assigned_by_queries(shelf: Repository[Book]) -> None:
    bob = await shelf.repository_of(Author).get("bob")
    assert await shelf.find(Book.author == "ada").update(Book.author.set(bob)) == 2
    assert await shelf.find(Book.author == bob).count() == 3


async def test_a_conflict_of_links_is_merged(shelf: Repository[Book]) -> None:
    mine, theirs = await shelf.get("engines"), await shelf.get("engines")
    theirs.editor = "bob"
    await shelf.save(theirs)
    mine.author = "bob"
    with pytest.raises(ConflictError) as conflict:
        await shelf.save(mine)
    assert (conflict.value.theirs.editor.id, conflict.value.base.author.id) == ("bob", "ada")


async def test_back_links_are_queries(shelf: Repository[Book]) -> None:
    ada = await shelf.repository_of(Author).get("ada")
    assert {book.id async for book in ada.books} == {"engines", "notes"}
    assert [book.id async for book in ada.read] == ["engines"]
    assert await ada.books.find(Book.editor == "bob").count() == 1


def test_a_back_link_names_a_link_of_the_other_model() -> None:
    class Reader(CouchModel, database="links"):
        books: ClassVar[BackLink[Book]] = BackLink("autor")

    with pytest.raises(ConfigurationError, match=r"Reader.books: Book has no link 'autor': did you mean 'author'"):
        _ = Reader.books.link
    with pytest.raises(ConfigurationError, match="on_delete"):
        BackLink[Book]("author", on_delete="cascade")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def test_prefetched_documents_cost_one_request(shelf: Repository[Book], requests: list[str]) -> None:
    books = await shelf.find().prefetch(Book.author, Book.editor, Book.readers)
    assert requests == ["POST _find", "POST _all_docs"]
    assert {book.id: book.author.document.name for book in books if book.author.document} == {
        "engines": "Ada",
        "notes": "Ada",
        "sea": "Bob",
    }
    engines, notes = (next(book for book in books if book.id == id) for id in ("engines", "notes"))
    assert engines.author.document is notes.author.document
    assert [reader.document.name for reader in engines.readers if reader.document] == ["Bob", "Ada"]
    assert not engines.editor


async def test_each_level_of_links_is_one_request(shelf: Repository[Book], requests: list[str]) -> None:
    books = await shelf.find(Book.author == "ada").prefetch(Book.author, Author.publisher)
    assert requests == ["POST _find", "POST _all_docs", "POST _all_docs"]
    assert books[0].author.document
    assert books[0].author.document.publisher.document
    assert books[0].author.document.publisher.document.name == "Press"


async def test_a_thousand_links_are_one_request(shelf: Repository[Book], requests: list[str]) -> None:
    await shelf.repository_of(Author).save_all(Author(id=f"a{n}", name=str(n)) for n in range(1000))
    await shelf.save_all(Novel(author="bob", hero=f"a{n}") for n in range(999))
    requests.clear()
    novels = await shelf.repository_of(Novel).find(Novel.hero != None).prefetch(Novel.hero)  # noqa: E711
    assert requests == ["POST _find", "POST _all_docs"]
    assert len([novel for novel in novels if novel.hero.document]) == 999


async def test_a_prefetched_link_to_nothing_has_no_document(shelf: Repository[Book]) -> None:
    (novel,) = await shelf.find(Book.author == "bob").prefetch(Novel.hero)
    assert isinstance(novel, Novel)
    assert novel.hero.document is None


async def test_only_links_that_are_reached_can_be_prefetched(shelf: Repository[Book]) -> None:
    with pytest.raises(QueryError, match=r"prefetch\(\) takes links"):
        _ = shelf.find().prefetch(Author.name)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(QueryError, match=r"Author\.publisher cannot be prefetched"):
        await shelf.find().prefetch(Author.publisher)


async def test_modules_may_link_to_each_other(couch: Connection, database: Database) -> None:
    authors = Repository(CyclicAuthor, database)
    books = authors.repository_of(CyclicBook)
    ada = CyclicAuthor(id="ada", name="Ada", favourite="engines")
    await authors.save(ada)
    await books.save(CyclicBook(id="engines", title="Engines", author=ada, readers=[ada]))
    ada = await authors.get("ada")
    assert [book.title async for book in ada.books] == ["Engines"]
    favourite = await ada.favourite
    assert favourite
    assert (await favourite.author).name == "Ada"
    await books.apply()
    assert [row.key async for row in books.view(CyclicBook.by_author).rows()] == [("ada", "Engines")]


def test_a_link_leads_to_a_model() -> None:
    with pytest.raises(ConfigurationError, match="a link leads to a CouchModel"):
        str(Link[Chapter])
    with pytest.raises(ConfigurationError, match="no model 'Nobody'"):
        _ = make_target("Nobody", __name__).model


class Person(CouchModel, database="links", type="person"):
    friends: ClassVar[BackLink["Person"]] = BackLink("friend", on_delete="delete")
    loans: ClassVar[BackLink["Loan"]] = BackLink("person", on_delete="refuse")
    friend: Link["Person | None"] = Field(default=None)


class Loan(CouchModel, database="links", type="loan"):
    person: Link[Person]


@pytest.fixture
async def people(couch: Connection, database: Database) -> Repository[Person]:
    """Three friends in a circle, and one outside."""
    repository = Repository(Person, database)
    circle = [Person(id=id, friend=friend) for id, friend in (("a", "c"), ("b", "a"), ("c", "b"), ("d", "e"))]
    await repository.save_all(circle)
    return repository


async def test_a_link_to_the_same_model_is_followed_as_often_as_it_is_given(people: Repository[Person]) -> None:
    (person,) = await people.find({"_id": "a"}).prefetch(Person.friend, Person.friend)
    friend = person.friend.document
    assert friend
    assert friend.friend.document
    assert (friend.id, friend.friend.id, friend.friend.document.friend.document) == ("c", "b", None)


async def test_a_delete_rule_deletes_what_links_even_in_a_circle(people: Repository[Person]) -> None:
    await people.delete(await people.get("a"))
    assert [person.id async for person in people.find()] == ["d"]


async def test_a_delete_rule_refuses_before_anything_is_deleted(people: Repository[Person]) -> None:
    await people.repository_of(Loan).save(Loan(id="loan", person="b"))
    with pytest.raises(DocumentError, match=r"Person 'b' cannot be deleted: Loan 'loan' link.* \(Person.loans\)"):
        await people.delete(await people.get("a"))
    assert await people.find().count() == 4


async def test_links_are_kept_without_a_rule(shelf: Repository[Book]) -> None:
    authors = shelf.repository_of(Author)
    await authors.delete(await authors.get("ada"))
    assert (await shelf.get("engines")).author.id == "ada"


async def test_a_deletion_that_is_in_conflict_deletes_nothing(people: Repository[Person]) -> None:
    stale, fresh = await people.get("a"), await people.get("a")
    fresh.friend = "b"
    await people.save(fresh)
    with pytest.raises(ConflictError):
        await people.delete(stale)
    assert await people.find().count() == 4


async def test_a_query_that_deletes_follows_the_rules(people: Repository[Person]) -> None:
    await people.repository_of(Loan).save(Loan(id="loan", person="d"))
    with pytest.raises(BulkError):
        await people.find().delete()
    assert [person.id async for person in people.find()] == ["d"]
