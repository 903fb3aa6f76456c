"""Every error this library raises, in one tree.

::

    CouchModelError
    ├── ConfigurationError            a URL, an argument or a set-up that cannot work
    ├── QueryError                    a query that cannot be put to a database
    ├── TransportError                no answer came
    │   ├── ConnectError              the server could not be reached
    │   │   └── TLSError              its certificate, or the encryption, is not acceptable
    │   ├── RequestTimeoutError       the server did not answer in time
    │   ├── ProtocolError             the answer was not CouchDB's, or was cut off
    │   └── StoreFileError            the file of an embedded store cannot be used
    ├── ResponseError                 CouchDB's answer is an error: one class a status
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
    ├── ReplicationError              a replication that a server runs has failed
    ├── DocumentError                 a document and its model disagree
    ├── AttachmentError               an attachment breaks the rules of its field
    └── BulkError                     an exception group: one error for each refused row

Both ends of the wire speak it: the embedded store raises a :class:`ResponseError`, its router turns it into
an answer, and the client turns the answer of any server back into the same class. Where aiocouch derives an
error from a builtin exception, so does this tree, so that its users' ``except`` clauses keep working.

No message and no ``repr`` here ever holds a password.
"""

from collections.abc import Sequence
from typing import Any

__all__ = [
    "AttachmentError",
    "BadRequestError",
    "BulkError",
    "ConfigurationError",
    "ConflictError",
    "ConnectError",
    "ContentTooLargeError",
    "CouchModelError",
    "DocumentError",
    "ExpectationFailedError",
    "ForbiddenError",
    "MethodNotAllowedError",
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
    """The base of every error of this library."""


class ConfigurationError(CouchModelError, ValueError):
    """A URL, an argument or a set-up that cannot work, found before anything is sent."""


class QueryError(CouchModelError, ValueError):
    """A query that cannot be put to a database, such as ``find(True)``."""


class TransportError(CouchModelError):
    """No answer came.

    ``carried_out`` is False where the request certainly was not carried out, so that it may be sent again; it is None
    where that is unknown.
    """

    carried_out: bool | None = None


class ConnectError(TransportError, ConnectionError):
    """The server could not be reached: nothing was sent."""

    carried_out = False


class TLSError(ConnectError):
    """The server's certificate is not acceptable, or it does not speak TLS: nothing was sent."""


class RequestTimeoutError(TransportError, TimeoutError):
    """The server did not answer in time. A write may have been carried out."""


class ProtocolError(TransportError):
    """What came back is not CouchDB's, or it was cut off. A write may have been carried out."""


class StoreFileError(TransportError):
    """The file of an embedded store cannot be used: no store, a newer one, or held by another process."""


class ResponseError(CouchModelError):
    """CouchDB's answer is an error.

    ``status`` is the HTTP status, ``code`` CouchDB's word for it (``error`` in its answer), ``reason`` its sentence,
    ``method`` and ``path`` say what was asked; ``hint``, where there is one, says what to do.
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

    def __str__(self) -> str:
        asked = f" ({self.method} {self.path})" if self.method else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.status} {self.code}: {self.reason}{asked}{hint}"


class BadRequestError(ResponseError, ValueError):
    """400: the request does not make sense to CouchDB; ``reason`` says which part."""

    status = 400
    code = "bad_request"


class UnauthorizedError(ResponseError, PermissionError):
    """401: the name or the password is wrong, or the request came without any."""

    status = 401
    code = "unauthorized"


class ForbiddenError(ResponseError, PermissionError):
    """403: this user may not do that, or a validation function refused the document."""

    status = 403
    code = "forbidden"


class NotFoundError(ResponseError, KeyError):
    """404: the document (``reason`` is ``missing`` or ``deleted``), its attachment or its database is not there."""

    status = 404
    code = "not_found"


class MethodNotAllowedError(ResponseError):
    """405: the resource is there, but not for this method."""

    status = 405
    code = "method_not_allowed"


class NotAcceptableError(ResponseError):
    """406: none of the media types the client accepts can be served."""

    status = 406
    code = "not_acceptable"


class ConflictError(ResponseError, KeyError):
    """409: the document has changed since the revision this write is based on.

    Raised by a model's ``save`` or ``delete``, ``document_id`` names the document and three versions of it are at hand:
    ``base``, which was loaded, ``mine``, which was to be saved, and ``theirs``, which is stored now (None where it has
    been deleted). Each is an instance of the model.
    """

    status = 409
    code = "conflict"
    document_id: str | None = None
    base: Any = None
    mine: Any = None
    theirs: Any = None


class PreconditionFailedError(ResponseError, ValueError):
    """412: what the request takes for granted is not so; mostly: the database exists already."""

    status = 412
    code = "precondition_failed"


class ContentTooLargeError(ResponseError):
    """413: the document, the attachment or the request is larger than the server takes."""

    status = 413
    code = "too_large"


class UnsupportedMediaTypeError(ResponseError, ValueError):
    """415: the body is not of a media type that CouchDB reads here."""

    status = 415
    code = "bad_content_type"


class RangeNotSatisfiableError(ResponseError):
    """416: the range lies outside the attachment."""

    status = 416
    code = "requested_range_not_satisfiable"


class ExpectationFailedError(ResponseError, ValueError):
    """417: a document of the request was refused, and so all of it."""

    status = 417
    code = "expectation_failed"


class TooManyRequestsError(ResponseError):
    """429: the server asks for patience."""

    status = 429
    code = "too_many_requests"


class ServerError(ResponseError):
    """500 and above: the server failed; ``reason`` is all it says."""

    status = 500
    code = "internal_server_error"


class UnsupportedError(ServerError):
    """501: the server knows the request and does not do it."""

    status = 501
    code = "not_implemented"


class UnavailableError(ServerError):
    """503: the server is starting, stopping or overloaded."""

    status = 503
    code = "service_unavailable"


class StorageFullError(ServerError):
    """507: the server's disk is full. Nothing was written; what is there can still be read."""

    status = 507
    code = "insufficent_storage"  # CouchDB's own spelling


class ReplicationError(CouchModelError):
    """A replication that a server runs has failed, or fails again and again.

    ``state`` is CouchDB's word for it: ``failed``, or ``crashing`` or ``error`` where the server goes on trying.
    """

    def __init__(self, message: str, *, state: str = "failed") -> None:
        super().__init__(message)
        self.state = state


class DocumentError(CouchModelError, ValueError):
    """A document and its model disagree, or the model holds a value that JSON cannot carry.

    ``model`` is the model's name, ``document_id`` names the document, ``errors`` has a dictionary for each field that
    does not fit (``loc``, ``msg``, ``type`` and ``input``, as pydantic gives them).
    """

    def __init__(self, message: str, *, model: str, document_id: str | None, errors: Sequence[dict[str, Any]]) -> None:
        super().__init__(message)
        self.model = model
        self.document_id = document_id
        self.errors = list(errors)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_document_error, (str(self), self.model, self.document_id, self.errors)


class AttachmentError(CouchModelError, ValueError):
    """An attachment breaks the rules of its field (media type, size), or did not arrive whole."""


class BulkError(CouchModelError, ExceptionGroup[CouchModelError]):
    """Some rows of a bulk write were refused; the others are stored.

    ``exceptions`` has one error for each refused row, in the order of the rows.
    """

    def derive(self, excs: Sequence[CouchModelError]) -> "BulkError":  # type: ignore[override]
        """A group of some of these errors, for ``except*``."""
        return BulkError(self.message, excs)


def response_error(
    status: int, code: str | None, reason: str, *, method: str = "", path: str = "", hint: str = ""
) -> ResponseError:
    """The error of the tree for a status, where CouchDB answered ``code`` and ``reason``."""
    default = ServerError if status >= 500 else ResponseError
    return _BY_STATUS.get(status, default)(reason, code=code, status=status, method=method, path=path, hint=hint)


def _rebuild_document_error(
    message: str, model: str, document_id: str | None, errors: Sequence[dict[str, Any]]
) -> DocumentError:
    return DocumentError(message, model=model, document_id=document_id, errors=errors)


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
