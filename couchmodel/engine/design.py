"""A design document: views and other functions that CouchDB runs."""

from collections.abc import Mapping
from typing import Any, Final

from couchmodel.engine.document import Document, Place
from couchmodel.engine.view import View
from couchmodel.errors import ConfigurationError, ConflictError

__all__ = ["DesignDocument"]

_SPACE: Final = "_design/"
_MEMBERS: Final = frozenset({
    "autoupdate",
    "filters",
    "indexes",
    "language",
    "lists",
    "nouveau",
    "options",
    "rewrites",
    "shows",
    "updates",
    "validate_doc_update",
    "views",
})  # fmt: skip


class MemberError(ConfigurationError, KeyError):
    """A member that means nothing to CouchDB in a design document; aiocouch's users catch a KeyError."""

    __str__ = Exception.__str__


class DesignDocument(Document):
    """A document whose id begins with ``_design/``, with the members that mean something to CouchDB there."""

    def __init__(self, database: Place, id: str, data: Mapping[str, Any] | None = None) -> None:
        """``id`` is given with or without ``_design/``."""
        super().__init__(database, _SPACE + id.removeprefix(_SPACE), data)

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in _MEMBERS and not key.startswith("_"):
            known = ", ".join(sorted(_MEMBERS))
            raise MemberError(f"a design document has no member {key!r} that CouchDB reads: there are {known}")
        super().__setitem__(key, value)

    def view(self, view: str) -> View:
        """One of its views; nothing is sent."""
        return View(self._database, self.id, view)

    async def create_view(
        self, view: str, map_function: str, reduce_function: str | None = None, exists_ok: bool = False
    ) -> View:
        """Add a view in JavaScript, and save.

        ``reduce_function`` may be one of CouchDB's own, such as ``_count``. Raises ConflictError where there is a view
        of that name, unless ``exists_ok``: it is replaced then.
        """
        views = self.setdefault("views", {})
        if view in views and not exists_ok:
            raise ConflictError(f"there is a view {view!r} in {self.id!r} already")
        views[view] = {"map": map_function} | ({"reduce": reduce_function} if reduce_function else {})
        self["language"] = "javascript"
        await self.save()
        return self.view(view)
