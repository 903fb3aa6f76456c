"""Whether a write may be done: what design documents are checked for, and the functions that check other documents.

It runs inside the write's transaction, so that a document is compared with the one that it replaces, by the functions
that are there at that moment. A database without such functions has a mark that says so, in the row that each write
reads anyway.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from couchmodel._embedded.attachments import Attachment, shown
from couchmodel._embedded.design_checks import JAVASCRIPT, check_design, has_functions, language_of
from couchmodel._embedded.documents import Found, document_json
from couchmodel._embedded.edits import Edit, Incoming
from couchmodel._embedded.revision_ids import Term
from couchmodel._embedded.scripts import Context, Scripts, parsed
from couchmodel._embedded.sqlite import Connection, leave_event_loop
from couchmodel._wire.messages import decode, encode
from couchmodel._wire.revisions import revisions_member
from couchmodel._wire.users import User
from couchmodel.errors import (
    BadRequestError,
    ForbiddenError,
    ResponseError,
    ServerError,
    UnauthorizedError,
    UnsupportedError,
)

__all__ = ["Author", "Listed", "RefusedError", "Validation", "mark"]

Listed = Attachment | Incoming
"""An attachment of a new revision: one that is stored, or one that comes with it."""


class Author(NamedTuple):
    """Who writes, and where, as the functions are told."""

    user: User
    database: str
    security: Mapping[str, Any]
    scripts: Scripts

    @property
    def text(self) -> bytes:
        """The last two arguments of a function, as JSON."""
        context = {"db": self.database, "name": self.user.name, "roles": list(self.user.roles)}
        return b"%b,%b" % (encode(context), encode(self.security))


class RefusedError(ResponseError):
    """A document that is not taken for what a design document says, or for what it is itself."""


class _Function(NamedTuple):
    id: str
    context: Context


class Validation:
    """The checks of one request's writes, inside its transaction."""

    def __init__(self, connection: Connection, database: int, author: Author) -> None:
        self._connection = connection
        self._database = database
        self._author = author
        self._functions: list[_Function] | None = None

    def check_design(self, edit: Edit, *, partitioned: bool) -> None:
        """Raise RefusedError for what is no design document, or too large for one."""
        if isinstance(edit.content, Term):
            leave_event_loop()
        try:
            body = edit.body
            if has_functions(body):
                leave_event_loop()
            check_design(body, partitioned=partitioned)
        except ResponseError as error:
            raise _refused(error) from None

    def check_document(self, edit: Edit, attachments: Sequence[Listed], old: bytes | None) -> None:
        """Put a revision to the functions. ``old`` is the JSON of the one before it.

        Raises:
            ForbiddenError, UnauthorizedError, RefusedError: a function refuses it.
            ServerError: a function throws what CouchDB has no answer for.
            UnsupportedError: the functions cannot be run.
        """
        leave_event_loop()
        if self._functions is None:
            self._functions = list(self._find())
        if not self._functions:
            return
        text = b"%b,%b,%b" % (_new(edit, attachments), old or b"null", self._author.text)
        for function in self._functions:
            _judge(_call(self._author.scripts, function, text))

    def forget(self) -> None:
        """A design document has been written."""
        self._functions = None

    def _find(self) -> "list[_Function]":
        rows = self._connection.execute(
            "SELECT id, rev, body FROM document WHERE database = ? AND id >= '_design/' AND id < '_design0'"
            f" AND NOT deleted AND {_MENTIONED} ORDER BY id",
            (self._database,),
        )
        return [self._open(id, rev, body) for id, rev, body in rows if _MEMBER in decode(body)]

    def _open(self, id: str, rev: str, body: bytes) -> _Function:
        language = language_of(decode(body))
        if language != JAVASCRIPT:
            raise ServerError(language, code="unknown_query_language")
        design = document_json(id, Found(rev, 0, None, body))
        return _Function(id, self._author.scripts.open((_MEMBER,), design))


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


def _call(scripts: Scripts, function: _Function, text: bytes) -> Mapping[str, Any]:
    arguments = (b'[["validate_doc_update"],%b]' % text).decode()
    try:
        outcome: dict[str, Any] = parsed(scripts.ask(function.context, "call", "validate", arguments))
    except UnsupportedError:
        raise
    except ResponseError as error:
        if error.code == "not_found":
            error.reason = f"missing validate_doc_update function validate_doc_update on design doc {function.id}"
        raise _refused(error) from None
    return outcome


def _judge(outcome: Mapping[str, Any]) -> None:
    """What CouchDB makes of what a function has thrown."""
    if "thrown" not in outcome:
        return
    match outcome["thrown"]:
        case {"forbidden": reason, **others} if not others:
            raise ForbiddenError(reason)
        case {"unauthorized": reason, **others} if not others:
            raise UnauthorizedError(reason)
        case str(reason):
            raise _refusal(500, "unknown_error", reason)
        case {**members} if len(members) == 1:
            (reason,) = members.values()
            raise _refusal(500, "unknown_error", reason if isinstance(reason, str) else encode(reason).decode())
        case _:
            raise ServerError("function_clause", code="unknown_error")


def _refused(error: ResponseError) -> RefusedError:
    # What does not compile is the document's fault while it is written, and the server's when it is run.
    status = 500 if error.status == 400 and not isinstance(error, BadRequestError) else error.status
    return _refusal(status, error.code, error.reason)


def _refusal(status: int, code: str, reason: str) -> RefusedError:
    refusal = RefusedError(reason, code=code)
    refusal.status = status
    return refusal
