"""Errors as problem details (RFC 9457).

A problem says what the client can mend. It holds no trace, no address of the store, and no part of a document that the
client has not sent, except for ``current`` where the client may read the document.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict
from pydantic_core import to_json

from couchmodel._wire.reasons import NO_DATABASE
from couchmodel.errors import (
    AttachmentError,
    BadRequestError,
    ConflictError,
    ContentTooLargeError,
    CouchModelError,
    DocumentError,
    ForbiddenError,
    NoIndexError,
    NotFoundError,
    PreconditionFailedError,
    QueryError,
    RangeNotSatisfiableError,
    StorageFullError,
    TooManyRequestsError,
    TransportError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedMediaTypeError,
)

__all__ = [
    "PROBLEM_TYPE",
    "FieldProblem",
    "Problem",
    "ProblemError",
    "broken_body",
    "field_errors",
    "invalid",
    "is_of_other_type",
    "problem_of",
]

PROBLEM_TYPE: Final = "application/problem+json"

_PHRASES: Final = {
    **{each.value: each.phrase for each in HTTPStatus},
    # The names of RFC 9110, which Python has from 3.13 on.
    413: "Content Too Large",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}

_SPOKEN: Final = (
    BadRequestError,
    UnauthorizedError,
    ForbiddenError,
    PreconditionFailedError,
    ContentTooLargeError,
    UnsupportedMediaTypeError,
    RangeNotSatisfiableError,
    TooManyRequestsError,
)
"""The errors whose reason is about the request, and not about the store."""


class FieldProblem(BaseModel):
    """An error of one field: where it is, pydantic's type of it, and what it says."""

    loc: list[str | int]
    msg: str
    type: str


class Problem(BaseModel):
    """Problem details, as RFC 9457 has them."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = None


class ProblemError(Exception):
    """An error that is answered with problem details. ``members`` are added to them, such as ``current``."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Iterable[Mapping[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = None if errors is None else list(errors)
        self.headers = dict(headers or {})
        self.members = members

    def body(self) -> bytes:
        """Return the problem as JSON."""
        problem: dict[str, Any] = {
            "type": "about:blank",
            "title": _PHRASES.get(self.status, "Error"),
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors is not None:
            problem["errors"] = self.errors
        return to_json({**problem, **self.members}, inf_nan_mode="constants")


def field_errors(errors: Iterable[Any], *prefix: str) -> list[dict[str, Any]]:
    """Return the errors of fields that pydantic found, without the values: those may be part of a stored document."""
    return [{"loc": [*prefix, *each["loc"]], "msg": each["msg"], "type": each["type"]} for each in errors]


def problem_of(error: BaseException) -> ProblemError | None:
    """Return an error as a problem; None for an error that is no client's matter."""
    if isinstance(error, ProblemError):
        return error
    return next((describe(error) for kinds, describe in _DESCRIPTIONS if isinstance(error, kinds)), None)


def invalid(errors: list[dict[str, Any]], said: str = "") -> ProblemError:
    """Return the problem of input that does not fit."""
    if not errors:
        return ProblemError(422, said or "The input does not fit.", errors=[])
    names = dict.fromkeys(".".join(map(str, each["loc"][1:])) or str(each["loc"][0]) for each in errors)
    return ProblemError(422, f"The input does not fit: {', '.join(names)}.", errors=errors)


def broken_body() -> ProblemError:
    """Return the problem of a body that ends too early, or is not encoded as its headers say."""
    return ProblemError(400, "The body has not arrived whole.")


def is_of_other_type(error: DocumentError) -> bool:
    """Return True if a stored document is of another model. Databases can have the documents of several."""
    kinds = ("union_tag_invalid", "union_tag_not_found")
    return error.is_stored and any(each["type"] in kinds and not each["loc"] for each in error.errors)


def _describe_document(error: DocumentError) -> ProblemError:
    if is_of_other_type(error):
        return ProblemError(404, f"{error.model} {error.document_id!r} does not exist.")
    if error.is_stored:
        # No part of what is stored is told, and the client cannot mend it.
        return ProblemError(500, "The stored document does not fit its model.")
    return invalid(field_errors(error.errors, "body"), str(error))


def _describe_missing(error: NotFoundError) -> ProblemError:
    """Say which document or attachment is missing, without the name of its database."""
    if error.reason == NO_DATABASE:
        return ProblemError(404, "The database does not exist.")
    # The first segment is the database, which clients need not know.
    path = [unquote(part) for part in error.path.partition("?")[0].strip("/").split("/")]
    if len(path) > 2:
        return ProblemError(404, f"{path[1]!r} has no {'/'.join(path[2:])!r}.")
    return ProblemError(404, f"{path[1]!r} does not exist." if len(path) == 2 else f"{error.reason}.")


def _describe_conflict(error: ConflictError) -> ProblemError:
    said = repr(error.document_id) if error.document_id else "The document"
    # A document without a revision was to be a new one.
    is_taken = error.mine is not None and error.mine.rev is None
    detail = f"{said} exists already." if is_taken else f"{said} was changed or deleted meanwhile."
    return ProblemError(409, detail, fields=sorted(error.fields))


def _describe_attachment(error: AttachmentError) -> ProblemError:
    errors = [] if error.field is None else [{"loc": ["body", error.field], "msg": error.reason, "type": "attachment"}]
    return ProblemError(422, f"{error}.", errors=errors or None)


def _with_status(status: int, detail: str) -> Callable[[Any], ProblemError]:
    return lambda _: ProblemError(status, detail)


_DESCRIPTIONS: Final[Sequence[tuple[Any, Callable[[Any], ProblemError]]]] = (
    (DocumentError, _describe_document),
    (NotFoundError, _describe_missing),
    (ConflictError, _describe_conflict),
    (_SPOKEN, lambda error: ProblemError(error.status, f"{error.reason.rstrip('.')}.")),
    ((TransportError, UnavailableError, StorageFullError), _with_status(503, "The store cannot be reached now.")),
    (NoIndexError, _with_status(400, "No index serves this query.")),
    (AttachmentError, _describe_attachment),
    (QueryError, lambda error: ProblemError(400, f"{error}.")),
    (CouchModelError, _with_status(500, "The application or its store has failed.")),
)
"""The problems by the classes of errors. The first one that fits counts."""
