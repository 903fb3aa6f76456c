"""Attachments as fields of a model: their types, rules and names, and what an API sees of them."""

import pickle
from copy import copy as copied
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from couchmodel import (
    Attachment,
    AttachmentBase,
    AttachmentError,
    Attachments,
    ConfigurationError,
    CouchModel,
    File,
    JSONAttachment,
    NotFoundError,
    RangeNotSatisfiableError,
    TextAttachment,
    attachment,
    using,
)
from couchmodel._wire.contents import ContentDigest
from couchmodel.engine import Database
from tests.model.attachments.pictures import JPEG, PNG, TEXT, Exif, Picture, in_pieces


def digest_of(data: bytes) -> str:
    digest = ContentDigest()
    digest.update(data)
    return str(digest)


async def test_an_attachment_is_true_if_there_is_one(pie: Picture, pictures: type[Picture]) -> None:
    assert (bool(pie.image), pie.image.content_type, pie.image.length, pie.image.digest, pie.image.revpos) == (
        *(False, None, None, None, None),
    )
    await pie.image.save(PNG)
    again = await pictures.get("pie")
    assert (bool(again.image), again.image.length, again.image.revpos) == (True, len(PNG), 2)
    assert again.image.digest == pie.image.digest == digest_of(PNG)


async def test_a_missing_one_is_told_before_the_first_piece(pie: Picture) -> None:
    with pytest.raises(NotFoundError, match="'image' of 'pie' does not exist"):
        pie.image.stream()
    with pytest.raises(NotFoundError):
        await pie.image.read(0, 1)


async def test_one_of_a_document_that_was_not_loaded_is_asked_for(pie: Picture, pictures: type[Picture]) -> None:
    await pie.image.save(PNG)
    assert await pictures(id="pie", rev=pie.rev).image.fetch() == PNG


async def test_a_range_is_what_a_slice_is(pie: Picture) -> None:
    await pie.image.save(PNG)
    pie.notes = TEXT
    await pie.save()
    packed = TEXT.encode()
    for start, stop in ((0, 1), (8, 16), (5, 5), (10_000, 10**9)):
        assert await pie.image.read(start, stop) == PNG[start:stop]
        assert await pie.notes.read(start, stop) == packed[start:stop]
    with pytest.raises(RangeNotSatisfiableError):
        await pie.image.read(10**6, 10**7)
    for start, stop in ((-1, 2), (3, 2)):
        with pytest.raises(ConfigurationError, match="0 <= start <= stop"):
            await pie.image.read(start, stop)


# --- types


@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "iso-8859-1"])
async def test_a_text_has_the_character_set_of_its_type(pie: Picture, pictures: type[Picture], charset: str) -> None:
    await pie.notes.save("Käse", f'text/markdown; charset="{charset}"')
    again = await pictures.get("pie")
    assert (await again.notes.fetch(), again.notes.length) == ("Käse", len("Käse".encode(charset)))


async def test_what_is_no_such_value_is_told(pie: Picture) -> None:
    await pie.notes.save(b"K\xe4se", "text/plain")
    with pytest.raises(AttachmentError, match=r"'notes' of 'pie' cannot be read: .*position 1"):
        await pie.notes.fetch()
    await pie.notes.save(b"x", "text/plain; charset=klingon")
    with pytest.raises(AttachmentError, match="'klingon' is not known"):
        await pie.notes.fetch()
    await pie.exif.save(b'{"camera": "Box"}', "application/json")
    with pytest.raises(AttachmentError, match=r"(?s)'exif' of 'pie' cannot be read: .*iso\n  Field required"):
        await pie.exif.fetch()


async def test_a_model_is_written_when_it_is_assigned(pie: Picture) -> None:
    exif = Exif(camera="Box", iso=100)
    pie.exif = exif
    exif.iso = 200
    await pie.save()
    assert (await pie.exif.fetch(), pie.exif.content_type) == (Exif(camera="Box", iso=100), "application/json")
    await pie.exif.save(exif)
    assert (await pie.exif.fetch()).iso == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [("image", PNG), ("image", "pie.png"), ("notes", b"x"), ("notes", 3), ("exif", {"iso": 1}), ("exif", Picture())],
)
def test_a_value_of_another_type_is_refused(name: str, value: object) -> None:
    pie = Picture(id="pie")
    with pytest.raises(AttachmentError, match=rf"'{name}' of 'pie': .*File\(…\).* not {type(value).__name__}"):
        setattr(pie, name, value)
    assert not getattr(pie, name)


class HexCodec:
    """Numbers as hexadecimal digits."""

    default_type = "text/x-hex"

    def encode(self, value: int, content_type: str, kind: Any) -> bytes:
        return f"{value:x}".encode()

    def decode(self, data: bytes, content_type: str, kind: Any) -> int:
        return int(data, 16)


class HexAttachment(AttachmentBase[int], codec=HexCodec()):
    """An attachment of a number."""


class Count(CouchModel):
    number: HexAttachment = attachment()
    page: TextAttachment = attachment(content_types=["text/markdown"])


async def test_a_codec_makes_another_type(database: Database) -> None:
    with using(database):
        count = Count(id="count")
        setattr(count, "number", 255)  # noqa: B010 - the class declares no __set__
        count.page = "# x"
        await count.save()
        assert (await count.number.fetch(), await count.number.read(0, 2)) == (255, b"ff")
        assert (count.number.content_type, count.page.content_type) == ("text/x-hex", "text/markdown")
        await count.number.save(b"zz", "text/x-hex")
        with pytest.raises(AttachmentError, match=r"'number' of 'count' cannot be read: .*'zz'"):
            await count.number.fetch()


# --- several


async def test_attachments_are_those_under_a_prefix(pie: Picture, database: Database) -> None:
    pie.sizes["small"], pie.sizes["a/b"], pie.others["ü"] = File(PNG), File(JPEG), File(b"x")
    pie.image = File(PNG)
    await pie.save()
    assert sorted((await database.get("pie"))["_attachments"]) == ["image", "sizes/a/b", "sizes/small", "ü"]
    again = await type(pie).get("pie")
    assert (sorted(again.sizes), list(again.others), len(again.sizes)) == (["a/b", "small"], ["ü"], 2)
    assert ("small" in again.sizes, "large" in again.sizes, again.sizes.get("large")) == (True, False, None)
    assert {name: each.length for name, each in again.sizes.items()} == {"small": len(PNG), "a/b": len(JPEG)}
    assert not again.sizes["large"]
    await again.sizes["large"].save(PNG)
    del again.sizes["small"]
    await again.sizes["a/b"].delete()
    await again.save()
    assert (list(again.sizes), list((await type(pie).get("pie")).sizes)) == (["large"], ["large"])
    with pytest.raises(KeyError):
        del again.sizes["small"]
    with pytest.raises(AttachmentError, match=r"one by one: sizes\['…'\] ="):
        again.sizes = {}  # type: ignore[assignment]


@pytest.mark.parametrize("name", ["", "..", "../x", "a/../b", ".", "a/.", "line\nfeed", "\ud800", 3])
def test_a_name_that_leads_elsewhere_is_refused(name: Any) -> None:
    pie = Picture(id="pie")
    with pytest.raises(AttachmentError, match="cannot have this name"):
        pie.sizes[name] = File(PNG)


@pytest.mark.parametrize("name", ["_x", "image", "sizes/x"])
def test_a_name_of_another_field_is_refused(name: str) -> None:
    with pytest.raises(AttachmentError, match="cannot have this name"):
        Picture(id="pie").others[name] = File(PNG)


# --- rules


class Strict(CouchModel):
    photo: Attachment = attachment(content_types=["IMAGE/*"], min_size=5, max_size="1 kB", required=True)
    pages: Attachments = attachment(prefix="p/", required=True)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (File(b"x" * 1001, "image/png"), "at most 1,000 bytes, not 1,001"),
        (File(b"x" * 4, "image/png"), "at least 5 bytes, not 4"),
        (File(b"x" * 9, "text/plain"), r"has to be image/\*, not text/plain"),
        (File(b"x" * 9, "image"), "media type"),
        (File(b"x" * 9, "image/png\r\nX: y"), "media type"),
        (File(b"x" * 9, "image/ü"), "media type"),
    ],
)
async def test_rules_are_checked_when_a_file_is_assigned(database: Database, file: File, said: str) -> None:
    strict = Strict(id="pie")
    with pytest.raises(AttachmentError, match=rf"attachment 'photo' of 'pie' .*{said}"):
        strict.photo = file
    strict.photo = File(b"12345", "Image/PNG")
    assert strict.photo.length == 5


@pytest.mark.parametrize(("size", "said"), [(1001, "at most 1,000 bytes"), (4, "at least 5 bytes, not 4")])
async def test_rules_are_checked_while_the_bytes_go_by(database: Database, size: int, said: str) -> None:
    with using(database):
        strict = Strict(id="pie")
        strict.photo, strict.pages["1"] = File(b"12345", "image/png"), File(b"x")
        await strict.save()
        with pytest.raises(AttachmentError, match=rf"attachment 'photo' of 'pie' .*{said}"):
            await strict.photo.save(in_pieces(bytes(size), 100), "image/png")
        strict.photo = File(in_pieces(bytes(size), 100), "image/png")
        with pytest.raises(AttachmentError, match=rf"attachment 'photo' of 'pie' .*{said}"):
            await strict.save()
        assert await (await Strict.get("pie")).photo.fetch() == b"12345"


async def test_a_document_is_not_stored_without_what_it_requires(database: Database) -> None:
    with using(database):
        strict = Strict(id="pie")
        with pytest.raises(AttachmentError, match="'photo' of 'pie' is required"):
            await strict.save()
        with pytest.raises(AttachmentError, match="'photo' of 'pie' is required"):
            await Strict.save_all([strict])
        strict.photo = File(b"12345", "image/png")
        with pytest.raises(AttachmentError, match="'pages' of 'pie' is required"):
            await strict.save()
        assert await Strict.get_or_none("pie") is None
        strict.pages["1"] = File(b"x")
        await strict.save()
        with pytest.raises(AttachmentError, match="required, and cannot be deleted"):
            await strict.photo.delete()
        strict.photo = None
        with pytest.raises(AttachmentError, match="'photo' of 'pie' is required"):
            await strict.save()


async def test_what_is_required_is_not_empty(database: Database) -> None:
    class Full(CouchModel):
        photo: Attachment = attachment(required=True)

    with using(database):
        full = Full(id="pie")
        with pytest.raises(AttachmentError, match="'photo' of 'pie' is required, and cannot be empty"):
            full.photo = File(b"", "image/png")
        full.photo = File(in_pieces(b""), "image/png")
        with pytest.raises(AttachmentError, match="'photo' of 'pie' is required, and cannot be empty"):
            await full.save()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"content_types": "image/*"}, r"a list, as in \['image/\*'\]"),
        ({"content_types": ["image"]}, "'image'"),
        ({"content_types": [3]}, "3"),
        ({"content_types": ["image/png; q=1"]}, "image/png; q=1"),
        ({"max_size": "large"}, "not a size"),
        ({"min_size": -1}, "not a size"),
        ({"max_size": True}, "not a size"),
        ({"name": ""}, "name"),
        ({"prefix": 3}, "prefix"),
    ],
)
def test_an_option_that_cannot_work_is_refused(options: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        attachment(**options)


def declare(**fields: Any) -> type[CouchModel]:
    annotations = {name: kind for name, (kind, _) in fields.items()}
    values = {name: value for name, (_, value) in fields.items()}
    return type("Wrong", (CouchModel,), {"__annotations__": annotations, "__module__": __name__, **values})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"a": (Attachment, attachment(prefix="x/"))}, "write name="),
        ({"a": (Attachments, attachment(name="x"))}, "write prefix="),
        ({"a": (Attachments, attachment(prefix="_x"))}, "underscore"),
        ({"a": (Attachments, attachment(prefix="../"))}, "steps in a path"),
        ({"a": (Attachment, attachment(name="a/../b"))}, "steps in a path"),
        ({"a": (Attachments, attachment()), "b": (Attachments, attachment())}, r"attachment\(prefix="),
        ({"a": (Attachments, attachment(prefix="a")), "b": (Attachments, attachment(prefix="a/b"))}, "another prefix"),
        ({"a": (Attachments, attachment(prefix="a/")), "b": (Attachment, attachment(name="a/b"))}, "another prefix"),
        ({"a": (dict[str, Attachment], {})}, "inside another type"),
        ({"a": (list[JSONAttachment[Exif]], [])}, "inside another type"),
    ],
)
def test_fields_that_cannot_work_are_refused(fields: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        declare(**fields)


def test_a_frozen_model_takes_no_files() -> None:
    class Frozen(CouchModel, frozen=True):
        photo: Attachment = attachment()

    with pytest.raises(AttributeError, match=r"Frozen\.photo is frozen"):
        Frozen().photo = File(PNG)  # type: ignore[misc]


# --- what an API sees


async def test_a_dump_shows_what_is_known_and_no_bytes(pie: Picture, database: Database) -> None:
    pie.image, pie.sizes["ü x"] = File(PNG), File(PNG)
    shown = pie.model_dump(mode="json")
    assert shown["image"] == {
        "content_type": None,
        "length": len(PNG),
        "digest": None,
        "url": f"/{database.id}/pie/image",
    }
    await pie.save()
    again = await type(pie).get("pie")
    shown = again.model_dump(mode="json")
    assert shown["image"] == {
        "content_type": "image/png",
        "length": len(PNG),
        "digest": again.image.digest,
        "url": f"/{database.id}/pie/image",
    }
    assert shown["sizes"]["ü x"]["url"] == f"/{database.id}/pie/sizes%2F%C3%BC%20x"
    assert (shown["notes"], shown["others"]) == (None, {})
    assert TypeAdapter(list[Picture]).dump_python([again], mode="json") == [shown]
    assert again.model_dump_json() == TypeAdapter(type(again)).dump_json(again).decode()
    assert {"image", "sizes"}.isdisjoint((await database.get("pie")).json)


def test_the_schema_of_answers_has_attachments_and_that_of_input_has_none() -> None:
    assert not {"image", "sizes"} & Picture.model_json_schema()["properties"].keys()
    schema = Picture.model_json_schema(mode="serialization")
    assert {"image", "notes", "exif", "sizes"} <= schema["properties"].keys()
    assert set(schema["$defs"]["AttachmentInfo"]["properties"]) == {"content_type", "length", "digest", "url"}
    assert not {"Exif", "PNG"} & schema["$defs"].keys()


async def test_input_sets_no_attachment(pie: Picture, pictures: type[Picture]) -> None:
    await pie.image.save(PNG)
    shown = (await pictures.get("pie")).model_dump(mode="json")
    shown["image"]["length"], shown["title"] = 5, "Changed"
    changed = pictures.model_validate(shown | {"_attachments": {"image": {"data": "eA=="}}})
    assert not changed.image
    await changed.save()
    again = await pictures.get("pie")
    assert (again.title, await again.image.fetch()) == ("Changed", PNG)


@pytest.mark.parametrize("value", [File(PNG), PNG, "pie.png"])
def test_a_file_for_the_constructor_is_refused_and_not_lost(value: Any) -> None:
    with pytest.raises(ValidationError, match=r"assigned to the document once it is made"):
        Picture(image=value)  # type: ignore[call-arg]


async def test_copies_have_the_assigned_files_too(pie: Picture) -> None:
    pie.image = File(PNG)
    for copy in (pie.model_copy(), pie.model_copy(deep=True), pickle.loads(pickle.dumps(pie))):  # noqa: S301
        assert await copy.image.fetch() == PNG
        copy.image = None
        assert pie.image


async def test_equality_is_that_of_the_fields(pie: Picture) -> None:
    before = pie.model_copy()
    pie.image = File(PNG)
    assert pie == before
    await pie.save()
    assert pie == before == await type(pie).get("pie")


class Holder(BaseModel):
    pictures: list[Picture]


def test_documents_inside_other_models_show_their_attachments() -> None:
    pie = Picture(id="pie")
    pie.image = File(PNG, "image/png")
    assert Holder(pictures=[pie]).model_dump()["pictures"][0]["image"]["length"] == len(PNG)


async def test_an_error_tells_its_field_and_its_reason(pictures: type[Picture]) -> None:
    pie = pictures(id="pie")
    with pytest.raises(AttachmentError, match="of 'pie' has to be") as caught:
        pie.image = File(b"text", "text/plain")
    assert (caught.value.field, caught.value.reason) == ("image", "has to be image/*, not text/plain")


async def test_an_error_tells_the_field_of_several_attachments(pictures: type[Picture]) -> None:
    pie = pictures(id="pie")
    with pytest.raises(AttachmentError) as caught:
        pie.sizes["small"] = File(b"", "x")
    error = copied(caught.value)
    assert (error.field, error.reason) == ("sizes", "needs a media type such as 'image/png', not 'x'")


def test_an_error_without_a_field_is_its_own_reason() -> None:
    with pytest.raises(AttachmentError) as caught:
        File(7)  # type: ignore[arg-type]  # the mistake
    assert (caught.value.field, caught.value.reason) == (None, str(caught.value))
