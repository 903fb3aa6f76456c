"""The version of a model's schema."""

from typing import Any

import pytest
from pydantic import ConfigDict, create_model

from couchmodel import ConfigurationError, CouchModel, Field, Mapped, Repository
from couchmodel._model.codec import codec
from couchmodel._wire.messages import decode
from couchmodel.engine import Database


class First(CouchModel):
    name: Mapped[str] = Field(default="")


class Second(First, version=2):
    size: Mapped[int] = Field(default=0)


class Open(CouchModel, version=2):
    model_config = ConfigDict(extra="allow")


class Closed(CouchModel, version=2):
    model_config = ConfigDict(extra="forbid")


async def test_a_version_above_1_is_stored_and_1_is_not(database: Database) -> None:
    await Repository(First, database).save(First(id="first"))
    await Repository(Second, database).save(Second(id="second"))
    assert "schema_version" not in (await database.get("first")).json
    assert (await database.get("second")).json["schema_version"] == 2


async def test_a_document_of_an_older_version_has_the_new_one_when_it_is_saved(database: Database) -> None:
    await Repository(First, database).save(First(id="a"))
    documents = Repository(Second, database)
    document = await documents.get("a")
    await documents.save(document)  # nothing has changed
    assert "schema_version" not in (await database.get("a")).json
    document.size = 5
    await documents.save(document)
    assert (await database.get("a")).json["schema_version"] == 2


async def test_a_program_of_an_older_version_keeps_the_version(database: Database) -> None:
    await Repository(Second, database).save(Second(id="a"))
    documents = Repository(First, database)
    document = await documents.get("a")
    document.name = "new"
    await documents.save(document)
    assert (await database.get("a")).json["schema_version"] == 2


@pytest.mark.parametrize("model", [Open, Closed])
def test_the_version_is_no_member_of_the_users(model: type[CouchModel]) -> None:
    body = codec.body_to_send(model(id="a"))
    assert body is not None
    assert decode(body) == {"_id": "a", "schema_version": 2}
    assert not codec.load(model, body).model_extra


@pytest.mark.parametrize(
    ("keywords", "fields"),
    [({}, {"schema_version": (int, 0)}), ({"type": "thing", "type_field": "schema_version"}, {})],
)
def test_the_name_of_the_version_is_taken(keywords: dict[str, Any], fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="schema_version"):
        create_model("Thing", __base__=CouchModel, __cls_kwargs__={"version": 2, **keywords}, **fields)
