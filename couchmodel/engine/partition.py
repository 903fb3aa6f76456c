"""A partition of a database: the documents whose ids begin with its name and a colon."""

from typing import Any, cast

from couchmodel._wire.messages import document_path
from couchmodel.engine.document import Place
from couchmodel.engine.find import Find, explain
from couchmodel.engine.view import AllDocsView, View
from couchmodel.errors import BadRequestError
from couchmodel.types import JSONObject

__all__ = ["Partition"]


class Partition:
    """A partition by name. What is asked of it is answered by one shard, so it costs less than asking them all.

    Documents are read and written by the database, under their whole ids.
    """

    def __init__(self, database: Place, name: str) -> None:
        """Raises BadRequestError for a name that no partition may have."""
        document_path((), name)
        if ":" in name:
            raise BadRequestError(f"a partition cannot be named {name!r}: the colon ends its name", code="bad_request")
        self.name = name
        self.path = (*database.path, "_partition", name)
        self._database = database

    def __repr__(self) -> str:
        return f"<Partition {'/'.join(self.path)}>"

    @property
    def all_docs(self) -> AllDocsView:
        """Its documents by id."""
        return AllDocsView(self._database, self.path)

    async def info(self) -> JSONObject:
        """Its counts and sizes."""
        return cast(JSONObject, await self._database.session.get(self.path))

    def view(self, design_doc: str, view: str) -> View:
        """A view of the design document, of this partition's documents; nothing is sent."""
        return View(self._database, design_doc, view, self.path)

    def find(self, selector: JSONObject, limit: int | None = None, **params: Any) -> Find:
        """Its documents that a Mango selector matches, as :meth:`Database.find` has them."""
        return Find(self._database, self.path, selector, limit, params)

    async def explain(self, selector: JSONObject, **params: Any) -> JSONObject:
        """How :meth:`find` would be answered, and by which index."""
        return await explain(self._database.session, self.path, selector, params)
