"""Partitions of a database. A partition has the documents whose ids begin with its name and a colon."""

from typing import Any, cast

from couchmodel._wire.messages import document_path
from couchmodel.engine.document import DatabaseAddress
from couchmodel.engine.find import Find, explain
from couchmodel.engine.view import AllDocsView, View
from couchmodel.errors import BadRequestError
from couchmodel.types import JSONObject

__all__ = ["Partition"]


class Partition:
    """A partition of a database. One shard answers its queries, so they cost less than queries to all shards.

    Documents are read and written through the database, under their whole ids.
    """

    def __init__(self, database: DatabaseAddress, name: str) -> None:
        """Raises BadRequestError if no partition may have this name."""
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
        """The list of the partition's documents by id."""
        return AllDocsView(self._database, self.path)

    async def info(self) -> JSONObject:
        """Return the counts and sizes of the partition."""
        return cast(JSONObject, await self._database.session.get(self.path))

    def view(self, design_doc: str, view: str) -> View:
        """Return a view of a design document, limited to the documents of this partition. Sends nothing."""
        return View(self._database, design_doc, view, self.path)

    def find(self, selector: JSONObject, limit: int | None = None, **params: Any) -> Find:
        """Return an iterator over the partition's documents that a Mango selector matches, as :meth:`Database.find`."""
        return Find(self._database, self.path, selector, limit, params)

    async def explain(self, selector: JSONObject, **params: Any) -> JSONObject:
        """Return how CouchDB would answer :meth:`find`, and by which index."""
        return await explain(self._database.session, self.path, selector, params)
