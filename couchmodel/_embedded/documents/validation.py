"""Whether a write may be done: what design documents are checked for, and the functions that check other documents.

It runs inside the write's transaction, so that a document is compared with the one that it replaces, by the functions
that are there at that moment; the functions themselves are asked before: see ``verdicts``. A database without such
functions has a mark that says so, in the row that each write reads anyway.
"""

from collections.abc import Sequence
from typing import Any, Final

from pydantic_core import to_json

from couchmodel._embedded.documents.attachments import Attachment, shown
from couchmodel._embedded.documents.incoming import Edit, Incoming
from couchmodel._embedded.documents.reader import Found, document_json
from couchmodel._embedded.documents.verdicts import (
    Author,
    DesignQuestion,
    DocumentQuestion,
    Function,
    Verdicts,
    refused,
)
from couchmodel._embedded.javascript.design_schema import JAVASCRIPT, check_design, has_functions, language_of
from couchmodel._embedded.javascript.engine import Context
from couchmodel._embedded.limits.turns import leave_event_loop
from couchmodel._embedded.rules.revision_ids import Term
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._wire.messages import decode, encode
from couchmodel._wire.revisions import revisions_member
from couchmodel.errors import ResponseError, ServerError

__all__ = ["Listed", "Validation", "mark"]

Listed = Attachment | Incoming
"""An attachment of a new revision: one that is stored, or one that comes with it."""


class Validation:
    """The checks of one request's writes, inside its transaction."""

    def __init__(self, connection: Connection, database: int, author: Author, verdicts: Verdicts) -> None:
        self._connection = connection
        self._database = database
        self._author = author
        self._verdicts = verdicts
        self._functions: tuple[Function, ...] | None = None

    def check_design(self, edit: Edit, *, partitioned: bool) -> None:
        """Raise RefusedError for what is no design document, or too large for one."""
        if isinstance(edit.content, Term):
            leave_event_loop()
        try:
            body = edit.body
            check_design(body, partitioned=partitioned)
        except ResponseError as error:
            raise refused(error) from None
        if has_functions(body):
            self._verdicts.look_up(DesignQuestion(body["views"], encode(body["views"])))

    def check_document(self, edit: Edit, attachments: Sequence[Listed], old: bytes | None) -> None:
        """Put a revision to the functions. ``old`` is the JSON of the one before it.

        Raises:
            ForbiddenError, UnauthorizedError, RefusedError: a function refuses it.
            ServerError: a function throws what CouchDB has no answer for.
            UnsupportedError: the functions cannot be run.
        """
        if self._functions is None:
            self._functions = self._find()
        if self._functions:
            text = b"[%b,%b]" % (_new(edit, attachments), old or b"null")
            self._verdicts.look_up(DocumentQuestion(self._functions, text))

    def forget(self) -> None:
        """A design document has been written."""
        self._functions = None

    def _find(self) -> tuple[Function, ...]:
        """The functions of the design documents as they stand. Those that stood there before need not be read."""
        rows = self._connection.execute(
            "SELECT id, rev, seq FROM document WHERE database = ? AND id >= '_design/' AND id < '_design0'"
            " AND NOT deleted ORDER BY id",
            (self._database,),
        ).fetchall()
        known = self._author.scripts.checking
        if known.keys() != set(rows):
            leave_event_loop()
            known = {key: known[key] if key in known else self._open(key[0]) for key in rows}
            self._author.scripts.checking = known
        return tuple(Function(id, context) for (id, _, _), context in known.items() if context is not None)

    def _open(self, id: str) -> Context | None:
        rev, body = self._connection.execute(
            "SELECT rev, body FROM document WHERE database = ? AND id = ?", (self._database, id)
        ).fetchone()
        design = decode(body)
        if _MEMBER not in design:
            return None
        if language_of(design) != JAVASCRIPT:
            raise ServerError(language_of(design), code="unknown_query_language")
        return self._author.scripts.open((_MEMBER,), document_json(id, Found(rev, 0, None, body)))


_MEMBER: Final = "validate_doc_update"
_MENTIONED: Final = """instr(CAST(body AS TEXT), '"validate_doc_update"')"""


def mark(connection: Connection, database: int) -> None:
    """Note whether a database has functions that check its documents."""
    connection.execute(
        "UPDATE database SET validated = EXISTS (SELECT 1 FROM document WHERE database = ? AND id >= '_design/'"
        f" AND id < '_design0' AND NOT deleted AND {_MENTIONED}) WHERE number = ?",
        (database, database),
    )


def _new(edit: Edit, attachments: Sequence[Listed]) -> bytes:
    """A revision as the functions see it: before it has a name, so with that of the one before it."""
    members: dict[str, Any] = {}
    if edit.path:
        members["_revisions"] = revisions_member(edit.path)
    if attachments:
        members["_attachments"] = {item.name: _shown(item) for item in attachments}
    parts = [b'{"_id":', to_json(edit.id)]
    if edit.path:
        parts += (b',"_rev":', to_json(str(edit.path[0])))
    if edit.deleted:
        parts.append(b',"_deleted":true')
    parts += (b"," + text[1:-1] for text in (edit.text, encode(members)) if len(text) > len("{}"))
    return b"".join((*parts, b"}"))


def _shown(item: Listed) -> dict[str, Any]:
    if isinstance(item, Incoming):
        length = item.content.length
        return {"content_type": item.content_type, "revpos": item.revpos, "length": length, "stub": True}
    member: dict[str, Any] = shown([item])[item.name]
    return member
