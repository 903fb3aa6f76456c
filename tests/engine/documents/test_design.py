"""Design documents."""

import pytest

from couchmodel import ConfigurationError, ConflictError
from couchmodel.engine import Database, DesignDocument

MAP = "function (doc) { emit(doc._id, null); }"


@pytest.mark.parametrize("id", ["by", "_design/by"])
async def test_its_id_may_be_short(database: Database, id: str) -> None:
    design = await database.design_doc(id)
    assert design.id == design["_id"] == "_design/by"
    await design.save()
    assert (await database["_design/by"]).rev == design.rev
    with pytest.raises(ConflictError):
        await database.design_doc(id)


async def test_a_view_is_created_once_unless_it_may_be_replaced(database: Database) -> None:
    design = await database.design_doc("by")
    await design.create_view("id", MAP)
    with pytest.raises(ConflictError, match="'id'"):
        await design.create_view("id", MAP)
    view = await design.create_view("id", MAP, "_count", exists_ok=True)
    stored = await database["_design/by"]
    assert stored.json == {"language": "javascript", "views": {"id": {"map": MAP, "reduce": "_count"}}}
    assert view.path == design.view("id").path == database.view("by", "id").path


async def test_only_members_that_mean_something_are_set(database: Database) -> None:
    design = DesignDocument(database, "by")
    design["autoupdate"] = False
    with pytest.raises(KeyError) as caught:
        design["foo"] = 1
    assert isinstance(caught.value, ConfigurationError)
    assert str(caught.value).startswith("CouchDB reads no member 'foo' of a design document")
