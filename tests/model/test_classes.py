"""Mistakes in a model's class are told when it is made, and name the nearest right name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar, Literal
from uuid import UUID

import pytest
from pydantic import AliasGenerator, BaseModel, ValidationError, computed_field, create_model
from pydantic.alias_generators import to_camel

from couchmodel import (
    Attachment,
    ConfigurationError,
    CouchModel,
    DocumentError,
    Field,
    Index,
    Mapped,
    QueryError,
    Security,
    attachment,
)
from couchmodel._model.codec import codec
from couchmodel._model.query.selector import build_selector
from couchmodel._wire.messages import decode, encode


def model(keywords: dict[str, Any] | None = None, **fields: Any) -> type[CouchModel]:
    return create_model("Book", __base__=CouchModel, __cls_kwargs__=keywords or {}, **fields)


class Muddled(BaseModel):
    a: int = Field(default=0, stored_as="b")
    b: int = 0


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: model({"databse": "x"}), "no class keyword 'databse': did you mean 'database'"),
        (lambda: model({"frosen": True}), "no class keyword 'frosen': did you mean 'frozen'"),
        (lambda: model({"indexes": ["n"]}, n=(int, 0)), r"'n' is no index: write Index\('n'\)"),
        (lambda: model({"indexes": "n"}, n=(int, 0)), "indexes is a list"),
        (lambda: model({"indexes": [Index("ratng")]}, rating=(int, 0)), "no field 'ratng': did you mean 'rating'"),
        (lambda: model({"indexes": [Index("rating.x")]}, rating=(int, 0)), "rating is a int, which has no members"),
        (lambda: model({"database": 3}), "database is a text"),
        (lambda: model({"revs_limit": 0}), "revs_limit"),
        (lambda: model({"id": "book:{slag}"}, slug=(str, ...)), "no field 'slag': did you mean 'slug'"),
        (lambda: model({"id": "book"}), "has to name a field"),
        (lambda: model({"id": "{slug"}, slug=(str, ...)), "no template"),
        (lambda: model({"id": "{slug!r}"}, slug=(str, ...)), "may have a format for each field"),
        (lambda: model({"id": "{slug:{n}}"}, slug=(str, ...), n=(int, 3)), "may have a format for each field"),
        (lambda: model({"type": "book"}, type=(str, "x")), "both be stored as 'type': write `type_field=\"…\"`"),
        (lambda: model(a=(int, Field(0, stored_as="b")), b=(int, 0)), "both be stored as 'b'"),
        (lambda: model(kind=(str, Field("", alias="_type"))), "'_type', and names that begin with an underscore"),
        (lambda: model(id=(str, Field(alias="isbn"))), 'id="{isbn}"'),
        (lambda: model(id=(str, Field(validation_alias="isbn"))), 'id="{isbn}"'),
        (lambda: model(id=(str | None, None)), "id cannot be None: declare it as a str"),
        (lambda: model(id=(int | str, ...)), r"id is of int \| str, and the ids of CouchDB are text"),
        (lambda: model(rev=(int, 0)), 'rev is the revision that CouchDB assigns.*stored_as="rev"'),
        (lambda: model(kind=(str, Field("", validation_alias="_id"))), "kind cannot be read from '_id'"),
        (lambda: model({"type_field": "a.b"}), "type_field='a.b' is no name for the member"),
        (lambda: model(id=(UUID, ...)), "id is of UUID, and the ids of CouchDB are text"),
        (
            lambda: Field(stord_as="x"),  # type: ignore[call-arg]
            "no option 'stord_as': did you mean 'stored_as'",
        ),
        (lambda: Security(member_roles="cook"), r"member_roles of Security is a list of texts, as in \['cook'\]"),  # type: ignore[arg-type]
        (lambda: Security(admin_names=[3]), r"admin_names of Security is a list of texts"),  # type: ignore[list-item]
        (lambda: Field(stored_as=""), "stored_as is the name of a member, and '' is none"),
        (
            lambda: model(part=(Muddled, ...)),
            "Book.part cannot be stored: the fields 'a' and 'b' of Muddled would both",
        ),
        (
            lambda: model(one=(Muddled, ...), two=(Muddled, ...)),
            "the fields 'a' and 'b' of Muddled would both be stored as",
        ),
        (lambda: model(photos=(dict[str, Attachment], {})), "photos has attachments inside another type"),
        (lambda: model(photos=(list[Attachment] | None, None)), "photos has attachments inside another type"),
        (lambda: attachment(content_types="image/*"), "content_types is a list"),
        (lambda: Index(3), "names of fields"),  # type: ignore[arg-type]
    ],
)
def test_a_mistake_is_refused_with_the_nearest_right_name(make: Callable[[], object], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        make()


def test_names_of_attachments_are_checked() -> None:
    with pytest.raises(ConfigurationError, match="are both the attachment 'photo'"):

        class _Two(CouchModel):  # pyright: ignore[reportUnusedClass]
            photo: Attachment = attachment()
            picture: Attachment = attachment(name="photo")

    with pytest.raises(ConfigurationError, match="'_x', and CouchDB keeps names"):

        class _Under(CouchModel):  # pyright: ignore[reportUnusedClass]
            photo: Attachment = attachment(name="_x")


class Bar(CouchModel):
    foo: Foo | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def initial(self) -> str:
        return "x"


class Foo(BaseModel):
    name: str


def test_an_embedded_model_may_be_defined_later() -> None:
    assert Bar.foo.name.path == "foo.name"  # type: ignore[union-attr]


def test_a_class_inside_a_function_finds_its_neighbours() -> None:
    class Local(BaseModel):
        size: Mapped[int]

    class Holder(CouchModel):
        one: Mapped[Local]
        many: Mapped[list[Local]] = Field(default_factory=list)

    assert Holder.one.size.path == "one.size"
    assert Holder(one=Local(size=1)).one.size == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("fo", "Bar has no field 'fo': did you mean 'foo'"),
        ("initial", "a computed field, which is not stored"),
        ("deleted", r"Bar has no 'deleted', its repository has: Bar.repository\(\).deleted"),
    ],
)
def test_a_misspelt_field_names_the_nearest(name: str, reason: str) -> None:
    with pytest.raises((AttributeError, QueryError), match=reason):
        build_selector([getattr(Bar, name) == 1])
    with pytest.raises(AttributeError, match=r"has no field 'nam': did you mean 'name'"):
        Bar.foo.nam  # type: ignore[union-attr]  # noqa: B018


class Titled(BaseModel):
    title: str = "x"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def upper(self) -> str:
        return self.title.upper()


class Shelved(Titled, CouchModel):
    @computed_field  # type: ignore[prop-decorator]
    @cached_property
    def lower(self) -> str:
        return self.title.lower()


@pytest.mark.parametrize("name", ["upper", "lower"])
def test_a_computed_field_cannot_be_queried(name: str) -> None:
    with pytest.raises(QueryError, match=rf"Shelved\.{name} is a computed field, which is not stored"):
        getattr(Shelved, name)
    assert isinstance(Titled.upper, property)
    assert Shelved(title="Sea").model_dump(include={"upper", "lower"}) == {"upper": "SEA", "lower": "sea"}


@pytest.mark.parametrize(
    "name", ["copy", "json", "dict", "schema", "validate", "construct", "register", "mro", "fields"]
)
def test_a_field_with_the_name_of_a_method_has_another_way_to_it(name: str) -> None:
    with pytest.warns(UserWarning, match=rf"Book\.{name} .*Book\.fields\['{name}'\]"):
        book = model(None, **{name: (str, "")})
    assert book.fields[name].path == name
    assert build_selector([book.fields[name] == "x"]) == {name: {"$eq": "x"}}


class Listed:
    fields = ("title",)


def test_an_attribute_named_fields_that_is_no_field_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"_Own\.fields has the fields of the model"):

        class _Own(CouchModel):  # pyright: ignore[reportUnusedClass]
            fields: ClassVar[list[str]] = ["title"]

    with pytest.raises(ConfigurationError, match=r"_Mixed\.fields has the fields of the model"):

        class _Mixed(Listed, CouchModel):  # pyright: ignore[reportUnusedClass]
            pass


class Book(CouchModel, id="book:{slug}"):
    slug: Mapped[str]
    part: Mapped[int] = Field(default=1)


class Part(Book, id="{slug}/{part:03}"):
    pass


def test_an_id_is_made_of_fields() -> None:
    assert Book(slug="sea").id == "book:sea"
    assert Part(slug="sea", part=2).id == "sea/002"
    assert codec.load(Book, encode({"_id": "other", "_rev": "1-a", "slug": "sea"})).id == "other"


@pytest.mark.parametrize(
    ("make", "field", "reason"),
    [
        (lambda: Book(slug=""), "slug", r"slug is '', and the id 'book:\{slug\}' is made of it"),
        (lambda: Book.model_validate_json('{"slug": ""}'), "slug", "slug is ''"),
        (model({"id": "{part:03d}"}, part=(str, "x")), "part", "the format '03d' of the id does not fit it"),
    ],
)
def test_a_field_of_which_no_id_can_be_made_is_told_by_pydantics_error(
    make: Callable[[], object], field: str, reason: str
) -> None:
    with pytest.raises(ValidationError, match=reason) as caught:
        make()
    assert caught.value.errors()[0]["loc"] == (field,)


def test_an_id_follows_its_fields_until_the_first_save() -> None:
    book = Book(slug="sea")
    book.slug = "lake"
    codec.settle_id(book)
    assert book.id == "book:lake"
    book.slug = ""
    with pytest.raises(DocumentError, match="slug is ''"):
        codec.settle_id(book)


@pytest.mark.parametrize("book", [Book(id="mine", slug="sea"), Book(id="book:sea", rev="1-a", slug="lake")])
def test_an_id_that_is_not_that_of_the_fields_is_refused(book: Book) -> None:
    with pytest.raises(DocumentError, match=r"is made of its fields, 'book:\{slug\}', and would be"):
        codec.settle_id(book)


@pytest.mark.parametrize("generator", [to_camel, AliasGenerator(serialization_alias=to_camel), str.upper])
def test_a_generator_of_aliases_leaves_the_id_and_the_revision_alone(generator: Any) -> None:
    class Page(CouchModel, alias_generator=generator, populate_by_name=True):
        page_number: int

    class Sheet(Page):
        id: str = Field(default_factory=lambda: "sheet")  # pyright: ignore[reportIncompatibleVariableOverride]

    for model in (Page, Sheet):
        page = model(page_number=4)
        assert page.model_dump(by_alias=True).keys() >= {"id", "rev"}
        again = codec.load(model, codec.body_to_send(page) or b"")
        assert again == page
        assert codec.load(model, encode({"_id": "x", "_rev": "1-a", "page_number": 4})).rev == "1-a"


def test_an_id_may_be_one_of_several_words() -> None:
    class Setting(CouchModel):
        id: Literal["colours", "sizes"] = "sizes"  # pyright: ignore[reportIncompatibleVariableOverride]

    assert decode(codec.body_to_send(Setting(id="sizes")) or b"")["_id"] == "sizes"
