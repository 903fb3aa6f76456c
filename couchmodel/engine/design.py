"""Design documents: views and other functions that CouchDB runs."""

from collections.abc import Mapping
from typing import Any, Final

from couchmodel.engine.document import DatabaseAddress, Document
from couchmodel.engine.view import View
from couchmodel.errors import ConfigurationError, ConflictError

__all__ = ["DesignDocument"]

_DESIGN_PREFIX: Final = "_design/"
_KNOWN_MEMBERS: Final = frozenset({
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
    """A member that CouchDB does not read in a design document. It is a KeyError as well, as in aiocouch."""

    # A KeyError would show its message in quotes.

    __str__ = Exception.__str__


class DesignDocument(Document):
    """A document whose id begins with ``_design/``. Only members that CouchDB reads there can be set."""

    def __init__(self, database: DatabaseAddress, id: str, data: Mapping[str, Any] | None = None) -> None:
        """``id`` may begin with ``_design/`` or not."""
        super().__init__(database, _DESIGN_PREFIX + id.removeprefix(_DESIGN_PREFIX), data)

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in _KNOWN_MEMBERS and not key.startswith("_"):
            known = ", ".join(sorted(_KNOWN_MEMBERS))
            raise MemberError(f"CouchDB reads no member {key!r} of a design document: use one of {known}")
        super().__setitem__(key, value)

    def view(self, view: str) -> View:
        """Return a view of the design document. Sends nothing."""
        return View(self._database, self.id, view)

    async def create_view(
        self, view: str, map_function: str, reduce_function: str | None = None, exists_ok: bool = False
    ) -> View:
        """Add a view written in JavaScript, and save the design document.

        ``reduce_function`` may be one of CouchDB's own, such as ``_count``. Raises ConflictError if the design document
        has a view of that name, unless ``exists_ok``: the view is replaced then.
        """
        views = self.setdefault("views", {})
        if view in views and not exists_ok:
            raise ConflictError(f"{self.id!r} has a view {view!r} already: give exists_ok=True to replace it")
        views[view] = {"map": map_function} | ({"reduce": reduce_function} if reduce_function else {})
        self["language"] = "javascript"
        await self.save()
        return self.view(view)
