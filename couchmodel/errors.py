"""The errors of this library, in one tree.

::

    CouchModelError
    ├── ConfigurationError            a URL, an argument or a set-up that cannot work
    ├── QueryError                    a query that no database can answer
    │   └── NoIndexError              no index serves it, and the connection is strict
    ├── MultipleFoundError            one document was asked for, and there are several
    ├── TransportError                no answer came
    │   ├── ConnectError              the server could not be reached
    │   │   └── TLSError              its certificate, or the encryption, is not acceptable
    │   ├── RequestTimeoutError       the server did not answer in time
    │   ├── ProtocolError             the answer was not CouchDB's, or was cut off
    │   └── StoreFileError            the file of an embedded store cannot be used
    ├── ResponseError                 CouchDB's answer is an error; one class for each status
    │   ├── BadRequestError           400
    │   ├── UnauthorizedError         401
    │   ├── ForbiddenError            403
    │   ├── NotFoundError             404
    │   ├── MethodNotAllowedError     405
    │   ├── NotAcceptableError        406
    │   ├── ConflictError             409
    │   ├── PreconditionFailedError   412
    │   ├── ContentTooLargeError      413
    │   ├── UnsupportedMediaTypeError 415
    │   ├── RangeNotSatisfiableError  416
    │   ├── ExpectationFailedError    417
    │   ├── TooManyRequestsError      429
    │   └── ServerError               500 and above
    │       ├── UnsupportedError      501
    │       ├── UnavailableError      503
    │       └── StorageFullError      507
    ├── ReplicationError              a replication by a server has failed
    ├── AcceptedError                 a write is stored by less than a majority of a cluster's nodes
    ├── DocumentError                 a document and its model disagree
    ├── AttachmentError               an attachment breaks the rules of its field
    ├── BucketError                   a bucket cannot do what was asked
    │   ├── NoFile                    it has no such file
    │   ├── FileExists                it has a file of this id already
    │   ├── CorruptGridFile           a stored file is not whole
    │   └── InvalidOperation          a cursor or a file is not in the state for this
    └── BulkError                     an exception group: one error for each refused row

Client and server share it: the embedded store raises a :class:`ResponseError`, its router turns the error into an
answer, and the client turns the answer of any server back into the same class. An error that aiocouch derives from a
builtin exception is derived from it here, too, so that ``except`` clauses of aiocouch's users keep working.

No message and no ``repr`` holds a password.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

__all__ = [
    "AcceptedError",
    "AttachmentError",
    "BadRequestError",
    "BucketError",
    "BulkError",
    "ConfigurationError",
    "ConflictError",
    "ConnectError",
    "ContentTooLargeError",
    "CorruptGridFile",
    "CouchModelError",
    "DocumentError",
    "ExpectationFailedError",
    "FileExists",
    "ForbiddenError",
    "InvalidOperation",
    "MethodNotAllowedError",
    "MultipleFoundError",
    "NoFile",
    "NoIndexError",
    "NotAcceptableError",
    "NotFoundError",
    "PreconditionFailedError",
    "ProtocolError",
    "QueryError",
    "RangeNotSatisfiableError",
    "ReplicationError",
    "RequestTimeoutError",
    "ResponseError",
    "ServerError",
    "StorageFullError",
    "StoreFileError",
    "TLSError",
    "TooManyRequestsError",
    "TransportError",
    "UnauthorizedError",
    "UnavailableError",
    "UnsupportedError",
    "UnsupportedMediaTypeError",
    "response_error",
]


class CouchModelError(Exception):
    """The base class of all errors of this library."""


class ConfigurationError(CouchModelError, ValueError):
    """A URL, an argument or a set-up cannot work. Nothing was sent."""


class QueryError(CouchModelError, ValueError):
    """A query makes no sense to a database, such as ``find(True)``."""


class NoIndexError(QueryError):
    """No index serves a query, so it would read all documents; the connection is strict and refuses that."""


class MultipleFoundError(CouchModelError, LookupError):
    """A query for one document has found several."""


class TransportError(CouchModelError):
    """No answer came.

    ``carried_out`` is False if the request certainly was not carried out, so that it may be sent again. It is None if
    that is unknown.
    """

    carried_out: bool | None = None


class ConnectError(TransportError, ConnectionError):
    """The server could not be reached. Nothing was sent."""

    carried_out = False


class TLSError(ConnectError):
    """The server's certificate is not acceptable, or it does not speak TLS. Nothing was sent."""


class RequestTimeoutError(TransportError, TimeoutError):
    """The server did not answer in time. A write may have been carried out."""


class ProtocolError(TransportError):
    """The answer is not CouchDB's, or it was cut off. A write may have been carried out."""


class StoreFileError(TransportError):
    """The file of an embedded store cannot be used: it is not a store, is too new, or is open in another process."""


class ResponseError(CouchModelError):
    """CouchDB's answer is an error.

    ``status`` is the HTTP status, ``code`` the member ``error`` of CouchDB's answer, and ``reason`` its member
    ``reason``. ``method`` and ``path`` are those of the request, or empty. ``hint`` says what to do, or is empty.
    """

    status: int = 500
    code: str = "unknown_error"

    def __init__(
        self,
        reason: str = "",
        *,
        code: str | None = None,
        status: int | None = None,
        method: str = "",
        path: str = "",
        hint: str = "",
    ) -> None:
        Exception.__init__(self, reason)
        self.reason = reason
        self.method = method
        self.path = path
        self.hint = hint
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status

    # A NotFoundError is a KeyError, too, which would quote the message.
    def __str__(self) -> str:
        asked = f" ({self.method} {self.path})" if self.method else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.status} {self.code}: {self.reason}{asked}{hint}"


class BadRequestError(ResponseError, ValueError):
    """400: CouchDB does not understand the request; ``reason`` says which part of it."""

    status = 400
    code = "bad_request"


class UnauthorizedError(ResponseError, PermissionError):
    """401: the name or the password is wrong, or the request has no credentials."""

    status = 401
    code = "unauthorized"


class ForbiddenError(ResponseError, PermissionError):
    """403: the user has no permission, or a validation function refused the document."""

    status = 403
    code = "forbidden"


class NotFoundError(ResponseError, KeyError):
    """404: the document, its attachment or its database does not exist.

    For a document, ``reason`` is ``missing`` or ``deleted``.
    """

    status = 404
    code = "not_found"


class MethodNotAllowedError(ResponseError):
    """405: the resource does not support this method."""

    status = 405
    code = "method_not_allowed"


class NotAcceptableError(ResponseError):
    """406: the server has none of the media types that the client accepts."""

    status = 406
    code = "not_acceptable"


class ConflictError(ResponseError, KeyError):
    """409: the document has changed since the revision that the write is based on.

    An error of a model's ``save`` or ``delete`` has ``document_id`` and three versions of the document: ``base`` was
    loaded, ``mine`` was to be saved, and ``theirs`` is stored now, or None if the document was deleted. Each is an
    instance of the model. ``fields`` are the paths of the fields that both sides have changed, each to another value,
    and that have no policy of merging.
    """

    status = 409
    code = "conflict"
    document_id: str | None = None
    base: Any = None
    mine: Any = None
    theirs: Any = None
    fields: frozenset[str] | set[str] = frozenset()
    _merge: Callable[[Any], Any] | None = None

    def merged(self, *, prefer: Literal["mine", "theirs"]) -> Any:
        """Return the document with the changes of both sides, which can be saved. Clashes take the preferred side.

        Raises ConfigurationError if there are no two versions, because one of them is deleted.
        """
        if self._merge is None:
            raise ConfigurationError(f"{self.document_id!r} has no two versions to merge: one of them is deleted")
        return self._merge(prefer)

    def set_merge(self, merge: Callable[[Any], Any]) -> None:
        """Set the function that merges the two versions. Its argument is the side that wins where both have changed."""
        self._merge = merge


class PreconditionFailedError(ResponseError, ValueError):
    """412: a precondition of the request does not hold; mostly, the database exists already."""

    status = 412
    code = "precondition_failed"


class ContentTooLargeError(ResponseError):
    """413: the document, the attachment or the request is larger than the server allows."""

    status = 413
    code = "too_large"


class UnsupportedMediaTypeError(ResponseError, ValueError):
    """415: CouchDB does not read a body of this media type here."""

    status = 415
    code = "bad_content_type"


class RangeNotSatisfiableError(ResponseError):
    """416: the range lies outside the attachment."""

    status = 416
    code = "requested_range_not_satisfiable"


class ExpectationFailedError(ResponseError, ValueError):
    """417: a document of the request was refused, so the whole request was."""

    status = 417
    code = "expectation_failed"


class TooManyRequestsError(ResponseError):
    """429: the server gets too many requests, and asks the client to wait."""

    status = 429
    code = "too_many_requests"


class ServerError(ResponseError):
    """500 and above: the server failed. It gives no more information than ``reason``."""

    status = 500
    code = "internal_server_error"


class UnsupportedError(ServerError):
    """501: the server does not support the request."""

    status = 501
    code = "not_implemented"


class UnavailableError(ServerError):
    """503: the server is starting, stopping or overloaded."""

    status = 503
    code = "service_unavailable"


class StorageFullError(ServerError):
    """507: the server's disk is full. Nothing was written, and the stored data can still be read."""

    status = 507
    code = "insufficent_storage"  # CouchDB's own spelling


class ReplicationError(CouchModelError):
    """A replication by a server has failed, or keeps failing.

    ``state`` is that of CouchDB's scheduler: ``failed``, or ``crashing`` or ``error`` if the server tries again.
    """

    def __init__(self, message: str, *, state: str = "failed") -> None:
        super().__init__(message)
        self.state = state


class AcceptedError(CouchModelError):
    """A write is stored by less than a majority of the nodes of a cluster, so another one may come out above it.

    ``document_id`` is the id of the document, and ``rev`` the revision that was accepted.
    """

    def __init__(self, message: str, *, document_id: str, rev: str) -> None:
        super().__init__(message)
        self.document_id = document_id
        self.rev = rev

    # An exception is unpickled by its positional arguments, and this one has keywords that are needed.
    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_accepted_error, (str(self), self.document_id, self.rev)


class DocumentError(CouchModelError, ValueError):
    """A document and its model disagree, or the model holds a value that JSON cannot carry.

    ``model`` is the name of the model and ``document_id`` the id of the document. ``errors`` has a dictionary for each
    field that is invalid, with pydantic's members ``loc``, ``msg``, ``type`` and ``input``. ``is_stored`` is True if it
    is the stored document that does not fit, and not what was to be stored.
    """

    is_stored: bool = False

    def __init__(self, message: str, *, model: str, document_id: str | None, errors: Sequence[dict[str, Any]]) -> None:
        super().__init__(message)
        self.model = model
        self.document_id = document_id
        self.errors = list(errors)

    # An exception is unpickled by its positional arguments, and this one has keywords that are needed.
    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_document_error, (str(self), self.model, self.document_id, self.errors)


class AttachmentError(CouchModelError, ValueError):
    """An attachment breaks the rules of its field (media type, size), or its source cannot be read.

    ``field`` is the name of the field that has the attachment; None if no field has it. ``reason`` says what is wrong
    without naming the document, such as ``may have at most 1,000 bytes, not 2,000``, so a form can show it beside the
    field.
    """

    def __init__(self, message: str, *, field: str | None = None, reason: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.reason = message if reason is None else reason


class BucketError(CouchModelError):
    """A bucket cannot do what was asked. The names of its subclasses are those of GridFS."""


class NoFile(BucketError):  # noqa: N818 - the name of GridFS
    """The bucket has no file of this id or name, or no such revision of it."""


class FileExists(BucketError):  # noqa: N818 - the name of GridFS
    """The bucket has a file of this id already, and keeps it."""


class CorruptGridFile(BucketError):  # noqa: N818 - the name of GridFS
    """A stored file is not whole: a part is missing, too short, too long, or not what was stored.

    It is raised also if the file was deleted while it was read. The message names the file and the bytes.
    """


class InvalidOperation(BucketError):  # noqa: N818 - PyMongo's name
    """A cursor has begun, so it cannot be changed any more."""


class BulkError(CouchModelError, ExceptionGroup[CouchModelError]):
    """Some rows of a bulk write were refused. The others are stored.

    ``exceptions`` has one error for each refused row, in the order of the rows.
    """

    # Without this, ``except*`` and ``split`` make plain exception groups.
    def derive(self, excs: Sequence[CouchModelError]) -> "BulkError":  # type: ignore[override]
        """Return a group of some of these errors, for ``except*``."""
        return BulkError(self.message, excs)


def response_error(
    status: int, code: str | None, reason: str, *, method: str = "", path: str = "", hint: str = ""
) -> ResponseError:
    """Return the error for an answer of CouchDB with this status, code and reason."""
    # A server or a proxy may have statuses that CouchDB does not know.
    default = ServerError if status >= 500 else ResponseError
    return _BY_STATUS.get(status, default)(reason, code=code, status=status, method=method, path=path, hint=hint)


def _rebuild_document_error(
    message: str, model: str, document_id: str | None, errors: Sequence[dict[str, Any]]
) -> DocumentError:
    return DocumentError(message, model=model, document_id=document_id, errors=errors)


def _rebuild_accepted_error(message: str, document_id: str, rev: str) -> AcceptedError:
    return AcceptedError(message, document_id=document_id, rev=rev)


# Each class says its status, so no table can differ from the classes.
_BY_STATUS: dict[int, type[ResponseError]] = {
    kind.status: kind
    for kind in (
        BadRequestError,
        UnauthorizedError,
        ForbiddenError,
        NotFoundError,
        MethodNotAllowedError,
        NotAcceptableError,
        ConflictError,
        PreconditionFailedError,
        ContentTooLargeError,
        UnsupportedMediaTypeError,
        RangeNotSatisfiableError,
        ExpectationFailedError,
        TooManyRequestsError,
        ServerError,
        UnsupportedError,
        UnavailableError,
        StorageFullError,
    )
}
