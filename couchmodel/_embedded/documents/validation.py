"""Check writes inside their transaction: design documents by CouchDB's rules, others by validation functions.

Inside the transaction, the old document and the set of functions are those of that moment. The functions themselves
run before it: see ``verdicts``. The column ``database.validated`` says whether a database may have such functions.
Each write reads that row anyway, so a database without functions pays nothing.

The function of a guard, which a model has written, is not run. Its declaration is checked here, inside the transaction
and without JavaScript.
"""

from collections.abc import Sequence
from typing import Any, Final

from pydantic_core import to_json

from couchmodel._embedded.budget import require_thread
from couchmodel._embedded.documents.attachments import Attachment, attachment_stubs
from couchmodel._embedded.documents.incoming import Edit, IncomingAttachment
from couchmodel._embedded.documents.reader import IS_DESIGN, StoredRevision, document_json
from couchmodel._embedded.documents.verdicts import (
    Author,
    DesignQuestion,
    DocumentQuestion,
    ValidationFunction,
    Verdicts,
    as_refused_error,
)
from couchmodel._embedded.javascript.design_schema import JAVASCRIPT, check_design, has_functions, language_of
from couchmodel._embedded.javascript.engine import Context
from couchmodel._embedded.rules.erlang_binary import Term
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._wire.guards import DESIGN_PREFIX, Guard
from couchmodel._wire.messages import decode, encode
from couchmodel._wire.revisions import revisions_member
from couchmodel.errors import ForbiddenError, ResponseError, ServerError

__all__ = ["NewAttachment", "Validation", "mark_validated"]

NewAttachment = Attachment | IncomingAttachment
"""An attachment of a new revision: one that is stored already, or one whose content comes with the write."""


class Validation:
    """The checks of one request's writes, inside its transaction.

    ``_functions`` are the validation functions of the database, and ``_guards`` those that are checked without
    JavaScript. Both are read once and kept until a design document is written.
    """

    def __init__(self, connection: Connection, database_id: int, author: Author, verdicts: Verdicts) -> None:
        self._connection = connection
        self._database_id = database_id
        self._author = author
        self._verdicts = verdicts
        self._functions: tuple[ValidationFunction, ...] | None = None
        self._guards: tuple[Guard, ...] = ()

    def check_design(self, edit: Edit, *, partitioned: bool) -> None:
        """Raise RefusedError if the design document is invalid, too large, or has views that do not compile."""
        if isinstance(edit.content, Term):
            require_thread()
        try:
            body = edit.body
            check_design(body, partitioned=partitioned)
        except ResponseError as error:
            raise as_refused_error(error) from None
        if has_functions(body):
            self._verdicts.look_up(DesignQuestion(body["views"], encode(body["views"])))

    def check_document(self, edit: Edit, attachments: Sequence[NewAttachment], old: bytes | None) -> None:
        """Look up the verdict of the validation functions on a revision. ``old`` is the JSON of the one it replaces.

        Raises:
            ForbiddenError, UnauthorizedError, RefusedError: a guard or a function refuses the revision.
            ServerError: a function throws a value that CouchDB cannot answer.
            UnsupportedError: the functions need the extra ``js``.
        """
        if self._functions is None:
            self._guards, self._functions = self._find_functions()
        if self._guards:
            self._check_guards(edit)
        if self._functions:
            text = b"[%b,%b]" % (_new_json(edit, attachments), old or b"null")
            self._verdicts.look_up(DocumentQuestion(self._functions, text))

    def _check_guards(self, edit: Edit) -> None:
        if isinstance(edit.content, Term):
            require_thread()
        try:
            # A guard lets every deletion pass, so its body need not be parsed.
            body = {} if edit.deleted else edit.body
        except ResponseError as error:
            raise as_refused_error(error) from None
        for guard in self._guards:
            breach = guard.find_breach(edit.id, body, deleted=edit.deleted)
            if breach is not None:
                raise ForbiddenError(breach)

    def forget(self) -> None:
        """Forget the functions, since a design document has been written."""
        self._functions = None

    def _find_functions(self) -> tuple[tuple[Guard, ...], tuple[ValidationFunction, ...]]:
        """Return the guards and functions of the current design documents. Only those that have changed are read."""
        rows = self._connection.execute(
            f"SELECT id, rev, seq FROM document WHERE database = ? AND {IS_DESIGN} AND NOT deleted ORDER BY id",
            (self._database_id,),
        ).fetchall()
        known = self._author.scripts.checking
        # Compiling a function may start a process, which the event loop must not wait for.
        if known.keys() != set(rows):
            require_thread()
            # The key has the revision and the sequence number, so a design document that was replaced is compiled anew.
            known = {key: known[key] if key in known else self._open_function(key[0]) for key in rows}
            self._author.scripts.checking = known
        guards = tuple(found for found in known.values() if isinstance(found, Guard))
        contexts = ((id, found) for (id, _, _), found in known.items() if isinstance(found, Context))
        return guards, tuple(ValidationFunction(id, context) for id, context in contexts)

    def _open_function(self, id: str) -> Context | Guard | None:
        """Return the guard or the context of a design document's validation function, or None if it has none."""
        rev, body = self._connection.execute(
            "SELECT rev, body FROM document WHERE database = ? AND id = ?", (self._database_id, id)
        ).fetchone()
        design = decode(body)
        if _MEMBER not in design:
            return None
        # CouchDB refuses every write then: it cannot know what the function would refuse.
        if language_of(design) != JAVASCRIPT:
            raise ServerError(language_of(design), code="unknown_query_language")
        guard = Guard.of_design(design) if id.startswith(DESIGN_PREFIX) else None
        if guard is not None:
            return guard
        return self._author.scripts.open((_MEMBER,), document_json(id, StoredRevision(rev, 0, None, body)))


_MEMBER: Final = "validate_doc_update"
_MENTIONED: Final = """instr(CAST(body AS TEXT), '"validate_doc_update"')"""
"""An SQL condition for bodies that may have the member. It has false positives, which only cost a look-up."""


def mark_validated(connection: Connection, database_id: int) -> None:
    """Update the column ``validated``: whether the database may have validation functions."""
    connection.execute(
        "UPDATE database SET validated = EXISTS (SELECT 1 FROM document WHERE database = ?"
        f" AND {IS_DESIGN} AND NOT deleted AND {_MENTIONED}) WHERE number = ?",
        (database_id, database_id),
    )


def _new_json(edit: Edit, attachments: Sequence[NewAttachment]) -> bytes:
    """Return a new revision as validation functions see it. Its own id is unknown, so ``_rev`` is the parent."""
    members: dict[str, Any] = {}
    if edit.path:
        # As `couch_query_servers:validate_doc_update` passes documents: with `_revisions`.
        members["_revisions"] = revisions_member(edit.path)
    if attachments:
        members["_attachments"] = {item.name: _stub(item) for item in attachments}
    parts = [b'{"_id":', to_json(edit.id)]
    if edit.path:
        parts += (b',"_rev":', to_json(str(edit.path[0])))
    if edit.deleted:
        parts.append(b',"_deleted":true')
    # Both texts are objects, whose members are taken over as they are.
    parts += (b"," + text[1:-1] for text in (edit.text, encode(members)) if len(text) > len("{}"))
    return b"".join((*parts, b"}"))


def _stub(item: NewAttachment) -> dict[str, Any]:
    """Return the stub of an attachment."""
    if isinstance(item, IncomingAttachment):
        length = item.content.length
        return {"content_type": item.content_type, "revpos": item.revpos, "length": length, "stub": True}
    member: dict[str, Any] = attachment_stubs([item])[item.name]
    return member
